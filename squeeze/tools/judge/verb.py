"""`squeeze judge`: which market, and where the page goes."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze.cli import Arguments, iso, lake_argument, show, telling
from squeeze.errors import ConfigError

if TYPE_CHECKING:
    from squeeze.tools.judge.estimators import Drawing, Finding

EXAMPLE = "squeeze judge configs/prints-btc-2024.yaml --data DATA"
PLACED = (
    "Hourly sums and prints have no price of their own here: an interval's sum is spread evenly, in log price, over"
    " what the mark (the last price, where no mark was recorded) reached in it for the first time since it was frozen;"
    " if it reached nothing new, over the range that it had. So within one interval nothing tells levels apart, and"
    " *crossed* is left out where the horizon is one interval. Buckets' distances are those of `map.maintenance`. Fixed"
    " weights are those that other tools publish (domain.md §3.4); for volumes their level and background are fitted to"
    " the same rows as the fitted weights."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `squeeze judge` takes."""
    parser.add_argument("config", type=Path, nargs="?", help="run file whose recording is judged")
    parser.add_argument("--sim", action="store_true", help="judge on simulated markets, where the truth is known")
    parser.add_argument("--days", type=int, default=90, help="--sim: length of each market (default: 90)")
    parser.add_argument("--tilt", default="10,0", help="--sim: near,profit of the tilted closes (default: 10,0)")
    parser.add_argument("--data", type=Path, help="folder of recordings to import first, by the run file's mappings")
    parser.add_argument("--from", dest="start", help="UTC time to begin at; where the run file begins by default")
    parser.add_argument("--out", type=Path, help="written with .md and .json (default: docs/judge-TASK)")
    parser.add_argument("--draws", type=int, default=2000, help="of whole days, for each interval (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    lake_argument(parser)


def judge(args: Arguments) -> None:
    """Judge, write and show."""
    from squeeze.tools.judge.estimators import Drawing
    from squeeze.tools.judge.report import plain, write
    from squeeze.tools.study.report import commit

    if (args.config is None) != args.sim:
        raise ConfigError("judge: needs a run file, or --sim")
    if args.draws < 100:
        raise ConfigError(f"--draws: at least 100, got {args.draws}")
    drawing = Drawing(args.draws, args.seed)
    facts = {"command": shlex.join(["squeeze", *sys.argv[1:]]), "commit": commit()}
    with telling() as tell:
        task, more, found, notes, apart = (
            _simulated(args, drawing, tell) if args.sim else _recorded(args, drawing, tell)
        )
    facts |= more | {"intervals": f"{args.draws} draws of whole UTC days, seed {args.seed}"}
    title = f"The map beside the truth: {task}" if args.sim else f"The map beside recorded liquidations: {task}"
    written = write(args.out or Path("docs") / f"judge-{task}", title, facts, found, notes, apart)
    kept = [plain(each) for each in found if each.against in ("chance", "actual", "a coin")]
    told = "\n".join(f"{k}: {v}" for k, v in facts.items()) + f"\nwritten: {', '.join(map(str, written))}"
    show(args, kept, "" if args.json else told)


Judged = tuple[str, dict[str, str], list["Finding"], list[str], tuple[str, ...]]


def _simulated(args: Arguments, drawing: "Drawing", tell: Any) -> Judged:
    from squeeze.tools.judge import simulated

    try:
        near, profit = (float(part) for part in args.tilt.split(","))
    except ValueError:
        raise ConfigError(f"--tilt: expected two numbers, as 3,0, got {args.tilt}") from None
    found = simulated.judge(args.days, (near, profit), drawing, tell)
    found += simulated.judge_thinning(args.days, (near, profit), drawing, tell)
    found += simulated.choose(args.days, drawing, tell)
    judged, chosen = (" and ".join(map(str, seeds)) for seeds in (simulated.JUDGED_ON, simulated.CHOSEN_ON))
    facts = {
        "judged on": f"seeds {judged} of {', '.join(name for group in simulated.GROUPS.values() for name in group)};"
        f" {args.days} days each, the last half judged, weights fitted on what lies between 14 days of warm-up and it",
        "chosen on": f"seeds {chosen} of the default market and of the one with leavers: κ and the hazard tilt alone",
        "tilted closes": f"close_tilt_near {near:g}, close_tilt_profit {profit:g}; the default is none",
    }
    return "simulator", facts, found, [], tuple(simulated.MARKETS)


def _recorded(args: Arguments, drawing: "Drawing", tell: Any) -> Judged:
    from squeeze.market.events import MINUTE_NS
    from squeeze.market.importer import import_mapping
    from squeeze.market.lake import Lake
    from squeeze.strict import utc_ns
    from squeeze.tools.judge import recorded
    from squeeze.tools.study.task import first_test_ns, load_task
    from squeeze.tools.sweeps import read_sweeps

    lake, task = Lake(args.lake), load_task(args.config)
    for mapping in task.imports if args.data is not None else ():
        import_mapping(args.config.parent / mapping, args.data, lake)
    test_ns = first_test_ns(lake, task)
    until_ns = test_ns if task.until is None else min(test_ns, utc_ns(task.until))
    start = args.start or task.start
    tell(f"folding {task.task}")
    history = read_sweeps(lake, task.spec, None if start is None else utc_ns(start), until_ns)
    held = recorded.gather(task.task, history, until_ns)
    tell(f"judging {task.task}")
    minutes, first, last = held.length_ns // MINUTE_NS, int(held.closes_ns[0]), int(held.closes_ns[-1])
    facts = {
        "liquidations": f"{len(held.closes_ns)} recorded intervals of {minutes} minutes, {iso(first)} to {iso(last)}",
        "map": f"folded from {start} on; weights fitted anew each day from {iso(int(held.cuts_ns[0]))} on",
        "looks": f"none at test blocks: nothing known from {iso(test_ns)} on was read",
    }
    return task.task, facts, recorded.judge(held, drawing), [PLACED], ()
