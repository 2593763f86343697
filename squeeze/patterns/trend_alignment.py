"""Trend alignment: the nearest zone lies where the price is going anyway.

domain.md §4.2, 13; the seeds say that clusters with the trend are swept more often. `score` is the mark's return over
4 hours toward the side in standard deviations of 4 hours, negative where the trend runs away from it. NaN where the
side has no zone, or the return or its deviation is not known.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "trend_alignment"
EVIDENCE = ("near_log", "mass_share", "toward_4h", "sigma_4h")
REASON = "the zone {near_log:.2%} {side} lies with the trend: {toward_4h:.2%} in 4 hours, {score:.1f} deviations"
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When the trend counts."""

    least_deviations: float = 0.5
    """A move toward the zone of so many deviations raises the flag."""

    def __post_init__(self) -> None:
        require(self.least_deviations > 0, "least_deviations is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The trend toward the nearest zone of each side."""
    now, zones = scene.now[0], scene.zones
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        toward_4h = direction(side) * now.return_4h
        found.evidence[2], found.evidence[3] = toward_4h, now.sigma_4h
        for i in range(zones.size):
            if zones[i].side == side:
                found.evidence[0], found.evidence[1] = zones[i].near_log, zones[i].mass_share
                found.score = toward_4h / now.sigma_4h if now.sigma_4h > 0 else np.nan
                found.flag = int(found.score >= thresholds.least_deviations)  # NaN is not
                break
