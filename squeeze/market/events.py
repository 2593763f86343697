"""What a market says: trades, quotes, books, prices, bars, open interest, funding and liquidations, with two clocks.

`event_ns` is when it happened at the exchange (a bar's *close*), `known_at_ns` when a listener could have known it;
both are UTC nanoseconds. Features may look only at `known_at_ns`. Amounts are in base coins or USD and say so; a field
that was not recorded is NaN, never zero. `rows` turns events into the lake's columns and back.
"""

import math
import re
from enum import IntEnum, IntFlag
from typing import Literal

import msgspec

NAN = math.nan
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

NAME = re.compile(r"[^\W_][\w+.-]*")
"""Venues and symbols name folders, so they hold letters, digits and these signs; there are contracts in Chinese."""


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
    """A step whose bars or trades cover only a part of it."""
    UNDERCOUNTED = 16
    """The source says that it does not publish all of these events, not which (OKX: liquidations)."""
    CLOCK_SKEW = 32
    """Stamped later than it was received: one of the two clocks is wrong by the difference."""
    OFF_BOOK = 64
    """A block trade, agreed outside the book: no part of taker flow or of candles."""


ALL_DEPTHS = -1


class Feed(IntEnum):
    """What a hole was in."""

    ALL = 0
    """The connection, and all that came over it."""
    TRADES = 1
    BOOK = 2


class Broken(IntEnum):
    """Why a feed has a hole."""

    DISCONNECTED = 0
    MISSED_UPDATE = 1
    """An update did not follow the last one by the venue's own rule."""
    CROSSED = 2
    """The best bid reached the best ask."""
    BAD_FRAME = 3
    """A frame that could not be read, so that what it said is lost."""


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
    """One forced order. `side` is that of the *position*: 0 a long was liquidated, 1 a short.

    `price` is what the venue prints: Bybit and OKX the bankruptcy price, Binance the average fill. So `usd` is the size
    at the venue's mark price where that is known, else at the printed one (domain.md §1.5).
    """

    side: int
    usd: float
    size_base: float = NAN
    price: float = NAN
    place: int = 0
    """Number within its frame: two equal prints in one frame are two."""


class LiquidationSum(Event, tag="liquidation_sum", frozen=True, kw_only=True, gc=False):
    """USD liquidated per side over `cadence_ns` up to `event_ns`."""

    cadence_ns: int
    long_usd: float
    short_usd: float


Levels = list[tuple[float, float]]
"""(price, size in base coins) of book levels, in the order in which the venue gave them."""


class Trade(Event, tag="trade", frozen=True, kw_only=True, gc=False):
    """One fill, or several that a venue merges: of one taker order at one price."""

    price: float
    size_base: float
    taker_buys: bool
    trade_id: str | int = ""
    """As the venue writes it; it serves to drop repeats and is not kept in the lake."""
    place: int = 0
    """Number within its frame, so that trades known at once keep their order."""


class Quote(Event, tag="quote", frozen=True, kw_only=True, gc=False):
    """Best bid and ask, sizes in base coins; NaN where the venue does not say."""

    bid: float
    bid_size_base: float
    ask: float
    ask_size_base: float


class Price(Event, tag="price", frozen=True, kw_only=True, gc=False):
    """One of the prices a venue computes or repeats, in quote currency."""

    price: float
    of: Literal["last", "mark", "index"]


class FundingForecast(Event, tag="funding_forecast", frozen=True, kw_only=True, gc=False):
    """The rate that would be settled at `settles_ns` if it were now, a fraction of notional; longs pay if positive.

    What a venue leaves out is NaN or 0. `following_rate` is the forecast for the settlement after (OKX), `settled_rate`
    the one before.
    """

    funding_rate: float = NAN
    settles_ns: int = 0
    interval_hours: float = NAN
    following_rate: float = NAN
    settled_rate: float = NAN


class BookUpdate(Event, tag="book", frozen=True, kw_only=True, gc=False):
    """Levels of an order book: all of them (`is_snapshot`), or those that changed, of which a size of 0 is gone.

    `last_id` numbers the update, `previous_id` the one before it and `first_id` the first change in it, by the venue's
    own counting; -1 where the venue does not say. `depth` is how many levels a side the feed carries, 0 for all.
    """

    is_snapshot: bool
    bids: Levels
    asks: Levels
    first_id: int = -1
    last_id: int = -1
    previous_id: int = -1
    depth: int = 0


class DepthBand(Event, tag="depth_band", frozen=True, kw_only=True, gc=False):
    """All that is bid or asked from the middle of a book to `percentage` away from it: below zero bids, above asks."""

    percentage: float
    depth_base: float
    notional_usd: float


class Gap(Event, tag="gap", frozen=True, kw_only=True, gc=False):
    """A hole in what was received, noticed at `known_at_ns`; nothing was heard since `event_ns`.

    A book is not to be trusted until its next snapshot, a step is marked partial.
    """

    feed: Feed
    reason: Broken
    depth: int = ALL_DEPTHS
    """Of a hole in a book: which of several, by `BookUpdate.depth`."""


AnyEvent = (
    Bar
    | OpenInterest
    | Funding
    | Liquidation
    | LiquidationSum
    | Trade
    | Quote
    | Price
    | FundingForecast
    | BookUpdate
    | DepthBand
    | Gap
)


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
        case Price():
            return f"price_{event.of}"
        case _:
            return str(event.__struct_config__.tag)


def cadence_name(cadence_ns: int) -> str:
    """`15m`, `1h`, `1d`, `30s`: the largest unit that divides the cadence.

    >>> [cadence_name(n * SECOND_NS) for n in (1, 300, 3600, 86400)]
    ['1s', '5m', '1h', '1d']
    """
    for unit, size in (("d", DAY_NS), ("h", HOUR_NS), ("m", MINUTE_NS), ("s", SECOND_NS)):
        if cadence_ns % size == 0:
            return f"{cadence_ns // size}{unit}"
    return f"{cadence_ns}ns"
