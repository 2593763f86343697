"""Every shipped mapping against the recordings it was written for."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake, read_events
from squeeze.market.partitions import Written
from squeeze.spec import MarketSpec, StreamSpec

pytestmark = pytest.mark.real

CONFIGS = Path(__file__).parents[2] / "configs" / "import"
NAMES = ["btc-2026", "btc-2024-prints", "perps-unlabelled", "binance-2023-01-events", "originals"]
LARGEST = "perps-unlabelled"
"""Imported again in `make long` alone: it takes longer than the other four together."""
SUM = "binance+bybit+okx"
ZIPPED_ROWS = {"DOTUSDT-1m-2025-11": 30 * 1440, "DOTUSDT-1m-2026-02": 28 * 1440, "BTCUSDT-1m-2026-03": 31 * 1440}


@pytest.fixture(scope="module")
def imported(recordings, tmp_path_factory):
    """A lake with everything, and what importing each mapping into it in turn gave."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    return lake, {name: import_mapping(CONFIGS / f"{name}.yaml", recordings, lake) for name in NAMES}


def test_every_mapping_ships_with_this_test():
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_every_file_is_imported(imported, recordings, name):
    for file in imported[1][name]:
        path = recordings / file.file
        rows = ZIPPED_ROWS[path.stem] if path.suffix == ".zip" else pq.read_metadata(path).num_rows
        assert file.rows == file.written.rows_new + file.written.rows_same == rows, file.file
        assert file.written.rows_kept == 0, f"{file.file} contradicts another file"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == LARGEST else ()) for n in NAMES])
def test_importing_again_finds_every_row_the_same(imported, recordings, name):
    lake, first = imported
    again = import_mapping(CONFIGS / f"{name}.yaml", recordings, lake)
    assert [f.written for f in again] == [Written(rows_same=f.rows) for f in first[name]]
    assert [dataclasses.replace(f, written=Written()) for f in again] == [
        dataclasses.replace(f, written=Written()) for f in first[name]
    ]


def test_bars_that_lie_in_several_folders_are_the_same_bars(imported):
    lake, done = imported
    btc = next(f for f in done["perps-unlabelled"] if f.file.endswith("BTC_bars_5m.parquet"))
    assert btc.written == Written(rows_new=300_588 - 108_780, rows_same=108_780)  # 55,008 of 2024 and 53,772 of 2026
    spot = next(f for f in done["originals"] if "BTCUSDT" in f.file)
    assert spot.written == Written(rows_same=44_640), "the publisher's archive agrees with btc-2026 to the bit"
    assert len(lake.read("bar_5m", "binance", "BTCUSDT")["close"]) == 300_588


def test_hours_win_over_half_hours_and_no_minute_is_told_twice(imported):
    lake, _ = imported
    both = StreamSpec(venue=SUM, kinds=("liquidation_1h", "liquidation_30m"))
    got = lake.columns_of(both, "BTCUSDT")
    assert len(got["liquidation_1h"]["long_usd"]) == 3083
    hours = set(((got["liquidation_1h"]["event_ns"] - 1) // HOUR_NS).tolist())
    halves = ((got["liquidation_30m"]["event_ns"] - 1) // HOUR_NS).tolist()
    assert not hours & set(halves)
    reverse = lake.columns_of(StreamSpec(venue=SUM, kinds=both.kinds[::-1]), "BTCUSDT")
    assert len(reverse["liquidation_30m"]["long_usd"]) == 2388


def test_an_hour_is_at_least_its_two_halves(imported):
    lake, _ = imported
    hour, half = (lake.read(f"liquidation_{c}", SUM, "BTCUSDT") for c in ("1h", "30m"))
    for side in ("long_usd", "short_usd"):
        at = np.searchsorted(hour["event_ns"], half["event_ns"])
        sums = np.bincount(at, half[side], len(hour[side]) + 1)[:-1]
        assert (hour[side] >= sums * (1 - 1e-9)).mean() > 0.99


def test_funding_is_per_settlement_in_every_folder(imported):
    lake, _ = imported
    for symbol in ("BTCUSDT", "SOLUSDT", "DOGEUSDT", "ETHUSDT", "DOTUSDT"):
        rates, counts = np.unique(lake.read("funding", "binance", symbol)["funding_rate"].round(9), return_counts=True)
        assert rates[counts.argmax()] == 1e-4, f"{symbol}: Binance's standing rate is 0.01 % per 8 h"


def test_a_market_is_read_in_the_order_it_became_known(imported):
    lake, _ = imported
    market = MarketSpec(
        symbol="BTCUSDT",
        step_seconds=900,
        bars=StreamSpec(venue="binance", kinds=("bar_15m", "bar_5m")),
        open_interest=StreamSpec(venue="binance", kinds=("open_interest",)),
        funding=StreamSpec(venue="binance", kinds=("funding",)),
        liquidations=StreamSpec(venue=SUM, kinds=("liquidation_1h",)),
    )
    start = 1_764_547_200 * SECOND_NS  # 2025-12-01
    events = list(read_events(lake, market, start))
    known = np.array([e.known_at_ns for e in events])
    assert (np.diff(known) >= 0).all()
    assert len(events) == 132 * 96 + 1 + 38_015 + 396 + 3083  # the bar that closed at the very start as well
    assert len(lake.digest(market, start)) == 64


def test_open_interest_is_known_a_minute_after_its_stamp_and_prints_a_second(imported):
    lake, _ = imported
    for kind, venue, lag in (("open_interest", "binance", MINUTE_NS), ("liquidation", "bybit", SECOND_NS)):
        rows = lake.read(kind, venue, "BTCUSDT")
        assert set((rows["known_at_ns"] - rows["event_ns"]).tolist()) == {lag}


def test_the_many_symbols_of_one_file_become_as_many_streams(imported):
    lake, done = imported
    prints = done["binance-2023-01-events"][0]
    assert len(prints.symbols) == 186
    assert len(lake.read("liquidation", "binance", "DOTUSDT")["usd"]) == 147
    held = [h for h in lake.streams() if (h.kind, h.venue) == ("liquidation", "binance")]
    assert sum(h.rows for h in held) == 12_075
