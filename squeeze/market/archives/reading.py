"""Published archives as streams: checked against their checksum, unpacked in memory, read block by block.

    checksum(path) ─► blocks(path, layouts, types) ─► Piece ─► Days ─► settled(...) ─► Lake.write, a UTC day at a time

Nothing inside an archive chooses a path on disk, and no more than a block of it is in memory. Every fault is a
`DataError` of one line, as in `tables`.
"""

import contextlib
import gzip
import hashlib
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, Quality
from squeeze.market.partitions import MAX_LAG_NS, MAX_SKEW_NS, date_of, opening_ns, take
from squeeze.market.rows import Columns, is_keyed, schema_of
from squeeze.market.tables import Source

BLOCK = 8 << 20
"""Bytes of text that are parsed at a time: some 100,000 trades."""

LONGEST_LINE = 4 << 20
"""A line beyond this is damage, or a bomb of zeros; a book of 5,000 levels a side has 300 kB."""

SPILL = 96 << 20
"""Bytes of rows that wait in memory; beyond, they wait in files beside the lake."""

TEXT, NUMBER, WHOLE = pa.string(), pa.float64(), pa.int64()

Types = Mapping[str, pa.DataType]
Skipped = Counter[tuple[str, str]]
"""Rows that were left out, by kind and symbol, for a reason that the reader documents."""

ContractValue = Callable[[str, int], float | None]
"""Base coins per contract of (native name, UTC nanoseconds); None where no record says."""

Repeats = Literal["real", "id", "equal", "last"]
"""What two alike rows of a file are: two events; one, by its id; one, if all of it is equal; a correction, by its
time."""

UTC_WITHOUT_ZONE = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}")


class Piece(NamedTuple):
    """Some rows of one stream: the lake's columns (but `place`), `row` in the file, and `order` if not that of rows."""

    kind: str
    symbol: str
    columns: Columns
    repeats: Repeats = "real"


@dataclass(frozen=True)
class Options:
    """What a file's name may leave open."""

    contract_value: ContractValue
    kind: str | None = None
    spot: bool = False
    native_amounts: bool = False


@dataclass(frozen=True)
class Archive:
    """A file whose name, or header, was recognised; nothing but its first line has been read."""

    venue: str
    read: Callable[[Skipped], Iterator[Piece]]
    dates: str | None = None
    """The day or the month in the name; its rows must lie within a day of it, for venues cut days differently."""


class Block(Source):
    """Some consecutive rows of a file; messages count from the file's first row."""

    def __init__(self, name: str, table: pa.Table, first_row: int):
        super().__init__(name, table)
        self.first_row = first_row

    def fail(self, row: int, column: str, expected: str, got: object) -> NoReturn:
        """Raise the error for the row-th of this block."""
        raise DataError(f"{self.name}: row {self.first_row + row}, column {column}: expected {expected}, got {got}")

    @property
    def row_numbers(self) -> np.ndarray:
        """The rows' numbers in the file."""
        return self.first_row + np.arange(self.table.num_rows)

    def positive(self, column: str) -> np.ndarray:
        """A column of prices."""
        values = self.numbers(column)
        self.refuse(values <= 0, column, "a price above zero", values)
        return values

    def sizes(self, column: str) -> np.ndarray:
        """A column of sizes, zero or more."""
        values = self.numbers(column)
        self.refuse(values < 0, column, "a size of zero or more", values)
        return values

    def wholes(self, column: str) -> np.ndarray:
        """A column of whole numbers."""
        array = self._column(column)
        if pa.types.is_string(array.type):
            bad = ~pc.match_substring_regex(array, r"^-?[0-9]{1,18}$").to_numpy(zero_copy_only=False)
            self.refuse(bad, column, "a whole number", np.asarray(array.to_pylist(), dtype=object))
            array = array.cast(WHOLE)
        values: np.ndarray = array.to_numpy()
        return values

    def optional(self, column: str) -> np.ndarray:
        """A column of numbers that may be empty, NaN where it is."""
        array = self.table.column(column).combine_chunks()
        if pa.types.is_string(array.type):
            array = pc.if_else(pc.equal(array, ""), pa.scalar(None, TEXT), array)
        given = array.is_valid().to_numpy(zero_copy_only=False)
        values = np.full(len(array), np.nan)
        if given.any():
            some = pa.table({column: array.drop_null()})
            values[given] = _Part(self, some, np.flatnonzero(given)).numbers(column)
        return values

    def codes(self, column: str, codes: Mapping[str, int]) -> np.ndarray:
        """A column of known words, in either case, as their numbers."""
        words, which = self.names(column)
        numbers: np.ndarray = np.array([codes.get(word.lower(), -1) for word in words], dtype=np.int64)[which]
        self.refuse(numbers < 0, column, f"one of {', '.join(codes)}", np.array(words, dtype=object)[which])
        return numbers

    def names(self, column: str) -> tuple[list[str], np.ndarray]:
        """The distinct words of a column, and which of them each row has."""
        encoded = self._column(column).dictionary_encode()
        return [str(word) for word in encoded.dictionary.to_pylist()], encoded.indices.to_numpy()

    def only(self, column: str, name: str) -> None:
        """Refuse rows in which a word is not the one that the file's name says."""
        words, which = self.names(column)
        bad = np.array([word != name for word in words], dtype=bool)[which]
        self.refuse(bad, column, f"{name}, as in the name of the file", np.array(words, dtype=object)[which])

    def utc_texts(self, column: str) -> np.ndarray:
        """A column of texts as `2024-01-31 00:05:00`, which the publisher documents as UTC, in nanoseconds."""
        array = self._column(column)
        zoned = pc.binary_join_element_wise(array, pa.scalar("Z"), "")
        return _Part(self, pa.table({column: zoned}), np.arange(len(array))).times(column, "datetime")

    def exact_seconds(self, column: str) -> np.ndarray:
        """A column of decimal seconds as nanoseconds, by its digits: as a float they would be off by 100 ns."""
        array = self._column(column)
        parts = pc.extract_regex(array, r"^(?P<whole>[0-9]{1,10})(?:\.(?P<part>[0-9]{0,9}))?$")
        bad = parts.is_null().to_numpy(zero_copy_only=False)
        if bad.any():
            row = int(bad.argmax())
            self.fail(row, column, "seconds with at most 9 decimals", repr(array[row].as_py()))
        whole, part = (pc.struct_field(parts, name) for name in ("whole", "part"))
        seconds = whole.cast(WHOLE).to_numpy()
        self._in_range(column, seconds, "s")
        ns: np.ndarray = seconds * 1_000_000_000 + pc.utf8_rpad(part, 9, "0").cast(WHOLE).to_numpy()
        return ns


class _Part(Source):
    """Some rows of a block under their own numbers."""

    def __init__(self, block: Block, table: pa.Table, rows: np.ndarray):
        super().__init__(block.name, table)
        self.numbered = block.first_row + rows

    def fail(self, row: int, column: str, expected: str, got: object) -> NoReturn:
        raise DataError(f"{self.name}: row {self.numbered[row]}, column {column}: expected {expected}, got {got}")


class Clock:
    """The unit of a file's times, ms or µs, by the size of the first: the same for all of its rows."""

    def __init__(self) -> None:
        self.unit = ""

    def times(self, block: Block, column: str) -> np.ndarray:
        """A column of times in nanoseconds; a time in another unit than the first is refused."""
        if not self.unit:
            self.unit = "ms" if block.numbers(column)[0] < 1e14 else "us"
        return block.times(column, self.unit)


# ---- files


def checksum(path: Path) -> str:
    """`verified`, or `none beside it`, by the file `NAME.CHECKSUM`; `DataError` where it does not fit."""
    beside = path.with_name(path.name + ".CHECKSUM")
    with faults(path.name):
        if not path.is_file():
            raise DataError(f"{path.name}: no such file in {path.parent}")
        if not beside.is_file():
            return "none beside it"
        words = beside.read_text(encoding="utf-8").split()
        if len(words) != 2 or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) or words[1].lstrip("*") != path.name:
            raise DataError(f"{beside.name}: expected a SHA-256 and {path.name}, got {' '.join(words)[:120]!r}")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != words[0].lower():
        raise DataError(f"{path.name}: expected the SHA-256 {words[0].lower()} of {beside.name}, got {got}")
    return "verified"


@contextlib.contextmanager
def faults(name: str) -> Iterator[None]:
    """Damage to a file, whichever library finds it, as a `DataError`."""
    try:
        yield
    except (
        OSError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        UnicodeDecodeError,
        zlib.error,
        zipfile.BadZipFile,
        tarfile.TarError,
        pa.ArrowException,
    ) as error:
        raise DataError(f"{name}: damaged or not what its suffix says: {' '.join(str(error).split())[:200]}") from None


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of the one file that an archive holds, as a stream."""
    with contextlib.ExitStack() as stack:
        if path.name.endswith(".zip"):
            archive = stack.enter_context(zipfile.ZipFile(path))
            yield stack.enter_context(archive.open(inside(path, archive)))
        elif path.name.endswith((".tar.gz", ".tar")):
            tape = stack.enter_context(tarfile.open(path, "r|*"))
            members = (member for member in tape if not member.isdir())
            member = next(members, None)
            stream = tape.extractfile(member) if member and member.isreg() else None
            if stream is None:
                raise DataError(f"{path.name}: expected one file inside, got {member.name if member else 'nothing'}")
            yield stream
            if extra := next(members, None):
                raise DataError(f"{path.name}: expected one file inside, got {extra.name} as well")
        elif path.name.endswith(".gz"):
            with gzip.open(path) as unzipped:
                yield cast(IO[bytes], unzipped)
        else:
            yield stack.enter_context(path.open("rb"))


def inside(path: Path, archive: zipfile.ZipFile) -> str:
    """The name of the one file in a zip."""
    names = [entry for entry in archive.namelist() if not entry.endswith("/")]
    if len(names) != 1 or not names[0].lower().endswith((".csv", ".data")):
        raise DataError(f"{path.name}: expected exactly one CSV inside, got {', '.join(names[:5]) or 'nothing'}")
    return names[0]


def first_line(path: Path) -> str:
    """The first line of a file, unpacked."""
    with faults(path.name), unpacked(path) as stream:
        return stream.readline(LONGEST_LINE).decode().removeprefix("\ufeff").strip()


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of a file, unpacked; those that are empty are left out."""
    with faults(path.name), unpacked(path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b"")):
            if len(line) >= LONGEST_LINE:
                raise DataError(f"{path.name}: row {number}: expected a line of less than {LONGEST_LINE} bytes")
            if line.strip():
                yield number, line


def blocks(path: Path, layouts: Sequence[str], types: Types, optional: Types | None = None) -> Iterator[Block]:
    """The rows of a CSV with or without a header row, as blocks that have the columns of `types`.

    `layouts` are the documented columns, for files without a header; with one, columns are found by their names, which
    may differ in case and underscores. A column of `optional` is there if the file has it.
    """
    wanted = dict(types) | dict(optional or {})
    names: list[str] = []
    first_row = 0
    for text in _texts(path):
        data = text
        if not names:
            head, _, rest = data.partition(b"\n")
            names, headed = _columns(path.name, head.decode().strip("\r\n"), layouts, types, wanted)
            data = rest if headed else data
        if not data.strip():
            continue
        present = {name: kind for name, kind in wanted.items() if name in names}
        block = Block(path.name, _parsed(path.name, data, names, present, first_row), first_row)
        first_row += block.table.num_rows
        yield block
    if not first_row:
        raise DataError(f"{path.name}: no rows")


def _texts(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines."""
    left = b""
    with faults(path.name), unpacked(path) as stream:
        while data := stream.read(BLOCK):
            if not left:
                data = data.removeprefix(b"\xef\xbb\xbf")
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                whole = left + head + newline
                whole.decode()  # raises where Arrow would, but not from within its own callback
                yield whole
                left = tail
            else:
                left += data
            if len(left) > LONGEST_LINE + BLOCK:
                raise DataError(f"{path.name}: expected lines of less than {LONGEST_LINE} bytes")
        if left:
            left.decode()
            yield left


def _columns(name: str, line: str, layouts: Sequence[str], needed: Types, wanted: Types) -> tuple[list[str], bool]:
    """The name of each column as the reader calls it, and whether the first line is a header."""
    cells = [cell.strip().strip('"') for cell in line.split(",")]
    documented = [layout.split(",") for layout in layouts]
    if re.fullmatch(r"[-+.0-9eE:TZ ]*", cells[0]) and cells[0]:
        fitting = next((columns for columns in documented if len(columns) == len(cells)), None)
        if fitting is None:
            counts = " or ".join(str(len(columns)) for columns in documented) or "a header with names of"
            raise DataError(f"{name}: row 0: expected {counts} columns, got {len(cells)}")
        return fitting, False
    known = {_plain(column): column for column in wanted}
    names = [known.get(_plain(cell), cell) for cell in cells]
    for column in needed:
        if names.count(column) != 1:
            problem = "missing" if column not in names else "there more than once"
            raise DataError(f"{name}: column {column} is {problem}; the columns are {', '.join(cells)}")
    return names, True


def _plain(column: str) -> str:
    return column.lower().replace("_", "")


def _parsed(name: str, data: bytes, names: list[str], types: Types, first_row: int) -> pa.Table:
    ragged: list[pc_csv.InvalidRow] = []

    def note(row: pc_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    def parse(kinds: Types) -> pa.Table:
        ragged.clear()
        unique = [f"{i}:{n}" if n not in kinds else n for i, n in enumerate(names)]
        return pc_csv.read_csv(
            pa.BufferReader(data),
            pc_csv.ReadOptions(column_names=unique, use_threads=False, block_size=2 * len(data) + 1024),
            pc_csv.ParseOptions(invalid_row_handler=note),
            pc_csv.ConvertOptions(
                column_types=dict(kinds),
                include_columns=list(kinds),
                null_values=[""],
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )

    try:
        table = parse(types)
    except pa.ArrowInvalid:  # as text, so that the row can be named
        table = parse(dict.fromkeys(types, TEXT))
    if ragged:
        row = first_row + ragged[0].number - 1
        expected, got = ragged[0].expected_columns, ragged[0].actual_columns
        raise DataError(f"{name}: row {row}: expected {expected} columns, got {got}")
    return table


# ---- rows by stream and day


def stamped(event_ns: np.ndarray, known_at_ns: np.ndarray, quality: Quality = Quality.GOOD) -> Columns:
    """The columns that every kind has."""
    return {"event_ns": event_ns, "known_at_ns": known_at_ns, "quality": np.full(len(event_ns), quality, np.int32)}


def received(block: Block, event: str, known: str, quality: Quality = Quality.GOOD) -> Columns:
    """The same, of µs columns: rows stamped later than received say so, by more than the lake allows are refused."""
    columns = stamped(block.times(event, "us"), block.times(known, "us"), quality)
    lag = columns["known_at_ns"] - columns["event_ns"]
    got = lag / 1e9
    block.refuse(lag < -MAX_SKEW_NS, known, f"at most {MAX_SKEW_NS // 10**9} s before the event, in seconds", got)
    block.refuse(lag > MAX_LAG_NS, known, "at most a day after the event, in seconds", got)
    columns["quality"] = np.where(lag < 0, columns["quality"] | Quality.CLOCK_SKEW, columns["quality"]).astype(np.int32)
    return columns


def bars(block: Block, clock: Clock, opened: str, cadence_ns: int) -> Columns:
    """The columns of bars that are known when they close, without their volumes; each row checked by itself."""
    open_ns = clock.times(block, opened)
    off = open_ns % cadence_ns != 0
    block.refuse(off, opened, "a time on the grid of the interval", open_ns.view("datetime64[ns]"))
    prices = {name: block.positive(name) for name in ("open", "high", "low", "close")}
    low, high = prices["low"], prices["high"]
    block.refuse(high < low, "high", "a high at or above the low", high)
    for name in ("open", "close"):
        outside = (prices[name] < low) | (prices[name] > high)
        block.refuse(outside, name, "a price between low and high", prices[name])
    unknown = np.full(len(open_ns), np.nan)
    return (
        stamped(open_ns + cadence_ns, open_ns + cadence_ns)
        | {"cadence_ns": np.full(len(open_ns), cadence_ns)}
        | prices
        | {"volume_base": unknown, "taker_buy_base": unknown.copy(), "row": block.row_numbers}
    )


class Days:
    """The rows of one file by stream and UTC day, in memory up to `SPILL` bytes, then in files under `root`."""

    def __init__(self, root: Path | None):
        self._root = root
        self._chunks: dict[tuple[str, str], dict[int, list[Columns | Path]]] = {}
        self._repeats: dict[tuple[str, str], Repeats] = {}
        self._held = 0
        self._files = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "Days":
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, piece: Piece) -> None:
        """Take some rows, in whatever order."""
        stream = (piece.kind, piece.symbol)
        self._repeats[stream] = piece.repeats
        days = opening_ns(piece.kind, piece.columns["event_ns"]) // DAY_NS
        for day in np.unique(days).tolist():
            which = days == day
            chunk = piece.columns if which.all() else take(piece.columns, which)
            self._chunks.setdefault(stream, {}).setdefault(day, []).append(chunk)
            self._held += sum(column.nbytes for column in chunk.values())
        if self._held > SPILL:
            self._spill()

    def streams(self) -> list[tuple[str, str]]:
        """(kind, symbol) of what there is."""
        return sorted(self._chunks)

    def span(self, kind: str, symbol: str) -> tuple[int, int]:
        """First and last day, counted from 1970."""
        days = self._chunks[kind, symbol]
        return min(days), max(days)

    def settled(self, name: str, kind: str, symbol: str) -> Iterator[Columns]:
        """The rows of a stream as the lake takes them, a day at a time; `DataError` for two that contradict."""
        for day in sorted(self._chunks[kind, symbol]):
            yield self._settled(name, kind, symbol, day)

    def refuse_contradictions(self, name: str, kind: str, symbol: str) -> None:
        """Raise for two rows that cannot both be, which shows only when a day is whole."""
        if self._repeats[kind, symbol] == "id" or is_keyed(kind):
            for _ in self.settled(name, kind, symbol):
                pass

    def _settled(self, name: str, kind: str, symbol: str, day: int) -> Columns:
        pieces = [_loaded(chunk) if isinstance(chunk, Path) else chunk for chunk in self._chunks[kind, symbol][day]]
        rows = {column: np.concatenate([piece[column] for piece in pieces]) for column in pieces[0]}
        pieces.clear()
        return settled(name, kind, rows, self._repeats[kind, symbol])

    def _spill(self) -> None:
        if self._folder is None:
            if self._root is not None:
                self._root.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(prefix=".reading-", dir=self._root)
        for days in self._chunks.values():
            for chunks in days.values():
                pieces = [chunk for chunk in chunks if not isinstance(chunk, Path)]
                if pieces:
                    path = Path(self._folder.name) / f"{self._files}.npz"
                    np.savez(path, **{n: np.concatenate([piece[n] for piece in pieces]) for n in pieces[0]})  # type: ignore[arg-type]
                    chunks[:] = [chunk for chunk in chunks if isinstance(chunk, Path)] + [path]
                    self._files += 1
        self._held = 0


def _loaded(path: Path) -> Columns:
    with np.load(path, allow_pickle=False) as file:
        return dict(file.items())


def settled(name: str, kind: str, rows: Columns, repeats: Repeats) -> Columns:
    """The rows of a day in order, each told once as `repeats` says, and numbered where several happened at once.

    `place` counts the rows of one event and known time, so that equal trades stay as many as they are and a second
    import of them, from this file or one that overlaps it, gives the same rows.
    """
    row = rows["row"]
    order = rows.get("order", row)
    values = {n: rows[n] for n in schema_of(kind) if n in rows}
    if repeats == "last":
        at = np.lexsort((row, values["event_ns"]))
        at = at[np.append(np.diff(values["event_ns"][at]) != 0, True)]
    elif repeats == "id":
        at = _once(name, "id", order, row, values)
    elif is_keyed(kind):
        at = _once(name, "time", values["event_ns"], row, values)
    elif repeats == "equal":
        at = np.lexsort((row, *(column for column in reversed(values.values()))))
        alike = np.logical_and.reduce([_same(column[at]) for column in values.values()])
        at = at[~np.append(False, alike)]
    else:
        at = np.arange(len(row))
    at = at[np.lexsort((order[at], values["known_at_ns"][at], values["event_ns"][at]))]
    settled = take(values, at)
    if "place" in schema_of(kind) and "place" not in settled:
        settled["place"] = np.zeros(len(at), np.int64) if repeats == "equal" else _places(settled)
    return {n: settled[n] for n in schema_of(kind)}


def _once(name: str, what: str, key: np.ndarray, row: np.ndarray, values: Columns) -> np.ndarray:
    """The first row of each key; rows of one key must be equal."""
    at = np.lexsort((row, key))
    again = np.append(False, np.diff(key[at]) == 0)
    for column, held in values.items():
        differs = again & ~np.append(False, _same(held[at]))
        if differs.any():
            second = int(differs.argmax())
            got, expected = held[at[second]], held[at[second - 1]]
            raise DataError(
                f"{name}: row {row[at[second]]}, column {column}: expected {expected}, as in row {row[at[second - 1]]} "
                f"of the same {what}, got {got}"
            )
    once: np.ndarray = at[~again]
    return once


def _same(column: np.ndarray) -> np.ndarray:
    """Whether each value but the first equals the one before, NaN too."""
    same: np.ndarray = column[1:] == column[:-1]
    if column.dtype.kind == "f":
        same |= np.isnan(column[1:]) & np.isnan(column[:-1])
    return same


def _places(rows: Columns) -> np.ndarray:
    """Number of each row among those of its event and known time; rows are sorted by them."""
    size = len(rows["event_ns"])
    starts = np.append(True, ~(_same(rows["event_ns"]) & _same(rows["known_at_ns"])))[:size]
    first = np.maximum.accumulate(np.where(starts, np.arange(size), 0))
    return np.arange(size) - first


def refuse_other_days(name: str, dates: str, kind: str, span: tuple[int, int]) -> None:
    """Raise where rows lie more than a day outside the day or month in a file's name."""
    first = np.datetime64(dates)
    low = int(first.astype("datetime64[D]").astype(np.int64)) - 1
    high = int((first + 1).astype("datetime64[D]").astype(np.int64))
    if span[0] < low or span[1] > high:
        days = " to ".join(date_of(day * DAY_NS) for day in span)
        raise DataError(f"{name}: expected {kind} of {dates}, got rows of {days}")


def in_base(options: Options, name: str, venue: str, native: str, event_ns: np.ndarray) -> np.ndarray:
    """Base coins per contract at each time, by the record of its UTC day."""
    days, which = np.unique(event_ns // DAY_NS, return_inverse=True)
    values = np.array([contract_value(options, name, venue, native, day * DAY_NS) for day in days.tolist()])
    return values[which]


def contract_value(options: Options, name: str, venue: str, native: str, at_ns: int) -> float:
    """Base coins per contract; `DataError` where no record says."""
    value = options.contract_value(native, at_ns)
    if value is None or not 0 < value < np.inf:
        raise DataError(
            f"{name}: sizes are in contracts, and there is no instrument record of {venue} {native} "
            f"with a value in base coins for {date_of(at_ns)}"
        )
    return value
