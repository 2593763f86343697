"""The volume profile: what traded at each price over trailing windows, and what traders read from it.

domain.md §4.1. The windows are exact to their granularity (W / slots, `rolling.Rolling`), not a decay. A price row is
a bin of the grid. The definitions are functions of one array of volume by bin; `VolumeProfile` keeps such arrays.
"""

import math
from typing import Literal, NamedTuple, no_type_check

import numpy as np
from numba import njit

from squeeze.heatmaps import grid, rolling_read, rolling_step
from squeeze.heatmaps.protocol import NOTHING, PriceWindow, check, has_hole, hours_name, traded
from squeeze.heatmaps.rolling import Rolling
from squeeze.heatmaps.rolling_step import CONTROL, HEARD, HEARD_PARTLY, LOOK_ANEW, NOT_HEARD, look
from squeeze.market.events import HOUR_NS, SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require


class VolumeProfileSpec(Strict, frozen=True, kw_only=True):
    """Windows and thresholds of the volume profile."""

    bin_log: float = 5e-4
    """Width of a price bin in log price."""
    windows_hours: tuple[float, ...] = (24.0, 168.0, 720.0)
    """Trailing windows: a day, a week, a month."""
    slots: int = 96
    """Parts of a window; it is exact to one of them: a quarter of an hour in a day, 7.5 hours in 30 days."""
    unit: Literal["base", "usd"] = "base"
    """Base coins, or those times the middle price of their bin."""
    step_seconds: int = 60
    """Length of a step: no more than this counts as recorded for one."""
    path_closes: int = 64
    """How many points of control are remembered, one for each close."""
    value_share: float = 0.70
    """Share of volume in the value area."""
    node_sigma_bins: float = 2.0
    """Smoothing before nodes are looked for."""
    node_prominence: float = 0.20
    """A high node rises by this share of the smoothed profile's highest value above the saddles beside it."""
    low_node_share: float = 0.30
    """A low node holds at most this share of the smaller of the two high nodes beside it."""
    void_share: float = 0.15
    """A void's bins hold at most this share of the median bin."""
    void_log: float = 0.004
    """A void is at least this long, in log price."""

    def __post_init__(self) -> None:
        require(0 < self.bin_log < 0.05, "bin_log lies between 0 and 0.05")
        require(len(self.windows_hours) > 0 and min(self.windows_hours) > 0, "windows_hours are positive")
        require(self.slots > 1 and self.path_closes > 0, "slots must exceed 1, path_closes 0")
        require(self.step_seconds > 0 and self.node_sigma_bins > 0, "step_seconds and node_sigma_bins are positive")
        require(0 < self.value_share <= 1, "value_share is a share")


def _peak(volume: np.ndarray) -> np.ndarray:
    """Elements by `CONTROL`, `BOTTOM` and `TOP`."""
    peak = np.empty(4, dtype=np.int64)
    look(volume, 0, volume.size, peak)
    return peak


def point_of_control(volume: np.ndarray) -> int:
    """The bin with the most volume; -1 if there is none.

    Of several alike the one nearest the middle of the range from the first to the last bin with volume; of two as near,
    the lower.

    >>> point_of_control(np.array([5.0, 1.0, 5.0, 1.0, 0.0]))
    2
    """
    return int(_peak(volume)[CONTROL])


def value_area(volume: np.ndarray, share: float = 0.70) -> tuple[int, int]:
    """Lowest and highest bin of the value area, both included; (0, -1) without volume.

    The two-row rule: from the point of control, the sum of the next two rows above is compared with that of the next
    two below, and the larger pair is added, both if they are alike, until `share` of the volume is held. At the end of
    the range a pair is what is left of it.

    >>> value_area(np.array([1.0, 2.0, 3.0, 10.0, 2.0, 3.0, 1.0]), 0.65)  # 20 of 22
    (1, 5)
    """
    low, high = rolling_read.value_area(volume, _peak(volume), sum(volume.tolist()), share)
    return int(low), int(high)


@njit(cache=True)
@no_type_check
def _peaks(cells: np.ndarray, least: float) -> np.ndarray:
    """Local maxima (of a plateau the middle) that rise by `least` above the higher of the saddles beside them."""
    found = np.empty(cells.size, dtype=np.int64)
    count, n = 0, cells.size
    i = 1
    while i < n - 1:
        end = i
        while end < n - 1 and cells[end + 1] == cells[i]:
            end += 1
        if cells[i - 1] < cells[i] and end < n - 1 and cells[end + 1] < cells[i]:
            left = right = cells[i]
            j = i - 1
            while j >= 0 and cells[j] <= cells[i]:
                left = min(left, cells[j])
                j -= 1
            j = end + 1
            while j < n and cells[j] <= cells[i]:
                right = min(right, cells[j])
                j += 1
            if cells[i] - max(left, right) >= least:
                found[count] = (i + end) // 2
                count += 1
        i = end + 1
    return found[:count]


def smoothed(volume: np.ndarray, sigma_bins: float) -> np.ndarray:
    """Gaussian, cut at four deviations; beyond the ends there is no volume, so what spreads there is lost."""
    reach = math.ceil(4 * sigma_bins)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_bins) ** 2)
    full: np.ndarray = np.convolve(volume, bell / bell.sum())
    return full[reach : reach + volume.size]


class Nodes(NamedTuple):
    """Bins of a profile's high and low volume nodes, rising."""

    high: np.ndarray
    low: np.ndarray


def nodes(volume: np.ndarray, sigma_bins: float = 2.0, prominence: float = 0.20, low_share: float = 0.30) -> Nodes:
    """High nodes: peaks of the smoothed profile that stand out by `prominence` of its highest value.

    Low nodes: the least value between two neighbouring high nodes, if at most `low_share` of the smaller of them; of
    several bins alike the one nearest the middle between them, of two as near the lower.
    """
    reach = math.ceil(4 * sigma_bins) + 1
    cells = smoothed(np.pad(volume, reach), sigma_bins)
    highest = float(cells.max(initial=0.0))
    nothing = np.zeros(0, dtype=np.int64)
    if highest <= 0:
        return Nodes(nothing, nothing)
    high = _peaks(cells, prominence * highest)
    low = []
    for a, b in zip(high[:-1].tolist(), high[1:].tolist(), strict=True):
        between = cells[a : b + 1]
        least = np.flatnonzero(between == between.min())
        if between[least[0]] <= low_share * min(between[0], between[-1]):
            low.append(a + int(least[np.abs(2 * least - (b - a)).argmin()]))
    return Nodes(high - reach, np.array(low, dtype=np.int64) - reach)


def voids(volume: np.ndarray, share: float = 0.15, least_bins: int = 8) -> np.ndarray:
    """(void, 2): first and last bin of each run that holds at most `share` of the median bin, both included.

    The median is over all bins of the range from the first to the last with volume, and runs lie inside it.

    >>> voids(np.array([4.0, 0.5, 0.6, 4.0, 0.1, 4.0, 4.0]), least_bins=2)
    array([[1, 2]])
    """
    _, first, last, _ = _peak(volume).tolist()
    if last < first:
        return np.zeros((0, 2), dtype=np.int64)
    inside = volume[first : last + 1]
    thin = np.concatenate([[False], inside <= share * np.median(inside), [False]])
    borders = np.flatnonzero(thin[1:] != thin[:-1]).reshape(-1, 2)
    runs: np.ndarray = borders[borders[:, 1] - borders[:, 0] >= least_bins]
    runs += np.array([first, first - 1])
    return runs


class VolumeProfile:
    """One venue's profiles. Prices of bins: a point is the middle of its bin, an area goes from edge to edge.

    A step of which trades are missing adds what it has, and does not count as recorded: `coverage` falls. A window of
    which nothing was recorded is NaN. What the array slides past is lost and counted.
    """

    def __init__(self, spec: VolumeProfileSpec) -> None:
        self.spec = spec
        windows_ns = [round(h * HOUR_NS) for h in spec.windows_hours]
        self.window = PriceWindow(spec.bin_log, max(windows_ns))
        self.rolling = Rolling(windows_ns, spec.slots, 1)
        self.path_ring = np.full((len(windows_ns), spec.path_closes), np.nan)
        self.peaks = np.tile(np.array([-1, grid.BINS, -1, 0], dtype=np.int64), (len(windows_ns), 1))
        """Elements of each window's point of control and range, as in `rolling_step`."""
        self.ledger = np.zeros((len(windows_ns), 3))
        """Volume taken in, expired, and left behind by the sliding array, by window."""
        self.clock = np.zeros(4, dtype=np.int64)
        """Close of the last step, of the last that was recorded whole; steps; whether the last one was spread."""
        self.mark = np.full(1, np.nan)
        own = (self.window.state, self.peaks, self.path_ring, self.ledger, self.clock, self.mark)
        self._state = (*self.rolling.folded, *own)
        self._rules = (spec.unit == "usd", spec.bin_log, self.window.memory_ns, spec.step_seconds * SECOND_NS)
        names = [hours_name(h) for h in spec.windows_hours]
        self.channels = tuple(f"volume_{n}" for n in names)
        per_window = ("control", "control_drift", "value_edge", "volume_coverage")
        self.scalar_names = tuple(f"{scalar}_{n}" for n in names for scalar in per_window)

    @property
    def volume_uniform(self) -> bool:
        """Whether the last step's volume was a bar's, spread evenly: `Degraded.VOLUME_UNIFORM`."""
        return bool(self.clock[3])

    @property
    def age_ns(self) -> int:
        """Time since the last step that was recorded whole."""
        return int(self.clock[0] - self.clock[1])

    @property
    def coverage(self) -> np.ndarray:
        """Share of each window that was recorded."""
        return self.rolling.coverage()

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Add what traded in a step, and note the points of control at its close."""
        check(mark, close_ns, int(self.clock[0]))
        volume = traded(part, self.spec.bin_log)
        heard = NOT_HEARD if volume is None else HEARD_PARTLY if has_hole(part) else HEARD
        first_bin, sides, uniform, _ = volume or NOTHING
        if not self._fold(first_bin, sides, heard, uniform, mark.close, close_ns):
            first_bin, sides = self._make_room(first_bin, sides, mark.close, close_ns)
            self._fold(first_bin, sides, heard, uniform, mark.close, close_ns)

    def _fold(self, first_bin: int, sides: np.ndarray, heard: int, uniform: bool, mark: float, close_ns: int) -> bool:
        folded: bool = rolling_step.volume_step(
            *self._state, *self._rules, sides, first_bin, heard, uniform, mark, math.log(mark), close_ns
        )
        return folded

    def _make_room(self, first_bin: int, sides: np.ndarray, mark: float, close_ns: int) -> tuple[int, np.ndarray]:
        """Slide so that the mark is well inside; what then is inside of the volume. The rest is left behind."""
        shift = self.window.follow(mark, close_ns)
        if shift:
            lost = self.rolling.slide(shift)[:, 0]
            self.ledger[:, 2] += lost
            self.peaks[:, LOOK_ANEW] = 1
            if lost.any():
                self.window.leave(shift > 0, close_ns)
        first, inside = self.window.clip(first_bin, sides.shape[1], close_ns)
        outside = sides.sum(axis=0)
        if self.spec.unit == "usd":
            outside *= np.exp((first_bin + 0.5 + np.arange(outside.size)) * self.spec.bin_log)
        outside[inside] = 0.0
        self.ledger[:, [0, 2]] += outside.sum()
        return self.window.origin + first, np.ascontiguousarray(sides[:, inside])

    def _log(self, element: float) -> float:
        return (self.window.origin + element) * self.spec.bin_log

    def _price(self, element: float) -> float:
        return math.exp(self._log(element))

    def volume(self, window: int) -> np.ndarray:
        """Volume by bin, as the arrays lie; the first is absolute bin `window.origin`."""
        cells: np.ndarray = self.rolling.total[window, 0]
        return cells

    def volume_at(self, window: int, log_price: float) -> float:
        """Volume of the bin that holds a price; 0 beyond the arrays."""
        element = math.floor(log_price / self.spec.bin_log) - self.window.origin
        return float(self.rolling.total[window, 0, element]) if 0 <= element < grid.BINS else 0.0

    def point_of_control(self, window: int) -> float:
        """Its price; NaN without volume."""
        bin_ = int(self.peaks[window, CONTROL])
        return math.nan if bin_ < 0 else self._price(bin_ + 0.5)

    def path(self, window: int) -> np.ndarray:
        """Log prices of the points of control at the last closes, oldest first."""
        held, length = int(self.clock[2]), self.spec.path_closes
        row: np.ndarray = self.path_ring[window, np.arange(max(0, held - length), held) % length]
        return row

    def value_area(self, window: int) -> tuple[float, float]:
        """Its low and its high price; NaN without volume."""
        total, sums, share = self.rolling.total, self.rolling.sums, self.spec.value_share
        low, high = rolling_read.value_area(total[window, 0], self.peaks[window], sums[window, 0], share)
        return (self._price(float(low)), self._price(high + 1.0)) if high >= low else (math.nan, math.nan)

    def nodes(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Prices of the high and of the low volume nodes, rising."""
        spec, (low, high) = self.spec, self.rolling.span.tolist()
        found = nodes(self.volume(window)[low:high], spec.node_sigma_bins, spec.node_prominence, spec.low_node_share)
        at = [np.exp((self.window.origin + low + bins + 0.5) * spec.bin_log) for bins in found]
        return at[0], at[1]

    def voids(self, window: int) -> np.ndarray:
        """(void, 2): low and high price of each."""
        least = math.ceil(self.spec.void_log / self.spec.bin_log - 1e-9)
        runs = voids(self.volume(window), self.spec.void_share, least) + np.array([0, 1])
        prices: np.ndarray = np.exp((self.window.origin + runs) * self.spec.bin_log)
        return prices

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): volume by window."""
        out = np.empty((2, len(self.channels), bins))
        rolling_read.volume_outward(
            self.rolling.total, self.rolling.recorded_ns, self.window.state, self.spec.bin_log, mark, width_log, out
        )
        return out

    def whole_bins(self, window: int, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin): one window's volume by whole bins outward from absolute bin `mark_bin`, it included.

        NaN where not covered or not recorded.
        """
        out = np.empty((2, bins))
        recorded_ns = self.rolling.recorded_ns[window]
        rolling_read.whole_bins(self.volume(window), 1.0, recorded_ns, self.window.state, mark_bin, out)
        return out

    def scalars(self) -> np.ndarray:
        """By window: log price outward from the mark to the point of control, and by how much that went outward over
        the remembered closes; to the value area's edge on this side; share of the window that was recorded.
        """
        rolling, spec, out = self.rolling, self.spec, np.empty((2, len(self.scalar_names)))
        rolling_read.volume_scalars(
            rolling.total, rolling.sums, rolling.recorded_ns, rolling.windows_ns, self.window.state, self.peaks,
            self.path_ring, self.clock, self.mark, spec.bin_log, spec.value_share, out,
        )  # fmt: skip
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        own = {name: getattr(self, name) for name in STATE_ARRAYS}
        return own | {"window": self.window.state} | {f"rolling.{n}": a for n, a in self.rolling.arrays().items()}


STATE_ARRAYS = ("path_ring", "peaks", "ledger", "clock", "mark")
