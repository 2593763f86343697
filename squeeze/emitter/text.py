"""A message in words, for people."""

from datetime import UTC, datetime

from squeeze.signals.message import AlertMessage, AnyMessage, OrderAdvice, SignalMessage

MOVES = {"down": "the price falls", "up": "the price rises"}


def title_and_text(message: AnyMessage) -> tuple[str, str]:
    """What stands above, and the lines below; prices as in the message, times in UTC."""
    if isinstance(message, SignalMessage):
        what = str(type(message).__struct_config__.tag)
        title = f"{message.symbol} {what}: {message.side} squeeze, {MOVES[message.direction]}"
        lines = [_advice(message.order_advice, message)] if message.order_advice is not None else []
        lines += list(message.reasons or message.reason_codes)
    elif isinstance(message, AlertMessage):
        title, lines = f"{message.symbol} alert: {message.rule}", [message.text]
    else:
        title, lines = f"{message.symbol} {type(message).__struct_config__.tag}", []
    mark = "" if message.mark is None else f"mark {message.mark}, "
    return title, "\n".join([*lines, f"{mark}known at {_time(message.ts_data_us)}"])


def _advice(advice: OrderAdvice, message: SignalMessage) -> str:
    """The order in a line.

    Only advice, and only until its time.
    """
    span = advice.entry_low if advice.entry_low == advice.entry_high else f"{advice.entry_low} to {advice.entry_high}"
    targets = ", ".join(advice.targets) or "none"
    return (
        f"{advice.side} {advice.quantity} at {span} ({advice.entry_type}), stop {advice.stop}, targets {targets}, "
        f"risk {advice.risk_percent:.2g} %, not after {_time(message.valid_until_us)}"
    )


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
