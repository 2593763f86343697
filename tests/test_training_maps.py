"""The heatmaps that training keeps: the pictures of `squeeze plot`, of the day before the last row; nothing later."""

from small import noised

from squeeze.strict import utc_ns
from squeeze.tools.pictures.figures import pictures
from training.tracking import maps
from training.tracking.maps import write_maps

END = "2025-01-02T12:00"
PICTURES = {"liquidation.png", "order-book.png", "volume-profile.png", "open-interest.png", "funding.png",
            "stops-and-flow.png"}  # fmt: skip


def test_every_picture_and_the_page_are_written_and_know_nothing_later(small, tmp_path, monkeypatch):
    first, again = tmp_path / "first", tmp_path / "again"
    assert write_maps(small.lake, small.config, utc_ns(END), first) == ""
    assert {path.name for path in first.iterdir()} == PICTURES | {"maps.html"}
    assert "Simulated data." in (first / "maps.html").read_text(encoding="utf-8")
    monkeypatch.setattr(maps, "pictures", lambda *given: pictures(*given)[:1])  # to draw all six again takes seconds
    write_maps(noised(small.lake, tmp_path / "noised", utc_ns(END), 2), small.config, utc_ns(END), again)
    assert (first / "liquidation.png").read_bytes() == (again / "liquidation.png").read_bytes()


def test_where_there_is_nothing_to_draw_it_says_why(small, tmp_path):
    said = write_maps(small.lake, small.config, utc_ns("2024-06-01"), tmp_path / "figures")
    assert "no step" in said
    assert not (tmp_path / "figures").exists()
