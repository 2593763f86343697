"""How fast a frame becomes a probability: part of `make bench`, or alone `python -m tests.benchmarks.inference`.

The network is of the reference size: 12 channels of 64 price bins and 32 scalars a side, some 44,000 parameters, made
up, since speed does not depend on what was learned. Before anything is timed the fast ways are held against the plain
ones. What is compared is measured in turns in one run, on one thread; each figure is over single calls, hot in a loop
and paced at ten a second, which is the real case: the caches are cold then. Beside them stand what else could be done:
boosted trees on the same scalars, the same network in eager torch, and going through a window of sixty frames anew
instead of carrying state.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import torch

from squeeze.batch import BatchPredictor
from squeeze.engine import INPUTS, OUTPUTS, Engine, open_session
from squeeze.model_file import ModelCard
from squeeze.predictor import Prediction, Predictor
from squeeze.spec import FrameSpec, LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec
from squeeze.state import Frame
from tests.framing import made_up_frame, renamed
from training.config import NetworkSpec
from training.export import to_onnx, traced
from training.networks.network import Head, SqueezeNetwork, StepModel, parameters
from training.serving import ServedStep

CHANNELS, PRICE_BINS, SCALARS, SYMBOLS, WINDOW = 12, 64, 32, 500, 60
NETWORK = NetworkSpec(encoded=40, hidden=64, static=(64, 48), trunk=56)
SHIPPED = Path(__file__).parents[2] / "models" / "squeeze-simulator.onnx"
COMMITTED = {
    "model step, pre-bound": (18.0, 30.0, 80.0),
    "model step, pre-bound, paced": (250.0, None, None),
    "500 symbols, the model alone": (1500.0, None, None),
}
"""p50, p99 and p99.9 in microseconds, of speed.md: on such a core, alone."""

Percentiles = dict[str, float]


def reference_model() -> tuple[StepModel, ModelCard]:
    """A network with random weights, and its card."""
    torch.manual_seed(0)
    spec = Spec(
        market=MarketSpec(symbol="S", bars=StreamSpec(venue="v", kinds=("bar_1m",))),
        map=MapSpec(open_interest="volume"),
        frame=FrameSpec(price_bins=PRICE_BINS),
        label=LabelSpec(name="x", threshold_usd=1.0, horizons_minutes=(15, 60), every_minutes=1, recorded="days"),
        signal=SignalSpec(horizon_minutes=60),
    )
    network = SqueezeNetwork(NETWORK, MapSpec(), PRICE_BINS, SCALARS, 8, channels=CHANNELS)
    head = Head(8, [0, 3, 5, 7], 2, 5.0)
    head.weights.normal_(0, 0.3)
    card = ModelCard(
        spec=spec, scalar_names=tuple(f"s{i}" for i in range(SCALARS)), masked_scalars=(),
        channel_names=tuple(f"c{i}" for i in range(CHANNELS)), masked_channels=(), hidden=network.state_width,
        degraded=0,
        base_rates={"long": (0.1, 0.2), "short": (0.1, 0.2)}, trained_from="", trained_until="", data_digest="",
        licence="none", commit="none",
    )  # fmt: skip
    return StepModel(network, head).eval(), card


class WindowModel(torch.nn.Module):
    """Sixty frames through the network at once: the encoder over all of them together, then the core step by step."""

    def __init__(self, served: ServedStep) -> None:
        super().__init__()
        self.served = served

    def forward(self, channels: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        framed, static, chosen = self.served.encode(channels, scalars)
        state = torch.zeros(2, self.served.core.held.in_features)
        for at in range(0, 2 * WINDOW, 2):
            core, state = self.served.core.step(framed[at : at + 2], state)
        return self.served.answer(static[-2:], core, chosen[-2:])


def timed(
    ways: dict[str, Callable[[], Any]], calls: int, pause_s: float = 0.0, group: int = 500
) -> dict[str, Percentiles]:
    """Percentiles of single calls in microseconds, of ways that take turns: `group` calls each, then the next.

    A group is long: its first call finds the caches full of what ran before it, which is no property of its own.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(min(calls, 300) if not pause_s else 3):
            way()
    gc.collect()
    gc.disable()
    for _ in range(-(-calls // group)):
        for name, way in ways.items():
            for _ in range(group):
                if pause_s:
                    time.sleep(pause_s)
                began = time.perf_counter_ns()
                way()
                taken[name].append((time.perf_counter_ns() - began) / 1e3)
    gc.enable()
    return {name: percentiles(values) for name, values in taken.items()}


def percentiles(taken_us: list[float]) -> Percentiles:
    p50, p99, p999 = np.percentile(taken_us, [50, 99, 99.9])
    return {
        "p50_us": round(float(p50), 2), "p99_us": round(float(p99), 2), "p99.9_us": round(float(p999), 2),
        "calls": len(taken_us),
    }  # fmt: skip


class Setting:
    """Everything that is timed, made once and proved to agree."""

    def __init__(self) -> None:
        self.model, self.card = reference_model()
        self.session = open_session(to_onnx(self.model, self.card), "reference")
        self.engine, self.wide = Engine(self.session, self.card), Engine(self.session, self.card, 256)
        self.frames = [made_up_frame(self.card, close) for close in range(1, 400)]
        self.symbols = [f"S{at}" for at in range(SYMBOLS)]
        self.window = self._window()
        rows = np.random.default_rng(0).normal(size=(20_000, SCALARS)).astype(np.float32)
        truth = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.5).astype(np.float32)
        settings = {"objective": "binary", "num_leaves": 31, "num_threads": 1, "verbosity": -1}
        self.trees = lightgbm.train(settings, lightgbm.Dataset(rows, truth), 300)

    def _window(self) -> onnxruntime.InferenceSession:
        example = (torch.zeros(2 * WINDOW, CHANNELS, PRICE_BINS), torch.zeros(2 * WINDOW, SCALARS))
        proto = traced(WindowModel(ServedStep(self.model, PRICE_BINS)), example, INPUTS[:2], OUTPUTS[:1])
        return open_session(proto.SerializeToString(), "window")

    def inputs(self, frame: Frame, state: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(INPUTS, (frame.channels, frame.scalars, state), strict=True))

    def window_inputs(self) -> dict[str, np.ndarray]:
        part = self.frames[:WINDOW]
        stacked = (np.concatenate([getattr(f, name) for f in part]) for name in ("channels", "scalars"))
        return dict(zip(INPUTS[:2], stacked, strict=True))

    @torch.inference_mode()
    def prove(self) -> dict[str, float]:
        """Largest differences between the ways; raises where one is more than it may be."""
        predictor = Predictor(self.session, self.card, "")
        batch = BatchPredictor(self.session, self.card, "", self.symbols)
        state = theirs = np.zeros((2, self.card.hidden), np.float32)
        eager = together = windowed = 0.0
        for number, frame in enumerate(self.frames):
            expected, state = self.session.run(OUTPUTS, self.inputs(frame, state))
            answer = predictor.step(frame)
            assert isinstance(answer, Prediction)
            assert answer.probabilities.tobytes() == expected.tobytes()
            given = (torch.from_numpy(part) for part in (frame.channels, frame.scalars, theirs))
            p, after = (part.numpy() for part in self.model(*given))
            theirs = after
            eager = max(eager, float(np.abs(p - expected).max()))
            if number < 20:
                answers = batch.step({s: renamed(frame, s) for s in self.symbols})
                together = max(together, *(float(np.abs(a.probabilities - expected).max()) for a in answers.values()))
            if number == WINDOW - 1:
                (found,) = self.window.run(OUTPUTS[:1], self.window_inputs())
                windowed = float(np.abs(found - expected).max())
        assert max(eager, together, windowed) <= 1e-6, (eager, together, windowed)
        return {"torch": eager, "500 symbols": together, "60-frame window": windowed}


class Endless:
    """Frames that follow each other for ever, out of a few that are kept: making one must not be what is timed."""

    def __init__(self, card: ModelCard, symbols: list[str], kept: int = 50) -> None:
        self._kept = [{s: made_up_frame(card, at + 1, k, s) for k, s in enumerate(symbols)} for at in range(kept)]
        self._length_ns = card.spec.market.step_seconds * 1_000_000_000
        self._close_ns = 0
        self._turn = 0

    def next(self) -> dict[str, Frame]:
        self._close_ns += self._length_ns
        self._turn = (self._turn + 1) % len(self._kept)
        frames = self._kept[self._turn]
        for frame in frames.values():
            object.__setattr__(frame, "close_ns", self._close_ns)
        return frames


def bench_inference(calls: int = 4000, paced: int = 100, steps: int = 1_000_000) -> dict[str, Any]:
    """All figures; `steps` is how long memory is watched."""
    torch.set_num_threads(1)
    setting = Setting()
    results: dict[str, Any] = {
        "parameters": parameters(setting.model.network),
        "largest difference": setting.prove(),
        "load": [round(v, 2) for v in os.getloadavg()],
    }
    ways = single_ways(setting)
    results |= timed(ways, calls)
    results |= {f"{n}, paced": v for n, v in timed(ways, paced, pause_s=0.1, group=5).items()}
    results |= timed(many_ways(setting), max(100, calls // 20), group=5)
    own = "model step, pre-bound"
    for name in ("LightGBM, 300 trees of 31 leaves", "eager torch", "60-frame window"):
        results[f"{name} / {own}"] = round(results[name]["p50_us"] / results[own]["p50_us"], 2)
    results["memory"] = growth(setting, steps)
    results["cold start, ms"] = cold_start()
    return results


def single_ways(setting: Setting) -> dict[str, Callable[[], Any]]:
    engine, frame = setting.engine, setting.frames[0]
    engine.channels[...], engine.scalars[...] = frame.channels, frame.scalars
    predictor, frames = Predictor(setting.session, setting.card, ""), Endless(setting.card, ["S"])
    inputs = setting.inputs(frame, np.zeros_like(engine.state))
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    whole, rows = setting.window_inputs(), np.nan_to_num(frame.scalars)

    def bound() -> None:
        engine.run()
        engine.go_on()

    def eager() -> None:
        with torch.inference_mode():
            setting.model(*tensors)

    following = (frames.next()["S"] for _ in iter(int, 1))

    def step() -> None:
        predictor.step(next(following))

    return {
        "model step, pre-bound": bound,
        "Predictor.step": step,
        "plain session.run": lambda: setting.session.run(OUTPUTS, inputs),
        "LightGBM, 300 trees of 31 leaves": lambda: setting.trees.predict(rows, num_threads=1),
        "eager torch": eager,
        "60-frame window": lambda: setting.window.run(OUTPUTS[:1], whole),
    }


def many_ways(setting: Setting) -> dict[str, Callable[[], Any]]:
    batch = BatchPredictor(setting.session, setting.card, "", setting.symbols)
    frames = Endless(setting.card, setting.symbols, kept=2)
    alone = Engine(setting.session, setting.card, 2 * SYMBOLS)
    fill = np.concatenate([f.channels for f in frames.next().values()])
    for engine in (alone, setting.wide):
        engine.channels[...] = fill[: len(engine.channels)]

    def in_parts() -> None:
        for _ in range(-(-SYMBOLS // 128)):
            setting.wide.run()

    return {
        "500 symbols, the model alone": in_parts,
        "500 symbols, the model in one run": alone.run,
        "500 symbols, BatchPredictor.step": lambda: batch.step(frames.next()),
    }


def growth(setting: Setting, steps: int) -> dict[str, float]:
    """What is left of `steps` steps in memory: of the process, in bytes, and of Python's over a tenth of them."""
    predictor, frames = Predictor(setting.session, setting.card, ""), Endless(setting.card, ["S"])

    def run(count: int) -> None:
        for _ in range(count):
            predictor.step(frames.next()["S"])

    run(steps // 20)
    gc.collect()
    before = resident()
    run(steps)
    gc.collect()
    after = resident()
    tracemalloc.start()
    run(1000)
    held, _ = tracemalloc.get_traced_memory()
    run(steps // 10)
    gc.collect()
    still_held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"steps": steps, "process grew, bytes": after - before, "Python grew, bytes": still_held - held}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


FIRST = """
import time; began = time.perf_counter()
import sys
from squeeze import load
predictor = load(sys.argv[1]); loaded = time.perf_counter()
import msgspec
from squeeze import MarketState, Step
from squeeze.market.events import OpenInterest
from squeeze.market.venue_step import Candle, VenueStep
spec = msgspec.structs.replace(
    predictor.spec, market=msgspec.structs.replace(predictor.spec.market, warm_up_hours=0.0)
)
market = MarketState(spec)
length_ns, venue = market.length_ns, spec.market.bars.venue
for at in range(1, 4):
    close_ns = 20_000 * 86_400_000_000_000 + at * length_ns
    bar = Candle(100.0, 101.0, 99.0, 100.5, close_ns)
    held = OpenInterest(
        venue=venue, symbol=spec.market.symbol, event_ns=close_ns, known_at_ns=close_ns, open_interest_base=1e4
    )
    part = VenueStep(last=bar, mark=bar, volume_base=10.0, taker_buy_base=5.0, open_interest=(held,))
    frame = market.advance(Step(spec.market.symbol, close_ns, length_ns, {venue: part}))
before = predictor.snapshot()[1]
answer = predictor.step(frame)
assert predictor.snapshot()[1] != before, "the model did not run"
print(1e3 * (loaded - began), 1e3 * (time.perf_counter() - began))
"""


def cold_start(runs: int = 20) -> dict[str, float]:
    """Fresh processes, kernels cached: the best of some of importing and loading the shipped model, and of all up to
    its first answer to a frame made from bars; Python's own start, which is not ours, left out, and put in.
    """
    loaded, answered, whole, imported, bare, beside_others = [], [], [], [], [], []
    # As it is installed: compiled modules may be kept, and there are no SciPy and no cffi, which numba would import.
    kept_modules = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    as_installed = FIRST.replace("import sys\n", "import sys; sys.modules['scipy'] = sys.modules['cffi'] = None\n")

    def fresh(code: str) -> str:
        command = [sys.executable, "-c", code, str(SHIPPED)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=kept_modules).stdout

    for _ in range(runs):
        began = time.perf_counter()
        said = fresh(as_installed)
        whole.append(1e3 * (time.perf_counter() - began))
        first, second = map(float, said.split())
        loaded.append(first)
        answered.append(second)
        for code, kept in (("import squeeze", imported), ("pass", bare)):
            began = time.perf_counter()
            fresh(code)
            kept.append(1e3 * (time.perf_counter() - began))
        beside_others.append(float(fresh(FIRST).split()[1]))
    return {
        "import squeeze": round(min(imported) - min(bare), 1),
        "import and load": round(min(loaded), 1),
        "import, load, first answer": round(min(answered), 1),
        "the same with Python's start": round(min(whole), 1),
        "import, load, first answer, SciPy and cffi installed": round(min(beside_others), 1),
        "runs": runs,
    }


def table(results: dict[str, Any]) -> str:
    """Each figure on a line, with what speed.md commits to."""
    lines = [f"{'':54}{'p50 µs':>10}{'p99 µs':>10}{'p99.9 µs':>10}{'calls':>8}  committed"]
    for name, value in results.items():
        if isinstance(value, dict) and "p50_us" in value:
            limits = " / ".join(f"{limit:g}" for limit in COMMITTED.get(name, ()) if limit is not None)
            figures = "".join(f"{value[key]:10.1f}" for key in ("p50_us", "p99_us", "p99.9_us"))
            lines.append(f"{name:54}{figures}{value['calls']:8}  {limits}".rstrip())
    lines += [
        f"{name:54}{value}" for name, value in results.items() if not (isinstance(value, dict) and "p50_us" in value)
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--calls", type=int, default=4000, help="how many single calls a figure is over")
    parser.add_argument("--paced", type=int, default=100, help="how many calls at ten a second")
    parser.add_argument("--steps", type=int, default=1_000_000, help="over how many steps memory is watched")
    args = parser.parse_args()
    results = bench_inference(args.calls, args.paced, args.steps)
    print(table(results))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
