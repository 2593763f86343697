"""What an order book says at one moment: USD by price bin, depth in bands, imbalance, spread, the cost of moving price.

Formulas: domain.md §4.1. A book carries only so many levels; what lies beyond its last one is not recorded, and NaN.
"""

import math

import msgspec
import numpy as np

from squeeze.arrays import doubles
from squeeze.market.books import Book
from squeeze.market.depth_kernel import SIDES_FROM, walked

BANDS_BPS = (10.0, 25.0, 50.0, 100.0, 200.0)
"""Distances from the mid within which depth is summed, in basis points."""

ORDERS_USD = (10_000.0, 100_000.0, 1_000_000.0)
"""Sizes of the market orders whose cost is asked for."""

WINDOW_LOG = 0.05
"""How far from the mid levels are looked at: a book of 5,000 levels a side has most of them further out."""

_BANDS_BPS, _ORDERS_USD = np.array(BANDS_BPS), np.array(ORDERS_USD)
Amounts = tuple[float, ...]


class BookSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A book at the close of a step; USD are price times size in the contract's quote currency."""

    event_ns: int
    bid: float
    ask: float
    spread_bps: float
    """Of the mid."""
    bid_depth_usd: Amounts
    """Within each of `BANDS_BPS` below the mid; NaN for a band that reaches beyond the last level of a limited feed."""
    ask_depth_usd: Amounts
    imbalance: Amounts
    """(bids - asks) / (bids + asks) in each band."""
    buy_cost_bps: Amounts
    """By how much a market buy of each of `ORDERS_USD` pays above the mid on average; NaN where the book, or the
    window, ends first."""
    sell_cost_bps: Amounts
    bin_log: float
    first_bin: int
    """Absolute number of the first bin, floor(ln(price) / bin_log)."""
    bids_usd: Amounts
    """By price bin from `first_bin` on. Bins end where the feed ends, or the window: what lies beyond is not recorded.
    Of the two outermost a limited feed may cover only a part."""
    asks_usd: Amounts


def summarise(book: Book, bin_log: float) -> BookSummary | None:
    """The summary of a book; None for one that is not valid, lacks a side or is crossed."""
    if not book.valid:
        return None
    bids, asks = book.bids, book.asks
    levels = doubles(*bids, *bids.values(), *asks, *asks.values())
    numbers = walked(
        levels, len(bids), len(asks), book.depth != 0, bin_log, _BANDS_BPS, _ORDERS_USD, WINDOW_LOG
    ).tolist()
    if not numbers:
        return None
    bid, ask, first, *_ = numbers
    mid, sides = (bid + ask) / 2, numbers[SIDES_FROM:]
    middle = len(sides) // 2
    (bids_in, sold_at, bids_usd), (asks_in, bought_at, asks_usd) = _parts(sides[:middle]), _parts(sides[middle:])
    return BookSummary(
        event_ns=book.event_ns,
        bid=bid,
        ask=ask,
        spread_bps=(ask - bid) / mid * 1e4,
        bid_depth_usd=bids_in,
        ask_depth_usd=asks_in,
        imbalance=tuple((b - a) / (b + a) if b + a else math.nan for b, a in zip(bids_in, asks_in, strict=True)),
        buy_cost_bps=tuple((price / mid - 1) * 1e4 for price in bought_at),
        sell_cost_bps=tuple(-(price / mid - 1) * 1e4 for price in sold_at),
        bin_log=bin_log,
        first_bin=int(first),
        bids_usd=bids_usd,
        asks_usd=asks_usd,
    )


def _parts(side: list[float]) -> tuple[Amounts, Amounts, Amounts]:
    """USD by band, average price by order, USD by bin."""
    bands, orders = len(BANDS_BPS), len(BANDS_BPS) + len(ORDERS_USD)
    return tuple(side[:bands]), tuple(side[bands:orders]), tuple(side[orders:])
