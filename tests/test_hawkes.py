"""The self-exciting intensity: sums against an obvious loop, numbers recovered, and what may not be looked at."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.market.lake import Lake
from training.baselines.hawkes import Hawkes, Liquidated, excitation, fit, grid, log_intensity, recorded

FIVE = 5 * MINUTE_NS
SOME = Hawkes(0.2, 0.5, 0.1, half_life=3.0, exponent=0.5, mean_usd=1e4, mark_scale=0.8, log_likelihood=0.0)


def prints(event_ns, side, usd, lag_ns=0, interval_ns=FIVE):
    event_ns = np.array(event_ns, np.int64)
    return Liquidated(event_ns, event_ns + lag_ns, np.array(side), np.array(usd, float), interval_ns, False)


def drawn_prints(count=60, seed=0, days=2):
    rng = np.random.default_rng(seed)
    event_ns = np.sort(rng.integers(0, days * DAY_NS, count))
    lag_ns = rng.integers(0, 20 * MINUTE_NS, count)
    return Liquidated(event_ns, event_ns + lag_ns, rng.integers(0, 2, count), rng.lognormal(9, 1.5, count), FIVE, False)


def simulated(base, own, other, half_life, intervals=20_000, seed=0):
    """Counts of a discrete Hawkes process, as prints of one size spread over their intervals."""
    rng = np.random.default_rng(seed)
    kept = 0.5 ** (1 / half_life)
    excited, times, sides = np.zeros(2), [], []
    for n in range(intervals):
        rate = base + own * excited + other * excited[::-1]
        count = rng.poisson(rate)
        for side in range(2):
            times += (n * FIVE + rng.integers(1, FIVE + 1, count[side])).tolist()
            sides += [side] * count[side]
        excited = excited * kept + (1 - kept) * count
    order = np.argsort(times, kind="stable")
    return prints(np.array(times)[order], np.array(sides)[order], np.full(len(times), 5e3))


def naive_excitation(found, numbers, at_ns):
    out = np.zeros((len(at_ns), 2))
    for row, now in enumerate(at_ns):
        for event, known, side, usd in zip(found.event_ns, found.known_at_ns, found.side, found.usd, strict=True):
            end = int(np.ceil(event / found.interval_ns)) * found.interval_ns
            if end <= now and known <= now:
                mark = (usd / numbers.mean_usd) ** numbers.exponent / numbers.mark_scale
                out[row, side] += mark * 0.5 ** ((now - end) / found.interval_ns / numbers.half_life)
    return out * (1 - 0.5 ** (1 / numbers.half_life))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 500))
def test_excitation_is_that_of_an_obvious_loop(seed):
    found, at = drawn_prints(seed=seed), np.arange(0, 2 * DAY_NS, 37 * MINUTE_NS)
    np.testing.assert_allclose(excitation(found, SOME, at), naive_excitation(found, SOME, at), rtol=1e-9, atol=1e-12)


def test_numbers_that_made_the_prints_are_found_again():
    found = fit(simulated(base=0.2, own=0.55, other=0.15, half_life=4.0))
    assert found.half_life == 4.0
    assert found.own == pytest.approx(0.55, abs=0.06)
    assert found.other == pytest.approx(0.15, abs=0.06)
    assert found.base == pytest.approx(0.2, abs=0.04)


def test_prints_that_excite_nothing_have_no_descendants():
    found = fit(simulated(base=0.5, own=0.0, other=0.0, half_life=4.0))
    assert found.own + found.other < 0.1
    assert found.base == pytest.approx(0.5, abs=0.05)


def test_sums_are_fitted_in_units_of_their_mean():
    rng = np.random.default_rng(3)
    usd, excited = np.zeros((6000, 2)), np.zeros(2)
    for n in range(6000):
        rate = 0.3 + 0.6 * excited + 0.1 * excited[::-1]
        usd[n] = rng.exponential(rate) * 1e6
        excited = excited / 2 + usd[n] / 2e6
    ends = np.repeat((np.arange(6000) + 1) * HOUR_NS, 2)
    found = fit(Liquidated(ends, ends, np.tile([0, 1], 6000), usd.reshape(-1), HOUR_NS, True))
    assert (found.half_life, found.exponent) == (1.0, 1.0)
    assert found.own == pytest.approx(0.6, abs=0.1)
    assert found.base + found.own + found.other == pytest.approx(1, abs=0.03)  # the mean of what is in units of it


def test_both_sides_mirror_each_other():
    found, at = drawn_prints(400), np.arange(0, 2 * DAY_NS, FIVE)
    swapped = replace(found, side=1 - found.side)
    here, there = (msgspec.structs.astuple(fit(one)) for one in (found, swapped))
    assert here == pytest.approx(there, rel=1e-6, abs=1e-9)
    np.testing.assert_array_equal(log_intensity(found, SOME, at), log_intensity(swapped, SOME, at)[:, ::-1])


def test_what_became_known_later_changes_nothing():
    found, at = drawn_prints(300), np.arange(FIVE, DAY_NS, FIVE)
    other = found.known_at_ns > DAY_NS
    later = replace(found, usd=np.where(other, found.usd * 50, found.usd), side=np.where(other, 0, found.side))
    np.testing.assert_array_equal(log_intensity(found, SOME, at), log_intensity(later, SOME, at))
    assert fit(found.known_by(DAY_NS)) == fit(later.known_by(DAY_NS))


def test_a_print_counts_from_the_end_of_its_interval_or_when_it_became_known():
    at = np.array([FIVE - 1, FIVE, 2 * FIVE, 3 * FIVE])
    at_once = excitation(prints([1], [0], [1e4]), SOME, at)[:, 0]
    assert (at_once > 0).tolist() == [False, True, True, True]
    late = excitation(prints([1], [0], [1e4], lag_ns=2 * FIVE - 1), SOME, at)[:, 0]
    assert (late > 0).tolist() == [False, False, True, True]
    np.testing.assert_allclose(late[2:], at_once[2:])


def test_what_was_not_recorded_is_no_interval():
    found = prints([1, 12 * FIVE, 5 * DAY_NS + 1, 5 * DAY_NS + FIVE + 1], [0, 1, 0, 0], [1.0, 1.0, 1.0, 1.0])
    begins, target = grid(found)
    assert (begins // FIVE).tolist() == [*range(12), 5 * 288, 5 * 288 + 1]
    assert target.sum(axis=0).tolist() == [3, 1]
    assert target[0].tolist() == [1, 0]
    assert target[11].tolist() == [0, 1]


def test_too_few_liquidations_say_so():
    with pytest.raises(DataError, match="2 liquidations are too few"):
        fit(prints([1, 2], [0, 1], [1.0, 1.0]))
    with pytest.raises(DataError, match="too few"):
        fit(prints(np.arange(40), np.zeros(40, int), np.zeros(40)))


def test_recorded_prints_and_sums_come_from_the_lake(small, tmp_path):
    found = recorded(small.lake, small.config.spec)
    rows = small.lake.read("liquidation", "simulated", "SIMUSDT")
    assert (found.sums, found.interval_ns) == (False, 5 * MINUTE_NS)
    np.testing.assert_array_equal(found.usd, rows["usd"])
    hours = (np.arange(3) + 1) * HOUR_NS
    lake = Lake(tmp_path / "lake")
    lake.write(
        "liquidation_1h", "simulated", "SIMUSDT",
        {"event_ns": hours, "known_at_ns": hours + 1, "quality": np.zeros(3, np.int64),
         "cadence_ns": np.full(3, HOUR_NS),
         "long_usd": np.array([1.0, np.nan, 3.0]), "short_usd": np.array([4.0, 5.0, 6.0])},
    )  # fmt: skip
    stream = {"venue": "simulated", "kinds": ("liquidation_1h",)}
    market = _with(small.config.spec.market, liquidations=_with(small.config.spec.market.liquidations, **stream))
    sums = recorded(lake, _with(small.config.spec, market=market))
    assert (sums.sums, sums.interval_ns) == (True, HOUR_NS)
    assert sums.usd.tolist() == [1, 4, 3, 6]  # the second hour was not recorded
    assert sums.side.tolist() == [0, 1, 0, 1]
    with pytest.raises(DataError, match=r"market\.liquidations"):
        recorded(lake, _with(small.config.spec, market=_with(market, liquidations=None)))


def _with(struct, **changes):
    return msgspec.structs.replace(struct, **changes)
