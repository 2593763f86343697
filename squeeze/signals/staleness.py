"""How long the silence of an input may last before no signal is drawn from it (domain.md §1.7)."""

import math
from collections.abc import Mapping

import msgspec

from squeeze.market.events import SECOND_NS
from squeeze.strict import Strict, require


class StalenessSpec(Strict, frozen=True, kw_only=True):
    """Limits of silence, in seconds, and when the feed of liquidations is suspect."""

    price_seconds: float = 5.0
    """Silence of the mark after which nothing is entered: 3 for BTC, 5 for DOT, 12 for OKX's mark."""
    venue_seconds: float = 60.0
    """Silence of a whole venue that sends trades, quotes, books or prices."""
    slow_seconds: float = 900.0
    """... and of one that sends only stamps, such as open interest or funding."""
    bar_lengths: float = 1.5
    """What comes as bars may also be silent for so many of their lengths."""
    most_stale_venues: int = 1
    """With more venues silent than this nothing is entered."""
    map_seconds: float = 180.0
    """Age of the liquidation map, beyond the step it is made in."""
    jump_seconds: float = 60.0
    """How far the clock may move at once, beyond two ticks of the slower of its own and the step's. What is further
    is done only once the next look confirms it.
    """
    suspect_minutes: float = 5.0
    """A price that moved in so long ..."""
    suspect_sigmas: float = 4.0
    """... by more than so many deviations, without a single print, makes the feed of liquidations suspect."""

    def __post_init__(self) -> None:
        require(min(self.price_seconds, self.venue_seconds, self.slow_seconds) > 0, "silences are positive")
        require(self.bar_lengths >= 1, "bar_lengths is at least 1")
        require(self.most_stale_venues >= 0, "most_stale_venues is not negative")
        require(self.map_seconds > 0 and self.jump_seconds >= 0, "map_seconds is positive, jump_seconds not negative")
        require(1 <= self.suspect_minutes <= 60, "suspect_minutes lies between 1 and 60")
        require(self.suspect_sigmas > 0, "suspect_sigmas is positive")


class Heard(msgspec.Struct):
    """When a source was last heard, and in what rhythm it speaks."""

    at_ns: int = 0
    """0 for never."""
    bar_ns: int = 0
    """Length of its bars; 0 before the first."""
    ticks: bool = False
    """Whether it sends what changes within a second."""
    made_ns: int = 0
    """When the newest of it was made, by the venue's clock; kept of the mark."""
    lost: bool = False
    """Whether it broke off, and has not been heard since."""

    def hears(self, at_ns: int, bar_ns: int = 0, ticks: bool = False) -> None:
        """Something came."""
        self.lost = False
        if at_ns > self.at_ns:
            self.at_ns = at_ns
        if bar_ns:
            self.bar_ns = bar_ns
        if ticks:
            self.ticks = True

    def breaks(self, since_ns: int) -> None:
        """It is known now that nothing was heard since then."""
        self.at_ns, self.lost = min(self.at_ns, since_ns), True


def stale(
    limits: StalenessSpec, now_ns: int, mark: Heard, venues: Mapping[str, Heard], map_ns: int, step_ns: int
) -> tuple[str, ...]:
    """What is too old to act on at `now_ns`: `price`, `venues`, `map`, in this order; empty when all is well.

    `map_ns` is when the liquidation map last took something in, 0 for never.

    >>> spoke = Heard(10 * SECOND_NS, ticks=True)
    >>> [stale(StalenessSpec(), at * SECOND_NS, spoke, {"v": spoke}, SECOND_NS, SECOND_NS) for at in (15, 16, 183)]
    [(), ('price',), ('price', 'map')]
    """
    found = []
    if is_silent(mark, now_ns, limits.price_seconds, limits):
        found.append("price")
    silent = sum(is_silent(venue, now_ns, limits.venue_seconds, limits) for venue in venues.values())
    if silent > limits.most_stale_venues:
        found.append("venues")
    if not map_ns or now_ns - map_ns > limits.map_seconds * SECOND_NS + step_ns:
        found.append("map")
    return tuple(found)


def is_silent(source: Heard, now_ns: int, seconds: float, limits: StalenessSpec) -> bool:
    """Whether a source that may be silent for so long while it ticks is silent for too long."""
    if source.lost or not source.at_ns:
        return True
    if not source.ticks:
        seconds = seconds + limits.bar_lengths * source.bar_ns / SECOND_NS if source.bar_ns else limits.slow_seconds
    return now_ns - source.at_ns > seconds * SECOND_NS


def is_suspect(limits: StalenessSpec, return_log: float, prints: float, sigma_1m_log: float) -> bool:
    """Whether a feed without a print should have had some; one that tells of no prints at all (NaN) is suspect.

    >>> [is_suspect(StalenessSpec(), move, 0.0, 0.001) for move in (0.0089, -0.009)], is_suspect(
    ...     StalenessSpec(), 0.0, math.nan, 0.001
    ... )
    ([False, True], True)
    """
    if math.isnan(prints):
        return True
    return prints == 0 and abs(return_log) > limits.suspect_sigmas * sigma_1m_log * limits.suspect_minutes**0.5
