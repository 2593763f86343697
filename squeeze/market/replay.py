"""What was recorded, again: events from raw frames or the lake, in the order in which they became known, at any pace.

Both ways lead through the same `Session`, `StepBuilder` and `Stream` as a live connection, so the same recording gives
the same steps and messages, byte for byte. A pace only waits; it changes nothing.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from squeeze.errors import LakeError
from squeeze.market.events import SECOND_NS, AnyEvent
from squeeze.market.instruments import Instruments
from squeeze.market.lake import Lake
from squeeze.market.raw_log import RawLog
from squeeze.market.session import normalise


def raw_events(
    raw: RawLog,
    venues: Sequence[str],
    symbol: str,
    start_ns: int | None = None,
    end_ns: int | None = None,
    instruments: Instruments | None = None,
) -> Iterator[AnyEvent]:
    """A symbol's events from the raw frames of some venues, received in [start_ns, end_ns).

    Raises `LakeError` for a venue without frames. A book that was begun before `start_ns` waits for its next snapshot.
    """
    streams = [normalise(raw.read(venue, start_ns, end_ns), venue, instruments) for venue in sorted(venues)]
    merged = heapq.merge(*streams, key=lambda event: event.known_at_ns)
    return (event for event in merged if event.symbol == symbol)


def lake_events(
    lake: Lake, venues: Sequence[str], symbol: str, start_ns: int | None = None, end_ns: int | None = None
) -> Iterator[AnyEvent]:
    """A symbol's events of all kinds that the lake has of some venues, known in [start_ns, end_ns)."""
    streams = [lake.events(venue, symbol, None, start_ns, end_ns) for venue in sorted(venues)]
    return heapq.merge(*streams, key=lambda event: event.known_at_ns)


def venues_of(lake: Lake, symbol: str) -> list[str]:
    """The venues of which a lake has a symbol; `LakeError` where there are none."""
    found = sorted({venue for _, venue, held in lake.names() if held == symbol})
    if not found:
        have = ", ".join(sorted({held for _, _, held in lake.names()})) or "nothing"
        raise LakeError(f"{lake.root}: no events of {symbol}; there is {have}")
    return found


def paced(
    events: Iterable[AnyEvent],
    speed: float | None,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[AnyEvent]:
    """Events at `speed` times the pace at which they became known, the first at once; without waiting for None.

    >>> from squeeze.market.events import Price
    >>> at = {"venue": "v", "symbol": "s", "event_ns": 0, "price": 1.0, "of": "mark"}
    >>> waited = []
    >>> events = [Price(**at, known_at_ns=n * SECOND_NS) for n in (0, 3)]
    >>> len(list(paced(events, 2.0, now=lambda: 100.0, wait=waited.append))), waited
    (2, [1.5])
    """
    if speed is None:
        yield from events
        return
    began: float | None = None
    first_ns = 0
    for event in events:
        if began is None:
            began, first_ns = now(), event.known_at_ns
        ahead = (event.known_at_ns - first_ns) / SECOND_NS / speed - (now() - began)
        if ahead > 0:
            wait(ahead)
        yield event
