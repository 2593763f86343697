"""Bybit's files of linear contracts: trades (public.bybit.com/trading) and order books (quote-saver.bycsi.com).

`BTCUSDT2024-03-01.csv.gz` has a header and decimal seconds; old files run backwards. A book, such as
`2024-12-01_XRPUSDT_ob500.data.zip`, later `ob200`, holds the frames of the websocket channel `orderbook`, one a line,
which `venues.bybit` decodes.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from squeeze.errors import DataError, FrameError
from squeeze.market.archives.archive import LINEAR, Archive, Options, Piece, Skipped
from squeeze.market.archives.block import NUMBER, TEXT, stamped
from squeeze.market.archives.books import DEEP, as_pieces, joined
from squeeze.market.archives.reading import blocks, inside, lines
from squeeze.market.events import BookUpdate
from squeeze.market.tables import faults
from squeeze.market.venues.bybit import Bybit

VENUE = "bybit"
TRADES = re.compile(r"([A-Z0-9]+?)(\d{4}-\d{2}-\d{2})\.csv(?:\.gz)?")
BOOK = re.compile(r"(\d{4}-\d{2}-\d{2})_([A-Z0-9]+)_ob\d+\.data(?:\.zip)?")

LAYOUT = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


class Stamped(msgspec.Struct):
    """What is needed of a line before it can be decoded."""

    ts: int


def recognise(path: Path, options: Options) -> Archive | None:
    """A file with a name as Bybit publishes it; a zipped book may go by the name of the file inside."""
    if trades := TRADES.fullmatch(path.name):
        symbol, dates = trades.groups()
        _refuse_inverse(path, symbol)
        return Archive(VENUE, lambda skipped: _trades(path, symbol), dates)
    name = path.name
    if name.endswith(".data.zip") and not BOOK.fullmatch(name) and path.is_file():
        with faults(name), zipfile.ZipFile(path) as archive:
            name = inside(path, archive)
    if book := BOOK.fullmatch(name):
        dates, symbol = book.groups()
        _refuse_inverse(path, symbol)
        return Archive(VENUE, lambda skipped: _book(path, symbol, skipped), dates)
    return None


def _refuse_inverse(path: Path, symbol: str) -> None:
    if not LINEAR[VENUE].fullmatch(symbol):
        raise DataError(
            f"{path.name}: expected a contract in USDT or USDC, got {symbol}, whose sizes are not base coins"
        )


def _trades(path: Path, symbol: str) -> Iterator[Piece]:
    types = {"timestamp": TEXT, "symbol": TEXT, "side": TEXT, "size": NUMBER, "price": NUMBER}
    falling = None
    for block in blocks(path, [LAYOUT, f"{LAYOUT},RPI"], types):
        block.only("symbol", symbol)
        event_ns = block.exact_seconds("timestamp")
        if falling is None:  # then the first of several at once is the last in the file
            falling = bool(event_ns[0] > event_ns[-1])
        columns = {
            "price": block.positive("price"),
            "size_base": block.sizes("size"),
            "taker_buys": block.codes("side", {"sell": 0, "buy": 1}),
            "order": -block.row_numbers if falling else block.row_numbers,
            "row": block.row_numbers,
        }
        yield Piece("trade", symbol, stamped(event_ns, event_ns) | columns)


def _book(path: Path, symbol: str, skipped: Skipped) -> Iterator[Piece]:
    return as_pieces(symbol, joined(_updates(path, symbol, skipped)))


def _updates(path: Path, symbol: str, skipped: Skipped) -> Iterator[BookUpdate]:
    """The updates that follow a snapshot and have a number above the last; others are counted as skipped."""
    venue = Bybit()
    stamp = msgspec.json.Decoder(Stamped)
    last: int | None = None
    for row, line in lines(path):
        try:
            events = venue.decode(line.strip(), stamp.decode(line).ts * 1_000_000)
        except (FrameError, msgspec.DecodeError) as error:
            raise DataError(f"{path.name}: row {row}: expected a frame of {symbol}'s book, got {error}") from None
        if len(line) > DEEP or len(events) != 1 or not isinstance(events[0], BookUpdate) or events[0].symbol != symbol:
            raise DataError(f"{path.name}: row {row}: expected one frame of {symbol}'s book, got {line[:80]!r}")
        update = events[0]
        if not update.is_snapshot and (last is None or update.last_id <= last):
            skipped["book", symbol] += 1
            continue
        last = update.last_id
        yield update
