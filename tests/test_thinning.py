import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.patterns import thinning
from squeeze.patterns.scene import ZONE
from tests.pattern_laws import assert_mirrors, assert_says_no_more_than
from tests.scenes import BIN_LOG, CLOSE_NS, MINUTE_NS, detect, market, rows, zone


def thinned(side, near=0.01, peak_base=2000.0, peak_share=0.0125, **more):
    """1000 coins and 1 % of open interest are left."""
    return zone(side, near, **{"peak_6h_base": peak_base, "peak_6h_share": peak_share} | more)


def scene(*zones, **now):
    seen = market(**now)._replace(zones=rows(ZONE, *zones))
    seen.heat[:] = 0.0
    return seen


@pytest.mark.parametrize("side", [0, 1])
def test_a_zone_that_lost_half_its_coins_and_a_fifth_of_its_share_thins(side):
    found = detect(thinning, scene(thinned(side)))
    assert found[side].flag
    assert found[side].score == pytest.approx(0.5)
    assert found[side].evidence == pytest.approx(
        {"thinning": 0.5, "excess": 0.2, "near_log": 0.01, "mass_share": 0.01, "age_days": 1.0}
    )
    assert "lost 50% of its coins within six hours untouched, 20% more" in found[side].reason
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)


@pytest.mark.parametrize(
    ("change", "score"),
    [
        ({"peak_6h_base": 1660.0}, 1 - 1000 / 1660),
        ({"peak_6h_share": 0.01175}, (1 - 0.01 / 0.01175) * 0.4 / 0.15),
        ({"touched_ns": CLOSE_NS - MINUTE_NS}, math.nan),
    ],
    ids=["thinning 39.8 %", "excess 14.9 %", "touched"],
)
def test_a_near_miss_does_not_flag(change, score):
    below, _ = detect(thinning, scene(thinned(0, **change)))
    assert not below.flag
    assert below.score == (0.0 if math.isnan(score) else pytest.approx(score))


@pytest.mark.parametrize(("near", "flag"), [(0.048, True), (0.0485, False)])
def test_only_zones_wholly_within_reach_are_looked_at(near, flag):
    assert detect(thinning, scene(thinned(0, near)))[0].flag is flag


def test_when_the_whole_market_closes_in_proportion_there_is_no_excess():
    below, _ = detect(thinning, scene(thinned(0, peak_share=0.01)))
    assert below.evidence["thinning"] == 0.5
    assert (below.score, below.flag) == (0.0, False)


def test_the_zone_that_comes_nearest_to_both_thresholds_counts():
    zones = [thinned(1, 0.01, peak_share=0.01), thinned(1, 0.02), thinned(1, 0.03, peak_base=1100.0)]
    _, above = detect(thinning, scene(*zones))
    assert above.evidence["near_log"] == pytest.approx(0.02)


@given(st.floats(0.001, 0.99), st.floats(0.001, 0.99))
def test_the_score_reaches_the_threshold_just_where_the_flag_goes_up(thin, excess):
    below, _ = detect(thinning, scene(thinned(0, peak_base=1000 / (1 - thin), peak_share=0.01 / (1 - excess))))
    assert below.flag == (below.score >= 0.4) or below.score == pytest.approx(0.4)
    assert 0 <= below.score <= 1


def test_what_is_not_known_has_no_score():
    for unknown in ("mass_base", "peak_6h_base", "peak_6h_share"):
        below, _ = detect(thinning, scene(thinned(0, **{unknown: math.nan})))
        assert math.isnan(below.score)
        assert not below.flag
    assert all(math.isnan(found.score) and not found.flag for found in detect(thinning, market()))


def test_earlier_scenes_and_silence_change_nothing():
    last = scene(thinned(0), close_ns=CLOSE_NS + 60 * MINUTE_NS)
    assert_says_no_more_than(thinning, last, scene(thinned(1)))


PEAKS = st.floats(1000, 4000) | st.just(math.nan)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 110), PEAKS, PEAKS), max_size=6))
def test_a_mirrored_market_thins_on_the_other_side(drawn):
    zones = [
        thinned(side, near * BIN_LOG, base, share / 1e5)
        for side, near, base, share in sorted(drawn, key=lambda row: row[:2])
    ]
    assert_mirrors(thinning, scene(*zones))
