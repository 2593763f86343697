"""The signal machine of domain.md §6: from a zone ahead to a trade that is over, for one symbol, both sides inside.

              zone worth watching      fast, near, probable     in it, prints        onset rule
        idle ───────────────► zone_ahead ─────────► approach ─────────► triggered ─────────► cascade ─┐ next zone
         ▲ ▲                      │ lost, thinned,      │                   │ false break,      │  ▲ ───┘
         │ └──────────────────────┴─ away, timer ───────┘                   │ no onset          │ over
         │                                                                  ▼                   ▼
         ├───────────── rested ────────────────────────────────────── invalidated          aftermath
         │                                                                                      │ calm, cleared, pays
         └───────────── rested ─── done ◄── too late, opposite cascade, no size ────────────────┤
                                    ▲ ▲                                                         ▼
                                    │ └─────────────────── expired ────────────────────────── entry
                                    └── stop, trail, time, momentum ── managed ◄── filled ──────┘

        any ── an input is stale ──► stale ── healthy for a minute ──► idle
        any ── halted, or a bad day ──► halted ── resumed, or a new day ──► idle (stale, while an input is)

Each arrow is one message (`Transition`). There is no arrow from `cascade` to `entry`. A setup has one `signal_id` from
`zone_ahead` to its one terminal message, `exit` if a trade was filled and `cancel` otherwise; what comes of a setup
that goes stale or is halted is said when the side comes back. Until then an open trade has been told to `protect`.

Both sides follow their own setups at once, but only one of them can be in a trade, and none enters while the other is
in an aftermath. A look is pure in effect: the memory is a value, and it is replaced at the end or not at all.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from squeeze.errors import ConfigError, StepError
from squeeze.market.events import SECOND_NS
from squeeze.signals import exits, machine_facts, machine_rules, machine_states
from squeeze.signals.alarm_threshold import AlarmThreshold
from squeeze.signals.machine_look import Look, limits_of
from squeeze.signals.machine_memory import Memory, SideMemory, Trade, take_in
from squeeze.signals.machine_states import Move
from squeeze.signals.message import Side, State, decimal_text
from squeeze.signals.portfolio import ALONE, Standing
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.transition import TERMINAL, Kind, Transition, digest, event_id
from squeeze.signals.view import View
from squeeze.spec import Spec
from squeeze.strict import convert

SIDES: tuple[Side, ...] = get_args(Side)
MOST_MOVES = 24
"""Of a side at one look; more than any way through the diagram has."""


class SignalMachine:
    """One symbol's machine; `look` is all that a clock has to call.

    `base_rates` are the model's, by side and then by the label's horizons, each strictly between 0 and 1
    (`ConfigError` otherwise), and `alarms` its card's thresholds. A side's alarm threshold is that of the strategy's
    budget of false alarms, or `arm_ratio` base rates where the card holds none for it. Neither is above 0.95.
    """

    def __init__(
        self,
        strategy: StrategySpec,
        spec: Spec,
        model: str,
        base_rates: Mapping[Side, Sequence[float]],
        alarms: tuple[AlarmThreshold, ...] = (),
    ) -> None:
        self.strategy = strategy
        self.limits = tuple(limits_of(strategy, spec, model, base_rates, alarms, side) for side in SIDES)
        self._clock_ns = round(spec.signal.clock_seconds * SECOND_NS)
        self._memory = Memory(symbol=spec.market.symbol, model=model, config=strategy.digest())

    @property
    def states(self) -> dict[Side, State]:
        """The present state of each side."""
        return {side: self._memory.sides[side].state for side in SIDES}

    @property
    def now_ns(self) -> int:
        """The last look; 0 before the first."""
        return self._memory.now_ns or 0

    @property
    def halted(self) -> str | None:
        """Why it was halted; None where it was not."""
        return self._memory.halted

    @property
    def standing(self) -> Standing:
        """Open risk and the day's result: what the machines of other symbols have to know of this one."""
        risk = {"buy": 0.0, "sell": 0.0}
        for mind in self._memory.sides.values():
            if mind.trade is not None:
                risk[mind.trade.order] += mind.trade.risk_percent
        return Standing(buy_percent=risk["buy"], sell_percent=risk["sell"], day_r=self._memory.day_r)

    def look(self, view: View, others: Standing = ALONE) -> list[Transition]:
        """What changes at `view.now_ns`, in order, longs first; a second look at the same view finds nothing.

        `others` is what is open in other symbols (`portfolio.together`). `StepError` for a clock that goes back or
        stands before the data, and for a view that cannot be: a price that is not positive, or probabilities outside
        [0, 1] or that fall with the horizon. The machine is then as it was.
        """
        before = self._memory
        _check(view, before.now_ns, len(self.limits[0].horizons))
        gap_ns = 0 if before.now_ns is None else view.now_ns - before.now_ns
        stale = machine_rules.stale_inputs(view, self.strategy.health, gap_ns, self._clock_ns)
        memory = take_in(before, view, not stale)
        said: list[Transition] = []
        results: list[float] = []
        sides: dict[Side, SideMemory] = {}
        for index, side in enumerate(SIDES):
            limits = self.limits[index]
            look = Look(
                view=view,
                side=index,
                memory=memory,
                other=before.sides[SIDES[1 - index]],
                others=others,
                stale=tuple(f"stale_{name}" for name in stale),
                is_day_over=memory.day_r + others.day_r <= -self.strategy.portfolio.daily_stop_r,
                probability=machine_rules.probability(view, index, limits.horizon, limits.word_ns),
                limits=limits,
                strategy=self.strategy,
            )
            sides[side] = _follow(look, before.sides[side], said, results)
        if results:
            memory = replace(memory, day_r=memory.day_r + math.fsum(results), exit_ns=view.now_ns)
        self._memory = replace(memory, sides=sides, is_restarted=False)
        return said

    def halt(self, reason: str) -> None:
        """Stop, from the next look on, until `resume`: an open trade is told to protect itself."""
        self._memory = replace(self._memory, halted=reason or "by hand")

    def resume(self) -> None:
        """Go on, from the next look on."""
        self._memory = replace(self._memory, halted=None)

    def restarted(self) -> None:
        """Say so after `restore` in a new process: the next look tells an open trade to protect itself."""
        self._memory = replace(self._memory, is_restarted=True)

    def on_fill(self, signal_id: str, price: float, quantity: float, at_ns: int) -> None:
        """The consumer's entry was filled, or a part of it, while the advice held; the next look follows from it.

        Parts add up. `StepError`, and nothing has changed, where fills are on paper, for a signal without a live entry,
        for a fill before the advice or after its end (a second is tolerated), and for more than was advised.
        """
        self._report(signal_id, lambda trade: exits.filled(trade, price, quantity, at_ns))

    def on_close(self, signal_id: str, price: float, quantity: float, at_ns: int) -> None:
        """The consumer closed its position, or a part, without advice: an order of the exchange's own, or by hand.

        When nothing is held any more the next look says `exit` with the code `closed`. What an `update` or `exit`
        advised is taken as done and not reported. `StepError`, and nothing has changed, where fills are on paper, for a
        signal without an open trade, a close before its fill, and for more than is held.
        """
        self._report(signal_id, lambda trade: exits.closed(trade, price, quantity, at_ns))

    def _report(self, signal_id: str, change: Callable[[Trade], Trade]) -> None:
        if self.strategy.entry.fills != "consumer":
            raise StepError("fills are on paper: entry.fills must be consumer for a fill to be reported")
        for side, mind in self._memory.sides.items():
            if mind.trade is not None and mind.signal_id == signal_id:
                trade = change(mind.trade)
                self._memory = replace(self._memory, sides={**self._memory.sides, side: replace(mind, trade=trade)})
                return
        raise StepError(f"a fill of signal {signal_id!r}, which has no live entry")

    def snapshot(self) -> dict[str, Any]:
        """The whole state in plain types; what is unknown is NaN, so MessagePack holds it and JSON does not."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return plain

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of the same symbol, model and strategy; `ConfigError` for another: nothing changed."""
        memory = convert(snapshot, Memory, "signal snapshot")
        ours = (self._memory.symbol, self._memory.model, self._memory.config)
        theirs = (memory.symbol, memory.model, memory.config)
        if ours != theirs:
            raise ConfigError(f"signal snapshot: expected symbol, model and strategy {ours}, got {theirs}")
        self._memory = memory


def _check(view: View, last_ns: int | None, horizons: int) -> None:
    """`StepError` for a view that cannot follow, or cannot be."""
    if last_ns is not None and view.now_ns < last_ns:
        raise StepError(f"the signal clock must not go back: {view.now_ns} after {last_ns}")
    for name, at_ns in (("word", view.word.ts_ns if view.word else 0), ("mark", view.mark_ns)):
        if at_ns > view.now_ns:
            raise StepError(
                f"the signal clock must not stand before the data: {view.now_ns} before the {name}'s {at_ns}"
            )
    for name in ("mark", "mark_low", "mark_high", "bid", "ask"):
        price = getattr(view, name)
        if price <= 0 or price == math.inf:
            raise StepError(f"{name} must be a positive price, or NaN, got {price}")
    if view.word is not None and view.word.probabilities is not None:
        for row in view.word.probabilities:
            if not (len(row) == horizons and rises((row,))):
                raise StepError(f"probabilities must lie in [0, 1] and not fall over {horizons} horizons, got {row}")


def rises(rows: Iterable[Sequence[float]]) -> bool:
    """Whether each row holds probabilities that do not fall with the horizon.

    >>> rises([[0.0, 0.25, 1.0]]), rises([[0.25, 0.2]]), rises([[0.1, 1.1]]), rises([[float("nan"), 0.5]])
    (True, False, False, False)
    """
    return all(0 <= low <= high <= 1 for row in rows for low, high in pairwise((*row, 1.0)))


def _follow(look: Look, mind: SideMemory, said: list[Transition], results: list[float]) -> SideMemory:
    """Move a side as far as this look carries it; what is said is appended."""
    mind = machine_states.watch(look, mind)
    restart = ("restart",) if look.memory.is_restarted and mind.trade is not None else ()
    for _ in range(MOST_MOVES):
        move = _forced(look, mind)
        if restart:
            move = move or Move("protect", mind.state, (), mind)
            move, restart = move._replace(kind="protect", codes=(*restart, *move.codes)), ()
        move = move or machine_states.NEXT[mind.state](look, mind)
        if move is None:
            return mind
        mind = _say(look, mind, move, said)
        if move.r_multiple is not None:
            results.append(move.r_multiple)
    raise AssertionError(f"a side moved {MOST_MOVES} times at one look")


def _forced(look: Look, mind: SideMemory) -> Move | None:
    """Halted or stale, from anywhere."""
    kind: Kind = "state" if mind.trade is None else "protect"
    if look.must_halt(mind) and mind.state != "halted":
        return Move(kind, "halted", ("daily_stop" if look.memory.halted is None else "halted",), mind)
    if look.stale and mind.state not in ("stale", "halted"):
        return Move(kind, "stale", look.stale, mind)
    return None


def _say(look: Look, before: SideMemory, move: Move, said: list[Transition]) -> SideMemory:
    """Append the message of a move, and return what the side remembers after it."""
    mind, now_ns = move.mind, look.now_ns
    name = (
        event_id(mind.signal_id, mind.seq)
        if mind.signal_id
        else digest(f"{look.limits.symbol}|{look.direction}|{move.state}|{now_ns}|{look.limits.model}")
    )
    is_advice, trade = move.kind in ("entry", "update"), mind.trade
    holds_ns = round(look.strategy.messages.valid_seconds * SECOND_NS)
    said.append(
        Transition(
            type=move.kind,
            event_id=name,
            ts_data_us=now_ns // 1000,
            valid_until_us=(trade.expires_ns if move.kind == "entry" and trade else now_ns + holds_ns) // 1000,
            mark=decimal_text(machine_facts.known(look.view.mark)),
            signal_id=mind.signal_id,
            seq=mind.seq,
            side=look.name,
            direction=look.direction,
            state=move.state,
            prev_state=before.state,
            reason_codes=move.codes,
            reasons=machine_facts.reasons(look, move.codes, move.r_multiple),
            mode=None if trade is None else trade.mode,
            probs=machine_facts.probabilities(look),
            base_rate=look.limits.base_rate,
            calibration_id=look.limits.calibration_id,
            zone=machine_facts.zone_facts(mind.zone, look.name),
            market=machine_facts.market_facts(look, mind.zone),
            cascade=machine_facts.cascade_facts(mind.cascade, look),
            order_advice=machine_facts.order_advice(trade, look.strategy.account) if is_advice and trade else None,
            quality=machine_facts.quality(look, mind),
            supersedes=(trade.event_id or None) if is_advice and trade else None,
            r_multiple=move.r_multiple,
        )
    )
    if move.kind in TERMINAL or not mind.signal_id:
        return SideMemory(state=move.state, since_ns=now_ns, over_since_ns=mind.over_since_ns, clearings=mind.clearings)
    since_ns = before.since_ns if move.state == before.state else now_ns
    trade = replace(trade, event_id=name) if is_advice and trade else trade
    return replace(mind, state=move.state, since_ns=since_ns, seq=mind.seq + 1, trade=trade)
