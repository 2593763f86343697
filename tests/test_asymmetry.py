import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.patterns import asymmetry
from tests.pattern_laws import assert_mirrors, assert_says_no_more_than
from tests.scenes import CLOSE_NS, MINUTE_NS, detect, market


def scene(heavy=0, at=((10, 0.006), (30, 0.008), (80, 0.004)), others=((10, 0.006), (35, 0.002), (90, 0.02)), **now):
    """Mass by bin on one side, and on the other; 20 bins are 1 %."""
    seen = market(**now)
    seen.heat[:] = 0.0
    for i, share in at:
        seen.heat[heavy, i] = share
    for i, share in others:
        seen.heat[1 - heavy, i] = share
    return seen


@pytest.mark.parametrize("heavy", [0, 1])
def test_the_heavier_side_flags_and_the_other_says_the_opposite(heavy):
    found = detect(asymmetry, scene(heavy, others=((10, 0.004), (35, 0.002), (90, 0.02)), return_24h=0.03))
    ours, theirs = found[heavy], found[1 - heavy]
    assert ours.flag
    assert not theirs.flag
    assert ours.score == pytest.approx(0.4)
    assert theirs.score == pytest.approx(-0.4)
    assert ours.evidence["near"] == pytest.approx(0.2)
    assert ours.evidence["middle"] == pytest.approx(0.4)
    assert ours.evidence["far"] == pytest.approx(-8 / 44)
    assert ours.evidence["mass_share"] == pytest.approx(0.014)
    assert ours.evidence["return_24h"] == pytest.approx(0.03 if heavy else -0.03)
    assert "+40% of the mass close by, 1.4% of open interest" in ours.reason


def test_mass_counts_for_less_the_further_it_is_in_units_of_the_four_hour_range():
    below, _ = detect(asymmetry, scene(at=((16, 0.01),), others=((32, 0.01),)))
    near, far = 0.01 * math.exp(-1), 0.01 * math.exp(-2)
    assert below.evidence["weighted"] == pytest.approx((near - far) / (near + far))
    below, _ = detect(asymmetry, scene(atr_4h=math.nan))
    assert math.isnan(below.evidence["weighted"])
    assert not math.isnan(below.score)


@pytest.mark.parametrize(
    "others",
    [((10, 0.00601),), ((10, 0.00559), (40, 0.00042))],
    ids=["39.9 %", "the last bin within 2 % counts"],
)
def test_a_near_miss_does_not_flag(others):
    below, above = detect(asymmetry, scene(at=((10, 0.007), (40, 0.007)), others=others))
    assert 0.39 < below.score < 0.4
    assert not below.flag
    assert not above.flag


@pytest.mark.parametrize(("i", "counts"), [(0, False), (1, True), (40, True), (41, False)])
def test_the_marks_own_bin_and_what_lies_beyond_are_left_out(i, counts):
    below, _ = detect(asymmetry, scene(at=((5, 0.01), (i, 0.03)), others=((5, 0.01),)))
    assert below.score == pytest.approx(0.6 if counts else 0.0)


def test_what_is_not_recorded_or_empty_or_out_of_reach_has_no_score():
    near = market(bins=40)
    near.heat[:] = [[0.003], [0.001]]
    for seen in (market(), scene(at=(), others=()), near):
        assert all(math.isnan(found.score) and not found.flag for found in detect(asymmetry, seen))
    short = market(bins=41)
    short.heat[:] = [[0.003], [0.001]]
    below, _ = detect(asymmetry, short)
    assert below.score == pytest.approx(0.5)
    assert math.isnan(below.evidence["far"])


def test_a_single_bin_that_is_not_known_makes_the_sum_unknown():
    seen = scene()
    seen.heat[1, 7] = math.nan
    assert all(math.isnan(found.score) and not found.flag for found in detect(asymmetry, seen))


def test_earlier_scenes_and_silence_change_nothing():
    last = scene(1, close_ns=CLOSE_NS + 60 * MINUTE_NS)
    assert_says_no_more_than(asymmetry, last, scene(0))


@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_market_leans_the_other_way(seed):
    seen = market(return_24h=0.01)
    seen.heat[:] = np.random.default_rng(seed).exponential(1e-4, seen.heat.shape)
    assert_mirrors(asymmetry, seen)
