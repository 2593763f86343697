"""What venues' answers about their contracts have in common: how a body becomes rows, text a number, rows tiers.

Bodies go in, values come out, in one module a venue; who fetches them is another's matter. Fields that venues add are
ignored, those that are used are checked, and one bad row refuses the body: half a list of contracts would look like a
whole one. Every refusal is a `DataError` of one line with endpoint, contract, field, what was expected and what came.
An empty list is refused too, since none of these endpoints has nothing to say.

Tiers and funding intervals come from other endpoints than contracts and go in with `msgspec.structs.replace`.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from squeeze.errors import DataError, one_line
from squeeze.market.events import NAN
from squeeze.market.instruments import Instrument, Tier, deduction_after, require_whole

NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
Number = str | float
"""Venues write most numbers as text, and some as numbers."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
T = TypeVar("T")


class Name(msgspec.Struct, rename="camel"):
    """What a row is about, for a message about it."""

    symbol: str = ""
    inst_id: str = ""
    inst_family: str = ""


class TierRow(NamedTuple):
    """One tier as a venue tells it."""

    native: str
    tier: Tier
    is_open: bool = False
    """The deduction was left empty."""
    number: float = NAN
    """Counted by the venue, from 1; NaN where it does not count."""
    floor: float = NAN
    """Where it begins, which is the limit of the one below; NaN where the venue does not say."""


def decoded(place: str, body: bytes, kind: type[T]) -> T:
    """A body as `kind`; `place` is the endpoint, for the refusal."""
    return _refused_by_name(place, body, lambda: msgspec.json.decode(body, type=kind))


def decoded_list(place: str, body: bytes) -> list[msgspec.Raw]:
    """The rows of a body that is a bare list."""
    return _refused_by_name(place, body, lambda: msgspec.json.decode(body, type=list[msgspec.Raw]))


def _refused_by_name(place: str, body: bytes, decode: Callable[[], T]) -> T:
    """What `decode` makes of a body; a refusal shows how the body starts, where venues say what they dislike."""
    try:
        return decode()
    except (ValueError, RecursionError) as error:
        raise DataError(one_line(f"{place}: {error}, in {body[:160].decode(errors='replace')!r}")) from None


def read_rows(place: str, raws: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T]) -> list[T]:
    """Every row as `read` gives it; a row that it refuses is named."""
    if not raws:
        raise DataError(f"{place}: expected at least one row, got an empty list")
    rows = []
    for k, raw in enumerate(raws):
        try:
            rows.append(read(raw))
        except (ValueError, RecursionError, DataError) as error:
            raise DataError(one_line(f"{place}: {_name(raw) or 'no name'} (row {k}): {error}")) from None
    return rows


def present(records: Iterable[Instrument | None]) -> list[Instrument]:
    """The records without the rows that were left out."""
    return [record for record in records if record is not None]


def _name(raw: msgspec.Raw) -> str:
    try:
        name = msgspec.json.decode(raw, type=Name)
    except (ValueError, RecursionError):
        return ""
    return (name.symbol or name.inst_id or name.inst_family)[:40]


def _number(field: str, value: Number | None) -> float:
    if isinstance(value, str) and NUMBER.fullmatch(value) is None:
        raise ValueError(f"{field} must be a number, got {value[:40]!r}")
    if value is None:
        raise ValueError(f"{field} must be a number, got nothing")
    return float(value)


def positive(field: str, value: Number | None) -> float:
    """A number above zero; `field` is its name, for the refusal."""
    number = _number(field, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{field} must be positive and finite, got {value!r}")
    return number


def optional(field: str, value: Number | None) -> float:
    """A number that may be zero; NaN where the venue left it out or empty."""
    number = NAN if value is None or value == "" else _number(field, value)
    if not (math.isnan(number) or 0 <= number < math.inf):
        raise ValueError(f"{field} must be finite and not negative, got {value!r}")
    return number


def or_zero(value: float) -> float:
    """A number, 0 for NaN."""
    return 0.0 if math.isnan(value) else value


def product(a: float, b: float) -> float:
    """a × b without the binary rounding of a product: 0.1 × 0.1 is 0.01, as the venue means it."""
    return float(Decimal(repr(a)) * Decimal(repr(b)))


def grouped(place: str, rows: Iterable[TierRow]) -> dict[str, tuple[Tier, ...]]:
    """Tiers by contract, by rising limit, with the deductions that the venue left empty worked out.

    `DataError`, naming contract and tier, where one is missing or not in its place.
    """
    groups: dict[str, list[TierRow]] = {}
    for row in rows:
        groups.setdefault(row.native, []).append(row)
    tiers: dict[str, tuple[Tier, ...]] = {}
    for native, group in groups.items():
        try:
            tiers[native] = _table(sorted(group, key=lambda row: row.tier.limit))
        except ValueError as error:
            raise DataError(one_line(f"{place}: {native[:40]}: {error}")) from None
    return tiers


def _table(rows: Sequence[TierRow]) -> tuple[Tier, ...]:
    done: list[Tier] = []
    for number, row in enumerate(rows, 1):
        if row.number != number and not math.isnan(row.number):
            raise ValueError(f"tier {number}: the venue's number must be {number}, got {row.number:g}")
        begins, tier = done[-1].limit if done else 0.0, row.tier
        if row.floor != begins and not math.isnan(row.floor):
            raise ValueError(f"tier {number}: must begin at {begins}, got {row.floor}")
        if row.is_open and done:
            # Negative where rates fall, which is refused below by a clearer word.
            deduction = max(0.0, deduction_after(done[-1], tier.maintenance_rate))
            tier = msgspec.structs.replace(tier, deduction_usd=deduction)
        done.append(tier)
    require_whole(done)
    return tuple(done)
