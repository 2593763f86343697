"""What is done with tracked runs: `squeeze compare`, `squeeze promote`, `squeeze sync`."""

import argparse
import sys
from pathlib import Path

from squeeze.cli import Arguments, Verb, show
from squeeze.errors import SqueezeError


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", help="only this one")
    parser.add_argument("--models", nargs="+", default=[], metavar="MODEL", help="only these: network volatility …")
    parser.add_argument("--scored", choices=("validation", "test"), help="only runs scored on these rows")
    parser.add_argument("--every", action="store_true", help="every run; by default the newest seeds of each model")


def _compare(args: Arguments) -> None:
    from squeeze.registry import impatient
    from training.tracking import compare, spool, track

    spool.tell(spool.sync())
    with impatient():
        found = track.seeds(track.existing())
    rows = compare.rows(compare.chosen(found, args.task, args.models, args.scored, args.every), means=not args.every)
    show(args, rows if args.json else [compare.told(row) for row in rows])


def _promote_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", metavar="RUN_OR_CONFIG", help="a tracked seed run's id, or a config: its newest run")
    parser.add_argument("--model", default="squeeze", help="registered model, about one task (default: squeeze)")
    parser.add_argument(
        "--first", action="store_true", help="a first champion may have too few episodes; all else must hold"
    )


def _promote(args: Arguments) -> None:
    from training.config import load_config
    from training.tracking import spool, track
    from training.tracking.promote import newest_with_model, promote

    spool.tell(spool.sync())
    run_id = args.which
    if Path(run_id).suffix in (".yaml", ".yml"):
        run_id = newest_with_model(track.existing(), load_config(run_id).task)
    found = promote(run_id, args.model, first=args.first)
    show(
        args,
        [
            {"criterion": c.name, "side": c.side, "passed": "yes" if c.passed else "NO", "found": c.said}
            for c in found.verdict.criteria
        ],
    )
    if found.version is None:
        raise SqueezeError(f"run {found.run_id} is not promoted; the verdict is kept with it as gate.json")
    print(f"models:/{args.model}@champion is now version {found.version}, run {found.run_id}", file=sys.stderr)


def _sync_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spool", type=Path, help="folder of the waiting runs (default: SQUEEZE_SPOOL or out/spool)")


def _sync(args: Arguments) -> None:
    from training.tracking import spool

    done = spool.sync(args.spool)
    show(args, [{"sent": done.sent, "waiting": done.kept, "reason": done.reason}])


compare = Verb(
    "tracked runs side by side, with mean and deviation over seeds",
    "squeeze compare --task hourly-btc-2026 --models network volatility",
    _compare_arguments,
    _compare,
)
promote = Verb(
    "make a run's model the champion, if it passes the gate",
    "squeeze promote configs/hourly-btc-2026.yaml",
    _promote_arguments,
    _promote,
)
sync = Verb("send runs that wait for the tracking store", "squeeze sync", _sync_arguments, _sync)
