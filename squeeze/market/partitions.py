"""One file of the lake: the columns of a stream's rows, how two sets of rows merge, how a file is replaced whole.

Apart from `lake`, which knows where the files lie and which of them a question needs.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from squeeze.errors import LakeError
from squeeze.files import whole
from squeeze.market.events import DAY_NS, SECOND_NS, Quality, cadence_name
from squeeze.market.rows import INTERVAL, Columns, is_keyed, schema_of

MAX_LAG_NS = DAY_NS
"""An event is known at most a day after it happened; this bounds the partitions that a read by known-at must open."""

MAX_SKEW_NS = 10 * SECOND_NS
"""How much later than its receipt an event may be stamped, by clocks that disagree, if it says so (`CLOCK_SKEW`)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
"""Venues and symbols name folders, so they may hold nothing else."""


@dataclass(frozen=True)
class Written:
    """What became of the rows handed to `Lake.write`."""

    rows_new: int = 0
    """Rows the lake did not have."""
    rows_same: int = 0
    """Rows it had, to the bit."""
    rows_kept: int = 0
    """Rows that differ from the one already there for that time; the older row stays."""

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.rows_new + other.rows_new, self.rows_same + other.rows_same, self.rows_kept + other.rows_kept
        )


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
    lag = rows["known_at_ns"] - rows["event_ns"]
    earliest = np.where(rows["quality"] & Quality.CLOCK_SKEW, -MAX_SKEW_NS, 0)
    if ((lag < earliest) | (lag > MAX_LAG_NS)).any():
        raise LakeError(
            f"{place}: known_at_ns must lie within a day after event_ns, got a lag of {lag.min()} to {lag.max()} ns"
        )
    if is_keyed(kind) and (np.diff(rows["event_ns"]) == 0).any():
        raise LakeError(f"{place}: two rows for one event_ns")
    if "cadence_ns" in rows:
        named = {cadence_name(int(c)) for c in np.unique(rows["cadence_ns"])}
        if named - {kind.rpartition("_")[2]}:
            raise LakeError(f"{place}: cadence_ns does not fit the kind, got {', '.join(sorted(named))}")
    return rows


def merge_prints(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, Written]:
    """Each distinct row as often as the side that has more of it; sorted by all columns, so that order is content."""
    if not len(old):  # a day of trades: sorting columns is ten times faster than finding distinct rows
        return new[np.lexsort(new.T[::-1])], Written(rows_new=len(new))
    rows, which = np.unique(np.concatenate([old, new]), axis=0, return_inverse=True)
    had = np.bincount(which[: len(old)], minlength=len(rows))
    came = np.bincount(which[len(old) :], minlength=len(rows))
    count = np.maximum(had, came)
    return np.repeat(rows, count, axis=0), Written(int((count - had).sum()), int(np.minimum(had, came).sum()))


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
    return np.stack([c.view(np.int64) if c.dtype.kind == "f" else c.astype(np.int64) for c in rows.values()], axis=1)


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


def replace(path: Path, rows: Columns) -> None:
    """Put a partition in the place of the old one."""
    try:
        with whole(path) as part:
            pq.write_table(pa.table(rows), part, compression="zstd", use_dictionary=False, write_page_checksum=True)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"{path}: cannot be written: {_one_line(error)}") from None


def load(path: Path, kind: str) -> Columns:
    """All rows of a partition; `LakeError` naming the file where it cannot be read or lacks a column."""
    schema = schema_of(kind)
    rows: Columns = {}
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=list(schema), use_threads=False)
        for name, dtype in schema.items():
            # Not `to_numpy`, which imports pandas where that is installed.
            values = np.from_dlpack(table.column(name).combine_chunks())
            rows[name] = values.astype(dtype, casting="same_kind", copy=False)
        return rows
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise LakeError(f"{path}: not a readable partition of {kind}: {_one_line(error)}") from None


def footer_of(path: Path) -> pq.FileMetaData:
    """The metadata of a partition, without its rows."""
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"{path}: not a readable partition: {_one_line(error)}") from None


def event_range(path: Path, footer: pq.FileMetaData) -> tuple[int, int]:
    """First and last `event_ns` of a partition, from the statistics of its first column."""
    statistics = [footer.row_group(i).column(0).statistics for i in range(footer.num_row_groups)]
    if not statistics or any(s is None or not s.has_min_max for s in statistics):
        raise LakeError(f"{path}: its metadata lacks the range of event_ns")
    return min(int(s.min) for s in statistics), max(int(s.max) for s in statistics)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
