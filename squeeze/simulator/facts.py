"""How a simulated market compares with a real one: the figures that its calibration is judged by, and their bands.

The bands hold for the mean over seeds of the default market, 60 days each; a single market may lie outside. Recordings:
five-minute bars of BTC from 2025-08 to 2026-02 and from 2023-11 to 2024-05, hourly liquidations of three venues from
2025-12 to 2026-04 at 5 million USD, and the scalar baselines on both. The simulated market's tails are heavier and its
liquidations denser in time than those recorded. To print six seeds against them, in 15 s:
`python -c "from squeeze.simulator.facts import report; report()"`. The bands are not for other specs: where zones do
not matter, volatility is all there is, and the baseline reaches .81-.92.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from squeeze.simulator.market import SimulatedMarket, simulate
from squeeze.simulator.spec import SimulatorSpec

BANDS: dict[str, tuple[float, float, str]] = {
    "daily_volatility": (0.018, 0.045, ".025, .029"),
    "kurtosis_5m": (20.0, 600.0, "194, 55"),
    "clustering_5m": (0.25, 0.45, ".37, .35"),
    "clustering_5m_60m": (0.15, 0.30, ".23, .20"),
    "long_60m": (0.03, 0.10, ".058"),
    "short_60m": (0.03, 0.10, ".044"),
    "densest_hours_long": (0.55, 0.92, ".64"),
    "densest_hours_short": (0.55, 0.92, ".56"),
    "auc_long_60m": (0.72, 0.85, ".80, .82"),
    "auc_short_60m": (0.72, 0.85, ".75, .79"),
}
"""Lowest and highest mean over seeds, and what recordings say."""

VOLATILITY_MINUTES = (15, 60, 240, 1440)
"""Windows whose log volatility the scalar baseline looks at."""


def facts(market: SimulatedMarket, threshold_usd: float = 1_000_000.0) -> dict[str, float]:
    """Tails, volatility clustering, and how often and how densely positions are liquidated; shares unless named.

    Base rates are over all minutes: `long_60m` is the share of them after which more than `threshold_usd` of longs are
    liquidated within the hour. `densest_hours_long` is the share of liquidated USD that falls into the busiest 5 % of
    hours. `auc_long_60m` is what `baseline_auc` gives; NaN for a market too short for it.
    """
    log_last = np.log(market.last[:, 3])
    returns, coarse = np.diff(log_last), np.diff(log_last[4::5])
    found = {
        "daily_volatility": float(returns.std() * np.sqrt(1440)),
        "excess_kurtosis": excess_kurtosis(returns),
        "kurtosis_5m": excess_kurtosis(coarse),
        "clustering_5m": correlation(np.abs(coarse), 1),
        "clustering_5m_60m": correlation(np.abs(coarse), 12),
    }
    for lag in (1, 60):
        found[f"clustering_{lag}m"] = correlation(np.abs(returns), lag)
    for side, name in enumerate(("long", "short")):
        for window in (15, 60):
            ahead = market.liquidated_usd(window)[:, side]
            found[f"{name}_{window}m"] = float((ahead[np.isfinite(ahead)] > threshold_usd).mean())
        hours = np.sort(market.liquidated_usd(60)[::60, side])[::-1]
        found[f"densest_hours_{name}"] = float(hours[: len(hours) // 20].sum() / max(hours.sum(), 1.0))
        found[f"auc_{name}_60m"] = baseline_auc(market, side, 60, threshold_usd)
    return found


def excess_kurtosis(values: Float[np.ndarray, " step"]) -> float:
    """Fourth moment over the squared variance, less the 3 of a normal variable."""
    return float(((values - values.mean()) ** 4).mean() / values.var() ** 2 - 3.0)


def correlation(values: Float[np.ndarray, " step"], lag: int) -> float:
    """Autocorrelation of a series.

    >>> round(correlation(np.array([1.0, -1.0, 1.0, -1.0, 1.0]), 2), 6)
    1.0
    """
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


def baseline_auc(
    market: SimulatedMarket,
    side: int,
    horizon_minutes: int,
    threshold_usd: float = 1_000_000.0,
    more: Float[np.ndarray, "minute feature"] | None = None,
) -> float:
    """AUC of a logistic regression on log trailing volatility, fitted on the first half, scored on the second.

    A row each five minutes: features up to a minute's close, the label is what follows it. The last row of the first
    half ends before the second begins. `more` adds columns, known at each minute's close. NaN where a half has fewer
    than five events, or five rows without.
    """
    squares = np.append(0.0, np.diff(np.log(market.last[:, 3])) ** 2).cumsum()
    longest = VOLATILITY_MINUTES[-1]
    rows = np.arange(longest, len(squares) - 1, 5)
    columns = [0.5 * np.log((squares[rows] - squares[rows - window]) / window + 1e-12) for window in VOLATILITY_MINUTES]
    if more is not None:
        columns.extend(more[rows].T)
    ahead = market.liquidated_usd(horizon_minutes)[rows + 1, side]
    known = np.isfinite(ahead)
    x, happened = np.column_stack(columns)[known], ahead[known] > threshold_usd
    middle = len(x) // 2
    first, second = slice(0, max(middle - horizon_minutes // 5 - 1, 0)), slice(middle, None)
    for half in (first, second):
        if min(happened[half].sum(), (~happened[half]).sum()) < 5:
            return math.nan
    centre, scale = x[first].mean(axis=0), x[first].std(axis=0) + 1e-12
    z = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    return auc(z[second] @ logistic(z[first], happened[first]), happened[second])


def logistic(
    x: Float[np.ndarray, "row column"], happened: Bool[np.ndarray, " row"], ridge: float = 1.0
) -> Float[np.ndarray, " column"]:
    """Coefficients of a logistic regression by Newton's method, with a small ridge.

    >>> even = logistic(np.ones((4, 1)), np.array([True, False, False, False]), 0.0)
    >>> round(float(1 / (1 + np.exp(-even[0]))), 6)
    0.25
    """
    weights = np.zeros(x.shape[1])
    for _ in range(25):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30.0, 30.0)))
        slope = x.T @ (happened - p) - ridge * weights
        weights += np.linalg.solve((x.T * (p * (1.0 - p))) @ x + ridge * np.eye(len(weights)), slope)
    return weights


def auc(scores: Float[np.ndarray, " row"], happened: Bool[np.ndarray, " row"]) -> float:
    """Chance that a row where it happened scores above one where it did not; a tie counts half.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    ordered = np.sort(scores)
    ranks = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") + 1) / 2.0
    events = int(happened.sum())
    return float((ranks[happened].sum() - events * (events + 1) / 2.0) / (events * (len(scores) - events)))


def report(seeds: int = 6) -> None:
    """Print the default market of some seeds against the bands."""
    found = [facts(simulate(SimulatorSpec(), seed)) for seed in range(seeds)]
    print(f"| figure | least, mean and most of {seeds} seeds | band of the mean | recordings |\n|---|---|---|---|")
    for name, (low, high, recorded) in BANDS.items():
        values = [each[name] for each in found]
        seen = f"{min(values):.3g}, {np.mean(values):.3g}, {max(values):.3g}"
        print(f"| {name} | {seen} | {low:g} to {high:g} | {recorded} |")
