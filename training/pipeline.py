"""The stages of a run joined up: train a task, compare it with the baselines, keep it, track it, export a block."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import torch

from squeeze.arrays import SIDES
from squeeze.errors import SqueezeError
from squeeze.market.events import DAY_NS
from squeeze.market.lake import Lake
from squeeze.model_file import ModelCard
from training import baselines, export, runs
from training.config import RunConfig, utc
from training.evaluate import ap_gain, metrics
from training.examples import Progress, silent
from training.walk import BlockResult, Prepared, Trained, prepare, walk

Figures = dict[str, dict[str, float]]
"""By side: named figures."""


class Pooled(msgspec.Struct, frozen=True):
    """Rows of several blocks of one model at the watched horizon; arrays are (row, side), NaN where it abstained."""

    ts_ns: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    base_rate: np.ndarray

    def held(self, times_ns: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Probability and truth by side as of each time: a row holds until the next; NaN and False before the first."""
        at = np.searchsorted(self.ts_ns, times_ns, side="right") - 1
        begun = (at >= 0)[:, None]
        probability, truth = np.where(begun, self.probability[at], np.nan), self.truth[at] & begun
        return {side: probability[:, s] for s, side in enumerate(SIDES)}, {
            side: truth[:, s] for s, side in enumerate(SIDES)
        }

    def figures(self, rival: "Pooled | None" = None) -> Figures:
        """All figures by side, over rows with a probability; with a rival also the gain in AP over it."""
        found: Figures = {}
        for s, side in enumerate(SIDES):
            seen = np.isfinite(self.probability[:, s])
            t, p = self.truth[seen, s], self.probability[seen, s].astype(float)
            found[side] = metrics(self.ts_ns[seen], t, p, self.base_rate[seen, s])
            if rival is not None:
                gain = ap_gain(t, p, rival.probability[seen, s].astype(float), self.ts_ns[seen] // DAY_NS)
                found[side] |= dict(zip(("ap_gain", "ap_gain_low", "ap_gain_high"), gain, strict=True))
        return found


def pool(results: list[BlockResult], horizon: int) -> Pooled:
    """The rows of blocks, one after another, at one horizon (an index)."""
    return Pooled(
        np.concatenate([r.rows.ts_ns for r in results]),
        np.concatenate([r.rows.truth[:, :, horizon] for r in results]),
        np.concatenate([r.probabilities[:, :, horizon] for r in results]),
        np.concatenate([np.broadcast_to(r.base_rates[:, horizon], (len(r.rows), 2)) for r in results]),
    )


def stored_pool(run: runs.Run, folder: Path, *, test: bool) -> Pooled:
    """The rows that a kept run predicted, test or validation, at the watched horizon."""
    minutes = run.config.spec.signal.horizon_minutes
    table = pd.read_parquet(folder / "predictions.parquet")
    table = table[(table["block"] != runs.VALIDATION) == test]
    columns = [np.column_stack([table[f"{what}_{side}_{minutes}"] for side in SIDES]) for what in ("y", "p", "rate")]
    return Pooled(table["ts"].dt.as_unit("ns").astype("int64").to_numpy(), *columns)


def watched(config: RunConfig) -> int:
    """Index of the horizon that the signal machine watches, and that figures are of."""
    return config.spec.label.horizons_minutes.index(config.spec.signal.horizon_minutes)


def baseline_pools(prepared: Prepared, results: list[BlockResult], progress: Progress = silent) -> dict[str, Pooled]:
    """Each baseline on the rows of these blocks."""
    horizon = watched(prepared.config)
    found = {}
    for name in baselines.BASELINES:
        replaced = [
            BlockResult(
                r.block,
                r.head,
                r.rows,
                baselines.predict(prepared, r.block, name),
                r.base_rates,
                r.trained_rows,
                r.degraded,
            )
            for r in results
        ]
        found[name] = pool(replaced, horizon)
        progress("baselines", len(found), len(baselines.BASELINES))
    return found


def train_task(
    config: RunConfig, lake: Lake, out: Path, progress: Progress = silent
) -> tuple[Prepared, Trained, runs.Run]:
    """Fold, pre-train, walk forward and keep the run under `out/runs/<task>`."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
    prepared = prepare(config, lake, out / "examples", progress)
    trained = walk(prepared, progress)
    return prepared, trained, runs.save(prepared, trained, run_folder(out, config))


def run_folder(out: Path, config: RunConfig) -> Path:
    """Where a task's training is kept."""
    return out / "runs" / config.task


def card_of(run: runs.Run, block: int, scores: Mapping[str, float]) -> ModelCard:
    """What the exported model says of itself."""
    record = run.blocks[block]
    horizons_ns = run.config.spec.label.horizons_minutes[-1] * 60_000_000_000
    return ModelCard(
        spec=run.config.spec,
        scalar_names=run.scalar_names,
        masked_scalars=run.masked_scalars,
        hidden=run.config.network.hidden,
        degraded=record.degraded,
        base_rates=runs.base_rates(record),
        trained_from=run.config.start or "the first bar",
        trained_until=utc(record.block.train_until_ns + horizons_ns),
        data_digest=run.data_digest,
        licence=run.config.licence,
        commit=commit(),
        scores={name: value for name, value in scores.items() if np.isfinite(value)},
    )


def export_block(
    run: runs.Run, folder: Path, block: int, path: Path, scores: Mapping[str, float], steps: int
) -> tuple[float, float]:
    """Write a block's model file; the largest differences between torch and ONNX Runtime, which must lie within
    tolerance.
    """
    model, card = runs.load_step(run, folder, block), card_of(run, block, scores)
    file = export.to_onnx(model, card)
    differences = export.parity(model, file, card, steps)
    if differences[0] > export.PROBABILITY_TOLERANCE or differences[1] > export.STATE_TOLERANCE:
        raise SqueezeError(
            f"the exported graph differs from torch by {differences[0]:.1e} in p and {differences[1]:.1e} in state"
        )
    export.write(file, path)
    return differences


def commit() -> str:
    """The commit of the code, `+` where code or configs differ from it; `unknown` outside a checkout."""
    head, changed = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    return "unknown" if head is None or changed is None else head + "+" * bool(changed)


CODE = ("squeeze", "training", "configs", "pyproject.toml", "constraints.txt")


def _git(*words: str) -> str | None:
    root = Path(__file__).parent.parent
    try:
        said = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def heat_window(
    prepared: Prepared, from_ns: int, until_ns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times, marks, prior-weighted map (step, side, price) and bin widths of the frames in a stretch of time."""
    own = prepared.own
    kept = np.flatnonzero((own.closes_ns >= from_ns) & (own.closes_ns < until_ns) & own.seen)
    prior = np.array(prepared.config.spec.map.prior_weights, np.float32)
    return (
        own.closes_ns[kept],
        own.marks[kept, 3],
        np.einsum("tskp,k->tsp", own.channels[kept], prior),
        own.bin_width_log[kept],
    )


def table(figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """One row per model and side, for people."""
    shown = ("ap", "base_rate", "auc", "brier_skill", "slope", "ece", "episodes")
    return [
        {"model": name, "side": side} | {k: round(row[k], 3) for k in shown}
        for name, sides in figures.items()
        for side, row in sides.items()
    ]
