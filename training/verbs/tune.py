"""`squeeze tune`."""

import argparse
from pathlib import Path

from squeeze.cli import Arguments, Verb, progress_bars, show
from training.verbs.stages import run_arguments


def _arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument(
        "--space", type=Path, default=Path("configs/search/network.yaml"), help="YAML of keys with ranges or choices"
    )
    parser.add_argument("--trials", type=int, default=20, help="finished trials the study shall hold, earlier counted")
    parser.add_argument(
        "--grid", action="store_true", help="every combination of choices, none pruned, --trials of them at most"
    )
    parser.add_argument("--storage", help="Optuna's storage (default: sqlite:///OUT/tune.db)")
    parser.add_argument("--study", help="its name there (default: the task's)")


def _tune(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from training.tune import best_overrides, read_space, trial_rows, tune

    args.out.mkdir(parents=True, exist_ok=True)
    storage = args.storage or f"sqlite:///{args.out / 'tune.db'}"
    space = read_space(args.space)
    with progress_bars() as progress:
        found = tune(
            args.config, tuple(args.set), space, Lake(args.lake), args.out, args.trials, storage, args.study, progress,
            grid=args.grid,
        )  # fmt: skip
    best = " ".join(f"--set {text}" for text in best_overrides(found))
    show(args, trial_rows(found), f"\nthe best: squeeze train {args.config} {best}\nkept in {storage}")


tune = Verb(
    "search settings of the network on the proxy's validation; goes on where it stopped, several processes at once",
    "squeeze tune configs/hourly-btc-2026.yaml --trials 20",
    _arguments,
    _tune,
)
