"""Outbox, writer and couriers in one: what a program that predicts talks to."""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from squeeze.emitter.delivery import Delivery
from squeeze.emitter.letter import now_us, seal
from squeeze.emitter.outbox import Outbox
from squeeze.emitter.sinks.sink import Sink, SinkSpec
from squeeze.emitter.writer import RETIRE_SECONDS, Writer
from squeeze.errors import OutboxError
from squeeze.signals.message import Message

CLOSE_SECONDS = 5.0


class Emitter:
    """Keeps messages and sends them; no call waits for a disk or a sink.

    with Emitter("out/outbox.sqlite", load_sinks("configs/sinks.yaml").sinks) as emitter:
        emitter.emit(stream.on_clock(now_ns), {"BTCUSDT": stream.snapshot()})

    `ConfigError` for a secret or a package that a sink lacks, `OutboxError` for a file that is damaged, not ours, or
    another process's; then nothing has begun.
    """

    def __init__(self, path: str | Path, sinks: Sequence[SinkSpec], keep_days: float = 7.0) -> None:
        self.path = Path(path)
        self._names = [spec.name for spec in sinks]
        self._keep_days = keep_days
        self._retired_us = 0
        self._making: dict[str, threading.Thread] = {}
        self._outbox = Outbox(self.path)
        made: list[tuple[SinkSpec, Sink]] = []
        try:
            self._outbox.register(self._names)
            for spec in sinks:
                made.append((spec, spec.make(self.path)))
        except BaseException:
            for _, sink in made:
                sink.close()
            self._outbox.close()
            raise
        self._delivery = Delivery(self.path, made)
        self._writer = Writer(self._outbox, self._delivery.wake, self._delivery.beat)

    def state(self, name: str) -> bytes | None:
        """What was kept last under a name; ask before the first `emit`."""
        return self._outbox.state(name)

    def newest_seq(self, stream: str) -> int | None:
        """The last number that a stream has used; None where it has said nothing yet."""
        return self._outbox.newest_seq(stream)

    def emit(self, messages: Sequence[Message], states: Mapping[str, bytes]) -> None:
        """Have messages kept, in one transaction with the states that go on after them, by name; and then sent.

        `ValueError` for a message that cannot be written as JSON; `OutboxError` where numbers of a stream, then or
        before, did not rise by one.
        """
        now = now_us()
        self._writer.put([seal(message, now) for message in messages], states)
        if now - self._retired_us > RETIRE_SECONDS * 1e6:
            self._retired_us = now
            self._writer.chore(lambda: self._outbox.retire(self._names, now, self._keep_days))

    def keep(self, name: str, freeze: Callable[[], Callable[[], bytes]], *, last: bool = False) -> None:
        """Have a state kept that takes long to make: `freeze` copies it now, what it returns is made in another thread.

        No message waits for it. While one of that name is being made another is passed over, unless it is the `last`.
        """
        making = self._making.get(name)
        if making is not None and making.is_alive():
            if not last:
                return
            making.join(CLOSE_SECONDS)
        make = freeze()

        def work() -> None:
            with contextlib.suppress(OutboxError):  # `emit` says so
                self._writer.put((), {name: make()})

        self._making[name] = threading.Thread(target=work, name=f"state {name}", daemon=True)
        self._making[name].start()

    def beat(self, heartbeat: Message) -> None:
        """Have a heartbeat sent, to the sinks that have all before it."""
        self._writer.beat(seal(heartbeat, now_us()))

    @property
    def waiting(self) -> int:
        """Messages that some sink has not taken yet, or the disk."""
        return self._writer.waiting + self._delivery.waiting(self._outbox.head)

    def health(self) -> tuple[str, ...]:
        """What is wrong with the disk and the sinks; empty when all is well."""
        disk = (f"outbox: {self._writer.problem}",) if self._writer.problem else ()
        return disk + tuple(f"sink {name}: {problem}" for name, problem in self._delivery.problems().items())

    def close(self, seconds: float = CLOSE_SECONDS) -> tuple[str, ...]:
        """Store and send what waits, for some seconds at most, and end; what was not done, in words."""
        for making in self._making.values():
            making.join(seconds)
        stored = self._writer.close(seconds)
        left = [] if stored else [f"outbox: {self._writer.waiting} messages are not stored: {self._writer.problem}"]
        slow = self._delivery.close(self._outbox.head, seconds)
        self._outbox.close()
        return (*left, *(f"sink {name}: not done; it goes on from the outbox next time" for name in slow))

    def __enter__(self) -> "Emitter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
