"""Laws that every pattern keeps, for scenes written by hand."""

from types import ModuleType

import numpy as np
import pytest

from squeeze.patterns.pattern import FINDING, Finding, thresholds_record
from squeeze.patterns.scene import Scene
from tests.scenes import detect, mirrored


def same(one: Finding, other: Finding) -> None:
    """Both say the same, to the rounding of logs of prices."""
    assert one.score == pytest.approx(other.score, rel=1e-8, abs=1e-9, nan_ok=True)
    assert (one.flag, one.known_at_ns) == (other.flag, other.known_at_ns)
    assert one.evidence == pytest.approx(other.evidence, rel=1e-8, abs=1e-9, nan_ok=True)


def assert_says_no_more_than(module: ModuleType, last: Scene, *before: Scene) -> None:
    """What is found in the last scene does not depend on those before it."""
    for one, other in zip(detect(module, *before, last), detect(module, last), strict=True):
        same(one, other)


def assert_mirrors(module: ModuleType, *scenes: Scene) -> None:
    """After each of the scenes, the mirrored ones give the same findings with sides swapped, known at its close."""
    for count in range(1, len(scenes) + 1):
        below, above = detect(module, *scenes[:count])
        mirrored_below, mirrored_above = detect(module, *(mirrored(scene) for scene in scenes[:count]))
        same(below, mirrored_above)
        same(above, mirrored_below)
        assert below.known_at_ns == above.known_at_ns == scenes[count - 1].now["close_ns"][0]
    assert_writes_everything(module, *scenes)


def assert_writes_everything(module: ModuleType, *scenes: Scene) -> None:
    """What stood in `out` before a step leaves no trace."""
    rules, memory, clean = thresholds_record(module.Thresholds()), np.zeros(1, module.MEMORY), np.zeros(2, FINDING)
    dirty_memory = memory.copy()
    for scene in scenes:
        dirty = np.ones(2, FINDING)
        dirty["evidence"] = 7.0
        module.detect(scene, rules[0], memory[0], clean)
        module.detect(scene, rules[0], dirty_memory[0], dirty)
        for name in FINDING.names or ():
            np.testing.assert_array_equal(clean[name], dirty[name])
