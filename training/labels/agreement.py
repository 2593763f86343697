"""How well the price-and-open-interest proxy (L2) finds what liquidations say (L1), where both are recorded.

    ground ─► measures of L2 ─► four constants searched on the first half of its days ─► judged on the second half

An event is found where one of the other kind and its side overlaps it, within `TOLERANCE_MINUTES`. Precision is the
share of L2 events that overlap an L1 event, recall the share of L1 events that overlap an L2 event. Cohen's κ is over
cells of time and both sides: a cell is positive where an event touches it. An offset is the onset of L2 less that of
L1.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.label_spec import PriceCascadeSpec
from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.outcomes import Cascades, PriceMeasures, cascades_of
from training.examples import Progress, silent

TOLERANCE_MINUTES = 5.0
SIGMAS = (1.5, 2.0, 3.0, 4.0, 6.0)
LEAST_MOVES = (0.001, 0.002, 0.003, 0.004, 0.006, 0.01)
DROPS = ((0.0, 0.2), (0.0, 0.05), (0.0, 0.01), (0.003, 0.01), (0.006, 0.01))
"""Least drop of open interest, and the quantile of usual drops."""
TAKER_RATIOS = (0.0, 1.5, 2.0, 3.0)
"""The rest of the grid, coarse on purpose: a few dozen events do not tell finer ones apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Events as stretches of time (begin, end] with their onsets, by side."""

    begin_ns: np.ndarray
    end_ns: np.ndarray
    onset_ns: np.ndarray
    side: np.ndarray

    def __len__(self) -> int:
        return len(self.onset_ns)

    def where(self, kept: np.ndarray) -> "Spans":
        """The events of a mask."""
        return Spans(*(getattr(self, field.name)[kept] for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """One record in which both kinds of event could be found, over the bars that `common` marks."""

    name: str
    truth: Spans
    """L1."""
    by_quantile: dict[float, PriceMeasures]
    """What L2 looks at, by the quantile of usual drops."""
    common: np.ndarray
    """(bar,): both were watched."""
    cell_minutes: int
    has_onsets: bool
    """Whether L1 says when an event began, to better than a cell."""

    @property
    def measures(self) -> PriceMeasures:
        """What L2 looks at, whatever the quantile: times, price, taker flow."""
        return next(iter(self.by_quantile.values()))

    def half(self, second: bool) -> "Ground":
        """The first or the second half of the days on which both were watched."""
        days = (self.measures.closes_ns - 1) // DAY_NS
        seen = np.unique(days[self.common])
        if len(seen) < 2:
            raise DataError(f"{self.name}: {len(seen)} days on which both labels are watched; at least two are needed")
        return replace(self, common=self.common & ((days >= seen[len(seen) // 2]) == second))


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How two labels agree, added up over grounds; NaN where there is nothing to divide by."""

    days: int
    l1: int
    l2: int
    l2_right: int
    """L2 events that overlap an L1 event."""
    l1_found: int
    """L1 events that overlap an L2 event."""
    precision: float
    recall: float
    f1: float
    kappa: float
    offsets_seconds: tuple[float, ...] = ()
    """5, 25, 50, 75 and 95 % quantile, where L1 knows its onsets."""


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The constants of the best F1 on the first halves, and what they do on the second halves, beside the defaults."""

    name: str
    not_evaluated: tuple[str, ...]
    tried: int
    spec: PriceCascadeSpec
    first: Agreement
    second: Agreement
    default_first: Agreement
    default_second: Agreement


def spans_of(found: Cascades) -> Spans:
    """Events with the time before their onset in which they may have begun."""
    return Spans(found.onset_ns - found.resolution_ns, found.end_ns, found.onset_ns, found.side)


def tune(
    name: str, grounds: Sequence[Ground], default: PriceCascadeSpec | None = None, progress: Progress = silent
) -> Tuned:
    """Search the four constants for event F1 on the first halves of all grounds together.

    Of equal ones the first, which is the strictest in the order of the grid, reversed. Raises `DataError` where the
    first halves hold no L1 event.
    """
    default = default or PriceCascadeSpec()
    first, second = ([ground.half(late) for ground in grounds] for late in (False, True))
    tried = list(grid(grounds[0].measures, default))
    best, best_f1 = default, -1.0
    for number, spec in enumerate(tried, 1):
        found = agree(first, spec, kappa=False)
        if not found.l1:
            raise DataError(f"{name}: no event of L1 in the first half of its {found.days} days: nothing to tune for")
        if found.f1 > best_f1:
            best, best_f1 = spec, found.f1
        progress(f"tuning {name}", number, len(tried))
    return Tuned(
        name=name,
        not_evaluated=grounds[0].measures.not_evaluated,
        tried=len(tried),
        spec=best,
        first=agree(first, best),
        second=agree(second, best),
        default_first=agree(first, default),
        default_second=agree(second, default),
    )


def grid(measures: PriceMeasures, default: PriceCascadeSpec) -> Iterator[PriceCascadeSpec]:
    """Every choice of the constants that the data can answer, the strictest first."""
    drops = ((default.least_drop, default.drop_quantile),) if measures.drop_share is None else DROPS
    ratios = (default.taker_ratio,) if measures.taker_ratio is None else TAKER_RATIOS
    choices = itertools.product(*(reversed(values) for values in (SIGMAS, LEAST_MOVES, drops, ratios)))
    for sigmas, move, (drop, quantile), ratio in choices:
        yield msgspec.structs.replace(
            default, sigmas=sigmas, least_move=move, least_drop=drop, drop_quantile=quantile, taker_ratio=ratio
        )


def measured(default: PriceCascadeSpec, measure: Callable[[PriceCascadeSpec], PriceMeasures]) -> dict[float, Any]:
    """The measures of every quantile that the grid, or the default, asks for."""
    quantiles = dict.fromkeys((default.drop_quantile, *(quantile for _, quantile in DROPS)))
    return {each: measure(msgspec.structs.replace(default, drop_quantile=each)) for each in quantiles}


def agree(grounds: Sequence[Ground], spec: PriceCascadeSpec, *, kappa: bool = True) -> Agreement:
    """The agreement of L2 by these constants with L1, all grounds together."""
    counts, cells, offsets, days = np.zeros(4, np.int64), np.zeros((2, 2), np.int64), [], 0
    for ground in grounds:
        truth = inside(ground, ground.truth)
        guess = inside(ground, spans_of(cascades_of(ground.by_quantile[spec.drop_quantile], spec)))
        right, found, apart = matched(truth, guess)
        counts += (len(truth), len(guess), right, found)
        days += len(np.unique((ground.measures.closes_ns[ground.common] - 1) // DAY_NS))
        if ground.has_onsets:
            offsets.append(apart)
        if kappa:
            cells += crossed(ground, truth, guess)
    l1, l2, right, found = counts.tolist()
    precision, recall = _share(right, l2), _share(found, l1)
    apart = np.concatenate(offsets) if offsets else np.zeros(0)
    return Agreement(
        days=days, l1=l1, l2=l2, l2_right=right, l1_found=found, precision=precision, recall=recall,
        f1=2 * precision * recall / (precision + recall) if right else 0.0,
        kappa=kappa_of(cells),
        offsets_seconds=tuple(np.quantile(apart, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()) if len(apart) else (),
    )  # fmt: skip


def inside(ground: Ground, events: Spans) -> Spans:
    """The events whose onset lies in a bar that both labels watched."""
    closes_ns = ground.measures.closes_ns[ground.common]
    place = np.searchsorted(closes_ns, events.onset_ns, "left")
    is_inside = place < len(closes_ns)
    is_inside &= np.append(closes_ns, 0)[place] - events.onset_ns < ground.measures.length_ns
    return events.where(is_inside)


def matched(truth: Spans, guess: Spans) -> tuple[int, int, np.ndarray]:
    """How many guesses overlap an event of their side, how many events a guess, and how much later (s) the first is.

    >>> def events(*spans):
    ...     begin, end = np.array(spans).T * 60 * SECOND_NS
    ...     return Spans(begin, end, begin, np.zeros(len(spans), np.int64))
    >>> matched(events((0, 10), (60, 61)), events((14, 15), (30, 31)))
    (1, 1, array([840.]))
    """
    slack_ns = round(TOLERANCE_MINUTES * MINUTE_NS)
    right = found = 0
    apart: list[float] = []
    for side in range(2):
        real, said = truth.where(truth.side == side), guess.where(guess.side == side)
        right += int((_first_overlap(said, real, slack_ns) >= 0).sum())
        first = _first_overlap(real, said, slack_ns)
        found += int((first >= 0).sum())
        apart += ((said.onset_ns[first[first >= 0]] - real.onset_ns[first >= 0]) / SECOND_NS).tolist()
    return right, found, np.array(apart)


def _first_overlap(events: Spans, others: Spans, slack_ns: int) -> np.ndarray:
    """The first of the others that overlaps each event, or -1; both are in order of time and apart."""
    if not len(others):
        return np.full(len(events), -1)
    ends = np.maximum.accumulate(others.end_ns)
    first = np.searchsorted(ends, events.begin_ns - slack_ns, "left")
    at = np.minimum(first, len(others) - 1)
    overlaps = (first < len(others)) & (others.begin_ns[at] <= events.end_ns + slack_ns)
    return np.where(overlaps, at, -1)


def crossed(ground: Ground, truth: Spans, guess: Spans) -> np.ndarray:
    """Cells of time by what L1 and L2 say of them, (2, 2), both sides added up; cells that were watched throughout."""
    cell_ns = ground.cell_minutes * MINUTE_NS
    cells = (ground.measures.closes_ns[ground.common] - 1) // cell_ns
    names, counts = np.unique(cells, return_counts=True)
    names = names[counts * ground.measures.length_ns >= cell_ns]
    table = np.zeros((2, 2), np.int64)
    for side in range(2):
        said = [_touched(names, cell_ns, events.where(events.side == side)) for events in (truth, guess)]
        np.add.at(table, (said[0].astype(int), said[1].astype(int)), 1)
    return table


def _touched(names: np.ndarray, cell_ns: int, events: Spans) -> np.ndarray:
    """Which cells have a part of an event, from its onset to its end."""
    touched = np.zeros(len(names), bool)
    for onset, end in zip(events.onset_ns.tolist(), events.end_ns.tolist(), strict=True):
        low, high = np.searchsorted(names, [(onset - 1) // cell_ns, (max(onset, end) - 1) // cell_ns + 1])
        touched[low:high] = True
    return touched


def kappa_of(table: np.ndarray) -> float:
    """Cohen's κ of a two by two table of counts: agreement beyond what chance gives (Cohen 1960).

    >>> kappa_of(np.array([[20, 5], [10, 15]]))
    0.4
    """
    total = table.sum()
    if not total:
        return float("nan")
    observed = np.trace(table) / total
    expected = (table.sum(axis=0) * table.sum(axis=1)).sum() / total**2
    return float(round((observed - expected) / (1 - expected), 12)) if expected < 1 else float("nan")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def lines(tuned: Tuned) -> list[dict[str, Any]]:
    """The four agreements of one search, as a table."""
    rows = []
    for half in ("first", "second"):
        for constants, prefix in (("default", "default_"), ("tuned", "")):
            found: Agreement = getattr(tuned, prefix + half)
            line: dict[str, Any] = {"record": tuned.name, "half": half, "constants": constants}
            line |= {"days": found.days, "L1": found.l1, "L2": found.l2, "L1 found": found.l1_found}
            line |= {name: round(getattr(found, name), 3) for name in ("precision", "recall", "f1", "kappa")}
            line["offset s (5, 25, 50, 75, 95 %)"] = " ".join(f"{each:.0f}" for each in found.offsets_seconds)
            rows.append(line)
    return rows


def constants(tuned: Tuned) -> str:
    """The tuned constants in words."""
    spec = tuned.spec
    said = [f"sigmas {spec.sigmas:g}", f"least_move {spec.least_move:g}"]
    missing = {text.partition(":")[0] for text in tuned.not_evaluated}
    if "least_drop" not in missing:
        said += [f"least_drop {spec.least_drop:g}", f"drop_quantile {spec.drop_quantile:g}"]
    if "taker_ratio" not in missing:
        said.append(f"taker_ratio {spec.taker_ratio:g}")
    return ", ".join(said)
