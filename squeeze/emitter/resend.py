"""Dead letters sent once more: after whoever refused them was mended, and while no `squeeze run` writes the outbox."""

from collections.abc import Callable, Sequence

import msgspec

from squeeze.emitter.letter import Letter, now_us
from squeeze.emitter.outbox import Outbox
from squeeze.emitter.sinks.sink import Refused, Sink, SinkSpec
from squeeze.errors import ConfigError, one_line
from squeeze.signals.message import decode


class Resent(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one sink's dead letters."""

    sink: str
    sent: int
    expired: int
    """Entries whose time is over: they stay, and are never sent."""
    left: int
    """All that stay."""
    problem: str
    """Why not all were sent; empty when only expired ones are left."""


def resend(outbox: Outbox, specs: Sequence[SinkSpec], now: Callable[[], int] = now_us) -> list[Resent]:
    """Send the dead letters of these sinks, oldest first, with the ids they had; those taken are forgotten.

    A letter that is refused again stays, and the next one has its turn; a sink that is down ends its turn. Raises
    `ConfigError` where dead letters are of a sink that is not among these, and then nothing is sent.
    """
    held = outbox.dead()
    if strange := sorted(set(held) - {spec.name for spec in specs}):
        raise ConfigError(f"dead letters of the sink {strange[0]!r}, which the sinks file does not name")
    found = []
    for spec in specs:
        if spec.name in held:
            sink = spec.make(outbox.path)
            try:
                found.append(_resend(outbox, spec.name, sink, held[spec.name], now))
            finally:
                sink.close()
    return found


def _resend(outbox: Outbox, name: str, sink: Sink, bodies: Sequence[bytes], now: Callable[[], int]) -> Resent:
    sent, expired, problem = 0, 0, ""
    for letter in sorted(map(_letter, bodies), key=lambda x: (x.ts_emit_us, x.stream, x.stream_seq)):
        if letter.expired(now()):
            expired += 1
            continue
        try:
            sink.send([letter])
        except Refused as error:
            problem = one_line(error)
            continue
        except Exception as error:  # whatever is wrong with it, what was sent before is sent
            problem = one_line(error) or type(error).__name__
            break
        outbox.revived(name, letter.event_id)
        sent += 1
    return Resent(sink=name, sent=sent, expired=expired, left=len(bodies) - sent, problem=problem)


def _letter(body: bytes) -> Letter:
    """A letter as it was; its place in the outbox is no longer known."""
    message = decode(body)
    return Letter(
        event_id=message.event_id,
        stream=message.stream,
        stream_seq=message.stream_seq,
        type=str(message.__struct_config__.tag),
        ts_emit_us=message.ts_emit_us or 0,
        valid_until_us=message.valid_until_us,
        body=body,
    )
