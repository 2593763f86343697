"""`champion` of a registered model moves here, and only through the gate.

A registered model is about one task: `squeeze` about the task whose run was promoted first, others go by names of their
own. The steps, each of which leaves things in order if the store fails in it:

    judge      nothing is written
    verdict    as an artefact and tags of the run, whether it passed or not
    version    made without an alias; `squeeze.load` cannot find it by one
    alias      one request moves it: the promotion
    tag        marks the version as one that was champion

A version that holds no alias and was never champion is what a failed promotion left; it is removed at once where the
store still answers, and otherwise before the next promotion.
"""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from squeeze.errors import TrackingError, one_line
from squeeze.model_file import read
from squeeze.registry import DIGEST_TAG, SEALED, impatient, sealed_file
from training.tracking import gate, track
from training.tracking.gate import GateSpec, Scored, Verdict
from training.tracking.record import PREDICTIONS, RIVALS

CHAMPION = "champion"
MODEL = "squeeze"
PROMOTED = "squeeze.promoted"
"""A version's tag: when it became champion."""
TASK = "squeeze.task"
"""A version's tag: the task of its run."""
VERDICT = "gate.json"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How stores say that there is no such model, or no such alias."""


Measure = Callable[[Path], tuple[float, float]]
"""p50 and p99 of a model file's step in microseconds."""


class Promotion(NamedTuple):
    """What came of it."""

    verdict: Verdict
    run_id: str
    version: str | None
    """The new champion's, None where the gate refused."""


def promote(
    run_id: str,
    name: str = MODEL,
    *,
    first: bool = False,
    spec: GateSpec | None = None,
    measure: Measure = gate.latency,
) -> Promotion:
    """Judge a tracked seed run, keep the verdict with it, and make it champion of a registered model if it passed.

    `TrackingError` where the run lacks what the gate needs, where the registered model is of another task, or where the
    store fails; the alias then names whom it named before.
    """
    store = track.existing()
    try:
        with impatient(), tempfile.TemporaryDirectory() as folder:
            return _promote(store, run_id, name, first, spec or GateSpec(), measure, Path(folder))
    except MlflowException as error:
        raise TrackingError(f"{name} keeps its champion: the store failed: {one_line(error)}") from None


def newest_with_model(store: track.Store, task: str) -> str:
    """The newest seed run of a task that left a model file."""
    found = [seed for seed in track.seeds(store) if seed.task == task and seed.run.outputs.model_outputs]
    if not found:
        raise TrackingError(f"no tracked run of task {task} has a model file")
    return found[0].run.info.run_id


def _promote(
    store: track.Store, run_id: str, name: str, first: bool, spec: GateSpec, measure: Measure, folder: Path
) -> Promotion:
    client = store.client
    seed = next((seed for seed in track.seeds(store) if seed.run.info.run_id == run_id), None)
    if seed is None:
        raise TrackingError(f"{run_id} is no seed run of experiment {track.EXPERIMENT}")
    present = _champion(client, name, seed.task)
    if present is not None and present.run_id == run_id:
        raise TrackingError(f"run {run_id} is the champion of {name} already")
    file = Path(client.download_artifacts(run_id, sealed_file(client, run_id), str(_sub(folder, SEALED))))
    verdict = gate.judge(
        _rows(client, seed.run, _sub(folder, "candidate")),
        None if present is None else _rows(client, client.get_run(present.run_id), _sub(folder, "champion")),
        track.scored_on(seed.run) == "test",
        seed.run.data.metrics,
        measure(file),
        first=first,
        spec=spec,
    )
    _keep(client, run_id, verdict, name, None if present is None else present.version)
    if not verdict.passed:
        return Promotion(verdict, run_id, None)
    return Promotion(verdict, run_id, _move(client, name, seed, read(file)[1], present))


def _sub(folder: Path, name: str) -> Path:
    (folder / name).mkdir(exist_ok=True)
    return folder / name


def _champion(client: MlflowClient, name: str, task: str) -> ModelVersion | None:
    try:
        present = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise
    if present.tags.get(TASK) != task:
        about = present.tags.get(TASK)
        raise TrackingError(f"{name} is about task {about}, the run is of {task}: name another, as {name}-{task}")
    return present


def _rows(client: MlflowClient, run: Run, folder: Path) -> Scored:
    """A run's scored rows and its baselines'; `TrackingError` where they were not kept."""
    there = {file.path for file in client.list_artifacts(run.info.run_id)}
    if PREDICTIONS not in there:
        raise TrackingError(f"run {run.info.run_id} kept no predictions: it was tracked by an older release")
    paths = [
        Path(client.download_artifacts(run.info.run_id, name, str(folder))) if name in there else None
        for name in (PREDICTIONS, RIVALS)
    ]
    return gate.scored(folder / PREDICTIONS, paths[1], int(run.data.tags["squeeze.horizon_minutes"]))


def _keep(client: MlflowClient, run_id: str, verdict: Verdict, name: str, champion: str | None) -> None:
    """The verdict with the run it is about."""
    said = {"model": name, "champion": champion, "judged": _now()} | msgspec.to_builtins(verdict)
    client.log_dict(run_id, said, VERDICT)
    tags = {"squeeze.gate": "passed" if verdict.passed else "refused", "squeeze.gate.reason": verdict.reason[:500]}
    client.log_batch(run_id, tags=[RunTag(key, text) for key, text in tags.items()])


def _move(client: MlflowClient, name: str, seed: track.SeedRun, digest: str, present: ModelVersion | None) -> str:
    """A new version, and the alias to it; its number. Where that fails, what it made is taken back."""
    made = _made(client, name)
    _sweep(client, name)
    if present is not None and PROMOTED not in present.tags:
        client.set_model_version_tag(name, present.version, PROMOTED, "unknown")
    run = seed.run
    try:
        version = client.create_model_version(
            name, f"models:/{run.outputs.model_outputs[0].model_id}", run.info.run_id,
            {DIGEST_TAG: digest, TASK: seed.task}, model_id=run.outputs.model_outputs[0].model_id,
            description=f"{seed.task}, {seed.model}, {run.data.tags[track.NAME]}, commit {run.data.tags[track.COMMIT]}",
        ).version  # fmt: skip
        client.set_registered_model_alias(name, CHAMPION, version)
    except Exception:
        with suppress(MlflowException):  # a store that is gone altogether: the next promotion sweeps
            _sweep(client, name)
            if made and not client.search_model_versions(f"name='{name}'"):
                client.delete_registered_model(name)
        raise
    client.set_model_version_tag(name, version, PROMOTED, _now())
    return str(version)


def _made(client: MlflowClient, name: str) -> bool:
    """Make the registered model where there is none; whether it was made."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_ALREADY_EXISTS":
            return False
        raise
    return True


def _sweep(client: MlflowClient, name: str) -> None:
    """Remove versions that failed promotions left: ours by their tag, no alias on them, and never champion."""
    held = {str(number) for number in client.get_registered_model(name).aliases.values()}
    for version in client.search_model_versions(f"name='{name}'"):
        if str(version.version) not in held and PROMOTED not in version.tags and TASK in version.tags:
            client.delete_model_version(name, version.version)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
