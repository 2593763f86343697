"""Messages to whoever connects: a WebSocket server on this machine.

    ws://127.0.0.1:8765/                              what is said from now on
    ws://127.0.0.1:8765/?stream=BTCUSDT               of one stream
    ws://127.0.0.1:8765/?stream=BTCUSDT&from=41       and before that, from that number on, what the outbox still has

Each client reads the outbox at its own pace, so that nothing waits in memory. It is let go with a code and a reason:
4000 for a request that is no such, 4008 where it is too slow (come again, and ask from the last number), 1013 where
there are too many. An entry whose time is over is left out, which leaves a hole in `stream_seq`.
"""

import asyncio
import contextlib
import hmac
import sqlite3
import threading
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from squeeze.emitter.letter import Letter, now_us
from squeeze.emitter.outbox import after, before, reading
from squeeze.emitter.sinks.sink import SinkSpec, extra, secret
from squeeze.errors import ConfigError
from squeeze.market.feeds.rest import is_loopback
from squeeze.strict import require

BAD_REQUEST, TOO_SLOW, TOO_MANY = 4000, 4008, 1013
PAGE = 200
START_SECONDS = 10.0


class WebSocketServer(SinkSpec, frozen=True, kw_only=True, tag="websocket"):
    """A server that clients connect to; with none connected messages count as delivered."""

    host: str = "127.0.0.1"
    """The address to listen on; any but this machine's own needs a token, and `in_the_clear`."""
    port: int = 8765
    """0 for one that is free."""
    token_env: str | None = None
    """The environment variable with the token that clients must send, as `Authorization: Bearer TOKEN`."""
    in_the_clear: bool = False
    """Allow other machines, though nothing is encrypted: in a network you trust, or behind a proxy that encrypts."""
    origins: tuple[str, ...] = ()
    """Web pages that may connect, as https://bot.example; by default none may, only programs."""
    most_clients: int = 32
    most_behind: int = 1000
    """A client that was up to date and then falls so many messages behind is too slow."""
    patience_seconds: float = 10.0
    """So is one that takes nothing for so long."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.port < 65_536, "port: 0 to 65535")
        is_kept_in = is_loopback(self.host) or (self.token_env is not None and self.in_the_clear)
        require(is_kept_in, "host: other machines than this one need token_env, and in_the_clear: true")
        require(self.most_clients > 0 and self.most_behind > 0, "most_clients, most_behind: above zero")
        require(0 < self.patience_seconds <= 300, "patience_seconds: above zero, 300 at most")

    def make(self, outbox: Path) -> "WebSocketSink":
        """The server, which listens; `ConfigError` where websockets or the token is absent, or the port is taken."""
        server = extra("websockets.asyncio.server", f"sink {self.name}")
        token = None if self.token_env is None else secret(self.token_env, f"sink {self.name}", 16)
        return WebSocketSink(server, self, token, outbox)


class _Client:
    """Where one client is in the outbox."""

    def __init__(self, position: int, stream: str | None) -> None:
        self.position = position
        self.stream = stream
        self.is_up_to_date = False
        self.more = asyncio.Event()
        self.beats: dict[str, Letter] = {}

    def wants(self, letter: Letter, types: Sequence[str]) -> bool:
        return letter.type in types and self.stream in (None, letter.stream) and not letter.expired(now_us())


class WebSocketSink:
    """The server's thread; `send` tells it that there is more, and waits for no client."""

    most = 500

    def __init__(self, server: Any, spec: WebSocketServer, token: str | None, outbox: Path) -> None:
        self.port = 0
        self._gone = extra("websockets.exceptions", f"sink {spec.name}").ConnectionClosed
        self._server, self._spec, self._token, self._outbox = server, spec, token, outbox
        self._clients: set[_Client] = set()
        self._head = 0
        self._loop = asyncio.new_event_loop()
        self._ends = asyncio.Event()
        self._problem = ""
        listens = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listens,), name=f"{spec.name} server", daemon=True)
        self._thread.start()
        if not listens.wait(START_SECONDS) or self._problem:
            raise ConfigError(f"sink {spec.name}: {self._problem or 'does not come up'}")

    def send(self, letters: Sequence[Letter]) -> None:
        """Let the clients have these."""
        self._loop.call_soon_threadsafe(self._tell, list(letters))

    def close(self) -> None:
        """Let all clients go, and stop listening."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(START_SECONDS)

    def _run(self, listens: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve(listens))
            except OSError as error:
                self._problem = f"{self._spec.host}:{self._spec.port}: {error.strerror or error}"
            finally:
                listens.set()

    async def _serve(self, listens: threading.Event) -> None:
        spec = self._spec
        with contextlib.closing(reading(self._outbox)) as db:
            self._head = before(db, None, None)
            async with self._server.serve(
                lambda socket: self._attend(socket, db), spec.host, spec.port, process_request=self._admit,
                origins=[None, *spec.origins], compression=None, max_size=1024, close_timeout=1.0,
            ) as server:  # fmt: skip
                self.port = server.sockets[0].getsockname()[1]
                listens.set()
                await self._ends.wait()

    def _admit(self, connection: Any, request: Any) -> Any:
        """None to let a client in, or the answer that turns it away."""
        if self._token is None:
            return None
        said = request.headers.get("Authorization", "")
        if hmac.compare_digest(said.encode(), f"Bearer {self._token}".encode()):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN\n")

    def _tell(self, letters: list[Letter]) -> None:
        self._head = max(self._head, *(x.position for x in letters))
        for client in self._clients:
            client.beats |= {x.stream: x for x in letters if x.position == 0}
            client.more.set()

    async def _attend(self, socket: Any, db: sqlite3.Connection) -> None:
        """One client, from its request to its end."""
        if len(self._clients) >= self._spec.most_clients:
            await socket.close(TOO_MANY, "too many clients")
            return
        try:
            client = self._client(socket.request.path, db)
        except ValueError as error:
            await socket.close(BAD_REQUEST, str(error))
            return
        self._clients.add(client)
        talking = asyncio.create_task(self._talk(socket, client, db))
        try:
            with contextlib.suppress(self._gone):
                while True:
                    await socket.recv()  # what a client says is not listened to; this ends when it leaves
        finally:
            self._clients.discard(client)
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    def _client(self, path: str, db: sqlite3.Connection) -> _Client:
        asked = parse_qs(urlsplit(path).query, keep_blank_values=True)
        if strange := sorted(set(asked) - {"stream", "from"}):
            raise ValueError(f"no such parameter: {strange[0][:32]}; there are stream and from")
        stream, start = (asked.get(name, [None])[-1] for name in ("stream", "from"))
        if start is None:
            return _Client(self._head, stream)
        if stream is None or not (start.isascii() and start.isdecimal() and len(start) <= 15):
            raise ValueError("from: a number, and stream beside it")
        return _Client(before(db, stream, int(start)), stream)

    async def _talk(self, socket: Any, client: _Client, db: sqlite3.Connection) -> None:
        """Send what there is, then wait for more, until the client is too slow."""
        spec = self._spec
        try:
            while True:
                client.more.clear()
                letters = after(db, client.position, PAGE)
                behind = self._head - client.position
                if client.is_up_to_date and behind > spec.most_behind:
                    raise TimeoutError
                beats, client.beats = ([], client.beats) if letters else (list(client.beats.values()), {})
                for letter in [*letters, *beats]:
                    if client.wants(letter, spec.types):
                        async with asyncio.timeout(spec.patience_seconds):
                            await socket.send(letter.body, text=True)
                    client.position = max(client.position, letter.position)
                if not letters:
                    client.is_up_to_date = True
                    await client.more.wait()
        except TimeoutError:
            await socket.close(TOO_SLOW, "too slow: come again, and ask from the last number")
        except self._gone:
            pass
