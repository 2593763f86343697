"""Funding × asymmetry: who pays, together with whose liquidations lie heavier near by.

domain.md §4.2, below the table. The seeds contradict themselves: funding far above zero means crowded longs and a fall,
but with a dense cluster *above* it is said to make a sweep up more likely. So the product is encoded, with a sign, and
the data decide. With `S` the map's mass within `reach_log` of the mark, `A = (S_side - S_other) / (S_side + S_other)`,
and `pays` what positions of the side pay per 8 hours over the threshold of whoever pays (longs' if funding is above
zero, shorts' if below),

    score = pays · max(0, A)

It is about the heavier side, and 0 on the other; positive where those who would be liquidated also pay (the first
reading), negative where the others pay them (the second). Flagged where both are extreme, whatever the sign. NaN if
funding or the map is not known, or no mass lies within reach. Thresholds swap under the mirror, as in
`funding_extreme`.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "funding_asymmetry"
EVIDENCE = ("asymmetry", "pays_8h", "mass_share", "other_mass_share")
REASON = (
    "liquidations {side} are the heavier by {asymmetry:.2f} and their positions pay {pays_8h:.3%} per 8 hours "
    "({mass_share:.1%} of open interest against {other_mass_share:.1%})"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When funding and asymmetry are extreme."""

    reach_log: float = 0.02
    """Mass within this distance of the mark counts, the mark's own bin included."""
    least_asymmetry: float = 0.40
    """From here on a side is the heavier one by far."""
    crowded_long_8h: float = 0.0005
    """Longs are crowded above this rate: 0.05 %."""
    crowded_short_8h: float = 0.0003
    """Shorts are crowded below minus this rate: -0.03 %."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0 and 0 < self.least_asymmetry < 1, "reach_log positive, least_asymmetry below one")
        require(self.crowded_long_8h > 0 and self.crowded_short_8h > 0, "rates are positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The signed product on the heavier side, 0 on the other."""
    now = scene.now[0]
    bins = round(thresholds.reach_log / now.bin_log) + 1
    rate_8h = now.funding_8h
    crowding = rate_8h / (thresholds.crowded_long_8h if rate_8h > 0 else thresholds.crowded_short_8h)
    for side in range(2):
        mass, other = scene.heat[side, :bins].sum(), scene.heat[1 - side, :bins].sum()
        asymmetry = (mass - other) / (mass + other) if mass + other > 0 else np.nan
        pays = -direction(side) * crowding
        found = out[side]
        found.score = pays * asymmetry if asymmetry > 0 else pays * asymmetry * 0.0  # 0, or NaN if either is not known
        found.flag = int(asymmetry >= thresholds.least_asymmetry and abs(pays) > 1)
        found.known_at_ns = now.close_ns
        found.evidence[:] = np.nan
        found.evidence[0], found.evidence[1] = asymmetry, -direction(side) * rate_8h
        found.evidence[2], found.evidence[3] = mass, other
