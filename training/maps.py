"""The heatmaps of a run's market as artefacts of the open MLflow run: the pictures of `squeeze plot`."""

import tempfile
from pathlib import Path

from squeeze.errors import DataError
from squeeze.market.lake import Lake
from squeeze.tools import fold
from squeeze.tools.pictures import page, still
from squeeze.tools.pictures.figures import pictures
from squeeze.tools.pictures.gather import gather
from training import track
from training.config import RunConfig

STEPS = 3000
"""So much of the history is folded for them: two days of minutes, a month of quarter hours. Each picture says so."""
HOURS = 24.0
REACH_LOG = 0.04


def log_maps(lake: Lake, config: RunConfig, end_ns: int) -> None:
    """Every picture of the day that ends at `end_ns` as PNG, and all of them as one page, under `figures/`.

    Nothing known later is read. Where there is nothing to draw, the run's tag `squeeze.maps` says why.
    """
    spec = fold.with_atlas(config.spec)
    source = "simulated market" if "simulated" in config.licence else "recorded market"
    start_ns = end_ns - STEPS * spec.market.step_seconds * 1_000_000_000
    try:
        seen = gather(fold.folded(spec, fold.recorded(lake, spec, start_ns, end_ns)), end_ns, HOURS)
    except DataError as error:
        track.mlflow.set_tag("squeeze.maps", str(error))
        return
    shown = pictures(seen, source, REACH_LOG)
    for picture in shown:
        track.log_figure(still.draw(picture), f"{picture.name}.png")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.html"
        page.write(path, f"{seen.symbol}: heatmaps", {"market": seen.symbol, "data": source}, shown)
        track.mlflow.log_artifact(str(path), "figures")
