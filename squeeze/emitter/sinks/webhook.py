"""Messages as signed requests to a web server: `squeeze.emitter.signature` says how, and how to verify it.

    POST /hook
    Content-Type: application/json
    Idempotency-Key: 0f3a9c…          the message's event_id: the same for a copy
    X-Squeeze-Timestamp: 1795286400
    X-Squeeze-Signature: v1=6f0c…

A status of 2xx is delivered. 408, 425, 429, 5xx and no answer are tried again; any other status refuses the message.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from squeeze.emitter.letter import Letter
from squeeze.emitter.signature import sign
from squeeze.emitter.sinks.sink import Refused, SinkDown, SinkSpec, secret
from squeeze.market.feeds.rest import is_loopback, plain
from squeeze.strict import require

AGAIN = (408, 425, 429)
LEAST_SECRET_BYTES = 16
MOST_ANSWER_BYTES = 4096


class Webhook(SinkSpec, frozen=True, kw_only=True, tag="webhook"):
    """One POST for each message."""

    url: str
    """Where to: https, or http on this machine."""
    secret_env: str = "SQUEEZE_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
    """The environment variable that holds the secret to sign with, of 16 bytes at least."""
    timeout_seconds: float = 10.0
    """An answer must be whole by then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        url = urlsplit(self.url)
        is_fit = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))
        require(is_fit and bool(url.hostname), "url: https, or http on this machine")
        require(url.username is None, "url: no user and password in it; the signature says who sends")
        require(0 < self.timeout_seconds <= 300, "timeout_seconds: above zero, 300 at most")

    def make(self, outbox: Path) -> "WebhookSink":
        """The sink; `ConfigError` where the secret is not set."""
        key = secret(self.secret_env, f"sink {self.name}", LEAST_SECRET_BYTES)
        return WebhookSink(self.url, key.encode(), self.timeout_seconds)


class WebhookSink:
    """Keeps one connection open. Redirects are not followed: a signed message goes where the user said, or nowhere."""

    most = 1

    def __init__(self, url: str, key: bytes, timeout_seconds: float) -> None:
        split = urlsplit(url)
        self._place = split.path or "/"
        if split.query:
            self._place += f"?{split.query}"
        self._host, self._port, self._is_https = split.hostname or "", split.port, split.scheme == "https"
        self._key = key
        self._timeout = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None

    def send(self, letters: Sequence[Letter]) -> None:
        """Post each; `SinkDown` where there was no answer or a passing trouble, `Refused` for any other status."""
        for letter in letters:
            try:
                status, wait, said = self._answer(letter)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                raise SinkDown(f"no answer: {plain(str(error).encode()) or type(error).__name__}") from None
            if not 200 <= status < 300:
                self.close()
                problem = f"HTTP {status} {said}".rstrip()
                raise SinkDown(problem, wait) if status in AGAIN or status >= 500 else Refused(problem)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _answer(self, letter: Letter) -> tuple[int, float, str]:
        """What `_post` gives; a connection that the server closed while it was idle is opened again at once."""
        if self._connection is not None:
            with contextlib.suppress(ConnectionError):  # of which http.client's RemoteDisconnected is one
                return self._post(letter)
            self.close()
        return self._post(letter)

    def _post(self, letter: Letter) -> tuple[int, float, str]:
        """Status, how long it wants to be left alone, and the beginning of what it said."""
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "squeeze-predictor",
            "Idempotency-Key": letter.event_id,
            "X-Squeeze-Timestamp": str(timestamp),
            "X-Squeeze-Signature": sign(self._key, timestamp, letter.body),
        }
        connection = self._connection or self._connect()
        late = threading.Timer(self._timeout, _cut, (connection,))  # a timeout of the socket begins anew with each byte
        late.daemon = True
        late.start()
        try:
            connection.request("POST", self._place, letter.body, headers)
            answer = connection.getresponse()
            said = answer.read(MOST_ANSWER_BYTES + 1)
        finally:
            late.cancel()
        if len(said) > MOST_ANSWER_BYTES or answer.will_close:
            self.close()
        wait = answer.headers.get("Retry-After", "")
        return answer.status, float(wait) if wait.isascii() and wait.isdecimal() else 0.0, plain(said[:200])

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_https:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return self._connection


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection that takes too long; who waits for it gets an error."""
    if isinstance(connection.sock, socket.socket):
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
