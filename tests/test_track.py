"""Runs in a real MLflow store: one tree, one list of keys, artefacts, and a model that loads back."""

import os
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from squeeze.model_file import read
from training.baselines import catalogue as baselines
from training.evaluation.assess import baseline_pools
from training.evaluation.pools import pool, watched
from training.tracking import record, spool, track
from training.tracking.environment import environment, measured
from training.tracking.spool import Node

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own


@pytest.fixture(scope="module")
def store(finished, tmp_path_factory):
    """The small run tracked twice, with its baselines; the store's URI and all its runs."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    before, here = os.environ.get("MLFLOW_TRACKING_URI"), os.getcwd()
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.chdir(folder)  # artefacts lie beside the store
    horizon = watched(finished.run.config)
    minutes = finished.run.config.spec.signal.horizon_minutes
    with pytest.MonkeyPatch.context() as patched:
        some = {name: baselines.BASELINES[name] for name in ("climatology", "volatility")}
        patched.setattr(baselines, "BASELINES", some)
        pools = baseline_pools(finished.prepared, [r.block for r in finished.trained.blocks], None)[minutes]
    rivals = {name: pool.figures() for name, pool in pools.items()}
    rivals["a referee's reference"] = rivals["volatility"]  # a quote must not end a search for it
    figures = pool(finished.trained.blocks, horizon).figures(pools["volatility"])
    extra = {"parity_probability": 1e-7, "parity_state": 1e-7}
    with measured(0.01) as system:
        time.sleep(0.1)
    more = {
        "report": ("# Report", {"verdict": "inconclusive"}), "pictures": {"curve": Figure()}, "pools": pools,
        "controls": {"long_ap_gain_map": 0.25, "reflected_long_ap": 0.125}, "system": system,
    }  # fmt: skip
    for model in (finished.model, None):
        record.track_run(
            finished.prepared, finished.trained, finished.run, figures, rivals if model else {}, extra, model,
            test=True, **(more if model else {}),
        )  # fmt: skip
    assert not spool.pending()
    mlflow.set_tracking_uri(uri)
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
    rivals = [("small", name) for name in ("climatology", "volatility", "a referee's reference")]
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
    logged = {key for run in store[1] for key in run.data.metrics if not key.startswith("system/")}
    assert logged <= set(track.METRICS)
    assert logged >= {"long_ap", "short_ap", "long_ap_gain", "val_loss", "rows", "abstained", "parity_state"}


def test_a_new_metric_key_is_a_mistake():
    with pytest.raises(KeyError, match=r"metric keys are fixed.*\['nonsense'\]"):
        track.checked({"long_ap": 1.0, "nonsense": 2.0})


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


def files_of(run, folder=None):
    return {f.path for f in mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path=folder)}


def test_pictures_and_tables_are_artefacts(store):
    plain, full = seeds(store[1])
    always = {"figures/reliability.png", "figures/precision-recall.png", "figures/heatmap.png"}
    assert files_of(plain, "figures") == always
    assert files_of(full, "figures") == always | {"figures/curve.png"}
    tables = {"config.json", "environment.json", "pretraining.json", "predictions.parquet", "figures"}
    assert files_of(plain) == tables
    assert files_of(full) == tables | {"report.md", "report.json", "controls.json", "rivals.parquet", "sealed"}
    said = mlflow.artifacts.load_dict(f"{full.info.artifact_uri}/controls.json")
    assert said == {"long_ap_gain_map": 0.25, "reflected_long_ap": 0.125}
    assert full.data.metrics["long_ap_gain_map"] == 0.25


def test_only_predictions_of_the_scored_rows_leave_the_run(store, finished, tmp_path):
    for run in seeds(store[1]):
        path = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path=record.PREDICTIONS, dst_path=str(tmp_path)
        )
        table = pd.read_parquet(path)
        assert table["block"].min() == 0
        pooled = pool(finished.trained.blocks, watched(finished.run.config))
        np.testing.assert_array_equal(table["p_long_60"], pooled.probability[:, 0].astype(float))


def test_environment_and_machine_readings_come_with_the_run(store):
    full = seeds(store[1])[1]
    said = mlflow.artifacts.load_dict(f"{full.info.artifact_uri}/environment.json")
    assert said["packages"]["mlflow"] == mlflow.__version__
    assert full.data.tags["squeeze.device"].startswith((said["cpu"], *said["gpus"]))
    system = {key for key in full.data.metrics if key.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= system
    assert len(set(track.METRICS) | {key for key in system if "gpu" not in key}) < 50
    history = mlflow.MlflowClient().get_metric_history(full.info.run_id, "system/cpu_utilization_percentage")
    assert [m.step for m in history] == list(range(len(history)))


def test_readings_stay_few_however_long_a_training_takes(monkeypatch):
    monkeypatch.setattr("training.tracking.environment.MOST_READINGS", 4)
    with measured(0.001) as readings:
        time.sleep(0.3)
    assert readings
    assert all(1 <= len(found) < 4 for found in readings.values())
    assert environment()["cores"] >= 1


def test_the_model_loads_back_with_its_signature_and_the_sealed_file_byte_for_byte(store, finished, tmp_path):
    (run,) = [r for r in seeds(store[1]) if r.outputs and r.outputs.model_outputs]
    uri = f"models:/{run.outputs.model_outputs[0].model_id}"
    signature = mlflow.models.get_model_info(uri).signature
    assert [t.name for t in signature.inputs] == ["channels", "scalars", "state"]
    assert [t.name for t in signature.outputs] == ["probabilities", "next_state"]
    assert signature.outputs.inputs[0].shape == (-1, 2)  # two rows for each symbol
    assert [p.key for p in mlflow.onnx.load_model(uri).metadata_props] == ["squeeze.card", "squeeze.sha256"]
    path = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="sealed/small.onnx", dst_path=str(tmp_path)
    )
    assert read(path) == read(finished.model)


def test_what_is_not_finite_is_left_out(store):
    metrics = track.checked({"long_ap": np.nan, "short_ap": 0.5, "rows": None})
    spool.submit(Node(level="task", name="another", metrics=metrics))
    (run,) = (r for r in track.connect().level("task") if r.data.tags["squeeze.name"] == "another")
    assert run.data.metrics == {"short_ap": 0.5}


def seed_node(seed, ap, recipe="a"):
    tags = {track.RECIPE: recipe, track.SCORED: "test", track.COMMIT: "c"}
    return Node(level="seed", name=f"seed {seed}", fresh=True, tags=tags, metrics={"long_ap": ap, "rows": 10.0})


def submit(task, *nodes):
    for node in nodes:
        spool.submit(Node(level="task", name=task, children=(Node(level="model", name="network", children=(node,)),)))


def model_of(store, task):
    (parent,) = (r for r in store.level("task") if r.data.tags["squeeze.name"] == task)
    (found,) = (r for r in store.level("model") if r.data.tags["mlflow.parentRunId"] == parent.info.run_id)
    return found.data


def test_a_model_shows_mean_and_deviation_over_the_seeds_of_its_newest_recipe(store):
    submit("seeds", seed_node(0, 0.25), seed_node(1, 0.5), seed_node(1, 0.75))  # seed 1 twice: the newer counts
    found = model_of(track.connect(), "seeds")
    assert found.metrics == pytest.approx({"long_ap": 0.5, "long_ap_sd": 0.125**0.5, "rows": 10.0, "seeds": 2.0})
    assert "| long_ap | 0.5 | 0.35 |" in found.tags["mlflow.note.content"]
    submit("seeds", seed_node(0, 0.125, "another"))
    found = model_of(track.connect(), "seeds")
    assert {k: v for k, v in found.metrics.items() if k != "long_ap_sd"} == {"long_ap": 0.125, "rows": 10, "seeds": 1}
    assert np.isnan(found.metrics["long_ap_sd"]), "the deviation of the older recipe is gone"
