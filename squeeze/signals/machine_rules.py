"""The conditions of domain.md §6.1's table, each a pure function of one look.

An unknown input is NaN, and a condition passes only where its comparison is true, so that the unknown never lets
anything pass. `side` is 0 for longs, whose zones lie below and whose squeeze goes down, and 1 for shorts.
"""

import math
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.signals.machine_memory import Cascade
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.strategy_setup import EntryRules, HealthRules, TriggerRules, ZoneRules
from squeeze.signals.view import View, ZoneView

OUTWARD = (-1.0, 1.0)
"""Sign of the price's direction in a squeeze of the side."""
PATH_MINUTES = 6.0
"""A path of so many minutes stands for the deviation in the onset rule (iv)."""


def stale_inputs(view: View, rules: HealthRules, gap_ns: int, clock_ns: int) -> tuple[str, ...]:
    """What is too old to act on, sorted; `gap_ns` since the last look, `clock_ns` between looks as intended."""
    found = set(view.stale)
    if math.isnan(view.mark):
        found.add("price")
    if gap_ns > max(rules.gap_seconds * SECOND_NS, 3 * clock_ns):
        found.add("clock")
    return tuple(sorted(found))


def probability(view: View, side: int, horizon: int, stale_ns: int) -> float:
    """What the model says at this moment; NaN while it abstains, or its last word is older than `stale_ns`."""
    word = view.word
    if word is None or word.probabilities is None or view.now_ns - word.ts_ns > stale_ns:
        return math.nan
    return word.probabilities[side][horizon]


def zone_ahead(view: View, side: int, rules: ZoneRules) -> tuple[ZoneView, str] | None:
    """The nearest zone worth watching, and what makes it so."""
    is_stack = view.patterns.get("stacked_zones", (False, False))[side]
    for zone in view.zones:
        near = rules.least_distance_percent / 100 <= zone.near_log <= rules.reach_percent / 100
        heavy = zone.major if rules.least_rank is None else zone.thickness_rank >= rules.least_rank
        if zone.side == side and near and (heavy or is_stack) and _is_sound(view, zone, side, rules):
            return zone, "major_zone" if zone.major else "heavy_zone" if heavy else "stacked_zones"
    return None


def _is_sound(view: View, zone: ZoneView, side: int, rules: ZoneRules) -> bool:
    """Old enough, not thinned, and not made of positions that are too old for the horizon."""
    if "stale_timeframe" in view.patterns:
        is_fresh = not view.patterns["stale_timeframe"][side]
    else:
        is_fresh = zone.age_hours <= rules.oldest_mass_hours
    is_old_enough = view.now_ns - zone.born_ns >= rules.least_age_minutes * MINUTE_NS
    return is_fresh and is_old_enough and not is_thinned(zone, rules)


def is_thinned(zone: ZoneView, rules: ZoneRules) -> bool:
    """Whether it lost too much of its greatest mass of six hours."""
    return zone.mass_share <= (1 - rules.thinned_share) * zone.peak_6h_share


def seen(view: View, zone: ZoneView) -> ZoneView | None:
    """The zone as it is now."""
    return next((z for z in view.zones if z.side == zone.side and z.id == zone.id), None)


def reached_for(zone: ZoneView, before: ZoneView | None) -> ZoneView:
    """A zone with the nearer of the edges that it has now and had at the look before.

    Into that one the mark goes. The step that closes with a bar has swept the map already, and where looks are as far
    apart as steps, the edge it leaves is always ahead of the mark.
    """
    if before is None:
        return zone
    if zone.side == 0:
        return replace(zone, high=max(zone.high, before.high))
    return replace(zone, low=min(zone.low, before.low))


def given_up(view: View, zone: ZoneView, distance_log: float, rules: ZoneRules) -> str | None:
    """Why a zone is no longer worth watching; once the mark is in it, that it shrinks says nothing."""
    if log_beyond(zone, extreme(view, zone.side)) >= 0:
        return None
    now = seen(view, zone)
    if now is None:
        return "zone_lost"
    if is_thinned(now, rules):
        return "zone_thinned"
    return "price_away" if now.near_log > rules.away_ratio * distance_log else None


def extreme(view: View, side: int) -> float:
    """The mark furthest in the squeeze's direction since the last look."""
    furthest = view.mark_low if side == 0 else view.mark_high
    return furthest if furthest * OUTWARD[side] > view.mark * OUTWARD[side] else view.mark


def log_beyond(zone: ZoneView, price: float) -> float:
    """How far a price is beyond the zone's near edge; below zero before it."""
    return math.log(price / zone.high) * -1.0 if zone.side == 0 else math.log(price / zone.low)


def toward_log(view: View, side: int) -> float:
    """Log price a minute toward the side's zones."""
    return OUTWARD[side] * view.velocity_log


def eta_minutes(view: View, zone: ZoneView) -> float:
    """Until the mark is at the near edge if it goes on so; NaN where it does not come nearer."""
    toward = toward_log(view, zone.side)
    return max(0.0, -log_beyond(zone, view.mark)) / toward if toward > 0 else math.nan


def is_approaching(view: View, zone: ZoneView, strategy: StrategySpec) -> bool:
    """Fast enough, and soon there."""
    fast = toward_log(view, zone.side) >= strategy.approach.least_velocity_sigmas * view.sigma_1m_log
    return fast and eta_minutes(view, zone) <= strategy.approach.most_eta_minutes


def trigger(view: View, zone: ZoneView, falling: bool, strategy: StrategySpec) -> str | None:
    """By what a zone gives way: `prints`, or `volume` where liquidations cannot be trusted; None if it does not."""
    side, rules = zone.side, strategy.trigger
    if not log_beyond(zone, extreme(view, side)) >= 0:
        return None
    if not view.liquidations_suspect:
        usd, prints = lately(view, side, rules)
        usual_usd = (view.liquidated_10s_usual_usd if rules.seconds == 10 else view.onset_usd)[side]
        return "prints" if usd >= usual_usd and prints >= rules.least_prints else None
    taken = view.taker_sells_10s_usd if side == 0 else view.taker_buys_10s_usd
    usual = view.volume_minute_usd / 6
    if math.isnan(taken):  # bars only
        taken, usual = view.volume_60s_usd, view.volume_minute_usd
    return "volume" if falling and taken >= rules.taker_ratio * usual else None


def lately(view: View, side: int, rules: TriggerRules) -> tuple[float, float]:
    """USD and prints of the side in the time that the trigger counts."""
    if rules.seconds == 10:
        return view.liquidated_10s_usd[side], view.prints_10s[side]
    return view.liquidated_60s_usd[side], view.prints_60s[side]


def is_onset(view: View, side: int, strategy: StrategySpec) -> bool:
    """The onset rule (i) to (iii) of domain.md §5.1."""
    own, both = view.liquidated_60s_usd[side], sum(view.liquidated_60s_usd)
    rules = strategy.cascade
    return (
        own >= view.onset_usd[side] and view.prints_60s[side] >= rules.least_prints and own >= rules.side_share * both
    )


def is_price_onset(view: View, side: int, cascade: Cascade, strategy: StrategySpec) -> bool:
    """What stands in for it where liquidations cannot be trusted: move, volume, open interest."""
    moved = OUTWARD[side] * math.log(view.mark / cascade.triggered_mark)
    return (
        moved >= strategy.cascade.move_sigmas * math.sqrt(PATH_MINUTES) * view.sigma_1m_log
        and view.volume_60s_usd >= strategy.trigger.taker_ratio * view.volume_minute_usd
        and view.open_interest_base < cascade.open_interest_base
    )


def is_false_break(view: View, side: int, cascade: Cascade, strategy: StrategySpec) -> bool:
    """Whether the mark is back outside the edge that it went through, and by enough."""
    back_log = -OUTWARD[side] * math.log(view.mark / cascade.edge)
    return back_log >= strategy.trigger.back_outside_atr * view.atr_15m_log


def entered(view: View, side: int, zone: ZoneView, cascade: Cascade) -> list[ZoneView]:
    """The zones behind the last one that the mark has gone into, nearest first; those born in the cascade are not."""
    behind = (
        z
        for z in view.zones
        if z.side == side
        and z.id not in cascade.zone_ids
        and z.born_ns <= cascade.triggered_ns
        and (z.high <= zone.low if side == 0 else z.low >= zone.high)
        and log_beyond(z, extreme(view, side)) >= 0
    )
    return sorted(behind, key=lambda z: OUTWARD[side] * z.centroid)


def depletion(cascade: Cascade, rules: EntryRules) -> float:
    """ρ_obs: share of the zones' USD that was seen liquidated; NaN without a feed, or where it could not be trusted."""
    if cascade.is_price_only or not cascade.zones_usd > 0:
        return math.nan
    return cascade.cleared_usd / (rules.print_share * cascade.zones_usd)


def reopened(view: View, cascade: Cascade) -> float:
    """Share of the zones' USD that came back as open interest since the cascade's end; below zero if more has left."""
    if not cascade.zones_usd > 0:
        return math.nan
    return (view.open_interest_base - cascade.open_interest_end_base) * view.mark / cascade.zones_usd


def calm(view: View, cascade: Cascade, rules: EntryRules) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an entry still waits for, and what is unknown but not required."""
    of_peak = _holds(view.volume_60s_usd, "<=", rules.most_volume_of_peak * cascade.peak_volume_usd)
    of_usual = _holds(view.volume_60s_usd, "<=", rules.most_volume_of_usual * view.volume_minute_usd)
    checks = {
        "volume": None if of_peak is None or of_usual is None else of_peak and of_usual,
        "spread": _holds(view.spread_worst_30s_bp, "<=", rules.most_spread_ratio * view.spread_median_60m_bp),
        "depth": _holds(rules.least_depth_share * view.depth_median_60m_usd, "<=", view.depth_usd),
        "range": _holds(view.range_3m_log, "<=", rules.most_range_atr * view.atr_15m_log),
        "depletion": _holds(rules.least_depletion, "<=", depletion(cascade, rules)),
        "open_interest": _holds(reopened(view, cascade), "<", rules.most_reopened_share),
    }
    required = {"range", *rules.required}
    waits = [name for name, holds in checks.items() if holds is False or (holds is None and name in required)]
    unknown = [name for name, holds in checks.items() if holds is None and name not in required]
    return tuple(f"waits_for_{name}" for name in waits), tuple(f"unknown_{name}" for name in unknown)


def _holds(left: float, relation: Literal["<", "<="], right: float) -> bool | None:
    """Whether it does; None where a side is unknown."""
    if math.isnan(left) or math.isnan(right):
        return None
    return left < right if relation == "<" else left <= right


def is_fresh_mark(view: View, rules: EntryRules) -> bool:
    """Whether the mark came live, and was both made and heard just now: nothing else may lead to an entry."""
    oldest_ns = min(view.mark_ns, view.mark_made_ns)  # a venue's clock may be ahead of ours
    return view.live and view.now_ns - oldest_ns <= rules.mark_seconds * SECOND_NS


def recent(clearings: Sequence[tuple[int, float]], now_ns: int, days: float) -> tuple[tuple[int, float], ...]:
    """The clearings of the last days."""
    return tuple(item for item in clearings if now_ns - item[0] <= days * DAY_NS)
