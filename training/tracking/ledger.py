"""Looks at test blocks are counted: every one is a line of `models/looks.jsonl`, and `models/README.md` shows them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.runs import Run
from training.tracking.environment import commit

BEGIN, END = "<!-- looks: begin -->", "<!-- looks: end -->"


def look(ledger: Path, run: Run, command: str, ap: dict[str, float], after: str | None = None) -> int:
    """Write a look down, and show it in the README beside the ledger; how many there have been, all tasks together."""
    line = {
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "task": run.config.task,
        "command": command,
        "commit": commit(),
        "weights": run.weights_digest[:12],
        "data": run.data_digest[:12],
        "after": after,
        "ap": {side: round(value, 4) for side, value in ap.items()},
    }
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a") as file:
        file.write(json.dumps(line) + "\n")
    looks = [json.loads(text) for text in ledger.read_text().splitlines()]
    _show(ledger.with_name("README.md"), looks)
    return len(looks)


def _show(readme: Path, looks: list[dict[str, Any]]) -> None:
    if not readme.exists() or BEGIN not in (text := readme.read_text()) or END not in text:
        return
    rows = ["| # | when | task | by | commit | weights | AP long | AP short |", "|---|---|---|---|---|---|---|---|"]
    for number, line in enumerate(looks, 1):
        ap = line["ap"]
        who = (line["command"], line["commit"], line["weights"])
        cells = (number, line["when"], line["task"], *who, ap.get("long"), ap.get("short"))
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n" + "\n".join(rows) + f"\n{END}{after}")
