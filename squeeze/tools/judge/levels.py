"""Levels ahead of the mark, frozen: what the map held there, and what was liquidated there in the time that followed.

Levels are bins of `WIDTH_LOG` outward from the mark at which the map was frozen; level 0 touches it.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.spec import MapSpec
from squeeze.tools.judge.past import Past, Rows

WIDTH_LOG = 5e-4
LEVELS = 200
"""To 10 % from the mark."""
EXTREME_MINUTES = 60
BEFORE_EXTREME = 10.0
"""Levels between the mark and the extreme come after all beyond it: further than any of them."""
REACHES_LOG = (0.02, 0.05)

ByLevel = Float[np.ndarray, "snapshot side level"]
BySide = Float[np.ndarray, "snapshot side"]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshots:
    """Maps frozen at one time each, with what came after, over one horizon; side 0 is longs, below the mark."""

    row: Int[np.ndarray, " snapshot"]
    """Step at whose close it was frozen."""
    day: Int[np.ndarray, " snapshot"]
    """UTC day in which what came after began."""
    mark: Float[np.ndarray, " snapshot"]
    heat: Float[np.ndarray, "snapshot side bucket level"]
    """Unit mass, USD at the mark."""
    usd: ByLevel
    """Liquidated later, by level."""
    all_usd: BySide
    """Liquidated later, wherever it was."""
    reached_log: BySide
    """How far the mark went outward, at least 0."""
    extreme_log: BySide
    """How far the extreme of the last 60 minutes was from the mark, at least 0."""

    def where(self, kept: np.ndarray) -> "Snapshots":
        """Some of them."""
        return Snapshots(*(getattr(self, field.name)[kept] for field in fields(self)))


def centres() -> Float[np.ndarray, " level"]:
    """Distances of the levels' middles from the mark."""
    return np.asarray((np.arange(LEVELS) + 0.5) * WIDTH_LOG)


def moments(past: Past, horizon_minutes: int, since_ns: int = 0) -> Rows:
    """Steps that close on a multiple of the horizon, warm, an hour of steps behind them and the horizon ahead."""
    ahead, behind = past.steps_in(horizon_minutes), past.steps_in(EXTREME_MINUTES)
    rows = np.arange(behind - 1, len(past.closes_ns) - ahead)
    closes = past.closes_ns
    whole = (closes[rows + ahead] - closes[rows] == ahead * past.length_ns) & (
        closes[rows] - closes[rows - behind + 1] == (behind - 1) * past.length_ns
    )
    on_time = closes[rows] % (horizon_minutes * MINUTE_NS) == 0
    return np.asarray(rows[whole & on_time & past.seen[rows] & (closes[rows] >= since_ns)])


def freeze(past: Past, spec: MapSpec, rows: Rows) -> Float[np.ndarray, "snapshot side bucket level"]:
    """The map at the close of each of these steps, unit mass in USD."""
    heat = np.empty((len(rows), 2, len(spec.leverages), LEVELS))
    place = {int(row): i for i, row in enumerate(rows)}
    for _, end, held, _ in past.fold(spec, rows):
        if end - 1 in place:
            mark = float(past.mark[end - 1, 2])
            heat[place[end - 1]] = held.outward(mark, WIDTH_LOG, LEVELS) * mark
    return heat


def outward(price: np.ndarray, mark: np.ndarray | float) -> Float[np.ndarray, "*row side"]:
    """How far prices lie below the mark, and above it, in log price: one is minus the other."""
    away = np.log(np.asarray(mark) / price)
    return np.stack([away, -away], axis=-1)


def reached(past: Past, rows: Rows, horizon_minutes: int) -> BySide:
    """How far the mark went outward in the horizon that follows."""
    ahead = rows[:, None] + np.arange(1, past.steps_in(horizon_minutes) + 1)
    return _extremes(past, rows, ahead)


def extremes(past: Past, rows: Rows) -> BySide:
    """How far away the extremes of the last 60 minutes are, the step itself included."""
    behind = rows[:, None] - np.arange(past.steps_in(EXTREME_MINUTES))
    return _extremes(past, rows, behind)


def _extremes(past: Past, rows: Rows, steps: np.ndarray) -> BySide:
    low, high, mark = past.mark[steps, 0].min(axis=1), past.mark[steps, 1].max(axis=1), past.mark[rows, 2]
    return np.asarray(np.maximum(np.stack([np.log(mark / low), np.log(high / mark)], axis=1), 0.0))


def of_prints(
    past: Past, spec: MapSpec, rows: Rows, horizon_minutes: int,
    at_ns: np.ndarray, side: np.ndarray, usd: np.ndarray, marks: np.ndarray,
) -> Snapshots:  # fmt: skip
    """Snapshots of liquidations whose mark is known; times rise. A mark at a level's border counts outward."""
    found, total = np.zeros((len(rows), 2, LEVELS)), np.zeros((len(rows), 2))
    for i, row in enumerate(rows.tolist()):
        opens_ns = past.closes_ns[row]
        within = slice(*np.searchsorted(at_ns, (opens_ns, opens_ns + horizon_minutes * MINUTE_NS)))
        own, coins = side[within], usd[within]
        away = outward(marks[within], past.mark[row, 2])[np.arange(len(own)), own]
        level = np.floor(away / WIDTH_LOG).astype(np.int64)
        inside = (level >= 0) & (level < LEVELS)
        np.add.at(found[i], (own[inside], level[inside]), coins[inside])
        np.add.at(total[i], own, coins)
    return _snapshots(past, spec, rows, horizon_minutes, found, total)


def of_intervals(
    past: Past, spec: MapSpec, rows: Rows, horizon_minutes: int, closes_ns: np.ndarray, length_ns: int, usd: np.ndarray
) -> Snapshots:
    """Snapshots of liquidations of which only an interval's sum is known: (interval, side), closing at `closes_ns`.

    They are placed by the mark's path. Positions are liquidated where the mark first comes, so an interval's sum is
    spread evenly, in log price, over what the mark reached in it for the first time since the map was frozen; if it
    reached nothing new, over the range that it had in it; and nowhere if that was not ahead of the frozen mark.
    Horizons with an interval that was not recorded are left out.
    """
    per, steps = horizon_minutes * MINUTE_NS // length_ns, length_ns // past.length_ns
    place = {int(close): i for i, close in enumerate(closes_ns.tolist())}
    kept, found, total = [], [], []
    for row in rows.tolist():
        intervals = [place.get(int(past.closes_ns[row]) + (k + 1) * length_ns, -1) for k in range(per)]
        if min(intervals) < 0:
            continue
        at = row + 1 + np.arange(per * steps).reshape(per, steps)
        low, high = past.mark[at, 0].min(axis=1), past.mark[at, 1].max(axis=1)
        amounts = usd[intervals]
        mark = float(past.mark[row, 2])
        longs = spread(np.log(mark / high), np.log(mark / low), amounts[:, 0])
        shorts = spread(np.log(low / mark), np.log(high / mark), amounts[:, 1])
        kept.append(row)
        found.append(np.stack([longs, shorts]))
        total.append(amounts.sum(axis=0))
    shape = (len(kept), 2, LEVELS)
    by_level, all_usd = np.array(found).reshape(shape), np.array(total).reshape(shape[:2])
    return _snapshots(past, spec, np.array(kept, dtype=np.int64), horizon_minutes, by_level, all_usd)


def spread(near: np.ndarray, far: np.ndarray, usd: np.ndarray) -> Float[np.ndarray, " level"]:
    """Sums of following intervals by level, where the mark was `near` to `far` outward in each; see `of_intervals`.

    >>> spread(np.array([-1e-3, 0.0]), np.array([1e-3, 1.5e-3]), np.array([4.0, 8.0]))[:4].round(9).tolist()
    [2.0, 2.0, 8.0, 0.0]
    """
    found, furthest = np.zeros(LEVELS), 0.0
    edges = WIDTH_LOG * np.arange(LEVELS + 1)
    for low, high, amount in zip(near.tolist(), far.tolist(), usd.tolist(), strict=True):
        if high > furthest:
            low, furthest = furthest, high
        low = max(low, 0.0)
        if amount > 0 and high > low:
            covered = np.clip(edges, low, high)
            found += amount * np.diff(covered) / (high - low)
    return found


def _snapshots(
    past: Past, spec: MapSpec, rows: Rows, horizon_minutes: int, usd: np.ndarray, all_usd: np.ndarray
) -> Snapshots:
    return Snapshots(
        row=rows,
        day=np.asarray(past.closes_ns[rows] // DAY_NS),
        mark=past.mark[rows, 2],
        heat=freeze(past, spec, rows),
        usd=usd,
        all_usd=all_usd,
        reached_log=reached(past, rows, horizon_minutes),
        extreme_log=extremes(past, rows),
    )


def mixed(heat: np.ndarray, weights: np.ndarray) -> ByLevel:
    """Mass by level under leverage weights."""
    return np.asarray(np.einsum("...bl,b->...l", heat, weights))


def beyond_extreme(extreme_log: BySide) -> ByLevel:
    """The simple rival: the nearer a level lies beyond the last 60-minute extreme, the higher; those before it last.

    >>> scores = beyond_extreme(np.array([[0.001, 0.0]]))[0, :, :4]
    >>> np.argsort(-scores, axis=1).tolist()
    [[2, 3, 1, 0], [0, 1, 2, 3]]
    """
    past_it = centres() - extreme_log[..., None]
    return np.asarray(np.where(past_it >= 0, -past_it, past_it - BEFORE_EXTREME))


def nearest(shape: tuple[int, ...]) -> ByLevel:
    """The nearer the mark, the higher."""
    return np.asarray(np.broadcast_to(-centres(), shape))


def within(snapshots: Snapshots, reach_log: float) -> Bool[np.ndarray, "snapshot side level"]:
    """Levels wholly within reach, wherever the price went."""
    inside = np.arange(1, LEVELS + 1) * WIDTH_LOG <= reach_log + 1e-12
    return np.asarray(np.broadcast_to(inside, snapshots.usd.shape))


def crossed(snapshots: Snapshots) -> Bool[np.ndarray, "snapshot side level"]:
    """Levels that the mark came to: this looks ahead, so that nearness alone is no merit."""
    near_edge = np.arange(LEVELS) * WIDTH_LOG
    return np.asarray(near_edge < snapshots.reached_log[..., None])


def bands_log() -> dict[str, slice]:
    """Levels of each band of distance."""
    edges = (0.0, 0.005, 0.01, 0.02, 0.05, 0.10)
    names = ("0-0.5 %", "0.5-1 %", "1-2 %", "2-5 %", "5-10 %")
    cuts = [math.floor(edge / WIDTH_LOG + 0.5) for edge in edges]
    return {name: slice(a, b) for name, a, b in zip(names, cuts[:-1], cuts[1:], strict=True)}
