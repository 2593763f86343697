"""Named numbers of one step and side from the liquidation map: what lies ahead within reach, what was swept lately."""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from squeeze.spec import FrameSpec
from squeeze.zones.extract import Zone

TINY_SHARE = 1e-5
"""Added under a logarithm of a share of open interest."""


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _reach(share: np.ndarray, bin_log: float, sigma: float, distances: np.ndarray, out: np.ndarray) -> None:
    """Log mass within fixed distances, within 1, 2 and 3 σ, and the mass expected to be swept; share: (side, price)."""
    for side in range(2):
        cells = share[side]
        expected = 0.0
        within = np.zeros(distances.size + 3)
        for i in range(cells.size):
            x = (i + 0.5) * bin_log
            # A driftless walk reaches x within the horizon with probability 2 Φ(-x/σ).
            expected += cells[i] * math.erfc(x / (sigma * math.sqrt(2.0)))
            for d in range(distances.size):
                if x < distances[d]:
                    within[d] += cells[i]
            for q in range(3):
                if x < (q + 1) * sigma:
                    within[distances.size + q] += cells[i]
        for d in range(within.size):
            out[side, d] = math.log(within[d] + TINY_SHARE)
        out[side, within.size] = math.log(expected + TINY_SHARE)


class HeatScalars:
    """What the map says; `names` in order, `values` per side.

    `mass_within_*` and `mass_within_*_sigmas`: log share of open interest ahead. `expected_sweep`: the same, each level
    weighted by the chance that a driftless walk reaches it within the horizon; `expected_sweep_other` is the far
    side's, `asymmetry` the difference. `own_swept_*`, `other_swept_*`: log of the fading share that the mark went
    through lately.
    `zone_*`: the nearest zone ahead: distance to its near edge (log price, and in σ of the horizon), mass, thickness
    (share per basis point), age, minutes until price is there at its present speed (log); NaN where there is none.
    `zones` is how many lie within reach.
    """

    def __init__(self, spec: FrameSpec, bin_log: float, step_seconds: int) -> None:
        self.bin_log = bin_log
        self.distances = np.array(spec.mass_distances_log)
        self.reach_bins = round(spec.zone_reach_log / bin_log)
        self._fresh = 1 - 0.5 ** (step_seconds / 60 / np.array(spec.swept_half_lives_minutes))
        self.swept_share = np.zeros((2, len(self._fresh)))
        memories = [f"{m:g}m" for m in spec.swept_half_lives_minutes]
        self.names = (
            *(f"mass_within_{100 * d:g}pct" for d in spec.mass_distances_log),
            *(f"mass_within_{q}_sigmas" for q in (1, 2, 3)),
            "expected_sweep",
            "expected_sweep_other",
            "asymmetry",
            *(f"own_swept_{m}" for m in memories),
            *(f"other_swept_{m}" for m in memories),
            "zones",
            "zone_distance",
            "zone_distance_sigmas",
            "zone_mass",
            "zone_thickness",
            "zone_age_days",
            "zone_minutes",
        )

    def sweep(self, share: np.ndarray) -> None:
        """Remember one step's swept share of open interest, per side."""
        for side in range(2):  # two short rows: one expression over both takes twice as long
            self.swept_share[side] += (share[side] - self.swept_share[side]) * self._fresh

    def values(self, share: np.ndarray, zones: list[Zone], sigma: float, velocity: np.ndarray) -> np.ndarray:
        """(side, scalar) from the map by bins outward from the mark, its zones, and the velocity toward danger."""
        nearest, counts = np.full((2, 6), math.nan), [0, 0]
        for zone in zones:  # each side's nearest comes first
            side = zone.side
            if not counts[side]:
                nearest[side, 1:] = zone.near_log, zone.mass_share, zone.width_log, zone.age_days, velocity[side]
            counts[side] += 1
        nearest[:, 0] = counts
        out = np.empty((2, len(self.names)))
        _heat_scalars(share, self.bin_log, sigma, self.distances, self.swept_share, nearest, out)
        return out


@njit(cache=True)
@no_type_check
def _heat_scalars(
    share: np.ndarray,
    bin_log: float,
    sigma: float,
    distances: np.ndarray,
    swept_share: np.ndarray,
    nearest: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill `out` (side, scalar); `nearest` (side, ...) has the number of zones and five numbers of the nearest."""
    reach, memories = distances.size + 3, swept_share.shape[1]
    _reach(share, bin_log, sigma, distances, out)
    for side in range(2):
        row, other = out[side], out[1 - side]
        row[reach + 1] = other[reach]
        row[reach + 2] = row[reach] - other[reach]
        at = reach + 3
        for memory in range(memories):
            row[at + memory] = math.log(swept_share[side, memory] + 0.1 * TINY_SHARE)
            row[at + memories + memory] = math.log(swept_share[1 - side, memory] + 0.1 * TINY_SHARE)
        at += 2 * memories
        near, mass, width, age, velocity = nearest[side, 1:]
        row[at] = nearest[side, 0]
        row[at + 1] = near
        row[at + 2] = near / sigma
        row[at + 3] = math.log(mass + TINY_SHARE)
        row[at + 4] = math.log(mass / (1e4 * width) + TINY_SHARE)
        row[at + 5] = age
        # Four hours stand for 'not approaching'; NaN where there is no zone.
        minutes = 240.0 if velocity <= 0 else min(near / velocity, 240.0)
        row[at + 6] = math.log1p(minutes) if near == near else np.nan
