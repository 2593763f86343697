"""What a reading implies for the time after it, as statements that come true or do not.

Their probabilities know volatility and nothing of the maps: a driftless walk touches a price d away within h minutes
with erfc(d / (σ √(2h))) (the reflection principle), and reaches one of two prices first in inverse proportion to its
distance. Where a step says more than that, its statements come true more often, and the journal's table shows it.
"""

import math
from typing import Literal

from squeeze.strict import Strict, require
from squeeze.tools.reading.answer import HELD, PLACES, price
from squeeze.tools.reading.clusters import edge, within, zone_prices
from squeeze.tools.reading.gather import Reading

Kind = Literal["swept", "first", "toward", "touched", "crossed", "target", "cascade"]
BY_VOLATILITY = "volatility alone"
EVEN = "even chances: the claim was not shown"


class Prediction(Strict, frozen=True, kw_only=True):
    """One statement about the time after a reading."""

    step: int
    """Of the guide's ten; 0 for those of a checklist or a model."""
    kind: Kind
    """`swept`: the mark passes `far`. `touched`, `target`: it reaches `near`. `crossed`: having reached `near` it
    reaches `far`; void if it never did. `first`: it reaches `near` before `far`, which lies on the other side; void if
    neither. `toward`: at the end it stands on the side's side of where it began. `cascade`: more than `threshold_usd`
    of the side is liquidated.
    """
    side: int
    """0 below the mark (longs), 1 above it (shorts)."""
    words: str
    horizon_minutes: int
    probability: float
    basis: str
    """Where the probability is from."""
    near: float | None = None
    """Prices, in quote currency."""
    far: float | None = None
    threshold_usd: float | None = None

    def __post_init__(self) -> None:
        require(self.side in (0, 1) and self.horizon_minutes > 0, "side is 0 or 1, horizon_minutes positive")
        require(0 <= self.probability <= 1, "probability lies in [0, 1]")
        for kinds, name in (
            (("swept", "first", "crossed"), "far"), (("first", "touched", "crossed", "target"), "near"),
            (("cascade",), "threshold_usd"),
        ):  # fmt: skip
            value = getattr(self, name)
            require(self.kind not in kinds or (value is not None and value > 0), f"{self.kind} needs {name}")


def touch_probability(distance_log: float, sigma_log: float) -> float:
    """That a driftless walk with this deviation over the horizon touches a price so far away.

    >>> round(touch_probability(0.01, 0.01), 3), touch_probability(0.0, 0.01)
    (0.317, 1.0)
    """
    return math.erfc(max(distance_log, 0.0) / (sigma_log * math.sqrt(2)))


def horizon_sigma(reading: Reading) -> float:
    """Deviation of the log price over the profile's horizon: from a minute's up to 4 hours, from 4 hours' beyond."""
    now, minutes = reading.scene.now[0], reading.profile.horizon_minutes
    if minutes <= 240:
        return float(now["sigma_1m"]) * math.sqrt(minutes)
    return float(now["sigma_4h"]) * math.sqrt(minutes / 240)


def predictions(reading: Reading) -> tuple[Prediction, ...]:
    """Of steps 3, 4, 5, 7 and 8; none while volatility is not known."""
    sigma = horizon_sigma(reading)
    if not sigma > 0:
        return ()
    return (
        *_swept(reading, sigma), *_first(reading), *_toward(reading), *_converged(reading, sigma),
        *_crossed(reading, sigma), *_crowded(reading),
    )  # fmt: skip


def _one(reading: Reading, step: int, kind: Kind, side: int, words: str, probability: float, basis: str,
         near: float | None = None, far: float | None = None) -> Prediction:  # fmt: skip
    return Prediction(
        step=step, kind=kind, side=side, words=words, horizon_minutes=reading.profile.horizon_minutes,
        probability=min(max(probability, 0.0), 1.0), basis=basis, near=near, far=far,
    )  # fmt: skip


def _swept(reading: Reading, sigma: float) -> list[Prediction]:
    """The heaviest cluster of each side is swept whole."""
    found = []
    for side in range(2):
        for zone in within(reading, side)[:1]:
            low, high = zone_prices(reading, zone)
            far = low if side == 0 else high
            words = f"the heaviest cluster {PLACES[side]} is swept, past {price(far)}"
            chance = touch_probability(float(zone["far_log"]), sigma)
            found.append(_one(reading, 3, "swept", side, words, chance, BY_VOLATILITY, None, far))
    return found


def _first(reading: Reading) -> list[Prediction]:
    """Of the nearest clusters the one that is nearer in log price comes first."""
    sides = [reading.scene.zones[reading.scene.zones["side"] == side] for side in range(2)]
    if not all(own.size for own in sides):
        return []
    nearest = [own[own["near_log"].argmin()] for own in sides]
    away = [max(float(zone["near_log"]), 0.0) for zone in nearest]
    if not min(away) > 0:
        return []
    side = int(away[1] < away[0])
    edges = [edge(reading, one, away[one]) for one in range(2)]
    words = f"the nearest cluster {PLACES[side]} is touched before the one {PLACES[1 - side]}"
    chance = away[1 - side] / sum(away)
    return [_one(reading, 3, "first", side, words, chance, BY_VOLATILITY, edges[side], edges[1 - side])]


def _toward(reading: Reading) -> list[Prediction]:
    return [
        _one(reading, 4, "toward", one.side, f"the price ends {PLACES[one.side]}, on the heavier side", 0.5, EVEN)
        for one in reading.flagged("asymmetry")
    ]


def _converged(reading: Reading, sigma: float) -> list[Prediction]:
    """The level of each side that most maps agree with, if enough do, is touched."""
    found = []
    for one in reading.flagged("convergence"):
        centroid = one.evidence["centroid_log"]
        level = edge(reading, one.side, centroid)
        words = f"the level {price(level)}, on which {one.evidence['votes']:.0f} maps agree, is touched"
        chance = touch_probability(centroid, sigma)
        found.append(_one(reading, 5, "touched", one.side, words, chance, BY_VOLATILITY, level))
    return found


def _crossed(reading: Reading, sigma: float) -> list[Prediction]:
    """Once entered, the nearest void of each side is crossed."""
    found = []
    for side in range(2):
        for near, far in reading.voids[side][:1].tolist():
            chance = touch_probability(far, sigma) / max(touch_probability(near, sigma), 1e-300)
            prices = edge(reading, side, near), edge(reading, side, far)
            words = f"entered at {price(prices[0])}, the void {PLACES[side]} is crossed to {price(prices[1])}"
            found.append(_one(reading, 7, "crossed", side, words, chance, BY_VOLATILITY, *prices))
    return found


def _crowded(reading: Reading) -> list[Prediction]:
    return [
        _one(reading, 8, "toward", one.side, f"the price ends {PLACES[one.side]}: {HELD[one.side]} are crowded", 0.5,
             EVEN)
        for one in reading.flagged("funding_extreme")
    ]  # fmt: skip


def of_target(reading: Reading, target: float) -> tuple[Prediction, ...]:
    """Of a checklist: the target is reached, and reached before a price as far on the other side."""
    distance, sigma = math.log(target / reading.mark), horizon_sigma(reading)
    side, opposite = int(distance > 0), reading.mark * math.exp(-distance)
    first = _one(reading, 0, "first", side, f"{price(target)} comes before {price(opposite)}, as far on the other side",
                 0.5, BY_VOLATILITY, target, opposite)  # fmt: skip
    if not sigma > 0:
        return (first,)
    chance = touch_probability(abs(distance), sigma)
    words = f"the target {price(target)} is reached"
    return (_one(reading, 0, "target", side, words, chance, BY_VOLATILITY, target), first)
