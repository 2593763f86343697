"""Which times are like an event's: hour of the week and volatility decile, by ranks that were known at the time.

Ranks compare a value with the thirty days before its UTC midnight, so nothing is ranked by what came later.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from squeeze.market.events import DAY_NS, HOUR_NS

TRAILING_DAYS = 30
LEAST_DAYS = 5
"""Days that a stratum of matched times must come from; where there are fewer a coarser one is taken."""
UNKNOWN = -1

Steps = Int[np.ndarray, " _"]
Values = Float[np.ndarray, " _"]


def hour_of_week(times_ns: Int64[np.ndarray, " step"]) -> Steps:
    """0 to 167, from Monday midnight UTC.

    >>> hour_of_week(np.array([4 * DAY_NS, 4 * DAY_NS + 30 * HOUR_NS])).tolist()
    [0, 30]
    """
    return np.asarray((times_ns - 4 * DAY_NS) // HOUR_NS % 168)


def trailing_rank(values: Values, times_ns: Int64[np.ndarray, " step"], parts: int) -> Steps:
    """Which of `parts` equal parts of the thirty days before its UTC midnight a value falls into, 0 the lowest.

    `UNKNOWN` for NaN, and where fewer than two hundred values lie in those days.
    """
    out = np.full(len(values), UNKNOWN)
    days = times_ns // DAY_NS
    starts = np.flatnonzero(np.diff(days, prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(values)), strict=len(values) > 0):
        first = np.searchsorted(times_ns, (days[start] - TRAILING_DAYS) * DAY_NS)
        past = values[first:start]
        past = past[np.isfinite(past)]
        if len(past) >= 200:
            borders = np.quantile(past, np.arange(1, parts) / parts)
            ranks = np.searchsorted(borders, values[start:end], side="right")
            out[start:end] = np.where(np.isfinite(values[start:end]), ranks, UNKNOWN)
    return out


def matched(
    events: Steps, candidates: Steps, keys: Sequence[Steps], day_of_step: Steps
) -> tuple[Steps, Steps, Steps, Steps]:
    """Events and candidates by stratum, at the first key of which each event's stratum spans `LEAST_DAYS` days.

    `keys` hold one value a step, the finest first; a negative one matches nothing. Returns the positions of events that
    something matches, their strata, the matched steps (a step may serve several keys), and their strata.
    """
    left = np.arange(len(events))
    chosen, chosen_strata, steps, strata = [], [], [], []
    base = 0
    for key in keys:
        pairs = np.unique(np.stack([key[candidates], day_of_step[candidates]]), axis=1)[0]
        found, spans = np.unique(pairs, return_counts=True)
        good = found[(spans >= LEAST_DAYS) & (found >= 0)]
        taken = np.isin(key[events[left]], good)
        used = np.unique(key[events[left[taken]]])
        serves = candidates[np.isin(key[candidates], used)]
        chosen.append(left[taken])
        chosen_strata.append(base + key[events[left[taken]]])
        steps.append(serves)
        strata.append(base + key[serves])
        left = left[~taken]
        base += int(key.max(initial=0)) + 1
    return tuple(np.concatenate(part) for part in (chosen, chosen_strata, steps, strata))  # type: ignore[return-value]


def away_from(
    steps: Steps, closes_ns: Int64[np.ndarray, " step"], begins_ns: np.ndarray, ends_ns: np.ndarray, margin_ns: int
) -> Bool[np.ndarray, " row"]:
    """Whether a step lies further than `margin_ns` from every event [begin, end]."""
    at = closes_ns[steps]
    begins, ends = np.sort(begins_ns) - margin_ns, np.sort(ends_ns) + margin_ns
    return np.asarray(np.searchsorted(begins, at, "right") == np.searchsorted(ends, at, "left"))
