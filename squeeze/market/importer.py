"""Recorded files into the lake, as a mapping says; every file is read and checked before the first row is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import NAME, NAN, SECOND_NS, Quality
from squeeze.market.lake import Lake
from squeeze.market.mapping import INTERVAL_KINDS, OHLC, FileMapping, SymbolColumn, load_mapping
from squeeze.market.partitions import Written, ns_of, take
from squeeze.market.rows import Columns, schema_of
from squeeze.market.tables import Source, open_source

JUMP = 20.0
"""No price or open interest changes this many times over from one row to the next, but a change of unit does."""


@dataclass(frozen=True)
class ImportedFile:
    """What became of one file of a mapping."""

    file: str
    kind: str
    """As the lake calls it: `bar_5m`, `liquidation_1h`."""
    venue: str
    symbols: tuple[str, ...]
    rows: int
    """Rows taken from the file, after `from` and `until`."""
    first_ns: int
    last_ns: int
    written: Written
    licence: str | None


def import_mapping(
    mapping_path: Path, data: Path, lake: Lake, progress: Callable[[str], None] | None = None
) -> list[ImportedFile]:
    """Import every file of a mapping; what each gave the lake, in the order of the mapping.

    Nothing is written unless every file of the mapping passes. A run that is killed while it writes leaves whole
    partitions, and a second run adds the rest. `progress` is told, in words, what is about to be read or written.
    Raises `ConfigError` for the mapping, `DataError` for a file, `LakeError` for the lake, each of one line.
    """
    tell = progress or (lambda text: None)
    mapping = load_mapping(mapping_path)
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    if not any(data.iterdir()):
        raise DataError(f"{data}: the folder is empty; {mapping_path} expects {mapping.files[0].file} in it")
    checked = []
    for file in mapping.files:
        tell(f"checking {file.file}")
        checked.append(read_file(file, data))
    imported = []
    for file, streams in zip(mapping.files, checked, strict=True):
        tell(f"writing {file.file}")
        imported.append(_write(file, streams, lake))
    return imported


def read_file(mapping: FileMapping, data: Path) -> dict[str, Columns]:
    """The checked rows of one file by symbol, as the lake takes them; `DataError` at the first thing that is wrong."""
    words = [mapping.ts.column]
    if mapping.side:
        words.append(mapping.side.column)
    if isinstance(mapping.symbol, SymbolColumn):
        words.append(mapping.symbol.column)
    source = open_source(data / mapping.file, mapping.file, mapping.header, words)
    event_ns = _event_times(source, mapping)
    rows = _values(source, mapping)
    _refuse_wrong_units(source, mapping, rows)
    size, kind = len(event_ns), mapping.lake_kind
    rows["event_ns"] = event_ns
    rows["known_at_ns"] = event_ns + mapping.lag_ns
    rows["quality"] = np.full(size, Quality.SAMPLED if mapping.sampled else Quality.GOOD, np.int32)
    rows["cadence_ns"] = np.full(size, mapping.cadence_ns)
    absent = {name: np.full(size, NAN) if d.kind == "f" else np.zeros(size, d) for name, d in schema_of(kind).items()}
    ordered = {name: rows.get(name, column) for name, column in absent.items()}
    streams = {}
    for symbol, where in _symbols(source, mapping, size).items():
        _refuse_wrong_order(source, mapping, event_ns, where)
        _refuse_jumps(source, mapping, rows, where)
        streams[symbol] = take(ordered, where)
    return streams


def _event_times(source: Source, mapping: FileMapping) -> np.ndarray:
    """`event_ns` of the rows within `from` and `until`, the close for intervals; the source keeps only those rows."""
    column, cadence = mapping.ts.column, mapping.cadence_ns
    ns = source.times(column, mapping.ts.unit)
    interval = mapping.kind in INTERVAL_KINDS
    if cadence:
        opening = ns - cadence if mapping.ts.means == "close" else ns
        grid = (opening + cadence // 2) // cadence * cadence
        off = np.abs(opening - grid) > mapping.irregular_ts_seconds * SECOND_NS
        within = f" within {mapping.irregular_ts_seconds:g} s" if mapping.irregular_ts_seconds else ""
        if off.any():
            row = int(off.argmax())
            source.fail(row, column, f"a time on the {mapping.cadence} grid{within}", _iso(int(ns[row])))
        ns = grid if interval else ns
    taken = np.ones(len(ns), bool)
    if mapping.from_ is not None:
        taken &= ns >= ns_of(str(mapping.from_))
    if mapping.until is not None:
        taken &= ns < ns_of(str(mapping.until))
    if not taken.any():
        raise DataError(f"{source.name}: no rows from {mapping.from_} until {mapping.until}")
    source.keep(taken)
    return ns[taken] + (cadence if interval else 0)


def _values(source: Source, mapping: FileMapping) -> Columns:
    """The value fields, scaled, each row checked by itself."""
    raw = {field: source.numbers(column) for field, column in mapping.columns.items()}
    if mapping.usd is not None:
        qty, price = source.numbers(mapping.usd.qty), source.numbers(mapping.usd.price)
        source.refuse(price <= 0, mapping.usd.price, "a price above zero", price)
        source.refuse(qty < 0, mapping.usd.qty, "a size of zero or more", qty)
        raw |= {"usd": qty * price, "size_base": qty, "price": price}
    for field in OHLC:
        if field in raw:
            source.refuse(raw[field] <= 0, mapping.columns[field], "a price above zero", raw[field])
    for field in ("volume_base", "taker_buy_base", "open_interest_base", "usd", "long_usd", "short_usd"):
        if field in mapping.columns:
            source.refuse(raw[field] < 0, mapping.columns[field], "a size of zero or more", raw[field])
    if "open" in raw:
        low, high = raw["low"], raw["high"]
        source.refuse(high < low, mapping.columns["high"], "a high at or above the low", high)
        for field in ("open", "close"):
            outside = (raw[field] < low) | (raw[field] > high)
            source.refuse(outside, mapping.columns[field], "a price between low and high", raw[field])
    rows = {field: values * mapping.scale.get(field, 1.0) for field, values in raw.items()}
    if "taker_buy_base" in rows and "volume_base" in rows:
        more = rows["taker_buy_base"] > rows["volume_base"]
        source.refuse(more, mapping.columns["taker_buy_base"], "no more than the volume", raw["taker_buy_base"])
    if mapping.side is not None:
        rows["side"] = _sides(source, mapping.side.column, dict(mapping.side.values))
    return rows


def _sides(source: Source, column: str, values: dict[str, str]) -> np.ndarray:
    words = source.words(column)
    numbers = {word: int(side == "short") for word, side in values.items()}
    unknown = np.array([word not in numbers for word in words])
    source.refuse(unknown, column, f"one of {', '.join(values)}", words)
    return np.array([numbers[word] for word in words], dtype=np.int64)


def _symbols(source: Source, mapping: FileMapping, size: int) -> dict[str, np.ndarray]:
    """The rows of each symbol."""
    if isinstance(mapping.symbol, str):
        return {mapping.symbol: np.arange(size)}
    column = mapping.symbol.column
    words = source.words(column)
    wrong = np.array([NAME.fullmatch(word) is None for word in words])
    source.refuse(wrong, column, "a symbol of letters, digits and + . _ -", words)
    symbols, which = np.unique(words, return_inverse=True)
    return {str(symbol): np.flatnonzero(which == number) for number, symbol in enumerate(symbols)}


def _refuse_wrong_order(source: Source, mapping: FileMapping, event_ns: np.ndarray, where: np.ndarray) -> None:
    steps = np.diff(event_ns[where])
    after = np.concatenate([[False], steps < 0])
    again = np.concatenate([[False], (steps == 0) & (mapping.kind != "liquidation")])
    for bad, expected in ((after, "times that rise"), (again, "each time once")):
        if bad.any():
            row = int(bad.argmax())
            here, before = (_iso(int(event_ns[where[i]])) for i in (row, row - 1))
            source.fail(int(where[row]), mapping.ts.column, expected, f"{here} after {before}")


def _refuse_jumps(source: Source, mapping: FileMapping, rows: Columns, where: np.ndarray) -> None:
    for field in ("close", "open_interest_base"):
        if field not in rows:
            continue
        values = rows[field][where]
        low, high = np.minimum(values[1:], values[:-1]), np.maximum(values[1:], values[:-1])
        bad = np.concatenate([[False], high > JUMP * low])
        if bad.any():
            row = int(bad.argmax())
            expected = f"less than x{JUMP:g} the row before, or its part (is a unit off by 1,000?)"
            got = f"{values[row]:g} after {values[row - 1]:g}"
            source.fail(int(where[row]), mapping.columns[field], expected, got)


def _refuse_wrong_units(source: Source, mapping: FileMapping, rows: Columns) -> None:
    for field, (low, high) in mapping.plausible.items():
        median = float(np.median(rows[field]))
        if not low <= median <= high:
            factor = next((f for f in (1e-3, 1e3, 1e-6, 1e6) if low <= median * f <= high), None)
            hint = f"; scale: {factor:g} would fit, is the unit off?" if factor else ""
            column = mapping.columns.get(field, field)
            raise DataError(
                f"{source.name}: column {column}: expected a median {field} from {low:g} to {high:g}, "
                f"got {median:g}{hint}"
            )


def _write(mapping: FileMapping, streams: dict[str, Columns], lake: Lake) -> ImportedFile:
    written = Written()
    for symbol, rows in streams.items():
        written += lake.write(mapping.lake_kind, mapping.venue, symbol, rows)
    times = [rows["event_ns"] for rows in streams.values()]
    return ImportedFile(
        file=mapping.file,
        kind=mapping.lake_kind,
        venue=mapping.venue,
        symbols=tuple(streams),
        rows=sum(len(t) for t in times),
        first_ns=min(int(t[0]) for t in times),
        last_ns=max(int(t[-1]) for t in times),
        written=written,
        licence=mapping.licence,
    )


def _iso(ns: int) -> str:
    seconds, _, fraction = str(np.datetime64(ns, "ns")).partition(".")
    return f"{seconds}.{fraction}".rstrip("0").rstrip(".") + "Z"
