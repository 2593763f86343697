"""Runs in MLflow: one tree and one short list of metric keys, the same from the first run on.

    experiment squeeze ─► task ─► model (network, climatology, volatility, …) ─► seed ─► block

Task and model runs are found again; each training adds a seed run with its blocks, and the model run shows mean and
standard deviation over the seeds of its newest recipe. Curves, tables and pictures are artefacts, since the UI slows
down with every metric key. The store is `sqlite:///mlflow.db` unless MLFLOW_TRACKING_URI names another. Everything that
is sent comes out of the spool (`spool`).

With 100 seed runs of every key (`tests/benchmarks/mlflow_ui.py`, MLflow 3.17, two cores at a load of 12) the UI lists
them in 3.5 s with two searches, shows the compare page in 13 s with 106 requests and 0.9 MiB (two runs: 7 s), charts in
12 s; the three queries of `squeeze compare` take 0.3 s.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import mlflow
import numpy as np
import onnx
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from squeeze.arrays import SIDES
from squeeze.errors import TrackingError, one_line
from squeeze.registry import impatient, require_store, tracking_uri
from training.tracking import spool
from training.tracking.spool import Node, Record

EXPERIMENT = "squeeze"
PER_SIDE = (
    "ap", "ap_sd", "ap_gain", "ap_gain_low", "ap_gain_high", "ap_gain_map", "ap_gain_map_low", "ap_gain_map_high",
    "auc", "brier_skill", "log_loss", "ece", "slope", "intercept", "base_rate", "episodes", "recall_1_a_day",
    "lead_minutes_median",
)  # fmt: skip
METRICS = (
    *(f"{side}_{name}" for side in SIDES for name in PER_SIDE),
    "val_loss", "epochs", "frames_per_second", "rows", "abstained", "parity_probability", "parity_state",
    "stream_difference", "seeds",
)  # fmt: skip
"""Every key that is ever logged; per-side figures are of the horizon the signal machine watches. `ap_sd` and `seeds`
are of model runs: the standard deviation over seeds, and how many there are.
"""
LEVEL, NAME, KEY, RECORD, COMPLETE = (f"squeeze.{word}" for word in ("level", "name", "key", "record", "complete"))
RECIPE, SCORED, AFTER, OVER, COMMIT = (f"squeeze.{word}" for word in ("recipe", "scored", "after", "over", "commit"))
"""Tags of seed runs: what is the same for all seeds of a training, on which rows it was scored and from what time on
if not on all of them, which model `ap_gain` is over, the commit.
"""
ENDS = ("_low", "_high")
"""How the ends of an interval are named."""
PARENT = "mlflow.parentRunId"
PAGE = 1000


class Store(NamedTuple):
    """The tracking store, and the experiment in it."""

    client: mlflow.MlflowClient
    experiment_id: str

    def runs(self, condition: str) -> list[Run]:
        """Every run that fits, newest first, a page of a thousand at a time."""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def level(self, level: str) -> list[Run]:
        """Every run of one level of the tree."""
        return self.runs(f"tags.`{LEVEL}` = '{level}'")


def connect() -> Store:
    """Choose the store and the experiment, which is made where there is none."""
    mlflow.set_tracking_uri(tracking_uri())
    experiment = mlflow.set_experiment(EXPERIMENT)
    if "mlflow.experimentKind" not in experiment.tags:  # or the UI opens for chat agents
        mlflow.set_experiment_tags({"mlflow.experimentKind": "custom_model_development"})
    return Store(mlflow.MlflowClient(), experiment.experiment_id)


class SeedRun(NamedTuple):
    """A seed run, and where in the tree it is."""

    task: str
    model: str
    run: Run


def existing() -> Store:
    """The store as it is; `TrackingError` where it does not answer, or nothing was ever tracked in it."""
    uri = tracking_uri()
    require_store(uri)
    with impatient():
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient()
        try:
            experiment = client.get_experiment_by_name(EXPERIMENT)
        except mlflow.exceptions.MlflowException as error:
            raise TrackingError(f"{uri}: {one_line(error)}") from None
    if experiment is None:
        raise TrackingError(f"nothing is tracked in {uri} yet; `squeeze train CONFIG` tracks a run")
    return Store(client, experiment.experiment_id)


def seeds(store: Store) -> list[SeedRun]:
    """Every seed run in its place, newest first: one query for each level of the tree."""
    tasks, models, found = ({run.info.run_id: run for run in store.level(level)} for level in ("task", "model", "seed"))
    placed = []
    for run in found.values():
        model = models.get(run.data.tags.get(PARENT, ""))
        task = tasks.get(model.data.tags.get(PARENT, "")) if model else None
        if model and task:  # else it was deleted above it
            placed.append(SeedRun(task.data.tags[NAME], model.data.tags[NAME], run))
    return placed


def scored_on(run: Run) -> str:
    """Which rows a run was scored on: `validation`, `test`, or `test from` a time on; empty where it is not known."""
    tags = run.data.tags
    return tags.get(SCORED, "") + (f" from {tags[AFTER]}" if tags.get(AFTER) else "")


def side_metrics(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Per-side figures under their tracked names; others are left out.

    >>> side_metrics({"long": {"ap": 0.25, "nonsense": 1.0}})
    {'long_ap': 0.25}
    """
    return {f"{side}_{name}": value for side, row in figures.items() for name, value in row.items() if name in PER_SIDE}


def checked(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """What can be logged: what is None or not finite is left out, a key that is not in `METRICS` is a mistake.

    >>> checked({"long_ap": 0.25, "rows": None, "short_ap": float("nan")})
    {'long_ap': 0.25}
    """
    if unknown := set(metrics) - set(METRICS):
        raise KeyError(f"metric keys are fixed; not among them: {sorted(unknown)}")
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def send(folder: Path) -> None:
    """Log a record of the spool. What an earlier try has sent already is left as it is, so that trying again after a
    failure ends in the same runs as one try that succeeds.
    """
    record, store = spool.read(folder), connect()
    known = {run.data.tags[KEY]: run for run in store.runs(f"tags.`{RECORD}` = '{record.key}'")}
    _send(store, record, folder, known, record.root, "", record.key)


def _send(
    store: Store, record: Record, folder: Path, known: Mapping[str, Run], node: Node, parent_id: str, place: str
) -> None:
    client, place = store.client, f"{place}/{node.name}"
    run = known.get(place) if node.fresh else _place(store, node, parent_id)
    if run is None:
        own = {KEY: place, RECORD: record.key} if node.fresh else {}
        tags = {LEVEL: node.level, NAME: node.name} | own | ({PARENT: parent_id} if parent_id else {})
        run = client.create_run(store.experiment_id, record.created_ms, tags, node.title or node.name)
    if COMPLETE in run.data.tags and node.fresh:
        return
    _log(client, run, node, record.created_ms, folder)
    for child in node.children:
        _send(store, record, folder, known, child, run.info.run_id, place)
    if any(child.level == "seed" for child in node.children):
        _summarise(store, run.info.run_id)
    client.set_terminated(run.info.run_id)
    client.set_tag(run.info.run_id, COMPLETE, "yes")


def _place(store: Store, node: Node, parent_id: str) -> Run | None:
    """The first run of such a node there. MLflow's filters have no way to write a quote, so names are compared here."""
    condition = f"tags.`{LEVEL}` = '{node.level}'" + (f" and tags.`{PARENT}` = '{parent_id}'" if parent_id else "")
    found = [run for run in store.runs(condition) if run.data.tags.get(NAME) == node.name]
    return found[-1] if found else None


def _log(client: mlflow.MlflowClient, run: Run, node: Node, now_ms: int, folder: Path) -> None:
    run_id = run.info.run_id
    metrics = [Metric(name, value, now_ms, 0) for name, value in checked(node.metrics).items()]
    for name, readings in node.system.items():
        metrics += [Metric(f"system/{name}", value, ms, step) for step, (ms, value) in enumerate(readings)]
    params = [Param(name, text[:500]) for name, text in node.params.items()]
    client.log_batch(run_id, metrics, params, [RunTag(name, text) for name, text in node.tags.items()])
    if node.dataset:
        client.log_inputs(run_id, [_dataset(*node.dataset)])
    if node.files:
        client.log_artifacts(run_id, str(folder / node.files))
    if node.model and not (run.outputs and run.outputs.model_outputs):
        _log_model(run_id, folder / node.files / node.model)


def _dataset(name: str, digest: str) -> DatasetInput:
    """The data as a run's input, by digest."""
    data = MetaDataset(CodeDatasetSource(tags={"lake": name}), name=name, digest=digest[:36])
    return DatasetInput(data._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])


def _log_model(run_id: str, path: Path) -> None:
    """The ONNX graph with its signature as a model; the sealed file is an artefact beside it."""
    proto = onnx.load_from_string(path.read_bytes())
    specs = [[_tensor(t) for t in tensors] for tensors in (proto.graph.input, proto.graph.output)]
    with mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False):
        mlflow.onnx.log_model(
            proto, name="model", signature=ModelSignature(*(Schema(s) for s in specs)), save_as_external_data=False,
            pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime")],
        )  # fmt: skip


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)
    return TensorSpec(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type), shape, value.name)


def same_recipe(seeds: Iterable[Run]) -> list[Run]:
    """The newest run of each seed, of those that share recipe and scored rows with the newest of all."""
    newest = sorted(seeds, key=lambda run: run.info.start_time, reverse=True)
    kind = [(scored_on(run), *(run.data.tags.get(tag) for tag in (RECIPE, COMMIT))) for run in newest]
    found: dict[str, Run] = {}
    for run, its in zip(newest, kind, strict=True):
        if its == kind[0]:
            found.setdefault(run.data.tags[NAME], run)
    return list(found.values())


def over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each figure that all seeds have; the deviation of a single seed is NaN.

    Of several seeds the ends of intervals are left out: a mean of ends bounds nothing.

    >>> over_seeds([{"ap": 0.5, "ap_gain_low": 0.1}, {"ap": 0.25, "ap_gain_low": 0.2, "auc": 1.0}])
    {'ap': (0.375, 0.1767766952966369)}
    """
    shared = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    names = [name for name in shared if len(rows) == 1 or not name.endswith(ENDS)]
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    return {
        name: (float(column.mean()), float(column.std(ddof=1)) if len(column) > 1 else math.nan)
        for name, column in columns.items()
    }


def _summarise(store: Store, model_run_id: str) -> None:
    """Mean over the newest seeds as the model run's figures, with deviations in its description; a figure that they do
    not have any more becomes NaN.
    """
    seeds = same_recipe(store.runs(f"tags.`{LEVEL}` = 'seed' and tags.`{PARENT}` = '{model_run_id}'"))
    found = over_seeds([{k: v for k, v in run.data.metrics.items() if k in METRICS} for run in seeds])
    said = {name: mean for name, (mean, _) in found.items()} | {"seeds": float(len(seeds))}
    said |= {f"{side}_ap_sd": found[f"{side}_ap"][1] for side in SIDES if f"{side}_ap" in found}
    stale = dict.fromkeys(set(store.client.get_run(model_run_id).data.metrics) - set(checked(said)), math.nan)
    now_ms = time.time_ns() // 1_000_000
    metrics = [Metric(name, value, now_ms, 0) for name, value in (checked(said) | stale).items()]
    newest = seeds[0]
    tags = {tag: newest.data.tags.get(tag, "") for tag in (RECIPE, SCORED, AFTER, OVER, COMMIT)}
    tags["mlflow.note.content"] = _note(found, sorted(run.data.tags[NAME] for run in seeds))
    store.client.log_batch(model_run_id, metrics, [], [RunTag(name, text) for name, text in tags.items()])


def _note(found: Mapping[str, tuple[float, float]], seeds: list[str]) -> str:
    rows = [f"| {name} | {mean:.4g} | {deviation:.2g} |" for name, (mean, deviation) in found.items()]
    return "\n".join([f"Over {', '.join(seeds)}:", "", "| figure | mean | s.d. |", "|---|---|---|", *rows])
