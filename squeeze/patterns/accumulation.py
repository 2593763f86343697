"""Accumulation: the heaviest zone within reach gains mass, and how that has gone over 1, 6 and 24 hours.

Growth is signed: `(mass now - mass then) / the greater of both`, from -1 (it dissipates) to 1 (it was hardly there).
The score is the mean growth of the spans that are remembered; `toward_24h_log` says by how much the centroid came
nearer to the price, negative if it went away, so that a zone that grows because it migrates can be told from one that
grows where it stands. A zone of which nothing is remembered is passed over. With no zone within reach nothing
accumulates: 0. A step says all there is to say: nothing is remembered between steps.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "accumulation"
EVIDENCE = ("growth_1h", "growth_6h", "growth_24h", "toward_24h_log", "mass_share", "near_log")
REASON = (
    "the heaviest zone {side}, {near_log:.2%} away, grows: {score:+.0%} of its mass in the mean of its last 1, 6 and "
    "24 hours, now {mass_share:.1%} of open interest"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a zone grows."""

    reach_log: float = 0.05
    """Zones that lie wholly within it: at the border of the map's reach mass comes and goes with the mark."""
    least_growth: float = 0.2
    """So much mean growth raises the flag, if growth over 1 and 6 hours is known and no span shows a loss."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0, "reach_log is positive")
        require(0 < self.least_growth <= 1, "least_growth lies in (0, 1]")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """How the heaviest zone of each side has grown."""
    now, zones = scene.now[0], scene.zones
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        within, heaviest = 0, 0.0
        for i in range(zones.size):
            zone = zones[i]
            if zone.side != side or zone.far_log > thresholds.reach_log:
                continue
            within += 1
            last_1h = growth(zone.mass_share, zone.mass_1h_share)
            last_6h = growth(zone.mass_share, zone.mass_6h_share)
            last_24h = growth(zone.mass_share, zone.mass_24h_share)
            score = mean_of_told(last_1h, last_6h, last_24h)
            if math.isnan(score) or zone.mass_share <= heaviest:
                continue
            heaviest = zone.mass_share
            found.score = score
            found.flag = int(score >= thresholds.least_growth and last_1h >= 0 and last_6h >= 0 and not last_24h < 0)
            found.evidence[0], found.evidence[1], found.evidence[2] = last_1h, last_6h, last_24h
            found.evidence[3] = (zone.place_24h_log - zone.place_log) * direction(side)
            found.evidence[4], found.evidence[5] = zone.mass_share, zone.near_log
        if within == 0 and not math.isnan(scene.heat[side, 0]):
            found.score = 0.0


@njit(cache=True)
@no_type_check
def growth(mass: float, before: float) -> float:
    """Gained mass as a share of the greater of both, in [-1, 1]; NaN if either is not known."""
    if not (mass >= 0 and before >= 0):
        return np.nan
    most = max(mass, before)
    return (mass - before) / most if most > 0 else 0.0


@njit(cache=True)
@no_type_check
def mean_of_told(a: float, b: float, c: float) -> float:
    """Mean of those that are not NaN; NaN if none is."""
    total, count = 0.0, 0
    for value in (a, b, c):
        if not math.isnan(value):
            total, count = total + value, count + 1
    return total / count if count else np.nan
