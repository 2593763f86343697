"""The search: its space, its study over restarts, and what it may not touch."""

import optuna
import pytest
from tracking import empty_store

from squeeze.errors import ConfigError
from training import tune
from training.tracking import track

pytestmark = pytest.mark.filterwarnings("ignore")  # optuna's and mlflow's own


def space(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return tune.read_space(path)


def test_a_space_names_keys_with_ranges_or_choices(tmp_path):
    found = space(tmp_path, "network.hidden: {low: 4, high: 8}\nnetwork.core: {choices: [gru, tcn]}\n")
    trial = optuna.create_study().ask()
    assert found["network.hidden"].suggest(trial, "network.hidden") in range(4, 9)
    assert found["network.core"].suggest(trial, "network.core") in ("gru", "tcn")
    assert isinstance(tune.Range(low=0.0, high=1).suggest(trial, "network.dropout"), float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pretrain.quantiles: {choices: [1]}\n", "pretrain.quantiles would change what is compared"),
        ("network.hidden: {low: 4}\n", "either low and high, or choices"),
        ("network.hidden: {low: 8, high: 4}\n", "low is below high"),
        ("network.hidden: {low: 0, high: 4, log: true}\n", "begins above 0"),
        ("{}\n", "names no key"),
        ("network.hidden: {lo: 4, high: 8}\n", "lo"),
        (": : :", "cannot be read"),
    ],
)
def test_a_space_that_cannot_hold_is_refused_with_the_reason(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        space(tmp_path, text)


def test_the_shipped_space_is_sound():
    from pathlib import Path

    assert "network.core" in tune.read_space(Path(__file__).parents[1] / "configs/search/network.yaml")


def test_a_grid_tries_every_combination_to_its_end(small, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    keys = {"network.core": tune.Range(choices=("gru", "tcn")), "seed": tune.Range(choices=(0, 1))}
    storage = f"sqlite:///{tmp_path / 'tune.db'}"

    def search(trials):
        return tune.tune(small.config_path, (), keys, small.lake, tmp_path / "out", trials, storage, grid=True)

    search(3)
    rows = tune.trial_rows(search(20))
    assert sorted((row["network.core"], row["seed"]) for row in rows) == [
        ("gru", 0), ("gru", 1), ("tcn", 0), ("tcn", 1),
    ]  # fmt: skip
    assert all(row["state"] == "complete" and row["frames_per_second"] > 0 for row in rows)
    with pytest.raises(ConfigError, match=r"network\.hidden: a grid needs choices"):
        tune.combinations({"network.hidden": tune.Range(low=4, high=8)})


def test_a_search_goes_on_where_it_stopped_and_every_trial_is_a_child_run(small, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    keys = {"network.hidden": tune.Range(low=4, high=8), "pretrain.learning_rate": tune.Range(low=1e-3, high=1e-2)}
    storage = f"sqlite:///{tmp_path / 'tune.db'}"

    def search(trials):
        return tune.tune(
            small.config_path,
            (),
            keys,
            small.lake,
            tmp_path / "out",
            trials,
            storage,
        )

    assert len(search(1).trials) == 1
    found = search(3)
    assert len(found.trials) == 3
    assert len(search(3).trials) == 3, "nothing is left to do"
    rows = tune.trial_rows(found)
    assert [row["val_loss"] for row in rows] == sorted(row["val_loss"] for row in rows)
    assert {text.partition("=")[0] for text in tune.best_overrides(found)} == set(keys)
    children = track.mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.`squeeze.level` = 'trial'", output_format="list"
    )
    assert len(children) == 3
    assert {float(run.data.metrics["val_loss"]) for run in children} == {row["val_loss"] for row in rows}
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in children}
    assert track.mlflow.get_run(parent).data.tags["squeeze.level"] == "search"


def test_a_trial_that_lags_behind_is_pruned_and_says_when():
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    trial = study.ask()
    told = tune._pruner(trial)
    told(1, 0.5)
    with pytest.raises(optuna.TrialPruned, match="after epoch 2"):
        told(2, 1.5)
