"""What every heatmap beside the liquidation map is to its user, and what they share: bins, windows, traded volume.

A map lives on the absolute log-price grid of `grid`. What was not recorded is NaN in a view, never zero: before the
first record, beyond what a feed covers, beyond the array, and where the sliding array has left something behind.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar, no_type_check, runtime_checkable

import numpy as np
from numba import njit

from squeeze.errors import StepError
from squeeze.heatmaps import grid
from squeeze.market.events import Feed, Quality
from squeeze.market.venue_step import Candle, VenueStep

Part = TypeVar("Part", contravariant=True)

FIRST, LAST = -(2**62), 2**62
"""Absolute bins below and above all others."""


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
    return bool(part.quality & Quality.PARTIAL) or any(gap.feed != Feed.BOOK for gap in part.gaps)


class Traded(NamedTuple):
    """What takers bought and sold in a step, in base coins by price bin."""

    first_bin: int
    """Absolute."""
    sides: np.ndarray
    """(2, price): bought, sold."""
    uniform: bool
    """A bar's volume was spread evenly from its low to its high (`VOLUME_UNIFORM` in `state`)."""
    halved: bool
    """Who took was not recorded, and half of the volume is put on either side (`TAKER_FLOW_HALF`)."""


NOTHING = Traded(0, np.zeros((2, 0)), uniform=False, halved=False)


def traded(part: VenueStep, bin_log: float) -> Traded | None:
    """Taker flow by price where there were trades, else the bar's volume spread evenly in log price over its range.

    None where neither was recorded; a venue that spoke and did not trade gives no bins. Raises `StepError` for amounts
    that are negative or not finite, and for bins of a width that does not divide `bin_log`.
    """
    flow, volume, buys = part.flow, part.volume_base, part.taker_buy_base
    if flow is not None:
        sides = np.array([flow.buys_base, flow.sells_base])
        if not (np.isfinite(sides).all() and (sides >= 0).all()):
            raise StepError(f"taker flow must be finite and not negative, got {flow}")
        first, sides = rebinned(sides, flow.first_bin, flow.bin_log, bin_log)
        return Traded(first, sides, uniform=False, halved=False)
    for name, coins in (("volume_base", volume), ("taker_buy_base", buys)):
        if coins < 0 or coins == math.inf:
            raise StepError(f"{name} must be finite and not negative, got {coins}")
    if volume == 0:
        return NOTHING
    if math.isnan(volume) or part.last is None:
        return None
    check_candle("last", part.last)
    first, share = spread(part.last.low, part.last.high, bin_log)
    halved = math.isnan(buys)
    bought = volume / 2 if halved else buys
    return Traded(first, np.array([[bought], [max(volume - bought, 0.0)]]) * share, uniform=True, halved=halved)


def spread(low: float, high: float, bin_log: float) -> tuple[int, np.ndarray]:
    """First absolute bin, and the share of each bin in an even spread over [low, high] in log price.

    >>> first, share = spread(math.exp(0.0105), math.exp(0.0125), 1e-3)
    >>> first, share.round(6).tolist()
    (10, [0.25, 0.5, 0.25])
    """
    bottom, top = math.log(low) / bin_log, math.log(high) / bin_log
    first, last = math.floor(bottom), math.floor(top)
    share = np.ones(last - first + 1)
    if last > first:
        share[0], share[-1] = first + 1 - bottom, top - last
        share /= top - bottom
    return first, share


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
    after = -(before + cells.shape[1]) % ratio
    padded = np.pad(cells, ((0, 0), (before, after)))
    return first, padded.reshape(len(cells), -1, ratio).sum(axis=2)


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
        start, stop = min(max(0, -at), count), max(0, min(count, grid.BINS - at))
        if start > 0:
            self.leave(True, close_ns)
        if stop < count:
            self.leave(False, close_ns)
        return max(at, 0) if stop > start else 0, slice(start, max(start, stop))

    def outward(
        self, cells: np.ndarray, rows: Sequence[Sequence[int]], mark: float, width_log: float, bins: int
    ) -> np.ndarray:
        """(side, channel, price) of `cells[rows[side][channel]]`; NaN beyond what is covered and where a cell is."""
        out = np.full((2, len(rows[0]), bins), np.nan)
        if self.state[0] and mark > 0:
            first, end = self.covered()
            here = grid.position(mark, self.bin_log, self.origin)
            _pool(cells, np.array(rows, dtype=np.int64), first, end, here, width_log / self.bin_log, out)
        return out

    def whole_bins(self, cells: np.ndarray, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin) of `cells[side]` by whole grid bins outward from absolute bin `mark_bin`, it included.

        NaN beyond what is covered.
        """
        out = np.full((2, bins), np.nan)
        if self.state[0]:
            first, end = self.covered()
            _whole_bins(cells, first, end, mark_bin - self.origin, out)
        return out


@njit(cache=True)
@no_type_check
def _whole_bins(cells: np.ndarray, first: int, end: int, here: int, out: np.ndarray) -> None:
    for side in range(2):
        direction = -1 if side == 0 else 1
        for i in range(out.shape[1]):
            cell = here + direction * i
            if first <= cell < end:
                out[side, i] = cells[side, cell]


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _pool(
    cells: np.ndarray, rows: np.ndarray, first: int, end: int, mark: float, width: float, out: np.ndarray
) -> None:
    """Sum cells into bins of `width` grid bins outward from the mark; what is not wholly in [first, end) stays."""
    for side in range(2):
        direction = -1.0 if side == 0 else 1.0
        for channel in range(out.shape[1]):
            row = cells[rows[side, channel]]
            for price in range(out.shape[2]):
                near = mark + direction * width * price
                far = near + direction * width
                low, high = (far, near) if side == 0 else (near, far)
                if not (low >= first and high <= end and high > low):
                    continue
                low_cell, high_cell = int(low), int(high)
                if low_cell == high_cell:
                    out[side, channel, price] = row[low_cell] * (high - low)
                    continue
                inside = row[low_cell] * (low_cell + 1 - low)
                if high > high_cell:  # else the far cell is not touched, and may not exist
                    inside += row[high_cell] * (high - high_cell)
                for cell in range(low_cell + 1, high_cell):
                    inside += row[cell]
                out[side, channel, price] = inside


@njit(cache=True)
@no_type_check
def _add(ring: np.ndarray, total: np.ndarray, newest: np.ndarray, first: int, rows: np.ndarray) -> None:
    """Add (row, price) to the running part of every window, and to the window's sum."""
    for window in range(len(total)):
        part = ring[window, newest[window] % ring.shape[1]]
        for row in range(rows.shape[0]):
            for i in range(rows.shape[1]):
                part[row, first + i] += rows[row, i]
                total[window, row, first + i] += rows[row, i]


class Rolling:
    """Sums over several trailing windows, each a ring of totals by sub-window: exact, without a decay.

    A window of W in `slots` parts holds the running part and those before it: the last W − W/slots to W. Parts begin at
    whole multiples of W/slots since 1970, and a step that closes on a border belongs to the part that ends there.
    """

    def __init__(self, windows_ns: Sequence[int], slots: int, rows: int) -> None:
        self.windows_ns = np.array(windows_ns, dtype=np.int64)
        self.slots = slots
        self.ring = np.zeros((len(windows_ns), slots, rows, grid.BINS))
        self.total = np.zeros((len(windows_ns), rows, grid.BINS))
        self.recorded_ns = np.zeros((len(windows_ns), slots), dtype=np.int64)
        """How much of each part was recorded."""
        self.newest = np.full(len(windows_ns), -1, dtype=np.int64)
        """Number of the running part; -1 before the first."""
        self.span = np.array([grid.BINS, 0], dtype=np.int64)
        """First and end element that was ever written to; sums need not look beyond."""
        self._slot_ns = [int(w) // slots for w in windows_ns]

    def advance(self, close_ns: int) -> np.ndarray | None:
        """Let what is older than each window expire, and return it (window, row); None if nothing could have."""
        expired = None
        for window, slot_ns in enumerate(self._slot_ns):
            number, newest = (close_ns - 1) // slot_ns, int(self.newest[window])
            if number == newest:
                continue
            self.newest[window] = number
            if newest < 0:
                continue
            gone = np.arange(newest + 1, min(number, newest + self.slots) + 1) % self.slots
            low, high = self.span
            if expired is None:
                expired = np.zeros(self.total.shape[:2])
            expired[window] = self.ring[window, gone, :, low:high].sum(axis=(0, 2))
            self.ring[window, gone, :, low:high] = 0.0
            self.recorded_ns[window, gone] = 0
            self.total[window, :, low:high] = self.ring[window, :, :, low:high].sum(axis=0)
        return expired

    def add(self, first: int, rows: np.ndarray) -> None:
        """Add (row, price) from element `first` on to the running part of every window."""
        end = first + rows.shape[1]
        if end == first:
            return
        _add(self.ring, self.total, self.newest, first, np.ascontiguousarray(rows))
        low, high = self.span.tolist()
        self.span[:] = min(low, first), max(high, end)

    def record(self, elapsed_ns: int) -> None:
        """Count time as recorded."""
        for window, newest in enumerate(self.newest.tolist()):
            self.recorded_ns[window, newest % self.slots] += elapsed_ns

    def coverage(self) -> np.ndarray:
        """Share of each window that was recorded."""
        share: np.ndarray = np.minimum(self.recorded_ns.sum(axis=1) / self.windows_ns, 1.0)
        return share

    def slide(self, shift: int) -> np.ndarray:
        """Slide all arrays; what was left behind, (window, row)."""
        before = self.total.sum(axis=2)
        slide(self.ring, shift)
        slide(self.total, shift)
        low, high = (np.clip(self.span - shift, 0, grid.BINS)).tolist()
        self.span[:] = (low, high) if high > low else (grid.BINS, 0)
        held: np.ndarray = self.total.sum(axis=2)
        lost: np.ndarray = before - held
        return lost

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        return {
            "ring": self.ring,
            "total": self.total,
            "recorded_ns": self.recorded_ns,
            "newest": self.newest,
            "span": self.span,
        }


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
