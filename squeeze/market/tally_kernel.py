"""What `tally` makes of a pile of trades, compiled: the candle, and coins by price bin."""

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True)
@no_type_check
def fold(prices, coins, event_ns, bin_log, last_ns):
    """At least one trade in the order of arrival, `coins` below zero where takers sold, after one of `last_ns`.

    Returns the elements that open and close the candle, its high and low, how many came after a newer one, the first
    absolute bin, and coins (2, bin): bought, sold.
    """
    bins = np.empty(prices.size, np.int64)
    opens = closes = out_of_order = 0
    high = low = prices[0]
    for i in range(prices.size):
        bins[i] = math.floor(math.log(prices[i]) / bin_log)
        high, low = max(high, prices[i]), min(low, prices[i])
        if event_ns[i] < event_ns[opens]:
            opens = i
        if event_ns[i] >= event_ns[closes]:
            closes = i
        out_of_order += event_ns[i] < max(event_ns[closes], last_ns)
    first = bins.min()
    sides = np.zeros((2, bins.max() - first + 1))
    for i in range(prices.size):
        sides[0 if coins[i] > 0 else 1, bins[i] - first] += abs(coins[i])
    return opens, closes, high, low, out_of_order, first, sides
