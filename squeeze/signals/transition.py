"""A move of the signal machine: a signal message without its place in a stream, and the names that go with it.

The machine says what happened, the stream who says it (`Envelope`) and as the how manieth (`stream_seq`), the outbox
when it was sent.
"""

import hashlib
from typing import Literal

import msgspec

from squeeze.signals.envelope import Envelope
from squeeze.signals.message import (
    CancelMessage,
    CascadeFacts,
    Direction,
    EntryMessage,
    ExitMessage,
    MarketFacts,
    Mode,
    OrderAdvice,
    ProtectMessage,
    Quality,
    Side,
    SignalMessage,
    State,
    StateMessage,
    UpdateMessage,
    ZoneFacts,
)

Kind = Literal["state", "entry", "update", "exit", "cancel", "protect"]
TERMINAL: tuple[Kind, ...] = ("exit", "cancel")

_MESSAGES: dict[Kind, type[SignalMessage]] = {
    "state": StateMessage,
    "entry": EntryMessage,
    "update": UpdateMessage,
    "exit": ExitMessage,
    "cancel": CancelMessage,
    "protect": ProtectMessage,
}


class Transition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `SignalMessage` that has not been put on a stream; the fields are those of the message."""

    type: Kind
    event_id: str
    ts_data_us: int
    valid_until_us: int
    mark: str | None
    signal_id: str
    """Empty where a move belongs to no setup: going stale or halted from rest, and coming back to rest."""
    seq: int
    side: Side
    direction: Direction
    state: State
    prev_state: State
    reason_codes: tuple[str, ...]
    reasons: tuple[str, ...]
    mode: Mode | None
    probs: dict[str, dict[Side, float]] | None
    base_rate: float
    calibration_id: str
    zone: ZoneFacts | None
    market: MarketFacts
    cascade: CascadeFacts | None
    order_advice: OrderAdvice | None
    checklist: tuple[dict[str, str], ...] | None = None
    """The machine leaves it open: the stream puts it into an entry."""
    quality: Quality
    supersedes: str | None
    r_multiple: float | None = None
    """Only of an exit."""

    @property
    def is_terminal(self) -> bool:
        """Whether the signal ends here; that happens once for each `signal_id`."""
        return self.type in TERMINAL

    def message(self, envelope: Envelope, stream_seq: int) -> SignalMessage:
        """What goes on the stream, of the class that its type names."""
        kind = _MESSAGES[self.type]
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name in kind.__struct_fields__}
        return kind(**msgspec.structs.asdict(envelope), stream_seq=stream_seq, **fields)


def signal_id(symbol: str, direction: Direction, zone_id: str, began_ms: int, model: str) -> str:
    """First 16 hex digits of the SHA-256 of `symbol|direction|zone_id|began_ms|model` (domain.md §6.3).

    `began_ms` is the look at which the zone was found ahead, in UTC milliseconds.

    >>> signal_id("BTCUSDT", "down", "long-17", 0, "digest")
    '1143c62eeb67fb03'
    """
    return digest(f"{symbol}|{direction}|{zone_id}|{began_ms}|{model}")


def event_id(signal: str, seq: int) -> str:
    """First 16 hex digits of the SHA-256 of `signal_id|seq`."""
    return digest(f"{signal}|{seq}")


def digest(text: str) -> str:
    """First 16 hex digits of a SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
