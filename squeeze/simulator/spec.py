"""What a simulated market is made of: its contract, agents, book, venues, and the switches that are off by default."""

import math
from datetime import date
from typing import Literal

from squeeze.strict import Strict, require


class SimulatedVenue(Strict, frozen=True, kw_only=True):
    """One exchange: its share of the market, its margin rule, and what it lets others see (domain.md §1)."""

    name: str
    """Venue its events are filed under."""
    weight: float = 1.0
    """Its share of open interest, trades and resting orders, in any unit."""
    maintenance: float = 0.004
    """Maintenance margin, as a fraction of notional."""
    fee: float = 0.0005
    """Close fee that the venue adds to the requirement."""
    funding_hours: int = 8
    """Between settlements."""
    open_interest_seconds: int = 300
    """How often open interest is stamped; no more often than the price moves."""
    open_interest_lag_seconds: float = 1.0
    """How long after its stamp it is public."""
    liquidations: Literal["all", "largest", "latest", "share"] = "all"
    """`all` forced orders; the `largest` or the `latest` of each second; or a random `share` of them."""
    liquidation_share: float = 1.0
    """What part `share` publishes."""
    liquidation_batch_ms: int = 0
    """Forced orders are pushed at multiples of this; 0 at once."""
    liquidation_price: Literal["bankruptcy", "fill"] = "bankruptcy"
    """What the printed price is."""
    lag_ms: float = 50.0
    """From a push, or a mark price, to a listener."""
    trade_lag_ms: float = 0.5
    """From a trade to a listener."""

    def __post_init__(self) -> None:
        require(0 < self.weight < math.inf, "weight must be positive and finite")
        require(self.maintenance >= 0 and self.fee >= 0, "maintenance and fee must not be negative")
        require(self.funding_hours in (1, 2, 4, 8), "funding_hours is 1, 2, 4 or 8")
        require(1 <= self.open_interest_seconds <= 3600, "open_interest_seconds lies between 1 and 3600")
        require(3600 % self.open_interest_seconds == 0, "open_interest_seconds must divide an hour")
        require(0 < self.liquidation_share <= 1, "liquidation_share is a share")
        require(0 <= self.liquidation_batch_ms <= 1000, "liquidation_batch_ms lies between 0 and 1000")
        for lag in (self.lag_ms, self.trade_lag_ms, self.open_interest_lag_seconds):
            require(0 <= lag < 60_000, "lags must not be negative, nor a minute long")


BYBIT = SimulatedVenue(
    name="bybit", weight=0.3, maintenance=0.005, fee=0.00055, open_interest_seconds=60, liquidation_batch_ms=500
)
"""All forced orders, in batches of 500 ms; open interest live. Its tickers come each 100 ms: one a minute is kept."""
OKX = SimulatedVenue(
    name="okx", weight=0.2, open_interest_seconds=3, liquidations="share", liquidation_share=0.5
)  # fmt: skip
"""An unknown part of the forced orders; open interest every 3 s."""
BINANCE = SimulatedVenue(
    name="binance", weight=0.5, maintenance=0.004, fee=0.0, open_interest_lag_seconds=60.0,
    liquidations="largest", liquidation_price="fill",
)  # fmt: skip
"""One forced order per second; open interest every 5 minutes, a minute late."""


class CrossMargin(Strict, frozen=True, kw_only=True):
    """Positions whose liquidation price follows from the free balance of their account."""

    share: float = 0.5
    """Of newcomers who use cross margin."""
    free_median: float = 0.7
    """Median free balance, in multiples of the position's initial margin."""
    free_log_sd: float = 0.8
    changes_per_day: float = 0.3
    """How often an account's free balance is another, and with it the liquidation price."""

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, "share lies between 0 and 1")
        require(0 < self.free_median < math.inf, "free_median must be positive")
        require(self.free_log_sd >= 0 and self.changes_per_day >= 0, "free_log_sd, changes_per_day are not negative")


class Stops(Strict, frozen=True, kw_only=True):
    """Stop orders, triggered by the last price, that trade with impact."""

    share: float = 0.1
    """Of newcomers who place one; it counts only where it lies before the liquidation price."""
    round_share: float = 0.5
    """Of stops placed beyond a round number; the others lie beyond the extreme of the last four hours."""
    round_usd: float = 500.0
    """Spacing of round numbers."""
    reach_log: float = 0.02
    """Median distance from entry to the round number looked for, in log price."""
    beyond_log: float = 0.001
    """Mean distance of a stop beyond its number or extreme."""

    def __post_init__(self) -> None:
        require(0 < self.share <= 1 and 0 <= self.round_share <= 1, "share and round_share are shares")
        require(min(self.round_usd, self.reach_log, self.beyond_log) > 0, "round_usd and distances are positive")


class Thinning(Strict, frozen=True, kw_only=True):
    """Holders far in profit or near their liquidation leave before it comes."""

    leaves_per_day: float = 6.0
    """Hazard of a holder at his liquidation price, or far in profit."""
    reach_log: float = 0.01
    """Distance from the liquidation price over which the hazard falls by e."""
    profit_log: float = 0.03
    """Profit over which it comes within 1/e of its full size."""

    def __post_init__(self) -> None:
        require(min(self.leaves_per_day, self.reach_log, self.profit_log) > 0, "thinning's values are positive")


class Walls(Strict, frozen=True, kw_only=True):
    """Large resting orders: some take what comes, some are pulled as the price comes near."""

    per_day: float = 40.0
    genuine_share: float = 0.5
    """Of walls that mean it."""
    usd_min: float = 2e6
    """Smallest; sizes are Pareto."""
    usd_tail: float = 1.5
    distance_log: float = 0.006
    """Median distance from the price when placed, in log price."""
    flee_log: float = 0.001
    """How near the price may come to one that does not mean it."""
    half_life_minutes: float = 90.0
    """How long one stands if nothing happens."""

    def __post_init__(self) -> None:
        require(0 <= self.genuine_share <= 1, "genuine_share is a share")
        values = (self.per_day, self.usd_min, self.usd_tail, self.distance_log, self.flee_log, self.half_life_minutes)
        require(min(values) > 0, "a wall's values are positive")
        require(self.flee_log < self.distance_log / 2, "walls are placed farther away than flee_log")


class VolatilityOnly(Strict, frozen=True, kw_only=True):
    """How forced orders arrive where zones do not matter: a Hawkes process of each side, at the rate of the market in
    which they do."""

    power: float = 3.0
    """Rate grows with outside volatility to this power."""
    branching: float = 0.95
    """Forced orders that each one draws after it, on average."""
    half_life_minutes: float = 3.0
    """How long it takes to draw half of them."""

    def __post_init__(self) -> None:
        require(0 <= self.power <= 4, "power lies between 0 and 4")
        require(0 <= self.branching < 1, "branching lies between 0 and 1")
        require(self.half_life_minutes > 0, "half_life_minutes must be positive")


class SimulatorSpec(Strict, frozen=True, kw_only=True):
    """One simulated contract; the defaults resemble a mid-sized BTC perpetual."""

    symbol: str = "SIMUSDT"
    """Name the recording is filed under."""
    venue: str = "simulated"
    """Venue the recording is filed under."""
    start: str = "2025-01-01"
    """UTC day the recording starts on."""
    days: int = 60
    """Length of the recording."""
    warm_up_days: int = 5
    """Days played before it and thrown away, so that entries are spread as in an old market."""
    substeps: int = 6
    """Moves of the price within a minute; margin is enforced at each."""
    price: float = 60_000.0
    """Quote currency per base coin when the warm-up starts."""
    daily_volatility: float = 0.014
    """Median standard deviation of a day's log return from outside the market; bursts and cascades add to it."""
    slow_volatility_sd: float = 0.45
    """Standard deviation of the slow part of log volatility."""
    slow_volatility_half_life_hours: float = 24.0
    fast_volatility_sd: float = 0.50
    """Standard deviation of the fast part of log volatility."""
    fast_volatility_half_life_hours: float = 1.5
    jumps_per_day: float = 6.0
    """Outside jumps, up and down alike; more of them when volatility is high."""
    jump_sigmas: float = 10.0
    """Standard deviation of a jump, in standard deviations of one sub-step."""
    positions: int = 4_000
    """Agents per side at the start."""
    open_interest_sd: float = 0.25
    """Standard deviation of the log open interest that agents want."""
    open_interest_half_life_hours: float = 18.0
    crowd_half_life_hours: float = 12.0
    """How long one side stays the more eager one; the eager side takes liquidity and more leverage."""
    notional_min_usd: float = 18_000.0
    """Smallest position."""
    notional_max_usd: float = 600_000.0
    """Largest position: well under any sensible threshold, so that an event is a cascade and not one position."""
    notional_tail: float = 1.1
    """Pareto exponent of position sizes."""
    taker_leverage: float = 12.0
    """Median effective leverage of those who open as takers."""
    maker_leverage: float = 5.0
    """Median effective leverage of those who open as makers."""
    leverage_log_sd: float = 0.75
    """Standard deviation of log leverage around either median."""
    leverage_min: float = 1.5
    leverage_max: float = 110.0
    maintenance: float = 0.0045
    """Maintenance margin with the close fee, as a fraction of notional."""
    closes_per_day: float = 0.8
    """Hazard of a voluntary close at leverage 10; it grows with leverage and with volatility."""
    depth_usd: float = 30e6
    """A forced order of this size moves a full book by 1 % at median volatility."""
    depth_thinning: float = 0.7
    """The book's depth falls with volatility to this power."""
    refill_half_life_minutes: float = 3.0
    """How fast the book recovers from what forced orders took."""
    bargain: float = 0.01
    """Log price that forced orders must have moved for the book to be twice as deep: bargain hunters end a cascade."""
    permanent_impact: float = 0.35
    """Share of a forced move that stays."""
    impact_half_life_minutes: float = 6.0
    """How fast the rest fades."""
    mark_half_life_seconds: float = 30.0
    """The mark is the index plus the basis of last over index, smoothed with this half-life."""
    noise_turnover_per_day: float = 3.0
    """Volume that changes nobody's position for long, in units of the starting open interest."""
    premium_bps: float = 3.0
    """Basis, in basis points, when the crowd is one standard deviation long."""
    interest_rate: float = 0.0001
    """Funding's interest part per eight hours."""
    zones: Literal["matter", "do_not_matter", "mixed"] = "matter"
    """Forced orders come from positions whose liquidation price the mark reaches; or from volatility alone, and hit
    anybody, while holders in danger add margin unseen; or half of each.
    """
    null: VolatilityOnly = VolatilityOnly()
    """How forced orders come that do not come from zones."""
    venues: tuple[SimulatedVenue, ...] = ()
    """Exchanges that share one price; none for a single one, named `venue`, with `maintenance`."""
    venue_basis_bps: float = 0.0
    """Standard deviation of each venue's last and mark price around the shared one."""
    venue_basis_half_life_minutes: float = 10.0
    cross: CrossMargin | None = None
    """Cross margin; null for isolated margin only."""
    stops: Stops | None = None
    """Stop orders; null for none."""
    thinning: Thinning | None = None
    """Holders who leave zones; null for closes that do not look at the liquidation price."""
    walls: Walls | None = None
    """Large resting orders; null for none."""
    detail: bool = False
    """Keep positions, hidden state and prices by sub-step: truth, oracle, books and events need them."""

    def __post_init__(self) -> None:
        date.fromisoformat(self.start)
        require(self.days >= 1 and self.warm_up_days >= 0, "days must be positive and warm_up_days not negative")
        require(1 <= self.substeps <= 60, "substeps lies between 1 and 60")
        require(self.positions >= 10, "positions must be at least 10")
        require(
            1 < self.leverage_min < self.leverage_max, "leverages exceed 1 and rise from leverage_min to leverage_max"
        )
        require(0 <= self.maintenance < 0.9 / self.leverage_max, "maintenance must be below 0.9 / leverage_max")
        require(0 < self.notional_min_usd < self.notional_max_usd, "notionals must be positive and rise")
        require(0 <= self.permanent_impact <= 1, "permanent_impact is a share")
        positive = (
            "price",
            "daily_volatility",
            "notional_tail",
            "taker_leverage",
            "maker_leverage",
            "closes_per_day",
            "depth_usd",
        )
        for name in (*positive, *(field for field in self.__struct_fields__ if "half_life" in field)):
            require(0 < getattr(self, name) < math.inf, f"{name} must be positive and finite")
        for name in ("slow_volatility_sd", "fast_volatility_sd", "jumps_per_day", "jump_sigmas", "open_interest_sd"):
            require(0 <= getattr(self, name) < math.inf, f"{name} must not be negative")
        require(0 <= self.venue_basis_bps < 100, "venue_basis_bps lies between 0 and 100")
        names = [venue.name for venue in self.venues]
        require(len(set(names)) == len(names), "venues have names of their own")
        worst = max((v.maintenance + v.fee for v in self.venues), default=0.0)
        require(worst < 0.9 / self.leverage_max, "a venue's maintenance and fee must be below 0.9 / leverage_max")

    def all_venues(self) -> tuple[SimulatedVenue, ...]:
        """The venues, or the only one."""
        only = SimulatedVenue(name=self.venue, maintenance=self.maintenance, fee=0.0, open_interest_seconds=60)
        return self.venues or (only,)


def three_exchanges(days: int, zones: Literal["matter", "do_not_matter", "mixed"] = "matter") -> SimulatorSpec:
    """A market on three venues with all that a real one has: stops, cross margin, leavers, walls that flee.

    Where zones do not matter nobody leaves because of them, and every wall means it.
    """
    matters = zones != "do_not_matter"
    return SimulatorSpec(
        days=days,
        start="2025-03-01",  # since then Bybit publishes every liquidation
        zones=zones,
        venues=(BYBIT, OKX, BINANCE),
        venue_basis_bps=1.0,
        cross=CrossMargin(),
        stops=Stops(),
        thinning=Thinning() if matters else None,
        walls=Walls() if matters else Walls(genuine_share=1.0),
        detail=True,
    )
