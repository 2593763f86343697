"""What a message says beside the move itself: zone, market, cascade, advice and quality, in the message's own units."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from squeeze.arrays import SIDES
from squeeze.market import conventions, events
from squeeze.patterns.scene import Scene, mass_by_venue
from squeeze.signals import machine_rules, sizing
from squeeze.signals.machine_look import Look
from squeeze.signals.machine_memory import Cascade, SideMemory, Trade
from squeeze.signals.message import (
    CascadeFacts,
    MarketFacts,
    OrderAdvice,
    Quality,
    Side,
    Trail,
    ZoneFacts,
    decimal_text,
)
from squeeze.signals.reason_words import words
from squeeze.signals.strategy_trade import Account
from squeeze.signals.view import ZoneView

COMPLETENESS = {
    events.Quality.GOOD: "complete",
    events.Quality.SAMPLED: "sampled",
    events.Quality.UNDERCOUNTED: "undercounted",
}


def zone_facts(zone: ZoneView | None, side: Side) -> ZoneFacts | None:
    """The zone as last seen."""
    if zone is None:
        return None
    return ZoneFacts(
        id=zone.id,
        side=side,
        low=price_text(zone.low),
        high=price_text(zone.high),
        centroid=price_text(zone.centroid),
        usd=zone.mass_usd,
        share_open_interest=zone.mass_share,
        thickness_rank=known(zone.thickness_rank),
        age_hours=zone.age_hours,
        stack=zone.stack,
    )


def by_venue(zone: ZoneFacts, venues: Sequence[str], scenes: Iterable[Scene | None]) -> ZoneFacts:
    """A zone with each venue's part of it, as in the first of the scenes in which something of it is left."""
    side, _, number = zone.id.partition("-")
    for scene in scenes:
        coins = None if scene is None else mass_by_venue(scene, SIDES.index(side), int(number))
        if coins is not None and coins.sum() > 0:
            shares = (coins / coins.sum()).tolist()
            return msgspec.structs.replace(zone, venue_shares=dict(zip(venues, shares, strict=True)))
    return zone


def market_facts(look: Look, zone: ZoneView | None) -> MarketFacts:
    """The market at this look; null for what is unknown."""
    view = look.view
    sigmas = machine_rules.toward_log(view, look.side) / view.sigma_1m_log if view.sigma_1m_log > 0 else math.nan
    eta = math.nan if zone is None else 60 * machine_rules.eta_minutes(view, zone)
    return MarketFacts(
        mark=decimal_text(known(view.mark)),
        mid=decimal_text(known((view.bid + view.ask) / 2)),
        spread_bp=known(view.spread_bp),
        volatility_1h_rank=known(view.volatility_1h_rank),
        velocity_sigma=known(sigmas),
        eta_seconds=known(eta),
        open_interest_change_1h=known(view.open_interest_change_1h),
        funding_8h=known(view.funding_8h),
    )


def cascade_facts(cascade: Cascade | None, look: Look) -> CascadeFacts | None:
    """The cascade as far as it went; None before its onset."""
    if cascade is None or cascade.onset_ns is None:
        return None
    return CascadeFacts(
        onset_us=cascade.onset_ns // 1000,
        end_us=None if cascade.end_ns is None else cascade.end_ns // 1000,
        peak_usd_minute=None if cascade.is_price_only else known(cascade.peak_usd_minute),
        cleared_usd=known(cascade.cleared_usd),
        depletion=known(machine_rules.depletion(cascade, look.strategy.entry)),
        zones_passed=len(cascade.zone_ids),
    )


def order_advice(trade: Trade, account: Account) -> OrderAdvice:
    """The trade as it stands: for an update what is left of it."""
    held = Decimal(trade.held)
    risk = trade.sign * (Decimal(repr(trade.entry)) - Decimal(repr(trade.stop))) * held
    return OrderAdvice(
        side=trade.order,
        entry_type="limit",
        entry_low=price_text(trade.entry_low),
        entry_high=price_text(trade.entry_high),
        stop=price_text(trade.stop),
        targets=tuple(price_text(price) for price in trade.targets),
        trail=Trail(activates=price_text(trade.trail_from), distance=price_text(trade.trail_distance)),
        risk_percent=min(trade.risk_percent, max(0.0, float(100 * risk / Decimal(repr(account.equity_usd))))),
        quantity=trade.held,
        notional_usd=float(held * Decimal(repr(trade.entry))),
        max_leverage=trade.max_leverage,
        own_liquidation=price_text(trade.own_liquidation),
    )


def quality(look: Look, mind: SideMemory) -> Quality:
    """Score and flags; what is stale makes the score zero."""
    score, flags = sizing.quality(look.view, look.side, look.strategy)
    more = [*look.stale]
    if mind.cascade is not None and mind.cascade.is_price_only:
        more.append("price_only")
    if mind.trade is not None:
        more += mind.trade.flags
    ages = {name: age // 1_000_000 for name, age in look.view.venue_age_ns.items()}
    told = {name: _completeness(name, look.now_ns) for name in ages}
    return Quality(
        score=0.0 if look.stale else score,
        flags=(*flags, *more),
        venue_age_ms=ages,
        liquidation_completeness=told,
    )


def _completeness(venue: str, at_ns: int) -> str | None:
    known = conventions.completeness(venue, at_ns)
    return None if known is None else COMPLETENESS[known]


def probabilities(look: Look) -> dict[str, dict[Side, float]] | None:
    """By horizon and side; None while the model does not speak."""
    if math.isnan(look.probability) or look.view.word is None or look.view.word.probabilities is None:
        return None
    longs, shorts = look.view.word.probabilities
    return {f"h{minutes}": {"long": longs[at], "short": shorts[at]} for at, minutes in enumerate(look.limits.horizons)}


def reasons(look: Look, codes: tuple[str, ...], r_multiple: float | None) -> tuple[str, ...]:
    """The codes and the flagged patterns in plain words."""
    said = tuple(words(code) for code in codes)
    if r_multiple is not None:
        said += (f"the trade brought {r_multiple:+.2f} R after fees",)
    if look.memory.halted is not None:
        said += (look.memory.halted,)
    return said + tuple(word for word in look.view.pattern_words[look.side] if word not in said)


def known(value: float) -> float | None:
    """A number, or None where it is not finite."""
    return value if math.isfinite(value) else None


def price_text(value: float) -> str:
    """A price or distance as a decimal string."""
    text = decimal_text(value)
    if text is None:
        raise AssertionError("a number has a text")
    return text
