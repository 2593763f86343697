"""The squeeze predictor: calibrated probabilities that longs or shorts are about to be liquidated in a cascade.

    events ─► StepBuilder ─► Step ─► MarketState.advance ─► Frame ─► Predictor.step ─► Prediction | Abstain
                                                                                             │
                                         Stream joins all of it: on_event, on_clock ─► SignalMachine ─► messages

History is a fold of the step that runs live. What is re-exported here is the live surface; it loads neither torch nor
mlflow.
"""

from squeeze.market.events import Bar, Funding, Liquidation, LiquidationSum, OpenInterest
from squeeze.market.steps import Step, StepBuilder
from squeeze.predictor import Abstain, Prediction, Predictor, load
from squeeze.signals.message import encode
from squeeze.spec import Spec
from squeeze.state import Frame, MarketState
from squeeze.stream import Stream, replay

__all__ = [
    "Abstain",
    "Bar",
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
    "replay",
]
