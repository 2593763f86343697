"""Scenes with walls for the tests of patterns, and the law of the mirror over a sequence of them."""

import math
from types import ModuleType
from typing import Any

import numpy as np

from squeeze.patterns.pattern import Finding
from squeeze.patterns.scene import WALL, ZONE, Scene
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, MINUTE_NS, detect, market, mirrored, rows

M = 1e6


def wall(side: int, place: int = 10, **more: Any) -> dict[str, Any]:
    """4 million that have stood for an hour, so many bins ahead of the mark's, and of which nothing was traded."""
    return {
        "side": side,
        "bin": MARK_BIN + (place if side else -place),
        "distance_log": place * BIN_LOG,
        "usd": 4 * M,
        "peak_usd": 4 * M,
        "traded_usd": 0.0,
        "traded_60s_usd": 0.0,
        "moved_beyond_log": 0.0,
        "born_ns": CLOSE_NS - 60 * MINUTE_NS,
        "seen_ns": CLOSE_NS,
        **more,
    }


def with_walls(*walls: dict[str, Any], zones: tuple[dict[str, Any], ...] = (), minutes: float = 0.0) -> Scene:
    """A market of which the book is known, so many minutes later."""
    scene = market(close_ns=CLOSE_NS + round(minutes * MINUTE_NS))
    scene.book[:] = 1e5
    scene.heat[:] = 0.0
    return scene._replace(walls=rows(WALL, *walls), zones=rows(ZONE, *zones))


def numbers(found: Finding) -> list[float]:
    return [found.score, found.flag, found.known_at_ns, *found.evidence.values()]


def assert_mirrors(module: ModuleType, *scenes: Scene) -> None:
    """After every scene the mirrored market finds the same on the other side, and something is found somewhere."""
    scores = []
    for count in range(1, len(scenes) + 1):
        below, above = detect(module, *scenes[:count])
        mirrored_below, mirrored_above = detect(module, *map(mirrored, scenes[:count]))
        np.testing.assert_allclose(numbers(below), numbers(mirrored_above))
        np.testing.assert_allclose(numbers(above), numbers(mirrored_below))
        scores += [below.score, above.score]
    assert max(score for score in scores if not math.isnan(score)) > 0
