"""One venue's heatmaps, and its part of a step made sound before they see it."""

import math
from collections.abc import Callable

import msgspec
import numpy as np

from squeeze.atlas_spec import AtlasSpec
from squeeze.errors import StepError
from squeeze.heatmaps.flow import FlowMap
from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.heatmaps.open_interest import OpenInterestMap
from squeeze.heatmaps.order_book import OrderBookMap
from squeeze.heatmaps.protocol import HeatMap, check_candle, has_hole, traded
from squeeze.heatmaps.volume_profile import VolumeProfile
from squeeze.market.events import HOUR_NS, Liquidation, LiquidationSum, Quality
from squeeze.market.steps import SILENT, Step
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.spec import Spec

LIQUIDATIONS = "liquidation"
"""What the names of kinds that hold liquidations begin with."""


def distances_log(spec: Spec, name: str) -> np.ndarray | None:
    """What the spec says of a venue's way from entry to liquidation price; None for the formula."""
    given = next((venue.distances_log for venue in spec.market.venues if venue.venue == name), None)
    return None if given is None else np.array(given)


class VenueMaps:
    """Folded together; `liquidation` is the model's own map where the venue is that of the bars."""

    def __init__(self, spec: Spec, atlas: AtlasSpec, name: str) -> None:
        self.spec, self.name = spec, name
        self.is_main = name == spec.market.bars.venue
        bins, step = {"bin_log": spec.map.bin_log}, {"step_seconds": spec.market.step_seconds}
        replace = msgspec.structs.replace
        self.volume = VolumeProfile(replace(atlas.volume_profile, **bins, **step))
        self.interest = OpenInterestMap(replace(atlas.open_interest, **bins, **step))
        self.book = OrderBookMap(replace(atlas.order_book, **bins))
        self.flow = FlowMap(replace(atlas.flow, **bins, **step))
        self.maps: tuple[HeatMap[VenueStep], ...] = (self.volume, self.interest, self.book, self.flow)
        mode = spec.map.open_interest
        self.map_spec = spec.map if mode != "volume" or self.is_main else replace(spec.map, open_interest="stamps")
        self.liquidation = LiquidationMap(self.map_spec, distances_log(spec, name))
        kinds = spec.market.kinds().get(name, ())  # nothing is read of a venue that is only named
        self.hears_liquidations = any(kind.startswith(LIQUIDATIONS) for kind in kinds)
        self.clock = np.zeros(2, dtype=np.int64)
        """Close of the last step that fed the liquidation map, and of the last stamp it took."""

    @property
    def fed_ns(self) -> int:
        """When the liquidation map last took something in; 0 before that."""
        return int(self.clock[0])

    @property
    def open_interest_base(self) -> float:
        """What the liquidation map is measured against; NaN before the first."""
        return self.liquidation.open_interest_base

    def step(self, part: VenueStep, mark: Candle, step: Step, main: LiquidationMap) -> bool:
        """Fold one step of a sound part in; `mark` is the market's, for where the venue's own is not known.

        Returns whether its book made no sense, and was left out.
        """
        own = part.mark or mark
        for one in (self.volume, self.interest, self.flow):
            one.step(part, own, step.close_ns)
        is_refused = _refuses(self.book.step, part, own, step.close_ns)
        if is_refused:
            self.book.step(msgspec.structs.replace(part, book=None), own, step.close_ns)
        if self.is_main:
            self.liquidation = main
            if part.last is not None:
                self.clock[0] = step.close_ns
        elif part.mark is not None or part.last is not None or part.flow is not None or part.open_interest:
            self._feed(part, own, step)
        return is_refused

    def _feed(self, part: VenueStep, mark: Candle, step: Step) -> None:
        """Have the venue's own liquidation map follow; after too long a silence it begins anew."""
        if self.fed_ns and step.close_ns - self.fed_ns > self.spec.market.gap_reset_hours * HOUR_NS:
            self.liquidation = LiquidationMap(self.map_spec, distances_log(self.spec, self.name))
        self.clock[0] = step.close_ns
        stamp_base = math.nan
        for stamp in part.open_interest:
            if 0 < stamp.open_interest_base < math.inf and stamp.event_ns > self.clock[1]:
                stamp_base, self.clock[1] = stamp.open_interest_base, stamp.event_ns
        flow = traded(part, self.spec.map.bin_log)
        self.liquidation.feed(mark, flow, stamp_base, step.close_ns, step.length_ns)

    def liquidated(self, part: VenueStep) -> tuple[float, float, int]:
        """USD of longs and shorts in a step, NaN if it was silent, is not heard or told an amount that is none; whether
        that is all: 1 yes, 0 no, -1 unknown.
        """
        complete = part.liquidations_completeness
        known = -1 if complete is None else int(complete == Quality.GOOD and not has_hole(part))
        if not self.hears_liquidations or part is SILENT:
            return math.nan, math.nan, known
        amounts = [0.0, 0.0]
        for record in part.liquidations:
            both = (record.long_usd, record.short_usd) if isinstance(record, LiquidationSum) else (record.usd,)
            if not all(0 <= usd < math.inf for usd in both) or getattr(record, "side", 0) not in (0, 1):
                return math.nan, math.nan, known
            first = record.side if isinstance(record, Liquidation) else 0
            for side, usd in enumerate(both, first):
                amounts[side] += usd
        return amounts[0], amounts[1], known

    def liquidation_outward(self, mark: float, width_log: float, bins: int) -> np.ndarray:
        """(side, 1, price): prior-weighted share of the venue's open interest; NaN before that is known."""
        if not self.open_interest_base > 0:
            return np.full((2, 1, bins), math.nan)
        return self.liquidation.share_outward(mark, width_log, bins)

    def book_outward(self, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin): USD that rest, by whole bins from the mark's own; NaN where not covered."""
        if self.book.stale:
            return np.full((2, bins), math.nan)
        return self.book.window.whole_bins(self.book.usd, mark_bin, bins)

    def volume_outward(self, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin): coins traded in the volume profile's first window; NaN where not recorded."""
        return self.volume.whole_bins(0, mark_bin, bins)

    def interest_outward(self, mark_bin: int, bins: int) -> np.ndarray:
        """(side, bin): coins of open interest opened in the second window; NaN where not recorded."""
        return self.interest.whole_bins(min(1, len(self.interest.rolling.windows_ns) - 1), mark_bin, bins)

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state; without the liquidation map where that is the model's."""
        parts: dict[str, HeatMap[VenueStep]] = {
            "volume": self.volume, "interest": self.interest, "book": self.book, "flow": self.flow,
        }  # fmt: skip
        arrays = {f"{name}.{inner}": array for name, one in parts.items() for inner, array in one.arrays().items()}
        if not self.is_main:
            arrays |= {f"liquidation.{name}": array for name, array in self.liquidation.arrays().items()}
        return arrays | {"clock": self.clock}


def sound(part: VenueStep, bin_log: float) -> tuple[VenueStep, int]:
    """A part without what makes no sense, and how many things that were.

    A candle that is none, and amounts that are negative or not finite.
    """
    changes: dict[str, object] = {}
    for name, candle in (("last", part.last), ("mark", part.mark)):
        if candle is not None and _refuses(check_candle, name, candle):
            changes[name] = None
    whole = msgspec.structs.replace(part, last=None) if "last" in changes else part
    if _refuses(traded, whole, bin_log):
        changes |= {"flow": None, "volume_base": math.nan, "taker_buy_base": math.nan}
    return (msgspec.structs.replace(part, **changes), len(changes)) if changes else (part, 0)


def _refuses(check: Callable[..., object], *args: object) -> bool:
    try:
        check(*args)
    except StepError:
        return True
    return False
