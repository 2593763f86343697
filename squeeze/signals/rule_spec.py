"""The user's alert rules as configured (`configs/alerts.yaml` shows every key), and which can never come true."""

import hashlib
import math
from typing import Literal

import msgspec

from squeeze.errors import ConfigError
from squeeze.patterns.catalogue import NAMES
from squeeze.signals.message import Side
from squeeze.spec import Spec
from squeeze.strict import Strict, require

ZONES = ("price", "map", "clock")
"""What a rule about zones must not act on when it is too old."""


class ClusterNear(Strict, frozen=True, kw_only=True, tag_field="is", tag="cluster_near"):
    """A zone with so much of open interest begins within reach of the mark."""

    least_share: float
    """Of open interest, in one zone: 0.01 is one percent."""
    within_percent: float
    """From the mark to the zone's near edge, as a log distance in percent."""

    def __post_init__(self) -> None:
        require(0 < self.least_share < 1, "least_share lies between 0 and 1")
        require(0 < self.within_percent <= 50, "within_percent lies between 0 and 50")

    @property
    def over(self) -> float:
        """From which value on the rule is up."""
        return self.least_share

    def needs(self) -> tuple[str, ...]:
        """Inputs of which none may be stale, as `View.stale` names them."""
        return ZONES

    def text(self, side: Side, value: float) -> str:
        """The alert in plain words."""
        where = "below" if side == "long" else "above"
        return f"a cluster of {value:.2%} of open interest lies within {self.within_percent:g}% {where}"


class ClusterChanged(Strict, frozen=True, kw_only=True, tag_field="is", tag="cluster_changed"):
    """A zone grew, or thinned, by so much within some time."""

    grew: bool
    """True: it grew; false: it thinned, while the mark did not reach it."""
    by_percent: float
    """Of its least mass in that time where it grew, of its greatest where it thinned."""
    within_minutes: float
    """How far back it is compared."""
    least_share: float = 0.003
    """Zones that never held this share of open interest in that time are passed over."""

    def __post_init__(self) -> None:
        require(
            self.by_percent > 0 and (self.grew or self.by_percent <= 100), "by_percent: a zone thins by 100 at most"
        )
        require(0.1 <= self.within_minutes <= 10_080, "within_minutes lies between 0.1 and 10080")
        require(0 < self.least_share < 1, "least_share lies between 0 and 1")

    @property
    def over(self) -> float:
        """From which value on the rule is up."""
        return self.by_percent / 100

    def needs(self) -> tuple[str, ...]:
        """Inputs of which none may be stale."""
        return ZONES

    def text(self, side: Side, value: float) -> str:
        """The alert in plain words."""
        where, how = "below" if side == "long" else "above", "grew" if self.grew else "thinned"
        return f"a cluster {where} {how} by {value:.0%} within {self.within_minutes:g} minutes"


class ProbabilityOver(Strict, frozen=True, kw_only=True, tag_field="is", tag="probability"):
    """The model says a squeeze is so probable."""

    horizon_minutes: int
    """One of the model's horizons."""
    level: float

    def __post_init__(self) -> None:
        require(0 < self.level < 1, "level lies between 0 and 1")

    @property
    def over(self) -> float:
        """From which value on the rule is up."""
        return self.level

    def needs(self) -> tuple[str, ...]:
        """Inputs of which none may be stale."""
        return ("clock",)

    def text(self, side: Side, value: float) -> str:
        """The alert in plain words."""
        return f"a {side} squeeze within {self.horizon_minutes} minutes has a probability of {value:.1%}"


class FundingExtreme(Strict, frozen=True, kw_only=True, tag_field="is", tag="funding"):
    """One side pays so much funding: longs where it is positive, shorts where it is negative."""

    rate_8h: float
    """For eight hours, as a share: 0.0005 is 5 basis points."""

    def __post_init__(self) -> None:
        require(0 < self.rate_8h < 1, "rate_8h lies between 0 and 1")

    @property
    def over(self) -> float:
        """From which value on the rule is up."""
        return self.rate_8h

    def needs(self) -> tuple[str, ...]:
        """Inputs of which none may be stale."""
        return ("clock",)

    def text(self, side: Side, value: float) -> str:
        """The alert in plain words."""
        return f"{side}s pay {value * 1e4:.1f} basis points of funding for eight hours"


class PatternSeen(Strict, frozen=True, kw_only=True, tag_field="is", tag="pattern"):
    """A pattern of the atlas raises its flag."""

    pattern: str
    """Its name (`squeeze.patterns.catalogue`), or `divergence` for `venue_divergence` or `heat_divergence`."""

    def __post_init__(self) -> None:
        known = (*NAMES, "divergence")
        require(self.pattern in known, f"pattern: there is no {self.pattern!r}; there are {', '.join(known)}")

    @property
    def over(self) -> float:
        """From which value on the rule is up."""
        return 1.0

    def names(self) -> tuple[str, ...]:
        """The patterns that it stands for."""
        return ("venue_divergence", "heat_divergence") if self.pattern == "divergence" else (self.pattern,)

    def needs(self) -> tuple[str, ...]:
        """Inputs of which none may be stale."""
        return (*ZONES, "venues")

    def text(self, side: Side, value: float) -> str:
        """The alert in plain words."""
        return f"{self.pattern.replace('_', ' ')} {'below' if side == 'long' else 'above'} the mark"


When = ClusterNear | ClusterChanged | ProbabilityOver | FundingExtreme | PatternSeen


class RuleSpec(Strict, frozen=True, kw_only=True):
    """One rule."""

    name: str
    """What its messages call it; each has its own."""
    when: When
    """What must come true; `is` says which of them it is."""
    side: Literal["long", "short", "both"] = "both"
    """Whose squeeze it is about."""
    cooldown_minutes: float = 15.0
    """It tells of a side no more often than this."""
    hysteresis: float = 0.1
    """Share of its level by which the number must fall below it before the rule can come true again."""

    def __post_init__(self) -> None:
        require(0 < len(self.name) <= 64 and self.name.isprintable(), "name has 1 to 64 printable characters")
        require(self.name != "scorecard", "name: scorecard is the name of the scorecard's own alerts")
        require(0 <= self.cooldown_minutes < math.inf, "cooldown_minutes is not negative")
        require(0 <= self.hysteresis < 1, "hysteresis is a share below 1")

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the rule's canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]


class RulesSpec(Strict, frozen=True, kw_only=True):
    """All rules of a file; none is needed."""

    rules: tuple[RuleSpec, ...] = ()

    def __post_init__(self) -> None:
        require(len({rule.name for rule in self.rules}) == len(self.rules), "rules: each name is given once")
        require(len(self.rules) <= 256, "rules: at most 256")


def refuse(rules: RulesSpec, spec: Spec) -> None:
    """`ConfigError` for the first rule that can never come true for a model of this spec, with the reason."""
    for rule in rules.rules:
        if why := never(rule.when, spec):
            raise ConfigError(f"alert rule {rule.name!r} can never come true: {why}")


def never(when: When, spec: Spec) -> str:
    """Why a rule can never come true; empty where it can."""
    market = spec.market
    match when:
        case ProbabilityOver() if when.horizon_minutes not in spec.label.horizons_minutes:
            return f"the model's horizons are {', '.join(map(str, spec.label.horizons_minutes))} minutes"
        case FundingExtreme() if market.funding is None:
            return "the model reads no funding"
        case ClusterNear() if when.within_percent / 100 < spec.map.bin_log:
            return f"a bin of the map is {spec.map.bin_log:.2%} wide"
        case PatternSeen() if spec.atlas is None:
            return "the model has no atlas, so that no patterns are looked for"
        case PatternSeen():
            reasons = [_never_pattern(name, spec) for name in when.names()]
            return "" if "" in reasons else reasons[0]
        case _:
            return ""


def _never_pattern(name: str, spec: Spec) -> str:
    every = set().union(*spec.market.kinds().values())
    match name:
        case "venue_divergence" if len(spec.market.venue_names()) < 2:
            return "the model reads a single venue"
        case "funding_extreme" | "funding_asymmetry" if not every & {"funding", "funding_forecast"}:
            return "the model reads no funding"
        case "spoofed_wall" | "absorbed_wall" | "iceberg" | "shielded_cluster" if not every & {"book", "depth_band"}:
            return "the model reads no order book"
        case _:
            return ""
