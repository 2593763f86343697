"""A run, whole, as one YAML file: every key is a field here, in `training.recipe` or in `squeeze.spec`, with a sentence
under it, checked when read.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from squeeze.market.events import NAME
from squeeze.spec import MarketSpec, Spec
from squeeze.strict import Strict, convert, require, require_time, utc_ns
from squeeze.tools.run_file import read_run_file
from training.recipe import HeadSpec, NetworkSpec, PretrainSpec, TeacherSpec


class SeriesSpec(Strict, frozen=True, kw_only=True):
    """One more market to pre-train on."""

    symbol: str
    """As the lake calls it."""
    venue: str | None = None
    """Whose bars they are; null for the venue of the task's own. Streams that the task reads of that venue move too."""
    streams: Literal["bars", "all"] = "bars"
    """`bars`: those and nothing else. `all`: everything that the task reads, of this symbol."""
    start: str | None = None
    """UTC day to begin at; null for the first that is recorded."""
    until: str | None = None
    """UTC day to end at; null for the end of pre-training."""

    def __post_init__(self) -> None:
        require_time("start", self.start)
        require_time("until", self.until)
        for what, name in (("symbol", self.symbol), ("venue", self.venue or "null")):
            require(NAME.fullmatch(name) is not None, f"{what} {name!r} may have letters, digits and + . _ -")


class SplitSpec(Strict, frozen=True, kw_only=True):
    """Walk-forward: the last `test_share` of the rows, cut into `blocks` by time."""

    blocks: int = 5
    """How many test blocks, each with a head of its own."""
    test_share: float = 0.6
    """Share of the rows, the last ones, that test blocks cover."""
    purge_minutes: int = 60
    """A training row's label interval ends at least this long before its block begins."""

    def __post_init__(self) -> None:
        require(
            self.blocks >= 1 and 0 < self.test_share < 1, "blocks is at least 1 and test_share lies between 0 and 1"
        )
        require(self.purge_minutes >= 0, "purge_minutes is not negative")


class WorldsSpec(Strict, frozen=True, kw_only=True):
    """Simulated markets in place of recordings: on which seeds a run is trained, chosen and tested."""

    days: int = 45
    """Length of each."""
    start: str = "2025-03-01"
    """UTC day on which each begins."""
    trained_on: tuple[int, ...]
    """Seeds of the markets that networks, heads and baselines are fitted to."""
    chosen_on: tuple[int, ...]
    """Seeds of the markets that choices are made on, and nothing else."""
    tested_on: tuple[int, ...]
    """Seeds of the markets that nothing was fitted to or chosen on."""
    networks: tuple[int, ...] = (0, 1, 2)
    """Seeds of the networks: results are means over them."""
    book_minutes: int = 15
    """How often the venue's order book is recorded: it is what takes the time."""
    oracle_paths: int = 100
    """Paths that the oracle plays from each hour of the tested markets."""
    oracle_every_minutes: int = 60
    """How often the oracle is asked; rows between are trained on and not tested."""

    def __post_init__(self) -> None:
        seeds = (*self.trained_on, *self.chosen_on, *self.tested_on)
        require(len(set(seeds)) == len(seeds), "a simulated market is trained on, chosen on or tested on, not two")
        require(
            bool(self.trained_on and self.tested_on and self.networks), "trained_on, tested_on, networks: not empty"
        )
        require(min(self.days, self.book_minutes) >= 1, "days and book_minutes are at least 1")
        require_time("start", self.start)
        require(self.oracle_paths >= 50 and self.oracle_paths % 50 == 0, "oracle_paths is a multiple of 50")
        require(self.oracle_every_minutes >= 1, "oracle_every_minutes is at least 1")


class RunConfig(Strict, frozen=True, kw_only=True):
    """One task, from lake to model file."""

    task: str
    """Names the run's folder and its node in the tracker; a referee knows its tasks by it."""
    spec: Spec
    """What frames, labels and signals depend on; stored in the model file."""
    imports: tuple[str, ...] = ()
    """Mappings to import, in this order, relative to the folder of this file."""
    start: str | None = None
    """UTC day at which the symbol's history begins; null for the first that is recorded."""
    until: str | None = None
    """UTC day at which it ends; null for the last that is recorded."""
    series: tuple[SeriesSpec, ...] = ()
    """Further symbols to pre-train on."""
    worlds: WorldsSpec | None = None
    """Simulated markets that take the place of recordings (`squeeze prove`); null for a run on recordings."""
    splits: SplitSpec = SplitSpec()
    """How rows are cut into training and test."""
    network: NetworkSpec = NetworkSpec()
    """Widths of the network."""
    pretrain: PretrainSpec
    """The stage that needs no labels."""
    teachers: TeacherSpec = TeacherSpec()
    """What is distilled into the network in that stage."""
    head: HeadSpec = HeadSpec()
    """The stage that does."""
    seed: int = 0
    """Of the weights' start, of dropout and of the order of lanes."""
    licence: str = "unknown: see the data's source"
    """What may be done with a model trained on these data; goes into its card."""

    def __post_init__(self) -> None:
        require(NAME.fullmatch(self.task) is not None, f"task {self.task!r} may have letters, digits and + . _ -")
        require_time("start", self.start)
        require_time("until", self.until)
        require(self.spec.frame.price_bins % 8 == 0, "spec.frame.price_bins must be a multiple of 8 for this network")
        own = (self.spec.market.symbol, self.spec.market.bars.venue)
        named = [(s.symbol, s.venue or own[1]) for s in self.series]
        require(len({own, *named}) == 1 + len(named), "series: the task's own market, or one market twice")
        require(
            self.spec.atlas is None or all(venue == own[1] for _, venue in named),
            "series.venue: the atlas's scalars and channels are called by venue, which must be the task's own",
        )

    def markets(self) -> list[tuple[MarketSpec, int | None, int | None]]:
        """The task's own market first, then the pre-training series, each with its range in ns."""
        own = [(self.spec.market, day_ns(self.start), day_ns(self.until))]
        return own + [
            (market_of(self.spec.market, s), day_ns(s.start), day_ns(s.until or self.pretrain.until))
            for s in self.series
        ]


def market_of(market: MarketSpec, series: SeriesSpec) -> MarketSpec:
    """The task's market for another symbol, and another venue in the place of that of its bars.

    With bars alone the atlas's venues stay, so that frames have the same scalars and channels, and nothing is read of
    them.
    """
    replace, own = msgspec.structs.replace, market.bars.venue
    venue = series.venue or own
    streams = {
        name: replace(stream, venue=venue) if stream.venue == own else stream
        for name, stream in market.streams().items()
    }
    if series.streams == "all":
        return replace(market, symbol=series.symbol, **streams)
    silent = tuple(replace(v, kinds=()) for v in market.venues)
    nothing = dict.fromkeys(("mark", "open_interest", "funding", "liquidations"))
    return replace(market, symbol=series.symbol, bars=streams["bars"], venues=silent, **nothing)


def day_ns(text: str | None) -> int | None:
    """A UTC time as nanoseconds; None stays None.

    >>> day_ns("1970-01-02")
    86400000000000
    """
    return None if text is None else utc_ns(text)


def utc(ns: int) -> str:
    """Nanoseconds as an ISO time in UTC, to the second.

    >>> utc(86400000000000)
    '1970-01-02T00:00:00Z'
    """
    return f"{np.datetime64(int(ns), 'ns').astype('datetime64[s]')}Z"


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """A run from a YAML file, with `key.sub=value` overrides; `ConfigError` names the file and the key."""
    return convert(read_run_file(Path(path), overrides), RunConfig, str(path))


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": [2, 3]})
    {'a.b': 1, 'c': [2, 3]}
    """
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v
        for name, part in value.items()
        for k, v in flatten(part, f"{prefix}.{name}" if prefix else str(name)).items()
    }
