"""Messages as lines of files, one for each UTC day; a line is there whole, or not at all."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from squeeze.emitter.letter import Letter
from squeeze.emitter.sinks.sink import SinkSpec
from squeeze.strict import require


class JsonLines(SinkSpec, frozen=True, kw_only=True, tag="jsonl"):
    """Files `PREFIX-2026-11-21.jsonl` in a folder, by the day on which a message was emitted."""

    folder: str
    """Where the files go; made where it is absent."""
    prefix: str = "signals"
    """What the names of the files begin with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.folder != "", "folder: a folder")
        require(self.prefix != "" and "/" not in self.prefix, "prefix: part of a file's name")

    def make(self, outbox: Path) -> "JsonLinesSink":
        """The sink; the folder is made with the first message."""
        return JsonLinesSink(Path(self.folder), self.prefix)


class JsonLinesSink:
    """Appends to the day's file, and forces it to the disk before it says so.

    Where a write was cut short, by a full disk or the end of the machine, the torn line is cut off before the next one
    is written: it was not acknowledged, so it comes again.
    """

    most = 500

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self._day = ""
        self._file = -1

    def send(self, letters: Sequence[Letter]) -> None:
        """Append lines; `OSError` where the disk does not take them all, and then none of them counts."""
        for day, lines in groupby(letters, key=_day):
            self._turn_to(day)
            self._append(b"".join(letter.body + b"\n" for letter in lines))

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._day = -1, ""

    def _turn_to(self, day: str) -> None:
        if day == self._day:
            return
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.prefix}-{day}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._day = day
        os.truncate(self._file, _whole_bytes(self._file))
        _sync_folder(self.folder)

    def _append(self, lines: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, lines)
            if written != len(lines):
                raise OSError(f"{self.folder}: took {written} of {len(lines)} bytes; is the disk full?")
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            self.close()
            raise


def _day(letter: Letter) -> str:
    return datetime.fromtimestamp(letter.ts_emit_us / 1e6, UTC).strftime("%Y-%m-%d")


def _whole_bytes(file: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.fstat(file).st_size
    while end:
        begin = max(0, end - 65_536)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _sync_folder(folder: Path) -> None:
    """Have a new file's name last as well."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
