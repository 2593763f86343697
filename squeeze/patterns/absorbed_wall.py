"""Absorbed wall: takers trade much of a wall within a minute, and it still stands, and the mark does not get past it.

domain.md §4.2, 10: X_60s ≥ ½ peak, at least ½ of the peak remains, and the price went no more than two ticks beyond; a
tick is not known here, so that is a distance in log price. With x = X_60s / peak the score is x / (x + least x), times
how much of `least_remaining_share` remains (at most 1), times exp(1 - beyond / greatest) where the mark went further:
one half where all thresholds are just met. The greatest of the walls of which it can be told; steps longer than a
minute tell of none.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "absorbed_wall"
EVIDENCE = ("traded_60s_share", "remaining_share", "beyond_log", "peak_usd", "distance_log")
REASON = (
    "a wall of {peak_usd:,.0f} USD {side} absorbs: {traded_60s_share:.0%} traded within a minute, "
    "{remaining_share:.0%} still there"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a wall absorbs."""

    least_traded_share: float = 0.5
    """Takers traded this share of its peak within a minute ..."""
    least_remaining_share: float = 0.5
    """... and this share of its peak still rests ..."""
    greatest_beyond_log: float = 1e-4
    """... and the mark never went further than this past its far edge: a hundredth of a percent."""

    def __post_init__(self) -> None:
        require(self.least_traded_share > 0, "least_traded_share is positive")
        require(0 < self.least_remaining_share <= 1, "least_remaining_share lies in (0, 1]")
        require(self.greatest_beyond_log > 0, "greatest_beyond_log is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The most absorbing wall of each side."""
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, scene.now[0].close_ns
        found.evidence[:] = np.nan
        walls = 0
        for wall in scene.walls:
            if wall.side != side or wall.ended_ns != 0:
                continue
            walls += 1
            traded, remaining = wall.traded_60s_usd / wall.peak_usd, wall.usd / wall.peak_usd
            beyond = wall.moved_beyond_log
            over = max(beyond / thresholds.greatest_beyond_log - 1.0, 0.0) if beyond == beyond else np.nan
            score = traded / (traded + thresholds.least_traded_share) * math.exp(-over)
            score *= min(remaining / thresholds.least_remaining_share, 1.0) if remaining == remaining else np.nan
            if not (score >= 0.0 and (score > found.score or found.score != found.score)):
                continue
            found.score = score
            found.flag = int(
                traded >= thresholds.least_traded_share
                and remaining >= thresholds.least_remaining_share
                and beyond <= thresholds.greatest_beyond_log
            )
            found.evidence[0], found.evidence[1], found.evidence[2] = traded, remaining, beyond
            found.evidence[3], found.evidence[4] = wall.peak_usd, wall.distance_log
        if walls == 0 and np.isfinite(scene.book[side]).any():
            found.score = 0.0
