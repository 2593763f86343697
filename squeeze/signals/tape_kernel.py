"""The compiled part of the tape: one second closed after the other, and what the closed ones add up to.

Apart from `tape`, which hears events. A sum that holds a NaN is one.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.signals.tape_layout import (
    BAR_SECONDS,
    BARS,
    BINS,
    BUYS,
    COLUMNS,
    DAY,
    DAYS,
    DEPTH,
    EW_BUYS,
    EW_SELLS,
    HEARD,
    HIGH,
    HOLE_MINUTES,
    HOUR,
    HOURS,
    INTEREST,
    LEAST_HOURS,
    LEAST_SECONDS,
    LEAST_TENS,
    LONG_USD,
    LONGS,
    LOW,
    MARK,
    MINUTE,
    MINUTES,
    PER_OCTAVE,
    RANGE_SECONDS,
    RETURNS_MINUTES,
    RING,
    SELLS,
    SHORT_USD,
    SHORTS,
    SPREAD,
    TENS,
    TENS_QUANTILE,
    UNTIL,
    VOLUME,
    WORST,
)  # fmt: skip


@njit(cache=True)
@no_type_check
def begin(memory: np.ndarray, second: int) -> None:
    """Let the first second run."""
    memory[0].second, memory[0].day = second, (second - 1) // DAY


@njit(cache=True)
@no_type_check
def settle(memory: np.ndarray, rings: np.ndarray, heard: np.ndarray) -> None:
    """Close the running second with each row of what was `heard`, then the silent ones until the row's next; a second
    that still runs is only written where it will be.
    """
    for row in heard:
        until = int(row[UNTIL])
        if not until:
            _show(memory[0], rings, row)
            continue
        _close(memory[0], rings, row)
        if memory[0].second < until:
            silent = _silent(memory[0], row)
            while memory[0].second < until:
                _close(memory[0], rings, silent)


@njit(cache=True)
@no_type_check
def _silent(memory: np.void, heard: np.ndarray) -> np.ndarray:
    """What a second hears in which nothing comes, after another."""
    silent = np.zeros(HEARD)
    silent[:VOLUME] = np.nan
    silent[VOLUME:LONG_USD] = 0.0 if memory.is_trading else np.nan
    silent[LONG_USD:SPREAD] = 0.0 if memory.is_watching else np.nan
    silent[SPREAD], silent[WORST], silent[DEPTH] = heard[SPREAD], heard[SPREAD], heard[DEPTH]
    silent[INTEREST] = heard[INTEREST]
    return silent


@njit(cache=True)
@no_type_check
def _close(memory: np.void, rings: np.ndarray, heard: np.ndarray) -> None:
    second = memory.second
    at = second % RING
    if (second - 1) // DAY != memory.day:
        _turn_day(memory, (second - 1) // DAY)
    low, high, mark = heard[LOW], heard[HIGH], heard[MARK]
    if mark == mark:
        _move(memory, mark, second)
        for i in range(2):
            memory.bar_low[i], memory.bar_high[i] = min(memory.bar_low[i], low), max(memory.bar_high[i], high)
    else:
        low = high = mark = memory.log_mark
    rings[LOW, at], rings[HIGH, at], rings[MARK, at] = low, high, mark
    for column in range(VOLUME, COLUMNS):
        rings[column, at] = heard[column]
    kept = 0.5 ** (1.0 / 30.0)
    memory.buys = kept * memory.buys + heard[EW_BUYS] if memory.buys + heard[EW_BUYS] > 1e-9 else 0.0
    memory.sells = kept * memory.sells + heard[EW_SELLS] if memory.sells + heard[EW_SELLS] > 1e-9 else 0.0
    for i in range(2):
        if second % BAR_SECONDS[i] == 0:
            _end_bar(memory, i)
    if second % 10 == 0:
        for side in range(2):
            usd = window(rings, LONG_USD + side, second, 10)
            if usd > 0:
                _count(memory, TENS, side, usd)
    if second % MINUTE == 0:
        for side in range(2):
            usd = window(rings, LONG_USD + side, second, MINUTE)
            if usd == usd:
                _count(memory, MINUTES, side, usd)
        _end_minute(memory, second, heard[INTEREST])
    memory.second = second + 1


@njit(cache=True)
@no_type_check
def _show(memory: np.void, rings: np.ndarray, heard: np.ndarray) -> None:
    """Write what the running second has heard so far where it will be, without closing it."""
    at = memory.second % RING
    for column in range(COLUMNS):
        rings[column, at] = heard[column]
    if heard[MARK] != heard[MARK]:
        rings[LOW, at] = rings[HIGH, at] = rings[MARK, at] = memory.log_mark


@njit(cache=True)
@no_type_check
def _move(memory: np.void, mark: float, second: int) -> None:
    """Velocity from one second with a mark to the next, as far apart as they are."""
    minutes = (second - memory.spoke) / MINUTE
    if memory.spoke == 0 or minutes > HOLE_MINUTES:
        memory.velocity = np.nan
    else:
        kept = 0.5 ** (minutes / 0.5)
        before = memory.velocity if memory.velocity == memory.velocity else 0.0
        memory.velocity = kept * before + (1.0 - kept) * (mark - memory.log_mark) / minutes
    memory.log_mark, memory.spoke = mark, second


@njit(cache=True)
@no_type_check
def _end_bar(memory: np.void, i: int) -> None:
    """True range of a bar in which the mark was heard, from the close before it where the mark was heard then too."""
    if memory.mark_seconds > BAR_SECONDS[i] or memory.bars[i] < 0:
        memory.bars[i] = 0
    elif memory.bar_low[i] <= memory.bar_high[i]:
        low, high, before = memory.bar_low[i], memory.bar_high[i], memory.bar_before[i]
        if before == before:
            low, high = min(low, before), max(high, before)
        memory.bar_range[i, memory.bars[i] % BARS] = high - low
        memory.bars[i] += 1
    heard = memory.bar_low[i] <= memory.bar_high[i]
    memory.bar_before[i] = memory.log_mark if heard else np.nan
    memory.bar_low[i], memory.bar_high[i] = np.inf, -np.inf


@njit(cache=True)
@no_type_check
def _end_minute(memory: np.void, second: int, interest: float) -> None:
    minute = second // MINUTE
    memory.square[minute % 60], memory.square_minutes[minute % 60] = 0.0, 0.0
    if memory.spoke > memory.returned:
        minutes = (second - memory.returned) // MINUTE
        if memory.returned > 0 and minutes <= HOLE_MINUTES:
            change = memory.log_mark - memory.returned_log
            kept = 0.5 ** (minutes / 60.0)
            memory.variance_1h = kept * memory.variance_1h + change * change
            memory.weight_1h = kept * memory.weight_1h + minutes
            kept = 0.5 ** (minutes / 720.0)
            memory.variance_24h = kept * memory.variance_24h + change * change
            memory.weight_24h = kept * memory.weight_24h + minutes
            memory.square[minute % 60], memory.square_minutes[minute % 60] = change * change, minutes
        memory.returned, memory.returned_log = second, memory.log_mark
    is_known = memory.spoke > 0 and second - memory.spoke <= HOLE_MINUTES * MINUTE
    memory.minute_log[minute % 256] = memory.log_mark if is_known else np.nan
    memory.minute_interest[minute % 64] = interest
    if minute % 60 == 0:
        memory.hour_sigma[(minute // 60) % HOURS] = _hour_sigma(memory)


@njit(cache=True)
@no_type_check
def _hour_sigma(memory: np.void) -> float:
    """Deviation of a minute's return over the last hour; NaN where too little of it is known."""
    squares, minutes = 0.0, 0.0
    for i in range(60):
        squares += memory.square[i]
        minutes += memory.square_minutes[i]
    return math.sqrt(squares / minutes) if minutes >= RETURNS_MINUTES else np.nan


@njit(cache=True)
@no_type_check
def window(rings: np.ndarray, column: int, last: int, seconds: int) -> float:
    """Sum over so many seconds up to `last`."""
    total = 0.0
    for second in range(last - seconds + 1, last + 1):
        total += rings[column, second % RING]
    return total


@njit(cache=True)
@no_type_check
def _count(memory: np.void, kind: int, side: int, usd: float) -> None:
    at = 0 if usd < 1.0 else min(BINS - 1, 1 + math.floor(PER_OCTAVE * math.log2(usd)))
    memory.sums[kind, memory.day % DAYS, side, at] += 1


@njit(cache=True)
@no_type_check
def _turn_day(memory: np.void, day: int) -> None:
    """At midnight: the quantiles as they stand, and an empty day in the place of the oldest."""
    for side in range(2):
        memory.usual[TENS, side] = _quantile(memory, TENS, side, DAYS, TENS_QUANTILE, LEAST_TENS)
        memory.usual[MINUTES, side] = _quantile(
            memory, MINUTES, side, memory.trailing_days, memory.minute_quantile, memory.least_minutes
        )
    memory.day = day
    memory.sums[:, day % DAYS] = 0


@njit(cache=True)
@no_type_check
def _quantile(memory: np.void, kind: int, side: int, days: int, quantile: float, least: float) -> float:
    """Of the sums counted in the last so many days, the running one among them; NaN under `least`."""
    counts = np.zeros(BINS, np.int64)
    for back in range(days):
        for i in range(BINS):
            counts[i] += memory.sums[kind, (memory.day - back) % DAYS, side, i]
    total = counts.sum()
    if total < least or total == 0:
        return np.nan
    rank = math.floor(quantile * (total - 1))
    below = 0
    for i in range(BINS):
        below += counts[i]
        if below > rank:
            return 0.0 if i == 0 else 2.0 ** ((i - 0.5) / PER_OCTAVE)
    return np.nan


@njit(cache=True)
@no_type_check
def cover(
    memory: np.ndarray, rings: np.ndarray, first: int, last: int, volume: float, buys: float, sells: float
) -> None:
    """Spread what a bar traded a second over closed seconds."""
    running = memory[0].second
    for second in range(max(first, running - RING + 1), min(last, running - 1) + 1):
        at = second % RING
        rings[VOLUME, at], rings[BUYS, at], rings[SELLS, at] = volume, buys, sells


@njit(cache=True)
@no_type_check
def lose(memory: np.ndarray, rings: np.ndarray, first_column: int, columns: int, first: int) -> None:
    """Take back what closed seconds from `first` on say of some columns: it was not recorded after all."""
    running = memory[0].second
    for second in range(max(first, running - RING + 1), running):
        for column in range(first_column, first_column + columns):
            rings[column, second % RING] = np.nan


@njit(cache=True)
@no_type_check
def read(
    memory: np.ndarray,
    rings: np.ndarray,
    heard: np.ndarray,
    rules: np.ndarray,
    last: int,
    mark: float,
    interest: float,
    out: np.ndarray,
) -> None:
    """Settle what was `heard`, and fill a record of FACTS from the seconds up to `last`; `mark` is its logarithm,
    `interest` in coins.
    """
    settle(memory, rings, heard)
    _read(memory[0], rings, rules[0], last, mark, interest, out[0])


@njit(cache=True)
@no_type_check
def _read(
    memory: np.void, rings: np.ndarray, rules: np.void, last: int, mark: float, interest: float, facts: np.void
) -> None:
    _read_price(memory, rings, last, mark, facts)
    _read_flow(memory, rings, last, facts)
    facts.long_10s, facts.short_10s = window(rings, LONG_USD, last, 10), window(rings, SHORT_USD, last, 10)
    facts.longs_10s, facts.shorts_10s = window(rings, LONGS, last, 10), window(rings, SHORTS, last, 10)
    facts.long_60s, facts.short_60s = window(rings, LONG_USD, last, MINUTE), window(rings, SHORT_USD, last, MINUTE)
    facts.longs_60s, facts.shorts_60s = window(rings, LONGS, last, MINUTE), window(rings, SHORTS, last, MINUTE)
    facts.long_usual, facts.short_usual = memory.usual[TENS, 0], memory.usual[TENS, 1]
    held_usd = interest * math.exp(mark) if interest > 0 and mark == mark else 0.0
    least_usd = max(rules.floor_usd, rules.interest_share * held_usd)
    long_usd, short_usd = memory.usual[MINUTES, 0], memory.usual[MINUTES, 1]  # NaN stays: nothing exceeds it
    facts.long_onset = max(long_usd, least_usd) if long_usd == long_usd else np.nan
    facts.short_onset = max(short_usd, least_usd) if short_usd == short_usd else np.nan
    before = memory.minute_interest[(last // MINUTE - 60) % 64] if last >= 60 * MINUTE else np.nan
    facts.open_interest_change_1h = interest / before - 1.0 if before > 0 else np.nan
    facts.return_suspect_log = mark - rings[MARK, (last - rules.suspect_seconds) % RING]
    seconds = rules.suspect_seconds
    facts.prints_suspect = window(rings, LONGS, last, seconds) + window(rings, SHORTS, last, seconds)
    facts.sigma_before_log = _sigma_before(memory, last // MINUTE - rules.suspect_minutes + 1)


@njit(cache=True)
@no_type_check
def _sigma_before(memory: np.void, first: int) -> float:
    """Deviation of a minute without the minutes from `first` on, in which a move would be suspect: it would hide behind
    itself.
    """
    newest = memory.returned // MINUTE
    variance, weight = memory.variance_1h, memory.weight_1h
    for minute in range(first, newest + 1):
        kept = 0.5 ** ((newest - minute) / 60.0)
        variance -= kept * memory.square[minute % 60]
        weight -= kept * memory.square_minutes[minute % 60]
    return math.sqrt(max(0.0, variance) / weight) if weight >= 10 else np.nan


@njit(cache=True)
@no_type_check
def _read_price(memory: np.void, rings: np.ndarray, last: int, mark: float, facts: np.void) -> None:
    facts.velocity_log = memory.velocity
    facts.sigma_1m_log = math.sqrt(memory.variance_1h / memory.weight_1h) if memory.weight_1h >= 10 else np.nan
    facts.sigma_4h_log = (
        math.sqrt(240.0 * memory.variance_24h / memory.weight_24h) if memory.weight_24h >= 240 else np.nan
    )
    facts.atr_5m_log = memory.bar_range[0].mean() if memory.bars[0] >= BARS else np.nan
    facts.atr_15m_log = memory.bar_range[1].mean() if memory.bars[1] >= BARS else np.nan
    facts.range_3m_log = np.nan
    if memory.mark_seconds <= RANGE_SECONDS:
        low, high = np.inf, -np.inf
        for second in range(last - RANGE_SECONDS + 1, last + 1):
            low, high = min(low, rings[LOW, second % RING]), max(high, rings[HIGH, second % RING])
        is_known = rings[LOW, (last - RANGE_SECONDS + 1) % RING] == rings[LOW, (last - RANGE_SECONDS + 1) % RING]
        facts.range_3m_log = high - low if is_known else np.nan
    facts.return_4h_log = mark - memory.minute_log[(last // MINUTE - 240) % 256]
    now, calmer, known = _hour_sigma(memory), 0, 0
    for i in range(HOURS):
        known += int(memory.hour_sigma[i] == memory.hour_sigma[i])
        calmer += int(memory.hour_sigma[i] < now)
    facts.volatility_1h_rank = calmer / known if known >= LEAST_HOURS and now == now else np.nan
    worst = -np.inf
    for second in range(last - 29, last + 1):
        value = rings[WORST, second % RING]
        if value != value:
            worst = np.nan
        elif worst == worst:
            worst = max(worst, value)
    facts.spread_worst_30s_bp = worst


@njit(cache=True)
@no_type_check
def _read_flow(memory: np.void, rings: np.ndarray, last: int, facts: np.void) -> None:
    """Of trades up to now; of bars up to where they tell, as long as that is not more than two of them ago."""
    until = last
    if not memory.is_trading:
        until = min(last, memory.covered)
    is_known = memory.is_trading or (memory.bar_seconds > 0 and last - until <= 2 * memory.bar_seconds)
    nan = np.nan
    facts.volume_60s_usd = window(rings, VOLUME, until, MINUTE) if is_known else nan
    facts.taker_buys_10s_usd = window(rings, BUYS, until, 10) if is_known else nan
    facts.taker_sells_10s_usd = window(rings, SELLS, until, 10) if is_known else nan
    total, count = 0.0, 0
    for second in range(last - HOUR + 1, last + 1):
        value = rings[VOLUME, second % RING]
        if value == value:
            total += value
            count += 1
    facts.volume_minute_usd = MINUTE * total / count if is_known and count >= LEAST_SECONDS else nan
    both = memory.buys + memory.sells
    facts.taker_imbalance = (memory.buys - memory.sells) / both if is_known and both > 0 else nan
