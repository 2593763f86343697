"""A market folded through `MarketState` for people to look at: recorded in a lake, or simulated."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from squeeze.atlas_spec import AtlasSpec
from squeeze.errors import LakeError
from squeeze.market.events import DAY_NS, AnyEvent
from squeeze.market.lake import Lake, read_events
from squeeze.market.rows import events_of
from squeeze.market.steps import Step, steps
from squeeze.spec import MarketSpec, Spec, StreamSpec, VenueSpec
from squeeze.state import Frame, MarketState
from squeeze.strict import utc_ns
from squeeze.tools.study.task import simulated_task

KINDS = ("trade", "price_mark", "open_interest", "funding", "funding_forecast", "liquidation", "book")
"""What a simulated venue publishes."""


class Folded(NamedTuple):
    """A step, the state after it, and the frame that it made."""

    step: Step
    state: MarketState
    frame: Frame


def with_atlas(spec: Spec) -> Spec:
    """The spec, with the default atlas where it has none: pictures and history show every heatmap."""
    return spec if spec.atlas is not None else msgspec.structs.replace(spec, atlas=AtlasSpec())


def folded(spec: Spec, events: Iterable[AnyEvent]) -> Iterator[Folded]:
    """History as the live path would have seen it, a step at a time; the state goes on changing."""
    state = MarketState(spec)
    for step in steps(events, spec.market.symbol, state.length_ns, spec.map.bin_log):
        yield Folded(step, state, state.advance(step))


def recorded(lake: Lake, spec: Spec, start_ns: int | None, end_ns: int | None) -> Iterator[AnyEvent]:
    """All events that were known by `end_ns`; inputs of the atlas that the lake lacks are left out.

    `LakeError` where it lacks an input of the model.
    """
    market = spec.market
    venues = []
    for venue in market.venues:
        kinds = tuple(k for k in venue.kinds if lake.partitions(k, venue.venue, market.symbol))
        venues.append(msgspec.structs.replace(venue, kinds=kinds))
    market = msgspec.structs.replace(market, venues=tuple(venues))
    return read_events(lake, market, start_ns, None if end_ns is None else end_ns + 1)


def last_known_ns(lake: Lake, spec: Spec) -> int:
    """When the newest bar of a market became known."""
    market = spec.market
    found = [
        int(rows["known_at_ns"][-1])
        for rows in lake.columns_of(market.bars, market.symbol).values()
        if len(rows["known_at_ns"])
    ]
    if not found:
        raise LakeError(f"{lake.root}: no bars of {market.bars.venue} {market.symbol}")
    return max(found)


def simulated_spec() -> Spec:
    """The market of `simulated` by the minute, with the atlas of its three venues."""
    from squeeze.simulator import three_exchanges

    plain = simulated_task().spec
    names = [venue.name for venue in three_exchanges(1).venues]

    def stream(kind: str) -> StreamSpec:
        return StreamSpec(venue=names[0], kinds=(kind,))

    market = MarketSpec(
        symbol=plain.market.symbol,
        bars=stream("trade"),
        mark=stream("price_mark"),
        open_interest=stream("open_interest"),
        funding=stream("funding"),
        liquidations=stream("liquidation"),
        venues=tuple(VenueSpec(venue=name, kinds=KINDS) for name in names),
        warm_up_hours=plain.market.warm_up_hours,
    )
    return with_atlas(msgspec.structs.replace(plain, market=market))


def simulated_range(days: int) -> tuple[int, int]:
    """Where a simulated market of so many days begins and ends."""
    from squeeze.simulator import three_exchanges

    begins_ns = utc_ns(three_exchanges(days).start)
    return begins_ns, begins_ns + days * DAY_NS


def simulated(days: int, seed: int, book_days: int, book_minutes: int) -> Iterator[AnyEvent]:
    """So many days of three venues, with books every so many minutes on the last `book_days`: they take the time."""
    from squeeze.simulator import Publication, published, simulate, three_exchanges

    market = simulate(three_exchanges(days), seed)
    _, ends_ns = simulated_range(days)
    waiting: list[AnyEvent] = []
    for day in range(days):
        with_books = day >= days - book_days
        what = Publication(prices="trades", book_minutes=book_minutes if with_books else 0)
        for (kind, venue), columns in published(market, day, what).items():
            waiting.extend(events_of(kind, venue, market.spec.symbol, columns))
        waiting.sort(key=lambda event: event.known_at_ns)  # stable: what is known at once keeps its order
        end_ns = ends_ns - (days - 1 - day) * DAY_NS
        count = sum(event.known_at_ns <= end_ns for event in waiting)
        yield from waiting[:count]
        waiting = waiting[count:]
    yield from waiting
