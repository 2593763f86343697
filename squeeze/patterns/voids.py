"""Void zones: stretches with little to liquidate, little traded and little resting, and the price entering one.

domain.md §4.2, 7. Each bin within `reach_log` has up to three votes, one for each map that tells of it:

- heat at most its `quantile` over the bins of both sides;
- traded volume at most `volume_share` of the median bin, both within the range in which volume was traded;
- resting depth at most its `quantile` over the bins that a book covers.

A bin is void with two votes or more, and unknown where fewer than two are recorded. Runs of void bins at least
`least_length_log` long are voids. `score` is the share of a side's known bins that lie in voids; the evidence is the
nearest void: its near edge, 0 if the mark stands in it, its length and the mean number of votes of its bins.

`entered_log` is how far the range of the mark went into voids of this side in this step. Only voids that the step just
before had found count, so what the step itself did to the maps cannot make the void that it enters; NaN after a hole.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

NAME = "voids"
EVIDENCE = ("near_log", "length_log", "votes", "entered_log")
REASON = "a void {length_log:.2%} long {near_log:.2%} {side}, by {votes:.1f} votes of three"
KNOWN = 8
"""The nearest voids of a side are remembered."""
MEMORY = np.dtype(
    [("close_ns", "i8", (2,)), ("low_bin", "i8", (2, KNOWN)), ("end_bin", "i8", (2, KNOWN))],
    align=True,
)
"""When a side's voids were told last, 0 for never; their absolute bins [low, end), empty where there is none."""


class Thresholds(Strict, frozen=True, kw_only=True):
    """What is a void."""

    reach_log: float = 0.05
    """Bins within this distance of the mark are looked at, on both sides."""
    quantile: float = 0.1
    """Of heat, and of depth: bins up to it vote for a void."""
    volume_share: float = 0.15
    """Of the median bin's volume: bins up to it vote for a void."""
    least_length_log: float = 0.005
    """A shorter run is none: 0.5 % for BTC, 1 % for DOT."""

    def __post_init__(self) -> None:
        require(0 < self.least_length_log <= self.reach_log, "least_length_log is positive and within reach_log")
        require(0 < self.quantile < 1 and 0 < self.volume_share < 1, "quantile and volume_share lie in (0, 1)")


@njit(cache=True)
@no_type_check
def detect(scene: Scene, thresholds: np.void, memory: np.void, out: np.ndarray) -> None:
    """The nearest void of each side, and how deep the mark went into those known before."""
    now = scene.now[0]
    last = min(scene.heat.shape[1] - 1, round(thresholds.reach_log / now.bin_log))
    least = math.ceil(thresholds.least_length_log / now.bin_log - 1e-9)
    far = (outermost(scene.volume[0], last), outermost(scene.volume[1], last))
    most_heat = quantile(scene.heat, last, thresholds.quantile)
    most_volume = thresholds.volume_share * median(scene.volume, far)
    most_depth = quantile(scene.book, last, thresholds.quantile)
    beyond = most_volume - math.inf  # no bin outside the traded range reaches it; NaN stays NaN
    for side in range(2):
        found = out[side]
        found.score, found.flag, found.known_at_ns = np.nan, 0, now.close_ns
        found.evidence[:] = np.nan
        found.evidence[3] = entered(scene, memory, side)
        memory.low_bin[side], memory.end_bin[side] = 0, 0
        known, void, run, votes, count = 0, 0, 0, 0, 0
        for i in range(last + 2):
            held, cast = 0, 0  # one bin beyond the last ends the last run
            if i <= last:
                held, cast = vote(scene, side, i, most_heat, most_volume if i <= far[side] else beyond, most_depth)
            known += int(cast >= 2)
            if held >= 2:
                run, votes = run + 1, votes + held
                continue
            if run >= least:
                if void == 0:
                    found.evidence[0], found.evidence[1] = (i - run) * now.bin_log, run * now.bin_log
                    found.evidence[2] = votes / run
                void += run
                if i > run and count < KNOWN:  # the mark is already in one that begins at its own bin
                    low = now.mark_bin - i + 1 if side == 0 else now.mark_bin + i - run
                    memory.low_bin[side, count], memory.end_bin[side, count] = low, low + run
                    count += 1
            run, votes = 0, 0
        memory.close_ns[side] = now.close_ns if known else 0
        found.score = void / known if known else np.nan
        found.flag = int(void > 0)


def nearest_log(scene: Scene, found: np.ndarray) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Lower and upper edge of each side's nearest void, as logs of prices; None where there is none.

    `found` (side) is what `detect` found in the scene.
    """
    bin_log, mark_bin = float(scene.now["bin_log"][0]), int(scene.now["mark_bin"][0])
    (down, down_length), (up, up_length) = found["evidence"][:, :2].tolist()
    top, bottom = (mark_bin + 1) * bin_log - down, mark_bin * bin_log + up
    below = None if math.isnan(down) else (top - down_length, top)
    return below, None if math.isnan(up) else (bottom, bottom + up_length)


@njit(cache=True)
@no_type_check
def entered(scene: Scene, memory: np.void, side: int) -> float:
    """Log price of the voids known before that the mark's range went through; NaN if none was told just before."""
    now = scene.now[0]
    reached = now.mark_low if side == 0 else now.mark_high
    if memory.close_ns[side] == 0 or now.close_ns - now.step_ns > memory.close_ns[side] or not reached > 0:
        return np.nan
    place, total = math.log(reached) / now.bin_log, 0.0
    for i in range(KNOWN):
        low, end = memory.low_bin[side, i], memory.end_bin[side, i]
        depth = end - place if side == 0 else place - low
        total += min(max(depth, 0.0), float(end - low))
    return total * now.bin_log


@njit(cache=True)
@no_type_check
def vote(scene: Scene, side: int, i: int, most_heat: float, most_volume: float, most_depth: float) -> tuple[int, int]:
    """How many maps say that a bin is void, and how many say anything of it; NaN, on either side, says nothing."""
    held, cast = 0, 0
    for value, limit in (
        (scene.heat[side, i], most_heat),
        (scene.volume[side, i], most_volume),
        (scene.book[side, i], most_depth),
    ):
        held += int(value <= limit)
        cast += int(not math.isnan(value - limit))
    return held, cast


@njit(cache=True)
@no_type_check
def quantile(cells: np.ndarray, last: int, q: float) -> float:
    """The least value that a share q of both sides' known cells 1 to `last` do not exceed; NaN if none is known."""
    flat = cells[:, 1 : last + 1].copy().ravel()
    flat = flat[~np.isnan(flat)]
    if flat.size == 0:
        return np.nan
    rank = max(0, math.ceil(q * flat.size - 1e-9) - 1)
    return np.partition(flat, rank)[rank]


@njit(cache=True)
@no_type_check
def outermost(cells: np.ndarray, last: int) -> int:
    """The furthest cell up to `last` that holds something; 0 for none."""
    while last > 0 and not cells[last] > 0:
        last -= 1
    return last


@njit(cache=True)
@no_type_check
def median(cells: np.ndarray, far: tuple[int, int]) -> float:
    """Of both sides' cells from 1 to the furthest of each; NaN if there is none."""
    flat = np.concatenate((cells[0, 1 : far[0] + 1], cells[1, 1 : far[1] + 1]))
    return np.median(flat) if flat.size else np.nan
