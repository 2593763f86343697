"""Events as the lake's columns, and back: the name of a kind, the columns it has, the rows that its events become.

    kind_of(event) ─► schema_of(kind) ─► columns_of(kind, events) ─► partitions ─► events_of(kind, ..., columns)

A column is int64, float64 or, for `quality`, int32. What a kind's name says (`price_mark`) is no column, and the text
of a trade's id is not kept. A book update is a row for each of its levels.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from squeeze.errors import LakeError
from squeeze.market.events import (
    AnyEvent,
    Bar,
    BookUpdate,
    DepthBand,
    Event,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    LiquidationSum,
    OpenInterest,
    Price,
    Quote,
    Trade,
)

Columns = dict[str, np.ndarray]
"""The rows of one stream by field name: `event_ns`, `known_at_ns`, `quality`, then the value fields of its event."""

INTERVAL = re.compile(r"(bar|mark_bar|liquidation)_\d+(ns|s|m|h|d)")
"""Kinds whose rows have a `cadence_ns`."""

SINGLE: dict[str, type[AnyEvent]] = {
    "open_interest": OpenInterest,
    "funding": Funding,
    "funding_forecast": FundingForecast,
    "liquidation": Liquidation,
    "trade": Trade,
    "quote": Quote,
    "price_last": Price,
    "price_mark": Price,
    "price_index": Price,
    "book": BookUpdate,
    "depth_band": DepthBand,
    "gap": Gap,
}
KEYED = ("open_interest", "funding")
"""Besides intervals, the kinds of which there is one row for each `event_ns`; of all others equal rows can be real."""

BOOK_COLUMNS = ("depth", "is_change", "last_id", "place", "first_id", "previous_id", "side")
"""Rows are sorted by these, so that a snapshot lies before the changes that joined it when it came."""
NO_LEVEL = -1
"""The `side` of the row that stands for an update without levels; 0 is a bid, 1 an ask."""

CHUNK = 8192  # rows turned into Python objects at a time
BOOKS = 1024  # updates of a book whose stamps are


def event_type(kind: str) -> type[AnyEvent]:
    """The event that a row of this kind becomes; `LakeError` for a name that `kind_of` never gives."""
    if interval := INTERVAL.fullmatch(kind):
        return LiquidationSum if interval[1] == "liquidation" else Bar
    if kind in SINGLE:
        return SINGLE[kind]
    raise LakeError(
        f"unknown kind {kind!r}; known are bar_5m, mark_bar_5m and liquidation_1h, of any cadence, {', '.join(SINGLE)}"
    )


def is_keyed(kind: str) -> bool:
    """Whether a stream of this kind has one row for each `event_ns`."""
    return kind in KEYED or INTERVAL.fullmatch(kind) is not None


@lru_cache
def schema_of(kind: str) -> dict[str, np.dtype]:
    """The columns of a kind and their types, in the order in which they are stored, sorted by and digested.

    >>> list(schema_of("price_mark"))
    ['event_ns', 'known_at_ns', 'quality', 'price']
    """
    event = event_type(kind)
    whole, part = np.dtype(np.int64), np.dtype(np.float64)
    base: dict[str, np.dtype] = {"event_ns": whole, "known_at_ns": whole, "quality": np.dtype(np.int32)}
    if event is BookUpdate:
        return base | dict.fromkeys(BOOK_COLUMNS, whole) | {"price": part, "size_base": part}
    fields = {f.name: f.type for f in msgspec.structs.fields(event) if f.name not in Event.__struct_fields__}
    ordered = sorted(fields, key=lambda name: name != "place")  # `place` orders rows that were known at once
    fixed = _constants(kind)
    return base | {n: part if fields[n] is float else whole for n in ordered if n not in fixed and n != "trade_id"}


def columns_of(kind: str, events: Sequence[AnyEvent]) -> Columns:
    """The rows of events of one kind, in their order."""
    schema = schema_of(kind)
    if kind == "book":
        rows = [row for event in events if isinstance(event, BookUpdate) for row in _level_rows(event)]
    else:
        rows = [tuple(getattr(event, name) for name in schema) for event in events]
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return {name: np.array(values, dtype) for (name, dtype), values in zip(schema.items(), columns, strict=True)}


def events_of(kind: str, venue: str, symbol: str, rows: Columns) -> Iterator[AnyEvent]:
    """The events of a stream's rows, in their order."""
    common = {"venue": venue, "symbol": symbol}
    if kind == "book":
        yield from _book_updates(rows, common)
        return
    event = event_type(kind)
    fixed = common | _constants(kind)
    truths = {f.name for f in msgspec.structs.fields(event) if f.type is bool}
    for at in range(0, len(rows["event_ns"]), CHUNK):
        chunk = {name: column[at : at + CHUNK] for name, column in rows.items()}
        lists = [(column != 0 if name in truths else column).tolist() for name, column in chunk.items()]
        for values in zip(*lists, strict=True):
            yield event(**fixed, **dict(zip(rows, values, strict=True)))


def _constants(kind: str) -> dict[str, Any]:
    """The fields of an event that its kind's name says."""
    if kind.startswith("price_"):
        return {"of": kind.removeprefix("price_")}
    return {"is_mark": kind.startswith("mark")} if event_type(kind) is Bar else {}


def _level_rows(update: BookUpdate) -> Iterable[tuple[float, ...]]:
    levels = [(0, *level) for level in update.bids] + [(1, *level) for level in update.asks]
    for place, (side, price, size) in enumerate(levels or [(NO_LEVEL, 0.0, 0.0)]):
        yield (
            update.event_ns, update.known_at_ns, update.quality, update.depth, not update.is_snapshot, update.last_id,
            place, update.first_id, update.previous_id, side, price, size,
        )  # fmt: skip


def _book_updates(rows: Columns, common: dict[str, Any]) -> Iterator[BookUpdate]:
    is_first = rows["place"] == 0
    if ((rows["side"][1:] < rows["side"][:-1]) & ~is_first[1:]).any():  # an archive's, with bids and asks mixed
        order = np.lexsort((rows["side"], is_first.cumsum()))
        rows = {name: column if name == "place" else column[order] for name, column in rows.items()}
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return
    bids, asks = (np.add.reduceat(rows["side"] == side, starts, dtype=np.int64) for side in (0, 1))
    shared = ("event_ns", "known_at_ns", "quality", "depth", "last_id", "first_id", "previous_id")
    for at in range(0, len(starts), BOOKS):
        chunk = slice(at, at + BOOKS)
        first = starts[chunk]
        columns = [rows[name][first].tolist() for name in shared]
        places = (first, first + bids[chunk], first + bids[chunk] + asks[chunk], rows["is_change"][first])
        for (start, middle, end, is_change), *ids in zip(
            zip(*(place.tolist() for place in places), strict=True), *columns, strict=True
        ):
            levels = list(zip(rows["price"][start:end].tolist(), rows["size_base"][start:end].tolist(), strict=True))
            yield BookUpdate(
                **common,
                **dict(zip(shared, ids, strict=True)),
                is_snapshot=not is_change,
                bids=levels[: middle - start],
                asks=levels[middle - start :],
            )
