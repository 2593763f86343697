"""Walls: unusually large resting orders, followed from book to book until it is known what became of them.

    book ─► large for its book, its day and in USD ─► candidate ─► alive 10 s ─► wall ─► filled, pulled, expired
                                                                                 └──► refilled (it stands on)

domain.md §4.2, 10. An order is a price bin of one venue and side, on absolute bins and absolute times.

A book is a sample at a close. Not seen are: orders that came and went between two books; in which order trades,
additions and cancellations came, so that what was traded in the step of its first sight does not count; who rests
there: two orders in one bin are one. With steps longer than a minute nothing can be said of the last minute, and with
steps longer than 20 s there are too few samples for an elasticity.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from squeeze.errors import StepError
from squeeze.heatmaps.order_book import OrderBookMap
from squeeze.heatmaps.protocol import NOTHING, check_candle, has_hole, traded
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.patterns.pattern import thresholds_record
from squeeze.patterns.scene import WALL, copied
from squeeze.strict import require
from squeeze.zones.wall_kernel import BUCKETS, FAULTS, HELD, PULL, PULLS, advance
from squeeze.zones.wall_spec import WallSpec


class Resting(NamedTuple):
    """What one venue's last book shows, and what takers traded there in the step."""

    usd: np.ndarray
    """(2, price): bids and asks by absolute bin from `first_bin` on; NaN where not covered."""
    first_bin: int
    book_ns: int
    """Time of the book: an order is judged anew only by a newer one."""
    shown: bool
    """Whether the book is to be believed; nothing is read from one that is not."""
    traded_base: np.ndarray
    """(2, price): coins bought, which hit asks, and sold, which hit bids, from `traded_first_bin` on."""
    traded_first_bin: int
    traded_known: bool
    """Whether these are all trades, each in its bin."""


def resting(book: OrderBookMap, part: VenueStep) -> Resting:
    """Of a map that has taken in this part, and the part.

    Trades are known if they were recorded one by one without a hole: a bar's volume, spread over its range or halved,
    does not tell what was traded in a bin.
    """
    flow = traded(part, book.spec.bin_log)
    known = flow is not None and not (flow.uniform or flow.halved or has_hole(part))
    if flow is None or not known:
        flow = NOTHING
    return Resting(book.usd, book.window.origin, int(book.clock[1]), not book.stale, flow.sides, flow.first_bin, known)


class WallTracker:
    """Follows the walls of so many venues. Its memory has a fixed size: 2 KB for each order that may be followed."""

    def __init__(self, spec: WallSpec, bin_log: float, venues: int) -> None:
        require(0 < bin_log <= spec.near_log, "bin_log is positive and at most near_log")
        require(venues > 0, "there is at least one venue")
        self.spec, self.bin_log, self.venues = spec, bin_log, venues
        self.held = np.zeros((venues, 2, spec.walls_per_side), HELD)
        self.usual = np.zeros((venues, 2, BUCKETS))
        """What bins hold: seconds by logarithm of USD, those of new steps weighted by `growth`."""
        self.weight = np.zeros((venues, 2))
        """Sums of `usual`."""
        self.level = np.zeros((venues, 4))
        """The quantile of each side at the last note, the seconds seen since, and those seen before."""
        self.growth = np.ones(1)
        """Weight of a second of now: instead of all that is past fading."""
        self.pulls = np.zeros((venues, 2, PULLS), PULL)
        self.pulled = np.zeros((venues, 2), dtype=np.int64)
        """How many pulls there were."""
        self.book_ns = np.full(venues, -(2**62), dtype=np.int64)
        """Time of the newest book."""
        self.clock = np.zeros(1, dtype=np.int64)
        """Close of the last step."""
        self._rules = thresholds_record(spec)[0]
        self._near = np.zeros(2 * round(spec.near_log / bin_log))
        self._out = np.zeros(self.held.size, WALL)

    def step(self, books: Sequence[Resting], mark: Candle, close_ns: int, step_ns: int) -> np.ndarray:
        """Walls that stand and those that ended in this step, of `scene.WALL`: by venue, bids first.

        `mark` is that of the step of `step_ns` up to `close_ns`. Nothing later is used. Without a newer book a venue's
        orders stay as they were, while trades, the mark and time go on. `StepError`, and nothing has changed, for time
        that goes back, a mark that is no candle, USD or coins that are negative or infinite, and a crossed book.
        """
        if len(books) != self.venues or any(len(b.usd) != 2 or len(b.traded_base) != 2 for b in books):
            raise StepError(f"expected books and trades of two sides and {self.venues} venues, got {len(books)}")
        if step_ns <= 0:
            raise StepError(f"a step has a length, got {step_ns}")
        check_candle("mark", mark)
        count = advance(
            tuple(books), self.held, self.usual, self.weight, self.level, self.growth, self.pulls, self.pulled,
            self.book_ns, self.clock, self._rules, self._near, self.bin_log, mark.low, mark.high, mark.close,
            close_ns, step_ns, self._out,
        )  # fmt: skip
        if count < 0:
            raise StepError(FAULTS[-count].format(close_ns=close_ns, closed_ns=int(self.clock[0])))
        return copied(self._out[:count])

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as it is; records as bytes."""
        names = ("usual", "weight", "level", "growth", "pulled", "book_ns", "clock")
        return {name: getattr(self, name) for name in names} | {
            "held": self.held.view(np.uint8),
            "pulls": self.pulls.view(np.uint8),
        }
