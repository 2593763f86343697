"""What labels are made from: a market's steps as bars, its open interest, its liquidations and their holes.

Bars are those that the live path would have seen: events cut into steps. A step that was recorded only in part is left
out, as one that was not recorded at all.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import Feed, Quality
from squeeze.market.lake import Lake, read_events
from squeeze.market.rows import Columns
from squeeze.market.steps import Step, steps
from squeeze.outcomes import Bars, OpenInterest, Stretches
from squeeze.spec import MarketSpec, Spec, StreamSpec, VenueSpec

INDEX = "price_index"
"""The kind from which, beside the mark, the basis comes; it is read where `market.venues` names it."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelBars:
    """Bars of the steps, of the mark where it is recorded; what beside them was never recorded is None."""

    bars: Bars
    taker_base: np.ndarray | None
    """(row, 2): what takers sold and bought."""
    basis_log: np.ndarray | None
    """Log of mark over index at each close."""

    @property
    def stretches(self) -> Stretches:
        """The time that the bars cover."""
        closes_ns = self.bars.closes_ns
        return np.stack([closes_ns - self.bars.length_ns, closes_ns], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class LabelInputs:
    """All that a label of one market is made from, read once; what the event does not need is None."""

    recorded: Columns | None
    """Rows of liquidations, prints or sums."""
    holes: Stretches
    """When nothing of their venue was received."""
    seen: LabelBars | None
    interest: OpenInterest | None
    since_ns: int | None = None
    """Of an onset or a price event only rows from here on are wanted; null for all."""

    @property
    def liquidations(self) -> Columns:
        """Rows of liquidations, where the event needs them."""
        assert self.recorded is not None  # noqa: S101 (`read_inputs` sees to it)
        return self.recorded

    @property
    def prices(self) -> LabelBars:
        """Bars, where the event needs them."""
        assert self.seen is not None  # noqa: S101
        return self.seen


def read_inputs(lake: Lake, spec: Spec, until_ns: int | None = None) -> LabelInputs:
    """What the label of a spec is made from, known before `until_ns`; `DataError` where something is missing."""
    market, event = spec.market, spec.label.event
    recorded, holes = None, np.zeros((0, 2), np.int64)
    if event != "price":
        stream = market.liquidations
        if stream is None:
            raise DataError(f"label {spec.label.name}: needs market.liquidations to be configured")
        recorded = lake.read(stream.kinds[0], stream.venue, market.symbol, None, until_ns)
        holes = holes_of(lake, stream, market.symbol)
        if not len(recorded["event_ns"]):
            raise DataError(
                f"label {spec.label.name}: {stream.venue} {market.symbol} has no {stream.kinds[0]} in its range"
            )
    if event == "threshold":
        return LabelInputs(recorded, holes, None, None)
    seen = label_bars(lake, spec, None, until_ns)
    return LabelInputs(recorded, holes, seen, label_interest(lake, market.open_interest, market.symbol, None, until_ns))


def label_bars(lake: Lake, spec: Spec, start_ns: int | None = None, until_ns: int | None = None) -> LabelBars:
    """The bars of a market's steps, known before `until_ns`; `DataError` where there is none."""
    market = priced(spec.market)
    length_ns = market.step_seconds * 1_000_000_000
    every = steps(read_events(lake, market, start_ns, until_ns), market.symbol, length_ns, spec.map.bin_log)
    rows = [row for step in every if (row := bar_row(step, market)) is not None]
    if not rows:
        raise DataError(
            f"label {spec.label.name}: {market.bars.venue} {market.symbol} has no bar in the range that it asks for"
        )
    closes_ns, values = np.array([row[0] for row in rows], np.int64), np.array([row[1:] for row in rows], float)
    return bars_of(closes_ns, values, market)


BAR_FIELDS = ("high", "low", "close", "sold_base", "bought_base", "index")


def bar_row(step: Step, market: MarketSpec) -> tuple[int, float, float, float, float, float, float] | None:
    """A step's close and its `BAR_FIELDS`; None where it has no price, or was recorded only in part."""
    part = step.venue(market.bars.venue)
    candle = part.last if market.mark is None else step.venue(market.mark.venue).mark
    if candle is None or part.quality & Quality.PARTIAL:
        return None
    sold = part.volume_base - part.taker_buy_base
    return step.close_ns, candle.high, candle.low, candle.close, sold, part.taker_buy_base, part.index_price


def bars_of(closes_ns: np.ndarray, values: np.ndarray, market: MarketSpec) -> LabelBars:
    """Bars from closes (row,) and `BAR_FIELDS` (row, field)."""
    high, low, close, sold, bought, index = values.T
    taker_base, basis_log = np.stack([sold, bought], axis=1), np.log(close / index)
    return LabelBars(
        Bars(closes_ns, high, low, close, market.step_seconds * 1_000_000_000),
        taker_base if np.isfinite(taker_base).any() else None,
        basis_log if market.mark is not None and np.isfinite(basis_log).any() else None,
    )


def priced(market: MarketSpec) -> MarketSpec:
    """The market with nothing but its prices: bars, mark, and index where it is read."""
    venue = market.bars.venue
    reads_index = any(v.venue == venue and INDEX in v.kinds for v in market.venues)
    return msgspec.structs.replace(
        market,
        open_interest=None,
        funding=None,
        liquidations=None,
        venues=(VenueSpec(venue=venue, kinds=(INDEX,)),) if reads_index else (),
    )


def label_interest(
    lake: Lake, stream: StreamSpec | None, symbol: str, start_ns: int | None = None, until_ns: int | None = None
) -> OpenInterest | None:
    """Stamps of a stream of open interest; None where the market is configured without."""
    if stream is None:
        return None
    rows = lake.read(stream.kinds[0], stream.venue, symbol, start_ns, until_ns)
    order = np.argsort(rows["event_ns"], kind="stable")
    return OpenInterest(rows["event_ns"][order], rows["open_interest_base"][order])


def holes_of(lake: Lake, stream: StreamSpec, symbol: str) -> Stretches:
    """When nothing of a venue was received, by the gaps that were recorded of its whole connection."""
    if not lake.partitions("gap", stream.venue, symbol):
        return np.zeros((0, 2), np.int64)
    gaps = lake.read("gap", stream.venue, symbol)
    is_whole = gaps["feed"] == Feed.ALL
    return np.stack([gaps["event_ns"][is_whole], gaps["known_at_ns"][is_whole]], axis=1)


def completeness(quality: np.ndarray) -> str:
    """What a venue says of its own liquidation records, by their flags.

    >>> completeness(np.array([0, 4]))
    'sampled'
    """
    flags = int(np.bitwise_or.reduce(quality)) if len(quality) else 0
    if flags & Quality.SAMPLED:
        return "sampled"
    return "undercounted" if flags & Quality.UNDERCOUNTED else "not flagged as incomplete"
