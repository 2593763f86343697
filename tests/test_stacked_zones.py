import math

import pytest

from squeeze.patterns import stacked_zones
from squeeze.patterns.scene import ZONE
from tests.scenes import detect, market, rows, zone


def three(first_log: float = 0.01, gap_log: float = 0.011) -> list[dict[str, object]]:
    return [zone(0, first_log + i * (gap_log + 0.002), id=i + 1) for i in range(3)]


def test_three_zones_a_percent_apart_are_stacked():
    scene = market()._replace(zones=rows(ZONE, *three(0.002)))
    below, above = detect(stacked_zones, scene)
    assert below.flag
    assert not above.flag
    assert below.evidence["zones"] == 3
    assert below.evidence["widest_gap_log"] == pytest.approx(0.011)
    assert below.score == pytest.approx(0.01 * (1 + 2 * 2.718281828 ** (-0.011 / 0.005)))
    assert below.reason.startswith("3 stacked zones below, the nearest 0.20% away")


@pytest.mark.parametrize(
    "zones",
    [
        three(0.002)[:2],
        three(0.002, gap_log=0.013),
        three(0.02),
        [z | {"mass_share": 0.0029} for z in three(0.002)],
    ],
    ids=["two zones", "gaps over 1.25 %", "the last beyond 3 %", "too light"],
)
def test_a_near_miss_is_not_stacked(zones):
    below, above = detect(stacked_zones, market()._replace(zones=rows(ZONE, *zones)))
    assert not below.flag
    assert not above.flag


def test_zones_that_nearly_touch_count_as_one():
    zones = [zone(1, 0.004, id=1), zone(1, 0.0065, id=2), zone(1, 0.012, id=3)]
    _, above = detect(stacked_zones, market()._replace(zones=rows(ZONE, *zones)))
    assert above.evidence["zones"] == 2
    assert not above.flag


def test_the_chain_ratio_is_what_zones_bring_over_what_rests_between_them_and_unknown_where_no_book_reaches():
    scene = market()._replace(zones=rows(ZONE, *three(0.002)))
    scene.book[0, :60] = 1e6
    below, _ = detect(stacked_zones, scene)
    usd = scene.zones["mass_usd"]
    assert below.evidence["chain_ratio"] == pytest.approx(min(usd[0], usd[1]) / 22e6)
    scene.book[0, 20:] = float("nan")
    below, _ = detect(stacked_zones, scene)
    assert math.isnan(below.evidence["chain_ratio"])
