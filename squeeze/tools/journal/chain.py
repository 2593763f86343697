"""The journal's file: JSON lines, each with the hash of the one before, only ever added to.

An entry's hash is the SHA-256 of its canonical JSON without the hash itself, so that a changed, moved, left out or put
in line breaks the chain there; figures lie beside under their own SHA-256, which their entry holds. That the last
entries were cut off, or the whole file made anew, shows only against a head that was noted elsewhere.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from squeeze.errors import DataError, one_line
from squeeze.files import alone, whole
from squeeze.strict import Strict

GENESIS = "0" * 64
"""What the first entry has for the hash of the one before."""
KINDS = ("read", "checklist", "prediction", "grade")


class Figure(Strict, frozen=True, kw_only=True):
    """A PNG of the folder."""

    file: str
    sha256: str


class Entry(Strict, frozen=True, kw_only=True):
    """One line."""

    number: int
    """From 0 up, without a hole."""
    kind: str
    symbol: str
    at_ns: int
    """What time it speaks about."""
    written_ns: int
    """By the clock of the machine that wrote it: long after `at_ns` it was written in hindsight."""
    body: dict[str, Any]
    figures: dict[str, Figure]
    """`before`: as it was read. `after`: what came."""
    previous: str
    """Hash of the entry before, in hex."""
    hash: str

    @property
    def name(self) -> str:
        """Short enough to type."""
        return self.hash[:12]


def digest(entry: Entry) -> str:
    """SHA-256, in hex, of the canonical JSON of all but the hash."""
    plain = msgspec.to_builtins(entry)
    del plain["hash"]
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


class Journal:
    """The journal in a folder, made with its first entry; any number of processes read and add."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "entries.jsonl"

    def entries(self) -> list[Entry]:
        """All of them in order; `DataError` for a line that is none. Only `verify` says whether they were changed."""
        return [entry for _, entry in self._lines()]

    def find(self, name: str) -> Entry:
        """The one whose number it is, or whose hash begins so; `DataError` for none, and for several."""
        found = [e for e in self.entries() if str(e.number) == name or (len(name) >= 4 and e.hash.startswith(name))]
        if len(found) != 1:
            raise DataError(f"{self.path}: {'no entry' if not found else 'several entries'} {name}")
        return found[0]

    def add(
        self, kind: str, symbol: str, at_ns: int, body: Any, figures: dict[str, Path] | None = None,
        written_ns: int | None = None,
    ) -> Entry:  # fmt: skip
        """Write an entry after the last one, whole and to the disk, or not at all; figures are copied first.

        `body` is anything msgspec turns into JSON. An unfinished last line, of a writer that was killed, was never an
        entry and gives way. `DataError`, and nothing is written, where what is there does not verify.
        """
        kept = {name: self._keep(path) for name, path in (figures or {}).items()}
        with alone(self.folder):
            self._mend()
            before = self._last()
            entry = Entry(
                number=0 if before is None else before.number + 1, kind=kind, symbol=symbol, at_ns=at_ns,
                written_ns=time.time_ns() if written_ns is None else written_ns,
                body=msgspec.json.decode(msgspec.json.encode(body)), figures=kept,
                previous=GENESIS if before is None else before.hash, hash="",
            )  # fmt: skip
            entry = msgspec.structs.replace(entry, hash=digest(entry))
            self._write(msgspec.json.encode(entry) + b"\n")
        return entry

    def _last(self) -> Entry | None:
        """The entry that the next one follows; the chain before it is `verify`'s to judge."""
        lines = self.path.read_bytes().removesuffix(b"\n").split(b"\n") if self.path.exists() else [b""]
        if lines == [b""]:
            return None
        last = _entry(lines[-1], f"{self.path}: line {len(lines)}")
        if digest(last) != last.hash:
            raise DataError(f"{self.path}: line {len(lines)}: was changed after it was written; nothing is added")
        return last

    def verify(self, with_figures: bool = True) -> list[str]:
        """What does not hold, in words; nothing if all entries and figures are as they were written."""
        faults: list[str] = []
        previous = GENESIS
        try:
            for number, (line, entry) in enumerate(self._lines()):
                if entry.number != number or entry.previous != previous:
                    faults.append(f"line {line}: does not follow the one before: one was left out, put in or moved")
                if digest(entry) != entry.hash:
                    faults.append(f"line {line}: was changed after it was written")
                previous = entry.hash
                if with_figures:
                    faults += [f"line {line}: {fault}" for fault in self._figure_faults(entry)]
        except DataError as error:
            faults.append(str(error))
        return faults

    def _lines(self) -> Iterator[tuple[int, Entry]]:
        data = self.path.read_bytes() if self.path.exists() else b""
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
            yield number, _entry(line, f"{self.path}: line {number}")

    def _figure_faults(self, entry: Entry) -> Iterator[str]:
        for name, figure in entry.figures.items():
            path = self.folder / figure.file
            if path.resolve().parent != (self.folder / "figures").resolve():
                yield f"the figure {name} lies outside of the journal"
            elif not path.is_file():
                yield f"the figure {name} is gone: {figure.file}"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != figure.sha256:
                yield f"the figure {name} was changed: {figure.file}"

    def _keep(self, path: Path) -> Figure:
        """Copy a PNG into the folder under its hash."""
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        file = f"figures/{sha256[:16]}.png"
        if not (self.folder / file).exists():
            with whole(self.folder / file) as part:
                part.write_bytes(data)
        return Figure(file=file, sha256=sha256)

    def _mend(self) -> None:
        """End a last line that is a whole entry, and drop one that is not: it was never acknowledged."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        kept, _, tail = data.rpartition(b"\n")
        if not tail:
            return
        try:
            entry = msgspec.json.decode(tail, type=Entry, strict=True)
            is_whole = digest(entry) == entry.hash
        except msgspec.MsgspecError:
            is_whole = False
        if is_whole:
            self._write(b"\n")
        else:
            os.truncate(self.path, len(kept) + 1 if kept else 0)

    def _write(self, data: bytes) -> None:
        """Append, all of it or none, and to the disk."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            if os.write(handle, data) != len(data):
                os.ftruncate(handle, size)
                raise DataError(f"{self.path}: the disk is full; nothing was added")
            os.fsync(handle)
        finally:
            os.close(handle)


def _entry(line: bytes, place: str) -> Entry:
    try:
        return msgspec.json.decode(line, type=Entry, strict=True)
    except msgspec.MsgspecError as error:
        raise DataError(f"{place}: no entry of a journal: {one_line(error)}") from None
