"""`squeeze labels`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze.cli import Arguments, Verb, lake_argument, parse_time, progress_bars, show
from squeeze.errors import ConfigError

if TYPE_CHECKING:
    from training.examples import Progress
    from training.labels.agreement import Tuned
    from training.labels.page import Table


def _labels_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, nargs="?", help="YAML file of the run")
    parser.add_argument(
        "--all", action="store_true", help="count rows of test blocks too; by default what the first of them trains on"
    )
    parser.add_argument("--until", help="UTC time after which no row is counted, where that is earlier still")
    parser.add_argument(
        "--agreement",
        action="store_true",
        help="compare the label by price and open interest with recorded liquidations, before the first test block",
    )
    parser.add_argument(
        "--simulator", type=int, metavar="SEEDS", help="compare them on so many simulated markets of 60 days"
    )
    parser.add_argument("--page", type=Path, help="Markdown page of which a section is replaced by what is said")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override a key of the config"
    )
    lake_argument(parser)


def _labels(args: Arguments) -> None:
    from training.labels.page import report_tables, tuned_tables

    if args.config is None and args.simulator is None:
        raise ConfigError("labels: needs a run file, or --simulator SEEDS")
    if args.config is not None and args.simulator is not None:
        raise ConfigError("labels: a run file or --simulator SEEDS, not both: each has a section of its own")
    if args.simulator is not None and args.simulator < 1:
        raise ConfigError(f"--simulator: at least 1 market, got {args.simulator}")
    notes: list[str] = []
    tables: list[Table] = []
    with progress_bars() as progress:
        if args.simulator is not None:
            found, name = _simulated(args.simulator, progress), "simulator"
            tables += tuned_tables([found])
            said: dict[str, Any] = {"agreement": _plain(found)}
        else:
            from squeeze.market.lake import Lake
            from training.config import load_config
            from training.labels.report import report

            config, lake = load_config(args.config, tuple(args.set)), Lake(args.lake)
            name = f"{config.task}, {config.spec.label.event}"
            counted = report(config, lake, everything=args.all, until_ns=parse_time(args.until), progress=progress)
            notes += [
                f"label: {config.spec.label.name}; {counted.version}",
                f"counted: {counted.rows} {counted.counted}",
            ]
            tables += report_tables(counted)
            said = {"report": _plain(counted)}
            if args.agreement:
                found = _recorded(args, progress)
                tables += tuned_tables([found])
                said["agreement"] = _plain(found)
    if args.page is not None:
        _keep(args, name, notes, tables)
    if args.json:
        show(args, [said])
        return
    for note in notes:
        print(note)
    for title, rows in tables:
        print(f"\n{title}")
        show(args, rows)


def _simulated(seeds: int, progress: "Progress") -> "Tuned":
    from training.labels.agreement import tune
    from training.labels.grounds import simulated_grounds

    return tune(f"simulator, seeds 0 to {seeds - 1}", simulated_grounds(range(seeds)), progress=progress)


def _recorded(args: Arguments, progress: "Progress") -> "Tuned":
    from squeeze.market.lake import Lake
    from training.config import load_config
    from training.labels.agreement import tune
    from training.labels.grounds import recorded_ground

    config = load_config(args.config, tuple(args.set))
    return tune(config.task, [recorded_ground(config, Lake(args.lake))], progress=progress)


def _plain(value: Any) -> Any:
    import json

    import msgspec

    return json.loads(msgspec.json.encode(value))  # which writes null where a figure does not exist


def _keep(args: Arguments, name: str, notes: list[str], tables: "list[Table]") -> None:
    from training.labels.page import keep_section, section
    from training.tracking.environment import commit

    words = ["squeeze", "labels", *([str(args.config)] if args.config else [])]
    words += ["--agreement"] * args.agreement + ["--all"] * args.all
    words += ["--until", args.until] if args.until else []
    words += ["--simulator", str(args.simulator)] if args.simulator is not None else []
    words += [word for each in args.set for word in ("--set", each)]
    keep_section(args.page, name, section(name, shlex.join(words), commit(), notes, tables))


labels = Verb(
    "how often a label comes true, what is left out of it, what its constants do",
    "squeeze labels configs/hourly-btc-2026.yaml --agreement",
    _labels_arguments,
    _labels,
)
