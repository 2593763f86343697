"""Where training runs: the same command on a CPU and on a GPU, and frames that live on the device where they fit."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.pretraining.lanes import Batch, Lane, Lanes, Sequence
from training.recipe import PretrainSpec

DEVICE_SHARE = 0.5
"""Of a GPU's free memory that frames may take; beyond it they are sent batch by batch."""


def trainer_options(spec: PretrainSpec) -> dict[str, Any]:
    """What Lightning's trainer is told of devices and arithmetic. Sums come in a fixed order on a CPU alone: cuDNN's
    recurrence has no such mode.
    """
    gpu = torch.cuda.is_available()
    half = spec.precision == "bf16" or (spec.precision == "auto" and gpu and torch.cuda.is_bf16_supported())
    return {
        "accelerator": "gpu" if gpu else "cpu",
        "devices": spec.devices,
        "strategy": "ddp" if spec.strategy == "auto" and spec.devices > 1 else spec.strategy,
        "precision": "bf16-mixed" if half else "32-true",
        "deterministic": not gpu,
    }


def compiles(spec: PretrainSpec) -> bool:
    """Whether torch is to compile the network."""
    return spec.compile == "on" or (spec.compile == "auto" and torch.cuda.is_available())


def place(lanes: Lanes, device: torch.device, most_bytes: int | None = None) -> bool:
    """Move the frames of lanes to a device, once, if they fit; whether they did.

    `most_bytes` is by default a share of what is free on a GPU.
    """
    if most_bytes is None:
        most_bytes = int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])
    size = 0
    for sequence in lanes.sequences:
        widths = [column[0].size for column in sequence.columns(slice(0, 1)).values()]
        size += 4 * sum(widths) * len(sequence.positions)
    if fits := size <= most_bytes:
        lanes.store = OnDevice(lanes.sequences, device)
    return fits


class OnDevice:
    """All frames of all series in one tensor each; a batch is gathered there."""

    def __init__(self, sequences: list[Sequence], device: torch.device) -> None:
        self.device = device
        counts = [len(s.positions) for s in sequences]
        self.first = np.cumsum([0, *counts[:-1]])
        self.columns: dict[str, Tensor] = {}
        for sequence, first, count in zip(sequences, self.first, counts, strict=True):
            for name, column in sequence.columns(sequence.positions).items():
                if name not in self.columns:
                    shape = (sum(counts), *column.shape[1:])
                    self.columns[name] = torch.empty(shape, dtype=torch.float32, device=device)
                self.columns[name][first : first + count] = torch.from_numpy(np.array(column)).to(device)

    def batch(self, lanes: list[Lane], begin: int, chunk: int) -> Batch:
        """As `Store` says."""
        spans = [lane.chunk(begin, chunk) for lane in lanes]
        rows = np.array([self.first[lane.sequence] + first for lane, (first, _) in zip(lanes, spans, strict=True)])
        count = np.array([last - first for first, last in spans])
        there = torch.from_numpy(np.arange(chunk) < count[:, None]).to(self.device)
        at = torch.from_numpy(rows[:, None] + np.minimum(np.arange(chunk), np.maximum(count - 1, 0)[:, None]))
        at = at.clamp(max=len(self.columns["mask"]) - 1).to(self.device)
        side = torch.tensor([[lane.side] for lane in lanes], device=self.device)
        made = {n: c[at] if c.ndim == 1 else c[at, side] for n, c in self.columns.items() if n != "channels"}
        made |= {"own": self.columns["channels"][at, side], "other": self.columns["channels"][at, 1 - side]}
        zero = torch.zeros((), device=self.device)
        kept = {n: torch.where(there.view(*there.shape, *[1] * (v.ndim - 2)), v, zero) for n, v in made.items()}
        return Batch(**kept, fresh=begin == 0)
