"""What the fit of leverage weights is made of: recorded steps as rows, checked, and refused where there are too few."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from squeeze.errors import DataError
from squeeze.heatmaps.tweedie import Problem
from squeeze.market.events import DAY_NS
from squeeze.strict import Strict, require

Swept = Float[np.ndarray, "step side bucket"]
"""Unit-weight mass each step's mark range went through, in base coins or as a share of open interest."""

Observed = Float[np.ndarray, "step side"]
"""Liquidated in each step, in the unit of `Swept`; NaN where it was not recorded."""

Regressors = Float[np.ndarray, "step side regressor"]
"""What else liquidations rise with, none negative: volatility times open interest, say."""

FLOOR = 1e-12
"""A parameter stays above this share of its starting value: a product could never leave zero again."""


class FitSpec(Strict, frozen=True, kw_only=True):
    """The model, when to stop, and how little is too little."""

    power: float = 1.5
    """p of the variance, from 1 (Poisson) to below 2 (gamma)."""
    prior_strength: float = 0.1
    """n0: α is this times the median of the buckets' pull `Σ_t swept · μ^(1-p)` at the start; 0 for no prior."""
    tolerance: float = 1e-6
    """Stop when an update changes no weight by more than this share of their sum, no background by more than this
    share of its value and a thousandth of its start."""
    most_updates: int = 5000
    """... or after this many; then `converged` is false."""
    least_liquidations: int = 50
    """Recorded steps (each side counts) with a liquidation."""
    least_days: int = 3
    """UTC days with a recorded step."""
    least_sweeps: float = 30.0
    """Effective number of recorded steps with sweeps, in the bucket that has most."""
    least_swept: float = 0.0
    """Unit mass swept over all recorded steps, mean over buckets, must exceed this; in the unit of `swept`."""
    block_days: int = 1
    """Days that the bootstrap keeps together."""

    def __post_init__(self) -> None:
        require(1 <= self.power < 2, "power lies between 1 and 2")
        require(self.prior_strength >= 0 and self.tolerance > 0, "prior_strength is not negative, tolerance positive")
        require(self.most_updates > 0 and self.block_days > 0, "most_updates and block_days are positive")


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the report needs of the rows before they were put together."""

    design: Float[np.ndarray, "row parameter"]
    amount: Float[np.ndarray, " row"]
    days: int
    sweeps: Float[np.ndarray, " bucket"]


def gather(
    swept: np.ndarray,
    observed: np.ndarray,
    close_ns: np.ndarray,
    prior: np.ndarray,
    share: float | None,
    regressors: np.ndarray | None,
    spec: FitSpec,
) -> tuple[Problem, Facts]:
    """Rows that were recorded, checked, with prior and start."""
    buckets = swept.shape[2]
    if prior.size != buckets or not (prior >= 0).all() or not 0 < prior.sum() <= 1:
        raise DataError(f"prior: expected {buckets} weights, none negative, of a sum in (0, 1], got {prior.tolist()}")
    if share is not None and not 0 < share <= 1:
        raise DataError(f"share: expected a part in (0, 1], or None, got {share}")
    if share is None and not spec.prior_strength:
        # Measured on the simulator: a bucket swept once took a level of 1e16.
        raise DataError("share: with none known the level needs a prior_strength above 0")
    extra = np.empty((*observed.shape, 0)) if regressors is None else regressors
    recorded = ~np.isnan(observed)
    amount, mass, more = observed[recorded], swept[recorded], extra[recorded]
    _check(amount, mass, more)
    day = np.broadcast_to(((close_ns - 1) // DAY_NS)[:, None], observed.shape)[recorded]
    facts = Facts(
        np.concatenate([mass * (share or 1.0), np.ones((len(mass), 1)), more], axis=1),
        amount,
        len(np.unique(day)),
        np.divide(mass.sum(axis=0) ** 2, (mass**2).sum(axis=0), out=np.zeros(buckets), where=mass.any(axis=0)),
    )
    _enough(facts, mass, spec)
    block = np.unique((day - day.min()) // spec.block_days, return_inverse=True)[1].astype(np.int64)
    design, amount, count, block = _together(facts.design, amount, block, mass.any(axis=1) | bool(more.shape[1]))
    start = _start(facts, prior, share is None)
    mu = design @ start
    data = (count * mu ** (1 - spec.power)) @ design[:, :buckets]
    level = start[:buckets].sum() / prior.sum() if share is None else 1.0
    alpha = spec.prior_strength * float(np.median(data[data > 0])) * level
    least = FLOOR * start
    return Problem(design, amount, count, block, prior, alpha, share is None, start, least, spec.power), facts


def _check(amount: np.ndarray, mass: np.ndarray, more: np.ndarray) -> None:
    """Raise `DataError` for recorded rows that hold what cannot be."""
    if not amount.size:
        raise DataError("observed: no step was recorded, all amounts are NaN")
    for name, values in (("observed", amount), ("swept", mass), ("regressors", more)):
        bad = ~((values >= 0) & (values < math.inf))
        if bad.any():
            raise DataError(
                f"{name}: {int(bad.sum())} of {values.size} recorded values are negative or not finite,"
                f" the first {values[bad][0]}"
            )


def _enough(facts: Facts, mass: np.ndarray, spec: FitSpec) -> None:
    """Raise `DataError`, with every count, if any is too low."""
    liquidations, sweeps = int((facts.amount > 0).sum()), float(facts.sweeps.max())
    swept = float(mass.sum()) / mass.shape[1]
    few = (
        liquidations < spec.least_liquidations
        or facts.days < spec.least_days
        or sweeps < spec.least_sweeps
        or not swept > spec.least_swept
        or liquidations == 0
    )
    if few:
        raise DataError(
            f"too little to fit weights: {liquidations} steps with a liquidation (at least {spec.least_liquidations}),"
            f" {facts.days} days ({spec.least_days}), {sweeps:.1f} effective steps with sweeps ({spec.least_sweeps:g}),"
            f" unit mass swept {swept:.6g} (over {spec.least_swept:g}), of {facts.amount.size} recorded"
        )


def _together(
    design: np.ndarray, amount: np.ndarray, block: np.ndarray, apart: Bool[np.ndarray, " row"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Put a block's rows without sweeps or regressors into one, of their mean amount: exact, and most rows are such."""
    quiet = np.bincount(block[~apart], minlength=int(block.max()) + 1)
    held = np.flatnonzero(quiet)
    means = np.bincount(block[~apart], amount[~apart], quiet.size)[held] / quiet[held]
    nothing = np.zeros((held.size, design.shape[1]))
    nothing[:, -1] = 1.0  # the constant: with regressors every row is apart
    rows = np.concatenate([design[apart], nothing])
    count = np.concatenate([np.ones(int(apart.sum())), quiet[held].astype(np.float64)])
    return rows, np.concatenate([amount[apart], means]), count, np.concatenate([block[apart], held])


def _start(facts: Facts, prior: np.ndarray, mix_only: bool) -> np.ndarray:
    """The prior, and a tenth of what was observed as background; with no known share, on the level of the rest."""
    buckets, total = prior.size, facts.amount.sum()
    weights = np.maximum(prior, 1e-3 * prior.sum())
    weights *= prior.sum() / weights.sum()
    sums = facts.design.sum(axis=0)
    if mix_only:
        weights *= 0.9 * total / (sums[:buckets] @ weights)
    background = 0.1 * total / sums[buckets:].size / np.where(sums[buckets:] > 0, sums[buckets:], 1.0)
    return np.concatenate([weights, background])
