"""A self-exciting intensity from recorded liquidations: each makes more likely, and the likelier the larger it was.

    λ_s(n) = base + own · E_s(n) + other · E_(1-s)(n),    E_s(n) = (1 - φ) Σ_(i known before n) m_i φ^(age of i)

with marks m = (q / mean q)^a over their mean, and ages in intervals: a marked Hawkes process with an exponential kernel
on a grid (domain.md §5.4; Kirchner 2016, "Hawkes and INAR(∞) processes"). `own` and `other` are the descendants of a
liquidation of mean mark on its own and on the other side; both sides share the numbers, since one is the other's
mirror. They are fitted on what was known by the end of training, by the likelihood of a Poisson process whose intensity
stands still within an interval, which finds the mean whatever the true distribution is (Gourieroux, Monfort and
Trognon, 1984).

*Prints* are counted per interval of the label. *Interval sums* come as they are, in units of their mean: how many
prints made them was not recorded. λ is then in prints, or in mean sums, an interval.
"""

from dataclasses import dataclass, replace
from typing import no_type_check

import msgspec
import numpy as np
from numba import njit
from scipy.optimize import minimize

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.spec import Spec

HALF_LIVES = (1.0, 2.0, 4.0, 12.0, 36.0, 144.0)
"""Tried for the decay, in intervals: of five minutes, from five minutes to twelve hours."""
EXPONENTS = (0.0, 0.5, 1.0)
"""Tried for the mark; 0 counts prints, and says nothing of sums."""
LEAST_EVENTS = 30
"""Fewer than this say nothing of decay."""


@dataclass(frozen=True, slots=True, eq=False)
class Liquidated:
    """Recorded liquidations, a row each; a sum stands once per side, stamped at its end.

    `interval_ns` is the grid: the length of the sums, or of the intervals in which prints are counted.
    """

    event_ns: np.ndarray
    known_at_ns: np.ndarray
    side: np.ndarray
    usd: np.ndarray
    interval_ns: int
    sums: bool

    def known_by(self, until_ns: int) -> "Liquidated":
        """What was known by a time."""
        kept = self.known_at_ns <= until_ns
        return replace(
            self,
            event_ns=self.event_ns[kept],
            known_at_ns=self.known_at_ns[kept],
            side=self.side[kept],
            usd=self.usd[kept],
        )

    def ends_ns(self) -> np.ndarray:
        """The end of each one's interval, (row,)."""
        return -(-self.event_ns // self.interval_ns) * self.interval_ns


class Hawkes(msgspec.Struct, frozen=True):
    """Fitted numbers; the half-life is in intervals, and `mark_scale` makes the mean mark 1."""

    base: float
    own: float
    other: float
    half_life: float
    exponent: float
    mean_usd: float
    mark_scale: float
    log_likelihood: float

    def marks(self, usd: np.ndarray) -> np.ndarray:
        """How much each liquidation excites, of the same shape."""
        return (usd / self.mean_usd) ** self.exponent / self.mark_scale


def recorded(lake: Lake, spec: Spec) -> Liquidated:
    """The liquidations of a run's market, of the first kind that its spec names; sums that are NaN are left out."""
    stream = spec.market.liquidations
    if stream is None:
        raise DataError(f"{spec.market.symbol}: the self-exciting baseline needs market.liquidations to be configured")
    rows = lake.read(stream.kinds[0], stream.venue, spec.market.symbol)
    event_ns, known_at_ns = rows["event_ns"], rows["known_at_ns"]
    if "cadence_ns" not in rows:
        every_ns = spec.label.every_minutes * MINUTE_NS
        return Liquidated(event_ns, known_at_ns, rows["side"].astype(np.int64), rows["usd"], every_ns, False)
    usd = np.stack([rows["long_usd"], rows["short_usd"]], axis=1)
    kept = np.isfinite(usd).all(axis=1)
    interval_ns = int(rows["cadence_ns"][0]) if len(kept) else MINUTE_NS
    event_ns, known_at_ns = (np.repeat(times[kept], 2) for times in (event_ns, known_at_ns))
    side = np.tile(np.arange(2), kept.sum())
    return Liquidated(event_ns, known_at_ns, side, usd[kept].reshape(-1), interval_ns, True)


def fit(found: Liquidated) -> Hawkes:
    """The likeliest numbers; `DataError` with too few liquidations to say."""
    if len(found.usd) < LEAST_EVENTS or not found.usd.sum() > 0:
        raise DataError(f"{len(found.usd)} liquidations are too few to fit a decay; at least {LEAST_EVENTS} are needed")
    begins_ns, target = grid(found)
    exponents = EXPONENTS[1:] if found.sums else EXPONENTS
    tried = [_fitted(found, begins_ns, target, half, a) for half in HALF_LIVES for a in exponents]
    return max(tried, key=lambda one: one.log_likelihood)


def grid(found: Liquidated) -> tuple[np.ndarray, np.ndarray]:
    """Begins of the recorded intervals, and per side what fell in each, (interval, side).

    Prints were recorded on every day of a run of UTC days that have any, from the run's first print to its last. An
    interval without a record is not among them: it is not zero.
    """
    length_ns, ends_ns = found.interval_ns, found.ends_ns()
    if found.sums:
        begins_ns = np.unique(ends_ns) - length_ns
    else:
        days = np.unique(found.event_ns // DAY_NS)
        runs = np.split(days, np.flatnonzero(np.diff(days) > 1) + 1)
        spans = [ends_ns[(found.event_ns >= r[0] * DAY_NS) & (found.event_ns < (r[-1] + 1) * DAY_NS)] for r in runs]
        begins_ns = np.concatenate([np.arange(span.min(), span.max() + 1, length_ns) for span in spans]) - length_ns
    target = np.zeros((len(begins_ns), 2))
    place = np.searchsorted(begins_ns, ends_ns - length_ns)
    np.add.at(target, (place, found.side), found.usd / found.usd.mean() if found.sums else 1.0)
    return begins_ns, target


def _fitted(found: Liquidated, begins_ns: np.ndarray, target: np.ndarray, half_life: float, exponent: float) -> Hawkes:
    mean_usd = float(found.usd.mean())
    scale = float(((found.usd / mean_usd) ** exponent).mean())
    start = Hawkes(0.0, 0.0, 0.0, half_life, exponent, mean_usd, scale, 0.0)
    excited = excitation(found, start, begins_ns)
    inputs = np.stack([np.ones_like(excited), excited, excited[:, ::-1]]).reshape(3, -1)
    values = target.reshape(-1)

    def cost(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        rate = numbers @ inputs
        return float((rate - values * np.log(rate)).mean()), inputs @ (1 - values / rate) / len(values)

    mean = values.mean()
    best = minimize(
        cost,
        np.array([mean / 2, 0.3, 0.1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1e-6 * mean, None), (0, None), (0, None)],
    )
    base, own, other = best.x.tolist()
    return Hawkes(base, own, other, half_life, exponent, mean_usd, scale, -float(best.fun) * len(values))


def excitation(found: Liquidated, numbers: Hawkes, at_ns: np.ndarray) -> np.ndarray:
    """E of both sides at rising times, (row, side): from what was known by each time and whose interval had ended."""
    ends_ns = found.ends_ns()
    usable_ns = np.maximum(ends_ns, found.known_at_ns)
    order = np.argsort(usable_ns, kind="stable")
    half_life_ns = numbers.half_life * found.interval_ns
    summed = _faded_sums(
        usable_ns[order], ends_ns[order], found.side[order], numbers.marks(found.usd[order]), half_life_ns, at_ns
    )
    return np.asarray((1 - 0.5 ** (1 / numbers.half_life)) * summed)


@njit(cache=True)
@no_type_check
def _faded_sums(
    usable_ns: np.ndarray,
    ends_ns: np.ndarray,
    side: np.ndarray,
    marks: np.ndarray,
    half_life_ns: float,
    at_ns: np.ndarray,
) -> np.ndarray:
    """Marks usable by each time, each halved with every half-life since its interval's end: (row, side)."""
    out = np.zeros((at_ns.size, 2))
    held = np.zeros(2)
    last, i = 0, 0
    for row in range(at_ns.size):
        while i < usable_ns.size and usable_ns[i] <= at_ns[row]:
            held *= 0.5 ** ((usable_ns[i] - last) / half_life_ns)
            held[side[i]] += marks[i] * 0.5 ** ((usable_ns[i] - ends_ns[i]) / half_life_ns)
            last = usable_ns[i]
            i += 1
        out[row] = held * 0.5 ** ((at_ns[row] - last) / half_life_ns)
    return out


def log_intensity(found: Liquidated, numbers: Hawkes, at_ns: np.ndarray) -> np.ndarray:
    """Log λ of the own and of the other side at rising times, (row, side, 2); looks at nothing known later."""
    excited = excitation(found, numbers, at_ns)
    rate = np.log(numbers.base + numbers.own * excited + numbers.other * excited[:, ::-1])
    return np.stack([rate, rate[:, ::-1]], axis=2)
