"""Taker flow by price, fading, and how hard takers push: imbalance, its acceleration, and what is absorbed.

The map fades by time that was recorded: while nothing is, it stays as it was, ages, and is masked when too old. A step
that does not say who took is not recorded here: half to each side would be no flow at all. One of which trades are
missing adds what it has, and does not make the map younger.
"""

import numpy as np

from squeeze.heatmaps import grid
from squeeze.heatmaps.flow_book_kernel import flow_outward, flow_scalars, flow_step
from squeeze.heatmaps.protocol import NOTHING, PriceWindow, check, has_hole, hours_name, traded
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require

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
        self._step_ns, self._stale_ns = spec.step_seconds * SECOND_NS, spec.stale_minutes * MINUTE_NS
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
        return not self.clock[1] or self.age_ns > self._stale_ns

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Fade the map and add a step's flow; without a record it stays as it was."""
        check(mark, close_ns, int(self.clock[0]))
        flow = traded(part, self.spec.bin_log)
        recorded = flow is not None and not flow.halved
        first_bin, sides, uniform, _ = flow if flow is not None else NOTHING
        flow_step(
            self.cells, self.scale, self.sums, self.pushed, self.turned, self.ledger, self.numbers, self.clock,
            self.window.state, self.half_lives_ns, self.spec.bin_log, self.window.memory_ns, self._step_ns, mark.close,
            close_ns, recorded, not has_hole(part), uniform, first_bin, sides,
        )  # fmt: skip

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price): coins of takers who pushed `toward` this side (downward: sells) and `away`."""
        out = np.empty((2, len(self.channels), bins))
        flow_outward(
            self.cells, self.scale, self.clock, self.window.state, self._stale_ns, self.spec.bin_log, mark, width_log,
            out,
        )  # fmt: skip
        return out

    def scalars(self) -> np.ndarray:
        """By half-life: imbalance and acceleration toward this side, absorption; NaN, but for the age, when stale."""
        out = np.empty((2, len(self.scalar_names)))
        flow_scalars(self.turned, self.pushed, self.clock, self._stale_ns, out)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        own = {name: getattr(self, name) for name in STATE_ARRAYS}
        return own | {"window": self.window.state}


STATE_ARRAYS = ("cells", "scale", "sums", "pushed", "turned", "ledger", "numbers", "clock")
