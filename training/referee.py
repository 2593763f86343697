"""The referee of the recorded tasks, a script of its own: what it scores, and the answers of what it compares with.

It is run in a process of its own and never imported here.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from squeeze.arrays import SIDES
from squeeze.errors import DataError
from squeeze.market.events import DAY_NS
from squeeze.outcomes.rows import episodes
from training.evaluation.bootstrap import draw_runs, figures_per_draw, gains_between, verdict
from training.evaluation.report import PairedGain, RefereedGain

REFERENCE = "reference"
"""The mean, in logits, of its members."""
MEMBERS = ("logistic-simple", "logistic-all", "boosting")
ASK = """
import importlib.util, sys
from pathlib import Path
import pandas as pd
script, task, data, out = sys.argv[1:]
spec = importlib.util.spec_from_file_location("referee", script)
referee = importlib.util.module_from_spec(spec)
spec.loader.exec_module(referee)
x, y, span = referee.TASKS[task](Path(data))
found = referee.references(x, y, span)
table = {f"p_{name}_{side}": found[name, side] for name, side in found.columns if name not in ("rate", "block")}
table |= {f"y_{side}": y.loc[found.index, side] for side in referee.SIDES}
pd.DataFrame(table).rename_axis("ts").reset_index().to_parquet(out, index=False)
"""
"""Its `score` tells only the gain over the reference; each member's own answers come from the same functions."""


def score(referee: Path, task: str, data: Path, predicted: Path, scored: Path, after: str | None) -> dict[str, Any]:
    """The referee's figures of a file of predictions, which it also writes to `scored`; `DataError` if it refuses."""
    command = [str(referee), "score", task, str(data), str(predicted), "--json", str(scored)]
    _run(command + (["--after", after] if after else []), f"the referee refuses {predicted}")
    return json.loads(scored.read_text())


def answers(referee: Path, task: str, data: Path) -> pd.DataFrame:
    """Every test row: `ts`, `y_<side>`, and `p_<name>_<side>` of the reference and its members, walk-forward."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "answers.parquet"
        _run(["-c", ASK, str(referee), task, str(data), str(path)], f"{referee} does not give its members' answers")
        found = pd.read_parquet(path)
    wanted = [f"p_{name}_{side}" for name in (REFERENCE, *MEMBERS) for side in SIDES]
    if missing := [name for name in wanted if name not in found]:
        raise DataError(f"{referee} does not give its members' answers: no {', '.join(missing)}")
    return found


def require_same_rows(answers: pd.DataFrame, ts_ns: np.ndarray, after_ns: int | None = None) -> None:
    """`DataError` unless these are the times of the referee's rows from `after_ns` on, or figures would not compare."""
    theirs = _times_ns(answers)
    theirs = theirs[theirs >= (after_ns or 0)]
    if not np.array_equal(theirs, ts_ns):
        raise DataError(f"the referee has {len(theirs)} test rows, this run {len(ts_ns)}, and they are not the same")


def _times_ns(table: pd.DataFrame) -> np.ndarray:
    return table["ts"].dt.as_unit("ns").astype("int64").to_numpy()


def _run(words: list[str], failed: str) -> None:
    said = subprocess.run([sys.executable, *words], capture_output=True, text=True)  # noqa: S603
    if said.returncode:
        last = ((said.stderr or said.stdout).strip().splitlines() or ["it said nothing"])[-1]
        raise DataError(f"{failed}: {last}")


def gains(answers: pd.DataFrame, predicted: pd.DataFrame, after_ns: int | None = None) -> tuple[RefereedGain, ...]:
    """The predictions of a file beside the reference and each of its members, on the rows from `after_ns` on.

    Drawn as the referee draws, so that the gain over the reference is its own. `DataError` for a row without a
    prediction.
    """
    ts = _times_ns(answers)
    kept = ts >= (after_ns or 0)
    ours = predicted.set_index(_times_ns(predicted)).reindex(ts)[[f"p_{side}" for side in SIDES]]
    if ours.isna().any(axis=None):
        raise DataError(f"{int(ours.isna().any(axis=1).sum())} rows of the referee have no prediction")
    return tuple(
        one
        for side in SIDES
        for one in _side(side, ts[kept], answers[kept], ours[f"p_{side}"].to_numpy()[kept])
    )  # fmt: skip


def _side(side: str, ts: np.ndarray, answers: pd.DataFrame, ours: np.ndarray) -> Iterator[RefereedGain]:
    truth, draws = answers[f"y_{side}"].to_numpy().astype(bool), draw_runs(ts // DAY_NS)
    count, own = episodes(ts, truth), figures_per_draw(truth, ours, draws)
    for name in (REFERENCE, *MEMBERS):
        its = figures_per_draw(truth, answers[f"p_{name}_{side}"].to_numpy(), draws)
        found = {figure: PairedGain(gain, verdict(gain, count)) for figure, gain in gains_between(own, its).items()}
        yield RefereedGain(rival=name, side=side, ap=float(own["ap"][0]), rival_ap=float(its["ap"][0]), gains=found)


def closest(found: tuple[RefereedGain, ...], side: str) -> RefereedGain:
    """The member over which the gain in AP is shown least: whose interval reaches down furthest."""
    members = [one for one in found if one.side == side and one.rival in MEMBERS]
    return min(members, key=lambda one: float(np.nan_to_num(one.gains["ap"].gain.low, nan=-np.inf)))
