"""`champion` moves only through the gate, whole or not at all, and what it names is the sealed file."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import mlflow
import numpy as np
import pytest
from tracking import empty_store, keep, predictions, seed_node

import squeeze
from squeeze.cli import main
from squeeze.errors import ModelFileError, TrackingError
from training.tracking import gate, spool, track
from training.tracking.gate import GateSpec
from training.tracking.promote import promote

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own
PARITY = {"parity_probability": 1e-7, "parity_state": 1e-7}
FAST = {"measure": lambda path: (10.0, 20.0)}
FEW_DRAWS = GateSpec(draws=200)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with an empty store in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    return tmp_path


@pytest.fixture
def candidate(place, finished):
    """`tracked` with the small model."""
    return partial(tracked, finished.model)


def tracked(model, skill=2.0, seed=0, *, metrics=PARITY, scored="test", task="small"):
    """Track a run with predictions of some skill and a model file, if there is one; its run id."""

    def fill(folder):
        predictions(folder / "files", skill, seed)
        if model:
            (folder / "files" / "sealed").mkdir()
            (folder / "files" / "sealed" / "small.onnx").write_bytes(model.read_bytes())

    sealed = "sealed/small.onnx" if model else ""
    keep(seed_node(seed, files="files", sealed=sealed, scored=scored, metrics=metrics), task=task, fill=fill)
    assert spool.sync().kept == 0
    return track.seeds(track.existing())[0].run.info.run_id


def scored(folder, skill=2.0, seed=0, **how):
    predictions(folder / f"{skill}-{seed}", skill, seed, **how)
    path = folder / f"{skill}-{seed}"
    return gate.scored(path / "predictions.parquet", path / "rivals.parquet", 60)


def judge(candidate, champion=None, **how):
    given = {"on_test": True, "figures": PARITY, "latency": (10.0, 20.0), "spec": FEW_DRAWS} | how
    return gate.judge(candidate, champion, **given)


def failed(verdict):
    return {(c.name, c.side) for c in verdict.criteria if not c.passed}


def test_a_good_model_passes_and_every_criterion_says_its_numbers(tmp_path):
    verdict = judge(scored(tmp_path))
    assert verdict.passed
    assert verdict.reason == "all criteria hold"
    said = {(c.name, c.side): c.said for c in verdict.criteria}
    assert len(said) == 11
    assert said["scored", "both"] == "2880 rows of test blocks"
    assert said["episodes", "long"] == "60 episodes"
    assert "over volatility" in said["baseline", "short"]
    assert said["champion", "long"] == "there is none yet"
    assert said["parity", "both"] == "largest difference 1.0e-07 in p and 1.0e-07 in state"
    assert said["latency", "both"] == "p50 10 µs, p99 20 µs; allowed 250 and 1000"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"on_test": False}, {("scored", "both")}),
        ({"figures": {}}, {("parity", "both")}),
        ({"figures": PARITY | {"parity_state": 1e-5}}, {("parity", "both")}),
        ({"latency": (251.0, 300.0)}, {("latency", "both")}),
        ({"latency": (10.0, 1001.0)}, {("latency", "both")}),
        ({"spec": GateSpec(draws=200, episodes=61)}, {("episodes", "long"), ("episodes", "short")}),
    ],
)
def test_each_criterion_alone_keeps_the_gate_shut(tmp_path, how, expected):
    verdict = judge(scored(tmp_path), **how)
    assert failed(verdict) == expected
    assert not verdict.passed


def test_a_slope_outside_its_borders_is_refused(tmp_path):
    steep = judge(scored(tmp_path, slope=0.7))
    assert failed(steep) == {("calibration", "long"), ("calibration", "short")}
    assert "allowed are 0.8 to 1.2" in steep.reason


def test_no_better_than_the_best_baseline_is_refused(tmp_path):
    weak = scored(tmp_path, skill=2.0)
    same = replace(weak, rivals=weak.rivals | {"twin": weak.probability})
    verdict = judge(same)
    assert failed(verdict) == {("baseline", "long"), ("baseline", "short")}
    assert "AP +0.0000, 95 % interval [+0.0000, +0.0000] over twin" in verdict.reason
    assert failed(judge(replace(weak, rivals={}))) == {("baseline", "long"), ("baseline", "short")}


def test_the_champion_is_compared_on_the_rows_that_both_answered(tmp_path):
    better, worse = scored(tmp_path, 3.0), scored(tmp_path, 2.0)
    assert judge(better, worse).passed
    assert failed(judge(worse, better)) == {("champion", "long"), ("champion", "short")}
    assert failed(judge(better, better)) == {("champion", "long"), ("champion", "short")}
    elsewhere = replace(worse, ts_ns=worse.ts_ns + 1)
    assert "0 of these 2880 rows" in judge(better, elsewhere).reason
    assert "other labels" in judge(better, replace(worse, truth=~worse.truth)).reason


def test_few_episodes_are_inconclusive_and_waived_only_by_hand_for_a_first_champion(tmp_path):
    short = scored(tmp_path, 3.0, days=60)
    both = {("episodes", "long"), ("episodes", "short")}
    assert failed(judge(short)) == both
    assert "30 episodes, under 50: inconclusive" in judge(short).reason
    waived = judge(short, first=True)
    assert waived.passed
    assert any("waived by hand" in c.said for c in waived.criteria)
    assert failed(judge(short, scored(tmp_path, 2.0, days=60), first=True)) == both, "not while there is a champion"


def test_rows_without_an_answer_are_left_out_and_a_side_without_events_is_refused(tmp_path):
    rows = scored(tmp_path)
    silent = replace(rows, probability=np.where(np.arange(2880)[:, None] < 100, np.nan, rows.probability))
    assert failed(judge(silent)) == set()
    never = replace(rows, truth=rows.truth & [False, True])
    assert failed(judge(never)) == {(name, "long") for name in ("episodes", "baseline", "calibration")}
    assert not judge(never, first=True).passed


def test_the_latency_of_a_model_file_is_measured(finished):
    p50, p99 = gate.latency(finished.model, steps=50, rounds=2)
    assert 0 < p50 <= p99 < np.inf


def test_baselines_of_other_rows_are_refused(tmp_path):
    predictions(tmp_path / "a", 2.0)
    predictions(tmp_path / "b", 2.0, days=60)
    with pytest.raises(TrackingError, match="not predicted on the rows"):
        gate.scored(tmp_path / "a" / "predictions.parquet", tmp_path / "b" / "rivals.parquet", 60)


def state_of_registry():
    client = mlflow.MlflowClient()
    return {
        model.name: (
            {alias: str(number) for alias, number in model.aliases.items()},
            sorted(str(version.version) for version in client.search_model_versions(f"name='{model.name}'")),
        )
        for model in client.search_registered_models()
    }


def test_a_run_that_passes_becomes_champion_and_loads_like_the_plain_file(candidate, finished):
    run_id = candidate()
    found = promote(run_id, spec=FEW_DRAWS, **FAST)
    assert (found.verdict.passed, found.version) == (True, "1")
    assert state_of_registry() == {"squeeze": ({"champion": "1"}, ["1"])}
    run = mlflow.get_run(run_id)
    assert run.data.tags["squeeze.gate"] == "passed"
    kept = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/gate.json")
    assert kept["passed"]
    assert [c["name"] for c in kept["criteria"]] == [c.name for c in found.verdict.criteria]
    assert kept["spec"]["slope"] == [0.8, 1.2]
    plain = squeeze.load(finished.model)
    for name in ("models:/squeeze@champion", "models:/squeeze/1", f"runs:/{run_id}"):
        fetched = squeeze.load(name)
        assert (fetched.digest, fetched.card) == (plain.digest, plain.card)
        assert same_predictions(fetched, plain)


def same_predictions(one, other):
    """Whether two predictors' graphs give the same bits over random steps with carried state."""
    rng = np.random.default_rng(0)
    sessions = [predictor.session for predictor in (one, other)]
    inputs = {t.name: rng.random((2, *t.shape[1:])).astype(np.float32) for t in sessions[0].get_inputs()}
    for _ in range(20):
        inputs |= {name: rng.random(inputs[name].shape).astype(np.float32) for name in ("channels", "scalars")}
        mine, others = (session.run(("probabilities", "next_state"), inputs) for session in sessions)
        if any((a != b).any() for a, b in zip(mine, others, strict=True)):
            return False
        inputs["state"] = mine[1]
    return True


def test_a_run_that_fails_is_not_registered_and_its_verdict_is_kept(candidate):
    run_id = candidate(metrics={"parity_probability": 1e-3, "parity_state": 1e-7})
    found = promote(run_id, spec=FEW_DRAWS, **FAST)
    assert found.version is None
    assert state_of_registry() == {}
    tags = mlflow.get_run(run_id).data.tags
    assert tags["squeeze.gate"] == "refused"
    assert tags["squeeze.gate.reason"].startswith("parity (both): largest difference 1.0e-03")


def test_the_champion_gives_way_to_a_better_one_alone(candidate):
    promote(candidate(2.0, 0), spec=FEW_DRAWS, **FAST)
    assert promote(candidate(1.9, 1), spec=FEW_DRAWS, **FAST).version is None
    assert state_of_registry() == {"squeeze": ({"champion": "1"}, ["1"])}
    best = candidate(3.0, 2)
    assert promote(best, spec=FEW_DRAWS, **FAST).version == "2"
    assert state_of_registry() == {"squeeze": ({"champion": "2"}, ["1", "2"])}
    with pytest.raises(TrackingError, match="is the champion of squeeze already"):
        promote(best, spec=FEW_DRAWS, **FAST)


def test_one_registered_model_is_about_one_task(candidate):
    promote(candidate(), spec=FEW_DRAWS, **FAST)
    other = candidate(3.0, task="other")
    with pytest.raises(TrackingError, match="squeeze is about task small, the run is of other: name another"):
        promote(other, spec=FEW_DRAWS, **FAST)
    assert promote(other, "squeeze-other", spec=FEW_DRAWS, **FAST).version == "1"
    assert state_of_registry()["squeeze"] == ({"champion": "1"}, ["1"])


@pytest.fixture(scope="module")
def rivals(finished, tmp_path_factory):
    """A store with a champion and a better run, and that run's id: made once, since to log a model takes a second."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("rivals")
        patched.chdir(folder)
        patched.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        promote(tracked(finished.model, 2.0, 0), spec=FEW_DRAWS, **FAST)
        better = tracked(finished.model, 3.0, 1)
        return (folder / "mlflow.db").read_bytes(), better


STEPS = ("create_registered_model", "create_model_version", "set_registered_model_alias")


@pytest.mark.parametrize("gone_for_good", [False, True])
@pytest.mark.parametrize("step", ["log_dict", *STEPS])
def test_a_store_that_fails_midway_leaves_no_half_a_champion(place, rivals, monkeypatch, step, gone_for_good):
    (place / "mlflow.db").write_bytes(rivals[0])
    mlflow.set_tracking_uri(f"sqlite:///{place}/mlflow.db")
    better, before = rivals[1], state_of_registry()
    down = []

    def broken(*args, **more):
        down.append(True)
        raise mlflow.exceptions.MlflowException("gone")

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, step, broken)
        if gone_for_good:  # nor can it be asked to take anything back
            real = mlflow.MlflowClient.get_registered_model
            patched.setattr(
                mlflow.MlflowClient, "get_registered_model", lambda *a: broken() if down else real(*a)
            )  # fmt: skip
        with pytest.raises(TrackingError, match="squeeze keeps its champion: the store failed: gone"):
            promote(better, spec=FEW_DRAWS, **FAST)
    after = state_of_registry()
    left_over = step == "set_registered_model_alias" and gone_for_good
    assert after == ({"squeeze": ({"champion": "1"}, ["1", "2"])} if left_over else before)
    again = promote(better, spec=FEW_DRAWS, **FAST)
    assert state_of_registry() == {"squeeze": ({"champion": again.version}, ["1", again.version])}


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_first_promotion_that_fails_leaves_no_registered_model(candidate, monkeypatch, step):
    run_id = candidate()

    def broken(*args, **more):
        raise mlflow.exceptions.MlflowException("gone")

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, step, broken)
        with pytest.raises(TrackingError, match="the store failed: gone"):
            promote(run_id, spec=FEW_DRAWS, **FAST)
    assert state_of_registry() == {}


def test_runs_without_what_the_gate_needs_are_refused(candidate, place):
    with pytest.raises(TrackingError, match="nothing is tracked"):
        promote("0" * 32)
    without = tracked(None)
    with pytest.raises(TrackingError, match="has 0 model files under sealed/; one is needed"):
        promote(without)
    with pytest.raises(TrackingError, match="is no seed run"):
        promote("0" * 32)


def test_the_command_promotes_or_says_what_failed(candidate, place, capsys):
    run_id = candidate(scored="validation")
    assert main(["promote", run_id]) == 2
    said = capsys.readouterr()
    assert "test blocks are needed" in said.out
    assert f"run {run_id} is not promoted; the verdict is kept with it" in said.err
    (place / "small.yaml").write_text("nonsense: 1")
    assert main(["promote", "small.yaml"]) == 2
    assert "small.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models:/squeeze@challenger", "models:/squeeze@challenger: .*challenger"),
        ("models:/nobody@champion", "models:/nobody@champion: .*nobody"),
        ("models:/squeeze/7", "models:/squeeze/7: .*7"),
        (f"runs:/{'0' * 32}", "0000"),
        ("models:/squeeze", "expected models:/NAME@ALIAS"),
        ("runs:/../../etc/passwd", "expected models:/NAME@ALIAS"),
    ],
)
def test_a_name_that_names_nothing_is_a_clear_error(place, rivals, name, said):
    (place / "mlflow.db").write_bytes(rivals[0])
    with pytest.raises(ModelFileError, match=said):
        squeeze.load(name)


def test_another_file_than_the_registered_one_is_refused(candidate, place):
    run_id = candidate()
    promote(run_id, spec=FEW_DRAWS, **FAST)
    mlflow.MlflowClient().set_model_version_tag("squeeze", "1", "squeeze.sha256", "0" * 64)
    with pytest.raises(ModelFileError, match="registered was 0000"):
        squeeze.load("models:/squeeze@champion")
    (file,) = place.glob(f"mlruns/**/{run_id}/artifacts/sealed/small.onnx")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFileError, match="was altered"):
        squeeze.load("models:/squeeze@champion")


def test_no_store_is_made_by_asking_for_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ModelFileError, match=r"no tracking store at mlflow\.db"):
        squeeze.load("models:/squeeze@champion")
    assert list(tmp_path.iterdir()) == []


def test_without_mlflow_the_error_names_the_extra():
    code = """
import sys
sys.modules["mlflow"] = None
import squeeze
squeeze.load("models:/squeeze@champion")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().endswith(
        "ModelFileError: models:/squeeze@champion: needs mlflow: pip install 'squeeze-predictor[train]'"
    )
