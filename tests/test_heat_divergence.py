import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.patterns import heat_divergence
from tests.pattern_laws import assert_mirrors
from tests.scenes import CLOSE_NS, MINUTE_NS, detect, market


def scene(minute=0.0, heavy=0, lean=0.5, **now):
    """A map that leans to a side by so much, and open interest that fell by 3 % in 4 hours unless told otherwise."""
    seen = market(**{"close_ns": CLOSE_NS + round(minute * MINUTE_NS), "open_interest_4h": -0.03} | now)
    seen.heat[:] = 0.0
    seen.heat[heavy, 20], seen.heat[1 - heavy, 20] = 0.01 * (1 + lean), 0.01 * (1 - lean)
    return seen


def minutes(count, **more):
    return [scene(minute, **more) for minute in range(count + 1)]


@pytest.mark.parametrize("heavy", [0, 1])
def test_a_crowd_that_leaves_a_cluster_for_a_quarter_of_an_hour_diverges(heavy):
    found = detect(heat_divergence, *minutes(15, heavy=heavy))
    assert found[heavy].flag
    assert found[heavy].score == pytest.approx(0.5)
    assert found[heavy].evidence == pytest.approx(
        {
            "asymmetry": 0.5,
            "open_interest_4h": -0.03,
            "return_4h": 0.0,
            "fading": 1.0,
            "opposite": 0.0,
            "held_minutes": 15.0,
        }
    )
    assert found[heavy].reason.startswith("for 15 minutes the map leaned to what lies")
    assert (found[1 - heavy].score, found[1 - heavy].flag) == (0.0, False)


@pytest.mark.parametrize(("heavy", "return_4h"), [(0, -0.01), (1, 0.01)])
def test_opening_against_the_cluster_counts_as_well(heavy, return_4h):
    steps = minutes(15, heavy=heavy, open_interest_4h=0.001, return_4h=return_4h)
    found = detect(heat_divergence, *steps)[heavy]
    assert found.flag
    assert (found.evidence["fading"], found.evidence["opposite"]) == (0.0, 1.0)
    assert found.evidence["return_4h"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"lean": 0.399},
        {"open_interest_4h": -0.0199},
        {"open_interest_4h": 0.001, "return_4h": 0.01},
        {"open_interest_4h": 0.0, "return_4h": -0.01},
    ],
    ids=["asymmetry 39.9 %", "fading 1.99 %", "opening with the cluster", "nothing opened"],
)
def test_a_near_miss_scores_nothing(change):
    below, _ = detect(heat_divergence, *minutes(20, **change))
    assert (below.score, below.flag) == (0.0, False)


def test_the_score_grows_with_time_and_the_flag_waits_for_the_quarter_of_an_hour():
    scores = [detect(heat_divergence, *minutes(count))[0] for count in (0, 3, 14, 15, 16)]
    assert [found.score for found in scores] == pytest.approx([0.0, 0.1, 0.5 * 14 / 15, 0.5, 0.5])
    assert [found.flag for found in scores] == [False, False, False, True, True]


@pytest.mark.parametrize("step_ns", [10**9, 15 * 10**9, MINUTE_NS, 15 * MINUTE_NS, 60 * MINUTE_NS])
def test_steps_of_any_length_are_timed(step_ns):
    count = math.ceil(15 * MINUTE_NS / step_ns)
    steps = [scene(i * step_ns / MINUTE_NS, step_ns=step_ns) for i in range(count + 1)]
    assert not detect(heat_divergence, *steps[:-1])[0].flag
    assert detect(heat_divergence, *steps)[0].flag


@pytest.mark.parametrize("change", [{"lean": 0.3}, {"open_interest_4h": -0.01}, {"open_interest_4h": math.nan}])
def test_one_step_that_does_not_hold_or_is_not_recorded_begins_the_time_anew(change):
    steps = [*minutes(9), scene(10, **change), *[scene(minute) for minute in range(11, 26)]]
    assert detect(heat_divergence, *steps)[0].evidence["held_minutes"] == 14
    assert not detect(heat_divergence, *steps)[0].flag


def test_a_missing_step_begins_the_time_anew():
    assert not detect(heat_divergence, scene(0), scene(60))[0].flag
    steps = [scene(minute) for minute in range(20) if minute != 10]
    assert detect(heat_divergence, *steps)[0].evidence["held_minutes"] == 8


def test_what_is_not_recorded_has_no_score():
    unknown = [
        market(close_ns=CLOSE_NS + 15 * MINUTE_NS, open_interest_4h=-0.03),
        scene(15, open_interest_4h=math.nan),
        scene(15, open_interest_4h=0.01, return_4h=math.nan),
    ]
    for seen in unknown:
        below, _ = detect(heat_divergence, *minutes(14), seen)
        assert math.isnan(below.score)
        assert not below.flag
    assert detect(heat_divergence, scene(return_4h=math.nan))[0].score == 0.0  # fading needs no return


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_market_diverges_on_the_other_side_through_every_step(seed):
    random = np.random.default_rng(seed)
    steps, minute = [], 0
    for _ in range(12):
        minute += int(random.choice([1, 1, 1, 1, 3]))
        changes = {"open_interest_4h": float(random.choice([-0.03, 0.01])), "return_4h": float(random.normal(0, 0.01))}
        steps.append(scene(minute, heavy=int(random.integers(2)), lean=random.choice([0.1, 0.6, 0.6]), **changes))
    assert_mirrors(heat_divergence, *steps)
