"""Zones of one map (domain.md §4.1): maximal runs of bins over a threshold, close runs joined, small ones dropped."""

import math
from typing import no_type_check

import msgspec
import numpy as np
from numba import njit

from squeeze.spec import FrameSpec

JOIN_BINS = 2
"""Runs with fewer bins than this between them are one zone."""


class Zone(msgspec.Struct, frozen=True):
    """A run of dense bins on one side; distances are log price outward from the mark, masses shares of interest."""

    side: int
    near_log: float
    far_log: float
    centroid_log: float
    peak_share: float
    mass_share: float
    age_days: float

    @property
    def width_log(self) -> float:
        """From the near to the far edge, in log price."""
        return self.far_log - self.near_log


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _smooth(cells: np.ndarray) -> np.ndarray:
    """[¼ ½ ¼], the borders mirrored, so that the sum is kept."""
    out = np.empty(cells.size)
    for i in range(cells.size):
        before, after = cells[max(0, i - 1)], cells[min(cells.size - 1, i + 1)]
        out[i] = 0.25 * before + 0.5 * cells[i] + 0.25 * after
    return out


@njit(cache=True)
@no_type_check
def _runs(cells: np.ndarray, threshold: float, least: float) -> np.ndarray:
    """First bin, last bin, centroid, peak and mass of each zone, nearest first."""
    found = np.empty((cells.size, 5))
    count, at = 0, 0
    while at < cells.size:
        if cells[at] < threshold:
            at += 1
            continue
        first = last = at
        scan = at + 1
        while scan < cells.size and scan - last <= JOIN_BINS:
            if cells[scan] >= threshold:
                last = scan
            scan += 1
        mass, moment, peak = 0.0, 0.0, 0.0
        for i in range(first, last + 1):
            mass += cells[i]
            moment += cells[i] * (i + 0.5)
            peak = max(peak, cells[i])
        if mass >= least:
            found[count, 0], found[count, 1] = first, last
            found[count, 2], found[count, 3], found[count, 4] = moment / mass, peak, mass
            count += 1
        at = last + 1
    return found[:count]


def zones(share: np.ndarray, born_share_days: np.ndarray, days: float, bin_log: float, spec: FrameSpec) -> list[Zone]:
    """The zones of both sides, each side's nearest first.

    `share` (side, price) is the map as shares of open interest by bins outward from the mark, over the whole reach;
    `born_share_days` the same times birth time, `days` the time now. A bin belongs to a zone if, smoothed, it reaches
    both the side's quantile `zone_quantile` and `zone_floor_share`.
    """
    found = []
    for side in range(2):
        cells = _smooth(share[side])
        threshold = max(_quantile(cells, spec.zone_quantile), spec.zone_floor_share)
        for first, last, centroid, peak, mass in _runs(cells, threshold, spec.zone_mass_share).tolist():
            held = slice(int(first), int(last) + 1)
            raw = float(share[side, held].sum())
            age = days - float(born_share_days[side, held].sum()) / raw if raw > 0 else math.nan
            found.append(Zone(side, first * bin_log, (last + 1) * bin_log, centroid * bin_log, peak, mass, age))
    return found


def _quantile(cells: np.ndarray, q: float) -> float:
    """The smallest value that at least a share q of the cells do not exceed."""
    rank = min(cells.size - 1, max(0, math.ceil(q * cells.size) - 1))
    return float(np.partition(cells, rank)[rank])
