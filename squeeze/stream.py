"""Events and clocks in, messages out: the live path, which a replay drives in just the same way.

    events ─► StepBuilder ─► MarketState ─► Frame ─► Predictor ─► Word ─┐
       └────► Lookout (tape, zones, patterns) ──────────────────────────┴► View ─► SignalMachine ─► messages

The step clock closes steps and gives probabilities; the faster signal clock drives the signal machine. A bar is part of
the step that closes with it only if its known-at time says so: feeds stamp bars they build themselves with their close.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from squeeze import stream_snapshot
from squeeze.arrays import SIDES
from squeeze.drift import DriftMonitor
from squeeze.errors import StepError
from squeeze.market.events import SECOND_NS, AnyEvent, kind_of
from squeeze.market.steps import Step, StepBuilder
from squeeze.predictor import Abstain, Prediction, Predictor
from squeeze.signals.checklist import answers
from squeeze.signals.envelope import envelope, event_id
from squeeze.signals.look import Lookout
from squeeze.signals.machine import SignalMachine, rises
from squeeze.signals.machine_facts import by_venue
from squeeze.signals.message import (
    AbstainMessage,
    AlertMessage,
    Message,
    ProbabilityMessage,
    Side,
    State,
    decimal_text,
)
from squeeze.signals.portfolio import ALONE, Standing
from squeeze.signals.rule_spec import RulesSpec
from squeeze.signals.rules import Rules
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.transition import Transition
from squeeze.signals.view import Word
from squeeze.state import Frame, MarketState, flag_names

ALERT_MINUTES = 15
NO_PROBABILITY = "the model's output is no probability that rises with the horizon"
CLOCK = "clock"
"""The reason where the clock went back, or jumped ahead."""


class Stream:
    """One symbol's live path: `on_event` takes events in, `on_clock` returns what follows from them.

    stream = Stream(load("model.onnx"), read_strategy("strategy.yaml"))
    stream.warm(history)
    for message in stream.on_clock(now_ns):
        print(encode(message))

    The clock is called every `signal.clock_seconds` or so. One that goes back, or further ahead than
    `strategy.staleness` allows, is not followed: it gives `abstain` with the reason `clock` and the machine goes stale,
    until the clock is right again, or the next look confirms the jump.
    """

    def __init__(
        self, predictor: Predictor, strategy: StrategySpec | None = None, rules: RulesSpec | None = None
    ) -> None:
        self.predictor = predictor
        self.strategy = strategy or StrategySpec()
        self.spec = spec = predictor.spec
        card = predictor.card
        self.market = MarketState(spec)
        self.kinds = spec.market.kinds()
        self.builder = StepBuilder(spec.market.symbol, self.market.length_ns, spec.map.bin_log)
        self.lookout = Lookout(spec, self.strategy.staleness)
        self.machine = self.fresh_machine()
        self.rules = Rules(rules or RulesSpec(), spec)
        """The user's alert rules, told after what the machine says."""
        self.envelope = envelope(spec, predictor.digest, self.strategy.digest())
        self._envelope = msgspec.structs.asdict(self.envelope)
        self._horizons = tuple(str(minutes) for minutes in spec.label.horizons_minutes)
        self._base_rates = self._by_horizon([[float(rate) for rate in card.base_rates[side]] for side in SIDES])
        self.next_close_ns: int | None = None
        self.now_ns: int | None = None
        """The last clock that was believed."""
        self.stream_seq = 0
        """Number of the next message."""
        self.mark: str | None = None
        self.word: Word | None = None
        self.drift = (
            None if card.drift is None else DriftMonitor(card.drift, card.spec.label.horizons_minutes, card.base_rates)
        )
        """Watches how far the inputs have drifted from training, where the card says what training saw."""
        self.drifted: tuple[str, ...] = ()
        """What the monitor flagged when it last looked: at the end of each part of its window."""
        self.doubted_ns: int | None = None
        """A clock that was not believed, until it is right again."""
        self.ahead: dict[Side, Any] = {"long": None, "short": None}
        """What the atlas showed when the side's zone was found ahead; a checklist says what has changed since."""
        ticks = 2 * max(spec.signal.clock_seconds, spec.market.step_seconds)
        self._jump_ns = round((self.strategy.staleness.jump_seconds + ticks) * SECOND_NS)

    def fresh_machine(self) -> SignalMachine:
        """One that has seen nothing."""
        card = self.predictor.card
        rates: dict[Side, tuple[float, ...]] = {"long": card.base_rates["long"], "short": card.base_rates["short"]}
        return SignalMachine(self.strategy, self.spec, self.predictor.digest, rates, card.alarms)

    @property
    def states(self) -> dict[Side, State]:
        """The present state of each side's machine."""
        return self.machine.states

    def on_event(self, event: AnyEvent) -> None:
        """Take an event in; what follows from it comes with the clock. `StepError` for another symbol's.

        An event of a venue or kind that the spec does not name is passed over, as when history is read from the lake: a
        step must not depend on what else happened to be subscribed to.
        """
        if kind_of(event) not in self.kinds.get(event.venue, ()):
            return
        self.builder.add(event)
        self.lookout.on_event(event)
        if self.next_close_ns is None:
            self.next_close_ns = -(-event.known_at_ns // self.market.length_ns) * self.market.length_ns

    def on_clock(self, now_ns: int, others: Standing = ALONE) -> list[Message]:
        """Close the steps that are due, and let the signal machine look; `others` is what other symbols have open.

        Before the first event there is nothing to say.
        """
        if self.next_close_ns is None:
            return []
        if not self._believes(now_ns):
            return self._doubt(now_ns, others)
        self.doubted_ns = None
        messages: list[Message] = []
        while self.next_close_ns is not None and self.next_close_ns <= now_ns:
            messages.append(self._close_step(self.next_close_ns))
        self.now_ns = now_ns
        return messages + self._look(now_ns, (), others)

    def _believes(self, now_ns: int) -> bool:
        """Whether the clock goes on from where it was, or from where it jumped to at the last look."""
        if now_ns < self._least_ns():
            return False
        last, doubted, jump = self.now_ns, self.doubted_ns, self._jump_ns
        is_near = last is None or now_ns - last <= jump
        return is_near or (doubted is not None and 0 <= now_ns - doubted <= jump)

    def _least_ns(self) -> int:
        """No clock may stand before this: what was heard, and what the machine saw, also in a process before this."""
        return max(self.lookout.tape.now_ns, self.machine.now_ns)

    def _doubt(self, now_ns: int, others: Standing) -> list[Message]:
        """Stay where the clock was last right, and say so once."""
        is_first, self.doubted_ns = self.doubted_ns is None, now_ns
        last = self.now_ns if self.now_ns is not None else self._least_ns()
        messages: list[Message] = []
        if is_first:
            messages.append(AbstainMessage(**self._common(last), reasons=(CLOCK,)))
        return messages + self._look(last, (CLOCK,), others)

    def _look(self, now_ns: int, more_stale: tuple[str, ...], others: Standing) -> list[Message]:
        view = self.lookout.view(now_ns, self.word, more_stale)
        said: list[Message] = [self._said(transition) for transition in self.machine.look(view, others)]
        return said + [self.alert(now_ns, one.rule, one.text, one.facts) for one in self.rules.look(view)]

    def alert(self, at_ns: int, rule: str, text: str, facts: dict[str, float | str]) -> Message:
        """A message of that type with the next number; it holds for a quarter of an hour (domain.md §6.3)."""
        valid_us = at_ns // 1000 + ALERT_MINUTES * 60_000_000
        common = self._common(at_ns) | {"valid_until_us": valid_us}
        return AlertMessage(**common, rule=rule, text=text, facts=facts)

    def _said(self, transition: Transition) -> Message:
        """A move as a message; an entry gets its checklist where there is an atlas."""
        scene, side, advice = self.lookout.scene, transition.side, transition.order_advice
        if transition.state == "zone_ahead":
            self.ahead[side] = scene
        if transition.type == "entry" and scene is not None and advice is not None:
            direction = 1 if advice.side == "buy" else -1
            target = float(advice.targets[0]) if advice.targets else float("nan")
            asked = answers(scene, SIDES.index(side), direction, target, self.ahead[side])
            transition = msgspec.structs.replace(transition, checklist=asked)
        if transition.zone is not None and self.market.atlas is not None:
            zone = by_venue(transition.zone, self.market.atlas.names, (scene, self.ahead[side]))
            transition = msgspec.structs.replace(transition, zone=zone)
        return transition.message(self.envelope, self.count())

    def _close_step(self, close_ns: int) -> Message:
        frame, answer = self.advance(close_ns)
        self.mark = None if frame.mark.event_ns == 0 else decimal_text(frame.mark.close)
        if isinstance(answer, Abstain):
            return AbstainMessage(**self._common(close_ns), reasons=answer.reasons)
        return ProbabilityMessage(
            **self._common(close_ns),
            probabilities=self._by_horizon(answer.probabilities.tolist()),
            base_rates=self._base_rates,
            degraded=answer.degraded,
            drift=self.drifted,
        )

    def advance(self, close_ns: int, *, live: bool = True) -> tuple[Frame, Prediction | Abstain]:
        """One step without messages: the frame, and what the model says of it.

        A step that the market's state refuses is dropped, an empty one takes its place, and the answer is `Abstain`
        with what was wrong. With `live` False it is history, from which no entry follows.
        """
        step = self.builder.close(close_ns)
        self.next_close_ns = close_ns + self.market.length_ns
        refused: tuple[str, ...] = ()
        try:
            frame = self.market.advance(step)
        except StepError as error:
            refused = (str(error),)
            frame = self.market.advance(Step(step.symbol, close_ns, step.length_ns, {}))
        answer = self.predictor.step(frame)
        if refused:
            answer = Abstain(step.symbol, close_ns, (*refused, *flag_names(frame.unhealthy)))
        if isinstance(answer, Prediction) and not rises(answer.probabilities.tolist()):
            answer = Abstain(step.symbol, close_ns, (NO_PROBABILITY,))
        self._watch(frame, answer if isinstance(answer, Prediction) else None)
        self._hear(close_ns, answer)
        self.lookout.on_frame(frame, self.market.map.open_interest_base)
        if close_ns > self.lookout.tape.now_ns:
            self.lookout.tape.advance(close_ns, live=live)
        return frame, answer

    def _hear(self, close_ns: int, answer: Prediction | Abstain) -> None:
        if isinstance(answer, Abstain):
            self.word = Word(ts_ns=close_ns, probabilities=None, reasons=answer.reasons, drift=self.drifted)
            return
        long, short = answer.probabilities.tolist()
        self.word = Word(
            ts_ns=close_ns, probabilities=(tuple(long), tuple(short)), degraded=answer.degraded, drift=self.drifted
        )

    def _watch(self, frame: Frame, said: Prediction | None) -> None:
        """Have the drift monitor follow; it is asked just before a new part of its window begins."""
        if self.drift is None:
            return
        if self.drift.begins_part(frame.close_ns):
            self.drifted = self.drift.report().flags
        self.drift.push(frame, None if said is None else said.probabilities)

    def warm(self, history: Iterable[AnyEvent], until_ns: int | None = None) -> None:
        """Fold recorded events in without a message, up to the last whole step (or to `until_ns`): the map fills, the
        model's state and the tape run.
        """
        newest = 0
        for event in history:
            if until_ns is not None and event.known_at_ns > until_ns:
                break
            while self.next_close_ns is not None and event.known_at_ns > self.next_close_ns:
                self.advance(self.next_close_ns, live=False)
            self.on_event(event)
            newest = event.known_at_ns
        while self.next_close_ns is not None and self.next_close_ns <= (until_ns or newest):
            self.advance(self.next_close_ns, live=False)

    def halt(self, reason: str) -> None:
        """Stop, from the next look on, until `resume`."""
        self.machine.halt(reason)

    def resume(self) -> None:
        """Go on, from the next look on."""
        self.machine.resume()

    def restarted(self) -> None:
        """Say so after `restore` in a new process: an open trade is told to protect itself, and the clock may have
        moved on.
        """
        self.machine.restarted()
        self.now_ns = self.doubted_ns = None

    def snapshot(self) -> bytes:
        """The whole stream, market, model state, machine and pending events, as sealed bytes (`squeeze.sealed`)."""
        return self.freeze()()

    def freeze(self) -> Callable[[], bytes]:
        """The stream as it is now: what is returned makes the bytes of `snapshot`, in any thread, at any time."""
        return stream_snapshot.freeze(self)

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot of the same model, spec and strategy; `StepError` for any other, and nothing has
        changed. One in which the machine has not looked yet, as `warm` leaves it, fits every strategy.
        """
        stream_snapshot.restore(self, snapshot)

    def count(self) -> int:
        """The number of a message that is put on the stream now."""
        self.stream_seq += 1
        return self.stream_seq - 1

    def _common(self, at_ns: int) -> dict[str, Any]:
        """What a probability, or the want of one, says of itself; it holds for two steps."""
        number = self.count()
        return {
            **self._envelope,
            "event_id": event_id(self.envelope.stream, number, at_ns // 1000),
            "stream_seq": number,
            "ts_data_us": at_ns // 1000,
            "valid_until_us": (at_ns + 2 * self.market.length_ns) // 1000,
            "mark": self.mark,
        }

    def _by_horizon(self, rows: list[list[float]]) -> dict[Side, dict[str, float]]:
        """By side and by the horizon's minutes."""
        long, short = (dict(zip(self._horizons, row, strict=True)) for row in rows)
        return {"long": long, "short": short}
