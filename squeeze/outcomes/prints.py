"""Cascades by prints, or by sums of liquidations (L1, domain.md §5.1)."""

import math

import numpy as np
from jaxtyping import Bool

from squeeze.label_spec import CascadeSpec
from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.outcomes.recorded import (
    Bars,
    Cascades,
    Liquidations,
    OpenInterest,
    Times,
    Values,
    is_recorded,
    latest,
    merged,
    move_log,
    trailing_sigma,
    window_sums,
)


def cascades(
    found: Liquidations,
    bars: Bars,
    interest: OpenInterest | None = None,
    spec: CascadeSpec | None = None,
    since_ns: int | None = None,
) -> Cascades:
    """All cascades of both sides; an onset is the first whole second at which (i) to (iv) hold.

    It looks ahead of an onset by `reach_seconds`, and of an end by `end_seconds`. With `since_ns` it looks for no onset
    before then, and what began before then and still goes on counts as beginning with its next second that qualifies.

    Five longs of 100,000 USD within five seconds, after two quiet days, and the mark falls by 2 %:

    >>> midnight, second = 2 * DAY_NS, SECOND_NS
    >>> at = np.append(np.arange(0, midnight, MINUTE_NS * 30), midnight + np.arange(1, 6) * second)
    >>> usd = np.where(at > midnight, 1e5, 1e3)
    >>> minutes = np.arange(1, 2 * 1440 + 20) * MINUTE_NS
    >>> mark = np.where(minutes > midnight, 98.0, 100 + 0.01 * (-1.0) ** np.arange(len(minutes)))
    >>> found = cascades(Liquidations.prints(at, at * 0, usd), Bars(minutes, mark, mark, mark, MINUTE_NS))
    >>> (found.onset_ns - midnight) // second, found.usd, found.not_evaluated
    (array([5]), array([500000.]), ('open_interest_share: open interest was not recorded',))
    """
    spec = spec or CascadeSpec()
    rows = []
    for side in range(2):
        at = alarms(found, bars, side, interest, spec, since_ns)
        onsets = at[moved(found, bars, at, side, spec)]
        rows += [(*span, side) for span in _merged(found, onsets, side, spec)]
    rows.sort()
    onset, end, sides = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    severity = [_severity(found, bars, interest, *row, _window_ns(found, spec)) for row in rows]
    usd, share, peak, move, drop = np.array(severity).reshape(-1, 5).T
    missing = _not_evaluated(found, bars, interest, spec)
    return Cascades(onset, end, sides, usd, share, peak, move, drop, found.cadence_ns, missing)


def alarms(
    found: Liquidations,
    bars: Bars,
    side: int,
    interest: OpenInterest | None = None,
    spec: CascadeSpec | None = None,
    since_ns: int | None = None,
) -> Times:
    """Whole seconds at which (i), (ii) and (iii) hold, as far as the data can say: causal, usable live.

    Of sums, the ends of intervals. With `since_ns` none before then, which saves the time.
    """
    spec = spec or CascadeSpec()
    window_ns = _window_ns(found, spec)
    own_ns = found.times_ns[found.side == side]
    wanted_ns = own_ns if since_ns is None else own_ns[own_ns > since_ns - window_ns - SECOND_NS]
    at = wanted_ns if found.cadence_ns else _seconds_after(wanted_ns, window_ns)
    at = at if since_ns is None else at[at >= since_ns]
    at = at[is_recorded(found, at)]
    own, other = (window_sums(found, s, at, window_ns) for s in (side, 1 - side))
    limit = np.maximum(_quantiles(found, side, at, window_ns, spec), spec.floor_usd)  # NaN stays: nothing exceeds it
    if interest is not None:
        held_usd = latest(interest.times_ns, interest.base, at) * latest(bars.closes_ns, bars.close, at)
        limit = np.where(np.isnan(held_usd), limit, np.maximum(limit, spec.open_interest_share * held_usd))
    loud = (own >= limit) & (own >= spec.side_share * (own + other))
    if not found.cadence_ns:
        loud &= (
            np.searchsorted(own_ns, at, "right") - np.searchsorted(own_ns, at - window_ns, "right") >= spec.least_prints
        )
    return np.asarray(at[loud])


def moved(found: Liquidations, bars: Bars, at: Times, side: int, spec: CascadeSpec) -> Bool[np.ndarray, " _"]:
    """(iv): whether the mark went far enough against the side, from the window's begin to `reach_seconds` after.

    Of the bars that close in that time, so a bar that is longer than the reach stretches it to its own length. Unknown
    counts as no.
    """
    window_ns, ahead_ns = _window_ns(found, spec), reach_ns(bars, spec)
    begin, until = at - window_ns, at + ahead_ns
    path_minutes = (window_ns + ahead_ns) / MINUTE_NS
    sigma = trailing_sigma(bars, at, round(spec.sigma_hours * 60 * MINUTE_NS)) * math.sqrt(MINUTE_NS / bars.length_ns)
    move = np.array([move_log(bars, int(a), int(b), side) for a, b in zip(begin, until, strict=True)])
    return np.asarray(move >= spec.move_sigmas * sigma * math.sqrt(path_minutes))


def watched(found: Liquidations, side: int, at: Times, spec: CascadeSpec | None = None) -> Bool[np.ndarray, " _"]:
    """Whether an onset at a time would have been found: it was recorded, and so was enough before it."""
    return np.asarray(is_recorded(found, at) & has_quantile(found, side, at, spec))


def has_quantile(found: Liquidations, side: int, at: Times, spec: CascadeSpec | None = None) -> Bool[np.ndarray, " _"]:
    """Whether enough was recorded before the UTC day of each time for the quantile of (i)."""
    spec = spec or CascadeSpec()
    return np.asarray(np.isfinite(_quantiles(found, side, at, _window_ns(found, spec), spec)))


def _merged(found: Liquidations, onsets: Times, side: int, spec: CascadeSpec) -> list[tuple[int, int]]:
    cap_ns = round(spec.cap_minutes * MINUTE_NS)
    ends = np.array([_end(found, int(t), side, cap_ns, spec) for t in onsets], np.int64)
    return merged(onsets, ends, round(spec.merge_minutes * MINUTE_NS), cap_ns)


def _end(found: Liquidations, onset_ns: int, side: int, cap_ns: int, spec: CascadeSpec) -> int:
    """Where the window's sum begins to stay below its share of the running peak."""
    window_ns, hold_ns = _window_ns(found, spec), round(spec.end_seconds * SECOND_NS)
    until = onset_ns + cap_ns
    low, high = np.searchsorted(found.times_ns, [onset_ns - window_ns, until + hold_ns], "right").tolist()
    near = found.between(low, high)
    own = near.times_ns[near.side == side]
    changes = np.sort(np.concatenate([own, own + window_ns]))
    changes = np.append(onset_ns, changes[changes > onset_ns])
    sums = window_sums(near, side, changes, window_ns)
    below = sums < spec.end_share * np.maximum.accumulate(sums)
    began = None
    for at, is_below in zip(changes.tolist(), below.tolist(), strict=True):
        if began is not None and at - began >= hold_ns:
            break
        began = (at if began is None else began) if is_below else None
    return until if began is None else min(began, until)


def _severity(
    found: Liquidations,
    bars: Bars,
    interest: OpenInterest | None,
    onset_ns: int,
    end_ns: int,
    side: int,
    window_ns: int,
) -> tuple[float, float, float, float, float]:
    """USD, share of open interest, peak sum, move, and the share of open interest that went."""
    at = np.array([onset_ns, end_ns])
    usd = float(window_sums(found, side, at[1:], end_ns - onset_ns + window_ns)[0])
    own = found.times_ns[(found.side == side) & (found.times_ns >= onset_ns) & (found.times_ns <= end_ns)]
    peak = float(window_sums(found, side, np.append(onset_ns, own), window_ns).max())
    move = move_log(bars, onset_ns - window_ns, end_ns, side)
    if interest is None:
        return usd, math.nan, peak, move, math.nan
    before, after = latest(interest.times_ns, interest.base, at).tolist()
    price = float(latest(bars.closes_ns, bars.close, at)[0])
    return usd, usd / (before * price), peak, move, 1 - after / before


def _quantiles(found: Liquidations, side: int, at: Times, window_ns: int, spec: CascadeSpec) -> Values:
    """The side's quantile of window sums at the UTC midnight before each time; NaN where too little was recorded."""
    out = np.full(len(at), np.nan)
    ends, sums = _cells(found, side, window_ns)
    for day in np.unique(at // DAY_NS).tolist():
        low, high = np.searchsorted(ends, [day * DAY_NS - round(spec.trailing_days * DAY_NS), day * DAY_NS], "right")
        if (high - low) * window_ns >= spec.least_days * DAY_NS:
            out[at // DAY_NS == day] = np.quantile(sums[low:high], spec.quantile)
    return out


def _cells(found: Liquidations, side: int, window_ns: int) -> tuple[Times, Values]:
    """Ends and sums of all recorded windows that lie side by side."""
    if found.cadence_ns:
        own = found.side == side
        return found.times_ns[own], found.usd[own]
    stretches = [
        np.arange(-(-begin // window_ns) + 1, end // window_ns + 1) for begin, end in found.recorded_ns.tolist()
    ]
    ends = np.concatenate([np.zeros(0, np.int64), *stretches]) * window_ns
    return ends, window_sums(found, side, ends, window_ns)


def _seconds_after(times_ns: Times, window_ns: int) -> Times:
    """The whole seconds that have one of the times in the window before them."""
    first = np.unique(-(-times_ns // SECOND_NS))
    return np.unique(first[:, None] + np.arange(window_ns // SECOND_NS)) * SECOND_NS


def _window_ns(found: Liquidations, spec: CascadeSpec) -> int:
    return found.cadence_ns or round(spec.window_seconds * SECOND_NS)


def reach_ns(bars: Bars, spec: CascadeSpec) -> int:
    """How far (iv) looks ahead of an onset: `reach_seconds`, or a bar that is longer."""
    return max(round(spec.reach_seconds * SECOND_NS), bars.length_ns)


def _not_evaluated(
    found: Liquidations, bars: Bars, interest: OpenInterest | None, spec: CascadeSpec
) -> tuple[str, ...]:
    said = []
    if found.cadence_ns:
        length = found.cadence_ns // SECOND_NS
        said.append(f"window_seconds: sums of {length} s take the place of {spec.window_seconds:g} s")
        said.append("least_prints: sums hold no count")
    if interest is None:
        said.append("open_interest_share: open interest was not recorded")
    if bars.length_ns > spec.reach_seconds * SECOND_NS:
        said.append(f"reach_seconds: bars of {bars.length_ns // SECOND_NS} s stretch the reach")
    elif bars.length_ns > MINUTE_NS:
        said.append(f"move_sigmas: deviation and extreme are those of bars of {bars.length_ns // SECOND_NS} s")
    return tuple(said)
