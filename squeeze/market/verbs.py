"""The verbs of recorded markets: `squeeze archives`, `captures`, `instruments`, `lake`, `record`, `steps`.

Importing this imports nothing heavy: each action does so when it runs.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from squeeze.cli import (
    Arguments,
    Verb,
    instruments_argument,
    instruments_of,
    iso,
    lake_argument,
    parse_time,
    show,
    speed_argument,
    speed_of,
    telling,
)
from squeeze.errors import ConfigError, LakeError
from squeeze.market.feeds.verbs import INSTRUMENTS, RECORD

if TYPE_CHECKING:
    from squeeze.market.lake_check import StreamReport

SHOWN_FAULTS = 20


def _lake_arguments(parser: argparse.ArgumentParser) -> None:
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
    instruments_argument(parser)


def _lake(args: Arguments) -> None:
    ACTIONS[args.action](args)


def _check(args: Arguments) -> None:
    from squeeze.market.lake import Lake
    from squeeze.market.lake_check import check

    with telling() as tell:
        tell("reading every partition")
        reports = check(Lake(args.lake), args.kind, args.venue, args.symbol)
    if not reports:
        raise LakeError(f"{args.lake}: holds nothing of that kind, venue and symbol, or nothing at all")
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
    raw, lake, known, rows = RawLog(args.raw), Lake(args.lake), instruments_of(args), []
    with telling() as tell:
        for venue in [args.venue] if args.venue else raw.venues():
            tell(f"building {venue}")
            written = lake.write_events(normalise(raw.read(venue), venue, known))
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


def _archives_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="as published, with NAME.CHECKSUM beside it"
    )
    parser.add_argument("--spot", action="store_true", help="Binance's files are of spot: SYMBOL-SPOT in the lake")
    parser.add_argument("--kind", help="what a name leaves open: markPriceKlines, trades, liquidations")
    parser.add_argument("--native-amounts", action="store_true", help="take Tardis' sizes as the exchange counts them")
    instruments_argument(parser)
    lake_argument(parser)


def _archives(args: Arguments) -> None:
    from squeeze.market.archives import import_archives
    from squeeze.market.lake import Lake

    with telling() as tell:
        done = import_archives(
            args.files,
            Lake(args.lake),
            tell,
            instruments_of(args),
            kind=args.kind,
            spot=args.spot,
            native_amounts=args.native_amounts,
        )
    rows = [
        {"file": a.file, "kind": a.kind, "venue": a.venue, "symbol": a.symbol, "from": iso(a.first_ns)}
        | {"to": iso(a.last_ns), "new": a.written.rows_new, "same": a.written.rows_same, "kept": a.written.rows_kept}
        | {"skipped": a.skipped, "checksum": a.checksum}
        for a in done
    ]
    kept = any(a.written.rows_kept for a in done)
    show(args, rows, "kept: the lake already held another value for that time, and kept it" if kept else "")


def _captures_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a capture of cryptofeed (.jsonl.zst) or hftbacktest (.gz)")
    parser.add_argument("--venue", required=True, help="whose frames they are: binance, bybit or okx")
    parser.add_argument("--raw", metavar="FOLDER", default="out/raw", help="the raw log (default: out/raw)")
    parser.add_argument("--symbol", default="", help="of whose book a snapshot is that does not say so")
    parser.add_argument("--address", default="", help="only connections whose address holds this: v5/public/linear")


def _captures(args: Arguments) -> None:
    from squeeze.market.captures import import_capture
    from squeeze.market.raw_log import RawLog

    done = import_capture(args.file, RawLog(args.raw), args.venue, args.symbol, args.address)
    skipped = ", ".join(f"{count} {what}" for what, count in sorted(done.skipped.items()))
    show(args, [{"file": args.file.name, "frames": done.frames, "answers": done.answers, "skipped": skipped}])


def _steps_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", help="as the lake calls it, such as BTCUSDT")
    parser.add_argument("--length", default="1m", help="length of a step: 1s to 1h (default: 1m)")
    parser.add_argument("--venue", action="append", help="only this venue; may be given again (default: all there are)")
    parser.add_argument("--from", dest="start", help="UTC time of the first event; the beginning by default")
    parser.add_argument("--until", help="UTC time at which to stop; the end by default")
    parser.add_argument("--raw", metavar="FOLDER", help="read the raw log here, not the lake")
    speed_argument(parser)
    instruments_argument(parser)
    lake_argument(parser)


def _steps(args: Arguments) -> None:
    import msgspec

    from squeeze.market.events import HOUR_NS, SECOND_NS
    from squeeze.market.lake import Lake
    from squeeze.market.mapping import duration_ns
    from squeeze.market.raw_log import RawLog
    from squeeze.market.replay import lake_events, paced, raw_events, venues_of
    from squeeze.market.steps import steps

    try:
        length_ns = duration_ns(args.length)
    except ValueError as error:
        raise ConfigError(f"--length: {error}") from None
    if not SECOND_NS <= length_ns <= HOUR_NS or 86_400 * SECOND_NS % length_ns:
        raise ConfigError(f"--length: from 1s to 1h, and a part of a day, got {args.length}")
    speed, known = speed_of(args), instruments_of(args)
    start_ns, end_ns = parse_time(args.start), parse_time(args.until)
    if args.raw is not None:
        raw = RawLog(args.raw)
        events = raw_events(raw, args.venue or raw.venues(), args.symbol, start_ns, end_ns, known)
    else:
        lake = Lake(args.lake)
        events = lake_events(lake, args.venue or venues_of(lake, args.symbol), args.symbol, start_ns, end_ns)
    for step in steps(paced(events, speed), args.symbol, length_ns):
        sys.stdout.buffer.write(msgspec.json.encode(step) + b"\n")
    sys.stdout.buffer.flush()


MARKET_VERBS = {
    "archives": Verb(
        "read exchanges' and Tardis' published files into the lake",
        "squeeze archives BTCUSDT-aggTrades-2025-11.zip --lake out/lake",
        _archives_arguments,
        _archives,
    ),
    "captures": Verb(
        "read another recorder's session into the raw log",
        "squeeze captures BYBIT.jsonl.zst --venue bybit --address v5/public/linear",
        _captures_arguments,
        _captures,
    ),
    "instruments": INSTRUMENTS,
    "lake": Verb(
        "check, compact, repair or build the lake",
        "squeeze lake check --lake out/lake",
        _lake_arguments,
        _lake,
    ),
    "record": RECORD,
    "steps": Verb(
        "recorded events as steps, a line of JSON each",
        "squeeze steps BTCUSDT --raw out/raw --length 1s",
        _steps_arguments,
        _steps,
    ),
}
