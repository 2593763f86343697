"""Shielded cluster: walls that are meant stand between the mark and the nearest zone, and a move must eat them first.

A wall counts if all of it lies between the mark and the near edge of the side's nearest zone, its book shows it, and it
is meant: it absorbs (domain.md §4.2, 10: X_60s ≥ ½ peak with ½ of the peak left), or it has stood for a while, was not
pulled at this level within an hour, and did not melt as the price came near. With r the USD of such walls over the USD
of the zone the score is r / (r + `least_ratio`), one half at the threshold.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "shielded_cluster"
EVIDENCE = ("ratio", "wall_usd", "zone_usd", "wall_log", "zone_log", "absorbing_share")
REASON = (
    "the zone {side}, {zone_log:.2%} away, is shielded: walls of {wall_usd:,.0f} USD before {zone_usd:,.0f} USD of "
    "liquidations"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a zone is shielded."""

    reach_log: float = 0.02
    """The near edge of the nearest zone lies within this distance of the mark: books show little beyond."""
    least_ratio: float = 0.25
    """USD of the walls over USD of the zone."""
    least_age_minutes: float = 10.0
    """A wall that does not absorb has stood so long ..."""
    elasticity: float = 0.5
    """... and its size fell with the distance with a slope under this, where that is known."""
    absorbed_share: float = 0.5
    """A wall of which takers traded this share of its peak within a minute ..."""
    remaining_share: float = 0.5
    """... absorbs, if this share of its peak still rests."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0 and self.least_ratio > 0, "reach_log and least_ratio are positive")
        require(self.least_age_minutes >= 0, "least_age_minutes is not negative")
        require(self.elasticity > 0, "elasticity is positive")
        require(self.absorbed_share > 0 and 0 < self.remaining_share <= 1, "absorbing shares are positive shares")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """What stands before the nearest zone of each side."""
    now = scene.now[0]
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        nearest = -1
        for i in range(scene.zones.size):
            zone = scene.zones[i]
            if zone.side == side and (nearest < 0 or zone.near_log < scene.zones[nearest].near_log):
                nearest = i
        mapped = nearest >= 0 or np.isfinite(scene.heat[side]).any()
        if not (mapped and np.isfinite(scene.book[side]).any()):
            continue
        if nearest < 0 or scene.zones[nearest].near_log > thresholds.reach_log:
            found.score = 0.0
            continue
        zone = scene.zones[nearest]
        wall_usd, absorbing_usd, wall_log = 0.0, 0.0, np.nan
        for wall in scene.walls:
            if wall.side != side or not stands_before(wall, side, zone, now.mark_bin):
                continue
            kind = meant(wall, thresholds, now.close_ns)
            if kind == 0:
                continue
            wall_usd += wall.usd
            absorbing_usd += wall.usd if kind == 2 else 0.0
            wall_log = wall.distance_log if not wall_log <= wall.distance_log else wall_log
        ratio = wall_usd / zone.mass_usd
        found.score = ratio / (ratio + thresholds.least_ratio)
        found.flag = int(ratio >= thresholds.least_ratio)
        found.evidence[0], found.evidence[1], found.evidence[2] = ratio, wall_usd, zone.mass_usd
        found.evidence[3], found.evidence[4] = wall_log, zone.near_log
        found.evidence[5] = absorbing_usd / wall_usd if wall_usd > 0.0 else np.nan


@njit(cache=True)
@no_type_check
def stands_before(wall: np.void, side: int, zone: np.void, mark_bin: int) -> bool:
    """Whether a wall that stands and is shown lies beyond the mark's bin and before a zone."""
    if wall.ended_ns != 0 or not wall.usd > 0.0:
        return False
    return zone.end_bin <= wall.bin < mark_bin if side == 0 else mark_bin < wall.bin < zone.low_bin


@njit(cache=True)
@no_type_check
def meant(wall: np.void, thresholds: np.void, close_ns: int) -> int:
    """0 for a wall that may not be meant, 1 for one that has stood, 2 for one that absorbs."""
    traded, remaining = wall.traded_60s_usd / wall.peak_usd, wall.usd / wall.peak_usd
    if traded >= thresholds.absorbed_share and remaining >= thresholds.remaining_share:
        return 2
    stood = close_ns - wall.born_ns >= thresholds.least_age_minutes * MINUTE_NS
    melts = wall.pull_elasticity >= thresholds.elasticity  # not if that is not known
    return int(stood and wall.pulls_1h == 0 and not melts)
