"""Which price bins and which scalars made one prediction: integrated gradients through network and head.

Sundararajan, Taly, Yan (2017), "Axiomatic attribution for deep networks": along a way from a baseline to the row, the
gradient of the output times the way of each input, summed up. What the parts add up to is the difference of the outputs
(*completeness*), which is checked. The output is the log-odds of a squeeze of one side within the watched horizon.

The baseline is a market that has long looked like the mean of pre-training: the mean map, every scalar at its mean, and
the memory that such frames leave. The way is straight, but for the unit maps: there it is straight in the logarithm,
which is how the network sees them. What was not recorded has no part in anything.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from squeeze.arrays import SIDES
from squeeze.errors import DataError, SqueezeError
from squeeze.market.events import SECOND_NS
from squeeze.market.lake import Lake
from squeeze.state import Unhealthy, flag_names
from training import runs
from training.config import day_ns, utc
from training.controls.views import mean_channels, unit_maps
from training.examples import Examples, Progress, build, silent
from training.networks.encoder import LEAST_SHARE
from training.networks.network import SqueezeNetwork, StepModel
from training.runs import Run

SETTLED_STEPS = 512
"""So many mean frames make the baseline's memory."""
FEWEST_POINTS, MOST_POINTS = 256, 4096
"""On the way; as many as completeness needs."""
TOLERANCE, LEAST_LOGIT = 0.01, 0.005
"""The parts must add up to the difference of log-odds within this share of it, and this much."""
CHUNK = 1024
"""Frames or points that go through the network at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What one prediction is made of, in log-odds; `bins`, `scalars` and `memory` add up to `difference`."""

    symbol: str
    close_ns: int
    side: str
    horizon_minutes: int
    probability: float
    baseline: float
    """The probability for a market that has long looked like the mean."""
    channel_names: tuple[str, ...]
    scalar_names: tuple[str, ...]
    bins: np.ndarray
    """(2, channel, price): the side's own map, then the other's, bins outward from the mark."""
    scalars: np.ndarray
    """(scalar,)."""
    scalar_values: np.ndarray
    """(scalar,) as the side sees them; NaN was not recorded."""
    memory: float
    """What the frames before this one add."""
    heat: np.ndarray
    """(2, price): the map as the network mixes it, share of open interest; own and other."""
    bin_width_log: float
    mark: float

    @property
    def difference(self) -> float:
        """Log-odds of the prediction less those of the baseline."""
        return log_odds(self.probability) - log_odds(self.baseline)

    @property
    def unexplained(self) -> float:
        """What the parts leave over: the error of the sum over points."""
        return self.difference - float(self.bins.sum() + self.scalars.sum() + self.memory)


def log_odds(probability: float) -> float:
    """ln(p / (1 - p)).

    >>> log_odds(0.5)
    0.0
    """
    return float(np.log(probability) - np.log1p(-probability))


@torch.no_grad()
def memory_before(network: SqueezeNetwork, examples: Examples, position: int) -> Tensor:
    """The carried state (side, state_width) as it stands before a step, rolled over every frame that shows anything."""
    state = torch.zeros(2, network.state_width)
    seen = np.flatnonzero(examples.seen[:position])
    for begin in range(0, len(seen), CHUNK):
        at = seen[begin : begin + CHUNK]
        own = torch.from_numpy(np.asarray(examples.channels[at])).transpose(0, 1)
        scalars = torch.from_numpy(np.asarray(examples.scalars[at])).transpose(0, 1)
        _, state = network(own, own.flip(0), scalars, state)
    return state


def attribute(
    model: StepModel, examples: Examples, position: int, side: int, horizons_minutes: tuple[int, ...], horizon: int,
    until_ns: int,
) -> Attribution:  # fmt: skip
    """Explain the prediction for one side (an index) at one step; means are of frames before `until_ns`.

    Nothing after the step is read. Raises `SqueezeError` where the parts do not add up, which more points did not mend.
    """
    state = memory_before(model.network, examples, position)[side]
    model = copy.deepcopy(model).double().eval()
    network = model.network
    frame = torch.from_numpy(np.asarray(examples.channels[np.array([position])])[0]).double()
    scalars = torch.from_numpy(np.asarray(examples.scalars[np.array([position])])[0, side]).double()
    row = (torch.stack([frame[side], frame[1 - side]]), scalars, state.double())
    base = _baseline(network, torch.from_numpy(mean_channels(examples, until_ns)).double(), *row)
    units = unit_maps(examples)
    parts, ends = _integrated(model, side, horizon, units, base, row)
    weights = (network.encoder.log_weights.exp() * network.encoder.kept).detach()
    return Attribution(
        examples.symbol, int(examples.closes_ns[position]), SIDES[side], horizons_minutes[horizon], ends[1], ends[0],
        examples.channel_names, examples.scalar_names, parts[0], parts[1], scalars.numpy(), float(parts[2].sum()),
        torch.einsum("scp,c->sp", row[0][:, :units], weights).numpy(), float(examples.bin_width_log[position]),
        float(examples.marks[position, 3]),
    )  # fmt: skip


def explain(
    run: Run, folder: Path, lake: Lake, examples_folder: Path, at_ns: int, sides: Iterable[int],
    progress: Progress = silent,
) -> list[Attribution]:  # fmt: skip
    """A kept run's predictions at the last step that closed by `at_ns`, at the watched horizon, for each side.

    The head is that of the block which the step belongs to, or of the last block after it. Raises `DataError` where the
    model abstains, and for a step before the first block: every head that is kept has seen it.
    """
    spec, (market, start, until) = run.config.spec, run.config.markets()[0]
    examples = build(lake, spec, market, start, until, examples_folder, progress)
    position = int(np.searchsorted(examples.closes_ns, at_ns, side="right")) - 1
    if position < 0 or at_ns >= int(examples.closes_ns[-1]) + spec.market.step_seconds * SECOND_NS:
        raise DataError(
            f"{utc(at_ns)}: the frames run from {utc(examples.closes_ns[0])} to {utc(examples.closes_ns[-1])}"
        )
    reasons = flag_names(Unhealthy(int(examples.unhealthy[position])))
    if reasons:
        raise DataError(f"{utc(int(examples.closes_ns[position]))}: the model abstains: {', '.join(reasons)}")
    model = runs.load_step(run, folder, head_of(run, int(examples.closes_ns[position])))
    minutes, until_ns = spec.label.horizons_minutes, int(day_ns(run.config.pretrain.until) or 0)
    horizon = minutes.index(spec.signal.horizon_minutes)
    return [attribute(model, examples, position, side, minutes, horizon, until_ns) for side in sides]


def head_of(run: Run, close_ns: int) -> int:
    """Number of the block whose head answers a step; `DataError` for one that every head has seen."""
    begun = [i for i, record in enumerate(run.blocks) if record.block.test_from_ns <= close_ns]
    if not begun:
        raise DataError(
            f"{utc(close_ns)}: the heads of this run answer from {utc(run.blocks[0].block.test_from_ns)} on"
        )
    return begun[-1]


Inputs = tuple[Tensor, Tensor, Tensor]
"""Own and other channels (2, channel, price), scalars (scalar,), carried state (state_width,)."""


@torch.no_grad()
def _baseline(network: SqueezeNetwork, mean: Tensor, channels: Tensor, scalars: Tensor, state: Tensor) -> Inputs:
    """A frame of means, what is not recorded in the row left out of it too, and the memory that it settles to."""
    both = mean.expand_as(channels)
    both = torch.where(torch.isfinite(both), both, channels)
    means = network.scalars.mean.double()
    settled = torch.zeros_like(state)[None]
    for _ in range(SETTLED_STEPS):
        _, settled = network.step(both[:1], both[1:], means[None], settled)
    nothing = torch.full((), torch.nan, dtype=torch.float64)
    return (
        torch.where(torch.isfinite(channels), both, nothing),
        torch.where(torch.isfinite(scalars), means, nothing),
        settled[0],
    )


def _integrated(
    model: StepModel, side: int, horizon: int, units: int, base: Inputs, row: Inputs
) -> tuple[list[np.ndarray], tuple[float, float]]:
    """The parts of each input, and the probabilities of baseline and row; the points are doubled until it adds up."""
    start, end = (_coordinates(inputs, units) for inputs in (base, row))
    way = [b - a for a, b in zip(start, end, strict=True)]
    with torch.no_grad():
        both = [torch.stack([a, b]) for a, b in zip(start, end, strict=True)]
        low, high = _probability(model, side, horizon, units, both).tolist()
    difference, points = log_odds(high) - log_odds(low), FEWEST_POINTS
    while True:
        gradients = _mean_gradients(model, side, horizon, units, start, way, points)
        parts = [torch.nan_to_num(g * w).numpy() for g, w in zip(gradients, way, strict=True)]
        left = difference - sum(float(part.sum()) for part in parts)
        if abs(left) <= TOLERANCE * abs(difference) + LEAST_LOGIT:
            return parts, (low, high)
        if (points := 2 * points) > MOST_POINTS:
            raise SqueezeError(f"attribution: the parts miss the difference of {difference:.3f} by {left:.3f} log-odds")


def _mean_gradients(
    model: StepModel, side: int, horizon: int, units: int, start: list[Tensor], way: list[Tensor], points: int
) -> list[Tensor]:
    """Gradients of the log-odds at the middles of equal pieces of the way, averaged."""
    total = [torch.zeros_like(part) for part in start]
    for first in range(0, points, CHUNK):
        along = (torch.arange(first, min(first + CHUNK, points), dtype=torch.float64) + 0.5) / points
        shaped = [along.reshape(-1, *[1] * part.ndim) for part in start]
        at = [(a + s * w).requires_grad_() for a, s, w in zip(start, shaped, way, strict=True)]
        found = torch.autograd.grad(torch.logit(_probability(model, side, horizon, units, at)).sum(), at)
        total = [t + g.sum(dim=0) / points for t, g in zip(total, found, strict=True)]
    return total


def _probability(model: StepModel, side: int, horizon: int, units: int, at: list[Tensor]) -> Tensor:
    """(point,) from coordinates of the way."""
    logs, scalars, state = at
    channels = torch.cat([logs[:, :, :units].exp() - LEAST_SHARE, logs[:, :, units:]], dim=2)
    scores, _ = model.network.step(channels[:, 0], channels[:, 1], scalars, state)
    both_sides = model.head(scores[:, None].expand(-1, 2, -1), scalars[:, None].expand(-1, 2, -1))
    return both_sides[:, side, horizon]


def _coordinates(inputs: Inputs, units: int) -> list[Tensor]:
    """Where the way is straight: the logarithm of unit maps, everything else as it is."""
    channels, scalars, state = inputs
    logs = torch.cat([(channels[:, :units] + LEAST_SHARE).log(), channels[:, units:]], dim=1)
    return [logs, scalars, state]
