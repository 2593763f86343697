"""A stream at rest: all of it as sealed bytes, and back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from squeeze.errors import SqueezeError, StepError
from squeeze.sealed import Header, seal, unseal
from squeeze.signals.kept_scene import Packed, pack, unpack
from squeeze.signals.look import LookoutState
from squeeze.signals.message import Side
from squeeze.signals.rules import RulesState
from squeeze.signals.view import Word

if TYPE_CHECKING:
    from squeeze.stream import Stream


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stream at rest: the body of what `Stream.snapshot` writes."""

    stream_seq: int
    next_close_ns: int | None
    now_ns: int | None
    doubted_ns: int | None
    mark: str | None
    word: Word | None
    market: bytes
    predictor: tuple[int, bytes]
    machine: dict[str, Any]
    builder: dict[str, Any]
    lookout: LookoutState
    scene: Packed | None
    ahead: dict[Side, Packed | None]
    drift: bytes | None
    drifted: tuple[str, ...]
    rules: RulesState


def freeze(stream: "Stream") -> Callable[[], bytes]:
    """The stream as it is now: what is returned makes the bytes of its snapshot, in any thread, at any time."""
    market, parts = stream.market.freeze(), _parts(stream, b"")
    header, rest = _header(stream, bool(parts.machine)), msgspec.msgpack.encode(parts)  # nothing is shared any more

    def sealed() -> bytes:
        whole = msgspec.structs.replace(msgspec.msgpack.decode(rest, type=Snapshot), market=market())
        return seal(header, msgspec.msgpack.encode(whole))

    return sealed


def restore(stream: "Stream", snapshot: bytes) -> None:
    """Let a stream go on from a snapshot of the same model, spec and strategy; `StepError` for any other, and nothing
    has changed.
    """
    body = unseal(snapshot, _header(stream, True))
    try:
        state = msgspec.msgpack.decode(body, type=Snapshot)
    except msgspec.MsgspecError as error:
        raise StepError(f"not a stream's snapshot: {error}") from None
    before = _parts(stream)
    try:
        _take(stream, state)
    except (SqueezeError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        _take(stream, before)
        raise StepError(f"not a stream's snapshot: {error}") from None


def _header(stream: "Stream", used: bool) -> Header:
    return Header(
        model=stream.predictor.digest, spec=stream.spec.digest(), strategy=stream.strategy.digest(), used=used
    )  # fmt: skip


def _parts(stream: "Stream", market: bytes | None = None) -> Snapshot:
    machine = stream.machine.snapshot()
    fresh = stream.fresh_machine().snapshot()
    is_fresh = msgspec.msgpack.encode(machine) == msgspec.msgpack.encode(fresh)  # NaN is not NaN in Python
    return Snapshot(
        stream_seq=stream.stream_seq,
        next_close_ns=stream.next_close_ns,
        now_ns=stream.now_ns,
        doubted_ns=stream.doubted_ns,
        mark=stream.mark,
        word=stream.word,
        market=stream.market.snapshot() if market is None else market,
        predictor=stream.predictor.snapshot(),
        machine={} if is_fresh else machine,
        builder=stream.builder.snapshot(),
        lookout=stream.lookout.snapshot(),
        scene=pack(stream.lookout.scene),
        ahead={side: pack(scene) for side, scene in stream.ahead.items()},
        drift=None if stream.drift is None else stream.drift.snapshot(),
        drifted=stream.drifted,
        rules=stream.rules.snapshot(),
    )


def _take(stream: "Stream", state: Snapshot) -> None:
    stream.market.restore(state.market)
    stream.predictor.restore(*state.predictor)
    stream.machine = stream.fresh_machine()
    if state.machine:
        stream.machine.restore(state.machine)
    stream.builder.restore(state.builder)
    stream.lookout.restore(state.lookout)
    stream.lookout.scene = unpack(state.scene)
    stream.ahead = {side: unpack(scene) for side, scene in state.ahead.items()}
    if stream.drift is not None and state.drift is not None:
        stream.drift.restore(state.drift)
    stream.stream_seq, stream.next_close_ns = state.stream_seq, state.next_close_ns
    stream.now_ns, stream.doubted_ns = state.now_ns, state.doubted_ns
    stream.mark, stream.word, stream.drifted = state.mark, state.word, state.drifted
    stream.rules.restore(state.rules)
