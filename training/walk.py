"""Walk-forward: pre-train once before the first label, then per block refit the head and predict what it has not
seen.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from squeeze.errors import ConfigError, DataError
from squeeze.market.lake import Lake
from squeeze.state import MarketState
from training.config import RunConfig, SplitSpec, day_ns
from training.data import SequenceData
from training.examples import Examples, Progress, build, silent
from training.head import fit_head
from training.labels import Rows, rows
from training.mixing import starting_weights
from training.network import Head, SqueezeNetwork
from training.splits import Block, blocks
from training.task import pretrain


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What training starts from: the task's own frames first, the other series, the rows and their frames'
    positions.
    """

    config: RunConfig
    series: list[Examples]
    rows: Rows
    positions: np.ndarray
    """Step of each row's frame; -1 where there is none or it is unhealthy, and the model abstains."""
    leverage_weights: np.ndarray | None = None
    """Where the mixing layer starts; None for the spec's prior."""

    @property
    def own(self) -> Examples:
        """The task's own market."""
        return self.series[0]

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all inputs."""
        return hashlib.sha256("".join(e.data_digest for e in self.series).encode()).hexdigest()


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
class Trained:
    """A finished walk: the network, what pre-training said, the scores of every step, and the blocks."""

    network: SqueezeNetwork
    pretraining: dict[str, Any]
    scores: np.ndarray
    validation: list[BlockResult]
    """Blocks inside the training part of the first test block: what choices are made on."""
    blocks: list[BlockResult]


def prepare(config: RunConfig, lake: Lake, out: Path, progress: Progress = silent) -> Prepared:
    """Fold all series of a run into frames and join the task's rows to theirs."""
    if unknown := set(config.head.scalars) - set(names := MarketState(config.spec).scalar_names):
        raise ConfigError(f"head.scalars: no scalar is called {sorted(unknown)}; there are {', '.join(names)}")
    series = [
        build(lake, config.spec, market, start, until, out, progress) for market, start, until in config.markets()
    ]
    closes = series[0].closes_ns
    labelled = task_rows(config, lake, int(closes[-1]))
    at = np.searchsorted(closes, labelled.ts_ns).clip(max=len(closes) - 1)
    good = (closes[at] == labelled.ts_ns) & (series[0].unhealthy[at] == 0)
    prepared = Prepared(config, series, labelled, np.where(good, at, -1))
    first = validation_blocks(prepared, test_blocks(prepared)[0])[0]
    return replace(prepared, leverage_weights=starting_weights(config, lake, first.test_from_ns, progress))


def task_rows(config: RunConfig, lake: Lake, last_ns: int) -> Rows:
    """The task's rows from the end of pre-training to the last bar."""
    labelled = rows(lake, config.spec)
    labelled = labelled.where((labelled.ts_ns >= day_ns(config.pretrain.until)) & (labelled.ts_ns <= last_ns))
    if not len(labelled):
        raise DataError(f"task {config.task}: no row lies between the end of pre-training and the last bar")
    return labelled


def pretrained(prepared: Prepared, progress: Progress = silent) -> tuple[SqueezeNetwork, dict[str, Any]]:
    """A network trained on the proxies of all series, on nothing after `pretrain.until`."""
    config, spec = prepared.config, prepared.config.spec
    torch.manual_seed(config.seed)
    horizons = spec.label.horizons_minutes
    scores = len(horizons) * (len(config.pretrain.quantiles) + 2)
    network = SqueezeNetwork(config.network, spec.map, spec.frame.price_bins, len(prepared.own.scalar_names), scores)
    if prepared.leverage_weights is not None:
        network.encoder.start_at(torch.from_numpy(prepared.leverage_weights))
    data = SequenceData(
        prepared.series, horizons, config.pretrain, int(day_ns(config.pretrain.until) or 0), config.seed
    )
    said = pretrain(network, data, config.pretrain, len(horizons), config.seed, progress)
    return network, said


def whole_chunks(positions: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Positions in chunks of just `size`, and how many of a chunk count: the last is filled up with its own.

    The rounding of a matrix product goes with its shape, so without this the number of later rows would be felt in the
    last bit of earlier ones, and the future would change the past.
    """
    for begin in range(0, len(positions), size):
        part = positions[begin : begin + size]
        yield np.resize(part, size), len(part)


@torch.no_grad()
def scores_over(network: SqueezeNetwork, examples: Examples, chunk: int = 4096) -> np.ndarray:
    """Scores (step, side, score) of every step that shows anything, the state carried from the first on; NaN
    elsewhere.
    """
    out = np.full((len(examples.closes_ns), 2, network.scores.out_features), np.nan, np.float32)
    state = None
    seen = np.flatnonzero(examples.seen)
    for at, count in whole_chunks(seen, chunk):
        own = torch.from_numpy(examples.channels[at]).transpose(0, 1)
        scalars = torch.from_numpy(examples.scalars[at]).transpose(0, 1)
        found, state = network(own, own.flip(0), scalars, state)
        out[at[:count]] = found.transpose(0, 1)[:count].numpy()
    return out


def fit_block(prepared: Prepared, scores: np.ndarray, block: Block) -> BlockResult:
    """Refit the head on what the block may know, and predict its rows."""
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
    head = fit_head(scores[at], own.scalars[at], truth[train], config.head, picked)
    probabilities = np.full((len(test), *truth.shape[1:]), np.nan, np.float32)
    degraded = int(np.bitwise_or.reduce(own.degraded[own.seen & (own.closes_ns <= block.train_until_ns)]))
    poorer = (own.degraded[prepared.positions[test]] & ~degraded) != 0
    seen = (prepared.positions[test] >= 0) & ~poorer
    for taken, count in whole_chunks(np.flatnonzero(seen), 1024):
        at = prepared.positions[test][taken]
        p = head(torch.from_numpy(scores[at]), torch.from_numpy(own.scalars[at]))
        probabilities[taken[:count]] = p[:count].numpy()
    rates = truth[block.trains(ts)].mean(axis=0)
    return BlockResult(block, head, prepared.rows.where(test), probabilities, rates, len(train), degraded)


def walk(prepared: Prepared, progress: Progress = silent) -> Trained:
    """The whole walk-forward of one seed."""
    network, said = pretrained(prepared, progress)
    scores = scores_over(network, prepared.own)
    tests = test_blocks(prepared)
    todo = [*validation_blocks(prepared, tests[0]), *tests]
    found = []
    for block in todo:
        found.append(fit_block(prepared, scores, block))
        progress("fitting blocks", len(found), len(todo))
    first_test = len(todo) - len(tests)
    return Trained(network, said, scores, found[:first_test], found[first_test:])


def test_blocks(prepared: Prepared) -> list[Block]:
    """The walk-forward blocks of the run."""
    return blocks(prepared.rows.ts_ns, prepared.config.spec.label, prepared.config.splits)


def validation_blocks(prepared: Prepared, first_test: Block) -> list[Block]:
    """The last half of what the first test block may train on, in four blocks of its own."""
    inside = prepared.rows.ts_ns[first_test.trains(prepared.rows.ts_ns)]
    return blocks(
        inside,
        prepared.config.spec.label,
        SplitSpec(blocks=4, test_share=0.5, purge_minutes=prepared.config.splits.purge_minutes),
    )


def weights_digest(*modules: nn.Module) -> str:
    """SHA-256 over every parameter and buffer, in order of their names."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
