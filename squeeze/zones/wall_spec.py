"""What counts as a wall, and what became of it (domain.md §4.2, 10)."""

from squeeze.strict import Strict, require


class WallSpec(Strict, frozen=True, kw_only=True):
    """How large resting orders are told from usual ones, and followed."""

    median_multiple: float = 8.0
    """At least so many times the median of both sides' bins that hold something within `near_log` of the mark ..."""
    quantile: float = 0.995
    """... and this quantile of what bins of its venue and side usually hold ..."""
    floor_usd: float = 2e6
    """... and so much: 2 million for BTC, 100,000 for DOT."""
    near_log: float = 0.01
    """Distance for the median."""
    reach_log: float = 0.02
    """Walls are looked for within this distance of the mark, and the quantile is of these bins."""
    memory_hours: float = 24.0
    """What bins usually hold is forgotten by 1/e in this time."""
    least_history_minutes: float = 60.0
    """Before so much of a venue's book was seen nothing there is called a wall."""
    least_life_seconds: float = 10.0
    """Large in all books over so long, an order is a wall."""
    walls_per_side: int = 16
    """So many orders are followed per venue and side, candidates included; what finds no room is not, nearest first."""
    pulled_share: float = 0.8
    """A wall that lost this share of its peak is gone: filled, pulled, or expired where neither can be said."""
    filled_traded_share: float = 0.5
    """Gone, it was filled if takers traded this share of its peak ..."""
    pulled_traded_share: float = 0.2
    """... and pulled if they traded at most this."""
    elasticity_log: float = 0.005
    """The elasticity is of the last minute, as far as the wall was this near ahead of the mark."""
    level_bins: int = 1
    """Pulls so many bins away are at the same level."""
    expire_minutes: float = 60.0
    """A wall that no book showed for so long, and a step, has expired."""

    def __post_init__(self) -> None:
        require(self.median_multiple >= 1, "median_multiple is at least one")
        require(0.5 <= self.quantile < 1, "quantile lies in [0.5, 1)")
        require(self.floor_usd > 0, "floor_usd is positive")
        require(
            0 < self.near_log <= self.reach_log <= 0.5, "near_log is positive and at most reach_log, that at most 0.5"
        )
        require(self.memory_hours > 0, "memory_hours is positive")
        require(self.least_history_minutes >= 0, "least_history_minutes is not negative")
        require(self.least_life_seconds >= 0, "least_life_seconds is not negative")
        require(1 <= self.walls_per_side <= 256, "walls_per_side lies between 1 and 256")
        require(0 < self.pulled_share <= 1, "pulled_share lies in (0, 1]")
        require(
            0 <= self.pulled_traded_share < self.filled_traded_share,
            "filled_traded_share is greater than pulled_traded_share, and that not negative",
        )
        require(self.elasticity_log > 0, "elasticity_log is positive")
        require(self.level_bins >= 0, "level_bins is not negative")
        require(self.expire_minutes > 0, "expire_minutes is positive")
