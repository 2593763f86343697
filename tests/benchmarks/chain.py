"""How long from a bar's close to the message: part of `make bench`, or alone `python -m tests.benchmarks.chain`.

Three made-up exchanges, with trades, books, open interest, marks and prints, through the real `Stream`: every event of
a minute is heard as it comes, the signal clock looks every ten seconds, and what is timed is the last event and the
clock at the close, up to the messages. All maps and patterns are on, and the machine looks. Hot, one minute follows
another at once; paced, with ten milliseconds between, as the caches are cold then. Beside the whole stand its parts, as
they took in those very calls; what is left is the tape, the zones' record, the machine and the messages. Before
anything is timed the messages are held against builder, frame and model run by hand.
"""

import argparse
import gc
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import torch

from squeeze.engine import open_session
from squeeze.market.events import MINUTE_NS, SECOND_NS, AnyEvent, Bar, BookUpdate, Funding, Liquidation, OpenInterest
from squeeze.market.events import Trade as Fill
from squeeze.market.steps import StepBuilder
from squeeze.model_file import ModelCard
from squeeze.predictor import Prediction, Predictor
from squeeze.signals.message import ProbabilityMessage
from squeeze.spec import FrameSpec, MapSpec, Spec
from squeeze.state import MarketState
from squeeze.stream import Stream
from tests.benchmarks.inference import NETWORK, PRICE_BINS, percentiles
from tests.venues import START_NS, VENUES, spec
from training.export import to_onnx
from training.networks.network import Head, SqueezeNetwork, StepModel

COMMITTED = {"bar close → message": (120.0, 200.0)}
"""p50 and p99 in microseconds, of speed.md: hot, three venues, all patterns and the machine."""
LOOK_SECONDS = 10
LEVELS = 200
"""Of a book, a side."""

Minute = list[AnyEvent]


def sized(venues: tuple[str, ...]) -> Spec:
    """The spec that is listened with: six further channels, with the maps of all venues behind them."""
    frame = FrameSpec(price_bins=PRICE_BINS, channels=("liquidation_*", "book_usd_*"))
    return msgspec.structs.replace(spec(venues), map=MapSpec(), frame=frame)


def predictor_of(listened: Spec) -> Predictor:
    """A network of the reference size with random weights, for frames of this spec."""
    torch.manual_seed(0)
    state = MarketState(listened)
    scalars, channels = len(state.scalar_names), len(state.channel_names)
    wide = msgspec.structs.replace(NETWORK, most_parameters=10**6)  # all scalars of the atlas: more than ship
    network = SqueezeNetwork(wide, listened.map, PRICE_BINS, scalars, 8, channels=channels)
    head = Head(8, [0, 3, 5, 7], 1, 5.0)
    head.weights.normal_(0, 0.3)
    card = ModelCard(
        spec=listened, scalar_names=state.scalar_names, masked_scalars=(), channel_names=state.channel_names,
        masked_channels=(), hidden=network.state_width, degraded=(1 << 16) - 1,
        base_rates={"long": (0.1,), "short": (0.1,)}, trained_from="", trained_until="", data_digest="",
        licence="none", commit="none",
    )  # fmt: skip
    return Predictor(open_session(to_onnx(StepModel(network, head).eval(), card), "chain"), card, "0" * 64)


class Exchange:
    """One venue's minutes, in the order in which they become known."""

    def __init__(self, name: str, is_first: bool, rng: np.random.Generator) -> None:
        self.name, self.is_first, self.rng = name, is_first, rng
        self.interest = 1e5

    def minute(self, close_ns: int, opened: float, closed: float) -> Minute:
        """Twenty trades, six updates of the book, open interest, the mark's bar, now and then a print or funding."""
        rng = self.rng
        path: list[float] = (np.geomspace(opened, closed, 20) * np.exp(rng.normal(0, 2e-4, 20))).tolist()
        began_ns = close_ns - MINUTE_NS
        events: Minute = []
        for at, price in enumerate(path):
            size, buys = float(rng.exponential(2.0)), bool(rng.random() < 0.5)
            when = self._at(began_ns + (3 * at + 1) * SECOND_NS)
            events.append(Fill(**when, price=price, size_base=size, taker_buys=buys, trade_id=f"{close_ns}.{at}"))
        events += [self._book(began_ns + (10 * at + 2) * SECOND_NS, path[3 * at]) for at in range(6)]
        when = self._at(close_ns)
        self.interest *= math.exp(rng.normal(0, 2e-3))
        events.append(OpenInterest(**when, open_interest_base=self.interest))
        if rng.random() < 0.2:
            usd = float(rng.exponential(5e4))
            events.append(Liquidation(**when, side=int(rng.integers(2)), usd=usd, price=closed))
        if close_ns % (480 * MINUTE_NS) == 0:
            events.append(Funding(**when, funding_rate=float(rng.normal(0, 2e-4)), interval_hours=8.0))
        prices = {"open": opened, "high": max(opened, closed, *path), "low": min(opened, closed, *path)}
        bar = {**when, **prices, "close": closed, "cadence_ns": MINUTE_NS}
        events.append(Bar(**bar, is_mark=True))
        if self.is_first:
            events.append(Bar(**bar, volume_base=40.0, taker_buy_base=20.0))
        return events

    def _at(self, ns: int) -> dict[str, Any]:
        return {"venue": self.name, "symbol": "S", "event_ns": ns, "known_at_ns": ns}

    def _book(self, ns: int, mid: float) -> BookUpdate:
        away = mid * 1e-4 * (1 + np.arange(LEVELS))
        bids, asks = (list(zip(at.tolist(), self._sizes(), strict=True)) for at in (mid - away, mid + away))
        return BookUpdate(**self._at(ns), is_snapshot=True, bids=bids, asks=asks)

    def _sizes(self) -> list[float]:
        sizes: list[float] = self.rng.gamma(1.0, 2.0, LEVELS).tolist()
        return sizes


def minutes(venues: tuple[str, ...], seed: int = 0) -> Iterator[tuple[int, Minute]]:
    """Each minute's close and events, the first venue's bar the last of them, without end."""
    rng = np.random.default_rng(seed)
    exchanges = [Exchange(name, name == venues[0], rng) for name in venues]
    log_price, close_ns = 11.0, START_NS
    while True:
        close_ns += MINUTE_NS
        opened, log_price = log_price, log_price + rng.normal(0, 1e-3)
        events = [e for one in exchanges[::-1] for e in one.minute(close_ns, math.exp(opened), math.exp(log_price))]
        yield close_ns, sorted(events, key=lambda event: event.known_at_ns)


class Chain:
    """A stream that is driven minute by minute, with its parts under the clock."""

    def __init__(self, venues: tuple[str, ...]) -> None:
        self.spec = sized(venues)
        self.stream = Stream(predictor_of(self.spec))
        self.parts: dict[str, list[float]] = {}
        stream = self.stream
        for owner, verb, name in (
            (stream.builder, "close", "the step builder"),
            (stream.market, "advance", "the frame, all maps and patterns"),
            (stream.predictor, "step", "the model's step"),
        ):
            setattr(owner, verb, self._clocked(name, getattr(owner, verb)))
        self.parts["tape, zones' record, machine, messages"] = []

    def _clocked(self, name: str, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        taken = self.parts.setdefault(name, [])

        def clocked(given: Any) -> Any:
            began = time.perf_counter_ns()
            said = call(given)
            taken.append((time.perf_counter_ns() - began) / 1e3)
            return said

        return clocked

    def minute(self, close_ns: int, events: Minute, pause_s: float = 0.0) -> tuple[float, list[Any]]:
        """Microseconds from the last event to the messages, and these."""
        stream, look_ns = self.stream, close_ns - MINUTE_NS + LOOK_SECONDS * SECOND_NS
        for event in events[:-1]:
            while event.known_at_ns > look_ns:
                stream.on_clock(look_ns)
                look_ns += LOOK_SECONDS * SECOND_NS
            stream.on_event(event)
        if pause_s:
            time.sleep(pause_s)
        began = time.perf_counter_ns()
        stream.on_event(events[-1])
        messages = stream.on_clock(close_ns)
        whole = (time.perf_counter_ns() - began) / 1e3
        *inner, rest = self.parts.values()
        rest.append(whole - sum(part[-1] for part in inner))
        return whole, messages


def prove(venues: tuple[str, ...], count: int = 60) -> int:
    """Hold messages against builder, frame and model by hand, bit for bit; how many had a probability."""
    chain = Chain(venues)
    listened = chain.spec
    builder = StepBuilder("S", MINUTE_NS, listened.map.bin_log)
    market, predictor = MarketState(listened), predictor_of(listened)
    found = 0
    for close_ns, events in itertools.islice(minutes(venues), count):
        _, messages = chain.minute(close_ns, events)
        for event in events:
            builder.add(event)
        answer = predictor.step(market.advance(builder.close(close_ns)))
        said = [m.probabilities for m in messages if isinstance(m, ProbabilityMessage)]
        if not isinstance(answer, Prediction):
            assert not said
            continue
        (one,) = said
        expected = [list(row) for row in answer.probabilities.astype(float)]
        assert [list(one[side].values()) for side in ("long", "short")] == expected
        found += 1
    assert found > count / 2, found
    return found


def measured(venues: tuple[str, ...], calls: int, warm: int, pause_s: float = 0.0) -> dict[str, Any]:
    """Percentiles of the whole and of its parts."""
    chain, walk = Chain(venues), list(itertools.islice(minutes(venues), warm + calls))  # made before anything is timed
    for close_ns, events in walk[:warm]:
        chain.minute(close_ns, events)
    for part in chain.parts.values():
        part.clear()
    gc.collect()
    gc.disable()
    taken = [chain.minute(close_ns, events, pause_s)[0] for close_ns, events in walk[warm:]]
    gc.enable()
    return {"bar close → message": percentiles(taken)} | {n: percentiles(part) for n, part in chain.parts.items()}


def bench_chain(calls: int = 1000, paced: int = 200, warm: int = 400) -> dict[str, Any]:
    """All figures, for one venue and for three."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {"messages proved equal": prove(VENUES)}
    for venues in (VENUES[:1], VENUES):
        results[f"{len(venues)} venues, hot"] = measured(venues, calls, warm)
    results[f"{len(VENUES)} venues, paced"] = measured(VENUES, paced, warm, pause_s=0.01)
    return results


def table(results: dict[str, Any]) -> str:
    """Each figure on a line, with what speed.md commits to."""
    lines = [f"{'':54}{'p50 µs':>10}{'p99 µs':>10}{'p99.9 µs':>10}{'calls':>8}  committed"]
    for name, value in results.items():
        if not isinstance(value, dict):
            lines.append(f"{name:54}{value}")
            continue
        lines.append(name)
        for part, figures in value.items():
            limits = " / ".join(f"{limit:g}" for limit in COMMITTED.get(part, ())) if name == "3 venues, hot" else ""
            said = "".join(f"{figures[key]:10.1f}" for key in ("p50_us", "p99_us", "p99.9_us"))
            lines.append(f"  {part:52}{said}{figures['calls']:8}  {limits}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="how many minutes a figure is over")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = bench_chain(args.calls)
    print(json.dumps(results, ensure_ascii=False) if args.json else table(results))


if __name__ == "__main__":
    main()
