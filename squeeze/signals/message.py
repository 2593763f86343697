"""What the predictor says: one JSON line per message, the same bytes for the same input.

    {"type":"probability", ...}    how likely each side is to be liquidated within each horizon
    {"type":"abstain", ...}        no number this time, and why not
    {"type":"signal", ...}         the signal machine changed state

Times are UTC nanoseconds of the data or of the machine's own clock, which a replay feeds again; nothing here asks what
time it is. A consumer that sees a hole in `sequence` has missed a message, and one that has seen an `event_id` may drop
the copy.
"""

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

Side = Literal["long", "short"]
"""Whose positions would be squeezed: `long` when the price falls, `short` when it rises."""

State = Literal["idle", "armed", "fired", "cooling"]

Reason = Literal[
    "over_arm_threshold",
    "over_fire_threshold",
    "under_arm_threshold",
    "horizon_elapsed",
    "cooldown_elapsed",
    "abstain",
]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages have in common."""

    schema_version: Literal["1.0"] = "1.0"
    model: str
    """Digest of the model file."""
    symbol: str
    ts_data_ns: int
    """The data cut: nothing that became known later has been used."""
    sequence: int
    """Rises by one with every message of a stream, whatever its type."""
    mark: str | None
    """Mark price at the data cut as a decimal string, in quote currency; null where there is none."""


class ProbabilityMessage(Message, tag="probability", frozen=True, kw_only=True):
    """Calibrated probabilities by side and by horizon in minutes, with the base rates to read them against."""

    probabilities: dict[Side, dict[str, float]]
    base_rates: dict[Side, dict[str, float]]
    degraded: tuple[str, ...] = ()
    """Names of the inputs that were substituted, such as `mark_is_last`; empty when all were there."""
    drift: tuple[str, ...] = ()
    """Inputs, and levels of the probability, that have drifted from what training saw; see `squeeze.drift`."""


class AbstainMessage(Message, tag="abstain", frozen=True, kw_only=True):
    """No probability can be given."""

    reasons: tuple[str, ...]


class SignalMessage(Message, tag="signal", frozen=True, kw_only=True):
    """One transition of the signal machine. A signal lives from `armed` until it is `idle` again."""

    signal_id: str
    """The same from `armed` to the end: `squeeze.signals.machine.signal_id`."""
    event_id: str
    """The key to drop copies by: `squeeze.signals.machine.event_id`."""
    seq: int
    """0, 1, 2 … within a signal."""
    side: Side
    state: State
    previous_state: State
    reason: Reason
    abstain_reasons: tuple[str, ...] = ()
    """Why there was no probability, where `reason` is `abstain`."""
    at_ns: int
    """When the machine's clock decided; at or after the data cut."""
    valid_until_ns: int
    """When this message, left without a successor, no longer means anything."""
    probability: float | None
    """Newest probability of the watched horizon; null while the model abstains or its last word is stale."""
    base_rate: float
    horizon_minutes: int


AnyMessage = ProbabilityMessage | AbstainMessage | SignalMessage

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def encode(message: Message) -> bytes:
    r"""One JSON line, newline included: fields in the order of their class, keys of mappings sorted.

    Raises `ValueError` that names the field for a number that is not finite (JSON has no NaN, and a null would read as
    "abstained") and for a mark that is not a decimal.

    >>> line = encode(AbstainMessage(model="m", symbol="DOT", ts_data_ns=0, sequence=7, mark="4.2", reasons=("gap",)))
    >>> line[:18], line[96:]
    (b'{"type":"abstain",', b'"mark":"4.2","reasons":["gap"]}\n')
    """
    for place, number in _numbers(msgspec.to_builtins(message), ""):
        if not math.isfinite(number):
            raise ValueError(f"{place} must be finite, got {number}")
    if message.mark is not None and not _DECIMAL.fullmatch(message.mark):
        raise ValueError(f"mark must be a finite decimal, got {message.mark!r}")
    return _encoder.encode(message) + b"\n"


def decode(line: bytes | str) -> AnyMessage:
    """The message a line holds; `msgspec.ValidationError` names the field that is not as it should be."""
    return _decoder.decode(line)


def decimal_text(value: float | None) -> str | None:
    """A price as a decimal string, without exponent; None for None, `ValueError` where it is not finite.

    >>> decimal_text(64000.5), decimal_text(1.25e-7), decimal_text(None)
    ('64000.5', '0.000000125', None)
    """
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"a price must be finite, got {value}")
    return format(Decimal(repr(float(value))), "f")


def _numbers(value: object, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}" if place else str(key))
