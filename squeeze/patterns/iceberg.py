"""Iceberg: takers traded more at a level than was ever shown there, and it still stands.

domain.md §4.2, 10, *refilled*. With r what was traded over the most that was shown, the score is r / (r + least r), one
half at the threshold, of the walls that stand with `least_remaining_share` of their peak or more; others count by how
much of that they have. The greatest of the walls of which it can be told.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "iceberg"
EVIDENCE = ("traded_share", "remaining_share", "peak_usd", "traded_usd", "distance_log", "age_minutes")
REASON = (
    "an iceberg {side}, {distance_log:.2%} away: {traded_usd:,.0f} USD traded where no more than {peak_usd:,.0f} were "
    "ever shown"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When more rests than is shown."""

    least_traded_share: float = 1.0
    """More was traded than so many times the most that was shown ..."""
    least_remaining_share: float = 0.2
    """... and more than this share of it is still shown: less is gone, as walls are followed."""

    def __post_init__(self) -> None:
        require(self.least_traded_share > 0, "least_traded_share is positive")
        require(0 < self.least_remaining_share < 1, "least_remaining_share lies in (0, 1)")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The wall of each side of which takers got the most."""
    now = scene.now[0]
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        walls = 0
        for wall in scene.walls:
            if wall.side != side or wall.ended_ns != 0:
                continue
            walls += 1
            traded, remaining = wall.traded_usd / wall.peak_usd, wall.usd / wall.peak_usd
            score = traded / (traded + thresholds.least_traded_share)
            score *= min(remaining / thresholds.least_remaining_share, 1.0) if remaining == remaining else np.nan
            if not (score >= 0.0 and (score > found.score or found.score != found.score)):
                continue
            found.score = score
            found.flag = int(traded > thresholds.least_traded_share and remaining > thresholds.least_remaining_share)
            found.evidence[0], found.evidence[1] = traded, remaining
            found.evidence[2], found.evidence[3] = wall.peak_usd, wall.traded_usd
            found.evidence[4], found.evidence[5] = wall.distance_log, (now.close_ns - wall.born_ns) / MINUTE_NS
        if walls == 0 and np.isfinite(scene.book[side]).any():
            found.score = 0.0
