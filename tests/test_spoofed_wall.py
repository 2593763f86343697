import math

import pytest

from squeeze.patterns import spoofed_wall
from squeeze.patterns.scene import PULLED, WALL
from tests.scenes import detect, market, rows
from tests.wall_scenes import M, assert_mirrors, wall, with_walls

sides = pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])


@sides
def test_a_wall_pulled_twice_at_its_level_within_an_hour_is_not_meant(side):
    pulled = wall(side, usd=0.0, outcome=PULLED, ended_ns=1, pulls_1h=2)
    found = detect(spoofed_wall, with_walls(pulled))
    assert (found[side].score, found[side].flag) == (0.5, True)
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)
    assert {k: v for k, v in found[side].evidence.items() if k != "elasticity"} == {
        "pulls": 2.0,
        "peak_usd": 4 * M,
        "traded_share": 0.0,
        "distance_log": pytest.approx(0.005),
        "minutes_ago": 0.0,
    }
    assert math.isnan(found[side].evidence["elasticity"])
    assert found[side].reason.startswith(f"a wall of 4,000,000 USD {('below', 'above')[side]} is not meant: 2 pulls")


@sides
def test_a_wall_that_melts_as_the_price_comes_near_is_not_meant(side):
    found = detect(spoofed_wall, with_walls(wall(side, pull_elasticity=0.75)))[side]
    assert found.flag
    assert found.score == pytest.approx(0.6)
    assert found.evidence["elasticity"] == 0.75


@sides
@pytest.mark.parametrize(
    ("changes", "score"),
    [
        ({}, 0.0),
        ({"pulls_1h": 1}, 1 / 3),
        ({"pull_elasticity": 0.499}, 0.499 / 0.999),
        ({"pull_elasticity": -2.0}, 0.0),
        ({"pull_elasticity": 5.0, "traded_usd": 0.8 * M + 1}, 0.0),
        ({"pull_elasticity": 5.0, "traded_usd": math.nan}, 0.0),
    ],
    ids=["quiet", "one pull", "inelastic", "grows", "eaten", "trades unknown"],
)
def test_a_near_miss_is_not_flagged(side, changes, score):
    found = detect(spoofed_wall, with_walls(wall(side, **changes)))[side]
    assert not found.flag
    assert found.score == pytest.approx(score)


@pytest.mark.parametrize(
    "changes", [{"pull_elasticity": 0.5}, {"pull_elasticity": 0.5, "traded_usd": 0.8 * M}], ids=str
)
def test_the_thresholds_themselves_are_enough(changes):
    found, _ = detect(spoofed_wall, with_walls(wall(0, **changes)))
    assert (found.score, found.flag) == (0.5, True)


def test_a_finding_stays_for_five_minutes_and_fades():
    first = with_walls(wall(0, pulls_1h=2))
    for minutes, score, flag in ((1, 0.4, True), (4.5, 0.05, True), (5, 0.0, False), (60, 0.0, False)):
        below, above = detect(spoofed_wall, first, with_walls(minutes=minutes))
        assert (below.score, below.flag) == (pytest.approx(score), flag)
        assert (above.score, above.flag) == (0.0, False)
        if flag:
            assert below.evidence["minutes_ago"] == pytest.approx(minutes)
        else:
            assert math.isnan(below.evidence["pulls"])


def test_a_lesser_finding_does_not_hide_a_greater_one():
    scenes = with_walls(wall(0, pulls_1h=3)), with_walls(wall(0, pulls_1h=1), minutes=4)
    below, _ = detect(spoofed_wall, *scenes)
    assert (below.evidence["pulls"], below.flag, below.score) == (3, True, pytest.approx(0.6 * 0.2))
    below, _ = detect(spoofed_wall, *scenes, with_walls(wall(0, pulls_1h=1), minutes=9.5))
    assert (below.evidence["pulls"], below.flag) == (1, False)
    below, _ = detect(spoofed_wall, *scenes, with_walls(wall(0, pulls_1h=4), minutes=4.5))
    assert (below.evidence["pulls"], below.flag, below.evidence["minutes_ago"]) == (4, True, 0)


def test_without_a_book_it_cannot_be_told_and_afterwards_what_is_held_still_counts():
    first, silent = with_walls(wall(0, pulls_1h=2)), market(close_ns=with_walls(minutes=1).now["close_ns"][0])
    for found in (*detect(spoofed_wall, market()), *detect(spoofed_wall, first, silent)):
        assert math.isnan(found.score)
        assert not found.flag
    below, _ = detect(spoofed_wall, first, silent, with_walls(minutes=2))
    assert (below.score, below.flag) == (pytest.approx(0.3), True)


def test_a_mirrored_market_has_it_on_the_other_side():
    assert_mirrors(
        spoofed_wall,
        with_walls(wall(0, pulls_1h=2), wall(1, 7, pull_elasticity=0.4)),
        with_walls(wall(1, 9, pull_elasticity=0.9, traded_usd=M / 2), minutes=3),
        market()._replace(walls=rows(WALL)),
        with_walls(minutes=4),
    )
