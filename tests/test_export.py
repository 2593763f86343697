"""The model file computes what torch computes, and holds nothing of the machine that made it."""

import getpass
import os
import socket
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from squeeze.engine import INPUTS, OUTPUTS, open_session
from squeeze.errors import SqueezeError
from squeeze.model_file import CARD_KEY, SEAL_KEY, read, read_card
from squeeze.predictor import load
from training import export, runs
from training.networks.network import StepModel
from training.pretraining.data import SequenceData


@pytest.fixture(scope="module")
def model(finished):
    return runs.load_step(finished.run, finished.folder, -1)


@pytest.fixture(scope="module")
def file(finished):
    return finished.model.read_bytes()


def test_torch_equals_onnx_over_ten_thousand_random_states(finished, model, file):
    p, state = export.parity(model, file, finished.card, steps=10_000)
    assert p <= 1e-6
    assert state <= 2e-6


def test_parity_notices_a_graph_that_is_not_the_model(finished, file):
    other = runs.load_step(finished.run, finished.folder, -1)
    with torch.no_grad():
        other.network.core.gru.bias_hh_l0[-1] += 1e-3  # as a wrong `linear_before_reset` would
    assert export.parity(other, file, finished.card, steps=50)[1] > 2e-6


def test_a_graph_that_is_not_the_model_is_not_written(finished, file, tmp_path, monkeypatch):
    other = runs.load_step(finished.run, finished.folder, -1)
    monkeypatch.setattr(export, "to_onnx", lambda model, card: file)
    assert max(export.export(other, finished.card, tmp_path / "model.onnx", 5)) < 1e-6
    with torch.no_grad():
        other.network.core.gru.bias_hh_l0[-1] += 1e-3
    with pytest.raises(SqueezeError, match=r"the exported graph differs from torch by .* in p and .* in state"):
        export.export(other, finished.card, tmp_path / "other.onnx", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@torch.no_grad()
def test_torch_equals_onnx_over_a_free_run_that_carries_its_state(finished, model, file):
    own, session = finished.prepared.own, open_session(file, "small")
    seen = np.flatnonzero(own.seen)
    state = ours = np.zeros((2, finished.card.hidden), np.float32)
    worst = 0.0
    for at in np.tile(seen, 2)[:4000]:
        channels, scalars = np.array(own.channels[at]), np.array(own.scalars[at])
        p, state = session.run(OUTPUTS, dict(zip(INPUTS, (channels, scalars, state), strict=True)))
        q, after = model(torch.from_numpy(channels), torch.from_numpy(scalars), torch.from_numpy(ours))
        ours = after.numpy()
        worst = max(worst, float(np.abs(p - q.numpy()).max()))
        assert np.abs(state - ours).max() <= 2e-6
    assert worst <= 1e-6


def test_both_sides_of_the_file_mirror_each_other(finished, file):
    own, session = finished.prepared.own, open_session(file, "small")
    at = np.flatnonzero(own.seen)[-1]
    state = np.random.default_rng(0).uniform(-1, 1, (2, finished.card.hidden)).astype(np.float32)
    inputs = {"channels": np.array(own.channels[at]), "scalars": np.array(own.scalars[at]), "state": state}
    _, straight = session.run(OUTPUTS, inputs)
    _, flipped = session.run(OUTPUTS, {name: np.ascontiguousarray(value[::-1]) for name, value in inputs.items()})
    np.testing.assert_allclose(straight, flipped[::-1], atol=2e-7)


def test_a_file_holds_no_trace_of_the_machine(file):
    here = [str(Path(__file__).resolve().parents[1]), str(Path.home()), sys.prefix, socket.gethostname()]
    traces = [*here, "/work", "site-packages", "/usr/lib", "/tmp", ".py", "Traceback", "torch.nn", os.sep + "root"]  # noqa: S108
    if getpass.getuser() != "root":
        traces.append(getpass.getuser())
    assert [trace for trace in traces if trace.encode() in file] == []


def test_a_file_is_one_plain_onnx_graph(file):
    proto = onnx.load_from_string(file)
    onnx.checker.check_model(proto, full_check=True)
    assert {p.key for p in proto.metadata_props} == {CARD_KEY, SEAL_KEY}
    assert {o.domain for o in proto.opset_import} <= {"", "ai.onnx"}
    assert not [t for t in proto.graph.initializer if t.external_data]
    assert "GRU" not in {node.op_type for node in proto.graph.node}


def test_the_card_comes_back_as_it_went_in(finished):
    assert load(finished.model).card == finished.card
    assert finished.card.spec == finished.prepared.config.spec
    assert finished.card.trained_until < "2025-01-11T12"


def test_exporting_twice_gives_the_same_bytes(finished, model, file):
    assert export.to_onnx(model, finished.card) == file


def test_a_kept_run_is_the_run_that_was_trained(finished, model):
    block = finished.trained.blocks[-1]
    trained = StepModel(finished.trained.network, block.head).eval()
    for (name, a), (other, b) in zip(trained.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b), name


def test_the_masked_scalars_are_those_that_never_moved_in_training(finished):
    config, own = finished.prepared.config, finished.prepared.own
    until = int(np.datetime64(config.pretrain.until, "ns").astype(np.int64))
    data = SequenceData([own], config.spec.label.horizons_minutes, config.pretrain, until, 0)
    with np.errstate(invalid="ignore"):
        sample = data.scalar_sample().numpy().astype(float)
    still = [
        n
        for n, c in zip(own.scalar_names, sample.T, strict=True)
        if not np.nanstd(c[np.isfinite(c)] if np.isfinite(c).any() else [0.0]) > 1e-6
    ]
    assert set(finished.card.masked_scalars) == set(still)


def test_the_seal_names_the_file(finished, file):
    found, seal = read(finished.model)
    assert found == file
    assert seal.encode() in file
    metadata = open_session(file, "small").get_modelmeta().custom_metadata_map
    assert read_card(metadata, "small") == finished.card
