"""A finished run beside every baseline on the same rows, of validation or of test blocks: pools, report, pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from squeeze.errors import DataError
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import labelled
from training.baselines import catalogue as baselines
from training.evaluation.pools import Figures, Pooled, pool, stored_pool
from training.evaluation.report import ORACLE, EvaluationReport, Market, evaluate_task, market_of
from training.evaluation.report_pictures import pictures
from training.examples import Progress, silent
from training.prepare import Prepared, prepare, test_blocks, validation_blocks
from training.runs import Run
from training.splits import Block
from training.walk import Trained, Walked

NETWORK = "network"
"""What the exported model is called beside the baselines and its teachers."""

Models = dict[int, dict[str, Pooled]]
"""By horizon in minutes and name."""


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What came of it, at every horizon; `pools` and `figures` are of the watched one."""

    pools: dict[str, Pooled]
    """The network, what taught it, and the baselines."""
    report: EvaluationReport
    drawn: dict[str, Figure]
    """Pictures by file name."""
    market: Market
    """What the report knows beside the probabilities."""
    minutes: int
    """The watched horizon."""

    def baselines(self) -> dict[str, Pooled]:
        """The rivals alone."""
        return {name: rows for name, rows in self.pools.items() if name in baselines.BASELINES}

    def best_rival(self) -> str:
        """The baseline with the highest AP, the mean of the sides."""
        found = {name: rows.figures() for name, rows in self.baselines().items()}
        return max(found, key=lambda name: _mean_ap(found[name]))

    def figures(self) -> dict[str, Figures]:
        """Every model's figures; the network's with its gain over the best baseline and what its alarms are worth."""
        rival = self.pools[self.best_rival()]
        found = {name: rows.figures(rival if name == NETWORK else None) for name, rows in self.pools.items()}
        found[NETWORK] = {side: row | alarms_of(self, side) for side, row in found[NETWORK].items()}
        return found

    def rival_figures(self) -> dict[str, Figures]:
        """Everyone's but the network's."""
        return {name: figures for name, figures in self.figures().items() if name != NETWORK}

    def told(self) -> tuple[str, dict[str, Any]]:
        """The report for people, and as plain data."""
        return self.report.to_markdown(), json.loads(self.report.to_json())


def _mean_ap(figures: Figures) -> float:
    """Of the sides that have a ranking; below every AP where none has."""
    known = [row["ap"] for row in figures.values() if np.isfinite(row["ap"])]
    return float(np.mean(known)) if known else -1.0


def alarms_of(found: Assessment, side: str) -> dict[str, float]:
    """The network's recall and lead at the tightest budget of false alarms, its threshold not found on these rows."""
    entries = [
        e for e in found.report.entries if (e.model, e.side, e.horizon_minutes) == (NETWORK, side, found.minutes)
    ]
    kept = [each for entry in entries for each in entry.alarms if each.found_on != ORACLE]
    tightest = min(kept, key=lambda each: each.budget_per_day).figures
    return {"recall_1_a_day": tightest.recall[0], "lead_minutes_median": tightest.lead_minutes[1]}


def pools_of(prepared: Prepared, trained: Trained, *, test: bool) -> Models:
    """The network's rows, and its teachers'."""
    walked = {NETWORK: Walked(trained.validation, trained.blocks)} | trained.teachers
    minutes = prepared.config.spec.label.horizons_minutes
    return {
        m: {name: pool(each.blocks if test else each.validation, h) for name, each in walked.items()}
        for h, m in enumerate(minutes)
    }


def baseline_pools(
    prepared: Prepared, blocks: Sequence[Block], lake: Lake | None, progress: Progress = silent
) -> Models:
    """Each baseline on the rows of these blocks, by horizon and name."""
    ts, truth = prepared.rows.ts_ns, prepared.rows.truth
    rows = np.concatenate([np.flatnonzero(block.tests(ts)) for block in blocks])
    rate = np.concatenate([np.repeat(truth[b.trains(ts)].mean(axis=0)[None], b.tests(ts).sum(), 0) for b in blocks])
    found: Models = {m: {} for m in prepared.config.spec.label.horizons_minutes}
    for number, name in enumerate(baselines.BASELINES, 1):
        said = np.concatenate([baselines.predict(prepared, block, name, lake) for block in blocks])
        for h, minutes in enumerate(found):
            found[minutes][name] = Pooled(ts[rows], truth[rows, :, h], said[:, :, h], rate[:, :, h])
        progress("baselines", number, len(baselines.BASELINES))
    return found


def assess(
    prepared: Prepared,
    models: Models,
    blocks: Sequence[Block],
    lake: Lake | None,
    *,
    test: bool,
    earlier: tuple[Models, Sequence[Block]] | None = None,
    progress: Progress = silent,
) -> Assessment:
    """Compare models with every baseline on the rows that `blocks` test; thresholds of alarms, of models and baselines
    alike, come from `earlier` rows and the blocks that tested those.

    Of test blocks this is a look: whoever calls it has written it down.
    """
    market = market_of(prepared, blocks, onsets_of(prepared, lake))
    joined = _beside_baselines(prepared, models, blocks, lake, progress)
    report = evaluate_task(
        prepared.config.task, "test" if test else "validation", joined, market,
        candidates=[*next(iter(models.values())), "boosting_map"],
        earlier=None if earlier is None else _beside_baselines(prepared, *earlier, lake, progress),
    )  # fmt: skip
    minutes = prepared.config.spec.signal.horizon_minutes
    return Assessment(joined[minutes], report, pictures(minutes, joined[minutes], market, NETWORK), market, minutes)


def _beside_baselines(
    prepared: Prepared, models: Models, blocks: Sequence[Block], lake: Lake | None, progress: Progress
) -> Models:
    rivals = baseline_pools(prepared, blocks, lake, progress)
    return {minutes: {**named, **rivals[minutes]} for minutes, named in models.items()}


def onsets_of(prepared: Prepared, lake: Lake | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Onsets of longs and of shorts in ns, to the print or the bar; None where the label is an amount in an interval,
    which has no moment, and without a lake.
    """
    if lake is None or prepared.config.spec.label.event == "threshold":
        return None
    events = labelled(lake, prepared.config.spec).events
    return None if events is None else (events.onset_ns[events.side == 0], events.onset_ns[events.side == 1])


def assess_trained(
    prepared: Prepared, trained: Trained, lake: Lake | None, *, test: bool, progress: Progress = silent
) -> Assessment:
    """The same for a training that has just ended."""
    validation, tested = (
        (pools_of(prepared, trained, test=of_test), [r.block for r in results])
        for of_test, results in ((False, trained.validation), (True, trained.blocks))
    )
    if not test:
        return assess(prepared, *validation, lake, test=False, progress=progress)
    return assess(prepared, *tested, lake, test=True, earlier=validation, progress=progress)


def assess_kept(
    run: Run, folder: Path, lake: Lake, out: Path, *, test: bool, progress: Progress = silent
) -> Assessment:
    """The same for a training that is kept in `folder`, from the predictions that it wrote."""
    prepared = prepare(run.config, lake, out / "examples", progress)
    if prepared.digest != run.data_digest:
        raise DataError(
            f"{folder}: was trained on data {run.data_digest[:12]}, the lake now gives {prepared.digest[:12]}"
        )
    tests = test_blocks(prepared)
    validation = validation_blocks(prepared, tests[0])
    minutes = run.config.spec.label.horizons_minutes
    rows = {t: {m: {NETWORK: stored_pool(run, folder, test=t, minutes=m)} for m in minutes} for t in (False, True)}
    return assess(
        prepared, rows[test], tests if test else validation, lake, test=test,
        earlier=(rows[False], validation) if test else None, progress=progress,
    )  # fmt: skip


def pooled_report(seeds: Sequence[Assessment]) -> EvaluationReport:
    """One report of several seeds at the watched horizon: means and standard deviations over them."""
    first = seeds[0]
    names = [name for name in first.pools if name not in baselines.BASELINES]
    models: dict[str, Pooled | list[Pooled]] = {name: [each.pools[name] for each in seeds] for name in names}
    models |= first.baselines()
    return evaluate_task(
        first.report.task, first.report.scored, {first.minutes: models}, first.market,
        candidates=[*names, "boosting_map"],
    )  # fmt: skip
