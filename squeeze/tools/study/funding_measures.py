"""Claims about funding extremes: what price and longs do after the rate first crosses a border."""

import numpy as np
from jaxtyping import Bool, Float, Int64

from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.tools.study.cascade_measures import Events
from squeeze.tools.study.places import forward_return
from squeeze.tools.study.question import Market, Question

CROWDED_LONG = 5e-4
"""Funding per 8 hours over which longs are crowded ..."""
CROWDED_SHORT = -3e-4
"""... and under which shorts are."""
CLUSTER_HOURS = 24.0


def crossings(
    times_ns: Int64[np.ndarray, " settlement"], extreme: Bool[np.ndarray, " settlement"], cluster_ns: int
) -> Int64[np.ndarray, " crossing"]:
    """Times at which an extreme begins; settlements closer than `cluster_ns` to the last extreme one belong to it.

    >>> crossings(np.array([0, 8, 16, 24, 60]), np.array([False, True, True, False, True]), 24).tolist()
    [8, 60]
    """
    hits = times_ns[extreme]
    return np.asarray(hits[np.diff(hits, prepend=-(2**62)) >= cluster_ns])


def funding_extremes(
    market: Market,
    times_ns: Int64[np.ndarray, " settlement"],
    per_8h: Float[np.ndarray, " settlement"],
    events: Events | None,
) -> list[Question]:
    """Forward return over 8 and 24 h after funding first crossed a border, and how often the crowded side cascades.

    Settled rates, known at settlement. The null is matched times at which the last settled rate was not extreme.
    """
    held = market.held
    last = np.searchsorted(times_ns, held.closes_ns, "right") - 1
    asked = []
    borders = (("over +0.05 %", 0, per_8h > CROWDED_LONG), ("under -0.03 %", 1, per_8h < CROWDED_SHORT))
    for name, side, extreme in borders:
        begun = crossings(times_ns, extreme, round(CLUSTER_HOURS * HOUR_NS))
        is_calm = (last >= 0) & held.seen & ~np.append(extreme, False)[last]
        at, calm = held.step_at(begun), np.flatnonzero(is_calm)
        if not len(begun):
            needs = "a settled rate per 8 h beyond the border"
            asked.append(Question("funding", f"after funding {name}", "log return", None, "crossings", None, needs, 0))
            continue
        for hours in (8, 24):
            ahead = forward_return(held.close, held.steps_in(60 * hours))
            sample = market.matched(at, ahead[at], calm, ahead)
            asked.append(
                Question("funding", f"return in {hours} h after funding {name}", "log return", sample, "crossings")
            )
        if events is not None:
            follows = cascade_follows(held.closes_ns, events, side, 24 * 60 * MINUTE_NS)
            figure = f"a {('long', 'short')[side]} cascade within 24 h after funding {name}"
            sample = market.matched(at, follows[at], calm, follows)
            asked.append(Question("funding", figure, "share", sample, f"crossings; {events.name}"))
    return asked


def cascade_follows(
    closes_ns: Int64[np.ndarray, " step"], events: Events, side: int, within_ns: int
) -> Float[np.ndarray, " step"]:
    """1 where a cascade of the side begins within the time after a step, 0 where not, NaN where it could be missed."""
    onsets = np.sort(events.cascades.onset_ns[events.cascades.side == side])
    count = np.searchsorted(onsets, closes_ns + within_ns, "right") - np.searchsorted(onsets, closes_ns, "right")
    steps = max(1, round(within_ns / (closes_ns[1] - closes_ns[0]))) if len(closes_ns) > 1 else 1
    running = np.concatenate([[0], np.cumsum(events.could[:, side])])
    at = np.arange(len(closes_ns))
    watched = (at + steps <= len(closes_ns)) & (running[np.minimum(at + steps, len(closes_ns))] - running[at] == steps)
    return np.asarray(np.where(watched, (count > 0).astype(float), np.nan))
