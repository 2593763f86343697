"""What happened after: cascades, found in prints (domain.md §5.1) or in price and open interest alone (§5.2).

Outcomes look ahead and serve labels, studies and grading; the live path never imports them. An onset at t0 depends on
nothing later than t0 + `reach_seconds`. All times are UTC nanoseconds, all windows are (t - window, t].
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.strict import Strict, require

Times = Int64[np.ndarray, " _"]
Values = Float[np.ndarray, " _"]


class CascadeSpec(Strict, frozen=True, kw_only=True):
    """The constants of a cascade by prints (L1)."""

    window_seconds: float = 60.0
    """Liquidated USD are summed over this; coarser sums are taken as they come."""
    quantile: float = 0.995
    """(i) The sum reaches this quantile of the side's recorded window sums ..."""
    trailing_days: float = 30.0
    """... over so many days, as it stood at the last UTC midnight ..."""
    least_days: float = 1.0
    """... if at least this much of them was recorded; before that there is no onset."""
    open_interest_share: float = 1e-4
    """(i) ... and this share of open interest, where it is known ..."""
    floor_usd: float = 250_000.0
    """(i) ... and this: 250,000 for BTC, 20,000 for DOT."""
    least_prints: int = 5
    """(ii) So many prints of the side in the window."""
    side_share: float = 0.8
    """(iii) The side's share of all that was liquidated in the window."""
    move_sigmas: float = 3.0
    """(iv) Mark moves against the side by so many standard deviations of its path; known only afterwards."""
    reach_seconds: float = 300.0
    """(iv) ... from the window's begin to the extreme within this after the onset."""
    sigma_hours: float = 24.0
    """(iv) ... where the deviation is that of the trailing returns over this."""
    end_share: float = 0.2
    """A cascade ends when the sum has stayed below this share of its peak ..."""
    end_seconds: float = 60.0
    """... for so long; the end is where that began."""
    merge_minutes: float = 5.0
    """An onset less than this after an end belongs to the cascade before."""
    cap_minutes: float = 60.0
    """No cascade is longer."""

    def __post_init__(self) -> None:
        require(0 < self.window_seconds <= 3600, "window_seconds lies in (0, 3600]")
        require(0 < self.quantile < 1 and 0 < self.end_share < 1, "quantile and end_share lie between 0 and 1")
        require(0 < self.side_share <= 1 and self.least_prints >= 1, "side_share and least_prints are positive")
        require(self.least_days > 0 and self.trailing_days >= self.least_days, "trailing_days holds least_days")
        require(self.cap_minutes > 0 and self.merge_minutes >= 0, "cap_minutes is positive, merge_minutes not negative")


@dataclass(frozen=True, slots=True, eq=False)
class Liquidations:
    """Liquidated USD in rising time; `cadence_ns` is 0 for prints, else the length of the sums, stamped at their end.

    `recorded_ns` holds the stretches (begin, end] in which silence means zero; outside them nothing is known.
    """

    times_ns: Int64[np.ndarray, " row"]
    side: Int64[np.ndarray, " row"]
    usd: Float[np.ndarray, " row"]
    cadence_ns: int
    recorded_ns: Int64[np.ndarray, "stretch 2"]

    @classmethod
    def prints(cls, times_ns: np.ndarray, side: np.ndarray, usd: np.ndarray) -> "Liquidations":
        """Prints; a stretch is a run of UTC days that have any, from its first print to its last."""
        order = np.argsort(times_ns, kind="stable")
        at = times_ns[order]
        starts = np.flatnonzero(np.diff(at // DAY_NS, prepend=-2) > 1) if len(at) else np.zeros(0, np.int64)
        ends = np.append(starts[1:], len(at))[: len(starts)] - 1
        return cls(at, side[order].astype(np.int64), usd[order], 0, np.stack([at[starts] - 1, at[ends]], axis=1))

    @classmethod
    def sums(cls, ends_ns: np.ndarray, cadence_ns: int, long_usd: np.ndarray, short_usd: np.ndarray) -> "Liquidations":
        """Sums of both sides over intervals up to `ends_ns`; one that is NaN was not recorded."""
        order = np.argsort(ends_ns, kind="stable")
        order = order[np.isfinite(long_usd[order] + short_usd[order])]
        at = ends_ns[order]
        usd = np.stack([long_usd[order], short_usd[order]], axis=1).reshape(-1)
        return cls(
            np.repeat(at, 2), np.tile(np.arange(2), len(at)), usd, cadence_ns, np.stack([at - cadence_ns, at], 1)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of the mark by close time; what was not recorded is absent or NaN."""

    closes_ns: Int64[np.ndarray, " row"]
    high: Float[np.ndarray, " row"]
    low: Float[np.ndarray, " row"]
    close: Float[np.ndarray, " row"]
    length_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class OpenInterest:
    """Stamps of open interest, in base coins."""

    times_ns: Int64[np.ndarray, " row"]
    base: Float[np.ndarray, " row"]


@dataclass(frozen=True, slots=True, eq=False)
class Cascades:
    """Cascades in the order of their onsets.

    `resolution_ns` says how far before `onset_ns` the true onset may lie. `move_log` is against the side, positive.
    Severities that were not recorded are NaN. `not_evaluated` names each condition that the data could not answer.
    """

    onset_ns: Int64[np.ndarray, " row"]
    end_ns: Int64[np.ndarray, " row"]
    side: Int64[np.ndarray, " row"]
    usd: Float[np.ndarray, " row"]
    share_of_interest: Float[np.ndarray, " row"]
    peak_usd: Float[np.ndarray, " row"]
    """The largest sum over one window."""
    move_log: Float[np.ndarray, " row"]
    interest_drop: Float[np.ndarray, " row"]
    """Share of open interest, in base coins, that went from onset to end."""
    resolution_ns: int
    not_evaluated: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.onset_ns)


def cascades(
    found: Liquidations, bars: Bars, interest: OpenInterest | None = None, spec: CascadeSpec | None = None
) -> Cascades:
    """All cascades of both sides; an onset is the first whole second at which (i) to (iv) hold.

    It looks ahead of an onset by `reach_seconds`, and of an end by `end_seconds`.

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
        at = alarms(found, bars, side, interest, spec)
        onsets = at[moved(found, bars, at, side, spec)]
        rows += [(*span, side) for span in _merged(found, onsets, side, spec)]
    rows.sort()
    onset, end, sides = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    severity = [_severity(found, bars, interest, *row, _window_ns(found, spec)) for row in rows]
    usd, share, peak, move, drop = np.array(severity).reshape(-1, 5).T
    missing = _not_evaluated(found, bars, interest, spec)
    return Cascades(onset, end, sides, usd, share, peak, move, drop, found.cadence_ns, missing)


def alarms(
    found: Liquidations, bars: Bars, side: int, interest: OpenInterest | None = None, spec: CascadeSpec | None = None
) -> Times:
    """Whole seconds at which (i), (ii) and (iii) hold, as far as the data can say: causal, usable live.

    Of sums, the ends of intervals.
    """
    spec = spec or CascadeSpec()
    window_ns = _window_ns(found, spec)
    own_ns = found.times_ns[found.side == side]
    at = own_ns if found.cadence_ns else _seconds_after(own_ns, window_ns)
    at = at[_is_recorded(found, at)]
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
    window_ns, reach_ns = _window_ns(found, spec), _reach_ns(bars, spec)
    begin, until = at - window_ns, at + reach_ns
    path_minutes = (window_ns + reach_ns) / MINUTE_NS
    sigma = trailing_sigma(bars, at, round(spec.sigma_hours * 60 * MINUTE_NS)) * math.sqrt(MINUTE_NS / bars.length_ns)
    move = np.array([_move(bars, int(a), int(b), side) for a, b in zip(begin, until, strict=True)])
    return np.asarray(move >= spec.move_sigmas * sigma * math.sqrt(path_minutes))


def trailing_sigma(bars: Bars, at: Times, window_ns: int) -> Values:
    """Root mean square of the log returns of bars that follow each other, closed in (t - window, t]; NaN under ten."""
    returns = np.diff(np.log(bars.close), prepend=np.nan)
    returns[np.diff(bars.closes_ns, prepend=0) != bars.length_ns] = np.nan
    known = np.isfinite(returns)
    squares = np.concatenate([[0.0], np.cumsum(np.where(known, returns, 0.0) ** 2)])
    counts = np.concatenate([[0], np.cumsum(known)])
    low, high = (np.searchsorted(bars.closes_ns, t, "right") for t in (at - window_ns, at))
    count = counts[high] - counts[low]
    return np.asarray(np.sqrt(np.where(count >= 10, squares[high] - squares[low], np.nan) / np.maximum(count, 1)))


def watched(found: Liquidations, side: int, at: Times, spec: CascadeSpec | None = None) -> Bool[np.ndarray, " _"]:
    """Whether an onset at a time would have been found: it was recorded, and so was enough before it."""
    spec = spec or CascadeSpec()
    known = np.isfinite(_quantiles(found, side, at, _window_ns(found, spec), spec))
    return np.asarray(_is_recorded(found, at) & known)


def window_sums(found: Liquidations, side: int, at: Times, window_ns: int) -> Values:
    """R: USD of a side liquidated in (t - window, t]."""
    own = found.side == side
    times, running = found.times_ns[own], np.concatenate([[0.0], np.cumsum(found.usd[own])])
    low, high = (np.searchsorted(times, t, "right") for t in (at - window_ns, at))
    return np.asarray(running[high] - running[low])


def latest(times_ns: Times, values: Values, at: Times) -> Values:
    """The newest value stamped at or before each time; NaN before the first."""
    place = np.searchsorted(times_ns, at, "right")
    return np.asarray(np.append(np.nan, values)[place])


def merged(onsets_ns: Times, ends_ns: Times, merge_ns: int, cap_ns: int) -> list[tuple[int, int]]:
    """Begin and end of the events that onsets, each with the end it would have, make together.

    An onset less than `merge_ns` after an end belongs to that event and may prolong it, to `cap_ns` at the most.

    >>> merged(np.array([0, 12, 30]), np.array([10, 14, 100]), 5, 50)
    [(0, 14), (30, 80)]
    """
    events: list[tuple[int, int]] = []
    for onset, end in zip(onsets_ns.tolist(), ends_ns.tolist(), strict=True):
        if events and onset - events[-1][1] < merge_ns:
            begin, last = events[-1]
            events[-1] = begin, min(max(last, end), begin + cap_ns)
        else:
            events.append((onset, min(end, onset + cap_ns)))
    return events


def _merged(found: Liquidations, onsets: Times, side: int, spec: CascadeSpec) -> list[tuple[int, int]]:
    cap_ns = round(spec.cap_minutes * MINUTE_NS)
    ends = np.array([_end(found, int(t), side, cap_ns, spec) for t in onsets], np.int64)
    return merged(onsets, ends, round(spec.merge_minutes * MINUTE_NS), cap_ns)


def _end(found: Liquidations, onset_ns: int, side: int, cap_ns: int, spec: CascadeSpec) -> int:
    """Where the window's sum begins to stay below its share of the running peak."""
    window_ns, hold_ns = _window_ns(found, spec), round(spec.end_seconds * SECOND_NS)
    until = onset_ns + cap_ns
    low, high = np.searchsorted(found.times_ns, [onset_ns - window_ns, until + hold_ns], "right")
    own = found.times_ns[low:high][found.side[low:high] == side]
    changes = np.union1d(own, own + window_ns)
    changes = np.append(onset_ns, changes[changes > onset_ns])
    sums = window_sums(found, side, changes, window_ns)
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
    move = _move(bars, onset_ns - window_ns, end_ns, side)
    if interest is None:
        return usd, math.nan, peak, move, math.nan
    before, after = latest(interest.times_ns, interest.base, at).tolist()
    price = float(latest(bars.closes_ns, bars.close, at)[0])
    return usd, usd / (before * price), peak, move, 1 - after / before


def _move(bars: Bars, begin_ns: int, until_ns: int, side: int) -> float:
    """Log distance, against the side, from the close at `begin_ns` to the extreme of the bars closed by `until_ns`."""
    low, high = np.searchsorted(bars.closes_ns, [begin_ns, until_ns], "right")
    if low == 0 or high <= low:
        return math.nan
    start = bars.close[low - 1]
    extreme = np.fmin.reduce(bars.low[low:high]) if side == 0 else np.fmax.reduce(bars.high[low:high])
    return float(np.log(start / extreme) if side == 0 else np.log(extreme / start))


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


def _is_recorded(found: Liquidations, at: Times) -> Bool[np.ndarray, " _"]:
    begins, ends = np.sort(found.recorded_ns[:, 0]), np.sort(found.recorded_ns[:, 1])
    return np.asarray(np.searchsorted(begins, at, "left") > np.searchsorted(ends, at, "left"))


def _window_ns(found: Liquidations, spec: CascadeSpec) -> int:
    return found.cadence_ns or round(spec.window_seconds * SECOND_NS)


def _reach_ns(bars: Bars, spec: CascadeSpec) -> int:
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
