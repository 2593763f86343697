"""The command line: `squeeze VERB …`. Verbs of the training package are found through entry points; none is imported
before it is asked for.

A mistake of the user's is one line on stderr and status 2; `--json` prints one JSON document for machines; progress
goes to stderr.
"""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from tqdm import tqdm

from squeeze.errors import ConfigError, SqueezeError
from squeeze.strict import utc_ns

if TYPE_CHECKING:
    from squeeze.market.instruments import Instruments

Arguments = argparse.Namespace


@dataclass(frozen=True)
class Verb:
    """One command: what it does in a line, an example, its arguments, and the function that runs it."""

    summary: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], None]


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mapping", type=Path, help="YAML file that says what the data files hold")
    parser.add_argument("--data", type=Path, required=True, help="folder that the mapping's paths start from")
    lake_argument(parser)


def _import(args: Arguments) -> None:
    from squeeze.market.importer import import_mapping
    from squeeze.market.lake import Lake

    with telling() as tell:
        files = import_mapping(args.mapping, args.data, Lake(args.lake), tell)
    rows = [
        {
            "file": f.file,
            "kind": f.kind,
            "venue": f.venue,
            "symbols": len(f.symbols),
            "from": iso(f.first_ns),
            "to": iso(f.last_ns),
        }
        | {"new": f.written.rows_new, "same": f.written.rows_same, "kept": f.written.rows_kept}
        for f in files
    ]
    kept = any(f.written.rows_kept for f in files)
    show(args, rows, "kept: the lake already held another value for that time, and kept it" if kept else "")


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--from", dest="start", required=True, help="UTC time from which messages are printed")
    parser.add_argument("--until", help="UTC time at which to stop; the end of the lake by default")
    parser.add_argument(
        "--warm-from", help="UTC time from which history is folded in first; the beginning of the lake by default"
    )
    parser.add_argument("--state", type=Path, metavar="FILE", help="go on from a state of `squeeze warm` instead")
    parser.add_argument("--strategy", type=Path, metavar="YAML", help="whose signals; those of BTC by default")
    parser.add_argument("--signals-only", action="store_true", help="leave out probabilities and abstentions")
    parser.add_argument("--raw", metavar="FOLDER", help="replay raw frames from this log; the lake still warms up")
    speed_argument(parser)
    instruments_argument(parser)
    lake_argument(parser)


def _replay(args: Arguments) -> None:
    from squeeze.market.lake import Lake, read_events
    from squeeze.market.replay import paced, raw_events
    from squeeze.predictor import load
    from squeeze.replaying import replay
    from squeeze.signals.message import SignalMessage, encode
    from squeeze.signals.strategy import read_strategy
    from squeeze.stream import Stream
    from squeeze.warm import warm_up

    speed, known = speed_of(args), instruments_of(args)
    strategy = None if args.strategy is None else read_strategy(args.strategy)
    stream = Stream(load(args.model), strategy)
    market, start_ns = stream.spec.market, utc_ns(args.start)
    lake, until_ns = Lake(args.lake), parse_time(args.until)
    with telling() as tell:
        tell(f"warming up to {args.start}")
        # What becomes known just at the start is part of the step that closes then, which is printed.
        warm_up(stream, lake, parse_time(args.warm_from), start_ns, args.state)
    events = read_events(lake, market, start_ns, until_ns)
    if args.raw is not None:
        from squeeze.market.raw_log import RawLog

        venues = {stream.venue for stream in market.streams().values()}
        events = raw_events(RawLog(args.raw), sorted(venues), market.symbol, start_ns, until_ns, known)
    for message in replay(stream, paced(events, speed), stream.spec.signal.clock_seconds):
        if not args.signals_only or isinstance(message, SignalMessage):
            sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="model file")


def _info(args: Arguments) -> None:
    from squeeze.predictor import load
    from squeeze.state import Degraded, flag_names

    predictor = load(args.model)
    card = msgspec.to_builtins(predictor.card)
    if args.json:
        print(json.dumps({"digest": predictor.digest} | card))
        return
    spec = predictor.spec
    lines = {
        "model": predictor.digest,
        "market": f"{spec.market.symbol}, a step every {spec.market.step_seconds} s",
        "predicts": f"{spec.label.name}: within {', '.join(map(str, spec.label.horizons_minutes))} minutes, per side",
        "trained": f"{predictor.card.trained_from} to {predictor.card.trained_until}, commit {predictor.card.commit}",
        "data": f"{predictor.card.data_digest[:16]}, licence: {predictor.card.licence}",
        "base rates": str({side: [round(r, 4) for r in rates] for side, rates in predictor.card.base_rates.items()}),
        "degraded": ", ".join(flag_names(Degraded(predictor.card.degraded))) or "nothing",
        "streams": ", ".join(f"{name} from {stream.venue}" for name, stream in spec.market.streams().items()),
        "masked": f"{len(card['masked_scalars'])} of {len(card['scalar_names'])} scalars",
        "scores": ", ".join(f"{n} {v:.3f}" for n, v in predictor.card.scores.items() if n.endswith(SHOWN_SCORES)),
    }
    for name, text in lines.items():
        print(f"{name:>10}  {text}")


SHOWN_SCORES = ("ap", "auc", "brier_skill", "slope")
"""What `info` shows of a card's scores; `--json` gives all."""

VERBS = {
    "import": Verb(
        "read recorded files into the lake",
        "squeeze import configs/import/btc-2026.yaml --data DATA",
        _import_arguments,
        _import,
    ),
    "replay": Verb(
        "stored events through the live path, messages to stdout",
        "squeeze replay model.onnx --from 2026-04-01",
        _replay_arguments,
        _replay,
    ),
    "info": Verb("what a model file says of itself", "squeeze info model.onnx", _info_arguments, _info),
}


def lake_argument(parser: argparse.ArgumentParser) -> None:
    """`--lake`, the same for every verb."""
    parser.add_argument("--lake", default="out/lake", help="folder or URI of the lake (default: out/lake)")


def instruments_argument(parser: argparse.ArgumentParser) -> None:
    """`--instruments`, the same for every verb that reads sizes in contracts."""
    parser.add_argument(
        "--instruments",
        type=Path,
        metavar="FILE",
        help="instrument records beside those that ship, as `squeeze instruments` writes them",
    )


def instruments_of(args: Arguments) -> "Instruments":
    """The records that ship and those of `--instruments`; `DataError` for a file that cannot be read."""
    from squeeze.market.instruments import Instruments

    shipped = Instruments.shipped()
    return shipped if args.instruments is None else shipped.with_(Instruments.load(args.instruments))


def speed_argument(parser: argparse.ArgumentParser) -> None:
    """`--speed`, the same for every verb that replays."""
    parser.add_argument(
        "--speed", type=float, help="1: as it came; 60: a minute each second; as fast as it can if absent"
    )


def speed_of(args: Arguments) -> float | None:
    """`--speed`, None where it was not given; `ConfigError` unless it is above zero."""
    speed: float | None = args.speed
    if speed is not None and not speed > 0:
        raise ConfigError(f"--speed: above zero, got {speed}")
    return speed


def parse_time(text: str | None) -> int | None:
    """A UTC time from the command line as nanoseconds."""
    return None if text is None else utc_ns(text)


def iso(ns: int) -> str:
    """Nanoseconds as UTC, to the minute."""
    return f"{np.datetime64(int(ns), 'ns').astype('datetime64[m]')}Z"


def show(args: Arguments, rows: Sequence[dict[str, Any]], note: str = "") -> None:
    """Rows as a table, or as JSON where asked for; JSON has no NaN, so that a figure that does not exist is null."""
    if args.json:
        print(json.dumps([{name: _finite(value) for name, value in row.items()} for row in rows]))
        return
    texts = [[_cell(value) for value in row.values()] for row in rows]
    names = list(rows[0]) if rows else []
    widths = [max(len(name), *(len(t[i]) for t in texts)) for i, name in enumerate(names)]
    for line in [names, *texts]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if note:
        print(note)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is going on, where stderr is a terminal."""
    with tqdm(bar_format="{desc}", disable=not sys.stderr.isatty(), leave=False) as line:
        yield lambda text: line.set_description_str(text)


@contextlib.contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress function: bars where stderr is a terminal, otherwise a line for each finished stage."""
    bars: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            if done >= total:
                print(f"{what}: done", file=sys.stderr, flush=True)
            return
        bar = bars.setdefault(what, tqdm(total=total, desc=what, leave=False))
        bar.update(done - bar.n)

    try:
        yield update
    finally:
        for bar in bars.values():
            bar.close()


def parser() -> argparse.ArgumentParser:
    """The whole command line. Verbs from entry points are listed by name; their module is imported here, its heavy
    parts are not.
    """
    top = argparse.ArgumentParser(
        prog="squeeze", description="Probabilities of liquidation cascades, and the signals they give."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    from squeeze.emitter.verbs import EMITTER_VERBS
    from squeeze.market.verbs import MARKET_VERBS  # which needs this module whole
    from squeeze.tools.journal_verbs import JOURNAL
    from squeeze.tools.map_verbs import MAP_VERBS
    from squeeze.tools.reading_verbs import READING_VERBS
    from squeeze.tools.scorecard.verb import SCORECARD
    from squeeze.tools.simulate import SIMULATE
    from squeeze.tools.verbs import TOOL_VERBS
    from squeeze.tools.warm import WARM

    found = VERBS | MARKET_VERBS | {"simulate": SIMULATE, "warm": WARM} | TOOL_VERBS | MAP_VERBS
    found |= EMITTER_VERBS | READING_VERBS | {"journal": JOURNAL, "scorecard": SCORECARD}
    for entry in entry_points(group="squeeze.verbs"):
        found[entry.name] = entry.load()
    for name, verb in found.items():
        sub = verbs.add_parser(
            name, help=verb.summary, description=verb.summary, epilog=f"example:\n  {verb.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        verb.arguments(sub)
        sub.add_argument("--json", action="store_true", help="print one JSON document")
        sub.set_defaults(run=verb.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 for a mistake of the user's."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except SqueezeError as error:
        print(f"squeeze {args.verb}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("squeeze", "training"):
            raise
        print(f"squeeze {args.verb}: needs {error.name}: pip install 'squeeze-predictor[train]'", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a folder where a file should be, no permission, a full disk
        print(f"squeeze {args.verb}: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
