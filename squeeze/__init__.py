"""The squeeze predictor: calibrated probabilities that longs or shorts are about to be liquidated in a cascade.

    events ─► StepBuilder ─► Step ─► MarketState.advance ─► Frame ─► Predictor.step ─► Prediction | Abstain
                                                                                             │
                                         Stream joins all of it: on_event, on_clock ─► SignalMachine ─► messages

History is a fold of the step that runs live. What is re-exported here is the live surface; it loads neither torch nor
mlflow, and each name is imported when it is first used: NumPy, numba and ONNX Runtime take most of a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from squeeze.batch import BatchPredictor, load_batch
    from squeeze.market.events import Bar, Funding, Liquidation, LiquidationSum, OpenInterest
    from squeeze.market.steps import Step, StepBuilder
    from squeeze.predictor import Abstain, Prediction, Predictor, load
    from squeeze.replaying import replay
    from squeeze.signals.message import encode
    from squeeze.spec import Spec
    from squeeze.state import Frame, MarketState
    from squeeze.stream import Stream

__all__ = [
    "Abstain",
    "Bar",
    "BatchPredictor",
    "Frame",
    "Funding",
    "Liquidation",
    "LiquidationSum",
    "MarketState",
    "OpenInterest",
    "Prediction",
    "Predictor",
    "Spec",
    "Step",
    "StepBuilder",
    "Stream",
    "encode",
    "load",
    "load_batch",
    "replay",
]

_HOME = {
    "batch": ("BatchPredictor", "load_batch"),
    "market.events": ("Bar", "Funding", "Liquidation", "LiquidationSum", "OpenInterest"),
    "market.steps": ("Step", "StepBuilder"),
    "predictor": ("Abstain", "Prediction", "Predictor", "load"),
    "replaying": ("replay",),
    "signals.message": ("encode",),
    "spec": ("Spec",),
    "state": ("Frame", "MarketState"),
    "stream": ("Stream",),
}
_MODULE = {name: f"squeeze.{module}" for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module 'squeeze' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
