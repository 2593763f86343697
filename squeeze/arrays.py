"""Every array that crosses a module border: its axes, its dtype and its unit.

Axes are always called `side`, `bucket`, `channel`, `scalar`, `price`, `horizon` and `step`. Side 0 is the *long
squeeze* (price falls, longs are liquidated), side 1 the *short squeeze*. Each side is written in its own orientation,
*down is danger*: the `price` axis counts away from the mark in the direction that hurts that side. Flipping the market
therefore swaps the two sides and changes nothing else.
"""

import functools
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Float32, Int64
else:  # nobody checks: the words alone, for importing jaxtyping takes 50 ms of a process's start

    class Float:
        """An array of any shape."""

        def __class_getitem__(cls, _: Any) -> type[np.ndarray]:
            return np.ndarray

    Float32 = Int64 = Float

SIDES = ("long", "short")
"""Names of the `side` axis: whose positions are liquidated."""

Channels = Float32[np.ndarray, "side channel price"]
"""Maps in price bins outward from the mark: unit-weight liquidation mass per leverage bucket as a share of open
interest, then what `FrameSpec.channels` chose of the atlas, each in its own unit and NaN where not recorded.
"""

Scalars = Float32[np.ndarray, "side scalar"]
"""One row of named scalars per side; NaN where a value was not recorded or does not exist."""

SweptMass = Float[np.ndarray, "side bucket"]
"""Unit-weight mass in base coins that one step's mark range went through."""

Profile = Float[np.ndarray, " price"]
"""Mass or volume by absolute log-price bin."""

Probabilities = Float32[np.ndarray, "side horizon"]
"""P(liquidated USD exceeds the label's threshold within the horizon); rises along `horizon`."""

HiddenState = Float32[np.ndarray, "side hidden"]
"""What the temporal core carries from step to step."""

StepTimes = Int64[np.ndarray, " step"]
"""UTC nanoseconds at which each step closed."""


def doubles(*values: float) -> np.ndarray:
    """Values in a row that is not to be written to, in less than half of the time that `np.array` takes.

    >>> doubles(1.0, 2.5).tolist()
    [1.0, 2.5]
    """
    return np.frombuffer(_packer(len(values)).pack(*values))


@functools.lru_cache(maxsize=256)  # a book has another length every minute
def _packer(count: int) -> struct.Struct:
    return struct.Struct(f"{count}d")
