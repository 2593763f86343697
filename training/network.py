"""The network: leverage mixing, encoder over price, GRU over time, a static branch, and scores; then the head that
makes probabilities.

It sees one side at a time, oriented *down is danger*, so that one set of weights serves both:

    channels ─► leverage mixing ─► log ─► conv over price ─┐
                                                           ├─► frame ─► GRU ─┐
    scalars ─► standardise, clip ──────────────────────────┤                 ├─► trunk ─► scores ─┐
                                                           └─► static branch ┘                    ├─► head ─► P
                                                                            a few raw scalars ────┘
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from squeeze.spec import MapSpec
from training.config import NetworkSpec

CLIP = 4.0
"""Standardised scalars are clipped here, in standard deviations."""
LEAST_SHARE = 1e-5
"""Added to a share of open interest under the logarithm, which is then centred on the usual range."""


class Standardise(nn.Module):
    """Scalars in standard deviations, clipped; what is NaN or masked becomes 0, the mean."""

    def __init__(self, width: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("kept", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        scaled = ((values - self.mean) / self.deviation).clamp(-self.clip, self.clip)
        known = torch.isfinite(values) & (self.kept > 0)
        return torch.where(known, scaled, torch.zeros_like(scaled))

    def fit(self, values: Tensor) -> None:
        """Mean and deviation over rows, ignoring NaN; a column that is never known, or never moves, is masked."""
        known = torch.isfinite(values)
        count = known.sum(dim=0).clamp(min=1)
        filled = torch.where(known, values, torch.zeros_like(values)).double()
        mean = filled.sum(dim=0) / count
        squares = torch.where(known, (filled - mean) ** 2, torch.zeros_like(filled)).sum(dim=0)
        deviation = (squares / count).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=1e-6))
        self.kept.copy_(((known.sum(dim=0) > 1) & (deviation > 1e-6)).float())


class Encoder(nn.Module):
    """One frame's map, own and other side, as a vector: leverage mixing, logarithm, two strided convolutions over
    price.
    """

    def __init__(self, map_spec: MapSpec, price_bins: int, encoded: int, learn_weights: bool) -> None:
        super().__init__()
        prior = torch.tensor(map_spec.prior_weights).clamp(min=1e-4)
        self.log_weights = nn.Parameter(prior.log(), requires_grad=learn_weights)
        self.near = nn.Conv1d(2, 12, kernel_size=4, stride=4)
        self.far = nn.Conv1d(12, 16, kernel_size=2, stride=2)
        self.flat = nn.Linear(16 * (price_bins // 8), encoded)

    @torch.no_grad()
    def start_at(self, weights: Tensor) -> None:
        """Mix with these leverage weights (bucket) from now on; training goes on from here."""
        self.log_weights.copy_(weights.to(self.log_weights).clamp(min=1e-4).log())

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """(row, bucket, price) of both sides → (row, encoded)."""
        both = torch.stack([own, other], dim=1)
        mixed = torch.einsum("rskp,k->rsp", both, self.log_weights.exp())
        heat = 0.5 * (torch.log(mixed + LEAST_SHARE) + 8.0)
        deep = functional.silu(self.far(functional.silu(self.near(heat))))
        return functional.silu(self.flat(deep.flatten(1)))


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
    """Scores of the proxies over sequences of one side's frames; see the module's drawing."""

    def __init__(self, spec: NetworkSpec, map_spec: MapSpec, price_bins: int, scalars: int, scores: int) -> None:
        super().__init__()
        if price_bins % 8:
            raise ValueError(f"price_bins must be a multiple of 8, got {price_bins}")
        self.hidden = spec.hidden
        self.scalars = Standardise(scalars, CLIP)
        self.encoder = Encoder(map_spec, price_bins, spec.encoded, spec.learn_leverage_weights)
        self.frame = nn.Linear(spec.encoded + scalars, spec.encoded)
        self.core = nn.GRU(spec.encoded, spec.hidden, batch_first=True)
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

    def encode(self, own: Tensor, other: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """(row, …) of any frames → what the GRU takes, and what the static branch gives."""
        both = torch.cat([self.encoder(own, other), self.scalars(scalars)], dim=-1)
        return functional.silu(self.frame(both)), self.static(both)

    def forward(self, own: Tensor, other: Tensor, scalars: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """(lane, step, …) and the carried state (1, lane, hidden) → scores (lane, step, score) and the next state."""
        lanes, steps = scalars.shape[:2]
        framed, static = self.encode(own.flatten(0, 1), other.flatten(0, 1), scalars.flatten(0, 1))
        core, state = self.core(framed.unflatten(0, (lanes, steps)), state)
        return self.scores(self.trunk(torch.cat([static.unflatten(0, (lanes, steps)), core], dim=-1))), state

    def step(self, own: Tensor, other: Tensor, scalars: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step with the GRU written out, for export: (row, …), state (row, hidden) → scores, next state.

        Written out because torch's exporter has got `linear_before_reset` silently wrong before (peers.md §6).
        """
        framed, static = self.encode(own, other, scalars)
        state = gru_step(self.core, framed, state)
        return self.scores(self.trunk(torch.cat([static, state], dim=-1))), state


def gru_step(core: nn.GRU, inputs: Tensor, state: Tensor) -> Tensor:
    """`h' = (1 - z) n + z h`, `n = tanh(W x + b + r (U h + c))`: torch's own GRU, one step."""
    from_input = functional.linear(inputs, core.weight_ih_l0, core.bias_ih_l0)
    from_state = functional.linear(state, core.weight_hh_l0, core.bias_hh_l0)
    input_reset, input_update, input_new = from_input.chunk(3, dim=-1)
    state_reset, state_update, state_new = from_state.chunk(3, dim=-1)
    update = torch.sigmoid(input_update + state_update)
    new = torch.tanh(input_new + torch.sigmoid(input_reset + state_reset) * state_new)
    return (1.0 - update) * new + update * state


class StepModel(nn.Module):
    """What is exported: one step of both sides, from frame and carried state to probabilities and next state."""

    def __init__(self, network: SqueezeNetwork, head: Head) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, channels: Tensor, scalars: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """channels (side, bucket, price), scalars (side, scalar), state (side, hidden)."""
        scores, state = self.network.step(channels, channels.flip(0), scalars, state)
        return self.head(scores, scalars), state


def parameters(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in module.parameters())


def prior_logit(rate: float) -> float:
    """The logit of a base rate, kept away from the ends."""
    rate = min(max(rate, 1e-6), 1 - 1e-6)
    return math.log(rate / (1 - rate))
