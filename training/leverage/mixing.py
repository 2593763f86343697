"""Leverage weights from what was known before a cut, and where the network's mixing layer starts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from squeeze.errors import ConfigError
from squeeze.heatmaps.weights import BlockFit, FitSpec, WeightFit, fit_blocks, fixed_point
from squeeze.market.events import MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.spec import MapSpec
from squeeze.tools.sweeps import SweepHistory, SweepRows, read_sweeps
from squeeze.tools.weights import read_weights
from training.config import RunConfig, day_ns, utc
from training.examples import Progress, silent


@dataclass(frozen=True, slots=True, eq=False)
class KnownFit:
    """A fit to what was known before a cut, the fold that it belongs to, and how they came together."""

    block: BlockFit
    rows: SweepRows
    """What was fitted."""
    swept: np.ndarray
    """(step, side, bucket) of the whole history; with a fixed point, under the fitted weights up to the cut."""
    changes: tuple[float, ...]
    """By round of the fixed point; empty without."""
    converged: bool

    @property
    def fit(self) -> WeightFit:
        """The weights."""
        return self.block.fit


def fit_known(
    history: SweepHistory,
    cut_ns: int,
    purge_ns: int,
    *,
    share: float | None,
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
    draws: int = 0,
    iterate: bool = False,
    fold_until_ns: int = 0,
) -> KnownFit:
    """Weights from all that was known `purge_ns` before a cut; `DataError` naming the cut where that is too little.

    `iterate` folds and fits to the fixed point, and folds on with it up to `fold_until_ns` (the cut, if that is later).
    Where the share is not known, weights of the sum of the prior's are what closes count off.
    """
    prior = history.map_spec.prior_weights

    def fitted(swept: np.ndarray, count: int = 0) -> BlockFit:
        rows = history.rows(swept, cut_ns - purge_ns)
        return fit_blocks(
            rows.swept, rows.observed, rows.close_ns, prior, [cut_ns], purge_ns=purge_ns, share=share, spec=spec,
            draws=count,
        )[0]  # fmt: skip

    swept, changes, settled = history.swept, tuple[float, ...](), True
    if iterate:

        def folded(weights: np.ndarray) -> np.ndarray:
            # Under the prior it was folded already.
            return history.swept if weights.tolist() == list(prior) else history.folded(weights, cut_ns)

        found = fixed_point(folded, lambda mass: fitted(mass).fit, np.array(prior))
        changes, settled = found.changes, found.converged
        swept = history.folded(found.fit.weights, max(cut_ns, fold_until_ns))
    block = fitted(swept, draws)
    return KnownFit(block, history.rows(swept, cut_ns - purge_ns), swept, changes, settled and block.fit.converged)


def share_of(history: SweepHistory) -> float | None:
    """1 where the venue tells of every liquidation, None where that is not known."""
    return None if history.share_unknown else 1.0


def starting_weights(config: RunConfig, lake: Lake, cut_ns: int, progress: Progress = silent) -> np.ndarray | None:
    """Where the mixing layer starts, from nothing known after the purge before `cut_ns`; None for the spec's prior.

    The cut is that of the first block that is predicted, a validation block: the one network serves all blocks. Frames
    are folded under the prior, so the weights are those fitted to that fold. Raises `DataError` on too little, or for a
    file that cannot be read, `ConfigError` for a file of other leverages, another task, or later data alone.
    """
    source, purge_ns = config.network.leverage_weights, config.splits.purge_minutes * MINUTE_NS
    if source == "prior":
        return None
    if source == "fitted":
        history = read_sweeps(lake, config.spec, day_ns(config.start), day_ns(config.until), progress)
        return fit_known(history, cut_ns, purge_ns, share=share_of(history)).fit.weights
    return _from_file(Path(source), config.spec.map, cut_ns - purge_ns)


def _from_file(path: Path, spec: MapSpec, known_by_ns: int) -> np.ndarray:
    file = read_weights(path)
    if file.leverages != spec.leverages:
        raise ConfigError(f"{path}: weights of {file.leverages}, the map has {spec.leverages}")
    early = [block for block in file.blocks if (day_ns(block.last) or 0) <= known_by_ns]
    if not early:
        first = file.blocks[0].last if file.blocks else "nothing"
        raise ConfigError(f"{path}: its earliest weights know of {first}; the run may know of {utc(known_by_ns)}")
    return np.array(early[-1].weights)
