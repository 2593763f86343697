"""Size, stops and exits by literal numbers; the liquidation formula against the one the heatmap uses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from squeeze.heatmaps.tiers import distances
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.market.instruments import Instrument, Tier
from squeeze.signals import exits, sizing
from squeeze.signals.strategy_trade import Account, RiskRules
from squeeze.signals.view import VoidView
from tests.squeezes import Market, story, strategy_of

NAN = math.nan
STRATEGY = strategy_of(exits={"momentum": ["taker"]})


@pytest.mark.parametrize("leverage", [2.0, 10.0, 20.0, 50.0])
@pytest.mark.parametrize("order", ["buy", "sell"])
def test_the_own_liquidation_price_is_that_of_the_heatmaps_formula(order, leverage):
    account = Account(maintenance_rate=0.005, taker_fee=0.00055, fee_in_maintenance=True, price_step=1e-9)
    tier = Tier(up_to_usd=math.inf, maintenance_rate=0.005, max_leverage=100.0)
    bybit = Instrument(
        venue="bybit", native="X", symbol="X", as_of_ns=0, tick_size=0.1, lot_size_base=0.1, minimum_size_base=0.1,
        taker_fee=0.00055, tiers=(tier,), source="test",
    )  # fmt: skip
    log = distances(bybit, (leverage,)).log[0 if order == "buy" else 1, 0]
    assert sizing.own_liquidation(order, 100.0, leverage, account) == pytest.approx(100 * math.exp(log), rel=1e-9)


@given(st.sampled_from(["buy", "sell"]), st.floats(0.001, 0.3), st.floats(0, 0.05), st.floats(3, 5))
def test_the_highest_leverage_keeps_the_own_liquidation_three_stops_away(order, share, rate, stops):
    account, sign = Account(maintenance_rate=rate, max_leverage=100.0, price_step=0.01), sizing.sign_of(order)
    leverage = sizing.most_leverage(order, 100.0, 100 * share, account, stops)
    if leverage >= 1:
        own = sizing.own_liquidation(order, 100.0, leverage, account)
        assert sign * (100.0 - own) >= stops * 100 * share - 1e-9
        assert leverage <= 100.0


@given(
    st.floats(10, 1e6), st.floats(0.25, 3), st.floats(0.1, 20), st.sampled_from([1.0, 0.1, 0.001]),
    st.sampled_from(["buy", "sell"]),
)  # fmt: skip
def test_a_quantity_is_whole_steps_and_never_risks_more_than_asked(equity, wanted, distance, step, order):
    strategy = strategy_of(account={"equity_usd": equity, "quantity_step": step}, risk={"cap_percent": 3.0})
    stop = 100.0 - sizing.sign_of(order) * distance
    size = sizing.size(order, 100.0, 100.0, stop, wanted, strategy)
    if isinstance(size, str):
        assert size in ("own_liquidation_near", "risk_too_small", "below_least_quantity", "below_least_notional")
        return
    assert size.quantity % sizing.Decimal(repr(step)) == 0
    assert size.risk_percent <= wanted
    assert float(size.quantity) * 100 >= 5
    assert float(size.quantity) * 100 <= equity * size.max_leverage * (1 + 1e-12)


def test_a_quantity_at_the_minimum_notional_is_taken_and_less_is_not():
    def sized(least):
        account = {"equity_usd": 10_000.0, "least_notional_usd": least}
        return sizing.size("buy", 100.0, 100.0, 99.0, 1.0, strategy_of(account=account))

    assert sized(10_000.0).quantity == 100  # 1 % of 10,000 over a stop of 1
    assert sized(10_000.01) == "below_least_notional"


@pytest.mark.parametrize(
    ("rank", "move", "expected"),
    [
        (0.5, 0.0, 1.0), (0.2, 0.0, 1.0), (0.1999, 0.0, 0.5), (0.95, 0.0, 1.0), (0.951, 0.0, 0.5),
        (0.5, 0.01, 1.0), (0.5, -0.0099, 1.0), (0.5, -0.01, 0.7), (NAN, 0.0, 0.5), (0.5, NAN, 0.7), (NAN, NAN, 0.35),
    ],
)  # fmt: skip
def test_quiet_wild_and_contrary_markets_are_traded_smaller_and_unknown_ones_as_the_worse(rank, move, expected):
    view = replace(Market().view(), volatility_1h_rank=rank, return_4h_log=move, sigma_4h_log=0.01)
    assert sizing.regime(view, "buy", RiskRules())[0] == pytest.approx(expected)
    mirrored = replace(view, return_4h_log=-move)
    assert sizing.regime(mirrored, "sell", RiskRules())[0] == pytest.approx(expected)


def test_quality_falls_with_each_thing_that_is_wrong():
    view = Market().view()
    assert sizing.quality(view, 0, STRATEGY) == (1.0, ())
    view = replace(view, stale_venues=("okx",), liquidations_suspect=True, patterns={"venue_divergence": (True, False)})
    score, flags = sizing.quality(view, 0, STRATEGY)
    assert score == pytest.approx(0.7 * 0.5 * 0.7)
    assert flags == ("venue_stale_okx", "liquidations_suspect", "venues_diverge")
    assert sizing.quality(view, 1, STRATEGY)[0] == pytest.approx(0.35)


def test_the_first_stop_lies_beyond_the_consolidation_the_least_distance_and_every_zone():
    def stop(order, low, high, zones=()):
        return exits.first_stop(order, low, high, 100.0, 0.004, zones, STRATEGY)

    assert stop("buy", 99.0, 100.2) == 98.90  # 99 · exp(-0.001), down to the tick
    assert stop("sell", 99.8, 101.0) == 101.11
    assert stop("buy", 99.95, 100.2) == 99.85  # 0.15 %
    zone = replace(Market().zone(0, "1"), low=98.5, high=98.95)
    touching = replace(zone, low=98.40, high=98.49)
    assert stop("buy", 99.0, 100.2, (zone,)) == 98.49
    assert stop("buy", 99.0, 100.2, (zone, touching)) == 98.39
    assert math.isnan(exits.first_stop("buy", NAN, NAN, 100.0, 0.004, (), STRATEGY))
    assert math.isnan(exits.first_stop("buy", 99.0, 100.0, 100.0, NAN, (), STRATEGY))


def test_targets_lie_just_before_the_next_major_zones_on_the_way():
    zone = Market().zone(0, "1")
    places = {"a": 98.0, "b": 96.0, "c": 97.0, "d": 99.0, "e": 101.0, "f": 90.0}
    zones = tuple(replace(zone, id=name, low=low, high=low + 0.3, major=name != "c") for name, low in places.items())
    view = Market().view(zones=zones)
    assert exits.targets("sell", 100.0, view, ("d",), STRATEGY) == (98.35, 96.35)
    assert exits.targets("buy", 100.0, view, (), STRATEGY) == (100.94,)
    assert exits.targets("buy", 102.0, view, (), STRATEGY) == ()


def test_the_far_end_of_the_next_void_on_the_way_is_a_target_too():
    major = replace(Market().zone(1, "1"), id="e", low=104.0, high=104.3, major=True)
    voids = (VoidView(low=97.0, high=98.5), VoidView(low=100.5, high=102.0))
    view = Market().view(zones=(major,), voids=voids)
    assert exits.targets("buy", 100.0, view, (), STRATEGY) == (101.94, 103.94)
    assert exits.targets("sell", 100.0, view, (), STRATEGY) == (97.05,)
    assert exits.targets("buy", 102.0, view, (), STRATEGY) == (103.94,), "a void that was gone through is none"
    assert exits.targets("sell", 100.0, replace(view, voids=(None, voids[1])), (), STRATEGY) == ()


def managed(**strategy):
    """An open short squeeze's reversal: a trade that was sold, its market and a machine's rules for it."""
    machine, market, _ = story("managed", strategy=strategy_of(**strategy) if strategy else None)
    return machine, market, machine._memory.sides["long"].trade


def outcome(machine, market, trade, seconds=1, **changes):
    market.advance(seconds)
    view = market.view(**changes)
    seen = exits.watch(trade, view, 0.1, machine.strategy.exits)
    return exits.manage(seen, view, machine.strategy), seen


def test_a_stop_is_hit_by_the_range_and_counted_at_the_stop_or_worse():
    machine, market, trade = managed()
    fee_r = 2 * 0.00055 * trade.entry / trade.unit
    assert outcome(machine, market, trade, mark_high=trade.stop - 0.01)[0] is None
    hit, _ = outcome(machine, market, trade, mark_high=trade.stop)
    assert (hit.codes, hit.r_multiple) == (("stop_hit",), pytest.approx(-1 - fee_r))
    gap, _ = outcome(machine, market, trade, mark=trade.stop + trade.unit)
    assert gap.r_multiple == pytest.approx(-2 - fee_r)


def test_a_trade_lasts_an_hour():
    machine, market, trade = managed()
    filled = trade.filled_ns
    market.now_ns = filled + 3599 * SECOND_NS - SECOND_NS
    quiet = {"taker_imbalance": -1.0}
    assert outcome(machine, market, trade, **quiet)[0] is None
    ended, _ = outcome(machine, market, trade, **quiet)
    assert ended.codes == ("time_stop",)


def test_half_is_taken_after_two_weak_minutes_and_all_after_three():
    machine, market, trade = managed(exits={"momentum": ["taker"]})
    said = []
    for imbalance in (0.1, -0.1, 0.1, 0.0, NAN, 0.1):  # a sale: buyers are against it
        market.now_ns = trade.filled_ns + (trade.minute + 1) * MINUTE_NS - SECOND_NS
        found, trade = outcome(machine, market, trade, taker_imbalance=imbalance)
        if found is not None:
            said.append((found.codes, trade.weak_minutes))
            held, trade = trade.held, found.trade
            if found.r_multiple is None:
                assert float(trade.held) == pytest.approx(float(held) / 2, abs=1e-3)
    assert said == [(("momentum_weak",), 2), (("momentum_gone",), 3)]


def test_the_trail_begins_at_one_risk_keeps_its_distance_and_only_comes_nearer():
    machine, market, trade = managed()
    entry, unit = trade.entry, trade.unit
    atr_log = 0.6 * unit / entry
    assert outcome(machine, market, trade, mark=entry - 0.99 * unit, mark_low=NAN, atr_5m_log=atr_log)[0] is None
    found, seen = outcome(
        machine, market, trade, mark=trade.trail_from, mark_low=NAN, mark_high=NAN, atr_5m_log=atr_log, zones=()
    )
    assert found.codes == ("stop_follows",)
    assert trade.trail_from + 0.6 * unit - 0.03 < found.trade.stop <= trade.trail_from + 0.6 * unit + 0.02
    again, _ = outcome(
        machine,
        market,
        found.trade,
        mark=trade.trail_from - 0.05 * unit,
        mark_low=NAN,
        mark_high=NAN,
        atr_5m_log=atr_log,
        zones=(),
    )
    assert again is None  # less than a tenth of R nearer
    unknown, _ = outcome(machine, market, trade, mark=entry - 1.5 * unit, mark_high=NAN, atr_5m_log=NAN, zones=())
    assert unknown is None
    hit, _ = outcome(machine, market, found.trade, mark_high=found.trade.stop, mark=trade.trail_from)
    assert hit.codes == ("trail_hit",)
    assert seen.best == trade.trail_from


def test_a_part_is_taken_at_the_first_target_once_and_counted_there():
    machine, market, trade = managed()
    target = trade.targets[0]
    found, _ = outcome(machine, market, trade, mark_low=target, mark=target)
    assert found.codes == ("target_reached",)
    assert found.trade.realised_r == pytest.approx(0.5 * (trade.entry - target) / trade.unit, rel=1e-3)
    again, _ = outcome(machine, market, found.trade, mark_low=target, mark=target)
    assert again is None or again.codes == ("stop_follows",)


@given(
    st.floats(0.8, 1.2),
    st.sampled_from(["buy", "sell"]),
    st.lists(st.tuples(st.floats(90, 110), st.floats(0, 3)), max_size=6),
)
def test_a_moved_stop_lies_in_no_zone_and_never_nearer(share, order, places):
    zone = Market().zone(0, "1")
    zones = [replace(zone, low=low, high=low + width) for low, width in places]
    stop = exits.outside_zones(order, 100 * share, zones, Account(price_step=0.01))
    assert not [z for z in zones if z.low <= stop <= z.high]
    assert sizing.sign_of(order) * (100 * share - stop) >= -1e-9
