"""`squeeze plot`: what is gathered obeys the laws, and the command writes pictures and a page that fetches nothing."""

import json
import math
import re

import numpy as np
import pytest
from small import noised
from test_atlas import mirrored
from test_atlas import steps as atlas_steps

from squeeze.cli import main
from squeeze.errors import DataError
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.state import MarketState
from squeeze.strict import utc_ns
from squeeze.tools import fold, map_verbs
from squeeze.tools.fold import Folded
from squeeze.tools.pictures import still
from squeeze.tools.pictures.figures import pictures
from squeeze.tools.pictures.gather import absolute, gather
from squeeze.tools.pictures.panel import Bars, Heat, Level, Line, Marks, Panel, Picture, Spans, Strip
from squeeze.tools.study.task import load_task
from tests.venues import spec

NAMES = ("liquidation", "order-book", "volume-profile", "open-interest", "funding", "stops-and-flow")
REACH_LOG = 0.03


def walk(steps):
    state = MarketState(spec())
    return (Folded(step, state, state.advance(step)) for step in steps)


@pytest.fixture(scope="module")
def three_venues():
    """The last two hours of four, of three venues and of the same upside down."""
    steps = atlas_steps(240, 3)
    end_ns = steps[-1].close_ns
    return gather(walk(steps), end_ns, 2.0), gather(walk(map(mirrored, steps)), end_ns, 2.0)


def layers(seen, name: str, kind: type) -> list:
    found = {picture.name: picture for picture in pictures(seen, "simulated market", REACH_LOG)}[name]
    panels = [panel for row in found.grid for panel in row if isinstance(panel, Panel)]
    return [layer for panel in panels for layer in panel.layers if isinstance(layer, kind)]


def test_the_mirrored_market_is_gathered_mirrored(three_venues):
    here, there = three_venues
    low = min(one.mark_bin for one in here.columns.values()) - 20
    high = max(one.mark_bin for one in here.columns.values()) + 20
    assert here.columns.keys() == there.columns.keys()
    for name in ("liquidation", "book"):
        up, down = absolute(here, name, low, high), absolute(there, name, -high, -low)[::-1]
        assert np.isfinite(up).any()
        assert np.array_equal(np.isfinite(up), np.isfinite(down))
        np.testing.assert_allclose(down, up, rtol=1e-3, atol=1e-3 * np.nanmax(up))
    assert [(ns, 1 - side, usd) for ns, side, usd, _ in there.prints] == [p[:3] for p in here.prints]
    for pattern in {p for p, _ in here.flags}:
        if fold_name(pattern).startswith("funding"):
            continue  # crowded longs and crowded shorts have thresholds of their own
        for side in range(2):
            assert there.flags.get((pattern, 1 - side)) == here.flags.get((pattern, side))


def fold_name(pattern: int) -> str:
    from squeeze.patterns.catalogue import NAMES as patterns

    return patterns[pattern]


def test_a_column_shows_what_its_snapshot_holds_and_nan_beyond(three_venues):
    seen, _ = three_venues
    column, one = max(seen.columns.items())
    bins = one.liquidation.shape[1]
    cells = absolute(seen, "liquidation", one.mark_bin - bins - 3, one.mark_bin + bins + 3)[:, column]
    assert np.isnan(cells[[0, 1, 2, 3, -1, -2, -3]]).all()
    assert np.isfinite(cells[4:-3]).all()
    assert cells[4:-3].sum() == pytest.approx(one.liquidation.sum(dtype=float), rel=1e-5)
    volume = absolute(seen, "volume", one.mark_bin, one.mark_bin + 1)[0, column]
    assert volume == one.volume[0, 0] == one.volume[1, 0], "both sides have the same cell of the mark's own bin"


def test_amounts_by_price_are_those_of_the_maps(three_venues):
    seen, _ = three_venues
    atlas = seen.kept_atlas
    window = layers(seen, "volume-profile", Bars)[0]
    shown = window.value.sum() * seen.bin_log / 1e-3
    held = atlas.venues[0].volume.outward(seen.marks()[-1, 3], seen.bin_log, len(window.value) // 2)[:, 0]
    assert shown == pytest.approx(np.nansum(held))
    views = layers(seen, "liquidation", Bars)
    assert [bars.name for bars in views] == ["opened within 1d", "opened within 7d", "opened within 30d", "older"]
    older, today = sum(bars.value.sum() for bars in views[1:]), views[0].value.sum()
    assert older <= 1e-6 * today, "all was opened today; the rest is the rounding of a snapshot"
    usd = [usd for _, _, usd, _ in seen.prints]
    texts = [text for marks in layers(seen, "liquidation", Marks) for text in marks.texts]
    assert sum(float(text.split(" USD")[0].replace(",", "")) for text in texts) == pytest.approx(sum(usd), rel=1e-3)


def test_flags_are_told_with_their_reason_and_where_they_began(three_venues):
    seen, _ = three_venues
    spans = layers(seen, "liquidation", Spans)
    assert spans
    for layer in spans:
        assert len(layer.start) == len(layer.texts)
        assert (layer.end - layer.start >= MINUTE_NS).all()
        assert all(layer.texts)
        assert layer.start.min() >= seen.start_ns
        assert layer.end.max() <= seen.end_ns


def test_nothing_after_the_last_time_shows(three_venues):
    here, _ = three_venues
    steps = atlas_steps(260, 3)
    again = gather(walk(steps), here.end_ns, 2.0)
    for one, other in zip(
        pictures(here, "s", REACH_LOG), pictures(again, "s", REACH_LOG), strict=True
    ):  # fmt: skip
        assert one.caption == other.caption
        for a, b in zip(one.grid, other.grid, strict=True):
            for panel, same in zip(a, b, strict=True):
                for layer, twin in zip(*((p.layers if p else ()) for p in (panel, same)), strict=True):
                    for name in type(layer).__dataclass_fields__:
                        mine, its = getattr(layer, name), getattr(twin, name)
                        equal_nan = isinstance(mine, np.ndarray)
                        assert np.array_equal(mine, its, equal_nan=equal_nan) if equal_nan else mine == its


def test_a_window_without_a_mark_is_refused():
    steps = atlas_steps(30, 3)
    with pytest.raises(DataError, match="no step at all"):
        gather(walk(steps), steps[0].close_ns - MINUTE_NS, 1.0)


def test_no_pair_of_colours_is_red_and_green(three_venues):
    from matplotlib.colors import rgb_to_hsv, to_rgb

    seen, _ = three_venues
    for picture in pictures(seen, "simulated market", REACH_LOG):
        used = {
            layer.colour for row in picture.grid for panel in row if panel for layer in panel.layers
            if isinstance(layer, (Bars, Line, Marks))
        }  # fmt: skip
        hues = [rgb_to_hsv(to_rgb(colour)) for colour in used]
        vivid = [h for h, s, v in hues if s > 0.3 and v > 0.3]
        pure_red = any(h < 0.02 or h > 0.95 for h in vivid)
        green = any(0.22 < h < 0.45 for h in vivid)
        assert not (pure_red and green), picture.name


def test_what_was_not_recorded_is_said(small):
    """One venue with bars alone: no book, no forecast, and nobody says that it is zero."""
    task = load_task(small.config_path)
    bare = fold.with_atlas(task.spec)
    end_ns = utc_ns("2025-01-03")
    events = fold.recorded(small.lake, bare, utc_ns("2025-01-02"), end_ns)
    seen = gather(fold.folded(bare, events), end_ns, 6.0)
    found = {p.name: p for p in pictures(seen, "simulated market", REACH_LOG)}
    notes = [panel.note for row in found["order-book"].grid for panel in row if panel]
    assert notes == ["no order book was recorded", "not recorded"]
    (heat,) = layers(seen, "order-book", Heat)
    assert np.isnan(heat.z).all()
    assert "no predicted rate was recorded" in [row[0].note for row in found["funding"].grid]
    assert "folded since 2025-01-02" in found["liquidation"].caption
    assert still.draw(found["order-book"]).axes


def test_the_future_changes_no_picture(small, tmp_path):
    task = load_task(small.config_path)
    bare = fold.with_atlas(task.spec)
    end_ns = utc_ns("2025-01-02T12:00")
    heats = []
    for lake in (small.lake, noised(small.lake, tmp_path / "noised", end_ns, 1)):
        events = fold.recorded(lake, bare, utc_ns("2025-01-02"), end_ns)
        seen = gather(fold.folded(bare, events), end_ns, 6.0)
        heats.append([heat.z for name in NAMES for heat in layers(seen, name, Heat)])
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*heats, strict=True))
    assert np.isfinite(heats[0][0]).any()


def plotted(folder):
    pngs = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    return pngs, (folder / "maps.html").read_text(encoding="utf-8")


def without_library(page: str) -> str:
    """What the page says itself; plotly.js holds addresses that it never calls under the page's policy."""
    return re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)


def test_the_command_writes_every_picture_and_a_page_that_fetches_nothing(small, tmp_path, capsys):
    pytest.importorskip("plotly")
    out = tmp_path / "plots"
    arguments = ["--lake", small.lake.root, "--from", "2025-01-11", "--at", "2025-01-11T12:00", "--hours", "6"]
    status = main(["plot", str(small.config_path), *map(str, arguments), "--dpi", "50", "--out", str(out), "--json"])
    told, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert len(json.loads(told)) == 7
    pngs, page = plotted(out)
    assert pngs.keys() == set(NAMES)
    assert all(png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) > 5_000 for png in pngs.values())
    assert "default-src 'none'" in page
    own = without_library(page)
    assert not re.search(r"""(src|href)\s*=|@import|url\(""", own)
    assert not re.search(r"https?://(?!www\.w3\.org)", own)
    assert "Simulated data." in own
    for heading in ("Liquidation map", "Order book", "Volume profile", "Open interest by price", "Funding"):
        assert f"<h2>{heading}</h2>" in own
    assert "million USD that would be liquidated" in own


def test_labels_at_the_edge_of_a_panel_lie_inside_it():
    """At the right border of a picture the last letter would touch the frame, or be cut."""
    bars = Bars(np.arange(3.0), np.ones(3), np.ones(3), "opened", "#000000", np.zeros(3), "million USD")
    panel = Panel((bars, Strip(0.5, 1.5, "25.8 M USD, 6.9% of OI", "#000000"), Level(1.0, "mark")), y_range=(-1.0, 3.0))
    figure = still.draw(Picture("one", "title", "caption", ((panel, panel),), (2.0, 1.0), (1.0,), (8.0, 4.0)), dpi=80)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["25.8 M USD, 6.9% of OI", "mark"]
        for text in axes.texts:
            assert 2 < axes.bbox.x1 - text.get_window_extent().x1 < 10


def test_bars_begin_at_their_base_and_end_a_value_further():
    bars = Bars(
        np.array([10.0, 11.0]), np.array([2.0, -1.0]), np.array([1.0, 0.5]), "opened", "#000000", np.array([0.0, 3.0])
    )
    figure = still.draw(Picture("one", "title", "caption", ((Panel((bars,)),),), (1.0,), (1.0,), (4.0, 4.0)))
    (drawn,) = figure.axes[0].collections
    boxes = [path.get_extents().extents.tolist() for path in drawn.get_paths()]
    assert boxes == [[0.0, 9.5, 2.0, 10.5], [2.0, 10.75, 3.0, 11.25]]
    assert figure.axes[0].get_xlim()[0] == 0.0
    assert figure.axes[0].get_legend_handles_labels()[1] == ["opened"]


def test_the_command_draws_a_simulated_market_of_three_venues(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(map_verbs, "BOOK_MINUTES", 60)
    out = tmp_path / "sim"
    status = main(["plot", "--sim", "--days", "1", "--hours", "1", "--at", "2025-03-01T02:00", "--dpi", "40",
                   "--out", str(out)])  # fmt: skip
    assert status == 0
    assert "liquidation.png" in capsys.readouterr().out
    pngs, page = plotted(out)
    assert len(pngs) == 6
    assert "bybit, okx, binance" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs a run file, or --sim"),
        (("--sim", "--hours", "0"), "--hours: above zero"),
        (("--sim", "--days", "0"), "--days: at least 1"),
        (("--sim", "--days", "1", "--at", "2031-01-01"), "the simulated market goes from"),
        (("--sim", "--reach", "nan"), "--reach: above zero"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, said, tmp_path, capsys):
    assert main(["plot", *arguments, "--out", str(tmp_path / "x")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_time_after_the_lake_is_refused(small, tmp_path, capsys):
    status = main(["plot", str(small.config_path), "--lake", str(small.lake.root), "--at", "2031-01-01", "--out",
                   str(tmp_path / "x")])  # fmt: skip
    assert status == 2
    assert "the lake ends at 2025-01-13" in capsys.readouterr().err


def test_columns_are_bounded_however_long_the_window(three_venues):
    steps = atlas_steps(240, 3)
    seen = gather(walk(steps), steps[-1].close_ns, 4.0, columns=50)
    assert seen.count <= 50
    assert seen.slot_ns == 5 * MINUTE_NS
    assert math.isclose((seen.end_ns - seen.start_ns) / HOUR_NS, 4.0, abs_tol=0.02)
