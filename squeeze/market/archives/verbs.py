"""`squeeze archives`: published files into the lake."""

import argparse
from pathlib import Path

from squeeze.cli import Arguments, Verb, iso, lake_argument, show, telling


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="as published, with NAME.CHECKSUM beside it"
    )
    parser.add_argument("--spot", action="store_true", help="Binance's files are of spot: SYMBOL-SPOT in the lake")
    parser.add_argument("--kind", help="what a name leaves open: markPriceKlines, trades, liquidations")
    parser.add_argument("--native-amounts", action="store_true", help="take Tardis' sizes as the exchange counts them")
    lake_argument(parser)


def _run(args: Arguments) -> None:
    from squeeze.market.archives import import_archives
    from squeeze.market.lake import Lake

    with telling() as tell:
        done = import_archives(
            args.files, Lake(args.lake), tell, kind=args.kind, spot=args.spot, native_amounts=args.native_amounts
        )
    rows = [
        {"file": a.file, "kind": a.kind, "venue": a.venue, "symbol": a.symbol, "from": iso(a.first_ns)}
        | {"to": iso(a.last_ns), "new": a.written.rows_new, "same": a.written.rows_same, "kept": a.written.rows_kept}
        | {"skipped": a.skipped, "checksum": a.checksum}
        for a in done
    ]
    kept = any(a.written.rows_kept for a in done)
    show(args, rows, "kept: the lake already held another value for that time, and kept it" if kept else "")


archives = Verb(
    "read exchanges' and Tardis' published files into the lake",
    "squeeze archives BTCUSDT-aggTrades-2025-11.zip --lake out/lake",
    _arguments,
    _run,
)
