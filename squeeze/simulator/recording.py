"""A simulated market as files, with the mapping by which the importer reads them like anybody's recording."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from squeeze.arrays import SIDES
from squeeze.files import whole
from squeeze.market.events import MINUTE_NS
from squeeze.simulator.market import FUNDING_HOURS, SimulatedMarket

OHLC = ("open", "high", "low", "close")
DECIMALS = 1
"""Of published prices: the simulated tick is 0.1."""


def write_recording(market: SimulatedMarket, folder: Path) -> Path:
    """Write what an exchange would show into Parquet files and `mapping.yaml`; returns the mapping's path.

    `ts` is UTC: the *open* of a bar, the time of everything else. Truth (positions, marks at a liquidation) is not
    written. Each file appears whole or not at all, the mapping last.
    """
    for name, table in tables_of(market).items():
        with whole(folder / name) as part:
            pq.write_table(table, part)
    path = folder / "mapping.yaml"
    with whole(path) as part:
        part.write_text(yaml.safe_dump(mapping_of(market), sort_keys=False))
    return path


def tables_of(market: SimulatedMarket) -> dict[str, pa.Table]:
    """Each file's name and content."""
    last = {name: market.last[:, i].round(DECIMALS) for i, name in enumerate(OHLC)}
    mark = {name: market.mark[:, i].round(DECIMALS) for i, name in enumerate(OHLC)}
    volumes = {"volume": market.volume_base, "taker_buy_volume": market.taker_buy_base}
    return {
        "bars_1m.parquet": table_of(market.minute_ns, last | volumes),
        "mark_bars_1m.parquet": table_of(market.minute_ns, mark),
        "open_interest.parquet": table_of(market.minute_ns + MINUTE_NS, {"open_interest": market.open_interest_base}),
        "funding.parquet": table_of(
            market.funding_ns,
            {
                "funding_rate": market.funding_rate,
                "interval_hours": np.full(len(market.funding_ns), float(FUNDING_HOURS)),
            },
        ),
        "liquidations.parquet": table_of(
            market.liquidation_ns, {"side": np.array(SIDES)[market.liquidation_side], "usd": market.liquidation_usd}
        ),
    }


def table_of(ns: np.ndarray, columns: dict[str, np.ndarray]) -> pa.Table:
    """Columns behind their UTC timestamps."""
    return pa.table(
        {"ts": pa.array(ns, pa.timestamp("ns", "UTC")), **{name: pa.array(value) for name, value in columns.items()}}
    )


def mapping_of(market: SimulatedMarket) -> dict[str, object]:
    """What the importer must know: which column is which, what a timestamp means, when a row was public."""
    prices = {name: name for name in OHLC}

    def file(name: str, kind: str, means: str, lag: str, columns: dict[str, str], **more: object) -> dict[str, object]:
        place = {"file": name, "kind": kind, "venue": market.spec.venue, "symbol": market.spec.symbol}
        ts = {"column": "ts", "means": means, "unit": "datetime"}
        return {**place, **more, "ts": ts, "columns": columns, "publication_lag": lag}

    volumes = {"volume_base": "volume", "taker_buy_base": "taker_buy_volume"}
    sides = {"column": "side", "values": {side: side for side in SIDES}}
    files = [
        file("bars_1m.parquet", "bar", "open", "0s", prices | volumes, cadence="1m"),
        file("mark_bars_1m.parquet", "mark_bar", "open", "0s", prices, cadence="1m"),
        file("open_interest.parquet", "open_interest", "event", "1s", {"open_interest_base": "open_interest"}),
        file("funding.parquet", "funding", "event", "0s", {name: name for name in ("funding_rate", "interval_hours")}),
    ]
    if len(market.liquidation_ns):  # the importer takes an empty file for a mistake
        files.append(file("liquidations.parquet", "liquidation", "event", "1s", {"usd": "usd"}, side=sides))
    return {"files": files}
