"""The liquidation heatmap: where positions opened at past prices would be liquidated, kept step by step.

domain.md §3.5. On a log-price grid the way from entry to liquidation price is a constant shift per leverage, so a
deposit is a shift and a smear. Each contract has a long and a short, so every opening deposits on both sides. One step
does four things in this order: *score* what the mark goes through, *sweep* it away, *close* a share of everything,
*open* new mass. The mass is in base coins, one unit map per leverage bucket: as if every position had that leverage.
Which share truly has it is the model's business.

Element `[side, K]` holds mass × birth time (days), under the prior weights: it moves with the mass and gives a zone's
mean age.
One scale per side makes closing O(1) (`scale` multiplies on reading, divides on deposit).
"""

import math
from typing import Any, no_type_check

import numpy as np
from numba import njit

from squeeze.arrays import SweptMass
from squeeze.heatmaps import grid
from squeeze.spec import MapSpec

CROSSED_BINS = 24
"""Mass further than this on the wrong side of the mark is cleared whole, or its residue would be swept for ever."""
BOUND = 1.05
"""A unit map may exceed open interest by this factor before it is scaled down and flagged (domain.md §3.5, step 5)."""


def shifts(spec: MapSpec) -> tuple[np.ndarray, np.ndarray]:
    """Bins from entry to liquidation price, and the standard deviation of the smear; both (side, bucket).

    `LP / EP = (1 - s/L) / (1 - s·m)`, with s = +1 for longs, -1 for shorts and m the maintenance rate (domain.md §3.1).

    >>> bins, smear = shifts(MapSpec())
    >>> [round(100 * math.expm1(b * 5e-4), 2) for b in bins[0]]
    [-19.64, -9.59, -4.57, -1.56, -0.55]
    """
    sign = np.array([[1.0], [-1.0]])
    leverage = np.array(spec.leverages)
    distance = np.log((1 - sign / leverage) / (1 - sign * spec.maintenance)) / spec.bin_log
    return distance, np.maximum(0.5, spec.smear * np.abs(distance))


def smear_kernels(spec: MapSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights by bucket, padded with zeros; the bin offset of their first element; how many count."""
    distance, deviation = shifts(spec)
    reach = np.ceil(3 * deviation).astype(np.int64)
    length = 2 * reach + 1
    weights = np.zeros((*distance.shape, int(length.max())))
    for index in np.ndindex(distance.shape):
        bins = np.arange(-reach[index], reach[index] + 1)
        off_target = bins + np.round(distance[index]) - distance[index]
        bell = np.exp(-0.5 * (off_target / deviation[index]) ** 2)
        weights[(*index, slice(0, length[index]))] = bell / bell.sum()
    return weights, np.round(distance).astype(np.int64) - reach, length


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _sweep(
    mass: np.ndarray,
    total: np.ndarray,
    scale: np.ndarray,
    front: np.ndarray,
    low: float,
    high: float,
    mark: int,
    rho: float,
) -> np.ndarray:
    """Score and sweep: longs at and above `low`, shorts at and below `high`, the border bin by the part crossed."""
    buckets = total.shape[1]
    swept = np.zeros((2, buckets))
    for side in range(2):
        border = math.floor(low if side == 0 else high)
        part = border + 1 - low if side == 0 else high - border
        first, last = (border + 1, front[0]) if side == 0 else (front[1], border - 1)
        stale_first, stale_last = (
            (mark + CROSSED_BINS + 1, front[0]) if side == 0 else (front[1], mark - CROSSED_BINS - 1)
        )
        for row in range(buckets + 1):
            cells = mass[side, row]
            gone = cells[border] * rho * part
            cells[border] -= gone
            hit = cells[first : last + 1]
            inside = 0.0
            for i in range(hit.size):
                inside += hit[i]
                hit[i] *= 1.0 - rho
            gone += inside * rho
            stale = cells[stale_first : stale_last + 1]
            for i in range(stale.size):
                gone += stale[i]
                stale[i] = 0.0
            if row < buckets:
                total[side, row] -= gone
                swept[side, row] = gone * scale[side]
        if side == 0:
            front[0] = max(border, min(front[0], mark + CROSSED_BINS))
        else:
            front[1] = min(border, max(front[1], mark - CROSSED_BINS))
    return swept


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _open(
    mass: np.ndarray,
    total: np.ndarray,
    scale: np.ndarray,
    front: np.ndarray,
    entries: np.ndarray,
    entry_first: int,
    opened: np.ndarray,
    kernels: np.ndarray,
    offsets: np.ndarray,
    lengths: np.ndarray,
    prior: np.ndarray,
    mark: int,
    birth_days: float,
) -> None:
    """Deposit `opened[side]` coins, entered over the bins from `entry_first` in the shares `entries[side]`."""
    buckets = total.shape[1]
    bins = mass.shape[2]
    for side in range(2):
        for bucket in range(buckets):
            kernel = kernels[side, bucket, : lengths[side, bucket]]
            added = 0.0
            for entry in range(entries.shape[1]):
                coins = opened[side] * entries[side, entry] / scale[side]
                if coins == 0.0:
                    continue
                base = entry_first + entry + offsets[side, bucket]
                # What would land on the crossed side of the mark, or off the array, is dropped.
                start = max(0, -base) if side == 0 else max(0, mark + 1 - base)
                stop = min(kernel.size, mark - base) if side == 0 else min(kernel.size, bins - base)
                if stop <= start:
                    continue
                target = mass[side, bucket, base + start : base + stop]
                born = mass[side, buckets, base + start : base + stop]
                weights = kernel[start:stop]
                age = prior[bucket] * birth_days
                for i in range(weights.size):
                    deposit = coins * weights[i]
                    target[i] += deposit
                    born[i] += deposit * age
                    added += deposit
            total[side, bucket] += added
    front[0] = max(front[0], mark - 1)
    front[1] = min(front[1], mark + 1)


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _outward(mass: np.ndarray, scale: np.ndarray, mark: float, width: float, out: np.ndarray) -> None:
    """Pool unit mass into bins of `width` grid bins outward from the mark, into `out` (side, bucket, price)."""
    bins = mass.shape[2]
    for side in range(2):
        direction = -1.0 if side == 0 else 1.0
        for bucket in range(out.shape[1]):
            cells = mass[side, bucket]
            for price in range(out.shape[2]):
                near = mark + direction * width * price
                far = near + direction * width
                low, high = (far, near) if side == 0 else (near, far)
                low, high = max(0.0, low), min(float(bins), high)
                inside = 0.0
                if high > low:
                    first, last = int(low), min(int(high), bins - 1)
                    if first == last:
                        inside = cells[first] * (high - low)
                    else:
                        inside = cells[first] * (first + 1 - low) + cells[last] * (high - last)
                        for cell in range(first + 1, last):
                            inside += cells[cell]
                out[side, bucket, price] = inside * scale[side]


class LiquidationMap:
    """One venue's map. `step` folds one step in; `outward` and `profile` read it.

    Mass is neither made nor lost but by opens, closes, sweeps and ageing; what the window slides past is counted in
    `lost_base`.
    """

    def __init__(self, spec: MapSpec) -> None:
        self.spec = spec
        self.buckets = len(spec.leverages)
        self.prior = np.array(spec.prior_weights)
        self._kernels, self._offsets, self._lengths = smear_kernels(spec)
        self.mass = np.zeros((2, self.buckets + 1, grid.BINS))
        self.total = np.zeros((2, self.buckets))
        self.scale = np.ones(2)
        self.front = np.array([0, grid.BINS - 1], dtype=np.int64)
        self.traded = np.zeros((2, grid.BINS))
        """Taker buys and sells by entry bin since the last deposit."""
        self.traded_range = np.array([grid.BINS, -1], dtype=np.int64)
        self.swept_base = np.zeros(2)
        """Expected liquidations since the last deposit, under the prior weights: already gone, so not closed again."""
        self.numbers = np.array([0.0, math.nan, 0.0, 0.0, 0.0])
        """Absolute bin of element 0 (0: none yet), open interest, decayed volume, its weight, mass off the window."""

    @property
    def open_interest_base(self) -> float:
        """What the map is measured against: recorded, or in `volume` mode the slow reference; NaN before the first."""
        return float(self.numbers[1])

    @property
    def lost_base(self) -> float:
        """Mass that the sliding window left behind."""
        return float(self.numbers[4])

    @property
    def origin(self) -> int:
        """Absolute bin of element 0."""
        return int(self.numbers[0])

    def step(
        self,
        mark: tuple[float, float, float],
        traded: tuple[float, float],
        buy_base: float,
        sell_base: float,
        open_interest_base: float,
        days: float,
        step_days: float,
    ) -> tuple[SweptMass, bool]:
        """Score, sweep, close and open for one step.

        `mark` is its low, high and close, `traded` the low and high of the last price, over which the bar's volume is
        spread evenly in log price. `open_interest_base` is the newest stamp known (NaN for none: deposits wait for the
        next). `days` is the step's close, `step_days` its length. Returns the unit mass that the mark went through, in
        coins, and whether a bucket had outgrown open interest and was scaled down.
        """
        if self.origin == 0 or grid.off_centre(grid.position(mark[2], self.spec.bin_log, self.origin)):
            self._slide(mark[2])
        low, high, close = (self._place(p) for p in mark)
        swept = _sweep(self.mass, self.total, self.scale, self.front, low, high, int(close), self.spec.swept)
        self.swept_base += swept @ self.prior
        self._trade(self._place(traded[0]), self._place(traded[1]), buy_base, sell_base)
        if self.spec.ageing_half_life_hours is not None:
            self.scale *= 0.5 ** (24 * step_days / self.spec.ageing_half_life_hours)
        if self.spec.open_interest == "volume":
            self._follow_volume(buy_base + sell_base, step_days)
            return swept, self._deposit(0.0, int(close), days)
        if math.isnan(open_interest_base):
            return swept, False
        before, self.numbers[1] = self.numbers[1], open_interest_base
        change = 0.0 if math.isnan(before) else open_interest_base - before
        return swept, self._deposit(change, int(close), days)

    def _place(self, price: float) -> float:
        """A price's position; one beyond the window is put on its border."""
        place = grid.position(price, self.spec.bin_log, self.origin)
        return min(max(place, 0.0), grid.BINS - 1e-6)

    def _slide(self, price: float) -> None:
        """Centre the window on a price, by whole bins; what it leaves behind is lost and counted."""
        origin = grid.origin_around(price, self.spec.bin_log)
        shift = origin - self.origin
        for cells in (self.mass, self.traded):
            moved = np.zeros_like(cells)
            if abs(shift) < grid.BINS:
                source = slice(max(0, shift), grid.BINS + min(0, shift))
                target = slice(max(0, -shift), grid.BINS - max(0, shift))
                moved[..., target] = cells[..., source]
            cells[...] = moved
        kept = self.mass[:, : self.buckets].sum(axis=2)
        self.numbers[4] += ((self.total - kept) * self.scale[:, None]).mean(axis=1).sum()
        self.total[...] = kept
        self.front[...] = np.clip(self.front - shift, 0, grid.BINS - 1)
        self.traded_range[0], self.traded_range[1] = 0, grid.BINS - 1
        self.numbers[0] = origin

    def _trade(self, low: float, high: float, buy_base: float, sell_base: float) -> None:
        """Spread a bar's volume evenly over the bins from low to high (degraded mode: no trades by price)."""
        first, last = int(low), int(high)
        share = np.ones(last - first + 1)
        if last > first:
            share[0], share[-1] = first + 1 - low, high - last
            share /= high - low
        self.traded[0, first : last + 1] += buy_base * share
        self.traded[1, first : last + 1] += sell_base * share
        self.traded_range[0] = min(self.traded_range[0], first)
        self.traded_range[1] = max(self.traded_range[1], last)

    def _follow_volume(self, volume_base: float, step_days: float) -> None:
        decay = 0.5 ** (24 * step_days / self.spec.reference_half_life_hours)
        self.numbers[2] = decay * self.numbers[2] + volume_base
        self.numbers[3] = decay * self.numbers[3] + step_days
        self.numbers[1] = self.spec.reference_turnover_days * self.numbers[2] / self.numbers[3]

    def _deposit(self, change_base: float, mark: int, days: float) -> bool:
        """Close and open what the change in open interest and the turnover say (the identity of domain.md §3.5)."""
        first, last = self.traded_range
        buys, sells = self.traded[:, first : last + 1]
        volume = float(buys.sum() + sells.sum())
        lasting = self.spec.turnover * max(volume - abs(change_base), 0.0) / 2
        opened, closed = max(change_base, 0.0) + lasting, max(-change_base, 0.0) + lasting
        before = self.open_interest_base - change_base
        if volume > 0 and before > 0:
            leaving = np.maximum(closed - self.swept_base, 0.0) / before
            self.scale *= 1 - np.minimum(leaving, 0.9)
            tau, buying = self.spec.taker_tilt, float(buys.sum()) / volume
            entries = np.stack([tau * buys + (2 - tau) * sells, tau * sells + (2 - tau) * buys])
            shares = entries.sum(axis=1, keepdims=True)
            entries /= np.where(
                shares > 0, shares, 1.0
            )  # τ = 2 and takers of one kind only: the other side opens nothing
            levered = np.array([tau * buying + (2 - tau) * (1 - buying), tau * (1 - buying) + (2 - tau) * buying])
            _open(
                self.mass, self.total, self.scale, self.front, entries, int(first), opened * levered,
                self._kernels, self._offsets, self._lengths, self.prior, mark, days,
            )  # fmt: skip
        self.traded[:, first : last + 1] = 0.0
        self.traded_range[0], self.traded_range[1] = grid.BINS, -1
        self.swept_base[...] = 0.0
        for side in np.flatnonzero(self.scale < 1e-9):
            self.mass[side] *= self.scale[side]
            self.total[side] *= self.scale[side]
            self.scale[side] = 1.0
        return self._bound()

    def _bound(self) -> bool:
        """Scale down what has outgrown open interest; True if something had (`volume` mode has none to outgrow)."""
        bound = BOUND * self.open_interest_base
        excess = self.total * self.scale[:, None] > bound
        for side in np.flatnonzero(excess.any(axis=1)):
            before = self.prior @ self.mass[side, : self.buckets]
            factor = np.where(excess[side], bound / np.maximum(self.total[side] * self.scale[side], bound), 1.0)
            self.mass[side, : self.buckets] *= factor[:, None]
            self.total[side] *= factor
            after = self.prior @ self.mass[side, : self.buckets]
            self.mass[side, self.buckets] *= np.divide(after, before, out=np.ones_like(before), where=before > 0)
        return self.spec.open_interest == "stamps" and bool(excess.any())

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """Unit mass in coins, (side, bucket, price): `bins` bins of `width_log` outward from the mark."""
        out = np.empty((2, self.buckets, bins))
        _outward(
            self.mass,
            self.scale,
            grid.position(mark, self.spec.bin_log, self.origin),
            width_log / self.spec.bin_log,
            out,
        )
        return out

    def profile(self, mark: float, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Prior-weighted coins by whole grid bins outward from the mark's own bin, and the same times birth (days)."""
        here = int(grid.position(mark, self.spec.bin_log, self.origin))
        below, above = slice(here, here - bins, -1), slice(here, here + bins)
        rows = np.stack([self.mass[0][:, below], self.mass[1][:, above]]) * self.scale[:, None, None]
        return self.prior @ rows[:, : self.buckets], rows[:, self.buckets]

    def snapshot(self) -> dict[str, Any]:
        """Every array that carries state, copied."""
        return {name: getattr(self, name).copy() for name in STATE_ARRAYS}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name in STATE_ARRAYS:
            getattr(self, name)[...] = arrays[name]


STATE_ARRAYS = ("mass", "total", "scale", "front", "traded", "traded_range", "swept_base", "numbers")
