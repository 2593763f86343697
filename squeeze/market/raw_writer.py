"""Writing segments of the raw log: blocks that are safe on the disk, and segments that take their name when sealed.

While a segment is written it is a hidden `.part` on the local disk, locked by its process, safe on it after each
block. Apart from `raw_log`, which reads: only a recorder or an import of captures writes.
"""

import io
import itertools
import os
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from squeeze.errors import DataError, LakeError
from squeeze.market.events import DAY_NS, NAME
from squeeze.market.raw_segment import RawFrame, path_of
from squeeze.market.storage import Storage

if sys.platform != "win32":
    import fcntl


class RawWriter:
    """Appends frames of one venue; a context manager that seals on leaving, also when the block raises.

    Each connection has a segment of its own. A block is written, and safe on the disk, once it holds `block_bytes` of
    lines or spans `block_seconds` of receive time; a stream may fall silent, so a recorder also calls `flush` by its
    own clock. A frame starts a new segment where the last one holds `segment_bytes` on the disk or spans
    `segment_seconds`, at midnight UTC, and where the clock stepped back. The last one is sealed then: it takes its
    name in the log.
    """

    def __init__(self, storage: Storage, venue: str, spool: Path, limits: "WriterLimits"):
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


class WriterLimits(NamedTuple):
    """When a block, and when a segment, is full; see `RawWriter`."""

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

    def is_full(self, received_ns: int, limits: WriterLimits) -> bool:
        return (
            received_ns < self._last_ns
            or received_ns - self._first_ns >= limits.segment_ns
            or received_ns // DAY_NS != self._first_ns // DAY_NS
            or self._size >= limits.segment_bytes
        )

    def is_due(self, limits: WriterLimits) -> bool:
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
            self._path = path_of(self._venue, self._first_ns, self._connection, number)
            folder, _, name = self._path.rpartition("/")
            self._part = self._spool / folder / f".{name}.part"
            self._part.parent.mkdir(parents=True, exist_ok=True)
            if self._storage.exists(self._path):
                continue
            try:
                file = self._part.open("xb", buffering=0)
            except FileExistsError:
                continue
            lock(file)
            return file
        raise AssertionError


def _write_all(file: io.FileIO, data: bytes) -> None:
    """A raw file may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def lock(file: io.FileIO) -> None:
    """Mark a file as being written; the mark goes when its process does. `BlockingIOError` where it is marked."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_free(part: Path) -> bool:
    """Whether no living process writes a part."""
    with part.open("rb", buffering=0) as file:
        try:
            lock(file)
        except BlockingIOError:
            return False
    return True
