"""One file of the lake: the columns of a stream's rows, how two sets of rows merge, how a file is replaced whole.

Apart from `lake`, which knows where the files lie and which of them a question needs.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from squeeze.errors import LakeError, one_line
from squeeze.market.events import DAY_NS, SECOND_NS, Quality, cadence_name
from squeeze.market.rows import INTERVAL, Columns, is_keyed, schema_of
from squeeze.market.storage import Storage

MAX_LAG_NS = DAY_NS
"""An event is known at most a day after it happened; this bounds the partitions that a read by known-at must open."""

MAX_SKEW_NS = 10 * SECOND_NS
"""How much later than its receipt an event may be stamped, by clocks that disagree, if it says so (`CLOCK_SKEW`)."""

ROW_GROUP = 1_000_000
"""Rows of a file that are compressed together, so that damage elsewhere leaves them readable."""

DAMAGE = (OSError, pa.ArrowException, LookupError, TypeError, ValueError, ArithmeticError, BufferError, MemoryError)
"""What reading a file of flipped bits may raise: pyarrow trusts the footer, and the schema in it."""


@dataclass(frozen=True)
class Written:
    """What became of the rows handed to `Lake.write` or `Lake.write_events`."""

    rows_new: int = 0
    """Rows the lake did not have."""
    rows_same: int = 0
    """Rows it had, to the bit."""
    rows_kept: int = 0
    """Rows that differ from the one already there for that time; the older row stays."""
    rows_too_old: int = 0
    """Rows that `write_events` left out: known more than a day after they happened."""

    def __add__(self, other: "Written") -> "Written":
        return Written(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def take(rows: Columns, which: np.ndarray) -> Columns:
    """The rows that an index or a mask picks."""
    return {name: column[which] for name, column in rows.items()}


def checked(place: str, kind: str, columns: Columns) -> Columns:
    """The columns in order and type, sorted by `event_ns`, with one NaN and no negative zero.

    `LakeError`, opening with `place`, for rows that cannot be of the kind.
    """
    schema = schema_of(kind)
    if columns.keys() != schema.keys():
        raise LakeError(f"{place}: expected the columns {', '.join(schema)}, got {', '.join(columns)}")
    if len({len(column) for column in columns.values()}) > 1:
        raise LakeError(f"{place}: columns differ in length: {', '.join(f'{n} {len(c)}' for n, c in columns.items())}")
    rows = {name: np.asarray(columns[name]).astype(dtype, casting="same_kind") for name, dtype in schema.items()}
    rows = take(rows, np.argsort(rows["event_ns"], kind="stable"))
    for name, dtype in schema.items():
        if dtype.kind == "f":
            rows[name] = np.where(np.isnan(rows[name]), np.nan, rows[name] + 0.0)
    if (too_early(rows) | too_late(rows)).any():
        lag = rows["known_at_ns"] - rows["event_ns"]
        raise LakeError(
            f"{place}: known_at_ns must lie within a day after event_ns, got a lag of {lag.min()} to {lag.max()} ns"
        )
    if "cadence_ns" in rows:
        named = {cadence_name(int(c)) for c in np.unique(rows["cadence_ns"])}
        if named - {kind.rpartition("_")[2]}:
            raise LakeError(f"{place}: cadence_ns does not fit the kind, got {', '.join(sorted(named))}")
    return rows


def too_early(rows: Columns) -> np.ndarray:
    """Which rows were known before they happened, beyond what their flag `CLOCK_SKEW` allows."""
    earliest = np.where(rows["quality"] & Quality.CLOCK_SKEW, -MAX_SKEW_NS, 0)
    return rows["known_at_ns"] - rows["event_ns"] < earliest


def too_late(rows: Columns) -> np.ndarray:
    """Which rows were known more than a day after they happened."""
    return rows["known_at_ns"] - rows["event_ns"] > MAX_LAG_NS


def order_of(rows: Columns) -> np.ndarray:
    """The order in which rows are stored: by all columns, floats by their bits."""
    return np.lexsort([bits_of(column) for column in reversed(rows.values())])


def falls_and_repeats(rows: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Which rows come before the row ahead of them in the order of storage, and which are equal to it."""
    falls, equal = np.zeros(len(rows["event_ns"]), bool), np.ones(len(rows["event_ns"]), bool)
    equal[:1] = False
    for column in map(bits_of, rows.values()):
        falls[1:] |= equal[1:] & (column[1:] < column[:-1])
        equal[1:] &= column[1:] == column[:-1]
    return falls, equal


def merge_prints(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, Written]:
    """Each distinct row as often as the side that has more of it; sorted by all columns, so that order is content.

    Only the stretch of `old` that `new` reaches into is sorted again: a batch at the end of a day costs its own size.
    """
    low, high = 0, len(old)
    if len(old) and len(new) and (old[1:, 0] >= old[:-1, 0]).all():
        low, high = np.searchsorted(old[:, 0], new[:, 0].min()), np.searchsorted(old[:, 0], new[:, 0].max(), "right")
    both = np.concatenate([old[low:high], new])
    order = np.lexsort(both.T[::-1])  # ten times faster than np.unique
    both = both[order]
    starts = np.ones(len(both), bool)
    starts[1:] = (both[1:] != both[:-1]).any(axis=1)
    which, is_old = np.cumsum(starts) - 1, order < high - low
    rows = both[starts]
    had, came = (np.bincount(which[side], minlength=len(rows)) for side in (is_old, ~is_old))
    count = np.maximum(had, came)
    merged = np.concatenate([old[:low], np.repeat(rows, count, axis=0), old[high:]])
    return merged, Written(int((count - had).sum()), int(np.minimum(had, came).sum()))


def first_of_each(bits: np.ndarray) -> tuple[np.ndarray, Written]:
    """Of rows that rise in column 0 the first for each time, and whether the others were the same."""
    starts = np.ones(len(bits), bool)
    starts[1:] = bits[1:, 0] != bits[:-1, 0]
    firsts = bits[starts]
    same = (bits == firsts[np.cumsum(starts) - 1]).all(axis=1)
    return firsts, Written(rows_same=int((same & ~starts).sum()), rows_kept=int((~same).sum()))


def merge_keyed(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, Written]:
    """Rows of `new` whose time `old` lacks join it; both rise in column 0, `event_ns`."""
    if not len(old):
        return new, Written(rows_new=len(new))
    at = np.minimum(np.searchsorted(old[:, 0], new[:, 0]), len(old) - 1)
    there = old[at, 0] == new[:, 0]
    same = there & (old[at] == new).all(axis=1)
    merged = np.concatenate([old, new[~there]])
    merged = merged[np.argsort(merged[:, 0], kind="stable")]
    return merged, Written(int((~there).sum()), int(same.sum()), int((there & ~same).sum()))


def to_bits(rows: Columns) -> np.ndarray:
    """Rows as one int64 matrix, floats by their bits: equality of rows, NaN included, becomes equality of integers."""
    return np.stack([bits_of(column) for column in rows.values()], axis=1)


def bits_of(column: np.ndarray) -> np.ndarray:
    """A column as int64; of a float its bits, so that NaN equals NaN."""
    return column.view(np.int64) if column.dtype.kind == "f" else column.astype(np.int64, copy=False)


def from_bits(bits: np.ndarray, kind: str) -> Columns:
    """The rows that `to_bits` made the matrix from."""
    columns = (np.ascontiguousarray(column) for column in bits.T)
    schema = schema_of(kind).items()
    return {n: c.view(d) if d.kind == "f" else c.astype(d) for c, (n, d) in zip(columns, schema, strict=True)}


def opening_ns(kind: str, event_ns: np.ndarray) -> np.ndarray:
    """A time on the day of the partition: that on which an interval opened."""
    return event_ns - 1 if INTERVAL.fullmatch(kind) else event_ns


def date_of(ns: int) -> str:
    """The UTC day of a time, as in the name of a partition."""
    return str(np.datetime64(ns, "ns").astype("datetime64[D]"))


def ns_of(day: str) -> int:
    """When a day of `date_of` begins.

    >>> date_of(ns_of("2026-01-31"))
    '2026-01-31'
    """
    return int(np.datetime64(day, "ns").astype(np.int64))


def is_day(text: str) -> bool:
    """Whether a text is a day as `date_of` writes it."""
    try:
        return date_of(ns_of(text)) == text
    except ValueError:
        return False


def merge_into(storage: Storage, path: str, kind: str, new: np.ndarray) -> Written:
    """Merge rows of one day into its partition, which is written only if one of them is new.

    Of a kind without a key only the row groups that the rows reach into are in memory at once, and the one before, so
    that it is filled; a day of a book has hundreds of millions of numbers.
    """
    if not storage.exists(path):
        merged, written = merge_prints(new[:0], new) if not is_keyed(kind) else merge_keyed(new[:0], new)
        replace(storage, path, from_bits(merged, kind))
        return written
    if is_keyed(kind):
        merged, written = merge_keyed(to_bits(load(storage, path, kind)), new)
        if written.rows_new:
            replace(storage, path, from_bits(merged, kind))
        return written
    try:
        with opened(storage, path) as file:
            first, last = _reached(file.metadata, int(new[:, 0].min()), int(new[:, 0].max()))
            groups = range(file.num_row_groups)
            old = to_bits(_rows_of(file, kind, groups[first:last]))
            merged, written = merge_prints(old, new)
            if not written.rows_new:
                return written
            before, after = ((_rows_of(file, kind, [g]) for g in part) for part in (groups[:first], groups[last:]))
            data = _packed(itertools.chain(before, [from_bits(merged, kind)], after))
    except DAMAGE as error:
        raise LakeError(f"{storage.place(path)}: not a readable partition of {kind}: {one_line(error)[:200]}") from None
    storage.write(path, data)
    return written


def _reached(footer: pq.FileMetaData, low_ns: int, high_ns: int) -> tuple[int, int]:
    """The row groups, from and until, that rows of these times are merged with; all where groups do not rise."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    statistics = [group.column(0).statistics for group in groups]
    if any(s is None or not s.has_min_max for s in statistics):
        return 0, len(groups)
    ranges = [(int(s.min), int(s.max)) for s in statistics]
    if any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ranges)):
        return 0, len(groups)
    first = sum(last_ns < low_ns for _, last_ns in ranges)
    last = sum(first_ns <= high_ns for first_ns, _ in ranges)
    if first and groups[first - 1].num_rows < ROW_GROUP:
        first -= 1
    return first, max(first, last)


def _rows_of(file: Any, kind: str, groups: Sequence[int]) -> Columns:
    return columns_in(file.read_row_groups(list(groups), columns=list(schema_of(kind)), use_threads=False), kind)


def _packed(pieces: Iterable[Columns]) -> bytes:
    """A partition of these rows."""
    tables = (pa.table(rows) for rows in pieces)
    first, sink = next(tables), pa.BufferOutputStream()
    packing = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, first.schema, **packing) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table, row_group_size=ROW_GROUP)
    return bytes(sink.getvalue().to_pybytes())


def replace(storage: Storage, path: str, rows: Columns) -> None:
    """Put a partition in the place of the old one."""
    storage.write(path, _packed([rows]))


def opened(storage: Storage, path: str) -> Any:
    """A partition to read, as `pq.ParquetFile`; of a local one only what is asked for is read."""
    source = storage.local / path if storage.local is not None else pa.BufferReader(storage.read(path))
    return pq.ParquetFile(source, page_checksum_verification=True)


def load(storage: Storage, path: str, kind: str) -> Columns:
    """All rows of a partition; `LakeError` naming the file where it cannot be read or lacks a column."""
    try:
        with opened(storage, path) as file:
            return _rows_of(file, kind, range(file.num_row_groups))
    except DAMAGE as error:
        raise LakeError(f"{storage.place(path)}: not a readable partition of {kind}: {one_line(error)[:200]}") from None


def columns_in(table: pa.Table, kind: str) -> Columns:
    """The columns of a kind; one of `DAMAGE` for a table that lacks one, or has it in another type."""
    rows: Columns = {}
    for name, dtype in schema_of(kind).items():
        # Not `to_numpy`, which imports pandas where that is installed.
        values = np.from_dlpack(table.column(name).combine_chunks())
        rows[name] = values.astype(dtype, casting="same_kind", copy=False)
    return rows


def footer_of(storage: Storage, path: str) -> pq.FileMetaData:
    """The metadata of a partition, without its rows."""
    try:
        with opened(storage, path) as file:
            return file.metadata
    except DAMAGE as error:
        raise LakeError(f"{storage.place(path)}: not a readable partition: {one_line(error)[:200]}") from None


def event_range(place: str, footer: pq.FileMetaData) -> tuple[int, int]:
    """First and last `event_ns` of a partition, from the statistics of its first column."""
    try:
        statistics = [footer.row_group(i).column(0).statistics for i in range(footer.num_row_groups)]
        if statistics and all(s is not None and s.has_min_max for s in statistics):
            return min(int(s.min) for s in statistics), max(int(s.max) for s in statistics)
    except DAMAGE as error:
        raise LakeError(f"{place}: not a readable partition: {one_line(error)[:200]}") from None
    raise LakeError(f"{place}: its metadata lacks the range of event_ns")
