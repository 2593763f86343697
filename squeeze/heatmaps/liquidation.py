"""The liquidation heatmap: where positions opened at past prices would be liquidated, kept step by step.

domain.md §3.5. On a log-price grid the way from entry to liquidation price is a constant shift per leverage, so a
deposit is a shift and a smear. Each contract has a long and a short, so every opening deposits on both sides. One step
does four things in this order: *score* what the mark goes through, *sweep* it away, *close* a share of everything,
*open* new mass. The mass is in base coins, one unit map per leverage bucket: as if every position had that leverage.
Which share truly has it is the model's business.

**Cadence.** A deposit needs a change of open interest. In `stamps` mode it waits for the next stamp and is spread over
what was traded since the last. In `live` mode a step without a stamp deposits too, as if nothing had changed, unless
the feed has been silent for too long; of several stamps in a step the newest counts. Both run the same code, and give
other maps: a model must be served at the cadence that it was trained with.

**Hazard tilt.** Closes hit all positions alike unless `close_tilt_near` or `close_tilt_profit` is set. With x = the
distance of the liquidation price from the mark, over that at entry (1 at entry, 0 when liquidated, 2 when the profit is
the margin), a bin's closed share is proportional to

    φ(x) = 1 + close_tilt_near · max(1 - x, 0)² + close_tilt_profit · min(max(x - 1, 0), 1)

normalised per side and bucket, so that in all as much is closed as without. Where the highest φ would close more than
nine tenths of a bin, the tilt of that step is weakened until it does not [D].

**Uniform.** With `shape` set to `uniform` a deposit is spread evenly over `uniform_log` instead, the same for every
bucket: a map that knows nothing of leverage, and is opened, swept and closed like the other. It is a control
(domain.md §5.7).

**Views** of what was opened within the last W cost next to nothing: sweeps and closes do not ask for the age of a
position, so the share C of a bin's mass that survives is one number per bin. At every W / `view_parts` the quotient
N = M / C of the prior-weighted map M is kept; what is older than that is now N · C, and the view is M - N · C. Exact,
but where buckets of one bin are thinned unequally (the bound, the tilt): there all ages are taken to have the same mix.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from squeeze.arrays import SweptMass
from squeeze.errors import StepError
from squeeze.heatmaps import grid, liquidation_read, liquidation_step
from squeeze.heatmaps.liquidation_step import BOUND, CROSSED_BINS
from squeeze.heatmaps.protocol import Traded
from squeeze.market.events import DAY_NS
from squeeze.market.venue_step import Candle
from squeeze.spec import MapSpec

__all__ = [
    "BOUND", "CROSSED_BINS", "STATE_ARRAYS", "FlowColumns", "LiquidationMap", "shifts", "smear_kernels",
    "uniform_kernels",
]  # fmt: skip

NO_FLOW = np.zeros(0)
ROUNDING_DAYS = 1e-9
"""Days are rounded by less: a silence that has just reached its limit is not over it."""
REFUSED = {
    liquidation_step.BAD_MARK: "mark: low, close and high must be positive, finite and rising",
    liquidation_step.BAD_LAST: "last price: low and high must be positive, finite and rising",
    liquidation_step.BAD_VOLUME: "volume must be finite and not negative",
    liquidation_step.BAD_INTEREST: "open interest must be positive and finite, or NaN for none",
    liquidation_step.BAD_TIME: "a step must close after the one before it and have a length",
}


class FlowColumns(NamedTuple):
    """Taker flow by price of many steps; step i has the elements `start[i]` to `start[i + 1]`, maybe none."""

    recorded: np.ndarray
    """(step): whether there was flow by price; if not, the bar's volume counts."""
    start: np.ndarray
    """(step + 1)."""
    first_bin: np.ndarray
    """(step), absolute."""
    bought: np.ndarray
    """Base coins, all steps' bins one after the other."""
    sold: np.ndarray
    """Like `bought`."""

    @classmethod
    def of(cls, flows: Sequence[Traded | None]) -> "FlowColumns":
        """The columns of steps, with None where no flow by price was recorded."""
        known = [flow for flow in flows if flow is not None]
        recorded = np.array([flow is not None for flow in flows], dtype=bool)
        first, lengths = np.zeros(len(flows), np.int64), np.zeros(len(flows), np.int64)
        first[recorded] = [flow.first_bin for flow in known]
        lengths[recorded] = [flow.sides.shape[1] for flow in known]
        bought, sold = np.concatenate([np.zeros((2, 0)), *(flow.sides for flow in known)], axis=1)
        return cls(recorded, np.append(0, lengths.cumsum()), first, bought.copy(), sold.copy())


def shifts(spec: MapSpec) -> tuple[np.ndarray, np.ndarray]:
    """Bins from entry to liquidation price, and the standard deviation of the smear; both (side, bucket).

    `LP / EP = (1 - s/L) / (1 - s·m)`, with s = +1 for longs, -1 for shorts and m the maintenance rate (domain.md §3.1).

    >>> bins, smear = shifts(MapSpec())
    >>> [round(100 * math.expm1(b * 5e-4), 2) for b in bins[0]]
    [-19.64, -9.59, -4.57, -1.56, -0.55]
    """
    sign = np.array([[1.0], [-1.0]])
    leverage = np.array(spec.leverages)
    distance = np.log((1 - sign / leverage) / (1 - sign * spec.maintenance)) / spec.bin_log
    return distance, deviations(spec, distance)


def deviations(spec: MapSpec, distance: np.ndarray) -> np.ndarray:
    """Standard deviation of the smear at a distance, both in bins."""
    found: np.ndarray = np.maximum(0.5, spec.smear * np.abs(distance))
    return found


def smear_kernels(distance: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights by side and bucket, padded with zeros; the bin offset of their first element; how many count."""
    reach = np.ceil(3 * deviation).astype(np.int64)
    length = 2 * reach + 1
    weights = np.zeros((*distance.shape, int(length.max())))
    for index in np.ndindex(distance.shape):
        bins = np.arange(-reach[index], reach[index] + 1)
        off_target = bins + np.round(distance[index]) - distance[index]
        bell = np.exp(-0.5 * (off_target / deviation[index]) ** 2)
        weights[(*index, slice(0, length[index]))] = bell / bell.sum()
    return weights, np.round(distance).astype(np.int64) - reach, length


def uniform_kernels(spec: MapSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same as `smear_kernels` gives, for deposits that lie evenly between two distances from entry.

    A bin's weight is the part of it that lies between them, entry being the middle of its own bin.

    >>> weights, offsets, lengths = uniform_kernels(MapSpec(leverages=(10.0,), prior_weights=(0.1,), bin_log=0.01,
    ...     shape="uniform", uniform_log=(0.01, 0.03)))
    >>> weights[1, 0].tolist(), offsets.tolist(), lengths.tolist()
    ([0.25, 0.5, 0.25], [[-3], [1]], [[3], [3]])
    """
    near, far = (distance / spec.bin_log for distance in spec.uniform_log)
    bins = np.arange(math.floor(near + 0.5), math.ceil(far + 0.5))
    overlap = np.minimum(bins + 0.5, far) - np.maximum(bins - 0.5, near)
    row, shape = overlap / overlap.sum(), (2, len(spec.leverages))
    weights = np.empty((*shape, len(bins)))
    weights[0], weights[1] = row[::-1], row
    offsets = np.empty(shape, np.int64)
    offsets[0], offsets[1] = -bins[-1], bins[0]
    return weights, offsets, np.full(shape, len(bins))


class LiquidationMap:
    """One venue's map. `step` folds one step in, `fold` a history; `outward`, `profile` and `view` read it.

    Mass is neither made nor lost but by opens, closes, sweeps, ageing and changes of counting, and by what outgrows
    open interest: `ledger` has them all. What the price has left further behind than three windows reach is lost.

    `distances_log` is ln(liquidation price / entry), (side, bucket), as `tiers.distances` gives it; without it the
    formula of `shifts` with the spec's one maintenance rate holds.
    """

    def __init__(self, spec: MapSpec, distances_log: np.ndarray | None = None) -> None:
        self.spec = spec
        self.buckets = len(spec.leverages)
        self.prior = np.array(spec.prior_weights)
        self.distances = shifts(spec) if distances_log is None else _from_log(spec, distances_log)
        self._config = (_params(spec, self.distances[0]), *_kernels(spec, *self.distances))
        views = len(spec.view_hours)
        self.store = np.zeros((2, self.buckets + 2, 3 * grid.BINS))
        """Unit maps; under the prior weights mass × birth (days); the survival C of the views. The window is in the
        middle, one of its size lies on either side."""
        self.store[:, -1] = 1.0
        self.traded = np.zeros((2, grid.BINS))
        """Taker buys and sells by entry bin since the last deposit."""
        self.numbers = np.array([math.nan, 0.0, 0.0, -math.inf, math.nan, 1.0, 1.0, 0.0, 0.0])
        self.ledger = np.zeros((8, 2, self.buckets))
        """(what, side, bucket): see `liquidation_step.HELD` and what follows it."""
        empty = [0, 0, 0, grid.BINS - 1, grid.BINS, -1, grid.BINS, -1, 0]
        self.clock = np.array(empty + [liquidation_step.NO_PART] * views, dtype=np.int64)
        self.ring = np.zeros((views, spec.view_parts, 2, 3 * grid.BINS))
        """N by view, part, side and bin."""
        self.mass = self.store[:, : self.buckets + 1, grid.BINS : 2 * grid.BINS]
        """What of `store` lies in the window."""
        self.total = self.ledger[liquidation_step.HELD]
        """Mass by side and bucket, in the window or not, to be multiplied by `scale`."""
        self.scale = self.numbers[liquidation_step.SCALE : liquidation_step.SCALE + 2]
        """By side: coins of a unit of mass. It makes closing O(1)."""
        self.front = self.clock[liquidation_step.FRONT : liquidation_step.FRONT + 2]
        self._state = (self.store, self.traded, self.numbers, self.ledger, self.clock, self.ring)

    @property
    def open_interest_base(self) -> float:
        """What the map is measured against: recorded, or in `volume` mode the slow reference; NaN before the first."""
        return float(self.numbers[liquidation_step.INTEREST])

    @property
    def coins(self) -> np.ndarray:
        """(what, side, bucket): what is held, then what went in and out since the start: `liquidation_step.HELD` on."""
        found: np.ndarray = self.ledger.copy()
        found[liquidation_step.HELD] *= self.scale[:, None]
        return found

    @property
    def lost_base(self) -> float:
        """Coins further away than the arrays reach: the mean of the buckets, both sides."""
        return float(self.ledger[liquidation_step.LOST].mean(axis=1).sum())

    @property
    def far_base(self) -> np.ndarray:
        """(side, bucket): coins that the price has left beyond the window, and that come back with it."""
        beyond = self.total - self.mass[:, : self.buckets].sum(axis=2)
        coins: np.ndarray = np.maximum(beyond, 0.0) * self.scale[:, None]  # the difference rounds
        return coins

    @property
    def recounts(self) -> int:
        """Stamps that jumped, taken for a change of counting."""
        return int(self.clock[liquidation_step.RECOUNTS])

    @property
    def origin(self) -> int:
        """Absolute bin of element 0 of the window."""
        return int(self.clock[liquidation_step.ORIGIN])

    def step(
        self,
        mark: tuple[float, float, float],
        traded: tuple[float, float],
        buy_base: float,
        sell_base: float,
        open_interest_base: float,
        days: float,
        step_days: float,
        flow: Traded | None = None,
    ) -> tuple[SweptMass, bool]:
        """Score, sweep, close and open for one step.

        `mark` is its low, high and close, `traded` the low and high of the last price, over which the bar's volume is
        spread evenly in log price. `flow` is what takers did by price, where that was recorded: then the bar's volume
        is not looked at. `open_interest_base` is the newest stamp known, NaN for none. `days` is the step's close,
        `step_days` its length.

        Returns the unit mass that the mark went through, in coins, and whether the map was scaled down: a bucket had
        outgrown open interest, or open interest jumped by `jump_share`, which is taken for a change of counting and
        scales the map with it. Raises `StepError` for what cannot be, and nothing has changed.
        """
        first, bought, sold = 0, NO_FLOW, NO_FLOW
        if flow is not None:
            first, (bought, sold) = flow.first_bin, np.ascontiguousarray(flow.sides)
            traded, buy_base, sell_base = (mark[2], mark[2]), 0.0, 0.0
        swept = np.empty((2, self.buckets))
        low, high, close = mark
        last_low, last_high = traded
        result = liquidation_step.step(
            *self._state, *self._config, swept, low, high, close, last_low, last_high, buy_base, sell_base,
            open_interest_base, days, step_days, first, bought, sold,
        )  # fmt: skip
        if result < 0:
            given = (mark, traded, buy_base, sell_base, open_interest_base, days, step_days, flow)
            raise StepError(f"{REFUSED[result]}: got {given}")
        return swept, result > 0

    def fold(
        self,
        mark: np.ndarray,
        traded: np.ndarray,
        buy_base: np.ndarray,
        sell_base: np.ndarray,
        open_interest_base: np.ndarray,
        days: np.ndarray,
        step_days: float,
        flow: FlowColumns | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`step` for each row of a history, bit for bit the same, without Python between the steps.

        `mark` is (step, 3), `traded` (step, 2), the others (step). Where a step has `flow`, its bar is not looked at.
        Returns the swept unit mass (step, side, bucket) and the flags (step). `StepError` names the first step that
        cannot be, and nothing has changed.
        """
        flow = FlowColumns.of([None] * len(days)) if flow is None else flow
        bars = np.where(flow.recorded[:, None], mark[:, 2:], traded)
        buys, sells = (np.where(flow.recorded, 0.0, coins) for coins in (buy_base, sell_base))
        columns = (mark, bars, buys, sells, open_interest_base, days)
        swept = np.empty((len(days), 2, self.buckets))
        flagged = np.empty(len(days), np.int64)
        at, why = liquidation_step.fold(
            *self._state, *self._config, swept, *map(_plain, columns), float(step_days),
            flow.start, flow.first_bin, flow.bought, flow.sold, flagged,
        )  # fmt: skip
        if why:
            raise StepError(f"step {at} of the history: {REFUSED[why]}")
        return swept, flagged > 0

    def feed(
        self, mark: Candle, flow: Traded | None, open_interest_base: float, close_ns: int, length_ns: int
    ) -> tuple[SweptMass, bool]:
        """`step` from the parts of a venue's step; without `flow` nothing was traded that is known of."""
        return self.step(
            (mark.low, mark.high, mark.close), (mark.low, mark.high), 0.0, 0.0,
            open_interest_base, close_ns / DAY_NS, length_ns / DAY_NS, flow,
        )  # fmt: skip

    def _slide(self, price: float) -> None:
        """Centre the window on a price that has left its middle half."""
        liquidation_step.follow(*self._state, math.log(price) / self.spec.bin_log)

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """Unit mass in coins, (side, bucket, price): `bins` bins of `width_log` outward from the mark."""
        out = np.empty((2, self.buckets, bins))
        bin_log = self.spec.bin_log
        here = grid.position(mark, bin_log, self.origin)
        liquidation_read.outward(self.store, self.scale, here, width_log / bin_log, out)
        return out

    def share_outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, 1, price): what `outward` gives under the prior weights, as a share of open interest."""
        out, bin_log = np.empty((2, 1, bins)), self.spec.bin_log
        here = grid.position(mark, bin_log, self.origin)
        whole = self.open_interest_base
        liquidation_read.share_outward(self.store, self.scale, self.prior, here, width_log / bin_log, whole, out)
        return out

    def profile(self, mark: float, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Prior-weighted coins by whole grid bins outward from the mark's own bin, and the same times birth (days)."""
        mass, born = np.empty((2, bins)), np.empty((2, bins))
        here = int(grid.position(mark, self.spec.bin_log, self.origin))
        liquidation_read.profile(self.store, self.scale, self.prior, here, mass, born)
        return mass, born

    def view(self, hours: float) -> np.ndarray:
        """Prior-weighted coins by side and bin of the window that were opened within the last `hours`, one of the
        spec's `view_hours`: exact to one of its `view_parts`, so that what is up to a part younger may be missing.
        """
        out = np.empty((2, grid.BINS))
        number = self.spec.view_hours.index(hours)
        running = int(self.clock[liquidation_step.PARTS + number])
        oldest = self.ring[number, (running + 1) % self.spec.view_parts]  # the next part will be written over it
        liquidation_read.view(self.store, self.scale, self.prior, oldest, out)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as it is: what is written into these arrays is the state to go on from."""
        return {name: getattr(self, name) for name in STATE_ARRAYS}

    def snapshot(self) -> dict[str, Any]:
        """Every array that carries state, copied."""
        return {name: array.copy() for name, array in self.arrays().items()}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name, array in self.arrays().items():
            array[...] = arrays[name]


STATE_ARRAYS = ("store", "traded", "numbers", "ledger", "clock", "ring")


def _from_log(spec: MapSpec, distances_log: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in bins and their smear; `ValueError` for some that no contract has."""
    if distances_log.shape != (2, len(spec.leverages)):
        raise ValueError(f"distances_log must be (2, {len(spec.leverages)}), got {distances_log.shape}")
    if not (np.isfinite(distances_log).all() and (distances_log[0] < 0).all() and (distances_log[1] > 0).all()):
        raise ValueError(f"longs are liquidated below their entry, shorts above: got {distances_log.tolist()}")
    bins = distances_log / spec.bin_log
    return bins, deviations(spec, bins)


def _params(spec: MapSpec, distance: np.ndarray) -> np.ndarray:
    """The spec as the kernel reads it."""
    mode = ("stamps", "live", "volume").index(spec.open_interest)
    none = math.inf
    return np.array([
        spec.bin_log, spec.swept, spec.taker_tilt, spec.turnover,
        none if spec.ageing_half_life_hours is None else spec.ageing_half_life_hours,
        mode, spec.reference_turnover_days, spec.reference_half_life_hours,
        none if spec.jump_share is None else spec.jump_share,
        spec.live_silence_minutes / 1440 + ROUNDING_DAYS, spec.close_tilt_near, spec.close_tilt_profit,
        *spec.prior_weights, *np.abs(distance).ravel(), *(hours / spec.view_parts / 24 for hours in spec.view_hours),
    ])  # fmt: skip


def _kernels(spec: MapSpec, distance: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights between zeros and their running sums, (2, side, bucket, bin); offsets and lengths, (2, side, bucket)."""
    uniform = spec.shape == "uniform"
    weights, offsets, lengths = uniform_kernels(spec) if uniform else smear_kernels(distance, deviation)
    zeros = liquidation_step.BLOCK - 1
    kernels = np.zeros((2, *distance.shape, weights.shape[2] + 2 * zeros))
    kernels[0, :, :, zeros:-zeros] = weights
    kernels[1, :, :, 1 : weights.shape[2] + 1] = weights.cumsum(axis=2)
    return kernels, np.stack([offsets, lengths])


def _plain(column: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(column, dtype=np.float64)
