"""Figures, against literal numbers and scikit-learn; `tests/real` holds them against the referee's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from training.evaluation.bootstrap import (
    Gain,
    draw_runs,
    figures_per_draw,
    gains_between,
    interval,
    mean_figures,
    verdict,
)
from training.evaluation.metrics import (
    ap_gain,
    calibration_error,
    metrics,
    recalibration,
    regime_scalar,
    reliability,
    tercile,
    why_no_ranking,
)

HOUR_NS = 3_600_000_000_000


def drawn(count=2000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 8, count)
    return rng.random(count) < p, p


def test_figures_by_hand():
    truth, p = np.array([True, False, False, True]), np.array([0.5, 0.25, 0.5, 1.0])
    found = metrics(np.arange(4) * 5 * HOUR_NS, truth, p, np.full(4, 0.25))
    assert found["ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["auc"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    brier, climatology = (0.25 + 0.0625 + 0.25) / 4, (2 * 0.5625 + 2 * 0.0625) / 4
    assert found["brier_skill"] == pytest.approx(1 - brier / climatology)
    assert found["log_loss"] == pytest.approx(-(2 * np.log(0.5) + np.log(0.75)) / 4, abs=1e-5)
    assert (found["base_rate"], found["episodes"]) == (0.5, 2.0)


def test_figures_are_scikit_learns():
    truth, p = drawn()
    found = metrics(np.arange(2000) * HOUR_NS, truth, p, np.full(2000, truth.mean()))
    assert found["ap"] == average_precision_score(truth, p)
    assert found["auc"] == roc_auc_score(truth, p)
    assert found["log_loss"] == pytest.approx(log_loss(truth, p))
    assert found["slope"] == pytest.approx(1, abs=0.15)
    assert found["intercept"] == pytest.approx(0, abs=0.25)


@pytest.mark.parametrize("value", [True, False])
def test_one_class_has_no_ranking(value):
    found = metrics(np.arange(5), np.full(5, value), np.linspace(0.1, 0.9, 5), np.full(5, 0.5))
    assert all(np.isnan(found[name]) for name in ("ap", "auc", "slope", "intercept"))
    assert np.isfinite(found["log_loss"])


def test_certainty_that_was_wrong_costs_a_finite_amount():
    assert metrics(np.arange(2), np.array([True, False]), np.array([0.0, 1.0]), np.full(2, 0.5))["log_loss"] < 14


def test_a_constant_cannot_be_recalibrated_and_is_one_bin():
    truth, _ = drawn(100)
    assert np.isnan(recalibration(truth, np.full(100, 0.3))).all()
    assert calibration_error(truth, np.full(100, 0.3)) == pytest.approx(abs(truth.mean() - 0.3))


def test_logits_that_are_twice_too_large_have_slope_one_half():
    truth, p = drawn(50_000)
    slope, intercept = recalibration(truth, 1 / (1 + np.exp(-(2 * np.log(p / (1 - p)) + 1))))
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(-0.5, abs=0.05)


def test_bins_hold_like_numbers_and_ties_stay_together():
    p = np.repeat([0.1, 0.2, 0.3, 0.9], [70, 10, 10, 10])
    predicted, observed, count = reliability(np.ones(100), p)
    assert count.tolist() == [70, 10, 10, 10]
    assert predicted.round(4).tolist() == [0.1, 0.2, 0.3, 0.9]
    assert observed.tolist() == [1, 1, 1, 1]


def test_rows_without_a_probability_are_left_out():
    truth, p = drawn(500)
    holes = p.copy()
    holes[::3] = np.nan
    kept = np.isfinite(holes)
    for found, expected in zip(reliability(truth, holes), reliability(truth[kept], p[kept]), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [len(part) for part in reliability(truth, np.full(500, np.nan))] == [0, 0, 0]


def test_a_gain_is_as_observed_within_an_interval_that_does_not_depend_on_chance():
    truth, p = drawn(3000)
    days = np.arange(3000) // 24
    worse = np.random.default_rng(1).permutation(p)
    gain, low, high = ap_gain(truth, p, worse, days, draws=100)
    assert gain == pytest.approx(average_precision_score(truth, p) - average_precision_score(truth, worse), abs=1e-12)
    assert 0 < low < gain < high
    assert ap_gain(truth, p, worse, days, draws=100) == (gain, low, high)
    assert ap_gain(truth, p, p, days, draws=100) == (0, 0, 0)
    assert np.isnan(ap_gain(np.zeros(3000, bool), p, worse, days)).all()


def test_without_rows_there_are_no_figures_and_no_crash():
    nothing = np.zeros(0)
    found = metrics(nothing.astype(int), nothing.astype(bool), nothing, nothing)
    assert found.pop("episodes") == 0
    assert set(found) == set(metrics(np.arange(2), np.array([True, False]), np.array([0.1, 0.2]), np.full(2, 0.5))) - {
        "episodes"
    }
    assert np.isnan(list(found.values())).all()


def test_classes_that_lie_apart_have_no_line_or_a_steep_one():
    truth = np.repeat([False, True], 50)
    slope, _ = recalibration(truth, np.where(truth, 0.9, 0.1) + np.linspace(0, 0.01, 100))
    assert np.isnan(slope) or slope > 2


@pytest.mark.parametrize(
    ("truth", "p", "said"),
    [
        ([], [], "abstained on all"),
        ([0, 0, 0], [0.1, 0.2, 0.3], "none of 3 rows is positive"),
        ([1, 1], [0.1, 0.2], "all 2 rows are positive"),
        ([0, 1], [0.2, 0.2], "constant"),
    ],
)
def test_why_there_is_no_ranking_is_said(truth, p, said):
    assert said in why_no_ranking(np.array(truth, bool), np.array(p, float))
    assert why_no_ranking(np.array([False, True]), np.array([0.1, 0.2])) is None


# --- terciles -------------------------------------------------------------------------------------------------------


def test_regimes_are_cut_by_the_nearest_window():
    names = [f"{family}_{m}m" for m in (15, 60, 240, 1440) for family in ("volatility", "parkinson", "return")]
    assert regime_scalar(names, "volatility") == "volatility_60m"
    assert regime_scalar(names, "trend") == "return_240m"
    assert regime_scalar(["return_180m", "return_300m"], "trend") == "return_180m"


def test_tercile_borders_are_those_of_training_rows_and_of_nothing_else():
    training = np.arange(300.0)
    assert tercile(np.array([-5.0, 99.0, 150.0, 250.0, 1e9]), training).tolist() == [0, 0, 1, 2, 2]
    assert [(tercile(training, training) == third).sum() for third in range(3)] == [100, 100, 100]
    assert tercile(np.array([1.0, np.nan]), np.full(3, np.nan)).tolist() == [-1, -1]
    assert tercile(np.array([np.nan, 1.0]), np.array([np.nan, 0.0, 0.0, 9.0])).tolist()[0] == -1
    assert tercile(np.array([4.9, 5.0]), np.full(3, 5.0)).tolist() == [0, 2]  # on a border is over it


# --- the bootstrap --------------------------------------------------------------------------------------------------


def slow_draws(truth, p, days, draws, seed=7):
    """Figures of rows that really are drawn: first as observed, then draw by draw."""
    run = np.unique(days, return_inverse=True)[1] // 3
    groups = [np.flatnonzero(run == g) for g in np.unique(run)]
    rng = np.random.default_rng(seed)
    drawn = [np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))]) for _ in range(draws)]
    found = []
    for rows in [np.arange(len(truth)), *drawn]:
        y, q = truth[rows], p[rows]
        both = y.any() and not y.all()
        found.append(
            {
                "ap": average_precision_score(y, q) if y.any() and not truth.all() else np.nan,
                "auc": roc_auc_score(y, q) if both else np.nan,
                "brier": np.mean((q - y) ** 2),
                "log_loss": log_loss(y, np.clip(q, 1e-6, 1 - 1e-6), labels=[False, True]),
            }
        )
    return {name: np.array([one[name] for one in found]) for name in found[0]}


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 150), seed=st.integers(0, 999), digits=st.sampled_from([1, 2, 9]), rate=st.sampled_from([3, 30])
)
def test_draws_by_weights_are_those_of_rows_really_drawn(rows, seed, digits, rate):
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(1, rate, rows), digits)  # with ties as without
    truth, days = rng.random(rows) < p, np.sort(rng.integers(0, 20, rows))
    fast, slow = figures_per_draw(truth, p, draw_runs(days, 20)), slow_draws(truth, p, days, 20)
    for name, expected in slow.items():
        np.testing.assert_allclose(fast[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)


def paired_gains(truth, models, rivals, draws):
    """By figure, each side as its seeds' probabilities."""
    return gains_between(
        *(mean_figures([figures_per_draw(truth, p, draws) for p in side]) for side in (models, rivals))
    )


def test_gains_are_paired_and_their_sign_says_better():
    truth, p = drawn(4000)
    draws = draw_runs(np.arange(4000) // 96, 300)
    worse = np.clip(p * 3, 0, 0.999)  # the same ranking, badly calibrated
    found = paired_gains(truth, [p], [worse], draws)
    assert found["ap"] == Gain(0, 0, 0) or abs(found["ap"].observed) < 0.02  # the clip makes ties
    assert found["brier"].low > 0
    assert found["log_loss"].low > 0
    back = paired_gains(truth, [worse], [p], draws)
    assert back["brier"].observed == -found["brier"].observed
    assert back["brier"].high < 0


def test_seeds_stand_for_the_mean_of_their_figures():
    truth, p = drawn(2000)
    q = np.random.default_rng(5).permutation(p)
    draws = draw_runs(np.arange(2000) // 96, 50)
    one, other, both = (paired_gains(truth, seeds, [q], draws)["ap"].observed for seeds in ([p], [q], [p, q]))
    assert both == pytest.approx((one + other) / 2)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="1 of 3 scores are not finite"):
        ap_gain(np.array([True, False, True]), np.array([0.1, np.nan, 0.3]), np.zeros(3), np.arange(3))


def test_draws_without_a_figure_are_left_out_of_the_interval():
    assert interval(np.array([0.5, np.nan, 0.4, 0.6])) == Gain(0.5, 0.405, 0.595)
    assert np.isnan(interval(np.array([0.5, np.nan])).low)
    assert np.isnan(interval(np.array([np.nan, 0.1])).high)


@pytest.mark.parametrize(
    ("gain", "count", "said"),
    [
        (Gain(0.1, 0.05, 0.2), 49, "inconclusive: under 50 episodes"),
        (Gain(0.1, 0.05, 0.2), 50, "better"),
        (Gain(0.1, 0.0, 0.2), 50, "not shown"),
        (Gain(-0.1, -0.2, -0.05), 50, "worse"),
        (Gain(np.nan, np.nan, np.nan), 50, "no figure to compare"),
    ],
)
def test_what_may_be_said_of_a_gain(gain, count, said):
    assert verdict(gain, count) == said
