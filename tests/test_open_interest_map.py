import math

import numpy as np
import pytest

from squeeze.heatmaps.grid import BINS
from squeeze.heatmaps.open_interest import OpenInterestMap, OpenInterestSpec
from squeeze.market.events import HOUR_NS, MINUTE_NS, OpenInterest
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep

NAN = math.nan
DELTA = 5e-4
START = 1_000 * 24 * HOUR_NS
HERE = 20_000
PLAIN = OpenInterestSpec(windows_hours=(4.0,), slots=4, turnover=0.0)


def at(position: float) -> float:
    return math.exp(position * DELTA)


class Run:
    """A map and its clock."""

    def __init__(self, spec: OpenInterestSpec = PLAIN) -> None:
        self.heat, self.minute = OpenInterestMap(spec), 0

    def step(self, stamp: float | None = None, volume: tuple[float, ...] | None = None, bins: float = 0.5, **more):
        """One minute: volume by bin from HERE on, and open interest at its end."""
        self.minute += more.pop("minutes", 1)
        close_ns = START + self.minute * MINUTE_NS
        fields = {}
        if stamp is not None:
            event_ns = more.pop("event_ns", close_ns)
            both = {"event_ns": event_ns, "known_at_ns": close_ns, "open_interest_base": stamp}
            fields["open_interest"] = (OpenInterest(venue="v", symbol="S", **both),)
        if volume is not None:
            fields["flow"] = PriceFlow(DELTA, HERE, volume, tuple(0.0 for _ in volume))
        self.heat.step(VenueStep(**fields), Candle(*[at(HERE + bins)] * 4, 0), close_ns)
        return self

    def rows(self, bins: int = 3) -> np.ndarray:
        """(row, price) from HERE on."""
        first = HERE - self.heat.window.origin
        rows = self.heat.rolling.total[0][:, first : first + bins].copy()
        rows[0] *= self.heat.numbers[2]
        return rows


def test_a_change_goes_where_volume_was_since_the_last_stamp():
    run = Run().step(1000.0, (9.0,)).step(None, (1.0, 1.0)).step(None, (0.0, 0.0, 2.0)).step(1100.0, bins=1.5)
    np.testing.assert_allclose(run.rows(), [[25, 25, 50], [25, 25, 50], [0] * 3, [0] * 3, [0] * 3])
    run.step(1000.0, (0.0, 4.0), bins=0.5)
    # A close takes 100 of the 1,100 from all that is open, and is put down where it was traded.
    np.testing.assert_allclose(run.rows()[0], np.array([25, 25, 50]) * (1 - 100 / 1100))
    np.testing.assert_allclose(run.rows()[1:], [[25, 25, 50], [0] * 3, [0] * 3, [0, 100, 0]])


@pytest.mark.parametrize(
    ("bins", "stamp", "row"), [(1.5, 1100.0, 1), (-0.5, 1100.0, 2), (1.5, 900.0, 3), (-0.5, 900.0, 4)]
)
def test_quadrants_are_the_directions_of_mark_and_open_interest(bins, stamp, row):
    rows = Run().step(1000.0).step(stamp, (1.0,), bins=bins).rows()
    assert rows[row, 0] == pytest.approx(100.0)
    assert np.delete(rows[1:], row - 1, axis=0).sum() == 0


def test_a_mark_that_stood_still_gives_half_to_each():
    rows = Run().step(1000.0).step(1100.0, (1.0,)).rows()
    np.testing.assert_allclose(rows[:, 0], [100, 50, 50, 0, 0])


def test_the_direction_is_that_since_the_last_stamp_and_not_of_the_last_step():
    rows = Run().step(1000.0).step(None, bins=-5.5).step(1100.0, (1.0,), bins=-2.5).rows()
    assert rows[2, 0] == pytest.approx(100.0)


def test_views_are_oriented_outward():
    run = Run().step(1000.0).step(1100.0, (0.0, 1.0), bins=0.5 + 1e-9).step(1080.0, (1.0,), bins=0.25)
    down, up = run.heat.outward(at(HERE + 1), DELTA, 1)[..., 0]
    names = [n.removesuffix("_4h") for n in run.heat.channels]
    assert dict(zip(names, up.round(6).tolist(), strict=True)) == {
        "opened": round(100 * (1 - 20 / 1100), 6),
        "net": 100.0,
        "toward_opened": 100.0,
        "away_opened": 0.0,
        "toward_closed": 0.0,
        "away_closed": 0.0,
    }
    assert dict(zip(names, down.round(6).tolist(), strict=True)) == {
        "opened": 0.0,
        "net": -20.0,
        "toward_opened": 0.0,
        "away_opened": 0.0,
        "toward_closed": 20.0,
        "away_closed": 0.0,
    }


def test_turnover_opens_and_closes_without_a_change():
    run = Run(OpenInterestSpec(windows_hours=(4.0,), slots=4, turnover=0.1)).step(1000.0)
    run.step(1000.0, (200.0,))
    assert run.rows()[:, 0].tolist() == [10.0, 0.0, 0.0, 0.0, 0.0]
    run.step(1100.0, (0.0, 300.0), bins=1.5)
    # Churn is 0.1 × (300 − 100) / 2 = 10: of the first ten coins 10 / 1000 close.
    np.testing.assert_allclose(run.rows()[:2, :2], [[9.9, 110.0], [0.0, 100.0]])


@pytest.mark.parametrize("stamp", [500.0, 2000.0, 502.0, 1450.0])
def test_a_stamp_that_jumps_by_half_is_a_change_of_counting(stamp):
    run = Run().step(1000.0).step(1010.0, (1.0,), bins=1.5)
    before = run.rows()
    run.step(stamp * 1.01, (7.0,), bins=2.5)
    assert (run.rows() == before).all()
    assert run.heat.counting_changes == 1
    assert run.heat.unattributed_base[0] == pytest.approx(stamp * 1.01 - 1010)
    run.step(stamp * 1.01 + 10, (0.0, 1.0), bins=3.5)
    np.testing.assert_allclose((run.rows() - before)[1], [0, 10, 0])


def test_a_true_fall_short_of_that_is_attributed():
    run = Run().step(1000.0).step(560.0, (1.0,), bins=1.5)
    assert run.heat.counting_changes == 0
    assert run.rows()[3, 0] == pytest.approx(440.0)


@pytest.mark.parametrize("stamp", [NAN, 0.0, -5.0, math.inf])
def test_a_stamp_that_is_none_is_not_there(stamp):
    run = Run().step(1000.0).step(stamp, (1.0,)).step(1100.0, (0.0, 1.0), bins=1.5)
    np.testing.assert_allclose(run.rows()[1], [50, 50, 0])
    assert run.heat.open_interest_base == 1100.0


def test_a_stamp_that_is_not_newer_is_ignored():
    run = Run().step(1000.0, event_ns=START + 30).step(1200.0, (1.0,), event_ns=START + 30)
    run.step(1300.0, (1.0,), event_ns=START + 29)
    assert run.heat.open_interest_base == 1000.0
    run.step(1010.0, (0.0, 0.0, 2.0), bins=1.5, event_ns=START + 31)
    np.testing.assert_allclose(run.rows()[1], [5.0, 0.0, 5.0])


def test_of_several_stamps_in_a_step_the_newest_counts():
    run = Run().step(1000.0)
    stamps = tuple(
        OpenInterest(venue="v", symbol="S", event_ns=START + n, known_at_ns=0, open_interest_base=coins)
        for n, coins in ((10**12, 1050.0), (2 * 10**12, 1100.0), (15 * 10**11, 10.0))
    )
    part = VenueStep(open_interest=stamps, flow=PriceFlow(DELTA, HERE, (1.0,), (1.0,)))
    run.heat.step(part, Candle(*[at(HERE + 1.5)] * 4, 0), START + HOUR_NS)
    assert run.rows()[1, 0] == pytest.approx(100.0)


def test_a_change_without_recorded_volume_is_counted_and_not_placed():
    run = Run().step(1000.0).step(1100.0).step(1110.0, (0.0, 1.0), bins=1.5)
    np.testing.assert_allclose(run.rows()[1], [0, 10, 0])
    assert run.heat.without_volume == 1
    assert run.heat.unattributed_base.tolist() == [0.0, 100.0]


def test_silent_stamps_leave_the_map_and_it_ages():
    run = Run().step(1000.0).step(1100.0, (1.0,), bins=1.5)
    before = run.rows()
    for _ in range(30):
        run.step(None, (1.0,))
    assert (run.rows() == before).all()
    assert run.heat.age_ns == 30 * MINUTE_NS
    assert run.heat.scalars()[:, 1].tolist() == [30.0, 30.0]
    run.step(None, (1.0,), minutes=300)
    assert np.isnan(run.heat.outward(at(HERE + 0.5), DELTA, 3)).all()


def test_windows_forget_by_parts():
    run = Run().step(1000.0).step(1100.0, (1.0,), bins=1.5)
    run.step(None, minutes=238)  # at four hours sharp
    assert run.rows()[1, 0] == pytest.approx(100.0)
    run.step(None)
    assert run.rows().sum() == 0
    np.testing.assert_allclose(run.heat.ledger[0, :2], [[100, 0, 100, 0], [100, 0, 100, 0]])


def test_a_scale_near_zero_is_written_into_the_cells():
    run = Run(OpenInterestSpec(windows_hours=(4.0,), slots=4, turnover=1.0)).step(1000.0)
    kept = 0.0
    for n in range(12):
        run.step(1000.0, (4000.0,), bins=n % 2 + 0.25)
        kept = kept * 0.1 + 2000.0  # nine tenths is the most that one stamp closes
    assert run.heat.numbers[2] > 1e-9
    assert run.rows()[0, 0] == pytest.approx(kept)


def test_scalars_sum_the_channels():
    run = Run().step(1000.0).step(1100.0, (1.0,), bins=1.5).step(1050.0, (3.0,), bins=0.5)
    named = dict(zip(run.heat.scalar_names, run.heat.scalars().T.tolist(), strict=True))
    assert named["open_interest_base"] == [1050.0, 1050.0]
    assert named["net_4h"] == pytest.approx([50.0, 50.0])
    assert named["toward_opened_4h"] == pytest.approx([0.0, 100.0])
    assert named["toward_closed_4h"] == pytest.approx([50.0, 0.0])
    assert named["away_closed_4h"] == pytest.approx([0.0, 50.0])
    assert named["coverage_4h"] == pytest.approx([2 / 240] * 2)
    assert run.heat.rolling.total.shape == (1, 5, BINS)
