"""`squeeze weights`."""

import argparse
from pathlib import Path

from squeeze.cli import Arguments, Verb, lake_argument, progress_bars, show


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
    from training.leverage.weights import change_rows, fit_weights, score_rows, weight_rows

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


weights = Verb(
    "leverage weights fitted to recorded liquidations, per walk-forward block",
    "squeeze weights configs/hourly-btc-2026.yaml --data DATA --fixed-point",
    _weights_arguments,
    _weights,
)
