"""Frames in, probabilities out: one ONNX step with carried state. The answer to anything doubtful is `Abstain`, with
the reasons.
"""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import onnxruntime as ort

from squeeze.arrays import SIDES, HiddenState, Probabilities
from squeeze.errors import ConfigError, ModelFileError, StepError
from squeeze.model_file import ModelCard, read, read_card
from squeeze.spec import Spec
from squeeze.state import BLIND, Degraded, Frame, MarketState, flag_names

INPUTS = ("channels", "scalars", "state")
OUTPUTS = ("probabilities", "next_state")


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """P(more than the label's threshold is liquidated) per side and horizon, from what was known at `close_ns`."""

    symbol: str
    close_ns: int
    probabilities: Probabilities
    degraded: tuple[str, ...]

    def of(self, side: str, horizon: int = -1) -> float:
        """One probability; `horizon` is an index, the longest by default."""
        return float(self.probabilities[SIDES.index(side), horizon])


@dataclass(frozen=True, slots=True)
class Abstain:
    """No probability, and why."""

    symbol: str
    close_ns: int
    reasons: tuple[str, ...]


class Predictor:
    """One model and the state it carries for one symbol.

    `step` takes frames in order of time. A frame that is unhealthy, or poorer than what the model was trained on, gives
    `Abstain`; one that shows nothing (`state.BLIND`) also leaves the carried state as it was, just as in training. ONNX
    Runtime runs on one thread and does not spin: at this size more threads only slow their neighbours (speed.md).
    """

    def __init__(self, session: ort.InferenceSession, card: ModelCard, digest: str) -> None:
        self.card = card
        self.digest = digest
        """The file's seal: names the model in every message."""
        self._session = session
        self._closed_ns = 0
        self._state = np.zeros((len(SIDES), card.hidden), np.float32)
        self._required = [card.channel_names.index(name) for name in card.required_channels]

    @property
    def spec(self) -> Spec:
        """What frames must be made with."""
        return self.card.spec

    def step(self, frame: Frame) -> Prediction | Abstain:
        """The probabilities at a frame's close, or why there are none; `StepError` for a frame out of order."""
        if frame.symbol != self.spec.market.symbol:
            raise StepError(f"this model was trained for {self.spec.market.symbol}, the frame is of {frame.symbol}")
        if frame.close_ns <= self._closed_ns:
            raise StepError(f"a frame at {frame.close_ns} cannot follow one at {self._closed_ns}")
        self._closed_ns = frame.close_ns
        reasons = flag_names(frame.unhealthy)
        poorer = Degraded(frame.degraded & ~self.card.degraded)
        reasons += tuple(f"not trained with {name}" for name in flag_names(poorer))
        if self._required:
            reasons += tuple(f"not recorded: {name}" for name in self._missing(frame))
        if frame.unhealthy & BLIND:
            return Abstain(frame.symbol, frame.close_ns, reasons)
        inputs = {"channels": frame.channels, "scalars": frame.scalars, "state": self._state}
        probabilities, state = self._session.run(OUTPUTS, inputs)
        if not (np.isfinite(probabilities).all() and np.isfinite(state).all()):
            return Abstain(frame.symbol, frame.close_ns, ("the model's output is not finite",))
        self._state = state
        if reasons:
            return Abstain(frame.symbol, frame.close_ns, reasons)
        return Prediction(frame.symbol, frame.close_ns, probabilities, flag_names(frame.degraded))

    def _missing(self, frame: Frame) -> list[str]:
        """Required channels of which this frame shows nothing, on neither side."""
        known = np.isfinite(frame.channels[:, self._required]).any(axis=(0, 2))
        return [name for name, is_known in zip(self.card.required_channels, known, strict=True) if not is_known]

    def snapshot(self) -> tuple[int, bytes]:
        """The last close and the carried state."""
        return self._closed_ns, self._state.tobytes()

    def restore(self, closed_ns: int, state: bytes) -> None:
        """Go on from a snapshot; `StepError` if it does not fit this model."""
        values: HiddenState = np.frombuffer(state, np.float32)
        if values.size != self._state.size:
            raise StepError(f"the snapshot carries {values.size} numbers of state, this model {self._state.size}")
        self._closed_ns, self._state = closed_ns, values.reshape(self._state.shape).copy()


def load(path: str | Path) -> Predictor:
    """A predictor from a model file; `ModelFileError` if it is not ours, was altered, or speaks another spec.

    A name as `models:/squeeze@champion` fetches the file from a tracking store first (`squeeze.registry`).
    """
    if str(path).startswith(("models:/", "runs:/")):
        from squeeze.registry import fetched  # it needs MLflow; a plain file does not

        with fetched(str(path)) as file:
            return load(file)
    model, digest = read(path)
    session = open_session(model, str(path))
    card = read_card(session.get_modelmeta().custom_metadata_map, str(path))
    _check_signature(session, card, str(path))
    _check_names(card, str(path))
    return Predictor(session, card, digest)


def open_session(model: bytes, place: str) -> ort.InferenceSession:
    """An ONNX Runtime session on one thread of the CPU that does not spin; `ModelFileError` names `place` if the graph
    is refused.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen types of its own
        raise ModelFileError(f"{place}: ONNX Runtime refuses it: {str(error).splitlines()[0]}") from None


def _check_signature(session: ort.InferenceSession, card: ModelCard, place: str) -> None:
    sides, spec = len(SIDES), card.spec
    expected = {
        "channels": [sides, len(card.channel_names), spec.frame.price_bins],
        "scalars": [sides, len(card.scalar_names)],
        "state": [sides, card.hidden],
        "probabilities": [sides, len(spec.label.horizons_minutes)],
        "next_state": [sides, card.hidden],
    }
    found = {tensor.name: list(tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())}
    if found != expected:
        raise ModelFileError(f"{place}: its graph takes and gives {found}, its card says {expected}")


def _check_names(card: ModelCard, place: str) -> None:
    """Refuse a model whose inputs are not what frames of its own spec hold in this release, one by one."""
    try:
        state = MarketState(card.spec)
    except ConfigError as error:
        raise ModelFileError(f"{place}: {error}") from None
    for what, said, made in (
        ("channel", card.channel_names, state.channel_names),
        ("scalar", card.scalar_names, state.scalar_names),
    ):
        if said != made:
            at, one, other = next((i, a, b) for i, (a, b) in enumerate(zip_longest(said, made)) if a != b)
            raise ModelFileError(
                f"{place}: was trained on {len(said)} {what}s, frames of its spec have {len(made)}: "
                f"{what} {at} is {one} there and {other} here"
            )
