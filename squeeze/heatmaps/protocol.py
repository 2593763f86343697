"""What a heatmap beside the liquidation map is to its user, and what these share: bins, windows, traded volume.

A map lives on the absolute log-price grid of `grid`. What was not recorded is NaN in a view, never zero: before the
first record, beyond what a feed covers, beyond the array, and where the sliding array has left something behind.
"""

import math
from typing import NamedTuple, Protocol, TypeVar, no_type_check, runtime_checkable

import numpy as np
from numba import njit

from squeeze.errors import StepError
from squeeze.heatmaps import grid
from squeeze.market.events import Feed, Quality
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep

Part = TypeVar("Part", contravariant=True)

FIRST, LAST = -(2**62), 2**62
"""Absolute bins below and above all others."""
PARTIAL = int(Quality.PARTIAL)
"""A plain number: to test two flags takes half a microsecond."""


@runtime_checkable
class HeatMap(Protocol[Part]):
    """A map that is folded step by step: `Part` is one venue's step, or several by name for a map across venues.

    `step` takes in what became known up to `close_ns`, later than all before; a step that it refuses (`StepError`)
    leaves the map as it was. `outward` and `scalars` read the map as it stands after its last step.
    """

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the `channel` axis."""
        ...

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the `scalar` axis."""
        ...

    def step(self, part: Part, mark: Candle, close_ns: int) -> None:
        """Fold one step in."""
        ...

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): `bins` bins of `width_log` outward from the mark, side 0 down and side 1 up.

        NaN where not covered or not recorded. Each side is written in its own orientation, as `arrays` says: flipping
        the market swaps the sides and changes nothing else.
        """
        ...

    def scalars(self) -> np.ndarray:
        """(side, scalar), in the order of `scalar_names`; NaN where not recorded."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as it is: what is written into these arrays is the state to go on from."""
        ...


def check(mark: Candle, close_ns: int, closed_ns: int) -> None:
    """Refuse a candle that is none, and a step that does not come after the last."""
    check_candle("mark", mark)
    if close_ns <= closed_ns:
        raise StepError(f"a step at {close_ns} does not follow the one at {closed_ns}")


def check_candle(name: str, candle: Candle) -> None:
    """Refuse prices that are not positive, not finite or not within low and high."""
    # Each price against both borders: min() and max() would let a NaN close pass.
    if not (0 < candle.low <= candle.open <= candle.high < math.inf and candle.low <= candle.close <= candle.high):
        raise StepError(f"the {name} candle is no candle: {candle}")


def has_hole(part: VenueStep) -> bool:
    """Whether trades are known to be missing from a step, so that its volume is a lower bound."""
    partial = int(part.quality) & PARTIAL != 0
    return partial or (len(part.gaps) > 0 and any(gap.feed != Feed.BOOK for gap in part.gaps))


class Traded(NamedTuple):
    """What takers bought and sold in a step, in base coins by price bin."""

    first_bin: int
    """Absolute."""
    sides: np.ndarray
    """(2, price): bought, sold. Several maps read the same array: it is not written to."""
    uniform: bool
    """A bar's volume was spread evenly from its low to its high (`VOLUME_UNIFORM` in `state`)."""
    halved: bool
    """Who took was not recorded, and half of the volume is put on either side (`TAKER_FLOW_HALF`)."""


NOTHING = Traded(0, np.zeros((2, 0)), uniform=False, halved=False)
REMEMBERED = 16
"""Parts of which `traded` remembers what it found: several maps ask for the parts of one step, one venue after another.
"""
_found: dict[tuple[int, float], tuple[VenueStep, Traded | None]] = {}
"""By identity of the part, which is frozen, and which lies here so that no other takes its place."""


def traded(part: VenueStep, bin_log: float) -> Traded | None:
    """Taker flow by price where there were trades, else the bar's volume spread evenly in log price over its range.

    None where neither was recorded; a venue that spoke and did not trade gives no bins. Raises `StepError` for amounts
    that are negative or not finite, and for bins of a width that does not divide `bin_log`.
    """
    key = id(part), bin_log
    held = _found.get(key)
    if held is None:
        held = part, _of_trades(part.flow, bin_log) if part.flow is not None else _of_bar(part, bin_log)
        if len(_found) >= REMEMBERED:
            _found.clear()
        _found[key] = held
    return held[1]


def _of_trades(flow: PriceFlow, bin_log: float) -> Traded:
    if len(flow.buys_base) != len(flow.sells_base):
        raise StepError(f"taker flow must have as many bins bought as sold, got {flow}")
    sides = np.array(flow.buys_base + flow.sells_base, dtype=np.float64).reshape(2, -1)
    if not _are_amounts(sides):
        raise StepError(f"taker flow must be finite and not negative, got {flow}")
    first, sides = rebinned(sides, flow.first_bin, flow.bin_log, bin_log)
    return Traded(first, sides, uniform=False, halved=False)


def _of_bar(part: VenueStep, bin_log: float) -> Traded | None:
    volume, buys = part.volume_base, part.taker_buy_base
    for name, coins in (("volume_base", volume), ("taker_buy_base", buys)):
        if coins < 0 or coins == math.inf:
            raise StepError(f"{name} must be finite and not negative, got {coins}")
    if volume == 0:
        return NOTHING
    if math.isnan(volume) or part.last is None:
        return None
    check_candle("last", part.last)
    halved = math.isnan(buys)
    bought = volume / 2 if halved else buys
    sold = max(volume - bought, 0.0)
    return Traded(*spread(part.last.low, part.last.high, bin_log, bought, sold), uniform=True, halved=halved)


def spread(low: float, high: float, bin_log: float, bought: float, sold: float) -> tuple[int, np.ndarray]:
    """First absolute bin, and (2, price) of two amounts spread evenly over [low, high] in log price.

    >>> first, sides = spread(math.exp(0.0105), math.exp(0.0125), 1e-3, 1.0, 8.0)
    >>> first, sides.round(6).tolist()
    (10, [[0.25, 0.5, 0.25], [2.0, 4.0, 2.0]])
    """
    bottom, top = math.log(low) / bin_log, math.log(high) / bin_log
    first, last = math.floor(bottom), math.floor(top)
    sides = np.empty((2, last - first + 1))
    _spread(bottom, top, bought, sold, sides)
    return first, sides


def rebinned(cells: np.ndarray, first_bin: int, from_log: float, to_log: float) -> tuple[int, np.ndarray]:
    """(row, price) on bins of `from_log`, summed into whole bins of `to_log`; `StepError` if they do not nest.

    >>> rebinned(np.array([[1.0, 2.0, 4.0]]), -1, 5e-4, 1e-3)
    (-1, array([[1., 6.]]))
    """
    ratio = round(to_log / from_log)
    if ratio < 1 or abs(ratio * from_log - to_log) > 1e-9 * to_log:
        raise StepError(f"bins of {from_log} do not fit into bins of {to_log}")
    if ratio == 1:
        return first_bin, cells
    first = first_bin // ratio
    before = first_bin - first * ratio
    summed = np.zeros((len(cells), -(-(before + cells.shape[1]) // ratio)))
    _sum_bins(np.ascontiguousarray(cells, dtype=np.float64), before, ratio, summed)
    return first, summed


@njit(cache=True)
@no_type_check
def _spread(bottom: float, top: float, bought: float, sold: float, out: np.ndarray) -> None:
    first, bins = math.floor(bottom), out.shape[1]
    for i in range(bins):
        share = 1.0
        if bins > 1:
            share = (min(top, first + i + 1.0) - max(bottom, first + i)) / (top - bottom)
        out[0, i], out[1, i] = bought * share, sold * share


@njit(cache=True)
@no_type_check
def _are_amounts(sides: np.ndarray) -> bool:
    sound = True
    for coins in sides.flat:
        sound &= 0 <= coins < math.inf
    return sound


@njit(cache=True)
@no_type_check
def _sum_bins(cells: np.ndarray, before: int, ratio: int, out: np.ndarray) -> None:
    for row in range(cells.shape[0]):
        for i in range(cells.shape[1]):
            out[row, (before + i) // ratio] += cells[row, i]


def slide(cells: np.ndarray, shift: int) -> None:
    """Move what lies along the last axis by whole bins, so that element `shift` becomes element 0; zeros come in."""
    moved = np.zeros_like(cells)
    if abs(shift) < grid.BINS:
        source = slice(max(0, shift), grid.BINS + min(0, shift))
        target = slice(max(0, -shift), grid.BINS - max(0, shift))
        moved[..., target] = cells[..., source]
    cells[...] = moved


class PriceWindow:
    """Which absolute bins a map's arrays hold, and beyond which of them it has left something behind.

    A bin that slid out with something in it is not covered when the price comes back, until `memory_ns` later, when
    what was left behind would be gone anyhow.
    """

    def __init__(self, bin_log: float, memory_ns: int) -> None:
        self.bin_log = bin_log
        self.memory_ns = memory_ns
        self.state = np.array([0, 0, FIRST, LAST, 0, 0], dtype=np.int64)
        """Whether it was placed; absolute bin of element 0; first and last bin that is covered; since when."""

    @property
    def origin(self) -> int:
        """Absolute bin of element 0."""
        return int(self.state[1])

    def follow(self, price: float, close_ns: int) -> int:
        """Bins by which the arrays must slide for the window to hold a price well inside; mostly 0."""
        placed, origin, _, _, below_ns, above_ns = self.state.tolist()
        if below_ns and close_ns - below_ns > self.memory_ns:
            self.state[2], self.state[4] = FIRST, 0
        if above_ns and close_ns - above_ns > self.memory_ns:
            self.state[3], self.state[5] = LAST, 0
        if placed and not grid.off_centre(grid.position(price, self.bin_log, origin)):
            return 0
        target = grid.origin_around(price, self.bin_log)
        self.state[:2] = 1, target
        return target - origin if placed else 0

    def leave(self, below: bool, close_ns: int) -> None:
        """Note that something was left behind below the array, or above it."""
        if below:
            self.state[2], self.state[4] = max(int(self.state[2]), self.origin), close_ns
        else:
            self.state[3], self.state[5] = min(int(self.state[3]), self.origin + grid.BINS - 1), close_ns

    def covered(self) -> tuple[int, int]:
        """First and end element that are covered."""
        _, origin, first, last, _, _ = self.state.tolist()
        return max(0, first - origin), min(grid.BINS, last + 1 - origin)

    def clip(self, first_bin: int, count: int, close_ns: int) -> tuple[int, slice]:
        """The element at which absolute bins from `first_bin` begin, and which of them lie inside.

        The others are taken to be left behind.
        """
        at = first_bin - self.origin
        if 0 <= at <= grid.BINS - count and count > 0:
            return at, slice(0, count)
        start, stop = min(max(0, -at), count), max(0, min(count, grid.BINS - at))
        if start > 0:
            self.leave(True, close_ns)
        if stop < count:
            self.leave(False, close_ns)
        return max(at, 0) if stop > start else 0, slice(start, max(start, stop))

    def whole_bins(self, cells: np.ndarray, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin) of `cells[side]` by whole grid bins outward from absolute bin `mark_bin`, it included.

        NaN beyond what is covered.
        """
        out = np.empty((2, bins))
        _whole_bins(cells, self.state, mark_bin, out)
        return out


@njit(cache=True)
@no_type_check
def _covered(state: np.ndarray) -> tuple[int, int]:
    """`PriceWindow.covered`; nothing before it was placed."""
    if not state[0]:
        return 0, 0
    return max(0, state[2] - state[1]), min(grid.BINS, state[3] + 1 - state[1])


@njit(cache=True)
@no_type_check
def _whole_bins(cells: np.ndarray, state: np.ndarray, mark_bin: int, out: np.ndarray) -> None:
    first, end = _covered(state)
    for side in range(2):
        for i in range(out.shape[1]):
            cell = mark_bin - state[1] + (2 * side - 1) * i
            out[side, i] = cells[side, cell] if first <= cell < end else math.nan


def hours_name(hours: float) -> str:
    """`4h`, `30d`, `90m`: the largest unit that divides a window.

    >>> [hours_name(h) for h in (0.25, 4.0, 24.0, 2160.0)]
    ['15m', '4h', '1d', '90d']
    """
    minutes = round(hours * 60)
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"
