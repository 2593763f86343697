"""What training looked like to the model: the reference that its card keeps for `squeeze.drift`."""

import numpy as np

from squeeze.drift import input_values, stability_index
from squeeze.drift_spec import PARTS, DriftReference, DriftSpec, InputReference
from squeeze.errors import DataError
from training.examples import Examples

DECILES = np.linspace(0.1, 0.9, 9)
USUAL = 0.99
"""Share of training's windows that lie within `usual_index`; the rest may be a crash."""
MOST = 200_000
"""Frames that bins are made from, evenly spaced; deciles are no better for more, and memory stays bounded."""
AT_ONCE = 10_000
"""Frames read at a time."""


def drift_reference(examples: Examples, positions: np.ndarray, spec: DriftSpec | None = None) -> DriftReference:
    """The reference over training frames at rising `positions` (step), at least two windows of them.

    Give every step that a monitor would have counted, `examples.seen` up to the block's `train_until_ns`, and not the
    labelled rows alone: an hour's first minute is not an hour. Nothing after the last position is read. Raises
    `DataError` for too short a time.
    """
    spec = spec or DriftSpec()
    if not len(positions):
        raise DataError("a drift reference needs training frames, got none")
    parts = examples.closes_ns[positions] // spec.part_ns
    parts = parts - parts[0]
    if parts[-1] + 1 < 2 * PARTS:
        days = (parts[-1] + 1) * spec.part_ns / 86_400e9
        raise DataError(
            f"a drift reference needs two windows of {spec.window_hours:g} h, got frames of {days:.1f} days"
        )
    per_window = _windows(np.bincount(parts))
    full = 2 * per_window >= per_window.max()
    some = slice(None, None, -(-len(positions) // MOST))
    values = _values(examples, positions[some])
    names = (*examples.scalar_names, *examples.channel_names)
    inputs = tuple(_input(name, values[:, :, i], parts[some], full) for i, name in enumerate(names))
    return DriftReference(spec=spec, inputs=inputs, window_frames=int(per_window.max()))


def _values(examples: Examples, positions: np.ndarray) -> np.ndarray:
    """What is watched of these frames, (step, side, input)."""
    pieces = np.array_split(positions, -(-len(positions) // AT_ONCE))
    return np.concatenate([input_values(examples.channels[at], examples.scalars[at]) for at in pieces])


def _input(name: str, values: np.ndarray, parts: np.ndarray, full: np.ndarray) -> InputReference:
    """One input's bins; `values` (row, side), `parts` (row,), `full` (window,): which windows have enough frames."""
    known = np.isfinite(values)
    if not known.any():
        return InputReference(name=name, borders=(), shares=(1.0,), known=0.0, usual_index=0.0)
    deciles = np.quantile(values[known], DECILES, method="inverted_cdf")
    under = np.nextafter(values[known].min(), np.float32(-np.inf))
    borders = np.unique([under, *deciles, values[known].max()]).astype(float)
    bins = len(borders) + 1
    code = np.searchsorted(borders, values[known], side="left") + bins * np.repeat(parts, known.sum(axis=1))
    counts = np.bincount(code, minlength=bins * (len(full) + PARTS - 1)).reshape(-1, bins)
    shares = counts.sum(axis=0) / known.sum()
    index = stability_index(_windows(counts), shares)[full]
    return InputReference(
        name=name,
        borders=tuple(borders.tolist()),
        shares=tuple(shares.tolist()),
        known=float(known.mean()),
        usual_index=float(np.nanquantile(index, USUAL)) if np.isfinite(index).any() else 0.0,
    )


def _windows(counts: np.ndarray) -> np.ndarray:
    """Sums over each run of `PARTS` parts (part, …)."""
    running = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
    return running[PARTS:] - running[:-PARTS]
