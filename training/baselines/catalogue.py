"""What a model must beat, on the same rows and blocks (domain.md §5.8).

    climatology   the base rate of the training rows by hour of the week (`training.baselines.climatology`)
    volatility    logistic on volatility and range
    extremes      the same with distances to past and fresh extremes
    hawkes        logistic on a self-exciting intensity of recorded liquidations (`training.baselines.hawkes`)
    boosting      gradient boosting on all scalars but those read off a map of levels
    boosting_map  gradient boosting on all scalars
    rule          a trader's rule, "stacked zones ahead, price approaching with momentum" (`training.baselines.rules`)

Each is fitted per block and horizon on the block's training rows, and given what the network's head is given: both
sides pooled, twice the rows, since features are oriented, with the side as one more input. Then it is calibrated: a
Platt line is fitted to its logits on later training rows than those it was fitted on, purged as blocks are. Only
climatology, which is made of rates, has none. The network's head has such a line where `head.calibration` says so; by
default it has none.
The numbers of the Hawkes intensity are fitted once on all that was known by the end of training.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from squeeze.errors import DataError
from squeeze.market.lake import Lake
from training import groups
from training.baselines import climatology, hawkes, rules
from training.calibration.platt import fit_platt
from training.config import SplitSpec
from training.prepare import Prepared
from training.splits import Block, blocks

VOLATILITY = ("volatility_", "parkinson_", "range_")
EXTREMES = (*VOLATILITY, "to_extreme_", "from_extreme_", "fresh_extreme_")
LEVELS = frozenset({groups.MAP, groups.STOPS, groups.PATTERNS})
"""Groups of scalars that are read off a map of levels ahead: liquidations, stops, and the patterns found in them."""
FOLDS = 2
"""Expanding folds over the last half of the training rows, for calibration."""


class Baseline(NamedTuple):
    """How a baseline is fitted and what it sees."""

    make: Callable[[], Any] | None
    """A fresh scikit-learn classifier; None for base rates."""
    sees: Callable[[str], bool]
    """Which scalars; `hawkes` takes them only where no lake is given, `rule` picks its own."""
    knows_nan: bool = False


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


BASELINES: dict[str, Baseline] = {
    "climatology": Baseline(None, lambda name: False),
    "volatility": Baseline(_linear, lambda name: name.startswith(VOLATILITY)),
    "extremes": Baseline(_linear, lambda name: name.startswith(EXTREMES)),
    "hawkes": Baseline(_linear, lambda name: groups.scalar_group(name) == groups.LIQUIDATIONS),
    "boosting": Baseline(_boosting, lambda name: groups.scalar_group(name) not in LEVELS, knows_nan=True),
    "boosting_map": Baseline(_boosting, lambda name: True, knows_nan=True),
    "rule": Baseline(_linear, lambda name: False),
}


def predict(prepared: Prepared, block: Block, name: str, lake: Lake | None = None) -> np.ndarray:
    """One baseline's probabilities on a block's rows, (row, side, horizon); NaN without a frame.

    Without a `lake`, or with too few liquidations in it, `hawkes` is a logistic on the liquidation scalars: the same
    exponential memories, with the spec's half-lives in place of a fitted one. A horizon whose training rows are all
    alike gets their base rate; a baseline with nothing to see gets each side's.
    """
    ts, truth, at = prepared.rows.ts_ns, prepared.rows.truth, prepared.positions
    train, test = np.flatnonzero(block.trains(ts) & (at >= 0)), np.flatnonzero(block.tests(ts))
    known = at[test] >= 0
    out = np.full((len(test), *truth.shape[1:]), np.nan, np.float32)
    if not len(train):
        raise DataError(f"baseline {name}, block {block.index}: no training row has a frame")
    if not known.any():
        return out
    if BASELINES[name].make is None:
        rates = climatology.rates(ts[train], truth[train], prepared.config.spec.label.every_minutes)
        out[known] = rates[climatology.hour_of_week(ts[test[known]])]
        return out
    seen = inputs(prepared, block, name, np.concatenate([train, test[known]]), len(train), lake)
    if not seen.shape[2]:
        out[known] = truth[train].mean(axis=0)
        return out
    x, folds = _with_side(seen), _folds(prepared, ts[train])
    for horizon in range(truth.shape[2]):
        y = truth[train, :, horizon]
        out[known, :, horizon] = _calibrated(BASELINES[name], x[: len(train)], y, folds, x[len(train) :])
    return out


def inputs(
    prepared: Prepared, block: Block, name: str, rows: np.ndarray, trained: int, lake: Lake | None
) -> np.ndarray:
    """What a baseline sees of rows, (row, side, input); the first `trained` of them are training rows.

    A scalar that no training row has is left out.
    """
    own, baseline = prepared.own, BASELINES[name]
    scalars = own.scalars[prepared.positions[rows]]
    if name == "rule":
        return rules.stacked_and_approaching(scalars, own.scalar_names, prepared.config.spec)[:, :, None]
    if name == "hawkes" and lake is not None and prepared.config.spec.market.liquidations is not None:
        found = hawkes.recorded(lake, prepared.config.spec)
        known = found.known_by(block.train_until_ns)
        if len(known.usd) >= hawkes.LEAST_EVENTS:
            return hawkes.log_intensity(found, hawkes.fit(known), prepared.rows.ts_ns[rows])
    ever = np.isfinite(scalars[:trained]).any(axis=(0, 1))
    picked = [i for i, scalar in enumerate(own.scalar_names) if baseline.sees(scalar) and ever[i]]
    return scalars[:, :, picked]


def _with_side(seen: np.ndarray) -> np.ndarray:
    """Inputs (row, side, input) with the side, 0 or 1, as one more."""
    side = np.broadcast_to(np.array([[[0.0], [1.0]]], seen.dtype), (*seen.shape[:2], 1))
    return np.concatenate([seen, side], axis=2)


def _calibrated(
    baseline: Baseline, x: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], z: np.ndarray
) -> np.ndarray:
    """Probabilities (row, side) on rows `z` of a model fitted on rows `x` and calibrated out of fold within them; the
    inputs are (row, side, input), and both sides are fitted as one.
    """
    if not _both(y):
        return np.full(z.shape[:2], y.mean())
    if not baseline.knows_nan:
        x, z = np.nan_to_num(x), np.nan_to_num(z)
    logit = _fitted(baseline, x, y)(z)
    told = [(_fitted(baseline, x[past], y[past])(x[later]), y[later]) for past, later in folds if _both(y[past])]
    logits, truth = (np.concatenate(parts).reshape(-1) for parts in zip(*told, strict=True)) if told else (y[:0],) * 2
    return fit_platt(logits, truth).apply(logit) if _both(truth) else 1 / (1 + np.exp(-logit))


def _fitted(baseline: Baseline, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Logits (row, side) of rows, from a model of both sides' rows together."""
    assert baseline.make is not None  # noqa: S101 - narrows the type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly separable: the penalty decides, the line is usable
        model = baseline.make().fit(_flat(x), y.reshape(-1))
    return lambda rows: np.asarray(model.decision_function(_flat(rows))).reshape(rows.shape[:2])


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[2])


def _both(truth: np.ndarray) -> bool:
    return bool(truth.any() and not truth.all())


def _folds(prepared: Prepared, ts_ns: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Earlier and later training rows, as positions; none where they are too few to cut."""
    splits = SplitSpec(blocks=FOLDS, test_share=0.5, purge_minutes=prepared.config.splits.purge_minutes)
    try:
        found = blocks(ts_ns, prepared.config.spec.label, splits)
    except DataError:
        return []
    return [(np.flatnonzero(b.trains(ts_ns)), np.flatnonzero(b.tests(ts_ns))) for b in found]
