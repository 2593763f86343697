"""`squeeze prove`."""

import argparse
from pathlib import Path

from squeeze.cli import Arguments, Verb, progress_bars, show
from squeeze.errors import ConfigError


def _prove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="YAML file of a run with `worlds`")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override a key of the config"
    )
    parser.add_argument("--out", type=Path, default=Path("out/proof"), help="folder for worlds, oracles and fits")
    parser.add_argument("--report", type=Path, help="page and JSON to write (default: OUT/TASK.md and .json)")
    parser.add_argument("--model", type=Path, help="also export the network where zones matter into this file")
    parser.add_argument(
        "--zones", nargs="+", choices=("matter", "do_not_matter"), default=["matter", "do_not_matter"],
        help="kinds of worlds (default: both)",
    )  # fmt: skip
    parser.add_argument("--ablate", action="store_true", help="also leave out one kind of heatmap at a time")
    parser.add_argument(
        "--choosing", action="store_true", help="judge on the seeds of `chosen_on`, so that a variant can be tried"
    )


def _prove(args: Arguments) -> None:
    from training.config import load_config
    from training.proof.prove import prove

    config = load_config(args.config, tuple(args.set))
    out = args.report or args.out / f"{config.task}.md"
    changed = "".join(f" --set {override}" for override in args.set)
    flags = "".join(f" --{flag}" for flag in ("ablate", "choosing") if getattr(args, flag))
    if args.choosing and args.model:
        raise ConfigError("--choosing: tries a variant; a model comes from a run without it")
    command = f"squeeze prove {args.config}{changed}{flags}"
    with progress_bars() as progress:
        report, paths = prove(
            config, args.out, out, command,
            kinds=args.zones, model=args.model, ablate=args.ablate, choosing=args.choosing, progress=progress,
        )  # fmt: skip
    rows = [
        {"zones": ground.zones, "model": score.model, **score.figures, "gain": score.gain.observed}
        for ground in report.grounds
        for score in ground.watched.scores
    ]
    show(args, rows, "\n".join(f"zones {g.zones}: {said}" for g in report.grounds for said in g.sentences))
    if not args.json:
        print(f"\nkept in {', '.join(map(str, paths))}")


prove = Verb(
    "train on some simulated markets, be judged on others beside the oracle, and once more where zones do not matter",
    "squeeze prove configs/simulator-proof.yaml --report docs/proof-simulator.md",
    _prove_arguments,
    _prove,
)
