"""The network: encoder over price, a core over time, a static branch, and scores; then the head that makes
probabilities.

It sees one side at a time, oriented *down is danger*, so that one set of weights serves both:

    unit maps ─► leverage mixing ─► log ─┐
                                         ├─► conv over price ─┐
    further channels ─► standardise ─────┘                    ├─► frame ─► core ─┐
    scalars ─► standardise, clip ─────────────────────────────┤                  ├─► trunk ─► scores ─┐
                                                              └─► static branch ─┘                    ├─► head ─► P
                                                                                a few raw scalars ────┘
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from squeeze.errors import ConfigError
from squeeze.spec import MapSpec
from training.networks.cores import core_of
from training.networks.encoder import CLIP, Encoder, Standardise
from training.recipe import NetworkSpec


class Head(nn.Module):
    """Ridge-logistic hazards per horizon bucket from scores and a few raw scalars; P(horizon) rises with it by
    construction.

    `logit` is linear in clipped, standardised inputs plus an intercept per side. The hazard of bucket j is the chance
    that the threshold is first passed within it; P(h) = 1 - Π(1 - hazard) over the buckets up to h.
    """

    def __init__(self, scores: int, scalar_positions: list[int], horizons: int, clip: float) -> None:
        super().__init__()
        width = scores + len(scalar_positions)
        self.register_buffer("positions", torch.tensor(scalar_positions, dtype=torch.long))
        self.inputs = Standardise(width, clip)
        self.register_buffer("weights", torch.zeros(width, horizons))
        self.register_buffer("intercepts", torch.zeros(2, horizons))

    def gather(self, scores: Tensor, scalars: Tensor) -> Tensor:
        """Its inputs, not yet standardised."""
        return torch.cat([scores, scalars.index_select(-1, self.positions)], dim=-1)

    def forward(self, scores: Tensor, scalars: Tensor) -> Tensor:
        """(side, score), (side, scalar) → probabilities (side, horizon)."""
        logits = self.inputs(self.gather(scores, scalars)) @ self.weights + self.intercepts
        return 1.0 - torch.exp(-torch.cumsum(functional.softplus(logits), dim=-1))


class SqueezeNetwork(nn.Module):
    """Scores of the proxies over sequences of one side's frames; see the module's drawing.

    `channels` counts the unit maps and what comes after them. `ConfigError` if more is learned than
    `spec.most_parameters`.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        map_spec: MapSpec,
        price_bins: int,
        scalars: int,
        scores: int,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        if price_bins % 8:
            raise ValueError(f"price_bins must be a multiple of 8, got {price_bins}")
        self.spec = spec
        self.scalars = Standardise(scalars, CLIP)
        self.encoder = Encoder(spec, map_spec, price_bins, channels or len(map_spec.leverages))
        self.frame = nn.Linear(spec.encoded + scalars, spec.encoded)
        self.core = core_of(spec)
        first, second = spec.static
        self.static = nn.Sequential(
            nn.Linear(spec.encoded + scalars, first), nn.SiLU(), nn.Dropout(spec.dropout), nn.Linear(first, second)
        )
        self.trunk = nn.Sequential(
            nn.LayerNorm(second + spec.hidden),
            nn.SiLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(second + spec.hidden, spec.trunk),
            nn.SiLU(),
        )
        self.scores = nn.Linear(spec.trunk, scores)
        if (count := parameters(self)) > spec.most_parameters:
            raise ConfigError(
                f"network: it has {count:,} parameters, most_parameters allows {spec.most_parameters:,};"
                " narrow encoded, hidden, static or trunk, or leave out scalars or channels"
            )

    @property
    def state_width(self) -> int:
        """Numbers carried from step to step, for each side."""
        return self.core.state_width

    @property
    def kept_channels(self) -> Tensor:
        """(channel,) 1 where a channel has influence, 0 where it is masked."""
        extra = self.encoder.extra
        return self.encoder.kept if extra is None else torch.cat([self.encoder.kept, extra.kept])

    def mask(self, scalars: Sequence[int] = (), channels: Sequence[int] = ()) -> None:
        """Blank out scalars and channels by position, for a control; training keeps them so."""
        self.scalars.mask(scalars)
        self.encoder.mask(channels)

    def encode(self, own: Tensor, other: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """(row, …) of any frames → what the core takes, and what the static branch gives."""
        both = torch.cat([self.encoder(own, other), self.scalars(scalars)], dim=-1)
        return functional.silu(self.frame(both)), self.static(both)

    def forward(self, own: Tensor, other: Tensor, scalars: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """(lane, step, …) and the carried state (lane, state_width) → scores (lane, step, score) and the next state."""
        lanes, steps = scalars.shape[:2]
        framed, static = self.encode(own.flatten(0, 1), other.flatten(0, 1), scalars.flatten(0, 1))
        core, state = self.core(framed.unflatten(0, (lanes, steps)), state)
        return self.scores(self.trunk(torch.cat([static.unflatten(0, (lanes, steps)), core], dim=-1))), state

    def step(self, own: Tensor, other: Tensor, scalars: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step in plain operations, for export: (row, …), state (row, state_width) → scores, next state."""
        framed, static = self.encode(own, other, scalars)
        core, state = self.core.step(framed, state)
        return self.scores(self.trunk(torch.cat([static, core], dim=-1))), state


class StepModel(nn.Module):
    """What is exported: one step of both sides, from frame and carried state to probabilities and next state."""

    def __init__(self, network: SqueezeNetwork, head: Head) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, channels: Tensor, scalars: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """channels (side, channel, price), scalars (side, scalar), state (side, state_width)."""
        scores, state = self.network.step(channels, channels.flip(0), scalars, state)
        return self.head(scores, scalars), state


def parameters(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in module.parameters())


def prior_logit(rate: float) -> float:
    """The logit of a base rate, kept away from the ends."""
    rate = min(max(rate, 1e-6), 1 - 1e-6)
    return math.log(rate / (1 - rate))
