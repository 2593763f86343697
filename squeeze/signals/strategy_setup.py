"""The strategy up to the entry: when a zone is worth watching, gives way, is cleared, and when a trade is advised.

One struct for each row of domain.md §6.1's table; distances in per cent are of log price.
"""

import math
from typing import Literal

from squeeze.strict import Strict, require

Input = Literal["spread", "depth", "volume", "depletion", "open_interest"]


class HealthRules(Strict, frozen=True, kw_only=True):
    """STALE: from anywhere, while anything is too old to act on, and back."""

    gap_seconds: float = 10.0
    """Between two looks lay more than this, and more than three of the machine's clock: nobody watched meanwhile."""
    healthy_seconds: float = 60.0
    """After so long without anything stale the machine begins again."""

    def __post_init__(self) -> None:
        require(0 < self.gap_seconds < math.inf, "gap_seconds is positive")
        require(0 <= self.healthy_seconds < math.inf, "healthy_seconds is not negative")


class ZoneRules(Strict, frozen=True, kw_only=True):
    """IDLE to ZONE_AHEAD: which zone is worth watching, and when it no longer is."""

    reach_percent: float = 3.0
    """A major zone, or the first of a stack, whose near edge lies within this of the mark: 3 for BTC, 5 for DOT ..."""
    least_distance_percent: float = 0.1
    """... and at least so far from it."""
    least_rank: float | None = None
    """Null: by `major`, the heaviest tenth of the side's zones of 90 days. Or watched from this rank among them on."""
    least_age_minutes: float = 10.0
    """It has been there for so long."""
    oldest_mass_hours: float = 24.0
    """Where no pattern says whether the map is stale for the horizon, its mass is at most so old on average."""
    thinned_share: float = 0.5
    """It is given up once it lost this share of its greatest mass of six hours ..."""
    away_ratio: float = 1.5
    """... or the mark is this many times as far away as at first ..."""
    timer_minutes: float = 240.0
    """... or after so long."""

    def __post_init__(self) -> None:
        require(
            0 <= self.least_distance_percent < self.reach_percent < 100,
            "reach_percent exceeds least_distance_percent and stays below 100",
        )
        require(self.least_rank is None or 0 <= self.least_rank <= 1, "least_rank is a share")
        require(self.least_age_minutes >= 0 and self.oldest_mass_hours > 0, "ages are not negative")
        require(0 < self.thinned_share <= 1 and self.away_ratio > 1, "thinned_share is a share, away_ratio exceeds 1")
        require(self.timer_minutes > 0, "timer_minutes is positive")


class ApproachRules(Strict, frozen=True, kw_only=True):
    """ZONE_AHEAD to APPROACH: the price runs toward the zone, and the model agrees."""

    least_velocity_sigmas: float = 1.0
    """Speed toward the zone, in deviations of a minute ..."""
    most_eta_minutes: float = 10.0
    """... with which it is there in at most this ..."""
    false_alarms_per_day: float = 2.0
    """... while the probability passes the alarm threshold of this budget, for the model's `confirm_seconds`. Where
    the model's card has none, the threshold is `arm_ratio` base rates.
    """
    alarm_method: Literal["expected", "confident"] = "confident"
    """Which of the card's thresholds of that budget; the other one where there is only that."""
    timer_minutes: float = 30.0
    """Given up after so long."""

    def __post_init__(self) -> None:
        require(self.least_velocity_sigmas >= 0 and self.most_eta_minutes > 0, "velocity and eta make no sense")
        require(self.false_alarms_per_day > 0 and self.timer_minutes > 0, "budget and timer are positive")


class TriggerRules(Strict, frozen=True, kw_only=True):
    """APPROACH to TRIGGERED: the mark is in the zone and its positions are being liquidated."""

    seconds: Literal[10, 60] = 10
    """Liquidations of so long are counted: 60 where looks are a minute apart, who would see ten seconds of sixty."""
    least_prints: int = 5
    """So many of the side in that time, and as many USD as the 95th percentile of such sums of ten seconds; of a
    minute, as the onset of a cascade asks for.
    """
    taker_ratio: float = 3.0
    """Where liquidations cannot be trusted: takers hit the side with so many times its share of the usual volume, and
    open interest ticked down.
    """
    timeout_seconds: float = 120.0
    """Without an onset by then it was nothing ..."""
    back_outside_atr: float = 0.25
    """... nor if the mark comes back out of the zone by this many mean true ranges of 15 minutes: a false break."""

    def __post_init__(self) -> None:
        require(self.least_prints >= 1 and self.taker_ratio > 0, "least_prints and taker_ratio are positive")
        require(self.timeout_seconds > 0 and self.back_outside_atr >= 0, "timeout and back_outside_atr make no sense")


class CascadeRules(Strict, frozen=True, kw_only=True):
    """TRIGGERED to CASCADE by the onset rule (i) to (iii) of domain.md §5.1, and its end."""

    least_prints: int = 5
    """So many prints of the side in a minute ..."""
    side_share: float = 0.8
    """... and this share of all that is liquidated."""
    move_sigmas: float = 3.0
    """Where liquidations cannot be trusted: the mark went this many deviations of its path of six minutes since the
    trigger, on `trigger.taker_ratio` times the usual volume with open interest lower than before.
    """
    end_share: float = 0.2
    """Over when the side's minute stays below this share of its peak ..."""
    end_seconds: float = 60.0
    """... for so long, with no new extreme as long."""
    price_only_end_share: float = 0.5
    """The same of the traded volume, where liquidations cannot be trusted."""
    cap_minutes: float = 60.0
    """After so long it is given up."""

    def __post_init__(self) -> None:
        require(self.least_prints >= 1 and 0 < self.side_share <= 1, "least_prints and side_share make no sense")
        require(self.move_sigmas >= 0, "move_sigmas is not negative")
        require(0 < self.end_share < 1 and 0 < self.price_only_end_share < 1, "end shares lie between 0 and 1")
        require(self.end_seconds > 0 and self.cap_minutes > 0, "end_seconds and cap_minutes are positive")


class EntryRules(Strict, frozen=True, kw_only=True):
    """AFTERMATH to ENTRY: the market has calmed down, the zone is gone, and it pays."""

    window_minutes: float = 15.0
    """No entry later than this after the cascade."""
    most_volume_of_peak: float = 0.5
    """The last minute's volume over the cascade's greatest ..."""
    most_volume_of_usual: float = 1.5
    """... and over the usual one."""
    most_spread_ratio: float = 1.25
    """The widest spread of 30 s over the median of an hour."""
    least_depth_share: float = 0.7
    """Depth within half a percent over its median of an hour."""
    most_range_atr: float = 0.5
    """Range of three minutes over the mean true range of 15 minutes."""
    print_share: float = 1.0
    """θ: the share of liquidations that the feeds report; 1 is the strictest reading."""
    least_depletion: float = 0.05
    """This share of the zones' USD was seen liquidated ..."""
    most_reopened_share: float = 0.5
    """... and less than this came back as open interest."""
    required: tuple[Input, ...] = ("spread", "depth", "volume", "depletion", "open_interest")
    """Inputs without which there is no entry. One that is not named here may be unknown, and the message's quality
    says so; where it is known it must hold all the same.
    """
    mode: Literal["continuation", "reversion", "auto"] = "continuation"
    """Whether the trade goes on with the squeeze or against it; `auto`: by the sign of `expected_return_log`."""
    expected_return_log: tuple[float, float] | None = None
    """Mean log return of the 15 minutes after a cascade of longs and of shorts, as measured; positive goes on in the
    squeeze's direction. Null: not measured; `auto` is then continuation.
    """
    band_bp: float = 2.0
    """The entry is good so far on each side of the mid."""
    mark_seconds: float = 2.0
    """No entry on an older mark."""
    expires_seconds: float = 60.0
    """An entry that is not filled by then is over."""
    fills: Literal["paper", "consumer"] = "paper"
    """Who says that it was filled: the mid (the mark where there is no book) touching the entry, or the consumer."""

    def __post_init__(self) -> None:
        limits = (self.window_minutes, self.most_volume_of_peak, self.most_volume_of_usual, self.most_spread_ratio)
        require(all(0 < limit < math.inf for limit in limits), "window, volumes and spread are positive")
        require(self.least_depth_share >= 0 and self.most_range_atr > 0, "depth and range make no sense")
        require(0 < self.print_share <= 1 and 0 <= self.least_depletion <= 1, "print_share, least_depletion: shares")
        require(self.most_reopened_share > 0 and 0 < self.band_bp < 100, "most_reopened_share, band_bp make no sense")
        require(0 < self.mark_seconds <= 2, "mark_seconds is at most 2: no entry from older data")
        require(0 < self.expires_seconds <= 600, "expires_seconds lies in (0, 600]")
        returns = self.expected_return_log
        require(returns is None or all(map(math.isfinite, returns)), "expected_return_log is finite")
