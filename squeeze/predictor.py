"""Frames in, probabilities out: one ONNX step with carried state. The answer to anything doubtful is `Abstain`, with
the reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import onnxruntime as ort

from squeeze.admission import Admission, Course
from squeeze.arrays import SIDES, Probabilities
from squeeze.engine import CPU, Engine, open_session
from squeeze.errors import ConfigError, ModelFileError, StepError, one_line
from squeeze.model_check import check_graph
from squeeze.model_file import ModelCard, read, read_card
from squeeze.spec import Spec
from squeeze.state import BLIND, Frame, MarketState

NOT_FINITE = "the model's output is not finite"


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

    `step` takes frames in order of time, each once. A frame that is unhealthy, or poorer than what the model was
    trained on, gives `Abstain`; one that shows nothing (`state.BLIND`) also leaves the carried state as it was, just as
    in training. So does one that the model cannot take or fails at; it counts as left out, of which `Course` says what
    follows. No answer depends on how long it took.
    """

    def __init__(self, session: ort.InferenceSession, card: ModelCard, digest: str) -> None:
        self.card = card
        self.digest = digest
        """The file's seal: names the model in every message."""
        self.session = session
        self._symbol = card.spec.market.symbol
        self._course = Course(card.spec.market.step_seconds * 1_000_000_000)
        self._admission = Admission(card)
        self._engine = Engine(session, card)

    @property
    def spec(self) -> Spec:
        """What frames must be made with."""
        return self.card.spec

    def step(self, frame: Frame) -> Prediction | Abstain:
        """The probabilities at a frame's close, or why there are none; `StepError` for a frame out of order or of
        another symbol, which changes nothing.
        """
        if frame.symbol != self._symbol:
            raise StepError(f"this model was trained for {self._symbol}, the frame is of {frame.symbol}")
        course, engine = self._course, self._engine
        if frame.close_ns <= course.closed_ns:
            raise StepError(f"a frame at {frame.close_ns} cannot follow one at {course.closed_ns}")
        lacking = course.follow(frame.close_ns)
        if (misshapen := self._admission.misshapen(frame)) is not None:
            course.lost()
            return Abstain(frame.symbol, frame.close_ns, (misshapen,))
        reasons = self._admission.reasons(frame, lacking)
        if reasons and frame.unhealthy & BLIND:
            return Abstain(frame.symbol, frame.close_ns, reasons)
        engine.channels[...] = frame.channels
        engine.scalars[...] = frame.scalars
        try:
            made = engine.run()
        except Exception as error:  # ONNX Runtime raises a dozen types of its own
            course.lost()
            return Abstain(frame.symbol, frame.close_ns, (*reasons, f"the model failed: {one_line(error)}"))
        if not made.finite():
            course.lost()
            return Abstain(frame.symbol, frame.close_ns, (*reasons, NOT_FINITE))
        engine.go_on()
        course.taken()
        if reasons:
            return Abstain(frame.symbol, frame.close_ns, reasons)
        # A copy: the buffer is written to again, and what was answered stays as it was.
        probabilities = made.probabilities.copy()
        return Prediction(frame.symbol, frame.close_ns, probabilities, self._admission.degraded(frame))

    def snapshot(self) -> tuple[int, bytes]:
        """The last close and the carried state."""
        return self._course.snapshot(self._engine.state)

    def restore(self, closed_ns: int, state: bytes) -> None:
        """Go on from a snapshot; `StepError`, and nothing has changed, if it does not fit this model."""
        self._engine.state[...] = self._course.restore(closed_ns, state, self.card.hidden)


def load(path: str | Path, providers: Sequence[str] = CPU, threads: int = 1, spinning: bool = False) -> Predictor:
    """A predictor from a model file, which is verified before any of it is used (`opened`).

    A name as `models:/squeeze@champion` fetches the file from a tracking store first (`squeeze.registry`). `providers`
    are ONNX Runtime's names, best first, `threads` and `spinning` those of `engine.open_session`.
    """
    if str(path).startswith(("models:/", "runs:/")):
        from squeeze.registry import fetched  # it needs MLflow; a plain file does not

        with fetched(str(path)) as file:
            return load(file, providers, threads, spinning)
    return Predictor(*opened(path, providers, threads, spinning))


def opened(
    path: str | Path, providers: Sequence[str] = CPU, threads: int = 1, spinning: bool = False
) -> tuple[ort.InferenceSession, ModelCard, str]:
    """Session, card and seal of a model file.

    `ModelFileError` if it is not ours or was altered, speaks another spec version, holds an operation that no export of
    ours has or more than a model needs, or was trained on other inputs than this release makes; `ConfigError` for a
    provider that is not there.
    """
    place = str(path)
    model, digest = read(path)
    graph = check_graph(model, place)
    card = read_card(graph.metadata, place)
    session = open_session(model, place, providers, threads, spinning)
    _check_signature(session, card, place)
    _check_names(card, place)
    return session, card, digest


def any_rows(session: ort.InferenceSession) -> bool:
    """Whether a graph takes any number of symbols at once; files of release 0.1 take one."""
    return isinstance(session.get_inputs()[0].shape[0], str)


def _check_signature(session: ort.InferenceSession, card: ModelCard, place: str) -> None:
    spec = card.spec
    rows = session.get_inputs()[0].shape[0] if session.get_inputs() and any_rows(session) else len(SIDES)
    expected = {
        "channels": [rows, len(card.channel_names), spec.frame.price_bins],
        "scalars": [rows, len(card.scalar_names)],
        "state": [rows, card.hidden],
        "probabilities": [rows, len(spec.label.horizons_minutes)],
        "next_state": [rows, card.hidden],
    }
    found = {tensor.name: list(tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())}
    if found != expected:
        raise ModelFileError(f"{place}: its graph takes and gives {found}, its card says {expected}")
    if wrong := [t.name for t in (*session.get_inputs(), *session.get_outputs()) if t.type != "tensor(float)"]:
        raise ModelFileError(f"{place}: its graph's {', '.join(wrong)} are not float32")


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
