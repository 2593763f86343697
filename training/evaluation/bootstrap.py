"""Intervals by drawing runs of days with replacement: all draws of a figure in a few matrix products.

A row counts as often as its run is drawn. Counts of rows by run and score are taken once; a draw is then a weighted sum
of them, which gives what the figure of the resampled rows would be, ties included, without resampling any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

RUN_DAYS = 3
"""Cascades cluster over days, so that single days are not independent (domain.md §5.7)."""
ENOUGH_EPISODES = 50
"""Below this many separate events a figure is *inconclusive*, whatever its interval says."""
HIGHER_IS_BETTER = {"ap": True, "auc": True, "brier": False, "log_loss": False}
"""The figures that are compared in pairs; a gain is positive where the model is better."""


class Gain(msgspec.Struct, frozen=True):
    """How much better a model is than a rival on the same rows, with a 95 % interval; NaN where there is none."""

    observed: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Runs drawn with replacement: `run` (row,) names each row's run, `times` (draw, run) how often a draw has it.

    The first draw has every run once: it is what was observed.
    """

    run: np.ndarray
    times: np.ndarray

    def per_run(self, value: np.ndarray) -> np.ndarray:
        """Sums of a number per row over the rows of each run, (run,)."""
        return np.bincount(self.run, weights=value.astype(float), minlength=self.times.shape[1])

    def per_level(self, place: np.ndarray, levels: int, counted: np.ndarray) -> np.ndarray:
        """How many counted rows of each run stand at each level, (run, level)."""
        runs = self.times.shape[1]
        at = self.run[counted] * levels + place[counted]
        return np.bincount(at, minlength=runs * levels).reshape(runs, levels).astype(float)


def draw_runs(days: np.ndarray, draws: int = 2000, seed: int = 7) -> Draws:
    """Draw as many runs of three recorded UTC days as there are, `draws` times; `days` (row,) numbers each row's day.

    >>> found = draw_runs(np.array([0, 0, 1, 2, 9]), draws=3)
    >>> found.run.tolist(), found.times.sum(axis=1).tolist()
    ([0, 0, 0, 0, 1], [2.0, 2.0, 2.0, 2.0])
    """
    run = np.unique(days, return_inverse=True)[1] // RUN_DAYS
    runs = int(run.max(initial=-1)) + 1
    times = np.ones((1 + draws, runs))
    if runs:
        picked = np.random.default_rng(seed).integers(0, runs, (draws, runs))
        flat = np.bincount((picked + runs * np.arange(draws)[:, None]).ravel(), minlength=draws * runs)
        times[1:] = flat.reshape(draws, runs)
    return Draws(run, times)


def figures_per_draw(truth: np.ndarray, probability: np.ndarray, draws: Draws) -> dict[str, np.ndarray]:
    """AP, AUC, Brier score and log loss of every draw, (draw,); rankings are NaN in a draw without both classes."""
    p = np.clip(probability.astype(float), 1e-6, 1 - 1e-6)
    count = draws.times @ draws.per_run(np.ones(len(truth)))
    with np.errstate(invalid="ignore"):
        return rankings_per_draw(truth, probability, draws) | {
            "brier": draws.times @ draws.per_run((probability - truth) ** 2) / count,
            "log_loss": draws.times @ draws.per_run(-np.log(np.where(truth, p, 1 - p))) / count,
        }


def rankings_per_draw(truth: np.ndarray, score: np.ndarray, draws: Draws) -> dict[str, np.ndarray]:
    """AP and AUC of every draw. Only the scores that a positive has are levels: recall moves at no other.

    Raises `ValueError` for a score that is not finite: rows at which a model abstains are left out before.
    """
    if not np.isfinite(score).all():
        raise ValueError(f"{(~np.isfinite(score)).sum()} of {len(score)} scores are not finite: leave those rows out")
    levels, times = np.unique(score[truth]), draws.times
    if not len(levels) or truth.all():
        return {name: np.full(len(times), np.nan) for name in ("ap", "auc")}
    place = np.searchsorted(levels, score, side="right") - 1  # the highest level not over the score; -1 under all
    over = place >= 0
    positive, any_row = (draws.per_level(place, len(levels), over & which) for which in (truth, over))
    negative = any_row - positive
    tied = draws.per_level(place, len(levels), over & ~truth & (score == levels[place]))
    under = draws.per_run(~over)[:, None] + np.cumsum(negative, axis=1) - negative  # negatives below each level
    hits = times @ positive
    called = times @ np.cumsum(any_row[:, ::-1], axis=1)[:, ::-1]
    recalled = np.cumsum(hits[:, ::-1], axis=1)[:, ::-1]
    precision = np.divide(recalled, called, out=np.zeros_like(called), where=called > 0)
    positives, negatives = times @ draws.per_run(truth), times @ draws.per_run(~truth)
    both = (positives > 0) & (negatives > 0)
    pairs = ((times @ (positive @ (under + tied / 2).T)) * times).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ap = np.where(positives > 0, (hits * precision).sum(axis=1) / positives, np.nan)
        return {"ap": ap, "auc": np.where(both, pairs / (positives * negatives), np.nan)}


def gains_between(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> dict[str, Gain]:
    """Gains of a model over a rival by figure, from the figures of both in the same draws (`figures_per_draw`)."""
    return {
        name: interval(ours[name] - theirs[name] if higher else theirs[name] - ours[name])
        for name, higher in HIGHER_IS_BETTER.items()
    }


def mean_figures(seeds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean over seeds of each figure, draw by draw."""
    return {name: np.mean([seed[name] for seed in seeds], axis=0) for name in seeds[0]}


def interval(difference: np.ndarray) -> Gain:
    """What was observed and the middle 95 % of the draws; draws in which the figure does not exist are left out."""
    drawn = difference[1:][np.isfinite(difference[1:])]
    if not np.isfinite(difference[0]) or not len(drawn):
        return Gain(float(difference[0]), np.nan, np.nan)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Gain(float(difference[0]), float(low), float(high))


def verdict(gain: Gain, episodes: float) -> str:
    """What may be said of a gain.

    >>> verdict(Gain(0.1, 0.05, 0.2), episodes=49), verdict(Gain(0.1, 0.05, 0.2), episodes=50)
    ('inconclusive: under 50 episodes', 'better')
    """
    if episodes < ENOUGH_EPISODES:
        return f"inconclusive: under {ENOUGH_EPISODES} episodes"
    if not np.isfinite([gain.observed, gain.low, gain.high]).all():
        return "no figure to compare"
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "not shown"
