"""How zones are followed."""

import math

from squeeze.strict import Strict, require


class TrackSpec(Strict, frozen=True, kw_only=True):
    """When two zones of different steps are the same, and how much is remembered."""

    least_iou: float = 0.3
    """Two zones are one if at least this share of the bins of both belongs to both ..."""
    centroid_log: float = 0.002
    """... or else if their centroids are at most this far apart, in log price."""
    grace_steps: int = 3
    """For so many steps in a row a zone may be missed and come back under its id."""
    part_share: float = 0.5
    """A zone of which this share of bins lies in another is a part of it: where it came from, or went."""
    sample_minutes: float = 5.0
    """Mass and centroid are remembered in such steps, over 24 hours."""
    zones_per_side: int = 64
    """Of more than these the heaviest are followed."""

    def __post_init__(self) -> None:
        require(0 < self.least_iou <= 1, "least_iou lies in (0, 1]")
        require(0 <= self.centroid_log < math.inf, "centroid_log is not negative")
        require(self.grace_steps >= 0, "grace_steps is not negative")
        require(0 < self.part_share <= 1, "part_share lies in (0, 1]")
        require(1 <= self.sample_minutes <= 1440, "sample_minutes lies between 1 and 1440")
        require(self.zones_per_side > 0, "zones_per_side is positive")
