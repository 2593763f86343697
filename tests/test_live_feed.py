"""The live feed against a server on this machine that plays an exchange, its faults included."""

import argparse
import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from squeeze.errors import ConfigError, LakeError
from squeeze.market.books import OrderBook
from squeeze.market.events import BookUpdate, Broken, Funding, Gap, OpenInterest, Trade
from squeeze.market.feeds import live, recorder
from squeeze.market.feeds.live import REST, Feed
from squeeze.market.feeds.recorder import record
from squeeze.market.feeds.rest import RequestFailed, Requests, fetch
from squeeze.market.feeds.values import Limits, Summary
from squeeze.market.feeds.verbs import RECORD
from squeeze.market.raw_log import RawLog
from squeeze.market.raw_segment import LOST
from squeeze.market.session import Session, normalise
from squeeze.market.venues import Binance, Bybit, Okx
from squeeze.market.venues.wire import Connection

FAST = Limits(
    silent_seconds=0.4,
    first_retry_seconds=0.05,
    last_retry_seconds=0.4,
    open_seconds=2.0,
    open_every_seconds=0.001,
    overlap_seconds=0.1,
    snapshot_seconds=0.1,
    snapshot_every_seconds=0.05,
    request_seconds=2.0,
    request_every_seconds=0.001,
    ban_seconds=0.2,
)
PATIENT = replace(FAST, silent_seconds=9.0)
ACK = '{"success":true,"ret_msg":"","conn_id":"1","req_id":"","op":"subscribe"}'
FUNDING = '{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[]}}'
T = 1672304486865


def bybit_trade(number: int) -> str:
    row = {"T": T + number, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "i": str(number), "BT": False}
    return dumps({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": T + number, "data": [row]})


def bybit_book(number: int, kind: str = "delta") -> str:
    data = {"s": "BTCUSDT", "b": [["16493.50", "0.006"]], "a": [["16611.00", "0.029"]], "u": number, "seq": number}
    return dumps({"topic": "orderbook.200.BTCUSDT", "type": kind, "ts": T, "data": data, "cts": T})


def binance_depth(first: int, last: int, previous: int, bid: str = "99.0") -> str:
    data = {"e": "depthUpdate", "E": T, "T": T, "s": "BTCUSDT", "U": first, "u": last, "pu": previous}
    return dumps({"stream": "btcusdt@depth@100ms", "data": data | {"b": [[bid, "1.0"]], "a": []}})


def binance_snapshot(last: int) -> str:
    return dumps({"lastUpdateId": last, "E": T, "T": T, "bids": [["98.0", "1"]], "asks": [["101.0", "1"]]})


def binance_mark(second: int) -> str:
    data = {"e": "markPriceUpdate", "E": T + 1000 * second, "s": "BTCUSDT", "p": "100.0", "i": "100.1", "r": "0.0001"}
    return dumps({"stream": "btcusdt@markPrice@1s", "data": data | {"T": T + 3_600_000}})


def dumps(value) -> str:
    return json.dumps(value, separators=(",", ":"))


class Exchange:
    """A websocket server that plays scripts, one a connection and the last one again, and a REST server beside it."""

    def __init__(self, *scripts, answers=None):
        self.scripts = list(scripts)
        self.answers = answers or {}
        self.subscribed: list[str] = []
        self.asked = Counter[str]()
        self.paths: list[str] = []

    async def _play(self, socket):
        self.paths.append(socket.request.path)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        with suppress(ConnectionClosed):
            await script(self, socket)

    def answer(self, path: str):
        """Status, headers and body for a path: the next of its list, the last one again."""
        self.asked[path] += 1
        found = self.answers.get(path, [(404, {}, "")])
        return found.pop(0) if len(found) > 1 else found[0]

    @asynccontextmanager
    async def up(self, *names: str):
        """Run it; what is given is the mapping of hosts that leads there: websocket host first, REST host second."""
        with rest_server(self.answer) as port:
            async with serve(self._play, "127.0.0.1", 0) as server:
                websocket = server.sockets[0].getsockname()[1]
                yield dict(zip(names, (f"127.0.0.1:{websocket}", f"127.0.0.1:{port}"), strict=True))


@contextmanager
def rest_server(answer):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode() if isinstance(body, str) else body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


BYBIT = ("stream.bybit.com", "api.bybit.com")
BINANCE = ("fstream.binance.com", "fapi.binance.com")
OKX = ("ws.okx.com", "www.okx.com")
BYBIT_REST = {"/v5/market/funding/history": [(200, {}, FUNDING)]}


def bybit(*frames: str, then=None):
    """A script: take the subscription, acknowledge it, say the frames, then stay, or do `then`."""

    async def script(exchange, socket):
        exchange.subscribed.append(await socket.recv())
        await socket.send(ACK)
        for frame in frames:
            await socket.send(frame)
        await (then(socket) if then else socket.wait_closed())

    return script


class Heard:
    """What a feed handed on."""

    def __init__(self, feed: Feed):
        self.feed = feed
        self.frames: list[tuple[int, bytes, str, str]] = []
        self.events: list = []
        self.gaps: list[tuple[str, str]] = []
        self.until = asyncio.Event()

    async def run(self, done=None, seconds: float = 15.0):
        """Until `done()` holds; fails after some seconds."""
        running = asyncio.create_task(
            self.feed.run(
                lambda *frame: self.frames.append(frame),
                self.until,
                self.events.extend,
                lambda *gap: self.gaps.append(gap),
            )
        )
        async with asyncio.timeout(seconds):
            while not done() and not running.done():
                await asyncio.sleep(0.01)
            self.until.set()
            await running

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def listen(exchange: Exchange, venue, names, done, limits=PATIENT) -> Heard:
    """Feed `BTCUSDT` from an exchange until `done(heard)`."""

    async def main():
        async with exchange.up(*names) as hosts:
            heard = Heard(Feed(venue, ["BTCUSDT"], hosts, limits))
            await heard.run(lambda: done(heard))
            return heard

    return asyncio.run(main())


def replayed(raw: RawLog, venue, session=None) -> list:
    return list(normalise(raw.read(venue.name), venue.name, session=session or Session(venue)))


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Nothing is left over that asyncio would complain of."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


# Connections


def test_a_session_hands_on_every_frame_with_rising_times_and_its_clean_events():
    frames = [bybit_book(1, "snapshot"), bybit_book(2), bybit_trade(1), bybit_trade(1)]
    exchange = Exchange(bybit(*frames), answers=BYBIT_REST)
    heard = listen(exchange, Bybit(), BYBIT, lambda h: len(h.frames) >= 6)
    sent = [frame.decode() for _, frame, connection, _ in heard.frames if connection == "0.0"]
    assert sent == [ACK, *frames]
    assert [r for _, _, c, r in heard.frames if c == REST] == [
        "/v5/market/funding/history?category=linear&limit=10&symbol=BTCUSDT"
    ]
    times = [received_ns for received_ns, *_ in heard.frames]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert [type(event) for event in heard.events] == [BookUpdate, BookUpdate, Trade]
    assert "publicTrade.BTCUSDT" in exchange.subscribed[0]
    assert heard.feed.summary().frames == 6
    assert heard.gaps == []


def test_an_acknowledged_subscription_that_stays_silent_is_made_again():
    async def pongs(socket):
        async for _ in socket:
            await socket.send('{"success":true,"ret_msg":"pong","conn_id":"1","op":"ping"}')

    silent, speaks = bybit(then=pongs), bybit(bybit_trade(1))
    exchange = Exchange(silent, speaks, answers=BYBIT_REST)
    heard = listen(exchange, pinging(Bybit(), 0.1), BYBIT, lambda h: h.of(Trade), FAST)
    assert heard.gaps == [("0.0", "silent")]
    assert heard.feed.summary().silent == 1
    assert heard.feed.summary().reconnects == 1
    assert heard.of(Gap) == []  # it had never spoken: nothing was lost with it
    assert b"pong" in b"".join(frame for _, frame, connection, _ in heard.frames if connection == "0.0")
    assert [connection for *_, connection, request in heard.frames if not request][-1] == "0.1"


def test_who_says_nothing_but_no_is_silent():
    async def refuse(socket):
        while True:
            await socket.send('{"success":false,"ret_msg":"Invalid symbol","op":"subscribe"}')
            await asyncio.sleep(0.05)

    exchange = Exchange(bybit(then=refuse), bybit(bybit_trade(1)), answers=BYBIT_REST)
    heard = listen(exchange, Bybit(), BYBIT, lambda h: h.of(Trade), FAST)
    assert heard.gaps[0] == ("0.0", "silent")


def pinging(venue, seconds: float, lifetime_hours: float | None = None):
    """The venue, impatient."""
    plans = venue.connections

    def connections(symbols):
        return [Connection(p.url, p.messages, p.ping, seconds, lifetime_hours) for p in plans(symbols)]

    venue.connections = connections
    return venue


def test_what_the_server_said_before_it_closed_is_kept_and_the_gap_is_told():
    async def close(socket):
        await socket.close(1012)

    said = [bybit_book(1, "snapshot"), *(bybit_trade(n) for n in range(200))]
    exchange = Exchange(
        bybit(*said, then=close), bybit(bybit_book(9, "snapshot"), bybit_trade(300)), answers=BYBIT_REST
    )
    heard = listen(exchange, Bybit(), BYBIT, lambda h: len(h.of(Trade)) == 201)
    assert heard.gaps == [("0.0", "closed 1012")]
    kinds = [type(event) for event in heard.events]
    assert kinds == [BookUpdate, *[Trade] * 200, Gap, BookUpdate, Trade]
    assert heard.of(Gap)[0].reason is Broken.DISCONNECTED
    assert [e.trade_id for e in heard.of(Trade)] == [*map(str, range(200)), "300"]
    assert len(exchange.subscribed) == 2
    assert {connection for *_, connection, _ in heard.frames} == {"0.0", "0.1", REST}
    lost = [(frame, connection) for _, frame, connection, request in heard.frames if request == LOST]
    assert lost == [(b'{"reason":"closed 1012"}', "0.0")]


def test_a_hole_in_a_book_of_a_venue_without_requests_for_it_is_mended_by_a_new_connection():
    broken = bybit(bybit_book(1, "snapshot"), bybit_book(3))
    whole = bybit(bybit_book(10, "snapshot"), bybit_book(11))
    heard = listen(Exchange(broken, whole, answers=BYBIT_REST), Bybit(), BYBIT, lambda h: len(h.of(BookUpdate)) == 3)
    assert [gap.reason for gap in heard.of(Gap)] == [Broken.MISSED_UPDATE, Broken.DISCONNECTED]
    assert heard.gaps == [("0.0", "no snapshot")]
    assert heard.feed.session.wants_snapshot == set()


def test_a_lost_connection_leaves_the_books_of_the_others_alone():
    symbols = [f"A{n}USDT" for n in range(51)]  # one more than a connection holds

    def book(symbol):
        return bybit_book(1, "snapshot").replace("BTCUSDT", symbol)

    async def play(exchange, socket):
        message = await socket.recv()
        exchange.subscribed.append(message)
        first = len(exchange.subscribed) <= 2
        await socket.send(book(symbols[0] if symbols[0] in message else symbols[50]))
        if first and symbols[50] in message:
            await asyncio.sleep(0.1)
            await socket.close(1001)
        await socket.wait_closed()

    async def main():
        exchange = Exchange(play, answers=BYBIT_REST)
        async with exchange.up(*BYBIT) as hosts:
            limits = PATIENT
            heard = Heard(Feed(Bybit(), symbols, hosts, limits))
            await heard.run(lambda: len(heard.of(BookUpdate)) == 3 and heard.feed.open == ["0.0", "1.1"])
            return heard, exchange

    heard, exchange = asyncio.run(main())
    assert heard.gaps == [("1.0", "closed 1001")]
    assert [gap.symbol for gap in heard.of(Gap)] == [symbols[50]]
    assert len(exchange.subscribed) == 3
    assert heard.feed.session.wants_snapshot == set()


def test_a_server_that_refuses_connections_is_asked_again_ever_more_slowly():
    async def main():
        async with Exchange(bybit(), answers=BYBIT_REST).up(*BYBIT) as hosts:
            pass  # nobody listens there any more
        heard = Heard(Feed(Bybit(), ["BTCUSDT"], hosts, PATIENT))
        await heard.run(lambda: heard.feed.traffic.failures >= 6)
        return heard

    heard = asyncio.run(main())
    assert heard.frames == []
    assert heard.gaps == []  # nothing was heard, so nothing was lost
    assert heard.feed.traffic.last_failure


def test_pauses_double_up_to_the_last_and_are_never_alike():
    feed = Feed(Bybit(), ["BTCUSDT"])
    for failures, most in [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (60, 30.0)]:
        pauses = {feed._pause(failures) for _ in range(20)}
        assert len(pauses) > 1
        assert most / 2 <= min(pauses) <= max(pauses) <= most


def test_the_next_connection_opens_beside_the_one_at_the_end_of_its_life():
    number = iter(range(10_000))

    async def marks(exchange, socket):
        while True:
            await socket.send(binance_mark(next(number)))
            await asyncio.sleep(0.02)

    exchange = Exchange(marks, answers={})
    venue = pinging(Binance(), 20.0, lifetime_hours=0.5 / 3600)
    heard = listen(exchange, venue, BINANCE, lambda h: {c for *_, c, _ in h.frames} >= {"0.2", "1.2"})
    assert heard.gaps == []
    assert heard.of(Gap) == []
    assert heard.feed.traffic.rotated >= 4
    assert heard.feed.traffic.reconnects == 0
    public = [connection for *_, connection, request in heard.frames if connection[0] == "0"]
    first, last = public.index("0.1"), len(public) - public[::-1].index("0.0")
    assert first < last  # both were heard for a while
    assert "0.0" not in public[public.index("0.2") :]  # and then the old one was let go


def test_okx_is_asked_by_text_ping_whether_it_lives():
    async def script(exchange, socket):
        exchange.subscribed.append(await socket.recv())
        async for message in socket:
            if message == "ping":
                await socket.send("pong")

    exchange = Exchange(script, answers={})
    venue = pinging(Okx(), 0.05)
    heard = listen(exchange, venue, OKX, lambda h: [f for _, f, *_ in h.frames].count(b"pong") >= 3)
    assert "liquidation-orders" in exchange.subscribed[0]
    assert heard.feed.session.counts.refused == 0
    assert heard.events == []


def test_a_frame_that_cannot_be_read_is_handed_on_and_counted_and_stops_nothing():
    refusal = '{"success":false,"ret_msg":"Invalid symbol","op":"subscribe"}'
    frames = ["<html>", '{"topic":"publicTrade.BTCUSDT","data":[{}]}', refusal, bybit_trade(1)]
    exchange = Exchange(bybit(*frames), answers=BYBIT_REST)
    heard = listen(exchange, Bybit(), BYBIT, lambda h: h.of(Trade))
    assert [f.decode() for _, f, connection, _ in heard.frames if connection == "0.0"] == [ACK, *frames]
    summary = heard.feed.summary()
    assert (summary.refused, summary.reconnects) == (3, 0)
    assert "Invalid symbol" in summary.last_refusal


def test_a_frame_that_is_no_text_is_refused_at_the_border():
    async def binary(socket):
        await socket.send(b"\xff\xfe")
        await socket.send(bybit_trade(1))
        await socket.wait_closed()

    heard = listen(Exchange(bybit(then=binary), answers=BYBIT_REST), Bybit(), BYBIT, lambda h: h.of(Trade))
    assert b"\xff\xfe" not in [frame for _, frame, *_ in heard.frames]
    assert heard.feed.session.counts.last_refusal == "bybit: a frame that is not UTF-8"


def test_times_rise_also_where_the_clock_steps_back(monkeypatch):
    feed = Feed(Bybit(), ["BTCUSDT"])
    clock = iter([100, 50, 50, 200])
    monkeypatch.setattr(live.time, "time_ns", lambda: next(clock))
    assert [feed._now_ns() for _ in range(4)] == [100, 101, 102, 200]


def test_what_a_callback_raises_ends_the_run():
    def full(*_):
        raise LakeError("no room")

    async def main():
        async with Exchange(bybit(bybit_trade(1)), answers=BYBIT_REST).up(*BYBIT) as hosts:
            async with asyncio.timeout(15):
                await Feed(Bybit(), ["BTCUSDT"], hosts, PATIENT).run(full)

    with pytest.raises(LakeError, match="no room"):
        asyncio.run(main())


# Requests


def test_binance_books_come_alive_by_a_snapshot_that_is_asked_for_once_updates_wait():
    async def depth(exchange, socket):
        if not socket.request.path.startswith("/public"):
            await socket.wait_closed()
        for update in [(1, 3, 0), (4, 6, 3), (7, 9, 6), (10, 12, 9)]:
            await socket.send(binance_depth(*update))
        while not exchange.asked["/fapi/v1/depth"]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        await socket.send(binance_depth(13, 15, 12, bid="99.5"))
        await socket.wait_closed()

    answers = {
        "/fapi/v1/depth": [(200, {}, binance_snapshot(8))],
        "/fapi/v1/openInterest": [(200, {}, dumps({"symbol": "BTCUSDT", "openInterest": "10.5", "time": T}))],
        "/fapi/v1/fundingRate": [(200, {}, dumps([{"symbol": "BTCUSDT", "fundingTime": T, "fundingRate": "0.0001"}]))],
    }
    exchange = Exchange(depth, answers=answers)
    limits = PATIENT
    done = lambda h: len(h.of(BookUpdate)) >= 4 and h.of(OpenInterest) and h.of(Funding)  # noqa: E731
    heard = listen(exchange, Binance(), BINANCE, done, limits)
    assert heard.feed.session.wants_snapshot == set()
    book = OrderBook("binance")
    assert [book.on_update(update) for update in heard.of(BookUpdate)] == [None] * 4
    assert book.best() == (99.5, 101.0)
    assert exchange.asked["/fapi/v1/depth"] == 1
    requests = [request for *_, request in heard.frames]
    assert "/fapi/v1/depth?symbol=BTCUSDT&limit=1000" in requests
    assert heard.of(Gap) == []


def test_each_hole_in_a_binance_book_is_mended():
    async def holes(exchange, socket):
        if not socket.request.path.startswith("/public"):
            await socket.wait_closed()
        for hole in range(1, 4):
            await socket.send(binance_depth(10 * hole, 10 * hole + 2, 10 * hole - 1))
            while exchange.asked["/fapi/v1/depth"] < hole:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        await socket.wait_closed()

    exchange = Exchange(holes, answers={"/fapi/v1/depth": [(200, {}, binance_snapshot(10 * n + 1)) for n in (1, 2, 3)]})
    heard = listen(exchange, Binance(), BINANCE, lambda h: len(h.of(BookUpdate)) == 6)
    assert [gap.reason for gap in heard.of(Gap)] == [Broken.MISSED_UPDATE] * 2
    assert heard.gaps == []


def test_a_request_that_is_turned_away_is_made_again_later():
    async def marks(exchange, socket):
        for second in range(1000):
            await socket.send(binance_mark(second))
            if second == 0 and socket.request.path.startswith("/public"):
                await socket.send(binance_depth(1, 3, 0))
            await asyncio.sleep(0.05)

    answers = {
        "/fapi/v1/depth": [
            (429, {"Retry-After": "0"}, dumps({"code": -1003, "msg": "Too many requests"})),
            (200, {}, "not json"),
            (302, {"Location": "http://127.0.0.1:9/"}, ""),
            (418, {}, ""),
            (200, {}, binance_snapshot(2)),
        ]
    }
    exchange = Exchange(marks, answers=answers)
    heard = listen(exchange, Binance(), BINANCE, lambda h: len(h.of(BookUpdate)) == 2)
    assert exchange.asked["/fapi/v1/depth"] == 5
    assert heard.feed.traffic.failures >= 3
    assert heard.gaps == []


def test_no_request_leaves_while_a_venue_wants_to_be_left_alone():
    async def main():
        answers = iter([(403, {}, "access too frequent"), (200, {}, "{}"), (429, {}, ""), (200, {}, "{}")])
        asked: list[float] = []

        def answer(_):
            asked.append(time.monotonic())
            return next(answers)

        with rest_server(answer) as port:
            requests = Requests(0.001, 2.0, 1000, 0.1, 0.3)
            url = f"http://127.0.0.1:{port}/x"
            with pytest.raises(RequestFailed, match="HTTP 403 access too frequent"):
                await requests.get(url)
            assert await requests.get(url) == b"{}"
            assert asked[1] - asked[0] >= 0.3
            with pytest.raises(RequestFailed, match="HTTP 429"):
                await requests.get(url)
            assert await requests.get(url) == b"{}"
            assert asked[3] - asked[2] >= 0.1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "headers", "body", "problem"),
    [
        (200, {}, b"x" * 2000, "more than 1000 bytes"),
        (301, {"Location": "http://127.0.0.1:1/elsewhere"}, b"", "HTTP 301"),
        (204, {}, b"", "HTTP 204"),
        (500, {}, b"\x1b[2Jred\nline", r"HTTP 500 \?\[2Jred line"),
    ],
)
def test_a_request_gives_a_body_of_bounded_size_or_a_reason(status, headers, body, problem):
    with rest_server(lambda _: (status, headers, body)) as port, pytest.raises(RequestFailed, match=problem):
        fetch(f"http://127.0.0.1:{port}/x", 2.0, 1000)


def test_an_answer_that_drips_is_given_up():
    release = threading.Event()

    def drip(_):
        release.wait(2)
        return 200, {}, b"late"

    with rest_server(drip) as port:

        async def main():
            with pytest.raises(RequestFailed):
                await Requests(0.001, 0.2, 1000, 0.1, 0.1).get(f"http://127.0.0.1:{port}/x")
            release.set()

        asyncio.run(main())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_nothing_but_the_web_is_asked(url):
    with pytest.raises(RequestFailed, match="not a scheme"):
        fetch(url, 1.0, 1000)


# Where to connect to


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ({"stream.bybit.com": "user:secret@127.0.0.1"}, "expected a host"),
        ({"stream.bybit.com": "127.0.0.1:99999"}, "expected a host"),
        ({"stream.bybit.com": "example.com/path"}, "expected a host"),
        ({"stream.bybit.com": ""}, "expected a host"),
        ({"stream.byb1t.com": "127.0.0.1"}, "'stream.byb1t.com' is not connected to"),
    ],
)
def test_hosts_that_cannot_be_are_refused_before_anything_is_opened(hosts, problem):
    with pytest.raises(ConfigError, match=problem):
        Feed(Bybit(), ["BTCUSDT"], hosts)


def test_only_this_machine_is_spoken_to_in_the_clear():
    feed = Feed(Bybit(), ["BTCUSDT"], {"stream.bybit.com": "stream-testnet.bybit.com"})
    assert feed._addresses.of("wss://stream.bybit.com/v5") == "wss://stream-testnet.bybit.com/v5"
    venue = Bybit()
    venue.connections = lambda symbols: [Connection(url="ws://stream.bybit.com/v5/public/linear")]
    with pytest.raises(ConfigError, match="expected wss or https"):
        Feed(venue, ["BTCUSDT"])


def test_a_contract_in_chinese_is_asked_for_as_a_url_can():
    feed = Feed(Binance(), ["币安人生USDT"])
    address = feed._addresses.of(Binance().connections(["币安人生USDT"])[0].url)
    start = "wss://fstream.binance.com/public/stream?streams="
    assert address.startswith(f"{start}%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@depth")


@pytest.mark.parametrize("symbols", [[], ["BTC/USDT"], ["BTCUSDT&limit=1"], ["../x"], ["A" * 65]])
def test_symbols_that_are_no_names_are_refused(symbols):
    with pytest.raises(ConfigError):
        Feed(Bybit(), symbols)


def test_limits_are_above_zero():
    with pytest.raises(ConfigError, match="silent_seconds"):
        Limits(silent_seconds=0.0)


# Recording, and events


def test_what_was_recorded_replays_to_the_events_that_were_seen(tmp_path):
    frames = [bybit_book(1, "snapshot"), bybit_book(2), "<html>", bybit_trade(1), bybit_book(4), bybit_trade(2)]
    raw = RawLog(tmp_path)

    async def main():
        async with Exchange(bybit(*frames), answers=BYBIT_REST).up(*BYBIT) as hosts:
            limits = replace(PATIENT, snapshot_seconds=9.0)
            heard = Heard(Feed(Bybit(), ["BTCUSDT"], hosts, limits))
            with raw.writer("bybit") as writer:
                running = asyncio.create_task(heard.feed.run(writer.append, heard.until, heard.events.extend))
                while heard.feed.traffic.frames < 8:
                    await asyncio.sleep(0.01)
                heard.until.set()
                await running
            return heard

    heard = asyncio.run(main())
    assert len(heard.events) == 5
    assert list(normalise(raw.read("bybit"), "bybit")) == heard.events
    assert all(not report.problem for report in raw.check())


def test_a_recording_with_a_lost_connection_replays_to_the_same_events(tmp_path):
    async def close(socket):
        await socket.close(1001)

    scripts = [
        bybit(bybit_book(1, "snapshot"), bybit_trade(1), then=close),
        bybit(bybit_trade(1), bybit_book(9, "snapshot"), bybit_trade(2)),
    ]
    raw, seen = RawLog(tmp_path), []

    async def main():
        exchange = Exchange(*scripts, answers=BYBIT_REST)
        async with exchange.up(*BYBIT) as hosts:
            feed, until = Feed(Bybit(), ["BTCUSDT"], hosts, PATIENT), asyncio.Event()
            with raw.writer("bybit") as writer:
                async with aclosing(feed.events(until, writer.append)) as events:
                    async for event in events:
                        seen.append(event)
                        if isinstance(event, Trade) and event.trade_id == "2":
                            until.set()

    asyncio.run(main())
    assert [type(event) for event in seen] == [BookUpdate, Trade, Gap, BookUpdate, Trade]
    assert replayed(raw, Bybit()) == seen
    without = list(normalise(raw.read("bybit"), "bybit"))  # a reader that does not know the mark misses gaps alone
    assert without in ([e for e in seen if not isinstance(e, Gap)], seen)


@pytest.mark.parametrize("venue", [Binance(), Bybit(), Okx()])
def test_the_mark_of_a_lost_connection_says_nothing_to_an_adapter(venue):
    assert venue.decode(b'{"reason":"closed 1006"}', 1, LOST) == []


def test_recording_ends_when_asked_with_segments_sealed_and_the_sum_told(tmp_path):
    async def close(socket):
        await socket.close(1001)

    async def main():
        scripts = [bybit(bybit_trade(1), then=close), bybit("<html>", bybit_trade(2))]
        async with Exchange(*scripts, answers=BYBIT_REST).up(*BYBIT) as hosts:
            seconds: list[Summary] = []
            return await record(
                Bybit(), ["BTCUSDT"], RawLog(tmp_path), 0.5, None, hosts, PATIENT, seconds.append
            ), seconds

    summary, seconds = asyncio.run(main())
    assert (summary.frames, summary.connections, summary.reconnects, summary.refused) == (6, 2, 1, 1)
    assert summary.lost == {"closed 1001": 1}
    assert summary.gaps == {"DISCONNECTED": 1}
    assert seconds[-1].frames == 6
    raw = RawLog(tmp_path)
    assert list(tmp_path.rglob("*.part")) == []
    assert len(list(raw.read("bybit"))) == 7  # and the mark of the loss
    assert all(not report.problem for report in raw.check())
    assert Counter(frame.connection for frame in raw.read("bybit")) == {"0.0": 3, "0.1": 3, REST: 1}


def test_a_recording_that_is_cancelled_is_sealed(tmp_path):
    async def main():
        async with Exchange(bybit(bybit_trade(1)), answers=BYBIT_REST).up(*BYBIT) as hosts:
            task = asyncio.create_task(record(Bybit(), ["BTCUSDT"], RawLog(tmp_path), None, None, hosts, PATIENT))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert list(tmp_path.rglob("*.part")) == []
    assert len(list(RawLog(tmp_path).read("bybit"))) == 3


def test_a_disk_in_trouble_is_endured_for_a_while_and_nothing_is_lost(monkeypatch, tmp_path):
    folder = tmp_path / "venue=bybit"
    folder.write_text("in the way")
    writer = RawLog(tmp_path).writer("bybit", block_bytes=1)
    store, clock = recorder._Store(writer), iter([0.0, 59.0, 100.0, 161.0])
    monkeypatch.setattr(recorder.time, "monotonic", lambda: next(clock))
    for number in range(3):
        store.append(number, b"{}", "0.0", "")
    store.flush([])
    store.flush([])
    folder.unlink()
    store.flush([])
    assert len(list(RawLog(tmp_path).read("bybit"))) == 3  # its connection has ended
    shutil.rmtree(folder)
    folder.write_text("in the way")
    store.append(4, b"{}", "0.1", "")
    store.flush([])
    with pytest.raises(LakeError, match="cannot be written"):
        store.flush([])


def test_who_stops_reading_events_ends_the_feed():
    async def main():
        async with Exchange(bybit(bybit_trade(1), bybit_trade(2)), answers=BYBIT_REST).up(*BYBIT) as hosts:
            feed = Feed(Bybit(), ["BTCUSDT"], hosts, PATIENT)
            async with aclosing(feed.events()) as events:
                async for event in events:
                    assert event.trade_id == "1"
                    break
            assert feed.open == []
            assert len(asyncio.all_tasks()) <= 4  # this one, and the server's

    asyncio.run(main())


def test_events_that_nobody_takes_are_an_error(monkeypatch):
    monkeypatch.setattr(live, "MOST_WAITING", 2)

    async def main():
        frames = [bybit_trade(n) for n in range(10)]
        async with (
            Exchange(bybit(*frames), answers=BYBIT_REST).up(*BYBIT) as hosts,
            aclosing(Feed(Bybit(), ["BTCUSDT"], hosts, PATIENT).events()) as events,
        ):
            async for _ in events:
                await asyncio.sleep(0.2)

    with pytest.raises(live.SqueezeError, match="taken too slowly"):
        asyncio.run(main())


# The verb


@contextmanager
def exchange_in_a_thread(exchange: Exchange, *names):
    """The exchange in a loop of its own, for a verb that has the main thread; gives the mapping of hosts."""
    ready, hosts = threading.Event(), {}

    async def main():
        async with exchange.up(*names) as found:
            hosts.update(found)
            stop.append((asyncio.get_running_loop(), end := asyncio.Event()))
            ready.set()
            await end.wait()

    stop: list = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait(5)
    try:
        yield hosts
    finally:
        loop, end = stop[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()


def arguments(*words):
    verb = argparse.ArgumentParser()
    RECORD.arguments(verb)
    verb.add_argument("--json", action="store_true")
    return verb.parse_args(words)


def test_the_verb_stops_at_ctrl_c_and_shows_what_it_recorded(tmp_path, capsys):
    async def interrupt(socket):
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        await socket.wait_closed()

    exchange = Exchange(bybit(bybit_trade(1), then=interrupt), answers=BYBIT_REST)
    with exchange_in_a_thread(exchange, *BYBIT) as hosts:
        pairs = [word for name, other in hosts.items() for word in ("--host", f"{name}={other}")]
        RECORD.run(arguments("bybit", "btcusdt", "--raw", str(tmp_path), "--json", *pairs))
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert (row["frames"], row["lost"], row["gaps"]) == (3, "0", "0")
    assert err == ""
    assert len(list(RawLog(tmp_path).read("bybit"))) == 3
    assert list(tmp_path.rglob("*.part")) == []


def test_the_verb_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(ConfigError, match=r"squeeze-predictor\[feeds\]"):
        RECORD.run(arguments("bybit", "BTCUSDT", "--raw", str(tmp_path)))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("mtgox", "BTCUSDT"), "no adapter"),
        (("bybit", "BTC/USDT"), "no name of a contract"),
        (("bybit", "BTCUSDT", "--host", "x"), "NAME=OTHER"),
        (("bybit", "BTCUSDT", "--seconds", "0"), "seconds"),
    ],
)
def test_the_verb_refuses_what_cannot_be(words, problem, tmp_path):
    with pytest.raises(ConfigError, match=problem):
        RECORD.run(arguments(*words, "--raw", str(tmp_path)))


def test_asking_for_help_imports_no_websockets():
    code = "import sys, squeeze.market.feeds.verbs; assert 'websockets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
