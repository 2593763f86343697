"""What this repository has measured of the guide's claims, beside its null: said with each step that makes the claim.

Numbers of `docs/study-*.json` and `docs/pattern-rates.json`; a test holds them against those files.
"""

from typing import NamedTuple


class Measured(NamedTuple):
    """One row of a study."""

    step: int
    """Of the guide's ten."""
    study: str
    """`docs/study-<study>.json`."""
    statistic: str
    figure: str
    events: str
    n: int
    estimate: float
    null: float
    verdict: str

    def words(self) -> str:
        """As a sentence with its source."""
        return (
            f"{self.figure}: {self.estimate:.1%} against {self.null:.1%} by the null, n = {self.n}: {self.verdict} "
            f"(docs/study-{self.study}.md)"
        )


HOURLY, PRINTS = "hourly-btc-2026", "prints-btc-2024"
STUDIED = (
    Measured(
        3, HOURLY, "near_zones", "cascades that start within 1 % of a zone", "L2, price alone",
        276, 0.07971, 0.02893, "above the null",
    ),
    Measured(
        3, PRINTS, "near_zones", "cascades that start within 1 % of a zone", "L2, price alone",
        414, 0.09179, 0.01039, "above the null",
    ),
    Measured(
        4, HOURLY, "heavier_side", "moves toward the heavier side in 60 min", "hourly, |A_2| ≥ 0.4",
        8135, 0.47412, 0.49123, "not shown",
    ),
    Measured(
        4, PRINTS, "heavier_side", "moves toward the heavier side in 60 min", "hourly, |A_2| ≥ 0.4",
        4954, 0.43581, 0.47059, "below the null",
    ),
    Measured(
        9, HOURLY, "punched_through", "touched zones punched through", "first touches of the nearest zone",
        214, 0.39720, 0.42522, "not shown",
    ),
)  # fmt: skip


class Rate(NamedTuple):
    """How often a pattern is flagged on simulated markets, both sides alike, and what followed."""

    step: int
    pattern: str
    null: float
    """Share of minutes flagged where zones do not matter, the mean of both sides."""
    matter: float
    """... and where they do."""
    verdict: str
    """Of cascades within 60 minutes after its rise, where zones matter."""

    def words(self) -> str:
        """As a sentence with its source."""
        return (
            f"{self.pattern.replace('_', ' ')} is up in {self.null:.2%} of minutes of simulated markets where zones "
            f"mean nothing and in {self.matter:.2%} where they matter; cascades after it: {self.verdict} "
            f"(docs/pattern-rates.md)"
        )


RATES = (
    Rate(2, "stale_timeframe", 0.6171, 0.4234, "inconclusive: 3 of the rarer outcome"),
    Rate(4, "asymmetry", 0.1848, 0.1595, "above the null"),
    Rate(5, "convergence", 0.0373, 0.0564, "not shown"),
    Rate(6, "migration", 0.1237, 0.1725, "inconclusive: 27 of 50 events"),
    Rate(7, "voids", 0.0005, 0.0030, "inconclusive: 2 of the rarer outcome"),
    Rate(8, "funding_extreme", 0.0234, 0.0201, "inconclusive: 17 of 50 events"),
    Rate(8, "funding_asymmetry", 0.0034, 0.0056, "inconclusive: 36 of 50 events"),
)

UNMEASURED = {
    1: "which map suits which trade is the guide's word: it was not measured",
    7: "that price moves fast through a void was not measured",
    8: "after funding beyond its borders: 5 crossings were recorded at the most, too few to tell",
}
"""Claims without a figure."""


def measured(step: int) -> tuple[str, ...]:
    """What was found about a step's claim."""
    rows = [one.words() for one in (*STUDIED, *RATES) if one.step == step]
    return (*rows, *([UNMEASURED[step]] if step in UNMEASURED else []))
