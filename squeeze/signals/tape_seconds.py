"""The seconds of the tape that are over. Those that ended last wait in a list until somebody asks: what a look asks is
then one compiled call, however many seconds it closes.
"""

import math
import zlib
from typing import Any

import numpy as np

from squeeze.errors import StepError
from squeeze.label_spec import CascadeSpec
from squeeze.signals import tape_kernel as kernel
from squeeze.signals import tape_layout as layout
from squeeze.signals.staleness import StalenessSpec, is_suspect
from squeeze.signals.tape_layout import LONG_USD, SELLS, UNTIL, VOLUME
from squeeze.signals.tape_medians import Medians

NAN = math.nan
PAIRED = len(layout.SINGLES) + 2 * len(layout.PAIRS)
"""Where the facts by side end."""
MOST_WAITING = 100 * (UNTIL + 1)
"""Numbers of a hundred seconds."""


class Seconds:
    """Rings, bars and histograms; `end` closes a second, `facts` says what the closed ones come to."""

    def __init__(self, limits: StalenessSpec, cascade: CascadeSpec) -> None:
        days = max(1, min(layout.DAYS, round(cascade.trailing_days)))
        self.memory, self.rings = layout.blank(days, cascade.quantile, 1440 * cascade.least_days)
        self.limits = limits
        self.running = 0
        """The second that runs; 0 before the first."""
        self._waiting: list[float] = []
        """What the seconds heard that are over and not closed, one after the other."""
        self._mark_seconds = 0
        suspect = round(60 * limits.suspect_minutes), math.ceil(limits.suspect_minutes)
        self._rules = np.array([(cascade.open_interest_share, cascade.floor_usd, *suspect)], layout.RULES)
        self._facts = np.zeros(1, layout.FACTS)
        self._told = self._facts.view(np.float64)
        self._medians = Medians()

    def begin(self, second: int) -> None:
        """Let the first second run."""
        kernel.begin(self.memory, second)
        self.running = second

    def end(self, heard: list[float], until: int) -> None:
        """The running second is over, with what was heard in it, and the silent ones up to `until`, which runs."""
        self._waiting += heard
        self._waiting.append(until)
        self.running = until
        if len(self._waiting) >= MOST_WAITING:  # history runs for days without a look
            self._settle()

    def _over(self, shown: list[float] | None = None) -> np.ndarray:
        """What waits to be closed, and behind it `shown`: what the running second has heard so far."""
        if shown is not None:
            self._waiting += [*shown, 0.0]
        rows = np.array(self._waiting, np.float64).reshape(-1, UNTIL + 1)
        self._waiting.clear()
        return rows

    def _settle(self) -> None:
        """Close what waits."""
        if self._waiting:
            kernel.settle(self.memory, self.rings, self._over())

    def trades(self) -> None:
        """From the second that runs on, one without a trade is zero."""
        self._settle()
        self.memory["is_trading"] = 1

    def prints(self) -> None:
        """From the second that runs on, one without a liquidation is zero."""
        self._settle()
        self.memory["is_watching"] = 1

    def marks(self, bar_seconds: int) -> None:
        """The mark comes from bars of that length, 0 for ticks."""
        if bar_seconds != self._mark_seconds:
            self._settle()
            self.memory["mark_seconds"] = self._mark_seconds = bar_seconds

    def cover(self, last: int, seconds: int, volume: float, buys: float, sells: float) -> None:
        """A bar of the last price ended with a second: what it traded in each of its seconds."""
        self._settle()
        kernel.cover(self.memory, self.rings, last - seconds + 1, last, volume, buys, sells)
        self.memory["covered"], self.memory["bar_seconds"] = last, seconds

    def recounted(self, ratio: float) -> None:
        """Open interest is counted anew, by so much: what it was is too."""
        self._settle()
        self.memory["minute_interest"] *= ratio

    def lose_flow(self, first: int) -> None:
        """What traded from a second on was not recorded after all."""
        self._settle()
        kernel.lose(self.memory, self.rings, VOLUME, SELLS - VOLUME + 1, first)
        self.memory["buys"] = self.memory["sells"] = 0.0

    def lose_prints(self, first: int) -> None:
        """What was liquidated from a second on was not recorded after all."""
        self._settle()
        kernel.lose(self.memory, self.rings, LONG_USD, 4, first)

    def facts(self, last: int, shown: list[float] | None, mark: float, interest: float) -> dict[str, Any]:
        """What the seconds up to `last` come to, as fields of `View`; `shown` is what the running one has heard so far
        where `last` is that one, `mark` the price and `interest` in coins.
        """
        log_mark = math.log(mark) if mark == mark else NAN
        over = self._over(shown)
        kernel.read(self.memory, self.rings, over, self._rules, last, log_mark, interest, self._facts)
        spread_bp, depth_usd = self._medians.of(self.rings, last // 10 * 10, self.running)
        told = self._told.tolist()
        moved, prints, sigma = told[PAIRED:]
        facts: dict[str, Any] = dict(zip(layout.SINGLES, told, strict=False))
        pairs = zip(told[len(facts) : PAIRED : 2], told[len(facts) + 1 : PAIRED : 2], strict=True)
        facts.update(zip(layout.PAIRS, pairs, strict=True))
        facts["spread_median_60m_bp"], facts["depth_median_60m_usd"] = spread_bp, depth_usd
        facts["liquidations_suspect"] = is_suspect(self.limits, moved, prints, sigma)
        return facts

    def snapshot(self) -> tuple[bytes, bytes]:
        """Memory and rings; the medians are in them too."""
        self._settle()
        return zlib.compress(self.memory.tobytes(), 1), zlib.compress(self.rings.tobytes(), 1)

    def restore(self, packed_memory: bytes, packed_rings: bytes) -> None:
        """Go on from a snapshot; `StepError` for one of another shape, and then nothing has changed."""
        try:
            memory, rings = zlib.decompress(packed_memory), zlib.decompress(packed_rings)
        except zlib.error as error:
            raise StepError(f"not a tape's snapshot: {error}") from None
        if len(memory) != self.memory.nbytes or len(rings) != self.rings.nbytes:
            raise StepError("the snapshot is of a tape of another release")
        self.memory[...] = np.frombuffer(memory, layout.TAPE)
        self.rings[...] = np.frombuffer(rings).reshape(self.rings.shape)
        self.running, self._mark_seconds = int(self.memory["second"][0]), int(self.memory["mark_seconds"][0])
        self._waiting.clear()
        self._medians.forget()
