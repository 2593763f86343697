"""Messages to send, and receivers that keep what came: what the tests of outbox and sinks share."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from squeeze.emitter.letter import Letter, now_us
from squeeze.emitter.sinks.sink import SinkSpec
from squeeze.signals.message import (
    AbstainMessage,
    AlertMessage,
    EntryMessage,
    ExitMessage,
    HeartbeatMessage,
    MarketFacts,
    Message,
    OrderAdvice,
    Quality,
    Trail,
)

SECRET = "sixteen bytes and a few"  # noqa: S105
MINUTE_US = 60_000_000


def common(seq: int, stream: str = "SIMUSDT", valid_seconds: float = 300.0) -> dict:
    """The fields that all messages have."""
    now = now_us()
    return {
        "producer": "squeeze 0.1.0",
        "model_version": "m" * 64,
        "map_version": "a" * 16,
        "config_hash": "c" * 16,
        "event_id": hashlib.sha256(f"{stream} {seq}".encode()).hexdigest()[:16],
        "stream": stream,
        "stream_seq": seq,
        "symbol": stream,
        "ts_data_us": now,
        "valid_until_us": now + round(valid_seconds * 1e6),
        "mark": "4.2",
    }


def abstain(seq: int, stream: str = "SIMUSDT", **fields) -> AbstainMessage:
    return AbstainMessage(**{**common(seq, stream), "reasons": ("gap",), **fields})


def abstains(count: int, first: int = 0, stream: str = "SIMUSDT") -> list[Message]:
    return [abstain(seq, stream) for seq in range(first, first + count)]


def alert(seq: int) -> AlertMessage:
    return AlertMessage(**common(seq), rule="near", text="a cluster of 3.1 million USD at 4.1", facts={"usd": 3.1e6})


def heartbeat(seq: int, stream: str = "SIMUSDT", valid_seconds: float = 10.0) -> HeartbeatMessage:
    return HeartbeatMessage(
        **common(seq, stream, valid_seconds) | {"event_id": "b" * 16}, health=(), states={"long": "idle"}, waiting=0
    )


def entry(seq: int, valid_seconds: float = 60.0) -> EntryMessage:
    advice = OrderAdvice(
        side="sell", entry_type="limit", entry_low="4.19", entry_high="4.21", stop="4.3", targets=("4.1", "4"),
        trail=Trail(activates="4.1", distance="0.02"), risk_percent=0.5, quantity="120", notional_usd=504.0,
        max_leverage=5.0, own_liquidation="5.1",
    )  # fmt: skip
    return EntryMessage(**common(seq, valid_seconds=valid_seconds) | signal("entry", "aftermath"), order_advice=advice)


def exit_(seq: int) -> ExitMessage:
    return ExitMessage(**common(seq) | signal("done", "managed"), reasons=("the stop was hit",))


def signal(state: str, before: str) -> dict:
    return {
        "signal_id": "5" * 16, "seq": 3, "side": "long", "direction": "down", "state": state, "prev_state": before,
        "reason_codes": ("calm",), "mode": "continuation", "probs": None, "base_rate": 0.01, "calibration_id": "d" * 16,
        "zone": None, "quality": Quality(score=1.0, flags=(), venue_age_ms={}),
        "market": MarketFacts(
            mark="4.2", mid="4.2", spread_bp=1.0, volatility_1h_rank=None, velocity_sigma=None, eta_seconds=None,
            open_interest_change_1h=None, funding_8h=None,
        ),
    }  # fmt: skip


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until a thing holds; an `AssertionError` where it never does."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came to hold"
        time.sleep(0.002)


class Kept:
    """A sink in memory. `trouble`, called with the letters before they are kept, may raise or wait."""

    most = 100

    def __init__(self, trouble: Callable[[list[Letter]], object] = lambda letters: None) -> None:
        self.letters: list[Letter] = []
        self.batches: list[int] = []
        self.is_closed = False
        self._trouble = trouble

    def send(self, letters) -> None:
        self.batches.append(len(letters))
        self._trouble(list(letters))
        self.letters += letters

    def close(self) -> None:
        self.is_closed = True

    @property
    def numbers(self) -> list[int]:
        return [letter.stream_seq for letter in self.letters]


class InMemory(SinkSpec, frozen=True, kw_only=True, tag="memory"):
    """Settings of a sink that is there already."""

    sink: Any = None

    def make(self, outbox):
        return self.sink


class Receiver:
    """What a web server got, and what it is to answer."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        """What the next answers are; 200 once they are used up."""
        self.headers: dict[str, str] = {}
        self.connections = 0
        self.closes_after_each = False
        self.url = ""


@contextmanager
def web_server() -> Iterator[Receiver]:
    """A web server on this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            receiver.connections += 1

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) < int(self.headers["Content-Length"]):
                self.close_connection = True  # the sender was killed between headers and body: no request at all
                return
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            receiver.requests.append((dict(self.headers), body))
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            self.close_connection = receiver.closes_after_each

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass  # a sender that was killed

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
