import math

import pytest

from squeeze.patterns import iceberg
from squeeze.patterns.scene import FILLED, REFILLED
from tests.scenes import CLOSE_NS, MINUTE_NS, detect, market
from tests.wall_scenes import M, assert_mirrors, wall, with_walls

NAN = math.nan
ICE = {"traded_usd": 6 * M, "usd": 3 * M, "outcome": REFILLED}

sides = pytest.mark.parametrize("side", [0, 1], ids=["below", "above"])


@sides
def test_more_was_traded_than_was_ever_shown_and_it_still_stands(side):
    found = detect(iceberg, with_walls(wall(side, **ICE, born_ns=CLOSE_NS - 7 * MINUTE_NS)))
    assert found[side].flag
    assert found[side].score == pytest.approx(0.6)
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)
    assert found[side].evidence == {
        "traded_share": 1.5,
        "remaining_share": 0.75,
        "peak_usd": 4 * M,
        "traded_usd": 6 * M,
        "distance_log": pytest.approx(0.005),
        "age_minutes": 7.0,
    }
    assert found[side].reason.startswith(f"an iceberg {('below', 'above')[side]}, 0.50% away: 6,000,000 USD traded")


@sides
@pytest.mark.parametrize(
    ("changes", "score"),
    [
        ({"traded_usd": 4 * M}, 0.5),
        ({"usd": 0.8 * M}, 0.6),
        ({"usd": 0.4 * M}, 0.3),
        ({"usd": 0.0, "outcome": FILLED, "ended_ns": 1}, 0.0),
    ],
    ids=["no more than shown", "as good as gone", "half gone", "filled"],
)
def test_a_near_miss_is_no_iceberg(side, changes, score):
    found = detect(iceberg, with_walls(wall(side, **ICE | changes)))[side]
    assert not found.flag
    assert found.score == pytest.approx(score)


def test_the_one_of_which_takers_got_the_most_counts():
    below, _ = detect(iceberg, with_walls(wall(0, 5, traded_usd=2 * M), wall(0, 8, **ICE), wall(0, 9)))
    assert below.evidence["distance_log"] == pytest.approx(0.004)


@pytest.mark.parametrize("unknown", ["traded_usd", "usd"])
def test_what_was_not_recorded_cannot_be_told(unknown):
    below, above = detect(iceberg, with_walls(wall(0, **ICE | {unknown: NAN})))
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == 0.0


def test_without_a_book_it_cannot_be_told():
    assert all(math.isnan(found.score) and not found.flag for found in detect(iceberg, market()))


def test_a_mirrored_market_has_it_on_the_other_side():
    assert_mirrors(iceberg, with_walls(wall(0, **ICE), wall(1, 6, traded_usd=3 * M)))
