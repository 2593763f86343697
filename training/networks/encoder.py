"""One frame as a vector: standardised inputs, leverage mixing, and convolutions over price."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from squeeze.spec import MapSpec
from training.recipe import NetworkSpec

CLIP = 4.0
"""Standardised inputs are clipped here, in standard deviations."""
LEAST_SHARE = 1e-5
"""Added to a share of open interest under the logarithm, which is then centred on the usual range."""


class Standardise(nn.Module):
    """Values in standard deviations along the last axis, clipped; what is NaN or masked becomes 0, the mean."""

    def __init__(self, width: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("kept", torch.ones(width))
        self.register_buffer("allowed", torch.ones(width), persistent=False)  # `kept` says it all once it is fitted

    def forward(self, values: Tensor) -> Tensor:
        scaled = ((values - self.mean) / self.deviation).clamp(-self.clip, self.clip)
        known = torch.isfinite(values) & (self.kept > 0)
        return torch.where(known, scaled, torch.zeros_like(scaled))

    def mask(self, positions: Sequence[int]) -> None:
        """Columns that have no influence from now on; `fit` keeps them so."""
        self.allowed[list(positions)] = 0.0
        self.kept.mul_(self.allowed)

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
        self.kept.copy_(((known.sum(dim=0) > 1) & (deviation > 1e-6)).float() * self.allowed)


class Encoder(nn.Module):
    """One frame, own and other side, as a vector. The unit maps of the leverage buckets are mixed into one map and
    enter by their logarithm; further channels enter standardised, each by itself; then convolutions run over price.
    """

    def __init__(self, spec: NetworkSpec, map_spec: MapSpec, price_bins: int, channels: int) -> None:
        super().__init__()
        self.buckets = len(map_spec.leverages)
        prior = torch.tensor(map_spec.prior_weights).clamp(min=1e-4)
        self.log_weights = nn.Parameter(prior.log(), requires_grad=spec.learn_leverage_weights)
        self.register_buffer("kept", torch.ones(self.buckets))
        self.extra = Standardise(channels - self.buckets, CLIP) if channels > self.buckets else None
        planes = 2 * (1 + channels - self.buckets)
        if spec.encoder == "patch":
            self.over_price = Patches(planes)
        else:
            self.over_price = Convolutions(planes)
        self.flat = nn.Linear(16 * (price_bins // 8), spec.encoded)

    @torch.no_grad()
    def start_at(self, weights: Tensor) -> None:
        """Mix with these leverage weights (bucket) from now on; training goes on from here."""
        self.log_weights.copy_(weights.to(self.log_weights).clamp(min=1e-4).log())

    def mask(self, positions: Sequence[int]) -> None:
        """Channels that have no influence from now on; `fit` keeps them so. A masked unit map is an empty one."""
        self.kept[[at for at in positions if at < self.buckets]] = 0.0
        if self.extra is not None:
            self.extra.mask([at - self.buckets for at in positions if at >= self.buckets])

    def fit(self, values: Tensor) -> None:
        """Fit the scales of the channels beyond the unit maps on (row, channel, price)."""
        if self.extra is not None:
            self.extra.fit(values.transpose(1, 2).flatten(0, 1))

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """(row, channel, price) of both sides → (row, encoded)."""
        weights = (self.log_weights.exp() * self.kept)[:, None]
        sides = (own, other) if self.extra is None else (own[:, : self.buckets], other[:, : self.buckets])
        mixed = torch.stack([(unit * weights).sum(dim=1) for unit in sides], dim=1)
        planes = 0.5 * (torch.log(mixed + LEAST_SHARE) + 8.0)
        if self.extra is not None:
            rest = torch.cat([own[:, self.buckets :], other[:, self.buckets :]], dim=1).unflatten(1, (2, -1))
            scaled = self.extra(rest.transpose(2, 3)).transpose(2, 3)  # noqa: S610
            planes = torch.cat([planes, scaled.flatten(1, 2)], dim=1)
        return functional.silu(self.flat(self.over_price(planes)))


class Patches(nn.Module):
    """Two convolutions as wide as their stride: over strips of four bins, then over pairs of strips. Written as the
    products of matrices that they are, which takes a third off the encoder's time in training.
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(planes, 12, kernel_size=4, stride=4)
        self.far = nn.Conv1d(12, 16, kernel_size=2, stride=2)

    def forward(self, planes: Tensor) -> Tensor:
        """(row, plane, price) → (row, value)."""
        strips = planes.unflatten(2, (-1, 4)).transpose(1, 2).flatten(2)  # row, strip, plane × bin
        near = functional.silu(functional.linear(strips, self.near.weight.flatten(1), self.near.bias))
        pairs = near.unflatten(1, (-1, 2)).flatten(2)  # row, pair, strip × value
        weight = self.far.weight.transpose(1, 2).flatten(1)
        far = functional.silu(functional.linear(pairs, weight, self.far.bias))
        return far.transpose(1, 2).flatten(1)


class Convolutions(nn.Module):
    """Three convolutions that overlap."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(planes, 12, kernel_size=5, stride=2, padding=2), nn.SiLU(),
            nn.Conv1d(12, 16, kernel_size=3, stride=2, padding=1), nn.SiLU(),
            nn.Conv1d(16, 16, kernel_size=3, stride=2, padding=1), nn.SiLU(),
        )  # fmt: skip

    def forward(self, planes: Tensor) -> Tensor:
        """(row, plane, price) → (row, value)."""
        return self.layers(planes).flatten(1)
