"""What the figures share: the range of prices that is shown, units, and the words for times and gaps."""

import math
from typing import Any, NamedTuple

import numpy as np

from squeeze.heatmaps.protocol import HeatMap
from squeeze.tools.pictures.gather import Seen, absolute
from squeeze.tools.pictures.panel import Heat, Line

PER_MILLE = 1e-3
"""Amounts by price are shown per 0.1 % of price, whatever the width of a bin."""
MILLION = 1e6


class Scale(NamedTuple):
    """The absolute bins [low_bin, high_bin) that are shown: the mark's range, and `reach_log` on either side of it."""

    low_bin: int
    high_bin: int
    bin_log: float

    @classmethod
    def of(cls, seen: Seen, reach_log: float) -> "Scale":
        """Of the whole window."""
        path = seen.marks()
        low, high = math.log(path[:, 1].min()) - reach_log, math.log(path[:, 2].max()) + reach_log
        return cls(math.floor(low / seen.bin_log), math.ceil(high / seen.bin_log), seen.bin_log)

    def prices(self) -> np.ndarray:
        """The middle of each bin."""
        middles: np.ndarray = np.exp((np.arange(self.low_bin, self.high_bin) + 0.5) * self.bin_log)
        return middles

    def heights(self) -> np.ndarray:
        """How much of price each bin covers."""
        return np.diff(np.exp(np.arange(self.low_bin, self.high_bin + 1) * self.bin_log))

    def range(self) -> tuple[float, float]:
        """The lowest and the highest price."""
        return math.exp(self.low_bin * self.bin_log), math.exp(self.high_bin * self.bin_log)

    def cut(self, cells: np.ndarray, first_bin: int) -> np.ndarray:
        """What of an array over absolute bins from `first_bin` on is shown; NaN where it does not reach."""
        out = np.full(self.high_bin - self.low_bin, np.nan)
        start, stop = max(first_bin, self.low_bin), min(first_bin + len(cells), self.high_bin)
        if stop > start:
            out[start - self.low_bin : stop - self.low_bin] = cells[start - first_bin : stop - first_bin]
        return out

    def per_mille(self, cells: np.ndarray) -> np.ndarray:
        """Amounts of a bin as amounts per 0.1 % of price."""
        density: np.ndarray = cells * (PER_MILLE / self.bin_log)
        return density


class Profile(NamedTuple):
    """What a map shows by price: bins of the grid's width counted from the mark, falling prices first, then rising."""

    prices: np.ndarray
    """The middle of each bin."""
    heights: np.ndarray
    cells: dict[str, np.ndarray]
    """By channel, per 0.1 % of price; NaN where not recorded. Each side in its own orientation, as `HeatMap` says."""
    up: np.ndarray
    """Which bins lie above the mark."""

    def either(self, down: str, up: str) -> np.ndarray:
        """One channel below the mark, another above it; what is not recorded counts as nothing."""
        return np.nan_to_num(np.where(self.up, self.cells[up], self.cells[down]))


def profile_of(seen: Seen, scale: Scale, one: HeatMap[Any]) -> Profile:
    """A map as it stands at the end, over the prices that are shown."""
    mark = float(seen.marks()[-1, 3])
    low, high = scale.range()
    bins = math.ceil(max(math.log(high / mark), math.log(mark / low)) / scale.bin_log)
    cells = scale.per_mille(one.outward(mark, scale.bin_log, bins))
    both = np.concatenate([cells[0, :, ::-1], cells[1]], axis=1)
    edges = mark * np.exp(np.arange(-bins, bins + 1) * scale.bin_log)
    named = dict(zip(one.channels, both, strict=True))
    return Profile((edges[1:] + edges[:-1]) / 2, np.diff(edges), named, np.arange(2 * bins) >= bins)


def heat_of(seen: Seen, scale: Scale, name: str, label: str, unit: float) -> Heat:
    """One map over time, per 0.1 % of price and so many of a unit."""
    cells = scale.per_mille(absolute(seen, name, scale.low_bin, scale.high_bin)) / unit
    middles = (seen.edges()[:-1] + seen.edges()[1:]) // 2
    return Heat(middles, scale.prices(), cells, label)


def mark_line(seen: Seen) -> Line:
    """The mark over a heat; it breaks where no step had one."""
    path = seen.marks()
    x, y = with_breaks(path[:, 0].astype(np.int64), path[:, 3], seen.step_ns)
    return Line(x, y, "mark price", "#FFFFFF", 1.5, outline=True)


def with_breaks(times: np.ndarray, values: np.ndarray, step_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """A NaN between two times that are further apart than a step.

    >>> with_breaks(np.array([1, 2, 5]), np.array([1.0, 2.0, 3.0]), 1)[1].tolist()
    [1.0, 2.0, nan, 3.0]
    """
    gaps = np.flatnonzero(np.diff(times) > step_ns) + 1
    return np.insert(times, gaps, times[gaps - 1] + step_ns), np.insert(values, gaps, np.nan)


def utc(ns: int) -> str:
    """A time to the minute, in words that say so."""
    return f"{np.datetime64(int(ns), 'ns').astype('datetime64[m]')}".replace("T", " ") + " UTC"
