"""Leverage weights, and a background, fitted to what was seen liquidated (domain.md §3.6).

The map is linear in its weights: run once with unit weights, what each step's mark range went through is a design
matrix. Observed amounts are compound Poisson–gamma about `μ = share · Σ_k w_k · swept_k + β_0 + Σ_r β_r · x_r` (see
`tweedie`). Weights lie on a simplex with a null share, `w >= 0` and `Σ w <= 1`.

The prior is `α · Σ_k (w_k - w0_k · log w_k)`, least at w0. Its α is a share of the data's own pull, so it does *not*
fade with more data: it shrinks for good, and what decides between buckets that look alike stays the prior.

On one venue that reports an unknown share of its liquidations only `share · w` is identified. Then α holds the mix
alone (`α · Σ_k w0_k · log(Σ_j w_j / w_k)`, which no scale changes), the weights are put at `Σ w = Σ w0`, a convention,
and `share` takes up the rest, a difference of units included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from squeeze.arrays import StepTimes
from squeeze.errors import DataError
from squeeze.heatmaps.tweedie import Problem, Weights, data_share, solve, tweedie_deviance
from squeeze.heatmaps.weight_rows import Facts, FitSpec, Observed, Regressors, Swept, gather

__all__ = [
    "BlockFit", "FitSpec", "FixedPoint", "Observed", "Regressors", "Swept", "WeightFit", "Weights", "fit", "fit_blocks",
    "fixed_point", "tweedie_deviance",
]  # fmt: skip

SPOKEN = 0.5
"""Below this share of its curvature from data, a weight is the prior's more than the market's."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightFit:
    """Weights, and how far to trust them."""

    weights: Weights
    prior: Weights
    share: float
    """θ: what part of liquidations the venue reports. Given, or if not known what `Σ w = Σ prior` leaves."""
    share_known: bool
    background: Float[np.ndarray, " background"]
    """β: a constant per step and side, then one per regressor."""
    iterations: int
    """Multiplicative updates made, those that were tried and dropped included."""
    converged: bool
    objective: Float[np.ndarray, " round"]
    """Half the deviance (up to a constant) plus prior, by round; it never rises."""
    deviance: float
    """Mean Tweedie deviance of the rows used."""
    null_deviance: float
    """... with their mean amount expected everywhere."""
    dispersion: float
    """φ, from Pearson's residuals: variance = φ · μ^p."""
    rows: int
    """Recorded steps, each side counting."""
    liquidations: int
    """Those with a liquidation."""
    days: int
    sweeps: Float[np.ndarray, " bucket"]
    """Effective number of steps with sweeps, `(Σ swept)² / Σ swept²`: one giant step counts as one."""
    information: Float[np.ndarray, " bucket"]
    """Fisher information on each weight as if all else were known: `Σ (share · swept)² / (φ · μ^p)`."""
    data_share: Float[np.ndarray, " bucket"]
    """Share of each weight's curvature that is data's and not the prior's, all else unknown; NaN where neither speaks.
    Without a prior it is 1 however little the data says."""
    standard_errors: Float[np.ndarray, " bucket"] | None = None
    """By bootstrap over blocks of days; None if not asked for. The prior's bias is not in them: a weight that the prior
    holds has an error near zero and may yet be wrong, see `unspoken`."""
    level_error: float | None = None
    """The same for `level`."""

    @property
    def mix(self) -> Weights:
        """Weights as shares of their sum: all that is identified of them when `share` is not known."""
        return np.asarray(self.weights / self.weights.sum())

    @property
    def level(self) -> float:
        """`share · Σ w`, identified either way, as far as each bucket is swept at all."""
        return self.share * float(self.weights.sum())

    @property
    def from_prior(self) -> Weights:
        """How far each weight went from the prior."""
        return np.asarray(self.weights - self.prior)

    @property
    def unspoken(self) -> tuple[int, ...]:
        """Buckets that the data hardly spoke about: what stands there is mostly the prior."""
        return tuple(int(bucket) for bucket in np.flatnonzero(~(self.data_share >= SPOKEN)))

    def expected(self, swept: Swept, regressors: Regressors | None = None) -> Observed:
        """μ of steps, fitted or new, in the unit of `swept`; compare with `tweedie_deviance`."""
        mean = self.share * (swept @ self.weights) + self.background[0]
        return np.asarray(mean if regressors is None else mean + regressors @ self.background[1:])


@dataclass(frozen=True, slots=True)
class BlockFit:
    """The weights that may be used from `cut_ns` on."""

    cut_ns: int
    last_ns: int
    """Close of the newest step that was used."""
    fit: WeightFit


@dataclass(frozen=True, slots=True, eq=False)
class FixedPoint:
    """Weights under which the map was folded and which were fitted to it: the same, up to the last change."""

    fit: WeightFit
    changes: tuple[float, ...]
    """Largest change of a weight, by round."""
    converged: bool


def fit(
    swept: Swept,
    observed: Observed,
    close_ns: StepTimes,
    prior: Sequence[float],
    *,
    share: float | None = 1.0,
    regressors: Regressors | None = None,
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
    draws: int = 0,
    seed: int = 0,
) -> WeightFit:
    """The most probable weights; deterministic.

    `share` is the reported part of liquidations: 1 on a complete venue, None where it is not known (see the module).
    Steps whose amount is NaN count for nothing, whatever else stands in them. `draws` bootstrap samples of days give
    standard errors. Looks at every row given: for walk-forward use see `fit_blocks`. Raises `DataError` on too little,
    or on amounts that cannot be.
    """
    start = np.array(prior, dtype=np.float64)
    problem, facts = gather(swept, observed, close_ns, start, share, regressors, spec)
    params, trail, updates, converged = solve(problem, problem.start, spec.tolerance, spec.most_updates)
    found = _report(problem, facts, params, start, share)
    found = replace(found, iterations=updates, converged=converged, objective=np.array(trail))
    if not draws:
        return found
    if draws < 2:
        raise DataError(f"draws: a standard error needs 2 or more, got {draws}")
    rng, blocks = np.random.default_rng(seed), int(problem.block.max()) + 1
    samples = np.empty((draws, start.size + 1))
    for draw in range(draws):
        times = np.bincount(rng.integers(0, blocks, blocks), minlength=blocks)
        drawn = replace(problem, count=problem.count * times[problem.block])
        begin = np.maximum(params, 1e-3 * problem.start)
        weights, theta = problem.split(solve(drawn, begin, spec.tolerance, spec.most_updates)[0])
        samples[draw] = *weights, theta * weights.sum()
    errors = samples.std(axis=0, ddof=1)
    return replace(found, standard_errors=errors[:-1], level_error=float(errors[-1]))


def fit_blocks(
    swept: Swept,
    observed: Observed,
    close_ns: StepTimes,
    prior: Sequence[float],
    cuts_ns: Sequence[int],
    *,
    known_ns: StepTimes | None = None,
    purge_ns: int = 0,
    share: float | None = 1.0,
    regressors: Regressors | None = None,
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
    draws: int = 0,
    seed: int = 0,
) -> list[BlockFit]:
    """A fit for each walk-forward block, from what was known `purge_ns` before its cut; training windows only grow.

    A step is used if its amount was known (`known_ns`; its close, if not given) at `cut - purge_ns` or before. The cut
    is the first instant of the block; a purge of 0 uses all that was known then. No later row is looked at. Raises
    `DataError` naming the cut for the first block with too little.

    >>> day, rng = 86_400 * 10**9, np.random.default_rng(0)
    >>> swept = rng.exponential(size=(400, 2, 1))
    >>> blocks = fit_blocks(swept, 0.3 * swept[..., 0], np.arange(400) * day // 20, [0.1], [10 * day, 20 * day])
    >>> [(block.cut_ns // day, block.last_ns // day, round(float(block.fit.weights[0]), 1)) for block in blocks]
    [(10, 10, 0.3), (20, 19, 0.3)]
    """
    known = close_ns if known_ns is None else known_ns
    found = []
    for cut in cuts_ns:
        rows = known <= cut - purge_ns
        try:
            block = fit(
                swept[rows], observed[rows], close_ns[rows], prior, share=share,
                regressors=None if regressors is None else regressors[rows], spec=spec, draws=draws, seed=seed,
            )  # fmt: skip
        except DataError as error:
            when = np.datetime64(int(cut), "ns").astype("datetime64[s]")
            raise DataError(f"before the cut at {when}Z: {error}") from None
        found.append(BlockFit(int(cut), int(close_ns[rows & np.isfinite(observed).any(axis=1)].max()), block))
    return found


def fixed_point(
    fold: Callable[[Weights], Swept],
    fit: Callable[[Swept], WeightFit],
    start: Weights,
    tolerance: float = 1e-3,
    most_rounds: int = 10,
) -> FixedPoint:
    """Fold the map under the weights, fit them to it, and so on until no weight changes by more than `tolerance`.

    For maps whose closing counts off *predicted* liquidations (step 3 on an incomplete venue): there the swept mass
    itself depends on the weights. Not converging is reported, not raised; `changes` shows whether it was on its way.
    """
    weights, changes = start, list[float]()
    while True:
        found = fit(fold(weights))
        changes.append(float(np.abs(found.weights - weights).max()))
        weights = found.weights
        if changes[-1] <= tolerance or len(changes) >= most_rounds:
            return FixedPoint(found, tuple(changes), changes[-1] <= tolerance)


def _report(problem: Problem, facts: Facts, params: np.ndarray, prior: np.ndarray, share: float | None) -> WeightFit:
    p, k = problem.power, prior.size
    weights, theta = problem.split(params)
    mu = facts.design @ params
    spread = facts.design.T * mu**-p
    dispersion = float(((facts.amount - mu) ** 2 * mu**-p).sum() / max(mu.size - params.size, 1))
    curvature = spread @ facts.design
    fisher = np.diag(curvature)[:k] * theta**2
    mean = facts.amount.mean()
    return WeightFit(
        weights=weights,
        prior=prior,
        share=theta if share is None else share,
        share_known=share is not None,
        background=params[k:],
        iterations=0,
        converged=False,
        objective=np.empty(0),
        deviance=tweedie_deviance(facts.amount, mu, p),
        null_deviance=tweedie_deviance(facts.amount, np.full_like(mu, mean), p),
        dispersion=dispersion,
        rows=mu.size,
        liquidations=int((facts.amount > 0).sum()),
        days=facts.days,
        sweeps=facts.sweeps,
        information=fisher / dispersion if dispersion > 0 else np.full(k, np.inf),
        data_share=data_share(curvature, params, problem),
    )
