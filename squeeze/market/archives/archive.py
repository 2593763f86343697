"""What a publisher's module is asked and what it answers: `Options` go in, an `Archive` and its `Piece`s come out.

Apart from `reading`, which unpacks files, and `days`, which sorts rows: a module of a publisher needs all three, and
they need this one. Every fault is a `DataError` of one line, as in `tables`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS
from squeeze.market.instruments import Instruments
from squeeze.market.partitions import date_of
from squeeze.market.rows import Columns

Skipped = Counter[tuple[str, str]]
"""Rows that were left out, by kind and symbol, for a reason that the reader documents."""

Repeats = Literal["real", "id", "equal", "last"]
"""What two alike rows of a file are: two events; one, by its id; one, if all of it is equal; a correction, by its
time."""


LINEAR = {
    "binance": re.compile(r"[A-Z0-9]+(_\d{6})?"),
    "bybit": re.compile(r"[A-Z0-9]+(USDT|PERP)"),
    "okx": re.compile(r"[A-Z0-9]+-(USDT|USDC)-SWAP"),
}
"""The contracts of a venue whose sizes are not USD."""


class Piece(NamedTuple):
    """Some rows of one stream: the lake's columns (but `place`), `row` in the file, and `order` if not that of rows."""

    kind: str
    symbol: str
    columns: Columns
    repeats: Repeats = "real"


@dataclass(frozen=True)
class Options:
    """What a file's name may leave open."""

    instruments: Instruments
    kind: str | None = None
    spot: bool = False
    native_amounts: bool = False


@dataclass(frozen=True)
class Archive:
    """A file whose name, or header, was recognised; nothing but its first line has been read."""

    venue: str
    read: Callable[[Skipped], Iterator[Piece]]
    dates: str | None = None
    """The day or the month in the name; its rows must lie within a day of it, for venues cut days differently."""


def in_base(options: Options, name: str, venue: str, native: str, event_ns: np.ndarray) -> np.ndarray:
    """Base coins per contract at each time, by the record of its UTC day."""
    days, which = np.unique(event_ns // DAY_NS, return_inverse=True)
    values = np.array([contract_value(options, name, venue, native, day * DAY_NS) for day in days.tolist()])
    return values[which]


def contract_value(options: Options, name: str, venue: str, native: str, at_ns: int) -> float:
    """Base coins per contract; `DataError` where no record says."""
    record = options.instruments.get(venue, native, at_ns)
    if record is None or record.is_inverse:
        raise DataError(
            f"{name}: sizes are in contracts, and there is no instrument record of {venue} {native} "
            f"with a value in base coins for {date_of(at_ns)}"
        )
    return record.to_base(1.0)
