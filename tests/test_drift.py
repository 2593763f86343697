"""Drift: what moved is named, what did not is not, and the bet against calibration is fair."""

import dataclasses
import itertools
import json

import msgspec
import numpy as np
import pytest
from scipy.stats import chi2

from squeeze.drift import LEAST_VALUES, DriftMonitor, input_values, stability_index
from squeeze.drift_spec import PARTS, DriftReference, DriftSpec
from squeeze.errors import DataError, StepError
from squeeze.forecast_test import PENDING, ForecastTest, poisson_interval
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.market.lake import read_events
from squeeze.market.steps import steps
from squeeze.market.venue_step import Candle
from squeeze.state import Degraded, Frame, MarketState, Unhealthy
from training.calibration.drift import drift_reference
from training.examples import Examples, build

NAMES = ("steady", "slow", "rare", "never")
STEP_NS = 15 * MINUTE_NS
A_DAY = 96
HORIZONS = (15, 60)
RATES = {"long": (0.02, 0.05), "short": (0.02, 0.05)}
SPEC = DriftSpec(window_hours=56.0)
"""Parts of two hours."""


def market(days, seed=0):
    """Scalars (step, side, scalar) and channels (step, side, channel, price): one steady, one that wanders, one known
    half of the time, one never; a channel with a bin that is never known.
    """
    rng = np.random.default_rng(seed)
    count = days * A_DAY
    scalars = rng.normal(size=(count, 2, 4)).astype(np.float32)
    scalars[:, :, 1] += 3 * np.sin(np.arange(count) / A_DAY / 4 * 2 * np.pi)[:, None]
    scalars[:, :, 2][rng.random((count, 2)) < 0.5] = np.nan
    scalars[:, :, 3] = np.nan
    channels = rng.lognormal(size=(count, 2, 2, 8)).astype(np.float32)
    channels[:, :, 1, 5] = np.nan
    return channels, scalars


def examples_of(channels, scalars):
    count = len(scalars)
    closes = (np.arange(count) + 1) * STEP_NS
    nothing = np.zeros(count, np.int64)
    fields = {
        "symbol": "SIMUSDT", "digest": "d", "data_digest": "d", "scalar_names": NAMES, "channel_names": ("one", "two"),
        "closes_ns": closes, "unhealthy": nothing, "degraded": nothing, "bin_width_log": np.ones(count),
        "channels": channels, "scalars": scalars, "swept": np.zeros((count, 2)), "marks": np.ones((count, 4)),
    }  # fmt: skip
    return Examples(**fields)


def frame(number, channels, scalars, unhealthy=Unhealthy.NONE):
    candle = Candle(1.0, 1.0, 1.0, 1.0, 1)
    return Frame(
        "SIMUSDT", (number + 1) * STEP_NS, candle, channels, scalars, 0.001, np.zeros(2), (), Degraded.NONE, unhealthy
    )


@pytest.fixture(scope="module")
def reference():
    found = drift_reference(examples_of(*market(60)), np.arange(60 * A_DAY), SPEC)
    return msgspec.json.decode(msgspec.json.encode(found), type=DriftReference)  # as a card gives it back


def shown(reference, channels, scalars, begin=0, probabilities=None):
    monitor = DriftMonitor(reference, HORIZONS, RATES)
    for i in range(len(scalars)):
        monitor.push(frame(begin + i, channels[i], scalars[i]), probabilities)
    return monitor


# --- inputs ---


def test_a_market_like_the_trained_one_raises_no_flag(reference):
    report = shown(reference, *market(4, seed=1)).report()
    assert report.judged
    assert report.flags == ()
    assert [one.name for one in report.inputs] == [*NAMES, "one", "two"]


@pytest.mark.parametrize(("column", "name"), [(0, "steady"), (1, "slow"), (2, "rare")])
def test_an_input_that_moved_is_named_and_no_other(reference, column, name):
    channels, scalars = market(4, seed=1)
    scalars[:, :, column] = scalars[:, :, column] * 0.2 + 1.5
    assert shown(reference, channels, scalars).report().flags == (f"input drift: {name}",)


def test_values_beyond_all_of_trainings_are_named_even_where_the_input_always_wanders(reference):
    channels, scalars = market(4, seed=1)
    assert shown(reference, channels, scalars).report().inputs[1].outside < 0.01
    scalars[-15:, :, 1] = 30.0  # of the 217 frames in the window
    report = shown(reference, channels, scalars).report()
    assert report.inputs[1].outside == pytest.approx(15 / report.frames, abs=0.01)
    assert report.flags == ("input outside training: slow",)


def test_a_channel_whose_level_moved_is_named(reference):
    channels, scalars = market(4, seed=1)
    channels[:, :, 1] *= 3
    assert shown(reference, channels, scalars).report().flags == ("input drift: two",)


def test_an_input_that_is_no_longer_recorded_is_lost_and_does_not_drift(reference):
    channels, scalars = market(4, seed=1)
    scalars[:, :, 0] = np.nan
    report = shown(reference, channels, scalars).report()
    assert report.flags == ("input lost: steady",)
    assert report.inputs[0].known == 0
    assert np.isnan(report.inputs[0].index)


def test_an_input_that_training_never_knew_is_no_matter(reference):
    channels, scalars = market(4, seed=1)
    scalars[:, :, 3] = 1.0
    assert shown(reference, channels, scalars).report().flags == ()


def test_what_wanders_in_training_may_wander_as_far_again(reference):
    steady, slow = reference.inputs[:2]
    assert steady.usual_index < 0.1
    assert slow.usual_index > 0.2  # beyond the usual line for a large shift, and it is none
    report = shown(reference, *market(4, seed=1)).report()
    assert report.inputs[0].limit == SPEC.least_index
    assert report.inputs[1].limit == pytest.approx(SPEC.times_usual * slow.usual_index)


def test_too_few_frames_are_not_judged(reference):
    channels, scalars = market(4, seed=1)
    report = shown(reference, channels[:90], scalars[:90] + 9).report()
    assert (report.frames, report.judged, report.flags) == (90, False, ())


def test_blind_frames_are_not_counted(reference):
    channels, scalars = market(1)
    monitor = DriftMonitor(reference, HORIZONS, RATES)
    monitor.push(frame(0, channels[0], scalars[0], Unhealthy.WARMING_UP), None)
    monitor.push(frame(1, channels[1], scalars[1], Unhealthy.FUNDING_STALE), None)
    assert monitor.report().frames == 1


def test_the_window_is_what_a_slow_count_of_its_frames_says(reference):
    """With a gap of a day, and one of longer than the window."""
    channels, scalars = market(20, seed=2)
    numbers = np.concatenate([np.arange(5 * A_DAY), np.arange(6 * A_DAY, 8 * A_DAY), np.arange(11 * A_DAY, 12 * A_DAY)])
    monitor = DriftMonitor(reference, HORIZONS, RATES)
    for count, number in enumerate(numbers.tolist()):
        monitor.push(frame(number, channels[number], scalars[number]), None)
        if count % 97 == 0 or number == numbers[-1]:
            part = (numbers + 1) * STEP_NS // SPEC.part_ns
            inside = numbers[: count + 1][part[: count + 1] > part[count] - PARTS]
            report = monitor.report()
            assert report.frames == len(inside)
            values = input_values(channels[inside], scalars[inside])
            assert np.isfinite([one.index for one in report.inputs[:2]]).all() == (len(inside) >= LEAST_VALUES / 2)
            for column, (one, said) in enumerate(zip(reference.inputs, report.inputs, strict=True)):
                known = values[:, :, column][np.isfinite(values[:, :, column])]
                assert said.known == pytest.approx(len(known) / (2 * len(inside)))
                if len(known) >= LEAST_VALUES:
                    counts = np.bincount(np.searchsorted(one.borders, known), minlength=len(one.shares))
                    assert said.outside == pytest.approx((counts[0] + counts[-1]) / len(known))
                    assert said.index == pytest.approx(float(stability_index(counts, np.array(one.shares))))


def test_the_index_is_the_textbooks():
    counts, shares = np.array([300.0, 700.0]), np.array([0.5, 0.5])
    now = np.array([300.5, 700.5]) / 1001
    expected = (now[0] - 0.5) * np.log(now[0] / 0.5) + (now[1] - 0.5) * np.log(now[1] / 0.5)
    assert float(stability_index(counts, shares)) == pytest.approx(expected)
    assert np.isfinite(stability_index(np.array([0.0, 500.0]), np.array([1.0, 0.0])))


def test_values_on_a_border_count_alike_in_training_and_live():
    channels, scalars = market(12)
    scalars[:, :, 0] = np.random.default_rng(0).integers(0, 2, scalars.shape[:2])
    reference = drift_reference(examples_of(channels, scalars), np.arange(12 * A_DAY), SPEC)
    assert reference.inputs[0].borders == (pytest.approx(0.0, abs=1e-40), 0.0, 1.0)
    assert reference.inputs[0].shares == pytest.approx((0.0, 0.5, 0.5, 0.0), abs=0.03)
    assert shown(reference, channels[-300:], scalars[-300:]).report().inputs[0].index < 0.01


def test_frames_of_the_live_step_count_as_their_examples_did(small, tmp_path):
    market, until_ns = small.config.spec.market, int(np.datetime64("2025-01-04T12", "ns").astype(np.int64))
    examples = build(small.lake, small.config.spec, market, None, until_ns, tmp_path)
    at = np.flatnonzero(examples.seen)
    reference = drift_reference(examples, at, DriftSpec(window_hours=28.0))  # parts of an hour
    monitor, state = DriftMonitor(reference, HORIZONS, RATES), MarketState(small.config.spec)
    for step in steps(read_events(small.lake, market, None, until_ns), market.symbol, state.length_ns):
        monitor.push(state.advance(step), None)
    report = monitor.report()
    hour_ns = 60 * MINUTE_NS
    inside = at[examples.closes_ns[at] // hour_ns > examples.closes_ns[at[-1]] // hour_ns - PARTS]
    values = input_values(examples.channels[inside], examples.scalars[inside])
    assert report.frames == len(inside)
    assert [one.name for one in report.inputs] == [*state.scalar_names, *state.channel_names]
    for column, (one, said) in enumerate(zip(reference.inputs, report.inputs, strict=True)):
        known = values[:, :, column][np.isfinite(values[:, :, column])]
        counts = np.bincount(np.searchsorted(one.borders, known), minlength=len(one.shares))
        assert said.index == pytest.approx(float(stability_index(counts, np.array(one.shares))), nan_ok=True)
        assert not said.outside > 0


# --- the reference ---


def test_nothing_after_the_last_training_frame_changes_the_reference():
    channels, scalars = market(20)
    before = drift_reference(examples_of(channels, scalars), np.arange(12 * A_DAY), SPEC)
    channels[12 * A_DAY :], scalars[12 * A_DAY :] = 99.0, -99.0
    assert drift_reference(examples_of(channels, scalars), np.arange(12 * A_DAY), SPEC) == before


def test_a_flipped_market_has_the_same_reference():
    channels, scalars = market(12)
    flipped = examples_of(channels[:, ::-1], scalars[:, ::-1])
    at = np.arange(12 * A_DAY)
    assert drift_reference(flipped, at, SPEC) == drift_reference(examples_of(channels, scalars), at, SPEC)


def test_a_reference_needs_two_windows():
    with pytest.raises(DataError, match=r"two windows of 168 h, got frames of 4\.2 days"):
        drift_reference(examples_of(*market(4)), np.arange(4 * A_DAY))
    with pytest.raises(DataError, match="got none"):
        drift_reference(examples_of(*market(4)), np.arange(0))


def test_a_reference_holds_no_number_that_json_cannot(reference):
    json.loads(msgspec.json.encode(reference), parse_constant=pytest.fail)


@pytest.mark.parametrize("wrong", [{"window_hours": 0}, {"times_usual": 0.5}, {"calibration_false_alarm": 1.0}])
def test_a_drift_spec_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, DriftSpec)


# --- state ---


def test_restored_it_goes_on_as_if_nothing_had_happened(reference):
    channels, scalars = market(6, seed=3)
    said = np.full((2, 2), 0.04, np.float32)
    straight = shown(reference, channels, scalars, probabilities=said)
    first = shown(reference, channels[:300], scalars[:300], probabilities=said)
    second = DriftMonitor(reference, HORIZONS, RATES)
    second.restore(first.snapshot())
    for i in range(300, len(scalars)):
        second.push(frame(i, channels[i], scalars[i]), said)
    for monitor in (straight, second):
        for number in (296, 304, 312, 500):
            monitor.outcome((number + 1) * STEP_NS, np.array([[True, True], [False, True]]))
    assert second.snapshot() == straight.snapshot()
    assert msgspec.json.encode(second.report()) == msgspec.json.encode(straight.report())  # as NaN is not NaN


def test_its_size_does_not_grow_with_time(reference):
    channels, scalars = market(1)
    monitor = DriftMonitor(reference, HORIZONS, RATES)
    sizes = []
    for number in range(PENDING + 1500):
        monitor.push(frame(number, channels[number % A_DAY], scalars[number % A_DAY]), np.full((2, 2), 0.1, np.float32))
        if number >= PENDING + 100 and number % 200 == 0:
            sizes.append(len(monitor.snapshot()))
    assert len(monitor.calibration.pending) == PENDING
    assert max(sizes) - min(sizes) < 200


@pytest.mark.parametrize("bad", [b"", b"\x00", b"nonsense", msgspec.msgpack.encode(({}, []))])
def test_another_snapshot_is_refused_and_nothing_changes(reference, bad):
    monitor = shown(reference, *market(1))
    before = monitor.snapshot()
    with pytest.raises(StepError):
        monitor.restore(bad)
    assert monitor.snapshot() == before


def test_a_snapshot_of_another_reference_is_refused(reference):
    fewer = DriftReference(spec=SPEC, inputs=reference.inputs[:2], window_frames=1)
    with pytest.raises(StepError, match="another reference"):
        DriftMonitor(reference, HORIZONS, RATES).restore(DriftMonitor(fewer, HORIZONS, RATES).snapshot())


def test_a_frame_out_of_order_or_of_another_shape_is_refused_and_nothing_changes(reference):
    channels, scalars = market(1)
    monitor = shown(reference, channels, scalars)
    before = monitor.snapshot()
    with pytest.raises(StepError, match="cannot follow"):
        monitor.push(frame(95, channels[0], scalars[0]), None)
    with pytest.raises(StepError, match="knows 6 inputs, the frame has 5"):
        monitor.push(frame(96, channels[0], scalars[0, :, :3]), None)
    assert monitor.snapshot() == before


# --- the level of probabilities ---


def test_the_level_is_the_mean_probability_over_the_base_rate(reference):
    channels, scalars = market(4, seed=1)
    said = np.array([[0.10, 0.05], [0.02, 0.01]], np.float32)
    report = shown(reference, channels, scalars, probabilities=said).report()
    assert report.level["long"] == pytest.approx((5.0, 1.0))
    assert report.level["short"] == pytest.approx((1.0, 0.2))
    assert report.flags == (
        "probability level: long 15m 5 times the base rate",
        "probability level: short 60m 0.2 times the base rate",
    )


def test_without_a_prediction_there_is_no_level(reference):
    report = shown(reference, *market(4, seed=1)).report()
    assert np.isnan([*report.level["long"], *report.level["short"]]).all()


# --- calibration ---


def fed(test, probabilities, truth, every_minutes=60):
    """Predictions (row,) for both sides and all horizons, each followed by its outcome (row,)."""
    for row, (p, y) in enumerate(zip(probabilities, truth, strict=True)):
        at = (row + 1) * every_minutes * MINUTE_NS
        shape = 2, len(test.horizons_minutes)
        test.push(at, np.full(shape, p))
        test.outcome(at, np.full(shape, y))
    return test


def test_the_bet_is_fair_to_the_last_digit():
    """Over all outcomes, each weighed by what the model says of it, the capital is 1 in the mean."""
    probabilities = [0.02, 0.3, 0.6, 0.01, 0.15, 0.5]
    mean = 0.0
    for truth in itertools.product([False, True], repeat=6):
        weight = np.prod([p if y else 1 - p for p, y in zip(probabilities, truth, strict=True)])
        mean += weight * fed(ForecastTest((60,), 0.05, 30), probabilities, truth).capital()[0, 0]
    assert mean == pytest.approx(1.0, abs=1e-12)


def runs_ending_in_alarm(odds, rows, change_at=0, repeats=1):
    """Share of runs whose capital ever reached 1 / 0.05, for events at these odds times the said; fifty a repeat, one
    to each side and horizon.
    """
    rng = np.random.default_rng(7)
    found = []
    for _ in range(repeats):
        test = ForecastTest(tuple(range(1, 26)), 0.05, 30)
        most = np.zeros((2, 25))
        for row in range(rows):
            p = rng.beta(1, 20, (2, 25))
            true = odds * p / (1 - p + odds * p) if row >= change_at else p
            test.push((row + 1) * 60 * MINUTE_NS, p)
            test.outcome((row + 1) * 60 * MINUTE_NS, rng.random((2, 25)) < true)
            most = np.maximum(most, test.capital())
        found.append((most >= 1 / 0.05).mean())
    return np.mean(found)


def test_a_calibrated_model_is_accused_no_more_often_than_stated_however_often_one_looks():
    assert 0 < runs_ending_in_alarm(1.0, rows=400, repeats=20) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize(("odds", "change_at"), [(3.5, 0), (3.5, 200), (0.1, 0)])
def test_a_model_that_is_off_is_found_out_also_when_it_was_right_at_first(odds, change_at):
    assert runs_ending_in_alarm(odds, rows=700, change_at=change_at) >= 0.8


def test_calibration_drift_is_said_in_words_with_its_ratio(reference):
    monitor = DriftMonitor(reference, HORIZONS, RATES)
    said = np.full((2, 2), 0.05, np.float32)
    channels, scalars = market(1)
    for hour in range(400):
        number = 4 * hour
        monitor.push(frame(number, channels[0], scalars[0]), said)
        monitor.outcome((number + 1) * STEP_NS, np.array([[hour % 5 == 0, False], [hour % 20 == 0, hour % 20 == 0]]))
    report = monitor.report()
    worst, _, calm, _ = report.calibration
    assert report.flags == (
        "calibration drift: long 15m 4.0 times as many as said",
        "calibration drift: long 60m 0.0 times as many as said",
    )
    assert (worst.observed, worst.drifted, calm.drifted) == (80, True, False)
    assert worst.low > 3
    assert calm.low < 1 < calm.high


def test_of_overlapping_intervals_only_one_in_a_horizon_is_bet_on():
    test = ForecastTest((15, 60), 0.05, 30)
    for minute in range(5, 125, 5):
        test.push(minute * MINUTE_NS, np.full((2, 2), 0.1))
        test.outcome(minute * MINUTE_NS, np.zeros((2, 2), bool))
    assert test.outcomes.tolist() == [[8, 2], [8, 2]]  # at 5, 20, … 110; at 5 and 65


def test_an_outcome_that_is_never_told_is_passed_over():
    test = ForecastTest((60,), 0.05, 30)
    for hour in range(1, 11):
        test.push(hour * 60 * MINUTE_NS, np.full((2, 1), 0.1))
    assert test.outcome(7 * 60 * MINUTE_NS, np.ones((2, 1), bool))
    assert not test.outcome(7 * 60 * MINUTE_NS + 1, np.ones((2, 1), bool))
    assert test.outcomes.tolist() == [[1], [1]]
    assert sorted(test.pending) == [hour * 60 * MINUTE_NS for hour in (8, 9, 10)]
    with pytest.raises(StepError, match="cannot follow"):
        test.outcome(6 * 60 * MINUTE_NS, np.ones((2, 1), bool))


def test_observed_and_expected_are_those_of_the_trailing_days():
    test = ForecastTest((60,), 0.05, trailing_days=3)
    for hour in range(24 * 10):
        at = hour * 60 * MINUTE_NS + 1
        test.push(at, np.full((2, 1), 0.25))
        test.outcome(at, np.full((2, 1), at // DAY_NS in (7, 9)))
    long = test.report()[0]
    assert (long.observed, long.expected) == (48, pytest.approx(18.0))
    assert long.ratio == pytest.approx(48 / 18)


def test_before_anything_is_known_the_ratio_is_not_a_number_and_nothing_has_drifted():
    long = ForecastTest((60,), 0.05, 30).report()[0]
    assert np.isnan(long.ratio)
    assert (long.capital, long.drifted) == (1.0, False)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40, 500])
def test_the_poisson_interval_is_garwoods(count):
    low = 0.0 if count == 0 else chi2.ppf(0.025, 2 * count) / 2
    assert poisson_interval(count) == pytest.approx((low, chi2.ppf(0.975, 2 * count + 2) / 2), rel=1e-6)


def test_a_prediction_of_one_that_fails_costs_no_infinity():
    test = fed(ForecastTest((60,), 0.05, 30), [1.0, 0.0, 1.0, 0.0], [False, True, False, True])
    assert np.isfinite(test.capital()).all()
    assert test.capital()[0, 0] > 1


def test_frames_can_be_replaced_without_touching_what_was_counted(reference):
    channels, scalars = market(1)
    monitor = DriftMonitor(reference, HORIZONS, RATES)
    one = frame(0, channels[0].copy(), scalars[0].copy())
    monitor.push(one, None)
    before = monitor.snapshot()
    dataclasses.replace(one).scalars[...] = 99.0
    assert monitor.snapshot() == before
