"""The referee's tasks from recordings to score: import, build, train, predict, score, track, export, and replay the
last block.

It is a look at the test blocks and a line of the ledger, written before anything is scored. Where the model abstains,
the referee's file holds the training base rate. With `after`, everything that is told, drawn and tracked is of the rows
from that time on, as the referee's figures are; the file still holds all, which the referee asks for.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from squeeze.arrays import SIDES
from squeeze.errors import DataError, SqueezeError, UserError
from squeeze.files import whole
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake, read_events
from squeeze.predictor import Prediction, load
from squeeze.state import Degraded, flag_names
from squeeze.stream import Stream
from squeeze.strict import utc_ns
from training import pipeline, referee
from training.config import RunConfig, day_ns, load_config, utc
from training.controls.runner import gain_metrics, kept_at
from training.evaluation.assess import alarms_of, assess_trained
from training.evaluation.pools import Figures, pool, watched
from training.evaluation.report import RefereedGain
from training.examples import Progress
from training.tracking import ledger, record, track
from training.walk import BlockResult, Trained, Walked

STREAM_TOLERANCE = 1e-6


def real(
    configs: Sequence[Path], data: Path, script: Path | None, after: str | None, out: Path, looks: Path,
    overrides: tuple[str, ...], progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """Run every task by the referee's `script`; a row per task and side for people."""
    script = script or data.parent / "benchmark" / "referee.py"
    if not script.is_file():
        raise UserError(f"{script}: no referee here; say where with --referee")
    if after is not None:
        utc_ns(after)
    loaded = [(path, load_config(path, overrides)) for path in configs]
    rows: list[dict[str, Any]] = []
    for path, config in loaded:
        rows += _task(path, config, data, script, after, out, looks, progress)
    return rows


def _task(
    path: Path,
    config: RunConfig,
    data: Path,
    script: Path,
    after: str | None,
    out: Path,
    looks: Path,
    progress: Progress,
) -> list[dict[str, Any]]:
    predicted, scored, model = (out / kind / f"{config.task}.{ending}" for kind, ending in PRODUCTS)
    for product in (predicted, scored, model):
        product.parent.mkdir(parents=True, exist_ok=True)
        product.unlink(missing_ok=True)
    lake = Lake(out / "lake")
    for number, mapping in enumerate(config.imports, 1):
        kept = sum(file.written.rows_kept for file in import_mapping(path.parent / mapping, data, lake))
        if kept:
            print(f"{mapping}: {kept} rows differ from those in {lake.root}, which were kept", file=sys.stderr)
        progress("importing", number, len(config.imports))
    prepared, trained, run = pipeline.train_task(config, lake, out, progress)
    after_ns = None if after is None else utc_ns(after)
    write_predictions(trained, watched(config), predicted)
    answers = referee.answers(script, config.task, data)
    seen = since(trained, after_ns)
    rows = pool(seen.blocks, watched(config))
    referee.require_same_rows(answers, rows.ts_ns, after_ns)
    count = ledger.look(looks, run, "real", after)
    report = referee.score(script, config.task, data, predicted, scored, after)
    sides = {side: report["sides"][side] for side in SIDES}
    figures = _tracked(sides)
    ledger.complete(looks, count, {side: row["ap"] for side, row in figures.items() if "ap" in row})
    gained = referee.gains(answers, pd.read_parquet(predicted), after_ns)
    scores = {f"{_scored_on(after)}_{name}": value for name, value in track.side_metrics(figures).items()}
    differences = pipeline.export_block(run, pipeline.run_folder(out, config), -1, model, scores, 2000)
    streamed = stream_difference(model, lake, config, trained.blocks[-1], progress)
    abstained = int(np.isnan(rows.probability).any(axis=1).sum())
    extra = {
        "parity_probability": differences[0],
        "parity_state": differences[1],
        "stream_difference": streamed,
        "abstained": abstained,
    }
    found = assess_trained(prepared, seen, lake, test=True, progress=progress)
    found = replace(found, report=msgspec.structs.replace(found.report, refereed=gained))
    figures = {side: row | alarms_of(found, side) for side, row in figures.items()}
    rivals = {f"referee's {name}": _rival(sides, name) for name in (referee.REFERENCE, *referee.MEMBERS)}
    controls = gain_metrics(kept_at(out, config.task), run.data_digest, "test") if after is None else {}
    record.track_run(
        prepared, seen, run, figures, rivals | found.rival_figures(), extra, model, test=True, lake=lake,
        pools=found.baselines(), report=found.told(), pictures=found.drawn,
        controls=controls, over=f"referee's {referee.REFERENCE}", after=after,
    )  # fmt: skip
    with whole(scored.with_suffix(".md")) as part:
        part.write_text(found.report.to_markdown())
    _tell(config, run.degraded, run.masked_scalars, abstained, report["rows"], streamed, count)
    if streamed > STREAM_TOLERANCE:
        raise SqueezeError(
            f"{config.task}: streamed and batch probabilities differ by {streamed:.1e}, over {STREAM_TOLERANCE:.0e}"
        )
    return [_row(config.task, side, row, referee.closest(gained, side)) for side, row in sides.items()]


def _scored_on(after: str | None) -> str:
    """How figures are named in the model's card."""
    return "test" if after is None else f"test_from_{after}"


PRODUCTS = (("predictions", "parquet"), ("score", "json"), ("models", "onnx"))


def since(trained: Trained, after_ns: int | None) -> Trained:
    """A training whose test blocks begin no earlier, its teachers' too: baselines, report, pictures and the tracked run
    are made from what it says. `DataError` where no row is left.
    """
    if after_ns is None:
        return trained
    cut = [one for one in (_since(result, after_ns) for result in trained.blocks) if len(one.rows)]
    if not cut:
        raise DataError(f"no test row from {utc(after_ns)} on")
    taught = {
        name: Walked(each.validation, [one for one in (_since(r, after_ns) for r in each.blocks) if len(one.rows)])
        for name, each in trained.teachers.items()
    }
    return replace(trained, blocks=cut, teachers=taught)


def _since(result: BlockResult, after_ns: int) -> BlockResult:
    kept = result.rows.ts_ns >= after_ns
    block = msgspec.structs.replace(result.block, test_from_ns=max(result.block.test_from_ns, after_ns))
    return replace(result, block=block, rows=result.rows.where(kept), probabilities=result.probabilities[kept])


def write_predictions(trained: Trained, horizon: int, path: Path) -> None:
    """The referee's file of one horizon; a row at which the model abstains holds the training base rate."""
    pooled = pool(trained.blocks, horizon)
    silent = np.isnan(pooled.probability)
    filled = np.where(silent, pooled.base_rate, pooled.probability)
    table = {"ts": pd.to_datetime(pooled.ts_ns, utc=True)} | {
        f"p_{side}": filled[:, s].astype(float) for s, side in enumerate(SIDES)
    }
    with whole(path) as part:
        pd.DataFrame(table).to_parquet(part, index=False)


def stream_difference(model: Path, lake: Lake, config: RunConfig, block: BlockResult, progress: Progress) -> float:
    """Largest difference between batch probabilities of a block and those of the live path, fed with the lake's events
    in order.
    """
    stream = Stream(load(model))
    market, (start, until) = config.spec.market, (day_ns(config.start), day_ns(config.until))
    expected = dict(zip(block.rows.ts_ns.tolist(), block.probabilities, strict=True))
    first_ns, last_ns = int(block.rows.ts_ns[0]), int(block.rows.ts_ns[-1])
    stream.warm(read_events(lake, market, start, first_ns), first_ns - stream.market.length_ns)
    worst, seen = 0.0, 0
    events = read_events(lake, market, stream.next_close_ns - stream.market.length_ns + 1, until)
    for event in events:
        while stream.next_close_ns <= last_ns and event.known_at_ns > stream.next_close_ns:
            worst, seen = _compare(stream, expected, worst, seen)
        stream.on_event(event)
    while stream.next_close_ns <= last_ns:
        worst, seen = _compare(stream, expected, worst, seen)
    progress("replaying the last block", seen, len(expected))
    if seen != len(expected):
        raise SqueezeError(f"{config.task}: the live path answered {seen} of {len(expected)} rows of the last block")
    return worst


def _compare(stream: Stream, expected: dict[int, np.ndarray], worst: float, seen: int) -> tuple[float, int]:
    close_ns = stream.next_close_ns
    _, answer = stream.advance(close_ns)
    if close_ns not in expected:
        return worst, seen
    batch = expected[close_ns]
    if isinstance(answer, Prediction):
        difference = float(np.abs(answer.probabilities - batch).max())
    else:
        difference = 0.0 if np.isnan(batch).all() else np.inf
    return max(worst, np.inf if np.isnan(difference) else difference), seen + 1


def _tracked(sides: dict[str, Any]) -> Figures:
    """The referee's figures of the model under the tracker's names; few where a side has no positive, or no negative,
    among the rows that were scored.
    """
    found = {}
    for side, row in sides.items():
        model = row.get("model", {})
        gain = dict(zip(("ap_gain", "ap_gain_low", "ap_gain_high"), model.get("ap_gain", ()), strict=False))
        found[side] = model | gain | {"base_rate": row["base_rate"], "episodes": row["episodes"]}
    return found


def _rival(sides: dict[str, Any], name: str) -> Figures:
    return {
        side: row[name] | {"base_rate": row["base_rate"], "episodes": row["episodes"]} for side, row in sides.items()
    }


def _row(task: str, side: str, row: dict[str, Any], member: RefereedGain) -> dict[str, Any]:
    model, reference = row.get("model", {}), row["reference"]
    gain, low, high = model.get("ap_gain", (np.nan,) * 3)
    over = member.gains["ap"].gain
    return {
        "task": task, "side": side, "ap": model.get("ap"), "reference": reference.get("ap"),
        "gain": f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]",
        "least over a member": f"{over.observed:+.3f} [{over.low:+.3f}, {over.high:+.3f}] {member.rival}",
        **{name: model.get(name) for name in ("auc", "brier_skill", "slope")}, "episodes": row["episodes"],
        "verdict": "inconclusive: under 50 episodes" if row["inconclusive"] else ("better" if low > 0 else "not shown"),
    }  # fmt: skip


def _tell(
    config: RunConfig, degraded: int, masked: tuple[str, ...], abstained: int, rows: int, streamed: float, looks: int
) -> None:
    streams = ", ".join(f"{name} ({stream.venue})" for name, stream in config.spec.market.streams().items())
    print(f"{config.task}", file=sys.stderr)
    buckets = ", ".join(f"{leverage:g}x" for leverage in config.spec.map.leverages)
    print(f"  live channels:  liquidation map ({buckets}) of both sides", file=sys.stderr)
    print(f"  live streams:   {streams}", file=sys.stderr)
    print(f"  degraded:       {', '.join(flag_names(Degraded(degraded)))}", file=sys.stderr)
    print(f"  masked scalars: {', '.join(masked) or 'none'}", file=sys.stderr)
    print(f"  abstained:      {abstained} of {rows} rows, filled with the training base rate", file=sys.stderr)
    print(f"  live path:      differs from batch by at most {streamed:.1e} on the last block", file=sys.stderr)
    print(f"  looks so far:   {looks}", file=sys.stderr, flush=True)
