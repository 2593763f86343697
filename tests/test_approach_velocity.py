import math

import numpy as np
import pytest

from squeeze.patterns import approach_velocity
from squeeze.patterns.scene import ZONE, Scene
from tests.pattern_laws import assert_mirrors
from tests.scenes import detect, market, rows, zone


def running(velocity: float, near_log: float = 0.005, sides: tuple[int, ...] = (0, 1), **now: float) -> Scene:
    """A market that moves so much a minute, with a deviation of 0.05 % and zones on `sides`, the nearest so far."""
    zones = [zone(side, near, id=i) for side in sides for i, near in ((1, near_log), (2, near_log + 0.01))]
    return market(velocity=velocity, **now)._replace(zones=rows(ZONE, *zones))


def test_a_fast_fall_toward_a_near_zone_is_an_approach():
    below, above = detect(approach_velocity, running(-0.001, acceleration=-0.0002))
    assert below.flag
    assert below.score == pytest.approx(2 * math.exp(-0.5))
    assert below.evidence == {
        "near_log": pytest.approx(0.005),
        "eta_minutes": pytest.approx(5),
        "velocity_sigmas": pytest.approx(2),
        "acceleration_sigmas": pytest.approx(0.4),
        "mass_share": 0.01,
    }
    assert below.reason == "price runs toward the zone 0.50% below at 2.0 deviations a minute, 5.0 minutes away"
    assert (above.score, above.flag) == (0.0, False)
    assert math.isnan(above.evidence["eta_minutes"])
    assert above.evidence["velocity_sigmas"] == pytest.approx(-2)


def test_a_fast_rise_toward_a_near_zone_is_an_approach():
    below, above = detect(approach_velocity, running(0.001))
    assert above.flag
    assert not below.flag


@pytest.mark.parametrize(
    ("velocity", "near_log", "flag"),
    [(-0.0005, 0.0045, True), (-0.0005, 0.0055, False), (-0.0004999, 0.001, False), (-0.001, 0.0105, False)],
    ids=["just", "11 minutes away", "under one deviation", "fast but 10.5 minutes away"],
)
def test_both_velocity_and_nearness_are_needed(velocity, near_log, flag):
    below, above = detect(approach_velocity, running(velocity, near_log))
    assert below.flag == flag
    assert not above.flag
    assert below.score > 0


def test_inside_a_zone_there_is_no_time_left():
    scene = running(-0.001)
    scene.zones["near_log"][0] = -0.0005
    below, _ = detect(approach_velocity, scene)
    assert below.flag
    assert below.score == pytest.approx(2.0)
    assert below.evidence["eta_minutes"] == 0


def test_the_score_is_continuous_where_the_price_turns():
    scores = [detect(approach_velocity, running(v))[0].score for v in (1e-9, 0.0, -1e-9)]
    assert scores == pytest.approx([0.0, 0.0, 0.0], abs=1e-5)


@pytest.mark.parametrize("unknown", [{"velocity": math.nan}, {"sigma_1m": math.nan}, {"sigma_1m": 0.0}])
def test_an_unknown_velocity_is_not_zero(unknown):
    for found in detect(approach_velocity, running(**({"velocity": -0.001} | unknown))):
        assert math.isnan(found.score)
        assert not found.flag


def test_a_side_without_zones_has_no_approach():
    below, above = detect(approach_velocity, running(-0.001, sides=(1,)))
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_a_mirrored_market_is_approached_alike_with_sides_swapped(seed):
    rng = np.random.default_rng(seed)
    near_log = rng.uniform(0.001, 0.01)
    scene = running(rng.normal(0, 1e-3), near_log, ((0, 1), (0,), (1,))[seed % 3], acceleration=rng.normal(0, 1e-4))
    assert_mirrors(approach_velocity, scene)


def test_the_length_of_the_step_does_not_matter():
    hour, second = (detect(approach_velocity, running(-0.001, step_ns=s * 10**9))[0] for s in (3600, 1))
    assert (hour.score, hour.flag) == (second.score, second.flag)
