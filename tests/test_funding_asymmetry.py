import math

import numpy as np
import pytest

from squeeze.patterns import funding_asymmetry
from squeeze.patterns.scene import Scene
from tests.scenes import detect, market, mirrored

EQUAL = {"crowded_long_8h": 0.0004, "crowded_short_8h": 0.0004}


def leaning(below: float, above: float, rate_8h: float, **now: float) -> Scene:
    """A market with so much mass within 2 % on either side, and more of it beyond."""
    scene = market(funding_8h=rate_8h, **now)
    scene.heat[:] = 0.0
    scene.heat[0, 0], scene.heat[1, 40] = below, above
    scene.heat[0, 41], scene.heat[1, 41] = 0.3, 0.2
    return scene


def test_longs_that_pay_and_whose_liquidations_are_the_heavier_score_above_zero():
    below, above = detect(funding_asymmetry, leaning(0.07, 0.03, 0.0006))
    assert below.flag
    assert below.score == pytest.approx(1.2 * 0.4)
    assert below.evidence == {
        "asymmetry": pytest.approx(0.4),
        "pays_8h": 0.0006,
        "mass_share": pytest.approx(0.07),
        "other_mass_share": pytest.approx(0.03),
    }
    assert below.reason == (
        "liquidations below are the heavier by 0.40 and their positions pay 0.060% per 8 hours "
        "(7.0% of open interest against 3.0%)"
    )
    assert (above.score, above.flag) == (0.0, False)


def test_a_dense_cluster_above_while_longs_pay_scores_below_zero_on_the_side_of_shorts_and_is_flagged_too():
    below, above = detect(funding_asymmetry, leaning(0.02, 0.08, 0.001))
    assert above.flag
    assert above.score == pytest.approx(-2.0 * 0.6)
    assert above.evidence["pays_8h"] == -0.001
    assert (below.score, below.flag) == (0.0, False)


def test_shorts_that_pay_are_measured_by_their_own_threshold():
    below, above = detect(funding_asymmetry, leaning(0.02, 0.08, -0.00036))
    assert above.flag
    assert above.score == pytest.approx(1.2 * 0.6)
    assert not below.flag


@pytest.mark.parametrize(
    ("below", "above", "rate_8h"),
    [(0.0699, 0.0301, 0.001), (0.0301, 0.0699, 0.001), (0.08, 0.02, 0.0005), (0.02, 0.08, -0.0003), (0.08, 0.02, 0.0)],
    ids=["asymmetry 0.398", "asymmetry -0.398", "funding 0.05 %", "funding -0.03 %", "no funding"],
)
def test_only_one_extreme_is_a_near_miss(below, above, rate_8h):
    for found in detect(funding_asymmetry, leaning(below, above, rate_8h)):
        assert not found.flag
        assert not math.isnan(found.score)


def test_the_score_is_continuous_where_asymmetry_and_funding_change_sign():
    for lean in (-1e-6, 0.0, 1e-6):
        for rate_8h in (-1e-9, 0.0, 1e-9, 0.001):
            for found in detect(funding_asymmetry, leaning(0.05 + lean, 0.05 - lean, rate_8h)):
                assert abs(found.score) < 1e-4


@pytest.mark.parametrize("unknown", ["funding", "a bin", "the other side", "no mass"])
def test_what_is_not_known_is_not_zero(unknown):
    scene = leaning(0.08, 0.02, 0.001)
    if unknown == "funding":
        scene.now["funding_8h"] = np.nan
    elif unknown == "a bin":
        scene.heat[0, 40] = np.nan
    elif unknown == "the other side":
        scene.heat[1] = np.nan
    else:
        scene.heat[:, :41] = 0.0
    for found in detect(funding_asymmetry, scene):
        assert math.isnan(found.score)
        assert not found.flag


@pytest.mark.parametrize("seed", range(20))
def test_a_mirrored_market_is_alike_with_sides_and_thresholds_swapped(seed):
    rng = np.random.default_rng(seed)
    scene = market(funding_8h=rng.normal(0, 1e-3))
    scene.heat[:] = rng.random((2, 200)) * rng.random((2, 1))
    swapped = {"crowded_long_8h": 0.0003, "crowded_short_8h": 0.0005}
    for rules, other_rules in (({}, swapped), (EQUAL, EQUAL)):
        below, above = detect(funding_asymmetry, scene, **rules)
        other_below, other_above = detect(funding_asymmetry, mirrored(scene), **other_rules)
        for one, other in ((below, other_above), (above, other_below)):
            assert (one.score, one.flag, one.evidence) == (other.score, other.flag, other.evidence)


def test_the_length_of_the_step_does_not_matter():
    hour = detect(funding_asymmetry, leaning(0.07, 0.03, 0.0006, step_ns=3600 * 10**9))
    assert hour == detect(funding_asymmetry, leaning(0.07, 0.03, 0.0006, step_ns=10**9))
