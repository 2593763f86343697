"""The numbers of a moment (`NOW`): volatility, ranges, returns and changes of open interest, kept in constant memory.

Recent volatility is exponentially weighted, ranges are those of whole hours, and what is said to be of some hours ago
is the newest sample at least so old; samples are taken every five minutes. A stretch that is not wholly remembered is
NaN.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.market.venue_step import Candle
from squeeze.patterns.scene import NOW

SAMPLE_NS = 5 * MINUTE_NS
SAMPLES = 24 * 12 + 2
FIELDS = 4
"""Of a sample: log price, open interest, contracts opened while the price rose, and while it fell."""
LATEST_SAMPLE_NS = 3 * SAMPLE_NS
"""A sample this much older than asked for does not count: there was a hole."""

JUMP_SHARE = 0.45
"""A stamp this far from the last, as a share of it, is a change of counting (`OpenInterestSpec.jump_share`)."""

MEMORY = np.dtype(
    [
        ("closed_ns", "i8"),
        ("log_price", "f8"),
        ("variance_4h", "f8"),  # of a minute's log return: two half-lives in four hours, and in a day
        ("weight_4h", "f8"),
        ("variance_24h", "f8"),
        ("weight_24h", "f8"),
        ("velocity", "f8"),
        ("hour", "i8"),  # number of the running hour since 1970
        ("hours", "i8"),  # how many whole hours are remembered
        ("hour_high", "f8", (25,)),  # by hour modulo 25; the running one is among them
        ("hour_low", "f8", (25,)),
        ("hour_close", "f8", (25,)),
        ("samples", "i8"),  # taken so far
        ("sample", "f8", (SAMPLES, FIELDS)),
        ("sample_ns", "i8", (SAMPLES,)),
        ("open_interest_base", "f8"),
        ("opened_rising", "f8"),  # contracts opened while the price rose, and fell, since the beginning
        ("opened_falling", "f8"),
        ("stamp_log_price", "f8"),  # log price when open interest last changed
    ],
    align=True,
)


class Moment:
    """Keeps what `NOW` says of price and open interest; `step` fills a record of it."""

    def __init__(self, bin_log: float) -> None:
        self.bin_log = bin_log
        self.memory = np.zeros(1, MEMORY)
        self.now = np.zeros(1, NOW)
        for name in NOW.names or ():
            if NOW[name].kind == "f":
                self.now[name] = math.nan
        self.now["bin_log"] = bin_log

    def step(self, mark: Candle, open_interest_base: float, close_ns: int, step_ns: int) -> np.ndarray:
        """The record at `close_ns`, funding and ages aside; `open_interest_base` is NaN where it is not known."""
        _advance(
            self.memory[0], self.now[0], mark.low, mark.high, mark.close, open_interest_base, close_ns, step_ns,
            self.bin_log,
        )  # fmt: skip
        return self.now

    def stand(self, close_ns: int, step_ns: int) -> np.ndarray:
        """The record at a close of which no mark is known: the last one stands, and nothing is learnt from it."""
        now = self.now[0]
        now["close_ns"], now["step_ns"] = close_ns, step_ns
        now["mark_low"] = now["mark_high"] = now["mark"]
        now["velocity"] = now["acceleration"] = math.nan
        return self.now

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as bytes."""
        return {"memory": self.memory.view(np.uint8), "now": self.now.view(np.uint8)}


@njit(cache=True)
@no_type_check
def _advance(
    memory: np.void,
    now: np.void,
    low: float,
    high: float,
    close: float,
    open_interest_base: float,
    close_ns: int,
    step_ns: int,
    bin_log: float,
) -> None:
    log_price = math.log(close)
    _vary(memory, now, log_price, close_ns)
    _range(memory, now, math.log(low), math.log(high), log_price, close_ns)
    if open_interest_base > 0:
        _stamp(memory, log_price, open_interest_base)
    now.close_ns, now.step_ns = close_ns, step_ns
    now.mark, now.mark_low, now.mark_high = close, low, high
    now.mark_bin = math.floor(log_price / bin_log)
    now.open_interest_base = memory.open_interest_base if memory.open_interest_base > 0 else np.nan
    now.open_interest_usd = now.open_interest_base * close
    _look_back(memory, now, log_price, close_ns)
    memory.closed_ns, memory.log_price = close_ns, log_price


@njit(cache=True)
@no_type_check
def _stamp(memory: np.void, log_price: float, open_interest_base: float) -> None:
    """What was opened since the last change; a jump is a change of counting, and all that was counted follows it."""
    before = memory.open_interest_base
    change = open_interest_base - before
    if before > 0 and abs(change) >= JUMP_SHARE * before:
        ratio = open_interest_base / before
        memory.sample[:, 1:] *= ratio
        memory.opened_rising *= ratio
        memory.opened_falling *= ratio
    elif before > 0 and log_price > memory.stamp_log_price:
        memory.opened_rising += max(change, 0.0)
    elif before > 0 and log_price < memory.stamp_log_price:
        memory.opened_falling += max(change, 0.0)
    if change != 0.0:
        memory.stamp_log_price = log_price
    memory.open_interest_base = open_interest_base


@njit(cache=True)
@no_type_check
def _vary(memory: np.void, now: np.void, log_price: float, close_ns: int) -> None:
    """Exponentially weighted variance and velocity; after a hole the return is not counted."""
    minutes = (close_ns - memory.closed_ns) / MINUTE_NS
    if memory.closed_ns == 0 or minutes > 61.0:
        now.velocity, now.acceleration, memory.velocity = np.nan, np.nan, 0.0
    else:
        change = log_price - memory.log_price
        decay_4h, decay_24h = 0.5 ** (minutes / 120.0), 0.5 ** (minutes / 720.0)
        memory.variance_4h = decay_4h * memory.variance_4h + change * change
        memory.weight_4h = decay_4h * memory.weight_4h + minutes
        memory.variance_24h = decay_24h * memory.variance_24h + change * change
        memory.weight_24h = decay_24h * memory.weight_24h + minutes
        kept = 0.5 ** (minutes / 0.5) if minutes <= 0.5 else 0.0
        velocity = kept * memory.velocity + (1.0 - kept) * change / minutes
        now.acceleration = (velocity - memory.velocity) / minutes
        now.velocity = memory.velocity = velocity
    now.sigma_1m = math.sqrt(memory.variance_4h / memory.weight_4h) if memory.weight_4h > 0 else np.nan
    now.sigma_4h = math.sqrt(240.0 * memory.variance_24h / memory.weight_24h) if memory.weight_24h > 0 else np.nan


@njit(cache=True)
@no_type_check
def _range(memory: np.void, now: np.void, low: float, high: float, close: float, close_ns: int) -> None:
    """Mean true range of the whole hours of the last day, one by one and by fours."""
    hour = (close_ns - 1) // HOUR_NS
    if memory.closed_ns == 0 or hour > memory.hour + 1:
        memory.hours = 0
    if memory.closed_ns == 0 or hour != memory.hour:
        if memory.closed_ns != 0 and hour == memory.hour + 1:
            memory.hours = min(memory.hours + 1, 24)
        memory.hour = hour
        memory.hour_high[hour % 25], memory.hour_low[hour % 25] = high, low
    at = hour % 25
    memory.hour_high[at] = max(memory.hour_high[at], high)
    memory.hour_low[at] = min(memory.hour_low[at], low)
    memory.hour_close[at] = close
    now.atr_1h = _true_range(memory, hour, 1)
    now.atr_4h = _true_range(memory, hour, 4)


@njit(cache=True)
@no_type_check
def _true_range(memory: np.void, hour: int, together: int) -> float:
    """Over stretches of `together` whole hours before the running one; each reaches back to the close before it."""
    total, count = 0.0, 0
    for stretch in range((memory.hours - 1) // together):
        last = hour - 1 - stretch * together
        before = memory.hour_close[(last - together) % 25]
        high, low = before, before
        for i in range(together):
            high = max(high, memory.hour_high[(last - i) % 25])
            low = min(low, memory.hour_low[(last - i) % 25])
        total += high - low
        count += 1
    return total / count if count > 0 else np.nan


@njit(cache=True)
@no_type_check
def _look_back(memory: np.void, now: np.void, log_price: float, close_ns: int) -> None:
    """Returns and changes against samples of 4 and 24 hours ago, and then the sample of now, if it is time."""
    for hours in (4, 24):
        i = _sample(memory, close_ns - hours * HOUR_NS)
        change, interest = np.nan, np.nan
        if i >= 0:
            change = log_price - memory.sample[i, 0]
            if memory.sample[i, 1] > 0:
                interest = memory.open_interest_base / memory.sample[i, 1] - 1.0
        if hours == 4:
            now.return_4h, now.open_interest_4h = change, interest
            now.longs_opened_4h, now.shorts_opened_4h = np.nan, np.nan
            if i >= 0 and memory.sample[i, 1] > 0:
                now.longs_opened_4h = (memory.opened_rising - memory.sample[i, 2]) / memory.open_interest_base
                now.shorts_opened_4h = (memory.opened_falling - memory.sample[i, 3]) / memory.open_interest_base
        else:
            now.return_24h, now.open_interest_24h = change, interest
    newest = (memory.samples - 1) % SAMPLES
    if memory.samples == 0 or close_ns // SAMPLE_NS > memory.sample_ns[newest] // SAMPLE_NS:
        at = memory.samples % SAMPLES
        memory.sample[at, 0], memory.sample[at, 1] = log_price, memory.open_interest_base
        memory.sample[at, 2], memory.sample[at, 3] = memory.opened_rising, memory.opened_falling
        memory.sample_ns[at] = close_ns
        memory.samples += 1


@njit(cache=True)
@no_type_check
def _sample(memory: np.void, at_ns: int) -> int:
    """Where the newest sample at or before a time is; -1 if there is none, or it is much older."""
    first, last = max(0, memory.samples - SAMPLES), memory.samples - 1
    while first < last:  # the newest not after `at_ns`
        middle = (first + last + 1) // 2
        if memory.sample_ns[middle % SAMPLES] <= at_ns:
            first = middle
        else:
            last = middle - 1
    if last < 0:
        return -1
    found_ns = memory.sample_ns[first % SAMPLES]
    return first % SAMPLES if at_ns - LATEST_SAMPLE_NS <= found_ns <= at_ns else -1
