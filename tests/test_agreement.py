"""How two kinds of event are compared: overlaps, offsets, κ, what is searched, and that it never looks back."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.outcomes import Bars, Liquidations, price_measures
from squeeze.outcomes.rows import rows
from training.labels.agreement import (
    DROPS,
    LEAST_MOVES,
    SIGMAS,
    TAKER_RATIOS,
    Ground,
    Spans,
    agree,
    constants,
    crossed,
    grid,
    kappa_of,
    lines,
    matched,
    measured,
    tune,
)
from training.labels.grounds import recorded_ground, simulated_grounds, sums_over
from training.labels.report import span_of


def events(*spans, side=0):
    """Events of one side from (begin, end) in minutes."""
    begin, end = (np.array(spans, float).reshape(-1, 2).T * MINUTE_NS).astype(np.int64)
    return Spans(begin, end, begin, np.full(len(begin), side))


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=8).map(
    lambda gaps: [
        (sum(a + b + 1 for a, b in gaps[:i]) + a, sum(a + b + 1 for a, b in gaps[:i]) + a + b)
        for i, (a, b) in enumerate(gaps)
    ]
)


@given(SPANS, SPANS)
def test_overlaps_are_those_of_every_pair(one, two):
    near = [[a0 - 5 <= b1 and b0 <= a1 + 5 for b0, b1 in two] for a0, a1 in one]
    right, found, apart = matched(events(*one), events(*two))
    assert found == sum(map(any, near))
    assert right == sum(any(row[i] for row in near) for i in range(len(two)))
    assert apart.tolist() == [
        60.0 * (two[row.index(True)][0] - a0) for (a0, _), row in zip(one, near, strict=True) if any(row)
    ]


def test_an_event_of_the_other_side_is_no_match():
    assert matched(events((0, 10)), events((0, 10), side=1))[:2] == (0, 0)


def test_kappa_is_one_for_equals_zero_for_chance_and_below_it_for_opposites():
    assert kappa_of(np.array([[9, 0], [0, 1]])) == 1.0
    assert kappa_of(np.array([[64, 16], [16, 4]])) == 0.0
    assert kappa_of(np.array([[0, 5], [5, 0]])) == -1.0
    assert np.isnan(kappa_of(np.array([[10, 0], [0, 0]]))), "where neither says anything"


DAYS = 8
SHOCKS = [(day * 1440 + 700, side) for day in range(2, DAYS) for side in (0, 1)]
"""Minutes of a shock of price: longs at 11:40, shorts an hour later."""


def ground(moves, name="made"):
    """Quiet minutes with shocks of these sizes (one for each of `SHOCKS`), each of them an L1 event of two minutes."""
    at = np.arange(1, DAYS * 1440 + 1)
    log = np.where(at % 2, 1e-4, 0.0)
    shocks = [(minute + 60 * side, side) for minute, side in SHOCKS]
    for (minute, side), move in zip(shocks, moves, strict=True):
        log = log + np.where(at > minute, -move if side == 0 else move, 0.0)
    close = 100 * np.exp(log)
    bars = Bars(at * MINUTE_NS, close, close, close, MINUTE_NS)
    measures = measured(PriceCascadeSpec(), lambda spec: price_measures(bars, None, None, spec))
    onset = np.array([minute for minute, _ in shocks]) * MINUTE_NS
    side = np.array([side for _, side in shocks])
    truth = Spans(onset, onset + 2 * MINUTE_NS, onset, side)
    return Ground(name, truth, measures, next(iter(measures.values())).watched & (at > 1440), 15, True)


def test_what_is_tuned_is_found_on_the_first_half_and_judged_on_the_second():
    # Shocks of 0.5 % are under the default floor of 0.6 %; those of the second half are under the one that finds them.
    first, later = [0.005] * 4, [0.0035] * 8  # of the seven days that are watched the first three, then four
    found = tune("made", [ground([*first, *later])])
    assert (found.default_first.l2, found.default_first.f1) == (0, 0.0)
    assert found.spec.least_move == 0.004, "the strictest of those that find all"
    assert (found.first.l1, found.first.l2, found.first.f1, found.first.kappa) == (4, 4, 1.0, 1.0)
    assert (found.second.l1, found.second.l2, found.second.recall) == (8, 0, 0.0)
    assert found.first.offsets_seconds == (60.0,) * 5, "a shock is seen at the close of its minute"
    assert found.first.days + found.second.days == DAYS - 1


def test_the_second_half_does_not_move_the_choice():
    first = [0.005, 0.008, 0.003, 0.012]
    one, two = (tune("made", [ground([*first, *later])]) for later in ([0.02] * 8, [0.001] * 8))
    assert one.spec == two.spec
    assert one.first == two.first
    assert one.second != two.second


def test_grounds_add_up():
    some, more = ground([0.01] * 12), ground([0.003] * 12)
    spec = PriceCascadeSpec()
    both, one, two = (agree(each, spec) for each in ([some, more], [some], [more]))
    assert [both.l1, both.l2, both.l1_found] == [one.l1 + two.l1, one.l2 + two.l2, one.l1_found + two.l1_found]
    assert (one.recall, both.recall, two.recall) == (1.0, 0.5, 0.0)
    assert np.isnan(two.precision)


def test_the_grid_asks_only_what_the_data_can_answer():
    measures = ground([0.01] * 12).measures
    tried = list(grid(measures, PriceCascadeSpec()))
    assert len(tried) == len(SIGMAS) * len(LEAST_MOVES)
    assert (tried[0].sigmas, tried[0].least_move) == (max(SIGMAS), max(LEAST_MOVES)), "the strictest first"
    assert {each.taker_ratio for each in tried} == {PriceCascadeSpec().taker_ratio}
    assert len(DROPS) * len(TAKER_RATIOS) > 1


def test_cells_are_those_that_were_watched_throughout():
    made = ground([0.01] * 12)
    made = Ground(
        made.name, made.truth, made.by_quantile, made.common & (made.measures.closes_ns % HOUR_NS != 0), 60, True
    )
    assert crossed(made, made.truth, made.truth).sum() == 0
    made = Ground(made.name, made.truth, made.by_quantile, made.measures.closes_ns > 2 * DAY_NS, 60, True)
    table = crossed(made, made.truth, made.truth)
    assert table.sum() == 2 * 24 * (DAYS - 2)
    assert table.tolist() == [[int(table.sum()) - 12, 0], [0, 12]]


def test_without_an_event_there_is_nothing_to_tune_for():
    made = ground([0.01] * 12)
    silent = Ground(made.name, made.truth.where(np.zeros(12, bool)), made.by_quantile, made.common, 15, True)
    with pytest.raises(DataError, match="made: no event of L1 in the first half of its 3 days"):
        tune("made", [silent])
    with pytest.raises(DataError, match="0 days on which both labels are watched"):
        Ground(made.name, made.truth, made.by_quantile, made.common & False, 15, True).half(False)


def test_hours_over_a_threshold_that_follow_each_other_are_one_event():
    ends = np.arange(1, 9) * HOUR_NS
    long_usd = np.array([9, 9, 1, 9, 1, 1, 1, 5.0])
    found = sums_over(Liquidations.sums(ends, HOUR_NS, long_usd, np.full(8, 1.0)), 5.0)
    assert [(b // HOUR_NS, e // HOUR_NS) for b, e in zip(found.begin_ns, found.end_ns, strict=True)] == [(0, 2), (3, 4)]
    assert found.side.tolist() == [0, 0]


def test_a_run_is_compared_before_its_first_test_block_alone(small):
    made = recorded_ground(small.config, small.lake, CascadeSpec(floor_usd=50_000.0))
    _, until_ns, _ = span_of(small.config, small.lake, rows(small.lake, small.config.spec))
    assert made.measures.closes_ns[-1] <= until_ns
    assert made.truth.end_ns.max() <= until_ns
    assert made.measures.length_ns == MINUTE_NS, "the finest bars that there are"
    assert made.measures.drop_share is not None


def test_a_run_without_liquidations_has_nothing_to_compare_with(small):
    market = msgspec.structs.replace(small.config.spec.market, liquidations=None)
    config = msgspec.structs.replace(small.config, spec=msgspec.structs.replace(small.config.spec, market=market))
    with pytest.raises(DataError, match=r"has no market\.liquidations"):
        recorded_ground(config, small.lake)


def test_on_a_simulated_market_tuning_agrees_better_than_the_defaults():
    found = tune("simulator", simulated_grounds([0], days=8))
    assert found.first.f1 > found.default_first.f1
    assert found.not_evaluated == ("basis: the index price was not recorded",)
    table = lines(found)
    assert [(line["half"], line["constants"]) for line in table] == [
        ("first", "default"), ("first", "tuned"), ("second", "default"), ("second", "tuned"),
    ]  # fmt: skip
    assert constants(found).startswith("sigmas ")
    assert "taker_ratio" in constants(found)
