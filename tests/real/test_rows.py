"""Rows, truth and blocks of the real tasks are the referee's, one by one. Nothing is scored here."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import rows
from training.config import day_ns, load_config
from training.evaluation.metrics import ap_gain, metrics
from training.splits import blocks

pytestmark = pytest.mark.real
CONFIGS = Path(__file__).parents[2] / "configs"
TASKS = ("hourly-btc-2026", "prints-btc-2024")


@pytest.fixture(scope="module")
def referee(recordings):
    path = recordings.parent / "benchmark" / "referee.py"
    if not path.is_file():
        pytest.skip(f"the referee is absent: no {path}")
    spec = importlib.util.spec_from_file_location("referee", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=TASKS)
def task(request, referee, recordings, tmp_path_factory):
    """A task's config, our rows, and the referee's times, labels and label span."""
    config = load_config(CONFIGS / f"{request.param}.yaml")
    lake = Lake(tmp_path_factory.mktemp("lake"))
    import_mapping(CONFIGS / config.imports[0], recordings, lake)
    _, labels, span = referee.TASKS[request.param](recordings)
    return config, rows(lake, config.spec), labels, span


def test_the_rows_are_the_referees(task):
    _, found, labels, _ = task
    np.testing.assert_array_equal(found.ts_ns, labels.index.as_unit("ns").asi8)


def test_the_truth_is_the_referees(task):
    _, found, labels, _ = task
    np.testing.assert_array_equal(found.truth[:, :, -1], labels[["long", "short"]].to_numpy())


def test_no_row_is_lost_to_pre_training(task):
    config, found, _, _ = task
    assert found.ts_ns[0] >= day_ns(config.pretrain.until)
    assert config.until is None or found.ts_ns[-1] < day_ns(config.until)


def test_the_blocks_are_the_referees(task, referee):
    config, found, labels, span = task
    ours = blocks(found.ts_ns, config.spec.label, config.splits)
    theirs = list(referee.blocks(labels.index, span))
    assert len(ours) == len(theirs) == referee.BLOCKS
    for block, (train, test) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(block.trains(found.ts_ns)), train)
        np.testing.assert_array_equal(np.flatnonzero(block.tests(found.ts_ns)), test)


def test_figures_of_made_up_predictions_are_the_referees(referee):
    rng = np.random.default_rng(0)
    ts = np.arange(3000) * 3_600_000_000_000
    q = rng.beta(1, 8, 3000)
    truth = rng.random(3000) < q
    for p in (q, np.round(q, 1), np.round(q, 2)):  # with ties as without
        rate, days = np.full(3000, 0.1), ts // 86_400_000_000_000
        ours = metrics(ts, truth, p, rate)
        theirs = referee.figures(truth.astype(int), p, rate, np.zeros(3000, int))
        for name in ("ap", "auc", "brier_skill", "ece", "slope", "intercept"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4 if name in ("slope", "intercept") else 1e-9), name
        gain = referee.gain(truth.astype(int), p, q, days, draws=50)["ap_gain"]
        assert ap_gain(truth, p, q, days, draws=50) == pytest.approx(gain)
