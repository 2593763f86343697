"""The best prices of one venue and what rests around them, from its quotes or its books, whichever is newer."""

import math
from typing import Any

import msgspec

from squeeze.market.books import Book
from squeeze.market.events import ALL_DEPTHS, NAN, BookUpdate, Gap, Quote

SHARE = 0.005
"""Depth is summed so far from the mid."""

Reading = tuple[float, float, float, float]
"""Bid, ask, spread in basis points of the mid, and USD that rest within half a percent on both sides."""
UNKNOWN: Reading = (NAN, NAN, NAN, NAN)


class Held(msgspec.Struct, frozen=True):
    """What is remembered."""

    books: list[tuple[int, dict[str, Any]]]
    quote: Quote | None


class BestPrices:
    """Takes quotes, books and holes in order of known-at; `read` tells what they say now."""

    def __init__(self) -> None:
        self.books: dict[int, Book] = {}
        self.quote: Quote | None = None
        self._reading: Reading | None = None

    def quoted(self, event: Quote) -> float:
        """Take a quote that is newer than the last; its spread in basis points, NaN for one that is none."""
        self.quote, self._reading = event, None
        return _spread_bp(event.bid, event.ask)

    def update(self, event: BookUpdate) -> None:
        """Take an update of one of the books."""
        book = self.books.get(event.depth)
        if book is None:
            book = self.books[event.depth] = Book()
        book.apply(event)
        self._reading = None

    def lose(self, event: Gap) -> None:
        """Trust no book until its next snapshot, and no quote until the next."""
        for depth, book in self.books.items():
            if event.depth in (ALL_DEPTHS, depth):
                book.lose()
        self.quote = self._reading = None

    def read(self) -> Reading:
        """What is known now; NaN for what is not, and for a crossed book."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def _read(self) -> Reading:
        book = self._deepest()
        bid, ask = (NAN, NAN) if book is None else book.best()
        depth_usd = NAN if book is None else resting_usd(book, bid, ask)
        quote = self.quote
        if quote is not None and (book is None or quote.event_ns > book.event_ns):
            bid, ask = quote.bid, quote.ask
        spread_bp = _spread_bp(bid, ask)
        return (bid, ask, spread_bp, depth_usd) if spread_bp == spread_bp else UNKNOWN

    def _deepest(self) -> Book | None:
        valid = [(depth or math.inf, book) for depth, book in self.books.items() if book.valid]
        return max(valid, key=lambda one: one[0])[1] if valid else None

    def snapshot(self) -> Held:
        """In plain types."""
        return Held([(depth, book.snapshot()) for depth, book in self.books.items()], self.quote)

    def restore(self, held: Held) -> None:
        """Go on from a snapshot."""
        self.books = {}
        for depth, book in held.books:
            self.books[depth] = Book()
            self.books[depth].restore(book)
        self.quote, self._reading = held.quote, None


def resting_usd(book: Book, bid: float, ask: float) -> float:
    """USD within half a percent of the mid, the borders included; NaN for a side that is empty, a crossed book, and one
    whose feed ends before that.

    >>> book = Book()
    >>> levels = {"bids": [(99.9, 2.0), (99.4, 5.0)], "asks": [(100.1, 1.0), (100.6, 1.0)]}
    >>> book.apply(BookUpdate(venue="v", symbol="s", event_ns=1, known_at_ns=1, is_snapshot=True, **levels))
    >>> resting_usd(book, *book.best())
    299.9
    """
    if not bid < ask:
        return NAN
    mid = (bid + ask) / 2
    low, high = mid * (1 - SHARE), mid * (1 + SHARE)
    if book.depth and (min(book.bids) > low or max(book.asks) < high):
        return NAN
    bids = sum((price * size for price, size in book.bids.items() if price >= low), 0.0)
    return bids + sum((price * size for price, size in book.asks.items() if price <= high), 0.0)


def _spread_bp(bid: float, ask: float) -> float:
    return 2e4 * (ask - bid) / (ask + bid) if 0 < bid < ask < math.inf else NAN
