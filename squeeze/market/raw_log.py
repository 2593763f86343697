"""The raw log: what an exchange sent, as it arrived.

Everything else in the lake is an interpretation, and interpretations are mended: a field read wrongly, a symbol not yet
known, a stream not yet used. From the raw frames all of it can be built again, and a live session can be replayed
through the very code that ran live. So a frame is kept before anyone has understood it, byte for byte.

    raw_writer ─► segments, as `raw_segment` defines them ─► RawLog: read, check, repair

A segment under its own name is not changed any more, except by `RawLog.repair`. What is read is what was written, by
its checksum, or an error; but a segment that lacks a whole block cannot be told from one that never had it.
"""

import heapq
from collections.abc import Generator, Iterator
from pathlib import Path

from squeeze.errors import LakeError
from squeeze.market.events import DAY_NS, NAME, SECOND_NS
from squeeze.market.raw_segment import (
    SUFFIX,
    DamageError,
    RawFrame,
    Segment,
    SegmentRepair,
    SegmentReport,
    Survey,
    frames_of,
    next_block,
    segment_of,
    survey,
)
from squeeze.market.raw_writer import RawWriter, WriterLimits, is_free
from squeeze.market.storage import Storage


class RawLog:
    """Raw frames under one root, a folder or a URI as in `Storage.at`."""

    def __init__(self, root: str | Path):
        self.storage = Storage.at(root)

    def writer(
        self,
        venue: str,
        spool: Path | None = None,
        block_bytes: int = 1 << 20,
        block_seconds: float = 1.0,
        segment_bytes: int = 64 << 20,
        segment_seconds: float = 3600.0,
    ) -> RawWriter:
        """A writer for one venue; see `RawWriter` for the limits.

        Open segments grow in `spool`, by default in the log's own folder. `LakeError` for a log that is not on the
        local disk and no spool, and for a venue that cannot name a folder.
        """
        if not NAME.fullmatch(venue):
            raise LakeError(f"{self.storage.place('')}: venue {venue!r} cannot name a folder")
        folder = spool or self.storage.local
        if folder is None:
            raise LakeError(f"{self.storage.place('')}: needs a spool, a local folder for segments that are still open")
        seconds = (round(s * SECOND_NS) for s in (block_seconds, segment_seconds))
        return RawWriter(self.storage, venue, folder, WriterLimits(block_bytes, segment_bytes, *seconds))

    def venues(self) -> list[str]:
        """The venues that have a segment, sorted."""
        return sorted({s.venue for s in self._segments(None)})

    def read(self, venue: str, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[RawFrame]:
        """The frames of a venue with `start_ns <= received_ns < end_ns`, in the order in which they arrived.

        Connections are merged by receive time, then by name; frames of one connection and time stay in their order. It
        streams: at most one block of each segment that overlaps the present time is in memory. What is not sealed yet
        is left out. Raises `LakeError` at once where the log has no segment of the venue, and on reaching a damaged
        block, which it names with segment and offset.
        """
        segments = self._segments(venue)
        if not segments:
            there = ", ".join(self.venues()) or "nothing"
            raise LakeError(f"{self.storage.place('')}: no raw frames of {venue}; there is {there}")
        first_day = None if start_ns is None else start_ns // DAY_NS * DAY_NS
        within = [
            s
            for s in segments
            if (first_day is None or s.start_ns >= first_day) and (end_ns is None or s.start_ns < end_ns)
        ]
        return self._merged(within, start_ns, end_ns)

    def check(self, venue: str | None = None, spool: Path | None = None) -> list[SegmentReport]:
        """A report on each segment, of one venue or all, and on each `.part` that a killed process has left."""
        reports = []
        for segment in self._segments(venue):
            try:
                found = survey(self.storage.read(segment.path), segment)
            except LakeError as error:
                found = Survey([], 0, 0, str(error))
            reports.append(found.report(segment.path))
        for part, segment in self._abandoned(venue, spool):
            found = survey(part.read_bytes(), segment)
            reports.append(found.report(str(part), "left by a process that was killed; `squeeze lake repair` seals it"))
        return reports

    def repair(self, venue: str | None = None, spool: Path | None = None) -> list[SegmentRepair]:
        """Mend damaged segments and seal what a killed process has left; what was done, segment by segment.

        All whole blocks are kept, also those behind a damage. A damaged original stays beside the segment as
        `NAME.damaged`, so that nothing is lost. Whole segments, and the open ones of a running writer, are not touched.
        """
        done = []
        for segment in self._segments(venue):
            data = self.storage.read(segment.path)
            found = survey(data, segment)
            if found.problem:
                original = self.storage.free(f"{segment.path}.damaged")
                self.storage.write(original, data)
                if found.blocks:
                    self.storage.write(segment.path, found.kept)
                else:
                    self.storage.remove(segment.path)
                done.append(found.repair(segment.path, original))
        for part, segment in self._abandoned(venue, spool):
            found = survey(part.read_bytes(), segment)
            original = self.storage.free(f"{segment.path}.damaged") if found.problem else ""
            if original and found.blocks:
                self.storage.write(segment.path, found.kept)
            self.storage.move_in(part, original or segment.path)
            done.append(found.repair(segment.path, original))
        return done

    def _segments(self, venue: str | None) -> list[Segment]:
        paths = self.storage.list("" if venue is None else f"venue={venue}", SUFFIX)
        return sorted(self._named(path) for path in paths)

    def _named(self, path: str) -> Segment:
        try:
            return segment_of(path)
        except ValueError:
            raise LakeError(f"{self.storage.place(path)}: not the name of a raw segment; move it elsewhere") from None

    def _abandoned(self, venue: str | None, spool: Path | None) -> list[tuple[Path, Segment]]:
        """The parts that no living writer holds. Empty ones are left alone: a writer may be about to lock one."""
        folder = spool or self.storage.local
        parts = sorted(folder.glob(f"venue={venue or '*'}/date=*/.*{SUFFIX}.part")) if folder else []
        free = [p for p in parts if p.stat().st_size and is_free(p)]
        names = [f"{p.parent.parent.name}/{p.parent.name}/{p.name[1:].removesuffix('.part')}" for p in free]
        return [(part, self._named(name)) for part, name in zip(free, names, strict=True)]

    def _merged(self, segments: list[Segment], start_ns: int | None, end_ns: int | None) -> Iterator[RawFrame]:
        # Not heapq.merge, which opens all segments to begin with: a year has thousands.
        low, high = start_ns or 0, 1 << 63 if end_ns is None else end_ns
        waiting = segments[::-1]
        heap: list[tuple[int, str, int, int, RawFrame, Generator[RawFrame, None, None]]] = []
        try:
            while heap or waiting:
                while waiting and (not heap or waiting[-1].start_ns <= heap[0][0]):
                    segment = waiting.pop()
                    frames = self._frames(segment)
                    if first := next((f for f in frames if f.received_ns >= low), None):
                        key = (first.received_ns, segment.connection, segment.start_ns, segment.number)
                        heapq.heappush(heap, (*key, first, frames))
                if not heap:
                    continue
                received_ns, connection, began_ns, number, frame, frames = heap[0]
                if received_ns >= high:
                    return
                yield frame
                if after := next(frames, None):
                    heapq.heapreplace(heap, (after.received_ns, connection, began_ns, number, after, frames))
                else:
                    heapq.heappop(heap)
        finally:
            for *_, frames in heap:
                frames.close()

    def _frames(self, segment: Segment) -> Generator[RawFrame, None, None]:
        offset, low_ns = 0, segment.start_ns
        with self.storage.open(segment.path) as stream:
            while True:
                try:
                    block = next_block(stream.read)
                    if not block and offset:
                        return
                    frames = frames_of(block, low_ns, segment.end_ns)
                except DamageError as damage:
                    raise LakeError(
                        f"{self.storage.place(segment.path)}: damaged block at byte {offset}: {damage}; "
                        "`squeeze lake repair` keeps all that is whole"
                    ) from None
                yield from frames
                offset, low_ns = offset + len(block), frames[-1].received_ns
