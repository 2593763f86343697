"""Claims about cascades: where they start, how long they last, what volume and price do after."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Int64

from squeeze.arrays import SIDES
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.outcomes import Cascades
from squeeze.tools.study.compare import Group, Sample
from squeeze.tools.study.history import History, rolling_mean
from squeeze.tools.study.matching import away_from
from squeeze.tools.study.places import SIGNS, forward_return, nearest_zones, zone_distance
from squeeze.tools.study.question import Market, Question, stack

FROZEN_MINUTES = 15.0
"""The map is the one of so long before the onset."""
APART_MINUTES = 60.0
"""Matched times lie further than this from every cascade."""
HIT_MINUTES = 10.0
NEAR = (0.0025, 0.005, 0.01, 0.02)


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Cascades under a name, and the steps at which one could have been found: recorded, and the map seen."""

    name: str
    cascades: Cascades
    could: np.ndarray
    """(step, side) whether an onset just after the step would have been found."""
    ends_need: str = ""
    """What is missing to tell when one ended."""

    @property
    def earliest_ns(self) -> Int64[np.ndarray, " event"]:
        """The latest time that is surely not after the onset."""
        return np.asarray(self.cascades.onset_ns - self.cascades.resolution_ns)

    def candidates(self, held: History, side: int) -> Int[np.ndarray, " row"]:
        """Steps at which one could have begun, away from all that did."""
        steps = np.flatnonzero(self.could[:, side])
        margin_ns = round(APART_MINUTES * MINUTE_NS)
        return np.asarray(steps[away_from(steps, held.closes_ns, self.earliest_ns, self.cascades.end_ns, margin_ns)])


def near_zones(market: Market, events: Events) -> list[Question]:
    """Share of onsets with a same-side zone of the map frozen before them within each distance: major ones, then any.

    A zone's distance is that of its centroid, the price that of the last step before the onset. Asked twice: against
    times of the same hour of week and volatility, and against times as far from the last four hours' extreme.
    """
    held, found = market.held, events.cascades
    at = held.step_at(events.earliest_ns)
    lag = held.steps_in(FROZEN_MINUTES)
    candidates = [events.candidates(held, side) for side in range(2)]
    rivals: tuple[list[list[np.ndarray] | None], ...] = (
        [None, None],
        [market.setting.extreme_keys(side) for side in range(2)],
    )
    asked = []
    for name, chosen in (("major zone", held.zones.is_major), ("zone", np.ones(len(held.zones.side), bool))):
        distances = [zone_distance(held, held.close, lag, chosen & (held.zones.side == side)) for side in range(2)]
        for within, (keys, suffix) in itertools.product(
            NEAR, zip(rivals, ("", ", matched on the last extreme"), strict=True)
        ):
            samples = []
            for side, distance in enumerate(distances):
                is_near = np.where(np.isnan(distance), np.nan, distance <= within)
                own = at[(found.side == side) & (at >= 0)]
                samples.append(market.matched(own, is_near[own], candidates[side], is_near, keys=keys[side]))
            figure = f"cascades that start within {100 * within:g} % of a {name}{suffix}"
            claim = 0.73 if within == 0.02 and name == "major zone" else None
            asked.append(Question("near_zones", figure, "share", stack(samples), events.name, claim))
    return asked


def hit_to_end(market: Market, by_rule: dict[float, Events]) -> list[Question]:
    """Median seconds from the first touch of the nearest zone's near edge to the end, by end rule.

    Needs prints and marks of a minute or finer; the touch is placed at the close of its bar, so it may be a bar early.
    The time from onset to end needs prints alone.
    """
    held = market.held
    asked = []
    for share, events in by_rule.items():
        found = events.cascades
        rule = f"end at {100 * share:g} % of the peak"
        lasted = (found.end_ns - found.onset_ns) / SECOND_NS
        hits_ns = hit_times(held, found)
        hit = hits_ns >= 0
        from_hit = (found.end_ns[hit] - hits_ns[hit]) / SECOND_NS
        questions = (
            ("hit to completion", from_hit, found.onset_ns[hit], events.ends_need or _lacks_minutes(held)),
            ("onset to completion", lasted, found.onset_ns, events.ends_need),
        )
        for what, seconds, at_ns, needs in questions:
            step = np.maximum(held.step_at(at_ns), 0)
            sample = None if needs else _constant(seconds, step, 42.0)
            note = "the null is the claim; a sum over 60 s takes up to 60 s to fall"
            asked.append(
                Question("hit_to_end", f"{what}, {rule}", "seconds", sample, events.name, 42.0, needs, len(step), note)
            )
    return asked


def hit_times(held: History, found: Cascades) -> Int64[np.ndarray, " event"]:
    """When the mark first touched the near edge of the nearest same-side zone, in the ten minutes before; or -1.

    The zone is that of the map frozen `FROZEN_MINUTES` before the onset.
    """
    lag = held.steps_in(FROZEN_MINUTES)
    nearest = [nearest_zones(held, side) for side in range(2)]
    out = np.full(len(found), -1, np.int64)
    at = held.step_at(found.onset_ns - found.resolution_ns)
    for i, (onset_ns, side, step) in enumerate(
        zip(found.onset_ns.tolist(), found.side.tolist(), at.tolist(), strict=True)
    ):
        row = nearest[side][step - lag] if step >= lag else -1
        if row < 0:
            continue
        edge = held.close[step - lag] * np.exp(SIGNS[side] * held.zones.near_log[row])
        first, last = np.searchsorted(held.closes_ns, [onset_ns - HIT_MINUTES * MINUTE_NS, onset_ns], "right")
        bars = np.arange(first, min(last + 1, len(held.close)))
        touched = held.low[bars] <= edge if side == 0 else held.high[bars] >= edge
        if touched.any():
            out[i] = min(int(held.closes_ns[bars[np.argmax(touched)]]), onset_ns)
    return out


def volume(market: Market, events: Events) -> list[Question]:
    """Volume of the bar that opens at or after an end (or onset), beside the mean of the hour before the onset.

    As the ratio of means and as the median of ratios; the null is the same ratio at matched times, one bar after them.
    """
    held, found = market.held, events.cascades
    seconds = held.length_ns // SECOND_NS
    ratio_name = f"volume in the {seconds} s after a cascade's {{}}, of the mean {seconds} s of the hour before"
    before = rolling_mean(held.volume_base, held.steps_in(60))
    after = np.append(held.volume_base[1:], np.nan)
    onset = held.step_at(events.earliest_ns)
    asked = []
    for anchor, at_ns in (("end", found.end_ns), ("onset", found.onset_ns)):
        needs = events.ends_need
        place = np.searchsorted(held.closes_ns - held.length_ns, at_ns, "left")
        inside = (onset >= 0) & (place < len(held.close))
        over, under = held.volume_base[place[inside]], before[onset[inside]]
        for is_median in (False, True):
            figure = ratio_name.format(anchor) + (", median of ratios" if is_median else ", ratio of means")
            if needs:
                asked.append(Question("volume", figure, "ratio", None, events.name, 3.2, needs, len(found)))
                continue
            candidates = np.intersect1d(events.candidates(held, 0), events.candidates(held, 1))
            sample = market.matched(onset[inside], over, candidates, after, under, before)
            note = "" if seconds <= 60 else f"by bars of {seconds} s: the claim is about 60 s"
            asked.append(
                Question("volume", figure, "ratio", replace(sample, is_median=is_median), events.name, 3.2, "", 0, note)
            )
    return asked


def onward(market: Market, events: Events) -> list[Question]:
    """Log return from the first close after an end, in the cascade's direction: positive is continuation."""
    held, found = market.held, events.cascades
    needs = events.ends_need
    at = held.step_at(found.end_ns) + 1
    asked = []
    for minutes in (15, 60):
        figure = f"return onward in the {minutes} min after a cascade"
        if needs:
            asked.append(Question("onward", figure, "log return", None, events.name, None, needs, len(found)))
            continue
        ahead = forward_return(held.close, held.steps_in(minutes))
        samples = []
        for side in range(2):
            own = at[(found.side == side) & (at < len(held.close))]
            toward = SIGNS[side] * ahead
            samples.append(market.matched(own, toward[own], events.candidates(held, side), toward))
        asked.append(Question("onward", figure, "log return", stack(samples), events.name, None, "", 0, "before costs"))
    return asked


def counts(events: Events) -> dict[str, object]:
    """How many there are, and what could not be evaluated."""
    found = events.cascades
    sides = {side: int((found.side == s).sum()) for s, side in enumerate(SIDES)}
    return {"events": events.name, **sides, "not_evaluated": list(found.not_evaluated)}


def _constant(values: Float[np.ndarray, " row"], step: np.ndarray, claim: float) -> Sample:
    """A median beside a claimed constant."""
    ones, zeros = np.ones(len(values)), np.zeros(len(values), np.int64)
    events = Group(values, ones, step, zeros)
    return Sample(events, replace(events, over=np.full(len(values), claim)), True)


def _lacks_minutes(held: History) -> str:
    seconds = held.length_ns // SECOND_NS
    return f"marks of 60 s or finer; there are bars of {seconds} s" if seconds > 60 else ""
