import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from squeeze.patterns import venue_divergence
from squeeze.patterns.pattern import FINDING, Finding, finding, thresholds_record
from squeeze.patterns.scene import Scene
from tests.pattern_laws import same
from tests.scenes import BIN_LOG, CLOSE_NS, MINUTE_NS, detect, market, mirrored

HOUR_NS = 60 * MINUTE_NS
ROOT_HALF = 0.5**0.5


def maps(*venues: dict[tuple[int, int], float], after_ns: int = 0, step_ns: int = HOUR_NS, bins: int = 200) -> Scene:
    """A market in which each venue's heat is what is given by (side, bin), else zero."""
    scene = market(bins, len(venues), close_ns=CLOSE_NS + after_ns, step_ns=step_ns)
    scene.venue_heat[:] = 0.0
    for venue, heat in enumerate(venues):
        for (side, i), share in heat.items():
            scene.venue_heat[venue, side, i] = share
    return scene


SAME = {(0, 10): 0.02, (1, 10): 0.02}
MOVED = {(0, 10): 0.01, (1, 30): 0.01}


def hours(count: int, *venues: dict[tuple[int, int], float]) -> list[Scene]:
    return [maps(*venues, after_ns=i * HOUR_NS) for i in range(-count, 0)]


def run(scenes: list[Scene], **thresholds: float) -> list[tuple[Finding, Finding]]:
    rules, memory = thresholds_record(venue_divergence.Thresholds(**thresholds)), np.zeros(1, venue_divergence.MEMORY)
    found = []
    for scene in scenes:
        out = np.zeros(2, FINDING)
        venue_divergence.detect(scene, rules[0], memory[0], out)
        found.append((finding(venue_divergence, 0, out[0]), finding(venue_divergence, 1, out[1])))
    return found


def test_venues_that_agreed_for_a_day_and_now_put_half_of_their_mass_elsewhere_diverge():
    below, above = detect(venue_divergence, *hours(25, SAME, SAME), maps(SAME, MOVED))
    assert below.flag
    assert above.flag
    assert below.score == above.score == pytest.approx(ROOT_HALF)  # half a bit
    assert below.evidence["w1_log"] == pytest.approx(10 * BIN_LOG)  # half of the mass by 20 bins
    assert below.evidence["usual_score"] == pytest.approx(0.95 * 0.005)
    assert below.evidence["nearest_gap_log"] == 0.0
    assert above.evidence["nearest_gap_log"] == pytest.approx(0.01)
    assert below.evidence["pairs"] == 1
    assert above.reason == (
        "venues disagree, distance 0.71: mass lies 0.50% apart, the nearest dense levels above 1.00%"
    )


def test_less_than_a_day_of_history_tells_no_quantile_and_only_the_nearest_levels_can_raise_the_flag():
    below, above = detect(venue_divergence, *hours(23, SAME, SAME), maps(SAME, MOVED))
    assert below.score == pytest.approx(ROOT_HALF)
    assert math.isnan(below.evidence["usual_score"])
    assert not below.flag
    assert above.flag


def test_the_usual_score_is_the_quantile_of_the_time_spent():
    scenes = [maps(SAME, SAME if i < 30 else MOVED, after_ns=i * HOUR_NS) for i in range(41)]
    below, _ = run(scenes, memory_days=1e9)[-1]  # 38 of 40 hours: all 30 that agreed, and 8 of the other 10
    assert below.evidence["usual_score"] == pytest.approx((141 + 0.8) * 0.005)


def test_a_divergence_that_is_usual_for_these_venues_is_not_flagged():
    below, _ = detect(venue_divergence, *hours(25, SAME, MOVED), maps(SAME, MOVED))
    assert below.score > 0.35
    assert below.evidence["usual_score"] > below.score
    assert not below.flag


@pytest.mark.parametrize(("moved", "flag"), [(0.22, False), (0.23, True)])
def test_an_unusual_distance_up_to_035_is_not_enough(moved, flag):
    differs = {(0, 10): 1 - moved, (0, 12): moved}  # too near for the levels to count
    below, _ = detect(venue_divergence, *hours(25, SAME, SAME), maps({(0, 10): 1.0}, differs))
    assert below.score == pytest.approx(0.35, abs=0.007)
    assert below.score > below.evidence["usual_score"]
    assert below.flag == flag == (below.score > 0.35)


@pytest.mark.parametrize(("bin_", "flag"), [(20, False), (21, True)])
def test_nearest_dense_levels_must_be_more_than_half_a_percent_apart(bin_, flag):
    below, above = detect(venue_divergence, maps(SAME, {(0, bin_): 0.01, (1, 10): 0.01}))
    assert below.evidence["nearest_gap_log"] == pytest.approx((bin_ - 10) * BIN_LOG)
    assert (below.flag, above.flag) == (flag, False)


def test_thin_heat_in_front_of_the_dense_tenth_is_not_the_nearest_level():
    scene = maps({}, {})
    scene.venue_heat[0, 0, 5:101] = 0.001
    scene.venue_heat[1, 0, 30:101] = 0.002
    scene.venue_heat[:, 0, 40:60] = 0.01
    below, above = detect(venue_divergence, scene)
    assert below.evidence["nearest_gap_log"] == 0.0
    assert math.isnan(above.evidence["nearest_gap_log"])


def test_venues_count_by_their_open_interest_and_one_without_a_map_or_open_interest_does_not():
    scene = maps(SAME, SAME, MOVED)
    scene.venues["open_interest_base"] = [6.0, 3.0, 1.0]
    below, _ = detect(venue_divergence, scene)
    assert below.score == pytest.approx(ROOT_HALF * (6 + 3) / (18 + 6 + 3))
    assert below.evidence["pairs"] == 3
    scene.venues["open_interest_base"][2] = np.nan
    below, _ = detect(venue_divergence, scene)
    assert (below.score, below.evidence["pairs"]) == (0.0, 1)
    scene.venue_heat[1, 0, 50] = np.nan
    below, above = detect(venue_divergence, *hours(25, SAME, SAME), scene)
    assert math.isnan(below.score)
    assert below.evidence["pairs"] == 0
    assert not below.flag
    assert not above.flag


def test_mass_beyond_five_percent_does_not_count():
    below, _ = detect(venue_divergence, maps(SAME | {(0, 101): 5.0}, SAME))
    assert below.score == 0.0
    below, _ = detect(venue_divergence, maps(SAME | {(0, 100): 5.0}, SAME))
    assert below.score > 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_distances_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    scene = maps({}, {}, bins=40)
    scene.venue_heat[:] = rng.random((2, 2, 40)) * (rng.random((2, 2, 40)) < rng.uniform(0.05, 1))
    scene.venue_heat[:, 0, 3] += 0.1
    below, _ = detect(venue_divergence, scene)
    place = np.arange(-39, 40)
    one, other = (np.concatenate([h[0, :0:-1], [h[0, 0] + h[1, 0]], h[1, 1:]]) for h in scene.venue_heat)
    assert below.score == pytest.approx(jensenshannon(one, other, base=2), abs=1e-9)
    assert below.evidence["w1_log"] == pytest.approx(wasserstein_distance(place, place, one, other) * BIN_LOG, abs=1e-9)


def test_history_is_time_spent_and_neither_silence_nor_the_number_of_steps():
    (quiet, _), (later, _) = run([maps(SAME, SAME, step_ns=MINUTE_NS), maps(SAME, SAME, after_ns=HOUR_NS)])
    assert quiet.evidence["history_days"] == 0.0  # a step does not judge itself
    assert later.evidence["history_days"] == pytest.approx(math.exp(-1 / 24 / 30) / 1440)
    minutes = [maps(SAME, SAME, after_ns=i * MINUTE_NS, step_ns=MINUTE_NS) for i in range(61)]
    hour = [maps(SAME, SAME), maps(SAME, SAME, after_ns=MINUTE_NS, step_ns=MINUTE_NS)]
    assert run(minutes)[-1][0].evidence["history_days"] == pytest.approx(1 / 24, rel=1e-3)
    assert run(hour)[-1][0].evidence["history_days"] == pytest.approx(1 / 24, rel=1e-3)


def test_history_is_forgotten():
    lately = maps(SAME, MOVED, after_ns=30 * 24 * HOUR_NS)
    assert run([*hours(50, SAME, SAME), lately])[-1][0].evidence["history_days"] < 50 / 24 / math.e
    assert not detect(venue_divergence, *hours(50, SAME, SAME), lately)[0].flag


def wandering(seed: int, count: int = 40) -> list[Scene]:
    rng = np.random.default_rng(seed)
    heat, scenes = rng.random((3, 2, 60)) ** 4, []
    for i in range(count):
        heat = 0.7 * heat + 0.3 * rng.random((3, 2, 60)) ** 4
        scene = maps({}, {}, {}, after_ns=i * HOUR_NS + int(rng.integers(0, 10**9)), bins=60)
        scene.venue_heat[:] = np.nan if rng.random() < 0.1 else heat
        scene.venues["open_interest_base"] = rng.random(3) + 0.1
        scenes.append(scene)
    return scenes


@pytest.mark.parametrize("seed", range(5))
def test_a_mirrored_market_diverges_alike_with_sides_swapped(seed):
    scenes = wandering(seed)
    easy = {"least_score": 0.01, "nearest_gap_log": 0.001, "quantile": 0.5}
    found, other = run(scenes, **easy), run([mirrored(scene) for scene in scenes], **easy)
    for (below, above), (mirrored_below, mirrored_above) in zip(found, other, strict=True):
        same(below, mirrored_above)
        same(above, mirrored_below)
    flags = [f.flag for pair in found for f in pair]
    assert any(flags)
    assert not all(flags)


def test_nothing_is_learnt_from_later_scenes_and_no_scene_is_changed():
    scenes, untouched = wandering(7), wandering(7)
    found, early = run(scenes), run(scenes[:20])
    for one, two in zip(found[:20], early, strict=True):
        same(one[0], two[0])
        same(one[1], two[1])
    for scene, twin in zip(scenes, untouched, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(scene, twin, strict=True))
    assert all(b[0].known_at_ns > a[0].known_at_ns for a, b in pairwise(found))
