"""Where the fit of leverage weights goes: its objective, the update that lowers it, and how far the data curve it.

Amounts are compound Poisson–gamma about a linear mean `μ = design @ parameters`, their variance ∝ μ^p (Tweedie): exact
zeros and heavy tails. Twice the negative log quasi-likelihood is the deviance [1]_. `weights` says what is fitted, and
`weight_rows` gathers it.

.. [1] Dunn and Smyth, "Generalized Linear Models With Examples in R", 2018, chapter 12.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

Weights = Float[np.ndarray, " bucket"]
"""Share of open interest by leverage bucket; the rest is never liquidated."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
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
    power: float
    """p of the variance."""

    def objective(self, params: Float[np.ndarray, " parameter"]) -> float:
        """Half the deviance, up to a constant, plus the prior's penalty."""
        return self._value(params, self.design @ params)

    def _value(self, params: np.ndarray, mu: np.ndarray) -> float:
        p, y = self.power, self.amount
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
        k, p = self.prior.size, self.power
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


def solve(
    problem: Problem, start: np.ndarray, tolerance: float, most_updates: int
) -> tuple[np.ndarray, list[float], int, bool]:
    """Updates to the end: parameters, objective by round, updates made, whether they settled.

    Plain updates creep where buckets look alike, so each round of two tries the step that they point to (SQUAREM [1]_)
    and keeps it if the objective there is no higher.

    .. [1] Varadhan and Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
       algorithm", Scandinavian Journal of Statistics 35, 2008.
    """
    k = problem.prior.size
    params, trail, updates = start, list[float](), 0
    while True:
        first, before = problem.update(params)
        trail.append(before)
        # A background on its way to zero need not get there: a thousandth of the start is as good as nothing.
        unit = np.concatenate([np.full(k, params[:k].sum()), params[k:] + 1e-3 * problem.start[k:]])
        # A parameter near zero that grows fast is not settled, however little it grows by.
        still = (np.abs(first - params) <= tolerance * unit) & (first <= 1.01 * params)
        settled = bool(still.all())
        if settled or updates + 3 > most_updates:
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


def data_share(curvature: np.ndarray, params: np.ndarray, problem: Problem) -> np.ndarray:
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
