"""What is counted of watched steps: how often and for how long each flag is up, and what follows when it goes up."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int

from squeeze.arrays import SIDES
from squeeze.patterns.catalogue import NAMES
from squeeze.tools.rates.watch import EXCITED, Watched
from squeeze.tools.study.compare import DRAWS, Figures, Group, Sample, compare
from squeeze.tools.study.matching import matched
from squeeze.tools.study.question import stack

MINUTES_A_DAY = 1440
TOP_SHARE = 0.05
"""A proposed threshold would flag this share of steps."""


class Rate(msgspec.Struct, frozen=True):
    """How often a pattern is flagged on a side; steps are minutes."""

    market: str
    pattern: str
    side: str
    told_share: float
    """Of steps in which it could be told."""
    flagged_share: float
    """Of those."""
    rises: int
    rises_a_day: float
    median_minutes: float
    """Of the flags that rose and fell; NaN for none."""
    lever_top: float
    """What the threshold's measure exceeds in `TOP_SHARE` of steps that could be told; NaN where it is not known."""
    lever_most: float


class Follow(msgspec.Struct, frozen=True):
    """What follows when a flag goes up: the share with a cascade of the side within the horizon."""

    market: str
    pattern: str
    side: str
    """One of the two, or `both`."""
    raw: Figures
    """Beside all steps that could be told."""
    alike: Figures
    """Beside those alike in outside volatility and in what was forced of the side lately."""


def rates(market: str, watched: Watched) -> list[Rate]:
    """Of each pattern and side."""
    return [rate(market, watched, pattern, side) for pattern in range(len(NAMES)) for side in range(len(SIDES))]


def rate(market: str, watched: Watched, pattern: int, side: int) -> Rate:
    """Of one pattern and side; nothing is a share of no steps: NaN."""
    told, flag, rose = (array[:, pattern, side] for array in (watched.told, watched.flag, watched.rose))
    count, steps, risen = int(told.sum()), len(told), int(rose.sum())
    spans = lengths(flag, watched.day)
    top, most = upper(watched.lever[told, pattern, side])
    return Rate(
        market=market,
        pattern=NAMES[pattern],
        side=SIDES[side],
        told_share=count / steps if steps else math.nan,
        flagged_share=int((flag & told).sum()) / count if count else math.nan,
        rises=risen,
        rises_a_day=risen * MINUTES_A_DAY / count if count else math.nan,
        median_minutes=float(np.median(spans)) if len(spans) else math.nan,
        lever_top=top,
        lever_most=most,
    )


def lengths(flag: Bool[np.ndarray, " step"], day: Int[np.ndarray, " step"]) -> Int[np.ndarray, " run"]:
    """Steps in each run of a flag that rose and fell; a run does not go on in another market, whose days are apart.

    >>> flag = np.array([1, 0, 1, 1, 0, 1, 0, 1]) > 0
    >>> lengths(flag, np.array([0, 0, 0, 1, 1, 1, 3, 3])).tolist()
    [2]
    """
    change = np.diff(flag.astype(np.int64))
    begins, ends = np.flatnonzero(change == 1) + 1, np.flatnonzero(change == -1) + 1
    ends = ends[np.searchsorted(ends, begins[0]) :] if len(begins) else ends[:0]
    begins = begins[: len(ends)]
    apart = np.flatnonzero(np.diff(day) > 1) + 1
    whole = np.searchsorted(apart, begins, "left") == np.searchsorted(apart, ends, "right")
    return np.asarray((ends - begins)[whole])


def upper(values: Float[np.ndarray, " step"]) -> tuple[float, float]:
    """What `TOP_SHARE` of values exceed, and the greatest; an unknown one counts as the least.

    >>> upper(np.append(np.arange(20.0), [np.nan] * 20))
    (17.0, 19.0)
    """
    if np.isnan(values).all():
        return math.nan, math.nan
    top = float(np.sort(np.where(np.isnan(values), -math.inf, values))[-1 - int(TOP_SHARE * len(values))])
    return (top if math.isfinite(top) else math.nan), float(np.nanmax(values))


def follows(market: str, watched: Watched, draws: int = DRAWS) -> list[Follow]:
    """Of each pattern, on either side and both together."""
    out = []
    for pattern, name in enumerate(NAMES):
        for label, sides in (*((side, (i,)) for i, side in enumerate(SIDES)), ("both", (0, 1))):
            raw, alike = (
                compare(sample(watched, pattern, sides, keyed), watched.day, draws) for keyed in (False, True)
            )
            out.append(Follow(market, name, label, raw, alike))
    return out


def sample(watched: Watched, pattern: int, sides: Sequence[int], keyed: bool) -> Sample:
    """Rises beside steps in which the pattern could be told, while no cascade of the side runs.

    `keyed` compares like with like: the same part of outside volatility and of orders forced lately, or at least of
    volatility where the finer stratum spans too few days.
    """
    parts = []
    for side in sides:
        could = watched.told[:, pattern, side] & watched.free[:, side]
        candidates = np.flatnonzero(could)
        events = np.flatnonzero(could & watched.rose[:, pattern, side])
        fine = watched.volatility * (len(EXCITED) + 1) + watched.excited[:, side]
        keys = [fine, watched.volatility] if keyed else [np.zeros_like(fine)]
        kept, stratum, steps, strata = matched(events, candidates, keys, watched.day)
        ahead = watched.ahead[:, side].astype(float)
        rising, others = events[kept], steps
        parts.append(
            Sample(
                Group(ahead[rising], np.ones(len(rising)), rising, stratum),
                Group(ahead[others], np.ones(len(others)), others, strata),
            )
        )
    return stack(parts)
