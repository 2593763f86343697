"""Simulated markets as one labelled data set: a seed is a market of its own, recorded, folded, and with its oracle.

    WorldsSpec, zones, seed ─► simulate ─► published ─► OUT/lakes/<address>/      what a venue would show, as a lake
                                   │                        └─► examples.build ─► OUT/examples/<digest>/
                                   └─► oracle.probabilities ─► OUT/oracle/<address>/<day>-<batch>.npz

Everything is kept under an address of what it depends on, the simulator's source included: a second call does nothing,
and a killed one goes on where it was. The oracle is slow (0.2 s a row), so its rows are kept by day, and its paths in
batches: more of them can be played later.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

import squeeze.simulator
from squeeze.errors import DataError
from squeeze.files import whole, whole_folder
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import Rows, rows
from squeeze.simulator import Publication, SimulatedMarket, SimulatorSpec, Stops, Walls, published, simulate
from squeeze.simulator.oracle import probabilities
from squeeze.spec import MarketSpec
from training.config import RunConfig, WorldsSpec
from training.examples import Examples, Progress, build, silent

Zones = Literal["matter", "do_not_matter"]

PATHS = 50
"""The oracle's paths are played in batches of this many."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One simulated market: its frames, its labelled rows, and the step of each row's frame."""

    seed: int
    examples: Examples
    rows: Rows
    positions: np.ndarray
    """-1 where a row has no healthy frame."""

    @property
    def usable(self) -> np.ndarray:
        """Rows that a model can be fitted to or tested on."""
        return np.flatnonzero(self.positions >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """The best probabilities there are, at hourly times; `batches` (batch, row, side, horizon) are shares of `PATHS`
    paths each.
    """

    ts_ns: np.ndarray
    batches: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """(row, side, horizon), by all paths."""
        return np.asarray(self.batches.mean(axis=0))


class KeptLake(Lake):
    """A lake under an address of its own, which never changes: its digest is taken once and kept beside it."""

    def digest(self, market: MarketSpec, start_ns: int | None = None, end_ns: int | None = None) -> str:
        """As `Lake.digest`, which reads every row, books included."""
        asked = hashlib.sha256(msgspec.json.encode((market, start_ns, end_ns), order="sorted")).hexdigest()
        file = Path(f"{self.root}-{asked[:12]}.sha256")
        if not file.exists():
            with whole(file) as part:
                part.write_text(super().digest(market, start_ns, end_ns))
        return file.read_text()


class Source:
    """One market, simulated when it is first asked for."""

    def __init__(self, config: RunConfig, zones: Zones, seed: int, out: Path) -> None:
        self.config, self.zones, self.seed, self.out = config, zones, seed, out
        self.worlds = worlds_of(config)
        self.spec = simulator_of(config, zones)
        self.what = Publication(book_minutes=self.worlds.book_minutes)

    @cached_property
    def market(self) -> SimulatedMarket:
        """The market itself, with all that only the simulator knows: 5 s for 45 days."""
        return simulate(self.spec, self.seed)

    def lake(self, progress: Progress = silent) -> Lake:
        """What its venue shows: bars, mark, open interest, funding, liquidations, books."""
        folder = self.out / "lakes" / _address(self.spec, self.seed, self.what)
        if not folder.exists():
            with whole_folder(folder) as part:
                for day in range(self.worlds.days):
                    for (kind, venue), columns in published(self.market, day, self.what).items():
                        if len(columns["event_ns"]):
                            Lake(part).write(kind, venue, self.spec.symbol, columns)
                    progress(f"recording seed {self.seed}, zones {self.zones}", day + 1, self.worlds.days)
        return KeptLake(folder)

    def world(self, progress: Progress = silent) -> World:
        """Its frames and rows."""
        lake, spec = self.lake(progress), self.config.spec
        examples = build(lake, spec, spec.market, None, None, self.out / "examples", progress)
        labelled = rows(lake, spec)
        return World(self.seed, examples, labelled, examples.healthy_at(labelled.ts_ns))

    def oracle(self, progress: Progress = silent) -> Oracle:
        """Its oracle, from the end of the warm-up to the last time whose longest horizon was simulated."""
        days = range(int(self.config.spec.market.warm_up_hours // 24), self.worlds.days)
        batches = range(self.worlds.oracle_paths // PATHS)
        found = []
        for done, day in enumerate(days):
            files = [self._oracle_file(day, batch) for batch in batches]
            found.append((files[0][0], np.stack([hits for _, hits in files])))
            progress(f"oracle of seed {self.seed}, zones {self.zones}", done + 1, len(days))
        return Oracle(np.concatenate([ts for ts, _ in found]), np.concatenate([hits for _, hits in found], axis=1))

    def _oracle_file(self, day: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and probabilities of one day under one batch of paths, played unless just that was done before."""
        label = self.config.spec.label
        every = self.worlds.oracle_every_minutes
        address = _address(self.spec, self.seed, (label.threshold_usd, label.horizons_minutes, every, PATHS))
        file = self.out / "oracle" / address / f"{day:03d}-{batch:02d}.npz"
        if not file.exists():
            last = 1440 * self.worlds.days - label.horizons_minutes[-1]
            minutes = [m for m in range(1440 * day, 1440 * (day + 1), every) if m <= last]
            hits = [self._chances(minute - 1, batch) for minute in minutes]  # the close of one opens the next
            with whole(file) as part, part.open("wb") as to:
                np.savez(to, ts_ns=self.market.minute_ns[0] + MINUTE_NS * np.array(minutes), hits=np.array(hits))
        with np.load(file, allow_pickle=False) as kept:
            return kept["ts_ns"], kept["hits"]

    def _chances(self, minute: int, batch: int) -> np.ndarray:
        label = self.config.spec.label
        return np.asarray(
            probabilities(self.market, minute, label.horizons_minutes, label.threshold_usd, PATHS, seed=batch)
        )


def worlds_of(config: RunConfig) -> WorldsSpec:
    """The worlds of a run; `DataError` for a run on recordings."""
    if config.worlds is None:
        raise DataError(f"task {config.task}: has no `worlds`, the simulated markets to train and be tested on")
    return config.worlds


def simulator_of(config: RunConfig, zones: Zones) -> SimulatorSpec:
    """The market of a run: one venue that publishes every liquidation, with stops and walls, so that every heatmap has
    something of its own to show. Where zones do not matter every wall means it, as in `three_exchanges`.
    """
    return SimulatorSpec(
        symbol=config.spec.market.symbol,
        days=worlds_of(config).days,
        start=worlds_of(config).start,
        zones=zones,
        stops=Stops(),
        walls=Walls() if zones == "matter" else Walls(genuine_share=1.0),
        detail=True,
    )


def until_ns(config: RunConfig) -> int:
    """When the recordings of a run's worlds end."""
    worlds = worlds_of(config)
    return int(np.datetime64(worlds.start, "ns").astype(np.int64)) + worlds.days * DAY_NS


def _address(spec: SimulatorSpec, seed: int, more: object) -> str:
    """Of what is made from a market: its spec, its seed, the source of the simulator, and what else it depends on."""
    digest = hashlib.sha256(msgspec.json.encode((spec, seed, more), order="sorted"))
    for file in sorted(Path(squeeze.simulator.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:24]
