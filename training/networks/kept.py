"""What is kept of a module: its weights as plain arrays by name, and the names of the inputs that it does not hear."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def save_weights(module: nn.Module, path: Path) -> None:
    """Every parameter and buffer, as an .npz file."""
    np.savez(path, **{name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()})


def load_weights(module: nn.Module, path: Path) -> None:
    """Give a module of the same shape what `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        module.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})


def masked_names(names: tuple[str, ...], kept: Tensor) -> tuple[str, ...]:
    """What has no influence, since it was never known or never moved in pre-training, or a control left it out.

    >>> masked_names(("zones", "asymmetry"), torch.tensor([0.0, 1.0]))
    ('zones',)
    """
    return tuple(name for name, holds in zip(names, (kept > 0).tolist(), strict=True) if not holds)
