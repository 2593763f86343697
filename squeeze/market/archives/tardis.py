"""Tardis.dev's CSV files, recognised by their header: one form for all exchanges, with the time of receipt [1]_.

`event_ns` is `timestamp`, the exchange's; `known_at_ns` is `local_timestamp`, when Tardis' recorder had it. Amounts are
the exchange's own: base coins at Binance and Bybit, contracts at OKX, which become base coins by the instrument record
of their day. Of other exchanges some count USD, so they are read only with `native_amounts`, and
their sizes are then whatever the exchange counts.

    trades, liquidations     exchange,symbol,timestamp,local_timestamp,id,side,price,amount
    derivative_ticker        ...,funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,...
    incremental_book_L2      ...,is_snapshot,side,price,amount
    book_snapshot_25, _5     ...,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,...
    quotes                   ...,ask_amount,ask_price,bid_price,bid_amount

Trades and liquidations have one header: the name of the file or of a folder says which.

.. [1] https://docs.tardis.dev/downloadable-csv-files
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from squeeze.errors import DataError
from squeeze.market.archives.archive import Archive, Options, Piece
from squeeze.market.archives.block import NUMBER, TEXT, Block, received
from squeeze.market.archives.reading import blocks, first_line
from squeeze.market.archives.tardis_books import incremental, snapshots
from squeeze.market.archives.tardis_file import COMMON, FILLS, VENUES, Reader
from squeeze.market.conventions import CONVENTIONS
from squeeze.market.events import MINUTE_NS, NAME, Quality
from squeeze.market.partitions import take
from squeeze.market.rows import Columns

Read = Callable[[Reader], Iterator[Piece]]


def recognise(path: Path, options: Options) -> Archive | None:
    """A CSV with Tardis' header; `DataError` for a type, or an exchange, that is not read."""
    if not path.name.endswith((".csv", ".csv.gz")) or not path.is_file():
        return None
    columns = first_line(path).split(",")
    if tuple(columns[:4]) != COMMON:
        return None
    read = READERS[_kind(path, columns, options)]
    exchange = next(iter(_first_words(path, "exchange")))
    if exchange not in VENUES:
        if exchange in VENUES.values() or not NAME.fullmatch(exchange):
            raise DataError(f"{path.name}: expected {', '.join(VENUES)}, got {exchange}, a spot market")
        if not options.native_amounts:
            raise DataError(
                f"{path.name}: expected {', '.join(VENUES)}, got {exchange}, whose amounts may be USD or contracts; "
                "native_amounts=True takes them as they are"
            )
        if read is _liquidations:
            raise DataError(f"{path.name}: liquidations of {exchange} cannot be put in USD")
    venue = VENUES.get(exchange, exchange)
    return Archive(venue, lambda skipped: read(Reader(path, exchange, columns, options, skipped)))


def _first_words(path: Path, column: str) -> list[str]:
    return next(blocks(path, [], {column: TEXT})).names(column)[0]


def _kind(path: Path, columns: list[str], options: Options) -> str:
    rest = columns[4:]
    if rest == ["id", "side", "price", "amount"]:
        said = options.kind or path.absolute().as_posix()
        found = re.findall(r"(?<![a-z])(trades|liquidations)(?![a-z])", said)
        if not found:
            raise DataError(f"{path.name}: trades or liquidations? expected one of them in the file's name or folder")
        return str(found[-1])
    if "funding_rate" in rest and "mark_price" in rest:
        return "derivative_ticker"
    if rest == ["is_snapshot", "side", "price", "amount"]:
        return "incremental_book_L2"
    if rest and rest[0] == "asks[0].price":
        return "book_snapshot"
    if set(rest) == {"ask_amount", "ask_price", "bid_price", "bid_amount"}:
        return "quotes"
    raise DataError(f"{path.name}: expected the columns of one of {', '.join(READERS)}, got {', '.join(columns)[:200]}")


def _fills(reader: Reader) -> Iterator[tuple[Block, Columns, np.ndarray, np.ndarray]]:
    """(block, stamps and numbers of the rows, 1 for a buy, price) of blocks of trades or liquidations."""
    for block in reader.blocks(FILLS):
        rows = received(block, "timestamp", "local_timestamp") | {"row": block.row_numbers}
        yield block, rows, block.codes("side", {"sell": 0, "buy": 1}), block.positive("price")


def _trades(reader: Reader) -> Iterator[Piece]:
    for block, rows, bought, price in _fills(reader):
        amount = block.sizes("amount")
        for native, symbol, at in reader.symbols(block):
            size = reader.base(native, amount[at], rows["event_ns"][at])
            columns = {"price": price[at], "size_base": size, "taker_buys": bought[at]}
            yield Piece("trade", symbol, take(rows, at) | columns)


def _liquidations(reader: Reader) -> Iterator[Piece]:
    """A buy closed a short. `usd` is at the printed price, for there is no mark price in the file."""
    for block, rows, bought, price in _fills(reader):
        amount = block.sizes("amount")
        rows["quality"] = rows["quality"] | _completeness(reader.venue, rows["event_ns"])
        for native, symbol, at in reader.symbols(block):
            size = reader.base(native, amount[at], rows["event_ns"][at])
            columns = {"side": bought[at], "usd": size * price[at], "size_base": size, "price": price[at]}
            yield Piece("liquidation", symbol, take(rows, at) | columns)


def _completeness(venue: str, event_ns: np.ndarray) -> np.ndarray:
    """What is known to be missing from a venue's liquidations, by their time."""
    convention = CONVENTIONS[venue]
    since = event_ns >= convention.complete_since_ns
    return np.where(since, convention.completeness, Quality.SAMPLED).astype(np.int32)


PRICES = {"last_price": "price_last", "mark_price": "price_mark", "index_price": "price_index"}


def _ticker(reader: Reader) -> Iterator[Piece]:
    """Prices and forecasts where they changed; open interest where it did, and with the first row of a minute.

    Bybit counts open interest on both sides, so half of it is taken (domain.md §1.6). Of two rows with one `timestamp`
    the later open interest counts, and is known when that came.
    """
    numbers = ("funding_rate", "predicted_funding_rate", "open_interest", *PRICES)
    last: dict[tuple[str, str], tuple[float, ...]] = {}
    for block in reader.blocks(dict.fromkeys(("funding_timestamp", *numbers), NUMBER)):
        rows = received(block, "timestamp", "local_timestamp") | {"row": block.row_numbers}
        values = {name: block.optional(name) for name in numbers}
        for name in ("open_interest", *PRICES):
            block.refuse(values[name] < 0, name, "zero or more", values[name])
        rate = values["funding_rate"]
        block.refuse(np.abs(rate) > 1, "funding_rate", "a fraction of notional", rate)
        settles = np.nan_to_num(block.optional("funding_timestamp"))
        settles_ns = settles.astype(np.int64) * 1000
        for native, symbol, at in reader.symbols(block):
            mine = take(rows, at)

            def kept(kind: str, *columns: np.ndarray, stream: str = symbol) -> np.ndarray:
                """Where the first column is given and one of them differs from the row before in which it was."""
                given = np.flatnonzero(~np.isnan(columns[0]))
                if not len(given):
                    return given
                table = np.stack([np.nan_to_num(column[given], nan=-np.inf) for column in columns])
                before = np.array(last.get((kind, stream), (np.nan,) * len(columns)))
                changed = (table != np.concatenate([before[:, None], table[:, :-1]], axis=1)).any(axis=0)
                last[kind, stream] = tuple(table[:, -1].tolist())
                some: np.ndarray = given[changed]
                return some

            for name, kind in PRICES.items():
                price = np.where(values[name][at] > 0, values[name][at], np.nan)  # 0 is what is not known yet
                some = kept(kind, price)
                yield Piece(kind, symbol, take(mine, some) | {"price": price[some]})
            rates, following = rate[at], values["predicted_funding_rate"][at]
            some = kept("funding_forecast", rates, following, settles[at])
            unknown = np.full(len(some), np.nan)
            columns = {
                "funding_rate": rates[some],
                "settles_ns": settles_ns[at][some],
                "interval_hours": unknown,
                "following_rate": following[some],
                "settled_rate": unknown,
            }
            yield Piece("funding_forecast", symbol, take(mine, some) | columns)
            interest = reader.base(native, values["open_interest"][at], mine["event_ns"])
            some = kept("open_interest", interest, (mine["event_ns"] // MINUTE_NS).astype(np.float64))
            halved = interest[some] / 2 if reader.venue == "bybit" else interest[some]
            yield Piece("open_interest", symbol, take(mine, some) | {"open_interest_base": halved}, "last")


def _quotes(reader: Reader) -> Iterator[Piece]:
    names = ("ask_amount", "ask_price", "bid_price", "bid_amount")
    for block in reader.blocks(dict.fromkeys(names, NUMBER)):
        rows = received(block, "timestamp", "local_timestamp") | {"row": block.row_numbers}
        values = {name: block.optional(name) for name in names}
        for name in names:
            block.refuse(values[name] < 0, name, "zero or more", values[name])
        for native, symbol, at in reader.symbols(block):
            event_ns = rows["event_ns"][at]
            columns = {
                "bid": values["bid_price"][at],
                "bid_size_base": reader.base(native, values["bid_amount"][at], event_ns),
                "ask": values["ask_price"][at],
                "ask_size_base": reader.base(native, values["ask_amount"][at], event_ns),
            }
            yield Piece("quote", symbol, take(rows, at) | columns)


READERS: dict[str, Read] = {
    "trades": _trades,
    "liquidations": _liquidations,
    "derivative_ticker": _ticker,
    "incremental_book_L2": incremental,
    "book_snapshot": snapshots,
    "quotes": _quotes,
}
