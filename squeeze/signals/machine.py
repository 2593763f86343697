"""When a probability becomes a signal.

            p ≥ arm             p ≥ fire for confirm_seconds         p < arm, abstain,
    idle ────────────► armed ─────────────────────────────► fired ─────────────────────► cooling
     ▲                   │                                         horizon elapsed          │
     ├───────────────────┘ p < arm, abstain                                                 │
     └──────────────────────────────────────────────────────────────────────────────────────┘ cooldown_minutes

The model speaks once a step (`on_probabilities`), the machine acts on a clock of its own (`on_clock`), so that silence
of the data is noticed too. Each side has a state of its own, both may be live at once. The state is a value and a look
at the clock a pure function of it: a replay that makes the same calls gets the same bytes, and a restored machine goes
on as if nothing had happened.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from squeeze.errors import ConfigError, StepError
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals.message import Reason, Side, SignalMessage, State
from squeeze.spec import SignalSpec
from squeeze.strict import convert

HIGHEST_THRESHOLD = 0.95
"""Where a ratio times a high base rate would ask for more than a calibrated model ever says, this is enough."""

SIDES: tuple[Side, ...] = get_args(Side)


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A `SignalMessage` that has not been put on a stream: it lacks only `sequence` and `mark`."""

    model: str
    symbol: str
    ts_data_ns: int
    signal_id: str
    event_id: str
    seq: int
    side: Side
    state: State
    previous_state: State
    reason: Reason
    abstain_reasons: tuple[str, ...]
    at_ns: int
    valid_until_ns: int
    probability: float | None
    base_rate: float
    horizon_minutes: int

    @property
    def is_terminal(self) -> bool:
        """Whether the signal ends here; that happens once for each `signal_id`."""
        return self.state == "idle"

    def message(self, sequence: int, mark: str | None) -> SignalMessage:
        """What goes on the stream."""
        return SignalMessage(sequence=sequence, mark=mark, **msgspec.structs.asdict(self))


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What one side's probability is held against, and for how long; all times in nanoseconds."""

    base_rate: float
    arm: float
    fire: float
    confirm_ns: int
    horizon_ns: int
    cooldown_ns: int
    stale_ns: int


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model last said, and the data cut it said it for."""

    ts_ns: int
    probabilities: dict[Side, float] | None
    """None: it abstained."""
    reasons: tuple[str, ...] = ()


class SideState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a side remembers; `armed_ns` stays when it is idle again, since a data cut arms one signal only."""

    state: State = "idle"
    since_ns: int | None = None
    """When the clock saw this state begin."""
    armed_ns: int | None = None
    """Data cut of the probability that armed the newest signal; it names the signal."""
    over_since_ns: int | None = None
    """Data cut since which every probability has been over the firing threshold, without a silence."""
    signal_id: str = ""
    seq: int = 0
    """Number of the next event of this signal."""


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole state of a machine, and whose it is."""

    symbol: str
    model: str
    now_ns: int | None = None
    word: Word | None = None
    sides: dict[Side, SideState] = msgspec.field(default_factory=lambda: {side: SideState() for side in SIDES})


class SignalMachine:
    """Turns the probabilities of `spec.horizon_minutes` into at most one live signal per side.

    `model` is the digest of the model file and `base_rates` how often each side's event came true in training, strictly
    between 0 and 1 (`ConfigError` otherwise). A side arms at `arm_ratio` times its base rate and fires at `fire_ratio`
    times, but neither threshold is put above 0.95. A probability holds until the next one, and for `stale_ns` at most:
    two steps, as a rule. The clock acts on the newest word only: what was said and withdrawn between two looks is not
    seen, except that it starts the confirmation anew.

    >>> spec = SignalSpec(horizon_minutes=15)  # arms at 3 and fires at 6 times the base rate
    >>> machine = SignalMachine(spec, "BTC", "digest", {"long": 0.02, "short": 0.02}, stale_ns=2 * MINUTE_NS)
    >>> machine.on_probabilities(0, {"long": 0.13, "short": 0.01})
    >>> [(t.side, t.previous_state, t.state, t.reason) for t in machine.on_clock(0)]
    [('long', 'idle', 'armed', 'over_arm_threshold'), ('long', 'armed', 'fired', 'over_fire_threshold')]
    """

    def __init__(
        self, spec: SignalSpec, symbol: str, model: str, base_rates: Mapping[Side, float], *, stale_ns: int
    ) -> None:
        if stale_ns <= 0:
            raise ConfigError(f"stale_ns must be positive, got {stale_ns}")
        self.spec = spec
        self.stale_ns = stale_ns
        self.thresholds = {side: _thresholds(spec, side, base_rates, stale_ns) for side in SIDES}
        self._memory = Memory(symbol=symbol, model=model)

    @property
    def states(self) -> dict[Side, State]:
        """The present state of each side."""
        return {side: self._memory.sides[side].state for side in SIDES}

    def on_probabilities(
        self, ts_ns: int, probabilities: Mapping[Side, float] | None, reasons: tuple[str, ...] = ()
    ) -> None:
        """Hear what the model says of the data up to `ts_ns`; None when it abstains, and then why.

        Nothing is decided before the next `on_clock`. `StepError` for a data cut before the last one and for a
        probability outside [0, 1]; the machine is then as it was.
        """
        memory = self._memory
        if memory.word is not None and ts_ns < memory.word.ts_ns:
            raise StepError(f"probabilities must not go back: {ts_ns} after {memory.word.ts_ns}")
        silence = () if probabilities is not None else tuple(reasons)
        word = Word(ts_ns=ts_ns, probabilities=_checked(probabilities), reasons=silence)
        broken = memory.word is None or ts_ns - memory.word.ts_ns > self.stale_ns
        sides = {side: _hear(memory.sides[side], word, side, self.thresholds[side], broken) for side in SIDES}
        self._memory = msgspec.structs.replace(memory, word=word, sides=sides)

    def on_clock(self, now_ns: int) -> list[Transition]:
        """What changes at `now_ns`, in order, longs first; a second look at the same instant and word finds nothing.

        `StepError` for a clock that goes back, or that stands before the data; the machine is then as it was.
        """
        memory = self._memory
        if memory.now_ns is not None and now_ns < memory.now_ns:
            raise StepError(f"the signal clock must not go back: {now_ns} after {memory.now_ns}")
        if memory.word is not None and now_ns < memory.word.ts_ns:
            raise StepError(f"the signal clock must not stand before the data: {now_ns} before {memory.word.ts_ns}")
        sides: dict[Side, SideState] = dict(memory.sides)
        found: list[Transition] = []
        if memory.word is not None:
            for side in SIDES:
                while (reason := _next(sides[side], memory.word, side, self.thresholds[side], now_ns)) is not None:
                    sides[side], transition = self._move(sides[side], memory.word, side, *reason, now_ns)
                    found.append(transition)
        self._memory = msgspec.structs.replace(memory, now_ns=now_ns, sides=sides)
        return found

    def snapshot(self) -> dict[str, Any]:
        """The whole state in plain JSON types."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return plain

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of the same symbol and model; `ConfigError` for any other, and nothing has changed."""
        memory = convert(snapshot, Memory, "signal snapshot")
        ours, theirs = (self._memory.symbol, self._memory.model), (memory.symbol, memory.model)
        if ours != theirs:
            raise ConfigError(f"signal snapshot: expected symbol and model {ours}, got {theirs}")
        if set(memory.sides) != set(SIDES):
            raise ConfigError(f"signal snapshot: expected sides {SIDES}, got {tuple(memory.sides)}")
        self._memory = memory

    def _move(
        self, old: SideState, word: Word, side: Side, state: State, reason: Reason, now_ns: int
    ) -> tuple[SideState, Transition]:
        """Enter `state`, and say so."""
        limits, symbol, model = self.thresholds[side], self._memory.symbol, self._memory.model
        if state == "armed":
            name = signal_id(symbol, side, word.ts_ns, model)
            old = msgspec.structs.replace(old, armed_ns=word.ts_ns, signal_id=name, seq=0)
        new = msgspec.structs.replace(old, state=state, since_ns=now_ns, seq=old.seq + 1)
        transition = Transition(
            model=model,
            symbol=symbol,
            ts_data_ns=word.ts_ns,
            signal_id=new.signal_id,
            event_id=event_id(new.signal_id, old.seq),
            seq=old.seq,
            side=side,
            state=state,
            previous_state=old.state,
            reason=reason,
            abstain_reasons=_silence(word, limits, now_ns) if reason == "abstain" else (),
            at_ns=now_ns,
            valid_until_ns=_valid_until(state, word, limits, now_ns),
            probability=_probability(word, side, limits, now_ns),
            base_rate=limits.base_rate,
            horizon_minutes=self.spec.horizon_minutes,
        )
        return new, transition


def signal_id(symbol: str, side: Side, armed_ns: int, model: str) -> str:
    """First 16 hex digits of the SHA-256 of `symbol|side|armed_ns|model`.

    `armed_ns` is the data cut of the probability that armed it, so that the jitter of a live clock is not in the name.

    >>> signal_id("BTC", "long", 0, "digest")
    '7cc4a3929c6dd8cf'
    """
    return _digest(f"{symbol}|{side}|{armed_ns}|{model}")


def event_id(signal: str, seq: int) -> str:
    """First 16 hex digits of the SHA-256 of `signal_id|seq`."""
    return _digest(f"{signal}|{seq}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _thresholds(spec: SignalSpec, side: Side, base_rates: Mapping[Side, float], stale_ns: int) -> Thresholds:
    base = base_rates.get(side)
    if base is None or not 0 < base < 1:
        raise ConfigError(f"base_rates: {side} must lie between 0 and 1, got {base}")
    return Thresholds(
        base_rate=float(base),
        arm=min(spec.arm_ratio * base, HIGHEST_THRESHOLD),
        fire=min(spec.fire_ratio * base, HIGHEST_THRESHOLD),
        confirm_ns=round(spec.confirm_seconds * SECOND_NS),
        horizon_ns=spec.horizon_minutes * MINUTE_NS,
        cooldown_ns=round(spec.cooldown_minutes * MINUTE_NS),
        stale_ns=stale_ns,
    )


def _checked(probabilities: Mapping[Side, float] | None) -> dict[Side, float] | None:
    if probabilities is None:
        return None
    for side in SIDES:
        if not 0 <= probabilities.get(side, -1.0) <= 1:
            raise StepError(f"probabilities: {side} must lie in [0, 1], got {probabilities.get(side)}")
    return {side: float(probabilities[side]) for side in SIDES}


def _hear(state: SideState, word: Word, side: Side, limits: Thresholds, broken: bool) -> SideState:
    """Keep since when the firing threshold has been passed; a silence or an abstention starts that anew."""
    if word.probabilities is None or word.probabilities[side] < limits.fire:
        over_since = None
    else:
        over_since = word.ts_ns if broken or state.over_since_ns is None else state.over_since_ns
    return msgspec.structs.replace(state, over_since_ns=over_since)


def _silence(word: Word, limits: Thresholds, now_ns: int) -> tuple[str, ...]:
    """Why there is no probability at `now_ns`; empty when there is one."""
    if word.probabilities is None:
        return word.reasons or ("unspecified",)
    return ("stale_probability",) if now_ns - word.ts_ns > limits.stale_ns else ()


def _probability(word: Word, side: Side, limits: Thresholds, now_ns: int) -> float | None:
    return None if word.probabilities is None or _silence(word, limits, now_ns) else word.probabilities[side]


def _next(
    side_state: SideState, word: Word, side: Side, limits: Thresholds, now_ns: int
) -> tuple[State, Reason] | None:
    """Where a side goes from here and why, or None where it stays.

    It ends: no way leads round at one instant, because a data cut arms one signal only.
    """
    p = _probability(word, side, limits, now_ns)
    since_ns = now_ns if side_state.since_ns is None else side_state.since_ns
    match side_state.state:
        case "idle":
            fresh = side_state.armed_ns is None or word.ts_ns > side_state.armed_ns
            if p is not None and p >= limits.arm and fresh:
                return "armed", "over_arm_threshold"
        case "armed":
            if p is None:
                return "idle", "abstain"
            if p < limits.arm:
                return "idle", "under_arm_threshold"
            if side_state.over_since_ns is not None and now_ns - side_state.over_since_ns >= limits.confirm_ns:
                return "fired", "over_fire_threshold"
        case "fired":
            if p is None:
                return "cooling", "abstain"
            if p < limits.arm:
                return "cooling", "under_arm_threshold"
            if now_ns - since_ns >= limits.horizon_ns:
                return "cooling", "horizon_elapsed"
        case "cooling":
            if now_ns - since_ns >= limits.cooldown_ns:
                return "idle", "cooldown_elapsed"
    return None


def _valid_until(state: State, word: Word, limits: Thresholds, now_ns: int) -> int:
    """Armed: until its probability is stale. Fired: the horizon. Cooling: the cooldown. Idle: it is over."""
    match state:
        case "armed":
            return word.ts_ns + limits.stale_ns
        case "fired":
            return now_ns + limits.horizon_ns
        case "cooling":
            return now_ns + limits.cooldown_ns
        case "idle":
            return now_ns
