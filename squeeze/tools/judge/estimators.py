"""The figures of a judgement, and their intervals from whole UTC days drawn anew; each is plain and has no memory."""

import math
from typing import NamedTuple

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int

from squeeze.tools.study.compare import ENOUGH_EVENTS, Group, Sample, compare

QUARTER = 0.25

Values = Float[np.ndarray, " row"]
Days = Int[np.ndarray, " row"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One figure beside what it is compared with."""

    measure: str
    """What is measured."""
    market: str
    """Of which market, or markets."""
    scores: str
    """By what levels, volumes or zones were foretold."""
    n: int
    """Snapshots, intervals or zones with something to judge."""
    estimate: float
    against: str
    """What the null is: chance, or a rival on the same rows."""
    null: float
    low: float
    """With `high` it bounds estimate - null in 95 % of the draws of whole days."""
    high: float

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.n < ENOUGH_EVENTS:
            return f"inconclusive: {self.n} of {ENOUGH_EVENTS}"
        if not self.low <= self.high:
            return "no interval"
        return "above" if self.low > 0 else "below" if self.high < 0 else "no difference shown"


class Naming(NamedTuple):
    """What a finding is of; see `Finding`."""

    measure: str
    market: str
    scores: str
    against: str


class Drawing(NamedTuple):
    """How intervals are drawn."""

    draws: int = 2000
    seed: int = 0


def ranks(values: Values) -> Values:
    """From 1; equal values share the mean of their ranks.

    >>> ranks(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum()
    return np.asarray((last - (count - 1) / 2)[place])


def rank_correlation(first: Values, second: Values) -> float:
    """Spearman's: of ranks, ties shared; NaN where one of the two does not vary.

    >>> round(rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])), 6)
    0.8
    """
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan


def capture(
    scores: Float[np.ndarray, "row level"],
    usd: Float[np.ndarray, "row level"],
    offered: Bool[np.ndarray, "row level"],
    share: float = QUARTER,
) -> tuple[Values, Values]:
    """USD in the top `share` of each row's offered levels by score, and in all of them.

    Where the share ends within a level, or among levels of one score, each counts in part: what a draw among them would
    give on average. So equal scores give exactly `share` of the USD.

    >>> usd, all_of_them = np.array([[6.0, 1.0, 1.0, 2.0]]), np.ones((1, 4), bool)
    >>> capture(np.array([[9.0, 2.0, 3.0, 1.0]]), usd, all_of_them)[0], capture(np.ones((1, 4)), usd, all_of_them)[0]
    (array([6.]), array([2.5]))
    """
    caught = np.zeros(len(usd))
    for row in np.flatnonzero((usd * offered).sum(axis=1) > 0).tolist():
        kept = offered[row]
        caught[row] = usd[row, kept] @ top(scores[row, kept], share)
    return caught, np.asarray((usd * offered).sum(axis=1))


def top(scores: Values, share: float = QUARTER) -> Values:
    """How much of each lies in the top `share` of all; see `capture`.

    >>> top(np.array([3.0, 1.0, 1.0, 0.0, 2.0, 0.0])).tolist()
    [1.0, 0.0, 0.0, 0.0, 0.5, 0.0]
    """
    _, place, count = np.unique(-scores, return_inverse=True, return_counts=True)
    before = count.cumsum() - count
    return np.asarray(np.clip((share * len(scores) - before) / count, 0.0, 1.0)[place])


def ratio_of_sums(naming: Naming, over: Values, under: Values, null: Values, days: Days, drawing: Drawing) -> Finding:
    """Σ over / Σ under beside Σ null / Σ under of the same rows, paired by day; rows with a NaN are left out."""
    kept = np.flatnonzero(np.isfinite(over) & np.isfinite(under) & np.isfinite(null))
    zeros = np.zeros(len(kept), np.int64)
    sample = Sample(Group(over[kept], under[kept], kept, zeros), Group(null[kept], under[kept], kept, zeros))
    found = compare(sample, days, drawing.draws, drawing.seed)
    return Finding(
        **naming._asdict(), n=found.n, estimate=found.estimate, null=found.null, low=found.low, high=found.high
    )


def day_weights(days: Days, drawing: Drawing) -> tuple[Days, Float[np.ndarray, "draw day"]]:
    """Each row's number of its day; how often each day counts: once in the first row, then as it was drawn."""
    held, place = np.unique(days, return_inverse=True)
    rng = np.random.default_rng(drawing.seed)
    drawn = rng.multinomial(len(held), np.full(len(held), 1 / len(held)), size=drawing.draws)
    return place, np.concatenate([np.ones((1, len(held))), drawn.astype(float)])


def correlations(predicted: Values, actual: Values, days: Days, drawing: Drawing) -> Float[np.ndarray, " draw"]:
    """Pearson's of all rows, then of each draw of days; NaN where one of the two does not vary.

    >>> days, actual = np.array([0, 0, 1, 1]), np.array([2.0, 4.0, 6.0, 8.0])
    >>> correlations(1 - actual, actual, days, Drawing(2)).round(6).tolist()[0]
    -1.0
    """
    place, weights = day_weights(days, drawing)
    moments = (np.ones(len(days)), predicted, actual, predicted**2, actual**2, predicted * actual)
    sums = np.stack([np.bincount(place, moment, weights.shape[1]) for moment in moments], axis=1)
    n, a, b, aa, bb, ab = (weights @ sums).T
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt(np.maximum(aa - a * a / n, 0.0) * np.maximum(bb - b * b / n, 0.0))
        return np.asarray(np.where(size > 0, (ab - a * b / n) / size, np.nan))


def separations(
    scores: Values, happened: Bool[np.ndarray, " row"], days: Days, drawing: Drawing
) -> Float[np.ndarray, " draw"]:
    """AUC (`separation`) of all rows, then of each draw of days."""
    place, weights = day_weights(days, drawing)
    return np.array([separation(scores, happened, weight[place]) for weight in weights])


def beside(
    naming: Naming, n: int, drawn: Float[np.ndarray, " draw"], null: float | Float[np.ndarray, " draw"]
) -> Finding:
    """A figure of which the first is observed and the others drawn, beside a constant or one drawn alike."""
    fixed = np.broadcast_to(null, drawn.shape)
    low, high = interval((drawn - fixed)[1:])
    return Finding(**naming._asdict(), n=n, estimate=float(drawn[0]), null=float(fixed[0]), low=low, high=high)


def interval(drawn: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """The middle 95 %; NaN where under half of the draws have a value."""
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2 or not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def separation(scores: Values, happened: Bool[np.ndarray, " row"], weights: Values) -> float:
    """AUC under weights: how often a row where it happened scores above one where it did not, a tie counting half.

    >>> separation(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]), np.ones(4))
    0.875
    """
    values, place = np.unique(scores, return_inverse=True)
    yes = np.bincount(place, weights * happened, len(values))
    no = np.bincount(place, weights * ~happened, len(values))
    pairs = yes.sum() * no.sum()
    return float(yes @ (no.cumsum() - no / 2) / pairs) if pairs > 0 else math.nan
