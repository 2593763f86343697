import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.patterns import accumulation
from squeeze.patterns.scene import ZONE
from tests.pattern_laws import assert_mirrors, assert_says_no_more_than
from tests.scenes import BIN_LOG, CLOSE_NS, MINUTE_NS, detect, market, rows, zone

GROWN = {"mass_1h_share": 0.009, "mass_6h_share": 0.008, "mass_24h_share": 0.005}


def scene(*zones, **now):
    seen = market(**now)._replace(zones=rows(ZONE, *zones))
    seen.heat[:] = 0.0
    return seen


@pytest.mark.parametrize("side", [0, 1])
def test_a_zone_that_grew_over_every_span_accumulates(side):
    found = detect(accumulation, scene(zone(side, 0.01, **GROWN)))[side]
    assert found.flag
    assert found.score == pytest.approx((0.1 + 0.2 + 0.5) / 3)
    assert found.evidence == pytest.approx(
        {
            "growth_1h": 0.1,
            "growth_6h": 0.2,
            "growth_24h": 0.5,
            "toward_24h_log": 0.0,
            "mass_share": 0.01,
            "near_log": 0.01,
        }
    )
    assert "1.00% away, grows: +27% of its mass" in found.reason


@pytest.mark.parametrize("side", [0, 1])
def test_nothing_is_said_of_the_other_side(side):
    other = detect(accumulation, scene(zone(side, 0.01, **GROWN)))[1 - side]
    assert (other.score, other.flag) == (0.0, False)


@pytest.mark.parametrize(
    "change",
    [
        {"mass_24h_share": 0.0071},
        {"mass_1h_share": 0.0101, "mass_24h_share": 0.002},
        {"mass_6h_share": 0.0101, "mass_24h_share": 0.002},
        {"mass_1h_share": 0.002, "mass_24h_share": 0.0101},
        {"mass_1h_share": math.nan},
        {"mass_6h_share": math.nan},
    ],
    ids=["mean under 20 %", "loss in 1 h", "loss in 6 h", "loss in 24 h", "1 h unknown", "6 h unknown"],
)
def test_a_near_miss_does_not_flag(change):
    below, _ = detect(accumulation, scene(zone(0, 0.01, **GROWN | change)))
    assert not below.flag
    assert not math.isnan(below.score)


def test_a_zone_a_few_hours_old_may_accumulate():
    below, _ = detect(
        accumulation, scene(zone(0, 0.01, **GROWN | {"mass_1h_share": 0.007, "mass_24h_share": math.nan}))
    )
    assert below.flag
    assert below.score == pytest.approx((0.3 + 0.2) / 2)


def test_a_zone_that_dissipates_has_a_negative_score():
    shrunk = {"mass_1h_share": 0.0125, "mass_6h_share": 0.02, "mass_24h_share": 0.04}
    below, _ = detect(accumulation, scene(zone(0, 0.01, **shrunk)))
    assert below.score == pytest.approx(-(0.2 + 0.5 + 0.75) / 3)
    assert not below.flag


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("toward", [0.004, -0.004])
def test_migration_is_signed_toward_the_price(side, toward):
    moved = zone(side, 0.02)
    moved["place_24h_log"] += toward if side else -toward
    found = detect(accumulation, scene(moved))[side]
    assert found.evidence["toward_24h_log"] == pytest.approx(toward)


def test_the_heaviest_zone_that_lies_wholly_within_reach_counts_and_one_not_remembered_is_passed_over():
    new = {"mass_1h_share": math.nan, "mass_6h_share": math.nan, "mass_24h_share": math.nan}
    zones = [
        zone(1, 0.01, mass_share=0.02, id=1, **new),
        zone(1, 0.02, mass_share=0.004, id=2, **GROWN),
        zone(1, 0.03, mass_share=0.005, id=3),
        zone(1, 0.049, mass_share=0.03, id=4, **GROWN),
    ]
    _, above = detect(accumulation, scene(*zones))
    assert above.evidence["near_log"] == pytest.approx(0.03)
    assert above.score == 0.0


def test_what_is_not_remembered_or_not_recorded_has_no_score():
    new = zone(0, 0.01, mass_1h_share=math.nan, mass_6h_share=math.nan, mass_24h_share=math.nan)
    below, above = detect(accumulation, scene(new))
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == 0.0  # the map is recorded and has no zone there
    assert all(math.isnan(found.score) and not found.flag for found in detect(accumulation, market()))


def test_earlier_scenes_and_silence_change_nothing():
    last = scene(zone(0, 0.01, **GROWN), close_ns=CLOSE_NS + 60 * MINUTE_NS)
    before = scene(zone(1, 0.01), zone(0, 0.02))
    assert_says_no_more_than(accumulation, last, before)


SHARES = st.floats(0.003, 0.05) | st.just(math.nan)


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 110), SHARES, SHARES, SHARES), max_size=6))
def test_a_mirrored_market_accumulates_on_the_other_side(drawn):
    zones = [
        zone(side, near * BIN_LOG, mass_share=0.01 + i / 1000, mass_1h_share=a, mass_6h_share=b, mass_24h_share=c)
        for i, (side, near, a, b, c) in enumerate(sorted(drawn, key=lambda d: d[:2]))
    ]
    assert_mirrors(accumulation, scene(*zones))
