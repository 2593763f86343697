"""What each group of channels and scalars is worth: left out one at a time.

Two ways, and every row says which. *Retrained*: the whole recipe without the group; what the model loses is what
nothing else can make up for. *At inference*: the trained model meets rows on which the group is not told, scalars as
not recorded and unit maps as the mean map of pre-training; cheap, and it says what this model leans on, which may be
more than the group is worth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from squeeze.errors import ConfigError
from squeeze.market.lake import Lake
from training import groups
from training.config import RunConfig, day_ns
from training.controls.controls import FULL, Control
from training.controls.runner import ControlReport, rows_of, validated, walked
from training.controls.views import mean_channels, seen_through, unit_maps, without
from training.evaluation.pools import Pooled, pool, watched
from training.examples import Examples, Progress, silent
from training.prepare import Prepared, prepare
from training.pretraining.scorers import scores_over
from training.tracking.environment import commit
from training.walk import BlockResult, Trained

RETRAINED, AT_INFERENCE = "retrained", "at inference"
CHUNK = 1024
"""Rows that a head answers at once."""


def groups_in(channel_names: Iterable[str], scalar_names: Iterable[str]) -> list[str]:
    """The groups that a frame has something of, in the order of its scalars, then of its channels.

    >>> groups_in(["unit_5x"], ["volatility_60m", "zones", "day_sin"])
    ['price', 'liquidation map', 'clock']
    """
    found = [groups.scalar_group(name) for name in scalar_names] + [
        groups.channel_group(name) for name in channel_names
    ]
    return list(dict.fromkeys(found))


def members(examples: Examples, group: str) -> tuple[list[int], list[int]]:
    """Positions of the channels and of the scalars of a group."""
    channels = [i for i, name in enumerate(examples.channel_names) if groups.channel_group(name) == group]
    return channels, groups.of(examples.scalar_names, [group])


def left_out(group: str) -> Control:
    """The run without a group, trained so."""

    def change(prepared: Prepared) -> Prepared:
        return replace(prepared, series=[without(each, *members(each, group)) for each in prepared.series])

    return Control(f"without {group}, {RETRAINED}", "the recipe without this group", change)


def at_inference(prepared: Prepared, trained: Trained, group: str) -> list[BlockResult]:
    """The validation blocks as the trained model answers them when it is not told of a group; nothing is fitted."""
    own = untold(prepared, group)
    scores = scores_over(trained.network, own)
    return [
        answered(replace(prepared, series=[own, *prepared.series[1:]]), scores, each) for each in trained.validation
    ]


def answered(prepared: Prepared, scores: np.ndarray, result: BlockResult) -> BlockResult:
    """A block's rows answered anew by its own head, where it answered before."""
    at = prepared.positions[np.searchsorted(prepared.rows.ts_ns, result.rows.ts_ns)]
    told = np.flatnonzero(np.isfinite(result.probabilities).all(axis=(1, 2)))
    probabilities = np.full_like(result.probabilities, np.nan)
    for begin in range(0, len(told), CHUNK):
        rows = told[begin : begin + CHUNK]
        with torch.no_grad():
            inputs = torch.from_numpy(scores[at[rows]]), torch.from_numpy(prepared.own.scalars[at[rows]])
            probabilities[rows] = result.head(*inputs).numpy()
    return replace(result, probabilities=probabilities)


def untold(prepared: Prepared, group: str) -> Examples:
    """The task's own frames in which nothing of a group can be told from one step to another."""
    own = prepared.own
    channels, scalars = members(own, group)
    blank = without(own, channels, scalars)
    maps = [i for i in channels if i < unit_maps(own)]
    if not maps:
        return blank
    mean = mean_channels(own, int(day_ns(prepared.config.pretrain.until) or 0))[maps]

    def with_mean(at: np.ndarray) -> np.ndarray:
        rows: np.ndarray = blank.channels[at]
        rows[:, :, maps] = mean
        return rows

    return seen_through(blank, with_mean)


def run_ablation(
    config: RunConfig, lake: Lake, out: Path, names: Sequence[str] = (), seeds: Sequence[int] | None = None,
    progress: Progress = silent, *, retrain: bool = True,
) -> ControlReport:  # fmt: skip
    """Leave out each group (all that the frames have, or those named) both ways, on the validation blocks.

    With `retrain` off only the cheap way is gone. What is trained without a group is kept as a control's is.
    """
    seeds = tuple(seeds or (config.seed,))
    prepared = prepare(config, lake, out / "examples", progress)
    own, horizon = prepared.own, watched(config)
    every = groups_in(own.channel_names, own.scalar_names)
    if unknown := set(names) - set(every):
        raise ConfigError(f"no group is called {', '.join(sorted(unknown))}; the frames have {', '.join(every)}")
    found = names or every
    full: list[Pooled] = []
    blind: list[list[Pooled]] = [[] for _ in found]
    trained_without: list[list[Pooled]] = [[] for _ in found]
    for seed in seeds:
        seeded = replace(prepared, config=msgspec.structs.replace(config, seed=seed))
        with walked(FULL, seeded, out, progress) as trained:
            full.append(pool(trained.validation, horizon))
            for n, group in enumerate(found):
                blind[n].append(pool(at_inference(seeded, trained, group), horizon))
                if retrain:
                    control = left_out(group)
                    trained_without[n].append(validated(control, control.prepared(seeded), out, progress))
                progress(f"leaving out, seed {seed}", n + 1, len(found))
    rows = rows_of(FULL, full, full)
    for group, cheap, dear in zip(found, blind, trained_without, strict=True):
        rows += rows_of(Control(f"without {group}, {AT_INFERENCE}", "the model is not told of this group"), full, cheap)
        rows += rows_of(left_out(group), full, dear) if retrain else []
    return ControlReport(config.task, "validation", seeds, commit(), prepared.digest, tuple(rows))
