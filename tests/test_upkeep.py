"""Looking after a lake: what `check` tells, what `compact` and `repair` change and what they do not."""

import json
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.cli import main
from squeeze.errors import LakeError
from squeeze.market import partitions
from squeeze.market.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Bar,
    BookUpdate,
    Broken,
    Feed,
    Gap,
    Liquidation,
    OpenInterest,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.lake import Lake
from squeeze.market.lake_check import check
from squeeze.market.partitions import Written, load, order_of, take, to_bits
from squeeze.market.upkeep import compact, repair

DAY = 1_767_225_600_000_000_000  # 2026-01-01
FIVE = 5 * MINUTE_NS


def common(at_ns, lag_ns=0, **values):
    return {"venue": "v", "symbol": "S", "event_ns": int(at_ns), "known_at_ns": int(at_ns + lag_ns)} | values


def bar(number, close=2.0, **values):
    """The bar of five minutes that opens `number` bars into the first day."""
    prices = {"open": 1.0, "high": 3.0, "low": 1.0, "close": close, "volume_base": 1.0, "taker_buy_base": 0.5}
    return Bar(**common(DAY + (number + 1) * FIVE, **values), **prices, cadence_ns=FIVE)


def trade(at_ns, lag_ns=0, price=100.0, **values):
    return Trade(**common(at_ns, lag_ns, **values), price=price, size_base=1.0, taker_buys=True)


def update(number, previous=None, snapshot=False, depth=0, levels=3, at_ns=None):
    at_ns = DAY + number * SECOND_NS if at_ns is None else at_ns
    bids, asks = [(99.0 - n, 1.0 + number) for n in range(levels)], [(101.0, 2.0)] * bool(levels)
    ids = {"last_id": number, "previous_id": number - 1 if previous is None else previous, "first_id": number}
    return BookUpdate(**common(at_ns), **ids, is_snapshot=snapshot, bids=bids, asks=asks, depth=depth)


def gap(start_ns, seconds, feed=Feed.ALL):
    return Gap(**common(start_ns, seconds * SECOND_NS), feed=feed, reason=Broken.DISCONNECTED)


def full(root):
    """A healthy lake of several kinds, three days long."""
    lake, random = Lake(root), np.random.default_rng(0)
    times = DAY + np.sort(random.integers(0, 3 * DAY_NS, 300))
    lake.write_events([bar(n, close=1.0 + n % 3) for n in range(3 * 288)])
    lake.write_events([trade(t, price=float(p)) for t, p in zip(times, random.random(300) + 1, strict=True)])
    lake.write_events([OpenInterest(**common(t), open_interest_base=5.0) for t in times[::10]])
    lake.write_events([update(n, snapshot=n == 0) for n in range(200)])
    lake.write_events([gap(DAY + 5 * HOUR_NS, 30)])
    return lake


def content(lake):
    """Every row of a lake, to the bit."""
    return {name: to_bits(lake.read(*name)).tolist() for name in lake.names()}


def only(lake, kind):
    (report,) = check(lake, kind)
    return report


def put(lake, path, rows, **options):
    pq.write_table(pa.table(rows), lake.root / path, **options)


def files(lake):
    return sorted(path.name for path in lake.root.rglob("*") if path.is_file())


def first_partition(lake, kind):
    day, path = next(iter(lake.partitions(kind, "v", "S").items()))
    return day, path, load(lake.storage, path, kind)


def test_a_healthy_lake_has_no_faults_and_is_left_as_it_is(tmp_path):
    lake = full(tmp_path)
    before, stamps = content(lake), {p: p.stat().st_mtime_ns for p in tmp_path.rglob("data.parquet")}
    assert [r.faults for r in check(lake)] == [()] * 5
    done = compact(lake)
    assert (done.rewritten, done.unreadable, done.leftovers, done.bytes_before) == ((), (), (), done.bytes_after)
    assert repair(lake) == []
    assert content(lake) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("data.parquet")} == stamps


def test_a_report_says_what_a_stream_holds(tmp_path):
    lake = full(tmp_path)
    report = only(lake, "bar_5m")
    assert (report.kind, report.venue, report.symbol, report.ok) == ("bar_5m", "v", "S", True)
    assert (report.rows, report.days, report.missing_days, report.missing, report.holes) == (3 * 288, 3, (), 0, ())
    assert (report.first_ns, report.last_ns) == (DAY + FIVE, DAY + 3 * DAY_NS)
    assert [r.kind for r in check(lake, venue="v", symbol="S")] == ["bar_5m", "book", "gap", "open_interest", "trade"]
    assert check(lake, venue="w") == []
    assert check(Lake(tmp_path / "none")) == []


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 598), max_size=12))
def test_holes_are_found_exactly(removed):
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lake.write_events(bar(n) for n in range(600) if n not in removed)
        starts = [n for n in sorted(removed) if n - 1 not in removed]
        ends = [n + 1 for n in sorted(removed) if n + 1 not in removed]
        holes = [(DAY + a * FIVE, DAY + b * FIVE) for a, b in zip(starts, ends, strict=True)]
        report = only(lake, "bar_5m")
        assert report.missing == len(removed)
        assert report.holes == tuple(holes[:5])
        assert report.ok, "the market or the source may have been closed"


@pytest.mark.parametrize("hole", [(287, 288), (288, 289), (280, 300), (200, 700)])
def test_a_hole_over_midnight_is_one_hole(tmp_path, hole):
    lake = Lake(tmp_path)
    lake.write_events(bar(n) for n in range(3 * 288) if n not in range(*hole))
    report = only(lake, "bar_5m")
    assert (report.missing, report.holes) == (hole[1] - hole[0], ((DAY + hole[0] * FIVE, DAY + hole[1] * FIVE),))


def test_days_without_a_partition_are_named(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events(trade(DAY + n * DAY_NS) for n in (0, 1, 4))
    assert only(lake, "trade").missing_days == ("2026-01-03", "2026-01-04")


def test_intervals_that_overlap_are_a_fault(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events([bar(0), bar(1), Bar(**common(DAY + 12 * MINUTE_NS), **_ohlc(), cadence_ns=FIVE), bar(9)])
    report = only(lake, "bar_5m")
    assert report.faults == (
        f"{tmp_path}/kind=bar_5m/venue=v/symbol=S/date=2026-01-01/data.parquet: intervals that overlap: 1",
    )
    assert (report.missing, report.holes) == (7, ((DAY + 12 * MINUTE_NS, DAY + 9 * FIVE),))


def _ohlc():
    return {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}


def test_equal_prints_are_counted_and_are_no_fault(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events([trade(DAY)] * 3 + [trade(DAY + 1)])
    assert (only(lake, "trade").repeats, only(lake, "trade").ok) == (2, True)


def test_silence_is_counted_once_where_gaps_lie_over_each_other(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events([gap(DAY, 10), gap(DAY + 5 * SECOND_NS, 10, Feed.BOOK), gap(DAY + 30 * SECOND_NS, 1)])
    report = only(lake, "gap")
    assert (report.gaps, report.silent_ns, report.ok) == (3, 16 * SECOND_NS, True)


def test_flags_are_named(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events([trade(DAY), trade(DAY + 1, quality=int(Quality.SAMPLED | Quality.GAP_BEFORE))])
    assert only(lake, "trade").flags == ("GAP_BEFORE", "SAMPLED")


def test_a_book_whose_numbers_do_not_follow_is_a_fault_unless_a_gap_says_so(tmp_path):
    lake = Lake(tmp_path)
    good = [update(0, snapshot=True), *(update(n) for n in range(1, 6))]
    lake.write_events([*good, update(8), update(9)])
    report = only(lake, "book")
    assert (report.snapshots, report.breaks) == (1, 1)
    assert "updates that do not follow the one before, and no gap says so: 1" in report.faults[0]
    lake.write_events([gap(DAY + 5 * SECOND_NS, 3, Feed.BOOK)])
    assert (only(lake, "book").breaks, only(lake, "book").faults) == (1, ())


def test_a_snapshot_starts_the_numbers_anew_and_a_feed_without_numbers_cannot_break(tmp_path):
    lake = Lake(tmp_path / "a")
    lake.write_events([update(1), update(2), update(50, snapshot=True), update(60), update(61)])
    lake.write_events([update(61, previous=7, depth=5), update(62, previous=61, depth=5)])
    assert (only(lake, "book").breaks, only(lake, "book").snapshots) == (0, 1)
    lake = Lake(tmp_path / "b")
    lake.write_events(update(n, previous=-1) for n in (1, 5, 3))
    assert only(lake, "book").breaks == 0


def test_numbers_follow_from_one_day_to_the_next(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events([update(1, at_ns=DAY), update(2, at_ns=DAY + DAY_NS), update(4, at_ns=DAY + 2 * DAY_NS)])
    assert only(lake, "book").breaks == 1


def test_an_update_without_levels_has_no_bad_price(tmp_path):
    lake = Lake(tmp_path)
    lake.write_events([update(1, levels=0)])
    assert only(lake, "book").ok


@pytest.mark.parametrize("price", [0.0, -1.0, np.nan, np.inf])
def test_a_price_that_is_none_is_a_fault(tmp_path, price):
    lake = Lake(tmp_path)
    lake.write_events([trade(DAY), trade(DAY + 1, price=float(price))])
    (fault,) = only(lake, "trade").faults
    assert fault.endswith("data.parquet: price not a price: 1")


def test_a_price_may_be_unsaid_where_the_venue_may_leave_it_out(tmp_path):
    lake = Lake(tmp_path)
    sizes = {"bid_size_base": 1.0, "ask_size_base": 1.0}
    lake.write_events([Liquidation(**common(DAY), side=0, usd=1.0), Quote(**common(DAY), bid=np.nan, ask=1.0, **sizes)])
    assert all(report.ok for report in check(lake))
    lake.write_events([Quote(**common(DAY + 1), bid=-1.0, ask=1.0, **sizes)])
    assert [report.ok for report in check(lake)] == [True, False]


def test_rows_that_write_would_have_refused_are_faults(tmp_path):
    lake = full(tmp_path)
    for kind, change in {
        "open_interest": lambda r: r | {"known_at_ns": r["known_at_ns"] - 1},
        "trade": lambda r: r | {"known_at_ns": r["event_ns"] + DAY_NS + 1},
        "bar_5m": lambda r: r | {"cadence_ns": np.zeros_like(r["cadence_ns"])},
    }.items():
        _, path, rows = first_partition(lake, kind)
        put(lake, path, change(rows))
    told = {report.kind: " ".join(report.faults) for report in check(lake)}
    assert "rows known before they happened: " in told["open_interest"]
    assert "rows known more than a day after they happened: " in told["trade"]
    assert "cadence_ns that does not fit the kind: 288" in told["bar_5m"]
    _, path, rows = first_partition(lake, "open_interest")
    put(lake, path, {name: np.repeat(column, 2) for name, column in rows.items()})
    assert f"times given twice: {len(rows['event_ns'])}" in " ".join(only(lake, "open_interest").faults)
    repair(lake)


def test_rows_out_of_order_are_told_and_sorted(tmp_path):
    lake = full(tmp_path)
    before = content(lake)
    for kind in ("bar_5m", "trade"):
        _, path, rows = first_partition(lake, kind)
        put(lake, path, take(rows, np.arange(len(rows["event_ns"]))[::-1]))
        assert "rows out of order" in only(lake, kind).faults[0]
    done = repair(lake)
    assert [(r.kind, r.day, r.original, r.is_incomplete) for r in done] == [
        ("bar_5m", "2026-01-01", "", False),
        ("trade", "2026-01-01", "", False),
    ]
    assert content(lake) == before
    assert all(report.ok for report in check(lake))


def test_rows_of_another_day_are_told_and_moved(tmp_path):
    lake = full(tmp_path)
    before = content(lake)
    days = list(lake.partitions("bar_5m", "v", "S").values())
    pieces = [load(lake.storage, path, "bar_5m") for path in days]
    put(lake, days[0], {n: np.concatenate([pieces[0][n], pieces[1][n][:100]]) for n in pieces[0]})
    put(lake, days[1], take(pieces[1], np.arange(100, 288)))
    put(lake, days[2], take(pieces[0], np.arange(1)))
    lake.write_events([bar(n, close=1.0 + n % 3) for n in range(2 * 288, 3 * 288)])
    assert "rows of another day: 101" in " ".join(only(lake, "bar_5m").faults)
    repair(lake)
    assert content(lake) == before
    assert all(report.ok for report in check(lake))


def test_many_row_groups_become_one_and_leftovers_go(tmp_path):
    lake = full(tmp_path)
    before = content(lake)
    _, path, rows = first_partition(lake, "bar_5m")
    put(lake, path, rows, row_group_size=10)
    _, other, rows = first_partition(lake, "trade")
    put(lake, other, rows, compression="none")
    (lake.root / path).with_name(".0f.tmp").write_bytes(b"half a file")
    done = compact(lake)
    assert (done.rewritten, done.unreadable, done.partitions) == ((path, other), (), 11)
    assert done.leftovers == (path.replace("data.parquet", ".0f.tmp"),)
    assert done.bytes_after < done.bytes_before
    assert content(lake) == before
    assert pq.read_metadata(lake.root / path).num_row_groups == 1
    assert set(files(lake)) == {"data.parquet"}
    assert compact(lake).rewritten == ()


def test_a_large_partition_has_a_row_group_for_every_so_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "ROW_GROUP", 100)
    monkeypatch.setattr("squeeze.market.upkeep.ROW_GROUP", 100)
    lake = full(tmp_path)
    assert pq.read_metadata(lake.root / first_partition(lake, "bar_5m")[1]).num_row_groups == 3
    assert compact(lake).rewritten == ()


def test_compact_leaves_damage_alone_and_names_it(tmp_path):
    lake = full(tmp_path)
    path = lake.root / first_partition(lake, "trade")[1]
    path.write_bytes(b"no more")
    assert compact(lake).unreadable == (str(path),)
    assert path.read_bytes() == b"no more"


def test_a_torn_partition_is_put_aside_and_the_day_can_be_written_again(tmp_path):
    lake = full(tmp_path)
    before = content(lake)
    day, path, _ = first_partition(lake, "bar_5m")
    torn = (lake.root / path).read_bytes()[:-100]
    (lake.root / path).write_bytes(torn)
    report = only(lake, "bar_5m")
    assert (report.rows, report.days, len(report.faults)) == (2 * 288, 3, 1)
    assert f"{path}: not a readable partition" in report.faults[0]
    (done,) = repair(lake)
    assert (done.kind, done.day, done.rows, done.is_incomplete) == ("bar_5m", day, 0, True)
    assert done.original == f"{lake.root}/{path}.damaged"
    assert Path(done.original).read_bytes() == torn
    assert only(lake, "bar_5m").ok
    assert repair(lake) == []
    assert lake.write_events(bar(n, close=1.0 + n % 3) for n in range(3 * 288)) == Written(288, 576)
    assert content(lake) == before


def test_a_second_damage_does_not_overwrite_what_the_first_one_left(tmp_path):
    lake = full(tmp_path)
    _, path, _ = first_partition(lake, "bar_5m")
    for word in (b"first", b"second"):
        (lake.root / path).write_bytes(word)
        repair(lake)
    kept = {p.name: p.read_bytes() for p in (lake.root / path).parent.iterdir()}
    assert kept == {"data.parquet.damaged": b"first", "data.parquet.damaged-2": b"second"}


@pytest.mark.parametrize("kind", ["bar_5m", "book"])
def test_row_groups_that_can_be_read_are_kept(tmp_path, kind):
    lake = full(tmp_path)
    before = content(lake)
    _, path, rows = first_partition(lake, kind)
    size = len(rows["event_ns"])
    put(lake, path, rows, row_group_size=size // 4, compression="zstd", use_dictionary=False, write_page_checksum=True)
    column = pq.read_metadata(lake.root / path).row_group(1).column(1)
    damaged = bytearray((lake.root / path).read_bytes())
    damaged[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    (lake.root / path).write_bytes(damaged)
    assert not only(lake, kind).ok
    (done,) = repair(lake)
    assert done.is_incomplete
    assert (size * 3 // 4 - 12 if kind == "book" else size * 3 // 4) <= done.rows <= size * 3 // 4
    kept = to_bits(lake.read(kind, "v", "S")).tolist()
    assert all(row in before[kind, "v", "S"] for row in kept)
    assert only(lake, kind).rows == len(kept)
    again = [bar(n, close=1.0 + n % 3) for n in range(3 * 288)] if kind == "bar_5m" else None
    lake.write_events(again or [update(n, snapshot=n == 0) for n in range(200)])
    assert content(lake) == before


def test_a_book_is_kept_in_whole_updates(tmp_path):
    lake = Lake(tmp_path)
    updates = [update(n) for n in range(40)]
    lake.write_events(updates)
    _, path, rows = first_partition(lake, "book")
    put(lake, path, rows, row_group_size=30, compression="zstd", use_dictionary=False, write_page_checksum=True)
    column = pq.read_metadata(lake.root / path).row_group(2).column(3)
    damaged = bytearray((lake.root / path).read_bytes())
    damaged[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    (lake.root / path).write_bytes(damaged)
    repair(lake)
    kept = list(lake.events("v", "S"))
    assert 25 <= len(kept) < 40
    assert all(event in updates for event in kept)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["bar_5m", "trade", "book"]), st.data())
def test_damage_is_told_or_changes_nothing_and_never_raises(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lake.write_events([bar(n) for n in range(40)] + [trade(DAY + n) for n in range(40)])
        lake.write_events([update(n) for n in range(20)])
        before = content(lake)
        _, path, _ = first_partition(lake, kind)
        bits = bytearray((lake.root / path).read_bytes())
        if data.draw(st.booleans()):
            bits = bits[: data.draw(st.integers(0, len(bits) - 1))]
        else:
            bits[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        (lake.root / path).write_bytes(bits)
        told = not only(lake, kind).ok
        compact(lake)
        assert told or content(lake) == before
        done = repair(lake)
        assert bool(done) == told
        assert all(report.ok for report in check(lake))
        for name, rows in content(lake).items():
            assert all(row in before[name] for row in rows), "what is kept was there"
        lake.write_events([bar(n) for n in range(40)] + [trade(DAY + n) for n in range(40)])
        lake.write_events([update(n) for n in range(20)])
        assert content(lake) == before


def test_folders_that_are_no_streams_are_faults_and_not_exceptions(tmp_path):
    lake = full(tmp_path)
    _, path, _ = first_partition(lake, "trade")
    for other in (path.replace("kind=trade", "kind=candles"), path.replace("2026-01-01", "2026-02-31")):
        (tmp_path / other).parent.mkdir(parents=True)
        (tmp_path / other).write_bytes((tmp_path / path).read_bytes())
    told = {report.kind: report.faults for report in check(lake)}
    assert "unknown kind 'candles'" in told["candles"][0]
    assert "'2026-02-31' is not a day" in told["trade"][0]
    with pytest.raises(LakeError, match="is not a day"):
        repair(lake, "trade")
    with pytest.raises(LakeError, match="cannot name a folder"):
        compact(lake, kind="../x")


def test_a_lake_in_memory_is_looked_after_as_one_on_disk():
    pytest.importorskip("fsspec")
    lake = full("memory://test-upkeep")
    before = content(lake)
    assert all(report.ok for report in check(lake))
    _, path, rows = first_partition(lake, "trade")
    lake.storage.write(path, lake.storage.read(path)[:-9])
    assert not only(lake, "trade").ok
    (done,) = repair(lake)
    assert done.original == f"memory://test-upkeep/{path}.damaged"
    lake.write("trade", "v", "S", take(rows, order_of(rows)))
    assert content(lake) == before
    assert compact(lake).rewritten == ()


@pytest.fixture
def squeeze(capsys):
    """Runs `squeeze lake`; its status, its output and its errors."""

    def run(*arguments):
        status = main(["lake", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_check_prints_a_line_for_each_stream_and_ends_with_status_2_where_there_are_faults(tmp_path, squeeze):
    lake = full(tmp_path)
    status, out, err = squeeze("check", "--lake", tmp_path)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["kind", "bar_5m", "book", "gap", "open_interest", "trade"]
    _, path, _ = first_partition(lake, "trade")
    (tmp_path / path).write_bytes(b"")
    status, out, err = squeeze("check", "--lake", tmp_path)
    assert (status, err) == (
        2,
        f"squeeze lake: {tmp_path}: faults: 1; `squeeze lake repair` mends what can be mended\n",
    )
    assert out.splitlines()[-1].startswith(f"{tmp_path}/{path}: not a readable partition")
    assert squeeze("check", "--lake", tmp_path, "--kind", "bar_5m")[0] == 0
    _, out, _ = squeeze("check", "--lake", tmp_path, "--json")
    assert [report["ok"] for report in json.loads(out)] == [True, True, True, True, False]
    assert squeeze("repair", "--lake", tmp_path)[0] == 0
    assert squeeze("check", "--lake", tmp_path)[0] == 0
    assert squeeze("repair", "--lake", tmp_path)[:2] == (0, "\nnothing to repair\n")
    assert squeeze("compact", "--lake", tmp_path)[1].splitlines()[1].split()[:4] == ["10", "0", "0", "0"]


def test_build_writes_what_the_raw_log_says(tmp_path, squeeze, monkeypatch):
    from squeeze.market.raw_log import RawLog

    with RawLog(tmp_path / "raw").writer("v") as writer:
        for number in range(5):
            writer.append(DAY + number, str(number).encode())
    session = types.ModuleType("squeeze.market.session")
    session.normalise = lambda frames, venue, instruments: (
        trade(f.received_ns, price=float(f.frame) + 1, venue=venue) for f in frames
    )
    monkeypatch.setitem(sys.modules, "squeeze.market.session", session)
    monkeypatch.setattr("squeeze.market.session", session, raising=False)
    status, out, err = squeeze("build", "--lake", tmp_path / "lake", "--raw", tmp_path / "raw")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split() == ["v", "5", "0", "0", "0"]
    assert [e.price for e in Lake(tmp_path / "lake").events("v", "S")] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert squeeze("build", "--lake", tmp_path / "lake")[0] == 2
    assert squeeze("build", "--lake", tmp_path / "lake", "--raw", tmp_path / "none")[0] == 2
    assert squeeze("repair", "--lake", tmp_path / "lake", "--raw", tmp_path / "raw")[0] == 0
