"""Known-at, for training: the future changes no weight and no prediction."""

import numpy as np
import pytest
from small import cut, noised

from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import Rows
from training.config import day_ns
from training.examples import build
from training.prepare import Prepared, prepare
from training.pretraining.scorers import pretrained, scores_over
from training.splits import Block
from training.walk import fit_block, weights_digest


def fitted(config, lake, out, block):
    """The digest of network and head, and the block's result."""
    prepared = prepare(config, lake, out)
    network, _ = pretrained(prepared)
    result = fit_block(prepared, scores_over(network, prepared.own), block)
    return weights_digest(network, result.head), result


def block_that_a_print_closes(lake, config):
    """A block whose last training row is the last one that the prints up to its training end allow.

    Whether a row exists is known with the next print only, as in the referee; that is what the purge is for as well.
    """
    horizon_ns, every_ns = 60 * MINUTE_NS, 5 * MINUTE_NS
    prints = lake.read("liquidation", "simulated", "SIMUSDT")["event_ns"]
    last = prints[np.searchsorted(prints, day_ns("2025-01-10")) - 1] // every_ns * every_ns
    train_until = int(last) - horizon_ns + every_ns
    begin = train_until + horizon_ns + config.splits.purge_minutes * MINUTE_NS
    return Block(0, train_until, begin, day_ns("2025-01-11T12:00"))


@pytest.fixture(scope="module")
def block(small):
    return block_that_a_print_closes(small.lake, small.config)


@pytest.fixture(scope="module")
def whole(small, block, tmp_path_factory):
    return fitted(small.config, small.lake, tmp_path_factory.mktemp("whole"), block)


def test_weights_do_not_depend_on_what_came_after_training(small, block, whole, tmp_path):
    end = block.train_until_ns + 60 * MINUTE_NS + SECOND_NS  # prints are known a second after they happen
    digests = {whole[0]}
    for name, lake in (
        ("cut", cut(small.lake, tmp_path / "cut", end)),
        ("noise", noised(small.lake, tmp_path / "noise", end, 1)),
    ):
        digests.add(fitted(small.config, lake, tmp_path / f"{name}-out", block)[0])
    assert len(digests) == 1


def test_predictions_do_not_depend_on_what_came_after_the_block(small, block, whole, tmp_path):
    for name, lake in (
        ("cut", cut(small.lake, tmp_path / "cut", block.test_until_ns)),
        ("noise", noised(small.lake, tmp_path / "noise", block.test_until_ns, 2)),
    ):
        digest, result = fitted(small.config, lake, tmp_path / f"{name}-out", block)
        assert digest == whole[0]
        kept = np.isin(whole[1].rows.ts_ns, result.rows.ts_ns)
        assert kept.mean() > 0.9, "the last rows have no truth where the lake ends"
        assert result.probabilities.tobytes() == whole[1].probabilities[kept].tobytes()
        assert np.isfinite(result.probabilities).any()


def test_noise_before_the_end_of_training_is_noticed(small, block, whole, tmp_path):
    lake = noised(small.lake, tmp_path / "noise", block.train_until_ns - 600 * MINUTE_NS, 3)
    assert fitted(small.config, lake, tmp_path / "out", block)[0] != whole[0]


def test_pre_training_does_not_depend_on_what_came_after_its_cut(small, tmp_path):
    until = day_ns(small.config.pretrain.until)
    digests, day_after = set(), until + DAY_NS
    for name, lake in (
        ("whole", small.lake),
        ("cut", cut(small.lake, tmp_path / "cut", until)),
        ("noise", noised(small.lake, tmp_path / "noise", until, 4)),
    ):
        market = small.config.spec.market
        series = [build(lake, small.config.spec, market, None, day_after, tmp_path / f"{name}-out")]
        nothing = Rows(np.empty(0, np.int64), np.empty((0, 2, 2), bool))
        network, _ = pretrained(Prepared(small.config, series, nothing, np.empty(0, np.int64)))
        digests.add(weights_digest(network))
    assert len(digests) == 1


def test_a_flag_first_seen_in_the_block_was_not_trained_with(finished):
    block = finished.trained.blocks[-1]
    own, positions = finished.prepared.own, finished.prepared.positions
    tested = positions[block.block.tests(finished.prepared.rows.ts_ns)]
    healthy = tested >= 0
    poorer = healthy & ((own.degraded[tested] & ~block.degraded) != 0)
    assert poorer.any(), "the hole in the bars leaves steps that are only partly covered"
    assert (np.isnan(block.probabilities).all(axis=(1, 2)) == (~healthy | poorer)).all()


def test_the_same_seed_gives_the_same_run_and_another_seed_another(small, finished, tmp_path):
    network, _ = pretrained(finished.prepared)
    assert weights_digest(network) == weights_digest(finished.trained.network)


def test_a_lake_is_left_as_it_was(small, tmp_path):
    market = small.config.spec.market
    before = small.lake.digest(market)
    noised(small.lake, tmp_path / "noise", day_ns("2025-01-05"), 5)
    assert small.lake.digest(market) == before
    assert Lake(tmp_path / "noise").digest(market) != before
    assert Lake(tmp_path / "noise").digest(market, None, day_ns("2025-01-05")) == small.lake.digest(
        market, None, day_ns("2025-01-05")
    )
