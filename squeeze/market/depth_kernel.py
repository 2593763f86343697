"""What `depth` asks of a book's levels, compiled: one walk outward from the best price on each side."""

import math
from typing import no_type_check

import numpy as np
from numba import njit

BEST_BID, BEST_ASK, FIRST_BIN, SIDES_FROM = range(4)
"""Where numbers stand in what `walked` returns; each side's own begin at the last."""


@njit(cache=True)
@no_type_check
def walked(levels, bids, asks, limited, bin_log, bands_bps, orders_usd, window_log):
    """All numbers of a summary in one row; an empty one for a book that lacks a side or is crossed.

    `levels` are the prices of the bids and then their sizes in base coins, and the same of the asks, in any order.
    After the first three numbers come, for bids and then for asks: USD by band, average price by order, USD by bin.
    """
    ends = (bids, 2 * bids, 2 * bids + asks, 2 * (bids + asks))
    bid_prices, bid_sizes, ask_prices = levels[: ends[0]], levels[ends[0] : ends[1]], levels[ends[1] : ends[2]]
    if bids == 0 or asks == 0:
        return np.empty(0)
    bid, ask = bid_prices.max(), ask_prices.min()
    if not bid < ask:  # so that NaN is none either
        return np.empty(0)
    mid = (bid + ask) / 2
    low, high = (bid_prices.min(), ask_prices.max()) if limited else (0.0, math.inf)
    nearest, furthest = mid * (1 - window_log), mid * (1 + window_log)
    first = math.floor(math.log(min(max(low, nearest), furthest)) / bin_log)
    count = math.floor(math.log(min(max(high, nearest), furthest)) / bin_log) - first + 1
    own = bands_bps.size + orders_usd.size + count
    out = np.zeros(SIDES_FROM + 2 * own)
    out[BEST_BID], out[BEST_ASK], out[FIRST_BIN] = bid, ask, first
    walls = (mid, window_log * mid, low, high, bin_log, first)
    _side(bid_prices, bid_sizes, -1.0, walls, bands_bps, orders_usd, out[SIDES_FROM : SIDES_FROM + own])
    _side(ask_prices, levels[ends[2] : ends[3]], 1.0, walls, bands_bps, orders_usd, out[SIDES_FROM + own :])
    return out


@njit(cache=True)
@no_type_check
def _side(prices, sizes, sign, walls, bands_bps, orders_usd, out):
    """Fill one side's numbers; `sign` is -1 for bids, which are walked downward."""
    mid, reach, low, high, bin_log, first = walls
    bands, orders = bands_bps.size, orders_usd.size
    bins = out[bands + orders :]
    for i in range(orders):
        out[bands + i] = math.nan  # until it is filled
    order = _outward(prices, sign)
    usd = coins = 0.0
    band = filled = 0
    for i in range(order.size):
        price, size = prices[order[i]], sizes[order[i]]
        if abs(price - mid) > reach:
            break
        while band < bands and sign * price > sign * (mid * (1e4 + sign * bands_bps[band]) / 1e4):
            out[band] = usd
            band += 1
        here_usd = price * size
        while filled < orders and usd + here_usd >= orders_usd[filled]:
            out[bands + filled] = orders_usd[filled] / (coins + (orders_usd[filled] - usd) / price)
            filled += 1
        usd += here_usd
        coins += size
        bin_ = math.floor(math.log(price) / bin_log) - first
        if 0 <= bin_ < bins.size:
            bins[bin_] += here_usd
    for i in range(band, bands):
        out[i] = usd
    for i in range(bands):
        border = mid * (1e4 + sign * bands_bps[i]) / 1e4
        if border < low or border > high:  # the feed does not reach it
            out[i] = math.nan


@njit(cache=True)
@no_type_check
def _outward(prices, sign):
    """Elements from the best price on; a venue's snapshot has them in this order, and is not sorted again."""
    for i in range(1, prices.size):
        if sign * prices[i] < sign * prices[i - 1]:
            return np.argsort(sign * prices)
    return np.arange(prices.size)
