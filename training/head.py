"""The label stage: a ridge-logistic head on pre-trained scores, fitted per block; no trees, no fine-tuning
(experiments.md). With `calibration: platt` its own out-of-fold logits say how far to trust it, and the answer is folded
into its weights.
"""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from squeeze.errors import DataError
from training.calibration.platt import Platt, fit_platt
from training.networks.network import Head, prior_logit
from training.recipe import HeadSpec

FOLDS = 5
"""Contiguous parts of the training rows that a calibrated head leaves out in turn."""


def fit_head(
    scores: np.ndarray,
    scalars: np.ndarray,
    truth: np.ndarray,
    spec: HeadSpec,
    positions: list[int],
    ts_ns: np.ndarray | None = None,
    span_ns: int = 0,
) -> Head:
    """A head fitted on rows: scores (row, side, score), scalars (row, side, scalar), truth (row, side, horizon).

    Both sides are pooled, twice the rows, with the side as one more input: the mirror is in the features. Of a horizon
    bucket only rows whose event had not happened before it count, so each logit is a hazard. No resampling and no class
    weights: the penalty shrinks toward the base rate, and the probabilities stay calibrated.

    With `spec.calibration` a line per bucket (`fit_platt`, sides pooled) is fitted on logits of rows that a head had
    not seen, and folded in; this needs the rows' rising times `ts_ns` (row,) and how far a label looks ahead,
    `span_ns`. Raises `DataError` when no row is positive.
    """
    if not truth.any():
        raise DataError(f"none of {len(truth)} training rows is positive on either side: nothing can be learned")
    head = _fitted(scores, scalars, truth, spec, positions)
    if spec.calibration == "platt":
        if ts_ns is None:
            raise ValueError("a calibrated head needs the times of its rows")
        held, unseen = out_of_fold_logits(scores, scalars, truth, spec, positions, ts_ns, span_ns)
        fold_in(head, calibrators(unseen, truth[held]))
    return head


def out_of_fold_logits(
    scores: np.ndarray,
    scalars: np.ndarray,
    truth: np.ndarray,
    spec: HeadSpec,
    positions: list[int],
    ts_ns: np.ndarray,
    span_ns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (row,) of the rows that some head had not seen, and its logits of them (row, side, horizon).

    Looks ahead inside the training rows, which is what they are for: a fold's head knows rows before and after it.
    """
    found = []
    for held, rest in folds(ts_ns, span_ns):
        head = _fitted(scores[rest], scalars[rest], truth[rest], spec, positions)
        found.append((held, logits_of(head, scores[held], scalars[held])))
    return np.concatenate([held for held, _ in found]), np.concatenate([logits for _, logits in found])


def folds(ts_ns: np.ndarray, span_ns: int, count: int = FOLDS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Contiguous parts of rising times as (held, rest): no label interval [t, t + span) of the rest touches one of
    those held. A part that leaves no rest is passed over.

    >>> [(held.tolist(), rest.tolist()) for held, rest in folds(np.arange(6), span_ns=2, count=2)]
    [([0, 1, 2], [4, 5]), ([3, 4, 5], [0, 1])]
    """
    reach_ns = max(span_ns, 1)
    for held in np.array_split(np.arange(len(ts_ns)), count):
        if len(held):
            first, last = ts_ns[held[0]], ts_ns[held[-1]]
            rest = np.flatnonzero((ts_ns + reach_ns <= first) | (ts_ns >= last + reach_ns))
            if len(rest):
                yield held, rest


def calibrators(logits: np.ndarray, truth: np.ndarray) -> list[Platt]:
    """One line per horizon bucket over rows still at risk, sides pooled; a bucket with one outcome alone is left as it
    is.
    """
    logits, happened = (part.reshape(-1, part.shape[2]) for part in (logits, truth))
    found = []
    at_risk = np.ones(len(happened), bool)
    for bucket in range(happened.shape[1]):
        outcome = happened[at_risk, bucket]
        both = outcome.any() and not outcome.all()
        found.append(fit_platt(logits[at_risk, bucket], outcome) if both else Platt(1.0, 0.0))
        at_risk &= ~happened[:, bucket]
    return found


def fold_in(head: Head, lines: list[Platt]) -> None:
    """Have a head say `slope · logit + intercept` in place of `logit`, bucket by bucket."""
    slopes, intercepts = (torch.tensor([getattr(line, name) for line in lines]) for name in ("slope", "intercept"))
    head.weights *= slopes
    head.intercepts.copy_(head.intercepts * slopes + intercepts)


@torch.no_grad()
def logits_of(head: Head, scores: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """A head's logits (row, side, horizon), before they become hazards."""
    inputs = head.inputs(head.gather(torch.from_numpy(scores), torch.from_numpy(scalars)))
    return (inputs @ head.weights + head.intercepts).numpy()


def _fitted(scores: np.ndarray, scalars: np.ndarray, truth: np.ndarray, spec: HeadSpec, positions: list[int]) -> Head:
    """A head without calibration; a bucket with one outcome alone gets a constant hazard."""
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
