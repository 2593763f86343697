"""A training that was cut short goes on from its last whole epoch, and ends with the very weights it would have had.

FOLDER/<identity>/state.json     identity, epochs done, schedule, curve, early stopping, seconds
                  state.npz      weights, the best weights, and the optimiser's moments, by name

Arrays and JSON, nothing pickled. The folder is named by what the outcome depends on, so that trainings of other
specs, data or seeds never meet; one that was renamed is refused.
"""

import hashlib
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
import torch
from torch import Tensor

import training
from squeeze.errors import DataError, one_line
from squeeze.files import whole_folder
from training.networks.network import SqueezeNetwork
from training.pretraining.data import SequenceData
from training.recipe import PretrainSpec

CODE = (
    "pretraining/task.py", "pretraining/epochs.py", "pretraining/data.py", "pretraining/lanes.py",
    "pretraining/proxies.py", "networks/network.py", "networks/encoder.py", "networks/cores.py",
)  # fmt: skip
"""What the outcome depends on beside spec, data and seed; the source is part of the identity."""


def identity(network: SqueezeNetwork, data: SequenceData, spec: PretrainSpec, seed: int) -> dict[str, Any]:
    """All that decides how a training ends, as JSON holds it; the network as it is before its first step."""
    start = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        start.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    code = hashlib.sha256(b"".join((Path(training.__file__).parent / name).read_bytes() for name in CODE))
    return {
        "network": msgspec.to_builtins(network.spec),
        "pretrain": msgspec.to_builtins(spec),
        "horizons_minutes": list(data.horizons_minutes),
        "seed": seed,
        "data": data.digest(),
        "start": start.hexdigest(),
        "code": code.hexdigest(),
        "torch": torch.__version__,
    }


class Checkpoint:
    """The folder of one training, under `root`."""

    def __init__(self, root: Path, identity: dict[str, Any]) -> None:
        self.identity = json.loads(json.dumps(identity))
        name = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = root / name

    def save(self, said: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Write an epoch's end whole, in place of the one before; `DataError` where the disk takes no more, and the one
        before is still there.
        """
        try:
            with whole_folder(self.folder) as part:
                (part / "state.json").write_text(json.dumps({"identity": self.identity} | said))
                np.savez(part / "state.npz", **arrays)
        except OSError as error:
            raise DataError(f"{self.folder}: the checkpoint cannot be written: {error.strerror}") from None

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What `save` wrote last, or None; `DataError` if it is of another training or cannot be read."""
        if not self.folder.exists():
            return None
        try:
            said = json.loads((self.folder / "state.json").read_text())
            with (self.folder / "state.npz").open("rb") as file, np.load(file, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            found = said.pop("identity")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DataError(
                f"{self.folder}: the checkpoint cannot be read ({one_line(error)}); remove it to start anew"
            ) from None
        if other := sorted(key for key in self.identity if found.get(key) != self.identity[key]):
            raise DataError(
                f"{self.folder}: the checkpoint is of another training (its {', '.join(other)} differ);"
                " remove it to start anew"
            )
        return said, arrays


def optimiser_arrays(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, np.ndarray]:
    """Moments and counts of an optimiser whose parameters are called so, in order."""
    found = {}
    for index, state in optimiser.state_dict()["state"].items():
        for what, value in state.items():
            found[f"optimiser/{names[index]}/{what}"] = value.detach().cpu().numpy()
    return found


def restore_optimiser(
    optimiser: torch.optim.Optimizer, names: list[str], groups: list[dict[str, Any]], arrays: dict[str, np.ndarray]
) -> None:
    """Give an optimiser the moments of `optimiser_arrays` and the settings of its groups."""
    state: dict[int, dict[str, Tensor]] = {}
    for index, name in enumerate(names):
        prefix = f"optimiser/{name}/"
        found = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)}
        if found:
            state[index] = found
    packed = optimiser.state_dict()["param_groups"]
    for group, kept in zip(packed, groups, strict=True):
        group.update({key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()})
    optimiser.load_state_dict({"state": state, "param_groups": packed})


def group_settings(optimiser: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The settings of an optimiser's groups, without their parameters."""
    return [{k: v for k, v in group.items() if k != "params"} for group in optimiser.param_groups]
