"""Looking after a lake: fewer and smaller files, and what to do about damage; `lake_check` says whether there is any.

    compact ─► the same rows, better packed
    repair  ─► damaged files aside, what they still give kept

Apart from `lake`, which reads and writes and trusts what it wrote. Both read a partition at a time, and both write: no
other process may write to the lake meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from squeeze.errors import LakeError
from squeeze.market.lake import Lake, Stream
from squeeze.market.lake_check import is_home, selected, usable
from squeeze.market.partitions import (
    DAMAGE,
    ROW_GROUP,
    columns_in,
    falls_and_repeats,
    footer_of,
    load,
    order_of,
    replace,
    take,
    too_early,
    too_late,
)
from squeeze.market.rows import CHUNK, Columns, events_of, schema_of
from squeeze.market.storage import Storage


@dataclass(frozen=True)
class CompactReport:
    """What `compact` did."""

    partitions: int
    rewritten: tuple[str, ...]
    unreadable: tuple[str, ...]
    """Partitions that were left alone; see `repair`."""
    leftovers: tuple[str, ...]
    """Half-written files of killed runs, now deleted."""
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class PartitionRepair:
    """What `repair` did to one partition."""

    kind: str
    venue: str
    symbol: str
    day: str
    problem: str
    rows: int
    """Rows that the partition has now."""
    original: str
    """Where the file lies as it was; "" where it held nothing else than the new one."""
    is_incomplete: bool
    """Whether rows were lost: import or build the day again, which adds what is missing."""


def compact(lake: Lake, kind: str | None = None, venue: str | None = None, symbol: str | None = None) -> CompactReport:
    """Write partitions of many small row groups, or of another compression, again: sorted, a million rows together.

    No row changes. Deletes what killed runs left half-written.
    """
    storage, rewritten, unreadable, paths = lake.storage, [], [], []
    streams = selected(lake, kind, venue, symbol)
    leftovers = _leftovers(storage, kind, venue, symbol)
    before = sum(map(storage.size, leftovers))
    for path in leftovers:
        storage.remove(path)
    for stream in streams:
        for path in lake.partitions(*stream).values():
            paths.append(path)
            before += storage.size(path)
            try:
                rows = usable(storage, path, stream[0]) if _is_loose(storage, path) else None
            except LakeError:
                unreadable.append(storage.place(path))
                continue
            if rows is not None:
                _put(storage, path, rows)
                rewritten.append(path)
    after = sum(map(storage.size, paths))
    return CompactReport(len(paths), tuple(rewritten), tuple(unreadable), tuple(leftovers), before, after)


def repair(
    lake: Lake, kind: str | None = None, venue: str | None = None, symbol: str | None = None
) -> list[PartitionRepair]:
    """Make every partition readable and sorted, with its rows on their day; what was done, partition by partition.

    A file that cannot be read is kept as `data.parquet.damaged`, beside a new one of the rows that can still be read:
    those ahead of the first damaged page of each row group. A torn file, which lacks its end, gives none.
    """
    repairs = []
    for stream in selected(lake, kind, venue, symbol):
        parts = lake.partitions(*stream)
        broken = {day: problem for day, path in parts.items() if (problem := _unusable(lake.storage, path, stream[0]))}
        repairs += [_salvage(lake.storage, stream, day, parts[day], problem) for day, problem in broken.items()]
        for day, path in lake.partitions(*stream).items():  # now that rows can be moved to any day
            if done := _put_in_order(lake, stream, day, path):
                repairs.append(done)
    return sorted(repairs, key=lambda r: (r.kind, r.venue, r.symbol, r.day))


def _is_loose(storage: Storage, path: str) -> bool:
    """Whether a partition has more row groups than it needs, or is packed in another way than the lake does."""
    footer = footer_of(storage, path)
    try:
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        return len(groups) > -(-footer.num_rows // ROW_GROUP) or any(g.column(0).compression != "ZSTD" for g in groups)
    except DAMAGE as error:
        raise LakeError(f"{storage.place(path)}: not a readable partition: {error}") from None


def _leftovers(storage: Storage, kind: str | None, venue: str | None, symbol: str | None) -> list[str]:
    """Half-written files; only a local disk has them, an object appears whole."""
    if storage.local is None:
        return []
    pattern = f"kind={kind or '*'}/venue={venue or '*'}/symbol={symbol or '*'}/date=*/.*.tmp"
    return sorted(path.relative_to(storage.local).as_posix() for path in storage.local.glob(pattern) if path.is_file())


def _unusable(storage: Storage, path: str, kind: str) -> str:
    """Why `usable` refuses a partition; "" where it does not."""
    try:
        usable(storage, path, kind)
    except LakeError as error:
        return str(error)
    return ""


def _salvage(storage: Storage, stream: Stream, day: str, path: str, problem: str) -> PartitionRepair:
    data, kind = storage.read(path), stream[0]
    original = _put_aside(storage, path, data)
    try:
        rows, is_incomplete = load(storage, path, kind), False  # only the metadata is wrong
    except LakeError:
        pieces = list(_readable(data, kind))
        rows = {n: np.concatenate([p[n] for p in pieces] or [np.empty(0, d)]) for n, d in schema_of(kind).items()}
        rows = take(rows, is_home(kind, day, rows) & ~too_early(rows) & ~too_late(rows))
        is_incomplete = True
    _put(storage, path, rows)
    return PartitionRepair(*stream, day, problem, len(rows["event_ns"]), original, is_incomplete)


def _put(storage: Storage, path: str, rows: Columns) -> None:
    """Rows, sorted, in the place of a partition; of none no file is left."""
    if len(rows["event_ns"]):
        replace(storage, path, take(rows, order_of(rows)))
    else:
        storage.remove(path)


def _readable(data: bytes, kind: str) -> Iterator[Columns]:
    """The rows of a damaged file that lie ahead of the first damaged page of their row group."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, pre_buffer=False)
        groups = file.num_row_groups
    except DAMAGE:
        return
    for group in range(groups):
        rows = {name: [np.empty(0, dtype)] for name, dtype in schema_of(kind).items()}
        is_cut = False
        try:
            for batch in file.iter_batches(CHUNK, row_groups=[group], columns=list(rows), use_threads=False):
                for name, column in columns_in(pa.table(batch), kind).items():
                    rows[name].append(column)
        except DAMAGE:
            is_cut = True
        piece = {name: np.concatenate(columns) for name, columns in rows.items()}
        yield _whole_updates(piece, is_cut or group + 1 < groups) if kind == "book" else piece


def _whole_updates(rows: Columns, is_cut: bool) -> Columns:
    """Book rows without the levels of an update that begins before them or, where they are cut, goes on after them."""
    starts = np.flatnonzero(rows["place"] == 0)
    first, end = (starts[0], starts[-1] if is_cut else len(rows["place"])) if len(starts) else (0, 0)
    return {name: column[first:end] for name, column in rows.items()}


def _put_in_order(lake: Lake, stream: Stream, day: str, path: str) -> PartitionRepair | None:
    """Sort a partition, and move rows to the day they belong to; None where all is well."""
    kind, venue, symbol = stream
    rows = load(lake.storage, path, kind)
    falls = falls_and_repeats(rows)[0]
    away = ~is_home(kind, day, rows) & ~too_early(rows) & ~too_late(rows)
    if not (falls.any() or away.any()):
        return None
    original = ""
    if away.any():  # the day they move to may hold another value for a time, and would keep it
        original = _put_aside(lake.storage, path, lake.storage.read(path))
        lake.write_events(events_of(kind, venue, symbol, take(rows, away)))
    kept = take(rows, ~away)
    _put(lake.storage, path, kept)
    problem = f"{lake.storage.place(path)}: rows out of order: {falls.sum()}, of another day: {away.sum()}"
    return PartitionRepair(*stream, day, problem, len(kept["event_ns"]), original, is_incomplete=False)


def _put_aside(storage: Storage, path: str, data: bytes) -> str:
    """Keep the bytes of a file beside it, under a name that nothing has; the place of the copy."""
    aside = storage.free(f"{path}.damaged")
    storage.write(aside, data)
    return storage.place(aside)
