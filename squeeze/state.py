"""The fold: `MarketState.advance(step) -> Frame`, the one step that history and the live path share."""

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np

from squeeze.arrays import Channels, Scalars
from squeeze.atlas import Atlas, Page
from squeeze.errors import StepError
from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.heatmaps.protocol import PARTIAL, traded
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, Liquidation, LiquidationSum
from squeeze.market.steps import Step
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.scalars.flow import CLOCK_NAMES, FlowScalars, clock_scalars
from squeeze.scalars.heat import HeatScalars
from squeeze.scalars.price import PriceScalars, TrailingBars
from squeeze.spec import Spec
from squeeze.venue_maps import distances_log
from squeeze.zones.extract import Zone, zones


class Degraded(IntFlag):
    """Inputs replaced by something poorer; not an error, but a model trained without them knows nothing better."""

    NONE = 0
    MARK_IS_LAST = 1
    TAKER_FLOW_HALF = 2
    """Taker buys and sells were taken to be half each."""
    VOLUME_UNIFORM = 4
    """A bar's volume was spread evenly from its low to its high."""
    OPEN_INTEREST_FROM_VOLUME = 8
    LIQUIDATIONS_MERGED = 16
    """Several venues' liquidations come as one sum."""
    PARTIAL_BAR = 32
    """The bars of this step do not cover it exactly."""
    OPEN_INTEREST_RESCALED = 64
    """A bucket of the map had outgrown open interest and was scaled down."""
    PART_LEFT_OUT = 128
    """Something of a venue's part made no sense (a crossed book, say) and was left out."""
    OPEN_INTEREST_JUMPED = 256
    """A stamp of open interest was taken for a change of counting: neither opened nor closed."""
    FUNDING_INTERVAL_CHANGED = 512
    """A venue settles at another interval than before."""


class Unhealthy(IntFlag):
    """Why no probability may be drawn from a frame; empty when one may."""

    NONE = 0
    WARMING_UP = 1
    BARS_STALE = 2
    MARK_STALE = 4
    OPEN_INTEREST_STALE = 8
    FUNDING_STALE = 16
    LIQUIDATIONS_STALE = 32
    NOT_FINITE = 64


BLIND = Unhealthy.WARMING_UP | Unhealthy.BARS_STALE | Unhealthy.NOT_FINITE
"""With any of these there is nothing to see and the model's state waits; with others only the answer is withheld."""


def flag_names(flags: IntFlag) -> tuple[str, ...]:
    """Lower-case names of the flags that are set.

    >>> flag_names(Unhealthy.WARMING_UP | Unhealthy.BARS_STALE)
    ('warming_up', 'bars_stale')
    """
    return tuple(flag.name.lower() for flag in type(flags) if flag in flags and flag.name)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One step as the network sees it; everything in it was known at `close_ns`.

    `channels` (side, channel, price) follow `MarketState.channel_names`, in bins of `bin_width_log` outward from the
    mark: per leverage bucket the share of open interest, then the chosen maps of the atlas, NaN where not recorded.
    `scalars` follow `MarketState.scalar_names`; NaN where a value was not recorded or does not exist. `swept_share` is
    the share of open interest that this step's mark range went through, per side, under the prior weights.
    """

    symbol: str
    close_ns: int
    mark: Candle
    channels: Channels
    scalars: Scalars
    bin_width_log: float
    swept_share: np.ndarray
    zones: tuple[Zone, ...]
    degraded: Degraded
    unhealthy: Unhealthy
    page: Page | None = None
    """What the atlas shows, if the spec has one; None in a step without a mark."""


class MarketState:
    """All that is remembered of one market.

    `advance` folds one step in and returns its frame; a step that is refused (`StepError`) leaves the state as it was.
    Steps follow each other without a hole: a tick in which nothing was known is an empty step, and an empty step takes
    the place of a refused one.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        market, frame = spec.market, spec.frame
        self.length_ns = market.step_seconds * 1_000_000_000
        self.price = PriceScalars(frame, market.step_seconds)
        self.flow = FlowScalars(frame, market.step_seconds)
        self.heat = HeatScalars(frame, spec.map.bin_log, market.step_seconds)
        self._distances_log = distances_log(spec, market.bars.venue)
        self.map = LiquidationMap(spec.map, self._distances_log)
        self.bars = TrailingBars(self.price.capacity)
        self._velocity = self.price.names.index("approach_velocity")
        self.closed_ns = 0
        self.started_ns = 0
        """When the map began to fill; 0 before the first bar."""
        self.bar_ns = 0
        self.mark_ns = 0
        self.atlas = None if spec.atlas is None else Atlas(spec)
        self.scalar_names = (*self.price.names, *self.heat.names, *self.flow.names, *CLOCK_NAMES)
        self.scalar_names += () if self.atlas is None else self.atlas.scalar_names
        self.channel_names = tuple(f"unit_{leverage:g}x" for leverage in spec.map.leverages)
        self.channel_names += () if self.atlas is None else self.atlas.chosen
        standing = _standing_degradation(spec)
        self._degraded = standing, standing | Degraded.VOLUME_UNIFORM
        self._stale = [
            (Unhealthy[f"{name.upper()}_STALE"], name, stream.stale_minutes * MINUTE_NS)
            for name, stream in market.streams().items()
            if stream.stale_minutes is not None
        ]

    def advance(self, step: Step) -> Frame:
        """Fold one step in; the frame of what is known at its close."""
        bars = step.venue(self.spec.market.bars.venue)
        mark = bars.last if self.spec.market.mark is None else step.venue(self.spec.market.mark.venue).mark
        self._check(step, bars, mark)
        flow = None if bars.flow is None else traded(bars, self.spec.map.bin_log)
        degraded = self._degraded[flow is None and bars.volume_base != 0]
        if bars.quality & PARTIAL:
            degraded |= Degraded.PARTIAL_BAR
        self.flow.fade_to(step.close_ns)
        self._take_flows(step)
        self.closed_ns = step.close_ns
        if bars.last is None:
            if self.atlas is not None:
                degraded |= self._turn_page(self.atlas, step, None)
            return self._blank(step, degraded, Unhealthy.BARS_STALE)
        if step.close_ns - max(self.bar_ns, self.started_ns) > self.spec.market.gap_reset_hours * HOUR_NS:
            self._restart(step.close_ns - self.length_ns)
        self.bar_ns = bars.last.event_ns
        if mark is None:
            mark, degraded = bars.last, degraded | Degraded.MARK_IS_LAST
        else:
            self.mark_ns = mark.event_ns
        self.bars.push(mark.open, mark.high, mark.low, mark.close, _or(bars.volume_base, 0.0))
        if math.isnan(bars.taker_buy_base):
            degraded |= Degraded.TAKER_FLOW_HALF
        buys = _or(bars.taker_buy_base, bars.volume_base / 2)
        recounts = self.map.recounts
        swept, rescaled = self.map.step(
            (mark.low, mark.high, mark.close),
            (bars.last.low, bars.last.high),
            _or(buys, 0.0),
            max(_or(bars.volume_base - buys, 0.0), 0.0),
            self.flow.take_stamp(),
            step.close_ns / DAY_NS,
            self.length_ns / DAY_NS,
            flow,
        )
        if rescaled:
            jumped = self.map.recounts > recounts
            degraded |= Degraded.OPEN_INTEREST_JUMPED if jumped else Degraded.OPEN_INTEREST_RESCALED
        if self.atlas is not None:
            degraded |= self._turn_page(self.atlas, step, mark)
        if not self.map.open_interest_base > 0:
            return self._blank(step, degraded, Unhealthy.NOT_FINITE)
        swept_share = swept @ self.map.prior / self.map.open_interest_base
        self.heat.sweep(swept_share)
        return self._frame(step, mark, swept_share, degraded)

    def _check(self, step: Step, bars: VenueStep, mark: Candle | None) -> None:
        if step.symbol != self.spec.market.symbol:
            raise StepError(f"expected a step of {self.spec.market.symbol}, got {step.symbol}")
        if step.length_ns != self.length_ns or step.close_ns % self.length_ns:
            raise StepError(
                f"expected a step of {self.length_ns} ns on that grid, got {step.length_ns} ns at {step.close_ns}"
            )
        if self.closed_ns and step.close_ns != self.closed_ns + self.length_ns:
            raise StepError(f"a step at {step.close_ns} does not follow the one at {self.closed_ns}")
        for name, bar in (("last", bars.last), ("mark", mark)):
            # Each price against both borders: min() and max() would let a NaN close pass.
            if bar is not None and not (
                0 < bar.low <= bar.open <= bar.high < math.inf and bar.low <= bar.close <= bar.high
            ):
                raise StepError(f"the {name} candle at {step.close_ns} is no candle: {bar}")
        for name, coins in (("volume_base", bars.volume_base), ("taker_buy_base", bars.taker_buy_base)):
            if coins < 0 or coins == math.inf:
                raise StepError(f"{name} at {step.close_ns} must be finite and not negative, got {coins}")

    def _take_flows(self, step: Step) -> None:
        """Take in the slow streams."""
        market = self.spec.market
        stamp_base = math.nan
        if market.open_interest is not None:
            for stamp in step.venue(market.open_interest.venue).open_interest:
                if 0 < stamp.open_interest_base < math.inf and not stamp.event_ns <= self.flow.numbers[3]:
                    stamp_base, self.flow.numbers[3] = stamp.open_interest_base, stamp.event_ns
            self.flow.push_open_interest(stamp_base)
        if market.funding is not None:
            for funding in step.venue(market.funding.venue).funding:
                if math.isfinite(funding.funding_rate) and not funding.event_ns <= self.flow.numbers[1]:
                    self.flow.numbers[:2] = funding.funding_rate, funding.event_ns
        if market.liquidations is not None:
            for record in step.venue(market.liquidations.venue).liquidations:
                self._take_liquidation(record, step.close_ns)

    def _take_liquidation(self, record: Liquidation | LiquidationSum, close_ns: int) -> None:
        amounts = (record.long_usd, record.short_usd) if isinstance(record, LiquidationSum) else (record.usd,)
        if not all(0 <= usd < math.inf for usd in amounts) or getattr(record, "side", 0) not in (0, 1):
            return  # not recorded
        if isinstance(record, LiquidationSum):
            self.flow.add_sum(record.long_usd, record.short_usd, record.cadence_ns)
        else:
            self.flow.add_print(record.side, record.usd, close_ns, close_ns - record.known_at_ns)
        newest = self.flow.numbers[2]
        self.flow.numbers[2] = record.event_ns if math.isnan(newest) else max(newest, record.event_ns)

    def _restart(self, started_ns: int) -> None:
        """Begin anew after a hole that the map cannot bridge (and at the first bar)."""
        self.map = LiquidationMap(self.spec.map, self._distances_log)
        self.bars = TrailingBars(self.price.capacity)
        self.heat.swept_share[...] = 0.0
        self.started_ns = started_ns

    def _frame(self, step: Step, mark: Candle, swept_share: np.ndarray, degraded: Degraded) -> Frame:
        spec = self.spec.frame
        bars = self.bars.window()
        price, sigma = self.price.values(bars)
        width = max(spec.bin_log or spec.bin_sigmas * sigma, self.spec.map.bin_log / 2)
        open_interest = self.map.open_interest_base
        units = (self.map.outward(mark.close, width, spec.price_bins) / open_interest).astype(np.float32)
        mass, born = self.map.profile(mark.close, self.heat.reach_bins)
        share = mass / open_interest
        found = zones(share, born / open_interest, step.close_ns / DAY_NS, self.spec.map.bin_log, spec)
        velocity = price[:, self._velocity]
        heat = self.heat.values(share, found, sigma, velocity)
        page = None if self.atlas is None else self.atlas.page(mark.close, width, spec.price_bins)
        channels = units if page is None else np.concatenate([units, page.channels], axis=1)
        scalars = self._row(price, heat, step.close_ns, page)
        unhealthy = self._unhealthy(step.close_ns)
        volume_base = step.venue(self.spec.market.bars.venue).volume_base
        # One sum instead of a question for each: it is finite only if all of them are. Of the atlas nothing is asked.
        if not math.isfinite(units.sum() + price.sum() + volume_base):
            unhealthy |= Unhealthy.NOT_FINITE
        return Frame(
            step.symbol, step.close_ns, mark, channels, scalars, width, swept_share, tuple(found), degraded, unhealthy,
            page,
        )  # fmt: skip

    def _turn_page(self, atlas: Atlas, step: Step, mark: Candle | None) -> Degraded:
        """Have the atlas follow; what it had to leave out or take for a change of counting."""
        before = atlas.counts.tolist()
        atlas.step(step, mark, self.map)
        counts = atlas.counts.tolist()
        if counts == before:
            return Degraded.NONE
        flags = (Degraded.PART_LEFT_OUT, Degraded.OPEN_INTEREST_JUMPED, Degraded.FUNDING_INTERVAL_CHANGED)
        return Degraded(sum(flag for flag, old, new in zip(flags, before, counts, strict=True) if new > old))

    def _blank(self, step: Step, degraded: Degraded, reason: Unhealthy) -> Frame:
        """The frame of a step without a bar, or before open interest is known: nothing but NaN, and the reason."""
        spec = self.spec.frame
        nothing = Candle(math.nan, math.nan, math.nan, math.nan, 0)
        channels = np.full((2, len(self.channel_names), spec.price_bins), np.nan, np.float32)
        scalars = np.full((2, len(self.scalar_names)), np.nan, np.float32)
        unhealthy = self._unhealthy(step.close_ns) | reason
        return Frame(
            step.symbol, step.close_ns, nothing, channels, scalars, math.nan, np.zeros(2), (), degraded, unhealthy
        )

    def _row(self, price: np.ndarray, heat: np.ndarray, close_ns: int, page: Page | None) -> Scalars:
        stream = self.spec.market.liquidations
        limit = math.inf if stream is None or stream.stale_minutes is None else stream.stale_minutes * MINUTE_NS
        clock = np.empty((2, len(CLOCK_NAMES)))
        clock[:] = clock_scalars(close_ns)[1]
        rows = [price, heat, self.flow.values(close_ns, limit), clock]
        rows += [] if page is None else [page.scalars]
        return np.concatenate(rows, axis=1).astype(np.float32)

    def _unhealthy(self, close_ns: int) -> Unhealthy:
        reasons = Unhealthy.NONE
        market = self.spec.market
        if not self.started_ns or close_ns - self.started_ns < market.warm_up_hours * HOUR_NS:
            reasons |= Unhealthy.WARMING_UP
        newest = {
            "bars": self.bar_ns,
            "mark": self.mark_ns,
            "open_interest": self.flow.numbers[3],
            "funding": self.flow.numbers[1],
            "liquidations": self.flow.numbers[2],
        }
        for reason, name, limit_ns in self._stale:
            if not close_ns - newest[name] <= limit_ns:  # so that NaN, a stream that never spoke, counts as stale
                reasons |= reason
        return reasons

    def snapshot(self) -> bytes:
        """The whole state as bytes (NumPy's npz without pickle), good for `restore` under the same spec."""
        return self.freeze()()

    def freeze(self) -> Callable[[], bytes]:
        """The state as it is now, copied: what is returned makes the bytes of `snapshot`, in any thread, at any time.

        A copy takes milliseconds, compressing it a second for a model that reads books.
        """
        clocks = {name: getattr(self, name) for name in CLOCKS} | {"bars.count": self.bars.count}
        header = {"spec": self.spec.digest(), "clocks": clocks}
        arrays: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
        arrays |= {name: array.copy() for name, array in self._arrays().items()}

        def packed() -> bytes:
            out = io.BytesIO()
            np.savez_compressed(out, **arrays)
            return out.getvalue()

        return packed

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot; `StepError`, and nothing has changed, if it is none or another spec's."""
        header, arrays = read_snapshot(snapshot)
        if header.get("spec") != self.spec.digest():
            raise StepError(
                f"the snapshot was taken under spec {header.get('spec')}, this state has {self.spec.digest()}"
            )
        clocks, held = header.get("clocks", {}), self._arrays()
        missing = {*CLOCKS, "bars.count"} - clocks.keys()
        missing |= {name for name, array in held.items() if name not in arrays or arrays[name].shape != array.shape}
        if missing:
            raise StepError(f"the snapshot lacks {', '.join(sorted(missing))}, or they do not fit")
        for name, array in held.items():
            array[...] = arrays[name]
        self.bars.count = clocks["bars.count"]
        if self.atlas is not None:
            self.atlas.scene = None  # of the step before, and nothing reads it but its page
        for name in CLOCKS:
            setattr(self, name, clocks[name])

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every array that carries state, as it is."""
        arrays = {f"map.{name}": array for name, array in self.map.arrays().items()}
        arrays |= {f"flow.{name}": getattr(self.flow, name) for name in FLOW_ARRAYS}
        arrays |= {"bars.ring": self.bars.ring, "heat.swept_share": self.heat.swept_share}
        if self.atlas is not None:
            arrays |= {f"atlas.{name}": array for name, array in self.atlas.arrays().items()}
        return arrays


CLOCKS = ("closed_ns", "started_ns", "bar_ns", "mark_ns")
FLOW_ARRAYS = ("liquidated_usd", "open_interest", "numbers")


def read_snapshot(snapshot: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a snapshot; `StepError` for anything else."""
    try:
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        header: dict[str, Any] = dict(json.loads(arrays.pop("header").tobytes()))
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen types between them
        raise StepError(f"not a snapshot: {error}") from None
    return header, arrays


def _or(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value


def _standing_degradation(spec: Spec) -> Degraded:
    """What the spec itself says is poorer than the real thing, in every step."""
    degraded = Degraded.NONE
    if spec.market.mark is None:
        degraded |= Degraded.MARK_IS_LAST
    if spec.map.open_interest == "volume":
        degraded |= Degraded.OPEN_INTEREST_FROM_VOLUME
    if spec.market.liquidations is not None and "+" in spec.market.liquidations.venue:
        degraded |= Degraded.LIQUIDATIONS_MERGED
    return degraded
