"""The constants of the events that labels, studies and grading look for.

Apart from `squeeze.outcomes`, which finds the events and looks ahead: a model file states what it was trained to
predict, and the live path reads that without reading the future.
"""

from squeeze.strict import Strict, require


class CascadeSpec(Strict, frozen=True, kw_only=True):
    """The constants of a cascade by prints (L1, domain.md §5.1)."""

    window_seconds: float = 60.0
    """Liquidated USD are summed over this; coarser sums are taken as they come."""
    quantile: float = 0.995
    """(i) The sum reaches this quantile of the side's recorded window sums ..."""
    trailing_days: float = 30.0
    """... over so many days, as it stood at the last UTC midnight ..."""
    least_days: float = 1.0
    """... if at least this much of them was recorded; before that there is no onset."""
    open_interest_share: float = 1e-4
    """(i) ... and this share of open interest, where it is known ..."""
    floor_usd: float = 250_000.0
    """(i) ... and this: 250,000 for BTC, 20,000 for DOT."""
    least_prints: int = 5
    """(ii) So many prints of the side in the window."""
    side_share: float = 0.8
    """(iii) The side's share of all that was liquidated in the window."""
    move_sigmas: float = 3.0
    """(iv) Mark moves against the side by so many standard deviations of its path; known only afterwards."""
    reach_seconds: float = 300.0
    """(iv) ... from the window's begin to the extreme within this after the onset."""
    sigma_hours: float = 24.0
    """(iv) ... where the deviation is that of the trailing returns over this."""
    end_share: float = 0.2
    """A cascade ends when the sum has stayed below this share of its peak ..."""
    end_seconds: float = 60.0
    """... for so long; the end is where that began."""
    merge_minutes: float = 5.0
    """An onset less than this after an end belongs to the cascade before."""
    cap_minutes: float = 60.0
    """No cascade is longer."""

    def __post_init__(self) -> None:
        require(0 < self.window_seconds <= 3600, "window_seconds lies in (0, 3600]")
        require(0 < self.quantile < 1 and 0 < self.end_share < 1, "quantile and end_share lie between 0 and 1")
        require(0 < self.side_share <= 1 and self.least_prints >= 1, "side_share and least_prints are positive")
        require(self.least_days > 0 and self.trailing_days >= self.least_days, "trailing_days holds least_days")
        require(self.cap_minutes > 0 and self.merge_minutes >= 0, "cap_minutes is positive, merge_minutes not negative")


class PriceCascadeSpec(Strict, frozen=True, kw_only=True):
    """The constants of a cascade by price and open interest (L2, domain.md §5.2), for history without prints."""

    window_minutes: float = 5.0
    """The return is taken over this, or over a bar where bars are longer."""
    sigmas: float = 4.0
    """It goes against the side by so many standard deviations of such a return ..."""
    sigma_hours: float = 24.0
    """... over so long before the window ..."""
    least_move: float = 0.006
    """... and by this: 0.6 % for BTC, 1.2 % for DOT."""
    least_drop: float = 0.006
    """Open interest, in coins, falls by this share over the stamps around the window ..."""
    drop_quantile: float = 0.01
    """... and by this quantile of such changes ..."""
    trailing_days: float = 30.0
    """... over so many days, as it stood at the last UTC midnight."""
    reach_minutes: float = 10.0
    """Those stamps lie within this of the window; where one does not, the change is not known and nothing is found."""
    taker_ratio: float = 3.0
    """Takers trade so many times the mean of the hour before against the side."""
    merge_minutes: float = 5.0
    """An onset less than this after an end belongs to the event before; so does that of the very next bar."""
    cap_minutes: float = 60.0
    """No event is longer."""

    def __post_init__(self) -> None:
        require(self.window_minutes > 0 and self.cap_minutes > 0, "window_minutes and cap_minutes are positive")
        require(self.sigmas >= 0 and self.sigma_hours > 0, "sigmas is not negative, sigma_hours positive")
        require(0 <= self.least_move < 1 and 0 <= self.least_drop < 1, "least_move and least_drop are shares")
        require(0 < self.drop_quantile < 1 and self.trailing_days > 0, "drop_quantile lies between 0 and 1")
        require(self.reach_minutes >= 0 and self.taker_ratio >= 0, "reach_minutes and taker_ratio are not negative")
        require(self.merge_minutes >= 0, "merge_minutes is not negative")
