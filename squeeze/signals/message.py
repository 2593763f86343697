"""What the predictor says: one JSON line per message, the same bytes for the same input but for the time of sending.

    {"type":"probability", ...}    how likely each side is to be liquidated within each horizon
    {"type":"abstain", ...}        no number this time, and why not
    {"type":"state" | "entry" | "update" | "exit" | "cancel" | "protect", ...}    the signal machine moved
    {"type":"alert", ...}          a rule of the user's came true
    {"type":"heartbeat", ...}      still here, and how well; its absence means: stop trusting

The schema is that of domain.md §6.3. Times are UTC microseconds, which every JSON reader holds exactly (nanoseconds of
today exceed 2^53). Prices and quantities are decimal strings. A consumer that sees a hole in `stream_seq` has missed a
message, one that has seen an `event_id` drops the copy, and after `valid_until_us` a message means nothing any more.
"""

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

Side = Literal["long", "short"]
"""Whose positions would be squeezed: `long` when the price falls, `short` when it rises."""
Direction = Literal["down", "up"]
"""Where the price goes in a squeeze of that side."""
Mode = Literal["continuation", "reversion"]
"""What an entry bets on after the cascade."""

State = Literal[
    "idle", "zone_ahead", "approach", "triggered", "cascade", "aftermath", "entry", "managed", "done", "invalidated",
    "stale", "halted",
]  # fmt: skip
SIGNAL_TYPES = ("state", "entry", "update", "exit", "cancel", "protect")
SCHEMA_VERSION = "1.0"


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages have in common."""

    schema_version: Literal["1.0"] = "1.0"
    producer: str
    """Name and release of this program."""
    model_version: str
    """Digest of the model file."""
    map_version: str
    """Digest of how the heatmap is made."""
    config_hash: str
    """Digest of the strategy's settings."""
    event_id: str
    """First 16 hex digits of a SHA-256: the key to drop copies by."""
    stream: str
    """One for each symbol."""
    stream_seq: int
    """Rises by one with every message of a stream; a heartbeat repeats the newest."""
    symbol: str
    ts_data_us: int
    """The data cut: nothing that became known later has been used."""
    ts_emit_us: int | None = None
    """When it was put into the outbox; the one field that a replay does not repeat."""
    valid_until_us: int
    mark: str | None
    """Mark price at the data cut, in quote currency; null where there is none."""


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


class ZoneFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The zone that a signal is about."""

    id: str
    side: Side
    low: str
    high: str
    centroid: str
    usd: float
    share_open_interest: float
    thickness_rank: float | None
    age_hours: float
    stack: int
    venue_shares: dict[str, float] | None = None
    """What part of the zone each venue's map holds; null where that is not known, or nothing is left of it."""


class MarketFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The market around it; null where not recorded."""

    mark: str | None
    mid: str | None
    spread_bp: float | None
    volatility_1h_rank: float | None
    velocity_sigma: float | None
    """Toward the zone, in deviations of a minute."""
    eta_seconds: float | None
    open_interest_change_1h: float | None
    funding_8h: float | None


class CascadeFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cascade as far as it went."""

    onset_us: int
    end_us: int | None
    peak_usd_minute: float | None
    """The greatest sum of a minute; null where no feed could be trusted, as for the next two."""
    cleared_usd: float | None
    depletion: float | None
    """Share of the zones' estimated USD that was seen liquidated (ρ_obs of domain.md §4.2, 8)."""
    zones_passed: int


class Trail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the stop follows."""

    activates: str
    """Price at which it begins: one risk in profit."""
    distance: str
    """Behind the best price, in quote currency."""


class OrderAdvice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bot may do; never an order that was sent."""

    side: Literal["buy", "sell"]
    entry_type: Literal["limit", "market"]
    entry_low: str
    entry_high: str
    stop: str
    targets: tuple[str, ...]
    trail: Trail
    risk_percent: float
    """Of equity, lost if the stop is hit: never above the cap."""
    quantity: str
    """In base coins, a whole number of the exchange's steps."""
    notional_usd: float
    max_leverage: float
    """With more than this the position's own liquidation price would be nearer than three stop distances."""
    own_liquidation: str


class Quality(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the inputs can be trusted."""

    score: float
    """In [0, 1]; it scales the risk."""
    flags: tuple[str, ...]
    venue_age_ms: dict[str, int]
    liquidation_completeness: dict[str, str | None] = {}
    """By venue: `complete`, `sampled` or `undercounted`, as the exchange documents its feed; null where not known."""


class SignalMessage(Message, frozen=True, kw_only=True):
    """A move of the signal machine. A signal lives from `zone_ahead` to one `exit` or `cancel`."""

    signal_id: str
    """The same through the life of a setup (`signals.transition.signal_id`); empty where a move belongs to none."""
    seq: int
    """0, 1, 2 … within a signal."""
    side: Side
    direction: Direction
    state: State
    prev_state: State
    reason_codes: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    """The same and the flagged patterns in plain words."""
    mode: Mode | None
    probs: dict[str, dict[Side, float]] | None
    """By horizon (`h15`) and side; null while the model abstains or its last word is stale."""
    base_rate: float
    calibration_id: str
    zone: ZoneFacts | None
    market: MarketFacts
    cascade: CascadeFacts | None = None
    order_advice: OrderAdvice | None = None
    """Only in `entry` and `update`."""
    checklist: tuple[dict[str, str], ...] | None = None
    """The five questions before a trade (`squeeze checklist`), only in `entry`."""
    quality: Quality
    supersedes: str | None = None
    """The event that this one replaces."""


class StateMessage(SignalMessage, tag="state", frozen=True, kw_only=True):
    """The machine moved; nothing to do."""


class EntryMessage(SignalMessage, tag="entry", frozen=True, kw_only=True):
    """A trade is advised, until `valid_until_us` and not a moment longer."""


class UpdateMessage(SignalMessage, tag="update", frozen=True, kw_only=True):
    """Stop, size or targets of an open trade change."""


class ExitMessage(SignalMessage, tag="exit", frozen=True, kw_only=True):
    """The trade is over: terminal."""

    r_multiple: float | None = None
    """What it brought after two taker fees, in risks to the first stop; null in messages of before this field."""


class CancelMessage(SignalMessage, tag="cancel", frozen=True, kw_only=True):
    """The setup came to nothing: terminal."""


class ProtectMessage(SignalMessage, tag="protect", frozen=True, kw_only=True):
    """During an open trade data went stale, trading was halted, or the program restarted: tighten or flatten."""


class AlertMessage(Message, tag="alert", frozen=True, kw_only=True):
    """A rule of the user's came true."""

    rule: str
    """Its name in the rules file."""
    text: str
    facts: dict[str, float | str]


class HeartbeatMessage(Message, tag="heartbeat", frozen=True, kw_only=True):
    """Every few seconds; the newest number of the stream is `stream_seq`."""

    health: tuple[str, ...]
    """What is wrong; empty when all is well."""
    states: dict[Side, State]
    waiting: int
    """Messages that some sink has not taken yet."""


AnyMessage = (
    ProbabilityMessage | AbstainMessage | StateMessage | EntryMessage | UpdateMessage | ExitMessage | CancelMessage
    | ProtectMessage | AlertMessage | HeartbeatMessage
)  # fmt: skip

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def encode(message: Message) -> bytes:
    r"""One JSON line, newline included: fields in the order of their class, keys of mappings sorted.

    Raises `ValueError` that names the field for a number that is not finite (JSON has no NaN, and a null would read as
    "abstained") and for a mark that is not a decimal.

    >>> line = encode(AbstainMessage(
    ...     producer="squeeze 1", model_version="m", map_version="h", config_hash="c", event_id="e", stream="DOT",
    ...     stream_seq=7, symbol="DOT", ts_data_us=0, valid_until_us=1, mark="4.2", reasons=("gap",)))
    >>> line[:18], line[-28:]
    (b'{"type":"abstain",', b'k":"4.2","reasons":["gap"]}\n')
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
    text = repr(float(value))
    return format(Decimal(text), "f") if "e" in text else text


def _numbers(value: object, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}" if place else str(key))
