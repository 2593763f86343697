"""Files that appear whole or not at all."""

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, file or folder; it takes the name, and the place of what had it, once the block
    is left.

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
        if part.is_dir() and path.exists():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


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
