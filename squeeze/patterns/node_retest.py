"""Node retest: a level of the volume profile was broken, and the price comes back to it from the other side.

Our definition [D]; the seeds speak of retests without numbers. Nodes are high nodes, points of control and edges of
the value area. One is *broken upward* in the step whose close is the first to lie more than `beyond_log` above it, if
some close of the last `break_minutes` lay more than `beyond_log` below it; it then lies below the mark and belongs to
side 0. *Broken downward* is the mirror image and belongs to side 1: so the side tells from where the price comes back.
Only closes count, all measured against where the node is in that step: a node that drifts past the mark is not broken.

A broken node is remembered at that price until a close lies more than `beyond_log` on the side it was broken from (the
break failed), for `retest_hours` at most. `score = max(0, 1 - |distance| / beyond_log)` of the nearest one, and a close
within `near_log` is a retest. NaN while no node is recorded, and where no close of the last `break_minutes` is known.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.scene import LOW, Scene, direction
from squeeze.strict import Strict, require

NAME = "node_retest"
EVIDENCE = ("distance_log", "age_minutes", "went_log", "volume_share", "nodes_broken")
REASON = (
    "price is back at a level of the volume profile {side} that it broke {age_minutes:.0f} minutes ago and had left "
    "by {went_log:.2%}"
)
ROOM = 8
"""Broken nodes remembered on a side; a ninth drives out the one furthest from the mark."""
SLOTS = 16
"""Stretches of `break_minutes` for which the lowest and highest close are kept."""
MEMORY = np.dtype(
    [
        ("stretch", "i8", (SLOTS,)),
        ("lowest_log", "f8", (SLOTS,)),
        ("highest_log", "f8", (SLOTS,)),
        ("close_log", "f8"),
        ("place_log", "f8", (2, ROOM)),
        ("broken_ns", "i8", (2, ROOM)),
        ("went_log", "f8", (2, ROOM)),
        ("volume_share", "f8", (2, ROOM)),
    ],
    align=True,
)
"""Closes by stretch of absolute time, the last close, and by side the broken nodes; `broken_ns` 0 is an empty place."""

MINUTE_NS = 60 * 10**9


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a node is broken, and when it is tested again."""

    beyond_log: float = 0.003
    """A close further than this from a node is clear of it: 0.3 % for BTC, 0.6 % for DOT."""
    near_log: float = 0.001
    """A close as near as this to a broken node tests it."""
    break_minutes: float = 240.0
    """A node is broken by going from clear of it on one side to clear of it on the other within this time."""
    retest_hours: float = 24.0
    """How long a broken node is remembered."""

    def __post_init__(self) -> None:
        require(0 < self.near_log < self.beyond_log, "near_log is positive and below beyond_log")
        require(self.break_minutes >= 1 and self.retest_hours > 0, "break_minutes is at least 1, retest_hours positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The broken node nearest to the mark on each side."""
    now = scene.now[0]
    mark_log = math.log(now.mark)
    newest = now.close_ns // int(thresholds.break_minutes * MINUTE_NS / SLOTS)
    lowest_log, highest_log = recent_closes(memory, newest)
    told = lowest_log <= highest_log and scene.nodes.size > 0
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        nearest, count = follow(memory, side, mark_log, now.close_ns, thresholds)
        if not told:
            continue
        found.score, found.evidence[4] = 0.0, count
        if nearest >= 0:
            distance_log = direction(side) * (memory.place_log[side, nearest] - mark_log)
            found.score = max(0.0, 1.0 - abs(distance_log) / thresholds.beyond_log)
            found.flag = int(abs(distance_log) <= thresholds.near_log)
            found.evidence[0] = distance_log
            found.evidence[1] = (now.close_ns - memory.broken_ns[side, nearest]) / MINUTE_NS
            found.evidence[2] = memory.went_log[side, nearest]
            found.evidence[3] = memory.volume_share[side, nearest]
        start_log = lowest_log if side == 0 else highest_log
        for _ in range(ROOM):
            if not take_nearest(scene, memory, side, mark_log, start_log, thresholds):
                break
    remember_close(memory, newest, mark_log)


@njit(cache=True)
@no_type_check
def follow(memory: np.void, side: int, mark_log: float, close_ns: int, thresholds: np.void) -> tuple[int, int]:
    """Forget what failed or is too old; the place of the nearest broken node, or -1, and how many there are."""
    nearest, nearest_log, count = -1, math.inf, 0
    for k in range(ROOM):
        if memory.broken_ns[side, k] == 0:
            continue
        distance_log = direction(side) * (memory.place_log[side, k] - mark_log)
        age_hours = (close_ns - memory.broken_ns[side, k]) / MINUTE_NS / 60
        if distance_log < -thresholds.beyond_log or age_hours > thresholds.retest_hours:
            memory.broken_ns[side, k] = 0
            continue
        memory.went_log[side, k] = max(memory.went_log[side, k], distance_log)
        count += 1
        if abs(distance_log) < nearest_log:
            nearest, nearest_log = k, abs(distance_log)
    return nearest, count


@njit(cache=True)
@no_type_check
def take_nearest(
    scene: Scene, memory: np.void, side: int, mark_log: float, start_log: float, thresholds: np.void
) -> bool:
    """Remember the nearest node that broke in this step and is not remembered; whether there was one and room for it.

    Nearest first, so that what is kept does not depend on the order of the nodes.
    """
    beyond_log, best, best_log = thresholds.beyond_log, -1, math.inf
    for i in range(scene.nodes.size):
        place_log = scene.nodes[i].place_log
        now_log = direction(side) * (place_log - mark_log)
        before_log = direction(side) * (place_log - memory.close_log)
        first_log = direction(side) * (place_log - start_log)
        broke = first_log < -beyond_log and before_log <= beyond_log < now_log < best_log
        if broke and scene.nodes[i].kind != LOW and not is_known(memory, side, place_log, thresholds.near_log):
            best, best_log = i, now_log
    if best < 0:
        return False
    place, furthest_log = 0, -math.inf
    for k in range(ROOM):
        distance_log = direction(side) * (memory.place_log[side, k] - mark_log)
        if memory.broken_ns[side, k] == 0:
            distance_log = math.inf
        if distance_log > furthest_log:
            place, furthest_log = k, distance_log
    if furthest_log <= best_log:
        return False
    memory.place_log[side, place], memory.broken_ns[side, place] = scene.nodes[best].place_log, scene.now[0].close_ns
    memory.went_log[side, place], memory.volume_share[side, place] = best_log, scene.nodes[best].volume_share
    return True


@njit(cache=True)
@no_type_check
def is_known(memory: np.void, side: int, place_log: float, near_log: float) -> bool:
    """Whether a broken node so near is remembered: windows often agree on a level, and nodes drift."""
    for k in range(ROOM):
        if memory.broken_ns[side, k] > 0 and abs(memory.place_log[side, k] - place_log) <= near_log:
            return True
    return False


@njit(cache=True)
@no_type_check
def recent_closes(memory: np.void, newest: int) -> tuple[float, float]:
    """Lowest and highest close of the stretches that are not too old; infinities the wrong way round for none."""
    lowest_log, highest_log = math.inf, -math.inf
    for k in range(SLOTS):
        if memory.stretch[k] > max(0, newest - SLOTS):
            lowest_log = min(lowest_log, memory.lowest_log[k])
            highest_log = max(highest_log, memory.highest_log[k])
    return lowest_log, highest_log


@njit(cache=True)
@no_type_check
def remember_close(memory: np.void, newest: int, mark_log: float) -> None:
    """Take this step's close into its stretch, which may still hold one of long ago."""
    k = newest % SLOTS
    if memory.stretch[k] != newest:
        memory.stretch[k], memory.lowest_log[k], memory.highest_log[k] = newest, mark_log, mark_log
    memory.lowest_log[k] = min(memory.lowest_log[k], mark_log)
    memory.highest_log[k] = max(memory.highest_log[k], mark_log)
    memory.close_log = mark_log
