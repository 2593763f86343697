"""The step as it is exported: the same function of the same weights as `StepModel`, in half as many operations.

At this size ONNX Runtime spends its time between operations and not in them (0.3 to 0.5 µs each), so what can be
worked out once is: scales and constants are folded into the weights, every input is standardised in one pass, the
first layer over price reads both sides at once, so that no side is turned round, and weights of zero stand where
choosing would be one operation more. `export.parity` holds it against the network that was trained.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.cores import Gru
from training.networks.encoder import CLIP, LEAST_SHARE, Encoder, Standardise
from training.networks.network import Head, SqueezeNetwork, StepModel

HIGHEST = torch.finfo(torch.float32).max
TURNED = -1.0
"""The sign with which `Inputs` gives its values; the weights after it have it too."""
BLOCK = 16
"""Channels that ONNX Runtime keeps together in a convolution; on older processors 8, and then two of them."""
SILU_IS_1 = 1.2784645427610738
"""`x * sigmoid(x)` is 1 here."""


class Inputs(nn.Module):
    """Several `Standardise` as one, over their columns side by side; each clips at `CLIP` here, and where that is not
    its own clip its columns come out smaller or larger in that proportion.

    All of it comes out with the other sign (`TURNED`): ONNX's ThresholdedRelu makes 0 of what is not above its
    threshold, NaN among it, so once before and once after the sign is turned it takes away all that is not finite, in
    2 µs less than asking and choosing. What overflows on the way, 1e32 deviations out, counts as unknown too.
    """

    def __init__(self, scales: list[tuple[Standardise, int]]) -> None:
        """Each scale, and how often each of its columns is repeated."""
        super().__init__()

        def joined(of: str) -> Tensor:
            return torch.cat([getattr(scale, of).repeat_interleave(times) for scale, times in scales])

        clip = torch.cat([torch.full_like(s.mean.repeat_interleave(times), s.clip) for s, times in scales])
        self.register_buffer("mean", joined("mean"))
        inverse = TURNED * CLIP / (joined("deviation") * clip)
        self.register_buffer("inverse", torch.where(joined("kept") > 0, inverse, 0.0))

    def forward(self, values: Tensor) -> Tensor:
        """(row, column), as `Standardise` says, times `TURNED`."""
        centred = functional.threshold(values - self.mean, -HIGHEST, 0.0)
        return functional.threshold(centred * self.inverse, -HIGHEST, 0.0).clamp(-CLIP, CLIP)


class OverPrice(nn.Module):
    """`Encoder` from a map that is already mixed and channels that are already standardised.

    A symbol's two sides stay side by side from the first layer to the last. The first reads both, so its weights are
    those of the own and of the other side, crosswise; those after it are two groups of the same weights. Each layer is
    filled up to a multiple of `BLOCK` channels a side: ONNX Runtime keeps them in such blocks, and groups of other
    sizes it would take out of them and put back between layers.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        layers = [layer for layer in encoder.over_price.modules() if isinstance(layer, nn.Conv1d)]
        further = (layers[0].in_channels - 2) // 2
        own, other = [0, *range(2, 2 + further)], [1, *range(2 + further, 2 + 2 * further)]
        first = _filled(layers[0].weight.detach())
        first[:, :2] *= 0.5  # of `0.5 * (log + 8)`; the 8 is in the mixing weights
        first[:, 2:] *= TURNED
        straight, crossed = first[:, own], first[:, other]
        weights = [torch.cat([torch.cat([straight, crossed], 1), torch.cat([crossed, straight], 1)])]
        for layer in layers[1:]:
            filled = _filled(layer.weight.detach())
            behind = weights[-1].shape[0] // 2 - filled.shape[1]
            weights.append(functional.pad(filled, (0, 0, 0, behind)).repeat(2, 1, 1))
        self.weights = nn.ParameterList(weight[:, :, None] for weight in weights)
        self.biases = nn.ParameterList(_filled(layer.bias.detach()).repeat(2) for layer in layers)
        self.strides = [layer.stride[0] for layer in layers]
        self.paddings = [int(layer.padding[0]) for layer in layers]
        self.flat = encoder.flat

    def forward(self, planes: Tensor, price: int) -> Tensor:
        """(row, plane × price) → (row, encoded); a plane is two-dimensional here, which ONNX Runtime does faster."""
        layer = planes.reshape(-1, self.weights[0].shape[1], 1, price)
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            stride, padding = (1, self.strides[at]), (0, self.paddings[at])
            layer = functional.silu(functional.conv2d(layer, weight, bias, stride, padding, groups=1 + (at > 0)))
        return functional.silu(self.flat(layer.reshape(-1, self.flat.in_features)))


class ServedStep(nn.Module):
    """One step of any number of symbols, as `StepModel` computes it; rows are a symbol's two sides after each other."""

    def __init__(self, model: StepModel, price_bins: int) -> None:
        super().__init__()
        network, head = model.network, model.head
        encoder = network.encoder
        self.units, self.price_bins = encoder.buckets, price_bins
        self.core = GruCell(network.core) if isinstance(network.core, Gru) else network.core
        self.encoded = network.spec.encoded + isinstance(network.core, Gru)
        further = [] if encoder.extra is None else [(encoder.extra, price_bins)]
        self.inputs = Inputs([*further, (network.scalars, 1), (_of_all(head, len(network.scalars.mean)), 1)])
        self.further = sum(len(scale.mean) * times for scale, times in further)
        shift = torch.tensor(8.0, dtype=torch.float64).exp()  # log(x) + 8 is the log of x times this
        mixing = (encoder.log_weights.detach().double().exp() * encoder.kept * shift).float()
        self.register_buffer("mixing", mixing[None, :, None])
        self.register_buffer("least", (LEAST_SHARE * shift).float()[None])
        self.over_price = OverPrice(encoder)
        self.both = self._both(network)
        self.second = network.static[3]
        self.norm, self.trunk = network.trunk[0], network.trunk[3]
        scores = slice(0, network.scores.out_features)
        mean, deviation = (getattr(head.inputs, name)[scores].double() for name in ("mean", "deviation"))
        self.scores = _linear(
            network.scores.weight.double() / deviation[:, None], (network.scores.bias.double() - mean) / deviation
        )
        self.clip = head.inputs.clip
        weights = self._weights(head, scores.stop, len(network.scalars.mean))
        self.logits = _linear(torch.block_diag(weights.T, weights.T), head.intercepts.flatten())
        buckets = torch.ones(weights.shape[1], weights.shape[1]).tril()
        self.register_buffer("buckets", -torch.block_diag(buckets, buckets))

    def _both(self, network: SqueezeNetwork) -> nn.Linear:
        """What the core takes and what the static branch begins with, from the encoded frame and both copies of the
        scalars, of which the head's have no weight; between them a unit that is always 1, where `GruCell` wants one.
        """
        frame, first = network.frame, network.static[0]
        ones = self.encoded - len(frame.weight)
        weight = torch.cat([frame.weight, frame.weight.new_zeros(ones, frame.in_features), first.weight])
        weight[:, network.spec.encoded :] *= TURNED
        bias = torch.cat([frame.bias, frame.bias.new_full((ones,), SILU_IS_1), first.bias])
        return _linear(functional.pad(weight, (0, len(network.scalars.mean))), bias)

    def _weights(self, head: Head, scores: int, scalars: int) -> Tensor:
        """The head's weights (input, horizon) for the scores and for both copies of the scalars, of which only its own
        have any.
        """
        weights = head.weights * (head.inputs.kept > 0)[:, None]
        own = functional.one_hot(head.positions, scalars).to(weights).T @ weights[scores:]
        return torch.cat([weights[:scores], torch.zeros_like(own), TURNED * self.clip / CLIP * own])

    def forward(self, channels: Tensor, scalars: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """channels (row, channel, price), scalars (row, scalar), state (row, state_width)."""
        framed, static, known = self.encode(channels, scalars)
        core, state = self.core.step(framed, state)
        return self.answer(static, core, known), state

    def encode(self, channels: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the core takes, what the static branch has, and the scalars as the network and as the head standardises
        them, each (row, …).
        """
        mixed = functional.conv1d(channels[:, : self.units], self.mixing, self.least)
        planes = torch.log(mixed).flatten(1)
        if self.further:
            further = channels[:, self.units :].flatten(1)
            values = self.inputs(torch.cat([further, scalars, scalars], dim=1))
            further, known = values.split([self.further, values.shape[1] - self.further], dim=1)
            planes = torch.cat([planes, further], dim=1)
        else:
            known = self.inputs(torch.cat([scalars, scalars], dim=1))
        encoded = self.over_price(planes, self.price_bins)
        both = functional.silu(self.both(torch.cat([encoded, known], dim=1)))
        framed, static = both.split([self.encoded, both.shape[1] - self.encoded], dim=1)
        return framed, static, known

    def answer(self, static: Tensor, core: Tensor, known: Tensor) -> Tensor:
        """Probabilities (row, horizon); the head takes a symbol's two sides at once, for each has its own intercept."""
        joined = functional.silu(self.norm(torch.cat([self.second(static), core], dim=1)))
        scores = self.scores(functional.silu(self.trunk(joined))).clamp(-self.clip, self.clip)
        logits = self.logits(torch.cat([scores, known], dim=1).reshape(-1, self.logits.in_features))
        hazards = functional.linear(functional.softplus(logits, threshold=torch.inf), self.buckets)
        chances = functional.elu(hazards, alpha=-1.0)  # 1 - exp(x) of what is never above 0
        return chances.reshape(-1, hazards.shape[1] // 2)


class GruCell(nn.Module):
    """`cores.Gru.step` with the two gates' products as one, and what is new as a product, a sum and a tanh in one.

    In that sum the held state stands where a bias would, so the bias is the weight of one more input, which is 1.
    """

    def __init__(self, core: Gru) -> None:
        super().__init__()
        gru, gates = core.gru, 2 * core.state_width
        self.gates = _linear(
            torch.cat([functional.pad(gru.weight_ih_l0[:gates], (0, 1)), gru.weight_hh_l0[:gates]], dim=1),
            gru.bias_ih_l0[:gates] + gru.bias_hh_l0[:gates],
        )
        self.held = _linear(gru.weight_hh_l0[gates:], gru.bias_hh_l0[gates:])
        new = torch.cat([gru.weight_ih_l0[gates:], gru.bias_ih_l0[gates:, None]], dim=1)
        self.register_buffer("new", new.detach().T.contiguous())

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(row, width and the 1), (row, hidden) → (row, hidden), twice."""
        reset, update = torch.sigmoid(self.gates(torch.cat([frame, state], dim=1))).chunk(2, dim=1)
        new = torch.tanh(torch.addmm(reset * self.held(state), frame, self.new))
        state = new + update * (state - new)
        return state, state


@torch.no_grad()
def _of_all(head: Head, scalars: int) -> Standardise:
    """How a head standardises its scalars, among all of them; those that it does not read are masked."""
    scale, own = Standardise(scalars, head.inputs.clip), len(head.inputs.mean) - len(head.positions)
    scale.kept.zero_()
    for name in ("mean", "deviation", "kept"):
        getattr(scale, name)[head.positions] = getattr(head.inputs, name)[own:]
    return scale


def _filled(layer: Tensor) -> Tensor:
    """A layer's weights or biases with rows of zeros up to a multiple of `BLOCK`."""
    rows = len(layer)
    return torch.cat([layer, layer.new_zeros(-rows % BLOCK, *layer.shape[1:])])


@torch.no_grad()
def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
