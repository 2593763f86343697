"""Emits as fast as it can and is killed again and again: `python killed.py FOLDER URL KILLS SEED`.

Each life goes on from the outbox of the one before, as `squeeze run` does, and is ended by SIGKILL at a random moment:
in one of four while it starts, in the others after it emitted a random number of times, be the machine fast or slow.
The last one says so much more, waits until all is delivered, and ends by itself. Prints what it came to as one JSON
line. A life is a fork, since starting Python anew takes longer than most lives last.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from emitting import abstain

from squeeze.emitter.emitter import Emitter
from squeeze.emitter.sinks.config import sinks_of


def live(folder: Path, url: str, last: int, told: int) -> None:
    """One life: numbers go on from the state; the state holds what a stream needs, its next number.

    A byte to the pipe `told` for each time it emitted.
    """
    sinks = [
        {"kind": "jsonl", "name": "lines", "folder": str(folder / "lines")},
        {"kind": "webhook", "name": "hook", "url": url, "first_retry_seconds": 0.01, "last_retry_seconds": 0.05},
    ]
    emitter = Emitter(folder / "o.sqlite", sinks_of({"sinks": sinks}, "killed").sinks)
    state = emitter.state("SIMUSDT")
    number = 0 if state is None else int(state)
    while last < 0 or number < last:
        count = 1 + number % 3
        emitter.emit([abstain(number + i) for i in range(count)], {"SIMUSDT": b"%d" % (number + count)})
        number += count
        os.write(told, b".")
        while emitter.waiting > 200:  # no faster than the disk
            time.sleep(0.001)
    while emitter.waiting:
        time.sleep(0.001)
    left = emitter.close()
    if left:
        raise SystemExit(f"not done: {left}")


def main(folder: Path, url: str, kills: int, seed: int) -> None:
    """So many lives and one more."""
    chance = random.Random(seed)  # noqa: S311
    silent = 0
    for number in range(kills):
        pid, ear = born(folder, url, -1)
        emits = 0 if number % 4 == 0 else chance.randrange(1, 40)
        said = 0
        while said < emits and (heard := os.read(ear, 4096)):
            said += len(heard)
        time.sleep(chance.uniform(0, 0.2 if emits == 0 else 0.02))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("a life ended by itself")
        silent += said == 0 and not os.read(ear, 1)
        os.close(ear)
    pid, ear = born(folder, url, newest(folder) + 50)
    while os.read(ear, 4096):
        pass
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"killed_before_they_spoke": silent}))
    raise SystemExit(os.waitstatus_to_exitcode(status))


def born(folder: Path, url: str, last: int) -> tuple[int, int]:
    """A life, and the pipe to hear it by."""
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ear)
        run(folder, url, last, mouth)
    os.close(mouth)
    return pid, ear


def run(folder: Path, url: str, last: int, told: int) -> None:
    """A life that never returns into its parent's."""
    try:
        live(folder, url, last, told)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def newest(folder: Path) -> int:
    """The next number, as the file has it."""
    from squeeze.emitter.outbox import Outbox

    with Outbox(folder / "o.sqlite") as outbox:
        return int(outbox.state("SIMUSDT") or 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
