"""Finished runs on their way to the tracking store: written here first, as plain JSON and files, and sent from here.

    out/spool/<key>/record.json   the run's tree of nodes
                    <folder>/…    the artefacts of a node

So a store that is down, hangs or fails midway delays nothing and loses nothing: the record stays, and the next
training, `squeeze compare` or `squeeze sync` sends it. It leaves the spool when all of it has arrived. Sending twice
adds nothing: `track.send` knows by the record's key what is there already. SQUEEZE_SPOOL names another folder.
"""

import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from squeeze.errors import TrackingError, one_line
from squeeze.files import alone, whole_folder
from squeeze.registry import impatient, require_answer, tracking_uri

RECORD = "record.json"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the tree, with what is below it."""

    level: str
    """`task`, `model`, `seed`, `block`, or what a search adds."""
    name: str
    title: str = ""
    """What the UI shows; the name by default."""
    fresh: bool = False
    """A run of its own for every record; otherwise one that is found again by its place."""
    tags: dict[str, str] = {}
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    system: dict[str, list[tuple[int, float]]] = {}
    """Readings of the machine by name: UTC in ms, and value."""
    dataset: tuple[str, str] | None = None
    """Name and digest of the data."""
    files: str = ""
    """Folder of the artefacts within the record."""
    model: str = ""
    """The sealed model file, within `files`."""
    children: tuple["Node", ...] = ()


class Record(msgspec.Struct, frozen=True):
    """What `record.json` holds."""

    key: str
    created_ms: int
    root: Node


class Synced(msgspec.Struct, frozen=True):
    """What became of the records that waited."""

    sent: int
    kept: int
    reason: str = ""
    """Why some were kept."""


def spool_folder() -> Path:
    """SQUEEZE_SPOOL, or `out/spool`."""
    return Path(os.environ.get("SQUEEZE_SPOOL") or "out/spool")


@contextmanager
def recording(spool: Path | None = None) -> Iterator[tuple[Path, Callable[[Node], None]]]:
    """A folder for the artefacts of a new record, and the function that gives it its tree.

    The record is in the spool, whole, once the block is left; a block that raises leaves nothing.
    """
    now = time.time()
    key = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"-{uuid.uuid4().hex[:12]}"
    with whole_folder((spool or spool_folder()) / key) as part:

        def keep(root: Node) -> None:
            (part / RECORD).write_bytes(msgspec.json.encode(Record(key, int(now * 1000), root)))

        yield part, keep


def read(folder: Path) -> Record:
    """A record; `TrackingError` if it cannot be read."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        raise TrackingError(f"{folder / RECORD}: {one_line(error)}") from None


def pending(spool: Path | None = None) -> list[Path]:
    """The records that wait, oldest first."""
    return sorted(p.parent for p in (spool or spool_folder()).glob(f"*/{RECORD}") if not p.parent.name.startswith("."))


def sync(spool: Path | None = None) -> Synced:
    """Send every record that waits; those that cannot be sent stay, and nothing is raised on their account.

    A store that is down costs `registry.PROBE_SECONDS`, one that hangs midway `registry.REQUEST_SECONDS` more. A record
    that the store refuses holds up no other.
    """
    spool = spool or spool_folder()
    if not pending(spool):
        return Synced(0, 0)
    from training.tracking import track

    sent, kept, reason = 0, 0, ""
    with alone(spool), impatient():
        waiting = pending(spool)
        for folder in waiting:
            try:
                require_answer(tracking_uri())
            except TrackingError as error:
                return Synced(sent, len(waiting) - sent, str(error))
            try:
                track.send(folder)
            except Exception as error:  # MLflow raises a dozen types; whichever it is, the record stays
                kept, reason = kept + 1, one_line(error)
                continue
            _forget(folder)
            sent += 1
    return Synced(sent, kept, reason)


def submit(root: Node) -> None:
    """A record without artefacts into the spool, and on its way."""
    with recording() as (_, keep):
        keep(root)
    tell(sync())


def tell(synced: Synced) -> None:
    """Say on stderr what waits, if anything does."""
    if synced.kept:
        print(
            f"tracking: {synced.kept} run(s) wait in {spool_folder()} for {tracking_uri()}: {synced.reason}; "
            "the next training, or `squeeze sync`, sends them",
            file=sys.stderr,
        )


def _forget(folder: Path) -> None:
    gone = folder.with_name(f".{folder.name}.tmp")  # renamed first: half a record must never look like one
    os.replace(folder, gone)
    shutil.rmtree(gone)
