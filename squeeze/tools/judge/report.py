"""A judgement as a page of tables and as JSON; each says which command, commit and data it is of."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from squeeze.files import whole
from squeeze.tools.judge import captures, volumes
from squeeze.tools.judge.estimators import Finding
from squeeze.tools.judge.findings import FITTED, PRIOR
from squeeze.tools.judge.pool import ACTUAL, CHANCE

CAPTURE = (
    "Percent of liquidated USD in the top quarter of levels (5 bp each) ahead of the mark, of a map frozen before 1 or"
    " 24 hours; chance is 25, equal levels share. *Within 2 %* and *5 %*: of all levels so near, where nearness wins by"
    " itself, for the mark seldom goes as far. *Crossed*: of the levels that the mark then came to, which takes away"
    " the merit of being near. *Crossed, all times*: all such levels of all snapshots in one ranking. In brackets 95 %,"
    " from whole UTC days drawn anew."
)
PLACED = (
    "Percent of liquidated USD that lies ahead of the frozen mark, within 10 %: the rest is judged by no level."
    " Positions opened later, and prices that turned, are among it."
)
CALIBRATION = "Expected over actual liquidations, all intervals and both sides; 1 is right. In brackets 95 %."
CORRELATION = (
    "Between the roots of expected and actual liquidations of each interval and side. The rival is a regression on the"
    " distance beyond the extreme of the last 60 minutes and its root, fitted to earlier intervals. Differences are"
    " from the rival, and in the last row from the fitted map."
)
RANKS = (
    "Spearman's between estimated and true mass over the 5 bp levels of a band: mean over snapshots. The control is the"
    " map of 7 days before at the same distances: what the mere shape of a map is worth. In brackets the difference"
    " from the control, 95 %. Positions are there all the same where zones do not matter: only who is liquidated is not"
    " theirs to say."
)

THINNING = (
    "AUC of the thinning pattern's score of untouched zones, every six hours. *Of markets*: zones of a market whose"
    " holders leave for fear or greed, from those of the same seed without such holders. *Within one market*: zones of"
    " which such holders took 40 % of the true mass in six hours or more, from those of which they took under 10 %."
    " *Nearness* is the near edge's distance alone; *what truly left* is what only the simulator knows."
)
CHOSEN = (
    "Mean of Spearman's over five bands and two sides, fixed prior weights, by turnover κ (default 0.1) and hazard tilt"
    " of closes (default 0, 0). In brackets the difference from the default, 95 %."
)


def write(
    out: Path,
    title: str,
    facts: dict[str, str],
    found: Sequence[Finding],
    notes: Sequence[str],
    without_tables: Collection[str] = (),
) -> list[Path]:
    """`out` with the endings `.json` and `.md`, each whole; some markets have their tables in JSON only."""
    written = [out.with_name(f"{out.name}.{ending}") for ending in ("json", "md")]
    document = {"facts": facts, "notes": list(notes), "findings": [plain(each) for each in found]}
    with whole(written[0]) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole(written[1]) as part:
        part.write_text(markdown(title, facts, found, notes, without_tables), encoding="utf-8")
    return written


def plain(each: Finding) -> dict[str, object]:
    """For JSON, which has no NaN."""
    fields = msgspec.to_builtins(each) | {"verdict": each.verdict}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def markdown(
    title: str,
    facts: dict[str, str],
    found: Sequence[Finding],
    notes: Sequence[str],
    without_tables: Collection[str] = (),
) -> str:
    """The page: facts, notes, a line for each market, then its table of each kind of figure."""
    lines = [f"# {title}", "", *(f"- **{name}**: {text}" for name, text in facts.items()), ""]
    lines += [f"{note}\n" for note in notes]
    lines += ["## In short", "", *in_short(found), ""]
    found = [each for each in found if each.market not in without_tables]
    lines += [f"Tables of these markets one by one are in the JSON: {', '.join(without_tables)}.", ""] * bool(
        without_tables
    )
    for heading, prefix, words in (
        ("Capture", "capture", CAPTURE),
        ("Placed", captures.PLACED, PLACED),
        ("Level calibration", volumes.CALIBRATION, CALIBRATION),
        ("Volumes", volumes.CORRELATION, CORRELATION),
        ("Rank correlation with the true map", "rank correlation", RANKS),
        ("Thinning", "thinning", THINNING),
        ("What was chosen", "mean rank correlation", CHOSEN),
    ):
        rows = [each for each in found if each.measure.startswith(prefix)]
        if rows:
            lines += [f"## {heading}", "", words, "", *_section(prefix, rows)]
    return "\n".join(lines).rstrip() + "\n"


def in_short(found: Sequence[Finding]) -> list[str]:
    """A sentence for each market's capture, and what else has one figure; nothing that the tables do not say."""
    held = {(each.market, each.measure, each.scores, each.against): each for each in found}
    lines = []
    for market in dict.fromkeys(each.market for each in found):
        best = FITTED if any(e.market == market and e.scores == FITTED for e in found) else PRIOR
        parts = []
        for scope in (captures.measure("within 2 %", 60), captures.measure("crossed", 1440)):
            map_says, rival = (held.get((market, scope, name, CHANCE)) for name in (best, captures.EXTREME))
            if map_says is not None and rival is not None:
                said = f"{_short(scope)}: {percent(map_says)} % ({map_says.verdict}; chance 25 %)"
                parts.append(f"{said}, the rival {percent(rival)} %")
        level = held.get((market, volumes.CALIBRATION, best, ACTUAL))
        told = held.get((market, volumes.CORRELATION, best, volumes.EXTREME))
        parts += [] if level is None else [f"expected over actual {ratio(level)}"]
        parts += [] if told is None else [f"volumes correlate {difference(told)}"]
        lines += [f"- **{market}**, {best} weights. " + "; ".join(parts) + "."] if parts else []
    return lines


def _section(prefix: str, rows: Sequence[Finding]) -> list[str]:
    """The tables of one kind of figure."""
    lines = []
    for market in dict.fromkeys(each.market for each in rows):
        own = [each for each in rows if each.market == market]
        lines += [f"**{market}**", ""]
        if prefix == "capture":
            lines += table([e for e in own if e.against == CHANCE], percent)
            paired = [e for e in own if e.against != CHANCE]
            lines += [f"{paired[0].scores[0].upper()}{paired[0].scores[1:]} less its rivals:", ""] if paired else []
            lines += table(paired, points, by_rival=True) if paired else []
        elif prefix == captures.PLACED:
            lines += table(own, percent)
        elif prefix == volumes.CALIBRATION:
            lines += table(own, ratio)
        elif prefix in (volumes.CORRELATION, "thinning"):
            lines += table([e for e in own if e.scores != e.against], difference)
        else:
            lines += table(own, difference)
    return lines


def table(rows: Sequence[Finding], cell: Callable[[Finding], str], by_rival: bool = False) -> list[str]:
    """A row for each score, or rival, a column for each measure."""
    measures = list(dict.fromkeys(each.measure for each in rows))
    short = [_short(measure) for measure in measures]
    names = list(dict.fromkeys(_row_of(each, by_rival) for each in rows))
    cells = {(_row_of(each, by_rival), each.measure): cell(each) for each in rows}
    counts = {each.measure: each.n for each in rows}
    lines = ["| | " + " | ".join(short) + " |", "|" + "---|" * (len(short) + 1)]
    lines += [f"| {name} | " + " | ".join(cells.get((name, m), "-") for m in measures) + " |" for name in names]
    lines += ["| *n* | " + " | ".join(str(counts[m]) for m in measures) + " |", ""]
    return lines


def _row_of(each: Finding, by_rival: bool) -> str:
    if by_rival:
        return f"- {each.against}"
    return f"{each.scores} (beside {each.against})" if each.against == FITTED else each.scores


def _short(measure: str) -> str:
    head, _, rest = measure.partition(", ")
    return rest if head in ("capture", "rank correlation", captures.PLACED) else measure.removeprefix("thinning: ")


def percent(each: Finding) -> str:
    """A share beside a fixed null, with its own interval.

    >>> percent(Finding(
    ...     measure="m", market="k", scores="s", n=60, estimate=0.3, against="chance", null=0.25, low=-0.01, high=0.1
    ... ))
    '30.0 [24.0, 35.0]'
    """
    return f"{100 * each.estimate:.1f} [{100 * (each.null + each.low):.1f}, {100 * (each.null + each.high):.1f}]"


def points(each: Finding) -> str:
    """The difference of two shares."""
    return f"{100 * (each.estimate - each.null):+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]"


def ratio(each: Finding) -> str:
    """A ratio whose null is one, with its own interval."""
    return f"{each.estimate:.2f} [{each.null + each.low:.2f}, {each.null + each.high:.2f}]"


def difference(each: Finding) -> str:
    """A figure, its null, and the interval of what lies between.

    >>> difference(Finding(
    ...     measure="m", market="k", scores="s", n=60, estimate=0.9, against="rival", null=0.7, low=0.1, high=0.3
    ... ))
    '0.900, not 0.700 [+0.100, +0.300]'
    """
    return f"{each.estimate:.3f}, not {each.null:.3f} [{each.low:+.3f}, {each.high:+.3f}]"
