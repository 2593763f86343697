"""The two chains from data to scores: a simulated market, and the recordings."""

import argparse
import sys
from pathlib import Path

from squeeze.cli import Arguments, Verb, progress_bars, show


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument(
        "--strategy", type=Path, default=Path("configs/strategy-minute-bars.yaml"), help="what signals are made of"
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--seed", type=int, default=0, help="of the simulated market")


def _demo(args: Arguments) -> None:
    from training.demo import demo

    with progress_bars() as progress:
        rows = demo(args.config, args.strategy, args.out, args.seed, progress, sys.stderr if args.json else sys.stdout)
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


demo = Verb("the whole chain on a simulated market", "squeeze demo", _demo_arguments, _demo)
real = Verb(
    "the referee's tasks from recordings to score",
    "squeeze real configs/hourly-btc-2026.yaml --data DATA",
    _real_arguments,
    _real,
)
