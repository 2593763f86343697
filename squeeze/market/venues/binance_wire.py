"""Binance's messages as documented: the fields that are read, by the names and in the types of the wire.

Apart from `binance`, which makes events of them. Fields that are not named here are passed over.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from squeeze.market.venues.wire import LATEST_MS, NOTHING, Id, Level, Ms, Px, Px0, Rate, Sz, Wire


class FillWire(Wire, tag_field="e", tag="trade"):
    """One fill: `@trade`."""

    s: str
    T: Ms
    t: Id
    p: Px0
    q: Sz
    m: bool
    X: str = "MARKET"


class AggregateWire(Wire, tag_field="e", tag="aggTrade"):
    """Fills of one taker order at one price within 100 ms: `@aggTrade`."""

    s: str
    T: Ms
    a: Id
    p: Px
    q: Sz
    m: bool


class QuoteWire(Wire, tag_field="e", tag="bookTicker"):
    """`@bookTicker`."""

    s: str
    T: Ms
    b: Px0
    B: Sz
    a: Px0
    A: Sz


class DepthWire(Wire, tag_field="e", tag="depthUpdate"):
    """`@depth`."""

    s: str
    T: Ms
    U: Id
    u: Id
    pu: Id
    b: list[Level]
    a: list[Level]


class MarkWire(Wire, tag_field="e", tag="markPriceUpdate"):
    """`@markPrice`."""

    s: str
    E: Ms
    p: Px
    T: Annotated[int, Meta(ge=0, lt=LATEST_MS)]
    i: Px0 | None = None
    r: Rate | None = None


class DayTickerWire(Wire, tag_field="e", tag="24hrTicker"):
    """`@ticker`, of which the last price is read."""

    s: str
    E: Ms
    c: Px


class OrderWire(Wire):
    """A liquidation order."""

    s: str
    S: Literal["BUY", "SELL"]
    T: Ms
    p: Px
    ap: Sz
    z: Sz
    st: int = 1
    """1 USD-M, 2 COIN-M: announced for streams that carry both."""


class ForceOrderWire(Wire, tag_field="e", tag="forceOrder"):
    """`@forceOrder`."""

    o: OrderWire


Message = FillWire | AggregateWire | QuoteWire | DepthWire | MarkWire | DayTickerWire | ForceOrderWire


class Combined(Wire):
    """The form of `/stream?streams=`."""

    data: Message


class Other(Wire):
    """What any other message may be: an answer to a request, or an event that is not read."""

    e: str | None = None
    data: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    code: int | None = None
    msg: str = ""


class DepthAnswer(Wire):
    """Body of `/fapi/v1/depth`."""

    lastUpdateId: Id
    T: Ms
    bids: list[Level]
    asks: list[Level]


class InterestAnswer(Wire):
    """Body of `/fapi/v1/openInterest`."""

    symbol: str
    openInterest: Sz
    time: Ms


class InterestRow(Wire):
    """A row of `/futures/data/openInterestHist`."""

    symbol: str
    sumOpenInterest: Sz
    timestamp: Ms


class FundingRow(Wire):
    """A row of `/fapi/v1/fundingRate`."""

    symbol: str
    fundingTime: Ms
    fundingRate: Rate
