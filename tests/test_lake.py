import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import LakeError
from squeeze.market import partitions as partitions_module
from squeeze.market.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Bar,
    BookUpdate,
    Broken,
    Feed,
    Funding,
    Gap,
    Liquidation,
    Price,
    Quality,
    Quote,
    Trade,
    kind_of,
)
from squeeze.market.lake import Lake, read_events
from squeeze.market.partitions import Written, from_bits, merge_prints, order_of, to_bits
from squeeze.market.partitions import load as lake_load
from squeeze.market.rows import columns_of, event_type, events_of, schema_of
from squeeze.spec import MarketSpec, StreamSpec

DAY = 1_767_225_600_000_000_000  # 2026-01-01
KINDS = ["bar_5m", "mark_bar_1h", "open_interest", "funding", "liquidation", "liquidation_30m"]


def rows(kind, event_ns, lag_ns=0, **values):
    """Rows of a kind at these times, every value 1 unless told."""
    event_ns = np.asarray(event_ns, np.int64)
    columns = {name: np.ones(len(event_ns), dtype) for name, dtype in schema_of(kind).items()}
    columns |= {"event_ns": event_ns, "known_at_ns": event_ns + lag_ns, "quality": np.zeros(len(event_ns), np.int32)}
    if "cadence_ns" in columns:
        minutes = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}[kind.rpartition("_")[2]]
        columns["cadence_ns"] = np.full(len(event_ns), minutes * MINUTE_NS)
    return columns | {name: np.broadcast_to(np.asarray(v), len(event_ns)).copy() for name, v in values.items()}


def closes(kind, count, start=DAY):
    cadence = int(rows(kind, [0])["cadence_ns"][0])
    return start + cadence * np.arange(1, count + 1)


def market(**streams):
    bars = StreamSpec(venue="v", kinds=("bar_15m", "bar_5m"))
    return MarketSpec(symbol="S", **({"bars": bars} | streams))


def partitions(root):
    return sorted(path.parent.name for path in Path(root).rglob("data.parquet"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(tmp_path, kind):
    lake = Lake(tmp_path)
    times = DAY + HOUR_NS * np.arange(1, 60)
    written = rows(kind, times, lag_ns=SECOND_NS)
    assert lake.write(kind, "v", "S", written) == Written(rows_new=59)
    read = lake.read(kind, "v", "S")
    assert list(read) == list(schema_of(kind))
    for name, dtype in schema_of(kind).items():
        assert read[name].dtype == dtype
        np.testing.assert_array_equal(read[name], written[name])
    assert lake.streams() == [(kind, "v", "S", times[0], times[-1], 59)]


def test_an_interval_lies_on_the_day_it_opened_and_an_instant_on_its_own(tmp_path):
    lake = Lake(tmp_path)
    lake.write("bar_5m", "v", "S", rows("bar_5m", [DAY]))
    lake.write("funding", "v", "S", rows("funding", [DAY]))
    assert partitions(tmp_path / "kind=bar_5m") == ["date=2025-12-31"]
    assert partitions(tmp_path / "kind=funding") == ["date=2026-01-01"]


def test_an_older_row_is_never_overwritten(tmp_path):
    lake = Lake(tmp_path)
    lake.write("funding", "v", "S", rows("funding", [DAY, DAY + HOUR_NS], funding_rate=[0.1, 0.2]))
    again = rows("funding", [DAY, DAY + HOUR_NS, DAY + 2 * HOUR_NS], funding_rate=[0.1, 9.0, 0.3])
    assert lake.write("funding", "v", "S", again) == Written(rows_new=1, rows_same=1, rows_kept=1)
    assert lake.read("funding", "v", "S")["funding_rate"].tolist() == [0.1, 0.2, 0.3]


def test_a_partition_without_news_is_not_rewritten(tmp_path):
    lake = Lake(tmp_path)
    lake.write("bar_5m", "v", "S", rows("bar_5m", closes("bar_5m", 10), volume_base=np.nan))
    (path,) = tmp_path.rglob("data.parquet")
    before = path.stat().st_ino
    again = rows("bar_5m", closes("bar_5m", 10), volume_base=-np.nan)  # another NaN is still the same row
    assert lake.write("bar_5m", "v", "S", again) == Written(rows_same=10)
    assert path.stat().st_ino == before


def test_zero_has_no_sign(tmp_path):
    lake = Lake(tmp_path)
    lake.write("funding", "v", "S", rows("funding", [DAY], funding_rate=0.0))
    assert lake.write("funding", "v", "S", rows("funding", [DAY], funding_rate=-0.0)) == Written(rows_same=1)


def test_equal_prints_are_kept_and_importing_again_changes_nothing(tmp_path):
    lake = Lake(tmp_path)
    twice = rows("liquidation", [DAY, DAY, DAY], usd=[5.0, 5.0, 7.0])
    assert lake.write("liquidation", "v", "S", twice) == Written(rows_new=3)
    assert lake.write("liquidation", "v", "S", twice) == Written(rows_same=3)
    more = rows("liquidation", [DAY, DAY, DAY, DAY], usd=[5.0, 5.0, 5.0, 8.0])
    assert lake.write("liquidation", "v", "S", more) == Written(rows_new=2, rows_same=2)
    assert lake.read("liquidation", "v", "S")["usd"].tolist() == [5.0, 5.0, 5.0, 7.0, 8.0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2)), max_size=8), max_size=4))
def test_prints_end_as_the_largest_multiset_whatever_the_order_of_files(files):
    def fill(order):
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(Path(folder))
            for file in order:
                file = sorted(file)
                times, usd = [DAY + t * DAY_NS // 2 for t, _ in file], [float(u) for _, u in file]
                lake.write("liquidation", "v", "S", rows("liquidation", times, usd=np.array(usd)))
            if not any(order):
                return []
            read = lake.read("liquidation", "v", "S")
            return list(zip(read["event_ns"].tolist(), read["usd"].tolist(), strict=True))

    held = fill(files)
    assert held == fill(files[::-1])
    for print_ in {(DAY + t * DAY_NS // 2, float(u)) for file in files for t, u in file}:
        most = max(sum((DAY + t * DAY_NS // 2, float(u)) == print_ for t, u in file) for file in files)
        assert held.count(print_) == most


class Killed(BaseException):
    pass


def test_a_run_killed_before_the_swap_leaves_the_old_rows_readable(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    lake.write("funding", "v", "S", rows("funding", [DAY]))

    def kill(source, target):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            lake.write("funding", "v", "S", rows("funding", [DAY + HOUR_NS]))
    assert lake.read("funding", "v", "S")["event_ns"].tolist() == [DAY]
    assert lake.write("funding", "v", "S", rows("funding", [DAY, DAY + HOUR_NS])) == Written(rows_new=1, rows_same=1)


def test_a_stray_temporary_file_is_not_a_partition(tmp_path):
    lake = Lake(tmp_path)
    folder = tmp_path / "kind=funding" / "venue=v" / "symbol=S" / "date=2026-01-01"
    folder.mkdir(parents=True)
    (folder / ".0f.tmp").write_bytes(b"half a fi")
    assert lake.streams() == []
    with pytest.raises(LakeError, match="no funding of v S"):
        lake.read("funding", "v", "S")


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LakeError, match=r"date=2026-01-01/data.parquet: cannot be written: .*No space left"):
        Lake(tmp_path).write("funding", "v", "S", rows("funding", [DAY]))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_bounds_are_on_the_time_a_row_became_known(tmp_path):
    lake = Lake(tmp_path)
    times = DAY + MINUTE_NS * np.array([0, 5, 10])
    lake.write("open_interest", "v", "S", rows("open_interest", times, lag_ns=MINUTE_NS))
    read = lake.read("open_interest", "v", "S", DAY + MINUTE_NS, DAY + 11 * MINUTE_NS)
    assert read["event_ns"].tolist() == times[:2].tolist()


def test_a_row_known_a_day_late_is_found(tmp_path):
    lake = Lake(tmp_path)
    lake.write("bar_5m", "v", "S", rows("bar_5m", [DAY], lag_ns=DAY_NS))
    assert len(lake.read("bar_5m", "v", "S", DAY + DAY_NS, DAY + DAY_NS + 1)["close"]) == 1


def test_a_range_without_rows_is_empty_and_a_stream_without_any_is_an_error(tmp_path):
    lake = Lake(tmp_path)
    lake.write("funding", "v", "S", rows("funding", [DAY]))
    assert len(lake.read("funding", "v", "S", 0, DAY)["event_ns"]) == 0
    with pytest.raises(LakeError, match=r"no funding of w S; there is funding v S$"):
        lake.read("funding", "w", "S")
    with pytest.raises(LakeError, match="no bar_15m or bar_5m of v S; there is funding v S"):
        read_events(lake, market())
    with pytest.raises(LakeError, match="the lake is empty"):
        Lake(tmp_path / "none").read("funding", "v", "S")


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None])
def test_a_corrupt_partition_is_named(tmp_path, damage):
    lake = Lake(tmp_path)
    lake.write("funding", "v", "S", rows("funding", [DAY]))
    (path,) = tmp_path.rglob("data.parquet")
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    for use in (lambda: lake.read("funding", "v", "S"), lake.streams):
        with pytest.raises(LakeError, match=r"date=2026-01-01/data.parquet: not a readable partition") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_one_flipped_bit_among_the_values_is_seen(tmp_path):
    lake = Lake(tmp_path)
    lake.write("bar_5m", "v", "S", rows("bar_5m", closes("bar_5m", 200), close=np.random.default_rng(0).random(200)))
    (path,) = tmp_path.rglob("data.parquet")
    bits = bytearray(path.read_bytes())
    bits[len(bits) // 2] ^= 4
    path.write_bytes(bits)
    with pytest.raises(LakeError, match=r"data.parquet: not a readable partition of bar_5m"):
        lake.read("bar_5m", "v", "S")


@pytest.mark.parametrize("change", [{"usd": np.ones(1)}, {"close": np.ones(2)}])
def test_columns_must_be_those_of_the_kind(tmp_path, change):
    with pytest.raises(LakeError, match=r"bar_5m of v S: (expected the columns|columns differ in length)"):
        Lake(tmp_path).write("bar_5m", "v", "S", rows("bar_5m", [DAY]) | change)


def test_rows_that_cannot_be_are_refused_before_anything_is_written(tmp_path):
    lake = Lake(tmp_path)
    with pytest.raises(LakeError, match="within a day after event_ns"):
        lake.write("funding", "v", "S", rows("funding", [DAY], lag_ns=-1))
    with pytest.raises(LakeError, match="within a day after event_ns"):
        lake.write("funding", "v", "S", rows("funding", [DAY], lag_ns=DAY_NS + 1))
    with pytest.raises(LakeError, match="two rows for one event_ns"):
        lake.write("funding", "v", "S", rows("funding", [DAY, DAY]))
    with pytest.raises(LakeError, match="cadence_ns does not fit the kind, got 1h"):
        lake.write("bar_5m", "v", "S", rows("bar_5m", [DAY], cadence_ns=HOUR_NS))
    with pytest.raises(LakeError, match="unknown kind 'candles'"):
        lake.write("candles", "v", "S", rows("funding", [DAY]))
    with pytest.raises(LakeError, match=r"symbol '\.\./S' cannot name a folder"):
        lake.write("funding", "v", "../S", rows("funding", [DAY]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_gives_events_of_that_kind(tmp_path, kind):
    lake = Lake(tmp_path)
    lake.write(kind, "v", "S", rows(kind, [DAY]))
    lake.write("bar_1m", "v", "S", rows("bar_1m", [DAY]))
    stream = {"bars" if kind == "bar_5m" else "liquidations": StreamSpec(venue="v", kinds=(kind,))}
    event = next(read_events(lake, market(**({"bars": StreamSpec(venue="v", kinds=("bar_1m",))} | stream))))
    assert isinstance(event, event_type(kind))
    assert kind_of(event) == kind
    assert (event.venue, event.symbol, event.event_ns, event.known_at_ns) == ("v", "S", DAY, DAY)


def test_the_first_kind_wins_where_intervals_overlap(tmp_path):
    lake = Lake(tmp_path)
    lake.write("bar_15m", "v", "S", rows("bar_15m", closes("bar_15m", 2), close=15.0))
    lake.write("bar_5m", "v", "S", rows("bar_5m", closes("bar_5m", 9), close=5.0))
    events = list(read_events(lake, market()))
    minutes = [((e.event_ns - DAY) // MINUTE_NS, e.close) for e in events]
    assert minutes == [(15, 15.0), (30, 15.0), (35, 5.0), (40, 5.0), (45, 5.0)]
    only_5m = market(bars=StreamSpec(venue="v", kinds=("bar_1h", "bar_5m")))  # an absent kind is no fault
    assert len(list(read_events(lake, only_5m))) == 9


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 11)), st.sets(st.integers(0, 35), min_size=1), st.integers(0, 200), st.integers(0, 90))
def test_two_ranges_side_by_side_give_what_the_whole_gives(quarters, fives, cut, lag):
    with tempfile.TemporaryDirectory() as folder:
        lake, evening = Lake(Path(folder)), DAY - HOUR_NS
        for kind, taken, late in (("bar_15m", quarters, 0), ("bar_5m", fives, lag)):
            times = closes(kind, 36, evening)[np.array(sorted(taken), int)]
            lake.write(kind, "v", "S", rows(kind, times, lag_ns=late * MINUTE_NS))
        border = evening + cut * MINUTE_NS
        whole = list(read_events(lake, market()))
        assert list(read_events(lake, market(), None, border)) + list(read_events(lake, market(), border)) == whole
        told = [
            minute for e in whole for minute in range((e.event_ns - e.cadence_ns) // MINUTE_NS, e.event_ns // MINUTE_NS)
        ]
        recorded = {evening // MINUTE_NS + 15 * q + m for q in quarters for m in range(15)}
        recorded |= {evening // MINUTE_NS + 5 * f + m for f in fives for m in range(5)}
        assert sorted(told) == sorted(recorded), "every minute is told, and told once"
        known = [e.known_at_ns for e in whole]
        assert known == sorted(known)
        assert all(e.known_at_ns < border for e in read_events(lake, market(), None, border))


def test_bars_come_last_among_what_became_known_at_once(tmp_path):
    lake = Lake(tmp_path)
    hour = [DAY + HOUR_NS]
    for kind in ("bar_15m", "mark_bar_1h", "funding", "liquidation", "open_interest"):
        late = kind == "bar_15m"  # the bar happened first, and still comes last
        lake.write(kind, "v", "S", rows(kind, [hour[0] - late * MINUTE_NS * 15], lag_ns=late * MINUTE_NS * 15))
    lake.write("liquidation_1h", "v", "S", rows("liquidation_1h", hour))
    streams = {
        name: StreamSpec(venue="v", kinds=(kind,))
        for name, kind in (("open_interest", "open_interest"), ("mark", "mark_bar_1h"), ("funding", "funding"))
    }
    got = list(read_events(lake, market(**streams, liquidations=StreamSpec(venue="v", kinds=("liquidation",)))))
    assert [kind_of(e) for e in got] == ["funding", "liquidation", "mark_bar_1h", "open_interest", "bar_15m"]
    assert isinstance(got[1], Liquidation)
    assert isinstance(got[-1], Bar)


def test_an_event_comes_when_it_was_known_not_when_it_happened(tmp_path):
    lake = Lake(tmp_path)
    lake.write("bar_5m", "v", "S", rows("bar_5m", closes("bar_5m", 2)))
    stamp = DAY + 5 * MINUTE_NS - SECOND_NS
    lake.write("open_interest", "v", "S", rows("open_interest", [stamp], lag_ns=MINUTE_NS))
    interest = StreamSpec(venue="v", kinds=("open_interest",))
    assert [kind_of(e) for e in read_events(lake, market(open_interest=interest))] == [
        "bar_5m",
        "open_interest",
        "bar_5m",
    ]


def test_the_digest_is_of_the_rows_and_not_of_the_files(tmp_path):
    times = closes("bar_5m", 600)
    whole, pieces = Lake(tmp_path / "a"), Lake(tmp_path / "b")
    whole.write("bar_5m", "v", "S", rows("bar_5m", times))
    for piece in (times[400:], times[:250], times[200:450]):
        pieces.write("bar_5m", "v", "S", rows("bar_5m", piece))
    assert whole.digest(market()) == pieces.digest(market())
    end = int(times[-1])
    assert whole.digest(market(), DAY, end) != whole.digest(market(), DAY, end + 1)
    changed = Lake(tmp_path / "c")
    changed.write("bar_5m", "v", "S", rows("bar_5m", times, close=np.where(times == times[3], 2.0, 1.0)))
    assert changed.digest(market()) != whole.digest(market())
    assert changed.digest(market(), int(times[4])) == whole.digest(market(), int(times[4])), "only rows in range count"


def print_(at_ns, lag_ns=0, symbol="S", **values):
    common = {"venue": "v", "symbol": symbol, "event_ns": at_ns, "known_at_ns": at_ns + lag_ns}
    return Trade(**common, **({"price": 100.0, "size_base": 1.0, "taker_buys": True} | values))


def of(kind, at_ns, lag_ns=0, **values):
    """An event of some kind with values that do not matter."""
    common = {"venue": "v", "symbol": "S", "event_ns": at_ns, "known_at_ns": at_ns + lag_ns} | values
    match kind:
        case "trade":
            return print_(at_ns, lag_ns)
        case "gap":
            return Gap(**common, feed=Feed.BOOK, reason=Broken.MISSED_UPDATE)
        case "quote":
            return Quote(**common, bid=99.0, bid_size_base=1.0, ask=101.0, ask_size_base=2.0)
        case "price_mark":
            return Price(**common, price=100.0, of="mark")
        case "funding":
            return Funding(**common, funding_rate=0.001, interval_hours=8.0)
        case "book":
            levels = [(99.0 - n, 1.0) for n in range(3)]
            return BookUpdate(**common, is_snapshot=False, bids=levels, asks=[(101.0, 2.0)], last_id=at_ns)
        case "bar_5m":
            prices = {"open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0}
            return Bar(**common, **prices, cadence_ns=5 * MINUTE_NS, volume_base=1.0, taker_buy_base=1.0)
    raise AssertionError(kind)


MIXED = ["book", "funding", "gap", "price_mark", "quote", "trade", "bar_5m"]


def recorded(counts=(40, 3, 4, 50, 60, 80, 30), days=2.5):
    """Events of all those kinds over some days, in the order in which they became known."""
    random = np.random.default_rng(0)
    events = []
    for kind, count in zip(MIXED, counts, strict=True):
        for number, at in enumerate(sorted(random.choice(int(days * 24 * 12), count, replace=False).tolist())):
            events.append(of(kind, DAY + 5 * MINUTE_NS * at, lag_ns=int(random.integers(0, 3)) * number * MINUTE_NS))
    return sorted(events, key=lambda e: e.known_at_ns)


def bare(events):
    """Events without what the lake does not keep."""
    return [(kind_of(e), e.known_at_ns, e.event_ns) for e in events]


def test_events_of_all_kinds_are_written_and_come_back_in_the_order_in_which_they_became_known(tmp_path):
    lake, events = Lake(tmp_path), recorded()
    written = lake.write_events(events)
    assert written == Written(rows_new=sum(4 if kind_of(e) == "book" else 1 for e in events))
    read = list(lake.events("v", "S"))
    assert sorted(bare(read)) == sorted(bare(events))
    assert [e.known_at_ns for e in read] == [e.known_at_ns for e in events]
    assert {kind_of(e) for e in read} == set(MIXED)
    assert {e.event_ns: e for e in read if isinstance(e, BookUpdate)} == {
        e.event_ns: e for e in events if isinstance(e, BookUpdate)
    }
    assert lake.write_events(events).rows_new == 0


@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_the_size_of_batches_changes_nothing(tmp_path, batch_rows):
    events = recorded()
    whole, pieces = Lake(tmp_path / "a"), Lake(tmp_path / "b")
    assert whole.write_events(events) == pieces.write_events(iter(events), batch_rows)
    assert list(whole.events("v", "S")) == list(pieces.events("v", "S"))


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(60)), st.integers(1, 30), st.integers(3, 20))
def test_small_row_groups_and_any_order_of_batches_change_nothing(order, batch_rows, row_group):
    events = [print_(DAY + n // 2 * SECOND_NS, lag_ns=n % 2, price=100.0 + n % 3) for n in range(60)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        whole, pieces = Lake(Path(folder) / "a"), Lake(Path(folder) / "b")
        whole.write_events(events)
        patch.setattr(partitions_module, "ROW_GROUP", row_group)
        assert pieces.write_events([events[n] for n in order], batch_rows).rows_new == 60
        assert pieces.write_events([events[n] for n in order], batch_rows) == Written(rows_same=60)
        same = [to_bits(lake.read("trade", "v", "S")) for lake in (whole, pieces)]
        np.testing.assert_array_equal(*same)
        (path,) = pieces.partitions("trade", "v", "S").values()
        stored = to_bits(lake_load(pieces.storage, path, "trade"))
        np.testing.assert_array_equal(stored, to_bits(lake_load(whole.storage, path, "trade")))


def test_a_batch_at_the_end_of_a_day_fills_the_last_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions_module, "ROW_GROUP", 10)
    lake = Lake(tmp_path)
    lake.write_events([print_(DAY + n) for n in range(44)], batch_rows=7)
    (path,) = tmp_path.rglob("data.parquet")
    footer = pq.read_metadata(path)
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [10, 10, 10, 10, 4]


def test_no_more_than_a_batch_is_held(tmp_path):
    """When an event is taken, all but about a batch of those before it are in the lake."""
    lake, batch = Lake(tmp_path), 10

    def source():
        for number in range(100):
            yield print_(DAY + number * SECOND_NS)
            held = sum(stream.rows for stream in lake.streams())
            assert number - held <= batch

    assert lake.write_events(source(), batch).rows_new == 100


def test_equal_prints_known_at_once_are_not_parted_by_a_batch(tmp_path):
    lake = Lake(tmp_path)
    assert lake.write_events([print_(DAY)] * 5 + [print_(DAY + 1)] * 2, batch_rows=2) == Written(rows_new=7)
    assert len(list(lake.events("v", "S", ["trade"]))) == 7


def test_of_two_events_for_one_keyed_time_the_first_stays(tmp_path):
    lake = Lake(tmp_path)
    first = of("funding", DAY)
    other = Funding(venue="v", symbol="S", event_ns=DAY, known_at_ns=DAY + SECOND_NS, funding_rate=0.5)
    assert lake.write_events([first, first, other]) == Written(rows_new=1, rows_same=1, rows_kept=1)
    assert lake.write_events([other]) == Written(rows_kept=1)
    assert [e.funding_rate for e in lake.events("v", "S")] == [0.001]


def test_history_known_more_than_a_day_late_is_left_out_and_counted(tmp_path):
    lake = Lake(tmp_path)
    late = [print_(DAY, lag_ns=DAY_NS + 1), print_(DAY, lag_ns=DAY_NS)]
    assert lake.write_events(late) == Written(rows_new=1, rows_too_old=1)
    assert lake.write_events(late[:1]) == Written(rows_too_old=1)


def test_of_a_gap_longer_than_a_day_the_last_day_is_kept(tmp_path):
    lake = Lake(tmp_path)
    assert lake.write_events([of("gap", DAY, lag_ns=3 * DAY_NS)]) == Written(rows_new=1)
    (gap,) = lake.events("v", "S")
    assert (gap.event_ns, gap.known_at_ns) == (DAY + 2 * DAY_NS, DAY + 3 * DAY_NS)


def test_an_event_known_before_it_happened_is_refused_unless_it_says_so(tmp_path):
    lake = Lake(tmp_path)
    with pytest.raises(LakeError, match="trade of v S: known_at_ns must lie within a day"):
        lake.write_events([print_(DAY, lag_ns=-1)])
    assert lake.write_events([print_(DAY, lag_ns=-1, quality=int(Quality.CLOCK_SKEW))]).rows_new == 1
    assert lake.write_events([]) == Written()


def test_at_one_time_gaps_come_first_bars_last_and_the_others_by_name(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events(of(kind, DAY) for kind in MIXED)
    lake.write("mark_bar_5m", "v", "S", rows("mark_bar_5m", [DAY]))
    names = [kind_of(e) for e in lake.events("v", "S")]
    assert names == ["gap", "book", "funding", "mark_bar_5m", "price_mark", "quote", "trade", "bar_5m"]


@settings(max_examples=25, deadline=None)
@given(st.integers(-10, 4 * 24 * 12), st.integers(0, 4 * 24 * 12), st.sets(st.sampled_from(MIXED), min_size=1))
def test_events_of_a_range_are_those_of_the_whole_that_were_known_in_it(whole_lake, start, length, kinds):
    events = list(whole_lake.events("v", "S"))
    start_ns = DAY + start * 5 * MINUTE_NS
    end_ns = start_ns + length * 5 * MINUTE_NS
    expected = [e for e in events if kind_of(e) in kinds and start_ns <= e.known_at_ns < end_ns]
    assert list(whole_lake.events("v", "S", sorted(kinds), start_ns, end_ns)) == expected


@pytest.fixture(scope="module")
def whole_lake(tmp_path_factory):
    lake = Lake(tmp_path_factory.mktemp("whole"))
    lake.write_events(recorded())
    return lake


def test_what_is_known_late_or_stamped_early_comes_in_its_place(tmp_path):
    lake, skewed = Lake(tmp_path), int(Quality.CLOCK_SKEW)
    events = [
        print_(DAY + DAY_NS, lag_ns=-2 * SECOND_NS, quality=skewed),  # lies on the next day, was known on this one
        print_(DAY + DAY_NS - SECOND_NS),
        print_(DAY + DAY_NS + HOUR_NS),
        print_(DAY, lag_ns=DAY_NS),
        print_(DAY + 4 * DAY_NS),
    ]
    lake.write_events(sorted(events, key=lambda e: e.known_at_ns))
    assert bare(lake.events("v", "S")) == sorted(bare(events))


def test_a_stream_is_read_a_day_at_a_time(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    lake.write_events(print_(DAY + n * DAY_NS) for n in range(5))
    read = []
    monkeypatch.setattr(
        "squeeze.market.lake.load", lambda s, path, k, load=lake_load: read.append(path) or load(s, path, k)
    )
    events = lake.events("v", "S")
    assert read == []
    next(events)
    assert len(read) == 1
    assert len(list(events)) == 4
    assert len(read) == 5, "each partition once"


def test_events_that_the_lake_lacks_are_an_error_at_once(tmp_path):
    lake = Lake(tmp_path)
    with pytest.raises(LakeError, match="no stream of v S; the lake is empty"):
        lake.events("v", "S")
    lake.write_events([print_(DAY)])
    with pytest.raises(LakeError, match="no gap or quote of v S; there is trade v S"):
        lake.events("v", "S", ["quote", "gap"])
    with pytest.raises(LakeError, match="unknown kind 'trades'"):
        lake.events("v", "S", ["trades"])
    assert len(list(lake.events("v", "S", ["quote", "trade"]))) == 1, "an absent kind is no fault"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 1)), max_size=10),
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 1)), max_size=10),
)
def test_merging_a_stretch_is_merging_the_whole(old, new):
    def bits(pairs):
        columns = rows("price_mark", [DAY + t for t, _ in pairs], price=np.array([float(p) for _, p in pairs]))
        return to_bits(columns)[np.lexsort(to_bits(columns).T[::-1])]

    merged, written = merge_prints(bits(old), bits(new))
    both = sorted(set(old) | set(new))
    most = [pair for pair in both for _ in range(max(old.count(pair), new.count(pair)))]
    np.testing.assert_array_equal(merged, bits(most))
    same = sum(min(old.count(pair), new.count(pair)) for pair in both)
    assert written == Written(rows_new=len(most) - len(old), rows_same=same)
    np.testing.assert_array_equal(order_of(from_bits(merged, "price_mark")), np.arange(len(merged)))


def test_a_lake_in_memory_behaves_as_one_on_disk(tmp_path):
    pytest.importorskip("fsspec")
    events = recorded()
    disk, memory = Lake(tmp_path), Lake("memory://test-lake")
    for lake in (disk, memory):
        lake.write_events(events, batch_rows=50)
        lake.write("bar_15m", "v", "S", rows("bar_15m", closes("bar_15m", 100)))
        assert lake.write("bar_15m", "v", "S", rows("bar_15m", closes("bar_15m", 101))).rows_new == 1
    assert memory.streams() == disk.streams()
    assert list(memory.events("v", "S")) == list(disk.events("v", "S"))
    assert memory.digest(market()) == disk.digest(market())
    assert list(read_events(memory, market())) == list(read_events(disk, market()))
    for name, column in disk.read("quote", "v", "S").items():
        np.testing.assert_array_equal(memory.read("quote", "v", "S")[name], column)
    for lake in (disk, memory):
        with pytest.raises(LakeError, match="no funding of w S; there is bar_15m v S"):
            lake.read("funding", "w", "S")
    assert str(memory.root) == "memory://test-lake"
    assert disk.root == tmp_path
    memory.storage.write("kind=funding/venue=v/symbol=S/date=2026-01-01/data.parquet", b"no more")
    with pytest.raises(LakeError, match=r"memory://test-lake/kind=funding.*: not a readable partition of funding"):
        memory.read("funding", "v", "S")


def test_a_folder_that_names_no_day_is_told(tmp_path):
    lake = Lake(tmp_path)
    lake.write("funding", "v", "S", rows("funding", [DAY]))
    (path,) = tmp_path.rglob("date=*")
    path.rename(path.with_name("date=2026-02-31"))
    with pytest.raises(LakeError, match="'2026-02-31' is not a day"):
        lake.read("funding", "v", "S")


def test_a_book_whose_rows_mix_bids_and_asks_is_that_of_rows_in_order():
    levels = {"bids": [(99.0, 1.0), (98.0, 2.0)], "asks": [(101.0, 3.0), (102.0, 4.0), (103.0, 5.0)]}
    both = {"venue": "v", "symbol": "s", "known_at_ns": 7}
    updates = [
        BookUpdate(**both, event_ns=1, is_snapshot=True, **levels),
        BookUpdate(**both, event_ns=2, is_snapshot=False, bids=[], asks=[]),
        BookUpdate(**both, event_ns=3, is_snapshot=False, bids=[], asks=[(101.0, 0.0)]),
    ]
    rows = columns_of("book", updates)
    assert list(events_of("book", "v", "s", rows)) == updates
    mixed = np.array([2, 0, 3, 1, 4, 5, 6])
    shuffled = {name: column if name == "place" else column[mixed] for name, column in rows.items()}
    assert list(events_of("book", "v", "s", shuffled)) == updates
    assert list(events_of("book", "v", "s", {name: column[:0] for name, column in rows.items()})) == []
