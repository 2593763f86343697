"""From recordings to score: the runner of the referee's tasks, on the small run with a referee of its own."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from small import SMALL

from squeeze.cli import main
from squeeze.errors import DataError, UserError
from training.evaluation.pools import pool
from training.real import real, write_predictions

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own
REFEREE = """
import json, sys
import pandas as pd
what, task, data, predictions, _, out, *after = sys.argv[1:]
table = pd.read_parquet(predictions)
assert list(table) == ["ts", "p_long", "p_short"], list(table)
assert table.notna().all(axis=None) and table.ts.is_unique and str(table.ts.dt.tz) == "UTC"
figures = {"ap": 0.5, "auc": 0.75, "brier_skill": 0.1, "slope": 1.0, "ece": 0.01, "intercept": 0.0}
model = figures | {"ap_gain": [0.1, 0.05, 0.2], "brier_gain": [0.1, 0.0, 0.2]}
side = {"positives": 3, "episodes": 3, "inconclusive": True, "base_rate": 0.1, "model": model}
side |= {name: figures for name in ("reference", "logistic-simple", "logistic-all", "boosting")}
quiet = side | {"positives": 0, "base_rate": 0.0, "model": {}} if after else side
quiet = {k: v for k, v in quiet.items() if v != {}}
report = {"task": task, "rows": len(table), "sides": {"long": side, "short": quiet}}
open(out, "w").write(json.dumps(report))
"""


def test_a_row_without_an_answer_holds_the_training_base_rate_and_is_counted(finished, tmp_path):
    path = tmp_path / "deep" / "small.parquet"
    count = write_predictions(finished.trained, 1, path)
    table, pooled = pd.read_parquet(path), pool(finished.trained.blocks, 1)
    silent = np.isnan(pooled.probability[:, 0])
    assert count == silent.sum() > 10
    assert (table.ts.astype("int64").to_numpy() == pooled.ts_ns).all()
    assert str(table.ts.dt.tz) == "UTC"
    for s, side in enumerate(("long", "short")):
        np.testing.assert_array_equal(table[f"p_{side}"][silent], pooled.base_rate[silent, s])
        np.testing.assert_array_equal(table[f"p_{side}"][~silent], pooled.probability[~silent, s])
    assert [p.name for p in path.parent.iterdir()] == ["small.parquet"]


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
def task(small, light, out, tmp_path, monkeypatch):
    """The small run as a task with a mapping to import, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "configs").mkdir()
    mapping = tmp_path / "configs" / "mapping.yaml"
    mapping.write_text(small.mapping.read_text())
    config = tmp_path / "configs" / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL | {"imports": ["mapping.yaml"]}))
    (tmp_path / "referee.py").write_text(REFEREE)
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
    assert main(["real", *map(str, task), "--after", "2025-01-12T00:00", "--json"]) == 0
    said, err = capsys.readouterr()
    rows = json.loads(said)
    assert [(r["task"], r["side"], r["ap"], r["gain"]) for r in rows] == [
        ("small", "long", 0.5, "+0.100 [+0.050, +0.200]"),
        ("small", "short", None, "+nan [+nan, +nan]"),
    ]
    assert all("inconclusive" in r["verdict"] for r in rows)
    assert json.loads(old.read_text())["rows"] == len(pd.read_parquet(out / "predictions" / "small.parquet"))
    assert (out / "models" / "small.onnx").is_file()
    (look,) = [json.loads(line) for line in (tmp_path / "looks").read_text().splitlines()]
    assert (look["task"], look["command"], look["ap"], look["after"]) == (
        "small",
        "real",
        {"long": 0.5},
        "2025-01-12T00:00",
    )
    for line in ("live channels:", "degraded:", "masked scalars:", "abstained:", "live path:", "looks so far:   1"):
        assert line in err


def test_a_referee_that_refuses_is_quoted_in_one_line_and_is_no_look(task, tmp_path, capsys):
    (tmp_path / "referee.py").write_text("raise SystemExit('7 predictions repeat a ts')")
    assert main(["real", *map(str, task)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("squeeze real: the referee refuses ")
    assert last.endswith("7 predictions repeat a ts")
    assert not (tmp_path / "looks").exists()
    assert issubclass(DataError, UserError)
