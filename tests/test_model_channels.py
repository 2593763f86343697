"""A model that takes chosen channels of the atlas, from network to file to predictor."""

import dataclasses
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch

from squeeze import Abstain, Prediction, load
from squeeze.errors import ModelFileError
from squeeze.model_file import ModelCard
from squeeze.state import MarketState
from tests.test_atlas import steps
from tests.test_channels import choosing
from tests.test_model_file import with_card
from training import export
from training.examples import known_rows, required_channels
from training.networks.network import Head, SqueezeNetwork, StepModel
from training.recipe import NetworkSpec

SPEC = choosing("book_usd_*", "stops", "funding_predicted_a")
NETWORKS = {
    "gru": NetworkSpec(encoded=8, hidden=6, static=(12, 8), trunk=8),
    "tcn": NetworkSpec(core="tcn", encoded=8, hidden=6, static=(12, 8), trunk=8, dilations=(1, 2)),
    "window": NetworkSpec(core="window", encoded=8, hidden=6, static=(12, 8), trunk=8, window=12),
}


@pytest.fixture(scope="module")
def frames():
    state = MarketState(SPEC)
    return [frame for step in steps(120) if not (frame := state.advance(step)).unhealthy]


@pytest.fixture(scope="module")
def state():
    return MarketState(SPEC)


def model_of(frames, core):
    """Random weights, scales as of these frames, and a head that looks at all scores."""
    torch.manual_seed(0)
    scalars, channels = frames[0].scalars.shape[1], frames[0].channels.shape[1]
    network = SqueezeNetwork(NETWORKS[core], SPEC.map, SPEC.frame.price_bins, scalars, 4, channels)
    network.scalars.fit(torch.from_numpy(np.concatenate([f.scalars for f in frames])))
    units = len(SPEC.map.leverages)
    network.encoder.fit(torch.from_numpy(np.concatenate([f.channels[:, units:] for f in frames])))
    head = Head(4, [], 1, 5.0)
    head.weights.copy_(torch.linspace(-0.5, 0.5, 4)[:, None])
    return StepModel(network, head).eval()


def card_of(model, state, **changes):
    card = ModelCard(
        spec=SPEC, scalar_names=state.scalar_names, masked_scalars=(), channel_names=state.channel_names,
        masked_channels=(), hidden=model.network.state_width, degraded=0xFFF,
        base_rates={"long": (0.1,), "short": (0.1,)}, trained_from="", trained_until="", data_digest="", licence="",
        commit="",
    )  # fmt: skip
    return msgspec.structs.replace(card, **changes)


@pytest.fixture(scope="module")
def model(frames):
    return model_of(frames, "gru")


@pytest.fixture(scope="module")
def file(model, state):
    return export.to_onnx(model, card_of(model, state))


@pytest.fixture
def loaded(file, tmp_path):
    export.write(file, tmp_path / "model.onnx")
    return load(tmp_path / "model.onnx")


@pytest.mark.parametrize("core", NETWORKS)
def test_torch_equals_onnx_over_random_channels_of_which_some_are_unknown(frames, state, model, file, core):
    if core != "gru":
        model = model_of(frames, core)
        file = export.to_onnx(model, card_of(model, state))
    probability, carried = export.parity(model, file, card_of(model, state), steps=300)
    assert probability <= export.PROBABILITY_TOLERANCE
    assert carried <= export.STATE_TOLERANCE


def test_what_parity_tries_is_as_wide_as_the_market(model, state, frames):
    card, rng = card_of(model, state), np.random.default_rng(0)
    tried = [export.random_inputs(model, card, rng) for _ in range(200)]
    channels = np.stack([inputs["channels"] for inputs in tried])
    assert channels.shape[1:] == frames[0].channels.shape
    assert np.isfinite(channels[:, :, :5]).all()
    assert 0.09 < np.isnan(channels[:, :, 5:]).mean() < 0.11
    seen = np.stack([frame.channels for frame in frames])
    assert np.nanmax(channels[:, :, 5:9]) > np.nanmax(seen[:, :, 5:9]) / 3 > 1e5, "USD in a bin of a book"


def test_parity_notices_a_channel_that_the_graph_scales_otherwise(frames, state, file):
    other = model_of(frames, "gru")
    other.network.encoder.extra.deviation[0] *= 1.01
    assert max(export.parity(other, file, card_of(other, state), steps=50)) > 1e-5


def test_a_file_with_channels_answers_the_frames_of_its_spec_as_torch_does(loaded, frames, model):
    carried = torch.zeros(2, model.network.state_width)
    for frame in frames[:30]:
        answer = loaded.step(frame)
        with torch.no_grad():
            expected, carried = model(torch.from_numpy(frame.channels), torch.from_numpy(frame.scalars), carried)
        assert isinstance(answer, Prediction)
        np.testing.assert_allclose(answer.probabilities, expected.numpy(), atol=1e-6)
    assert np.isnan(np.stack([frame.channels[:, 5:] for frame in frames[:30]])).any()


def test_the_channels_have_a_say_and_one_that_is_unknown_gives_a_number_still(file, tmp_path, frames):
    export.write(file, tmp_path / "model.onnx")

    def said(change):
        channels = frames[-1].channels.copy()
        change(channels)
        return load(tmp_path / "model.onnx").step(dataclasses.replace(frames[-1], channels=channels))

    plain = said(lambda channels: None)
    doubled = said(lambda channels: channels.__setitem__((slice(None), 5), channels[:, 5] * 2 + 1e6))
    unknown = said(lambda channels: channels.__setitem__((slice(None), slice(5, None)), np.nan))
    assert isinstance(unknown, Prediction)
    assert doubled.probabilities.tobytes() != plain.probabilities.tobytes() != unknown.probabilities.tobytes()
    no_map = said(lambda channels: channels.__setitem__((slice(None), 0), np.nan))
    assert no_map == Abstain(no_map.symbol, no_map.close_ns, ("the model's output is not finite",))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "channel",
            r"was trained on 10 channels, frames of its spec have 10: channel 5 is book_usd_b there and book_usd_a",
        ),
        ("scalar", r"was trained on 332 scalars, frames of its spec have 332: scalar 0 is \w+ there and \w+ here"),
    ],
)
def test_a_model_of_other_names_or_another_order_is_refused(file, state, tmp_path, what, said):
    names = list(getattr(state, f"{what}_names"))
    at = 5 if what == "channel" else 0
    names[at], names[at + 1] = names[at + 1], names[at]
    export.write(with_card(file, **{f"{what}_names": names}), tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=said):
        load(tmp_path / "m.onnx")


def test_a_model_whose_spec_chooses_fewer_channels_than_its_graph_takes_is_refused(file, tmp_path):
    def choosing_only(name):
        return with_card(file, spec=msgspec.to_builtins(choosing(name)))

    export.write(choosing_only("stops"), tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=r"was trained on 10 channels, frames of its spec have 6: channel 5 is"):
        load(tmp_path / "m.onnx")
    export.write(choosing_only("nothing_*"), tmp_path / "n.onnx")
    with pytest.raises(ModelFileError, match=r"n\.onnx: frame\.channels: no channel is called nothing_\*"):
        load(tmp_path / "n.onnx")


def test_without_a_required_channel_the_model_abstains_and_names_it(model, state, frames, tmp_path):
    name = next(each for each in state.channel_names if each.startswith("book_usd"))
    export.write(export.to_onnx(model, card_of(model, state, required_channels=(name,))), tmp_path / "m.onnx")
    whole, lacking = (load(tmp_path / "m.onnx") for _ in range(2))
    channels = frames[-1].channels.copy()
    channels[:, state.channel_names.index(name)] = np.nan
    blind = dataclasses.replace(frames[-1], channels=channels)
    assert isinstance(whole.step(frames[-1]), Prediction)
    answer = lacking.step(blind)
    assert isinstance(answer, Abstain)
    assert answer.reasons == (f"not recorded: {name}",)


def test_a_channel_is_required_where_healthy_frames_hardly_ever_lacked_it():
    channels = np.ones((400, 2, 4, 8), np.float32)
    channels[:200, :, 2] = np.nan  # while nothing was healthy yet
    channels[210:, 0, 2] = np.nan  # one side is enough
    channels[::50, :, 3] = np.nan  # two frames in a hundred
    unhealthy = np.where(np.arange(400) < 200, 1, 0)
    names = ("unit", "always", "later", "mostly")
    examples = SimpleNamespace(channel_names=names, channels=channels, unhealthy=unhealthy)
    assert required_channels(examples, np.arange(400), units=1) == ("always", "later")
    assert required_channels(examples, np.arange(200), units=1) == ()
    assert known_rows(examples, ("later", "mostly"), np.array([0, 50, 211])).tolist() == [
        [False, False],
        [False, False],
        [True, True],
    ]
