"""Figures of rows whose outcome is known: each a pure function of arrays, of one side and one horizon."""

import math
from typing import NamedTuple

import msgspec
import numpy as np

from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.tools.drawing import wilson
from squeeze.tools.scorecard.spec import ScorecardSpec

NAN = math.nan
EDGE = 1e-6
"""A probability nearer to 0 or 1 counts as this far from it where log odds are taken."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How many of some came true, with Wilson's 95 % interval as if they were independent."""

    of: int
    came: int
    share: float
    low: float
    high: float


class TopK(msgspec.Struct, frozen=True, kw_only=True):
    """Precision of the rows of highest probability, none within a horizon of another."""

    k: int
    precision: Share


class AlarmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of alarms above the card's threshold."""

    threshold: float
    precision: Share
    false_a_day: float
    """Of the recorded days."""
    lead_minutes: tuple[float, float, float]
    """First quartile, median and third quartile of the time from an alarm's first row to its event."""


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of like probability."""

    rows: int
    said: float
    came: float


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """Reliability of one UTC month."""

    month: str
    rows: int
    came: int
    brier: float
    slope: float
    """Of the logistic recalibration, 1 where it is right; NaN where too few came true."""
    bins: tuple[Bin, ...]


class Found(NamedTuple):
    """Alarms, in rising time: when each began, whether its event came, and how long that took."""

    ts_ns: np.ndarray
    came: np.ndarray
    lead_ns: np.ndarray


def share(came: int, of: int) -> Share:
    """A share with its interval; NaN of none.

    >>> found = share(2, 10)
    >>> found.share, round(found.low, 4), round(found.high, 4)
    (0.2, 0.0567, 0.5098)
    """
    if not of:
        return Share(of=0, came=0, share=NAN, low=NAN, high=NAN)
    low, high = wilson(np.array([came / of]), np.array([float(of)]))
    return Share(of=of, came=came, share=came / of, low=float(low[0]), high=float(high[0]))


def top(ts_ns: np.ndarray, p: np.ndarray, truth: np.ndarray, horizon_ns: int, k: int) -> TopK:
    """Precision of the k rows of highest probability, of equal ones the earlier first.

    A row less than a horizon from one that was taken is passed over: it would count the same event again.
    """
    taken: list[int] = []
    for place in np.argsort(-p, kind="stable").tolist():
        if len(taken) == k:
            break
        if all(abs(int(ts_ns[place] - ts_ns[other])) >= horizon_ns for other in taken):
            taken.append(place)
    return TopK(k=k, precision=share(int(truth[taken].sum()), len(taken)))


def alarms(
    ts_ns: np.ndarray, p: np.ndarray, truth: np.ndarray, came_ns: np.ndarray, threshold: float, horizon_ns: int,
    merge_ns: int,
) -> Found:  # fmt: skip
    """Alarms of rows in rising time: those that follow each other are one, as long as the claim of the first lasts.

    An alarm's event came if it did so after any of its rows; its lead is from the first row to the earliest event.
    """
    loud = np.flatnonzero(p >= threshold)
    began: list[int] = []
    came: list[bool] = []
    lead: list[int] = []
    first_ns = last_ns = 0
    for place in loud.tolist():
        at = int(ts_ns[place])
        is_new = not began or at - last_ns > merge_ns or at >= first_ns + horizon_ns
        if is_new:
            first_ns = at
            began.append(at)
            came.append(False)
            lead.append(-1)
        last_ns = at
        if truth[place]:
            if not came[-1]:
                lead[-1] = int(came_ns[place]) - first_ns
            came[-1] = True
    return Found(np.array(began, np.int64), np.array(came, bool), np.array(lead, np.int64))


def alarm_figures(found: Found, threshold: float, days: float) -> AlarmFigures:
    """Precision, false alarms a day and lead of alarms."""
    leads = found.lead_ns[found.came] / MINUTE_NS
    quarters = tuple(float(q) for q in np.quantile(leads, [0.25, 0.5, 0.75])) if len(leads) else (NAN, NAN, NAN)
    return AlarmFigures(
        threshold=threshold,
        precision=share(int(found.came.sum()), len(found.came)),
        false_a_day=float((~found.came).sum() / days) if days > 0 else NAN,
        lead_minutes=quarters,  # type: ignore[arg-type]
    )


def brier(p: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared error of probabilities; NaN of none."""
    return float(((p - truth) ** 2).mean()) if len(p) else NAN


def months(ts_ns: np.ndarray, p: np.ndarray, truth: np.ndarray, spec: ScorecardSpec) -> tuple[Month, ...]:
    """Reliability by UTC month, in rising time."""
    of = (ts_ns // DAY_NS).astype("datetime64[D]").astype("datetime64[M]")
    return tuple(_month(str(month), p[of == month], truth[of == month], spec) for month in np.unique(of))


def _month(name: str, p: np.ndarray, truth: np.ndarray, spec: ScorecardSpec) -> Month:
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, spec.bins) if len(part)]
    came = int(truth.sum())
    enough = min(came, len(truth) - came) >= spec.slope_events
    return Month(
        month=name,
        rows=len(p),
        came=came,
        brier=brier(p, truth),
        slope=calibration_slope(p, truth) if enough else NAN,
        bins=tuple(Bin(rows=len(i), said=float(p[i].mean()), came=float(truth[i].mean())) for i in parts),
    )


def calibration_slope(p: np.ndarray, truth: np.ndarray) -> float:
    """Slope b of logit P(came) = a + b logit p by maximum likelihood (Newton); NaN where there is no single best.

    Source: D. R. Cox, Biometrika 45 (1958), 562. Below 1 the probabilities are too far apart, above 1 too close.
    """
    held = np.clip(p, EDGE, 1 - EDGE)
    x = np.log(held / (1 - held))
    if np.ptp(x) < EDGE:
        return NAN
    design = np.stack([np.ones_like(x), x], axis=1)
    weights = np.array([0.0, 1.0])
    for _ in range(50):
        fitted = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if np.linalg.cond(curvature) > 1e12:
            return NAN
        move = np.linalg.solve(curvature, design.T @ (truth - fitted))
        weights = weights + move
        if np.abs(move).max() < 1e-9:
            return float(weights[1])
    return NAN
