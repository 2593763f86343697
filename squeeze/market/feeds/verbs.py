"""The verb that listens: `squeeze record`.

Importing this imports nothing heavy: the feed comes when it runs.
"""

import argparse
import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from squeeze.cli import Arguments, Verb, show, telling
from squeeze.errors import ConfigError, SqueezeError

if TYPE_CHECKING:
    from squeeze.market.feeds.values import Summary


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("venue", help="binance, bybit or okx")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="contracts, as BTCUSDT")
    parser.add_argument("--raw", metavar="FOLDER", default="out/raw", help="the raw log (default: out/raw)")
    parser.add_argument("--seconds", type=float, help="how long; until Ctrl-C if absent")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME=OTHER",
        help="connect elsewhere, as stream.bybit.com=stream-testnet.bybit.com; may be given again",
    )


def _run(args: Arguments) -> None:
    try:
        import websockets  # noqa: F401 - what the feed is made of
    except ModuleNotFoundError:
        raise ConfigError("needs websockets: pip install 'squeeze-predictor[feeds]'") from None
    summary = asyncio.run(_record(args))
    show(args, [_row(args, summary)], _note(summary))
    if not summary.frames:
        raise SqueezeError(f"nothing came from {args.venue}: {summary.last_failure or 'it says nothing'}")


async def _record(args: Arguments) -> "Summary":
    from squeeze.market.feeds.recorder import record
    from squeeze.market.raw_log import RawLog
    from squeeze.market.venues import venue

    adapter, until, loop = venue(args.venue), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where a loop takes no signals, Ctrl-C cancels it, and what was recorded is sealed as well.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, until.set)
    with telling() as tell:
        tell(f"connecting to {args.venue}")
        return await record(
            adapter,
            [symbol.upper() for symbol in args.symbols],
            RawLog(args.raw),
            args.seconds,
            until,
            _hosts(args.host),
            on_second=lambda summary: tell(_line(args.venue, summary)),
        )


def _hosts(pairs: list[str]) -> dict[str, str]:
    hosts = {}
    for pair in pairs:
        name, _, other = pair.partition("=")
        if not name or not other:
            raise ConfigError(f"--host: expected NAME=OTHER, got {pair!r}")
        hosts[name] = other
    return hosts


def _line(name: str, summary: "Summary") -> str:
    counts = f"{summary.frames:,} frames, {summary.bytes / 1e6:.1f} MB, {summary.open} connections open"
    troubles = {"gaps": sum(summary.gaps.values()), "refused": summary.refused, "failures": summary.failures}
    return f"{name}: {counts}" + "".join(f", {name} {number}" for name, number in troubles.items() if number)


def _row(args: Arguments, summary: "Summary") -> dict[str, object]:
    return {
        "venue": args.venue,
        "symbols": len(args.symbols),
        "frames": summary.frames,
        "bytes": summary.bytes,
        "connections": summary.connections,
        "reconnects": summary.reconnects,
        "lost": _counted(summary.lost),
        "gaps": _counted(summary.gaps),
        "silent": summary.silent,
        "refused": summary.refused,
        "failures": summary.failures,
    }


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in sorted(counts.items())) or "0"


def _note(summary: "Summary") -> str:
    notes = {"last refused": summary.last_refusal, "last failure": summary.last_failure}
    return "\n".join(f"{name}: {text}" for name, text in notes.items() if text)


RECORD = Verb(
    "record a venue's live frames into the raw log",
    "squeeze record bybit BTCUSDT DOTUSDT --raw out/raw",
    _arguments,
    _run,
)
