"""OKX's files of perpetual swaps (static.okx.com/cdn/okex/traderecords and /cdn/okx/match/orderbook).

Sizes of trades and books are in contracts, and become base coins by the instrument record of their day. Files of
trades, candles and funding are cut at midnight UTC+8, so they have rows of two UTC days, those of books at midnight UTC
[1]_. A line of an order book is `{"instId", "action", "ts", "asks": [[price, contracts, orders]], "bids"}`, without
numbers: nothing shows a lost one but the snapshot that comes every 15 minutes.

.. [1] https://www.okx.com/docs-v5/en/, "Get market data history"
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.market.archives.archive import LINEAR, Archive, Options, Piece, Skipped, contract_value, in_base
from squeeze.market.archives.block import NUMBER, TEXT, WHOLE, Clock, bars, stamped
from squeeze.market.archives.books import as_pieces, joined
from squeeze.market.archives.reading import blocks, lines
from squeeze.market.events import DAY_NS, MINUTE_NS, NAME, BookUpdate, Levels
from squeeze.market.instruments import ours
from squeeze.market.tables import EARLIEST_S, LATEST_S

VENUE = "okx"
NAMED = re.compile(
    r"((?:[A-Z0-9]+-)+[A-Z0-9_]+|allswap)-(trades|aggtrades|candlesticks|fundingrates|L2orderbook-\d+lv)-"
    r"(\d{4}-\d{2}(?:-\d{2})?)\.(?:zip|csv|tar\.gz|data)"
)

TRADES = "instrument_name,trade_id,side,price,size,created_time"
CANDLES = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
FUNDING = "instrument_name,funding_rate,funding_time"


class Line(msgspec.Struct, frozen=True):
    """One line of an order book's file."""

    instId: str
    action: str
    ts: int
    asks: list[list[float]]
    bids: list[list[float]]


def recognise(path: Path, options: Options) -> Archive | None:
    """A file with a name as OKX publishes it; `DataError` for markets and types that are not read."""
    named = NAMED.fullmatch(path.name)
    if named is None:
        return None
    native, kind, dates = named.groups()
    if kind == "fundingrates":
        return Archive(VENUE, lambda skipped: _funding(path, native), dates)
    if not LINEAR[VENUE].fullmatch(native):
        raise DataError(f"{path.name}: expected a linear swap such as BTC-USDT-SWAP, got {native}")
    if kind == "trades":
        return Archive(VENUE, lambda skipped: _trades(path, native, options), dates)
    if kind == "candlesticks":
        return Archive(VENUE, lambda skipped: _candles(path, native), dates)
    if kind.startswith("L2orderbook"):
        depth = int(kind.removeprefix("L2orderbook-").removesuffix("lv"))
        return Archive(VENUE, lambda skipped: _book(path, native, depth, options, skipped), dates)
    raise DataError(f"{path.name}: expected trades, candlesticks, fundingrates or L2orderbook, got {kind}, not read")


def _trades(path: Path, native: str, options: Options) -> Iterator[Piece]:
    types = {
        "instrument_name": TEXT, "trade_id": WHOLE, "side": TEXT, "price": NUMBER, "size": NUMBER, "created_time": WHOLE
    }  # fmt: skip
    clock = Clock()
    for block in blocks(path, [TRADES, f"{TRADES},source"], types):
        block.only("instrument_name", native)
        event_ns = clock.times(block, "created_time")
        columns = {
            "price": block.positive("price"),
            "size_base": block.sizes("size") * in_base(options, path.name, VENUE, native, event_ns),
            "taker_buys": block.codes("side", {"sell": 0, "buy": 1}),
            "order": block.wholes("trade_id"),
            "row": block.row_numbers,
        }
        yield Piece("trade", ours(VENUE, native), stamped(event_ns, event_ns) | columns, "id")


def _candles(path: Path, native: str) -> Iterator[Piece]:
    """Bars of a minute; `vol_ccy` is in base coins. `confirm` is 0 in some complete files and says nothing."""
    prices = dict.fromkeys(("open", "high", "low", "close", "vol_ccy"), NUMBER)
    clock = Clock()
    for block in blocks(path, [CANDLES], {"instrument_name": TEXT, "open_time": WHOLE} | prices):
        block.only("instrument_name", native)
        rows = bars(block, clock, "open_time", MINUTE_NS) | {"volume_base": block.sizes("vol_ccy")}
        yield Piece("bar_1m", ours(VENUE, native), rows)


def _funding(path: Path, native: str) -> Iterator[Piece]:
    """Settled rates, of all swaps where the name says so."""
    clock = Clock()
    for block in blocks(path, [FUNDING], {"instrument_name": TEXT, "funding_rate": NUMBER, "funding_time": WHOLE}):
        if native != "allswap":
            block.only("instrument_name", native)
        event_ns, rate = clock.times(block, "funding_time"), block.numbers("funding_rate")
        block.refuse(np.abs(rate) > 1, "funding_rate", "a fraction of notional", rate)
        columns = {"funding_rate": rate, "interval_hours": np.full(len(rate), np.nan), "row": block.row_numbers}
        rows = stamped(event_ns, event_ns) | columns
        names, which = block.names("instrument_name")
        wrong = np.array([NAME.fullmatch(name) is None for name in names])[which]
        block.refuse(wrong, "instrument_name", "a name of letters, digits and + . _ -", np.array(names, object)[which])
        for number, name in enumerate(names):
            mine = which == number
            yield Piece("funding", ours(VENUE, name), {column: values[mine] for column, values in rows.items()})


def _book(path: Path, native: str, depth: int, options: Options, skipped: Skipped) -> Iterator[Piece]:
    symbol = ours(VENUE, native)
    return as_pieces(symbol, joined(_updates(path, native, symbol, depth, options, skipped)))


def _updates(
    path: Path, native: str, symbol: str, depth: int, options: Options, skipped: Skipped
) -> Iterator[BookUpdate]:
    """The updates that follow a snapshot; those before it are counted as skipped."""
    decoder = msgspec.json.Decoder(Line, strict=False)
    value, day, started = 0.0, -1, False
    for row, text in lines(path):
        place = f"{path.name}: row {row}"
        try:
            line = decoder.decode(text)
        except msgspec.DecodeError as error:
            raise DataError(f"{place}: expected a line of {native}'s book, got {error}") from None
        if line.instId != native or line.action not in ("snapshot", "update"):
            raise DataError(f"{place}: expected a snapshot or update of {native}, got {line.action} of {line.instId}")
        if not EARLIEST_S * 1000 <= line.ts < LATEST_S * 1000:
            raise DataError(f"{place}, column ts: expected ms between 2010 and 2100, got {line.ts}")
        event_ns = line.ts * 1_000_000
        if event_ns // DAY_NS != day:
            day = event_ns // DAY_NS
            value = contract_value(options, path.name, VENUE, native, event_ns)
        started |= line.action == "snapshot"
        if not started:
            skipped["book", symbol] += 1
            continue
        yield BookUpdate(
            venue=VENUE, symbol=symbol, event_ns=event_ns, known_at_ns=event_ns, depth=depth,
            is_snapshot=line.action == "snapshot",
            bids=_levels(place, "bids", line.bids, value), asks=_levels(place, "asks", line.asks, value),
        )  # fmt: skip


def _levels(place: str, side: str, levels: list[list[float]], value: float) -> Levels:
    for level in levels:
        if len(level) not in (3, 4) or not (0 < level[0] < np.inf and 0 <= level[1] < np.inf):
            raise DataError(f"{place}, column {side}: expected levels of price, contracts and orders, got {level}")
    return [(level[0], level[1] * value) for level in levels]
