"""Compiled views of the liquidation map: by bins outward from the mark, and what was opened lately.

`store` is (side, row, bin): unit maps by bucket, mass × birth, survival; the window is the middle third of its bins.
`scale` is coins per unit of mass, by side.
"""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
@no_type_check
def outward(store: np.ndarray, scale: np.ndarray, mark: float, width: float, out: np.ndarray) -> None:
    """Pool unit mass into bins of `width` grid bins outward from the mark, into `out` (side, bucket, price)."""
    bins = store.shape[2]
    for side in range(2):
        for price in range(out.shape[2]):
            near, far = width * price, width * (price + 1)
            low, high = (mark - far, mark - near) if side == 0 else (mark + near, mark + far)
            low, high = max(low + bins // 3, 0.0), min(high + bins // 3, float(bins))
            first, last = int(low), min(int(high), bins - 1)
            for bucket in range(out.shape[1]):
                cells = store[side, bucket]
                inside = 0.0
                if high > low:
                    if first == last:
                        inside = cells[first] * (high - low)
                    else:
                        inside = cells[first] * (first + 1 - low) + cells[last] * (high - last)
                        for cell in range(first + 1, last):
                            inside += cells[cell]
                out[side, bucket, price] = inside * scale[side]


@njit(cache=True, error_model="numpy")
@no_type_check
def share_outward(
    store: np.ndarray, scale: np.ndarray, prior: np.ndarray, mark: float, width: float, whole: float, out: np.ndarray
) -> None:
    """`outward` of all buckets under the prior weights, as a share of `whole`, into `out` (side, 1, price)."""
    units = np.empty((2, prior.size, out.shape[2]))
    outward(store, scale, mark, width, units)
    for side in range(2):
        out[side, 0] = 0.0
        for bucket in range(prior.size):
            weight = prior[bucket] / whole
            for price in range(out.shape[2]):
                out[side, 0, price] += weight * units[side, bucket, price]


@njit(cache=True, error_model="numpy")
@no_type_check
def profile(
    store: np.ndarray, scale: np.ndarray, prior: np.ndarray, here: int, mass: np.ndarray, born: np.ndarray
) -> None:
    """Prior-weighted mass, and mass × birth, by whole bins outward from bin `here`; both (side, price)."""
    start, bins = here + store.shape[2] // 3, store.shape[2]
    for side in range(2):
        mass[side] = born[side] = 0.0
        beyond = start + 1 if side == 0 else bins - start
        count = min(mass.shape[1], beyond) if 0 <= start < bins else 0
        for row in range(prior.size + 1):
            cells = store[side, row]
            ahead = cells[start - count + 1 : start + 1][::-1] if side == 0 else cells[start : start + count]
            target = mass[side] if row < prior.size else born[side]
            weight = scale[side] * (prior[row] if row < prior.size else 1.0)
            for i in range(count):
                target[i] += weight * ahead[i]


@njit(cache=True, error_model="numpy")
@no_type_check
def view(store: np.ndarray, scale: np.ndarray, prior: np.ndarray, kept: np.ndarray, out: np.ndarray) -> None:
    """Prior-weighted coins in the window, (side, price), less what was older when `kept` (N = M / C) was written."""
    start = store.shape[2] // 3
    for side in range(2):
        before, survival = kept[side, start : 2 * start], store[side, prior.size + 1, start : 2 * start]
        held = out[side]
        held[:] = 0.0
        for bucket in range(prior.size):
            weight, cells = prior[bucket], store[side, bucket, start : 2 * start]
            for i in range(start):
                held[i] += weight * cells[i]
        for i in range(start):
            held[i] = max(held[i] - before[i] * survival[i], 0.0) * scale[side]
