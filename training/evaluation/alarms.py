"""A probability as alarms: which events they foretold, how early, and how often they were false (domain.md §5.7).

A row alarms where its probability reaches a threshold. Rows within ten minutes of each other, or one step apart, are
one alarm, as long as the claim of its first row lasts, (t, t + horizon]: after that a new one begins, or a model that
never fell silent would have made a single alarm and never a false one. An event is its onset, and a row foretells it if
it lies in (t + guard, t + horizon]. An alarm is

    early    one of its rows foretells an onset
    inside   none does, but a row's truth holds: the event had begun before it
    false    neither

Everything here looks ahead of its rows, but the thresholds found on earlier ones.
"""

from dataclasses import dataclass
from typing import no_type_check

import msgspec
import numpy as np
from numba import njit

from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.tools.drawing import wilson

MERGE_NS = 10 * MINUTE_NS
GUARD_NS = 5 * SECOND_NS
APART_NS = 4 * HOUR_NS
"""Positive rows closer than this are one event, as `squeeze.outcomes.rows.episodes` counts them."""
BUDGETS_PER_DAY = (1.0, 2.0, 5.0)
"""False alarms a day at which recall is reported."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """What one model said of one side, row by row in rising time, and what came: rows without a probability left out.

    `foretold` (row,) is the position in `onsets_ns` (event,) of the next onset, where that lies within the row's claim,
    and else -1. A true onset may lie `resolution_ns` from the one that is written here.
    """

    ts_ns: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    foretold: np.ndarray
    onsets_ns: np.ndarray
    horizon_ns: int
    step_ns: int
    resolution_ns: int

    @property
    def days(self) -> float:
        """How long the rows watched, in days: unrecorded time does not count."""
        return len(self.ts_ns) * self.step_ns / DAY_NS

    @property
    def merge_ns(self) -> int:
        """Alarming rows this close are one alarm."""
        return max(MERGE_NS, self.step_ns)


def claims(
    ts_ns: np.ndarray,
    truth: np.ndarray,
    probability: np.ndarray,
    horizon_ns: int,
    step_ns: int,
    events_ns: np.ndarray | None = None,
) -> Claims:
    """The claims of rows, NaN where a model abstains, one every `step_ns`; with the events' own onsets if known.

    Without them an event is a run of positive rows, and its onset the middle of the one step in which its first row
    came true: it was not ahead a row earlier. Onsets that no answered row could foretell are left out.

    >>> minutes = np.arange(0, 60, 5) * MINUTE_NS
    >>> found = claims(minutes, minutes // MINUTE_NS >= 40, np.ones(12), 15 * MINUTE_NS, 5 * MINUTE_NS)
    >>> found.onsets_ns / MINUTE_NS, found.resolution_ns / MINUTE_NS
    (array([52.5]), 2.5)
    """
    onsets = np.sort(events_ns) if events_ns is not None else _onsets(ts_ns[truth], horizon_ns, step_ns)
    resolution_ns = 0 if events_ns is not None else step_ns // 2
    answered = np.isfinite(probability)
    at, told = ts_ns[answered], probability[answered].astype(float)
    first, last = np.searchsorted(at, [onsets - horizon_ns, onsets - GUARD_NS])
    onsets = onsets[last > first]
    following = np.searchsorted(onsets, at + GUARD_NS, side="right")
    reached = np.append(onsets, np.iinfo(np.int64).max)[following] <= at + horizon_ns
    foretold = np.where(reached, following, -1)
    return Claims(at, truth[answered], told, foretold, onsets, horizon_ns, step_ns, resolution_ns)


def _onsets(positive_ns: np.ndarray, horizon_ns: int, step_ns: int) -> np.ndarray:
    begins = np.diff(positive_ns, prepend=np.iinfo(np.int64).min // 2) >= APART_NS
    return positive_ns[begins] + horizon_ns - step_ns // 2


@njit(cache=True)
@no_type_check
def number_alarms(ts_ns: np.ndarray, fires: np.ndarray, merge_ns: int, lasts_ns: int) -> np.ndarray:
    """The alarm each row belongs to, counted from 0; -1 where it does not fire."""
    number = np.full(ts_ns.size, -1)
    count, began, last = 0, 0, 0
    for row in range(ts_ns.size):
        if not fires[row]:
            continue
        if count == 0 or ts_ns[row] - last > merge_ns or ts_ns[row] - began >= lasts_ns:
            began = ts_ns[row]
            count += 1
        last = ts_ns[row]
        number[row] = count - 1
    return number


@njit(cache=True)
@no_type_check
def _count(number: np.ndarray, truth: np.ndarray, foretold: np.ndarray, events: int) -> tuple[int, int, int, int]:
    """Alarms, early ones, false ones, and events foretold."""
    alarms = number.max() + 1 if number.size else 0
    is_early, is_true, seen = np.zeros(alarms, np.bool_), np.zeros(alarms, np.bool_), np.zeros(events, np.bool_)
    for row in range(number.size):
        if number[row] >= 0:
            is_true[number[row]] |= truth[row]
            if foretold[row] >= 0:
                is_early[number[row]] = seen[foretold[row]] = True
    return alarms, is_early.sum(), alarms - (is_early | is_true).sum(), seen.sum()


def counts(found: Claims, threshold: float) -> tuple[int, int, int, int]:
    """Alarms, early ones, false ones, and events foretold at a threshold."""
    number = number_alarms(found.ts_ns, found.probability >= threshold, found.merge_ns, found.horizon_ns)
    alarms, early, false, foretold = _count(number, found.truth, found.foretold, len(found.onsets_ns))
    return int(alarms), int(early), int(false), int(foretold)


class Curve(msgspec.Struct, frozen=True):
    """Recall by false alarms a day, for falling thresholds: one array each."""

    threshold: np.ndarray
    false_per_day: np.ndarray
    recall: np.ndarray


def curve(found: Claims, most_per_day: float = 2 * BUDGETS_PER_DAY[-1]) -> Curve:
    """Every threshold that the rows tell apart, from the highest down to the first with more false alarms a day."""
    thresholds = np.unique(found.probability)[::-1]
    rows = []
    for threshold in thresholds.tolist():
        _, _, false, recalled = counts(found, threshold)
        rows.append((threshold, false / found.days, recalled / max(len(found.onsets_ns), 1)))
        if rows[-1][1] > most_per_day:
            break
    return Curve(*np.array(rows).reshape(-1, 3).T)


def threshold_within(curve: Curve, budget_per_day: float) -> float:
    """The lowest threshold that keeps within a budget of false alarms, as does every higher one; ∞ if none does.

    >>> threshold_within(Curve(np.array([0.9, 0.5, 0.3]), np.array([0.0, 1.0, 3.0]), np.zeros(3)), 2.0)
    0.5
    """
    over = np.flatnonzero(curve.false_per_day > budget_per_day)
    held = curve.threshold[: over[0]] if len(over) else curve.threshold
    return float(held[-1]) if len(held) else np.inf


class AlarmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms at one threshold; shares come with their 95 % Wilson interval, and are NaN over nothing."""

    threshold: float
    days: float
    events: int
    foretold: int
    recall: tuple[float, float, float]
    alarms: int
    early: int
    inside: int
    false: int
    precision: tuple[float, float, float]
    """Early alarms of the early and the false; one inside an event is neither."""
    false_per_day: float
    lead_minutes: tuple[float, float, float]
    """Quartiles of onset minus the first row that foretold it: median in the middle, each within (guard, horizon]."""
    lead_resolution_minutes: float
    after_move: float
    """Share of alarms, all three kinds, that began with the price already over one σ of the horizon from its extreme,
    against the side."""
    after_move_any: float
    """The same share of all rows: what alarming at random would have."""


def alarm_figures(found: Claims, threshold: float, moved_sigmas: np.ndarray | None = None) -> AlarmFigures:
    """Everything about the alarms of a threshold; `moved_sigmas` (row,) as `moved_sigmas` gives it, NaN if unknown."""
    alarms, early, false, foretold = counts(found, threshold)
    moved = np.full(len(found.ts_ns), np.nan) if moved_sigmas is None else moved_sigmas
    lead = lead_minutes(found, threshold)
    return AlarmFigures(
        threshold=threshold,
        days=found.days,
        events=len(found.onsets_ns),
        foretold=foretold,
        recall=share(foretold, len(found.onsets_ns)),
        alarms=alarms,
        early=early,
        inside=alarms - early - false,
        false=false,
        precision=share(early, early + false),
        false_per_day=false / found.days if found.days else np.nan,
        lead_minutes=tuple(np.quantile(lead, [0.25, 0.5, 0.75]).tolist()) if len(lead) else (np.nan,) * 3,
        lead_resolution_minutes=found.resolution_ns / MINUTE_NS,
        after_move=_share_over_one(moved[first_rows(found, threshold)]),
        after_move_any=_share_over_one(moved),
    )


def first_rows(found: Claims, threshold: float) -> np.ndarray:
    """Positions of the rows with which alarms begin."""
    fires = found.probability >= threshold
    number = number_alarms(found.ts_ns, fires, found.merge_ns, found.horizon_ns)
    return np.flatnonzero(fires)[np.unique(number[fires], return_index=True)[1]]


def lead_minutes(found: Claims, threshold: float) -> np.ndarray:
    """For each event that was foretold, minutes from the first row that did to its onset."""
    foretold = np.where(found.probability >= threshold, found.foretold, -1)
    events, first = np.unique(foretold, return_index=True)
    first = first[events >= 0]
    return (found.onsets_ns[events[events >= 0]] - found.ts_ns[first]) / MINUTE_NS


def share(part: int, whole: int) -> tuple[float, float, float]:
    """A share and its 95 % Wilson interval; NaN of nothing.

    >>> [round(value, 3) for value in share(1, 4)]
    [0.25, 0.046, 0.699]
    """
    if not whole:
        return np.nan, np.nan, np.nan
    low, high = wilson(np.array([part / whole]), np.array([float(whole)]))
    return part / whole, float(low[0]), float(high[0])


def _share_over_one(sigmas: np.ndarray) -> float:
    known = sigmas[np.isfinite(sigmas)]
    return float((known > 1).mean()) if len(known) else np.nan


def moved_sigmas(
    closes_ns: np.ndarray, marks: np.ndarray, at_ns: np.ndarray, horizon_ns: int, sigma_hours: float = 24.0
) -> np.ndarray:
    """How far the mark stood from its extreme of the last horizon, against each side, in σ of the horizon: (row, side).

    `marks` (step, 4) are open, high, low and close of bars that close at `closes_ns`. Below the highest high for longs,
    above the lowest low for shorts. σ is the root mean square of the step returns of the trailing 24 hours, scaled by
    the root of time; a driftless walk is over one σ about a third of the time, which is why a share is given beside
    that of all rows. Causal: a row sees bars that closed by its time. NaN where no bar closed within the last one's
    length.
    """
    step_ns = int(np.median(np.diff(closes_ns))) if len(closes_ns) > 1 else horizon_ns
    back, day = max(1, round(horizon_ns / step_ns)), max(2, round(sigma_hours * HOUR_NS / step_ns))
    high, low, close = (np.log(marks[:, column]) for column in (1, 2, 3))
    top, bottom = (
        _trailing(np.where(np.isnan(high), -np.inf, high), back),
        -_trailing(np.where(np.isnan(low), -np.inf, -low), back),
    )
    squares = np.diff(close, prepend=np.nan) ** 2
    sigma = np.sqrt(_trailing_mean(squares, day) * horizon_ns / step_ns)
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.stack([top - close, close - bottom], axis=1) / sigma[:, None]
    place = np.searchsorted(closes_ns, at_ns, side="right") - 1
    fresh = (place >= 0) & (at_ns - closes_ns[place] < step_ns)
    return np.where(fresh[:, None] & np.isfinite(moved[place]), moved[place], np.nan)


def _trailing(values: np.ndarray, steps: int) -> np.ndarray:
    """The largest of the last `steps` values at each."""
    padded = np.concatenate([np.full(steps - 1, -np.inf), values])
    return np.lib.stride_tricks.sliding_window_view(padded, steps).max(axis=1)


def _trailing_mean(values: np.ndarray, steps: int) -> np.ndarray:
    """Mean of what is known of the last `steps` values at each; NaN where nothing is."""
    known = np.isfinite(values)
    sums, count = (np.concatenate([np.zeros(steps), np.cumsum(a)]) for a in (np.where(known, values, 0.0), known))
    with np.errstate(invalid="ignore"):
        return (sums[steps:] - sums[:-steps]) / (count[steps:] - count[:-steps])
