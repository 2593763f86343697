"""The verbs that ask a venue: `squeeze record`, `instruments`.

Importing this imports nothing heavy: the feed comes when it runs.
"""

import argparse
import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from squeeze.cli import Arguments, Verb, instruments_argument, instruments_of, show, telling
from squeeze.errors import ConfigError, DataError, SqueezeError

if TYPE_CHECKING:
    from squeeze.market.feeds.contracts import Get
    from squeeze.market.feeds.values import Summary
    from squeeze.market.instruments import Instrument


def _arguments(parser: argparse.ArgumentParser) -> None:
    _venue_arguments(parser)
    parser.add_argument("--raw", metavar="FOLDER", default="out/raw", help="the raw log (default: out/raw)")
    parser.add_argument("--seconds", type=float, help="how long; until Ctrl-C if absent")
    instruments_argument(parser)


def _venue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("venue", help="binance, bybit or okx")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="contracts, as BTCUSDT")
    host_argument(parser)


def host_argument(parser: argparse.ArgumentParser) -> None:
    """`--host`, the same for every verb that connects."""
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

    adapter, until, loop = venue(args.venue, instruments_of(args)), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Where a loop takes no signals, Ctrl-C cancels it, and what was recorded is sealed as well.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, until.set)
    with telling() as tell:
        tell(f"connecting to {args.venue}")
        return await record(
            adapter,
            _symbols(args),
            RawLog(args.raw),
            args.seconds,
            until,
            hosts_of(args.host),
            on_second=lambda summary: tell(_line(args.venue, summary)),
        )


def _symbols(args: Arguments) -> list[str]:
    return list(dict.fromkeys(symbol.upper() for symbol in args.symbols))


def hosts_of(pairs: list[str]) -> dict[str, str]:
    """What `--host` says: the hosts that stand in for others."""
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


def _instruments_arguments(parser: argparse.ArgumentParser) -> None:
    _venue_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where the records go, beside those it has already"
    )


def _instruments(args: Arguments) -> None:
    from squeeze.files import alone
    from squeeze.market.feeds.contracts import fetch_instruments
    from squeeze.market.instruments import Instruments

    def known() -> Instruments:
        return Instruments.load(args.out) if args.out.exists() else Instruments()

    with telling() as tell:
        tell(f"asking {args.venue}")
        at_hand = Instruments.shipped().with_(known())
        records = fetch_instruments(args.venue, _symbols(args), time.time_ns(), _get(args), at_hand)
    with alone(args.out.parent):
        merged = known().with_(records)
        merged.save(args.out)
    show(args, [_contract(args, record, any(kept is record for kept in merged)) for record in records])


def _get(args: Arguments) -> "Get":
    """Gives bodies of the venue's public endpoints, with a pause between requests; `DataError` where none comes."""
    from squeeze.market.feeds.contracts import REST
    from squeeze.market.feeds.rest import Addresses, RequestFailed, fetch
    from squeeze.market.feeds.values import Limits

    limits, addresses = Limits(), Addresses(hosts_of(args.host))
    if args.venue in REST:
        addresses.check([REST[args.venue]])

    def get(url: str) -> bytes:
        time.sleep(limits.request_every_seconds)
        try:
            return fetch(addresses.of(url), limits.request_seconds, limits.message_bytes)
        except RequestFailed as failed:
            raise DataError(f"no answer: {failed}") from None

    return get


def _contract(args: Arguments, record: "Instrument", is_new: bool) -> dict[str, object]:
    numbers = {
        "tick": record.tick_size,
        "minimum": record.minimum_size_base,
        "minimum usd": record.minimum_notional_usd,
    }
    return {
        "venue": record.venue,
        "symbol": record.symbol,
        **(numbers if args.json else {name: f"{number:.15g}" for name, number in numbers.items()}),
        "tiers": len(record.tiers),
        "record": "new" if is_new else "as before",
        "source": record.source,
    }


INSTRUMENTS = Verb(
    "what a venue says of its contracts now, into a file for --instruments",
    "squeeze instruments okx BTCUSDT DOTUSDT --out out/instruments.json",
    _instruments_arguments,
    _instruments,
)
RECORD = Verb(
    "record a venue's live frames into the raw log",
    "squeeze record bybit BTCUSDT DOTUSDT --raw out/raw",
    _arguments,
    _run,
)
