"""The verb `squeeze journal`: what was read and predicted, whether it was changed since, and how good it was."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from squeeze.cli import Arguments, Verb, iso, lake_argument, show, telling
from squeeze.errors import ConfigError, DataError, LakeError, one_line
from squeeze.market.events import MINUTE_NS

if TYPE_CHECKING:
    from squeeze.market.lake import Lake
    from squeeze.tools.journal.chain import Entry, Journal
    from squeeze.tools.journal.grade import Graded
    from squeeze.tools.reading.predictions import Prediction

ACTIONS = ("list", "show", "verify", "grade", "table", "add")
US = 1000
"""Nanoseconds of a message's microsecond."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="list or show entries; verify the chain; grade what is over; table of hits; add a model's probabilities",
    )
    parser.add_argument("name", nargs="?", help="show: number or hash of an entry; add: file of messages, - for stdin")
    parser.add_argument("--journal", type=Path, default=Path("out/journal"), help="(default: out/journal)")
    parser.add_argument("--head", metavar="HASH", help="verify: hash of an entry noted earlier, which must be there")
    parser.add_argument("--symbol", help="grade: only entries of this symbol")
    parser.add_argument("--no-figures", action="store_true", help="grade: without a picture of what came")
    parser.add_argument("--config", type=Path, help="add: run file of the model, for what it predicts")
    parser.add_argument("--every", type=int, default=60, help="add: a probability each so many minutes (default: 60)")
    lake_argument(parser)


def _journal(args: Arguments) -> None:
    from squeeze.tools.journal.chain import Journal

    journal = Journal(args.journal)
    {"list": _list, "show": _show, "verify": _verify, "grade": _grade, "table": _table, "add": _add}[args.action](
        args, journal
    )


def _list(args: Arguments, journal: "Journal") -> None:
    from squeeze.tools.journal.table import graded_of

    entries = journal.entries()
    grades = graded_of(entries)
    rows = [
        {
            "number": e.number, "hash": e.name, "kind": e.kind, "symbol": e.symbol, "at": iso(e.at_ns),
            "written": iso(e.written_ns), "profile": e.body.get("profile", ""),
            "predictions": len(e.body.get("predictions", ())), "graded": "yes" if e.hash in grades else "",
        }
        for e in entries
    ]  # fmt: skip
    show(args, rows)


def _show(args: Arguments, journal: "Journal") -> None:
    from squeeze.tools.journal.table import graded_of

    if args.name is None:
        raise ConfigError("journal show: needs the number or the hash of an entry")
    entry = journal.find(args.name)
    grades = [msgspec.to_builtins(one) for one in graded_of(journal.entries()).get(entry.hash, ())]
    if args.json:
        print(json.dumps(msgspec.to_builtins(entry) | {"grades": grades}))
        return
    body = {name: value for name, value in entry.body.items() if name != "spec"}
    print(f"{entry.number} {entry.hash}\n{entry.kind} of {entry.symbol} at {iso(entry.at_ns)}, written "
          f"{iso(entry.written_ns)}")  # fmt: skip
    for name, figure in entry.figures.items():
        print(f"figure {name}: {journal.folder / figure.file}")
    if "read" in body:
        from squeeze.strict import convert
        from squeeze.tools.reading.read import Read, text

        print(text(convert(body["read"], Read, "journal")))
    else:
        print(json.dumps(body, indent=2))
    for grade in grades:
        for one in grade["body"]["graded"]:
            print(f"{one['outcome']:>8}  {one['prediction']['words']}: {one['why']}")


def _verify(args: Arguments, journal: "Journal") -> None:
    faults = journal.verify()
    entries = [] if faults else journal.entries()
    if args.head is not None and not faults and not any(e.hash.startswith(args.head) for e in entries):
        faults.append(f"no entry {args.head}: entries were cut off, or the journal was made anew")
    if faults:
        raise DataError(f"{journal.path}: {'; '.join(faults)}")
    head = entries[-1].hash if entries else "none"
    show(args, [{"entries": len(entries), "figures": sum(len(e.figures) for e in entries), "head": head}],
         "note the head elsewhere: against it shows whether entries were cut off at the end")  # fmt: skip


def _grade(args: Arguments, journal: "Journal") -> None:
    from squeeze.market.lake import Lake
    from squeeze.tools.journal.table import graded_of

    entries = journal.entries()
    done = graded_of(entries)
    wanted = [
        e for e in entries
        if e.body.get("predictions") and e.hash not in done and args.symbol in (None, e.symbol)
    ]  # fmt: skip
    rows, waiting, lake = [], 0, Lake(args.lake)
    with telling() as tell:
        for entry in wanted:
            tell(f"grading {entry.number} of {len(entries)}")
            found = _outcomes(entry, lake)
            if found is None:
                waiting += 1
                continue
            with tempfile.TemporaryDirectory() as folder:
                figures = {} if args.no_figures else _after(entry, lake, Path(folder) / "after.png")
                end_ns = _end_ns(entry)
                journal.add("grade", entry.symbol, end_ns, {"of": entry.hash, "graded": found}, figures)
            rows += [
                {"entry": entry.number, "step": one.prediction.step, "outcome": one.outcome,
                 "said": one.prediction.probability, "what": one.prediction.words, "why": one.why}
                for one in found
            ]  # fmt: skip
    show(args, rows, f"{waiting} not over yet, or not in this lake" if waiting else "")


def _predictions(entry: "Entry") -> "list[Prediction]":
    from squeeze.strict import convert
    from squeeze.tools.reading.predictions import Prediction

    return [convert(one, Prediction, f"journal entry {entry.number}") for one in entry.body["predictions"]]


def _end_ns(entry: "Entry") -> int:
    return entry.at_ns + max(one.horizon_minutes for one in _predictions(entry)) * MINUTE_NS


def _outcomes(entry: "Entry", lake: "Lake") -> "list[Graded] | None":
    """None while the lake does not reach to the end of it, or does not hold its market."""
    from squeeze.spec import Spec
    from squeeze.strict import convert
    from squeeze.tools import fold
    from squeeze.tools.journal.grade import graded, path_after

    spec, end_ns = convert(entry.body["spec"], Spec, f"journal entry {entry.number}"), _end_ns(entry)
    try:
        newest_ns = fold.last_known_ns(lake, spec)
        if newest_ns < end_ns:
            return None
        path = path_after(lake, spec, entry.at_ns, end_ns, newest_ns)
    except LakeError:
        return None
    mark = float(entry.body.get("mark") or "nan")
    return [graded(one, entry.at_ns, mark, path, lake, spec) for one in _predictions(entry)]


def _after(entry: "Entry", lake: "Lake", path: Path) -> dict[str, Path]:
    """A picture of what came, for entries that were read from maps."""
    from squeeze.spec import Spec
    from squeeze.strict import convert
    from squeeze.tools.pictures import still
    from squeeze.tools.reading.figure import figure
    from squeeze.tools.reading.gather import recorded
    from squeeze.tools.reading.profile import PROFILES

    if entry.body["profile"] not in PROFILES:
        return {}
    spec = convert(entry.body["spec"], Spec, f"journal entry {entry.number}")
    profile, first_ns = PROFILES[entry.body["profile"]], int(entry.body["first_ns"])
    start_ns = first_ns - spec.market.step_seconds * 10**9 + 1  # what was known after the step before the first
    try:
        reading = recorded(lake, spec, profile, _end_ns(entry), start_ns)
    except DataError:  # no price in its window
        return {}
    still.save(figure(reading, tuple(_predictions(entry)), entry.at_ns), path)
    return {"after": path}


def _table(args: Arguments, journal: "Journal") -> None:
    from squeeze.tools.journal.table import plain, scores

    faults = journal.verify(with_figures=False)
    if faults:
        raise DataError(f"{journal.path}: {faults[0]}; a broken chain is not counted")
    show(args, plain(scores(journal.entries())),
         "" if args.json else "hit_low, hit_high: 95 % as if outcomes were independent, and neighbouring reads are "
         "alike; hindsight: written over an hour after the time it speaks of")  # fmt: skip


def _add(args: Arguments, journal: "Journal") -> None:
    """Keep a model's probabilities as predictions of cascades."""
    from squeeze.signals.message import ProbabilityMessage, decode
    from squeeze.tools.reading_verbs import plain_spec
    from squeeze.tools.study.task import load_task

    if args.name is None or args.config is None or args.every < 1:
        raise ConfigError("journal add: needs a file of messages, --config with the run, and --every above zero")
    spec = load_task(args.config).spec
    if spec.label.threshold_usd is None:
        raise ConfigError(f"{args.config}: the journal grades sums over a threshold, the label is {spec.label.event}")
    data = sys.stdin.buffer.read() if args.name == "-" else Path(args.name).read_bytes()
    last_ns, rows = -1, []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            message = decode(line)
        except msgspec.MsgspecError as error:
            raise DataError(f"{args.name}: line {number}: no message: {one_line(error)}") from None
        if not isinstance(message, ProbabilityMessage) or message.symbol != spec.market.symbol:
            continue
        at_ns = message.ts_data_us * US
        if last_ns >= 0 and at_ns - last_ns < args.every * MINUTE_NS:
            continue
        last_ns = at_ns
        body = {
            "profile": "model", "model": message.model_version, "mark": message.mark, "spec": plain_spec(spec),
            "predictions": _cascades(message.probabilities, spec.label.threshold_usd, spec.label.name),
        }  # fmt: skip
        entry = journal.add("prediction", message.symbol, at_ns, body)
        rows.append({"number": entry.number, "hash": entry.name, "at": iso(at_ns)})
    show(args, rows)


def _cascades(probabilities: Any, threshold_usd: float, label: str) -> "list[Prediction]":
    from squeeze.tools.reading.predictions import Prediction

    return [
        Prediction(
            step=0, kind="cascade", side=side, words=f"{name} within {horizon} min: {label}",
            horizon_minutes=int(horizon), probability=p, basis="the model", threshold_usd=threshold_usd,
        )
        for side, name in enumerate(("long", "short"))
        for horizon, p in probabilities[name].items()
    ]  # fmt: skip


JOURNAL = Verb(
    "reads and predictions as they were made, chained by hash, and graded when they are over",
    "squeeze journal grade --lake out/venues",
    _arguments,
    _journal,
)
