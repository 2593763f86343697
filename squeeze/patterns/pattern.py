"""What every pattern is: a name, thresholds, a memory, and one compiled function; and what it finds.

A pattern is a module of this package with

    NAME      what it is called in scalars, reasons and configuration
    EVIDENCE  names of the numbers that its finding rests on, at most `EVIDENCE_ROOM`
    REASON    how a flagged finding reads to a person, a format string over `EVIDENCE`, `side` and `score`
    Thresholds  a `Strict` struct of numbers, each with a sentence
    MEMORY    the dtype of what it remembers between steps; `NOTHING` for none
    detect(scene, thresholds, memory, out)
              compiled; reads a `Scene`, may change its memory, and fills `out`, one `FINDING` for each side

`detect` knows nothing but what it is handed, so that history and the live path find the same; it writes every field of
`out`. A score is NaN where it cannot be told, and then the flag is 0. Side 0 is about longs and a fall of the price,
side 1 about shorts and a rise; where a pattern has no side, both say the same. Memory begins as zeros.
"""

from typing import Any

import msgspec
import numpy as np

from squeeze.strict import Strict

EVIDENCE_ROOM = 6

FINDING = np.dtype(
    [("score", "f8"), ("flag", "i8"), ("known_at_ns", "i8"), ("evidence", "f8", (EVIDENCE_ROOM,))], align=True
)
"""Score, whether the default flag is up, when it could be known, and the evidence."""

NOTHING = np.dtype([("unused", "i8")])
"""The memory of a pattern that needs none."""


class Finding(msgspec.Struct, frozen=True):
    """One pattern on one side, as a person or a message reads it."""

    pattern: str
    side: int
    score: float
    flag: bool
    known_at_ns: int
    evidence: dict[str, float]
    reason: str
    """One clause in plain words; empty unless flagged."""


def thresholds_record(thresholds: Strict) -> np.ndarray:
    """(1,) record of a struct of numbers, for compiled code."""
    names = thresholds.__struct_fields__
    row = tuple(float(getattr(thresholds, name)) for name in names)
    return np.array([row], dtype=np.dtype([(name, "f8") for name in names], align=True))


def finding(module: Any, side: int, found: np.void) -> Finding:
    """A row of FINDING in words."""
    score, is_up, known_at_ns, _ = found.item()
    evidence = dict(zip(module.EVIDENCE, found["evidence"].tolist(), strict=False))
    flag, words = bool(is_up), ""
    if flag:
        words = module.REASON.format(**evidence, side=("below", "above")[side], score=score)
        words = words.replace("nan%", "unknown").replace("nan", "unknown")  # what was not recorded
    return Finding(module.NAME, side, score, flag, known_at_ns, evidence, words)
