"""The verbs of what is said: `squeeze run`, `outbox`.

Importing this imports nothing heavy: each action does so when it runs.
"""

import argparse
import asyncio
import contextlib
import heapq
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from squeeze.cli import (
    Arguments,
    Verb,
    instruments_argument,
    instruments_of,
    parse_time,
    show,
    speed_argument,
    speed_of,
    telling,
)
from squeeze.errors import ConfigError
from squeeze.market.feeds.verbs import host_argument, hosts_of

if TYPE_CHECKING:
    from squeeze.emitter.live import Live
    from squeeze.market.events import AnyEvent
    from squeeze.stream import Stream
    from squeeze.tools.scorecard.scorecard import Scorecard

DEFAULT_STATE = Path("out/outbox.sqlite")


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="model files, one for each symbol")
    parser.add_argument("--strategy", metavar="FILE", help="what signals are made of; the defaults if absent")
    parser.add_argument("--rules", metavar="FILE", help="alert rules, as configs/alerts.yaml has them; none if absent")
    parser.add_argument(
        "--scorecard", type=Path, metavar="FILE", help="constants of the scorecard; the defaults if absent"
    )
    parser.add_argument("--no-scorecard", action="store_true", help="count no outcomes, and switch no symbol off")
    parser.add_argument("--sinks", metavar="FILE", help="where messages go; if absent they are only kept")
    parser.add_argument(
        "--state", type=Path, default=DEFAULT_STATE, metavar="FILE", help=f"the outbox (default: {DEFAULT_STATE})"
    )
    parser.add_argument("--fresh", action="store_true", help="pass over the state that the outbox holds")
    parser.add_argument(
        "--warm", type=Path, metavar="FILE", help="begin with a state of `squeeze warm` where none is kept"
    )
    parser.add_argument("--lake", metavar="FOLDER", help="fold in first what this lake holds since, or of the past")
    parser.add_argument("--venues", nargs="+", default=[], metavar="VENUE", help="connect to these alone")
    parser.add_argument("--seconds", type=float, help="how long; until Ctrl-C if absent")
    parser.add_argument("--replay", metavar="TIME", help="not live: what --raw or --lake holds from this UTC time on")
    parser.add_argument("--until", metavar="TIME", help="with --replay: the UTC time at which it ends")
    parser.add_argument("--raw", metavar="FOLDER", help="live: a log that keeps each frame; with --replay: one to read")
    host_argument(parser)
    speed_argument(parser)
    instruments_argument(parser)


def _run(args: Arguments) -> None:
    from squeeze.emitter.emitter import Emitter
    from squeeze.emitter.live import Live
    from squeeze.emitter.sinks.config import SinksConfig, load_sinks
    from squeeze.predictor import load
    from squeeze.signals.rules import read_rules
    from squeeze.signals.strategy import read_strategy
    from squeeze.stream import Stream
    from squeeze.tools.story import Story, told

    if args.seconds is not None and not args.seconds > 0:
        raise ConfigError(f"--seconds: above zero, got {args.seconds}")
    if args.replay is None and (args.until or args.speed):
        raise ConfigError("--until and --speed go with --replay")
    sinks = SinksConfig() if args.sinks is None else load_sinks(args.sinks)
    strategy = None if args.strategy is None else read_strategy(args.strategy)
    rules = None if args.rules is None else read_rules(args.rules)
    streams = [Stream(load(model), strategy, rules) for model in args.models]
    scorecards, story = {} if args.no_scorecard else _scorecards(args, streams), Story()
    with telling() as tell:
        emitter = Emitter(args.state, sinks.sinks, sinks.keep_days)
        try:
            live = Live(streams, emitter, scorecards)
            if not args.json:
                live.hear = told(story, print)
            _replay(args, live) if args.replay is not None else asyncio.run(_live(args, live))
            tell("sending what waits")
        finally:
            left = emitter.close()
    row = {"symbols": ", ".join(live.streams), "messages": live.said, "left": "; ".join(left) or "nothing"}
    if not args.json:
        print("", *story.account(), "", sep="\n")
    show(args, [row], "" if args.sinks else f"no --sinks: messages are kept in {args.state} and sent nowhere")


def _scorecards(args: Arguments, streams: "Sequence[Stream]") -> "dict[str, Scorecard]":
    """One for each model whose label the record can answer."""
    from squeeze.tools.scorecard.scorecard import Scorecard
    from squeeze.tools.scorecard.spec import ScorecardSpec, read_scorecard_spec

    spec = ScorecardSpec() if args.scorecard is None else read_scorecard_spec(args.scorecard)
    return {
        stream.spec.market.symbol: Scorecard(stream.predictor.card, stream.predictor.digest, spec) for stream in streams
    }


async def _live(args: Arguments, live: "Live") -> None:
    from squeeze.emitter.run import feeds_of, follow
    from squeeze.market.raw_log import RawLog

    until, loop = asyncio.Event(), asyncio.get_running_loop()
    feeds = feeds_of(live, args.venues, hosts_of(args.host), instruments_of(args))
    for symbol in live.streams:
        _begin(args, live, symbol, time.time_ns())
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # as in `squeeze record`
            loop.add_signal_handler(number, until.set)
    if args.seconds is not None:
        loop.call_later(args.seconds, until.set)
    await follow(live, feeds, until, None if args.raw is None else RawLog(args.raw))


def _replay(args: Arguments, live: "Live") -> None:
    from squeeze.emitter.run import again
    from squeeze.market.replay import paced
    from squeeze.strict import utc_ns

    start_ns, until_ns, speed = utc_ns(args.replay), parse_time(args.until), speed_of(args)
    if args.raw is None and args.lake is None:
        raise ConfigError("--replay: needs --raw or --lake, a folder to replay from")
    sources = []
    for symbol in live.streams:
        heard_ns = _begin(args, live, symbol, start_ns, replays=True)
        sources.append(_recorded(args, live, symbol, max(start_ns, heard_ns + 1), until_ns))
    events = heapq.merge(*sources, key=lambda event: event.known_at_ns)
    stop = threading.Event()

    def wait(seconds: float) -> None:
        stop.wait(seconds)

    with _stopping(stop):
        again(live, paced(events, speed, wait=wait), stop.is_set, until_ns)


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set an event, where this is the main thread."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _begin(args: Arguments, live: "Live", symbol: str, now_ns: int, *, replays: bool = False) -> int:
    """Have a stream go on from the outbox, or from what it can be warmed up with; the time up to which it heard all.

    Live, steps that closed while nothing was heard are closed without a message. A replay goes on from the whole state
    alone: what it says again is in the outbox already, and passed over there.
    """
    from squeeze.market.lake import Lake, read_events
    from squeeze.warm import start_from, warm_up

    stream = live.streams[symbol]
    heard_ns = None if args.fresh else live.restore(symbol)
    if heard_ns is not None and not replays:
        missed = () if args.lake is None else read_events(Lake(args.lake), stream.spec.market, heard_ns + 1, now_ns)
        stream.warm(missed, now_ns)
    elif heard_ns is None and args.lake is not None:
        heard_ns = warm_up(stream, Lake(args.lake), None, now_ns, args.warm) - 1
    elif heard_ns is None and args.warm is not None:
        heard_ns = start_from(stream, args.warm, now_ns).until_ns - 1
    if args.fresh:
        live.begin_anew(symbol)
    elif not replays:
        live.remember(symbol)
    if symbol in live.judged:
        judged = live.judged[symbol]
        is_begun = not args.fresh and judged.begin(None if replays else now_ns)
        if not is_begun and args.lake is not None:
            first_ns = now_ns - judged.scorecard.record.back_ns
            judged.scorecard.warm(read_events(Lake(args.lake), stream.spec.market, first_ns, now_ns))
        if not replays:
            judged.switch()
    return heard_ns or 0


def _recorded(args: Arguments, live: "Live", symbol: str, start_ns: int, until_ns: int | None) -> "Iterator[AnyEvent]":
    from squeeze.market.lake import Lake, read_events
    from squeeze.market.raw_log import RawLog
    from squeeze.market.replay import raw_events

    stream = live.streams[symbol]
    if args.raw is None:
        return read_events(Lake(args.lake), stream.spec.market, start_ns, until_ns)
    names = [name for name in sorted(stream.kinds) if not args.venues or name in args.venues]
    return raw_events(RawLog(args.raw), names, symbol, start_ns, until_ns, instruments_of(args))


def _outbox_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("state", type=Path, nargs="?", default=DEFAULT_STATE, metavar="FILE", help="the outbox")
    parser.add_argument("--dead", action="store_true", help="the dead letters, one by one")
    parser.add_argument("--resend", action="store_true", help="send them once more; no `squeeze run` may be writing")
    parser.add_argument("--sinks", metavar="FILE", help="with --resend: where messages go, as for `squeeze run`")


def _outbox(args: Arguments) -> None:
    from squeeze.emitter.outbox import dead_letters, progress, reading

    if args.resend != (args.sinks is not None) or (args.resend and args.dead):
        raise ConfigError("outbox: --resend and --sinks go together, and without --dead")
    if args.resend:
        _resend(args)
        return
    with contextlib.closing(reading(args.state)) as db:
        rows = dead_letters(db) if args.dead else progress(db)
    show(args, rows, "" if rows else "nothing")


def _resend(args: Arguments) -> None:
    import msgspec

    from squeeze.emitter.outbox import Outbox
    from squeeze.emitter.resend import resend
    from squeeze.emitter.sinks.config import load_sinks

    if not args.state.is_file():
        raise ConfigError(f"{args.state}: there is no outbox")
    with Outbox(args.state) as outbox:
        rows = [msgspec.structs.asdict(row) for row in resend(outbox, load_sinks(args.sinks).sinks)]
    show(args, rows, "" if rows else "no dead letters")


EMITTER_VERBS = {
    "run": Verb(
        "live: venues in, messages out, until Ctrl-C; goes on where it was",
        "squeeze run model.onnx --strategy configs/strategy.yaml --sinks configs/sinks.yaml --warm out/warm.state",
        _run_arguments,
        _run,
    ),
    "outbox": Verb(
        "how far each sink has come, and what was given up", "squeeze outbox --dead", _outbox_arguments, _outbox
    ),
}
