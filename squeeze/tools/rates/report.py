"""The rates as a page to read and as JSON: each says which command, commit, days and seeds it is of."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from squeeze.arrays import SIDES
from squeeze.files import whole
from squeeze.patterns.catalogue import NAMES
from squeeze.patterns.spec import PatternsSpec
from squeeze.tools.rates.count import TOP_SHARE, Follow, Rate
from squeeze.tools.rates.walls import WallShares
from squeeze.tools.rates.watch import LEVERS
from squeeze.tools.study.compare import Figures

NULL, MATTER = "null", "matter"

FALSE_ON_NULL = {
    "accumulation": "there are no zones to grow",
    "stacked_zones": "there are no zones to stack",
    "thinning": "there are no zones to leave",
    "migration": "there are no zones to move",
    "depletion": "no zone gave way: what was liquidated in the sweep was anybody's",
    "heat_divergence": "there is no crowd in the zones",
    "venue_divergence": "no venue has zones",
    "convergence": "one of the levels that agree means nothing",
    "shielded_cluster": "there is nothing to shield",
    "spoofed_wall": "every wall is meant",
    "iceberg": "no wall holds more than it shows (nor does one where zones matter)",
}
"""Patterns that claim something which the null does not have, and why."""

TRUE_ON_NULL = {
    "asymmetry": "the map leans or does not, whether it means something or not",
    "voids": "so the maps are",
    "node_retest": "the profile is of what was traded, and that is real",
    "absorbed_wall": "genuine walls do absorb",
    "funding_extreme": "the rate is what it is",
    "funding_asymmetry": "rate and map are what they are",
    "stale_timeframe": "ages are what they are",
    "trend_alignment": "it says where the price went",
    "approach_velocity": "it says where the price goes",
}
"""Patterns that say no more than what is seen: their rate is a base rate, and what counts is what follows."""


def write(
    out: Path,
    facts: Mapping[str, str],
    rates: Sequence[Rate],
    follows: Sequence[Follow],
    walls: Sequence[WallShares],
    thresholds: PatternsSpec,
) -> list[Path]:
    """`out` with the endings `.json` and `.md`, each whole or not at all."""
    written = [out.with_name(f"{out.name}.{ending}") for ending in ("json", "md")]
    rows = [msgspec.to_builtins(row) for row in walls]
    for row, wall in zip(rows, walls, strict=True):
        row |= {"precision": wall.precision, "recall": wall.recall}
    document = {
        "facts": dict(facts),
        "rates": msgspec.to_builtins(rates),
        "follows": [msgspec.to_builtins(row) | {"verdict": row.alike.verdict} for row in follows],
        "walls": rows,
        "remarks": remarks(rates, thresholds),
    }
    with whole(written[0]) as part:
        part.write_text(json.dumps(_plain(document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole(written[1]) as part:
        part.write_text(markdown(facts, rates, follows, walls, thresholds), encoding="utf-8")
    return written


def _plain(value: Any) -> Any:
    """JSON has no NaN: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(
    facts: Mapping[str, str],
    rates: Sequence[Rate],
    follows: Sequence[Follow],
    walls: Sequence[WallShares],
    thresholds: PatternsSpec,
) -> str:
    """The page."""
    said = remarks(rates, thresholds)
    lines = ["# Rates of the patterns on simulated markets", "", *(f"- **{k}**: {v}" for k, v in facts.items())]
    lines += ["", "## False positives on the null", "", FALSE, "", *_rate_table(FALSE_ON_NULL, rates, said)]
    lines += ["", "## Base rates", "", BASE, "", *_rate_table(TRUE_ON_NULL, rates, said)]
    lines += ["", "## Cascades that follow", "", FOLLOWS, "", *_follow_table(follows)]
    lines += ["", "## Walls called pulled, and who had placed them", "", WALLS, "", *_wall_table(walls)]
    return "\n".join(lines) + "\n"


FALSE = (
    "Pairs are long / short. `told` is the share of minutes in which the pattern could be told, `flagged` the share of"
    " these with its flag up, `a day` how often the flag rises in a day that can be told, `minutes` its median length."
    " On the null each of these rises is false."
)
BASE = "These say no more than what is seen, so they are as true on the null. Columns as above."
FOLLOWS = (
    "Share of rises after which a cascade of the flag's side begins within 60 minutes, both sides together, while none"
    " runs. `raw` is the lift over all minutes in which the pattern could be told. `alike` is the lift over minutes of"
    " the same twentieth of the volatility outside, which only the simulator knows, and as many orders of the side"
    " forced lately: on the null all there is to know of forced orders, so that it should be 1. Intervals of 95 % are"
    " from whole days drawn anew; of forty about two leave out the null by chance. On the null what is"
    " left of a lift is volatility within a twentieth. `depletion` rises while a cascade runs, so nothing is counted."
)
WALLS = (
    "`followed`: all that the tracker took for a wall. `pulled`: gone without trades. `spoofed`: pulls enough at its"
    " level within an hour for `spoofed_wall`. Precision is the share that a spoofer had placed; recall the share of"
    " spoofs that fled from the price and stood at some book, which were called so. A genuine wall whose owner takes it"
    " away looks like a spoof to anybody who sees only books and trades."
)


HARDLY_EVER = 0.1
"""Rises a day under which a flag says nothing in practice."""


def remarks(rates: Sequence[Rate], thresholds: PatternsSpec) -> dict[str, str]:
    """Of patterns that are flagged more than half of the time in a market, or hardly ever where zones matter."""
    said = {}
    for name in NAMES:
        known = [row for row in rates if row.pattern == name and row.told_share > 0]
        most = max((row.flagged_share for row in known), default=0.0)
        if most > 0.5:
            markets = dict.fromkeys(row.market for row in known if row.flagged_share > 0.5)
            text = f"flagged more than half of the time ({', '.join(markets)})"
        elif max((row.rises_a_day for row in known if row.market == MATTER), default=0.0) < HARDLY_EVER:
            text = "hardly ever flagged where zones matter"
        else:
            continue
        if name in LEVERS:
            field = LEVERS[name][0]
            threshold = float(getattr(getattr(thresholds, name), field))
            text += f"; `{field}` is {threshold:g}, {_proposal(known, threshold)}"
        said[name] = text
    return said


def _proposal(known: Sequence[Rate], threshold: float) -> str:
    """What a threshold would have to be, by what its measure was."""
    top = max((row.lever_top for row in known if row.lever_top > 0), default=0.0)
    most = max((row.lever_most for row in known if row.lever_most > 0), default=0.0)
    if most == 0.0:
        return "what is held against it was never above 0: nothing to propose from these markets"
    reached = f"what is held against it reached {most:.3g}"
    if top == 0.0 and most >= threshold:
        return f"{reached}: it is rare for want of cases, or by its other conditions; proposed: to keep it"
    if top == 0.0:
        return f"{reached}, and nothing in all but {TOP_SHARE:.0%} of minutes; proposed: {most:.2g}"
    if top == most:
        return f"{reached} in {TOP_SHARE:.0%} of minutes: no value of it would do, its other thresholds would have to"
    return f"{reached}, and {top:.3g} in {TOP_SHARE:.0%} of minutes; proposed: {top:.3g}"


def _rate_table(why: Mapping[str, str], rates: Sequence[Rate], said: Mapping[str, str]) -> list[str]:
    heads = ["pattern", "why", *(f"{m}: {c}" for m in (NULL, MATTER) for c in ("told", "flagged", "a day", "minutes"))]
    lines = [_line([*heads, "remark"]), "|" + "---|" * (len(heads) + 1)]
    columns: tuple[Callable[[Rate], str], ...] = (
        lambda row: _percent(row.told_share),
        lambda row: _percent(row.flagged_share),
        lambda row: _number(row.rises_a_day, 1),
        lambda row: _number(row.median_minutes, 0),
    )
    for name in (name for name in NAMES if name in why):
        cells = [name, why[name]]
        for market in (NULL, MATTER):
            pair = [row for row in rates if (row.market, row.pattern) == (market, name)]
            cells += [" / ".join(column(row) for row in pair) for column in columns]
        lines.append(_line([*cells, said.get(name, "")]))
    return lines


def _follow_table(follows: Sequence[Follow]) -> list[str]:
    columns = ("rises", "share", "raw", "alike", "verdict")
    lines = [_line(["pattern", *(f"{m}: {c}" for m in (NULL, MATTER) for c in columns)]), "|" + "---|" * 11]
    both = {(row.market, row.pattern): row for row in follows if row.side not in SIDES}
    for name in NAMES:
        cells = [name]
        for market in (NULL, MATTER):
            row = both[market, name]
            cells += [str(row.alike.n), _percent(row.alike.estimate), _lift(row.raw), _lift(row.alike)]
            cells.append(row.alike.verdict)
        lines.append(_line(cells))
    return lines


def _wall_table(walls: Sequence[WallShares]) -> list[str]:
    heads = ["market", "called", "walls", "by spoofers", "genuine", "by nobody", "precision", "spoofs", "recall"]
    lines = [_line(heads), "|" + "---|" * len(heads)]
    for row in walls:
        counts = [str(n) for n in (row.n, row.spoofer, row.genuine, row.nobody)]
        lines.append(
            _line([row.market, row.called, *counts, _percent(row.precision), str(row.spoofs), _percent(row.recall)])
        )
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "-"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _lift(figures: Figures) -> str:
    values = [_number(value, 2) for value in (figures.lift, figures.lift_low, figures.lift_high)]
    return f"{values[0]} [{values[1]}, {values[2]}]"
