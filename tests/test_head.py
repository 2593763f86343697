"""The ridge-logistic head: what scikit-learn fitted, folded into a graph."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from squeeze.errors import DataError
from training.config import HeadSpec
from training.head import fit_head

SPEC = HeadSpec(inverse_penalty=0.1)


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
