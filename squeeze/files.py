"""Files and folders that appear whole or not at all, wherever the process that writes them is killed."""

import contextlib
import ctypes
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

BENCH = ".bench"
"""What the hidden folders end with in which a folder is made."""
BEFORE = "before"
"""In such a folder: the one whose place was about to be taken, under its name."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file to; it takes the name, and the place of what had it, once the block is left.

    A block that raises leaves nothing behind, a killed run a hidden `.tmp` that no reader opens.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with whole(target) as part: _ = part.write_text("all of it")
    >>> target.read_text(), [p.name for p in target.parent.iterdir()]
    ('all of it', ['a.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill; it takes the name, and the place of the folder that had it, once the block is left.

    A block that raises leaves nothing behind. A killed run leaves the old one or the new one under the name, and a
    hidden folder that no reader opens, which the next one that is made beside it clears away. Only where the system
    cannot exchange two names is there a moment without either; the old one is then put back by that next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    bench, lock = _bench(path.parent)
    try:
        part = bench / "part"
        part.mkdir()
        yield part
        if path.is_dir():
            _take_place(part, path)
        else:
            os.replace(part, path)
    finally:
        shutil.rmtree(bench)
        if lock is not None:
            os.close(lock)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time in a folder, which is made where there is none: what is read here and written again loses
    nothing of another's. The others wait; on Windows nobody does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _bench(folder: Path) -> tuple[Path, int | None]:
    """A hidden folder to work in, and the lock that says so for as long as this process lives."""
    while True:
        bench = folder / f".{uuid.uuid4().hex}{BENCH}"
        bench.mkdir()
        if sys.platform == "win32":
            return bench, None
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(bench, os.O_RDONLY)
            if _locked(lock) is not False and bench.exists():
                return bench, lock
            os.close(lock)  # another cleared it away before it was locked


def _locked(place: int) -> bool | None:
    """Whether the lock of an open folder could be taken; None where the disk knows no locks."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _clear(folder: Path) -> None:
    """Remove what killed processes were making here, and put back what one of them had moved aside."""
    if sys.platform == "win32":
        return
    for bench in folder.glob(f".*{BENCH}"):
        with contextlib.suppress(FileNotFoundError):  # another clears it away
            place = os.open(bench, os.O_RDONLY)
            try:
                if _locked(place):
                    _put_back(bench)
                    shutil.rmtree(bench)
            finally:
                os.close(place)


def _put_back(bench: Path) -> None:
    for old in bench.glob(f"{BEFORE}/*"):
        if not (home := bench.parent / old.name).exists():
            os.rename(old, home)


def _take_place(part: Path, path: Path) -> None:
    """Put a new folder in the place of an old one, which ends on the bench."""
    if not _exchanged(part, path):
        aside = part.with_name(BEFORE)
        aside.mkdir()
        os.rename(path, aside / path.name)
        os.rename(part, path)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step, and whether that was done: Linux 3.15 with glibc 2.28, on most file systems."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: linux/fcntl.h, linux/fs.h
    return rename is not None and not rename(here, os.fsencode(one), here, os.fsencode(other), exchange)
