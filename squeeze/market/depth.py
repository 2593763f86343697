"""What an order book says at one moment: USD by price bin, depth in bands, imbalance, spread, the cost of moving price.

Formulas: domain.md §4.1. A book carries only so many levels; what lies beyond its last one is not recorded, and NaN.
"""

import math

import msgspec
import numpy as np

from squeeze.market.books import Book

BANDS_BPS = (10.0, 25.0, 50.0, 100.0, 200.0)
"""Distances from the mid within which depth is summed, in basis points."""

ORDERS_USD = (10_000.0, 100_000.0, 1_000_000.0)
"""Sizes of the market orders whose cost is asked for."""

WINDOW_LOG = 0.05
"""How far from the mid levels are looked at: a book of 5,000 levels a side has most of them further out."""

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
    if not book.valid or not book.bids or not book.asks:
        return None
    bid, ask = book.best()
    if bid >= ask:
        return None
    mid = (bid + ask) / 2
    limits = (min(book.bids), max(book.asks)) if book.depth else (0.0, math.inf)
    bid_prices, bid_usd = _side(book.bids, mid, falling=True)
    ask_prices, ask_usd = _side(book.asks, mid, falling=False)
    bids = tuple(_within(bid_prices, bid_usd, mid * (1e4 - b) / 1e4, limits, below=True) for b in BANDS_BPS)
    asks = tuple(_within(ask_prices, ask_usd, mid * (1e4 + b) / 1e4, limits, below=False) for b in BANDS_BPS)
    first, last = (
        math.floor(math.log(min(max(limit, mid * (1 - WINDOW_LOG)), mid * (1 + WINDOW_LOG))) / bin_log)
        for limit in limits
    )
    count = last - first + 1
    return BookSummary(
        event_ns=book.event_ns,
        bid=bid,
        ask=ask,
        spread_bps=(ask - bid) / mid * 1e4,
        bid_depth_usd=bids,
        ask_depth_usd=asks,
        imbalance=tuple((b - a) / (b + a) if b + a else math.nan for b, a in zip(bids, asks, strict=True)),
        buy_cost_bps=tuple(_cost(ask_prices, ask_usd, usd, mid) for usd in ORDERS_USD),
        sell_cost_bps=tuple(-_cost(bid_prices, bid_usd, usd, mid) for usd in ORDERS_USD),
        bin_log=bin_log,
        first_bin=first,
        bids_usd=_bins(bid_prices, bid_usd, bin_log, first, count),
        asks_usd=_bins(ask_prices, ask_usd, bin_log, first, count),
    )


def _side(levels: dict[float, float], mid: float, falling: bool) -> tuple[np.ndarray, np.ndarray]:
    """Prices from the best on to the window's end, and the USD at each."""
    prices = np.fromiter(levels, np.float64, len(levels))
    sizes = np.fromiter(levels.values(), np.float64, len(levels))
    near = np.abs(prices - mid) <= WINDOW_LOG * mid
    prices, sizes = prices[near], sizes[near]
    order = np.argsort(-prices if falling else prices)
    return prices[order], (prices * sizes)[order]


def _within(prices: np.ndarray, usd: np.ndarray, border: float, limits: tuple[float, float], below: bool) -> float:
    """USD between the best price and a border, both included; NaN where the feed does not reach it."""
    if border < limits[0] or border > limits[1]:
        return math.nan
    inside = prices >= border if below else prices <= border
    return float(usd[inside].sum())


def _cost(prices: np.ndarray, usd: np.ndarray, order_usd: float, mid: float) -> float:
    """Average price of an order that takes from the best price on, against the mid, in basis points."""
    filled = np.cumsum(usd)
    if not len(filled) or filled[-1] < order_usd:
        return math.nan
    last = int(np.searchsorted(filled, order_usd))
    taken = usd[: last + 1].copy()
    taken[last] -= filled[last] - order_usd
    coins = float((taken / prices[: last + 1]).sum())
    return (order_usd / coins / mid - 1) * 1e4


def _bins(prices: np.ndarray, usd: np.ndarray, bin_log: float, first: int, count: int) -> Amounts:
    """USD by bin, for levels that lie in one of them."""
    bins = np.floor(np.log(prices) / bin_log).astype(np.int64) - first
    inside = (bins >= 0) & (bins < count)
    return tuple(np.bincount(bins[inside], weights=usd[inside], minlength=count).astype(np.float64).tolist())
