"""Recorded frames through the adapters: against the records that another implementation makes, and whole captures."""

import gzip
import io
import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import zstandard
from fuzzing import Oracle, said

from squeeze.market.events import BookUpdate, FundingForecast, Liquidation, OpenInterest, Price, Quote, Trade
from squeeze.market.instruments import Instrument, Instruments
from squeeze.market.venues import Binance, Bybit, Okx

pytestmark = pytest.mark.real

BTC, MINA, WNCG, ADA, LTC = 0.01, 1.0, 10.0, 100.0, 0.5
"""Base coins per OKX contract. BTC's is published; the others are chosen here, so that a missing factor shows."""


def contract(native: str, value: float) -> Instrument:
    symbol = native.removesuffix("-SWAP").replace("-", "")
    steps = {"tick_size": 0.1, "lot_size_base": value, "minimum_size_base": value}
    names = {"venue": "okx", "native": native, "symbol": symbol, "source": "test"}
    return Instrument(**names, **steps, as_of_ns=0, contract_value=value)


OKX = Okx(
    Instruments(
        [
            contract("BTC-USDT-SWAP", BTC),
            contract("MINA-USDT-SWAP", MINA),
            contract("WNCG-USDT-SWAP", WNCG),
            contract("ADA-USDT-211224", ADA),
            contract("LTC-USDT-220624", LTC),
        ]
    )
)
ADAPTERS = {"bybit": Bybit(), "okex-swap": OKX, "okex-futures": OKX, "binance-futures": Binance()}
ADAPTERS["binance-delivery"] = ADAPTERS["binance-futures"]

INVERSE = "inverse contract: sizes are in USD, and this adapter is for linear ones"
RETIRED = "the v2 format, retired in 2023"
OKX_V3 = "the v3 format (`table`), retired in 2021"
COIN_M = "COIN-M: sizes are in contracts of 100 or 10 USD"

OUT_OF_SCOPE = {
    **dict.fromkeys([*range(2, 13), *range(13, 20)], RETIRED),
    **dict.fromkeys([20, 23, 24, 26], INVERSE),
    **dict.fromkeys([*range(28, 35), *range(40, 49)], OKX_V3),
    53: "the channel `liquidations`, made by the recorder out of REST answers",
    55: INVERSE,
    **dict.fromkeys([64, 65, 66, 67], COIN_M),
}
"""Line (from 1) of normalised.jsonl → why it says nothing about these adapters."""

SILENT = {
    1: "an acknowledgement",
    51: "price-limit is a channel that is not read",
    63: "an acknowledgement",
    68: "X is ADL: no trade of the book",
}
"""In scope, and nothing comes of it, here and there."""

MORE_THAN_EXPECTED = {
    27: "the other implementation reads allLiquidation only from its switch date (2025-02-26), by its own clock",
    57: "the other implementation swallows a repeat of the ticker before, ours has no memory",
    58: "the other implementation drops updates before the snapshot of its book, ours leaves that to the book",
}
"""In scope, ours says something and the other implementation nothing; what is checked in a test of its own."""

CARRIED = {
    36: {"fundingRate", "fundingTimestamp", "predictedFundingRate"},
    37: {"lastPrice", "fundingRate", "fundingTimestamp", "predictedFundingRate", "indexPrice"},
    54: {"lastPrice", "openInterest", "indexPrice"},
    60: {"lastPrice", "openInterest"},
}
"""Fields of the expected record that come from earlier frames, not from this one."""

FACTOR = {21: 1.0, 22: 1.0, 36: WNCG, 39: BTC, 49: ADA, 52: LTC}
"""Base coins per unit of `amount`; 1 elsewhere."""

BOTH_SIDED = {25}
"""Bybit before 2026-06-11: `openInterest` counts both sides, ours is half of it."""

OWN_CLOCK = {
    36: ("1640131263109", "ts; a ticker there is never older than the one before"),
    37: ("1640131259180", "ts; the same"),
    59: ("1573948821948", "T, when it happened; the other implementation takes E, when it was sent"),
}
"""Line → the frame's own time in ms, where the expected one is another, and why."""


def coins(amount: float, factor: float) -> float:
    """An amount in base coins. A hundredth is divided by 100: 727 × 0.01 would be 7.2700000000000005."""
    return amount / 100.0 if factor == BTC else amount * factor


def to_ns(iso: str) -> int:
    moment, _, fraction = iso.removesuffix("Z").partition(".")
    whole = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
    return whole * 1_000_000_000 + int(fraction.ljust(9, "0"))


def lines(recordings, file: str) -> list[dict]:
    return [json.loads(line) for line in (recordings / "frames" / file).read_text().splitlines()]


def records(events, both_sided: bool) -> list[tuple[int, str, dict]]:
    """Events in the other implementation's terms: (time, type, fields); the ticker's fields in one record."""
    made: list[tuple[int, str, dict]] = []
    ticker: dict = {}
    for event in events:
        match event:
            case Trade():
                side = "buy" if event.taker_buys else "sell"
                fields = {"id": str(event.trade_id), "price": event.price, "amount": event.size_base, "side": side}
                made.append((event.event_ns, "trade", fields))
            case BookUpdate():
                sides = {
                    side: [{"price": price, "amount": size} for price, size in getattr(event, side)]
                    for side in ("bids", "asks")
                }
                made.append((event.event_ns, "book_change", {"isSnapshot": event.is_snapshot, **sides}))
            case Quote():
                fields = {"bidPrice": event.bid, "bidAmount": event.bid_size_base}
                fields |= {"askPrice": event.ask, "askAmount": event.ask_size_base}
                made.append((event.event_ns, "book_ticker", fields))
            case Price():
                ticker[f"{event.of}Price"] = event.price
            case OpenInterest():
                ticker["openInterest"] = event.open_interest_base * (2 if both_sided else 1)
            case FundingForecast():
                ticker["fundingRate"] = event.funding_rate
                ticker["fundingTimestamp"] = event.settles_ns
                ticker["predictedFundingRate"] = event.following_rate
            case Liquidation():
                side = "sell" if event.side == 0 else "buy"  # the forced order of a long sells
                made.append((event.event_ns, "liquidation", {"price": event.price, "side": side}))
        if not made or ticker:
            ticker_ns = event.event_ns
    if ticker:
        ticker = {name: value for name, value in ticker.items() if value == value}  # NaN is not said
        made.insert(0, (ticker_ns, "derivative_ticker", ticker))
    return made


def expected_records(row: dict, line: int) -> list[tuple[int, str, dict]]:
    """What the other implementation says of this frame alone, amounts in base coins, at the frame's own time."""
    made = []
    for record in row["expected"]:
        ignored = {"type", "symbol", "exchange", "timestamp", "localTimestamp"} | CARRIED.get(line, set())
        fields = {name: value for name, value in record.items() if name not in ignored and value is not None}
        if "fundingTimestamp" in fields:
            fields["fundingTimestamp"] = to_ns(fields["fundingTimestamp"])
        factor = FACTOR.get(line, 1.0)
        for name in ("bidAmount", "askAmount"):
            if name in fields:
                fields[name] = coins(fields[name], factor)
        for side in ("bids", "asks"):
            if side in fields:
                fields[side] = [{"price": x["price"], "amount": coins(x["amount"], factor)} for x in fields[side]]
        at = int(OWN_CLOCK[line][0]) * 1_000_000 if line in OWN_CLOCK else to_ns(record["timestamp"])
        made.append((at, record["type"], fields))
    return made


def test_every_frame_in_scope_gives_the_records_that_another_implementation_makes_of_it(recordings):
    compared = 0
    for line, row in enumerate(lines(recordings, "normalised.jsonl"), 1):
        if line in OUT_OF_SCOPE or line in MORE_THAN_EXPECTED:
            continue
        local_ns = {r["localTimestamp"] for r in row["expected"]}
        received_ns = to_ns(local_ns.pop()) if local_ns else 1
        events = ADAPTERS[row["exchange"]].decode(json.dumps(row["message"]).encode(), received_ns)
        if line in SILENT:
            assert (events, row["expected"]) == ([], []), (line, SILENT[line])
            continue
        assert row["expected"], f"line {line}: nothing is expected of it, and nobody said why"
        assert records(events, line in BOTH_SIDED) == expected_records(row, line), line
        assert {event.known_at_ns for event in events} == {received_ns}
        native = row["expected"][0]["symbol"]
        swap = native.removesuffix("-SWAP").replace("-", "") if native.endswith("-SWAP") else native
        assert {event.symbol for event in events} == {swap}, line
        compared += 1
    assert compared == 17


def test_every_line_of_the_frames_is_in_scope_or_has_a_reason_not_to_be(recordings):
    rows = lines(recordings, "normalised.jsonl")
    assert len(rows) == 68
    lists = [*OUT_OF_SCOPE, *SILENT, *MORE_THAN_EXPECTED]
    assert Counter(lists).most_common(1)[0][1] == 1
    for line, row in enumerate(rows, 1):
        if line in SILENT or line in MORE_THAN_EXPECTED:
            assert row["expected"] == [], line
        if line in OUT_OF_SCOPE:
            continue
        message = row["message"]
        v5 = {"bybit": "topic" in message and "ts" in message, "okex": "arg" in message, "binance": True}
        assert v5[row["exchange"].partition("-")[0]] or line in SILENT, line


def test_a_liquidation_before_the_other_implementation_reads_them(recordings):
    row = lines(recordings, "normalised.jsonl")[26]
    [event] = Bybit().decode(json.dumps(row["message"]).encode(), 7)
    assert (event.side, event.price, event.size_base) == (1, 0.02456, 2846.0)  # Sell: a short was liquidated
    assert event.event_ns == 1740480207110_000000


def test_a_repeated_ticker_is_read_again(recordings):
    first, second = lines(recordings, "normalised.jsonl")[55:57]
    assert first["message"] == second["message"]
    [event] = Binance().decode(json.dumps(second["message"]).encode(), 7)
    assert (event.price, event.of, event.event_ns) == (10223.74, "last", 1568693103467_000000)


def test_a_book_update_before_the_snapshot_is_read(recordings):
    row = lines(recordings, "normalised.jsonl")[57]
    [event] = Binance().decode(json.dumps(row["message"]).encode(), 7)
    assert (event.bids, event.asks) == ([(8493.78, 0.162)], [(4096.0, 2.425419)])
    assert (event.first_id, event.last_id, event.previous_id) == (687687944, 687687946, 687687946)
    assert event.event_ns == 1573948821948_000000  # T, not E


LIVE = {
    1: (1791565602120, 0.19, 82651.9),
    2: (1791565600771, 8.55 / 100, 82655.7),
    3: (1791091285156, 2084.9, 0.05165),
    4: (1791091026103, 2049.1, 0.0722187),
    6: (1789670094099, 19.7, 2.585),
    7: (1789672235690, 288183.0, 0.021912),
    8: (1789678209470, 10975 * MINA, 0.09859),
    9: (1707756331467, 1.496, 49306.3),
}
"""Line → time in ms, base coins, printed price."""


def test_each_live_liquidation_has_the_side_of_the_position_and_its_size_in_coins(recordings):
    adapters = {"bybit-linear": Bybit(), "okx-swap": OKX, "binance-usdm": Binance()}
    for line, row in enumerate(lines(recordings, "liquidations_live.jsonl"), 1):
        events = adapters[row["venue"]].decode(row["raw"].encode(), 7)
        liquidations = [event for event in events if isinstance(event, Liquidation)]
        if row["position_liquidated"] is None:
            assert (line, liquidations) == (5, [])  # a ticker
            continue
        [event] = liquidations
        at_ms, size, price = LIVE[line]
        assert event.side == {"long": 0, "short": 1}[row["position_liquidated"]], line
        assert (event.size_base, event.price, event.usd) == (size, price, size * price), line
        assert event.event_ns == at_ms * 1_000_000, line


# -- Captures ----------------------------------------------------------------------------------------------------------


def cryptofeed(path, address: str):
    """(receive time, frame, request) of a capture: frames of connections to an address, and REST answers."""
    addresses: dict[str, str] = {}
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            row = json.loads(line, parse_float=Decimal)
            if row["t"] == "connect":
                addresses[row["conn"]] = row["addr"]
            elif row["t"] == "recv" and address in addresses[row["conn"]]:
                yield int(row["ts"] * 1_000_000_000), row["data"].encode(), ""
            elif row["t"] == "http":
                yield int(row["ts"] * 1_000_000_000), row["data"].encode(), row["url"].partition(".com")[2]


def test_the_bybit_capture_gives_exactly_what_its_frames_say(recordings):
    adapter, oracle, kinds, frames = Bybit(), Oracle("bybit"), Counter(), Counter()
    levels = 0
    for received_ns, frame, request in cryptofeed(recordings / "captures" / "BYBIT.jsonl.zst", "/v5/public/linear"):
        if request:
            continue  # instrument data
        got = [said(event) for event in adapter.decode(frame, received_ns)]
        assert got == oracle.read(frame, received_ns), frame
        kinds.update(event["kind"] for event in got)
        message = json.loads(frame)
        frames[message.get("topic", "").partition(".")[0]] += 1
        levels += sum(len(message["data"][side]) for side in "ab") if "orderbook" in message.get("topic", "") else 0
        if message.get("topic", "").startswith("publicTrade"):
            frames["trades"] += len(message["data"])
        if message.get("topic", "").startswith("tickers"):
            data = message["data"]
            frames["prices"] += sum(key in data for key in ("lastPrice", "markPrice", "indexPrice"))
            frames["interest"] += "singleOpenInterest" in data or "openInterest" in data
            frames["funding"] += any(key in data for key in ("fundingRate", "nextFundingTime", "fundingIntervalHour"))
            assert ("openInterest" in data) == ("singleOpenInterest" in data)
    assert (frames["orderbook"], frames["publicTrade"], frames["tickers"]) == (1598, 102, 758)
    assert kinds["book"] == 1598
    assert kinds["trade"] == frames["trades"] > 102
    assert kinds["price"] == frames["prices"] > 0
    assert kinds["open_interest"] == frames["interest"] > 0
    assert kinds["funding_forecast"] == frames["funding"] > 0
    assert levels > 0


def test_the_binance_capture_of_2021_gives_exactly_what_its_frames_say(recordings):
    adapter, oracle, kinds, frames = Binance(), Oracle("binance"), Counter(), Counter()
    path = recordings / "captures" / "BINANCE_FUTURES.jsonl.zst"
    for received_ns, frame, request in cryptofeed(path, "fstream.binance.com"):
        if "exchangeInfo" in request:
            continue
        got = [said(event) for event in adapter.decode(frame, received_ns, request)]
        assert got == oracle.read(frame, received_ns, request), frame
        kinds.update(event["kind"] for event in got)
        frames[json.loads(frame)["data"]["e"] if not request else "snapshot"] += 1
    assert frames == {"bookTicker": 613, "depthUpdate": 764, "kline": 67, "aggTrade": 91, "snapshot": 4}
    assert kinds == {"quote": 613, "book": 764 + 4, "trade": 91}


def test_the_binance_session_of_2024_gives_exactly_what_its_93954_lines_say(recordings):
    adapter, oracle, kinds, lines_read = Binance(), Oracle("binance"), Counter(), Counter()
    with gzip.open(recordings / "captures" / "binance_usdm_btcusdt_20240808.gz") as file:
        for line in file:
            lines_read["all"] += 1
            received, _, frame = line.rstrip().partition(b" ")
            request = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000" if frame.startswith(b'{"lastUpdateId"') else ""
            got = [said(event) for event in adapter.decode(frame, int(received), request)]
            assert got == oracle.read(frame, int(received), request), line
            kinds.update("snapshot" if event.get("is_snapshot") else event["kind"] for event in got)
    assert lines_read["all"] == 93954
    assert kinds == {"quote": 66089, "trade": 21313, "book": 6551, "snapshot": 1}
