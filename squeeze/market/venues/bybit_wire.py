"""Bybit's messages as documented: the fields that are read, by the names and in the types of the wire.

Apart from `bybit`, which makes events of them. Fields that are not named here are passed over.
"""

from typing import Literal

import msgspec

from squeeze.market.venues.wire import NOTHING, Id, Level, Ms, Px, Rate, Sz, Wire


class FillWire(Wire):
    """One fill of `publicTrade`."""

    T: Ms
    s: str
    S: Literal["Buy", "Sell"]
    v: Sz
    p: Px
    i: str
    BT: bool = False


class TradesWire(Wire):
    """`publicTrade`: up to 1,024 fills."""

    topic: str
    data: list[FillWire]


class LevelsWire(Wire):
    """The levels of `orderbook`."""

    s: str
    b: list[Level]
    a: list[Level]
    u: Id
    seq: Id = -1


class BookWire(Wire):
    """`orderbook`; `cts` is the matching engine's time, `ts` that of the push."""

    topic: str
    type: Literal["snapshot", "delta"]
    ts: Ms
    data: LevelsWire
    cts: Ms | None = None


class StateWire(Wire):
    """What `tickers` says; None where nothing changed."""

    symbol: str
    lastPrice: Px | None = None
    markPrice: Px | None = None
    indexPrice: Px | None = None
    openInterest: Sz | None = None
    singleOpenInterest: Sz | None = None
    fundingRate: Rate | None = None
    nextFundingTime: Ms | None = None
    fundingIntervalHour: Sz | None = None


class TickerWire(Wire):
    """`tickers`."""

    topic: str
    ts: Ms
    data: StateWire


class LiquidationWire(Wire):
    """One event of `allLiquidation`."""

    T: Ms
    s: str
    S: Literal["Buy", "Sell"]
    v: Sz
    p: Px


class LiquidationsWire(Wire):
    """`allLiquidation`."""

    topic: str
    data: list[LiquidationWire]


class OldLiquidationWire(Wire):
    """The retired `liquidation` topic, at most one a second."""

    updatedTime: Ms
    symbol: str
    side: Literal["Buy", "Sell"]
    size: Sz
    price: Px


class OldLiquidationsWire(Wire):
    """`liquidation`."""

    topic: str
    data: OldLiquidationWire


class KeptLiquidationsWire(Wire):
    """Messages of `liquidation` as recorders kept them."""

    d: list[OldLiquidationWire]


class Other(Wire):
    """What any other message may be."""

    topic: str = ""
    success: bool = True
    ret_msg: str = ""
    retCode: int = 0
    retMsg: str = ""
    d: msgspec.Raw = NOTHING


class BookResult(LevelsWire, kw_only=True):
    """The book in the body of `/v5/market/orderbook`."""

    ts: Ms
    cts: Ms | None = None


class BookAnswer(Wire):
    """Body of `/v5/market/orderbook`."""

    result: BookResult


class InterestRow(Wire):
    """One stamp of open interest."""

    timestamp: Ms
    openInterest: Sz
    singleOpenInterest: Sz | None = None


class InterestResult(Wire):
    """The stamps of one symbol."""

    symbol: str
    rows: list[InterestRow] = msgspec.field(name="list")


class InterestAnswer(Wire):
    """Body of `/v5/market/open-interest`."""

    result: InterestResult


class FundingRow(Wire):
    """One settlement."""

    symbol: str
    fundingRate: Rate
    fundingRateTimestamp: Ms


class FundingResult(Wire):
    """The settlements."""

    rows: list[FundingRow] = msgspec.field(name="list")


class FundingAnswer(Wire):
    """Body of `/v5/market/funding/history`."""

    result: FundingResult
