"""A stream that was warmed up once, as a file: a fresh process reads it and predicts at once.

    {"squeeze_state":1,"spec_version":2,"symbol":"…","until_ns":…,"seal":"…"}\n<Stream.snapshot()>

It is verified like a model: what was altered, cut off, too old, or made by another release, model or spec is refused in
one line that says which.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from squeeze.errors import StateFileError, StepError
from squeeze.files import whole
from squeeze.market.events import HOUR_NS, AnyEvent
from squeeze.market.lake import Lake, read_events
from squeeze.spec import SPEC_VERSION
from squeeze.stream import Stream
from squeeze.strict import Strict

FORMAT = 1
MOST_BYTES = 2_000_000_000


class Header(Strict, frozen=True, kw_only=True):
    """The first line of a state file."""

    squeeze_state: int = FORMAT
    """Version of this form."""
    spec_version: int = SPEC_VERSION
    """Of the release that wrote it."""
    symbol: str
    """The market that was folded."""
    until_ns: int
    """What became known before this has been taken in, and nothing else."""
    seal: str = ""
    """SHA-256 of this line with an empty seal, and of what follows."""


def write_state(stream: Stream, until_ns: int, path: Path) -> Header:
    """Put a stream that has taken in what became known before `until_ns` into a file, whole or not at all.

    `StateFileError` if it is still warming up, as there would be nothing to gain from it.
    """
    market = stream.market
    warm_ns = market.started_ns + round(stream.spec.market.warm_up_hours * HOUR_NS)
    if market.started_ns == 0 or market.closed_ns < warm_ns:
        have = (market.closed_ns - market.started_ns) / HOUR_NS if market.started_ns else 0.0
        raise StateFileError(
            f"{path}: {have:.1f} hours of {stream.spec.market.symbol} are no warm start: "
            f"its map warms up for {stream.spec.market.warm_up_hours:g}"
        )
    body = stream.snapshot()
    header = Header(symbol=stream.spec.market.symbol, until_ns=until_ns)
    header = msgspec.structs.replace(header, seal=_digest(header, body))
    with whole(path) as part, part.open("wb") as file:
        file.write(msgspec.json.encode(header) + b"\n")
        file.write(body)
    return header


def read_state(path: Path) -> tuple[Header, bytes]:
    """A state file's header and snapshot; `StateFileError` if it is not ours, not whole, or was altered."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise StateFileError(f"{path}: cannot be read: {error.strerror}") from None
    line, _, body = content.partition(b"\n")
    if not line.startswith(b'{"squeeze_state":'):
        raise StateFileError(f"{path}: is no state file; `squeeze warm` makes them")
    try:
        form = msgspec.json.decode(line, type=dict[str, object])
        header = msgspec.convert(form, Header) if form["squeeze_state"] == FORMAT else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise StateFileError(f"{path}: its first line cannot be read") from None
    if header is None:
        raise StateFileError(f"{path}: is a state file of form {form['squeeze_state']}, this release reads {FORMAT}")
    if header.seal != _digest(header, body):
        raise StateFileError(f"{path}: was altered or cut off: its seal does not hold")
    if header.spec_version != SPEC_VERSION:
        raise StateFileError(
            f"{path}: speaks spec version {header.spec_version}, this release {SPEC_VERSION}: warm up anew"
        )
    return header, body


def start_from(stream: Stream, path: Path, now_ns: int, most_hours: float | None = None) -> Header:
    """Have a fresh stream go on from a state file, at a time that is not before it.

    What became known from the header's `until_ns` on is for the caller to fold in. `StateFileError`, and the stream is
    as it was, for a file of another symbol, model or spec, one from after `now_ns`, or one older than `most_hours`: by
    default as long as the map bridges a hole (`market.gap_reset_hours`).
    """
    header, body = read_state(path)
    market = stream.spec.market
    most_hours = market.gap_reset_hours if most_hours is None else most_hours
    if header.symbol != market.symbol:
        raise StateFileError(f"{path}: is of {header.symbol}, the model is for {market.symbol}")
    age_hours = (now_ns - header.until_ns) / HOUR_NS
    if age_hours < 0:
        raise StateFileError(f"{path}: goes on {-age_hours:.1f} hours past the time at which it is to be used")
    if age_hours > most_hours:
        raise StateFileError(f"{path}: is {age_hours:.1f} hours old, the map bridges {most_hours:g}: warm up anew")
    try:
        stream.restore(body)
    except StepError as error:
        raise StateFileError(f"{path}: {error}") from None
    return header


def warm_up(stream: Stream, lake: Lake, start_ns: int | None, until_ns: int | None, state: Path | None = None) -> int:
    """Fold in what a lake holds from `start_ns`, or from where a state file ends, up to `until_ns` or the lake's end.

    Steps that close before `until_ns` are closed; what becomes known just then belongs to the next. Returns the time
    before which everything is in. Silence after the lake's end counts as silence, however old a state file is.
    """
    if state is not None:
        now_ns = 2**63 - 1 if until_ns is None else until_ns
        start_ns = start_from(stream, state, now_ns, math.inf).until_ns
    newest_ns = start_ns or 0

    def followed() -> Iterator[AnyEvent]:
        nonlocal newest_ns
        for event in read_events(lake, stream.spec.market, start_ns, until_ns):
            newest_ns = event.known_at_ns
            yield event

    stream.warm(followed(), None if until_ns is None else until_ns - 1)
    return newest_ns + 1 if until_ns is None else until_ns


def _digest(header: Header, body: bytes) -> str:
    unsealed = msgspec.json.encode(msgspec.structs.replace(header, seal=""))
    return hashlib.sha256(unsealed + b"\n" + body).hexdigest()
