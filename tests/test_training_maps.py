"""The heatmaps that training logs: the pictures of `squeeze plot`, of the day before the last row; nothing later."""

from pathlib import Path

import numpy as np
import pytest
from small import noised

from squeeze.strict import utc_ns
from training import maps, track

END = "2025-01-02T12:00"
PICTURES = {"liquidation.png", "order-book.png", "volume-profile.png", "open-interest.png", "funding.png",
            "stops-and-flow.png"}  # fmt: skip


@pytest.fixture
def logged(monkeypatch):
    """What was handed to MLflow: figures by name, artefacts with their text, tags."""
    kept = {"figures": {}, "artifacts": {}, "tags": {}}
    monkeypatch.setattr(track, "log_figure", lambda figure, name: kept["figures"].__setitem__(name, figure))

    def log_artifact(path: str, folder: str) -> None:
        kept["artifacts"][f"{folder}/{Path(path).name}"] = Path(path).read_text(encoding="utf-8")

    monkeypatch.setattr(track.mlflow, "log_artifact", log_artifact)
    monkeypatch.setattr(track.mlflow, "set_tag", kept["tags"].__setitem__)
    return kept


def pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_every_picture_and_the_page_are_logged_and_know_nothing_later(small, tmp_path, logged):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    maps.log_maps(small.lake, small.config, utc_ns(END))
    assert logged["figures"].keys() == PICTURES
    (page,) = logged["artifacts"].items()
    assert page[0] == "figures/maps.html"
    assert "Simulated data." in page[1]
    first = logged["figures"]["liquidation.png"]
    maps.log_maps(noised(small.lake, tmp_path / "noised", utc_ns(END), 2), small.config, utc_ns(END))
    again = logged["figures"]["liquidation.png"]
    assert again is not first
    for figure in (first, again):
        FigureCanvasAgg(figure)
    assert np.array_equal(pixels(first), pixels(again))


def test_where_there_is_nothing_to_draw_a_tag_says_why(small, logged):
    maps.log_maps(small.lake, small.config, utc_ns("2024-06-01"))
    assert not logged["figures"]
    assert "no step" in logged["tags"]["squeeze.maps"]
