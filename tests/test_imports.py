"""The live path is light: nothing of training is loaded with it, and this test can fail."""

import subprocess
import sys

import pytest

import squeeze

HEAVY = ("torch", "lightning", "mlflow", "sklearn", "pandas", "onnx", "matplotlib", "plotly")


def loaded_by(code, heavy=HEAVY):
    """Which heavy modules a fresh interpreter has after running this."""
    told = f"{code}\nimport sys\nprint('loaded', *[m for m in {heavy!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-W", "error", "-c", told], capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    return said.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "code",
    [
        "import squeeze",
        "import squeeze.cli",
        "import training.verbs.stages, training.verbs.whole, training.verbs.weights, training.verbs.tune",
        "import training.verbs.controls, training.verbs.explain, training.verbs.labels, training.verbs.compare",
        "import squeeze.market.importer, squeeze.market.lake, squeeze.simulator, squeeze.signals",
        "import squeeze.cli; squeeze.cli.parser()",
    ],
)
def test_importing_loads_nothing_heavy(code):
    assert loaded_by(code) == []


def test_the_package_itself_loads_nothing_until_a_name_is_used():
    slow = ("numpy", "numba", "onnxruntime", "msgspec")
    assert loaded_by("import squeeze", slow) == []
    assert loaded_by("from squeeze import Bar", slow) == ["msgspec"]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        squeeze.nothing  # noqa: B018


def test_a_model_is_loaded_and_run_without_anything_heavy(small, finished):
    code = f"""
from pathlib import Path
import numpy as np
import squeeze
from squeeze.market.lake import Lake, read_events
stream = squeeze.Stream(squeeze.load({str(finished.model)!r}))
until = int(np.datetime64("2025-01-02T02:00", "ns").astype(np.int64))
stream.warm(read_events(Lake(Path({str(small.lake.root)!r})), stream.spec.market, None, until), until)
frame, answer = stream.advance(stream.next_close_ns)
stream.restore(stream.snapshot())
"""
    assert loaded_by(code) == []


def test_this_test_can_fail():
    assert loaded_by("import squeeze.outcomes.rows, pandas") == ["pandas"]
    assert "torch" in loaded_by("import training.networks.network")


def test_every_exported_name_exists_and_is_there_once():
    assert len(set(squeeze.__all__)) == len(squeeze.__all__)
    assert sorted(squeeze.__all__) == list(squeeze.__all__)
    assert set(squeeze._MODULE) == set(squeeze.__all__)
    assert all(hasattr(squeeze, name) for name in squeeze.__all__)
