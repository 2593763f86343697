"""Cascades by price and open interest (L2, domain.md §5.2), for history without liquidation records.

A condition whose data were not recorded is left out and named. With price alone these are shocks of price and no more.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from squeeze.label_spec import PriceCascadeSpec
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.outcomes.recorded import Bars, Cascades, OpenInterest, Times, Values, merged, trailing_sigma

LEAST_CHANGES = 200
"""Changes of open interest that a quantile of them needs."""

BySide = Float[np.ndarray, "row 2"]


@dataclass(frozen=True, slots=True, eq=False)
class PriceMeasures:
    """What the conditions of L2 look at, by bar, over the window that ends with it; NaN where it is not known.

    What was never recorded is None, and is named in `not_evaluated`. `drop_share` looks ahead to the stamp after the
    window; all else was known at the bar's close.
    """

    closes_ns: Times
    length_ns: int
    window_ns: int
    against_log: BySide
    """The return, as it goes against longs and against shorts."""
    sigma_log: Values
    """Standard deviation of such a return over the day before the window."""
    drop_share: Values | None
    """Share of open interest, in base coins, that went over the stamps around the window."""
    usual_drop_share: Values | None
    """The quantile of such shares that had been seen by the last UTC midnight."""
    taker_ratio: BySide | None
    """What takers traded against a side, in multiples of the mean of the hour before."""
    basis_log: BySide | None
    """How far mark moved from index, as it goes against each side."""
    not_evaluated: tuple[str, ...]

    @property
    def watched(self) -> Bool[np.ndarray, " row"]:
        """Whether a window that qualified would have been found."""
        parts = (self.against_log, self.sigma_log, self.drop_share, self.usual_drop_share, self.taker_ratio)
        known = np.ones(len(self.closes_ns), bool)
        for part in (*parts, self.basis_log):
            if part is not None:
                known &= np.isfinite(part if part.ndim == 1 else part.sum(axis=1))
        return known


def price_cascades(
    bars: Bars,
    interest: OpenInterest | None = None,
    taker_base: BySide | None = None,
    spec: PriceCascadeSpec | None = None,
    basis_log: Values | None = None,
) -> Cascades:
    """Events of both sides, onset at the end of the first window that qualifies; the true onset lies within it.

    `taker_base` holds what takers sold and bought in each bar: what goes against longs, against shorts. `basis_log` is
    the log of mark over index at each close. Looks ahead of an onset by `reach_minutes`, for open interest alone.

    A day of quiet minutes, then a fall of 1 % within one:

    >>> minutes = np.arange(1, 1500) * MINUTE_NS
    >>> close = np.where(np.arange(1499) < 1450, 100 + 0.01 * (-1.0) ** np.arange(1499), 99.0)
    >>> found = price_cascades(Bars(minutes, close, close, close, MINUTE_NS))
    >>> found.onset_ns // MINUTE_NS, found.side, found.not_evaluated[1]
    (array([1451]), array([0]), 'least_drop: open interest was not recorded')
    """
    spec = spec or PriceCascadeSpec()
    return cascades_of(price_measures(bars, interest, taker_base, spec, basis_log), spec)


def cascades_of(seen: PriceMeasures, spec: PriceCascadeSpec) -> Cascades:
    """The events that measures make; they are of the same windows and quantiles as `spec`."""
    at = seen.closes_ns
    merge_ns = max(round(spec.merge_minutes * MINUTE_NS), seen.length_ns + 1)  # bars side by side are one event
    rows = []
    for side in range(2):
        against = seen.against_log[:, side]
        hit = against >= np.maximum(spec.sigmas * seen.sigma_log, -np.log1p(-spec.least_move))
        if seen.drop_share is not None and seen.usual_drop_share is not None:
            hit &= seen.drop_share >= np.maximum(spec.least_drop, seen.usual_drop_share)
        if seen.taker_ratio is not None:
            hit &= seen.taker_ratio[:, side] >= spec.taker_ratio
        if seen.basis_log is not None:
            hit &= seen.basis_log[:, side] > 0
        spans = merged(at[hit], at[hit], merge_ns, round(spec.cap_minutes * MINUTE_NS))
        places = np.searchsorted(at, [begin for begin, _ in spans])
        rows += [(*span, side, float(against[p])) for span, p in zip(spans, places.tolist(), strict=True)]
    rows.sort()
    onset, end, sides = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    unknown, moves = np.full(len(rows), np.nan), np.array([row[3] for row in rows], float)
    return Cascades(onset, end, sides, unknown, unknown, unknown, moves, unknown, seen.window_ns, seen.not_evaluated)


def price_measures(
    bars: Bars,
    interest: OpenInterest | None,
    taker_base: BySide | None,
    spec: PriceCascadeSpec,
    basis_log: Values | None = None,
) -> PriceMeasures:
    """What the conditions look at; of `spec` only windows, quantiles and how far back they go."""
    count = max(1, round(spec.window_minutes * MINUTE_NS / bars.length_ns))
    window_ns, at = count * bars.length_ns, bars.closes_ns
    change = _change(np.log(bars.close), bars, count)
    sigma = trailing_sigma(bars, at - window_ns, round(spec.sigma_hours * HOUR_NS)) * np.sqrt(count)
    drop = usual = taker = basis = None
    if interest is not None:
        drop, known_ns = _drops(interest, at, window_ns, round(spec.reach_minutes * MINUTE_NS))
        usual = _usual_drops(drop, known_ns, at, spec)
    if taker_base is not None:
        hour = max(1, round(HOUR_NS / bars.length_ns))
        taker = np.stack([_busyness(taker_base[:, side], bars, count, hour) for side in range(2)], axis=1)
    if basis_log is not None:
        basis = _sides(_change(basis_log, bars, count))
    missing = _not_evaluated(drop, taker, basis, window_ns, spec)
    return PriceMeasures(at, bars.length_ns, window_ns, _sides(change), sigma, drop, usual, taker, basis, missing)


def _sides(rise_log: Values) -> BySide:
    """A rise as it goes against longs and against shorts."""
    return np.stack([-rise_log, rise_log], axis=1)


def _change(values: Values, bars: Bars, count: int) -> Values:
    """By how much values rose over `count` bars that follow each other; NaN where they do not."""
    out = np.full(len(values), np.nan)
    follows = bars.closes_ns[count:] - bars.closes_ns[:-count] == count * bars.length_ns
    out[count:] = np.where(follows, values[count:] - values[:-count], np.nan)
    return out


def _drops(interest: OpenInterest, at: Times, window_ns: int, reach_ns: int) -> tuple[Values, Times]:
    """Share of open interest that went over the stamps that enclose (t - window, t], and when that was known.

    NaN where a stamp lies more than `reach_ns` outside the window: what is not recorded is no calm.
    """
    stamps = interest.times_ns
    before = np.searchsorted(stamps, at - window_ns, "right") - 1
    after = np.searchsorted(stamps, at, "left")
    inside = (before >= 0) & (after < len(stamps))
    before, after = np.maximum(before, 0), np.minimum(after, max(len(stamps) - 1, 0))
    if not len(stamps):
        return np.full(len(at), np.nan), at
    inside &= (at - window_ns - stamps[before] <= reach_ns) & (stamps[after] - at <= reach_ns)
    return np.where(inside, 1 - interest.base[after] / interest.base[before], np.nan), stamps[after]


def _usual_drops(drop: Values, known_ns: Times, at: Times, spec: PriceCascadeSpec) -> Values:
    """The quantile of the drops that were known at the last UTC midnight; NaN where there were too few."""
    usual = np.full(len(at), np.nan)
    seen = np.isfinite(drop)
    times, drops = known_ns[seen], drop[seen]
    days = at // DAY_NS
    for day in np.unique(days).tolist():
        low, high = np.searchsorted(times, [day * DAY_NS - round(spec.trailing_days * DAY_NS), day * DAY_NS], "right")
        if high - low >= LEAST_CHANGES:
            usual[days == day] = abs(float(np.quantile(drops[low:high], 1 - spec.drop_quantile)))
    return usual


def _busyness(taken: Values, bars: Bars, count: int, hour: int) -> Values:
    """What the last `count` bars hold, in multiples of what as many of the hour before them held on average.

    NaN where one of those bars was not recorded, and where nothing was traded in that hour.
    """
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(taken))])
    unknown = np.concatenate([[0], np.cumsum(np.isnan(taken))])
    end = np.arange(count + hour, len(taken) + 1)
    begin, first = end - count, end - count - hour
    mean = (running[begin] - running[first]) * count / hour
    span_ns = bars.closes_ns[end - 1] - bars.closes_ns[first]
    whole = (unknown[end] == unknown[first]) & (span_ns == (count + hour - 1) * bars.length_ns)
    out = np.full(len(taken), np.nan)
    out[end - 1] = np.where(whole & (mean > 0), (running[end] - running[begin]) / np.where(mean > 0, mean, 1.0), np.nan)
    return out


def _not_evaluated(
    drop: Values | None, taker: BySide | None, basis: BySide | None, window_ns: int, spec: PriceCascadeSpec
) -> tuple[str, ...]:
    said = []
    if basis is None:
        said.append("basis: the index price was not recorded")
    if drop is None:
        said.append("least_drop: open interest was not recorded")
    if taker is None:
        said.append("taker_ratio: taker flow was not recorded")
    if window_ns != spec.window_minutes * MINUTE_NS:
        said.append(f"window_minutes: windows of {window_ns / MINUTE_NS:g} minutes")
    return tuple(said)
