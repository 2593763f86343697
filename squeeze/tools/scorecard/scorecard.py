"""One symbol's scorecard: messages, events and a clock in; figures, and whether to switch the symbol off, out."""

import math
import zlib
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, AnyEvent
from squeeze.model_file import ModelCard
from squeeze.signals.message import AbstainMessage, ExitMessage, HeartbeatMessage, Message, ProbabilityMessage
from squeeze.tools.scorecard import figures
from squeeze.tools.scorecard.record import WAITS, Record, RecordState
from squeeze.tools.scorecard.report import Report, SideReport, TradeReport
from squeeze.tools.scorecard.spec import ScorecardSpec, thresholds
from squeeze.tools.scorecard.table import Table

MOST_ROWS = 2**16
"""Rows that are held: 227 days of one every five minutes."""
MOST_WAITING = 2**14
MOST_TRADES = 2**12
NEVER = "the outcome did not become known in time"


class Outcome(msgspec.Struct, frozen=True):
    """What came of the probabilities of one time; `truth` (side, horizon)."""

    ts_ns: int
    truth: np.ndarray


class ScorecardState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scorecard at rest."""

    model: str
    card: ModelCard
    now_ns: int
    settled_ns: int
    off: str
    on_since_ns: int
    newest_seq: int
    tables: tuple[tuple[int, bytes], ...]
    left_out: dict[str, int]
    record: RecordState


class Scorecard:
    """Keeps what was said until its outcome is known, and counts.

    scorecard = Scorecard(predictor.card, predictor.digest)
    scorecard.on_event(event)       # every event, before the clock reaches its known-at time
    scorecard.on_message(message)   # every message of the stream
    scorecard.on_clock(now_ns)      # outcomes that are known now
    print(text(scorecard.report()))

    Only probabilities at whole multiples of the label's `every_minutes` count, as in training. What is found does not
    depend on how often the clock is told, nor on the order in which things came that were known by the same time.
    """

    def __init__(self, card: ModelCard, model: str, spec: ScorecardSpec | None = None) -> None:
        self.card, self.model, self.spec = card, model, spec or ScorecardSpec()
        self.label = label = card.spec.label
        self.thresholds = thresholds(card, self.spec)
        self.record = Record(card.spec)
        self.now_ns = 0
        """The last clock."""
        self.off = ""
        """Why the symbol is switched off; empty while it is on."""
        self.on_since_ns = 0
        """When it was last switched on by hand: what was before that switches nothing off again."""
        self.newest_seq = -1
        self.left_out: dict[str, int] = {}
        shape = len(SIDES), len(label.horizons_minutes)
        said = [("ts_ns", "i8"), ("p", "f8", shape)]
        self._waiting = Table(said, MOST_WAITING)
        self._rows = Table([*said, ("truth", "?", shape), ("came_ns", "i8", shape[:1])], MOST_ROWS)
        self._trades = Table([("ts_ns", "i8"), ("side", "i8"), ("r", "f8")], MOST_TRADES)
        self._silent = Table([("ts_ns", "i8")], MOST_ROWS)
        self._every_ns = label.every_minutes * MINUTE_NS
        self._settle_ns = self.spec.settle_every_minutes * MINUTE_NS
        delay_ns = round(self.spec.settle_delay_seconds * SECOND_NS)
        self._due_ns = label.horizons_minutes[-1] * MINUTE_NS + self.record.ahead_ns + delay_ns
        self._settled_ns = 0
        self._heard_ns = 0
        """What was known by then came with a snapshot."""

    def warm(self, history: Iterable[AnyEvent]) -> None:
        """Hear what was recorded before the first message: a label may need the past to say what is unusual."""
        for event in history:
            self.record.on_clock(event.known_at_ns - 1)
            self.record.on_event(event)

    def on_event(self, event: AnyEvent) -> None:
        """Hear an event; those of other symbols and kinds are passed over, and what a snapshot had heard already."""
        if event.known_at_ns > self._heard_ns:
            self.record.on_event(event)

    def on_message(self, message: Message) -> None:
        """Hear a message of the symbol's stream; one that was heard before is passed over."""
        is_ours = message.symbol == self.card.spec.market.symbol and not isinstance(message, HeartbeatMessage)
        if not is_ours or message.stream_seq <= self.newest_seq:
            return
        self.newest_seq = message.stream_seq
        at_ns = message.ts_data_us * 1000
        if isinstance(message, ExitMessage):
            brought_r = math.nan if message.r_multiple is None else message.r_multiple
            self._trades.add((at_ns, SIDES.index(message.side), brought_r))
        elif at_ns % self._every_ns == 0 and isinstance(message, ProbabilityMessage):
            names, said = [str(minutes) for minutes in self.label.horizons_minutes], message.probabilities
            self._waiting.add((at_ns, [[by_side[name] for name in names] for by_side in (said["long"], said["short"])]))
        elif at_ns % self._every_ns == 0 and isinstance(message, AbstainMessage):
            self._silent.add((at_ns,))

    def on_clock(self, now_ns: int) -> list[Outcome]:
        """What has become known by now, in rising time; the symbol is switched off where that shows that it must be.

        A clock that goes back is passed over.
        """
        if now_ns < self.now_ns:
            return []
        self.now_ns = now_ns
        found: list[Outcome] = []
        while len(self._waiting):
            first_due_ns = -(-(int(self._waiting.rows["ts_ns"][0]) + self._due_ns) // self._settle_ns) * self._settle_ns
            at_ns = max(self._settled_ns + self._settle_ns, first_due_ns)
            if at_ns > now_ns:
                break
            self._settled_ns = at_ns
            found += self._settle(at_ns)
        self.record.on_clock(now_ns)
        return found

    def _settle(self, at_ns: int) -> list[Outcome]:
        """Look the outcomes up that are due, from what was known at `at_ns` and nothing after."""
        self.record.on_clock(at_ns)
        is_due = self._waiting.rows["ts_ns"] + self._due_ns <= at_ns
        due = self._waiting.rows[is_due].copy()
        came = self.record.came(due["ts_ns"], at_ns)
        is_late = due["ts_ns"] + round(self.spec.patience_hours * HOUR_NS) <= at_ns
        found, goes = [], np.zeros(len(due), bool)
        for place, why in enumerate(came.why):
            ts_ns = int(due["ts_ns"][place])
            if not why:
                self._rows.add((ts_ns, due["p"][place], came.truth[place], came.came_ns[place]))
                found.append(Outcome(ts_ns, came.truth[place]))
            elif why != WAITS or is_late[place]:
                reason = NEVER if why == WAITS else why
                self.left_out[reason] = self.left_out.get(reason, 0) + 1
            else:
                continue
            goes[place] = True
        keep = np.ones(len(self._waiting), bool)
        keep[np.flatnonzero(is_due)[goes]] = False
        self._waiting.keep(keep)
        self.record.trim(at_ns)
        if found and not self.off and self.spec.switches_off:
            self.off = self._verdict(at_ns)
        return found

    def _verdict(self, at_ns: int) -> str:
        """Why the symbol must be switched off; empty where it need not be."""
        minutes = self.card.spec.signal.horizon_minutes
        horizon = self.label.horizons_minutes.index(minutes)
        since_ns = max(self.on_since_ns, self._window_begin_ns(at_ns))
        for side, name in enumerate(SIDES):
            seen = self._alarms(since_ns, side, horizon).precision
            rate = self.card.base_rates[name][horizon]
            bound = rate if self.spec.least_precision is None else self.spec.least_precision
            if seen.of >= self.spec.least_alarms and seen.high < bound:
                return (f"{name} alarms within {minutes} min: {seen.came} of {seen.of} came true, at most "
                        f"{seen.high:.4f} by Wilson's 95 % interval, below {bound:.4f}")  # fmt: skip
        return ""

    def switch_on(self, at_ns: int) -> None:
        """By hand: what was before then switches nothing off again."""
        self.off, self.on_since_ns = "", at_ns

    def breaks(self, until_ns: int) -> None:
        """The program did not run from the last clock to then: nothing of that time was recorded."""
        if until_ns > self.now_ns > 0:
            self.record.breaks(self.now_ns, until_ns)
            self.now_ns = until_ns

    def report(self, at_ns: int | None = None) -> Report:
        """All figures as of the last clock."""
        at_ns = self.now_ns if at_ns is None else at_ns
        since_ns = self._window_begin_ns(at_ns)
        return Report(
            symbol=self.card.spec.market.symbol,
            model=self.model,
            at_ns=at_ns,
            off=self.off,
            window_days=self.spec.window_days,
            sides=tuple(
                self._side(since_ns, side, h)
                for side in range(len(SIDES))
                for h in range(len(self.label.horizons_minutes))
            ),
            trades=tuple(self._traded(since_ns, side) for side in range(len(SIDES))),
            abstained=int((self._silent.rows["ts_ns"] > since_ns).sum()),
            waiting=len(self._waiting),
            left_out=dict(self.left_out),
        )

    def _window_begin_ns(self, at_ns: int) -> int:
        return at_ns - round(self.spec.window_days * DAY_NS)

    def _alarms(self, since_ns: int, side: int, horizon: int) -> figures.AlarmFigures:
        rows = self._rows.rows[self._rows.rows["ts_ns"] > since_ns]
        threshold = self.thresholds[SIDES[side]][horizon]
        merge_ns = max(round(self.spec.merge_minutes * MINUTE_NS), self._every_ns)
        found = figures.alarms(
            rows["ts_ns"], rows["p"][:, side, horizon], rows["truth"][:, side, horizon], rows["came_ns"][:, side],
            threshold, self.label.horizons_minutes[horizon] * MINUTE_NS, merge_ns,
        )  # fmt: skip
        return figures.alarm_figures(found, threshold, len(rows) * self._every_ns / DAY_NS)

    def _side(self, since_ns: int, side: int, horizon: int) -> SideReport:
        rows, minutes = self._rows.rows, self.label.horizons_minutes[horizon]
        ts_ns, p, truth = rows["ts_ns"], rows["p"][:, side, horizon], rows["truth"][:, side, horizon]
        new = ts_ns > since_ns
        rate = self.card.base_rates[SIDES[side]][horizon]
        return SideReport(
            side=SIDES[side],
            horizon_minutes=minutes,
            base_rate=rate,
            rows=int(new.sum()),
            came=int(truth[new].sum()),
            brier=figures.brier(p[new], truth[new]),
            brier_of_base=figures.brier(np.full(int(new.sum()), rate), truth[new]),
            top=tuple(figures.top(ts_ns[new], p[new], truth[new], minutes * MINUTE_NS, k) for k in self.spec.top),
            alarms=self._alarms(since_ns, side, horizon),
            months=figures.months(ts_ns, p, truth, self.spec),
        )

    def _traded(self, since_ns: int, side: int) -> TradeReport:
        trades = self._trades.rows
        r = trades["r"][(trades["ts_ns"] > since_ns) & (trades["side"] == side)]
        known = r[np.isfinite(r)]
        quarters = np.quantile(known, [0.25, 0.5, 0.75]).tolist() if len(known) else [math.nan] * 3
        return TradeReport(
            side=SIDES[side],
            trades=len(r),
            won=int((known > 0).sum()),
            mean_r=float(known.mean()) if len(known) else math.nan,
            total_r=math.fsum(known.tolist()),
            quartiles_r=tuple(quarters),
            unknown=len(r) - len(known),
        )

    def freeze(self) -> Callable[[], bytes]:
        """A copy of the state now, and what makes bytes of it later, in another thread if need be."""
        state = ScorecardState(
            model=self.model,
            card=self.card,
            now_ns=self.now_ns,
            settled_ns=self._settled_ns,
            off=self.off,
            on_since_ns=self.on_since_ns,
            newest_seq=self.newest_seq,
            tables=tuple(table.packed() for table in self._tables()),
            left_out=dict(self.left_out),
            record=self.record.snapshot(),
        )
        return lambda: zlib.compress(msgspec.msgpack.encode(state), 1)

    def snapshot(self) -> bytes:
        """The whole state as bytes."""
        return self.freeze()()

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot of the same model; `StepError` for any other, and nothing has changed.

        Constants may be others: what is kept are outcomes, and figures are made of them when they are asked for.
        """
        state = _read(snapshot)
        if state.model != self.model:
            raise StepError(f"the scorecard is of model {state.model[:16]}, this one is {self.model[:16]}")
        made = Scorecard(self.card, self.model, self.spec)
        try:
            made._restore(state)
        except (ValueError, TypeError, LookupError) as error:
            raise StepError(f"not a scorecard's snapshot: {error}") from None
        vars(self).update(vars(made))

    def _restore(self, state: ScorecardState) -> None:
        for table, packed in zip(self._tables(), state.tables, strict=True):
            table.unpack(packed)
        self.record.restore(state.record)
        self.now_ns, self._settled_ns, self.newest_seq = state.now_ns, state.settled_ns, state.newest_seq
        self._heard_ns = state.now_ns
        self.off, self.on_since_ns, self.left_out = state.off, state.on_since_ns, dict(state.left_out)

    @classmethod
    def of(cls, snapshot: bytes, spec: ScorecardSpec | None = None) -> "Scorecard":
        """The scorecard that a snapshot is of; `StepError` for bytes that are none."""
        state = _read(snapshot)
        made = cls(state.card, state.model, spec)
        made.restore(snapshot)
        return made

    def _tables(self) -> tuple[Table, ...]:
        return self._waiting, self._rows, self._trades, self._silent


def _read(snapshot: bytes) -> ScorecardState:
    """A snapshot's content; `StepError` for bytes that are none."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(snapshot), type=ScorecardState)
    except (msgspec.MsgspecError, zlib.error) as error:
        raise StepError(f"not a scorecard's snapshot: {error}") from None
