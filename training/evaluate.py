"""How good a set of probabilities is: ranking, calibration and events, per side and horizon, beside the base rate."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from training.labels import episodes

ENOUGH_EPISODES = 50
"""Below this many separate events a figure is *inconclusive*, whatever its interval says."""


def metrics(ts_ns: np.ndarray, truth: np.ndarray, probability: np.ndarray, base_rate: np.ndarray) -> dict[str, float]:
    """Figures of one side and horizon over rows that have a probability.

    `base_rate` is what the training part of each row's block held: the climatology that skill is measured against. AP
    and AUC are NaN without both classes. Keys are few and fixed, so that old runs stay comparable in the tracker.
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


def reliability(
    truth: np.ndarray, probability: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prediction, observed frequency and count in at most `bins` bins of like size.

    Equal predictions stay together, so there may be fewer bins. Rows whose prediction is NaN are left out.

    >>> truth, probability = np.array([0, 1, 0, 1]), np.array([0.1, 0.1, 0.5, 0.75])
    >>> [part.tolist() for part in reliability(truth, probability, bins=2)]
    [[0.1, 0.625], [0.5, 0.5], [2, 2]]
    """
    said = np.isfinite(probability)
    truth, probability = truth[said].astype(float), probability[said].astype(float)
    borders = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)))[1:-1] if probability.size else []
    place = np.searchsorted(borders, probability, side="left")
    groups = [place == group for group in np.unique(place)]
    predicted = np.array([probability[group].mean() for group in groups])
    observed = np.array([truth[group].mean() for group in groups])
    return predicted, observed, np.array([int(group.sum()) for group in groups])


def calibration_error(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean distance of prediction and outcome over bins of equal mass (expected calibration error)."""
    predicted, observed, count = reliability(truth, probability)
    return float(np.sum(count * np.abs(predicted - observed)) / count.sum())


def recalibration(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of truth on the logit; 1 and 0 when calibrated, NaN for a
    constant.
    """
    if np.ptp(probability) < 1e-9:
        return np.nan, np.nan
    p = _inside(probability)
    line = LogisticRegression(C=1e6, max_iter=1000).fit(np.log(p / (1 - p))[:, None], truth)
    return float(line.coef_[0, 0]), float(line.intercept_[0])


def _inside(probability: np.ndarray) -> np.ndarray:
    return np.clip(probability, 1e-6, 1 - 1e-6)


def ap_gain(
    truth: np.ndarray, p: np.ndarray, q: np.ndarray, days: np.ndarray, draws: int = 500, seed: int = 7
) -> tuple[float, float, float]:
    """AP(p) - AP(q) on the same rows: as observed, and a 95 % interval over runs of three days drawn with
    replacement.
    """
    if not truth.any() or truth.all():
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(seed)
    runs = np.unique(days, return_inverse=True)[1] // 3
    groups = [np.flatnonzero(runs == g) for g in np.unique(runs)]
    found = []
    for _ in range(draws):
        rows = np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
        if truth[rows].any():
            found.append(_ap_difference(truth[rows], p[rows], q[rows]))
    low, high = np.percentile(found, [2.5, 97.5])
    return _ap_difference(truth, p, q), float(low), float(high)


def _ap_difference(truth: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    return float(average_precision_score(truth, p) - average_precision_score(truth, q))
