"""What pre-training learns from: frames and targets of every series, before the cut, and checked."""

import hashlib
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from squeeze.errors import DataError
from training.examples import Examples
from training.pretraining.lanes import Batch, Lanes, Sequence
from training.pretraining.proxies import proxies
from training.recipe import PretrainSpec

Labels = list[tuple[np.ndarray, np.ndarray] | None]
"""By series: truth (step, side, horizon) and known (step), both bool; None for a series without labels."""
Teacher = list[np.ndarray | None]
"""By series: a teacher's scores (step, side, score), NaN where it has none."""
LEAST_STEPS = 1000
"""Fewer usable steps before the cut are refused."""


class SequenceData(lightning.LightningDataModule):
    """Training lanes before the validation tail, validation lanes in it; all before `until_ns`, horizon included.

    Raises `DataError` for too few steps, for a frame that shows something but whose unit maps are not finite, for a
    target that never changes, and for labels or teachers that do not fit.
    """

    def __init__(
        self,
        series: list[Examples],
        horizons_minutes: tuple[int, ...],
        spec: PretrainSpec,
        until_ns: int,
        seed: int,
        *,
        labels: Labels | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.horizons_minutes, self.spec = horizons_minutes, spec
        times = np.concatenate([e.closes_ns[e.seen & (e.closes_ns < until_ns)] for e in series])
        if len(times) < LEAST_STEPS:
            raise DataError(
                f"pre-training: {len(times)} usable steps before the cut are too few; at least {LEAST_STEPS} are needed"
            )
        tail_ns = int(np.quantile(times, 1 - spec.validation_share))
        self.train_sequences: list[Sequence] = []
        self.tail_sequences: list[Sequence] = []
        for index, examples in enumerate(series):
            length_ns = int(examples.closes_ns[1] - examples.closes_ns[0])
            horizons = [h * 60_000_000_000 // length_ns for h in horizons_minutes]
            reach_ns = max(horizons) * length_ns
            seen, closes = np.flatnonzero(examples.seen), examples.closes_ns
            in_train = seen[closes[seen] + reach_ns <= tail_ns]
            in_tail = seen[(closes[seen] > tail_ns) & (closes[seen] + reach_ns <= until_ns)]
            if len(in_train) + len(in_tail) < 2:
                continue
            _check_frames(examples, np.concatenate([in_train, in_tail]))
            targets = proxies(examples, horizons, spec.quantiles, until_ns)
            beside: dict[str, Any] = {} if teacher is None else {"teacher": self._taught(examples, teacher[index])}
            if spec.labels:
                beside |= self._labelled(examples, None if labels is None else labels[index])
            if len(in_train) > 1:
                self.train_sequences.append(Sequence(examples, targets, in_train, **beside))
            if len(in_tail) > 1:
                self.tail_sequences.append(Sequence(examples, targets, in_tail, **beside))
        self._check_targets()
        self.training = Lanes(self.train_sequences, spec, seed, shuffle=True)
        self.validation = Lanes(self.tail_sequences, spec, seed, shuffle=False)

    def _taught(self, examples: Examples, scores: np.ndarray | None) -> np.ndarray:
        """A series' teacher (step, side, score); NaN all over if it has none."""
        shape = (len(examples.closes_ns), 2, len(self.horizons_minutes) * self.spec.scores_per_horizon)
        scores = np.full(shape, np.nan, np.float32) if scores is None else scores
        if scores.shape != shape:
            raise DataError(f"{examples.symbol}: teacher must be (step, side, score) {shape}, got {scores.shape}")
        return scores

    def _labelled(self, examples: Examples, labels: tuple[np.ndarray, np.ndarray] | None) -> dict[str, np.ndarray]:
        """A series' truth (step, side, horizon), and where it is known (step); nowhere if it has none."""
        shape = (len(examples.closes_ns), 2, len(self.horizons_minutes))
        truth, known = labels or (np.zeros(shape, bool), np.zeros(shape[0], bool))
        if truth.shape != shape or known.shape != shape[:1]:
            raise DataError(
                f"{examples.symbol}: labels must be (step, side, horizon) {shape} and (step,) {shape[:1]}, got"
                f" {truth.shape} and {known.shape}"
            )
        return {"truth": truth, "labelled": known}

    def _check_targets(self) -> None:
        """Refuse training without a single target, and targets that never change."""
        if not self.train_sequences or not self.tail_sequences:
            raise DataError("pre-training: no series has frames both before the validation tail and in it")
        if not sum(s.targets.known[s.positions].sum() for s in self.train_sequences):
            raise DataError("pre-training: no training frame has a whole horizon of recorded steps ahead of it")
        for minutes, rates in zip(self.horizons_minutes, self.exceedance_rates(), strict=True):
            for quantile, rate in zip(self.spec.quantiles, rates, strict=True):
                _check_rate(f"swept mass over its {quantile:g} quantile within {minutes} minutes", rate)
        if self.spec.labels:
            for minutes, rate in zip(self.horizons_minutes, self.label_rates(), strict=True):
                _check_rate(f"the labelled truth within {minutes} minutes", rate)

    def scalar_sample(self, most: int = 200_000) -> Tensor:
        """Scalars of training frames, both sides, evenly thinned: what standardisation is fitted on."""
        return torch.from_numpy(self._sample("scalars", most))

    def channel_sample(self, first: int, most: int = 20_000) -> Tensor:
        """(row, channel, price) of training frames, both sides, evenly thinned, from the channel `first` on."""
        return torch.from_numpy(self._sample("channels", most)[:, first:])

    def _sample(self, name: str, most: int) -> np.ndarray:
        stride = max(1, self.training.frames // most)
        picked = [getattr(s.examples, name)[s.positions[::stride]] for s in self.train_sequences]
        return np.concatenate([part.reshape(-1, *part.shape[2:]) for part in picked])

    def exceedance_rates(self) -> np.ndarray:
        """(horizon, quantile): how often each exceedance is true in training, for the output bias."""
        known = [s.targets.exceeds[s.positions[s.targets.known[s.positions]]] for s in self.train_sequences]
        return np.concatenate(known).mean(axis=(0, 1))

    def label_rates(self) -> np.ndarray:
        """(horizon,): how often the labelled truth comes true in training, where it is known; NaN if nowhere."""
        known = [s.truth[s.positions[s.labelled[s.positions]]] for s in self.train_sequences]  # type: ignore[index]
        rows = np.concatenate(known)
        return rows.mean(axis=(0, 1)) if len(rows) else np.full(len(self.horizons_minutes), np.nan)

    def digest(self) -> str:
        """SHA-256 over what is trained on: positions and targets whole, frames by their address and a thin sample."""
        digest = hashlib.sha256()
        for s in (*self.train_sequences, *self.tail_sequences):
            thin = s.positions[:: max(1, len(s.positions) // 500)]
            digest.update(f"{s.examples.symbol} {s.examples.digest}".encode())
            digest.update(s.examples.closes_ns[s.positions].tobytes())
            for name, column in s.columns(thin).items():
                digest.update(name.encode() + column.tobytes())
            for array in (s.targets.exceeds, s.targets.graded, s.targets.known, s.truth, s.labelled, s.teacher):
                digest.update(b"-" if array is None else array[s.positions].tobytes())
        return digest.hexdigest()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled lanes."""
        return DataLoader(self.training, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The tail, in order."""
        return DataLoader(self.validation, batch_size=None)


def _check_frames(examples: Examples, positions: np.ndarray, at_once: int = 8192) -> None:
    """Refuse a frame that is said to show something, and whose unit maps or swept mass are not finite."""
    units = sum(name.startswith("unit_") for name in examples.channel_names)
    for begin in range(0, len(positions), at_once):
        at = positions[begin : begin + at_once]
        good = np.isfinite(examples.channels[at][:, :, :units]).all(axis=(1, 2, 3))
        good &= np.isfinite(examples.swept[at]).all(axis=1)
        if not good.all():
            step = int(at[~good][0])
            when = np.datetime64(int(examples.closes_ns[step]), "ns").astype("datetime64[s]")
            raise DataError(
                f"{examples.symbol}: the frame of step {step} ({when}Z) counts as seen, but its liquidation map is not"
                " finite; build the frames anew"
            )


def _check_rate(what: str, rate: float) -> None:
    """Refuse what is always or never true."""
    if not 0 < rate < 1:
        said = "known nowhere" if np.isnan(rate) else "never true" if rate == 0 else "always true"
        raise DataError(f"pre-training: {what} is {said} in the training frames: nothing can be learned from it")
