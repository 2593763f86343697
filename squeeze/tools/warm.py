"""The verb `squeeze warm`."""

import argparse
import tempfile
import time
from pathlib import Path

from squeeze.cli import Arguments, Verb, instruments_argument, instruments_of, iso, lake_argument, parse_time, telling
from squeeze.errors import ConfigError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="model file")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="where the state goes")
    parser.add_argument(
        "--from", dest="start", help="UTC time from which history is folded in; the beginning by default"
    )
    parser.add_argument("--until", help="UTC time at which the state stands; the end of the history by default")
    parser.add_argument("--state", type=Path, metavar="FILE", help="go on from this state instead of the beginning")
    parser.add_argument(
        "--archives", type=Path, nargs="+", metavar="ARCHIVE", help="exchanges' published files, in place of a lake"
    )
    instruments_argument(parser)
    lake_argument(parser)


def _warm(args: Arguments) -> None:
    import json

    from squeeze.market.archives import import_archives
    from squeeze.market.lake import Lake
    from squeeze.predictor import load
    from squeeze.stream import Stream
    from squeeze.warm import warm_up, write_state

    if args.state is not None and args.start is not None:
        raise ConfigError("warm: --from and --state exclude each other")
    stream = Stream(load(args.model))
    began = time.monotonic()
    with telling() as tell, tempfile.TemporaryDirectory() as folder:
        lake = Lake(args.lake if args.archives is None else folder)
        if args.archives is not None:
            import_archives(args.archives, lake, tell, instruments_of(args))
        tell(f"warming up {stream.spec.market.symbol}")
        until_ns = warm_up(stream, lake, parse_time(args.start), parse_time(args.until), args.state)
    header = write_state(stream, until_ns, args.to)
    said = {
        "state": str(args.to),
        "symbol": header.symbol,
        "until": iso(header.until_ns),
        "steps_from": iso(stream.market.started_ns),
        "bytes": args.to.stat().st_size,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(said) if args.json else "\n".join(f"{name:>10}  {value}" for name, value in said.items()))


WARM = Verb(
    "fold recorded history into a state from which a fresh process predicts at once",
    "squeeze warm model.onnx --lake out/lake --to out/warm.state",
    _arguments,
    _warm,
)
