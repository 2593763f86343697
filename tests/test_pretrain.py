"""Pre-training itself: what the loss is, that it repeats, that it can be cut short, and that controls' masks hold."""

import dataclasses
import json

import msgspec
import numpy as np
import pytest
import torch
from test_proxies import MINUTE_NS, examples_of
from torch.nn import functional

from squeeze.errors import ConfigError, DataError
from squeeze.spec import MapSpec
from training.networks.device import place, trainer_options
from training.networks.network import SqueezeNetwork
from training.pretraining.data import SequenceData
from training.pretraining.lanes import Batch
from training.pretraining.task import ProxyTask, fine_tune, pretrain
from training.recipe import FineTuneSpec, NetworkSpec, PretrainSpec
from training.walk import weights_digest

NETWORK = NetworkSpec(encoded=6, hidden=5, static=(8, 6), trunk=6, dilations=(1, 2), window=12)
SPEC = PretrainSpec(
    until="2025-01-01", quantiles=(0.6, 0.9), exceedance_weights=(1.0, 2.0), chunk=32, lane=128, lanes=8, epochs=4,
    patience=4, learning_rate=5e-3,
)  # fmt: skip
MAP = MapSpec(leverages=(10.0, 20.0), prior_weights=(0.3, 0.2))
STEPS, HORIZON = 1300, 5


def network_of(spec=SPEC, core="gru", **options):
    torch.manual_seed(1)
    network = msgspec.structs.replace(NETWORK, core=core)
    return SqueezeNetwork(network, MAP, 8, 2, spec.scores_per_horizon, **options)


def market(seed=0):
    """Frames of which the first scalar tells the swept mass to come, for there is something to learn."""
    made = examples_of(STEPS, seed=seed)
    ahead = np.stack([np.convolve(made.swept[:, s], np.ones(HORIZON))[HORIZON - 1 :][:STEPS] for s in range(2)], 1)
    made.scalars[:-1, :, 0] = np.log(ahead + 1e-3)[1:]
    return made


def data_of(spec=SPEC, examples=None, seed=0, **options):
    examples = market() if examples is None else examples
    return SequenceData([examples], (HORIZON,), spec, 1290 * MINUTE_NS, seed, **options)


def trained(spec=SPEC, data=None, seed=0, core="gru", **options):
    network = network_of(spec, core)
    said = pretrain(network, data_of(spec) if data is None else data, spec, 1, seed, **options)
    return weights_digest(network), said, network


@pytest.fixture(scope="module")
def whole():
    """One undisturbed training: the digest of its weights, and what it said."""
    return trained()[:2]


def without_speed(said):
    return {name: value for name, value in said.items() if name != "frames_per_second"}


def test_it_learns_and_says_so(whole):
    _, said = whole
    assert said["epochs"] == len(said["curve"]) == 4
    assert said["val_loss"] == min(epoch["val_loss"] for epoch in said["curve"]) < 0.9 * said["curve"][0]["train_loss"]
    assert said["frames_per_second"] > 0


def test_the_same_seed_gives_the_same_weights_and_figures(whole):
    digest, said, _ = trained()
    assert digest == whole[0]
    assert without_speed(said) == without_speed(whole[1])


def test_data_used_before_train_the_same(whole):
    data = data_of()
    assert [trained(data=data)[0] for _ in range(2)] == [whole[0]] * 2


def test_another_seed_gives_other_weights(whole):
    assert trained(seed=1)[0] != whole[0]


def test_frames_on_the_device_train_the_same_weights(whole):
    data = data_of()
    assert all(place(lanes, torch.device("cpu"), most_bytes=10**8) for lanes in (data.training, data.validation))
    assert trained(data=data)[0] == whole[0]


class Killed(Exception):
    """What a signal does, as near as a test can come."""


def kill_after(epochs):
    def progress(what, done, total):
        if done == epochs:
            raise Killed

    return progress


@pytest.mark.parametrize(("core", "kills"), [("gru", (1,)), ("gru", (1, 2, 3)), ("tcn", (3,))])
def test_a_training_that_was_cut_short_ends_with_the_same_weights(whole, core, kills, tmp_path):
    expected = whole if core == "gru" else trained(core=core)[:2]
    for epoch in kills:
        with pytest.raises(Killed):
            trained(core=core, checkpoint=tmp_path, progress=kill_after(epoch))
    shown = []
    digest, said, _ = trained(core=core, checkpoint=tmp_path, progress=lambda what, done, total: shown.append(done))
    assert shown == list(range(kills[-1] + 1, 5)), "only what was left is done"
    assert digest == expected[0]
    assert without_speed(said) == without_speed(expected[1])


def test_early_stopping_goes_on_where_it_was(tmp_path):
    spec = msgspec.structs.replace(SPEC, learning_rate=0.3, patience=2, epochs=12)  # too fast to get better for long
    digest, said, _ = trained(spec)
    assert said["epochs"] < 12
    best = int(np.argmin([epoch["val_loss"] for epoch in said["curve"]]))
    assert said["epochs"] == best + 1 + 2
    with pytest.raises(Killed):
        trained(spec, checkpoint=tmp_path, progress=kill_after(said["epochs"] - 1))
    resumed, again, _ = trained(spec, checkpoint=tmp_path)
    assert resumed == digest
    assert without_speed(again) == without_speed(said)


def test_a_finished_training_is_not_done_twice(whole, tmp_path):
    trained(checkpoint=tmp_path)
    digest, said, _ = trained(checkpoint=tmp_path, progress=kill_after(1))
    assert digest == whole[0]
    assert without_speed(said) == without_speed(whole[1])


def test_trainings_of_another_seed_spec_or_data_do_not_meet(tmp_path):
    with pytest.raises(Killed):
        trained(checkpoint=tmp_path, progress=kill_after(1))
    slower = msgspec.structs.replace(SPEC, learning_rate=1e-3)
    reflected = dataclasses.replace(market(), channels=market().channels[..., ::-1])
    for options in ({"seed": 1}, {"spec": slower}, {"data": data_of(examples=reflected)}):
        with pytest.raises(Killed):  # from its own first epoch
            trained(checkpoint=tmp_path, progress=kill_after(1), **options)
    other = network_of(SPEC, "gru")
    other.spec = msgspec.structs.replace(other.spec, dropout=0.6)  # which no weight tells of
    with pytest.raises(Killed):
        pretrain(other, data_of(SPEC), SPEC, 1, 0, kill_after(1), checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    with pytest.raises(Killed):
        trained(checkpoint=tmp_path, progress=kill_after(1))
    (folder,) = tmp_path.iterdir()
    said = json.loads((folder / "state.json").read_text())
    said["identity"] |= {"data": "0", "seed": 9}
    (folder / "state.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"is of another training \(its data, seed differ\); remove it to start anew"):
        trained(checkpoint=tmp_path)


@pytest.mark.parametrize("name", ["state.json", "state.npz"])
def test_a_checkpoint_that_cannot_be_read_is_named(name, tmp_path):
    with pytest.raises(Killed):
        trained(checkpoint=tmp_path, progress=kill_after(1))
    (folder,) = tmp_path.iterdir()
    (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    with pytest.raises(DataError, match="the checkpoint cannot be read"):
        trained(checkpoint=tmp_path)


def test_a_full_disk_is_said_and_loses_no_epoch(whole, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        trained(checkpoint=tmp_path, progress=kill_after(2))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        with pytest.raises(DataError, match="cannot be written: No space left on device"):
            trained(checkpoint=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert len(json.loads((folder / "state.json").read_text())["curve"]) == 2
    assert trained(checkpoint=tmp_path)[0] == whole[0]


def batch_of(lanes=3, steps=7, horizons=1, width=4, labelled=False, taught=False, seed=0):
    rng = np.random.default_rng(seed)

    def made(*shape):
        return torch.from_numpy(rng.random((lanes, steps, *shape)).astype(np.float32))

    beside = {}
    if labelled:
        beside |= {"truth": (made(horizons) < 0.3).float(), "labelled": (made() < 0.5).float()}
    if taught:
        beside |= {"teacher": 4 * made(horizons * width) - 2, "taught": (made() < 0.5).float()}
    return Batch(
        made(2, 8), made(2, 8), made(2), (made(horizons, 2) < 0.3).float(), made(horizons, 2), (made() < 0.8).float(),
        True, **beside,
    )  # fmt: skip


def slow_loss(scores, batch, spec):
    """The loss by plain loops, in float64."""

    def bits(logit, share):
        return float(functional.binary_cross_entropy_with_logits(logit.double(), share.double()))

    def frame(i, t, exceeds, graded, truth):
        lost = sum(w * bits(scores[i, t, q], exceeds[q]) for q, w in enumerate(spec.exceedance_weights)) / 2
        lost += spec.regression_weight * sum(float(scores[i, t, 2 + g] - graded[g]) ** 2 for g in range(2)) / 2
        return lost if truth is None else lost + spec.label_weight * bits(scores[i, t, 4], truth)

    total = weight = 0.0
    for i, t in np.ndindex(*batch.mask.shape):
        truth = batch.truth[i, t, 0] if batch.truth is not None and batch.labelled[i, t] else None
        each = frame(i, t, batch.exceeds[i, t, 0], batch.graded[i, t, 0], truth)
        if batch.teacher is not None and batch.taught[i, t]:
            said = batch.teacher[i, t]
            soft = frame(
                i, t, torch.sigmoid(said[:2]), said[2:4], torch.sigmoid(said[4]) if batch.truth is not None else None
            )
            each = (1 - spec.teacher_weight) * each + spec.teacher_weight * soft
        total, weight = total + float(batch.mask[i, t]) * each, weight + float(batch.mask[i, t])
    return total / weight


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("changed", [{}, {"regression_weight": 0.0}, {"teacher_weight": 1.0, "label_weight": 0.3}])
def test_the_loss_is_what_a_plain_loop_finds(labelled, taught, changed):
    spec = msgspec.structs.replace(SPEC, labels=labelled, **changed)
    network = network_of(spec).eval()
    batch = batch_of(width=spec.scores_per_horizon, labelled=labelled, taught=taught)
    with torch.no_grad():
        found = ProxyTask(network, spec, 1, 10, 0).loss(batch)
        scores, _ = network(batch.own, batch.other, batch.scalars, None)
    np.testing.assert_allclose(float(found), slow_loss(scores, batch, spec), rtol=1e-5)


def test_a_teacher_that_nobody_follows_changes_nothing(whole):
    spec = msgspec.structs.replace(SPEC, teacher_weight=0.0)
    teacher = np.random.default_rng(0).normal(size=(STEPS, 2, 4)).astype(np.float32)
    assert trained(spec, data_of(spec, teacher=[teacher]))[0] == whole[0]


def test_a_teacher_alone_is_followed_in_training_and_the_truth_alone_in_validation():
    spec = msgspec.structs.replace(SPEC, teacher_weight=1.0)
    teacher = np.random.default_rng(0).normal(0, 2, (STEPS, 2, 4)).astype(np.float32)
    data = data_of(spec, teacher=[teacher])
    batch = next(iter(data.training))
    assert batch.taught.any()
    task = ProxyTask(network_of(spec, "gru").eval(), spec, 1, data.training.most_batches, 0)
    other_truth = dataclasses.replace(batch, exceeds=1 - batch.exceeds, graded=-batch.graded)
    other_teacher = dataclasses.replace(batch, teacher=-batch.teacher)

    def loss(of, taught):
        with torch.no_grad():
            return float(task.loss(dataclasses.replace(of, fresh=True), taught=taught))

    assert loss(batch, True) == loss(other_truth, True) != loss(other_teacher, True)
    assert loss(batch, False) == loss(other_teacher, False) != loss(other_truth, False)


def labels_of(seed=3):
    """A truth that the second scalar knows."""
    chance = 1 / (1 + np.exp(-3 * market().scalars[:, :, 1] + 2))
    return np.random.default_rng(seed).random((STEPS, 2)) < chance


def test_the_labelled_truth_is_learned_where_it_is_asked_for():
    spec = msgspec.structs.replace(SPEC, labels=True, epochs=6)
    labels = [(labels_of()[:, :, None], np.arange(STEPS) % 5 > 0)]
    network = trained(spec, data_of(spec, labels=labels))[2]
    with torch.no_grad():
        own = torch.from_numpy(np.array(market().channels)).transpose(0, 1)
        scores, _ = network(own, own.flip(0), torch.from_numpy(np.array(market().scalars)).transpose(0, 1), None)
    logit, truth = scores[..., -1].numpy().T, labels_of()
    below = (logit[~truth][None] < logit[truth][:, None]).mean()  # the AUC; what a row's scalar tells is worth 0.86
    assert below > 0.75


def test_fine_tuning_goes_on_from_what_was_learned():
    spec = msgspec.structs.replace(SPEC, labels=True, fine_tuning=FineTuneSpec(epochs=2, learning_rate=1e-4))
    labels = [(labels_of()[:, :, None], np.ones(STEPS, bool))]
    data = data_of(spec, labels=labels)
    _, said, network = trained(spec, data)
    mean, before = network.scalars.mean.clone(), network.scores.weight.detach().clone()
    tuned = fine_tune(network, data, spec, 1, 0)
    assert tuned["epochs"] == 2
    assert abs(tuned["curve"][0]["val_loss"] - said["val_loss"]) < 0.05
    moved = (network.scores.weight.detach() - before).abs().max()
    assert 0 < moved < 0.05
    assert torch.equal(network.scalars.mean, mean)
    with pytest.raises(ConfigError, match="fine_tuning: null"):
        fine_tune(network, data, SPEC, 1, 0)


def test_what_is_masked_before_training_is_masked_after_it():
    network = network_of()
    network.mask(scalars=[0], channels=[1])
    pretrain(network, data_of(), msgspec.structs.replace(SPEC, epochs=1), 1, 0)
    assert network.scalars.kept.tolist() == [0, 1]
    assert network.kept_channels.tolist() == [1, 0]
    own, scalars = torch.rand(2, 9, 2, 8), torch.randn(2, 9, 2)
    with torch.no_grad():
        before, _ = network(own, own.flip(0), scalars, None)
        own[:, :, 1], scalars[..., 0] = torch.rand(2, 9, 8), 7.0
        after, _ = network(own, own.flip(0), scalars, None)
    assert torch.equal(before, after)


def test_further_channels_are_scaled_before_training():
    examples = market()
    wide = np.concatenate([examples.channels, np.random.default_rng(0).normal(50, 9, (STEPS, 2, 1, 8))], axis=2)
    examples = dataclasses.replace(
        examples, channels=wide.astype(np.float32), channel_names=(*examples.channel_names, "book_v")
    )
    network = network_of(channels=3)
    pretrain(network, data_of(examples=examples), msgspec.structs.replace(SPEC, epochs=1), 1, 0)
    np.testing.assert_allclose(network.encoder.extra.mean, [50], rtol=0.02)
    np.testing.assert_allclose(network.encoder.extra.deviation, [9], rtol=0.02)


@pytest.mark.parametrize("core", ["gru", "tcn", "window"])
def test_bf16_trains_every_core_to_about_the_same_loss(core):
    spec = msgspec.structs.replace(SPEC, epochs=2, precision="bf16")
    full = trained(msgspec.structs.replace(spec, precision="32"), core=core)[1]["val_loss"]
    half = trained(spec, core=core)[1]["val_loss"]
    assert abs(half - full) < 0.02 * full
    assert half != full


def test_a_loss_that_is_not_finite_stops_training():
    spec = msgspec.structs.replace(SPEC, learning_rate=1e30)
    with pytest.raises(DataError, match="the loss is not finite after epoch 1"):
        trained(spec)


def test_the_defaults_are_a_deterministic_cpu_in_32_bits():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    options = trainer_options(SPEC)
    assert options == {
        "accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "deterministic": True,
    }  # fmt: skip
    several = trainer_options(msgspec.structs.replace(SPEC, devices=2, precision="bf16"))
    assert (several["strategy"], several["precision"]) == ("ddp", "bf16-mixed")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"teacher_weight": 1.1}, "teacher_weight lies between 0 and 1"),
        ({"regression_weight": -0.1}, "weights of the loss are not negative"),
        ({"exceedance_weights": (0.0, 0.0)}, "one exceedance weighs something"),
        ({"fine_tuning": FineTuneSpec()}, "fine_tuning needs labels: true"),
        ({"devices": 0}, "devices is at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        PretrainSpec(**{"until": "2025-01-01", "quantiles": (0.6, 0.9), "exceedance_weights": (1.0, 2.0)} | bad)
