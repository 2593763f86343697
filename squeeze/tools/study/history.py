"""One market's history, folded once through `MarketState`: bars, zones and masses by step, and what steps were like.

Everything of a step was known at its close. Zones lie in one flat table, a row for each zone of each step.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.market.steps import Step
from squeeze.scalars.heat import TINY_SHARE
from squeeze.spec import Spec
from squeeze.state import BLIND, MarketState
from squeeze.tools.study.matching import UNKNOWN, hour_of_week, trailing_rank

ASYMMETRY_LOG = 0.02
"""Masses within this of the mark make up the asymmetry A_2."""

Steps = Float[np.ndarray, " _"]
Rows = Float[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, eq=False)
class Zones:
    """Every zone of every step; distances are log price outward from that step's mark, masses shares of interest."""

    step: Int[np.ndarray, " zone"]
    side: Int[np.ndarray, " zone"]
    near_log: Rows
    far_log: Rows
    centroid_log: Rows
    mass_share: Rows
    is_major: Bool[np.ndarray, " zone"]
    """At or over the side's 90 % quantile of zone masses of the thirty days before the UTC midnight."""

    @property
    def thickness(self) -> Rows:
        """Share of open interest per basis point."""
        return np.asarray(self.mass_share / (1e4 * (self.far_log - self.near_log)))


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Steps that follow each other; NaN and `seen` False where there was no bar or the map was warming up."""

    symbol: str
    length_ns: int
    closes_ns: Int64[np.ndarray, " step"]
    high: Steps
    low: Steps
    close: Steps
    volume_base: Steps
    seen: Bool[np.ndarray, " step"]
    ahead_share: Float[np.ndarray, "step side"]
    """Mass within 2 % of the mark, as a share of open interest."""
    zones: Zones

    @property
    def days(self) -> Int[np.ndarray, " step"]:
        """The UTC day that a step belongs to: that of its opening."""
        return np.asarray((self.closes_ns - self.length_ns) // DAY_NS)

    def steps_in(self, minutes: float | int) -> int:
        """Steps that cover so many minutes, at least one."""
        return max(1, math.ceil(minutes * MINUTE_NS / self.length_ns))

    def step_at(self, at_ns: np.ndarray) -> Int[np.ndarray, " row"]:
        """The last step that closed at or before each time; -1 before the first."""
        return np.asarray(np.searchsorted(self.closes_ns, at_ns, "right") - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What each step was like, causally: what events are matched on and split by."""

    sigma_1h_log: Steps
    """Root of the sum of squared returns of the last hour."""
    return_4h_log: Steps
    sigma_4h_log: Steps
    """Standard deviation of a four-hour return, by the last day's volatility."""
    trend: Steps
    """Return of the last four hours in such deviations."""
    hour_of_week: Int[np.ndarray, " step"]
    volatility_decile: Int[np.ndarray, " step"]
    extreme_decile: Int[np.ndarray, "step side"]
    """How far the mark is from the four-hour extreme that a side's danger lies beyond, 0 the nearest."""
    volatility_tercile: Int[np.ndarray, " step"]
    trend_tercile: Int[np.ndarray, " step"]
    """By the trend's strength, whatever its sign."""

    def extreme_keys(self, side: int) -> list[Int[np.ndarray, " step"]]:
        """Strata that know the simple rival of any zone: distance from the last extreme × volatility, then less."""
        decile, extreme = self.volatility_decile, self.extreme_decile[:, side]
        return [np.where((decile >= 0) & (extreme >= 0), 10 * extreme + decile, UNKNOWN), extreme]

    @property
    def keys(self) -> list[Int[np.ndarray, " step"]]:
        """Strata, the finest first: hour of week × volatility decile, hour of day × decile, decile."""
        decile = self.volatility_decile
        finest = np.where(decile >= 0, 10 * self.hour_of_week + decile, UNKNOWN)
        return [finest, np.where(decile >= 0, 10 * (self.hour_of_week % 24) + decile, UNKNOWN), decile]


def fold(steps: Iterable[Step], spec: Spec) -> History:
    """The history of these steps."""
    state = MarketState(spec)
    within = state.scalar_names.index(f"mass_within_{100 * ASYMMETRY_LOG:g}pct")
    bars, clock, table = array("d"), array("q"), array("d")
    for number, step in enumerate(steps):
        frame = state.advance(step)
        ahead = np.exp(frame.scalars[:, within].astype(float)) - TINY_SHARE
        volume_base = step.venue(spec.market.bars.venue).volume_base
        bars.extend((frame.mark.high, frame.mark.low, frame.mark.close, volume_base, *ahead.tolist()))
        clock.extend((frame.close_ns, int(not frame.unhealthy & BLIND)))
        if not frame.unhealthy & BLIND:
            for zone in frame.zones:
                table.extend((number, zone.side, zone.near_log, zone.far_log, zone.centroid_log, zone.mass_share))
    values, clocks = np.array(bars).reshape(-1, 6), np.array(clock, np.int64).reshape(-1, 2)
    values[clocks[:, 1] == 0, 4:] = np.nan
    return history(spec.market.symbol, state.length_ns, clocks, values, np.array(table).reshape(-1, 6))


def history(symbol: str, length_ns: int, clocks: np.ndarray, bars: np.ndarray, table: np.ndarray) -> History:
    """A history from plain arrays.

    `clocks` holds close time and whether seen; `bars` high, low, close, volume in base coins, and the mass within 2 %
    of either side; `table` step, side, near, far, centroid and mass of each zone, in the order of steps.
    """
    step, side = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    major = is_major(clocks[step, 0], side, table[:, 5])
    near, far, centroid, mass = table[:, 2:].T
    zones = Zones(step, side, near, far, centroid, mass, major)
    high, low, close, volume_base = bars[:, :4].T
    return History(
        symbol, length_ns, clocks[:, 0], high, low, close, volume_base, clocks[:, 1] == 1, bars[:, 4:], zones
    )


def is_major(at_ns: np.ndarray, side: np.ndarray, mass_share: np.ndarray) -> Bool[np.ndarray, " zone"]:
    """Whether a zone's mass reaches its side's quantile of the days before; False while those are unknown.

    >>> day = np.repeat(np.arange(3), 100) * DAY_NS
    >>> mass = np.tile(np.arange(100.0), 3)
    >>> is_major(day, day * 0, mass).reshape(3, 100).sum(axis=1).tolist()
    [0, 0, 10]
    """
    out = np.zeros(len(mass_share), bool)
    for s in range(2):
        own = side == s
        out[own] = trailing_rank(mass_share[own], at_ns[own], 10) == 9
    return out


def setting(held: History) -> Setting:
    """What each step was like, from bars up to its close."""
    returns = np.diff(np.log(held.close), prepend=np.nan)
    hour, four, day = (held.steps_in(m) for m in (60, 240, 1440))
    sigma_1h = np.sqrt(rolling_mean(returns**2, hour) * hour)
    sigma_4h = np.sqrt(rolling_mean(returns**2, day) * four)
    return_4h = np.log(held.close) - np.log(_before(held.close, four))
    trend = return_4h / np.where(sigma_4h > 0, sigma_4h, np.nan)
    volatility = np.where(held.seen, sigma_1h, np.nan)
    strength = np.where(held.seen, np.abs(trend), np.nan)
    opens_ns = held.closes_ns - held.length_ns
    below = np.log(held.close / _trailing(held.low, four, np.fmin)) / sigma_4h
    above = np.log(_trailing(held.high, four, np.fmax) / held.close) / sigma_4h
    extremes = [trailing_rank(np.where(held.seen, away, np.nan), opens_ns, 10) for away in (below, above)]
    return Setting(
        sigma_1h, return_4h, sigma_4h, trend, hour_of_week(opens_ns), trailing_rank(volatility, opens_ns, 10),
        np.stack(extremes, axis=1), trailing_rank(volatility, opens_ns, 3), trailing_rank(strength, opens_ns, 3),
    )  # fmt: skip


def rolling_mean(values: Steps, count: int) -> Steps:
    """Over the last `count` steps; NaN where fewer than three quarters of them are known."""
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    low, high = np.maximum(np.arange(1, len(values) + 1) - count, 0), np.arange(1, len(values) + 1)
    held = counts[high] - counts[low]
    return np.asarray(np.where(held >= 0.75 * count, sums[high] - sums[low], np.nan) / np.maximum(held, 1))


def _trailing(values: Steps, count: int, extreme: np.ufunc) -> Steps:
    """The extreme of the last `count` steps, unknown ones left out."""
    padded = np.concatenate([np.full(count - 1, np.nan), values])
    return np.asarray(extreme.reduce(np.lib.stride_tricks.sliding_window_view(padded, count), axis=1))


def _before(values: Steps, count: int) -> Steps:
    """The value so many steps ago."""
    return np.concatenate([np.full(min(count, len(values)), np.nan), values[: max(len(values) - count, 0)]])
