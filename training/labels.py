"""Rows and their truth: at each decision time, did more than the threshold of one side get liquidated within each
horizon?

Truth looks ahead, over [t, t + horizon). A row exists only where the whole interval was recorded: silence that was not
recorded is not zero.
"""

from dataclasses import dataclass

import numpy as np

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, MINUTE_NS, cadence_name
from squeeze.market.lake import Lake
from squeeze.spec import Spec


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


def rows(lake: Lake, spec: Spec) -> Rows:
    """All rows that the recorded liquidations allow; `DataError` when there are none."""
    stream = spec.market.liquidations
    if stream is None:
        raise DataError(f"label {spec.label.name}: needs market.liquidations to be configured")
    kind = stream.kinds[0]
    recorded = lake.read(kind, stream.venue, spec.market.symbol)
    found = _from_sums(recorded, spec) if "cadence_ns" in recorded else _from_prints(recorded, spec)
    if not len(found):
        raise DataError(
            f"label {spec.label.name}: {kind} of {stream.venue} {spec.market.symbol} gives no complete interval"
        )
    return found


def _from_sums(recorded: dict[str, np.ndarray], spec: Spec) -> Rows:
    """Truth from interval sums: every interval of the longest horizon must have its record."""
    every_ns, cadence_ns = spec.label.every_minutes * MINUTE_NS, int(recorded["cadence_ns"][0])
    horizons_ns = [h * MINUTE_NS for h in spec.label.horizons_minutes]
    if (recorded["cadence_ns"] != cadence_ns).any() or any(h % cadence_ns for h in horizons_ns):
        raise DataError(f"label {spec.label.name}: horizons must be whole intervals of {cadence_name(cadence_ns)}")
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
    return Rows(opens[first], ahead > spec.label.threshold_usd)


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
            truth[:, s, h] = ahead > label.threshold_usd
    return Rows(ts, truth)


def episodes(ts_ns: np.ndarray, truth: np.ndarray, apart_ns: int = 4 * 60 * MINUTE_NS) -> int:
    """How many separate events the positive rows are: those closer than four hours are one.

    >>> hour = 3600 * 10**9
    >>> episodes(np.array([0, 1, 6, 11]) * hour, np.array([True, True, True, False]))
    2
    """
    hits = ts_ns[truth]
    return int(len(hits) and 1 + (np.diff(hits) >= apart_ns).sum())
