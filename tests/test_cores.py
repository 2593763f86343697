"""Temporal cores: a sequence at once is the same as its steps, causal, and the exported graph computes the same."""

import os

import msgspec
import numpy as np
import onnx
import pytest
import torch

from squeeze.engine import OUTPUTS, open_session
from squeeze.model_file import ModelCard
from squeeze.spec import FrameSpec, LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from training.export import to_onnx
from training.networks.cores import core_of
from training.networks.network import Head, SqueezeNetwork, StepModel
from training.recipe import NetworkSpec

SPECS = {
    "gru": NetworkSpec(encoded=7, hidden=11),
    "tcn": NetworkSpec(core="tcn", encoded=7, hidden=11, dilations=(1, 3, 2)),
    "window": NetworkSpec(core="window", encoded=7, hidden=11, window=20),
}
MAP = MapSpec()
PARITY_STATES = int(os.environ.get("PARITY_STATES", "250"))
"""Random states at which an exported graph is compared; `make long` takes ten thousand."""


def core_named(name):
    torch.manual_seed(0)
    return core_of(SPECS[name]).eval()


def walk(core, frames, state):
    """Step by step what `core` gives, and the state it leaves."""
    out = []
    for t in range(frames.shape[1]):
        each, state = core.step(frames[:, t], state)
        out.append(each)
    return torch.stack(out, dim=1), state


@torch.no_grad()
@pytest.mark.parametrize("name", SPECS)
def test_thousands_of_steps_from_random_states_are_the_sequence(name):
    core, rng = core_named(name), np.random.default_rng(0)
    frames = torch.from_numpy(rng.normal(0, 2, (16, 250, 7)).astype(np.float32))
    state = torch.from_numpy(core.random_state(rng, 16))
    expected, last = core(frames, state)
    assert expected.shape == (16, 250, 11)
    assert last.shape == state.shape == (16, core.state_width)
    found, after = walk(core, frames, state)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(after, last, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", SPECS)
def test_chunks_that_carry_the_state_are_the_sequence(name):
    core = core_named(name)
    frames = torch.randn(3, 90, 7)
    expected, last = core(frames, None)
    state, found = None, []
    for chunk in frames.split([1, 2, 37, 50], dim=1):
        each, state = core(chunk, state)
        found.append(each)
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(state, last, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", SPECS)
def test_nothing_came_before_is_a_state_of_zeros(name):
    core = core_named(name)
    frames = torch.randn(3, 40, 7)
    expected, last = core(frames, None)
    found, after = core(frames, torch.zeros(3, core.state_width))
    assert torch.equal(found, expected)
    assert torch.equal(after, last)


@pytest.mark.parametrize(("name", "reach"), [("gru", None), ("tcn", 2 * (1 + 3 + 2)), ("window", 20 - 1)])
def test_a_step_sees_the_past_as_far_as_it_reaches_and_never_the_future(name, reach):
    core, at = core_named(name), 30
    frames = torch.randn(1, 60, 7, requires_grad=True)
    core(frames, None)[0][0, at].sum().backward()
    felt = frames.grad[0].abs().sum(dim=-1) > 0
    assert not felt[at + 1 :].any()
    assert felt[at]
    seen = at - int(felt.nonzero()[0])
    assert seen == (at if reach is None else reach)


@torch.no_grad()
def test_the_gru_is_its_formula():
    core = core_named("gru")
    w, u, b, c = (p.numpy().astype(float) for p in core.gru.parameters())
    rng = np.random.default_rng(1)
    x, h = rng.normal(size=7), rng.uniform(-1, 1, 11)
    gates, held = w @ x + b, u @ h + c
    reset, update = (1 / (1 + np.exp(-(gates + held)[i : i + 11])) for i in (0, 11))
    new = np.tanh(gates[22:] + reset * held[22:])
    expected = (1 - update) * new + update * h
    found, state = core.step(*(torch.from_numpy(v[None].astype(np.float32)) for v in (x, h)))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert torch.equal(found, state)


@torch.no_grad()
def test_the_tcn_is_its_formula():
    core = core_named("tcn")
    frames = np.random.default_rng(1).normal(size=(30, 7))
    layer = np.concatenate([np.zeros((40, 7)), frames])
    for taps, dilation in zip(core.taps, SPECS["tcn"].dilations, strict=True):
        weight, bias = taps.weight.numpy().astype(float), taps.bias.numpy().astype(float)
        first = np.vstack([np.zeros((2 * dilation, layer.shape[1])), layer])
        taken = np.hstack([first[: len(layer)], first[dilation : dilation + len(layer)], layer])
        linear = taken @ weight.T + bias
        found = linear / (1 + np.exp(-linear))
        layer = found + layer if found.shape == layer.shape else found
        layer[:40] = 0.0  # before the first frame every layer is empty
    expected = core(torch.from_numpy(frames[None].astype(np.float32)), None)[0][0]
    np.testing.assert_allclose(expected, layer[40:], atol=1e-5)


@torch.no_grad()
def test_the_window_is_torchs_lstm_over_each_window():
    core = core_named("window")
    frames = torch.randn(1, 45, 7)
    found, _ = core(frames, None)
    padded = torch.cat([torch.zeros(1, 19, 7), frames], dim=1)
    for t in (0, 5, 44):
        convolved = core._convolved(padded[:, t : t + 20])
        assert convolved.shape == (1, 10, 36)
        torch.testing.assert_close(found[:, t], core.lstm(convolved)[1][0][0], atol=1e-6, rtol=0)


def card_for(state_width, scalars, channels):
    stream = StreamSpec(venue="v", kinds=("bar_1m",))
    spec = Spec(
        market=MarketSpec(symbol="S", bars=stream),
        map=msgspec.structs.replace(MAP, open_interest="volume"),
        frame=FrameSpec(price_bins=16),
        label=LabelSpec(name="x", threshold_usd=1.0, horizons_minutes=(15, 60), every_minutes=1, recorded="days"),
        signal=SignalSpec(horizon_minutes=60),
    )
    return ModelCard(
        spec=spec, scalar_names=tuple(f"s{i}" for i in range(scalars)), masked_scalars=(),
        channel_names=tuple(f"c{i}" for i in range(channels)), masked_channels=(), hidden=state_width, degraded=0,
        base_rates={"long": (0.1, 0.2), "short": (0.1, 0.2)}, trained_from="a", trained_until="b", data_digest="",
        licence="none", commit="none",
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("name", "extra"), [("gru", 0), ("gru", 3), ("tcn", 0), ("window", 3)])
def test_the_exported_graph_is_the_network_over_random_states(name, extra):
    torch.manual_seed(2)
    channels = len(MAP.leverages) + extra
    spec = msgspec.structs.replace(SPECS[name], static=(12, 8), trunk=8)
    network = SqueezeNetwork(spec, MAP, 16, 5, 8, channels=channels)
    head = Head(8, [0, 3], 2, 5.0)
    head.weights.normal_(0, 0.3)
    model, rng = StepModel(network, head).eval(), np.random.default_rng(3)
    file = to_onnx(model, card_for(network.state_width, 5, channels))
    assert not {"GRU", "LSTM"} & {node.op_type for node in onnx.load_from_string(file).graph.node}
    session = open_session(file, name)
    worst = 0.0
    for _ in range(PARITY_STATES):
        values = rng.normal(0, 3, (2, channels, 16))
        values[:, : len(MAP.leverages)] = 10 ** rng.uniform(-10, 0, (2, len(MAP.leverages), 16))
        unknown = np.array([np.nan, np.inf, -np.inf])[rng.integers(0, 3, (2, 5))]
        values[:, len(MAP.leverages) :][rng.random((2, extra, 16)) < 0.1] = rng.choice(unknown[0])
        scalars = np.where(rng.random((2, 5)) < 0.1, unknown, rng.normal(0, 3, (2, 5)))
        inputs = {"channels": values.astype(np.float32), "scalars": scalars.astype(np.float32)}
        inputs["state"] = network.core.random_state(rng, 2)
        found = session.run(OUTPUTS, inputs)
        expected = model(*(torch.from_numpy(value) for value in inputs.values()))
        worst = max(worst, *(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True)))
    assert worst <= 2e-6


@pytest.mark.parametrize("bad", [{"dilations": ()}, {"dilations": (1, 0)}, {"window": 11}])
def test_a_core_that_cannot_be_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        NetworkSpec(**bad)
