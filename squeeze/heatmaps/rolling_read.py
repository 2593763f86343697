"""What is read from the volume profile and the open-interest map, compiled: one call each; `rolling_step` folds them.

Arrays are as there: those of the windows (`rolling.Rolling`) come first, `place` is the state of the `PriceWindow`.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.heatmaps.grid import BINS
from squeeze.heatmaps.rolling_step import (
    BOTTOM,
    CONTROL,
    DOWN_CLOSED,
    DOWN_OPENED,
    OPENED,
    TOP,
    UP_CLOSED,
    UP_OPENED,
)
from squeeze.market.events import MINUTE_NS

ORIENTED = np.array(
    [
        [OPENED, DOWN_OPENED, UP_OPENED, DOWN_CLOSED, UP_CLOSED],
        [OPENED, UP_OPENED, DOWN_OPENED, UP_CLOSED, DOWN_CLOSED],
    ]
)
"""Rows by side: opened, toward opened, away opened, toward closed, away closed."""
INTEREST_CHANNELS = 6
"""Those and the net of the four quadrants, which comes second."""
CELL = np.uint32
"""Not signed: an index that may be negative is looked at twice, which makes pooling half as fast."""


@njit(cache=True)
@no_type_check
def _covered_share(recorded_ns, window_ns):
    return min(recorded_ns.sum() / window_ns, 1.0)


@njit(cache=True)
@no_type_check
def value_area(cells, peak, total, share):
    """First and last element of the value area, walked out from the point of control; (0, -1) without volume."""
    low = high = peak[CONTROL]
    if low < 0:
        return 0, -1
    first, last, held = peak[BOTTOM], peak[TOP], cells[low]
    while held < share * total and (low > first or high < last):
        above_end, below_end = min(high + 2, last), max(low - 2, first)
        above = below = 0.0
        for j in range(high + 1, above_end + 1):
            above += cells[j]
        for j in range(below_end, low):
            below += cells[j]
        rises = high < last and (low == first or above >= below)
        falls = low > first and (high == last or below >= above)  # of two alike both, or the mirror would differ
        if rises:
            high, held = above_end, held + above
        if falls:
            low, held = below_end, held + below
    return low, high


@njit(cache=True)
@no_type_check
def volume_scalars(total, sums, recorded_ns, windows_ns, place, peaks, path, clock, last_mark, bin_log, share, out):
    """`VolumeProfile.scalars` into (side, scalar)."""
    out[:] = math.nan
    here, closes, length = math.log(last_mark[0]), clock[2], path.shape[1]
    for w in range(windows_ns.size):
        covered = _covered_share(recorded_ns[w], windows_ns[w])
        out[:, 4 * w + 3] = covered
        if not (covered > 0 and closes > 0):
            continue
        newest, oldest = path[w, (closes - 1) % length], path[w, closes % length if closes >= length else 0]
        edges = value_area(total[w, 0], peaks[w], sums[w, 0], share)
        for side in range(2):
            sign = 2.0 * side - 1.0
            out[side, 4 * w] = sign * (newest - here)
            out[side, 4 * w + 1] = sign * (newest - oldest)
            if edges[0] <= edges[1]:
                out[side, 4 * w + 2] = sign * ((place[1] + edges[side] + side) * bin_log - here)


@njit(cache=True)
@no_type_check
def _bins_outward(side, place, here, width, cells, share):
    """Of bins of `width` grid bins outward from `here`: first and last cell, and how much of either; those between are
    whole. What is not covered is NaN of cell 0."""
    first, end = max(0, place[2] - place[1]), min(BINS, place[3] + 1 - place[1])
    for i in range(len(cells)):
        near, far = width * i, width * (i + 1)
        low, high = (here - far, here - near) if side == 0 else (here + near, here + far)
        if not (place[0] and low >= first and high <= end and high > low):
            cells[i], share[i, 0], share[i, 1] = 0, math.nan, 0.0
            continue
        low_cell, high_cell = int(low), int(high)
        share[i, 0], share[i, 1] = low_cell + 1 - low, high - high_cell
        if low_cell == high_cell:
            share[i, 0], share[i, 1] = high - low, 0.0
        elif high == high_cell:  # the far cell is not touched, and may not exist
            high_cell -= 1
            share[i, 1] = 1.0 if high_cell > low_cell else 0.0
        cells[i, 0], cells[i, 1] = low_cell, high_cell


@njit(cache=True, fastmath={"contract"})
@no_type_check
def _pool(row, cells, share, out):
    for i in range(out.size):
        inside = share[i, 0] * row[cells[i, 0]] + share[i, 1] * row[cells[i, 1]]
        for cell in range(cells[i, 0] + 1, cells[i, 1]):
            inside += row[cell]
        out[i] = inside


@njit(cache=True)
@no_type_check
def volume_outward(total, recorded_ns, place, bin_log, mark, width_log, out):
    """`VolumeProfile.outward` into (side, window, price)."""
    here, width, bins = math.log(mark) / bin_log - place[1], width_log / bin_log, out.shape[2]
    cells, share = np.empty((bins, 2), CELL), np.empty((bins, 2))
    for side in range(2):
        _bins_outward(side, place, here, width, cells, share)
        for w in range(len(total)):
            if recorded_ns[w].sum() == 0:
                out[side, w] = math.nan
            else:
                _pool(total[w, 0], cells, share, out[side, w])


@njit(cache=True)
@no_type_check
def whole_bins(row, scale, recorded_ns, place, mark_bin, out):
    """`PriceWindow.whole_bins` of one row for both sides, times `scale`; NaN if nothing was recorded."""
    first, end = max(0, place[2] - place[1]), min(BINS, place[3] + 1 - place[1])
    known, here = place[0] and recorded_ns.sum() > 0, mark_bin - place[1]
    for side in range(2):
        for i in range(out.shape[1]):
            cell = here + (2 * side - 1) * i
            out[side, i] = row[cell] * scale if known and first <= cell < end else math.nan


@njit(cache=True)
@no_type_check
def interest_outward(total, recorded_ns, place, scale, bin_log, mark, width_log, out):
    """`OpenInterestMap.outward` into (side, channel, price)."""
    here, width, bins = math.log(mark) / bin_log - place[1], width_log / bin_log, out.shape[2]
    cells, share = np.empty((bins, 2), CELL), np.empty((bins, 2))
    for side in range(2):
        _bins_outward(side, place, here, width, cells, share)
        for w in range(len(total)):
            view = out[side, INTEREST_CHANNELS * w : INTEREST_CHANNELS * (w + 1)]
            if recorded_ns[w].sum() == 0:
                view[:] = math.nan
                continue
            for channel in range(5):
                _pool(total[w, ORIENTED[side, channel]], cells, share, view[channel + (channel > 0)])
            for i in range(bins):
                view[0, i] *= scale
                view[1, i] = view[2, i] + view[3, i] - view[4, i] - view[5, i]


@njit(cache=True)
@no_type_check
def interest_scalars(sums, recorded_ns, windows_ns, numbers, clock, out):
    """`OpenInterestMap.scalars` into (side, scalar)."""
    out[:, 0] = numbers[0] if clock[1] else math.nan
    out[:, 1] = (clock[0] - clock[1]) / MINUTE_NS if clock[1] else math.nan
    for w in range(windows_ns.size):
        covered = _covered_share(recorded_ns[w], windows_ns[w])
        for side in range(2):
            row = out[side, 2 + 7 * w : 9 + 7 * w]
            row[:] = math.nan
            row[6] = covered
            if covered == 0:
                continue
            for channel in range(5):
                row[channel + (channel > 0)] = sums[w, ORIENTED[side, channel]]
            row[0] *= numbers[2]
            row[1] = row[2] + row[3] - row[4] - row[5]
