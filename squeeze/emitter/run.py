"""The live path as a process: venues in, messages out, until it is told to stop."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from squeeze.emitter.live import Live
from squeeze.errors import ConfigError
from squeeze.market.events import SECOND_NS, AnyEvent
from squeeze.market.feeds.live import Feed
from squeeze.market.feeds.recorder import recorded
from squeeze.market.feeds.values import Limits
from squeeze.market.instruments import Instruments
from squeeze.market.raw_log import RawLog
from squeeze.market.venues import VENUES, Venue, venue

LEAST_WAIT_SECONDS = 0.001


def feeds_of(
    live: Live,
    only: Sequence[str] = (),
    hosts: Mapping[str, str] | None = None,
    instruments: Instruments | None = None,
    limits: Limits | None = None,
) -> list[Feed]:
    """A feed for each venue that the streams' models read, or for those of them that are named.

    `ConfigError` for a venue without an adapter, and for one that no model reads.
    """
    wanted: dict[str, list[str]] = {}
    for symbol, stream in live.streams.items():
        for name in stream.kinds:
            wanted.setdefault(name, []).append(symbol)
    if strange := [name for name in only if name not in wanted]:
        raise ConfigError(f"--venues: no model reads {strange[0]!r}; they read {', '.join(sorted(wanted))}")
    named = [name for name in wanted if not only or name in only]
    if strange := [name for name in named if name not in VENUES]:
        raise ConfigError(
            f"the model reads {strange[0]!r}, to which there is no connection; there are {', '.join(VENUES)}"
        )
    adapters = {name: venue(name, instruments) for name in named}
    used = {name: _hosts(adapter, wanted[name]) for name, adapter in adapters.items()}
    if strange := sorted(set(hosts or {}) - set().union(*used.values())):
        raise ConfigError(f"--host: {strange[0]!r} is not connected to")
    theirs = {name: {host: to for host, to in (hosts or {}).items() if host in used[name]} for name in named}
    return [Feed(adapter, wanted[name], theirs[name], limits) for name, adapter in adapters.items()]


def _hosts(adapter: Venue, symbols: Sequence[str]) -> set[str]:
    """The hosts that a venue is reached at."""
    asked = [poll.url for poll in adapter.polls(symbols)] + [adapter.snapshot_request(symbol) for symbol in symbols]
    urls = [plan.url for plan in adapter.connections(symbols)] + [url for url in asked if url is not None]
    return {urlsplit(url).hostname or "" for url in urls}


async def follow(live: Live, feeds: Sequence[Feed], until: asyncio.Event, raw_log: RawLog | None = None) -> None:
    """Drive streams with what the venues say and the time of day, until `until` is set; states are kept at the end.

    Into `raw_log` goes each frame, so that the same can be replayed. `LakeError` where its disk takes nothing for long.
    """

    def take(events: list[AnyEvent]) -> None:
        for event in events:
            live.on_time(event.known_at_ns - 1)
            live.on_event(event)

    try:
        async with asyncio.TaskGroup() as group:
            for feed in feeds:
                told = (
                    feed.run(until=until, on_events=take) if raw_log is None else recorded(feed, raw_log, until, take)
                )
                group.create_task(told)
            group.create_task(_clock(live, until))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        live.keep()


async def _clock(live: Live, until: asyncio.Event) -> None:
    while not until.is_set():
        live.on_time(time.time_ns())
        due_ns = live.next_ns or 0
        wait = max(LEAST_WAIT_SECONDS, (due_ns - time.time_ns()) / SECOND_NS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await until.wait()


def again(
    live: Live, events: Iterable[AnyEvent], stops: Callable[[], bool] = lambda: False, until_ns: int | None = None
) -> None:
    """Drive streams with what was recorded, in the order in which it became known, up to its end or to `until_ns`.

    It ends early once `stops`. What was kept last is then where to go on from: the state at a tick, which has heard
    what came before and nothing after.
    """
    for event in events:
        if stops():
            return
        live.on_event(event)
    if live.next_ns is not None:
        live.tick_until(live.next_ns if until_ns is None else until_ns)
        live.keep()
