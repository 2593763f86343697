"""What the flow map and the order-book map do to their arrays, compiled: one call for a step, one for each view.

`window` is the state of a `protocol.PriceWindow`: whether it was placed, the absolute bin of element 0, first and last
bin that is covered, since when something lies below and above. The rules are those of that class.
"""

import math
from typing import no_type_check

from numba import njit

from squeeze.heatmaps.grid import BINS
from squeeze.heatmaps.protocol import FIRST, LAST
from squeeze.market.events import MINUTE_NS, SECOND_NS

TINY_SCALE = 1e-9
CROSSED, NO_AMOUNT, NO_FIT = 1, 2, 3
"""Why a book is refused."""


@njit(cache=True)
@no_type_check
def _follow(window, price, bin_log, memory_ns, close_ns):
    """Bins by which the arrays must slide for the window to hold a price well inside; mostly 0."""
    if window[4] and close_ns - window[4] > memory_ns:
        window[2], window[4] = FIRST, 0
    if window[5] and close_ns - window[5] > memory_ns:
        window[3], window[5] = LAST, 0
    position, placed, origin = math.log(price) / bin_log, window[0], window[1]
    if placed and BINS // 4 <= position - origin < 3 * BINS // 4:
        return 0
    window[0], window[1] = 1, math.floor(position) - BINS // 2
    return window[1] - origin if placed else 0


@njit(cache=True)
@no_type_check
def _leave(window, below, close_ns):
    """Note that something was left behind below the array, or above it."""
    if below:
        window[2], window[4] = max(window[2], window[1]), close_ns
    else:
        window[3], window[5] = min(window[3], window[1] + BINS - 1), close_ns


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _pool(row, window, position, width, times, out):
    """Sum a row into bins of `width` grid bins from an absolute position on, downward if negative; NaN if uncovered."""
    first, end = max(0, window[2] - window[1]), min(BINS, window[3] + 1 - window[1])
    for price in range(out.size):
        near = position - window[1] + width * price
        far = near + width
        low, high = min(near, far), max(near, far)
        if not (window[0] and low >= first and high <= end and high > low):
            out[price] = math.nan
            continue
        low_cell, high_cell = int(low), int(high)
        if low_cell == high_cell:
            out[price] = row[low_cell] * (high - low) * times
            continue
        inside = row[low_cell] * (low_cell + 1 - low)
        if high > high_cell:  # else the far cell is not touched, and may not exist
            inside += row[high_cell] * (high - high_cell)
        for cell in range(low_cell + 1, high_cell):
            inside += row[cell]
        out[price] = inside * times


@njit(cache=True)
@no_type_check
def flow_step(
    cells, scale, sums, pushed, turned, ledger, numbers, clock, window, half_lives_ns, bin_log, memory_ns, step_ns,
    mark, close_ns, recorded, whole, uniform, first_bin, sides,
):  # fmt: skip
    """Fold one step of `FlowMap` in: what takers bought and sold from absolute bin `first_bin` on, if recorded."""
    shift = _follow(window, mark, bin_log, memory_ns, close_ns)
    if shift:
        _slide(cells, scale, ledger, window, shift, close_ns)
    closed_ns, move = clock[0], mark - numbers[0]  # NaN in the first step: no push is counted
    clock[0], numbers[0] = close_ns, mark
    if not recorded:
        return
    elapsed_ns = min(close_ns - closed_ns, step_ns) if closed_ns else step_ns
    clock[2] = uniform
    if whole:
        clock[1] = close_ns
    _fade(cells, scale, sums, pushed, ledger, half_lives_ns, elapsed_ns)
    bought, sold = _add(cells, scale, ledger, window, first_bin, sides, close_ns)
    _push(sums, pushed, turned, bought, sold, move, elapsed_ns / MINUTE_NS)


@njit(cache=True)
@no_type_check
def _slide(cells, scale, ledger, window, shift, close_ns):
    """Move all cells so that element `shift` becomes element 0; what drops out is left behind."""
    keep_first, keep_end = min(max(0, shift), BINS), max(min(BINS, BINS + shift), 0)
    anything = False
    for memory in range(scale.size):
        lost = 0.0
        for side in range(2):
            row = cells[memory, side]
            lost += row[:keep_first].sum() + row[keep_end:].sum()
            kept = row[keep_first:keep_end].copy()
            row[:] = 0.0
            row[keep_first - shift : keep_first - shift + kept.size] = kept
        ledger[memory, 2] += lost * scale[memory]
        anything |= lost > 0
    if anything:
        _leave(window, shift > 0, close_ns)


@njit(cache=True)
@no_type_check
def _fade(cells, scale, sums, pushed, ledger, half_lives_ns, elapsed_ns):
    """Fade every memory by its half-life; a scale that gets too small is written into the cells."""
    for memory in range(scale.size):
        factor = 0.5 ** (elapsed_ns / half_lives_ns[memory])
        held = ledger[memory, 0] - ledger[memory, 1] - ledger[memory, 2]
        ledger[memory, 1] += held * (1 - factor)
        scale[memory] *= factor
        for side in range(2):
            sums[memory, side] *= factor
            pushed[memory, side, 0] *= factor
            pushed[memory, side, 1] *= factor
        if scale[memory] < TINY_SCALE:
            cells[memory] *= scale[memory]
            scale[memory] = 1.0


@njit(cache=True)
@no_type_check
def _add(cells, scale, ledger, window, first_bin, sides, close_ns):
    """Put coins into the cells, note what lies beyond them, and return what was bought and sold in all."""
    at, count = first_bin - window[1], sides.shape[1]
    first, end = min(max(0, -at), count), max(0, min(count, BINS - at))
    if first > 0:
        _leave(window, True, close_ns)
    if end < count:
        _leave(window, False, close_ns)
    bought, sold, beyond = 0.0, 0.0, 0.0
    for i in range(count):
        bought += sides[0, i]
        sold += sides[1, i]
        if not first <= i < end:
            beyond += sides[0, i] + sides[1, i]
    for memory in range(scale.size):
        times = 1.0 / scale[memory]
        for i in range(first, end):
            cells[memory, 0, at + i] += sides[0, i] * times
            cells[memory, 1, at + i] += sides[1, i] * times
        ledger[memory, 0] += bought + sold
        ledger[memory, 2] += beyond
    return bought, sold


@njit(cache=True)
@no_type_check
def _push(sums, pushed, turned, bought, sold, move, minutes):
    """Add what takers bought and sold, the net push and whether the mark followed; then the imbalance."""
    side = 1 if bought > sold else 0
    push = abs(bought - sold)
    followed = move > 0 if side == 1 else move < 0
    for memory in range(len(sums)):
        sums[memory, 0] += bought
        sums[memory, 1] += sold
        if not math.isnan(move):
            pushed[memory, side, 0] += push
            pushed[memory, side, 1] += 0.0 if followed else push
        volume = sums[memory, 0] + sums[memory, 1]
        now = (sums[memory, 0] - sums[memory, 1]) / volume if volume > 0 else math.nan
        turned[memory, 1] = (now - turned[memory, 0]) / minutes
        turned[memory, 0] = now


@njit(cache=True)
@no_type_check
def flow_outward(cells, scale, clock, window, stale_ns, bin_log, mark, width_log, out):
    """What `FlowMap.outward` says, into (side, channel, price)."""
    if clock[1] == 0 or clock[0] - clock[1] > stale_ns or not mark > 0:
        out[:] = math.nan
        return
    position, width = math.log(mark) / bin_log, width_log / bin_log
    for memory in range(scale.size):
        for side in range(2):
            for away in range(2):
                row = cells[memory, away if side == 1 else 1 - away]
                outward = width if side == 1 else -width
                _pool(row, window, position, outward, scale[memory], out[side, 2 * memory + away])


@njit(cache=True)
@no_type_check
def flow_scalars(turned, pushed, clock, stale_ns, out):
    """What `FlowMap.scalars` says, into (side, scalar)."""
    out[:] = math.nan
    if clock[1] == 0:
        return
    age_ns = clock[0] - clock[1]
    for side in range(2):
        out[side, -1] = age_ns / MINUTE_NS
        if age_ns > stale_ns:
            continue
        sign = 1.0 if side == 1 else -1.0
        for memory in range(len(turned)):
            out[side, 3 * memory] = sign * turned[memory, 0]
            out[side, 3 * memory + 1] = sign * turned[memory, 1]
            if pushed[memory, side, 0] > 0:
                out[side, 3 * memory + 2] = pushed[memory, side, 1] / pushed[memory, side, 0]


@njit(cache=True)
@no_type_check
def book_step(
    usd, span, depth, cost, numbers, clock, window, amounts, first_bin, bid, ask, spread_bps, from_log, to_log,
    event_ns,
):  # fmt: skip
    """Take a book in place of the last; 0, or why it is refused, and then nothing has changed.

    `amounts` are USD bid and asked by bin, then by band USD bid, asked and the imbalance, then the costs of a sell and
    of a buy by order.
    """
    count = (amounts.size - 3 * depth.shape[1] - cost.size) // 2
    if not 0 < bid < ask < math.inf:
        return CROSSED
    for i in range(count - 1):
        if amounts[count + i] > 0 and amounts[i + 1 : count].max() > 0:
            return CROSSED  # something is bid for in a bin above one in which something is asked
        if amounts[count + i] > 0:
            break
    whole = 0.0
    for i in range(2 * count):
        if amounts[i] < 0:
            return NO_AMOUNT
        whole += amounts[i]  # finite only if all of them are
    if not math.isfinite(whole):
        return NO_AMOUNT
    ratio = round(to_log / from_log)
    if ratio < 1 or abs(ratio * from_log - to_log) > 1e-9 * to_log:
        return NO_FIT
    usd[:, span[0] : span[1]] = math.nan
    _follow(window, (bid + ask) / 2, to_log, -1, event_ns)
    # Whole bins between the two outermost of the summary, of which a feed may cover only a part.
    first = max(-(-(first_bin + 1) // ratio), window[1])
    end = min((first_bin + count - 1) // ratio, window[1] + BINS)
    span[0], span[1] = (first - window[1], end - window[1]) if end > first else (0, 0)
    for side in range(2):
        for i in range(span[0], span[1]):
            fine = side * count + (i + window[1]) * ratio - first_bin
            held = 0.0
            for j in range(fine, fine + ratio):
                held += amounts[j]
            usd[side, i] = held
    _take_numbers(depth, cost, amounts[2 * count :])
    numbers[0], clock[1] = spread_bps, event_ns
    return 0


@njit(cache=True)
@no_type_check
def _take_numbers(depth, cost, amounts):
    bands, orders = depth.shape[1], cost.shape[1]
    for band in range(bands):
        depth[0, band], depth[1, band] = amounts[band], amounts[bands + band]
        depth[2, band], depth[3, band] = amounts[2 * bands + band], -amounts[2 * bands + band]
    for order in range(orders):
        cost[0, order], cost[1, order] = amounts[3 * bands + order], amounts[3 * bands + orders + order]


@njit(cache=True)
@no_type_check
def book_outward(usd, clock, window, stale_ns, bin_log, mark, width_log, out):
    """What `OrderBookMap.outward` says, into (side, channel, price)."""
    if clock[0] - clock[1] > stale_ns or not mark > 0:
        out[:] = math.nan
        return
    position, width = math.log(mark) / bin_log, width_log / bin_log
    _pool(usd[0], window, position, -width, 1.0, out[0, 0])
    _pool(usd[1], window, position, width, 1.0, out[1, 0])


@njit(cache=True)
@no_type_check
def book_scalars(depth, cost, numbers, clock, stale_ns, out):
    """What `OrderBookMap.scalars` says, into (side, scalar)."""
    age_ns, bands, orders = clock[0] - clock[1], depth.shape[1], cost.shape[1]
    out[:] = math.nan
    for side in range(2):
        if clock[1] != FIRST:
            out[side, -1] = age_ns / SECOND_NS
        if age_ns <= stale_ns:
            out[side, :bands], out[side, bands : 2 * bands] = depth[side], depth[2 + side]
            out[side, 2 * bands : 2 * bands + orders] = cost[side]
            out[side, -2] = numbers[0]
