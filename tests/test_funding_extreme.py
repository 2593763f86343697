import math

import numpy as np
import pytest

from squeeze.patterns import funding_extreme
from squeeze.patterns.pattern import Finding
from tests.scenes import detect, market, mirrored

EQUAL = {"crowded_long_8h": 0.0004, "crowded_short_8h": 0.0004}


def funded(
    rate_8h: float, low_8h: float = math.nan, high_8h: float = math.nan, **now: float
) -> tuple[Finding, Finding]:
    return detect(funding_extreme, market(funding_8h=rate_8h, funding_low_8h=low_8h, funding_high_8h=high_8h, **now))


def test_longs_that_pay_more_than_five_basis_points_are_crowded():
    below, above = funded(0.0006, 0.0005001, 0.0007)
    assert below.flag
    assert below.score == pytest.approx(1.2)
    assert below.evidence == {
        "pays_8h": 0.0006,
        "least_8h": 0.0005001,
        "uniform": 1,
        "z": pytest.approx(math.nan, nan_ok=True),
        "minutes_to_settlement": 120,
    }
    assert below.reason == "positions at risk below are crowded: they pay 0.060% per 8 hours"
    assert not above.flag
    assert above.score == pytest.approx(-2.0)


def test_shorts_that_pay_more_than_three_basis_points_are_crowded():
    below, above = funded(-0.00036, -0.0005, -0.0003001)
    assert above.flag
    assert above.score == pytest.approx(1.2)
    assert (above.evidence["pays_8h"], above.evidence["least_8h"]) == (0.00036, 0.0003001)
    assert above.evidence["uniform"] == 1
    assert not below.flag
    assert below.score == pytest.approx(-0.72)


@pytest.mark.parametrize("rate_8h", [0.0005, 0.0004, 0.0, -0.0002, -0.0003])
def test_a_rate_at_the_threshold_is_a_near_miss(rate_8h):
    below, above = funded(rate_8h)
    assert not below.flag
    assert not above.flag


def test_one_venue_at_the_threshold_and_it_is_not_uniform():
    assert funded(0.0006, 0.0005, 0.0007)[0].evidence["uniform"] == 0
    assert funded(-0.0004, -0.0005, -0.0003)[1].evidence["uniform"] == 0
    assert math.isnan(funded(0.0006)[0].evidence["uniform"])


@pytest.mark.parametrize(
    ("rate_8h", "z", "flags"),
    [
        (0.0002, 1.96, (True, False)),
        (0.0002, 1.95, (False, False)),
        (-0.0001, -1.96, (False, True)),
        (0.0001, -3.0, (False, False)),
        (-0.0001, 3.0, (False, False)),
    ],
    ids=["rare for longs", "not so rare", "rare for shorts", "unusually low but longs pay", "high but shorts pay"],
)
def test_a_rate_that_is_rare_for_this_market_is_extreme_for_the_side_that_pays(rate_8h, z, flags):
    below, above = funded(rate_8h, funding_z=z)
    assert (below.flag, above.flag) == flags
    assert (below.evidence["z"], above.evidence["z"]) == (z, -z)


def test_rarity_can_be_turned_off():
    below, _ = detect(funding_extreme, market(funding_8h=0.0002, funding_z=9.0), rare_z=math.inf)
    assert not below.flag


def test_unknown_funding_is_not_zero():
    for found in funded(math.nan, funding_z=5.0):
        assert math.isnan(found.score)
        assert not found.flag


@pytest.mark.parametrize("seed", range(20))
def test_a_mirrored_market_is_crowded_alike_with_sides_and_thresholds_swapped(seed):
    rng = np.random.default_rng(seed)
    low, rate, high = np.sort(rng.normal(0, 5e-4, 3)).tolist()
    scene = market(funding_8h=rate, funding_low_8h=low, funding_high_8h=high, funding_z=rng.normal(0, 2))
    swapped = {"crowded_long_8h": 0.0003, "crowded_short_8h": 0.0005}
    for rules, other_rules in (({}, swapped), (EQUAL, EQUAL)):
        below, above = detect(funding_extreme, scene, **rules)
        other_below, other_above = detect(funding_extreme, mirrored(scene), **other_rules)
        for one, other in ((below, other_above), (above, other_below)):
            assert (one.score, one.flag, one.evidence) == (other.score, other.flag, other.evidence)


def test_the_length_of_the_step_does_not_matter():
    hour, second = funded(0.0006, step_ns=3600 * 10**9), funded(0.0006, step_ns=10**9)
    assert [(f.score, f.flag) for f in hour] == [(f.score, f.flag) for f in second]
