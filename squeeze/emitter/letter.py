"""A message as it is kept and sent: its bytes, and what must be known of it without reading them."""

import time

import msgspec

from squeeze.signals.message import Message, encode


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose bytes are final: `ts_emit_us` is filled in."""

    position: int = 0
    """Its place in the outbox, from 1; 0 for what is not kept there."""
    event_id: str
    stream: str
    stream_seq: int
    type: str
    ts_emit_us: int
    valid_until_us: int
    body: bytes
    """JSON, without a newline."""

    def expired(self, now_us: int) -> bool:
        """Whether it advises something that must not be done any more: an entry after its time."""
        return self.type == "entry" and now_us > self.valid_until_us


def now_us() -> int:
    """UTC now in microseconds."""
    return time.time_ns() // 1000


def seal(message: Message, now_us: int) -> Letter:
    """A message as it will be sent, emitted now; `ValueError` for one that cannot be written as JSON."""
    final = msgspec.structs.replace(message, ts_emit_us=now_us)
    return Letter(
        event_id=message.event_id,
        stream=message.stream,
        stream_seq=message.stream_seq,
        type=str(message.__struct_config__.tag),
        ts_emit_us=now_us,
        valid_until_us=message.valid_until_us,
        body=encode(final).rstrip(b"\n"),
    )
