"""How large a trade is: risk from the thickness of what was cleared, quantity from risk and stop (domain.md §6.2).

Everything that is rounded is rounded to the safe side, in decimals: a quantity down, so that the risk asked for is
never exceeded; smaller than the exchange takes is no trade, never a larger one.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal, NamedTuple

from squeeze.signals.strategy import StrategySpec
from squeeze.signals.strategy_trade import Account, RiskRules
from squeeze.signals.view import View

Order = Literal["buy", "sell"]


class Size(NamedTuple):
    """A size that keeps all limits."""

    quantity: Decimal
    risk_percent: float
    """Of equity, lost between entry and stop by just this quantity."""
    max_leverage: float
    own_liquidation: float
    """With that leverage."""


def sign_of(order: Order) -> int:
    """1 where a trade gains from a rise, else -1."""
    return 1 if order == "buy" else -1


def to_step(value: float, step: float, rounding: str) -> Decimal:
    """A whole number of steps.

    >>> to_step(100.07, 0.05, ROUND_FLOOR), to_step(100.07, 0.05, ROUND_CEILING)
    (Decimal('100.05'), Decimal('100.10'))
    """
    unit = Decimal(repr(step))
    return (Decimal(repr(value)) / unit).to_integral_value(rounding) * unit


def thickness_rank(share: float, earlier: tuple[float, ...], least: int, map_rank: float) -> float:
    """Share of the earlier clearings that were smaller; with fewer than `least`, or none now, the rank on the map.

    >>> thickness_rank(0.03, (0.01, 0.02, 0.05), 3, 0.9), thickness_rank(0.03, (0.01,), 3, 0.9)
    (0.6666666666666666, 0.9)
    """
    if math.isnan(share) or len(earlier) < least:
        return map_rank
    return sum(other < share for other in earlier) / len(earlier)


def risk_percent(thickness: float, regime: float, quality: float, rules: RiskRules) -> float:
    """Per cent of equity; an unknown thickness is middling.

    >>> rules = RiskRules(cap_percent=3.0)
    >>> [risk_percent(rank, 1.0, 1.0, rules) for rank in (0.2, 0.75, 1.0, math.nan)]
    [1.0, 2.0, 3.0, 1.0]
    >>> risk_percent(1.0, 0.5, 0.7, RiskRules())  # 3 % × 0.35, capped
    1.0
    """
    above = max(0.0, (thickness - 0.5) / 0.5) if thickness > 0.5 else 0.0
    wanted = rules.base_percent + (rules.full_percent - rules.base_percent) * min(above, 1.0)
    return min(wanted * regime * quality, rules.cap_percent)


def regime(view: View, order: Order, rules: RiskRules) -> tuple[float, tuple[str, ...]]:
    """The factor of the market's mood, and what it stands on where that is unknown: then it is the cautious one."""
    factor, flags, rank = 1.0, [], view.volatility_1h_rank
    if math.isnan(rank):
        factor, flags = min(rules.quiet_factor, rules.wild_factor), ["unknown_volatility"]
    elif rank < rules.quiet_rank:
        factor = rules.quiet_factor
    elif rank > rules.wild_rank:
        factor = rules.wild_factor
    trend = view.return_4h_log * sign_of(order)
    if math.isnan(trend) or math.isnan(view.sigma_4h_log):
        return factor * rules.counter_trend_factor, (*flags, "unknown_trend")
    return factor * (rules.counter_trend_factor if trend <= -view.sigma_4h_log else 1.0), tuple(flags)


def most_leverage(order: Order, entry: float, distance: float, account: Account, stops: float) -> float:
    """The highest leverage, in hundredths, whose own liquidation price is `stops` times `distance` and a tick away.

    Isolated margin, no deduction (domain.md §3.1): LP = EP·(1 - s/L) / (1 - s·(m + f)). Below 1 there is none.
    """
    s, away = sign_of(order), (stops * distance + account.price_step) / entry
    least_margin = s * (1 - (1 - s * away) * (1 - s * requirement(account)))
    leverage = account.max_leverage if least_margin <= 0 else min(account.max_leverage, 1 / least_margin)
    return math.floor(100 * leverage) / 100


def own_liquidation(order: Order, entry: float, leverage: float, account: Account) -> float:
    """Where the position itself would be liquidated (domain.md §3.1), rounded to the tick toward the entry.

    >>> own_liquidation("buy", 60_000.0, 20.0, Account(maintenance_rate=0.005, fee_in_maintenance=False))
    57286.5
    """
    s = sign_of(order)
    price = max(0.0, entry * (1 - s / leverage) / (1 - s * requirement(account)))
    return float(to_step(price, account.price_step, ROUND_CEILING if s > 0 else ROUND_FLOOR))


def requirement(account: Account) -> float:
    """Maintenance margin as a fraction of notional, with the fee to close where the exchange counts it."""
    return account.maintenance_rate + (account.taker_fee if account.fee_in_maintenance else 0.0)


def size(order: Order, entry: float, lowest: float, stop: float, wanted: float, strategy: StrategySpec) -> Size | str:
    """The quantity for `wanted` per cent of risk, or why there is no trade.

    `entry` is the worst price that the trade may begin at, `lowest` the lowest. The quantity is cut to what the highest
    safe leverage holds, then rounded down to the exchange's step.
    """
    account = strategy.account
    distance = abs(Decimal(repr(entry)) - Decimal(repr(stop)))
    leverage = most_leverage(order, entry, float(distance), account, strategy.exits.own_liquidation_stops)
    if leverage < 1:
        return "own_liquidation_near"
    possible = 100 * leverage * float(distance) / entry
    risk = min(wanted, possible)
    if risk < strategy.risk.least_percent:
        return "risk_too_small"
    budget, step = Decimal(repr(account.equity_usd)) * Decimal(repr(risk)) / 100, Decimal(repr(account.quantity_step))
    quantity = budget // (distance * step) * step
    if quantity < Decimal(repr(account.least_quantity)) or quantity <= 0:
        return "below_least_quantity"
    if quantity * Decimal(repr(lowest)) < Decimal(repr(account.least_notional_usd)):
        return "below_least_notional"
    lost = quantity * distance * 100 / Decimal(repr(account.equity_usd))
    return Size(quantity, float(lost), leverage, own_liquidation(order, entry, leverage, account))


def quality(view: View, side: int, strategy: StrategySpec) -> tuple[float, tuple[str, ...]]:
    """How far the inputs can be trusted, in [0, 1], and what is wrong with them."""
    rules, factor = strategy.risk, 1.0
    flags = [f"venue_stale_{name}" for name in view.stale_venues]
    if flags:
        factor *= rules.venue_stale_factor
    if view.liquidations_suspect:
        factor *= rules.suspect_factor
        flags.append("liquidations_suspect")
    if view.patterns.get("venue_divergence", (False, False))[side]:
        factor *= rules.divergence_factor
        flags.append("venues_diverge")
    if view.word is not None:
        flags += [f"degraded_{name}" for name in view.word.degraded] + [f"drift_{name}" for name in view.word.drift]
    return factor, tuple(flags)
