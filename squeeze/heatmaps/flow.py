"""Taker flow by price, fading, and how hard takers push: imbalance, its acceleration, and what is absorbed.

The map fades by time that was recorded: while nothing is, it stays as it was, ages, and is masked when too old. A step
that does not say who took is not recorded here: half to each side would be no flow at all. One of which trades are
missing adds what it has, and does not make the map younger.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.heatmaps import grid
from squeeze.heatmaps.protocol import PriceWindow, check, has_hole, hours_name, slide, traded
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require

TINY_SCALE = 1e-9
REMEMBERED_HALF_LIVES = 20
"""After so many, what the sliding array left behind counts as gone: a millionth is left."""


class FlowSpec(Strict, frozen=True, kw_only=True):
    """Memories of taker flow."""

    bin_log: float = 5e-4
    """Width of a price bin in log price."""
    half_lives_minutes: tuple[float, ...] = (15.0, 240.0)
    """One map of each."""
    stale_minutes: float = 10.0
    """Without a recorded step for longer than this nothing but the age is shown."""
    step_seconds: int = 60
    """Length of a step: a recorded step fades the map by no more than this."""

    def __post_init__(self) -> None:
        require(0 < self.bin_log < 0.05, "bin_log lies between 0 and 0.05")
        require(len(self.half_lives_minutes) > 0, "half_lives_minutes holds at least one")
        require(min(self.half_lives_minutes) > 0, "half_lives_minutes are positive")
        require(self.stale_minutes > 0 and self.step_seconds > 0, "stale_minutes and step_seconds are positive")


# Two kernels, for the many small arrays: in plain numpy a step took 42 µs, of which these were half.
@njit(cache=True)
@no_type_check
def _fade(
    cells: np.ndarray,
    scale: np.ndarray,
    sums: np.ndarray,
    pushed: np.ndarray,
    ledger: np.ndarray,
    factors: np.ndarray,
) -> None:
    """Fade every memory by its factor; a scale that gets too small is written into the cells."""
    for memory in range(scale.size):
        factor = factors[memory]
        held = ledger[memory, 0] - ledger[memory, 1] - ledger[memory, 2]
        ledger[memory, 1] += held * (1 - factor)
        scale[memory] *= factor
        sums[memory] *= factor
        pushed[memory] *= factor
        if scale[memory] < TINY_SCALE:
            cells[memory] *= scale[memory]
            scale[memory] = 1.0


@njit(cache=True)
@no_type_check
def _push(
    sums: np.ndarray,
    pushed: np.ndarray,
    turned: np.ndarray,
    bought: float,
    sold: float,
    move: float,
    minutes: float,
) -> None:
    """Add what takers bought and sold, the net push and whether the mark followed; then the imbalance."""
    side = 1 if bought > sold else 0
    push = abs(bought - sold)
    followed = move > 0 if side == 1 else move < 0
    for memory in range(len(sums)):
        sums[memory, 0] += bought
        sums[memory, 1] += sold
        if not math.isnan(move):
            pushed[memory, side, 0] += push
            pushed[memory, side, 1] += 0.0 if followed else push
        volume = sums[memory, 0] + sums[memory, 1]
        now = (sums[memory, 0] - sums[memory, 1]) / volume if volume > 0 else math.nan
        turned[memory, 1] = (now - turned[memory, 0]) / minutes
        turned[memory, 0] = now


class FlowMap:
    """One venue's taker buys and sells by price, in base coins.

    `imbalance` is (toward − away) / (toward + away): downward, sells push toward. Its acceleration is by how much it
    rose over the last recorded step, per minute. `absorption` is the share of the net push toward this side, step by
    step, that the mark did not follow: it stood still, or went the other way [D].
    """

    def __init__(self, spec: FlowSpec) -> None:
        self.spec = spec
        memories = len(spec.half_lives_minutes)
        self.half_lives_ns = np.array(spec.half_lives_minutes) * MINUTE_NS
        self.window = PriceWindow(spec.bin_log, round(REMEMBERED_HALF_LIVES * float(self.half_lives_ns.max())))
        self.cells = np.zeros((memories, 2, grid.BINS))
        """Buys and sells, to be multiplied by `scale`."""
        self.scale = np.ones(memories)
        self.sums = np.zeros((memories, 2))
        """Fading buys and sells, wherever they were."""
        self.pushed = np.zeros((memories, 2, 2))
        """Fading net push toward each side, and what of it the mark did not follow."""
        self.turned = np.full((memories, 2), np.nan)
        """Imbalance upward, and its acceleration."""
        self.ledger = np.zeros((memories, 3))
        """Coins taken in, faded, and left behind by the sliding array."""
        self.numbers = np.full(1, np.nan)
        """Mark at the last close."""
        self.clock = np.zeros(3, dtype=np.int64)
        """Close of the last step, and of the last that was recorded; whether a bar's flow was spread in that."""
        names = [hours_name(m / 60) for m in spec.half_lives_minutes]
        self.channels = tuple(f"taker_{kind}_{n}" for n in names for kind in ("toward", "away"))
        kinds = ("flow_imbalance", "flow_acceleration", "flow_absorption")
        self.scalar_names = (*(f"{kind}_{n}" for n in names for kind in kinds), "flow_age_minutes")

    @property
    def volume_uniform(self) -> bool:
        """Whether the last recorded step's flow was a bar's, spread evenly: `Degraded.VOLUME_UNIFORM`."""
        return bool(self.clock[2])

    @property
    def age_ns(self) -> int:
        """Time from the last recorded step to the last close."""
        return int(self.clock[0] - self.clock[1])

    @property
    def stale(self) -> bool:
        """Whether there was no flow yet, or not for too long."""
        return not self.clock[1] or self.age_ns > self.spec.stale_minutes * MINUTE_NS

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Fade the map and add a step's flow; without a record it stays as it was."""
        closed_ns = int(self.clock[0])
        check(mark, close_ns, closed_ns)
        flow = traded(part, self.spec.bin_log)
        shift = self.window.follow(mark.close, close_ns)
        if shift:
            self._slide(shift, close_ns)
        self.clock[0] = close_ns
        mark_before, self.numbers[0] = float(self.numbers[0]), mark.close
        if flow is None or flow.halved:
            return
        step_ns = self.spec.step_seconds * SECOND_NS
        elapsed_ns = min(close_ns - closed_ns, step_ns) if closed_ns else step_ns
        self._fade(elapsed_ns)
        self.clock[2] = flow.uniform
        if not has_hole(part):
            self.clock[1] = close_ns
        self._add(flow.first_bin, flow.sides, close_ns)
        bought, sold = flow.sides.sum(axis=1).tolist()
        move = mark.close - mark_before  # NaN in the first step: no push is counted
        _push(self.sums, self.pushed, self.turned, bought, sold, move, elapsed_ns / MINUTE_NS)

    def _fade(self, elapsed_ns: int) -> None:
        _fade(self.cells, self.scale, self.sums, self.pushed, self.ledger, 0.5 ** (elapsed_ns / self.half_lives_ns))

    def _add(self, first_bin: int, sides: np.ndarray, close_ns: int) -> None:
        first, inside = self.window.clip(first_bin, sides.shape[1], close_ns)
        kept = sides[:, inside]
        self.cells[:, :, first : first + kept.shape[1]] += kept / self.scale[:, None, None]
        self.ledger[:, 0] += sides.sum()
        if kept.shape[1] < sides.shape[1]:
            self.ledger[:, 2] += sides.sum() - kept.sum()

    def _slide(self, shift: int, close_ns: int) -> None:
        before = self.cells.sum(axis=(1, 2))
        slide(self.cells, shift)
        lost = (before - self.cells.sum(axis=(1, 2))) * self.scale
        self.ledger[:, 2] += lost
        if lost.any():
            self.window.leave(shift > 0, close_ns)

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): coins of takers who pushed `toward` this side (downward: sells) and `away`."""
        memories = len(self.scale)
        if self.stale:
            return np.full((2, 2 * memories, bins), np.nan)
        down = [row for memory in range(memories) for row in (2 * memory + 1, 2 * memory)]
        out = self.window.outward(self.cells.reshape(-1, grid.BINS), [down, range(2 * memories)], mark, width_log, bins)
        out *= np.repeat(self.scale, 2)[:, None]
        return out

    def scalars(self) -> np.ndarray:
        """By half-life: imbalance and acceleration toward this side, absorption; NaN, but for the age, when stale."""
        out = np.full((2, len(self.scalar_names)), np.nan)
        if self.clock[1]:
            out[:, -1] = self.age_ns / MINUTE_NS
        if not self.stale:
            sign = np.array([[-1.0], [1.0]])
            out[:, 0:-1:3], out[:, 1:-1:3] = sign * self.turned[:, 0], sign * self.turned[:, 1]
            pushed, absorbed = self.pushed[:, :, 0].T, self.pushed[:, :, 1].T
            out[:, 2:-1:3] = np.divide(absorbed, pushed, out=np.full_like(pushed, np.nan), where=pushed > 0)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        own = {name: getattr(self, name) for name in STATE_ARRAYS}
        return own | {"window": self.window.state}


STATE_ARRAYS = ("cells", "scale", "sums", "pushed", "turned", "ledger", "numbers", "clock")
