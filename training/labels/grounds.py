"""Where both kinds of event are recorded: simulated markets, and a run's own record before its first test block."""

from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.market.events import MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.outcomes import (
    Bars,
    Liquidations,
    OpenInterest,
    PriceMeasures,
    cascades,
    price_measures,
    watched,
)
from squeeze.outcomes.label_inputs import label_bars, label_interest
from squeeze.outcomes.rows import liquidations_of, rows
from squeeze.spec import Spec, StreamSpec
from training.config import RunConfig
from training.labels.agreement import Ground, Spans, measured, spans_of
from training.labels.report import span_of

CELL_MINUTES = 15


def simulated_grounds(
    seeds: Sequence[int], days: int = 60, l1: CascadeSpec | None = None, l2: PriceCascadeSpec | None = None
) -> list[Ground]:
    """Simulated markets in which every forced order is published: minutes of mark, open interest and taker flow."""
    from squeeze.simulator import SimulatorSpec, simulate

    found = []
    for seed in seeds:
        market = simulate(SimulatorSpec(days=days), seed)
        closes_ns = market.minute_ns + MINUTE_NS
        bars = Bars(closes_ns, market.mark[:, 1], market.mark[:, 2], market.mark[:, 3], MINUTE_NS)
        interest = OpenInterest(closes_ns, market.open_interest_base)
        taker_base = np.stack([market.volume_base - market.taker_buy_base, market.taker_buy_base], axis=1)
        prints = Liquidations.prints(market.liquidation_ns, market.liquidation_side, market.liquidation_usd)
        events = cascades(prints, bars, interest, l1)
        measures = measured(l2 or PriceCascadeSpec(), partial(price_measures, bars, interest, taker_base))
        found.append(_by_prints(f"simulator seed {seed}", prints, spans_of(events), measures, l1))
    return found


def recorded_ground(
    config: RunConfig, lake: Lake, l1: CascadeSpec | None = None, l2: PriceCascadeSpec | None = None
) -> Ground:
    """A run's record, known before its first test block: onsets by prints, or hours over the label's threshold.

    Bars are the finest that the lake has of the venue, open interest is read where the lake has it, configured or not:
    this compares labels and trains nothing.
    """
    liquidations = config.spec.market.liquidations
    if liquidations is None:
        raise DataError(f"{config.task}: has no market.liquidations that the label could be compared with")
    _, until_ns, _ = span_of(config, lake, rows(lake, config.spec))
    spec = finest(config.spec, lake)
    market = spec.market
    seen = label_bars(lake, spec, None, until_ns)
    kind, venue = "open_interest", market.bars.venue
    has_interest = bool(lake.partitions(kind, venue, market.symbol))
    stream = StreamSpec(venue=venue, kinds=(kind,)) if has_interest else None
    interest = label_interest(lake, stream, market.symbol, None, until_ns)
    if interest is not None and not len(interest.times_ns):
        interest = None  # recorded of other years

    def measure(spec: PriceCascadeSpec) -> PriceMeasures:
        return price_measures(seen.bars, interest, seen.taker_base, spec, seen.basis_log)

    measures = measured(l2 or PriceCascadeSpec(), measure)
    recorded = lake.read(liquidations.kinds[0], liquidations.venue, market.symbol, None, until_ns)
    found = liquidations_of(recorded, config.spec)
    if not found.cadence_ns:
        events = spans_of(cascades(found, seen.bars, interest, l1))
        return _by_prints(config.task, found, events, measures, l1)
    events = sums_over(found, float(config.spec.label.threshold_usd or 0.0))
    watched_l2 = next(iter(measures.values())).watched
    heard = np.isin(-(-seen.bars.closes_ns // found.cadence_ns) * found.cadence_ns, found.recorded_ns[:, 1])
    return Ground(config.task, events, measures, watched_l2 & heard, found.cadence_ns // MINUTE_NS, False)


def _by_prints(
    name: str, found: Liquidations, events: Spans, measures: dict[float, PriceMeasures], l1: CascadeSpec | None
) -> Ground:
    """The ground of L1 onsets: bars at whose close an onset of either side, and an L2 event, would have been found."""
    any_quantile = next(iter(measures.values()))
    at = any_quantile.closes_ns
    common = any_quantile.watched & watched(found, 0, at, l1) & watched(found, 1, at, l1)
    return Ground(name, events, measures, common, CELL_MINUTES, True)


def finest(spec: Spec, lake: Lake) -> Spec:
    """The spec with the shortest bars that the lake has of its kinds, and steps as long."""
    market = spec.market
    lengths = {}
    for kind in market.bars.kinds:
        if kind.startswith("bar_") and lake.partitions(kind, market.bars.venue, market.symbol):
            held = lake.read(kind, market.bars.venue, market.symbol)
            lengths[kind] = int(held["cadence_ns"][0]) // 1_000_000_000
    if not lengths:
        return spec
    kind = min(lengths, key=lengths.__getitem__)
    bars = msgspec.structs.replace(market.bars, kinds=(kind,))
    return msgspec.structs.replace(spec, market=msgspec.structs.replace(market, bars=bars, step_seconds=lengths[kind]))


def sums_over(found: Liquidations, threshold_usd: float) -> Spans:
    """Intervals with more than a threshold of a side, those next to each other as one; the onset is their begin."""
    spans = []
    for side in range(2):
        own = found.side == side
        ends = found.times_ns[own][found.usd[own] > threshold_usd]
        starts = np.flatnonzero(np.diff(ends, prepend=-found.cadence_ns) > found.cadence_ns)
        last = np.append(starts[1:], len(ends))[: len(starts)] - 1
        spans += [(int(ends[a]) - found.cadence_ns, int(ends[b]), side) for a, b in zip(starts, last, strict=True)]
    begin, end, sides = np.array(sorted(spans), np.int64).reshape(-1, 3).T
    return Spans(begin, end, begin + 1, sides)
