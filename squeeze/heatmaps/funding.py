"""The funding heatmap: venue × hour of the rate per eight hours, settled and predicted apart.

domain.md §4.1: `f8 = rate × 8 / interval_hours`. The interval is what the venue says or what two settlements show,
never an assumption: venues change it without notice (§1.2). The map has no price: in `outward` a rate is the same in
every bin, in each side's own orientation, so that above zero the side's positions pay.
"""

import math
from collections.abc import Mapping

import numpy as np

from squeeze.heatmaps.protocol import FIRST, check
from squeeze.market.events import HOUR_NS, MINUTE_NS, Funding, FundingForecast
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require

SETTLED, PREDICTED = 0, 1
KINDS = ("settled", "predicted")


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
        self._advance(close_ns)
        for venue, name in enumerate(self.spec.venues):
            step = part.get(name)
            if step is None:
                continue
            for record in step.funding:
                self._settle(venue, record)
            if step.forecast is not None:
                self._forecast(venue, step.forecast)
            for stamp in step.open_interest:
                if 0 < stamp.open_interest_base < math.inf and stamp.event_ns > self.stamp_ns[venue]:
                    self.open_interest[venue], self.stamp_ns[venue] = stamp.open_interest_base, stamp.event_ns

    def _advance(self, close_ns: int) -> None:
        number, newest = (close_ns - 1) // HOUR_NS, int(self.clock[1])
        if newest >= 0:
            fresh = np.arange(newest + 1, min(number, newest + self.spec.hours) + 1)
            self.ring[:, :, fresh % self.spec.hours] = np.nan
        self.clock[:] = close_ns, number

    def _settle(self, venue: int, record: Funding) -> None:
        before_ns = int(self.event_ns[SETTLED, venue])
        if not math.isfinite(record.funding_rate) or record.event_ns <= before_ns:
            return
        hours = _known(record.interval_hours)
        if math.isnan(hours):
            hours = float(self.announced_hours[venue])
        if math.isnan(hours) and before_ns != FIRST:
            hours = self._between(before_ns, record.event_ns)
        self._put(SETTLED, venue, record.funding_rate, hours, record.event_ns)

    def _forecast(self, venue: int, forecast: FundingForecast) -> None:
        if forecast.event_ns <= self.event_ns[PREDICTED, venue]:
            return
        self.settles_ns[venue] = forecast.settles_ns
        if math.isfinite(forecast.funding_rate):
            hours = _known(forecast.interval_hours)
            if math.isnan(hours):
                hours = float(self.interval_hours[SETTLED, venue])
            else:
                self.announced_hours[venue] = hours
            self._put(PREDICTED, venue, forecast.funding_rate, hours, forecast.event_ns)

    def _between(self, before_ns: int, event_ns: int) -> float:
        """Whole hours between two settlements, a minute more or less; NaN if they show no interval."""
        apart = (event_ns - before_ns) / HOUR_NS
        hours = round(apart)
        is_interval = 1 <= hours <= self.spec.longest_interval_hours and abs(apart - hours) <= 1 / 60
        return float(hours) if is_interval else math.nan

    def _put(self, kind: int, venue: int, rate: float, hours: float, event_ns: int) -> None:
        if not math.isnan(hours):
            before = self.interval_hours[kind, venue]
            self.interval_changes[kind, venue] += not math.isnan(before) and before != hours
            self.interval_hours[kind, venue] = hours
        eight_hours = rate * 8 / hours
        self.rate[kind, venue], self.event_ns[kind, venue] = eight_hours, event_ns
        newest = int(self.clock[1])
        column = newest if kind == PREDICTED else min((event_ns - 1) // HOUR_NS, newest)
        if column > newest - self.spec.hours:
            self.ring[kind, venue, column % self.spec.hours] = eight_hours

    def matrix(self, kind: int, hours: int) -> np.ndarray:
        """(venue, step): the last `hours` hours, oldest first; NaN where nothing was settled, or forecast, in one."""
        if not 0 < hours <= self.spec.hours:
            raise ValueError(f"hours must lie between 1 and {self.spec.hours}, got {hours}")
        columns = np.arange(int(self.clock[1]) - hours + 1, int(self.clock[1]) + 1) % self.spec.hours
        rates: np.ndarray = self.ring[kind][:, columns]
        return rates

    def current(self, kind: int) -> np.ndarray:
        """(venue,): the newest rate of each, NaN where it is stale or its interval is not known."""
        return np.where(self.age_ns(kind) <= self.spec.stale_minutes[kind] * MINUTE_NS, self.rate[kind], np.nan)

    def age_ns(self, kind: int) -> np.ndarray:
        """(venue,): from the newest rate to the last close; very large before the first."""
        age: np.ndarray = self.clock[0] - self.event_ns[kind]
        return age

    def mean(self, kind: int) -> tuple[float, float]:
        """Over venues: plain, and weighted by open interest over those where that is known; NaN for none."""
        rate = self.current(kind)
        recent = self.clock[0] - self.stamp_ns <= self.spec.stale_minutes[PREDICTED] * MINUTE_NS
        weight = np.where(recent, self.open_interest, np.nan)
        plain, weighed = np.isfinite(rate), np.isfinite(rate * weight)
        return (
            float(rate[plain].mean()) if plain.any() else math.nan,
            float(np.average(rate[weighed], weights=weight[weighed])) if weighed.any() else math.nan,
        )

    def spread(self, kind: int) -> float:
        """Highest less lowest rate over venues; NaN for fewer than two."""
        rate = self.current(kind)
        rate = rate[np.isfinite(rate)]
        return float(rate.max() - rate.min()) if rate.size > 1 else math.nan

    def z_score(self, kind: int) -> np.ndarray:
        """(venue,): the newest rate against those in the matrix over `z_hours`, itself included, in deviations."""
        out, current = np.full(len(self.spec.venues), np.nan), self.current(kind)
        for venue, row in enumerate(self.matrix(kind, self.spec.z_hours)):
            held = row[np.isfinite(row)]
            if held.size >= self.spec.z_least and (deviation := float(held.std())) > 1e-12:
                out[venue] = (current[venue] - held.mean()) / deviation
        return out

    def minutes_to_settlement(self) -> np.ndarray:
        """(venue,): as forecast, else one known interval after the last settlement; NaN when that has passed."""
        last, hours = self.event_ns[SETTLED], self.interval_hours[SETTLED]
        known = (last != FIRST) & np.isfinite(hours)
        reckoned = np.where(known, last - self.clock[0] + np.where(known, hours, 0.0) * HOUR_NS, np.nan)
        left = np.where(self.settles_ns > self.clock[0], self.settles_ns - self.clock[0], reckoned) / MINUTE_NS
        return np.where(left > 0, left, np.nan)

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): each venue's newest rate, alike at every price: what longs, and what shorts pay."""
        rates = np.concatenate([self.current(SETTLED), self.current(PREDICTED)])
        return np.stack([rates, -rates])[:, :, None] * np.ones(bins)

    def scalars(self) -> np.ndarray:
        """By kind, in basis points per eight hours: means and spread, and of each venue rate, z-score and age.

        Rates and z-scores are what this side's positions pay; spreads, ages and the minutes are the same on both sides.
        """
        sign = np.array([[1.0], [-1.0]])
        both = np.ones((2, 1))
        columns = []
        for kind in (SETTLED, PREDICTED):
            age = np.where(self.event_ns[kind] == FIRST, np.nan, self.age_ns(kind) / MINUTE_NS)
            columns += [
                sign * np.array(self.mean(kind)) * 1e4,
                both * self.spread(kind) * 1e4,
                sign * self.current(kind) * 1e4,
                sign * self.z_score(kind),
                both * age,
            ]
        return np.concatenate([*columns, both * self.minutes_to_settlement()], axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        return {name: getattr(self, name) for name in STATE_ARRAYS}


STATE_ARRAYS = (
    "ring",
    "rate",
    "interval_hours",
    "event_ns",
    "announced_hours",
    "interval_changes",
    "settles_ns",
    "open_interest",
    "stamp_ns",
    "clock",
)


def _known(hours: float) -> float:
    """An interval as recorded; NaN for one that is none."""
    return hours if 0 < hours < math.inf else math.nan
