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
from squeeze.market.archives.reading import (
    NUMBER,
    TEXT,
    WHOLE,
    Archive,
    Block,
    Options,
    Piece,
    Skipped,
    Types,
    blocks,
    first_line,
    in_base,
    received,
)
from squeeze.market.conventions import CONVENTIONS
from squeeze.market.events import MINUTE_NS, NAME, Quality
from squeeze.market.instruments import ours
from squeeze.market.partitions import take
from squeeze.market.rows import Columns

VENUES = {"binance-futures": "binance", "bybit": "bybit", "okex-swap": "okx"}
"""Our venue of an exchange whose amounts are base coins, or can be made so."""

LINEAR = {"binance": r"[A-Z0-9]+(_\d{6})?", "bybit": r"[A-Z0-9]+(USDT|PERP)", "okx": r"[A-Z0-9]+-(USDT|USDC)-SWAP"}
"""The contracts of a venue whose sizes are not USD."""

COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
STAMPS: Types = {"exchange": TEXT, "symbol": TEXT, "timestamp": WHOLE, "local_timestamp": WHOLE}
FILLS = {"side": TEXT, "price": NUMBER, "amount": NUMBER}
LEVEL = re.compile(r"asks\[(\d+)\]\.price")

Read = Callable[["Reader"], Iterator[Piece]]


class Reader:
    """One file: its exchange, and what its amounts are."""

    def __init__(self, path: Path, exchange: str, columns: list[str], options: Options, skipped: Skipped):
        self.path = path
        self.exchange = exchange
        self.venue = VENUES.get(exchange, exchange)
        self.columns = columns
        self.options = options
        self.skipped = skipped

    def blocks(self, types: Types) -> Iterator[Block]:
        """The rows, each of the file's exchange."""
        for block in blocks(self.path, [], dict(STAMPS) | dict(types)):
            block.only("exchange", self.exchange)
            yield block

    def symbols(self, block: Block) -> Iterator[tuple[str, str, np.ndarray]]:
        """(native name, our symbol, its rows); a contract whose amounts are USD is refused."""
        natives, which = block.names("symbol")
        for number, native in enumerate(natives):
            rows = np.flatnonzero(which == number)
            linear = LINEAR.get(self.venue)
            if not self.options.native_amounts and linear and not re.fullmatch(linear, native):
                block.fail(int(rows[0]), "symbol", "a linear contract, with amounts in base coins", native)
            symbol = ours(self.venue, native) if self.venue in LINEAR else native
            if not NAME.fullmatch(symbol):
                block.fail(int(rows[0]), "symbol", "a name of letters, digits and + . _ -", native)
            yield native, symbol, rows

    def base(self, native: str, amounts: np.ndarray, event_ns: np.ndarray) -> np.ndarray:
        """Amounts in base coins."""
        if self.venue != "okx" or self.options.native_amounts:
            return amounts
        in_coins: np.ndarray = amounts * in_base(self.options, self.path.name, self.venue, native, event_ns)
        return in_coins


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


# ---- books: a row of the lake for each level, levels of one moment are one update


def _moments(reader: Reader, types: Types, parse: Callable[[Block], Columns]) -> Iterator[tuple[str, Columns]]:
    """(symbol, rows) in chunks that cut no moment in two, sorted by when they were known, then when they happened.

    A book's file has one symbol. `local_timestamp` must not fall, as Tardis promises.
    """
    left: Columns | None = None
    symbol = ""
    for block in reader.blocks(types):
        native, symbol, at = next(iter(reader.symbols(block)))
        if len(at) < block.table.num_rows:
            block.only("symbol", native)
        rows = received(block, "timestamp", "local_timestamp") | {"row": block.row_numbers} | parse(block)
        rows["size_base"] = reader.base(native, rows["size_base"].T, rows["event_ns"]).T
        known = rows["known_at_ns"]
        before = known[:1] if left is None else left["known_at_ns"][-1:]
        falls = np.concatenate([known[:1] < before, np.diff(known) < 0])
        block.refuse(falls, "local_timestamp", "times that do not fall", known // 1000)
        if left is not None:
            rows = {name: np.concatenate([left[name], column]) for name, column in rows.items()}
        end = int(np.searchsorted(rows["known_at_ns"], rows["known_at_ns"][-1]))
        left = {name: column[end:] for name, column in rows.items()}
        if end:
            yield symbol, _sorted({name: column[:end] for name, column in rows.items()})
    if left is not None:
        yield symbol, _sorted(left)


def _sorted(rows: Columns) -> Columns:
    return take(rows, np.lexsort((rows["row"], rows["event_ns"], rows["known_at_ns"])))


def _starts(rows: Columns) -> np.ndarray:
    """Which rows are the first of a moment."""
    fresh = (np.diff(rows["known_at_ns"]) != 0) | (np.diff(rows["event_ns"]) != 0)
    return np.append(True, fresh)


def _incremental(reader: Reader) -> Iterator[Piece]:
    """All rows of one moment are one update; it is a snapshot if `is_snapshot` went from false to true in it.

    Of such a moment the rows before that are dropped, for the snapshot replaces them. Rows before the first snapshot
    are skipped. A snapshot that goes on in later moments adds its levels to the book, as Tardis defines it.
    """

    def parse(block: Block) -> Columns:
        return {
            "snapshot": block.codes("is_snapshot", {"false": 0, "true": 1}) == 1,
            "side": block.codes("side", {"bid": 0, "ask": 1}),
            "price": block.positive("price"),
            "size_base": block.sizes("amount"),
        }

    was_snapshot, started = False, False
    for symbol, rows in _moments(reader, {"is_snapshot": TEXT} | FILLS, parse):
        snapshot = rows["snapshot"]
        rises = snapshot & ~np.append(was_snapshot, snapshot[:-1])
        was_snapshot = bool(snapshot[-1])
        if not started:
            early = int(rises.argmax()) if rises.any() else len(rises)
            reader.skipped["book", symbol] += early
            if early == len(rises):
                continue
            started = True
            rows, rises = take(rows, np.arange(early, len(rises))), rises[early:]
        group = np.cumsum(_starts(rows)) - 1
        last_rise = np.full(group[-1] + 1, -1)
        np.maximum.at(last_rise, group, np.where(rises, np.arange(len(group)), -1))
        resets = last_rise[group] >= 0
        keep = np.arange(len(group)) >= last_rise[group]
        keep &= ~_told_again(rows, group, keep & resets)
        rows, group, resets = take(rows, keep), group[keep], resets[keep]
        at = np.lexsort((rows["side"], group))  # bids first; lexsort is stable
        yield Piece("book", symbol, _levels(take(rows, at), resets[at], depth=0))


def _told_again(rows: Columns, group: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Rows of snapshots that a later row of the same moment overrides, and levels that are gone."""
    gone = within & (rows["size_base"] == 0)
    mixed = np.unique(group[within & ~rows["snapshot"]])
    again: np.ndarray = gone.copy()
    for number in mixed.tolist():  # rare: a change came at the very moment of the snapshot
        seen = set()
        for row in reversed(np.flatnonzero(within & (group == number)).tolist()):
            level = (int(rows["side"][row]), float(rows["price"][row]))
            again[row] |= level in seen
            seen.add(level)
    return again


def _snapshots(reader: Reader) -> Iterator[Piece]:
    """Each row is a whole book of N levels a side; of two rows of one moment the later counts."""
    asks = [int(found[1]) for found in map(LEVEL.fullmatch, reader.columns) if found]
    depth = len(asks)
    places = [(side, level) for side in ("bids", "asks") for level in range(depth)]
    names = {what: [f"{side}[{level}].{what}" for side, level in places] for what in ("price", "amount")}

    def parse(block: Block) -> Columns:
        matrix = {}
        for what, columns in names.items():
            matrix[what] = np.stack([block.optional(name) for name in columns], axis=1)
            bad = (matrix[what] < 0) | (np.isnan(matrix["price"]) != np.isnan(matrix[what]))
            if what == "price":
                bad |= matrix[what] == 0
            for number, name in enumerate(columns):
                block.refuse(bad[:, number], name, "a level's price and amount, or neither", matrix[what][:, number])
        return {"price": matrix["price"], "size_base": matrix["amount"]}

    sides = np.repeat([0, 1], depth)
    for symbol, rows in _moments(reader, dict.fromkeys([n for both in names.values() for n in both], NUMBER), parse):
        latest = np.append(_starts(rows)[1:], True)
        there = ~np.isnan(rows["price"])
        kept = latest & there.any(axis=1)
        reader.skipped["book", symbol] += int((~kept).sum())
        rows, there = take(rows, kept), there[kept]
        at, level = np.nonzero(there)
        flat = {name: column[at] for name, column in rows.items() if column.ndim == 1}
        flat |= {"side": sides[level], "price": rows["price"][at, level], "size_base": rows["size_base"][at, level]}
        yield Piece("book", symbol, _levels(flat, np.ones(len(at), bool), depth))


def _levels(rows: Columns, is_snapshot: np.ndarray, depth: int) -> Columns:
    """The lake's rows of books; `rows` are sorted by moment, bids before asks."""
    size = len(rows["row"])
    first = np.maximum.accumulate(np.where(_starts(rows)[:size], np.arange(size), 0))
    unsaid = np.full(size, -1)
    return {
        "event_ns": rows["event_ns"],
        "known_at_ns": rows["known_at_ns"],
        "quality": rows["quality"],
        "depth": np.full(size, depth),
        "last_id": unsaid,
        "place": np.arange(size) - first,
        "is_change": np.where(is_snapshot, 0, 1),
        "first_id": unsaid,
        "previous_id": unsaid,
        "side": rows["side"],
        "price": rows["price"],
        "size_base": rows["size_base"],
        "row": np.arange(size) + int(rows["row"][0]) if size else rows["row"],
    }


READERS: dict[str, Read] = {
    "trades": _trades,
    "liquidations": _liquidations,
    "derivative_ticker": _ticker,
    "incremental_book_L2": _incremental,
    "book_snapshot": _snapshots,
    "quotes": _quotes,
}
