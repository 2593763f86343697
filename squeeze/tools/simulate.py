"""The verb `squeeze simulate`: a market that never was, as a recording for the importer or as three venues' lake."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze.cli import Arguments, Verb, show, telling
from squeeze.errors import ConfigError

if TYPE_CHECKING:
    from squeeze.simulator import SimulatedMarket


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where the recording is written; with --venues the lake")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--venues",
        action="store_true",
        help="three exchanges with trades, books, funding and censored liquidations, written into a lake",
    )
    parser.add_argument(
        "--zones",
        choices=("matter", "do_not_matter", "mixed"),
        default="matter",
        help="whether liquidations come from positions, from volatility alone, or half of each (default: matter)",
    )


def _simulate(args: Arguments) -> None:
    from squeeze.simulator import SimulatorSpec, simulate, three_exchanges, write_recording

    with telling() as tell:
        tell(f"simulating {args.days} days")
        try:
            made = three_exchanges if args.venues else SimulatorSpec
            spec = made(days=args.days, zones=args.zones)
        except ValueError as error:
            raise ConfigError(f"simulate: {error}") from None
        market = simulate(spec, args.seed)
        said: dict[str, Any] = {"days": args.days, "seed": args.seed}
        if args.venues:
            said |= {"lake": str(args.folder), "rows": _publish(market, args.folder, tell)}
        else:
            said |= {"mapping": str(write_recording(market, args.folder))}
    show(args, [said])


def _publish(market: "SimulatedMarket", folder: Path, tell: Callable[[str], None]) -> int:
    """Write into a lake what the venues publish, a day at a time; how many rows were new."""
    from squeeze.market.lake import Lake
    from squeeze.simulator.publish import Publication, published

    lake, rows = Lake(folder), 0
    for day in range(market.spec.days):
        tell(f"publishing day {day + 1} of {market.spec.days}")
        for (kind, venue), columns in published(market, day, Publication(prices="trades", book_minutes=1)).items():
            if len(columns["event_ns"]):
                rows += lake.write(kind, venue, market.spec.symbol, columns).rows_new
    return rows


SIMULATE = Verb(
    "record a simulated market, with its mapping; or three exchanges' streams, in a lake",
    "squeeze simulate out/simulated --days 60",
    _arguments,
    _simulate,
)
