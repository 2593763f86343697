"""The funding heatmap: venue × hour of the rate per eight hours, settled and predicted apart.

domain.md §4.1: `f8 = rate × 8 / interval_hours`. The interval is what the venue says or what two settlements show,
never an assumption: venues change it without notice (§1.2). The map has no price: in `outward` a rate is the same in
every bin, in each side's own orientation, so that above zero the side's positions pay.
"""

import functools
import math
import struct
from collections.abc import Mapping

import numpy as np

from squeeze.heatmaps import funding_kernel
from squeeze.heatmaps.funding_kernel import FORECAST, PLAIN, ROW, SETTLEMENT, SPREAD, STAMP, WEIGHTED, Z
from squeeze.heatmaps.protocol import FIRST, check
from squeeze.market.events import MINUTE_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require

SETTLED, PREDICTED = funding_kernel.SETTLED, funding_kernel.PREDICTED
KINDS = ("settled", "predicted")
NOTHING_SAID = np.zeros(0, dtype=np.int64)
NOTHING_SAID.setflags(write=False)  # as what comes out of `_packed`: one compiled version for both


class FundingSpec(Strict, frozen=True, kw_only=True):
    """Venues, memory, and how long a rate is believed."""

    venues: tuple[str, ...] = ()
    """In the order of the `venue` axis; in an atlas its own."""
    hours: int = 4380
    """How far the matrix goes back: half a year."""
    z_hours: int = 720
    """Window of the z-score: 30 days."""
    z_least: int = 20
    """Rates that this window must hold."""
    longest_interval_hours: int = 8
    """Two settlements further apart than this do not show an interval: one between them may have been missed."""
    stale_minutes: tuple[float, float] = (1440.0, 60.0)
    """Age from which a settled rate and a forecast (and a stamp of open interest) are not believed."""

    def __post_init__(self) -> None:
        require(len(set(self.venues)) == len(self.venues), "venues: none twice")
        require(0 < self.z_hours <= self.hours, "z_hours lies between 1 and hours")
        require(self.z_least > 1 and self.longest_interval_hours > 0, "z_least exceeds 1, longest_interval_hours 0")
        require(min(self.stale_minutes) > 0, "stale_minutes are positive")


class FundingMap:
    """All venues' rates. The column of an hour is (hour, hour + 1]: a settlement at 08:00 is in that of 7.

    The interval of a record is its own where it says, else what the venue's forecasts say, else the whole hours between
    the settlement and the one before; unknown, the rate is NaN. A forecast takes its own, else that of the last
    settlement. Of the forecasts of an hour the last stays.
    """

    def __init__(self, spec: FundingSpec) -> None:
        self.spec = spec
        venues = len(spec.venues)
        self.ring = np.full((2, venues, spec.hours), np.nan)
        """Rates by kind, venue, and hour modulo `hours`."""
        self.past = np.zeros((2, venues, 3))
        """Of the hours of the z-score but the newest: count, mean, sum of squared distances from it."""
        self.rate = np.full((2, venues), np.nan)
        """The newest, per eight hours."""
        self.interval_hours = np.full((2, venues), np.nan)
        """That of the newest whose interval was known."""
        self.event_ns = np.full((2, venues), FIRST, dtype=np.int64)
        self.announced_hours = np.full(venues, np.nan)
        """The interval as the newest forecast that had one says."""
        self.interval_changes = np.zeros((2, venues), dtype=np.int64)
        self.settles_ns = np.zeros(venues, dtype=np.int64)
        """The next settlement as forecast; 0 if unknown."""
        self.open_interest = np.full(venues, np.nan)
        self.stamp_ns = np.full(venues, FIRST, dtype=np.int64)
        self.clock = np.array([0, -1], dtype=np.int64)
        """Close of the last step; newest hour."""
        self._stale_ns = np.array(spec.stale_minutes) * MINUTE_NS
        self._written = (
            self.ring, self.past, self.rate, self.event_ns, self.interval_hours, self.interval_changes,
            self.announced_hours, self.settles_ns, self.open_interest, self.stamp_ns, self.clock, spec.z_hours,
            spec.longest_interval_hours,
        )  # fmt: skip
        self._read = (
            self.ring, self.past, self.rate, self.event_ns, self.interval_hours, self.settles_ns, self.open_interest,
            self.stamp_ns, self.clock, self._stale_ns, spec.z_least,
        )  # fmt: skip
        self.channels = tuple(f"funding_{kind}_{venue}" for kind in KINDS for venue in spec.venues)
        summary = ("mean_bp", "weighted_mean_bp", "spread_bp")
        per_venue = ("bp", "z", "age_minutes")
        self.scalar_names = tuple(
            name
            for kind in KINDS
            for name in (
                *(f"funding_{kind}_{s}" for s in summary),
                *(f"funding_{kind}_{s}_{v}" for s in per_venue for v in spec.venues),
            )
        ) + tuple(f"minutes_to_settlement_{v}" for v in spec.venues)

    def step(self, part: Mapping[str, VenueStep], mark: Candle, close_ns: int) -> None:
        """Take in what each venue settled and forecasts; a venue that is not in `part` said nothing."""
        check(mark, close_ns, int(self.clock[0]))
        said: list[int | float] = []
        forecast_ns = self.event_ns[PREDICTED].tolist()
        for venue, name in enumerate(self.spec.venues):
            step = part.get(name)
            if step is None:
                continue
            for record in step.funding:
                said += SETTLEMENT, venue, record.event_ns, 0, record.funding_rate, record.interval_hours
            if (f := step.forecast) is not None and f.event_ns > forecast_ns[venue]:  # else only carried on
                said += FORECAST, venue, f.event_ns, f.settles_ns, f.funding_rate, f.interval_hours
            for stamp in step.open_interest:
                said += STAMP, venue, stamp.event_ns, 0, stamp.open_interest_base, math.nan
        funding_kernel.step(_packed(said), *self._written, close_ns)

    def matrix(self, kind: int, hours: int) -> np.ndarray:
        """(venue, step): the last `hours` hours, oldest first; NaN where nothing was settled, or forecast, in one."""
        if not 0 < hours <= self.spec.hours:
            raise ValueError(f"hours must lie between 1 and {self.spec.hours}, got {hours}")
        columns = np.arange(int(self.clock[1]) - hours + 1, int(self.clock[1]) + 1) % self.spec.hours
        rates: np.ndarray = self.ring[kind][:, columns]
        return rates

    def rates(self) -> np.ndarray:
        """(kind, venue): the newest rates, NaN where one is stale or its interval is not known."""
        out = np.empty((2, len(self.spec.venues)))
        funding_kernel.rates(self.rate, self.event_ns, self.clock, self._stale_ns, out)
        return out

    def current(self, kind: int) -> np.ndarray:
        """(venue,): those of one kind."""
        rates: np.ndarray = self.rates()[kind]
        return rates

    def age_ns(self, kind: int) -> np.ndarray:
        """(venue,): from the newest rate to the last close; very large before the first."""
        age: np.ndarray = self.clock[0] - self.event_ns[kind]
        return age

    def summary(self, kind: int) -> tuple[float, float, float, float, float]:
        """Over venues: mean rate, lowest, highest, mean z-score, and minutes to the next settlement; NaN for none.

        The mean is weighted by open interest over those venues where that is known, plain where it is of none.
        """
        mean, low, high, score, minutes = funding_kernel.summary(kind, *self._read)
        return mean, low, high, score, minutes

    def mean(self, kind: int) -> tuple[float, float]:
        """Over venues: plain, and weighted by open interest over those where that is known; NaN for none."""
        over, _, _ = self._said()
        return float(over[kind, PLAIN]), float(over[kind, WEIGHTED])

    def spread(self, kind: int) -> float:
        """Highest less lowest rate over venues; NaN for fewer than two."""
        over, _, _ = self._said()
        return float(over[kind, SPREAD])

    def z_score(self, kind: int) -> np.ndarray:
        """(venue,): the newest rate against those in the matrix over `z_hours`, itself included, in deviations."""
        _, each, _ = self._said()
        return each[kind, :, Z]

    def minutes_to_settlement(self) -> np.ndarray:
        """(venue,): as forecast, else one known interval after the last settlement; NaN when that has passed."""
        _, _, minutes = self._said()
        return minutes

    def _said(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        venues = len(self.spec.venues)
        over, each, minutes = np.empty((2, 6)), np.empty((2, venues, 3)), np.empty(venues)
        funding_kernel.read(*self._read, over, each, minutes)
        return over, each, minutes

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): each venue's newest rate, alike at every price: what longs, and what shorts pay."""
        out = np.empty((2, len(self.channels), bins))
        funding_kernel.outward(self.rate, self.event_ns, self.clock, self._stale_ns, out)
        return out

    def scalars(self) -> np.ndarray:
        """By kind, in basis points per eight hours: means and spread, and of each venue rate, z-score and age.

        Rates and z-scores are what this side's positions pay; spreads, ages and the minutes are the same on both sides.
        """
        out = np.empty((2, len(self.scalar_names)))
        funding_kernel.scalars(*self._read, out)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        return {name: getattr(self, name) for name in STATE_ARRAYS}


STATE_ARRAYS = (
    "ring", "past", "rate", "interval_hours", "event_ns", "announced_hours", "interval_changes", "settles_ns",
    "open_interest", "stamp_ns", "clock",
)  # fmt: skip


def _packed(said: list[int | float]) -> np.ndarray:
    """Records as `funding_kernel.step` reads them: times must not become doubles."""
    return np.frombuffer(_packer(len(said) // ROW).pack(*said), dtype=np.int64) if said else NOTHING_SAID


@functools.cache
def _packer(records: int) -> struct.Struct:
    return struct.Struct("=" + "qqqqdd" * records)
