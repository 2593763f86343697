"""Depletion after a sweep: whether a swept zone was really liquidated, was never there, or was opened anew.

domain.md §4.2, 8. When the mark has gone through a zone, `observed_share` is what was seen liquidated on its side over
the zone's USD at its last sight before the mark touched it, and `reopened_share` the open interest that came back
within 15 minutes, in base coins, over the zone's. That the map loses the mass is no evidence: it is made so.

- *confirmed*: `observed_share` reaches `least_confirmed`; raises the flag. Said of incomplete feeds too, for what they
  show is the least that was liquidated; under that they leave the score NaN.
- *phantom*: it stays under `most_phantom`; only said where every venue's feed was complete, else NaN.
- *reopened*: `reopened_share` reaches `least_reopened`; NaN until it is known, or if open interest was stale.

Rounding: whole steps are counted, from the first in which the mark is beyond the zone's near edge to the last that
closes within 30 s of the close in which the sweep ended; with steps over 30 s that is the sweep's own. A crossing that
the mark breaks off begins anew, with what is then left of the zone. "15 minutes later" is the first step that closes
then or after. Zones of a side whose sweeps end in one step are one sweep: they share what was liquidated; sweeps that
follow each other within 30 s count it twice. The reported share θ is not known and taken as 1.

A missing step makes unknown what it took part in. The newest sweep of a side speaks for `held_minutes`; without one
the score is 0, and NaN where no liquidations or no map are recorded.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.scene import SWEPT, Scene
from squeeze.strict import Strict, require

NAME = "depletion"
EVIDENCE = ("observed_share", "reopened_share", "phantom", "reopened", "mass_usd", "minutes_ago")
REASON = (
    "the zone swept {side} {minutes_ago:.0f} minutes ago gave way: {observed_share:.0%} of its {mass_usd:,.0f} USD was "
    "seen liquidated"
)
AFTER_NS = 30 * 10**9
REOPEN_NS = 15 * MINUTE_NS
WATCHED = 16
"""Zones of a side that are remembered; the nearest half of them is refreshed each step, the others may be missed."""
PENDING = 4
"""Sweeps of a side that are remembered; of more the oldest is forgotten."""
MEMORY = np.dtype(
    [
        ("close_ns", "i8"),
        ("zone_id", "i8", (2, WATCHED)),
        ("zone_ns", "i8", (2, WATCHED)),  # close of the step that saw it last; 0 for an empty place
        ("zone_edge", "f8", (2, WATCHED)),  # absolute bin border on the mark's side, at the last sight before ...
        ("zone_usd", "f8", (2, WATCHED)),  # ... the mark went in
        ("zone_base", "f8", (2, WATCHED)),
        ("crossing", "i8", (2, WATCHED)),  # 1 while the mark is in it
        ("zone_seen_usd", "f8", (2, WATCHED)),  # liquidated since the crossing began
        ("zone_complete", "i8", (2, WATCHED)),  # 1 if all feeds were complete since
        ("swept_ns", "i8", (2, PENDING)),  # close of the step that ended the sweep; 0 for an empty place
        ("swept_usd", "f8", (2, PENDING)),
        ("swept_base", "f8", (2, PENDING)),
        ("seen_usd", "f8", (2, PENDING)),
        ("complete", "i8", (2, PENDING)),
        ("interest_base", "f8", (2, PENDING)),  # open interest when the sweep ended
        ("reopened_base", "f8", (2, PENDING)),  # open interest 15 minutes later less that
    ],
    align=True,
)


class Thresholds(Strict, frozen=True, kw_only=True):
    """What a sweep proves."""

    least_confirmed: float = 0.25
    """Share of the zone that was seen liquidated with which it is confirmed ..."""
    most_phantom: float = 0.05
    """... and under which it was a phantom."""
    least_reopened: float = 0.5
    """Share of the zone that came back as open interest with which it is reopened."""
    held_minutes: float = 60.0
    """For so long after its end a sweep speaks."""
    stalest_minutes: float = 10.0
    """Older open interest says nothing of what was reopened."""

    def __post_init__(self) -> None:
        require(0 < self.most_phantom <= self.least_confirmed, "most_phantom is positive, least_confirmed not less")
        require(self.least_reopened > 0, "least_reopened is positive")
        require(self.held_minutes > 0.5, "held_minutes exceed the half minute in which liquidations are counted")
        require(self.stalest_minutes > 0, "stalest_minutes is positive")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """What the newest sweep of each side has proved."""
    now = scene.now[0]
    hole = memory.close_ns > 0 and now.close_ns - now.step_ns > memory.close_ns
    fresh = now.open_interest_age_ns <= thresholds.stalest_minutes * MINUTE_NS
    interest_base = now.open_interest_base if fresh else np.nan
    for side in range(2):
        seen_usd, complete = liquidated(scene, side)
        if hole:
            seen_usd, complete = np.nan, 0
        reached = math.log(now.mark_low if side == 0 else now.mark_high) / now.bin_log
        cross(memory, side, reached, seen_usd, complete)
        follow(now, memory, side, seen_usd, complete, interest_base)
        sweep(scene, memory, side, seen_usd, complete, interest_base)
        watch(scene, memory, side, reached)
        tell(now, thresholds, memory, side, out[side])
        if math.isnan(out[side].evidence[5]) and not math.isnan(seen_usd + scene.heat[side, 0]):
            out[side].score = 0.0
    memory.close_ns = now.close_ns


@njit(cache=True)
@no_type_check
def liquidated(scene: Scene, side: int) -> tuple[float, int]:
    """USD that the venues tell of in this step, NaN if none tells, and whether that is all there was."""
    total, told, complete = 0.0, 0, 1
    for venue in range(scene.venues.size):
        usd = scene.venues[venue].long_usd if side == 0 else scene.venues[venue].short_usd
        complete = int(complete == 1 and scene.venues[venue].complete == 1 and not math.isnan(usd))
        if not math.isnan(usd):
            total, told = total + usd, told + 1
    return (total, complete) if told else (np.nan, 0)


@njit(cache=True)
@no_type_check
def cross(memory: np.void, side: int, reached: float, seen_usd: float, complete: int) -> None:
    """Begin, go on with or end the crossing of each zone that was known before this step."""
    for i in range(WATCHED):
        inside = memory.zone_ns[side, i] > 0 and beyond(side, reached, memory.zone_edge[side, i])
        if not memory.crossing[side, i]:
            memory.zone_seen_usd[side, i], memory.zone_complete[side, i] = 0.0, 1
        memory.crossing[side, i] = int(inside)
        memory.zone_seen_usd[side, i] += seen_usd
        memory.zone_complete[side, i] &= complete


@njit(cache=True)
@no_type_check
def beyond(side: int, reached: float, edge: float) -> bool:
    """Whether the mark, as bins since ln price 0, went in over a zone's near edge."""
    return reached < edge if side == 0 else reached > edge


@njit(cache=True)
@no_type_check
def follow(now: np.void, memory: np.void, side: int, seen_usd: float, complete: int, interest_base: float) -> None:
    """Add this step to the sweeps that ended within the last 30 s, and measure what was reopened."""
    for i in range(PENDING):
        if memory.swept_ns[side, i] == 0:
            continue
        if memory.close_ns + now.step_ns - memory.swept_ns[side, i] <= AFTER_NS:  # the step after the last one counts
            memory.seen_usd[side, i] += seen_usd
            memory.complete[side, i] &= complete
        age_ns = now.close_ns - memory.swept_ns[side, i]
        if age_ns >= REOPEN_NS > age_ns - now.step_ns:
            memory.reopened_base[side, i] = interest_base - memory.interest_base[side, i]


@njit(cache=True)
@no_type_check
def sweep(scene: Scene, memory: np.void, side: int, seen_usd: float, complete: int, interest_base: float) -> None:
    """Put the zones of a side whose sweep ended in this step, as one, in the place of the oldest."""
    now, count = scene.now[0], 0
    usd, base, most_seen, whole = 0.0, 0.0, 0.0, 1
    for i in range(scene.ended.size):
        zone = scene.ended[i]
        if zone.side != side or zone.ending != SWEPT:
            continue
        count += 1
        at = place_of(memory, side, zone.id)
        if at >= 0:
            usd, base = usd + memory.zone_usd[side, at], base + memory.zone_base[side, at]
            seen, all_seen = memory.zone_seen_usd[side, at], memory.zone_complete[side, at]
            memory.zone_ns[side, at] = 0
        elif zone.touched_ns == now.close_ns:  # last seen before the mark touched it
            usd, base = usd + zone.mass_usd, base + zone.mass_base
            seen, all_seen = seen_usd, complete
        else:
            seen, all_seen = np.nan, 0
        most_seen = seen if seen > most_seen or math.isnan(seen) else most_seen
        whole &= all_seen
    if count == 0:
        return
    at = np.argmin(memory.swept_ns[side])
    memory.swept_ns[side, at] = now.close_ns
    memory.swept_usd[side, at], memory.swept_base[side, at] = usd, base
    memory.seen_usd[side, at], memory.complete[side, at] = most_seen, whole
    memory.interest_base[side, at], memory.reopened_base[side, at] = interest_base, np.nan


@njit(cache=True)
@no_type_check
def place_of(memory: np.void, side: int, zone_id: int) -> int:
    """Where a zone is remembered; -1 if it is not."""
    for i in range(WATCHED):
        if memory.zone_ns[side, i] > 0 and memory.zone_id[side, i] == zone_id:
            return i
    return -1


@njit(cache=True)
@no_type_check
def watch(scene: Scene, memory: np.void, side: int, reached: float) -> None:
    """Look at the nearest zones: those that the mark is not in are remembered as they are now."""
    count = 0
    for i in range(scene.zones.size):
        zone = scene.zones[i]
        if zone.side != side or 2 * count >= WATCHED:
            continue
        count += 1
        edge = zone.end_bin if side == 0 else zone.low_bin
        at = place_of(memory, side, zone.id)
        inside = beyond(side, reached, edge) if at < 0 else memory.crossing[side, at] == 1
        if at < 0 or not inside:
            at = np.argmin(memory.zone_ns[side]) if at < 0 else at
            memory.zone_id[side, at], memory.zone_edge[side, at] = zone.id, edge
            # How much of a zone was there before the mark went in is not known of one first seen with the mark in it.
            memory.zone_usd[side, at] = np.nan if inside else zone.mass_usd
            memory.zone_base[side, at] = np.nan if inside else zone.mass_base
            memory.crossing[side, at] = int(inside)
        memory.zone_ns[side, at] = scene.now[0].close_ns


@njit(cache=True)
@no_type_check
def tell(now: np.void, thresholds: np.void, memory: np.void, side: int, found: np.void) -> None:
    """The newest sweep whose liquidations are all counted, if it is not too old."""
    found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
    found.evidence[:] = np.nan
    newest = -1
    for i in range(PENDING):
        age_ns = now.close_ns - memory.swept_ns[side, i]
        told = memory.swept_ns[side, i] > 0 and age_ns + now.step_ns > AFTER_NS
        if told and age_ns <= thresholds.held_minutes * MINUTE_NS:
            newest = i if newest < 0 or memory.swept_ns[side, i] > memory.swept_ns[side, newest] else newest
    if newest < 0:
        return
    observed = share(memory.seen_usd[side, newest], memory.swept_usd[side, newest])
    reopened = share(memory.reopened_base[side, newest], memory.swept_base[side, newest])
    confirmed, complete = observed >= thresholds.least_confirmed, memory.complete[side, newest] == 1
    if confirmed or complete:
        found.score = 1.0 if observed > 1 else observed  # NaN stays NaN
        found.evidence[2] = float(int(observed < thresholds.most_phantom)) if observed == observed else np.nan
    found.flag = int(confirmed)
    found.evidence[0], found.evidence[1] = observed, reopened
    found.evidence[3] = float(int(reopened >= thresholds.least_reopened)) if reopened == reopened else np.nan
    found.evidence[4] = memory.swept_usd[side, newest]
    found.evidence[5] = (now.close_ns - memory.swept_ns[side, newest]) / MINUTE_NS


@njit(cache=True)
@no_type_check
def share(part: float, whole: float) -> float:
    """A share, not under 0; NaN if either is not known or there is no whole."""
    if math.isnan(part) or not whole > 0:
        return np.nan
    return max(0.0, part / whole)
