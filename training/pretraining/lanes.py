"""Lanes of consecutive frames, cut into chunks across which the state is carried, and the batches they make."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from training.examples import Examples
from training.pretraining.proxies import Proxies
from training.recipe import PretrainSpec


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`lanes` sequences of `chunk` steps of one side each; axes (lane, step, …). What is not there is 0."""

    own: Tensor
    other: Tensor
    scalars: Tensor
    exceeds: Tensor
    graded: Tensor
    mask: Tensor
    """0 on padding and where a target does not exist."""
    fresh: bool
    """Whether these lanes begin here, so that the carried state is zero."""
    truth: Tensor | None = None
    """The labelled truth by horizon, where `labelled` is 1."""
    labelled: Tensor | None = None
    teacher: Tensor | None = None
    """A teacher's scores, where `taught` is 1."""
    taught: Tensor | None = None

    def to(self, device: torch.device, **options: bool) -> "Batch":
        """The same on another device; Lightning calls it."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{n: v.to(device, **options) if isinstance(v, Tensor) else v for n, v in values.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """One series' frames and targets, and the positions of the frames in use."""

    examples: Examples
    targets: Proxies
    positions: np.ndarray
    truth: np.ndarray | None = None
    """(step, side, horizon) bool, and where it is known (step)."""
    labelled: np.ndarray | None = None
    teacher: np.ndarray | None = None
    """(step, side, score); NaN where it is not known."""

    def columns(self, at: np.ndarray | slice) -> dict[str, np.ndarray]:
        """What a batch holds of some steps, by name: (step, side, …), or (step,) where both sides share it."""
        found = {
            "channels": self.examples.channels[at],
            "scalars": self.examples.scalars[at],
            "exceeds": self.targets.exceeds[at],
            "graded": self.targets.graded[at],
            "mask": self.targets.known[at],
        }
        if self.truth is not None and self.labelled is not None:
            found |= {"truth": self.truth[at], "labelled": self.labelled[at]}
        if self.teacher is not None:
            scores = self.teacher[at]
            found |= {"teacher": np.nan_to_num(scores), "taught": np.isfinite(scores).all(axis=(1, 2))}
        return found


class Lane(NamedTuple):
    """One side of one sequence, between two of its positions."""

    sequence: int
    side: int
    begin: int
    end: int

    def chunk(self, begin: int, length: int) -> tuple[int, int]:
        """Where a chunk that begins so many steps into the lane starts and ends; the same twice after the lane."""
        return min(self.begin + begin, self.end), min(self.begin + begin + length, self.end)


class Store(Protocol):
    """Where the frames lie that batches are made of."""

    def batch(self, lanes: list[Lane], begin: int, chunk: int) -> Batch:
        """The chunk of each lane that begins `begin` steps into it."""
        ...


class OnDisk:
    """Memory-mapped frames: a batch copies its slices out of them."""

    def __init__(self, sequences: list[Sequence]) -> None:
        self.sequences = sequences
        self.shapes = {
            name: column.shape[min(column.ndim, 2) :] for name, column in sequences[0].columns(slice(0, 0)).items()
        }

    def batch(self, lanes: list[Lane], begin: int, chunk: int) -> Batch:
        """As `Store` says."""
        made = {name: np.zeros((len(lanes), chunk, *shape), np.float32) for name, shape in self.shapes.items()}
        made["other"] = np.zeros_like(made["channels"])
        for row, lane in enumerate(lanes):
            first, last = lane.chunk(begin, chunk)
            if first == last:
                continue
            sequence = self.sequences[lane.sequence]
            at = sequence.positions[first:last]
            unbroken = at[-1] - at[0] == len(at) - 1  # a slice is no copy
            for name, column in sequence.columns(slice(at[0], at[-1] + 1) if unbroken else at).items():
                made[name][row, : len(at)] = column if column.ndim == 1 else column[:, lane.side]
                if name == "channels":
                    made["other"][row, : len(at)] = column[:, 1 - lane.side]
        made["own"] = made.pop("channels")
        return Batch(**{name: torch.from_numpy(array) for name, array in made.items()}, fresh=begin == 0)


class Lanes(IterableDataset[Batch]):
    """An epoch of batches. With `shuffle`, lanes begin at another offset and come in another order every epoch, by the
    seed. Where several processes train together, each takes its share of every batch's lanes.
    """

    def __init__(self, sequences: list[Sequence], spec: PretrainSpec, seed: int, shuffle: bool) -> None:
        self.sequences = sequences
        self.spec = spec
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.store: Store = OnDisk(sequences)

    @property
    def frames(self) -> int:
        """Oriented frames in an epoch: each serves both sides."""
        return 2 * sum(len(s.positions) for s in self.sequences)

    @property
    def most_batches(self) -> int:
        """No epoch has more batches than this."""
        lanes = 2 * sum(len(s.positions) // self.spec.lane + 2 for s in self.sequences)
        return -(-lanes // self.spec.lanes) * (self.spec.lane // self.spec.chunk)

    def __iter__(self) -> Iterator[Batch]:
        rank, processes = process_place()
        return self.batches(rank, processes)

    def batches(self, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
        """The next epoch, or one process' share of it; every process makes as many batches as the others."""
        lanes, size = self._shuffled(), self.spec.lanes
        for at in range(0, len(lanes), size):
            together = lanes[at : at + size]
            # A process without a lane of its own is given an empty one.
            mine = together[rank::processes] or [together[0]._replace(begin=together[0].end)]
            for begin in range(0, max(lane.end - lane.begin for lane in together), self.spec.chunk):
                yield self.store.batch(mine, begin, self.spec.chunk)

    def _shuffled(self) -> list[Lane]:
        """All lanes of the next epoch, in its order."""
        generator = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        length, found = self.spec.lane, []
        for index, sequence in enumerate(self.sequences):
            count = len(sequence.positions)
            first = int(generator.integers(length)) if self.shuffle and count > length else 0
            cuts = sorted({0, *range(first, count, length), count})
            found += [Lane(index, side, a, b) for a, b in itertools.pairwise(cuts) for side in range(2)]
        order = generator.permutation(len(found)) if self.shuffle else np.arange(len(found))
        return [found[i] for i in order]


def process_place() -> tuple[int, int]:
    """Which of how many processes that train together this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
