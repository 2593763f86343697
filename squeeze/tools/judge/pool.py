"""Rows of several markets under the names of their figures, until the figures are wanted."""

from collections.abc import Callable

import numpy as np

from squeeze.tools.judge.estimators import (
    QUARTER,
    Days,
    Drawing,
    Finding,
    Naming,
    Values,
    beside,
    correlations,
    ratio_of_sums,
    separations,
)

Key = tuple[str, str]
Columns = tuple[Values, Values, Days]
CHANCE, ACTUAL, EVEN = "chance", "actual", "a coin"
APART = 100_000
"""Days between two markets: their days are not the same day."""


class Pool:
    """Rows by measure and by what foretold them; those of one measure must be added in one order, to be paired."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing, self.markets = drawing, 0
        self.rows: dict[Key, list[Columns]] = {}

    def add(self, measure: str, scores: str, over: np.ndarray, under: np.ndarray, days: np.ndarray) -> None:
        """Rows of the market being added; arrays of one shape, `days` maybe only of the first axis."""
        each = np.broadcast_to(days.reshape(-1, *[1] * (over.ndim - 1)), over.shape) + APART * self.markets
        self.rows.setdefault((measure, scores), []).append((over.ravel(), under.ravel(), each.ravel()))

    def next_market(self) -> None:
        """What is added from now on is of another market."""
        self.markets += 1

    def held(self, measure: str, scores: str) -> Columns:
        """All rows of one key."""
        over, under, days = (np.concatenate(column) for column in zip(*self.rows[measure, scores], strict=True))
        return over, under, days

    def keys(self, measure: str) -> list[str]:
        """By what a measure was foretold, as added."""
        return [scores for name, scores in self.rows if name == measure]

    def measures(self) -> list[str]:
        """As added."""
        return list(dict.fromkeys(name for name, _ in self.rows))

    def ratio(self, measure: str, market: str, scores: str, against: str) -> Finding:
        """Σ over / Σ under, beside a quarter (`CHANCE`), one (`ACTUAL`) or what other scores give."""
        over, under, days = self.held(measure, scores)
        fixed = {CHANCE: QUARTER, ACTUAL: 1.0}
        null = fixed[against] * under if against in fixed else self.held(measure, against)[0]
        kept = (under > 0) | (over > 0)  # a row of nothing changes no sum
        naming = Naming(measure, market, scores, against)
        return ratio_of_sums(naming, over[kept], under[kept], null[kept], days[kept], self.drawing)

    def correlation(self, measure: str, market: str, scores: str, against: str) -> Finding:
        """Of `over` with `under`, beside that of other scores, or zero (`CHANCE`)."""
        return self._drawn(correlations, measure, market, scores, against, 0.0)

    def separation(self, measure: str, market: str, scores: str, against: str) -> Finding:
        """AUC of `over` where `under` is 1 against where it is 0, beside that of other scores, or a half (`EVEN`)."""

        def auc(score: Values, label: Values, days: Days, drawing: Drawing) -> np.ndarray:
            return separations(score, label > 0, days, drawing)

        return self._drawn(auc, measure, market, scores, against, 0.5)

    def _drawn(
        self,
        figure: Callable[[Values, Values, Days, Drawing], np.ndarray],
        measure: str,
        market: str,
        scores: str,
        against: str,
        chance: float,
    ) -> Finding:
        over, under, days = self.held(measure, scores)
        null = chance if against in (CHANCE, EVEN) else figure(*self.held(measure, against), self.drawing)
        drawn = figure(over, under, days, self.drawing)
        return beside(Naming(measure, market, scores, against), len(over), drawn, null)
