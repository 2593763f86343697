"""What is wrong with a lake: a report for each stream, of what can be read, follows and is missing.

Apart from `lake`, which reads and writes and trusts what it wrote, and from `upkeep`, which writes: looking changes
nothing. A partition is read at a time.
"""

from dataclasses import dataclass, field

import numpy as np

from squeeze.errors import LakeError
from squeeze.market.events import DAY_NS, NAME, Quality, cadence_name
from squeeze.market.lake import Lake, Stream
from squeeze.market.partitions import (
    date_of,
    event_range,
    falls_and_repeats,
    footer_of,
    load,
    ns_of,
    opening_ns,
    order_of,
    take,
    too_early,
    too_late,
)
from squeeze.market.rows import NO_LEVEL, Columns, is_keyed
from squeeze.market.storage import Storage

SHOWN_HOLES = 5
PRICES = ("open", "high", "low", "close", "price", "bid", "ask")
MAY_LACK_PRICES = ("quote", "liquidation")
"""Kinds whose price is NaN where the venue does not say it."""


@dataclass(frozen=True)
class StreamReport:
    """What `check` found in one stream. What the lake promises and does not keep is a fault; all else tells of the
    market, the venue or the recorder, and may be so.
    """

    kind: str
    venue: str
    symbol: str
    rows: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    """First and last `event_ns`, None where no row can be read."""
    days: int = 0
    """Partitions, readable or not."""
    missing_days: tuple[str, ...] = ()
    """Days between the first and the last that have no partition."""
    missing: int = 0
    """Of a kind with a cadence: intervals that are not there between the first and the last."""
    holes: tuple[tuple[int, int], ...] = ()
    """The first few stretches [start_ns, end_ns) of them."""
    repeats: int = 0
    """Rows equal to another, beyond the first. Two equal prints can be real."""
    gaps: int = 0
    silent_ns: int = 0
    """Of kind `gap`: rows, and the time in which at least one feed was broken."""
    snapshots: int = 0
    breaks: int = 0
    """Of kind `book`: whole books, and updates whose `previous_id` is not the `last_id` of the update before."""
    flags: tuple[str, ...] = ()
    """Names of `Quality` that some row has."""
    faults: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the stream is as the lake promises."""
        return not self.faults


def check(
    lake: Lake, kind: str | None = None, venue: str | None = None, symbol: str | None = None
) -> list[StreamReport]:
    """A report for each stream, or for those of this kind, venue and symbol. Damage is a fault, never an exception.

    Faults are: a partition that cannot be read; rows out of order, on a wrong day, known before they happened or more
    than a day after; a time that a keyed kind has twice; intervals that overlap; a price that is not above zero or not
    finite; book updates that do not follow each other where no `gap` says so.
    """
    return [_check_stream(lake, stream) for stream in selected(lake, kind, venue, symbol)]


@dataclass
class _Faults:
    """Counts of what is wrong, each with the first file it was seen in."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def add(self, what: str, where: np.ndarray, place: str) -> None:
        if where.any():
            self.counts[what] = self.counts.get(what, 0) + int(where.sum())
            self.places.setdefault(what, place)

    def texts(self) -> tuple[str, ...]:
        counted = (f"{self.places[what]}: {what}: {count}" for what, count in self.counts.items())
        return (*self.told, *counted)


def _check_stream(lake: Lake, stream: Stream) -> StreamReport:
    kind = stream[0]
    try:
        parts = lake.partitions(*stream)
    except LakeError as error:  # a folder that no kind or venue can have
        return StreamReport(*stream, faults=(str(error),))
    faults, quality, first, last, rows_seen, repeats = _Faults(), 0, None, None, 0, 0
    grid, silence, chain = _Grid(), _Silence(), _Chain(_gap_times(lake, stream) if kind == "book" else np.empty(0))
    for day, path in parts.items():
        place = lake.storage.place(path)
        try:
            rows = usable(lake.storage, path, kind)
        except LakeError as error:
            faults.told.append(str(error))
            continue
        rows, equal = _checked_rows(kind, day, place, rows, faults)
        repeats += equal
        low, high = int(rows["event_ns"][0]), int(rows["event_ns"][-1])
        if "cadence_ns" in rows:
            grid.add(kind, rows, place, faults)
        if kind == "gap":
            silence.add(rows)
        if kind == "book":
            chain.add(rows, place, faults)
        quality |= int(np.bitwise_or.reduce(rows["quality"]))
        first, last = low if first is None else min(first, low), high if last is None else max(last, high)
        rows_seen += len(rows["event_ns"])
    return StreamReport(
        *stream,
        rows=rows_seen,
        first_ns=first,
        last_ns=last,
        days=len(parts),
        missing_days=_missing_days(list(parts)),
        missing=grid.missing,
        holes=tuple(grid.holes),
        repeats=repeats,
        gaps=rows_seen if kind == "gap" else 0,
        silent_ns=silence.total_ns,
        snapshots=chain.snapshots,
        breaks=chain.breaks,
        flags=tuple(str(flag.name) for flag in Quality if flag & quality),
        faults=faults.texts(),
    )


def _checked_rows(kind: str, day: str, place: str, rows: Columns, faults: _Faults) -> tuple[Columns, int]:
    """Tell what is wrong with rows of one partition, each by itself; the rows in order, and how many equal another."""
    falls, equal = falls_and_repeats(rows)
    faults.add("rows out of order", falls, place)
    faults.add("rows of another day", ~is_home(kind, day, rows), place)
    faults.add("rows known before they happened", too_early(rows), place)
    faults.add("rows known more than a day after they happened", too_late(rows), place)
    if is_keyed(kind):
        faults.add("times given twice", np.diff(np.sort(rows["event_ns"])) == 0, place)
    levels = rows["side"] != NO_LEVEL if kind == "book" else np.ones(len(falls), bool)
    for name in PRICES:
        if name in rows:
            good = np.isfinite(rows[name]) & (rows[name] > 0)
            if kind in MAY_LACK_PRICES:
                good |= np.isnan(rows[name])
            faults.add(f"{name} not a price", levels & ~good, place)
    if falls.any():
        rows = take(rows, order_of(rows))
        equal = falls_and_repeats(rows)[1]
    return rows, int(equal.sum())


class _Grid:
    """Intervals that lack, or overlap, over partitions in the order of time."""

    def __init__(self) -> None:
        self.missing = 0
        self.holes: list[tuple[int, int]] = []
        self._last = np.empty(0, np.int64)

    def add(self, kind: str, rows: Columns, place: str, faults: _Faults) -> None:
        said = kind.rpartition("_")[2]
        fitting = [c for c in np.unique(rows["cadence_ns"]).tolist() if c > 0 and cadence_name(c) == said]
        fits = np.isin(rows["cadence_ns"], fitting)
        faults.add("cadence_ns that does not fit the kind", ~fits, place)
        if not fitting:
            return
        cadence = fitting[0]
        closes = np.unique(np.concatenate([self._last, rows["event_ns"][fits]]))
        steps = np.diff(closes)
        faults.add("intervals that overlap", steps < cadence, place)
        wide = np.flatnonzero(steps > cadence)
        self.missing += int((-(-steps[wide] // cadence) - 1).sum())
        for at in wide[: SHOWN_HOLES - len(self.holes)].tolist():
            self.holes.append((int(closes[at]), int(closes[at + 1]) - cadence))
        self._last = closes[-1:]


class _Silence:
    """Time that is in at least one gap, over partitions in the order of time."""

    def __init__(self) -> None:
        self.total_ns = 0
        self._end = np.iinfo(np.int64).min

    def add(self, rows: Columns) -> None:
        for start, end in zip(rows["event_ns"].tolist(), rows["known_at_ns"].tolist(), strict=True):
            self.total_ns += max(end - max(start, self._end), 0)
            self._end = max(self._end, end)


class _Chain:
    """The numbering of book updates, over partitions in the order of time; each depth is a feed of its own."""

    def __init__(self, gap_times: np.ndarray) -> None:
        self.snapshots = self.breaks = 0
        self._gap_times = gap_times
        self._last: dict[int, np.ndarray] = {}

    def add(self, rows: Columns, place: str, faults: _Faults) -> None:
        updates = take(rows, rows["place"] == 0)
        updates = take(updates, np.argsort(updates["known_at_ns"], kind="stable"))
        self.snapshots += int((updates["is_change"] == 0).sum())
        names = ("is_change", "previous_id", "last_id", "known_at_ns")
        table = np.stack([updates[name] for name in names])
        for depth in np.unique(updates["depth"]).tolist():
            feed = table[:, updates["depth"] == depth]
            is_change, previous, last, known = np.concatenate([self._last.get(depth, feed[:, :0]), feed], axis=1)
            follows = (is_change[1:] != 0) & (is_change[:-1] != 0) & (previous[1:] >= 0) & (last[:-1] >= 0)
            broken = follows & (previous[1:] != last[:-1])
            self.breaks += int(broken.sum())
            gaps = np.searchsorted(self._gap_times, known[1:], "right") - np.searchsorted(self._gap_times, known[:-1])
            faults.add("updates that do not follow the one before, and no gap says so", broken & (gaps == 0), place)
            self._last[depth] = feed[:, -1:]


def _gap_times(lake: Lake, stream: Stream) -> np.ndarray:
    """When a gap was noticed, rising; of a gap stream that is itself damaged what can be read."""
    times = [np.empty(0, np.int64)]
    for path in lake.partitions("gap", *stream[1:]).values():
        try:
            times.append(load(lake.storage, path, "gap")["known_at_ns"])
        except LakeError:
            continue
    return np.sort(np.concatenate(times))


def _missing_days(days: list[str]) -> tuple[str, ...]:
    if not days:
        return ()
    between = range(ns_of(min(days)), ns_of(max(days)), DAY_NS)
    return tuple(day for day in map(date_of, between) if day not in days)


def is_home(kind: str, day: str, rows: Columns) -> np.ndarray:
    """Which rows belong to the day of their partition."""
    return np.asarray(opening_ns(kind, rows["event_ns"]) // DAY_NS == ns_of(day) // DAY_NS)


def usable(storage: Storage, path: str, kind: str) -> Columns:
    """The rows of a partition that can be read and says rightly which it has; else `LakeError`."""
    rows = load(storage, path, kind)
    place = storage.place(path)
    named = event_range(place, footer_of(storage, path))
    if not len(rows["event_ns"]) or named != (rows["event_ns"].min(), rows["event_ns"].max()):
        raise LakeError(f"{place}: its metadata names other times than its rows have")
    return rows


def selected(lake: Lake, kind: str | None, venue: str | None, symbol: str | None) -> list[Stream]:
    """The streams of this kind, venue and symbol, as far as they are given; `LakeError` for one that cannot be."""
    wanted = (kind, venue, symbol)
    for what, name in zip(("kind", "venue", "symbol"), wanted, strict=True):
        if name is not None and not NAME.fullmatch(name):
            raise LakeError(f"{lake.storage.place('')}: {what} {name!r} cannot name a folder")
    return [s for s in lake.names() if all(w is None or w == n for w, n in zip(wanted, s, strict=True))]
