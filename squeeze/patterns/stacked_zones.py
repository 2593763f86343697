"""Stacked zones: several zones close behind each other, so that clearing one carries the price into the next.

domain.md §4.2, 1. Zones within `reach_log` of the mark, nearest first, form a chain as long as the gap from the far
edge of one to the near edge of the next is at most `widest_gap_log`; the longest chain counts, the nearest of equals.
`score = Σ mass · exp(-gap / gap_scale_log)`, the first zone's gap being 0, and the chain ratio is the least of
`mass_usd / depth_usd` between neighbours, where the book covers what lies between; NaN where it does not.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "stacked_zones"
EVIDENCE = ("zones", "nearest_log", "widest_gap_log", "mass_share", "chain_ratio")
REASON = (
    "{zones:.0f} stacked zones {side}, the nearest {nearest_log:.2%} away, gaps up to {widest_gap_log:.2%}, "
    "{mass_share:.1%} of open interest"
)
MEMORY = NOTHING


class Thresholds(Strict, frozen=True, kw_only=True):
    """When zones are stacked."""

    reach_log: float = 0.03
    """Zones whose near edge lies within this distance of the mark are looked at: 3 % for BTC, 5 % for DOT."""
    narrowest_gap_log: float = 0.001
    """A closer neighbour counts to the same zone: it adds mass, not a zone."""
    widest_gap_log: float = 0.0125
    """A wider gap ends the chain."""
    gap_scale_log: float = 0.005
    """How fast a zone counts for less behind a gap: 0.5 % for BTC, 1 % for DOT."""
    least_zones: float = 3
    """So many zones raise the flag ..."""
    least_mass_share: float = 0.003
    """... each of at least this share of open interest."""

    def __post_init__(self) -> None:
        require(0 < self.narrowest_gap_log <= self.widest_gap_log, "gaps are positive and rise")
        require(self.reach_log > 0 and self.gap_scale_log > 0, "reach_log and gap_scale_log are positive")
        require(self.least_zones >= 2, "least_zones is at least two")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The longest chain of each side."""
    now, zones = scene.now[0], scene.zones
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = 0.0, 0, now.close_ns
        found.evidence[:] = np.nan
        longest, longest_first = 0, -1
        count, score, mass, widest, ratio, first, last = 0, 0.0, 0.0, 0.0, math.inf, -1, -1
        for i in range(zones.size):
            zone = zones[i]
            if zone.side != side or zone.near_log > thresholds.reach_log:
                continue
            if zone.mass_share < thresholds.least_mass_share:
                continue
            gap = zone.near_log - zones[last].far_log if last >= 0 else math.inf
            if gap > thresholds.widest_gap_log:
                count, score, mass, widest, ratio, first = 1, 0.0, 0.0, 0.0, math.inf, i
                gap = 0.0
            else:
                count += 1 if gap >= thresholds.narrowest_gap_log else 0
                widest = max(widest, gap)
                carried = chain_ratio(scene, side, zones[last].mass_usd, zones[last].far_log, zone.near_log)
                ratio = min(ratio, carried) if ratio == ratio and carried == carried else np.nan
            score += zone.mass_share * math.exp(-gap / thresholds.gap_scale_log)
            mass += zone.mass_share
            last = i
            if count > longest or first == longest_first:
                longest, longest_first = count, first
                found.score = score
                found.evidence[0], found.evidence[1] = count, zones[first].near_log
                found.evidence[2], found.evidence[3], found.evidence[4] = (
                    widest,
                    mass,
                    ratio if ratio < math.inf else np.nan,
                )
        found.flag = int(longest >= thresholds.least_zones)


@njit(cache=True)
@no_type_check
def chain_ratio(scene: Scene, side: int, mass_usd: float, from_log: float, to_log: float) -> float:
    """USD that one zone's liquidations bring over the USD that rest up to the next; NaN where no book covers it."""
    bin_log = scene.now[0].bin_log
    depth = 0.0
    for i in range(round(from_log / bin_log), round(to_log / bin_log)):
        depth += scene.book[side, i]  # NaN stays NaN
    return mass_usd / depth if depth > 0 else np.nan
