"""A budget of false alarms becomes a threshold, with a stated guarantee and the assumption it rests on.

Days are cut into blocks, since false alarms of neighbouring days go together; the loss of a block is its false alarms a
day, a day counting as `cap` at most. Going down from the highest threshold, the lowest that still passes is taken:

    expected    n / (n + 1) · mean loss + cap / (n + 1) ≤ budget                   conformal risk control [1]_
    confident   "the expected loss is over the budget" is rejected at level δ      learn then test [2]_, by betting [3]_

Merged alarms do not always become more as the threshold falls: two may melt into one. So the loss at a threshold is the
largest at it or any higher one, which is monotone and never smaller than what is counted.

.. [1] Angelopoulos, Bates, Fisch, Lei and Schuster (2024), "Conformal risk control".
.. [2] Angelopoulos, Bates, Candès, Jordan and Lei (2021), "Learn then test".
.. [3] Waudby-Smith and Ramdas (2023), "Estimating means of bounded random variables by betting".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.signals.alarm_threshold import AlarmThreshold
from squeeze.signals.message import Side
from training.evaluation.alarms import Claims, first_rows, number_alarms

THRESHOLDS = (1.0 / (1.0 + np.exp(-np.linspace(7.0, -7.0, 281)))).round(6)
"""From .999 down to .001 in steps of .05 in the logit: fixed before any data are seen, as the proofs want it."""
MOST_STAKED = 0.9
"""Share of the capital that one bet may lose."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationRows:
    """What a threshold is chosen on: rows that the model was not fitted on, of one side and horizon."""

    side: Side
    horizon_minutes: int
    rows: int
    positives: int
    false_alarms_by_day: Callable[[float], np.ndarray]
    """Threshold → false alarms (day,) of each recorded day, in order of time."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What kind of guarantee is asked for."""

    method: Literal["expected", "confident"] = "expected"
    miss: float = 0.1
    """δ of `confident`: how often a calibration may break the budget."""
    block_days: int = 3
    cap_times: float = 5.0
    """A day counts as this many times the budget at most: a bounded loss is what both proofs need."""

    def blocks_needed(self) -> int:
        """The fewest blocks that could pass, with no false alarm in any of them.

        >>> Promise("expected").blocks_needed(), Promise("confident").blocks_needed()
        (4, 12)
        """
        count = 1
        while not passes(np.zeros(count), 1.0, self):
            count += 1
        return count


def calibration_rows(side: Side, claims: Claims) -> CalibrationRows:
    """The rows of one side's claims, with alarms merged as they are in every figure; a false alarm belongs to the UTC
    day of its first row.
    """
    days, day = np.unique(claims.ts_ns // DAY_NS, return_inverse=True)
    true_row = claims.truth | (claims.foretold >= 0)

    def false_alarms_by_day(threshold: float) -> np.ndarray:
        fires = claims.probability >= threshold
        number = number_alarms(claims.ts_ns, fires, claims.merge_ns, claims.horizon_ns)
        is_false = np.bincount(number[fires], true_row[fires]) == 0
        return np.bincount(day[first_rows(claims, threshold)[is_false]], minlength=len(days))

    positives = int(claims.truth.sum())
    return CalibrationRows(side, claims.horizon_ns // MINUTE_NS, len(claims.ts_ns), positives, false_alarms_by_day)


def alarm_threshold(
    found: CalibrationRows, budget_per_day: float, promise: Promise | None = None, thresholds: np.ndarray = THRESHOLDS
) -> AlarmThreshold:
    """The lowest of these falling thresholds that keeps a budget of false alarms a day, and what that promises.

    Looks at the calibration rows alone. Raises `DataError` where there are too few days for any promise, saying how
    many it takes, where no row is positive, and where not even the highest threshold passes.
    """
    promise = promise or Promise()
    if not budget_per_day > 0:
        raise ValueError(f"budget_per_day must be positive, got {budget_per_day}")
    if not found.positives:
        raise DataError(
            f"none of {found.rows} calibration rows is positive for {found.side}: a threshold that never alarms would "
            "keep any budget"
        )
    best, count, days = None, 0.0, 0
    worst = np.zeros(1)
    for threshold in thresholds.tolist():
        by_day = found.false_alarms_by_day(threshold)
        worst = np.maximum(worst, block_losses(by_day, budget_per_day, promise))
        if not passes(worst, budget_per_day, promise):
            break
        best, count, days = threshold, float(by_day.mean()), len(by_day)
    if best is None:
        raise DataError(
            f"{found.side}: even at {thresholds[0]:g} there are more false alarms than {budget_per_day:g} a day allows"
        )
    guarantee, assumption = sentences(budget_per_day, promise)
    return AlarmThreshold(
        side=found.side,
        horizon_minutes=found.horizon_minutes,
        budget_per_day=budget_per_day,
        threshold=best,
        method=promise.method,
        guarantee=guarantee,
        assumption=assumption,
        false_alarms_per_day=count,
        rows=found.rows,
        days=days,
    )


def block_losses(by_day: np.ndarray, budget_per_day: float, promise: Promise) -> np.ndarray:
    """Mean of the capped days of each block (block,); the oldest days that fill no block are left out.

    >>> block_losses(np.array([7, 1, 0, 5, 2, 0, 0]), 1.0, Promise(block_days=3, cap_times=3.0)).tolist()
    [1.3333333333333333, 0.6666666666666666]
    """
    blocks = len(by_day) // promise.block_days
    if blocks < promise.blocks_needed():
        needed = promise.blocks_needed()
        raise DataError(
            f"a promise of this kind ({promise.method}) needs {needed * promise.block_days} days of calibration rows "
            f"({needed} blocks of {promise.block_days}), got {len(by_day)}"
        )
    capped = np.minimum(by_day[len(by_day) - blocks * promise.block_days :], promise.cap_times * budget_per_day)
    return capped.reshape(blocks, promise.block_days).mean(axis=1)


def passes(losses: np.ndarray, budget_per_day: float, promise: Promise) -> bool:
    """Whether a threshold with these losses (block,) keeps the promise."""
    n, cap = len(losses), promise.cap_times * budget_per_day
    if promise.method == "expected":
        return bool(losses.sum() + cap <= (n + 1) * budget_per_day * (1 + 1e-12))
    return betting_p_value(losses / cap, 1 / promise.cap_times, promise.miss) <= promise.miss


def betting_p_value(losses: np.ndarray, over: float, level: float) -> float:
    """P-value of "the expected loss is `over` or more" after losses (block,) in [0, 1], in order of time.

    Each bet pays `1 - stake · (loss - over)`, so under that hypothesis the capital is worth no more than it was, and
    that it ever reaches 1 / p has a chance of p at most. The stake depends on earlier losses alone, is made for a test
    at `level`, and is larger the less they vary [3]_.

    >>> round(betting_p_value(np.zeros(12), 0.2, 0.1), 3), betting_p_value(np.full(12, 0.2), 0.2, 0.1)
    (0.088, 1.0)
    """
    log_capital, richest = 0.0, 0.0
    total, squares = 0.5, 0.25
    for count, loss in enumerate(losses.tolist(), start=1):
        stake = min(MOST_STAKED / (1 - over), math.sqrt(2 * math.log(1 / level) * count / (len(losses) * squares)))
        log_capital += math.log(1 - stake * (loss - over))
        richest = max(richest, log_capital)
        total += loss
        squares += (loss - total / (count + 1)) ** 2
    return math.exp(-richest)


def sentences(budget_per_day: float, promise: Promise) -> tuple[str, str]:
    """Guarantee and assumption in words."""
    cap = promise.cap_times * budget_per_day
    block = "one day" if promise.block_days == 1 else f"{promise.block_days} days"
    counted = f"(a day counts as {cap:g} at most)"
    same = "the model, the merging of alarms and the market's habits stay as they were on the calibration rows"
    if promise.method == "expected":
        return (
            f"On average over calibrations like this one, the next stretch of {block} will hold at most "
            f"{budget_per_day:g} false alarms a day {counted}.",
            f"Stretches of {block}, those of the calibration and the next, are exchangeable: {same}.",
        )
    return (
        f"With a chance of {1 - promise.miss:.0%} at least over calibrations like this one, days to come will hold at "
        f"most {budget_per_day:g} false alarms a day on average {counted}.",
        f"Stretches of {block} are independent and of one distribution: {same}.",
    )
