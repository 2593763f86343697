"""The ridge-logistic head: what scikit-learn fitted, folded into a graph."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from squeeze.errors import DataError
from training.calibration.platt import Platt, fit_platt
from training.head import calibrators, fit_head, folds, logits_of, out_of_fold_logits
from training.recipe import HeadSpec

SPEC = HeadSpec(inverse_penalty=0.1)
HOUR_NS = 3600 * 10**9


def data_of(rows=400, scores=5, scalars=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 3, (rows, 2, scores)).astype(np.float32), rng.normal(size=(rows, 2, scalars)).astype(
        np.float32
    )


def said(head, scores, scalars):
    return head(torch.from_numpy(scores), torch.from_numpy(scalars)).numpy()


def test_it_says_what_scikit_learns_pipeline_says():
    scores, scalars = data_of()
    rng = np.random.default_rng(1)
    truth = (scores[:, :, 0] + scalars[:, :, 3] + rng.normal(size=(400, 2)) + [0.0, 2.0] > 3)[:, :, None]
    head = fit_head(scores, scalars, truth, SPEC, [3, 1])
    x = np.concatenate([scores, scalars[:, :, [3, 1]]], axis=2).reshape(800, -1).astype(float)
    x = np.clip((x - x.mean(axis=0)) / x.std(axis=0), -SPEC.clip, SPEC.clip)
    x = np.column_stack([x, np.tile([0.0, 1.0], 400)])
    line = LogisticRegression(C=SPEC.inverse_penalty, max_iter=2000).fit(x, truth.ravel())
    expected = line.predict_proba(x)[:, 1].reshape(400, 2)
    np.testing.assert_allclose(said(head, scores, scalars)[:, :, 0], expected, atol=1e-6)


def test_missing_scalars_count_as_their_mean():
    scores, scalars = data_of()
    truth = (scores[:, :, :1] > 4) & (scalars[:, :, :1] > 0)
    head = fit_head(scores, scalars, truth, SPEC, [0])
    missing, mean = scalars.copy(), scalars.copy()
    missing[..., 0], mean[..., 0] = np.nan, scalars[..., 0].mean()
    np.testing.assert_allclose(said(head, scores, missing), said(head, scores, mean), atol=1e-6)


def test_without_a_positive_nothing_can_be_learned():
    scores, scalars = data_of()
    with pytest.raises(DataError, match="none of 400 training rows is positive"):
        fit_head(scores, scalars, np.zeros((400, 2, 1), bool), SPEC, [])


def test_a_bucket_without_a_positive_gets_a_small_constant_hazard():
    scores, scalars = data_of()
    truth = np.zeros((400, 2, 2), bool)
    truth[:, :, 1] = scores[:, :, 0] > 4
    head = fit_head(scores, scalars, truth, SPEC, [])
    p = said(head, scores, scalars)
    np.testing.assert_allclose(p[:, :, 0], 0.5 / 801, rtol=1e-3)
    assert np.ptp(p[:, :, 1]) > 0.1


def test_a_bucket_that_only_follows_certainty_keeps_a_finite_hazard():
    scores, scalars = data_of(50)
    head = fit_head(scores, scalars, np.ones((50, 2, 2), bool), SPEC, [])
    p = said(head, scores, scalars)
    assert (p > 0.98).all()
    assert np.isfinite(p).all()


def test_one_positive_is_enough_to_fit():
    scores, scalars = data_of()
    truth = np.zeros((400, 2, 1), bool)
    truth[17, 1] = True
    p = said(fit_head(scores, scalars, truth, SPEC, []), scores, scalars)
    assert np.isfinite(p).all()
    assert p.mean() == pytest.approx(1 / 800, rel=0.2)


def test_probabilities_of_every_horizon_are_calibrated():
    scores, scalars = data_of(20_000, seed=3)
    rng = np.random.default_rng(4)
    hazards = 1 / (1 + np.exp(-(0.4 * scores[:, :, 0] - 3 + np.array([0.0, 0.5]))))
    truth = np.cumsum(rng.random((20_000, 2, 3)) < hazards[:, :, None], axis=2) > 0
    p = said(
        fit_head(scores[:10_000], scalars[:10_000], truth[:10_000], HeadSpec(inverse_penalty=1.0), [0]), scores, scalars
    )
    held_p, held = p[10_000:], truth[10_000:]
    for side in range(2):
        for horizon in range(3):
            order = np.argsort(held_p[:, side, horizon])
            for group in np.array_split(order, 5):
                expected, seen = held_p[group, side, horizon].mean(), held[group, side, horizon].mean()
                assert abs(expected - seen) < 0.03


def hazards_of(rows, seed=3):
    """Scores with the outcomes of two horizons that follow the first of them."""
    scores, scalars = data_of(rows, seed=seed)
    rng = np.random.default_rng(seed + 1)
    hazards = 1 / (1 + np.exp(-(0.5 * scores[:, :, 0] - 4)))
    return scores, scalars, np.cumsum(rng.random((rows, 2, 2)) < hazards[:, :, None], axis=2) > 0


def slope_of(p, truth):
    logit = np.log(p / (1 - p)).reshape(-1, 1)
    return LogisticRegression(C=1e6).fit(logit, truth.ravel()).coef_[0, 0]


def test_a_head_that_was_shrunk_too_far_is_brought_back_on_unseen_rows():
    scores, scalars, truth = hazards_of(8_000)
    ts = np.arange(4_000) * HOUR_NS
    slopes = {}
    for calibration in ("none", "platt"):
        spec = HeadSpec(inverse_penalty=3e-3, calibration=calibration)
        head = fit_head(scores[:4_000], scalars[:4_000], truth[:4_000], spec, [0], ts, HOUR_NS)
        p = said(head, scores[4_000:], scalars[4_000:])
        assert (np.diff(p, axis=2) >= 0).all()
        slopes[calibration] = slope_of(p[:, :, 0], truth[4_000:, :, 0])
    assert slopes["none"] > 1.5
    assert 0.9 < slopes["platt"] < 1.1


def test_calibration_is_a_line_in_the_logit_and_lives_in_the_head_alone():
    scores, scalars, truth = hazards_of(600)
    ts, spec = np.arange(600) * HOUR_NS, HeadSpec(inverse_penalty=0.01)
    plain = fit_head(scores, scalars, truth, spec, [2])
    held, unseen = out_of_fold_logits(scores, scalars, truth, spec, [2], ts, HOUR_NS)
    lines = calibrators(unseen, truth[held])
    folded = fit_head(scores, scalars, truth, HeadSpec(inverse_penalty=0.01, calibration="platt"), [2], ts, HOUR_NS)
    logits = logits_of(plain, scores, scalars)
    for bucket, line in enumerate(lines):
        assert line.slope != 1
        np.testing.assert_allclose(
            logits_of(folded, scores, scalars)[:, :, bucket],
            line.slope * logits[:, :, bucket] + line.intercept,
            rtol=1e-4,
            atol=1e-5,
        )
    assert plain.state_dict().keys() == folded.state_dict().keys()


def test_of_a_bucket_only_rows_still_at_risk_are_calibrated():
    logits = np.array([[[0.0, 0.0]], [[0.0, 2.0]], [[0.0, -1.0]], [[1.0, 9.0]]])
    truth = np.array([[[False, False]], [[False, True]], [[False, False]], [[True, True]]])
    first, second = calibrators(logits, truth)
    assert first == fit_platt(np.array([0.0, 0.0, 0.0, 1.0]), np.array([False, False, False, True]))
    assert second == fit_platt(np.array([0.0, 2.0, -1.0]), np.array([False, True, False]))


def test_a_bucket_with_one_outcome_alone_is_left_as_it_is():
    logits, truth = np.zeros((5, 2, 1)), np.ones((5, 2, 1), bool)
    assert calibrators(logits, truth) == [Platt(1.0, 0.0)]


def test_an_outcome_does_not_reach_its_own_out_of_fold_logit():
    scores, scalars, truth = hazards_of(300)
    ts, span_ns = np.arange(300) * HOUR_NS, 4 * HOUR_NS
    held, before = out_of_fold_logits(scores, scalars, truth, SPEC, [1], ts, span_ns)
    assert held.tolist() == list(range(300))
    changed = truth.copy()
    changed[117:183] = ~changed[117:183]  # the third of five folds, and the rows whose labels reach into it
    after = out_of_fold_logits(scores, scalars, changed, SPEC, [1], ts, span_ns)[1]
    np.testing.assert_array_equal(after[120:180], before[120:180])
    assert not np.array_equal(after[:120], before[:120])


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=60),
    st.integers(0, 12),
    st.integers(2, 6),
)
def test_no_label_of_a_folds_rest_touches_one_that_is_held(gaps, span, count):
    ts = np.cumsum(gaps)
    seen = []
    for held, rest in folds(ts, span, count):
        seen += held.tolist()
        for row in rest:
            assert row not in held
            assert all(ts[row] + span <= ts[other] or ts[other] + span <= ts[row] for other in held)
        for row in set(range(len(ts))) - set(held) - set(rest):
            assert any(abs(int(ts[row] - ts[other])) < max(span, 1) for other in range(held[0], held[-1] + 1))
    assert seen == sorted(set(seen))


def test_a_calibrated_head_needs_the_times_of_its_rows():
    scores, scalars, truth = hazards_of(100)
    with pytest.raises(ValueError, match="needs the times of its rows"):
        fit_head(scores, scalars, truth, HeadSpec(calibration="platt"), [])


def test_calibration_with_one_positive_changes_little():
    scores, scalars = data_of()
    truth = np.zeros((400, 2, 1), bool)
    truth[17, 1] = True
    ts = np.arange(400) * HOUR_NS
    p = said(fit_head(scores, scalars, truth, HeadSpec(calibration="platt"), [], ts, HOUR_NS), scores, scalars)
    assert p.mean() == pytest.approx(1 / 800, rel=0.5)
