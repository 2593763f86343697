"""The whole chain on a simulated market, from nothing: `make demo`. Its numbers say that the chain works, nothing about
real markets.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from squeeze.arrays import SIDES
from squeeze.market.events import HOUR_NS
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake, read_events
from squeeze.predictor import load
from squeeze.registry import tracking_uri
from squeeze.replaying import replay
from squeeze.signals.message import Message, ProbabilityMessage, encode
from squeeze.signals.strategy import StrategySpec, read_strategy
from squeeze.simulator import SimulatorSpec, simulate, write_recording
from squeeze.stream import Stream
from squeeze.tools.page import write_page
from squeeze.tools.story import Story
from training import pipeline
from training.config import load_config, utc
from training.evaluation.assess import NETWORK, assess_trained
from training.evaluation.metrics import ENOUGH_EPISODES, reliability
from training.evaluation.pools import Figures, Pooled, table
from training.examples import Progress
from training.figures import heatmap_figure, save
from training.prepare import Prepared
from training.tracking import record, track
from training.tracking.environment import commit
from training.tracking.maps import heat_window

PROBABILITY_HOURS = 12
"""A probability is printed so often, whether anything happens or not."""


def demo(
    config_path: Path, strategy_path: Path, out: Path, seed: int, progress: Progress, shown: TextIO
) -> list[dict[str, Any]]:
    """Simulate, import, build, train, compare, export, replay, draw, all into `out`; the rows of the score table.

    What is replayed and drawn is the whole last block, which the model never saw, whatever happens in it.
    """
    config, strategy = load_config(config_path), read_strategy(strategy_path)
    mapping = write_recording(simulate(SimulatorSpec(), seed), out / "recording")
    shutil.rmtree(out / "lake", ignore_errors=True)  # a lake keeps what it has; another seed is another market
    lake = Lake(out / "lake")
    import_mapping(mapping, mapping.parent, lake)
    progress("simulating", 1, 1)
    prepared, trained, run = pipeline.train_task(config, lake, out, progress)
    found = assess_trained(prepared, trained, lake, test=True, progress=progress)
    pools, figures = found.pools, found.figures()
    model = out / "model.onnx"
    differences = pipeline.export_block(
        run, pipeline.run_folder(out, config), -1, model, track.side_metrics(figures[NETWORK]), 1000
    )
    progress("exporting", 1, 1)
    record.track_run(
        prepared, trained, run, figures[NETWORK], found.rival_figures(),
        dict(zip(("parity_probability", "parity_state"), differences, strict=True)), model, test=True, lake=lake,
        pools=found.baselines(), report=found.told(), pictures=found.drawn, over=found.best_rival(),
    )  # fmt: skip
    from_ns = trained.blocks[-1].block.test_from_ns
    messages = _replayed(model, strategy, lake, from_ns, out / "messages.jsonl", shown)
    _draw(prepared, pools, figures, messages, from_ns, out)
    _print_scores(figures, found.best_rival(), shown)
    print(f"\nthe page:     {out / 'demo.html'}   (open it in a browser)", file=shown)
    print(f"the messages: {out / 'messages.jsonl'}", file=shown)
    print(f"the model:    {model}   ({_command('squeeze')} info {model})", file=shown)
    ui = f"{_command('mlflow')} ui --backend-store-uri {tracking_uri()}"
    print(f"the runs:     {ui}   (then open http://127.0.0.1:5000)", file=shown)
    return table(figures)


def _command(name: str) -> str:
    """How to call a program of this environment from here."""
    place = Path(sys.executable).parent
    return str((place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place) / name)


def _replayed(
    model: Path, strategy: StrategySpec, lake: Lake, from_ns: int, path: Path, shown: TextIO
) -> list[Message]:
    """The last block through the live path: every message to a file; to the terminal what became of signals, and a
    probability now and then.
    """
    stream, story = Stream(load(model), strategy), Story()
    market = stream.spec.market
    stream.warm(read_events(lake, market, None, from_ns), from_ns - 1)
    what = f"signals from the approach to their end, and a probability every {PROBABILITY_HOURS} hours"
    print(f"\nreplaying from {utc(from_ns)} through the live path: {what}", file=shown, flush=True)
    messages = []
    with path.open("wb") as file:
        for message in replay(stream, read_events(lake, market, from_ns), stream.spec.signal.clock_seconds):
            file.write(encode(message))
            messages.append(message)
            for line in (*story.lines(message), *_probability(message)):
                print(line, file=shown, flush=True)
    print("", *story.account(), sep="\n", file=shown, flush=True)
    return messages


def _probability(message: Message) -> list[str]:
    """A line with both sides' probability, at some of the steps."""
    at_ns = message.ts_data_us * 1000
    if not isinstance(message, ProbabilityMessage) or at_ns % (PROBABILITY_HOURS * HOUR_NS):
        return []
    longest = max(message.probabilities["long"], key=int)
    said = ", ".join(f"{side} {message.probabilities[side][longest]:.3f}" for side in SIDES)
    when = utc(at_ns)[5:16].replace("T", " ")
    return [f"  {when}  mark {message.mark:>9}  P(squeeze in {longest} min): {said}"]


def _draw(
    prepared: Prepared,
    pools: dict[str, Pooled],
    figures: dict[str, Figures],
    messages: list[Message],
    from_ns: int,
    out: Path,
) -> None:
    config = prepared.config
    minutes = config.spec.signal.horizon_minutes
    pool = pools["network"]
    until_ns = int(prepared.own.closes_ns[-1]) + 1
    times, mark, heat, widths = heat_window(prepared, from_ns, until_ns)
    said = {m.ts_data_us * 1000: m.probabilities for m in messages if isinstance(m, ProbabilityMessage)}
    probabilities = {
        side: np.array([said[t][side][str(minutes)] if t in said else np.nan for t in times.tolist()]) for side in SIDES
    }
    _, true = pool.held(times)
    plain = [json.loads(encode(m)) for m in messages if from_ns <= m.ts_data_us * 1000 < until_ns]
    rates = {side: float(pool.base_rate[-1, s]) for s, side in enumerate(SIDES)}
    title = f"Simulated market, {utc(from_ns)[:10]} to {utc(until_ns)[:10]}"
    picture = heatmap_figure(times, mark, heat, widths, probabilities, true, plain, minutes, rates, title)
    save(picture, out / "demo.png")
    bins = {
        f"{side} squeeze": reliability(pool.truth[:, s], pool.probability[:, s].astype(float))
        for s, side in enumerate(SIDES)
    }
    summary = {
        "data": "simulated: this shows that the chain works, and nothing about real markets",
        "label": config.spec.label.name,
        "horizon": f"{minutes} minutes",
        "commit": commit(),
    }
    write_page(
        out / "demo.html", "Squeeze predictor: the demo", summary, times, mark, heat.astype(float), widths,
        probabilities, true, plain, bins, table(figures), minutes, rates,
    )  # fmt: skip


def _print_scores(figures: dict[str, Figures], rival: str, shown: TextIO) -> None:
    columns = {"ap": "AP", "base_rate": "base", "auc": "AUC", "brier_skill": "Brier skill", "slope": "slope"}
    heads = "".join(f"{name:>13}" for name in (*columns.values(), "episodes"))
    print(f"\nheld-out rows of the simulated market:\n  {'model':<12} {'side':<5}{heads}", file=shown)
    for name, sides in figures.items():
        for side, row in sides.items():
            cells = "".join(f"{row[column]:>13.3f}" for column in columns)
            print(f"  {name:<12} {side:<5}{cells}{row['episodes']:>13.0f}", file=shown)
    for side, row in figures["network"].items():
        gain, low, high = (row[f"ap_gain{part}"] for part in ("", "_low", "_high"))
        verdict = f"   inconclusive: under {ENOUGH_EPISODES} episodes" if row["episodes"] < ENOUGH_EPISODES else ""
        print(
            f"  AP gain over {rival}, {side}: {gain:+.3f}, 95 % interval [{low:+.3f}, {high:+.3f}]{verdict}", file=shown
        )
    print(file=shown, flush=True)
