"""What one side of the machine has before it at one look."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from squeeze.errors import ConfigError
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals.alarm_threshold import AlarmThreshold
from squeeze.signals.machine_memory import Memory, SideMemory
from squeeze.signals.message import Direction, Side
from squeeze.signals.portfolio import Standing
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.transition import digest
from squeeze.signals.view import View
from squeeze.spec import Spec

HIGHEST_THRESHOLD = 0.95
"""Where a ratio times a high base rate would ask for more than a calibrated model ever says, this is enough."""


class Limits(NamedTuple):
    """What stays the same for a side, from the model and its card; times in nanoseconds."""

    symbol: str
    model: str
    calibration_id: str
    horizons: tuple[int, ...]
    """In minutes; `horizon` is the index of the one that is watched."""
    horizon: int
    p_on: float
    """The alarm threshold."""
    base_rate: float
    confirm_ns: int
    rest_ns: int
    word_ns: int
    """A word of the model holds so long."""


class Look(NamedTuple):
    """One side at one look."""

    view: View
    side: int
    memory: Memory
    """Of the whole machine: this look is in it already, but for the sides."""
    other: SideMemory
    """The other side as it was before this look, so that neither side goes first."""
    others: Standing
    """Of all other symbols."""
    stale: tuple[str, ...]
    """What is too old to act on, as reason codes."""
    is_day_over: bool
    """The day has lost as much as it may."""
    probability: float
    """Of this side at the watched horizon; NaN while the model does not speak."""
    limits: Limits
    strategy: StrategySpec

    @property
    def now_ns(self) -> int:
        """The clock."""
        return self.view.now_ns

    @property
    def name(self) -> Side:
        """Whose positions would be squeezed."""
        return "long" if self.side == 0 else "short"

    @property
    def direction(self) -> Direction:
        """Where the price goes in a squeeze."""
        return "down" if self.side == 0 else "up"

    def must_halt(self, mind: SideMemory) -> bool:
        """By hand at once; after a bad day, but a trade that is open then is brought to its end."""
        return self.memory.halted is not None or (self.is_day_over and mind.trade is None)


def limits_of(
    strategy: StrategySpec,
    spec: Spec,
    model: str,
    base_rates: Mapping[Side, Sequence[float]],
    alarms: tuple[AlarmThreshold, ...],
    side: Side,
) -> Limits:
    """A side's limits; `ConfigError` for base rates that do not fit the label."""
    horizons = spec.label.horizons_minutes
    horizon = horizons.index(spec.signal.horizon_minutes)
    rates = base_rates.get(side, ())
    if len(rates) != len(horizons) or not 0 < rates[horizon] < 1:
        raise ConfigError(f"base_rates: {side} needs one for each of {horizons} minutes, between 0 and 1, got {rates}")
    p_on = alarm_threshold(strategy, alarms, side, spec.signal.horizon_minutes)
    if p_on is None:
        p_on = spec.signal.arm_ratio * rates[horizon]
    p_on = min(p_on, HIGHEST_THRESHOLD)
    return Limits(
        symbol=spec.market.symbol,
        model=model,
        calibration_id=digest(f"{model}|{side}|{spec.signal.horizon_minutes}|{p_on!r}|{rates[horizon]!r}"),
        horizons=horizons,
        horizon=horizon,
        p_on=p_on,
        base_rate=float(rates[horizon]),
        confirm_ns=round(spec.signal.confirm_seconds * SECOND_NS),
        rest_ns=round(spec.signal.cooldown_minutes * MINUTE_NS),
        word_ns=2 * spec.market.step_seconds * SECOND_NS,
    )


def alarm_threshold(
    strategy: StrategySpec, alarms: tuple[AlarmThreshold, ...], side: Side, horizon_minutes: int
) -> float | None:
    """The card's threshold for the strategy's budget, by its method where there is one; None where there is none."""
    budget, method = strategy.approach.false_alarms_per_day, strategy.approach.alarm_method
    fit = [
        alarm
        for alarm in alarms
        if alarm.side == side
        and alarm.horizon_minutes == horizon_minutes
        and math.isclose(alarm.budget_per_day, budget)
    ]
    fit.sort(key=lambda alarm: (alarm.method != method, -alarm.threshold))
    return fit[0].threshold if fit else None
