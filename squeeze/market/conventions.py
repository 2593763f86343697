"""Sides, units and completeness of what each venue publishes: one table, each row with its source.

Published code gets these wrong (ccxt passes Bybit's `side` on, cryptofeed takes it for an order's), so the adapters
look here and the tests hold it against recorded frames.
"""

import msgspec

from squeeze.market.events import DAY_NS, Quality

LONG, SHORT = 0, 1
"""`Liquidation.side`: whose position was closed."""


class Convention(msgspec.Struct, frozen=True):
    """How one venue publishes liquidations and counts sizes and open interest."""

    venue: str
    side_field: str
    sides: dict[str, int]
    """The venue's word → the position that was liquidated."""
    price: str
    """What the printed price is."""
    size_unit: str
    """In what sizes of trades, books and liquidations are counted on the wire."""
    open_interest: str
    completeness: Quality
    """GOOD: all events; SAMPLED, UNDERCOUNTED: not all, see `Quality`."""
    complete_since_ns: int
    """Before it the feed was sampled."""
    source: str


BYBIT_COMPLETE_NS = 20_145 * DAY_NS
"""2025-02-26: the first day of `allLiquidation` in the recordings of tardis-node (src/mappers/bybit.ts). Prints before
it come from the old topic, at most one a second."""

CONVENTIONS = {
    "bybit": Convention(
        venue="bybit",
        side_field="S",
        sides={"Buy": LONG, "Sell": SHORT},
        price="bankruptcy",
        size_unit="base coins",
        open_interest="openInterest counts both sides, singleOpenInterest (since 2026-06-11) one",
        completeness=Quality.GOOD,
        complete_since_ns=BYBIT_COMPLETE_NS,
        source="bybit-exchange/docs v5/websocket/public/all-liquidation.mdx, ticker.mdx; changelog 2025-02-20",
    ),
    "okx": Convention(
        venue="okx",
        side_field="side",
        sides={"sell": LONG, "buy": SHORT},
        price="bankruptcy",
        size_unit="contracts",
        open_interest="one side; oiCcy in base coins",
        completeness=Quality.UNDERCOUNTED,
        complete_since_ns=0,
        source="OKX API v5, liquidation-orders channel: not the total, several sources, not ordered by time",
    ),
    "binance": Convention(
        venue="binance",
        side_field="o.S",
        sides={"SELL": LONG, "BUY": SHORT},
        price="average fill",
        size_unit="base coins",
        open_interest="one side",
        completeness=Quality.SAMPLED,
        complete_since_ns=0,
        source="developers.binance.com USD-M liquidation order streams: one order per symbol and 1000 ms",
    ),
}


def completeness(venue: str, at_ns: int) -> Quality | None:
    """How complete the venue's liquidation feed is at a time; None for a venue that is not in the table.

    >>> completeness("bybit", BYBIT_COMPLETE_NS - 1), completeness("bybit", BYBIT_COMPLETE_NS)
    (<Quality.SAMPLED: 4>, <Quality.GOOD: 0>)
    """
    convention = CONVENTIONS.get(venue)
    if convention is None:
        return None
    return convention.completeness if at_ns >= convention.complete_since_ns else Quality.SAMPLED
