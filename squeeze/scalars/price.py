"""Named numbers of one step and side from trailing bars alone: volatility, range, return, volume, extremes, approach.

Each side is oriented *down is danger*: the short side sees minus the log price, so highs become lows. Nothing here has
a memory: a scalar is a function of the trailing window, which history and the live path hold alike.
"""

import math
from collections.abc import Iterator
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.spec import FrameSpec

PARKINSON = 4 * math.log(2)
"""(high - low)² / (4 ln 2) estimates a bar's variance (Parkinson 1980)."""
TINY_VARIANCE = 1e-10
"""Added under a logarithm of a variance: a bar that never moved has σ of 0.1 basis points."""


class TrailingBars:
    """The last bars in contiguous arrays, oldest first, in log price; each is written twice: a window never wraps."""

    FIELDS = ("open", "high", "low", "close", "volume")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring = np.zeros((len(self.FIELDS), 2 * capacity))
        self.count = 0

    def push(self, open_: float, high: float, low: float, close: float, volume_base: float) -> None:
        """Append a bar, prices in quote currency."""
        at = self.count % self.capacity
        row = (math.log(open_), math.log(high), math.log(low), math.log(close), volume_base)
        for field, value in enumerate(row):
            self.ring[field, at] = self.ring[field, at + self.capacity] = value
        self.count += 1

    def window(self) -> np.ndarray:
        """(field, step): all bars held, oldest first; a view that the next push may overwrite."""
        held = min(self.count, self.capacity)
        end = self.count % self.capacity + self.capacity if self.count >= self.capacity else self.count
        return self.ring[:, end - held : end]


def steps_in(minutes: float, step_seconds: int) -> int:
    """Whole steps in a window, at least one.

    >>> steps_in(60.0, 900), steps_in(5.0, 900)
    (4, 1)
    """
    return max(1, round(minutes * 60 / step_seconds))


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _mean_range_variance(high: np.ndarray, low: np.ndarray, steps: int) -> float:
    n = high.size
    first = max(0, n - steps)
    total = 0.0
    for i in range(first, n):
        total += (high[i] - low[i]) ** 2
    return total / (n - first) / PARKINSON


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _price_scalars(
    bars: np.ndarray,
    windows: np.ndarray,
    fast: int,
    slow: int,
    hour: int,
    skip: int,
    velocity_decay: float,
    step_minutes: float,
    horizon: tuple[int, int, float],
    out: np.ndarray,
) -> float:
    """Fill `out` (side, scalar) in the order of `price_names`; the deviation over the horizon, in so many steps, from
    the mean of two windows.
    """
    opens, highs, lows, closes, volumes = bars[0], bars[1], bars[2], bars[3], bars[4]
    n = closes.size
    sigma_fast = math.sqrt(_mean_range_variance(highs, lows, fast)) + 1e-6
    sigma_slow = math.sqrt(_mean_range_variance(highs, lows, slow)) + 1e-6
    longest = min(n, windows[-1])
    volume_base = 0.0
    for i in range(n - longest, n):
        volume_base += volumes[i]
    volume_base /= longest
    per_minute = 0.5 * math.log(step_minutes)
    last = closes[n - 1]
    at = 0
    for w in range(windows.size):
        k = min(n, windows[w])
        first = n - k
        squares, fall, volume = 0.0, 0.0, 0.0
        for i in range(max(1, first), n):
            r = closes[i] - closes[i - 1]
            squares += r * r
            fall += r * r if r < 0 else 0.0
        high, low = highs[first], lows[first]
        for i in range(first, n):
            volume += volumes[i]
            high = max(high, highs[i])
            low = min(low, lows[i])
        returns = max(1, n - max(1, first))
        share = fall / squares if squares > 0 else 0.5
        shared = (
            0.5 * math.log(squares / returns + TINY_VARIANCE) - per_minute,
            0.5 * math.log(_mean_range_variance(highs, lows, k) + TINY_VARIANCE) - per_minute,
            math.log((volume / k + 1e-9) / (volume_base + 1e-9)),
            math.log(high - low + 1e-5),
        )
        # The extremes a fresh bar may break: the same window, ended `skip` steps ago.
        old_first, old_last = max(0, first - skip), max(1, n - skip)
        old_high, old_low = highs[old_first], lows[old_first]
        for i in range(old_first, old_last):
            old_high = max(old_high, highs[i])
            old_low = min(old_low, lows[i])
        change = (last - closes[max(0, n - 1 - k)]) / (sigma_slow * math.sqrt(k))
        scale_slow, scale_fast = sigma_slow * math.sqrt(hour), sigma_fast * math.sqrt(hour)
        for side in range(2):
            for j in range(4):
                out[side, at + j] = shared[j]
        out[0, at + 4], out[1, at + 4] = share, 1.0 - share
        out[0, at + 5], out[1, at + 5] = change, -change
        out[0, at + 6], out[1, at + 6] = (last - low) / scale_slow, (high - last) / scale_slow
        out[0, at + 7], out[1, at + 7] = (high - last) / scale_slow, (last - low) / scale_slow
        out[0, at + 8], out[1, at + 8] = (last - old_low) / scale_fast, (old_high - last) / scale_fast
        at += 9
    body = (last - opens[n - 1]) / sigma_slow
    under = (min(last, opens[n - 1]) - lows[n - 1]) / sigma_slow
    over = (highs[n - 1] - max(last, opens[n - 1])) / sigma_slow
    # Exponentially smoothed speed toward danger, now and one step ago; the difference is the acceleration.
    speed, before, weight = 0.0, 0.0, 1.0 - velocity_decay
    for i in range(max(1, n - 16 * hour), n):
        before = speed
        speed = velocity_decay * speed + weight * (closes[i - 1] - closes[i]) / step_minutes
    acceleration = (speed - before) / step_minutes
    sigma_minute = sigma_fast / math.sqrt(step_minutes)
    for side in range(2):
        sign = 1.0 if side == 0 else -1.0
        out[side, at] = sign * body
        out[side, at + 1] = under if side == 0 else over
        out[side, at + 2] = over if side == 0 else under
        out[side, at + 3] = sign * speed
        out[side, at + 4] = sign * speed / sigma_minute
        out[side, at + 5] = sign * acceleration
        out[side, at + 6] = sign * acceleration / sigma_minute
    near, wide, horizon_steps = horizon
    variance = (_mean_range_variance(highs, lows, near) + _mean_range_variance(highs, lows, wide)) / 2
    return math.sqrt(variance * horizon_steps) + 2e-4


class PriceScalars:
    """Everything that follows from trailing bars; `names` in order, `values` per side.

    In windows of `windows_minutes`: `volatility` and `parkinson` (log σ per √minute), `volume_surprise` (log, against
    the longest window), `range` (log of the log range), `downside` (share of variance in the dangerous direction),
    `return` (in slow σ), `to_extreme` and `from_extreme` (to the dangerous and the other extreme, in slow σ of an
    hour), `fresh_extreme` (the same to the dangerous extreme as it stood `fresh_skip_minutes` ago, in fast σ: negative
    beyond it). Then the last candle in slow σ, and the approach: velocity toward danger in log price per minute and in
    σ per minute, and its acceleration.
    """

    def __init__(self, spec: FrameSpec, step_seconds: int) -> None:
        self.step_minutes = step_seconds / 60
        self.windows = np.array([steps_in(m, step_seconds) for m in spec.windows_minutes])
        self.fast, self.slow = (steps_in(m, step_seconds) for m in spec.sigma_windows_minutes)
        self.hour = steps_in(60.0, step_seconds)
        self.skip = steps_in(spec.fresh_skip_minutes, step_seconds)
        self.decay = 0.5 ** (self.step_minutes / spec.velocity_half_life_minutes)
        self.near, self.wide = (steps_in(m, step_seconds) for m in spec.map_sigma_windows_minutes)
        self._horizon = self.near, self.wide, spec.sigma_minutes / self.step_minutes
        self.names = tuple(_price_names(spec))

    @property
    def capacity(self) -> int:
        """Bars that must be held."""
        return int(max(self.windows[-1] + self.skip, self.slow, self.wide, 16 * self.hour)) + 1

    def values(self, bars: np.ndarray) -> tuple[np.ndarray, float]:
        """(side, scalar) from trailing bars (field, step); and the standard deviation of the log price over
        `sigma_minutes`, from the mean of two Parkinson windows.
        """
        out = np.empty((2, len(self.names)))
        sigma = _price_scalars(
            bars, self.windows, self.fast, self.slow, self.hour, self.skip, self.decay, self.step_minutes,
            self._horizon, out,
        )  # fmt: skip
        return out, sigma


def _price_names(spec: FrameSpec) -> Iterator[str]:
    per_window = (
        "volatility",
        "parkinson",
        "volume_surprise",
        "range",
        "downside",
        "return",
        "to_extreme",
        "from_extreme",
        "fresh_extreme",
    )
    for minutes in spec.windows_minutes:
        yield from (f"{name}_{minutes:g}m" for name in per_window)
    yield from ("candle_body", "candle_danger_wick", "candle_other_wick")
    yield from (
        "approach_velocity",
        "approach_velocity_sigmas",
        "approach_acceleration",
        "approach_acceleration_sigmas",
    )
