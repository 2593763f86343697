"""Approach velocity: the price runs toward the nearest zone and will soon be there.

domain.md §4.2, 14. `velocity` is the smoothed change of the log price a minute, whatever the step. Toward the nearest
zone of a side it is `v`, the time left is `eta = distance / v`, 0 for a mark inside the zone, and

    score = max(0, v) / σ_1m · exp(-eta / eta_minutes)

so that a fast price far away and a slow one near by both count for less, and one that stands or runs away for nothing.
The flag is up if the price runs toward the zone at one deviation a minute or more and is ten minutes away at most.
NaN where the side has no zone, or the velocity or its deviation is not known.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "approach_velocity"
EVIDENCE = ("near_log", "eta_minutes", "velocity_sigmas", "acceleration_sigmas", "mass_share")
REASON = (
    "price runs toward the zone {near_log:.2%} {side} at {velocity_sigmas:.1f} deviations a minute, "
    "{eta_minutes:.1f} minutes away"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a zone is being approached."""

    eta_minutes: float = 10.0
    """A zone that is no further away than this, in minutes at this velocity, raises the flag ..."""
    least_sigmas: float = 1.0
    """... if the velocity is at least so many standard deviations of a minute."""

    def __post_init__(self) -> None:
        require(self.eta_minutes > 0 and self.least_sigmas > 0, "eta_minutes and least_sigmas are positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The race toward the nearest zone of each side."""
    now, zones = scene.now[0], scene.zones
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        for i in range(zones.size):
            if zones[i].side == side:
                found.evidence[0], found.evidence[4] = zones[i].near_log, zones[i].mass_share
                approach(now, side, max(0.0, zones[i].near_log), thresholds, found)
                break


@njit(cache=True)
@no_type_check
def approach(now: np.void, side: int, distance_log: float, thresholds: np.void, found: np.void) -> None:
    """Score, flag and evidence for a zone so far away."""
    velocity = direction(side) * now.velocity
    if math.isnan(velocity) or not now.sigma_1m > 0:
        return
    sigmas = velocity / now.sigma_1m
    found.evidence[2] = sigmas
    found.evidence[3] = direction(side) * now.acceleration / now.sigma_1m
    if velocity <= 0:
        found.score = 0.0
        return
    eta_minutes = distance_log / velocity
    found.evidence[1] = eta_minutes
    found.score = sigmas * math.exp(-eta_minutes / thresholds.eta_minutes)
    found.flag = int(eta_minutes <= thresholds.eta_minutes and sigmas >= thresholds.least_sigmas)
