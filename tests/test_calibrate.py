"""A line through logits: what it is, and that few positives do not bend it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from squeeze.errors import DataError
from training.calibration.platt import Platt, fit_platt


def rows(count, slope, intercept, seed=0):
    """Logits, and outcomes whose own logit is a line of them."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-3, 1.2, count)
    return logit, rng.random(count) < Platt(slope, intercept).apply(logit)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -0.4), (1.6, 0.8)])
def test_it_finds_the_line_that_the_outcomes_follow(slope, intercept):
    line = fit_platt(*rows(200_000, slope, intercept))
    assert line.slope == pytest.approx(slope, abs=0.04)
    assert line.intercept == pytest.approx(intercept, abs=0.1)


def test_with_hardly_a_ridge_it_is_scikit_learns_logistic_regression():
    logit, truth = rows(2_000, 0.7, 0.3)
    line, other = fit_platt(logit, truth, ridge=1e-9), LogisticRegression(C=1e9, tol=1e-10).fit(logit[:, None], truth)
    assert line.slope == pytest.approx(other.coef_[0, 0], abs=1e-4)
    assert line.intercept == pytest.approx(other.intercept_[0], abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0, 100.0]), st.floats(0.1, 3.0))
def test_no_other_line_has_a_lower_penalised_loss(seed, ridge, scale):
    logit, truth = rows(200, 1.0, 0.0, seed)
    truth[:2] = True, False
    logit = logit * scale

    def loss(line):
        z = line[0] * logit + line[1]
        return np.logaddexp(0, np.where(truth, -z, z)).sum() + ridge / 2 * ((line[0] - 1) ** 2 + line[1] ** 2)

    best = minimize(loss, [1.0, 0.0], bounds=[(0, None), (None, None)], method="L-BFGS-B")
    line = fit_platt(logit, truth, ridge)
    assert loss([line.slope, line.intercept]) <= best.fun + 1e-6


def test_two_positives_hardly_bend_it_and_a_hundred_times_as_many_do():
    logit, truth = np.linspace(-8, -3.5, 400), np.zeros(400, bool)  # 2.6 positives are expected
    truth[[100, 200]] = True  # and they do not come where the logit is highest
    line = fit_platt(logit, truth)
    assert abs(line.slope - 1) < 0.1
    assert abs(line.intercept) < 0.2
    assert fit_platt(np.tile(logit, 100), np.tile(truth, 100)).slope < 0.3


def test_a_stronger_ridge_stays_closer_to_leaving_it_alone():
    logit, truth = rows(500, 0.3, 1.0)
    lines = [fit_platt(logit, truth, ridge) for ridge in (0.1, 1.0, 10.0, 1e5)]
    away = [(line.slope - 1) ** 2 + line.intercept**2 for line in lines]
    assert sorted(away, reverse=True) == away
    assert away[-1] < 1e-3


def test_scores_that_rank_backwards_say_the_base_rate_and_nothing_more():
    logit, truth = rows(2_000, -0.8, -5.0)
    line = fit_platt(logit, truth, ridge=0.01)
    assert line.slope == 0
    np.testing.assert_allclose(line.apply(logit), truth.mean(), rtol=1e-2)


@given(st.floats(0, 5), st.floats(-10, 10), st.lists(st.floats(-800, 800), min_size=2, max_size=20))
def test_it_never_turns_an_order_round_and_stays_a_probability(slope, intercept, logits):
    p = Platt(slope, intercept).apply(np.sort(logits))
    assert (np.diff(p) >= 0).all()
    assert ((p >= 0) & (p <= 1)).all()


def test_rows_that_a_threshold_tells_apart_have_a_finite_line():
    line = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]), ridge=0.1)
    assert 1 < line.slope < 10
    assert abs(line.intercept) < 1e-6


@pytest.mark.parametrize("truth", [[False, False], [True, True]])
def test_one_outcome_alone_is_refused_with_the_counts(truth):
    with pytest.raises(DataError, match=rf"needs both outcomes, got {sum(truth)} positives in 2 rows"):
        fit_platt(np.array([0.0, 1.0]), np.array(truth))


def test_a_logit_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="1 of 3 logits are not finite"):
        fit_platt(np.array([0.0, np.inf, 1.0]), np.array([True, False, True]))


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan])
def test_without_a_ridge_it_is_refused(ridge):
    with pytest.raises(ValueError, match="ridge must be positive"):
        fit_platt(np.array([0.0, 1.0]), np.array([True, False]), ridge)
