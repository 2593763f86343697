"""A logistic line through logits and outcomes (Platt), held near "leave it as it is" so that few positives do not bend
it.

Two parameters and no more: events are rare, and a line of the logit folds into a logistic head's own weights, so that
the graph carries it. Beta calibration and isotonic regression are no line of the logit and would not.
"""

import msgspec
import numpy as np

from squeeze.errors import DataError

RIDGE = 10.0
"""Pull toward slope 1 and intercept 0, about as strong as ten positives."""
STEPS = 100


class Platt(msgspec.Struct, frozen=True):
    """`P = 1 / (1 + exp(-(slope · logit + intercept)))`; slope 1 and intercept 0 change nothing."""

    slope: float
    intercept: float

    def apply(self, logit: np.ndarray) -> np.ndarray:
        """Probabilities of logits, of the same shape.

        >>> Platt(1.0, 0.0).apply(np.array([-1000.0, 0.0])).tolist()
        [0.0, 0.5]
        """
        return _sigmoid(self.slope * np.asarray(logit, float) + self.intercept)


def fit_platt(logit: np.ndarray, truth: np.ndarray, ridge: float = RIDGE) -> Platt:
    """The line that minimises `Σ log loss + ridge / 2 · ((slope - 1)² + intercept²)`, with a slope that is not
    negative.

    `logit` (row,) must not have been fitted on `truth` (row,) itself: give it out-of-fold or later rows. For a score
    that is no logit give a small ridge, as slope 1 means nothing there. Where scores rank backwards the slope is 0 and
    the line says the base rate: a calibrator does not turn an order round. Newton's method, the same result every time.
    Raises `DataError` without a positive or a negative row, and for a logit that is not finite. After Platt (1999),
    "Probabilistic outputs for support vector machines"; the ridge takes the place of his smoothed targets.

    >>> logit = np.repeat([-2.0, 2.0], 50_000)
    >>> truth = np.arange(100_000) % 100 < np.repeat([27, 73], 50_000)  # log(73 / 27) is 0.995: half of what was said
    >>> line = fit_platt(logit, truth)
    >>> round(line.slope, 2), abs(round(line.intercept, 2))
    (0.5, 0.0)
    """
    logit, truth = np.asarray(logit, float), np.asarray(truth, bool)
    if logit.shape != truth.shape or logit.ndim != 1:
        raise ValueError(f"logit and truth must be rows, got {logit.shape} and {truth.shape}")
    if not ridge > 0:
        raise ValueError(f"ridge must be positive, or separable rows have no line; got {ridge}")
    if not np.isfinite(logit).all():
        raise DataError(f"calibration: {(~np.isfinite(logit)).sum()} of {len(logit)} logits are not finite")
    if not truth.any() or truth.all():
        raise DataError(f"calibration: needs both outcomes, got {truth.sum()} positives in {len(truth)} rows")
    slope, intercept = _newton(np.column_stack([logit, np.ones_like(logit)]), truth, np.array([1.0, 0.0]), ridge)
    if slope < 0:
        (intercept,) = _newton(np.ones((len(logit), 1)), truth, np.zeros(1), ridge)
        slope = 0.0
    return Platt(float(slope), float(intercept))


def _newton(x: np.ndarray, truth: np.ndarray, centre: np.ndarray, ridge: float) -> np.ndarray:
    """Weights that minimise the penalised log loss, starting where the penalty is nought; steps are halved until it
    falls.
    """
    weights = centre
    value = _objective(x, truth, weights, centre, ridge)
    for _ in range(STEPS):
        p = _sigmoid(x @ weights)
        slope = x.T @ (p - truth) + ridge * (weights - centre)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(centre))
        step = np.linalg.solve(curvature, slope)
        if slope @ step < 1e-12 * (1 + value):
            break
        while (new := _objective(x, truth, weights - step, centre, ridge)) > value:
            step = step / 2
            if np.abs(step).max() < 1e-15:
                return weights
        weights, value = weights - step, new
    return weights


def _objective(x: np.ndarray, truth: np.ndarray, weights: np.ndarray, centre: np.ndarray, ridge: float) -> float:
    line = x @ weights
    return float(np.logaddexp(0.0, np.where(truth, -line, line)).sum() + ridge / 2 * ((weights - centre) ** 2).sum())


def _sigmoid(line: np.ndarray) -> np.ndarray:
    """Through tanh, which overflows nowhere."""
    return 0.5 * (1.0 + np.tanh(0.5 * line))
