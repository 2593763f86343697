"""The verbs `squeeze read` and `squeeze checklist`. Nothing heavy is imported before one runs."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from squeeze.cli import Arguments, Verb, lake_argument, parse_time, telling
from squeeze.errors import ConfigError, DataError
from squeeze.strict import utc_ns

if TYPE_CHECKING:
    from squeeze.spec import Spec
    from squeeze.tools.reading.gather import Reading
    from squeeze.tools.reading.predictions import Prediction

NAMES = ("scalp", "day", "swing")
SIDES = {"long": 1, "short": -1}
"""Which way the price has to go for a trade of that side."""


def _market_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", help="as the lake calls it")
    parser.add_argument("--config", type=Path, help="run file of the market; without one, all that the lake has of it")
    parser.add_argument("--at", help="UTC time to read at; the lake's newest bar by default")
    parser.add_argument("--from", dest="start", help="UTC time from which is folded; 14 or 45 days before by default")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the figure; out/read/SYMBOL-PROFILE.png by default")
    parser.add_argument("--dpi", type=int, default=100, help="pixels an inch of the figure (default: 100)")
    parser.add_argument("--journal", type=Path, default=Path("out/journal"), help="(default: out/journal)")
    parser.add_argument("--no-journal", action="store_true", help="keep no entry in the journal")
    lake_argument(parser)


def _read_arguments(parser: argparse.ArgumentParser) -> None:
    _market_arguments(parser)
    parser.add_argument("--profile", choices=NAMES, default="day", help="how long trades are held (default: day)")


def _read(args: Arguments) -> None:
    from squeeze.tools.reading.read import answered, text

    with telling() as tell:
        reading = _reading(args, tell)
        found = answered(reading)
        tell("drawing")
        picture = _draw(args, reading, found.predictions)
    kept = _keep(args, "read", reading, {"read": found, "predictions": found.predictions}, picture)
    if args.json:
        print(json.dumps(msgspec.to_builtins(found) | {"figure": str(picture), "entry": kept}))
        return
    print(text(found))
    print(f"\nfigure: {picture}" + (f"\njournal: {kept}" if kept else ""))


def _reading(args: Arguments, tell: Any, since_ns: int | None = None) -> "Reading":
    from squeeze.market.lake import Lake
    from squeeze.tools.reading.gather import recorded
    from squeeze.tools.reading.market import spec_of
    from squeeze.tools.reading.profile import PROFILES, profiled

    if not 20 <= args.dpi <= 600:
        raise ConfigError(f"--dpi: from 20 to 600, got {args.dpi}")
    profile, lake = PROFILES[args.profile], Lake(args.lake)
    at_ns = parse_time(args.at)
    spec = profiled(spec_of(args.config, args.symbol, lake, profile, at_ns), profile)
    tell(f"folding {args.symbol}")
    return recorded(lake, spec, profile, at_ns, parse_time(args.start), since_ns)


def _draw(args: Arguments, reading: "Reading", predictions: "tuple[Prediction, ...]") -> Path:
    from squeeze.tools.pictures import still
    from squeeze.tools.reading.figure import figure

    path: Path = args.out or Path(f"out/read/{args.symbol}-{args.profile}.png")
    still.save(figure(reading, predictions), path, args.dpi)
    return path


def _keep(args: Arguments, kind: str, reading: "Reading", body: dict[str, Any], picture: Path) -> str:
    """The name of the journal's entry; empty where none is kept."""
    from squeeze.tools.journal.chain import Journal

    if args.no_journal:
        return ""
    body |= {
        "profile": reading.profile.name, "mark": reading.mark, "first_ns": reading.seen.first_ns,
        "source": reading.source, "spec": plain_spec(reading.spec),
    }  # fmt: skip
    entry = Journal(args.journal).add(kind, reading.seen.symbol, reading.at_ns, body, {"before": picture})
    return f"{entry.number} {entry.name}"


def plain_spec(spec: "Spec") -> Any:
    """For JSON, and back through `strict.convert`."""
    return msgspec.json.decode(msgspec.json.encode(spec))


def _checklist_arguments(parser: argparse.ArgumentParser) -> None:
    _market_arguments(parser)
    parser.add_argument("--side", choices=tuple(SIDES), required=True, help="of the trade: long buys, short sells")
    parser.add_argument("--target", type=float, required=True, help="price that the trade wants to reach")
    parser.add_argument("--since", help="UTC time of the last check, for what has changed")
    parser.add_argument("--profile", choices=NAMES, default="day", help="how long it would be held (default: day)")


def _checklist(args: Arguments) -> None:
    from squeeze.signals.checklist import answers
    from squeeze.tools.reading.predictions import of_target
    from squeeze.tools.reading.read import time_of

    if not 0 < args.target < math.inf:
        raise ConfigError(f"--target: a price, got {args.target}")
    since_ns = None if args.since is None else utc_ns(args.since)
    with telling() as tell:
        reading = _reading(args, tell, since_ns)
        direction = SIDES[args.side]
        if not direction * math.log(args.target / reading.mark) > 0:
            beyond = "above" if direction > 0 else "below"
            raise ConfigError(
                f"--target: a {args.side} trade wants one {beyond} the mark {reading.mark:g}, got {args.target:g}"
            )
        if since_ns is not None and (reading.since is None or since_ns >= reading.at_ns):
            raise DataError(f"--since {args.since}: no step was folded up to then, or it is not before the reading")
        found = answers(reading.scene, int(direction > 0), direction, args.target, reading.since)
        predicted = of_target(reading, args.target)
        picture = _draw(args, reading, predicted)
    said = {"side": args.side, "target": args.target, "answers": list(found)}
    kept = _keep(args, "checklist", reading, said | {"predictions": predicted}, picture)
    if args.json:
        whole = {"symbol": args.symbol, "at": time_of(reading.at_ns), "mark": reading.mark, **said}
        print(json.dumps(whole | {"figure": str(picture), "entry": kept}))
        return
    at = time_of(reading.at_ns)
    print(f"{args.symbol}, {reading.source}, {args.side} from {reading.mark:,.6g} to {args.target:,.6g}, {at}")
    for number, one in enumerate(found, start=1):
        print(f"\n{number}. {one['question']}\n   [{one['verdict']}] {one['answer']}")
        for part in one["evidence"].split("; "):
            print(f"     - {part}")
    print(f"\nfigure: {picture}" + (f"\njournal: {kept}" if kept else ""))


READING_VERBS = {
    "read": Verb(
        "the heatmaps of a market read in the guide's nine steps, with evidence and one figure",
        "squeeze read SIMUSDT --profile day --lake out/venues",
        _read_arguments,
        _read,
    ),
    "checklist": Verb(
        "the guide's five questions before a trade, answered from the maps",
        "squeeze checklist SIMUSDT --side long --target 61500 --since 2025-01-05T12:00 --lake out/venues",
        _checklist_arguments,
        _checklist,
    ),
}
