"""What a sink is: it takes letters whole, or says whether trying again may help."""

import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from squeeze.emitter.letter import Letter
from squeeze.errors import ConfigError, SqueezeError
from squeeze.market.feeds.rest import is_loopback
from squeeze.strict import Strict, require

Type = Literal[
    "probability", "abstain", "state", "entry", "update", "exit", "cancel", "protect", "alert", "heartbeat"
]  # fmt: skip
ALL: tuple[Type, ...] = (
    "probability", "abstain", "state", "entry", "update", "exit", "cancel", "protect", "alert", "heartbeat",
)  # fmt: skip
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class SinkDown(SqueezeError):
    """It took nothing now, and may take the same later; `wait_seconds` is how long it asked for, 0 for nothing."""

    def __init__(self, problem: str, wait_seconds: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_seconds = wait_seconds


class Refused(SqueezeError):
    """It will not have this letter, however often it comes."""


@runtime_checkable
class Sink(Protocol):
    """A way out, used from one thread."""

    most: int
    """How many letters it takes at once."""

    def send(self, letters: Sequence[Letter]) -> None:
        """Deliver these, in their order, for good. `SinkDown` or `OSError` where that may not have worked, and then all
        of them come again; `Refused` for a letter that it will never have.
        """

    def close(self) -> None:
        """Let go of what it holds."""


class SinkSpec(Strict, frozen=True, kw_only=True, tag_field="kind"):
    """What all sinks have in common."""

    name: str
    """Names the sink's progress in the outbox: a new name begins with what is said from then on."""
    types: tuple[Type, ...] = ALL
    """The types of messages it gets. What is left out is a hole in `stream_seq` to those behind it."""
    first_retry_seconds: float = 1.0
    """The wait after a failure; it doubles with each that follows, less up to half of it by chance."""
    last_retry_seconds: float = 60.0
    """The longest wait."""
    refusals: int = 5
    """A message that was refused so often goes to the dead letters, and the next one has its turn."""

    def __post_init__(self) -> None:
        require(NAME.fullmatch(self.name) is not None, "name: small letters, digits, - and _, at most 64")
        require(len(self.types) > 0, "types: at least one")
        require(
            0 < self.first_retry_seconds <= self.last_retry_seconds < 86_400,
            "first_retry_seconds to last_retry_seconds: above zero, rising, less than a day",
        )
        require(1 <= self.refusals <= 100, "refusals: 1 to 100")

    def make(self, outbox: Path) -> Sink:
        """The sink; `ConfigError` for a secret or a package that is missing. Nothing is connected to yet."""
        raise NotImplementedError


def secret(variable: str, what: str, least: int = 1) -> str:
    """A secret from the environment; `ConfigError` where there is none, or one of less than `least` bytes."""
    found = os.environ.get(variable, "")
    if not found:
        raise ConfigError(f"{what}: the environment variable {variable} is not set")
    if len(found.encode()) < least:
        raise ConfigError(f"{what}: the secret in {variable} must have at least {least} bytes")
    return found


def extra(module: str, what: str) -> Any:
    """A package of the extra `sinks`; `ConfigError` that says how to install it where it is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        package = {"paho": "paho-mqtt"}.get(module.partition(".")[0], module.partition(".")[0])
        raise ConfigError(f"{what}: needs {package}: pip install 'squeeze-predictor[sinks]'") from None


def require_private(host: str | None, is_encrypted: bool, allowed: bool, key: str) -> None:
    """`require` that what is said stays on this machine or is encrypted, unless the user allows the other."""
    require(
        is_encrypted or allowed or is_loopback(host),
        f"{key}: not encrypted, and {host} is another machine; in_the_clear: true allows it in a network you trust",
    )
