"""A step of the volume profile and of the open-interest map, compiled: one call each; `rolling_read` reads them.

They share their windows (`rolling.Rolling`), of which the arrays come first, and the place of the arrays on the grid
(`protocol.PriceWindow`), of which `place` is the state. A step first lets expire what is too old. If then the arrays
must slide, or if something was traded beyond them, it returns False and has done nothing else: the caller makes room
and calls again.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.heatmaps.grid import BINS

NOT_HEARD, HEARD_PARTLY, HEARD = range(3)
"""Of what was traded in a step: nothing is known, some is known to be missing, all of it is there."""
CONTROL, BOTTOM, TOP, LOOK_ANEW = range(4)
"""Of one window's profile: elements of the point of control, of the first and of the last bin with volume; -1, BINS, -1
without volume. Whether a step must look at all bins: other bins hold as much as the control, or something expired."""
OPENED, UP_OPENED, DOWN_OPENED, UP_CLOSED, DOWN_CLOSED = range(5)
"""Rows of open interest: `UP_` and `DOWN_` is where the mark went, `_OPENED` and `_CLOSED` where open interest went."""
MOST_CLOSED = 0.9
"""The most that one stamp closes, as in the liquidation map."""
TINY_SCALE = 1e-9


@njit(cache=True)
@no_type_check
def _expire(ring, total, sums, recorded_ns, span, newest, number):
    """Empty the parts of one window from after `newest` to `number`; what was in them, by row."""
    slots, rows = ring.shape[:2]
    gone = np.zeros(rows)
    low, high = BINS, 0  # where anything was in them
    for ended in range(newest + 1, min(number, newest + slots) + 1):
        recorded_ns[ended % slots] = 0
        for row in range(rows):
            cells = ring[ended % slots, row]
            for j in range(span[0], span[1]):
                if cells[j] != 0.0:
                    gone[row] += cells[j]
                    cells[j] = 0.0
                    low, high = min(low, j), max(high, j + 1)
    for row in range(rows):
        total[row, low:high] = 0.0
    for slot in range(slots):
        for row in range(rows):
            for j in range(low, high):
                total[row, j] += ring[slot, row, j]
    for row in range(rows):
        sums[row] = 0.0
        for j in range(span[0], span[1]):
            sums[row] += total[row, j]
    return gone


@njit(cache=True)
@no_type_check
def _must_move(place, log_mark, bin_log, memory_ns, close_ns, first_bin, count):
    """Whether `PriceWindow.follow` or `PriceWindow.clip` would change something."""
    here = log_mark / bin_log - place[1]
    if not place[0] or not BINS // 4 <= here < 3 * BINS // 4:
        return True
    for left_ns in place[4:6]:
        if left_ns and close_ns - left_ns > memory_ns:
            return True
    at = first_bin - place[1]
    return count > 0 and (at < 0 or at + count > BINS)


@njit(cache=True)
@no_type_check
def _record(recorded_ns, newest, elapsed_ns):
    for window in range(newest.size):
        recorded_ns[window, newest[window] % recorded_ns.shape[1]] += elapsed_ns


@njit(cache=True)
@no_type_check
def look(cells, low, high, peak):
    """Find the point of control and the range of volume in elements [low, high)."""
    while low < high and not cells[low] > 0:
        low += 1
    while high > low and not cells[high - 1] > 0:
        high -= 1
    peak[CONTROL], peak[BOTTOM], peak[TOP], peak[LOOK_ANEW] = -1, BINS, -1, 0
    if low >= high:
        return
    best, last = low, high - 1
    for j in range(low + 1, high):
        if cells[j] > cells[best]:
            best, peak[LOOK_ANEW] = j, 0
        elif cells[j] == cells[best]:
            peak[LOOK_ANEW] = 1
            if abs(2 * j - low - last) < abs(2 * best - low - last):
                best = j
    peak[CONTROL], peak[BOTTOM], peak[TOP] = best, low, last


@njit(cache=True)
@no_type_check
def _grow(cells, low, high, span, peak):
    """`look` after volume was added to elements [low, high): only there, unless others hold as much as the control."""
    best = peak[CONTROL]
    if peak[LOOK_ANEW] or best < 0:
        look(cells, span[0], span[1], peak)
        return
    for j in range(low, high):
        if cells[j] > 0:
            peak[BOTTOM], peak[TOP] = min(peak[BOTTOM], j), max(peak[TOP], j)
        if cells[j] > cells[best]:
            best, peak[LOOK_ANEW] = j, 0
        elif cells[j] == cells[best] and j != best:
            peak[LOOK_ANEW] = 1
    peak[CONTROL] = best
    if peak[LOOK_ANEW]:
        look(cells, span[0], span[1], peak)


@njit(cache=True)
@no_type_check
def volume_step(
    ring, total, sums, recorded_ns, newest, span, slot_ns, place, peaks, path, ledger, clock, last_mark,
    in_usd, bin_log, memory_ns, step_ns, sides, first_bin, heard, uniform, mark, log_mark, close_ns,
):  # fmt: skip
    """Fold one step into a `VolumeProfile`."""
    windows, slots, count = newest.size, ring.shape[1], sides.shape[1]
    for w in range(windows):
        number = (close_ns - 1) // slot_ns[w]
        if number != newest[w]:
            if newest[w] >= 0:
                ledger[w, 1] += _expire(ring[w], total[w], sums[w], recorded_ns[w], span, newest[w], number)[0]
                peaks[w, LOOK_ANEW] = 1
            newest[w] = number
    if _must_move(place, log_mark, bin_log, memory_ns, close_ns, first_bin, count):
        return False
    at = first_bin - place[1]
    if count > 0:
        span[0], span[1] = min(span[0], at), max(span[1], at + count)
    for i in range(count):
        amount = sides[0, i] + sides[1, i]
        if in_usd:
            amount *= math.exp((first_bin + i + 0.5) * bin_log)
        for w in range(windows):
            ring[w, newest[w] % slots, 0, at + i] += amount
            total[w, 0, at + i] += amount
            sums[w, 0] += amount
            ledger[w, 0] += amount
    if heard == HEARD:
        _record(recorded_ns, newest, min(close_ns - clock[0], step_ns) if clock[0] else step_ns)
        clock[1] = close_ns
    close = clock[2] % path.shape[1]
    for w in range(windows):
        _grow(total[w, 0], at, at + count, span, peaks[w])
        control = peaks[w, CONTROL]
        path[w, close] = math.nan if control < 0 else (place[1] + control + 0.5) * bin_log
    clock[0], clock[2], clock[3] = close_ns, clock[2] + 1, uniform
    last_mark[0] = mark
    return True


@njit(cache=True)
@no_type_check
def interest_step(
    ring, total, sums, recorded_ns, newest, span, slot_ns, place, pending, pending_range, numbers, clock, ledger,
    unattributed, turnover, jump_share, bin_log, memory_ns, step_ns, sides, first_bin, heard, uniform, stamp_base,
    stamp_ns, mark, log_mark, close_ns,
):  # fmt: skip
    """Fold one step into an `OpenInterestMap`; without a new stamp `stamp_base` is NaN."""
    count = sides.shape[1]
    for w in range(newest.size):
        number = (close_ns - 1) // slot_ns[w]
        if number != newest[w]:
            if newest[w] >= 0:
                gone = _expire(ring[w], total[w], sums[w], recorded_ns[w], span, newest[w], number)
                gone[OPENED] *= numbers[2]
                ledger[w, :, 2] += gone
            newest[w] = number
    if _must_move(place, log_mark, bin_log, memory_ns, close_ns, first_bin, count):
        return False
    at = first_bin - place[1]
    if count > 0:
        pending_range[0], pending_range[1] = min(pending_range[0], at), max(pending_range[1], at + count)
    for i in range(count):
        amount = sides[0, i] + sides[1, i]
        pending[at + i] += amount
        numbers[3] += amount
    if heard != NOT_HEARD:
        clock[2] += min(close_ns - clock[0], step_ns) if clock[0] else step_ns
    clock[0], clock[5] = close_ns, uniform
    if not math.isnan(stamp_base):
        clock[1] = stamp_ns
        _stamp(ring, total, sums, recorded_ns, newest, span, pending, pending_range, numbers, clock, ledger,
               unattributed, stamp_base, turnover, jump_share, mark)  # fmt: skip
    return True


@njit(cache=True)
@no_type_check
def _stamp(
    ring, total, sums, recorded_ns, newest, span, pending, pending_range, numbers, clock, ledger, unattributed,
    stamp_base, turnover, jump_share, mark,
):  # fmt: skip
    """Take a stamp in, and start to collect the volume for the next."""
    before, mark_before, volume = numbers[0], numbers[1], numbers[3]
    low, high = pending_range[0], pending_range[1]
    change = stamp_base - before
    if math.isnan(before):
        pass
    elif abs(change) >= jump_share * before:
        clock[3] += 1
        unattributed[0] += change
    elif volume > 0:
        coins = np.zeros(5)
        lasting = turnover * max(volume - abs(change), 0.0) / 2
        _close(ring, total, sums, span, numbers, ledger, (max(-change, 0.0) + lasting) / before)
        up = 1.0 if mark > mark_before else 0.0 if mark < mark_before else 0.5  # stood still: half to each
        coins[OPENED] = max(change, 0.0) + lasting
        coins[UP_OPENED], coins[DOWN_OPENED] = max(change, 0.0) * up, max(change, 0.0) * (1 - up)
        coins[UP_CLOSED], coins[DOWN_CLOSED] = max(-change, 0.0) * up, max(-change, 0.0) * (1 - up)
        _attribute(ring, total, sums, newest, span, pending[low:high] / volume, low, numbers, ledger, coins)
        _record(recorded_ns, newest, clock[2])
    else:
        clock[4] += change != 0
        unattributed[1] += change
    pending[low:high] = 0.0
    pending_range[0], pending_range[1] = BINS, 0
    numbers[0], numbers[1], numbers[3] = stamp_base, mark, 0.0
    clock[2] = 0


@njit(cache=True)
@no_type_check
def _close(ring, total, sums, span, numbers, ledger, share):
    """Close a share of what is open, wherever it is."""
    left = 1.0 - min(share, MOST_CLOSED)
    for w in range(len(sums)):
        ledger[w, OPENED, 1] += sums[w, OPENED] * numbers[2] * (1 - left)
    numbers[2] *= left
    if numbers[2] < TINY_SCALE:
        ring[:, :, OPENED, span[0] : span[1]] *= numbers[2]
        total[:, OPENED, span[0] : span[1]] *= numbers[2]
        sums[:, OPENED] *= numbers[2]
        numbers[2] = 1.0


@njit(cache=True)
@no_type_check
def _attribute(ring, total, sums, newest, span, share, low, numbers, ledger, coins):
    """Put coins, by row, where volume was traded; of what lies beyond the array `share` holds nothing."""
    if share.size > 0:
        span[0], span[1] = min(span[0], low), max(span[1], low + share.size)
    placed = share.sum()
    for w in range(len(sums)):
        for row in range(5):
            if coins[row] == 0.0:
                continue
            ledger[w, row, 0] += coins[row]
            ledger[w, row, 3] += coins[row] * (1 - placed)
            put = coins[row] / numbers[2] if row == OPENED else coins[row]
            sums[w, row] += put * placed
            part = ring[w, newest[w] % ring.shape[1], row]
            for i in range(share.size):
                part[low + i] += put * share[i]
                total[w, row, low + i] += put * share[i]
