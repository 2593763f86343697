"""A threshold that keeps a budget of false alarms, with what is promised and under which assumption."""

from typing import Literal

from squeeze.strict import Strict, require


class AlarmThreshold(Strict, frozen=True, kw_only=True):
    """Alarm where the probability of a side and horizon is at least `threshold`; stored in a model's card."""

    side: Literal["long", "short"]
    horizon_minutes: int
    budget_per_day: float
    """False alarms a day that the threshold was made for."""
    threshold: float
    method: Literal["expected", "confident"]
    """Whether the budget is kept on average over such calibrations, or by this one with a stated chance."""
    guarantee: str
    """What is promised, as a sentence."""
    assumption: str
    """Under which condition, as a sentence."""
    false_alarms_per_day: float
    """As counted on the calibration rows at this threshold."""
    rows: int
    """Calibration rows."""
    days: int
    """Days that they span; unrecorded ones are left out."""

    def __post_init__(self) -> None:
        require(self.budget_per_day > 0 and 0 <= self.threshold <= 1, "budget_per_day and threshold make no sense")
