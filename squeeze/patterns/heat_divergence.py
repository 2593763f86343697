"""Heatmap divergence: the map leans to one side while the crowd it is made of leaves, or others open against it.

domain.md §4.2, 9. Two conditions, held together for `least_minutes`:

- the side holds more of the map within `reach_log` than the other, `A = (this - other) / both >= least_asymmetry`;
- open interest in base coins fell by `least_fading` in 4 hours (*fading*: the crowd is leaving), or it rose while the
  price went toward this side in those 4 hours (*opposite*: above, longs open against a cluster of shorts).

`score = A · min(1, held / least_minutes)`, 0 while the conditions do not hold, NaN where they cannot be told. Held time
runs from the close of the first step in which both held; a missing step, or one that cannot be told, begins it anew.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "heat_divergence"
EVIDENCE = ("asymmetry", "open_interest_4h", "return_4h", "fading", "opposite", "held_minutes")
REASON = (
    "for {held_minutes:.0f} minutes the map leaned to what lies {side} ({asymmetry:+.0%}) against the crowd: open "
    "interest went {open_interest_4h:+.1%} in 4 hours"
)
MEMORY = np.dtype([("close_ns", "i8"), ("since_ns", "i8", (2,))], align=True)
"""Close of the last step, and of the first of those in which both conditions held until now; 0 for none."""


class Thresholds(Strict, frozen=True, kw_only=True):
    """When map and crowd diverge."""

    reach_log: float = 0.02
    """Mass within this distance of the mark is compared."""
    least_asymmetry: float = 0.4
    """How far the map leans to a side."""
    least_fading: float = 0.02
    """Loss of open interest in 4 hours, as a share, with which the crowd is leaving."""
    least_minutes: float = 15.0
    """How long both hold before the flag is raised."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0 and self.least_minutes > 0, "reach_log and least_minutes are positive")
        require(0 < self.least_asymmetry <= 1, "least_asymmetry lies in (0, 1]")
        require(self.least_fading > 0, "least_fading is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """Whether each side's cluster is being left or opened against, and for how long."""
    now = scene.now[0]
    if now.close_ns - now.step_ns > memory.close_ns:
        memory.since_ns[:] = 0
    memory.close_ns = now.close_ns
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        asymmetry = lean(scene, side, thresholds.reach_log)
        toward = now.return_4h * direction(side)
        fading = told(now.open_interest_4h <= -thresholds.least_fading, now.open_interest_4h)
        rising = now.open_interest_4h > 0
        opposite = told(rising and toward > 0, toward if rising else now.open_interest_4h)
        found.evidence[0], found.evidence[1], found.evidence[2] = asymmetry, now.open_interest_4h, toward
        found.evidence[3], found.evidence[4] = fading, opposite
        if math.isnan(asymmetry) or not (fading == 1 or opposite == 1 or fading + opposite == 0):
            memory.since_ns[side] = 0
            continue
        if not (asymmetry >= thresholds.least_asymmetry and (fading == 1 or opposite == 1)):
            memory.since_ns[side] = 0
            found.score = 0.0
            continue
        if memory.since_ns[side] == 0:
            memory.since_ns[side] = now.close_ns
        held = (now.close_ns - memory.since_ns[side]) / MINUTE_NS
        found.evidence[5] = held
        found.score = asymmetry * min(1.0, held / thresholds.least_minutes)
        found.flag = int(held >= thresholds.least_minutes)


@njit(cache=True)
@no_type_check
def told(holds: bool, rests_on: float) -> float:
    """1 or 0; NaN if what it rests on is not known."""
    return np.nan if math.isnan(rests_on) else float(int(holds))


@njit(cache=True)
@no_type_check
def lean(scene: Scene, side: int, reach_log: float) -> float:
    """Mass within reach on this side less the other's over both; NaN where the map ends before, or holds nothing."""
    last = round(reach_log / scene.now[0].bin_log)
    if last >= scene.heat.shape[1]:
        return np.nan
    ours, theirs = 0.0, 0.0
    for i in range(1, last + 1):
        ours += scene.heat[side, i]
        theirs += scene.heat[1 - side, i]
    return (ours - theirs) / (ours + theirs) if ours + theirs > 0 else np.nan
