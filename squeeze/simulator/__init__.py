"""A small leveraged market whose positions and cascades are known; it imports nothing of the heatmaps it will judge."""

from squeeze.simulator.facts import facts
from squeeze.simulator.market import SimulatedMarket, SimulatorSpec, simulate
from squeeze.simulator.recording import write_recording

__all__ = ["SimulatedMarket", "SimulatorSpec", "facts", "simulate", "write_recording"]
