"""The stages of a run joined up: train a task, keep it, export a block."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch

from squeeze.market.lake import Lake
from squeeze.model_file import ModelCard
from training import export, runs
from training.calibration import guards
from training.config import RunConfig, utc
from training.controls.runner import gain_metrics, kept_at
from training.evaluation.assess import NETWORK, Assessment, assess_trained
from training.examples import Progress, silent
from training.prepare import Prepared, prepare
from training.tracking import record
from training.tracking.environment import commit, measured
from training.walk import Trained, walk


def train_task(
    config: RunConfig, lake: Lake, out: Path, progress: Progress = silent
) -> tuple[Prepared, Trained, runs.Run]:
    """Fold, pre-train, walk forward and keep the run in its folder; one that was interrupted goes on where it was."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
    prepared = prepare(config, lake, out / "examples", progress)
    checkpoints = out / "checkpoints" / config.task / f"seed-{config.seed}"
    trained = walk(prepared, progress, checkpoints)
    watched_by = {guards.FILE: msgspec.json.encode(guards.guards(prepared, trained))}
    run = runs.save(prepared, trained, run_folder(out, config), watched_by)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return prepared, trained, run


def train_and_track(config: RunConfig, lake: Lake, out: Path, progress: Progress = silent) -> Assessment:
    """Train a task, compare it with the baselines on validation rows, and track it."""
    with measured() as readings:
        prepared, trained, run = train_task(config, lake, out, progress)
    found = assess_trained(prepared, trained, lake, test=False, progress=progress)
    record.track_run(
        prepared, trained, run, found.figures()[NETWORK], found.rival_figures(), {}, None, test=False, lake=lake,
        pools=found.baselines(), report=found.told(), pictures=found.drawn, system=readings, over=found.best_rival(),
        controls=gain_metrics(kept_at(out, config.task), run.data_digest, "validation"),
    )  # fmt: skip
    return found


def run_folder(out: Path, config: RunConfig) -> Path:
    """Where a training of a task is kept, by its seed."""
    return out / "runs" / config.task / f"seed-{config.seed}"


def card_of(run: runs.Run, folder: Path, block: int, scores: Mapping[str, float]) -> ModelCard:
    """What the exported model of a run that is kept in `folder` says of itself."""
    watch = guards.read(folder)
    record = run.blocks[block]
    horizons_ns = run.config.spec.label.horizons_minutes[-1] * 60_000_000_000
    return ModelCard(
        spec=run.config.spec,
        scalar_names=run.scalar_names,
        masked_scalars=run.masked_scalars,
        channel_names=run.channel_names,
        masked_channels=run.masked_channels,
        required_channels=run.required_channels,
        hidden=run.state_width,
        degraded=record.degraded,
        base_rates=runs.base_rates(record),
        trained_from=run.config.start or "the first bar",
        trained_until=utc(record.block.train_until_ns + horizons_ns),
        data_digest=run.data_digest,
        licence=run.config.licence,
        commit=commit(),
        drift=watch.drift[block],
        alarms=watch.alarms,
        scores={name: value for name, value in scores.items() if np.isfinite(value)},
    )


def export_block(
    run: runs.Run, folder: Path, block: int, path: Path, scores: Mapping[str, float], steps: int
) -> tuple[float, float]:
    """Write a block's model file, as `export.export` does."""
    return export.export(runs.load_step(run, folder, block), card_of(run, folder, block, scores), path, steps)
