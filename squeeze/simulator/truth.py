"""What only the simulator knows: every position, so the true map of any minute; who left; which walls meant it; and
where cascades began.

All of it but `onsets` needs a market simulated with `detail`. A minute's truth is that of its close.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.simulator.kernel import (
    EATEN,
    GENUINE,
    HANDED,
    LEFT,
    NETTED,
    PLACED,
    REMOVED,
    STANDS,
    WALL_END,
    WALL_PRICE,
    WALL_SIDE,
    WALL_USD,
    WALL_VENUE,
)
from squeeze.simulator.market import SimulatedMarket

LEAVING = (HANDED, NETTED, LEFT)
"""Ends of a position that its holder chose."""
MINUTE = 60 * SECOND_NS


@dataclass(frozen=True)
class Ledger:
    """Every position, a row each; one of which a part was closed, or whose margin changed, has several.

    Sub-steps count from the start of the recording, so those of the warm-up are below zero.
    """

    opened: Int64[np.ndarray, " position"]
    closed: Int64[np.ndarray, " position"]
    """The largest whole number while it is open."""
    why: Int64[np.ndarray, " position"]
    """How it ended: `OPEN`, `HANDED`, `NETTED`, `LIQUIDATED`, `STOPPED`, `LEFT` or `MARGIN` of `kernel`."""
    venue: Int64[np.ndarray, " position"]
    side: Int64[np.ndarray, " position"]
    is_cross: Bool[np.ndarray, " position"]
    lots: Int64[np.ndarray, " position"]
    origin: Int64[np.ndarray, " position"]
    """The row that a part began as; the same for all parts of a position."""
    entry: Float[np.ndarray, " position"]
    """Price."""
    liquidation: Float[np.ndarray, " position"]
    """Price."""
    stop: Float[np.ndarray, " position"]
    """Price; 0 for a long without one, infinite for a short."""
    leverage: Float[np.ndarray, " position"]
    free: Float[np.ndarray, " position"]
    """Free balance behind a cross position, in multiples of its initial margin."""

    def alive(self, step: int) -> Bool[np.ndarray, " position"]:
        """Which are open after a sub-step."""
        return np.asarray((self.opened <= step) & (self.closed > step))


def ledger(market: SimulatedMarket) -> Ledger:
    """The positions of a market, in the order in which their rows were begun."""
    detail = market.detail()
    book = detail.played.book
    times = book.times[: book.used[0]].astype(np.int64)
    prices = book.prices[: book.used[0]]
    closed = np.where(times[:, 1] < 0, np.iinfo(np.int64).max, times[:, 1] - detail.first_step)
    return Ledger(
        opened=times[:, 0] - detail.first_step,
        closed=closed,
        why=times[:, 2],
        venue=times[:, 3] // 2,
        side=times[:, 3] % 2,
        is_cross=times[:, 4] > 0,
        lots=times[:, 5],
        origin=times[:, 6],
        entry=np.exp(prices[:, 0]),
        liquidation=np.exp(prices[:, 1]),
        stop=np.exp(prices[:, 2]),
        leverage=prices[:, 3].copy(),
        free=prices[:, 4].copy(),
    )


def close_step(market: SimulatedMarket, minute: int) -> int:
    """The last sub-step of a minute; `ValueError` for a minute that was not simulated."""
    if not 0 <= minute < len(market.minute_ns):
        raise ValueError(f"minute lies between 0 and {len(market.minute_ns) - 1}, got {minute}")
    return (minute + 1) * market.spec.substeps - 1


def true_map(
    market: SimulatedMarket,
    minute: int,
    edges: Float[np.ndarray, " edge"],
    positions: Ledger | None = None,
) -> Float[np.ndarray, "venue side price"]:
    """USD open at the close of a minute, at its mark, by the price at which it will be liquidated.

    `edges` rise, in quote currency; what lies outside of them is left out. `positions` saves reading the ledger anew
    where many minutes are asked for: 10 ms each in a market of 90 days.
    """
    return by_leverage(market, minute, edges, np.array([0.0, np.inf]), positions)[:, :, 0]


def by_leverage(
    market: SimulatedMarket,
    minute: int,
    edges: Float[np.ndarray, " edge"],
    leverages: Float[np.ndarray, " border"],
    positions: Ledger | None = None,
) -> Float[np.ndarray, "venue side bucket price"]:
    """`true_map` with the effective leverage too: bucket b is from `leverages[b]` up to the next."""
    held = ledger(market) if positions is None else positions
    alive = held.alive(close_step(market, minute))
    return binned(market, held, alive, minute, edges, leverages)


def left_usd(
    market: SimulatedMarket,
    minutes: tuple[int, int],
    edges: Float[np.ndarray, " edge"],
    why: tuple[int, ...] = LEAVING,
    positions: Ledger | None = None,
) -> Float[np.ndarray, "venue side price"]:
    """USD that was open at the close of the first minute and ended of its holder's will by that of the second.

    By liquidation price, at the mark of the first: a true thinning of zones, where `true_map` says what there was.
    `why` may name other ends.
    """
    held = ledger(market) if positions is None else positions
    begin, end = (close_step(market, minute) for minute in minutes)
    gone = held.alive(begin) & (held.closed <= end) & np.isin(held.why, why)
    return binned(market, held, gone, minutes[0], edges, np.array([0.0, np.inf]))[:, :, 0]


def binned(
    market: SimulatedMarket,
    held: Ledger,
    chosen: Bool[np.ndarray, " position"],
    minute: int,
    edges: Float[np.ndarray, " edge"],
    leverages: Float[np.ndarray, " border"],
) -> Float[np.ndarray, "venue side bucket price"]:
    """USD of chosen positions, at a minute's mark."""
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise ValueError("edges must be finite and rise")
    shape = (len(market.venues), 2, len(leverages) - 1, len(edges) - 1)
    at = np.flatnonzero(chosen)
    price = np.searchsorted(edges, held.liquidation[at], "right") - 1
    effective = np.maximum(held.leverage[at] / (1.0 + held.free[at]), market.spec.leverage_min)
    bucket = np.searchsorted(leverages, effective, "right") - 1
    inside = (price >= 0) & (price < shape[3]) & (bucket >= 0) & (bucket < shape[2])
    at, price, bucket = at[inside], price[inside], bucket[inside]
    cells = np.ravel_multi_index((held.venue[at], held.side[at], bucket, price), shape)
    lots = np.bincount(cells, held.lots[at], int(np.prod(shape))).astype(np.float64).reshape(shape)
    marks = np.array([venue.mark[minute, 3] for venue in market.venues])
    return np.asarray(lots * market.detail().rules.lot_base * marks[:, None, None, None])


@dataclass(frozen=True)
class WallTruth:
    """Every wall that was placed, and what came of it."""

    placed_ns: Int64[np.ndarray, " wall"]
    removed_ns: Int64[np.ndarray, " wall"]
    """-1 while it stands."""
    venue: Int64[np.ndarray, " wall"]
    side: Int64[np.ndarray, " wall"]
    """0 a bid, 1 an ask."""
    is_genuine: Bool[np.ndarray, " wall"]
    end: Int64[np.ndarray, " wall"]
    """`STANDS`, `PULLED` (fled from the price), `TAKEN` or `EXPIRED` of `kernel`."""
    price: Float[np.ndarray, " wall"]
    usd: Float[np.ndarray, " wall"]
    eaten_usd: Float[np.ndarray, " wall"]


def wall_truth(market: SimulatedMarket) -> WallTruth:
    """The walls that stood in the recording, in the order in which they were placed."""
    detail = market.detail()
    log = detail.played.walls.log[: detail.played.walls.used[0]]
    log = log[(log[:, REMOVED] >= detail.first_step) | (log[:, WALL_END] == STANDS)]
    step_ns = MINUTE_NS // market.spec.substeps
    start = int(market.minute_ns[0])

    def ns(steps: np.ndarray) -> np.ndarray:
        return start + (steps - detail.first_step).astype(np.int64) * step_ns

    return WallTruth(
        placed_ns=ns(log[:, PLACED]),
        removed_ns=np.where(log[:, WALL_END] == STANDS, -1, ns(log[:, REMOVED])),
        venue=log[:, WALL_VENUE].astype(np.int64),
        side=log[:, WALL_SIDE].astype(np.int64),
        is_genuine=log[:, GENUINE] > 0,
        end=log[:, WALL_END].astype(np.int64),
        price=np.exp(log[:, WALL_PRICE]),
        usd=log[:, WALL_USD].copy(),
        eaten_usd=log[:, EATEN].copy(),
    )


@dataclass(frozen=True)
class Cascade:
    """A run of forced orders of one side."""

    side: int
    onset_ns: int
    end_ns: int
    usd: float
    orders: int


def onsets(market: SimulatedMarket, threshold_usd: float = 250_000.0, orders: int = 5) -> list[Cascade]:
    """Where cascades began and ended, by all forced orders, published or not (domain.md §5.1 (i) to (iii)).

    Onset: the first order with which more than `threshold_usd` of a side, in at least so many orders, and at least
    0.8 of both sides, were liquidated within 60 s. End: the first time that the sum of 60 s has stayed below a fifth of
    its peak for 60 s, less those 60 s; after an hour at the latest. Those less than 5 minutes apart are one.
    """
    found = [each for side in (0, 1) for each in _cascades(market, side, threshold_usd, orders)]
    return sorted(found, key=lambda each: each.onset_ns)


def _cascades(market: SimulatedMarket, side: int, threshold_usd: float, orders: int) -> list[Cascade]:
    """Those of one side, in order of time."""
    own = market.liquidation_side == side
    ns, usd = market.liquidation_ns, market.liquidation_usd
    total, mine = np.append(0.0, usd.cumsum()), np.append(0.0, (usd * own).cumsum())
    counted = np.append(0, own.cumsum())
    since = np.searchsorted(ns, ns - MINUTE, "right")
    here = np.arange(1, len(ns) + 1)
    recent, both, count = mine[here] - mine[since], total[here] - total[since], counted[here] - counted[since]
    starts = own & (recent >= threshold_usd) & (count >= orders) & (recent >= 0.8 * both)
    cascades: list[Cascade] = []
    until = -1
    for at in np.flatnonzero(starts).tolist():
        if ns[at] <= until:
            continue
        last, peak = at, recent[at]
        for later in np.flatnonzero(own[at + 1 :] & (ns[at + 1 :] < ns[at] + 60 * MINUTE)) + at + 1:
            if ns[later] > ns[last] + 2 * MINUTE:
                break
            peak = max(peak, recent[later])
            if recent[later] >= 0.2 * peak:
                last = int(later)
        until = int(ns[last]) + MINUTE
        cascades.append(
            Cascade(side, int(ns[at]), until, float(mine[last + 1] - mine[at]), int(counted[last + 1] - counted[at]))
        )
    return joined(cascades)


def joined(cascades: list[Cascade], apart_ns: int = 5 * MINUTE) -> list[Cascade]:
    """Cascades of one side in order of time, those that follow each other closely as one.

    >>> parts = [Cascade(0, 0, 9, 1.0, 5), Cascade(0, 11, 20, 2.0, 6), Cascade(0, 30, 40, 4.0, 7)]
    >>> [(each.onset_ns, each.end_ns, each.usd, each.orders) for each in joined(parts, 5)]
    [(0, 20, 3.0, 11), (30, 40, 4.0, 7)]
    """
    kept: list[Cascade] = []
    for each in cascades:
        if kept and each.onset_ns - kept[-1].end_ns < apart_ns:
            first = kept.pop()
            each = Cascade(first.side, first.onset_ns, each.end_ns, first.usd + each.usd, first.orders + each.orders)
        kept.append(each)
    return kept
