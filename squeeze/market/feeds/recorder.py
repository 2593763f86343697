"""A live feed into the raw log.

Apart from `live`, which knows of no disk: here is what happens when it is full.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence

from squeeze.errors import ConfigError, LakeError
from squeeze.market.feeds.live import REST, Feed, OnEvents
from squeeze.market.feeds.values import Limits, Summary
from squeeze.market.raw_log import RawLog
from squeeze.market.raw_writer import RawWriter
from squeeze.market.venues import Venue

PATIENCE_SECONDS = 60.0
"""A disk that is full for so long stops a recording; until then frames wait in memory."""


async def record(
    venue: Venue,
    symbols: Sequence[str],
    raw_log: RawLog,
    seconds: float | None = None,
    until: asyncio.Event | None = None,
    hosts: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    on_second: Callable[[Summary], None] | None = None,
) -> Summary:
    """Record a venue's frames for some seconds, or until `until` is set; what it came to.

    What has come is on the disk each second, and segments are sealed at the end, whatever ends it. `LakeError` where
    the disk takes nothing for `PATIENCE_SECONDS`.
    """
    if seconds is not None and not 0 < seconds < math.inf:
        raise ConfigError(f"seconds: above zero and finite, got {seconds}")
    feed = Feed(venue, symbols, hosts, limits)
    until = until or asyncio.Event()
    timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, until.set)
    try:
        await recorded(feed, raw_log, until, on_second=on_second)
    finally:
        if timer is not None:
            timer.cancel()
    return feed.summary()


async def recorded(
    feed: Feed,
    raw_log: RawLog,
    until: asyncio.Event,
    on_events: OnEvents | None = None,
    on_second: Callable[[Summary], None] | None = None,
) -> None:
    """Run a feed until `until` is set, each frame kept before its events are handed on; ends and errors as `record`."""
    with raw_log.writer(feed.venue.name) as writer:
        store = _Store(writer)
        running = asyncio.create_task(feed.run(store.append, until, on_events))
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=1.0)
                store.flush(feed.open)
                if on_second is not None:
                    on_second(feed.summary())
            running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class _Store:
    """A raw log's writer that endures a disk in trouble for a while."""

    def __init__(self, writer: RawWriter) -> None:
        self._writer = writer
        self._labels: set[str] = set()
        self._trouble_s: float | None = None

    def append(self, received_ns: int, frame: bytes, connection: str, request: str) -> None:
        """Take a frame."""
        self._labels.add(connection)
        with contextlib.suppress(LakeError):  # taken all the same; `flush` tells whether it lasts
            self._writer.append(received_ns, frame, connection, request)

    def flush(self, still_open: Sequence[str]) -> None:
        """To the disk; segments of connections that have ended are sealed."""
        try:
            self._writer.flush()
            for label in self._labels - {*still_open, REST}:
                self._labels.discard(label)
                self._writer.close(label)
        except LakeError:
            now_s = time.monotonic()
            self._trouble_s = now_s if self._trouble_s is None else self._trouble_s
            if now_s - self._trouble_s > PATIENCE_SECONDS:
                raise
        else:
            self._trouble_s = None
