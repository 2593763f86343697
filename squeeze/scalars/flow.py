"""Named numbers of one step, per side, from the slow streams: liquidations, open interest, funding, and the clock."""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.scalars.price import steps_in
from squeeze.spec import FrameSpec


class FlowScalars:
    """What slower streams say, each with its age: liquidations, open interest, funding; NaN where it was not recorded.

    Liquidated USD are remembered with exponential half-lives. A print fades by the clock; an interval sum fades by its
    own length when the next one arrives, so that an interval without a record is skipped and not taken for zero.
    """

    def __init__(self, spec: FrameSpec, step_seconds: int) -> None:
        self.spec = spec
        self.half_lives_ns = np.array(spec.liquidation_half_lives_minutes) * 60e9
        self._windows = np.array([steps_in(m, step_seconds) for m in spec.open_interest_windows_minutes])
        self.liquidated_usd = np.zeros((2, len(self.half_lives_ns)))
        self.open_interest = np.full(int(self._windows.max()) + 1, math.nan)
        self.numbers = np.full(6, math.nan)
        """Funding rate; event times (ns) of the newest funding, liquidation and open interest; when prints faded; the
        stamp of open interest that waits for a step with a bar."""
        self.names = (
            *(f"{own}_liquidated_{m:g}m" for own in ("own", "other") for m in spec.liquidation_half_lives_minutes),
            "liquidation_age",
            *(f"open_interest_change_{m:g}m" for m in spec.open_interest_windows_minutes),
            "funding_rate_bp",
            "funding_age_hours",
        )

    def fade_to(self, close_ns: int) -> None:
        """Let the memory of prints fade up to a step's close; interval sums fade by `add_sum` alone."""
        if not math.isnan(self.numbers[4]):
            self.liquidated_usd *= 0.5 ** ((close_ns - self.numbers[4]) / self.half_lives_ns)
            self.numbers[4] = close_ns

    def add_print(self, side: int, usd: float, close_ns: int, age_ns: int) -> None:
        """One liquidation, known `age_ns` before this step's close."""
        self.numbers[4] = close_ns
        self.liquidated_usd[side] += usd * 0.5 ** (age_ns / self.half_lives_ns)

    def add_sum(self, long_usd: float, short_usd: float, cadence_ns: int) -> None:
        """One interval's liquidations; an interval without a record is skipped, not taken for zero."""
        self.liquidated_usd *= 0.5 ** (cadence_ns / self.half_lives_ns)
        self.liquidated_usd[0] += long_usd
        self.liquidated_usd[1] += short_usd

    def push_open_interest(self, stamp_base: float) -> None:
        """Remember open interest as known at this step; NaN repeats the last."""
        self.open_interest[:-1] = self.open_interest[1:]
        if not math.isnan(stamp_base):
            self.open_interest[-1] = self.numbers[5] = stamp_base

    def take_stamp(self) -> float:
        """The newest stamp that the map has not had, once; NaN if it has had all."""
        stamp_base, self.numbers[5] = float(self.numbers[5]), math.nan
        return stamp_base

    def values(self, close_ns: int, liquidation_limit_ns: float) -> np.ndarray:
        """(side, scalar) at a step's close; liquidations are NaN after `liquidation_limit_ns` of silence."""
        out = np.empty((2, len(self.names)))
        _flow_scalars(
            self.liquidated_usd, self.open_interest, self.numbers, self._windows, self.spec.liquidation_scale_usd,
            close_ns, liquidation_limit_ns, out,
        )  # fmt: skip
        return out


@njit(cache=True)
@no_type_check
def _flow_scalars(
    liquidated_usd: np.ndarray,
    open_interest: np.ndarray,
    numbers: np.ndarray,
    windows: np.ndarray,
    scale_usd: float,
    close_ns: int,
    limit_ns: float,
    out: np.ndarray,
) -> None:
    """Fill `out` (side, scalar) in the order of `FlowScalars.names`."""
    funding_rate, funding_ns, liquidation_ns = numbers[0], numbers[1], numbers[2]
    memories = liquidated_usd.shape[1]
    is_recorded = close_ns - liquidation_ns <= limit_ns
    newest = open_interest[open_interest.size - 1]
    for side in range(2):
        for memory in range(memories):
            for other in range(2):
                usd = liquidated_usd[1 - side if other else side, memory]
                out[side, other * memories + memory] = math.log1p(usd / scale_usd) if is_recorded else np.nan
        at = 2 * memories
        out[side, at] = math.log1p(max(close_ns - liquidation_ns, 0.0) / 60e9) if is_recorded else np.nan
        for window in windows:
            at += 1
            out[side, at] = math.log(newest / open_interest[open_interest.size - 1 - window])
        out[side, at + 1] = funding_rate * (1e4 if side == 0 else -1e4)
        out[side, at + 2] = (close_ns - funding_ns) / 3600e9


def clock_scalars(close_ns: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Time of day, as the first two harmonics; the same on both sides.

    >>> names, values = clock_scalars(6 * 3600 * 10**9)
    >>> names[:2], [round(float(v), 6) for v in values[:2]]
    (('day_sin', 'day_cos'), [1.0, 0.0])
    """
    turn = 2 * math.pi * (close_ns % 86_400_000_000_000) / 86_400_000_000_000
    return CLOCK_NAMES, np.array([math.sin(turn), math.cos(turn), math.sin(2 * turn), math.cos(2 * turn)])


CLOCK_NAMES = ("day_sin", "day_cos", "half_day_sin", "half_day_cos")
