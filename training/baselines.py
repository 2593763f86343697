"""What a model must beat, on the same rows and blocks: climatology and scalar models that know no heatmap."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.splits import Block
from training.walk import Prepared

VOLATILITY = ("volatility_", "parkinson_", "range_")
EXTREMES = (*VOLATILITY, "to_extreme_", "from_extreme_", "fresh_extreme_")
MAP = ("mass_", "expected_sweep", "asymmetry", "own_swept_", "other_swept_", "zone")


def _linear() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def _boosting() -> Any:
    return HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.03,
        max_leaf_nodes=8,
        min_samples_leaf=40,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    )


BASELINES: dict[str, tuple[Callable[[], Any] | None, Callable[[str], bool]]] = {
    "climatology": (None, lambda name: False),
    "volatility": (_linear, lambda name: name.startswith(VOLATILITY)),
    "extremes": (_linear, lambda name: name.startswith(EXTREMES)),
    "boosting": (_boosting, lambda name: not name.startswith(MAP)),
}
"""Each with the scalars it sees: `extremes` adds distances to past and fresh extremes, `boosting` all scalars but the
map's.
"""


def predict(prepared: Prepared, block: Block, name: str) -> np.ndarray:
    """One baseline's probabilities on a block's rows, (row, side, horizon), each side and horizon fitted apart; NaN
    without a frame.
    """
    make, sees = BASELINES[name]
    ts, truth, at = prepared.rows.ts_ns, prepared.rows.truth, prepared.positions
    train, test = np.flatnonzero(block.trains(ts) & (at >= 0)), np.flatnonzero(block.tests(ts))
    known = at[test] >= 0
    out = np.full((len(test), *truth.shape[1:]), np.nan, np.float32)
    scalars = prepared.own.scalars
    columns = [
        i for i, n in enumerate(prepared.own.scalar_names) if sees(n) and np.isfinite(scalars[at[train], 0, i]).any()
    ]
    for side in range(2):
        for horizon in range(truth.shape[2]):
            y = truth[train, side, horizon]
            if make is None or y.all() or not y.any() or not known.any():
                out[known, side, horizon] = y.mean()
                continue
            x, z = (_filled(scalars[at[rows], side][:, columns], name) for rows in (train, test[known]))
            out[known, side, horizon] = make().fit(x, y).predict_proba(z)[:, 1]
    return out


def _filled(x: np.ndarray, name: str) -> np.ndarray:
    """Boosting knows NaN; the linear models get zeros."""
    return x if name == "boosting" else np.nan_to_num(x)
