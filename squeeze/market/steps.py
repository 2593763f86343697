"""Events → `Step`: what became known between two ticks of the step clock, venue by venue.

A step holds what became *known* in (close - length, close], whenever it happened: a bar that is published late is part
of a later step, here as in life. A bar that is not newer than the last one used is dropped and counted.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from squeeze.errors import StepError
from squeeze.market.events import (
    NAN,
    AnyEvent,
    Bar,
    Funding,
    Liquidation,
    LiquidationSum,
    OpenInterest,
    Quality,
)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """Open, high, low, close in quote currency, and the close time (`event_ns`) of the newest bar in it."""

    open: float
    high: float
    low: float
    close: float
    event_ns: int


class VenueStep(msgspec.Struct, frozen=True):
    """One venue's part of a step; every part may be missing."""

    last: Candle | None = None
    mark: Candle | None = None
    volume_base: float = NAN
    taker_buy_base: float = NAN
    open_interest: tuple[OpenInterest, ...] = ()
    funding: tuple[Funding, ...] = ()
    liquidations: tuple[Liquidation | LiquidationSum, ...] = ()
    quality: int = Quality.GOOD


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


def candle(bars: list[Bar]) -> Candle | None:
    """The candle that spans bars given in order of time; None for none.

    >>> from functools import partial
    >>> bar = partial(Bar, venue="v", symbol="s", cadence_ns=1)
    >>> first = bar(event_ns=1, known_at_ns=1, open=10.0, high=12.0, low=9.0, close=11.0)
    >>> candle([first, bar(event_ns=2, known_at_ns=2, open=11.0, high=11.5, low=8.0, close=8.5)])
    Candle(open=10.0, high=12.0, low=8.0, close=8.5, event_ns=2)
    """
    if not bars:
        return None
    if len(bars) == 1:
        (only,) = bars
        return Candle(only.open, only.high, only.low, only.close, only.event_ns)
    high, low = max(b.high for b in bars), min(b.low for b in bars)
    return Candle(bars[0].open, high, low, bars[-1].close, bars[-1].event_ns)


class StepBuilder:
    """Collects one symbol's events and cuts them into steps.

    `repeated` counts bars that were not newer than the last one used; they are dropped. Raises `StepError` for an event
    of another symbol, and for a close that does not follow the last.
    """

    def __init__(self, symbol: str, length_ns: int) -> None:
        self.symbol = symbol
        self.length_ns = length_ns
        self.repeated = 0
        self._closed_ns: int | None = None
        self._pending: list[AnyEvent] = []
        self._newest_bar_ns: dict[tuple[str, bool], int] = {}

    def add(self, event: AnyEvent) -> None:
        """Take an event in; it will be part of the first step that closes at or after its known-at time."""
        if event.symbol != self.symbol:
            raise StepError(f"a {self.symbol} step got an event of {event.symbol}")
        self._pending.append(event)

    def close(self, close_ns: int) -> Step:
        """The step that closes at `close_ns`, from all events known by then and not used before."""
        if self._closed_ns is not None and close_ns <= self._closed_ns:
            raise StepError(f"a step at {close_ns} cannot follow one at {self._closed_ns}")
        known = sorted((e for e in self._pending if e.known_at_ns <= close_ns), key=_order)
        self._pending = [e for e in self._pending if e.known_at_ns > close_ns]
        self._closed_ns = close_ns
        by_venue: dict[str, list[AnyEvent]] = {}
        for event in known:
            by_venue.setdefault(event.venue, []).append(event)
        venues = {venue: self._venue_step(venue, events) for venue, events in by_venue.items()}
        return Step(self.symbol, close_ns, self.length_ns, venues)

    def snapshot(self) -> dict[str, Any]:
        """What the builder remembers, in plain types."""
        newest = [(venue, is_mark, ns) for (venue, is_mark), ns in self._newest_bar_ns.items()]
        return {
            "closed_ns": self._closed_ns,
            "repeated": self.repeated,
            "newest": newest,
            "pending": msgspec.to_builtins(self._pending),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self._closed_ns, self.repeated = snapshot["closed_ns"], snapshot["repeated"]
        self._newest_bar_ns = {(venue, is_mark): ns for venue, is_mark, ns in snapshot["newest"]}
        self._pending = msgspec.convert(snapshot["pending"], list[AnyEvent])

    def _venue_step(self, venue: str, events: list[AnyEvent]) -> VenueStep:
        last = self._fresh(venue, [e for e in events if isinstance(e, Bar) and not e.is_mark])
        mark = self._fresh(venue, [e for e in events if isinstance(e, Bar) and e.is_mark])
        covered = sum(b.cadence_ns for b in last)
        quality = 0
        for event in events:
            quality |= event.quality
        if last and covered != self.length_ns:
            quality |= Quality.PARTIAL
        return VenueStep(
            last=candle(last),
            mark=candle(mark),
            volume_base=sum(b.volume_base for b in last) if last else NAN,
            taker_buy_base=sum(b.taker_buy_base for b in last) if last else NAN,
            open_interest=tuple(e for e in events if isinstance(e, OpenInterest)),
            funding=tuple(e for e in events if isinstance(e, Funding)),
            liquidations=tuple(e for e in events if isinstance(e, Liquidation | LiquidationSum)),
            quality=quality,
        )

    def _fresh(self, venue: str, bars: list[Bar]) -> list[Bar]:
        """The bars that are newer than all before them."""
        kept = []
        for bar in bars:
            key = (venue, bar.is_mark)
            if bar.event_ns <= self._newest_bar_ns.get(key, 0):
                self.repeated += 1
                continue
            self._newest_bar_ns[key] = bar.event_ns
            kept.append(bar)
        return kept


def _order(event: AnyEvent) -> tuple[int, int]:
    return event.event_ns, event.known_at_ns


def steps(events: Iterable[AnyEvent], symbol: str, length_ns: int) -> Iterator[Step]:
    """History as steps, from the first whole step on; a hole in the events gives empty steps.

    `events` come in order of known-at time. The last step is the one that the last event closes or falls into.
    """
    builder = StepBuilder(symbol, length_ns)
    close_ns = None
    for event in events:
        if close_ns is None:
            close_ns = -(-event.known_at_ns // length_ns) * length_ns
        while event.known_at_ns > close_ns:
            yield builder.close(close_ns)
            close_ns += length_ns
        builder.add(event)
    if close_ns is not None:
        yield builder.close(close_ns)
