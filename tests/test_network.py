"""The network and its head: mirrored, finite, within its budget, and the same step by step as over a sequence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squeeze.spec import MapSpec
from squeeze.state import MarketState
from training.config import NetworkSpec, load_config
from training.network import Head, SqueezeNetwork, Standardise, StepModel, gru_step, parameters

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
SPEC = NetworkSpec(encoded=8, hidden=6, static=(12, 8), trunk=8)
MAP = MapSpec()


def network_of(seed=0, spec=SPEC, scalars=5, scores=4):
    torch.manual_seed(seed)
    network = SqueezeNetwork(spec, MAP, 16, scalars, scores).eval()
    network.scalars.fit(torch.randn(100, scalars) * 3 + 1)
    return network


def head_of(scores=4, positions=(0, 2), horizons=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    head = Head(scores, list(positions), horizons, 5.0)
    head.weights.copy_(torch.randn(head.weights.shape, generator=generator))
    head.intercepts.copy_(torch.randn(2, 1, generator=generator).expand(2, horizons))
    return head


def frames_of(steps, scalars=5, seed=2):
    rng = np.random.default_rng(seed)
    channels = 10 ** rng.uniform(-8, -1, (steps, 2, len(MAP.leverages), 16))
    return torch.from_numpy(channels.astype(np.float32)), torch.from_numpy(
        rng.normal(size=(steps, 2, scalars)).astype(np.float32)
    )


@torch.no_grad()
def test_swapping_the_sides_swaps_the_outputs():
    network, head = network_of(), head_of()
    head.intercepts[1] = head.intercepts[0]  # the side itself is one input of the head
    model = StepModel(network, head).eval()
    (channels, scalars), state = frames_of(1), torch.randn(2, SPEC.hidden)
    p, after = model(channels[0], scalars[0], state)
    q, mirrored = model(channels[0].flip(0), scalars[0].flip(0), state.flip(0))
    # Not to the bit: torch computes sigmoid and tanh in blocks of eight, and what is left over in another way.
    torch.testing.assert_close(p, q.flip(0), atol=2e-7, rtol=0)
    torch.testing.assert_close(after, mirrored.flip(0), atol=2e-7, rtol=0)


@torch.no_grad()
def test_steps_one_by_one_are_the_sequence():
    network = network_of()
    channels, scalars = frames_of(50)
    own, rows = channels.transpose(0, 1), scalars.transpose(0, 1)
    expected, last = network(own, own.flip(0), rows, None)
    state = torch.zeros(2, SPEC.hidden)
    for t in range(50):
        scores, state = network.step(channels[t], channels[t].flip(0), scalars[t], state)
        torch.testing.assert_close(scores, expected[:, t], atol=1e-6, rtol=0)
    torch.testing.assert_close(state, last[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_gru_written_out_is_torchs():
    torch.manual_seed(0)
    core = torch.nn.GRU(7, 11, batch_first=True)
    inputs, state = 3 * torch.randn(4, 200, 7), torch.zeros(4, 11)
    expected, _ = core(inputs)
    for t in range(200):
        state = gru_step(core, inputs[:, t], state)
        torch.testing.assert_close(state, expected[:, t], atol=1e-6, rtol=0)


@torch.no_grad()
def test_scalars_that_are_not_there_give_a_finite_answer():
    model = StepModel(network_of(), head_of()).eval()
    (channels, _), nothing = frames_of(1), torch.full((2, 5), torch.nan)
    for scalars in (nothing, torch.full((2, 5), torch.inf), torch.full((2, 5), -1e30)):
        assert all(torch.isfinite(part).all() for part in model(channels[0], scalars, torch.zeros(2, SPEC.hidden)))
    empty = torch.zeros_like(channels[0])
    assert all(torch.isfinite(part).all() for part in model(empty, nothing, torch.zeros(2, SPEC.hidden)))


@torch.no_grad()
def test_a_masked_scalar_has_no_influence():
    network = network_of()
    sample = torch.randn(50, 5)
    sample[:, 1], sample[:, 3] = torch.nan, 4.0  # never known, and never moving
    network.scalars.fit(sample)
    assert network.scalars.kept.tolist() == [1, 0, 1, 0, 1]
    model = StepModel(network, head_of(positions=(0, 2))).eval()
    (channels, scalars), state = frames_of(1), torch.zeros(2, SPEC.hidden)
    expected = model(channels[0], scalars[0], state)
    for value in (torch.nan, 1e9, -3.0):
        scalars[0, :, [1, 3]] = value
        assert all(torch.equal(a, b) for a, b in zip(expected, model(channels[0], scalars[0], state), strict=True))


def test_a_scaler_measures_what_is_known():
    scale = Standardise(2, 4.0)
    scale.fit(torch.tensor([[1.0, torch.nan], [3.0, 10.0], [torch.nan, 20.0], [torch.nan, 30.0]]))
    assert scale.mean.tolist() == [2.0, 20.0]
    np.testing.assert_allclose(scale.deviation.numpy(), [1.0, (200 / 3) ** 0.5], rtol=1e-6)
    assert scale(torch.tensor([[3.0, torch.nan], [1e9, -1e9]])).tolist() == [[1.0, 0.0], [4.0, -4.0]]


@settings(deadline=None)
@given(arrays(np.float32, (2, 6), elements=st.floats(-50, 50, width=32)), st.integers(0, 1000))
def test_a_probability_rises_with_its_horizon(values, seed):
    head = head_of(seed=seed)
    scores, scalars = torch.from_numpy(values[:, :4]), torch.from_numpy(values[:, 4:]).repeat(1, 2)
    p = head(scores, scalars)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p.diff(dim=-1) >= 0).all()


def test_hazards_multiply_up():
    head = Head(1, [], 2, 5.0)
    head.intercepts.copy_(torch.logit(torch.tensor([[0.1, 0.2], [0.5, 0.5]])))
    expected = [[0.1, 1 - 0.9 * 0.8], [0.5, 0.75]]
    np.testing.assert_allclose(head(torch.zeros(2, 1), torch.zeros(2, 0)).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_model_keeps_within_fifty_thousand_parameters(path):
    config = load_config(path)
    scores = len(config.spec.label.horizons_minutes) * (len(config.pretrain.quantiles) + 2)
    scalars = len(MarketState(config.spec).scalar_names)
    network = SqueezeNetwork(config.network, config.spec.map, config.spec.frame.price_bins, scalars, scores)
    head = Head(scores, [0] * len(config.head.scalars), len(config.spec.label.horizons_minutes), 5.0)
    assert parameters(network) + head.weights.numel() + head.intercepts.numel() <= 50_000


def test_leverage_weights_start_at_their_prior():
    weights = network_of().encoder.log_weights
    np.testing.assert_allclose(weights.exp().detach().numpy(), MAP.prior_weights, rtol=1e-6)
    assert weights.requires_grad


def test_leverage_weights_are_frozen_when_told():
    network = network_of(spec=NetworkSpec(learn_leverage_weights=False))
    (channels, scalars), weights = frames_of(3), network.encoder.log_weights
    own = channels.transpose(0, 1)
    network(own, own.flip(0), scalars.transpose(0, 1), None)[0].sum().backward()
    assert weights.grad is None
    assert network.encoder.near.weight.grad is not None
