"""The heatmaps of a run's market as artefacts of a run: the pictures of `squeeze plot`."""

from pathlib import Path

import numpy as np

from squeeze.errors import DataError
from squeeze.market.lake import Lake
from squeeze.tools import fold
from squeeze.tools.pictures import page, still
from squeeze.tools.pictures.figures import pictures
from squeeze.tools.pictures.gather import gather
from training.config import RunConfig
from training.figures import save
from training.prepare import Prepared

STEPS = 3000
"""So much of the history is folded for them: two days of minutes, a month of quarter hours. Each picture says so."""
HOURS = 24.0
REACH_LOG = 0.04


def write_maps(lake: Lake, config: RunConfig, end_ns: int, folder: Path) -> str:
    """Every picture of the day that ends at `end_ns` as PNG, and all of them as one page, into a folder.

    Nothing known later is read. Where there is nothing to draw, nothing is written and the answer says why.
    """
    spec = fold.with_atlas(config.spec)
    source = "simulated market" if "simulated" in config.licence else "recorded market"
    start_ns = end_ns - STEPS * spec.market.step_seconds * 1_000_000_000
    try:
        seen = gather(fold.folded(spec, fold.recorded(lake, spec, start_ns, end_ns)), end_ns, HOURS)
    except DataError as error:
        return str(error)
    folder.mkdir(parents=True, exist_ok=True)
    shown = pictures(seen, source, REACH_LOG)
    for picture in shown:
        save(still.draw(picture), folder / f"{picture.name}.png")
    page.write(folder / "maps.html", f"{seen.symbol}: heatmaps", {"market": seen.symbol, "data": source}, shown)
    return ""


def heat_window(
    prepared: Prepared, from_ns: int, until_ns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times, marks, prior-weighted map (step, side, price) and bin widths of the frames in a stretch of time."""
    own = prepared.own
    kept = np.flatnonzero((own.closes_ns >= from_ns) & (own.closes_ns < until_ns) & own.seen)
    prior = np.array(prepared.config.spec.map.prior_weights, np.float32)
    return (
        own.closes_ns[kept],
        own.marks[kept, 3],
        np.einsum("tskp,k->tsp", own.channels[kept], prior),
        own.bin_width_log[kept],
    )
