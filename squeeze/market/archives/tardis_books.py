"""Tardis' files of order books: a row of the lake for each level, levels of one moment are one update.

Apart from `tardis`, whose other kinds have a row for each event.
"""

import re
from collections.abc import Callable, Iterator

import numpy as np

from squeeze.market.archives.archive import Piece
from squeeze.market.archives.block import NUMBER, TEXT, Block, Types, received
from squeeze.market.archives.tardis_file import FILLS, Reader
from squeeze.market.partitions import take
from squeeze.market.rows import Columns

LEVEL = re.compile(r"asks\[(\d+)\]\.price")


def _moments(reader: Reader, types: Types, parse: Callable[[Block], Columns]) -> Iterator[tuple[str, Columns]]:
    """(symbol, rows) in chunks that cut no moment in two, sorted by when they were known, then when they happened.

    A book's file has one symbol. `local_timestamp` must not fall, as Tardis promises.
    """
    left: Columns | None = None
    symbol = ""
    for block in reader.blocks(types):
        native, symbol, at = next(iter(reader.symbols(block)))
        if len(at) < block.table.num_rows:
            block.only("symbol", native)
        rows = received(block, "timestamp", "local_timestamp") | {"row": block.row_numbers} | parse(block)
        rows["size_base"] = reader.base(native, rows["size_base"].T, rows["event_ns"]).T
        known = rows["known_at_ns"]
        before = known[:1] if left is None else left["known_at_ns"][-1:]
        falls = np.concatenate([known[:1] < before, np.diff(known) < 0])
        block.refuse(falls, "local_timestamp", "times that do not fall", known // 1000)
        if left is not None:
            rows = {name: np.concatenate([left[name], column]) for name, column in rows.items()}
        end = int(np.searchsorted(rows["known_at_ns"], rows["known_at_ns"][-1]))
        left = {name: column[end:] for name, column in rows.items()}
        if end:
            yield symbol, _sorted({name: column[:end] for name, column in rows.items()})
    if left is not None:
        yield symbol, _sorted(left)


def _sorted(rows: Columns) -> Columns:
    return take(rows, np.lexsort((rows["row"], rows["event_ns"], rows["known_at_ns"])))


def _starts(rows: Columns) -> np.ndarray:
    """Which rows are the first of a moment."""
    fresh = (np.diff(rows["known_at_ns"]) != 0) | (np.diff(rows["event_ns"]) != 0)
    return np.append(True, fresh)


def incremental(reader: Reader) -> Iterator[Piece]:
    """All rows of one moment are one update; it is a snapshot if `is_snapshot` went from false to true in it.

    Of such a moment the rows before that are dropped, for the snapshot replaces them. Rows before the first snapshot
    are skipped. A snapshot that goes on in later moments adds its levels to the book, as Tardis defines it.
    """

    def parse(block: Block) -> Columns:
        return {
            "snapshot": block.codes("is_snapshot", {"false": 0, "true": 1}) == 1,
            "side": block.codes("side", {"bid": 0, "ask": 1}),
            "price": block.positive("price"),
            "size_base": block.sizes("amount"),
        }

    was_snapshot, started = False, False
    for symbol, rows in _moments(reader, {"is_snapshot": TEXT} | FILLS, parse):
        snapshot = rows["snapshot"]
        rises = snapshot & ~np.append(was_snapshot, snapshot[:-1])
        was_snapshot = bool(snapshot[-1])
        if not started:
            early = int(rises.argmax()) if rises.any() else len(rises)
            reader.skipped["book", symbol] += early
            if early == len(rises):
                continue
            started = True
            rows, rises = take(rows, np.arange(early, len(rises))), rises[early:]
        group = np.cumsum(_starts(rows)) - 1
        last_rise = np.full(group[-1] + 1, -1)
        np.maximum.at(last_rise, group, np.where(rises, np.arange(len(group)), -1))
        resets = last_rise[group] >= 0
        keep = np.arange(len(group)) >= last_rise[group]
        keep &= ~_told_again(rows, group, keep & resets)
        rows, group, resets = take(rows, keep), group[keep], resets[keep]
        at = np.lexsort((rows["side"], group))  # bids first; lexsort is stable
        yield Piece("book", symbol, _levels(take(rows, at), resets[at], depth=0))


def _told_again(rows: Columns, group: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Rows of snapshots that a later row of the same moment overrides, and levels that are gone."""
    gone = within & (rows["size_base"] == 0)
    mixed = np.unique(group[within & ~rows["snapshot"]])
    again: np.ndarray = gone.copy()
    for number in mixed.tolist():  # rare: a change came at the very moment of the snapshot
        seen = set()
        for row in reversed(np.flatnonzero(within & (group == number)).tolist()):
            level = (int(rows["side"][row]), float(rows["price"][row]))
            again[row] |= level in seen
            seen.add(level)
    return again


def snapshots(reader: Reader) -> Iterator[Piece]:
    """Each row is a whole book of N levels a side; of two rows of one moment the later counts."""
    asks = [int(found[1]) for found in map(LEVEL.fullmatch, reader.columns) if found]
    depth = len(asks)
    places = [(side, level) for side in ("bids", "asks") for level in range(depth)]
    names = {what: [f"{side}[{level}].{what}" for side, level in places] for what in ("price", "amount")}

    def parse(block: Block) -> Columns:
        matrix = {}
        for what, columns in names.items():
            matrix[what] = np.stack([block.optional(name) for name in columns], axis=1)
            bad = (matrix[what] < 0) | (np.isnan(matrix["price"]) != np.isnan(matrix[what]))
            if what == "price":
                bad |= matrix[what] == 0
            for number, name in enumerate(columns):
                block.refuse(bad[:, number], name, "a level's price and amount, or neither", matrix[what][:, number])
        return {"price": matrix["price"], "size_base": matrix["amount"]}

    sides = np.repeat([0, 1], depth)
    for symbol, rows in _moments(reader, dict.fromkeys([n for both in names.values() for n in both], NUMBER), parse):
        latest = np.append(_starts(rows)[1:], True)
        there = ~np.isnan(rows["price"])
        kept = latest & there.any(axis=1)
        reader.skipped["book", symbol] += int((~kept).sum())
        rows, there = take(rows, kept), there[kept]
        at, level = np.nonzero(there)
        flat = {name: column[at] for name, column in rows.items() if column.ndim == 1}
        flat |= {"side": sides[level], "price": rows["price"][at, level], "size_base": rows["size_base"][at, level]}
        yield Piece("book", symbol, _levels(flat, np.ones(len(at), bool), depth))


def _levels(rows: Columns, is_snapshot: np.ndarray, depth: int) -> Columns:
    """The lake's rows of books; `rows` are sorted by moment, bids before asks."""
    size = len(rows["row"])
    first = np.maximum.accumulate(np.where(_starts(rows)[:size], np.arange(size), 0))
    unsaid = np.full(size, -1)
    return {
        "event_ns": rows["event_ns"],
        "known_at_ns": rows["known_at_ns"],
        "quality": rows["quality"],
        "depth": np.full(size, depth),
        "last_id": unsaid,
        "place": np.arange(size) - first,
        "is_change": np.where(is_snapshot, 0, 1),
        "first_id": unsaid,
        "previous_id": unsaid,
        "side": rows["side"],
        "price": rows["price"],
        "size_base": rows["size_base"],
        "row": np.arange(size) + int(rows["row"][0]) if size else rows["row"],
    }
