"""One absolute log-price grid for every map: bins never move, only the array's window on them slides, by whole bins."""

import math

BINS = 4096
"""At 5 basis points a bin: a factor of 7.7 in price."""


def position(price: float, bin_log: float, origin: int) -> float:
    """Where a price lies on an array whose element 0 is absolute bin `origin`; the integer part is the element.

    >>> round(position(100.0 * math.exp(0.00125), 5e-4, math.floor(math.log(100.0) / 5e-4)), 3)
    2.84
    """
    return math.log(price) / bin_log - origin


def origin_around(price: float, bin_log: float) -> int:
    """The origin that puts a price in the middle of the array."""
    return math.floor(math.log(price) / bin_log) - BINS // 2


def off_centre(price_position: float) -> bool:
    """Whether a price has left the middle half of the array, so that the window should slide."""
    return not BINS // 4 <= price_position < 3 * BINS // 4
