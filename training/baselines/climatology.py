"""The base rate by hour of the UTC week (domain.md §5.8): what a calendar foretells.

An hour of the week comes once a week, so a few months of rows say little about each of the 168. Its rate is therefore
drawn toward the rate of all hours, which weighs as much as `PRIOR_WEEKS` weeks of the hour; one that was never seen has
that rate. 1970 began on a Thursday at midnight: hour 0 is that one.
"""

import numpy as np

from squeeze.market.events import HOUR_NS, MINUTE_NS

WEEK_HOURS = 168
PRIOR_WEEKS = 26.0
"""Half a year: about as long as an hour of the week needs before its own rows weigh as much as all the others'."""


def hour_of_week(ts_ns: np.ndarray) -> np.ndarray:
    """0 to 167 of each time.

    >>> hour_of_week(np.array([0, 167, 168, 170]) * HOUR_NS).tolist()
    [0, 167, 0, 2]
    """
    return np.asarray(ts_ns // HOUR_NS % WEEK_HOURS)


def rates(ts_ns: np.ndarray, truth: np.ndarray, every_minutes: float) -> np.ndarray:
    """Smoothed rate of each hour of the week, (hour, …), from rows (row, …) of which there is one `every_minutes`.

    >>> ts = np.arange(2 * WEEK_HOURS) * HOUR_NS
    >>> found = rates(ts, hour_of_week(ts) == 5, every_minutes=60)
    >>> [round(float(found[hour]), 4) for hour in (4, 5)]
    [0.0055, 0.077]
    """
    hour, overall = hour_of_week(ts_ns), truth.mean(axis=0)
    prior = PRIOR_WEEKS * max(HOUR_NS / (every_minutes * MINUTE_NS), 1.0)
    positives = np.zeros((WEEK_HOURS, *truth.shape[1:]))
    np.add.at(positives, hour, truth)
    count = np.bincount(hour, minlength=WEEK_HOURS).reshape(-1, *[1] * (truth.ndim - 1))
    return np.asarray((positives + prior * overall) / (count + prior))
