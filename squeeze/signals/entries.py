"""What an entry waits for beyond a calm market, and the trade that is then advised."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR

from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals import exits, machine_rules, sizing
from squeeze.signals.machine_look import Look
from squeeze.signals.machine_memory import Cascade, Memory, SideMemory, Trade
from squeeze.signals.message import Mode
from squeeze.signals.sizing import Order, Size
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.view import View

BUSY = ("aftermath", "entry", "managed")


def waits(look: Look, cascade: Cascade) -> tuple[str, ...]:
    """What is still missing, as reason codes; empty when an entry may be made."""
    rested = look.memory.exit_ns is None or (
        look.now_ns - look.memory.exit_ns >= look.strategy.portfolio.cooldown_minutes * MINUTE_NS
    )
    conditions = {
        "live_mark": machine_rules.is_fresh_mark(look.view, look.strategy.entry),
        "probability": not math.isnan(look.probability),
        "quiet": not machine_rules.is_onset(look.view, look.side, look.strategy),
        "other_side": look.other.state not in BUSY and look.other.trade is None,
        "cooldown": rested,
    }
    missing = tuple(f"waits_for_{name}" for name, holds in conditions.items() if not holds)
    return missing + machine_rules.calm(look.view, cascade, look.strategy.entry)[0]


def mode_of(side: int, strategy: StrategySpec, costs_log: float) -> Mode | None:
    """Whether to go on with the squeeze or against it; None where `auto` expects less than the costs either way."""
    rules = strategy.entry
    if rules.mode != "auto":
        return rules.mode
    expected = math.inf if rules.expected_return_log is None else rules.expected_return_log[side]
    return "continuation" if expected > costs_log else "reversion" if -expected > costs_log else None


def costs_log(view: View, strategy: StrategySpec) -> float:
    """Two taker's fees and a spread (the entry's band where there is no book), in log price."""
    spread_bp = 2 * strategy.entry.band_bp if math.isnan(view.spread_bp) else view.spread_bp
    return 2 * strategy.account.taker_fee + spread_bp / 1e4


def advise(look: Look, mind: SideMemory) -> Trade | tuple[str, ...]:
    """The trade, or why there is none: codes that begin with `waits_for_` may come true later.

    The expected net edge is `expected_return_log` in the trade's direction where it was measured. Where it was not, the
    way to the first target (one R where none lies ahead) stands for it: no more than that the trade can pay its costs.
    """
    view, strategy, cascade = look.view, look.strategy, mind.cascade
    if cascade is None:
        raise AssertionError("advice without a cascade")
    costs = costs_log(view, strategy)
    mode = mode_of(look.side, strategy, costs)
    if mode is None:
        return ("waits_for_edge",)
    order: Order = "sell" if (look.side == 0) == (mode == "continuation") else "buy"
    low, high = band(view, strategy)
    worst = high if order == "buy" else low
    stop = exits.first_stop(
        order, *consolidation(look.memory, view, strategy), worst, view.atr_15m_log, view.zones, strategy
    )
    if not (stop > 0 and sizing.sign_of(order) * (worst - stop) > 0 and math.isfinite(view.atr_5m_log)):
        return ("waits_for_range",)
    ahead = exits.targets(order, high if order == "buy" else low, view, cascade.zone_ids, strategy)
    if not _edge_log(look.side, mode, worst, ahead[0] if ahead else 2 * worst - stop, strategy) > costs:
        return ("waits_for_edge",)
    risk, flags = wanted_risk(look, cascade, order)
    room = strategy.portfolio.same_direction_percent - look.others.of(order)
    if risk < strategy.risk.least_percent:
        return ("risk_too_small",)
    if min(risk, room) < strategy.risk.least_percent:
        return ("portfolio_full",)
    size = sizing.size(order, worst, low, stop, min(risk, room), strategy)
    if isinstance(size, str):
        return (size,)
    unknown = machine_rules.calm(view, cascade, strategy.entry)[1]
    return _trade(look, mode, order, (low, high, worst, stop), ahead, size, (*unknown, *flags))


def wanted_risk(look: Look, cascade: Cascade, order: Order) -> tuple[float, tuple[str, ...]]:
    """Per cent of equity before the portfolio's and the exchange's limits, and what it had to guess."""
    rules = look.strategy.risk
    mood, flags = sizing.regime(look.view, order, rules)
    quality, _ = sizing.quality(look.view, look.side, look.strategy)
    if math.isnan(cascade.thickness):
        flags = (*flags, "unknown_thickness")
    return sizing.risk_percent(cascade.thickness, mood, quality, rules), flags


def band(view: View, strategy: StrategySpec) -> tuple[float, float]:
    """Lowest and highest price of the entry, in whole ticks around the mid (the mark where there is no book)."""
    mid = (view.bid + view.ask) / 2
    middle, share, tick = (
        view.mark if math.isnan(mid) else mid,
        strategy.entry.band_bp / 1e4,
        strategy.account.price_step,
    )
    low, high = middle * (1 - share), middle * (1 + share)
    return float(sizing.to_step(low, tick, ROUND_FLOOR)), float(sizing.to_step(high, tick, ROUND_CEILING))


def consolidation(memory: Memory, view: View, strategy: StrategySpec) -> tuple[float, float]:
    """Range of the mark in the last minutes, the whole first one counted."""
    first = (view.now_ns - strategy.exits.consolidation_minutes * MINUTE_NS) // MINUTE_NS
    recent = [(low, high) for minute, low, high in memory.minutes if minute >= first]
    return min((low for low, _ in recent), default=math.nan), max((high for _, high in recent), default=math.nan)


def _edge_log(side: int, mode: Mode, entry: float, target: float, strategy: StrategySpec) -> float:
    expected = strategy.entry.expected_return_log
    if expected is not None:
        return expected[side] if mode == "continuation" else -expected[side]
    return abs(math.log(target / entry)) if target > 0 else math.inf


def _trade(
    look: Look,
    mode: Mode,
    order: Order,
    prices: tuple[float, float, float, float],
    ahead: tuple[float, ...],
    size: Size,
    flags: tuple[str, ...],
) -> Trade:
    low, high, worst, stop = prices
    return Trade(
        mode=mode,
        order=order,
        entry_low=low,
        entry_high=high,
        entry=worst,
        first_stop=stop,
        stop=stop,
        targets=ahead,
        risk_percent=size.risk_percent,
        quantity=format(size.quantity, "f"),
        held=format(size.quantity, "f"),
        max_leverage=size.max_leverage,
        own_liquidation=size.own_liquidation,
        trail_from=exits.trail_begin(order, worst, stop, look.strategy),
        trail_distance=exits.trail_distance(look.view.atr_5m_log, worst, abs(worst - stop), look.strategy),
        issued_ns=look.now_ns,
        expires_ns=look.now_ns + round(look.strategy.entry.expires_seconds * SECOND_NS),
        probability=look.probability,
        flags=flags,
    )
