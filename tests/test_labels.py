"""Rows and their truth, over lakes that one can read."""

import msgspec
import numpy as np
import pytest

from squeeze.errors import DataError, LakeError
from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Feed
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import AT_THE_END, INSIDE, NO_BARS, NO_LIMIT, NOT_RECORDED, Rows, episodes, labelled, rows
from squeeze.spec import LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from training.labels.checks import require_events
from training.splits import Block

DAY = 20_000 * DAY_NS
"""A UTC midnight."""


def spec_of(kind, horizons=(60,), every=60, threshold=100.0, step=300):
    liquidations = StreamSpec(venue="v", kinds=(kind,))
    return Spec(
        market=MarketSpec(
            symbol="S", step_seconds=step, bars=StreamSpec(venue="v", kinds=("bar_5m",)), liquidations=liquidations
        ),
        map=MapSpec(open_interest="volume"),
        label=LabelSpec(
            name="l", threshold_usd=threshold, horizons_minutes=horizons, every_minutes=every, recorded="rows"
        ),
        signal=SignalSpec(horizon_minutes=horizons[-1]),
    )


def hourly(folder, hours, long_usd, short_usd=None):
    """A lake of sums over the hours that open at these offsets."""
    lake, opens = Lake(folder), DAY + np.array(hours) * HOUR_NS
    columns = {
        "event_ns": opens + HOUR_NS,
        "known_at_ns": opens + HOUR_NS,
        "quality": np.zeros(len(opens), np.int32),
        "cadence_ns": np.full(len(opens), HOUR_NS),
        "long_usd": np.array(long_usd, float),
        "short_usd": np.array(short_usd or [0.0] * len(opens), float),
    }
    lake.write("liquidation_1h", "v", "S", columns)
    return lake


def printed(folder, minutes, usd, sides):
    lake, at = Lake(folder), DAY + (np.array(minutes) * MINUTE_NS).astype(np.int64)
    columns = {
        "event_ns": at,
        "known_at_ns": at,
        "quality": np.zeros(len(at), np.int32),
        "place": np.zeros(len(at), np.int64),
        "side": np.array(sides, np.int64),
        "usd": np.array(usd, float),
        "size_base": np.full(len(at), np.nan),
        "price": np.full(len(at), np.nan),
    }
    lake.write("liquidation", "v", "S", columns)
    return lake


def hours_of(found):
    return ((found.ts_ns - DAY) // HOUR_NS).tolist()


def minutes_of(found):
    return ((found.ts_ns - DAY) // MINUTE_NS).tolist()


def test_the_threshold_must_be_exceeded(tmp_path):
    lake = hourly(tmp_path, [0, 1, 2], [100.0, 100.00001, 99.0], [0.0, 0.0, 101.0])
    found = rows(lake, spec_of("liquidation_1h"))
    assert hours_of(found) == [0, 1, 2]
    assert found.truth[:, :, 0].tolist() == [[False, False], [True, False], [False, True]]


def test_an_hour_that_was_not_recorded_gives_no_row(tmp_path):
    found = rows(hourly(tmp_path, [0, 1, 3, 4], [1, 2, 3, 4]), spec_of("liquidation_1h"))
    assert hours_of(found) == [0, 1, 3, 4]


def test_a_horizon_over_an_hour_that_was_not_recorded_gives_no_row(tmp_path):
    lake = hourly(tmp_path, [0, 1, 2, 4, 5], [60, 60, 60, 60, 30])
    found = rows(lake, spec_of("liquidation_1h", horizons=(60, 120)))
    assert hours_of(found) == [0, 1, 4]
    assert found.truth[:, 0].tolist() == [[False, True], [False, True], [False, False]]


def test_a_sum_that_is_nan_was_not_recorded(tmp_path):
    found = rows(hourly(tmp_path, [0, 1, 2, 3], [200, np.nan, 200, 200]), spec_of("liquidation_1h", horizons=(60, 120)))
    assert (hours_of(found), found.truth[:, 0].tolist()) == ([2], [[True, True]])


def test_what_comes_true_within_a_short_horizon_comes_true_within_a_longer(tmp_path):
    usd = np.random.default_rng(0).uniform(0, 80, 200)
    found = rows(hourly(tmp_path, range(200), usd), spec_of("liquidation_1h", horizons=(60, 120, 240)))
    assert (np.diff(found.truth.astype(int), axis=2) >= 0).all()
    assert found.truth[:, 0].mean(axis=0).tolist() == sorted(set(found.truth[:, 0].mean(axis=0)))


def test_a_horizon_that_is_no_whole_interval_is_refused(tmp_path):
    with pytest.raises(DataError, match="whole intervals of 1h"):
        rows(hourly(tmp_path, [0, 1], [1, 1]), spec_of("liquidation_1h", horizons=(30, 60)))


def test_silence_between_prints_is_zero(tmp_path):
    # One print at 00:02, the next at 09:58; a row needs a whole bar behind it and three ahead of it.
    lake = printed(tmp_path, [2, 598], [500, 101], [0, 1])
    found = rows(lake, spec_of("liquidation", horizons=(15,), every=5))
    assert minutes_of(found) == list(range(5, 590, 5))
    assert not found.truth[:, 0].any(), "the long print is in the row's own past"
    # 598 lies within [585, 600) alone: [590, 605) would end after the bar of the last print.
    assert np.flatnonzero(found.truth[:, 1, 0]).tolist() == [len(found) - 1]
    assert minutes_of(found)[-1] == 585


def test_a_day_without_a_print_ends_a_run(tmp_path):
    minutes = [0, 30, 3 * 1440 + 7, 3 * 1440 + 47]
    found = rows(
        printed(tmp_path, minutes, [1, 1, 1, 1], [0, 0, 0, 0]), spec_of("liquidation", horizons=(15,), every=5)
    )
    first, second = list(range(5, 25, 5)), list(range(3 * 1440 + 10, 3 * 1440 + 40, 5))
    assert minutes_of(found) == first + second


def test_prints_on_consecutive_days_are_one_run(tmp_path):
    found = rows(printed(tmp_path, [3, 1440 + 1438], [1, 1], [0, 0]), spec_of("liquidation", horizons=(15,), every=5))
    assert minutes_of(found) == list(range(5, 1440 + 1430, 5))


def test_a_print_at_the_decision_counts_and_one_at_the_horizon_does_not(tmp_path):
    minutes = [0, 20, 35, 100]
    lake = printed(tmp_path, minutes, [1, 101, 101, 1], [0, 0, 1, 0])
    found = rows(lake, spec_of("liquidation", horizons=(15,), every=5))
    true = {s: [m for m, t in zip(minutes_of(found), found.truth[:, s, 0], strict=True) if t] for s in (0, 1)}
    assert true == {0: [10, 15, 20], 1: [25, 30, 35]}


def test_prints_add_up_to_pass_the_threshold_by_side(tmp_path):
    lake = printed(tmp_path, [0, 10, 11, 12, 100], [1, 60, 60, 60, 1], [0, 0, 0, 1, 0])
    found = rows(lake, spec_of("liquidation", horizons=(15,), every=5))
    assert found.truth[minutes_of(found).index(10), :, 0].tolist() == [True, False]


def test_no_row_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="gives no complete interval"):
        rows(printed(tmp_path, [3], [1], [0]), spec_of("liquidation", horizons=(15,), every=5))


def test_a_label_needs_its_stream(tmp_path):
    with pytest.raises(LakeError, match="no liquidation of v S"):
        rows(Lake(tmp_path), spec_of("liquidation", horizons=(15,), every=5))


def test_positives_within_four_hours_are_one_episode():
    ts = np.array([0, 3, 6, 10, 30]) * HOUR_NS
    assert episodes(ts, np.ones(5, bool)) == 3
    assert episodes(ts, np.zeros(5, bool)) == 0


# Holes, onsets and shocks of price.


def bars(lake, minutes, close, kind="bar_1m", cadence=1):
    """Bars that close at these minutes after the midnight, high and low at their close."""
    at, close = DAY + np.array(minutes, np.int64) * MINUTE_NS, np.array(close, float)
    columns = {
        "event_ns": at,
        "known_at_ns": at,
        "quality": np.zeros(len(at), np.int32),
        "cadence_ns": np.full(len(at), cadence * MINUTE_NS),
        **{name: close for name in ("open", "high", "low", "close")},
        "volume_base": np.ones(len(at)),
        "taker_buy_base": np.full(len(at), np.nan),
    }
    lake.write(kind, "v", "S", columns)


def broke(lake, begin_minute, end_minute, feed=Feed.ALL):
    """A hole of a venue's feed."""
    at = DAY + (np.array([begin_minute, end_minute]) * MINUTE_NS).astype(np.int64)
    columns = {"event_ns": at[:1], "known_at_ns": at[1:], "quality": np.zeros(1, np.int32)}
    columns |= {"feed": np.array([int(feed)]), "reason": np.zeros(1, np.int64), "depth": np.full(1, -1)}
    lake.write("gap", "v", "S", columns)


def changed(spec, **label):
    return msgspec.structs.replace(spec, label=msgspec.structs.replace(spec.label, **label))


def label_for(event, horizons=(15,), every=5, step=60, **constants):
    """A spec on one-minute bars whose label is of an event."""
    spec = spec_of("liquidation", horizons=horizons, every=every, step=step)
    made = {"onset": CascadeSpec, "price": PriceCascadeSpec}[event](**constants)
    spec = changed(spec, event=event, threshold_usd=None, **{event: made})
    market = msgspec.structs.replace(spec.market, bars=StreamSpec(venue="v", kinds=("bar_1m",)))
    return msgspec.structs.replace(spec, market=market)


@pytest.mark.parametrize(("end", "lost"), [(31.5, []), (31.51, [20, 25, 30])])
def test_a_hole_of_more_than_a_tenth_of_a_horizon_takes_its_rows(tmp_path, end, lost):
    lake = printed(tmp_path, [0, 200], [1, 1], [0, 0])
    broke(lake, 30, end)
    found = labelled(lake, spec_of("liquidation", horizons=(15,), every=5))
    assert sorted({*range(5, 190, 5)} - {*minutes_of(found.rows)}) == lost
    assert [(t - DAY) // MINUTE_NS for t in found.masked[NOT_RECORDED].tolist()] == [0, *lost], "none before a print"


def test_the_shortest_horizon_feels_a_hole_first(tmp_path):
    lake = printed(tmp_path, [0, 200], [1, 1], [0, 0])
    broke(lake, 30, 31)
    found = rows(lake, spec_of("liquidation", horizons=(5, 60), every=5))
    assert sorted({*range(5, 150, 5)} - {*minutes_of(found)}) == [30], "a minute of five, but not of sixty"


def test_a_hole_in_the_trades_alone_is_none_in_the_liquidations(tmp_path):
    lake = printed(tmp_path, [0, 200], [1, 1], [0, 0])
    broke(lake, 30, 60, Feed.TRADES)
    assert 30 in minutes_of(rows(lake, spec_of("liquidation", horizons=(15,), every=5)))


BURST = 2 * 1440 + 100
"""The minute of the burst: two days in."""


@pytest.fixture(scope="module")
def burst(tmp_path_factory):
    """Two quiet days with a print each half hour, then five prints of longs within five seconds and a fall of 2 %."""
    quiet = np.arange(0, 2 * 1440 + 600, 30.0)
    five = BURST + np.arange(1, 6) / 60
    minutes, usd = np.append(quiet, five), np.append(np.full(len(quiet), 1e3), np.full(5, 1e5))
    lake = printed(tmp_path_factory.mktemp("burst"), minutes, usd, np.zeros(len(minutes)))
    at = np.arange(1, 2 * 1440 + 600)
    bars(lake, at, np.where(at > BURST, 98.0, 100 + 0.01 * (-1.0) ** at))
    return lake


def true_minutes(found, side, horizon):
    return [m for m, t in zip(minutes_of(found), found.truth[:, side, horizon], strict=True) if t]


def test_an_onset_counts_for_the_rows_whose_horizon_reaches_it_and_no_longer(burst):
    found = labelled(burst, label_for("onset", horizons=(5, 15, 60)))
    # The onset is the fifth print, five seconds into the minute: with the guard it is the row's own, and is left out.
    assert found.events.onset_ns.tolist() == [DAY + BURST * MINUTE_NS + 5 * SECOND_NS]
    assert [true_minutes(found.rows, 0, h) for h in range(3)] == [
        [],
        [BURST - 10, BURST - 5],
        [*range(BURST - 55, BURST, 5)],
    ]
    assert not found.rows.truth[:, 1].any()


def test_rows_inside_an_event_or_up_to_five_minutes_after_it_are_left_out(burst):
    found = labelled(burst, label_for("onset"))
    end_ns = int(found.events.end_ns[0])  # 65 s after the minute: the prints have left the window
    assert end_ns == DAY + BURST * MINUTE_NS + 65 * SECOND_NS
    assert ((found.masked[INSIDE] - DAY) // MINUTE_NS).tolist() == [BURST, BURST + 5]
    spared = labelled(burst, changed(label_for("onset"), guard_seconds=4.0, after_minutes=3.0))
    assert ((spared.masked[INSIDE] - DAY) // MINUTE_NS).tolist() == []


def test_rows_before_there_is_a_quantile_and_near_the_end_are_left_out(burst):
    found = labelled(burst, label_for("onset"))
    assert minutes_of(found.rows)[0] == 1440, "a day of prints comes first"
    assert set(((found.masked[NO_LIMIT] - DAY) // MINUTE_NS).tolist()) == set(range(0, 1440, 5))
    # The last print is at 2 × 1440 + 570; bars go on for the five minutes that an onset looks ahead.
    assert minutes_of(found.rows)[-1] == 2 * 1440 + 570 - 15
    assert AT_THE_END in found.masked


def test_the_version_names_source_completeness_and_what_was_not_evaluated(burst):
    version = labelled(burst, label_for("onset")).version
    assert version.startswith("L1 onsets of liquidation of v S (not flagged as incomplete), bars of 60 s")
    assert "open_interest_share: open interest was not recorded" in version
    other = labelled(burst, label_for("onset", floor_usd=300_000.0)).version
    assert version.rpartition(" ")[0] == other.rpartition(" ")[0]
    assert version != other, "the digest of the constants"


def test_a_shock_of_price_makes_rows_without_any_liquidation(tmp_path):
    lake, at = Lake(tmp_path), np.arange(1, 1440 + 300)
    bars(lake, at, np.where(at > 1440 + 100, 102.0, 100 + 0.01 * (-1.0) ** at))
    spec = label_for("price", horizons=(5, 15))
    spec = msgspec.structs.replace(spec, market=msgspec.structs.replace(spec.market, liquidations=None))
    found = labelled(lake, spec)
    assert true_minutes(found.rows, 1, 0) == [1440 + 100], "the first window that holds it ends a minute later"
    assert true_minutes(found.rows, 1, 1) == [1440 + 90, 1440 + 95, 1440 + 100]
    assert not found.rows.truth[:, 0].any()
    assert "taker_ratio: taker flow was not recorded" in found.version
    assert minutes_of(found.rows)[-1] == 1440 + 280


def test_rows_over_missing_bars_are_no_zeros(tmp_path):
    lake = Lake(tmp_path)
    at = np.array([m for m in range(1, 1700) if not 1500 <= m < 1503])  # three minutes of fifteen
    bars(lake, at, 100 + 0.01 * (-1.0) ** at)
    found = labelled(lake, label_for("price"))
    assert ((found.masked[NO_BARS] - DAY) // MINUTE_NS).tolist() == [1490, 1495, 1500]
    # 1485 lacks one minute of its fifteen. The five windows after the hole reach into it: 1505 lacks the last two.
    assert ((found.masked[NO_LIMIT] - DAY) // MINUTE_NS).tolist()[-1] == 1505


def test_sums_make_onsets_at_whole_intervals(tmp_path):
    hours = np.arange(60)
    lake = hourly(tmp_path, hours, np.where(hours == 50, 1e6, 1e3).tolist(), [0.0] * 60)
    at = np.arange(1, 60 * 60 + 1)
    bars(lake, at, np.where(at > 50 * 60 + 30, 98.0, 100 + 0.01 * (-1.0) ** at))
    spec = label_for("onset", horizons=(60, 120), every=30)
    liquidations = StreamSpec(venue="v", kinds=("liquidation_1h",))
    spec = msgspec.structs.replace(spec, market=msgspec.structs.replace(spec.market, liquidations=liquidations))
    found = rows(lake, spec)
    assert all(minute % 60 == 0 for minute in minutes_of(found))
    assert [true_minutes(found, 0, h) for h in range(2)] == [[3000], [2940, 3000]]
    with pytest.raises(DataError, match="whole intervals of 1h"):
        rows(lake, changed(spec, horizons_minutes=(90, 120)))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"event": "price", "threshold_usd": None}, "price is given just where the event is price"),
        ({"event": "onset", "onset": CascadeSpec()}, "threshold_usd is given just where the event is threshold"),
        ({"threshold_usd": None}, "threshold_usd is given just where the event is threshold"),
        ({"guard_seconds": 3600.0}, "guard_seconds is shorter than any horizon"),
        ({"gap_share": 1.0}, "gap_share a share"),
    ],
)
def test_a_label_that_cannot_hold_is_refused(keys, said):
    with pytest.raises(ValueError, match=said):
        changed(spec_of("liquidation"), **keys)


def two_blocks(truth):
    """Rows of a hundred hours, the second half of them tested in two blocks."""
    ts = np.arange(100) * HOUR_NS
    parts = [Block(0, 48 * HOUR_NS, 50 * HOUR_NS, 75 * HOUR_NS), Block(1, 73 * HOUR_NS, 75 * HOUR_NS, 101 * HOUR_NS)]
    return Rows(ts, truth), parts


def test_events_enough_in_every_block_pass():
    truth = np.zeros((100, 2, 1), bool)
    truth[::10, 0] = True
    require_events(*two_blocks(truth)[:1], spec_of("liquidation").label, two_blocks(truth)[1])


@pytest.mark.parametrize(
    ("positives", "said"),
    [
        (range(0), "block 0: 0 of its 49 training rows and sides are positive within 60 minutes; at least 5"),
        (range(0, 40, 10), "block 0: 4 of its 49 training rows"),
    ],
)
def test_too_few_events_are_refused_with_label_rows_and_need(positives, said):
    truth = np.zeros((100, 2, 1), bool)
    truth[list(positives), 1] = True
    found, parts = two_blocks(truth)
    with pytest.raises(DataError, match=f"label l, {said}"):
        require_events(found, spec_of("liquidation").label, parts)


def test_a_test_block_without_a_positive_stops_no_training():
    truth = np.zeros((100, 2, 1), bool)
    truth[:49, 1] = np.arange(49)[:, None] % 2 == 0
    found, parts = two_blocks(truth)
    require_events(found, spec_of("liquidation").label, parts)


def test_a_label_that_never_fails_to_come_true_is_refused():
    found, parts = two_blocks(np.ones((100, 2, 1), bool))
    with pytest.raises(DataError, match="all of its 49 training rows are positive on both sides within 60 minutes"):
        require_events(found, spec_of("liquidation").label, parts)
