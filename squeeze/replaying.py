"""Recorded events through a stream, as the live loop does it."""

from collections.abc import Iterable, Iterator

from squeeze.market.events import SECOND_NS, AnyEvent
from squeeze.signals.message import Message
from squeeze.stream import Stream


def replay(
    stream: Stream, events: Iterable[AnyEvent], clock_seconds: float, until_ns: int | None = None
) -> Iterator[Message]:
    """Drive a stream with recorded events: each is heard once known, the clock looks every `clock_seconds`."""
    tick_ns = round(clock_seconds * SECOND_NS)
    now_ns: int | None = None
    for event in events:
        if now_ns is None:
            now_ns = -(-event.known_at_ns // tick_ns) * tick_ns
        while event.known_at_ns > now_ns:
            yield from stream.on_clock(now_ns)
            now_ns += tick_ns
        stream.on_event(event)
    last_ns = until_ns if until_ns is not None else now_ns
    while now_ns is not None and last_ns is not None and now_ns <= last_ns:
        yield from stream.on_clock(now_ns)
        now_ns += tick_ns
