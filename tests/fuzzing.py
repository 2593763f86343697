"""Frames spoilt on purpose, and a slow second reading of them that judges the adapters.

`spoil` makes a mutant of a recorded frame. `read` says what any frame states: it goes through `json` and `Decimal`,
shares no code with the adapters, and was written from what the exchanges document. `judge` holds the two together.
"""

import gzip
import io
import itertools
import json
import math
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec
import zstandard

from squeeze.errors import FrameError
from squeeze.market.events import DAY_NS, Quality

MS = 1_000_000
RECEIVED_NS = 1_791_565_603_055_123_456

Said = dict[str, object]
"""An event as a dictionary, with None for what is not said (NaN)."""


class UnreadableError(Exception):
    """The frame is not what the exchange documents."""


class EitherWayError(Exception):
    """The frame can be read in two ways (a key is given twice): the adapter may take either, or refuse it."""


class RefusedError(Exception):
    """The exchange says no."""


# -- What an event says ------------------------------------------------------------------------------------------------


def said(event) -> Said:
    """An event of the adapters in the form of the oracle's."""
    fields = msgspec.structs.asdict(event)
    fields["kind"] = event.__struct_config__.tag
    if "trade_id" in fields:
        fields["trade_id"] = str(fields["trade_id"])  # a number at some venues, text at others
    for name, value in fields.items():
        if isinstance(value, float) and math.isnan(value):
            fields[name] = None
    return fields


# -- The oracle --------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NAME = re.compile(r"[^\W_][\w+.-]*")  # letters of any script


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
        raise EitherWayError
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


def price_or_none(value) -> float | None:
    """What is not there, a side of the book or an index, has the price 0."""
    return real(value, 0.0, 1e12) or None


def price(value) -> float:
    return real(value, 0.0, 1e12, above=True)


def size(value) -> float:
    return real(value, 0.0, 1e18)


def rate(value) -> float:
    return real(value, -1.0, 1.0)


def whole(value, low: int, high: int) -> int:
    number = decimal(value)
    if number.as_tuple().exponent != 0:  # 1e3, 5.0: nobody documents them; a reader may take or refuse them
        if low <= float(number) < high and float(number).is_integer():
            raise EitherWayError(f"a whole number written as {value}")
        raise UnreadableError(f"no whole number: {value!r}")
    if not low <= number < high or number != int(number):
        raise UnreadableError(f"out of range: {value!r}")
    return int(number)


def ns(value) -> int:
    return whole(value, 1_262_304_000_000, 4_102_444_800_000) * MS


def number_of(value) -> int:
    return whole(value, -1, 1 << 62)


def code(value) -> int:
    return whole(value, -(10**60), 10**60)


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


def levels(value, per_coin: float = 1.0, width: int = 2) -> list[tuple[float, float]]:
    made = []
    for level in rows(value):
        if len(rows(level)) != width:
            raise UnreadableError(f"no level: {level!r}")
        if any(isinstance(extra, Decimal) and math.isinf(float(extra)) for extra in level[2:]):
            raise EitherWayError("a number that no float can hold, where none is read")
        made.append((price(level[0]), size(level[1]) / per_coin))
    return made


def maybe(row, key, kind):
    """A field that may be missing, null, empty, or null in words."""
    value = get(row, key, None)
    return None if value is None or (isinstance(value, str) and value.lower() == "null") else kind(value)


def given(row, key, kind, default):
    """A field that may be missing, but not null or empty."""
    return kind(row[key]) if key in row else default


def boolean(value) -> bool:
    """True or false, also as 1 or 0, or in words."""
    if isinstance(value, Decimal) and str(value) in ("0", "-0", "1"):
        return value == 1
    if isinstance(value, str):
        return one_of(value.lower(), {"true": True, "1": True, "false": False, "0": False})
    if not isinstance(value, bool):
        raise UnreadableError(f"neither true nor false: {value!r}")
    return value


def identity(row, key) -> str:
    """The number of a trade, as text."""
    if row.get(key) == "":
        raise EitherWayError(f"an empty {key}")
    return text(get(row, key))


OLD_FIELDS = ("updatedTime", "symbol", "side", "size", "price")
"""Of Bybit's retired `liquidation` topic."""


class Oracle:
    """What frames of one venue say. `contracts` are contracts per base coin by native name (OKX)."""

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
        topic = given(frame, "topic", text, "")
        if not given(frame, "success", boolean, True) or given(frame, "retCode", code, 0):
            if not frame.get("topic"):
                raise RefusedError
            raise EitherWayError("a topic, and an error")
        if "d" in frame and (not topic or topic.startswith("liquid")):
            if topic or "data" in frame:
                raise EitherWayError("a list of recorded liquidations, and more")
            return [
                self._bybit_liquidation(row, OLD_FIELDS, k, name(get(row, "symbol")), retired=True)
                for k, row in enumerate(rows(frame["d"]))
            ]
        channel, _, rest = topic.partition(".")
        match channel:
            case "publicTrade":
                return [self._bybit_trade(row, k, rest) for k, row in enumerate(rows(get(frame, "data")))]
            case "orderbook":
                return self._bybit_book(frame, rest)
            case "tickers":
                return self._bybit_ticker(frame, rest)
            case "allLiquidation":
                fields = ("T", "s", "S", "v", "p")
                data = rows(get(frame, "data"))
                return [self._bybit_liquidation(row, fields, k, rest) for k, row in enumerate(data)]
            case "liquidation":
                return [self._bybit_liquidation(get(frame, "data"), OLD_FIELDS, 0, rest, retired=True)]
        return []

    @staticmethod
    def _of(symbol, topic: str) -> str:
        """The contract of a row, which must be the one of its topic."""
        if name(symbol) != topic:
            raise UnreadableError(f"{symbol} under {topic}")
        return topic

    def _bybit_trade(self, row, place, rest) -> Said:
        buys = one_of(get(row, "S"), {"Buy": True, "Sell": False})
        quality = Quality.OFF_BOOK if given(row, "BT", boolean, False) else 0
        at, p, v = ns(get(row, "T")), price(get(row, "p")), size(get(row, "v"))
        return self._trade(self._of(get(row, "s"), rest), at, place, p, v, buys, identity(row, "i"), quality)

    def _bybit_book(self, frame, rest) -> list[Said]:
        depth, _, native = rest.rpartition(".")
        if not re.fullmatch("[0-9]{1,4}", depth):
            return []
        is_snapshot = one_of(get(frame, "type"), {"snapshot": True, "delta": False})
        data = get(frame, "data")
        symbol, bids, asks = self._of(get(data, "s"), native), levels(get(data, "b")), levels(get(data, "a"))
        u, at = number_of(get(data, "u")), ns(get(frame, "ts"))
        given(data, "seq", number_of, -1)
        at = maybe(frame, "cts", ns) or at
        if int(depth) == 1:
            best = [next((level for level in side if level[1]), (None, None)) for side in (bids, asks)]
            return [self._quote(symbol, at, *best[0], *best[1])]
        return [self._book(symbol, at, is_snapshot, bids, asks, int(depth), last=u)]

    def _bybit_ticker(self, frame, rest) -> list[Said]:
        data, at = get(frame, "data"), ns(get(frame, "ts"))
        symbol, made = self._of(get(data, "symbol"), rest), []
        for key, of in (("lastPrice", "last"), ("markPrice", "mark"), ("indexPrice", "index")):
            p = maybe(data, key, price)
            if p is not None:
                made.append(self._price(symbol, at, p, of))
        single, both = maybe(data, "singleOpenInterest", size), maybe(data, "openInterest", size)
        if single is not None or both is not None:
            made.append(self._interest(symbol, at, both / 2 if single is None else single))
        funding, hours = maybe(data, "fundingRate", rate), maybe(data, "fundingIntervalHour", size)
        settles = maybe(data, "nextFundingTime", ns) or 0
        if funding is not None or settles or hours is not None:
            made.append(self._forecast(symbol, at, funding, settles, hours or None))
        return made

    def _bybit_liquidation(self, row, fields, place, rest, retired=False) -> Said:
        at, symbol, side, v, p = (get(row, key) for key in fields)
        whose, at = one_of(side, {"Buy": 0, "Sell": 1}), ns(at)
        quality = Quality.SAMPLED if retired or at < 20_145 * DAY_NS else Quality.GOOD
        return self._liquidation(self._of(symbol, rest), at, place, whose, price(p), size(v), quality)

    def _bybit_answer(self, frame, request) -> list[Said]:
        for key in ("retMsg", "ret_msg", "topic"):
            given(frame, key, text, "")
        if given(frame, "retCode", code, 0):
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
        event = given(frame, "event", text, "")
        if event == "error":
            raise RefusedError if "data" not in frame else EitherWayError("an error, and data")
        if event:
            if "data" in frame:
                raise EitherWayError("an event, and data")
            return []
        if frame.get("arg") is None:
            return []
        arg = frame["arg"]
        if not isinstance(arg, dict) or arg.get("channel") is None:
            raise UnreadableError("a message of no channel")
        channel = text(arg["channel"])
        data = get(frame, "data", [])
        read = {
            "trades": self._okx_trade,
            "trades-all": self._okx_trade,
            "mark-price": self._okx_mark,
            "index-tickers": self._okx_index,
            "tickers": self._okx_ticker,
            "open-interest": self._okx_interest,
            "funding-rate": self._okx_funding,
        }.get(channel)
        books = channel in ("books", "books5", "bbo-tbt", "books-l2-tbt", "books50-l2-tbt")
        if read is None and not books and channel != "liquidation-orders":
            return []
        native = given(arg, "instId", text, "")
        if "instId" in arg and not native:
            raise EitherWayError("an empty name of a contract")
        rows(get(frame, "data"))
        given(frame, "action", lambda word: one_of(word, {"snapshot": True, "update": False}), None)
        if books:
            return [self._okx_book(frame, channel, native, row) for row in data]
        for row in data:
            if native and get(row, "instId") != native:
                raise UnreadableError(f"a row of another contract than {native}")
        if read is None:
            return self._okx_liquidations(data)
        return [event for k, row in enumerate(data) for event in read(row, k)]

    def _contract(self, native, needed: bool) -> float | None:
        value = self.contracts.get(name(native))
        if value is None and needed:
            raise UnreadableError(f"{native} has no record")
        return value

    @staticmethod
    def _ours(native: str) -> str:
        parts = name(native).split("-")
        if all(parts) and (len(parts) == 2 or (len(parts) == 3 and parts[2] == "SWAP")):
            return native if "_" in native else parts[0] + parts[1]
        return native

    def _okx_trade(self, row, place) -> list[Said]:
        native, at = get(row, "instId"), ns(get(row, "ts"))
        buys = one_of(get(row, "side"), {"buy": True, "sell": False})
        v = size(get(row, "sz")) / self._contract(native, needed=True)
        p, number = price(get(row, "px")), identity(row, "tradeId")
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
        sizes = [
            None if contract is None or v is None or p is None else v / contract  # a size of no price says nothing
            for p, v in zip((bid, ask), sizes, strict=True)
        ]
        if bid is not None or ask is not None:
            made.append(self._quote(symbol, at, bid, sizes[0], ask, sizes[1]))
        return made

    def _okx_interest(self, row, _) -> list[Said]:
        native, contracts, held = get(row, "instId"), size(get(row, "oi")), maybe(row, "oiCcy", size)
        if held is None:
            held = contracts / self._contract(native, needed=True)
        return [self._interest(self._ours(native), ns(get(row, "ts")), held)]

    def _okx_funding(self, row, _) -> list[Said]:
        symbol, settles = self._ours(get(row, "instId")), ns(get(row, "fundingTime"))
        at = maybe(row, "ts", ns) or self.received_ns
        after = maybe(row, "nextFundingTime", ns)
        hours = None if after is None or after <= settles else (after - settles) / 3.6e12
        rates = [maybe(row, key, rate) for key in ("fundingRate", "nextFundingRate", "settFundingRate")]
        settled = rates[2] if maybe(row, "settState", text) == "settled" else None
        return [self._forecast(symbol, at, rates[0], settles, hours, rates[1], settled)]

    def _okx_liquidations(self, data) -> list[Said]:
        made: list[Said] = []
        for row in data:
            native = get(row, "instId")
            contract = self._contract(native, needed=False)
            for detail in rows(get(row, "details")):
                side, p = one_of(get(detail, "side"), {"sell": 0, "buy": 1}), price(get(detail, "bkPx"))
                v, at = size(get(detail, "sz")), ns(get(detail, "ts"))
                coins = None if contract is None else v / contract
                symbol = self._ours(native)
                made.append(self._liquidation(symbol, at, len(made), side, p, coins, Quality.UNDERCOUNTED))
        return made

    def _okx_book(self, frame, channel, native, row) -> Said:
        symbol, at = self._ours(native), ns(get(row, "ts"))
        best = channel == "bbo-tbt"
        contract = self._contract(native, needed=not best)
        bids, asks = (levels(get(row, key), contract or 1.0, width=4) for key in ("bids", "asks"))
        ids = {"last": given(row, "seqId", number_of, -1), "previous": given(row, "prevSeqId", number_of, -1)}
        if best:
            found = [*(bids[0] if bids else (None, None)), *(asks[0] if asks else (None, None))]
            if contract is None:
                found[1] = found[3] = None
            return self._quote(symbol, at, *found)
        if channel != "books5" and "action" not in frame:
            raise UnreadableError("action is missing: all of the book, or what changed?")
        depth = {"books5": 5, "books50-l2-tbt": 50}.get(channel, 400)
        return self._book(symbol, at, frame.get("action", "snapshot") == "snapshot", bids, asks, depth, **ids)

    def _okx_answer(self, frame, request) -> list[Said]:
        for key in ("msg", "event"):
            given(frame, key, text, "")
        if not isinstance(frame.get("arg"), dict | None):
            raise UnreadableError("arg")
        if given(frame, "code", text, "0") != "0":
            raise RefusedError
        made = []
        for row in rows(get(frame, "data")):
            if request.startswith("/api/v5/public/funding-rate-history"):
                realized, settled = maybe(row, "realizedRate", rate), rate(get(row, "fundingRate"))
                settled = settled if realized is None else realized
                made.append(self._funding(self._ours(get(row, "instId")), ns(get(row, "fundingTime")), settled))
            elif request.startswith("/api/v5/rubik/stat/contracts/open-interest-history"):
                native = re.search("instId=([^&]+)", request)[1]
                if len(rows(row)) < 3:
                    raise UnreadableError("no row of time, contracts, coins")
                size(row[1])
                made.append(self._interest(self._ours(native), ns(row[0]), size(row[2])))
        return made

    # Binance: developers.binance.com, USD-M futures

    def _binance(self, frame, request) -> list[Said]:
        if request:
            return self._binance_answer(frame, request)
        if not isinstance(frame, dict):
            if isinstance(frame, list):
                return []
            raise UnreadableError("no object")
        if "data" in frame and "e" in frame:
            raise EitherWayError("an event, and one in it")
        if "data" in frame:
            frame = frame["data"]
        return self._binance_event(frame) if isinstance(frame, dict) else []

    def _binance_event(self, row) -> list[Said]:
        event = row.get("e")
        if event in ("trade", "aggTrade"):
            return self._binance_trade(row, event)
        if event == "bookTicker":
            best = price_or_none(get(row, "b")), size(get(row, "B")), price_or_none(get(row, "a")), size(get(row, "A"))
            return [self._quote(name(get(row, "s")), ns(get(row, "T")), *best)]
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
            side, p, v = one_of(get(order, "S"), {"SELL": 0, "BUY": 1}), size(get(order, "ap")), size(get(order, "z"))
            symbol, at, limit = given(order, "s", text, None), ns(get(order, "T")), price(get(order, "p"))
            if symbol is None:
                raise UnreadableError("a liquidation of what?")
            if given(order, "st", code, 1) != 1 or not v:
                return []
            return [self._liquidation(name(symbol), at, 0, side, p or limit, v, Quality.SAMPLED)]
        return []

    def _binance_trade(self, row, event) -> list[Said]:
        maker_buys = boolean(get(row, "m"))
        number = number_of(get(row, "a" if event == "aggTrade" else "t"))
        symbol, at, v = text(row.get("s")), ns(get(row, "T")), size(get(row, "q"))
        size(get(row, "p"))
        if event == "trade" and given(row, "X", text, "MARKET") != "MARKET":
            return []
        return [self._trade(name(symbol), at, 0, price(get(row, "p")), v, not maker_buys, str(number))]

    def _binance_mark(self, row) -> list[Said]:
        symbol, at = name(get(row, "s")), ns(get(row, "E"))
        made = [self._price(symbol, at, price(get(row, "p")), "mark")]
        index, funding = maybe(row, "i", price_or_none), maybe(row, "r", rate)
        if index is not None:
            made.append(self._price(symbol, at, index, "index"))
        settles = get(row, "T")
        settles = 0 if float(decimal(settles)) == 0 else ns(settles)  # a dated contract has none
        if settles and funding is not None:
            made.append(self._forecast(symbol, at, funding, settles))
        return made

    def _binance_answer(self, frame, request) -> list[Said]:
        if request.startswith("/fapi/v1/depth"):
            symbol = re.search("symbol=([^&]+)", request)[1]
            sides, last = (
                (levels(get(frame, "bids")), levels(get(frame, "asks"))),
                number_of(get(frame, "lastUpdateId")),
            )
            return [self._book(symbol, ns(get(frame, "T")), True, *sides, 0, last=last)]
        if request.startswith("/fapi/v1/openInterest"):
            coins = size(get(frame, "openInterest"))
            return [self._interest(name(get(frame, "symbol")), ns(get(frame, "time")), coins)]
        made = []
        for row in rows(frame):
            at, settled = ns(get(row, "fundingTime")), rate(get(row, "fundingRate"))
            made.append(self._funding(name(get(row, "symbol")), at, settled))
        return made


# -- Good frames -------------------------------------------------------------------------------------------------------

CONTRACTS = {"BTC-USDT-SWAP": 100.0, "DOT-USDT-SWAP": 1.0, "ADA-USDT-211224": 10.0, "LTC-USDT-220624": 2.0}
"""OKX contracts per base coin; those of the dated futures are made up."""

Good = tuple[bytes, str]
"""A frame, and the request it answers (empty for a websocket's)."""

LITERAL: dict[str, list[Good]] = {
    "bybit": [
        (
            b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":['
            b'{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick",'
            b'"i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"seq":1783284617},'
            b'{"T":1672304486866,"s":"BTCUSDT","S":"Sell","v":"2","p":"16578.00","i":"b","BT":true}]}',
            "",
        ),
        (
            b'{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1687940967466,"data":{"s":"BTCUSDT",'
            b'"b":[["30247.20","30.028"],["30245.40","0"]],"a":[["30248.70","0"],["30249.30","0.892"]],'
            b'"u":177400507,"seq":66544703342},"cts":1687940967464}',
            "",
        ),
        (
            b'{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1680673820717,"data":{"s":"BTCUSDT",'
            b'"b":[["28552.00","0.047"]],"a":[["28552.10","25.433"]],"u":7003305,"seq":50193540681}}',
            "",
        ),
        (
            b'{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","lastPrice":"65114.30",'
            b'"markPrice":"65117.44","indexPrice":"65137.76","openInterest":"59891.732","openInterestValue":"38.01",'
            b'"fundingIntervalHour":"8","singleOpenInterest":"29945.866","nextFundingTime":"1786320000000",'
            b'"fundingRate":"0.0001","bid1Price":"65114.20","preOpenPrice":""},"cs":753843900397,"ts":1786310817583}',
            "",
        ),
        (
            b'{"topic":"allLiquidation.ROSEUSDT","type":"snapshot","ts":1739502303204,"data":['
            b'{"T":1739502302929,"s":"ROSEUSDT","S":"Sell","v":"20000","p":"0.04499"},'
            b'{"T":1791091285156,"s":"ROSEUSDT","S":"Buy","v":"2084.9","p":"0.05165"}]}',
            "",
        ),
        (
            b'{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"symbol":"ETHUSDT",'
            b'"fundingRate":"0.0001","fundingRateTimestamp":"1672041600000"},{"symbol":"ETHUSDT",'
            b'"fundingRate":"-0.00025","fundingRateTimestamp":"1672012800000"}]},"retExtInfo":{},"time":1672051897447}',
            "/v5/market/funding/history?category=linear&limit=10&symbol=ETHUSDT",
        ),
        (b'{"success":true,"ret_msg":"pong","conn_id":"0970e817-426e-429a-a679-ff7f55e0b16a","op":"ping"}', ""),
    ],
    "okx": [
        (
            b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",'
            b'"tradeId":"130639474","px":"42219.9","sz":"12","side":"buy","ts":"1630048897897","count":"3"},'
            b'{"instId":"BTC-USDT-SWAP","tradeId":"130639475","px":"42219.8","sz":"0.5","side":"sell",'
            b'"ts":"1630048897898","count":"1"}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"update","data":[{"asks":'
            b'[["8476.98","415","0","13"],["8477","0","0","0"]],"bids":[["8476.97","256","0","12"]],'
            b'"ts":"1597026383085","checksum":0,"prevSeqId":123455,"seqId":123456}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{"asks":[["38632.4","727","0","22"]],'
            b'"bids":[["38632.3","990","0","22"]],"ts":"1651761120004","seqId":363996337}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP",'
            b'"instId":"BTC-USDT-SWAP","markPx":"42310.6","ts":"1630049139746"}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","idxPx":"0.1",'
            b'"high24h":"0.5","sodUtc0":"","ts":"1597026383085"}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"open-interest","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP",'
            b'"instId":"BTC-USDT-SWAP","oi":"2216113.01","oiCcy":"22161.1301","oiUsd":"1939251795.54",'
            b'"ts":"1743041250440"}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"formulaType":"noRate",'
            b'"fundingRate":"0.0000182","fundingTime":"1743609600000","instId":"BTC-USDT-SWAP","instType":"SWAP",'
            b'"nextFundingRate":"","nextFundingTime":"1743638400000","settFundingRate":"-0.0000145",'
            b'"settState":"settled","ts":"1743588686291"}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"tickers","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":'
            b'"BTC-USDT-SWAP","last":"9999.99","lastSz":"1","askPx":"9999.9","askSz":"11","bidPx":"8888.8",'
            b'"bidSz":"5","ts":"1597026383085"}]}',
            "",
        ),
        (
            b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0",'
            b'"bkPx":"0.007831","ccy":"","posSide":"short","side":"buy","sz":"13","ts":"1692266434010"},{"bkPx":'
            b'"0.0079","posSide":"net","side":"sell","sz":"7","ts":"1692266434009"}],"instFamily":"IOST-USDT",'
            b'"instId":"IOST-USDT-SWAP","instType":"SWAP","uly":"IOST-USDT"},{"details":[{"bkPx":"9.5","side":"buy",'
            b'"sz":"2.5","ts":"1692266434011"}],"instId":"DOT-USDT-SWAP","instType":"SWAP"}]}',
            "",
        ),
        (
            b'{"code":"0","msg":"","data":[{"formulaType":"noRate","fundingRate":"0.0000746604960499",'
            b'"fundingTime":"1703059200000","instId":"BTC-USDT-SWAP","instType":"SWAP","method":"next_period",'
            b'"realizedRate":"0.0000746572360545"}]}',
            "/api/v5/public/funding-rate-history?limit=10&instId=BTC-USDT-SWAP",
        ),
        (
            b'{"code":"0","msg":"","data":[["1701417600000","731377.57500501","7313.7","8888888"],'
            b'["1701417300000","731377.1","7313.6","8888887"]]}',
            "/api/v5/rubik/stat/contracts/open-interest-history?period=5m&instId=BTC-USDT-SWAP",
        ),
        (b'{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"connId":"a4d3ae55"}', ""),
    ],
    "binance": [
        (
            b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1626992741575,"a":16599292,"s":"BTCUSDT",'
            b'"p":"1.01100","q":"10","f":23961322,"l":23961322,"T":1626992741421,"m":false}}',
            "",
        ),
        (
            b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1596240000596,"T":1596240000519,"s":"BTCUSDT",'
            b'"t":173525189,"p":"11343.67","q":"0.467","X":"MARKET","m":true}}',
            "",
        ),
        (
            b'{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BNBUSDT","b":"25.35190000",'
            b'"B":"31.21000000","a":"25.36520000","A":"40.66000000"}',
            "",
        ),
        (
            b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":123456789012,"T":1573948821948,'
            b'"s":"BTCUSDT","U":687687944,"u":687687946,"pu":687687943,"b":[["8493.78","0.162"],["8493.7","0"]],'
            b'"a":[["8494","0.5"]]}}'.replace(b"123456789012", b"1573948821952"),
            "",
        ),
        (
            b'{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT",'
            b'"p":"11794.15000000","i":"11784.62659091","P":"11784.25641265","r":"0.00038167","T":1562306400000}}',
            "",
        ),
        (
            b'{"stream":"btcusdt@ticker","data":{"e":"24hrTicker","E":1568693103467,"s":"BTCUSDT","p":"-88.17",'
            b'"c":"10223.74","Q":"2.097","n":32423}}',
            "",
        ),
        (
            b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1791565603055,"o":{"s":"BTCUSDT","S":"SELL",'
            b'"o":"LIMIT","f":"IOC","q":"0.190","p":"82338.30","ap":"82651.90","X":"FILLED","l":"0.155","z":"0.190",'
            b'"T":1791565602120,"ps":"BTCUSDT","st":1}}}',
            "",
        ),
        (
            b'{"lastUpdateId":1027024,"E":1589436922972,"T":1589436922959,"bids":[["4.00000000","431.00000000"]],'
            b'"asks":[["4.00000200","12.00000000"],["4.1","1"]]}',
            "/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
        ),
        (
            b'{"openInterest":"10659.509","symbol":"BTCUSDT","time":1589437530011}',
            "/fapi/v1/openInterest?symbol=BTCUSDT",
        ),
        (
            b'[{"symbol":"BTCUSDT","fundingRate":"-0.03750000","fundingTime":1570608000000,"markPrice":"34287.5"},'
            b'{"symbol":"BTCUSDT","fundingRate":"0.00010000","fundingTime":1570636800000,"markPrice":""}]',
            "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=10",
        ),
        (b'{"result":null,"id":3}', ""),
    ],
}
"""Frames as each exchange's documentation prints them, shortened."""


# -- Spoiling ----------------------------------------------------------------------------------------------------------

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')
JUNK = (
    *(b"null", b"true", b"false", b'""', b'" "', b'"NaN"', b'"nan"', b'"inf"', b'"Infinity"', b"NaN", b"Infinity"),
    *(b"-1", b"0", b"-0", b"-0.0", b"1", b'"-1"', b'"0"', b'"1"', b'"0x10"', b'"1,5"', b'"1_0"', b'" 1"', b'"1 "'),
    *(b'"+1"', b'".5"', b'"5."', b'"01"', b"01", b"+1", b".5", b"5.", b"1e400", b'"1e400"', b"1e-400", b'"1e-400"'),
    *(b"-1e-400", b"1e5", b'"1e5"', b"1E+2", b'"1.5e3"', b"9" * 40, b'"' + b"9" * 40 + b'"'),
    *(b'"0.' + b"0" * 60 + b'1"', b"9223372036854775807", b"9223372036854775808", b"18446744073709551616"),
    *(b"-9223372036854775809", b"4611686018427387903", b"4611686018427387904", b"1e12", b"1000000000000.1"),
    *(b'"1e18"', b"1.5", b"1.0", b'"1.0"', b"1262304000000", b"1262303999999", b"4102444799999", b"4102444800000"),
    *(b"1672304486865.0", b"1672304486865.5", b"0.1000000000000000055511151231257827021181583404541015625"),
    *(b'"9007199254740993"', b"9007199254740993", b'"0.30000000000000004440892098500626"', b"[]", b"{}", b"[[]]"),
    *(b"[null]", b'[{"a":1}]', b'{"a":{"b":[]}}', b"[" * 2000, b'{"a":' * 1500, b'"\xff\xfe"', b'"\xc3"'),
    *(b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\u0000"', b'"a\nb"', b'"\\x"', b'"../x"', b'"BTC/USDT"', b'"ETHUSDT"'),
    *(b'"Buy"', b'"Sell"', b'"buy"', b'"sell"', b'"BUY"', b'"SELL"', b'"snapshot"', b'"delta"', b'"update"'),
    *(b'"true"', b'"false"', b'"null"', b'"\\u0042uy"', b'"\xc2\xb2"', b'"\xd9\xa1"', b'"\xf0\x9f\x98\x80"'),
)
KEYS = tuple(
    f'"{key}"'.encode()
    for key in (*"TsSvpieEaAbBuUqmXz", "BT", "pu", "st", "ap", "ts", "data", "topic", "arg", "action", "type", "code")
)


class Spoiler:
    """Mutants of good frames, the same for the same seed."""

    def __init__(self, goods: list[Good], seed: str):
        self._random = random.Random(seed)  # noqa: S311
        self._goods = [(frame, request, [m.span() for m in TOKEN.finditer(frame)]) for frame, request in goods]
        self._ways = (
            (self._flip, self._digit, self._cut, self._double, self._insert, self._truncate, self._splice)
            + (self._token,) * 5
            + (self._swap, self._swap, self._drop, self._drop, self._key, self._sign, self._exponent, self._pad)
        )

    def spoil(self) -> tuple[bytes, str, int]:
        """A mutant, the request it came with, and the number of the good frame it was made of."""
        number = int(self._random.random() * len(self._goods))
        frame, request, spans = self._goods[number]
        made = self._way()(frame, spans)
        while self._random.random() < 0.15:
            made = self._way()(made, [m.span() for m in TOKEN.finditer(made)])
        return made, request, number

    def _way(self):
        return self._ways[int(self._random.random() * len(self._ways))]

    def _at(self, frame: bytes) -> int:
        return int(self._random.random() * (len(frame) + 1))

    def _pick(self, items):
        return items[int(self._random.random() * len(items))]

    def _slice(self, frame: bytes) -> tuple[int, int]:
        start = self._at(frame)
        return start, min(len(frame), start + 1 + int(self._random.random() ** 3 * 60))

    def _flip(self, frame, spans):
        at = self._at(frame)
        bit = 1 << int(self._random.random() * 8)
        return frame[:at] + bytes([frame[at] ^ bit]) + frame[at + 1 :] if at < len(frame) else frame + b"\0"

    def _digit(self, frame, spans):
        places = [m.start() for m in re.finditer(rb"[0-9]", frame)]
        if not places:
            return frame + b"1"
        at = self._pick(places)
        return frame[:at] + b"%d" % int(self._random.random() * 10) + frame[at + 1 :]

    def _cut(self, frame, spans):
        start, end = self._slice(frame)
        return frame[:start] + frame[end:]

    def _double(self, frame, spans):
        start, end = self._slice(frame)
        return frame[:end] + frame[start:end] + frame[end:]

    def _insert(self, frame, spans):
        start, end = self._slice(other := self._pick(self._goods)[0])
        at = self._at(frame)
        return frame[:at] + other[start:end] + frame[at:]

    def _truncate(self, frame, spans):
        return frame[: self._at(frame)]

    def _splice(self, frame, spans):
        other = self._pick(self._goods)[0]
        return frame[: self._at(frame)] + other[self._at(other) :]

    def _token(self, frame, spans):
        start, end = self._pick(spans) if spans else (0, 0)
        return frame[:start] + self._pick(JUNK) + frame[end:]

    def _swap(self, frame, spans):
        if len(spans) < 2:
            return frame[::-1]
        (a, b), (c, d) = sorted((self._pick(spans), self._pick(spans)))
        return frame if a == c else frame[:a] + frame[c:d] + frame[b:c] + frame[a:b] + frame[d:]

    def _drop(self, frame, spans):
        """A field left out: from a comma to the next one, or a token with what follows it."""
        at = frame.find(b",", self._at(frame))
        end = frame.find(b",", at + 1)
        return frame[:at] + frame[end:] if 0 <= at < end else frame.replace(b'":', b'x":', 1)

    def _key(self, frame, spans):
        keys = [(a, b) for a, b in spans if frame[b : b + 1] == b":"]
        if not keys:
            return b'{"a":' + frame + b"}"
        start, end = self._pick(keys)
        return frame[:start] + self._pick(KEYS) + frame[end:]

    def _sign(self, frame, spans):
        start, _ = self._pick(spans) if spans else (0, 0)
        inner = start + 1 if frame[start : start + 1] == b'"' else start
        return frame[:inner] + b"-" + frame[inner:]

    def _exponent(self, frame, spans):
        start, end = self._pick(spans) if spans else (0, 0)
        inner = end - 1 if frame[start : start + 1] == b'"' else end
        return frame[:inner] + self._pick((b"e3", b"e-3", b"E0", b"e300", b"e", b".0", b".5", b"0")) + frame[inner:]

    def _pad(self, frame, spans):
        start, end = self._pick(spans) if spans else (0, 0)
        blank = self._pick((b" ", b"\n", b"\t", b"\r\n", b"\0", b"\xef\xbb\xbf", b"/**/"))
        at = self._pick((start, end, 0, len(frame)))
        return frame[:at] + blank + frame[at:]


# -- Judging -----------------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What became of mutants: numbers, and an example of each kind of violation and reason."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def violation(self, kind: str, frame: bytes, reason: object, detail: object = "") -> None:
        self.violations[kind] += 1
        alike = re.sub(r"no JSON.*|[0-9]+|'[^']*'|\S+ under .*", "#", str(reason).partition(", in {")[0])
        self.reasons[kind, alike[:100]] += 1
        if len(self.examples) < 60:
            found = f"{frame[:600]!r}\n      {str(reason)[:200]}  {str(detail)[:600]}"
            self.examples.setdefault((kind, alike[:100]), found)

    def __str__(self) -> str:
        told = [f"{name} {n:,}" for name, n in sorted(self.counts.items())]
        told += [f"VIOLATIONS {sum(self.violations.values()):,}", *(f"{k} {n:,}" for k, n in self.violations.items())]
        found = [f"  {self.reasons[key]:,} × {key[0]}: {example}" for key, example in self.examples.items()]
        return "\n".join([", ".join(told), *found])


LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def strict(frame: bytes, stated: list[Said]) -> bool:
    """Whether refusing a frame that the oracle can read is strictness that is meant.

    One that says nothing may be refused (a topic that only begins like one that is read, a field of an acknowledgement
    with a value of another type), and so may text that is not Unicode in a field that is not read.
    """
    if not stated or LONE_SURROGATE.search(frame):
        return True
    try:
        frame.decode()
    except UnicodeDecodeError:
        return True
    return False


def judge(adapter, oracle: Oracle, frame: bytes, request: str, verdict: Verdict) -> None:
    """Decode one frame and hold it against the oracle."""
    try:
        events = adapter.decode(frame, RECEIVED_NS, request)
    except FrameError as error:
        verdict.counts["rejected"] += 1
        try:
            stated = oracle.read(frame, RECEIVED_NS, request)
        except (UnreadableError, EitherWayError, RefusedError):
            return
        if not strict(frame, stated):
            verdict.violation("REJECTED THOUGH VALID", frame, error, stated)
        return
    except Exception as error:  # the property: nothing else may come
        verdict.violation("RAISED", frame, repr(error))
        return
    verdict.counts["accepted" if events else "accepted, says nothing"] += 1
    try:
        stated = oracle.read(frame, RECEIVED_NS, request)
    except EitherWayError:
        verdict.counts["accepted, either way"] += 1
        return
    except (UnreadableError, RefusedError) as error:
        verdict.violation("ACCEPTED THOUGH BROKEN", frame, error, events)
        return
    got = [said(event) for event in events]
    if got != stated:
        verdict.violation("SAYS ANOTHER THING", frame, "", f"{got} | stated {stated}")


# -- Real frames -------------------------------------------------------------------------------------------------------

LONGEST = 1_200
"""Of a real frame in bytes; a long book would take all the time."""


def recorded(data: Path) -> dict[str, list[Good]]:
    """Real frames in scope, a few of each channel: from the captures and the collected frames."""
    found: dict[str, dict[str, list[Good]]] = {"bybit": {}, "okx": {}, "binance": {}}

    def keep(venue: str, frame: bytes, most: int = 6) -> None:
        message = json.loads(frame)
        channel = message.get("topic") or message.get("stream") or str(message.get("arg")) or message.get("e", "")
        kept = found[venue].setdefault(channel + message.get("type", message.get("action", "")), [])
        if len(frame) <= LONGEST and len(kept) < most:
            kept.append((frame, ""))

    for row in map(json.loads, (data / "frames" / "normalised.jsonl").read_text().splitlines()):
        venue = {"bybit": "bybit", "okex-swap": "okx", "okex-futures": "okx"}.get(row["exchange"], "binance")
        if "table" not in row["message"] and (venue != "bybit" or "ts" in row["message"]):
            keep(venue, json.dumps(row["message"], separators=(",", ":")).encode())
    for row in map(json.loads, (data / "frames" / "liquidations_live.jsonl").read_text().splitlines()):
        keep(row["venue"].partition("-")[0], row["raw"].encode(), most=20)
    for file, venue in (("BYBIT", "bybit"), ("BINANCE_FUTURES", "binance")):
        with (data / "captures" / f"{file}.jsonl.zst").open("rb") as opened:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(opened), encoding="utf-8"):
                row = json.loads(line)
                if row["t"] == "recv" and row["conn"] not in ("BYBIT.ws.3",):  # spot
                    keep(venue, row["data"].encode())
    with gzip.open(data / "captures" / "binance_usdm_btcusdt_20240808.gz") as opened:
        for line in itertools.islice(opened, 2_000):
            keep("binance", line.partition(b" ")[2].rstrip())
    return {venue: [good for kept in channels.values() for good in kept] for venue, channels in found.items()}


def run(adapter, oracle: Oracle, goods: list[Good], count: int, seed: str) -> Verdict:
    """Judge `count` mutants; in between and at the end good frames must decode as they did before."""
    before = [repr(adapter.decode(frame, RECEIVED_NS, request)) for frame, request in goods]
    verdict, spoiler = Verdict(), Spoiler(goods, seed)
    for number in range(count):
        frame, request, origin = spoiler.spoil()
        judge(adapter, oracle, frame, request, verdict)
        if number % 50 == 0:
            good, asked = goods[origin]
            if repr(adapter.decode(good, RECEIVED_NS, asked)) != before[origin]:
                verdict.violation("CHANGED BY A MUTANT", good, frame)
    after = [repr(adapter.decode(frame, RECEIVED_NS, request)) for frame, request in goods]
    if after != before:
        verdict.violation("CHANGED BY A MUTANT", b"", "at the end")
    return verdict
