import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.spec import FrameSpec
from squeeze.zones.extract import Zone, zones
from tests.naive import naive_zones

DELTA = 5e-4
SPEC = FrameSpec()
"""The defaults: nine tenths of the bins are below a zone, at least 0.02 % of open interest a bin, 0.3 % a zone."""


def smoothed_to(*runs: tuple[int, int, float]) -> np.ndarray:
    """200 bins that hold a value over [first, last); a plateau stays one under [¼ ½ ¼] but for its shoulders."""
    cells = np.zeros(200)
    for first, last, value in runs:
        cells[first:last] = value
    return cells


def found(longs: np.ndarray, shorts: np.ndarray | None = None, days: float = 10.0, born: float = 4.0) -> list[Zone]:
    share = np.stack([longs, np.zeros(200) if shorts is None else shorts])
    return zones(share, share * born, days, DELTA, SPEC)


def test_a_plateau_is_one_zone_with_shoulders():
    (zone,) = found(smoothed_to((20, 30, 0.002)))
    assert zone.side == 0
    # The shoulders hold a quarter of the plateau, 5e-4, which still is more than the floor of 2e-4.
    assert (zone.near_log, zone.far_log) == pytest.approx((19 * DELTA, 31 * DELTA))
    assert zone.width_log == pytest.approx(12 * DELTA)
    assert zone.mass_share == pytest.approx(0.02)
    assert zone.centroid_log == pytest.approx(25 * DELTA)
    assert zone.peak_share == pytest.approx(0.002)
    assert zone.age_days == pytest.approx(6.0)


@pytest.mark.parametrize(("gap", "count"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2)])
def test_runs_with_fewer_than_two_bins_between_them_are_joined(gap, count):
    # A shoulder on either side takes one bin each of the gap between the plateaus: 3 leaves one bin, 4 leaves two.
    cells = smoothed_to((20, 24, 0.002), (24 + gap, 28 + gap, 0.002))
    assert len(found(cells)) == count


def test_a_run_below_three_tenths_of_a_percent_is_dropped():
    assert found(smoothed_to((20, 22, 0.00149))) == []
    assert len(found(smoothed_to((20, 22, 0.00151)))) == 1


def test_bins_below_the_floor_are_no_zone_however_rare():
    assert found(smoothed_to((20, 40, 1.9e-4))) == []
    assert len(found(smoothed_to((20, 40, 2.1e-4)))) == 1


def test_a_quiet_map_has_no_zone():
    assert found(np.zeros(200), np.zeros(200)) == []


def test_bins_below_the_ninetieth_percentile_are_no_zone():
    cells = np.full(200, 0.01)
    cells[50:60] = 0.02
    (zone,) = [z for z in found(smoothed_to((0, 200, 0.01)) + smoothed_to((50, 80, 0.01)))]
    assert (zone.near_log, zone.far_log) == pytest.approx((50 * DELTA, 80 * DELTA), abs=1.1 * DELTA)


def test_each_sides_zones_come_nearest_first_and_longs_before_shorts():
    longs = smoothed_to((100, 105, 0.003), (20, 25, 0.001))
    shorts = smoothed_to((5, 8, 0.004), (60, 64, 0.002))
    got = found(longs, shorts)
    assert [z.side for z in got] == [0, 0, 1, 1]
    assert [round(z.near_log / DELTA) for z in got] == [19, 99, 4, 59]


def test_an_age_is_the_mean_over_the_mass():
    share = np.zeros((2, 200))
    share[1, 40:42] = 0.004, 0.002
    born = np.zeros((2, 200))
    born[1, 40:42] = 0.004 * 1.0, 0.002 * 7.0
    (zone,) = zones(share, born, 10.0, DELTA, SPEC)
    assert zone.age_days == pytest.approx(10 - 3.0)
    assert zone.mass_share == pytest.approx(0.006)


def test_mass_next_to_the_mark_is_not_lost_by_smoothing():
    (zone,) = found(smoothed_to((0, 3, 0.004)))
    assert zone.near_log == 0
    assert zone.mass_share == pytest.approx(0.012)


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.995, 1.0])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_zones_equal_their_naive_twin(quantile, seed):
    rng = np.random.default_rng(seed)
    spec = FrameSpec(zone_quantile=quantile, zone_floor_share=rng.choice([0.0, 2e-4]), zone_mass_share=3e-3)
    share = rng.exponential(6e-4, (2, 200)) * (rng.random((2, 200)) < rng.random())
    share = np.round(share, int(rng.integers(3, 8)))  # ties
    born = share * rng.uniform(0, 9, share.shape)
    got = zones(share, born, 9.5, DELTA, spec)
    want = naive_zones(share, born, 9.5, DELTA, spec)
    assert len(got) == len(want)
    for zone, twin in zip(got, want, strict=True):
        fields = [getattr(zone, name) for name in zone.__struct_fields__]
        np.testing.assert_allclose(fields, twin, rtol=1e-9, atol=1e-12)
    assert all(math.isfinite(z.age_days) for z in got)
