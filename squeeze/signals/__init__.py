"""From calibrated probabilities to signals: the machine that decides, and the JSON lines that say so."""

from squeeze.signals.machine import SignalMachine, Transition
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

__all__ = [
    "AbstainMessage",
    "AnyMessage",
    "Message",
    "ProbabilityMessage",
    "SignalMachine",
    "SignalMessage",
    "Transition",
    "decimal_text",
    "decode",
    "encode",
]
