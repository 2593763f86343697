"""What a model file carries to be watched by: what training saw of each input, and alarm thresholds that keep a budget.

Thresholds come from validation rows, which no head was fitted on; the drift reference of a block from every step that
its training part saw. A record that is too short for either has none, and the card then promises nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.drift_spec import DriftReference
from squeeze.errors import DataError
from squeeze.market.events import MINUTE_NS
from squeeze.signals.alarm_threshold import AlarmThreshold
from training.calibration.drift import drift_reference
from training.calibration.risk import alarm_threshold, calibration_rows
from training.evaluation.alarms import BUDGETS_PER_DAY, claims
from training.evaluation.pools import pool
from training.prepare import Prepared
from training.walk import BlockResult, Trained

FILE = "guards.json"


class Guards(msgspec.Struct, frozen=True):
    """Of one training."""

    alarms: tuple[AlarmThreshold, ...]
    """By horizon, side and budget; those that the record is long enough for."""
    drift: tuple[DriftReference | None, ...]
    """By block."""


def guards(prepared: Prepared, trained: Trained) -> Guards:
    """Everything that the record allows."""
    return Guards(
        tuple(_alarms(prepared, trained.validation)), tuple(_drift(prepared, result) for result in trained.blocks)
    )


def read(folder: Path) -> Guards:
    """What a kept run holds."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Guards)


def _alarms(prepared: Prepared, results: list[BlockResult]) -> Iterator[AlarmThreshold]:
    label = prepared.config.spec.label
    for h, minutes in enumerate(label.horizons_minutes):
        rows = pool(results, h)
        for s, side in enumerate(SIDES):
            found = claims(
                rows.ts_ns, rows.truth[:, s], rows.probability[:, s].astype(float), minutes * MINUTE_NS,
                label.every_minutes * MINUTE_NS,
            )  # fmt: skip
            for budget in BUDGETS_PER_DAY:
                try:
                    yield alarm_threshold(calibration_rows(side, found), budget)
                except DataError:  # too few days or events for a promise
                    continue


def _drift(prepared: Prepared, result: BlockResult) -> DriftReference | None:
    own = prepared.own
    try:
        return drift_reference(own, np.flatnonzero(own.seen & (own.closes_ns <= result.block.train_until_ns)))
    except DataError:  # under two weeks
        return None
