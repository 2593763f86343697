"""`squeeze controls`: what the map adds, by controls, and what each group of inputs adds, by leaving it out."""

import argparse
from pathlib import Path

from squeeze.cli import Arguments, Verb, progress_bars, show
from squeeze.errors import ConfigError
from training.verbs.stages import run_arguments


def _controls_arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="N", help="seeds of the networks (default: the config's)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these controls, or with --ablate these groups of inputs"
    )
    parser.add_argument("--ablate", action="store_true", help="leave out one group of channels and scalars at a time")
    parser.add_argument("--quick", action="store_true", help="with --ablate: at inference alone, nothing is retrained")
    parser.add_argument(
        "--test", action="store_true", help="score the test blocks: every control is a look, which goes into the ledger"
    )
    parser.add_argument("--ledger", type=Path, default=Path("models/looks.jsonl"), help="where looks are written down")


def _controls(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from training.config import load_config
    from training.controls import runner as control_runs
    from training.controls.ablation import run_ablation
    from training.controls.controls import CONTROLS

    if args.ablate and args.test:
        raise ConfigError("--ablate: is scored on validation alone")
    if args.quick and not args.ablate:
        raise ConfigError("--quick: goes with --ablate")
    config, lake = load_config(args.config, tuple(args.set)), Lake(args.lake)
    with progress_bars() as progress:
        if args.ablate:
            report = run_ablation(config, lake, args.out, args.only, args.seeds, progress, retrain=not args.quick)
        else:
            controls = control_runs.named(args.only or CONTROLS)
            looks = args.ledger if args.test else None
            report = control_runs.run_controls(config, lake, args.out, controls, args.seeds, progress, looks=looks)
    path = control_runs.kept_at(args.out, config.task + "-ablation" * args.ablate)
    control_runs.write(report, path)
    show(args, control_runs.table(report), f"{report.scored} rows, seeds {report.seeds}; kept in {path}")


controls = Verb(
    "what the map adds: the same training with the map absent, wrong or old, and with labels shuffled",
    "squeeze controls configs/prints-btc-2024.yaml --only masked uniform --seeds 0 1 2",
    _controls_arguments,
    _controls,
)
