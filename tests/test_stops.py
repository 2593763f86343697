import math

import numpy as np
import pytest

from squeeze.errors import StepError
from squeeze.heatmaps.stops import StopMap, StopsSpec, round_levels, round_steps
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.market.venue_step import Candle, VenueStep
from tests.naive_heatmaps import NaiveStops

NAN = math.nan
START = 1_000 * 24 * HOUR_NS
EXTREMES = StopsSpec(windows_hours=(1.0,), slots=6, round_weight=0.0, beyond_log=0.001, reach_log=0.01)


def candle(low: float, high: float, close: float | None = None) -> Candle:
    close = low if close is None else close
    return Candle(close, high, low, close, 0)


def fed(*ranges: tuple[float, float] | None, spec: StopsSpec = EXTREMES, mark: float = 100.0) -> StopMap:
    """A step a minute, with the range of the last price; None for a minute without one."""
    heat = StopMap(spec)
    for minute, bounds in enumerate(ranges, 1):
        part = VenueStep() if bounds is None else VenueStep(last=candle(*bounds))
        heat.step(part, candle(mark, mark), START + minute * MINUTE_NS)
    return heat


@pytest.mark.parametrize(
    ("price", "steps"),
    [
        (100.0, [1.0, 2.0, 5.0, 10.0]),
        (60_000.0, [500.0, 1000.0, 2000.0, 5000.0]),
        (0.073, [0.0005, 0.001, 0.002, 0.005]),
        (2.4e-6, [5e-8, 1e-7, 2e-7]),
    ],
)
def test_round_steps_are_1_2_and_5_of_a_scale_of_the_price(price, steps):
    assert round_steps(price, 0.006 if price > 1e-3 else 0.02, 0.1) == pytest.approx(steps)


def test_a_number_that_is_round_on_several_scales_adds_up():
    logs, weights = round_levels(100.0, 89.0, 111.0, 0.02, 0.1)
    found = {}
    for price, weight in zip(np.exp(logs).round(6).tolist(), weights.tolist(), strict=True):
        found[price] = found.get(price, 0.0) + weight
    assert found[100.0] == pytest.approx((2 + 5 + 10) / 100)
    assert found[95.0] == pytest.approx(5 / 95)
    assert found[98.0] == pytest.approx(2 / 98)
    assert 99.0 not in found


def test_stops_lie_beyond_an_extreme_and_thin_out():
    low, high = 100.0 * math.exp(-0.002), 100.0 * math.exp(0.004)
    heat = fed((low, high), (100.0, 100.0))
    down, up = heat.outward(100.0, 0.001, 10)[:, 0]

    def tail(distance: int) -> list[float]:
        masses = [0.0] * distance + [math.exp(-i) - math.exp(-i - 1) for i in range(10 - distance)]
        return [m / sum(masses) for m in masses]

    np.testing.assert_allclose(down, tail(2), atol=1e-12)
    np.testing.assert_allclose(up, tail(4), atol=1e-12)


def test_beyond_reach_nothing_is_said():
    heat = fed((99.9, 100.1))
    out = heat.outward(100.0, 0.003, 5)[:, 0]
    assert np.isfinite(out[:, :3]).all()
    assert np.isnan(out[:, 3:]).all(), "the fourth ends beyond 1 %"


def test_without_a_level_within_reach_nothing_is_said_of_that_side():
    out = fed((99.9, 120.0)).outward(100.0, 0.001, 5)[:, 0]
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()


def test_one_family_takes_all_where_the_other_has_no_level():
    spec = StopsSpec(windows_hours=(1.0,), slots=6, reach_log=0.01, round_weight=0.3)
    near = 100.0 * math.exp(0.005)
    both = fed((99.0, near), spec=spec).outward(100.0, 0.0005, 20)
    rounds = fed((80.0, 120.0), spec=spec).outward(100.0, 0.0005, 20)
    np.testing.assert_allclose(both.sum(axis=2), 1.0)
    np.testing.assert_allclose(rounds.sum(axis=2), 1.0)
    extremes = fed((99.0, near), spec=StopsSpec(windows_hours=(1.0,), slots=6, reach_log=0.01, round_weight=0.0))
    mixed = 0.3 * rounds[1] + 0.7 * extremes.outward(100.0, 0.0005, 20)[1]
    np.testing.assert_allclose(both[1], mixed)


def test_what_the_mark_went_through_was_triggered():
    """A level two lengths behind the mark keeps what lies ahead of it, and its shape."""
    low = 100.0 * math.exp(-0.002)
    heat = fed((low, 100.1))
    ahead = heat.outward(100.0 * math.exp(-0.004), 0.001, 5)[0, 0]
    np.testing.assert_allclose(ahead[1:] / ahead[:-1], math.exp(-1.0))
    assert np.isnan(heat.outward(100.0 * math.exp(-0.1), 0.001, 5)[0, 0]).all()


def test_extremes_fade_with_their_age_and_are_forgotten_with_their_part():
    heat = fed((99.0, 101.0), *[(100.0, 100.5)] * 59)
    logs, ages = heat.extremes()
    np.testing.assert_allclose(np.exp(logs[:, 0]), [99.0, 101.0])
    assert (ages == 59 * MINUTE_NS).all()
    heat.step(VenueStep(last=candle(100.0, 100.5)), candle(100.0, 100.0), START + 61 * MINUTE_NS)
    logs, ages = heat.extremes()
    np.testing.assert_allclose(np.exp(logs[:, 0]), [100.0, 100.5])
    assert (ages == 0).all(), "of several alike the youngest"


def test_an_extreme_of_two_windows_weighs_more_than_one_of_one():
    spec = StopsSpec(windows_hours=(0.5, 2.0), slots=6, round_weight=0.0, reach_log=0.02)
    # The high of two hours is at +1.5 %; that of the last half hour at +0.5 %, which a fresher age favours.
    heat = fed((99.0, 100.0 * math.exp(0.015)), *[(99.5, 99.9)] * 44, (99.5, 100.0 * math.exp(0.005)), spec=spec)
    up = heat.outward(100.0, 0.01, 2)[1, 0]
    near, far = 1 - math.exp(-5), math.exp(-45 / 120) * (1 - math.exp(-5))
    spilt = math.exp(-5) - math.exp(-15)
    np.testing.assert_allclose(up, np.array([near, far + spilt]) / (near + far + spilt))


def test_silence_keeps_the_extremes_until_it_is_too_long():
    heat = fed((99.9, 100.1), *[None] * 30)
    assert np.isfinite(heat.outward(100.0, 0.001, 5)).all()
    assert heat.age_ns == 30 * MINUTE_NS
    heat = fed((99.9, 100.1), *[None] * 61)
    assert np.isnan(heat.outward(100.0, 0.001, 5)).all()
    assert heat.scalars()[:, -1].tolist() == [61.0, 61.0]


def test_scalars_are_outward_distances_and_ages():
    heat = fed((99.0, 102.0), (100.0, 100.0), (100.0, 100.0))
    named = dict(zip(heat.scalar_names, heat.scalars().T.tolist(), strict=True))
    assert named["extreme_distance_1h"] == pytest.approx([math.log(100 / 99), math.log(1.02)])
    assert named["extreme_age_hours_1h"] == pytest.approx([2 / 60, 2 / 60])
    assert named["extreme_age_minutes"] == [0.0, 0.0]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (NAN, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_a_price_that_cannot_be_leaves_the_map_as_it_was(bounds):
    heat = fed((99.0, 102.0))
    before = {name: array.tobytes() for name, array in heat.arrays().items()}
    with pytest.raises(StepError, match="last candle"):
        heat.step(VenueStep(last=candle(*bounds)), candle(100.0, 100.0), START + HOUR_NS)
    assert {name: array.tobytes() for name, array in heat.arrays().items()} == before


def test_of_equal_extremes_within_a_part_the_last_counts():
    assert (fed((99.0, 101.0), (99.0, 101.0)).extremes()[1] == 0).all()


def test_a_jump_in_time_forgets_all_parts_between():
    """At minute 3 and 13; half an hour later the parts of minutes 20 to 40 are new, at minute 65 the first is gone."""
    heat = fed()
    for minute, high in ((3, 105.0), (13, 103.0), (43, 101.0), (65, 100.5), (165, 100.2)):
        heat.step(VenueStep(last=candle(99.0, high)), candle(100.0, 100.0), START + minute * MINUTE_NS)
        logs, _ = heat.extremes()
        held = {3: 105.0, 13: 105.0, 43: 105.0, 65: 103.0, 165: 100.2}[minute]
        assert math.exp(logs[1, 0]) == pytest.approx(held), minute


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_extremes_and_their_ages_equal_those_of_the_slow_twin(seed):
    spec = StopsSpec(windows_hours=(0.1, 0.5, 2.0), slots=5)
    rng = np.random.default_rng(seed)
    fast, slow, close_ns, price = StopMap(spec), NaiveStops(spec), START, 100.0
    for _ in range(600):
        close_ns += int(rng.choice([1, 10, 60, 600, 5000], p=[0.1, 0.3, 0.5, 0.08, 0.02])) * SECOND_NS
        price = round(price * math.exp(rng.normal(0, 0.002)), 1)  # often alike
        part = VenueStep(last=candle(price, price + 0.1)) if rng.random() < 0.8 else VenueStep()
        for heat in (fast, slow):
            heat.step(part, candle(price, price), close_ns)
        logs, ages = fast.extremes()
        for window, hours in enumerate(spec.windows_hours):
            held = slow.extremes(hours)
            assert np.isnan(logs[:, window]).all() if held is None else True
            for side, (level, age_ns) in enumerate(held or ()):
                assert math.exp(logs[side, window]) == pytest.approx(level, rel=1e-12)
                assert ages[side, window] == age_ns
