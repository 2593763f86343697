"""Where price was beside the zones, and where it went: arrays by step that the measures share."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from squeeze.tools.study.history import History

SIGNS = (-1.0, 1.0)
"""The way that hurts each side: longs lie below the mark, shorts above."""

Steps = Float[np.ndarray, " _"]
Chosen = Bool[np.ndarray, " _"]


def zone_distance(held: History, price: Steps, lag: int, chosen: Chosen, to_band: bool = False) -> Steps:
    """|zone / price - 1| for the nearest of the chosen zones in the map of `lag` steps before, step by step.

    Of a zone the centroid counts, or its nearer edge (0 inside) with `to_band`. Infinite where there is no such zone,
    NaN where that map was not seen or there is no price.
    """
    zones, target = held.zones, held.zones.step + lag
    kept = chosen & (target < len(price))
    target, mark = target[kept], held.close[zones.step[kept]]
    sign = np.array(SIGNS)[zones.side[kept]]
    if to_band:
        near, far = (mark * np.exp(sign * x[kept]) for x in (zones.near_log, zones.far_log))
        low, high = np.minimum(near, far), np.maximum(near, far)
        away = np.maximum(np.maximum(low - price[target], price[target] - high), 0.0) / price[target]
    else:
        away = np.abs(mark * np.exp(sign * zones.centroid_log[kept]) / price[target] - 1)
    out = np.full(len(price), np.inf)
    np.fmin.at(out, target, away)
    seen = np.concatenate([np.zeros(min(lag, len(price)), bool), held.seen[: max(len(price) - lag, 0)]])
    return np.asarray(np.where(seen & np.isfinite(price), out, np.nan))


def forward_return(close: Steps, count: int) -> Steps:
    """Log return over the next `count` steps; NaN at the end."""
    logs = np.log(close)
    return np.asarray(np.concatenate([logs[count:], np.full(min(count, len(logs)), np.nan)]) - logs)


def ahead_extreme(values: Steps, count: int, highest: bool) -> Steps:
    """The extreme of the next `count` steps, this one not among them; NaN where any of them is unknown."""
    out = np.full(len(values), np.nan)
    if len(values) > count:
        windows = np.lib.stride_tricks.sliding_window_view(values[1:], count)
        out[: len(windows)] = windows.max(axis=1) if highest else windows.min(axis=1)
    return out


def nearest_zones(held: History, side: int, chosen: Chosen | None = None) -> Int[np.ndarray, " step"]:
    """The row of each step's nearest zone of a side, of the chosen ones; -1 where there is none."""
    rows = np.flatnonzero(held.zones.side == side if chosen is None else (held.zones.side == side) & chosen)
    order = np.lexsort((held.zones.near_log[rows], held.zones.step[rows]))
    first = rows[order]
    steps, place = np.unique(held.zones.step[first], return_index=True)
    out = np.full(len(held.close), -1)
    out[steps] = first[place]
    return out


class Swings(NamedTuple):
    """Steps of turns and of all running extremes, each with 0 for a low and 1 for a high."""

    turns: Int[np.ndarray, " turn"]
    kinds: Int[np.ndarray, " turn"]
    running: Int[np.ndarray, " running"]
    """Bars that made a new extreme of their swing: the turns, and those that a later bar went beyond."""
    running_kinds: Int[np.ndarray, " running"]


def zigzag(high: Steps, low: Steps, reversal: float) -> Swings:
    """Local extremes that price left by at least `reversal` (a fraction), and the running extremes on the way there.

    It looks ahead to the reversal: an outcome, never a feature. A bar that makes a new extreme does not also leave it.
    Unknown bars are skipped.

    >>> price = np.array([100.0, 102.0, 100.5, 103.0, 102.9])
    >>> [part.tolist() for part in zigzag(price, price, 0.01)]
    [[0, 1, 2], [0, 1, 0], [1, 2, 3], [1, 0, 1]]
    """
    turns: list[tuple[int, int]] = []
    running: list[tuple[int, int]] = []
    known = np.flatnonzero(np.isfinite(high) & np.isfinite(low)).tolist()
    tops, bottoms = high.tolist(), low.tolist()
    rising: bool | None = None
    top = bottom = known[0] if known else 0
    for i in known[1:]:
        if rising is not False:
            if tops[i] > tops[top]:
                top = i
                running.append((i, 1))
            elif bottoms[i] <= tops[top] * (1 - reversal):
                turns.append((top, 1))
                running.append((i, 0))
                rising, bottom = False, i
                continue
        if rising is not True:
            if bottoms[i] < bottoms[bottom]:
                bottom = i
                running.append((i, 0))
            elif tops[i] >= bottoms[bottom] * (1 + reversal):
                turns.append((bottom, 0))
                running.append((i, 1))
                rising, top = True, i
    columns = (
        np.array([row[n] for row in rows], np.int64) for rows in (turns, dict.fromkeys(running)) for n in range(2)
    )
    return Swings(*columns)


def crossed_first(
    held: History, start: int, near: float, far: float, side: int, beyond: float, retreat: float, most: int
) -> float:
    """1 if price, having touched `near` in bar `start`, goes `beyond` the far edge before `retreat` off the near one.

    0 if it retreats first, NaN if a later bar does both or neither comes within `most` bars. In the touching bar only
    the close can tell a retreat, for its extreme may have come before the touch.
    """
    high, low = held.high[start : start + most], held.low[start : start + most]
    if side == 0:
        through, back = low <= far * (1 - beyond), high >= near * (1 + retreat)
        back[0] = held.close[start] >= near * (1 + retreat)
    else:
        through, back = high >= far * (1 + beyond), low <= near * (1 - retreat)
        back[0] = held.close[start] <= near * (1 - retreat)
    first = int(np.argmax(through | back))
    if not (through[first] or back[first]):
        return np.nan
    if through[first] and back[first]:
        return np.nan
    return float(through[first])
