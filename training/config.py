"""A run, whole, as one YAML file: every key is a field here or in `squeeze.spec`, with a sentence under it, checked
when read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from squeeze.errors import ConfigError
from squeeze.spec import MarketSpec, Spec, Strict, convert, require


class SeriesSpec(Strict, frozen=True, kw_only=True):
    """One more symbol to pre-train on: its bars and nothing else."""

    symbol: str
    start: str | None = None
    """UTC day to begin at; null for the first that is recorded."""
    until: str | None = None
    """UTC day to end at; null for the end of pre-training."""


class SplitSpec(Strict, frozen=True, kw_only=True):
    """Walk-forward: the last `test_share` of the rows, cut into `blocks` by time."""

    blocks: int = 5
    test_share: float = 0.6
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
    dropout: float = 0.2
    learn_leverage_weights: bool = True
    """Refine the leverage mixing layer from its prior, or freeze it."""


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
    patience: int = 3
    """Epochs without a better validation loss before stopping."""
    chunk: int = 64
    """Steps of back-propagation through time; the state is carried across chunks."""
    lane: int = 2048
    """Steps a lane runs before its state starts anew."""
    lanes: int = 32
    """Lanes side by side in a batch."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        require(len(self.quantiles) == len(self.exceedance_weights) > 0, "as many exceedance_weights as quantiles")
        require(0 < self.validation_share < 0.5, "validation_share lies between 0 and 0.5")
        require(
            self.lane % self.chunk == 0 and min(self.chunk, self.lanes, self.epochs) >= 1, "lane must be whole chunks"
        )


class HeadSpec(Strict, frozen=True, kw_only=True):
    """The small ridge-logistic head, refitted per block on the labels."""

    scalars: tuple[str, ...] = ()
    """Scalars it sees beside the pre-trained scores: a few liquidation intensities, nothing else (experiments.md)."""
    inverse_penalty: float = 0.01
    """scikit-learn's C."""
    clip: float = 5.0
    """Standardised inputs are clipped here."""


class RunConfig(Strict, frozen=True, kw_only=True):
    """One task, from lake to model file."""

    task: str
    spec: Spec
    imports: tuple[str, ...] = ()
    """Mappings to import, in this order, relative to the folder of this file."""
    start: str | None = None
    """UTC day at which the symbol's history begins; null for the first that is recorded."""
    until: str | None = None
    series: tuple[SeriesSpec, ...] = ()
    splits: SplitSpec = SplitSpec()
    network: NetworkSpec = NetworkSpec()
    pretrain: PretrainSpec
    head: HeadSpec = HeadSpec()
    seed: int = 0
    licence: str = "unknown: see the data's source"

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
    if text is None:
        return None
    try:
        return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))
    except ValueError:
        raise ConfigError(f"expected a UTC time like 2025-12-04 or 2025-12-04T07:00, got {text!r}") from None


def utc(ns: int) -> str:
    """Nanoseconds as an ISO time in UTC, to the second.

    >>> utc(86400000000000)
    '1970-01-02T00:00:00Z'
    """
    return f"{np.datetime64(int(ns), 'ns').astype('datetime64[s]')}Z"


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """A run from a YAML file, with `key.sub=value` overrides; `ConfigError` names the file and the key."""
    try:
        parsed = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML: {str(error).splitlines()[0]}") from None
    for override in overrides:
        _override(parsed, override)
    return convert(_plain(parsed), RunConfig, str(path))


def _override(parsed: Any, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set: expected key.sub=value, got {override!r}")
    *path, last = key.split(".")
    for name in path:
        parsed = parsed.setdefault(name, {})
        if not isinstance(parsed, dict):
            raise ConfigError(f"--set {override}: {name} holds no keys")
    parsed[last] = yaml.safe_load(value)


def _plain(value: Any) -> Any:
    """YAML reads a bare date as a date; configs take text."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
