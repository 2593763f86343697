"""How good a set of probabilities is: ranking, calibration and events, per side and horizon, beside the base rate.

Also by market regime, fixed before any score was seen: volatility is that of the last hour (`volatility_60m`, domain.md
§5.5), trend the return of the last four hours in its own standard deviations (`return_240m`, §6.1), or the nearest
window that a spec has. Trend is oriented per side: low is a price that runs toward the side's danger, high one that
runs away. Tercile borders are those of the training rows of each block.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from squeeze.outcomes.rows import episodes
from training.evaluation.bootstrap import ENOUGH_EPISODES, draw_runs, interval, rankings_per_draw

__all__ = [
    "ENOUGH_EPISODES", "REGIMES", "TERCILES", "ap_gain", "calibration_error", "metrics", "recalibration",
    "regime_scalar", "reliability", "tercile", "why_no_ranking",
]  # fmt: skip

REGIMES = {"volatility": ("volatility_", 60.0), "trend": ("return_", 240.0)}
"""By regime: the family of scalars, and the window in minutes that is wanted of it."""
TERCILES = {
    "volatility": ("calm", "middle", "wild"),
    "trend": ("toward danger", "flat", "away from danger"),
}
"""By regime: what its terciles are called, from the lowest."""


def metrics(ts_ns: np.ndarray, truth: np.ndarray, probability: np.ndarray, base_rate: np.ndarray) -> dict[str, float]:
    """Figures of one side and horizon over rows that have a probability.

    `base_rate` is what the training part of each row's block held: the climatology that skill is measured against. AP
    and AUC are NaN without both classes (`why_no_ranking` says which is missing), everything but the counts without
    rows. Keys are few and fixed, so that old runs stay comparable in the tracker.
    """
    if not len(truth):
        return dict.fromkeys(FIGURES, np.nan) | {"episodes": 0.0}
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


FIGURES = ("ap", "auc", "brier_skill", "log_loss", "ece", "slope", "intercept", "base_rate", "episodes")


def why_no_ranking(truth: np.ndarray, probability: np.ndarray) -> str | None:
    """Why AP and AUC do not exist or say nothing over rows with a probability; None where they do.

    >>> why_no_ranking(np.array([False, False]), np.array([0.1, 0.2]))
    'none of 2 rows is positive'
    """
    if not len(truth):
        return "no row has a probability: the model abstained on all"
    if not truth.any():
        return f"none of {len(truth)} rows is positive"
    if truth.all():
        return f"all {len(truth)} rows are positive"
    return "the probability is constant: it ranks nothing" if np.ptp(probability) == 0 else None


def regime_scalar(names: Sequence[str], regime: str) -> str:
    """The scalar a regime is cut by: of its family the one whose window is nearest to the wanted, the shorter of two.

    >>> regime_scalar(["volatility_15m", "volatility_120m", "return_15m"], "volatility")
    'volatility_15m'
    """
    family, wanted = REGIMES[regime]
    windows = {name: float(name.removeprefix(family).removesuffix("m")) for name in names if name.startswith(family)}
    return min(windows, key=lambda name: (abs(windows[name] - wanted), windows[name]))


def tercile(values: np.ndarray, training: np.ndarray) -> np.ndarray:
    """0, 1 or 2 for the third of the training values that each value falls in; -1 for NaN, or without training values.

    >>> tercile(np.array([0.0, 3.0, 9.0, np.nan]), np.arange(7.0)).tolist()
    [0, 1, 2, -1]
    """
    known = training[np.isfinite(training)]
    if not len(known):
        return np.full(len(values), -1)
    return np.where(np.isfinite(values), np.searchsorted(np.quantile(known, [1 / 3, 2 / 3]), values, "right"), -1)


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
    spread = np.quantile(probability, np.linspace(0, 1, bins + 1)) if probability.size else probability
    borders = np.unique(spread)[1:-1]
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
    constant and where no line is best: the classes lie apart.
    """
    if np.ptp(probability) < 1e-9:
        return np.nan, np.nan
    p = _inside(probability)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            line = LogisticRegression(C=1e6, max_iter=1000).fit(np.log(p / (1 - p))[:, None], truth)
        except ConvergenceWarning:
            return np.nan, np.nan
    return float(line.coef_[0, 0]), float(line.intercept_[0])


def _inside(probability: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(probability, 1e-6, 1 - 1e-6))


def ap_gain(
    truth: np.ndarray, p: np.ndarray, q: np.ndarray, days: np.ndarray, draws: int = 2000, seed: int = 7
) -> tuple[float, float, float]:
    """AP(p) - AP(q) on the same rows: as observed, and a 95 % interval over runs of three days drawn with
    replacement.
    """
    found = draw_runs(days, draws, seed)
    gain = interval(rankings_per_draw(truth, p, found)["ap"] - rankings_per_draw(truth, q, found)["ap"])
    return gain.observed, gain.low, gain.high
