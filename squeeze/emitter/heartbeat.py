"""Still here, and how well: the message whose absence means that nothing is to be trusted any more."""

import msgspec

from squeeze.signals.message import HeartbeatMessage
from squeeze.signals.transition import digest
from squeeze.stream import Stream

EVERY_SECONDS = 5
VALID_US = 10_000_000


def heartbeat(stream: Stream, now_ns: int, waiting: int, health: tuple[str, ...]) -> HeartbeatMessage | None:
    """A stream's heartbeat; None before it has said anything.

    It uses up no number: `stream_seq` is that of the newest message, so that who has not got that one knows it.
    `health` is what is wrong besides what the stream itself says: why the model abstains, which side has gone stale.
    """
    if stream.stream_seq == 0:
        return None
    word = stream.word
    quiet = () if word is None or word.probabilities is not None else word.reasons
    states = stream.states
    stale = tuple(f"{side}: {state}" for side, state in states.items() if state in ("stale", "halted"))
    us = now_ns // 1000
    return HeartbeatMessage(
        **msgspec.structs.asdict(stream.envelope),
        event_id=digest(f"{stream.envelope.stream}|heartbeat|{us}"),
        stream_seq=stream.stream_seq - 1,
        ts_data_us=us,
        valid_until_us=us + VALID_US,
        mark=stream.mark,
        health=(*quiet, *stale, *health),
        states=states,
        waiting=waiting,
    )
