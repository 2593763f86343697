import math

import numpy as np
import pytest

from squeeze.patterns import convergence
from squeeze.patterns.scene import AREA_HIGH, AREA_LOW, CONTROL, HIGH, LOW, NODE, WALL, ZONE, Scene
from tests.pattern_laws import assert_mirrors
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, detect, market, rows, zone

SECOND_NS = 10**9
SIDES = ("below", "above")
CENTRE = 23
"""Outward bin beside whose near border the zone of `agreeing` has its centroid."""


def agreeing(
    side: int = 0,
    node_log: float = 0.0,
    wall_log: float = 0.0,
    node: int = HIGH,
    wall: dict[str, object] | None = None,
    interest: int = CENTRE,
    **now: float,
) -> Scene:
    """A zone with its centroid 22.5 bins away, and node, wall and interest there; `..._log` moves one outward."""
    there = zone(side, 0.0105, id=5)  # outward bins 21 to 24, of which the mark lies in the middle of its own
    outward = -1 if side == 0 else 1
    there["centroid_log"] = outward * (there["place_log"] - (MARK_BIN + 0.5) * BIN_LOG)
    scene = market(atr_1h=0.004, **now)
    scene.book[:] = 1e6
    scene.interest[:] = 10.0
    scene.interest[side, 100:] = 20.0
    scene.interest[side, interest] = 50.0
    scene.heat[:] = 1e-4
    stands = {
        "side": side,
        "bin": MARK_BIN + outward * CENTRE,
        "distance_log": there["centroid_log"] + wall_log,
        "usd": 3e6,
        "born_ns": CLOSE_NS - 10 * SECOND_NS,
    }
    return scene._replace(
        zones=rows(ZONE, there),
        nodes=rows(NODE, {"kind": node, "place_log": there["place_log"] + outward * node_log, "volume_share": 0.8}),
        walls=rows(WALL, stands | (wall or {})),
    )


@pytest.mark.parametrize("side", [0, 1])
def test_zone_node_wall_and_interest_at_one_level_converge(side):
    both = detect(convergence, agreeing(side))
    found, other = both[side], both[1 - side]
    assert found.flag
    assert found.score == 1.0
    assert found.evidence == {
        "votes": 4,
        "votes_cast": 4,
        "centroid_log": pytest.approx(22.5 * BIN_LOG),
        "node": 1,
        "wall": 1,
        "interest": 1,
    }
    assert found.reason == f"4 of 4 maps agree on a level {found.evidence['centroid_log']:.2%} {SIDES[side]}"
    assert (other.score, other.flag) == (0.0, False)


@pytest.mark.parametrize("kind", [HIGH, CONTROL, AREA_LOW, AREA_HIGH])
def test_three_votes_of_four_are_enough(kind):
    below, _ = detect(convergence, agreeing(node=kind, wall_log=0.0016))
    assert below.flag
    assert (below.score, below.evidence["wall"]) == (0.75, 0)


@pytest.mark.parametrize(
    "scene",
    [
        agreeing(wall_log=0.0016, node_log=0.0016),
        agreeing(wall_log=0.0016, node_log=-0.0016),
        agreeing(wall_log=0.0016, node=LOW),
        agreeing(wall={"born_ns": CLOSE_NS - 10 * SECOND_NS + 1}, node_log=0.0016),
        agreeing(wall={"ended_ns": CLOSE_NS}, node_log=0.0016),
        agreeing(wall={"side": 1}, node_log=0.0016),
        agreeing(interest=CENTRE + 4, node_log=0.0016),
    ],
    ids=[
        "node and wall 0.16 % further",
        "node 0.16 % nearer",
        "a low node",
        "a wall of under 10 s",
        "a wall that ended",
        "a wall on the other side",
        "interest three bins beyond",
    ],
)
def test_two_votes_are_a_near_miss(scene):
    below, above = detect(convergence, scene)
    assert (below.score, below.evidence["votes"]) == (0.5, 2)
    assert not below.flag
    assert not above.flag


@pytest.mark.parametrize(("off_log", "atr", "votes"), [(0.0019, 0.004, 2), (0.0019, 0.008, 4), (0.0021, 0.008, 2)])
def test_the_tolerance_grows_with_the_range_of_an_hour(off_log, atr, votes):
    scene = agreeing(wall_log=off_log, node_log=off_log)
    scene.now["atr_1h"] = atr
    below, _ = detect(convergence, scene)
    assert below.evidence["votes"] == votes


def test_a_vote_that_could_not_be_cast_is_left_out_of_the_share():
    scene = agreeing()
    scene.book[0, CENTRE] = np.nan
    below, _ = detect(convergence, scene._replace(walls=rows(WALL)))
    assert below.flag
    assert (below.score, below.evidence["votes_cast"]) == (1.0, 3)
    assert math.isnan(below.evidence["wall"])
    unseen = scene.walls.copy()
    unseen["usd"] = np.nan
    below, _ = detect(convergence, scene._replace(walls=unseen))
    assert math.isnan(below.evidence["wall"])


def test_too_few_votes_tell_nothing():
    scene = agreeing()
    scene.book[:] = np.nan
    below, above = detect(convergence, scene._replace(walls=rows(WALL), nodes=rows(NODE)))
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == 0.0  # no zone, so nothing to agree with
    scene.interest[0, CENTRE - 2 : CENTRE + 2] = np.nan
    below, _ = detect(convergence, scene._replace(walls=rows(WALL)))
    assert math.isnan(below.score)


@pytest.mark.parametrize("unknown", ["atr", "map"])
def test_an_unknown_tolerance_or_map_is_not_a_zero(unknown):
    scene = agreeing()
    if unknown == "atr":
        scene.now["atr_1h"] = np.nan
    else:
        scene.heat[:] = np.nan
        scene = scene._replace(zones=rows(ZONE))
    for least_votes in (2, 3):
        below, above = detect(convergence, scene, least_votes=least_votes)
        assert math.isnan(below.score)
        assert not below.flag
        assert math.isnan(above.score) == (unknown == "map")


def test_empty_open_interest_by_price_has_no_node():
    scene = agreeing()
    scene.interest[:] = 0.0
    below, _ = detect(convergence, scene)
    assert below.evidence["interest"] == 0


def test_the_zone_with_the_greatest_share_counts():
    scene = agreeing()
    near, far = zone(0, 0.004, id=1), zone(0, 0.03, id=9)
    zones = np.concatenate([rows(ZONE, near), scene.zones, rows(ZONE, far)])
    below, _ = detect(convergence, scene._replace(zones=zones))
    assert below.evidence["centroid_log"] == pytest.approx(22.5 * BIN_LOG)
    below, _ = detect(convergence, scene._replace(zones=rows(ZONE, near, far)))
    assert below.evidence["centroid_log"] == near["centroid_log"]  # the nearest of equals


@pytest.mark.parametrize("seed", range(20))
def test_a_mirrored_market_converges_alike_with_sides_swapped(seed):
    rng = np.random.default_rng(seed)
    off = rng.uniform(-0.002, 0.002, 2)
    scene = agreeing(int(rng.integers(2)), *off, node=int(rng.integers(5)), interest=int(rng.integers(19, 27)))
    scene.now["mark"] *= math.exp(rng.uniform(-0.49, 0.49) * BIN_LOG)
    scene.book[rng.integers(2), rng.integers(15, 30)] = np.nan
    assert_mirrors(convergence, scene)


def test_the_length_of_the_step_does_not_matter():
    expected, _ = detect(convergence, agreeing())
    for step_ns in (SECOND_NS, 3600 * SECOND_NS):
        assert detect(convergence, agreeing(step_ns=step_ns))[0] == expected
