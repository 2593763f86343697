"""The spec in the kernel's units: per sub-step, per lot, in log price."""

import math

import numpy as np

from squeeze.simulator.kernel import Rules, Venues
from squeeze.simulator.outside import Climate
from squeeze.simulator.spec import CrossMargin, SimulatorSpec, Stops, Thinning, Walls

LOT_BASE = 0.001
"""Base coins in a lot."""
REAL_SHARE = {"matter": 1.0, "mixed": 0.5, "do_not_matter": 0.0}
"""Share of positions that are forced out when the mark reaches them."""


def decay(spec: SimulatorSpec, half_life_minutes: float) -> float:
    """What is left after one sub-step."""
    return float(0.5 ** (1.0 / (half_life_minutes * spec.substeps)))


def climate_of(spec: SimulatorSpec) -> Climate:
    """What the outside world's draws follow."""
    per_day = 1440 * spec.substeps
    return Climate(
        sigma=spec.daily_volatility / math.sqrt(per_day),
        slow_sd=float(spec.slow_volatility_sd),
        slow_decay=decay(spec, 60 * spec.slow_volatility_half_life_hours),
        fast_sd=float(spec.fast_volatility_sd),
        fast_decay=decay(spec, 60 * spec.fast_volatility_half_life_hours),
        jump_chance=spec.jumps_per_day / per_day,
        jump_sigmas=float(spec.jump_sigmas),
        bias_decay=decay(spec, 60 * spec.crowd_half_life_hours),
        target_sd=float(spec.open_interest_sd),
        target_decay=decay(spec, 60 * spec.open_interest_half_life_hours),
    )


def venues_of(spec: SimulatorSpec) -> Venues:
    """Shares and margin rules; a single venue's `maintenance` holds the fee."""
    venues = spec.all_venues()
    weights = np.array([venue.weight for venue in venues])
    margin = np.array([venue.maintenance + venue.fee for venue in venues])
    return Venues((weights / weights.sum()).cumsum(), margin)


def rules_of(spec: SimulatorSpec) -> Rules:
    """What the agents and their book follow; `null_rate` is set once it is known (`market.simulate`)."""
    per_day = 1440 * spec.substeps
    mean_notional = mean_pareto(spec.notional_min_usd, spec.notional_max_usd, spec.notional_tail)
    cross, stops = spec.cross or CrossMargin(), spec.stops or Stops()
    thinning, walls = spec.thinning or Thinning(), spec.walls or Walls()
    rules = Rules(
        minutes=1440 * spec.days,
        warm_up_minutes=1440 * spec.warm_up_days,
        substeps=spec.substeps,
        log_price=math.log(spec.price),
        sigma=spec.daily_volatility / math.sqrt(per_day),
        trend_decay=decay(spec, 240.0),
        basis_per_bias=spec.premium_bps * 1e-4,
        lot_base=LOT_BASE,
        positions=spec.positions,
        notional_min=spec.notional_min_usd,
        notional_max=spec.notional_max_usd,
        notional_tail=spec.notional_tail,
        net_chance=6.0 / per_day,
        close_chance=spec.closes_per_day / per_day,
        taker_log_leverage=math.log(spec.taker_leverage),
        maker_log_leverage=math.log(spec.maker_leverage),
        leverage_sd=spec.leverage_log_sd,
        leverage_min=spec.leverage_min,
        leverage_max=spec.leverage_max,
        depth_usd=spec.depth_usd,
        thinning=spec.depth_thinning,
        bargain=spec.bargain,
        permanent=spec.permanent_impact,
        impact_decay=decay(spec, spec.impact_half_life_minutes),
        refill_decay=decay(spec, spec.refill_half_life_minutes),
        mark_rate=1.0 - decay(spec, spec.mark_half_life_seconds / 60),
        noise_usd=spec.noise_turnover_per_day * spec.positions * mean_notional / per_day,
        detail=int(spec.detail),
        basis_sd=spec.venue_basis_bps * 1e-4,
        basis_decay=decay(spec, spec.venue_basis_half_life_minutes),
        cross_share=cross.share if spec.cross else 0.0,
        free_log_median=math.log(cross.free_median),
        free_log_sd=cross.free_log_sd,
        margin_chance=cross.changes_per_day / per_day if spec.cross else 0.0,
        stop_share=stops.share if spec.stops else 0.0,
        stop_round_share=stops.round_share,
        stop_reach=stops.reach_log,
        stop_beyond=stops.beyond_log,
        round_usd=stops.round_usd,
        leave_chance=thinning.leaves_per_day / per_day if spec.thinning else 0.0,
        leave_reach=thinning.reach_log,
        leave_profit=thinning.profit_log,
        real_share=REAL_SHARE[spec.zones],
        null_rate=0.0,
        null_power=spec.null.power,
        null_branching=spec.null.branching,
        null_decay=decay(spec, spec.null.half_life_minutes),
        wall_chance=walls.per_day / per_day if spec.walls else 0.0,
        wall_usd=walls.usd_min,
        wall_tail=walls.usd_tail,
        wall_distance=walls.distance_log,
        wall_genuine=walls.genuine_share,
        wall_flee=walls.flee_log,
        wall_end_chance=1.0 - decay(spec, walls.half_life_minutes),
    )
    # A whole number where the kernel expects a fraction would have it compiled anew.
    return Rules(*(kind(value) for kind, value in zip(Rules.__annotations__.values(), rules, strict=True)))


def mean_pareto(low: float, high: float, tail: float) -> float:
    """Mean of a Pareto variable from `low`, cut at `high`: what exceeds it counts as `high`.

    >>> round(mean_pareto(1.0, 1e9, 2.0), 6)
    2.0
    """
    if tail == 1.0:
        return low * (1.0 + math.log(high / low))
    return low * (1.0 + float((high / low) ** (1.0 - tail) - 1.0) / (1.0 - tail))
