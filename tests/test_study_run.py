"""The study whole, on a small simulated recording: where it stops looking, what it writes, and that it repeats."""

import json

import numpy as np
import pytest
from small import noised

from squeeze.cli import main
from squeeze.market.captures import import_capture
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.market.raw_log import RawLog
from squeeze.market.replay import raw_events
from squeeze.outcomes import Liquidations
from squeeze.outcomes import rows as labels
from squeeze.tools.study.study import conduct, gather, spec_of
from squeeze.tools.study.task import decision_times, first_test_ns, liquidations, load_task, simulated_task
from squeeze.tools.study.walls import looks, walls
from training import splits


def test_a_study_stops_where_the_trainings_first_test_block_begins(small):
    task = load_task(small.config_path)
    rows = labels.rows(small.lake, small.config.spec)
    assert decision_times(liquidations(small.lake, task.spec), task.spec.label).tolist() == rows.ts_ns.tolist()
    blocks = splits.blocks(rows.ts_ns, small.config.spec.label, small.config.splits)
    assert first_test_ns(small.lake, task) == blocks[0].test_from_ns


def test_rows_of_hourly_sums_are_those_of_complete_intervals(small):
    label = small.config.spec.label
    ends = np.array([1, 2, 4, 5, 6]) * HOUR_NS
    usd = np.ones(5)
    two_hours = type(label)(name="l", threshold_usd=1.0, horizons_minutes=(120,), every_minutes=60, recorded="rows")
    found = decision_times(Liquidations.sums(ends, HOUR_NS, usd, usd), two_hours)
    assert (found // HOUR_NS).tolist() == [0, 3, 4]


@pytest.fixture(scope="module")
def gathered(small):
    task = load_task(small.config_path)
    until_ns = first_test_ns(small.lake, task)
    return task, until_ns, gather(small.lake, task.spec, None, until_ns)


def test_nothing_later_changes_what_is_gathered(small, gathered, tmp_path):
    task, until_ns, recorded = gathered
    other = gather(noised(small.lake, tmp_path / "noised", until_ns - 1, 5), task.spec, None, until_ns)
    held, again = recorded.held, other.held
    assert held.closes_ns[-1] <= until_ns
    for name in ("closes_ns", "close", "volume_base", "ahead_share"):
        assert np.array_equal(getattr(held, name), getattr(again, name), equal_nan=True)
    for name in ("step", "centroid_log", "mass_share", "is_major"):
        assert np.array_equal(getattr(held.zones, name), getattr(again.zones, name), equal_nan=True)
    assert np.array_equal(recorded.found.usd, other.found.usd)
    assert recorded.found.times_ns[-1] < until_ns


def test_the_fold_sees_the_zones_that_frames_have(gathered):
    _, _, recorded = gathered
    held = recorded.held
    assert len(held.zones.step) > 1000
    assert held.seen[held.zones.step].all()
    assert (held.zones.near_log <= held.zones.centroid_log).all()
    assert (held.zones.centroid_log <= held.zones.far_log).all()
    assert 0 < held.zones.is_major.mean() < 0.5


def test_every_question_of_the_study_is_answered_or_says_what_is_missing(gathered):
    _, _, recorded = gathered
    rows, events = conduct(recorded, spec_of("SIMUSDT", 100), [], 0, lambda text: None)
    asked = {row.statistic for row in rows}
    assert asked == {
        "near_zones", "volume", "onward", "hit_to_end", "reversals", "punched_through", "swept_with_trend",
        "heavier_side", "thinning", "funding", "divergence", "walls",
    }  # fmt: skip
    assert [found["events"].split(",")[0] for found in events] == ["L1", "L2", "L2"]
    missing = {row.statistic: row.verdict for row in rows if row.verdict.startswith("not answerable")}
    assert missing["divergence"].endswith("venues folded; there are 1")
    assert missing["walls"].endswith("there are 0")
    for row in rows:
        groups = {r.group for r in rows if (r.figure, r.events) == (row.figure, row.events)}
        assert groups == {"all"} or len(groups) == 7
        assert row.n >= 50 or "inconclusive" in row.verdict or "not answerable" in row.verdict


def test_the_command_writes_table_json_and_figure_and_repeats_itself(small, tmp_path, capsys):
    command = ["study", str(small.config_path), "--lake", str(small.lake.root), "--draws", "100", "--out"]
    for name in ("one", "two"):
        assert main([*command, str(tmp_path / name)]) == 0
    written = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    assert written[0]["answers"] == written[1]["answers"]
    assert written[0]["facts"]["looks"].startswith("none at test blocks")
    assert set(written[0]["facts"]) == {"market", "command", "commit", "data", "looks", "intervals"}
    page = (tmp_path / "one.md").read_text()
    assert "## Not answerable here" in page
    assert "nan" not in page
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert "cross-exchange divergence" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study"], "needs a run file, or --sim"),
        (["study", "absent.yaml"], "absent.yaml: cannot be read"),
        (["study", "--sim", "--draws", "3"], "--draws: at least 100, got 3"),
        (["study", "--sim", "--zones", "perhaps"], "zones"),
        (["study", "--sim", "--days", "0"], "days"),
    ],
)
def test_a_mistake_is_one_line(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_simulators_own_task_reads_what_it_records():
    market = simulated_task().spec.market
    assert {stream.venue for stream in market.streams().values()} == {"simulated"}
    assert market.step_seconds * 1_000_000_000 == MINUTE_NS


@pytest.mark.real
def test_a_recorded_book_of_42_seconds_holds_no_wall_of_500_coins(recordings, tmp_path):
    log = RawLog(tmp_path)
    import_capture(recordings / "captures" / "BYBIT.jsonl.zst", log, "bybit", address="/v5/public/linear")
    seen = list(looks(raw_events(log, ["bybit"], "BTCUSDT"), "bybit"))
    assert len(seen) == 42
    assert all(len(look.held_base) > 2 and look.lowest < look.highest for look in seen)
    assert walls(seen, 500.0) == []
    assert len(walls(seen, 100.0)) == 2
