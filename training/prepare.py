"""What training starts from: every series folded into frames, the task's rows joined to theirs, and the blocks."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from squeeze.errors import ConfigError, DataError
from squeeze.market.lake import Lake
from squeeze.outcomes.rows import Rows, rows
from squeeze.state import MarketState
from training.config import RunConfig, SplitSpec, day_ns
from training.examples import Examples, Progress, alike, build, silent
from training.labels.checks import require_events
from training.leverage.mixing import starting_weights
from training.splits import Block, blocks


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What training starts from: the task's own frames first, the other series, the rows and their frames'
    positions.
    """

    config: RunConfig
    series: list[Examples]
    rows: Rows
    positions: np.ndarray
    """Step of each row's frame; -1 where there is none or it is unhealthy, and the model abstains."""
    leverage_weights: np.ndarray | None = None
    """Where the mixing layer starts; None for the spec's prior."""

    @property
    def own(self) -> Examples:
        """The task's own market."""
        return self.series[0]

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all inputs."""
        return hashlib.sha256("".join(e.data_digest for e in self.series).encode()).hexdigest()


def prepare(config: RunConfig, lake: Lake, out: Path, progress: Progress = silent) -> Prepared:
    """Fold all series of a run into frames and join the task's rows to theirs; `ConfigError` for a run that asks for
    what only simulated markets have.
    """
    for key in ("fine_tuning", "labels"):
        if getattr(config.pretrain, key):
            raise ConfigError(f"pretrain.{key}: recordings have no labels before pretrain.until; `squeeze prove` has")
    if unknown := set(config.head.scalars) - set(names := MarketState(config.spec).scalar_names):
        raise ConfigError(f"head.scalars: no scalar is called {sorted(unknown)}; there are {', '.join(names)}")
    series = [
        build(lake, config.spec, market, start, until, out, progress) for market, start, until in config.markets()
    ]
    alike(series)
    labelled = task_rows(config, lake, int(series[0].closes_ns[-1]))
    prepared = Prepared(config, series, labelled, series[0].healthy_at(labelled.ts_ns))
    require_events(labelled, config.spec.label, test_blocks(prepared))
    first = validation_blocks(prepared, test_blocks(prepared)[0])[0]
    return replace(prepared, leverage_weights=starting_weights(config, lake, first.test_from_ns, progress))


def task_rows(config: RunConfig, lake: Lake, last_ns: int) -> Rows:
    """The task's rows from the end of pre-training to the last bar."""
    labelled = rows(lake, config.spec)
    labelled = labelled.where((labelled.ts_ns >= day_ns(config.pretrain.until)) & (labelled.ts_ns <= last_ns))
    if not len(labelled):
        raise DataError(f"task {config.task}: no row lies between the end of pre-training and the last bar")
    return labelled


def test_blocks(prepared: Prepared) -> list[Block]:
    """The walk-forward blocks of the run."""
    return blocks(prepared.rows.ts_ns, prepared.config.spec.label, prepared.config.splits)


def validation_blocks(prepared: Prepared, first_test: Block) -> list[Block]:
    """The last half of what the first test block may train on, in four blocks of its own."""
    inside = prepared.rows.ts_ns[first_test.trains(prepared.rows.ts_ns)]
    return blocks(
        inside,
        prepared.config.spec.label,
        SplitSpec(blocks=4, test_share=0.5, purge_minutes=prepared.config.splits.purge_minutes),
    )
