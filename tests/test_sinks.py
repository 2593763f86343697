"""Sinks that need no server of somebody else's: lines of files, webhooks, the WebSocket server, chat."""

import asyncio
import json
import resource
import socket
import threading
from contextlib import asynccontextmanager

import pytest
from emitting import SECRET, abstain, abstains, alert, entry, eventually, exit_, heartbeat, web_server
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from squeeze.emitter.emitter import Emitter
from squeeze.emitter.letter import seal
from squeeze.emitter.outbox import DAY_US, Outbox
from squeeze.emitter.signature import sign, verify
from squeeze.emitter.sinks.chat import Chat
from squeeze.emitter.sinks.jsonl import JsonLines, JsonLinesSink
from squeeze.emitter.sinks.sink import Refused, SinkDown
from squeeze.emitter.sinks.webhook import Webhook
from squeeze.emitter.sinks.websocket import WebSocketServer
from squeeze.emitter.text import title_and_text
from squeeze.errors import ConfigError

NOON_US = 1_795_262_400_000_000  # 2026-11-21 12:00 UTC


def letters(*messages, at=NOON_US):
    return [seal(message, at) for message in messages]


# Lines of files


def lines(folder):
    return {path.name: path.read_bytes().splitlines() for path in sorted(folder.iterdir())}


def test_each_day_has_its_file_and_each_message_its_line(tmp_path):
    sink = JsonLines(name="a", folder=str(tmp_path / "out")).make(tmp_path / "o.sqlite")
    day, next_day = letters(*abstains(2)), letters(abstain(2), at=NOON_US + DAY_US // 2)
    sink.send(day + next_day)
    sink.close()
    assert lines(tmp_path / "out") == {
        "signals-2026-11-21.jsonl": [x.body for x in day],
        "signals-2026-11-22.jsonl": [x.body for x in next_day],
    }


@given(st.integers(0, 3), st.binary(max_size=70_000).map(lambda b: b.replace(b"\n", b" ")))
@settings(deadline=None, max_examples=30)
def test_a_line_torn_by_the_end_of_the_machine_is_cut_off_before_the_next(tmp_path_factory, whole, torn):
    folder = tmp_path_factory.mktemp("lines")
    path = folder / "signals-2026-11-21.jsonl"
    before = letters(*abstains(whole))
    path.write_bytes(b"".join(x.body + b"\n" for x in before) + torn)
    sink = JsonLinesSink(folder, "signals")
    sink.send(letters(abstain(whole)))
    sink.close()
    assert [json.loads(line)["stream_seq"] for line in path.read_bytes().splitlines()] == list(range(whole + 1))


def test_a_disk_that_fills_up_in_the_middle_of_a_line_leaves_no_part_of_it(tmp_path):
    sink = JsonLinesSink(tmp_path, "signals")
    first, second = letters(abstain(0), abstain(1))
    sink.send([first])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(first.body) + 30, before[1]))
    try:
        with pytest.raises(OSError, match="is the disk full"):
            sink.send([second])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert lines(tmp_path) == {"signals-2026-11-21.jsonl": [first.body]}
    sink.send([second])
    assert lines(tmp_path) == {"signals-2026-11-21.jsonl": [first.body, second.body]}
    sink.close()


# Webhooks


@pytest.fixture
def hook(monkeypatch, tmp_path):
    monkeypatch.setenv("SQUEEZE_WEBHOOK_SECRET", SECRET)
    with web_server() as receiver:
        sink = Webhook(name="a", url=receiver.url + "?bot=1", timeout_seconds=2.0).make(tmp_path / "o.sqlite")
        yield sink, receiver
        sink.close()


def test_a_request_bears_the_bytes_the_key_and_a_signature_that_verifies(hook):
    sink, receiver = hook
    sent = letters(*abstains(3))
    for letter in sent:
        sink.send([letter])
    assert [body for _, body in receiver.requests] == [x.body for x in sent]
    assert receiver.connections == 1  # which is kept open
    for (headers, body), letter in zip(receiver.requests, sent, strict=True):
        stamp, signature = headers["X-Squeeze-Timestamp"], headers["X-Squeeze-Signature"]
        assert headers["Idempotency-Key"] == letter.event_id
        assert verify(SECRET.encode(), stamp, signature, body)
        assert not verify(b"another secret entirely", stamp, signature, body)


def test_a_connection_that_was_closed_meanwhile_is_opened_again_at_once(hook):
    sink, receiver = hook
    receiver.closes_after_each = True
    for letter in letters(*abstains(3)):
        sink.send([letter])
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_passing_trouble_is_down_for_as_long_as_it_says(hook, status):
    sink, receiver = hook
    receiver.statuses, receiver.headers = [status], {"Retry-After": "7"}
    with pytest.raises(SinkDown, match=f"HTTP {status} ok") as down:
        sink.send(letters(abstain(0)))
    assert down.value.wait_seconds == 7.0


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 422])
def test_any_other_status_refuses_and_no_redirect_is_followed(hook, status):
    sink, receiver = hook
    receiver.statuses, receiver.headers = [status], {"Location": receiver.url}
    with pytest.raises(Refused, match=f"HTTP {status}"):
        sink.send(letters(abstain(0)))
    assert len(receiver.requests) == 1


def test_who_refuses_connections_is_down(monkeypatch, tmp_path):
    monkeypatch.setenv("SQUEEZE_WEBHOOK_SECRET", SECRET)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        sink = Webhook(name="a", url=f"http://127.0.0.1:{taken.getsockname()[1]}").make(tmp_path / "o")
        with pytest.raises(SinkDown, match=r"no answer: .*refused"):
            sink.send(letters(abstain(0)))


def test_an_answer_that_drips_for_ever_is_cut_off(monkeypatch, tmp_path):
    """A byte before each timeout of the socket: only a limit on the whole ends it."""
    monkeypatch.setenv("SQUEEZE_WEBHOOK_SECRET", SECRET)
    ends = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            peer, _ = server.accept()
            with peer:
                try:
                    while not ends.wait(0.02):
                        peer.sendall(b"H")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        sink = Webhook(name="a", url=place, timeout_seconds=0.2).make(tmp_path / "o")
        with pytest.raises(SinkDown, match="no answer"):
            sink.send(letters(abstain(0)))
        ends.set()
        thread.join()


@given(st.binary(max_size=50), st.integers(0, 10**10), st.binary(min_size=16, max_size=30))
def test_a_signature_holds_for_its_body_time_and_secret_alone(body, stamp, key):
    signature = sign(key, stamp, body)
    assert verify(key, str(stamp), signature, body, now_s=stamp + 300.0)
    assert not verify(key, str(stamp), signature, body, now_s=stamp + 300.1)
    assert not verify(key, str(stamp), signature, body, now_s=stamp - 300.1)
    assert not verify(key, str(stamp), signature, body + b" ", now_s=float(stamp))
    assert not verify(key, str(stamp + 1), signature, body, now_s=float(stamp))
    assert not verify(key + b"x", str(stamp), signature, body, now_s=float(stamp))
    assert not verify(key, str(stamp), signature.removeprefix("v1="), body, now_s=float(stamp))


@pytest.mark.parametrize("stamp", ["", "-5", "1e9", " 1", "\u0661", "9" * 30])
def test_a_time_that_is_none_verifies_nothing(stamp):
    assert not verify(b"k" * 16, stamp, "v1=" + "0" * 64, b"")


def test_the_signature_is_what_any_other_language_computes():
    """HMAC-SHA256 from its definition in RFC 2104, with hashlib alone."""
    from hashlib import sha256

    key, text = b"k" * 20, b'1795262400.{"a":1}'
    inner = sha256(bytes(b ^ 0x36 for b in key.ljust(64, b"\0")) + text).digest()
    outer = sha256(bytes(b ^ 0x5C for b in key.ljust(64, b"\0")) + inner).hexdigest()
    assert sign(key, 1795262400, b'{"a":1}') == f"v1={outer}"


# The WebSocket server


class Server:
    """A WebSocket sink on an outbox with a few messages."""

    def __init__(self, path, **settings):
        self.path = path
        self.spec = WebSocketServer(name="socket", port=0, **settings)
        self.emitter = Emitter(path, [self.spec])
        self.sink = self.emitter._delivery.couriers[0].sink
        self.url = f"ws://127.0.0.1:{self.sink.port}/"

    def client(self, query="", **settings):
        return connect(self.url + query, proxy=None, open_timeout=10, **settings)


@asynccontextmanager
async def serving(path, **settings):
    server = await asyncio.to_thread(lambda: Server(path, **settings))
    try:
        yield server
    finally:
        await asyncio.to_thread(server.emitter.close)


async def numbers(client, count):
    async with asyncio.timeout(20):
        return [json.loads(await client.recv())["stream_seq"] for _ in range(count)]


def test_a_client_hears_what_is_said_from_then_on_or_from_the_number_it_asks_for(tmp_path):
    async def go():
        async with serving(tmp_path / "o.sqlite") as server:
            server.emitter.emit(abstains(10) + abstains(3, stream="OTHER"), {})
            await asyncio.to_thread(eventually, lambda: not server.emitter.waiting)
            async with (
                server.client() as new,
                server.client("?stream=SIMUSDT&from=7") as late,
                server.client("?stream=SIMUSDT&from=99") as ahead,
                server.client("?stream=OTHER") as other,
            ):
                assert await numbers(late, 3) == [7, 8, 9]
                await asyncio.to_thread(eventually, lambda: len(server.sink._clients) == 4)
                server.emitter.emit([abstain(10), abstain(3, "OTHER"), abstain(11)], {})
                server.emitter.beat(heartbeat(11))
                assert await numbers(late, 3) == [10, 11, 11]
                assert await numbers(new, 4) == [10, 3, 11, 11]
                assert await numbers(ahead, 2) == [10, 11]
                assert await numbers(other, 1) == [3]

    asyncio.run(go())


def test_an_entry_whose_time_is_over_is_not_told_again(tmp_path):
    async def go():
        async with serving(tmp_path / "o.sqlite") as server:
            server.emitter.emit([abstain(0), entry(1, valid_seconds=-1.0), exit_(2)], {})
            await asyncio.to_thread(eventually, lambda: not server.emitter.waiting)
            async with server.client("?stream=SIMUSDT&from=0") as client:
                assert await numbers(client, 2) == [0, 2]

    asyncio.run(go())


def test_a_client_that_takes_nothing_is_let_go_and_the_others_hear_all(tmp_path):
    async def go():
        async with serving(tmp_path / "o.sqlite", patience_seconds=2.0) as server:
            long = "x" * 200_000
            messages = [abstain(seq, reasons=(long,)) for seq in range(100)]  # 20 MB: more than sockets hold
            stalled = server.client("?stream=SIMUSDT&from=0", max_queue=1, max_size=None, ping_interval=None)
            async with server.client(max_size=None) as well, stalled as slow:
                await asyncio.to_thread(eventually, lambda: len(server.sink._clients) == 2)
                server.emitter.emit(messages, {})
                assert await numbers(well, 100) == list(range(100))
                await asyncio.to_thread(eventually, lambda: len(server.sink._clients) == 1)
                with pytest.raises(ConnectionClosed) as gone:
                    await numbers(slow, 200)
                assert gone.value.rcvd is None or gone.value.rcvd.code == 4008

    asyncio.run(go())


def test_a_client_that_falls_far_behind_is_told_so(tmp_path):
    async def go():
        async with serving(tmp_path / "o.sqlite", most_behind=20) as server, server.client() as client:
            await asyncio.to_thread(eventually, lambda: any(c.is_up_to_date for c in server.sink._clients))
            server.emitter.emit(abstains(500), {})
            with pytest.raises(ConnectionClosed) as gone:
                await numbers(client, 500)
            assert (gone.value.rcvd.code, gone.value.rcvd.reason[:8]) == (4008, "too slow")

    asyncio.run(go())


@pytest.mark.parametrize("query", ["?from=1", "?stream=A&from=x", "?stream=A&from=-1", "?since=3", "?stream=A&from="])
def test_a_request_that_is_no_such_is_closed_with_a_reason(tmp_path, query):
    async def go():
        async with serving(tmp_path / "o.sqlite") as server, server.client(query) as client:
            with pytest.raises(ConnectionClosed) as gone:
                await client.recv()
            assert gone.value.rcvd.code == 4000
            assert gone.value.rcvd.reason

    asyncio.run(go())


def test_more_clients_than_it_may_have_are_turned_away(tmp_path):
    async def go():
        async with serving(tmp_path / "o.sqlite", most_clients=1) as server, server.client():
            await asyncio.to_thread(eventually, lambda: server.sink._clients)
            async with server.client() as second:
                with pytest.raises(ConnectionClosed) as gone:
                    await second.recv()
                assert gone.value.rcvd.code == 1013

    asyncio.run(go())


def test_neither_a_web_page_nor_who_lacks_the_token_may_listen(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "a token of sixteen bytes")

    async def go():
        async with serving(tmp_path / "o.sqlite", token_env="TOKEN") as server:  # noqa: S106 - its name
            bearer = {"Authorization": "Bearer a token of sixteen bytes"}
            for headers, status in (
                ({}, 401),
                ({"Authorization": "Bearer no"}, 401),
                (bearer | {"Origin": "http://x"}, 403),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    async with server.client(additional_headers=headers):
                        pass
                assert refused.value.response.status_code == status
            async with server.client(additional_headers=bearer) as client:
                await asyncio.to_thread(eventually, lambda: server.sink._clients)
                server.emitter.emit([abstain(0)], {})
                assert await numbers(client, 1) == [0]

    asyncio.run(go())


def test_a_port_that_is_taken_is_an_error_before_anything_begins(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = WebSocketServer(name="socket", port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"sink socket: 127\.0\.0\.1:.*in use"):
            Emitter(tmp_path / "o.sqlite", [spec])
    Outbox(tmp_path / "o.sqlite").close()


# Chat

# apprise imports a module of the standard library that Python 3.13 has no more.
apprise_loads = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def rooms(monkeypatch, tmp_path):
    """Two web servers that apprise posts to, and the sink."""
    pytest.importorskip("apprise")
    with web_server() as one, web_server() as two:
        places = " ".join(room.url.replace("http://", "json://") for room in (one, two))
        monkeypatch.setenv("SQUEEZE_CHAT_URLS", places)
        yield Chat(name="people").make(tmp_path / "o.sqlite"), one, two


@apprise_loads
def test_people_get_what_to_do_until_when_and_why(rooms):
    sink, one, two = rooms
    sink.send(letters(entry(0)))
    sink.send(letters(exit_(1)))
    sink.send(letters(alert(2)))
    for room in (one, two):
        said = [json.loads(body) for _, body in room.requests]
        assert [x["title"] for x in said] == [
            "SIMUSDT entry: long squeeze, the price falls",
            "SIMUSDT exit: long squeeze, the price falls",
            "SIMUSDT alert: near",
        ]
        first = said[0]["message"].splitlines()[0]
        assert first.startswith("sell 120 at 4.19 to 4.21 (limit), stop 4.3, targets 4.1, 4, risk 0.5 %, not after 20")
        assert said[1]["message"].startswith("the stop was hit\nmark 4.2, known at 20")
        assert said[2]["message"].startswith("a cluster of 3.1 million USD at 4.1\n")


@apprise_loads
def test_a_place_that_was_told_is_not_told_again_while_another_is_tried_again(rooms):
    sink, one, two = rooms
    two.statuses = [500]
    with pytest.raises(SinkDown, match="place 2 of 2 was not reached"):
        sink.send(letters(entry(0)))
    sink.send(letters(entry(0)))
    assert (len(one.requests), len(two.requests)) == (1, 2)
    sink.send(letters(exit_(1)))
    assert (len(one.requests), len(two.requests)) == (2, 3)


@apprise_loads
def test_a_place_that_apprise_does_not_know_is_an_error_that_does_not_tell_it(monkeypatch, tmp_path):
    pytest.importorskip("apprise")
    monkeypatch.setenv("SQUEEZE_CHAT_URLS", "json://127.0.0.1 nosuch://token-of-mine")
    with pytest.raises(ConfigError, match="URL 2 in SQUEEZE_CHAT_URLS is none that apprise knows") as refused:
        Chat(name="people").make(tmp_path / "o.sqlite")
    assert "token-of-mine" not in str(refused.value)


def test_every_message_has_words():
    assert title_and_text(abstain(0))[0] == "SIMUSDT abstain"
    assert title_and_text(heartbeat(0))[1].startswith("mark 4.2, known at ")
    assert "mark" not in title_and_text(abstain(0, mark=None))[1]
