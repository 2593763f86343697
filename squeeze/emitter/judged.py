"""A stream and its scorecard: outcomes go to the stream's drift monitor, and a symbol whose alarms are shown to be bad
is switched off, and stays so over restarts until somebody switches it on.
"""

from collections.abc import Sequence

import msgspec

from squeeze.emitter.emitter import Emitter
from squeeze.errors import ConfigError, StepError
from squeeze.signals.message import Message
from squeeze.stream import Stream
from squeeze.tools.scorecard.scorecard import Outcome, Scorecard

RULE = "scorecard"
"""What alerts of a scorecard are called, and how the reason of its halts begins."""


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a symbol is on, as the outbox keeps it."""

    off: str
    """Why it is off; empty while it is on."""
    on_since_ns: int
    """What was before then switches nothing off again."""


def switch_name(symbol: str) -> str:
    """Under which the outbox keeps a symbol's switch."""
    return f"{symbol} switch"


def state_name(symbol: str) -> str:
    """Under which the outbox keeps a symbol's scorecard."""
    return f"{symbol} scorecard"


class Judged:
    """One stream with its scorecard."""

    def __init__(self, stream: Stream, scorecard: Scorecard, emitter: Emitter) -> None:
        self.stream, self.scorecard, self.emitter = stream, scorecard, emitter
        self.symbol = stream.spec.market.symbol

    def begin(self, now_ns: int | None) -> bool:
        """Go on from what the outbox keeps; whether there is any. Live, at `now_ns`, time in which the program did not
        run is left out; a replay, with None, goes on where its stream was. `ConfigError` for another model's.
        """
        kept = self.emitter.state(state_name(self.symbol))
        if kept is not None:
            try:
                self.scorecard.restore(kept)
            except StepError as error:
                raise ConfigError(f"{self.emitter.path}: {self.symbol}: {error}; --fresh begins without it") from None
        self.scorecard.breaks(now_ns if now_ns is not None else self.stream.now_ns or 0)
        return kept is not None

    def switch(self) -> None:
        """Be as on or off as the outbox says, whatever else was kept."""
        kept = self.emitter.state(switch_name(self.symbol))
        switch = Switch("", 0) if kept is None else msgspec.msgpack.decode(kept, type=Switch)
        self.scorecard.off, self.scorecard.on_since_ns = switch.off, switch.on_since_ns
        if switch.off:
            self.stream.halt(_reason(switch.off))
        elif (self.stream.machine.halted or "").startswith(RULE):
            self.stream.resume()

    def hear(self, said: Sequence[Message], now_ns: int, states: dict[str, bytes]) -> list[Message]:
        """Count what was said and what came of it; the alert, where that switches the symbol off now.

        The switch goes into `states`, and so into one transaction with the alert.
        """
        was_off = self.scorecard.off
        for message in said:
            self.scorecard.on_message(message)
        for outcome in self.scorecard.on_clock(now_ns):
            self._learn(outcome)
        off = self.scorecard.off
        if was_off or not off:
            return []
        self.stream.halt(_reason(off))
        states[switch_name(self.symbol)] = msgspec.msgpack.encode(Switch(off, self.scorecard.on_since_ns))
        text = f"{self.symbol} is switched off until `squeeze scorecard --on {self.symbol}`: {off}"
        return [self.stream.alert(now_ns, RULE, text, {"reason": off})]

    def _learn(self, outcome: Outcome) -> None:
        """Tell the drift monitor, unless it has heard of a later one: then it is passed over there."""
        drift = self.stream.drift
        if drift is not None and outcome.ts_ns > drift.calibration.clock[0]:
            drift.outcome(outcome.ts_ns, outcome.truth)

    def keep(self, *, last: bool = False) -> None:
        """Have the scorecard kept as it is now."""
        self.emitter.keep(state_name(self.symbol), self.scorecard.freeze, last=last)


def _reason(off: str) -> str:
    return f"{RULE}: {off}"
