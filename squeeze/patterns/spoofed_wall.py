"""Spoofed wall: a large resting order that melts as the price comes near, or is pulled again and again at one level.

domain.md §4.2, 10. The elasticity ε counts as long as takers traded little of the wall: one that they eat melts too.
The score is the greater of ε / (ε + `least_elasticity`) and n / (n + `least_pulls`) for n pulls in an hour, one half
at either threshold. A wall that is gone is told in one step only, so the finding stays, its score falling to nothing
over `hold_minutes`, unless a greater one comes. NaN while no book shows anything of that side.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "spoofed_wall"
EVIDENCE = ("pulls", "elasticity", "peak_usd", "traded_share", "distance_log", "minutes_ago")
REASON = (
    "a wall of {peak_usd:,.0f} USD {side} is not meant: {pulls:.0f} pulls at its level within an hour, elasticity "
    "{elasticity:.2f}"
)
MEMORY = np.dtype(
    [("at_ns", "i8", (2,)), ("score", "f8", (2,)), ("flag", "i8", (2,)), ("evidence", "f8", (2, 5))], align=True
)
"""By side, the finding that is held: when it was made, and what it said."""


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a wall is not meant."""

    least_elasticity: float = 0.5
    """Slope of the logarithm of its size on that of its distance over a minute, as the wall reports it ..."""
    greatest_traded_share: float = 0.2
    """... while takers traded at most this share of its peak."""
    least_pulls: float = 2
    """So many pulls at its level in an hour."""
    hold_minutes: float = 5.0
    """A finding stays so long."""

    def __post_init__(self) -> None:
        require(self.least_elasticity > 0, "least_elasticity is positive")
        require(self.greatest_traded_share >= 0, "greatest_traded_share is not negative")
        require(self.least_pulls >= 1, "least_pulls is at least one")
        require(self.hold_minutes > 0, "hold_minutes is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The least meant wall of each side, of this step or still held."""
    now = scene.now[0]
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        held = left(memory, side, thresholds.hold_minutes, now.close_ns)
        for wall in scene.walls:
            if wall.side != side:
                continue
            score, flag, elasticity = suspicion(wall, thresholds)
            if score > 0.0 and score >= held and flag >= memory.flag[side]:
                held = score
                memory.at_ns[side], memory.score[side], memory.flag[side] = now.close_ns, score, flag
                memory.evidence[side, 0], memory.evidence[side, 1] = wall.pulls_1h, elasticity
                memory.evidence[side, 2], memory.evidence[side, 3] = wall.peak_usd, wall.traded_usd / wall.peak_usd
                memory.evidence[side, 4] = wall.distance_log
        if not np.isfinite(scene.book[side]).any():
            continue
        found.score = held
        if held > 0.0:
            found.flag = memory.flag[side]
            found.evidence[:5] = memory.evidence[side]
            found.evidence[5] = (now.close_ns - memory.at_ns[side]) / MINUTE_NS


@njit(cache=True)
@no_type_check
def left(memory: np.void, side: int, hold_minutes: float, close_ns: int) -> float:
    """What is left of the score of a held finding; it is forgotten with the last of it."""
    rest = 1.0 - (close_ns - memory.at_ns[side]) / (hold_minutes * MINUTE_NS)
    if rest > 0.0:
        return memory.score[side] * rest
    memory.score[side], memory.flag[side] = 0.0, 0
    return 0.0


@njit(cache=True)
@no_type_check
def suspicion(wall: np.void, thresholds: np.void) -> tuple[float, int, float]:
    """Score and flag of a wall, and its elasticity where that means something."""
    untouched = wall.traded_usd <= thresholds.greatest_traded_share * wall.peak_usd  # not if that is not known
    elasticity = wall.pull_elasticity if untouched else np.nan
    score = wall.pulls_1h / (wall.pulls_1h + thresholds.least_pulls)
    flag = wall.pulls_1h >= thresholds.least_pulls
    if elasticity > 0.0:
        score = max(score, elasticity / (elasticity + thresholds.least_elasticity))
        flag = flag or elasticity >= thresholds.least_elasticity
    return score, int(flag), elasticity
