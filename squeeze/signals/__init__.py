"""From calibrated probabilities to signals: the machine that decides, and the JSON lines that say so."""

from squeeze.signals.envelope import Envelope
from squeeze.signals.machine import SignalMachine
from squeeze.signals.message import (
    AbstainMessage,
    AnyMessage,
    Message,
    ProbabilityMessage,
    SignalMessage,
    decimal_text,
    decode,
    encode,
)
from squeeze.signals.strategy import StrategySpec, read_strategy
from squeeze.signals.transition import Transition
from squeeze.signals.view import View, Word

__all__ = [
    "AbstainMessage",
    "AnyMessage",
    "Envelope",
    "Message",
    "ProbabilityMessage",
    "SignalMachine",
    "SignalMessage",
    "StrategySpec",
    "Transition",
    "View",
    "Word",
    "decimal_text",
    "decode",
    "encode",
    "read_strategy",
]
