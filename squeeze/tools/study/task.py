"""What a study runs on: a run file's market, up to its first test block, at which a study does not look."""

import itertools
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Int64

from squeeze.errors import DataError
from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.outcomes import Liquidations
from squeeze.spec import LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from squeeze.strict import convert
from squeeze.tools.run_file import read_run_file


class Splits(msgspec.Struct, frozen=True):
    """The part of a run's splits that says where test blocks begin."""

    test_share: float = 0.6


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What of a run file a study needs; the other keys are the training's."""

    task: str
    spec: Spec
    imports: tuple[str, ...] = ()
    start: str | None = None
    until: str | None = None
    splits: Splits = Splits()


def load_task(path: Path) -> Task:
    """A run file's task; `ConfigError` names the file and the key."""
    return convert(read_run_file(path), Task, str(path))


def simulated_task() -> Task:
    """The simulator's market by the minute, as `squeeze simulate` records it."""
    venue = "simulated"
    market = MarketSpec(
        symbol="SIMUSDT",
        bars=StreamSpec(venue=venue, kinds=("bar_1m",)),
        mark=StreamSpec(venue=venue, kinds=("mark_bar_1m",)),
        open_interest=StreamSpec(venue=venue, kinds=("open_interest",)),
        liquidations=StreamSpec(venue=venue, kinds=("liquidation",)),
        warm_up_hours=72.0,
    )
    label = LabelSpec(name="none", threshold_usd=1e6, horizons_minutes=(60,), every_minutes=60, recorded="days")
    return Task(
        task="simulator", spec=Spec(market=market, map=MapSpec(), label=label, signal=SignalSpec(horizon_minutes=60))
    )


def first_test_ns(lake: Lake, task: Task) -> int:
    """Where the first test block of the task begins: nothing known from then on may be looked at for choices."""
    found, label = liquidations(lake, task.spec), task.spec.label
    if found is None or not len(found.times_ns):
        raise DataError(f"{task.task}: without liquidations nobody knows where its test blocks begin")
    at = decision_times(found, label)
    if not len(at):
        raise DataError(f"{task.task}: no complete interval of the label {label.name}")
    return int(at[int((1 - task.splits.test_share) * len(at))])


def decision_times(found: Liquidations, label: LabelSpec) -> Int64[np.ndarray, " row"]:
    """The rows that a label makes of recorded liquidations, as the training's labels do."""
    every_ns, horizon_ns = label.every_minutes * MINUTE_NS, label.horizons_minutes[-1] * MINUTE_NS
    if found.cadence_ns:
        opens, needed = found.recorded_ns[:, 0], horizon_ns // found.cadence_ns
        first = np.arange(len(opens) - needed + 1)
        complete = opens[first + needed - 1] - opens[first] == (needed - 1) * found.cadence_ns
        return np.asarray(opens[first[complete & (opens[first] % every_ns == 0)]])
    at = found.times_ns
    cuts = [0, *(np.flatnonzero(np.diff(at // DAY_NS) > 1) + 1).tolist(), len(at)]
    runs = [(int(at[a]), int(at[b - 1])) for a, b in itertools.pairwise(cuts)]
    rows = [np.arange(a // every_ns * every_ns + every_ns, b - horizon_ns + every_ns + 1, every_ns) for a, b in runs]
    return np.concatenate([np.zeros(0, np.int64), *rows])


def liquidations(
    lake: Lake, spec: Spec, start_ns: int | None = None, until_ns: int | None = None
) -> Liquidations | None:
    """The recorded liquidations of a market, of the first kind that it names; None where it names none."""
    stream = spec.market.liquidations
    if stream is None:
        return None
    rows = lake.read(stream.kinds[0], stream.venue, spec.market.symbol, start_ns, until_ns)
    if "cadence_ns" in rows:
        cadences = np.unique(rows["cadence_ns"])
        if len(cadences) > 1:
            raise DataError(f"{stream.kinds[0]} of {stream.venue}: sums of several lengths, {cadences.tolist()} ns")
        return Liquidations.sums(
            rows["event_ns"], int(cadences[0]) if len(cadences) else 0, rows["long_usd"], rows["short_usd"]
        )
    return Liquidations.prints(rows["event_ns"], rows["side"], rows["usd"])
