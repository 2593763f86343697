"""Convergence: several maps point at one level.

domain.md §4.2, 4. The levels asked about are the centroids of the liquidation zones. Within a tolerance of
`max(least_tolerance_log, tolerance_atr · ATR_1h)` of one, four votes are cast: the zone itself; a high node, point of
control or edge of the value area; a standing wall that is old enough and that the book shows; a bin of the open
interest by price that reaches its own Q95 on that side. `score` is the share of the votes *that could be cast* which
are for the level, of the zone for which it is greatest, the nearest of equals.

A vote can be cast if its map was recorded there: nodes if there are any at all, walls if one votes or the book covers
every bin within the tolerance, open interest if none of those bins is NaN. Where fewer than `least_votes` could be cast
the score is NaN, as it is while the ATR is not known; where a map has no zone on a side it is 0. Chance is judged by
shifting the volume profile at random (the study's task, not done here).
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import LOW, Scene, direction
from squeeze.strict import Strict, require

NAME = "convergence"
EVIDENCE = ("votes", "votes_cast", "centroid_log", "node", "wall", "interest")
REASON = "{votes:.0f} of {votes_cast:.0f} maps agree on a level {centroid_log:.2%} {side}"
MEMORY = NOTHING

SECOND_NS = 10**9


class Thresholds(Strict, frozen=True, kw_only=True):
    """When maps converge."""

    least_tolerance_log: float = 0.0015
    """Levels count as one within this distance, or ..."""
    tolerance_atr: float = 0.25
    """... within so many mean true ranges of an hour, if that is more."""
    least_wall_seconds: float = 10.0
    """A wall votes once it is so old."""
    interest_quantile: float = 0.95
    """A bin of the open interest by price votes from this quantile of its side."""
    least_votes: float = 3
    """So many votes raise the flag."""

    def __post_init__(self) -> None:
        require(self.least_tolerance_log > 0 and self.tolerance_atr >= 0, "the tolerance is positive")
        require(self.least_wall_seconds >= 0, "least_wall_seconds is not negative")
        require(0 < self.interest_quantile < 1, "interest_quantile lies between 0 and 1")
        require(2 <= self.least_votes <= 4, "least_votes lies between two and four")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The zone of each side that most of the other maps agree with."""
    now, zones = scene.now[0], scene.zones
    tolerance = thresholds.tolerance_atr * now.atr_1h
    if not math.isnan(tolerance):
        tolerance = max(tolerance, thresholds.least_tolerance_log, now.bin_log / 2)
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        dense = upper_quantile(scene.interest[side], thresholds.interest_quantile)
        zones_here = 0
        for i in range(zones.size):
            if zones[i].side != side:
                continue
            zones_here += 1
            place, centroid = zones[i].place_log, zones[i].centroid_log
            node = node_vote(scene, place, tolerance)
            wall = wall_vote(scene, side, centroid, tolerance, thresholds.least_wall_seconds * SECOND_NS)
            interest = interest_vote(scene, side, centroid, tolerance, dense)
            votes, cast = 1.0, 1.0
            for vote in (node, wall, interest):
                if not math.isnan(vote):
                    votes, cast = votes + vote, cast + 1
            if cast < thresholds.least_votes or math.isnan(tolerance) or votes / cast <= found.score:
                continue
            found.score, found.flag = votes / cast, int(votes >= thresholds.least_votes)
            found.evidence[0], found.evidence[1], found.evidence[2] = votes, cast, centroid
            found.evidence[3], found.evidence[4], found.evidence[5] = node, wall, interest
        if zones_here == 0 and not math.isnan(scene.heat[side].sum()):
            found.score = 0.0


@njit(cache=True)
@no_type_check
def node_vote(scene: Scene, place_log: float, tolerance_log: float) -> float:
    """1 if a high node, point of control or edge of the value area is near, 0 if not, NaN without any node."""
    for i in range(scene.nodes.size):
        if scene.nodes[i].kind != LOW and abs(scene.nodes[i].place_log - place_log) <= tolerance_log:
            return 1.0
    return 0.0 if scene.nodes.size else np.nan


@njit(cache=True)
@no_type_check
def wall_vote(scene: Scene, side: int, centroid_log: float, tolerance_log: float, least_age_ns: float) -> float:
    """1 if a standing wall is near and old enough, 0 if the book shows none, NaN where it does not reach."""
    for i in range(scene.walls.size):
        wall = scene.walls[i]
        stands = wall.side == side and wall.ended_ns == 0 and not math.isnan(wall.usd)
        old = scene.now[0].close_ns - wall.born_ns >= least_age_ns
        if stands and old and abs(wall.distance_log - centroid_log) <= tolerance_log:
            return 1.0
    is_covered = not math.isnan(greatest(scene, scene.book[side], side, centroid_log, tolerance_log))
    return 0.0 if is_covered else np.nan


@njit(cache=True)
@no_type_check
def interest_vote(scene: Scene, side: int, centroid_log: float, tolerance_log: float, dense_base: float) -> float:
    """1 if a bin near by reaches the quantile, 0 if not, NaN where it was not recorded."""
    most = greatest(scene, scene.interest[side], side, centroid_log, tolerance_log)
    if math.isnan(most):
        return np.nan
    return 1.0 if most > 0 and most >= dense_base else 0.0


@njit(cache=True)
@no_type_check
def greatest(scene: Scene, row: np.ndarray, side: int, centroid_log: float, tolerance_log: float) -> float:
    """The most in a bin of a side whose middle is near; NaN if one of them is NaN or none lies in the scene."""
    now = scene.now[0]
    middle_log = direction(side) * ((now.mark_bin + 0.5) * now.bin_log - math.log(now.mark))
    most, bins = -math.inf, 0
    for i in range(row.size):
        if abs(middle_log + i * now.bin_log - centroid_log) <= tolerance_log:
            if math.isnan(row[i]):
                return np.nan
            most = max(most, row[i])
            bins += 1
    return most if bins else np.nan


@njit(cache=True)
@no_type_check
def upper_quantile(row: np.ndarray, quantile: float) -> float:
    """Quantile of what was recorded, by the lower of two ranks; NaN for nothing."""
    known = np.sort(row[~np.isnan(row)])
    return known[int(quantile * (known.size - 1))] if known.size else np.nan
