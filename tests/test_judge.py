"""The judge: its figures on small inputs counted by hand, a map that knows the truth, and one that knows nothing."""

import argparse
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.cli import main
from squeeze.errors import ConfigError, DataError
from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.patterns import thinning as pattern
from squeeze.simulator import SimulatorSpec, Thinning
from squeeze.simulator.truth import ledger
from squeeze.spec import MapSpec
from squeeze.tools.judge import captures, recorded, simulated, thinning, verb, volumes
from squeeze.tools.judge.estimators import (
    Drawing,
    Finding,
    Naming,
    beside,
    capture,
    correlations,
    rank_correlation,
    ratio_of_sums,
    separation,
    separations,
    top,
)
from squeeze.tools.judge.findings import FITTED, PRIOR, findings
from squeeze.tools.judge.levels import (
    LEVELS,
    WIDTH_LOG,
    Snapshots,
    beyond_extreme,
    crossed,
    freeze,
    mixed,
    moments,
    of_intervals,
    of_prints,
    spread,
    within,
)
from squeeze.tools.judge.past import LEVERAGES, OF_SPEC, POPULAR, Past, judged_spec, swept_of
from squeeze.tools.judge.pool import ACTUAL, CHANCE, EVEN, Pool
from squeeze.tools.judge.report import markdown, plain
from tests.scenes import detect
from tests.test_thinning import scene, thinned

FEW = Drawing(200, 0)
START_NS = 20_000 * DAY_NS


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def past(marks, length_minutes=1, **changes):
    """A map's steps at these marks, (low, high, close) each, from a midnight on."""
    marks = np.array(marks, dtype=float)
    count, length_ns = len(marks), length_minutes * MINUTE_NS
    columns = {
        "closes_ns": START_NS + length_ns * np.arange(1, count + 1),
        "mark": marks,
        "traded": marks[:, :2].copy(),
        "buy_base": np.full(count, 60.0),
        "sell_base": np.full(count, 40.0),
        "open_interest_base": np.full(count, 1e4),
        "length_ns": length_ns,
        "flow": None,
        "starts": np.arange(count) == 0,
        "seen": np.ones(count, dtype=bool),
    }
    return Past(**(columns | changes))


def walk(count, seed=0, scatter=4e-4):
    """Marks of a random walk from 60,000."""
    close = 60_000 * np.exp(np.random.default_rng(seed).normal(0, scatter, count).cumsum())
    before = np.append(60_000.0, close[:-1])
    return np.stack([np.minimum(before, close), np.maximum(before, close), close], axis=1)


def snapshots(usd, extreme_log=0.0, reached_log=1.0, days=None):
    """Frozen maps without mass, with these USD."""
    count = len(usd)
    return Snapshots(
        row=np.arange(count),
        day=np.arange(count) if days is None else days,
        mark=np.full(count, 60_000.0),
        heat=np.zeros((count, 2, len(LEVERAGES), LEVELS)),
        usd=usd,
        all_usd=usd.sum(axis=2),
        reached_log=np.full((count, 2), reached_log),
        extreme_log=np.full((count, 2), extreme_log),
    )


def test_rank_correlation_of_a_hand_counted_case():
    # d = 0, 1, -1, 0, 0 → 1 - 6·2 / (5·24)
    assert rank_correlation(np.array([1.0, 2, 3, 4, 5]), np.array([10.0, 30, 20, 40, 50])) == pytest.approx(0.9)


@given(st.lists(st.integers(0, 5), min_size=3, max_size=30), st.integers(0, 1000))
def test_rank_correlation_is_pearsons_of_mean_ranks(values, seed):
    first = np.array(values, dtype=float)
    second = np.random.default_rng(seed).permutation(first)
    ranks = [[np.mean([sorted(v).index(x) + 1, len(v) - sorted(v)[::-1].index(x)]) for x in v] for v in (first, second)]
    found = rank_correlation(first, second)
    if len(set(values)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_the_top_quarter_of_six_levels_is_one_and_a_half():
    usd = np.array([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]])
    caught, total = capture(np.array([[6.0, 5, 4, 3, 2, 1]]), usd, np.ones((1, 6), bool))
    assert (caught[0], total[0]) == (1.0 + 0.5 * 2.0, 63.0)


def test_levels_that_are_not_offered_count_for_nothing():
    usd, offered = np.array([[100.0, 1.0, 2.0, 3.0, 4.0]]), np.array([[False, True, True, True, True]])
    caught, total = capture(np.array([[9.0, 1.0, 2.0, 3.0, 4.0]]), usd, offered)
    assert (caught[0], total[0]) == (4.0, 10.0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 100))
def test_parts_of_the_top_sum_to_the_share_and_a_draw_among_equals_gives_them_on_average(scores, seed):
    values = np.array(scores, dtype=float)
    part = top(values, 0.25)
    assert part.sum() == pytest.approx(0.25 * len(values))
    shuffled = np.random.default_rng(seed).permutation(len(values))
    assert top(values[shuffled], 0.25) == pytest.approx(part[shuffled])
    lowest_in = values[part > 0].min()
    assert (part[values > lowest_in] == 1).all()


def test_a_perfect_map_catches_all_that_lies_in_a_quarter_of_levels_and_equal_levels_catch_a_quarter(rng):
    usd = np.zeros((60, 2, LEVELS))
    usd[..., 3:10] = rng.exponential(1e6, (60, 2, 7))
    pool = Pool(FEW)
    given_scores = {"perfect": usd, "even": np.ones(usd.shape), "worst": -usd}
    captures.add(pool, snapshots(usd, reached_log=0.02), given_scores, 60)
    for scope in captures.scopes():
        perfect, even, worst = (
            pool.ratio(captures.measure(scope, 60), "m", name, CHANCE) for name in ("perfect", "even", "worst")
        )
        assert (perfect.estimate, perfect.low, perfect.high) == pytest.approx((1.0, 0.75, 0.75))
        assert (even.estimate, even.low, even.high) == pytest.approx((0.25, 0.0, 0.0))
        assert (worst.estimate, worst.verdict) == (pytest.approx(0.0), "below")
        assert perfect.verdict == "above"
        assert perfect.n == even.n == 120


def test_a_shuffled_map_catches_chance(rng):
    usd = rng.exponential(1e6, (150, 2, LEVELS)) * (np.arange(LEVELS) < 40)
    shuffled = rng.permuted(usd[..., :40], axis=2)
    score = np.concatenate([shuffled, np.zeros((150, 2, LEVELS - 40))], axis=2)
    pool = Pool(FEW)
    captures.add(pool, snapshots(usd, reached_log=0.02), {"shuffled": score}, 60)
    for scope in ("within 2 %", "crossed", "crossed, all times"):
        found = pool.ratio(captures.measure(scope, 60), "m", "shuffled", CHANCE)
        assert found.estimate == pytest.approx(0.25, abs=0.02)
        assert found.low <= 0.01
        assert found.high >= -0.01


def test_the_rival_prefers_levels_just_beyond_the_extreme():
    score = beyond_extreme(np.array([[0.0012, 0.0]]))[0]
    assert np.argsort(-score[0])[:3].tolist() == [2, 3, 4]
    assert np.argsort(-score[0])[-2:].tolist() == [1, 0]
    assert np.argsort(-score[1])[:3].tolist() == [0, 1, 2]


def test_scopes_are_levels_wholly_within_reach_and_levels_that_the_mark_came_to():
    held = snapshots(np.zeros((1, 2, LEVELS)), reached_log=0.00101)
    assert within(held, 0.02).sum(axis=2).tolist() == [[40, 40]]
    assert crossed(held).sum(axis=2).tolist() == [[3, 3]]


def test_a_sum_is_spread_over_what_was_reached_for_the_first_time():
    near, far = np.array([-1.0, 0.0, 0.5, -3.0]) * WIDTH_LOG, np.array([2.0, 4.0, 1.5, -1.0]) * WIDTH_LOG
    found = spread(near, far, np.array([8.0, 4.0, 2.0, 64.0]))
    # first: levels 0 and 1; second: 2 and 3 alone are new; third: nothing new, its range; fourth: behind the mark
    assert found[:5] == pytest.approx([4.0 + 1.0, 4.0 + 1.0, 2.0, 2.0, 0.0])


def test_intervals_are_placed_below_the_mark_for_longs_and_above_for_shorts_and_unrecorded_hours_are_left_out():
    marks = np.full((240, 3), 60_000.0)
    marks[125, 0] = 60_000 * math.exp(-3 * WIDTH_LOG)
    marks[130, 1] = 60_000 * math.exp(2 * WIDTH_LOG)
    told = past(marks)
    closes, usd = START_NS + HOUR_NS * np.array([2, 3]), np.array([[5.0, 5.0], [30.0, 40.0]])
    rows = moments(told, 60)
    assert ((told.closes_ns[rows] - START_NS) // HOUR_NS).tolist() == [1, 2, 3]
    found = of_intervals(told, judged_spec(MapSpec()), rows, 60, closes, HOUR_NS, usd)
    assert ((told.closes_ns[found.row] - START_NS) // HOUR_NS).tolist() == [1, 2]
    assert found.usd[1, 0, :4] == pytest.approx([10.0, 10.0, 10.0, 0.0], abs=1e-6)
    assert found.usd[1, 1, :3] == pytest.approx([20.0, 20.0, 0.0], abs=1e-6)
    assert found.usd[0].sum() == 0.0  # the mark stood still: nothing was ahead
    assert found.all_usd.tolist() == [[5.0, 5.0], [30.0, 40.0]]
    assert found.reached_log[1] == pytest.approx([3 * WIDTH_LOG, 2 * WIDTH_LOG])


def test_prints_count_at_the_level_of_their_mark_within_the_horizon_alone():
    told = past(walk(300))
    row = np.array([119])
    mark, opens_ns = told.mark[119, 2], told.closes_ns[119]
    at_ns = opens_ns + np.array([-1, 0, 60, 61 * 60]) * 10**9
    marks = mark * np.exp(np.array([-0.5, -2.5, 3.5, -0.5]) * WIDTH_LOG)
    found = of_prints(
        told, judged_spec(MapSpec()), row, 60, at_ns, np.array([0, 0, 1, 0]), np.array([1.0, 2.0, 4.0, 8.0]), marks
    )
    assert (found.usd[0, 0, 2], found.usd[0, 1, 3], found.usd.sum()) == (2.0, 4.0, 6.0)


def test_a_moment_needs_the_hour_before_it_and_the_horizon_after_it_whole():
    closes = np.delete(START_NS + MINUTE_NS * np.arange(1, 601), 210)  # a minute of the fourth hour is missing
    told = past(walk(599), closes_ns=closes)
    hours = (closes[moments(told, 60)] - START_NS) // HOUR_NS
    assert hours.tolist() == [1, 2, 5, 6, 7, 8, 9]


def test_a_frozen_map_is_that_of_the_fold_up_to_its_step_and_the_future_changes_nothing():
    told, spec = past(walk(400)), judged_spec(MapSpec())
    rows = np.array([100, 250])
    heat = freeze(told, spec, rows)
    held = LiquidationMap(spec)
    for step in range(101):
        low, high, close = told.mark[step].tolist()
        days = float(told.closes_ns[step] / DAY_NS)
        held.step((low, high, close), (low, high), 60.0, 40.0, 1e4, days, 1 / 1440)
    assert np.array_equal(heat[0], held.outward(told.mark[100, 2], WIDTH_LOG, LEVELS) * told.mark[100, 2])
    other = told.mark.copy()
    other[251:] *= 1.01
    assert np.array_equal(freeze(past(other), spec, rows), heat)


def test_a_map_that_begins_anew_is_folded_as_one():
    marks, starts = walk(200), np.arange(200) % 120 == 0
    told, spec = past(marks, starts=starts), judged_spec(MapSpec())
    swept = swept_of(told, spec)
    later = past(marks[120:], closes_ns=told.closes_ns[120:])
    assert np.array_equal(swept[120:], swept_of(later, spec))


def test_the_judged_map_has_the_specs_prior_on_its_buckets_and_the_popular_weights_are_shares():
    spec = judged_spec(MapSpec(), turnover=0.2)
    assert [spec.leverages[i] for i in OF_SPEC] == list(MapSpec().leverages)
    assert [spec.prior_weights[i] for i in OF_SPEC] == list(MapSpec().prior_weights)
    assert (sum(spec.prior_weights), spec.turnover) == (pytest.approx(sum(MapSpec().prior_weights)), 0.2)
    for weights in POPULAR.values():
        assert (len(weights), sum(weights)) == (len(LEVERAGES), pytest.approx(1.0))


def test_beyond_the_extreme_of_the_hour_before():
    marks = np.full((62, 3), 100.0)
    marks[10, 0], marks[61, 0], marks[61, 1] = 99.0, 98.0, 100.0
    found = volumes.beyond(past(marks))
    assert found[61] == pytest.approx([math.log(99 / 98), 0.0])
    assert not found[:60].any()
    two = volumes.beyond(past(marks), np.array([61]), 2)
    assert two[0, 0] == pytest.approx(math.log(99 / 98))


def test_calibration_is_the_sum_of_expected_over_actual_and_a_day_without_liquidations_counts():
    pool, days = Pool(FEW), np.repeat(np.arange(3), 2)
    actual = np.array([[4.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    expected = {"twice": 2 * actual, "fitted": np.ones((6, 2))}
    volumes.add(pool, expected, actual, np.zeros((6, 2)), days, days > 0)
    assert pool.ratio(volumes.CALIBRATION, "m", "fitted", ACTUAL).estimate == 8.0 / 2.0
    assert pool.ratio(volumes.CALIBRATION, "m", "twice", ACTUAL).estimate == 2.0


def test_volumes_that_follow_the_rival_are_the_rivals_and_a_map_that_knows_them_beats_it(rng):
    count = 4000
    beyond = np.maximum(rng.normal(0, 1e-3, (count, 2)), 0)
    hidden = rng.exponential(1.0, (count, 2))
    actual = (1e3 * beyond) ** 2 * hidden
    days = np.repeat(np.arange(80), 50)
    pool = Pool(FEW)
    volumes.add(pool, {"fitted": actual, "blind": rng.exponential(1.0, (count, 2))}, actual, beyond, days, days >= 40)
    fitted = pool.correlation(volumes.CORRELATION, "m", "fitted", volumes.EXTREME)
    blind = pool.correlation(volumes.CORRELATION, "m", "blind", CHANCE)
    assert (fitted.estimate, fitted.verdict) == (pytest.approx(1.0), "above")
    assert 0.7 < fitted.null < 0.99
    assert abs(blind.estimate) < 0.05
    assert blind.verdict == "no difference shown"


def test_correlations_by_days_are_pearsons_and_nan_where_nothing_varies(rng):
    a, b = rng.normal(size=500), rng.normal(size=500)
    assert correlations(a, a + b, np.arange(500) // 10, FEW)[0] == pytest.approx(np.corrcoef(a, a + b)[0, 1])
    assert np.isnan(correlations(np.ones(4), np.arange(4.0), np.arange(4), FEW)).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25))
def test_separation_is_the_share_of_pairs_in_order(rows):
    scores, happened = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [(a > b) + (a == b) / 2 for a in scores[happened] for b in scores[~happened]]
    found = separation(scores.astype(float), happened, np.ones(len(rows)))
    assert found == pytest.approx(np.mean(pairs)) if pairs else math.isnan(found)


def test_separation_of_what_knows_and_of_what_does_not(rng):
    happened, days = rng.random(2000) < 0.3, np.arange(2000) // 40
    assert separations(happened.astype(float), happened, days, FEW).tolist() == [1.0] * 201
    drawn = separations(rng.random(2000), happened, days, FEW)
    found = beside(Naming("m", "k", "s", EVEN), 2000, drawn, 0.5)
    assert found.verdict == "no difference shown"


def test_a_ratio_is_paired_by_day_and_few_rows_are_inconclusive(rng):
    days, under = np.arange(60), np.ones(60)
    over = rng.random(60)
    found = ratio_of_sums(Naming("m", "k", "s", "r"), over + 0.1, under, over, days, FEW)
    assert (found.low, found.high, found.verdict) == (pytest.approx(0.1), pytest.approx(0.1), "above")
    few = ratio_of_sums(Naming("m", "k", "s", "r"), over[:9] + 0.1, under[:9], over[:9], days[:9], FEW)
    assert few.verdict == "inconclusive: 9 of 50"


@pytest.fixture(scope="module")
def leavers():
    """A small market whose holders leave, cut short."""
    spec = SimulatorSpec(days=4, warm_up_days=2, positions=800, thinning=Thinning(), detail=True)
    market = simulated.simulate(spec, 3)
    told = simulated.told(market, 1)
    return simulated.Case(market, ledger(market), told, 1440 * 2)


def test_the_true_map_has_every_level_and_ranks_itself_perfectly(leavers, rng):
    rows = moments(leavers.past, 240, leavers.since_ns)
    truth = simulated.truth_at(leavers, rows)
    held = leavers.positions
    alive = held.alive((int(rows[3]) + 1) * leavers.market.spec.substeps - 1) & (held.side == 0)
    away = np.log(leavers.past.mark[rows[3], 2] / held.liquidation)
    first = alive & (away >= 10 * WIDTH_LOG) & (away < 40 * WIDTH_LOG)
    usd = held.lots[first].sum() * leavers.market.detail().rules.lot_base * leavers.past.mark[rows[3], 2]
    assert truth[3, 0, 10:40].sum() == pytest.approx(usd, rel=1e-9)
    found = captures.mean_rank_correlation(truth, truth)
    assert found == pytest.approx(np.ones(len(rows)))
    shuffled = rng.permuted(truth, axis=2)
    assert abs(np.nanmean(captures.mean_rank_correlation(shuffled, truth))) < 0.1


def test_everything_liquidated_is_counted_once_a_minute(leavers):
    base = simulated.liquidated_base(leavers.market)
    market = leavers.market
    assert base.sum() == pytest.approx((market.liquidation_usd / market.liquidation_mark).sum())
    minute = (market.liquidation_ns[0] - market.minute_ns[0]) // MINUTE_NS
    assert base[minute, market.liquidation_side[0]] > 0


def test_the_score_of_a_zone_is_the_patterns():
    zone = thinned(0, peak_base=1700.0, peak_share=0.0121)
    below, _ = detect(pattern, scene(zone))
    record = scene(zone).zones[0]
    assert thinning.score(record, pattern.Thresholds()) == pytest.approx(below.score)


def test_what_left_a_zone_is_what_the_ledger_says(leavers):
    minute, bin_log = 1440 * 3, 5e-4
    place = math.floor(math.log(leavers.past.mark[minute, 2]) / bin_log)
    zones = scene(thinned(0)).zones
    zones["side"], zones["low_bin"], zones["end_bin"] = 0, place - 80, place - 5
    found = thinning.left_share(leavers.market, zones, minute, bin_log, leavers.positions)
    held = leavers.positions
    first, last = ((m + 1) * leavers.market.spec.substeps - 1 for m in (minute - 360, minute))
    bins = np.floor(np.log(held.liquidation) / bin_log)
    there = held.alive(first) & (held.side == 0) & (bins >= place - 80) & (bins < place - 5)
    left = there & (held.closed <= last) & (held.why == thinning.LEFT)
    assert left.any()
    assert found[0] == pytest.approx(held.lots[left].sum() / held.lots[there].sum())


def test_zones_are_followed_and_scored_between_nothing_and_all(leavers):
    spec = judged_spec(MapSpec(), close_tilt_near=3.0)
    zones = thinning.thinned_zones(leavers.market, leavers.past, spec, leavers.positions, leavers.judged_from)
    assert len(zones.day) == len(zones.score) > 0
    assert (zones.score >= 0).all()
    assert (zones.nearness <= 0).all()
    known = zones.left_share[np.isfinite(zones.left_share)]
    assert ((known >= 0) & (known <= 1)).all()


def test_a_market_too_short_to_judge_is_refused():
    with pytest.raises(DataError, match="over 30 days or more, got 29"):
        simulated.case_of(SimulatorSpec(), 0, 29)


@pytest.fixture(scope="module")
def planted():
    """A recorded market whose liquidations are those of the 10x and the 50x bucket, and whose price has no trend."""
    told, spec = past(walk(28 * 96, seed=5, scatter=2.5e-3), length_minutes=15), judged_spec(MapSpec())
    swept = swept_of(told, spec)
    truth = np.array([0.0, 0.3, 0.0, 0.0, 0.2, 0.0])
    begin = 6 * 96
    base, marks = (swept @ truth)[begin:], told.mark[begin:, 2]
    rows = recorded.SweepRows(told.closes_ns[begin:], swept[begin:], base)
    cuts = START_NS + DAY_NS * np.arange(14, 28, 3)
    closes, usd = rows.close_ns, base * marks[:, None]
    return recorded.Recorded("planted", told, spec, rows, told.length_ns, closes, usd, MapSpec().prior_weights, cuts)


def test_a_recording_made_of_the_map_is_found_in_it(planted):
    found = {(e.market.split(",")[1], e.measure, e.scores, e.against): e for e in recorded.judge(planted, FEW)}
    later = " from 2024-10-18 on"
    level = found[later, volumes.CALIBRATION, FITTED, ACTUAL]
    assert level.estimate == pytest.approx(1.0, abs=0.1)  # the prior holds some of it
    map_says = found[later, volumes.CORRELATION, FITTED, volumes.EXTREME]
    assert map_says.estimate > 0.99
    assert map_says.verdict == "above"
    pooled = found[later, "capture, crossed, all times, 1 h", FITTED, CHANCE]
    assert pooled.estimate > 0.5
    assert (" all recorded days", "capture, crossed, 24 h", PRIOR, CHANCE) in found
    placed = found[" all recorded days", "placed ahead of the mark, 1 h", "liquidations", ACTUAL]
    assert 0.5 < placed.estimate <= 1.0


def test_weights_of_a_day_have_not_seen_it(planted):
    fits = recorded.fits_by_day(planted, planted.rows.swept[..., OF_SPEC], planted.prior)
    observed = planted.rows.observed.copy()
    observed[planted.rows.close_ns > planted.cuts_ns[1] - HOUR_NS] *= 7.0
    rows = recorded.SweepRows(planted.rows.close_ns, planted.rows.swept, observed)
    fields = {name: getattr(planted, name) for name in planted.__slots__} | {"rows": rows}
    again = recorded.fits_by_day(recorded.Recorded(**fields), rows.swept[..., OF_SPEC], planted.prior)
    assert [np.array_equal(a.weights, b.weights) for a, b in zip(fits, again, strict=True)] == [True, True] + [
        False
    ] * 3


def test_where_an_interval_is_the_horizon_crossed_levels_are_not_judged(planted):
    hourly = planted.length_ns * 4
    fields = {name: getattr(planted, name) for name in planted.__slots__}
    sums = planted.usd.reshape(-1, 4, 2).sum(axis=1)
    fields |= {"length_ns": hourly, "closes_ns": planted.closes_ns[3::4], "usd": sums}
    fields["rows"] = recorded.SweepRows(
        planted.closes_ns[3::4],
        planted.rows.swept.reshape(-1, 4, 2, len(LEVERAGES)).sum(axis=1),
        planted.rows.observed.reshape(-1, 4, 2).sum(axis=1),
    )
    measures = {each.measure for each in recorded.judge(recorded.Recorded(**fields), FEW)}
    assert "capture, crossed, 1 h" not in measures
    assert {"capture, crossed, all times, 1 h", "capture, crossed, 24 h"} <= measures


def test_the_page_has_a_table_for_each_figure_and_json_has_no_nan():
    names = {"market": "m", "scores": FITTED, "n": 60, "low": 0.01, "high": 0.02}
    found = [
        Finding(measure="capture, crossed, 1 h", estimate=0.3, against=CHANCE, null=0.25, **names),
        Finding(measure="capture, crossed, 1 h", estimate=0.3, against=PRIOR, null=0.28, **names),
        Finding(measure=volumes.CALIBRATION, estimate=1.1, against=ACTUAL, null=1.0, **names),
        Finding(measure=volumes.CORRELATION, estimate=0.9, against=volumes.EXTREME, null=math.nan, **names),
    ]
    page = markdown("title", {"command": "c"}, found, ["note"])
    assert "| fitted | 30.0 [26.0, 27.0] |" in page
    assert "- **m**, fitted weights. expected over actual 1.10 [1.01, 1.02]; volumes correlate 0.900, not nan" in page
    assert "| - prior | +2.0 [+1.0, +2.0] |" in page
    assert "| fitted | 1.10 [1.01, 1.02] |" in page
    assert json.loads(json.dumps(plain(found[-1]), allow_nan=False))["null"] is None


def test_every_figure_of_a_pool_is_set_beside_something(rng):
    pool, usd = Pool(FEW), rng.exponential(1.0, (60, 2, LEVELS))
    scores = {name: rng.random(usd.shape) for name in (FITTED, *POPULAR, PRIOR)}
    captures.add(pool, snapshots(usd), scores, 60)
    found = findings(pool, "m")
    beside_chance = [each for each in found if each.against == CHANCE]
    assert len(beside_chance) == 4 * (len(scores) + 2)
    assert {each.against for each in found} == {CHANCE, captures.EXTREME, PRIOR, *POPULAR}


@pytest.mark.parametrize(
    ("words", "said"),
    [(["judge"], "needs a run file, or --sim"), (["judge", "--sim", "--draws", "9"], "--draws: at least 100, got 9")],
)
def test_a_mistake_is_one_line(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_tilt_that_is_no_pair_is_refused():
    args = argparse.Namespace(tilt="3", days=90)
    with pytest.raises(ConfigError, match="--tilt: expected two numbers"):
        verb._simulated(args, FEW, print)


def test_mixing_is_a_weighted_sum_over_buckets(rng):
    heat = rng.random((2, 2, 6, LEVELS))
    weights = rng.random(6)
    assert mixed(heat, weights) == pytest.approx(sum(w * heat[:, :, b] for b, w in enumerate(weights)))
