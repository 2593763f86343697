"""The proof on simulated worlds: what is kept, what is asked of whom, and what the report says of it."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
import yaml
from small import SMALL

import training.proof.worlds
from squeeze.errors import ConfigError, DataError
from squeeze.market.events import MINUTE_NS
from squeeze.market.lake import read_events
from squeeze.market.steps import steps
from squeeze.predictor import Prediction, load
from squeeze.simulator.oracle import probabilities
from squeeze.state import MarketState
from training.config import load_config
from training.evaluation.bootstrap import Gain
from training.groups import read_off_a_map
from training.head import fit_head
from training.proof.fits import ALL_MAPS, Fit, answers, at_rows, fit, grounds, masks, rival
from training.proof.prove import RIVALS, chosen, prove, write_model
from training.proof.report import MASKED, NETWORK, ORACLE, Horizon, Report, Score, judge, page, said, write
from training.proof.worlds import PATHS, Source
from training.recipe import FineTuneSpec

HOUR_NS = 60 * MINUTE_NS
TINY = yaml.safe_load(yaml.safe_dump(SMALL)) | {
    "worlds": {
        "days": 3, "trained_on": [0, 1], "chosen_on": [2], "tested_on": [3], "networks": [0],
        "oracle_paths": PATHS, "oracle_every_minutes": 240, "book_minutes": 720,
    }
}  # fmt: skip
TINY["spec"]["label"]["threshold_usd"] = 100_000
TINY["pretrain"] |= {"until": "2025-03-04", "labels": True}


def config_with(tmp_path, **worlds):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"worlds": TINY["worlds"] | worlds}))
    return load_config(path)


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    """Config, folder, grounds and the one network."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("proof")
    config = config_with(folder)
    found = grounds(config, "matter", folder / "out")
    return config, folder / "out", found, fit(found, folder / "out", 0)


def test_what_was_made_is_not_made_again(proof, monkeypatch):
    config, out, found, made = proof

    def refuse(*args, **named):
        raise AssertionError("simulated, or trained, a second time")

    monkeypatch.setattr(training.proof.worlds, "simulate", refuse)
    monkeypatch.setattr(training.proof.fits, "pretrain", refuse)
    again = grounds(config, "matter", out)
    assert np.array_equal(again.oracle, found.oracle)
    assert np.array_equal(fit(again, out, 0).probabilities, made.probabilities)
    with pytest.raises(AssertionError, match="a second time"):
        fit(again, out, 1)
    with pytest.raises(AssertionError, match="a second time"):
        Source(config, "do_not_matter", 3, out).world()


def test_the_oracle_stands_at_the_close_before_the_hour_and_the_truth_is_what_comes_after(proof):
    config, out, found, _ = proof
    market, label = Source(config, "matter", 3, out).market, config.spec.label
    for row in (0, 5):
        ts_ns = int(found.ts_ns[row])
        minute = (ts_ns - int(market.minute_ns[0])) // MINUTE_NS
        expected = probabilities(market, minute - 1, label.horizons_minutes, label.threshold_usd, PATHS, seed=0)
        assert ts_ns % (4 * HOUR_NS) == 0
        assert np.array_equal(found.oracle[row], expected)
        for horizon, minutes in enumerate(label.horizons_minutes):
            ahead = market.liquidated_usd(minutes)[minute]
            assert np.array_equal(found.truth[row, :, horizon], ahead > label.threshold_usd)


def test_more_paths_keep_the_first_and_sharpen_the_rest(proof):
    config, out, found, _ = proof
    twice = msgspec.structs.replace(config.worlds, oracle_paths=2 * PATHS)
    oracle = Source(msgspec.structs.replace(config, worlds=twice), "matter", 3, out).oracle()
    assert np.array_equal(oracle.batches[0], found.oracles[0].probabilities)
    assert not np.array_equal(oracle.batches[0], oracle.batches[1])
    assert np.array_equal(oracle.probabilities, oracle.batches.mean(axis=0))


def test_no_world_is_trained_on_and_tested_on(tmp_path):
    with pytest.raises(ConfigError, match="trained on, chosen on or tested on"):
        config_with(tmp_path, tested_on=[1])
    with pytest.raises(DataError, match="no `worlds`"):
        training.proof.worlds.worlds_of(msgspec.structs.replace(config_with(tmp_path), worlds=None))


def test_a_variant_is_tried_on_the_seeds_for_choosing_and_the_tested_ones_stay_unseen(proof, monkeypatch, tmp_path):
    config, out, _, _ = proof
    seen = []

    def noted(asked, *_):
        seen.append(asked.worlds)
        raise AssertionError("enough was seen")

    monkeypatch.setattr(training.proof.prove, "grounds", noted)
    with pytest.raises(AssertionError, match="enough"):
        prove(config, out, tmp_path / "r.md", "squeeze prove", choosing=True)
    assert (seen[0].trained_on, seen[0].chosen_on, seen[0].tested_on) == ((0, 1), (), (2,))


def test_without_maps_a_network_sees_no_channel_and_no_scalar_of_a_map(proof):
    _, out, found, _ = proof
    blind = fit(found, out, 0, ALL_MAPS)
    world, at = found.judged[0], found.at[0]
    names = world.examples.scalar_names
    changed = np.array(world.examples.scalars)
    changed[:, :, read_off_a_map(names)] = 7.0
    noise = np.random.default_rng(0).random(world.examples.channels.shape, np.float32)
    other = replace(world, examples=replace(world.examples, channels=noise, scalars=changed))
    assert np.array_equal(answers(blind.network, blind.head, [other], [at]), blind.probabilities)
    seeing = fit(found, out, 0)
    assert not np.array_equal(answers(seeing.network, seeing.head, [other], [at]), seeing.probabilities)


def test_fine_tuning_and_a_calibrated_head_are_done_where_the_config_asks_for_them(proof):
    config, out, found, plain = proof
    pretrain = msgspec.structs.replace(config.pretrain, fine_tuning=FineTuneSpec(epochs=1))
    head = msgspec.structs.replace(config.head, calibration="platt")
    asked = replace(found, config=msgspec.structs.replace(config, pretrain=pretrain, head=head))
    made = fit(asked, out, 0)
    assert made.said["fine_tuning"]["epochs"] == 1
    assert {k: v for k, v in made.said.items() if k not in ("fine_tuning", "frames_per_second")} == {
        k: v for k, v in plain.said.items() if k != "frames_per_second"
    }
    assert torch.equal(made.network.scalars.mean, plain.network.scalars.mean)
    assert not torch.equal(made.network.scores.weight, plain.network.scores.weight)
    rows = [at_rows(made.network, world, world.usable) for world in found.trained]
    inputs = [np.concatenate(part) for part in zip(*rows, strict=True)]
    far_apart = [w.rows.ts_ns[w.usable] + n * 10**17 for n, w in enumerate(found.trained)]
    positions = made.head.positions.tolist()
    expected = fit_head(*inputs, head, positions, np.concatenate(far_apart), 60 * MINUTE_NS)
    assert torch.equal(made.head.weights, expected.weights)
    assert not torch.equal(made.head.weights, fit_head(*inputs, config.head, positions).weights)


def test_a_group_left_out_takes_its_channels_and_scalars_alone():
    channels = ("unit_5x", "book_usd_bybit", "stops")
    scalars = ("zones", "book_cost_10000usd_bp_bybit", "volatility_60m", "book_spread_bp_bybit")
    examples = SimpleNamespace(channel_names=channels, scalar_names=scalars)
    assert masks(examples, "order book") == ([1, 3], [1])
    assert masks(examples, ALL_MAPS) == ([0, 1], [0, 1, 2])
    assert masks(examples, "") == ([], [])


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_answer_the_same_rows(proof, name):
    found = proof[2]
    p = rival(found, name)
    assert p.shape == found.truth.shape
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


def test_climatology_is_the_base_rate_of_the_training_worlds_on_both_sides(proof):
    found = proof[2]
    rates = np.concatenate([world.rows.truth[world.usable] for world in found.trained]).mean(axis=(0, 1))
    assert (rival(found, "climatology") == rates).all()


def test_the_network_that_is_exported_is_chosen_on_other_seeds_than_it_is_tested_on(proof):
    _, out, found, made = proof
    worse = Fit(made.network, reversed_head(made.head), 1 - made.probabilities, {})
    assert chosen(found, [worse, made], out) is made
    assert chosen(found, [made, worse], out) is made


def reversed_head(head):
    other = deepcopy(head)
    other.weights.mul_(-1.0)
    other.intercepts.add_(2.0)
    return other


def test_the_exported_model_says_live_what_was_judged(proof, tmp_path):
    config, out, found, made = proof
    rivals = {MASKED: [found.oracle], "climatology": [rival(found, "climatology")]}
    judged = judge(found, {ORACLE: [found.oracle], NETWORK: [made.probabilities], **rivals})
    write_model(found, made, judged, tmp_path / "model.onnx", parity_steps=200)
    predictor = load(tmp_path / "model.onnx")
    assert predictor.card.licence == config.licence
    assert predictor.card.masked_channels == ()
    assert set(predictor.card.scores) >= {"unseen_ap_gain_map", "unseen_share_of_oracle_ap"}
    lake, state = Source(config, "matter", 3, out).lake(), MarketState(predictor.spec)
    said = {}
    for step in steps(read_events(lake, config.spec.market), config.spec.market.symbol, state.length_ns):
        message = predictor.step(state.advance(step))
        if isinstance(message, Prediction):
            said[message.close_ns] = message.probabilities
    live = np.stack([said[int(ts)] for ts in found.ts_ns])
    np.testing.assert_allclose(live, made.probabilities, atol=2e-6)


def test_a_network_that_is_the_oracle_has_all_of_its_ap_and_gains_nothing_over_itself(proof):
    found = proof[2]
    flat = np.broadcast_to(found.base_rates, found.truth.shape)
    rivals = {MASKED: [found.oracle], "climatology": [flat]}
    ground = judge(found, {ORACLE: [found.oracle], NETWORK: [found.oracle, found.oracle], **rivals})
    watched = ground.watched
    assert watched.of_oracle == Gain(1.0, 1.0, 1.0)
    assert watched.of(MASKED).gain == Gain(0.0, 0.0, 0.0)
    assert watched.of(NETWORK).deviations["ap"] == 0.0
    assert watched.rows == found.truth[:, :, 0].size
    assert watched.of("climatology").figures["ap"] == pytest.approx(watched.base_rate)
    assert [each.minutes for each in (watched, *ground.others)] == [60, 15]


def test_a_network_that_lacks_something_is_compared_with_the_network_of_its_own_seed(proof):
    """The second seed is worse: over the mean of both, the first without anything left out would seem to lose."""
    found = proof[2]
    networks, name = [found.oracle, 1 - found.oracle], "network without funding map"
    made = {ORACLE: [found.oracle], NETWORK: networks, MASKED: networks, name: networks[:1], "rule": networks[:1]}
    watched = judge(found, made).watched
    assert watched.of(name).gain == watched.of(MASKED).gain == Gain(0.0, 0.0, 0.0)
    assert watched.of("rule").gain.observed < 0  # a rival without seeds is compared with the mean


def horizon_of(share, gain, episodes=80):
    scores = [
        Score(name, 1, {"ap": ap}, {}, gain)
        for name, ap in ((ORACLE, 0.6), (NETWORK, 0.5), (MASKED, 0.4), ("boosting", 0.3), ("rule", 0.1))
    ]
    return Horizon(60, 1000, episodes, 0.05, tuple(scores), share)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (Gain(0.7, 0.6, 0.79), "is not reached."),
        (Gain(0.7, 0.6, 0.85), "not reached, though the interval holds it"),
        (Gain(0.85, 0.7, 0.9), "reached, though the interval goes below it"),
        (Gain(0.85, 0.8, 0.9), "is reached."),
    ],
)
def test_the_report_says_whether_the_goal_was_reached(share, words):
    assert words in said(horizon_of(share, Gain(0.1, 0.05, 0.2)), is_null=False)[0]


@pytest.mark.parametrize(
    ("gain", "is_null", "words"),
    [
        (Gain(0.1, 0.05, 0.2), False, "leaves out zero"),
        (Gain(0.1, -0.05, 0.2), False, "no gain is shown"),
        (Gain(0.0, -0.05, 0.05), True, "covers zero, as it has to"),
        (Gain(0.1, 0.05, 0.2), True, "does not cover zero, though zones do not matter"),
    ],
)
def test_the_report_says_what_the_maps_gain(gain, is_null, words):
    found = said(horizon_of(Gain(0.8, 0.7, 0.9), gain), is_null=is_null)
    assert words in found[1]
    assert "boosting, AP 0.300" in found[2]


def test_few_events_are_inconclusive_whatever_their_interval():
    assert "Inconclusive" in said(horizon_of(Gain(0.9, 0.85, 0.95), Gain(0.1, 0.05, 0.2), 49), is_null=False)[-1]


def test_the_page_has_every_model_and_the_json_reads_back(proof, tmp_path):
    found = proof[2]
    flat = np.broadcast_to(found.base_rates, found.truth.shape)
    made = {ORACLE: [found.oracle], NETWORK: [flat], MASKED: [flat], "climatology": [flat]}
    report = Report("squeeze prove x", "abc", 7, PATHS, False, (judge(found, made),))
    markdown = page(report)
    assert "Nothing was chosen on the judged seeds" in markdown
    assert "No proof" in page(msgspec.structs.replace(report, choosing=True))
    assert all(markdown.count(f"| {name} |") == 2 for name in made)
    paths = write(report, tmp_path / "proof.md")
    assert [path.name for path in paths] == ["proof.json", "proof.md"]
    assert msgspec.json.decode(paths[0].read_bytes())["grounds"][0]["zones"] == "matter"
