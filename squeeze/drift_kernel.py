"""The compiled part of `drift`: one frame's inputs counted into the reference's bins.

In NumPy a frame cost 0.1 ms, most of it in calls. Means are summed in NumPy's own order, so that both count alike.
"""

from typing import no_type_check

import numpy as np
from numba import njit

BLOCK, LANES = 128, 8
"""NumPy sums up to so many numbers in eight lanes, and halves what is longer (`pairwise_sum`)."""


@njit(cache=True)
@no_type_check
def count(channels: np.ndarray, scalars: np.ndarray, borders: np.ndarray, counts: np.ndarray) -> None:
    """Add one frame, `channels` (side, channel, price) and `scalars` (side, scalar), to `counts` (input, bin), whose
    last bin is "not known"; `borders` (input, border) rise. The inputs are the scalars, then the channels.
    """
    inputs = scalars.shape[1]
    known = np.empty(channels.shape[2])
    for side in range(channels.shape[0]):
        for i in range(inputs):
            _add(scalars[side, i], borders[i], counts[i])
        for i in range(channels.shape[1]):
            row, number = channels[side, i], 0
            for price in range(row.size):
                is_known = np.isfinite(row[price])
                number += int(is_known)
                known[price] = np.float64(row[price]) if is_known else 0.0
            level = np.float32(_sum(known) / number) if number > 0 else np.float32(np.nan)
            _add(level, borders[inputs + i], counts[inputs + i])


@njit(cache=True)
@no_type_check
def _add(value: float, borders: np.ndarray, counts: np.ndarray) -> None:
    if value != value:
        counts[counts.size - 1] += 1
        return
    code = 0
    for border in borders:
        code += int(value > border)
    counts[code] += 1


@njit(cache=True)
@no_type_check
def _sum(values: np.ndarray) -> float:
    """As NumPy adds up a row."""
    if values.size <= BLOCK:
        return _short(values)
    half = values.size // 2
    half -= half % LANES
    return _sum(values[:half]) + _sum(values[half:])


@njit(cache=True)
@no_type_check
def _short(values: np.ndarray) -> float:
    size = values.size
    if size < LANES:
        total = 0.0
        for i in range(size):
            total += values[i]
        return total
    whole = size - size % LANES
    lanes = values[:LANES].copy()
    for i in range(LANES, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += values[i + lane]
    total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    for i in range(whole, size):
        total += values[i]
    return total
