"""Asymmetry: one side of the mark holds more of the liquidation map than the other.

domain.md §4.2, 5. `A_R = (this side - other side) / (both)` of the mass within a distance R of the mark, for three R,
positive where this side is the heavier; the fourth weighs all mass within the map's reach by `exp(-distance / ATR 4h)`.
The score is that of the middle R; the two sides say the same with opposite sign, and only the heavier one flags. The
mark's own bin is left out: it is swept in part.

Caveat: it is tied to the past return by the making of the map (a price that fell has swept what lay below it), so test
it incremental to `return_24h`, which is given, positive if the price came toward this side.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "asymmetry"
EVIDENCE = ("near", "middle", "far", "weighted", "mass_share", "return_24h")
REASON = "the map leans to what lies {side}: {middle:+.0%} of the mass close by, {mass_share:.1%} of open interest"
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a map leans."""

    near_log: float = 0.01
    """The three distances within which mass is summed ..."""
    middle_log: float = 0.02
    """... of which the middle one is the score ..."""
    far_log: float = 0.05
    """... each NaN where the map does not reach so far."""
    least_asymmetry: float = 0.4
    """So much at the middle distance raises the flag of the heavier side."""

    def __post_init__(self) -> None:
        require(0 < self.near_log <= self.middle_log <= self.far_log, "distances are positive and rise")
        require(0 < self.least_asymmetry <= 1, "least_asymmetry lies in (0, 1]")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """How much heavier each side is than the other."""
    now = scene.now[0]
    reaches = (thresholds.near_log, thresholds.middle_log, thresholds.far_log)
    for side in range(2):
        found = out[side]
        found.known_at_ns = now.close_ns
        found.evidence[:] = np.nan
        for i in range(3):
            found.evidence[i] = lean(mass_within(scene, side, reaches[i]), mass_within(scene, 1 - side, reaches[i]))
        found.evidence[3] = lean(mass_weighted(scene, side, now.atr_4h), mass_weighted(scene, 1 - side, now.atr_4h))
        found.evidence[4] = mass_within(scene, side, thresholds.middle_log)
        found.evidence[5] = now.return_24h * direction(side)
        found.score = found.evidence[1]
        found.flag = int(found.score >= thresholds.least_asymmetry)


@njit(cache=True)
@no_type_check
def mass_within(scene: Scene, side: int, reach_log: float) -> float:
    """Share of open interest from the bin next to the mark's up to a distance; NaN where the map ends before it."""
    last = round(reach_log / scene.now[0].bin_log)
    if last >= scene.heat.shape[1]:
        return np.nan
    total = 0.0
    for i in range(1, last + 1):
        total += scene.heat[side, i]  # NaN stays NaN
    return total


@njit(cache=True)
@no_type_check
def mass_weighted(scene: Scene, side: int, scale_log: float) -> float:
    """Share of open interest, a bin at distance x counting exp(-x / scale); NaN without a positive scale."""
    if not scale_log > 0:
        return np.nan
    fade = math.exp(-scene.now[0].bin_log / scale_log)
    total, weight = 0.0, 1.0
    for i in range(1, scene.heat.shape[1]):
        weight *= fade  # an exponential for each bin takes eight times as long
        total += scene.heat[side, i] * weight
    return total


@njit(cache=True)
@no_type_check
def lean(ours: float, theirs: float) -> float:
    """Difference over sum, in [-1, 1]; NaN where neither side holds anything, or one is not known."""
    both = ours + theirs
    return (ours - theirs) / both if both > 0 else np.nan
