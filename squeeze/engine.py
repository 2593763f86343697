"""ONNX Runtime, and one step of a model in buffers that are bound once.

A plain `run` makes new arrays and looks names up each time, 3 to 7 µs of it. Here the runtime reads and writes memory
that it was shown at the start, and two bindings take turns: what one writes as the next state the other reads.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from squeeze.arrays import HiddenState
from squeeze.errors import ConfigError, ModelFileError, one_line
from squeeze.model_file import ModelCard

INPUTS = ("channels", "scalars", "state")
OUTPUTS = ("probabilities", "next_state")
CPU = ("CPUExecutionProvider",)


def open_session(
    model: bytes, place: str, providers: Sequence[str] = CPU, threads: int = 1, spinning: bool = False
) -> ort.InferenceSession:
    """An ONNX Runtime session, by default on one thread of the CPU that does not spin.

    At this size more threads only slow their neighbours, and one that spins holds a core while it waits.
    `ConfigError` for a provider that is not installed or does not start, `ModelFileError`, which names `place`, if the
    graph is refused.
    """
    installed = ort.get_available_providers()
    missing = [name for name in providers if name not in installed]
    if missing or not providers:
        what = f"{', '.join(missing)} not installed" if missing else "none named"
        raise ConfigError(f"providers: {what}; this ONNX Runtime has {', '.join(installed)}")
    if threads < 1:
        raise ConfigError(f"threads: at least 1, got {threads}")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed too
    try:
        # Without its fallback: it would print to stdout and go on with another provider than was asked for.
        session = ort.InferenceSession(model, options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises a dozen types of its own
        raise ModelFileError(f"{place}: ONNX Runtime refuses it: {one_line(error)}") from None
    started = session.get_providers()
    if idle := [name for name in providers if name not in started]:
        # It falls back in silence to the CPU where a provider's libraries are not found.
        raise ConfigError(f"providers: {', '.join(idle)} did not start; this session has {', '.join(started)}")
    return session


class Engine:
    """One step of `rows` rows, two for each symbol, with the state it carries.

    Fill `channels` (row, channel, price) and `scalars` (row, scalar), then `run`. It is no object for two threads.
    """

    def __init__(self, session: ort.InferenceSession, card: ModelCard, rows: int = 2) -> None:
        spec = card.spec
        self.channels = np.zeros((rows, len(card.channel_names), spec.frame.price_bins), np.float32)
        self.scalars = np.zeros((rows, len(card.scalar_names)), np.float32)
        self._session = session
        widths = (len(spec.label.horizons_minutes), card.hidden)
        self._written = (Written(rows, *widths), Written(rows, *widths))
        self._bindings = tuple(self._bind(read, write) for read, write in (self._written, self._written[::-1]))
        self._turn = 0

    @property
    def state(self) -> HiddenState:
        """What the next step starts from, (row, hidden); to be written to, or copied."""
        return self._written[self._turn].next_state

    def run(self) -> "Written":
        """What the model gives; it is overwritten by the run after the next. The state stays until `go_on`.

        What ONNX Runtime raises passes through.
        """
        self._session.run_with_iobinding(self._bindings[self._turn])
        return self._written[1 - self._turn]

    def go_on(self) -> None:
        """The next state of the last run becomes the state."""
        self._turn = 1 - self._turn

    def _bind(self, read: "Written", write: "Written") -> ort.IOBinding:
        binding = self._session.io_binding()
        for name, array in zip(INPUTS, (self.channels, self.scalars, read.next_state), strict=True):
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in zip(OUTPUTS, (write.probabilities, write.next_state), strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding


class Written:
    """Both outputs of a step, in one piece of memory: `probabilities` (row, horizon) and `next_state` (row, hidden)."""

    def __init__(self, rows: int, horizons: int, hidden: int) -> None:
        self.whole = np.zeros(rows * (horizons + hidden), np.float32)
        self.probabilities = self.whole[: rows * horizons].reshape(rows, horizons)
        self.next_state = self.whole[rows * horizons :].reshape(rows, hidden)

    def finite(self) -> bool:
        """Whether every number is, and none is beyond 1e19: then the sum of squares is too. A quarter of the time that
        asking each would take.
        """
        return math.isfinite(self.whole.dot(self.whole))
