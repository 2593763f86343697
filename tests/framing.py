"""Frames for tests of the predictors: made up of random numbers, in the shape that a model's card says."""

import copy
import dataclasses

import numpy as np

from squeeze.market.venue_step import Candle
from squeeze.model_file import ModelCard
from squeeze.state import Degraded, Frame, Unhealthy


def made_up_frame(
    card: ModelCard, close: int, seed: int = 0, symbol: str | None = None, unhealthy: Unhealthy = Unhealthy.NONE
) -> Frame:
    """The `close`-th step's frame: shares of open interest over many orders of magnitude, scalars that are partly NaN;
    all there is of degradation is what the model was trained with.
    """
    rng, spec = np.random.default_rng((seed, close)), card.spec
    channels = 10 ** rng.uniform(-8, -1, (2, len(card.channel_names), spec.frame.price_bins))
    scalars = rng.normal(0, 2, (2, len(card.scalar_names)))
    scalars[rng.random(scalars.shape) < 0.1] = np.nan
    close_ns = close * spec.market.step_seconds * 1_000_000_000
    return Frame(
        symbol or spec.market.symbol, close_ns, Candle(1.0, 1.0, 1.0, 1.0, close_ns), channels.astype(np.float32),
        scalars.astype(np.float32), 0.001, np.zeros(2), (), Degraded(card.degraded), unhealthy,
    )  # fmt: skip


def spoilt(frame: Frame, **arrays: object) -> Frame:
    """A frame with something in its arrays' place that its annotations would not let pass."""
    frame = copy.copy(frame)
    for name, value in arrays.items():
        object.__setattr__(frame, name, value)
    return frame


def renamed(frame: Frame, symbol: str) -> Frame:
    """The same frame of another symbol."""
    return dataclasses.replace(frame, symbol=symbol)
