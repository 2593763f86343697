"""Cascades by price and open interest alone (L2, domain.md §5.2), for history without liquidation records.

A condition whose data were not recorded is left out and named. With price alone these are shocks of price and no more.
"""

import numpy as np
from jaxtyping import Float, Int64

from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.outcomes import Bars, Cascades, OpenInterest, latest, merged, trailing_sigma
from squeeze.strict import Strict, require


class PriceCascadeSpec(Strict, frozen=True, kw_only=True):
    """The constants of a cascade by price and open interest (L2)."""

    window_minutes: float = 5.0
    """The return is taken over this, or over a bar where bars are longer."""
    sigmas: float = 4.0
    """It goes against the side by so many standard deviations of such a return over the day before ..."""
    least_move: float = 0.006
    """... and by this: 0.6 % for BTC, 1.2 % for DOT."""
    least_drop: float = 0.006
    """Open interest, in coins, falls by this share over the stamps around the window ..."""
    drop_quantile: float = 0.01
    """... and by this quantile of such changes over thirty days, as it stood at the last UTC midnight."""
    taker_ratio: float = 3.0
    """Takers trade so many times the mean of the hour before against the side."""
    merge_minutes: float = 5.0
    """As in a cascade by prints."""
    cap_minutes: float = 60.0
    """As in a cascade by prints."""

    def __post_init__(self) -> None:
        require(self.window_minutes > 0 and self.cap_minutes > 0, "window_minutes and cap_minutes are positive")


def price_cascades(
    bars: Bars,
    interest: OpenInterest | None = None,
    taker_base: Float[np.ndarray, "row 2"] | None = None,
    spec: PriceCascadeSpec | None = None,
) -> Cascades:
    """Events of both sides, onset at the end of the first window that qualifies; the true onset lies within it.

    `taker_base` holds what takers sold and bought in each bar: what goes against longs, against shorts. Looks ahead to
    the first stamp of open interest after the window.
    """
    spec = spec or PriceCascadeSpec()
    count = max(1, round(spec.window_minutes * MINUTE_NS / bars.length_ns))
    window_ns = count * bars.length_ns
    at = bars.closes_ns
    follows = np.concatenate([np.zeros(count, bool), at[count:] - at[:-count] == window_ns])
    change = np.log(bars.close) - np.concatenate([np.full(count, np.nan), np.log(bars.close[:-count])])
    sigma = trailing_sigma(bars, at - window_ns, DAY_NS) * np.sqrt(count)
    falls = np.ones(len(at), bool) if interest is None else _interest_falls(interest, at, window_ns, spec)
    rows = []
    for side, sign in enumerate((-1.0, 1.0)):
        against = np.where(follows, sign * change, np.nan)
        hit = falls & (against >= np.maximum(spec.sigmas * sigma, -np.log1p(-spec.least_move)))
        if taker_base is not None:
            hit &= _is_busy(taker_base[:, side], count, round(60 * MINUTE_NS / bars.length_ns), spec.taker_ratio)
        spans = merged(at[hit], at[hit], round(spec.merge_minutes * MINUTE_NS), round(spec.cap_minutes * MINUTE_NS))
        places = np.searchsorted(at, [begin for begin, _ in spans])
        rows += [(*span, side, float(against[p])) for span, p in zip(spans, places.tolist(), strict=True)]
    rows.sort()
    onset, end, sides = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    unknown = np.full(len(rows), np.nan)
    moves = np.array([row[3] for row in rows])
    missing = _not_evaluated(interest, taker_base, window_ns, spec)
    return Cascades(onset, end, sides, unknown, unknown, unknown, moves, unknown, window_ns, missing)


def _interest_falls(
    interest: OpenInterest, at: Int64[np.ndarray, " row"], window_ns: int, spec: PriceCascadeSpec
) -> np.ndarray:
    """Whether open interest fell enough over the stamps that enclose (t - window, t]; unknown counts as no."""
    before = latest(interest.times_ns, interest.base, at - window_ns)
    place = np.searchsorted(interest.times_ns, at, "left")
    change = np.append(interest.base, np.nan)[place] / before - 1
    limit = np.full(len(at), np.nan)
    days = at // DAY_NS
    for day in np.unique(days).tolist():
        past = change[(days < day) & (days >= day - 30)]
        past = past[np.isfinite(past)]
        if len(past) >= 200:
            limit[days == day] = max(spec.least_drop, abs(float(np.quantile(past, spec.drop_quantile))))
    return np.asarray(-change >= limit)


def _is_busy(taker_base: np.ndarray, count: int, hour: int, ratio: float) -> np.ndarray:
    """Whether the last `count` bars hold `ratio` times what as many of the hour before them held on average."""
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(taker_base))])
    end = np.arange(1, len(taker_base) + 1)
    begin = end - count
    first = begin - hour
    known = first >= 0
    now = running[end] - running[np.maximum(begin, 0)]
    mean = (running[np.maximum(begin, 0)] - running[np.maximum(first, 0)]) * count / hour
    return np.asarray(known & (now >= ratio * mean) & (mean > 0))


def _not_evaluated(
    interest: OpenInterest | None, taker_base: np.ndarray | None, window_ns: int, spec: PriceCascadeSpec
) -> tuple[str, ...]:
    said = ["basis: the index price was not recorded"]
    if interest is None:
        said.append("least_drop: open interest was not recorded")
    if taker_base is None:
        said.append("taker_ratio: taker flow was not recorded")
    if window_ns != spec.window_minutes * MINUTE_NS:
        said.append(f"window_minutes: windows of {window_ns / MINUTE_NS:g} minutes")
    return tuple(said)
