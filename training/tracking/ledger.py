"""Looks at test blocks are counted: every one is a line of `models/looks.jsonl`, and `models/README.md` shows them.

The line is written before anything is scored, and completed afterwards: a look that failed on the way is one too.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from squeeze.arrays import SIDES
from squeeze.files import alone, whole
from training.runs import Run
from training.tracking.environment import commit

BEGIN, END = "<!-- looks: begin -->", "<!-- looks: end -->"


def look(ledger: Path, run: Run, command: str, after: str | None = None) -> int:
    """Write down that test blocks are about to be scored, and show it in the README beside the ledger; the number of
    the look, from 1 and all tasks together, by which `complete` knows it.
    """
    line = {
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "task": run.config.task,
        "command": command,
        "commit": commit(),
        "weights": run.weights_digest[:12],
        "data": run.data_digest[:12],
        "after": after,
        "ap": {},
    }
    return len(_written(ledger, lambda lines: [*lines, json.dumps(line)]))


def complete(ledger: Path, number: int, ap: Mapping[str, float]) -> None:
    """What came of a look: AP by side, in its line and in the README."""

    def told(lines: list[str]) -> list[str]:
        line = json.loads(lines[number - 1]) | {"ap": {side: round(value, 4) for side, value in ap.items()}}
        return [*lines[: number - 1], json.dumps(line), *lines[number:]]

    _written(ledger, told)


def _written(ledger: Path, change: Callable[[list[str]], list[str]]) -> list[str]:
    """The ledger's lines once changed, by one process at a time."""
    with alone(ledger.parent):
        lines = change(ledger.read_text().splitlines() if ledger.exists() else [])
        with whole(ledger) as part:
            part.write_text("\n".join(lines) + "\n")
        _show(ledger.with_name("README.md"), [json.loads(line) for line in lines])
    return lines


def _show(readme: Path, looks: list[dict[str, Any]]) -> None:
    if not readme.exists() or BEGIN not in (text := readme.read_text()) or END not in text:
        return
    rows = ["| # | when | task | by | commit | weights | AP long | AP short |", "|---|---|---|---|---|---|---|---|"]
    for number, line in enumerate(looks, 1):
        ap = line["ap"]
        who = (line["command"], line["commit"], line["weights"])
        cells = (number, line["when"], line["task"], *who, *(ap.get(side, "-") for side in SIDES))
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{after}")
