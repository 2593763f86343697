"""The label stage: a ridge-logistic head on pre-trained scores, fitted per block; no trees, no fine-tuning
(experiments.md).
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from squeeze.errors import DataError
from training.config import HeadSpec
from training.network import Head, prior_logit


def fit_head(scores: np.ndarray, scalars: np.ndarray, truth: np.ndarray, spec: HeadSpec, positions: list[int]) -> Head:
    """A head fitted on rows: scores (row, side, score), scalars (row, side, scalar), truth (row, side, horizon).

    Both sides are pooled, twice the rows, with the side as one more input: the mirror is in the features. Of a horizon
    bucket only rows whose event had not happened before it count, so each logit is a hazard. No resampling and no class
    weights: the penalty shrinks toward the base rate, and the probabilities stay calibrated. Raises `DataError` when no
    row is positive.
    """
    if not truth.any():
        raise DataError(f"none of {len(truth)} training rows is positive on either side: nothing can be learned")
    head = Head(scores.shape[2], positions, truth.shape[2], spec.clip)
    raw = head.gather(torch.from_numpy(scores), torch.from_numpy(scalars)).flatten(0, 1)
    head.inputs.fit(raw)
    side = np.tile([0.0, 1.0], len(truth))
    inputs = np.column_stack([head.inputs(raw).numpy().astype(float), side])
    happened = truth.reshape(-1, truth.shape[2])
    at_risk = np.ones(len(happened), bool)
    for bucket in range(truth.shape[2]):
        positive = happened[at_risk, bucket]
        if positive.any() and not positive.all():
            line = LogisticRegression(C=spec.inverse_penalty, max_iter=2000).fit(inputs[at_risk], positive)
            head.weights[:, bucket] = torch.from_numpy(line.coef_[0, :-1])
            head.intercepts[:, bucket] = torch.from_numpy(line.intercept_[0] + line.coef_[0, -1] * np.array([0.0, 1.0]))
        else:
            head.intercepts[:, bucket] = prior_logit((positive.sum() + 0.5) / (len(positive) + 1.0))
        at_risk &= ~happened[:, bucket]
    return head
