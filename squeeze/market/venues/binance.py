"""Binance USD-M futures: frames as events.

Sizes are base coins. Books come as a snapshot by REST and updates that name the one before (`pu`), liquidations one per
symbol and second, open interest only by REST. Since 2026-04-23 a stream arrives on its own path alone, `/public` or
`/market`; on the old one a subscription is acknowledged and stays silent (domain.md §1.4).
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from squeeze.errors import VenueRefused
from squeeze.market.conventions import CONVENTIONS
from squeeze.market.events import (
    NAN,
    AnyEvent,
    BookUpdate,
    Funding,
    FundingForecast,
    Liquidation,
    OpenInterest,
    Price,
    Quote,
    Trade,
)
from squeeze.market.venues.binance_wire import (
    AggregateWire,
    Combined,
    DayTickerWire,
    DepthAnswer,
    DepthWire,
    FillWire,
    ForceOrderWire,
    FundingRow,
    InterestAnswer,
    InterestRow,
    MarkWire,
    Message,
    Other,
    QuoteWire,
)
from squeeze.market.venues.wire import (
    EARLIEST_MS,
    MS,
    UNREADABLE,
    Connection,
    Decode,
    Names,
    Poll,
    Wire,
    batches,
    decoder,
    query,
    refuse,
    without_empty,
)

VENUE = "binance"
SIDES = CONVENTIONS[VENUE].sides
STREAMS = {"public": ("depth@100ms", "bookTicker"), "market": ("aggTrade", "markPrice@1s")}
STREAMS_PER_CONNECTION = 200
"""The limit is 1,024 streams; fewer make a lost connection a smaller hole."""

REST = "https://fapi.binance.com"
NAMES = Names()


class Binance:
    """The adapter; see `wire.Venue`."""

    name = VENUE

    def decode(self, frame: bytes, received_ns: int, request: str = "") -> list[AnyEvent]:
        """As `wire.Venue.decode`."""
        try:
            if request:
                return _answer(frame, received_ns, request)
            try:
                message = COMBINED(frame).data
            except msgspec.DecodeError:
                return _uncommon(frame, received_ns)
            return EVENTS[message.__class__](message, received_ns)
        except UNREADABLE as error:
            refuse(VENUE, frame, error)

    def connections(self, symbols: Sequence[str]) -> list[Connection]:
        """As `wire.Venue.connections`; all symbols' liquidations tell a quiet market from a dead feed."""
        found = []
        for path, kinds in STREAMS.items():
            streams = [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]
            streams += ["!forceOrder@arr"] if path == "market" else []
            for batch in batches(streams, STREAMS_PER_CONNECTION):
                url = f"wss://fstream.binance.com/{path}/stream?streams={'/'.join(batch)}"
                found.append(Connection(url=url, lifetime_hours=23.0))
        return found

    def polls(self, symbols: Sequence[str]) -> list[Poll]:
        """As `wire.Venue.polls`: open interest has no stream, settled rates are asked for."""
        interest = [Poll(f"{REST}/fapi/v1/openInterest?symbol={s}", 10.0) for s in symbols]
        return interest + [Poll(f"{REST}/fapi/v1/fundingRate?symbol={s}&limit=10", 300.0) for s in symbols]

    def snapshot_request(self, symbol: str) -> str | None:
        """As `wire.Venue.snapshot_request`: there is no other way to a book."""
        return f"{REST}/fapi/v1/depth?symbol={symbol}&limit=1000"


def _uncommon(frame: bytes, known_at_ns: int) -> list[AnyEvent]:
    """The events of a frame that is not wrapped, or has empty fields; none of what is not read."""
    outer = OTHER(frame)
    failed = bytes(outer.error) not in (b"", b"null") or outer.code not in (None, 0, 200)
    if failed and outer.e is None:
        said = bytes(outer.error).decode(errors="replace") or f"{outer.code} {outer.msg}"
        raise VenueRefused(f"{VENUE}: {said[:200]}")
    body = bytes(outer.data) or frame
    kind = OTHER(body).e if body.lstrip()[:1] == b"{" else None
    if kind not in KNOWN:
        return []
    message = SINGLE(without_empty(body))
    return EVENTS[message.__class__](message, known_at_ns)


def _trade(m: AggregateWire, known_at_ns: int) -> list[AnyEvent]:
    return [
        Trade(
            venue=VENUE, symbol=NAMES[m.s], event_ns=m.T * MS, known_at_ns=known_at_ns,
            price=m.p, size_base=m.q, taker_buys=not m.m, trade_id=m.a,
        )
    ]  # fmt: skip


def _fill(m: FillWire, known_at_ns: int) -> list[AnyEvent]:
    if m.X != "MARKET":  # the insurance fund, auto-deleveraging, or no trade at all: nobody chose to take
        return []
    if not m.p > 0:
        raise ValueError(f"a trade at the price {m.p}")
    return [
        Trade(
            venue=VENUE, symbol=NAMES[m.s], event_ns=m.T * MS, known_at_ns=known_at_ns,
            price=m.p, size_base=m.q, taker_buys=not m.m, trade_id=m.t,
        )
    ]  # fmt: skip


def _quote(m: QuoteWire, known_at_ns: int) -> list[AnyEvent]:
    return [
        Quote(
            venue=VENUE, symbol=NAMES[m.s], event_ns=m.T * MS, known_at_ns=known_at_ns,
            bid=m.b or NAN, bid_size_base=m.B, ask=m.a or NAN, ask_size_base=m.A,
        )
    ]  # fmt: skip


def _depth(m: DepthWire, known_at_ns: int) -> list[AnyEvent]:
    return [
        BookUpdate(
            venue=VENUE, symbol=NAMES[m.s], event_ns=m.T * MS, known_at_ns=known_at_ns, is_snapshot=False,
            bids=m.b, asks=m.a, first_id=m.U, last_id=m.u, previous_id=m.pu,
        )
    ]  # fmt: skip


def _mark(m: MarkWire, known_at_ns: int) -> list[AnyEvent]:
    common: dict[str, Any] = {
        "venue": VENUE,
        "symbol": NAMES[m.s],
        "event_ns": m.E * MS,
        "known_at_ns": known_at_ns,
    }
    events: list[AnyEvent] = [Price(**common, price=m.p, of="mark")]
    if m.i:
        events.append(Price(**common, price=m.i, of="index"))
    if 0 < m.T < EARLIEST_MS:
        raise ValueError(f"a settlement at {m.T} ms")
    if m.r is not None and m.T:  # a dated future has neither rate nor time
        events.append(FundingForecast(**common, funding_rate=m.r, settles_ns=m.T * MS))
    return events


def _last(m: DayTickerWire, known_at_ns: int) -> list[AnyEvent]:
    return [
        Price(
            venue=VENUE, symbol=NAMES[m.s], event_ns=m.E * MS, known_at_ns=known_at_ns, price=m.c, of="last"
        )
    ]  # fmt: skip


def _liquidation(m: ForceOrderWire, known_at_ns: int) -> list[AnyEvent]:
    o = m.o
    if o.st != 1 or not o.z:  # COIN-M, or an order of which nothing was filled
        return []
    price = o.ap or o.p
    return [
        Liquidation(
            venue=VENUE, symbol=NAMES[o.s], event_ns=o.T * MS, known_at_ns=known_at_ns,
            quality=int(CONVENTIONS[VENUE].completeness), side=SIDES[o.S], usd=o.z * price, size_base=o.z, price=price,
        )
    ]  # fmt: skip


def _answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    """The events in the body of a REST call."""
    path = request.partition("?")[0]
    if path not in ANSWERS:
        return []
    try:
        return ANSWERS[path](frame, known_at_ns, request)
    except msgspec.DecodeError:
        _uncommon(frame, known_at_ns)  # raises where the body is the venue's error
        raise


def _book_answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    book, symbol = DEPTH_ANSWER(frame), NAMES[query(request, "symbol")]
    return [
        BookUpdate(
            venue=VENUE, symbol=symbol, event_ns=book.T * MS, known_at_ns=known_at_ns, is_snapshot=True,
            bids=book.bids, asks=book.asks, last_id=book.lastUpdateId,
        )
    ]  # fmt: skip


def _interest_answer(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    row = INTEREST_ANSWER(frame)
    return [
        OpenInterest(
            venue=VENUE, symbol=NAMES[row.symbol], event_ns=row.time * MS, known_at_ns=known_at_ns,
            open_interest_base=row.openInterest,
        )
    ]  # fmt: skip


def _interest_rows(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    return [
        OpenInterest(
            venue=VENUE, symbol=NAMES[row.symbol], event_ns=row.timestamp * MS, known_at_ns=known_at_ns,
            open_interest_base=row.sumOpenInterest,
        )
        for row in INTEREST_ROWS(frame)
    ]  # fmt: skip


def _funding_rows(frame: bytes, known_at_ns: int, request: str) -> list[AnyEvent]:
    return [
        Funding(
            venue=VENUE, symbol=NAMES[row.symbol], event_ns=row.fundingTime * MS, known_at_ns=known_at_ns,
            funding_rate=row.fundingRate,
        )
        for row in FUNDING_ROWS(frame)
    ]  # fmt: skip


COMBINED: Decode[Combined] = decoder(Combined)
SINGLE: Decode[Message] = decoder(Message)
OTHER: Decode[Other] = decoder(Other)
DEPTH_ANSWER: Decode[DepthAnswer] = decoder(DepthAnswer)
INTEREST_ANSWER: Decode[InterestAnswer] = decoder(InterestAnswer)
INTEREST_ROWS: Decode[list[InterestRow]] = decoder(list[InterestRow])
FUNDING_ROWS: Decode[list[FundingRow]] = decoder(list[FundingRow])
EVENTS: dict[type[Wire], Callable[[Any, int], list[AnyEvent]]] = {
    AggregateWire: _trade,
    FillWire: _fill,
    QuoteWire: _quote,
    DepthWire: _depth,
    MarkWire: _mark,
    DayTickerWire: _last,
    ForceOrderWire: _liquidation,
}
KNOWN = {kind.__struct_config__.tag for kind in EVENTS}
ANSWERS: dict[str, Callable[[bytes, int, str], list[AnyEvent]]] = {
    "/fapi/v1/depth": _book_answer,
    "/fapi/v1/openInterest": _interest_answer,
    "/futures/data/openInterestHist": _interest_rows,
    "/fapi/v1/fundingRate": _funding_rows,
}
