"""How a trade is protected and how it ends: first stop, targets, trail, momentum, time (domain.md §6.2).

Prices are whole ticks. A stop is on the loss side of the price and never inside a zone; once told it only comes nearer.
"""

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from msgspec.structs import replace

from squeeze.errors import StepError
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals.machine_memory import Trade
from squeeze.signals.sizing import Order, sign_of, to_step
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.strategy_trade import Account, ExitRules, MomentumTerm
from squeeze.signals.view import View, ZoneView

NAN = math.nan
MOST_TARGETS = 2
FILL_TOLERANCE_NS = SECOND_NS
"""A consumer's clock may differ by so much."""


class Outcome(NamedTuple):
    """What became of an open trade at one look."""

    codes: tuple[str, ...]
    trade: Trade
    r_multiple: float | None = None
    """In R after fees, once it is over."""


def first_stop(
    order: Order, low: float, high: float, entry: float, atr_log: float, zones: Sequence[ZoneView], s: StrategySpec
) -> float:
    """Beyond the consolidation from `low` to `high` and far enough from the entry, outside every zone; NaN if unknown.

    `atr_log` is that of 15 minutes.
    """
    sign, edge = sign_of(order), low if order == "buy" else high
    beyond = edge * math.exp(-sign * s.exits.stop_atr * atr_log)
    least = entry * (1 - s.exits.least_stop_percent / 100) ** sign  # a sale's stop is the mirror of a purchase's
    if not math.isfinite(beyond):
        return NAN
    return outside_zones(order, min(beyond, least) if order == "buy" else max(beyond, least), zones, s.account)


def outside_zones(order: Order, stop: float, zones: Sequence[ZoneView], account: Account) -> float:
    """The nearest tick outward, away from the trade, that lies in no zone: one beyond the far edge of those around it.

    >>> zone = ZoneView(
    ...     id="short-1", side=1, low=101.0, high=102.0, centroid=101.5, near_log=0.01, far_log=0.02, mass_share=0.01,
    ...     mass_usd=1e6, peak_6h_share=0.01, thickness_rank=0.5, age_hours=1.0, born_ns=0, major=True, stack=1)
    >>> account = Account(price_step=0.1)
    >>> outside_zones("sell", 101.37, (zone,), account), outside_zones("sell", 100.93, (zone,), account)
    (102.1, 102.1)
    >>> outside_zones("buy", 101.37, (zone,), account), outside_zones("buy", 100.93, (zone,), account)
    (100.9, 100.9)
    """
    outward, tick = (ROUND_FLOOR, -account.price_step) if order == "buy" else (ROUND_CEILING, account.price_step)
    price = float(to_step(stop, account.price_step, outward))
    while (zone := next((z for z in zones if z.low <= price <= z.high), None)) is not None:
        price = float(to_step((zone.low if order == "buy" else zone.high) + tick, account.price_step, outward))
    return price


def targets(order: Order, price: float, view: View, passed: Sequence[str], s: StrategySpec) -> tuple[float, ...]:
    """Just before the near edges of the next major zones on the way, whatever side's they are, and before the far end
    of the next void, which price goes through fast; nearest first, empty where none lies ahead.

    The zones of the cascade itself are left out.
    """
    sign, gap = sign_of(order), s.exits.target_gap_bp / 1e4
    edges = [z.low if sign > 0 else z.high for z in view.zones if z.major and z.id not in passed]
    void = view.voids[1 if sign > 0 else 0]
    edges += [] if void is None else [void.high if sign > 0 else void.low]
    wanted = (edge * (1 - sign * gap) for edge in sorted(edges, key=lambda edge: sign * edge))
    rounding = ROUND_FLOOR if sign > 0 else ROUND_CEILING
    ticks = dict.fromkeys(float(to_step(level, s.account.price_step, rounding)) for level in wanted)
    return tuple(level for level in ticks if sign * (level - price) > 0)[:MOST_TARGETS]


def trail_begin(order: Order, entry: float, stop: float, s: StrategySpec) -> float:
    """The price from which on the stop follows, as a tick that is not nearer to the entry."""
    price = entry + s.exits.trail_after_r * (entry - stop)
    return float(to_step(price, s.account.price_step, ROUND_CEILING if order == "buy" else ROUND_FLOOR))


def trail_distance(atr_log: float, price: float, unit: float, s: StrategySpec) -> float:
    """How far the stop stays behind the best price, in whole ticks of quote currency; NaN if the range is unknown."""
    ranged = s.exits.trail_atr * price * atr_log
    if not math.isfinite(ranged):
        return NAN
    return float(to_step(max(ranged, s.exits.trail_least_r * unit), s.account.price_step, ROUND_CEILING))


def momentum(view: View, trade: Trade, probability: float, terms: tuple[MomentumTerm, ...]) -> float:
    """Sum of the terms, positive while the move goes on in the trade's direction; NaN while one is unknown."""
    parts: dict[MomentumTerm, float] = {
        "taker": trade.sign * view.taker_imbalance,
        "slope": trade.sign * view.velocity_log / view.sigma_1m_log if view.sigma_1m_log > 0 else NAN,
        "probability": -_fallen(probability, trade.probability),
    }
    return math.fsum(parts[term] for term in terms)


def _fallen(now: float, then: float) -> float:
    """By which share a probability fell; NaN where it is unknown now."""
    return math.nan if math.isnan(now) else max(0.0, 1 - now / then) if then > 0 else 0.0


def watch(trade: Trade, view: View, probability: float, rules: ExitRules) -> Trade:
    """The best price so far, and the momentum of each whole minute since the fill, judged as it ends."""
    extreme = view.mark_high if trade.sign > 0 else view.mark_low
    best = max((price for price in (trade.best, extreme, view.mark) if price == price), key=lambda p: trade.sign * p)
    minute = (view.now_ns - (trade.filled_ns or view.now_ns)) // MINUTE_NS
    if minute <= trade.minute:
        return replace(trade, best=best)
    score = momentum(view, trade, probability, rules.momentum)
    weak = trade.weak_minutes if math.isnan(score) else trade.weak_minutes + 1 if score <= 0 else 0
    return replace(trade, best=best, minute=minute, momentum=score, weak_minutes=weak)


def manage(trade: Trade, view: View, strategy: StrategySpec) -> Outcome | None:
    """What follows for a filled trade that `watch` has seen this look, the worst first; None where nothing does."""
    rules, sign, mark = strategy.exits, trade.sign, view.mark
    if not Decimal(trade.held):
        return _over(trade, mark, ("closed",), strategy)
    worst = view.mark_low if sign > 0 else view.mark_high
    if any(sign * (price - trade.stop) <= 0 for price in (mark, worst)):
        price = min(mark, trade.stop) if sign > 0 else max(mark, trade.stop)
        return _over(trade, price, ("stop_hit" if trade.stop == trade.first_stop else "trail_hit",), strategy)
    if view.now_ns - (trade.filled_ns or view.now_ns) >= rules.time_stop_minutes * MINUTE_NS:
        return _over(trade, mark, ("time_stop",), strategy)
    if trade.weak_minutes >= rules.weak_minutes_exit:
        return _over(trade, mark, ("momentum_gone",), strategy)
    if trade.weak_minutes >= rules.weak_minutes_half and not trade.is_half_taken:
        return _part(replace(trade, is_half_taken=True), 0.5, mark, ("momentum_weak",), strategy)
    if _reached(trade, view) and rules.target_share > 0:
        return _part(
            replace(trade, is_target_taken=True), rules.target_share, trade.targets[0], ("target_reached",), strategy
        )
    return _follow(trade, view, strategy)


def _reached(trade: Trade, view: View) -> bool:
    return bool(trade.targets) and not trade.is_target_taken and trade.sign * (trade.best - trade.targets[0]) >= 0


def _follow(trade: Trade, view: View, strategy: StrategySpec) -> Outcome | None:
    """The stop comes after the best price, once that is far enough in profit."""
    rules, sign = strategy.exits, trade.sign
    distance = trail_distance(view.atr_5m_log, trade.best, trade.unit, strategy)
    if math.isnan(distance) or sign * (trade.best - trade.trail_from) < 0:
        return None
    distance *= rules.weak_factor if trade.momentum <= 0 else 1.0
    stop = outside_zones(trade.order, trade.best - sign * distance, view.zones, strategy.account)
    if sign * (stop - trade.stop) < rules.update_step_r * trade.unit:
        return None
    if sign * (view.mark - stop) <= 0:
        return _over(trade, view.mark, ("trail_hit",), strategy)
    return Outcome(("stop_follows",), replace(trade, stop=stop, trail_distance=distance))


def _part(trade: Trade, share: float, price: float, codes: tuple[str, ...], strategy: StrategySpec) -> Outcome:
    """Take a share of what is open; where less than the smallest order would be left, all of it."""
    account, held = strategy.account, Decimal(trade.held)
    step = Decimal(repr(account.quantity_step))
    keep = held * (1 - Decimal(repr(share))) // step * step
    if keep <= 0 or keep < Decimal(repr(account.least_quantity)):
        return _over(trade, price, codes, strategy)
    taken_r = float((held - keep) / Decimal(trade.filled)) * _gain_r(trade, price)
    return Outcome(codes, replace(trade, held=str(keep), realised_r=trade.realised_r + taken_r))


def _over(trade: Trade, price: float, codes: tuple[str, ...], strategy: StrategySpec) -> Outcome:
    return Outcome(codes, trade, r_multiple(trade, price, strategy.account))


def r_multiple(trade: Trade, price: float, account: Account) -> float:
    """What a trade brought in R, its rest closed at `price`, with a taker's fee paid twice."""
    rest = float(Decimal(trade.held) / Decimal(trade.filled)) * _gain_r(trade, price)
    return trade.realised_r + rest - 2 * account.taker_fee * trade.entry / trade.unit


def _gain_r(trade: Trade, price: float) -> float:
    return trade.sign * (price - trade.filled_price) / trade.unit


def filled(trade: Trade, price: float, quantity: float, at_ns: int) -> Trade:
    """The trade after a fill, at the mean price of its fills; `StepError` for one that cannot be."""
    if not (0 < price < math.inf and 0 < quantity < math.inf):
        raise StepError(f"a fill needs a positive price and quantity, got {price} and {quantity}")
    if not trade.issued_ns <= at_ns <= trade.expires_ns + FILL_TOLERANCE_NS:
        raise StepError(f"a fill at {at_ns} of an entry that holds from {trade.issued_ns} to {trade.expires_ns}")
    part, so_far = Decimal(repr(quantity)), Decimal(trade.filled)
    total = so_far + part
    if total > Decimal(trade.quantity):
        raise StepError(f"fills of {total} in all, where {trade.quantity} was advised")
    mean = (
        price
        if not so_far
        else float((so_far * Decimal(repr(trade.filled_price)) + part * Decimal(repr(price))) / total)
    )
    held = Decimal(trade.held) + part if so_far else part
    return replace(
        trade,
        filled_ns=at_ns if trade.filled_ns is None else trade.filled_ns,
        filled_price=mean,
        filled=format(total, "f"),
        held=format(held, "f"),
    )


def closed(trade: Trade, price: float, quantity: float, at_ns: int) -> Trade:
    """The trade after so much of it was closed at a price; `StepError` for what cannot be."""
    if not (0 < price < math.inf and 0 < quantity < math.inf):
        raise StepError(f"a close needs a positive price and quantity, got {price} and {quantity}")
    if trade.filled_ns is None or at_ns < trade.filled_ns:
        raise StepError(f"a close at {at_ns} of a trade that was filled at {trade.filled_ns}")
    part, held = Decimal(repr(quantity)), Decimal(trade.held)
    if part > held:
        raise StepError(f"a close of {part}, where {held} is held")
    gained_r = float(part / Decimal(trade.filled)) * _gain_r(trade, price)
    return replace(trade, held=format(held - part, "f"), realised_r=trade.realised_r + gained_r)
