"""Every pattern there is, run together: one compiled call a step."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
from numba import njit

from squeeze.patterns import (
    absorbed_wall,
    accumulation,
    approach_velocity,
    asymmetry,
    convergence,
    depletion,
    funding_asymmetry,
    funding_extreme,
    heat_divergence,
    iceberg,
    migration,
    node_retest,
    shielded_cluster,
    spoofed_wall,
    stacked_zones,
    stale_timeframe,
    thinning,
    trend_alignment,
    venue_divergence,
    voids,
)
from squeeze.patterns.pattern import FINDING, Finding, finding, thresholds_record
from squeeze.patterns.scene import Scene
from squeeze.patterns.spec import PatternsSpec

PATTERNS = (
    accumulation,
    stacked_zones,
    thinning,
    migration,
    asymmetry,
    voids,
    depletion,
    heat_divergence,
    venue_divergence,
    convergence,
    node_retest,
    spoofed_wall,
    absorbed_wall,
    iceberg,
    shielded_cluster,
    funding_extreme,
    funding_asymmetry,
    stale_timeframe,
    trend_alignment,
    approach_velocity,
)
"""In the order of the `pattern` axis."""

NAMES = tuple(module.NAME for module in PATTERNS)

SCALAR_PREFIX = "pattern_"
"""What the names of their scalars begin with: some are called as what another part of a frame tells."""


class Patterns:
    """What each pattern remembers, and what it found in the last step."""

    def __init__(self, spec: PatternsSpec) -> None:
        rules = {name: thresholds_record(getattr(spec, name)) for name in NAMES}
        self._rules = np.zeros(1, np.dtype([(name, rule.dtype) for name, rule in rules.items()], align=True))
        for name, rule in rules.items():
            self._rules[name] = rule
        self.memory = np.zeros(1, np.dtype([(m.NAME, m.MEMORY) for m in PATTERNS], align=True))
        self.found = np.zeros((len(PATTERNS), 2), FINDING)
        self.found["score"] = np.nan
        self.scalar_names = tuple(f"{SCALAR_PREFIX}{name}{tail}" for name in NAMES for tail in ("", "_flag"))

    def step(self, scene: Scene) -> np.ndarray:
        """(pattern, side) of FINDING at this close."""
        _detect_all(scene, self._rules, self.memory, self.found)
        return self.found

    def scalars(self) -> np.ndarray:
        """(side, scalar): score and flag of each pattern; both NaN where it cannot be told."""
        out = np.empty((2, 2 * len(PATTERNS)))
        _scalars(self.found, out)
        return out

    @staticmethod
    def flagged(found: np.ndarray) -> Iterator[Finding]:
        """The findings whose flag is up, longs' side first, in the order of the axis."""
        flags = found["flag"].tolist()
        for side in range(2):
            for at, module in enumerate(PATTERNS):
                if flags[at][side]:
                    yield finding(module, side, found[at, side])

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state, as bytes."""
        return {"memory": self.memory.view(np.uint8), "found": self.found.view(np.uint8)}


@njit(cache=True)
@no_type_check
def _scalars(found: np.ndarray, out: np.ndarray) -> None:
    for pattern in range(found.shape[0]):
        for side in range(2):
            row = found[pattern, side]
            out[side, 2 * pattern] = row.score
            out[side, 2 * pattern + 1] = np.nan if np.isnan(row.score) else float(row.flag)


def _compiled(sources: str) -> Callable[..., None]:
    """The one function that calls all; `sources` is part of the key of numba's cache, which sees only this file."""

    @njit(cache=True)
    @no_type_check
    def detect_all(scene: Scene, rules: np.ndarray, memory: np.ndarray, found: np.ndarray) -> None:
        sources  # noqa: B018
        accumulation.detect(scene, rules[0].accumulation, memory[0].accumulation, found[0])
        stacked_zones.detect(scene, rules[0].stacked_zones, memory[0].stacked_zones, found[1])
        thinning.detect(scene, rules[0].thinning, memory[0].thinning, found[2])
        migration.detect(scene, rules[0].migration, memory[0].migration, found[3])
        asymmetry.detect(scene, rules[0].asymmetry, memory[0].asymmetry, found[4])
        voids.detect(scene, rules[0].voids, memory[0].voids, found[5])
        depletion.detect(scene, rules[0].depletion, memory[0].depletion, found[6])
        heat_divergence.detect(scene, rules[0].heat_divergence, memory[0].heat_divergence, found[7])
        venue_divergence.detect(scene, rules[0].venue_divergence, memory[0].venue_divergence, found[8])
        convergence.detect(scene, rules[0].convergence, memory[0].convergence, found[9])
        node_retest.detect(scene, rules[0].node_retest, memory[0].node_retest, found[10])
        spoofed_wall.detect(scene, rules[0].spoofed_wall, memory[0].spoofed_wall, found[11])
        absorbed_wall.detect(scene, rules[0].absorbed_wall, memory[0].absorbed_wall, found[12])
        iceberg.detect(scene, rules[0].iceberg, memory[0].iceberg, found[13])
        shielded_cluster.detect(scene, rules[0].shielded_cluster, memory[0].shielded_cluster, found[14])
        funding_extreme.detect(scene, rules[0].funding_extreme, memory[0].funding_extreme, found[15])
        funding_asymmetry.detect(scene, rules[0].funding_asymmetry, memory[0].funding_asymmetry, found[16])
        stale_timeframe.detect(scene, rules[0].stale_timeframe, memory[0].stale_timeframe, found[17])
        trend_alignment.detect(scene, rules[0].trend_alignment, memory[0].trend_alignment, found[18])
        approach_velocity.detect(scene, rules[0].approach_velocity, memory[0].approach_velocity, found[19])

    compiled: Callable[..., None] = detect_all
    return compiled


def _sources() -> str:
    """Digest of what the compiled function consists of."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_detect_all: Any = _compiled(_sources())
