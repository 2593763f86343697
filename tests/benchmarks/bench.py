"""How fast the live path is: `make bench`. Outputs are proved equal first; nothing is ever asserted about time.

The twin (`tests/naive.py`) is written to be obvious, not fast: it walks 20,000 bins where the map keeps to what was
touched, so the ratio says what all of that earns and not what numba alone does. Every figure is taken after warm-up
calls, on one thread; a p99 is over single calls. With `--model FILE` the model's step and the whole chain are measured
too. `feeds` measures how frames become events, books and steps;
`maps` the map's kernel and whole frames; `inference` the model's step beside what else could be done; `chain` a bar's
close to the message; `pretraining` frames a second of training.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from squeeze.heatmaps.liquidation import LiquidationMap
from squeeze.market.events import HOUR_NS, SECOND_NS, Funding, Liquidation, OpenInterest
from squeeze.market.steps import Step
from squeeze.market.venue_step import Candle, VenueStep
from squeeze.spec import FrameSpec, LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from squeeze.state import MarketState
from tests.benchmarks import feeds, maps
from tests.naive import NaiveMap

START_NS = 20_000 * 24 * HOUR_NS
WIDTH_LOG = 0.0012


def reference_spec() -> Spec:
    """One venue, one-minute steps, every stream, the sizes of `spec.py`'s defaults."""

    def stream(kind: str) -> StreamSpec:
        return StreamSpec(venue="v", kinds=(kind,))

    return Spec(
        market=MarketSpec(
            symbol="S",
            bars=stream("bar_1m"),
            mark=stream("mark_bar_1m"),
            open_interest=stream("open_interest"),
            funding=stream("funding"),
            liquidations=stream("liquidation"),
            warm_up_hours=0.0,
        ),
        frame=FrameSpec(),
        label=LabelSpec(name="x", threshold_usd=1e6, horizons_minutes=(60,), every_minutes=1, recorded="days"),
        signal=SignalSpec(horizon_minutes=60),
    )


def made_up_steps(spec: Spec, seed: int = 0) -> Iterator[Step]:
    """An endless random walk with what an exchange would say of it: volume, open interest each step, some prints."""
    rng = np.random.default_rng(seed)
    length_ns = spec.market.step_seconds * SECOND_NS
    streams = spec.market.streams()
    price, interest, close_ns = 60_000.0, 5e4, START_NS
    sigma = 0.0006 * (spec.market.step_seconds / 60) ** 0.5
    while True:
        close_ns += length_ns
        opened, price = price, price * float(np.exp(rng.normal(0, sigma)))
        low, high = min(opened, price) * (1 - sigma / 3), max(opened, price) * (1 + sigma / 3)
        bar = Candle(opened, high, low, price, close_ns)
        interest *= float(np.exp(rng.normal(0, 0.001)))
        volume = float(rng.exponential(60.0))
        at = {"symbol": spec.market.symbol, "event_ns": close_ns, "known_at_ns": close_ns}
        parts: dict[str, dict[str, Any]] = {stream.venue: {} for stream in streams.values()}
        parts[spec.market.bars.venue] |= {
            "last": bar,
            "volume_base": volume,
            "taker_buy_base": volume * float(rng.random()),
        }
        for name, stream in streams.items():
            venue, part = stream.venue, parts[stream.venue]
            if name == "mark":
                part["mark"] = bar
            elif name == "open_interest":
                part["open_interest"] = (OpenInterest(venue=venue, **at, open_interest_base=interest),)
            elif name == "funding" and close_ns % (8 * HOUR_NS) == 0:
                part["funding"] = (Funding(venue=venue, **at, funding_rate=1e-4),)
            elif name == "liquidations" and rng.random() < 0.2:
                side = int(rng.integers(2))
                part["liquidations"] = (Liquidation(venue=venue, **at, side=side, usd=float(rng.exponential(2e4))),)
        venues = {venue: VenueStep(**part) for venue, part in parts.items()}
        yield Step(spec.market.symbol, close_ns, length_ns, venues)


def map_inputs(count: int) -> list[tuple[Any, ...]]:
    """Arguments of `LiquidationMap.step`, from the same walk."""
    spec, walk = reference_spec(), []
    for _, step in zip(range(count), made_up_steps(reference_spec()), strict=False):
        part = step.venue("v")
        bar, buys = part.last, part.taker_buy_base
        assert bar is not None
        mark, stamp = (bar.low, bar.high, bar.close), part.open_interest[0].open_interest_base
        days = step.close_ns / (24 * HOUR_NS)
        length_days = spec.market.step_seconds / 86_400
        walk.append((mark, (bar.low, bar.high), buys, part.volume_base - buys, stamp, days, length_days))
    return walk


def timed(calls: Iterator[Callable[[], Any]], warm_up: int, count: int) -> dict[str, float]:
    """Median and 99th percentile of single calls, in microseconds."""
    taken = []
    for index in range(warm_up + count):
        call = next(calls)
        began = time.perf_counter_ns()
        call()
        if index >= warm_up:
            taken.append((time.perf_counter_ns() - began) / 1e3)
    p50, p99 = np.percentile(taken, [50, 99])
    return {"p50_us": round(float(p50), 2), "p99_us": round(float(p99), 2), "calls": count}


def prove_equal(walk: list[tuple[Any, ...]], fast: LiquidationMap, slow: NaiveMap, bins: int) -> float:
    """Run both maps and compare what they give at each step; the largest difference as a share of open interest."""
    worst = 0.0
    for args in walk:
        swept, _ = fast.step(*args)
        expected, _ = slow.step(*args)
        np.testing.assert_allclose(swept, expected, rtol=1e-9, atol=1e-7)
        close = args[0][2]
        got, want = fast.outward(close, WIDTH_LOG, bins), slow.outward(close, WIDTH_LOG, bins)
        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-6)
        worst = max(worst, float(np.abs(got - want).max()) / fast.open_interest_base)
    return worst


def bench_map(count: int, bins: int) -> dict[str, Any]:
    """A step of the map and the outward view of it, with numba and without."""
    proof, warm = 300, 1500
    walk = map_inputs(proof + warm + 2 * count)
    fast, slow = LiquidationMap(MapSpec()), NaiveMap(MapSpec(), walk[0][0][2])
    worst = prove_equal(walk[:proof], fast, slow, bins)

    def calls(heat: LiquidationMap | NaiveMap) -> Iterator[Callable[[], Any]]:
        for args in walk[proof:]:
            yield lambda args=args: (heat.step(*args), heat.outward(args[0][2], WIDTH_LOG, bins))

    fast_figures, slow_figures = timed(calls(fast), warm, count), timed(calls(slow), 20, max(50, count // 20))
    ratio = round(slow_figures["p50_us"] / fast_figures["p50_us"], 1)
    return {
        "largest difference, share of OI": worst,
        "map step + outward view": fast_figures,
        "the same, naive NumPy twin": slow_figures,
        "naive / fast": ratio,
    }


def bench_frames(spec: Spec, count: int, warm: int) -> dict[str, float]:
    """`MarketState.advance`: one step to one frame."""
    state = MarketState(spec)
    return timed(((lambda s=s: state.advance(s)) for s in made_up_steps(spec)), warm, count)


def bench_model(path: Path, count: int, warm: int) -> dict[str, Any]:
    """The model's own step, and step → frame → probabilities, under the spec the model file carries."""
    from squeeze.predictor import Abstain, load

    predictor = load(path)
    # Without the warm-up, which changes no frame but its flag: an abstention would cost nothing.
    impatient = msgspec.structs.replace(predictor.spec.market, warm_up_hours=0.0)
    spec = msgspec.structs.replace(predictor.spec, market=impatient)
    market, walk = MarketState(spec), made_up_steps(spec)
    frames = [market.advance(next(walk)) for _ in range(warm + count)]
    answers = [predictor.step(f) for f in frames[: len(frames) // 5 + 1]]
    held = sum(isinstance(a, Abstain) for a in answers)
    rest = frames[len(frames) // 5 + 1 :]
    step = timed(((lambda f=f: predictor.step(f)) for f in rest), 0, len(rest))
    chain = timed(((lambda s=s: predictor.step(market.advance(s))) for s in walk), warm // 5, count)
    return {
        "model": str(path),
        "abstained": f"{held} of {len(answers)}",
        "predictor step": step,
        "step → frame → probabilities": chain,
    }


def import_seconds(module: str, runs: int = 10) -> float:
    """Best of some fresh processes, without what Python itself takes to start."""

    def best(code: str) -> float:
        taken = []
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken.append(time.perf_counter() - began)
        return min(taken)

    return round(best(f"import {module}") - best("pass"), 3)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    packages = ("numpy", "numba", "onnxruntime", "msgspec")
    cpu = next(
        (line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor()
    )
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def table(results: dict[str, Any]) -> str:
    """Each figure on a line."""
    lines = [f"{'':36}{'median µs':>12}{'p99 µs':>12}{'calls':>9}"]
    for name, value in results.items():
        if isinstance(value, dict) and "p50_us" in value:
            lines.append(f"{name:36}{value['p50_us']:12.1f}{value['p99_us']:12.1f}{value['calls']:9}")
    lines += [f"{name:36}{value:>12}" for name, value in results.items() if not isinstance(value, dict)]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--model", type=Path, help="a model file, to measure its step and the whole chain")
    parser.add_argument("--calls", type=int, default=4000, help="how many single calls a figure is over")
    args = parser.parse_args()
    spec = reference_spec()
    results: dict[str, Any] = bench_map(args.calls, spec.frame.price_bins)
    results["MarketState.advance, one frame"] = bench_frames(spec, args.calls, 2000)
    results["import squeeze, s"] = import_seconds("squeeze")
    if args.model:
        results |= bench_model(args.model, args.calls, 2000)
    print(table(results))
    results["maps"] = maps.bench_maps(args.calls)
    print(maps.table(results["maps"]))
    results["feeds"] = feeds.bench_feeds()
    print(feeds.table(results["feeds"]))
    from tests.benchmarks import (  # last, for torch's threads would stand beside the figures above
        chain,
        inference,
        pretraining,
    )

    results["inference"] = inference.bench_inference(args.calls)
    print(inference.table(results["inference"]))

    results["chain"] = chain.bench_chain()
    print(chain.table(results["chain"]))

    results["pretraining"] = pretraining.bench_pretraining()
    print(pretraining.table(results["pretraining"]))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps({"machine": machine(), "results": results}, indent=1, ensure_ascii=False) + "\n"
        )


if __name__ == "__main__":
    main()
