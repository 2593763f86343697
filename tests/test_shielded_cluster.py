import math

import pytest

from squeeze.patterns import shielded_cluster
from squeeze.patterns.scene import PULLED
from tests.scenes import CLOSE_NS, MARK_BIN, MINUTE_NS, detect, market, zone
from tests.wall_scenes import M, assert_mirrors, wall, with_walls

NAN = math.nan
YOUNG = {"born_ns": CLOSE_NS - 9 * MINUTE_NS}
ABSORBS = {"traded_60s_usd": 2 * M, "usd": 2 * M}

sides = pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])


def cluster(side, near_log=0.01, **more):
    return zone(side, near_log, mass_usd=16 * M, **more)


@sides
def test_a_wall_that_has_stood_before_the_nearest_zone_shields_it(side):
    found = detect(shielded_cluster, with_walls(wall(side), zones=(cluster(side), cluster(side, 0.015, id=2))))
    assert (found[side].score, found[side].flag) == (0.5, True)
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)
    assert found[side].evidence == {
        "ratio": 0.25,
        "wall_usd": 4 * M,
        "zone_usd": 16 * M,
        "wall_log": pytest.approx(0.005),
        "zone_log": pytest.approx(0.01),
        "absorbing_share": 0.0,
    }
    assert found[side].reason.startswith(f"the zone {('below', 'above')[side]}, 1.00% away, is shielded: walls of 4,0")


@sides
def test_walls_of_several_venues_count_together_and_one_that_absorbs_need_not_be_old(side):
    walls = wall(side, 12, **YOUNG, **ABSORBS), wall(side, 8, venue=1, usd=6 * M)
    found = detect(shielded_cluster, with_walls(*walls, zones=(cluster(side),)))[side]
    assert found.flag
    assert (found.evidence["ratio"], found.evidence["absorbing_share"]) == (0.5, 0.25)
    assert found.evidence["wall_log"] == pytest.approx(0.004)


@sides
@pytest.mark.parametrize(
    ("place", "changes", "ratio"),
    [
        (10, {"usd": 3.9 * M}, 3.9 / 16),
        (10, YOUNG, 0),
        (10, {"pulls_1h": 1}, 0),
        (10, {"pull_elasticity": 0.5}, 0),
        (10, {"usd": NAN}, 0),
        (10, {"outcome": PULLED, "ended_ns": 1}, 0),
        (20, {}, 0),
        (0, {}, 0),
        (10, YOUNG | ABSORBS | {"traded_60s_usd": 1.9 * M}, 0),
        (10, YOUNG | ABSORBS | {"usd": 1.9 * M}, 0),
    ],
    ids=[
        "too small",
        "young",
        "pulled before",
        "melts",
        "not shown",
        "gone",
        "within",
        "at the mark",
        "little",
        "eaten",
    ],
)
def test_a_near_miss_shields_nothing(side, place, changes, ratio):
    found = detect(shielded_cluster, with_walls(wall(side, place, **changes), zones=(cluster(side),)))[side]
    assert not found.flag
    assert found.score == pytest.approx(ratio / (ratio + 0.25))


@sides
def test_a_wall_in_the_last_bin_before_the_zone_shields_it(side):
    scene = with_walls(wall(side, 19), zones=(cluster(side),))
    edge = scene.zones["end_bin"][0] if side == 0 else scene.zones["low_bin"][0] - 1
    assert scene.walls["bin"][0] == edge == MARK_BIN + (19 if side else -19)
    assert detect(shielded_cluster, scene)[side].flag


@sides
def test_a_zone_beyond_reach_is_not_looked_at_and_only_the_nearest_is(side):
    found = detect(shielded_cluster, with_walls(wall(side), zones=(cluster(side, 0.0205),)))[side]
    assert (found.score, found.flag) == (0.0, False)
    assert detect(shielded_cluster, with_walls(wall(side), zones=(cluster(side, 0.02),)))[side].flag
    zones = cluster(side, 0.004), cluster(side, 0.01, id=2)
    assert not detect(shielded_cluster, with_walls(wall(side), zones=zones))[side].flag


def test_without_a_book_or_a_map_it_cannot_be_told():
    scene = with_walls(wall(0), zones=(cluster(0),))
    scene.book[0] = NAN
    scene.heat[1] = NAN
    for found in detect(shielded_cluster, scene):
        assert math.isnan(found.score)
        assert not found.flag
    assert all(math.isnan(found.score) for found in detect(shielded_cluster, market()))


def test_a_mirrored_market_has_it_on_the_other_side():
    zones = cluster(0), cluster(1, 0.008)
    assert_mirrors(shielded_cluster, with_walls(wall(0), wall(1, 6, **YOUNG, **ABSORBS), zones=zones))
