"""Where a feed may connect to, and requests to a venue: bounded in time and size, spaced, silent while it says to wait.

By the standard library, in threads: a feed asks a few times a minute.
"""

import asyncio
import http.client
import ipaddress
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from squeeze.errors import ConfigError, one_line

PLAIN = {"wss": "ws", "https": "http"}
"""What a scheme is on this machine."""
SAFE = "/=&!@,:%"
BANS = (403, 418)
"""Statuses after which a venue wants to be left alone for long: Bybit's and Binance's (domain.md §1.2, §1.4)."""


class RequestFailed(Exception):
    """A request without a body to show for it: no connection, too slow, too large, or a status that is not 200."""

    def __init__(self, problem: str, status: int = 0, wait_seconds: float = 0.0):
        super().__init__(problem)
        self.status = status
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Addresses:
    """The hosts that stand in for a venue's own: `{"stream.bybit.com": "stream-testnet.bybit.com"}`."""

    instead: Mapping[str, str]

    def check(self, urls: Iterable[str]) -> None:
        """`ConfigError` unless each host that is replaced is in use, and each address may be connected to."""
        used = set()
        for url in urls:
            self.of(url)
            used.add(urlsplit(url).hostname or "")
        if strange := sorted(set(self.instead) - used):
            raise ConfigError(f"hosts: {strange[0]!r} is not connected to; there are {', '.join(sorted(used))}")

    def of(self, url: str) -> str:
        """Where to connect to for a venue's URL: encrypted, and plain only on this machine.

        >>> Addresses({"stream.bybit.com": "127.0.0.1:8080"}).of("wss://stream.bybit.com/v5/public/linear")
        'ws://127.0.0.1:8080/v5/public/linear'
        """
        split = urlsplit(url)
        place = self.instead.get(split.hostname or "")
        if place is not None:
            split = self._moved(split, place)
        if split.scheme not in PLAIN and not (split.scheme in PLAIN.values() and is_loopback(split.hostname)):
            raise ConfigError(f"expected wss or https, or an address of this machine, got {urlunsplit(split)[:120]}")
        # There are contracts in Chinese, and a URL is ASCII.
        return urlunsplit(split._replace(path=quote(split.path, SAFE), query=quote(split.query, SAFE)))

    @staticmethod
    def _moved(split: SplitResult, place: str) -> SplitResult:
        try:
            there = urlsplit(f"//{place}")
            whole = there.hostname is not None and there.netloc == place and "@" not in place and there.port != 0
        except ValueError:  # a port that is no number
            whole = False
        if not whole:
            raise ConfigError(f"hosts: expected a host, or host:port, for {split.hostname}, got {place!r}")
        scheme = PLAIN.get(split.scheme, split.scheme) if is_loopback(there.hostname) else split.scheme
        return split._replace(scheme=scheme, netloc=place)


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("127.0.0.1.example.com")
    (True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Requests:
    """Requests to one venue, `every_seconds` apart at least.

    After a status 429 none is sent for as long as the answer says (`Retry-After`), or `first_seconds`, doubled each
    time; after 403 and 418, `ban_seconds` at least.
    """

    def __init__(
        self, every_seconds: float, timeout_seconds: float, most_bytes: int, first_seconds: float, ban_seconds: float
    ):
        self._every = every_seconds
        self._timeout = timeout_seconds
        self._most_bytes = most_bytes
        self._first = first_seconds
        self._ban = ban_seconds
        self._turn = asyncio.Lock()
        self._next_s = self._quiet_until_s = 0.0
        self._limited = 0

    async def get(self, url: str) -> bytes:
        """The body of a URL, once it is its turn; `RequestFailed` where there is none."""
        async with self._turn:
            while (left := max(self._next_s, self._quiet_until_s) - time.monotonic()) > 0:
                await asyncio.sleep(left)
            self._next_s = time.monotonic() + self._every
        try:
            # Looking up a name has no timeout of its own. Not `wait_for`, which in Python 3.11 swallows a cancel that
            # comes together with the answer: a feed that is to stop would poll on.
            async with asyncio.timeout(self._timeout):
                body = await asyncio.to_thread(fetch, url, self._timeout, self._most_bytes)
        except TimeoutError:
            raise RequestFailed(f"no answer within {self._timeout:g} s") from None
        except RequestFailed as failed:
            self._heed(failed)
            raise
        self._limited = 0
        return body

    def _heed(self, failed: RequestFailed) -> None:
        if failed.status == 429:
            wait_s = failed.wait_seconds or self._first * 2 ** min(self._limited, 10)
            self._limited += 1
        elif failed.status in BANS:
            wait_s = max(failed.wait_seconds, self._ban)
        else:
            return
        self._quiet_until_s = max(self._quiet_until_s, time.monotonic() + wait_s)


class _Stay(urllib.request.HTTPRedirectHandler):
    """No answer moves a request elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch(url: str, timeout_seconds: float, most_bytes: int) -> bytes:
    """The body of a URL, by http or https with the certificate verified; redirects are not followed.

    `RequestFailed` for any other status than 200, more than `most_bytes`, or no end of it in time.
    """
    host = urlsplit(url)
    if host.scheme not in ("http", "https"):
        raise RequestFailed(f"{host.scheme} is not a scheme to ask by")
    end_s = time.monotonic() + timeout_seconds
    direct = [urllib.request.ProxyHandler({})] if is_loopback(host.hostname) else []
    opener = urllib.request.build_opener(_Stay, *direct)
    headers = {"User-Agent": "squeeze-predictor", "Accept": "application/json"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was looked at
    body = bytearray()
    try:
        with opener.open(request, timeout=timeout_seconds) as response:
            if response.status != 200:
                raise RequestFailed(f"{host.path}: HTTP {response.status}", response.status)
            while piece := response.read1(1 << 16):
                body += piece
                if len(body) > most_bytes:
                    raise RequestFailed(f"{host.path}: more than {most_bytes} bytes")
                if time.monotonic() > end_s:
                    raise RequestFailed(f"{host.path}: no end of it within {timeout_seconds:g} s")
    except HTTPError as error:
        with error:
            said = plain(error.read(200))
        wait = _seconds(error.headers.get("Retry-After"))
        raise RequestFailed(f"{host.path}: HTTP {error.code} {said}".rstrip(), error.code, wait) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RequestFailed(f"{host.path}: {plain(str(error).encode()) or type(error).__name__}") from None
    return bytes(body)


def plain(said: bytes) -> str:
    """What another machine said, fit for a terminal: one line, at most 200 signs, none that steers."""
    text = one_line(said.decode(errors="replace"))
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:200]


def _seconds(header: str | None) -> float:
    return float(header) if header is not None and header.isascii() and header.isdecimal() else 0.0
