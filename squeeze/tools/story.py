"""What the signal machine said, as a person reads it at a terminal: a line for each step of a signal, then the account.

    messages ─► Story.lines ─► when, which squeeze, how far it is, and why
                Story.account ─► how many signals got how far, what each trade brought in R, and what that assumes

Nothing here decides anything: whoever wants the numbers reads the messages.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from squeeze.signals.message import (
    CancelMessage,
    EntryMessage,
    ExitMessage,
    Message,
    ProtectMessage,
    SignalMessage,
    UpdateMessage,
)

STAGES = {
    "zone_ahead": "zones were followed",
    "approach": "were approached, with the probability over the threshold",
    "triggered": "began to give way",
    "cascade": "became a cascade",
    "aftermath": "saw its end",
    "entry": "led to an entry",
    "managed": "were filled",
}
"""How far a signal may get, in this order."""
ENOUGH_TRADES = 100
"""Below this the account says that the trades prove nothing: a mean of R has an error of about 1 / √trades."""
ASSUMED = (
    "  R is the distance from the entry to the first stop. On paper: filled at the worse end of the entry's band,",
    "  stopped at the stop or at the mark if that is worse, two taker's fees paid;",
)


class Trade(NamedTuple):
    """One entry and what became of it; prices are texts as they were told."""

    signal_id: str
    opened_us: int
    order: str
    quantity: str
    entry: str
    stop: str
    risk_percent: float
    closed_us: int | None = None
    close: str | None = None
    """The mark at the end."""
    why: str = "still open"
    r_multiple: float | None = None
    """None for an entry that was not filled, or is open."""


class Story:
    """Hears messages in order and puts those of signals into words; memory grows with the signals of a run."""

    def __init__(self) -> None:
        self._stage: dict[str, int] = {}
        self._ends: Counter[tuple[str, str]] = Counter()
        self.trades: dict[str, Trade] = {}
        """By signal, in the order of their entries."""

    def lines(self, message: Message) -> list[str]:
        """What a message adds, in at most two lines; none where it tells of no signal, or only of a zone ahead."""
        if not isinstance(message, SignalMessage) or not message.signal_id:
            return []
        reached = self._stage.get(message.signal_id, 0)
        if message.state in STAGES:
            reached = max(reached, list(STAGES).index(message.state))
        self._stage[message.signal_id] = reached
        if isinstance(message, CancelMessage | ExitMessage):
            self._ends[list(STAGES)[reached], message.reason_codes[0]] += 1
        self._trade(message)
        if reached == 0:
            return []
        lines = [f"{_head(message)}  {'; '.join(message.reasons[: len(message.reason_codes)])}"]
        if isinstance(message, EntryMessage | UpdateMessage) and (advice := _advice(message)):
            lines.append(f"{'':15}{advice}")
        if isinstance(message, ExitMessage) and message.r_multiple is not None:
            lines[0] += f": {message.r_multiple:+.2f} R after fees"
        return lines

    def _trade(self, message: SignalMessage) -> None:
        name, advice = message.signal_id, message.order_advice
        if isinstance(message, EntryMessage) and advice is not None:
            entry = advice.entry_high if advice.side == "buy" else advice.entry_low
            self.trades[name] = Trade(
                name, message.ts_data_us, advice.side, advice.quantity, entry, advice.stop, advice.risk_percent
            )
        elif name in self.trades and isinstance(message, CancelMessage | ExitMessage):
            self.trades[name] = self.trades[name]._replace(
                closed_us=message.ts_data_us, close=message.mark, why=message.reasons[0],
                r_multiple=getattr(message, "r_multiple", None),
            )  # fmt: skip

    def account(self) -> list[str]:
        """How far the signals got, the trades one by one, and what they come to."""
        counts = [sum(stage >= at for stage in self._stage.values()) for at in range(len(STAGES))]
        lines = ["signals:"]
        lines += [f"  {count:>5} {words}" for count, words in zip(counts, STAGES.values(), strict=True)]
        if self._ends:
            common = ", ".join(
                f"{_plain(stage)} → {_plain(code)} {count}" for (stage, code), count in self._ends.most_common(6)
            )
            lines.append(f"  most common ends: {common}")
        return [*lines, *self._results()]

    def _results(self) -> list[str]:
        if not self.trades:
            return ["trades: none"]
        heads = f"{'quantity':>9}{'entry':>11}{'stop':>11}{'minutes':>9}{'R':>8}  how it ended"
        lines = ["trades:", f"  {'opened':<17}{heads}"]
        for trade in self.trades.values():
            minutes = "-" if trade.closed_us is None else f"{(trade.closed_us - trade.opened_us) / 6e7:.0f}"
            result = "-" if trade.r_multiple is None else f"{trade.r_multiple:+.2f}"
            lines.append(
                f"  {_when(trade.opened_us):<12}{trade.order:<5}{trade.quantity:>9}{trade.entry:>11}{trade.stop:>11}"
                f"{minutes:>9}{result:>8}  {trade.why}"
            )
        closed = [trade for trade in self.trades.values() if trade.r_multiple is not None]
        if closed:
            total = sum(trade.r_multiple or 0.0 for trade in closed)
            percent = sum((trade.r_multiple or 0.0) * trade.risk_percent for trade in closed)
            count = f"{len(closed)} trade{'s' * (len(closed) > 1)}"
            lines.append(f"  together {total:+.2f} R over {count}, {percent:+.2f} % of equity at the risk advised")
        few = f" Fewer than {ENOUGH_TRADES} trades prove nothing, either way." * (len(closed) < ENOUGH_TRADES)
        return [*lines, *ASSUMED, f"  no further slippage, no funding.{few}"]


def told(story: Story, write: Callable[[str], None]) -> Callable[[Message], None]:
    """What writes a story's lines as its messages come."""

    def hear(message: Message) -> None:
        for line in story.lines(message):
            write(line)

    return hear


def _head(message: SignalMessage) -> str:
    """When, whose squeeze, what is said and the mark; the probability of the longest horizon where the model spoke."""
    said: str = message.state
    if isinstance(message, ExitMessage | CancelMessage | UpdateMessage | ProtectMessage):
        said = str(type(message).__struct_config__.tag)
    probability = ""
    if message.probs:
        longest = max(message.probs, key=lambda horizon: int(horizon[1:]))
        probability = f"p {message.probs[longest][message.side]:.2f}"
    name = f"{message.side:<5} {message.signal_id[:4]}"
    return f"  {_when(message.ts_data_us)}  {name}  {said.upper():<10}{message.mark or '-':>9}  {probability:<6}"


def _advice(message: SignalMessage) -> str:
    advice = message.order_advice
    if advice is None:
        return ""
    targets = f", target {' then '.join(advice.targets)}" if advice.targets else ""
    if isinstance(message, UpdateMessage):
        return f"left: {advice.side} {advice.quantity}, stop {advice.stop}"
    return (
        f"{advice.side} {advice.quantity} at {advice.entry_low} to {advice.entry_high}, stop {advice.stop}{targets}; "
        f"risk {advice.risk_percent:.2f} % of equity, {advice.notional_usd:,.0f} USD"
    )


def _when(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%m-%d %H:%M")


def _plain(code: str) -> str:
    return code.replace("_", " ")
