"""What a model must beat, on the small run."""

import dataclasses

import numpy as np
import pytest

from training import baselines
from training.pipeline import baseline_pools, pool


@pytest.fixture(scope="module")
def block(finished):
    return finished.trained.blocks[-1]


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_every_baseline_answers_where_there_is_a_frame(finished, block, name):
    p = baselines.predict(finished.prepared, block.block, name)
    tested = block.block.tests(finished.prepared.rows.ts_ns)
    silent = finished.prepared.positions[tested] < 0
    assert silent.any()
    assert (np.isnan(p) == silent[:, None, None]).all()
    assert ((p >= 0) & (p <= 1))[~silent].all()


def test_climatology_is_the_base_rate_of_training_rows(finished, block):
    p = baselines.predict(finished.prepared, block.block, "climatology")
    answered = np.isfinite(p).all(axis=(1, 2))
    assert (p[answered] == p[answered][0]).all()
    np.testing.assert_allclose(p[answered][0], block.base_rates, rtol=1e-6)


@pytest.mark.parametrize("name", ["volatility", "extremes", "boosting"])
def test_a_baseline_knows_no_heatmap(finished, name):
    _, sees = baselines.BASELINES[name]
    names = [n for n in finished.prepared.own.scalar_names if sees(n)]
    assert names
    assert not [n for n in names if n.startswith(baselines.MAP)]


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_what_comes_after_training_changes_no_fit(finished, block, name):
    prepared, train_until = finished.prepared, block.block.train_until_ns
    truth = prepared.rows.truth.copy()
    truth[prepared.rows.ts_ns > train_until] ^= True
    other = dataclasses.replace(prepared, rows=dataclasses.replace(prepared.rows, truth=truth))
    before, after = (baselines.predict(p, block.block, name) for p in (prepared, other))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_block_without_a_single_frame_is_all_abstention(finished, block, name):
    blind = np.where(block.block.tests(finished.prepared.rows.ts_ns), -1, finished.prepared.positions)
    p = baselines.predict(dataclasses.replace(finished.prepared, positions=blind), block.block, name)
    assert np.isnan(p).all()


def test_pools_hold_every_test_row_once(finished):
    network, rivals = pool(finished.trained.blocks, 1), baseline_pools(finished.prepared, finished.trained.blocks)
    assert set(rivals) == set(baselines.BASELINES)
    for rival in rivals.values():
        np.testing.assert_array_equal(rival.ts_ns, network.ts_ns)
        np.testing.assert_array_equal(rival.truth, network.truth)
    assert (np.diff(network.ts_ns) > 0).all()
    assert network.figures(rivals["climatology"])["long"]["ap_gain"] > 0
