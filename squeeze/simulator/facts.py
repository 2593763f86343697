"""How a simulated market compares with a real one: the figures that its calibration was judged by."""

import numpy as np
from jaxtyping import Float

from squeeze.simulator.market import SimulatedMarket


def facts(market: SimulatedMarket, threshold_usd: float = 1_000_000.0) -> dict[str, float]:
    """Tails, volatility clustering, and how often and how densely positions are liquidated; shares unless named.

    Base rates are over all minutes: `long_60m` is the share of them after which more than `threshold_usd` of longs are
    liquidated within the hour. `densest_hours_long` is the share of liquidated USD that falls into the busiest 5 % of
    hours.
    """
    returns = np.diff(np.log(market.last[:, 3]))
    found = {
        "daily_volatility": float(returns.std() * np.sqrt(1440)),
        "excess_kurtosis": float(((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 - 3.0),
    }
    for lag in (1, 60):
        found[f"clustering_{lag}m"] = correlation(np.abs(returns), lag)
    for side, name in enumerate(("long", "short")):
        for window in (15, 60):
            ahead = market.liquidated_usd(window)[:, side]
            found[f"{name}_{window}m"] = float((ahead[np.isfinite(ahead)] > threshold_usd).mean())
        hours = np.sort(market.liquidated_usd(60)[::60, side])[::-1]
        found[f"densest_hours_{name}"] = float(hours[: len(hours) // 20].sum() / max(hours.sum(), 1.0))
    return found


def correlation(values: Float[np.ndarray, " step"], lag: int) -> float:
    """Autocorrelation of a series.

    >>> round(correlation(np.array([1.0, -1.0, 1.0, -1.0, 1.0]), 2), 6)
    1.0
    """
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])
