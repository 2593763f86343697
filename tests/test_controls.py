"""Controls: each changes what it says and nothing else, and the comparison is paired and says what may be said."""

import argparse
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from squeeze.atlas_spec import AtlasSpec
from squeeze.errors import ConfigError
from squeeze.market.events import DAY_NS, HOUR_NS
from squeeze.outcomes.rows import Rows
from squeeze.state import MarketState
from training import groups
from training.controls import ablation
from training.controls import runner as control_runs
from training.controls.controls import CONTROLS, FULL, permuted, rebinned
from training.controls.runner import rows_of, run_controls
from training.controls.views import View, unit_maps, without
from training.evaluation.pools import Pooled, pool, watched
from training.prepare import Prepared
from training.prepare import test_blocks as blocks_of  # under its own name pytest would run it
from training.walk import weights_digest

SOME = np.array([3000, 40, 41, 3100, 2999])
WEEK = 7 * 288
"""Steps of five minutes."""


@pytest.fixture(scope="module")
def own(finished):
    return finished.prepared.own


def changed(examples, name):
    """The frames as a control shows them."""
    alone = Prepared(None, [examples], Rows(np.empty(0, int), np.empty((0, 2, 1), bool)), np.empty(0, int))
    return CONTROLS[name].prepared(alone).own


def untouched(examples):
    """Positions of the scalars that no control of the map may touch."""
    mapped = groups.read_off_a_map(examples.scalar_names)
    return [i for i in range(len(examples.scalar_names)) if i not in mapped]


# Views


@pytest.mark.parametrize(
    "key",
    [
        3, -1, slice(2, 9, 3), np.array([5, 0, 5]), np.array([-1, 2]), np.array([True, False] * 5), [1, 2],
        (np.array([4, 1]), 1), (slice(None), 0), (2, 1), (np.array([4, 1]), slice(None), 2),
        (np.array([4, 1]), np.array([0, 1])), (np.array([4, 1]), 0, [2, 0]), (slice(0, 4), slice(None), [2, 0]),
    ],
)  # fmt: skip
def test_a_view_is_indexed_as_its_array_would_be(key):
    array = np.random.default_rng(0).normal(size=(10, 2, 3))
    np.testing.assert_array_equal(View(array, lambda at: 2 * array[at])[key], (2 * array)[key])


def test_a_view_reads_only_what_is_asked_for():
    asked = []

    def read(at):
        asked.append(at.tolist())
        return np.zeros((len(at), 2))

    view = View(np.zeros((10, 2)), read)
    assert view[np.array([7, 3])].shape == (2, 2)
    assert (len(view), view.ndim, view.shape) == (10, 2, (10, 2))
    assert asked == [[7, 3]]
    assert np.asarray(view).shape == (10, 2)


# What each control changes


def test_the_map_is_every_scalar_of_a_heatmap_and_no_plain_number_of_a_stream(own):
    mapped = {own.scalar_names[i] for i in groups.read_off_a_map(own.scalar_names)}
    assert {
        "mass_within_1pct",
        "expected_sweep",
        "asymmetry",
        "own_swept_60m",
        "other_swept_15m",
        "zone_mass",
    } <= mapped
    assert {groups.scalar_group(name) for name in mapped} <= groups.HEATMAPS
    assert {groups.scalar_group(own.scalar_names[i]) for i in untouched(own)} == {
        groups.PRICE, groups.CLOCK, groups.LIQUIDATIONS, groups.OPEN_INTEREST, groups.FUNDING,
    }  # fmt: skip
    assert "open_interest_change_60m" not in mapped
    assert "funding_rate_bp" not in mapped


def test_of_the_atlas_what_needs_a_price_axis_is_of_the_map_and_no_other_number(small):
    names = MarketState(msgspec.structs.replace(small.config.spec, atlas=AtlasSpec())).scalar_names
    told = {names[i] for i in groups.read_off_a_map(names)}

    def mapped(*prefixes):
        return {name.startswith(prefixes) and name in told for name in names if name.startswith(prefixes)}

    levels = ("control_1d_", "control_drift_1d_", "value_edge_1d_", "extreme_distance_", "extreme_age_hours_")
    bands = ("book_depth_", "book_imbalance_", "book_cost_")
    found = ("pattern_stacked_zones", "pattern_spoofed_wall", "pattern_funding_asymmetry")
    for prefix in (*levels, *bands, *found):
        assert mapped(prefix) == {True}, prefix
    stamps = ("open_interest_base", "open_interest_age_", "opened_4h", "net_4h", "toward_closed_4h", "coverage_4h")
    records = ("book_spread_bp", "book_age_seconds", "volume_coverage_", "extreme_age_minutes", "flow_age_minutes")
    rates = ("funding_settled_", "funding_predicted_", "minutes_to_settlement_", "pattern_funding_extreme")
    for prefix in (*stamps, *records, *rates, "flow_imbalance_", "flow_acceleration_", "flow_absorption_"):
        assert mapped(prefix) == {False}, prefix
    kinds = {groups.scalar_group(name) for name in told}
    assert kinds == {groups.MAP, groups.VOLUME_PROFILE, groups.ORDER_BOOK, groups.STOPS, groups.PATTERNS}


@pytest.mark.parametrize("name", [name for name, control in CONTROLS.items() if not (control.config or control.labels)])
def test_a_control_of_the_map_leaves_prices_liquidations_and_the_clock_alone(own, name):
    other = changed(own, name)
    kept = untouched(own)
    np.testing.assert_array_equal(other.scalars[SOME][:, :, kept], own.scalars[SOME][:, :, kept])
    assert np.array_equal(other.marks, own.marks, equal_nan=True)
    assert (other.swept is own.swept) == (name != "mapless")
    assert other.channels[SOME].dtype == np.float32
    assert other.scalars[SOME].dtype == np.float32
    assert (np.nan_to_num(other.channels[SOME]) != np.nan_to_num(own.channels[SOME])).any()
    none = np.empty(0, int)
    assert (other.channels[none].shape, other.scalars[none].shape) == (
        own.channels[none].shape,
        own.scalars[none].shape,
    )


def test_masked_knows_no_map_and_masked_channels_keeps_its_scalars(own):
    mapped = groups.read_off_a_map(own.scalar_names)
    masked, channels = changed(own, "masked"), changed(own, "masked_channels")
    assert (masked.channels[SOME] == 0).all()
    assert np.isnan(masked.scalars[SOME][:, :, mapped]).all()
    assert (channels.channels[SOME] == 0).all()
    np.testing.assert_array_equal(channels.scalars[SOME], own.scalars[SOME])


def test_a_channel_of_the_atlas_that_is_left_out_is_nan_and_a_unit_map_is_empty(own):
    wider = replace(own, channel_names=(*own.channel_names[:-1], "book_bids_simulated"))
    assert unit_maps(wider) == 4
    found = without(wider, [0, 4], []).channels[SOME]
    assert (found[:, :, 0] == 0).all()
    assert np.isnan(found[:, :, 4]).all()
    np.testing.assert_array_equal(found[:, :, 1:4], own.channels[SOME][:, :, 1:4])


def test_reflected_shows_each_side_the_others_map(own):
    mapped, found = groups.read_off_a_map(own.scalar_names), changed(own, "reflected")
    np.testing.assert_array_equal(found.channels[SOME], own.channels[SOME][:, ::-1])
    np.testing.assert_array_equal(found.scalars[SOME][:, :, mapped], own.scalars[SOME][:, ::-1, mapped])
    twice = changed(found, "reflected")
    np.testing.assert_array_equal(twice.channels[SOME], own.channels[SOME])
    np.testing.assert_array_equal(twice.scalars[SOME], own.scalars[SOME])


def test_week_old_shows_the_map_of_seven_days_before_and_nothing_in_the_first_week(own):
    mapped, found = groups.read_off_a_map(own.scalar_names), changed(own, "week_old")
    early = np.array([0, 500, WEEK - 1])
    assert (found.channels[early] == 0).all()
    assert np.isnan(found.scalars[early][:, :, mapped]).all()
    at = SOME[SOME >= WEEK]
    assert own.seen[at - WEEK].all()
    np.testing.assert_array_equal(found.scalars[at][:, :, mapped], own.scalars[at - WEEK][:, :, mapped])
    for step in at:
        bins = np.arange(9) * own.bin_width_log[step] / own.bin_width_log[step - WEEK]
        before = own.channels[step - WEEK].astype(float)
        upto = np.concatenate([np.zeros((*before.shape[:2], 1)), before.cumsum(axis=2)], axis=2)
        inside = bins <= 8
        for side in range(2):
            for channel in range(before.shape[1]):
                expected = np.diff(np.interp(bins[inside], np.arange(9), upto[side, channel]))
                got = found.channels[np.array([step])][0, side, channel, : inside.sum() - 1]
                np.testing.assert_allclose(got, expected, atol=1e-7)


def test_the_week_before_a_blind_frame_is_not_known(own):
    unhealthy = np.array(own.unhealthy)
    unhealthy[1000] = 2
    found = changed(replace(own, unhealthy=unhealthy), "week_old")
    at = np.array([999, 1000, 1001]) + WEEK
    assert (found.channels[at] == 0).all(axis=(1, 2, 3)).tolist() == [False, True, False]


def test_rebinning_keeps_the_mass_and_goes_on_evenly_beyond_the_old_reach():
    mass = np.array([1.0, 3.0, 2.0, 4.0]).reshape(1, 1, 1, 4)
    assert rebinned(mass, np.array([1.0])).ravel().tolist() == [1, 3, 2, 4]
    assert rebinned(mass, np.array([2.0])).ravel().tolist() == [4, 6, 8, 8]
    assert rebinned(mass, np.array([0.5])).ravel().tolist() == [0.5, 0.5, 1.5, 1.5]
    holed = np.where(mass == 3, np.nan, mass)
    assert np.isnan(rebinned(holed, np.array([0.5]))).ravel().tolist() == [False, False, True, True]


def test_mapless_targets_are_the_way_toward_danger(own):
    swept, (high, low, close) = changed(own, "mapless").swept, np.log(own.marks[:, 1:]).T
    for step in SOME[SOME > 100]:
        before = close[step - 1]
        expected = max(before - low[step], 0), max(high[step] - before, 0)
        np.testing.assert_allclose(swept[step], expected)


def test_the_uniform_map_is_folded_anew_with_everything_else_as_it_was(small):
    other = CONTROLS["uniform"].config(small.config)
    assert other.spec.map.shape == "uniform"
    back = msgspec.structs.replace(other.spec.map, shape="leverage")
    assert msgspec.structs.replace(other, spec=msgspec.structs.replace(other.spec, map=back)) == small.config


def test_permuted_labels_keep_their_rate_and_their_neighbours_and_lose_their_time(small):
    hours = np.arange(24 * 60) * HOUR_NS + 5
    truth = (np.arange(len(hours)) % 400 < 20)[:, None, None] & np.ones((1, 2, 1), bool)
    prepared = Prepared(small.config, [], Rows(hours, truth), np.arange(len(hours)))
    found = permuted(prepared).rows
    assert (found.ts_ns == hours).all()
    assert found.truth.sum() == truth.sum()
    assert (found.truth & truth).sum() < 0.3 * truth.sum()
    runs = np.diff(np.flatnonzero(np.diff(found.truth[:, 0, 0], prepend=False)))[::2]
    assert runs.max() == 20
    assert (permuted(prepared).rows.truth == found.truth).all()


def test_no_label_of_a_test_block_is_shuffled_to_where_choices_are_made(small):
    hours = np.arange(24 * 60) * HOUR_NS
    truth = np.zeros((len(hours), 2, 1), bool)
    prepared = Prepared(small.config, [], Rows(hours, truth), np.arange(len(hours)))
    before = hours < blocks_of(prepared)[0].test_from_ns
    truth[~before] = True
    assert 0.3 < before.mean() < 0.7
    assert (permuted(prepared).rows.truth == truth).all()


# How they are compared


def pooled(truth, score):
    ts = np.arange(len(truth)) * HOUR_NS
    both = np.stack([truth, truth], axis=1)
    return Pooled(ts, both, np.stack([score, score], axis=1), np.full(both.shape, truth.mean()))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(3)
    truth = rng.random(24 * 400) < 0.02
    noise = [rng.normal(size=len(truth)) for _ in range(4)]
    return truth, noise


def test_a_row_holds_the_mean_of_its_seeds_and_the_paired_gain_of_the_model(drawn):
    truth, noise = drawn
    full = [pooled(truth, 3.0 * truth + n) for n in noise[:2]]
    worse = [pooled(truth, 1.0 * truth + n) for n in noise[2:]]
    row = rows_of(CONTROLS["masked"], full, worse)[1]
    aps = [average_precision_score(truth, p.probability[:, 1]) for p in worse]
    ours = [average_precision_score(truth, p.probability[:, 1]) for p in full]
    assert (row.side, row.ap) == ("short", pytest.approx(np.mean(aps)))
    assert row.ap_sd == pytest.approx(np.std(aps, ddof=1))
    assert row.gain.observed == pytest.approx(np.mean(ours) - np.mean(aps))
    assert 0 < row.gain.low < row.gain.observed < row.gain.high
    assert row.verdict == "better"
    assert rows_of(CONTROLS["masked"], worse, full)[0].verdict == "worse"
    assert rows_of(CONTROLS["masked"], full[:1], full[:1])[0].verdict == "not shown"


def test_rows_on_which_one_abstains_count_for_neither(drawn):
    truth, noise = drawn
    full, control = pooled(truth, 3.0 * truth + noise[0]), pooled(truth, noise[1])
    silent = pooled(truth, np.where(np.arange(len(truth)) < 2400, np.nan, noise[1]))
    cut = [Pooled(*(array[2400:] for array in (p.ts_ns, p.truth, p.probability, p.base_rate))) for p in (full, control)]
    found, expected = (rows_of(CONTROLS["masked"], [full], [silent]), rows_of(CONTROLS["masked"], cut[:1], cut[1:]))
    assert found[0].gain == expected[0].gain


def test_shuffled_labels_are_compared_with_their_base_rate(drawn):
    truth, noise = drawn
    full = [pooled(truth, 3.0 * truth + noise[0])]
    row = rows_of(CONTROLS["permuted"], full, [pooled(truth, noise[1])])[0]
    assert row.gain.observed == pytest.approx(row.ap - row.base_rate)
    assert row.verdict == "at the base rate"
    leaky = rows_of(CONTROLS["permuted"], full, [pooled(truth, truth + noise[1])])[0]
    assert leaky.verdict == "above the base rate: something leaks"


def test_few_episodes_are_inconclusive_and_the_model_itself_has_no_verdict(drawn):
    truth = np.zeros(24 * 400, bool)
    truth[::500] = True
    full, control = pooled(truth, truth + drawn[1][0]), pooled(truth, drawn[1][1])
    assert rows_of(CONTROLS["masked"], [full], [control])[0].verdict == "inconclusive: under 50 episodes"
    assert rows_of(FULL, [full], [full])[0].verdict == ""


@pytest.fixture(scope="module")
def report(small, finished):
    chosen = control_runs.named(["masked", "uniform", "permuted"])
    return run_controls(small.config, small.lake, finished.out, chosen, seeds=(0, 1))


def test_controls_run_with_the_seeds_of_the_model_on_validation_rows(small, finished, report):
    assert [(row.control, row.side) for row in report.rows] == [
        (name, side) for name in ("full", "masked", "uniform", "permuted") for side in ("long", "short")
    ]
    validation = pool(finished.trained.validation, watched(small.config))
    for s, row in enumerate(report.rows[:2]):
        assert len(row.ap_by_seed) == 2
        said = np.isfinite(validation.probability[:, s])
        expected = average_precision_score(validation.truth[said, s], validation.probability[said, s])
        assert row.ap_by_seed[0] == pytest.approx(expected)
        assert row.ap_by_seed[0] != row.ap_by_seed[1]
    assert report.scored == "validation"
    assert report.ap_gain_map() == {row.side: row.gain for row in report.rows[2:4]}
    assert all(np.isfinite(gain.observed) for gain in report.ap_gain_map().values())


def test_what_is_trained_is_kept_and_not_trained_again(small, finished, report, monkeypatch):
    monkeypatch.setattr(control_runs, "walk", None)
    chosen = control_runs.named(["permuted", "masked"])
    again = run_controls(small.config, small.lake, finished.out, chosen, seeds=(0, 1))
    assert {row.control: row.ap for row in again.rows}.items() <= {row.control: row.ap for row in report.rows}.items()
    with pytest.raises(TypeError, match="not callable"):
        run_controls(small.config, small.lake, finished.out, chosen, seeds=(2,))


class Interrupted(Exception):
    """What stops a training in this test."""


def test_an_interrupted_control_goes_on_where_it_was(finished, tmp_path):
    shown = []

    def stop(what, done, total):
        if "pre-training" in what:
            raise Interrupted

    with pytest.raises(Interrupted), control_runs.walked(FULL, finished.prepared, tmp_path, stop):
        pass
    with control_runs.walked(FULL, finished.prepared, tmp_path, lambda what, *_: shown.append(what)) as trained:
        assert weights_digest(trained.network) == weights_digest(finished.trained.network)
    assert shown
    assert not [what for what in shown if "pre-training" in what], "its one epoch is not trained again"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "checkpoints go when they have served"


def test_the_table_and_the_file_hold_every_control(report, tmp_path):
    control_runs.write(report, tmp_path / "deep" / "small.json")
    kept = json.loads((tmp_path / "deep" / "small.json").read_text())
    assert [row["control"] for row in kept["rows"]] == [line["control"] for line in control_runs.table(report)]
    assert kept["rows"][2]["gain"]["observed"] == pytest.approx(report.rows[2].gain.observed)
    assert " ± " in control_runs.table(report)[0]["AP"]


def test_the_gain_of_the_map_is_tracked_with_runs_of_the_same_data_and_rows_alone(report, tmp_path):
    path = control_runs.kept_at(tmp_path, "small")
    assert control_runs.gain_metrics(path, "data", "validation") == {}
    control_runs.write(report, path)
    found = control_runs.gain_metrics(path, report.data_digest, "validation")
    for side, gain in report.ap_gain_map().items():
        wanted = {"": gain.observed, "_low": gain.low, "_high": gain.high}
        assert {part: found.get(f"{side}_ap_gain_map{part}") for part in wanted} == {
            part: value if np.isfinite(value) else None for part, value in wanted.items()
        }
    assert found
    assert control_runs.gain_metrics(path, "other data", "validation") == {}
    assert control_runs.gain_metrics(path, report.data_digest, "test") == {}


def test_a_control_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"no control is called turned; there are masked, "):
        control_runs.named(["masked", "turned"])


def test_a_look_at_test_blocks_is_written_down_for_the_model_and_each_control(small, finished, tmp_path):
    looks = tmp_path / "looks.jsonl"
    found = run_controls(
        small.config, small.lake, finished.out, control_runs.named(["masked_channels"]), looks=looks
    )  # fmt: skip
    lines = [json.loads(text) for text in looks.read_text().splitlines()]
    assert [line["command"] for line in lines] == ["controls full", "controls masked_channels"]
    assert lines[0]["weights"] == finished.run.weights_digest[:12]
    assert lines[1]["weights"] != lines[0]["weights"]
    assert found.scored == "test"
    assert lines[1]["ap"]["long"] == pytest.approx(found.rows[2].ap, abs=1e-4)


# Ablation


def test_an_ablation_leaves_out_each_group_both_ways(small, finished):
    report = ablation.run_ablation(small.config, small.lake, finished.out, [groups.MAP, groups.CLOCK])
    assert [row.control for row in report.rows[::2]] == [
        "full",
        "without liquidation map, at inference", "without liquidation map, retrained",
        "without clock, at inference", "without clock, retrained",
    ]  # fmt: skip
    assert len({row.ap for row in report.rows if row.side == "long"}) == 5


def test_every_scalar_and_channel_is_of_one_group(own):
    found = ablation.groups_in(own.channel_names, own.scalar_names)
    parts = [ablation.members(own, group) for group in found]
    assert sorted(i for channels, _ in parts for i in channels) == list(range(len(own.channel_names)))
    assert sorted(i for _, scalars in parts for i in scalars) == list(range(len(own.scalar_names)))


def test_at_inference_a_model_that_is_told_everything_answers_as_before(finished):
    prepared, trained = finished.prepared, finished.trained
    for block in trained.validation:
        again = ablation.answered(prepared, trained.scores, block).probabilities
        np.testing.assert_allclose(again, block.probabilities, atol=1e-6, equal_nan=True)
    blind = ablation.at_inference(prepared, trained, groups.PRICE)
    assert (np.isfinite(blind[0].probabilities) == np.isfinite(trained.validation[0].probabilities)).all()
    assert np.nanmax(np.abs(blind[0].probabilities - trained.validation[0].probabilities)) > 1e-3


def test_a_map_that_is_not_told_is_the_mean_map_of_pre_training(finished):
    own = ablation.untold(finished.prepared, groups.MAP)
    rows = own.channels[SOME]
    assert (rows == rows[0, 0]).all()
    seen = finished.prepared.own
    early = np.flatnonzero(seen.seen & (seen.closes_ns < 20_095 * DAY_NS))
    exact = seen.channels[early].astype(float).mean(axis=(0, 1))
    np.testing.assert_allclose(rows[0, 0], exact, rtol=0.05, atol=1e-6)
    assert np.isnan(own.scalars[SOME][:, :, own.scalar_names.index("expected_sweep")]).all()


# The verb


def called(small, finished, *words):
    from training.verbs.controls import controls as verb

    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    parser.add_argument("--json", action="store_true")
    place = ["--out", str(finished.out), "--lake", str(small.lake.root)]
    verb.run(parser.parse_args([str(small.config_path), *words, *place]))


def test_the_verb_prints_a_table_and_keeps_the_report(small, finished, capsys):
    called(small, finished, "--only", "masked")
    said = capsys.readouterr().out
    assert all(word in said for word in ("masked", "short", "gain over it", "inconclusive", "validation rows"))
    called(small, finished, "--ablate", "--quick", "--only", groups.PRICE)
    assert "without price, at inference" in capsys.readouterr().out
    kept = {path.name for path in (finished.out / "controls").glob("*.json")}
    assert kept == {"small.json", "small-ablation.json"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ablate", "--test"), "--ablate: is scored on validation alone"),
        (("--quick",), "--quick: goes with --ablate"),
        (("--only", "nothing"), "no control is called nothing"),
        (("--ablate", "--only", "masked"), "no group is called masked"),
    ],
)
def test_words_that_do_not_go_together_are_refused(small, finished, words, said):
    with pytest.raises(ConfigError, match=said):
        called(small, finished, *words)
