"""What a model must beat, on the small run and on made-up scalars."""

import dataclasses

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from squeeze.errors import DataError
from squeeze.market.events import HOUR_NS
from training import groups
from training.baselines import catalogue as baselines
from training.baselines import climatology, hawkes, rules
from training.calibration.platt import Platt
from training.evaluation.assess import baseline_pools
from training.evaluation.metrics import recalibration
from training.evaluation.pools import pool


@pytest.fixture(scope="module")
def block(finished):
    return finished.trained.blocks[-1]


@pytest.fixture(scope="module")
def predicted(finished, small, block, light):
    """Every baseline's probabilities on the last block, with the lake."""
    return {n: baselines.predict(finished.prepared, block.block, n, small.lake) for n in baselines.BASELINES}


def changed_after(prepared, train_until_ns):
    """The same with every truth after training turned round."""
    truth = prepared.rows.truth.copy()
    truth[prepared.rows.ts_ns > train_until_ns] ^= True
    rows = dataclasses.replace(prepared.rows, truth=truth)
    return dataclasses.replace(prepared, rows=rows)


def test_every_baseline_that_was_asked_for_is_there():
    assert set(baselines.BASELINES) == {
        "climatology", "volatility", "extremes", "hawkes", "boosting", "boosting_map", "rule",
    }  # fmt: skip


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_every_baseline_answers_where_there_is_a_frame(finished, block, predicted, name):
    p = predicted[name]
    tested = block.block.tests(finished.prepared.rows.ts_ns)
    silent = finished.prepared.positions[tested] < 0
    assert silent.any()
    assert (np.isnan(p) == silent[:, None, None]).all()
    assert ((p >= 0) & (p <= 1))[~silent].all()


def test_climatology_is_the_base_rate_of_the_training_rows_of_that_hour_of_the_week(finished, predicted, block):
    """Drawn toward the rate of all hours, as by half a year of weeks; a few days of rows say nothing of the next."""
    prepared, p = finished.prepared, predicted["climatology"]
    ts, truth = prepared.rows.ts_ns, prepared.rows.truth
    train = block.block.trains(ts) & (prepared.positions >= 0)
    hours = (pd.to_datetime(ts).day_of_week * 24 + pd.to_datetime(ts).hour).to_numpy()
    overall, prior = truth[train].mean(axis=0), 26 * 12  # rows of five minutes
    seen = 0
    for row, said in zip(np.flatnonzero(block.block.tests(ts)), p, strict=True):
        if np.isfinite(said).all():
            same = train & (hours == hours[row])
            seen += 1
            expected = (truth[same].sum(axis=0) + prior * overall) / (same.sum() + prior)
            np.testing.assert_allclose(said, expected, rtol=1e-5)
            assert ((said > 0) & (said < 1)).all()
    assert seen > 0


def test_an_hour_of_the_week_that_was_never_seen_has_the_rate_of_all():
    ts = np.arange(100) * HOUR_NS
    found = climatology.rates(ts, np.arange(100) % 4 == 0, every_minutes=60)
    assert (found[100:] == 0.25).all()
    assert found[0] == pytest.approx((1 + 26 * 0.25) / 27)
    assert found[1] == pytest.approx(26 * 0.25 / 27)


def test_both_sides_are_fitted_as_one_with_the_side_as_an_input(finished, small, block, monkeypatch):
    """Twice the rows, as the network's head has them: the fit sees both sides of every training row."""
    asked, prepared = [], finished.prepared
    train = block.block.trains(prepared.rows.ts_ns) & (prepared.positions >= 0)

    class Watched(LogisticRegression):
        def fit(self, x, y):
            asked.append((np.array(x), np.array(y)))
            return super().fit(x, y)

    volatility = baselines.BASELINES["volatility"]
    watched = volatility._replace(make=lambda: Watched(max_iter=2000))
    monkeypatch.setitem(baselines.BASELINES, "volatility", watched)
    baselines.predict(prepared, block.block, "volatility", small.lake)
    x, y = asked[0]
    names = prepared.own.scalar_names
    picked = [i for i, name in enumerate(names) if volatility.sees(name)]
    scalars = np.nan_to_num(prepared.own.scalars[prepared.positions[train]][:, :, picked])
    assert len(x) == len(y) == 2 * train.sum()
    for side in range(2):
        own = x[:, -1] == side
        np.testing.assert_array_equal(x[own, :-1], scalars[:, side])
        np.testing.assert_array_equal(y[own], prepared.rows.truth[train, side, 0])


def test_what_is_fitted_to_one_side_is_known_of_the_other():
    """A score that tells, of a side without one event in training: a rare event there is no impossible one."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(4000, 2, 1)), np.array([[[2.0], [2.0]], [[-2.0], [-2.0]]])
    y = rng.random((4000, 2)) < 1 / (1 + np.exp(3 - 2 * x[:, :, 0]))
    x, z = baselines._with_side(x), baselines._with_side(z)
    p = baselines._calibrated(baselines.Baseline(LogisticRegression, lambda name: True), x, y, [], z)
    np.testing.assert_allclose(p[0], 1 / (1 + np.exp(-1)), atol=0.07)
    np.testing.assert_allclose(p[1], 1 / (1 + np.exp(7)), atol=0.002)
    only = y & np.array([True, False])
    p = baselines._calibrated(baselines.Baseline(LogisticRegression, lambda name: True), x, only, [], z)
    assert 0 < p[0, 1] < p[0, 0] / 10
    assert 0 < p[1, 1] < p[0, 1]


@pytest.mark.parametrize("name", ["volatility", "extremes", "boosting", "hawkes"])
def test_a_baseline_without_a_map_sees_none(finished, name):
    sees = baselines.BASELINES[name].sees
    named = [*finished.prepared.own.scalar_names, "pattern_stacked_zones", "stops_within_1pct"]
    seen = [n for n in named if sees(n)]
    assert seen
    assert not {groups.scalar_group(n) for n in seen} & {groups.MAP, groups.PATTERNS, groups.STOPS}


def test_boosting_with_the_map_sees_what_boosting_sees_and_the_map(finished):
    names = finished.prepared.own.scalar_names
    without, whole = ({n for n in names if baselines.BASELINES[b].sees(n)} for b in ("boosting", "boosting_map"))
    assert whole - without == {n for n in names if groups.scalar_group(n) == groups.MAP}


@pytest.mark.parametrize("name", sorted(set(baselines.BASELINES) - {"boosting_map"}))  # as boosting, with more columns
def test_what_comes_after_training_changes_no_fit(finished, small, block, predicted, name):
    other = changed_after(finished.prepared, block.block.train_until_ns)
    np.testing.assert_array_equal(baselines.predict(other, block.block, name, small.lake), predicted[name])


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_block_without_a_single_frame_is_all_abstention(finished, block, name):
    blind = np.where(block.block.tests(finished.prepared.rows.ts_ns), -1, finished.prepared.positions)
    p = baselines.predict(dataclasses.replace(finished.prepared, positions=blind), block.block, name)
    assert np.isnan(p).all()


def test_without_a_single_training_frame_it_says_so(finished, block):
    blind = np.full_like(finished.prepared.positions, -1)
    with pytest.raises(DataError, match="no training row has a frame"):
        baselines.predict(dataclasses.replace(finished.prepared, positions=blind), block.block, "volatility")


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("name", ["extremes", "hawkes", "rule"])
def test_a_constant_label_is_answered_with_its_rate(finished, block, name, value):
    truth = np.full_like(finished.prepared.rows.truth, value)
    rows = dataclasses.replace(finished.prepared.rows, truth=truth)
    p = baselines.predict(dataclasses.replace(finished.prepared, rows=rows), block.block, name)
    assert (p[np.isfinite(p)] == value).all()


def test_pools_hold_every_test_row_once(finished, monkeypatch):
    some = {name: baselines.BASELINES[name] for name in ("climatology", "volatility", "rule")}
    monkeypatch.setattr(baselines, "BASELINES", some)
    network = pool(finished.trained.blocks, 1)
    found = baseline_pools(finished.prepared, [r.block for r in finished.trained.blocks], None)
    assert tuple(found) == finished.prepared.config.spec.label.horizons_minutes
    rivals = found[60]
    assert set(rivals) == set(some)
    for rival in rivals.values():
        np.testing.assert_array_equal(rival.ts_ns, network.ts_ns)
        np.testing.assert_array_equal(rival.truth, network.truth)
    assert (np.diff(network.ts_ns) > 0).all()
    assert network.figures(rivals["climatology"])["long"]["ap_gain"] > 0


# --- calibration ----------------------------------------------------------------------------------------------------


def test_a_model_that_shouts_is_quietened_by_later_rows_of_its_training():
    """Forty columns of noise, few rows and no penalty: it shouts, and rows it was not fitted on tell by how much."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(500, 2, 40)), rng.normal(size=(10_000, 2, 40))
    y, truth = (rng.random(a.shape[:2]) < 1 / (1 + np.exp(1 - a[:, :, 0])) for a in (x, z))
    shouting = baselines.Baseline(lambda: LogisticRegression(C=1e6, max_iter=2000), lambda name: True)
    halves = [(np.arange(250), np.arange(250, 375)), (np.arange(375), np.arange(375, 500))]
    loud, calm = (baselines._calibrated(shouting, x, y, folds, z) for folds in ([], halves))
    plain = LogisticRegression(C=1e6, max_iter=2000).fit(x.reshape(-1, 40), y.reshape(-1))
    np.testing.assert_allclose(loud.reshape(-1), plain.predict_proba(z.reshape(-1, 40))[:, 1])
    slopes = [recalibration(truth.reshape(-1), p.reshape(-1))[0] for p in (loud, calm)]
    assert slopes[0] < 0.85
    assert slopes[1] == pytest.approx(1, abs=0.12)


def test_folds_are_later_rows_purged_by_the_reach_of_the_label(finished):
    ts = finished.prepared.rows.ts_ns
    label, purge = finished.prepared.config.spec.label, finished.prepared.config.splits.purge_minutes
    folds = baselines._folds(finished.prepared, ts)
    assert len(folds) == baselines.FOLDS
    reach_ns = (label.horizons_minutes[-1] + purge) * 60 * 10**9
    assert all(ts[past].max() + reach_ns <= ts[later].min() for past, later in folds)
    assert baselines._folds(finished.prepared, ts[:1]) == []


def test_a_score_is_calibrated_by_a_line_of_its_logit(finished, small, block, monkeypatch):
    """The rows' order is the model's, whatever line the calibration finds; and it is the line that is applied."""
    monkeypatch.setattr(baselines, "fit_platt", lambda logit, truth: Platt(0.5, -1.0))
    half = baselines.predict(finished.prepared, block.block, "extremes", small.lake)
    monkeypatch.setattr(baselines, "fit_platt", lambda logit, truth: Platt(1.0, 0.0))
    plain = baselines.predict(finished.prepared, block.block, "extremes", small.lake)
    logit = [np.log(p / (1 - p.astype(float))) for p in (half, plain)]
    np.testing.assert_allclose(logit[0], 0.5 * logit[1] - 1, atol=1e-4)


# --- inputs ---------------------------------------------------------------------------------------------------------


def test_hawkes_sees_the_fitted_intensity_and_without_a_lake_the_recorded_memories(finished, small, block):
    prepared, ts = finished.prepared, finished.prepared.rows.ts_ns
    train = np.flatnonzero(block.block.trains(ts) & (prepared.positions >= 0))
    seen = baselines.inputs(prepared, block.block, "hawkes", train, len(train), small.lake)
    found = hawkes.recorded(small.lake, prepared.config.spec)
    numbers = hawkes.fit(found.known_by(block.block.train_until_ns))
    np.testing.assert_array_equal(seen, hawkes.log_intensity(found, numbers, ts[train]))
    alone = baselines.inputs(prepared, block.block, "hawkes", train, len(train), None)
    names = [n for n in prepared.own.scalar_names if groups.scalar_group(n) == groups.LIQUIDATIONS]
    assert alone.shape == (len(train), 2, len(names))


def test_where_liquidations_are_not_recorded_hawkes_says_the_base_rate(finished, small, block):
    spec = finished.prepared.config.spec
    market = msgspec.structs.replace(spec.market, liquidations=None)
    config = msgspec.structs.replace(finished.prepared.config, spec=msgspec.structs.replace(spec, market=market))
    own = finished.prepared.own
    scalars = np.array(own.scalars)
    scalars[:, :, groups.of(own.scalar_names, {groups.LIQUIDATIONS})] = np.nan
    unheard = [dataclasses.replace(own, scalars=scalars), *finished.prepared.series[1:]]
    prepared = dataclasses.replace(finished.prepared, config=config, series=unheard)
    p = baselines.predict(prepared, block.block, "hawkes", small.lake)
    answered = np.isfinite(p).all(axis=(1, 2))
    trained = prepared.positions[block.block.trains(prepared.rows.ts_ns)] >= 0
    rates = prepared.rows.truth[block.block.trains(prepared.rows.ts_ns)][trained].mean(axis=0)
    np.testing.assert_allclose(p[answered], np.broadcast_to(rates, p[answered].shape), rtol=1e-6)


def test_the_rule_by_hand(small):
    spec = small.config.spec
    names = ("zones", "approach_velocity_sigmas")
    sigma = rules.driftless_sigmas(spec)
    rows = [
        ([np.nan, 5.0], 0.0),  # nothing seen
        ([0.0, 5.0], 0.0),  # fast, toward nothing
        ([2.0, 5.0], 1.0),  # zones, not stacked
        ([3.0, -1.0], 2.0),  # stacked, and the price runs away
        ([3.0, 1.5 * sigma], 3.5),  # stacked ahead, price approaching with momentum
        ([9.0, 99.0 * sigma], 5.0),
    ]
    scalars = np.array([[row, row] for row, _ in rows], np.float32)
    found = rules.stacked_and_approaching(scalars, names, spec)
    np.testing.assert_allclose(found, [[score, score] for _, score in rows], rtol=1e-5)
    flagged = np.concatenate([scalars, np.tile([[[1.0], [0.0]]], (len(rows), 1, 1))], axis=2)
    told = rules.stacked_and_approaching(flagged, (*names, "pattern_stacked_zones_flag"), spec)
    assert (told[:, 0] >= 2).all()  # where there is an atlas it says what is stacked
    assert (told[:, 1] <= 1).all()


def test_a_driftless_price_has_the_speed_that_momentum_is_measured_by(small):
    """Independent steps, smoothed as the scalars smooth them."""
    spec, rng = small.config.spec, np.random.default_rng(0)
    minutes = spec.market.step_seconds / 60
    kept = 0.5 ** (minutes / spec.frame.velocity_half_life_minutes)
    speed, found = 0.0, []
    for r in rng.normal(0, np.sqrt(minutes), 200_000):  # one deviation a minute
        speed = kept * speed + (1 - kept) * r / minutes
        found.append(speed)
    assert np.std(found) == pytest.approx(rules.driftless_sigmas(spec), rel=0.02)
