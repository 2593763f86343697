"""The Parquet lake: recorded history by kind, venue, symbol and UTC day.

    ROOT/kind=bar_5m/venue=binance/symbol=BTCUSDT/date=2026-01-31/data.parquet

A partition is replaced whole and at once, so a reader never meets half a file; a row that is there is never
overwritten. One process writes at a time, any number read. `events` says what the columns mean, `kind_of` gives the
names of the kinds.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from squeeze.errors import LakeError
from squeeze.market.events import DAY_NS, AnyEvent
from squeeze.market.partitions import (
    MAX_LAG_NS,
    NAME,
    Written,
    checked,
    date_of,
    event_range,
    footer_of,
    from_bits,
    load,
    merge_keyed,
    merge_prints,
    opening_ns,
    replace,
    take,
    to_bits,
)
from squeeze.market.rows import CHUNK, Columns, events_of, is_keyed, schema_of
from squeeze.spec import MarketSpec, StreamSpec

DATA = "data.parquet"


class Held(NamedTuple):
    """One stream of the lake, with the first and last `event_ns`."""

    kind: str
    venue: str
    symbol: str
    first_ns: int
    last_ns: int
    rows: int


class Lake:
    """Recorded events under one folder."""

    def __init__(self, root: Path):
        self.root = Path(root)

    def write(self, kind: str, venue: str, symbol: str, columns: Columns) -> Written:
        """Merge rows into the partitions of one stream; what was new, the same, and kept as it was.

        A row of an interval, of open interest or of settled funding is known by its `event_ns`, and the row that is
        already there wins. All other kinds have no such key, for two equal rows can be real: of each row the larger
        count stays, so that importing a file twice changes nothing. A partition without news is not rewritten. Raises
        `LakeError`, before anything is written, for columns that do not fit the kind, a time given twice, or
        `known_at_ns` outside [event_ns, event_ns + 1 day] (10 s earlier where the row says `CLOCK_SKEW`).
        """
        place = f"{self.root}: {kind} of {venue} {symbol}"
        rows = checked(place, kind, columns)
        folder = self._folder(kind, venue, symbol)
        bits = to_bits(rows)
        days = opening_ns(kind, bits[:, 0]) // DAY_NS
        borders = np.flatnonzero(np.diff(days)) + 1
        total = Written()
        for piece in np.split(bits, borders) if len(bits) else []:
            path = folder / f"date={date_of(int(opening_ns(kind, piece[:1, 0])[0]))}" / DATA
            old = to_bits(load(path, kind)) if path.exists() else piece[:0]
            merged, written = merge_keyed(old, piece) if is_keyed(kind) else merge_prints(old, piece)
            if written.rows_new:
                replace(path, from_bits(merged, kind))
            total += written
        return total

    def read(
        self, kind: str, venue: str, symbol: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> Columns:
        """The rows with `start_ns <= known_at_ns < end_ns`, sorted by `known_at_ns`, then `event_ns`.

        Bounds are on the time a row became *known*, so that nothing later than `end_ns` can be seen; one left out is
        open. Empty arrays where the stream has no row in the range. Raises `LakeError` where the lake has no such
        stream, saying what it has, and for a partition that cannot be read, naming the file.
        """
        parts = self._partitions(kind, venue, symbol)
        if not parts:
            raise LakeError(f"{self.root}: no {kind} of {venue} {symbol}; {self._held(symbol)}")
        first = "" if start_ns is None else date_of(start_ns - MAX_LAG_NS - 1)
        last = "~" if end_ns is None else date_of(end_ns)
        pieces = [load(path, kind) for day, path in parts if first <= day <= last]
        rows = {n: np.concatenate([p[n] for p in pieces] or [np.empty(0, d)]) for n, d in schema_of(kind).items()}
        rows = take(rows, np.lexsort((rows["event_ns"], rows["known_at_ns"])))
        return _known_within(rows, start_ns, end_ns)

    def columns_of(
        self, stream: StreamSpec, symbol: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> dict[str, Columns]:
        """The rows of a stream by kind, each stretch of time told once; bounds as in `read`.

        A row of a later kind is left out where its interval overlaps one of an earlier kind. Which rows those are does
        not depend on the bounds: two ranges side by side give what the whole gives. Kinds that the lake lacks are left
        out; `LakeError` where it has none.
        """
        kinds = [k for k in dict.fromkeys(stream.kinds) if self._partitions(k, stream.venue, symbol)]
        if not kinds:
            wanted = " or ".join(stream.kinds)
            raise LakeError(f"{self.root}: no {wanted} of {stream.venue} {symbol}; {self._held(symbol)}")
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

    def digest(self, market: MarketSpec, start_ns: int | None = None, end_ns: int | None = None) -> str:
        """SHA-256, in hex, of the rows that `read_events` gives for the same arguments, however they lie in files."""
        digest = hashlib.sha256()
        for name, kind, venue, rows in sorted(_sources(self, market, start_ns, end_ns), key=lambda s: s[:2]):
            size = len(rows["event_ns"])
            if size:
                digest.update(msgspec.json.encode([name, kind, venue, market.symbol, size, list(rows)]))
                for column in rows.values():
                    digest.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def streams(self) -> list[Held]:
        """Every stream the lake holds, with its range and rows, from the files' metadata alone."""
        held = []
        for kind, venue, symbol in self._names():
            footers = [(path, footer_of(path)) for _, path in self._partitions(kind, venue, symbol)]
            if footers:
                first, last = event_range(*footers[0])[0], event_range(*footers[-1])[1]
                held.append(Held(kind, venue, symbol, first, last, sum(f.num_rows for _, f in footers)))
        return held

    def _folder(self, kind: str, venue: str, symbol: str) -> Path:
        for what, name in (("kind", kind), ("venue", venue), ("symbol", symbol)):
            if not NAME.fullmatch(name):
                raise LakeError(f"{self.root}: {what} {name!r} cannot name a folder; letters, digits and + . _ - can")
        return self.root / f"kind={kind}" / f"venue={venue}" / f"symbol={symbol}"

    def _partitions(self, kind: str, venue: str, symbol: str) -> list[tuple[str, Path]]:
        schema_of(kind)  # an unknown kind is a mistake, not a stream without rows
        found = self._folder(kind, venue, symbol).glob(f"date=*/{DATA}")
        return sorted((path.parent.name.removeprefix("date="), path) for path in found)

    def _names(self) -> list[tuple[str, str, str]]:
        folders = sorted(self.root.glob("kind=*/venue=*/symbol=*"))
        names = [tuple(part.partition("=")[2] for part in folder.parts[-3:]) for folder in folders]
        return [(kind, venue, symbol) for kind, venue, symbol in names]

    def _held(self, symbol: str) -> str:
        """What a user may have meant: the streams of the symbol, or of all symbols where it has none."""
        names = self._names()
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
    sizes = [len(rows["event_ns"]) for *_, rows in sources]
    ranks = np.repeat([rank[name] for name, *_ in sources], sizes)
    event_ns, known_at_ns = (np.concatenate([rows[n] for *_, rows in sources]) for n in ("event_ns", "known_at_ns"))
    order = np.lexsort((event_ns, ranks, known_at_ns))
    turns = np.repeat(np.arange(len(sources)), sizes)[order]
    feeds = [events_of(kind, venue, market.symbol, rows) for _, kind, venue, rows in sources]
    return (next(feeds[turn]) for at in range(0, len(turns), CHUNK) for turn in turns[at : at + CHUNK].tolist())


def _sources(
    lake: Lake, market: MarketSpec, start_ns: int | None, end_ns: int | None
) -> list[tuple[str, str, str, Columns]]:
    """(stream, kind, venue, rows) of everything a market reads, bars last."""
    streams = sorted(market.streams().items(), key=lambda item: (item[0] == "bars", item[0]))
    return [
        (name, kind, stream.venue, rows)
        for name, stream in streams
        for kind, rows in lake.columns_of(stream, market.symbol, start_ns, end_ns).items()
    ]


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
