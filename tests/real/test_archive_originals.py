"""Files as they were published, against sums made without the code under test."""

import csv
import io
import json
import zipfile
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest

from squeeze.market.archives import import_archives
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.market.partitions import Written
from squeeze.market.rows import events_of

pytestmark = pytest.mark.real


@pytest.fixture
def originals(recordings):
    return recordings / "originals"


def csv_rows(path):
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    return [row for row in csv.reader(io.StringIO(text)) if row[0].isdigit()]


@pytest.mark.parametrize(
    ("name", "spot", "symbol"),
    [
        ("DOTUSDT-1m-2025-11.zip", False, "DOTUSDT"),
        ("DOTUSDT-1m-2026-02.zip", False, "DOTUSDT"),
        ("BTCUSDT-1m-2026-03.zip", True, "BTCUSDT-SPOT"),
    ],
)
def test_bars_hold_what_the_file_sums_to(originals, tmp_path, name, spot, symbol):
    lake = Lake(tmp_path)
    (done,) = import_archives([originals / name], lake, spot=spot)
    rows, bars = csv_rows(originals / name), lake.read("bar_1m", "binance", symbol)
    assert done.rows == len(bars["close"]) == len(rows)
    for column, number in (("volume_base", 5), ("taker_buy_base", 9), ("close", 4)):
        expected = sum(Decimal(row[number]) for row in rows)
        assert sum(Decimal(repr(value)) for value in bars[column].tolist()) == expected, column
    (again,) = import_archives([originals / name], lake, spot=spot)
    assert again.written == Written(rows_same=len(rows))


def test_a_mapping_of_the_same_files_gives_the_same_rows_to_the_bit(recordings, originals, tmp_path):
    from pathlib import Path

    lake = Lake(tmp_path)
    mapped = import_mapping(Path(__file__).parents[2] / "configs/import/originals.yaml", recordings, lake)
    for file in mapped:
        (done,) = import_archives([recordings / file.file], lake, spot=file.symbols[0].endswith("-SPOT"))
        assert done.written == Written(rows_same=file.rows)


def test_the_bybit_book_is_told_whole(originals, tmp_path):
    path, lake = originals / "bybit_xrpusdt-ob500.data.zip", Lake(tmp_path)
    with zipfile.ZipFile(path) as archive:
        frames = [json.loads(line) for line in archive.read(archive.namelist()[0]).splitlines()]
    (done,) = import_archives([path], lake)
    updates = list(events_of("book", "bybit", "XRPUSDT", lake.read("book", "bybit", "XRPUSDT")))
    assert [u.last_id for u in updates] == [frame["data"]["u"] for frame in frames]
    assert [u.event_ns for u in updates] == [frame["cts"] * 1_000_000 for frame in frames]
    assert [u.bids for u in updates] == [[(float(p), float(s)) for p, s in frame["data"]["b"]] for frame in frames]
    assert [u.asks for u in updates] == [[(float(p), float(s)) for p, s in frame["data"]["a"]] for frame in frames]
    assert done.rows == sum(max(1, len(frame["data"]["b"]) + len(frame["data"]["a"])) for frame in frames)
    assert (done.skipped, updates[0].is_snapshot, updates[0].depth) == (0, True, 500)
    assert import_archives([path], lake)[0].written == Written(rows_same=done.rows)


def tardis_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_tardis_trades_of_bitmex(originals, tmp_path):
    path, lake = originals / "tardis_bitmex_trades_XBTUSD.csv", Lake(tmp_path)
    (done,) = import_archives([path], lake, native_amounts=True)
    rows, got = tardis_rows(path), lake.read("trade", "bitmex", "XBTUSD")
    assert done.rows == len(rows) == 10
    assert Counter(got["known_at_ns"].tolist()) == Counter(int(row["local_timestamp"]) * 1000 for row in rows)
    assert got["size_base"].sum() == sum(int(row["amount"]) for row in rows)
    assert got["taker_buys"].sum() == sum(row["side"] == "buy" for row in rows)
    assert import_archives([path], lake, native_amounts=True)[0].written == Written(rows_same=10)


def test_tardis_snapshots_of_binance(originals, tmp_path):
    path, lake = originals / "tardis_binance-futures_book_snapshot_5_BTCUSDT.csv", Lake(tmp_path)
    (done,) = import_archives([path], lake)
    rows = tardis_rows(path)
    updates = list(events_of("book", "binance", "BTCUSDT", lake.read("book", "binance", "BTCUSDT")))
    assert len(updates) == len(rows) == 10
    assert done.rows == 100
    for update, row in zip(updates, rows, strict=True):
        assert (update.is_snapshot, update.depth) == (True, 5)
        assert update.known_at_ns == int(row["local_timestamp"]) * 1000
        assert update.bids == [(float(row[f"bids[{n}].price"]), float(row[f"bids[{n}].amount"])) for n in range(5)]
        assert update.asks == [(float(row[f"asks[{n}].price"]), float(row[f"asks[{n}].amount"])) for n in range(5)]


def test_tardis_book_of_deribit(originals, tmp_path):
    path, lake = originals / "tardis_deribit_incremental_book_L2_BTC-PERPETUAL.csv", Lake(tmp_path)
    (done,) = import_archives([path], lake, native_amounts=True)
    rows = tardis_rows(path)
    got = lake.read("book", "deribit", "BTC-PERPETUAL")
    assert done.rows + done.skipped == len(rows) == 15
    assert got["size_base"].sum() == sum(float(row["amount"]) for row in rows[done.skipped :])
    assert np.flatnonzero(got["is_change"] == 0).size == sum(row["is_snapshot"] == "true" for row in rows)
