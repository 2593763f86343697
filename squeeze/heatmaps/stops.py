"""Where stop orders are likely to rest: beyond round numbers and beyond recent extremes. An estimate, not a record [D].

Stop-loss orders cluster just beyond round numbers, and take-profit orders at them (Osler 2003 [1]_); beyond a recent
high or low sit the stops of those who trade its break. So a level at outward distance d from the mark has stops at
x > d, thinning with the distance beyond it:

    density(x) = Σ_levels weight · exp(−(x − d) / λ) / λ

- *Round numbers*: all multiples of a step s, for each s of 1, 2 and 5 × 10^k between `least_step` and `most_step` of
  the mark. Each such multiple has the weight s / price, so that every step carries as much per unit of log price, and
  a number that is round on several scales adds up.
- *Extremes*: the high (upward) and the low (downward) of each window W, with the weight exp(−age / W). One that is the
  extreme of several windows adds up.

What lies behind the mark was triggered. Both families are brought to a sum of 1 within reach, weighed, and the sum of
both is brought to 1 again: per side, within `reach_log`. Beyond reach the view is NaN.

.. [1] Osler, C. (2003), Currency orders and exchange rate dynamics, Journal of Finance 58(5), 1791-1819.
"""

import math

import numpy as np

from squeeze.heatmaps.protocol import check, check_candle, hours_name
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require

FAR_LENGTHS = 20
"""Levels this many λ behind the mark have nothing left ahead of it."""


class StopsSpec(Strict, frozen=True, kw_only=True):
    """Which levels attract stops, and how."""

    windows_hours: tuple[float, ...] = (1.0, 4.0, 24.0, 168.0)
    """Trailing windows of highs and lows."""
    slots: int = 96
    """Parts of a window; an extreme is forgotten with the part it is in."""
    least_step: float = 0.002
    """Smallest step between round numbers, as a share of the mark."""
    most_step: float = 0.2
    """Largest such step."""
    round_weight: float = 0.5
    """Share of round numbers in the density; the rest is that of extremes."""
    beyond_log: float = 0.001
    """λ: how far beyond a level its stops lie on average, in log price."""
    reach_log: float = 0.05
    """How far from the mark the density goes."""
    stale_minutes: float = 60.0
    """Without a recorded price for longer than this nothing but the ages is shown."""

    def __post_init__(self) -> None:
        require(len(self.windows_hours) > 0 and min(self.windows_hours) > 0, "windows_hours are positive")
        require(self.slots > 1, "slots must exceed 1")
        require(0 < self.least_step < self.most_step, "least_step lies between 0 and most_step")
        require(0 <= self.round_weight <= 1, "round_weight is a share")
        require(min(self.beyond_log, self.reach_log, self.stale_minutes) > 0, "lengths and minutes are positive")


def round_steps(price: float, least: float, most: float) -> list[float]:
    """Steps of 1, 2 and 5 × 10^k from `least` to `most` of a price, rising.

    >>> round_steps(60_000.0, 0.002, 0.2)
    [200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0]
    """
    low, high = least * price, most * price
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    steps = [m * 10.0**k if k >= 0 else m / 10.0**-k for k in powers for m in (1, 2, 5)]
    return [s for s in steps if low <= s <= high]


def round_levels(price: float, low: float, high: float, least: float, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Log price and weight of the round numbers from `low` to `high`, step by step.

    >>> logs, weights = round_levels(100.0, 85.0, 115.0, 0.1, 0.2)
    >>> np.exp(logs).round(6).tolist(), weights.round(4).tolist()
    ([90.0, 100.0, 110.0, 100.0], [0.1111, 0.1, 0.0909, 0.2])
    """
    steps = round_steps(price, least, most)
    numbers = [s * np.arange(math.ceil(low / s), math.floor(high / s) + 1) for s in steps]
    levels = np.concatenate([*numbers, np.zeros(0)])
    width = np.repeat(steps, [len(n) for n in numbers])
    return np.log(levels), width / levels


class StopMap:
    """One venue's extremes of the last price, and the density of stops that follows from them and from the mark."""

    def __init__(self, spec: StopsSpec) -> None:
        self.spec = spec
        self.windows_ns = np.array([round(h * HOUR_NS) for h in spec.windows_hours], dtype=np.int64)
        self._slot_ns = [int(w) // spec.slots for w in self.windows_ns]
        windows = len(self.windows_ns)
        self.extreme = np.full((2, windows, spec.slots), -np.inf)
        """Minus the log low, and the log high, by part of a window; −∞ where nothing was recorded."""
        self.extreme_ns = np.zeros((2, windows, spec.slots), dtype=np.int64)
        """Close of the last step that was there."""
        self.newest = np.full(windows, -1, dtype=np.int64)
        self.clock = np.zeros(2, dtype=np.int64)
        """Close of the last step, and of the last with a price."""
        self.mark = np.full(1, np.nan)
        self.channels = ("stops",)
        names = [hours_name(h) for h in spec.windows_hours]
        self.scalar_names = (
            *(f"extreme_{kind}_{n}" for n in names for kind in ("distance", "age_hours")),
            "extreme_age_minutes",
        )

    @property
    def age_ns(self) -> int:
        """Time from the last step with a price to the last close."""
        return int(self.clock[0] - self.clock[1])

    @property
    def stale(self) -> bool:
        """Whether there was no price yet, or not for too long."""
        return not self.clock[1] or self.age_ns > self.spec.stale_minutes * MINUTE_NS

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Take in the range of the last price; without one the extremes stay, and expire with their windows."""
        check(mark, close_ns, int(self.clock[0]))
        if part.last is not None:
            check_candle("last", part.last)
        self._advance(close_ns)
        self.clock[0], self.mark[0] = close_ns, mark.close
        if part.last is None:
            return
        self.clock[1] = close_ns
        reached = (-math.log(part.last.low), math.log(part.last.high))
        for window, newest in enumerate(self.newest.tolist()):
            slot = newest % self.spec.slots
            for side, value in enumerate(reached):
                if value >= self.extreme[side, window, slot]:
                    self.extreme[side, window, slot] = value
                    self.extreme_ns[side, window, slot] = close_ns

    def _advance(self, close_ns: int) -> None:
        for window, slot_ns in enumerate(self._slot_ns):
            number, newest = (close_ns - 1) // slot_ns, int(self.newest[window])
            if number == newest:
                continue
            gone = np.arange(max(newest + 1, number - self.spec.slots + 1), number + 1) % self.spec.slots
            self.extreme[:, window, gone] = -np.inf
            self.extreme_ns[:, window, gone] = 0
            self.newest[window] = number

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """(side, window): log price of the low and the high, NaN if there is none, and their age in nanoseconds.

        Of several alike the youngest.
        """
        highest = self.extreme.max(axis=2)
        at_ns = np.where(self.extreme == highest[:, :, None], self.extreme_ns, 0).max(axis=2)
        signed = np.where(np.isfinite(highest), highest, np.nan) * np.array([[-1.0], [1.0]])
        return signed, self.clock[0] - at_ns

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): the share of a side's stops in each bin; NaN beyond reach, and without any level."""
        out = np.full((2, 1, bins), np.nan)
        if self.stale or not mark > 0:
            return out
        spec, here = self.spec, math.log(mark)
        edges = np.minimum(width_log * np.arange(bins + 1), spec.reach_log)
        edges = np.append(edges, spec.reach_log)
        inside = width_log * np.arange(1, bins + 1) <= spec.reach_log * (1 + 1e-9)
        logs, ages = self.extremes()
        fresh = np.exp(-ages / self.windows_ns)
        reach = math.exp(spec.reach_log + FAR_LENGTHS * spec.beyond_log)
        rounds, weights = round_levels(mark, mark / reach, mark * reach, spec.least_step, spec.most_step)
        for side, sign in enumerate((-1.0, 1.0)):
            known = np.isfinite(logs[side])
            by_extremes = self._shares(sign * (logs[side, known] - here), fresh[side, known], edges)
            by_rounds = self._shares(sign * (rounds - here), weights, edges)
            density = spec.round_weight * by_rounds + (1 - spec.round_weight) * by_extremes
            total = density.sum()
            if total > 0:
                out[side, 0, inside] = density[:-1][inside] / total
        return out

    def _shares(self, distance: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Share of the levels' stops between each two edges; zeros if there are none between the mark and reach."""
        length = self.spec.beyond_log
        near = (distance < self.spec.reach_log) & (distance > -FAR_LENGTHS * length)
        beyond = np.maximum(edges[:, None] - distance[near], 0.0)
        within = -np.expm1(-beyond / length) @ weight[near]
        mass = np.diff(within)
        total = float(mass.sum())
        return mass / total if total > 0 else np.zeros_like(mass)

    def scalars(self) -> np.ndarray:
        """By window: log price outward from the mark to the extreme ahead, and its age; then how old the record is."""
        out = np.full((2, len(self.scalar_names)), np.nan)
        if self.clock[1]:
            out[:, -1] = self.age_ns / MINUTE_NS
        if not self.stale:
            logs, ages = self.extremes()
            out[:, 0:-1:2] = np.array([[-1.0], [1.0]]) * (logs - math.log(self.mark[0]))
            out[:, 1:-1:2] = np.where(np.isfinite(logs), ages / HOUR_NS, np.nan)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        return {name: getattr(self, name) for name in ("extreme", "extreme_ns", "newest", "clock", "mark")}
