"""Rows of several blocks of one model, joined: what figures are made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS
from training import runs
from training.config import RunConfig
from training.evaluation.metrics import ap_gain, metrics
from training.walk import BlockResult

Figures = dict[str, dict[str, float]]
"""By side: named figures."""


class Pooled(msgspec.Struct, frozen=True):
    """Rows of several blocks of one model at the watched horizon; arrays are (row, side), NaN where it abstained."""

    ts_ns: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    base_rate: np.ndarray

    def held(self, times_ns: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Probability and truth by side as of each time: a row holds until the next; NaN and False before the first."""
        at = np.searchsorted(self.ts_ns, times_ns, side="right") - 1
        begun = (at >= 0)[:, None]
        probability, truth = np.where(begun, self.probability[at], np.nan), self.truth[at] & begun
        return {side: probability[:, s] for s, side in enumerate(SIDES)}, {
            side: truth[:, s] for s, side in enumerate(SIDES)
        }

    def figures(self, rival: "Pooled | None" = None) -> Figures:
        """All figures by side, over rows with a probability; with a rival also the gain in AP over it."""
        found: Figures = {}
        for s, side in enumerate(SIDES):
            seen = np.isfinite(self.probability[:, s])
            t, p = self.truth[seen, s], self.probability[seen, s].astype(float)
            found[side] = metrics(self.ts_ns[seen], t, p, self.base_rate[seen, s])
            if rival is not None:
                both = seen & np.isfinite(rival.probability[:, s])
                pair = (each.probability[both, s].astype(float) for each in (self, rival))
                gain = ap_gain(self.truth[both, s], *pair, self.ts_ns[both] // DAY_NS)
                found[side] |= dict(zip(("ap_gain", "ap_gain_low", "ap_gain_high"), gain, strict=True))
        return found


def pool(results: list[BlockResult], horizon: int) -> Pooled:
    """The rows of blocks, one after another, at one horizon (an index)."""
    return Pooled(
        np.concatenate([r.rows.ts_ns for r in results]),
        np.concatenate([r.rows.truth[:, :, horizon] for r in results]),
        np.concatenate([r.probabilities[:, :, horizon] for r in results]),
        np.concatenate([np.broadcast_to(r.base_rates[:, horizon], (len(r.rows), 2)) for r in results]),
    )


def stored_pool(run: runs.Run, folder: Path, *, test: bool, minutes: int | None = None) -> Pooled:
    """The rows that a kept run predicted, test or validation, at a horizon; the watched one if none is said."""
    minutes = minutes or run.config.spec.signal.horizon_minutes
    table = pd.read_parquet(folder / "predictions.parquet")
    table = table[(table["block"] != runs.VALIDATION) == test]
    columns = [np.column_stack([table[f"{what}_{side}_{minutes}"] for side in SIDES]) for what in ("y", "p", "rate")]
    return Pooled(table["ts"].dt.as_unit("ns").astype("int64").to_numpy(), *columns)


def watched(config: RunConfig) -> int:
    """Index of the horizon that the signal machine watches, and that figures are of."""
    return config.spec.label.horizons_minutes.index(config.spec.signal.horizon_minutes)


def table(figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """One row per model and side, for people."""
    shown = ("ap", "base_rate", "auc", "brier_skill", "slope", "ece", "episodes")
    return [
        {"model": name, "side": side} | {k: round(row[k], 3) for k in shown}
        for name, sides in figures.items()
        for side, row in sides.items()
    ]
