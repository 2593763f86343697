import math

import msgspec
import numpy as np
import pytest

from squeeze.errors import StepError
from squeeze.heatmaps.order_book import OrderBookMap, OrderBookSpec
from squeeze.market.books import Book
from squeeze.market.depth import summarise
from squeeze.market.events import HOUR_NS, SECOND_NS, BookUpdate
from squeeze.market.venue_step import Candle, VenueStep

NAN = math.nan
DELTA = 5e-4
START = 1_000 * 24 * HOUR_NS
HERE = 20_000


def at(position: float) -> float:
    return math.exp(position * DELTA)


MARK = Candle(*[at(HERE + 0.5)] * 4, 0)


def summary(bids: dict[float, float], asks: dict[float, float], event_ns: int = START, bin_log: float = DELTA):
    """Of a limited feed with so many USD at positions from HERE on."""

    def levels(usd):
        return [(at(HERE + x), amount / at(HERE + x)) for x, amount in usd.items()]

    both = {"event_ns": event_ns, "known_at_ns": event_ns, "bids": levels(bids), "asks": levels(asks)}
    book = Book()
    book.apply(BookUpdate(venue="v", symbol="S", is_snapshot=True, depth=50, **both))
    found = summarise(book, bin_log)
    assert found is not None
    return found


DEEP = summary({0.4: 100.0, -0.5: 200.0, -1.5: 300.0, -2.5: 400.0}, {0.6: 10.0, 1.5: 20.0, 2.5: 30.0, 3.5: 40.0})


def shown(book, spec: OrderBookSpec = OrderBookSpec(), seconds: int = 0) -> OrderBookMap:  # noqa: B008
    heat = OrderBookMap(spec)
    heat.step(VenueStep(book=book), MARK, START + seconds * SECOND_NS)
    return heat


def test_usd_by_bin_and_what_the_feed_covers():
    heat = shown(DEEP)
    assert heat.covered() == (HERE - 2, HERE + 2)
    out = heat.outward(at(HERE), DELTA, 4)[:, 0]
    np.testing.assert_allclose(out, [[200, 300, NAN, NAN], [10, 20, 30, NAN]])
    assert (heat.usd[1][np.isfinite(heat.usd[1])] == [0, 0, 10, 20, 30]).all(), "within the feed, nothing is zero"


def test_a_view_bin_that_is_covered_in_part_is_masked():
    out = shown(DEEP).outward(at(HERE + 0.5), 2 * DELTA, 2)[:, 0]
    np.testing.assert_allclose(out, [[0.5 * 100 + 200 + 0.5 * 300, NAN], [0.5 * 10 + 20 + 0.5 * 30, NAN]])


def test_finer_bins_are_summed_where_all_of_them_are_covered():
    spec = OrderBookSpec(bin_log=2 * DELTA)
    heat = shown(DEEP, spec)
    assert heat.covered() == (HERE // 2 - 1, HERE // 2)
    found = heat.usd[:, np.isfinite(heat.usd[0])]
    np.testing.assert_allclose(found, [[500, 100], [0, 30]])


def test_a_book_that_covers_two_bins_covers_none():
    heat = shown(summary({0.4: 1.0}, {1.5: 1.0}))
    assert heat.covered() == (0, -1)
    assert np.isnan(heat.outward(at(HERE + 0.5), DELTA, 3)).all()
    assert heat.scalars()[0, heat.scalar_names.index("book_spread_bp")] == pytest.approx(5.5, rel=1e-3)


def test_without_a_book_the_last_stays_until_it_is_stale():
    heat = shown(DEEP)
    before = heat.outward(at(HERE), DELTA, 3)
    heat.step(VenueStep(), MARK, START + 60 * SECOND_NS)
    assert heat.outward(at(HERE), DELTA, 3).tobytes() == before.tobytes()
    assert heat.age_ns == 60 * SECOND_NS
    heat.step(VenueStep(), MARK, START + 60 * SECOND_NS + 1)
    assert np.isnan(heat.outward(at(HERE), DELTA, 3)).all()
    scalars = heat.scalars()
    assert np.isnan(scalars[:, :-1]).all()
    assert scalars[:, -1] == pytest.approx([60.0, 60.0])
    # And a new one replaces it whole.
    newer = summary({0.4: 7.0, -0.5: 7.0}, {0.6: 7.0, 1.5: 7.0}, START + 70 * SECOND_NS)
    heat.step(VenueStep(book=newer), MARK, START + 71 * SECOND_NS)
    assert heat.covered() == (HERE, HERE)


def test_an_older_book_does_not_replace_a_newer():
    heat = shown(DEEP)
    heat.step(VenueStep(book=msgspec.structs.replace(DEEP, event_ns=START - 1, bids_usd=(9.0,) * 7)), MARK, START + 1)
    np.testing.assert_allclose(heat.outward(at(HERE), DELTA, 1)[:, 0, 0], [200, 10])


def test_scalars_are_those_of_the_summary_by_side():
    book = msgspec.structs.replace(
        DEEP,
        bid_depth_usd=(1.0, 2.0, 3.0, 4.0, NAN),
        ask_depth_usd=(3.0, 2.0, 1.0, 0.0, NAN),
        imbalance=(-0.5, 0.0, 0.5, 1.0, NAN),
        buy_cost_bps=(1.0, 2.0, NAN),
        sell_cost_bps=(4.0, 5.0, 6.0),
    )
    heat = shown(book, seconds=3)
    down, up = heat.scalars()
    np.testing.assert_allclose(down, [1, 2, 3, 4, NAN, -0.5, 0, 0.5, 1, NAN, 4, 5, 6, book.spread_bps, 3])
    np.testing.assert_allclose(up, [3, 2, 1, 0, NAN, 0.5, 0, -0.5, -1, NAN, 1, 2, NAN, book.spread_bps, 3])
    assert heat.scalar_names[4:6] == ("book_depth_200bp_usd", "book_imbalance_10bp")
    assert heat.scalar_names[-4:-2] == ("book_cost_100000usd_bp", "book_cost_1e+06usd_bp")


@pytest.mark.parametrize(
    "wrong",
    [
        {"bid": 0.0},
        {"bid": NAN},
        {"ask": DEEP.bid},
        {"bids_usd": (1.0,) * 6 + (NAN,)},
        {"asks_usd": (-1.0,) * 7},
        {"bin_log": 7e-4},
    ],
    ids=str,
)
def test_a_book_that_cannot_be_leaves_the_map_as_it_was(wrong):
    heat = shown(DEEP)
    before = {name: array.tobytes() for name, array in heat.arrays().items()}
    with pytest.raises(StepError):
        heat.step(VenueStep(book=msgspec.structs.replace(DEEP, **wrong)), MARK, START + 1)
    assert {name: array.tobytes() for name, array in heat.arrays().items()} == before


def test_the_window_follows_the_book():
    heat = shown(DEEP)
    away = msgspec.structs.replace(DEEP, bid=at(HERE + 5000.4), ask=at(HERE + 5000.6), first_bin=DEEP.first_bin + 5000)
    heat.step(VenueStep(book=away), MARK, START + 1)
    assert heat.covered() == (HERE + 4998, HERE + 5002)
    heat.step(VenueStep(book=DEEP), MARK, START + 2)
    assert heat.covered() == (HERE - 2, HERE + 2)


def test_of_a_wider_book_nothing_is_left_beside_a_narrower():
    heat = shown(DEEP)
    narrow = summary({0.4: 7.0, -0.5: 7.0}, {0.6: 7.0, 1.5: 7.0}, START + 1)
    heat.step(VenueStep(book=narrow), MARK, START + 2)
    assert heat.covered() == (HERE, HERE)
    assert np.isfinite(heat.usd).sum(axis=1).tolist() == [1, 1]


def test_a_book_with_more_bids_than_asks_by_bin_is_refused():
    heat = shown(DEEP)
    before = {name: array.tobytes() for name, array in heat.arrays().items()}
    with pytest.raises(StepError, match="as many bins"):
        heat.step(VenueStep(book=msgspec.structs.replace(DEEP, bids_usd=(1.0,) * 6)), MARK, START + 1)
    assert {name: array.tobytes() for name, array in heat.arrays().items()} == before
