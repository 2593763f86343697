"""Files in the form in which exchanges and Tardis publish them, written here, and what the lake gets of them."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from squeeze.cli import main
from squeeze.errors import DataError
from squeeze.market.archives import days, import_archives, reading
from squeeze.market.events import HOUR_NS, MINUTE_NS, NAN, SECOND_NS, BookUpdate, Quality
from squeeze.market.instruments import Instrument, Instruments, ours
from squeeze.market.lake import Lake
from squeeze.market.partitions import Written
from squeeze.market.rows import events_of

DAY_MS = 1_709_251_200_000  # 2024-03-01
MS = 1_000_000
AGG = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
PRINTS = (
    "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
    "accumulated_fill_quantity"
)
BYBIT = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
OKX = "instrument_name,trade_id,side,price,size,created_time"
TARDIS = "exchange,symbol,timestamp,local_timestamp"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def zipped(path: Path, rows: list[str], name: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name or path.with_suffix(".csv").name, "\n".join(rows) + "\n")
    return path


def gzipped(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(("\n".join(rows) + "\n").encode()))
    return path


def kline(minute: int, volume: str = "10.5", taker: str = "4.5", unit: int = 1) -> str:
    opened = (DAY_MS + minute * 60_000) * unit
    return f"{opened},100.0,102.0,99.0,101.5,{volume},{opened + 60_000 * unit - 1},1000.0,7,{taker},450.0,0"


def refused(lake: Lake, path: Path, message: str, **options) -> None:
    with pytest.raises(DataError, match=message) as caught:
        import_archives([path], lake, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert lake.streams() == []


# ---- Binance


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("unit", [1, 1000], ids=["ms", "us"])
def test_klines_close_when_they_are_known(lake, tmp_path, header, unit):
    rows = ([KLINES] if header else []) + [kline(0, unit=unit), kline(1, "0.0", "0.0", unit)]
    path = zipped(tmp_path / "BTCUSDT-1m-2024-03.zip", rows)
    (done,) = import_archives([path], lake)
    assert (done.kind, done.venue, done.symbol, done.rows) == ("bar_1m", "binance", "BTCUSDT", 2)
    assert (done.written, done.checksum, done.skipped) == (Written(rows_new=2), "none beside it", 0)
    bars = lake.read("bar_1m", "binance", "BTCUSDT")
    assert bars["event_ns"].tolist() == bars["known_at_ns"].tolist() == [DAY_MS * MS + n * MINUTE_NS for n in (1, 2)]
    assert bars["volume_base"].tolist() == [10.5, 0.0]
    assert bars["taker_buy_base"].tolist() == [4.5, 0.0]
    assert (bars["open"][0], bars["high"][0], bars["low"][0], bars["close"][0]) == (100.0, 102.0, 99.0, 101.5)


def test_the_folder_or_the_caller_says_that_klines_are_of_the_mark_price(lake, tmp_path):
    path = zipped(tmp_path / "markPriceKlines" / "BTCUSDT-1m-2024-03-01.zip", [kline(0, "0", "0")])
    (done,) = import_archives([path], lake)
    other = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(1, "0", "0")])
    (again,) = import_archives([other], lake, kind="markPriceKlines")
    assert (done.kind, again.kind) == ("mark_bar_1m", "mark_bar_1m")
    assert np.isnan(lake.read("mark_bar_1m", "binance", "BTCUSDT")["volume_base"]).all()


@pytest.mark.parametrize("folder", ["indexPriceKlines", "premiumIndexKlines"])
def test_klines_of_an_index_are_refused(lake, tmp_path, folder):
    refused(lake, zipped(tmp_path / folder / "BTCUSDT-1m-2024-03-01.zip", [kline(0)]), folder)


def test_spot_has_a_symbol_of_its_own(lake, tmp_path):
    path = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(0)])
    assert import_archives([path], lake, spot=True)[0].symbol == "BTCUSDT-SPOT"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (kline(1)[:-2], r"row 1: expected 12 columns, got 11"),
        (kline(1).replace("101.5", "NaN"), r"row 1, column close: expected a finite number, got nan"),
        (kline(1).replace("101.5", ""), r"row 1, column close: expected a value, got null"),
        (kline(1).replace("101.5", "a lot"), r"row 1, column close: expected a number, got 'a lot'"),
        (kline(1).replace("99.0", "-99.0"), r"row 1, column low: expected a price above zero, got -99.0"),
        (kline(1).replace("102.0", "100.5"), r"row 1, column close: expected a price between low and high, got 101.5"),
        (kline(1, "-1"), r"row 1, column volume: expected a size of zero or more, got -1.0"),
        (kline(1, "1", "2"), r"row 1, column taker_buy_volume: expected no more than the volume"),
        (kline(1, unit=1000), r"row 1, column open_time: expected a time between 2010 and 2100, .* us would fit"),
        (kline(1).replace("1709251260000", "1709251260007"), r"row 1, column open_time: expected a time on the grid"),
        (kline(1).replace("1709251319999", "1709251349999"), r"row 1, column close_time: expected 1m after open_time"),
        (kline(0, "11.5"), r"row 1, column volume_base: expected 10.5, as in row 0 of the same time, got 11.5"),
        (kline(3 * 1440), r"expected bar_1m of 2024-03-01, got rows of 2024-03-01 to 2024-03-04"),
    ],
)
def test_a_fault_names_its_place_and_leaves_nothing(lake, tmp_path, row, message):
    refused(lake, zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [KLINES, kline(0), row]), message)


def test_a_bar_told_twice_alike_is_one_and_order_does_not_matter(lake, tmp_path):
    path = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(1), kline(0), kline(1)])
    assert import_archives([path], lake)[0].rows == 2


def test_a_checksum_beside_the_file_is_verified(lake, tmp_path):
    path = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(0)])
    beside = tmp_path / "BTCUSDT-1m-2024-03-01.zip.CHECKSUM"
    beside.write_text(f"{'0' * 64}  {path.name}\n")
    refused(lake, path, "expected the SHA-256 0000")
    beside.write_text("nonsense")
    refused(lake, path, "expected a SHA-256 and")
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert import_archives([path], lake)[0].checksum == "verified"


def test_damaged_archives_are_refused(lake, tmp_path):
    path = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(n) for n in range(500)])
    whole = path.read_bytes()
    for bad in (whole[: len(whole) // 2], b"", whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]):
        path.write_bytes(bad)
        refused(lake, path, "damaged or not what its suffix says")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", kline(0))
        archive.writestr("../b.csv", kline(0))
    refused(lake, path, "expected exactly one CSV inside, got a.csv, ../b.csv")
    zipped(path, [KLINES])
    refused(lake, path, "no rows")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 1 << 16)
    monkeypatch.setattr(reading, "LONGEST_LINE", 1 << 16)
    refused(lake, zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", ["0" * (1 << 20)]), "lines of less than")


@pytest.mark.parametrize(
    "name",
    [
        "BTCUSDT-bookTicker-2024-03-01.zip",
        "BTCUSD_PERP-aggTrades-2024-03-01.zip",
        "BTCUSDT-1w-2024-03.zip",
        "what.zip",
        "what.txt",
    ],
)
def test_what_is_not_read_is_refused_by_its_name(lake, tmp_path, name):
    refused(lake, zipped(tmp_path / name, [kline(0)]), "expected")


def agg(number: int, ms: int, price: str = "100.5", size: str = "0.25", maker: str = "true") -> str:
    return f"{number},{price},{size},1,2,{DAY_MS + ms},{maker}"


@pytest.mark.parametrize("header", [True, False])
def test_trades_are_sorted_by_their_id_and_numbered_where_they_share_a_time(lake, tmp_path, header):
    rows = [agg(12, 5, "101"), agg(11, 5), agg(10, 1, maker="False"), agg(11, 5), agg(13, 5)]
    path = zipped(tmp_path / "BTCUSDT-aggTrades-2024-03-01.zip", ([AGG] if header else []) + rows)
    (done,) = import_archives([path], lake)
    trades = lake.read("trade", "binance", "BTCUSDT")
    assert trades["event_ns"].tolist() == trades["known_at_ns"].tolist()
    assert ((trades["event_ns"] // MS) - DAY_MS).tolist() == [1, 5, 5, 5]
    assert trades["place"].tolist() == [0, 0, 1, 2]
    assert trades["price"].tolist() == [100.5, 100.5, 101.0, 100.5]
    assert trades["taker_buys"].tolist() == [1, 0, 0, 0]
    assert trades["size_base"].sum() == 1.0
    assert done.rows == 4
    (again,) = import_archives([path], lake)
    assert again.written == Written(rows_same=4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (agg(11, 5, "102"), r"row 2, column price: expected 101.0, as in row 1 of the same id, got 102.0"),
        (agg(12, 6, maker="maybe"), r"row 2, column is_buyer_maker: expected one of false, true, got maybe"),
        (agg(12, 6, size="-1"), r"row 2, column quantity: expected a size of zero or more, got -1.0"),
        (agg(12, 6, price="inf"), r"row 2, column price: expected a finite number, got inf"),
        ("x" + agg(12, 6), r"row 2, column agg_trade_id: expected a whole number, got x12"),
    ],
)
def test_trades_that_cannot_be_are_refused(lake, tmp_path, row, message):
    path = zipped(tmp_path / "BTCUSDT-aggTrades-2024-03-01.zip", [agg(10, 1), agg(11, 5, "101"), row])
    refused(lake, path, message)


def test_raw_trades_and_small_blocks_give_the_same_as_large_ones(lake, tmp_path, monkeypatch):
    rows = [f"{n},{100 + n / 10},0.5,50.0,{DAY_MS + n * 40_000},{'true' if n % 2 else 'false'}" for n in range(3000)]
    path = zipped(tmp_path / "BTCUSDT-trades-2024-03.zip", ["id,price,qty,quoteQty,time,isBuyerMaker", *rows])
    import_archives([path], lake)
    monkeypatch.setattr(reading, "BLOCK", 1000)
    monkeypatch.setattr(days, "SPILL", 20_000)
    small = Lake(tmp_path / "small")
    (done,) = import_archives([path], small)
    assert done.written == Written(rows_new=3000)
    assert not list(small.root.glob(".reading-*"))
    for name, column in lake.read("trade", "binance", "BTCUSDT").items():
        np.testing.assert_array_equal(column, small.read("trade", "binance", "BTCUSDT")[name])
    bad = zipped(tmp_path / "BTCUSDT-trades-2024-03.zip", [*rows, rows[0].replace("100.0", "-1")])
    third = Lake(tmp_path / "third")
    refused(third, bad, "row 3000, column price: expected a price above zero, got -1.0")


def test_open_interest_is_known_a_minute_after_its_stamp(lake, tmp_path):
    rows = [f"2024-03-01 00:{m:02}:00,BTCUSDT,{oi},1.0,,,,1.0" for m, oi in ((10, 82.5), (0, 80.25), (10, 82.5))]
    path = zipped(tmp_path / "BTCUSDT-metrics-2024-03-01.zip", [METRICS, *rows])
    (done,) = import_archives([path], lake)
    got = lake.read("open_interest", "binance", "BTCUSDT")
    assert done.rows == 2
    assert got["open_interest_base"].tolist() == [80.25, 82.5]
    assert got["event_ns"].tolist() == [DAY_MS * MS, DAY_MS * MS + 10 * MINUTE_NS]
    assert (got["known_at_ns"] - got["event_ns"]).tolist() == [60 * SECOND_NS] * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2024-03-01 00:00:00,BTCUSDT,81,1,1,1,1,1", "row 1, column open_interest_base: expected 80.0, as in row 0"),
        ("2024-03-01 00:05:00,ETHUSDT,81,1,1,1,1,1", "row 1, column symbol: expected BTCUSDT"),
        ("2024-03-01T00:05,BTCUSDT,-1,1,1,1,1,1", "row 1, column sum_open_interest"),
        ("today at noon,BTCUSDT,1,1,1,1,1,1", "row 1, column create_time: expected a time in UTC"),
    ],
)
def test_metrics_that_contradict_are_refused(lake, tmp_path, row, message):
    rows = [METRICS, "2024-03-01 00:00:00,BTCUSDT,80,1,1,1,1,1", row]
    refused(lake, zipped(tmp_path / "BTCUSDT-metrics-2024-03-01.zip", rows), message)


def test_funding_is_on_its_minute(lake, tmp_path):
    rows = [f"{DAY_MS + 7},8,0.0001", f"{DAY_MS + 8 * 3_600_000 - 3},4,-0.0002"]
    path = zipped(
        tmp_path / "BTCUSDT-fundingRate-2024-03.zip", ["calc_time,funding_interval_hours,last_funding_rate", *rows]
    )
    import_archives([path], lake)
    got = lake.read("funding", "binance", "BTCUSDT")
    assert got["event_ns"].tolist() == [DAY_MS * MS, DAY_MS * MS + 8 * HOUR_NS]
    assert got["known_at_ns"].tolist() == [(DAY_MS + 7) * MS, DAY_MS * MS + 8 * HOUR_NS]
    assert got["funding_rate"].tolist() == [0.0001, -0.0002]
    assert got["interval_hours"].tolist() == [8.0, 4.0]
    off = zipped(tmp_path / "DOTUSDT-fundingRate-2024-03.zip", [f"{DAY_MS + 20_000},8,0.0001"])
    with pytest.raises(DataError, match="row 0, column calc_time: expected a time within 10 s of a minute"):
        import_archives([off], lake)


def test_depth_bands_are_kept_as_they_are_told(lake, tmp_path):
    rows = [f"2024-03-01 00:00:07,{p},{d},{d * 60}" for p, d in ((-5, 90.5), (-1, 20.0), (1, 21.0), (-5, 90.5))]
    path = zipped(tmp_path / "BTCUSDT-bookDepth-2024-03-01.zip", ["timestamp,percentage,depth,notional", *rows])
    (done,) = import_archives([path], lake)
    got = lake.read("depth_band", "binance", "BTCUSDT")
    assert done.rows == 3
    assert sorted(zip(got["percentage"].tolist(), got["depth_base"].tolist(), strict=True)) == [
        (-5.0, 90.5),
        (-1.0, 20.0),
        (1.0, 21.0),
    ]
    assert got["event_ns"].tolist() == [DAY_MS * MS + 7 * SECOND_NS] * 3
    assert next(events_of("depth_band", "binance", "BTCUSDT", got)).notional_usd > 0


def test_a_sell_order_liquidates_a_long_and_a_repeated_row_is_one(lake, tmp_path):
    rows = [
        f"{DAY_MS + 5},SELL,LIMIT,IOC,10,29000,29100.5,FILLED,3,7",
        f"{DAY_MS + 5},SELL,LIMIT,IOC,10,29000,29100.5,FILLED,3,7",
        f"{DAY_MS + 5},BUY,LIMIT,IOC,4,31000,30900,FILLED,4,4",
        f"{DAY_MS + 9},BUY,LIMIT,IOC,4,31000,0,NEW,0,0",
    ]
    path = zipped(tmp_path / "BTCUSDT-liquidationSnapshot-2024-03-01.zip", [PRINTS, *rows])
    (done,) = import_archives([path], lake)
    got = lake.read("liquidation", "binance", "BTCUSDT")
    assert (done.rows, done.skipped) == (2, 1)
    order = np.argsort(got["side"])
    assert got["side"][order].tolist() == [0, 1]
    assert got["usd"][order].tolist() == [7 * 29100.5, 4 * 30900.0]
    assert got["size_base"][order].tolist() == [7.0, 4.0]
    assert set(got["quality"].tolist()) == {Quality.SAMPLED}
    assert import_archives([path], lake)[0].written == Written(rows_same=2)


# ---- Bybit


def bybit(stamp: str, side: str = "Buy", size: str = "0.5", price: str = "100.5") -> str:
    return f"{stamp},BTCUSDT,{side},{size},{price},ZeroMinusTick,0a-1,50.25e8,0.5,50.25"


@pytest.mark.parametrize("falling", [True, False])
def test_bybit_trades_have_exact_times_in_rising_order(lake, tmp_path, falling):
    rows = [
        bybit("1709251200.0647", "Sell"),
        bybit("1709251200.065", price="101"),
        bybit("1709251200.065", price="102"),
        bybit("1709251201"),
    ]
    path = gzipped(tmp_path / "BTCUSDT2024-03-01.csv.gz", [BYBIT, *(reversed(rows) if falling else rows)])
    (done,) = import_archives([path], lake)
    got = lake.read("trade", "bybit", "BTCUSDT")
    start = 1_709_251_200 * SECOND_NS
    assert (got["event_ns"] - start).tolist() == [64_700_000, 65_000_000, 65_000_000, SECOND_NS]
    assert got["price"].tolist() == [100.5, 101.0, 102.0, 100.5]
    assert got["taker_buys"].tolist() == [0, 1, 1, 1]
    assert (done.rows, done.venue) == (4, "bybit")
    assert import_archives([path], lake)[0].written == Written(rows_same=4)


def test_bybit_files_with_faults_are_refused(lake, tmp_path):
    path = tmp_path / "BTCUSDT2024-03-01.csv.gz"
    for row, message in (
        (bybit("soon"), "row 0, column timestamp: expected seconds"),
        (bybit("1709251200", "Both"), "row 0, column side: expected one of sell, buy, got Both"),
        (bybit("1709251200").replace("BTCUSDT", "ETHUSDT"), "row 0, column symbol: expected BTCUSDT"),
        (bybit("1709251200000"), "row 0, column timestamp: expected seconds"),
    ):
        refused(lake, gzipped(path, [BYBIT, row]), message)
    path.write_bytes(gzip.compress(b"x" * 1000)[:-9])
    refused(lake, path, "damaged")
    refused(lake, gzipped(tmp_path / "BTCUSD2024-03-01.csv.gz", [BYBIT, bybit("1709251200")]), "not base coins")


def frame(kind: str, ms: int, number: int, bids: list, asks: list) -> str:
    data = {"s": "XRPUSDT", "b": bids, "a": asks, "u": number, "seq": 1000 + number}
    ts = DAY_MS + ms
    return json.dumps({"topic": "orderbook.500.XRPUSDT", "type": kind, "ts": ts, "data": data, "cts": ts - 3})


def test_a_bybit_book_starts_with_a_snapshot_and_its_numbers_rise(lake, tmp_path):
    lines = [
        frame("delta", 0, 4, [["1.1", "5"]], []),
        frame("snapshot", 100, 5, [["1.1", "5"], ["1.0", "6"]], [["1.2", "7"]]),
        frame("delta", 200, 6, [["1.1", "0"]], []),
        frame("delta", 300, 6, [["1.1", "9"]], []),
        frame("snapshot", 400, 1, [["1.1", "8"]], [["1.2", "7"]]),
    ]
    path = zipped(tmp_path / "2024-03-01_XRPUSDT_ob500.data.zip", lines, "2024-03-01_XRPUSDT_ob500.data")
    (done,) = import_archives([path], lake)
    updates = list(events_of("book", "bybit", "XRPUSDT", lake.read("book", "bybit", "XRPUSDT")))
    assert [(u.is_snapshot, u.last_id, u.depth) for u in updates] == [(True, 5, 500), (False, 6, 500), (True, 1, 500)]
    assert updates[0].bids == [(1.1, 5.0), (1.0, 6.0)]
    assert updates[1].bids == [(1.1, 0.0)]
    assert (updates[0].event_ns, updates[0].known_at_ns) == ((DAY_MS + 97) * MS, (DAY_MS + 100) * MS)
    assert (done.rows, done.skipped) == (6, 2)
    assert import_archives([path], lake)[0].written == Written(rows_same=6)
    zipped(path, [lines[1], "{not json"], "2024-03-01_XRPUSDT_ob500.data")
    with pytest.raises(DataError, match="row 1: expected a frame of XRPUSDT's book"):
        import_archives([path], lake)


# ---- OKX


def okx_swap(as_of_ns: int, value: float, native: str = "BTC-USDT-SWAP", **fields) -> Instrument:
    steps = {"tick_size": 0.1, "lot_size_base": 0.0001, "minimum_size_base": 0.0001}
    names = {"venue": "okx", "native": native, "symbol": ours("okx", native), "as_of_ns": as_of_ns, "source": "test"}
    return Instrument(contract_value=value, **{**names, **steps, **fields})


def test_okx_sizes_become_coins_and_a_day_of_utc_plus_8_spans_two(lake, tmp_path):
    rows = [
        f"BTC-USDT-SWAP,3,sell,60000.5,250,{DAY_MS - 8 * 3_600_000}",
        f"BTC-USDT-SWAP,5,buy,60001,1,{DAY_MS + 3_600_000}",
        f"BTC-USDT-SWAP,4,buy,60002,2,{DAY_MS + 3_600_000}",
    ]
    path = zipped(tmp_path / "BTC-USDT-SWAP-trades-2024-03-01.zip", [OKX, *rows])
    midnight_ns = DAY_MS * MS
    dated = Instruments([okx_swap(midnight_ns - 24 * HOUR_NS, 0.01), okx_swap(midnight_ns, 0.1)])
    (done,) = import_archives([path], lake, instruments=dated)
    got = lake.read("trade", "okx", "BTCUSDT")
    assert got["size_base"].tolist() == [2.5, 0.2, 0.1], "each by the record of its UTC day"
    assert got["taker_buys"].tolist() == [0, 1, 1]
    assert got["place"].tolist() == [0, 0, 1]
    assert done.symbol == "BTCUSDT"
    held = (lake.root / "kind=trade" / "venue=okx" / "symbol=BTCUSDT").iterdir()
    assert sorted(folder.name for folder in held) == ["date=2024-02-29", "date=2024-03-01"]
    assert import_archives([path], lake, instruments=dated)[0].written == Written(rows_same=3)
    import_archives([path], Lake(lake.root.parent / "other"))
    shipped = Lake(lake.root.parent / "other").read("trade", "okx", "BTCUSDT")
    assert shipped["size_base"].tolist() == [2.5, 0.02, 0.01], "what ships says 0.01 of both days"


def test_without_an_instrument_record_contracts_are_refused(lake, tmp_path):
    path = zipped(tmp_path / "NEW-USDT-SWAP-trades-2024-03-01.zip", [OKX, f"NEW-USDT-SWAP,3,sell,6,250,{DAY_MS}"])
    refused(lake, path, "no instrument record of okx NEW-USDT-SWAP with a value in base coins for 2024-03-01")
    refused(lake, path, "no instrument record", instruments=Instruments())
    inverse = okx_swap(0, 100.0, native="NEW-USDT-SWAP", is_inverse=True, lot_size_base=NAN, minimum_size_base=NAN)
    refused(lake, path, "no instrument record", instruments=Instruments([inverse]))
    other = zipped(tmp_path / "BTC-USD-SWAP-trades-2024-03-01.zip", [OKX])
    refused(lake, other, "expected a linear swap")


def test_okx_funding_of_all_swaps_is_a_stream_each(lake, tmp_path):
    rows = [f"BTC-USDT-SWAP,-0.0001,{DAY_MS}", f"ETH-USD-SWAP,0.0002,{DAY_MS}"]
    rows.append(f"BTC-USDT-SWAP,0.0003,{DAY_MS + 28_800_000}")
    path = zipped(
        tmp_path / "allswap-fundingrates-2024-03-01.zip", ["\ufeffinstrument_name,funding_rate,funding_time", *rows]
    )
    done = import_archives([path], lake)
    assert [(d.symbol, d.rows) for d in done] == [("BTCUSDT", 2), ("ETHUSD", 1)]
    assert lake.read("funding", "okx", "BTCUSDT")["funding_rate"].tolist() == [-0.0001, 0.0003]


def test_okx_candles_count_coins(lake, tmp_path):
    columns = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
    row = f"ETH-USDT-SWAP,3839.44,3843.58,3836.71,3838.16,23503.2,2350.32,9024127.3,{DAY_MS},0"
    import_archives([zipped(tmp_path / "ETH-USDT-SWAP-candlesticks-2024-03-01.zip", [columns, row])], lake)
    got = lake.read("bar_1m", "okx", "ETHUSDT")
    assert (got["volume_base"].tolist(), got["close"].tolist()) == ([2350.32], [3838.16])
    assert got["event_ns"].tolist() == [DAY_MS * MS + MINUTE_NS]


def okx_line(action: str, ms: int, asks: list, bids: list) -> str:
    return json.dumps({"instId": "BTC-USDT-SWAP", "action": action, "ts": str(DAY_MS + ms), "asks": asks, "bids": bids})


def test_an_okx_book_is_read_from_its_first_snapshot_and_updates_of_one_moment_are_joined(lake, tmp_path):
    lines = [
        okx_line("update", 0, [["93713", "1", "1"]], []),
        okx_line("snapshot", 10, [["93713", "250", "26"]], [["93712.9", "10", "1"], ["93712.8", "5", "1"]]),
        okx_line("update", 10, [["93713", "100", "2"]], [["93712.8", "0", "0"]]),
        okx_line("update", 20, [["93713", "0", "0"]], []),
    ]
    path = tmp_path / "BTC-USDT-SWAP-L2orderbook-400lv-2024-03-01.tar.gz"
    text = ("\n".join(lines) + "\n").encode()
    with tarfile.open(path, "w:gz") as tape:
        member = tarfile.TarInfo("../../BTC-USDT-SWAP-L2orderbook-400lv-2024-03-01.data")
        member.size = len(text)
        tape.addfile(member, io.BytesIO(text))
    (done,) = import_archives([path], lake)
    first, second = events_of("book", "okx", "BTCUSDT", lake.read("book", "okx", "BTCUSDT"))
    assert isinstance(first, BookUpdate)
    assert (first.is_snapshot, first.depth, first.asks, first.bids) == (True, 400, [(93713.0, 1.0)], [(93712.9, 0.1)])
    assert (second.is_snapshot, second.asks, second.bids) == (False, [(93713.0, 0.0)], [])
    assert (done.rows, done.skipped) == (3, 1)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="damaged"):
        import_archives([path], lake)


@pytest.mark.parametrize(
    "line",
    [
        okx_line("remove", 0, [], []),
        okx_line("snapshot", 0, [["-1", "1", "1"]], []),
        okx_line("snapshot", 0, [["1"]], []),
        okx_line("snapshot", 0, [["nan", "1", "1"]], []),
        okx_line("snapshot", 0, [], []).replace("BTC", "ETH"),
        "[]",
    ],
)
def test_okx_lines_that_cannot_be_are_refused(lake, tmp_path, line):
    path = zipped(tmp_path / "BTC-USDT-SWAP-L2orderbook-400lv-2024-03-01.zip", [line], "x.data")
    refused(lake, path, "row 0")


# ---- Tardis


def tardis(exchange: str, symbol: str, ms: float, rest: str, lag_us: int = 5000) -> str:
    us = int((DAY_MS + ms) * 1000)
    return f"{exchange},{symbol},{us},{us + lag_us},{rest}"


def test_tardis_trades_are_known_when_they_were_received(lake, tmp_path):
    rows = [
        tardis("binance-futures", "BTCUSDT", 0, "1,buy,100.5,0.25"),
        tardis("binance-futures", "BTCUSDT", 0, "2,buy,100.5,0.25"),
        tardis("binance-futures", "BTCUSDT", 9, "3,sell,100,1", -2_000_000),
    ]
    path = gzipped(tmp_path / "trades" / "BTCUSDT.csv.gz", [f"{TARDIS},id,side,price,amount", *rows])
    (done,) = import_archives([path], lake)
    got = lake.read("trade", "binance", "BTCUSDT")
    order = np.argsort(got["event_ns"], kind="stable")
    assert got["place"][order].tolist() == [0, 1, 0]
    assert (got["known_at_ns"] - got["event_ns"])[order].tolist() == [5 * MS, 5 * MS, -2 * SECOND_NS]
    assert got["quality"][order].tolist() == [0, 0, Quality.CLOCK_SKEW]
    assert got["taker_buys"][order].tolist() == [1, 1, 0]
    assert import_archives([path], lake)[0].written == Written(rows_same=3)
    assert done.rows == 3


@pytest.mark.parametrize(
    ("exchange", "symbol", "ms", "size", "quality"),
    [
        ("binance-futures", "BTCUSDT", 0, 2.0, Quality.SAMPLED),
        ("bybit", "BTCUSDT", 0, 2.0, Quality.SAMPLED),
        ("bybit", "BTCUSDT", 400 * 86_400_000, 2.0, Quality.GOOD),
        ("okex-swap", "BTC-USDT-SWAP", 0, 0.02, Quality.UNDERCOUNTED),
    ],
)
def test_a_liquidation_that_buys_closes_a_short(lake, tmp_path, exchange, symbol, ms, size, quality):
    rows = [tardis(exchange, symbol, ms, f",{side},100.0,2") for side in ("buy", "sell", "sell")]
    path = gzipped(
        tmp_path / f"{exchange}_liquidations_2024-03-01_{symbol}.csv.gz", [f"{TARDIS},id,side,price,amount", *rows]
    )
    (done,) = import_archives([path], lake)
    got = lake.read("liquidation", done.venue, "BTCUSDT")
    assert sorted(got["side"].tolist()) == [0, 0, 1], "two equal prints are two"
    assert got["size_base"].tolist() == [size] * 3
    assert got["usd"].tolist() == [size * 100] * 3
    assert set(got["quality"].tolist()) == {quality}


def test_a_ticker_becomes_what_changed_in_it(lake, tmp_path):
    columns = f"{TARDIS},funding_timestamp,funding_rate,predicted_funding_rate,open_interest"
    columns += ",last_price,index_price,mark_price"
    settles = DAY_MS * 1000 + 28_800_000_000
    rows = [
        tardis("bybit", "BTCUSDT", 0, f"{settles},0.0001,,1000,100.5,100.4,"),
        tardis("bybit", "BTCUSDT", 100, f"{settles},0.0001,,1000,100.5,100.6,100.7"),
        tardis("bybit", "BTCUSDT", 200, f"{settles},0.0002,,1100,100.5,100.6,100.7"),
        tardis("bybit", "BTCUSDT", 60_000, f"{settles},0.0002,,1100,100.5,100.6,100.7"),
    ]
    path = gzipped(tmp_path / "BTCUSDT.csv.gz", [columns, *rows])
    done = {d.kind: d for d in import_archives([path], lake)}
    read = {kind: lake.read(kind, "bybit", "BTCUSDT") for kind in done}
    assert read["price_last"]["price"].tolist() == [100.5]
    assert read["price_index"]["price"].tolist() == [100.4, 100.6]
    assert read["price_mark"]["price"].tolist() == [100.7]
    assert read["open_interest"]["open_interest_base"].tolist() == [500.0, 550.0, 550.0], "half, and once a minute"
    assert read["funding_forecast"]["funding_rate"].tolist() == [0.0001, 0.0002]
    assert read["funding_forecast"]["settles_ns"].tolist() == [settles * 1000] * 2
    assert np.isnan(read["funding_forecast"]["following_rate"]).all()
    again = import_archives([path], lake)
    assert all(d.written.rows_new == d.written.rows_kept == 0 for d in again)


LEVELS = f"{TARDIS},is_snapshot,side,price,amount"


def test_an_incremental_book_begins_with_its_first_snapshot(lake, tmp_path, monkeypatch):
    def row(ms, snapshot, side, price, amount):
        return tardis("binance-futures", "BTCUSDT", ms, f"{snapshot},{side},{price},{amount}")

    rows = [
        row(0, "false", "bid", 100, 1),
        row(10, "true", "ask", 101, 2),
        row(10, "true", "bid", 100, 3),
        row(10, "true", "bid", 99, 4),
        row(10, "false", "bid", 99, 0),
        row(10, "false", "bid", 100, 5),
        row(20, "false", "ask", 101, 0),
        row(30, "false", "ask", 102, 9),
        row(30, "true", "ask", 103, 1),
        row(30, "true", "bid", 98, 1),
        row(40, "true", "bid", 97, 1),
        row(50, "false", "bid", 97, 0),
    ]
    path = gzipped(tmp_path / "BTCUSDT.csv.gz", [LEVELS, *rows])
    (done,) = import_archives([path], lake)
    updates = list(events_of("book", "binance", "BTCUSDT", lake.read("book", "binance", "BTCUSDT")))
    assert [(u.is_snapshot, u.bids, u.asks) for u in updates] == [
        (True, [(100.0, 5.0)], [(101.0, 2.0)]),
        (False, [], [(101.0, 0.0)]),
        (True, [(98.0, 1.0)], [(103.0, 1.0)]),
        (False, [(97.0, 1.0)], []),
        (False, [(97.0, 0.0)], []),
    ]
    assert (done.rows, done.skipped) == (7, 1)
    monkeypatch.setattr(reading, "BLOCK", 100)
    assert import_archives([path], lake)[0].written == Written(rows_same=7), "whatever the blocks"
    backwards = gzipped(tmp_path / "ETHUSDT.csv.gz", [LEVELS, rows[-1], rows[1]])
    with pytest.raises(DataError, match="row 1, column local_timestamp: expected times that do not fall"):
        import_archives([backwards], lake)


def test_snapshots_have_their_depth_and_missing_levels_are_left_out(lake, tmp_path):
    names = [f"{side}[{n}].{what}" for n in (0, 1) for side in ("asks", "bids") for what in ("price", "amount")]
    rows = [
        tardis("okex-swap", "BTC-USDT-SWAP", 0, "101,100,100,200,102,300,99,400"),
        tardis("okex-swap", "BTC-USDT-SWAP", 0, "101,150,100,200,,,99,400"),
        tardis("okex-swap", "BTC-USDT-SWAP", 7, "101,100,100,200,,,,"),
    ]
    path = gzipped(tmp_path / "BTC-USDT-SWAP.csv.gz", [f"{TARDIS},{','.join(names)}", *rows])
    (done,) = import_archives([path], lake)
    first, second = events_of("book", "okx", "BTCUSDT", lake.read("book", "okx", "BTCUSDT"))
    assert (first.depth, first.is_snapshot) == (2, True)
    assert (first.bids, first.asks) == ([(100.0, 2.0), (99.0, 4.0)], [(101.0, 1.5)])
    assert (second.bids, second.asks) == ([(100.0, 2.0)], [(101.0, 1.0)])
    assert (done.rows, done.skipped) == (5, 1)


def test_quotes_are_read(lake, tmp_path):
    row = tardis("bybit", "BTCUSDT", 0, "2,101,100,")
    path = gzipped(tmp_path / "BTCUSDT.csv.gz", [f"{TARDIS},ask_amount,ask_price,bid_price,bid_amount", row])
    import_archives([path], lake)
    got = lake.read("quote", "bybit", "BTCUSDT")
    assert (got["ask"][0], got["ask_size_base"][0], got["bid"][0]) == (101.0, 2.0, 100.0)
    assert np.isnan(got["bid_size_base"][0])


@pytest.mark.parametrize(
    ("folder", "exchange", "symbol", "rest", "lag_us", "message"),
    [
        ("x", "bybit", "BTCUSDT", "1,buy,1,1", 0, "trades or liquidations"),
        ("trades", "bybit", "BTCUSD", "1,buy,1,1", 0, "row 0, column symbol: expected a linear contract"),
        ("trades", "binance", "BTCUSDT", "1,buy,1,1", 0, "got binance, a spot market"),
        ("trades", "bitmex", "XBTUSD", "1,buy,1,1", 0, "native_amounts=True"),
        ("trades", "bybit", "BTCUSDT", "1,unknown,1,1", 0, "row 0, column side: expected one of sell, buy"),
        ("trades", "bybit", "BTCUSDT", "1,buy,,1", 0, "row 0, column price: expected a value, got null"),
        ("trades", "bybit", "BTCUSDT", "1,buy,1,-1", 0, "row 0, column amount: expected a size of zero or more"),
        (
            "trades",
            "bybit",
            "BTCUSDT",
            "1,buy,1,1",
            -11_000_000,
            "row 0, column local_timestamp: expected at most 10 s",
        ),
        ("trades", "bybit", "BTCUSDT", "1,buy,1,1", 86_400_000_001, "row 0, column local_timestamp: .* a day after"),
        ("trades", "bybit", "BTCUSDT", "1,buy,1,1,7", 0, "row 0: expected 8 columns, got 9"),
    ],
)
def test_tardis_rows_that_cannot_be_are_refused(lake, tmp_path, folder, exchange, symbol, rest, lag_us, message):
    path = tmp_path / folder / f"{symbol}.csv.gz"
    gzipped(path, [f"{TARDIS},id,side,price,amount", tardis(exchange, symbol, 0, rest, lag_us)])
    refused(lake, path, message)


# ---- the whole


def test_nothing_is_read_unless_all_names_are_known(lake, tmp_path):
    good = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(0)])
    with pytest.raises(DataError, match=r"nothing.zip: no such file"):
        import_archives([good, tmp_path / "nothing.zip"], lake)
    assert lake.streams() == []


def test_the_verb_prints_a_table(tmp_path, capsys):
    path = zipped(tmp_path / "BTCUSDT-1m-2024-03-01.zip", [kline(0)])
    assert main(["archives", str(path), "--lake", str(tmp_path / "lake"), "--spot"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["file", "kind", "venue", "symbol"]
    assert row.split()[:4] == ["BTCUSDT-1m-2024-03-01.zip", "bar_1m", "binance", "BTCUSDT-SPOT"]
