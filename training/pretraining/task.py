"""Pre-training as a Lightning task: graded swept mass and excursion, early stopping on the tail, the best weights kept
(`epochs`).
"""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from squeeze.errors import ConfigError
from training.examples import Progress, silent
from training.networks.device import compiles, place, trainer_options
from training.networks.network import SqueezeNetwork, prior_logit
from training.pretraining.checkpoint import Checkpoint, identity
from training.pretraining.data import SequenceData
from training.pretraining.epochs import EpochEnd, Epochs
from training.pretraining.lanes import Batch, process_place
from training.recipe import PretrainSpec


class ProxyTask(lightning.LightningModule):
    """Cross-entropy of the exceedances, the rarer weighing more, plus squared error of the graded targets, plus the
    labelled truth where it is learned; with a teacher, a share of the same against its scores.
    """

    def __init__(self, network: SqueezeNetwork, spec: PretrainSpec, horizons: int, batches: int, seed: int) -> None:
        super().__init__()
        self.network = network
        self.run_network = torch.compile(network) if compiles(spec) else network
        self.spec = spec
        self.horizons = horizons
        self.batches = batches
        self.seed = seed
        self.first_epoch = 0
        self.state: Tensor | None = None
        self.register_buffer("weights", torch.tensor(spec.exceedance_weights))
        self.seconds = 0.0
        self._began = 0.0

    def loss(self, batch: Batch, *, taught: bool = True) -> Tensor:
        """Of one batch; the state is carried from the batch before unless the lanes are fresh.

        Not `taught`, it is the truth's alone: what trainings with and without a teacher are compared and stopped by.
        """
        state = None if batch.fresh else self.state
        scores, state = self.run_network(batch.own, batch.other, batch.scalars, state)
        self.state = state.detach()
        scores = self._by_horizon(scores.float())
        each = self._each(scores, batch.exceeds, batch.graded)
        if batch.truth is not None:
            each = each + self._of_truth(scores, batch.truth) * batch.labelled
        if taught and batch.teacher is not None:
            each = torch.lerp(each, self._soft(scores, batch), self.spec.teacher_weight * batch.taught)
        return (each * batch.mask).sum() / batch.mask.sum().clamp(min=1.0)

    def _by_horizon(self, scores: Tensor) -> Tensor:
        return scores.unflatten(-1, (self.horizons, self.spec.scores_per_horizon))

    def _each(self, scores: Tensor, exceeds: Tensor, graded: Tensor) -> Tensor:
        """(lane, step) from scores (lane, step, horizon, score), exceedances as shares and the graded targets."""
        count = len(self.spec.quantiles)
        exceedance = functional.binary_cross_entropy_with_logits(scores[..., :count], exceeds, reduction="none")
        squares = (scores[..., count : count + 2] - graded) ** 2
        return (exceedance * self.weights).mean((-1, -2)) + self.spec.regression_weight * squares.mean((-1, -2))

    def _of_truth(self, scores: Tensor, truth: Tensor) -> Tensor:
        """(lane, step) from the labelled truth as shares (lane, step, horizon)."""
        missed = functional.binary_cross_entropy_with_logits(scores[..., -1], truth, reduction="none")
        return self.spec.label_weight * missed.mean(-1)

    def _soft(self, scores: Tensor, batch: Batch) -> Tensor:
        """(lane, step): the same loss with the teacher's word for the truth."""
        count, taught = len(self.spec.quantiles), self._by_horizon(batch.teacher)
        each = self._each(scores, torch.sigmoid(taught[..., :count]), taught[..., count : count + 2])
        if batch.truth is not None:
            each = each + self._of_truth(scores, torch.sigmoid(taught[..., -1]))
        return each

    def on_train_epoch_start(self) -> None:
        self._began = time.perf_counter()

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        if index == 0:
            # Dropout of an epoch depends on seed and epoch alone, so that any epoch can be begun anew. Not earlier: the
            # loader draws a number of its own, before the first epoch at another time than before the others.
            rank, _ = process_place()
            sequence = np.random.SeedSequence((self.seed, self.first_epoch + self.current_epoch, rank))
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch.mask), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.perf_counter() - self._began

    def validation_step(self, batch: Batch, index: int) -> None:
        # Batches of the tail weigh as many frames as they hold.
        frames = max(1, int(batch.mask.sum()))
        self.log("val_loss", self.loss(batch, taught=False), on_epoch=True, batch_size=frames, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), self.spec.learning_rate, weight_decay=self.spec.weight_decay)
        total = self.batches * self.spec.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5 * self.spec.learning_rate, total_steps=total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def pretrain(
    network: SqueezeNetwork,
    data: SequenceData,
    spec: PretrainSpec,
    horizons: int,
    seed: int,
    progress: Progress = silent,
    *,
    checkpoint: Path | None = None,
    on_epoch: EpochEnd | None = None,
) -> dict[str, Any]:
    """Train the network in place; what happened, as numbers: `val_loss`, `epochs`, `frames_per_second`, `curve`.

    With a folder for checkpoints, every epoch is kept there, and a training that was cut short goes on from the last
    one to the same weights. `frames_per_second` is of training alone, validation apart, over all its parts. Masks set
    by `SqueezeNetwork.mask` stay. `on_epoch` may raise to end it. Raises `DataError` if the loss is not finite, the
    disk full, or the checkpoint of another training.
    """
    network.scalars.fit(data.scalar_sample())
    if network.encoder.extra is not None:
        network.encoder.fit(data.channel_sample(network.encoder.buckets))
    with torch.no_grad():
        bias = network.scores.bias.view(horizons, spec.scores_per_horizon)
        for horizon, rates in enumerate(data.exceedance_rates()):
            bias[horizon, : len(rates)] = torch.tensor([prior_logit(float(r)) for r in rates])
        if spec.labels:
            bias[:, -1] = torch.tensor([prior_logit(float(r)) for r in data.label_rates()])
    return _run(network, data, spec, horizons, seed, progress, checkpoint, on_epoch)


def fine_tune(
    network: SqueezeNetwork,
    data: SequenceData,
    spec: PretrainSpec,
    horizons: int,
    seed: int,
    progress: Progress = silent,
    *,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Let all weights of a pre-trained network go on learning, as `spec.fine_tuning` says; its scales stay as they are.

    `data` has labels, and nothing later than what the network may know. Says what `pretrain` says, and goes on from a
    checkpoint as that does.
    """
    if spec.fine_tuning is None:
        raise ConfigError("pretrain.fine_tuning: null, so there is nothing to do")
    tuning = {"epochs": spec.fine_tuning.epochs, "learning_rate": spec.fine_tuning.learning_rate}
    tuned = msgspec.structs.replace(spec, **tuning)
    return _run(network.train(), data, tuned, horizons, seed, progress, checkpoint)


def _run(
    network: SqueezeNetwork,
    data: SequenceData,
    spec: PretrainSpec,
    horizons: int,
    seed: int,
    progress: Progress,
    checkpoint: Path | None,
    on_epoch: EpochEnd | None = None,
) -> dict[str, Any]:
    """Train, or go on, to the end."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its greeting and tips are not our output
    lightning.seed_everything(seed, workers=True, verbose=False)
    kept = None if checkpoint is None else Checkpoint(checkpoint, identity(network, data, spec, seed))
    task = ProxyTask(network, spec, horizons, data.training.most_batches, seed)
    epochs = Epochs(spec, progress, kept, on_epoch)
    data.training.epoch = 0
    epochs.resume(task, data)
    if not epochs.finished:
        _fit(task, data, epochs)
    network.load_state_dict(epochs.best_weights)
    network.cpu().eval()
    return {
        "val_loss": epochs.best,
        "epochs": len(epochs.curve),
        "frames_per_second": len(epochs.curve) * data.training.frames / task.seconds,
        "curve": epochs.curve,
    }


def _fit(task: ProxyTask, data: SequenceData, epochs: Epochs) -> None:
    trainer = lightning.Trainer(
        max_epochs=task.spec.epochs - task.first_epoch,
        callbacks=[epochs],
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **trainer_options(task.spec),
    )
    if (device := trainer.strategy.root_device).type == "cuda":
        place(data.training, device)
        place(data.validation, device)
    with warnings.catch_warnings():
        # Lightning's own use of torch's trees, and its advice on loader processes: the frames lie on this disk.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(task, data)
