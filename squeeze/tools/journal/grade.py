"""What became of a prediction, from what the lake recorded after it.

Looks ahead by its nature: nothing live imports it. What was not recorded leaves a prediction unknown: a hole in the
price does not say that a level was not touched.
"""

import math
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from squeeze.market.events import MINUTE_NS
from squeeze.market.lake import Lake
from squeeze.market.steps import steps
from squeeze.spec import Spec
from squeeze.tools import fold
from squeeze.tools.reading.predictions import Prediction
from squeeze.tools.study.task import liquidations

Outcome = Literal["true", "false", "void", "unknown"]
"""`void`: its condition never came about, or neither of two was reached, so that it cannot be judged."""
GAP_SHARE = 0.02
"""Of the steps of a horizon: where more have no price, what did not happen is unknown."""


class MarkPath(NamedTuple):
    """The mark, step by step."""

    close_ns: np.ndarray
    low: np.ndarray
    high: np.ndarray
    close: np.ndarray
    until_ns: int
    """How far the lake reaches."""
    length_ns: int


class Graded(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction with its outcome."""

    prediction: Prediction
    outcome: Outcome
    why: str


def path_after(lake: Lake, spec: Spec, after_ns: int, until_ns: int, newest_ns: int) -> MarkPath:
    """The mark's range in each step that closes in (after, until]; the last price where the spec has no mark.

    `newest_ns` is how far the lake reaches.
    """
    market = msgspec.structs.replace(spec.market, venues=(), open_interest=None, funding=None, liquidations=None)
    plain = msgspec.structs.replace(
        spec, market=market, atlas=None, map=msgspec.structs.replace(spec.map, open_interest="volume"),
        frame=msgspec.structs.replace(spec.frame, channels=()),
    )  # fmt: skip
    length_ns = market.step_seconds * 10**9
    events = fold.recorded(lake, plain, after_ns - length_ns, until_ns)
    found = []
    for step in steps(events, market.symbol, length_ns, spec.map.bin_log):
        venue = market.bars.venue if market.mark is None else market.mark.venue
        part = step.venue(venue)
        candle = part.last if market.mark is None else part.mark
        if candle is not None and after_ns < step.close_ns <= until_ns:
            found.append((step.close_ns, candle.low, candle.high, candle.close))
    table = np.array(found, dtype=float).reshape(-1, 4)
    close_ns = np.array([row[0] for row in found], dtype=np.int64)
    low, high, close = table[:, 1], table[:, 2], table[:, 3]
    return MarkPath(close_ns, low, high, close, newest_ns, length_ns)


def graded(one: Prediction, at_ns: int, mark: float, path: MarkPath, lake: Lake, spec: Spec) -> Graded:
    """The outcome of a prediction made at `at_ns`, when the mark was so high."""
    end_ns = at_ns + one.horizon_minutes * MINUTE_NS
    if path.until_ns < end_ns:
        return Graded(prediction=one, outcome="unknown", why="its time is not over in the lake")
    if one.kind == "cascade":
        outcome, why = _cascade(one, at_ns, end_ns, lake, spec)
    else:
        inside = (path.close_ns > at_ns) & (path.close_ns <= end_ns)
        outcome, why = _by_price(one, mark, path, inside)
        share = 1 - inside.sum() / max((end_ns - at_ns) // path.length_ns, 1)
        if share > GAP_SHARE and outcome in ("false", "void"):
            outcome, why = "unknown", f"{share:.0%} of the time was not recorded"
    return Graded(prediction=one, outcome=outcome, why=why)


def _by_price(one: Prediction, mark: float, path: MarkPath, inside: np.ndarray) -> tuple[Outcome, str]:
    reached = [_first_beyond(level, mark, path, inside) for level in (one.near, one.far)]
    near, far = reached
    match one.kind:
        case "touched" | "target":
            return ("false" if near is None else "true"), _when(near, path)
        case "swept":
            return ("false" if far is None else "true"), _when(far, path)
        case "crossed":
            if near is None:
                return "void", "it was never entered"
            return ("false" if far is None else "true"), _when(far, path)
        case "first":
            if near is None and far is None:
                return "void", "neither was reached"
            if near == far:
                return "void", "both were reached in one step: which came first is not known"
            won = far is None or (near is not None and near < far)
            return ("true" if won else "false"), _when(near if won else far, path)
        case _:
            if not inside.any():
                return "unknown", "no price was recorded"
            moved = math.log(path.close[inside][-1] / mark)
            outcome: Outcome = "void" if moved == 0 else "true" if (moved > 0) == (one.side == 1) else "false"
            return outcome, f"moved {moved:+.2%}"


def _first_beyond(level: float | None, mark: float, path: MarkPath, inside: np.ndarray) -> int | None:
    """The first step whose range reaches a level, from the side on which the mark was."""
    if level is None:
        return None
    hit = inside & ((path.high >= level) if level >= mark else (path.low <= level))
    return int(np.argmax(hit)) if hit.any() else None


def _when(at: int | None, path: MarkPath) -> str:
    if at is None:
        return "not reached"
    return f"by {np.datetime64(int(path.close_ns[at]), 'ns').astype('datetime64[s]')}Z"


def _cascade(one: Prediction, at_ns: int, end_ns: int, lake: Lake, spec: Spec) -> tuple[Outcome, str]:
    """More than the threshold of a side liquidated in [t, t + horizon), as the label has it."""
    found = liquidations(lake, spec, at_ns, end_ns + 24 * 60 * MINUTE_NS)
    if found is None or one.threshold_usd is None:
        return "unknown", "no liquidations are configured"
    if found.cadence_ns:
        inside = (found.times_ns > at_ns) & (found.times_ns <= end_ns)
        whole = np.unique(found.times_ns[inside]).size * found.cadence_ns >= end_ns - at_ns
    else:
        inside = (found.times_ns >= at_ns) & (found.times_ns < end_ns)
        around = liquidations(lake, spec, at_ns - 24 * 60 * MINUTE_NS, end_ns + 24 * 60 * MINUTE_NS)
        assert around is not None  # noqa: S101
        whole = any(begin <= at_ns and end >= end_ns for begin, end in around.recorded_ns.tolist())
    usd = float(found.usd[inside & (found.side == one.side)].sum())
    said = f"{usd:,.0f} USD were liquidated"
    if usd > one.threshold_usd:
        return "true", said
    return ("false", said) if whole else ("unknown", "liquidations were not recorded all the time")
