"""Everything that is said of a task's models in one value: figures, regimes, alarms and gains, by side and horizon.

It is the same for validation and for test blocks, and says which. Every AP stands beside its base rate, every share
beside its interval, every gain beside the number of events; what does not exist is NaN, with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.outcomes.rows import episodes
from training.baselines.catalogue import BASELINES
from training.evaluation import metrics as evaluate
from training.evaluation.alarms import BUDGETS_PER_DAY, AlarmFigures, Claims, alarm_figures, claims, curve, moved_sigmas
from training.evaluation.alarms import threshold_within as within
from training.evaluation.bootstrap import Draws, Gain, draw_runs, figures_per_draw, gains_between, mean_figures, verdict
from training.prepare import Prepared
from training.splits import Block

ORACLE = "these rows (oracle)"
"""Where the threshold was found that no one could have known: an upper bound, not a result."""
EARLIER = "earlier rows"
FIRST_HALF = "the first half of these rows"


class Rows(Protocol):
    """Rows of one model at one horizon, as `training.evaluation.pools.Pooled`; all but the times are (row, side)."""

    ts_ns: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    base_rate: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What is known of the rows beside the probabilities: `market_of` makes one."""

    every_minutes: float
    """Between decision times."""
    closes_ns: np.ndarray
    marks: np.ndarray
    """(step, 4): open, high, low, close of the mark, of steps that close at `closes_ns`."""
    regimes: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By regime: tercile of each row and side (row, side); -1 where it is not known."""
    regime_scalars: Mapping[str, str] = field(default_factory=dict)
    """By regime: the scalar it is cut by."""
    events_ns: tuple[np.ndarray, np.ndarray] | None = None
    """Onsets of longs and of shorts, where they are known (`outcomes.rows.labelled`); else they are taken from rows."""


class PairedGain(msgspec.Struct, frozen=True):
    """A gain over a rival, and what may be said of it."""

    gain: Gain
    verdict: str


class RefereedGain(msgspec.Struct, frozen=True, kw_only=True):
    """The network beside the referee's reference, or one of its members, on the rows that the referee scores.

    Where the network abstains it says the training base rate, as in the file that the referee reads.
    """

    rival: str
    side: str
    ap: float
    rival_ap: float
    gains: dict[str, PairedGain]
    """By figure."""


class BudgetedAlarms(msgspec.Struct, frozen=True):
    """Alarms within a budget of false ones a day, and on which rows the threshold was found."""

    budget_per_day: float
    found_on: str
    figures: AlarmFigures


class SideReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model, side and horizon."""

    model: str
    side: str
    horizon_minutes: int
    seeds: int
    rows: int
    abstained: int
    reason: str | None
    """Why there is no ranking; None where there is one."""
    figures: dict[str, float]
    """As `training.evaluation.metrics.metrics` names them: the mean over seeds."""
    deviations: dict[str, float]
    """Standard deviations over seeds; NaN with one."""
    terciles: dict[str, dict[str, dict[str, float]]]
    """By regime and tercile: the same figures, and how many `rows`."""
    alarms: tuple[BudgetedAlarms, ...]
    """Of the first seed."""
    gains: dict[str, dict[str, PairedGain]]
    """By rival and figure: paired on the rows where both said something; of seeds the mean."""


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """A task, scored on one kind of rows."""

    task: str
    scored: str
    """`validation` or `test`."""
    regime_scalars: dict[str, str]
    entries: tuple[SideReport, ...]
    refereed: tuple[RefereedGain, ...] = ()
    """Of a referee's task, once it was scored."""

    def to_json(self) -> bytes:
        """Everything, indented; what is NaN or infinite becomes null."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    def to_markdown(self) -> str:
        """The report for people."""
        from training.evaluation.report_text import markdown

        return markdown(self)

    def table(self) -> list[dict[str, Any]]:
        """A row per model, side and horizon for the terminal."""
        from training.evaluation.report_text import headline

        return [headline(entry) for entry in self.entries]


def market_of(
    prepared: Prepared, blocks: Sequence[Block], events_ns: tuple[np.ndarray, np.ndarray] | None = None
) -> Market:
    """The market of the rows that these blocks test, one block after another."""
    own, ts, at = prepared.own, prepared.rows.ts_ns, prepared.positions
    scalars = {regime: evaluate.regime_scalar(own.scalar_names, regime) for regime in evaluate.REGIMES}
    found: dict[str, list[np.ndarray]] = {regime: [] for regime in scalars}
    for block in blocks:
        train, test = np.flatnonzero(block.trains(ts) & (at >= 0)), np.flatnonzero(block.tests(ts))
        for regime, name in scalars.items():
            column = own.scalars[:, :, own.scalar_names.index(name)]
            values = np.where(at[test][:, None] >= 0, column[at[test]], np.nan)
            found[regime].append(
                np.stack([evaluate.tercile(values[:, s], column[at[train], s]) for s in range(2)], axis=1)
            )
    every = prepared.config.spec.label.every_minutes
    joined = {regime: np.concatenate(parts) for regime, parts in found.items()}
    return Market(every, own.closes_ns, own.marks, joined, scalars, events_ns)


def evaluate_task(
    task: str,
    scored: str,
    horizons: Mapping[int, Mapping[str, Rows | Sequence[Rows]]],
    market: Market,
    *,
    rivals: Sequence[str] = tuple(BASELINES),
    candidates: Sequence[str] | None = None,
    earlier: Mapping[int, Mapping[str, Rows]] | None = None,
    draws: int = 2000,
) -> EvaluationReport:
    """The report of all models, by horizon in minutes and name; a model of several seeds is a sequence.

    Each of the `candidates`, all that are no rivals if not given, is compared with each of the `rivals`. Thresholds of
    alarms come from `earlier` rows, which must end before these begin; without them from the first half of these, and
    are applied to the second. Raises `ValueError` for models of different rows and for earlier rows that are not.
    """
    entries: list[SideReport] = []
    for minutes, models in horizons.items():
        seeds = {name: _as_seeds(given) for name, given in models.items()}
        _require_same_rows(seeds)
        past = (earlier or {}).get(minutes, {})
        _require_before(past, seeds)
        for s in range(2):
            paired = _Paired(seeds, s, draws)
            for name, rows in seeds.items():
                is_candidate = name not in rivals if candidates is None else name in candidates
                compared = [rival for rival in rivals if is_candidate and rival in seeds and rival != name]
                gains = {rival: paired.gains(name, rival) for rival in compared}
                entries.append(_entry(name, s, minutes, rows, market, gains, past.get(name)))
    return EvaluationReport(
        task=task, scored=scored, regime_scalars=dict(market.regime_scalars), entries=tuple(entries)
    )


def _as_seeds(given: Rows | Sequence[Rows]) -> Sequence[Rows]:
    return given if isinstance(given, Sequence) else [given]


def _require_same_rows(seeds: Mapping[str, Sequence[Rows]]) -> None:
    first = next(iter(seeds.values()))[0]
    for name, rows in ((name, rows) for name, each in seeds.items() for rows in each):
        if not (np.array_equal(rows.ts_ns, first.ts_ns) and np.array_equal(rows.truth, first.truth)):
            raise ValueError(f"{name}: {len(rows.ts_ns)} rows are not the {len(first.ts_ns)} that the others have")


def _require_before(past: Mapping[str, Rows], seeds: Mapping[str, Sequence[Rows]]) -> None:
    for name in past.keys() & seeds.keys():
        before, after = past[name].ts_ns, seeds[name][0].ts_ns
        if len(before) and len(after) and before.max() >= after.min():
            raise ValueError(
                f"{name}: earlier rows must end before the scored ones begin, or thresholds know the answer"
            )


def _entry(
    name: str,
    s: int,
    minutes: int,
    seeds: Sequence[Rows],
    market: Market,
    gains: dict[str, dict[str, PairedGain]],
    earlier: Rows | None,
) -> SideReport:
    each = [_metrics(rows, s, np.ones(len(rows.ts_ns), bool)) for rows in seeds]
    said = np.isfinite(seeds[0].probability[:, s])
    return SideReport(
        model=name,
        side=SIDES[s],
        horizon_minutes=minutes,
        seeds=len(seeds),
        rows=len(said),
        abstained=int((~said).sum()),
        reason=evaluate.why_no_ranking(seeds[0].truth[said, s], seeds[0].probability[said, s]),
        figures=_over_seeds(each, np.mean),
        deviations=_over_seeds(each, lambda values: np.std(values, ddof=1) if len(values) > 1 else np.nan),
        terciles=dict(_terciles(seeds, s, market)),
        alarms=tuple(_alarms(seeds[0], s, minutes, market, earlier)),
        gains=gains,
    )


def _metrics(rows: Rows, s: int, among: np.ndarray) -> dict[str, float]:
    seen = among & np.isfinite(rows.probability[:, s])
    return evaluate.metrics(
        rows.ts_ns[seen], rows.truth[seen, s], rows.probability[seen, s].astype(float), rows.base_rate[seen, s]
    )


def _over_seeds(each: Sequence[Mapping[str, float]], summary: Any) -> dict[str, float]:
    return {name: float(summary([one[name] for one in each])) for name in each[0]}


def _terciles(seeds: Sequence[Rows], s: int, market: Market) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    for regime, place in market.regimes.items():
        found = {}
        for third, called in enumerate(evaluate.TERCILES[regime]):
            among = place[:, s] == third
            each = [_metrics(rows, s, among) for rows in seeds]
            found[called] = _over_seeds(each, np.mean) | {"rows": float(among.sum())}
        yield regime, found


def _alarms(rows: Rows, s: int, minutes: int, market: Market, earlier: Rows | None) -> Iterator[BudgetedAlarms]:
    """For each budget the alarms at the threshold of earlier rows, then at the one that these rows would have liked."""
    half = len(rows.ts_ns) // 2
    past, found_on = (slice(0, half), FIRST_HALF) if earlier is None else (slice(None), EARLIER)
    now = slice(half, None) if earlier is None else slice(None)
    before, after = (_claims(one, s, minutes, market, part) for one, part in ((earlier or rows, past), (rows, now)))
    moved = moved_sigmas(market.closes_ns, market.marks, after.ts_ns, minutes * MINUTE_NS)[:, s]
    for claimed, where in ((before, found_on), (after, ORACLE)):
        by_threshold = curve(claimed)
        for budget in BUDGETS_PER_DAY:
            yield BudgetedAlarms(budget, where, alarm_figures(after, within(by_threshold, budget), moved))


def _claims(rows: Rows, s: int, minutes: int, market: Market, part: slice) -> Claims:
    events_ns = None if market.events_ns is None else market.events_ns[s]
    return claims(
        rows.ts_ns[part], rows.truth[part, s], rows.probability[part, s], minutes * MINUTE_NS,
        round(market.every_minutes * MINUTE_NS), events_ns,
    )  # fmt: skip


class _Paired:
    """Gains of one side; figures of a model over the same rows are drawn once, whoever it is compared with."""

    def __init__(self, seeds: Mapping[str, Sequence[Rows]], s: int, draws: int) -> None:
        self.seeds, self.s, self.draws = seeds, s, draws
        self._runs: dict[bytes, Draws] = {}
        self._drawn: dict[tuple[str, bytes], dict[str, np.ndarray]] = {}

    def gains(self, name: str, rival: str) -> dict[str, PairedGain]:
        """By figure, over the rows where every seed of both said something; none where there are no rows."""
        pair = [*self.seeds[name], *self.seeds[rival]]
        seen = np.asarray(np.isfinite([rows.probability[:, self.s] for rows in pair]).all(axis=0))
        if not seen.any():
            return {}
        ours, theirs = self._figures(name, seen), self._figures(rival, seen)
        first = pair[0]
        count = episodes(first.ts_ns[seen], first.truth[seen, self.s])
        return {figure: PairedGain(gain, verdict(gain, count)) for figure, gain in gains_between(ours, theirs).items()}

    def _figures(self, name: str, seen: np.ndarray) -> dict[str, np.ndarray]:
        key = seen.tobytes()
        if key not in self._runs:
            self._runs[key] = draw_runs(self.seeds[name][0].ts_ns[seen] // DAY_NS, self.draws)
        if (name, key) not in self._drawn:
            each = [
                figures_per_draw(
                    rows.truth[seen, self.s], rows.probability[seen, self.s].astype(float), self._runs[key]
                )
                for rows in self.seeds[name]
            ]
            self._drawn[name, key] = mean_figures(each)
        return self._drawn[name, key]
