"""Events beside the times they are matched with: estimate, null, and intervals from whole UTC days drawn anew.

The null is exact, without drawing controls: in each stratum it is the mean over all matched times, and strata weigh as
much as they hold events. A draw takes days with replacement, for events and matched times alike, so that the two are
paired and what one day shares stays together.
"""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int

ENOUGH_EVENTS = 50
"""Below this a figure is inconclusive, whatever its interval says."""
ENOUGH_OUTCOMES = 5
"""Nor does a share say much of which fewer events than this came true, or failed to."""
DRAWS = 2000

Rows = Int[np.ndarray, " _"]
Values = Float[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One value for each time: `over / under`, where `under` is 1 for a plain mean; and the step it belongs to."""

    over: Values
    under: Values
    step: Rows
    stratum: Rows

    def where(self, kept: Bool[np.ndarray, " row"] | Rows) -> "Group":
        """The rows of a mask or of positions."""
        return Group(self.over[kept], self.under[kept], self.step[kept], self.stratum[kept])

    @property
    def known(self) -> Bool[np.ndarray, " row"]:
        """Rows whose value was recorded."""
        return np.asarray(np.isfinite(self.over) & np.isfinite(self.under))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Events and the times they are matched with, stratum by stratum."""

    events: Group
    matched: Group
    is_median: bool = False
    """Compare medians of the values rather than Σ over / Σ under."""

    def usable(self) -> "Sample":
        """Without unknown values, and without events that nothing matches or times that match nothing."""
        events, matched = self.events.where(self.events.known), self.matched.where(self.matched.known)
        if self.is_median:  # of ratios, which need something to divide by
            events, matched = events.where(events.under != 0), matched.where(matched.under != 0)
        events = events.where(np.isin(events.stratum, matched.stratum))
        return replace(self, events=events, matched=matched.where(np.isin(matched.stratum, events.stratum)))


class Figures(msgspec.Struct, frozen=True):
    """A figure and its null; `low` and `high` bound estimate - null in 95 % of the draws, the others the lift."""

    n: int
    estimate: float
    null: float
    low: float
    high: float
    lift: float
    lift_low: float
    lift_high: float
    rarer: int
    """Of events that come true or not, how many are of the rarer outcome; `n` for other values."""

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.n < ENOUGH_EVENTS:
            return f"inconclusive: {self.n} of {ENOUGH_EVENTS} events"
        if self.rarer < ENOUGH_OUTCOMES:
            return f"inconclusive: {self.rarer} of the rarer outcome"
        if not self.low <= self.high:
            return "inconclusive: no interval"
        return "above the null" if self.low > 0 else "below the null" if self.high < 0 else "not shown"


def compare(sample: Sample, day_of_step: Rows, draws: int = DRAWS, seed: int = 0) -> Figures:
    """Estimate, null and intervals of a sample; NaN where there is nothing to compare. The same seed, the same figures.

    >>> day = np.arange(4)
    >>> events = Group(np.array([1.0, 1.0, 0.0]), np.ones(3), np.array([0, 1, 2]), np.array([0, 0, 1]))
    >>> matched = Group(np.array([1.0, 0.0, 0.0]), np.ones(3), np.array([0, 1, 3]), np.array([0, 0, 1]))
    >>> figures = compare(Sample(events, matched), day)
    >>> round(figures.estimate, 3), round(figures.null, 3), figures.lift
    (0.667, 0.333, 2.0)
    """
    sample = sample.usable()
    n = len(sample.events.step)
    if n == 0:
        return Figures(0, *(np.nan,) * 7, 0)
    days, stratum = np.unique(day_of_step[sample.events.step]), np.unique(sample.events.stratum)
    days = np.union1d(days, day_of_step[sample.matched.step])
    weights = np.random.default_rng(seed).multinomial(len(days), np.full(len(days), 1 / len(days)), size=draws)
    weights = np.concatenate([np.ones((1, len(days))), weights.astype(float)])  # the first is what was observed
    figures = _medians if sample.is_median else _means
    places = tuple(np.searchsorted(days, day_of_step[g.step]) for g in (sample.events, sample.matched))
    estimate, null = figures(_numbered(sample, stratum), places, weights, len(stratum))
    with np.errstate(divide="ignore", invalid="ignore"):
        difference, lift = estimate - null, estimate / null
    values = sample.events.over
    is_share = bool(np.isin(values, (0.0, 1.0)).all() and (sample.events.under == 1).all())
    rarer = int(min(values.sum(), n - values.sum())) if is_share else n
    return Figures(
        n, float(estimate[0]), float(null[0]), *_interval(difference[1:]), float(lift[0]), *_interval(lift[1:]), rarer
    )


def against(values: Values, steps: Rows, claim: float, day_of_step: Rows, draws: int = DRAWS, seed: int = 0) -> Figures:
    """The median of values beside a claimed constant; the interval is by whole days as in `compare`."""
    ones, zeros = np.ones(len(values)), np.zeros(len(values), np.int64)
    events = Group(values, ones, steps, zeros)
    return compare(Sample(events, replace(events, over=np.full(len(values), claim)), True), day_of_step, draws, seed)


def _numbered(sample: Sample, stratum: Rows) -> Sample:
    """The same with strata counted from 0."""
    events, matched = (replace(g, stratum=np.searchsorted(stratum, g.stratum)) for g in (sample.events, sample.matched))
    return replace(sample, events=events, matched=matched)


def _means(
    sample: Sample, places: tuple[Rows, Rows], weights: np.ndarray, strata: int
) -> tuple[np.ndarray, np.ndarray]:
    """Σ over / Σ under of events, and of matched times standardised to the events' strata, for each row of weights."""
    days = weights.shape[1]
    events, matched = sample.events, sample.matched

    def drawn(group: Group, place: Rows, values: np.ndarray) -> np.ndarray:
        cells = np.bincount(place * strata + group.stratum, values, days * strata).reshape(days, strata)
        return np.asarray(weights @ cells)

    ones_e, ones_m = np.ones(len(events.step)), np.ones(len(matched.step))
    over, under, count = (drawn(matched, places[1], v) for v in (matched.over, matched.under, ones_m))
    held = drawn(events, places[0], ones_e)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_over, mean_under = over / count, under / count
        # A stratum that a draw left without matched times keeps its observed mean.
        mean_over = np.where(count > 0, mean_over, mean_over[:1])
        mean_under = np.where(count > 0, mean_under, mean_under[:1])
        null = (held * mean_over).sum(axis=1) / (held * mean_under).sum(axis=1)
        totals = [weights @ np.bincount(places[0], v, days) for v in (events.over, events.under)]
        return totals[0] / totals[1], null


def _medians(
    sample: Sample, places: tuple[Rows, Rows], weights: np.ndarray, strata: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same for weighted medians of over / under."""
    events, matched = sample.events, sample.matched
    orders = [np.argsort(g.over / g.under, kind="stable") for g in (events, matched)]
    values = [(g.over / g.under)[order] for g, order in zip((events, matched), orders, strict=True)]
    found = np.empty((2, len(weights)))
    for draw, weight in enumerate(weights):
        own, other = (weight[place] for place in places)
        held, count = (np.bincount(g.stratum, w, strata) for g, w in ((events, own), (matched, other)))
        share = np.divide(held, count, out=np.zeros(strata), where=count > 0)
        for i, w in enumerate((own, other * share[matched.stratum])):
            found[i, draw] = _weighted_median(values[i], w[orders[i]])
    return found[0], found[1]


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value at which half of the weight is reached, the mean of two where it is reached just between them."""
    running = np.cumsum(weights)
    if running[-1] <= 0:
        return np.nan
    half = running[-1] / 2
    low, high = np.searchsorted(running, [half * (1 - 1e-12), half * (1 + 1e-12)])
    return float(values[low] + values[min(high, len(values) - 1)]) / 2


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2:
        return np.nan, np.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
