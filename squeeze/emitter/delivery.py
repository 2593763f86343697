"""From the outbox to the sinks: a thread for each, at its own pace, so that none delays another or who predicts."""

import math
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from squeeze.emitter.letter import Letter, now_us
from squeeze.emitter.outbox import Mailbox
from squeeze.emitter.sinks.sink import Refused, Sink, SinkDown, SinkSpec
from squeeze.errors import one_line

IDLE = math.inf
MOST_WAIT_SECONDS = 600.0
"""However long a sink asks to be left alone."""


class Courier:
    """Brings one sink what it has not taken yet: `round` by `round`, in order, each message at least once.

    - A failure is tried again, after a wait that doubles and is shortened by chance.
    - A message that the sink refuses `refusals` times goes to the dead letters; so does an entry whose time is over.
    - Heartbeats are not kept: one goes out when all before it is delivered, and a failed one is gone. To a sink that
      is behind there are none, which to those behind it says: stop trusting.
    """

    def __init__(
        self,
        spec: SinkSpec,
        sink: Sink,
        mailbox: Mailbox,
        chance: random.Random | None = None,
        now: Callable[[], int] = now_us,
    ) -> None:
        self.spec = spec
        self.sink = sink
        self.mailbox = mailbox
        self.problem = ""
        """Why it did not get through last time; empty when it did."""
        self.failures = 0
        """In a row."""
        self._chance = chance or random.SystemRandom()
        self._now = now
        self._refusals = 0
        self._singly_until = 0
        self._beats: dict[str, Letter] = {}

    def beat(self, letter: Letter) -> None:
        """Have a heartbeat sent when its turn comes; the newest of a stream takes the place of the one before."""
        self._beats = {**self._beats, letter.stream: letter}

    def round(self) -> float:
        """Deliver the next few; seconds to wait before the next round, `IDLE` until there is more."""
        beats = self._beats  # before a look at what is kept: all before them is there
        try:
            if letters := self.mailbox.letters(self._most()):
                return self._deliver(letters)
            self._beats = {stream: x for stream, x in self._beats.items() if beats.get(stream) is not x}
            now = self._now()
            if fresh := [x for x in beats.values() if x.type in self.spec.types and now <= x.valid_until_us]:
                self.sink.send(fresh)
                self._through()
        except Exception as error:  # whatever is wrong with a sink, the others and the next attempt do not suffer
            return self._failed(error)
        return IDLE

    def _most(self) -> int:
        return 1 if self.mailbox.position < self._singly_until else self.sink.most

    def _deliver(self, letters: Sequence[Letter]) -> float:
        wanted = [x for x in letters if x.type in self.spec.types]
        dead = [(x, "expired") for x in wanted if x.expired(self._now())]
        due = [x for x in wanted if not x.expired(self._now())]
        try:
            if due:
                self.sink.send(due)
        except Refused as error:
            if len(letters) > 1:  # which of them it was is found out singly
                self._singly_until = letters[-1].position
                return 0.0
            self._refusals += 1
            if self._refusals < self.spec.refusals:
                return self._failed(error)
            dead += [(x, one_line(error)) for x in due]
        self._through()
        self._refusals = 0
        try:
            self.mailbox.advance(letters[-1].position, dead, self._now())
        except sqlite3.Error as error:  # what was delivered stays delivered
            self.problem = one_line(error)
        return 0.0

    def _through(self) -> None:
        self.failures, self.problem = 0, ""

    def _failed(self, error: Exception) -> float:
        self.failures += 1
        self.problem = one_line(error) or type(error).__name__
        doubled: float = self.spec.first_retry_seconds * 2.0 ** min(self.failures - 1, 30)
        wait = min(self.spec.last_retry_seconds, doubled) * self._chance.uniform(0.5, 1.0)
        asked = error.wait_seconds if isinstance(error, SinkDown) else 0.0
        return max(wait, min(asked, MOST_WAIT_SECONDS))


class Delivery:
    """The couriers of an outbox's sinks, each in a thread."""

    def __init__(self, path: Path, sinks: Sequence[tuple[SinkSpec, Sink]]) -> None:
        self.couriers = [Courier(spec, sink, Mailbox(path, spec.name)) for spec, sink in sinks]
        self._more = {courier.spec.name: threading.Event() for courier in self.couriers}
        self._ends = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(c,), name=c.spec.name, daemon=True) for c in self.couriers
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is more in the outbox."""
        for event in self._more.values():
            event.set()

    def beat(self, letter: Letter) -> None:
        """Have a heartbeat sent to all."""
        for courier in self.couriers:
            courier.beat(letter)
        self.wake()

    def waiting(self, head: int) -> int:
        """Messages, of `head` kept in all, that some sink is not done with."""
        return max((head - courier.mailbox.position for courier in self.couriers), default=0)

    def problems(self) -> dict[str, str]:
        """What is wrong, by the name of the sink."""
        return {courier.spec.name: courier.problem for courier in self.couriers if courier.problem}

    def close(self, head: int, seconds: float) -> list[str]:
        """Wait until all is delivered, or for some seconds, and end; the sinks that were not done.

        One that hangs is left behind: its thread ends with the process, what it did not take stays in the outbox.
        """
        until = time.monotonic() + seconds
        while self.waiting(head) and time.monotonic() < until:
            time.sleep(0.01)
        self._ends.set()
        self.wake()
        for thread in self._threads:
            thread.join(max(0.2, until - time.monotonic()))
        return [courier.spec.name for courier in self.couriers if courier.mailbox.position < head]

    def _run(self, courier: Courier) -> None:
        more = self._more[courier.spec.name]
        try:
            while not self._ends.is_set():
                more.clear()
                wait = courier.round()
                if wait == IDLE:
                    more.wait()
                elif wait > 0:
                    self._ends.wait(wait)
        finally:
            courier.sink.close()
            courier.mailbox.close()
