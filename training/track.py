"""Runs in MLflow: one tree and one short list of metric keys, the same from the first run on.

    experiment squeeze ─► task ─► model (network, climatology, volatility, …) ─► seed ─► block

Task and model runs are found again; each training adds a seed run with its blocks. Curves, tables and pictures are
artefacts, since the UI slows down with every metric key. The store is `sqlite:///mlflow.db` unless MLFLOW_TRACKING_URI
names another.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import onnx
from matplotlib.figure import Figure
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from squeeze.arrays import SIDES
from training.figures import save

EXPERIMENT = "squeeze"
PER_SIDE = (
    "ap", "ap_gain", "ap_gain_low", "ap_gain_high", "auc", "brier_skill", "log_loss", "ece", "slope", "intercept",
    "base_rate", "episodes",
)  # fmt: skip
METRICS = (
    *(f"{side}_{name}" for side in SIDES for name in PER_SIDE),
    "val_loss", "epochs", "frames_per_second", "rows", "abstained", "parity_probability", "parity_state",
    "stream_difference",
)  # fmt: skip
"""Every key that is ever logged; per-side figures are of the horizon the signal machine watches."""


def connect() -> str:
    """Choose the store and the experiment; its URI."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)
    mlflow.set_experiment_tags({"mlflow.experimentKind": "custom_model_development"})  # or the UI opens for chat agents
    return uri


def side_metrics(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Per-side figures under their tracked names; others are left out.

    >>> side_metrics({"long": {"ap": 0.25, "nonsense": 1.0}})
    {'long_ap': 0.25}
    """
    return {f"{side}_{name}": value for side, row in figures.items() for name, value in row.items() if name in PER_SIDE}


def log_metrics(metrics: Mapping[str, float | None]) -> None:
    """Log to the open run, in one call; what is None or NaN is left out, a key that is not in `METRICS` is a
    mistake.
    """
    if unknown := set(metrics) - set(METRICS):
        raise KeyError(f"metric keys are fixed; not among them: {sorted(unknown)}")
    mlflow.log_metrics({k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)})


@contextmanager
def node(level: str, name: str, *, title: str | None = None, fresh: bool = False) -> Iterator[mlflow.ActiveRun]:
    """A run of the tree, nested in the one that is open: found again by its place, or new.

    `title` is what the UI shows.
    """
    parent = mlflow.active_run()
    parent_id = parent.info.run_id if parent else ""
    found = None if fresh else _find(level, name, parent_id)
    if found:
        with mlflow.start_run(run_id=found, nested=parent is not None) as run:
            yield run
        return
    tags = {"squeeze.level": level, "squeeze.name": name}
    with mlflow.start_run(run_name=title or name, nested=parent is not None, tags=tags) as run:
        yield run


def _find(level: str, name: str, parent_id: str) -> str | None:
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    condition = f"tags.`squeeze.level` = '{level}' and tags.`squeeze.name` = '{name}'"
    if parent_id:
        condition += f" and tags.`mlflow.parentRunId` = '{parent_id}'"
    runs = (
        mlflow.search_runs([experiment.experiment_id], condition, max_results=1, output_format="list")
        if experiment
        else []
    )
    return runs[0].info.run_id if runs else None


def log_dataset(name: str, digest: str) -> None:
    """The data as the run's input, by digest."""
    mlflow.log_input(
        MetaDataset(CodeDatasetSource(tags={"lake": name}), name=name, digest=digest[:36]), context="training"
    )


def log_params(flat: Mapping[str, Any]) -> None:
    """Parameters, their values cut to what the store takes."""
    mlflow.log_params({key: str(value)[:500] for key, value in flat.items()})


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": [2, 3]})
    {'a.b': 1, 'c': [2, 3]}
    """
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v
        for name, part in value.items()
        for k, v in flatten(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def log_figure(figure: Figure, name: str) -> None:
    """A picture as an artefact under `figures/`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(figure, path)
        mlflow.log_artifact(str(path), "figures")


def log_model(model: bytes, path: Path) -> None:
    """The ONNX graph with its signature as a model, and the sealed file, byte for byte, as an artefact."""
    proto = onnx.load_from_string(model)
    specs = [[_tensor(t) for t in tensors] for tensors in (proto.graph.input, proto.graph.output)]
    mlflow.onnx.log_model(
        proto, name="model", signature=ModelSignature(*(Schema(s) for s in specs)), save_as_external_data=False
    )
    mlflow.log_artifact(str(path), "sealed")


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return TensorSpec(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type), shape, value.name)
