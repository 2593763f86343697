"""Alert rules of the user's: what of a look is worth a message, besides what the signal machine says.

    View ─► measured (one number for each side, NaN where unknown) ─► over its level, armed, rested? ─► Alert

A rule is up from when its number reaches its level until the number has fallen below it by the hysteresis, and tells
only the moment at which it goes up; never again within its cooldown, and never from an input that is stale or was not
recorded. What is not known moves a rule neither up nor down. Side 0 is about longs and a fall of the price, side 1
about shorts and a rise: the mirrored market gives the mirrored alerts.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from squeeze.arrays import SIDES
from squeeze.errors import ConfigError, StepError
from squeeze.market.events import MINUTE_NS
from squeeze.signals.message import Side
from squeeze.signals.rule_spec import (
    ClusterChanged,
    ClusterNear,
    FundingExtreme,
    PatternSeen,
    ProbabilityOver,
    RulesSpec,
    refuse,
)
from squeeze.signals.view import View, ZoneView
from squeeze.spec import Spec

PARTS = 32
"""A change of mass within T compares with what it was at looks T / 32 apart."""
SIDE_NAMES: tuple[Side, Side] = ("long", "short")


class Alert(msgspec.Struct, frozen=True):
    """One rule came true on one side."""

    rule: str
    text: str
    facts: dict[str, float | str]


class RuleMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule remembers of one side."""

    up: bool = False
    told_ns: int | None = None
    """When it last told."""


class RulesState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules at rest."""

    now_ns: int
    digests: dict[str, str]
    """By the rule's name: a rule that was changed since begins anew."""
    memory: dict[str, tuple[RuleMemory, RuleMemory]]
    masses: dict[str, list[tuple[int, dict[str, float]]]]


class Rules:
    """The rules of one symbol; `look` is called with each view. `ConfigError` for one that can never come true."""

    def __init__(self, rules: RulesSpec, spec: Spec) -> None:
        refuse(rules, spec)
        self.rules = {rule.name: rule for rule in rules.rules}
        self.horizons = spec.label.horizons_minutes
        self._word_ns = 2 * spec.market.step_seconds * 1_000_000_000
        """A probability older than this is no longer the model's word."""
        self._memory = {name: (RuleMemory(), RuleMemory()) for name in self.rules}
        self._masses: dict[str, list[tuple[int, dict[str, float]]]] = {
            name: [] for name, rule in self.rules.items() if isinstance(rule.when, ClusterChanged)
        }
        """Of rules of changing clusters: mass by zone, at some looks of the trailing T."""
        self._now_ns = 0

    def look(self, view: View) -> list[Alert]:
        """What comes true at this look, in the order of the rules, longs first; a second look finds nothing.

        `StepError` for a clock that goes back.
        """
        if view.now_ns < self._now_ns:
            raise StepError(f"the rules' clock must not go back: {view.now_ns} after {self._now_ns}")
        self._now_ns = view.now_ns
        said = []
        for name, rule in self.rules.items():
            told = []
            for side in range(len(SIDES)):
                value, about = self._measured(name, view, side)
                memory = self._memory[name][side]
                level = rule.when.over
                is_up = memory.up if math.isnan(value) else value >= level * (1 - rule.hysteresis * memory.up)
                rests_ns = round(rule.cooldown_minutes * MINUTE_NS)
                is_rested = memory.told_ns is None or view.now_ns - memory.told_ns >= rests_ns
                tells = is_up and not memory.up and is_rested and rule.side in ("both", SIDE_NAMES[side])
                if tells:
                    said.append(Alert(name, rule.when.text(SIDE_NAMES[side], value), _facts(side, value, level, about)))
                told.append(RuleMemory(is_up, view.now_ns if tells else memory.told_ns))
            self._memory[name] = told[0], told[1]
            if name in self._masses:
                self._remember(name, view)
        return said

    def _measured(self, name: str, view: View, side: int) -> tuple[float, ZoneView | None]:
        """What a rule looks at on one side, and the zone that it is about; NaN where it cannot be told."""
        when = self.rules[name].when
        if set(when.needs()) & set(view.stale):
            return math.nan, None
        match when:
            case ClusterNear():
                return _nearest(when, view, side)
            case ClusterChanged():
                return self._changed(name, when, view, side)
            case ProbabilityOver():
                word = view.word
                if word is None or word.probabilities is None or view.now_ns - word.ts_ns > self._word_ns:
                    return math.nan, None
                return word.probabilities[side][self.horizons.index(when.horizon_minutes)], None
            case FundingExtreme():
                return (view.funding_8h, -view.funding_8h)[side], None
            case PatternSeen():
                seen = [view.patterns[pattern][side] for pattern in when.names() if pattern in view.patterns]
                return (float(any(seen)) if seen else math.nan), None

    def _changed(self, name: str, when: ClusterChanged, view: View, side: int) -> tuple[float, ZoneView | None]:
        """By which share of itself a zone has changed within the last T, of the zone that did so most."""
        since_ns = view.now_ns - round(when.within_minutes * MINUTE_NS)
        best: tuple[float, ZoneView | None] = (math.nan, None)
        for zone in _ahead(view, side):
            before = [held[zone.id] for at_ns, held in self._masses[name] if at_ns >= since_ns and zone.id in held]
            if not before or max(*before, zone.mass_share) < when.least_share:
                continue
            share = zone.mass_share / min(before) - 1 if when.grew else 1 - zone.mass_share / max(before)
            if not share <= best[0]:
                best = share, zone
        return best

    def _remember(self, name: str, view: View) -> None:
        """Keep the zones' masses of this look, if the last that were kept are old enough."""
        when, held = self.rules[name].when, self._masses[name]
        if not isinstance(when, ClusterChanged) or set(when.needs()) & set(view.stale):
            return
        within_ns = round(when.within_minutes * MINUTE_NS)
        if held and view.now_ns // (within_ns // PARTS) == held[-1][0] // (within_ns // PARTS):
            return
        masses = {zone.id: zone.mass_share for side in range(len(SIDES)) for zone in _ahead(view, side)}
        held.append((view.now_ns, masses))
        while held[0][0] < view.now_ns - within_ns:
            del held[0]

    def told(self) -> RulesState:
        """What was told of each rule and when: a snapshot without the masses that changes are measured from."""
        return msgspec.structs.replace(self.snapshot(), masses={})

    def snapshot(self) -> RulesState:
        """The whole state."""
        digests = {name: rule.digest() for name, rule in self.rules.items()}
        return RulesState(
            self._now_ns, digests, dict(self._memory), {name: list(held) for name, held in self._masses.items()}
        )

    def restore(self, state: RulesState) -> None:
        """Go on from a snapshot; a rule that is new, or was changed, begins anew. Masses that it lacks stay."""
        for name, rule in self.rules.items():
            if state.digests.get(name) == rule.digest() and name in state.memory:
                self._memory[name] = state.memory[name]
                if name in self._masses and name in state.masses:
                    self._masses[name] = list(state.masses[name])
        self._now_ns = state.now_ns


def _nearest(when: ClusterNear, view: View, side: int) -> tuple[float, ZoneView | None]:
    """The greatest share of open interest in one zone that begins within reach; 0 where none does."""
    within = [zone for zone in _ahead(view, side) if zone.near_log <= when.within_percent / 100]
    if math.isnan(view.mark):
        return math.nan, None
    best = max(within, key=lambda zone: zone.mass_share, default=None)
    return (0.0, None) if best is None else (best.mass_share, best)


def _ahead(view: View, side: int) -> list[ZoneView]:
    """Zones of a side that the mark has not passed."""
    ahead = (zone for zone in view.zones if zone.side == side and zone.far_log > 0)
    return [zone for zone in ahead if 0 < zone.mass_share < math.inf]


def _facts(side: int, value: float, level: float, about: ZoneView | None) -> dict[str, float | str]:
    facts: dict[str, float | str] = {"side": SIDE_NAMES[side], "value": value, "level": level}
    if about is None:
        return facts
    numbers = {name: getattr(about, name) for name in ("low", "high", "near_log", "mass_share", "mass_usd")}
    return facts | {"zone": about.id} | {name: value for name, value in numbers.items() if math.isfinite(value)}


def read_rules(path: str | Path) -> RulesSpec:
    """The rules of a YAML file; `ConfigError` names the file and the key."""
    import yaml  # only the command line reads files

    from squeeze.strict import convert

    try:
        value: Mapping[str, object] | None = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    return convert({} if value is None else value, RulesSpec, str(path))
