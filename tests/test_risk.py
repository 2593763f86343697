"""A budget of false alarms: the promise holds where its assumption does, and breaks where it does not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.signals.alarm_threshold import AlarmThreshold
from squeeze.strict import convert
from training.calibration.risk import (
    THRESHOLDS,
    CalibrationRows,
    Promise,
    alarm_threshold,
    betting_p_value,
    block_losses,
    calibration_rows,
    passes,
)
from training.evaluation.alarms import Claims, claims, counts

GRID = THRESHOLDS[::8]
BUDGET = 1.0


def rows_of(by_threshold, positives=1):
    """Calibration rows whose false alarms by day come from a function of the threshold."""
    return CalibrationRows("long", 60, 1000, positives, by_threshold)


def days_of(rng, days, shift=1.0):
    """Probabilities of false alarms, (day, alarm), 0 where there is none; busy days have higher ones."""
    busy = rng.gamma(0.7, 1.0, (days, 1))
    said = 1 / (1 + np.exp(-(rng.normal(-2.5, 1.0, (days, 40)) + 1.5 * busy * shift)))
    return np.where(rng.random((days, 40)) < 0.3, said, 0.0)


def counted(said):
    return lambda threshold: (said >= threshold).sum(axis=1)


def rate_at(said, threshold, promise):
    """Capped false alarms a day."""
    return np.minimum((said >= threshold).sum(axis=1), promise.cap_times * BUDGET).mean()


def simulated(promise, calibration_days, repeats, shift=1.0, seed=0):
    """Capped false alarms a day, at the thresholds of many calibrations, on many days to come; `shift` is what days to
    come are multiplied by.
    """
    rng = np.random.default_rng(seed)
    later = days_of(rng, 4_000, shift)
    found = [
        alarm_threshold(rows_of(counted(days_of(rng, calibration_days))), BUDGET, promise, GRID).threshold
        for _ in range(repeats)
    ]
    rates = {threshold: rate_at(later, threshold, promise) for threshold in set(found)}
    return np.array([rates[threshold] for threshold in found])


# --- the guarantee ---


def test_on_average_over_calibrations_the_budget_is_kept_and_not_far_from_used_up():
    rates = simulated(Promise("expected"), 60, 400)
    error = rates.std() / np.sqrt(len(rates))
    assert rates.mean() <= BUDGET + 2 * error
    assert rates.mean() > 0.6 * BUDGET


def test_a_confident_threshold_breaks_the_budget_no_more_often_than_stated():
    rates = simulated(Promise("confident", miss=0.1), 60, 400)
    assert (rates > BUDGET).mean() <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 400)
    assert rates.mean() > 0.3 * BUDGET


def test_an_expected_one_promises_less_and_a_confident_one_costs_more():
    """One calibration in nine of the first kind breaks the budget here: that is why there is a second."""
    expected, confident = (simulated(Promise(kind), 60, 400) for kind in ("expected", "confident"))
    assert 0.05 < (expected > BUDGET).mean() < 0.2
    assert (confident > BUDGET).mean() < 0.02
    assert confident.mean() < 0.7 * expected.mean()


@pytest.mark.parametrize("kind", ["expected", "confident"])
def test_where_days_to_come_are_of_another_kind_the_promise_breaks(kind):
    """Without exchangeable days nothing is promised, and it shows."""
    rates = simulated(Promise(kind), 60, 200, shift=2.5)
    assert rates.mean() > 1.3 * BUDGET
    assert (rates > BUDGET).mean() > 0.9


def test_its_p_value_holds_under_the_hypothesis_it_tests():
    """At the border, losses are exactly `over` in the mean: rejected at most as often as stated."""
    rng = np.random.default_rng(1)
    for draw in (lambda: rng.random(30) < 0.2, lambda: rng.beta(0.5, 2.0, 30), lambda: 0.4 * (rng.random(30) < 0.5)):
        rejected = np.mean([betting_p_value(draw().astype(float), 0.2, 0.1) <= 0.1 for _ in range(3000)])
        assert rejected <= 0.1 + 2 * np.sqrt(0.09 / 3000)


# --- the arithmetic ---


def test_conformal_risk_control_by_hand():
    """Seven blocks of one day, budget 1, cap 3: (sum + 3) / 8 ≤ 1 holds up to a sum of 5."""
    promise = Promise(block_days=1, cap_times=3.0)
    assert passes(np.array([3.0, 2.0, 0, 0, 0, 0, 0]), 1.0, promise)
    assert not passes(np.array([3.0, 2.1, 0, 0, 0, 0, 0]), 1.0, promise)


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.sampled_from([0.1, 0.2, 0.5]))
def test_no_run_of_losses_is_worth_more_than_its_chance(losses, over):
    """Losses of 0 or 1: the p-value is at least the chance, at the border, of a run as good as this or better."""
    p = betting_p_value(np.array(losses, float), over, 0.1)
    every = itertools.product([0.0, 1.0], repeat=len(losses))
    chance = sum(
        np.prod(np.where(run, over, 1 - over)) for run in map(np.array, every) if betting_p_value(run, over, 0.1) <= p
    )
    assert chance <= p + 1e-9


def test_days_are_capped_one_by_one_and_the_oldest_that_fill_no_block_are_left_out():
    promise = Promise(block_days=2, cap_times=3.0)
    assert block_losses(np.array([9, 0, 9, 1, 1]), 1.0, promise).tolist() == [1.5, 1.0]


def test_the_lowest_threshold_that_passes_is_taken():
    """Two false alarms a day under .3, none over it."""
    found = alarm_threshold(rows_of(lambda t: np.full(30, 2 * (t < 0.3))), BUDGET, Promise())
    assert found.threshold == THRESHOLDS[THRESHOLDS >= 0.3].min()
    assert found.false_alarms_per_day == 0


def test_where_alarms_melt_together_lower_down_it_does_not_dive_under_the_peak():
    """One alarm all day at .1, split into six at .2, and none from .4 on: .1 alone would seem to keep the budget."""
    found = alarm_threshold(rows_of(lambda t: np.full(30, 1 if t < 0.1 else 6 if t < 0.4 else 0)), 2.0, Promise())
    assert found.threshold == THRESHOLDS[THRESHOLDS >= 0.4].min()


def test_what_a_block_lost_higher_up_stays_lost():
    """Twenty days allow 16 in all. Five days have 3 from .4 to .6, five others 3 under .4: 15 at any one threshold."""
    kinds = np.arange(20) // 5
    found = alarm_threshold(
        rows_of(lambda t: 3 * ((kinds == 0) & (0.4 <= t < 0.6)) + 3 * ((kinds == 1) & (t < 0.4))),
        BUDGET,
        Promise(block_days=1),
    )
    assert found.threshold == THRESHOLDS[THRESHOLDS >= 0.4].min()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["expected", "confident"]))
def test_a_larger_budget_never_asks_for_a_higher_threshold(seed, kind):
    found = rows_of(counted(days_of(np.random.default_rng(seed), 60)))
    thresholds = [alarm_threshold(found, budget, Promise(kind), GRID).threshold for budget in (0.5, 1.0, 2.0, 5.0)]
    assert sorted(thresholds, reverse=True) == thresholds


def test_the_struct_says_what_is_promised_and_survives_a_card():
    found = alarm_threshold(rows_of(lambda t: np.zeros(60, int)), 2.0, Promise("confident"))
    assert "With a chance of 90% at least" in found.guarantee
    assert "at most 2 false alarms a day on average" in found.guarantee
    assert "a day counts as 10 at most" in found.guarantee
    assert "Stretches of 3 days are independent" in found.assumption
    assert (found.rows, found.days, found.threshold) == (1000, 60, THRESHOLDS[-1])
    assert convert({name: getattr(found, name) for name in found.__struct_fields__}, AlarmThreshold, "card") == found
    single = alarm_threshold(rows_of(lambda t: np.zeros(60, int)), 2.0, Promise(block_days=1))
    assert "Stretches of one day, those of the calibration and the next, are exchangeable" in single.assumption


# --- counting ---


@pytest.fixture
def watched():
    """Four days in steps of five minutes, with a few positives, as the claims of one model."""
    rng = np.random.default_rng(4)
    ts = np.arange(4 * 288) * 5 * MINUTE_NS + DAY_NS
    ts = ts[(ts < 2.3 * DAY_NS) | (ts > 2.6 * DAY_NS)]
    truth = rng.random(len(ts)) < 0.01
    probability = np.clip(rng.beta(1, 6, len(ts)) + 0.4 * truth, 0, 1)
    return claims(ts, truth, probability, 15 * MINUTE_NS, 5 * MINUTE_NS)


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.4, 0.6, 0.99])
def test_false_alarms_by_day_add_up_to_those_of_the_figures(watched, threshold):
    by_day = calibration_rows("short", watched).false_alarms_by_day(threshold)
    assert len(by_day) == 4
    assert by_day.sum() == counts(watched, threshold)[2]


def test_a_false_alarm_belongs_to_the_day_it_begins_on():
    ts = DAY_NS + np.array([-5, 0, 5, 300]) * MINUTE_NS
    nothing = np.full(4, -1)
    found = Claims(
        ts, np.zeros(4, bool), np.array([0.5, 0.9, 0.5, 0.2]), nothing, np.zeros(0, np.int64), 60 * MINUTE_NS,
        5 * MINUTE_NS, 0,
    )  # fmt: skip
    by_day = calibration_rows("long", found).false_alarms_by_day
    assert by_day(0.4).tolist() == [1, 0]
    assert by_day(0.8).tolist() == [0, 1]
    assert by_day(0.1).tolist() == [1, 1]


# --- what is refused ---


@pytest.mark.parametrize(("kind", "days"), [("expected", 12), ("confident", 36)])
def test_too_few_days_are_refused_with_the_number_it_takes(kind, days):
    with pytest.raises(DataError, match=rf"needs {days} days of calibration rows .*, got {days - 1}"):
        alarm_threshold(rows_of(lambda t: np.zeros(days - 1, int)), BUDGET, Promise(kind))
    assert alarm_threshold(rows_of(lambda t: np.zeros(days, int)), BUDGET, Promise(kind)).threshold == THRESHOLDS[-1]


@pytest.mark.parametrize(("cap_times", "miss"), [(2.0, 0.1), (5.0, 0.05), (20.0, 0.1)])
@pytest.mark.parametrize("kind", ["expected", "confident"])
def test_the_number_it_takes_is_the_smallest_that_can_pass(kind, cap_times, miss):
    promise = Promise(kind, miss=miss, cap_times=cap_times)
    needed = promise.blocks_needed()
    assert passes(np.zeros(needed), BUDGET, promise)
    assert not passes(np.zeros(needed - 1), BUDGET, promise)


def test_without_a_positive_it_is_refused():
    with pytest.raises(DataError, match="none of 1000 calibration rows is positive for long"):
        alarm_threshold(rows_of(lambda t: np.zeros(60, int), positives=0), BUDGET)


def test_a_model_that_always_alarms_is_refused():
    with pytest.raises(DataError, match=r"even at 0\.999089 there are more false alarms than 1 a day allows"):
        alarm_threshold(rows_of(lambda t: np.full(60, 4)), BUDGET)


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="budget_per_day must be positive"):
        alarm_threshold(rows_of(lambda t: np.zeros(60, int)), 0.0)
