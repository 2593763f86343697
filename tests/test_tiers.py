import copy
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.errors import DataError
from squeeze.heatmaps.liquidation import LiquidationMap, shifts
from squeeze.heatmaps.tiers import distances
from squeeze.market.instruments import Instrument, Instruments, Tier
from squeeze.spec import MapSpec

SHIPPED = Instruments.shipped()
LEVERAGES = (5.0, 10.0, 20.0, 25.0, 50.0, 100.0)


def shipped(venue: str, native: str) -> Instrument:
    found = SHIPPED.get(venue, native)
    assert found is not None
    return found


BINANCE = shipped("binance", "BTCUSDT")
BYBIT = shipped("bybit", "BTCUSDT")
OKX = Instrument(
    venue="okx", native="BTC-USDT-SWAP", symbol="BTCUSDT", as_of_ns=0, tick_size=0.1, lot_size_base=1e-4,
    minimum_size_base=1e-4, contract_value=0.01, taker_fee=0.0005, source="made up, with the rate of domain.md §3.1",
    tiers=(Tier(math.nan, 0.004, 100.0, up_to_contracts=1000.0), Tier(math.nan, 0.01, 50.0, up_to_contracts=5000.0)),
)  # fmt: skip


def percent(instrument: Instrument, leverages=LEVERAGES, **given_) -> list[tuple[float, float]]:
    log = distances(instrument, leverages, **given_).log
    return [tuple(side) for side in (100 * np.expm1(log)).T.round(2)]


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        (BYBIT, [(-19.55, 19.34), (-9.50, 9.39), (-4.47, 4.42), (-3.46, 3.43), (-1.45, 1.44), (-0.45, 0.44)]),
        (OKX, [(-19.64, 19.46), (-9.59, 9.51), (-4.57, 4.53), (-3.57, 3.53), (-1.56, 1.54), (-0.55, 0.55)]),
        (BINANCE, [(-19.68, 19.52), (-9.64, 9.56), (-4.62, 4.58), (-3.61, 3.59), (-1.61, 1.59), (-0.60, 0.60)]),
    ],
    ids=["bybit", "okx", "binance"],
)
def test_distances_of_the_first_tier_are_those_of_domain_md(instrument, expected):
    np.testing.assert_allclose(percent(instrument), expected, atol=0.0101)


def test_a_leverage_that_the_venue_does_not_grant_becomes_its_highest_and_says_why():
    found = distances(shipped("binance", "DOTUSDT"), LEVERAGES)
    assert found.leverages == (5.0, 10.0, 20.0, 25.0, 50.0, 75.0)
    assert found.clipped == ("100x: binance DOTUSDT grants at most 75x in the tier up to 10000 USD",)
    np.testing.assert_allclose(100 * np.expm1(found.log[:, :2]).T, [(-19.48, 19.23), (-9.41, 9.29)], atol=0.01)
    assert distances(BINANCE, LEVERAGES).clipped == ()


@given(st.floats(1e3, 1.5e9), st.floats(1.0, 125.0), st.sampled_from([BINANCE, BYBIT]))
def test_at_the_liquidation_price_margin_and_requirement_meet(notional, leverage, instrument):
    price, size = 60_000.0, notional / 60_000.0
    tier = instrument.tier(notional)
    granted = min(leverage, tier.max_leverage)
    if not tier.maintenance_rate + 0.001 < 1 / granted + tier.deduction_usd / notional < 1.0:
        return  # liquidated at entry, or a long that never is
    found = distances(instrument, (leverage,), position_usd=notional)
    assert found.leverages == (granted,)
    fee = 0.0 if instrument.venue == "binance" else instrument.taker_fee
    for side, sign in ((0, 1), (1, -1)):
        at = price * math.exp(found.log[side, 0])
        margin = notional / granted + sign * size * (at - price)
        required = size * at * (tier.maintenance_rate + fee) - tier.deduction_usd
        assert margin == pytest.approx(required, abs=1e-6 * notional)


def test_a_larger_position_is_liquidated_earlier():
    (small, _), (large, _) = percent(BINANCE, (20.0, 20.0), position_usd=(1e5, 5e7))
    assert small == -4.62
    assert large > small + 0.9
    # 2 % of 50 million less 132,000 is 1.736 % at entry: 5 % less that, of a price that is 1 - m of itself.
    assert large == pytest.approx(100 * ((1 - 1 / 20 - 132_000 / 5e7) / (1 - 0.02) - 1), abs=0.01)


def test_tiers_in_contracts_need_a_price():
    position = {"position_usd": 3e6}  # 50 coins, 5,000 contracts at 60,000
    assert distances(OKX, (100.0,), **position, price=60_000.0).leverages == (50.0,)
    with pytest.raises(DataError, match="price must be positive"):
        distances(OKX, (100.0,), **position)
    assert "1000 contracts" in distances(OKX, (200.0,)).clipped[0]


def holed(instrument: Instrument, **fields) -> Instrument:
    """The record with fields replaced, unchecked, as after a mistake in code."""
    made = copy.copy(instrument)
    for name, value in fields.items():
        msgspec.structs.force_setattr(made, name, value)
    return made


TIERS = BINANCE.tiers
MISTAKES = {
    "a hole": (holed(BINANCE, tiers=TIERS[:2] + TIERS[3:]), "tier 3: deduction_usd must be"),
    "out of order": (holed(BINANCE, tiers=(TIERS[1], TIERS[0], *TIERS[2:])), "tier 2: the limit must be above"),
    "a wrong deduction": (
        holed(BINANCE, tiers=(TIERS[0], msgspec.structs.replace(TIERS[1], deduction_usd=900.0), *TIERS[2:])),
        "tier 2: deduction_usd must be 300",
    ),
    "no deductions": (
        holed(BINANCE, tiers=tuple(msgspec.structs.replace(t, deduction_usd=0.0) for t in TIERS)),
        "12 tiers without deductions",
    ),
    "leverage that rises": (
        holed(OKX, tiers=(OKX.tiers[0], msgspec.structs.replace(OKX.tiers[1], max_leverage=125.0))),
        "tier 2: max_leverage must be at most 100, got 125",
    ),
    "no tiers": (shipped("bybit", "DOTUSDT"), "no maintenance tiers were recorded"),
    "no fee": (holed(BYBIT, taker_fee=math.nan), "the taker fee is part of its requirement"),
    "inverse": (holed(OKX, is_inverse=True), "this one is inverse"),
    "another venue": (holed(OKX, venue="deribit"), "expected one of binance, bybit, okx"),
    "liquidated at entry": (
        holed(OKX, tiers=(Tier(math.nan, 0.02, 100.0, up_to_contracts=10.0),)),
        "at 100x and a requirement of 2.05 % a position is liquidated at entry",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_table_that_does_not_hold_together_is_refused(case):
    instrument, message = MISTAKES[case]
    with pytest.raises(DataError, match=message):
        distances(instrument, (100.0,))


def test_a_record_cannot_be_made_with_a_hole():
    with pytest.raises(ValueError, match="tier 3: deduction_usd"):
        msgspec.structs.replace(BINANCE, tiers=TIERS[:2] + TIERS[3:])


@pytest.mark.parametrize("notional", [0.0, -1.0, math.nan, math.inf])
def test_a_position_has_a_size(notional):
    with pytest.raises(DataError, match="position_usd must be positive"):
        distances(BINANCE, (10.0,), position_usd=notional)


def test_one_position_for_each_leverage():
    with pytest.raises(DataError, match="one for each of 2 leverages, got 3"):
        distances(BINANCE, (10.0, 20.0), position_usd=(1e3, 1e4, 1e5))


def test_a_map_deposits_at_the_venues_distances():
    spec = MapSpec(turnover=0.0, taker_tilt=1.0)
    found = distances(BYBIT, spec.leverages)
    heat = LiquidationMap(spec, found.log)
    for days, interest in ((1.0, 1000.0), (2.0, 1100.0)):
        heat.step((60_000.0,) * 3, (60_000.0,) * 2, 5.0, 5.0, interest, days, 1 / 1440)
    at = np.arange(heat.mass.shape[2]) + heat.origin + 0.5
    held = heat.mass[:, :-1]
    mean = (held * at).sum(axis=2) / held.sum(axis=2) - math.log(60_000.0) / spec.bin_log
    np.testing.assert_allclose(mean, found.log / spec.bin_log, atol=0.5)
    assert np.abs(mean - shifts(spec)[0]).min() > 0.05
