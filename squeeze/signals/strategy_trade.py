"""The strategy from the entry on: how large a trade is, how it ends, and what holds for all trades (domain.md §6.2)."""

import math
from typing import Literal

from squeeze.strict import Strict, require

HIGHEST_RISK_PERCENT = 3.0
"""No strategy may risk more of its equity in one trade, or in one direction."""

MomentumTerm = Literal["taker", "slope", "probability"]


class RiskRules(Strict, frozen=True, kw_only=True):
    """How much of the equity is lost if the stop is hit: clip(base + slope, base, full) × regime × quality, capped."""

    cap_percent: float = 1.0
    """Never more, whatever the rest says; itself at most 3."""
    base_percent: float = 1.0
    """Of a zone of middling thickness or less ..."""
    full_percent: float = 3.0
    """... rising to this for the thickest, before the factors and the cap."""
    least_percent: float = 0.25
    """Less than this is no trade."""
    thickness_days: float = 90.0
    """What was liquidated in the zone just cleared is ranked among the side's clearings of so long ..."""
    least_clearings: int = 20
    """... if there were so many; before that the zone's rank on the map stands in."""
    quiet_rank: float = 0.2
    """An hour calmer than this share of the others is quiet ..."""
    quiet_factor: float = 0.5
    """... and the risk is multiplied by this; 0 is off."""
    wild_rank: float = 0.95
    """Above this share slippage is to be expected ..."""
    wild_factor: float = 0.5
    """... likewise."""
    counter_trend_factor: float = 0.7
    """Against a move of four hours of more than its deviation."""
    venue_stale_factor: float = 0.7
    """A venue is stale."""
    suspect_factor: float = 0.5
    """Liquidations cannot be trusted."""
    divergence_factor: float = 0.7
    """The venues' maps do not say the same."""

    def __post_init__(self) -> None:
        require(
            0 < self.cap_percent <= HIGHEST_RISK_PERCENT,
            f"cap_percent lies in (0, {HIGHEST_RISK_PERCENT:g}], got {self.cap_percent:g}",
        )
        require(
            0 <= self.base_percent <= self.full_percent <= HIGHEST_RISK_PERCENT,
            f"base_percent to full_percent rise, to at most {HIGHEST_RISK_PERCENT:g}",
        )
        require(0 <= self.least_percent <= self.cap_percent, "least_percent is at most cap_percent")
        factors = (self.quiet_factor, self.wild_factor, self.counter_trend_factor, self.venue_stale_factor)
        require(
            all(0 <= factor <= 1 for factor in (*factors, self.suspect_factor, self.divergence_factor)),
            "factors lie between 0 and 1: none raises the risk",
        )
        require(0 <= self.quiet_rank < self.wild_rank <= 1, "quiet_rank and wild_rank rise, between 0 and 1")
        require(self.thickness_days > 0 and self.least_clearings >= 1, "thickness_days, least_clearings are positive")


class ExitRules(Strict, frozen=True, kw_only=True):
    """Stop, trail, targets and the ways out of an open trade; R is the distance from entry to the first stop."""

    consolidation_minutes: float = 3.0
    """The first stop lies beyond the mark's range of so long ..."""
    stop_atr: float = 0.25
    """... by this many mean true ranges of 15 minutes ..."""
    least_stop_percent: float = 0.15
    """... and at least so far from the entry: 0.15 for BTC, 0.3 for DOT."""
    own_liquidation_stops: float = 3.0
    """The position's own liquidation price is at least so many stop distances away; that caps the leverage."""
    trail_after_r: float = 1.0
    """The stop follows once the trade is so far in profit ..."""
    trail_atr: float = 1.0
    """... this many mean true ranges of five minutes behind the best price ..."""
    trail_least_r: float = 0.5
    """... or this many R, if that is more ..."""
    weak_factor: float = 0.5
    """... and by this much nearer while the momentum is not positive."""
    update_step_r: float = 0.1
    """A stop that would move by less stays: not every tick is a message."""
    momentum: tuple[MomentumTerm, ...] = ("taker", "slope", "probability")
    """What momentum is the sum of: signed taker imbalance, speed in deviations of a minute, less how far the
    probability fell since the entry. A minute in which one of them is unknown does not count, either way.
    """
    weak_minutes_half: int = 2
    """After so many whole minutes in a row without momentum half is taken ..."""
    weak_minutes_exit: int = 3
    """... and after so many all of it."""
    time_stop_minutes: float = 60.0
    """No trade is longer."""
    target_gap_bp: float = 5.0
    """A target lies so far before the near edge of the next major zone, or the far end of the next void."""
    target_share: float = 0.5
    """This share is taken at the first target; 0 for none."""

    def __post_init__(self) -> None:
        require(
            self.stop_atr >= 0 and self.least_stop_percent > 0,
            "stop_atr, least_stop_percent: the stop would lie on the wrong side of the entry",
        )
        require(self.least_stop_percent < 33, "least_stop_percent is below 33")
        require(self.own_liquidation_stops >= 3, "own_liquidation_stops is at least 3")
        require(self.trail_after_r > 0 and self.trail_atr > 0, "trail_after_r and trail_atr are positive")
        require(
            self.trail_least_r > 0 and 0 < self.weak_factor <= 1 and self.update_step_r > 0,
            "trail_least_r and update_step_r are positive, weak_factor at most 1",
        )
        require(1 <= self.weak_minutes_half < self.weak_minutes_exit, "weak minutes rise: half first, then all")
        require(self.time_stop_minutes > 0, "time_stop_minutes is positive")
        require(0 < self.consolidation_minutes <= 60, "consolidation_minutes lies in (0, 60]")
        require(len(set(self.momentum)) == len(self.momentum) > 0, "momentum names at least one term, none twice")
        require(
            0 <= self.target_gap_bp < 100 and 0 <= self.target_share < 1, "target_gap_bp, target_share make no sense"
        )


class PortfolioRules(Strict, frozen=True, kw_only=True):
    """What holds for all trades together; a symbol has one at a time."""

    same_direction_percent: float = 3.0
    """All trades in one direction are one risk: their sum is at most this, itself at most 3."""
    cooldown_minutes: float = 30.0
    """No entry in a symbol for so long after an exit."""
    daily_stop_r: float = 3.0
    """A UTC day that lost so many R is over."""

    def __post_init__(self) -> None:
        require(
            0 < self.same_direction_percent <= HIGHEST_RISK_PERCENT,
            f"same_direction_percent lies in (0, {HIGHEST_RISK_PERCENT:g}], got {self.same_direction_percent:g}",
        )
        require(self.cooldown_minutes >= 0 and self.daily_stop_r > 0, "cooldown_minutes, daily_stop_r make no sense")


class Account(Strict, frozen=True, kw_only=True):
    """The account and the contract that is traded; take the contract's numbers from the exchange."""

    equity_usd: float = 10_000.0
    """What the risk is a percentage of."""
    price_step: float = 0.1
    """The exchange's tick, in quote currency: 0.1 for BTC, 0.0001 for DOT at Bybit."""
    quantity_step: float = 0.001
    """The exchange's lot, in base coins; quantities are rounded down to it."""
    least_quantity: float = 0.001
    """Smallest order, in base coins."""
    least_notional_usd: float = 5.0
    """Smallest order, in USD; less is no trade, never a larger trade."""
    max_leverage: float = 20.0
    """Never more, whatever the exchange allows."""
    maintenance_rate: float = 0.005
    """Maintenance margin of the position's tier, as a fraction of notional."""
    taker_fee: float = 0.00055
    """As a fraction of notional; paid twice for a trade."""
    fee_in_maintenance: bool = True
    """Whether the exchange counts the fee to close as maintenance: Bybit and OKX do, Binance does not."""

    def __post_init__(self) -> None:
        steps = (self.equity_usd, self.price_step, self.quantity_step)
        require(all(0 < step < math.inf for step in steps), "equity_usd, price_step and quantity_step are positive")
        require(self.least_quantity >= 0 and self.least_notional_usd >= 0, "smallest orders are not negative")
        require(1 <= self.max_leverage <= 200, "max_leverage lies between 1 and 200")
        require(
            0 <= self.maintenance_rate < 0.5 and 0 <= self.taker_fee < 0.01, "maintenance_rate, taker_fee: fractions"
        )
