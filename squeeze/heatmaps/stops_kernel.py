"""What the map of stops does to its arrays, compiled; `stops` says what for.

A window's parts lie in a ring, by number modulo their count. `extreme` has minus the log low and the log high, so that
on both sides the greatest is the extreme; `held` has the greatest of each window.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import HOUR_NS, MINUTE_NS

FAR_LENGTHS = 20
"""Levels this many λ behind the mark have nothing left ahead of it."""


@njit(cache=True)
@no_type_check
def round_steps(price, least, most):
    """What `stops.round_steps` says, as an array."""
    low, high = least * price, most * price
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    steps, count = np.empty(3 * (last - first + 1)), 0
    for power in range(first, last + 1):
        for digit in (1, 2, 5):
            s = digit * 10.0**power if power >= 0 else digit / 10.0**-power
            if low <= s <= high:
                steps[count] = s
                count += 1
    return steps[:count]


@njit(cache=True)
@no_type_check
def round_levels(price, low, high, least, most):
    """What `stops.round_levels` says."""
    steps, count = round_steps(price, least, most), 0
    for s in steps:
        count += max(math.floor(high / s) - math.ceil(low / s) + 1, 0)
    logs, weights, i = np.empty(count), np.empty(count), 0
    for s in steps:
        for number in range(math.ceil(low / s), math.floor(high / s) + 1):
            logs[i], weights[i] = math.log(s * number), 1.0 / number
            i += 1
    return logs, weights


@njit(cache=True)
@no_type_check
def step(extreme, extreme_ns, held, held_ns, newest, slots_ns, clock, last_mark, low, high, recorded, mark, close_ns):
    """Let the parts of each window that are too old expire; then take in a range of the price, if there was one."""
    for window in range(newest.size):
        number = (close_ns - 1) // slots_ns[window]
        if number != newest[window]:
            _expire(extreme[:, window], extreme_ns[:, window], newest[window], number)
            newest[window] = number
            for side in range(2):
                held[side, window], held_ns[side, window] = _greatest(extreme[side, window], extreme_ns[side, window])
    clock[0], last_mark[0] = close_ns, mark
    if not recorded:
        return
    clock[1] = close_ns
    for side in range(2):
        reached = -math.log(low) if side == 0 else math.log(high)
        for window in range(newest.size):
            slot = newest[window] % extreme.shape[2]
            if reached >= extreme[side, window, slot]:
                extreme[side, window, slot], extreme_ns[side, window, slot] = reached, close_ns
            if reached >= held[side, window]:
                held[side, window], held_ns[side, window] = reached, close_ns


@njit(cache=True)
@no_type_check
def _expire(extreme, extreme_ns, newest, number):
    """Empty one window's parts, (side, slot), from after `newest` to `number`."""
    slots = extreme.shape[1]
    for begun in range(max(newest + 1, number - slots + 1), number + 1):
        for side in range(2):
            extreme[side, begun % slots], extreme_ns[side, begun % slots] = -math.inf, 0


@njit(cache=True)
@no_type_check
def _greatest(extreme, extreme_ns):
    """The greatest of one window's parts, and its time; of several alike the youngest."""
    greatest, at_ns = -math.inf, 0
    for slot in range(extreme.size):
        if extreme[slot] > greatest or (extreme[slot] == greatest and extreme_ns[slot] > at_ns):
            greatest, at_ns = extreme[slot], extreme_ns[slot]
    return greatest, at_ns


@njit(cache=True)
@no_type_check
def outward(
    held, held_ns, windows_ns, clock, stale_ns, least, most, round_weight, length, reach, mark, width_log, out
):  # fmt: skip
    """What `StopMap.outward` says, into (side, channel, price)."""
    out[:] = math.nan
    if clock[1] == 0 or clock[0] - clock[1] > stale_ns or not mark > 0:
        return
    bins, windows, here = out.shape[2], windows_ns.size, math.log(mark)
    far = math.exp(max(reach, FAR_LENGTHS * length))
    rounds, weights = round_levels(mark, mark / far, mark * far, least, most)
    distances, freshness = np.empty(windows), np.empty(windows)
    shares = np.empty((2, bins + 1))
    for side in range(2):
        sign = 1.0 if side == 1 else -1.0
        for window in range(windows):
            distances[window] = held[side, window] - sign * here
            freshness[window] = math.exp((held_ns[side, window] - clock[0]) / windows_ns[window])
        by_rounds = round_weight * _share(sign, rounds, sign * here, weights, length, reach, width_log, shares[0])
        by_extremes = (1 - round_weight) * _share(1.0, distances, 0.0, freshness, length, reach, width_log, shares[1])
        total = by_rounds + by_extremes
        for i in range(bins):
            if total > 0 and width_log * (i + 1) <= reach * (1 + 1e-9):
                out[side, 0, i] = (by_rounds * shares[0, i] + by_extremes * shares[1, i]) / total


@njit(cache=True)
@no_type_check
def _share(sign, levels, here, weights, length, reach, width, share):
    """Share of the stops of levels at `sign` · level − `here` outward in each bin up to reach, then in what is left.

    Returns 1, or 0 if no level has stops between the mark and reach. The tails of all levels thin out alike, so that
    one number, carried from bin to bin, has what is still to come of all levels that were passed.
    """
    bins = share.size - 1
    left_over = np.zeros(bins + 2)  # what the levels of the bin before leave to this one
    share[:] = 0.0
    for i in range(levels.size):
        distance = sign * levels[i] - here
        if not -FAR_LENGTHS * length < distance < reach:
            continue
        if distance <= 0:
            left_over[0] += weights[i] * math.exp(distance / length)
            continue
        at = int(min(distance / width, bins))
        end = min(width * (at + 1), reach) if at < bins else reach
        left = math.exp(-max(end - distance, 0.0) / length)
        share[at] += weights[i] * (1 - left)
        left_over[at + 1] += weights[i] * left
    coming, total, whole = 0.0, 0.0, math.exp(-width / length)
    for at in range(bins + 1):
        coming += left_over[at]
        near, far = min(width * at, reach), min(width * (at + 1), reach) if at < bins else reach
        left = whole if at < bins and far < reach else math.exp((near - far) / length)
        share[at] += coming * (1 - left)
        coming *= left
        total += share[at]
    if not total > 0:
        return 0.0
    share /= total
    return 1.0


@njit(cache=True)
@no_type_check
def scalars(held, held_ns, clock, stale_ns, mark, out):
    """What `StopMap.scalars` says, into (side, scalar)."""
    out[:] = math.nan
    if clock[1] == 0:
        return
    age_ns = clock[0] - clock[1]
    for side in range(2):
        out[side, -1] = age_ns / MINUTE_NS
        if age_ns > stale_ns:
            continue
        here = math.log(mark[0]) * (1.0 if side == 1 else -1.0)
        for window in range(held.shape[1]):
            if held[side, window] > -math.inf:
                out[side, 2 * window] = held[side, window] - here
                out[side, 2 * window + 1] = (clock[0] - held_ns[side, window]) / HOUR_NS
