import math

import numpy as np
import pytest

from squeeze.patterns import stale_timeframe
from squeeze.patterns.scene import ZONE, Scene
from squeeze.patterns.stale_timeframe import Thresholds
from tests.pattern_laws import assert_mirrors
from tests.scenes import MINUTE_NS, detect, market, rows, zone

SECOND_NS = 10**9


def aged(old_share: float, old_days: float = 1.01, side: int = 0, **now: float) -> Scene:
    """Two zones of a side, of which one holds so much of the mass and is so old, the other half a day."""
    old = zone(side, 0.01, mass_share=0.02 * old_share, id=1, age_days=old_days)
    young = zone(side, 0.02, mass_share=0.02 * (1 - old_share), id=2, age_days=0.5)
    return market(**now)._replace(zones=rows(ZONE, old, young))


@pytest.mark.parametrize("side", [0, 1])
def test_zones_mostly_older_than_a_day_are_stale_for_the_next_hour(side):
    both = detect(stale_timeframe, aged(0.6, 2.0, side, map_age_ns=60 * SECOND_NS))
    found, other = both[side], both[1 - side]
    assert found.flag
    assert found.score == pytest.approx(0.6)
    assert found.evidence == {
        "old_share": pytest.approx(0.6),
        "limit_days": 1,
        "mean_age_days": pytest.approx(0.6 * 2.0 + 0.4 * 0.5),
        "map_age_seconds": 60,
        "open_interest_age_minutes": 0,
    }
    assert found.reason == (
        f"the map {('below', 'above')[side]} is stale: 60% of the zones' mass older than 1 days, map 60 s old, "
        "open interest 0 min"
    )
    assert not other.flag
    assert other.score == pytest.approx(60 / 360)


@pytest.mark.parametrize(
    "scene",
    [
        aged(0.49),
        aged(0.9, 1.0),
        aged(0.0, map_age_ns=180 * SECOND_NS),
        aged(0.0, open_interest_age_ns=10 * MINUTE_NS),
    ],
    ids=["49 % old", "a day and no more", "map 180 s", "open interest 10 min"],
)
def test_a_limit_that_is_only_reached_is_a_near_miss(scene):
    for found in detect(stale_timeframe, scene):
        assert not found.flag
        assert found.score <= 0.5


@pytest.mark.parametrize("age", [{"map_age_ns": 181 * SECOND_NS}, {"open_interest_age_ns": 10 * MINUTE_NS + SECOND_NS}])
def test_an_unfed_map_or_old_open_interest_is_stale_on_both_sides_with_zones_or_without(age):
    for found in detect(stale_timeframe, aged(0.0, **age)):
        assert found.flag
        assert 0.5 < found.score < 0.51


def test_a_map_that_never_took_anything_in_is_as_stale_as_can_be():
    below, _ = detect(stale_timeframe, market(map_age_ns=2**62))
    assert (below.score, below.flag) == (1.0, True)


@pytest.mark.parametrize(
    ("horizon_minutes", "days", "limit", "flag"),
    [(60, 1.01, 1, True), (61, 1.01, 7, False), (1440, 7.0, 7, False), (1440, 7.01, 7, True)],
)
def test_a_longer_horizon_lets_mass_be_a_week_old(horizon_minutes, days, limit, flag):
    below, _ = detect(stale_timeframe, aged(0.6, days), horizon_minutes=horizon_minutes)
    assert (below.evidence["limit_days"], below.flag) == (limit, flag)


def test_a_horizon_beyond_a_day_is_refused():
    with pytest.raises(ValueError, match="horizon_minutes"):
        Thresholds(horizon_minutes=1441)


def test_a_zone_of_unknown_age_tells_nothing():
    scene = aged(0.6, math.nan, map_age_ns=400 * SECOND_NS)
    below, above = detect(stale_timeframe, scene)
    assert math.isnan(below.score)
    assert not below.flag
    assert above.flag


@pytest.mark.parametrize("seed", range(10))
def test_a_mirrored_market_is_as_stale_with_sides_swapped(seed):
    rng = np.random.default_rng(seed)
    zones = [
        zone(side, 0.01 * (i + 1), mass_share=rng.uniform(0.001, 0.02), id=i + 1, age_days=rng.uniform(0, 2))
        for side in range(2)
        for i in range(rng.integers(0, 4))
    ]
    ages = {"map_age_ns": int(rng.integers(300) * SECOND_NS), "open_interest_age_ns": int(rng.integers(6) * MINUTE_NS)}
    scene = market(**ages)._replace(zones=rows(ZONE, *zones))
    assert_mirrors(stale_timeframe, scene)


def test_the_length_of_the_step_does_not_matter():
    hour = detect(stale_timeframe, aged(0.6, step_ns=60 * MINUTE_NS))
    assert hour[0] == detect(stale_timeframe, aged(0.6, step_ns=SECOND_NS))[0]
