"""Which frames a model answers, and which not: what a predictor asks before the model runs and notes after it."""

import math

import numpy as np

from squeeze.arrays import SIDES, HiddenState
from squeeze.errors import StepError
from squeeze.model_file import ModelCard
from squeeze.state import Degraded, Frame, Unhealthy, flag_names

SKIPPED = "skipped_step"
_FLOAT32 = np.dtype(np.float32)
MOST_LACKING = 60
"""After so many steps hardly anything is left in a state of what it began with: the shipped model, begun from zeros, is
then within 1 % of itself.
"""


class Course:
    """Where one symbol stands: its last close, and how many steps must pass before its carried state is itself again.

    A frame that was left out, or that the model failed at, is missing from the state. Training passes over steps in
    which nothing was to be seen, so the state goes on from where it was; but what it says next is off. Measured on the
    shipped model: after 1 frame left out by 3 % at first (the median; 23 % in one case of twenty), after 12 by 11 %
    (56 %). So as many steps are answered with `skipped_step` as were missed, up to `MOST_LACKING`; it is then off by
    about 1 % (7 %).
    """

    def __init__(self, length_ns: int) -> None:
        self.closed_ns = 0
        self.lacking = 0
        self._length_ns = length_ns

    def follow(self, close_ns: int) -> bool:
        """Go on to a later close; whether the state lacks something there."""
        since_ns = close_ns - self.closed_ns
        if since_ns != self._length_ns and self.closed_ns:
            self._lack(max(1, since_ns // self._length_ns - 1))
        self.closed_ns = close_ns
        return self.lacking > 0

    def taken(self) -> None:
        """The model has taken this close's frame in."""
        if self.lacking:
            self.lacking -= 1

    def lost(self) -> None:
        """It could not."""
        self._lack(1)

    def snapshot(self, state: HiddenState) -> tuple[int, bytes]:
        """The last close; then how much is lacking, in a byte, and the carried state."""
        return self.closed_ns, bytes([self.lacking]) + state.tobytes()

    def restore(self, closed_ns: int, snapshot: bytes, hidden: int) -> HiddenState:
        """The state (side, hidden) to go on from; `StepError`, and nothing has changed, if it is another model's or
        holds what is not finite.
        """
        expected = len(SIDES) * hidden
        if len(snapshot) != 1 + 4 * expected or snapshot[0] > MOST_LACKING:
            raise StepError(f"the snapshot carries {(len(snapshot) - 1) / 4:g} numbers of state, this model {expected}")
        values: HiddenState = np.frombuffer(snapshot, np.float32, offset=1).reshape(len(SIDES), hidden)
        if not np.isfinite(values).all():
            raise StepError("the snapshot's state is not finite")
        self.closed_ns, self.lacking = closed_ns, snapshot[0]
        return values

    def _lack(self, steps: int) -> None:
        self.lacking = min(self.lacking + steps, MOST_LACKING)


class Admission:
    """Which frames a model answers: those that are healthy, of its shape, and no poorer than what it was trained on."""

    def __init__(self, card: ModelCard) -> None:
        sides = len(SIDES)
        self._channels = (sides, len(card.channel_names), card.spec.frame.price_bins)
        self._scalars = (sides, len(card.scalar_names))
        self._untrained = ~card.degraded
        self._required = {name: card.channel_names.index(name) for name in card.required_channels}
        # Where a channel's first bin lies in a frame: if it is known the channel is there, and no more need be asked.
        self._first = [at * card.spec.frame.price_bins for at in self._required.values()]
        self._names: dict[int, tuple[str, ...]] = {}

    def misshapen(self, frame: Frame) -> str | None:
        """What about a frame's arrays the model cannot take, if anything."""
        channels, scalars = frame.channels, frame.scalars
        if type(channels) is type(scalars) is np.ndarray and (
            channels.dtype is scalars.dtype is _FLOAT32
            and channels.shape == self._channels
            and scalars.shape == self._scalars
        ):
            return None  # nearly always; what is wrong with another takes longer to say
        return _unlike("channels", frame.channels, self._channels) or _unlike("scalars", frame.scalars, self._scalars)

    def reasons(self, frame: Frame, lacking: bool) -> tuple[str, ...]:
        """Why there will be no number for a well-shaped frame; empty for most. `lacking` as `Course.follow` says."""
        poorer = int(frame.degraded) & self._untrained
        if not (lacking or poorer or int(frame.unhealthy) or self._may_miss(frame)):
            return ()
        reasons = flag_names(Unhealthy(frame.unhealthy)) + ((SKIPPED,) if lacking else ())
        reasons += tuple(f"not trained with {name}" for name in flag_names(Degraded(poorer)))
        known = np.isfinite(frame.channels).any(axis=(0, 2))
        return reasons + tuple(f"not recorded: {name}" for name, at in self._required.items() if not known[at])

    def _may_miss(self, frame: Frame) -> bool:
        """Whether a required channel's first bin is unknown, so that the others must be looked at."""
        return not all(map(math.isfinite, map(frame.channels.item, self._first)))

    def degraded(self, frame: Frame) -> tuple[str, ...]:
        """Names of a frame's flags; walking through them takes longer than the model, so they are kept."""
        flags = int(frame.degraded)
        if flags not in self._names:
            self._names[flags] = flag_names(frame.degraded)
        return self._names[flags]


def _unlike(name: str, array: object, shape: tuple[int, ...]) -> str | None:
    if not isinstance(array, np.ndarray):
        return f"{name}: expected float32 {list(shape)}, got {type(array).__name__}"
    if array.shape != shape or array.dtype != _FLOAT32:
        return f"{name}: expected float32 {list(shape)}, got {array.dtype} {list(array.shape)}"
    return None
