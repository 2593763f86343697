"""The liquidation map beyond its four steps: history in one call, flow by price, cadences, counting, tilt, views."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.heatmaps.grid import BINS, position
from squeeze.heatmaps.liquidation import FlowColumns, LiquidationMap, shifts
from squeeze.heatmaps.liquidation_step import BOUNDED, CLOSED, HELD, OPENED, SWEPT
from squeeze.heatmaps.open_interest import OpenInterestMap, OpenInterestSpec
from squeeze.heatmaps.protocol import Traded
from squeeze.market.events import DAY_NS, MINUTE_NS, OpenInterest
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.spec import MapSpec
from tests.naive import NaiveMap
from tests.test_liquidation_map import DELTA, MINUTE_DAYS, NAN, PLAIN, cells, flat, opened, price_at, random_steps

SEEDS = st.integers(0, 2**32 - 1)
SIGNS = ((0, 1), (1, -1))
TILTED = {"close_tilt_near": 3.0, "close_tilt_profit": 1.5}
SPECS = {
    "stamps": MapSpec(),
    "live": MapSpec(open_interest="live", live_silence_minutes=3.0),
    "volume": MapSpec(open_interest="volume", ageing_half_life_hours=5.0),
    "tilted": MapSpec(open_interest="live", turnover=0.8, **TILTED),
    "uniform": MapSpec(shape="uniform", uniform_log=(0.0007, 0.05)),
}


def random_flow(rng: np.random.Generator, step) -> Traded | None:
    """Taker flow by price over a step's bar, sometimes not recorded, sometimes none."""
    if rng.random() < 0.3:
        return None
    first = math.floor(math.log(step[1][0]) / DELTA)
    last = math.floor(math.log(step[1][1]) / DELTA)
    count = 0 if rng.random() < 0.1 else last - first + 1
    return Traded(first, rng.exponential(40.0, (2, count)) * (rng.random((2, count)) < 0.7), False, False)


def random_history(seed: int, count: int, spec: MapSpec, flows: bool = True):
    """Arguments of `step`, one tuple each, with flow by price at most steps."""
    rng = np.random.default_rng(seed + 1)
    for i, step in enumerate(random_steps(seed, count, spec.open_interest != "volume", True)):
        yield *step, 20_000 + (i + 1) * MINUTE_DAYS, MINUTE_DAYS, random_flow(rng, step) if flows else None


def folded(heat: LiquidationMap, history) -> tuple[np.ndarray, np.ndarray]:
    mark, traded, buys, sells, stamps, days, _, flows = zip(*history, strict=True)
    columns = map(np.array, (mark, traded, buys, sells, stamps, days))
    return heat.fold(*columns, MINUTE_DAYS, FlowColumns.of(flows))


def same_bits(one: LiquidationMap, other: LiquidationMap) -> None:
    for name, array in one.arrays().items():
        assert array.tobytes() == other.arrays()[name].tobytes(), name


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS)
def test_a_history_in_one_call_gives_the_bits_of_its_steps(name, seed):
    spec = SPECS[name]
    history = list(random_history(seed, 300, spec))
    stepped, whole, halves = (LiquidationMap(spec) for _ in range(3))
    each = [stepped.step(*step) for step in history]
    swept, flagged = folded(whole, history)
    assert swept.tobytes() == np.array([s for s, _ in each]).tobytes()
    assert flagged.tolist() == [f for _, f in each]
    folded(halves, history[:113])
    folded(halves, history[113:])
    same_bits(whole, stepped)
    same_bits(halves, stepped)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=3, deadline=None)
@given(seed=SEEDS)
def test_flow_cadences_counting_and_tilt_equal_the_naive_twin(name, seed):
    spec = SPECS[name]
    distances_log = shifts(spec)[0] * DELTA * 0.9
    history = list(random_history(seed, 80, spec))
    if spec.open_interest != "volume":
        stamps = [i for i, h in enumerate(history) if not math.isnan(h[4])]
        if len(stamps) > 3:  # from the middle on, counted once and not twice
            for i in stamps[len(stamps) // 2 :]:
                history[i] = (*history[i][:4], history[i][4] / 2, *history[i][5:])
    fast, slow = LiquidationMap(spec, distances_log), NaiveMap(spec, history[0][0][2], distances_log)
    for i, step in enumerate(history):
        swept, flagged = fast.step(*step)
        expected, expected_flag = slow.step(*step)
        np.testing.assert_allclose(swept, expected, rtol=1e-9, atol=1e-7)
        assert flagged == expected_flag, i
    got, want = cells(fast, slow)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-7)
    born = fast.mass[:, -1] * fast.scale[:, None]
    first = fast.origin - slow.first
    np.testing.assert_allclose(born, slow.born[:, first : first + BINS], rtol=1e-8, atol=1e-2)
    assert slow.added.min() > 0


@pytest.mark.parametrize("name", SPECS)
def test_the_ledger_accounts_for_all_mass(name):
    spec = SPECS[name]
    heat = LiquidationMap(spec)
    history = list(random_history(7, 2000, spec))
    swept, _ = folded(heat, history)
    coins = heat.coins
    np.testing.assert_allclose(coins[HELD], coins[OPENED] - coins[CLOSED : len(coins)].sum(axis=0), rtol=1e-8)
    np.testing.assert_allclose(coins[HELD], heat.store[:, :-2].sum(axis=2) * heat.scale[:, None], rtol=1e-8)
    np.testing.assert_allclose(coins[SWEPT], swept.sum(axis=0), rtol=1e-9)
    assert (heat.store >= 0).all()
    assert (coins[[OPENED, CLOSED, SWEPT]][:, :, 1:] > 0).all()


@pytest.mark.parametrize("name", SPECS)
def test_scaling_contracts_scales_the_map(name):
    spec, by = SPECS[name], 1000.0
    one, other = LiquidationMap(spec), LiquidationMap(spec)
    for mark, traded, buys, sells, stamp, days, length, flow in random_history(3, 200, spec):
        swept, _ = one.step(mark, traded, buys, sells, stamp, days, length, flow)
        more = None if flow is None else flow._replace(sides=flow.sides * by)
        scaled, _ = other.step(mark, traded, buys * by, sells * by, stamp * by, days, length, more)
        np.testing.assert_allclose(scaled, swept * by, rtol=1e-9, atol=1e-6)
    held, more = (heat.mass * heat.scale[:, None, None] for heat in (one, other))
    np.testing.assert_allclose(more, held * by, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(other.view(24.0), one.view(24.0) * by, rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_a_market_upside_down_swaps_the_sides_of_a_symmetric_contract(name):
    spec = SPECS[name]
    down = shifts(spec)[0][0] * DELTA
    one, other = (LiquidationMap(spec, np.stack([down, -down])) for _ in range(2))
    history = list(random_history(11, 150, spec, flows=False))
    about = 2 * math.floor(math.log(history[0][0][2]) / DELTA) * DELTA

    def turned(price: float) -> float:
        return math.exp(about - math.log(price))

    for mark, traded, buys, sells, stamp, days, length, _ in history:
        swept, flagged = one.step(mark, traded, buys, sells, stamp, days, length)
        low, high, close = mark
        upside = (turned(high), turned(low), turned(close)), (turned(traded[1]), turned(traded[0]))
        other_swept, other_flagged = other.step(*upside, sells, buys, stamp, days, length)
        np.testing.assert_allclose(other_swept[::-1], swept, rtol=1e-6, atol=1e-5)
        assert flagged == other_flagged
        at = one.outward(close, 0.0017, 40), other.outward(turned(close), 0.0017, 40)[::-1]
        np.testing.assert_allclose(at[1], at[0], rtol=1e-6, atol=1e-4)


def test_flow_by_price_puts_the_deposit_where_takers_traded():
    heat, price = opened(coins=0.0), price_at(20_000.5)
    flow = Traded(19_990, np.array([[3.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]), uniform=False, halved=False)
    heat.step(flat(price), (price_at(20_500.5), price_at(20_600.5)), 50.0, 50.0, 1100.0, 3.0, MINUTE_DAYS, flow)
    distance, _ = shifts(PLAIN)
    at = np.arange(BINS) + heat.origin
    mean = [(heat.mass[s, 0] * at).sum() / heat.mass[s, 0].sum() for s in range(2)]
    np.testing.assert_allclose(mean, 19_990.75 + distance[:, 0], atol=0.1)  # a quarter of it three bins up


def test_in_live_mode_a_step_without_a_stamp_deposits_until_the_feed_is_silent_for_too_long():
    spec = MapSpec(
        leverages=(10.0,), prior_weights=(1.0,), open_interest="live", turnover=1.0, live_silence_minutes=5.0
    )
    heat, price = LiquidationMap(spec), price_at(20_000.5)

    def at(minute: int, stamp: float) -> float:
        before = heat.coins[OPENED].sum()
        heat.step(flat(price), (price, price), 5.0, 5.0, stamp, 10.0 + minute * MINUTE_DAYS, MINUTE_DAYS)
        return heat.coins[OPENED].sum() - before

    assert at(0, NAN) == 0, "before the first stamp nothing is known"
    assert at(1, 1000.0) == pytest.approx(20.0)  # two steps' volume of 10, half of it opens, on both sides
    assert [at(minute, NAN) for minute in range(2, 6)] == pytest.approx([10.0] * 4)
    assert at(8, NAN) == 0
    assert at(9, NAN) == 0
    assert at(10, 1000.0) == pytest.approx(30.0), "what was traded in silence is deposited then"


def test_a_stamp_that_halves_is_a_change_of_counting_and_scales_the_map():
    heat = opened(MapSpec(leverages=(10.0,), prior_weights=(1.0,), taker_tilt=1.0, turnover=0.0))
    price = price_at(20_000.5)
    before = heat.coins
    _, flagged = heat.step(flat(price), (price, price), 9.0, 9.0, 550.0, 3.0, MINUTE_DAYS)
    assert flagged
    assert heat.recounts == 1
    np.testing.assert_allclose(heat.coins[HELD], before[HELD] / 2)
    np.testing.assert_array_equal(
        heat.coins[[OPENED, CLOSED, SWEPT, BOUNDED]], before[[OPENED, CLOSED, SWEPT, BOUNDED]]
    )
    _, flagged = heat.step(flat(price), (price, price), 1.0, 1.0, 550.0 + 55.0, 4.0, MINUTE_DAYS)
    assert not flagged
    np.testing.assert_allclose(heat.coins[HELD], before[HELD] / 2 + 55.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.3, 3.0), min_size=1, max_size=12))
def test_the_open_interest_map_takes_the_same_stamps_for_a_change_of_counting(ratios):
    heat, other = LiquidationMap(MapSpec()), OpenInterestMap(OpenInterestSpec())
    price, interest = 100.0, 1000.0
    for i, ratio in enumerate([1.0, *ratios]):
        interest *= ratio
        close_ns = (i + 1) * MINUTE_NS
        candle = Candle(price, price, price, price, close_ns)
        at = {"venue": "v", "symbol": "S", "event_ns": close_ns, "known_at_ns": close_ns}
        stamp = OpenInterest(**at, open_interest_base=interest)
        part = VenueStep(last=candle, volume_base=2.0, taker_buy_base=1.0, open_interest=(stamp,))
        other.step(part, candle, close_ns)
        heat.step(flat(price), (price, price), 1.0, 1.0, interest, close_ns / DAY_NS, MINUTE_DAYS)
    assert heat.recounts == other.counting_changes


def tilted_close(near: float, profit: float, share: float) -> tuple[np.ndarray, np.ndarray, LiquidationMap]:
    """x of each bin with longs, and what a close of `share` leaves of it."""
    spec = MapSpec(leverages=(10.0,), prior_weights=(1.0,), turnover=0.0, taker_tilt=1.0, jump_share=None,
                   close_tilt_near=near, close_tilt_profit=profit)  # fmt: skip
    heat, price = LiquidationMap(spec), price_at(20_000.5)
    heat.step(flat(price), (price, price), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    low, high = price_at(19_850.5), price_at(20_400.5)
    heat.step((price, high, price), (low, high), 5.0, 5.0, 1100.0, 2.0, MINUTE_DAYS)
    before = heat.mass[0, 0] * heat.scale[0]
    heat.step(flat(price), (price, price), 1.0, 1.0, 1100.0 * (1 - share), 3.0, MINUTE_DAYS)
    after = heat.mass[0, 0] * heat.scale[0]
    held = before > 1e-3
    here = position(price, DELTA, heat.origin)
    x = (here - np.arange(BINS) - 0.5) / abs(shifts(spec)[0][0, 0])
    return x[held], (after / np.where(before > 0, before, 1.0))[held], heat


def test_a_tilt_closes_those_near_liquidation_and_those_in_profit_more_readily():
    x, left, heat = tilted_close(near=2.0, profit=1.0, share=0.3)
    _, alike, untilted = tilted_close(near=0.0, profit=0.0, share=0.3)
    np.testing.assert_allclose(alike, 0.7)
    closed = 1 - left
    phi = 1 + 2.0 * np.maximum(1 - x, 0) ** 2 + np.clip(x - 1, 0, 1)
    np.testing.assert_allclose(closed / phi, (closed / phi)[0])
    assert x.min() < 0.4
    assert x.max() > 1.5
    np.testing.assert_allclose(heat.coins[CLOSED], untilted.coins[CLOSED], rtol=1e-9)
    np.testing.assert_allclose(heat.coins[HELD], untilted.coins[HELD], rtol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.99])
def test_a_tilt_never_closes_more_than_nine_tenths_of_a_bin_nor_another_total(share):
    _, left, heat = tilted_close(near=10.0, profit=10.0, share=share)
    assert (left > 0.1 - 1e-9).all()
    np.testing.assert_allclose(heat.coins[HELD], heat.coins[OPENED] * (1 - min(share, 0.9)), rtol=1e-6)


@pytest.mark.parametrize("buckets", ["all", "one"])
@pytest.mark.parametrize("tilt", [{}, TILTED])
@settings(max_examples=2, deadline=None)
@given(seed=SEEDS)
def test_a_view_holds_the_cohorts_of_its_last_parts(buckets, tilt, seed):
    one = {"leverages": (20.0,), "prior_weights": (0.4,)} if buckets == "one" else {}
    spec = MapSpec(view_hours=(0.5, 1.5), view_parts=5, turnover=0.5, **one, **tilt)
    # Its parts are 6 and 18 minutes; the twin keeps cohorts of 6.
    fast, slow = LiquidationMap(spec), NaiveMap(spec, 1.0, part_days=0.1 / 24)
    older = 0.0
    for i, step in enumerate(random_history(seed, 140, spec)):
        if i == 0:
            slow = NaiveMap(spec, step[0][2], part_days=0.1 / 24)
        fast.step(*step)
        slow.step(*step)
        if i % 9 == 8:
            first = fast.origin - slow.first
            here = slice(first, first + BINS)
            days = step[5]
            np.testing.assert_allclose(fast.view(0.5), slow.view(5, days)[:, here], rtol=1e-7, atol=1e-6)
            running = math.ceil(days / slow.part_days - 1e-9) - 1
            long = slow.view(12 + running % 3 + 1, days)[:, here]
            np.testing.assert_allclose(fast.view(1.5), long, rtol=1e-7, atol=1e-6)
            whole = np.einsum("k,skj->sj", slow.prior, slow.mass)[:, here]
            older = max(older, (whole - fast.view(0.5)).sum())
    assert older > 1.0


def test_a_view_longer_than_the_history_is_the_map():
    spec = MapSpec()
    heat = LiquidationMap(spec)
    folded(heat, list(random_history(1, 300, spec)))
    mark = math.exp((heat.origin + BINS / 2) * DELTA)
    assert heat.view(720.0).sum() > 0
    whole = np.einsum("k,skj->sj", heat.prior, heat.mass[:, :-1]) * heat.scale[:, None]
    np.testing.assert_allclose(heat.view(720.0), whole)
    assert heat.profile(mark, 100)[0].shape == (2, 100)


def test_views_change_nothing_else():
    history = list(random_history(2, 400, MapSpec()))
    one, other = LiquidationMap(MapSpec()), LiquidationMap(MapSpec(view_hours=(0.5,), view_parts=2))
    assert folded(one, history)[0].tobytes() == folded(other, history)[0].tobytes()
    assert one.mass.tobytes() == other.mass.tobytes()


def test_a_bin_swept_over_and_over_forgets_what_is_older_and_keeps_what_is_new():
    spec = MapSpec(leverages=(100.0,), prior_weights=(1.0,), view_hours=(1.0,), view_parts=2, taker_tilt=1.0)
    heat, price, deep = LiquidationMap(spec), price_at(20_000.5), price_at(19_900.5)
    for i in range(700):
        mark = (deep if i % 2 else price, price, price)
        heat.step(mark, (price, price), 5.0, 5.0, 1000.0 + i, 1.0 + (i + 1) * MINUTE_DAYS, MINUTE_DAYS)
    survival = heat.store[:, -1]
    assert np.isfinite(heat.ring).all()
    assert (survival > 0).all()
    assert (survival <= 1).all()
    whole = (heat.mass[:, 0] * heat.scale[:, None]).sum(axis=1)
    view = heat.view(1.0).sum(axis=1)
    assert view[0] == pytest.approx(whole[0], rel=1e-9), "the longs were swept minutes ago"
    assert 0 < view[1] < 0.2 * whole[1], "the shorts never were"


BAD = {
    "a price of zero": {"mark": (0.0, 100.0, 100.0)},
    "a negative price": {"mark": (-1.0, 100.0, 100.0)},
    "low above high": {"mark": (101.0, 99.0, 100.0)},
    "a close outside": {"mark": (99.0, 100.0, 101.0)},
    "no mark": {"mark": (99.0, 101.0, NAN)},
    "last: low above high": {"traded": (101.0, 99.0)},
    "last: not positive": {"traded": (0.0, 99.0)},
    "negative volume": {"buy_base": -1.0},
    "no volume": {"sell_base": NAN},
    "endless volume": {"sell_base": math.inf},
    "open interest of zero": {"open_interest_base": 0.0},
    "endless open interest": {"open_interest_base": math.inf},
    "the same time again": {"days": 2.0},
    "time that goes back": {"days": 1.5},
    "no time": {"days": NAN},
    "no length": {"step_days": 0.0},
    "negative flow": {"flow": Traded(9210, np.array([[1.0, -1.0], [0.0, 0.0]]), False, False)},
    "flow that is no number": {"flow": Traded(9210, np.array([[1.0, 1.0], [0.0, NAN]]), False, False)},
}
GOOD = {
    "mark": (99.0, 101.0, 100.0), "traded": (99.0, 101.0), "buy_base": 1.0, "sell_base": 1.0,
    "open_interest_base": 1100.0, "days": 3.0, "step_days": MINUTE_DAYS, "flow": None,
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_step_that_cannot_be_is_refused_and_changes_nothing(case):
    heat = LiquidationMap(MapSpec())
    for days in (1.0, 2.0):
        heat.step(**GOOD | {"days": days})
    before = {name: array.tobytes() for name, array in heat.arrays().items()}
    with pytest.raises(StepError):
        heat.step(**GOOD | BAD[case])
    if BAD[case].keys() != {"step_days"}:
        bad = GOOD | {"days": 4.0} | BAD[case]
        with pytest.raises(StepError, match="step 1 of the history"):
            folded(heat, [tuple(GOOD.values()), tuple(bad.values())])
    assert {name: array.tobytes() for name, array in heat.arrays().items()} == before
    heat.step(**GOOD)


def test_memory_does_not_grow_over_many_steps():
    spec = MapSpec()
    heat = LiquidationMap(spec)
    sizes = {name: array.nbytes for name, array in heat.arrays().items()}
    n = 100_000
    rng = np.random.default_rng(0)
    log_price = np.cumsum(rng.normal(0, 0.002, n))  # wanders over several windows
    spread = np.exp(log_price[:, None] + np.array([-0.001, 0.001, 0.0]))
    volume, stamps = rng.exponential(50, n), 5e4 * np.exp(rng.normal(0, 0.01, n))
    days = 20_000 + np.arange(n) * MINUTE_DAYS
    heat.fold(spread, spread[:, :2], volume, volume, stamps, days, MINUTE_DAYS)
    assert {name: array.nbytes for name, array in heat.arrays().items()} == sizes
    assert all(np.isfinite(array).all() for array in heat.arrays().values())
    coins = heat.coins
    np.testing.assert_allclose(coins[HELD], coins[OPENED] - coins[CLOSED:].sum(axis=0), rtol=1e-4, atol=1.0)


@pytest.mark.parametrize("sides", [((0.1,), (0.1,)), ((-0.1,), (NAN,)), ((-0.1, -0.2), (0.1, 0.2))])
def test_distances_that_no_contract_has_are_refused(sides):
    with pytest.raises(ValueError, match=r"distances_log|below their entry"):
        LiquidationMap(PLAIN, np.array(sides))


def test_feeding_the_parts_of_a_venue_step_is_stepping():
    one, other = LiquidationMap(MapSpec()), LiquidationMap(MapSpec())
    flow = Traded(9210, np.array([[1.0, 2.0], [0.0, 3.0]]), uniform=False, halved=False)
    for minute in range(1, 20):
        close_ns = 20_000 * DAY_NS + minute * MINUTE_NS
        one.feed(Candle(100.0, 101.0, 99.0, 100.5, close_ns), flow, 1000.0 + minute, close_ns, MINUTE_NS)
        other.step(
            (99.0, 101.0, 100.5), (1.0, 1.0), 0.0, 0.0, 1000.0 + minute, close_ns / DAY_NS, MINUTE_NS / DAY_NS, flow
        )
    same_bits(one, other)
    assert one.total.min() > 0


def test_before_anything_was_traded_the_reference_of_volume_mode_is_zero_and_nothing_is_counted_anew():
    spec, price = MapSpec(open_interest="volume"), price_at(20_000.5)
    heat, slow = LiquidationMap(spec), NaiveMap(spec, price)
    for i, volume in enumerate((0.0, 0.0, 6.0, 8.0)):
        step = (flat(price), (price, price), volume, volume, NAN, 1.0 + i, MINUTE_DAYS)
        assert heat.step(*step)[1] == slow.step(*step)[1] is False
    assert heat.recounts == 0
    np.testing.assert_allclose(heat.coins[HELD], slow.mass.sum(axis=2))
    assert slow.mass.sum() > 0


def test_beyond_the_arrays_there_is_nothing_to_read():
    heat = LiquidationMap(MapSpec())
    for mark in (1e-30, 1.0, 1e30):
        assert heat.outward(mark, 0.0017, 40).sum() == 0
        assert [rows.sum() for rows in heat.profile(mark, 400)] == [0, 0]
        assert heat.view(24.0).sum() == 0
    folded(heat, list(random_history(1, 300, MapSpec())))
    assert heat.outward(math.exp(heat.origin * DELTA), 0.05, 200).sum() > 0
    mass, born = heat.profile(math.exp((heat.origin + 2 * BINS - 0.5) * DELTA), 100)
    assert mass.sum() == born.sum() == 0
    for mark in (1e-30, 1e30):
        assert heat.outward(mark, 0.0017, 40).sum() == 0
        assert [rows.sum() for rows in heat.profile(mark, 400)] == [0, 0]


def test_a_uniform_map_lies_evenly_between_its_two_distances_whatever_the_leverage():
    spec = MapSpec(shape="uniform", uniform_log=(10 * DELTA, 30 * DELTA))
    heat = opened(spec, coins=200.0)
    np.testing.assert_allclose(heat.coins[HELD], 200.0)  # as much as a map of leverage would hold
    whole = np.zeros(41)
    whole[10], whole[11:30], whole[30] = 5.0, 10.0, 5.0  # from the middle of the entry's bin
    for side, sign in SIGNS:
        mass = heat.mass[side, : heat.buckets] * heat.scale[side]
        assert (mass == mass[0]).all()
        away = 20_000 - heat.origin + sign * -1 * np.arange(41)
        np.testing.assert_allclose(mass[0, away], whole, atol=1e-9)


def test_a_uniform_map_is_swept_and_closed_like_the_other():
    step = (flat(price_at(19_980.5)), (price_at(19_980.5),) * 2, 0.0, 0.0, NAN, 3.0, MINUTE_DAYS)
    heat = opened(MapSpec(shape="uniform", uniform_log=(0.0, 40 * DELTA)), coins=400.0)
    swept, _ = heat.step(*step)
    np.testing.assert_allclose(swept[0], 0.95 * 10.0 * 19.5)  # 19 whole bins, and half of that of the mark
    assert (swept[1] == 0).all()
    closed = opened(MapSpec(shape="uniform"))
    before = closed.coins[HELD].copy()
    closed.step(flat(price_at(20_000.5)), (price_at(20_000.5),) * 2, 5.0, 5.0, 1045.0, 3.0, MINUTE_DAYS)
    np.testing.assert_allclose(closed.coins[HELD], before * (1 - 55.0 / 1100), rtol=1e-9)


@pytest.mark.parametrize(
    "fields", [{"uniform_log": (0.2, 0.1)}, {"uniform_log": (0.0, 0.6)}, {"shape": "uniform", "close_tilt_near": 1.0}]
)
def test_a_uniform_map_that_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match=r"uniform"):
        MapSpec(**fields)
