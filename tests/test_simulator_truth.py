"""What only the simulator knows, and that each switch does what it says."""

from dataclasses import fields
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.simulator import (
    BINANCE,
    BYBIT,
    OKX,
    CrossMargin,
    SimulatedMarket,
    SimulatedVenue,
    SimulatorSpec,
    Stops,
    Thinning,
    VolatilityOnly,
    Walls,
    simulate,
)
from squeeze.simulator.facts import baseline_auc
from squeeze.simulator.kernel import EXPIRED, LIQUIDATED, MARGIN, PULLED, STANDS, STOPPED, TAKEN
from squeeze.simulator.truth import by_leverage, close_step, joined, ledger, left_usd, onsets, true_map, wall_truth

LONG, SHORT = 0, 1
THREE = {"venues": (BYBIT, OKX, BINANCE), "venue_basis_bps": 2.0}
ALL = THREE | {"cross": CrossMargin(), "stops": Stops(), "thinning": Thinning(), "walls": Walls()}
SMALL = {"days": 1, "warm_up_days": 0, "positions": 300, "detail": True}
WIDE = np.array([1.0, 1e7])


@pytest.fixture(scope="module")
def everything() -> SimulatedMarket:
    return simulate(SimulatorSpec(days=8, warm_up_days=2, detail=True, **ALL), 0)


@pytest.fixture(scope="module")
def markets() -> dict[str, list[SimulatedMarket]]:
    zones = ("matter", "mixed", "do_not_matter")
    return {zone: [simulate(SimulatorSpec(days=30, zones=zone), seed) for seed in range(2)] for zone in zones}


def arrays(value: object) -> dict[str, bytes]:
    """Every array of a market, those of its venues and its ledger too."""
    named = {f.name: getattr(value, f.name) for f in fields(value)}
    found = {name: array.tobytes() for name, array in named.items() if isinstance(array, np.ndarray)}
    if isinstance(value, SimulatedMarket):
        for place, venue in enumerate(value.venues):
            found |= {f"{place} {name}": data for name, data in arrays(venue).items()}
        if value.kept is not None:
            found |= {f"ledger {name}": data for name, data in arrays(ledger(value)).items()}
    return found


switches = st.fixed_dictionaries(
    {},
    optional={
        "venues": st.sampled_from([(BYBIT,), (BYBIT, OKX, BINANCE)]),
        "venue_basis_bps": st.sampled_from([0.0, 5.0]),
        "cross": st.just(CrossMargin(changes_per_day=5.0)),
        "stops": st.just(Stops(share=0.5)),
        "thinning": st.just(Thinning(leaves_per_day=20.0)),
        "walls": st.just(Walls(per_day=300.0)),
        "zones": st.sampled_from(["matter", "mixed", "do_not_matter"]),
        "daily_volatility": st.sampled_from([0.014, 0.06]),
    },
)


@settings(max_examples=40, deadline=None)
@given(switches, st.integers(0, 2**31))
def test_every_long_has_one_short_at_its_venue_whatever_is_switched_on(chosen, seed):
    market = simulate(SimulatorSpec(**SMALL, **chosen), seed)
    held = ledger(market)
    for venue in market.venues:
        assert np.array_equal(venue.lots[:, LONG] + venue.lots[:, 2], venue.lots[:, SHORT])
    for minute in (0, 700, 1439):
        alive = held.alive(close_step(market, minute))
        counted = np.zeros((len(market.venues), 2), np.int64)
        np.add.at(counted, (held.venue[alive], held.side[alive]), held.lots[alive])
        assert np.array_equal(counted, [venue.lots[minute, :2] for venue in market.venues])


def test_the_same_seed_gives_the_same_bytes_with_every_switch():
    spec = SimulatorSpec(**SMALL, **ALL, zones="mixed")
    assert arrays(simulate(spec, 5)) == arrays(simulate(spec, 5))
    assert arrays(simulate(spec, 5)) != arrays(simulate(spec, 6))


def test_what_is_kept_changes_nothing_of_what_happens():
    kept, not_kept = (simulate(SimulatorSpec(days=2, detail=detail, **ALL), 3) for detail in (True, False))
    assert {name: data for name, data in arrays(kept).items() if "ledger" not in name} == arrays(not_kept)
    with pytest.raises(ValueError, match="detail=True"):
        true_map(not_kept, 0, WIDE)


def test_the_world_outside_is_the_same_whatever_is_switched_on():
    plain, more = (simulate(SimulatorSpec(**SMALL, **switched), 1).detail().outside for switched in ({}, ALL))
    assert all(np.array_equal(a, b) for a, b in zip(plain, more, strict=True))


# -- The true map ------------------------------------------------------------------------------------------------------


def test_the_map_holds_all_that_is_open_and_splits_by_leverage(everything):
    for minute in (0, 5_000, 11_519):
        whole = true_map(everything, minute, WIDE)
        lots = np.array([venue.lots[minute, :2] for venue in everything.venues])
        marks = np.array([venue.mark[minute, 3] for venue in everything.venues])
        np.testing.assert_allclose(whole[:, :, 0], lots * 0.001 * marks[:, None], rtol=1e-12)
        edges = np.exp(np.linspace(np.log(20_000), np.log(200_000), 200))
        split = by_leverage(everything, minute, edges, np.array([1.0, 5.0, 10.0, 25.0, 200.0]))
        np.testing.assert_allclose(split.sum(axis=2), true_map(everything, minute, edges), rtol=1e-12)


def test_longs_are_liquidated_below_the_mark_and_shorts_above(everything):
    for minute in range(500, 11_520, 1_000):
        for place, venue in enumerate(everything.venues):
            edges = np.array([1.0, venue.mark[minute, 3], 1e7])
            found = true_map(everything, minute, edges)[place]
            assert found[LONG, 1] == 0.0
            assert found[SHORT, 0] == 0.0
            assert found[LONG, 0] > 0.0 < found[SHORT, 1]


def test_a_liquidation_is_a_position_that_the_map_held(everything):
    held = ledger(everything)
    forced = (held.why == LIQUIDATED) & (held.closed >= 0)
    assert forced.sum() == len(everything.liquidation_ns)
    np.testing.assert_allclose(np.sort(held.liquidation[forced]), np.sort(everything.liquidation_price), rtol=1e-12)
    step = (everything.liquidation_ns - everything.minute_ns[0]) // 10_000_000_000
    assert np.array_equal(np.sort(held.closed[forced]), step)


def test_minutes_and_edges_that_make_no_sense_are_refused(everything):
    with pytest.raises(ValueError, match="minute lies between 0 and 11519, got 11520"):
        true_map(everything, 11_520, WIDE)
    with pytest.raises(ValueError, match="edges must be finite and rise"):
        true_map(everything, 0, WIDE[::-1])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_cross_positions_liquidation_price_follows_from_its_free_balance(everything, sign):
    held = ledger(everything)
    some = held.is_cross & (held.side == (LONG if sign > 0 else SHORT)) & (held.leverage / (1 + held.free) > 1.5)
    assert some.sum() > 1_000
    assert (held.free[~held.is_cross] == 0.0).all()
    size, entry = 1.0, held.entry[some]  # domain.md §3.1: LP = (WB - s·Q·EP) / (Q·m - s·Q)
    balance = entry * size / held.leverage[some] * (1.0 + held.free[some])
    margin = np.array([venue.maintenance + venue.fee for venue in everything.spec.venues])[held.venue[some]]
    expected = (balance - sign * size * entry) / (size * margin - sign * size)
    np.testing.assert_allclose(held.liquidation[some], expected, rtol=1e-9)


def test_cross_accounts_change_their_balance_and_isolated_ones_do_not(everything):
    held = ledger(everything)
    assert held.is_cross[held.why == MARGIN].all()
    assert (held.why == MARGIN).sum() > 100
    of_newcomers = np.isin(held.why, [LIQUIDATED, STOPPED]) | (held.why > 0)
    assert 0.35 < held.is_cross[of_newcomers].mean() < 0.75


def test_venues_share_positions_by_weight_and_differ_a_little_in_price(everything):
    held = ledger(everything)
    shares = np.bincount(held.venue, held.lots) / held.lots.sum()
    assert shares == pytest.approx([0.3, 0.2, 0.5], abs=0.02)
    apart = np.log(everything.venues[0].last[:, 3] / everything.venues[2].last[:, 3])
    assert 1e-4 < apart.std() < 5e-4  # two independent 2 bps: 2.8
    one = simulate(SimulatorSpec(**SMALL, venues=THREE["venues"]), 0)
    assert np.array_equal(one.venues[0].last, one.venues[2].last)


# -- Stops, thinning, walls --------------------------------------------------------------------------------------------


def test_stops_lie_between_entry_and_liquidation_and_beyond_round_numbers(everything):
    held = ledger(everything)
    long, short = (held.side == side for side in (LONG, SHORT))
    with_stop = np.where(long, held.stop > 0.0, np.isfinite(held.stop))
    fresh = with_stop & ~held.is_cross
    assert (held.stop[fresh & long] > held.liquidation[fresh & long]).all()
    assert (held.stop[fresh & short] < held.liquidation[fresh & short]).all()
    assert (held.stop[fresh & long] < held.entry[fresh & long]).all()
    assert (held.stop[fresh & short] > held.entry[fresh & short]).all()
    for side, past in ((long, 1.0), (short, 0.0)):
        place = (held.stop[with_stop & side] / 500.0) % 1.0  # of the way to the next round number
        just_beyond, just_before = (np.abs(place - at) < 0.2 for at in (past, 1.0 - past))
        assert just_beyond.mean() > 1.5 * just_before.mean()


def test_a_stop_goes_when_the_last_price_reaches_it_and_not_before(everything):
    held, played = ledger(everything), everything.detail().played
    stopped = (held.why == STOPPED) & (held.closed >= 0)
    assert stopped.sum() > 1_000
    bars = np.array([venue.last for venue in everything.venues])
    minute = held.closed[stopped] // everything.spec.substeps
    low, high = (bars[held.venue[stopped], minute, column] for column in (2, 1))
    longs, tiny = held.side[stopped] == LONG, 1 + 1e-12
    assert (low[longs] <= held.stop[stopped][longs] * tiny).all()
    assert (high[~longs] * tiny >= held.stop[stopped][~longs]).all()
    last = played.path[:, 1:2] + played.basis  # where no forced order moved the price, nobody's stop is left behind it
    for minute in range(100, 11_000, 900):
        step = close_step(everything, minute)
        alive = held.alive(step) & (held.opened < step)
        at = np.exp(last[step])[held.venue]
        behind = alive & np.where(held.side == LONG, held.stop > at, held.stop < at)
        assert behind.sum() == 0


def test_thinning_makes_those_near_their_liquidation_leave():
    left = {}
    for name, thinning in (("none", None), ("real", Thinning())):
        market = simulate(SimulatorSpec(days=6, warm_up_days=2, detail=True, thinning=thinning), 2)
        held, shares = ledger(market), []
        for minute in range(0, 8_400, 240):
            mark = market.mark[minute, 3]
            near = mark * np.exp([-0.01, 0.0, 0.01])
            was = true_map(market, minute, near, held)[0]
            gone = left_usd(market, (minute, minute + 60), near, positions=held)[0]
            assert (gone <= was * (1 + 1e-12)).all()
            shares.append(gone.sum() / was.sum())
        left[name] = np.mean(shares)
    assert left["real"] > 1.5 * left["none"]


def test_a_spoofed_wall_flees_and_a_genuine_one_is_taken_or_stays(everything):
    walls, path = wall_truth(everything), np.exp(everything.detail().played.path[:, :2])
    assert (walls.eaten_usd <= walls.usd * (1 + 1e-12)).all()
    assert not np.isin(walls.end[walls.is_genuine], [PULLED]).any()
    assert (walls.end[~walls.is_genuine] == PULLED).mean() > 0.1
    assert (walls.end[walls.is_genuine] == TAKEN).mean() > 0.03
    taken = walls.end == TAKEN
    np.testing.assert_allclose(walls.eaten_usd[taken], walls.usd[taken], rtol=1e-9)
    fled = walls.end == PULLED  # a jump may bite into one before it flees
    assert walls.eaten_usd[fled].sum() < 0.1 * walls.usd[fled].sum()
    assert ((walls.removed_ns == -1) == (walls.end == STANDS)).all()
    start = everything.minute_ns[0]
    for at in np.flatnonzero((walls.end == EXPIRED) & (walls.placed_ns >= start)):  # nothing trades through a wall
        first, last = ((ns - start) // 10_000_000_000 for ns in (walls.placed_ns[at], walls.removed_ns[at]))
        seen = path[first:last]
        held = seen.min() >= walls.price[at] * (1 - 1e-9) if walls.side[at] == 0 else (
            seen.max() <= walls.price[at] * (1 + 1e-9)
        )  # fmt: skip
        assert held


# -- Whether zones matter ----------------------------------------------------------------------------------------------


def zone_relation(market: SimulatedMarket) -> float:
    """Partial rank correlation of USD at risk with what is liquidated in the next 15 minutes.

    Given what else tells of it: outside volatility, that of the last hour, and what was liquidated before.
    """
    rows = np.arange(1440, len(market.minute_ns) - 20, 15)
    sigma = simulate_outside(market).reshape(-1, market.spec.substeps).mean(axis=1)[rows + 1]
    squares = np.append(0.0, np.diff(np.log(market.last[:, 3])) ** 2).cumsum()
    hour, day = (squares[rows] - squares[rows - minutes] for minutes in (60, 1440))
    found = []
    for side in (LONG, SHORT):
        before = market.liquidated_usd(15)[rows - 14, side]
        known = np.column_stack([ranks(values) for values in (sigma, hour, day, before)])
        controls = np.column_stack([np.ones(len(rows)), known, known**2, known[:, :1] * known[:, 1:]])
        left = [
            values - controls @ np.linalg.lstsq(controls, values, rcond=None)[0]
            for values in (ranks(market.liquidated_usd(15)[rows + 1, side]), ranks(market.at_risk_usd[rows, side]))
        ]
        found.append(np.corrcoef(*left)[0, 1])
    return float(np.mean(found))


def simulate_outside(market: SimulatedMarket) -> np.ndarray:
    """Outside volatility by sub-step, drawn again: it does not depend on the agents."""
    from squeeze.simulator.market import generators
    from squeeze.simulator.outside import CALM, outside_world
    from squeeze.simulator.rules import climate_of

    spec = market.spec
    steps = 1440 * (spec.days + spec.warm_up_days) * spec.substeps
    outside = outside_world(generators(market.seed)[0], climate_of(spec), CALM, steps)
    return outside.sigma[1440 * spec.warm_up_days * spec.substeps :]


def ranks(values: np.ndarray) -> np.ndarray:
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2.0 * len(values))


def test_the_true_map_tells_of_liquidations_only_where_zones_matter(markets):
    found = {zones: np.mean([zone_relation(market) for market in each]) for zones, each in markets.items()}
    assert found["matter"] > 0.25
    assert abs(found["do_not_matter"]) < 0.06
    assert found["do_not_matter"] + 0.05 < found["mixed"] < found["matter"]


def test_mass_at_risk_adds_to_volatility_only_where_zones_matter(markets):
    gains = {}
    for zones in ("matter", "do_not_matter"):
        gains[zones] = np.mean([
            baseline_auc(market, side, 15, more=np.log(market.at_risk_usd[:, [side]] + 1e4))
            - baseline_auc(market, side, 15)
            for market in markets[zones]
            for side in (LONG, SHORT)
        ])  # fmt: skip
    assert gains["matter"] > 0.08
    assert abs(gains["do_not_matter"]) < 0.02


def test_where_zones_do_not_matter_orders_come_as_often_and_hit_anybody(markets):
    counts = {zones: np.mean([len(m.liquidation_ns) for m in each]) for zones, each in markets.items()}
    assert counts["do_not_matter"] == pytest.approx(counts["matter"], rel=0.25)
    assert counts["mixed"] == pytest.approx(counts["matter"], rel=0.25)

    def distance(market: SimulatedMarket) -> float:
        return float(np.median(np.abs(np.log(market.liquidation_price / market.liquidation_mark))))

    assert max(distance(market) for market in markets["matter"]) < 0.005
    assert min(distance(market) for market in markets["do_not_matter"]) > 0.05


def test_both_sides_are_liquidated_alike_over_many_markets(markets):
    for each in markets.values():
        long, short = (np.mean([(m.liquidation_side == side).sum() for m in each]) for side in (LONG, SHORT))
        assert 0.5 < long / short < 2.0


# -- Onsets ------------------------------------------------------------------------------------------------------------


def test_a_cascade_begins_with_the_first_order_that_passes_the_threshold(markets):
    market = markets["matter"][0]
    ns, usd, cascades = market.liquidation_ns, market.liquidation_usd, onsets(market)
    for side in (LONG, SHORT):
        found = [each for each in cascades if each.side == side]
        quiet_until = 0
        for cascade in found[:15]:
            passing = []
            for at in np.flatnonzero((ns > quiet_until) & (ns <= cascade.onset_ns) & (market.liquidation_side == side)):
                minute = (ns > ns[at] - 60_000_000_000) & (np.arange(len(ns)) <= at)
                own = minute & (market.liquidation_side == side)
                if own.sum() >= 5 and usd[own].sum() >= max(250_000.0, 0.8 * usd[minute].sum()):
                    passing.append(int(ns[at]))
            assert passing[0] == cascade.onset_ns
            quiet_until = cascade.end_ns


def test_cascades_of_one_side_lie_apart_and_rise_with_the_order_of_time(markets):
    for side in (LONG, SHORT):
        found = [each for each in onsets(markets["matter"][1]) if each.side == side]
        assert len(found) > 20
        for before, after in pairwise(found):
            assert after.onset_ns >= before.end_ns + 5 * 60_000_000_000
        assert all(each.end_ns > each.onset_ns for each in found)
        assert joined(found) == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"venues": (BYBIT, BYBIT)}, "names of their own"),
        ({"venues": (SimulatedVenue(name="v", maintenance=0.02),)}, "below 0.9 / leverage_max"),
        ({"venue_basis_bps": 100.0}, "venue_basis_bps"),
        ({"zones": "sometimes"}, "Invalid enum value"),
        ({"null": {"branching": 1.0}}, "branching"),
        ({"walls": {"flee_log": 0.01}}, "flee_log"),
        ({"stops": {"round_usd": 0.0}}, "round_usd"),
        ({"thinning": {"reach_log": 0.0}}, "thinning"),
        ({"cross": {"share": 0.0}}, "share"),
        ({"venues": [{"name": "v", "funding_hours": 3}]}, "funding_hours"),
    ],
)
def test_an_impossible_switch_is_refused(values, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(msgspec.to_builtins(values), SimulatorSpec)


def test_a_null_without_excitement_is_a_plain_poisson_process():
    def dispersion(null: VolatilityOnly) -> float:
        market = simulate(SimulatorSpec(days=10, zones="do_not_matter", null=null), 4)
        hours = np.bincount((market.liquidation_ns - market.minute_ns[0]) // 3_600_000_000_000, minlength=240)
        return float(hours.var() / hours.mean())

    assert 0.7 < dispersion(VolatilityOnly(power=0.0, branching=0.0)) < 1.4
    assert dispersion(VolatilityOnly()) > 10.0
