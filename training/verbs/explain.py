"""`squeeze explain`: one prediction of a kept run, taken apart."""

import argparse

from squeeze.arrays import SIDES
from squeeze.cli import Arguments, Verb, progress_bars, show
from training.verbs.stages import run_arguments


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    run_arguments(parser)
    parser.add_argument(
        "--at", required=True, metavar="TIME", help="UTC time: the step that closes then, or last before"
    )
    parser.add_argument("--side", choices=SIDES, help="whose squeeze; both by default")


def _explain(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.strict import utc_ns
    from training import pipeline, runs
    from training.config import load_config, utc
    from training.controls.attribution import explain
    from training.controls.attribution_figure import attribution_figure, largest
    from training.figures import save

    config, at_ns = load_config(args.config, tuple(args.set)), utc_ns(args.at)
    folder = pipeline.run_folder(args.out, config)
    sides = [SIDES.index(args.side)] if args.side else range(len(SIDES))
    with progress_bars() as progress:
        explained = explain(
            runs.load(folder, config), folder, Lake(args.lake), args.out / "examples", at_ns, sides, progress
        )
    rows, notes = [], []
    for found in explained:
        time = utc(found.close_ns).replace(":", "").removesuffix("Z")
        path = args.out / "explained" / f"{config.task}-{time}-{found.side}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(attribution_figure(found), path)
        rows += [{"side": found.side, "part": part, "log_odds": value} for part, value in largest(found)]
        notes.append(f"{found.side}: p {found.probability:.4f}, {found.baseline:.4f} for a mean market: {path}")
    show(args, rows, "\n".join(notes))


explain = Verb(
    "which price bins and scalars made one prediction of a kept run, as numbers and a picture",
    "squeeze explain configs/prints-btc-2024.yaml --at 2024-03-19T12:00 --side long",
    _explain_arguments,
    _explain,
)
