"""Rows and their truth, over lakes that one can read."""

import numpy as np
import pytest

from squeeze.errors import DataError, LakeError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.spec import LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from training.labels import episodes, rows

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
