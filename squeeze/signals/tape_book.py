"""The best prices of one venue and what rests around them, from its quotes or its books, whichever is newer."""

import math
from bisect import bisect_right
from operator import attrgetter
from typing import Any

import msgspec

from squeeze.market.books import Book
from squeeze.market.events import ALL_DEPTHS, NAN, SECOND_NS, BookUpdate, Gap, Quote

SHARE = 0.005
"""Depth is summed so far from the mid."""

Reading = tuple[float, float, float, float]
"""Bid, ask, spread in basis points of the mid, and USD that rest within half a percent on both sides."""
UNKNOWN: Reading = (NAN, NAN, NAN, NAN)
Top = tuple[float, float, float, int]
"""Bid and ask of a book, USD that rest around its mid, and when it was made."""
NO_BOOK: Top = (NAN, NAN, NAN, -(2**63))
LATER = 2**63
MOST_HEARD = 1000
"""So many updates are kept at most that were heard before one that is still expected."""
_known_at = attrgetter("known_at_ns")


class Held(msgspec.Struct, frozen=True):
    """What is remembered."""

    books: list[tuple[int, dict[str, Any]]]
    quote: Quote | None


class BestPrices:
    """Hears quotes, books and holes in the order in which they are known; `read` tells what they say now.

    Books are long, and a look has little time. So they are told of what comes as soon as it is there (`expect`) and
    stand ahead of what was heard, with what they say after each event kept until its time. Who comes before what is
    expected already has them begin again from where they were.
    """

    def __init__(self) -> None:
        self.quote: Quote | None = None
        self._books: dict[int, Book] = {}
        """By depth, ahead of time."""
        self._before: dict[int, Book] = {}
        """As they were before the first that is expected."""
        self._expected: list[BookUpdate | Gap] = []
        """In the order in which they will be known; the first `_heard` of them are."""
        self._heard = 0
        self._tops: list[Top | None] = [None]
        """What the books say before the first and after each of them, as far as it was asked."""
        self._reading: Reading | None = None
        self.settles_ns = LATER
        """With an event that is known after this the last that is expected has had its second."""

    def expect(self, event: BookUpdate | Gap) -> None:
        """Be told of an update or a hole that will be heard."""
        expected = self._expected
        if not expected:
            self._before = {depth: _copy(book) for depth, book in self._books.items()}
        if expected and event.known_at_ns < expected[-1].known_at_ns:
            self._rewind()
            expected.insert(bisect_right(expected, event.known_at_ns, key=_known_at), event)
            self._books = {depth: _copy(book) for depth, book in self._before.items()}
            for one in expected:
                _take(self._books, one)
            self._tops = [self._tops[0], *(None for _ in expected)]
        else:
            expected.append(event)
            self._tops.append(None)
            _take(self._books, event)
        self.settles_ns = -(-expected[-1].known_at_ns // SECOND_NS) * SECOND_NS

    def settle(self) -> None:
        """Read the books while there is time: by the end of a second they will be asked."""
        if self._tops[-1] is None:
            self._tops[-1] = _top(self._books)
        self.settles_ns = LATER

    def quoted(self, event: Quote) -> float:
        """Take a quote that is newer than the last; its spread in basis points, NaN for one that is none."""
        self.quote, self._reading = event, None
        return _spread_bp(event.bid, event.ask)

    def update(self, event: BookUpdate) -> None:
        """Hear an update of one of the books, the first that is expected."""
        self._hear()

    def lose(self, event: Gap) -> None:
        """Trust no book until its next snapshot, and no quote until the next."""
        self.quote = None
        self._hear()

    def _hear(self) -> None:
        self._heard += 1
        self._reading = None
        if self._heard == len(self._expected):
            self._expected.clear()
            self._heard, self._tops = 0, self._tops[-1:]
        elif self._heard >= MOST_HEARD:
            self._rewind()

    def _rewind(self) -> None:
        """Forget what was heard among what is expected: the books before are those of now."""
        for event in self._expected[: self._heard]:
            _take(self._before, event)
        del self._expected[: self._heard], self._tops[: self._heard]
        self._heard = 0

    def _now(self) -> dict[int, Book]:
        """The books as they were heard."""
        if not self._expected:
            return self._books
        self._rewind()
        return self._before

    def read(self) -> Reading:
        """What is known now; NaN for what is not, and for a crossed book."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def _read(self) -> Reading:
        top = self._tops[self._heard]
        if top is None:
            books = self._now()
            top = self._tops[self._heard] = _top(books)
        bid, ask, depth_usd, event_ns = top
        quote = self.quote
        if quote is not None and quote.event_ns > event_ns:
            bid, ask = quote.bid, quote.ask
        spread_bp = _spread_bp(bid, ask)
        return (bid, ask, spread_bp, depth_usd) if spread_bp == spread_bp else UNKNOWN

    def snapshot(self) -> Held:
        """In plain types: what was heard."""
        return Held([(depth, book.snapshot()) for depth, book in self._now().items()], self.quote)

    def restore(self, held: Held) -> None:
        """Go on from a snapshot; what is pending has to be expected again."""
        self._books = {}
        for depth, book in held.books:
            self._books[depth] = Book()
            self._books[depth].restore(book)
        self._expected.clear()
        self._heard, self._tops, self.settles_ns = 0, [None], LATER
        self.quote, self._reading = held.quote, None


def _take(books: dict[int, Book], event: BookUpdate | Gap) -> None:
    """Fold an update or a hole into the books."""
    if isinstance(event, Gap):
        for depth, book in books.items():
            if event.depth in (ALL_DEPTHS, depth):
                book.lose()
        return
    if event.depth not in books:
        books[event.depth] = Book()
    books[event.depth].apply(event)


def _copy(book: Book) -> Book:
    copy = Book()
    copy.bids, copy.asks = book.bids.copy(), book.asks.copy()
    copy.event_ns, copy.depth, copy.valid = book.event_ns, book.depth, book.valid
    return copy


def _top(books: dict[int, Book]) -> Top:
    """What the deepest book that can be trusted says."""
    valid = [(depth or math.inf, book) for depth, book in books.items() if book.valid]
    if not valid:
        return NO_BOOK
    book = max(valid, key=lambda one: one[0])[1]
    bid, ask = book.best()
    return bid, ask, resting_usd(book, bid, ask), book.event_ns


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
