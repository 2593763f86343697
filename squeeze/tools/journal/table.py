"""How good the reads were: hits and Brier scores by step and profile."""

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from squeeze.tools.drawing import wilson
from squeeze.tools.journal.chain import Entry
from squeeze.tools.journal.grade import Graded

HINDSIGHT_NS = 3600 * 10**9
"""An entry that speaks of a time so long before it was written was made in hindsight."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions of one step, kind and profile whose outcome is known."""

    profile: str
    step: int
    kind: str
    judged: int
    came_true: int
    hit_share: float
    hit_low: float
    """Wilson's 95 % interval, as if outcomes were independent; those of neighbouring reads are alike."""
    hit_high: float
    predicted: float
    """Mean probability."""
    brier: float
    brier_of_base: float
    """Of the share that came true, said each time; known only afterwards."""
    void: int
    unknown: int
    hindsight: int


def graded_of(entries: Iterable[Entry]) -> dict[str, tuple[Entry, ...]]:
    """Grades by the hash of what they grade, in order."""
    found: dict[str, tuple[Entry, ...]] = {}
    for entry in entries:
        if entry.kind == "grade":
            of = str(entry.body["of"])
            found[of] = (*found.get(of, ()), entry)
    return found


def scores(entries: list[Entry]) -> list[Scored]:
    """A row for each profile, step and kind of prediction; of an entry graded twice the last grade counts."""
    grades = graded_of(entries)
    rows: dict[tuple[str, int, str], list[tuple[Graded, bool]]] = {}
    for entry in entries:
        if entry.hash not in grades:
            continue
        last = grades[entry.hash][-1]
        late = entry.written_ns - entry.at_ns > HINDSIGHT_NS
        for plain in last.body["graded"]:
            one = msgspec.convert(plain, Graded, strict=True)
            key = (str(entry.body.get("profile", entry.kind)), one.prediction.step, one.prediction.kind)
            rows.setdefault(key, []).append((one, late))
    return [_scored(key, found) for key, found in sorted(rows.items())]


def _scored(key: tuple[str, int, str], found: list[tuple[Graded, bool]]) -> Scored:
    known = [one for one, _ in found if one.outcome in ("true", "false")]
    came = np.array([one.outcome == "true" for one in known], dtype=float)
    said = np.array([one.prediction.probability for one in known], dtype=float)
    share = float(came.mean()) if known else np.nan
    low, high = wilson(np.array([share]), np.array([float(len(known))])) if known else ([np.nan], [np.nan])
    return Scored(
        profile=key[0], step=key[1], kind=key[2], judged=len(known), came_true=int(came.sum()), hit_share=share,
        hit_low=float(low[0]), hit_high=float(high[0]), predicted=float(said.mean()) if known else np.nan,
        brier=float(((said - came) ** 2).mean()) if known else np.nan,
        brier_of_base=float(((share - came) ** 2).mean()) if known else np.nan,
        void=sum(one.outcome == "void" for one, _ in found), unknown=sum(one.outcome == "unknown" for one, _ in found),
        hindsight=sum(late for _, late in found),
    )  # fmt: skip


def plain(rows: list[Scored]) -> list[dict[str, Any]]:
    """For `squeeze.cli.show`."""
    return [msgspec.to_builtins(row) for row in rows]
