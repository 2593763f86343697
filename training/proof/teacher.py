"""A boosted teacher of the label: what gradient boosting on all scalars says of each training world, from the others.

A network of this size learns hundreds of scalars of a dozen worlds by heart sooner than trees do; told what trees make
of them, it does so later. Nobody teaches a world that it was fitted to.
"""

import lightgbm
import numpy as np

from training.pretraining.boosting import trees
from training.proof.worlds import World
from training.recipe import BoostingSpec, PretrainSpec

FOLDS = 3
"""Worlds are dealt to so many folds; of each fold the teacher is fitted to the others."""
EVERY = 3
"""It is fitted to every third row: neighbours tell the same."""


def taught(
    worlds: list[World], scalars: list[int], pretrain: PretrainSpec, spec: BoostingSpec, seed: int
) -> list[np.ndarray]:
    """By world: scores (step, side, score) as `SequenceData` takes them, NaN where a step shows nothing.

    Of each horizon the last score is the logit of the label, from these scalars (by position); the proxies are not
    taught, and are 0, so they have to weigh nothing in the loss. One world alone teaches itself.
    """
    found: list[np.ndarray] = [np.zeros(0)] * len(worlds)
    folds = min(FOLDS, len(worlds))
    for fold in range(folds):
        others = [world for at, world in enumerate(worlds) if at % folds != fold or folds == 1]
        models = fitted(others, scalars, spec, seed)
        for at in range(fold, len(worlds), folds):
            found[at] = said(models, worlds[at], scalars, pretrain.scores_per_horizon)
    return found


def fitted(worlds: list[World], scalars: list[int], spec: BoostingSpec, seed: int) -> list[lightgbm.Booster]:
    """A model of each horizon's label, both sides pooled."""
    at = [world.usable[::EVERY] for world in worlds]
    rows = [
        w.examples.scalars[w.positions[a]][:, :, scalars].reshape(-1, len(scalars))
        for w, a in zip(worlds, at, strict=True)
    ]
    truth = np.concatenate([w.rows.truth[a] for w, a in zip(worlds, at, strict=True)])
    inputs = np.concatenate(rows)
    targets = [truth[:, :, horizon].reshape(-1).astype(float) for horizon in range(truth.shape[2])]
    return [trees(inputs, target, spec, seed, "binary") for target in targets]


def said(models: list[lightgbm.Booster], world: World, scalars: list[int], scores: int) -> np.ndarray:
    """What the models say of every step of a world that shows anything."""
    examples = world.examples
    seen = np.flatnonzero(examples.seen)
    out = np.full((len(examples.closes_ns), 2, len(models), scores), np.nan, np.float32)
    out[seen] = 0.0
    for side in range(2):
        rows = np.asarray(examples.scalars[seen, side])[:, scalars]
        for horizon, model in enumerate(models):
            out[seen, side, horizon, -1] = model.predict(rows, raw_score=True)
    return out.reshape(len(out), 2, -1)
