"""What has been said, in one SQLite file: messages, the state that goes on after them, and how far each sink has come.

    Outbox    the one writer: messages and state in one transaction
    Mailbox   what one sink has not taken yet, read beside it

The file is in WAL mode, so readers do not wait for the writer. The writer's commits are on the disk when they return
(`synchronous=FULL`). A sink's progress is not forced to the disk: where the machine goes down, a few messages are sent
again, with the same ids.
"""

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from squeeze.emitter.letter import Letter
from squeeze.errors import OutboxError

APPLICATION = 0x53515A45
"""`SQZE`, by which SQLite files tell whose they are."""
SCHEMA = 1
TABLES = (
    """CREATE TABLE messages (
        position INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, stream TEXT NOT NULL,
        stream_seq INTEGER NOT NULL, type TEXT NOT NULL, ts_emit_us INTEGER NOT NULL, valid_until_us INTEGER NOT NULL,
        body BLOB NOT NULL, UNIQUE (stream, stream_seq)) STRICT""",
    "CREATE TABLE streams (stream TEXT PRIMARY KEY, newest_seq INTEGER NOT NULL) STRICT",
    "CREATE TABLE states (name TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT",
    "CREATE TABLE cursors (sink TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT",
    """CREATE TABLE dead_letters (
        sink TEXT NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL, ts_us INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (sink, event_id)) STRICT""",
)
BLANK = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
"""What is zero in a database that nobody has used."""
COLUMNS = "position, event_id, stream, stream_seq, type, ts_emit_us, valid_until_us, body"
BUSY_SECONDS = 10.0
DAY_US = 86_400_000_000
DEAD_DAYS = 90


class Outbox:
    """The one writer of a file, which is made where there is none.

    `OutboxError` where the file is damaged, another program's or another release's, or another process writes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = _locked(self.path)
        try:
            self._db = _opened(self.path)
            self._newest: dict[str, int] = dict(self._db.execute("SELECT stream, newest_seq FROM streams"))
            self.head = _head(self._db)
        except BaseException:
            os.close(self._lock)
            raise

    def store(self, letters: Sequence[Letter], states: Mapping[str, bytes]) -> None:
        """Keep messages, and by name the states that go on after them: all on the disk, or nothing.

        A message that is there already, by its `event_id`, is passed over. `OutboxError` unless the numbers of each
        stream rise by one; `sqlite3.Error` where the disk does not take them, and then they may be stored again.
        """
        newest, head = dict(self._newest), self.head
        with _transaction(self._db):
            for letter in letters:
                if self._has(letter, newest.get(letter.stream)):
                    continue
                head = self._insert(letter)
                newest[letter.stream] = letter.stream_seq
            self._db.executemany("INSERT OR REPLACE INTO streams VALUES (?, ?)", newest.items() - self._newest.items())
            self._db.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", states.items())
        self._newest, self.head = newest, head

    def state(self, name: str) -> bytes | None:
        """What was kept last under a name; None where nothing was."""
        row = self._db.execute("SELECT state FROM states WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def newest_seq(self, stream: str) -> int | None:
        """The last number of a stream; None where it has said nothing yet."""
        return self._newest.get(stream)

    def register(self, sinks: Sequence[str]) -> None:
        """Make sinks known: one that is new begins with what is said from now on, others go on where they were."""
        with _transaction(self._db):
            self._db.executemany(
                "INSERT INTO cursors VALUES (?, ?) ON CONFLICT DO NOTHING", [(sink, self.head) for sink in sinks]
            )

    def dead(self) -> dict[str, list[bytes]]:
        """The bodies of the dead letters, by sink."""
        found: dict[str, list[bytes]] = {}
        for sink, body in self._db.execute("SELECT sink, body FROM dead_letters ORDER BY sink, ts_us, event_id"):
            found.setdefault(sink, []).append(body)
        return found

    def revived(self, sink: str, event_id: str) -> None:
        """A dead letter was taken after all."""
        with _transaction(self._db):
            self._db.execute("DELETE FROM dead_letters WHERE sink = ? AND event_id = ?", (sink, event_id))

    def retire(self, sinks: Sequence[str], now_us: int, keep_days: float) -> int:
        """Forget messages that are old and that all these sinks have taken; how many. Dead letters stay for 90 days."""
        marks = ",".join("?" * len(sinks))
        lowest = f"SELECT min(position) FROM cursors WHERE sink IN ({marks})"  # noqa: S608 - question marks
        (taken,) = self._db.execute(lowest, tuple(sinks)).fetchone()
        with _transaction(self._db):
            gone = self._db.execute(
                "DELETE FROM messages WHERE position <= ? AND ts_emit_us < ?",
                (self.head if taken is None else taken, now_us - round(keep_days * DAY_US)),
            ).rowcount
            self._db.execute("DELETE FROM dead_letters WHERE ts_us < ?", (now_us - DEAD_DAYS * DAY_US,))
        return gone

    def close(self) -> None:
        """Let go of the file; what was stored is in it."""
        self._db.close()
        os.close(self._lock)

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _has(self, letter: Letter, newest: int | None) -> bool:
        """Whether a message is there already; `OutboxError` where its number is not the next."""
        if newest is None or letter.stream_seq == newest + 1:
            return False
        row = self._db.execute("SELECT 1 FROM messages WHERE event_id = ?", (letter.event_id,)).fetchone()
        if row is None:
            raise OutboxError(f"{self.path}: stream {letter.stream}: after {newest} comes {newest + 1}, "
                              f"got {letter.stream_seq}")  # fmt: skip
        return True

    def _insert(self, x: Letter) -> int:
        values = (x.event_id, x.stream, x.stream_seq, x.type, x.ts_emit_us, x.valid_until_us, x.body)
        try:
            done = self._db.execute("INSERT INTO messages VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError:
            raise OutboxError(f"{self.path}: event {x.event_id} of stream {x.stream} was there before") from None
        return int(done.lastrowid or 0)


class Mailbox:
    """What one sink has not taken yet; for one thread. The sink must have been registered."""

    def __init__(self, path: str | Path, sink: str) -> None:
        self.sink = sink
        self._db = _connected(Path(path))
        self._db.execute("PRAGMA synchronous = NORMAL")
        row = self._db.execute("SELECT position FROM cursors WHERE sink = ?", (sink,)).fetchone()
        if row is None:
            raise OutboxError(f"{path}: no sink {sink!r} is registered")
        self.position: int = row[0]
        """The last that was taken."""
        self._dead: list[tuple[str, str, str, int, bytes]] = []

    def letters(self, most: int) -> list[Letter]:
        """The next few messages, in their order."""
        return after(self._db, self.position, most)

    def advance(self, position: int, dead: Sequence[tuple[Letter, str]], now_us: int) -> None:
        """All up to `position` is done with: taken, or, with the reason, among the dead letters.

        Where `sqlite3.Error` says that this could not be written down it holds all the same; the next call writes it.
        """
        self.position = position
        self._dead += [(self.sink, letter.event_id, reason, now_us, letter.body) for letter, reason in dead]
        with _transaction(self._db):
            self._db.executemany("INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", self._dead)
            self._db.execute("UPDATE cursors SET position = ? WHERE sink = ?", (position, self.sink))
        self._dead.clear()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def after(db: sqlite3.Connection, position: int, most: int) -> list[Letter]:
    """Messages after a position, in their order."""
    rows = db.execute(f"SELECT {COLUMNS} FROM messages WHERE position > ? ORDER BY position LIMIT ?", (position, most))  # noqa: S608 - a constant
    return [Letter(**dict(zip(COLUMNS.split(", "), row, strict=True))) for row in rows]


def before(db: sqlite3.Connection, stream: str | None, seq: int | None) -> int:
    """The position before a stream's message of a number, or the first that is kept after it.

    Without a number, or where it is still to come: the newest position.
    """
    ask = "SELECT min(position) FROM messages WHERE stream = ? AND stream_seq >= ?"
    row = None if seq is None else db.execute(ask, (stream, seq)).fetchone()
    return _head(db) if row is None or row[0] is None else int(row[0]) - 1


def progress(db: sqlite3.Connection) -> list[dict[str, object]]:
    """How far each sink has come: what waits for it, and how many it will never get."""
    ask = """SELECT sink, (SELECT count(*) FROM messages WHERE messages.position > cursors.position),
        (SELECT count(*) FROM dead_letters WHERE dead_letters.sink = cursors.sink) FROM cursors ORDER BY sink"""
    return [dict(zip(("sink", "waiting", "dead"), row, strict=True)) for row in db.execute(ask)]


def dead_letters(db: sqlite3.Connection) -> list[dict[str, object]]:
    """What was given up, in order of time, with the reason and the message itself."""
    ask = "SELECT ts_us, sink, event_id, reason, body FROM dead_letters ORDER BY ts_us, sink, event_id"
    names = ("ts_us", "sink", "event_id", "reason", "message")
    return [dict(zip(names, (*row[:4], row[4].decode()), strict=True)) for row in db.execute(ask)]


def reading(path: str | Path) -> sqlite3.Connection:
    """A connection that only reads, for `after` and for who looks around; `OutboxError` for what is no outbox."""
    db = _connected(Path(path))
    db.execute("PRAGMA query_only = ON")
    return db


def _opened(path: Path) -> sqlite3.Connection:
    """A connection whose commits last, to a whole outbox, which is made if there is none."""
    with _readable(path):
        if not path.exists() or _is_blank(path):
            _make(path)
    db = _connected(path)
    db.execute("PRAGMA synchronous = FULL")
    with _readable(path):
        if (said := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise OutboxError(f"{path}: damaged: {said}; move it away to begin anew")
    return db


def _is_blank(path: Path) -> bool:
    """Whether a database has nothing in it, as where a process was killed while it made one."""
    if not path.is_file():
        raise OutboxError(f"{path}: not a file")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        return not any(db.execute(ask).fetchone()[0] for ask in BLANK)


def _make(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            db.execute(table)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")


def _connected(path: Path) -> sqlite3.Connection:
    """A connection to an outbox of this release; it takes part in no transaction that it does not begin."""
    if not path.is_file():
        raise OutboxError(f"{path}: no such outbox")
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        with _readable(path):
            owner, version, _ = (db.execute(ask).fetchone()[0] for ask in BLANK)
        if owner != APPLICATION:
            raise OutboxError(f"{path}: a database, but no outbox of this program")
        if version != SCHEMA:
            raise OutboxError(f"{path}: an outbox of schema {version}; this release reads schema {SCHEMA}")
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back by itself
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise OutboxError(f"{path}: no outbox, or a damaged one: {error}; move it away to begin anew") from None


def _head(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
    return 0 if row is None else int(row[0])


def _locked(path: Path) -> int:
    """Keep other writers out for as long as the descriptor is open; a killed process lets go of it by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(place)
            raise OutboxError(f"{path}: another process writes it") from None
    return place
