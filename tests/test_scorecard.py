"""The scorecard counts what came true as training's labels have it, once it is known and from nothing later."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import scipy.stats
from emitting import common, exit_
from hypothesis import given, settings
from hypothesis import strategies as st
from small import kept

import squeeze
from squeeze.arrays import SIDES
from squeeze.errors import StepError
from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, Broken, Feed, Gap, Liquidation
from squeeze.outcomes.rows import labelled
from squeeze.signals.message import AbstainMessage, ProbabilityMessage
from squeeze.simulator import Publication, SimulatorSpec, market_events, simulate
from squeeze.spec import LabelSpec, SignalSpec
from squeeze.tools.scorecard import figures
from squeeze.tools.scorecard.report import text
from squeeze.tools.scorecard.scorecard import Scorecard
from squeeze.tools.scorecard.spec import ScorecardSpec, read_scorecard_spec
from squeeze.tools.study.task import simulated_task

DAYS = 3
HORIZONS = (15, 60)
COMMON = {"name": "a test", "horizons_minutes": HORIZONS, "every_minutes": 5, "recorded": "days"}
LABELS = {
    "threshold": LabelSpec(**COMMON, threshold_usd=3e4),
    "onset": LabelSpec(
        **COMMON, event="onset",
        onset=CascadeSpec(trailing_days=2, floor_usd=5e4, least_prints=2, quantile=0.9, move_sigmas=0.5),
    ),
    "price": LabelSpec(
        **COMMON, event="price", price=PriceCascadeSpec(sigmas=1.5, least_move=1.5e-3, least_drop=0, taker_ratio=0),
    ),
}  # fmt: skip
SPEC = ScorecardSpec(switches_off=False, settle_every_minutes=120)


CARD = squeeze.load(Path(__file__).parents[1] / "models" / "squeeze-simulator.onnx").card
RATES = {"long": (0.05, 0.1), "short": (0.05, 0.1)}


def card_of(label):
    """The shipped model's card, of a simpler market and another label."""
    plain = SignalSpec(horizon_minutes=60, arm_ratio=3.0)
    spec = msgspec.structs.replace(simulated_task().spec, label=label, signal=plain)
    return msgspec.structs.replace(CARD, spec=spec, base_rates=RATES, alarms=())


@pytest.fixture(scope="module")
def market():
    return simulate(SimulatorSpec(days=DAYS, detail=True), 3)


@pytest.fixture(scope="module")
def events(market):
    return [e for e in market_events(market, Publication()) if kind(e) in ("Bar", "OpenInterest", "Liquidation")]


def kind(event):
    return type(event).__name__


@pytest.fixture(scope="module")
def lake(market, tmp_path_factory):
    return kept(market, tmp_path_factory.mktemp("lake"), Publication())


def probability(at_ns, seq, p, symbol="SIMUSDT"):
    by_side = {side: {str(h): float(p[s][i]) for i, h in enumerate(HORIZONS)} for s, side in enumerate(SIDES)}
    fields = common(seq, symbol) | {"ts_data_us": at_ns // 1000, "event_id": f"{seq:016x}"}
    return ProbabilityMessage(**fields, probabilities=by_side, base_rates=by_side)


def messages_of(events, seed=0):
    """A word each five minutes, an abstention now and then."""
    rng = np.random.default_rng(seed)
    first, last = (events[i].known_at_ns // (5 * MINUTE_NS) * 5 * MINUTE_NS for i in (0, -1))
    found = []
    for seq, at_ns in enumerate(range(first, last, 5 * MINUTE_NS)):
        if rng.random() < 0.05:
            fields = common(seq) | {"ts_data_us": at_ns // 1000, "event_id": f"{seq:016x}"}
            found.append(AbstainMessage(**fields, reasons=("gap",)))
        else:
            found.append(probability(at_ns, seq, np.sort(rng.random((2, 2)) ** 4, axis=1)))
    return found


def drive(scorecard, events, messages, every_ns=7 * MINUTE_NS, until_ns=None):
    """What a process does: events and messages as they come, a clock in between."""
    queue, outcomes, tick_ns = list(reversed(messages)), [], events[0].known_at_ns
    for event in events:
        while event.known_at_ns > tick_ns:
            while queue and queue[-1].ts_data_us * 1000 <= tick_ns:
                scorecard.on_message(queue.pop())
            outcomes += scorecard.on_clock(tick_ns)
            tick_ns += every_ns
        scorecard.on_event(event)
    while queue:
        scorecard.on_message(queue.pop())
    return outcomes + scorecard.on_clock(until_ns or events[-1].known_at_ns)


@pytest.mark.parametrize("name", LABELS)
def test_outcomes_are_the_labels_of_training(name, lake, events):
    scorecard, messages = Scorecard(card_of(LABELS[name]), "m", SPEC), messages_of(events)
    outcomes = drive(scorecard, events, messages)
    made = labelled(lake, scorecard.card.spec)
    truth = dict(zip(made.rows.ts_ns.tolist(), made.rows.truth, strict=True))
    said = {m.ts_data_us * 1000 for m in messages if isinstance(m, ProbabilityMessage)}
    assert len(outcomes) > 150
    assert sum(one.truth[0, 1] for one in outcomes) > 10
    for one in outcomes:
        assert (one.truth == truth[one.ts_ns]).all()
    report = scorecard.report()
    assert len(outcomes) + report.waiting + sum(report.left_out.values()) == len(said)
    done_by = events[-1].known_at_ns - 90 * MINUTE_NS
    missing = {at for at in truth if at in said and at < done_by} - {one.ts_ns for one in outcomes}
    assert len(missing) <= 3, missing  # before the second print, say, or the quantile


@pytest.mark.parametrize("name", LABELS)
def test_when_an_event_came_is_within_its_horizon(name, events):
    scorecard = Scorecard(card_of(LABELS[name]), "m", SPEC)
    drive(scorecard, events, messages_of(events))
    rows = scorecard._rows.rows
    for side in range(2):
        for h, minutes in enumerate(HORIZONS):
            took = rows["came_ns"][:, side] - rows["ts_ns"]
            within = (rows["came_ns"][:, side] > 0) & (took <= minutes * MINUTE_NS)
            assert (within == rows["truth"][:, side, h]).mean() > 0.999  # [t, t + h) of prints, (t, t + h] of onsets


def by_hand(scorecard, messages, outcomes, side, h):
    """Brier, and alarms, as one would count them on paper."""
    truth = {one.ts_ns: one.truth[side, h] for one in outcomes}
    said = [(m.ts_data_us * 1000, m.probabilities[SIDES[side]][str(HORIZONS[h])]) for m in messages
            if isinstance(m, ProbabilityMessage) and m.ts_data_us * 1000 in truth]  # fmt: skip
    errors = [(p - truth[at]) ** 2 for at, p in said]
    alarms = []
    for at, p in said:
        if p < scorecard.thresholds[SIDES[side]][h]:
            continue
        if alarms and at - alarms[-1][-1] <= 10 * MINUTE_NS and at < alarms[-1][0] + HORIZONS[h] * MINUTE_NS:
            alarms[-1].append(at)
        else:
            alarms.append([at])
    came = sum(any(truth[at] for at in alarm) for alarm in alarms)
    return len(said), math.fsum(errors) / len(errors), len(alarms), came


@pytest.mark.parametrize("name", LABELS)
def test_figures_are_those_counted_by_hand_over_all_messages(name, events):
    scorecard, messages = Scorecard(card_of(LABELS[name]), "m", SPEC), messages_of(events, 2)
    outcomes = drive(scorecard, events, messages)
    for one in scorecard.report().sides:
        side, h = SIDES.index(one.side), HORIZONS.index(one.horizon_minutes)
        rows, brier, alarms, came = by_hand(scorecard, messages, outcomes, side, h)
        found = one.alarms.precision
        assert (one.rows, found.of, found.came) == (rows, alarms, came)
        assert one.brier == pytest.approx(brier)
        assert one.alarms.false_a_day == pytest.approx((alarms - came) / (rows / 288))
        assert sum(month.rows for month in one.months) == rows
        assert all(best.precision.of <= best.k for best in one.top)
    assert "switched on" in text(scorecard.report())


@settings(max_examples=3, deadline=None)
@given(every=st.integers(1, 240), seed=st.integers(0, 9))
def test_nothing_depends_on_how_often_the_clock_is_told_or_on_the_order_of_what_is_known_at_once(events, every, seed):
    messages, until_ns = messages_of(events), events[-1].known_at_ns
    card = card_of(LABELS["threshold"])
    plain = Scorecard(card, "m", SPEC)
    drive(plain, events, messages, until_ns=until_ns)
    shuffled, rng = [], np.random.default_rng(seed)
    for _, group in groups(events):
        shuffled += [group[i] for i in rng.permutation(len(group))]
    other = Scorecard(card, "m", SPEC)
    drive(other, shuffled, messages, every * MINUTE_NS, until_ns)
    assert msgspec.json.encode(other.report()) == msgspec.json.encode(plain.report())


def groups(events):
    found = {}
    for event in events:
        found.setdefault(event.known_at_ns, []).append(event)
    return sorted(found.items())


def test_the_future_changes_no_outcome_that_was_told(events):
    cut_ns = events[0].known_at_ns + 2 * DAY_NS
    known = [e for e in events if e.known_at_ns <= cut_ns]
    later = [msgspec.structs.replace(e, usd=e.usd * 1e3) if kind(e) == "Liquidation" else e
             for e in events if e.known_at_ns > cut_ns]  # fmt: skip
    told = []
    for rest in (later, events[len(known) :]):
        scorecard = Scorecard(card_of(LABELS["threshold"]), "m", SPEC)
        outcomes = drive(scorecard, known + rest, messages_of(events))
        told.append([(o.ts_ns, o.truth.tolist()) for o in outcomes if o.ts_ns < cut_ns - 2 * HOUR_NS])
    assert len(told[0]) > 100
    assert told[0] == told[1]


def test_no_outcome_is_told_before_its_horizon_is_over(events):
    scorecard, messages = Scorecard(card_of(LABELS["threshold"]), "m", SPEC), messages_of(events)
    queue = list(reversed(messages))
    for event in events[:4000]:
        while queue and queue[-1].ts_data_us * 1000 < event.known_at_ns:
            scorecard.on_message(queue.pop())
        for one in scorecard.on_clock(event.known_at_ns - 1):
            assert one.ts_ns + 62 * MINUTE_NS <= event.known_at_ns
        scorecard.on_event(event)


@pytest.mark.parametrize("name", LABELS)
def test_a_snapshot_in_the_middle_goes_on_bit_for_bit(name, events):
    card, messages, half = card_of(LABELS[name]), messages_of(events), len(events) // 2
    whole = Scorecard(card, "m", SPEC)
    drive(whole, events, messages)
    first = Scorecard(card, "m", SPEC)
    at_ns = events[half].known_at_ns
    before = [m for m in messages if m.ts_data_us * 1000 < at_ns]
    drive(first, events[:half], before, until_ns=at_ns - 1)
    second = Scorecard(card, "m", SPEC)
    second.restore(first.snapshot())
    assert second.snapshot() == first.snapshot()
    drive(second, events[half:], messages[len(before) :])
    assert msgspec.json.encode(second.report()) == msgspec.json.encode(whole.report())


def test_what_a_snapshot_has_heard_is_not_counted_twice(events):
    scorecard, messages = Scorecard(card_of(LABELS["threshold"]), "m", SPEC), messages_of(events)
    drive(scorecard, events, messages)
    again = Scorecard(scorecard.card, "m", SPEC)
    again.restore(scorecard.snapshot())
    for event in events:
        again.on_event(event)
    assert again.snapshot() == scorecard.snapshot()


def test_what_is_no_snapshot_or_anothers_is_refused_and_changes_nothing(events):
    card = card_of(LABELS["threshold"])
    scorecard = Scorecard(card, "m", SPEC)
    drive(scorecard, events[:2000], messages_of(events)[:50])
    before = scorecard.snapshot()
    for wrong in (b"", b"nonsense", before[:-9], Scorecard(card, "other", SPEC).snapshot()):
        with pytest.raises(StepError):
            scorecard.restore(wrong)
        assert scorecard.snapshot() == before


def test_a_hole_and_a_feed_that_died_leave_rows_out_and_are_no_zeros(events):
    card, messages = card_of(LABELS["threshold"]), messages_of(events)
    hole = events[0].known_at_ns + DAY_NS
    gap = Gap(venue="simulated", symbol="SIMUSDT", event_ns=hole, known_at_ns=hole + 3 * HOUR_NS, feed=Feed.ALL,
              reason=Broken(1))  # fmt: skip
    with_gap = sorted([*events, gap], key=lambda e: e.known_at_ns)
    scorecard = Scorecard(card, "m", SPEC)
    outcomes = drive(scorecard, with_gap, messages)
    assert not [o for o in outcomes if hole - 50 * MINUTE_NS < o.ts_ns < hole + 170 * MINUTE_NS]
    assert scorecard.report().left_out["liquidations not recorded"] > 30
    quiet = [e for e in events if kind(e) != "Liquidation" or e.known_at_ns < hole]
    scorecard = Scorecard(card, "m", SPEC)
    last_print = max(e.event_ns for e in quiet if kind(e) == "Liquidation")
    outcomes = drive(scorecard, quiet, messages)
    assert max(o.ts_ns for o in outcomes) < last_print
    assert sum(scorecard.report().left_out.values()) > 0
    assert scorecard.report().waiting > 100


def test_time_in_which_the_program_did_not_run_leaves_rows_out(events):
    scorecard, messages = Scorecard(card_of(LABELS["threshold"]), "m", SPEC), messages_of(events)
    stop, again = (events[0].known_at_ns + at for at in (DAY_NS, DAY_NS + 2 * HOUR_NS))
    drive(scorecard, [e for e in events if e.known_at_ns <= stop],
          [m for m in messages if m.ts_data_us * 1000 <= stop])  # fmt: skip
    scorecard.breaks(again)
    outcomes = drive(scorecard, [e for e in events if e.known_at_ns > again],
                     [m for m in messages if m.ts_data_us * 1000 > again])  # fmt: skip
    assert not [o for o in outcomes if stop - 50 * MINUTE_NS < o.ts_ns < again]
    assert len([o for o in outcomes if o.ts_ns > again]) > 100


# Switching off


def alarming(count, came, every_hours=2):
    """So many alarms of longs, the first of which come true, each alone in its hours; and prints all along."""
    begin_ns = 20_000 * DAY_NS - HOUR_NS
    where = {"venue": "simulated", "symbol": "SIMUSDT", "side": 0}
    messages, events = [], [Liquidation(**where, event_ns=begin_ns, known_at_ns=begin_ns, usd=1.0)]
    for number in range(count * every_hours + 3):
        at_ns = 20_000 * DAY_NS + number * HOUR_NS
        is_alarm = number % every_hours == 0 and number < count * every_hours
        messages.append(probability(at_ns, number, [[0.9 * is_alarm] * 2, [0.0] * 2]))
        usd = 4e5 if is_alarm and number // every_hours < came else 1.0
        for minute in (5, 30, 59):
            when = at_ns + minute * MINUTE_NS
            events.append(Liquidation(**where, event_ns=when, known_at_ns=when, usd=usd if minute == 5 else 1.0))
    return events, messages


@pytest.mark.parametrize(
    ("came", "of", "is_off"),
    # upper ends of Wilson's interval, scipy: 3 of 60 is 0.1370, 2 of 60 is 0.1136, 7 of 100 is 0.1375, 29 too few
    [(3, 60, True), (4, 60, False), (0, 29, False), (0, 30, True), (60, 60, False)],
)
def test_a_symbol_is_switched_off_when_all_of_the_interval_lies_below_the_bound(came, of, is_off):
    spec = ScorecardSpec(least_precision=0.15, least_alarms=30)
    scorecard = Scorecard(card_of(LABELS["threshold"]), "m", spec)
    events, messages = alarming(of, came)
    drive(scorecard, events, messages)
    found = next(s for s in scorecard.report().sides if (s.side, s.horizon_minutes) == ("long", 60))
    assert (found.alarms.precision.came, found.alarms.precision.of) == (came, of)
    upper = scipy.stats.binomtest(came, of).proportion_ci(method="wilson").high
    assert found.alarms.precision.high == pytest.approx(upper, abs=1e-6)
    assert bool(scorecard.off) == is_off == (upper < 0.15 and of >= 30)
    if is_off:
        assert "long alarms within 60 min" in scorecard.off
        assert "switched OFF" in text(scorecard.report())


def test_it_stays_off_until_it_is_switched_on_and_then_needs_new_alarms_to_go_off_again():
    scorecard = Scorecard(card_of(LABELS["threshold"]), "m", ScorecardSpec())
    events, messages = alarming(90, 0)
    cut_ns = events[len(events) // 2].known_at_ns
    drive(scorecard, [e for e in events if e.known_at_ns <= cut_ns],
          [m for m in messages if m.ts_data_us * 1000 <= cut_ns], until_ns=cut_ns)  # fmt: skip
    assert scorecard.off
    again = Scorecard(scorecard.card, "m", ScorecardSpec())
    again.restore(scorecard.snapshot())
    assert again.off == scorecard.off
    again.switch_on(cut_ns)
    later = [e for e in events if e.known_at_ns > cut_ns], [m for m in messages if m.ts_data_us * 1000 > cut_ns]
    drive(again, later[0][:60], later[1][:20])
    assert not again.off
    drive(again, later[0][60:], later[1][20:])
    assert again.off


# Figures


@given(of=st.integers(1, 500), data=st.data())
def test_wilson_is_that_of_scipy(of, data):
    came = data.draw(st.integers(0, of))
    found = figures.share(came, of)
    expected = scipy.stats.binomtest(came, of).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0 <= found.low <= found.share + 1e-9 <= found.high + 2e-9 <= 1 + 2e-9


def test_of_none_nothing_is_known():
    assert math.isnan(figures.share(0, 0).high)
    assert math.isnan(figures.brier(np.zeros(0), np.zeros(0)))


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1), st.booleans()), min_size=1, max_size=40),
       st.integers(1, 6))  # fmt: skip
def test_the_best_k_are_the_highest_that_lie_a_horizon_apart(rows, k):
    gaps, p, truth = (np.array(column) for column in zip(*rows, strict=True))
    ts = np.cumsum(gaps) * MINUTE_NS
    found = figures.top(ts, p, truth, 30 * MINUTE_NS, k).precision
    left, taken = sorted(range(len(p)), key=lambda i: (-p[i], i)), []
    while left and len(taken) < k:
        taken.append(left[0])
        left = [i for i in left if abs(ts[i] - ts[taken[-1]]) >= 30 * MINUTE_NS]
    assert (found.of, found.came) == (len(taken), sum(truth[i] for i in taken))


def test_lead_is_from_the_first_row_of_an_alarm_to_the_event():
    ts = np.array([0, 5, 10, 40, 45, 100]) * MINUTE_NS
    p = np.array([0.9, 0.9, 0.1, 0.9, 0.9, 0.9])
    truth = np.array([False, True, True, False, False, True])
    came = np.array([0, 18, 18, 0, 0, 107]) * MINUTE_NS
    found = figures.alarms(ts, p, truth, came, 0.5, 15 * MINUTE_NS, 10 * MINUTE_NS)
    assert found.ts_ns.tolist() == [0, 40 * MINUTE_NS, 100 * MINUTE_NS]
    assert found.came.tolist() == [True, False, True]
    made = figures.alarm_figures(found, 0.5, 0.5)
    assert made.lead_minutes == (9.75, 12.5, 15.25)
    assert made.false_a_day == 2.0


@settings(max_examples=20, deadline=None)
@given(slope=st.floats(0.4, 2.0), seed=st.integers(0, 1000))
def test_the_calibration_slope_is_found_again(slope, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 1.5, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-slope * x))
    assert figures.calibration_slope(1 / (1 + np.exp(-x)), truth) == pytest.approx(slope, abs=0.12)


def test_a_slope_that_nothing_shows_is_not_known():
    assert math.isnan(figures.calibration_slope(np.full(50, 0.3), np.arange(50) % 2 == 0))
    apart = np.array([0.1] * 20 + [0.9] * 20)
    assert math.isnan(figures.calibration_slope(apart, apart > 0.5))


def test_months_are_those_of_the_calendar_and_need_enough_for_a_slope():
    ts = np.array(["2026-01-31T23:55", "2026-02-01T00:00"], "datetime64[ns]").astype(np.int64)
    made = figures.months(ts, np.array([0.2, 0.4]), np.array([False, True]), SPEC)
    assert [(m.month, m.rows, m.came) for m in made] == [("2026-01", 1, 0), ("2026-02", 1, 1)]
    assert all(math.isnan(m.slope) for m in made)


def test_trades_are_counted_by_what_their_exit_says():
    scorecard = Scorecard(card_of(LABELS["threshold"]), "m", SPEC)
    at_us = 20_000 * DAY_NS // 1000
    for seq, brought in enumerate((1.25, -0.5, None)):
        scorecard.on_message(msgspec.structs.replace(exit_(seq), r_multiple=brought, ts_data_us=at_us))
    scorecard.on_clock(20_000 * DAY_NS)
    made = scorecard.report().trades[0]
    assert (made.side, made.trades, made.won, made.unknown) == ("long", 3, 1, 1)
    assert (made.mean_r, made.total_r) == (0.375, 0.75)


def test_a_message_that_comes_twice_counts_once(events):
    scorecard, messages = Scorecard(card_of(LABELS["threshold"]), "m", SPEC), messages_of(events)
    twice = [m for one in messages for m in (one, one)]
    drive(scorecard, events, twice)
    once = Scorecard(scorecard.card, "m", SPEC)
    drive(once, events, messages)
    assert once.report() == scorecard.report() or msgspec.json.encode(once.report()) == msgspec.json.encode(
        scorecard.report()
    )


def test_the_file_that_ships_holds_the_defaults():
    assert read_scorecard_spec(Path(__file__).parents[1] / "configs" / "scorecard.yaml") == ScorecardSpec()


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("squeeze.tools.scorecard.scorecard.MOST_ROWS", 20)
    monkeypatch.setattr("squeeze.tools.scorecard.record.MOST_PRINTS", 50)
    scorecard = Scorecard(card_of(LABELS["threshold"]), "m", SPEC)
    drive(scorecard, *alarming(60, 3))
    assert len(scorecard._rows) == 20
    assert len(scorecard.record._prints) <= 50
