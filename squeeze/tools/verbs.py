"""The verbs that turn results into something to read: `squeeze study`, `squeeze rates`, `squeeze judge`.

Importing this imports nothing heavy: each action does so when it runs.
"""

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from squeeze.cli import Arguments, Verb, iso, lake_argument, show, telling
from squeeze.errors import ConfigError
from squeeze.tools.judge import verb as judging

if TYPE_CHECKING:
    from squeeze.market.lake import Lake
    from squeeze.tools.study.task import Task
    from squeeze.tools.study.walls import Wall


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, nargs="?", help="run file whose market is studied")
    parser.add_argument("--sim", action="store_true", help="study the simulator, under CONFIG or its own market")
    parser.add_argument("--days", type=int, default=90, help="--sim: length of the recording (default: 90)")
    parser.add_argument("--market-seed", type=int, default=0, help="--sim: seed of the market (default: 0)")
    parser.add_argument("--zones", help="--sim: whether zones matter, as the simulator's spec names it")
    parser.add_argument("--data", type=Path, help="folder of recordings to import first, by the run file's mappings")
    parser.add_argument("--from", dest="start", help="UTC time to begin at; where the run file begins by default")
    parser.add_argument("--books", type=Path, metavar="FOLDER", help="raw log whose books are searched for walls")
    parser.add_argument("--out", type=Path, help="written with .md, .json and .png (default: docs/study-TASK)")
    parser.add_argument("--draws", type=int, default=2000, help="of whole days, for each interval (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--all", action="store_true", help="test blocks too: a look, which the page says")
    lake_argument(parser)


def _study(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.strict import utc_ns
    from squeeze.tools.study import report
    from squeeze.tools.study.study import conduct, gather, spec_of
    from squeeze.tools.study.task import first_test_ns, load_task, simulated_task

    if args.config is None and not args.sim:
        raise ConfigError("study: needs a run file, or --sim")
    if args.draws < 100:
        raise ConfigError(f"--draws: at least 100, got {args.draws}")
    task = simulated_task() if args.config is None else load_task(args.config)
    with telling() as tell, tempfile.TemporaryDirectory() as folder:
        if args.sim:
            tell(f"simulating {args.days} days")
            lake = _simulated(args, Path(folder))
            until_ns, looked = None, "simulated: there are no test blocks, all of it is used"
        else:
            lake = Lake(args.lake)
            _import(args, task, lake)
            until_ns, looked = _bounds(args, task, first_test_ns(lake, task))
        start = args.start or task.start
        start_ns = None if start is None else utc_ns(start)
        tell(f"folding {task.spec.market.symbol}")
        recorded = gather(lake, task.spec, start_ns, until_ns)
        spec = spec_of(task.spec.market.symbol, args.draws, args.seed)
        walls, seconds = _walls(args, task, spec.wall_base)
        rows, events = conduct(recorded, spec, walls, seconds, tell)
    held = recorded.held
    facts = {
        "market": f"{held.symbol} ({task.task})",
        "command": shlex.join(["squeeze", *sys.argv[1:]]),
        "commit": report.commit(),
        "data": f"{iso(int(held.closes_ns[0]))} to {iso(int(held.closes_ns[-1]))}, {len(held.closes_ns)} steps of "
        f"{task.spec.market.step_seconds} s, {int(held.seen.sum())} with a warm map",
        "looks": looked,
        "intervals": f"{args.draws} draws of whole UTC days, seed {args.seed}",
    }
    out = args.out or Path("docs") / f"study-{task.task}"
    written = report.write(out, facts, rows, events)
    shown = [_row(row) for row in rows if row.group == "all"]
    show(
        args,
        shown,
        ""
        if args.json
        else "\n".join(f"{k}: {v}" for k, v in facts.items()) + f"\nwritten: {', '.join(map(str, written))}",
    )


def _simulated(args: Arguments, folder: Path) -> "Lake":
    from squeeze.market.importer import import_mapping
    from squeeze.market.lake import Lake
    from squeeze.simulator import SimulatorSpec, simulate, write_recording

    asked: dict[str, Any] = {"days": args.days}
    if args.zones is not None:
        asked["zones"] = args.zones
    try:
        spec = msgspec.convert(asked, SimulatorSpec)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"simulate: {error}") from None
    mapping = write_recording(simulate(spec, args.market_seed), folder / "recording")
    lake = Lake(folder / "lake")
    import_mapping(mapping, mapping.parent, lake)
    return lake


def _import(args: Arguments, task: "Task", lake: "Lake") -> None:
    from squeeze.market.importer import import_mapping

    for mapping in task.imports if args.data is not None else ():
        import_mapping(args.config.parent / mapping, args.data, lake)


def _bounds(args: Arguments, task: "Task", test_ns: int) -> tuple[int | None, str]:
    """Where the study stops looking, and what the page says of it."""
    from squeeze.strict import utc_ns

    until_ns = None if task.until is None else utc_ns(task.until)
    if args.all:
        return until_ns, f"the test blocks from {iso(test_ns)} on were looked at (--all)"
    stop_ns = test_ns if until_ns is None else min(until_ns, test_ns)
    return stop_ns, f"none at test blocks: nothing known from {iso(test_ns)} on was read"


def _walls(args: Arguments, task: "Task", least_base: float) -> tuple[list["Wall"], int]:
    """Walls of every venue's book in the raw log, and how many seconds were watched; none without one."""
    if args.books is None:
        return [], 0
    from squeeze.market.raw_log import RawLog
    from squeeze.market.replay import raw_events
    from squeeze.tools.study.walls import looks, walls

    log, found, seconds = RawLog(args.books), [], 0
    for venue in log.venues():
        seen = list(looks(raw_events(log, [venue], task.spec.market.symbol), venue))
        found += walls(seen, least_base)
        seconds += sum(bool(look.held_base) for look in seen)
    return found, seconds


def _row(row: Any) -> dict[str, Any]:
    from squeeze.tools.study.report import number

    figures = {name: number(getattr(row, name), row.unit) for name in ("estimate", "null", "low", "high")}
    return (
        {"figure": row.figure, "events": row.events, "n": row.n} | figures | {"lift": row.lift, "verdict": row.verdict}
    )


def _rates_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=20, help="of each market, after the warm-up (default: 20)")
    parser.add_argument("--warm-up", type=int, default=3, help="days in which the map fills first (default: 3)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a market of either kind for each")
    parser.add_argument("--draws", type=int, default=2000, help="of whole days, for each interval (default: 2000)")
    parser.add_argument("--out", type=Path, default=Path("docs/pattern-rates"), help="written with .md and .json")


def _rates(args: Arguments) -> None:
    from squeeze.tools.rates import report
    from squeeze.tools.rates.count import follows, rates
    from squeeze.tools.rates.walls import shares
    from squeeze.tools.rates.watch import measure, spec_of
    from squeeze.tools.study.report import commit

    if args.days < 1 or args.warm_up < 0 or args.draws < 100:
        raise ConfigError("rates: --days is positive, --warm-up not negative, --draws at least 100")
    atlas = spec_of(args.warm_up).atlas
    assert atlas is not None  # noqa: S101
    counted: list[Any] = []
    after: list[Any] = []
    walls: list[Any] = []
    with telling() as tell:
        for market, zones in ((report.NULL, "do_not_matter"), (report.MATTER, "matter")):
            watched, compared = measure(zones, args.days, args.warm_up, args.seeds, tell)  # type: ignore[arg-type]
            counted += rates(market, watched)
            after += follows(market, watched, args.draws)
            walls += shares(market, compared, float(atlas.patterns.spoofed_wall.least_pulls))
    facts = {
        "command": shlex.join(["squeeze", *sys.argv[1:]]),
        "commit": commit(),
        "data": f"{args.days} days by the minute after {args.warm_up} days of warm-up, for each of seeds "
        f"{', '.join(map(str, args.seeds))}; three venues, a book a minute, default thresholds",
        report.NULL: "forced orders follow volatility and each other and hit anybody; nobody leaves; walls are meant",
        report.MATTER: "positions are liquidated where their margin ends; holders leave; half of the walls are spoofs",
        "intervals": f"{args.draws} draws of whole UTC days, seed 0",
    }
    written = report.write(args.out, facts, counted, after, walls, atlas.patterns)
    shown = [{name: getattr(row, name) for name in row.__struct_fields__[:8]} for row in counted]
    show(args, shown, "" if args.json else f"written: {', '.join(map(str, written))}")


TOOL_VERBS = {
    "judge": Verb(
        "the liquidation map held against truth, simulated and recorded",
        judging.EXAMPLE,
        judging.arguments,
        judging.judge,
    ),
    "study": Verb(
        "measure what is claimed of zones and cascades, each claim beside its null",
        "squeeze study configs/prints-btc-2024.yaml --data DATA --out docs/study-prints-btc-2024",
        _study_arguments,
        _study,
    ),
    "rates": Verb(
        "how often each pattern is flagged where zones mean nothing and where they matter, and what follows",
        "squeeze rates --days 20 --seeds 0 1 --out docs/pattern-rates",
        _rates_arguments,
        _rates,
    ),
}
