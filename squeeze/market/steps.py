"""Events → `Step`: what became known between two ticks of the step clock, venue by venue.

A step holds what became *known* in (close - length, close], whenever it happened: a bar that is published late is part
of a later step, here as in life. `tally` says what is made of late, repeated and out-of-order events; all are counted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from squeeze.errors import StepError
from squeeze.market.events import AnyEvent
from squeeze.market.tally import Tally
from squeeze.market.venue_step import VenueStep

BIN_LOG = 5e-4
"""Width of a price bin where nothing else is asked for."""


class Step(msgspec.Struct, frozen=True):
    """One tick of all venues, for one symbol."""

    symbol: str
    close_ns: int
    length_ns: int
    venues: dict[str, VenueStep]

    def venue(self, name: str) -> VenueStep:
        """That venue's part; an empty one if it said nothing."""
        return self.venues.get(name, SILENT)


SILENT = VenueStep()


class Tallies(dict[str, Tally]):
    """By venue; one that speaks for the first time gets its own."""

    def __init__(self, builder: "StepBuilder") -> None:
        super().__init__()
        self._builder = builder

    def __missing__(self, venue: str) -> Tally:
        b = self._builder
        self[venue] = Tally(venue, b.length_ns, b.bin_log, b.counts)
        return self[venue]


class StepBuilder:
    """Collects one symbol's events and cuts them into steps.

    Events may be added long before their step: what is not yet known at a close waits. `counts` says how many were
    `late`, `repeated`, `out_of_order` or `impossible`, how many books were `crossed`, and in how many steps a venue
    that had been heard was `silent`. Raises `StepError` for an event of another symbol, and for a close that does not
    follow the last.
    """

    def __init__(self, symbol: str, length_ns: int, bin_log: float = BIN_LOG) -> None:
        self.symbol = symbol
        self.length_ns = length_ns
        self.bin_log = bin_log
        self.counts: Counter[str] = Counter()
        self._closed_ns: int | None = None
        self._open_until_ns = 0
        """Close of the running step: what is known by then can be added up at once."""
        self._pending: list[AnyEvent] = []
        self._tallies = Tallies(self)

    def add(self, event: AnyEvent) -> None:
        """Take an event in; it will be part of the first step that closes at or after its known-at time."""
        if event.symbol != self.symbol:
            raise StepError(f"a {self.symbol} step got an event of {event.symbol}")
        if event.known_at_ns <= self._open_until_ns:
            self._tallies[event.venue].take(event)
        else:
            self._pending.append(event)

    def close(self, close_ns: int) -> Step:
        """The step that closes at `close_ns`, from all events known by then and not used before."""
        if self._closed_ns is not None and close_ns < self._open_until_ns:
            raise StepError(f"a step of {self.length_ns} ns at {close_ns} cannot follow one at {self._closed_ns}")
        self._take_known(close_ns)
        venues = {}
        for name, tally in self._tallies.items():
            part = tally.close(self.symbol, close_ns)
            if part is None:
                self.counts["silent"] += 1
            else:
                venues[name] = part
        self._closed_ns, self._open_until_ns = close_ns, close_ns + self.length_ns
        self._take_known(self._open_until_ns)  # before what is added from now on
        return Step(self.symbol, close_ns, self.length_ns, venues)

    def _take_known(self, until_ns: int) -> None:
        """Take what has waited and is known by then, in the order in which it became known."""
        waiting, self._pending = self._pending, []
        for event in sorted(waiting, key=_known_at):
            if event.known_at_ns <= until_ns:
                self._tallies[event.venue].take(event)
            else:
                self._pending.append(event)

    @property
    def next_close_ns(self) -> int | None:
        """When the running step closes; None before the first."""
        return None if self._closed_ns is None else self._open_until_ns

    def lost_books(self) -> set[str]:
        """Venues of which a book waits for a snapshot: a feed should ask for one."""
        return {name for name, t in self._tallies.items() if any(not b.valid for b in t.books.values())}

    def snapshot(self) -> dict[str, Any]:
        """What the builder remembers, in plain types."""
        return {
            "closed_ns": self._closed_ns,
            "open_until_ns": self._open_until_ns,
            "counts": dict(self.counts),
            "pending": msgspec.to_builtins(self._pending),
            "tallies": [(name, tally.snapshot()) for name, tally in self._tallies.items()],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot. Where time has passed since, add `Session.begin`'s gaps: its books are of before."""
        self._closed_ns = snapshot["closed_ns"]
        self._open_until_ns = snapshot["open_until_ns"]
        self.counts = Counter(snapshot["counts"])
        self._pending = msgspec.convert(snapshot["pending"], list[AnyEvent])
        self._tallies = Tallies(self)
        for name, held in snapshot["tallies"]:
            self._tallies[name].restore(held)


def _known_at(event: AnyEvent) -> int:
    return event.known_at_ns


def steps(events: Iterable[AnyEvent], symbol: str, length_ns: int, bin_log: float = BIN_LOG) -> Iterator[Step]:
    """History as steps, from the first whole step on; a hole in the events gives empty steps.

    `events` come in order of known-at time. The last step is the one that the last event closes or falls into.
    """
    return steps_from(StepBuilder(symbol, length_ns, bin_log), events)


def steps_from(builder: StepBuilder, events: Iterable[AnyEvent]) -> Iterator[Step]:
    """The steps that `events` give from where a builder stands, a restored one say: those known after its last close.

    None where there is no such event.
    """
    close_ns, length_ns, is_open = builder.next_close_ns, builder.length_ns, False
    for event in events:
        if close_ns is None:
            close_ns = -(-event.known_at_ns // length_ns) * length_ns
        while event.known_at_ns > close_ns:
            yield builder.close(close_ns)
            close_ns += length_ns
        builder.add(event)
        is_open = True
    if is_open and close_ns is not None:
        yield builder.close(close_ns)
