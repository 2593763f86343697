"""Venue divergence: the exchanges' liquidation maps do not say the same.

domain.md §4.2, 3. Each venue's map within `reach_log` on both sides is scaled to a sum of one on the common grid. Two
venues differ by the Jensen-Shannon distance (the root of the divergence in bits, 0 for equal maps and 1 for maps that
share no bin) and by the Wasserstein-1 distance (how far mass would have to be moved, in log price). `score` is the
first, as a mean over pairs weighted by the product of their open interests; both sides say the same.

The distance is unusual if it is greater than its own trailing quantile: that of a histogram in which each step weighs
as long as it lasted and is forgotten exponentially, so that the quantile knows nothing of this step, silence adds
nothing, and the length of steps does not matter. Zones of single venues are not tracked: their nearest major zone is
stood in for by the nearest bin that reaches the venue's own Q90 of that side, and that part of the flag has a side.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "venue_divergence"
EVIDENCE = ("w1_log", "nearest_gap_log", "usual_score", "history_days", "pairs")
REASON = (
    "venues disagree, distance {score:.2f}: mass lies {w1_log:.2%} apart, the nearest dense levels {side} "
    "{nearest_gap_log:.2%}"
)
CELLS = 200
"""Of the histogram: each is 0.005 of a score wide."""
MEMORY = np.dtype([("minutes", "f8", (CELLS,)), ("close_ns", "i8")], align=True)
"""Minutes spent in each cell, as of `close_ns`."""

MINUTE_NS = 60 * 10**9
DAY_MINUTES = 1440


class Thresholds(Strict, frozen=True, kw_only=True):
    """When venues diverge."""

    reach_log: float = 0.05
    """How far from the mark maps are compared, on both sides; less where the scene ends earlier."""
    least_score: float = 0.35
    """A distance above this raises the flag ..."""
    quantile: float = 0.95
    """... if it is also above this trailing quantile of itself."""
    memory_days: float = 30.0
    """Time after which the histogram has forgotten all but 1/e."""
    least_history_days: float = 1.0
    """No quantile is told from less."""
    dense_quantile: float = 0.90
    """A venue's bin is dense from this quantile of its bins on that side."""
    nearest_gap_log: float = 0.005
    """Nearest dense bins further apart than this, as a mean over pairs, raise the flag by themselves."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0 and self.nearest_gap_log > 0, "reach_log and nearest_gap_log are positive")
        require(0 < self.least_score < 1, "least_score lies between 0 and 1")
        require(0 < self.quantile < 1 and 0 < self.dense_quantile < 1, "quantiles lie between 0 and 1")
        require(0 < self.least_history_days < self.memory_days, "least_history_days is below memory_days")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The mean distance of the venues, against what is usual, and on each side that of their nearest dense bins."""
    now, maps = scene.now[0], scene.venue_heat
    venues, bins = maps.shape[0], min(maps.shape[2], round(thresholds.reach_log / now.bin_log) + 1)
    lines = np.zeros((venues, 2 * bins - 1))
    weights = np.zeros(venues)
    for venue in range(venues):
        if fill_line(maps[venue], lines[venue]) and scene.venues[venue].open_interest_base > 0:
            weights[venue] = scene.venues[venue].open_interest_base
    score, w1, weight, pairs = 0.0, 0.0, 0.0, 0
    for one in range(venues):
        for other in range(one):
            pair = weights[one] * weights[other]
            if pair > 0:
                score += pair * jensen_shannon(lines[one], lines[other])
                w1 += pair * now.bin_log * wasserstein_bins(lines[one], lines[other])
                weight += pair
                pairs += 1
    score, w1 = (score / weight, w1 / weight) if pairs else (np.nan, np.nan)

    forget(memory, now.close_ns, thresholds.memory_days)
    history_days = memory.minutes.sum() / DAY_MINUTES
    usual = trailing_quantile(memory, thresholds.quantile) if history_days >= thresholds.least_history_days else np.nan
    unusual = score > usual and score > thresholds.least_score
    if pairs:
        memory.minutes[min(CELLS - 1, int(score * CELLS))] += now.step_ns / MINUTE_NS

    for side in range(2):
        gap = nearest_gap(maps[:, side, :bins], weights, thresholds.dense_quantile) * now.bin_log
        found = out[side]
        found.score, found.known_at_ns = score, now.close_ns
        found.flag = int(unusual or gap > thresholds.nearest_gap_log)  # a NaN is neither
        found.evidence[:] = np.nan
        found.evidence[0], found.evidence[1], found.evidence[2] = w1, gap, usual
        found.evidence[3], found.evidence[4] = history_days, pairs


@njit(cache=True)
@no_type_check
def fill_line(heat: np.ndarray, line: np.ndarray) -> bool:
    """A map's two sides as one line of rising price with a sum of one; False if it was not recorded or is empty."""
    middle = line.size // 2
    for i in range(middle + 1):
        line[middle - i] += heat[0, i]
        line[middle + i] += heat[1, i]
    total = line.sum()
    if not total > 0:
        return False
    line /= total
    return True


@njit(cache=True)
@no_type_check
def jensen_shannon(one: np.ndarray, other: np.ndarray) -> float:
    """Root of the Jensen-Shannon divergence in bits: 0 for equal shares, 1 for shares that never meet."""
    divergence = 0.0
    for i in range(one.size):
        p, q = one[i], other[i]
        if p > 0:
            divergence += p * math.log2(2 * p / (p + q))
        if q > 0:
            divergence += q * math.log2(2 * q / (p + q))
    return math.sqrt(min(1.0, max(0.0, divergence / 2)))


@njit(cache=True)
@no_type_check
def wasserstein_bins(one: np.ndarray, other: np.ndarray) -> float:
    """Mean number of bins that the mass of one must be moved by to become the other."""
    ahead, moved = 0.0, 0.0
    for i in range(one.size):
        ahead += one[i] - other[i]
        moved += abs(ahead)
    return moved


@njit(cache=True)
@no_type_check
def nearest_gap(heat: np.ndarray, weights: np.ndarray, quantile: float) -> float:
    """Bins between the venues' nearest dense bins, the weighted mean over pairs; NaN where no two have one."""
    nearest = np.full(weights.size, -1)
    for venue in range(weights.size):
        if weights[venue] > 0:
            dense = np.sort(heat[venue])[int(quantile * (heat.shape[1] - 1))]
            for i in range(heat.shape[1] - 1, -1, -1):
                if heat[venue, i] > 0 and heat[venue, i] >= dense:
                    nearest[venue] = i
    gap, weight = 0.0, 0.0
    for one in range(weights.size):
        for other in range(one):
            if nearest[one] >= 0 and nearest[other] >= 0:
                gap += weights[one] * weights[other] * abs(nearest[one] - nearest[other])
                weight += weights[one] * weights[other]
    return gap / weight if weight > 0 else np.nan


@njit(cache=True)
@no_type_check
def forget(memory: np.void, close_ns: int, memory_days: float) -> None:
    """Let the histogram fade over the time that passed, silence included."""
    if memory.close_ns > 0:
        passed_days = (close_ns - memory.close_ns) / MINUTE_NS / DAY_MINUTES
        memory.minutes[:] *= math.exp(-passed_days / memory_days)
    memory.close_ns = close_ns


@njit(cache=True)
@no_type_check
def trailing_quantile(memory: np.void, quantile: float) -> float:
    """Score below which that share of the remembered time was spent, linear within a cell."""
    left = quantile * memory.minutes.sum()
    for cell in range(CELLS):
        if memory.minutes[cell] >= left:
            return (cell + left / memory.minutes[cell]) / CELLS
        left -= memory.minutes[cell]
    return 1.0
