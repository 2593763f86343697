"""What the funding map does to its arrays, compiled; `funding` says what for.

Arrays are (kind, venue), settled and predicted, or (venue). `ring` (kind, venue, hour modulo its length) has the rates.
`past` (kind, venue, 3) has how many there are in the hours of the z-score before the newest hour, their mean, and the
sum of their squared distances from it. It is reckoned anew, from the ring, whenever one of those hours changes, so that
it depends on nothing else; the newest hour is added when it is read.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.heatmaps.protocol import FIRST
from squeeze.market.events import HOUR_NS, MINUTE_NS

SETTLED, PREDICTED = 0, 1
SETTLEMENT, FORECAST, STAMP = range(3)
"""Kinds of records."""
ROW = 6
"""Numbers of a record."""
COUNT, MEAN, SQUARES = range(3)
"""Of `past`."""
ANEW = -1
"""In place of a count: it is to be reckoned anew."""
TINY_DEVIATION = 1e-12
PLAIN, WEIGHTED, LOW, HIGH, SPREAD, SCORE = range(6)
"""Over venues: means of the rate, its least, its greatest and the difference, and the mean z-score."""
RATE, Z, AGE_MINUTES = range(3)
"""Of a venue."""


@njit(cache=True)
@no_type_check
def step(
    records, ring, past, rate, event_ns, interval_hours, interval_changes, announced_hours, settles_ns,
    open_interest, stamp_ns, clock, z_hours, longest_hours, close_ns,
):  # fmt: skip
    """Let hours pass, then take records in, in their order.

    `records` are rows of six: kind of record, venue, time, next settlement; and, as bits of doubles, rate or open
    interest, and hours of the interval.
    """
    hour = (close_ns - 1) // HOUR_NS
    _pass_hours(ring, past, clock[1], hour)
    clock[0], clock[1] = close_ns, hour
    rows = records.reshape(-1, ROW)
    amounts = rows.view(np.float64)
    for i in range(len(rows)):
        record, venue, at_ns, amount, hours = rows[i, 0], rows[i, 1], rows[i, 2], amounts[i, 4], amounts[i, 5]
        if record == STAMP:
            if 0 < amount < math.inf and at_ns > stamp_ns[venue]:
                open_interest[venue], stamp_ns[venue] = amount, at_ns
            continue
        kind = PREDICTED if record == FORECAST else SETTLED
        if at_ns <= event_ns[kind, venue]:
            continue
        if record == FORECAST:
            settles_ns[venue] = rows[i, 3]
        if math.isfinite(amount):
            hours = _interval(
                kind, venue, hours, at_ns, event_ns, interval_hours, interval_changes, announced_hours, longest_hours
            )
            rate[kind, venue], event_ns[kind, venue] = amount * 8 / hours, at_ns
            _put(kind, venue, hour if kind == PREDICTED else min((at_ns - 1) // HOUR_NS, hour), rate, ring, past, hour)
    for kind in range(2):
        for venue in range(past.shape[1]):
            if past[kind, venue, COUNT] == ANEW:
                _look_back(ring[kind, venue], hour, z_hours, past[kind, venue])


@njit(cache=True)
@no_type_check
def _pass_hours(ring, past, newest, hour):
    """Empty the columns of the hours after `newest` up to `hour`; no hour before is -1."""
    if hour == newest:
        return
    hours = ring.shape[2]
    if newest >= 0:
        for begun in range(newest + 1, min(hour, newest + hours) + 1):
            ring[:, :, begun % hours] = math.nan
    past[:, :, COUNT] = ANEW


@njit(cache=True)
@no_type_check
def _interval(
    kind, venue, hours, at_ns, event_ns, interval_hours, interval_changes, announced_hours, longest_hours
):  # fmt: skip
    """The interval of a record that says `hours`, remembered and its changes counted; NaN if it is not known."""
    if not 0 < hours < math.inf:
        hours = math.nan
    if kind == PREDICTED and math.isnan(hours):
        hours = interval_hours[SETTLED, venue]
    elif kind == PREDICTED:
        announced_hours[venue] = hours
    elif math.isnan(hours):
        hours = announced_hours[venue]
        if math.isnan(hours) and event_ns[SETTLED, venue] != FIRST:
            hours = _between(event_ns[SETTLED, venue], at_ns, longest_hours)
    if not math.isnan(hours):
        before = interval_hours[kind, venue]
        interval_changes[kind, venue] += not math.isnan(before) and before != hours
        interval_hours[kind, venue] = hours
    return hours


@njit(cache=True)
@no_type_check
def _put(kind, venue, column, rate, ring, past, hour):
    """Write the newest rate into the column of an hour, if the ring still has that."""
    hours = ring.shape[2]
    if column > hour - hours:
        ring[kind, venue, column % hours] = rate[kind, venue]
        if column < hour:
            past[kind, venue, COUNT] = ANEW


@njit(cache=True)
@no_type_check
def _between(before_ns, at_ns, longest_hours):
    """Whole hours between two settlements, a minute more or less; NaN if they show no interval."""
    apart = (at_ns - before_ns) / HOUR_NS
    hours = round(apart)
    return float(hours) if 1 <= hours <= longest_hours and abs(apart - hours) <= 1 / 60 else math.nan


@njit(cache=True)
@no_type_check
def _look_back(rates, hour, z_hours, past):
    """Count, mean and squares of the rates of the last `z_hours`, but for `hour`, the newest of them."""
    count, total, squares = 0, 0.0, 0.0
    for column in range(hour - z_hours + 1, hour):
        rate = rates[column % rates.size]
        if math.isfinite(rate):
            count += 1
            total += rate
    mean = total / count if count else 0.0
    for column in range(hour - z_hours + 1, hour):
        rate = rates[column % rates.size]
        if math.isfinite(rate):
            squares += (rate - mean) ** 2
    past[COUNT], past[MEAN], past[SQUARES] = count, mean, squares


@njit(cache=True)
@no_type_check
def _z_score(now, newest, past, z_least):
    """A rate against those of the past and the newest hour's, in deviations; NaN if they are too few or all alike."""
    count, mean, squares = past[COUNT], past[MEAN], past[SQUARES]
    if math.isfinite(newest):
        count += 1
        away = newest - mean
        mean += away / count
        squares += away * (newest - mean)
    if count < z_least:
        return math.nan
    deviation = math.sqrt(squares / count)
    return (now - mean) / deviation if deviation > TINY_DEVIATION else math.nan


@njit(cache=True)
@no_type_check
def rates(rate, event_ns, clock, stale_ns, out):
    """The newest rates into (kind, venue); NaN where one is stale or its interval is not known."""
    for kind in range(2):
        for venue in range(rate.shape[1]):
            fresh = clock[0] - event_ns[kind, venue] <= stale_ns[kind]
            out[kind, venue] = rate[kind, venue] if fresh else math.nan


@njit(cache=True)
@no_type_check
def read(
    ring, past, rate, event_ns, interval_hours, settles_ns, open_interest, stamp_ns, clock, stale_ns, z_least,
    over, each, minutes,
):  # fmt: skip
    """All that the map says: `over` (kind, 6) over venues, `each` (kind, venue, 3), `minutes` to settlement (venue)."""
    venues = rate.shape[1]
    rates(rate, event_ns, clock, stale_ns, each[:, :, RATE])
    for venue in range(venues):
        left_ns, settled_ns = float(settles_ns[venue] - clock[0]), event_ns[SETTLED, venue]
        if left_ns <= 0 and settled_ns != FIRST:
            left_ns = settled_ns - clock[0] + interval_hours[SETTLED, venue] * HOUR_NS
        minutes[venue] = left_ns / MINUTE_NS if left_ns > 0 else math.nan
        for kind in range(2):
            known, now = event_ns[kind, venue] != FIRST, each[kind, venue, RATE]
            newest = ring[kind, venue, clock[1] % ring.shape[2]]
            each[kind, venue, Z] = _z_score(now, newest, past[kind, venue], z_least)
            each[kind, venue, AGE_MINUTES] = (clock[0] - event_ns[kind, venue]) / MINUTE_NS if known else math.nan
    for kind in range(2):
        _over_venues(each[kind], open_interest, stamp_ns, clock[0], stale_ns[PREDICTED], over[kind])


@njit(cache=True)
@no_type_check
def _over_venues(each, open_interest, stamp_ns, closed_ns, stale_ns, over):
    """Means, least, greatest, spread and mean z-score of one kind; NaN for none, and no spread of one venue alone."""
    low, high, total, count = math.inf, -math.inf, 0.0, 0
    weighed, weight, scores, scored = 0.0, 0.0, 0.0, 0
    for venue in range(len(each)):
        rate, score = each[venue, RATE], each[venue, Z]
        if math.isfinite(score):
            scores += score
            scored += 1
        if not math.isfinite(rate):
            continue
        low, high, total, count = min(low, rate), max(high, rate), total + rate, count + 1
        if closed_ns - stamp_ns[venue] <= stale_ns and math.isfinite(open_interest[venue]):
            weighed += rate * open_interest[venue]
            weight += open_interest[venue]
    over[PLAIN] = total / count if count else math.nan
    over[WEIGHTED] = weighed / weight if weight > 0 else math.nan
    over[LOW], over[HIGH] = (low, high) if count else (math.nan, math.nan)
    over[SPREAD] = high - low if count > 1 else math.nan
    over[SCORE] = scores / scored if scored else math.nan


@njit(cache=True)
@no_type_check
def summary(
    kind, ring, past, rate, event_ns, interval_hours, settles_ns, open_interest, stamp_ns, clock, stale_ns, z_least
):  # fmt: skip
    """What `FundingMap.summary` says."""
    over, each, minutes = np.empty((2, 6)), np.empty((2, rate.shape[1], 3)), np.empty(rate.shape[1])
    read(
        ring, past, rate, event_ns, interval_hours, settles_ns, open_interest, stamp_ns, clock, stale_ns, z_least,
        over, each, minutes,
    )  # fmt: skip
    next_settlement = math.nan
    for left in minutes:
        if left > 0 and not left >= next_settlement:
            next_settlement = left
    mean = over[kind, PLAIN] if math.isnan(over[kind, WEIGHTED]) else over[kind, WEIGHTED]
    return mean, over[kind, LOW], over[kind, HIGH], over[kind, SCORE], next_settlement


@njit(cache=True)
@no_type_check
def scalars(
    ring, past, rate, event_ns, interval_hours, settles_ns, open_interest, stamp_ns, clock, stale_ns, z_least, out
):  # fmt: skip
    """What `FundingMap.scalars` says, into (side, scalar)."""
    venues = rate.shape[1]
    over, each, minutes = np.empty((2, 6)), np.empty((2, venues, 3)), np.empty(venues)
    read(
        ring, past, rate, event_ns, interval_hours, settles_ns, open_interest, stamp_ns, clock, stale_ns, z_least,
        over, each, minutes,
    )  # fmt: skip
    for side in range(2):
        pays = 1.0 if side == 0 else -1.0
        for kind in range(2):
            row = out[side, kind * (3 + 3 * venues) :]
            row[0] = pays * over[kind, PLAIN] * 1e4
            row[1] = pays * over[kind, WEIGHTED] * 1e4
            row[2] = over[kind, SPREAD] * 1e4
            for venue in range(venues):
                row[3 + venue] = pays * each[kind, venue, RATE] * 1e4
                row[3 + venues + venue] = pays * each[kind, venue, Z]
                row[3 + 2 * venues + venue] = each[kind, venue, AGE_MINUTES]
        out[side, 2 * (3 + 3 * venues) :] = minutes


@njit(cache=True)
@no_type_check
def outward(rate, event_ns, clock, stale_ns, out):
    """What `FundingMap.outward` says, into (side, channel, price)."""
    now = np.empty(rate.shape)
    rates(rate, event_ns, clock, stale_ns, now)
    for channel in range(now.size):
        out[0, channel] = now.flat[channel]
        out[1, channel] = -now.flat[channel]
