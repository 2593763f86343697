"""History as the rows of a fit of weights, the file, the command, and where the mixing layer starts."""

import json

import msgspec
import numpy as np
import pytest
import torch
from small import cut, noised

from squeeze import cli
from squeeze.errors import ConfigError, DataError
from squeeze.heatmaps.weights import FitSpec
from squeeze.market.events import DAY_NS, MINUTE_NS, Broken, Feed, Gap, Liquidation, LiquidationSum
from squeeze.market.lake import read_events
from squeeze.market.steps import steps
from squeeze.state import BLIND, MarketState
from squeeze.strict import utc_ns
from squeeze.tools.sweeps import amounts_of_prints, amounts_of_sums, read_sweeps
from squeeze.tools.weights import read_weights, write_weights
from training.leverage.mixing import fit_known, share_of, starting_weights
from training.leverage.weights import fit_weights, top_share
from training.prepare import Prepared
from training.pretraining.scorers import pretrained
from training.verbs.weights import weights as verb

STEP_NS = 5 * MINUTE_NS
CUT_NS = utc_ns("2025-01-09T12:00")
LOOSE = FitSpec(least_liquidations=1, least_days=1, least_sweeps=1.0)


@pytest.fixture(scope="module")
def history(small):
    return read_sweeps(small.lake, small.config.spec)


def print_at(minutes, usd=5.0, side=0, late=0.0):
    at = round(minutes * MINUTE_NS)
    return Liquidation(venue="v", symbol="S", event_ns=at, known_at_ns=at + round(late * MINUTE_NS), side=side, usd=usd)


def sum_at(minutes, long_usd, short_usd, cadence_minutes):
    at = minutes * MINUTE_NS
    return LiquidationSum(
        venue="v", symbol="S", event_ns=at, known_at_ns=at, cadence_ns=cadence_minutes * MINUTE_NS,
        long_usd=long_usd, short_usd=short_usd,
    )  # fmt: skip


def in_minutes(amounts):
    return {close // MINUTE_NS: usd.tolist() for close, usd in amounts.items()}


def test_the_recorded_sweeps_are_those_of_the_live_path(small, history):
    spec, state = small.config.spec, MarketState(small.config.spec)
    shares = []
    for at, step in enumerate(steps(read_events(small.lake, spec.market), spec.market.symbol, STEP_NS)):
        frame = state.advance(step)
        assert (frame.close_ns, not frame.unhealthy & BLIND) == (history.closes_ns[at], history.seen[at])
        if history.seen[at]:
            assert frame.mark.close == history.marks[at]
            share = history.swept[at] @ state.map.prior / state.map.open_interest_base
            shares.append(np.array_equal(share, frame.swept_share))
    assert len(shares) > 2000
    assert all(shares)


def test_folding_again_under_the_prior_changes_no_bit_and_under_other_weights_does(history):
    until = int(history.closes_ns[1500])
    prior = np.array(history.map_spec.prior_weights)
    again, other = history.folded(prior, until), history.folded(np.array([0.6, 0.1, 0.1, 0.1, 0.1]), until)
    np.testing.assert_array_equal(again[:1501], history.swept[:1501])
    assert not again[1501:].any()
    assert not np.array_equal(other[:1501], history.swept[:1501])


def test_prints_fall_into_steps_that_close_at_or_after_them():
    found = in_minutes(amounts_of_prints([print_at(5), print_at(9.9), print_at(10, 2, 1), print_at(21)], [], STEP_NS))
    assert found == {10: [5.0, 2.0], 15: [0.0, 0.0], 20: [0.0, 0.0]}


def test_silence_is_zero_only_within_a_run_of_days_and_outside_of_gaps():
    day = DAY_NS // MINUTE_NS
    prints = [print_at(5), print_at(15), print_at(2 * day + 3), print_at(2 * day + 11)]
    assert list(in_minutes(amounts_of_prints(prints, [], STEP_NS))) == [10, 15, 2 * day + 10]
    gap = Gap(
        venue="v", symbol="S", event_ns=6 * MINUTE_NS, known_at_ns=9 * MINUTE_NS,
        feed=Feed.ALL, reason=Broken.DISCONNECTED,
    )  # fmt: skip
    assert list(in_minutes(amounts_of_prints(prints, [gap], STEP_NS))) == [15, 2 * day + 10]


def test_an_amount_that_was_not_recorded_is_no_zero():
    sums = [sum_at(60, 1.0, 2.0, 60), sum_at(120, float("nan"), 3.0, 60), sum_at(240, 4.0, 0.0, 60)]
    assert in_minutes(amounts_of_sums(sums, STEP_NS)) == {60: [1.0, 2.0], 240: [4.0, 0.0]}


def test_a_long_step_needs_every_interval_that_it_covers():
    sums = [sum_at(30, 1.0, 0.0, 30), sum_at(60, 2.0, 5.0, 30), sum_at(90, 7.0, 7.0, 30)]
    assert in_minutes(amounts_of_sums(sums, 60 * MINUTE_NS)) == {60: [3.0, 5.0]}


def test_sums_of_two_lengths_or_off_the_steps_are_refused():
    with pytest.raises(DataError, match="expected sums of 1h"):
        amounts_of_sums([sum_at(60, 1.0, 2.0, 60), sum_at(90, 1.0, 2.0, 30)], STEP_NS)
    with pytest.raises(DataError, match="on steps of 420 s"):
        amounts_of_sums([sum_at(60, 1.0, 2.0, 60)], 7 * MINUTE_NS)


def test_a_row_of_a_sum_holds_what_its_steps_swept_at_their_mean_mark(history):
    close = int(history.closes_ns[-40]) // (60 * MINUTE_NS) * (60 * MINUTE_NS)
    told = LiquidationSum(
        venue="v", symbol="S", event_ns=close, known_at_ns=close, cadence_ns=60 * MINUTE_NS, long_usd=1e6, short_usd=0.0
    )
    hour = np.flatnonzero((history.closes_ns > close - 60 * MINUTE_NS) & (history.closes_ns <= close))
    assert len(hour) == 12
    assert history.seen[hour].all()
    rows = _with(history, records=(told,)).rows(history.swept, close)
    np.testing.assert_allclose(rows.swept[0], history.swept[hour].sum(axis=0))
    np.testing.assert_allclose(rows.observed, [[1e6 / history.marks[hour].mean(), 0.0]])
    blind = history.seen.copy()
    blind[hour[3]] = False
    unseen = _with(history, records=(told,), seen=blind).rows(history.swept, close)
    assert np.isnan(unseen.observed).all()


def _with(history, **changes):
    fields = {name: getattr(history, name) for name in history.__dataclass_fields__}
    return type(history)(**fields | changes)


def test_later_and_late_records_change_no_row_that_was_known(history):
    by = int(history.closes_ns[2000])
    late = print_at(int(history.closes_ns[1500]) / MINUTE_NS - 1, 1e7, 1, late=10 * 1440)
    rows = history.rows(history.swept, by)
    other = _with(history, records=(*history.records, late)).rows(history.swept, by)
    np.testing.assert_array_equal(rows.observed, other.observed)
    assert rows.close_ns[-1] <= max(r.event_ns for r in history.records if r.known_at_ns <= by)


@pytest.fixture(scope="module")
def retold(small, tmp_path_factory):
    """The history cut, and spoilt, after what the weights of `CUT_NS` may know; and spoilt a day sooner."""
    folder, end = tmp_path_factory.mktemp("retold"), CUT_NS - 60 * MINUTE_NS
    lakes = (
        cut(small.lake, folder / "cut", end),
        noised(small.lake, folder / "noise", end, 1),
        noised(small.lake, folder / "sooner", end - DAY_NS, 1),
    )
    return [read_sweeps(lake, small.config.spec) for lake in lakes]


@pytest.mark.parametrize("iterate", [False, True])
def test_weights_do_not_depend_on_what_came_after_their_cut(history, retold, iterate):
    whole, cut_off, spoilt, spoilt_sooner = (
        fit_known(past, CUT_NS, 60 * MINUTE_NS, share=1.0, spec=LOOSE, iterate=iterate).fit.weights
        for past in (history, *retold)
    )
    np.testing.assert_array_equal(cut_off, whole)
    np.testing.assert_array_equal(spoilt, whole)
    assert not np.array_equal(spoilt_sooner, whole)


def test_the_fixed_point_holds_its_own_fold(history):
    known = fit_known(history, CUT_NS, 0, share=1.0, spec=LOOSE, iterate=True)
    assert known.converged
    assert known.changes[-1] <= 1e-3 < known.changes[0]
    again = history.folded(known.fit.weights, CUT_NS)
    rows = history.rows(again, CUT_NS)
    np.testing.assert_allclose(rows.swept, known.rows.swept, rtol=0.02, atol=0.02 * known.rows.swept.max())


def test_the_share_is_known_only_of_a_complete_feed_on_a_recorded_scale(small, history):
    assert share_of(history) == 1.0
    spec = small.config.spec
    by_volume = msgspec.structs.replace(spec, map=msgspec.structs.replace(spec.map, open_interest="volume"))
    assert "no scale" in read_sweeps(small.lake, by_volume).share_unknown
    deaf = msgspec.structs.replace(spec, market=msgspec.structs.replace(spec.market, liquidations=None))
    with pytest.raises(DataError, match=r"need market\.liquidations"):
        read_sweeps(small.lake, deaf)


def test_the_top_rows_are_those_of_which_most_is_expected():
    observed, expected = np.arange(200.0), -np.arange(200.0)
    assert top_share(observed, expected) == pytest.approx((0 + 1) / observed.sum())
    assert top_share(observed, -expected) == pytest.approx((198 + 199) / observed.sum())


def command(*words):
    parser = cli.argparse.ArgumentParser()
    verb.arguments(parser)
    parser.add_argument("--json", action="store_true")
    verb.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.json"
    command(small.config_path, "--lake", small.lake.root, "--out", path, "--draws", 5)
    return path


def test_the_command_writes_every_block_up_to_the_first_test_and_scores_validation_alone(small, written):
    file = read_weights(written)
    assert [b.block for b in file.blocks] == [*(f"validation {n}" for n in range(4)), "test 0"]
    assert [b.score is not None for b in file.blocks] == [True, True, True, True, False]
    assert all(utc_ns(b.last) <= utc_ns(b.cut) - 60 * MINUTE_NS for b in file.blocks)
    assert [b.cut for b in file.blocks] == sorted(b.cut for b in file.blocks)
    assert file.leverages == small.config.spec.map.leverages
    every = fit_weights(small.config, small.lake, every_block=True, draws=0)
    assert [b.block for b in every.blocks[5:]] == ["test 1"]
    assert every.blocks[4].weights == file.blocks[4].weights


def test_the_scores_are_those_of_the_words(history, written):
    first, second, *_, test = read_weights(written).blocks
    known = fit_known(history, utc_ns(first.cut), 60 * MINUTE_NS, share=1.0)
    rows = history.rows(history.swept, utc_ns(test.cut) - 60 * MINUTE_NS)
    rows = rows.between(utc_ns(first.cut), utc_ns(second.cut))
    mu, y = known.fit.expected(rows.swept), rows.observed
    there = np.isfinite(y)
    assert first.score.rows == there.sum() > 100
    assert first.score.calibration == pytest.approx(mu[there].sum() / y[there].sum())
    deviance = 4 * (y / np.sqrt(mu) + np.sqrt(mu) - 2 * np.sqrt(y))  # p = 1.5
    assert first.score.deviance == pytest.approx(deviance[there].mean())


def test_the_command_says_what_it_found(small, written, tmp_path, capsys):
    words = [small.config_path, "--lake", small.lake.root, "--out", tmp_path / "w.json", "--draws", 2]
    command(*words, "--fixed-point")
    said = capsys.readouterr().out
    for words_of in ("5x", "mostly prior", "round 2", "expected / observed", "of climatology", "sha256", "not seen"):
        assert words_of in said
    command(*words, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told[0]["sha256"] == read_weights(tmp_path / "w.json").sha256


def test_too_little_is_refused_with_what_there_is_and_what_is_needed(small):
    with pytest.raises(DataError, match=r"before the cut at 2025-.*: too little .* \(at least 1000000\)") as refused:
        fit_weights(small.config, small.lake, spec=FitSpec(least_liquidations=1_000_000))
    assert "\n" not in str(refused.value)


def test_a_file_that_was_changed_or_is_none_is_refused(written, tmp_path):
    path = tmp_path / "changed.json"
    path.write_text(written.read_text().replace('"days": ', '"days": 1'))
    with pytest.raises(DataError, match="hash"):
        read_weights(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="no file of weights"):
        read_weights(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(tmp_path / "absent.json")


def with_weights(config, source):
    return msgspec.structs.replace(
        config, network=msgspec.structs.replace(config.network, leverage_weights=str(source))
    )


def test_the_mixing_layer_starts_where_the_config_says(small, finished, written, monkeypatch):
    first = utc_ns(read_weights(written).blocks[0].cut)
    fitted = starting_weights(with_weights(small.config, "fitted"), small.lake, first)
    from_file = starting_weights(with_weights(small.config, written), small.lake, first)
    np.testing.assert_allclose(fitted, read_weights(written).blocks[0].weights)
    np.testing.assert_array_equal(from_file, read_weights(written).blocks[0].weights)
    assert starting_weights(small.config, small.lake, first) is None
    monkeypatch.setattr("training.pretraining.scorers.pretrain", lambda *_, **__: {})  # the start itself
    own = finished.prepared
    assert own.leverage_weights is None
    for weights, expected in ((None, small.config.spec.map.prior_weights), (fitted, fitted)):
        network, _ = pretrained(Prepared(own.config, own.series, own.rows, own.positions, weights))
        np.testing.assert_allclose(network.encoder.log_weights.exp().detach(), expected, rtol=1e-6)
        assert network.encoder.log_weights.requires_grad
    others = [pretrained(Prepared(own.config, own.series, own.rows, own.positions, w))[0] for w in (None, fitted)]
    for (name, one), other in zip(others[0].state_dict().items(), others[1].state_dict().values(), strict=True):
        assert name == "encoder.log_weights" or torch.equal(one, other)


def test_a_file_of_another_map_or_of_later_data_is_refused(small, written, tmp_path):
    file, config = read_weights(written), with_weights(small.config, tmp_path / "w.json")
    with pytest.raises(ConfigError, match="its earliest weights know of 2025"):
        starting_weights(with_weights(small.config, written), small.lake, utc_ns("2025-01-03"))
    write_weights(msgspec.structs.replace(file, leverages=(2.0, 3.0, 4.0, 5.0, 6.0)), tmp_path / "w.json")
    with pytest.raises(ConfigError, match="weights of"):
        starting_weights(config, small.lake, utc_ns(file.blocks[-1].cut))
