"""Events and clocks in, messages out: the live path, which a replay drives in just the same way.

The step clock closes steps and gives probabilities; the faster signal clock drives the signal machine. A bar is part of
the step that closes with it only if its known-at time says so: feeds stamp bars they build themselves with their close.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from squeeze.arrays import SIDES
from squeeze.drift import DriftMonitor
from squeeze.errors import SqueezeError, StepError
from squeeze.market.events import AnyEvent, kind_of
from squeeze.market.steps import Step, StepBuilder
from squeeze.predictor import Abstain, Prediction, Predictor
from squeeze.signals.machine import SignalMachine
from squeeze.signals.message import AbstainMessage, Message, ProbabilityMessage, decimal_text
from squeeze.state import Frame, MarketState, flag_names


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stream at rest, as `Stream.snapshot` writes it."""

    model: str
    sequence: int
    next_close_ns: int | None
    market: bytes
    predictor: tuple[int, bytes]
    machine: dict[str, Any]
    builder: dict[str, Any]
    drift: bytes | None


class Stream:
    """One symbol's live path: `on_event` takes events in, `on_clock` returns what follows from them.

    stream = Stream(load("model.onnx"))
    stream.warm(history)
    for message in stream.on_clock(now_ns):
        print(encode(message))
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.spec = predictor.spec
        self.market = MarketState(self.spec)
        self.kinds = self.spec.market.kinds()
        self.builder = StepBuilder(self.spec.market.symbol, self.market.length_ns, self.spec.map.bin_log)
        horizon = self.spec.label.horizons_minutes.index(self.spec.signal.horizon_minutes)
        self.horizon = horizon
        rates = predictor.card.base_rates
        self.machine = SignalMachine(
            self.spec.signal,
            self.spec.market.symbol,
            predictor.digest,
            {"long": rates["long"][horizon], "short": rates["short"][horizon]},
            stale_ns=2 * self.market.length_ns,
        )
        self.next_close_ns: int | None = None
        self.sequence = 0
        self.mark: str | None = None
        card = predictor.card
        self.drift = None if card.drift is None else DriftMonitor(card.drift, card.spec.label.horizons_minutes, rates)
        """Watches how far the inputs have drifted from training, where the card says what training saw."""
        self.drifted: tuple[str, ...] = ()
        """What the monitor flagged when it last looked: at the end of each part of its window."""

    def on_event(self, event: AnyEvent) -> None:
        """Take an event in; what follows from it comes with the clock. `StepError` for another symbol's.

        An event of a venue or kind that the spec does not name is passed over, as when history is read from the lake: a
        step must not depend on what else happened to be subscribed to.
        """
        if kind_of(event) not in self.kinds.get(event.venue, ()):
            return
        if self.next_close_ns is None:
            self.next_close_ns = -(-event.known_at_ns // self.market.length_ns) * self.market.length_ns
        self.builder.add(event)

    def on_clock(self, now_ns: int) -> list[Message]:
        """Close the steps that are due, and let the signal machine look at its clock."""
        messages: list[Message] = []
        while self.next_close_ns is not None and self.next_close_ns <= now_ns:
            messages.append(self._close_step(self.next_close_ns))
        for transition in self.machine.on_clock(now_ns):
            messages.append(transition.message(self._count(), self.mark))
        return messages

    def _close_step(self, close_ns: int) -> Message:
        frame, answer = self.advance(close_ns)
        self.mark = None if frame.mark.event_ns == 0 else decimal_text(frame.mark.close)
        if isinstance(answer, Abstain):
            self.machine.on_probabilities(close_ns, None, answer.reasons)
            return AbstainMessage(**self._common(close_ns), reasons=answer.reasons)
        self.machine.on_probabilities(
            close_ns, {"long": answer.of("long", self.horizon), "short": answer.of("short", self.horizon)}
        )
        return ProbabilityMessage(
            **self._common(close_ns),
            probabilities=self._by_horizon({s: answer.probabilities[i].tolist() for i, s in enumerate(SIDES)}),
            base_rates=self._by_horizon(self.predictor.card.base_rates),
            degraded=answer.degraded,
            drift=self.drifted,
        )

    def advance(self, close_ns: int) -> tuple[Frame, Prediction | Abstain]:
        """One step without messages: the frame, and what the model says of it.

        A step that the market's state refuses is dropped, an empty one takes its place, and the answer is `Abstain`
        with what was wrong.
        """
        step = self.builder.close(close_ns)
        self.next_close_ns = close_ns + self.market.length_ns
        try:
            frame = self.market.advance(step)
        except StepError as error:
            frame = self.market.advance(Step(step.symbol, close_ns, step.length_ns, {}))
            self.predictor.step(frame)
            self._watch(frame, None)
            return frame, Abstain(step.symbol, close_ns, (str(error), *flag_names(frame.unhealthy)))
        answer = self.predictor.step(frame)
        self._watch(frame, answer if isinstance(answer, Prediction) else None)
        return frame, answer

    def _watch(self, frame: Frame, said: Prediction | None) -> None:
        """Have the drift monitor follow; it is asked just before a new part of its window begins."""
        if self.drift is None:
            return
        if self.drift.begins_part(frame.close_ns):
            self.drifted = self.drift.report().flags
        self.drift.push(frame, None if said is None else said.probabilities)

    def warm(self, history: Iterable[AnyEvent], until_ns: int | None = None) -> None:
        """Fold recorded events in without a message, up to the last whole step (or to `until_ns`): the map fills, the
        model's state runs.
        """
        newest = 0
        for event in history:
            if until_ns is not None and event.known_at_ns > until_ns:
                break
            while self.next_close_ns is not None and event.known_at_ns > self.next_close_ns:
                self.advance(self.next_close_ns)
            self.on_event(event)
            newest = event.known_at_ns
        while self.next_close_ns is not None and self.next_close_ns <= (until_ns or newest):
            self.advance(self.next_close_ns)

    def snapshot(self) -> bytes:
        """The whole stream, market, model state, machine and pending events, as bytes."""
        return msgspec.msgpack.encode(self._parts())

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot of the same model; `StepError` for any other, and nothing has changed."""
        try:
            state = msgspec.msgpack.decode(snapshot, type=Snapshot)
        except msgspec.DecodeError as error:
            raise StepError(f"not a stream's snapshot: {error}") from None
        if state.model != self.predictor.digest:
            raise StepError(
                f"the snapshot was taken with model {state.model[:16]}…, this one is {self.predictor.digest[:16]}…"
            )
        before = self._parts()
        try:
            self._take(state)
        except (SqueezeError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
            self._take(before)
            raise StepError(f"not a stream's snapshot: {error}") from None

    def _parts(self) -> Snapshot:
        return Snapshot(
            self.predictor.digest, self.sequence, self.next_close_ns, self.market.snapshot(),
            self.predictor.snapshot(), self.machine.snapshot(), self.builder.snapshot(),
            None if self.drift is None else msgspec.msgpack.encode((self.drift.snapshot(), self.drifted)),
        )  # fmt: skip

    def _take(self, state: Snapshot) -> None:
        self.market.restore(state.market)
        self.predictor.restore(*state.predictor)
        self.machine.restore(state.machine)
        self.builder.restore(state.builder)
        if self.drift is not None and state.drift is not None:
            monitor, self.drifted = msgspec.msgpack.decode(state.drift, type=tuple[bytes, tuple[str, ...]])
            self.drift.restore(monitor)
        self.sequence, self.next_close_ns = state.sequence, state.next_close_ns

    def _count(self) -> int:
        self.sequence += 1
        return self.sequence - 1

    def _common(self, close_ns: int) -> dict[str, Any]:
        return {
            "model": self.predictor.digest,
            "symbol": self.spec.market.symbol,
            "ts_data_ns": close_ns,
            "sequence": self._count(),
            "mark": self.mark,
        }

    def _by_horizon(self, values: Any) -> dict[Any, dict[str, float]]:
        horizons = self.spec.label.horizons_minutes
        return {side: {str(h): float(p) for h, p in zip(horizons, values[side], strict=True)} for side in SIDES}


def replay(
    stream: Stream, events: Iterable[AnyEvent], clock_seconds: float, until_ns: int | None = None
) -> Iterator[Message]:
    """Drive a stream with recorded events: each is heard once known, the clock looks every `clock_seconds`."""
    tick_ns = round(clock_seconds * 1_000_000_000)
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
