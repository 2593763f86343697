"""What the signal machine sees at one look of its clock: the newest word of the model, and the market beside it.

    events ─► Tape ──┐
    frames ─► zones ─┼─► View ─► SignalMachine.look ─► messages
    model ──► Word ──┘

Everything was known at `now_ns`. What was not recorded is NaN. Arrays of two are by side: 0 longs (below the mark), 1
shorts (above it). Log prices are natural; a log distance is outward from the mark, so positive on both sides.
"""

import math
from collections.abc import Sequence

import msgspec

NAN = math.nan
BOTH_NAN = (NAN, NAN)


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model last said, and the data cut it said it for."""

    ts_ns: int
    probabilities: tuple[tuple[float, ...], tuple[float, ...]] | None
    """By side, then by the label's horizons; None: it abstained."""
    reasons: tuple[str, ...] = ()
    """Why it abstained."""
    degraded: tuple[str, ...] = ()
    """Inputs that were substituted."""
    drift: tuple[str, ...] = ()
    """What has drifted from training."""


class ZoneView(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zone of the liquidation map as a person reads it."""

    id: str
    """Names the zone for good: `long-17`."""
    side: int
    low: float
    """Its edges and centroid as prices."""
    high: float
    centroid: float
    near_log: float
    """Distance from the mark to the edge nearest to it; below zero once the mark is inside or past it."""
    far_log: float
    mass_share: float
    """Of open interest."""
    mass_usd: float
    peak_6h_share: float
    thickness_rank: float
    """Share of the zones of its side in the last 90 days that were lighter; NaN where the record is too short."""
    age_hours: float
    """Mean age of its mass."""
    born_ns: int
    """Close of the step that saw it first."""
    major: bool
    stack: int
    """How many zones of its side lie ahead, this one counted."""


class VoidView(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch with little to liquidate, little traded and little resting (`patterns.voids`); edges as prices."""

    low: float
    high: float


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    now_ns: int
    word: Word | None
    """None before the model has spoken."""

    mark: float = NAN
    mark_ns: int = 0
    """When the mark was last heard; 0 for never."""
    mark_made_ns: int = 0
    """When the venue made it, a bar at its close; a backlog that arrives just now is old all the same."""
    mark_low: float = NAN
    """Range of the mark since the last look."""
    mark_high: float = NAN
    bid: float = NAN
    ask: float = NAN
    live: bool = True
    """Whether the newest mark came live; a replayed or backfilled one never leads to an entry."""

    sigma_1m_log: float = NAN
    """Exponentially weighted deviation of one-minute mark returns, half-life of an hour."""
    velocity_log: float = NAN
    """Log price a minute, half-life of 30 s; positive upward."""
    atr_5m_log: float = NAN
    """Mean true range of the last 14 whole bars of five and of fifteen minutes."""
    atr_15m_log: float = NAN
    range_3m_log: float = NAN
    """Highest over lowest mark of the last three minutes."""

    volume_60s_usd: float = NAN
    volume_minute_usd: float = NAN
    """Mean volume of a minute in the last hour."""
    taker_imbalance: float = NAN
    """Buys less sells over both, half-life of 30 s, in [-1, 1]."""
    taker_sells_10s_usd: float = NAN
    taker_buys_10s_usd: float = NAN

    liquidated_10s_usd: tuple[float, float] = BOTH_NAN
    prints_10s: tuple[float, float] = BOTH_NAN
    liquidated_10s_usual_usd: tuple[float, float] = BOTH_NAN
    """The 95th percentile of the sums of ten seconds with a print, over 30 days; NaN where there were too few."""
    liquidated_total_usd: tuple[float, float] = BOTH_NAN
    """All that was seen liquidated since the feed began to speak; only differences mean anything."""
    liquidated_60s_usd: tuple[float, float] = BOTH_NAN
    prints_60s: tuple[float, float] = BOTH_NAN
    onset_usd: tuple[float, float] = BOTH_NAN
    """What a minute must reach to be the onset of a cascade (domain.md §5.1, i)."""
    liquidations_suspect: bool = False
    """The feed is silent while the price says that it should not be (§1.7), or there is none."""

    open_interest_base: float = NAN
    open_interest_change_1h: float = NAN
    """As a share, in coins."""
    funding_8h: float = NAN

    spread_bp: float = NAN
    spread_median_60m_bp: float = NAN
    spread_worst_30s_bp: float = NAN
    depth_usd: float = NAN
    """Resting within half a percent, both sides."""
    depth_median_60m_usd: float = NAN

    volatility_1h_rank: float = NAN
    """Share of the last 30 days' hours that were calmer."""
    return_4h_log: float = NAN
    sigma_4h_log: float = NAN

    zones: tuple[ZoneView, ...] = ()
    """Of both sides, each side's nearest first; those just passed are still there while the tracker holds them."""
    voids: tuple[VoidView | None, VoidView | None] = (None, None)
    """The nearest below and above the mark at the last close; None where there is none, and without an atlas."""
    patterns: dict[str, tuple[bool, bool]] = msgspec.field(default_factory=dict)
    """Whether each pattern's flag is up, by side (`patterns.catalogue`)."""
    pattern_words: Sequence[tuple[str, ...]] = ((), ())
    """The flagged patterns in plain words, by side."""
    map_age_ns: int = 0
    """Since the liquidation map last took something in."""
    venue_age_ns: dict[str, int] = msgspec.field(default_factory=dict)
    """Since each venue was last heard."""
    stale_venues: tuple[str, ...] = ()
    """Those that were silent for too long; so few that the rest can still be acted on."""
    stale: tuple[str, ...] = ()
    """What is too old to act on, by name: `price`, `venues`, `map`, `clock`; empty when all is well."""
