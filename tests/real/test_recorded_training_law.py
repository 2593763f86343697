"""Known-at, for training on a recording: a smaller hourly task, its first block."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small import cut, noised

from squeeze.market.events import HOUR_NS
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.spec import MarketSpec
from training.config import load_config
from training.examples import build
from training.prepare import prepare
from training.prepare import test_blocks as blocks_of  # under its own name pytest would run it
from training.pretraining.scorers import pretrained, scores_over
from training.splits import Block
from training.walk import fit_block, weights_digest

pytestmark = pytest.mark.real
CONFIGS = Path(__file__).parents[2] / "configs"
BEFORE = date(2025, 10, 1)
"""The first day that is imported: a month before the run, so that there is a past that it must not read."""
SMALLER = (
    "series=[]",
    "start=2025-11-01",
    "spec.market.warm_up_hours=48",
    "spec.frame.windows_minutes=[15, 60, 240, 1440]",
    "spec.frame.price_bins=8",
    "pretrain.epochs=1",
    "pretrain.lane=512",
    "network={encoded: 8, hidden: 6, static: [12, 8], trunk: 8}",
)


@pytest.fixture(scope="module")
def recorded(recordings, tmp_path_factory):
    """The task's own symbol in a lake, from the start of the run on."""
    torch.set_num_threads(1)
    config, folder = load_config(CONFIGS / "hourly-btc-2026.yaml", SMALLER), tmp_path_factory.mktemp("recorded")
    whole, lake = Lake(folder / "whole"), Lake(folder / "lake")
    for number, mapping in enumerate(config.imports):
        files = yaml.safe_load((CONFIGS / mapping).read_text())["files"]
        own = [file | {"from": BEFORE} for file in files if file["symbol"] == config.spec.market.symbol]
        (folder / f"{number}.yaml").write_text(yaml.safe_dump({"files": own}))
        import_mapping(folder / f"{number}.yaml", recordings, whole)
    market: MarketSpec = config.spec.market
    for stream in market.streams().values():
        for kind in stream.kinds:
            if any((h.kind, h.venue, h.symbol) == (kind, stream.venue, market.symbol) for h in whole.streams()):
                lake.write(kind, stream.venue, market.symbol, whole.read(kind, stream.venue, market.symbol))
    return config, lake


def fitted(config, lake, out, block: Block | None = None):
    prepared = prepare(config, lake, out)
    block = block or blocks_of(prepared)[0]
    network, _ = pretrained(prepared)
    result = fit_block(prepared, scores_over(network, prepared.own), block)
    return weights_digest(network, result.head), result


@pytest.mark.slow  # six trainings; tests/test_training_law.py has the law on the small run
def test_the_future_changes_neither_weights_nor_predictions(recorded, tmp_path):
    config, lake = recorded
    digest, whole = fitted(config, lake, tmp_path / "whole")
    block = whole.block
    trained, ended = block.train_until_ns + HOUR_NS, block.test_until_ns
    for name, other, predicted in (
        ("cut at the end of training", cut(lake, tmp_path / "a", trained), False),
        ("noise after training", noised(lake, tmp_path / "b", trained, 1), False),
        ("cut at the end of the block", cut(lake, tmp_path / "c", ended), True),
        ("noise after the block", noised(lake, tmp_path / "d", ended, 2), True),
    ):
        found, result = fitted(config, other, tmp_path / f"out {name}", block)
        assert found == digest, name
        if predicted:
            kept = np.isin(whole.rows.ts_ns, result.rows.ts_ns)
            assert len(result.rows) >= len(whole.rows) - 1, name
            assert result.probabilities.tobytes() == whole.probabilities[kept].tobytes(), name
    assert np.isfinite(whole.probabilities).mean() > 0.5
    early = noised(lake, tmp_path / "e", trained - 48 * HOUR_NS, 3)
    assert fitted(config, early, tmp_path / "out early", block)[0] != digest, "noise before the end must be noticed"


def test_frames_up_to_a_cut_are_the_same_whatever_follows(recorded, tmp_path):
    config, lake = recorded
    market, at = config.spec.market, int(np.datetime64("2026-01-15T07:20", "ns").astype(np.int64))
    start = int(np.datetime64("2026-01-01", "ns").astype(np.int64))
    until = at + 240 * HOUR_NS
    one, two = (
        build(noised(lake, tmp_path / f"{seed}", at, seed), config.spec, market, start, until, tmp_path / f"out{seed}")
        for seed in (5, 6)
    )
    count = np.searchsorted(one.closes_ns, at, side="right")
    for name in ("closes_ns", "unhealthy", "degraded", "channels", "scalars", "swept", "marks"):
        a, b = (np.ascontiguousarray(getattr(e, name)) for e in (one, two))
        assert a[:count].tobytes() == b[:count].tobytes(), name
    assert one.marks[count:].tobytes() != two.marks[count:].tobytes()
