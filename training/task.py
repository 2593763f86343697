"""Pre-training as a Lightning task: graded swept mass and excursion, early stopping on the tail, the best weights
kept.
"""

import copy
import logging
import time
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.nn import functional

from training.config import PretrainSpec
from training.data import Batch, SequenceData
from training.examples import Progress, silent
from training.network import SqueezeNetwork, prior_logit


class ProxyTask(lightning.LightningModule):
    """Cross-entropy of the exceedances, the rarer weighing more, plus squared error of the graded targets."""

    def __init__(self, network: SqueezeNetwork, spec: PretrainSpec, horizons: int, batches: int) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.horizons = horizons
        self.batches = batches
        self.state: Tensor | None = None
        self.register_buffer("weights", torch.tensor(spec.exceedance_weights))
        self.curve: list[dict[str, float]] = []

    def loss(self, batch: Batch) -> Tensor:
        """Of one batch; the state is carried from the batch before unless the lanes are fresh."""
        state = None if batch.fresh else self.state
        scores, state = self.network(batch.own, batch.other, batch.scalars, state)
        self.state = state.detach()
        quantiles = len(self.spec.quantiles)
        scores = scores.unflatten(-1, (self.horizons, quantiles + 2))
        exceedance = functional.binary_cross_entropy_with_logits(
            scores[..., :quantiles], batch.exceeds, reduction="none"
        )
        graded = (scores[..., quantiles:] - batch.graded) ** 2
        each = (exceedance * self.weights).mean(dim=(-1, -2)) + self.spec.regression_weight * graded.mean(dim=(-1, -2))
        return (each * batch.mask).sum() / batch.mask.sum().clamp(min=1.0)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch.mask))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        # Batches of the tail weigh as many frames as they hold.
        self.log("val_loss", self.loss(batch), on_epoch=True, batch_size=max(1, int(batch.mask.sum())))

    def on_validation_epoch_end(self) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        if not self.trainer.sanity_checking:
            self.curve.append(metrics)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), self.spec.learning_rate, weight_decay=self.spec.weight_decay)
        total = self.batches * self.spec.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5 * self.spec.learning_rate, total_steps=total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class KeepBest(lightning.Callback):
    """Puts the weights of the best validation epoch back at the end; in memory, so that nothing is pickled."""

    def __init__(self) -> None:
        self.best = float("inf")
        self.weights: dict[str, Any] = {}

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val_loss"])
        if not trainer.sanity_checking and loss < self.best:
            self.best, self.weights = loss, copy.deepcopy(module.network.state_dict())

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        module.network.load_state_dict(self.weights)


class Show(lightning.Callback):
    """Passes each finished epoch on to a progress function."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self.progress, self.epochs = progress, epochs

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.progress("pre-training", trainer.current_epoch + 1, self.epochs)


def pretrain(
    network: SqueezeNetwork,
    data: SequenceData,
    spec: PretrainSpec,
    horizons: int,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the network in place; what happened, as numbers: `val_loss`, `epochs`, `frames_per_second`, `curve`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its greeting and tips are not our output
    lightning.seed_everything(seed, workers=True, verbose=False)
    network.scalars.fit(data.scalar_sample())
    with torch.no_grad():
        bias = network.scores.bias.view(horizons, -1)
        for horizon, rates in enumerate(data.exceedance_rates()):
            bias[horizon, : len(rates)] = torch.tensor([prior_logit(float(r)) for r in rates])
    task = ProxyTask(network, spec, horizons, data.training.most_batches)
    keep = KeepBest()
    trainer = lightning.Trainer(
        max_epochs=spec.epochs,
        callbacks=[EarlyStopping("val_loss", patience=spec.patience), keep, Show(progress, spec.epochs)],
        gradient_clip_val=1.0,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=True,
    )
    begun = time.perf_counter()
    with warnings.catch_warnings():
        # Lightning's own use of torch's trees, and its advice on loader processes: the frames lie on this disk.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(task, data)
    seconds = time.perf_counter() - begun
    network.cpu().eval()
    epochs = len(task.curve)
    return {
        "val_loss": keep.best,
        "epochs": epochs,
        "frames_per_second": epochs * data.training.frames / seconds,
        "curve": task.curve,
    }
