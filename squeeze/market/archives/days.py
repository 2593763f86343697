"""The rows of one file by stream and UTC day, sorted and told once, as the lake takes them.

Apart from `reading`, which goes through a file once: a day is whole only when the file is, and may not fit in
memory.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from squeeze.errors import DataError
from squeeze.market.archives.archive import Piece, Repeats
from squeeze.market.events import DAY_NS
from squeeze.market.partitions import date_of, opening_ns, take
from squeeze.market.rows import Columns, is_keyed, schema_of

SPILL = 96 << 20
"""Bytes of rows that wait in memory; beyond, they wait in files beside the lake."""


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
