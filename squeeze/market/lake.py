"""The Parquet lake: recorded history by kind, venue, symbol and UTC day.

    ROOT/kind=bar_5m/venue=binance/symbol=BTCUSDT/date=2026-01-31/data.parquet

A partition is replaced whole and at once, so a reader never meets half a file; a row that is there is never
overwritten. One process writes at a time, any number read. ROOT is a folder, or a URI as in `Storage.at`. `events` says
what the columns mean, `kind_of` gives the names of the kinds; `lake_check` checks, `upkeep` repairs.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from squeeze.errors import LakeError
from squeeze.market.events import DAY_NS, NAME, AnyEvent, BookUpdate, kind_of
from squeeze.market.partitions import (
    MAX_LAG_NS,
    MAX_SKEW_NS,
    Written,
    checked,
    date_of,
    event_range,
    first_of_each,
    footer_of,
    is_day,
    load,
    merge_into,
    ns_of,
    opening_ns,
    take,
    to_bits,
    too_late,
)
from squeeze.market.rows import CHUNK, Columns, columns_of, events_of, is_keyed, schema_of
from squeeze.market.storage import Storage
from squeeze.spec import MarketSpec, StreamSpec

PARTITION = re.compile(r"kind=([^/]+)/venue=([^/]+)/symbol=([^/]+)/date=([^/]+)/data\.parquet")

STRETCH_ROWS = 1 << 19
"""About so many rows of a stream are in memory while it is digested."""
BLOCK_ROWS = 1 << 20
"""A digest is taken over blocks of so many rows, so that memory does not grow with the length of a recording."""
BATCH_ROWS = 500_000
"""Rows that `write_events` holds before it writes them: at most some 400 MB, as events and as columns."""

Stream = tuple[str, str, str]
"""Kind, venue and symbol."""


class Held(NamedTuple):
    """One stream of the lake, with the first and last `event_ns`."""

    kind: str
    venue: str
    symbol: str
    first_ns: int
    last_ns: int
    rows: int


class Lake:
    """Recorded events under one root: a folder, or the URI of an object store."""

    def __init__(self, root: Path | str):
        self.storage = Storage.at(root)
        self.root = self.storage.local or self.storage.place("")

    def write(self, kind: str, venue: str, symbol: str, columns: Columns) -> Written:
        """Merge rows into the partitions of one stream; what was new, the same, and kept as it was.

        A row of an interval, of open interest or of settled funding is known by its `event_ns`, and the row that is
        already there wins. All other kinds have no such key, for two equal rows can be real: of each row the larger
        count stays, so that importing a file twice changes nothing. A partition without news is not rewritten. Raises
        `LakeError`, before anything is written, for columns that do not fit the kind, a time given twice, or
        `known_at_ns` outside [event_ns, event_ns + 1 day] (10 s earlier where the row says `CLOCK_SKEW`).
        """
        rows = checked(self._named(kind, venue, symbol), kind, columns)
        if is_keyed(kind) and (np.diff(rows["event_ns"]) == 0).any():
            raise LakeError(f"{self._named(kind, venue, symbol)}: two rows for one event_ns")
        return self._merge(kind, venue, symbol, rows)

    def write_events(self, events: Iterable[AnyEvent], batch_rows: int = BATCH_ROWS) -> Written:
        """Merge events of any kinds, venues and symbols, as a recorder or a rebuild yields them.

        They are merged as in `write`, in batches of `batch_rows` rows (a book update has one for each level), by which
        memory is bounded. A batch ends only where the time at which events became known changes: equal prints, which
        are all counted only if they are in one batch, are not parted as long as events come in the order in which they
        became known. Of several events for one time of a keyed kind the first stays. What became known more than a day
        after it happened, as history from REST is, is left out and counted; of a gap longer than a day its last day is
        kept. Raises `LakeError` for an event that `write` would refuse; earlier batches have been written by then.
        """
        total = Written()
        for batch in _batches(events, batch_rows):
            for (kind, venue, symbol), waiting in batch.items():
                columns = columns_of(kind, waiting)
                if kind == "gap":
                    columns["event_ns"] = np.maximum(columns["event_ns"], columns["known_at_ns"] - MAX_LAG_NS)
                late = too_late(columns)
                total += Written(rows_too_old=int(late.sum()))
                rows = checked(self._named(kind, venue, symbol), kind, take(columns, ~late))
                total += self._merge(kind, venue, symbol, rows)
        return total

    def _merge(self, kind: str, venue: str, symbol: str, rows: Columns) -> Written:
        """Merge `checked` rows, of which those of a keyed kind may have one time twice: the first stays."""
        folder = self._folder(kind, venue, symbol)
        bits, total = first_of_each(to_bits(rows)) if is_keyed(kind) else (to_bits(rows), Written())
        days = opening_ns(kind, bits[:, 0]) // DAY_NS
        borders = np.flatnonzero(np.diff(days)) + 1
        for piece in np.split(bits, borders) if len(bits) else []:
            path = f"{folder}/date={date_of(int(opening_ns(kind, piece[:1, 0])[0]))}/data.parquet"
            total += merge_into(self.storage, path, kind, piece)
        return total

    def read(
        self, kind: str, venue: str, symbol: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> Columns:
        """The rows with `start_ns <= known_at_ns < end_ns`, sorted by `known_at_ns`, then `event_ns`.

        Bounds are on the time a row became *known*, so that nothing later than `end_ns` can be seen; one left out is
        open. Empty arrays where the stream has no row in the range. Raises `LakeError` where the lake has no such
        stream, saying what it has, and for a partition that cannot be read, naming the file.
        """
        parts = self.partitions(kind, venue, symbol)
        if not parts:
            raise self._lacks((kind,), venue, symbol)
        pieces = [load(self.storage, parts[day], kind) for day in _days_within(parts, start_ns, end_ns)]
        rows = _by_known(kind, pieces)
        found = _known_within(rows, start_ns, end_ns)
        # A view would keep the days around it in memory.
        return {name: column.copy() for name, column in found.items()} if _size(found) < _size(rows) else rows

    def events(
        self,
        venue: str,
        symbol: str,
        kinds: Collection[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[AnyEvent]:
        """All that a venue said of a symbol, or these kinds of it, in the order in which it became known.

        Where several events became known at once, gaps come first, since they speak of what was before, and bars last,
        since they close a step; between them kinds go by their name, and events of a kind in the order in which they
        are stored. Bounds as in `read`. Partitions are read as they are needed: memory holds two days. Kinds that the
        lake lacks are left out; `LakeError`, at once, where it has none.
        """
        wanted = {k for k, *of in self.names() if of == [venue, symbol]} if kinds is None else set(kinds)
        found = {kind: self.partitions(kind, venue, symbol) for kind in sorted(wanted, key=_turn)}
        streams = {kind: parts for kind, parts in found.items() if parts}
        if not streams:
            raise self._lacks(found or ("stream",), venue, symbol)
        days = self._by_day(streams, start_ns, end_ns)
        return (e for day in days for e in _merged([(n, k, venue, r) for n, (k, r) in enumerate(day.items())], symbol))

    def _by_day(
        self, streams: dict[str, dict[str, str]], start_ns: int | None, end_ns: int | None
    ) -> Iterator[dict[str, Columns]]:
        """The rows of each kind, known in stretches of time that follow each other, about a day each."""
        days = sorted({day for parts in streams.values() for day in _days_within(parts, start_ns, end_ns)})
        waiting: dict[str, Columns] = {}
        for day, following in zip(days, [*days[1:], None], strict=False):  # of no days, no turn
            # Nothing of a later partition was known before this.
            border = None if following is None else ns_of(following) - MAX_SKEW_NS
            ready = {}
            for kind, parts in streams.items():
                pieces = [waiting.pop(kind)] if kind in waiting else []
                if day in parts:
                    pieces.append(load(self.storage, parts[day], kind))
                rows = _known_within(_by_known(kind, pieces), start_ns, end_ns)
                ready[kind] = _known_within(rows, None, border)
                if border is not None:
                    waiting[kind] = {name: column.copy() for name, column in _known_within(rows, border, None).items()}
            yield ready

    def columns_of(
        self, stream: StreamSpec, symbol: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> dict[str, Columns]:
        """The rows of a stream by kind, each stretch of time told once; bounds as in `read`.

        A row of a later kind is left out where its interval overlaps one of an earlier kind. Which rows those are does
        not depend on the bounds: two ranges side by side give what the whole gives. Kinds that the lake lacks are left
        out; `LakeError` where it has none.
        """
        kinds = self._kinds_of(stream, symbol)
        margin = 2 * (DAY_NS + MAX_LAG_NS) if len(kinds) > 1 else 0  # covers a day-long interval known a day late
        wide_start = None if start_ns is None else start_ns - margin
        wide_end = None if end_ns is None else end_ns + margin
        taken: dict[str, Columns] = {}
        for kind in kinds:
            rows = self.read(kind, stream.venue, symbol, wide_start, wide_end)
            for earlier in taken.values():
                rows = take(rows, ~_overlaps(rows, earlier))
            taken[kind] = rows
        return {kind: _known_within(rows, start_ns, end_ns) for kind, rows in taken.items()}

    def _kinds_of(self, stream: StreamSpec, symbol: str) -> list[str]:
        """The kinds of a stream that the lake has, best first; `LakeError` where it has none."""
        kinds = [k for k in dict.fromkeys(stream.kinds) if self.partitions(k, stream.venue, symbol)]
        if not kinds:
            raise self._lacks(stream.kinds, stream.venue, symbol)
        return kinds

    def digest(self, market: MarketSpec, start_ns: int | None = None, end_ns: int | None = None) -> str:
        """SHA-256, in hex, of the rows that `read_events` gives for the same arguments, however they lie in files."""
        digest, symbol = hashlib.sha256(), market.symbol
        for name, stream in sorted(_streams(self, market), key=lambda named: named[0]):
            for kind in sorted(self._kinds_of(stream, symbol)):
                for rows in _blocks(part[kind] for part in self._stretches(stream, symbol, start_ns, end_ns)):
                    head = [name, kind, stream.venue, symbol, len(rows["event_ns"]), list(rows)]
                    digest.update(msgspec.json.encode(head))
                    for column in rows.values():
                        digest.update(np.ascontiguousarray(column, column.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def _stretches(
        self, stream: StreamSpec, symbol: str, start_ns: int | None, end_ns: int | None
    ) -> Iterator[dict[str, Columns]]:
        """`columns_of` piece by piece in the order of time: about `STRETCH_ROWS` rows, at least a day, at once."""
        kinds = self._kinds_of(stream, symbol)
        days = sorted({ns_of(day) for kind in kinds for day in self.partitions(kind, stream.venue, symbol)})
        begin, length = days[0] - MAX_SKEW_NS, DAY_NS
        begin, end = max(begin, start_ns or begin), days[-1] + 2 * DAY_NS + MAX_LAG_NS + 1
        end = end if end_ns is None else min(end, end_ns)
        while begin < end:
            found = self.columns_of(stream, symbol, begin, min(begin + length, end))
            yield found
            begin, rows = begin + length, sum(map(_size, found.values()))
            if 2 * rows < STRETCH_ROWS:
                length *= 2
            elif rows > STRETCH_ROWS:
                length = max(length // 2, DAY_NS)

    def streams(self) -> list[Held]:
        """Every stream the lake holds, with its range and rows, from the files' metadata alone."""
        held = []
        for kind, venue, symbol in self.names():
            paths = self.partitions(kind, venue, symbol).values()
            footers = [(self.storage.place(path), footer_of(self.storage, path)) for path in paths]
            first, last = event_range(*footers[0])[0], event_range(*footers[-1])[1]
            held.append(Held(kind, venue, symbol, first, last, sum(f.num_rows for _, f in footers)))
        return held

    def names(self) -> list[Stream]:
        """Kind, venue and symbol of every stream that has a partition, sorted."""
        found = (PARTITION.fullmatch(path) for path in self.storage.list("", "/data.parquet"))
        return sorted({(match[1], match[2], match[3]) for match in found if match})

    def partitions(self, kind: str, venue: str, symbol: str) -> dict[str, str]:
        """The files of a stream by day, in the order of time; none where the lake lacks the stream."""
        schema_of(kind)  # an unknown kind is a mistake, not a stream without rows
        paths = self.storage.list(self._folder(kind, venue, symbol), "/data.parquet")
        days = {match[4]: path for path in paths if (match := PARTITION.fullmatch(path))}
        for day, path in days.items():
            if not is_day(day):
                raise LakeError(f"{self.storage.place(path)}: {day!r} is not a day; move it elsewhere")
        return dict(sorted(days.items()))

    def _folder(self, kind: str, venue: str, symbol: str) -> str:
        for what, name in (("kind", kind), ("venue", venue), ("symbol", symbol)):
            if not NAME.fullmatch(name):
                place = self.storage.place("")
                raise LakeError(f"{place}: {what} {name!r} cannot name a folder; letters, digits and + . _ - can")
        return f"kind={kind}/venue={venue}/symbol={symbol}"

    def _named(self, kind: str, venue: str, symbol: str) -> str:
        return f"{self.storage.place('')}: {kind} of {venue} {symbol}"

    def _lacks(self, kinds: Iterable[str], venue: str, symbol: str) -> LakeError:
        wanted = f"{' or '.join(kinds)} of {venue} {symbol}"
        return LakeError(f"{self.storage.place('')}: no {wanted}; {self._held(symbol)}")

    def _held(self, symbol: str) -> str:
        """What a user may have meant: the streams of the symbol, or of all symbols where it has none."""
        names = self.names()
        near = [n for n in names if n[2] == symbol] or names
        shown = ", ".join(" ".join(n) for n in near[:12])
        return f"there is {shown}{', …' if len(near) > 12 else ''}" if near else "the lake is empty"


def read_events(
    lake: Lake, market: MarketSpec, start_ns: int | None = None, end_ns: int | None = None
) -> Iterator[AnyEvent]:
    """All events of a market with `start_ns <= known_at_ns < end_ns`, in the order in which they became known.

    Where several became known at once the bars come last, since they close a step; then they go by the name of the
    stream and by `event_ns`. Raises `LakeError` at once, not at the first event, where a stream is not in the lake.
    """
    sources = _sources(lake, market, start_ns, end_ns)
    rank = {name: place for place, name in enumerate(dict.fromkeys(name for name, *_ in sources))}
    return _merged([(rank[name], kind, venue, rows) for name, kind, venue, rows in sources], market.symbol)


def _merged(sources: list[tuple[int, str, str, Columns]], symbol: str) -> Iterator[AnyEvent]:
    """The events of (rank, kind, venue, rows) by `known_at_ns`, rank and `event_ns`; each has its own in that order."""
    heads = [rows["place"] == 0 if kind == "book" else slice(None) for _, kind, _, rows in sources]
    event_ns, known_at_ns = (
        [rows[name][head] for (*_, rows), head in zip(sources, heads, strict=True)]
        for name in ("event_ns", "known_at_ns")
    )
    sizes = [len(times) for times in event_ns]
    ranks = np.repeat([rank for rank, *_ in sources], sizes)
    order = np.lexsort((np.concatenate(event_ns), ranks, np.concatenate(known_at_ns)))
    turns = np.repeat(np.arange(len(sources)), sizes)[order]
    feeds = [events_of(kind, venue, symbol, rows) for _, kind, venue, rows in sources]
    return (next(feeds[turn]) for at in range(0, len(turns), CHUNK) for turn in turns[at : at + CHUNK].tolist())


def _turn(kind: str) -> tuple[int, str]:
    """Which kind comes first among what became known at once."""
    return (0 if kind == "gap" else 2 if kind.startswith("bar_") else 1), kind


def _batches(events: Iterable[AnyEvent], batch_rows: int) -> Iterator[dict[Stream, list[AnyEvent]]]:
    """Events by stream, about `batch_rows` rows at a time; those known at one time in one batch."""
    batch: defaultdict[Stream, list[AnyEvent]] = defaultdict(list)
    rows, known_at_ns = 0, None
    for event in events:
        if rows >= batch_rows and event.known_at_ns != known_at_ns:
            yield batch
            batch, rows = defaultdict(list), 0
        batch[kind_of(event), event.venue, event.symbol].append(event)
        rows += len(event.bids) + len(event.asks) if isinstance(event, BookUpdate) else 1
        known_at_ns = event.known_at_ns
    if batch:
        yield batch


def _sources(
    lake: Lake, market: MarketSpec, start_ns: int | None, end_ns: int | None
) -> list[tuple[str, str, str, Columns]]:
    """(stream, kind, venue, rows) of everything a market reads: holes first where the lake has some, bars last."""
    return [
        (name, kind, stream.venue, rows)
        for name, stream in _streams(lake, market)
        for kind, rows in lake.columns_of(stream, market.symbol, start_ns, end_ns).items()
    ]


def _streams(lake: Lake, market: MarketSpec) -> list[tuple[str, StreamSpec]]:
    """Everything a market reads, by name: holes first where the lake has some, bars last."""
    venues = sorted(v for v in market.kinds() if lake.partitions("gap", v, market.symbol))
    gaps = [("gaps", StreamSpec(venue=venue, kinds=("gap",))) for venue in venues]
    return gaps + sorted(market.inputs().items(), key=lambda item: (item[0] == "bars", item[0]))


def _blocks(parts: Iterable[Columns]) -> Iterator[Columns]:
    """The rows of all parts, in their order, in blocks of `BLOCK_ROWS`; the last may be shorter, and none is empty."""
    waiting: list[Columns] = []
    for part in parts:
        waiting.append(part)
        while sum(map(_size, waiting)) >= BLOCK_ROWS:
            rows = {name: np.concatenate([piece[name] for piece in waiting]) for name in part}
            yield {name: column[:BLOCK_ROWS] for name, column in rows.items()}
            waiting = [{name: column[BLOCK_ROWS:].copy() for name, column in rows.items()}]
    if sum(map(_size, waiting)):
        yield {name: np.concatenate([piece[name] for piece in waiting]) for name in waiting[0]}


def _size(rows: Columns) -> int:
    return len(rows["event_ns"])


def _days_within(days: Iterable[str], start_ns: int | None, end_ns: int | None) -> list[str]:
    """The days whose partitions may hold rows known in [start_ns, end_ns)."""
    first = "" if start_ns is None else date_of(start_ns - MAX_LAG_NS - 1)
    last = "~" if end_ns is None else date_of(end_ns)
    return [day for day in days if first <= day <= last]


def _by_known(kind: str, pieces: list[Columns]) -> Columns:
    """All rows of the pieces, sorted by `known_at_ns`, then `event_ns`, then as they are stored.

    Of book updates known at once the snapshot comes first: the others have waited for it.
    """
    rows = {n: np.concatenate([p[n] for p in pieces] or [np.empty(0, d)]) for n, d in schema_of(kind).items()}
    first = (rows["is_change"],) if kind == "book" else ()
    order = np.lexsort((rows["event_ns"], *first, rows["known_at_ns"]))
    is_sorted = bool((order[1:] > order[:-1]).all())  # what nearly all days are: to take them again costs the most
    return rows if is_sorted else take(rows, order)


def _known_within(rows: Columns, start_ns: int | None, end_ns: int | None) -> Columns:
    """The rows known in [start_ns, end_ns); `known_at_ns` rises."""
    known = rows["known_at_ns"]
    low = 0 if start_ns is None else int(np.searchsorted(known, start_ns))
    high = len(known) if end_ns is None else int(np.searchsorted(known, end_ns))
    return {name: column[low:high] for name, column in rows.items()}


def _overlaps(rows: Columns, earlier: Columns) -> np.ndarray:
    """Which rows share time with a row of an earlier kind; what has no length lasts the nanosecond up to its time."""
    start, end = _span(rows)
    starts, ends = (np.sort(border) for border in _span(earlier))
    if not len(ends):
        return np.zeros(len(end), bool)
    first = np.searchsorted(ends, start, side="right")  # the first earlier interval that ends after this one begins
    return (first < len(ends)) & (starts[np.minimum(first, len(ends) - 1)] < end)


def _span(rows: Columns) -> tuple[np.ndarray, np.ndarray]:
    end = rows["event_ns"]
    return end - rows.get("cadence_ns", np.ones_like(end)), end
