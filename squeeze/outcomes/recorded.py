"""What outcomes are found in, and what they are: liquidations, bars and open interest as recorded, and cascades."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from squeeze.market.events import DAY_NS

Times = Int64[np.ndarray, " _"]
Values = Float[np.ndarray, " _"]
Stretches = Int64[np.ndarray, "_ 2"]
"""Stretches of time (begin, end], in rising order, none over another."""


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

    def between(self, low: int, high: int) -> "Liquidations":
        """The rows from one place to another, not the last."""
        rows = slice(low, high)
        return Liquidations(self.times_ns[rows], self.side[rows], self.usd[rows], self.cadence_ns, self.recorded_ns)


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


def recorded_ns(stretches: Stretches, at: Times) -> Times:
    """How much of the time up to each moment was recorded, in ns; differences of it are what lies between two.

    >>> recorded_ns(np.array([[0, 10], [20, 40]]), np.array([-5, 4, 15, 30, 50])).tolist()
    [0, 4, 10, 20, 30]
    """
    begins, ends = stretches[:, 0], stretches[:, 1]
    whole = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - begins)])
    begun = np.searchsorted(begins, at, "left")
    left_over = np.append(0, ends)[begun] - at
    return np.asarray(whole[begun] - np.where(begun > 0, np.maximum(left_over, 0), 0))


def without(stretches: Stretches, holes: Stretches) -> Stretches:
    """Stretches with what lies in holes taken out; holes may overlap and come in any order.

    >>> without(np.array([[0, 10], [20, 40]]), np.array([[8, 22], [30, 31]])).tolist()
    [[0, 8], [22, 30], [31, 40]]
    """
    for begin, end in holes[np.argsort(holes[:, 0], kind="stable")].tolist():
        before = np.minimum(stretches, begin)
        after = np.maximum(stretches, end)
        stretches = np.concatenate([before, after])
        stretches = stretches[stretches[:, 0] < stretches[:, 1]]
    return np.asarray(stretches[np.argsort(stretches[:, 0], kind="stable")])


def move_log(bars: Bars, begin_ns: int, until_ns: int, side: int) -> float:
    """Log distance, against the side, from the close at `begin_ns` to the extreme of the bars closed by `until_ns`."""
    low, high = np.searchsorted(bars.closes_ns, [begin_ns, until_ns], "right")
    if low == 0 or high <= low:
        return math.nan
    start = bars.close[low - 1]
    extreme = np.fmin.reduce(bars.low[low:high]) if side == 0 else np.fmax.reduce(bars.high[low:high])
    return float(np.log(start / extreme) if side == 0 else np.log(extreme / start))


def is_recorded(found: Liquidations, at: Times) -> Bool[np.ndarray, " _"]:
    """Whether each time lies in a recorded stretch."""
    begins, ends = np.sort(found.recorded_ns[:, 0]), np.sort(found.recorded_ns[:, 1])
    return np.asarray(np.searchsorted(begins, at, "left") > np.searchsorted(ends, at, "left"))
