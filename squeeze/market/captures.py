"""Captures that other recorders made, into the raw log.

    BYBIT.jsonl.zst     cryptofeed: {"t":"recv","conn":..,"ts":1786310818.2235148,"data":".."} and other lines by `t`
    btcusdt.gz          hftbacktest, Binance futures: 1723161255030314667 {"stream":..}

What comes out is as if the raw log had recorded it: each frame with its own receive time, to the digit.
"""

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import zstandard

from squeeze.errors import DataError
from squeeze.market.events import SECOND_NS
from squeeze.market.raw_log import RawLog
from squeeze.market.raw_writer import RawWriter


@dataclass
class Imported:
    """What became of the lines of a capture."""

    frames: int = 0
    """Websocket frames taken."""
    answers: int = 0
    """Answers to REST calls taken."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Lines left out, by what they were."""


class _Line(msgspec.Struct):
    t: str
    conn: str = ""
    ts: msgspec.Raw = msgspec.Raw(b"")  # the digits as they stand: a float has none to spare for nanoseconds
    url: str = ""
    addr: str = ""
    data: str | None = None


class _Snapshot(msgspec.Struct):
    lastUpdateId: int | None = None


LINE = msgspec.json.Decoder(_Line)
SNAPSHOT = msgspec.json.Decoder(_Snapshot)
UNREADABLE = (OSError, EOFError, ValueError, ArithmeticError, zlib.error, zstandard.ZstdError, msgspec.MsgspecError)


def import_capture(
    path: Path, log: RawLog, venue: str, symbol: str = "", address: str = "", spool: Path | None = None
) -> Imported:
    """Append all frames of a capture, `.jsonl.zst` of cryptofeed or `.gz` of hftbacktest, to a venue of the log.

    From a cryptofeed capture come websocket frames, of connections whose address contains `address`, and all answers
    to REST calls, which tell by their request what they are. In the other format a snapshot of the book does not say
    of what it is, so `symbol` does, such as BTCUSDT. Importing a file twice puts its frames there twice. Raises
    `DataError` naming file and line for what is not such a capture; what came before that line has been taken then.
    """
    if path.name.endswith(".jsonl.zst"):
        opened, take = _cryptofeed_lines, _Cryptofeed(address).take
    elif path.name.endswith(".gz"):
        opened, take = _gzip_lines, _Stamped(symbol).take
    else:
        raise DataError(f"{path}: expected a capture named .jsonl.zst or .gz")
    counts, number = Imported(), 0
    # A block of a minute: the file is there to be imported again, so nothing has to be on the disk each second.
    with log.writer(venue, spool, block_seconds=60.0) as writer:
        try:
            with opened(path) as lines:
                for line in lines:
                    number += 1
                    take(line.rstrip(b"\n"), writer, counts)
        except UNREADABLE as error:
            raise DataError(f"{path}: line {number or 1}: not a line of a capture: {error}") from None
    return counts


class _Cryptofeed:
    def __init__(self, address: str):
        self._address = address
        self._addresses: dict[str, str] = {}

    def take(self, line: bytes, writer: RawWriter, counts: Imported) -> None:
        record = LINE.decode(line)
        if record.t == "connect":
            self._addresses[record.conn] = record.addr
        if record.t not in ("recv", "http") or record.data is None:
            counts.skipped[record.t] += 1
        elif record.t == "http":
            url = urlsplit(record.url)
            request = f"{url.path}?{url.query}" if url.query else url.path
            writer.append(_to_ns(record.ts), record.data.encode(), record.conn, request)
            counts.answers += 1
        elif self._address not in self._addresses.get(record.conn, ""):
            counts.skipped["recv of another address"] += 1
        else:
            writer.append(_to_ns(record.ts), record.data.encode(), record.conn)
            counts.frames += 1


class _Stamped:
    def __init__(self, symbol: str):
        self._symbol = symbol

    def take(self, line: bytes, writer: RawWriter, counts: Imported) -> None:
        received, _, frame = line.partition(b" ")
        received_ns = int(received)
        if b'"lastUpdateId"' in frame and SNAPSHOT.decode(frame).lastUpdateId is not None:
            if not self._symbol:
                raise ValueError("a snapshot of the book, and no symbol was given to say of what")
            writer.append(received_ns, frame, request=f"/fapi/v1/depth?symbol={self._symbol}")
            counts.answers += 1
        else:
            writer.append(received_ns, frame)
            counts.frames += 1


def _to_ns(seconds: msgspec.Raw) -> int:
    """Whole nanoseconds of a decimal number of seconds.

    >>> _to_ns(msgspec.Raw(b"1786310818.2235148")), int(1786310818.2235148 * 1e9)
    (1786310818223514800, 1786310818223514880)
    """
    return int(Decimal(bytes(seconds).decode()) * SECOND_NS)


@contextmanager
def _gzip_lines(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rb") as lines:
        yield lines


@contextmanager
def _cryptofeed_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        packed = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        yield io.BufferedReader(packed)
