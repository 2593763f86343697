"""The model that ships: verified, within its budget, and ready to run on a simulated market."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import squeeze
from squeeze.errors import ModelFileError
from squeeze.market.steps import steps
from squeeze.predictor import Abstain, Prediction
from squeeze.simulator import market_events
from squeeze.state import MarketState
from training.config import load_config
from training.proof.worlds import worlds_of

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "squeeze-simulator.onnx"


@pytest.fixture(scope="module")
def config():
    return load_config(ROOT / "configs" / "simulator-proof.yaml", ("worlds.days=4",))


@pytest.fixture(scope="module")
def said(unseen):
    """What it says of four days of a market that nobody has seen, step by step."""
    predictor = squeeze.load(SHIPPED)
    state, symbol = MarketState(predictor.spec), predictor.spec.market.symbol
    return [predictor.step(state.advance(step)) for step in steps(market_events(*unseen), symbol, state.length_ns)]


def test_its_card_says_what_it_was_trained_on_and_that_nothing_forbids_its_use(config, unseen):
    card = squeeze.load(SHIPPED).card
    assert card.spec == config.spec
    assert card.licence == "simulated data: no restriction"
    assert card.masked_channels == ()
    assert {
        "unseen_long_ap",
        "unseen_short_ap",
        "unseen_ap_gain_map",
        "unseen_share_of_oracle_ap",
    } <= card.scores.keys()
    assert unseen[0].seed not in (*worlds_of(config).trained_on, *worlds_of(config).chosen_on)


def test_all_five_heatmaps_are_among_its_channels():
    names = squeeze.load(SHIPPED).card.channel_names
    for beginning in ("unit_", "book_usd", "volume_", "opened_", "funding_"):
        assert any(name.startswith(beginning) for name in names), beginning


def test_it_is_small():
    graph = onnx.load(SHIPPED).graph
    assert sum(int(np.prod(tensor.dims)) for tensor in graph.initializer) < 55_000  # scales and the head included
    assert SHIPPED.stat().st_size < 1_000_000


def test_it_is_silent_while_it_warms_up_and_then_speaks_at_every_step(said):
    warm_up = 72 * 12 - 1
    assert all(isinstance(one, Abstain) and "warming_up" in one.reasons for one in said[:warm_up])
    spoken = said[warm_up + 1 : 4 * 288]
    assert len(spoken) > 250
    assert all(isinstance(one, Prediction) for one in spoken)
    p = np.array([one.probabilities for one in spoken])
    assert ((p > 0) & (p < 1)).all()
    assert (p[:, :, 1] >= p[:, :, 0]).all()  # a longer horizon holds the shorter one
    assert np.ptp(p[:, :, 1]) > 0.01


def test_an_altered_byte_is_noticed(tmp_path):
    altered = bytearray(SHIPPED.read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "altered.onnx").write_bytes(altered)
    with pytest.raises(ModelFileError, match="was altered"):
        squeeze.load(tmp_path / "altered.onnx")
