"""Controls run and compared: every one with the same seeds as the model, paired on the same rows."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

import training
from squeeze.arrays import SIDES
from squeeze.errors import ConfigError
from squeeze.files import whole
from squeeze.market.events import DAY_NS
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import episodes
from training import runs
from training.config import RunConfig
from training.controls.controls import CONTROLS, FULL, Control
from training.evaluation.bootstrap import (
    ENOUGH_EPISODES,
    Draws,
    Gain,
    draw_runs,
    interval,
    mean_figures,
    rankings_per_draw,
    verdict,
)
from training.evaluation.pools import Pooled, pool, watched
from training.examples import Progress, silent
from training.prepare import Prepared, prepare
from training.tracking import ledger
from training.tracking.environment import commit
from training.walk import Trained, walk

MASKED = "masked"
"""The control whose difference is `ap_gain_map`."""


class ControlRow(msgspec.Struct, frozen=True):
    """One control and side. What is compared is the mean of the seeds' figures, on rows that all of them answered."""

    control: str
    says: str
    side: str
    ap: float
    ap_sd: float
    """Over seeds; NaN for one."""
    ap_by_seed: tuple[float, ...]
    auc: float
    base_rate: float
    gain: Gain
    """AP of the model over the control's, with a 95 % interval; where labels were changed, the control's over its base
    rate.
    """
    gain_sd: float
    """Over seeds; NaN for one."""
    episodes: int
    verdict: str


class ControlReport(msgspec.Struct, frozen=True):
    """What `squeeze controls` prints and keeps."""

    task: str
    scored: str
    """`validation`, or `test`."""
    seeds: tuple[int, ...]
    commit: str
    data_digest: str
    rows: tuple[ControlRow, ...]

    def ap_gain_map(self) -> dict[str, Gain]:
        """By side: what the map adds to the same network, seeds and recipe; empty where `masked` was not run."""
        return {row.side: row.gain for row in self.rows if row.control == MASKED}


def named(names: Iterable[str]) -> list[Control]:
    """Controls by their names; `ConfigError` for one that does not exist."""
    names = list(names)
    if unknown := [name for name in names if name not in CONTROLS]:
        raise ConfigError(f"no control is called {', '.join(unknown)}; there are {', '.join(CONTROLS)}")
    return [CONTROLS[name] for name in names]


def run_controls(
    config: RunConfig, lake: Lake, out: Path, controls: Sequence[Control] = tuple(CONTROLS.values()),
    seeds: Sequence[int] | None = None, progress: Progress = silent, *, looks: Path | None = None,
) -> ControlReport:  # fmt: skip
    """Train the model and every control on each seed, and compare them on the validation blocks.

    What is trained is kept under `out/controls/<task>`, so that an interrupted run goes on where it was. With `looks`,
    the ledger, on the test blocks instead: each control is then a look, which is written down there.
    """
    seeds = tuple(seeds or (config.seed,))
    prepared = prepare(config, lake, out / "examples", progress)
    full: list[Pooled] = []
    found: list[ControlRow] = []
    for control in (FULL, *controls):
        pools = []
        changed = prepared if control.config is None else _folded(control, config, lake, out, progress)
        changed = control.prepared(changed)
        for seed in seeds:
            seeded = replace(changed, config=msgspec.structs.replace(changed.config, seed=seed))
            pools.append(
                validated(control, seeded, out, progress)
                if looks is None
                else _tested(control, seeded, out, progress, looks)
            )
        full = full or pools
        found += rows_of(control, full, pools)
    scored = "validation" if looks is None else "test"
    return ControlReport(config.task, scored, seeds, commit(), prepared.digest, tuple(found))


def _folded(control: Control, config: RunConfig, lake: Lake, out: Path, progress: Progress) -> Prepared:
    return prepare(control.config(config) if control.config else config, lake, out / "examples", progress)


def validated(control: Control, prepared: Prepared, out: Path, progress: Progress) -> Pooled:
    """The validation rows of one control and seed at the watched horizon, trained unless just that was done before."""
    kept = out / "controls" / prepared.config.task / f"{_address(control, prepared)}.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as arrays:
            return Pooled(*(arrays[name] for name in Pooled.__struct_fields__))
    with walked(control, prepared, out, progress) as trained:
        pooled = pool(trained.validation, watched(prepared.config))
        with whole(kept) as part, part.open("wb") as file:
            np.savez(file, **msgspec.structs.asdict(pooled))
    return pooled


def _tested(control: Control, prepared: Prepared, out: Path, progress: Progress, looks: Path) -> Pooled:
    """The same of the test rows, which is a look; the run is kept."""
    config = prepared.config
    with walked(control, prepared, out, progress) as trained:
        run = runs.save(prepared, trained, out / "controls" / config.task / f"{control.name}-{config.seed}")
    number = ledger.look(looks, run, f"controls {control.name}")
    pooled = pool(trained.blocks, watched(config))
    ledger.complete(looks, number, {side: row["ap"] for side, row in pooled.figures().items()})
    return pooled


@contextmanager
def walked(control: Control, prepared: Prepared, out: Path, progress: Progress) -> Iterator[Trained]:
    """One control and seed, trained; an interrupted training goes on where it was, until the block is left."""
    checkpoints = out / "checkpoints" / prepared.config.task / f"{control.name}, seed {prepared.config.seed}"
    yield walk(prepared, _telling(control, prepared, progress), checkpoints)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _telling(control: Control, prepared: Prepared, progress: Progress) -> Progress:
    return lambda what, done, total: progress(f"{control.name}, seed {prepared.config.seed}: {what}", done, total)


def _address(control: Control, prepared: Prepared) -> str:
    """What the outcome depends on: the control, the run, the frames, and the code that trains."""
    said = [control.name, msgspec.json.encode(prepared.config, order="sorted").decode(), torch.__version__]
    said += [prepared.digest, *(examples.digest for examples in prepared.series)]
    code = [file.read_bytes() for file in sorted(Path(training.__file__).parent.rglob("*.py"))]
    return hashlib.sha256("\n".join(said).encode() + b"".join(code)).hexdigest()[:24]


def rows_of(control: Control, full: Sequence[Pooled], pools: Sequence[Pooled]) -> list[ControlRow]:
    """A control beside the model, by side; both are given as their seeds' rows, in the same order."""
    return [_row(control, s, full, pools) for s in range(len(SIDES))]


def _row(control: Control, s: int, full: Sequence[Pooled], pools: Sequence[Pooled]) -> ControlRow:
    said = np.logical_and.reduce([np.isfinite(p.probability[:, s]) for p in (*full, *pools)])
    ts, truth = pools[0].ts_ns[said], pools[0].truth[said, s]
    draws = draw_runs(ts // DAY_NS)
    figures = [rankings_per_draw(truth, p.probability[said, s], draws) for p in pools]
    aps = np.array([each["ap"] for each in figures])
    if control.labels:
        gains = aps - _base_rates(truth, draws)
    else:
        gains = np.array([rankings_per_draw(truth, p.probability[said, s], draws)["ap"] for p in full]) - aps
    gain, count = interval(gains.mean(axis=0)), episodes(ts, truth)
    return ControlRow(
        control.name, control.says, SIDES[s], float(aps[:, 0].mean()), _deviation(aps[:, 0]),
        tuple(aps[:, 0].tolist()), float(mean_figures(figures)["auc"][0]), float(truth.mean()), gain,
        _deviation(gains[:, 0]), count, _verdict(control, gain, count),
    )  # fmt: skip


def _base_rates(truth: np.ndarray, draws: Draws) -> np.ndarray:
    """Share of positive rows in every draw: the AP of what knows nothing."""
    rates: np.ndarray = draws.times @ draws.per_run(truth) / (draws.times @ draws.per_run(np.ones(len(truth))))
    return rates


def _verdict(control: Control, gain: Gain, count: int) -> str:
    if control is FULL:
        return ""
    if not control.labels or count < ENOUGH_EPISODES:
        return verdict(gain, count)
    if not np.isfinite([gain.observed, gain.low]).all():
        return "no figure to compare"
    return "at the base rate" if gain.low <= 0 else "above the base rate: something leaks"


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def table(report: ControlReport) -> list[dict[str, object]]:
    """One line per control and side, for people."""
    lines: list[dict[str, object]] = []
    for row in report.rows:
        spread = "" if np.isnan(row.ap_sd) else f" ± {row.ap_sd:.3f}"
        gain = row.gain
        said = "" if row.control == FULL.name else f"{gain.observed:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        lines.append({
            "control": row.control, "side": row.side,
            "AP": f"{row.ap:.3f}{spread}", "base rate": f"{row.base_rate:.3f}",
            "AUC": f"{row.auc:.3f}", "gain over it": said, "episodes": row.episodes, "verdict": row.verdict,
        })  # fmt: skip
    return lines


def kept_at(out: Path, task: str) -> Path:
    """Where `squeeze controls` keeps a task's report."""
    return out / "controls" / f"{task}.json"


def gain_metrics(path: Path, data_digest: str, scored: str) -> dict[str, float]:
    """`ap_gain_map` with its interval by side, as the tracker names it, from a kept report of the same data and the
    same kind of rows; nothing where there is none.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes())  # plain: a figure that does not exist is null there
    except (OSError, msgspec.MsgspecError):
        return {}
    if (kept["data_digest"], kept["scored"]) != (data_digest, scored):
        return {}
    return {
        f"{row['side']}_ap_gain_map{part}": row["gain"][name]
        for row in kept["rows"]
        if row["control"] == MASKED
        for part, name in (("", "observed"), ("_low", "low"), ("_high", "high"))
        if row["gain"][name] is not None
    }


def write(report: ControlReport, path: Path) -> None:
    """The report as JSON; a figure that does not exist is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
