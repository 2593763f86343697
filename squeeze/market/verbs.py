"""The verb that looks after a lake: `squeeze lake check | compact | repair | build`.

Importing this imports nothing heavy: each action does so when it runs.
"""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from squeeze.cli import Arguments, Verb, iso, lake_argument, show, telling
from squeeze.errors import ConfigError, LakeError

if TYPE_CHECKING:
    from squeeze.market.upkeep import StreamReport

SHOWN_FAULTS = 20


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=list(ACTIONS),
        help="check: what is wrong, status 2 if anything; compact: the same rows, better packed; repair: damaged files "
        "aside, what they still give kept; build: events from the raw log into the lake",
    )
    lake_argument(parser)
    parser.add_argument("--kind", help="only this kind, such as bar_5m; all by default")
    parser.add_argument("--venue", help="only this venue; all by default")
    parser.add_argument("--symbol", help="only this symbol; all by default")
    parser.add_argument("--raw", metavar="FOLDER", help="the raw log: build reads it, repair mends it too")


def _run(args: Arguments) -> None:
    ACTIONS[args.action](args)


def _check(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.market.upkeep import check

    with telling() as tell:
        tell("reading every partition")
        reports = check(Lake(args.lake), args.kind, args.venue, args.symbol)
    faults = [fault for report in reports for fault in report.faults]
    hidden = len(faults) - SHOWN_FAULTS
    shown = [*faults[:SHOWN_FAULTS], f"and {hidden} more"] if hidden > 0 else faults
    rows = [asdict(r) | {"ok": r.ok} if args.json else _row(r) for r in reports]
    show(args, rows, "\n".join(shown))
    if faults:
        raise LakeError(f"{args.lake}: faults: {len(faults)}; `squeeze lake repair` mends what can be mended")


def _row(report: "StreamReport") -> dict[str, object]:
    return {
        "kind": report.kind,
        "venue": report.venue,
        "symbol": report.symbol,
        "rows": report.rows,
        "from": "" if report.first_ns is None else iso(report.first_ns),
        "to": "" if report.last_ns is None else iso(report.last_ns),
        "days": report.days,
        "days missing": len(report.missing_days),
        "intervals missing": report.missing,
        "first hole": iso(report.holes[0][0]) if report.holes else "",
        "equal": report.repeats,
        "gaps": report.gaps,
        "silent s": round(report.silent_ns / 1e9),
        "breaks": report.breaks,
        "flags": ",".join(report.flags),
        "faults": len(report.faults),
    }


def _compact(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.market.upkeep import compact

    with telling() as tell:
        tell("reading the metadata of every partition")
        done = compact(Lake(args.lake), args.kind, args.venue, args.symbol)
    row = {
        "partitions": done.partitions,
        "rewritten": len(done.rewritten),
        "leftovers": len(done.leftovers),
        "unreadable": len(done.unreadable),
        "bytes before": done.bytes_before,
        "bytes after": done.bytes_after,
    }
    show(args, [row], "unreadable partitions were left alone: see `squeeze lake repair`" if done.unreadable else "")


def _repair(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.market.upkeep import repair

    with telling() as tell:
        tell("reading every partition")
        rows = [
            {"what": f"{r.kind} {r.venue} {r.symbol} {r.day}", "kept": f"{r.rows} rows", "original": r.original}
            | {"import or build again": r.is_incomplete, "problem": r.problem}
            for r in repair(Lake(args.lake), args.kind, args.venue, args.symbol)
        ]
        if args.raw is not None:
            from squeeze.market.raw_log import RawLog

            tell("reading the raw log")
            rows += [
                {"what": s.path, "kept": f"{s.frames_kept} frames", "original": s.original}
                | {"import or build again": s.bytes_lost > 0, "problem": f"{s.bytes_lost} bytes lost"}
                for s in RawLog(args.raw).repair(args.venue)
            ]
    show(args, rows, "" if rows else "nothing to repair")


def _build(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.market.raw_log import RawLog
    from squeeze.market.session import normalise

    if args.raw is None:
        raise ConfigError("lake build: needs --raw, the folder of the raw log")
    if args.kind or args.symbol:
        raise ConfigError("lake build: takes all kinds and symbols of a venue; leave out --kind and --symbol")
    raw, lake, rows = RawLog(args.raw), Lake(args.lake), []
    with telling() as tell:
        for venue in [args.venue] if args.venue else raw.venues():
            tell(f"building {venue}")
            written = lake.write_events(normalise(raw.read(venue), venue))
            rows.append(
                {"venue": venue, "new": written.rows_new, "same": written.rows_same, "kept": written.rows_kept}
                | {"too old": written.rows_too_old}
            )
    if not rows:
        raise LakeError(f"{raw.storage.place('')}: no raw frames")
    notes = {
        "kept": "kept: the lake already held another value for that time, and kept it",
        "too old": "too old: known more than a day after it happened, and left out",
    }
    show(args, rows, "\n".join(note for name, note in notes.items() if any(row[name] for row in rows)))


ACTIONS = {"check": _check, "compact": _compact, "repair": _repair, "build": _build}

LAKE = Verb(
    "check, compact, repair or build the lake",
    "squeeze lake check --lake out/lake",
    _arguments,
    _run,
)
