import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.heatmaps.grid import BINS
from squeeze.heatmaps.volume_profile import (
    VolumeProfile,
    VolumeProfileSpec,
    nodes,
    point_of_control,
    smoothed,
    value_area,
    voids,
)
from squeeze.market.events import HOUR_NS, MINUTE_NS, Broken, Feed, Gap, Quality
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from tests.naive_heatmaps import naive_control, naive_value_area, naive_voids

NAN = math.nan
DELTA = 5e-4
START = 1_000 * 24 * HOUR_NS
HERE = 20_000
"""The bin that the mark is in, near a price of 22,000."""
volumes = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.5, 10.0]), min_size=1, max_size=40)


def at(position: float) -> float:
    return math.exp(position * DELTA)


def mark(position: float = HERE + 0.5) -> Candle:
    return Candle(*[at(position)] * 4, 0)


def flow(volume: list[float], first: int = HERE) -> VenueStep:
    return VenueStep(flow=PriceFlow(DELTA, first, tuple(volume), tuple(0.0 for _ in volume)))


def profile(*parts: VenueStep, **fields) -> VolumeProfile:
    """A profile of one window of an hour in six parts, a step a minute."""
    heat = VolumeProfile(VolumeProfileSpec(**{"windows_hours": (1.0,), "slots": 6} | fields))
    for minute, part in enumerate(parts):
        heat.step(part, mark(), START + (minute + 1) * MINUTE_NS)
    return heat


@settings(deadline=None)  # the first example compiles
@given(volumes)
def test_definitions_equal_their_slow_twins(volume):
    cells = np.array(volume)
    assert point_of_control(cells) == naive_control(volume)
    assert value_area(cells) == naive_value_area(volume)
    assert voids(cells, least_bins=2).tolist() == [list(run) for run in naive_voids(volume, least_bins=2)]


@pytest.mark.parametrize(
    ("volume", "bin_"),
    [
        ([0, 0, 0], -1),
        ([0, 3, 0], 1),
        ([5, 1, 1, 5, 1], 3),  # the middle of the range is 2, and 3 is nearer to it than 0
        ([5, 1, 5], 0),  # as near: the lower
        ([0, 0, 5, 1, 1, 1, 5, 2, 0], 6),  # the range is 2 to 7: the empty ends do not count
        ([1, 5, 5, 1], 1),
    ],
)
def test_of_equal_bins_the_one_nearest_the_middle_is_the_point_of_control(volume, bin_):
    assert point_of_control(np.array(volume, float)) == bin_


@pytest.mark.parametrize(
    ("volume", "area"),
    [
        ([0, 0], (0, -1)),
        ([0, 7, 0], (1, 1)),
        ([1, 1, 1, 4, 1, 1, 1], (1, 5)),  # 4 of 10, and a tie: up and down
        ([2, 1, 1, 5, 1, 0, 0], (1, 3)),  # 7 of 10 are exactly enough
        ([0, 9, 1, 10, 2, 2, 0], (1, 3)),  # the pair below, 10, against 4: both rows at once, and 20 of 24 are enough
        ([8, 0, 0, 1, 5], (0, 4)),  # the pair above is empty, and there is nothing below: on to the end
        ([8, 10, 1, 1, 1], (0, 1)),  # one row is left below, and it holds more than two above
        ([1, 10, 1, 1, 8], (1, 4)),  # two rows above against the one that is left below, then one against one
    ],
)
def test_the_value_area_grows_by_pairs_of_rows(volume, area):
    assert value_area(np.array(volume, float)) == area


def test_all_of_the_volume_is_a_value_area_too():
    assert value_area(np.array([0.0, 1.0, 0.0, 3.0, 2.0, 0.0]), 1.0) == (1, 4)


def test_smoothing_keeps_the_volume_inside():
    cells = np.zeros(41)
    cells[20] = 10.0
    smooth = smoothed(cells, 2.0)
    assert smooth.sum() == pytest.approx(10.0)
    assert smooth[20] == pytest.approx(10 * 0.1995, rel=1e-3)
    assert smooth[[11, 29]].tolist() == [0.0, 0.0]  # four deviations, and no further


def hills(*heights: float, apart: int = 30) -> np.ndarray:
    """Bells of a deviation of 4 bins around 20, 20 + apart, …"""
    j = np.arange(40 + apart * (len(heights) - 1))
    return sum(h * np.exp(-0.5 * ((j - 20 - apart * i) / 4) ** 2) for i, h in enumerate(heights))


def test_high_nodes_stand_out_by_a_fifth_of_the_highest():
    assert nodes(hills(10, 2.2)).high.tolist() == [20, 50]
    assert nodes(hills(10, 1.8)).high.tolist() == [20]
    assert nodes(hills(10, 9, apart=20)).high.tolist() == [20, 40]
    # As high, but between the two the profile falls by less than a fifth.
    assert nodes(hills(10, 9, apart=12)).high.tolist() == [20]
    assert nodes(np.zeros(30)).high.size == 0


def test_a_node_may_be_at_the_border_of_the_range():
    cells = np.zeros(20)
    cells[0], cells[-1] = 5.0, 4.0
    assert nodes(cells).high.tolist() == [0, 19]


def test_high_nodes_are_the_peaks_that_scipy_finds():
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(5)
    for _ in range(20):
        cells = rng.exponential(1.0, 300) * np.exp(rng.normal(0, 1, 30)).repeat(10)
        smooth = smoothed(np.pad(cells, 9), 2.0)
        peaks, _ = signal.find_peaks(smooth, prominence=0.2 * smooth.max())
        assert nodes(cells).high.tolist() == (peaks - 9).tolist()


def test_a_low_node_is_the_least_between_two_high_ones_if_low_enough():
    found = nodes(hills(10, 6))
    assert found.low.tolist() == [35]
    # Filled up to half of the smaller: no low node.
    filled = np.maximum(hills(10, 6), np.where(abs(np.arange(70) - 35) < 12, 3.0, 0.0))
    assert nodes(filled).high.tolist() == [20, 50]
    assert nodes(filled).low.size == 0
    # Of an empty stretch the middle: the smoothed hills end 8 bins beyond the last volume.
    cells = np.zeros(61)
    cells[[10, 51]] = 5.0
    assert nodes(cells).low.tolist() == [30]


def test_a_void_holds_at_most_15_percent_of_the_median_and_is_long_enough():
    cells = np.full(60, 10.0)
    cells[10:18] = 1.5  # eight bins, on the limit
    cells[30:37] = 0.0  # seven
    cells[40:50] = 1.6  # above it
    assert voids(cells).tolist() == [[10, 17]]
    assert voids(np.concatenate([np.zeros(20), cells, np.zeros(20)])).tolist() == [[30, 37]], "ends are no voids"
    assert voids(np.zeros(9)).shape == (0, 2)


def test_prices_of_points_and_areas():
    heat = profile(flow([1.0, 8.0, 1.0]), value_share=0.8)
    assert heat.point_of_control(0) == pytest.approx(at(HERE + 1.5))
    assert heat.value_area(0) == pytest.approx((at(HERE + 1), at(HERE + 2)))
    empty = profile(VenueStep(volume_base=0.0))
    assert math.isnan(empty.point_of_control(0))
    assert np.isnan(empty.value_area(0)).all()
    long = profile(flow([8.0] + [0.0] * 9 + [8.0]))
    np.testing.assert_allclose(long.voids(0), [[at(HERE + 1), at(HERE + 10)]])
    np.testing.assert_allclose(long.nodes(0)[0], [at(HERE + 0.5), at(HERE + 10.5)])


def test_a_window_forgets_by_parts():
    """An hour in six parts: what traded in the first ten minutes is there until the part of minute 61 begins."""
    heat = profile(flow([6.0]), *[VenueStep(volume_base=0.0)] * 59)
    assert heat.volume(0).sum() == 6.0
    heat.step(VenueStep(volume_base=0.0), mark(), START + 60 * MINUTE_NS + 1)
    assert heat.volume(0).sum() == 0.0
    assert heat.ledger.tolist() == [[6.0, 6.0, 0.0]]
    # A step that closes on the border belongs to the part before.
    heat = profile(*[VenueStep(volume_base=0.0)] * 9, flow([6.0]), *[VenueStep(volume_base=0.0)] * 50)
    assert heat.volume(0).sum() == 6.0


def test_a_silence_longer_than_the_window_empties_it_and_masks():
    heat = profile(flow([6.0]))
    heat.step(VenueStep(), mark(), START + 5 * HOUR_NS)
    assert heat.volume(0).sum() == 0.0
    assert np.isnan(heat.outward(at(HERE + 0.5), 1e-3, 4)).all()
    assert heat.coverage.tolist() == [0.0]
    assert heat.age_ns == 5 * HOUR_NS - MINUTE_NS


def test_coverage_is_the_share_of_the_window_that_was_recorded():
    heat = profile(*[flow([1.0])] * 30)
    assert heat.coverage.tolist() == [0.5]
    hole = Gap(venue="v", symbol="S", event_ns=1, known_at_ns=2, feed=Feed.TRADES, reason=Broken.DISCONNECTED)
    close_ns = START + 30 * MINUTE_NS
    gone = flow([2.0])
    for n, part in enumerate(
        [
            VenueStep(flow=gone.flow, gaps=(hole,)),
            VenueStep(flow=gone.flow, quality=int(Quality.PARTIAL)),
            VenueStep(),
            VenueStep(volume_base=3.0),  # and no price to put it at
        ]
    ):
        heat.step(part, mark(), close_ns + (n + 1) * MINUTE_NS)
    assert heat.coverage.tolist() == [0.5], "what there was of a step with a hole is added, but does not count"
    assert heat.volume(0).sum() == 34.0
    assert heat.age_ns == 4 * MINUTE_NS
    book_hole = Gap(venue="v", symbol="S", event_ns=1, known_at_ns=2, feed=Feed.BOOK, reason=Broken.CROSSED)
    heat.step(VenueStep(flow=gone.flow, gaps=(book_hole,)), mark(), close_ns + 5 * MINUTE_NS)
    assert heat.age_ns == 0


def test_a_bar_is_spread_evenly_and_said_so():
    bar = Candle(at(HERE + 1.0001), at(HERE + 4.4999), at(HERE + 0.5), at(HERE + 3.0001), 0)
    heat = profile(VenueStep(last=bar, volume_base=4.0))
    assert heat.volume_uniform
    held = heat.volume(0)[BINS // 2 : BINS // 2 + 5]
    np.testing.assert_allclose(held, [0.5, 1.0, 1.0, 1.0, 0.5], rtol=1e-3)
    heat.step(flow([1.0]), mark(), START + HOUR_NS)
    assert not heat.volume_uniform


def test_usd_are_coins_at_the_middle_of_their_bin():
    heat = profile(flow([2.0, 0.0, 1.0]), unit="usd")
    held = heat.volume(0)[BINS // 2 : BINS // 2 + 3]
    np.testing.assert_allclose(held, [2 * at(HERE + 0.5), 0.0, at(HERE + 2.5)])


def test_finer_bins_are_summed_and_others_refused():
    fine = VenueStep(flow=PriceFlow(DELTA / 5, 5 * HERE - 1, (1.0,) * 7, (1.0,) * 7))
    held = profile(fine).volume(0)[BINS // 2 - 1 : BINS // 2 + 2]
    assert held.tolist() == [2.0, 10.0, 2.0]


def test_the_path_holds_the_last_closes_oldest_first():
    parts = [flow([float(n == i) for n in range(6)]) for i in range(5)]
    heat = profile(*parts[:3], path_closes=4)
    assert (heat.path(0) / DELTA - HERE).round(3).tolist() == [0.5, 0.5, 1.5]  # ties: the lower, then the middle
    heat = profile(VenueStep(), *parts[:2], flow([0.0, 3.0]), flow([5.0]), flow([0.0]), path_closes=4)
    assert (heat.path(0) / DELTA - HERE).round(3).tolist() == [0.5, 1.5, 0.5, 0.5]
    assert np.isnan(profile(VenueStep()).path(0)).all()


def test_scalars_are_outward():
    heat = profile(flow([0.0, 0.0, 1.0]), flow([9.0], HERE + 6), path_closes=4)
    names = {name: heat.scalars()[:, i] for i, name in enumerate(heat.scalar_names)}
    np.testing.assert_allclose(names["control_1h"], [-6 * DELTA, 6 * DELTA])
    np.testing.assert_allclose(names["control_drift_1h"], [-4 * DELTA, 4 * DELTA])
    np.testing.assert_allclose(names["value_edge_1h"], [-5.5 * DELTA, 6.5 * DELTA])
    np.testing.assert_allclose(names["volume_coverage_1h"], 2 / 60)


def test_what_traded_beyond_the_array_is_counted_and_not_covered_later():
    far = flow([3.0], HERE - BINS)
    heat = profile(far, flow([1.0]))
    assert heat.ledger.tolist() == [[4.0, 0.0, 3.0]]
    down = Candle(*[at(HERE - BINS + 0.5)] * 4, 0)
    heat.step(VenueStep(volume_base=0.0), down, START + 3 * MINUTE_NS)
    assert np.isnan(heat.outward(down.close, DELTA, 1)).all(), "three coins were there, and are not zero"


def test_the_view_is_split_at_the_mark():
    heat = profile(flow([4.0, 8.0, 2.0], HERE - 1))
    out = heat.outward(at(HERE + 0.25), DELTA, 2)
    np.testing.assert_allclose(out[:, 0], [[0.25 * 8 + 0.75 * 4, 0.25 * 4], [0.75 * 8 + 0.25 * 2, 0.75 * 2]])


def test_a_slide_takes_along_what_expires_later():
    heat = profile(flow([6.0, 0.0, 1.0]))
    moved = mark(HERE + 1300.5)
    heat.step(VenueStep(volume_base=0.0), moved, START + 2 * MINUTE_NS)
    assert heat.point_of_control(0) == pytest.approx(at(HERE + 0.5))
    assert heat.path(0)[-1] == pytest.approx((HERE + 0.5) * DELTA)
    heat.step(VenueStep(volume_base=0.0), moved, START + 2 * HOUR_NS)
    assert heat.volume(0).sum() == 0.0
    assert heat.ledger.tolist() == [[7.0, 7.0, 0.0]]
