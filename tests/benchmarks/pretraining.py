"""How many frames a second pre-training takes in, core by core, proved first to be what the live step computes.

16 sequences of 256 frames, two threads, frames of 5 unit maps in 32 bins and 123 scalars, in memory; a frame counts
once for each side. `as a run logs it` is `pretrain` itself, loader and Lightning included, over made-up frames in the
shape of the default config; validation is not counted.
"""

import statistics
import time
from typing import Any

import numpy as np
import torch

from squeeze.spec import MapSpec
from training.examples import Examples
from training.networks.device import trainer_options
from training.networks.network import SqueezeNetwork, parameters
from training.pretraining.data import SequenceData
from training.pretraining.lanes import Batch
from training.pretraining.task import ProxyTask, pretrain
from training.recipe import NetworkSpec, PretrainSpec

COMMITTED = 60_000
"""Frames a second of the default on a CPU."""
SEQUENCES, STEPS, PRICE_BINS, SCALARS, HORIZONS = 16, 256, 32, 123, 1
SPEC = PretrainSpec(until="2025-01-01")
MINUTE_NS = 60_000_000_000


def network_of(core: str = "gru", encoder: str = "patch") -> SqueezeNetwork:
    """The default network with another core or encoder."""
    torch.manual_seed(0)
    spec = NetworkSpec(core=core, encoder=encoder)  # type: ignore[arg-type]
    return SqueezeNetwork(spec, MapSpec(), PRICE_BINS, SCALARS, HORIZONS * SPEC.scores_per_horizon)


def made_up_batch(rng: np.random.Generator) -> Batch:
    """Frames and targets of one chunk, all of them known."""
    shape = (SEQUENCES, STEPS)
    own, other = (10 ** rng.uniform(-8, 0, (2, *shape, len(MapSpec().leverages), PRICE_BINS))).astype(np.float32)
    targets = (rng.random((*shape, HORIZONS, len(SPEC.quantiles))) < 0.05, rng.normal(size=(*shape, HORIZONS, 2)))
    arrays = (own, other, rng.normal(size=(*shape, SCALARS)), *targets, np.ones(shape))
    return Batch(*(torch.from_numpy(array.astype(np.float32)) for array in arrays), fresh=True)


@torch.no_grad()
def prove_equal(network: SqueezeNetwork, batch: Batch) -> float:
    """Largest difference between scores over a whole sequence and step by step."""
    network = network.eval()
    whole, _ = network(batch.own, batch.other, batch.scalars, None)
    state = torch.zeros(SEQUENCES, network.state_width)
    worst = 0.0
    for t in range(STEPS):
        each, state = network.step(batch.own[:, t], batch.other[:, t], batch.scalars[:, t], state)
        worst = max(worst, float((each - whole[:, t]).abs().max()))
    assert worst < 1e-5, f"a sequence differs from its steps by {worst}"
    return worst


def one_core(network: SqueezeNetwork, batch: Batch, rounds: int) -> dict[str, Any]:
    """Forward, backward and the optimiser's step over one batch, again and again."""
    worst = prove_equal(network, batch)
    task = ProxyTask(network.train(), SPEC, HORIZONS, rounds, 0)
    optimiser = torch.optim.AdamW(task.parameters(), SPEC.learning_rate)
    taken = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        task.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimiser.step()
        taken.append(time.perf_counter() - began)
    frames, kept = SEQUENCES * STEPS, taken[2:]
    return {
        "frames_s": round(frames / statistics.median(kept)),
        "best_frames_s": round(frames / min(kept)),
        "parameters": parameters(network),
        "difference": float(f"{worst:.1e}"),
    }


def made_up_examples(steps: int, rng: np.random.Generator) -> Examples:
    """One market in memory, in the shape that `examples.build` gives."""
    buckets = MapSpec().leverages
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, steps)))
    return Examples(
        symbol="S", digest="", data_digest="", scalar_names=tuple(f"s{i}" for i in range(SCALARS)),
        channel_names=tuple(f"unit_{x:g}x" for x in buckets), closes_ns=(np.arange(steps) + 1) * MINUTE_NS,
        unhealthy=np.zeros(steps, np.int64), degraded=np.zeros(steps, np.int64), bin_width_log=np.full(steps, 1e-3),
        channels=(10 ** rng.uniform(-8, 0, (steps, 2, len(buckets), PRICE_BINS))).astype(np.float32),
        scalars=rng.normal(size=(steps, 2, SCALARS)).astype(np.float32), swept=rng.exponential(0.01, (steps, 2)),
        marks=np.stack([close, close * 1.001, close * 0.999, close], axis=1),
    )  # fmt: skip


def as_logged(steps: int = 30_000) -> int:
    """`frames_per_second` of one epoch of `pretrain`."""
    spec = PretrainSpec(until="2025-01-01", epochs=1)
    data = SequenceData([made_up_examples(steps, np.random.default_rng(0))], (60,), spec, steps * MINUTE_NS, 0)
    return round(pretrain(network_of(), data, spec, HORIZONS, 0)["frames_per_second"])


def bench_pretraining(rounds: int = 12) -> dict[str, Any]:
    """All of it, on two threads and, for the default, on one."""
    batch = made_up_batch(np.random.default_rng(0))
    before, found = torch.get_num_threads(), {}
    try:
        torch.set_num_threads(2)
        for core in ("gru", "tcn", "window"):
            found[f"patch + {core}"] = one_core(network_of(core), batch, rounds if core != "window" else 3)
        found["conv + gru"] = one_core(network_of("gru", "conv"), batch, rounds)
        found["patch + gru, as a run logs it"] = {"frames_s": as_logged()}
        torch.set_num_threads(1)
        found["patch + gru, one thread"] = one_core(network_of(), batch, rounds)
        found["patch + gru, one thread, as a run logs it"] = {"frames_s": as_logged()}
    finally:
        torch.set_num_threads(before)
    found["patch + gru"]["committed"] = COMMITTED
    return {"device": trainer_options(SPEC)["accelerator"]} | found


def table(found: dict[str, Any]) -> str:
    """A line for each figure."""
    lines = [f"{'pre-training, frames a second':44}{'median':>10}{'best':>10}{'committed':>12}{'parameters':>12}"]
    for name, value in found.items():
        if isinstance(value, dict):
            cells = [value.get(key, "") for key in ("frames_s", "best_frames_s", "committed", "parameters")]
            lines.append(f"{name:44}{cells[0]:>10}{cells[1]:>10}{cells[2]:>12}{cells[3]:>12}")
    return "\n".join([*lines, f"{'device':44}{found['device']:>10}"])


if __name__ == "__main__":
    print(table(bench_pretraining()))
