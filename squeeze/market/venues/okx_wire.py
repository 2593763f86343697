"""OKX' messages as documented: the fields that are read, by the names and in the types of the wire.

Apart from `okx`, which makes events of them. Fields that are not named here are passed over.
"""

from typing import Any, Generic, Literal, TypeVar

from squeeze.market.venues.wire import Id, Ms, Px, Rate, Sz, Wire

OkxLevel = tuple[Px, Sz, Any, Any]
"""Price, contracts, a deprecated zero, how many orders."""


class Arg(Wire):
    """The channel of a message."""

    channel: str
    instId: str = ""


class FillWire(Wire):
    """`trades`, `trades-all`."""

    instId: str
    tradeId: str
    px: Px
    sz: Sz
    side: Literal["buy", "sell"]
    ts: Ms


class LevelsWire(Wire):
    """`books` and its kin, `bbo-tbt`; chain numbers came in 2023."""

    asks: list[OkxLevel]
    bids: list[OkxLevel]
    ts: Ms
    seqId: Id = -1
    prevSeqId: Id = -1


class TickerWire(Wire):
    """`tickers`: the last price and the best quotes."""

    instId: str
    ts: Ms
    last: Px | None = None
    askPx: Px | None = None
    askSz: Sz | None = None
    bidPx: Px | None = None
    bidSz: Sz | None = None


class MarkWire(Wire):
    """`mark-price`."""

    instId: str
    markPx: Px
    ts: Ms


class IndexWire(Wire):
    """`index-tickers`; its instruments are pairs, `BTC-USDT`."""

    instId: str
    idxPx: Px
    ts: Ms


class InterestWire(Wire):
    """`open-interest`: contracts, and base coins."""

    instId: str
    oi: Sz
    ts: Ms
    oiCcy: Sz | None = None


class FundingWire(Wire):
    """`funding-rate`: `fundingRate` is what would be settled at `fundingTime`, `settFundingRate` what was before."""

    instId: str
    fundingTime: Ms
    fundingRate: Rate | None = None
    nextFundingTime: Ms | None = None
    nextFundingRate: Rate | None = None
    settFundingRate: Rate | None = None
    settState: str | None = None
    ts: Ms | None = None


class DetailWire(Wire):
    """One liquidated order; `side` is that of the order."""

    side: Literal["buy", "sell"]
    bkPx: Px
    sz: Sz
    ts: Ms


class OrdersWire(Wire):
    """The liquidated orders of one contract."""

    instId: str
    details: list[DetailWire]


class SettledRow(Wire):
    """A row of `/api/v5/public/funding-rate-history`."""

    instId: str
    fundingRate: Rate
    fundingTime: Ms
    realizedRate: Rate | None = None


class InterestHistoryRow(Wire, array_like=True):
    """A row of the five-minute history: time, contracts, base coins, USD."""

    ts: Ms
    oi: Sz
    oiCcy: Sz


Row = TypeVar("Row")


class Push(Wire, Generic[Row]):
    """A message of a channel."""

    arg: Arg
    data: list[Row]
    action: Literal["snapshot", "update"] | None = None


class Answer(Wire, Generic[Row]):
    """The body of a REST call."""

    data: list[Row]


class Other(Wire):
    """What any other message may be: `event` answers a request, `code` is an error's or a REST answer's."""

    arg: Arg | None = None
    event: str = ""
    code: str = "0"
    msg: str = ""
