"""Models by name from a tracking store, for `squeeze.load("models:/squeeze@champion")`.

Apart from the live path, since it needs MLflow, which the core install lacks: it is imported when such a name is given.
What is fetched is the sealed file, byte for byte, and it is verified like any other.

    models:/NAME@ALIAS    the version that an alias names now
    models:/NAME/VERSION  a version by its number
    runs:/RUN_ID          the model that a run left behind
"""

import importlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from squeeze.errors import ModelFileError, TrackingError, one_line
from squeeze.model_file import read

SEALED = "sealed"
"""Folder among a run's artefacts that holds its model file."""
DIGEST_TAG = "squeeze.sha256"
"""A registered version's tag: the seal of its file."""

PROBE_SECONDS = 2.0
REQUEST_SECONDS = 10
_MODEL = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))")
_RUN = re.compile(r"runs:/([0-9a-f]{32})/?")


def tracking_uri() -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, or `mlflow.db` in this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def require_answer(uri: str) -> None:
    """`TrackingError` unless a server says something, whatever it is, within `PROBE_SECONDS`. Any other store answers
    by itself.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError as answer:  # some servers ask for a login, or have no such page
        answer.close()
    except (OSError, ValueError) as error:
        raise TrackingError(f"the tracking server at {uri} does not answer: {one_line(error)}") from None


def require_store(uri: str) -> None:
    """`TrackingError` unless there is a store to read: MLflow would make an empty one in SQLite."""
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.exists():
        raise TrackingError(f"no tracking store at {file}; MLFLOW_TRACKING_URI names another")
    require_answer(uri)


@contextmanager
def impatient() -> Iterator[None]:
    """MLflow with short timeouts, no second tries, and nothing printed; by default it waits for minutes."""
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_SECONDS),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """The sealed file behind a name, in a folder that goes away with the block.

    `ModelFileError` when MLflow is not installed, the store does not answer, or it has no such alias, version or run;
    also when the file is not the one that was registered.
    """
    if not (_MODEL.fullmatch(name) or _RUN.fullmatch(name)):
        raise ModelFileError(f"{name}: expected models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID")
    try:
        mlflow: Any = importlib.import_module("mlflow")
    except ModuleNotFoundError:
        raise ModelFileError(f"{name}: needs mlflow: pip install 'squeeze-predictor[train]'") from None
    uri = tracking_uri()
    with tempfile.TemporaryDirectory() as folder, impatient():
        try:
            require_store(uri)
            client = mlflow.MlflowClient(uri)
            run_id, expected = _resolve(client, name)
            path = Path(client.download_artifacts(run_id, sealed_file(client, run_id), folder))
        except (mlflow.exceptions.MlflowException, TrackingError, OSError) as error:
            raise ModelFileError(f"{name}: {one_line(error)}") from None
        _, digest = read(path)
        if expected not in (None, digest):
            raise ModelFileError(f"{name}: registered was {expected}, stored is {digest}")
        yield path


def sealed_file(client: Any, run_id: str) -> str:
    """The place of a run's model file among its artefacts; `TrackingError` unless there is just one."""
    found = [file.path for file in client.list_artifacts(run_id, SEALED) if file.path.endswith(".onnx")]
    if len(found) != 1:
        raise TrackingError(f"run {run_id} has {len(found)} model files under {SEALED}/; one is needed")
    return str(found[0])


def _resolve(client: Any, name: str) -> tuple[str, str | None]:
    """The run behind a name, and the seal its file must have where the registry says."""
    if not (model := _MODEL.fullmatch(name)):
        return name.removeprefix("runs:/").rstrip("/"), None
    title, alias, number = model.groups()
    version = client.get_model_version_by_alias(title, alias) if alias else client.get_model_version(title, number)
    return str(version.run_id), version.tags.get(DIGEST_TAG)
