"""A study's answers as a table to read, as JSON and as a figure; each says which command, commit and data it is of."""

import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from squeeze.errors import UserError
from squeeze.files import whole
from squeeze.tools.drawing import COLOURS
from squeeze.tools.study.compare import ENOUGH_EVENTS
from squeeze.tools.study.study import Answer

HEADS = ("statistic", "events", "n", "estimate", "null", "difference, 95 %", "lift, 95 %", "claim", "verdict")


def commit() -> str:
    """The commit of the code, `+` where the package differs from it; `unknown` outside a checkout."""
    root = Path(__file__).parents[3]
    said = []
    for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", "squeeze")):
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
        if done.returncode:
            return "unknown"
        said.append(done.stdout.strip())
    return said[0] + "+" * bool(said[1])


def write(out: Path, facts: dict[str, str], rows: Sequence[Answer], events: Sequence[dict[str, Any]]) -> list[Path]:
    """`out` with the endings `.md`, `.json` and `.png`, each whole or not at all; no figure without matplotlib."""
    written = [out.with_name(f"{out.name}.{ending}") for ending in ("json", "md")]
    document = {"facts": facts, "events": events, "answers": [_plain(row) for row in rows]}
    with whole(written[0]) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole(written[1]) as part:
        part.write_text(markdown(facts, rows, events), encoding="utf-8")
    picture = out.with_name(f"{out.name}.png")
    with whole(picture) as part:
        title = f"{facts.get('market', '')}, {facts.get('data', '').split(',')[0]}"
        figure(rows, title).savefig(part, format="png")
    return [*written, picture]


def _plain(row: Answer) -> dict[str, Any]:
    """JSON has no NaN: a figure that does not exist is null."""
    fields = msgspec.to_builtins(row)
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def markdown(facts: dict[str, str], rows: Sequence[Answer], events: Sequence[dict[str, Any]]) -> str:
    """The page: what it is of, all answers, what cannot be answered, and the same by tercile."""
    answered = [row for row in rows if not row.verdict.startswith("not answerable")]
    whole_time = [row for row in answered if row.group == "all"]
    lines = [f"# Study: {facts.get('market', '')}", ""]
    lines += [f"- **{name}**: {text}" for name, text in facts.items()]
    lines += ["", "## Events", ""]
    for found in events:
        missing = "; ".join(found["not_evaluated"]) or "nothing"
        lines.append(f"- {found['events']}: {found['long']} long, {found['short']} short. Not evaluated: {missing}.")
    lines += ["", "## Answers", "", INTRODUCTION.format(count=len(whole_time)), "", *_table(whole_time)]
    lines += ["", "## Not answerable here", ""]
    lines += [f"- {row.figure} ({row.events or 'no events'}): {row.verdict}" for row in rows if row not in answered]
    lines += ["", "## By volatility and trend", "", TERCILES, ""]
    enough = {(row.figure, row.events) for row in whole_time if row.n >= ENOUGH_EVENTS}
    parts = [row for row in answered if row.group != "all" and (row.figure, row.events) in enough]
    lines += _table(parts, grouped=True)
    notes = sorted({f"- {row.figure}: {row.note}" for row in answered if row.note})
    return "\n".join([*lines, *(["", "## Notes", "", *notes] if notes else [])]) + "\n"


INTRODUCTION = (
    "Each figure stands beside its null: the same at times matched on hour of the week and trailing decile of one-hour"
    " volatility, or what the row says. Intervals are of estimate − null and of the lift, from whole UTC days drawn"
    " anew, both sides pooled. Under 50 events a row is inconclusive, whatever its interval says. Of {count} intervals"
    " of 95 % about one in twenty leaves out the null by chance."
)
TERCILES = (
    "Terciles compare a step with the thirty days before its UTC midnight: one-hour volatility, and the strength of the"
    " four-hour trend. Matched times are of the same tercile. Figures of under 50 events in all are left to the JSON."
)


def _table(rows: Sequence[Answer], grouped: bool = False) -> list[str]:
    heads = ("figure", *HEADS[1:]) if not grouped else ("figure", "group", *HEADS[1:])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [row.figure, *([row.group] if grouped else []), row.events or "-", str(row.n)]
        cells += [number(row.estimate, row.unit), number(row.null, row.unit)]
        cells += [f"[{number(row.low, row.unit)}, {number(row.high, row.unit)}]"]
        is_signed = row.unit == "log return"  # a ratio of returns around zero says nothing
        lift = [number(value, "ratio") for value in (row.lift, row.lift_low, row.lift_high)]
        cells += [
            "-" if is_signed else f"{lift[0]} [{lift[1]}, {lift[2]}]",
            "-" if row.claim is None else number(row.claim, row.unit),
            row.verdict,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def number(value: float, unit: str) -> str:
    """A figure in its unit; a dash for what does not exist.

    >>> number(0.1234, "share"), number(0.00123, "log return"), number(42.0, "seconds"), number(float("nan"), "ratio")
    ('12.3 %', '+12.3 bp', '42 s', '-')
    """
    if not math.isfinite(value):
        return "-"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "log return":
        return f"{1e4 * value:+.1f} bp"
    return f"{value:.0f} s" if unit == "seconds" else f"{value:.2f}"


def figure(rows: Sequence[Answer], title: str) -> Any:
    """Every answered share and ratio as a lift with its interval, on a log scale; pale where it is inconclusive."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UserError("the figure needs matplotlib: pip install 'squeeze-predictor[train]'") from None
    shown = [r for r in rows if r.group == "all" and r.unit != "log return" and r.lift > 0 and r.lift_low > 0][::-1]
    drawn = Figure(figsize=(12, 1.6 + 0.32 * len(shown)), dpi=110, layout="constrained")
    axes = drawn.subplots()
    for place, row in enumerate(shown):
        firm = not row.verdict.startswith("inconclusive")
        bars = [[row.lift - min(row.lift, row.lift_low)], [max(row.lift, row.lift_high) - row.lift]]
        axes.errorbar(
            row.lift, place, xerr=bars, fmt="o", capsize=3, color=COLOURS[0] if firm else "0.6",
            markerfacecolor=COLOURS[0] if firm else "white",
        )  # fmt: skip
        if row.claim is not None and row.null > 0 and row.unit != "seconds":
            axes.plot(row.claim / row.null, place, marker="D", color=COLOURS[4], linestyle="none")
    axes.axvline(1.0, color="0.4", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{r.figure}  [{r.events.split(',')[0]}, n={r.n}]" for r in shown], fontsize=8)
    axes.set(xscale="log", xlabel="lift over the null, 95 % interval by days")
    drawn.suptitle(title, fontsize=11)
    axes.plot([], [], marker="D", color=COLOURS[4], linestyle="none", label="the seed's claim over the same null")
    axes.plot([], [], marker="o", color="0.6", markerfacecolor="white", linestyle="none", label="inconclusive")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, axis="x")
    return drawn
