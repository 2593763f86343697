"""What a scorecard says, as values and as text."""

import math
from collections.abc import Iterator

import msgspec

from squeeze.cli import iso
from squeeze.tools.scorecard.figures import AlarmFigures, Month, TopK


class SideReport(msgspec.Struct, frozen=True, kw_only=True):
    """One side and horizon over the trailing window."""

    side: str
    horizon_minutes: int
    base_rate: float
    """Of the model's card."""
    rows: int
    came: int
    """Rows that came true."""
    brier: float
    brier_of_base: float
    """Of the card's base rate, said each time."""
    top: tuple[TopK, ...]
    alarms: AlarmFigures
    months: tuple[Month, ...]
    """Of all rows that are held, not of the window alone."""


class TradeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Trades of one side that ended within the window, in multiples of what each put at risk, after fees."""

    side: str
    trades: int
    won: int
    mean_r: float
    total_r: float
    quartiles_r: tuple[float, float, float]
    unknown: int
    """Trades whose exit did not say what they brought."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol's scorecard at a time."""

    symbol: str
    model: str
    at_ns: int
    """Nothing that became known later was used."""
    off: str
    """Why the symbol is switched off; empty while it is on."""
    window_days: float
    sides: tuple[SideReport, ...]
    trades: tuple[TradeReport, ...]
    abstained: int
    """Rows of the window's decision times at which the model gave no probability."""
    waiting: int
    """Probabilities whose outcome is not known yet."""
    left_out: dict[str, int]
    """Probabilities whose outcome will never be known, by reason."""


def text(report: Report) -> str:
    """A report for people."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.symbol} at {iso(report.at_ns)}, the last {report.window_days:g} days, model {report.model[:16]}"
    yield f"switched OFF: {report.off}" if report.off else "switched on"
    for one in report.sides:
        yield ""
        yield (f"{one.side} within {one.horizon_minutes} min: {one.came} of {one.rows} rows came true, "
               f"base rate {one.base_rate:.4f}; Brier {_number(one.brier)}, of the base rate "
               f"{_number(one.brier_of_base)}")  # fmt: skip
        for best in one.top:
            found, least = best.precision, _percent(best.precision.low)
            yield f"  best {best.k}: {found.came} of {found.of}, {_percent(found.share)}, at least {least}"
        found, lead = one.alarms.precision, one.alarms.lead_minutes
        yield (f"  alarms from {one.alarms.threshold:.4f}: {found.came} of {found.of}, {_percent(found.share)} "
               f"({_percent(found.low)} to {_percent(found.high)}), {_number(one.alarms.false_a_day, 2)} false a day, "
               f"lead {_number(lead[1], 1)} min ({_number(lead[0], 1)} to {_number(lead[2], 1)})")  # fmt: skip
        for month in one.months:
            yield (f"  {month.month}: {month.came} of {month.rows} rows, Brier {_number(month.brier)}, "
                   f"slope {_number(month.slope, 2)}")  # fmt: skip
    yield ""
    for trade in report.trades:
        yield (f"{trade.side} trades: {trade.trades}, {trade.won} won, mean {_number(trade.mean_r, 2)} R, "
               f"total {_number(trade.total_r, 2)} R, {trade.unknown} did not say")  # fmt: skip
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(report.left_out.items())) or "none"
    yield f"{report.waiting} rows wait, {report.abstained} without a probability; left out: {left}"
    yield "intervals: 95 % (Wilson), as if alarms were independent; those of one day are alike"


def _number(value: float, places: int = 4) -> str:
    return "unknown" if math.isnan(value) else f"{value:.{places}f}"


def _percent(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.1%}"
