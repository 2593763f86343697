"""What the venues of a simulated market publish, as the lake's columns and as events: late, throttled and censored as
each venue's spec says (domain.md §1). Nothing is known before it happened.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from squeeze.market.events import DAY_NS, MINUTE_NS, NAN, SECOND_NS, AnyEvent, Quality
from squeeze.market.rows import Columns, events_of
from squeeze.simulator.market import SimulatedMarket, funding_rates, generators
from squeeze.simulator.resting import book_rows, decimals_of
from squeeze.simulator.spec import SimulatedVenue
from squeeze.strict import Strict, require

MILLISECOND_NS = 1_000_000
HISTORY_SECONDS, HISTORY_LAG_SECONDS = 300, 60.0
"""Open interest as REST gives it: every five minutes, known a minute later."""
FLAGS = {"all": Quality.GOOD, "largest": Quality.SAMPLED, "latest": Quality.SAMPLED, "share": Quality.UNDERCOUNTED}

Published = dict[tuple[str, str], Columns]
"""Columns by kind and venue, as `Lake.write` takes them."""


class Publication(Strict, frozen=True, kw_only=True):
    """What to publish of a market."""

    prices: Literal["bars", "trades"] = "bars"
    """Bars of last and mark price for each minute; or trades, and mark prices at each move of the price."""
    open_interest: Literal["live", "history"] = "live"
    """As each venue streams it; or for all the stamps of every five minutes, a minute late."""
    book_minutes: int = 0
    """A snapshot of each venue's book every so many minutes; 0 for none."""
    book_noise_sd: float = 0.3
    """Scatter of the sizes of levels, as the standard deviation of their logarithm."""
    forecast_minutes: int = 1
    """The funding rate to come every so many minutes; 0 for none."""

    def __post_init__(self) -> None:
        for name in ("book_minutes", "forecast_minutes"):
            require(0 <= getattr(self, name) <= 1440, f"{name} lies between 0 and 1440")
        require(self.book_noise_sd >= 0, "book_noise_sd must not be negative")


def market_events(market: SimulatedMarket, what: Publication | None = None) -> Iterator[AnyEvent]:
    """All that is published, in the order in which it becomes known; a day of it in memory."""
    waiting: list[AnyEvent] = []
    for day in range(market.spec.days):
        for (kind, venue), columns in published(market, day, what).items():
            waiting.extend(events_of(kind, venue, market.spec.symbol, columns))
        waiting.sort(key=lambda event: event.known_at_ns)  # stable: what is known at once keeps its order
        end_ns = int(market.minute_ns[0]) + (day + 1) * DAY_NS
        count = sum(event.known_at_ns <= end_ns for event in waiting)
        yield from waiting[:count]
        waiting = waiting[count:]
    yield from waiting


def published(market: SimulatedMarket, day: int, what: Publication | None = None) -> Published:
    """What happened on one day of the recording, by kind and venue, as `Lake.write` takes it; `ValueError` for a day
    that was not simulated. Needs a market with `detail`.
    """
    what = what or Publication()
    if not 0 <= day < market.spec.days:
        raise ValueError(f"day lies between 0 and {market.spec.days - 1}, got {day}")
    shown = censored(market)
    found: Published = {}
    for place, venue in enumerate(market.spec.all_venues()):
        if what.prices == "bars":
            found["bar_1m", venue.name] = bars(market, day, place, is_mark=False)
            found["mark_bar_1m", venue.name] = bars(market, day, place, is_mark=True)
        else:
            found["price_mark", venue.name] = mark_prices(market, day, place)
            found["trade", venue.name] = trades(market, day, place)
        found["open_interest", venue.name] = open_interest(market, day, place, what.open_interest == "history")
        found["liquidation", venue.name] = liquidations(market, day, place, shown)
        found["funding", venue.name] = funding(market, day, place)
        if what.forecast_minutes:
            found["funding_forecast", venue.name] = forecasts(market, day, place, what.forecast_minutes)
        if what.book_minutes:
            minutes = [m for m in minutes_of(day) if (m + 1) % what.book_minutes == 0]
            found["book", venue.name] = joined([book_rows(market, m, place, what.book_noise_sd) for m in minutes])
    return found


def joined(parts: list[Columns]) -> Columns:
    """Rows of several, in their order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def minutes_of(day: int) -> range:
    """The minutes of a day of the recording."""
    return range(1440 * day, 1440 * (day + 1))


def rows_of(event_ns: np.ndarray, known_at_ns: np.ndarray, quality: int, **values: np.ndarray | float | int) -> Columns:
    """Columns of one kind; a single value stands for a whole column."""
    count = len(event_ns)
    named = {name: np.broadcast_to(np.asarray(value), (count,)).copy() for name, value in values.items()}
    return {"event_ns": event_ns, "known_at_ns": known_at_ns, "quality": np.full(count, quality, np.int32), **named}


def bars(market: SimulatedMarket, day: int, venue: int, is_mark: bool) -> Columns:
    """A bar for each minute, known at its close. It opens where the last one closed."""
    record, rows = market.venues[venue], slice(1440 * day, 1440 * (day + 1))
    prices = (record.mark if is_mark else record.last)[rows].round(decimals_of(market))
    volume, buys = (NAN, NAN) if is_mark else (record.volume_base[rows], record.taker_buy_base[rows])
    close_ns = market.minute_ns[rows] + MINUTE_NS
    named = dict(zip(("open", "high", "low", "close"), prices.T, strict=True))
    return rows_of(close_ns, close_ns, 0, cadence_ns=MINUTE_NS, **named, volume_base=volume, taker_buy_base=buys)


def steps_of(market: SimulatedMarket, day: int) -> tuple[slice, np.ndarray, int]:
    """The sub-steps of a day, the time at which each begins, and its length."""
    substeps = market.spec.substeps
    first, last = 1440 * day * substeps, 1440 * (day + 1) * substeps
    length_ns = MINUTE_NS // substeps
    begins = np.arange(first, last, dtype=np.int64) // substeps * MINUTE_NS
    begins += np.arange(first, last, dtype=np.int64) % substeps * length_ns
    return slice(first, last), int(market.minute_ns[0]) + begins, length_ns


def mark_prices(market: SimulatedMarket, day: int, venue: int) -> Columns:
    """The mark at the start of each sub-step, where it moves."""
    steps, begin_ns, _ = steps_of(market, day)
    played = market.detail().played
    price = np.exp(played.path[steps, 2] + played.basis[steps, venue]).round(decimals_of(market))
    event_ns = begin_ns + MILLISECOND_NS
    lag_ns = int(market.spec.all_venues()[venue].lag_ms * 1e6)
    return rows_of(event_ns, event_ns + lag_ns, 0, price=price)


def trades(market: SimulatedMarket, day: int, venue: int) -> Columns:
    """Takers' buys and sells of each sub-step, summed at its price, and each forced order by itself.

    Where forced orders or stops moved the price, half of the rest traded before and half after.
    """
    steps, begin_ns, length_ns = steps_of(market, day)
    played, spec = market.detail().played, market.spec.all_venues()[venue]
    basis = played.basis[steps, venue]
    quiet, after = np.exp(played.path[steps, 0] + basis), np.exp(played.path[steps, 1] + basis)
    moved = quiet != after
    flow = played.flow[steps, venue] * np.where(moved, 0.5, 1.0)[:, None]
    end_ns = begin_ns + length_ns - MILLISECOND_NS
    forced = prints_of(market, day, venue)
    buys = market.liquidation_side[forced] == 1
    pieces = [
        (begin_ns[moved] + MILLISECOND_NS, quiet[moved], flow[moved, 0], True),
        (begin_ns[moved] + MILLISECOND_NS, quiet[moved], flow[moved, 1], False),
        (market.liquidation_ns[forced], market.liquidation_fill[forced], sizes(market)[forced], buys),
        (end_ns, after, flow[:, 0], True),
        (end_ns, after, flow[:, 1], False),
    ]
    event_ns = np.concatenate([piece[0] for piece in pieces])
    order = np.argsort(event_ns, kind="stable")
    price, size = (np.concatenate([piece[i] for piece in pieces])[order] for i in (1, 2))
    takers = np.concatenate([np.broadcast_to(piece[3], len(piece[0])) for piece in pieces])[order]
    event_ns, lag_ns = event_ns[order], int(spec.trade_lag_ms * 1e6)
    return rows_of(
        event_ns,
        event_ns + lag_ns,
        0,
        price=price.round(decimals_of(market)),
        size_base=size,
        taker_buys=takers.astype(np.int64),
        place=place_in(event_ns),
    )


def sizes(market: SimulatedMarket) -> np.ndarray:
    """Base coins of every forced order."""
    return np.asarray(market.liquidation_usd / market.liquidation_mark)


def prints_of(market: SimulatedMarket, day: int, venue: int) -> Int64[np.ndarray, " print"]:
    """The forced orders of a venue and a day, published or not."""
    start_ns = int(market.minute_ns[0]) + day * DAY_NS
    first, last = np.searchsorted(market.liquidation_ns, (start_ns, start_ns + DAY_NS))
    return np.asarray(first + np.flatnonzero(market.liquidation_venue[first:last] == venue))


def open_interest(market: SimulatedMarket, day: int, venue: int, history: bool) -> Columns:
    """Stamps of a day: what was open when the last sub-step before each ended."""
    spec = market.spec.all_venues()[venue]
    seconds = HISTORY_SECONDS if history else spec.open_interest_seconds
    lag_ns = int((HISTORY_LAG_SECONDS if history else spec.open_interest_lag_seconds) * SECOND_NS)
    steps, begin_ns, length_ns = steps_of(market, day)
    end_ns = begin_ns + length_ns
    place = np.arange(len(end_ns))
    if seconds * SECOND_NS > length_ns:
        stamp_ns = np.arange(int(market.minute_ns[1440 * day]), int(end_ns[-1]) + 1, seconds * SECOND_NS)[1:]
        place = np.searchsorted(end_ns, stamp_ns, "right") - 1
        end_ns = stamp_ns
    lots = market.detail().played.open_lots[steps, venue][place]
    return rows_of(end_ns, end_ns + lag_ns, 0, open_interest_base=lots * market.detail().rules.lot_base)


def censored(market: SimulatedMarket) -> Bool[np.ndarray, " print"]:
    """Which forced orders are published, by the rule of their venue."""
    shown = np.zeros(len(market.liquidation_ns), bool)
    draws = generators(market.seed)[3].random(len(shown))
    for place, venue in enumerate(market.spec.all_venues()):
        own = np.flatnonzero(market.liquidation_venue == place)
        if venue.liquidations == "share":
            own = own[draws[own] < venue.liquidation_share]
        elif venue.liquidations != "all":
            own = own[one_a_second(market.liquidation_ns[own], market.liquidation_usd[own], venue.liquidations)]
        shown[own] = True
    return shown


def one_a_second(ns: np.ndarray, usd: np.ndarray, which: str) -> Int64[np.ndarray, " second"]:
    """The places of the `largest`, or else of the latest, of each second; times rise.

    >>> ns = np.array([0.1, 0.2, 0.9, 2.5]) * SECOND_NS
    >>> [one_a_second(ns, np.array([5.0, 9.0, 1.0, 2.0]), which).tolist() for which in ("largest", "latest")]
    [[1, 3], [2, 3]]
    """
    second = ns // SECOND_NS
    order = np.lexsort((usd, second)) if which == "largest" else np.arange(len(ns))
    is_last = np.append(second[order][1:] != second[order][:-1], True)[: len(ns)]
    return np.asarray(order[is_last])


def liquidations(market: SimulatedMarket, day: int, venue: int, shown: Bool[np.ndarray, " print"]) -> Columns:
    """The forced orders that the venue publishes, known with the push that carries them."""
    spec = market.spec.all_venues()[venue]
    at = prints_of(market, day, venue)
    at = at[shown[at]]
    event_ns = market.liquidation_ns[at]
    pushed_ns = pushes(spec, event_ns)
    known_ns = pushed_ns + int(spec.lag_ms * 1e6)
    fill = spec.liquidation_price == "fill"
    price = (market.liquidation_fill if fill else market.liquidation_bankruptcy)[at].round(decimals_of(market))
    return rows_of(
        event_ns,
        known_ns,
        int(FLAGS[spec.liquidations]),
        side=market.liquidation_side[at],
        usd=market.liquidation_usd[at],
        size_base=sizes(market)[at],
        price=price,
        place=place_in(known_ns),
    )


def pushes(spec: SimulatedVenue, event_ns: np.ndarray) -> np.ndarray:
    """When a venue sends what happened: at the end of a second it thins, of a batch, or at once."""
    batch_ns = SECOND_NS if spec.liquidations in ("largest", "latest") else spec.liquidation_batch_ms * MILLISECOND_NS
    return np.asarray((event_ns // batch_ns + 1) * batch_ns if batch_ns else event_ns)


def place_in(ns: np.ndarray) -> Int64[np.ndarray, " row"]:
    """The number of each row among those of one time, which lie together.

    >>> place_in(np.array([3, 3, 5, 7, 7, 7])).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    here = np.arange(len(ns))
    begins = np.append(True, ns[1:] != ns[:-1])[: len(ns)]
    return np.asarray(here - np.maximum.accumulate(np.where(begins, here, 0)))


def funding(market: SimulatedMarket, day: int, venue: int) -> Columns:
    """The rates settled on a day, by the venue's own premium and interval."""
    spec, premium = market.spec.all_venues()[venue], market.venues[venue].premium[1440 * day : 1440 * (day + 1)]
    rates = funding_rates(premium, market.spec.interest_rate, spec.funding_hours)
    hour_ns = 60 * MINUTE_NS
    event_ns = int(market.minute_ns[1440 * day]) + spec.funding_hours * hour_ns * np.arange(1, len(rates) + 1)
    lag_ns = int(spec.lag_ms * 1e6)
    return rows_of(event_ns, event_ns + lag_ns, 0, funding_rate=rates, interval_hours=float(spec.funding_hours))


def forecasts(market: SimulatedMarket, day: int, venue: int, every_minutes: int) -> Columns:
    """The rate to come if the rest of its interval were like what there was of it."""
    spec = market.spec.all_venues()[venue]
    minutes = 60 * spec.funding_hours
    premium = market.venues[venue].premium[1440 * day : 1440 * (day + 1)].reshape(-1, minutes)
    so_far = premium.cumsum(axis=1) / np.arange(1, minutes + 1)
    mean = so_far.reshape(-1)
    pull = np.clip(market.spec.interest_rate - mean, -0.0005, 0.0005)
    event_ns = market.minute_ns[1440 * day : 1440 * (day + 1)] + MINUTE_NS
    settles_ns = np.repeat(event_ns[minutes - 1 :: minutes], minutes)
    chosen = (np.array(minutes_of(day)) + 1) % every_minutes == 0
    return rows_of(
        event_ns[chosen],
        event_ns[chosen] + int(spec.lag_ms * 1e6),
        0,
        funding_rate=((mean + pull) * (spec.funding_hours / 8))[chosen],
        settles_ns=settles_ns[chosen],
        interval_hours=float(spec.funding_hours),
        following_rate=NAN,
        settled_rate=NAN,
    )
