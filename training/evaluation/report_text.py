"""An evaluation report as tables for people: Markdown, and rows for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from training.evaluation.bootstrap import ENOUGH_EPISODES, HIGHER_IS_BETTER, Gain
from training.evaluation.report import ORACLE, EvaluationReport, PairedGain, RefereedGain, SideReport

SHOWN = {
    "ap": "AP", "base_rate": "base rate", "auc": "AUC", "brier_skill": "Brier skill", "log_loss": "log loss",
    "ece": "ECE", "slope": "slope", "intercept": "intercept",
}  # fmt: skip
GAINED = {"ap": "AP", "auc": "AUC", "brier": "Brier", "log_loss": "log loss"}


def headline(entry: SideReport) -> dict[str, Any]:
    """One model, side and horizon as a row: figures beside the base rate, ± their deviation over several seeds."""
    figures = {title: _number(entry, name) for name, title in SHOWN.items()}
    return {
        "model": entry.model if entry.seeds == 1 else f"{entry.model} ({entry.seeds} seeds)",
        "side": entry.side,
        "minutes": entry.horizon_minutes,
        **figures,
        "events": _count(entry.figures["episodes"]),
        "abstained": entry.abstained,
        "remark": entry.reason or "",
    }


def markdown(report: EvaluationReport) -> str:
    """The whole report: figures, gains, regimes, alarms."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: EvaluationReport) -> Iterator[str]:
    yield f"# {report.task}: {report.scored} rows"
    yield ""
    yield "AP says nothing without the base rate beside it: it is what a guess would reach."
    yield from _table("Figures", [headline(entry) for entry in report.entries])
    yield from _table(
        "Gains, paired on the same rows",
        [_gain_row(entry, rival) for entry in report.entries for rival in entry.gains],
        "95 % intervals over runs of three days drawn with replacement. Positive is better. Below "
        f"{ENOUGH_EPISODES} separate events a gain is inconclusive, whatever its interval says.",
    )
    yield from _table(
        "Over the referee's reference and each of its members",
        [_refereed_row(one) for one in report.refereed],
        "The network on the rows that the referee scores, by its labels; where it abstains it says the training base "
        "rate. Intervals and verdicts as above.",
    )
    for regime, scalar in report.regime_scalars.items():
        rows = [row for entry in report.entries for row in _tercile_rows(entry, regime)]
        yield from _table(f"By {regime}", rows, f"Terciles of `{scalar}` on the training rows of each block.")
    yield from _table(
        "Alarms",
        [row for entry in report.entries for row in _alarm_rows(entry)],
        "Within a budget of false alarms a day. A threshold found on the scored rows themselves (oracle) is an upper "
        "bound, not a result. `inside` alarms came when the event had begun: neither early nor false. `moved` is the "
        "share of alarms that began with the price already over one σ from its extreme, beside the share of all rows.",
    )


def _table(title: str, rows: Sequence[dict[str, Any]], said: str = "") -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"## {title}", "")
    if said:
        yield from (said, "")
    yield "| " + " | ".join(rows[0]) + " |"
    yield "|" + "---|" * len(rows[0])
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row.values()) + " |"


def _gain_row(entry: SideReport, rival: str) -> dict[str, Any]:
    return {
        "model": entry.model, "over": rival, "side": entry.side, "minutes": entry.horizon_minutes,
        **_gain_cells(entry.gains[rival]),
    }  # fmt: skip


def _refereed_row(found: RefereedGain) -> dict[str, Any]:
    return {
        "over": found.rival, "side": found.side, "AP of the network": _digits(found.ap),
        "its AP": _digits(found.rival_ap), **_gain_cells(found.gains),
    }  # fmt: skip


def _gain_cells(gains: Mapping[str, PairedGain]) -> dict[str, str]:
    """The gain in each figure, and what may be said of them: once, where it is the same of all."""
    cells = {GAINED[name]: _gain(gains[name].gain) if name in gains else "-" for name in HIGHER_IS_BETTER}
    verdicts = {GAINED[name]: gains[name].verdict for name in gains}
    said = sorted(set(verdicts.values()))
    told = said[0] if len(said) == 1 else "; ".join(f"{name} {what}" for name, what in verdicts.items())
    return cells | {"verdict": told or "no row that both answered"}


def _tercile_rows(entry: SideReport, regime: str) -> Iterator[dict[str, Any]]:
    for called, found in entry.terciles.get(regime, {}).items():
        yield {
            "model": entry.model, "side": entry.side, "minutes": entry.horizon_minutes, regime: called,
            **{title: _digits(found[name]) for name, title in SHOWN.items()},
            "events": _count(found["episodes"]), "rows": _count(found["rows"]),
        }  # fmt: skip


def _alarm_rows(entry: SideReport) -> Iterator[dict[str, Any]]:
    """A row per budget: the threshold that was known before, and the recall of the one that was not."""
    hindsight = {one.budget_per_day: one.figures for one in entry.alarms if one.found_on == ORACLE}
    for one in entry.alarms:
        if one.found_on == ORACLE:
            continue
        found, oracle = one.figures, hindsight[one.budget_per_day]
        low, median, high = (_digits(value, 1) for value in found.lead_minutes)
        yield {
            "model": entry.model, "side": entry.side, "minutes": entry.horizon_minutes,
            "budget a day": f"{one.budget_per_day:g}", "threshold from": one.found_on,
            "threshold": _digits(found.threshold), "false a day": _digits(found.false_per_day, 2),
            "recall": f"{_share(found.recall)} of {found.events}",
            "precision": f"{_share(found.precision)} of {found.early + found.false}", "inside": found.inside,
            f"lead, ± {found.lead_resolution_minutes:g} minutes": f"{median} [{low}, {high}]",
            "moved": f"{_digits(found.after_move, 2)} against {_digits(found.after_move_any, 2)}",
            "recall, oracle": f"{_share(oracle.recall)} at {_digits(oracle.threshold)}",
        }  # fmt: skip


def _number(entry: SideReport, name: str) -> str:
    deviation = entry.deviations[name]
    spread = f" ± {deviation:.3f}" if np.isfinite(deviation) and name != "base_rate" else ""
    return _digits(entry.figures[name]) + spread


def _digits(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _count(value: float) -> str:
    return f"{value:.0f}"


def _gain(gain: Gain) -> str:
    if not np.isfinite(gain.observed):
        return "-"
    ends = f"[{gain.low:+.3f}, {gain.high:+.3f}]" if np.isfinite(gain.low) else "[no interval]"
    return f"{gain.observed:+.3f} {ends}"


def _share(of: tuple[float, float, float]) -> str:
    value, low, high = of
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(value) else "-"
