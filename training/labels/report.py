"""`squeeze labels`: how often a label comes true, what was left out of it and why, and what each constant does.

By default only rows that the first test block may train on are counted: to choose a label by the rates of test rows
would be to look at them.
"""

import contextlib
from typing import Any

import msgspec
import numpy as np

from squeeze.arrays import SIDES
from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, SECOND_NS
from squeeze.market.lake import Lake
from squeeze.outcomes.label_inputs import LabelInputs, read_inputs
from squeeze.outcomes.rows import Labelled, Rows, episodes, label_of
from squeeze.spec import LabelSpec, Spec
from squeeze.tools.fold import last_known_ns
from training.config import RunConfig, day_ns, utc
from training.examples import Progress, silent
from training.splits import blocks

LATEST_NS = 2**63 - 1
TO_ONE = ("quantile", "side_share", "drop_quantile", "end_share", "gap_share")
"""Shares: of one over a half it is the distance to one that is halved and doubled."""

Line = dict[str, Any]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `squeeze labels` prints; tables are lists of lines with the same keys."""

    task: str
    version: str
    counted: str
    """Which rows."""
    rows: int
    masked: list[Line]
    rates: list[Line]
    months: list[Line]
    sensitivity: list[Line]


def report(
    config: RunConfig,
    lake: Lake,
    *,
    everything: bool = False,
    until_ns: int | None = None,
    progress: Progress = silent,
) -> Report:
    """The label of a run, counted; `everything` counts test rows too, and the report says so.

    `until_ns` stops earlier: another label on a task's record has other rows, and another first test block.
    """
    spec = config.spec
    inputs = read_inputs(lake, spec)
    made = label_of(inputs, spec)
    begin_ns, end_ns, counted = span_of(config, lake, made.rows, everything)
    if until_ns is not None and until_ns < end_ns:
        end_ns, counted = until_ns, f"rows from {utc(begin_ns)} to {utc(until_ns)}, as asked"
    own = within(made.rows, begin_ns, end_ns)
    tried = variants(spec.label)
    lines = [_tried(own, spec, "as configured", "", own)]
    for number, (name, value, label) in enumerate(tried, 1):
        changed = msgspec.structs.replace(spec, label=label)
        lines.append(_tried(_rows_or_none(inputs, changed, begin_ns, end_ns), changed, name, value, own))
        progress("labels with other constants", number, len(tried))
    return Report(
        task=config.task,
        version=made.version,
        counted=counted,
        rows=len(own),
        masked=masked(made, begin_ns, end_ns),
        rates=rates(own, spec.label),
        months=months(own, spec),
        sensitivity=lines,
    )


def span_of(config: RunConfig, lake: Lake, found: Rows, everything: bool = False) -> tuple[int, int, str]:
    """First and last time at which rows are counted, and that in words; `DataError` where a run has no rows.

    The run's rows are those of its training: from the end of pre-training to the last bar.
    """
    begin_ns, length_ns = day_ns(config.pretrain.until) or 0, config.spec.market.step_seconds * SECOND_NS
    last_ns = min(last_known_ns(lake, config.spec), day_ns(config.until) or LATEST_NS)
    own = within(found, begin_ns, -(-last_ns // length_ns) * length_ns)
    name = config.spec.label.name
    if not len(own):
        raise DataError(f"label {name}: none of {len(found)} rows lies between {utc(begin_ns)} and {utc(last_ns)}")
    if everything:
        return begin_ns, int(own.ts_ns[-1]), f"all rows from {utc(begin_ns)} on, those of test blocks too"
    until_ns = blocks(own.ts_ns, config.spec.label, config.splits)[0].train_until_ns
    said = f"rows from {utc(begin_ns)} to {utc(until_ns)}, all that the first test block may train on"
    return begin_ns, until_ns, said


def within(found: Rows, begin_ns: int, end_ns: int) -> Rows:
    """Rows from one time to another, both included."""
    return found.where((found.ts_ns >= begin_ns) & (found.ts_ns <= end_ns))


def masked(made: Labelled, begin_ns: int, end_ns: int) -> list[Line]:
    """Decision times that were left out, by reason."""
    return [
        {"reason": reason, "rows": int(((ts >= begin_ns) & (ts <= end_ns)).sum())} for reason, ts in made.masked.items()
    ]


def rates(found: Rows, label: LabelSpec) -> list[Line]:
    """Base rate and separate events by side and horizon."""
    return [
        {
            "side": side,
            "horizon_minutes": minutes,
            "rows": len(found),
            "positives": int(found.truth[:, s, h].sum()),
            "base_rate": _mean(found.truth[:, s, h]),
            "episodes": episodes(found.ts_ns, found.truth[:, s, h]),
        }
        for s, side in enumerate(SIDES)
        for h, minutes in enumerate(label.horizons_minutes)
    ]


def months(found: Rows, spec: Spec) -> list[Line]:
    """Rows, base rates and episodes of each month, at the horizon that the signal machine watches."""
    watched = spec.label.horizons_minutes.index(spec.signal.horizon_minutes)
    month = (found.ts_ns // DAY_NS).astype("datetime64[D]").astype("datetime64[M]")
    lines = []
    for each in np.unique(month):
        part = found.where(month == each)
        lines.append({"month": str(each), "rows": len(part)} | _sides(part, watched))
    return lines


def variants(label: LabelSpec) -> list[tuple[str, str, LabelSpec]]:
    """Each constant of the label halved and doubled: its name, its value, the label; not those that a spec refuses."""
    constants = label.onset or label.price
    own = ("threshold_usd", "gap_share") if constants is None else ("guard_seconds", "after_minutes", "gap_share")
    found = []
    for name in own:
        for value in _changed(name, getattr(label, name)):
            with contextlib.suppress(ValueError):
                found.append((name, f"{value:g}", msgspec.structs.replace(label, **{name: value})))
    for name in () if constants is None else constants.__struct_fields__:
        for value in _changed(name, getattr(constants, name)):
            with contextlib.suppress(ValueError):
                nested = msgspec.structs.replace(constants, **{name: value})
                found.append((name, f"{value:g}", msgspec.structs.replace(label, **{label.event: nested})))
    return found


def _changed(name: str, value: float) -> list[float]:
    """A constant halved and doubled.

    >>> _changed("sigmas", 4.0), _changed("quantile", 0.995), _changed("least_prints", 5), _changed("least_drop", 0.0)
    ([2.0, 8.0], [0.9975, 0.99], [2, 10], [])
    """
    if name in TO_ONE and value > 0.5:
        new: list[float] = [round(1 - (1 - value) * factor, 12) for factor in (0.5, 2.0)]
    else:
        new = [value // 2, value * 2] if isinstance(value, int) else [value * 0.5, value * 2]
    return [each for each in new if each != value]


def _rows_or_none(inputs: LabelInputs, spec: Spec, begin_ns: int, end_ns: int) -> Rows:
    """The rows that a label gives in a span of time, which may be none."""
    try:
        return within(label_of(inputs, spec).rows, begin_ns, end_ns)
    except DataError:
        return Rows(np.zeros(0, np.int64), np.zeros((0, 2, len(spec.label.horizons_minutes)), bool))


def _tried(found: Rows, spec: Spec, constant: str, value: str, own: Rows) -> Line:
    watched = spec.label.horizons_minutes.index(spec.signal.horizon_minutes)
    return (
        {"constant": constant, "value": value, "rows": len(found)}
        | _sides(found, watched)
        | {"agrees": _agreement(found, own, watched)}
    )


def _sides(found: Rows, horizon: int) -> Line:
    line: Line = {}
    for s, side in enumerate(SIDES):
        truth = found.truth[:, s, horizon]
        line |= {f"{side}_rate": _mean(truth), f"{side}_episodes": episodes(found.ts_ns, truth)}
    return line


def _agreement(found: Rows, own: Rows, horizon: int) -> float:
    """Share of what is positive in either, on rows that both have, that is positive in both (Jaccard)."""
    _, here, there = np.intersect1d(found.ts_ns, own.ts_ns, assume_unique=True, return_indices=True)
    one, two = found.truth[here, :, horizon], own.truth[there, :, horizon]
    either = int((one | two).sum())
    return float((one & two).sum() / either) if either else float("nan")


def _mean(truth: np.ndarray) -> float:
    return float(truth.mean()) if len(truth) else float("nan")
