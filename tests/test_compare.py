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
        keep(seed_node(0, over="boosting"), seed_node(1, over="boosting"))
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
        "task", "model", "seed", "side", "AP", "base", "gain [95 %]", "over", "map gain [95 %]", "AUC", "Brier skill",
        "slope", "episodes", "scored", "commit", "date",
    ]  # fmt: skip
    assert [line.split()[2:4] for line in lines[1:]] == [
        ["0", "long"], ["1", "long"], ["mean", "of"], ["0", "short"], ["1", "short"], ["mean", "of"],
    ]  # fmt: skip
    said = figures(0)
    assert f"{said['long_ap']:.3f}" in lines[1]
    gain = "{long_ap_gain:+.3f} [{long_ap_gain_low:+.3f}, {long_ap_gain_high:+.3f}]".format(**said)
    assert f"{gain}  boosting  " in lines[1]
    assert "0123456789ab" in lines[1]
    for name, sign in (("ap", ""), ("ap_gain", "+"), ("ap_gain_map", "+")):
        values = [figures(seed)[f"long_{name}"] for seed in (0, 1)]
        assert f"{sum(values) / 2:{sign}.3f} ± {abs(values[0] - values[1]) / 2**0.5:.3f}" in lines[3]
    assert "  boosting  " in lines[3]
    assert "[" not in lines[3]


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
    assert mean["over"] == "boosting"
    assert [mean[f"ap_gain{end}"] for end in ("_low", "_high")] == [None, None]
    assert [row[f"ap_gain{end}"] for end in ("_low", "_high")] == [
        figures(1)[f"short_ap_gain{end}"] for end in ("_low", "_high")
    ]


def test_runs_can_be_picked_and_older_recipes_shown(store, capsys):
    assert {r["model"] for r in json.loads(told(capsys, "--json", "--scored", "validation"))} == {"volatility"}
    assert {r["task"] for r in json.loads(told(capsys, "--json"))} == {"small", "other"}
    every = json.loads(told(capsys, "--json", "--every", "--task", "small", "--models", "network"))
    assert sorted((r["seed"], r["side"]) for r in every) == [
        ("0", "long"), ("0", "long"), ("0", "short"), ("0", "short"), ("1", "long"), ("1", "short"),
    ]  # fmt: skip


def run_of(node, started_ms, seed_id="r"):
    """A seed run as the store would give it back, begun at that time."""
    info = mlflow.entities.RunInfo(seed_id, "1", "u", "FINISHED", started_ms, started_ms, "active")
    tags = {**node.tags, track.NAME: node.name}
    held = mlflow.entities.RunData(
        [mlflow.entities.Metric(name, value, 0, 0) for name, value in node.metrics.items()], [],
        [mlflow.entities.RunTag(name, text) for name, text in tags.items()],
    )  # fmt: skip
    return track.SeedRun("small", "network", mlflow.entities.Run(info, held))


def test_what_was_scored_on_other_rows_stands_on_lines_of_its_own_with_a_mean_of_its_own():
    kinds = [("validation", ""), ("test", ""), ("test", "2025-01-12")]
    runs = [
        run_of(seed_node(seed, scored=scored, after=after), 1000 + place, f"{scored}{after}{seed}")
        for place, (scored, after) in enumerate(kinds)
        for seed in (0, 1)
    ]
    rows = compare.rows(compare.chosen(runs, None, (), None, False))
    found = [(row["scored"], row["seed"]) for row in rows if row["side"] == "long"]
    assert found == [
        (scored, seed) for scored in ("test", "test from 2025-01-12", "validation") for seed in ("0", "1", "mean of 2")
    ]
    assert {r["scored"] for r in compare.rows(compare.chosen(runs, None, (), "test", False))} == {
        "test", "test from 2025-01-12",
    }  # fmt: skip


def test_seeds_stand_in_the_order_of_their_numbers_whatever_order_the_store_has():
    """Ten comes after two; the mean has the date and the commit of the run that began last."""
    runs = [run_of(seed_node(seed), 60_000 * minute, str(seed)) for seed, minute in ((10, 3), (0, 9), (2, 1))]
    for order in (runs, runs[::-1]):
        rows = [row for row in compare.rows(compare.chosen(order, None, (), None, False)) if row["side"] == "long"]
        assert [row["seed"] for row in rows] == ["0", "2", "10", "mean of 3"]
        assert rows[-1]["date"] == rows[0]["date"] == "1970-01-01 00:09"


def test_a_mean_of_gains_says_every_model_that_they_are_over():
    runs = [run_of(seed_node(seed, over=over), 1, str(seed)) for seed, over in ((0, "hawkes"), (1, "boosting"))]
    rows = compare.rows(compare.chosen(runs, None, (), None, False))
    assert [row["over"] for row in rows[:3]] == ["hawkes", "boosting", "boosting or hawkes"]


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
    assert compare.told(row)["over"] == "-"
