"""Frames spoilt on purpose, and a slow second reading of them that judges the adapters.

`spoil` makes a mutant of a recorded frame. `read` says what any frame states: it goes through `json` and `Decimal`,
shares no code with the adapters, and was written from what the exchanges document. `judge` holds the two together.
"""

import json
import math
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from squeeze.errors import FrameError
from squeeze.market.events import DAY_NS, Quality

MS = 1_000_000
RECEIVED_NS = 1_791_565_603_055_123_456

Said = dict[str, object]
"""An event as a dictionary, with None for what is not said (NaN)."""


class UnreadableError(Exception):
    """The frame is not what the exchange documents."""


class TwiceError(Exception):
    """A key is given twice: JSON does not say which value counts."""


class RefusedError(Exception):
    """The exchange says no."""


# -- What an event says ------------------------------------------------------------------------------------------------


def said(event) -> Said:
    """An event of the adapters in the form of the oracle's."""
    fields = msgspec.structs.asdict(event)
    fields["kind"] = event.__struct_config__.tag
    for name, value in fields.items():
        if isinstance(value, float) and math.isnan(value):
            fields[name] = None
    return fields


# -- The oracle --------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def parse(frame: bytes):
    """The frame by the standard library, numbers as `Decimal`; strings that are not UTF-8 keep surrogates."""

    def pairs(items):
        made = dict(items)
        if len(made) != len(items):
            twice.append(1)
        return made

    def refuse(constant):
        raise UnreadableError(f"{constant} is not JSON")

    twice: list[int] = []
    try:
        text = frame.decode("utf-8", "surrogateescape")
        value = json.loads(text, object_pairs_hook=pairs, parse_float=Decimal, parse_int=Decimal, parse_constant=refuse)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UnreadableError(f"no JSON: {error}") from None
    if twice:
        raise TwiceError
    return value


MISSING = object()


def get(row, key, default=MISSING):
    """A field; one that is null or empty is not said, and `default` counts instead."""
    if not isinstance(row, dict):
        raise UnreadableError(f"no object around {key}")
    value = row.get(key)
    if value is None or value == "":
        if default is MISSING:
            raise UnreadableError(f"{key} is missing")
        return default
    return value


def decimal(value) -> Decimal:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return Decimal(value)
    if isinstance(value, Decimal):
        return value
    raise UnreadableError(f"no number: {value!r}")


def real(value, low: float, high: float, above: bool = False) -> float:
    number = float(decimal(value))
    if not low <= number <= high or (above and number == low):
        raise UnreadableError(f"out of range: {value!r}")
    return number


def price(value) -> float:
    return real(value, 0.0, 1e12, above=True)


def size(value) -> float:
    return real(value, 0.0, 1e18)


def rate(value) -> float:
    return real(value, -1.0, 1.0)


def whole(value, low: int, high: int) -> int:
    number = decimal(value)
    if not low <= number < high or number != int(number):
        raise UnreadableError(f"out of range: {value!r}")
    return int(number)


def ns(value) -> int:
    return whole(value, 1_262_304_000_000, 4_102_444_800_000) * MS


def number_of(value) -> int:
    return whole(value, -1, 1 << 62)


def text(value) -> str:
    if not isinstance(value, str):
        raise UnreadableError(f"no text: {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnreadableError(f"not UTF-8: {value!r}") from None
    return value


def name(value) -> str:
    if not NAME.fullmatch(text(value)) or len(value) > 64:
        raise UnreadableError(f"no name of a contract: {value!r}")
    return value


def one_of(value, words: dict):
    if not isinstance(value, str) or value not in words:
        raise UnreadableError(f"{value!r} is none of {', '.join(words)}")
    return words[value]


def rows(value) -> list:
    if not isinstance(value, list):
        raise UnreadableError(f"no list: {value!r}")
    return value


def levels(value, factor: float = 1.0, width: int = 2) -> list[tuple[float, float]]:
    made = []
    for level in rows(value):
        if len(rows(level)) < 2 or (width == 2 and len(level) != 2):
            raise UnreadableError(f"no level: {level!r}")
        made.append((price(level[0]), size(level[1]) * factor))
    return made


def maybe(row, key, kind):
    value = get(row, key, None)
    return None if value is None else kind(value)


class Oracle:
    """What frames of one venue say. `contracts` are base coins per contract by native name (OKX)."""

    def __init__(self, venue: str, contracts: dict[str, float] | None = None):
        self.venue = venue
        self.contracts = contracts or {}
        self.received_ns = 0

    def read(self, frame: bytes, received_ns: int, request: str = "") -> list[Said]:
        """Every event the frame states, in order."""
        self.received_ns = received_ns
        if frame == b"pong" and self.venue == "okx":
            return []
        return getattr(self, f"_{self.venue}")(parse(frame), request)

    def _event(self, kind: str, symbol: str, event_ns: int, quality: int = 0, **fields) -> Said:
        base = {"kind": kind, "venue": self.venue, "symbol": symbol, "event_ns": event_ns, "quality": quality}
        return {**base, "known_at_ns": self.received_ns, **fields}

    def _trade(self, symbol, at, place, p, v, buys, number, quality=0) -> Said:
        what = {"price": p, "size_base": v, "taker_buys": buys, "trade_id": number, "place": place}
        return self._event("trade", symbol, at, quality, **what)

    def _price(self, symbol, at, p, of) -> Said:
        return self._event("price", symbol, at, price=p, of=of)

    def _quote(self, symbol, at, bid, bid_size, ask, ask_size) -> Said:
        what = {"bid": bid, "bid_size_base": bid_size, "ask": ask, "ask_size_base": ask_size}
        return self._event("quote", symbol, at, **what)

    def _book(self, symbol, at, is_snapshot, bids, asks, depth, first=-1, last=-1, previous=-1) -> Said:
        ids = {"first_id": first, "last_id": last, "previous_id": previous}
        return self._event("book", symbol, at, is_snapshot=is_snapshot, bids=bids, asks=asks, depth=depth, **ids)

    def _forecast(self, symbol, at, rate=None, settles=0, hours=None, following=None, settled=None) -> Said:
        what = {"funding_rate": rate, "settles_ns": settles, "interval_hours": hours}
        return self._event("funding_forecast", symbol, at, **what, following_rate=following, settled_rate=settled)

    def _liquidation(self, symbol, at, place, side, p, v, quality) -> Said:
        usd = None if v is None else v * p
        return self._event("liquidation", symbol, at, quality, side=side, usd=usd, size_base=v, price=p, place=place)

    def _funding(self, symbol, at, settled) -> Said:
        return self._event("funding", symbol, at, funding_rate=settled, interval_hours=None)

    def _interest(self, symbol, at, coins) -> Said:
        return self._event("open_interest", symbol, at, open_interest_base=coins)

    # Bybit: bybit-exchange/docs, v5/websocket/public

    def _bybit(self, frame, request) -> list[Said]:
        if not isinstance(frame, dict):
            raise UnreadableError("no object")
        if request:
            return self._bybit_answer(frame, request)
        topic = maybe(frame, "topic", text)
        if topic is None:
            if get(frame, "success", True) is False:
                raise RefusedError
            return []
        channel, _, rest = topic.partition(".")
        match channel:
            case "publicTrade":
                return [self._bybit_trade(row, k) for k, row in enumerate(rows(get(frame, "data")))]
            case "orderbook":
                return self._bybit_book(frame, rest)
            case "tickers":
                return self._bybit_ticker(frame)
            case "allLiquidation":
                return [
                    self._bybit_liquidation(k, *(get(row, key) for key in "TsSvp"))
                    for k, row in enumerate(rows(get(frame, "data")))
                ]
            case "liquidation":
                fields = ("updatedTime", "symbol", "side", "size", "price")
                return [self._bybit_liquidation(0, *(get(get(frame, "data"), key) for key in fields), retired=True)]
        return []

    def _bybit_trade(self, row, place) -> Said:
        buys = one_of(get(row, "S"), {"Buy": True, "Sell": False})
        block = get(row, "BT", False)
        if not isinstance(block, bool):
            raise UnreadableError("BT")
        at, symbol, p, v = ns(get(row, "T")), name(get(row, "s")), price(get(row, "p")), size(get(row, "v"))
        quality = Quality.OFF_BOOK if block else 0
        return self._trade(symbol, at, place, p, v, buys, text(get(row, "i", "")), quality)

    def _bybit_book(self, frame, rest) -> list[Said]:
        depth = rest.partition(".")[0]
        if not re.fullmatch("[0-9]+", depth):
            return []
        is_snapshot = one_of(get(frame, "type"), {"snapshot": True, "delta": False})
        data = get(frame, "data")
        symbol, bids, asks = name(get(data, "s")), levels(get(data, "b")), levels(get(data, "a"))
        u, pushed = number_of(get(data, "u")), ns(get(frame, "ts"))
        at = ns(get(frame, "cts", get(frame, "ts")))
        if int(depth) == 1 and is_snapshot:
            best = [*(bids[0] if bids else (None, None)), *(asks[0] if asks else (None, None))]
            return [self._quote(symbol, at, *best)]
        del pushed
        return [self._book(symbol, at, is_snapshot, bids, asks, int(depth), last=u)]

    def _bybit_ticker(self, frame) -> list[Said]:
        data, at = get(frame, "data"), ns(get(frame, "ts"))
        one_of(get(frame, "type", "delta"), {"snapshot": True, "delta": False})
        symbol, made = name(get(data, "symbol")), []
        for key, of in (("lastPrice", "last"), ("markPrice", "mark"), ("indexPrice", "index")):
            p = maybe(data, key, price)
            if p is not None:
                made.append(self._price(symbol, at, p, of))
        single, both = maybe(data, "singleOpenInterest", size), maybe(data, "openInterest", size)
        if single is not None or both is not None:
            made.append(self._interest(symbol, at, both / 2 if single is None else single))
        funding, hours = maybe(data, "fundingRate", rate), maybe(data, "fundingIntervalHour", hour)
        settles = maybe(data, "nextFundingTime", ns) or 0
        if funding is not None or settles or hours is not None:
            made.append(self._forecast(symbol, at, funding, settles, hours))
        return made

    def _bybit_liquidation(self, place, at, symbol, side, v, p, retired=False) -> Said:
        whose, at = one_of(side, {"Buy": 0, "Sell": 1}), ns(at)
        sampled = retired or at < 20_145 * DAY_NS
        quality = Quality.SAMPLED if sampled else Quality.GOOD
        return self._liquidation(name(symbol), at, place, whose, price(p), size(v), quality)

    def _bybit_answer(self, frame, request) -> list[Said]:
        if whole(get(frame, "retCode"), -(1 << 62), 1 << 62) != 0:
            raise RefusedError
        if not request.startswith("/v5/market/funding/history"):
            return []
        made = []
        for row in rows(get(get(frame, "result"), "list")):
            at = ns(get(row, "fundingRateTimestamp"))
            made.append(self._funding(name(get(row, "symbol")), at, rate(get(row, "fundingRate"))))
        return made

    # OKX: API v5, public channels

    def _okx(self, frame, request) -> list[Said]:
        if not isinstance(frame, dict):
            raise UnreadableError("no object")
        if request:
            return self._okx_answer(frame, request)
        event = maybe(frame, "event", text)
        if event is not None:
            if event == "error":
                raise RefusedError
            return []
        arg = get(frame, "arg")
        channel = text(get(arg, "channel"))
        read = {
            "trades": self._okx_trade,
            "mark-price": self._okx_mark,
            "index-tickers": self._okx_index,
            "tickers": self._okx_ticker,
            "open-interest": self._okx_interest,
            "funding-rate": self._okx_funding,
        }.get(channel)
        if read is not None:
            return [event for k, row in enumerate(rows(get(frame, "data"))) for event in read(row, k)]
        if channel == "liquidation-orders":
            return self._okx_liquidations(rows(get(frame, "data")))
        if channel in ("books", "books5", "bbo-tbt", "books-l2-tbt", "books50-l2-tbt"):
            return [self._okx_book(frame, channel, get(arg, "instId"), row) for row in rows(get(frame, "data"))]
        return []

    def _contract(self, native, needed: bool) -> float | None:
        value = self.contracts.get(name(native))
        if value is None and needed:
            raise UnreadableError(f"{native} has no record")
        return value

    @staticmethod
    def _ours(native: str) -> str:
        parts = name(native).split("-")
        if len(parts) == 2 or (len(parts) == 3 and parts[2] == "SWAP"):
            return native if "_" in native else parts[0] + parts[1]
        return native

    def _okx_trade(self, row, place) -> list[Said]:
        native, at = get(row, "instId"), ns(get(row, "ts"))
        buys = one_of(get(row, "side"), {"buy": True, "sell": False})
        v = size(get(row, "sz")) * self._contract(native, needed=True)
        p, number = price(get(row, "px")), text(get(row, "tradeId", ""))
        return [self._trade(self._ours(native), at, place, p, v, buys, number)]

    def _okx_mark(self, row, _) -> list[Said]:
        return [self._price(self._ours(get(row, "instId")), ns(get(row, "ts")), price(get(row, "markPx")), "mark")]

    def _okx_index(self, row, _) -> list[Said]:
        return [self._price(self._ours(get(row, "instId")), ns(get(row, "ts")), price(get(row, "idxPx")), "index")]

    def _okx_ticker(self, row, _) -> list[Said]:
        native, at = get(row, "instId"), ns(get(row, "ts"))
        symbol, made = self._ours(native), []
        last = maybe(row, "last", price)
        if last is not None:
            made.append(self._price(symbol, at, last, "last"))
        bid, ask = maybe(row, "bidPx", price), maybe(row, "askPx", price)
        contract = self._contract(native, needed=False)
        sizes = [maybe(row, key, size) for key in ("bidSz", "askSz")]
        sizes = [None if contract is None or v is None else v * contract for v in sizes]
        if bid is not None or ask is not None:
            made.append(self._quote(symbol, at, bid, sizes[0], ask, sizes[1]))
        return made

    def _okx_interest(self, row, _) -> list[Said]:
        return [self._interest(self._ours(get(row, "instId")), ns(get(row, "ts")), size(get(row, "oiCcy")))]

    def _okx_funding(self, row, _) -> list[Said]:
        symbol, settles = self._ours(get(row, "instId")), ns(get(row, "fundingTime"))
        at = maybe(row, "ts", ns) or self.received_ns
        after = maybe(row, "nextFundingTime", ns)
        hours = None if after is None or after <= settles else (after - settles) / 3.6e12
        rates = [maybe(row, key, rate) for key in ("fundingRate", "nextFundingRate", "settFundingRate")]
        return [self._forecast(symbol, at, rates[0], settles, hours, rates[1], rates[2])]

    def _okx_liquidations(self, data) -> list[Said]:
        made: list[Said] = []
        for row in data:
            native = get(row, "instId")
            contract = self._contract(native, needed=False)
            for detail in rows(get(row, "details")):
                side, p = one_of(get(detail, "side"), {"sell": 0, "buy": 1}), price(get(detail, "bkPx"))
                v, at = size(get(detail, "sz")), ns(get(detail, "ts"))
                coins = None if contract is None else v * contract
                symbol = self._ours(native)
                made.append(self._liquidation(symbol, at, len(made), side, p, coins, Quality.UNDERCOUNTED))
        return made

    def _okx_book(self, frame, channel, native, row) -> Said:
        symbol, at = self._ours(native), ns(get(row, "ts"))
        best = channel == "bbo-tbt"
        contract = self._contract(native, needed=not best)
        bids, asks = (levels(get(row, key), contract or 1.0, width=0) for key in ("bids", "asks"))
        if best:
            found = [*(bids[0] if bids else (None, None)), *(asks[0] if asks else (None, None))]
            if contract is None:
                found[1] = found[3] = None
            return self._quote(symbol, at, *found)
        whole_book = one_of(get(frame, "action", "snapshot"), {"snapshot": True, "update": False})
        ids = {"last": number_of(get(row, "seqId", Decimal(-1))), "previous": number_of(get(row, "prevSeqId", Decimal(-1)))}
        depth = {"books5": 5, "books50-l2-tbt": 50}.get(channel, 400)
        return self._book(symbol, at, whole_book, bids, asks, depth, **ids)

    def _okx_answer(self, frame, request) -> list[Said]:
        if whole(get(frame, "code"), -(1 << 62), 1 << 62) != 0:
            raise RefusedError
        made = []
        for row in rows(get(frame, "data")):
            if request.startswith("/api/v5/public/funding-rate-history"):
                settled = rate(get(row, "realizedRate", None) or get(row, "fundingRate"))
                made.append(self._funding(self._ours(get(row, "instId")), ns(get(row, "fundingTime")), settled))
            elif request.startswith("/api/v5/rubik/stat/contracts/open-interest-history"):
                native = re.search("instId=([^&]+)", request)[1]
                if len(rows(row)) < 3:
                    raise UnreadableError("row")
                made.append(self._interest(self._ours(native), ns(row[0]), size(row[2])))
        return made

    # Binance: developers.binance.com, USD-M futures

    def _binance(self, frame, request) -> list[Said]:
        if request:
            return self._binance_answer(frame, request)
        if isinstance(frame, dict) and "stream" in frame:
            frame = get(frame, "data")
        if isinstance(frame, list):
            return [event for row in frame for event in self._binance_event(row)]
        return self._binance_event(frame)

    def _binance_event(self, row) -> list[Said]:
        if not isinstance(row, dict):
            raise UnreadableError("no object")
        if get(row, "error", None) is not None or get(row, "code", None) is not None:
            raise RefusedError
        event = maybe(row, "e", text)
        if event is None:
            return []
        if event in ("trade", "aggTrade"):
            return self._binance_trade(row, event)
        if event == "bookTicker":
            best = price(get(row, "b")), size(get(row, "B")), price(get(row, "a")), size(get(row, "A"))
            return [self._quote(name(get(row, "s")), ns(get(row, "T", None) or get(row, "E")), *best)]
        if event == "depthUpdate":
            ids = {key: number_of(get(row, wire)) for key, wire in (("first", "U"), ("last", "u"), ("previous", "pu"))}
            sides = levels(get(row, "b")), levels(get(row, "a"))
            return [self._book(name(get(row, "s")), ns(get(row, "T")), False, *sides, 0, **ids)]
        if event == "markPriceUpdate":
            return self._binance_mark(row)
        if event == "24hrTicker":
            return [self._price(name(get(row, "s")), ns(get(row, "E")), price(get(row, "c")), "last")]
        if event == "forceOrder":
            order = get(row, "o")
            if get(order, "st", 1) == 2:
                return []
            side, p, v = one_of(get(order, "S"), {"SELL": 0, "BUY": 1}), price(get(order, "ap")), size(get(order, "z"))
            symbol, at = name(get(order, "s")), ns(get(order, "T"))
            return [self._liquidation(symbol, at, 0, side, p, v, Quality.SAMPLED)]
        return []

    def _binance_trade(self, row, event) -> list[Said]:
        maker_buys = get(row, "m")
        if not isinstance(maker_buys, bool):
            raise UnreadableError("m")
        number = number_of(get(row, "a" if event == "aggTrade" else "t"))
        symbol, at, p, v = name(get(row, "s")), ns(get(row, "T")), price(get(row, "p")), size(get(row, "q"))
        if text(get(row, "X", "MARKET")) != "MARKET":
            return []
        return [self._trade(symbol, at, 0, p, v, not maker_buys, str(number))]

    def _binance_mark(self, row) -> list[Said]:
        symbol, at = name(get(row, "s")), ns(get(row, "E"))
        made = [self._price(symbol, at, price(get(row, "p")), "mark")]
        index = maybe(row, "i", price)
        if index is not None:
            made.append(self._price(symbol, at, index, "index"))
        settles = get(row, "T", Decimal(0))
        settles = 0 if decimal(settles) == 0 else ns(settles)  # a dated contract has none
        funding = maybe(row, "r", rate)
        if settles:
            made.append(self._forecast(symbol, at, funding, settles))
        return made

    def _binance_answer(self, frame, request) -> list[Said]:
        if isinstance(frame, dict) and get(frame, "code", None) is not None:
            raise RefusedError
        if request.startswith("/fapi/v1/depth"):
            symbol = re.search("symbol=([^&]+)", request)[1]
            sides = levels(get(frame, "bids")), levels(get(frame, "asks"))
            at = maybe(frame, "T", ns) or maybe(frame, "E", ns) or self.received_ns
            return [self._book(symbol, at, True, *sides, 0, last=number_of(get(frame, "lastUpdateId")))]
        if request.startswith("/fapi/v1/openInterest"):
            coins = size(get(frame, "openInterest"))
            return [self._interest(name(get(frame, "symbol")), ns(get(frame, "time")), coins)]
        if request.startswith("/fapi/v1/fundingRate"):
            fields = ((name(get(r, "symbol")), ns(get(r, "fundingTime")), rate(get(r, "fundingRate"))) for r in rows(frame))
            return [self._funding(*row) for row in fields]
        return []


def hour(value) -> float:
    return real(value, 0.0, 1e4, above=True)
