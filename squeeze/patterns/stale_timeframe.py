"""Stale timeframe: the map is too old for the horizon that is asked about.

domain.md §4.2, 12. For a horizon of at most an hour, mass older than a day says little; for one of at most a day, mass
older than a week. Of each zone only the mean age of its mass is known, so `old_share` is the share of the zones' mass
that lies in zones whose mean age exceeds the limit. Besides, the map itself may not have been fed, and the open
interest that feeds it may be old.

Each of the three counts as a share of twice its limit, at most 1, and `score` is the greatest: above 0.5 one limit is
exceeded and the flag is up. A side without zones has no old mass and goes by the two ages; a zone whose age is not
known makes the score NaN.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.pattern import NOTHING
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "stale_timeframe"
EVIDENCE = ("old_share", "limit_days", "mean_age_days", "map_age_seconds", "open_interest_age_minutes")
REASON = (
    "the map {side} is stale: {old_share:.0%} of the zones' mass older than {limit_days:.0f} days, map "
    "{map_age_seconds:.0f} s old, open interest {open_interest_age_minutes:.0f} min"
)
MEMORY = NOTHING

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS


class Thresholds(Strict, frozen=True, kw_only=True):
    """What is too old."""

    horizon_minutes: float = 60.0
    """How far ahead is asked about: a day at most."""
    short_horizon_minutes: float = 60.0
    """Up to this horizon `short_limit_days` holds, above it `long_limit_days`."""
    short_limit_days: float = 1.0
    """Mass older than this says little about a short horizon."""
    long_limit_days: float = 7.0
    """Mass older than this says little about a longer one."""
    most_old_share: float = 0.5
    """A greater share of old mass raises the flag."""
    most_map_seconds: float = 180.0
    """As does a map that took nothing in for longer than this ..."""
    most_open_interest_minutes: float = 10.0
    """... or a newest stamp of open interest older than this."""

    def __post_init__(self) -> None:
        require(0 < self.horizon_minutes <= 1440, "horizon_minutes lies between 0 and a day")
        require(0 < self.short_limit_days <= self.long_limit_days, "limits are positive and rise")
        require(0 < self.most_old_share < 1, "most_old_share lies between 0 and 1")
        require(self.most_map_seconds > 0 and self.most_open_interest_minutes > 0, "ages are positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The worst of old mass, an unfed map and old open interest."""
    now, zones = scene.now[0], scene.zones
    is_short = thresholds.horizon_minutes <= thresholds.short_horizon_minutes
    limit_days = thresholds.short_limit_days if is_short else thresholds.long_limit_days
    map_seconds = now.map_age_ns / SECOND_NS
    interest_minutes = now.open_interest_age_ns / MINUTE_NS
    unfed = max(
        map_seconds / (2 * thresholds.most_map_seconds), interest_minutes / (2 * thresholds.most_open_interest_minutes)
    )
    for side in range(2):
        mass, old, mass_days = 0.0, 0.0, 0.0
        for i in range(zones.size):
            if zones[i].side == side:
                mass += zones[i].mass_share
                mass_days += zones[i].mass_share * zones[i].age_days
                old += zones[i].mass_share if zones[i].age_days > limit_days else 0.0
        old_share = old / mass if mass > 0 else 0.0
        found = out[side]
        found.score = min(1.0, max(old_share / (2 * thresholds.most_old_share), unfed))
        if math.isnan(mass_days):
            old_share, found.score = np.nan, np.nan
        found.flag, found.known_at_ns = int(found.score > 0.5), now.close_ns
        found.evidence[:] = np.nan
        found.evidence[0], found.evidence[1] = old_share, limit_days
        found.evidence[2] = mass_days / mass if mass > 0 else np.nan
        found.evidence[3], found.evidence[4] = map_seconds, interest_minutes
