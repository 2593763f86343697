"""How patient a feed is, and what it tells of what it did.

Apart from `live`, which does it: values alone, that are named without opening a connection.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field

from squeeze.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """How patient a feed is."""

    silent_seconds: float = 30.0
    """A connection that says nothing for so long is opened again; acknowledgements and pongs say nothing."""
    first_retry_seconds: float = 1.0
    last_retry_seconds: float = 30.0
    """Waits before the next attempt double from the first to the last, and begin again after so long a connection."""
    open_seconds: float = 10.0
    """For opening a connection, and for a message to leave."""
    open_every_seconds: float = 0.4
    """Between attempts to connect; OKX allows three a second."""
    overlap_seconds: float = 5.0
    """How long a connection at the end of its life goes on beside the next one."""
    snapshot_seconds: float = 3.0
    """How long a book may wait where only a new subscription brings a snapshot."""
    snapshot_every_seconds: float = 1.0
    """Between requests for snapshots of a symbol."""
    request_seconds: float = 10.0
    request_every_seconds: float = 0.1
    ban_seconds: float = 600.0
    """No request after a status 403 or 418."""
    message_bytes: int = 16 << 20
    """The largest message or body that is taken."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise ConfigError(f"limits: {name}: above zero and finite, got {value}")


@dataclass
class Traffic:
    """What a feed has done; `Session.counts` tells what became of the frames."""

    frames: int = 0
    bytes: int = 0
    connections: int = 0
    """Opened, all together."""
    reconnects: int = 0
    """Opened in place of one that was lost."""
    rotated: int = 0
    """Opened beside one at the end of its life."""
    lost: Counter[str] = field(default_factory=Counter)
    """Connections lost, by reason."""
    failures: int = 0
    """Attempts to connect, and requests, that failed."""
    last_failure: str = ""


@dataclass(frozen=True)
class Summary:
    """What a recording came to."""

    frames: int
    bytes: int
    connections: int
    reconnects: int
    open: int
    """Connections open now."""
    gaps: dict[str, int]
    """Holes by reason, one a symbol and hole."""
    lost: dict[str, int]
    """Lost connections by reason."""
    silent: int
    """Of those, the ones that were open and said nothing."""
    refused: int
    """Frames that could not be read; they are in the raw log all the same, if they are text."""
    last_refusal: str
    failures: int
    last_failure: str
