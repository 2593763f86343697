import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import ConfigError, DataError, UserError
from squeeze.market.events import MINUTE_NS, SECOND_NS, Quality
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.market.mapping import duration_ns, load_mapping
from squeeze.market.partitions import Written
from squeeze.spec import MarketSpec, StreamSpec

DAY_S = 1_767_225_600  # 2026-01-01
SHIPPED = sorted((Path(__file__).parents[1] / "configs" / "import").glob("*.yaml"))


def bars(count=6):
    """A table of five-minute bars at about 100, UTC."""
    close = 100.0 + np.arange(count)
    times = pa.array((DAY_S + 300 * np.arange(count)) * 1000, pa.int64()).cast(pa.timestamp("ms", "UTC"))
    return pa.table({"ts": times, "o": close, "h": close + 1, "l": close - 1, "c": close, "v": 10 * close})


def prints():
    times = pa.array([DAY_S * 1000, DAY_S * 1000, DAY_S * 1000 + 1], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    side, qty, price = ["Buy", "Buy", "Sell"], [0.5, 0.5, 2.0], [100.0, 100.0, 50.0]
    return pa.table({"ts": times, "symbol": ["A", "A", "B"], "side": side, "qty": qty, "price": price})


def set_cell(table, column, row, value):
    values = table.column(column).to_pylist()
    values[row] = value
    kind = table.schema.field(column).type if not isinstance(value, str) else None
    return table.set_column(table.column_names.index(column), column, pa.array(values, kind))


BAR = {
    "file": "bars.parquet",
    "kind": "bar",
    "venue": "v",
    "symbol": "S",
    "cadence": "5m",
    "ts": {"column": "ts", "means": "open"},
    "columns": {"open": "o", "high": "h", "low": "l", "close": "c", "volume_base": "v"},
}
PRINT = {
    "file": "prints.parquet",
    "kind": "liquidation",
    "venue": "v",
    "symbol": {"column": "symbol"},
    "ts": {"column": "ts", "means": "event"},
    "side": {"column": "side", "values": {"Buy": "long", "Sell": "short"}},
    "usd": {"qty": "qty", "price": "price"},
}


class Desk:
    """A data folder, a mapping and a lake to import into."""

    def __init__(self, root):
        self.data = root / "data"
        self.data.mkdir()
        self.path = root / "mapping.yaml"
        self.lake = Lake(root / "lake")

    def run(self, *files):
        self.path.write_text(yaml.safe_dump({"files": list(files)}))
        return import_mapping(self.path, self.data, self.lake)

    def bars(self, table, **change):
        pq.write_table(table, self.data / "bars.parquet")
        return self.run(BAR | change)

    def prints(self, table, **change):
        pq.write_table(table, self.data / "prints.parquet")
        return self.run(PRINT | change)

    def csv(self, text, **change):
        (self.data / "bars.csv").write_text(text)
        return self.run(BAR | {"file": "bars.csv"} | change)

    def held(self):
        return [p for p in self.lake.root.rglob("*") if p.is_file()]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def refused(message, error=DataError):
    return pytest.raises(error, match=message)


def test_bars_are_known_at_their_close_plus_the_lag(desk):
    (done,) = desk.bars(bars(), publication_lag="2s")
    assert (done.kind, done.symbols, done.rows, done.written) == ("bar_5m", ("S",), 6, Written(rows_new=6))
    read = desk.lake.read("bar_5m", "v", "S")
    assert read["event_ns"][0] == (DAY_S + 300) * SECOND_NS
    assert set(read["known_at_ns"] - read["event_ns"]) == {2 * SECOND_NS}
    assert read["close"].tolist() == bars()["c"].to_pylist()
    assert np.isnan(read["taker_buy_base"]).all(), "what was not recorded is NaN"


def test_prints_are_split_by_symbol_and_priced(desk):
    (done,) = desk.prints(prints(), publication_lag="1s", sampled=True)
    assert (done.symbols, done.rows) == (("A", "B"), 3)
    a, b = (desk.lake.read("liquidation", "v", symbol) for symbol in "AB")
    assert (a["usd"].tolist(), a["side"].tolist()) == ([50.0, 50.0], [0, 0])
    assert (b["usd"].tolist(), b["side"].tolist()) == ([100.0], [1])
    assert b["known_at_ns"].tolist() == [DAY_S * SECOND_NS + 1_000_000 + SECOND_NS]
    assert b["quality"].tolist() == [Quality.SAMPLED]


def test_importing_again_changes_nothing(desk):
    desk.bars(bars())
    desk.prints(prints())
    before = {path: path.stat().st_ino for path in desk.held()}
    (again,) = desk.bars(bars())
    assert again.written == Written(rows_same=6)
    (again,) = desk.prints(prints())
    assert again.written == Written(rows_same=3)
    assert {path: path.stat().st_ino for path in desk.held()} == before


def test_a_differing_row_is_counted_and_the_older_one_kept(desk):
    desk.bars(bars())
    (again,) = desk.bars(set_cell(bars(), "v", 2, 1.0))
    assert again.written == Written(rows_same=5, rows_kept=1)
    assert desk.lake.read("bar_5m", "v", "S")["volume_base"][2] == 1020.0


def formats(table):
    """The same rows in every format there is, by file name."""
    plain, parquet, feathered, zipped = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    pc_csv.write_csv(table, plain)
    pq.write_table(table, parquet)
    feather.write_feather(table, feathered)
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", plain.getvalue())
    return {
        "b.csv": plain.getvalue(),
        "b.csv.gz": gzip.compress(plain.getvalue()),
        "b.zip": zipped.getvalue(),
        "b.parquet": parquet.getvalue(),
        "b.feather": feathered.getvalue(),
    }


def test_every_format_gives_the_same_digest(tmp_path):
    digests = {}
    for name, data in formats(bars()).items():
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name)
        (desk.data / name).write_bytes(data)
        desk.run(BAR | {"file": name})
        digests[name] = desk.lake.digest(MarketSpec(symbol="S", bars=StreamSpec(venue="v", kinds=("bar_5m",))))
    assert len(digests) == 5
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("name", ["b.csv.gz", "b.zip", "b.parquet", "b.feather"])
@pytest.mark.parametrize("share", [0.02, 0.6, 0.97])
def test_a_truncated_file_is_refused(desk, name, share):
    whole = formats(bars(500))[name]
    (desk.data / name).write_bytes(whole[: int(len(whole) * share)])
    with refused(rf"^{name}: damaged or not what its suffix says: .") as caught:
        desk.run(BAR | {"file": name})
    assert "\n" not in str(caught.value)


HEADLESS = "1767225600000,100,101,99,100,5\n1767225900000,100,101,99,100,6\n"


@pytest.mark.parametrize("unit", ["ms", "auto"])
def test_a_csv_without_header_takes_the_names_of_the_mapping(desk, unit):
    desk.csv(HEADLESS, header=["ts", *"ohlcv"], ts={"column": "ts", "means": "open", "unit": unit})
    assert desk.lake.read("bar_5m", "v", "S")["volume_base"].tolist() == [5.0, 6.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@settings(deadline=None)
@given(seconds=st.integers(1_262_304_000 // 300, 4_102_444_000 // 300))
def test_auto_tells_every_unit_by_its_size(tmp_path_factory, unit, seconds):
    desk = Desk(tmp_path_factory.mktemp("auto"))
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    stamp = {"column": "ts", "means": "open", "unit": "auto"}
    desk.csv(f"ts,o,h,l,c,v\n{seconds * 300 * factor},1,1,1,1,1\n", ts=stamp)
    assert desk.lake.read("bar_5m", "v", "S")["event_ns"].tolist() == [(seconds + 1) * 300 * SECOND_NS]


def test_nanoseconds_are_not_rounded(desk):
    stamp = DAY_S * SECOND_NS + 123_456_789
    table = prints().slice(0, 1).set_column(0, "ts", pa.array([stamp]))
    desk.prints(table, ts={"column": "ts", "means": "event", "unit": "ns"})
    assert desk.lake.read("liquidation", "v", "A")["event_ns"].tolist() == [stamp]
    (desk.data / "prints.csv").write_text(f"ts,symbol,side,qty,price\n{stamp + 1},B,Buy,1,1\n")
    desk.run(PRINT | {"file": "prints.csv", "ts": {"column": "ts", "means": "event", "unit": "auto"}})
    assert desk.lake.read("liquidation", "v", "B")["event_ns"].tolist() == [stamp + 1]


def test_closing_stamps_just_before_the_grid_are_moved_onto_it(desk):
    text = "ts,o,h,l,c,v\n1767225899999,1,1,1,1,1\n1767226199999,1,1,1,1,1\n"
    stamp = {"column": "ts", "means": "close", "unit": "ms"}
    desk.csv(text, ts=stamp, irregular_ts_seconds=0.001)
    assert desk.lake.read("bar_5m", "v", "S")["event_ns"].tolist() == [(DAY_S + s) * SECOND_NS for s in (300, 600)]
    with refused(r"row 0, column ts: expected a time on the 5m grid, got 2026-01-01T00:04:59.999Z"):
        desk.csv(text, ts=stamp)


def test_open_interest_keeps_its_own_jittering_stamps(desk):
    (desk.data / "oi.csv").write_text("ts,oi\n2026-01-01T00:05:02Z,7\n2026-01-01T00:10:00Z,8\n")
    oi = BAR | {"file": "oi.csv", "kind": "open_interest", "columns": {"open_interest_base": "oi"}}
    oi |= {"ts": {"column": "ts", "means": "event"}, "publication_lag": "60s"}
    desk.run(oi | {"irregular_ts_seconds": 2})
    read = desk.lake.read("open_interest", "v", "S")
    assert read["event_ns"].tolist() == [(DAY_S + s) * SECOND_NS for s in (302, 600)]
    assert read["known_at_ns"].tolist() == [(DAY_S + s) * SECOND_NS for s in (362, 660)]
    with refused(r"oi.csv: row 0, column ts: expected a time on the 5m grid within 1 s, got 2026-01-01T00:05:02Z"):
        desk.run(oi | {"irregular_ts_seconds": 1})


def test_from_and_until_are_days_and_rows_are_still_counted_in_the_file(desk):
    table = bars(3 * 288)
    window = {"from": "2026-01-02", "until": "2026-01-03"}
    (done,) = desk.bars(table, **window)
    assert (done.rows, done.first_ns) == (288, (DAY_S + 86400 + 300) * SECOND_NS)
    with refused("row 300, column c: expected a price above zero, got -1.0"):
        desk.bars(set_cell(table, "c", 300, -1.0), **window)
    desk.bars(set_cell(table, "c", 10, -1.0), **window)
    with refused("no rows from 2027-01-01 until None"):
        desk.bars(table, **{"from": "2027-01-01"})


def test_scale_and_plausible_speak_of_the_event(desk):
    desk.bars(bars(), scale={"volume_base": 0.001}, plausible={"volume_base": [0.5, 2]})
    assert desk.lake.read("bar_5m", "v", "S")["volume_base"][0] == 1.0
    with refused(
        "bars.parquet: column v: expected a median volume_base from 0.5 to 2, got 1025; scale: 0.001 would fit"
    ):
        desk.bars(bars(), plausible={"volume_base": [0.5, 2]})


BAD_CELLS = [
    ("o", 2, -1.0, "row 2, column o: expected a price above zero, got -1.0"),
    ("l", 0, 0.0, "row 0, column l: expected a price above zero, got 0.0"),
    ("v", 3, -0.5, "row 3, column v: expected a size of zero or more, got -0.5"),
    ("c", 4, np.nan, "row 4, column c: expected a finite number, got nan"),
    ("v", 1, np.inf, "row 1, column v: expected a finite number, got inf"),
    ("h", 5, None, "row 5, column h: expected a value, got null"),
    ("h", 1, 50.0, "row 1, column h: expected a high at or above the low, got 50.0"),
    ("o", 1, 300.0, "row 1, column o: expected a price between low and high, got 300.0"),
    ("c", 1, 3.0, "row 1, column c: expected a price between low and high, got 3.0"),
]


@pytest.mark.parametrize(("column", "row", "value", "message"), BAD_CELLS)
def test_a_bad_cell_is_named(desk, column, row, value, message):
    with refused(f"^bars.parquet: {message}$"):
        desk.bars(set_cell(bars(), column, row, value))
    assert desk.held() == []


def test_a_price_column_off_by_a_thousand_is_seen_even_in_the_middle(desk):
    table = bars()
    for column in "ohlc":
        table = set_cell(table, column, 3, table.column(column)[3].as_py() * 1000)
    with refused(r"row 3, column c: expected less than x20 .*unit off by 1,000.*, got 103000 after 102"):
        desk.bars(table)


def test_more_taker_buys_than_volume_are_refused(desk):
    with refused("row 0, column h: expected no more than the volume, got 101.0"):
        desk.bars(bars(), columns=BAR["columns"] | {"volume_base": "l", "taker_buy_base": "h"})


BAD_TIMES = [
    ([0, 600, 300], "row 2, column ts: expected times that rise, got 2026-01-01T00:10:00Z after 2026-01-01T00:15:00Z"),
    ([0, 300, 300], "row 2, column ts: expected each time once, got 2026-01-01T00:10:00Z after 2026-01-01T00:10:00Z"),
    ([0, 300, 601], "row 2, column ts: expected a time on the 5m grid, got 2026-01-01T00:10:01Z"),
]


@pytest.mark.parametrize(("seconds", "message"), BAD_TIMES)
def test_times_must_rise_once_each_on_the_grid(desk, seconds, message):
    times = pa.array([DAY_S + s for s in seconds]).cast(pa.timestamp("s", "UTC"))
    with refused(f"^bars.parquet: {message}$"):
        desk.bars(bars(3).set_column(0, "ts", times))


def test_prints_may_share_a_time_but_must_not_fall(desk):
    desk.prints(prints())
    with refused("prints.parquet: row 2, column ts: expected times that rise"):
        desk.prints(prints().take([2, 0, 1]).set_column(1, "symbol", pa.array(["A", "B", "A"])))


NOT_UTC = [
    (pa.timestamp("ms"), "expected UTC, got a naive time, timestamp"),
    (pa.timestamp("ms", "Europe/Berlin"), "expected UTC, got a time in Europe/Berlin"),
    (pa.date32(), "expected UTC, got a naive time, date32"),
    (pa.int64(), "expected a datetime, got int64"),
]


@pytest.mark.parametrize(("kind", "message"), NOT_UTC)
def test_a_time_that_is_not_utc_is_refused(desk, kind, message):
    table = bars()
    with refused(f"bars.parquet: row 0, column ts: {message}"):
        desk.bars(table.set_column(0, "ts", table.column("ts").cast(kind, safe=False)))


@pytest.mark.parametrize("text", ["2026-01-01 00:05:00", "2026-01-01T00:05:00+02:00", "01/02/2026", ""])
def test_a_written_time_must_say_utc(desk, text):
    with refused(
        rf"bars.csv: row 1, column ts: expected a time in UTC, with Z or \+00:00 at its end, got '{text[:10]}"
    ):
        desk.csv(f"ts,o,h,l,c,v\n2026-01-01T00:00:00Z,1,1,1,1,1\n{text},1,1,1,1,1\n")


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "2026-01-01 00:00:00+00:00", "2026-01-01 00:00:00.000 UTC"])
def test_utc_may_be_written_in_several_ways(desk, text):
    desk.csv(f"ts,o,h,l,c,v\n{text},1,1,1,1,1\n")
    assert desk.lake.read("bar_5m", "v", "S")["event_ns"].tolist() == [(DAY_S + 300) * SECOND_NS]


def test_a_written_time_that_does_not_exist_is_refused(desk):
    with refused("row 0, column ts: expected a time, got '2026-02-31T00:00:00Z'"):
        desk.csv("ts,o,h,l,c,v\n2026-02-31T00:00:00Z,1,1,1,1,1\n")


def test_a_time_unit_off_by_a_thousand_is_seen_and_the_right_one_named(desk):
    header = ["ts", *"ohlcv"]
    with refused(
        r"row 0, column ts: expected a time between 2010 and 2100, got 1767225600000 us since 1970; unit: ms would"
    ):
        desk.csv(HEADLESS, header=header, ts={"column": "ts", "means": "open", "unit": "us"})
    mixed = HEADLESS + "1767226200000000,1,1,1,1,1\n"
    with refused(r"row 2, column ts: .*unit: us would fit"):
        desk.csv(mixed, header=header, ts={"column": "ts", "means": "open", "unit": "auto"})
    with refused("row 0, column ts: expected a time in s, ms, us or ns since 1970, got 12"):
        desk.csv("12,1,1,1,1,1\n", header=header, ts={"column": "ts", "means": "open", "unit": "auto"})


def test_words_where_numbers_belong_are_refused(desk):
    with refused("bars.csv: row 1, column h: expected a number, got 'n.a.'"):
        desk.csv("ts,o,h,l,c,v\n2026-01-01T00:00:00Z,1,1,1,1,1\n2026-01-01T00:05:00Z,1,n.a.,1,1,1\n")
    with refused("bars.csv: row 0, column ts: expected a number, got 'ts'"):
        header_twice = {"header": ["ts", *"ohlcv"], "ts": {"column": "ts", "means": "open", "unit": "ms"}}
        desk.csv("ts,o,h,l,c,v\n1767225600000,1,1,1,1,1\n", **header_twice)
    with refused("bars.csv: row 1: expected 6 columns, got 3"):
        desk.csv("ts,o,h,l,c,v\n2026-01-01T00:00:00Z,1,1,1,1,1\n2026-01-01T00:05:00Z,1,1\n")
    with refused("bars.csv: row 1: expected 6 columns, got 2"):
        desk.csv("1767225600000,1,1,1,1,1\n17672,1\n", header=["ts", *"ohlcv"])
    with refused("row 0, column ts: expected a number, got timestamp"):
        desk.bars(bars(), columns=BAR["columns"] | {"volume_base": "ts"})


def test_a_missing_column_lists_those_there_are(desk):
    with refused("^bars.parquet: column close is missing; the columns are ts, o, h, l, c, v$"):
        desk.bars(bars(), columns=BAR["columns"] | {"close": "close"})
    with refused("bars.csv: column v is there more than once; the columns are ts, o, h, l, c, v, v"):
        desk.csv("ts,o,h,l,c,v,v\n2026-01-01T00:00:00Z,1,1,1,1,1,1\n")


def test_missing_and_empty_things_are_named(desk, tmp_path):
    with refused("data: the folder is empty; .*mapping.yaml expects bars.parquet in it"):
        desk.run(BAR)
    (desk.data / "other.csv").write_text("")
    with refused("bars.parquet: no such file in .*data"):
        desk.run(BAR)
    with refused("elsewhere: no such folder"):
        import_mapping(desk.path, tmp_path / "elsewhere", desk.lake)
    with refused("other.csv: damaged or not what its suffix says: Empty CSV file"):
        desk.run(BAR | {"file": "other.csv"})
    with refused("bars.csv: no rows"):
        desk.csv("ts,o,h,l,c,v\n")
    (desk.data / "bars.xlsx").write_text("x")
    with refused(r"bars.xlsx: expected .csv, .csv.gz, .zip, .parquet or .feather, got .xlsx"):
        desk.run(BAR | {"file": "bars.xlsx"})


@pytest.mark.parametrize("inside", [[], ["a.csv", "b.csv"], ["a.txt"]])
def test_a_zip_holds_exactly_one_csv(desk, inside):
    with zipfile.ZipFile(desk.data / "b.zip", "w") as archive:
        for name in inside:
            archive.writestr(name, "ts\n1\n")
    with refused(f"b.zip: expected exactly one CSV inside, got {', '.join(inside) or 'nothing'}"):
        desk.run(BAR | {"file": "b.zip"})


BAD_PRINTS = [
    ("side", 1, "buy", "row 1, column side: expected one of Buy, Sell, got buy"),
    ("price", 2, 0.0, "row 2, column price: expected a price above zero, got 0.0"),
    ("qty", 0, -0.5, "row 0, column qty: expected a size of zero or more, got -0.5"),
    ("symbol", 2, "../B", r"row 2, column symbol: expected a symbol of letters, digits and \+ . _ -, got ../B"),
]


@pytest.mark.parametrize(("column", "row", "value", "message"), BAD_PRINTS)
def test_a_bad_print_is_named(desk, column, row, value, message):
    with refused(f"^prints.parquet: {message}$"):
        desk.prints(set_cell(prints(), column, row, value))
    assert desk.held() == []


def test_a_word_that_is_not_text_is_refused(desk):
    offsets, letters = pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"A\xff\xfe")
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, letters])
    with refused("prints.parquet: damaged or not what its suffix says: .*UTF8"):
        desk.prints(prints().set_column(1, "symbol", broken))


BAD_MAPPINGS = [
    ({"kind": "candles"}, r"Invalid enum value 'candles' - at `\$.files\[0\].kind`"),
    ({"colour": "red"}, r"unknown field `colour` - at `\$.files\[0\]`"),
    ({"ts": {"column": "ts", "means": "event"}}, "ts.means of a bar must be open or close"),
    ({"columns": {"open": "o"}}, "columns: a bar needs high"),
    ({"columns": BAR["columns"] | {"price": "c"}}, "columns: a bar has no price; expected open, high"),
    ({"plausible": {"usd": [1, 2]}}, "plausible: a bar has no usd"),
    ({"plausible": {"close": [2, 1]}}, r"plausible: \[low, high\] must rise"),
    ({"scale": {"closed": 2.0}}, "scale: a bar has no closed"),
    ({"cadence": None}, "a bar needs a cadence"),
    ({"cadence": "7m"}, "cadence must divide a day"),
    ({"cadence": "0m"}, "cadence must not be zero"),
    ({"cadence": "five"}, "expected a duration such as 60s, 5m or 1h, got 'five'"),
    ({"publication_lag": "2d"}, "publication_lag is at most a day"),
    ({"symbol": "../S"}, r"symbol '\.\./S' may have letters"),
    ({"venue": "a/b"}, "venue 'a/b' may have letters"),
    ({"side": PRINT["side"]}, "side belongs to kind liquidation"),
    ({"usd": PRINT["usd"]}, "usd is a product or a column, of prints|columns: a bar has no usd"),
]


@pytest.mark.parametrize(("change", "message"), BAD_MAPPINGS)
def test_a_mapping_that_cannot_hold_is_refused(desk, change, message):
    with refused(rf"mapping.yaml: .*{message}", ConfigError) as caught:
        desk.bars(bars(), **change)
    assert "\n" not in str(caught.value)


def test_a_mapping_that_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "m.yaml"
    for content, message in (
        ("files: [", "not YAML"),
        ("files: []", "files must not be empty"),
        ("", "Expected `object`"),
    ):
        path.write_text(content)
        with refused(rf"m.yaml: {message}", ConfigError) as caught:
            load_mapping(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe\xff")
    with refused("m.yaml: cannot be read", ConfigError):
        load_mapping(path)
    with refused("none.yaml: cannot be read", ConfigError):
        load_mapping(tmp_path / "none.yaml")


def test_nothing_is_written_where_the_last_file_is_bad(desk):
    pq.write_table(bars(), desk.data / "bars.parquet")
    pq.write_table(set_cell(bars(), "c", 0, -1.0), desk.data / "bad.parquet")
    with refused("bad.parquet: row 0, column c"):
        desk.run(BAR, BAR | {"file": "bad.parquet", "symbol": "T"})
    assert desk.held() == []


def test_a_run_killed_while_writing_is_completed_by_the_next(desk, monkeypatch):
    swap, calls = os.replace, []

    def killed_at_the_third(source, target):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        swap(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            desk.bars(bars(5 * 288))
    assert len(desk.lake.read("bar_5m", "v", "S")["close"]) == 2 * 288, "whole days, all readable"
    (again,) = desk.bars(bars(5 * 288))
    assert again.written == Written(rows_new=3 * 288, rows_same=2 * 288)


def test_progress_is_told_in_words(desk):
    desk.bars(bars())
    told = []
    import_mapping(desk.path, desk.data, desk.lake, told.append)
    assert told == ["checking bars.parquet", "writing bars.parquet"]


@settings(deadline=None)
@given(data=st.data())
def test_noise_in_a_file_is_refused_by_a_user_error_or_read(tmp_path_factory, data):
    desk = Desk(tmp_path_factory.mktemp("noise"))
    name, whole = data.draw(st.sampled_from(sorted(formats(bars(20)).items())))
    at = data.draw(st.integers(0, len(whole) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=4))
    (desk.data / name).write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        desk.run(BAR | {"file": name})
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert desk.held() == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_mapping_holds_and_has_plausible_ranges(path):
    for file in load_mapping(path).files:
        prices = {"close"} if file.kind == "bar" else set()
        assert set(file.plausible) >= (prices or set(file.fields())), file.file
        assert file.licence
        assert file.lag_ns == {"open_interest": 60 * SECOND_NS}.get(
            file.kind, SECOND_NS if "2024" in file.file and file.side else 0
        )


def test_durations_are_read_in_their_unit():
    assert [duration_ns(t) for t in ("250ms", "2s", "15m")] == [SECOND_NS // 4, 2 * SECOND_NS, 15 * MINUTE_NS]
