"""Updates of order books on their way into the lake."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from squeeze.market.archives.archive import Piece
from squeeze.market.events import BookUpdate, Levels
from squeeze.market.rows import columns_of

AT_ONCE = 512  # updates turned into columns at a time
DEEP = 1 << 21
"""Bytes of the longest line that can be a book's."""


def joined(updates: Iterable[BookUpdate]) -> Iterator[BookUpdate]:
    """The updates, those with one time and number made into one: the lake could not tell them apart.

    A snapshot replaces what came before it at that time; of a level that is told twice the later stays.
    """
    held: BookUpdate | None = None
    for update in updates:
        if held is None or _moment(held) != _moment(update):
            if held is not None:
                yield held
            held = update
        elif update.is_snapshot:
            held = update
        else:
            held = BookUpdate(
                venue=held.venue, symbol=held.symbol, event_ns=held.event_ns, known_at_ns=held.known_at_ns,
                quality=held.quality, is_snapshot=held.is_snapshot, depth=held.depth,
                first_id=held.first_id, last_id=held.last_id, previous_id=held.previous_id,
                bids=_over(held.bids, update.bids, held.is_snapshot),
                asks=_over(held.asks, update.asks, held.is_snapshot),
            )  # fmt: skip
    if held is not None:
        yield held


def as_pieces(symbol: str, updates: Iterable[BookUpdate]) -> Iterator[Piece]:
    """The rows of updates, of some hundred at a time."""
    iterator = iter(updates)
    at = 0
    while some := list(itertools.islice(iterator, AT_ONCE)):
        columns = columns_of("book", some)
        size = len(columns["event_ns"])
        columns["row"] = np.arange(at, at + size)
        at += size
        yield Piece("book", symbol, columns)


def _moment(update: BookUpdate) -> tuple[int, int, int]:
    return update.event_ns, update.known_at_ns, update.last_id


def _over(levels: Levels, later: Levels, is_snapshot: bool) -> Levels:
    sizes = dict(levels) | dict(later)
    return [(price, size) for price, size in sizes.items() if size or not is_snapshot]
