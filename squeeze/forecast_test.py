"""Do events come as often as the model says? A bet against its probabilities that may be looked at at any time.

For each side and horizon money is put on "the odds are θ times what was said", for several θ and from every possible
beginning. While the model is right the capital is a martingale that starts at 1, so that it ever reaches 1 / α has a
chance of at most α, however often one looks (Ville's inequality). Sources: Vovk and Wang (2021), "E-values"; Shin,
Ramdas and Rinaldo (2023), "E-detectors", for the beginnings.
"""

import math

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, MINUTE_NS

ODDS = np.array([1 / 8, 1 / 4, 1 / 2, 2, 4, 8])
"""What the bets say that the odds are multiplied by."""
RICHEST = 1e12
"""Capital is cut off here, which keeps it finite and the test valid."""
PENDING = 4096
"""At most so many predictions wait for their outcome; the oldest are forgotten."""


class Calibration(msgspec.Struct, frozen=True):
    """Observed against expected events of one side and horizon, over the trailing days."""

    side: str
    horizon_minutes: int
    observed: int
    expected: float
    ratio: float
    """Observed over expected; NaN while nothing is expected."""
    low: float
    high: float
    """95 % interval of the ratio, exact for a Poisson count."""
    capital: float
    """What the bets are worth now; 1 at the beginning."""
    drifted: bool
    """The capital has passed the limit that it reaches with the stated chance at most."""


class ForecastTest:
    """Predictions in, outcomes in, and whether they still fit; bounded memory.

    Of overlapping label intervals only one in a horizon is taken, the first that begins when the last has ended: then
    each outcome is known before the next prediction is made, which is what makes the bets fair. `false_alarm` is shared
    by all sides and horizons: the chance that any of them is ever called drifted while the model is right, assuming
    that whether an outcome gets recorded does not depend on it.
    """

    def __init__(self, horizons_minutes: tuple[int, ...], false_alarm: float, trailing_days: int) -> None:
        shape = len(SIDES), len(horizons_minutes)
        self.horizons_minutes = horizons_minutes
        self.limit = len(SIDES) * len(horizons_minutes) / false_alarm
        self.free_ns = np.zeros(len(horizons_minutes), np.int64)
        """When the next prediction of a horizon may be taken."""
        self.stakes = np.zeros((*shape, len(ODDS)))
        """Capital of the bets that have begun."""
        self.outcomes = np.zeros(shape, np.int64)
        self.days = np.zeros((trailing_days, 2, *shape))
        """Observed and expected of each day, by day modulo the window."""
        self.clock = np.zeros(2, np.int64)
        """Close of the newest outcome, and its day."""
        self.pending: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def push(self, close_ns: int, probabilities: np.ndarray) -> None:
        """Hear a prediction (side, horizon) made at `close_ns`."""
        taken = close_ns >= self.free_ns
        if taken.any():
            horizons_ns = np.array(self.horizons_minutes) * MINUTE_NS
            self.free_ns[taken] = close_ns + horizons_ns[taken]
            self.pending[close_ns] = np.array(probabilities, float), taken
            if len(self.pending) > PENDING:
                del self.pending[next(iter(self.pending))]

    def outcome(self, close_ns: int, truth: np.ndarray) -> bool:
        """Hear what came of the prediction made at `close_ns`, truth (side, horizon); whether it was one of those
        taken.

        Outcomes come in order of their predictions (`StepError` otherwise); one that is never told is passed over.
        """
        if close_ns <= self.clock[0]:
            raise StepError(f"an outcome of {close_ns} cannot follow one of {self.clock[0]}")
        self.clock[0] = close_ns
        for passed in [at for at in self.pending if at < close_ns]:
            del self.pending[passed]
        waiting = self.pending.pop(close_ns, None)
        if waiting is None:
            return False
        probabilities, taken = waiting
        self._count(close_ns // DAY_NS, probabilities, truth, taken)
        self._bet(probabilities, truth, taken)
        return True

    def _count(self, day: int, probabilities: np.ndarray, truth: np.ndarray, taken: np.ndarray) -> None:
        window = len(self.days)
        self.days[[(self.clock[1] + 1 + i) % window for i in range(min(day - self.clock[1], window))]] = 0.0
        self.clock[1] = day
        self.days[day % window] += np.stack([truth & taken, np.where(taken, probabilities, 0.0)])

    def _bet(self, probabilities: np.ndarray, truth: np.ndarray, taken: np.ndarray) -> None:
        """The bet that begins with outcome t has 1 / (t (t + 1)) of the capital at the start: all of them have 1."""
        self.outcomes += taken
        t = np.maximum(self.outcomes, 1)[..., None]
        p = probabilities[..., None]
        payoff = np.where(truth[..., None], ODDS, 1.0) / (1.0 - p + ODDS * p)
        paid = np.minimum(payoff * (self.stakes + 1.0 / (t * (t + 1.0))), RICHEST)
        self.stakes[:, taken] = paid[:, taken]

    def capital(self) -> np.ndarray:
        """What the bets are worth now, (side, horizon); bets that have not begun keep their stake."""
        worth: np.ndarray = self.stakes.mean(axis=2) + 1.0 / (self.outcomes + 1.0)
        return worth

    def report(self) -> tuple[Calibration, ...]:
        """One figure for each side and horizon."""
        observed, expected = self.days.sum(axis=0)
        capital = self.capital()
        found = []
        for s, side in enumerate(SIDES):
            for h, minutes in enumerate(self.horizons_minutes):
                count, mean = round(observed[s, h]), float(expected[s, h])
                low, high = poisson_interval(count)
                ratio, low, high = (value / mean if mean > 0 else math.nan for value in (count, low, high))
                worth = float(capital[s, h])
                found.append(Calibration(side, minutes, count, mean, ratio, low, high, worth, worth >= self.limit))
        return tuple(found)


def poisson_interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a Poisson mean after `count` events (Garwood 1936); it holds `level` at least.

    >>> [round(end, 2) for end in poisson_interval(0)], [round(end, 2) for end in poisson_interval(10)]
    ([0.0, 3.69], [4.8, 18.39])
    """
    tail = (1 - level) / 2
    ceiling = count + 10 * math.sqrt(count + 1) + 10
    low = 0.0 if count == 0 else _mean_where(count - 1, 1 - tail, ceiling)
    return low, _mean_where(count, tail, ceiling)


def _mean_where(count: int, chance: float, ceiling: float) -> float:
    """The Poisson mean at which `count` or fewer have this chance, by halving."""
    counts = np.arange(count + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    low, high = 0.0, ceiling
    for _ in range(60):
        mean = (low + high) / 2
        if np.exp(counts * math.log(mean) - mean - log_factorials).sum() > chance:
            low = mean
        else:
            high = mean
    return (low + high) / 2
