"""What simulated venues publish: late, throttled and censored, and good for the very code that live data take."""

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from squeeze.market.books import Book
from squeeze.market.depth import summarise
from squeeze.market.events import (
    MINUTE_NS,
    SECOND_NS,
    BookUpdate,
    Funding,
    FundingForecast,
    Liquidation,
    OpenInterest,
    Quality,
)
from squeeze.market.lake import Lake
from squeeze.market.steps import steps
from squeeze.simulator import (
    BINANCE,
    BYBIT,
    OKX,
    CrossMargin,
    Publication,
    SimulatedMarket,
    SimulatorSpec,
    Stops,
    Thinning,
    Walls,
    market_events,
    published,
    simulate,
    three_exchanges,
)
from squeeze.simulator.kernel import DRAINED, IMPACT, LAST, Tape, WallBook, hit_book
from squeeze.simulator.publish import censored, joined
from squeeze.simulator.resting import LEVELS, SPACING_LOG, book_rows, depth_usd, order_book
from squeeze.simulator.rules import rules_of
from squeeze.simulator.truth import close_step

SPEC = SimulatorSpec(
    start="2025-03-01",
    days=3,
    warm_up_days=2,
    daily_volatility=0.03,
    venues=(BYBIT, OKX, msgspec.structs.replace(BINANCE, funding_hours=4)),
    venue_basis_bps=2.0,
    cross=CrossMargin(),
    stops=Stops(),
    thinning=Thinning(),
    walls=Walls(),
    detail=True,
)
FINE = Publication(prices="trades", book_minutes=60)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate(SPEC, 4)


@pytest.fixture(scope="module")
def fine(market):
    return list(market_events(market, FINE))


def of(events, kind, venue):
    return [event for event in events if isinstance(event, kind) and event.venue == venue]


@pytest.mark.parametrize("what", [Publication(), FINE, Publication(open_interest="history")])
def test_nothing_is_known_before_it_happened_and_all_comes_as_it_is_known(market, what):
    events = list(market_events(market, what))
    assert all(event.event_ns <= event.known_at_ns for event in events)
    assert all(before.known_at_ns <= after.known_at_ns for before, after in pairwise(events))


def test_what_comes_later_changes_nothing_that_was_published(market, fine):
    longer = simulate(msgspec.structs.replace(SPEC, days=4), 4)
    until = int(market.minute_ns[-1]) + MINUTE_NS
    same = [event for event in market_events(longer, FINE) if event.event_ns <= until]
    ours = [event for event in fine if event.event_ns <= until]
    assert len(same) == len(ours) > 100_000
    assert [repr(e) for e in same if e.known_at_ns <= until] == [repr(e) for e in ours if e.known_at_ns <= until]


# -- Liquidations ------------------------------------------------------------------------------------------------------


def test_bybit_publishes_every_forced_order_with_the_next_batch(market, fine):
    prints = of(fine, Liquidation, "bybit")
    own = market.liquidation_venue == 0
    assert [p.event_ns for p in prints] == market.liquidation_ns[own].tolist()
    assert [p.usd for p in prints] == market.liquidation_usd[own].tolist()
    assert [p.side for p in prints] == market.liquidation_side[own].tolist()
    assert all((p.known_at_ns - 50_000_000) % 500_000_000 == 0 for p in prints)
    assert all(0 < p.known_at_ns - 50_000_000 - p.event_ns <= 500_000_000 for p in prints)
    assert all(p.quality == Quality.GOOD for p in prints)


@pytest.mark.parametrize("rule", ["largest", "latest"])
def test_binance_publishes_one_forced_order_a_second(rule):
    binance = msgspec.structs.replace(BINANCE, liquidations=rule)
    spec = msgspec.structs.replace(SPEC, venues=(BYBIT, binance), depth_usd=8e6)
    market = simulate(spec, 1)
    own = np.flatnonzero(market.liquidation_venue == 1)
    seconds = market.liquidation_ns[own] // SECOND_NS
    shown = own[censored(market)[own]]
    assert len(shown) == len(np.unique(seconds)) < len(own)
    for at in shown:
        rivals = own[seconds == market.liquidation_ns[at] // SECOND_NS]
        assert at == (rivals[-1] if rule == "latest" else rivals[market.liquidation_usd[rivals].argmax()])
    prints = of(market_events(market), Liquidation, "binance")
    assert [p.usd for p in prints] == market.liquidation_usd[shown].tolist()
    assert all((p.known_at_ns - 50_000_000) % SECOND_NS == 0 for p in prints)
    assert all(p.quality == Quality.SAMPLED for p in prints)


def test_okx_publishes_an_unknown_part_of_its_forced_orders():
    spec = SimulatorSpec(days=20, detail=True, venues=(OKX,))
    market = simulate(spec, 0)
    count = len(market.liquidation_ns)
    assert abs(censored(market).mean() - 0.5) < 4 * 0.5 / math.sqrt(count)
    columns = published(market, 3)["liquidation", "okx"]
    assert (columns["quality"] == Quality.UNDERCOUNTED).all()


def test_a_printed_price_is_that_of_bankruptcy_beyond_the_liquidation_price(market):
    long = market.liquidation_side == 0
    beyond = market.liquidation_bankruptcy / market.liquidation_price - 1
    margin = np.array([venue.maintenance + venue.fee for venue in SPEC.venues])[market.liquidation_venue]
    np.testing.assert_allclose(beyond, np.where(long, -margin, margin), rtol=1e-9)


# -- Prices, open interest, funding ------------------------------------------------------------------------------------


def test_trades_add_up_to_the_bars_and_stay_within_them(market, fine):
    start_ns = int(market.minute_ns[0])
    early = [event for event in fine if event.known_at_ns <= start_ns + 600 * MINUTE_NS]
    for step in list(steps(early, SPEC.symbol, MINUTE_NS))[1:-1]:
        minute = (step.close_ns - start_ns) // MINUTE_NS - 1
        for venue in market.venues:
            part = step.venue(venue.name)
            _, high, low, close = venue.last[minute].round(1)
            assert part.volume_base == pytest.approx(venue.volume_base[minute], rel=1e-9)
            assert part.taker_buy_base == pytest.approx(venue.taker_buy_base[minute], rel=1e-9)
            assert part.last.close == close
            assert low <= part.last.low <= part.last.high <= high
            opened, high, low, close = venue.mark[minute].round(1)
            assert part.mark.close == close
            assert max(part.mark.high, opened) == high  # a bar opens where the last one closed
            assert min(part.mark.low, opened) == low


def test_bars_and_marks_reach_the_step_of_their_minute(market):
    for step in list(steps(market_events(market), SPEC.symbol, MINUTE_NS))[10:4_000:97]:
        minute = (step.close_ns - int(market.minute_ns[0])) // MINUTE_NS - 1
        for venue in market.venues:
            part = step.venue(venue.name)
            assert part.last.close == venue.last[minute, 3].round(1)
            assert part.mark.high == venue.mark[minute, 1].round(1)
            assert part.volume_base == venue.volume_base[minute]


@pytest.mark.parametrize(("venue", "seconds", "lag"), [("bybit", 60, 1.0), ("okx", 10, 1.0), ("binance", 300, 60.0)])
def test_open_interest_is_stamped_and_published_as_the_venue_does(market, fine, venue, seconds, lag):
    stamps = of(fine, OpenInterest, venue)  # OKX stamps every 3 s, but the price moves every 10
    assert len(stamps) == 3 * 86_400 // seconds
    assert {after.event_ns - before.event_ns for before, after in pairwise(stamps)} == {seconds * SECOND_NS}
    assert {stamp.known_at_ns - stamp.event_ns for stamp in stamps} == {int(lag * SECOND_NS)}
    record = next(each for each in market.venues if each.name == venue)
    closes = [s for s in stamps if s.event_ns % MINUTE_NS == 0]
    minutes = [(s.event_ns - int(market.minute_ns[0])) // MINUTE_NS - 1 for s in closes]
    np.testing.assert_allclose([s.open_interest_base for s in closes], record.open_interest_base[minutes], rtol=1e-12)


def test_history_of_open_interest_comes_every_five_minutes_a_minute_late(market):
    for venue in ("bybit", "okx", "binance"):
        columns = published(market, 1, Publication(open_interest="history"))["open_interest", venue]
        assert len(columns["event_ns"]) == 288
        assert (columns["event_ns"] % (5 * MINUTE_NS) == 0).all()
        assert (columns["known_at_ns"] - columns["event_ns"] == MINUTE_NS).all()


def test_a_forecast_of_funding_becomes_the_rate_that_is_settled(fine):
    for venue, hours in (("bybit", 8), ("binance", 4)):
        settled, forecast = of(fine, Funding, venue), of(fine, FundingForecast, venue)
        assert len(settled) == 3 * 24 // hours
        assert {each.interval_hours for each in settled} == {hours}
        last = {each.settles_ns: each.funding_rate for each in forecast if each.event_ns == each.settles_ns}
        assert all(last[each.event_ns] == pytest.approx(each.funding_rate, rel=1e-9) for each in settled)
        assert all(each.event_ns <= each.settles_ns < each.event_ns + hours * 60 * MINUTE_NS for each in forecast)


# -- Books -------------------------------------------------------------------------------------------------------------


def test_books_are_in_order_and_not_crossed_and_speak_of_their_venue(market, fine):
    for update in of(fine, BookUpdate, "okx"):
        bids, asks = ([price for price, _ in side] for side in (update.bids, update.asks))
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]
        assert min(size for _, size in update.bids + update.asks) > 0
        minute = (update.known_at_ns - int(market.minute_ns[0])) // MINUTE_NS - 1
        assert bids[0] < market.venues[1].last[minute, 3] < asks[0]
        book = Book()
        book.apply(update)
        summary = summarise(book, 5e-4)
        assert summary.spread_bps == pytest.approx(1.0, abs=0.05)
    assert order_book(market, 59, 1) == of(fine, BookUpdate, "okx")[0]


def test_a_wall_rests_at_its_own_price_on_a_venue_whose_price_strays_and_is_one_level():
    market = simulate(three_exchanges(days=1), 2)
    walls, seen = market.detail().played.standing, 0
    for minute in range(0, 1440, 7):
        for venue in range(3):
            rows = book_rows(market, minute, venue, 0.0)
            last = math.log(market.venues[venue].last[minute, 3])
            assert len(set(zip(rows["side"].tolist(), rows["price"].tolist(), strict=True))) == len(rows["price"])
            for log_price, side, usd, *_ in walls[minute][(walls[minute][:, 2] > 0) & (walls[minute][:, 5] == venue)]:
                if (log_price - last) * (-1 if side == 0 else 1) <= 0:
                    continue
                at = (rows["side"] == side) & (rows["price"] == round(math.exp(log_price), 1))
                assert (rows["size_base"] * rows["price"])[at].sum() >= usd * (1 - 1e-9)
                seen += 1
    assert seen > 100


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("pushed", [-0.012, 0.0, 0.004])
def test_the_published_depth_is_what_forced_orders_meet(side, pushed):
    rules = rules_of(SimulatorSpec())
    tape, moved, usd, lots = Tape(11.0, pushed, 0.2, 11.0), 0.0, 0.0, 100
    none = WallBook(np.zeros((8, 6)), np.zeros((1, 9)), np.zeros(1, np.int64), np.zeros(1))
    while moved < 0.01:  # many small orders, one after the other
        tape = hit_book(rules, none, side, lots, 0, 11.0, 1.7, tape)
        moved, usd = abs(tape.last - 11.0), usd + lots * rules.lot_base * math.exp(11.0)
    assert usd == pytest.approx(float(depth_usd(rules, 1.7, pushed, 0.2, side, np.array([moved]))[0]), rel=2e-3)


def test_depth_mirrors_when_the_price_is_flipped():
    rules, distance = rules_of(SimulatorSpec()), SPACING_LOG * np.arange(LEVELS)
    for pushed in (-0.01, 0.003):
        bids, asks = (depth_usd(rules, 1.3, s * pushed, 0.4, side, distance) for side, s in ((0, 1.0), (1, -1.0)))
        np.testing.assert_allclose(bids, asks, rtol=1e-12)


def test_a_book_without_scatter_is_its_venues_share_of_the_depth_with_its_walls(market):
    detail = market.detail()
    with_wall = np.flatnonzero((detail.played.standing[:, :, 2] > 0).any(axis=1))[::200]
    seen = 0
    for minute in with_wall.tolist():
        state = detail.played.hidden[minute]
        calm = detail.outside.sigma[close_step(market, minute) + detail.first_step] / detail.rules.sigma
        reach = np.array([LEVELS * SPACING_LOG])
        for side in (0, 1):
            curve = float(depth_usd(detail.rules, calm, state[IMPACT], state[DRAINED], side, reach)[0])
            walls = detail.played.standing[minute]
            walls = walls[(walls[:, 2] > 0) & (walls[:, 1] == side)]
            walls = walls[(walls[:, 0] < state[LAST]) if side == 0 else (walls[:, 0] > state[LAST])]
            shown = 0.0
            for venue in range(3):
                update = order_book(market, minute, venue, noise_sd=0.0)
                shown += sum(price * size for price, size in (update.bids, update.asks)[side])
            assert shown == pytest.approx(curve + walls[:, 2].sum(), rel=1e-9)
            seen += len(walls)
    assert seen > 3


def test_a_wall_stops_a_forced_order_until_it_is_eaten():
    rules = rules_of(SimulatorSpec(walls=Walls()))
    live = np.zeros((8, 6))
    live[2] = (10.999, 0.0, 3e6, 1.0, 0.0, 0.0)  # a genuine bid 0.1 % below
    walls = WallBook(live, np.zeros((1, 9)), np.zeros(1, np.int64), np.zeros(1))
    lots = int(2e6 / (0.001 * math.exp(11.0)))
    tape, free = Tape(11.0, 0.0, 0.0, 11.0), Tape(11.0, 0.0, 0.0, 11.0)
    lasts = []
    for _ in range(4):
        tape = hit_book(rules, walls, 0, lots, 5, 11.0, 2.0, tape)
        none = WallBook(np.zeros((8, 6)), np.zeros((1, 9)), np.zeros(1, np.int64), np.zeros(1))
        free = hit_book(rules, none, 0, lots, 5, 11.0, 2.0, free)
        lasts.append((tape.last, free.last))
    assert lasts[0][0] == pytest.approx(10.999)
    assert lasts[0][1] < 10.999
    assert lasts[3][0] < 10.999
    assert live[2, 2] == 0.0
    assert walls.log[0, 8] == pytest.approx(3e6)
    assert all(held >= bare for held, bare in lasts)


# -- The lake ----------------------------------------------------------------------------------------------------------


def test_the_lake_takes_a_market_by_columns_and_by_events_alike(market, tmp_path):
    by_columns, by_events = Lake(tmp_path / "columns"), Lake(tmp_path / "events")
    for day in range(SPEC.days):
        for (kind, venue), columns in published(market, day, FINE).items():
            by_columns.write(kind, venue, SPEC.symbol, columns)
    by_events.write_events(market_events(market, FINE))
    for kind in ("trade", "price_mark", "open_interest", "liquidation", "funding", "funding_forecast", "book"):
        for venue in ("bybit", "okx", "binance"):
            one, other = (lake.read(kind, venue, SPEC.symbol) for lake in (by_columns, by_events))
            assert len(one["event_ns"]) > 0
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def test_a_day_that_was_not_simulated_is_refused(market):
    with pytest.raises(ValueError, match="day lies between 0 and 2, got 3"):
        published(market, 3)
    with pytest.raises(ValueError, match="detail=True"):
        published(simulate(SimulatorSpec(days=1, warm_up_days=0), 0), 0, FINE)


def test_parts_of_columns_are_joined_in_their_order():
    parts = [{"place": np.array([0, 1])}, {"place": np.array([2])}]
    assert joined(parts)["place"].tolist() == [0, 1, 2]
