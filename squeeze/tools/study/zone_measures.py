"""Claims about zones: reversals near them, punched through or not, swept with the trend, and what draws price."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from squeeze.tools.study.compare import Group, Sample
from squeeze.tools.study.history import History
from squeeze.tools.study.matching import UNKNOWN, trailing_rank
from squeeze.tools.study.places import (
    SIGNS,
    ahead_extreme,
    crossed_first,
    forward_return,
    nearest_zones,
    zigzag,
    zone_distance,
)
from squeeze.tools.study.question import Market, Question, stack

HEAVY = 0.40
"""|A_2| from which a side counts as heavier."""
THIN = 0.40
TREND = 0.5
"""Standard deviations of the last four hours' return from which there is a trend."""
SAME_LOG = 0.002
"""Zones of different hours are one if their centroids are at most this far apart."""
PSEUDO = 10
"""Pseudo-zones for each touch, at the most."""


def reversals(market: Market, reversal: float = 0.01, within: float = 0.005) -> list[Question]:
    """Share of zigzag extremes within 0.5 % of a zone that was known five minutes before.

    The null is every other bar that made a new extreme of its swing, which price then went beyond: zones lie beyond
    what price has swept, so that any new extreme is near them, and the path itself would be no fair null (in a
    simulated market whose zones mean nothing it is exceeded twofold). A low is compared with lows, a high with highs,
    and every zone of either side counts.
    """
    held = market.held
    swings = zigzag(held.high, held.low, reversal)
    lag = held.steps_in(5)
    samples = []
    for kind, price in enumerate((held.low, held.high)):
        distance = zone_distance(held, price, lag, np.ones(len(held.zones.step), bool), to_band=True)
        is_near = np.where(np.isnan(distance), np.nan, distance <= within)
        own = swings.turns[swings.kinds == kind]
        others = np.setdiff1d(swings.running[swings.running_kinds == kind], own)
        samples.append(market.matched(own, is_near[own], others[np.isfinite(is_near[others])], is_near))
    figure = f"reversals of {100 * reversal:g} % within {100 * within:g} % of a zone, of all new extremes of a swing"
    return [Question("reversals", figure, "share", stack(samples), "zigzag extremes", 0.68)]


@dataclass(frozen=True, slots=True, eq=False)
class Touches:
    """First touches of a zone's near edge: the step of the map, the side, near and far distance, and thickness."""

    step: Int[np.ndarray, " touch"]
    side: Int[np.ndarray, " touch"]
    near_log: Float[np.ndarray, " touch"]
    far_log: Float[np.ndarray, " touch"]
    thickness: Float[np.ndarray, " touch"]

    def where(self, kept: np.ndarray) -> "Touches":
        """The touches of a mask or of positions."""
        return Touches(self.step[kept], self.side[kept], self.near_log[kept], self.far_log[kept], self.thickness[kept])


def touches(held: History, apart_minutes: float = 60.0) -> Touches:
    """Steps after which the next bar touched the nearest zone of a side, the first within each hour."""
    rows_, steps_ = [], []
    for side in range(2):
        row = nearest_zones(held, side)
        at = np.flatnonzero((row[:-1] >= 0) & (held.zones.near_log[row[:-1]] > 0))
        edge = held.close[at] * np.exp(SIGNS[side] * held.zones.near_log[row[at]])
        hit = at[held.low[at + 1] <= edge] if side == 0 else at[held.high[at + 1] >= edge]
        first = _apart(hit, held.steps_in(apart_minutes))
        rows_.append(row[first])
        steps_.append(first)
    rows, steps = np.concatenate(rows_), np.concatenate(steps_)
    zones = held.zones
    return Touches(steps, zones.side[rows], zones.near_log[rows], zones.far_log[rows], zones.thickness[rows])


def punched_through(market: Market, seed: int = 0) -> list[Question]:
    """Share of touched zones that price crosses by 0.1 % before it retreats 0.5 % from the near edge, by thickness.

    The null is a pseudo-zone: the same distance and width from the mark at another time, in the same volatility decile
    and distance decile, where no zone was and price came to touch it. Thickness is ranked over the study.
    """
    held, decile = market.held, market.setting.volatility_decile
    found = touches(held)
    found = found.where(np.argsort(found.step, kind="stable"))
    outcome = crossings(held, found)
    bins = (
        np.searchsorted(np.quantile(found.near_log, np.arange(1, 10) / 10), found.near_log)
        if len(found.step)
        else found.side
    )
    stratum = 20 * decile[found.step] + 2 * bins + found.side
    pseudo, owner = pseudo_touches(held, found, decile, np.random.default_rng(seed))
    others = Group(crossings(held, pseudo), np.ones(len(owner)), pseudo.step, stratum[owner])
    events = Group(outcome, np.ones(len(outcome)), found.step, stratum)
    third = (
        np.searchsorted(np.quantile(found.thickness, (1 / 3, 2 / 3)), found.thickness) if len(outcome) else found.side
    )
    asked = []
    for part, name in enumerate((*("thinnest", "middle", "thickest"), "all")):
        kept = np.ones(len(third), bool) if name == "all" else third == part
        sample = Sample(events.where(kept & (stratum >= 0)), others.where(np.isin(owner, np.flatnonzero(kept))))
        figure = f"touched zones punched through, {name} third" if name != "all" else "touched zones punched through"
        asked.append(Question("punched_through", figure, "share", sample, "first touches of the nearest zone"))
    return asked


def crossings(held: History, found: Touches, hours: float = 24.0) -> Float[np.ndarray, " touch"]:
    """1 where a touched zone was crossed before a retreat, 0 where not, NaN where it cannot be told."""
    most = held.steps_in(60 * hours)
    out = np.full(len(found.step), np.nan)
    for i, (step, side, near, far) in enumerate(
        zip(found.step.tolist(), found.side.tolist(), found.near_log, found.far_log, strict=True)
    ):
        mark, sign = held.close[step], SIGNS[side]
        edges = float(mark * np.exp(sign * near)), float(mark * np.exp(sign * far))
        out[i] = crossed_first(held, step + 1, *edges, side, 0.001, 0.005, most)
    return out


def pseudo_touches(
    held: History, found: Touches, decile: np.ndarray, rng: np.random.Generator
) -> tuple[Touches, Int[np.ndarray, " pseudo"]]:
    """Touches of the same distance and width where no zone of that side was; with the touch that each stands for."""
    zones = held.zones
    first = np.searchsorted(zones.step, np.arange(len(held.close) + 1))
    pools = {d: np.flatnonzero((decile[:-1] == d) & held.seen[:-1]) for d in np.unique(decile).tolist() if d >= 0}
    steps, owners = [], []
    for i, (step, side) in enumerate(zip(found.step.tolist(), found.side.tolist(), strict=True)):
        pool = pools.get(int(decile[step]))
        if pool is None:
            continue
        near, far = found.near_log[i], found.far_log[i]
        tried = rng.choice(pool, size=min(len(pool), 400), replace=False)
        edge = held.close[tried] * np.exp(SIGNS[side] * near)
        tried = tried[held.low[tried + 1] <= edge] if side == 0 else tried[held.high[tried + 1] >= edge]
        free = []
        for at in tried.tolist():
            own = slice(int(first[at]), int(first[at + 1]))
            overlaps = (zones.side[own] == side) & (zones.near_log[own] <= far) & (zones.far_log[own] >= near)
            if not overlaps.any():
                free.append(at)
            if len(free) == PSEUDO:
                break
        steps += free
        owners += [i] * len(free)
    owner = np.array(owners, np.int64)
    return replace(found.where(owner), step=np.array(steps, np.int64)), owner


def swept_with_trend(market: Market) -> list[Question]:
    """Share of nearest zones whose centroid price reaches within four hours, with the trend against counter to it.

    Hourly. Matched on volatility decile and on distance in quarters of the standard deviation of four hours.
    """
    held, setting = market.held, market.setting
    count = held.steps_in(240)
    extremes = ahead_extreme(held.low, count, False), ahead_extreme(held.high, count, True)
    sigma = np.where(setting.sigma_4h_log > 0, setting.sigma_4h_log, np.nan)
    hourly = _hourly(held)
    samples = []
    for side, sign in enumerate(SIGNS):
        row = nearest_zones(held, side)
        at = hourly[row[hourly] >= 0]
        centroid = held.zones.centroid_log[row[at]]
        level = held.close[at] * np.exp(sign * centroid)
        reached = extremes[0][at] <= level if side == 0 else extremes[1][at] >= level
        value = np.where(np.isfinite(extremes[side][at]), reached, np.nan)
        bins = np.minimum(centroid / sigma[at], 5.0) * 4
        good = np.isfinite(bins) & (setting.volatility_decile[at] >= 0)
        stratum = 10 * np.nan_to_num(bins).astype(np.int64) + setting.volatility_decile[at]
        group = Group(value, np.ones(len(at)), at, stratum)
        toward = sign * setting.trend[at]
        samples.append(Sample(group.where(good & (toward >= TREND)), group.where(good & (toward <= -TREND))))
    figure = "nearest zones reached within 4 h, with the trend rather than against it"
    return [Question("swept_with_trend", figure, "share", stack(samples), "hourly, nearest zone of a side")]


def heavier_side(market: Market, minutes: float = 60.0) -> list[Question]:
    """Forward return toward the side that holds more mass within 2 %, where |A_2| is at least 0.4.

    The null is the forward return, in the same direction, of times with balanced sides and a past return of the same
    trailing decile: the asymmetry follows the past return mechanically, and only what exceeds it says anything.
    """
    held, setting = market.held, market.setting
    ahead = forward_return(held.close, held.steps_in(minutes))
    below, above = held.ahead_share.T
    with np.errstate(invalid="ignore", divide="ignore"):
        asymmetry = (above - below) / (above + below)
    past = trailing_rank(np.where(held.seen, setting.return_4h_log, np.nan), held.closes_ns, 10)
    at = _hourly(held)
    at = at[(past[at] != UNKNOWN) & np.isfinite(asymmetry[at])]
    asked = []
    for unit, value in (("log return", ahead), ("share", None)):
        samples = []
        for sign in SIGNS:
            toward = sign * ahead if value is not None else np.where(np.isfinite(ahead), sign * ahead > 0, np.nan)
            group = Group(toward[at], np.ones(len(at)), at, past[at])
            heavy = sign * asymmetry[at] >= HEAVY
            samples.append(Sample(group.where(heavy), group.where(np.abs(asymmetry[at]) < HEAVY)))
        figure = f"{'return' if value is not None else 'moves'} toward the heavier side in {minutes:g} min"
        asked.append(Question("heavier_side", figure, unit, stack(samples), "hourly, |A_2| ≥ 0.4"))
    return asked


def thinning(market: Market) -> list[Question]:
    """Share of hours after which price moves by two standard deviations, once a major zone thinned by 40 % in 6 h.

    The zone is the nearest major one of a side, if the mark has not touched it in those hours; the null is such a zone
    that did not thin. The first hour of a thinning counts; the move may go either way, by the last hour's deviation.
    """
    held, setting = market.held, market.setting
    ahead = np.abs(forward_return(held.close, held.steps_in(60)))
    is_big = np.where(np.isfinite(ahead), ahead >= 2 * setting.sigma_1h_log, np.nan)
    hourly = _hourly(held)
    samples = []
    for side in range(2):
        thinned = thinned_share(held, hourly, side)
        thin = thinned >= THIN
        begins = thin & ~np.concatenate([np.zeros(1, bool), thin[:-1]])
        own, others = hourly[begins], hourly[thinned < THIN]
        samples.append(market.matched(own, is_big[own], others, is_big))
    figure = "moves of 2 σ in the hour after a major zone thinned by 40 %"
    return [Question("thinning", figure, "share", stack(samples), "hourly, nearest untouched major zone of a side")]


def thinned_share(held: History, at: Int[np.ndarray, " row"], side: int) -> Float[np.ndarray, " row"]:
    """1 - mass / its most in the six hours before, of the nearest major zone of a side; NaN if the mark touched it.

    By the hour, a zone is the one whose centroid lies within 0.2 % (domain.md §4.1); masses are shares of open
    interest, so that what all positions lose alike is no thinning.
    """
    zones, hour = held.zones, held.steps_in(60)
    nearest = nearest_zones(held, side, zones.is_major)
    place_log = np.log(held.close[zones.step]) + SIGNS[side] * zones.centroid_log
    first = np.searchsorted(zones.step, np.arange(len(held.close) + 1))
    out = np.full(len(at), np.nan)
    for i, step in enumerate(at.tolist()):
        row = nearest[step]
        if row < 0 or step < 6 * hour:
            continue
        edge = held.close[step] * np.exp(SIGNS[side] * zones.near_log[row])
        past = slice(step - 6 * hour, step + 1)
        is_off = held.low[past].min() > edge if side == 0 else held.high[past].max() < edge
        if not is_off:  # nor where a bar is missing
            continue
        most = zones.mass_share[row]
        for before in range(step - 6 * hour, step, hour):
            own = slice(int(first[before]), int(first[before + 1]))
            same = (zones.side[own] == side) & (np.abs(place_log[own] - place_log[row]) <= SAME_LOG)
            most = max(most, zones.mass_share[own][same].max(initial=0.0))
        out[i] = 1 - zones.mass_share[row] / most
    return out


def _hourly(held: History) -> Int[np.ndarray, " row"]:
    """Seen steps at the full hour."""
    return np.flatnonzero(held.seen & (held.closes_ns % 3_600_000_000_000 == 0))


def _apart(steps: Int[np.ndarray, " row"], least: int) -> Int[np.ndarray, " taken"]:
    """The first of the steps, then each that comes at least so many after the last one taken."""
    taken: list[int] = []
    for step in steps.tolist():
        if not taken or step - taken[-1] >= least:
            taken.append(step)
    return np.array(taken, np.int64)
