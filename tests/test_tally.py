"""Steps from trades, prices, quotes, books and gaps, against slow twins and by laws over random events."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import naive_flow

from squeeze.market.books import Book
from squeeze.market.conventions import BYBIT_COMPLETE_NS
from squeeze.market.depth import summarise
from squeeze.market.events import (
    DAY_NS,
    SECOND_NS,
    AnyEvent,
    Bar,
    BookUpdate,
    Broken,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.steps import BIN_LOG, Step, StepBuilder, steps
from squeeze.market.tally import FOLD
from squeeze.market.venue_step import Candle, VenueStep

T0 = 20_700 * DAY_NS
PACK = msgspec.msgpack.Encoder(order="deterministic").encode
"""Keys of dictionaries in order: which venue was heard first is of no interest."""


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND_NS)


def common(known: float, lag: float = 0.0, venue: str = "v") -> dict:
    """Known at `known` seconds, `lag` seconds after it happened."""
    return {"venue": venue, "symbol": "S", "known_at_ns": at(known), "event_ns": at(known - lag)}


def trade(known: float, price: float = 10.0, size: float = 1.0, buys: bool = True, lag: float = 0.0, **more) -> Trade:
    return Trade(**(common(known, lag) | more), price=price, size_base=size, taker_buys=buys)


def price(known: float, value: float, of: str = "mark", lag: float = 0.0) -> Price:
    return Price(**common(known, lag), price=value, of=of)


def quote(known: float, bid: float, ask: float, lag: float = 0.0) -> Quote:
    return Quote(**common(known, lag), bid=bid, bid_size_base=1.0, ask=ask, ask_size_base=1.0)


def book(known: float, bids=(), asks=(), whole: bool = False, depth: int = 0) -> BookUpdate:
    return BookUpdate(**common(known), bids=list(bids), asks=list(asks), is_snapshot=whole, depth=depth)


def whole_book(known: float, bid: float = 999.0, ask: float = 1001.0, depth: int = 0) -> BookUpdate:
    return book(known, [(bid, 5.0)], [(ask, 5.0)], True, depth)


def hole(known: float, feed: Feed = Feed.ALL, reason: Broken = Broken.DISCONNECTED) -> Gap:
    return Gap(**common(known), quality=int(Quality.GAP_BEFORE), feed=feed, reason=reason)


def forecast(known: float, **rates) -> FundingForecast:
    return FundingForecast(**common(known), **rates)


def folded(*events: AnyEvent, count: int = 1, length_s: float = 1.0) -> tuple[list[Step], StepBuilder]:
    """The first steps after `T0`, and the builder that made them."""
    builder = StepBuilder("S", round(length_s * SECOND_NS))
    for event in events:
        builder.add(event)
    return [builder.close(at((n + 1) * length_s)) for n in range(count)], builder


def parts(*events: AnyEvent, count: int = 1, length_s: float = 1.0) -> list[VenueStep]:
    return [step.venue("v") for step in folded(*events, count=count, length_s=length_s)[0]]


# -- Trades ------------------------------------------------------------------------------------------------------------


def test_a_candle_of_trades_opens_and_closes_by_when_they_happened():
    trades = [trade(0.5, 10.0), trade(0.6, 12.0, lag=0.5), trade(0.7, 9.0, lag=0.05), trade(0.9, 11.0, lag=0.3)]
    (part,), builder = folded(*trades)[0], folded(*trades)[1]
    assert part.venue("v").last == Candle(12.0, 12.0, 9.0, 9.0, at(0.65))
    assert builder.counts["out_of_order"] == 2


def test_of_trades_of_one_time_the_first_opens_and_the_last_closes():
    (part,) = parts(trade(0.5, 10.0), trade(0.5, 11.0, place=1), trade(0.5, 9.0, place=2))
    assert part.last == Candle(10.0, 11.0, 9.0, 9.0, at(0.5))


def test_volume_and_taker_flow_are_those_of_the_trades():
    (part,) = parts(trade(0.1, 10.0, 1.0), trade(0.2, 10.0, 2.0, False), trade(0.3, 10.1, 4.0))
    assert (part.volume_base, part.taker_buy_base) == (7.0, 5.0)
    assert (sum(part.flow.buys_base), sum(part.flow.sells_base)) == (5.0, 2.0)


TRADES = st.lists(st.tuples(st.floats(9.0, 11.0), st.floats(1e-3, 100.0), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(TRADES, st.sampled_from([BIN_LOG, 5e-3, 1e-4]))
def test_taker_flow_is_that_of_its_slow_twin(trades, bin_log):
    builder = StepBuilder("S", SECOND_NS, bin_log)
    for at_price, size, buys in trades:
        builder.add(trade(0.5, at_price, size, buys))
    part = builder.close(at(1)).venue("v")
    expected = naive_flow(trades, bin_log)
    bins = {number for number, _ in expected}
    flow = part.flow
    first, count = flow.first_bin, len(flow.buys_base)
    assert len(flow.sells_base) == count
    assert flow.bin_log == bin_log
    assert set(range(first, first + count)) >= {n for (n, _), size in expected.items() if size}
    for number in range(first, first + count):
        assert flow.buys_base[number - first] == pytest.approx(expected.get((number, True), 0.0))
        assert flow.sells_base[number - first] == pytest.approx(expected.get((number, False), 0.0))
    assert bins >= {first, first + count - 1}
    assert part.volume_base == pytest.approx(sum(size for _, size, _ in trades))
    assert part.taker_buy_base == pytest.approx(sum(size for _, size, buys in trades if buys))
    prices = [p for p, _, _ in trades]
    assert part.last == Candle(prices[0], max(prices), min(prices), prices[-1], at(0.5))


def test_more_trades_than_are_put_by_at_once_make_the_candle_that_fewer_make():
    rng = np.random.default_rng(0)
    lags = rng.integers(0, 500, 2 * FOLD + 5) / 1000
    trades = [trade(0.5, 10.0 + n % 7, 1.0, n % 3 == 0, float(lag)) for n, lag in enumerate(lags)]
    (part,), builder = folded(*trades)[0], folded(*trades)[1]
    times = [t.event_ns for t in trades]
    first, last = times.index(min(times)), len(times) - 1 - times[::-1].index(max(times))
    found = part.venue("v")
    assert found.last == Candle(trades[first].price, 16.0, 10.0, trades[last].price, max(times))
    assert (found.volume_base, found.taker_buy_base) == (len(trades), sum(t.taker_buys for t in trades))
    assert builder.counts["out_of_order"] == sum(t < max(times[: n + 1]) for n, t in enumerate(times))


def test_of_more_trades_of_one_time_than_are_put_by_at_once_the_first_opens_and_the_last_closes():
    (part,) = parts(*(trade(0.5, 10.0 + n) for n in range(FOLD + 2)))
    assert part.last == Candle(10.0, 11.0 + FOLD, 10.0, 11.0 + FOLD, at(0.5))


def test_a_builder_put_down_between_trades_has_them_all_when_taken_up():
    builder, again = StepBuilder("S", SECOND_NS), StepBuilder("S", SECOND_NS)
    builder.add(trade(0.5))
    builder.close(at(1))
    builder.add(trade(1.2, 11.0, 2.0))
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(builder.snapshot())))
    again.add(trade(1.3, 12.0, 4.0))
    assert again.close(at(2)).venue("v").volume_base == 6.0


def test_block_trades_are_no_part_of_candle_volume_or_flow_but_the_venue_spoke():
    block = trade(0.2, 99.0, 50.0, quality=int(Quality.OFF_BOOK))
    before, quiet = parts(trade(0.1), block, msgspec.structs.replace(block, known_at_ns=at(1.5)), count=2)
    assert (before.last.high, before.volume_base, sum(before.flow.buys_base)) == (10.0, 1.0, 1.0)
    assert (quiet.last.close, quiet.volume_base, quiet.flow) == (10.0, 0.0, None)
    assert before.quality == Quality.GOOD


def test_a_quiet_step_with_a_sign_of_life_carries_the_price_on_without_volume():
    first, quiet = parts(trade(0.4, 12.0), quote(1.5, 9.0, 11.0), count=2)
    assert first.last.close == 12.0
    assert quiet.last == Candle(12.0, 12.0, 12.0, 12.0, at(0.4))
    assert (quiet.volume_base, quiet.taker_buy_base, quiet.flow) == (0.0, 0.0, None)
    assert isinstance(quiet.volume_base, float)
    assert isinstance(quiet.taker_buy_base, float)


@pytest.mark.parametrize(
    "sign",
    [
        OpenInterest(**common(1.5), open_interest_base=1.0),
        Funding(**common(1.5), funding_rate=1e-4),
        Liquidation(**common(1.5), side=0, usd=1.0),
    ],
    ids=lambda sign: type(sign).__name__,
)
def test_a_stamp_or_a_print_alone_is_a_sign_of_life(sign):
    _, quiet = parts(trade(0.4, 12.0), sign, count=2)
    assert quiet.last == Candle(12.0, 12.0, 12.0, 12.0, at(0.4))
    assert quiet.volume_base == 0.0


def test_a_venue_that_says_nothing_is_no_part_of_a_step_and_counted():
    (first, silent), builder = folded(trade(0.4), count=2)
    assert list(first.venues) == ["v"]
    assert silent.venues == {}
    assert builder.counts["silent"] == 1


@pytest.mark.parametrize(("length_s", "late_s"), [(1.0, 60.0), (60.0, 60.0), (3600.0, 3600.0)])
def test_trades_and_prints_known_too_long_after_they_happened_are_left_out_and_counted(length_s, late_s):
    events = []
    for lag in (late_s, late_s + 1e-3):
        events += [trade(0.5, 10.0 + lag, lag=lag), Liquidation(**common(0.5, lag), side=0, usd=lag)]
    (step,), builder = folded(*events, length_s=length_s)
    part = step.venue("v")
    assert (part.volume_base, part.last.high) == (1.0, 10.0 + late_s)
    assert [e.usd for e in part.liquidations] == [late_s]
    assert builder.counts["late"] == 2


@pytest.mark.parametrize(
    ("price_", "size"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (10.0, -1.0), (10.0, math.nan)]
)
def test_a_trade_that_cannot_be_is_left_out_and_counted_and_its_step_is_partial(price_, size):
    (step,), builder = folded(trade(0.2, 10.0), trade(0.5, price_, size), trade(0.7, 11.0))
    part = step.venue("v")
    assert (part.last.open, part.last.low, part.last.high, part.volume_base) == (10.0, 10.0, 11.0, 2.0)
    assert part.quality & Quality.PARTIAL
    assert builder.counts["impossible"] == 1


def test_a_step_of_late_trades_alone_has_no_candle():
    (part,) = parts(trade(0.5, lag=100.0))
    assert part.last is None
    assert part.flow is None
    assert math.isnan(part.volume_base)


def test_bars_of_the_last_price_are_not_needed_where_trades_are():
    fields = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume_base": 5.0}
    bar = Bar(**common(0.9), cadence_ns=SECOND_NS, **fields)
    (step,), builder = folded(trade(0.4), bar)
    assert (step.venue("v").last.close, step.venue("v").volume_base) == (10.0, 1.0)
    assert builder.counts["repeated"] == 1


# -- Prices, quotes, forecasts -----------------------------------------------------------------------------------------


def test_mark_prices_make_a_candle_that_is_carried_on_while_the_venue_speaks():
    events = [price(0.1, 10.0), price(0.3, 12.0), price(0.8, 11.0), trade(1.5), price(3.5, 13.0)]
    first, carried, silent, last = parts(*events, count=4)
    assert first.mark == Candle(10.0, 12.0, 10.0, 11.0, at(0.8))
    assert carried.mark == Candle(11.0, 11.0, 11.0, 11.0, at(0.8))
    assert silent.mark is None
    assert last.mark == Candle(13.0, 13.0, 13.0, 13.0, at(3.5))
    assert first.last is None


def test_an_older_price_or_quote_is_left_out_and_counted():
    events = [price(0.5, 10.0), price(0.6, 99.0, lag=0.3), price(0.7, 98.0, lag=0.2), quote(0.5, 9.0, 11.0)]
    (step,), builder = folded(*events, quote(0.6, 1.0, 2.0, lag=0.3))
    assert (step.venue("v").mark.high, step.venue("v").quote.bid) == (98.0, 9.0)  # the one of the same time counts
    assert builder.counts == {"out_of_order": 2}


def test_index_and_quote_are_the_newest_and_carried_on():
    first, second = parts(
        price(0.1, 10.0, "index"), quote(0.2, 9.0, 11.0), price(0.3, 10.5, "index"), trade(1.1), count=2
    )
    assert (first.index_price, second.index_price) == (10.5, 10.5)
    assert first.quote == second.quote == quote(0.2, 9.0, 11.0)


def test_of_quotes_of_one_millisecond_the_last_is_the_newest():
    first, last = quote(0.5, 9.0, 11.0), quote(0.5, 9.5, 10.5)
    (part,) = parts(first, msgspec.structs.replace(last, known_at_ns=at(0.6)))
    assert part.quote.bid == 9.5


def test_a_repeated_last_price_is_a_sign_of_life_and_nothing_else():
    (part,) = parts(price(0.5, 10.0, "last"))
    assert part.last is None
    assert part.mark is None


def test_a_forecast_is_put_together_from_what_changed():
    first = forecast(0.1, funding_rate=1e-4, settles_ns=at(9), interval_hours=8.0)
    (part,) = parts(first, forecast(0.2, funding_rate=2e-4))
    assert (part.forecast.funding_rate, part.forecast.settles_ns, part.forecast.interval_hours) == (2e-4, at(9), 8.0)
    (part,) = parts(first, forecast(0.2, funding_rate=2e-4), forecast(0.3, settles_ns=at(10)))
    assert (part.forecast.funding_rate, part.forecast.settles_ns, part.forecast.interval_hours) == (2e-4, at(10), 8.0)


# -- Books and gaps ----------------------------------------------------------------------------------------------------


def test_a_books_summary_is_that_at_the_close():
    events = [whole_book(0.1), book(0.9, bids=[(999.5, 1.0)]), book(1.1, bids=[(999.5, 0.0)]), trade(2.5)]
    first, second, third = parts(*events, count=3)
    expected = Book()
    for event in events[:2]:
        expected.apply(event)
    assert PACK(first.book) == PACK(summarise(expected, BIN_LOG))
    assert (first.book.bid, second.book.bid, third.book.bid) == (999.5, 999.0, 999.0)
    assert third.book.event_ns == at(1.1)


def test_the_deepest_book_that_is_there_is_summarised():
    deep, shallow, lost = whole_book(0.1, 998.0, depth=200), whole_book(0.2, 999.0, depth=50), book(0.3, depth=1000)
    (part,) = parts(shallow, deep, lost)
    assert part.book.bid == 998.0
    (part,) = parts(shallow, deep, whole_book(0.3, 997.0, depth=0))
    assert part.book.bid == 997.0


def test_a_crossed_book_is_emptied_and_noted_and_waits_for_a_snapshot():
    crossed = book(0.5, bids=[(1002.0, 1.0)])
    steps_, builder = folded(whole_book(0.1), crossed, book(1.5, bids=[(1002.0, 0.0)]), whole_book(2.5), count=3)
    first, second, third = (step.venue("v") for step in steps_)
    (noted,) = first.gaps
    assert (noted.feed, noted.reason, noted.known_at_ns, noted.event_ns) == (Feed.BOOK, Broken.CROSSED, at(1), at(0.5))
    assert first.book is None
    assert second.book is None
    assert second.gaps == ()
    assert third.book.bid == 999.0
    assert builder.counts["crossed"] == 1


def test_a_lost_book_is_named_until_its_snapshot():
    _, builder = folded(whole_book(0.1), hole(0.5, Feed.BOOK))
    assert builder.lost_books() == {"v"}
    builder.add(whole_book(1.5))
    builder.close(at(2))
    assert builder.lost_books() == set()


@pytest.mark.parametrize(
    ("feed", "partial", "has_book"), [(Feed.ALL, True, False), (Feed.TRADES, True, True), (Feed.BOOK, False, False)]
)
def test_a_hole_empties_the_book_and_marks_the_step_by_what_it_was_in(feed, partial, has_book):
    gap = hole(0.5, feed)
    (part,) = parts(whole_book(0.1), trade(0.2), gap)
    assert part.gaps == (gap,)
    assert bool(part.quality & Quality.PARTIAL) is partial
    assert part.quality & Quality.GAP_BEFORE
    assert (part.book is not None) is has_book


def test_a_step_of_a_hole_alone_carries_no_price():
    _, part = parts(trade(0.5), hole(1.5), count=2)
    assert part.last is None
    assert math.isnan(part.volume_base)
    assert len(part.gaps) == 1
    assert part.quality & Quality.PARTIAL


def test_a_step_that_finds_its_book_crossed_is_marked_as_one_that_was_told_of_a_hole():
    (part,) = parts(whole_book(0.1), book(0.5, bids=[(1002.0, 1.0)]))
    assert part.quality & Quality.GAP_BEFORE


@pytest.mark.parametrize(
    ("venue", "close_ns", "expected"),
    [
        ("bybit", BYBIT_COMPLETE_NS - SECOND_NS, Quality.SAMPLED),
        ("bybit", BYBIT_COMPLETE_NS + SECOND_NS, Quality.GOOD),
        ("binance", T0, Quality.SAMPLED),
        ("okx", T0, Quality.UNDERCOUNTED),
        ("elsewhere", T0, None),
    ],
)
def test_a_step_says_how_complete_the_venues_liquidations_are(venue, close_ns, expected):
    builder = StepBuilder("S", SECOND_NS)
    builder.add(trade(0.0, venue=venue, known_at_ns=close_ns, event_ns=close_ns))
    assert builder.close(close_ns).venue(venue).liquidations_completeness == expected


def test_the_first_complete_second_of_bybit_is_the_first_of_the_day_and_the_one_before_was_sampled():
    """A step that closes at midnight holds only what was known on the day before."""
    builder = StepBuilder("S", SECOND_NS)
    for close_ns in (BYBIT_COMPLETE_NS, BYBIT_COMPLETE_NS + SECOND_NS):
        builder.add(trade(0.0, venue="bybit", known_at_ns=close_ns - 1, event_ns=close_ns - 1))
    found = [
        builder.close(ns).venue("bybit").liquidations_completeness
        for ns in (BYBIT_COMPLETE_NS, BYBIT_COMPLETE_NS + SECOND_NS)
    ]
    assert found == [Quality.SAMPLED, Quality.GOOD]


# -- Laws over random events -------------------------------------------------------------------------------------------

KINDS = [*["trade", "book"] * 3, "mark", "index", "last", "quote", "gap", "forecast", "stamp", "print"]
UNITS = 8
"""Moments in a step at which something may become known."""
LEVEL = st.tuples(st.integers(981, 996).map(float), st.integers(0, 3).map(float))


@st.composite
def an_event(draw, venues=("v", "w"), first: int = 1, last: int = 4 * UNITS):
    """(moment in eighths of a step, lag in seconds, function of the times)."""
    moment, lag = draw(st.integers(first, last)), draw(st.sampled_from([0.0, 0.0, 0.25, 30.0, 61.0, 4000.0]))
    venue, value = draw(st.sampled_from(venues)), float(draw(st.integers(1, 9)))
    kind = draw(st.sampled_from(KINDS))
    size, flag = float(draw(st.integers(0, 4))) / 3, draw(st.booleans())
    levels = [draw(st.lists(LEVEL, max_size=3)) for _ in range(2)]

    def made(length_s: float) -> AnyEvent:
        names = common(moment * length_s / UNITS, lag, venue)
        match kind:
            case "trade":
                quality = int(Quality.OFF_BOOK) if value == 9.0 else 0
                return Trade(**names, price=value, size_base=size, taker_buys=flag, quality=quality)
            case "mark" | "index" | "last":
                return Price(**names, price=value, of=kind)
            case "quote":
                return Quote(**names, bid=value, bid_size_base=size, ask=value + 1, ask_size_base=size)
            case "book":
                bids, asks = levels[0], [(p + 12 + value, s) for p, s in levels[1]]
                return BookUpdate(**names, is_snapshot=flag, bids=bids, asks=asks, depth=200 if size else 0)
            case "gap":
                return Gap(**names, quality=2, feed=Feed(int(value) % 3), reason=Broken(int(value) % 4))
            case "forecast":
                rate = 1e-4 if flag else math.nan
                return FundingForecast(**names, funding_rate=rate, settles_ns=names["event_ns"] if size else 0)
            case "stamp":
                if flag:
                    return OpenInterest(**names, open_interest_base=value)
                return Funding(**names, funding_rate=1e-4)
            case _:
                return Liquidation(**names, side=int(flag), usd=value)

    return moment, made


LENGTHS = st.sampled_from([1.0, 8.0, 60.0, 3600.0])
EVENTS = st.lists(an_event(), max_size=30).map(lambda found: sorted(found, key=lambda e: e[0]))


def walked(events, length_s: float, cut: int = -1) -> tuple[list[Step], dict]:
    """Four steps of events as they become known; before event `cut` the builder is put down and taken up again."""
    builder = StepBuilder("S", round(length_s * SECOND_NS))
    found, closed = [], 0
    for number, (moment, made) in enumerate(events):
        while moment > (closed + 1) * UNITS:
            closed += 1
            found.append(builder.close(at(closed * length_s)))
        if number == cut:
            held = msgspec.msgpack.encode(builder.snapshot())
            builder = StepBuilder("S", round(length_s * SECOND_NS))
            builder.restore(msgspec.msgpack.decode(held))
        builder.add(made(length_s))
    while closed < 4:
        closed += 1
        found.append(builder.close(at(closed * length_s)))
    return found, builder.counts


@settings(max_examples=150, deadline=None)
@given(EVENTS, LENGTHS, st.data())
def test_a_builder_put_down_in_the_middle_of_a_step_goes_on_byte_for_byte(events, length_s, data):
    cut = data.draw(st.integers(0, max(0, len(events) - 1)))
    whole, counts = walked(events, length_s)
    again, counts_again = walked(events, length_s, cut)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(whole)
    assert counts_again == counts


@settings(max_examples=100, deadline=None)
@given(EVENTS, LENGTHS)
def test_venues_do_not_see_each_other_whichever_is_fed_first(events, length_s):
    by_venue = {venue: [e for e in events if e[1](1.0).venue == venue] for venue in ("v", "w")}
    moments = sorted({moment for moment, _ in events})
    turned = [e for m in moments for venue in ("w", "v") for e in by_venue[venue] if e[0] == m]
    whole, counts = walked(events, length_s)
    again, counts_again = walked(turned, length_s)
    assert [PACK(s) for s in again] == [PACK(s) for s in whole]
    assert counts_again == counts
    for venue, own in by_venue.items():
        alone, _ = walked(own, length_s)
        assert [PACK(s.venue(venue)) for s in alone] == [PACK(s.venue(venue)) for s in whole]


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.lists(an_event(first=2 * UNITS + 1), max_size=20), LENGTHS)
def test_no_step_depends_on_what_became_known_after_its_close(events, noise, length_s):
    before = [e for e in events if e[0] <= 2 * UNITS]
    other = before + sorted(noise, key=lambda e: e[0])
    assert PACK(walked(events, length_s)[0][:2]) == PACK(walked(other, length_s)[0][:2])


@settings(max_examples=100, deadline=None)
@given(EVENTS, LENGTHS)
def test_steps_of_history_are_those_of_a_builder_that_is_closed_by_the_clock(events, length_s):
    live, _ = walked(events, length_s)
    history = list(steps([made(length_s) for _, made in events], "S", round(length_s * SECOND_NS)))
    assert [PACK(s) for s in history] == [PACK(s) for s in live if s.close_ns in {h.close_ns for h in history}]
    assert len(history) == (0 if not events else -(-events[-1][0] // UNITS) + 1 - -(-events[0][0] // UNITS))


@settings(max_examples=100, deadline=None)
@given(EVENTS, LENGTHS)
def test_events_added_long_before_their_step_make_the_same_steps(events, length_s):
    builder = StepBuilder("S", round(length_s * SECOND_NS))
    for _, made in events:
        builder.add(made(length_s))
    early = [builder.close(at((n + 1) * length_s)) for n in range(4)]
    live, counts = walked(events, length_s)
    assert PACK(early) == PACK(live)
    assert builder.counts == counts


def test_events_that_wait_are_taken_in_the_order_in_which_they_became_known():
    events = [whole_book(0.5), book(0.6, bids=[(999.5, 1.0)]), book(0.7, bids=[(999.5, 0.0)])]
    assert [p.book.bid for p in parts(*reversed(events))] == [999.0]


def test_an_event_that_waited_comes_before_one_that_was_added_later():
    events = [whole_book(0.5), book(2.3, bids=[(999.5, 1.0)]), book(2.6, bids=[(999.5, 0.0)])]
    builder = StepBuilder("S", SECOND_NS)
    builder.add(events[0])
    builder.add(events[1])  # two steps ahead
    builder.close(at(1))
    builder.close(at(2))
    builder.add(events[2])
    assert builder.close(at(3)).venue("v").book.bid == 999.0


@settings(max_examples=100, deadline=None)
@given(EVENTS, LENGTHS)
def test_all_volume_of_usable_trades_is_in_some_step_and_none_twice(events, length_s):
    late_s = max(60.0, length_s)
    found = [made(length_s) for _, made in events]
    usable = [
        e for e in found if isinstance(e, Trade) and not e.quality and e.known_at_ns - e.event_ns <= late_s * SECOND_NS
    ]
    whole, _ = walked(events, length_s)
    volumes = [part.volume_base for step in whole for part in step.venues.values()]
    assert np.nansum(volumes) == pytest.approx(sum(t.size_base for t in usable))
    parted = [p for step in whole for p in step.venues.values() if p.flow]
    assert sum(sum(p.flow.buys_base) for p in parted) == pytest.approx(sum(t.size_base for t in usable if t.taker_buys))
    prices = {t.price for t in usable}
    assert all({p.last.open, p.last.high, p.last.low, p.last.close} <= prices for p in parted)
