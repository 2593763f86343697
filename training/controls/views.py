"""Examples seen otherwise, without a copy of their arrays: what controls, ablations and explanations look through."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from training.examples import Examples

MOST_STEPS = 2000
"""Frames that a mean is taken over, evenly thinned."""


class View:
    """An array of examples read through a function; only the steps that are asked for are ever loaded.

    `read` takes positions of steps, (step,), and returns their rows as an array of its own, (step, ...).

    >>> ten = np.arange(20.0).reshape(10, 2)
    >>> minus = View(ten, lambda at: -ten[at])
    >>> minus[3].tolist(), minus[np.array([0, -1]), 1].tolist(), minus[8:].shape
    ([-6.0, -7.0], [-1.0, -19.0], (2, 2))
    """

    def __init__(self, source: Any, read: Callable[[np.ndarray], np.ndarray]) -> None:
        self.shape: tuple[int, ...] = source.shape
        self.dtype: np.dtype[Any] = source.dtype
        self.ndim = len(self.shape)
        self._read = read

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """As NumPy's, with steps first: a number, a slice, a mask or positions."""
        steps, *rest = key if isinstance(key, tuple) else (key,)
        at = np.arange(len(self))[steps]
        rows = self._read(at.reshape(-1))
        if at.ndim == 0:
            return rows[0][tuple(rest)]
        paired = not isinstance(steps, slice) and any(isinstance(other, np.ndarray | list) for other in rest)
        return rows[(np.arange(len(rows)) if paired else slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it, loaded."""
        return np.asarray(self[:], dtype)


def seen_through(
    examples: Examples,
    channels: Callable[[np.ndarray], np.ndarray] | None = None,
    scalars: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Examples:
    """The examples with channels, scalars or both read through functions of the steps' positions."""
    return replace(
        examples,
        channels=examples.channels if channels is None else View(examples.channels, channels),
        scalars=examples.scalars if scalars is None else View(examples.scalars, scalars),
    )


def unit_maps(examples: Examples) -> int:
    """How many of the channels, the first ones, are unit maps of leverage buckets: shares, in which nothing is 0."""
    return sum(name.startswith("unit_") for name in examples.channel_names)


def without(examples: Examples, channels: list[int], scalars: list[int]) -> Examples:
    """The examples without these channels and scalars, by position: not recorded, which is NaN.

    The network weighs the unit maps into one and takes its logarithm, so of these nothing is a map that is empty at
    every step, and so says nothing.
    """
    nothing = np.full(len(channels), np.nan, np.float32)
    nothing[np.array(channels, int) < unit_maps(examples)] = 0.0

    def fewer_channels(at: np.ndarray) -> np.ndarray:
        rows = np.array(examples.channels[at])
        rows[:, :, channels] = nothing[:, None]
        return rows

    def fewer_scalars(at: np.ndarray) -> np.ndarray:
        rows = np.array(examples.scalars[at])
        rows[:, :, scalars] = np.nan
        return rows

    return seen_through(examples, fewer_channels if channels else None, fewer_scalars if scalars else None)


def mean_channels(examples: Examples, until_ns: int) -> np.ndarray:
    """(channel, price): the mean over both sides of what frames before `until_ns` showed, NaN left out.

    Of frames that show anything, evenly thinned. A channel that was never recorded is NaN.
    """
    seen = np.flatnonzero(examples.seen & (examples.closes_ns < until_ns))
    total = np.zeros(examples.channels.shape[2:])
    count = np.zeros_like(total)
    for at in np.array_split(seen[:: max(1, len(seen) // MOST_STEPS)], 20):
        rows = np.asarray(examples.channels[at], float)
        total += np.nansum(rows, axis=(0, 1))
        count += np.isfinite(rows).sum(axis=(0, 1))
    found: np.ndarray = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0).astype(np.float32)
    return found
