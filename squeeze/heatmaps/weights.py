"""Leverage weights, and a background, fitted to what was seen liquidated (domain.md §3.6).

The map is linear in its weights: run once with unit weights, what each step's mark range went through is a design
matrix. Observed amounts are compound Poisson–gamma about `μ = share · Σ_k w_k · swept_k + β_0 + Σ_r β_r · x_r`, their
variance ∝ μ^p (Tweedie): exact zeros and heavy tails. Twice the negative log quasi-likelihood is the deviance [1]_.
Weights lie on a simplex with a null share, `w >= 0` and `Σ w <= 1`.

The prior is `α · Σ_k (w_k - w0_k · log w_k)`, least at w0. Its α is a share of the data's own pull, so it does *not*
fade with more data: it shrinks for good, and what decides between buckets that look alike stays the prior.

On one venue that reports an unknown share of its liquidations only `share · w` is identified. Then α holds the mix
alone (`α · Σ_k w0_k · log(Σ_j w_j / w_k)`, which no scale changes), the weights are put at `Σ w = Σ w0`, a convention,
and `share` takes up the rest, a difference of units included.

.. [1] Dunn and Smyth, "Generalized Linear Models With Examples in R", 2018, chapter 12.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64

from squeeze.arrays import StepTimes
from squeeze.errors import DataError
from squeeze.market.events import DAY_NS
from squeeze.spec import Strict, require

Swept = Float[np.ndarray, "step side bucket"]
"""Unit-weight mass each step's mark range went through, in base coins or as a share of open interest."""

Observed = Float[np.ndarray, "step side"]
"""Liquidated in each step, in the unit of `Swept`; NaN where it was not recorded."""

Regressors = Float[np.ndarray, "step side regressor"]
"""What else liquidations rise with, none negative: volatility times open interest, say."""

Weights = Float[np.ndarray, " bucket"]
"""Share of open interest by leverage bucket; the rest is never liquidated."""

FLOOR = 1e-12
"""A parameter stays above this share of its starting value: a product could never leave zero again."""
SPOKEN = 0.5
"""Below this share of its curvature from data, a weight is the prior's more than the market's."""


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


def tweedie_deviance(observed: np.ndarray, expected: np.ndarray, power: float) -> float:
    """Mean deviance of amounts from what was expected (positive), NaN amounts left out; 0 for a perfect forecast.

    >>> round(tweedie_deviance(np.array([0.0, 4.0, np.nan]), np.array([1.0, 4.0, 9.0]), 1.5), 6)
    2.0
    """
    y, mu = observed[np.isfinite(observed)], expected[np.isfinite(observed)]
    if power == 1:
        unit = np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0) / mu), 0.0) - y + mu
    else:
        p, q = power - 1, 2 - power
        unit = y * mu**-p / p + mu**q / q - y**q / (p * q)
    return float(2 * unit.mean())


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
    problem = _problem(swept, observed, close_ns, start, share, regressors, spec)
    params, trail, updates, converged = _solve(problem, problem.start)
    found = _report(problem, params, start, share)
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
        weights, theta = problem.split(_solve(drawn, np.maximum(params, 1e-3 * problem.start))[0])
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
            raise DataError(f"before the cut at {cut}: {error}") from None
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


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Rows of one fit, sides one below the other, and the objective on them."""

    design: Float[np.ndarray, "row parameter"]
    """Buckets (times the share, if known), the constant, the regressors."""
    amount: Float[np.ndarray, " row"]
    count: Float[np.ndarray, " row"]
    """Rows that were put into one: steps without sweeps differ in nothing but the amount, which enters linearly."""
    block: Int64[np.ndarray, " row"]
    prior: Weights
    alpha: float
    mix_only: bool
    start: Float[np.ndarray, " parameter"]
    least: Float[np.ndarray, " parameter"]
    spec: FitSpec
    facts: "_Facts"

    def objective(self, params: Float[np.ndarray, " parameter"]) -> float:
        return self._value(params, self.design @ params)

    def _value(self, params: np.ndarray, mu: np.ndarray) -> float:
        p, y = self.spec.power, self.amount
        unit = mu - y * np.log(mu) if p == 1 else _power(mu, 1 - p) * (y / (p - 1) + mu / (2 - p))
        w = params[: self.prior.size]
        scale = self.prior.sum() * math.log(w.sum()) if self.mix_only else w.sum()
        return float(self.count @ unit + self.alpha * (scale - self.prior @ np.log(w)))

    def update(self, params: Float[np.ndarray, " parameter"]) -> tuple[Float[np.ndarray, " parameter"], float]:
        """Minimise the majoriser that touches the objective at `params`: the next parameters, and the objective there.

        `y·μ^(1-p)` is convex (Jensen), `μ^(2-p)` concave (its tangent), `-log r <= (r^(1-p) - 1)/(p - 1)`: their sum is
        least at domain.md's update. Where Σ w would pass 1, the multiplier of that constraint joins the denominator:
        scaling down instead, as the prototype did, can raise the objective.
        """
        k, p = self.prior.size, self.spec.power
        mu = self.design @ params
        pull = self.count * _power(mu, -p)
        gain, cost = (pull * self.amount) @ self.design, (pull * mu) @ self.design
        w = params[:k]
        gain[:k] += self.alpha * self.prior / w
        cost[:k] += self.alpha * (self.prior.sum() / w.sum() if self.mix_only else 1.0)

        def moved(multiplier: float) -> np.ndarray:
            below = cost.copy()
            below[:k] += multiplier
            ratio = np.divide(gain, below, out=np.ones_like(gain), where=below > 0) ** (1 / p)
            return np.asarray(np.maximum(params * ratio, self.least))

        after = moved(0.0)
        if not self.mix_only and after[:k].sum() > 1:
            after = moved(_root(lambda m: float(moved(m)[:k].sum()) - 1.0, float(cost[:k].max())))
        return after, self._value(params, mu)

    def split(self, params: np.ndarray) -> tuple[Weights, float]:
        """Weights, and with a share that is not known the share that they leave (else 1: it is in the design)."""
        w = params[: self.prior.size]
        theta = float(w.sum() / self.prior.sum()) if self.mix_only else 1.0
        return w / theta, theta


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """What the report needs of the rows before they were put together."""

    design: Float[np.ndarray, "row parameter"]
    amount: Float[np.ndarray, " row"]
    days: int
    sweeps: Float[np.ndarray, " bucket"]


def _power(mu: np.ndarray, exponent: float) -> np.ndarray:
    """`mu ** exponent`; the halves of the default power by square roots, ten times as fast."""
    if exponent == -1.5:
        return np.asarray(1.0 / (mu * np.sqrt(mu)))
    return np.asarray(1.0 / np.sqrt(mu) if exponent == -0.5 else mu**exponent)


def _root(falling: Callable[[float], float], guess: float) -> float:
    """From above, so that a sum stays below its bound, where a falling function of a positive number is zero."""
    low, high = 0.0, guess
    while falling(high) > 0:
        low, high = high, 2 * high
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high


def _problem(
    swept: np.ndarray,
    observed: np.ndarray,
    close_ns: np.ndarray,
    prior: np.ndarray,
    share: float | None,
    regressors: np.ndarray | None,
    spec: FitSpec,
) -> _Problem:
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
    facts = _Facts(
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
    data = (count * _power(mu, 1 - spec.power)) @ design[:, :buckets]
    level = start[:buckets].sum() / prior.sum() if share is None else 1.0
    alpha = spec.prior_strength * float(np.median(data[data > 0])) * level
    least = FLOOR * start
    return _Problem(design, amount, count, block, prior, alpha, share is None, start, least, spec, facts)


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


def _enough(facts: _Facts, mass: np.ndarray, spec: FitSpec) -> None:
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


def _start(facts: _Facts, prior: np.ndarray, mix_only: bool) -> np.ndarray:
    """The prior, and a tenth of what was observed as background; with no known share, on the level of the rest."""
    buckets, total = prior.size, facts.amount.sum()
    weights = np.maximum(prior, 1e-3 * prior.sum())
    weights *= prior.sum() / weights.sum()
    sums = facts.design.sum(axis=0)
    if mix_only:
        weights *= 0.9 * total / (sums[:buckets] @ weights)
    background = 0.1 * total / sums[buckets:].size / np.where(sums[buckets:] > 0, sums[buckets:], 1.0)
    return np.concatenate([weights, background])


def _solve(problem: _Problem, start: np.ndarray) -> tuple[np.ndarray, list[float], int, bool]:
    """Updates to the end: parameters, objective by round, updates made, whether they settled.

    Plain updates creep where buckets look alike, so each round of two tries the step that they point to (SQUAREM [1]_)
    and keeps it if the objective there is no higher.

    .. [1] Varadhan and Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
       algorithm", Scandinavian Journal of Statistics 35, 2008.
    """
    spec, k = problem.spec, problem.prior.size
    params, trail, updates = start, list[float](), 0
    while True:
        first, before = problem.update(params)
        trail.append(before)
        # A background on its way to zero need not get there: a thousandth of the start is as good as nothing.
        unit = np.concatenate([np.full(k, params[:k].sum()), params[k:] + 1e-3 * problem.start[k:]])
        # A parameter near zero that grows fast is not settled, however little it grows by.
        still = (np.abs(first - params) <= spec.tolerance * unit) & (first <= 1.01 * params)
        settled = bool(still.all())
        if settled or updates + 3 > spec.most_updates:
            trail.append(problem.objective(first))
            return first, trail, updates + 1, settled
        second, between = problem.update(first)
        updates += 2
        logs = np.log(params), np.log(first), np.log(second)
        change = logs[1] - logs[0]
        bend = logs[2] - logs[1] - change
        length = max(1.0, math.hypot(*change) / max(math.hypot(*bend), 1e-300))
        ahead = np.exp(np.clip(logs[0] + 2 * length * change + length**2 * bend, logs[2] - 3, logs[2] + 3))
        ahead = np.maximum(ahead, problem.least)
        if not problem.mix_only:
            ahead[:k] /= max(1.0, ahead[:k].sum())
        third, there = problem.update(ahead)
        updates += 1
        params = third if there <= between else second


def _report(problem: _Problem, params: np.ndarray, prior: np.ndarray, share: float | None) -> WeightFit:
    facts, p, k = problem.facts, problem.spec.power, prior.size
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
        information=fisher / dispersion if dispersion > 0 else np.full(k, math.inf),
        data_share=_data_share(curvature, params, problem),
    )


def _data_share(curvature: np.ndarray, params: np.ndarray, problem: _Problem) -> np.ndarray:
    """1 - (prior's curvature) · (variance under both), by bucket: 0 where only the prior speaks, 1 where it is idle.

    In logarithms of the parameters, where nothing depends on units and the prior's curvature is `α · w0`.
    """
    k = problem.prior.size
    prior = np.zeros(params.size)
    prior[:k] = problem.alpha * problem.prior
    both = curvature * np.outer(params, params) + np.diag(prior)
    spoken = np.diag(both)[:k] > 0
    variance = np.diag(np.linalg.pinv(both, hermitian=True))[:k]
    return np.where(spoken, np.clip(1 - prior[:k] * variance, 0.0, 1.0), np.nan)
