"""Where recordings lie: a folder on the local disk, or an object store by its URI.

    Storage.at("recordings")            a folder
    Storage.at("s3://bucket/path")      what pyarrow.fs speaks: s3, gs, abfs, hdfs
    Storage.at("memory://path")         else fsspec, imported only then

Apart from what is stored, so that a recording is written by the same lines wherever it goes. A path is relative to the
root, its parts joined by `/`. Every error is a `LakeError` of one line that names the place; the user, password and
options of a URI are left out of it.
"""

import errno
import importlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs as arrow_fs

from squeeze.errors import LakeError, one_line
from squeeze.files import whole

Paths = list[str]  # `Storage.list` would hide the name

READ_AHEAD = 1 << 20  # bytes of one request to an object store


class Storage:
    """Files under one root; `local` is its folder, or None where the root is not on this machine's disk."""

    def __init__(self, shown: str, filesystem: Any, base: str, secrets: tuple[str, ...] = ()):
        self.local = Path(base) if isinstance(filesystem, arrow_fs.LocalFileSystem) else None
        self._shown = shown.rstrip("/") or shown
        self._fs = filesystem
        self._base = base.rstrip("/")
        self._secrets = secrets

    @classmethod
    def at(cls, root: str | Path) -> "Storage":
        """The storage of a folder or a URI; nothing is created. `LakeError` for a URI that no library here can open."""
        if isinstance(root, Path) or "://" not in root:
            return cls(str(root), arrow_fs.LocalFileSystem(), Path(root).absolute().as_posix())
        shown, secrets = _without_secrets(root)
        try:
            return cls(shown, *_filesystem_of(root), secrets)
        except Exception as error:  # what fsspec finds behind a scheme raises its own errors
            raise LakeError(f"{shown}: cannot be opened: {_told(error, secrets)}") from None

    def place(self, path: str) -> str:
        """What an error message calls a path: root and path, without credentials."""
        return f"{self._shown}/{path}" if path else self._shown

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        with self.open(path) as stream:
            return bytes(stream.read())

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """A file to read from its start, piece by piece, with `read(size)`; shorter only at its end."""
        full = self._full(path)
        with self._errors("cannot be read", path):
            stream = self._fs.open_input_stream(full, compression=None, buffer_size=READ_AHEAD)
        try:
            yield stream
        except (OSError, pa.ArrowException) as error:
            raise self._error("cannot be read", path, error) from None
        finally:
            stream.close()

    def write(self, path: str, data: bytes) -> None:
        """Put a file in its place, whole or not at all; it takes the place of what was there."""
        full = self._full(path)
        with self._errors("cannot be written", path):
            if self.local is not None:
                with whole(Path(full)) as part, part.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                return
            try:
                self._put(full, data)
            except FileNotFoundError:  # a store that has folders, such as sftp
                self._fs.create_dir(full.rpartition("/")[0], recursive=True)
                self._put(full, data)

    def move_in(self, local: Path, path: str) -> None:
        """Move a file of the local disk to a path of the storage.

        It is renamed where both are on one disk, else copied and then deleted: a failure leaves it where it was.
        """
        full = self._full(path)
        with self._errors("cannot be written", path):
            if self.local is not None:
                Path(full).parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.replace(local, full)
                    return
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
            data = local.read_bytes()
        self.write(path, data)
        with self._errors(f"was written, but {local} cannot be deleted", path):
            local.unlink()

    def list(self, folder: str, suffix: str) -> Paths:
        """The paths of all files below a folder, "" for the root, whose names end with `suffix`, sorted.

        Names that begin with a dot are left out, and what lies in folders of such names. Empty for a folder that is
        not there.
        """
        full = self._full(folder) if folder else self._base
        with self._errors("cannot be listed", folder):
            found = self._fs.get_file_info(arrow_fs.FileSelector(full, allow_not_found=True, recursive=True))
        start = len(self._base.strip("/"))
        paths = (i.path.strip("/")[start:].strip("/") for i in found if i.type == arrow_fs.FileType.File)
        return sorted(p for p in paths if p.endswith(suffix) and not any(n.startswith(".") for n in p.split("/")))

    def free(self, path: str) -> str:
        """The path, or the first of `path-2`, `path-3`, ... that nothing has."""
        names = itertools.chain([path], (f"{path}-{n}" for n in itertools.count(2)))
        return next(name for name in names if not self.exists(name))

    def exists(self, path: str) -> bool:
        """Whether there is a file of this path."""
        return bool(self._info(path).type == arrow_fs.FileType.File)

    def size(self, path: str) -> int:
        """Bytes of a file; `LakeError` where there is none."""
        info = self._info(path)
        if info.type != arrow_fs.FileType.File:
            raise LakeError(f"{self.place(path)}: no such file")
        return int(info.size)

    def remove(self, path: str) -> None:
        """Delete a file; `LakeError` where there is none."""
        full = self._full(path)
        with self._errors("cannot be deleted", path):
            self._fs.delete_file(full)

    def _info(self, path: str) -> Any:
        full = self._full(path)
        with self._errors("cannot be looked up", path):
            return self._fs.get_file_info(full)

    def _put(self, full: str, data: bytes) -> None:
        # Not `with`: that would close, and so complete, the upload of a write that failed.
        stream = self._fs.open_output_stream(full, compression=None)
        stream.write(data)
        stream.close()

    def _full(self, path: str) -> str:
        if "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise LakeError(
                f"{self._shown}: a path must be relative, without '..', its parts joined by /, got {path!r}"
            )
        return f"{self._base}/{path}"

    @contextmanager
    def _errors(self, what: str, path: str) -> Iterator[None]:
        try:
            yield
        except LakeError:
            raise
        except Exception as error:  # each store behind fsspec raises its own errors
            raise self._error(what, path, error) from None

    def _error(self, what: str, path: str, error: BaseException) -> LakeError:
        return LakeError(f"{self.place(path)}: {what}: {_told(error, self._secrets)}")


def _filesystem_of(uri: str) -> tuple[Any, str]:
    """The pyarrow filesystem behind a URI and the root's path in it."""
    scheme = urlsplit(uri).scheme
    try:
        filesystem, base = arrow_fs.FileSystem.from_uri(uri)
        return filesystem, base
    except (ValueError, NotImplementedError) as error:  # ArrowInvalid is a ValueError
        if "nrecognized filesystem type" not in str(error) and "built without" not in str(error):
            raise
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise LakeError(f"pyarrow has no filesystem for {scheme}://; install fsspec and its package for it") from None
    filesystem, base = fsspec.core.url_to_fs(uri)
    return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(filesystem)), base


def _without_secrets(uri: str) -> tuple[str, tuple[str, ...]]:
    """A URI as it may be shown, and what of it may not be.

    >>> _without_secrets("s3://key:word@bucket/path?region=eu")
    ('s3://bucket/path', ('key:word', 'word', 'key', 'eu'))
    """
    parts = urlsplit(uri)
    user, _, host = parts.netloc.rpartition("@")
    pieces = [user, *user.split(":"), *(value for _, value in parse_qsl(parts.query))]
    known = {piece for raw in pieces for piece in (raw, unquote(raw)) if piece}
    return f"{parts.scheme}://{host}{parts.path}", tuple(sorted(known, key=lambda s: (-len(s), s)))


def _told(error: BaseException, secrets: tuple[str, ...]) -> str:
    """An error in one line, without secrets.

    >>> _told(OSError("no such key:\\n  word"), ("word", "key"))
    'no such …: …'
    """
    text = one_line(str(error) or type(error).__name__)
    for secret in secrets:
        text = text.replace(secret, "…")
    return text[:200]
