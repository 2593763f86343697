import math

import numpy as np
import pytest

from squeeze.patterns import node_retest
from squeeze.patterns.pattern import FINDING, Finding, finding, thresholds_record
from squeeze.patterns.scene import AREA_HIGH, AREA_LOW, CONTROL, HIGH, LOW, NODE, Scene
from tests.pattern_laws import same
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, MINUTE_NS, market, mirrored, rows

NODE_LOG = (MARK_BIN + 0.5) * BIN_LOG
HOUR = 60


def at(off_log: float, minute: float = 0, kind: int = HIGH, nodes: tuple[float, ...] = (0.0,), **now: float) -> Scene:
    """A market so far from `NODE_LOG`, so many minutes on; `nodes` lie so far from it too."""
    mark_log = NODE_LOG + off_log
    scene = market(
        close_ns=CLOSE_NS + round(minute * MINUTE_NS),
        mark=math.exp(mark_log),
        mark_bin=math.floor(mark_log / BIN_LOG),
        **now,
    )
    shares = [{"kind": kind, "place_log": NODE_LOG + node, "volume_share": 0.7} for node in nodes]
    return scene._replace(nodes=rows(NODE, *shares))


def path(*offs_log: float, kind: int = HIGH, nodes: tuple[float, ...] = (0.0,), every: float = 10.0) -> list[Scene]:
    return [at(off_log, i * every, kind, nodes) for i, off_log in enumerate(offs_log)]


def run(scenes: list[Scene], **thresholds: float) -> list[tuple[Finding, Finding]]:
    rules, memory = thresholds_record(node_retest.Thresholds(**thresholds)), np.zeros(1, node_retest.MEMORY)
    found = []
    for scene in scenes:
        out = np.zeros(2, FINDING)
        node_retest.detect(scene, rules[0], memory[0], out)
        found.append((finding(node_retest, 0, out[0]), finding(node_retest, 1, out[1])))
    return found


def last(scenes: list[Scene], **thresholds: float) -> tuple[Finding, Finding]:
    return run(scenes, **thresholds)[-1]


@pytest.mark.parametrize("kind", [HIGH, CONTROL, AREA_LOW, AREA_HIGH])
def test_price_that_broke_a_node_upward_and_comes_back_to_it_from_above_retests_it(kind):
    found = run(path(-0.004, 0.0, 0.0035, 0.006, 0.0005, kind=kind))
    assert [pair[0].flag for pair in found] == [False, False, False, False, True]
    assert not any(pair[1].flag for pair in found)
    below = found[-1][0]
    assert below.score == pytest.approx(1 - 0.0005 / 0.003)
    assert below.evidence == {
        "distance_log": pytest.approx(0.0005),
        "age_minutes": 20,
        "went_log": pytest.approx(0.006),
        "volume_share": 0.7,
        "nodes_broken": 1,
    }
    assert below.reason == (
        "price is back at a level of the volume profile below that it broke 20 minutes ago and had left by 0.60%"
    )


def test_a_node_broken_downward_is_retested_from_below():
    below, above = last(path(0.004, -0.004, -0.0005))
    assert above.flag
    assert not below.flag
    assert above.evidence["distance_log"] == pytest.approx(0.0005)


@pytest.mark.parametrize(
    "scenes",
    [
        path(-0.0029, 0.0035, 0.0005),
        path(-0.004, 0.0029, 0.0005),
        path(-0.004, 0.0035, 0.0011),
        path(-0.004, 0.0035, -0.0011),
        path(-0.004, 0.0035, 0.0005, kind=LOW),
        path(-0.004, 0.0, 0.0, 0.0035, 0.0005, every=90.0),
        [*path(-0.004, 0.0035), at(0.004, 10 + 23 * HOUR), at(0.0005, 10 + 24 * HOUR + 1)],
        path(0.002, 0.0035, 0.0005),
    ],
    ids=[
        "began 0.29 % below",
        "went 0.29 % above",
        "came back to 0.11 % above",
        "went through to 0.11 % below",
        "a low node",
        "took over four hours to break",
        "over a day ago",
        "came from above",
    ],
)
def test_a_near_miss_is_no_retest(scenes):
    below, above = last(scenes)
    assert not below.flag
    assert not above.flag


def test_the_last_minute_of_the_day_still_counts():
    scenes = [*path(-0.004, 0.0035), at(0.004, 10 + 23 * HOUR), at(0.0005, 10 + 24 * HOUR)]
    assert last(scenes)[0].flag


def test_the_step_that_breaks_a_node_is_no_retest_of_it():
    found = run(path(-0.004, 0.0035))
    assert found[-1][0].score == 0.0
    assert found[-1][0].evidence["nodes_broken"] == 0


def test_a_break_that_failed_is_forgotten_and_the_way_back_is_a_break_the_other_way():
    below, above = last(path(-0.004, 0.0035, -0.0035, -0.0005))
    assert below.evidence["nodes_broken"] == 0
    assert not below.flag
    assert above.flag
    assert above.evidence["age_minutes"] == 10


def test_a_node_that_drifts_past_the_mark_is_not_broken_and_a_broken_one_stays_where_it_was():
    drifting = [at(0.0, 10 * i, nodes=(0.01 - 0.002 * i,)) for i in range(12)]
    assert max(pair[0].evidence["nodes_broken"] for pair in run(drifting)[1:]) == 0
    below, _ = last([*path(-0.004, 0.004), at(0.0, 20, nodes=(0.05,))])
    assert below.score == pytest.approx(1.0)


def test_a_node_that_appears_behind_the_mark_is_not_broken():
    elsewhere = path(-0.004, 0.0045, nodes=(0.05,))
    below, _ = last([*elsewhere, at(0.0045, 20), at(0.0045, 30), at(0.0, 40)])
    assert below.evidence["nodes_broken"] == 0
    assert not below.flag


def test_nodes_of_several_windows_at_one_level_are_one():
    below, _ = last(path(-0.004, 0.0045, 0.0, nodes=(0.0, 0.0, 0.0009, -0.0009)))
    assert below.evidence["nodes_broken"] == 2  # the two that are 0.18 % apart; the other pair lies between


@pytest.mark.parametrize("off_log", [0.0002, 0.0022])
def test_the_nearest_of_the_broken_nodes_counts(off_log):
    below, _ = last(path(-0.004, 0.0055, off_log, nodes=(0.0, 0.002)))
    assert below.evidence["distance_log"] == pytest.approx(0.0002)


def test_eight_broken_nodes_are_remembered_the_nearest_first_whatever_their_order():
    ladder = tuple(0.002 * i for i in range(12))
    for nodes in (ladder, ladder[::-1]):
        below, _ = last(path(-0.004, 0.03, 0.0205, nodes=nodes))
        assert below.evidence["nodes_broken"] == 8  # those from 0.8 to 2.2 %
        below, _ = last(path(-0.004, 0.03, 0.0085, nodes=nodes))
        assert below.evidence["nodes_broken"] == 2  # those at 0.8 and 1 %: the others failed


def test_without_nodes_or_without_a_close_before_nothing_can_be_told():
    first, _, unrecorded, again = run([at(-0.004), at(0.0035, 10), at(0.0005, 20, nodes=()), at(0.0005, 30)])
    for found in (*first, *unrecorded):
        assert math.isnan(found.score)
        assert not found.flag
    assert again[0].flag  # what was broken is still known


def test_after_long_silence_nothing_is_told_and_no_break_is_made_up():
    hole = run([*path(-0.004, -0.004), at(0.0035, 10 + 241), at(0.0005, 10 + 251)])
    assert math.isnan(hole[2][0].score)
    assert not hole[3][0].flag
    short = run([*path(-0.004, -0.004), at(0.0035, 10 + HOUR), at(0.0005, 20 + HOUR)])
    assert short[3][0].flag
    assert short[3][0].evidence["age_minutes"] == 10  # since it was known


@pytest.mark.parametrize("every", [1 / 60, 1.0, 60.0])
def test_steps_of_a_second_and_of_an_hour_find_the_same_path(every):
    below, _ = last(path(-0.004, 0.0035, 0.0005, every=every))
    assert below.flag
    assert below.evidence["age_minutes"] == pytest.approx(every)


def wandering(seed: int, count: int = 300) -> list[Scene]:
    rng = np.random.default_rng(seed)
    off_log, minute, nodes, scenes = 0.0, 0.0, rng.uniform(-0.02, 0.02, 15), []
    for _ in range(count):
        minute += float(rng.choice([1, 1, 5, 60, 300], p=[0.3, 0.3, 0.34, 0.05, 0.01]))
        off_log = 0.98 * off_log + rng.normal(0, 0.002)
        nodes = nodes + rng.normal(0, 1e-4, 15)
        scene = at(off_log, minute, nodes=tuple(nodes.tolist()) if rng.random() > 0.03 else ())
        scene.nodes["kind"] = rng.integers(0, 5, scene.nodes.size)
        scenes.append(scene)
    return scenes


def plain(scenes: list[Scene], beyond: float = 0.003) -> list[list[float]]:
    """The definition from the whole past, for a market with one node that stays: scores by step and side."""
    times = [int(scene.now[0]["close_ns"]) for scene in scenes]
    quarters = [time // (15 * MINUTE_NS) for time in times]  # a sixteenth of four hours
    scores = []
    for toward in (1, -1):
        above = [toward * (math.log(scene.now[0]["mark"]) - NODE_LOG) for scene in scenes]
        broken, row = None, []
        for i, off in enumerate(above):
            if broken is not None and (off < -beyond or times[i] - times[broken] > 24 * HOUR * MINUTE_NS):
                broken = None
            row.append(0.0 if broken is None else max(0.0, 1 - abs(off) / beyond))
            before = [above[k] for k in range(i) if quarters[k] > quarters[i] - 16]
            if broken is None and before and before[-1] <= beyond < off and min(before) < -beyond:
                broken = i
        scores.append(row)
    return np.transpose(scores).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_one_node_that_stays_is_followed_as_the_definition_says(seed):
    rng = np.random.default_rng(seed)
    off_log, minute, scenes = 0.0, 0.0, []
    for _ in range(300):
        minute += float(rng.choice([1, 5, 10, 60, 200], p=[0.3, 0.3, 0.3, 0.08, 0.02]))
        off_log = 0.9 * off_log + rng.normal(0, 0.002)
        scenes.append(at(off_log, minute))
    scores = [[pair[0].score, pair[1].score] for pair in run(scenes)]
    assert (np.array(plain(scenes)) > 0.1).sum(axis=0).min() > 10
    np.testing.assert_allclose(scores[1:], plain(scenes)[1:], atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_mirrored_market_is_retested_alike_with_sides_swapped(seed):
    scenes = wandering(seed)
    found, other = run(scenes), run([mirrored(scene) for scene in scenes])
    for (below, above), (mirrored_below, mirrored_above) in zip(found, other, strict=True):
        same(below, mirrored_above)
        same(above, mirrored_below)
    assert any(f.flag for pair in found for f in pair)


def test_nothing_is_learnt_from_later_scenes_and_no_scene_is_changed():
    scenes, untouched = wandering(9), wandering(9)
    found, early = run(scenes), run(scenes[:150])
    for one, two in zip(found[:150], early, strict=True):
        same(one[0], two[0])
        same(one[1], two[1])
    for scene, twin in zip(scenes, untouched, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(scene, twin, strict=True))
