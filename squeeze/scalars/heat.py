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
        self.decays = 0.5 ** (step_seconds / 60 / np.array(spec.swept_half_lives_minutes))
        self.swept_share = np.zeros((2, len(self.decays)))
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
        self.swept_share = self.swept_share * self.decays + share[:, None] * (1 - self.decays)

    def values(self, share: np.ndarray, zones: list[Zone], sigma: float, velocity: np.ndarray) -> np.ndarray:
        """(side, scalar) from the map by bins outward from the mark, its zones, and the velocity toward danger."""
        out = np.full((2, len(self.names)), math.nan)
        reach = len(self.distances) + 3
        _reach(share, self.bin_log, sigma, self.distances, out)
        out[:, reach + 1] = out[::-1, reach]
        out[:, reach + 2] = out[:, reach] - out[:, reach + 1]
        at, memories = reach + 3, len(self.decays)
        swept = np.log(self.swept_share + 0.1 * TINY_SHARE)
        out[:, at : at + memories] = swept
        out[:, at + memories : at + 2 * memories] = swept[::-1]
        at += 2 * memories
        for side in range(2):
            ahead = [z for z in zones if z.side == side]
            out[side, at] = len(ahead)
            if ahead:
                out[side, at + 1 :] = _nearest(ahead[0], sigma, velocity[side])
        return out


def _nearest(zone: Zone, sigma: float, velocity: float) -> tuple[float, ...]:
    """`zone_distance` to `zone_minutes` of the nearest zone; four hours stand for 'not approaching'."""
    minutes = zone.near_log / velocity if velocity > 0 else math.inf
    return (
        zone.near_log,
        zone.near_log / sigma,
        math.log(zone.mass_share + TINY_SHARE),
        math.log(zone.mass_share / (1e4 * zone.width_log) + TINY_SHARE),
        zone.age_days,
        math.log1p(min(minutes, 240.0)),
    )
