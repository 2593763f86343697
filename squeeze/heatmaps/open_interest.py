"""Open interest by price: each change is put where volume was traded since the stamp before it.

No exchange publishes it; this is the usual proxy (domain.md §4.1, with the opens G and closes C of §3.5). `opened` is
what was opened at a price and, if closes hit all alike, is still open: deposits of G, shrunk by 1 − C/OI. The four
quadrants keep the bare changes apart, by direction of the mark and of open interest, unshrunk: a close is in them as a
close. Their signed sum is the *net*, which is the change of open interest itself.
"""

import math

import numpy as np

from squeeze.heatmaps import grid, rolling_read, rolling_step
from squeeze.heatmaps.protocol import NOTHING, PriceWindow, check, hours_name, slide, traded
from squeeze.heatmaps.rolling import Rolling
from squeeze.heatmaps.rolling_step import HEARD, NOT_HEARD, OPENED
from squeeze.market.events import HOUR_NS, SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require


class OpenInterestSpec(Strict, frozen=True, kw_only=True):
    """Windows of the map, and what is made of a stamp."""

    bin_log: float = 5e-4
    """Width of a price bin in log price."""
    windows_hours: tuple[float, ...] = (4.0, 24.0, 2160.0)
    """Trailing windows: four hours, a day, 90 days."""
    slots: int = 24
    """Parts of a window; it is exact to one of them."""
    turnover: float = 0.10
    """κ: share of churn that opens or closes positions that last."""
    jump_share: float = 0.45
    """A stamp this far from the last one, as a share of it, is taken for a change of counting; a halving or a doubling
    with some true change on top must not pass."""
    step_seconds: int = 60
    """Length of a step: no more than this counts as recorded for one."""

    def __post_init__(self) -> None:
        require(0 < self.bin_log < 0.05, "bin_log lies between 0 and 0.05")
        require(len(self.windows_hours) > 0 and min(self.windows_hours) > 0, "windows_hours are positive")
        require(self.slots > 1 and self.step_seconds > 0, "slots must exceed 1, step_seconds 0")
        require(0 <= self.turnover <= 1 and self.jump_share > 0, "turnover is a share, jump_share positive")


class OpenInterestMap:
    """One venue's map, in base coins.

    Of a step the newest stamp counts; one that is not newer than the last, or not positive and finite, is not there. A
    change without recorded volume has no price and is left out, as is one that jumps; both are counted, and the next
    change starts from the new stamp. The volume is what became known between the two stamps.
    """

    def __init__(self, spec: OpenInterestSpec) -> None:
        self.spec = spec
        windows_ns = [round(h * HOUR_NS) for h in spec.windows_hours]
        self.window = PriceWindow(spec.bin_log, max(windows_ns))
        self.rolling = Rolling(windows_ns, spec.slots, 5)
        self.pending = np.zeros(grid.BINS)
        """Volume by bin since the last stamp."""
        self.pending_range = np.array([grid.BINS, 0], dtype=np.int64)
        self.numbers = np.array([math.nan, math.nan, 1.0, 0.0])
        """Open interest, mark at that stamp, scale of the `OPENED` row, volume since then (off the array, too)."""
        self.clock = np.zeros(6, dtype=np.int64)
        """Close of the last step; time of the newest stamp; time recorded since; jumps; changes without volume; whether
        a bar's volume was spread in the last step."""
        self.ledger = np.zeros((len(windows_ns), 5, 4))
        """Coins put in, closed, expired and left behind by the sliding array, by window and row."""
        self.unattributed_base = np.zeros(2)
        """Signed change that jumped, and that had no volume to go with."""
        since = (self.pending, self.pending_range, self.numbers, self.clock)
        self._state = (*self.rolling.folded, self.window.state, *since, self.ledger, self.unattributed_base)
        step_ns = spec.step_seconds * SECOND_NS
        self._rules = (spec.turnover, spec.jump_share, spec.bin_log, self.window.memory_ns, step_ns)
        names = [hours_name(h) for h in spec.windows_hours]
        kinds = ("opened", "net", "toward_opened", "away_opened", "toward_closed", "away_closed")
        self.channels = tuple(f"{kind}_{n}" for n in names for kind in kinds)
        self.scalar_names = (
            "open_interest_base",
            "open_interest_age_minutes",
            *(f"{kind}_{n}" for n in names for kind in (*kinds, "coverage")),
        )

    @property
    def open_interest_base(self) -> float:
        """The newest stamp; NaN before the first."""
        return float(self.numbers[0])

    @property
    def counting_changes(self) -> int:
        """Stamps that jumped."""
        return int(self.clock[3])

    @property
    def without_volume(self) -> int:
        """Changes that had no recorded volume to go with."""
        return int(self.clock[4])

    @property
    def volume_uniform(self) -> bool:
        """Whether the last step's volume was a bar's, spread evenly: `Degraded.VOLUME_UNIFORM`."""
        return bool(self.clock[5])

    @property
    def age_ns(self) -> int:
        """Time from the newest stamp to the last close."""
        return int(self.clock[0] - self.clock[1])

    def step(self, part: VenueStep, mark: Candle, close_ns: int) -> None:
        """Remember what traded; if there is a new stamp, put the change of open interest there."""
        check(mark, close_ns, int(self.clock[0]))
        volume = traded(part, self.spec.bin_log)
        heard = NOT_HEARD if volume is None else HEARD
        first_bin, sides, uniform, _ = volume or NOTHING
        stamp = self._newest(part)
        if not self._fold(first_bin, sides, heard, uniform, stamp, mark.close, close_ns):
            first_bin, sides = self._make_room(first_bin, sides, mark.close, close_ns)
            self._fold(first_bin, sides, heard, uniform, stamp, mark.close, close_ns)

    def _newest(self, part: VenueStep) -> tuple[float, int]:
        """Open interest and time of the newest stamp; NaN if there is none."""
        newest_ns, stamp_base = int(self.clock[1]), math.nan
        for stamp in part.open_interest:
            if 0 < stamp.open_interest_base < math.inf and stamp.event_ns > newest_ns:
                newest_ns, stamp_base = stamp.event_ns, stamp.open_interest_base
        return stamp_base, newest_ns

    def _fold(
        self, first_bin: int, sides: np.ndarray, heard: int, uniform: bool, stamp: tuple[float, int], mark: float,
        close_ns: int,
    ) -> bool:  # fmt: skip
        folded: bool = rolling_step.interest_step(
            *self._state, *self._rules, sides, first_bin, heard, uniform, *stamp, mark, math.log(mark), close_ns
        )
        return folded

    def _make_room(self, first_bin: int, sides: np.ndarray, mark: float, close_ns: int) -> tuple[int, np.ndarray]:
        """Slide so that the mark is well inside; what then is inside of the volume. The rest still counts as volume."""
        shift = self.window.follow(mark, close_ns)
        if shift:
            self._slide(shift, close_ns)
        first, inside = self.window.clip(first_bin, sides.shape[1], close_ns)
        self.numbers[3] += sides.sum() - sides[:, inside].sum()
        return self.window.origin + first, np.ascontiguousarray(sides[:, inside])

    def _slide(self, shift: int, close_ns: int) -> None:
        lost = self.rolling.slide(shift)
        lost[:, OPENED] *= self.numbers[2]
        self.ledger[:, :, 3] += lost
        slide(self.pending, shift)
        low, high = np.clip(self.pending_range - shift, 0, grid.BINS).tolist()
        self.pending_range[:] = (low, high) if high > low else (grid.BINS, 0)
        if lost.any():
            self.window.leave(shift > 0, close_ns)

    def outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, channel, price), coins by window: `opened` and what is left of it; the `net` change; the quadrants.

        `toward` and `away`: the mark went toward this side's prices or away from them, while contracts were `opened` or
        `closed`. Downward, `toward_opened` are new shorts in the lead, `away_closed` short covering.
        """
        out = np.empty((2, len(self.channels), bins))
        rolling_read.interest_outward(
            self.rolling.total, self.rolling.recorded_ns, self.window.state, self.numbers[2], self.spec.bin_log, mark,
            width_log, out,
        )  # fmt: skip
        return out

    def whole_bins(self, window: int, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin): coins of one window's `opened` by whole bins outward from absolute bin `mark_bin`, it included.

        NaN where not covered or not recorded.
        """
        out, rolling = np.empty((2, bins)), self.rolling
        opened, recorded_ns = rolling.total[window, OPENED], rolling.recorded_ns[window]
        rolling_read.whole_bins(opened, self.numbers[2], recorded_ns, self.window.state, mark_bin, out)
        return out

    def scalars(self) -> np.ndarray:
        """Open interest and its age; by window, the sums of all channels, and the share that was recorded."""
        out, rolling = np.empty((2, len(self.scalar_names))), self.rolling
        rolling_read.interest_scalars(
            rolling.sums, rolling.recorded_ns, rolling.windows_ns, self.numbers, self.clock, out
        )
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        own = {name: getattr(self, name) for name in STATE_ARRAYS}
        return own | {"window": self.window.state} | {f"rolling.{n}": a for n, a in self.rolling.arrays().items()}


STATE_ARRAYS = ("pending", "pending_range", "numbers", "clock", "ledger", "unattributed_base")
