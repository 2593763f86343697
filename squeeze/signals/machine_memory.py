"""What the signal machine remembers between two looks: plain values, so that a snapshot is all of it."""

import math

import msgspec
from msgspec.structs import replace

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.signals.message import Mode, Side, State
from squeeze.signals.sizing import Order
from squeeze.signals.view import View, ZoneView

NAN = math.nan
MOST_MINUTES = 61
"""Whose ranges are kept: an hour, the longest consolidation, and the running one."""


class Cascade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cascade from its trigger on; times are the machine's clock, prices marks."""

    triggered_ns: int
    triggered_mark: float
    is_price_only: bool
    """Liquidations could not be trusted when it began."""
    before_usd: float
    """What the feed had reported in all before it; NaN without a feed."""
    open_interest_base: float
    """Before it."""
    edge: float = NAN
    """The zone's near edge when the mark went into it; the map's own moves away as it is swept."""
    zone_ids: tuple[str, ...]
    """The zones that the mark went into, in order."""
    zones_usd: float
    thickness_rank: float
    """Of the heaviest of them on the map; NaN where unknown."""
    extreme: float
    extreme_ns: int
    onset_ns: int | None = None
    end_ns: int | None = None
    quiet_since_ns: int | None = None
    """Since when its intensity has been below the end's share of its peak."""
    peak_usd_minute: float = 0.0
    peak_volume_usd: float = NAN
    cleared_usd: float = NAN
    open_interest_end_base: float = NAN
    thickness: float = NAN
    """Rank of what was cleared, among the side's clearings or else on the map."""


class Trade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trade that was advised; prices are whole ticks, quantities decimals as text."""

    mode: Mode
    order: Order
    entry_low: float
    entry_high: float
    entry: float
    """The worse end of the entry's band: size and R are counted from it."""
    first_stop: float
    stop: float
    """As last told."""
    targets: tuple[float, ...]
    risk_percent: float
    quantity: str
    """As advised."""
    held: str
    """What is open of it: all until a part is taken, or what the consumer reported."""
    max_leverage: float
    own_liquidation: float
    trail_from: float
    """Price from which on the stop follows ..."""
    trail_distance: float
    """... so far behind the best price."""
    issued_ns: int
    expires_ns: int
    probability: float
    """Of the squeezed side when the trade was advised."""
    flags: tuple[str, ...] = ()
    """What was unknown when it was advised."""
    event_id: str = ""
    """The newest advice; what an update supersedes."""
    filled_ns: int | None = None
    filled_price: float = NAN
    filled: str = "0"
    """Quantity that was filled."""
    best: float = NAN
    """The mark furthest in profit."""
    minute: int = 0
    """The last whole minute whose momentum was judged."""
    momentum: float = NAN
    weak_minutes: int = 0
    is_half_taken: bool = False
    is_target_taken: bool = False
    realised_r: float = 0.0
    """By the parts taken so far, fees left out."""

    @property
    def sign(self) -> int:
        """1 where it gains from a rise, else -1."""
        return 1 if self.order == "buy" else -1

    @property
    def unit(self) -> float:
        """One R as a price distance."""
        return abs(self.entry - self.first_stop)


class SideMemory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One side: its state and the setup that it is in, if any."""

    state: State = "idle"
    since_ns: int = 0
    signal_id: str = ""
    """Empty without a setup."""
    seq: int = 0
    """Number of the setup's next message."""
    zone: ZoneView | None = None
    """As last seen."""
    zone_before: ZoneView | None = None
    """As the look before this one saw it: a step takes out what its bar has swept, so that its edge moves away."""
    distance_log: float = NAN
    """To its near edge when it was found ahead."""
    over_since_ns: int | None = None
    """Since when the probability has been over the alarm threshold."""
    cascade: Cascade | None = None
    trade: Trade | None = None
    clearings: tuple[tuple[int, float], ...] = ()
    """When earlier cascades ended, and which share of open interest each cleared."""


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole machine, and whose it is."""

    symbol: str
    model: str
    config: str
    now_ns: int | None = None
    healthy_since_ns: int | None = None
    halted: str | None = None
    """Why, in the user's words; None while it runs."""
    is_restarted: bool = False
    """Restored in a new process, and no look since."""
    day: int = 0
    """UTC day of `day_r`, since 1970."""
    day_r: float = 0.0
    exit_ns: int | None = None
    """End of the last trade of either side."""
    open_interest_base: float = NAN
    open_interest_before_base: float = NAN
    """Before its newest change."""
    is_open_interest_falling: bool = False
    """Whether its newest change was down."""
    minutes: tuple[tuple[int, float, float], ...] = ()
    """Range of the mark in the last minutes: number of the minute, lowest, highest."""
    sides: dict[Side, SideMemory] = msgspec.field(default_factory=lambda: {"long": SideMemory(), "short": SideMemory()})

    def __post_init__(self) -> None:
        if tuple(self.sides) != SIDES:
            raise ValueError(f"expected sides {SIDES}, got {tuple(self.sides)}")


def take_in(memory: Memory, view: View, is_healthy: bool) -> Memory:
    """What a look adds to what both sides share."""
    day, minute = view.now_ns // DAY_NS, view.now_ns // MINUTE_NS
    base = view.open_interest_base
    is_stamp = base != memory.open_interest_base and not math.isnan(base)
    healthy_since = None if not is_healthy else memory.healthy_since_ns
    return replace(
        memory,
        now_ns=view.now_ns,
        healthy_since_ns=view.now_ns if is_healthy and healthy_since is None else healthy_since,
        day=day,
        day_r=memory.day_r if day == memory.day else 0.0,
        open_interest_base=base if is_stamp else memory.open_interest_base,
        open_interest_before_base=memory.open_interest_base if is_stamp else memory.open_interest_before_base,
        is_open_interest_falling=base < memory.open_interest_base if is_stamp else memory.is_open_interest_falling,
        minutes=_ranges(memory.minutes, minute, view),
    )


def _ranges(
    minutes: tuple[tuple[int, float, float], ...], minute: int, view: View
) -> tuple[tuple[int, float, float], ...]:
    """The mark's range by minute, the running one last."""
    prices = [price for price in (view.mark_low, view.mark, view.mark_high) if not math.isnan(price)]
    if not prices:
        return minutes
    if minutes and minutes[-1][0] == minute:
        _, low, high = minutes[-1]
        return (*minutes[:-1], (minute, min(low, *prices), max(high, *prices)))
    return (*minutes[-MOST_MINUTES + 1 :], (minute, min(prices), max(prices)))
