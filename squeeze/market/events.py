"""What a market says: bars, open interest, funding and liquidations, each with two clocks.

`event_ns` is when it happened at the exchange (a bar's *close*), `known_at_ns` when a listener could have known it;
both are UTC nanoseconds. Features may look only at `known_at_ns`. Amounts are in base coins or USD and say so; a field
that was not recorded is NaN, never zero.
"""

import math
from enum import IntFlag

import msgspec

NAN = math.nan
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


class Quality(IntFlag):
    """What is known to be wrong with an event or a step."""

    GOOD = 0
    REPLAYED = 1
    """Sent again by the venue after a reconnect."""
    GAP_BEFORE = 2
    """The stream broke before this event."""
    SAMPLED = 4
    """The source publishes only some of these events (Binance: one liquidation per symbol and second)."""
    PARTIAL = 8
    """A step whose bars cover only a part of it."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="kind"):
    """Base of all events."""

    venue: str
    symbol: str
    event_ns: int
    known_at_ns: int
    quality: int = 0


class Bar(Event, tag="bar", frozen=True, kw_only=True, gc=False):
    """Open, high, low and close over `cadence_ns` up to `event_ns`, of last or mark price, in quote currency."""

    cadence_ns: int
    open: float
    high: float
    low: float
    close: float
    volume_base: float = NAN
    taker_buy_base: float = NAN
    is_mark: bool = False


class OpenInterest(Event, tag="open_interest", frozen=True, kw_only=True, gc=False):
    """Contracts open at `event_ns`, each counted once, in base coins."""

    open_interest_base: float


class Funding(Event, tag="funding", frozen=True, kw_only=True, gc=False):
    """The rate settled at `event_ns`, as a fraction of notional; positive means that longs pay."""

    funding_rate: float
    interval_hours: float = NAN


class Liquidation(Event, tag="liquidation", frozen=True, kw_only=True, gc=False):
    """One forced order. `side` is that of the *position*: 0 a long was liquidated, 1 a short (domain.md §1.5)."""

    side: int
    usd: float


class LiquidationSum(Event, tag="liquidation_sum", frozen=True, kw_only=True, gc=False):
    """USD liquidated per side over `cadence_ns` up to `event_ns`."""

    cadence_ns: int
    long_usd: float
    short_usd: float


AnyEvent = Bar | OpenInterest | Funding | Liquidation | LiquidationSum


def kind_of(event: AnyEvent) -> str:
    """The lake's name for the stream an event belongs to.

    >>> hour = {"venue": "v", "symbol": "s", "event_ns": 0, "known_at_ns": 0, "cadence_ns": HOUR_NS}
    >>> kind_of(LiquidationSum(**hour, long_usd=1.0, short_usd=0.0))
    'liquidation_1h'
    """
    match event:
        case Bar():
            return f"{'mark_bar' if event.is_mark else 'bar'}_{cadence_name(event.cadence_ns)}"
        case LiquidationSum():
            return f"liquidation_{cadence_name(event.cadence_ns)}"
        case OpenInterest():
            return "open_interest"
        case Funding():
            return "funding"
        case Liquidation():
            return "liquidation"


def cadence_name(cadence_ns: int) -> str:
    """`15m`, `1h`, `1d`, `30s`: the largest unit that divides the cadence.

    >>> [cadence_name(n * SECOND_NS) for n in (1, 300, 3600, 86400)]
    ['1s', '5m', '1h', '1d']
    """
    for unit, size in (("d", DAY_NS), ("h", HOUR_NS), ("m", MINUTE_NS), ("s", SECOND_NS)):
        if cadence_ns % size == 0:
            return f"{cadence_ns // size}{unit}"
    return f"{cadence_ns}ns"
