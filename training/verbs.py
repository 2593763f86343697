"""The verbs that training adds to the command line. Importing this imports nothing heavy: each verb does so when it
runs.
"""

import argparse
import sys
from pathlib import Path

from squeeze.cli import Arguments, Verb, lake_argument, progress_bars, show
from squeeze.errors import ConfigError


def _run_arguments(parser: argparse.ArgumentParser) -> None:
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


def _build(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from training.config import load_config
    from training.examples import build

    config = load_config(args.config, tuple(args.set))
    rows = []
    with progress_bars() as progress:
        for market, start, until in config.markets():
            found = build(Lake(args.lake), config.spec, market, start, until, args.out / "examples", progress)
            usable = int((found.unhealthy == 0).sum())
            rows.append(
                {"symbol": found.symbol, "steps": len(found.closes_ns), "healthy": usable, "digest": found.digest}
            )
    show(args, rows)


def _train(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from training import pipeline
    from training.config import load_config

    config = load_config(args.config, tuple(args.set))
    with progress_bars() as progress:
        lake = Lake(args.lake)
        prepared, trained, run = pipeline.train_task(config, lake, args.out, progress)
    validation = pipeline.pool(trained.validation, pipeline.watched(config)).figures()
    pipeline.track_run(prepared, trained, run, validation, {}, {}, None, test=False, lake=lake)
    show(args, pipeline.table({"network (validation)": validation}), f"kept in {pipeline.run_folder(args.out, config)}")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument("--test", action="store_true", help="score the test blocks: a look, which goes into the ledger")
    parser.add_argument("--ledger", type=Path, default=Path("models/looks.jsonl"), help="where looks are written down")


def _evaluate(args: Arguments) -> None:
    from training import ledger, pipeline, runs
    from training.config import load_config

    config = load_config(args.config, tuple(args.set))
    folder = pipeline.run_folder(args.out, config)
    run = runs.load(folder)
    figures = pipeline.stored_pool(run, folder, test=args.test).figures()
    if args.test:
        ledger.look(args.ledger, run, "evaluate", {side: row["ap"] for side, row in figures.items()})
    show(args, pipeline.table({f"network ({'test' if args.test else 'validation'})": figures}))


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument("model", type=Path, help="model file to write")
    parser.add_argument("--block", type=int, default=-1, help="whose head; the last block's by default")
    parser.add_argument(
        "--parity-steps", type=int, default=10_000, help="random states over which torch and ONNX must agree"
    )


def _export(args: Arguments) -> None:
    from training import pipeline, runs
    from training.config import load_config
    from training.track import side_metrics

    config = load_config(args.config, tuple(args.set))
    folder = pipeline.run_folder(args.out, config)
    run = runs.load(folder)
    if not -len(run.blocks) <= args.block < len(run.blocks):
        raise ConfigError(f"--block: the run has blocks 0 to {len(run.blocks) - 1}, got {args.block}")
    scores = {
        f"validation_{k}": v for k, v in side_metrics(pipeline.stored_pool(run, folder, test=False).figures()).items()
    }
    p, state = pipeline.export_block(run, folder, args.block, args.model, scores, args.parity_steps)
    show(args, [{"model": str(args.model), "parity_probability": f"{p:.1e}", "parity_state": f"{state:.1e}"}])


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--seed", type=int, default=0, help="of the simulated market")


def _demo(args: Arguments) -> None:
    from training.demo import demo

    with progress_bars() as progress:
        rows = demo(args.config, args.out, args.seed, progress, sys.stderr if args.json else sys.stdout)
    if args.json:
        show(args, rows)


def _real_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", type=Path, nargs="+", help="the tasks, in order")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--referee", type=Path, help="the referee's script; DATA/../benchmark/referee.py by default")
    parser.add_argument("--after", help="score only rows from this UTC time on")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override a key of every config"
    )
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--ledger", type=Path, default=Path("models/looks.jsonl"))


def _real(args: Arguments) -> None:
    from training.real import real

    with progress_bars() as progress:
        rows = real(args.configs, args.data, args.referee, args.after, args.out, args.ledger, tuple(args.set), progress)
    show(args, rows)


def _weights_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument("--data", type=Path, help="folder of the recordings: the config's mappings are imported first")
    parser.add_argument(
        "--fixed-point", action="store_true", help="fold and fit until no weight changes; says by round"
    )
    parser.add_argument(
        "--every-block",
        action="store_true",
        help="fit the later test blocks too, to rows of earlier ones; by default the first test block is the last",
    )
    parser.add_argument("--out", type=Path, help="file to write (default: out/weights/TASK.json)")
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws of days behind the intervals")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override a key of the config"
    )
    lake_argument(parser)


def _weights(args: Arguments) -> None:
    import msgspec

    from squeeze.market.importer import import_mapping
    from squeeze.market.lake import Lake
    from squeeze.tools.weights import write_weights
    from training.config import load_config
    from training.weights import change_rows, fit_weights, score_rows, weight_rows

    config, lake = load_config(args.config, tuple(args.set)), Lake(args.lake)
    with progress_bars() as progress:
        for number, mapping in enumerate(config.imports if args.data else (), 1):
            import_mapping(args.config.parent / mapping, args.data, lake)
            progress("importing", number, len(config.imports))
        file = fit_weights(
            config, lake, iterate=args.fixed_point, every_block=args.every_block, draws=args.draws, progress=progress
        )
    path = args.out or Path("out/weights") / f"{config.task}.json"
    write_weights(file, path)
    if args.json:
        show(args, [msgspec.to_builtins(file)])
        return
    show(args, weight_rows(file), "weight [95 % interval]: share of it that is the data's, the rest is the prior's")
    print(
        f"share of liquidations that is reported: {f'not known, {file.share_unknown}' if file.share_unknown else 'all'}"
    )
    for title, rows in (
        ("largest change of a weight, by round of fold and fit", change_rows(file)),
        ("each validation block's weights on its own rows, which they had not seen", score_rows(file)),
    ):
        if rows:
            print(f"\n{title}")
            show(args, rows)
    print(f"\nkept in {path}, sha256 {file.sha256[:16]}; no row of a test block was scored")


build = Verb(
    "fold history into memory-mapped examples", "squeeze build configs/hourly-btc-2026.yaml", _run_arguments, _build
)
train = Verb(
    "pre-train, walk forward, keep and track a run",
    "squeeze train configs/hourly-btc-2026.yaml --set seed=1",
    _run_arguments,
    _train,
)
evaluate = Verb(
    "score a kept run, on validation unless told otherwise",
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
demo = Verb("the whole chain on a simulated market", "squeeze demo", _demo_arguments, _demo)
real = Verb(
    "the referee's tasks from recordings to score",
    "squeeze real configs/hourly-btc-2026.yaml --data DATA",
    _real_arguments,
    _real,
)
weights = Verb(
    "leverage weights fitted to recorded liquidations, per walk-forward block",
    "squeeze weights configs/hourly-btc-2026.yaml --data DATA --fixed-point",
    _weights_arguments,
    _weights,
)
