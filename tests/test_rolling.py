"""What the volume profile and the open-interest map keep up step by step is what looking at everything anew finds."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.heatmaps import protocol
from squeeze.heatmaps.grid import BINS
from squeeze.heatmaps.open_interest import OPENED, OpenInterestMap, OpenInterestSpec
from squeeze.heatmaps.protocol import REMEMBERED, rebinned, traded
from squeeze.heatmaps.rolling_step import BOTTOM, CONTROL, TOP
from squeeze.heatmaps.volume_profile import VolumeProfile, VolumeProfileSpec, point_of_control, value_area
from squeeze.market.events import HOUR_NS, MINUTE_NS, OpenInterest
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from tests.naive_heatmaps import naive_outward

NAN = math.nan
DELTA = 5e-4
START = 1_000 * 24 * HOUR_NS
HERE = 20_000
PROFILE = VolumeProfileSpec(windows_hours=(0.25, 1.0), slots=5, path_closes=4)
INTEREST = OpenInterestSpec(windows_hours=(0.25, 1.0), slots=5)


def mark(bin_: int) -> Candle:
    return Candle(*[math.exp((bin_ + 0.5) * DELTA)] * 4, 0)


def part(volume: list[float], first: int, stamp: float | None = None, close_ns: int = 0) -> VenueStep:
    at = {"venue": "v", "symbol": "S", "event_ns": close_ns, "known_at_ns": close_ns}
    stamps = () if stamp is None else (OpenInterest(**at, open_interest_base=stamp),)
    return VenueStep(flow=PriceFlow(DELTA, first, tuple(volume), (0.0,) * len(volume)), open_interest=stamps)


jumps = st.sampled_from([0, 0, 0, 1, -1, 5, -40, 1100, -1500, 3000, -6000])
steps = st.lists(
    st.tuples(jumps, st.lists(st.sampled_from([0.0, 1.0, 2.0, 4.0]), max_size=8), st.integers(1, 9)), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_points_of_control_and_sums_are_those_of_all_bins(given_steps):
    """Small whole numbers, so that ties are many and sums are exact; jumps, so that the arrays slide."""
    heat, close_ns, here = VolumeProfile(PROFILE), START, HERE
    for jump, volume, minutes in given_steps:
        close_ns, here = close_ns + minutes * MINUTE_NS, here + jump
        heat.step(part(volume, here - 3), mark(here), close_ns)
        np.testing.assert_array_equal(heat.rolling.total, heat.rolling.ring.sum(axis=1))
        np.testing.assert_array_equal(heat.rolling.sums, heat.rolling.total.sum(axis=2))
        for window in range(2):
            cells = heat.volume(window)
            held = np.flatnonzero(cells > 0)
            peak = heat.peaks[window]
            assert peak[CONTROL] == point_of_control(cells)
            assert (peak[BOTTOM], peak[TOP]) == ((held[0], held[-1]) if held.size else (BINS, -1))
            low, high = value_area(cells, PROFILE.value_share)
            want = np.exp((heat.window.origin + np.array([low, high + 1])) * DELTA) if held.size else [NAN, NAN]
            np.testing.assert_allclose(heat.value_area(window), want)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_open_interest_is_summed_like_its_cells(given_steps):
    heat, close_ns, here = OpenInterestMap(INTEREST), START, HERE
    for n, (jump, volume, minutes) in enumerate(given_steps):
        close_ns, here = close_ns + minutes * MINUTE_NS, here + jump
        heat.step(part(volume, here - 3, 1000.0 + 100 * (n % 3), close_ns), mark(here), close_ns)
        np.testing.assert_allclose(heat.rolling.total, heat.rolling.ring.sum(axis=1), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(heat.rolling.sums, heat.rolling.total.sum(axis=2), rtol=1e-9, atol=1e-9)
        held = heat.rolling.total.sum(axis=2)
        held[:, OPENED] *= heat.numbers[2]
        np.testing.assert_allclose(held, heat.ledger @ [1.0, -1.0, -1.0, -1.0], rtol=1e-9, atol=1e-6)


def test_volume_off_the_array_takes_its_share_of_a_change_along():
    heat = OpenInterestMap(OpenInterestSpec(windows_hours=(4.0,), slots=4, turnover=0.0))
    heat.step(part([], HERE, 1000.0, START), mark(HERE), START)
    heat.step(part([3.0], HERE - BINS), mark(HERE), START + MINUTE_NS)
    heat.step(part([1.0], HERE, 1100.0, START + 2 * MINUTE_NS), mark(HERE + 1), START + 2 * MINUTE_NS)
    np.testing.assert_allclose(heat.rolling.sums[0], [25, 25, 0, 0, 0])
    np.testing.assert_allclose(heat.ledger[0, :2], [[100, 0, 0, 75]] * 2)


def test_a_bin_that_is_half_off_the_array_counts_what_is_inside():
    heat = VolumeProfile(PROFILE)
    heat.step(part([], HERE), mark(HERE), START)
    edge = heat.window.origin + BINS
    heat.step(part([1.0, 2.0, 4.0, 8.0], edge - 2), mark(HERE), START + MINUTE_NS)
    assert heat.volume(0)[-3:].tolist() == [0.0, 1.0, 2.0]
    assert heat.ledger[0].tolist() == [15.0, 0.0, 12.0]
    assert heat.window.covered() == (0, BINS)
    assert heat.point_of_control(0) == pytest.approx(math.exp((edge - 0.5) * DELTA))


@pytest.mark.parametrize("width", [0.3, 1.0, 1.5, 4.0, 7.3, 150.0])
@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_views_are_those_of_any_window_to_the_last_bin_of_the_array(width, offset):
    rng = np.random.default_rng(4)
    profile, interest = VolumeProfile(PROFILE), OpenInterestMap(INTEREST)
    for minute in range(1, 4):
        close_ns = START + minute * MINUTE_NS
        both = part(rng.exponential(1, 3000).tolist(), HERE - 1500, 1000.0 + 50 * minute, close_ns)
        for heat in (profile, interest):
            heat.step(both, mark(HERE + minute), close_ns)
    price = math.exp((profile.window.origin + BINS - 40 + offset) * DELTA)
    for at in (price, math.exp((HERE + offset) * DELTA)):
        rows = [range(2)] * 2
        want = naive_outward(profile.window, profile.rolling.total[:, 0], rows, at, width * DELTA, 12)
        np.testing.assert_allclose(profile.outward(at, width * DELTA, 12), want, rtol=1e-9, atol=1e-12)
        cells = interest.rolling.total.reshape(-1, BINS)
        want = naive_outward(interest.window, cells, [[5 * w for w in range(2)]] * 2, at, width * DELTA, 12)
        got = interest.outward(at, width * DELTA, 12)[:, [0, 6]]
        np.testing.assert_allclose(got, want * interest.numbers[2], rtol=1e-9, atol=1e-12)
    upmost = profile.outward(price, width * DELTA, 12)[1, :, -1]
    assert np.isnan(upmost).tolist() == [12 * width > 40 - offset] * 2


def test_whole_bins_are_those_of_the_array_and_masked_before_anything_was_recorded():
    profile, interest = VolumeProfile(PROFILE), OpenInterestMap(INTEREST)
    for heat in (profile, interest):
        assert np.isnan(heat.whole_bins(0, HERE, 4)).all()
        heat.step(VenueStep(), mark(HERE), START)
        assert np.isnan(heat.whole_bins(0, HERE, 4)).all()
        heat.step(part([1.0], HERE, 1000.0, START + 1), mark(HERE), START + MINUTE_NS)
        last_ns = START + 2 * MINUTE_NS
        heat.step(part([0.0, 2.0, 6.0], HERE - 1, 1080.0, last_ns), mark(HERE), last_ns)
    np.testing.assert_array_equal(profile.whole_bins(1, HERE, 3), [[3.0, 0.0, 0.0], [3.0, 6.0, 0.0]])
    opened = interest.rolling.total[1, OPENED] * interest.numbers[2]
    at = HERE - interest.window.origin
    assert opened[at + 1] == pytest.approx(60.0)
    np.testing.assert_array_equal(interest.whole_bins(1, HERE, 3), [opened[at : at - 3 : -1], opened[at : at + 3]])
    for heat in (profile, interest):
        far = heat.whole_bins(0, heat.window.origin + BINS - 2, 4)
        assert np.isnan(far).tolist() == [[False] * 4, [False, False, True, True]]
        heat.window.leave(True, START)
        assert np.isnan(heat.whole_bins(0, heat.window.origin, 2)).tolist() == [[False, True], [False] * 2]


def test_a_part_is_looked_at_once():
    one = part([1.0, 2.0], HERE)
    found = traded(one, DELTA)
    assert traded(one, DELTA) is found
    assert traded(one, 2 * DELTA).sides.tolist() == [[3.0], [0.0]]
    assert traded(msgspec.structs.replace(one), DELTA) is not found
    wrong = part([-1.0], HERE)
    for _ in range(2):
        with pytest.raises(StepError, match="taker flow"):
            traded(wrong, DELTA)


def test_of_many_parts_only_the_last_are_remembered_and_each_is_told_apart():
    for n in range(5 * REMEMBERED):
        assert traded(part([float(n)], HERE), DELTA).sides[0, 0] == n  # the last part is gone, and its place is free
        assert len(protocol._found) <= REMEMBERED


def test_as_many_bins_are_bought_as_sold():
    with pytest.raises(StepError, match="as many bins"):
        traded(VenueStep(flow=PriceFlow(DELTA, HERE, (1.0, 2.0, 3.0), (1.0,))), DELTA)


@given(
    st.integers(-30, 30), st.integers(1, 7), st.lists(st.sampled_from([0.0, 1.0, 2.5, NAN]), min_size=1, max_size=30)
)
def test_rebinned_cells_are_sums_by_absolute_bin(first, ratio, cells):
    first_wide, wide = rebinned(np.array([cells, cells[::-1]]), first, DELTA, ratio * DELTA)
    want = {}
    for i, amount in enumerate(cells):
        want.setdefault((first + i) // ratio, []).append(amount)
    assert [first_wide, first_wide + wide.shape[1] - 1] == [min(want), max(want)]
    np.testing.assert_array_equal(wide[0], [sum(want[j]) for j in sorted(want)])
