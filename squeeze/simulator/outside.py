"""The world outside the simulated market, compiled: volatility, price changes, crowd bias and wanted open interest.

Drawn before any agent acts, from a generator of its own, so markets that differ in their agents share it.
"""

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

CALM = np.zeros(4)
"""Where the world starts: slow and fast part of log volatility, crowd, log of wanted open interest."""


class Climate(NamedTuple):
    """What the outside world's draws follow, per sub-step."""

    sigma: float
    slow_sd: float
    slow_decay: float
    fast_sd: float
    fast_decay: float
    jump_chance: float
    jump_sigmas: float
    bias_decay: float
    target_sd: float
    target_decay: float


class Outside(NamedTuple):
    """What the agents do not move, one value per sub-step."""

    sigma: Any
    """Standard deviation of the log price over the sub-step."""
    change: Any
    """Change of the log index price."""
    bias: Any
    """Which side wants leverage: positive for longs; standard normal, slow."""
    target: Any
    """Open interest wanted, as a multiple of the initial one."""
    slow: Any
    """The slow part of log volatility; with it the world can be played on from any sub-step."""


@njit(cache=True)
@no_type_check
def outside_world(rng: np.random.Generator, climate: Climate, start: Any, steps: int) -> Outside:
    """Draw that many sub-steps from `start` on, which is `CALM` or `state_at` of a world drawn before."""
    sigma, change, bias, target = np.empty(steps), np.empty(steps), np.empty(steps), np.empty(steps)
    slowly = np.empty(steps)
    slow, fast, crowd, wanted = start
    for step in range(steps):
        slow = autoregress(rng, slow, climate.slow_sd, climate.slow_decay)
        fast = autoregress(rng, fast, climate.fast_sd, climate.fast_decay)
        crowd = autoregress(rng, crowd, 1.0, climate.bias_decay)
        wanted = autoregress(rng, wanted, climate.target_sd, climate.target_decay)
        scale = math.exp(slow + fast)
        shock = rng.standard_normal()
        if rng.random() < climate.jump_chance * scale:
            shock += climate.jump_sigmas * rng.standard_normal()
        sigma[step] = climate.sigma * scale
        change[step] = sigma[step] * shock
        bias[step] = crowd
        target[step] = math.exp(wanted)
        slowly[step] = slow
    return Outside(sigma, change, bias, target, slowly)


@njit(cache=True)
@no_type_check
def autoregress(rng: np.random.Generator, value: float, sd: float, decay: float) -> float:
    """One step of a stationary AR(1) of the given standard deviation."""
    return value * decay + sd * math.sqrt(1.0 - decay * decay) * rng.standard_normal()


def state_at(outside: Outside, climate: Climate, step: int) -> np.ndarray:
    """Where the world stands after a sub-step, as `outside_world` takes it."""
    slow = outside.slow[step]
    fast = math.log(outside.sigma[step] / climate.sigma) - slow
    return np.array([slow, fast, outside.bias[step], math.log(outside.target[step])])
