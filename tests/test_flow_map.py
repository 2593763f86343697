import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.heatmaps.flow import FlowMap, FlowSpec
from squeeze.market.events import HOUR_NS, MINUTE_NS, Broken, Feed, Gap, Quality
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from tests.naive_heatmaps import NaiveFlow
from tests.test_heatmap_laws import FLOW, feed, market

NAN = math.nan
DELTA = 5e-4
START = 1_000 * 24 * HOUR_NS
HERE = 20_000
HALF = FlowSpec(half_lives_minutes=(1.0,))
"""What was taken halves with each step."""


def at(position: float) -> float:
    return math.exp(position * DELTA)


def taken(buys: float, sells: float, offset: int = 0) -> VenueStep:
    return VenueStep(flow=PriceFlow(DELTA, HERE + offset, (buys,), (sells,)))


def fed(*parts: VenueStep, spec: FlowSpec = HALF, marks: tuple[float, ...] = ()) -> FlowMap:
    """A step a minute; the mark at positions from HERE on, else standing still."""
    heat = FlowMap(spec)
    for minute, part in enumerate(parts):
        here = at(HERE + (marks[minute] if marks else 0.5))
        heat.step(part, Candle(here, here, here, here, 0), START + (minute + 1) * MINUTE_NS)
    return heat


def named(heat: FlowMap) -> dict[str, list[float]]:
    return dict(zip(heat.scalar_names, heat.scalars().T.tolist(), strict=True))


def test_buys_push_up_and_sells_down():
    out = fed(taken(8.0, 2.0, 1), taken(1.0, 4.0, -1)).outward(at(HERE), DELTA, 2)
    down, up = out
    np.testing.assert_allclose(down, [[4, 0], [1, 0]])
    np.testing.assert_allclose(up, [[0, 4], [0, 1]])


def test_flow_halves_in_its_half_life_of_recorded_time():
    heat = fed(taken(8.0, 2.0), *[VenueStep(volume_base=0.0)] * 2, *[VenueStep()] * 5)
    out = heat.outward(at(HERE), DELTA, 1)[1, :, 0]
    np.testing.assert_allclose(out, [2.0, 0.5])
    assert heat.age_ns == 5 * MINUTE_NS
    np.testing.assert_allclose(heat.ledger, [[10.0, 7.5, 0.0]])


def test_too_long_a_silence_masks_all_but_the_age():
    heat = fed(taken(8.0, 2.0), *[VenueStep()] * 11)
    assert np.isnan(heat.outward(at(HERE), DELTA, 1)).all()
    assert np.isnan(heat.scalars()[:, :-1]).all()
    assert heat.scalars()[:, -1].tolist() == [11.0, 11.0]


@pytest.mark.parametrize("feed_lost", [Feed.ALL, Feed.TRADES])
def test_a_step_with_a_hole_adds_what_it_has_and_does_not_rejuvenate(feed_lost):
    hole = Gap(venue="v", symbol="S", event_ns=1, known_at_ns=2, feed=feed_lost, reason=Broken.MISSED_UPDATE)
    flow = taken(8.0, 2.0).flow
    for part in (VenueStep(flow=flow, gaps=(hole,)), VenueStep(flow=flow, quality=int(Quality.PARTIAL))):
        heat = fed(taken(1.0, 1.0), part)
        assert heat.age_ns == MINUTE_NS
        assert heat.outward(at(HERE), DELTA, 1)[1, 0, 0] == pytest.approx(8.5)


def test_a_bar_that_does_not_say_who_took_is_no_flow():
    bar = Candle(at(HERE), at(HERE + 1), at(HERE), at(HERE), 0)
    heat = fed(taken(8.0, 2.0), VenueStep(last=bar, volume_base=5.0))
    assert heat.outward(at(HERE), DELTA, 1)[1, 0, 0] == pytest.approx(8.0)
    heat = fed(VenueStep(last=bar, volume_base=5.0, taker_buy_base=4.0))
    assert heat.volume_uniform
    assert heat.sums.tolist() == [[4.0, 1.0]]


def test_imbalance_and_its_acceleration():
    heat = fed(taken(3.0, 1.0))
    assert named(heat)["flow_imbalance_1m"] == pytest.approx([-0.5, 0.5])
    assert np.isnan(named(heat)["flow_acceleration_1m"]).all(), "nothing to compare with"
    heat = fed(taken(3.0, 1.0), taken(4.5, 1.5))
    assert named(heat)["flow_acceleration_1m"] == pytest.approx([0.0, 0.0])
    heat = fed(taken(3.0, 1.0), taken(0.5, 3.5))  # (1.5 + 0.5, 0.5 + 3.5): −1/3
    assert named(heat)["flow_imbalance_1m"] == pytest.approx([1 / 3, -1 / 3])
    assert named(heat)["flow_acceleration_1m"] == pytest.approx([5 / 6, -5 / 6])
    nothing = fed(VenueStep(volume_base=0.0))
    assert np.isnan(named(nothing)["flow_imbalance_1m"]).all()


def test_absorption_is_the_push_that_the_mark_did_not_follow():
    up, down = taken(6.0, 2.0), taken(1.0, 3.0)
    # Followed; absorbed by standing still; absorbed by falling.
    heat = fed(taken(0.0, 0.0), up, up, up, marks=(0.5, 1.5, 1.5, 0.5))
    assert named(heat)["flow_absorption_1m"][1] == pytest.approx((2 + 4) / (1 + 2 + 4))
    assert math.isnan(named(heat)["flow_absorption_1m"][0]), "nobody pushed down"
    heat = fed(taken(0.0, 0.0), down, down, marks=(0.5, -0.5, 0.5))
    assert named(heat)["flow_absorption_1m"][0] == pytest.approx(2 / 3)
    assert np.isnan(named(fed(up))["flow_absorption_1m"]).all(), "no move is known in the first step"


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_absorption_equals_its_slow_twin(seed):
    fast, slow = FlowMap(FLOW), NaiveFlow(FLOW)
    for step in market(seed, 80):
        feed(fast, step)
        feed(slow, step)
    pushed, absorbed = fast.pushed[..., 0], fast.pushed[..., 1]
    for h, minutes in enumerate(FLOW.half_lives_minutes):
        for side in (0, 1):
            assert absorbed[h, side] / pushed[h, side] == pytest.approx(slow.absorption(minutes, side), nan_ok=True)


def test_a_scale_near_zero_is_written_into_the_cells():
    heat = fed(*[taken(8.0, 2.0)] * 100)
    assert heat.scale[0] > 1e-9
    np.testing.assert_allclose(heat.outward(at(HERE), DELTA, 1)[1, :, 0], [16.0, 4.0])
    np.testing.assert_allclose(heat.cells.sum() * heat.scale[0], 20.0)
