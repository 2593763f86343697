"""What a map was told, step by step, as columns: folded as often as one likes, and stopped to be looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from squeeze.arrays import StepTimes
from squeeze.heatmaps.liquidation import FlowColumns, LiquidationMap
from squeeze.heatmaps.protocol import Traded
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.simulator import SimulatedMarket
from squeeze.spec import MapSpec
from squeeze.tools.sweeps import SweepHistory

LEVERAGES = (5.0, 10.0, 20.0, 25.0, 50.0, 100.0)
"""Buckets of a judged map: those of the default spec, and 25 for the popular weights that name it."""
OF_SPEC = (0, 1, 2, 4, 5)
"""Those of the default spec."""

POPULAR = {
    "10/25/50/100x: .30 .35 .25 .10": (0.0, 0.30, 0.0, 0.35, 0.25, 0.10),
    "5/10/25/50/100x: .15 .30 .25 .20 .10": (0.15, 0.30, 0.0, 0.25, 0.20, 0.10),
    "10/25/50/100x alike": (0.0, 0.25, 0.0, 0.25, 0.25, 0.25),
    "25/50/100x alike": (0.0, 0.0, 0.0, 1 / 3, 1 / 3, 1 / 3),
}
"""Fixed weights of the tools in domain.md §3.4, on `LEVERAGES`: mgcha85, gptprojectmanager, and the leverages of
py-liquidation-map and of Hyblock, whose weights are not published."""

Swept = Float[np.ndarray, "step side bucket"]
Rows = Int[np.ndarray, " row"]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """The steps of one market's map, in order of time; steps that it was not told of are not here."""

    closes_ns: StepTimes
    mark: Float[np.ndarray, "step low_high_close"]
    traded: Float[np.ndarray, "step low_high"]
    buy_base: Float[np.ndarray, " step"]
    sell_base: Float[np.ndarray, " step"]
    open_interest_base: Float[np.ndarray, " step"]
    length_ns: int
    flow: tuple[Traded | None, ...] | None
    """What takers did by price, where that was recorded; None where it never was."""
    starts: Bool[np.ndarray, " step"]
    """Whether a new map begins with the step."""
    seen: Bool[np.ndarray, " step"]
    """Whether the map was warm."""

    @property
    def days(self) -> Int64[np.ndarray, " step"]:
        """The UTC day of each step's opening."""
        return np.asarray((self.closes_ns - self.length_ns) // DAY_NS)

    def row_at(self, at_ns: np.ndarray) -> Rows:
        """The last step that closed at or before each time; -1 before the first."""
        return np.asarray(np.searchsorted(self.closes_ns, at_ns, "right") - 1)

    def steps_in(self, minutes: int) -> int:
        """Steps in so many minutes, at least one."""
        return max(1, minutes * MINUTE_NS // self.length_ns)

    def until(self, until_ns: int) -> "Past":
        """The steps that closed by a time."""
        count = int(self.row_at(np.array(until_ns))) + 1
        each = {name: getattr(self, name) for name in self.__slots__}
        return Past(**{k: v[:count] if k != "length_ns" and v is not None else v for k, v in each.items()})

    def fold(self, spec: MapSpec, stops: Rows) -> Iterator[tuple[int, int, LiquidationMap, Swept]]:
        """The map after each of the steps `stops` (rising), with what was swept since the one before: (first step,
        end, map, swept). Ends at the last stop; a map that begins anew ends a stretch, too.
        """
        ends = np.unique(np.concatenate([stops + 1, np.flatnonzero(self.starts)]))
        first, held = 0, LiquidationMap(spec)
        for end in ends[(ends > 0) & (ends <= (stops[-1] + 1 if len(stops) else 0))].tolist():
            if self.starts[first]:
                held = LiquidationMap(spec)
            at = slice(first, end)
            flow = None if self.flow is None else FlowColumns.of(self.flow[at])
            swept, _ = held.fold(
                self.mark[at], self.traded[at], self.buy_base[at], self.sell_base[at], self.open_interest_base[at],
                self.closes_ns[at] / DAY_NS, self.length_ns / DAY_NS, flow,
            )  # fmt: skip
            yield first, end, held, swept
            first = end


def judged_spec(spec: MapSpec, **changes: Any) -> MapSpec:
    """The spec with the buckets of `LEVERAGES`: its own prior on its own, nothing on the others."""
    prior = dict(zip(spec.leverages, spec.prior_weights, strict=True))
    buckets = {"leverages": LEVERAGES, "prior_weights": tuple(prior.get(each, 0.0) for each in LEVERAGES)}
    return msgspec.structs.replace(spec, **buckets, view_hours=(), **changes)


def simulated(market: SimulatedMarket, warm_up_days: int = 14) -> Past:
    """What a simulated market shows by the minute, open interest stamped at each close."""
    sells = market.volume_base - market.taker_buy_base
    length = len(market.minute_ns)
    return Past(
        closes_ns=market.minute_ns + MINUTE_NS,
        mark=market.mark[:, [2, 1, 3]],
        traded=market.last[:, [2, 1]],
        buy_base=market.taker_buy_base,
        sell_base=np.maximum(sells, 0.0),
        open_interest_base=market.open_interest_base,
        length_ns=MINUTE_NS,
        flow=None,
        starts=np.arange(length) == 0,
        seen=np.arange(length) >= 1440 * warm_up_days,
    )


def recorded(history: SweepHistory) -> Past:
    """What the map of a recorded history was told, without the steps in which it was told nothing."""
    rows = [row for row, told in enumerate(history.told) if told is not None]
    told = [each for each in history.told if each is not None]
    inputs = [(*given, *named.values()) for _, given, named in told]
    flows = tuple(each[7] if len(each) > 7 else None for each in inputs)

    def column(place: int) -> np.ndarray:
        return np.array([each[place] for each in inputs], dtype=np.float64)

    return Past(
        closes_ns=history.closes_ns[rows],
        mark=column(0).reshape(-1, 3),
        traded=column(1).reshape(-1, 2),
        buy_base=column(2),
        sell_base=column(3),
        open_interest_base=column(4),
        length_ns=history.length_ns,
        flow=flows if any(flow is not None for flow in flows) else None,
        starts=np.array([is_new for is_new, _, _ in told], dtype=bool),
        seen=history.seen[rows],
    )


def swept_of(past: Past, spec: MapSpec) -> Swept:
    """What the mark went through in each step, unit mass in coins."""
    parts: Sequence[np.ndarray] = [part for *_, part in past.fold(spec, np.array([len(past.closes_ns) - 1]))]
    return np.concatenate(parts)
