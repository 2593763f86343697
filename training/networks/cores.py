"""Temporal cores behind one interface: over whole sequences to train, step by step to serve, with the same outcome.

`gru` carries what it chose to remember; `tcn` the inputs its taps will still look at; `window` the last frames, which
it looks at anew each step. Carried state is always (lane, state_width), zero before the first frame.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.recipe import NetworkSpec


class Core(nn.Module):
    """What turns encoded frames, in order, into what is known of the past at each of them."""

    state_width: int
    """Numbers that are carried from a step to the next."""

    @abstractmethod
    def forward(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Frames (lane, step, width), state (lane, state_width) or None at the start → (lane, step, out), state."""

    @abstractmethod
    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step, in plain operations, for export: (row, width), (row, state_width) → (row, out), state."""

    @abstractmethod
    def random_state(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """States (row, state_width) over the whole range that can be reached, float32: where exports are tried."""


class Gru(Core):
    """torch's gated recurrent unit. `step` writes it out, since torch's exporter has got `linear_before_reset` silently
    wrong before (peers.md §6).
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.state_width = hidden
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def forward(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        out, last = self.gru(frames, None if state is None else state[None])
        return out, last[0]

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`h' = (1 - z) n + z h`, `n = tanh(W x + b + r (U h + c))`."""
        gru = self.gru
        input_reset, input_update, input_new = functional.linear(frame, gru.weight_ih_l0, gru.bias_ih_l0).chunk(3, -1)
        state_reset, state_update, state_new = functional.linear(state, gru.weight_hh_l0, gru.bias_hh_l0).chunk(3, -1)
        update = torch.sigmoid(input_update + state_update)
        new = torch.tanh(input_new + torch.sigmoid(input_reset + state_reset) * state_new)
        state = (1.0 - update) * new + update * state
        return state, state

    def random_state(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        return rng.uniform(-1, 1, (rows, self.state_width)).astype(np.float32)


class Tcn(Core):
    """A causal dilated network: each layer takes three taps, `dilation` steps apart, of the layer before, and adds to
    it. It remembers `2 × sum(dilations)` steps; the state holds, layer by layer, the inputs still in reach.
    """

    def __init__(self, width: int, hidden: int, dilations: Sequence[int]) -> None:
        super().__init__()
        widths = [width] + [hidden] * (len(dilations) - 1)
        self.dilations = tuple(dilations)
        self.held = [2 * d * w for d, w in zip(dilations, widths, strict=True)]
        self.state_width = sum(self.held)
        self.taps = nn.ModuleList(nn.Linear(3 * w, hidden) for w in widths)

    def forward(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        lanes, steps = frames.shape[:2]
        if state is None:
            state = frames.new_zeros(lanes, self.state_width)
        layer, left = frames, []
        for taps, dilation, past in zip(self.taps, self.dilations, state.split(self.held, dim=-1), strict=True):
            seen = torch.cat([past.unflatten(-1, (2 * dilation, layer.shape[-1])), layer], dim=1)
            shifted = [seen[:, shift : shift + steps] for shift in (0, dilation, 2 * dilation)]
            found = functional.silu(taps(torch.cat(shifted, dim=-1)))
            left.append(seen[:, -2 * dilation :].flatten(1))
            layer = found + layer if found.shape == layer.shape else found
        return layer, torch.cat(left, dim=-1)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, state = self(frame[:, None], state)
        return out[:, 0], state

    def random_state(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        return rng.uniform(-1, 2, (rows, self.state_width)).astype(np.float32)


class Window(Core):
    """After DeepLOB [1]_: convolutions over time, an inception module and an LSTM, over the last `length` frames.

    It differs from the paper so: the price axis is already folded into the encoded frame, where the paper's first
    layers alternate between price and time; widths are those of a network of 50,000 parameters; 60 frames stand in for
    100 ticks; convolutions are not padded, so that they run once over a sequence, and only the LSTM starts anew for
    every window; the scalars come with the frames, and a static branch stands beside the core. Before `length` frames
    have come, the missing ones are zero.

    .. [1] Zhang, Zohren, Roberts (2019), "DeepLOB: Deep convolutional neural networks for limit order books", IEEE
       Transactions on Signal Processing 67(11).
    """

    CONVOLVED = 10
    """Frames that the convolutions take off a window: 3 + 3 by two of four taps, 4 by the widest branch."""
    CHANNELS = 12
    """Of a convolution, and of each branch of the inception module; 16 and 32 in the paper."""
    SLOPE = 0.01
    """Of what is negative, as in the paper."""

    def __init__(self, width: int, hidden: int, length: int) -> None:
        super().__init__()
        self.width, self.length = width, length
        self.state_width = (length - 1) * width
        wide = self.CHANNELS
        self.first, self.second = nn.Conv1d(width, wide, 4), nn.Conv1d(wide, wide, 4)
        self.short = nn.Sequential(nn.Conv1d(wide, wide, 1), nn.LeakyReLU(self.SLOPE), nn.Conv1d(wide, wide, 3))
        self.long = nn.Sequential(nn.Conv1d(wide, wide, 1), nn.LeakyReLU(self.SLOPE), nn.Conv1d(wide, wide, 5))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, stride=1), nn.Conv1d(wide, wide, 1))
        self.lstm = nn.LSTM(3 * wide, hidden, batch_first=True)

    def forward(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        seen, state = self._seen(frames, state)
        windows = self._convolved(seen).unfold(1, self.length - self.CONVOLVED, 1).transpose(2, 3)
        _, (last, _) = self.lstm(windows.flatten(0, 1))
        return last[0].unflatten(0, windows.shape[:2]), state

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM written out over the window: `c' = f c + i g`, `h' = o tanh(c')`."""
        seen, state = self._seen(frame[:, None], state)
        inputs = functional.linear(self._convolved(seen), self.lstm.weight_ih_l0, self.lstm.bias_ih_l0)
        cell, held = 0.0, self.lstm.bias_hh_l0  # what a cell and an output of zeros give
        for at in range(self.length - self.CONVOLVED):
            enter, forget, new, leave = (inputs[:, at] + held).chunk(4, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            out = torch.sigmoid(leave) * torch.tanh(cell)
            held = functional.linear(out, self.lstm.weight_hh_l0, self.lstm.bias_hh_l0)
        return out, state

    def _seen(self, frames: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The frames with those before them, and the state they leave."""
        past = frames.new_zeros(len(frames), self.state_width) if state is None else state
        seen = torch.cat([past.unflatten(-1, (self.length - 1, self.width)), frames], dim=1)
        return seen, seen[:, -(self.length - 1) :].flatten(1)

    def _convolved(self, seen: Tensor) -> Tensor:
        """(lane, step, width) → (lane, step - 10, 36)."""
        x = functional.leaky_relu(self.first(seen.transpose(1, 2)), self.SLOPE)
        x = functional.leaky_relu(self.second(x), self.SLOPE)
        branches = [self.short(x)[..., 2:], self.long(x), self.pooled(x)[..., 2:]]
        return functional.leaky_relu(torch.cat(branches, dim=1), self.SLOPE).transpose(1, 2)

    def random_state(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        return rng.uniform(-0.3, 2, (rows, self.state_width)).astype(np.float32)


def core_of(spec: NetworkSpec) -> Core:
    """The core that a spec names."""
    if spec.core == "gru":
        return Gru(spec.encoded, spec.hidden)
    if spec.core == "tcn":
        return Tcn(spec.encoded, spec.hidden, spec.dilations)
    return Window(spec.encoded, spec.hidden, spec.window)
