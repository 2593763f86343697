"""Open interest by price: each change is put where volume was traded since the stamp before it.

No exchange publishes it; this is the usual proxy (domain.md §4.1, with the opens G and closes C of §3.5). `opened` is
what was opened at a price and, if closes hit all alike, is still open: deposits of G, shrunk by 1 − C/OI. The four
quadrants keep the bare changes apart, by direction of the mark and of open interest, unshrunk: a close is in them as a
close. Their signed sum is the *net*, which is the change of open interest itself.
"""

import math

import numpy as np

from squeeze.heatmaps import grid
from squeeze.heatmaps.protocol import PriceWindow, Rolling, check, hours_name, slide, traded
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.strict import Strict, require

OPENED, UP_OPENED, DOWN_OPENED, UP_CLOSED, DOWN_CLOSED = range(5)
"""Rows: `UP_` and `DOWN_` is where the mark went, `_OPENED` and `_CLOSED` where open interest went."""
MOST_CLOSED = 0.9
"""The most that one stamp closes, as in the liquidation map."""
TINY_SCALE = 1e-9


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
        closed_ns = int(self.clock[0])
        check(mark, close_ns, closed_ns)
        volume = traded(part, self.spec.bin_log)
        self._expire(close_ns)
        shift = self.window.follow(mark.close, close_ns)
        if shift:
            self._slide(shift, close_ns)
        self.clock[0], self.clock[5] = close_ns, 0
        if volume is not None:
            self.clock[5] = volume.uniform
            self._trade(volume.first_bin, volume.sides.sum(axis=0), close_ns)
            step_ns = self.spec.step_seconds * SECOND_NS
            self.clock[2] += min(close_ns - closed_ns, step_ns) if closed_ns else step_ns
        newest_ns, stamp_base = int(self.clock[1]), math.nan
        for stamp in part.open_interest:
            if 0 < stamp.open_interest_base < math.inf and stamp.event_ns > newest_ns:
                newest_ns, stamp_base = stamp.event_ns, stamp.open_interest_base
        if not math.isnan(stamp_base):
            self.clock[1] = newest_ns
            self._stamp(stamp_base, mark.close)

    def _trade(self, first_bin: int, volume: np.ndarray, close_ns: int) -> None:
        first, inside = self.window.clip(first_bin, volume.size, close_ns)
        kept = volume[inside]
        self.numbers[3] += volume.sum()
        if kept.size:
            self.pending[first : first + kept.size] += kept
            low, high = self.pending_range.tolist()
            self.pending_range[:] = min(low, first), max(high, first + kept.size)

    def _stamp(self, stamp_base: float, mark: float) -> None:
        """Take a stamp in, and start to collect the volume for the next."""
        before, mark_before, _, volume = self.numbers.tolist()
        low, high = self.pending_range.tolist()
        if not math.isnan(before):
            change = stamp_base - before
            if abs(change) >= self.spec.jump_share * before:
                self.clock[3] += 1
                self.unattributed_base[0] += change
            elif volume > 0:
                self._attribute(change, before, volume, (low, high), np.sign(math.log(mark / mark_before)))
            else:
                self.clock[4] += change != 0
                self.unattributed_base[1] += change
        self.pending[low:high] = 0.0
        self.pending_range[:] = grid.BINS, 0
        self.numbers[0], self.numbers[1], self.numbers[3] = stamp_base, mark, 0.0
        self.clock[2] = 0

    def _attribute(self, change: float, before: float, volume: float, span: tuple[int, int], direction: float) -> None:
        """Close a share of what is open, then put opens and the change where volume was traded."""
        lasting = self.spec.turnover * max(volume - abs(change), 0.0) / 2
        opened, closed = max(change, 0.0) + lasting, max(-change, 0.0) + lasting
        left = 1.0 - min(closed / before, MOST_CLOSED)
        total = self.rolling.total
        self.ledger[:, OPENED, 1] += total[:, OPENED].sum(axis=1) * self.numbers[2] * (1 - left)
        self.numbers[2] *= left
        if self.numbers[2] < TINY_SCALE:
            self.rolling.ring[:, :, OPENED] *= self.numbers[2]
            total[:, OPENED] *= self.numbers[2]
            self.numbers[2] = 1.0
        up = 0.5 * (1 + direction)  # a mark that stood still: half to each
        coins = np.zeros(5)
        coins[OPENED] = opened
        coins[[UP_OPENED, DOWN_OPENED]] = max(change, 0.0) * np.array([up, 1 - up])
        coins[[UP_CLOSED, DOWN_CLOSED]] = max(-change, 0.0) * np.array([up, 1 - up])
        low, high = span
        share = self.pending[low:high] / volume
        self.ledger[:, :, 0] += coins
        self.ledger[:, :, 3] += coins * (1 - share.sum())
        coins[OPENED] /= self.numbers[2]
        self.rolling.add(min(low, high), coins[:, None] * share)
        self.rolling.record(int(self.clock[2]))

    def _expire(self, close_ns: int) -> None:
        expired = self.rolling.advance(close_ns)
        if expired is not None:
            expired[:, OPENED] *= self.numbers[2]
            self.ledger[:, :, 2] += expired

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
        windows = len(self.rolling.windows_ns)
        cells = self.rolling.total.reshape(-1, grid.BINS)
        order = ORIENTED + 5 * np.arange(windows)[:, None, None]
        rows = order.transpose(1, 0, 2).reshape(2, -1).tolist()
        pooled = self.window.outward(cells, rows, mark, width_log, bins).reshape(2, windows, 5, bins)
        pooled[:, :, OPENED] *= self.numbers[2]
        out = with_net(pooled, axis=2)
        out[:, self.rolling.recorded_ns.sum(axis=1) == 0] = np.nan
        return out.reshape(2, -1, bins)

    def scalars(self) -> np.ndarray:
        """Open interest and its age; by window, the sums of all channels, and the share that was recorded."""
        sums = self.rolling.total.sum(axis=2)
        sums[:, OPENED] *= self.numbers[2]
        out = np.full((2, len(self.scalar_names)), np.nan)
        coverage = self.rolling.coverage()
        if self.clock[1]:
            out[:, 0], out[:, 1] = self.numbers[0], self.age_ns / MINUTE_NS
        for side in range(2):
            rows = with_net(sums[:, ORIENTED[side]], axis=1)
            rows[coverage == 0] = np.nan
            out[side, 2:] = np.concatenate([rows, coverage[:, None]], axis=1).ravel()
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state."""
        own = {name: getattr(self, name) for name in STATE_ARRAYS}
        return own | {"window": self.window.state} | {f"rolling.{n}": a for n, a in self.rolling.arrays().items()}


STATE_ARRAYS = ("pending", "pending_range", "numbers", "clock", "ledger", "unattributed_base")

ORIENTED = np.array(
    [
        [OPENED, DOWN_OPENED, UP_OPENED, DOWN_CLOSED, UP_CLOSED],
        [OPENED, UP_OPENED, DOWN_OPENED, UP_CLOSED, DOWN_CLOSED],
    ]
)
"""Rows by side: opened, toward opened, away opened, toward closed, away closed."""


def with_net(rows: np.ndarray, axis: int) -> np.ndarray:
    """Five rows as six: the net of the four quadrants comes second."""
    opened, toward, away, toward_closed, away_closed = np.moveaxis(rows, axis, 0)
    net = toward + away - toward_closed - away_closed
    return np.stack([opened, net, toward, away, toward_closed, away_closed], axis=axis)
