"""How much is liquidated in each interval: foretold by what the mark went through, and by how far it broke out."""

import numpy as np
from jaxtyping import Float

from squeeze.tools.judge.levels import EXTREME_MINUTES
from squeeze.tools.judge.past import Past, Rows
from squeeze.tools.judge.pool import Pool

CALIBRATION, CORRELATION = "level calibration", "correlation of roots of volumes"
EXTREME, BOTH = "beyond the 60-minute extreme", "fitted map and extreme"

BySide = Float[np.ndarray, "interval side"]


def beyond(past: Past, ends: Rows | None = None, steps: int = 1) -> BySide:
    """How far, in log price, the mark went beyond the extreme of the 60 minutes before an interval; at least 0.

    Intervals are of so many steps and end with the steps `ends`, every one if not given. 0 where there were no 60
    minutes before.
    """
    at = np.arange(len(past.closes_ns)) if ends is None else ends
    count = past.steps_in(EXTREME_MINUTES)
    found, whole = np.zeros((len(at), 2)), at >= count + steps - 1
    last = at[whole]
    inside, before = (last[:, None] - np.arange(a, b) for a, b in ((0, steps), (steps, steps + count)))
    low, high = past.mark[:, 0], past.mark[:, 1]
    found[whole, 0] = np.log(low[before].min(axis=1) / low[inside].min(axis=1))
    found[whole, 1] = np.log(high[inside].max(axis=1) / high[before].max(axis=1))
    return np.maximum(found, 0.0)


def regression(columns: list[np.ndarray], target: np.ndarray) -> np.ndarray:
    """Least squares with a constant; the coefficients, the constant's last."""
    design = np.stack([*(column.ravel() for column in columns), np.ones(target.size)], axis=1)
    found: np.ndarray = np.linalg.lstsq(design, target.ravel(), rcond=None)[0]
    return found


def foretold(columns: list[np.ndarray], coefficients: np.ndarray) -> np.ndarray:
    """What a regression says."""
    parts = [part * column for part, column in zip(coefficients[:-1], columns, strict=True)]
    return np.asarray(sum(parts, np.zeros_like(columns[0])) + coefficients[-1])


def add(
    pool: Pool, expected: dict[str, BySide], actual: BySide, beyond_log: BySide, days: np.ndarray, later: np.ndarray,
    best: str = "fitted",
) -> None:  # fmt: skip
    """Calibration by day, and correlations, of the intervals `later`; the rival is fitted on the others.

    The rival may bend: the root of the volume is regressed on the distance beyond the extreme and its root. `BOTH` adds
    the root of what the map `best` expected.
    """
    known = np.isfinite(actual).all(axis=1)
    early, late = known & ~later, known & later
    root, rival = np.sqrt(np.where(known[:, None], actual, 0.0)), [beyond_log, np.sqrt(beyond_log)]
    for name, mu in expected.items():
        pool.add(CALIBRATION, name, *_by_day(mu[late], actual[late], days[late]))
        pool.add(CORRELATION, name, np.sqrt(mu[late]), root[late], days[late])
    for name, columns in ((EXTREME, rival), (BOTH, [*rival, np.sqrt(expected[best])])):
        found = regression([column[early] for column in columns], root[early])
        pool.add(CORRELATION, name, foretold([column[late] for column in columns], found), root[late], days[late])


def _by_day(expected: np.ndarray, actual: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of both sides by day: a day without liquidations would else be no row at all."""
    held, place = np.unique(days, return_inverse=True)
    sums = [np.bincount(place, each.sum(axis=1), len(held)) for each in (expected, actual)]
    return sums[0], sums[1], held
