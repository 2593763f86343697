"""History folded onto disk a frame at a time, so that it can be cut short anywhere and gone on with.

    OUT/.<digest>.part/    the arrays, as long as they have got
                           checkpoint: how much of them is good, and market and step builder as they stood then

A checkpoint is written when what it speaks of has reached the disk. Whoever goes on cuts the files back to it and takes
the events that became known after its last close, so that the bytes are those of a build that nothing interrupted. The
folder gets its name when it is whole; until then no reader opens it.
"""

import contextlib
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from squeeze.errors import LakeError, StepError
from squeeze.files import whole
from squeeze.market.events import DAY_NS, AnyEvent, BookUpdate
from squeeze.market.lake import Lake, read_events
from squeeze.market.partitions import MAX_LAG_NS, MAX_SKEW_NS, ns_of
from squeeze.market.steps import Step, StepBuilder, steps_from
from squeeze.spec import MarketSpec, Spec
from squeeze.state import Frame, MarketState

CHECKPOINT = "checkpoint"
CHECKPOINT_STEPS = 20_000
"""A checkpoint costs what a snapshot of the market does, up to a second with three venues; a lost stretch some more."""
SHOWN_STEPS = 2000
"""Progress is shown this often."""
ROWS_AT_ONCE = 500_000
"""About so many rows of the lake are held in memory, though never less than a day of them."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
Shapes = dict[str, tuple[tuple[int, ...], Any]]
"""By name of an array: the shape of a step's row, and the dtype."""


def shapes_of(channels: int, price_bins: int, scalars: int) -> Shapes:
    """The arrays of a folder."""
    return {
        "channels": ((2, channels, price_bins), np.float32),
        "scalars": ((2, scalars), np.float32),
        "swept": ((2,), np.float64),
        "marks": ((4,), np.float64),
        "steps": ((4,), np.int64),
    }


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a build has come."""

    count: int
    """Steps that are written whole."""
    refused: int
    sums: dict[str, int]
    """CRC-32 of each array's rows up to there."""
    market: bytes
    builder: dict[str, Any]


class FrameFiles:
    """The arrays of a folder as .npy files that grow by a row a step; `close` leaves them as they are."""

    def __init__(self, folder: Path, shapes: Shapes) -> None:
        self.shapes = shapes
        self.sums = dict.fromkeys(shapes, 0)
        self._files: dict[str, BinaryIO] = {}
        self._head = {name: len(header(0, *shape)) for name, shape in shapes.items()}
        self._row = {name: int(np.prod(shape)) * np.dtype(dtype).itemsize for name, (shape, dtype) in shapes.items()}
        for name in shapes:
            path = folder / f"{name}.npy"
            path.touch()
            self._files[name] = path.open("r+b")

    def append(self, rows: dict[str, np.ndarray]) -> None:
        """One step's row of each array."""
        for name, file in self._files.items():
            row = rows[name].tobytes()
            self.sums[name] = zlib.crc32(row, self.sums[name])
            file.write(row)

    def cut_back(self, count: int, sums: dict[str, int]) -> bool:
        """Go on after `count` rows, if that many are there and their sums hold; what follows them is dropped."""
        for name, file in self._files.items():
            end = self._head[name] + count * self._row[name]
            if file.seek(0, os.SEEK_END) < end or self._sum(name, end) != sums.get(name):
                return False
            file.truncate(end)
        self.sums = dict(sums)
        return True

    def _sum(self, name: str, end: int) -> int:
        file, found = self._files[name], 0
        file.seek(self._head[name])
        while (left := end - file.tell()) > 0:
            found = zlib.crc32(file.read(min(left, 1 << 22)), found)
        return found

    def begin_anew(self) -> None:
        """Empty, but for headers that say so."""
        for name, file in self._files.items():
            self.sums[name] = 0
            file.seek(0)
            file.truncate()
            file.write(header(0, *self.shapes[name]))

    def flush(self, count: int | None = None) -> None:
        """All of it to the disk; with a count also into the headers, which makes the files whole."""
        for name, file in self._files.items():
            if count is not None:
                file.seek(0)
                file.write(header(count, *self.shapes[name]))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Give up, or be done: what cannot be written any more is not tried again."""
        for file in self._files.values():
            with contextlib.suppress(OSError):  # whoever wrote has told it
                file.close()


def header(count: int, shape: tuple[int, ...], dtype: Any) -> bytes:
    """A .npy header of fixed length, so that the count can be filled in at the end."""
    text = f"{{'descr': '{np.dtype(dtype).str}', 'fortran_order': False, 'shape': {(count, *shape)!r}, }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


def fold(
    lake: Lake, spec: Spec, start_ns: int | None, until_ns: int | None, part: Path, progress: Progress
) -> tuple[int, int]:
    """Advance through history, frame by frame into `part`, from where an earlier try came to; steps, and how many of
    them were refused and replaced by empty ones, as in the live path.

    `LakeError` where no bar became known in the range, and for what the lake cannot give; `OSError` of a full disk.
    """
    state = MarketState(spec)
    builder = StepBuilder(spec.market.symbol, state.length_ns, spec.map.bin_log)
    first_ns, last_ns = reach(lake, spec.market, start_ns, until_ns)
    total = max(last_ns - first_ns, 0) // state.length_ns
    files = FrameFiles(part, shapes_of(len(state.channel_names), spec.frame.price_bins, len(state.scalar_names)))
    try:
        count, refused = _resumed(part / CHECKPOINT, files, state, builder)
        after_ns = start_ns if builder.next_close_ns is None else builder.next_close_ns - state.length_ns + 1
        for step in steps_from(builder, events_between(lake, spec.market, after_ns, until_ns)):
            frame, was_refused = advanced(state, step)
            files.append(rows_of(frame))
            count, refused = count + 1, refused + was_refused
            if count % CHECKPOINT_STEPS == 0:
                files.flush()
                _write(part / CHECKPOINT, Checkpoint(count, refused, files.sums, state.snapshot(), builder.snapshot()))
            if count % SHOWN_STEPS == 0:
                progress(f"folding {spec.market.symbol}", count, max(total, count))
        if not state.started_ns:
            raise no_bars(lake, spec.market)
        files.flush(count)
    finally:
        files.close()
    progress(f"folding {spec.market.symbol}", count, count)
    return count, refused


def _resumed(path: Path, files: FrameFiles, state: MarketState, builder: StepBuilder) -> tuple[int, int]:
    """Take up an earlier try's checkpoint; where there is none, or it does not hold, everything begins anew."""
    try:
        found = msgspec.msgpack.decode(path.read_bytes(), type=Checkpoint)
        if files.cut_back(found.count, found.sums):
            state.restore(found.market)
            builder.restore(found.builder)
            return found.count, found.refused
    except (FileNotFoundError, msgspec.DecodeError, StepError):
        pass  # the first try; a torn file; one of another label, whose frames are the same and whose snapshot is not
    files.begin_anew()
    return 0, 0


def _write(path: Path, checkpoint: Checkpoint) -> None:
    with whole(path) as part, part.open("wb") as file:
        file.write(msgspec.msgpack.encode(checkpoint))
        file.flush()
        os.fsync(file.fileno())


def advanced(state: MarketState, step: Step) -> tuple[Frame, bool]:
    """The frame of a step; where the step is refused, that of an empty one in its place, as the live path has it."""
    try:
        return state.advance(step), False
    except StepError:
        return state.advance(Step(step.symbol, step.close_ns, step.length_ns, {})), True


def rows_of(frame: Frame) -> dict[str, np.ndarray]:
    """One frame as a row of each array."""
    width = 0 if np.isnan(frame.bin_width_log) else round(frame.bin_width_log * 1e12)
    mark = frame.mark
    return {
        "channels": frame.channels,
        "scalars": frame.scalars,
        "swept": frame.swept_share,
        "marks": np.array([mark.open, mark.high, mark.low, mark.close]),
        "steps": np.array([frame.close_ns, frame.unhealthy, frame.degraded, width], np.int64),
    }


def events_between(lake: Lake, market: MarketSpec, start_ns: int | None, until_ns: int | None) -> Iterator[AnyEvent]:
    """What `read_events` gives, read in stretches of time of which each holds about `ROWS_AT_ONCE`, a day at least.

    Times of becoming known bound a stretch, and those in one stretch are put in order as in the whole.
    """
    begin_ns, end_ns = reach(lake, market, start_ns, until_ns)
    length_ns = DAY_NS
    while begin_ns < end_ns:
        border_ns, count = min(begin_ns + length_ns, end_ns), 0
        for event in read_events(lake, market, begin_ns, border_ns):
            count += len(event.bids) + len(event.asks) if isinstance(event, BookUpdate) else 1
            yield event
        begin_ns = border_ns
        if 2 * count < ROWS_AT_ONCE:
            length_ns *= 2
        elif count > ROWS_AT_ONCE:
            length_ns = max(length_ns // 2, DAY_NS)


def reach(lake: Lake, market: MarketSpec, start_ns: int | None, until_ns: int | None) -> tuple[int, int]:
    """Times between which all that a market reads became known, cut to the range, from the names of files alone.

    `LakeError` if the bars, which every market must have, lie outside the range.
    """
    bars: list[int] = []
    days: list[int] = []
    for venue, kinds in market.kinds().items():
        for kind in kinds:
            found = [ns_of(day) for day in lake.partitions(kind, venue, market.symbol)]
            days += found
            bars += found if venue == market.bars.venue and kind in market.bars.kinds else []
    low, high = _cut(bars, start_ns, until_ns)
    if low >= high:
        raise no_bars(lake, market)
    return _cut(days, start_ns, until_ns)


def _cut(days: list[int], start_ns: int | None, until_ns: int | None) -> tuple[int, int]:
    """What was published of these days; the last may hold an interval of a day, told a day late."""
    if not days:
        return 0, 0
    first, last = min(days) - MAX_SKEW_NS, max(days) + 2 * DAY_NS + MAX_LAG_NS + 1
    return max(first, first if start_ns is None else start_ns), min(last, last if until_ns is None else until_ns)


def no_bars(lake: Lake, market: MarketSpec) -> LakeError:
    """What is said where there is nothing to fold."""
    return LakeError(
        f"{lake.root}: no {' or '.join(market.bars.kinds)} of {market.symbol} in the range that the run asks for"
    )
