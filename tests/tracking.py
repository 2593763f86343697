"""Tracking for tests: an empty store, synthetic runs with every figure, and a server of one's own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS, HOUR_NS
from training.tracking import track
from training.tracking.record import PREDICTIONS, RIVALS
from training.tracking.spool import Node, recording

START_NS = 20_000 * DAY_NS


@cache
def _empty() -> bytes:
    """An SQLite store with its tables and nothing in them: making the tables takes seconds."""
    import tempfile

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory() as folder:
        store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/mlruns")
        store.engine.dispose()
        return Path(folder, "mlflow.db").read_bytes()


def empty_store(folder: Path) -> str:
    """The URI of an empty store in a folder."""
    (folder / "mlflow.db").write_bytes(_empty())
    return f"sqlite:///{folder}/mlflow.db"


def figures(seed: int) -> dict[str, float]:
    """Every metric of a seed run, made up from its seed."""
    rng = np.random.default_rng(seed)
    return {name: float(rng.random()) for name in track.METRICS if not name.endswith("ap_sd") and name != "seeds"}


def seed_node(
    seed: int, *, recipe="a", scored="test", model="network", files="", sealed="", metrics=None, over="", after=""
) -> Node:
    """One seed run, complete or with artefacts and a model."""
    tags = {
        track.RECIPE: recipe, track.SCORED: scored, track.COMMIT: "0123456789ab", "squeeze.horizon_minutes": "60",
    } | {tag: text for tag, text in ((track.OVER, over), (track.AFTER, after)) if text}  # fmt: skip
    return Node(
        level="seed", name=f"seed {seed}", title=f"{model} seed {seed}", fresh=True, tags=tags,
        params={"seed": str(seed), "commit": "0123456789ab"}, dataset=("small", "ab" * 32),
        metrics=figures(seed) | (metrics or {}), files=files, model=sealed,
    )  # fmt: skip


def tree(*seeds: Node, task="small", model="network") -> Node:
    """Seed runs of one model of one task."""
    return Node(level="task", name=task, children=(Node(level="model", name=model, children=seeds),))


def keep(*seeds: Node, task="small", model="network", fill=None) -> Path:
    """A record with these seed runs into the spool; `fill` writes artefacts to its folder."""
    with recording() as (folder, write):
        if fill is not None:
            fill(folder)
        write(tree(*seeds, task=task, model=model))
    return folder


def predictions(folder: Path, skill: float, seed=0, days=120, slope=1.0, rivals=("volatility",), sides=SIDES) -> None:
    """Predicted rows of hourly steps: an event of three hours every other day, which a model of more skill sees better.

    The probability is what the score says of the event, so its calibration slope is 1, or else as told.
    """
    rng = np.random.default_rng(99)
    hours = np.arange(24 * days)
    table = {"ts": pd.to_datetime(START_NS + hours * HOUR_NS, utc=True), "block": 0}
    beside = {"ts": table["ts"]}
    for side in sides:
        truth = (hours % 48) < 3
        logit = _logit(truth, skill, np.random.default_rng([seed, len(side)]))
        table |= {f"y_{side}_60": truth, f"p_{side}_60": 1 / (1 + np.exp(-logit * slope)), f"rate_{side}_60": 0.0625}
        for name in rivals:
            beside[f"p_{name}_{side}"] = 1 / (1 + np.exp(-_logit(truth, 0.5, rng)))
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_parquet(folder / PREDICTIONS, index=False)
    if rivals:
        pd.DataFrame(beside).to_parquet(folder / RIVALS, index=False)


def _logit(truth: np.ndarray, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Log odds of the truth given a Gaussian score that lies `skill` deviations higher where it holds."""
    score = rng.normal(size=len(truth)) + skill * truth
    rate = truth.mean()
    return np.log(rate / (1 - rate)) + skill * score - skill**2 / 2


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def server(store: str, folder: Path, port: int | None = None):
    """`mlflow server` on loopback over a store, with artefacts in a folder; its URL, once it answers."""
    port = port or free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port",
        str(port), "--workers", "1", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # or six more processes start
    with (folder / "server.log").open("wb") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(900):
            assert running.poll() is None, (folder / "server.log").read_text()
            try:
                urllib.request.urlopen(f"{url}/health", timeout=30).close()  # noqa: S310
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        else:
            raise AssertionError("the server never answered")
        yield url
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(30)
