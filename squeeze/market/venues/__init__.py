"""Exchanges: their frames as events, and what to say to them. One module a venue, pure; `wire` holds the protocol.

    frame bytes ─► Bybit | Okx | Binance .decode ─► events

A venue's messages as documented are in its `_wire`, its answers about contracts in its `_metadata`; `wire` and
`metadata` hold what these share. `market.conventions` is the table of their sides, units and completeness.
"""

from squeeze.errors import ConfigError
from squeeze.market.instruments import Instruments
from squeeze.market.venues.binance import Binance
from squeeze.market.venues.bybit import Bybit
from squeeze.market.venues.okx import Okx
from squeeze.market.venues.wire import Venue

__all__ = ["VENUES", "Binance", "Bybit", "Okx", "Venue", "venue"]

VENUES = ("binance", "bybit", "okx")


def venue(name: str, instruments: Instruments | None = None) -> Venue:
    """The adapter of a venue; `ConfigError` for one there is none of."""
    match name:
        case "binance":
            return Binance()
        case "bybit":
            return Bybit()
        case "okx":
            return Okx(instruments)
    raise ConfigError(f"no adapter for {name!r}; there are {', '.join(VENUES)}")
