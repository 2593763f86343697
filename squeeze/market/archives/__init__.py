"""Files as exchanges and Tardis publish them into the lake, recognised by name or header, without a mapping.

    recognise(path) ─► checksum ─► the reader's rows ─► settled, a UTC day at a time ─► Lake.write

To read another publisher, write `recognise(path, options)` in a module here and add it to `PUBLISHERS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from squeeze.errors import DataError
from squeeze.market.archives import binance, bybit, okx, tardis
from squeeze.market.archives.archive import Archive, Options, Skipped
from squeeze.market.archives.days import Days, refuse_other_days
from squeeze.market.archives.reading import checksum
from squeeze.market.instruments import Instruments
from squeeze.market.lake import Lake
from squeeze.market.partitions import Written

__all__ = ["PUBLISHERS", "ImportedArchive", "import_archives"]

PUBLISHERS: tuple[Callable[[Path, Options], Archive | None], ...] = (
    binance.recognise,
    bybit.recognise,
    okx.recognise,
    tardis.recognise,
)
"""Each says what a file is, None where it is not theirs, or raises `DataError` where it is but is not read."""


@dataclass(frozen=True)
class ImportedArchive:
    """What became of one stream of one file."""

    file: str
    kind: str
    venue: str
    symbol: str
    rows: int
    """Rows handed to the lake; of a book, one for each level."""
    first_ns: int
    last_ns: int
    written: Written
    checksum: str
    """`verified`, or `none beside it`."""
    skipped: int = 0
    """Rows or frames that were left out: of a book before its first snapshot, orders of which nothing was filled."""


def import_archives(
    paths: Sequence[Path],
    lake: Lake,
    progress: Callable[[str], None] | None = None,
    instruments: Instruments | None = None,
    *,
    kind: str | None = None,
    spot: bool = False,
    native_amounts: bool = False,
) -> list[ImportedArchive]:
    """Import published files; what each of their streams gave the lake, in the order of `paths`.

    Every name is recognised before the first file is read, and a file is read to its end, its checksum and its rows
    tested, before the first of its rows is written: one with a fault leaves nothing of itself, but what the files
    before it gave stays. Importing again adds nothing twice. Of a file some 100 MB of rows wait in memory, the rest in
    a folder in the lake that is removed at the end; one UTC day at a time is sorted and written.

    `instruments` says how many base coins a contract is, for files whose sizes are in contracts; by default the records
    that come with the package. `kind` says what a name leaves open: `markPriceKlines`, or `trades` or `liquidations` of
    Tardis. `spot` puts Binance's files under `BTCUSDT-SPOT`. `native_amounts` takes sizes of Tardis' files as the
    exchange counts them, be it USD. `progress` is told what is being done.

    Import either `aggTrades` or `trades` of a day, and not what was recorded live: as all of them are `trade`, the lake
    would hold each fill twice. Raises `DataError` for a file, `LakeError` for the lake, each of one line.
    """
    tell = progress or (lambda text: None)
    options = Options(Instruments.shipped() if instruments is None else instruments, kind, spot, native_amounts)
    archives = [(path, _recognise(path, options)) for path in paths]
    return [done for path, archive in archives for done in _import(path, archive, lake, tell)]


def _recognise(path: Path, options: Options) -> Archive:
    if not path.is_file():
        raise DataError(f"{path.name}: no such file in {path.parent}")
    found = next((archive for publisher in PUBLISHERS if (archive := publisher(path, options))), None)
    if found is None:
        raise DataError(
            f"{path.name}: expected a name as Binance, Bybit or OKX publishes it (BTCUSDT-aggTrades-2025-11.zip, "
            "BTCUSDT2024-03-01.csv.gz, BTC-USDT-SWAP-trades-2024-01-01.zip), or the header of Tardis"
        )
    return found


def _import(path: Path, archive: Archive, lake: Lake, tell: Callable[[str], None]) -> list[ImportedArchive]:
    name, skipped = path.name, Skipped()
    tell(f"checking {name}")
    verified = checksum(path)
    with Days(lake.root if isinstance(lake.root, Path) else None) as days:
        for piece in archive.read(skipped):
            if len(piece.columns["event_ns"]):
                days.add(piece)
        if not days.streams():
            raise DataError(f"{name}: no rows that can be taken, {sum(skipped.values())} were left out")
        for kind, symbol in days.streams():
            if archive.dates:
                refuse_other_days(name, archive.dates, kind, days.span(kind, symbol))
        for kind, symbol in days.streams():
            days.refuse_contradictions(name, kind, symbol)
        imported = []
        for kind, symbol in days.streams():
            written, rows, times = Written(), 0, []
            for columns in days.settled(name, kind, symbol):
                tell(f"writing {name}: {kind} {symbol}")
                written += lake.write(kind, archive.venue, symbol, columns)
                rows += len(columns["event_ns"])
                times += [int(columns["event_ns"][0]), int(columns["event_ns"][-1])]
            imported.append(
                ImportedArchive(
                    name,
                    kind,
                    archive.venue,
                    symbol,
                    rows,
                    min(times),
                    max(times),
                    written,
                    verified,
                    skipped[kind, symbol],
                )
            )
    return imported
