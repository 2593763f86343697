"""Migration: a zone, or the whole map of a side, has moved within 24 hours without losing its mass.

domain.md §4.2, 6. The score is the greatest drift of a zone's centroid over 24 hours, in log price, among the zones of
the side that kept `least_kept` of their mass; `toward_24h_log` is the same with a sign, positive toward the price.
For the map, `map_moved_log` is the Wasserstein-1 distance in log price, `bin · Σ |F_now - F_then|`, between the part of
the side's map that the mark has not reached since then, as it was and as it is, each divided by its sum; and
`map_toward_log` the difference of their centroids, positive toward the price. Only what both maps reach is compared.

The map is remembered once an hour on absolute bins, with the bins that the mark has been in since. "Then" is the newest
hour at least 24 hours old; NaN if that is over 25.5 hours old, so steps must be shorter than that and without a hole.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import HOUR_NS
from squeeze.patterns.scene import Scene, direction
from squeeze.strict import Strict, require

NAME = "migration"
EVIDENCE = ("toward_24h_log", "kept_share", "near_log", "map_moved_log", "map_toward_log")
REASON = (
    "the zone {near_log:.2%} {side} moved by {toward_24h_log:+.2%} toward the price in 24 hours and kept "
    "{kept_share:.0%} of its mass"
)
HOURS = 27
"""Hours remembered: 25.5, and the parts of an hour at both ends."""
KEPT_BINS = 256
"""Outward from the mark; 12.8 % at 5 basis points. What a map has beyond is not compared."""
MEMORY = np.dtype(
    [
        ("close_ns", "i8", (HOURS,)),  # when the map was so; 0 where none is remembered
        ("mark_bin", "i8", (HOURS,)),
        ("low_bin", "i8", (HOURS,)),  # least and greatest bin of the mark since then
        ("high_bin", "i8", (HOURS,)),
        ("bins", "i8", (HOURS,)),
        ("heat", "f4", (HOURS, 2, KEPT_BINS)),
    ],
    align=True,
)
"""Maps by the number of their hour since 1970, modulo `HOURS`; 56 KB."""


class Thresholds(Strict, frozen=True, kw_only=True):
    """When a zone migrates."""

    least_drift_log: float = 0.005
    """Its centroid moved by so much in 24 hours ..."""
    least_kept: float = 0.6
    """... and at least this share of its mass is still there."""
    least_common_log: float = 0.02
    """The maps are compared if the part of the side that both reach, and the mark did not, is as wide."""

    def __post_init__(self) -> None:
        require(self.least_drift_log > 0, "least_drift_log is positive")
        require(0 < self.least_kept <= 1, "least_kept lies in (0, 1]")
        require(self.least_common_log > 0, "least_common_log is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The zone of each side that moved the most, and how the side's map moved."""
    now, zones = scene.now[0], scene.zones
    remember(scene, memory)
    then = hour_of_yesterday(memory, now.close_ns)
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        count, known = 0, 0
        for i in range(zones.size):
            zone = zones[i]
            if zone.side != side:
                continue
            count += 1
            drift = zone.place_24h_log - zone.place_log
            if math.isnan(drift) or not zone.mass_24h_share > 0:
                continue
            known += 1
            kept = zone.mass_share / zone.mass_24h_share
            if not kept >= thresholds.least_kept or abs(drift) <= found.score:
                continue
            found.score = abs(drift)
            found.flag = int(abs(drift) >= thresholds.least_drift_log)
            found.evidence[0], found.evidence[1], found.evidence[2] = drift * direction(side), kept, zone.near_log
        if math.isnan(found.score) and (known > 0 or (count == 0 and not math.isnan(scene.heat[side, 0]))):
            found.score = 0.0
        if then >= 0:
            found.evidence[3], found.evidence[4] = moved(scene, memory, then, side, thresholds.least_common_log)


@njit(cache=True)
@no_type_check
def remember(scene: Scene, memory: np.void) -> None:
    """Widen where the mark has been since each map, and keep this step's if it is the first of its hour."""
    now = scene.now[0]
    low = high = now.mark_bin
    if now.mark_low > 0 and now.mark_high > 0:
        low = min(low, math.floor(math.log(now.mark_low) / now.bin_log))
        high = max(high, math.floor(math.log(now.mark_high) / now.bin_log))
    for i in range(HOURS):
        memory.low_bin[i], memory.high_bin[i] = min(memory.low_bin[i], low), max(memory.high_bin[i], high)
    hour = now.close_ns // HOUR_NS
    slot = hour % HOURS
    if memory.close_ns[slot] // HOUR_NS == hour or math.isnan(scene.heat[0, 0]) or math.isnan(scene.heat[1, 0]):
        return
    memory.close_ns[slot], memory.mark_bin[slot] = now.close_ns, now.mark_bin
    memory.low_bin[slot], memory.high_bin[slot] = now.mark_bin, now.mark_bin
    memory.bins[slot] = min(KEPT_BINS, scene.heat.shape[1])
    for side in range(2):
        for i in range(memory.bins[slot]):
            memory.heat[slot, side, i] = scene.heat[side, i]


@njit(cache=True)
@no_type_check
def hour_of_yesterday(memory: np.void, close_ns: int) -> int:
    """Place of the newest map between 24 and 25.5 hours old; -1 for none."""
    newest = -1
    for i in range(HOURS):
        age_ns = close_ns - memory.close_ns[i]
        if 48 * HOUR_NS <= 2 * age_ns <= 51 * HOUR_NS and (newest < 0 or memory.close_ns[i] > memory.close_ns[newest]):
            newest = i
    return newest


@njit(cache=True)
@no_type_check
def moved(scene: Scene, memory: np.void, then: int, side: int, least_common_log: float) -> tuple[float, float]:
    """Wasserstein-1 distance of the unswept maps, and how far their centroid came toward the price, in log price."""
    now = scene.now[0]
    edge = memory.low_bin[then] if side == 0 else memory.high_bin[then]
    first_then = abs(memory.mark_bin[then] - edge) + 1
    first_now = abs(now.mark_bin - edge) + 1
    count = min(memory.bins[then] - first_then, min(KEPT_BINS, scene.heat.shape[1]) - first_now)
    if count < least_common_log / now.bin_log - 1e-9:
        return np.nan, np.nan
    sum_then, sum_now = 0.0, 0.0
    for i in range(count):
        sum_then += memory.heat[then, side, first_then + i]
        sum_now += np.float32(scene.heat[side, first_now + i])  # rounded like the other, so that no change is 0
    if not (sum_then > 0 and sum_now > 0):
        return np.nan, np.nan
    ahead, distance, toward = 0.0, 0.0, 0.0
    for i in range(count):
        ahead += np.float32(scene.heat[side, first_now + i]) / sum_now
        ahead -= memory.heat[then, side, first_then + i] / sum_then
        distance, toward = distance + abs(ahead), toward + ahead
    return distance * now.bin_log, toward * now.bin_log
