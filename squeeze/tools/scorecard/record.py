"""What of a market's events its label needs, no longer than it needs it; and what came true after a probability."""

from typing import Any, NamedTuple

import msgspec
import numpy as np

from squeeze.errors import DataError, StepError
from squeeze.market.events import (
    DAY_NS,
    MINUTE_NS,
    SECOND_NS,
    AnyEvent,
    Feed,
    Gap,
    Liquidation,
    LiquidationSum,
    OpenInterest,
    kind_of,
)
from squeeze.market.steps import StepBuilder
from squeeze.outcomes import OpenInterest as Stamps
from squeeze.outcomes.label_inputs import BAR_FIELDS, LabelInputs, bar_row, bars_of, priced
from squeeze.outcomes.rows import AT_THE_END, Labelled, attempt, liquidations_of
from squeeze.spec import Spec
from squeeze.tools.scorecard.table import Table

SHORT_DAYS = 3
"""A label that compares with a fixed sum needs no more of the past."""
MOST_PRINTS = 2**20
MOST_BARS = 2**17
MOST_STAMPS = 2**16
MOST_HOLES = 2**10
ORDER = ("event_ns", "side", "usd", "other_usd", "base", "known_at_ns")
WAITS = AT_THE_END
"""The one reason to leave a row out that more data can lift."""


class Came(NamedTuple):
    """What came of decisions: `why` is empty where the outcome is known."""

    truth: np.ndarray
    """(row, side, horizon) bool."""
    came_ns: np.ndarray
    """(row, side): when the event came within the longest horizon, 0 where it did not."""
    why: list[str]


class RecordState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record at rest."""

    prints: tuple[int, bytes]
    stamps: tuple[int, bytes]
    bars: tuple[int, bytes]
    holes: tuple[int, bytes]
    builder: dict[str, Any] | None
    next_close_ns: int | None


class Record:
    """Liquidations, bars and open interest of one market, as far back as its label looks, and their holes."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        market, label = spec.market, spec.label
        constants = label.onset or label.price
        days = SHORT_DAYS if constants is None else constants.trailing_days + SHORT_DAYS
        self.back_ns = round(days * DAY_NS)
        """How much of the past it keeps."""
        self.ahead_ns = 0
        """How far beyond a horizon the label looks."""
        if label.onset is not None:
            self.ahead_ns = max(round(label.onset.reach_seconds * SECOND_NS), market.step_seconds * SECOND_NS)
        if label.price is not None:
            self.ahead_ns = round(label.price.reach_minutes * MINUTE_NS)
        self._prices = priced(market)
        self._kinds = {} if constants is None else self._prices.kinds()
        known = [("event_ns", "i8"), ("known_at_ns", "i8")]
        amounts = [("quality", "i4"), ("side", "i8"), ("usd", "f8"), ("other_usd", "f8"), ("cadence_ns", "i8")]
        self._prints = Table([*known, *amounts], MOST_PRINTS)
        self._stamps = Table([*known, ("base", "f8")], MOST_STAMPS)
        self._bars = Table([("event_ns", "i8"), ("values", "f8", (len(BAR_FIELDS),))], MOST_BARS)
        self._holes = Table(known, MOST_HOLES)
        self._builder = self._begun()
        self._next_close_ns: int | None = None

    def _begun(self) -> StepBuilder:
        market = self.spec.market
        return StepBuilder(market.symbol, market.step_seconds * SECOND_NS, self.spec.map.bin_log)

    def on_event(self, event: AnyEvent) -> None:
        """Take in what the label needs of an event; all else is passed over."""
        market, kind = self.spec.market, kind_of(event)
        if event.symbol != market.symbol:
            return
        found, interest = market.liquidations, market.open_interest
        if found is not None and event.venue == found.venue:
            self._hear(event, kind == found.kinds[0])
        if self._kinds and interest is not None and (event.venue, kind) == (interest.venue, interest.kinds[0]):
            assert isinstance(event, OpenInterest)  # noqa: S101
            self._stamps.add((event.event_ns, event.known_at_ns, event.open_interest_base))
        if kind in self._kinds.get(event.venue, ()):
            self._builder.add(event)
            if self._next_close_ns is None:
                length_ns = self._builder.length_ns
                self._next_close_ns = -(-event.known_at_ns // length_ns) * length_ns

    def _hear(self, event: AnyEvent, is_label: bool) -> None:
        common = event.event_ns, event.known_at_ns
        if is_label and isinstance(event, Liquidation):
            self._prints.add((*common, int(event.quality), event.side, event.usd, 0.0, 0))
        elif is_label and isinstance(event, LiquidationSum):
            self._prints.add((*common, int(event.quality), 0, event.long_usd, event.short_usd, event.cadence_ns))
        elif isinstance(event, Gap) and event.feed == Feed.ALL:
            self._holes.add(common)

    def on_clock(self, now_ns: int) -> None:
        """Close the bars that are due."""
        while self._next_close_ns is not None and self._next_close_ns <= now_ns:
            try:
                row = bar_row(self._builder.close(self._next_close_ns), self._prices)
            except StepError:  # a step that cannot be is one that was not recorded
                row = None
            if row is not None:
                self._bars.add((row[0], row[1:]))
            self._next_close_ns += self._builder.length_ns

    def breaks(self, since_ns: int, until_ns: int) -> None:
        """Nothing was heard in between: the program did not run."""
        self._holes.add((since_ns, until_ns))
        self._builder, self._next_close_ns = self._begun(), None

    def came(self, ts_ns: np.ndarray, now_ns: int) -> Came:
        """What came of decisions at these times (rising), from what was known at `now_ns`: the labels of training."""
        label = self.spec.label
        truth = np.zeros((len(ts_ns), 2, len(label.horizons_minutes)), bool)
        came_ns = np.zeros((len(ts_ns), 2), np.int64)
        inputs = self._inputs(now_ns, int(ts_ns[0]))
        try:
            made = None if inputs is None else attempt(inputs, self.spec)
        except DataError:
            made = None
        if inputs is None or made is None:
            return Came(truth, came_ns, [WAITS] * len(ts_ns))
        place = np.searchsorted(made.rows.ts_ns, ts_ns)
        place = np.minimum(place, max(len(made.rows) - 1, 0))
        is_known = made.rows.ts_ns[place] == ts_ns if len(made.rows) else np.zeros(len(ts_ns), bool)
        why = [
            "" if is_known[i] else next((r for r, left in made.masked.items() if (left == at).any()), WAITS)
            for i, at in enumerate(ts_ns.tolist())
        ]
        if is_known.any():
            truth[is_known] = made.rows.truth[place[is_known]]
            came_ns[is_known] = self._when(made, inputs, ts_ns[is_known])
        came_ns[~truth.any(axis=2)] = 0
        return Came(truth, came_ns, why)

    def _when(self, made: Labelled, inputs: LabelInputs, ts_ns: np.ndarray) -> np.ndarray:
        """When the next event of each side came, (row, side): its onset, or when the sum passed the threshold."""
        label = self.spec.label
        out = np.zeros((len(ts_ns), 2), np.int64)
        for side in range(2):
            if made.events is not None:
                onsets = np.append(made.events.onset_ns[made.events.side == side], 0)
                after = np.searchsorted(onsets[:-1], ts_ns + round(label.guard_seconds * SECOND_NS), "right")
                out[:, side] = onsets[after]
            else:
                found = liquidations_of(inputs.liquidations, self.spec)
                own = found.side == side
                times, total = found.times_ns[own], np.concatenate([[0.0], np.cumsum(found.usd[own])])
                first = np.searchsorted(times, ts_ns, "right" if found.cadence_ns else "left")
                passed = np.searchsorted(total, total[first] + float(label.threshold_usd or 0.0), "right") - 1
                out[:, side] = np.append(times, 0)[np.minimum(passed, len(times))]
        return out

    def _inputs(self, now_ns: int, since_ns: int) -> LabelInputs | None:
        """What was known at `now_ns`; None where an input that the label needs was never heard."""
        label, market = self.spec.label, self.spec.market
        recorded = None
        if label.event != "price":
            heard = self._known(self._prints, now_ns)
            if not len(heard):
                return None
            recorded = _columns(heard)
        holes = self._known(self._holes, now_ns)
        holes_ns = np.stack([holes["event_ns"], holes["known_at_ns"]], axis=1)
        if label.event == "threshold":
            return LabelInputs(recorded, holes_ns, None, None)
        bars = self._bars.rows[self._bars.rows["event_ns"] <= now_ns]
        if not len(bars):
            return None
        stamps = _first_of_each(self._known(self._stamps, now_ns))
        has_interest = market.open_interest is not None
        interest = Stamps(stamps["event_ns"].copy(), stamps["base"].copy()) if has_interest else None
        seen = bars_of(bars["event_ns"].copy(), bars["values"].copy(), self._prices)
        return LabelInputs(recorded, holes_ns, seen, interest, since_ns)

    @staticmethod
    def _known(table: Table, now_ns: int) -> np.ndarray:
        """Rows known by then, in an order that does not depend on that in which they came."""
        rows = table.rows[table.rows["known_at_ns"] <= now_ns]
        return _ordered(rows)

    def trim(self, now_ns: int) -> None:
        """Forget what is too old to matter."""
        for table in (self._prints, self._stamps, self._bars, self._holes):
            old = table.rows["event_ns"] < now_ns - self.back_ns
            if old.sum() > len(old) // 8:
                table.keep(~old)

    def snapshot(self) -> RecordState:
        """The whole state."""
        return RecordState(
            prints=self._prints.packed(),
            stamps=self._stamps.packed(),
            bars=self._bars.packed(),
            holes=self._holes.packed(),
            builder=self._builder.snapshot() if self._kinds else None,
            next_close_ns=self._next_close_ns,
        )

    def restore(self, state: RecordState) -> None:
        """Go on from a snapshot of the same spec."""
        for name in ("prints", "stamps", "bars", "holes"):
            getattr(self, f"_{name}").unpack(getattr(state, name))
        if state.builder is not None:
            self._builder.restore(state.builder)
        self._next_close_ns = state.next_close_ns


def _ordered(rows: np.ndarray) -> np.ndarray:
    """Rows by time, those of one time by their values: sorting all by all their values takes twenty times as long."""
    rows = rows[np.argsort(rows["event_ns"], kind="stable")]
    again = np.diff(rows["event_ns"]) == 0
    tied = np.flatnonzero(np.append(again, False) | np.append(False, again))
    names = [name for name in ORDER if name in (rows.dtype.names or ())]
    rows[tied] = rows[tied][np.lexsort([rows[name][tied] for name in reversed(names)])]
    return rows


def _columns(heard: np.ndarray) -> dict[str, np.ndarray]:
    """Liquidations as the lake has them."""
    if not heard["cadence_ns"].any():
        return {name: heard[name].copy() for name in ("event_ns", "quality", "side", "usd")}
    sums = _first_of_each(heard)
    columns = {name: sums[name].copy() for name in ("event_ns", "quality", "cadence_ns")}
    return columns | {"long_usd": sums["usd"].copy(), "short_usd": sums["other_usd"].copy()}


def _first_of_each(rows: np.ndarray) -> np.ndarray:
    """Of rows of one time the one that was known first, as the lake keeps it."""
    rows = rows[np.argsort(rows, order=["event_ns", "known_at_ns"], kind="stable")]
    return rows[np.unique(rows["event_ns"], return_index=True)[1]]
