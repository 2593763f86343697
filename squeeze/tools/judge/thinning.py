"""Whether zones thin whose holders leave: the thinning pattern's score beside what only the simulator knows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from squeeze.market.events import DAY_NS, HOUR_NS
from squeeze.patterns.thinning import Thresholds, lost
from squeeze.simulator import SimulatedMarket
from squeeze.simulator.kernel import LEFT
from squeeze.simulator.truth import Ledger, left_usd, true_map
from squeeze.spec import FrameSpec, MapSpec
from squeeze.tools.judge.past import Past
from squeeze.zones.spec import TrackSpec
from squeeze.zones.track import ZoneTracker

EVERY_MINUTES, HOURS = 5, 6
"""Zones are followed in such steps; the pattern looks back so far."""
LEAVERS_SHARE, NONE_SHARE = 0.4, 0.1
"""A zone has real leavers if this share of its true mass left within six hours of its holders' fear or greed, and none
if it was less than the other; zones between are not judged."""


@dataclass(frozen=True, slots=True, eq=False)
class ThinnedZones:
    """Untouched zones, as seen every six hours: each was seen six hours before, too."""

    day: Int[np.ndarray, " zone"]
    score: Float[np.ndarray, " zone"]
    """Of the pattern; at its flag it is at least `least_thinning`."""
    left_share: Float[np.ndarray, " zone"]
    """Of the true mass of six hours ago: what left as the spec's `Thinning` says."""
    nearness: Float[np.ndarray, " zone"]
    """Less its near edge's distance: the simple rival, for some leave because their liquidation is near."""


def score(zone: np.void, limits: Thresholds) -> float:
    """What `patterns.thinning` says of one zone, a record of `patterns.scene.ZONE`."""
    thinning = lost(zone["mass_base"], zone["peak_6h_base"])
    excess = lost(zone["mass_share"], zone["peak_6h_share"])
    return float(min(thinning, excess * limits.least_thinning / limits.least_excess))


def thinned_zones(
    market: SimulatedMarket, past: Past, spec: MapSpec, positions: Ledger, since_minute: int
) -> ThinnedZones:
    """The zones of a simulated market from a minute on; the map and its zones are followed from the start."""
    frame, limits = FrameSpec(), Thresholds()
    tracker, found = ZoneTracker(TrackSpec(), frame, spec.bin_log), list[tuple[float, ...]]()
    stops = np.arange(EVERY_MINUTES - 1, len(past.closes_ns), EVERY_MINUTES)
    for first, end, held, _ in past.fold(spec, stops):
        close_ns, mark, interest = int(past.closes_ns[end - 1]), float(past.mark[end - 1, 2]), held.open_interest_base
        low, high = float(past.mark[first:end, 0].min()), float(past.mark[first:end, 1].max())
        mass, born = held.profile(mark, tracker.reach_bins)
        zones, _ = tracker.step(mass / interest, born / interest, mark, low, high, interest, close_ns)
        if end > since_minute and close_ns % (HOURS * HOUR_NS) == 0:
            old = (zones["born_ns"] <= close_ns - HOURS * HOUR_NS) & (zones["touched_ns"] == 0)
            chosen = zones[old & (zones["far_log"] <= limits.reach_log)]
            left = left_share(market, chosen, end - 1, spec.bin_log, positions)
            for zone, share in zip(chosen, left.tolist(), strict=True):
                found.append(((close_ns - 1) // DAY_NS, score(zone, limits), share, -float(zone["near_log"])))
    day, scores, left_shares, nearness = np.array(found).reshape(-1, 4).T
    return ThinnedZones(day.astype(np.int64), scores, left_shares, nearness)


def left_share(
    market: SimulatedMarket, zones: np.ndarray, minute: int, bin_log: float, positions: Ledger
) -> Float[np.ndarray, " zone"]:
    """Of each zone's true mass six hours before a minute's close, what then left; NaN where there was none."""
    if not len(zones):
        return np.zeros(0)
    before = minute - 60 * HOURS
    first, end = int(zones["low_bin"].min()), int(zones["end_bin"].max())
    edges = np.exp(bin_log * np.arange(first, end + 1))
    held = true_map(market, before, edges, positions).sum(axis=0)
    gone = left_usd(market, (before, minute), edges, (LEFT,), positions).sum(axis=0)
    running = [np.concatenate([np.zeros((2, 1)), each.cumsum(axis=1)], axis=1) for each in (held, gone)]
    side, low, high = zones["side"], zones["low_bin"] - first, zones["end_bin"] - first
    there, left = (each[side, high] - each[side, low] for each in running)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(there > 0, left / there, np.nan))
