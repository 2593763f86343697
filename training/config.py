"""A run, whole, as one YAML file: every key is a field here or in `squeeze.spec`, with a sentence under it, checked
when read.
"""

from pathlib import Path

import numpy as np

from squeeze.market.events import NAME
from squeeze.spec import MarketSpec, Spec
from squeeze.strict import Strict, convert, require, require_time, utc_ns
from squeeze.tools.run_file import read_run_file


class SeriesSpec(Strict, frozen=True, kw_only=True):
    """One more symbol to pre-train on: its bars and nothing else."""

    symbol: str
    """As the lake calls it; the venue is that of the task's own bars."""
    start: str | None = None
    """UTC day to begin at; null for the first that is recorded."""
    until: str | None = None
    """UTC day to end at; null for the end of pre-training."""

    def __post_init__(self) -> None:
        require_time("start", self.start)
        require_time("until", self.until)


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

    encoded: int = 24
    """Width of one encoded frame."""
    hidden: int = 24
    """Width of the GRU."""
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

    def __post_init__(self) -> None:
        require(min(self.encoded, self.hidden, *self.static, self.trunk) >= 1, "widths are at least 1")
        require(0 <= self.dropout < 1, "dropout lies between 0 and 1")


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
    """Of the log swept mass and the log excursion, against the exceedances."""
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

    def __post_init__(self) -> None:
        require_time("until", self.until)
        require(len(self.quantiles) == len(self.exceedance_weights) > 0, "as many exceedance_weights as quantiles")
        require(0 < self.validation_share < 0.5, "validation_share lies between 0 and 0.5")
        require(
            min(self.chunk, self.lane, self.lanes, self.epochs) >= 1, "chunk, lane, lanes and epochs are at least 1"
        )
        require(self.lane % self.chunk == 0, "lane must be whole chunks")
        require(self.learning_rate > 0 and self.weight_decay >= 0, "learning_rate must be positive")
        require(all(0 < q < 1 for q in self.quantiles), "quantiles lie between 0 and 1")


class HeadSpec(Strict, frozen=True, kw_only=True):
    """The small ridge-logistic head, refitted per block on the labels."""

    scalars: tuple[str, ...] = ()
    """Scalars it sees beside the pre-trained scores: a few liquidation intensities, nothing else (experiments.md)."""
    inverse_penalty: float = 0.01
    """scikit-learn's C."""
    clip: float = 5.0
    """Standardised inputs are clipped here."""

    def __post_init__(self) -> None:
        require(self.inverse_penalty > 0 and self.clip > 0, "inverse_penalty and clip are positive")


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
    splits: SplitSpec = SplitSpec()
    """How rows are cut into training and test."""
    network: NetworkSpec = NetworkSpec()
    """Widths of the network."""
    pretrain: PretrainSpec
    """The stage that needs no labels."""
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

    def markets(self) -> list[tuple[MarketSpec, int | None, int | None]]:
        """The task's own market first, then the pre-training series, each with its range in ns."""
        own = [(self.spec.market, day_ns(self.start), day_ns(self.until))]
        return own + [
            (bars_only(self.spec.market, s.symbol), day_ns(s.start), day_ns(s.until or self.pretrain.until))
            for s in self.series
        ]


def bars_only(market: MarketSpec, symbol: str) -> MarketSpec:
    """The same market for another symbol, with bars alone."""
    bars = market.bars
    kept = {name: getattr(market, name) for name in ("step_seconds", "gap_reset_hours", "warm_up_hours")}
    return MarketSpec(symbol=symbol, bars=bars, **kept)


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
