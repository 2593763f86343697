"""Runs in a real MLflow store: one tree, one list of keys, a model that loads back, a UI that shows them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pytest

from squeeze.model_file import read
from training import pipeline, record, track

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own


@pytest.fixture(scope="module")
def store(finished, tmp_path_factory):
    """The small run tracked twice, with its baselines; the store's URI and all its runs."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    before, here = os.environ.get("MLFLOW_TRACKING_URI"), os.getcwd()
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.chdir(folder)  # artefacts lie beside the store
    horizon = pipeline.watched(finished.run.config)
    pools = pipeline.baseline_pools(finished.prepared, finished.trained.blocks)
    rivals = {name: pool.figures() for name, pool in pools.items()}
    figures = pipeline.pool(finished.trained.blocks, horizon).figures(pools["volatility"])
    extra = {"parity_probability": 1e-7, "parity_state": 1e-7}
    for model in (finished.model, None):
        record.track_run(
            finished.prepared, finished.trained, finished.run, figures, rivals if model else {}, extra, model, test=True
        )
    yield uri, mlflow.search_runs(experiment_names=[track.EXPERIMENT], output_format="list")
    os.chdir(here)
    if before is None:
        del os.environ["MLFLOW_TRACKING_URI"]
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def level(run):
    return run.data.tags["squeeze.level"]


def place(run, runs):
    """Names from the root to a run."""
    by_id = {r.info.run_id: r for r in runs}
    names = [run.data.tags["squeeze.name"]]
    while parent := run.data.tags.get("mlflow.parentRunId"):
        run = by_id[parent]
        names.insert(0, run.data.tags["squeeze.name"])
    return tuple(names)


def seeds(runs, name="network"):
    return [r for r in runs if level(r) == "seed" and place(r, runs)[1] == name]


def test_runs_are_a_tree_of_task_model_seed_and_block(store):
    runs = store[1]
    network = ("small", "network")
    blocks = [(*network, "seed 0", f"block {k}") for k in range(2)]
    rivals = [("small", name) for name in ("climatology", "volatility", "extremes", "boosting")]
    expected = [
        ("small",),
        network,
        *[(*network, "seed 0")] * 2,
        *blocks * 2,
        *rivals,
        *[(*r, "seed 0") for r in rivals],
    ]
    assert sorted(place(r, runs) for r in runs) == sorted(expected)
    depth = {"task": 1, "model": 2, "seed": 3, "block": 4}
    assert all(len(place(r, runs)) == depth[level(r)] for r in runs)
    assert all(r.info.status == "FINISHED" for r in runs)


def test_metric_keys_are_few_and_fixed(store):
    assert len(track.METRICS) == len(set(track.METRICS)) < 50
    logged = {key for run in store[1] for key in run.data.metrics}
    assert logged <= set(track.METRICS)
    assert logged >= {"long_ap", "short_ap", "long_ap_gain", "val_loss", "rows", "abstained", "parity_state"}


def test_a_new_metric_key_is_a_mistake():
    with pytest.raises(KeyError, match=r"metric keys are fixed.*\['nonsense'\]"):
        track.log_metrics({"long_ap": 1.0, "nonsense": 2.0})


def test_the_data_are_an_input_by_their_digest(store, finished):
    for run in seeds(store[1]):
        (given,) = run.inputs.dataset_inputs
        assert given.dataset.name == "small"
        assert finished.run.data_digest.startswith(given.dataset.digest)


def test_a_run_keeps_its_whole_config_and_the_commit(store, finished):
    newest = seeds(store[1])[0]
    params = newest.data.params
    assert params["spec.label.threshold_usd"] == "300000.0"
    assert params["weights_digest"] == finished.run.weights_digest
    assert {"commit", "parameters", "pretrain.until", "seed"} <= set(params)
    assert newest.data.metrics["rows"] == sum(len(b.rows) for b in finished.trained.blocks)


def test_pictures_are_artefacts(store):
    for run in seeds(store[1]):
        found = {f.path for f in mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="figures")}
        assert found == {"figures/reliability.png", "figures/precision-recall.png", "figures/heatmap.png"}


def test_the_model_loads_back_with_its_signature_and_the_sealed_file_byte_for_byte(store, finished, tmp_path):
    (run,) = [r for r in seeds(store[1]) if r.outputs and r.outputs.model_outputs]
    uri = f"models:/{run.outputs.model_outputs[0].model_id}"
    signature = mlflow.models.get_model_info(uri).signature
    assert [t.name for t in signature.inputs] == ["channels", "scalars", "state"]
    assert [t.name for t in signature.outputs] == ["probabilities", "next_state"]
    assert signature.outputs.inputs[0].shape == (2, 2)
    assert [p.key for p in mlflow.onnx.load_model(uri).metadata_props] == ["squeeze.card", "squeeze.sha256"]
    path = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="sealed/small.onnx", dst_path=str(tmp_path)
    )
    assert read(path) == read(finished.model)


def test_what_is_not_finite_is_left_out(store):
    track.connect()
    with track.node("task", "another", fresh=True) as run:
        track.log_metrics({"long_ap": np.nan, "short_ap": 0.5, "rows": None})
    assert mlflow.get_run(run.info.run_id).data.metrics == {"short_ap": 0.5}


def test_the_ui_opens_the_store_and_lists_the_runs(store, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store[0],
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    try:
        assert get(f"http://127.0.0.1:{port}/health", server) == b"OK"
        base = f"http://127.0.0.1:{port}/api/2.0/mlflow"
        found = json.loads(get(f"{base}/experiments/get-by-name?experiment_name={track.EXPERIMENT}", server))
        body = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 100}
        listed = json.loads(get(f"{base}/runs/search", server, json.dumps(body).encode()))["runs"]
        assert {r["info"]["run_id"] for r in listed} >= {r.info.run_id for r in store[1]}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def get(url, server, body=None):
    """What a URL answers, once the server is up."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            return urllib.request.urlopen(request, timeout=30).read()  # noqa: S310
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the server never answered")
