"""`squeeze weights`: leverage weights of every walk-forward block, and how they do where they may be judged.

    config, lake ─► read_sweeps ─► per block: fit to what was known ─► file, table
                                         └─► score on the rows of the block, if it is a validation block

No row of a test block is scored. Only where every block is asked for do rows of test blocks enter later blocks' fits.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from squeeze.heatmaps.weights import FitSpec, fit, tweedie_deviance
from squeeze.market.events import MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.tools.sweeps import SweepHistory, SweepRows, read_sweeps
from squeeze.tools.weights import BlockWeights, Score, WeightsFile
from training.config import RunConfig, day_ns, utc
from training.examples import Progress, silent
from training.leverage.mixing import KnownFit, fit_known, share_of
from training.prepare import Prepared, task_rows, test_blocks, validation_blocks
from training.splits import Block

TOP = 0.01
"""Share of rows, those of which most is expected, whose share of what was liquidated is told."""


def fit_weights(
    config: RunConfig, lake: Lake, *, iterate: bool = False, every_block: bool = False, draws: int = 200,
    spec: FitSpec = FitSpec(), progress: Progress = silent,  # noqa: B008 (frozen)
) -> WeightsFile:  # fmt: skip
    """Weights of the validation blocks and the first test block of a run, in the order of their cuts.

    `every_block` goes on to the later test blocks, which learn from the rows of those before them. `iterate` folds and
    fits to the fixed point, block by block. Raises `DataError` for the first block with too little before its cut, with
    what there is and what is needed.
    """
    start_ns, until_ns = day_ns(config.start), day_ns(config.until)
    history = read_sweeps(lake, config.spec, start_ns, until_ns, progress)
    labelled = task_rows(config, lake, int(history.closes_ns[-1]))
    prepared = Prepared(config, [], labelled, np.full(len(labelled), -1))
    tests = test_blocks(prepared)
    todo = [(f"validation {b.index}", b) for b in validation_blocks(prepared, tests[0])]
    judged = len(todo)
    todo += [(f"test {b.index}", b) for b in (tests if every_block else tests[:1])]
    purge_ns, found = config.splits.purge_minutes * MINUTE_NS, []
    border_ns = tests[0].test_from_ns - purge_ns
    for number, (name, block) in enumerate(todo):
        is_judged = number < judged
        known = fit_known(
            history, block.test_from_ns, purge_ns, share=share_of(history), spec=spec, draws=draws, iterate=iterate,
            fold_until_ns=min(block.test_until_ns, border_ns) if is_judged else 0,
        )  # fmt: skip
        score = _score(history, known, block, border_ns, spec) if is_judged else None
        found.append(_record(name, known, history.map_spec.leverages, score))
        progress("fitting weights", number + 1, len(todo))
    market, map_spec = config.spec.market, config.spec.map
    return WeightsFile(
        task=config.task,
        symbol=market.symbol,
        liquidations=market.liquidations.venue if market.liquidations else "",
        leverages=map_spec.leverages,
        prior=map_spec.prior_weights,
        share_unknown=history.share_unknown,
        spec_digest=config.spec.digest(),
        data_digest=lake.digest(market, start_ns, until_ns),
        blocks=tuple(found),
    ).hashed()


def _score(history: SweepHistory, known: KnownFit, block: Block, border_ns: int, spec: FitSpec) -> Score | None:
    """On the rows of a validation block, from what was known before the first test block; None where it has none."""
    ahead = history.rows(known.swept, border_ns).between(block.test_from_ns, min(block.test_until_ns, border_ns))
    if not (ahead.observed > 0).any():
        return None
    return score(known, ahead, spec)


def score(known: KnownFit, ahead: SweepRows, spec: FitSpec) -> Score:
    """Weights against the prior's mix and against climatology, on rows that none of them has seen."""
    behind, observed = known.rows, ahead.observed
    prior = known.fit.prior
    # The prior's mix as one bucket: its level and background are fitted, so that the mix alone is compared.
    mixed = prior / prior.sum()
    share = known.fit.share if known.fit.share_known else None
    # Its one bucket may be swept in fewer steps than the best of them; enough was there for the fit.
    loose = msgspec.structs.replace(spec, least_sweeps=0.0)
    plain = fit(
        (behind.swept @ mixed)[..., None], behind.observed, behind.close_ns, [float(prior.sum())],
        share=share, spec=loose,
    )  # fmt: skip
    expected, by_prior = known.fit.expected(ahead.swept), plain.expected((ahead.swept @ mixed)[..., None])
    means = np.nanmean(behind.observed, axis=0)
    usual = np.broadcast_to(np.maximum(means, 1e-3 * means.mean()), observed.shape)
    there = np.isfinite(observed)
    return Score(
        rows=int(there.sum()),
        deviance=tweedie_deviance(observed, expected, spec.power),
        prior_deviance=tweedie_deviance(observed, by_prior, spec.power),
        climatology_deviance=tweedie_deviance(observed, usual, spec.power),
        calibration=float(expected[there].sum() / observed[there].sum()),
        top_share=top_share(observed[there], expected[there]),
        prior_top_share=top_share(observed[there], by_prior[there]),
    )


def top_share(observed: np.ndarray, expected: np.ndarray) -> float:
    """Share of the whole amount in the 1 % of rows where most was expected, at least one row.

    >>> top_share(np.array([1.0, 0.0, 3.0]), np.array([0.2, 0.1, 0.9]))
    0.75
    """
    most = np.argsort(expected, kind="stable")[-max(1, math.ceil(TOP * len(expected))) :]
    return float(observed[most].sum() / observed.sum())


def _record(name: str, known: KnownFit, leverages: Sequence[float], score: Score | None) -> BlockWeights:
    found, used = known.fit, known.rows.close_ns[np.isfinite(known.rows.observed).any(axis=1)]
    errors = found.standard_errors if found.standard_errors is not None else np.zeros(0)
    return BlockWeights(
        block=name,
        cut=utc(known.block.cut_ns),
        first=utc(int(used[0])),
        last=utc(known.block.last_ns),
        rows=found.rows,
        liquidations=found.liquidations,
        days=found.days,
        weights=tuple(found.weights.tolist()),
        standard_errors=tuple(errors.tolist()),
        data_share=tuple(v if math.isfinite(v) else None for v in found.data_share.tolist()),
        unspoken=tuple(leverages[bucket] for bucket in found.unspoken),
        share=found.share,
        share_known=found.share_known,
        background=float(found.background[0]),
        deviance=found.deviance,
        null_deviance=found.null_deviance,
        converged=known.converged,
        changes=known.changes,
        score=score,
    )


def weight_rows(file: WeightsFile) -> list[dict[str, Any]]:
    """A row for each block: its weights with 95 % intervals, and the data's share of each behind the colon."""
    found = []
    for block in file.blocks:
        row: dict[str, Any] = {"block": block.block, "until": block.last[:16], "rows": block.rows}
        row |= {"liquidations": block.liquidations, "days": block.days}
        for at, leverage in enumerate(file.leverages):
            row[f"{leverage:g}x"] = _cell(block, at)
        row |= {"theta": f"{block.share:.3g}" + " (given)" * block.share_known, "background": f"{block.background:.3g}"}
        unspoken = ", ".join(f"{leverage:g}x" for leverage in block.unspoken)
        found.append(row | {"mostly prior": unspoken or "none", "converged": "yes" if block.converged else "no"})
    return found


def _cell(block: BlockWeights, at: int) -> str:
    weight, share = block.weights[at], block.data_share[at]
    text = f"{weight:.3f}"
    if block.standard_errors:
        error = 1.96 * block.standard_errors[at]
        text += f" [{max(weight - error, 0.0):.3f}, {min(weight + error, 1.0):.3f}]"
    return text if share is None else f"{text}: {share:.0%}"


def score_rows(file: WeightsFile) -> list[dict[str, Any]]:
    """A row for each validation block that had a liquidation."""
    return [
        {
            "block": block.block, "from": block.cut[:16], "rows": s.rows, "deviance": s.deviance,
            "of the prior's mix": s.prior_deviance, "of climatology": s.climatology_deviance,
            "expected / observed": s.calibration, "in top 1 %": s.top_share, "prior's": s.prior_top_share,
        }
        for block in file.blocks if (s := block.score) is not None
    ]  # fmt: skip


def change_rows(file: WeightsFile) -> list[dict[str, Any]]:
    """A row for each block: the largest change of a weight, round by round of fold and fit."""
    rounds = max((len(block.changes) for block in file.blocks), default=0)
    return [
        {"block": block.block}
        | {f"round {n + 1}": f"{block.changes[n]:.4f}" if n < len(block.changes) else "" for n in range(rounds)}
        for block in file.blocks
        if block.changes
    ]
