"""What a scorecard counts, and when it switches a symbol off."""

from pathlib import Path

from squeeze.model_file import ModelCard
from squeeze.strict import Strict, convert, require
from squeeze.tools.run_file import read_run_file


class ScorecardSpec(Strict, frozen=True, kw_only=True):
    """Constants of a scorecard; no key is needed."""

    window_days: float = 90.0
    """Figures are of the rows of so many days, up to now."""
    top: tuple[int, ...] = (10, 50)
    """The k of precision at k: so many rows of highest probability."""
    budget_per_day: float = 2.0
    """A side alarms at the card's threshold for this budget of false alarms, or at `signal.arm_ratio` base rates where
    the card holds none.
    """
    merge_minutes: float = 10.0
    """Alarming rows this close, or one row apart, are one alarm, as long as the claim of its first row lasts."""
    settle_every_minutes: int = 15
    """Outcomes are looked up at whole multiples of this."""
    settle_delay_seconds: float = 120.0
    """... so long after the horizon, and what the label looks ahead beyond it, are over: data come late."""
    patience_hours: float = 48.0
    """A row whose outcome is not known by then is left out: prints that end say nothing of the time after them."""
    switches_off: bool = True
    """Whether a symbol is switched off when its alarms are shown to be worse than the bound."""
    least_precision: float | None = None
    """A symbol is switched off when, on a side and at the signal's horizon, all of the 95 % Wilson interval of its
    alarms' precision lies below this; null for the base rate there, below which an alarm says less than nothing.
    """
    least_alarms: int = 30
    """... after so many alarms within the window at least."""
    slope_events: int = 20
    """A month's calibration slope needs as many rows that came true, and as many that did not."""
    bins: int = 10
    """Bins of a month's reliability, with equal numbers of rows."""

    def __post_init__(self) -> None:
        require(0 < self.window_days <= 400, "window_days lies between 0 and 400")
        require(all(k >= 1 for k in self.top) and len(self.top) <= 8, "top holds at most eight whole numbers above 0")
        require(self.budget_per_day > 0 and self.merge_minutes >= 0, "budget_per_day is positive, merge_minutes too")
        require(1 <= self.settle_every_minutes <= 1440, "settle_every_minutes lies between 1 and 1440")
        require(self.settle_delay_seconds >= 0 and 1 <= self.patience_hours <= 168, "patience_hours: from 1 to 168")
        require(self.least_precision is None or 0 < self.least_precision < 1, "least_precision lies between 0 and 1")
        require(self.least_alarms >= 1, "least_alarms is at least 1")
        require(self.slope_events >= 2 and 1 <= self.bins <= 50, "slope_events is at least 2, bins from 1 to 50")


def read_scorecard_spec(path: Path) -> ScorecardSpec:
    """The constants of a YAML file; `ConfigError` names the file and the key."""
    return convert(read_run_file(path), ScorecardSpec, str(path))


def thresholds(card: ModelCard, spec: ScorecardSpec) -> dict[str, tuple[float, ...]]:
    """From which probability on a side alarms, by side and horizon."""
    label, ratio = card.spec.label, card.spec.signal.arm_ratio
    held: dict[tuple[str, int], float] = {
        (alarm.side, alarm.horizon_minutes): alarm.threshold
        for alarm in card.alarms
        if alarm.budget_per_day == spec.budget_per_day
    }
    return {
        side: tuple(
            held.get((side, minutes), min(0.95, ratio * rate))
            for minutes, rate in zip(label.horizons_minutes, rates, strict=True)
        )
        for side, rates in card.base_rates.items()
    }
