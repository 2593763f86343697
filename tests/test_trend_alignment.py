import math

import numpy as np
import pytest

from squeeze.patterns import trend_alignment
from squeeze.patterns.scene import ZONE, Scene
from tests.pattern_laws import assert_mirrors
from tests.scenes import detect, market, rows, zone


def trending(return_4h: float, sides: tuple[int, ...] = (0, 1), **now: float) -> Scene:
    """A market with zones 1 and 2 % away and a deviation of 0.8 % in 4 hours."""
    zones = [zone(side, near, id=i, mass_share=0.01 / i) for side in sides for i, near in ((1, 0.01), (2, 0.02))]
    return market(return_4h=return_4h, **now)._replace(zones=rows(ZONE, *zones))


def test_a_fall_is_aligned_with_the_zone_below_and_against_that_above():
    below, above = detect(trend_alignment, trending(-0.006))
    assert below.flag
    assert below.score == pytest.approx(0.75)
    assert below.evidence == {
        "near_log": pytest.approx(0.01),
        "mass_share": 0.01,
        "toward_4h": 0.006,
        "sigma_4h": 0.008,
    }
    assert below.reason == "the zone 1.00% below lies with the trend: 0.60% in 4 hours, 0.8 deviations"
    assert not above.flag
    assert above.score == pytest.approx(-0.75)


def test_a_rise_is_aligned_with_the_zone_above():
    below, above = detect(trend_alignment, trending(0.004))
    assert above.flag  # half a deviation is enough
    assert above.score == pytest.approx(0.5)
    assert not below.flag


@pytest.mark.parametrize("return_4h", [0.0, 0.00399, -0.00399])
def test_under_half_a_deviation_is_a_near_miss(return_4h):
    below, above = detect(trend_alignment, trending(return_4h))
    assert not below.flag
    assert not above.flag


def test_a_side_without_zones_cannot_be_aligned():
    below, above = detect(trend_alignment, trending(-0.02, sides=(1,)))
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == pytest.approx(-2.5)


@pytest.mark.parametrize("unknown", [{"sigma_4h": math.nan}, {"sigma_4h": 0.0}, {"return_4h": math.nan}])
def test_an_unknown_trend_is_not_zero(unknown):
    for found in detect(trend_alignment, trending(**({"return_4h": -0.02} | unknown))):
        assert math.isnan(found.score)
        assert not found.flag


@pytest.mark.parametrize("seed", range(10))
def test_a_mirrored_market_is_aligned_alike_with_sides_swapped(seed):
    rng = np.random.default_rng(seed)
    scene = trending(rng.normal(0, 0.008), ((0, 1), (0,), (1,))[seed % 3])
    assert_mirrors(trend_alignment, scene)


def test_the_length_of_the_step_does_not_matter():
    hour = detect(trend_alignment, trending(-0.006, step_ns=3600 * 10**9))
    assert hour == detect(trend_alignment, trending(-0.006, step_ns=10**9))
