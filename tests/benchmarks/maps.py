"""The liquidation map, proved equal first, whole frames with every map and pattern, and how both grow."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.spec import FrameSpec, MapSpec
from squeeze.state import MarketState
from tests.venues import VENUES, history, spec

MINUTES_A_DAY = 1440


class Walk:
    """A history for the map alone, as `LiquidationMap.fold` takes it: a minute's bar crosses about six bins."""

    def __init__(self, minutes: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        closes = np.log(60_000.0) + np.cumsum(rng.normal(0, 6e-4, minutes)) * 0.5
        opens = np.concatenate([closes[:1], closes[:-1]])
        spread = rng.random((2, minutes)) * 2.4e-3
        low, high = np.minimum(opens, closes) - spread[0] / 2, np.maximum(opens, closes) + spread[1] / 2
        self.mark = np.exp(np.column_stack([low, high, closes]))
        self.traded = self.mark[:, :2].copy()
        self.buys, self.sells = rng.exponential(30.0, (2, minutes))
        self.interest = 5e4 * np.exp(np.cumsum(rng.normal(0, 1e-3, minutes)) * 0.2)
        self.days = 20_000.0 + np.arange(1, minutes + 1) / MINUTES_A_DAY

    def columns(self, until: int | None = None) -> tuple[Any, ...]:
        """Arguments of `fold`, whole or to a minute."""
        cut = slice(0, until)
        arrays = (self.mark, self.traded, self.buys, self.sells, self.interest, self.days)
        return (*(array[cut] for array in arrays), 1 / MINUTES_A_DAY)

    def rows(self, first: int, last: int) -> Iterator[tuple[Any, ...]]:
        """Arguments of `step`, minute by minute."""
        for i in range(first, last):
            mark, traded = tuple(self.mark[i].tolist()), tuple(self.traded[i].tolist())
            flows = (float(self.buys[i]), float(self.sells[i]), float(self.interest[i]), float(self.days[i]))
            yield mark, traded, *flows, 1 / MINUTES_A_DAY


def prove_fold(walk: Walk, minutes: int = 3000) -> None:
    """Folding gives what stepping gives, bit for bit."""
    folded, stepped = LiquidationMap(MapSpec()), LiquidationMap(MapSpec())
    swept, _ = folded.fold(*walk.columns(minutes))
    for i, row in enumerate(walk.rows(0, minutes)):
        np.testing.assert_array_equal(stepped.step(*row)[0], swept[i])
    for name, array in folded.arrays().items():
        np.testing.assert_array_equal(array, stepped.arrays()[name], err_msg=name)


def single(calls: Iterator[Callable[[], Any]], count: int) -> dict[str, Any]:
    """Percentiles of single calls, in microseconds."""
    taken = np.empty(count)
    for i in range(count):
        call = next(calls)
        began = time.perf_counter_ns()
        call()
        taken[i] = (time.perf_counter_ns() - began) / 1e3
    p50, p99, p999 = (round(float(x), 2) for x in np.percentile(taken, [50, 99, 99.9]))
    return {"p50_us": p50, "p99_us": p99, "p999_us": p999, "calls": count}


def one_step(walk: Walk, map_spec: MapSpec, calls: int) -> dict[str, Any]:
    """A step of a map that has run for ten days."""
    first = 10 * MINUTES_A_DAY
    heat = LiquidationMap(map_spec)
    heat.fold(*walk.columns(first))
    rows = list(walk.rows(first, first + calls))
    return single(((lambda row=row: heat.step(*row)) for row in rows), calls)


def growth(walk: Walk, calls: int) -> dict[str, float]:
    """Median microseconds of a step by bins and by buckets."""
    found = {}
    for bin_log in (2e-3, 1e-3, 5e-4, 2.5e-4):
        found[f"bins of {1e4 * bin_log:g} bp"] = one_step(walk, MapSpec(bin_log=bin_log), calls)["p50_us"]
    for buckets in (1, 5, 10, 20):
        leverages = tuple(np.geomspace(5.0, 100.0, buckets).tolist()) if buckets > 1 else (20.0,)
        weights = tuple([0.5 / buckets] * buckets)
        sized = MapSpec(leverages=leverages, prior_weights=weights)
        found[f"{buckets} buckets"] = one_step(walk, sized, calls)["p50_us"]
    return found


def fold_seconds(walk: Walk, days: int, rounds: int = 3) -> float:
    """Best of some rounds: a history of so many days through a fresh map."""
    taken = []
    for _ in range(rounds):
        heat, columns = LiquidationMap(MapSpec()), walk.columns(days * MINUTES_A_DAY)
        began = time.perf_counter()
        heat.fold(*columns)
        taken.append(time.perf_counter() - began)
    return round(min(taken), 3)


def frames(venues: int, warm: int, calls: int) -> dict[str, Any]:
    """`MarketState.advance` with the atlas: all maps of so many venues, books of 200 bins a side, zones, walls and all
    patterns, in 96 price bins a side.
    """
    names = VENUES[:venues]
    replace = msgspec.structs.replace
    sized = replace(spec(names), map=MapSpec(), frame=FrameSpec(price_bins=96))
    state = MarketState(sized)
    walk = list(itertools.islice(history(0, names, sized.map.bin_log, 200), warm + calls))
    for step in walk[:warm]:
        state.advance(step)
    return single(((lambda step=step: state.advance(step)) for step in walk[warm:]), calls)


def bench_maps(calls: int = 4000) -> dict[str, Any]:
    """All of it. A year of frames is reckoned from the median of those measured: it would take minutes by itself."""
    walk = Walk(366 * MINUTES_A_DAY)
    prove_fold(walk)
    found: dict[str, Any] = {
        "liquidation map, one step": one_step(walk, MapSpec(), calls),
        "a 30-day rebuild of the map, s": fold_seconds(walk, 30),
        "a year of minutes, the map alone, s": fold_seconds(walk, 365, rounds=2),
        "growth of a step, median us": growth(walk, calls // 4),
    }
    for venues in (1, 2, 3):
        name = f"whole frame, {venues} venue{'s' if venues > 1 else ''}"
        found[name] = frames(venues, 1500, calls // 2)
        if venues == 3:
            found["a year of frames, 3 venues, s, reckoned"] = round(found[name]["p50_us"] * 365 * 1440 / 1e6, 1)
    return found


def table(found: dict[str, Any]) -> str:
    """A line for each figure."""
    lines = [f"{'':44}{'p50 us':>10}{'p99 us':>10}{'p99.9 us':>10}"]
    for name, value in found.items():
        if isinstance(value, dict) and "p50_us" in value:
            lines.append(f"{name:44}{value['p50_us']:10.1f}{value['p99_us']:10.1f}{value['p999_us']:10.1f}")
        elif isinstance(value, dict):
            lines += [f"  {inner:42}{figure:10.2f}" for inner, figure in value.items()]
        else:
            lines.append(f"{name:44}{value:10}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(bench_maps()))
