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

from squeeze.heatmaps import stops_kernel
from squeeze.heatmaps.protocol import check, check_candle, hours_name
from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require


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
    steps: list[float] = stops_kernel.round_steps(price, least, most).tolist()
    return steps


def round_levels(price: float, low: float, high: float, least: float, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Log price and weight of the round numbers from `low` to `high`, step by step.

    >>> logs, weights = round_levels(100.0, 85.0, 115.0, 0.1, 0.2)
    >>> np.exp(logs).round(6).tolist(), weights.round(4).tolist()
    ([90.0, 100.0, 110.0, 100.0], [0.1111, 0.1, 0.0909, 0.2])
    """
    logs, weights = stops_kernel.round_levels(price, low, high, least, most)
    return logs, weights


class StopMap:
    """One venue's extremes of the last price, and the density of stops that follows from them and from the mark."""

    def __init__(self, spec: StopsSpec) -> None:
        self.spec = spec
        self.windows_ns = np.array([round(h * HOUR_NS) for h in spec.windows_hours], dtype=np.int64)
        self._slots_ns, self._stale_ns = self.windows_ns // spec.slots, spec.stale_minutes * MINUTE_NS
        windows = len(self.windows_ns)
        self.extreme = np.full((2, windows, spec.slots), -np.inf)
        """Minus the log low, and the log high, by part of a window; −∞ where nothing was recorded."""
        self.extreme_ns = np.zeros((2, windows, spec.slots), dtype=np.int64)
        """Close of the last step that was there."""
        self.held = np.full((2, windows), -np.inf)
        """The greatest of each window's parts."""
        self.held_ns = np.zeros((2, windows), dtype=np.int64)
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
        return not self.clock[1] or self.age_ns > self._stale_ns

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Take in the range of the last price; without one the extremes stay, and expire with their windows."""
        check(mark, close_ns, int(self.clock[0]))
        low = high = math.nan
        if part.last is not None:
            check_candle("last", part.last)
            low, high = part.last.low, part.last.high
        stops_kernel.step(
            self.extreme, self.extreme_ns, self.held, self.held_ns, self.newest, self._slots_ns, self.clock, self.mark,
            low, high, part.last is not None, mark.close, close_ns,
        )  # fmt: skip

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """(side, window): log price of the low and the high, NaN if there is none, and their age in nanoseconds.

        Of several alike the youngest.
        """
        signed = np.where(np.isfinite(self.held), self.held, np.nan) * np.array([[-1.0], [1.0]])
        return signed, self.clock[0] - self.held_ns

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): the share of a side's stops in each bin; NaN beyond reach, and without any level."""
        spec, out = self.spec, np.empty((2, 1, bins))
        stops_kernel.outward(
            self.held, self.held_ns, self.windows_ns, self.clock, self._stale_ns, spec.least_step, spec.most_step,
            spec.round_weight, spec.beyond_log, spec.reach_log, mark, width_log, out,
        )  # fmt: skip
        return out

    def scalars(self) -> np.ndarray:
        """By window: log price outward from the mark to the extreme ahead, and its age; then how old the record is."""
        out = np.empty((2, len(self.scalar_names)))
        stops_kernel.scalars(self.held, self.held_ns, self.clock, self._stale_ns, self.mark, out)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        return {name: getattr(self, name) for name in STATE_ARRAYS}


STATE_ARRAYS = ("extreme", "extreme_ns", "held", "held_ns", "newest", "clock", "mark")
