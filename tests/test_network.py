"""The network and its head: mirrored, finite, within its budget, and the same step by step as over a sequence."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squeeze.errors import ConfigError
from squeeze.spec import MapSpec
from squeeze.state import MarketState
from training.config import load_config
from training.networks.encoder import Standardise
from training.networks.network import Head, SqueezeNetwork, StepModel, parameters
from training.recipe import NetworkSpec

CONFIGS = [
    path for path in sorted((Path(__file__).parents[1] / "configs").glob("*.yaml")) if "\ntask: " in path.read_text()
]
SPEC = NetworkSpec(encoded=8, hidden=6, static=(12, 8), trunk=8)
MAP = MapSpec()


def network_of(seed=0, spec=SPEC, scalars=5, scores=4, channels=None):
    torch.manual_seed(seed)
    network = SqueezeNetwork(spec, MAP, 16, scalars, scores, channels).eval()
    network.scalars.fit(torch.randn(100, scalars) * 3 + 1)
    return network


def head_of(scores=4, positions=(0, 2), horizons=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    head = Head(scores, list(positions), horizons, 5.0)
    head.weights.copy_(torch.randn(head.weights.shape, generator=generator))
    head.intercepts.copy_(torch.randn(2, 1, generator=generator).expand(2, horizons))
    return head


def frames_of(steps, scalars=5, seed=2, extra=0):
    rng = np.random.default_rng(seed)
    channels = 10 ** rng.uniform(-8, -1, (steps, 2, len(MAP.leverages), 16))
    channels = np.concatenate([channels, rng.normal(5, 3, (steps, 2, extra, 16))], axis=2)
    return torch.from_numpy(channels.astype(np.float32)), torch.from_numpy(
        rng.normal(size=(steps, 2, scalars)).astype(np.float32)
    )


@torch.no_grad()
@pytest.mark.parametrize("core", ["gru", "tcn", "window"])
@pytest.mark.parametrize("encoder", ["patch", "conv"])
def test_swapping_the_sides_swaps_the_outputs(core, encoder):
    spec = msgspec.structs.replace(SPEC, core=core, encoder=encoder, dilations=(1, 2), window=14)
    network, head = network_of(spec=spec, channels=len(MAP.leverages) + 2), head_of()
    head.intercepts[1] = head.intercepts[0]  # the side itself is one input of the head
    model = StepModel(network, head).eval()
    (channels, scalars), state = frames_of(1, extra=2), torch.randn(2, network.state_width)
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
    torch.testing.assert_close(state, last, atol=1e-6, rtol=0)


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
@pytest.mark.parametrize("core", ["its own", "gru", "tcn", "window"])
def test_every_shipped_model_and_every_core_by_default_keep_within_fifty_thousand_parameters(path, core):
    config = load_config(path)
    spec = config.network if core == "its own" else NetworkSpec(core=core)
    scores = len(config.spec.label.horizons_minutes) * config.pretrain.scores_per_horizon
    state = MarketState(config.spec)
    network = SqueezeNetwork(
        spec, config.spec.map, config.spec.frame.price_bins, len(state.scalar_names), scores, len(state.channel_names),
    )  # fmt: skip
    head = Head(scores, [0] * len(config.head.scalars), len(config.spec.label.horizons_minutes), 5.0)
    assert parameters(network) + head.weights.numel() + head.intercepts.numel() <= 50_000


def test_a_network_over_its_budget_is_refused():
    count = parameters(network_of())
    at_the_border = msgspec.structs.replace(SPEC, most_parameters=count)
    assert parameters(network_of(spec=at_the_border)) == count
    with pytest.raises(ConfigError, match=f"it has {count:,} parameters, most_parameters allows {count - 1:,}"):
        network_of(spec=msgspec.structs.replace(SPEC, most_parameters=count - 1))


def test_further_channels_cost_nothing_where_there_are_none():
    plain, same = network_of(), network_of(channels=len(MAP.leverages))
    assert plain.state_dict().keys() == same.state_dict().keys()
    assert plain.encoder.over_price.near.in_channels == 2
    assert not any("extra" in name for name in plain.state_dict())


@torch.no_grad()
def test_further_channels_are_seen_standardised_and_where_they_are_missing_as_their_mean():
    buckets = len(MAP.leverages)
    network = network_of(channels=buckets + 3)
    channels, scalars = frames_of(40, extra=3)
    channels[:, :, buckets + 2] = torch.nan  # never recorded
    network.encoder.fit(channels[:, :, buckets:].flatten(0, 1))
    assert network.kept_channels.tolist() == [1] * (buckets + 2) + [0]
    mean, deviation = network.encoder.extra.mean, network.encoder.extra.deviation
    np.testing.assert_allclose(mean[:2], channels[:, :, buckets:-1].mean((0, 1, 3)), rtol=1e-4)
    np.testing.assert_allclose(deviation[:2], channels[:, :, buckets:-1].std((0, 1, 3), correction=0), rtol=1e-4)

    def scores(changed):
        return network(changed[None, :, 0], changed[None, :, 1], scalars[None, :, 0], None)[0]

    base = scores(channels)
    assert torch.isfinite(base).all()
    for side in (0, 1):  # own and other side are both seen
        moved = channels.clone()
        moved[:, side, buckets] += 1.0
        assert not torch.allclose(scores(moved), base)
    missing, average = channels.clone(), channels.clone()
    missing[:, :, buckets], average[:, :, buckets] = torch.nan, mean[0]
    torch.testing.assert_close(scores(missing), scores(average), atol=1e-6, rtol=0)
    noise = channels.clone()
    noise[:, :, buckets + 2] = torch.randn(noise[:, :, buckets + 2].shape)
    assert torch.equal(scores(noise), base)


@torch.no_grad()
@pytest.mark.parametrize("masked", [(0,), (1, 6), tuple(range(7))])
def test_a_masked_channel_has_no_influence_and_stays_masked_through_a_fit(masked):
    network = network_of(channels=7)
    channels, scalars = frames_of(20, extra=2)
    network.mask(channels=masked)
    network.encoder.fit(channels[:, :, 5:].flatten(0, 1))
    assert (network.kept_channels == 0).nonzero()[:, 0].tolist() == list(masked)
    head = Head(4, [], 1, 5.0)
    head.weights.fill_(1.0)
    model, state = StepModel(network, head).eval(), torch.zeros(2, network.state_width)
    expected = model(channels[0], scalars[0], state)[0]
    for position in range(7):
        changed = channels[0].clone()
        changed[:, position] *= 30.0
        assert torch.equal(model(changed, scalars[0], state)[0], expected) == (position in masked)


def test_a_masked_scalar_stays_masked_through_a_fit():
    network = network_of()
    network.mask(scalars=[2, 4])
    assert network.scalars.kept.tolist() == [1, 1, 0, 1, 0]
    network.scalars.fit(torch.randn(100, 5))
    assert network.scalars.kept.tolist() == [1, 1, 0, 1, 0]
    other = network_of(seed=1)
    other.load_state_dict(network.state_dict())
    assert other.scalars.kept.tolist() == [1, 1, 0, 1, 0]


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
    assert network.encoder.over_price.near.weight.grad is not None
