"""Zone thinning: a zone that the mark never reached loses mass, more than the whole market closes.

domain.md §4.2, 2. `thinning = 1 - mass / greatest mass of six hours`, in base coins; `excess` is the same of shares of
open interest, which divides the market's own closing away. The score of a zone is the lesser of `thinning` and
`excess`, the latter scaled by the ratio of their thresholds, so that it passes `least_thinning` just when both pass
theirs; the zone of a side with the greatest counts.

Caveat: where positions are closed in proportion, the map thins all zones alike, and `excess` is nonzero only through a
hazard tilt of the closes, through the mix of venues, or through ageing. Test whether it is of use before you trust it.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "thinning"
EVIDENCE = ("thinning", "excess", "near_log", "mass_share", "age_days")
REASON = (
    "the zone {near_log:.2%} {side} lost {thinning:.0%} of its coins within six hours untouched, {excess:.0%} more "
    "than the market closed"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a zone thins."""

    reach_log: float = 0.05
    """Zones that lie wholly within it: at the border of the map's reach mass comes and goes with the mark."""
    least_thinning: float = 0.4
    """This share of the coins of the last six hours' peak is gone ..."""
    least_excess: float = 0.15
    """... and this share of the peak's share of open interest."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0, "reach_log is positive")
        require(0 < self.least_thinning <= 1, "least_thinning lies in (0, 1]")
        require(0 < self.least_excess <= 1, "least_excess lies in (0, 1]")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The untouched zone of each side that thins the most; 0 where a recorded map has none."""
    now, zones = scene.now[0], scene.zones
    excess_scale = thresholds.least_thinning / thresholds.least_excess
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        untouched = 0
        for i in range(zones.size):
            zone = zones[i]
            if zone.side != side or zone.far_log > thresholds.reach_log or zone.touched_ns != 0:
                continue
            untouched += 1
            thinning = lost(zone.mass_base, zone.peak_6h_base)
            excess = lost(zone.mass_share, zone.peak_6h_share)
            if math.isnan(thinning) or math.isnan(excess):
                continue
            score = min(thinning, excess * excess_scale)
            if score <= found.score:
                continue
            found.score = score
            found.flag = int(thinning >= thresholds.least_thinning and excess >= thresholds.least_excess)
            found.evidence[0], found.evidence[1], found.evidence[2] = thinning, excess, zone.near_log
            found.evidence[3], found.evidence[4] = zone.mass_share, zone.age_days
        if untouched == 0 and not math.isnan(scene.heat[side, 0]):
            found.score = 0.0


@njit(cache=True)
@no_type_check
def lost(mass: float, peak: float) -> float:
    """Share of the peak that is gone, not under 0; NaN if either is not known."""
    if not (mass >= 0 and peak > 0):
        return np.nan
    return max(0.0, 1 - mass / peak)
