"""The compiled step of the liquidation map: one call scores, sweeps, closes, opens and checks, live as over history.

Measured: one call with flat arrays costs 0.8 µs, the same arrays in a NamedTuple 1.6 µs. No relaxed arithmetic: a step
gives the same bits whether it is called alone or inside `fold`.

Coordinates: element 0 is the first bin of the window; `store` reaches one window further on either side, so what the
price has left far behind is kept and comes back with it. A mass is `store × numbers[SCALE + side]` coins.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.heatmaps import grid

BINS = grid.BINS
CROSSED_BINS = 24
"""Mass further than this on the wrong side of the mark is cleared whole, or its residue would be swept for ever."""
BOUND = 1.05
"""A unit map may exceed open interest by this factor before it is scaled down and flagged (domain.md §3.5, step 5)."""
ROUNDING = 1e-12
"""What exceeds the bound by less has not outgrown it: a map that was scaled to it stays there."""
MOST_CLOSED = 0.9
"""The most that one step closes."""
SMALL_SCALE = 1e-9
"""A scale below this, or above its inverse, is written into the cells."""
SMALL_SURVIVAL = 1e-200
"""A survival below this is written into the ring; N = M / C stays far from the largest float."""
BLOCK = 4
"""Entries that are spread at once; kernels have BLOCK - 1 zeros on either side."""
NOTHING_LEFT = 1e-20
"""Survival of a bin that was cleared whole: not 0, by which nothing could be divided."""

INTEREST, VOLUME, WEIGHT, CLOSED_DAYS, STAMP_DAYS, SCALE, GONE = 0, 1, 2, 3, 4, 5, 7
"""`numbers`: open interest; decayed volume and its weight; last close; when the stamp became known; by side the scale,
and what was swept since the last deposit under the prior weights."""
HELD, OPENED, CLOSED, SWEPT, AGED, BOUNDED, RECOUNTED, LOST = range(8)
"""`ledger`: mass held (to be multiplied by the scale), then coins that went in and out since the start."""
PLACED, ORIGIN, FRONT, TRADED, SPAN, RECOUNTS, PARTS = 0, 1, 2, 4, 6, 8, 9
"""`clock`: whether the window is placed; absolute bin of element 0; the long furthest up and the short furthest down;
first and last bin with trades, and with mass; changes of counting; the running part of each view."""
BIN_LOG, RHO, TAU, KAPPA, AGEING, MODE, DAYS_OF_VOLUME, VOLUME_MEMORY, JUMP, STALE, NEAR, PROFIT, PRIOR = range(13)
"""`params`; from PRIOR on the prior weights, distances by side and bucket in bins, and the length of a view's part."""
STAMPS, LIVE, FROM_VOLUME = range(3)
BAD_MARK, BAD_LAST, BAD_VOLUME, BAD_INTEREST, BAD_TIME = -1, -2, -3, -4, -5
NO_PART = -(2**62)


@njit(cache=True, error_model="numpy")
@no_type_check
def step(
    store, traded, numbers, ledger, clock, ring, params, kernels, reach, swept,
    low, high, close, last_low, last_high, buys, sells, interest, days, step_days, flow_first, bought, sold,
):  # fmt: skip
    """Fold one step in; below 0 if it was refused and nothing changed, 1 if the map was scaled down, else 0."""
    refused = _refused(
        numbers[CLOSED_DAYS], low, high, close, last_low, last_high, buys, sells, interest, days, step_days,
        bought, sold,
    )  # fmt: skip
    if refused:
        return refused
    bin_log, buckets = params[BIN_LOG], ledger.shape[2]
    place = math.log(close) / bin_log
    follow(store, traded, numbers, ledger, clock, ring, place)
    if len(ring):
        _turn(store, clock, ring, params, days, buckets)
    numbers[CLOSED_DAYS] = days
    origin = clock[ORIGIN]
    here = place - origin
    mark = math.floor(here)
    _sweep(
        store, numbers, ledger, clock, ring, params, swept,
        _within(math.log(low) / bin_log - origin, -BINS, 2 * BINS),
        _within(math.log(high) / bin_log - origin, -BINS, 2 * BINS), mark,
    )  # fmt: skip
    _trade(
        traded, clock,
        _within(math.log(last_low) / bin_log - origin, 0, BINS),
        _within(math.log(last_high) / bin_log - origin, 0, BINS), buys, sells,
    )  # fmt: skip
    volume = buys + sells + _trade_by_price(traded, clock, flow_first, bought, sold)
    if params[AGEING] < math.inf:
        _shrink(numbers, ledger, AGED, 0.5 ** (24 * step_days / params[AGEING]))
    before = numbers[INTEREST]
    if not _take_interest(numbers, params, interest, volume, days, step_days):
        return 0
    now, follows = numbers[INTEREST], params[MODE] == FROM_VOLUME
    change = 0.0 if follows or math.isnan(before) else now - before
    recounted = abs(change) >= params[JUMP] * (now - change) > 0.0
    if recounted:
        clock[RECOUNTS] += 1
        _shrink(numbers, ledger, RECOUNTED, now / before)
    else:
        _deposit(store, traded, numbers, ledger, clock, ring, params, kernels, reach, change, mark, here, days)
    traded[:, clock[TRADED] : clock[TRADED + 1] + 1] = 0.0
    clock[TRADED], clock[TRADED + 1] = BINS, -1
    numbers[GONE] = numbers[GONE + 1] = 0.0
    for side in range(2):
        if not SMALL_SCALE <= numbers[SCALE + side] <= 1 / SMALL_SCALE:
            _write_scale(store, numbers, ledger, clock, ring, side)
    bounded = _bound(store, numbers, ledger, clock, ring, params)
    return 1 if recounted or (bounded and not follows) else 0


@njit(cache=True, error_model="numpy")
@no_type_check
def fold(
    store, traded, numbers, ledger, clock, ring, params, kernels, reach, swept,
    marks, lasts, buys, sells, interest, days, step_days, flow_start, flow_first, bought, sold, flagged,
):  # fmt: skip
    """`step` over a history; if any is refused, (its number, why) before anything changed, else (-1, 0)."""
    before = numbers[CLOSED_DAYS]
    for i in range(days.size):
        refused = _refused(
            before, marks[i, 0], marks[i, 1], marks[i, 2], lasts[i, 0], lasts[i, 1], buys[i], sells[i], interest[i],
            days[i], step_days, bought[flow_start[i] : flow_start[i + 1]], sold[flow_start[i] : flow_start[i + 1]],
        )  # fmt: skip
        if refused:
            return i, refused
        before = days[i]
    for i in range(days.size):
        flagged[i] = step(
            store, traded, numbers, ledger, clock, ring, params, kernels, reach, swept[i],
            marks[i, 0], marks[i, 1], marks[i, 2], lasts[i, 0], lasts[i, 1], buys[i], sells[i], interest[i], days[i],
            step_days, flow_first[i],
            bought[flow_start[i] : flow_start[i + 1]], sold[flow_start[i] : flow_start[i + 1]],
        )  # fmt: skip
    return -1, 0


@njit(cache=True, error_model="numpy")
@no_type_check
def _refused(
    closed_days, low, high, close, last_low, last_high, buys, sells, interest, days, step_days, bought, sold
):  # fmt: skip
    """Why a step cannot be; 0 if it can."""
    # Each comparison is written so that NaN is refused too.
    if not (0 < low <= close <= high < math.inf):
        return BAD_MARK
    if not (0 < last_low <= last_high < math.inf):
        return BAD_LAST
    if not (0 <= buys < math.inf and 0 <= sells < math.inf):
        return BAD_VOLUME
    for i in range(bought.size):
        if not (0 <= bought[i] < math.inf and 0 <= sold[i] < math.inf):
            return BAD_VOLUME
    if not (math.isnan(interest) or 0 < interest < math.inf):
        return BAD_INTEREST
    if not (closed_days < days < math.inf and 0 < step_days < math.inf):
        return BAD_TIME
    return 0


@njit(cache=True, error_model="numpy")
@no_type_check
def _within(place, first, end):
    """A position; one beyond the array is put on its border."""
    return min(max(place, float(first)), end - 1e-6)


@njit(cache=True, error_model="numpy")
@no_type_check
def follow(store, traded, numbers, ledger, clock, ring, place):
    """Slide everything by whole bins if a position, in absolute bins, has left the middle half of the window."""
    here = place - clock[ORIGIN]
    if clock[PLACED] and BINS // 4 <= here < 3 * BINS // 4:
        return
    target = math.floor(place) - BINS // 2
    shift = target - clock[ORIGIN] if clock[PLACED] else 0
    clock[PLACED], clock[ORIGIN] = 1, target
    if shift == 0:
        return
    buckets = ledger.shape[2]
    for side in range(2):
        _slide(traded[side], shift, 0.0)
        for row in range(buckets + 2):
            _slide(store[side, row], shift, 1.0 if row > buckets else 0.0)
        for bucket in range(buckets):
            kept = store[side, bucket].sum()
            ledger[LOST, side, bucket] += (ledger[HELD, side, bucket] - kept) * numbers[SCALE + side]
            ledger[HELD, side, bucket] = kept
        for view in range(ring.shape[0]):
            for part in range(ring.shape[1]):
                _slide(ring[view, part, side], shift, 0.0)
        clock[FRONT + side] = min(max(clock[FRONT + side] - shift, -BINS), 2 * BINS - 1)
        clock[SPAN + side] = min(max(clock[SPAN + side] - shift, -BINS), 2 * BINS - 1)
    clock[TRADED], clock[TRADED + 1] = 0, BINS - 1


@njit(cache=True, error_model="numpy")
@no_type_check
def _slide(cells, shift, filled):
    """Move cells so that element `shift` becomes element 0."""
    moved = np.full(cells.size, filled)
    if abs(shift) < cells.size:
        if shift > 0:
            moved[: cells.size - shift] = cells[shift:]
        else:
            moved[-shift:] = cells[: cells.size + shift]
    cells[:] = moved


@njit(cache=True, error_model="numpy")
@no_type_check
def _turn(store, clock, ring, params, days, buckets):
    """Where a view's part begins, keep the map as it stands, per unit of survival: N = M / C."""
    parts_of = PRIOR + 3 * buckets
    whole_first, whole_end = clock[SPAN] + BINS, clock[SPAN + 1] + BINS + 1
    for view in range(ring.shape[0]):
        # A step that closes on a border belongs to the part that ends there; days are known to a microsecond.
        number = math.ceil(days / params[parts_of + view] - 1e-9) - 1
        newest = clock[PARTS + view]
        clock[PARTS + view] = number
        if newest == NO_PART:
            continue
        for part in range(max(newest + 1, number - ring.shape[1] + 1), number + 1):
            for side in range(2):
                ring[view, part % ring.shape[1], side, whole_first:whole_end] = 0.0
                first, end = _reach(clock, side)
                kept = ring[view, part % ring.shape[1], side, first:end]
                _weigh(kept, store, params, side, first, end, buckets)
                survival = store[side, buckets + 1, first:end]
                for i in range(kept.size):
                    kept[i] /= survival[i]


@njit(cache=True, error_model="numpy")
@no_type_check
def _reach(clock, side):
    """First and end column of `store` between which a side's mass lies."""
    if side == 0:
        first, end = clock[SPAN], min(clock[SPAN + 1], clock[FRONT]) + 1
    else:
        first, end = max(clock[SPAN], clock[FRONT + 1]), clock[SPAN + 1] + 1
    return first + BINS, max(first, end) + BINS


@njit(cache=True, error_model="numpy")
@no_type_check
def _weigh(out, store, params, side, first, end, buckets):
    """Add the prior-weighted mass of these columns to `out`."""
    for bucket in range(buckets):
        weight, cells = params[PRIOR + bucket], store[side, bucket, first:end]
        for i in range(out.size):
            out[i] += weight * cells[i]


@njit(cache=True, error_model="numpy")
@no_type_check
def _survive(survival, ring, side, at, factor):
    """Multiply one bin's survival; one that gets too small is written into the ring."""
    survival[at] *= factor
    if survival[at] < SMALL_SURVIVAL:
        for view in range(ring.shape[0]):
            for part in range(ring.shape[1]):
                ring[view, part, side, at] *= survival[at]
        survival[at] = 1.0


@njit(cache=True, error_model="numpy")
@no_type_check
def _sweep(store, numbers, ledger, clock, ring, params, swept, low, high, mark):
    """Score and sweep: longs at and above `low`, shorts at and below `high`, the border bin by the part crossed."""
    buckets, rho = ledger.shape[2], params[RHO]
    for side in range(2):
        front = clock[FRONT + side]
        if side == 0:
            border = math.floor(low)
            part = border + 1 - low
            first, last, stale_first, stale_last = border + 1, front, mark + CROSSED_BINS + 1, front
        else:
            border = math.floor(high)
            part = high - border
            first, last, stale_first, stale_last = front, border - 1, front, mark - CROSSED_BINS - 1
        for row in range(buckets + 1):
            cells = store[side, row]
            gone = cells[border + BINS] * rho * part
            cells[border + BINS] -= gone
            inside = 0.0
            for i in range(first + BINS, last + BINS + 1):
                inside += cells[i]
                cells[i] *= 1.0 - rho
            gone += inside * rho
            for i in range(stale_first + BINS, stale_last + BINS + 1):
                gone += cells[i]
                cells[i] = 0.0
            if row < buckets:
                coins = gone * numbers[SCALE + side]
                ledger[HELD, side, row] -= gone
                ledger[SWEPT, side, row] += coins
                swept[side, row] = coins
                numbers[GONE + side] += coins * params[PRIOR + row]
        if len(ring):
            survival, left = store[side, buckets + 1], max(1.0 - rho, NOTHING_LEFT)
            _survive(survival, ring, side, border + BINS, max(1.0 - rho * part, NOTHING_LEFT))
            for i in range(first + BINS, last + BINS + 1):
                _survive(survival, ring, side, i, left)
            for i in range(stale_first + BINS, stale_last + BINS + 1):
                _survive(survival, ring, side, i, NOTHING_LEFT)
        if side == 0:
            clock[FRONT] = max(border, min(front, mark + CROSSED_BINS))
        else:
            clock[FRONT + 1] = min(border, max(front, mark - CROSSED_BINS))


@njit(cache=True, error_model="numpy")
@no_type_check
def _trade(traded, clock, low, high, buys, sells):
    """Spread a bar's volume evenly over the bins from low to high."""
    first, last = math.floor(low), math.floor(high)
    if last == first:
        traded[0, first] += buys
        traded[1, first] += sells
    else:
        for i in range(first, last + 1):
            share = (min(high, i + 1.0) - max(low, float(i))) / (high - low)
            traded[0, i] += buys * share
            traded[1, i] += sells * share
    clock[TRADED], clock[TRADED + 1] = min(clock[TRADED], first), max(clock[TRADED + 1], last)


@njit(cache=True, error_model="numpy")
@no_type_check
def _trade_by_price(traded, clock, flow_first, bought, sold):
    """Add taker flow that is known by absolute bin; its volume."""
    volume = 0.0
    for i in range(bought.size):
        at = min(max(flow_first + i - clock[ORIGIN], 0), BINS - 1)
        traded[0, at] += bought[i]
        traded[1, at] += sold[i]
        clock[TRADED], clock[TRADED + 1] = min(clock[TRADED], at), max(clock[TRADED + 1], at)
        volume += bought[i] + sold[i]
    return volume


@njit(cache=True, error_model="numpy")
@no_type_check
def _take_interest(numbers, params, interest, volume, days, step_days):
    """Take in the newest stamp, or the slow reference; whether this step deposits."""
    if params[MODE] == FROM_VOLUME:
        decay = 0.5 ** (24 * step_days / params[VOLUME_MEMORY])
        numbers[VOLUME] = decay * numbers[VOLUME] + volume
        numbers[WEIGHT] = decay * numbers[WEIGHT] + step_days
        numbers[INTEREST] = params[DAYS_OF_VOLUME] * numbers[VOLUME] / numbers[WEIGHT]
        return True
    if math.isnan(interest):
        return params[MODE] == LIVE and days - numbers[STAMP_DAYS] <= params[STALE]
    numbers[INTEREST], numbers[STAMP_DAYS] = interest, days
    return True


@njit(cache=True, error_model="numpy")
@no_type_check
def _shrink(numbers, ledger, why, factor):
    """Scale both sides."""
    for side in range(2):
        for bucket in range(ledger.shape[2]):
            ledger[why, side, bucket] += ledger[HELD, side, bucket] * numbers[SCALE + side] * (1 - factor)
        numbers[SCALE + side] *= factor


@njit(cache=True, error_model="numpy")
@no_type_check
def _deposit(store, traded, numbers, ledger, clock, ring, params, kernels, reach, change, mark, here, days):
    """Close and open what the change of open interest and the turnover say (the identity of domain.md §3.5)."""
    first, end = clock[TRADED], clock[TRADED + 1] + 1
    bought = sold = 0.0
    for i in range(first, end):
        bought += traded[0, i]
        sold += traded[1, i]
    volume, before = bought + sold, numbers[INTEREST] - change
    if not (volume > 0 and before > 0):
        return
    lasting = params[KAPPA] * max(volume - abs(change), 0.0) / 2
    opened, closed = max(change, 0.0) + lasting, max(-change, 0.0) + lasting
    tau, buying = params[TAU], bought / volume
    # Whole blocks; what is left over stays 0.
    entries = np.zeros((max(end - first, 0) + BLOCK - 1) // BLOCK * BLOCK)
    spread = np.empty(kernels.shape[3] + entries.size)
    for side in range(2):
        leaving = min(max(closed - numbers[GONE + side], 0.0) / before, MOST_CLOSED)
        if params[NEAR] > 0 or params[PROFIT] > 0:
            _close_tilted(store, numbers, ledger, clock, ring, params, side, leaving, here)
        else:
            for bucket in range(ledger.shape[2]):
                ledger[CLOSED, side, bucket] += ledger[HELD, side, bucket] * numbers[SCALE + side] * leaving
            numbers[SCALE + side] *= 1 - leaving
        own = tau if side == 0 else 2 - tau
        total = 0.0
        for i in range(end - first):
            entries[i] = own * traded[0, first + i] + (2 - own) * traded[1, first + i]
            total += entries[i]
        if not total > 0:
            continue  # τ = 2 and takers of one kind only: the other side opens nothing
        coins = opened * (own * buying + (2 - own) * (1 - buying)) / numbers[SCALE + side] / total
        for i in range(entries.size):
            entries[i] *= coins
        _open(store, numbers, ledger, clock, params, kernels, reach, side, entries, spread, first, mark, days)


@njit(cache=True, error_model="numpy")
@no_type_check
def _open(store, numbers, ledger, clock, params, kernels, reach, side, entries, spread, first_entry, mark, days):
    """Add what was entered at the bins from `first_entry`, each bucket shifted and smeared by its kernel."""
    buckets = ledger.shape[2]
    # What would land on the crossed side of the mark is dropped, as is what lands beyond the array.
    lowest, highest = (-BINS, mark) if side == 0 else (mark + 1, 2 * BINS)
    for bucket in range(buckets):
        length = reach[1, side, bucket]
        base = first_entry + reach[0, side, bucket]
        summed = kernels[1, side, bucket]
        width = length + BLOCK - 1
        # The kernel shifted by 0 to 3 bins: four entries at once read and write the sums a quarter as often.
        kernel = kernels[0, side, bucket]
        k0, k1, k2, k3 = kernel[3 : 3 + width], kernel[2 : 2 + width], kernel[1 : 1 + width], kernel[:width]
        whole = spread[: length + entries.size - 1]
        whole[:] = 0.0
        added = 0.0
        for entry in range(0, entries.size, BLOCK):
            c0, c1, c2, c3 = entries[entry], entries[entry + 1], entries[entry + 2], entries[entry + 3]
            target = whole[entry : entry + width]
            for i in range(width):
                target[i] += (c0 * k0[i] + c1 * k1[i]) + (c2 * k2[i] + c3 * k3[i])
        for entry in range(entries.size):
            start = min(max(lowest - base - entry, 0), length)
            stop = max(min(highest - base - entry, length), start)
            added += entries[entry] * (summed[stop] - summed[start])
        start, stop = max(lowest, base), min(highest, base + whole.size)
        if stop <= start:
            continue
        kept = whole[start - base : stop - base]
        cells = store[side, bucket, start + BINS : stop + BINS]
        born = store[side, buckets, start + BINS : stop + BINS]
        birth = params[PRIOR + bucket] * days
        for i in range(kept.size):
            cells[i] += kept[i]
            born[i] += kept[i] * birth
        ledger[HELD, side, bucket] += added
        ledger[OPENED, side, bucket] += added * numbers[SCALE + side]
        clock[SPAN], clock[SPAN + 1] = min(clock[SPAN], start), max(clock[SPAN + 1], stop - 1)
    if side == 0:
        clock[FRONT] = max(clock[FRONT], mark - 1)
    else:
        clock[FRONT + 1] = min(clock[FRONT + 1], mark + 1)


@njit(cache=True, error_model="numpy")
@no_type_check
def _close_tilted(store, numbers, ledger, clock, ring, params, side, leaving, here):
    """Close the share `leaving` of each bucket, more of it where φ is higher (the formula is in `liquidation`)."""
    if not leaving > 0:
        return
    buckets, near, profit = ledger.shape[2], params[NEAR], params[PROFIT]
    first, end = _reach(clock, side)
    count = end - first
    away, phi, before, after = np.empty(count), np.empty(count), np.zeros(count), np.zeros(count)
    for i in range(count):
        at = first + i - BINS + 0.5
        away[i] = max(here - at if side == 0 else at - here, 0.0)
    for bucket in range(buckets):
        cells, held = store[side, bucket, first:end], ledger[HELD, side, bucket]
        if not held > 0:
            continue
        per_bin, weight = 1.0 / params[PRIOR + buckets * (1 + side) + bucket], params[PRIOR + bucket]
        for i in range(count):
            x = away[i] * per_bin
            short_of, beyond = max(1.0 - x, 0.0), min(max(x - 1.0, 0.0), 1.0)
            phi[i] = 1.0 + near * short_of * short_of + profit * beyond
        held, mean = _mean(cells, phi)
        if not held > 0:
            continue
        # As much of the tilt as leaves no bin, whatever its φ, closed by more than the most.
        tilt, highest = 1.0, 1.0 + max(near, profit)
        if leaving * highest > MOST_CLOSED * mean:
            tilt = (MOST_CLOSED / leaving - 1.0) / (highest / mean - 1.0)
        flat, steep = 1.0 - leaving * (1.0 - tilt), leaving * tilt / mean
        for i in range(count):
            left = cells[i] * (flat - steep * phi[i])
            before[i] += weight * cells[i]
            after[i] += weight * left
            cells[i] = left
        ledger[CLOSED, side, bucket] += ledger[HELD, side, bucket] * numbers[SCALE + side] * leaving
        ledger[HELD, side, bucket] *= 1.0 - leaving
    _thin(store, ring, side, buckets, first, before, after)


@njit(cache=True, error_model="numpy")
@no_type_check
def _mean(cells, values):
    """What the cells hold, and the mean of values over it; in eight sums, which a processor adds at once."""
    held, weighted = np.zeros(8), np.zeros(8)
    whole = cells.size - cells.size % 8
    for i in range(0, whole, 8):
        for lane in range(8):
            held[lane] += cells[i + lane]
            weighted[lane] += cells[i + lane] * values[i + lane]
    for i in range(whole, cells.size):
        held[0] += cells[i]
        weighted[0] += cells[i] * values[i]
    total = held.sum()
    return total, weighted.sum() / total if total > 0 else 1.0


@njit(cache=True, error_model="numpy")
@no_type_check
def _thin(store, ring, side, buckets, first, before, after):
    """What happened to the prior-weighted mass of each bin happens to its birth times and its survival."""
    born = store[side, buckets, first : first + before.size]
    for i in range(before.size):
        after[i] = max(after[i] / before[i], 0.0) if before[i] > 0 else 1.0
        born[i] *= after[i]
    if len(ring):
        survival = store[side, buckets + 1, first : first + before.size]
        for i in range(before.size):
            survival[i] *= max(after[i], NOTHING_LEFT)
        for i in range(before.size):
            if survival[i] < SMALL_SURVIVAL:
                _survive(store[side, buckets + 1], ring, side, first + i, 1.0)


@njit(cache=True, error_model="numpy")
@no_type_check
def _write_scale(store, numbers, ledger, clock, ring, side):
    """Write the scale into the cells."""
    scale, buckets = numbers[SCALE + side], ledger.shape[2]
    for i in range(clock[SPAN] + BINS, clock[SPAN + 1] + BINS + 1):
        for row in range(buckets + 1):
            store[side, row, i] *= scale
        if len(ring):
            _survive(store[side, buckets + 1], ring, side, i, scale)
    for bucket in range(buckets):
        ledger[HELD, side, bucket] *= scale
    numbers[SCALE + side] = 1.0


@njit(cache=True, error_model="numpy")
@no_type_check
def _bound(store, numbers, ledger, clock, ring, params):
    """Scale down what has outgrown open interest; whether something had."""
    buckets, bound, found = ledger.shape[2], BOUND * numbers[INTEREST], False
    for side in range(2):
        scale, grown = numbers[SCALE + side], False
        for bucket in range(buckets):
            grown = grown or ledger[HELD, side, bucket] * scale > bound * (1 + ROUNDING)
        if not grown:
            continue
        found = True
        first, end = _reach(clock, side)
        before = np.zeros(end - first)
        _weigh(before, store, params, side, first, end, buckets)
        after = before.copy()
        for bucket in range(buckets):
            held = ledger[HELD, side, bucket] * scale
            if held > bound * (1 + ROUNDING):
                cells, gone = store[side, bucket, first:end], 1.0 - bound / held
                for i in range(after.size):
                    after[i] -= params[PRIOR + bucket] * cells[i] * gone
                    cells[i] -= cells[i] * gone
                ledger[HELD, side, bucket] -= ledger[HELD, side, bucket] * gone
                ledger[BOUNDED, side, bucket] += held * gone
        _thin(store, ring, side, buckets, first, before, after)
    return found
