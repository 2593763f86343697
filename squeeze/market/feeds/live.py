"""One venue, live: connections that are kept open, requests that are repeated, books that get their snapshots.

    connections ─► _live ─┐                        ┌─► on_frame: every frame as it came, with its receive time
    polls ─► _poll ───────┼─► _take ─► Session ────┤
    snapshots ─► _mend ───┘                        └─► on_events: what is new in it

A connection that is lost is part of the record too: a frame with the request `LOST` stands where the session was told,
so that the same frames give the same events again. Without it a replay would not know when books were forgotten.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from squeeze.errors import ConfigError, FrameError, SqueezeError
from squeeze.market.events import NAME, AnyEvent, BookUpdate
from squeeze.market.feeds.link import ROTATED, SILENT, Link
from squeeze.market.feeds.rest import Addresses, RequestFailed, Requests, is_loopback, plain
from squeeze.market.feeds.values import Limits, Summary, Traffic
from squeeze.market.raw_segment import LOST
from squeeze.market.session import Session
from squeeze.market.venues import Venue
from squeeze.market.venues.wire import Connection

REST = "rest"
"""The connection of answers to requests."""

CLOSE_SECONDS = 2.0
CHANCE = random.SystemRandom()
MOST_WAITING = 100_000
"""Frames whose events may wait for who reads them: minutes of a busy venue."""

OnFrame = Callable[[int, bytes, str, str], None]
"""Takes receive time, frame, connection and request, as `RawWriter.append` does."""

OnEvents = Callable[[list[AnyEvent]], None]
OnGap = Callable[[str, str], None]
"""Takes the name of a connection and why it was lost."""


class Feed:
    """A venue's connections for some symbols; run it once.

    `hosts` sends it elsewhere: to a testnet, or to a server on this machine, to which alone it connects in the clear.
    There are no credentials: all that is read is public. `ConfigError` for symbols or hosts that cannot be.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        hosts: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.venue = venue
        self.symbols = list(dict.fromkeys(symbols))
        self.limits = limits or Limits()
        self.session = Session(venue)
        self.traffic = Traffic()
        if not self.symbols:
            raise ConfigError(f"{venue.name}: no symbols to follow")
        for symbol in self.symbols:
            if NAME.fullmatch(symbol) is None or len(symbol) > 64:
                raise ConfigError(f"{venue.name}: {symbol[:64]!r} is no name of a contract, as BTCUSDT is")
        self._plans = venue.connections(self.symbols)
        self._polls = venue.polls(self.symbols)
        self._snapshots = {s: url for s in self.symbols if (url := venue.snapshot_request(s)) is not None}
        self._addresses = Addresses(dict(hosts or {}))
        asked = [p.url for p in self._polls] + list(self._snapshots.values())
        self._addresses.check([p.url for p in self._plans] + asked)
        self._links: set[Link] = set()
        self._opened = Counter[int]()
        self._started = Counter[int]()
        self._fetching: set[str] = set()
        self._carried: dict[str, int] = {}  # by which place a symbol's book last came
        self._received_ns = 0
        self._next_open_s = 0.0
        self._jobs: set[asyncio.Task[None]] = set()
        self._on_frame: OnFrame = _ignore
        self._on_events: OnEvents = _ignore
        self._on_gap: OnGap = _ignore

    @property
    def open(self) -> list[str]:
        """The names of the connections that are open."""
        return sorted(link.label for link in self._links)

    def summary(self) -> Summary:
        """What has been done up to now."""
        t, counts = self.traffic, self.session.counts
        return Summary(
            frames=t.frames,
            bytes=t.bytes,
            connections=t.connections,
            reconnects=t.reconnects,
            open=len(self._links),
            gaps=dict(counts.gaps),
            lost=dict(t.lost),
            silent=t.lost[SILENT],
            refused=counts.refused,
            last_refusal=plain(counts.last_refusal.encode()),
            failures=t.failures,
            last_failure=t.last_failure,
        )

    async def run(
        self,
        on_frame: OnFrame | None = None,
        until: asyncio.Event | None = None,
        on_events: OnEvents | None = None,
        on_gap: OnGap | None = None,
    ) -> None:
        """Connect, and hand on what comes until `until` is set.

        Receive times rise from frame to frame, also where the clock steps back. What a callback raises ends the run and
        is raised; nothing that a venue does ends it.
        """
        self._on_frame, self._on_events = on_frame or _ignore, on_events or _ignore
        self._on_gap = on_gap or _ignore
        self._opening = asyncio.Lock()
        x = self.limits
        self._requests = Requests(
            x.request_every_seconds, x.request_seconds, x.message_bytes, x.first_retry_seconds, x.ban_seconds
        )
        try:
            async with asyncio.TaskGroup() as self._group:
                for place, plan in enumerate(self._plans):
                    self._spawn(self._keep(place, plan))
                for poll in self._polls:
                    self._spawn(self._poll(poll.url, poll.every_seconds))
                self._spawn(self._mend())
                await (until or asyncio.Event()).wait()
                for job in self._jobs:
                    job.cancel()
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def events(
        self, until: asyncio.Event | None = None, on_frame: OnFrame | None = None, on_gap: OnGap | None = None
    ) -> AsyncIterator[AnyEvent]:
        """The clean events, gaps included, in the order in which they became known.

        `SqueezeError` once so many wait to be taken that they could not be acted on any more.
        """
        waiting: deque[list[AnyEvent]] = deque()
        ready = asyncio.Event()

        def put(events: list[AnyEvent]) -> None:
            if len(waiting) >= MOST_WAITING:
                raise SqueezeError(
                    f"{self.venue.name}: events of {len(waiting)} frames wait: they are taken too slowly"
                )
            waiting.append(events)
            ready.set()

        running = asyncio.create_task(self.run(on_frame, until, put, on_gap))
        running.add_done_callback(lambda _: ready.set())
        try:
            while True:
                ready.clear()
                while waiting:
                    for event in waiting.popleft():
                        yield event
                if running.done():
                    running.result()
                    return
                await ready.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _spawn(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task

    def _pause(self, failures: int) -> float:
        """Seconds before the next attempt, after so many: they double, and no two feeds come back together."""
        x = self.limits
        doubled: float = x.first_retry_seconds * 2.0 ** min(failures - 1, 16)
        return min(x.last_retry_seconds, doubled) * CHANCE.uniform(0.5, 1.0)

    def _fail(self, problem: str) -> None:
        self.traffic.failures += 1
        self.traffic.last_failure = problem

    def _now_ns(self) -> int:
        """UTC now, later than ever before: a time twice could put two connections' frames the other way round."""
        self._received_ns = max(time.time_ns(), self._received_ns + 1)
        return self._received_ns

    def _take(self, frame: bytes, connection: str, request: str = "") -> bool:
        """Hand a frame on, then what is new in it; whether it said anything. `FrameError` where it cannot be read."""
        now_ns = self._now_ns()
        self.traffic.frames += 1
        self.traffic.bytes += len(frame)
        if not _is_text(frame):
            counts = self.session.counts
            counts.refused, counts.last_refusal = counts.refused + 1, f"{self.venue.name}: a frame that is not UTF-8"
            raise FrameError(counts.last_refusal)
        self._on_frame(now_ns, frame, connection, request)
        events = self.session.on_frame(frame, now_ns, request, connection)
        if events:
            for event in events:
                if isinstance(event, BookUpdate) and event.is_snapshot and not request:
                    self._carried[event.symbol] = int(connection.partition(".")[0])
            self._on_events(events)
        return bool(events or self.venue.decode(frame, now_ns, request))  # what was said before is said

    # Connections: one `_keep` for each place in `Venue.connections`, one `_live` for each that was ever opened there.

    async def _keep(self, place: int, plan: Connection) -> None:
        """Keep one connection open, and open the next before the venue ends it."""
        lifetime_s = None if plan.lifetime_hours is None else plan.lifetime_hours * 3600 * 0.99
        failures = 0
        link = self._start(place, plan)
        while True:
            await asyncio.wait({link.task}, timeout=lifetime_s)
            if not link.task.done():
                link = await self._succeeded(link, plan)
                continue
            failures = 1 if link.lived_s >= self.limits.last_retry_seconds else failures + 1
            await asyncio.sleep(self._pause(failures))
            link = self._start(place, plan)

    async def _succeeded(self, old: Link, plan: Connection) -> Link:
        """The next connection, once it speaks and both have been heard for a while; or the old one, ended.

        Only for books that come by request: a second snapshot on the wire would break OKX's chain.
        """
        failures = 0
        while not old.task.done():
            new = self._start(old.place, plan)
            await new.settled.wait()
            if new.speaks:
                both = {old.task, new.task}
                await asyncio.wait(both, timeout=self.limits.overlap_seconds, return_when=asyncio.FIRST_COMPLETED)
                if not new.task.done():
                    old.end(ROTATED)
                    return new
            failures += 1
            await asyncio.wait({old.task}, timeout=self._pause(failures))
        return old

    def _start(self, place: int, plan: Connection) -> Link:
        link = Link(f"{place}.{self._started[place]}", place)
        self._started[place] += 1
        link.task = self._spawn(self._live(link, plan))
        return link

    async def _live(self, link: Link, plan: Connection) -> None:
        """One connection, from opening it to its end."""
        try:
            socket = await self._connect(plan.url)
        except (OSError, EOFError, WebSocketException) as error:
            self._fail(plain(f"{urlsplit(plan.url).hostname}: {error or type(error).__name__}".encode()))
            link.settled.set()
            return
        async with socket:
            self._count(link)
            watch = asyncio.create_task(link.watch(socket, plan, self.limits))
            try:
                await link.listen(socket, plan, self.limits, self._take)
            finally:
                self._links.discard(link)
                link.settled.set()
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            self._lose(link)

    async def _connect(self, url: str) -> ClientConnection:
        async with self._opening:
            await asyncio.sleep(max(0.0, self._next_open_s - time.monotonic()))
            self._next_open_s = time.monotonic() + self.limits.open_every_seconds
        address = self._addresses.of(url)
        direct: dict[str, Any] = {"proxy": None} if is_loopback(urlsplit(address).hostname) else {}
        return await connect(
            address,
            open_timeout=self.limits.open_seconds,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # whether it lives is told by what it says
            max_size=self.limits.message_bytes,
            **direct,
        )

    def _count(self, link: Link) -> None:
        beside = any(other.place == link.place for other in self._links)
        self.traffic.connections += 1
        self.traffic.rotated += beside
        self.traffic.reconnects += bool(self._opened[link.place]) and not beside
        self._opened[link.place] += 1
        self._links.add(link)
        link.opened_s = link.heard_s = time.monotonic()

    def _lose(self, link: Link) -> None:
        """Tell of a connection that ended, unless another one speaks in its place."""
        speaking = [other for other in self._links if other.speaks]
        if any(other.place == link.place for other in speaking):
            self.session.forget(link.label)
            return
        self.traffic.lost[link.reason] += 1
        now_ns = self._now_ns()
        self._on_frame(now_ns, msgspec.json.encode({"reason": link.reason}), link.label, LOST)
        if gaps := self.session.on_disconnect(now_ns, link.label):
            self._on_events(gaps)
        self._on_gap(link.label, link.reason)

    # Requests: what the venue gives only when asked, and books to start from.

    async def _poll(self, url: str, every_seconds: float) -> None:
        failures = 0
        while True:
            failures = 0 if await self._ask(url) else failures + 1
            await asyncio.sleep(self._pause(failures) if failures else every_seconds)

    async def _ask(self, url: str) -> bool:
        """Ask, and take the answer as a frame; whether there was one that could be read."""
        try:
            body = await self._requests.get(self._addresses.of(url))
        except RequestFailed as failed:
            self._fail(str(failed))
            return False
        split = urlsplit(url)
        try:
            self._take(body, REST, f"{split.path}?{split.query}" if split.query else split.path)
        except FrameError:
            return False
        return True

    async def _mend(self) -> None:
        """Books that wait for a snapshot get one: by a request, or by subscribing again."""
        look_s = min(0.25, self.limits.snapshot_every_seconds / 2, self.limits.snapshot_seconds / 2)
        while True:
            await asyncio.sleep(look_s)
            waiting = self.session.wants_snapshot & set(self.symbols)
            for symbol in waiting & set(self._snapshots) - self._fetching:
                self._fetching.add(symbol)
                self._spawn(self._fetch(symbol))
            stuck = waiting - set(self._snapshots)
            for link in self._links:
                waits = link.lived_s >= self.limits.snapshot_seconds and any(
                    self._carried.get(symbol, link.place) == link.place for symbol in stuck
                )
                link.waits_s = link.waits_s + look_s if waits else 0.0
                if link.waits_s >= self.limits.snapshot_seconds:
                    link.end("no snapshot")

    async def _fetch(self, symbol: str) -> None:
        failures = 0
        while symbol in self.session.wants_snapshot:
            failures = 0 if await self._ask(self._snapshots[symbol]) else failures + 1
            every_s = self.limits.snapshot_every_seconds
            await asyncio.sleep(max(every_s, self._pause(failures)) if failures else every_s)
        self._fetching.discard(symbol)


def _ignore(*_: object) -> None:
    pass


def _is_text(frame: bytes) -> bool:
    if frame.isascii():
        return True
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
