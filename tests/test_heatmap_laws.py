"""What every heatmap keeps, run over all of them."""

import math
import os

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.heatmaps.flow import FlowMap, FlowSpec
from squeeze.heatmaps.funding import FundingMap, FundingSpec
from squeeze.heatmaps.grid import BINS
from squeeze.heatmaps.open_interest import OpenInterestMap, OpenInterestSpec
from squeeze.heatmaps.order_book import OrderBookMap, OrderBookSpec
from squeeze.heatmaps.protocol import HeatMap
from squeeze.heatmaps.stops import StopMap, StopsSpec
from squeeze.heatmaps.volume_profile import VolumeProfile, VolumeProfileSpec
from squeeze.market.depth import BookSummary
from squeeze.market.events import (
    HOUR_NS,
    MINUTE_NS,
    Broken,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    OpenInterest,
    Quality,
)
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from tests.naive_heatmaps import (
    NaiveFlow,
    NaiveFunding,
    NaiveOpenInterest,
    NaiveOrderBook,
    NaiveStops,
    NaiveVolumeProfile,
)

NAN = math.nan
DELTA = 5e-4
START = 1_000 * 24 * HOUR_NS
VENUES = ("v", "w")
WIDTH, VIEW = 0.0017, 40
"""The view that laws compare: 6.8 %."""

VOLUME = VolumeProfileSpec(windows_hours=(0.5, 2.0), slots=6, path_closes=8)
INTEREST = OpenInterestSpec(windows_hours=(0.5, 3.0), slots=4)
FUNDING = FundingSpec(venues=VENUES, hours=48, z_hours=24, z_least=3)
BOOK = OrderBookSpec(stale_seconds=150.0)
STOPS = StopsSpec(windows_hours=(0.25, 1.0), slots=5, stale_minutes=5.0)
FLOW = FlowSpec(half_lives_minutes=(5.0, 30.0))

MAPS = {
    "volume": (lambda: VolumeProfile(VOLUME), lambda: NaiveVolumeProfile(VOLUME)),
    "interest": (lambda: OpenInterestMap(INTEREST), lambda: NaiveOpenInterest(INTEREST)),
    "funding": (lambda: FundingMap(FUNDING), lambda: NaiveFunding(FUNDING)),
    "book": (lambda: OrderBookMap(BOOK), lambda: NaiveOrderBook(BOOK)),
    "stops": (lambda: StopMap(STOPS), lambda: NaiveStops(STOPS)),
    "flow": (lambda: FlowMap(FLOW), lambda: NaiveFlow(FLOW)),
}
every_map = pytest.mark.parametrize("name", MAPS)


def new(name: str) -> HeatMap:
    return MAPS[name][0]()


def feed(heat, step) -> None:
    parts, mark, close_ns = step
    across = isinstance(heat, (FundingMap, NaiveFunding))
    heat.step(parts if across else parts["v"], mark, close_ns)


def view(heat, step) -> np.ndarray:
    return heat.outward(step[1].close, WIDTH, VIEW)


def bits(heat) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in heat.arrays().items()}


def whole_state(held) -> bytes:
    """All that an object holds, whatever its `arrays` are: its attributes, down to numbers and the bits of arrays."""
    if isinstance(held, np.ndarray):
        return f"{held.dtype}{held.shape}".encode() + held.tobytes()
    if isinstance(held, (str, int, float, np.generic, type(None))):
        return repr(held).encode()
    if isinstance(held, (tuple, list)):
        parts = dict(enumerate(held))
    else:
        parts = msgspec.structs.asdict(held) if isinstance(held, msgspec.Struct) else vars(held)
    inside = b",".join(f"{name}=".encode() + whole_state(part) for name, part in parts.items())
    return type(held).__name__.encode() + b"(" + inside + b")"


def market(seed: int, count: int, whole: bool = False, since_ns: int = START):
    """Steps of a minute: (parts by venue, mark, close); unless `whole`, with holes, bars in place of trades, jumps."""
    rng = np.random.default_rng(seed)
    log_price, interest = math.log(rng.uniform(2, 9e4)), 5e4
    hours = 8.0
    for i in range(count):
        close_ns = since_ns + (i + 1) * MINUTE_NS
        opened, log_price = log_price, log_price + rng.normal(0, 0.0015)
        low, high = min(opened, log_price) - rng.exponential(5e-4), max(opened, log_price) + rng.exponential(5e-4)
        mark = Candle(*(math.exp(x) for x in (opened, high, low, log_price)), close_ns)
        if rng.random() < 0.002:
            hours = rng.choice([1.0, 4.0, 8.0])
        parts = {}
        for venue in VENUES:
            kind = 0.0 if whole else rng.random()
            at = {"venue": venue, "symbol": "S", "event_ns": close_ns - 1000, "known_at_ns": close_ns}
            fields = {"last": mark}
            if kind < 0.6:
                first = math.floor(low / DELTA)
                bins = math.floor(high / DELTA) - first + 1
                sizes = rng.exponential(20, (2, bins))
                fields["flow"] = PriceFlow(DELTA, first, tuple(sizes[0].tolist()), tuple(sizes[1].tolist()))
                fields["volume_base"], fields["taker_buy_base"] = float(sizes.sum()), float(sizes[0].sum())
            elif kind < 0.8:
                fields["volume_base"] = float(rng.exponential(400))
                fields["taker_buy_base"] = float(fields["volume_base"] * rng.choice([0.3, 0.8, NAN]))
            elif kind < 0.9:
                fields = {"last": mark, "volume_base": 0.0}
            else:
                fields = {}
            if not whole and rng.random() < 0.05:
                fields["quality"] = int(Quality.PARTIAL)
            interest *= math.exp(rng.normal(0, 0.01))
            if not whole and rng.random() < 0.02:
                interest *= rng.choice([0.5, 2.0])
            if i % 3 == 1:
                old = OpenInterest(**at | {"event_ns": START - 5}, open_interest_base=1.0)
                fields["open_interest"] = (OpenInterest(**at, open_interest_base=float(interest)), old)
            said = hours if rng.random() < 0.7 else NAN
            rate = float(rng.normal(0, 1e-4))
            if i % 40 == 20:
                on_hour = close_ns // HOUR_NS * HOUR_NS + (rng.random() < 0.1) * 1000
                settled = Funding(**at | {"event_ns": on_hour}, funding_rate=rate, interval_hours=said)
                fields["funding"] = (settled,)
            if fields:
                forecast = FundingForecast(**at, funding_rate=rate, interval_hours=said, settles_ns=close_ns + HOUR_NS)
                fields["forecast"] = forecast if rng.random() < 0.8 else None
                fields["book"] = book(rng, log_price, close_ns) if whole or rng.random() < 0.7 else None
            parts[venue] = VenueStep(**fields)
        yield parts, mark, close_ns


def book(rng, log_price: float, close_ns: int) -> BookSummary:
    here, reach = math.floor(log_price / DELTA), int(rng.integers(5, 60))
    usd = rng.exponential(1e5, (2, 2 * reach + 1))
    usd[0, reach + 1 :] = usd[1, :reach] = 0.0
    five = rng.exponential(1e6, (2, 5))
    return BookSummary(
        event_ns=close_ns - 10**9,
        bid=math.exp(log_price - 1e-6),
        ask=math.exp(log_price + 1e-6),
        spread_bps=0.02,
        bid_depth_usd=tuple(five[0].tolist()),
        ask_depth_usd=tuple(five[1].tolist()),
        imbalance=tuple(((five[0] - five[1]) / five.sum(axis=0)).tolist()),
        buy_cost_bps=(1.0, 2.0, NAN),
        sell_cost_bps=(1.5, NAN, NAN),
        bin_log=DELTA,
        first_bin=here - reach,
        bids_usd=tuple(usd[0].tolist()),
        asks_usd=tuple(usd[1].tolist()),
    )


def changed(step, candle, part):
    parts, mark, close_ns = step
    return {venue: part(p) for venue, p in parts.items()}, candle(mark), close_ns


def mirrored(step, double: int):
    """The step in a market where ln p becomes double × DELTA − ln p and buyers and sellers change places."""

    def price(p: float) -> float:
        return math.exp(double * DELTA - math.log(p))

    def candle(c: Candle | None) -> Candle | None:
        return c and Candle(price(c.open), price(c.low), price(c.high), price(c.close), c.event_ns)

    def turned(b: BookSummary | None) -> BookSummary | None:
        return b and msgspec.structs.replace(
            b,
            bid=price(b.ask),
            ask=price(b.bid),
            bid_depth_usd=b.ask_depth_usd,
            ask_depth_usd=b.bid_depth_usd,
            imbalance=tuple(-x for x in b.imbalance),
            buy_cost_bps=b.sell_cost_bps,
            sell_cost_bps=b.buy_cost_bps,
            first_bin=double - b.first_bin - len(b.bids_usd),
            bids_usd=b.asks_usd[::-1],
            asks_usd=b.bids_usd[::-1],
        )

    def part(p: VenueStep) -> VenueStep:
        f = p.flow
        return msgspec.structs.replace(
            p,
            last=candle(p.last),
            taker_buy_base=p.volume_base - p.taker_buy_base,
            flow=f and PriceFlow(DELTA, double - f.first_bin - len(f.buys_base), f.sells_base[::-1], f.buys_base[::-1]),
            funding=tuple(msgspec.structs.replace(r, funding_rate=-r.funding_rate) for r in p.funding),
            forecast=p.forecast and msgspec.structs.replace(p.forecast, funding_rate=-p.forecast.funding_rate),
            book=turned(p.book),
        )

    return changed(step, candle, part)


def scaled(step, factor: float):
    """The same step with contracts `factor` times as many."""

    def times(row):
        return tuple(x * factor for x in row)

    def part(p: VenueStep) -> VenueStep:
        f, b = p.flow, p.book
        return msgspec.structs.replace(
            p,
            volume_base=p.volume_base * factor,
            taker_buy_base=p.taker_buy_base * factor,
            flow=f and PriceFlow(DELTA, f.first_bin, times(f.buys_base), times(f.sells_base)),
            open_interest=tuple(
                msgspec.structs.replace(s, open_interest_base=s.open_interest_base * factor) for s in p.open_interest
            ),
            book=b and msgspec.structs.replace(b, bids_usd=times(b.bids_usd), asks_usd=times(b.asks_usd)),
        )

    return changed(step, lambda c: c, part)


@every_map
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_map_equals_its_slow_twin(name, seed):
    fast, slow = (make() for make in MAPS[name])
    for i, step in enumerate(market(seed, 150)):
        feed(fast, step)
        feed(slow, step)
        if i % 29 == 28 or i == 2:
            got, want = view(fast, step), view(slow, step)
            assert got.shape == want.shape == (2, len(fast.channels), VIEW)
            np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-7 if name != "stops" else 1e-12)


@every_map
@pytest.mark.parametrize("cut", [1, 40, 119])
def test_a_restored_map_goes_on_bit_for_bit(name, cut):
    whole, first, second = new(name), new(name), new(name)
    for i, step in enumerate(market(7, 120)):
        feed(whole, step)
        if i == cut:
            kept = {key: array.copy() for key, array in first.arrays().items()}
            for key, array in second.arrays().items():
                array[...] = kept[key]
        heat = first if i < cut else second
        feed(heat, step)
        view(heat, step), heat.scalars()  # to look changes nothing
    assert bits(whole) == bits(second)
    assert view(whole, step).tobytes() == view(second, step).tobytes()
    assert whole.scalars().tobytes() == second.scalars().tobytes()


@every_map
def test_the_arrays_are_the_whole_state(name):
    """Two maps with the same arrays are the same object but for them: nothing is remembered elsewhere."""
    ran, fresh = new(name), new(name)
    for step in market(3, 90):
        feed(ran, step)
    for key, array in fresh.arrays().items():
        array[...] = ran.arrays()[key]
    assert whole_state(ran) == whole_state(fresh)


@every_map
def test_what_comes_later_changes_nothing_before(name):
    one, other = new(name), new(name)
    past = list(market(11, 60))
    futures = [list(market(seed, 40, since_ns=past[-1][2])) for seed in (1, 2)]
    seen = []
    for heat, future in ((one, futures[0]), (other, futures[1])):
        views = []
        for step in past + future:
            feed(heat, step)
            views.append((view(heat, step).tobytes(), heat.scalars().tobytes()))
        seen.append(views)
    assert seen[0][:60] == seen[1][:60]
    assert seen[0][60:] != seen[1][60:]


@every_map
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_flipping_the_market_swaps_the_sides(name, seed):
    heat, flipped = new(name), new(name)
    if name == "stops":  # round numbers of one price are none of another
        heat, flipped = (StopMap(msgspec.structs.replace(STOPS, round_weight=0.0)) for _ in range(2))
    double = None
    for step in market(seed, 90):
        double = 2 * round(math.log(step[1].close) / DELTA) if double is None else double
        turned = mirrored(step, double)
        feed(heat, step)
        feed(flipped, turned)
    np.testing.assert_allclose(view(heat, step), view(flipped, turned)[::-1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(heat.scalars(), flipped.scalars()[::-1], rtol=1e-5, atol=1e-7)


@every_map
def test_scaling_contracts_scales_the_map(name):
    heat, larger = new(name), new(name)
    factor = 1.0 if name in ("funding", "stops") else 7.0
    for step in market(5, 120):
        feed(heat, step)
        feed(larger, scaled(step, 7.0))
        np.testing.assert_allclose(view(larger, step), factor * view(heat, step), rtol=1e-9, atol=1e-9)


def volume_mass(heat) -> tuple[np.ndarray, np.ndarray]:
    return heat.rolling.total[:, 0].sum(axis=1), heat.ledger @ np.array([1.0, -1.0, -1.0])


def interest_mass(heat) -> tuple[np.ndarray, np.ndarray]:
    held = heat.rolling.total.sum(axis=2)
    held[:, 0] *= heat.numbers[2]
    return held, heat.ledger @ np.array([1.0, -1.0, -1.0, -1.0])


def flow_mass(heat) -> tuple[np.ndarray, np.ndarray]:
    return heat.cells.sum(axis=(1, 2)) * heat.scale, heat.ledger @ np.array([1.0, -1.0, -1.0])


MASSES = {"volume": volume_mass, "interest": interest_mass, "flow": flow_mass}


@pytest.mark.parametrize("name", MASSES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mass_is_neither_made_nor_lost_but_as_declared(name, seed):
    heat = new(name)
    for i, step in enumerate(market(seed, 200)):
        if i == 120:  # a jump that the window must follow, and that leaves something behind
            step = changed(step, lambda c: Candle(*(p * 6 for p in (c.open, c.high, c.low, c.close)), 0), lambda p: p)
        feed(heat, step)
        held, declared = MASSES[name](heat)
        np.testing.assert_allclose(held, declared, rtol=1e-7, atol=1e-4)
    assert (heat.ledger[..., 0] > 0).all()
    assert (heat.ledger[..., -1] > 0).any()


def test_the_book_on_the_map_is_the_book():
    heat = new("book")
    for step in market(4, 20, whole=True):
        feed(heat, step)
        shown = step[0]["v"].book
        inner = np.array([shown.bids_usd, shown.asks_usd])[:, 1:-1]
        assert np.nansum(heat.usd, axis=1) == pytest.approx(inner.sum(axis=1))


def test_stops_sum_to_one_within_reach():
    heat = new("stops")
    for step in market(4, 30):
        feed(heat, step)
    np.testing.assert_allclose(heat.outward(step[1].close, 0.001, 50).sum(axis=2), 1.0)
    np.testing.assert_allclose(np.nansum(heat.outward(step[1].close, 0.001, 80), axis=2), 1.0)


@every_map
def test_a_gap_masks_and_never_zeroes(name):
    heat = new(name)
    for step in market(6, 146, whole=True):
        feed(heat, step)
    _, mark, close_ns = step
    before = view(heat, step)
    always = [not n.startswith(("net", "toward", "away")) for n in heat.channels]
    filled = np.nansum(np.abs(before), axis=(0, 2)) > 0
    assert filled[always].all()
    hole = Gap(
        venue="v", symbol="S", event_ns=close_ns, known_at_ns=close_ns + 1, feed=Feed.ALL, reason=Broken.DISCONNECTED
    )
    silent = VenueStep(gaps=(hole,), quality=int(Quality.PARTIAL))
    for minute in range(1, 1600):
        feed(heat, ({"v": silent, "w": VenueStep()}, mark, close_ns + minute * MINUTE_NS))
        now = heat.outward(mark.close, WIDTH, VIEW)
        masked = np.isnan(now).all(axis=(0, 2))
        assert (masked | (np.nansum(np.abs(now), axis=(0, 2)) > 0))[always].all(), minute
        if minute == 1:
            np.testing.assert_allclose(now, before, rtol=0.2, equal_nan=True)
    assert masked.all()


@every_map
def test_a_map_that_has_heard_nothing_is_masked(name):
    heat = new(name)
    assert np.isnan(heat.outward(100.0, WIDTH, VIEW)).all()
    mark = Candle(100.0, 100.0, 100.0, 100.0, START)
    feed(heat, ({"v": VenueStep()}, mark, START))
    assert np.isnan(heat.outward(100.0, WIDTH, VIEW)).all()
    coverage = [n.startswith("volume_coverage") or n.startswith("coverage") for n in heat.scalar_names]
    scalars = heat.scalars()
    assert scalars.shape == (2, len(heat.scalar_names))
    assert np.isnan(scalars[:, ~np.array(coverage)]).all()
    assert (scalars[:, coverage] == 0).all()


@every_map
def test_sliding_keeps_what_stays_inside(name):
    heat = new(name)
    for step in market(8, 56, whole=True):  # no part of a window ends a minute later
        feed(heat, step)
    _, mark, close_ns = step
    before = view(heat, step)
    factor = math.exp(1300 * DELTA)
    jumped = Candle(*(p * factor for p in (mark.open, mark.high, mark.low, mark.close)), close_ns)
    feed(
        heat,
        ({}, jumped, close_ns + MINUTE_NS) if name == "funding" else ({"v": VenueStep()}, jumped, close_ns + MINUTE_NS),
    )
    if hasattr(heat, "window") and name != "book":
        assert heat.window.origin == math.floor(math.log(jumped.close) / DELTA) - BINS // 2
    np.testing.assert_allclose(view(heat, step), before, rtol=1e-9 if name != "stops" else 0.1)


@pytest.mark.parametrize("name", ["volume", "interest", "flow"])
def test_what_slid_out_is_not_covered_when_the_price_comes_back(name):
    heat = new(name)
    steps = list(market(8, 61, whole=True))
    for step in steps[:60]:
        feed(heat, step)
    _, mark, close_ns = step
    for minute, factor in ((1, 30.0), (2, 1.0)):
        jumped = Candle(*(p * factor for p in (mark.open, mark.high, mark.low, mark.close)), close_ns)
        feed(heat, ({"v": VenueStep()}, jumped, close_ns + minute * MINUTE_NS))
    assert np.isnan(view(heat, step)).all()
    later = close_ns + 20 * HOUR_NS
    feed(heat, (steps[60][0], mark, later))
    feed(heat, (steps[60][0], mark, later + MINUTE_NS))
    assert name == "interest" or np.isfinite(view(heat, step)).all()


BAD = [
    {"close": NAN},
    {"low": 0.0},
    {"low": -1.0},
    {"high": math.inf},
    {"low": 100.5},
    {"open": NAN},
]


@every_map
@pytest.mark.parametrize("wrong", BAD, ids=str)
def test_a_refused_candle_leaves_the_map_as_it_was(name, wrong):
    heat = new(name)
    for step in market(9, 40):
        feed(heat, step)
    before = bits(heat)
    good = Candle(100.0, 101.0, 99.0, 100.0, 0)
    parts, _, close_ns = next(iter(market(10, 1, whole=True, since_ns=step[2])))
    with pytest.raises(StepError, match="mark candle"):
        feed(heat, (parts, msgspec.structs.replace(good, **wrong), close_ns))
    assert bits(heat) == before


@every_map
def test_a_step_that_does_not_follow_is_refused(name):
    heat = new(name)
    for step in market(9, 10):
        feed(heat, step)
    before = bits(heat)
    with pytest.raises(StepError, match="does not follow"):
        feed(heat, step)
    assert bits(heat) == before


WRONG_PARTS = [
    VenueStep(flow=PriceFlow(DELTA, 10, (1.0, -1.0), (0.0, 0.0))),
    VenueStep(flow=PriceFlow(DELTA, 10, (1.0, NAN), (0.0, 0.0))),
    VenueStep(flow=PriceFlow(3e-4, 10, (1.0,), (0.0,))),
    VenueStep(volume_base=-1.0),
    VenueStep(volume_base=math.inf, last=Candle(1.0, 1.0, 1.0, 1.0, 0)),
    VenueStep(volume_base=1.0, taker_buy_base=-1.0),
    VenueStep(volume_base=1.0, last=Candle(1.0, 1.0, 0.0, 1.0, 0)),
]


@pytest.mark.parametrize("name", ["volume", "interest", "flow"])
@pytest.mark.parametrize("part", WRONG_PARTS, ids=range(len(WRONG_PARTS)))
def test_amounts_that_cannot_be_leave_the_map_as_it_was(name, part):
    heat = new(name)
    for step in market(9, 30):
        feed(heat, step)
    before = bits(heat)
    with pytest.raises(StepError):
        feed(heat, ({"v": part}, step[1], step[2] + MINUTE_NS))
    assert bits(heat) == before


@every_map
@pytest.mark.parametrize("price", [1e-6, 1.0, 3e8])
def test_prices_of_any_size_have_a_map(name, price):
    heat, factor = new(name), None
    for parts, mark, close_ns in market(12, 60, whole=True):
        factor = factor or round((math.log(price) - math.log(mark.close)) / DELTA)
        times = math.exp(factor * DELTA)

        def moved(c, times=times):
            return Candle(c.open * times, c.high * times, c.low * times, c.close * times, c.event_ns)

        def part(p, factor=factor, times=times):
            f, b = p.flow, p.book
            return msgspec.structs.replace(
                p,
                last=moved(p.last),
                flow=PriceFlow(DELTA, f.first_bin + factor, f.buys_base, f.sells_base),
                book=msgspec.structs.replace(b, bid=b.bid * times, ask=b.ask * times, first_bin=b.first_bin + factor),
            )

        step = changed((parts, mark, close_ns), moved, part)
        feed(heat, step)
    out = view(heat, step)
    assert np.nansum(np.abs(out)) > 0


MANY_STEPS = int(os.environ.get("MANY_STEPS", "12000"))
"""100,000 in `make long`."""


@every_map
def test_memory_does_not_grow_over_many_steps(name):
    heat = new(name)
    steps = list(market(13, 200))
    sizes = []
    for i in range(MANY_STEPS):
        parts, mark, _ = steps[i % 200]
        close_ns = START + (i + 1) * MINUTE_NS
        if i % 50 < 2 or name in ("interest", "funding"):
            parts = {venue: later(part, close_ns) for venue, part in parts.items()}
        feed(heat, (parts, mark, close_ns))
        if i in (1_000, MANY_STEPS - 1):
            sizes.append(len(whole_state(heat)))
    assert abs(sizes[1] - sizes[0]) < 64  # numbers of other lengths


def later(part: VenueStep, close_ns: int) -> VenueStep:
    """The part with its stamps and rates as of another time."""
    changes = {
        "open_interest": tuple(msgspec.structs.replace(s, event_ns=close_ns) for s in part.open_interest),
        "funding": tuple(msgspec.structs.replace(s, event_ns=close_ns) for s in part.funding),
    }
    if part.forecast is not None:
        changes["forecast"] = msgspec.structs.replace(part.forecast, event_ns=close_ns)
    return msgspec.structs.replace(part, **changes)
