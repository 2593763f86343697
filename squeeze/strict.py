"""What every configured value is made of: frozen structs that refuse unknown keys, and times in UTC."""

import re
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from squeeze.errors import ConfigError

TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?(Z|\+00:00)?")

T = TypeVar("T")


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value that refuses keys it does not know."""


def require(holds: bool, message: str) -> None:
    """Raise `ValueError`, which msgspec reports with the place of the key, unless a condition holds."""
    if not holds:
        raise ValueError(message)


def utc_ns(text: str) -> int:
    """Nanoseconds of a UTC day or time, to the second; `ConfigError` for anything else, another zone included.

    >>> utc_ns("1970-01-02"), utc_ns("1970-01-01T00:01Z")
    (86400000000000, 60000000000)
    """
    try:
        if TIME.fullmatch(text) is None:
            raise ValueError(text)
        seconds = int(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC).timestamp())
        if not 0 <= seconds < 2**63 // 10**9:
            raise ValueError(text)
    except ValueError:
        raise ConfigError(f"expected a UTC time like 2025-12-04 or 2025-12-04T07:00, got {text!r}") from None
    return seconds * 1_000_000_000


def require_time(name: str, text: str | None) -> None:
    """`require` that a key holds a UTC time, or nothing."""
    try:
        utc_ns(text or "1970-01-01")
    except ConfigError as error:
        raise ValueError(f"{name}: {error}") from None


def convert(value: object, kind: type[T], place: str) -> T:
    """A typed, checked value from parsed YAML or JSON; `ConfigError` naming `place` and the key otherwise."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{place}: {error}") from None
