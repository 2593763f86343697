"""Alarms and events: by hand, against a slow twin, and as laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.outcomes.rows import episodes
from training.evaluation.alarms import (
    Claims,
    Curve,
    alarm_figures,
    claims,
    counts,
    curve,
    first_rows,
    lead_minutes,
    moved_sigmas,
    share,
    threshold_within,
)

FIVE = 5 * MINUTE_NS


def five_minutely(truth, p, horizon_minutes=15, **more):
    truth, p = np.array(truth, bool), np.array(p, float)
    return claims(np.arange(len(p)) * FIVE, truth, p, horizon_minutes * MINUTE_NS, FIVE, **more)


# --- a slow, obvious twin -------------------------------------------------------------------------------------------


def naive_alarms(found: Claims, threshold: float) -> list[list[int]]:
    """Rows of each alarm."""
    alarms: list[list[int]] = []
    for row, p in enumerate(found.probability):
        if p < threshold:
            continue
        now = found.ts_ns[row]
        joins = alarms and now - found.ts_ns[alarms[-1][-1]] <= max(10 * MINUTE_NS, found.step_ns)
        if joins and now - found.ts_ns[alarms[-1][0]] < found.horizon_ns:
            alarms[-1].append(row)
        else:
            alarms.append([row])
    return alarms


def naive_foretells(found: Claims, row: int) -> list[float]:
    leads = [onset - found.ts_ns[row] for onset in found.onsets_ns]
    return [lead for lead in leads if 5 * SECOND_NS < lead <= found.horizon_ns]


def naive_counts(found: Claims, threshold: float) -> tuple[int, int, int, int]:
    alarms = naive_alarms(found, threshold)
    early = [any(naive_foretells(found, row) for row in alarm) for alarm in alarms]
    true = [any(found.truth[row] for row in alarm) for alarm in alarms]
    firing = [row for alarm in alarms for row in alarm]
    foretold = [
        onset
        for onset in found.onsets_ns
        if any(5 * SECOND_NS < onset - found.ts_ns[row] <= found.horizon_ns for row in firing)
    ]
    false = sum(not (e or t) for e, t in zip(early, true, strict=True))
    return len(alarms), sum(early), false, len(foretold)


def naive_leads(found: Claims, threshold: float) -> list[float]:
    leads = []
    for onset in found.onsets_ns:
        rows = [r for r in range(len(found.ts_ns)) if found.probability[r] >= threshold]
        near = [r for r in rows if 5 * SECOND_NS < onset - found.ts_ns[r] <= found.horizon_ns]
        if near:
            leads.append((onset - found.ts_ns[near[0]]) / MINUTE_NS)
    return leads


@st.composite
def drawn_claims(draw):
    """Rows with holes, ties and abstentions, of a step shorter than the horizon or as long; onsets known or not."""
    step, horizon = draw(st.sampled_from([(FIVE, 3 * FIVE), (HOUR_NS, HOUR_NS), (FIVE, 12 * FIVE)]))
    kept = np.flatnonzero(draw(st.lists(st.integers(0, 9), min_size=1, max_size=120)))
    seed, rate = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 0.1, 0.5]))
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 6, len(kept)) / 5
    p[rng.random(len(kept)) < 0.1] = np.nan
    ts = kept * step + DAY_NS
    known = rng.choice(120 * step, 4, replace=False) + DAY_NS if draw(st.booleans()) else None
    # Apart by more than the claim, so that the next onset is the only one that a row foretells.
    if known is not None:
        known = np.sort(known)[np.append(True, np.diff(np.sort(known)) > horizon)]
    return claims(ts, rng.random(len(kept)) < rate, p, horizon, step, known)


@settings(max_examples=150, deadline=None)
@given(drawn_claims(), st.sampled_from([0.0, 0.2, 0.6, 1.0, 1.1]))
def test_counts_and_leads_are_those_of_the_slow_twin(found, threshold):
    assert counts(found, threshold) == naive_counts(found, threshold)
    assert lead_minutes(found, threshold).tolist() == naive_leads(found, threshold)
    assert first_rows(found, threshold).tolist() == [alarm[0] for alarm in naive_alarms(found, threshold)]


@settings(max_examples=60, deadline=None)
@given(drawn_claims())
def test_laws_of_alarms(found):
    before = 0
    for threshold in (1.1, 0.8, 0.4, 0.0):
        figures = alarm_figures(found, threshold)
        assert figures.early + figures.inside + figures.false == figures.alarms
        assert before <= figures.foretold <= figures.events  # a lower threshold foretells no less
        before = figures.foretold
        lead = lead_minutes(found, threshold)
        assert ((lead > 5 / 60) & (lead <= found.horizon_ns / MINUTE_NS)).all()
    assert alarm_figures(found, 0.0).foretold == len(found.onsets_ns)  # each could be foretold, and all was said


# --- by hand --------------------------------------------------------------------------------------------------------


def test_an_onset_is_in_the_one_step_in_which_the_first_positive_row_came_true():
    found = five_minutely([0, 0, 0, 0, 1, 1, 1, 0], np.full(8, 0.5))
    assert (found.onsets_ns / MINUTE_NS).tolist() == [4 * 5 + 15 - 2.5]
    assert found.foretold.tolist() == [-1, -1, -1, -1, 0, 0, 0, -1]  # just the positive rows
    assert found.resolution_ns == 2.5 * MINUTE_NS


def test_rows_within_ten_minutes_are_one_alarm_as_long_as_its_claim_lasts():
    p = [1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]
    found = five_minutely(np.zeros(13), p, horizon_minutes=15)
    assert first_rows(found, 0.5).tolist() == [0, 5, 9, 12]  # 0 and 2 are ten minutes apart, 12 is 15 after 9


def test_what_never_falls_silent_is_an_alarm_per_horizon_and_not_a_single_one():
    ts = np.arange(96) * HOUR_NS
    truth = np.zeros(96, bool)
    truth[40] = True
    figures = alarm_figures(claims(ts, truth, np.ones(96), HOUR_NS, HOUR_NS), 0.5)
    assert (figures.alarms, figures.early, figures.false, figures.foretold) == (96, 1, 95, 1)
    assert figures.false_per_day == 95 / 4
    assert figures.recall[0] == 1
    assert figures.precision[0] == 1 / 96


def test_an_alarm_inside_an_event_is_neither_early_nor_false():
    truth = np.zeros(48, bool)
    truth[[10, 12]] = True  # one event by the rule of four hours
    p = np.zeros(48)
    p[12] = 1
    figures = alarm_figures(claims(np.arange(48) * HOUR_NS, truth, p, HOUR_NS, HOUR_NS), 0.5)
    assert (figures.alarms, figures.early, figures.inside, figures.false) == (1, 0, 1, 0)
    assert (figures.events, figures.foretold, figures.recall[0]) == (1, 0, 0)
    assert np.isnan(figures.precision).all()


def test_known_onsets_take_the_place_of_the_rows_truth():
    onset = np.array([32 * MINUTE_NS, 500 * DAY_NS])
    found = five_minutely(np.zeros(12), np.eye(12)[5], events_ns=onset)
    assert found.onsets_ns.tolist() == [32 * MINUTE_NS]  # the other no row could foretell
    assert lead_minutes(found, 0.5).tolist() == [7.0]
    assert alarm_figures(found, 0.5).lead_resolution_minutes == 0


@pytest.mark.parametrize(("late_seconds", "foretold"), [(5, 0), (6, 1), (900, 1), (901, 0)])
def test_a_row_foretells_what_is_over_the_guard_and_within_the_horizon(late_seconds, foretold):
    at = 3 * FIVE + late_seconds * SECOND_NS
    found = five_minutely(np.zeros(9), np.eye(9)[3], events_ns=np.array([at]))
    assert counts(found, 0.5)[3] == foretold


def test_an_event_at_which_the_model_was_silent_is_not_counted_against_it():
    truth = np.zeros(40, bool)
    truth[20:23] = True
    p = np.full(40, 0.5)
    p[20:23] = np.nan
    assert len(five_minutely(truth, p).onsets_ns) == 0
    p[22] = 0.5
    assert len(five_minutely(truth, p).onsets_ns) == 1


def test_events_are_counted_as_episodes_are():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ts = np.sort(rng.choice(2000, 700, replace=False)) * HOUR_NS
        truth = rng.random(700) < 0.1
        assert len(claims(ts, truth, np.ones(700), HOUR_NS, HOUR_NS).onsets_ns) == episodes(ts, truth)


# --- thresholds -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(drawn_claims(), st.sampled_from([0.5, 2.0, 20.0, 1e9]))
def test_a_threshold_keeps_its_budget_as_does_every_higher_one(found, budget):
    threshold = threshold_within(curve(found, most_per_day=1e9), budget)
    higher = [t for t in np.unique(found.probability) if t >= threshold]
    assert all(naive_counts(found, t)[2] / found.days <= budget for t in higher)
    lower = [t for t in np.unique(found.probability) if t < threshold]
    if lower:
        assert naive_counts(found, max(lower))[2] / found.days > budget


def test_a_curve_falls_through_all_thresholds_and_stops_over_the_last_budget():
    rng = np.random.default_rng(1)
    p = rng.random(2000)
    found = claims(np.arange(2000) * HOUR_NS, rng.random(2000) < p / 5, p, HOUR_NS, HOUR_NS)
    whole = curve(found, most_per_day=np.inf)
    assert len(whole.threshold) == 2000
    assert (np.diff(whole.threshold) < 0).all()
    assert (np.diff(whole.recall) >= 0).all()
    short = curve(found, most_per_day=10)
    assert short.false_per_day[-1] > 10 >= short.false_per_day[-2]
    assert threshold_within(short, 5.0) == threshold_within(whole, 5.0)


def test_where_no_threshold_keeps_the_budget_there_is_no_alarm():
    found = claims(np.arange(48) * HOUR_NS, np.zeros(48, bool), np.full(48, 0.1), HOUR_NS, HOUR_NS)
    assert threshold_within(curve(found), 5.0) == np.inf
    figures = alarm_figures(found, np.inf)
    assert (figures.alarms, figures.false_per_day) == (0, 0)


def test_without_rows_nothing_is_known():
    found = five_minutely([1, 0, 1], np.full(3, np.nan))
    assert isinstance(curve(found), Curve)
    figures = alarm_figures(found, threshold_within(curve(found), 1.0))
    assert (figures.alarms, figures.events, figures.days) == (0, 0, 0)
    numbers = (*figures.recall, *figures.precision, *figures.lead_minutes, figures.false_per_day, figures.after_move)
    assert np.isnan(numbers).all()


def test_a_share_of_nothing_is_unknown():
    assert np.isnan(share(0, 0)).all()
    assert share(0, 10)[:2] == (0, 0)
    assert 0 < share(0, 10)[2] < 0.31


# --- moves ----------------------------------------------------------------------------------------------------------


def walk(steps=600, seed=0):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, steps)))
    high, low = close * np.exp(rng.exponential(5e-4, steps)), close * np.exp(-rng.exponential(5e-4, steps))
    return (np.arange(steps) + 1) * FIVE, np.stack([close, high, low, close], axis=1)


def test_a_move_is_from_the_extreme_of_the_last_horizon_in_deviations_of_the_horizon():
    closes_ns, marks = walk()
    row = 500
    found = moved_sigmas(closes_ns, marks, closes_ns[[row]], 3 * FIVE)
    returns = np.diff(np.log(marks[:, 3]))[row - 288 : row]
    sigma = np.sqrt(np.mean(returns**2) * 3)
    last = slice(row - 2, row + 1)
    assert found[0, 0] == pytest.approx(np.log(marks[last, 1].max() / marks[row, 3]) / sigma)
    assert found[0, 1] == pytest.approx(np.log(marks[row, 3] / marks[last, 2].min()) / sigma)


def test_a_move_of_longs_is_that_of_shorts_in_the_mirror():
    closes_ns, marks = walk()
    mirrored = 1e4 / marks[:, [0, 2, 1, 3]]
    here, there = (moved_sigmas(closes_ns, m, closes_ns, HOUR_NS) for m in (marks, mirrored))
    np.testing.assert_allclose(here, there[:, ::-1], rtol=1e-9)


def test_what_comes_later_does_not_move_the_past():
    closes_ns, marks = walk()
    later = marks.copy()
    later[400:] *= 3
    here, there = (moved_sigmas(closes_ns, m, closes_ns[:400], HOUR_NS) for m in (marks, later))
    np.testing.assert_array_equal(here, there)


def test_a_row_without_a_fresh_bar_has_no_move():
    closes_ns, marks = walk()
    at = np.array([0, closes_ns[100], closes_ns[100] + FIVE - 1, closes_ns[-1] + FIVE])
    assert np.isnan(moved_sigmas(closes_ns, marks, at, HOUR_NS)[:, 0]).tolist() == [True, False, False, True]
    marks[100] = np.nan
    assert np.isnan(moved_sigmas(closes_ns, marks, at, HOUR_NS)[1]).all()


def test_a_driftless_price_has_moved_about_a_third_of_the_time():
    closes_ns, marks = walk(20_000, seed=3)
    marks[:, 1] = marks[:, 2] = marks[:, 3]
    found = moved_sigmas(closes_ns, marks, closes_ns[300:], 12 * HOUR_NS)
    assert (found > 1).mean() == pytest.approx(0.317, abs=0.08)


def test_alarms_after_a_move_are_counted_where_they_begin():
    found = five_minutely(np.zeros(12), [0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    moved = np.array([0, 2, 0, 0, 0, 0, 0, 0.5, 0, 0, 3, np.nan])
    figures = alarm_figures(found, 0.5, moved)
    assert (figures.after_move, figures.after_move_any) == (0.5, 2 / 11)
