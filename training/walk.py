"""Walk-forward: pre-train once before the first label, then per block refit the head and predict what it has not
seen.

    teachers ─► student ─► scores of every step ─► per block: head ─► probabilities
        └────────────────────────────────────────► the same heads, for comparison alone
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from squeeze.errors import DataError
from squeeze.market.events import MINUTE_NS
from squeeze.outcomes.rows import Rows
from training.config import day_ns
from training.examples import Progress, known_rows, required_channels, silent
from training.head import fit_head
from training.networks.network import Head, SqueezeNetwork
from training.prepare import Prepared, test_blocks, validation_blocks
from training.pretraining.scorers import families, scores_over, student, whole_chunks
from training.splits import Block


@dataclass(frozen=True, slots=True, eq=False)
class BlockResult:
    """One block's head and its predictions (row, side, horizon), NaN where it abstains."""

    block: Block
    head: Head
    rows: Rows
    probabilities: np.ndarray
    base_rates: np.ndarray
    """(side, horizon), on the training rows."""
    trained_rows: int
    degraded: int
    """Union of the `Degraded` flags that its training frames show; it abstains on a frame with any other."""


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """One family of scores through all blocks."""

    validation: list[BlockResult]
    """Blocks inside the training part of the first test block: what choices are made on."""
    blocks: list[BlockResult]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished walk: the network to export, what pre-training said, the scores of every step, and the blocks."""

    network: SqueezeNetwork
    pretraining: dict[str, Any]
    scores: np.ndarray
    validation: list[BlockResult]
    """Blocks inside the training part of the first test block: what choices are made on."""
    blocks: list[BlockResult]
    teachers: dict[str, Walked] = field(default_factory=dict)
    """Each pre-trained family by itself, and `teacher`, their mean: compared with the student, never exported."""
    required_channels: tuple[str, ...] = ()
    """Without one of these the model abstains."""


def fit_block(prepared: Prepared, scores: np.ndarray, block: Block, required: tuple[str, ...] = ()) -> BlockResult:
    """Refit the head on what the block may know, and predict its rows; those that lack a `required` channel abstain."""
    config, own = prepared.config, prepared.own
    picked = [own.scalar_names.index(n) for n in config.head.scalars]
    ts = prepared.rows.ts_ns
    train = np.flatnonzero(block.trains(ts) & (prepared.positions >= 0))
    test = np.flatnonzero(block.tests(ts))
    if len(train) < 100:
        raise DataError(
            f"task {config.task}, block {block.index}: {len(train)} training rows are too few; at least 100 are needed"
        )
    at = prepared.positions[train]
    truth = prepared.rows.truth
    span_ns = config.spec.label.horizons_minutes[-1] * MINUTE_NS
    head = fit_head(scores[at], own.scalars[at], truth[train], config.head, picked, ts[train], span_ns)
    probabilities = np.full((len(test), *truth.shape[1:]), np.nan, np.float32)
    degraded = int(np.bitwise_or.reduce(own.degraded[own.seen & (own.closes_ns <= block.train_until_ns)]))
    poorer = (own.degraded[prepared.positions[test]] & ~degraded) != 0
    seen = (prepared.positions[test] >= 0) & ~poorer
    if required:
        seen &= known_rows(own, required, prepared.positions[test]).all(axis=1)
    for taken, count in whole_chunks(np.flatnonzero(seen), 1024):
        at = prepared.positions[test][taken]
        p = head(torch.from_numpy(scores[at]), torch.from_numpy(own.scalars[at]))
        probabilities[taken[:count]] = p[:count].numpy()
    rates = truth[block.trains(ts)].mean(axis=0)
    return BlockResult(block, head, prepared.rows.where(test), probabilities, rates, len(train), degraded)


def walk(prepared: Prepared, progress: Progress = silent, checkpoints: Path | None = None) -> Trained:
    """The whole walk-forward of one seed; an interrupted pre-training goes on from what lies under `checkpoints`."""
    members = families(prepared, progress, checkpoints)
    network, said = student(prepared, members, progress, checkpoints)
    scores = scores_over(network, prepared.own)
    required = needed(prepared, network)
    taught = {member.name: walk_blocks(prepared, member.scores[0], required) for member in members}
    walked = walk_blocks(prepared, scores, required, progress)
    said |= {"teachers": {member.name: member.said for member in members}}
    return Trained(network, said, scores, walked.validation, walked.blocks, taught, required)


def needed(prepared: Prepared, network: SqueezeNetwork) -> tuple[str, ...]:
    """Channels that the network sees and pre-training hardly ever lacked."""
    own, until_ns = prepared.own, day_ns(prepared.config.pretrain.until) or 0
    found = required_channels(own, np.flatnonzero(own.closes_ns <= until_ns), len(prepared.config.spec.map.leverages))
    kept = dict(zip(own.channel_names, (network.kept_channels > 0).tolist(), strict=True))
    return tuple(name for name in found if kept[name])


def walk_blocks(
    prepared: Prepared, scores: np.ndarray, required: tuple[str, ...] = (), progress: Progress = silent
) -> Walked:
    """A head for every validation and test block on the scores (step, side, score) of the task's own series."""
    tests = test_blocks(prepared)
    todo = [*validation_blocks(prepared, tests[0]), *tests]
    found = []
    for block in todo:
        found.append(fit_block(prepared, scores, block, required))
        progress("fitting blocks", len(found), len(todo))
    first_test = len(todo) - len(tests)
    return Walked(found[:first_test], found[first_test:])


def weights_digest(*modules: nn.Module) -> str:
    """SHA-256 over every parameter and buffer, in order of their names."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
