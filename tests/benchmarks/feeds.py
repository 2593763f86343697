"""How fast frames become events, books and steps, on recorded sessions; and cryptofeed 2.4.1 on the same frames.

For each kind of frame both sides are first shown to say the same: every trade, every quote, every level of the books.
Then they take turns in one process, five rounds each; a figure is the median round, a ratio is of medians. cryptofeed's
own `message_handler` is driven without an event loop, with callbacks that keep nothing. Its Binance adapter does not
know the stream `@trade`, so those frames are rewritten as `@aggTrade`, for both. The recordings are read from
`../shared/data`; without them, or without cryptofeed, the figures that need them are left out, with the reason.
"""

import gzip
import json
import math
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import zstandard

from squeeze.market.books import Book, Chain, Rule
from squeeze.market.events import SECOND_NS, BookUpdate, Quote
from squeeze.market.session import Session
from squeeze.market.steps import StepBuilder
from squeeze.market.venues import Binance, Bybit, Okx

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "captures"
ROUNDS = 5
SNAPSHOT = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
COMMITTED = {
    "trades added up, Binance": 1_000_000,
    "trades added up, Bybit": 500_000,
    "quotes, Binance": 1_500_000,
    "tickers, Bybit": 1_500_000,
    "68-level books, Binance": 60_000,
    "10-level books, Bybit": 250_000,
}
"""Frames a second that speed.md commits to, on its reference machine."""

LIQUIDATIONS = {
    "bybit": (
        Bybit(),
        b'{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1791091285551,"data":['
        + b",".join([b'{"T":1791091285156,"s":"BTCUSDT","S":"Buy","v":"0.849","p":"61651.65"}'] * 3)
        + b"]}",
    ),
    "okx": (
        Okx(),
        b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"82655.7",'
        b'"ccy":"","posSide":"long","side":"sell","sz":"8.55","ts":"1791565600771"}],"instFamily":"BTC-USDT",'
        b'"instId":"BTC-USDT-SWAP","instType":"SWAP","uly":"BTC-USDT"}]}',
    ),
    "binance": (
        Binance(),
        b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":1791565603055,"o":{"s":"BTCUSDT","S":"SELL",'
        b'"o":"LIMIT","f":"IOC","q":"0.190","p":"82338.30","ap":"82651.90","X":"FILLED","l":"0.155","z":"0.190",'
        b'"T":1791565602120,"ps":"BTCUSDT","st":1}}}',
    ),
}


def binance_frames() -> list[tuple[int, bytes]]:
    """(received_ns, frame) of the BTCUSDT session of 2024-08-08."""
    with gzip.open(RECORDINGS / "binance_usdm_btcusdt_20240808.gz") as lines:
        pairs = (line.rstrip().split(b" ", 1) for line in lines)
        return [(int(ns), frame) for ns, frame in pairs]


def bybit_frames() -> list[tuple[int, bytes]]:
    """(received_ns, frame) of the linear connection of the session of 2026-08-09."""
    text = zstandard.ZstdDecompressor().stream_reader((RECORDINGS / "BYBIT.jsonl.zst").read_bytes()).read()
    lines = [json.loads(line) for line in text.splitlines()]
    linear = {x["conn"] for x in lines if x["t"] == "connect" and "/linear" in x["addr"]}
    return [(round(x["ts"] * 1e9), x["data"].encode()) for x in lines if x["t"] == "recv" and x["conn"] in linear]


class Cryptofeed:
    """An exchange of cryptofeed, its handler called as its own loop would call it."""

    def __init__(self, exchange: Any, symbols: dict[str, str], channels: list[str], address: str) -> None:
        from cryptofeed.symbols import Symbols

        Symbols.set(exchange.id, symbols, {"tick_size": {}, "instrument_type": {}})
        self.said: list[Any] | None = []

        async def hear(said: Any, received: float) -> None:
            if self.said is not None:
                self.said.append(said)

        self.feed = exchange(symbols=list(symbols), channels=channels, callbacks=dict.fromkeys(channels, hear))
        natives = list(symbols.values())
        self.connection = SimpleNamespace(
            address=address, uuid="bench", subscription={"tickers": natives, "funding": [], "open_interest": []}
        )

    def __call__(self, frame: str) -> None:
        try:
            self.feed.message_handler(frame, self.connection, 0.0).send(None)
        except StopIteration:
            return
        raise RuntimeError("cryptofeed waited for something")


def rate(frames: list[Any], call: Callable[[Any], Any]) -> float:
    """Seconds a frame takes, over all of them once."""
    began = time.perf_counter()
    for frame in frames:
        call(frame)
    return (time.perf_counter() - began) / len(frames)


def compared(frames: list[bytes], sides: dict[str, Callable[[], Callable[[Any], Any]]]) -> dict[str, Any]:
    """Frames a second of each side, in turns; a side is made anew for each round."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, make in sides.items():
            given = [f.decode() for f in frames] if name == "cryptofeed" else frames
            taken[name].append(rate(given, make()))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    figures: dict[str, Any] = {name: round(1 / seconds) for name, seconds in medians.items()}
    if "cryptofeed" in medians:
        figures["times cryptofeed"] = round(medians["cryptofeed"] / medians["ours"], 1)
    return figures | {"frames": len(frames)}


def decoding(venue: Any) -> Callable[[bytes], Any]:
    """Decode alone."""
    decode = venue.decode
    return lambda frame: decode(frame, 1)


def adding(venue: Any, symbol: str = "BTCUSDT") -> tuple[Callable[[bytes], None], StepBuilder]:
    """Decode and add up, as a live stream does; and the builder that has the sums."""
    builder = StepBuilder(symbol, 3600 * SECOND_NS)
    builder.close(3600 * SECOND_NS)
    now_ns = 3600 * SECOND_NS + 1
    decode, add = venue.decode, builder.add

    def call(frame: bytes) -> None:
        for event in decode(frame, now_ns):
            add(event)

    return call, builder


def applying(venue: Any, rule: Rule, first: BookUpdate) -> tuple[Callable[[bytes], None], Book]:
    """Decode, check the chain, apply; and the book that comes of it."""
    decode, chain, book = venue.decode, Chain(rule), Book()
    for update in chain.take(first)[0]:
        book.apply(update)

    def call(frame: bytes) -> None:
        for event in decode(frame, 1):
            for update in chain.take(event)[0]:
                book.apply(update)

    return call, book


def prove_trades(frames: list[bytes], venue: Any, theirs: Cryptofeed) -> None:
    """Both sides have the same size bought and sold in each price bin."""
    call, builder = adding(venue)
    for frame in frames:
        call(frame)
        theirs(frame.decode())
    flow = builder.close(2 * 3600 * SECOND_NS).venue(venue.name).flow
    assert flow is not None
    for side, ours in (("buy", flow.buys_base), ("sell", flow.sells_base)):
        sizes = np.zeros(len(ours))
        for trade in theirs.said or []:
            if trade.side == side:
                sizes[math.floor(math.log(float(trade.price)) / flow.bin_log) - flow.first_bin] += float(trade.amount)
        np.testing.assert_allclose(ours, sizes, rtol=1e-9, atol=1e-9)


def prove_books(frames: list[bytes], ours: tuple[Callable[[bytes], None], Book], theirs: Cryptofeed, pair: str) -> None:
    """Both sides end with the same levels."""
    call, book = ours
    for frame in frames:
        call(frame)
        theirs(frame.decode())
    levels = theirs.feed._l2_book[pair].book
    for mine, other in ((book.bids, levels.bids), (book.asks, levels.asks)):
        assert mine == {float(price): float(size) for price, size in other.to_dict().items()}


def bench_binance(with_cryptofeed: bool) -> dict[str, Any]:
    """Trades, quotes and 68-level book updates of Binance."""
    lines = [frame for _, frame in binance_frames()]
    trades = [f.replace(b'@trade"', b'@aggTrade"').replace(b'"e":"trade"', b'"e":"aggTrade"').replace(b'"t":', b'"a":')
              for f in lines if b'@trade"' in f[:40]]  # fmt: skip
    quotes = [f for f in lines if b"@bookTicker" in f[:40]]
    first = Binance().decode(next(f for f in lines if b"lastUpdateId" in f[:30]), 1, SNAPSHOT)[0]
    assert isinstance(first, BookUpdate)
    depth = [f for f in lines if b"@depth" in f[:40]]
    depth = depth[next(i for i, f in enumerate(depth) if Binance().decode(f, 1)[0].last_id >= first.last_id) :]

    def feed(channel: str) -> Cryptofeed:
        from cryptofeed.exchanges import BinanceFutures

        made = Cryptofeed(BinanceFutures, {"BTC-USDT-PERP": "BTCUSDT"}, [channel], "wss://fstream.binance.com/stream")
        if channel == "l2_book":
            from cryptofeed.types import OrderBook as TheirBook

            sides = [{Decimal(repr(p)): Decimal(repr(q)) for p, q in side} for side in (first.bids, first.asks)]
            made.feed._l2_book["BTC-USDT-PERP"] = TheirBook(
                "BINANCE_FUTURES", "BTC-USDT-PERP", bids=sides[0], asks=sides[1]
            )
            made.feed.last_update_id = {"BTC-USDT-PERP": first.last_id}
        return made

    def quiet(channel: str) -> Cryptofeed:
        made = feed(channel)
        made.said = None
        return made

    def sides(ours: Callable[[], Callable[[bytes], Any]], channel: str) -> dict[str, Any]:
        return {"ours": ours} | ({"cryptofeed": lambda: quiet(channel)} if with_cryptofeed else {})

    if with_cryptofeed:
        prove_trades(trades, Binance(), feed("trades"))
        prove_books(depth, applying(Binance(), Rule.JOINS, first), feed("l2_book"), "BTC-USDT-PERP")
        theirs = feed("ticker")
        for frame in quotes:
            theirs(frame.decode())
        mine = [Binance().decode(frame, 1)[0] for frame in quotes]
        assert [(q.bid, q.ask) for q in mine if isinstance(q, Quote)] == [
            (float(t.bid), float(t.ask)) for t in theirs.said or []
        ]
    return {
        "trades, Binance": compared(trades, sides(lambda: decoding(Binance()), "trades")),
        "trades added up, Binance": compared(trades, {"ours": lambda: adding(Binance())[0]}),
        "quotes, Binance": compared(quotes, sides(lambda: decoding(Binance()), "ticker")),
        "68-level books, Binance": compared(depth, sides(lambda: applying(Binance(), Rule.JOINS, first)[0], "l2_book")),
    }


def bench_bybit(with_cryptofeed: bool) -> dict[str, Any]:
    """Trades, tickers and 10-level book updates of Bybit; the few recorded ones many times over."""
    lines = [frame for _, frame in bybit_frames()]
    trades, tickers, books = (
        [f for f in lines if topic in f[:80]] for topic in (b'"publicTrade.', b'"tickers.', b'"orderbook.200.')
    )
    begin = [f for f in books if b'"snapshot"' in f[:80]]
    changes = [f for f in books if f not in begin]
    natives = {f"{coin}-USDT-PERP": f"{coin}USDT" for coin in ("BTC", "ETH", "SOL", "DOGE")}

    def feed(channel: str) -> Cryptofeed:
        from cryptofeed.exchanges import Bybit as Theirs

        return Cryptofeed(Theirs, natives, [channel], "wss://stream.bybit.com/v5/public/linear")

    def quiet(channel: str, begin: list[bytes]) -> Callable[[str], None]:
        made = feed(channel)
        made.said = None
        for frame in begin:
            made(frame.decode())
        return made

    def sides(ours: Callable[[], Any], channel: str, begin: list[bytes]) -> dict[str, Any]:
        return {"ours": ours} | ({"cryptofeed": lambda: quiet(channel, begin)} if with_cryptofeed else {})

    if with_cryptofeed:
        prove_trades([f for f in trades if b"BTCUSDT" in f[:80]], Bybit(), feed("trades"))
        for first in begin:
            update = Bybit().decode(first, 1)[0]
            assert isinstance(update, BookUpdate)
            of_it = [f for f in changes if b"." + update.symbol.encode() in f[:80]]
            theirs = feed("l2_book")
            theirs(first.decode())
            pair = f"{update.symbol.removesuffix('USDT')}-USDT-PERP"
            prove_books(of_it, applying(Bybit(), Rule.STEPS, update), theirs, pair)

    def unchained() -> Callable[[bytes], None]:
        """The same deltas over and over: their numbers do not go on, so the chain is set back with each."""
        decode, books = Bybit().decode, {}
        for first in begin:
            (update,) = decode(first, 1)
            chain, book = books[update.symbol] = Chain(Rule.STEPS), Book()
            for each in chain.take(update)[0]:
                book.apply(each)

        def call(frame: bytes) -> None:
            (update,) = decode(frame, 1)
            chain, book = books[update.symbol]
            chain.last_id = update.last_id - 1
            for each in chain.take(update)[0]:
                book.apply(each)

        return call

    def added() -> Callable[[bytes], None]:
        """A builder a symbol, as in life."""
        adders = {native: adding(Bybit(), native)[1].add for native in natives.values()}
        decode, now_ns = Bybit().decode, 3600 * SECOND_NS + 1

        def call(frame: bytes) -> None:
            events = decode(frame, now_ns)
            add = adders[events[0].symbol]
            for event in events:
                add(event)

        return call

    whole = [f for f in tickers if b'"snapshot"' in f[:80]]
    deltas = [f for f in tickers if f not in whole]
    return {
        "trades, Bybit": compared(trades * 100, sides(lambda: decoding(Bybit()), "trades", []))
        | {"trades a frame": round(sum(f.count(b'"S"') for f in trades) / len(trades), 1)},
        "trades added up, Bybit": compared(trades * 100, {"ours": added}),
        "tickers, Bybit": compared(deltas * 40, sides(lambda: decoding(Bybit()), "ticker", whole)),
        "10-level books, Bybit": compared(changes * 30, sides(unchained, "l2_book", begin))
        | {"levels a frame": round(sum(f.count(b'["') for f in changes) / len(changes), 1)},
    }


def bench_liquidations() -> dict[str, Any]:
    """Frames of the three venues; Bybit's with three events."""
    figures = {}
    for name, (venue, frame) in LIQUIDATIONS.items():
        assert len(venue.decode(frame, 1)) == frame.count(b'"T"') + frame.count(b'"side"')
        figures[f"liquidations, {name}"] = compared([frame] * 100_000, {"ours": lambda v=venue: decoding(v)})
    return figures


def bench_sessions() -> dict[str, Any]:
    """Whole sessions: frames to clean events, and to steps of a second with their books."""
    figures: dict[str, Any] = {}
    for name, venue, lines in (("Binance", Binance, binance_frames()), ("Bybit", Bybit, bybit_frames())):
        cleaned, stepped, closes = [], [], []
        for _ in range(3):
            session, began = Session(venue()), time.perf_counter()
            requests = [SNAPSHOT if b"lastUpdateId" in frame[:30] else "" for _, frame in lines]
            events = [
                e
                for (ns, frame), request in zip(lines, requests, strict=True)
                for e in session.on_frame(frame, ns, request)
            ]
            cleaned.append(time.perf_counter() - began)
            builder = StepBuilder("BTCUSDT", SECOND_NS)
            began, close_ns = time.perf_counter(), -(-lines[0][0] // SECOND_NS) * SECOND_NS
            for event in events:
                while event.known_at_ns > close_ns:
                    at = time.perf_counter()
                    builder.close(close_ns)
                    closes.append(time.perf_counter() - at)
                    close_ns += SECOND_NS
                if event.symbol == "BTCUSDT":
                    builder.add(event)
            stepped.append(time.perf_counter() - began)
        p50, p99 = np.percentile(closes, [50, 99]) * 1e6
        figures[f"session, {name}"] = {
            "frames": len(lines),
            "frames/s to clean events": round(len(lines) / statistics.median(cleaned)),
            "events/s into 1 s steps": round(len(events) / statistics.median(stepped)),
            "close of a step, p50_us": round(float(p50), 1),
            "close of a step, p99_us": round(float(p99), 1),
        }
    return figures


def bench_feeds() -> dict[str, Any]:
    """All of it; what cannot be measured here is said."""
    figures: dict[str, Any] = bench_liquidations()
    if not RECORDINGS.is_dir():
        return figures | {"left out": f"recorded sessions: {RECORDINGS} is not there"}
    try:
        import cryptofeed  # noqa: F401

        with_cryptofeed = True
    except ImportError:
        with_cryptofeed = False
        figures["left out"] = "cryptofeed: pip install cryptofeed==2.4.1"
    figures = bench_binance(with_cryptofeed) | bench_bybit(with_cryptofeed) | figures | bench_sessions()
    for name, committed in COMMITTED.items():
        figures[name]["committed"] = committed
    return figures


def table(figures: dict[str, Any]) -> str:
    """Each kind on a line, frames a second."""
    lines = [f"{'frames a second':36}{'ours':>12}{'cryptofeed':>12}{'ratio':>8}{'committed':>12}"]
    for name, f in figures.items():
        if isinstance(f, dict) and "ours" in f:
            theirs, ratio, committed = (f.get(key, "") for key in ("cryptofeed", "times cryptofeed", "committed"))
            lines.append(f"{name:36}{f['ours']:12,}{theirs:>12}{ratio:>8}{committed:>12}")
        elif isinstance(f, dict):
            lines.append(f"{name:36}" + ", ".join(f"{value:,} {key}" for key, value in f.items()))
        else:
            lines.append(f"{name}: {f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(bench_feeds()))
