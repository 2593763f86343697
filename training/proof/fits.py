"""What is learned where the truth is known: trained on some simulated worlds, judged on others, beside the oracle.

    worlds ─► networks, of several seeds ─┐
              the same without the maps   ├─► probabilities at the oracle's hours ─► figures (`proof_report`)
              scalar rivals               │
    oracle ───────────────────────────────┘

Networks learn from the label itself, at every step of the training worlds, beside the proxies; their heads and the
rivals are fitted to the same worlds' rows. Nothing is chosen on the tested worlds. A finished fit is kept under the
address of all it depends on, so that a second call does nothing.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

import training
from squeeze.files import whole_folder
from squeeze.market.events import DAY_NS, MINUTE_NS
from training import groups
from training.baselines.catalogue import BASELINES
from training.baselines.rules import stacked_and_approaching
from training.config import RunConfig
from training.examples import Examples, Progress, silent
from training.head import fit_head
from training.networks.kept import load_weights, save_weights
from training.networks.network import Head, SqueezeNetwork
from training.pretraining.data import SequenceData
from training.pretraining.scorers import scores_over
from training.pretraining.task import fine_tune, pretrain
from training.proof.teacher import taught
from training.proof.worlds import Oracle, Source, World, Zones, until_ns, worlds_of

ALL_MAPS = "maps"
"""Left out, this is every channel and every scalar that is read off a map (`groups.read_off_a_map`)."""
CHANNELS = (groups.MAP, groups.ORDER_BOOK, groups.VOLUME_PROFILE, groups.OPEN_INTEREST, groups.FUNDING)
"""The five kinds of heatmap, each of which the ablation leaves out by itself."""
FIT_CODE = (
    "networks/network.py", "networks/encoder.py", "networks/cores.py", "pretraining/task.py", "pretraining/epochs.py",
    "pretraining/lanes.py", "pretraining/data.py", "pretraining/proxies.py", "pretraining/boosting.py", "head.py",
    "calibration/platt.py", "groups.py", "proof/fits.py", "proof/teacher.py",
)  # fmt: skip
"""What a fit depends on beside config and examples; its source is part of the address."""
EVERY = 3
"""Rivals are fitted to every third row: a quarter of an hour apart, neighbours tell the same."""


@dataclass(frozen=True, eq=False)
class Grounds:
    """The worlds of one kind: those that are fitted to, those that are judged on, and the oracles of the latter, which
    are asked only where zones matter.
    """

    config: RunConfig
    zones: Zones
    trained: list[World]
    judged: list[World]
    oracles: list[Oracle]

    @cached_property
    def at(self) -> list[np.ndarray]:
        """Per judged world, the rows at the oracle's times that have a healthy frame."""
        every_ns = worlds_of(self.config).oracle_every_minutes * MINUTE_NS
        return [np.flatnonzero((w.rows.ts_ns % every_ns == 0) & (w.positions >= 0)) for w in self.judged]

    @cached_property
    def truth(self) -> np.ndarray:
        """(row, side, horizon) of all judged worlds, one after another."""
        return np.concatenate([w.rows.truth[at] for w, at in zip(self.judged, self.at, strict=True)])

    @cached_property
    def ts_ns(self) -> np.ndarray:
        """(row,) One world after another, so that no day and no event is shared."""
        return apart_ns(self.config, self.judged, self.at)

    @cached_property
    def oracle(self) -> np.ndarray:
        """The oracle's probabilities on the judged rows, (row, side, horizon)."""
        return self._of_oracle([oracle.probabilities for oracle in self.oracles])

    @property
    def first_batch(self) -> np.ndarray:
        """The same by the oracle's first batch of paths alone: what fewer paths cost it."""
        return self._of_oracle([oracle.batches[0] for oracle in self.oracles])

    def _of_oracle(self, said: list[np.ndarray]) -> np.ndarray:
        parts = zip(self.judged, self.oracles, self.at, said, strict=True)
        return np.concatenate([p[np.searchsorted(o.ts_ns, w.rows.ts_ns[at])] for w, o, at, p in parts])

    @cached_property
    def base_rates(self) -> np.ndarray:
        """(side, horizon), over the training worlds' rows: both sides alike, as the market is."""
        rates = np.concatenate([w.rows.truth[w.usable] for w in self.trained]).mean(axis=(0, 1))
        return np.broadcast_to(rates, (2, len(rates)))


def grounds(config: RunConfig, zones: Zones, out: Path, progress: Progress = silent) -> Grounds:
    """Simulate, record, fold and, where zones matter, ask the oracle, as far as that was not done before."""
    worlds = worlds_of(config)
    judged = [Source(config, zones, seed, out) for seed in worlds.tested_on]
    return Grounds(
        config,
        zones,
        [Source(config, zones, seed, out).world(progress) for seed in worlds.trained_on],
        [source.world(progress) for source in judged],
        [source.oracle(progress) for source in judged] if zones == "matter" else [],
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """One trained network with its head, and its probabilities (row, side, horizon) on the judged rows."""

    network: SqueezeNetwork
    head: Head
    probabilities: np.ndarray
    said: dict[str, Any]


def fit(found: Grounds, out: Path, seed: int, left_out: str = "", progress: Progress = silent) -> Fit:
    """A network of one seed, without one group of `training.groups` or without `ALL_MAPS`.

    It is kept under `out/fits`; a training that was cut short goes on from its last epoch.
    """
    address = _address(found, seed, left_out)
    folder, begun = out / "fits" / address, out / "begun" / address
    if not folder.exists():
        made = _fit(found, seed, left_out, progress, begun)
        with whole_folder(folder) as part:
            save_weights(made.network, part / "network.npz")
            save_weights(made.head, part / "head.npz")
            np.savez(part / "probabilities.npz", probabilities=made.probabilities)
            (part / "said.json").write_text(json.dumps(made.said))
    network, head = untrained(found.config, found.trained[0].examples)
    load_weights(network, folder / "network.npz")
    load_weights(head, folder / "head.npz")
    with np.load(folder / "probabilities.npz", allow_pickle=False) as kept:
        return Fit(network.eval(), head, kept["probabilities"], json.loads((folder / "said.json").read_text()))


def _fit(found: Grounds, seed: int, left_out: str, progress: Progress, begun: Path) -> Fit:
    config, spec = found.config, found.config.spec
    horizons, examples = spec.label.horizons_minutes, [world.examples for world in found.trained]
    torch.manual_seed(seed)
    network, head = untrained(config, examples[0])
    network.mask(*masks(examples[0], left_out))
    labels = [labels_by_step(world) for world in found.trained]
    teacher = None
    if config.teachers.boosted:
        shown = [i for i in range(len(examples[0].scalar_names)) if i not in masks(examples[0], left_out)[0]]
        teacher = taught(found.trained, shown, config.pretrain, config.teachers.boosting, seed)
    data = SequenceData(examples, horizons, config.pretrain, until_ns(config), seed, labels=labels, teacher=teacher)
    said = pretrain(network, data, config.pretrain, len(horizons), seed, progress, checkpoint=begun)
    if config.pretrain.fine_tuning is not None:
        tuned = fine_tune(network, data, config.pretrain, len(horizons), seed, progress, checkpoint=begun)
        said |= {"fine_tuning": tuned}
    usable = [world.usable for world in found.trained]
    rows = [at_rows(network, world, at) for world, at in zip(found.trained, usable, strict=True)]
    scores, scalars, truth = (np.concatenate(part) for part in zip(*rows, strict=True))
    ts_ns, span_ns = apart_ns(config, found.trained, usable), horizons[-1] * MINUTE_NS
    head = fit_head(scores, scalars, truth, config.head, head.positions.tolist(), ts_ns, span_ns)
    return Fit(network, head, answers(network, head, found.judged, found.at), said)


def apart_ns(config: RunConfig, worlds: list[World], rows: list[np.ndarray]) -> np.ndarray:
    """Times of some rows of each world, which all have the same days: each is put a month after the one before ends."""
    spacing_ns = (worlds_of(config).days + 30) * DAY_NS
    pairs = enumerate(zip(worlds, rows, strict=True))
    return np.concatenate([world.rows.ts_ns[at] + n * spacing_ns for n, (world, at) in pairs])


def answers(network: SqueezeNetwork, head: Head, worlds: list[World], rows: list[np.ndarray]) -> np.ndarray:
    """Probabilities (row, side, horizon) of some rows of each world, one world after another."""
    found = []
    for world, at in zip(worlds, rows, strict=True):
        scores, scalars, _ = at_rows(network, world, at)
        found.append(head(torch.from_numpy(scores), torch.from_numpy(scalars)).numpy())
    return np.concatenate(found)


def masks(examples: Examples, left_out: str) -> tuple[list[int], list[int]]:
    """Positions of the scalars and of the channels that are left out."""
    if left_out == ALL_MAPS:
        return groups.read_off_a_map(examples.scalar_names), list(range(len(examples.channel_names)))
    channels = [i for i, name in enumerate(examples.channel_names) if groups.channel_group(name) == left_out]
    return groups.of(examples.scalar_names, {left_out}), channels


def at_rows(network: SqueezeNetwork, world: World, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, scalars and truth of some rows of a world, (row, side, …)."""
    steps = world.positions[at]
    return scores_over(network, world.examples)[steps], world.examples.scalars[steps], world.rows.truth[at]


def labels_by_step(world: World) -> tuple[np.ndarray, np.ndarray]:
    """The label as a target of pre-training: truth (step, side, horizon), and where it is known (step,)."""
    count = len(world.examples.closes_ns)
    truth, known = np.zeros((count, *world.rows.truth.shape[1:]), bool), np.zeros(count, bool)
    steps = world.positions[world.usable]
    truth[steps], known[steps] = world.rows.truth[world.usable], True
    return truth, known


def untrained(config: RunConfig, examples: Examples) -> tuple[SqueezeNetwork, Head]:
    """A network and a head of the shape that the config asks for; neither has learned anything."""
    spec, horizons = config.spec, len(config.spec.label.horizons_minutes)
    scalars, scores = examples.scalar_names, horizons * config.pretrain.scores_per_horizon
    network = SqueezeNetwork(
        config.network, spec.map, spec.frame.price_bins, len(scalars), scores, examples.channels.shape[2]
    )
    return network, Head(scores, [scalars.index(name) for name in config.head.scalars], horizons, config.head.clip)


def rival(found: Grounds, name: str) -> np.ndarray:
    """Probabilities (row, side, horizon) of a baseline of `training.baselines.catalogue` on the judged rows.

    Fitted to the training worlds' rows, both sides pooled, since the market is the same either way up: that gives a
    rival twice the rows. Rows are many, so nothing is recalibrated.
    """
    baseline = BASELINES[name]
    if baseline.make is None:
        return np.broadcast_to(found.base_rates, found.truth.shape)
    thin = [world.usable[::EVERY] for world in found.trained]
    x, y = _seen(found.config, name, found.trained, thin)
    z, _ = _seen(found.config, name, found.judged, found.at)
    ever = np.isfinite(x).any(axis=0)
    x, z = (part[:, ever] if baseline.knows_nan else np.nan_to_num(part[:, ever]) for part in (x, z))
    chances = [baseline.make().fit(x, y[:, horizon]).predict_proba(z)[:, 1] for horizon in range(y.shape[1])]
    return np.stack(chances, axis=1).reshape(found.truth.shape)


def _seen(config: RunConfig, name: str, worlds: list[World], rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What a baseline sees of some rows, sides pooled (2 · row, input), and their truth (2 · row, horizon)."""
    inputs, truth = [], []
    for world, at in zip(worlds, rows, strict=True):
        names, scalars = world.examples.scalar_names, world.examples.scalars[world.positions[at]]
        if name == "rule":
            scalars = stacked_and_approaching(scalars, names, config.spec)[:, :, None]
        else:
            scalars = scalars[:, :, [i for i, scalar in enumerate(names) if BASELINES[name].sees(scalar)]]
        inputs.append(scalars.reshape(-1, scalars.shape[2]))
        truth.append(world.rows.truth[at].reshape(-1, world.rows.truth.shape[2]))
    return np.concatenate(inputs), np.concatenate(truth)


def _address(found: Grounds, seed: int, left_out: str) -> str:
    """Of a fit: its config, what it was fitted to and judged on, and the code that fits."""
    config = found.config
    parts = (config.spec, config.network, config.pretrain, config.teachers, config.head, seed, left_out)
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted"))
    for world in (*found.trained, *found.judged):
        digest.update(world.examples.digest.encode())
    for at in found.at:
        digest.update(at.tobytes())
    for name in FIT_CODE:
        digest.update((Path(training.__file__).parent / name).read_bytes())
    return digest.hexdigest()[:24]
