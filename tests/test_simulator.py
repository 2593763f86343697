import hashlib
import math
from dataclasses import fields

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.simulator import SimulatedMarket, SimulatorSpec, facts, simulate, write_recording
from squeeze.simulator.facts import BANDS
from squeeze.simulator.kernel import LONG, SHORT, liquidation_log_price
from squeeze.simulator.recording import DECIMALS

THRESHOLD_USD = 1_000_000.0
SHORT_RUN = SimulatorSpec(days=3, warm_up_days=2)


@pytest.fixture(scope="module", params=range(5))
def market(request) -> SimulatedMarket:
    return simulate(SimulatorSpec(days=20), request.param)


def arrays(market: SimulatedMarket) -> dict[str, np.ndarray]:
    named = {f.name: getattr(market, f.name) for f in fields(market)}
    return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}


def minute_of(market: SimulatedMarket) -> np.ndarray:
    return (market.liquidation_ns - market.minute_ns[0]) // MINUTE_NS


def test_the_same_seed_gives_the_same_bytes():
    first, again = arrays(simulate(SHORT_RUN, 7)), arrays(simulate(SHORT_RUN, 7))
    assert {name: a.tobytes() for name, a in first.items()} == {name: a.tobytes() for name, a in again.items()}


def test_the_default_market_is_the_one_whose_scores_the_readme_prints():
    # Computed before venues, stops, walls and the rest could be switched on; integers whole, floats to nine digits.
    names = (
        "minute_ns last mark volume_base taker_buy_base open_interest_base funding_ns funding_rate liquidation_ns "
        "liquidation_side liquidation_usd liquidation_mark liquidation_price liquidation_fill long_lots short_lots "
        "maker_lots at_risk_usd"
    )
    market, digest = arrays(simulate(SHORT_RUN, 7)), hashlib.sha256()
    for name in names.split():
        values = market[name]
        digest.update(values.tobytes() if values.dtype.kind == "i" else np.char.mod("%.9g", values).tobytes())
    assert digest.hexdigest() == "231ff1ecf9f41a1d4b51e450ea53d1ba4e65a4c4dd713630175740e73e3de82e"


def test_another_seed_gives_another_market():
    assert not np.array_equal(simulate(SHORT_RUN, 7).last, simulate(SHORT_RUN, 8).last)


def test_prices_stay_finite_and_bars_hold_together(market):
    for bars in (market.last, market.mark):
        opened, high, low, close = bars.T
        assert np.isfinite(bars).all()
        assert (low > 0).all()
        assert (low <= np.minimum(opened, close)).all()
        assert (high >= np.maximum(opened, close)).all()
        assert np.array_equal(opened[1:], close[:-1])


def test_volumes_are_sizes_and_takers_buy_no_more_than_is_traded(market):
    assert (market.taker_buy_base >= 0).all()
    assert (market.taker_buy_base <= market.volume_base).all()


def test_every_long_has_one_short_once_the_market_maker_is_counted(market):
    assert np.array_equal(market.long_lots + market.maker_lots, market.short_lots)
    whole = np.maximum(market.long_lots, market.short_lots)
    np.testing.assert_allclose(market.open_interest_base, whole * 0.001)


def test_nothing_is_liquidated_before_the_mark_reaches_its_price(market):
    row = minute_of(market)
    long = market.liquidation_side == LONG
    assert (market.liquidation_mark[long] <= market.liquidation_price[long]).all()
    assert (market.liquidation_mark[~long] >= market.liquidation_price[~long]).all()
    tiny = 1e-9
    assert (market.mark[row, 2] <= market.liquidation_mark * (1 + tiny)).all()
    assert (market.mark[row, 1] >= market.liquidation_mark * (1 - tiny)).all()


def test_forced_orders_print_in_order_inside_the_bar_of_their_minute(market):
    row = minute_of(market)
    assert (np.diff(market.liquidation_ns) >= 0).all()
    assert row.min() >= 0
    assert row.max() < len(market.minute_ns)
    assert (market.liquidation_usd > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_forced_sale_pushes_the_price_down_and_a_forced_purchase_up(seed):
    # The outside world does not look at the agents: markets of different depth agree until the first forced order.
    thin, deep = (simulate(SimulatorSpec(days=1, warm_up_days=0, depth_usd=d), seed) for d in (20e6, 1e15))
    first = int(minute_of(deep)[0])
    sides = deep.liquidation_side[minute_of(deep) == first]
    assert np.array_equal(thin.last[:first], deep.last[:first])
    if len(set(sides.tolist())) == 1:
        assert (thin.last[first, 3] < deep.last[first, 3]) == (sides[0] == LONG)


def test_in_a_thin_book_liquidations_cause_more_liquidations():
    thin, deep = (simulate(spec, 0) for spec in (SimulatorSpec(), SimulatorSpec(depth_usd=1e15)))
    assert thin.liquidation_usd.sum() > 1.3 * deep.liquidation_usd.sum()


@pytest.fixture(scope="module")
def sixty_days() -> list[dict[str, float]]:
    return [facts(simulate(SimulatorSpec(), seed), THRESHOLD_USD) for seed in range(3)]


def test_cascades_happen_on_both_sides_but_rarely(sixty_days):
    for found in sixty_days:
        for side in ("long", "short"):
            assert 0.03 <= found[f"{side}_60m"] <= 0.10  # 1,440 hours: at least 43 of them
            assert 0.005 <= found[f"{side}_15m"] <= 0.04
            assert found[f"densest_hours_{side}"] > 0.5
        assert found["excess_kurtosis"] > 10
        assert found["clustering_60m"] > 0.1


@pytest.mark.parametrize("figure", BANDS)
def test_the_market_resembles_recordings(sixty_days, figure):
    low, high, _ = BANDS[figure]
    assert low <= np.mean([found[figure] for found in sixty_days]) <= high


def test_a_market_of_a_few_days_has_too_few_events_for_the_baseline():
    assert math.isnan(facts(simulate(SHORT_RUN, 0), 1e9)["auc_long_60m"])


def test_the_next_hour_counts_its_first_minute_and_not_its_last():
    market = simulate(SHORT_RUN, 0)
    row, long = minute_of(market), market.liquidation_side == LONG
    ahead = market.liquidated_usd(60)
    for start in (0, 777, len(ahead) - 60):
        inside = long & (row >= start) & (row < start + 60)
        assert ahead[start, LONG] == pytest.approx(market.liquidation_usd[inside].sum())
    assert np.isnan(ahead[-59:]).all()
    assert np.isfinite(ahead[:-59]).all()


@pytest.mark.parametrize(("leverage", "side", "expected"), [(20, LONG, -4.57), (20, SHORT, 4.53), (100, LONG, -0.55)])
def test_liquidation_prices_are_those_of_the_okx_column_of_the_table(leverage, side, expected):
    move = math.expm1(liquidation_log_price(0.0, float(leverage), side, 0.0045)) * 100  # domain.md §3.1
    assert move == pytest.approx(expected, abs=0.006)


def test_funding_settles_every_eight_hours_within_reach_of_the_premium():
    market = simulate(SHORT_RUN, 1)
    assert (np.diff(market.funding_ns) == 8 * HOUR_NS).all()
    assert market.funding_ns[0] == market.minute_ns[0] + 8 * HOUR_NS
    assert len(market.funding_rate) == 3 * SHORT_RUN.days
    assert np.abs(market.funding_rate).max() < 0.01


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("days", 0, "days must be positive"),
        ("leverage_min", 0.5, "leverages exceed 1"),
        ("depth_usd", 0.0, "depth_usd must be positive"),
        ("refill_half_life_minutes", math.inf, "refill_half_life_minutes must be positive and finite"),
        ("start", "yesterday", "Invalid isoformat"),
    ],
)
def test_an_impossible_market_is_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        SimulatorSpec(**{key: value})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({key: value}, SimulatorSpec)


def test_written_files_read_back_equal_to_the_tick(tmp_path):
    market = simulate(SHORT_RUN, 3)
    write_recording(market, tmp_path)
    bars = pq.read_table(tmp_path / "bars_1m.parquet")
    assert str(bars.schema.field("ts").type) == "timestamp[ns, tz=UTC]"
    assert np.array_equal(bars["ts"].to_numpy().astype(np.int64), market.minute_ns)
    for i, name in enumerate(("open", "high", "low", "close")):
        assert np.array_equal(bars[name].to_numpy(), market.last[:, i].round(DECIMALS))
    prints = pq.read_table(tmp_path / "liquidations.parquet")
    assert np.array_equal(prints["usd"].to_numpy(), market.liquidation_usd)
    assert prints["side"].to_pylist() == [("long", "short")[side] for side in market.liquidation_side]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bars_1m.parquet",
        "funding.parquet",
        "liquidations.parquet",
        "mapping.yaml",
        "mark_bars_1m.parquet",
        "open_interest.parquet",
    ]


def test_the_importer_takes_the_recording_as_it_is(tmp_path):
    market = simulate(SHORT_RUN, 3)
    mapping = write_recording(market, tmp_path / "recorded")
    imported = import_mapping(mapping, tmp_path / "recorded", Lake(tmp_path / "lake"))
    kinds = {file.kind: (file.rows, file.first_ns, file.last_ns) for file in imported}
    minutes, first, end = len(market.minute_ns), int(market.minute_ns[0]), int(market.minute_ns[-1]) + MINUTE_NS
    assert kinds["bar_1m"] == kinds["mark_bar_1m"] == kinds["open_interest"] == (minutes, first + 60 * SECOND_NS, end)
    assert kinds["funding"] == (9, first + 8 * HOUR_NS, end)
    prints = market.liquidation_ns
    assert kinds["liquidation"] == (len(prints), prints[0], prints[-1])
