"""How good a set of probabilities is: ranking, calibration and events, per side and horizon, beside the base rate."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from training.labels import episodes

ENOUGH_EPISODES = 50
"""Below this many separate events a figure is *inconclusive*, whatever its interval says."""


def metrics(ts_ns: np.ndarray, truth: np.ndarray, probability: np.ndarray, base_rate: np.ndarray) -> dict[str, float]:
    """Figures of one side and horizon over rows that have a probability.

    `base_rate` is what the training part of each row's block held: the climatology that skill is measured against. AP and AUC are
    NaN without both classes. Keys are few and fixed, so that old runs stay comparable in the tracker.
    """
    both = bool(truth.any() and not truth.all())
    brier, climatology = np.mean((probability - truth) ** 2), np.mean((base_rate - truth) ** 2)
    slope, intercept = recalibration(truth, probability) if both else (np.nan, np.nan)
    return {
        "ap": average_precision_score(truth, probability) if both else np.nan,
        "auc": roc_auc_score(truth, probability) if both else np.nan,
        "brier_skill": float(1 - brier / climatology) if climatology > 0 else np.nan,
        "log_loss": float(-np.mean(np.log(np.where(truth, _inside(probability), 1 - _inside(probability))))),
        "ece": calibration_error(truth, probability),
        "slope": slope,
        "intercept": intercept,
        "base_rate": float(truth.mean()),
        "episodes": float(episodes(ts_ns, truth)),
    }


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prediction, observed share and count over bins of equal mass; equal predictions stay together.

    >>> predicted, observed, count = reliability(np.array([False, True, True, True]), np.array([0.1, 0.1, 0.8, 0.8]), bins=2)
    >>> predicted.tolist(), observed.tolist(), count.tolist()
    ([0.1, 0.8], [0.5, 1.0], [2, 2])
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)))
    which = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, max(len(edges) - 2, 0))
    used, which, count = np.unique(which, return_inverse=True, return_counts=True)
    predicted = np.bincount(which, probability, len(used)) / count
    return predicted, np.bincount(which, truth, len(used)) / count, count


def calibration_error(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean distance of prediction and outcome over bins of equal mass (expected calibration error)."""
    predicted, observed, count = reliability(truth, probability)
    return float(np.sum(count * np.abs(predicted - observed)) / count.sum())


def recalibration(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of truth on the logit; 1 and 0 when calibrated, NaN for a constant."""
    if np.ptp(probability) < 1e-9:
        return np.nan, np.nan
    p = _inside(probability)
    line = LogisticRegression(C=1e6, max_iter=1000).fit(np.log(p / (1 - p))[:, None], truth)
    return float(line.coef_[0, 0]), float(line.intercept_[0])


def _inside(probability: np.ndarray) -> np.ndarray:
    return np.clip(probability, 1e-6, 1 - 1e-6)
