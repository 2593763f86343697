"""What happens between the epochs of a pre-training: the best weights are remembered, it is stopped in time, and every
epoch is kept where it can be gone on from.
"""

import copy
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from squeeze.errors import DataError
from training.examples import Progress
from training.pretraining.checkpoint import Checkpoint, group_settings, optimiser_arrays, restore_optimiser
from training.pretraining.data import SequenceData
from training.recipe import PretrainSpec

EpochEnd = Callable[[int, float], None]
"""Told an epoch's number, from 1, and its validation loss."""


class Epochs(lightning.Callback):
    """What happens at the end of an epoch: the best weights so far are remembered, training stops when they have grown
    old, and all of it goes into the checkpoint.
    """

    def __init__(
        self, spec: PretrainSpec, progress: Progress, checkpoint: Checkpoint | None, on_epoch: EpochEnd | None
    ) -> None:
        self.spec, self.progress, self.checkpoint, self.on_epoch = spec, progress, checkpoint, on_epoch
        self.best = float("inf")
        self.best_weights: dict[str, Tensor] = {}
        self.waited = 0
        self.curve: list[dict[str, float]] = []
        self._kept: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return len(self.curve) == self.spec.epochs or self.waited >= self.spec.patience

    def resume(self, task: lightning.LightningModule, data: SequenceData) -> None:
        """Go on from the checkpoint, if there is one."""
        self._kept = None if self.checkpoint is None else self.checkpoint.load()
        if self._kept is None:
            return
        said, arrays = self._kept
        self.best, self.waited, self.curve = said["best"], said["waited"], said["curve"]
        self.best_weights = _tensors(arrays, "best/")
        task.network.load_state_dict(_tensors(arrays, "weights/"))
        task.seconds, task.first_epoch = said["seconds"], len(self.curve)
        data.training.epoch = len(self.curve)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self._kept is not None:
            said, arrays = self._kept
            restore_optimiser(trainer.optimizers[0], _names(module), said["groups"], arrays)
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(said["schedule"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.curve.append({name: float(trainer.callback_metrics[name]) for name in ("train_loss", "val_loss")})
        loss = self.curve[-1]["val_loss"]
        if not np.isfinite(loss):
            raise DataError(f"pre-training: the loss is not finite after epoch {len(self.curve)}; lower learning_rate")
        self.waited = 0 if loss < self.best else self.waited + 1
        if loss < self.best:
            self.best, self.best_weights = loss, copy.deepcopy(module.network.state_dict())
        trainer.should_stop = trainer.should_stop or self.finished
        if self.checkpoint is not None and trainer.is_global_zero:
            self._save(self.checkpoint, trainer, module)
        self.progress("pre-training", len(self.curve), self.spec.epochs)
        if self.on_epoch is not None:
            self.on_epoch(len(self.curve), loss)

    def _save(self, checkpoint: Checkpoint, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        optimiser = trainer.optimizers[0]
        said = {
            "best": self.best,
            "waited": self.waited,
            "curve": self.curve,
            "seconds": module.seconds,
            "groups": group_settings(optimiser),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        }
        weights = {"weights/": module.network.state_dict(), "best/": self.best_weights}
        arrays = {
            p + name: value.detach().cpu().numpy() for p, named in weights.items() for name, value in named.items()
        }
        checkpoint.save(said, arrays | optimiser_arrays(optimiser, _names(module)))


def _names(module: lightning.LightningModule) -> list[str]:
    """Of the parameters, in the optimiser's order."""
    return [name for name, _ in module.named_parameters()]


def _tensors(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(prefix)}
