"""The rule of a trader, made explicit: "stacked zones ahead, price approaching with momentum".

The text gives an example of the first ("$4.50, $4.55, and $4.60": three zones, 1.1 % apart) and no number for the
second ("moving toward it fast enough"). Momentum is therefore measured against a price without drift, in standard
deviations of its own smoothed speed. No number here was fitted.
"""

import math
from collections.abc import Sequence

import numpy as np

from squeeze.spec import Spec

LEAST_ZONES = 3
"""So many zones ahead are stacked, where the atlas' own detector did not look."""
MOST_MOMENTUM = 3.0
"""More deviations than this say no more."""


def stacked_and_approaching(scalars: np.ndarray, names: Sequence[str], spec: Spec) -> np.ndarray:
    """The rule's score (row, side) from scalars (row, side, scalar); higher is nearer to a squeeze of that side.

    0 without a zone ahead, 1 with one, 2 where zones are stacked, and there up to 3 more: the speed toward them in
    deviations of that of a driftless price. `pattern_stacked_zones_flag` says what is stacked where the spec has an
    atlas; else three zones within reach do. A scalar that is NaN counts as nothing seen.
    """

    def seen(name: str) -> np.ndarray:
        return np.asarray(np.nan_to_num(scalars[:, :, names.index(name)].astype(float)))

    zones, flag = seen("zones"), "pattern_stacked_zones_flag"
    stacked = seen(flag) > 0 if flag in names else zones >= LEAST_ZONES
    momentum = np.clip(seen("approach_velocity_sigmas") / driftless_sigmas(spec), 0, MOST_MOMENTUM)
    return np.where(stacked, 2 + momentum, np.minimum(zones, 1))


def driftless_sigmas(spec: Spec) -> float:
    """Standard deviation of `approach_velocity_sigmas` of a price whose steps are independent.

    Speed is smoothed as v ← φ v + (1 - φ) r / step, so its variance is (1 - φ) / (1 + φ) of one step's; one step's
    return over its minutes is 1 / √minutes in deviations of a minute.
    """
    minutes = spec.market.step_seconds / 60
    kept = 0.5 ** (minutes / spec.frame.velocity_half_life_minutes)
    return math.sqrt((1 - kept) / (1 + kept) / minutes)
