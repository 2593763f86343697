import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from squeeze.patterns import migration
from squeeze.patterns.migration import Thresholds
from squeeze.patterns.pattern import FINDING, thresholds_record
from squeeze.patterns.scene import ZONE
from tests.pattern_laws import assert_mirrors
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, MINUTE_NS, detect, market, rows, zone

HOUR = 60
DAY = 24 * HOUR


def place(bins):
    return math.exp((MARK_BIN + bins + 0.5) * BIN_LOG)


def scene(minute=0.0, zones=(), heat=None, at=0, low=None, high=None, **now):
    """A recorded map, the mark `at` so many bins from its first place, its range of the step from `low` to `high`."""
    moved = {
        "close_ns": CLOSE_NS + round(minute * MINUTE_NS),
        "mark": place(at),
        "mark_bin": MARK_BIN + at,
        "mark_low": place(at if low is None else low),
        "mark_high": place(at if high is None else high),
    }
    seen = market(**moved | now)._replace(zones=rows(ZONE, *zones))
    seen.heat[:] = 0.0
    if heat is not None:
        seen.heat[:] = heat
    return seen


def lump(side, first, last, share=0.001):
    heat = np.zeros((2, 200))
    heat[side, first:last] = share
    return heat


def drifted(side, toward_log, kept=0.8, **more):
    moved = zone(side, 0.02, mass_24h_share=0.01 / kept, **more)
    moved["place_24h_log"] += toward_log if side else -toward_log
    return moved


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("toward", [0.006, -0.006])
def test_a_zone_that_moved_by_half_a_percent_in_a_day_and_kept_its_mass_migrates(side, toward):
    found = detect(migration, scene(zones=[drifted(side, toward)]))
    assert found[side].flag
    assert found[side].score == pytest.approx(0.006)
    assert found[side].evidence["toward_24h_log"] == pytest.approx(toward)
    assert found[side].evidence["kept_share"] == pytest.approx(0.8)
    assert f"moved by {toward:+.2%} toward the price in 24 hours and kept 80% of its mass" in found[side].reason
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)


@pytest.mark.parametrize(
    ("near_miss", "score"),
    [(drifted(0, 0.00499), 0.00499), (drifted(0, 0.006, kept=0.599), 0.0)],
    ids=["0.499 %", "59.9 % kept"],
)
def test_a_near_miss_does_not_flag(near_miss, score):
    below, _ = detect(migration, scene(zones=[near_miss]))
    assert not below.flag
    assert below.score == pytest.approx(score)


def test_the_zone_that_moved_the_most_counts():
    zones = [drifted(1, 0.003, id=1), drifted(1, -0.007, id=2), drifted(1, 0.005, id=3)]
    assert detect(migration, scene(zones=zones))[1].evidence["toward_24h_log"] == pytest.approx(-0.007)


def test_a_zone_of_which_no_day_is_remembered_or_a_map_that_is_not_recorded_has_no_score():
    young = zone(0, 0.02, mass_24h_share=math.nan, place_24h_log=math.nan)
    below, above = detect(migration, scene(zones=[young]))
    assert math.isnan(below.score)
    assert above.score == 0.0
    assert all(math.isnan(found.score) and not found.flag for found in detect(migration, market()))


@pytest.mark.parametrize("side", [0, 1])
def test_the_map_of_a_day_ago_is_compared_with_the_map_now(side):
    found = detect(migration, scene(0, heat=lump(side, 80, 90)), scene(DAY, heat=lump(side, 60, 70, share=0.002)))
    assert found[side].evidence["map_moved_log"] == pytest.approx(20 * BIN_LOG, rel=1e-6)
    assert found[side].evidence["map_toward_log"] == pytest.approx(20 * BIN_LOG, rel=1e-6)
    assert math.isnan(found[1 - side].evidence["map_moved_log"])  # nothing there


def test_mass_that_spreads_both_ways_moves_the_map_but_not_its_centroid():
    spread = lump(0, 60, 70) + lump(0, 100, 110)
    below, _ = detect(migration, scene(0, heat=lump(0, 80, 90)), scene(DAY, heat=spread))
    assert below.evidence["map_moved_log"] == pytest.approx(17.5 * BIN_LOG, rel=1e-6)  # of each half
    assert below.evidence["map_toward_log"] == pytest.approx(0.0, abs=1e-9)


def test_bins_are_absolute_so_a_mark_that_moves_alone_moves_nothing():
    random = np.random.default_rng(0).exponential(1e-3, 400)
    then, now = np.zeros((2, 200)), np.zeros((2, 200))
    then[1], now[1] = random[50:250], random[80:280]
    _, above = detect(migration, scene(0, heat=then), scene(DAY, heat=now, at=30))
    assert above.evidence["map_moved_log"] == 0.0


def test_what_the_mark_swept_in_between_is_left_out_of_both_maps():
    then = lump(0, 10, 20) + lump(0, 80, 90)
    wick = scene(HOUR, heat=then, low=-30)
    below, _ = detect(migration, scene(0, heat=then), wick, scene(DAY, heat=lump(0, 80, 90)))
    assert below.evidence["map_moved_log"] == 0.0
    below, _ = detect(migration, scene(0, heat=then), scene(HOUR, heat=then), scene(DAY, heat=lump(0, 80, 90)))
    assert below.evidence["map_moved_log"] > 0.01


@pytest.mark.parametrize(("low", "told"), [(-159, True), (-160, False)])
def test_maps_are_compared_only_where_two_percent_of_them_are_unswept(low, told):
    even = np.full((2, 200), 1e-4)
    below, _ = detect(migration, scene(0, heat=even), scene(DAY, heat=even, low=low))
    assert math.isnan(below.evidence["map_moved_log"]) is not told


@pytest.mark.parametrize(
    ("minutes", "told"), [(DAY - 1, False), (DAY, True), (25.5 * HOUR, True), (25.5 * HOUR + 1, False)]
)
def test_a_day_ago_is_the_newest_map_from_24_to_25_and_a_half_hours_old(minutes, told):
    below, _ = detect(migration, scene(0, heat=lump(0, 80, 90)), scene(minutes, heat=lump(0, 60, 70)))
    assert math.isnan(below.evidence["map_moved_log"]) is not told


@pytest.mark.parametrize("step_minutes", [7, 40, 60])
def test_with_steps_of_any_length_the_ring_always_holds_the_map_of_yesterday(step_minutes):
    """The lump comes nearer by one bin every two hours, so 12 to 13 bins in the age of yesterday's map."""
    rules, memory, out = thresholds_record(Thresholds()), np.zeros(1, migration.MEMORY), np.zeros(2, FINDING)
    for minute in range(0, 3 * DAY, step_minutes):
        first = 150 - minute // (2 * HOUR)
        seen = scene(minute, heat=lump(1, first, first + 10), step_ns=step_minutes * MINUTE_NS)
        migration.detect(seen, rules[0], memory[0], out)
        bins = out[1]["evidence"][migration.EVIDENCE.index("map_toward_log")] / BIN_LOG
        if minute >= 25.5 * HOUR:
            assert 12 - 1e-6 < bins < 13 + 1e-6


def test_a_map_that_is_not_recorded_is_not_remembered_as_empty():
    below, _ = detect(migration, market(), scene(DAY, heat=lump(0, 60, 70)))
    assert math.isnan(below.evidence["map_moved_log"])
    below, _ = detect(migration, scene(0, heat=lump(0, 60, 70)), market(close_ns=CLOSE_NS + DAY * MINUTE_NS))
    assert math.isnan(below.evidence["map_moved_log"])


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(-60, 60))
def test_the_distance_is_that_of_scipy(seed, at):
    random = np.random.default_rng(seed)
    then, now = random.exponential(1e-3, (2, 2, 200))
    found = detect(migration, scene(0, heat=then), scene(DAY, heat=now, at=at, low=at - 5, high=at + 3))
    outward = np.arange(200)
    for side, edge in ((0, min(0, at - 5)), (1, max(0, at + 3))):
        bins_then, bins_now = ((-1, 1)[side] * outward, (-1, 1)[side] * outward + at)
        both = np.intersect1d(bins_then, bins_now)
        both = both[both < edge] if side == 0 else both[both > edge]
        weights = then[side][np.isin(bins_then, both)], now[side][np.isin(bins_now, both)]
        places = bins_then[np.isin(bins_then, both)], bins_now[np.isin(bins_now, both)]
        expected = wasserstein_distance(*places, *weights) * BIN_LOG
        assert found[side].evidence["map_moved_log"] == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_market_migrates_on_the_other_side_through_every_step(seed):
    random = np.random.default_rng(seed)
    steps, minute, at = [], 0, 0
    for _ in range(6):
        minute += int(random.choice([HOUR, 8 * HOUR, DAY]))
        at += int(random.integers(-20, 21))
        zones = [drifted(side, random.normal(0, 0.005), kept=random.uniform(0.3, 1.5)) for side in (0, 0, 1)]
        heat = random.exponential(1e-3, (2, 200))
        steps.append(scene(minute, zones, heat, at, at - int(random.integers(0, 9)), at + int(random.integers(0, 9))))
    assert_mirrors(migration, *steps)
