"""The map judged on recordings, before their first test block: what is liquidated where nobody knows the positions.

Liquidations without a price are placed by the mark's path, see `levels.of_intervals`. Weights are fitted by day: those
of a day have seen only what was known before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from squeeze.errors import DataError
from squeeze.heatmaps.weights import FitSpec, Observed, Swept, WeightFit, fit
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, Liquidation, LiquidationSum
from squeeze.spec import MapSpec
from squeeze.tools.judge import captures, volumes
from squeeze.tools.judge.estimators import Drawing, Finding
from squeeze.tools.judge.findings import FITTED, PRIOR, findings
from squeeze.tools.judge.levels import Snapshots, mixed, moments, of_intervals
from squeeze.tools.judge.past import OF_SPEC, POPULAR, Past, judged_spec, swept_of
from squeeze.tools.judge.past import recorded as told
from squeeze.tools.judge.pool import Pool
from squeeze.tools.sweeps import SweepHistory, SweepRows, amounts_of_prints, amounts_of_sums

HORIZONS_MINUTES = (60, 1440)
FIT_SHARE = 0.4
"""Weights are fitted to so much of the recorded time first, and then anew each day."""
LEVEL_SPEC = FitSpec(least_sweeps=10.0)
"""A level alone, of fixed weights, asks less of the sweeps than weights do."""


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One recorded market, ready to be judged."""

    name: str
    past: Past
    spec: MapSpec
    """Of the judged map."""
    rows: SweepRows
    """By interval, on the buckets of the judged map."""
    length_ns: int
    """Of an interval."""
    closes_ns: np.ndarray
    usd: np.ndarray
    """Liquidated, (interval, side)."""
    prior: tuple[float, ...]
    cuts_ns: np.ndarray
    """UTC midnights from which on weights are fitted anew."""


def gather(name: str, history: SweepHistory, until_ns: int) -> Recorded:
    """What was known of a market by a time; `DataError` without liquidations."""
    past, spec = told(history).until(until_ns), judged_spec(history.map_spec)
    swept = np.zeros((len(history.closes_ns), 2, len(spec.leverages)))
    swept[np.searchsorted(history.closes_ns, past.closes_ns)] = swept_of(past, spec)
    rows = history.rows(swept, until_ns)
    length_ns, usd = _amounts(history, until_ns)
    closes = np.array(sorted(usd), dtype=np.int64)
    first, last = int(rows.close_ns[0]), int(rows.close_ns[-1])
    begin = -(-int(first + FIT_SHARE * (last - first)) // DAY_NS) * DAY_NS
    if begin >= last:
        raise DataError(f"{name}: under two days of liquidations are no judgement")
    return Recorded(
        name, past, spec, rows, length_ns, closes, np.array([usd[c] for c in closes.tolist()]),
        history.map_spec.prior_weights, np.arange(begin, last, DAY_NS),
    )  # fmt: skip


def _amounts(history: SweepHistory, until_ns: int) -> tuple[int, dict[int, np.ndarray]]:
    """Length of an interval, and USD by its close."""
    known = [r for r in history.records if r.known_at_ns <= until_ns]
    sums = [r for r in known if isinstance(r, LiquidationSum)]
    if sums:
        return max(sums[0].cadence_ns, history.length_ns), amounts_of_sums(sums, history.length_ns)
    prints = [r for r in known if isinstance(r, Liquidation)]
    gaps = [g for g in history.gaps if g.known_at_ns <= until_ns]
    return history.length_ns, amounts_of_prints(prints, gaps, history.length_ns)


def fits_by_day(
    recorded: Recorded,
    swept: Swept,
    prior: Sequence[float],
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
) -> list[WeightFit]:
    """Weights for each cut, from the intervals that closed an hour before it: an hour's sum is known a little late.

    Only their mix is of the data, as the share of liquidations that is reported is not known.
    """
    observed, closes = recorded.rows.observed, recorded.rows.close_ns
    found = []
    for cut in recorded.cuts_ns.tolist():
        before = closes <= cut - HOUR_NS
        found.append(fit(swept[before], observed[before], closes[before], prior, share=None, spec=spec))
    return found


def expected_by_day(recorded: Recorded, swept: Swept, fits: Sequence[WeightFit]) -> Observed:
    """What each day's fit expects of the intervals after its cut; the first fit's of those before, which it saw."""
    out = np.empty(recorded.rows.observed.shape)
    which = np.maximum(np.searchsorted(recorded.cuts_ns, recorded.rows.close_ns, "left") - 1, 0)
    for place, each in enumerate(fits):
        out[which == place] = each.expected(swept[which == place])
    return out


def judge(recorded: Recorded, drawing: Drawing) -> list[Finding]:
    """All figures: fixed weights on all recorded days, and all weights on the days after the first fit."""
    swept = recorded.rows.swept
    fits = fits_by_day(recorded, swept[..., OF_SPEC], recorded.prior)
    fixed = {**{name: np.array(each) for name, each in POPULAR.items()}, PRIOR: np.array(recorded.spec.prior_weights)}
    whole, later = Pool(drawing), Pool(drawing)
    expected = {FITTED: expected_by_day(recorded, swept[..., OF_SPEC], fits)}
    for name, each in fixed.items():
        one = (swept @ each)[..., None]
        levels = fits_by_day(recorded, one, (min(1.0, float(each.sum())),), LEVEL_SPEC)
        expected[name] = expected_by_day(recorded, one, levels)
    _add_volumes(later, recorded, expected)
    for horizon in HORIZONS_MINUTES:
        if (horizon * MINUTE_NS) % recorded.length_ns:
            continue
        rows = moments(recorded.past, horizon)
        intervals = (recorded.closes_ns, recorded.length_ns, recorded.usd)
        snapshots = of_intervals(recorded.past, recorded.spec, rows, horizon, *intervals)
        placed = horizon * MINUTE_NS > recorded.length_ns
        captures.add_placed(whole, snapshots, horizon)
        captures.add(whole, snapshots, {n: mixed(snapshots.heat, w) for n, w in fixed.items()}, horizon, placed)
        frozen_ns = recorded.past.closes_ns[snapshots.row]
        after = snapshots.where(frozen_ns >= recorded.cuts_ns[0])
        scores = {FITTED: _by_fit(recorded, after, fits)}
        scores |= {name: mixed(after.heat, each) for name, each in fixed.items()}
        captures.add(later, after, scores, horizon, placed)
    first = np.datetime64(int(recorded.cuts_ns[0]), "ns").astype("datetime64[D]")
    everything = findings(whole, f"{recorded.name}, all recorded days")
    return [*everything, *findings(later, f"{recorded.name}, from {first} on")]


def _add_volumes(pool: Pool, recorded: Recorded, expected: dict[str, Observed]) -> None:
    """Calibration and correlations after the first cut; the rival is fitted to what was before it."""
    rows, past = recorded.rows, recorded.past
    steps = recorded.length_ns // past.length_ns
    known = np.isin(rows.close_ns, past.closes_ns)
    ends = np.searchsorted(past.closes_ns, rows.close_ns[known])
    later = rows.close_ns[known] > recorded.cuts_ns[0]
    days = (rows.close_ns[known] - 1) // DAY_NS
    inputs = {name: each[known] for name, each in expected.items()}
    volumes.add(pool, inputs, rows.observed[known], volumes.beyond(past, ends, steps), days, later, FITTED)


def _by_fit(recorded: Recorded, snapshots: Snapshots, fits: Sequence[WeightFit]) -> np.ndarray:
    """Mass by level under the weights that were known when each map was frozen."""
    weights = np.zeros((len(fits), len(recorded.spec.leverages)))
    weights[:, OF_SPEC] = [each.weights for each in fits]
    which = np.searchsorted(recorded.cuts_ns, recorded.past.closes_ns[snapshots.row], "right") - 1
    return np.asarray(np.einsum("isbl,ib->isl", snapshots.heat, weights[which]))
