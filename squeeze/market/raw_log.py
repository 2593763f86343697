"""The raw log: what an exchange sent, as it arrived.

Everything else in the lake is an interpretation, and interpretations are mended: a field read wrongly, a symbol not yet
known, a stream not yet used. From the raw frames all of it can be built again, and a live session can be replayed
through the very code that ran live. So a frame is kept before anyone has understood it, byte for byte.

    ROOT/venue=bybit/date=2026-08-09/093000.000000-0-0.jsonl.zst

is a segment: UTC time of its first frame, connection, and a number where those are the same. It is a row of
*blocks*, zstd frames with checksum and size, which `zstdcat` reads as one file of JSON lines:

    [received_ns, connection, request, frame]

Receive times never fall inside a segment, and a segment lies inside one UTC day. While it is written it is a hidden
`.part` on the local disk, safe on it after each block; a segment under its own name is not changed any more, except by
`RawLog.repair`. What is read is what was written, by its checksum, or an error; but a segment that lacks a whole block
cannot be told from one that never had it.
"""

import heapq
import io
import itertools
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import zstandard

from squeeze.errors import DataError, LakeError
from squeeze.market.events import DAY_NS, NAME
from squeeze.market.partitions import date_of
from squeeze.market.storage import Storage

if sys.platform != "win32":
    import fcntl

SUFFIX = ".jsonl.zst"
PATH = re.compile(r"venue=([^/]+)/date=(\d{4}-\d\d-\d\d)/(\d\d)(\d\d)(\d\d\.\d{6})-([^/]+)-(\d+)\.jsonl\.zst")
SECOND_NS = 1_000_000_000
MAGIC = b"\x28\xb5\x2f\xfd"  # opens a zstd frame; 0xfd is in no UTF-8 text
ZSTD_BLOCK = 1 << 17  # most bytes that one block inside a zstd frame can hold


LOST = "lost"
"""The `request` of a frame that the recorder made itself, when the connection it names was lost; the body says why."""


class RawFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message of an exchange."""

    received_ns: int
    """When it arrived, UTC, by the recorder's clock."""
    connection: str
    """Which of the recorder's connections it came through."""
    request: str
    """"" for a websocket frame; for an answer to a REST call its path and query: "/fapi/v1/depth?symbol=BTCUSDT"."""
    frame: str
    """The message."""

    @property
    def data(self) -> bytes:
        """The message, byte for byte as it was appended."""
        return self.frame.encode()


DECODER = msgspec.json.Decoder(RawFrame)


@dataclass(frozen=True)
class SegmentReport:
    """What `RawLog.check` found in one segment; counts are of whole blocks, before and after a damage."""

    path: str
    blocks: int
    frames: int
    first_ns: int | None
    last_ns: int | None
    bytes: int
    damaged_at: int | None
    """Offset in bytes of the first damaged block."""
    problem: str
    """"" where nothing is wrong."""


@dataclass(frozen=True)
class SegmentRepair:
    """What `RawLog.repair` did to one segment."""

    path: str
    blocks_kept: int
    frames_kept: int
    bytes_lost: int
    original: str
    """Where the damaged original lies now; "" where nothing was lost."""


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
    ) -> "RawWriter":
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
        return RawWriter(self.storage, venue, folder, _Limits(block_bytes, segment_bytes, *seconds))

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
                found = _survey(self.storage.read(segment.path), segment)
            except LakeError as error:
                found = _Survey([], 0, 0, str(error))
            reports.append(found.report(segment.path))
        for part, segment in self._abandoned(venue, spool):
            found = _survey(part.read_bytes(), segment)
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
            found = _survey(data, segment)
            if found.problem:
                original = self._free(f"{segment.path}.damaged")
                self.storage.write(original, data)
                if found.blocks:
                    self.storage.write(segment.path, found.kept)
                else:
                    self.storage.remove(segment.path)
                done.append(found.repair(segment.path, original))
        for part, segment in self._abandoned(venue, spool):
            found = _survey(part.read_bytes(), segment)
            original = self._free(f"{segment.path}.damaged") if found.problem else ""
            if original and found.blocks:
                self.storage.write(segment.path, found.kept)
            self.storage.move_in(part, original or segment.path)
            done.append(found.repair(segment.path, original))
        return done

    def _segments(self, venue: str | None) -> "list[_Segment]":
        paths = self.storage.list("" if venue is None else f"venue={venue}", SUFFIX)
        return sorted(self._named(path) for path in paths)

    def _named(self, path: str) -> "_Segment":
        try:
            return _segment_of(path)
        except ValueError:
            raise LakeError(f"{self.storage.place(path)}: not the name of a raw segment; move it elsewhere") from None

    def _abandoned(self, venue: str | None, spool: Path | None) -> "list[tuple[Path, _Segment]]":
        """The parts that no living writer holds. Empty ones are left alone: a writer may be about to lock one."""
        folder = spool or self.storage.local
        parts = sorted(folder.glob(f"venue={venue or '*'}/date=*/.*{SUFFIX}.part")) if folder else []
        free = [p for p in parts if p.stat().st_size and _is_free(p)]
        names = [f"{p.parent.parent.name}/{p.parent.name}/{p.name[1:].removesuffix('.part')}" for p in free]
        return [(part, self._named(name)) for part, name in zip(free, names, strict=True)]

    def _free(self, path: str) -> str:
        names = itertools.chain([path], (f"{path}{n}" for n in itertools.count(2)))
        return next(name for name in names if not self.storage.exists(name))

    def _merged(self, segments: "list[_Segment]", start_ns: int | None, end_ns: int | None) -> Iterator[RawFrame]:
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

    def _frames(self, segment: "_Segment") -> Generator[RawFrame, None, None]:
        offset, low_ns = 0, segment.start_ns
        with self.storage.open(segment.path) as stream:
            while True:
                try:
                    block = _next_block(stream.read)
                    if not block and offset:
                        return
                    frames = _frames_of(block, low_ns, segment.end_ns)
                except _DamageError as damage:
                    raise LakeError(
                        f"{self.storage.place(segment.path)}: damaged block at byte {offset}: {damage}; "
                        "`squeeze lake repair` keeps all that is whole"
                    ) from None
                yield from frames
                offset, low_ns = offset + len(block), frames[-1].received_ns


class RawWriter:
    """Appends frames of one venue; a context manager that seals on leaving, also when the block raises.

    Each connection has a segment of its own. A block is written, and safe on the disk, once it holds `block_bytes` of
    lines or spans `block_seconds` of receive time; a stream may fall silent, so a recorder also calls `flush` by its
    own clock. A frame starts a new segment where the last one holds `segment_bytes` on the disk or spans
    `segment_seconds`, at midnight UTC, and where the clock stepped back. The last one is sealed then: it takes its
    name in the log.
    """

    def __init__(self, storage: Storage, venue: str, spool: Path, limits: "_Limits"):
        self._storage = storage
        self._venue = venue
        self._spool = spool
        self._limits = limits
        self._open: dict[str, _OpenSegment] = {}
        self._full: list[_OpenSegment] = []

    def append(self, received_ns: int, frame: bytes, connection: str = "0", request: str = "") -> None:
        """Take a frame; it arrived at `received_ns`, UTC.

        Raises `DataError`, having taken nothing, for a frame that is not UTF-8, a time that is not in 1970 to 2262, or
        a connection that cannot name a file. Raises `LakeError` where a block or segment that was due cannot be
        written; then the frame has been taken all the same, and the next `flush` tries again.
        """
        line = self._line(received_ns, frame, connection, request)
        segment = self._open.get(connection)
        full = segment is not None and segment.is_full(received_ns, self._limits)
        if segment is None or full:
            if segment is not None:
                self._full.append(segment)
            segment = self._open[connection] = _OpenSegment(self._storage, self._spool, self._venue, connection)
        segment.add(received_ns, line)
        if full:
            self.flush()
        elif segment.is_due(self._limits):
            segment.write_block()

    def flush(self) -> None:
        """Write what waits in memory to the disk, and seal full segments; after a `LakeError` it may be tried again."""
        for segment in (*self._full, *self._open.values()):
            segment.write_block()
        while self._full:
            self._full[0].seal()
            self._full.pop(0)

    def close(self, connection: str | None = None) -> None:
        """Seal the segment of one connection, or all of them. Appending starts a new one."""
        for name in [connection] if connection is not None else list(self._open):
            if segment := self._open.pop(name, None):
                self._full.append(segment)
        self.flush()

    def __enter__(self) -> "RawWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, received_ns: int, frame: bytes, connection: str, request: str) -> bytes:
        place = f"{self._storage.place('')}: raw frame of {self._venue}"
        if not 0 <= received_ns < 1 << 63:
            raise DataError(f"{place}: received_ns must be nanoseconds since 1970, got {received_ns}")
        if connection not in self._open and not NAME.fullmatch(connection):
            raise DataError(f"{place}: connection {connection!r} cannot name a file; letters, digits and + . _ - can")
        try:
            return msgspec.json.encode(RawFrame(received_ns, connection, request, frame.decode())) + b"\n"
        except UnicodeError as error:
            raise DataError(f"{place}: expected UTF-8 text: {error}") from None


class _Limits(NamedTuple):
    block_bytes: int
    segment_bytes: int
    block_ns: int
    segment_ns: int


class _OpenSegment:
    """A segment that is being written: lines of the next block in memory, whole blocks in a hidden file."""

    def __init__(self, storage: Storage, spool: Path, venue: str, connection: str):
        self._storage = storage
        self._spool = spool
        self._venue = venue
        self._connection = connection
        self._lines = bytearray()
        self._first_ns = self._block_ns = self._last_ns = self._size = 0
        self._path = ""
        self._part = spool
        self._file: io.FileIO | None = None

    def is_full(self, received_ns: int, limits: _Limits) -> bool:
        return (
            received_ns < self._last_ns
            or received_ns - self._first_ns >= limits.segment_ns
            or received_ns // DAY_NS != self._first_ns // DAY_NS
            or self._size >= limits.segment_bytes
        )

    def is_due(self, limits: _Limits) -> bool:
        return len(self._lines) >= limits.block_bytes or self._last_ns - self._block_ns >= limits.block_ns

    def add(self, received_ns: int, line: bytes) -> None:
        if not self._lines:
            self._block_ns = received_ns
            self._first_ns = self._first_ns if self._size else received_ns
        self._last_ns = received_ns
        self._lines += line

    def write_block(self) -> None:
        if not self._lines:
            return
        block = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(bytes(self._lines))
        try:
            if self._file is None:
                self._file = self._created()
            try:
                _write_all(self._file, block)
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._size)
                self._file.seek(self._size)
                raise
        except OSError as error:
            raise LakeError(f"{self._part}: a block cannot be written: {error}") from None
        self._size += len(block)
        self._lines.clear()

    def seal(self) -> None:
        self.write_block()
        if self._file is not None:
            self._file.close()
        if self._size:
            self._storage.move_in(self._part, self._path)

    def _created(self) -> io.FileIO:
        """The hidden file, locked, under a name that no other segment has."""
        for number in itertools.count():
            self._path = _path_of(self._venue, self._first_ns, self._connection, number)
            folder, _, name = self._path.rpartition("/")
            self._part = self._spool / folder / f".{name}.part"
            self._part.parent.mkdir(parents=True, exist_ok=True)
            if self._storage.exists(self._path):
                continue
            try:
                file = self._part.open("xb", buffering=0)
            except FileExistsError:
                continue
            _lock(file)
            return file
        raise AssertionError


class _Segment(NamedTuple):
    """A segment by its name; they sort by time."""

    start_ns: int
    """No frame is earlier: its first one, rounded down to a microsecond."""
    connection: str
    number: int
    venue: str
    path: str

    @property
    def end_ns(self) -> int:
        return (self.start_ns // DAY_NS + 1) * DAY_NS


def _path_of(venue: str, first_ns: int, connection: str, number: int) -> str:
    """
    >>> _path_of("bybit", 1786267800_000001999, "0", 0)
    'venue=bybit/date=2026-08-09/093000.000001-0-0.jsonl.zst'
    """
    seconds, microseconds = divmod(first_ns % DAY_NS // 1000, 1_000_000)
    clock = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}.{microseconds:06}"
    return f"venue={venue}/date={date_of(first_ns)}/{clock}-{connection}-{number}{SUFFIX}"


def _segment_of(path: str) -> _Segment:
    """What `_path_of` made the path from; `ValueError` for any other.

    >>> _segment_of("venue=bybit/date=2026-08-09/093000.000001-a-b-12.jsonl.zst")[:4]
    (1786267800000001000, 'a-b', 12, 'bybit')
    """
    if not (match := PATH.fullmatch(path)):
        raise ValueError(path)
    venue, date, hours, minutes, seconds, connection, number = match.groups()
    day_ns = int(np.datetime64(date, "ns").astype(np.int64))
    clock_ns = ((int(hours) * 60 + int(minutes)) * 60 * 1_000_000 + int(seconds.replace(".", ""))) * 1000
    return _Segment(day_ns + clock_ns, connection, int(number), venue, path)


class _DamageError(Exception):
    """A block that is not whole, and why."""


def _next_block(read: Callable[[int], bytes]) -> bytes:
    """The bytes of the zstd frame that comes next, b"" at the end; its extent is checked here, not its content.

    By the walk over block headers of RFC 8878, section 3.1.1: zstandard does not tell where a frame ends.
    """
    block = bytearray()

    def take(size: int) -> bytes:
        piece = read(size)
        block.extend(piece)
        if len(piece) < size:
            raise _DamageError("it is torn off")
        return piece

    if not (head := read(5)):
        return b""
    block += head
    if len(head) < 5 or head[:4] != MAGIC or head[4] & 0b11111 != 0b00100:  # checksum, no dictionary, nothing reserved
        raise _DamageError("it does not open as a zstd frame with a checksum")
    is_single, size_flag = head[4] >> 5 & 1, head[4] >> 6
    take(1 - is_single + (is_single, 2, 4, 8)[size_flag])
    last, most = 0, 0
    while not last:
        header = int.from_bytes(take(3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == 3 or size > ZSTD_BLOCK:
            raise _DamageError("a header inside it is broken")
        take(1 if kind == 1 else size)
        most += ZSTD_BLOCK
    take(4)
    if not 0 < zstandard.frame_content_size(bytes(block[:18])) <= most:  # before memory is asked for
        raise _DamageError("its size is missing or impossible")
    return bytes(block)


def _frames_of(block: bytes, low_ns: int, end_ns: int) -> list[RawFrame]:
    """The frames of a block; `_DamageError` unless it is whole and its times rise from `low_ns` to before `end_ns`."""
    if not block:
        raise _DamageError("the segment is empty")
    try:
        lines = zstandard.ZstdDecompressor().decompress(block)
        frames: list[RawFrame] = DECODER.decode_lines(lines)
    except zstandard.ZstdError as error:
        raise _DamageError(str(error)) from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _DamageError(f"a line of it is not a raw frame: {error}") from None
    for frame in frames:
        if not low_ns <= frame.received_ns < end_ns:
            raise _DamageError(f"received_ns must be from {low_ns} to before {end_ns}, got {frame.received_ns}")
        low_ns = frame.received_ns
    if not frames:
        raise _DamageError("it holds no frame")
    return frames


class _Whole(NamedTuple):
    """A whole block of a segment."""

    data: bytes
    frames: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class _Survey:
    """The whole blocks of a segment, and the first that is not."""

    blocks: list[_Whole]
    size: int
    damaged_at: int | None
    problem: str

    @property
    def kept(self) -> bytes:
        return b"".join(block.data for block in self.blocks)

    @property
    def frames(self) -> int:
        return sum(block.frames for block in self.blocks)

    def report(self, path: str, otherwise: str = "") -> SegmentReport:
        first_ns, last_ns = (self.blocks[0].first_ns, self.blocks[-1].last_ns) if self.blocks else (None, None)
        problem = self.problem or otherwise
        return SegmentReport(
            path, len(self.blocks), self.frames, first_ns, last_ns, self.size, self.damaged_at, problem
        )

    def repair(self, path: str, original: str) -> SegmentRepair:
        return SegmentRepair(path, len(self.blocks), self.frames, self.size - len(self.kept), original)


def _survey(data: bytes, segment: _Segment) -> _Survey:
    """Walk a segment block by block; behind a damage, from one zstd magic number to the next until a block is whole."""
    blocks: list[_Whole] = []
    damaged_at, problem = None, ""
    stream, at, low_ns = io.BytesIO(data), 0, segment.start_ns
    while 0 <= at < len(data) or (not data and not problem):
        stream.seek(at)
        try:
            block = _next_block(stream.read)
            frames = _frames_of(block, low_ns, segment.end_ns)
        except _DamageError as damage:
            if damaged_at is None:
                damaged_at, problem = at, f"damaged block at byte {at}: {damage}"
            at = data.find(MAGIC, at + 1)
        else:
            low_ns, at = frames[-1].received_ns, at + len(block)
            blocks.append(_Whole(block, len(frames), frames[0].received_ns, low_ns))
    return _Survey(blocks, len(data), damaged_at, problem)


def _write_all(file: io.FileIO, data: bytes) -> None:
    """A raw file may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _lock(file: io.FileIO) -> None:
    """Mark a file as being written; the mark goes when its process does. `BlockingIOError` where it is marked."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_free(part: Path) -> bool:
    with part.open("rb", buffering=0) as file:
        try:
            _lock(file)
        except BlockingIOError:
            return False
    return True
