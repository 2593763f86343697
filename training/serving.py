"""The step as it is exported: the same function of the same weights as `StepModel`, in half as many operations.

At this size ONNX Runtime spends its time between operations and not in them (0.3 to 0.5 µs each), so what can be
worked out once is: scales and constants are folded into the weights, every input is standardised in one pass, and the
first layer over price reads both sides at once, so that no side is turned round. `export.parity` holds it against the
network that was trained.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.cores import Gru
from training.networks.encoder import CLIP, LEAST_SHARE, Encoder, Standardise
from training.networks.network import StepModel

HIGHEST = torch.finfo(torch.float32).max


class Inputs(nn.Module):
    """Several `Standardise` as one, over their columns side by side; each clips at `CLIP` here, and where that is not
    its own clip its columns come out smaller or larger in that proportion.
    """

    def __init__(self, scales: list[tuple[Standardise, slice, int]]) -> None:
        """Each scale with the columns taken of it, and how often each column is repeated."""
        super().__init__()

        def joined(of: str) -> Tensor:
            return torch.cat([getattr(s, of)[at].repeat_interleave(times) for s, at, times in scales])

        clip = torch.cat([torch.full_like(s.mean[at].repeat_interleave(times), s.clip) for s, at, times in scales])
        self.register_buffer("mean", joined("mean"))
        self.register_buffer("inverse", CLIP / (joined("deviation") * clip))
        self.register_buffer("limit", torch.where(joined("kept") > 0, HIGHEST, -1.0))
        """What is larger than this counts as unknown: infinities, and any value of a masked column."""

    def forward(self, values: Tensor) -> Tensor:
        """(row, column), as `Standardise` says."""
        scaled = ((values - self.mean) * self.inverse).clamp(-CLIP, CLIP)
        return torch.where(values.abs() <= self.limit, scaled, 0.0)


class OverPrice(nn.Module):
    """`Encoder` from a map that is already mixed and channels that are already standardised.

    The first layer takes a symbol's two sides as planes side by side and gives both sides' answers, so its weights are
    those of the own and of the other side, crosswise.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        layers = [layer for layer in encoder.over_price.modules() if isinstance(layer, nn.Conv1d)]
        further = (layers[0].in_channels - 2) // 2
        own, other = [0, *range(2, 2 + further)], [1, *range(2 + further, 2 + 2 * further)]
        first = layers[0].weight.detach().clone()
        first[:, :2] *= 0.5  # of `0.5 * (log + 8)`; the 8 is in the mixing weights
        straight, crossed = first[:, own], first[:, other]
        crosswise = torch.cat([torch.cat([straight, crossed], 1), torch.cat([crossed, straight], 1)])
        self.weights = nn.ParameterList(w[:, :, None] for w in (crosswise, *(la.weight.detach() for la in layers[1:])))
        self.biases = nn.ParameterList([layers[0].bias.detach().repeat(2), *(la.bias.detach() for la in layers[1:])])
        self.strides = [layer.stride[0] for layer in layers]
        self.paddings = [int(layer.padding[0]) for layer in layers]
        self.flat = encoder.flat

    def forward(self, planes: Tensor) -> Tensor:
        """(row, plane, price) → (row, encoded); a plane is two-dimensional here, which ONNX Runtime does faster."""
        layer = planes.reshape(-1, 2 * planes.shape[1], 1, planes.shape[2])
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            stride, padding = (1, self.strides[at]), (0, self.paddings[at])
            layer = functional.silu(functional.conv2d(layer, weight, bias, stride, padding))
            if at == 0:
                layer = layer.reshape(-1, layer.shape[1] // 2, 1, layer.shape[3])
        return functional.silu(self.flat(layer.flatten(1)))


class ServedStep(nn.Module):
    """One step of any number of symbols, as `StepModel` computes it; rows are a symbol's two sides after each other."""

    def __init__(self, model: StepModel, price_bins: int) -> None:
        super().__init__()
        network, head = model.network, model.head
        encoder = network.encoder
        self.units, self.scores_width = encoder.buckets, network.scores.out_features
        self.core = GruCell(network.core) if isinstance(network.core, Gru) else network.core
        self.encoded = network.spec.encoded
        scores = slice(0, self.scores_width)
        scales = [] if encoder.extra is None else [(encoder.extra, slice(None), price_bins)]
        scales += [(network.scalars, slice(None), 1), (head.inputs, slice(self.scores_width, None), 1)]
        self.inputs = Inputs(scales)
        self.widths = [len(s.mean[at]) * times for s, at, times in scales]
        self.register_buffer("positions", head.positions)
        shift = torch.tensor(8.0, dtype=torch.float64).exp()  # log(x) + 8 is the log of x times this
        mixing = (encoder.log_weights.detach().double().exp() * encoder.kept * shift).float()
        self.register_buffer("mixing", mixing[None])
        self.least = float(LEAST_SHARE * shift)
        self.over_price = OverPrice(encoder)
        frame, first = network.frame, network.static[0]
        self.both = _linear(torch.cat([frame.weight, first.weight]), torch.cat([frame.bias, first.bias]))
        self.second = network.static[3]
        self.norm, self.trunk = network.trunk[0], network.trunk[3]
        mean, deviation = (getattr(head.inputs, name)[scores].double() for name in ("mean", "deviation"))
        self.scores = _linear(
            network.scores.weight.double() / deviation[:, None], (network.scores.bias.double() - mean) / deviation
        )
        self.clip = head.inputs.clip
        weights = head.weights.clone()
        weights[scores] *= (head.inputs.kept[scores] > 0)[:, None]
        weights[self.scores_width :] *= self.clip / CLIP
        self.logits = _linear(torch.block_diag(weights.T, weights.T), head.intercepts.flatten())
        buckets = torch.ones(weights.shape[1], weights.shape[1]).tril()
        self.register_buffer("buckets", -torch.block_diag(buckets, buckets))

    def forward(self, channels: Tensor, scalars: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """channels (row, channel, price), scalars (row, scalar), state (row, state_width)."""
        framed, static, chosen = self.encode(channels, scalars)
        core, state = self.core.step(framed, state)
        return self.answer(static, core, chosen), state

    def encode(self, channels: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the core takes, what the static branch has, and the head's scalars, each (row, …)."""
        units, price = channels[:, : self.units], channels.shape[2]
        planes = torch.log(self.mixing @ units + self.least)
        values = [scalars, scalars.index_select(1, self.positions)]
        if len(self.widths) == 3:
            values = [channels[:, self.units :].flatten(1), *values]
            further, scalars, chosen = self.inputs(torch.cat(values, dim=1)).split(self.widths, dim=1)
            planes = torch.cat([planes.flatten(1), further], dim=1).reshape(-1, 1 + self.widths[0] // price, price)
        else:
            scalars, chosen = self.inputs(torch.cat(values, dim=1)).split(self.widths, dim=1)
        both = functional.silu(self.both(torch.cat([self.over_price(planes), scalars], dim=1)))
        framed, static = both.split([self.encoded, both.shape[1] - self.encoded], dim=1)
        return framed, static, chosen

    def answer(self, static: Tensor, core: Tensor, chosen: Tensor) -> Tensor:
        """Probabilities (row, horizon); the head takes a symbol's two sides at once, for each has its own intercept."""
        joined = functional.silu(self.norm(torch.cat([self.second(static), core], dim=1)))
        scores = self.scores(functional.silu(self.trunk(joined))).clamp(-self.clip, self.clip)
        logits = self.logits(torch.cat([scores, chosen], dim=1).reshape(-1, self.logits.in_features))
        hazards = functional.linear(functional.softplus(logits, threshold=torch.inf), self.buckets)
        return (1.0 - torch.exp(hazards)).reshape(-1, hazards.shape[1] // 2)


class GruCell(nn.Module):
    """`cores.Gru.step` with the two gates' products as one."""

    def __init__(self, core: Gru) -> None:
        super().__init__()
        gru, gates = core.gru, 2 * core.state_width
        self.gates = _linear(
            torch.cat([gru.weight_ih_l0[:gates], gru.weight_hh_l0[:gates]], dim=1),
            gru.bias_ih_l0[:gates] + gru.bias_hh_l0[:gates],
        )
        self.new = _linear(gru.weight_ih_l0[gates:], gru.bias_ih_l0[gates:])
        self.held = _linear(gru.weight_hh_l0[gates:], gru.bias_hh_l0[gates:])

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(row, width), (row, hidden) → (row, hidden), twice."""
        reset, update = torch.sigmoid(self.gates(torch.cat([frame, state], dim=1))).chunk(2, dim=1)
        new = torch.tanh(self.new(frame) + reset * self.held(state))
        state = new + update * (state - new)
        return state, state


@torch.no_grad()
def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
