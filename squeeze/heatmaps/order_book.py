"""The order-book heatmap: USD that rest in each price bin, as far as the feed covers, and what it says in numbers.

`depth.BookSummary` has the amounts; here they come onto the map's grid by whole bins, with what is not covered masked,
and the last book is kept, with its age, while there is none that can be trusted.
"""

import math

import numpy as np

from squeeze.arrays import doubles
from squeeze.errors import StepError
from squeeze.heatmaps import grid
from squeeze.heatmaps.flow_book_kernel import CROSSED, book_outward, book_scalars, book_step
from squeeze.heatmaps.protocol import FIRST, PriceWindow, check
from squeeze.market.depth import BANDS_BPS, ORDERS_USD, BookSummary
from squeeze.market.events import SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require


class OrderBookSpec(Strict, frozen=True, kw_only=True):
    """Bins of the book, and how long one is believed."""

    bin_log: float = 5e-4
    """Width of a price bin in log price: a whole multiple of that of the summaries."""
    stale_seconds: float = 60.0
    """A book older than this at the close is not shown; only its age is."""

    def __post_init__(self) -> None:
        require(0 < self.bin_log < 0.05, "bin_log lies between 0 and 0.05")
        require(self.stale_seconds > 0, "stale_seconds is positive")


class OrderBookMap:
    """One venue's last book.

    A bin is covered if all of it is: the two outermost of a summary, of which a feed may cover only a part, are not.
    """

    def __init__(self, spec: OrderBookSpec) -> None:
        self.spec = spec
        self._stale_ns = spec.stale_seconds * SECOND_NS
        self.window = PriceWindow(spec.bin_log, -1)
        self.usd = np.full((2, grid.BINS), np.nan)
        """Bids and asks; NaN where not covered."""
        self.span = np.zeros(2, dtype=np.int64)
        """First and end element that is covered."""
        self.depth = np.full((4, len(BANDS_BPS)), np.nan)
        """By band: USD bid and asked, the imbalance of a fall and of a rise."""
        self.cost = np.full((2, len(ORDERS_USD)), np.nan)
        """By order: basis points that a market sell, and a buy, gives away."""
        self.numbers = np.full(1, np.nan)
        """Spread in basis points."""
        self.clock = np.array([0, FIRST], dtype=np.int64)
        """Close of the last step; time of the book."""
        self.channels = ("book_usd",)
        self.scalar_names = (
            *(f"book_depth_{b:g}bp_usd" for b in BANDS_BPS),
            *(f"book_imbalance_{b:g}bp" for b in BANDS_BPS),
            *(f"book_cost_{usd:g}usd_bp" for usd in ORDERS_USD),
            "book_spread_bp",
            "book_age_seconds",
        )

    @property
    def age_ns(self) -> int:
        """Time from the last book to the last close; very large before the first."""
        return int(self.clock[0] - self.clock[1])

    @property
    def stale(self) -> bool:
        """Whether there is no book, or one too old to be shown."""
        return not self.age_ns <= self._stale_ns

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Take the book at the close in place of the last; without one the last stays, and ages."""
        check(mark, close_ns, int(self.clock[0]))
        if part.book is not None and part.book.event_ns >= self.clock[1]:
            self._take(part.book)
        self.clock[0] = close_ns

    def _take(self, book: BookSummary) -> None:
        count = len(book.bids_usd)
        if len(book.asks_usd) != count:
            raise StepError(f"a book has as many bins of bids as of asks, got {count} and {len(book.asks_usd)}")
        bands, orders = len(BANDS_BPS), len(ORDERS_USD)
        if not (
            len(book.bid_depth_usd) == len(book.ask_depth_usd) == len(book.imbalance) == bands
            and len(book.buy_cost_bps) == len(book.sell_cost_bps) == orders
        ):
            raise StepError("a book's depth and cost are of other bands and orders")
        amounts = doubles(
            *book.bids_usd, *book.asks_usd, *book.bid_depth_usd, *book.ask_depth_usd, *book.imbalance,
            *book.sell_cost_bps, *book.buy_cost_bps,
        )  # fmt: skip
        refused = book_step(
            self.usd, self.span, self.depth, self.cost, self.numbers, self.clock, self.window.state, amounts,
            book.first_bin, book.bid, book.ask, book.spread_bps, book.bin_log, self.spec.bin_log, book.event_ns,
        )  # fmt: skip
        if refused:
            check_book(book)
            if refused == CROSSED:
                raise StepError("a book bids above what it asks")
            raise StepError(f"bins of {book.bin_log} do not fit into bins of {self.spec.bin_log}")

    def covered(self) -> tuple[int, int]:
        """First and last absolute bin that the last book covers; an empty range, (0, -1), if it covers none."""
        first, end = self.span.tolist()
        return (first + self.window.origin, end - 1 + self.window.origin) if end > first else (0, -1)

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): USD that rest against a move of the mark: bids below it, asks above."""
        out = np.empty((2, 1, bins))
        book_outward(self.usd, self.clock, self.window.state, self._stale_ns, self.spec.bin_log, mark, width_log, out)
        return out

    def scalars(self) -> np.ndarray:
        """Of the last book, by side; NaN, but for the age, once it is stale.

        `book_depth`: USD between the mid and so far ahead, which is what it costs to move the price there.
        `book_imbalance`: (ahead − behind) / both in that band. `book_cost`: what a market order of that size into this
        side gives away.
        """
        out = np.empty((2, len(self.scalar_names)))
        book_scalars(self.depth, self.cost, self.numbers, self.clock, self._stale_ns, out)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        own = {name: getattr(self, name) for name in ("usd", "span", "depth", "cost", "numbers", "clock")}
        return own | {"window": self.window.state}


def check_book(book: BookSummary) -> None:
    """Refuse a book that is crossed or has amounts that are none."""
    if not 0 < book.bid < book.ask < math.inf:
        raise StepError(f"the book's best prices must be positive and not crossed, got {book.bid} and {book.ask}")
    # One sum instead of a question for each: it is finite only if all of them are.
    if not math.isfinite(sum(book.bids_usd) + sum(book.asks_usd)) or min(*book.bids_usd, *book.asks_usd, 0.0) < 0:
        raise StepError("a book's USD must be finite and not negative")
