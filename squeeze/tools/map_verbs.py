"""The verbs that show the maps: `squeeze diff` and `squeeze plot`. Nothing heavy is imported before one runs."""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from squeeze.cli import Arguments, Verb, lake_argument, parse_time, show, telling
from squeeze.errors import ConfigError, DataError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.strict import utc_ns

if TYPE_CHECKING:
    from squeeze.spec import Spec
    from squeeze.tools.diff import Difference
    from squeeze.tools.fold import Folded
    from squeeze.tools.history import MapHistory
    from squeeze.tools.snapshot import Snapshot

AGE_NS = 15 * MINUTE_NS
"""A snapshot older than this, or than two steps, does not speak for a time."""
BOOK_MINUTES = 1
"""Cadence of simulated books."""


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="run file whose market is compared")
    parser.add_argument("first", metavar="T1", help="UTC time, as 2026-01-05T12:00")
    parser.add_argument("second", metavar="T2", help="UTC time after it")
    parser.add_argument(
        "--history", metavar="DIR", help="folder or URI of kept maps; what they lack is folded, and kept there"
    )
    parser.add_argument("--from", dest="start", help="UTC time from which the lake is folded; its beginning by default")
    lake_argument(parser)


def _diff(args: Arguments) -> None:
    from squeeze.tools.diff import difference, text
    from squeeze.tools.fold import with_atlas
    from squeeze.tools.study.task import load_task
    from squeeze.zones.spec import TrackSpec

    first_ns, second_ns = utc_ns(args.first), utc_ns(args.second)
    if first_ns >= second_ns:
        raise ConfigError(f"diff: the first time must be before the second, got {args.first} and {args.second}")
    spec = with_atlas(load_task(args.config).spec)
    with telling() as tell:
        held = _kept(args, spec, first_ns, second_ns) or _folded(args, spec, first_ns, second_ns, tell)
    before, *between = held
    low = min(one.mark_low for one in between)
    high = max(one.mark_high for one in between)
    found = difference(
        before, between[-1], low, high, spec.frame, TrackSpec() if spec.atlas is None else spec.atlas.track
    )
    print(json.dumps(_plain(found)) if args.json else text(found, spec.market.symbol))


def _kept(args: Arguments, spec: "Spec", first_ns: int, second_ns: int) -> "list[Snapshot]":
    """The snapshots from that of the first time to that of the second; none where what is kept does not hold both."""
    if args.history is None:
        return []
    from squeeze.tools.history import MapHistory

    return _spanned(MapHistory(args.history, spec.market.symbol), spec, first_ns, second_ns)


def _spanned(history: "MapHistory", spec: "Spec", first_ns: int, second_ns: int) -> "list[Snapshot]":
    before, after = history.at(first_ns), history.at(second_ns)
    if before is None or after is None or before.close_ns >= after.close_ns:
        return []
    limit_ns = max(AGE_NS, 2 * spec.market.step_seconds * 1_000_000_000)
    if first_ns - before.close_ns >= limit_ns or second_ns - after.close_ns >= limit_ns:
        return []
    return [before, *history.between(before.close_ns, after.close_ns)]


def _folded(args: Arguments, spec: "Spec", first_ns: int, second_ns: int, tell: Any) -> "list[Snapshot]":
    """The same from the lake; what is folded goes into the history, if there is one."""
    from squeeze.market.lake import Lake
    from squeeze.tools import fold
    from squeeze.tools.history import MapHistory
    from squeeze.tools.snapshot import snapshot_of

    tell(f"folding {spec.market.symbol} up to {args.second}")
    history = None if args.history is None else MapHistory(args.history, spec.market.symbol)
    seen: list[Snapshot] = []
    events = fold.recorded(Lake(args.lake), spec, parse_time(args.start), second_ns)
    for one in fold.folded(spec, events):
        if one.step.close_ns > second_ns:
            break
        snapshot = snapshot_of(one.state, one.frame)
        if snapshot is None:
            continue
        if history is not None:
            history.add(snapshot)
        if snapshot.close_ns <= first_ns:
            seen.clear()
        seen.append(snapshot)
    if history is not None:
        history.flush()
    limit_ns = max(AGE_NS, 2 * spec.market.step_seconds * 1_000_000_000)
    for name, ns, one_ns in (
        ("T1", first_ns, seen[0].close_ns if seen else 0), ("T2", second_ns, seen[-1].close_ns if seen else 0)
    ):  # fmt: skip
        if not one_ns <= ns < one_ns + limit_ns:
            known = f"the nearest is of {_iso(one_ns)}" if one_ns else "there is none"
            raise DataError(f"diff: no map within {limit_ns // MINUTE_NS} minutes before {name}: {known}")
    if len(seen) < 2:
        raise DataError("diff: both times show the same snapshot")
    return seen


def _iso(ns: int) -> str:
    from squeeze.cli import iso

    return iso(ns)


def _plain(found: "Difference") -> Any:
    """For JSON, which has no NaN."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: finite(v) for k, v in value.items()}
        if isinstance(value, list):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return finite(json.loads(msgspec.json.encode(found)))


def _plot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, nargs="?", help="run file whose market is drawn")
    parser.add_argument("--sim", action="store_true", help="draw a simulated market of three venues")
    parser.add_argument("--days", type=int, default=8, help="--sim: length of the market (default: 8)")
    parser.add_argument("--market-seed", type=int, default=0, help="--sim: seed of the market (default: 0)")
    parser.add_argument("--at", help="UTC time up to which is drawn; the newest bar by default")
    parser.add_argument("--from", dest="start", help="UTC time from which is folded; the lake's beginning by default")
    parser.add_argument("--hours", type=float, default=24.0, help="how much of the time before it (default: 24)")
    parser.add_argument(
        "--reach", type=float, default=4.0, help="percent of price beyond the mark's range (default: 4)"
    )
    parser.add_argument("--dpi", type=int, default=100, help="pixels an inch of the still pictures (default: 100)")
    parser.add_argument("--out", type=Path, required=True, help="folder for PNG files and maps.html")
    lake_argument(parser)


def _plot(args: Arguments) -> None:
    from squeeze.tools.pictures import page, still
    from squeeze.tools.pictures.figures import pictures
    from squeeze.tools.pictures.gather import gather
    from squeeze.tools.pictures.scales import utc

    if args.sim == (args.config is not None):
        raise ConfigError("plot: needs a run file, or --sim, and not both")
    for name, value in (("--hours", args.hours), ("--reach", args.reach), ("--dpi", args.dpi)):
        if not (0 < value < math.inf):
            raise ConfigError(f"{name}: above zero, got {value}")
    with telling() as tell:
        tell("folding")
        end_ns, steps, source = _simulated(args) if args.sim else _recorded(args)
        seen = gather(steps, end_ns, args.hours)
        tell("drawing")
        shown = pictures(seen, source, args.reach / 100)
        written = []
        for picture in shown:
            written.append(args.out / f"{picture.name}.png")
            still.save(picture, written[-1], args.dpi)
        written.append(args.out / "maps.html")
        facts = {
            "market": seen.symbol, "data": source, "from": utc(seen.start_ns), "to": utc(seen.end_ns),
            "folded since": utc(seen.first_ns), "venues": ", ".join(seen.kept_atlas.names),
        }  # fmt: skip
        page.write(written[-1], f"{seen.symbol}: heatmaps", facts, shown)
    show(args, [{"file": str(path), "kB": path.stat().st_size // 1000} for path in written])


def _recorded(args: Arguments) -> "tuple[int, Iterator[Folded], str]":
    import yaml

    from squeeze.market.lake import Lake
    from squeeze.tools import fold
    from squeeze.tools.study.task import load_task

    lake, spec = Lake(args.lake), fold.with_atlas(load_task(args.config).spec)
    newest_ns = fold.last_known_ns(lake, spec)
    end_ns = newest_ns if args.at is None else utc_ns(args.at)
    if end_ns > newest_ns:
        raise DataError(f"plot: the lake ends at {_iso(newest_ns)}, before {args.at}")
    events = fold.recorded(lake, spec, parse_time(args.start), end_ns)
    is_simulated = "simulated" in str(yaml.safe_load(args.config.read_text(encoding="utf-8")).get("licence"))
    return end_ns, fold.folded(spec, events), "simulated market" if is_simulated else "recorded market"


def _simulated(args: Arguments) -> "tuple[int, Iterator[Folded], str]":
    from squeeze.tools import fold

    if args.days < 1:
        raise ConfigError(f"--days: at least 1, got {args.days}")
    begins_ns, ends_ns = fold.simulated_range(args.days)
    end_ns = ends_ns if args.at is None else utc_ns(args.at)
    if not begins_ns < end_ns <= ends_ns:
        raise ConfigError(f"--at: the simulated market goes from {_iso(begins_ns)} to {_iso(ends_ns)}, got {args.at}")
    shown_days = math.ceil((ends_ns - end_ns + args.hours * HOUR_NS) / DAY_NS)
    events = fold.simulated(args.days, args.market_seed, min(shown_days, args.days), BOOK_MINUTES)
    return end_ns, fold.folded(fold.simulated_spec(), events), f"simulated market, seed {args.market_seed}"


MAP_VERBS = {
    "diff": Verb(
        "what grew, moved, vanished or appeared in the liquidation map between two times",
        "squeeze diff configs/demo.yaml 2025-02-10T06:00 2025-02-10T18:00 --lake out/demo/lake",
        _diff_arguments,
        _diff,
    ),
    "plot": Verb(
        "every heatmap with price, zones, patterns and liquidations, as PNG and as a page",
        "squeeze plot --sim --out out/plot",
        _plot_arguments,
        _plot,
    ),
}
