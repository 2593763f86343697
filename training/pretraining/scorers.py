"""Pre-trained families of scores, and the one network that is exported: the student of their mean, or of nobody.

Every family gives the same scores: for each horizon the logit of each exceedance, then the graded targets. A family
is fitted strictly before `pretrain.until`, on every series, and its early stopping looks at the tail before that alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import day_ns
from training.examples import Examples, Progress, silent
from training.networks.network import SqueezeNetwork
from training.prepare import Prepared
from training.pretraining.boosting import boost
from training.pretraining.data import SequenceData
from training.pretraining.task import pretrain

TEACHER = "teacher"
"""Name of the families' mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Scores (step, side, score) of each series, the mean over the family's seeds, and what its fits said."""

    name: str
    scores: list[np.ndarray]
    said: dict[str, Any]


def families(prepared: Prepared, progress: Progress = silent, checkpoints: Path | None = None) -> list[Family]:
    """Every family that teaches, and, if there are two, their mean; none where the run asks for none."""
    teachers, found = prepared.config.teachers, []
    seeds = [prepared.config.seed * 1000 + 1 + n for n in range(max(teachers.networks, teachers.boosted))]
    if teachers.boosted:
        data = sequences(prepared, prepared.config.seed)

        def boosted(seed: int) -> tuple[Callable[[Examples], np.ndarray], dict[str, Any]]:
            model = boost(data, teachers.boosting, seed, progress)
            return model.over, model.said

        found.append(_family("pretrained_boosting", prepared, boosted, seeds[: teachers.boosted]))
    if teachers.networks:

        def trained(seed: int) -> tuple[Callable[[Examples], np.ndarray], dict[str, Any]]:
            network, said = pretrained(prepared, progress, seed=seed, checkpoint=_place(checkpoints, f"teacher-{seed}"))
            return lambda examples: scores_over(network, examples), _plain(said)

        found.append(_family("pretrained_networks", prepared, trained, seeds[: teachers.networks]))
    if len(found) > 1:
        means = [np.mean(each, axis=0, dtype=np.float32) for each in zip(*(f.scores for f in found), strict=True)]
        found.append(Family(TEACHER, means, {}))
    return found


def student(
    prepared: Prepared, taught_by: list[Family], progress: Progress = silent, checkpoints: Path | None = None
) -> tuple[SqueezeNetwork, dict[str, Any]]:
    """The network that is exported: trained on the proxies and, where there are families, on the last of them."""
    teacher = taught_by[-1].scores if taught_by else None
    return pretrained(prepared, progress, teacher=teacher, checkpoint=_place(checkpoints, "student"))


def pretrained(
    prepared: Prepared,
    progress: Progress = silent,
    *,
    seed: int | None = None,
    teacher: list[np.ndarray] | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[SqueezeNetwork, dict[str, Any]]:
    """A network trained on the proxies of all series, on nothing after `pretrain.until`.

    `on_epoch` is told each epoch's number and validation loss, and may raise to end it.
    """
    config, spec = prepared.config, prepared.config.spec
    seed = config.seed if seed is None else seed
    torch.manual_seed(seed)
    horizons = len(spec.label.horizons_minutes)
    scores = horizons * config.pretrain.scores_per_horizon
    own = prepared.own
    network = SqueezeNetwork(
        config.network, spec.map, spec.frame.price_bins, len(own.scalar_names), scores, channels=own.channels.shape[2]
    )
    if prepared.leverage_weights is not None:
        network.encoder.start_at(torch.from_numpy(prepared.leverage_weights))
    data = sequences(prepared, seed, teacher)
    said = pretrain(network, data, config.pretrain, horizons, seed, progress, checkpoint=checkpoint, on_epoch=on_epoch)
    return network, said


def sequences(prepared: Prepared, seed: int, teacher: list[np.ndarray] | None = None) -> SequenceData:
    """The pre-training data of a run, cut at `pretrain.until`."""
    config = prepared.config
    until_ns = int(day_ns(config.pretrain.until) or 0)
    horizons = config.spec.label.horizons_minutes
    return SequenceData(prepared.series, horizons, config.pretrain, until_ns, seed, teacher=teacher)


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


def whole_chunks(positions: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Positions in chunks of just `size`, and how many of a chunk count: the last is filled up with its own.

    The rounding of a matrix product goes with its shape, so without this the number of later rows would be felt in the
    last bit of earlier ones, and the future would change the past.
    """
    for begin in range(0, len(positions), size):
        part = positions[begin : begin + size]
        yield np.resize(part, size), len(part)


def _family(
    name: str,
    prepared: Prepared,
    fit: Callable[[int], tuple[Callable[[Examples], np.ndarray], dict[str, Any]]],
    seeds: list[int],
) -> Family:
    """The mean over seeds; each model is dropped before the next is fitted."""
    total: list[np.ndarray] | None = None
    said = {}
    for seed in seeds:
        over, said[f"seed {seed}"] = fit(seed)
        scores = [over(examples) for examples in prepared.series]
        total = scores if total is None else [a + b for a, b in zip(total, scores, strict=True)]
    return Family(name, [each / np.float32(len(seeds)) for each in total or []], said)


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "curve"}


def _place(checkpoints: Path | None, name: str) -> Path | None:
    return None if checkpoints is None else checkpoints / name
