"""Files as their publishers wrote them: opened whole, their columns as checked arrays of numbers, words and times.

Apart from `importer`, which knows what the columns mean. Every fault is a `DataError` of one line that names the file,
the data row (counted from 0) and the column, what was expected and what came.
"""

import contextlib
import gzip
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq

from squeeze.errors import DataError, one_line

FORMATS = ".csv, .csv.gz, .zip, .parquet or .feather"
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EARLIEST_S, LATEST_S = 1_262_304_000, 4_102_444_800  # 2010 and 2100: no two units overlap within
UTC_NAMES = ("UTC", "Etc/UTC", "+00:00", "Z")
UTC_TEXT = re.compile(r"((?:19|20|21)\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(?:Z|\+00:?00| ?UTC)")
NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")


class Source:
    """The rows of one file that are being looked at; messages count the rows of the file itself."""

    def __init__(self, name: str, table: pa.Table):
        self.name = name
        self.table = table
        self.rows = np.arange(table.num_rows)

    def keep(self, mask: np.ndarray) -> None:
        """Look only at some of the rows from here on."""
        self.rows = self.rows[mask]

    def fail(self, row: int, column: str, expected: str, got: object) -> NoReturn:
        """Raise the error for the row-th of the rows that are kept."""
        raise DataError(f"{self.name}: row {self.rows[row]}, column {column}: expected {expected}, got {got}")

    def refuse(self, bad: np.ndarray, column: str, expected: str, got: np.ndarray) -> None:
        """Fail at the first of the rows that a mask marks, if any."""
        if bad.any():
            row = int(bad.argmax())
            self.fail(row, column, expected, got[row])

    def numbers(self, column: str) -> np.ndarray:
        """A column as finite float64."""
        array = self._column(column)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            values = self._parsed(column, array)
        elif _is_number(array.type):
            values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        else:
            self.fail(0, column, "a number", array.type)
        self.refuse(~np.isfinite(values), column, "a finite number", values)
        return values

    def words(self, column: str) -> np.ndarray:
        """A column as text."""
        return np.asarray(self._column(column).cast(pa.string()).to_pylist(), dtype=object)

    def times(self, column: str, unit: str) -> np.ndarray:
        """A column of times as UTC nanoseconds; `unit` as in `mapping.Stamps`."""
        array = self._column(column)
        text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
        if text and (unit == "datetime" or (unit == "auto" and not NUMBER.fullmatch(array[0].as_py()))):
            ns = self._parsed_times(column, array)
        elif pa.types.is_timestamp(array.type) and unit in ("datetime", "auto"):
            if array.type.tz is None:
                self.fail(0, column, "UTC", f"a naive time, {array.type}")
            if array.type.tz not in UTC_NAMES:
                self.fail(0, column, "UTC", f"a time in {array.type.tz}")
            stamps = array.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()).to_numpy()
            self._in_range(column, stamps, "us")
            ns = array.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
        elif text or (_is_number(array.type) and unit != "datetime"):
            return self._numbered_times(column, array, unit)
        elif pa.types.is_date(array.type):
            self.fail(0, column, "UTC", f"a naive time, {array.type}")
        else:
            self.fail(0, column, "a datetime" if unit == "datetime" else f"a number ({unit})", array.type)
        self._in_range(column, ns, "ns")
        return ns

    def _column(self, column: str) -> pa.Array:
        names = self.table.column_names
        if names.count(column) != 1:
            problem = "missing" if column not in names else "there more than once"
            raise DataError(f"{self.name}: column {column} is {problem}; the columns are {', '.join(names)}")
        array = self.table.column(column).combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # more than 2 GiB of text
            raise DataError(f"{self.name}: column {column} is too large")
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if len(self.rows) != len(array):
            array = array.take(pa.array(self.rows))
        if array.null_count:
            row = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
            self.fail(row, column, "a value", "null")
        return array

    def _parsed(self, column: str, array: pa.Array) -> np.ndarray:
        try:
            parsed: np.ndarray = pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)
            return parsed
        except pa.ArrowInvalid:
            texts = array.to_pylist()
            row = next((i for i, text in enumerate(texts) if not _is_float(text)), None)
            if row is not None:
                self.fail(row, column, "a number", repr(texts[row]))
            return np.array([float(text) for text in texts])

    def _parsed_times(self, column: str, array: pa.Array) -> np.ndarray:
        texts = array.to_pylist()
        matches = [UTC_TEXT.fullmatch(text) for text in texts]
        if None in matches:
            row = matches.index(None)
            self.fail(row, column, "a time in UTC, with Z or +00:00 at its end", repr(texts[row]))
        bare = [match[1] for match in matches if match]
        try:
            return np.array(bare, dtype="datetime64[ns]").astype(np.int64)
        except ValueError:
            row = next(i for i, text in enumerate(bare) if not _is_time(text))
            self.fail(row, column, "a time", repr(texts[row]))

    def _numbered_times(self, column: str, array: pa.Array, unit: str) -> np.ndarray:
        try:
            values: np.ndarray = array.cast(
                pa.int64()
            ).to_numpy()  # float64 would round nanoseconds to some 256 of them
        except pa.ArrowInvalid:
            values = self.numbers(column)
        if unit == "auto":
            unit = _unit_of(float(values[0])) or self.fail(0, column, "a time in s, ms, us or ns since 1970", values[0])
        self._in_range(column, values, unit)
        factor = PER_SECOND["ns"] // PER_SECOND[unit]
        whole = values.astype(np.int64)
        part = np.rint((values - whole) * factor).astype(np.int64)
        ns: np.ndarray = whole * factor + part
        return ns

    def _in_range(self, column: str, values: np.ndarray, unit: str) -> None:
        per = PER_SECOND[unit]
        bad = (values < EARLIEST_S * per) | (values >= LATEST_S * per)
        if bad.any():
            row = int(bad.argmax())
            fitting = _unit_of(float(values[row]))
            hint = f"; unit: {fitting} would fit" if fitting and fitting != unit else ""
            self.fail(row, column, "a time between 2010 and 2100", f"{values[row]} {unit} since 1970{hint}")


def open_source(path: Path, name: str, header: tuple[str, ...] | None, text: Iterable[str]) -> Source:
    """A file with at least one row; `text` names the columns of a CSV whose words must not be guessed at."""
    if not path.is_file():
        raise DataError(f"{name}: no such file in {path.parent}")
    kind = "".join(path.suffixes[-2:]).lower()
    with faults(name):
        if kind.endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                table = file.read()
        elif kind.endswith(".feather"):
            table = feather.read_table(path)
        elif kind.endswith(".csv.gz"):
            table = _read_csv(name, gzip.decompress(path.read_bytes()), header, text)
        elif kind.endswith(".zip"):
            table = _read_csv(name, _unzip(name, path), header, text)
        elif kind.endswith(".csv"):
            table = _read_csv(name, path.read_bytes(), header, text)
        else:
            raise DataError(f"{name}: expected {FORMATS}, got {path.suffix or 'no suffix'}")
        table.validate(full=True)  # a flipped bit in a length or a text would otherwise be met later, as a crash
        names = table.column_names
    if not table.num_rows:
        raise DataError(f"{name}: no rows, only the columns {', '.join(names)}")
    return Source(name, table)


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
        raise DataError(f"{name}: damaged or not what its suffix says: {one_line(error)[:200]}") from None


def _unzip(name: str, path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        inside = [entry for entry in archive.namelist() if not entry.endswith("/")]
        if len(inside) != 1 or not inside[0].lower().endswith(".csv"):
            raise DataError(f"{name}: expected exactly one CSV inside, got {', '.join(inside[:5]) or 'nothing'}")
        return archive.read(inside[0])


def _read_csv(name: str, data: bytes, header: tuple[str, ...] | None, text: Iterable[str]) -> pa.Table:
    data.decode()  # raises where Arrow would, but not from within its own callback
    ragged: list[pc_csv.InvalidRow] = []

    def note(row: pc_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    table = pc_csv.read_csv(
        pa.BufferReader(data),
        pc_csv.ReadOptions(column_names=header, use_threads=False),  # with threads a bad row has no number
        pc_csv.ParseOptions(invalid_row_handler=note),
        pc_csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string())),
    )
    if ragged:
        row = ragged[0].number - (1 if header else 2)
        expected, got = ragged[0].expected_columns, ragged[0].actual_columns
        raise DataError(f"{name}: row {row}: expected {expected} columns, got {got}")
    return table


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    try:
        np.datetime64(text, "ns")
    except ValueError:
        return False
    return True


def _unit_of(value: float) -> str | None:
    """The unit in which a number is a time between 2010 and 2100."""
    return next((unit for unit, per in PER_SECOND.items() if EARLIEST_S * per <= value < LATEST_S * per), None)
