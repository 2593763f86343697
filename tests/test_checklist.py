"""The five questions before a trade: what each border makes of an answer, the mirror, and what was not recorded."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from squeeze.patterns.scene import AREA_HIGH, AREA_LOW, CONTROL, FILLED, HIGH, NODE, WALL, ZONE
from squeeze.signals.checklist import QUESTIONS, answers
from squeeze.signals.checklist_trade import Limits
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, MINUTE_NS, market, mirrored, rows, zone

CLUSTERS, WALLS, VOLUME, CROWD, CHANGES = range(5)
MARK = math.exp((MARK_BIN + 0.5) * BIN_LOG)
BUY, SELL = 1, -1


def ahead(distance_log: float, direction: int = BUY) -> float:
    return MARK * math.exp(direction * distance_log)


def wall(side: int = 1, bins: int = 10, **more):
    usual = {
        "side": side, "bin": MARK_BIN + (bins if side else -bins), "distance_log": bins * BIN_LOG, "usd": 4e6,
        "peak_usd": 5e6, "traded_usd": 0.0, "traded_60s_usd": 0.0, "moved_beyond_log": 0.0,
        "born_ns": CLOSE_NS - 30 * MINUTE_NS, "seen_ns": CLOSE_NS,
    }  # fmt: skip
    return usual | more


def seen(walls=(), zones=(), nodes=(), heat=(0.0, 0.0), **now):
    """A market of which everything is recorded: flat books and volume, `heat` a share of open interest by bin."""
    scene = market(**({"funding_8h": 0.0, "funding_z": 0.0, "book_age_ns": 0} | now))
    scene.book[:], scene.volume[:] = 1e5, 100.0
    scene.heat[0], scene.heat[1] = heat
    nodes = nodes or ({"kind": CONTROL, "window": 0, "place_log": math.log(MARK) - 0.03, "volume_share": 1.0},)
    return scene._replace(walls=rows(WALL, *walls), zones=rows(ZONE, *zones), nodes=rows(NODE, *nodes))


def asked(scene, number: int, direction: int = BUY, distance_log: float = 0.0101, before=None, side: int | None = None):
    side = int(direction > 0) if side is None else side
    return answers(scene, side, direction, ahead(distance_log, direction), before)[number]


def verdicts(scene, direction: int = BUY, distance_log: float = 0.0101, before=None) -> list[str]:
    return [asked(scene, number, direction, distance_log, before)["verdict"] for number in range(5)]


def test_there_are_five_answers_of_plain_text_that_survive_json():
    found = answers(seen(zones=[zone(1, 0.01)]), 1, BUY, ahead(0.01), seen())
    assert [one["question"] for one in found] == list(QUESTIONS)
    assert all(set(one) == {"question", "answer", "verdict", "evidence"} for one in found)
    assert all(isinstance(text, str) and text for one in found for text in one.values())
    assert tuple(json.loads(json.dumps(found))) == found


def test_of_a_market_of_which_nothing_is_recorded_nothing_is_known():
    assert verdicts(market(), before=market()) == ["unknown"] * 5
    assert "not recorded" in asked(market(), CROWD)["evidence"]


def test_without_a_mark_nothing_is_known():
    scene = seen()
    scene.now["mark"] = np.nan
    assert {one["verdict"] for one in answers(scene, 1, BUY, 60_000.0, seen())} == {"unknown"}


@pytest.mark.parametrize(("ours", "verdict"), [(7.0, "for"), (6.9, "neutral"), (3.1, "neutral"), (3.0, "against")])
def test_from_a_skew_of_four_tenths_on_the_map_is_for_or_against(ours, verdict):
    assert asked(seen(heat=(1e-3 * (10 - ours), 1e-3 * ours)), CLUSTERS)["verdict"] == verdict


def test_the_nearest_clusters_are_told_on_both_sides():
    found = asked(seen(zones=[zone(0, 0.012, id=4), zone(1, 0.02, major=1), zone(1, 0.03)]), CLUSTERS)
    assert "ahead: shorts 2.00% above" in found["evidence"]
    assert "behind: longs 1.20% below" in found["evidence"]
    assert found["evidence"].count("major") == 1


def test_mass_beyond_the_map_is_not_known():
    assert asked(market(bins=30)._replace(heat=np.ones((2, 30))), CLUSTERS)["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("change", "verdict", "word"),
    [
        ({}, "against", "meant"),
        ({"born_ns": CLOSE_NS - 10 * MINUTE_NS}, "against", "meant"),
        ({"born_ns": CLOSE_NS - 10 * MINUTE_NS + 1}, "neutral", "too young"),
        ({"pulls_1h": 1}, "neutral", "too young"),
        ({"pulls_1h": 2}, "neutral", "pulled"),
        ({"pull_elasticity": 0.5}, "neutral", "pulled"),
        ({"pull_elasticity": 0.5, "traded_usd": 1.1e6}, "against", "meant"),  # eaten, not melted
        ({"usd": np.nan}, "unknown", "not known"),
        ({"ended_ns": CLOSE_NS, "outcome": FILLED}, "for", "no wall"),
        ({"side": 0, "bin": MARK_BIN - 10}, "for", "no wall"),
        ({"distance_log": 0.0102}, "for", "no wall"),  # beyond the target
    ],
)
def test_a_wall_is_judged_by_its_history(change, verdict, word):
    found = asked(seen([wall(**change)]), WALLS)
    assert (found["verdict"], word in found["answer"]) == (verdict, True), found


def test_no_book_is_not_no_wall():
    scene = seen()
    scene.book[1, 15] = np.nan
    assert asked(scene, WALLS)["verdict"] == "unknown"
    assert asked(scene, WALLS, distance_log=14 * BIN_LOG)["verdict"] == "for"
    assert "books cover 95%" in asked(scene, WALLS)["evidence"]
    assert asked(seen(), WALLS, distance_log=0.2)["verdict"] == "unknown", "beyond the scene"


def test_a_large_bin_without_a_history_is_no_clear_way():
    scene = seen()
    scene.book[1, 5] = 7.9e5
    assert asked(scene, WALLS)["verdict"] == "for"
    scene.book[1, 5] = 8e5
    assert asked(scene, WALLS)["verdict"] == "neutral"


def test_whether_a_wall_was_there_at_the_last_check_is_told():
    then, now = seen([wall()]), seen([wall()])
    assert "there at the last check" in asked(now, WALLS, before=then)["evidence"]
    assert "not there at the last check" in asked(now, WALLS, before=seen())["evidence"]


@pytest.mark.parametrize(
    ("places", "verdict"),
    [((0.005,), "against"), ((0.0101,), "neutral"), ((0.02,), "for"), ((-0.005,), "for"), ((0.005, 0.0101), "against")],
)
def test_a_high_volume_level_counts_against_on_the_way_only(places, verdict):
    nodes = [{"kind": HIGH, "window": 0, "place_log": math.log(MARK) + x, "volume_share": 0.5} for x in places]
    assert asked(seen(nodes=nodes), VOLUME)["verdict"] == verdict


def test_the_targets_bin_is_compared_with_the_median():
    scene = seen()
    for volume, word in ((15.0, "a void"), (15.1, "a low-volume area"), (100.0, "a traded area")):
        scene.volume[1, 20] = volume
        assert word in asked(scene, VOLUME)["answer"]
    scene.volume[1, 20:] = 0.0
    assert "prices not traded" in asked(scene, VOLUME)["answer"]
    scene.volume[1, 20] = np.nan
    assert asked(scene, VOLUME)["verdict"] == "unknown"
    assert asked(scene._replace(nodes=rows(NODE)), VOLUME, distance_log=0.005)["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("rate", "z", "buys", "sells"),
    [
        (0.0005, 0.0, "neutral", "neutral"), (0.00051, 0.0, "against", "for"), (-0.0003, 0.0, "neutral", "neutral"),
        (-0.00031, 0.0, "for", "against"), (0.0001, 1.96, "against", "for"), (-0.0001, 1.96, "neutral", "neutral"),
        (0.0, 5.0, "neutral", "neutral"), (np.nan, 0.0, "unknown", "unknown"), (0.0006, np.nan, "against", "for"),
    ],
)  # fmt: skip
def test_a_crowd_is_against_whoever_is_in_it(rate, z, buys, sells):
    scene = seen(funding_8h=rate, funding_z=z)
    assert asked(scene, CROWD, BUY)["verdict"] == buys
    assert asked(scene, CROWD, SELL)["verdict"] == sells


def test_a_shift_of_the_skew_is_a_change_and_a_smaller_one_is_not():
    then = seen(heat=(5e-3, 5e-3))
    for ours, verdict in ((5.51, "for"), (5.49, "neutral"), (4.49, "against")):
        now = seen(heat=(1e-3 * (10 - ours), 1e-3 * ours))
        assert asked(now, CHANGES, before=then)["verdict"] == verdict
    assert asked(then, CHANGES)["verdict"] == "unknown", "there was no earlier check"


def test_zones_that_came_went_grew_shrank_and_moved_are_counted():
    then = seen(zones=[zone(1, 0.01, id=1), zone(1, 0.02, id=2), zone(1, 0.03, id=3), zone(0, 0.01, id=1)])
    now = seen(
        zones=[
            zone(1, 0.01, id=1, mass_share=0.0112), zone(1, 0.022, id=2, mass_share=0.0085), zone(1, 0.04, id=7),
            zone(0, 0.01, id=1),
        ]
    )  # fmt: skip
    evidence = asked(now, CHANGES, before=then)["evidence"]
    assert "ahead 1 new, 1 gone, 1 grown, 1 shrunk, 1 moved and behind as they were" in evidence


@pytest.mark.parametrize("target", [np.nan, np.inf, 0.0, -5.0, MARK, MARK * 0.99])
def test_what_needs_a_target_ahead_is_unknown_without_one(target):
    found = answers(seen(), 1, BUY, target, None)
    assert [one["verdict"] for one in found] == ["neutral", "unknown", "unknown", "neutral", "unknown"]


def test_another_side_or_direction_is_refused():
    for side, direction in ((2, 1), (0, 0)):
        with pytest.raises(ValueError, match="side is 0 or 1"):
            answers(seen(), side, direction, 1.0, None)


amount = st.one_of(st.just(math.nan), st.just(0.0), st.floats(0.0, 1e-2))


@settings(deadline=None)
@given(
    heats=st.tuples(amount, amount, amount, amount), bins=st.integers(1, 60), side=st.integers(0, 1),
    pulls=st.integers(0, 3), rate=st.sampled_from([math.nan, 0.0, 1e-4, 6e-4, -6e-4]), hole=st.booleans(),
    direction=st.sampled_from([BUY, SELL]), distance=st.floats(0.0004, 0.04), level=st.floats(-0.03, 0.03),
)  # fmt: skip
def test_the_mirrored_market_gets_the_same_verdicts(
    heats, bins, side, pulls, rate, hole, direction, distance, level
):  # fmt: skip
    halves = distance / (BIN_LOG / 2)  # not on a border, where rounding decides
    assume(abs(halves - round(halves)) > 1e-6 and abs(abs(direction * level - distance) - 0.0015) > 1e-9)
    assume(abs(level) > 1e-9)
    nodes = [{"kind": kind, "window": 0, "place_log": math.log(MARK) + x, "volume_share": 0.5}
             for kind, x in ((HIGH, level), (AREA_LOW, -0.03), (AREA_HIGH, 0.03))]  # fmt: skip
    now = seen([wall(side, bins, pulls_1h=pulls)], [zone(0, 0.01), zone(1, 0.015)], nodes, heats[:2], funding_8h=rate)
    then = seen(heat=heats[2:])
    if hole:
        now.book[1, 12] = now.volume[0, 20] = np.nan
    target = ahead(distance, direction)
    limits = Limits(crowded_long_8h=5e-4, crowded_short_8h=5e-4)
    here = answers(now, side, direction, target, then, limits)
    there = answers(mirrored(now), 1 - side, -direction, 1 / target, mirrored(then), limits)
    assert [one["verdict"] for one in here] == [one["verdict"] for one in there]
    assert [one["answer"] for one in here] == [one["answer"] for one in there]
