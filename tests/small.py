"""A run small enough for tests: twelve simulated days in steps of five minutes, one symbol, one epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake
from squeeze.market.partitions import take
from squeeze.market.rows import Columns
from squeeze.model_file import ModelCard
from squeeze.simulator import Publication, SimulatedMarket, SimulatorSpec, simulate, write_recording
from squeeze.simulator.publish import published
from training.config import RunConfig, load_config
from training.prepare import Prepared
from training.runs import Run
from training.walk import Trained

SMALL: dict[str, Any] = {
    "task": "small",
    "licence": "simulated",
    "spec": {
        "market": {
            "symbol": "SIMUSDT",
            "step_seconds": 300,
            "bars": {"venue": "simulated", "kinds": ["bar_1m"], "stale_minutes": 5},
            "mark": {"venue": "simulated", "kinds": ["mark_bar_1m"], "stale_minutes": 5},
            "open_interest": {"venue": "simulated", "kinds": ["open_interest"], "stale_minutes": 10},
            "funding": {"venue": "simulated", "kinds": ["funding"], "stale_minutes": 600},
            "liquidations": {"venue": "simulated", "kinds": ["liquidation"]},
            "warm_up_hours": 24,
        },
        "frame": {
            "price_bins": 8,
            "windows_minutes": [15, 60, 240],
            "fresh_skip_minutes": 5,
            "swept_half_lives_minutes": [15, 60],
            "liquidation_half_lives_minutes": [10, 60],
            "open_interest_windows_minutes": [60],
        },
        "label": {
            "name": "over 300 thousand USD",
            "threshold_usd": 300_000,
            "horizons_minutes": [15, 60],
            "every_minutes": 5,
            "recorded": "days",
        },
        "signal": {"horizon_minutes": 60, "arm_ratio": 1.5, "cooldown_minutes": 30},
    },
    "pretrain": {
        "until": "2025-01-07",
        "quantiles": [0.8, 0.95],
        "exceedance_weights": [1.0, 2.0],
        "epochs": 1,
        "chunk": 32,
        "lane": 128,
        "lanes": 8,
    },
    "network": {"encoded": 8, "hidden": 6, "static": [12, 8], "trunk": 8},
    "splits": {"blocks": 2, "test_share": 0.5},
    "head": {"scalars": ["own_liquidated_10m", "other_liquidated_10m"], "inverse_penalty": 0.05},
}
"""The run as its YAML file holds it."""


def write_config(path: Path) -> RunConfig:
    """The run as a YAML file, and as what it is read to."""
    path.write_text(yaml.safe_dump(SMALL, sort_keys=False))
    return load_config(path)


def record(folder: Path) -> tuple[Path, Lake]:
    """The recording's mapping, and a lake with it; the last day has a hole in its bars and one in open interest."""
    mapping = write_recording(simulate(SimulatorSpec(days=12), 3), folder / "recording")
    for name in ("bars_1m", "mark_bars_1m"):
        _cut_out(mapping.parent / f"{name}.parquet", "2025-01-12T03:02", "2025-01-12T03:41")
    _cut_out(mapping.parent / "open_interest.parquet", "2025-01-12T08:00", "2025-01-12T08:40")
    lake = Lake(folder / "lake")
    import_mapping(mapping, mapping.parent, lake)
    return mapping, lake


def _cut_out(path: Path, since: str, until: str) -> None:
    table = pq.read_table(path)
    ts = table.column("ts").to_numpy()
    pq.write_table(table.filter((ts < np.datetime64(since)) | (ts >= np.datetime64(until))), path)


@dataclass(frozen=True)
class Market:
    """The small run's files: its config, its recording and its lake."""

    config_path: Path
    config: RunConfig
    mapping: Path
    lake: Lake


@dataclass(frozen=True)
class Finished:
    """The small run, trained, kept and exported."""

    prepared: Prepared
    trained: Trained
    run: Run
    out: Path
    folder: Path
    model: Path
    card: ModelCard


def kept(market: SimulatedMarket, folder: Path, what: Publication) -> Lake:
    """A lake with all that a simulated market's exchange publishes."""
    lake = Lake(folder)
    for day in range(market.spec.days):
        for (kind, venue), columns in published(market, day, what).items():
            if len(columns["event_ns"]):
                lake.write(kind, venue, market.spec.symbol, columns)
    return lake


def cut(lake: Lake, folder: Path, at_ns: int) -> Lake:
    """What of a lake was known by then."""
    return _rewritten(lake, folder, lambda kind, rows: take(rows, rows["known_at_ns"] <= at_ns))


def noised(lake: Lake, folder: Path, after_ns: int, seed: int) -> Lake:
    """The lake with every value that became known after then replaced by noise; the times stay."""
    rng = np.random.default_rng(seed)

    def change(kind: str, rows: Columns) -> Columns:
        later = rows["known_at_ns"] > after_ns
        factor = np.where(later, np.exp(rng.normal(0, 0.02, len(later))), 1.0)
        rows = {name: column * factor if column.dtype.kind == "f" else column for name, column in rows.items()}
        if "side" in rows:
            rows["side"] = np.where(later, rng.integers(0, 2, len(later)), rows["side"])
        for name in ("usd", "long_usd", "short_usd"):
            if name in rows:
                rows[name] = np.where(later, rows[name] * rng.lognormal(0, 2, len(later)), rows[name])
        return rows

    return _rewritten(lake, folder, change)


def _rewritten(lake: Lake, folder: Path, change: Callable[[str, Columns], Columns]) -> Lake:
    other = Lake(folder)
    for held in lake.streams():
        rows = change(held.kind, lake.read(held.kind, held.venue, held.symbol))
        other.write(held.kind, held.venue, held.symbol, rows)
    return other
