"""Funding extreme: one side is so crowded that it pays to stay.

domain.md §4.2, 11. On side 0 longs are crowded and a fall is the danger; on side 1 shorts, and a rise. `score` is what
positions of that side pay per 8 hours, over venues weighted by open interest, as a multiple of that side's threshold:
1 at the threshold, negative where they are paid. The seeds give thresholds that differ between longs and shorts, so
the mirror image of a market is found under thresholds that are swapped.

The flag is up above the threshold. It is also up where the rate is outside its own usual range: the trailing Q97.5 and
Q2.5 are told by the z-score over 30 days, 1.96 being those of a normal distribution, if the side pays at all. It is
*uniform* if every venue is above the threshold.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "funding_extreme"
EVIDENCE = ("pays_8h", "least_8h", "uniform", "z", "minutes_to_settlement")
REASON = "positions at risk {side} are crowded: they pay {pays_8h:.3%} per 8 hours"
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When funding is extreme, as a rate per 8 hours."""

    crowded_long_8h: float = 0.0005
    """Longs are crowded above this rate: 0.05 %."""
    crowded_short_8h: float = 0.0003
    """Shorts are crowded below minus this rate: -0.03 %."""
    rare_z: float = 1.96
    """A rate so many deviations out is extreme for this market; infinite turns this off."""

    def __post_init__(self) -> None:
        require(self.crowded_long_8h > 0 and self.crowded_short_8h > 0, "rates are positive")
        require(self.rare_z > 0, "rare_z is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """What each side pays."""
    now = scene.now[0]
    for side in range(2):
        toward = -direction(side)  # longs pay a positive rate
        crowded_8h = thresholds.crowded_long_8h if side == 0 else thresholds.crowded_short_8h
        pays_8h, z = toward * now.funding_8h, toward * now.funding_z
        least_8h = toward * (now.funding_low_8h if side == 0 else now.funding_high_8h)
        found = out[side]
        found.score, found.known_at_ns = pays_8h / crowded_8h, now.close_ns
        found.flag = int(pays_8h > crowded_8h or (pays_8h > 0 and z >= thresholds.rare_z))  # a NaN is neither
        found.evidence[:] = np.nan
        found.evidence[0], found.evidence[1] = pays_8h, least_8h
        if not np.isnan(least_8h):
            found.evidence[2] = 1.0 if least_8h > crowded_8h else 0.0
        found.evidence[3], found.evidence[4] = z, now.minutes_to_settlement
