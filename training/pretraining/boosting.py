"""The boosted family of pre-trained scores: one LightGBM model for each proxy target, on the scalars of one frame.

It is trained on the same targets, series and cut as the network and gives the same scores, so that the two compare and
average. It has no memory: the scalars carry their own. Both sides are pooled, as everywhere.
"""

from typing import Any, Literal

import lightgbm
import numpy as np

from training.examples import Examples, Progress, silent
from training.pretraining.data import Sequence, SequenceData
from training.recipe import BoostingSpec


class BoostedScores:
    """A fitted family: `over` gives the scores of every step of a series."""

    def __init__(self, models: list[lightgbm.Booster], said: dict[str, Any]) -> None:
        self.models = models
        self.said = said
        """`tail_cross_entropy`: of the exceedances, on the validation tail."""

    def over(self, examples: Examples) -> np.ndarray:
        """(step, side, score): logits of the exceedances and the graded targets; NaN where a step shows nothing."""
        out = np.full((len(examples.closes_ns), 2, len(self.models)), np.nan, np.float32)
        seen = np.flatnonzero(examples.seen)
        for side in range(2):
            rows = np.asarray(examples.scalars[seen, side], np.float32)
            for score, model in enumerate(self.models):
                out[seen, side, score] = model.predict(rows, raw_score=True)
        return out


def boost(data: SequenceData, spec: BoostingSpec, seed: int, progress: Progress = silent) -> BoostedScores:
    """Fit every target on the training lanes of `data`; its tail is only looked at for `said`."""
    rows, exceeds, graded = _rows(data.train_sequences, spec.most_rows)
    tail, tail_exceeds, _ = _rows(data.tail_sequences, spec.most_rows)
    models, losses = [], []
    targets = _targets(exceeds, graded)
    checks = _targets(tail_exceeds, np.zeros((len(tail_exceeds), *graded.shape[1:])))
    for score, ((target, is_rate), (check, _)) in enumerate(zip(targets, checks, strict=True)):
        model = trees(rows, target, spec, seed, objective="binary" if is_rate else "regression")
        models.append(model)
        if is_rate:
            raw = np.asarray(model.predict(tail, raw_score=True))
            losses.append(float(np.mean(np.logaddexp(0.0, raw) - check * raw)))
        progress("boosting", score + 1, len(targets))
    return BoostedScores(models, {"tail_cross_entropy": float(np.mean(losses)), "rows": len(rows)})


def trees(
    rows: np.ndarray, target: np.ndarray, spec: BoostingSpec, seed: int, objective: Literal["binary", "regression"]
) -> lightgbm.Booster:
    """LightGBM fitted to inputs (row, input) and a target (row,), on one thread and repeatable."""
    settings = {
        "objective": objective,
        "learning_rate": spec.learning_rate,
        "num_leaves": spec.leaves,
        "min_data_in_leaf": spec.least_leaf,
        "feature_fraction": spec.scalar_share,
        "bagging_fraction": spec.row_share,
        "bagging_freq": 1,
        "lambda_l2": spec.l2,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(rows, target), spec.rounds)


def _targets(exceeds: np.ndarray, graded: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """(row,) of each score in the network's order, and whether it is a rate: by horizon, exceedances, then graded."""
    found = []
    for horizon in range(exceeds.shape[1]):
        # Copies: LightGBM warns of a target that is a slice of something larger.
        found += [(exceeds[:, horizon, q].copy(), True) for q in range(exceeds.shape[2])]
        found += [(graded[:, horizon, g].copy(), False) for g in range(graded.shape[2])]
    return found


def _rows(sequences: list[Sequence], most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scalars and targets of the known steps, both sides; thinned evenly to about `most` rows of all series."""
    known = [s.positions[s.targets.known[s.positions]] for s in sequences]
    stride = max(1, 2 * sum(map(len, known)) // most)
    picked = [at[::stride] for at in known]
    parts = (
        (s.examples.scalars[at].astype(np.float32), s.targets.exceeds[at], s.targets.graded[at])
        for s, at in zip(sequences, picked, strict=True)
    )
    return tuple(np.concatenate([a.reshape(-1, *a.shape[2:]) for a in column]) for column in zip(*parts, strict=True))  # type: ignore[return-value]
