"""From recordings to score: the runner of the referee's tasks, on the small run with a referee of its own."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import average_precision_score
from small import SMALL
from tracking import empty_store

from squeeze.cli import main
from squeeze.errors import DataError, UserError
from squeeze.market.events import DAY_NS
from squeeze.strict import utc_ns
from training import referee
from training.baselines import catalogue as baselines
from training.evaluation.assess import assess_trained
from training.evaluation.metrics import ap_gain
from training.evaluation.pools import pool
from training.evaluation.report import EARLIER, ORACLE
from training.real import real, since, write_predictions
from training.tracking import track

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own
REFEREE = """
import json, sys
from pathlib import Path
import numpy as np
import pandas as pd
SIDES = ("long", "short")
NAMES = ("logistic-simple", "logistic-all", "boosting", "reference")
def small(data):
    rows = pd.read_parquet(Path(__file__).with_name("rows.parquet")).set_index("ts")
    return rows, rows, None
TASKS = {"small": small}
def references(x, y, span):
    found = {(n, s): np.random.default_rng([i, len(s)]).random(len(y)) for i, n in enumerate(NAMES) for s in SIDES}
    return pd.DataFrame(found | {(n, s): 0 for n in ("rate", "block") for s in SIDES}, index=y.index)
def main(what, task, data, predictions, _, out, *after):
    table = pd.read_parquet(predictions)
    assert list(table) == ["ts", "p_long", "p_short"], list(table)
    assert table.notna().all(axis=None) and table.ts.is_unique and str(table.ts.dt.tz) == "UTC"
    table = table[table.ts >= pd.Timestamp(after[1], tz="UTC")] if after else table
    figures = {"ap": 0.5, "auc": 0.75, "brier_skill": 0.1, "slope": 1.0, "ece": 0.01, "intercept": 0.0}
    model = figures | {"ap_gain": [0.1, 0.05, 0.2], "brier_gain": [0.1, 0.0, 0.2]}
    side = {"positives": 3, "episodes": 3, "inconclusive": True, "base_rate": 0.1, "model": model}
    side |= {name: figures for name in NAMES}
    quiet = side | {"positives": 0, "base_rate": 0.0, "model": {}} if after else side
    quiet = {k: v for k, v in quiet.items() if v != {}}
    report = {"task": task, "rows": len(table), "sides": {"long": side, "short": quiet}}
    Path(out).write_text(json.dumps(report))
if __name__ == "__main__":
    main(*sys.argv[1:])
"""
NAMES = (referee.REFERENCE, *referee.MEMBERS)
AFTER = "2025-01-12T00:00"


def test_a_row_without_an_answer_holds_the_training_base_rate(finished, tmp_path):
    path = tmp_path / "deep" / "small.parquet"
    write_predictions(finished.trained, 1, path)
    table, pooled = pd.read_parquet(path), pool(finished.trained.blocks, 1)
    silent = np.isnan(pooled.probability[:, 0])
    assert silent.sum() > 10
    assert (table.ts.astype("int64").to_numpy() == pooled.ts_ns).all()
    assert str(table.ts.dt.tz) == "UTC"
    for s, side in enumerate(("long", "short")):
        np.testing.assert_array_equal(table[f"p_{side}"][silent], pooled.base_rate[silent, s])
        np.testing.assert_array_equal(table[f"p_{side}"][~silent], pooled.probability[~silent, s])
    assert [p.name for p in path.parent.iterdir()] == ["small.parquet"]


def test_what_is_scored_from_a_time_on_is_cut_alike_for_everyone(finished, monkeypatch):
    some = {name: baselines.BASELINES[name] for name in ("climatology", "volatility")}
    monkeypatch.setattr(baselines, "BASELINES", some)
    whole, after_ns = finished.trained, utc_ns(AFTER)
    cut = since(whole, after_ns)
    kept = pool(whole.blocks, 1).ts_ns >= after_ns
    assert 0 < kept.sum() < len(kept)
    found = assess_trained(finished.prepared, cut, None, test=True)
    uncut = assess_trained(finished.prepared, whole, None, test=True)
    assert set(found.pools) == set(uncut.pools) > {"network", "climatology"}
    for name, rows in found.pools.items():
        for part in ("ts_ns", "truth", "probability", "base_rate"):
            np.testing.assert_array_equal(getattr(rows, part), getattr(uncut.pools[name], part)[kept])
    for regime, place in found.market.regimes.items():
        np.testing.assert_array_equal(place, uncut.market.regimes[regime][kept])
    assert {entry.rows for entry in found.report.entries} == {kept.sum()}
    thresholds = [
        [alarm.figures.threshold for entry in each.report.entries for alarm in entry.alarms if alarm.found_on != ORACLE]
        for each in (found, uncut)
    ]
    assert thresholds[0] == thresholds[1]  # from validation rows, which no cut touches
    assert {alarm.found_on for entry in found.report.entries for alarm in entry.alarms} == {EARLIER, ORACLE}
    assert since(whole, None) is whole
    with pytest.raises(DataError, match="no test row from 2030-01-01"):
        since(whole, utc_ns("2030-01-01"))


def test_the_gain_over_the_reference_and_each_member_is_paired_on_the_referees_rows():
    """Hourly rows of forty days; the model knows more than any member, the reference is its members' mean."""
    rng, n = np.random.default_rng(0), 960
    ts = pd.date_range("2025-01-01", periods=n, freq="h", tz="UTC")
    risk = np.repeat(rng.normal(0, 2, (n // 6, 2)), 6, axis=0)
    truth = rng.random((n, 2)) < 1 / (1 + np.exp(3 - risk))
    table, predicted = {"ts": ts}, {"ts": ts.as_unit("us")}
    for s, side in enumerate(("long", "short")):
        table[f"y_{side}"], predicted[f"p_{side}"] = truth[:, s], 1 / (1 + np.exp(3 - risk[:, s]))
        for name in (referee.REFERENCE, *referee.MEMBERS):
            table[f"p_{name}_{side}"] = 1 / (1 + np.exp(3 - risk[:, s] / 2 + rng.normal(0, 1, n)))
    after = pd.Timestamp("2025-01-11", tz="UTC")
    later = np.asarray(ts >= after)
    table, predicted = pd.DataFrame(table), pd.DataFrame(predicted)[::-1]
    found = referee.gains(table, predicted, after.value)
    assert [(one.side, one.rival) for one in found] == [
        (side, name) for side in ("long", "short") for name in (referee.REFERENCE, *referee.MEMBERS)
    ]
    one = found[5]
    p, q = (t.set_index("ts").sort_index()[name].to_numpy()[later] for t, name in (
        (predicted, "p_short"), (table, "p_logistic-simple_short"),
    ))  # fmt: skip
    days = ts[later].as_unit("ns").asi8 // DAY_NS
    expected = ap_gain(truth[later, 1], p, q, days)
    gain = one.gains["ap"].gain
    assert (gain.observed, gain.low, gain.high) == pytest.approx(expected)
    assert (one.ap, one.rival_ap) == pytest.approx([average_precision_score(truth[later, 1], each) for each in (p, q)])
    assert gain.low > 0
    assert one.gains["ap"].verdict == "inconclusive: under 50 episodes"
    lows = {each.rival: each.gains["ap"].gain.low for each in found if each.side == "short"}
    assert referee.closest(found, "short").rival == min(referee.MEMBERS, key=lows.get)
    with pytest.raises(DataError, match="1 rows of the referee have no prediction"):
        referee.gains(table, predicted[1:])
    times = ts.as_unit("ns").asi8
    referee.require_same_rows(table, times[later], after.value)
    for other in (times, times[later][1:], times[later] + 1):
        with pytest.raises(DataError, match=rf"has {later.sum()} test rows, this run {len(other)}"):
            referee.require_same_rows(table, other, after.value)


def test_without_a_referee_nothing_is_begun(small, tmp_path):
    with pytest.raises(UserError, match="no referee here; say where with --referee"):
        real([small.config_path], tmp_path, None, None, tmp_path / "out", tmp_path / "looks", (), lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_a_time_that_is_none_is_refused_before_anything_is_done(small, tmp_path):
    (tmp_path / "referee.py").write_text("")
    with pytest.raises(UserError, match="expected a UTC time"):
        real(
            [small.config_path], tmp_path, tmp_path / "referee.py", "soon", tmp_path / "out", tmp_path / "looks", (),
            lambda *_: None,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One folder for all, so that lake and frames are made once."""
    return tmp_path_factory.mktemp("real")


@pytest.fixture
def task(small, finished, light, out, tmp_path, monkeypatch):
    """The small run as a task with a mapping to import, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    (tmp_path / "configs").mkdir()
    mapping = tmp_path / "configs" / "mapping.yaml"
    mapping.write_text(small.mapping.read_text())
    config = tmp_path / "configs" / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL | {"imports": ["mapping.yaml"]}))
    (tmp_path / "referee.py").write_text(REFEREE)
    rows = pool(finished.trained.blocks, 1)
    truth = {"ts": pd.to_datetime(rows.ts_ns, utc=True), "long": rows.truth[:, 0], "short": rows.truth[:, 1]}
    pd.DataFrame(truth).to_parquet(tmp_path / "rows.parquet")
    return [
        config,
        "--data",
        small.mapping.parent,
        "--referee",
        tmp_path / "referee.py",
        "--ledger",
        tmp_path / "looks",
        "--out",
        out,
    ]


def test_a_task_goes_from_recordings_to_score_and_a_look(task, out, tmp_path, capsys):
    old = out / "score" / "small.json"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_text("an older score")
    # After that time the referee finds no short positive, and gives no figures for that side.
    assert main(["real", *map(str, task), "--after", AFTER, "--json"]) == 0
    said, err = capsys.readouterr()
    rows = json.loads(said)
    assert [(r["task"], r["side"], r["ap"], r["gain"]) for r in rows] == [
        ("small", "long", 0.5, "+0.100 [+0.050, +0.200]"),
        ("small", "short", None, "+nan [+nan, +nan]"),
    ]
    assert all("inconclusive" in r["verdict"] for r in rows)
    predicted = pd.read_parquet(out / "predictions" / "small.parquet")
    cut = int((predicted.ts >= pd.Timestamp(AFTER, tz="UTC")).sum())
    assert json.loads(old.read_text())["rows"] == cut < len(predicted)
    assert (out / "models" / "small.onnx").is_file()
    (look,) = [json.loads(line) for line in (tmp_path / "looks").read_text().splitlines()]
    assert (look["task"], look["command"], look["ap"], look["after"]) == (
        "small",
        "real",
        {"long": 0.5},
        AFTER,
    )
    report = (out / "score" / "small.md").read_text()
    over = report.partition("each of its members")[2].partition("##")[0]
    assert [over.count(f"| {name} | {side} |") for name in NAMES for side in ("long", "short")] == [1] * 8
    assert all(r["least over a member"].endswith(NAMES[1:]) for r in rows)
    tracked = [one.run for one in track.seeds(track.existing()) if one.model == "network"]
    (tags, metrics) = tracked[0].data.tags, tracked[0].data.metrics
    assert (tags[track.OVER], tags[track.AFTER], metrics["rows"]) == ("referee's reference", AFTER, cut)
    told = mlflow.artifacts.load_dict(f"{tracked[0].info.artifact_uri}/report.json")
    assert {entry["rows"] for entry in told["entries"]} == {cut}
    assert len(told["refereed"]) == 8
    for line in ("live channels:", "degraded:", "masked scalars:", "abstained:", "live path:", "looks so far:   1"):
        assert line in err


def test_a_referee_that_refuses_is_quoted_in_one_line_and_the_look_stays_unfinished(task, tmp_path, capsys):
    (tmp_path / "referee.py").write_text(REFEREE.replace("main(*", "raise SystemExit('7 predictions repeat a ts') #"))
    assert main(["real", *map(str, task)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("squeeze real: the referee refuses ")
    assert last.endswith("7 predictions repeat a ts")
    (look,) = [json.loads(line) for line in (tmp_path / "looks").read_text().splitlines()]
    assert (look["task"], look["ap"]) == ("small", {})
    assert issubclass(DataError, UserError)
