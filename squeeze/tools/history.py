"""What the aggregated heatmaps were: one snapshot a minute for a week, then one a quarter hour, for 90 days.

    MarketState ─► snapshot_of ─► MapHistory.add ─► one Parquet file a day ─► at, between ─► `squeeze diff`, pictures

A snapshot was known at its `close_ns`, and its maps never change: thinning drops snapshots, of each slot (a, b] all but
the last, which takes over the range of the mark, and decides by age alone: nothing later counts. By default a market
takes 6.5 kB a snapshot before compression, at most 18,300 snapshots, and in memory the running day.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from squeeze.errors import LakeError, one_line
from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.market.partitions import date_of, ns_of
from squeeze.market.storage import Storage
from squeeze.strict import Strict, require
from squeeze.tools.snapshot import Snapshot, snapshots_of, table_of

FILE = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)\.(?P<seconds>\d+)s\.parquet")


class HistorySpec(Strict, frozen=True, kw_only=True):
    """How much is kept, and how often it is written."""

    fine_minutes: float = 1.0
    """One snapshot in each slot of this length ..."""
    fine_days: int = 7
    """... for so many whole days at least;"""
    coarse_minutes: float = 15.0
    """then one in each slot of this length ..."""
    coarse_days: int = 90
    """... until it is so old. Days are kept, thinned and dropped whole."""
    write_minutes: float = 15.0
    """What a killed writer can lose."""

    def __post_init__(self) -> None:
        require(0 < self.fine_minutes <= self.coarse_minutes, "fine_minutes is positive and at most coarse_minutes")
        for minutes in (self.fine_minutes, self.coarse_minutes):
            require(
                minutes * 60 == round(minutes * 60) and 1440 % minutes == 0, "slots are whole seconds and divide a day"
            )
        require(0 < self.fine_days <= self.coarse_days, "fine_days is positive and at most coarse_days")
        require(self.write_minutes > 0, "write_minutes is positive")


class MapHistory:
    """Snapshots of one market under a folder or URI; one writer at a time, any number of readers.

    Every `write_minutes` the running day is written, whole or not at all, and at the end: use it in `with`, or call
    `flush`. A new one goes on where the files end. Raises `LakeError`, naming the file, for one that is damaged or is
    of another market or grid.
    """

    def __init__(self, root: str | Path, symbol: str, spec: HistorySpec | None = None) -> None:
        self.storage, self.symbol, self.spec = Storage.at(root), symbol, spec or HistorySpec()
        self._folder = f"symbol={symbol}"
        self._fine_ns = round(self.spec.fine_minutes * MINUTE_NS)
        self._coarse_ns = round(self.spec.coarse_minutes * MINUTE_NS)
        self._running: list[Snapshot] = []
        self._written_ns = 0
        if days := list(self._files()):
            self._running = self._read(days[-1])
            self._written_ns = self._running[-1].close_ns

    def __enter__(self) -> "MapHistory":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, snapshot: Snapshot | None) -> bool:
        """Keep a snapshot in place of an earlier one of its slot; False for none, and for one that is not newer."""
        newest = self._running[-1] if self._running else None
        if snapshot is None or (newest is not None and snapshot.close_ns <= newest.close_ns):
            return False
        if newest is not None:
            self._check_grid(snapshot, newest)
            if _day(snapshot.close_ns) != _day(newest.close_ns):
                self.flush()
                self._running = []
                self._forget(snapshot.close_ns)
            elif _slot(snapshot.close_ns, self._fine_ns) == _slot(newest.close_ns, self._fine_ns):
                snapshot = _merged(self._running.pop(), snapshot)
        self._running.append(snapshot)
        if snapshot.close_ns - self._written_ns >= self.spec.write_minutes * MINUTE_NS:
            self.flush()
        return True

    def flush(self) -> None:
        """Write the running day if there is something new in it."""
        if self._running and self._running[-1].close_ns > self._written_ns:
            day = date_of(_day(self._running[-1].close_ns) * DAY_NS)
            self._write(day, self._fine_ns, self._running)
            self._written_ns = self._running[-1].close_ns

    def at(self, ns: int) -> Snapshot | None:
        """The newest snapshot at or before a time; None if there is none."""
        for held in self._days_back(ns):
            known = [one for one in held if one.close_ns <= ns]
            if known:
                return known[-1]
        return None

    def between(self, start_ns: int, end_ns: int) -> Iterator[Snapshot]:
        """Snapshots with `start_ns < close_ns <= end_ns`, in time."""
        for day in self._files():
            if ns_of(day) < end_ns and start_ns < ns_of(day) + DAY_NS:
                yield from (one for one in self._held(day) if start_ns < one.close_ns <= end_ns)

    def range(self) -> tuple[int, int] | None:
        """Close of the first and of the last snapshot; None if there is none."""
        days = list(self._files())
        return (self._held(days[0])[0].close_ns, self._held(days[-1])[-1].close_ns) if days else None

    def _days_back(self, ns: int) -> Iterator[list[Snapshot]]:
        yield from (self._held(day) for day in reversed(list(self._files())) if ns_of(day) < ns)

    def _held(self, day: str) -> list[Snapshot]:
        """The running day from memory, what is not written included; others from their file."""
        running = self._running and date_of(_day(self._running[-1].close_ns) * DAY_NS) == day
        return self._running if running else self._read(day)

    def _files(self) -> dict[str, int]:
        """The days there are, in order, and the seconds of the coarsest slots on file; 0 for a day in memory."""
        found: dict[str, int] = {}
        for path in self.storage.list(self._folder, ".parquet"):
            if match := FILE.fullmatch(path.rpartition("/")[2]):
                found[match["day"]] = max(found.get(match["day"], 0), int(match["seconds"]))
        if self._running:
            found.setdefault(date_of(_day(self._running[-1].close_ns) * DAY_NS), 0)
        return dict(sorted(found.items()))

    def _path(self, day: str, seconds: int) -> str:
        return f"{self._folder}/{day}.{seconds}s.parquet"

    def _forget(self, now_ns: int) -> None:
        """Thin the days that have become too old for the fine slots, drop those too old for all."""
        fine, coarse = self._fine_ns // SECOND_NS, self._coarse_ns // SECOND_NS
        for day, seconds in self._files().items():
            age_ns = now_ns - (ns_of(day) + DAY_NS)
            if age_ns >= self.spec.coarse_days * DAY_NS:
                for kept in {fine, coarse}:
                    if self.storage.exists(self._path(day, kept)):
                        self.storage.remove(self._path(day, kept))
            elif age_ns >= self.spec.fine_days * DAY_NS and fine < coarse:
                if seconds < coarse:
                    self._write(day, self._coarse_ns, thinned(self._read(day), self._coarse_ns))
                if self.storage.exists(self._path(day, fine)):  # a writer killed before this left both
                    self.storage.remove(self._path(day, fine))

    def _write(self, day: str, slot_ns: int, held: Sequence[Snapshot]) -> None:
        import pyarrow.parquet as pq

        out = io.BytesIO()
        pq.write_table(table_of(held, self.symbol), out, compression="zstd", write_page_checksum=True)
        self.storage.write(self._path(day, slot_ns // SECOND_NS), out.getvalue())

    def _read(self, day: str) -> list[Snapshot]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(day, self._files()[day])
        data = self.storage.read(path)
        try:
            table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
            held = snapshots_of(table, self.symbol)
        except (OSError, pa.ArrowException, ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
            place = self.storage.place(path)
            raise LakeError(f"{place}: damaged, or no map history; move it away: {one_line(error)[:160]}") from None
        closes = [one.close_ns for one in held]
        if not closes or any(_day(ns) * DAY_NS != ns_of(day) for ns in closes) or closes != sorted(set(closes)):
            raise LakeError(f"{self.storage.place(path)}: its snapshots are not those of {day}, in order; move it away")
        return held

    def _check_grid(self, one: Snapshot, kept: Snapshot) -> None:
        if (one.bin_log, one.liquidation.shape) != (kept.bin_log, kept.liquidation.shape):
            bins = f"{one.liquidation.shape[1]} bins of {one.bin_log}"
            held = f"{kept.liquidation.shape[1]} of {kept.bin_log}"
            raise LakeError(f"{self.storage.place(self._folder)}: holds {held}, got {bins}; use another folder")


def thinned(held: Sequence[Snapshot], slot_ns: int) -> list[Snapshot]:
    """The last snapshot of each slot, with the range of the mark since the one kept before."""
    out: list[Snapshot] = []
    for one in held:
        same = out and _slot(out[-1].close_ns, slot_ns) == _slot(one.close_ns, slot_ns)
        out.append(_merged(out.pop(), one) if same else one)
    return out


def _merged(dropped: Snapshot, kept: Snapshot) -> Snapshot:
    low, high = min(dropped.mark_low, kept.mark_low), max(dropped.mark_high, kept.mark_high)
    return replace(kept, mark_low=low, mark_high=high)


def _slot(close_ns: int, slot_ns: int) -> int:
    return (close_ns - 1) // slot_ns


def _day(close_ns: int) -> int:
    """A snapshot at midnight is the last of the day that ends there."""
    return _slot(close_ns, DAY_NS)
