"""A run, whole, as one YAML file: every key is a field here or in `squeeze.spec`, with a sentence under it, checked
when read.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from squeeze.market.events import NAME
from squeeze.spec import MarketSpec, Spec
from squeeze.strict import Strict, convert, require, require_time, utc_ns
from squeeze.tools.run_file import read_run_file


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


class NetworkSpec(Strict, frozen=True, kw_only=True):
    """Encoder, temporal core, static branch and trunk."""

    encoder: Literal["patch", "conv"] = "patch"
    """Over price: `patch` cuts it into strips, twice; `conv` lets three convolutions overlap, and costs more."""
    core: Literal["gru", "tcn", "window"] = "gru"
    """Over time: `gru`, a causal dilated `tcn`, or `window`, which looks at the last frames anew each step like
    DeepLOB (`training/networks/cores.py`).
    """
    encoded: int = 24
    """Width of one encoded frame."""
    hidden: int = 24
    """Width of the core's output."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Of the `tcn`: one layer for each, of three taps so many steps apart."""
    window: int = 60
    """Of the `window` core: how many frames it sees."""
    static: tuple[int, int] = (64, 40)
    """Widths of the branch that takes the scalars without memory."""
    trunk: int = 32
    """Width of the layer that joins the two before the scores."""
    dropout: float = 0.2
    """Share of values dropped in the static branch and before the trunk, while training."""
    learn_leverage_weights: bool = True
    """Refine the leverage mixing layer from where it starts, or freeze it."""
    leverage_weights: str = "prior"
    """Where that layer starts: `prior` (the spec's), `fitted` to the liquidations known before the first validation
    block, or a file of `squeeze weights`, whose newest weights of that time are taken.
    """

    most_parameters: int = 50_000
    """A network with more learned numbers is refused."""

    def __post_init__(self) -> None:
        require(min(self.encoded, self.hidden, *self.static, self.trunk) >= 1, "widths are at least 1")
        require(0 <= self.dropout < 1, "dropout lies between 0 and 1")
        require(min(self.dilations, default=0) >= 1, "dilations are at least 1, and there is one or more")
        require(self.window >= 12, "window is at least 12 frames: its convolutions take ten of them")


class FineTuneSpec(Strict, frozen=True, kw_only=True):
    """All weights go on learning from the labelled truth of a block's training part (`pretraining.task.fine_tune`)."""

    epochs: int = 3
    """Times that every training frame is seen, at most."""
    learning_rate: float = 2e-4
    """In place of pre-training's."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1 and self.learning_rate > 0, "epochs is at least 1, learning_rate is positive")


class PretrainSpec(Strict, frozen=True, kw_only=True):
    """Pre-training on what needs no liquidation record: the map's swept mass and the excursion over each horizon."""

    until: str
    """UTC time; nothing later is used, and head and test rows begin after it."""
    quantiles: tuple[float, ...] = (0.90, 0.95, 0.98, 0.99)
    """Exceedance of these quantiles of a series' own swept mass."""
    exceedance_weights: tuple[float, ...] = (1.0, 1.5, 2.0, 2.0)
    """The rarer exceedances weigh more in the loss: the imbalance is met here, and not by resampling, which would bend
    the probabilities.
    """
    regression_weight: float = 0.3
    """Of the log swept mass and the log excursion, against the exceedances; 0 leaves them out."""
    labels: bool = False
    """Learn the labelled truth too, where it is known: one more score per horizon."""
    label_weight: float = 1.0
    """Of the labelled truth, against the exceedances."""
    teacher_weight: float = 0.5
    """Where a teacher's scores are given, the share of the loss that follows them; the truth has the rest."""
    fine_tuning: FineTuneSpec | None = None
    """An experiment: null for the head alone on the labels (experiments.md: all weights learned nothing more)."""
    validation_share: float = 0.15
    """The last part of the time before `until`, for early stopping alone."""
    epochs: int = 12
    """Times that every training frame is seen, at most."""
    patience: int = 3
    """Epochs without a better validation loss before stopping."""
    chunk: int = 64
    """Steps of back-propagation through time; the state is carried across chunks."""
    lane: int = 2048
    """Steps a lane runs before its state starts anew."""
    lanes: int = 32
    """Lanes side by side in a batch."""
    learning_rate: float = 2e-3
    """AdamW's; the schedule rises to half as much again and falls to nothing."""
    weight_decay: float = 1e-2
    """AdamW's."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Of the arithmetic; weights stay 32 bits wide. `auto`: bf16 on a GPU, 32 on a CPU."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles the network; `auto`: on a GPU alone."""
    devices: int = 1
    """GPUs, or processes on a CPU, that share the lanes of a batch."""
    strategy: str = "auto"
    """How they do, by Lightning's name for it, as `ddp`; `auto` is one device, or `ddp` on several."""

    @property
    def scores_per_horizon(self) -> int:
        """A logit per exceedance, the log swept mass, the log excursion, and with `labels` a logit of the truth."""
        return len(self.quantiles) + 2 + self.labels

    def __post_init__(self) -> None:
        require_time("until", self.until)
        require(
            min(self.regression_weight, self.label_weight, *self.exceedance_weights) >= 0
            and max(self.exceedance_weights) > 0,
            "weights of the loss are not negative, and one exceedance weighs something",
        )
        require(0 <= self.teacher_weight <= 1, "teacher_weight lies between 0 and 1")
        require(self.fine_tuning is None or self.labels, "fine_tuning needs labels: true")
        require(self.devices >= 1, "devices is at least 1")
        require(len(self.quantiles) == len(self.exceedance_weights) > 0, "as many exceedance_weights as quantiles")
        require(0 < self.validation_share < 0.5, "validation_share lies between 0 and 0.5")
        require(
            min(self.chunk, self.lane, self.lanes, self.epochs) >= 1, "chunk, lane, lanes and epochs are at least 1"
        )
        require(self.lane % self.chunk == 0, "lane must be whole chunks")
        require(self.learning_rate > 0 and self.weight_decay >= 0, "learning_rate must be positive")
        require(all(0 < q < 1 for q in self.quantiles), "quantiles lie between 0 and 1")


class BoostingSpec(Strict, frozen=True, kw_only=True):
    """The boosted family of pre-trained scores; LightGBM's settings, as the study of these tasks left them."""

    rounds: int = 220
    """Trees for each target; none are stopped early, so that the tail stays unseen."""
    leaves: int = 24
    """Of a tree."""
    least_leaf: int = 300
    """Rows of a leaf, at least."""
    learning_rate: float = 0.05
    """Shrinkage of a tree."""
    scalar_share: float = 0.35
    """Share of the scalars that a tree may use."""
    row_share: float = 0.6
    """Share of the rows that a tree sees."""
    l2: float = 10.0
    """Ridge on the leaves."""
    most_rows: int = 180_000
    """Rows of all series and both sides; more are thinned evenly, for neighbours tell the same."""

    def __post_init__(self) -> None:
        require(min(self.rounds, self.least_leaf, self.most_rows) >= 1 and self.leaves >= 2, "counts are at least 1")
        require(0 < self.scalar_share <= 1 and 0 < self.row_share <= 1, "scalar_share and row_share are shares")
        require(self.learning_rate > 0 and self.l2 >= 0, "learning_rate is positive, l2 not negative")


class TeacherSpec(Strict, frozen=True, kw_only=True):
    """Pre-trained models whose mean is distilled into the one network that is exported; none of them, and that network
    learns from the proxies alone.
    """

    networks: int = 0
    """Networks like the exported one, each from a seed of its own."""
    boosted: int = 0
    """Boosted families, each from a seed of its own; a boosted and a network family weigh the same."""
    boosting: BoostingSpec = BoostingSpec()
    """How those are fitted."""

    def __post_init__(self) -> None:
        require(min(self.networks, self.boosted) >= 0, "networks and boosted are not negative")


class HeadSpec(Strict, frozen=True, kw_only=True):
    """The small ridge-logistic head, refitted per block on the labels."""

    scalars: tuple[str, ...] = ()
    """Scalars it sees beside the pre-trained scores: a few liquidation intensities, nothing else (experiments.md)."""
    inverse_penalty: float = 0.01
    """scikit-learn's C."""
    clip: float = 5.0
    """Standardised inputs are clipped here."""
    calibration: Literal["none", "platt"] = "none"
    """`platt` folds a line per horizon bucket into the head, fitted on out-of-fold logits of its training rows."""

    def __post_init__(self) -> None:
        require(self.inverse_penalty > 0 and self.clip > 0, "inverse_penalty and clip are positive")


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
