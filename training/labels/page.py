"""Reports on labels as tables for the terminal, as JSON, and as sections of a page that the command itself keeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeeze.files import whole
from training.labels.agreement import Tuned, constants, lines
from training.labels.report import Report

Line = dict[str, Any]
Table = tuple[str, list[Line]]


def report_tables(found: Report) -> list[Table]:
    """The tables of a report with their titles; constants that change nothing here are named, not listed."""
    plain, *changed = found.sensitivity
    telling = [line for line in changed if line["agrees"] != 1.0 or line["rows"] != plain["rows"]]
    idle = dict.fromkeys(line["constant"] for line in changed if line not in telling)
    still = [name for name in idle if name not in {line["constant"] for line in telling}]
    title = "each constant halved and doubled; agrees: positives of both over positives of either"
    if still:
        title += f"; without effect here: {', '.join(still)}"
    return [
        ("base rates, and separate events (positives closer than four hours are one)", found.rates),
        ("rows left out, each for the first reason that holds", found.masked),
        ("by month, at the watched horizon", found.months),
        (title, [plain, *telling]),
    ]


def tuned_tables(found: Sequence[Tuned]) -> list[Table]:
    """The agreements of every search, and what they were searched over."""
    tables = []
    for each in found:
        missing = "; not evaluated: " + ", ".join(each.not_evaluated) if each.not_evaluated else ""
        title = f"agreement of L2 with L1, {each.name}: {each.tried} choices tried, best {constants(each)}{missing}"
        tables.append((title, lines(each)))
    return tables


def section(title: str, command: str, commit: str, notes: Sequence[str], tables: Sequence[Table]) -> str:
    """A section of the page: the command, what it says, and its tables."""
    parts = [f"## {title}", f"`{command}`, commit `{commit}`."]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    for name, rows in tables:
        parts.append(f"**{name[0].upper()}{name[1:]}.**\n\n{markdown(rows)}")
    return "\n\n".join(parts)


def markdown(rows: Sequence[Line]) -> str:
    """Rows as a table in Markdown.

    >>> print(markdown([{"side": "long", "rate": 0.0303030303}]))
    | side | rate |
    |---|---|
    | long | 0.0303 |
    """
    if not rows:
        return "none"
    head = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(head + ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


def keep_section(page: Path, name: str, text: str) -> None:
    """Put a section between its own marks on a page, in the place of the one that was there, or at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    held = page.read_text() if page.exists() else ""
    if begin in held and end in held:
        before, _, rest = held.partition(begin)
        after = rest.partition(end)[2]
    else:
        before, after = held.rstrip() + "\n\n" if held.strip() else "", "\n"
    with whole(page) as part:
        part.write_text(f"{before}{begin}\n{text}\n{end}{after}")
