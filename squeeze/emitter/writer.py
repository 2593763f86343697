"""The thread that alone writes an outbox, so that who predicts never waits for a disk."""

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence

from squeeze.emitter.letter import Letter
from squeeze.emitter.outbox import Outbox
from squeeze.errors import OutboxError

AGAIN_SECONDS = 1.0
"""Between attempts at a disk that takes nothing."""
RETIRE_SECONDS = 3600.0
MOST_WAITING = 100_000
"""Messages that may wait in memory for a disk that takes nothing: a few hundred MB."""


class Writer:
    """Takes messages and states at once, and stores them in the order in which they came.

    While the disk takes nothing they wait in memory, of the states only the newest, and `problem` says so; once there
    are `MOST_WAITING` who emits is stopped. If the process ends then, the file still holds an earlier state and just
    the messages up to it.
    """

    def __init__(self, outbox: Outbox, on_stored: Callable[[], None], on_beat: Callable[[Letter], None]) -> None:
        self.problem = ""
        """Why the disk takes nothing; empty when all is well."""
        self.failure: OutboxError | None = None
        """What ended the thread: messages that cannot be stored at all."""
        self._outbox = outbox
        self._on_stored, self._on_beat = on_stored, on_beat
        self._letters: list[Letter] = []
        self._states: dict[str, bytes] = {}
        self._beats: dict[str, Letter] = {}
        self._chores: list[Callable[[], object]] = []
        self._changed = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Messages that are not stored yet."""
        return len(self._letters)

    def put(self, letters: Sequence[Letter], states: Mapping[str, bytes]) -> None:
        """Have messages stored, with the states that go on after them, by name; raises what ended the thread, and
        `OutboxError` where too many wait.
        """
        if self.failure is not None:
            raise self.failure
        if len(self._letters) + len(letters) > MOST_WAITING:
            raise OutboxError(f"{len(self._letters)} messages wait for the disk: {self.problem or 'it is too slow'}")
        with self._changed:
            self._letters += letters
            self._states |= states
            self._changed.notify_all()

    def beat(self, letter: Letter) -> None:
        """Hand a heartbeat on once all before it is stored, or cannot be; only the newest of each stream waits."""
        with self._changed:
            self._beats[letter.stream] = letter
            self._changed.notify_all()

    def chore(self, job: Callable[[], object]) -> None:
        """Have something else done to the outbox, in this thread; a disk in trouble passes it over."""
        with self._changed:
            self._chores.append(job)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is stored, no longer than some seconds; whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self.failure or not (self._letters or self._states), seconds)
            return not self._letters and not self._states

    def close(self, seconds: float) -> bool:
        """Store what waits, and end; whether all was stored within some seconds."""
        done = self.flush(seconds)
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join(seconds)
        return done

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._letters or self._states or self._beats or self._chores or self._ends
                )
                letters, states, chores = list(self._letters), dict(self._states), self._chores
                self._chores = []
                if self._ends and not letters and not states:
                    return
            try:
                self._store(letters, states)
                for job in chores:
                    job()
                self.problem = ""
            except sqlite3.Error as error:
                self.problem = str(error)
            except OutboxError as error:
                with self._changed:
                    self.failure, self.problem = error, str(error)
                    self._changed.notify_all()
                return
            self._hand_on()
            if self.problem:
                with self._changed:
                    if self._ends:
                        return
                    self._changed.wait_for(lambda: self._ends, AGAIN_SECONDS)

    def _store(self, letters: list[Letter], states: dict[str, bytes]) -> None:
        if not letters and not states:
            return
        self._outbox.store(letters, states)
        with self._changed:
            del self._letters[: len(letters)]
            for name, state in states.items():
                if self._states.get(name) is state:
                    del self._states[name]
            self._changed.notify_all()
        self._on_stored()

    def _hand_on(self) -> None:
        with self._changed:
            if self._letters and not self.problem:
                return  # what came meanwhile goes first
            beats, self._beats = self._beats, {}
        for beat in beats.values():
            self._on_beat(beat)
