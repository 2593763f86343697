"""The stages of a run: build, train, evaluate, export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from squeeze.cli import Arguments, Verb, lake_argument, progress_bars, show
from squeeze.errors import ConfigError

if TYPE_CHECKING:
    from training.evaluation.report import EvaluationReport


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """What every verb on a run takes: its config, overrides, where it is kept, and the lake."""
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.SUB=VALUE",
        help="override a key of the config; may be repeated",
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for examples and runs (default: out)")
    lake_argument(parser)


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument(
        "--verify", action="store_true", help="read the frames whole and compare every file with its SHA-256"
    )


def _build(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from training.config import load_config
    from training.examples import build

    config, lake = load_config(args.config, tuple(args.set)), Lake(args.lake)
    rows, out = [], args.out / "examples"
    with progress_bars() as progress:
        for market, start, until in config.markets():
            found = build(lake, config.spec, market, start, until, out, progress, verify=args.verify)
            usable = int((found.unhealthy == 0).sum())
            rows.append(
                {"symbol": found.symbol, "steps": len(found.closes_ns), "healthy": usable, "digest": found.digest}
            )
    show(args, rows)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument("--seeds", type=int, default=1, help="trainings with seeds one above the other, from the run's")


def _train(args: Arguments) -> None:
    import msgspec

    from squeeze.market.lake import Lake
    from training import pipeline
    from training.config import load_config
    from training.evaluation.assess import pooled_report

    config, lake = load_config(args.config, tuple(args.set)), Lake(args.lake)
    if args.seeds < 1:
        raise ConfigError(f"--seeds: at least 1, got {args.seeds}")
    found = []
    with progress_bars() as progress:
        for seed in range(config.seed, config.seed + args.seeds):
            seeded = msgspec.structs.replace(config, seed=seed)
            found.append(pipeline.train_and_track(seeded, lake, args.out, progress))
    report = pooled_report(found) if args.seeds > 1 else found[0].report
    _tell(args, report, f"validation rows; kept in {pipeline.run_folder(args.out, config)}")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument("--test", action="store_true", help="score the test blocks: a look, which goes into the ledger")
    parser.add_argument("--ledger", type=Path, default=Path("models/looks.jsonl"), help="where looks are written down")
    parser.add_argument(
        "--report", type=Path, help="write the whole report here too: .md for people, .json for machines"
    )


def _evaluate(args: Arguments) -> None:
    from squeeze.files import whole
    from squeeze.market.lake import Lake
    from training import pipeline, runs
    from training.config import load_config
    from training.evaluation.assess import NETWORK, assess_kept
    from training.tracking import ledger

    config = load_config(args.config, tuple(args.set))
    if args.report and args.report.suffix not in (".md", ".json"):
        raise ConfigError(f"--report: a file that ends in .md or .json, got {args.report}")
    folder = pipeline.run_folder(args.out, config)
    run = runs.load(folder, config)
    number = ledger.look(args.ledger, run, "evaluate") if args.test else 0
    with progress_bars() as progress:
        found = assess_kept(run, folder, Lake(args.lake), args.out, test=args.test, progress=progress)
    if args.test:
        figures = found.figures()[NETWORK]
        ledger.complete(args.ledger, number, {side: row["ap"] for side, row in figures.items()})
    if args.report:
        text = found.report.to_json() if args.report.suffix == ".json" else found.report.to_markdown().encode()
        with whole(args.report) as part:
            part.write_bytes(text)
    _tell(args, found.report, f"{found.report.scored} rows")


def _tell(args: Arguments, report: "EvaluationReport", note: str) -> None:
    """A report as a table; all of it where JSON is asked for."""
    if args.json:
        print(report.to_json().decode())
    else:
        show(args, report.table(), note)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument("model", type=Path, help="model file to write")
    parser.add_argument("--block", type=int, default=-1, help="whose head; the last block's by default")
    parser.add_argument(
        "--parity-steps", type=int, default=10_000, help="random states over which torch and ONNX must agree"
    )


def _export(args: Arguments) -> None:
    from training import pipeline, runs
    from training.config import load_config
    from training.evaluation.pools import stored_pool
    from training.tracking.track import side_metrics

    config = load_config(args.config, tuple(args.set))
    folder = pipeline.run_folder(args.out, config)
    run = runs.load(folder, config)
    if not -len(run.blocks) <= args.block < len(run.blocks):
        raise ConfigError(f"--block: the run has blocks 0 to {len(run.blocks) - 1}, got {args.block}")
    scores = {f"validation_{k}": v for k, v in side_metrics(stored_pool(run, folder, test=False).figures()).items()}
    p, state = pipeline.export_block(run, folder, args.block, args.model, scores, args.parity_steps)
    show(args, [{"model": str(args.model), "parity_probability": f"{p:.1e}", "parity_state": f"{state:.1e}"}])


build = Verb(
    "fold history into memory-mapped examples",
    "squeeze build configs/hourly-btc-2026.yaml",
    _build_arguments,
    _build,
)
train = Verb(
    "pre-train, walk forward, keep and track a run",
    "squeeze train configs/hourly-btc-2026.yaml --seeds 3",
    _train_arguments,
    _train,
)
evaluate = Verb(
    "a kept run beside every baseline, on validation rows unless told otherwise",
    "squeeze evaluate configs/hourly-btc-2026.yaml",
    _evaluate_arguments,
    _evaluate,
)
export = Verb(
    "write one self-describing ONNX file",
    "squeeze export configs/hourly-btc-2026.yaml out/models/hourly.onnx",
    _export_arguments,
    _export,
)
