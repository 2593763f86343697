"""What drift is measured against and told as: limits, the reference in a model's card, and a monitor's report.

Apart from `drift`, which counts: the card carries these, whoever reads it.
"""

import msgspec

from squeeze.forecast_test import Calibration
from squeeze.market.events import HOUR_NS
from squeeze.strict import Strict, require

PARTS = 28
"""Parts of the window: the oldest is dropped as a new one begins. A week has parts of six hours."""


class DriftSpec(Strict, frozen=True, kw_only=True):
    """What is watched, and when it is called drift."""

    window_hours: float = 168.0
    """Inputs and the level of probabilities are looked at over this long, up to now."""
    least_index: float = 0.25
    """A population stability index under this is never drift (the usual line for a large shift)."""
    times_usual: float = 1.5
    """... nor is one under this many times what windows inside training reach (`InputReference.usual_index`)."""
    least_known: float = 0.2
    """An input counts as lost when the share of frames that know it lies this far below training's."""
    most_outside: float = 0.05
    """An input is outside training when more than this share of its values lie beyond the lowest or the highest."""
    level_times: float = 4.0
    """The mean probability is called off when it lies this many times above or below its base rate."""
    calibration_false_alarm: float = 0.01
    """The chance that calibration is ever called drifted while the model is right, over all sides and horizons."""
    calibration_days: int = 30
    """Observed and expected events are counted over this long; the test itself never forgets."""

    def __post_init__(self) -> None:
        require(self.window_hours > 0 and self.calibration_days >= 1, "window_hours and calibration_days are positive")
        require(self.least_index > 0 and self.times_usual >= 1, "least_index is positive, times_usual at least 1")
        require(0 < self.least_known < 1 and 0 < self.most_outside < 1, "least_known and most_outside lie in (0, 1)")
        require(self.level_times > 1, "level_times is above 1")
        require(0 < self.calibration_false_alarm < 1, "calibration_false_alarm lies between 0 and 1")

    @property
    def part_ns(self) -> int:
        """Length of a part of the window."""
        return round(self.window_hours * HOUR_NS / PARTS)


class InputReference(Strict, frozen=True, kw_only=True):
    """One input over the training frames, both sides pooled."""

    name: str
    """Of a scalar, or of a channel, of which the mean over price is taken."""
    borders: tuple[float, ...]
    """Rising borders of the bins: just under the lowest value, deciles where they differ, the highest value. A value on
    a border is in the bin below it, so the first and the last bin hold what training never saw.
    """
    shares: tuple[float, ...]
    """Of the known values in each bin, one more than borders."""
    known: float
    """Share of frames in which it was recorded."""
    usual_index: float
    """The population stability index that one window in a hundred inside training lies above."""


class DriftReference(Strict, frozen=True, kw_only=True):
    """What training looked like to the model, as its card keeps it."""

    spec: DriftSpec
    inputs: tuple[InputReference, ...]
    """The scalars in a frame's order, then the channels."""
    window_frames: int
    """Frames in the fullest window of training; a live window with less than half of them is not judged."""


class InputDrift(msgspec.Struct, frozen=True):
    """One input over the trailing window."""

    name: str
    index: float
    """Population stability index; NaN while hardly anything is known."""
    limit: float
    outside: float
    """Share of the known values that lie beyond all of training's; NaN while hardly anything is known."""
    known: float
    known_in_training: float


class DriftReport(msgspec.Struct, frozen=True):
    """What a monitor says now."""

    frames: int
    """In the trailing window; blind ones are left out."""
    judged: bool
    """Whether that is enough to speak of drift."""
    inputs: tuple[InputDrift, ...]
    level: dict[str, tuple[float, ...]]
    """Mean probability over its base rate, by side and horizon; NaN while there is none."""
    calibration: tuple[Calibration, ...]
    flags: tuple[str, ...]
    """What has drifted, in words; empty when nothing has."""
