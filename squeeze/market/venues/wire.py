"""What the adapters of all venues share: the types of fields on the wire, and what a feed must send.

Checked while decoding, in C: a price is above zero and finite, a size not negative, a time in milliseconds lies between
2010 and 2100. So that whatever `decode` returns can be used without a second look.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import Meta

from squeeze.errors import FrameError, one_line
from squeeze.market.events import NAME, AnyEvent

Px = Annotated[float, Meta(gt=0, le=1e12)]
"""A price in quote currency."""

Sz = Annotated[float, Meta(ge=0, le=1e18)]
"""A size: in base coins or contracts, as the venue counts."""

Rate = Annotated[float, Meta(ge=-1, le=1)]
"""A funding rate, as a fraction of notional."""

EARLIEST_MS, LATEST_MS = 1_262_304_000_000, 4_102_444_800_000
Ms = Annotated[int, Meta(ge=EARLIEST_MS, lt=LATEST_MS)]
"""UTC milliseconds since 1970, between 2010 and 2100."""

Id = Annotated[int, Meta(ge=-1, lt=1 << 62)]
"""A number that counts updates."""

Level = tuple[Px, Sz]

MS = 1_000_000
"""Nanoseconds in a millisecond."""

Px0 = Annotated[float, Meta(ge=0, le=1e12)]
"""A price, or the zero that some venues write where there is none."""

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""What reading a frame may raise; nested too deep is the third."""

NOTHING = msgspec.Raw(b"")
"""Default of a field that is passed on undecoded."""

EMPTY = re.compile(rb':\s*""')
"""A field that a venue leaves empty. No string of JSON can hold these bytes, for a quote inside one is escaped."""


class Wire(msgspec.Struct, gc=False):
    """Base of what is decoded: unknown fields are passed over, missing ones refused."""


class Connection(msgspec.Struct, frozen=True):
    """One websocket that a feed must open: where, what to say first, and how to keep it."""

    url: str
    messages: tuple[bytes, ...] = ()
    """To be sent once connected, in order."""
    ping: bytes | None = None
    """To be sent every `ping_seconds`; None where the venue pings, and the websocket's own pong is the answer."""
    ping_seconds: float = 20.0
    lifetime_hours: float | None = None
    """How long the venue keeps it; open the next one before."""


class Poll(msgspec.Struct, frozen=True):
    """One request that a feed must repeat; the body goes to `decode` with its path and query."""

    url: str
    every_seconds: float


@runtime_checkable
class Venue(Protocol):
    """An exchange's frames as events. Pure: no connection, no clock, no memory."""

    name: str

    def decode(self, frame: bytes, received_ns: int, request: str = "") -> list[AnyEvent]:
        """The events in a frame, in its order, all known at `received_ns`.

        `request` is the path and query of the call that the frame answers, empty for a websocket's. Empty for an
        acknowledgement, a pong, or a channel that is not read. Raises `FrameError`, and nothing else, for a frame that
        is not what the venue documents, `VenueRefused` where the venue reports an error.
        """
        ...

    def connections(self, symbols: Sequence[str]) -> list[Connection]:
        """What to connect and subscribe to for these symbols, named as the lake does."""
        ...

    def polls(self, symbols: Sequence[str]) -> list[Poll]:
        """What the venue gives only on request: open interest, settled funding."""
        ...

    def snapshot_request(self, symbol: str) -> str | None:
        """The URL of a book to start from; None where subscribing again brings one."""
        ...


T = TypeVar("T")
Decode = Callable[[bytes], T]


def decoder(kind: Any) -> Decode[Any]:
    """A decoder of frames in which numbers may stand as text."""
    return msgspec.json.Decoder(kind, strict=False).decode


def refuse(venue: str, frame: bytes, problem: object) -> NoReturn:
    """Raise the error of a frame: the venue, what was wrong and how the frame begins."""
    shown = frame[:120].decode(errors="replace")
    raise FrameError(f"{venue}: {one_line(problem)[:200]}, in {shown}") from None


class Names(dict[str, str]):
    """Contracts by the venue's name, each looked at once: `NAMES[native]` costs a third of a function's call.

    `spell` says what we call it. `ValueError` for a name that could not name a folder.
    """

    def __init__(self, spell: Callable[[str], str] = str) -> None:
        super().__init__()
        self._spell = spell

    def __missing__(self, native: str) -> str:
        self._check(native)
        if len(self) >= MOST_NAMES:
            self.clear()
        self[native] = self._spell(native)
        return self[native]

    def _check(self, native: str) -> None:
        if NAME.fullmatch(native) is None or len(native) > 64:
            raise ValueError(f"{native[:64]!r} is no name of a contract")


class Topics(Names):
    """The contract that a topic of one kind ends with; `ValueError` for a topic of another kind."""

    def __init__(self, start: str, names: Names) -> None:
        def contract(topic: str) -> str:
            if not topic.startswith(start):
                raise ValueError(f"expected a topic {start}*, got {topic[:64]}")
            return names[topic[len(start) :]]

        super().__init__(contract)

    def _check(self, native: str) -> None:
        """The contract in it is checked."""


MOST_NAMES = 4096
"""More contracts than any venue has; bounds what made-up names could fill."""


def without_empty(frame: bytes) -> bytes:
    """The frame with empty fields as null."""
    return EMPTY.sub(b":null", frame)


def query(request: str, key: str) -> str:
    """A parameter of a request.

    >>> query("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "symbol")
    'BTCUSDT'
    """
    found = re.search(rf"[?&]{key}=([\w.+-]+)", request)
    if found is None:
        raise FrameError(f"the request {request[:120]!r} does not say its {key}")
    return found[1]


def batches(items: Sequence[str], most: int) -> list[list[str]]:
    """Items in lists of at most `most`."""
    return [list(items[at : at + most]) for at in range(0, len(items), most)]
