"""OKX v5, swaps: frames as events.

Sizes are contracts, so a record of the instrument gives base coins. Books chain by `prevSeqId`; their checksum has been
a constant 0 since June 2026 and is not looked at. `liquidation-orders` comes for all swaps at once, may hold several
details an entry, and says that it is not the total.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from squeeze.errors import DataError, VenueRefused
from squeeze.market.conventions import CONVENTIONS
from squeeze.market.events import (
    HOUR_NS,
    NAN,
    AnyEvent,
    BookUpdate,
    Funding,
    FundingForecast,
    Levels,
    Liquidation,
    OpenInterest,
    Price,
    Quote,
    Trade,
)
from squeeze.market.instruments import Instrument, Instruments, native, ours
from squeeze.market.venues.okx_wire import (
    Answer,
    FillWire,
    FundingWire,
    IndexWire,
    InterestHistoryRow,
    InterestWire,
    LevelsWire,
    MarkWire,
    OkxLevel,
    OrdersWire,
    Other,
    Push,
    SettledRow,
    TickerWire,
)
from squeeze.market.venues.wire import (
    MS,
    UNREADABLE,
    Connection,
    Decode,
    Names,
    Poll,
    batches,
    decoder,
    query,
    refuse,
    without_empty,
)

VENUE = "okx"
SIDES = CONVENTIONS[VENUE].sides
PUBLIC = "wss://ws.okx.com:8443/ws/v5/public"
REST = "https://www.okx.com"
SYMBOLS = Names(partial(ours, VENUE))
CHANNELS = ("trades", "books", "mark-price", "open-interest", "funding-rate")
SYMBOLS_PER_CONNECTION = 25
"""OKX advises fewer than 30 book channels a connection."""

DEPTHS = {"books": 400, "books-l2-tbt": 400, "books50-l2-tbt": 50, "books5": 5}


class Okx:
    """The adapter; see `wire.Venue`. `instruments` says how many base coins a contract is.

    A trade or a book of a contract without a record is refused. A liquidation of one has NaN for size and USD, since
    the channel brings all contracts there are; so has the size of a best quote.
    """

    name = VENUE

    def __init__(self, instruments: Instruments | None = None) -> None:
        self.instruments = Instruments.shipped() if instruments is None else instruments

    def decode(self, frame: bytes, received_ns: int, request: str = "") -> list[AnyEvent]:
        """As `wire.Venue.decode`."""
        try:
            if request:
                return self._answer(frame, received_ns, request)
            channel = _channel(frame)
            if channel not in PUSHES:
                return []
            decode, read = PUSHES[channel]
            try:
                push = decode(frame)
            except msgspec.ValidationError:
                if OTHER(frame).event:  # an acknowledgement that begins as a message does
                    return []
                push = decode(without_empty(frame))
            if push.arg.channel != channel:  # a key given twice
                raise ValueError(f"two channels, {channel} and {push.arg.channel}")
            return read(self, push, received_ns)
        except (*UNREADABLE, DataError) as error:
            refuse(VENUE, frame, error)

    def connections(self, symbols: Sequence[str]) -> list[Connection]:
        """As `wire.Venue.connections`."""
        found = []
        for number, batch in enumerate(batches(symbols, SYMBOLS_PER_CONNECTION)):
            args = [{"channel": c, "instId": native(VENUE, symbol)} for symbol in batch for c in CHANNELS]
            args += [{"channel": "index-tickers", "instId": pair(symbol)} for symbol in batch]
            if number == 0:
                args.append({"channel": "liquidation-orders", "instType": "SWAP"})
            message = msgspec.json.encode({"op": "subscribe", "args": args})
            found.append(Connection(url=PUBLIC, messages=(message,), ping=b"ping", ping_seconds=20.0))
        return found

    def polls(self, symbols: Sequence[str]) -> list[Poll]:
        """As `wire.Venue.polls`: five-minute open interest is lost after five days unless it is fetched."""
        natives = [native(VENUE, symbol) for symbol in symbols]
        history = f"{REST}/api/v5/rubik/stat/contracts/open-interest-history?period=5m&instId="
        settled = f"{REST}/api/v5/public/funding-rate-history?limit=10&instId="
        return [Poll(history + n, 300.0) for n in natives] + [Poll(settled + n, 300.0) for n in natives]

    def snapshot_request(self, symbol: str) -> str | None:
        """As `wire.Venue.snapshot_request`: a new subscription begins with a snapshot."""
        return None

    def contract(self, name: str, at_ns: int) -> Instrument:
        """The record of a contract; `ValueError` where there is none."""
        record = self.instruments.get(VENUE, name, at_ns)
        if record is None:
            raise ValueError(f"no record says how many coins a contract of {name} is: load its instrument data")
        return record

    def _base(self, name: str, contracts: float | None, price: float | None, at_ns: int) -> float:
        """Contracts in base coins; NaN where the contract or the number is not known."""
        record = self.instruments.get(VENUE, name, at_ns)
        if record is None or contracts is None or price is None:
            return NAN
        return record.to_base(contracts, price)

    def _answer(self, frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
        other = OTHER(frame)
        if other.code != "0":
            raise VenueRefused(f"{VENUE}: {other.code} {other.msg}, to {request[:120]}")
        path = request.partition("?")[0]
        if path == "/api/v5/rubik/stat/contracts/open-interest-history":
            symbol = SYMBOLS[query(request, "instId")]
            return [
                OpenInterest(
                    venue=VENUE, symbol=symbol, event_ns=row.ts * MS, known_at_ns=known_at_ns,
                    open_interest_base=row.oiCcy,
                )
                for row in INTEREST_HISTORY(frame).data
            ]  # fmt: skip
        if path == "/api/v5/public/funding-rate-history":
            return [
                Funding(
                    venue=VENUE, symbol=SYMBOLS[row.instId], event_ns=row.fundingTime * MS, known_at_ns=known_at_ns,
                    funding_rate=row.fundingRate if row.realizedRate is None else row.realizedRate,
                )
                for row in SETTLED(without_empty(frame)).data
            ]  # fmt: skip
        return []


def pair(symbol: str) -> str:
    """The name of the index of a perpetual.

    >>> pair("BTCUSDT")
    'BTC-USDT'
    """
    return native(VENUE, symbol).removesuffix("-SWAP")


def _channel(frame: bytes) -> str:
    """The channel of a message; empty for an acknowledgement, a pong, a notice."""
    if frame.startswith(START):
        channel = frame[len(START) : frame.find(b'"', len(START))].decode()
        if channel in PUSHES:
            return channel
    if frame == b"pong":
        return ""
    other = OTHER(frame)
    if other.event == "error":
        raise VenueRefused(f"{VENUE}: {other.code} {other.msg[:200]}")
    return "" if other.arg is None or other.event else other.arg.channel


def _of(push: Push[Any], name: str) -> str:
    """Our symbol of a row, which must be the one that was subscribed to, if it was one."""
    if push.arg.instId and name != push.arg.instId:
        raise ValueError(f"a row of {name} under {push.arg.instId}")
    return SYMBOLS[name]


def _trades(okx: Okx, push: Push[FillWire], known_at_ns: int) -> list[AnyEvent]:
    return [
        Trade(
            venue=VENUE, symbol=_of(push, t.instId), event_ns=t.ts * MS, known_at_ns=known_at_ns,
            price=t.px, size_base=okx.contract(t.instId, known_at_ns).to_base(t.sz, t.px),
            taker_buys=t.side == "buy", trade_id=t.tradeId, place=place,
        )
        for place, t in enumerate(push.data)
    ]  # fmt: skip


def _books(okx: Okx, push: Push[LevelsWire], known_at_ns: int) -> list[AnyEvent]:
    name, channel = push.arg.instId, push.arg.channel
    if push.action is None and channel != "books5":
        raise ValueError("neither a snapshot nor an update")
    contract = okx.contract(name, known_at_ns)
    return [
        BookUpdate(
            venue=VENUE, symbol=SYMBOLS[name], event_ns=x.ts * MS, known_at_ns=known_at_ns,
            is_snapshot=push.action != "update", bids=_levels(contract, x.bids), asks=_levels(contract, x.asks),
            last_id=x.seqId, previous_id=x.prevSeqId, depth=DEPTHS[channel],
        )
        for x in push.data
    ]  # fmt: skip


def _levels(contract: Instrument, levels: list[OkxLevel]) -> Levels:
    return [(level[0], contract.to_base(level[1], level[0])) for level in levels]


def _best(okx: Okx, push: Push[LevelsWire], known_at_ns: int) -> list[AnyEvent]:
    name = push.arg.instId
    events: list[AnyEvent] = []
    for x in push.data:
        (bid, bid_size), (ask, ask_size) = (levels[0][:2] if levels else (NAN, NAN) for levels in (x.bids, x.asks))
        events.append(
            Quote(
                venue=VENUE, symbol=SYMBOLS[name], event_ns=x.ts * MS, known_at_ns=known_at_ns,
                bid=bid, bid_size_base=okx._base(name, bid_size, bid, known_at_ns),
                ask=ask, ask_size_base=okx._base(name, ask_size, ask, known_at_ns),
            )
        )  # fmt: skip
    return events


def _tickers(okx: Okx, push: Push[TickerWire], known_at_ns: int) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for x in push.data:
        common: dict[str, Any] = {
            "venue": VENUE, "symbol": _of(push, x.instId), "event_ns": x.ts * MS, "known_at_ns": known_at_ns
        }  # fmt: skip
        if x.last is not None:
            events.append(Price(**common, price=x.last, of="last"))
        if x.bidPx is not None or x.askPx is not None:
            quote = Quote(
                **common,
                bid=NAN if x.bidPx is None else x.bidPx,
                bid_size_base=okx._base(x.instId, x.bidSz, x.bidPx, known_at_ns),
                ask=NAN if x.askPx is None else x.askPx,
                ask_size_base=okx._base(x.instId, x.askSz, x.askPx, known_at_ns),
            )
            events.append(quote)
    return events


def _prices(okx: Okx, push: Push[MarkWire] | Push[IndexWire], known_at_ns: int) -> list[AnyEvent]:
    return [
        Price(
            venue=VENUE, symbol=_of(push, x.instId), event_ns=x.ts * MS, known_at_ns=known_at_ns,
            price=x.markPx if isinstance(x, MarkWire) else x.idxPx,
            of="mark" if isinstance(x, MarkWire) else "index",
        )
        for x in push.data
    ]  # fmt: skip


def _interests(okx: Okx, push: Push[InterestWire], known_at_ns: int) -> list[AnyEvent]:
    return [
        OpenInterest(
            venue=VENUE, symbol=_of(push, x.instId), event_ns=x.ts * MS, known_at_ns=known_at_ns,
            open_interest_base=(
                okx.contract(x.instId, known_at_ns).to_base(x.oi) if x.oiCcy is None else x.oiCcy
            ),
        )
        for x in push.data
    ]  # fmt: skip


def _fundings(okx: Okx, push: Push[FundingWire], known_at_ns: int) -> list[AnyEvent]:
    return [
        FundingForecast(
            venue=VENUE, symbol=_of(push, x.instId), event_ns=known_at_ns if x.ts is None else x.ts * MS,
            known_at_ns=known_at_ns,
            funding_rate=NAN if x.fundingRate is None else x.fundingRate,
            settles_ns=x.fundingTime * MS,
            interval_hours=_interval_hours(x),
            following_rate=NAN if x.nextFundingRate is None else x.nextFundingRate,
            settled_rate=x.settFundingRate if x.settState == "settled" and x.settFundingRate is not None else NAN,
        )
        for x in push.data
    ]  # fmt: skip


def _interval_hours(x: FundingWire) -> float:
    """From one settlement to the next; NaN where the message does not give two."""
    later = x.nextFundingTime is not None and x.nextFundingTime > x.fundingTime
    return ((x.nextFundingTime or 0) - x.fundingTime) * MS / HOUR_NS if later else NAN


def _liquidations(okx: Okx, push: Push[OrdersWire], known_at_ns: int) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for orders in push.data:
        symbol = _of(push, orders.instId)
        for detail in orders.details:
            size_base = okx._base(orders.instId, detail.sz, detail.bkPx, known_at_ns)
            events.append(
                Liquidation(
                    venue=VENUE, symbol=symbol, event_ns=detail.ts * MS, known_at_ns=known_at_ns,
                    quality=int(CONVENTIONS[VENUE].completeness), side=SIDES[detail.side], usd=size_base * detail.bkPx,
                    size_base=size_base, price=detail.bkPx, place=len(events),
                )
            )  # fmt: skip
    return events


START = b'{"arg":{"channel":"'
OTHER: Decode[Other] = decoder(Other)
INTEREST_HISTORY: Decode[Answer[InterestHistoryRow]] = decoder(Answer[InterestHistoryRow])
SETTLED: Decode[Answer[SettledRow]] = decoder(Answer[SettledRow])
BOOKS = (decoder(Push[LevelsWire]), _books)
PUSHES: dict[str, tuple[Decode[Push[Any]], Callable[[Okx, Push[Any], int], list[AnyEvent]]]] = {
    "trades": (decoder(Push[FillWire]), _trades),
    "trades-all": (decoder(Push[FillWire]), _trades),
    **dict.fromkeys(DEPTHS, BOOKS),
    "bbo-tbt": (decoder(Push[LevelsWire]), _best),
    "tickers": (decoder(Push[TickerWire]), _tickers),
    "mark-price": (decoder(Push[MarkWire]), _prices),
    "index-tickers": (decoder(Push[IndexWire]), _prices),
    "open-interest": (decoder(Push[InterestWire]), _interests),
    "funding-rate": (decoder(Push[FundingWire]), _fundings),
    "liquidation-orders": (decoder(Push[OrdersWire]), _liquidations),
}
"""How to decode a channel's messages, and what makes events of them."""
