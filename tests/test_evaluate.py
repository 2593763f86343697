"""Figures, against literal numbers and scikit-learn; `tests/real` holds them against the referee's."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from training.evaluate import ap_gain, calibration_error, metrics, recalibration, reliability

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
    assert gain == average_precision_score(truth, p) - average_precision_score(truth, worse)
    assert 0 < low < gain < high
    assert ap_gain(truth, p, worse, days, draws=100) == (gain, low, high)
    assert ap_gain(truth, p, p, days, draws=100) == (0, 0, 0)
    assert np.isnan(ap_gain(np.zeros(3000, bool), p, worse, days)).all()
