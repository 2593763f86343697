"""The whole chain on a simulated market, from nothing: `make demo`. Its numbers say that the chain works, nothing about
real markets.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from squeeze.arrays import SIDES
from squeeze.market.events import DAY_NS, HOUR_NS
from squeeze.market.importer import import_mapping
from squeeze.market.lake import Lake, read_events
from squeeze.predictor import load
from squeeze.registry import tracking_uri
from squeeze.signals.message import Message, ProbabilityMessage, SignalMessage, encode
from squeeze.simulator import SimulatorSpec, simulate, write_recording
from squeeze.stream import Stream, replay
from squeeze.tools.page import write_page
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

SHOWN_DAYS = 4
"""How much of the held-out part the page and the picture show."""


def demo(config_path: Path, out: Path, seed: int, progress: Progress, shown: TextIO) -> list[dict[str, Any]]:
    """Simulate, import, build, train, compare, export, replay, draw, all into `out`; the rows of the score table."""
    config = load_config(config_path)
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
    messages = _replayed(model, lake, trained.blocks[-1].block.test_from_ns, out / "messages.jsonl", shown)
    _draw(prepared, pools, figures, messages, out)
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


def _replayed(model: Path, lake: Lake, from_ns: int, path: Path, shown: TextIO) -> list[Message]:
    """The last block through the live path: every message to a file, signals and an hourly probability to the
    terminal.
    """
    stream = Stream(load(model))
    market = stream.spec.market
    stream.warm(read_events(lake, market, None, from_ns), from_ns - 1)
    what = "alarms, what follows from them, and a probability every six hours"
    print(f"\nreplaying from {utc(from_ns)} through the live path: {what}", file=shown, flush=True)
    messages = []
    with path.open("wb") as file:
        for message in replay(stream, read_events(lake, market, from_ns), stream.spec.signal.clock_seconds):
            file.write(encode(message))
            messages.append(message)
            if line := _line(message):
                print(line, file=shown, flush=True)
    return messages


def _line(message: Message) -> str | None:
    at_ns = message.ts_data_us * 1000
    when = utc(at_ns)[5:16].replace("T", " ")
    if isinstance(message, SignalMessage) and message.signal_id and message.state != "zone_ahead":
        probability = "  -  "
        if message.probs is not None:
            longest = max(message.probs, key=lambda horizon: int(horizon[1:]))
            probability = f"{message.probs[longest][message.side]:.3f}"
        why = ", ".join(message.reason_codes)
        what = f"{message.side:>5} squeeze {message.state.upper():<11} p={probability}  {why}"
        return f"  {when}  mark {message.mark or '-':>8}  {what}  {message.signal_id}"
    if isinstance(message, ProbabilityMessage) and at_ns % (6 * HOUR_NS) == 0:
        longest = max(message.probabilities["long"], key=int)
        said = ", ".join(
            f"P({side} squeeze in {longest} min)={message.probabilities[side][longest]:.3f}" for side in SIDES
        )
        return f"  {when}  mark {message.mark:>8}  {said}"
    return None


def _draw(
    prepared: Prepared,
    pools: dict[str, Pooled],
    figures: dict[str, Figures],
    messages: list[Message],
    out: Path,
) -> None:
    config = prepared.config
    minutes = config.spec.signal.horizon_minutes
    pool = pools["network"]
    until_ns = _busiest(pool)
    from_ns = until_ns - SHOWN_DAYS * DAY_NS
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


def _busiest(pool: Pooled) -> int:
    """End of the stretch of the last block with the most positive rows: the part worth looking at."""
    last = pool.ts_ns[-1]
    ends: Iterator[int] = iter(
        range(int(pool.ts_ns[len(pool.ts_ns) // 2]) + SHOWN_DAYS * DAY_NS, int(last) + 1, DAY_NS // 2)
    )
    inside = [
        (int(pool.truth[(pool.ts_ns >= end - SHOWN_DAYS * DAY_NS) & (pool.ts_ns < end)].sum()), end) for end in ends
    ]
    return max(inside)[1] if inside else int(last)


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
