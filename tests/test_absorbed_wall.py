import math

import pytest

from squeeze.patterns import absorbed_wall
from squeeze.patterns.scene import FILLED
from tests.scenes import detect, market
from tests.wall_scenes import M, assert_mirrors, wall, with_walls

NAN = math.nan
ABSORBS = {"traded_60s_usd": 2 * M, "usd": 2 * M, "moved_beyond_log": 1e-4}
"""Every threshold just met."""

sides = pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])


@sides
def test_a_wall_of_which_half_was_traded_in_a_minute_and_half_still_stands_absorbs(side):
    found = detect(absorbed_wall, with_walls(wall(side, **ABSORBS)))
    assert (found[side].score, found[side].flag) == (0.5, True)
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)
    assert found[side].evidence == {
        "traded_60s_share": 0.5,
        "remaining_share": 0.5,
        "beyond_log": 1e-4,
        "peak_usd": 4 * M,
        "distance_log": pytest.approx(0.005),
    }
    assert found[side].reason.endswith("absorbs: 50% traded within a minute, 50% still there")


@sides
@pytest.mark.parametrize(
    ("changes", "score"),
    [
        ({"traded_60s_usd": 1.9 * M}, 0.475 / 0.975),
        ({"usd": 1.9 * M}, 0.5 * 0.95),
        ({"moved_beyond_log": 2e-4}, 0.5 * math.exp(-1)),
        ({"traded_60s_usd": 0.0, "traded_usd": 9 * M}, 0.0),
    ],
    ids=["too little traded", "too little left", "the mark got past", "traded long ago"],
)
def test_a_near_miss_does_not_absorb(side, changes, score):
    found = detect(absorbed_wall, with_walls(wall(side, **ABSORBS | changes)))[side]
    assert not found.flag
    assert found.score == pytest.approx(score)


def test_a_wall_that_has_ended_does_not_absorb():
    below, _ = detect(absorbed_wall, with_walls(wall(0, **ABSORBS, outcome=FILLED, ended_ns=1)))
    assert (below.score, below.flag) == (0.0, False)


def test_the_most_absorbing_of_several_counts():
    below, _ = detect(absorbed_wall, with_walls(wall(0, 5), wall(0, 8, traded_60s_usd=6 * M), wall(0, 9, **ABSORBS)))
    assert below.score == pytest.approx(0.75)
    assert below.evidence["distance_log"] == pytest.approx(0.004)


@pytest.mark.parametrize("unknown", ["traded_60s_usd", "usd", "moved_beyond_log"])
def test_what_was_not_recorded_cannot_be_told(unknown):
    below, above = detect(absorbed_wall, with_walls(wall(0, **ABSORBS | {unknown: NAN})))
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == 0.0
    below, _ = detect(absorbed_wall, with_walls(wall(0, **ABSORBS | {unknown: NAN}), wall(0, 12, **ABSORBS)))
    assert below.flag, "of another wall it can"


def test_without_a_book_it_cannot_be_told():
    assert all(math.isnan(found.score) and not found.flag for found in detect(absorbed_wall, market()))


def test_a_mirrored_market_has_it_on_the_other_side():
    assert_mirrors(absorbed_wall, with_walls(wall(0, **ABSORBS), wall(1, 6, traded_60s_usd=M)))
