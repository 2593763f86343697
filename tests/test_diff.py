"""`squeeze diff`: what it says of scripted zones, on either side alike, and the command from lake and from history."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from squeeze.cli import main
from squeeze.errors import ConfigError
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.spec import FrameSpec
from squeeze.tools.diff import FLOWS, difference, text
from squeeze.tools.history import MapHistory
from squeeze.tools.snapshot import Snapshot
from squeeze.zones.spec import TrackSpec

BIN_LOG, BINS, MARK_BIN, INTEREST = 1e-3, 100, 4605, 1e4
FRAME, TRACK = FrameSpec(zone_quantile=0.8), TrackSpec()
NOTHING = np.full((2, BINS), np.nan, np.float32)


def snapshot(minute: int, heaps: dict[int, float], mark_bin: int = MARK_BIN, side: int = 0) -> Snapshot:
    """A map with heaps of coins, each over five bins about an absolute one; `side` 1 is all of it upside down."""
    cells = np.full((2, BINS), 1e-3, np.float32)
    for place, coins in heaps.items():
        for offset in range(-2, 3):
            outward = abs(place + offset - mark_bin)
            if outward < BINS:
                below = place < mark_bin
                cells[side if below else 1 - side, outward] += coins / 5
    here = mark_bin if side == 0 else -mark_bin - 1
    mark = math.exp((here + 0.5) * BIN_LOG)
    flows = np.zeros((8, 2))
    flows[0] = flows[1] = cells.sum(axis=1, dtype=float)
    return Snapshot(
        minute * MINUTE_NS, mark, mark, mark, here, BIN_LOG, INTEREST, cells, NOTHING, NOTHING, NOTHING, flows
    )


def told(before: Snapshot, after: Snapshot, low: float = math.inf, high: float = 0.0):
    return difference(before, after, min(low, after.mark), max(high, after.mark), FRAME, TRACK)


@pytest.mark.parametrize("side", [0, 1])
def test_scripted_zones_grow_shrink_move_vanish_and_appear_on_either_side_alike(side):
    before = snapshot(
        1, {MARK_BIN - 20: 200.0, MARK_BIN - 40: 200.0, MARK_BIN - 60: 200.0, MARK_BIN + 30: 200.0}, side=side
    )
    after = snapshot(
        99, {MARK_BIN - 20: 300.0, MARK_BIN - 40: 150.0, MARK_BIN - 60: 200.0, MARK_BIN + 50: 120.0}, side=side
    )
    found = told(before, after)
    below, above = ("long", "short") if side == 0 else ("short", "long")
    seen = {(c.side, c.what) for c in found.zones}
    assert seen == {
        (below, ("grew",)), (below, ("shrank",)), (below, ("stayed",)), (above, ("vanished", "dissipated")),
        (above, ("appeared",)),
    }  # fmt: skip
    grew = next(c for c in found.zones if c.what == ("grew",))
    assert grew.before.mass_base == pytest.approx(200.0, rel=0.02)
    assert grew.after.mass_share == pytest.approx(300.0 / INTEREST, rel=0.02)
    assert grew.after.mass_usd == pytest.approx(300.0 * grew.after.price, rel=0.02)
    assert grew.before.distance_log == pytest.approx(20 * BIN_LOG, abs=1.5 * BIN_LOG)
    assert grew.before.low < grew.before.price < grew.before.high
    assert found.zones[0].what[0] in ("vanished",), "the largest change of USD comes first"


def test_a_zone_that_went_further_than_its_own_width_moved_and_is_still_the_same():
    before, after = snapshot(1, {MARK_BIN - 40: 200.0}), snapshot(2, {MARK_BIN - 42: 200.0})
    (change,) = told(before, after).zones
    assert change.what == ("moved",)
    assert math.log(change.after.price / change.before.price) == pytest.approx(-2 * BIN_LOG, rel=0.1)


def test_a_zone_that_the_mark_went_through_was_swept():
    before, after = snapshot(1, {MARK_BIN - 20: 200.0}), snapshot(2, {})
    through = math.exp((MARK_BIN - 30) * BIN_LOG)
    (change,) = told(before, after, low=through).zones
    assert change.what == ("vanished", "swept")
    (change,) = told(before, after).zones
    assert change.what == ("vanished", "dissipated")


def test_totals_tell_what_went_in_and_out_and_nothing_where_a_map_was_begun_anew():
    before, after = snapshot(1, {MARK_BIN - 20: 200.0}), snapshot(2, {MARK_BIN - 20: 150.0})
    flows = before.coins.copy()
    flows[1] += 30.0  # opened
    flows[2] += [20.0, 30.0]  # closed
    flows[3] += [60.0, 0.0]  # swept
    flows[0] += [-50.0, 0.0]
    found = told(before, replace(after, coins=flows))
    longs, shorts = (row.flows_base for row in found.totals)
    assert [longs[name] for name in FLOWS] == pytest.approx([30.0, 20.0, 60.0, 0.0, 0.0, 0.0, 0.0])
    assert shorts["closed"] == pytest.approx(30.0)
    assert found.totals[0].before_usd == pytest.approx(before.liquidation[0].sum() * before.mark)
    anew = told(replace(before, coins=flows), after)
    assert all(math.isnan(value) for row in anew.totals for value in row.flows_base.values())
    assert "–" in text(anew, "S")


def test_snapshots_that_cannot_be_compared_are_refused():
    one, other = snapshot(2, {}), snapshot(1, {})
    with pytest.raises(ConfigError, match="after the first"):
        told(one, other)
    unknown = replace(one, liquidation=NOTHING)
    with pytest.raises(ConfigError, match="not known at 1970-01-01T00:02"):
        told(other, unknown)
    with pytest.raises(ConfigError, match="other grids"):
        told(other, replace(one, bin_log=2e-3))


@pytest.fixture
def command(small, capsys):
    def run(*arguments, lake=small.lake.root):
        status = main(["diff", str(small.config_path), *map(str, arguments), "--lake", str(lake)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


TIMES = ("2025-01-02T00:00", "2025-01-02T12:00")


def test_the_command_folds_the_lake_once_and_then_reads_the_history(command, tmp_path):
    kept = tmp_path / "kept"
    status, folded, err = command(*TIMES, "--history", kept, "--json")
    assert (status, err) == (0, "")
    found = json.loads(folded)
    assert found["after_ns"] - found["before_ns"] == 12 * HOUR_NS
    assert found["zones"]
    assert {row["side"] for row in found["totals"]} == {"long", "short"}
    assert all(row["flows_base"]["opened"] > 0 for row in found["totals"])
    assert MapHistory(kept, "SIMUSDT").range()[1] == found["after_ns"]
    status, read, _ = command(*TIMES, "--history", kept, "--json", lake=tmp_path / "no-lake")
    assert status == 0
    again = json.loads(read)
    assert [(c["side"], c["what"]) for c in again["zones"]] == [(c["side"], c["what"]) for c in found["zones"]]
    assert again["totals"] == found["totals"]
    status, shown, _ = command(*TIMES, "--history", kept, lake=tmp_path / "no-lake")
    assert status == 0
    assert "SIMUSDT from 2025-01-02 00:00:00Z to 2025-01-02 12:00:00Z" in shown
    assert "distance then" in shown


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (TIMES[::-1], "must be before"),
        ((TIMES[0], TIMES[0]), "must be before"),
        (("noon", TIMES[1]), "expected a UTC time"),
        (("2024-06-01", "2025-01-01T02:00"), "no map within 15 minutes before T1"),
        (("2025-01-11T06:00", "2031-01-01"), "no map within 15 minutes before T2"),
    ],
)
def test_times_that_cannot_be_compared_are_told_in_one_line(command, times, said):
    status, out, err = command(*times, *(("--from", "2025-01-11") if "2031" in times[1] else ()))
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
