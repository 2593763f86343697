"""The history of the maps: what is kept and thinned, what a killed writer loses, what is refused, and the four laws."""

from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_atlas import mirrored
from test_atlas import steps as atlas_steps

from squeeze.errors import LakeError
from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.state import MarketState
from squeeze.tools.history import HistorySpec, MapHistory
from squeeze.tools.snapshot import Snapshot, snapshot_of
from tests.venues import spec

START_NS = 20_000 * DAY_NS
BINS = 3


def snapshot(close_ns: int, seed: int = 0) -> Snapshot:
    rng = np.random.default_rng((seed, close_ns // SECOND_NS))
    mark = 100.0 + rng.random()
    maps = rng.gamma(1.0, 5.0, (4, 2, BINS)).astype(np.float32)
    maps[3, 1, 2] = np.nan
    return Snapshot(close_ns, mark, mark - 1.0, mark + 1.0, 92, 0.05, 1e3, *maps, rng.gamma(1.0, 5.0, (8, 2)))


def same(one: Snapshot, other: Snapshot) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name), equal_nan=True) for f in fields(Snapshot))


def stored(history: MapHistory) -> list[Snapshot]:
    return list(history.between(0, 2**62))


def twin(closes: list[int], rules: HistorySpec) -> list[int]:
    """Which closes are kept when the last of them was added, by looking at each alone."""
    kept = []
    today = (closes[-1] - 1) // DAY_NS
    for i, close_ns in enumerate(closes):
        day = (close_ns - 1) // DAY_NS
        # Days are thinned when the first snapshot of a new day comes in.
        first_of_today = next(ns for ns in closes if (ns - 1) // DAY_NS == today)
        age_ns = first_of_today - (day + 1) * DAY_NS
        if day != today and age_ns >= rules.coarse_days * DAY_NS:
            continue
        is_old = day != today and age_ns >= rules.fine_days * DAY_NS
        slot_ns = round((rules.coarse_minutes if is_old else rules.fine_minutes) * MINUTE_NS)
        following = closes[i + 1] if i + 1 < len(closes) else None
        if following is None or (following - 1) // slot_ns != (close_ns - 1) // slot_ns:
            kept.append(close_ns)
    return kept


def test_what_was_added_comes_back_bit_for_bit(tmp_path):
    added = [snapshot(START_NS + i * MINUTE_NS) for i in range(1, 40)]
    with MapHistory(tmp_path, "S") as history:
        assert all(history.add(one) for one in added)
        assert all(map(same, stored(history), added))
    again = MapHistory(tmp_path, "S")
    assert len(stored(again)) == 39
    assert all(map(same, stored(again), added))
    assert again.range() == (added[0].close_ns, added[-1].close_ns)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4 * 3600), min_size=1, max_size=60), st.integers(0, 2**32))
def test_the_last_of_each_slot_is_kept_and_old_days_are_thinned_as_the_twin_says(tmp_path_factory, gaps, seed):
    rules = HistorySpec(fine_minutes=10, fine_days=1, coarse_minutes=120, coarse_days=3, write_minutes=60)
    closes = (START_NS + np.cumsum(gaps) * SECOND_NS).tolist()
    with MapHistory(tmp_path_factory.mktemp("kept"), "S", rules) as history:
        for close_ns in closes:
            history.add(snapshot(close_ns, seed))
    kept = stored(history)
    assert [one.close_ns for one in kept] == twin(closes, rules)
    # All but the range of the mark is what it was when it became known.
    for one in kept:
        was = snapshot(one.close_ns, seed)
        assert same(replace(one, mark_low=was.mark_low, mark_high=was.mark_high), was)


def test_a_kept_snapshot_has_the_range_of_those_that_were_dropped_before_it(tmp_path):
    history = MapHistory(tmp_path, "S")
    lows = []
    for second in (10, 20, 60):
        one = snapshot(START_NS + second * SECOND_NS)
        lows.append(one.mark_low)
        history.add(one)
    (kept,) = stored(history)
    assert (kept.close_ns, kept.mark_low) == (START_NS + MINUTE_NS, min(lows))


def test_minutes_stay_seven_days_and_quarter_hours_ninety_in_a_bounded_number_of_files(tmp_path):
    with MapHistory(tmp_path, "S", HistorySpec(write_minutes=1440)) as history:
        for day in range(100):
            for minute in (1, 14, 15, 16, 1440):
                history.add(snapshot(START_NS + day * DAY_NS + minute * MINUTE_NS))
    days = {}
    for one in stored(history):
        days.setdefault((one.close_ns - 1 - START_NS) // DAY_NS, []).append(one.close_ns)
    assert sorted(days) == list(range(9, 100)), "ninety whole days and the running one"
    assert [len(days[day]) for day in (9, 91, 92, 99)] == [3, 3, 5, 5]
    assert len(list(tmp_path.rglob("*.parquet"))) == 91


def test_a_killed_writer_loses_at_most_what_it_had_not_written_and_the_next_goes_on(tmp_path):
    killed = MapHistory(tmp_path, "S", HistorySpec(write_minutes=10))
    for minute in range(1, 36):
        killed.add(snapshot(START_NS + minute * MINUTE_NS))
    del killed  # without `flush`
    again = MapHistory(tmp_path, "S", HistorySpec(write_minutes=10))
    last_ns = again.range()[1]
    assert START_NS + 25 * MINUTE_NS <= last_ns < START_NS + 35 * MINUTE_NS
    assert not again.add(snapshot(last_ns)), "what is there is not added again"
    with again:
        for minute in range(1, 50):
            again.add(snapshot(START_NS + minute * MINUTE_NS))
    assert [one.close_ns for one in stored(again)] == [START_NS + i * MINUTE_NS for i in range(1, 50)]


def test_a_writer_killed_while_it_thins_leaves_no_snapshot_twice(tmp_path):
    rules = HistorySpec(fine_days=1, coarse_days=9)
    with MapHistory(tmp_path, "S", rules) as history:
        for minute in range(1, 31):
            history.add(snapshot(START_NS + minute * MINUTE_NS))
    (fine,) = tmp_path.rglob("*.60s.parquet")
    before = fine.read_bytes()
    with MapHistory(tmp_path, "S", rules) as history:
        history.add(snapshot(START_NS + 3 * DAY_NS + MINUTE_NS))
    assert not fine.exists()
    fine.write_bytes(before)  # as if it had been killed between the two
    again = MapHistory(tmp_path, "S", rules)
    assert [one.close_ns - START_NS for one in stored(again)][:2] == [15 * MINUTE_NS, 30 * MINUTE_NS]
    assert len(stored(again)) == 3


def test_later_snapshots_change_no_earlier_answer(tmp_path):
    history = MapHistory(tmp_path, "S")
    asked = [START_NS + i * MINUTE_NS + 7 for i in range(1, 20)]
    told = []
    for minute in range(1, 20):
        history.add(snapshot(START_NS + minute * MINUTE_NS))
        told.append(history.at(asked[minute - 1]))
    for ns, one in zip(asked, told, strict=True):
        again = history.at(ns)
        assert again.close_ns <= ns
        assert same(again, one)
    assert history.at(START_NS) is None


def test_a_history_may_lie_in_an_object_store():
    with MapHistory("memory://history-test", "S") as history:
        history.add(snapshot(START_NS + MINUTE_NS))
    assert same(MapHistory("memory://history-test", "S").at(2**62), snapshot(START_NS + MINUTE_NS))


@pytest.mark.parametrize("harm", ["cut", "nonsense", "another market's", "another day's"])
def test_a_damaged_file_is_named(tmp_path, harm):
    with MapHistory(tmp_path, "S") as history:
        for minute in range(1, 9):
            history.add(snapshot(START_NS + minute * MINUTE_NS))
    (path,) = tmp_path.rglob("*.parquet")
    data = bytearray(path.read_bytes())
    symbol = "S"
    if harm == "cut":
        data = data[: len(data) // 2]
    elif harm == "nonsense":
        data = bytearray(b"PAR1 but not quite")
    elif harm == "another market's":
        symbol = "T"
        (tmp_path / "symbol=T").mkdir()
        path = path.rename(tmp_path / "symbol=T" / path.name)
    else:
        path = path.rename(path.with_name(f"2031-01-01.{path.name.split('.', 1)[1]}"))
    path.write_bytes(data)
    with pytest.raises(LakeError, match=path.name):
        MapHistory(tmp_path, symbol)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    added = [snapshot(START_NS + minute * MINUTE_NS) for minute in range(1, 9)]
    with MapHistory(folder, "S") as history:
        for one in added:
            history.add(one)
    (path,) = folder.rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        again = stored(MapHistory(folder, "S"))
    except LakeError as error:
        assert path.name in str(error)  # noqa: PT017  (either outcome is right)
    else:
        assert len(again) == len(added)
        assert all(map(same, again, added))


def test_another_grid_is_refused(tmp_path):
    history = MapHistory(tmp_path, "S")
    history.add(snapshot(START_NS + MINUTE_NS))
    with pytest.raises(LakeError, match=r"holds 3 of 0\.05, got 3 bins of 0\.1"):
        history.add(replace(snapshot(START_NS + 2 * MINUTE_NS), bin_log=0.1))


@pytest.mark.parametrize(
    "key", [{"fine_minutes": 7.0}, {"fine_minutes": 30.0}, {"fine_days": 100}, {"write_minutes": 0}]
)
def test_rules_that_cannot_hold_are_refused(key):
    with pytest.raises(ValueError, match=r"fine|slots|write"):
        HistorySpec(**key)


@pytest.fixture(scope="module")
def walk():
    one, other = MarketState(spec()), MarketState(spec())
    return [
        (snapshot_of(one, one.advance(step)), snapshot_of(other, other.advance(mirrored(step))), one)
        for step in atlas_steps(120, 3)
    ]


def test_the_mirrored_market_has_the_mirrored_snapshot(walk):
    known = [(here, there) for here, there, _ in walk if here is not None and there is not None]
    assert len(known) > 60
    for here, there in known[5:]:
        assert there.mark == pytest.approx(1 / here.mark)
        np.testing.assert_allclose(there.liquidation.sum(axis=1), here.liquidation[::-1].sum(axis=1), rtol=0.02)
        np.testing.assert_allclose(there.coins[1:4, ::-1], here.coins[1:4], rtol=0.02)


def test_a_snapshot_conserves_and_says_nan_where_nothing_was_recorded(walk):
    here = [one for one, _, _ in walk if one is not None]
    flows = here[-1].coins
    assert flows[0].sum() == pytest.approx((flows[1] - flows[2:].sum(axis=0)).sum())
    assert np.isnan(here[-1].book).any(), "the book does not reach as far as the map"
    assert not np.isnan(here[-1].liquidation).any()
    bare = without_atlas()
    told = [snapshot_of(bare, bare.advance(step)) for step in atlas_steps(60, 3)]
    newest = [one for one in told if one is not None][-1]
    assert np.isfinite(newest.liquidation).all()
    assert np.isnan([newest.volume, newest.interest, newest.book]).all()


def without_atlas() -> MarketState:
    return MarketState(msgspec.structs.replace(spec(), atlas=None))
