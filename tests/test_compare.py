"""`squeeze compare` shows what is tracked, in few queries, and says clearly where there is nothing."""

import json

import mlflow
import pytest
from tracking import empty_store, figures, keep, seed_node

from squeeze.cli import main
from squeeze.errors import TrackingError
from training.tracking import compare, spool, track

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two seeds of one recipe and an older one of another, and a baseline; of a second task one run."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("compare")
        patched.chdir(folder)
        patched.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        keep(seed_node(0, recipe="old"))
        keep(seed_node(0), seed_node(1))
        keep(seed_node(0, model="volatility", scored="validation"), model="volatility")
        keep(seed_node(7), task="other")
        assert spool.sync().kept == 0
        yield


def told(capsys, *words):
    assert main(["compare", *words]) == 0
    return capsys.readouterr().out


def test_the_terminal_has_a_line_for_each_seed_and_side_and_the_mean_over_seeds(store, capsys):
    lines = told(capsys, "--task", "small", "--models", "network").splitlines()
    head = lines[0].split("  ")
    assert [name.strip() for name in head if name.strip()] == [
        "task", "model", "seed", "side", "AP", "base", "gain [95 %]", "map gain [95 %]", "AUC", "Brier skill", "slope",
        "episodes", "scored", "commit", "date",
    ]  # fmt: skip
    assert [line.split()[2:4] for line in lines[1:]] == [
        ["1", "long"], ["0", "long"], ["mean", "of"], ["1", "short"], ["0", "short"], ["mean", "of"],
    ]  # fmt: skip
    said = figures(0)
    assert f"{said['long_ap']:.3f}" in lines[2]
    gain = "{long_ap_gain:+.3f} [{long_ap_gain_low:+.3f}, {long_ap_gain_high:+.3f}]".format(**said)
    assert gain in lines[2]
    assert "0123456789ab" in lines[2]
    aps = [figures(seed)["long_ap"] for seed in (0, 1)]
    assert f"{sum(aps) / 2:.3f} ± {abs(aps[0] - aps[1]) / 2**0.5:.3f}" in lines[3]


def test_json_has_the_numbers_and_the_runs(store, capsys):
    rows = json.loads(told(capsys, "--json", "--task", "small"))
    assert {(row["model"], row["seed"], row["side"]) for row in rows} == {
        (*model, side)
        for model in (("network", "0"), ("network", "1"), ("network", "mean of 2"), ("volatility", "0"))
        for side in ("long", "short")
    }
    (row,) = (r for r in rows if (r["model"], r["seed"], r["side"]) == ("network", "1", "short"))
    assert row["ap"] == figures(1)["short_ap"]
    assert mlflow.get_run(row["run"]).data.tags["squeeze.name"] == "seed 1"
    (mean,) = (r for r in rows if (r["seed"], r["side"]) == ("mean of 2", "short"))
    assert mean["sd"]["ap"] == pytest.approx(abs(figures(0)["short_ap"] - figures(1)["short_ap"]) / 2**0.5)


def test_runs_can_be_picked_and_older_recipes_shown(store, capsys):
    assert {r["model"] for r in json.loads(told(capsys, "--json", "--scored", "validation"))} == {"volatility"}
    assert {r["task"] for r in json.loads(told(capsys, "--json"))} == {"small", "other"}
    every = json.loads(told(capsys, "--json", "--every", "--task", "small", "--models", "network"))
    assert sorted((r["seed"], r["side"]) for r in every) == [
        ("0", "long"), ("0", "long"), ("0", "short"), ("0", "short"), ("1", "long"), ("1", "short"),
    ]  # fmt: skip


def test_a_query_for_each_level_is_enough(store, monkeypatch):
    asked, real = [], mlflow.MlflowClient.search_runs
    monkeypatch.setattr(
        mlflow.MlflowClient, "search_runs", lambda *a, **k: (asked.append(a), real(*a, **k))[1]
    )  # fmt: skip
    assert len(track.seeds(track.existing())) == 5
    assert len(asked) == 3


def test_where_nothing_fits_it_says_what_there_is(store, capsys):
    assert main(["compare", "--task", "nothing"]) == 2
    assert "no tracked run fits" in (said := capsys.readouterr().err)
    assert "other/network, small/network, small/volatility" in said


def test_where_nothing_is_tracked_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["compare"]) == 2
    assert "no tracking store at mlflow.db" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    assert main(["compare"]) == 2
    assert "nothing is tracked" in capsys.readouterr().err


def test_runs_of_earlier_releases_are_shown_with_what_they_have(store):
    with pytest.raises(TrackingError, match="holds no run"):
        compare.chosen([], None, (), None, False)
    (seed, *_) = track.seeds(track.existing())
    bare = seed.run
    kept = mlflow.entities.Run(
        bare.info, mlflow.entities.RunData(
            [mlflow.entities.Metric("long_ap", 0.25, 0, 0)], [mlflow.entities.Param("commit", "abc")],
            [mlflow.entities.RunTag("squeeze.name", "seed 0")],
        ),
    )  # fmt: skip
    row = compare.rows([track.SeedRun("task", "model", kept)])[0]
    assert (row["ap"], row["auc"], row["commit"], row["scored"]) == (0.25, None, "abc", "")
    assert compare.told(row)["AP"] == "0.250"
    assert compare.told(row)["AUC"] == "-"
