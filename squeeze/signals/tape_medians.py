"""Medians of an hour of seconds, of the spread and of the depth, in order of size so that the next need no sorting."""

from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.signals.tape_layout import DEPTH, HOUR, LEAST_SECONDS, RING, SPREAD

COLUMNS = np.array([SPREAD, DEPTH])
FARTHEST = RING - HOUR
"""Seconds after which the ring no longer holds what has to leave the hour: it is sorted anew then."""


class Medians:
    """The hour up to a second, sorted. Made from the rings, which hold all of it: there is nothing to keep."""

    def __init__(self) -> None:
        self._sorted = np.empty((len(COLUMNS), HOUR))
        self._known = np.zeros(len(COLUMNS), np.int64)
        """How many of the hour are known."""
        self._told = np.empty(len(COLUMNS))
        self._end = 0
        """The hour's last second; 0 for none."""

    def forget(self) -> None:
        """The rings have become others."""
        self._end = 0

    def of(self, rings: np.ndarray, end: int, running: int) -> list[float]:
        """Spread and depth over the hour up to `end`, NaN where too little of it is known; `running` is the second that
        runs, of which more may come.
        """
        if end != self._end:
            begins = not self._end or end >= running or running - self._end >= FARTHEST
            _median(rings, 0 if begins else self._end, end, self._sorted, self._known, self._told)
            self._end = end if end < running else 0
        told: list[float] = self._told.tolist()
        return told


@njit(cache=True)
@no_type_check
def _median(rings: np.ndarray, before: int, end: int, ordered: np.ndarray, known: np.ndarray, told: np.ndarray) -> None:
    """Bring the hour from `before`, 0 for none, to `end`: one second leaves for each that comes."""
    for i in range(len(COLUMNS)):
        ring = rings[COLUMNS[i]]
        if not before:
            ordered[i] = _sorted(ring, end - HOUR, end)
            known[i] = HOUR - np.isnan(ordered[i]).sum()
        else:
            leave, come = _sorted(ring, before - HOUR, end - HOUR), _sorted(ring, before, end)
            for at in range(end - before):  # smallest for smallest: so little lies between them
                known[i] = _exchange(ordered[i], known[i], leave[at], come[at])
        count, half = known[i], known[i] // 2
        told[i] = np.nan
        if count >= LEAST_SECONDS:
            told[i] = ordered[i, half] if count % 2 else (ordered[i, half - 1] + ordered[i, half]) / 2


@njit(cache=True)
@no_type_check
def _sorted(ring: np.ndarray, before: int, end: int) -> np.ndarray:
    """What the seconds after one up to another hold, NaN last."""
    values = np.empty(end - before)
    for at in range(end - before):
        values[at] = ring[(before + 1 + at) % RING]
    values.sort()
    return values


@njit(cache=True)
@no_type_check
def _place(ordered: np.ndarray, count: int, value: float) -> int:
    """How many are smaller."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
@no_type_check
def _exchange(ordered: np.ndarray, count: int, leaves: float, comes: float) -> int:
    """Take one number out and put one in, NaN for none; how many there are then."""
    if leaves == comes or (leaves != leaves and comes != comes):
        return count
    hole = _place(ordered, count, leaves) if leaves == leaves else count
    place = _place(ordered, count, comes) if comes == comes else count
    if place <= hole:
        ordered[place + 1 : hole + 1] = ordered[place:hole]
    else:
        place -= 1
        ordered[hole:place] = ordered[hole + 1 : place + 1]
    if comes == comes:
        ordered[place] = comes
    return count + (comes == comes) - (leaves == leaves)
