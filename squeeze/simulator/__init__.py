"""A leveraged market whose positions and cascades are known; it imports nothing of the heatmaps it will judge.

    spec ─► rules ─► kernel (agents in the world of `outside`) ─► market ─► recording: files for the importer
                                                                    ├─► publish: columns and events, late and censored
                                                                    │     └─ resting: the order book
                                                                    ├─► truth: map, leavers, walls, onsets
                                                                    ├─► oracle: the best probability there is
                                                                    └─► facts: is it like a real one

`truth`, `oracle` and `publish` need a market simulated with `detail=True`.
"""

from squeeze.simulator.facts import facts
from squeeze.simulator.market import SimulatedMarket, simulate
from squeeze.simulator.publish import Publication, market_events, published
from squeeze.simulator.recording import write_recording
from squeeze.simulator.spec import (
    BINANCE,
    BYBIT,
    OKX,
    CrossMargin,
    SimulatedVenue,
    SimulatorSpec,
    Stops,
    Thinning,
    VolatilityOnly,
    Walls,
    three_exchanges,
)

__all__ = [
    "BINANCE",
    "BYBIT",
    "OKX",
    "CrossMargin",
    "Publication",
    "SimulatedMarket",
    "SimulatedVenue",
    "SimulatorSpec",
    "Stops",
    "Thinning",
    "VolatilityOnly",
    "Walls",
    "facts",
    "market_events",
    "published",
    "simulate",
    "three_exchanges",
    "write_recording",
]
