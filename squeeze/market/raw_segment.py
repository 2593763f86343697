"""The format of a segment of the raw log: its name, its blocks, the frames in them, and what is whole of a damaged one.

    ROOT/venue=bybit/date=2026-08-09/093000.000000-0-0.jsonl.zst

is a segment: UTC time of its first frame, connection, and a number where those are the same. It is a row of
*blocks*, zstd frames with checksum and size, which `zstdcat` reads as one file of JSON lines:

    [received_ns, connection, request, frame]

Receive times never fall inside a segment, and a segment lies inside one UTC day. Apart from `raw_log`, which reads
and mends segments, and `raw_writer`, which makes them: this is what the two agree on.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import zstandard

from squeeze.market.events import DAY_NS
from squeeze.market.partitions import date_of, ns_of

SUFFIX = ".jsonl.zst"
PATH = re.compile(r"venue=([^/]+)/date=(\d{4}-\d\d-\d\d)/(\d\d)(\d\d)(\d\d\.\d{6})-([^/]+)-(\d+)\.jsonl\.zst")
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


class Segment(NamedTuple):
    """A segment by its name; they sort by time."""

    start_ns: int
    """No frame is earlier: its first one, rounded down to a microsecond."""
    connection: str
    number: int
    venue: str
    path: str

    @property
    def end_ns(self) -> int:
        """The midnight that its frames lie before."""
        return (self.start_ns // DAY_NS + 1) * DAY_NS


def path_of(venue: str, first_ns: int, connection: str, number: int) -> str:
    """Where a segment lies in the log.

    >>> path_of("bybit", 1786267800_000001999, "0", 0)
    'venue=bybit/date=2026-08-09/093000.000001-0-0.jsonl.zst'
    """
    seconds, microseconds = divmod(first_ns % DAY_NS // 1000, 1_000_000)
    clock = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}.{microseconds:06}"
    return f"venue={venue}/date={date_of(first_ns)}/{clock}-{connection}-{number}{SUFFIX}"


def segment_of(path: str) -> Segment:
    """What `path_of` made the path from; `ValueError` for any other.

    >>> segment_of("venue=bybit/date=2026-08-09/093000.000001-a-b-12.jsonl.zst")[:4]
    (1786267800000001000, 'a-b', 12, 'bybit')
    """
    if not (match := PATH.fullmatch(path)):
        raise ValueError(path)
    venue, date, hours, minutes, seconds, connection, number = match.groups()
    clock_ns = ((int(hours) * 60 + int(minutes)) * 60 * 1_000_000 + int(seconds.replace(".", ""))) * 1000
    return Segment(ns_of(date) + clock_ns, connection, int(number), venue, path)


class DamageError(Exception):
    """A block that is not whole, and why."""


def next_block(read: Callable[[int], bytes]) -> bytes:
    """The bytes of the zstd frame that comes next, b"" at the end; its extent is checked here, not its content.

    By the walk over block headers of RFC 8878, section 3.1.1: zstandard does not tell where a frame ends.
    """
    block = bytearray()

    def take(size: int) -> bytes:
        piece = read(size)
        block.extend(piece)
        if len(piece) < size:
            raise DamageError("it is torn off")
        return piece

    if not (head := read(5)):
        return b""
    block += head
    if len(head) < 5 or head[:4] != MAGIC or head[4] & 0b11111 != 0b00100:  # checksum, no dictionary, nothing reserved
        raise DamageError("it does not open as a zstd frame with a checksum")
    is_single, size_flag = head[4] >> 5 & 1, head[4] >> 6
    take(1 - is_single + (is_single, 2, 4, 8)[size_flag])
    last, most = 0, 0
    while not last:
        header = int.from_bytes(take(3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == 3 or size > ZSTD_BLOCK:
            raise DamageError("a header inside it is broken")
        take(1 if kind == 1 else size)
        most += ZSTD_BLOCK
    take(4)
    if not 0 < zstandard.frame_content_size(bytes(block[:18])) <= most:  # before memory is asked for
        raise DamageError("its size is missing or impossible")
    return bytes(block)


def frames_of(block: bytes, low_ns: int, end_ns: int) -> list[RawFrame]:
    """The frames of a block; `DamageError` unless it is whole and its times rise from `low_ns` to before `end_ns`."""
    if not block:
        raise DamageError("the segment is empty")
    try:
        lines = zstandard.ZstdDecompressor().decompress(block)
        frames: list[RawFrame] = DECODER.decode_lines(lines)
    except zstandard.ZstdError as error:
        raise DamageError(str(error)) from None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DamageError(f"a line of it is not a raw frame: {error}") from None
    for frame in frames:
        if not low_ns <= frame.received_ns < end_ns:
            raise DamageError(f"received_ns must be from {low_ns} to before {end_ns}, got {frame.received_ns}")
        low_ns = frame.received_ns
    if not frames:
        raise DamageError("it holds no frame")
    return frames


class _Whole(NamedTuple):
    """A whole block of a segment."""

    data: bytes
    frames: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class Survey:
    """The whole blocks of a segment, and the first that is not."""

    blocks: list[_Whole]
    size: int
    damaged_at: int | None
    problem: str

    @property
    def kept(self) -> bytes:
        """The whole blocks, as a segment without the damage."""
        return b"".join(block.data for block in self.blocks)

    @property
    def frames(self) -> int:
        """How many frames they hold."""
        return sum(block.frames for block in self.blocks)

    def report(self, path: str, otherwise: str = "") -> SegmentReport:
        """What was found, for who asked; `otherwise` is the problem of a segment without damage."""
        first_ns, last_ns = (self.blocks[0].first_ns, self.blocks[-1].last_ns) if self.blocks else (None, None)
        problem = self.problem or otherwise
        return SegmentReport(
            path, len(self.blocks), self.frames, first_ns, last_ns, self.size, self.damaged_at, problem
        )

    def repair(self, path: str, original: str) -> SegmentRepair:
        """What was kept, for who asked; the damaged bytes lie at `original`."""
        return SegmentRepair(path, len(self.blocks), self.frames, self.size - len(self.kept), original)


def survey(data: bytes, segment: Segment) -> Survey:
    """Walk a segment block by block; behind a damage, from one zstd magic number to the next until a block is whole."""
    blocks: list[_Whole] = []
    damaged_at, problem = None, ""
    stream, at, low_ns = io.BytesIO(data), 0, segment.start_ns
    while 0 <= at < len(data) or (not data and not problem):
        stream.seek(at)
        try:
            block = next_block(stream.read)
            frames = frames_of(block, low_ns, segment.end_ns)
        except DamageError as damage:
            if damaged_at is None:
                damaged_at, problem = at, f"damaged block at byte {at}: {damage}"
            at = data.find(MAGIC, at + 1)
        else:
            low_ns, at = frames[-1].received_ns, at + len(block)
            blocks.append(_Whole(block, len(frames), frames[0].received_ns, low_ns))
    return Survey(blocks, len(data), damaged_at, problem)
