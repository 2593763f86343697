"""The verb `squeeze scorecard`: how good a model was, from what `squeeze run` keeps or from what was said."""

import argparse
import contextlib
import heapq
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from squeeze.cli import Arguments, Verb, lake_argument, parse_time, show
from squeeze.errors import ConfigError, DataError, StepError, one_line

if TYPE_CHECKING:
    from squeeze.market.events import AnyEvent
    from squeeze.signals.message import AnyMessage
    from squeeze.tools.scorecard.report import Report
    from squeeze.tools.scorecard.scorecard import Scorecard
    from squeeze.tools.scorecard.spec import ScorecardSpec

DEFAULT_STATE = Path("out/outbox.sqlite")
US = 1000
"""Nanoseconds of a message's microsecond."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default=DEFAULT_STATE, metavar="FILE", help=f"outbox of `squeeze run` ({DEFAULT_STATE})"
    )
    parser.add_argument("--from", dest="messages", metavar="FILE", help="instead: messages, a line each, - for stdin")
    parser.add_argument("--model", metavar="FILE", help="with --from: the model that said them")
    parser.add_argument("--until", metavar="TIME", help="with --from: as of this UTC time; the last message if absent")
    parser.add_argument("--constants", type=Path, metavar="FILE", help="of the figures; the defaults if absent")
    parser.add_argument("--on", metavar="SYMBOL", help="switch a symbol on again; `squeeze run` must not be running")
    lake_argument(parser)


def _run(args: Arguments) -> None:
    from squeeze.tools.scorecard.report import text
    from squeeze.tools.scorecard.spec import ScorecardSpec, read_scorecard_spec

    if args.on is not None:
        _switch_on(args)
        return
    if (args.messages is None) != (args.model is None) or (args.until and args.messages is None):
        raise ConfigError("scorecard: --from and --model go together, and --until goes with them")
    spec = ScorecardSpec() if args.constants is None else read_scorecard_spec(args.constants)
    reports = _kept(args.state, spec) if args.messages is None else [_replayed(args, spec).report()]
    if args.json:
        print(json.dumps([plain(report) for report in reports]))
        return
    sys.stdout.write("\n".join(text(report) for report in reports) or f"{args.state}: holds no scorecard\n")


def plain(report: "Report") -> Any:
    """A report in plain types; JSON has no NaN, so that a figure that does not exist is null."""
    return json.loads(msgspec.json.encode(report))


def _kept(path: Path, spec: "ScorecardSpec") -> "list[Report]":
    """Of every symbol whose scorecard an outbox keeps."""
    from squeeze.emitter.judged import Switch, state_name, switch_name
    from squeeze.emitter.outbox import reading
    from squeeze.tools.scorecard.scorecard import Scorecard

    with contextlib.closing(reading(path)) as db:
        states: dict[str, bytes] = dict(db.execute("SELECT name, state FROM states").fetchall())
    found = []
    for name, kept in sorted(states.items()):
        symbol, _, what = name.rpartition(" ")
        if name != state_name(symbol) or not what:
            continue
        try:
            scorecard = Scorecard.of(kept, spec)
        except StepError as error:
            raise DataError(f"{path}: {symbol}: {error}") from None
        if switch_name(symbol) in states:
            scorecard.off = msgspec.msgpack.decode(states[switch_name(symbol)], type=Switch).off
        found.append(scorecard.report())
    return found


def _switch_on(args: Arguments) -> None:
    from squeeze.emitter.judged import Switch, state_name, switch_name
    from squeeze.emitter.outbox import Outbox

    if not args.state.is_file():
        raise ConfigError(f"{args.state}: there is no outbox")
    with Outbox(args.state) as outbox:
        if outbox.state(state_name(args.on)) is None and outbox.state(switch_name(args.on)) is None:
            raise ConfigError(f"--on: {args.state} holds no scorecard of {args.on}")
        outbox.store((), {switch_name(args.on): msgspec.msgpack.encode(Switch("", time.time_ns()))})
    show(args, [{"symbol": args.on, "switched": "on"}])


def _replayed(args: Arguments, spec: "ScorecardSpec") -> "Scorecard":
    """The scorecard that a process would have kept which said just this."""
    from squeeze.market.lake import Lake, read_events
    from squeeze.predictor import load
    from squeeze.tools.scorecard.scorecard import Scorecard

    predictor = load(args.model)
    market = predictor.spec.market
    scorecard = Scorecard(predictor.card, predictor.digest, spec)
    said = [message for message in _messages(args.messages) if message.symbol == market.symbol]
    if strange := next((m for m in said if m.model_version != predictor.digest), None):
        raise ConfigError(f"{args.messages}: message {strange.event_id} is of model {strange.model_version[:16]}, "
                          f"{args.model} is {predictor.digest[:16]}")  # fmt: skip
    if not said:
        raise DataError(f"{args.messages}: holds no message of {market.symbol}")
    first_ns = said[0].ts_data_us * US
    until_ns = parse_time(args.until) or max(message.ts_data_us for message in said) * US
    events = read_events(Lake(args.lake), market, first_ns - scorecard.record.back_ns, until_ns + 1)
    follow(scorecard, events, said, until_ns)
    return scorecard


def follow(scorecard: "Scorecard", events: "Iterator[AnyEvent]", said: "list[AnyMessage]", until_ns: int) -> None:
    """Have a scorecard hear events and messages as they came, messages after the events of their time."""
    heard = ((event.known_at_ns, 0, event) for event in events)
    told = ((message.ts_data_us * US, 1, message) for message in said)
    for at_ns, is_message, one in heapq.merge(heard, told, key=lambda row: row[:2]):
        if at_ns > until_ns:
            break
        scorecard.on_clock(at_ns - 1)
        if is_message:
            scorecard.on_message(one)  # type: ignore[arg-type]
        else:
            scorecard.on_event(one)  # type: ignore[arg-type]
    scorecard.on_clock(until_ns)


def _messages(name: str) -> "Iterator[AnyMessage]":
    from squeeze.signals.message import decode

    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            yield decode(line)
        except msgspec.MsgspecError as error:
            raise DataError(f"{name}: line {number}: no message: {one_line(error)}") from None


SCORECARD = Verb(
    "how good a model was: precision, false alarms, lead, reliability, trades",
    "squeeze scorecard --from messages.jsonl --model model.onnx --lake out/lake",
    _arguments,
    _run,
)
