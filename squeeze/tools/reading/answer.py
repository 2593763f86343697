"""One step of the guide, answered; and how numbers are put into words."""

import math

import msgspec

from squeeze.patterns.pattern import Finding

QUESTIONS = (
    "Which heatmaps suit this timeframe?",
    "Does the timeframe match how long the trade is held?",
    "Where are the densest clusters?",
    "Which side is the heavier one?",
    "Do several maps agree on a level?",
    "Have the clusters moved?",
    "Where are the voids?",
    "What does funding say beside it?",
    "Were swept clusters really depleted?",
)
"""Steps 1 to 9 of the guide's ten; the tenth is `squeeze journal`."""

HELD = ("longs", "shorts")
PLACES = ("below", "above")


class StepAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one step found."""

    step: int
    question: str
    answer: str
    """One sentence."""
    evidence: tuple[str, ...] = ()
    """What it rests on, numbers with their units."""
    numbers: dict[str, float | None] = {}
    """The same for machines, each named with its unit; null where not recorded."""
    patterns: tuple[str, ...] = ()
    """Flagged patterns, in their own words."""
    warnings: tuple[str, ...] = ()
    not_recorded: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    """What this repository found about the step's claim."""


def known(numbers: dict[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: float(value) if math.isfinite(value) else None for name, value in numbers.items()}


def words(found: tuple[Finding, ...]) -> tuple[str, ...]:
    """The flagged patterns' own clauses."""
    return tuple(f"{one.pattern.replace('_', ' ')}: {one.reason}" for one in found)


def number(value: float, form: str, unit: str = "") -> str:
    """A number, or that it is not known.

    >>> number(0.0123, ".1%"), number(math.nan, ".1f", " min")
    ('1.2%', 'unknown')
    """
    return "unknown" if not math.isfinite(value) else f"{value:{form}}{unit}"


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "void"), counted(2, "void")
    ('1 void', '2 voids')
    """
    return f"{count} {what}{'s' * (count != 1)}"


def price(value: float) -> str:
    """Six digits, as a person reads a price."""
    return "unknown" if not math.isfinite(value) else f"{value:,.6g}"


def age(minutes: float) -> str:
    """A stretch of time in a unit that suits it.

    >>> age(0.5), age(90.0), age(4000.0)
    ('30 s', '90 min', '2.8 days')
    """
    if not math.isfinite(minutes):
        return "unknown"
    if minutes < 2:
        return f"{60 * minutes:.0f} s"
    if minutes < 180:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 2880 else f"{minutes / 1440:.1f} days"
