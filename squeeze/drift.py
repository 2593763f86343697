"""Has the market, or what the model says of it, moved away from training? A reference in the model's card, and a
monitor with bounded memory beside the live path.

Per input the frames of the trailing window are counted into the reference's bins. The population stability index,
`Σ (now - then) · ln(now / then)` over the bins, says how far the two lie apart. Slow inputs wander without any drift,
so the limit of each is also a multiple of what windows of the same length reach inside training. What they cannot show
of an input that hardly moves within a window, the share of values beyond all of training's does.
"""

import math
from typing import Any

import msgspec
import numpy as np

from squeeze import drift_kernel
from squeeze.arrays import SIDES, Probabilities
from squeeze.drift_spec import PARTS, DriftReference, DriftReport, InputDrift
from squeeze.errors import StepError
from squeeze.forecast_test import ForecastTest
from squeeze.state import BLIND, Frame

LEAST_VALUES = 100
"""Fewer known values than this have no index."""
LEAST_SHARE = 1e-4
"""A bin that training never saw counts as this, so that the index stays finite."""


def input_values(channels: np.ndarray, scalars: np.ndarray) -> np.ndarray:
    """What is watched of frames: (…, side, scalar) and the channels' means over the price bins that are known, in one
    array (…, side, input), NaN where nothing is.
    """
    known = np.isfinite(channels)
    count = known.sum(axis=-1)
    total = np.where(known, channels, 0.0).sum(axis=-1, dtype=np.float64)
    level = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return np.concatenate([scalars, level], axis=-1)


def stability_index(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Population stability index of counts (…, bin) against shares (…, bin), over bins whose share is not NaN; NaN
    under `LEAST_VALUES`.

    Half a count is added to each bin, so that an empty one does not weigh for ever.

    >>> float(stability_index(np.array([500.0, 500.0]), np.array([0.5, 0.5]))), float(
    ...     stability_index(np.array([900.0, 100.0]), np.array([0.5, 0.5])).round(2)
    ... )
    (0.0, 0.88)
    """
    real = np.isfinite(shares)
    then = np.where(real, np.maximum(shares, LEAST_SHARE), 1.0)
    total = np.where(real, counts, 0.0).sum(axis=-1, keepdims=True)
    now = np.where(real, (counts + 0.5) / (total + 0.5 * real.sum(axis=-1, keepdims=True)), 1.0)
    found: np.ndarray = ((now - then) * np.log(now / then)).sum(axis=-1)
    return np.where(total[..., 0] >= LEAST_VALUES, found, np.nan)


class DriftMonitor:
    """Frames, predictions and outcomes in, `report` out. It changes nothing in what the model says.

    card = stream.predictor.card
    monitor = DriftMonitor(card.drift, card.spec.label.horizons_minutes, card.base_rates)
    frame, answer = stream.advance(close_ns)
    monitor.push(frame, answer.probabilities if isinstance(answer, Prediction) else None)
    monitor.outcome(close_ns, truth)  # once all horizons are over
    print(monitor.report().flags)
    """

    def __init__(
        self, reference: DriftReference, horizons_minutes: tuple[int, ...], base_rates: dict[str, tuple[float, ...]]
    ) -> None:
        self.reference = reference
        self.horizons_minutes = horizons_minutes
        self.base_rates = np.array([base_rates[side] for side in SIDES])
        spec, inputs = reference.spec, reference.inputs
        width = max((len(one.shares) for one in inputs), default=1)
        self._borders = np.full((len(inputs), width - 1), np.inf)
        self._shares = np.full((len(inputs), width), np.nan)
        for row, one in enumerate(inputs):
            self._borders[row, : len(one.borders)] = one.borders
            self._shares[row, : len(one.shares)] = one.shares
        self._rows = np.arange(len(inputs))
        self._tops = np.array([len(one.borders) for one in inputs], int)
        self.counts = np.zeros((PARTS, len(inputs), width + 1), np.int64)
        """By part of the window, input and bin; the last bin is "not known"."""
        self.frames = np.zeros(PARTS, np.int64)
        self.said = np.zeros(PARTS, np.int64)
        self.level = np.zeros((PARTS, *self.base_rates.shape))
        """Sums of the probabilities said."""
        self.clock = np.zeros(2, np.int64)
        """Close of the newest frame, and the part it is in."""
        self.calibration = ForecastTest(horizons_minutes, spec.calibration_false_alarm, spec.calibration_days)

    def push(self, frame: Frame, probabilities: Probabilities | None) -> None:
        """Count a frame, unless it is blind, and what the model said of it, None where it abstained.

        `StepError` for a frame out of order or with other inputs; the monitor is then as it was.
        """
        if frame.close_ns <= self.clock[0]:
            raise StepError(f"a frame at {frame.close_ns} cannot follow one at {self.clock[0]}")
        found = frame.channels.shape[1] + frame.scalars.shape[1]
        if found != len(self._rows):
            raise StepError(f"the reference knows {len(self._rows)} inputs, the frame has {found}")
        part = self._turn_to(frame.close_ns)
        if not frame.unhealthy & BLIND:
            self.frames[part] += 1
            channels, scalars = np.ascontiguousarray(frame.channels), np.ascontiguousarray(frame.scalars)
            drift_kernel.count(channels, scalars, self._borders, self.counts[part])
        if probabilities is not None:
            self.said[part] += 1
            self.level[part] += probabilities
            self.calibration.push(frame.close_ns, probabilities)

    def outcome(self, close_ns: int, truth: np.ndarray) -> None:
        """Hear which events (side, horizon) came true after the prediction made at `close_ns`, in order of time."""
        self.calibration.outcome(close_ns, truth)

    def begins_part(self, close_ns: int) -> bool:
        """Whether a frame at this close would be the first of a part of the window."""
        return bool(close_ns // self.reference.spec.part_ns != self.clock[1])

    def _turn_to(self, close_ns: int) -> int:
        """The part of the window that a close is in, empty if it is new; the parts between are emptied too."""
        number = close_ns // self.reference.spec.part_ns
        for step in range(min(number - int(self.clock[1]), PARTS)):
            part = (number - step) % PARTS
            self.counts[part], self.frames[part], self.said[part], self.level[part] = 0, 0, 0, 0.0
        self.clock[:] = close_ns, number
        return int(number % PARTS)

    def report(self) -> DriftReport:
        """How far the trailing window lies from training, and what of it is called drift."""
        frames = int(self.frames.sum())
        judged = frames > 0 and 2 * frames >= self.reference.window_frames
        inputs = self._inputs()
        said = int(self.said.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.level.sum(axis=0) / said / self.base_rates if said else np.full_like(self.base_rates, np.nan)
        level = {side: tuple(float(r) for r in ratio[s]) for s, side in enumerate(SIDES)}
        calibration = self.calibration.report()
        flags = [] if not judged else [*self._input_flags(inputs), *self._level_flags(level)]
        flags += [
            f"calibration drift: {c.side} {c.horizon_minutes}m {c.ratio:.1f} times as many as said"
            for c in calibration
            if c.drifted
        ]
        return DriftReport(frames, judged, inputs, level, calibration, tuple(flags))

    def _inputs(self) -> tuple[InputDrift, ...]:
        spec, counts = self.reference.spec, self.counts.sum(axis=0)
        index = stability_index(counts[:, :-1], self._shares)
        total, values = counts.sum(axis=1), counts[:, :-1].sum(axis=1)
        known = np.where(total > 0, values / np.maximum(total, 1), math.nan)
        beyond = counts[:, 0] + counts[self._rows, self._tops]
        outside = np.where(values >= LEAST_VALUES, beyond / np.maximum(values, 1), math.nan)
        return tuple(
            InputDrift(
                one.name,
                float(index[row]),
                max(spec.least_index, spec.times_usual * one.usual_index),
                float(outside[row]),
                float(known[row]),
                one.known,
            )
            for row, one in enumerate(self.reference.inputs)
        )

    def _input_flags(self, inputs: tuple[InputDrift, ...]) -> list[str]:
        """An input that training never knew is masked in the model, and nothing to it can be called drift."""
        seen = [one for one in inputs if one.known_in_training > 0]
        lost = [o.name for o in seen if o.known < o.known_in_training - self.reference.spec.least_known]
        moved = [o.name for o in seen if o.index > o.limit]
        outside = [o.name for o in seen if o.outside > self.reference.spec.most_outside]
        named = {"input lost": lost, "input drift": moved, "input outside training": outside}
        return [f"{what}: {name}" for what, names in named.items() for name in names]

    def _level_flags(self, level: dict[str, tuple[float, ...]]) -> list[str]:
        most = self.reference.spec.level_times
        return [
            f"probability level: {side} {minutes}m {ratio:.2g} times the base rate"
            for side in SIDES
            for minutes, ratio in zip(self.horizons_minutes, level[side], strict=True)
            if ratio > most or ratio < 1 / most
        ]

    def snapshot(self) -> bytes:
        """The whole state as bytes."""
        arrays = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in self._arrays().items()}
        waiting = [(at, p.tolist(), taken.tolist()) for at, (p, taken) in self.calibration.pending.items()]
        return msgspec.msgpack.encode((arrays, waiting))

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot under the same reference; `StepError`, and nothing has changed, if it is none."""
        held = self._arrays()
        try:
            stored, waiting = msgspec.msgpack.decode(snapshot, type=_Snapshot)
            arrays = {n: np.frombuffer(raw, np.dtype(kind)).reshape(shape) for n, (kind, shape, raw) in stored.items()}
            fits = all(arrays[n].shape == a.shape and arrays[n].dtype == a.dtype for n, a in held.items())
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
            raise StepError(f"not a drift monitor's snapshot: {error}") from None
        if not fits:
            raise StepError("the snapshot is of a drift monitor with another reference")
        for name, array in held.items():
            array[...] = arrays[name]
        self.calibration.pending = {at: (np.array(p), np.array(taken, bool)) for at, p, taken in waiting}

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every array that carries state, as it is."""
        mine = {name: getattr(self, name) for name in ("counts", "frames", "said", "level", "clock")}
        test = ("free_ns", "stakes", "outcomes", "days", "clock")
        return mine | {f"calibration.{name}": getattr(self.calibration, name) for name in test}


_Snapshot = tuple[dict[str, tuple[str, tuple[int, ...], bytes]], list[tuple[int, Any, Any]]]
