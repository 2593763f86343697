"""Binance Vision's files (data.binance.vision): USD-margined futures, and spot where asked for.

`SYMBOL-TYPE-DATE.zip`, of a day or a month, with one CSV; a header row only since 2022; times in ms, or in µs since
2025 for spot [1]_. What is read is in `READERS`. Archives have no time of receipt, so rows count as known when they
happened, but for open interest.

.. [1] https://github.com/binance/binance-public-data
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from squeeze.errors import DataError
from squeeze.market.archives.archive import Archive, Options, Piece, Skipped
from squeeze.market.archives.block import NUMBER, TEXT, WHOLE, Block, Clock, bars, stamped
from squeeze.market.archives.reading import blocks
from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS, Quality, cadence_name
from squeeze.market.mapping import UNITS

VENUE = "binance"
NAMED = re.compile(r"([A-Z0-9]+(?:_[A-Z0-9]+)?)-([A-Za-z0-9]+)-(\d{4}-\d{2}(?:-\d{2})?)\.(?:zip|csv)")
INTERVAL = re.compile(r"(\d+)([smhd])")
COIN_MARGINED = re.compile(r"[A-Z0-9]+USD_(PERP|\d{6})")

METRICS_LAG_NS = 60 * SECOND_NS
"""How long after its stamp an open interest counts as known. [U]: the files do not say when a row was published; the
REST endpoint with the same numbers gave them within a minute of the stamp where it was watched."""

JITTER_NS = 10 * SECOND_NS
"""How far off its minute a funding may be stamped; milliseconds were seen."""

KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
AGG_TRADES = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
TRADES = "id,price,qty,quote_qty,time,is_buyer_maker"
BEST = ",is_best_match"  # a last column that only spot has
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
FUNDING = "calc_time,funding_interval_hours,last_funding_rate"
DEPTH = "timestamp,percentage,depth,notional"
LIQUIDATIONS = (
    "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
    "accumulated_fill_quantity"
)


def recognise(path: Path, options: Options) -> Archive | None:
    """A file with a name as Binance publishes it; `DataError` for a type that is not read."""
    named = NAMED.fullmatch(path.name)
    if named is None:
        return None
    symbol, kind, dates = named.groups()
    place = path.absolute().as_posix()
    if COIN_MARGINED.fullmatch(symbol) or "/futures/cm/" in place:
        raise DataError(
            f"{path.name}: expected USD-margined futures or spot, got coin-margined, whose sizes are not coins"
        )
    stream = f"{symbol}-SPOT" if options.spot or "/data/spot/" in place else symbol
    if interval := INTERVAL.fullmatch(kind):
        cadence_ns = int(interval[1]) * UNITS[interval[2]]
        if cadence_ns == 0 or DAY_NS % cadence_ns:
            raise DataError(f"{path.name}: expected an interval that divides a day, got {kind}")
        is_mark = _is_mark(path, options)
        return Archive(VENUE, lambda skipped: _klines(path, stream, cadence_ns, is_mark), dates)
    reader = READERS.get(kind)
    if reader is None:
        raise DataError(f"{path.name}: expected klines such as 1m, {', '.join(READERS)}, got {kind}, which is not read")
    return Archive(VENUE, lambda skipped: reader(path, stream, skipped), dates)


def _is_mark(path: Path, options: Options) -> bool:
    """Whether klines are of the mark price: their names are alike, only the folder differs."""
    kinds = ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines")
    said = options.kind or next((part for part in reversed(path.absolute().parts[:-1]) if part in kinds), "klines")
    if said not in kinds[:2]:
        raise DataError(f"{path.name}: expected {' or '.join(kinds[:2])}, got {said}, for which the lake has no kind")
    return said == "markPriceKlines"


def _klines(path: Path, symbol: str, cadence_ns: int, is_mark: bool) -> Iterator[Piece]:
    kind = f"{'mark_bar' if is_mark else 'bar'}_{cadence_name(cadence_ns)}"
    volumes = {} if is_mark else {"volume": NUMBER, "taker_buy_volume": NUMBER}  # 0 in files of the mark price
    prices = dict.fromkeys(("open", "high", "low", "close"), NUMBER)
    clock = Clock()
    for block in blocks(path, [KLINES], {"open_time": WHOLE, "close_time": WHOLE} | prices | volumes):
        rows = bars(block, clock, "open_time", cadence_ns)
        closed = clock.times(block, "close_time")
        wrong = np.abs(closed - rows["event_ns"]) > SECOND_NS // 1000
        block.refuse(wrong, "close_time", f"{cadence_name(cadence_ns)} after open_time", closed.view("datetime64[ns]"))
        if not is_mark:
            rows["volume_base"], rows["taker_buy_base"] = block.sizes("volume"), block.sizes("taker_buy_volume")
            more = rows["taker_buy_base"] > rows["volume_base"]
            block.refuse(more, "taker_buy_volume", "no more than the volume", rows["taker_buy_base"])
        yield Piece(kind, symbol, rows)


def _agg_trades(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    return _fills(path, symbol, AGG_TRADES, ("agg_trade_id", "price", "quantity", "transact_time"))


def _trades(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    return _fills(path, symbol, TRADES, ("id", "price", "qty", "time"))


def _fills(path: Path, symbol: str, layout: str, names: tuple[str, str, str, str]) -> Iterator[Piece]:
    number, price, size, time = names
    types = {number: WHOLE, price: NUMBER, size: NUMBER, time: WHOLE, "is_buyer_maker": TEXT}
    clock = Clock()
    for block in blocks(path, [layout, layout + BEST], types):
        event_ns = clock.times(block, time)
        columns = {
            "price": block.positive(price),
            "size_base": block.sizes(size),
            "taker_buys": block.codes("is_buyer_maker", {"false": 1, "true": 0}),
            "order": block.wholes(number),
            "row": block.row_numbers,
        }
        yield Piece("trade", symbol, stamped(event_ns, event_ns) | columns, "id")


def _metrics(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    types = {"create_time": TEXT, "symbol": TEXT, "sum_open_interest": NUMBER}
    for block in blocks(path, [METRICS], types):
        block.only("symbol", symbol)
        event_ns = block.utc_texts("create_time")
        columns = {"open_interest_base": block.sizes("sum_open_interest"), "row": block.row_numbers}
        yield Piece("open_interest", symbol, stamped(event_ns, event_ns + METRICS_LAG_NS) | columns)


def _funding(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    types = {"calc_time": WHOLE, "funding_interval_hours": NUMBER, "last_funding_rate": NUMBER}
    clock = Clock()
    for block in blocks(path, [FUNDING], types):
        stamp = clock.times(block, "calc_time")
        event_ns = (stamp + MINUTE_NS // 2) // MINUTE_NS * MINUTE_NS
        off = np.abs(stamp - event_ns) > JITTER_NS
        block.refuse(
            off, "calc_time", f"a time within {JITTER_NS // SECOND_NS} s of a minute", stamp.view("datetime64[ns]")
        )
        hours, rate = block.numbers("funding_interval_hours"), block.numbers("last_funding_rate")
        block.refuse(hours <= 0, "funding_interval_hours", "hours above zero", hours)
        block.refuse(np.abs(rate) > 1, "last_funding_rate", "a fraction of notional", rate)
        columns = {"funding_rate": rate, "interval_hours": hours, "row": block.row_numbers}
        yield Piece("funding", symbol, stamped(event_ns, np.maximum(stamp, event_ns)) | columns)


def _book_depth(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    types = {"timestamp": TEXT, "percentage": NUMBER, "depth": NUMBER, "notional": NUMBER}
    for block in blocks(path, [DEPTH], types):
        event_ns = block.utc_texts("timestamp")
        percentage = block.numbers("percentage")
        wrong = (percentage == 0) | (np.abs(percentage) > 100)
        block.refuse(wrong, "percentage", "a distance from -100 to 100, not 0", percentage)
        columns = {
            "percentage": percentage,
            "depth_base": block.sizes("depth"),
            "notional_usd": block.sizes("notional"),
            "row": block.row_numbers,
        }
        yield Piece("depth_band", symbol, stamped(event_ns, event_ns) | columns, "equal")


def _liquidations(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    """Orders that a liquidation filled at least in part; the files repeat some rows (issue #259)."""
    types = {"time": WHOLE, "side": TEXT, "average_price": NUMBER, "order_status": TEXT}
    filled = {"accumulated_fill_quantity": NUMBER, "last_fill_quantity": NUMBER}
    older = {"accumulated_filled_quantity": NUMBER, "last_filled_quantity": NUMBER}
    clock = Clock()
    for block in blocks(path, [LIQUIDATIONS], types, {"symbol": TEXT} | filled | older):
        if "symbol" in block.table.column_names:
            block.only("symbol", symbol)
        event_ns, side = clock.times(block, "time"), block.codes("side", {"sell": 0, "buy": 1})
        block.codes("order_status", STATUSES)
        size, price = block.sizes(_filled(block)), block.sizes("average_price")
        some = size > 0
        block.refuse(some & (price == 0), "average_price", "a price above zero for what was filled", price)
        skipped["liquidation", symbol] += int((~some).sum())
        columns = {"side": side, "usd": size * price, "size_base": size, "price": price, "row": block.row_numbers}
        rows = stamped(event_ns, event_ns, Quality.SAMPLED) | columns
        yield Piece("liquidation", symbol, {name: column[some] for name, column in rows.items()}, "equal")


STATUSES = {"filled": 0, "partially_filled": 0, "new": 0, "expired": 0, "canceled": 0}


def _filled(block: Block) -> str:
    """The column of the size that was filled: of the whole order, else of its last fill."""
    names = ("accumulated_fill_quantity", "accumulated_filled_quantity", "last_fill_quantity", "last_filled_quantity")
    found = next((name for name in names if name in block.table.column_names), None)
    if found is None:
        raise DataError(f"{block.name}: column {names[0]} is missing")
    return found


READERS: dict[str, Callable[[Path, str, Skipped], Iterator[Piece]]] = {
    "aggTrades": _agg_trades,
    "trades": _trades,
    "metrics": _metrics,
    "fundingRate": _funding,
    "bookDepth": _book_depth,
    "liquidationSnapshot": _liquidations,
}
"""By the type in a file's name; the klines have an interval in its place."""
