"""Streams on one clock, and what they say into one outbox; whatever time it is told, it asks for none itself.

    events ─► on_event ─┐
    time ─► on_time ────┴─► Stream.on_clock, at whole ticks ─► Emitter

Ticks are whole multiples of the signal clock, and an event is heard after the ticks that came before it: as in
`squeeze.replaying`, so that the same events give the same messages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from squeeze.emitter.emitter import Emitter
from squeeze.emitter.heartbeat import EVERY_SECONDS, heartbeat
from squeeze.emitter.judged import Judged
from squeeze.errors import ConfigError, StepError
from squeeze.market.events import SECOND_NS, AnyEvent
from squeeze.signals.message import Message
from squeeze.signals.portfolio import ALONE, Standing, together
from squeeze.signals.rules import RulesState
from squeeze.stream import Stream
from squeeze.tools.scorecard.scorecard import Scorecard

MOST_TICKS = 30
"""So many ticks are made up for where time was lost, or waited for where the clock was set back; over a longer way the
clock jumps, and streams doubt it: they must hear of it, or an open trade would be left alone in silence."""


WHOLE_SECONDS = 300
"""Between whole states. What they lack after the process was killed is a gap like that until it runs again."""


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a stream must never be older than its last message: kept in one transaction with it.

    A whole state holds the map, and takes a second to compress; this takes a fraction of a millisecond.
    """

    model: str
    strategy: str
    stream_seq: int
    machine: dict[str, Any]
    rules: RulesState | None = None
    """What alerts were told when; None in files of before this field."""


class Live:
    """One stream for each symbol, at most one trade in each, and the risk of all counted together."""

    def __init__(
        self, streams: Sequence[Stream], emitter: Emitter, scorecards: Mapping[str, Scorecard] | None = None
    ) -> None:
        self.streams = {stream.spec.market.symbol: stream for stream in streams}
        if len(self.streams) < len(streams):
            raise ConfigError("run: two models of one symbol; a stream has one")
        self.emitter = emitter
        self.judged = {
            symbol: Judged(self.streams[symbol], card, emitter) for symbol, card in (scorecards or {}).items()
        }
        """Streams whose outcomes are counted, and which are switched off where they turn out bad."""
        self.tick_ns = round(min(s.spec.signal.clock_seconds for s in streams) * SECOND_NS)
        self.next_ns: int | None = None
        """The next tick."""
        self.said = 0
        self.hear: Callable[[Message], None] | None = None
        """Told each message once it is in the outbox."""
        self._whole_ns = 0
        self.problem = ""
        """The last event that a stream refused."""

    def restore(self, symbol: str) -> int | None:
        """Have a stream go on from the outbox's last whole state; the time up to which it has heard all, None for none.

        `ConfigError` for the state of another model, spec or strategy.
        """
        kept = self.emitter.state(f"{symbol} whole")
        if kept is None:
            return None
        stream = self.streams[symbol]
        try:
            stream.restore(kept)
        except StepError as error:
            raise ConfigError(f"{self.emitter.path}: {symbol}: {error}; --fresh begins without it") from None
        return max(stream.now_ns or 0, stream.lookout.tape.now_ns)

    def remember(self, symbol: str) -> None:
        """Have a stream know what it said last, in a process before this one, and what trade that left open.

        Its next look says `protect` where there is one. `ConfigError` where another model or strategy said it.
        """
        kept, stream = self.emitter.state(symbol), self.streams[symbol]
        if kept is not None:
            said = msgspec.msgpack.decode(kept, type=Said)
            if (said.model, said.strategy) != _names(stream):
                raise ConfigError(f"{self.emitter.path}: {symbol}: was kept by another model or strategy; "
                                  "--fresh begins without it")  # fmt: skip
            stream.machine.restore(said.machine)
            if said.rules is not None:
                stream.rules.restore(said.rules)
            stream.stream_seq = said.stream_seq
        stream.restarted()

    def begin_anew(self, symbol: str) -> None:
        """Have a stream go on with the numbers of the outbox, and nothing else of it."""
        newest = self.emitter.newest_seq(symbol)
        if newest is not None:
            self.streams[symbol].stream_seq = newest + 1

    def on_event(self, event: AnyEvent) -> None:
        """Take an event in, once the ticks before it are done; that of a symbol without a stream is passed over."""
        stream = self.streams.get(event.symbol)
        if stream is None:
            return
        if self.next_ns is None:
            self.next_ns = -(-event.known_at_ns // self.tick_ns) * self.tick_ns
        self.tick_until(event.known_at_ns - 1)
        if event.symbol in self.judged:
            self.judged[event.symbol].scorecard.on_event(event)
        try:
            stream.on_event(event)
        except StepError as error:
            self.problem = str(error)

    def on_time(self, now_ns: int) -> None:
        """Do the ticks that are due by the time of day."""
        if self.next_ns is None:
            self.next_ns = now_ns // self.tick_ns * self.tick_ns + self.tick_ns
        if abs(now_ns - self.next_ns) > MOST_TICKS * self.tick_ns:
            self.next_ns = now_ns // self.tick_ns * self.tick_ns
        self.tick_until(now_ns)

    def tick_until(self, now_ns: int) -> None:
        """Do all ticks up to a time, however many."""
        while self.next_ns is not None and self.next_ns <= now_ns:
            self._tick(self.next_ns)
            self.next_ns += self.tick_ns

    def keep(self) -> None:
        """Have the whole states kept as they are now."""
        for symbol, stream in self.streams.items():
            self.emitter.keep(f"{symbol} whole", stream.freeze, last=True)
        for judged in self.judged.values():
            judged.keep(last=True)

    def _tick(self, now_ns: int) -> None:
        messages: list[Message] = []
        states: dict[str, bytes] = {}
        for symbol, stream in self.streams.items():
            if stream.next_close_ns is None:
                continue  # it has heard nothing yet, and a replay would not begin either
            said = stream.on_clock(now_ns, self._others(symbol))
            if symbol in self.judged:
                said += self.judged[symbol].hear(said, now_ns, states)
            if said:
                messages += said
                states[symbol] = _said(stream)
        if messages:
            self.said += len(messages)
            self.emitter.emit(messages, states)
            if self.hear is not None:
                for message in messages:
                    self.hear(message)
        if now_ns % (EVERY_SECONDS * SECOND_NS) < self.tick_ns:
            self._beat(now_ns)
        if now_ns >= self._whole_ns:
            self._whole_ns = now_ns + WHOLE_SECONDS * SECOND_NS
            for symbol, stream in self.streams.items():
                if stream.next_close_ns is not None:
                    self.emitter.keep(f"{symbol} whole", stream.freeze)
                    if symbol in self.judged:
                        self.judged[symbol].keep()

    def _others(self, symbol: str) -> Standing:
        if len(self.streams) == 1:
            return ALONE
        return together(other.machine.standing for name, other in self.streams.items() if name != symbol)

    def _beat(self, now_ns: int) -> None:
        health = self.emitter.health() + ((f"event refused: {self.problem}",) if self.problem else ())
        self.problem = ""
        for stream in self.streams.values():
            beat = heartbeat(stream, now_ns, self.emitter.waiting, health)
            if beat is not None:
                self.emitter.beat(beat)


def _names(stream: Stream) -> tuple[str, str]:
    return stream.predictor.digest, stream.strategy.digest()


def _said(stream: Stream) -> bytes:
    told = stream.rules.told()
    return msgspec.msgpack.encode(Said(*_names(stream), stream.stream_seq, stream.machine.snapshot(), told))
