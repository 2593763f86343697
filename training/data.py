"""Whole sequences for pre-training: lanes of consecutive frames, cut into chunks across which the state is carried."""

from collections.abc import Iterator
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from squeeze.errors import DataError
from training.config import PretrainSpec
from training.examples import Examples
from training.proxies import Proxies, proxies


@dataclass
class Batch:
    """Not frozen, for Lightning moves its tensors to the device in place. `lanes` sequences of `chunk` steps of one
    side each; `mask` is 0 on padding and where a target does not exist.
    """

    own: Tensor
    other: Tensor
    scalars: Tensor
    exceeds: Tensor
    graded: Tensor
    mask: Tensor
    fresh: bool
    """Whether these lanes begin here, so that the carried state is zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """One series' frames and targets, and the positions of the frames in use."""

    examples: Examples
    targets: Proxies
    positions: np.ndarray


class Lanes(IterableDataset[Batch]):
    """An epoch of batches. With `shuffle`, lanes begin at another offset and come in another order every epoch, by the
    seed.
    """

    def __init__(self, sequences: list[Sequence], spec: PretrainSpec, seed: int, shuffle: bool) -> None:
        self.sequences = sequences
        self.spec = spec
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

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
        generator = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        lane = self.spec.lane
        found = []
        for index, sequence in enumerate(self.sequences):
            first = int(generator.integers(lane)) if self.shuffle and len(sequence.positions) > lane else 0
            starts = (
                [0, *range(first, len(sequence.positions), lane)] if first else range(0, len(sequence.positions), lane)
            )
            ends = [*list(starts)[1:], len(sequence.positions)]
            found += [(index, side, a, b) for a, b in zip(starts, ends, strict=True) for side in range(2)]
        order = generator.permutation(len(found)) if self.shuffle else np.arange(len(found))
        for at in range(0, len(order), self.spec.lanes):
            lanes = [found[i] for i in order[at : at + self.spec.lanes]]
            longest = max(b - a for *_, a, b in lanes)
            for begin in range(0, longest, self.spec.chunk):
                yield self._batch(lanes, begin)

    def _batch(self, lanes: list[tuple[int, int, int, int]], begin: int) -> Batch:
        chunk, first = self.spec.chunk, self.sequences[0]
        shape = (len(lanes), chunk)
        own = np.zeros(shape + first.examples.channels.shape[2:], np.float32)
        other = np.zeros_like(own)
        scalars = np.zeros(shape + first.examples.scalars.shape[2:], np.float32)
        exceeds = np.zeros(shape + first.targets.exceeds.shape[2:], np.float32)
        graded = np.zeros(shape + first.targets.graded.shape[2:], np.float32)
        mask = np.zeros(shape, np.float32)
        for row, (index, side, a, b) in enumerate(lanes):
            sequence = self.sequences[index]
            at = sequence.positions[min(a + begin, b) : min(a + begin + chunk, b)]
            n = len(at)
            channels = sequence.examples.channels[at]
            own[row, :n], other[row, :n] = channels[:, side], channels[:, 1 - side]
            scalars[row, :n] = sequence.examples.scalars[at, side]
            exceeds[row, :n], graded[row, :n] = sequence.targets.exceeds[at, side], sequence.targets.graded[at, side]
            mask[row, :n] = sequence.targets.known[at]
        tensors = (torch.from_numpy(a) for a in (own, other, scalars, exceeds, graded, mask))
        return Batch(*tensors, fresh=begin == 0)


class SequenceData(lightning.LightningDataModule):
    """Training lanes before the validation tail, validation lanes in it; all before `until_ns`, horizon included."""

    def __init__(
        self, series: list[Examples], horizons_minutes: tuple[int, ...], spec: PretrainSpec, until_ns: int, seed: int
    ) -> None:
        super().__init__()
        times = np.concatenate([e.closes_ns[e.seen & (e.closes_ns < until_ns)] for e in series])
        if len(times) < 1000:
            raise DataError(
                f"pre-training: {len(times)} usable steps before the cut are too few; at least 1000 are needed"
            )
        tail_ns = int(np.quantile(times, 1 - spec.validation_share))
        self.train_sequences: list[Sequence] = []
        self.tail_sequences: list[Sequence] = []
        for examples in series:
            length_ns = int(examples.closes_ns[1] - examples.closes_ns[0])
            horizons = [h * 60_000_000_000 // length_ns for h in horizons_minutes]
            reach_ns = max(horizons) * length_ns
            seen, closes = np.flatnonzero(examples.seen), examples.closes_ns
            in_train = seen[closes[seen] + reach_ns <= tail_ns]
            in_tail = seen[(closes[seen] > tail_ns) & (closes[seen] + reach_ns <= until_ns)]
            if len(in_train) + len(in_tail) < 2:
                continue
            targets = proxies(examples, horizons, spec.quantiles, until_ns)
            if len(in_train) > 1:
                self.train_sequences.append(Sequence(examples, targets, in_train))
            if len(in_tail) > 1:
                self.tail_sequences.append(Sequence(examples, targets, in_tail))
        self.training = Lanes(self.train_sequences, spec, seed, shuffle=True)
        self.validation = Lanes(self.tail_sequences, spec, seed, shuffle=False)

    def scalar_sample(self, most: int = 200_000) -> Tensor:
        """Scalars of training frames, both sides, evenly thinned: what standardisation is fitted on."""
        total = sum(len(s.positions) for s in self.train_sequences)
        stride = max(1, 2 * total // most)
        picked = [
            s.examples.scalars[s.positions[::stride]].reshape(-1, s.examples.scalars.shape[2])
            for s in self.train_sequences
        ]
        return torch.from_numpy(np.concatenate(picked))

    def exceedance_rates(self) -> np.ndarray:
        """(horizon, quantile): how often each exceedance is true in training, for the output bias."""
        known = [s.targets.exceeds[s.positions[s.targets.known[s.positions]]] for s in self.train_sequences]
        return np.concatenate(known).mean(axis=(0, 1))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled lanes."""
        return DataLoader(self.training, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The tail, in order."""
        return DataLoader(self.validation, batch_size=None)
