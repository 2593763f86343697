"""The gate before `champion`: what a model must show, on rows that were scored once, before it may be loaded by that
name.

Every criterion holds for each side, and all of them must hold:

    scored        its rows are test blocks, and its predictions and the baselines' on them are kept
    episodes      at least 50 separate events; fewer are inconclusive, whatever an interval says
    baseline      better in AP than the best baseline: the lower end of the paired 95 % interval lies above zero
    champion      better, just so, than the present champion on the rows that both answered, nearly all of them
    calibration   the slope of the logistic recalibration lies between 0.8 and 1.2
    parity        torch and ONNX Runtime agreed when the file was written
    latency       one step of its graph, measured here

A task with few events has no champion by this rule. Its first one may be let through by hand (`first`): then the count
of episodes, and only that, is waived, the verdict says so, and the next one must pass everything again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from squeeze.arrays import SIDES
from squeeze.engine import OUTPUTS, open_session
from squeeze.errors import TrackingError
from squeeze.market.events import DAY_NS
from squeeze.model_file import read
from squeeze.outcomes.rows import episodes
from squeeze.strict import Strict, require
from training.evaluation.metrics import ENOUGH_EPISODES, ap_gain, recalibration
from training.export import PROBABILITY_TOLERANCE, STATE_TOLERANCE


class GateSpec(Strict, frozen=True, kw_only=True):
    """The borders of the gate."""

    episodes: int = ENOUGH_EPISODES
    """Least number of separate events on each side."""
    slope: tuple[float, float] = (0.8, 1.2)
    """Borders of the calibration slope."""
    common_rows: float = 0.9
    """Least share of the rows that the champion answered too."""
    parity_probability: float = PROBABILITY_TOLERANCE
    """Largest difference of a probability between torch and ONNX Runtime."""
    parity_state: float = STATE_TOLERANCE
    """Likewise of the carried state."""
    p50_microseconds: float = 250.0
    """Median of a step; looser than what `make bench` must reach, since promotion runs on any machine."""
    p99_microseconds: float = 1000.0
    """99th percentile of a step."""
    draws: int = 2000
    """Of the bootstrap behind the intervals."""

    def __post_init__(self) -> None:
        require(self.slope[0] < self.slope[1], "slope has its lower border first")
        require(0 < self.common_rows <= 1, "common_rows is a share")
        require(self.draws >= 100, "draws is at least 100")


class Criterion(msgspec.Struct, frozen=True):
    """One thing that was asked, on one side or on both."""

    name: str
    side: str
    passed: bool
    said: str
    """The numbers, and why it did not pass."""


class Verdict(msgspec.Struct, frozen=True):
    """What the gate found."""

    passed: bool
    criteria: tuple[Criterion, ...]
    spec: GateSpec

    @property
    def reason(self) -> str:
        """What failed, in a line."""
        return "; ".join(f"{c.name} ({c.side}): {c.said}" for c in self.criteria if not c.passed) or "all criteria hold"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Rows of one run at the watched horizon in rising time; arrays are (row, side), NaN where it abstained."""

    ts_ns: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    rivals: Mapping[str, np.ndarray]
    """Baselines' probabilities on the same rows."""


def scored(predictions: Path, rivals: Path | None, minutes: int) -> Scored:
    """A run's rows from its artefacts; `TrackingError` where they do not fit together."""
    table = pd.read_parquet(predictions).sort_values("ts", ignore_index=True)
    columns = [np.column_stack([table[f"{what}_{side}_{minutes}"] for side in SIDES]) for what in ("y", "p")]
    others: dict[str, np.ndarray] = {}
    if rivals is not None:
        beside = pd.read_parquet(rivals).sort_values("ts", ignore_index=True)
        if not beside["ts"].equals(table["ts"]):
            raise TrackingError("the baselines were not predicted on the rows of the run")
        names = dict.fromkeys(column[2:].rpartition("_")[0] for column in beside if column != "ts")
        others = {name: np.column_stack([beside[f"p_{name}_{side}"] for side in SIDES]) for name in names}
    return Scored(table["ts"].dt.as_unit("ns").astype("int64").to_numpy(), columns[0].astype(bool), columns[1], others)


def judge(
    candidate: Scored,
    champion: Scored | None,
    on_test: bool,
    figures: Mapping[str, float],
    latency: tuple[float, float],
    *,
    first: bool = False,
    spec: GateSpec | None = None,
) -> Verdict:
    """Hold a run against the gate.

    `figures` are its tracked metrics, which hold the parity found at export; `latency` is p50 and p99 in microseconds.
    With `first`, and without a champion, the count of episodes is waived.
    """
    spec = spec or GateSpec()
    found = [_scored(candidate, on_test)]
    for s, side in enumerate(SIDES):
        found += [
            _episodes(candidate, s, side, first and champion is None, spec),
            _baseline(candidate, s, side, spec),
            _champion(candidate, champion, s, side, spec),
            _calibration(candidate, s, side, spec),
        ]
    found += [_parity(figures, spec), _latency(latency, spec)]
    return Verdict(all(c.passed for c in found), tuple(found), spec)


def _scored(candidate: Scored, on_test: bool) -> Criterion:
    said = f"{len(candidate.ts_ns)} rows of {'test' if on_test else 'validation'} blocks"
    return Criterion("scored", "both", on_test, said if on_test else f"{said}; test blocks are needed")


def _episodes(candidate: Scored, s: int, side: str, waived: bool, spec: GateSpec) -> Criterion:
    answered = np.isfinite(candidate.probability[:, s])
    count = int(episodes(candidate.ts_ns[answered], candidate.truth[answered, s]))
    said = f"{count} episodes" + (f", under {spec.episodes}: inconclusive" if count < spec.episodes else "")
    waived = waived and 0 < count < spec.episodes
    return Criterion("episodes", side, count >= spec.episodes or waived, said + "; waived by hand" * waived)


def _baseline(candidate: Scored, s: int, side: str, spec: GateSpec) -> Criterion:
    if not candidate.rivals:
        return Criterion("baseline", side, False, "no baseline's predictions were kept with the run")
    found = {name: _gain(candidate, candidate.truth, p, s, spec) for name, p in candidate.rivals.items()}
    best = min(found, key=lambda name: found[name][0])
    return Criterion("baseline", side, found[best][1] > 0, f"{_told(found[best])} over {best}")


def _champion(candidate: Scored, champion: Scored | None, s: int, side: str, spec: GateSpec) -> Criterion:
    if champion is None:
        return Criterion("champion", side, True, "there is none yet")
    common, here, there = np.intersect1d(candidate.ts_ns, champion.ts_ns, return_indices=True)
    if len(common) < spec.common_rows * len(candidate.ts_ns):
        said = f"it was scored on {len(common)} of these {len(candidate.ts_ns)} rows; {spec.common_rows:.0%} are needed"
        return Criterion("champion", side, False, said)
    if (candidate.truth[here, s] != champion.truth[there, s]).any():
        return Criterion("champion", side, False, "it was scored on other labels")
    shared = Scored(common, candidate.truth[here], candidate.probability[here], {})
    gain = _gain(shared, shared.truth, champion.probability[there], s, spec)
    return Criterion("champion", side, gain[1] > 0, f"{_told(gain)} over it")


def _gain(rows: Scored, truth: np.ndarray, rival: np.ndarray, s: int, spec: GateSpec) -> tuple[float, float, float]:
    both = np.isfinite(rows.probability[:, s]) & np.isfinite(rival[:, s])
    y, p, q = (a[both, s] for a in (truth, rows.probability, rival))
    if not y.any() or y.all():
        return (np.nan,) * 3
    return ap_gain(y, p, q, rows.ts_ns[both] // DAY_NS, draws=spec.draws)


def _told(gain: tuple[float, float, float]) -> str:
    return "AP {:+.4f}, 95 % interval [{:+.4f}, {:+.4f}]".format(*gain)


def _calibration(candidate: Scored, s: int, side: str, spec: GateSpec) -> Criterion:
    answered = np.isfinite(candidate.probability[:, s])
    truth, p = candidate.truth[answered, s], candidate.probability[answered, s]
    slope = recalibration(truth, p)[0] if truth.any() and not truth.all() else np.nan
    low, high = spec.slope
    return Criterion("calibration", side, low <= slope <= high, f"slope {slope:.3f}, allowed are {low} to {high}")


def _parity(figures: Mapping[str, float], spec: GateSpec) -> Criterion:
    p, state = (figures.get(f"parity_{name}", np.nan) for name in ("probability", "state"))
    passed = p <= spec.parity_probability and state <= spec.parity_state
    return Criterion("parity", "both", passed, f"largest difference {p:.1e} in p and {state:.1e} in state")


def _latency(latency: tuple[float, float], spec: GateSpec) -> Criterion:
    p50, p99 = latency
    passed = p50 <= spec.p50_microseconds and p99 <= spec.p99_microseconds
    said = f"p50 {p50:.0f} µs, p99 {p99:.0f} µs; allowed {spec.p50_microseconds:g} and {spec.p99_microseconds:g}"
    return Criterion("latency", "both", passed, said)


def latency(path: Path, steps: int = 2000, rounds: int = 3) -> tuple[float, float]:
    """p50 and p99 in microseconds of one step of a model file's graph, its state carried; of the round that was
    disturbed least.
    """
    session = open_session(read(path)[0], str(path))
    rng = np.random.default_rng(0)
    shapes = {t.name: [len(SIDES), *t.shape[1:]] for t in session.get_inputs()}
    inputs = {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}
    best = (np.inf, np.inf)
    for _ in range(rounds):
        taken_ns = np.empty(steps)
        for step in range(steps):
            begin_ns = time.perf_counter_ns()
            _, inputs["state"] = session.run(OUTPUTS, inputs)
            taken_ns[step] = time.perf_counter_ns() - begin_ns
        p50, p99 = (float(value) for value in np.percentile(taken_ns / 1000, [50, 99]))
        best = min(best, (p50, p99), key=lambda pair: pair[1])
    return best
