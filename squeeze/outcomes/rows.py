"""Rows and their truth: at each decision time, does the label's event come true on a side within each horizon?

    threshold   more than so many USD of the side are liquidated in [t, t + horizon)
    onset       a cascade of the side by prints begins in (t + guard, t + horizon]               (L1, domain.md §5.1)
    price       one by price, open interest, taker flow and basis, as recorded, begins there     (L2, domain.md §5.2)

Truth looks ahead. A row exists only where its whole future was recorded: what was not recorded is no zero. Rows that
are left out are kept with the reason.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, cadence_name
from squeeze.market.lake import Lake
from squeeze.outcomes import (
    Cascades,
    Liquidations,
    Stretches,
    cascades,
    cascades_of,
    has_quantile,
    price_measures,
    reach_ns,
    recorded_ns,
    trailing_sigma,
    without,
)
from squeeze.outcomes.label_inputs import LabelInputs, completeness, read_inputs
from squeeze.spec import LabelSpec, Spec

AT_THE_END = "near the record's end"
NOT_RECORDED = "liquidations not recorded"
NO_BARS = "bars not recorded"
NO_LIMIT = "too little before it for a threshold"
INSIDE = "inside an event or just after"


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Decision times with their truth: `ts_ns` (row,), `truth` (row, side, horizon) as bool."""

    ts_ns: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.ts_ns)

    def where(self, kept: np.ndarray) -> "Rows":
        """The rows of a mask or of positions."""
        return Rows(self.ts_ns[kept], self.truth[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A label over a market's whole record."""

    rows: Rows
    masked: dict[str, np.ndarray]
    """Decision times (ns) that were left out, by reason; each under the first that holds."""
    version: str
    """What the label was made from and what the data could not answer, for people and for model cards."""
    events: Cascades | None = None
    """What rows were made from, where the label is of events."""


def rows(lake: Lake, spec: Spec) -> Rows:
    """All rows that the record allows; `DataError` when there are none."""
    return labelled(lake, spec).rows


def labelled(lake: Lake, spec: Spec) -> Labelled:
    """Rows, what was left out and why, and what the label was made from; `DataError` when there are no rows."""
    return label_of(read_inputs(lake, spec), spec)


def label_of(inputs: LabelInputs, spec: Spec) -> Labelled:
    """The same from inputs that were read once: other constants, the same data."""
    made = attempt(inputs, spec)
    if not len(made.rows):
        why = ", ".join(f"{len(at)} {reason}" for reason, at in made.masked.items() if len(at))
        raise DataError(f"label {spec.label.name}: {_source(inputs, spec)} gives no complete interval ({why})")
    return made


def attempt(inputs: LabelInputs, spec: Spec) -> Labelled:
    """The same, of which there may be none; `DataError` where the inputs allow no decision at all."""
    return {"threshold": _thresholds, "onset": _onsets, "price": _prices}[spec.label.event](inputs, spec)


def _thresholds(inputs: LabelInputs, spec: Spec) -> Labelled:
    """USD over the threshold, from sums or from prints."""
    label, recorded = spec.label, inputs.liquidations
    found = _from_sums(recorded, spec) if "cadence_ns" in recorded else _from_prints(recorded, spec)
    times, cadence_ns = recorded["event_ns"], int(recorded.get("cadence_ns", np.zeros(1))[0])
    begin_ns, end_ns = int(times.min()) - cadence_ns, int(times.max())
    lost = np.setdiff1d(_decision_times(np.array([[begin_ns, end_ns]]), label), found.ts_ns)
    last_ns = int(found.ts_ns[-1]) if len(found) else begin_ns
    everything = np.array([[begin_ns, max(end_ns, last_ns + label.horizons_minutes[-1] * MINUTE_NS)]])
    broken = _is_missing(without(everything, inputs.holes), found.ts_ns, label)
    masked = {
        AT_THE_END: lost[lost > last_ns],
        NOT_RECORDED: np.union1d(lost[lost <= last_ns], found.ts_ns[broken]),
    }
    return Labelled(found.where(~broken), masked, _version(f"liquidated USD of {_source(inputs, spec)}", label, ()))


def _onsets(inputs: LabelInputs, spec: Spec) -> Labelled:
    """Onsets of cascades by prints."""
    label, constants, bars = spec.label, spec.label.onset, inputs.prices.bars
    assert constants is not None  # noqa: S101 (LabelSpec sees to it)
    found = liquidations_of(inputs.liquidations, spec)
    since_ns = None if inputs.since_ns is None else inputs.since_ns - DAY_NS  # an event may have begun before it
    events = cascades(found, bars, inputs.interest, constants, since_ns)
    heard = without(found.recorded_ns, inputs.holes)
    if not len(heard):
        raise DataError(f"label {label.name}: {_source(inputs, spec)} says nothing of any interval")
    ts = _decision_times(heard, label, inputs.since_ns)
    if found.cadence_ns:
        ts = ts[ts % found.cadence_ns == 0]  # a sum must not reach back behind the decision
    furthest_ns = label.horizons_minutes[-1] * MINUTE_NS
    last_ns = min(int(found.recorded_ns[-1, 1]), int(bars.closes_ns[-1]) - reach_ns(bars, constants))
    at = np.concatenate([ts, ts + furthest_ns])
    known = np.isfinite(trailing_sigma(bars, at, round(constants.sigma_hours * HOUR_NS)))
    for side in range(2):
        known &= has_quantile(found, side, at, constants)
    reasons = {
        AT_THE_END: ts + furthest_ns > last_ns,
        NOT_RECORDED: _is_missing(heard, ts, label),
        NO_BARS: _is_missing(inputs.prices.stretches, ts, label),
        NO_LIMIT: ~known.reshape(2, -1).all(axis=0),
    }
    version = f"L1 onsets of {_source(inputs, spec)}, bars of {spec.market.step_seconds} s"
    return _of_events(events, ts, reasons, label, version)


def _prices(inputs: LabelInputs, spec: Spec) -> Labelled:
    """Cascades by price and what is recorded beside it."""
    label, constants, seen = spec.label, spec.label.price, inputs.prices
    assert constants is not None  # noqa: S101 (LabelSpec sees to it)
    measures = price_measures(seen.bars, inputs.interest, seen.taker_base, constants, seen.basis_log)
    ts = _decision_times(seen.stretches, label, inputs.since_ns)
    ahead_ns = 0 if inputs.interest is None else round(constants.reach_minutes * MINUTE_NS)
    reasons = {
        AT_THE_END: ts + label.horizons_minutes[-1] * MINUTE_NS + ahead_ns > seen.bars.closes_ns[-1],
        NO_BARS: _is_missing(seen.stretches, ts, label),
        NO_LIMIT: _is_missing(seen.stretches[measures.watched], ts, label),
    }
    version = f"L2 events of {_source(inputs, spec)} of {spec.market.step_seconds} s"
    return _of_events(cascades_of(measures, constants), ts, reasons, label, version)


def _of_events(
    events: Cascades, ts: np.ndarray, reasons: dict[str, np.ndarray], label: LabelSpec, version: str
) -> Labelled:
    """Rows at `ts` but for those that a reason leaves out, and their truth by the onsets of events."""
    guard_ns, after_ns = round(label.guard_seconds * SECOND_NS), round(label.after_minutes * MINUTE_NS)
    inside = np.zeros(len(ts), bool)
    for onset, end in zip(events.onset_ns.tolist(), events.end_ns.tolist(), strict=True):
        inside[np.searchsorted(ts, onset - guard_ns) : np.searchsorted(ts, end + after_ns, "right")] = True
    masked, kept = {}, np.ones(len(ts), bool)
    for reason, holds in (reasons | {INSIDE: inside}).items():
        masked[reason] = ts[kept & holds]
        kept &= ~holds
    ts = ts[kept]
    truth = np.zeros((len(ts), 2, len(label.horizons_minutes)), bool)
    for side in range(2):
        onsets = events.onset_ns[events.side == side]
        for h, minutes in enumerate(label.horizons_minutes):
            ends = np.searchsorted(onsets, ts + minutes * MINUTE_NS, "right")
            truth[:, side, h] = ends > np.searchsorted(onsets, ts + guard_ns, "right")
    return Labelled(Rows(ts, truth), masked, _version(version, label, events.not_evaluated), events)


def _decision_times(stretches: Stretches, label: LabelSpec, since_ns: int | None = None) -> np.ndarray:
    """Every multiple of `every_minutes` from the begin of the record, or from `since_ns`, to its end."""
    every_ns = label.every_minutes * MINUTE_NS
    first_ns = max(int(stretches[0, 0]), since_ns or 0)
    return np.arange(-(-first_ns // every_ns), int(stretches[-1, 1]) // every_ns + 1) * every_ns


def _is_missing(stretches: Stretches, ts: np.ndarray, label: LabelSpec) -> np.ndarray:
    """Whether more than `gap_share` of any horizon lies outside these stretches of time."""
    missing = np.zeros(len(ts), bool)
    for minutes in label.horizons_minutes:
        length_ns = minutes * MINUTE_NS
        held_ns = recorded_ns(stretches, ts + length_ns) - recorded_ns(stretches, ts)
        missing |= length_ns - held_ns > label.gap_share * length_ns
    return missing


def liquidations_of(recorded: dict[str, np.ndarray], spec: Spec) -> Liquidations:
    """Rows of the lake as prints or sums; `DataError` where horizons or rows are no whole intervals of the sums."""
    if "cadence_ns" not in recorded:
        return Liquidations.prints(recorded["event_ns"], recorded["side"], recorded["usd"])
    cadence_ns = _whole_cadence_ns(recorded, spec)
    return Liquidations.sums(recorded["event_ns"], cadence_ns, recorded["long_usd"], recorded["short_usd"])


def _whole_cadence_ns(recorded: dict[str, np.ndarray], spec: Spec) -> int:
    """The one length of all sums, of which horizons are multiples."""
    cadence_ns = int(recorded["cadence_ns"][0])
    if (recorded["cadence_ns"] != cadence_ns).any() or any(
        h * MINUTE_NS % cadence_ns for h in spec.label.horizons_minutes
    ):
        raise DataError(f"label {spec.label.name}: horizons must be whole intervals of {cadence_name(cadence_ns)}")
    return cadence_ns


def _source(inputs: LabelInputs, spec: Spec) -> str:
    """The stream that the event is found in, with what its venue says of its completeness."""
    market, stream = spec.market, spec.market.liquidations
    if inputs.recorded is None or stream is None:
        return f"{market.bars.venue} {market.symbol} bars"
    how = completeness(inputs.recorded["quality"])
    return f"{stream.kinds[0]} of {stream.venue} {market.symbol} ({how})"


def _version(made_from: str, label: LabelSpec, not_evaluated: Sequence[str]) -> str:
    """One line: what the label was made from, what was not evaluated, and a digest of its constants."""
    left_out = f"; not evaluated: {', '.join(not_evaluated)}" if not_evaluated else ""
    digest = hashlib.sha256(msgspec.json.encode(label, order="sorted")).hexdigest()[:12]
    return f"{made_from}{left_out}; constants {digest}"


def _from_sums(recorded: dict[str, np.ndarray], spec: Spec) -> Rows:
    """Truth from interval sums: every interval of the longest horizon must have its record."""
    every_ns, cadence_ns = spec.label.every_minutes * MINUTE_NS, _whole_cadence_ns(recorded, spec)
    horizons_ns = [h * MINUTE_NS for h in spec.label.horizons_minutes]
    opens = recorded["event_ns"] - cadence_ns
    usd = np.stack([recorded["long_usd"], recorded["short_usd"]], axis=1)
    order = np.argsort(opens)
    order = order[np.isfinite(usd[order]).all(axis=1)]  # NaN was not recorded
    opens, usd = opens[order], usd[order]
    needed = horizons_ns[-1] // cadence_ns
    first = np.arange(len(opens) - needed + 1)
    complete = opens[first + needed - 1] - opens[first] == (needed - 1) * cadence_ns
    first = first[complete & (opens[first] % every_ns == 0)]
    running = np.concatenate([np.zeros((1, 2)), usd.cumsum(axis=0)])
    if needed == 1:  # no detour over running sums where a comparison with the threshold could turn on rounding
        ahead = usd[first][:, :, None]
    else:
        ahead = np.stack([running[first + h // cadence_ns] - running[first] for h in horizons_ns], axis=2)
    return Rows(opens[first], ahead > float(spec.label.threshold_usd or 0.0))


def _from_prints(recorded: dict[str, np.ndarray], spec: Spec) -> Rows:
    """Truth from prints, inside runs of consecutive UTC days that have any: from a run's first print to its last."""
    label = spec.label
    every_ns = label.every_minutes * MINUTE_NS
    order = np.argsort(recorded["event_ns"], kind="stable")
    at, side, usd = (recorded[name][order] for name in ("event_ns", "side", "usd"))
    days = at // DAY_NS
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 2) > 1)
    ends = np.append(starts[1:], len(at)) - 1
    horizons_ns = np.array(label.horizons_minutes) * MINUTE_NS
    found = []
    for start, end in zip(starts, ends, strict=True):
        # A row's own interval and all of its horizon open within the run.
        first = at[start] // every_ns * every_ns + every_ns
        last = at[end] - horizons_ns[-1] + every_ns
        found.append(np.arange(first, last + 1, every_ns))
    ts = np.concatenate(found)
    truth = np.zeros((len(ts), 2, len(horizons_ns)), bool)
    for s in range(2):
        times, amounts = at[side == s], usd[side == s]
        interval = np.concatenate([[0.0], np.cumsum(amounts)])
        for h, horizon_ns in enumerate(horizons_ns):
            ahead = interval[np.searchsorted(times, ts + horizon_ns)] - interval[np.searchsorted(times, ts)]
            truth[:, s, h] = ahead > float(label.threshold_usd or 0.0)
    return Rows(ts, truth)


def episodes(ts_ns: np.ndarray, truth: np.ndarray, apart_ns: int = 4 * 60 * MINUTE_NS) -> int:
    """How many separate events the positive rows are: those closer than four hours are one.

    >>> hour = 3600 * 10**9
    >>> episodes(np.array([0, 1, 6, 11]) * hour, np.array([True, True, True, False]))
    2
    """
    hits = ts_ns[truth]
    return int(len(hits) and 1 + (np.diff(hits) >= apart_ns).sum())
