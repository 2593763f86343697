"""Some consecutive rows of a published file: its columns, checked and in the lake's units.

Apart from `reading`, which cuts a file into blocks: this is what publishers' modules make the columns of a `Piece`
from. A fault names file, row and column.
"""

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from squeeze.errors import DataError
from squeeze.market.events import Quality
from squeeze.market.partitions import MAX_LAG_NS, MAX_SKEW_NS
from squeeze.market.rows import Columns
from squeeze.market.tables import Source

TEXT, NUMBER, WHOLE = pa.string(), pa.float64(), pa.int64()
Types = Mapping[str, pa.DataType]


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
