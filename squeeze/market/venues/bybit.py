"""Bybit v5, linear perpetuals: frames as events.

Sizes are base coins. Liquidations are complete, in batches every 500 ms, and `S` is the side of the *position*. Books
have no number of the update before: `u` rises, a snapshot replaces. Tickers come whole once, then only what changed, so
each field is an event of its own. Spot uses the same topics with other keys: a connection is one or the other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from squeeze.errors import VenueRefused
from squeeze.market.conventions import CONVENTIONS, completeness
from squeeze.market.events import (
    NAN,
    AnyEvent,
    BookUpdate,
    Funding,
    FundingForecast,
    Liquidation,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.venues.bybit_wire import (
    BookAnswer,
    BookWire,
    FillWire,
    FundingAnswer,
    InterestAnswer,
    KeptLiquidationsWire,
    LiquidationsWire,
    OldLiquidationsWire,
    OldLiquidationWire,
    Other,
    TickerWire,
    TradesWire,
)
from squeeze.market.venues.wire import (
    MOST_NAMES,
    MS,
    UNREADABLE,
    Connection,
    Decode,
    Level,
    Names,
    Poll,
    Topics,
    batches,
    decoder,
    query,
    refuse,
    without_empty,
)

VENUE = "bybit"
SIDES = CONVENTIONS[VENUE].sides
OFF_BOOK = int(Quality.OFF_BOOK)
WEBSOCKET = "wss://stream.bybit.com/v5/public/linear"
REST = "https://api.bybit.com"
NAMES = Names()
TRADE_TOPICS = Topics("publicTrade.", NAMES)
TICKER_TOPICS = Topics("tickers.", NAMES)
LIQUIDATION_TOPICS = Topics("allLiquidation.", NAMES)
OLD_LIQUIDATION_TOPICS = Topics("liquidation.", NAMES)
TOPICS = ("publicTrade", "orderbook.200", "tickers", "allLiquidation")
SYMBOLS_PER_CONNECTION = 50
"""The limit is 21,000 characters of topics; fewer make a lost connection a smaller hole."""


class Bybit:
    """The adapter; see `wire.Venue`."""

    name = VENUE

    def decode(self, frame: bytes, received_ns: int, request: str = "") -> list[AnyEvent]:
        """As `wire.Venue.decode`."""
        try:
            if request:
                return _answer(frame, received_ns, request)
            read = EVENTS.get(frame[:16])
            if read is None:
                return _uncommon(frame, received_ns)
            try:
                return read(frame, received_ns)
            except msgspec.ValidationError:
                return read(without_empty(frame), received_ns)
        except UNREADABLE as error:
            refuse(VENUE, frame, error)

    def connections(self, symbols: Sequence[str]) -> list[Connection]:
        """As `wire.Venue.connections`."""
        found = []
        for batch in batches(symbols, SYMBOLS_PER_CONNECTION):
            topics = [f"{topic}.{symbol}" for symbol in batch for topic in TOPICS]
            message = msgspec.json.encode({"op": "subscribe", "args": topics})
            found.append(Connection(url=WEBSOCKET, messages=(message,), ping=b'{"op":"ping"}', ping_seconds=20.0))
        return found

    def polls(self, symbols: Sequence[str]) -> list[Poll]:
        """As `wire.Venue.polls`: tickers tell the rate to come, settled ones are asked for."""
        path = "/v5/market/funding/history?category=linear&limit=10"
        return [Poll(f"{REST}{path}&symbol={symbol}", 300.0) for symbol in symbols]

    def snapshot_request(self, symbol: str) -> str | None:
        """As `wire.Venue.snapshot_request`: a new subscription begins with a snapshot."""
        return None


def _uncommon(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    """The events of a frame that does not begin with its topic; empty for what is not read."""
    other = OTHER(frame)
    if not other.success or other.retCode:
        raise VenueRefused(f"{VENUE}: {other.ret_msg or other.retMsg or other.retCode}")
    if bytes(other.d) and not other.topic:
        return _sampled(KEPT_LIQUIDATIONS(frame).d, known_at_ns)
    read = EVENTS.get(b'{"topic":"' + other.topic[:6].encode())
    return [] if read is None else read(without_empty(frame), known_at_ns)


def _trades(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    wire = TRADES(frame)
    fills, symbol = wire.data, TRADE_TOPICS[wire.topic]
    odd = [t for t in fills if t.BT or t.s != symbol]
    trades: list[AnyEvent] = [
        Trade(
            venue=VENUE, symbol=symbol, event_ns=t.T * MS, known_at_ns=known_at_ns,
            price=t.p, size_base=t.v, taker_buys=t.S == "Buy", trade_id=t.i, place=place,
        )
        for place, t in enumerate(fills)
    ]  # fmt: skip
    return _odd_trades(trades, fills, symbol) if odd else trades


def _odd_trades(trades: list[AnyEvent], fills: list[FillWire], symbol: str) -> list[AnyEvent]:
    """Block trades marked as such; `ValueError` for a trade of another contract."""
    for fill in fills:
        if fill.s != symbol:
            raise ValueError(f"a trade of {fill.s} under {symbol}")
    return [
        msgspec.structs.replace(trade, quality=OFF_BOOK) if fill.BT else trade
        for trade, fill in zip(trades, fills, strict=True)
    ]


def _book(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    wire = BOOK(frame)
    symbol, depth = BOOK_TOPICS[wire.topic]
    if depth == NOT_READ:
        return []
    if wire.data.s != symbol:
        raise ValueError(f"a book of {wire.data.s} under {wire.topic}")
    at_ns = (wire.cts or wire.ts) * MS
    if depth == 1:
        (bid, bid_size), (ask, ask_size) = _best(wire.data.b), _best(wire.data.a)
        return [
            Quote(
                venue=VENUE, symbol=symbol, event_ns=at_ns, known_at_ns=known_at_ns,
                bid=bid, bid_size_base=bid_size, ask=ask, ask_size_base=ask_size,
            )
        ]  # fmt: skip
    return [
        BookUpdate(
            venue=VENUE, symbol=symbol, event_ns=at_ns, known_at_ns=known_at_ns,
            is_snapshot=wire.type == "snapshot", bids=wire.data.b, asks=wire.data.a, last_id=wire.data.u, depth=depth,
        )
    ]  # fmt: skip


NOT_READ = -1
"""Depth of `orderbook.rpi`: orders that only retail takers can meet."""


class BookTopics(dict[str, tuple[str, int]]):
    """Contract and depth of `orderbook` topics."""

    def __missing__(self, topic: str) -> tuple[str, int]:
        start, _, native = topic.rpartition(".")
        depth = start.removeprefix("orderbook.")
        found = NAMES[native], int(depth) if depth.isdecimal() and len(depth) <= 4 else NOT_READ
        if len(self) >= MOST_NAMES:
            self.clear()
        self[topic] = found
        return found


def _best(levels: list[Level]) -> Level:
    """The level that is there, of the one or two that `orderbook.1` names: an old one goes with the size 0."""
    return next((level for level in levels if level[1]), (NAN, NAN))


def _ticker(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    wire = TICKER(frame)
    d, symbol = wire.data, TICKER_TOPICS[wire.topic]
    if d.symbol != symbol:
        raise ValueError(f"a ticker of {d.symbol} under {wire.topic}")
    last, mark, index = d.lastPrice, d.markPrice, d.indexPrice
    rate, settles_ms, hours = d.fundingRate, d.nextFundingTime, d.fundingIntervalHour
    one_sided, both_sided = d.singleOpenInterest, d.openInterest
    if last is mark is index is rate is settles_ms is hours is one_sided is both_sided is None:
        return []  # most deltas change a best quote alone, which `orderbook` tells better
    common: dict[str, Any] = {
        "venue": VENUE,
        "symbol": symbol,
        "event_ns": wire.ts * MS,
        "known_at_ns": known_at_ns,
    }
    events: list[AnyEvent] = []
    if last is not None:
        events.append(Price(**common, price=last, of="last"))
    if mark is not None:
        events.append(Price(**common, price=mark, of="mark"))
    if index is not None:
        events.append(Price(**common, price=index, of="index"))
    if one_sided is not None or both_sided is not None:
        events.append(OpenInterest(**common, open_interest_base=_single(one_sided, both_sided)))
    if rate is not None or settles_ms is not None or hours is not None:
        events.append(
            FundingForecast(
                **common,
                funding_rate=NAN if rate is None else rate,
                settles_ns=(settles_ms or 0) * MS,
                interval_hours=hours or NAN,
            )
        )
    return events


def _single(one_sided: float | None, both_sided: float | None) -> float:
    """Each contract once: `openInterest` counts both sides of it (domain.md §1.6)."""
    if one_sided is not None:
        return one_sided
    return NAN if both_sided is None else both_sided / 2


def _liquidations(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    wire = LIQUIDATIONS(frame)
    symbol = LIQUIDATION_TOPICS[wire.topic]
    events: list[AnyEvent] = []
    for place, x in enumerate(wire.data):
        if x.s != symbol:
            raise ValueError(f"a liquidation of {x.s} under {wire.topic}")
        events.append(
            Liquidation(
                venue=VENUE, symbol=symbol, event_ns=x.T * MS, known_at_ns=known_at_ns,
                quality=int(completeness(VENUE, x.T * MS) or 0), side=SIDES[x.S], usd=x.v * x.p,
                size_base=x.v, price=x.p, place=place,
            )
        )  # fmt: skip
    return events


def _old_liquidations(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    wire = OLD_LIQUIDATIONS(frame)
    if wire.data.symbol != OLD_LIQUIDATION_TOPICS[wire.topic]:
        raise ValueError(f"a liquidation of {wire.data.symbol} under {wire.topic}")
    return _sampled([wire.data], known_at_ns)


def _sampled(rows: list[OldLiquidationWire], known_at_ns: int) -> list[AnyEvent]:
    return [
        Liquidation(
            venue=VENUE, symbol=NAMES[x.symbol], event_ns=x.updatedTime * MS, known_at_ns=known_at_ns,
            quality=int(Quality.SAMPLED), side=SIDES[x.side], usd=x.size * x.price, size_base=x.size, price=x.price,
            place=place,
        )
        for place, x in enumerate(rows)
    ]  # fmt: skip


def _answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    """The events in the body of a REST call."""
    other = OTHER(frame)
    if other.retCode:
        raise VenueRefused(f"{VENUE}: {other.retCode} {other.retMsg}, to {request[:120]}")
    read = ANSWERS.get(request.partition("?")[0])
    return [] if read is None or "category=linear" not in request else read(without_empty(frame), known_at_ns, request)


def _book_answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    book = BOOK_ANSWER(frame).result
    return [
        BookUpdate(
            venue=VENUE, symbol=NAMES[book.s], event_ns=(book.cts or book.ts) * MS, known_at_ns=known_at_ns,
            is_snapshot=True, bids=book.b, asks=book.a, last_id=book.u, depth=int(query(request, "limit")),
        )
    ]  # fmt: skip


def _interest_answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    result = INTEREST_ANSWER(frame).result
    return [
        OpenInterest(
            venue=VENUE, symbol=NAMES[result.symbol], event_ns=row.timestamp * MS, known_at_ns=known_at_ns,
            open_interest_base=_single(row.singleOpenInterest, row.openInterest),
        )
        for row in result.rows
    ]  # fmt: skip


def _funding_answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    return [
        Funding(
            venue=VENUE, symbol=NAMES[row.symbol], event_ns=row.fundingRateTimestamp * MS,
            known_at_ns=known_at_ns, funding_rate=row.fundingRate,
        )
        for row in FUNDING_ANSWER(frame).result.rows
    ]  # fmt: skip


BOOK_TOPICS = BookTopics()
TRADES: Decode[TradesWire] = decoder(TradesWire)
BOOK: Decode[BookWire] = decoder(BookWire)
TICKER: Decode[TickerWire] = decoder(TickerWire)
LIQUIDATIONS: Decode[LiquidationsWire] = decoder(LiquidationsWire)
OLD_LIQUIDATIONS: Decode[OldLiquidationsWire] = decoder(OldLiquidationsWire)
KEPT_LIQUIDATIONS: Decode[KeptLiquidationsWire] = decoder(KeptLiquidationsWire)
OTHER: Decode[Other] = decoder(Other)
BOOK_ANSWER: Decode[BookAnswer] = decoder(BookAnswer)
INTEREST_ANSWER: Decode[InterestAnswer] = decoder(InterestAnswer)
FUNDING_ANSWER: Decode[FundingAnswer] = decoder(FundingAnswer)
EVENTS: dict[bytes, Callable[[bytes, int], list[AnyEvent]]] = {
    b'{"topic":"public': _trades,
    b'{"topic":"orderb': _book,
    b'{"topic":"ticker': _ticker,
    b'{"topic":"allLiq': _liquidations,
    b'{"topic":"liquid': _old_liquidations,
}
"""By how a frame begins: routing by bytes costs a fifth of decoding an envelope first."""

ANSWERS: dict[str, Callable[[bytes, int, str], list[AnyEvent]]] = {
    "/v5/market/orderbook": _book_answer,
    "/v5/market/open-interest": _interest_answer,
    "/v5/market/funding/history": _funding_answer,
}
