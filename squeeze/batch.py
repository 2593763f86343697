"""Many symbols, one model: those that close together are answered in one run, each with its own carried state."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from squeeze.admission import Admission, Course
from squeeze.arrays import SIDES
from squeeze.engine import CPU, Engine
from squeeze.errors import ConfigError, StepError, one_line
from squeeze.model_file import ModelCard
from squeeze.predictor import NOT_FINITE, Abstain, Prediction, any_rows, opened
from squeeze.spec import Spec
from squeeze.state import BLIND, Frame

SIZES = (1, 8, 32, 128)
"""How many symbols a run can be of. More at once are slower: their frames no longer fit into a core's cache."""


class BatchPredictor:
    """`Predictor` for many symbols: each is answered just as one alone would be, whoever else is in the call.

    A model file names the symbol it was trained on. Whoever names others here says that it holds for them too. A frame
    is refused, or gives `Abstain`, for the same reasons as there; one symbol's trouble is not another's. Files of
    release 0.1, whose graph takes one symbol, are run one after another.
    """

    def __init__(self, session: ort.InferenceSession, card: ModelCard, digest: str, symbols: Sequence[str]) -> None:
        if not symbols or len(set(symbols)) != len(symbols):
            raise ConfigError(f"symbols: one or more, each named once, got {len(symbols)}")
        self.card = card
        self.digest = digest
        self.symbols = tuple(symbols)
        self._session = session
        self._admission = Admission(card)
        self._sizes = SIZES if any_rows(session) else SIZES[:1]
        self._engines: dict[int, Engine] = {}
        self._at = {symbol: at for at, symbol in enumerate(self.symbols)}
        length_ns = card.spec.market.step_seconds * 1_000_000_000
        self._courses = [Course(length_ns) for _ in self.symbols]
        self._states = np.zeros((len(self.symbols), len(SIDES), card.hidden), np.float32)

    @property
    def spec(self) -> Spec:
        """What frames must be made with, but for the symbol."""
        return self.card.spec

    def step(self, frames: Mapping[str, Frame]) -> dict[str, Prediction | Abstain]:
        """Each symbol's probabilities, or why there are none, in the order of `frames`, which need not hold them all.

        `StepError` for a symbol that was not named, or a frame out of order or under another symbol's key; then nothing
        has changed for any of them.
        """
        for symbol, frame in frames.items():
            self._check(symbol, frame)
        answers: dict[str, Prediction | Abstain] = {}
        seen: list[tuple[int, Frame, tuple[str, ...]]] = []
        places, courses, admission = self._at, self._courses, self._admission
        for symbol, frame in frames.items():
            at = places[symbol]
            lacking = courses[at].follow(frame.close_ns)
            if (misshapen := admission.misshapen(frame)) is not None:
                courses[at].lost()
                answers[symbol] = Abstain(symbol, frame.close_ns, (misshapen,))
                continue
            reasons = admission.reasons(frame, lacking)
            answers[symbol] = Abstain(symbol, frame.close_ns, reasons) if reasons else _WAITING
            if not (reasons and frame.unhealthy & BLIND):
                seen.append((at, frame, reasons))
        while seen:
            size = next((size for size in self._sizes if size >= len(seen)), self._sizes[-1])
            self._run(size, seen[:size], answers)
            del seen[:size]
        return answers

    def _check(self, symbol: str, frame: Frame) -> None:
        if symbol not in self._at:
            raise StepError(f"{symbol} is not among the {len(self.symbols)} symbols of this predictor")
        if frame.symbol != symbol:
            raise StepError(f"the frame given for {symbol} is of {frame.symbol}")
        closed_ns = self._courses[self._at[symbol]].closed_ns
        if frame.close_ns <= closed_ns:
            raise StepError(f"{symbol}: a frame at {frame.close_ns} cannot follow one at {closed_ns}")

    def _run(
        self, size: int, seen: list[tuple[int, Frame, tuple[str, ...]]], answers: dict[str, Prediction | Abstain]
    ) -> None:
        """Answer up to `size` symbols; the rows beyond them hold what was there, and nobody reads them."""
        engine = self._engines.get(size)
        if engine is None:
            engine = self._engines[size] = Engine(self._session, self.card, size * len(SIDES))
        places, rows = [at for at, _, _ in seen], len(seen) * len(SIDES)
        np.concatenate([frame.channels for _, frame, _ in seen], out=engine.channels[:rows])
        np.concatenate([frame.scalars for _, frame, _ in seen], out=engine.scalars[:rows])
        engine.state[:rows] = self._states[places].reshape(rows, -1)
        try:
            made = engine.run()
        except Exception as error:  # ONNX Runtime raises a dozen types of its own
            for at, frame, reasons in seen:
                self._courses[at].lost()
                said = (*reasons, f"the model failed: {one_line(error)}")
                answers[frame.symbol] = Abstain(frame.symbol, frame.close_ns, said)
            return
        by_symbol = (len(seen), len(SIDES), -1)
        probabilities = made.probabilities[:rows].reshape(by_symbol).copy()
        after = made.next_state[:rows].reshape(by_symbol)
        finite = np.logical_and(np.isfinite(probabilities).all(axis=(1, 2)), np.isfinite(after).all(axis=(1, 2)))
        self._states[np.array(places)[finite]] = after[finite]
        for number, is_finite, (at, frame, reasons) in zip(probabilities, finite.tolist(), seen, strict=True):
            if not is_finite:
                self._courses[at].lost()
                answers[frame.symbol] = Abstain(frame.symbol, frame.close_ns, (*reasons, NOT_FINITE))
                continue
            self._courses[at].taken()
            if not reasons:
                degraded = self._admission.degraded(frame)
                answers[frame.symbol] = Prediction(frame.symbol, frame.close_ns, number, degraded)

    def snapshot(self, symbol: str) -> tuple[int, bytes]:
        """One symbol's last close and carried state, as `Predictor.snapshot` gives them."""
        at = self._place(symbol)
        return self._courses[at].snapshot(self._states[at])

    def restore(self, symbol: str, closed_ns: int, state: bytes) -> None:
        """Have one symbol go on from a snapshot; `StepError`, and nothing has changed, if it does not fit."""
        at = self._place(symbol)
        self._states[at] = self._courses[at].restore(closed_ns, state, self.card.hidden)

    def _place(self, symbol: str) -> int:
        if symbol not in self._at:
            raise StepError(f"{symbol} is not among the {len(self.symbols)} symbols of this predictor")
        return self._at[symbol]


_WAITING = Abstain("", 0, ("not answered",))
"""Holds a symbol's place in the order of answers until the model has run."""


def load_batch(
    path: str | Path,
    symbols: Sequence[str],
    providers: Sequence[str] = CPU,
    threads: int = 1,
    spinning: bool = False,
) -> BatchPredictor:
    """A predictor of many symbols from one model file, verified as by `predictor.load`."""
    return BatchPredictor(*opened(path, providers, threads, spinning), symbols)
