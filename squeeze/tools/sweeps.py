"""What the mark went through and what was liquidated then: history folded once, as the rows of a fit of weights.

    lake ─► steps ─► MarketState ─┬─► swept unit mass, by step ─┐
                                  └─► recorded liquidations ────┴─► rows ─► squeeze.heatmaps.weights.fit

The fold is that of the live path. What its map was told is kept, so that the same history can be folded again under
other weights: what closes count off depends on them (domain.md §3.5, step 3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float

from squeeze.arrays import StepTimes, SweptMass
from squeeze.errors import DataError
from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.heatmaps.weights import Observed, Swept, Weights
from squeeze.market.events import DAY_NS, Feed, Gap, Liquidation, LiquidationSum, Quality, cadence_name
from squeeze.market.lake import Lake, read_events
from squeeze.market.steps import Step, steps
from squeeze.spec import MapSpec, Spec
from squeeze.state import BLIND, MarketState
from squeeze.venue_maps import distances_log

Told = tuple[bool, tuple[Any, ...], dict[str, Any]]
"""Whether the map was a new one, and what `LiquidationMap.step` was called with."""

Amounts = dict[int, np.ndarray]
"""Liquidated USD (side) by the close of the interval, of intervals that were recorded whole."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class SweepRows:
    """The rows of a fit: one for each interval whose liquidations are told, a step or the source's own."""

    close_ns: StepTimes
    swept: Swept
    """In base coins."""
    observed: Observed
    """In base coins, at the interval's mean mark; NaN where the map showed nothing."""

    def between(self, after_ns: int, until_ns: int) -> "SweepRows":
        """Rows that close in (after, until]."""
        kept = (self.close_ns > after_ns) & (self.close_ns <= until_ns)
        return SweepRows(self.close_ns[kept], self.swept[kept], self.observed[kept])


@dataclass(frozen=True, slots=True, eq=False)
class SweepHistory:
    """One market's past, as its map and its liquidation stream told it."""

    map_spec: MapSpec
    distances_log: Float[np.ndarray, "side bucket"] | None
    """Of the map's venue, where its contract is known."""
    length_ns: int
    closes_ns: StepTimes
    marks: Float[np.ndarray, " step"]
    seen: Bool[np.ndarray, " step"]
    """Whether the step's frame showed anything, warm-up done."""
    swept: Swept
    """Under the weights of `map_spec`, in base coins; zero where the map was not stepped."""
    told: tuple[Told | None, ...]
    records: tuple[Liquidation | LiquidationSum, ...]
    gaps: tuple[Gap, ...]
    """Holes in the connection to the venue that liquidations come from."""
    share_unknown: str
    """Why it is not known which share of liquidations is reported; empty where all are."""

    def folded(self, weights: Weights, until_ns: int) -> Swept:
        """What the marks go through when the map closes under these weights; zero after `until_ns`.

        The mass is that of unit weights as ever: only what closes count off as liquidated already is another.
        """
        # A sum of 1 + 1e-16 is the simplex' border, and the spec would refuse it.
        inside = weights / max(1.0, float(weights.sum()) * (1 + 1e-12))
        spec = msgspec.structs.replace(self.map_spec, prior_weights=tuple(inside.tolist()))
        held, swept = LiquidationMap(spec, self.distances_log), np.zeros_like(self.swept)
        for at in range(int(np.searchsorted(self.closes_ns, until_ns, side="right"))):
            told = self.told[at]
            if told is not None:
                is_new, inputs, named = told
                held = LiquidationMap(spec, self.distances_log) if is_new else held
                swept[at] = held.step(*inputs, **named)[0]
        return swept

    def rows(self, swept: Swept, known_by_ns: int) -> SweepRows:
        """Rows from what was known by a time and from nothing later.

        A sum makes a row of the steps that it covers. Prints make a row of each step: one without a print is zero only
        within a run of days with prints, and known to be so from the run's next print on. Raises `DataError` where
        nothing is recorded by then, and for intervals that are not whole steps.
        """
        records = [r for r in self.records if r.known_at_ns <= known_by_ns]
        sums = [r for r in records if isinstance(r, LiquidationSum)]
        prints = [r for r in records if isinstance(r, Liquidation)]
        if not records:
            raise DataError("too little to fit weights: 0 liquidations are recorded by then")
        if sums and prints:
            raise DataError("liquidations: prints and sums in one stream; configure the one or the other")
        gaps = [g for g in self.gaps if g.known_at_ns <= known_by_ns]
        usd = amounts_of_sums(sums, self.length_ns) if sums else amounts_of_prints(prints, gaps, self.length_ns)
        count = max(1, sums[0].cadence_ns // self.length_ns) if sums else 1
        close_ns = np.array(sorted(c for c in usd if self._covers(c, count, known_by_ns)), dtype=np.int64)
        steps_of = np.searchsorted(self.closes_ns, close_ns)[:, None] - np.arange(count)
        seen = self.seen[steps_of].all(axis=1)
        mark = np.where(seen, np.where(self.seen, self.marks, 1.0)[steps_of].mean(axis=1), math.nan)
        amounts = np.array([usd[c] for c in close_ns.tolist()]).reshape(-1, 2)
        return SweepRows(close_ns, swept[steps_of].sum(axis=1), amounts / mark[:, None])

    def _covers(self, close_ns: int, count: int, known_by_ns: int) -> bool:
        """Whether the history holds all steps of an interval, and they were known."""
        first_ns = close_ns - (count - 1) * self.length_ns
        return bool(first_ns >= self.closes_ns[0] and close_ns <= min(int(self.closes_ns[-1]), known_by_ns))


def read_sweeps(
    lake: Lake, spec: Spec, start_ns: int | None = None, until_ns: int | None = None, progress: Progress | None = None
) -> SweepHistory:
    """A market's history, folded once; `DataError` where no liquidations are configured, `LakeError` for none at all.

    Bars are taken to be known at their close: a publication lag of theirs would shift the sweeps against the records.
    """
    stream = spec.market.liquidations
    if stream is None:
        raise DataError(f"{spec.market.symbol}: weights need market.liquidations to be configured")
    state, tell = _Listener(spec), progress or (lambda what, done, total: None)
    past, incomplete, what = _Past(), False, f"folding {spec.market.symbol}"
    for step in steps(read_events(lake, spec.market, start_ns, until_ns), spec.market.symbol, state.length_ns):
        past.add(state, step, stream.venue)
        incomplete |= bool(step.venue(stream.venue).liquidations_completeness)
        if len(past.told) % 2000 == 0:
            tell(what, len(past.told), len(past.told) + 1)
    tell(what, len(past.told), len(past.told))
    incomplete |= any(r.quality & (Quality.SAMPLED | Quality.UNDERCOUNTED) for r in past.records)
    return SweepHistory(
        spec.map,
        state.distances_log,
        state.length_ns,
        np.array(past.closes_ns, dtype=np.int64),
        np.array(past.marks, dtype=np.float64),
        np.array(past.seen, dtype=np.bool_),
        np.array(past.swept, dtype=np.float64).reshape(-1, 2, len(spec.map.leverages)),
        tuple(past.told),
        tuple(past.records),
        tuple(past.gaps),
        _share_unknown(spec, incomplete),
    )


def amounts_of_sums(sums: Sequence[LiquidationSum], length_ns: int) -> Amounts:
    """By interval of the source, or by step where steps are longer and all of their intervals are there."""
    cadence_ns = sums[0].cadence_ns
    long, short = max(cadence_ns, length_ns), min(cadence_ns, length_ns)
    if any(s.cadence_ns != cadence_ns or s.event_ns % cadence_ns for s in sums) or long % short:
        raise DataError(f"liquidations: expected sums of {cadence_name(cadence_ns)} on steps of {length_ns // 10**9} s")
    parts: dict[int, dict[int, np.ndarray]] = {}
    for s in sums:
        usd = np.array([s.long_usd, s.short_usd])
        if (np.isfinite(usd) & (usd >= 0)).all():  # else not recorded
            parts.setdefault(-(-s.event_ns // long) * long, {})[s.event_ns] = usd
    return {close: sum(held.values(), np.zeros(2)) for close, held in parts.items() if len(held) * cadence_ns >= long}


def amounts_of_prints(prints: Sequence[Liquidation], gaps: Sequence[Gap], length_ns: int) -> Amounts:
    """By step, of steps between the first and the last print of a run of UTC days with prints, outside of gaps.

    >>> day, minute = 86_400 * 10**9, 60 * 10**9
    >>> at = [10 * minute, 14 * minute, 3 * day]  # two days without a print: nobody listened
    >>> prints = [Liquidation(venue="v", symbol="S", event_ns=t, known_at_ns=t, side=0, usd=5.0) for t in at]
    >>> {close // minute: usd.tolist() for close, usd in amounts_of_prints(prints, [], 2 * minute).items()}
    {12: [0.0, 0.0], 14: [5.0, 0.0]}
    """
    real = sorted((p for p in prints if 0 <= p.usd < math.inf), key=lambda p: p.event_ns)
    at = np.array([p.event_ns for p in real], dtype=np.int64)
    found: Amounts = {}
    if not len(at):
        return found
    breaks = np.flatnonzero(np.diff(at // DAY_NS) > 1)
    for first, last in zip([0, *(breaks + 1)], [*breaks, len(at) - 1], strict=True):
        # The first print may lie on the opening of a step, which belongs to the step before.
        opening = -(-int(at[first]) // length_ns) * length_ns
        for close in range(opening + length_ns, int(at[last]) + 1, length_ns):
            found[close] = np.zeros(2)
    for p in real:
        close = -(-p.event_ns // length_ns) * length_ns
        if close in found:
            found[close][p.side] += p.usd
    for gap in gaps:
        first_close = gap.event_ns // length_ns * length_ns + length_ns
        for close in range(first_close, gap.known_at_ns + length_ns, length_ns):
            found.pop(close, None)
    return found


class _Listening(LiquidationMap):
    """A map that also keeps what its steps were told and gave."""

    def __init__(self, spec: MapSpec, distances_log: np.ndarray | None) -> None:
        super().__init__(spec, distances_log)
        self.heard: tuple[Told, SweptMass] | None = None
        self.steps = 0

    def step(self, *inputs: Any, **named: Any) -> tuple[SweptMass, bool]:
        swept, rescaled = super().step(*inputs, **named)
        self.heard = (self.steps == 0, inputs, named), swept
        self.steps += 1
        return swept, rescaled


class _Listener(MarketState):
    """The state of the live path, on a map that keeps what it was told."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.distances_log = distances_log(spec, spec.market.bars.venue)
        self.map: _Listening = _Listening(spec.map, self.distances_log)

    def _restart(self, started_ns: int) -> None:
        super()._restart(started_ns)
        self.map = _Listening(self.spec.map, self.distances_log)


class _Past:
    """A history that grows step by step."""

    def __init__(self) -> None:
        self.closes_ns: list[int] = []
        self.marks: list[float] = []
        self.seen: list[bool] = []
        self.swept: list[np.ndarray] = []
        self.told: list[Told | None] = []
        self.records: list[Liquidation | LiquidationSum] = []
        self.gaps: list[Gap] = []

    def add(self, state: _Listener, step: Step, liquidations: str) -> None:
        """Advance the state, and keep what is wanted of it."""
        state.map.heard = None
        frame, venue = state.advance(step), step.venue(liquidations)
        told, swept = state.map.heard or (None, np.zeros((2, state.map.buckets)))
        self.closes_ns.append(step.close_ns)
        self.marks.append(frame.mark.close)
        self.seen.append(not frame.unhealthy & BLIND)
        self.told.append(told)
        self.swept.append(swept)
        self.records += venue.liquidations
        self.gaps += [g for g in venue.gaps if g.feed == Feed.ALL]


def _share_unknown(spec: Spec, incomplete: bool) -> str:
    """Only where one venue gives open interest, and every liquidation on it, is the reported share known: all."""
    market = spec.market
    if incomplete:
        return "the liquidations are not complete"
    if market.open_interest is None or spec.map.open_interest == "volume":
        return "open interest is not recorded, so the map has no scale"
    if market.liquidations is None or market.liquidations.venue != market.open_interest.venue:
        return "liquidations and open interest are of different venues"
    return ""
