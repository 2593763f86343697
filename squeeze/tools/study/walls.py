"""Walls of the book, from recorded updates and trades: how each ended, and how many of them were pulled.

A wall is one price bin of one side that holds at least so many coins, from the second that first shows it. It was
*filled* if takers traded half of its most there, *pulled* if it fell by four fifths while they traded at most a fifth;
one that ends otherwise is *mixed*, and one that still stands when the record ends is censored.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from squeeze.market.books import OrderBook
from squeeze.market.events import SECOND_NS, AnyEvent, BookUpdate, Feed, Gap, Trade

BIN_LOG = 5e-4
Outcome = Literal["filled", "pulled", "mixed", "standing"]
Cell = tuple[int, int]
"""Side of the book, 0 bids and 1 asks, and floor(ln(price) / BIN_LOG)."""


@dataclass(slots=True)
class Wall:
    """One wall; `nearest` is its least distance from the middle of the book, as a fraction."""

    begin_ns: int
    end_ns: int
    most_base: float
    traded_base: float
    nearest: float
    outcome: Outcome = "standing"


@dataclass(frozen=True, slots=True)
class Look:
    """The book at one second: coins by cell, what takers traded in each since the last look, and the middle.

    The feed covers the bins from `lowest` to `highest`; beyond them nothing is known.
    """

    at_ns: int
    held_base: dict[Cell, float]
    traded_base: dict[Cell, float]
    middle: float
    lowest: int
    highest: int


def walls(looks: Iterable[Look], least_base: float) -> list[Wall]:
    """All walls of at least so many coins, in the order in which they ended; those that still stand come last.

    While the book is lost (a middle of NaN), or does not reach as far as a wall, nobody knows how it ends: it counts as
    standing until then.
    """
    standing: dict[Cell, Wall] = {}
    ended: list[Wall] = []
    for look in looks:
        if math.isnan(look.middle):
            ended += standing.values()
            standing.clear()
        for cell, wall in list(standing.items()):
            if not look.lowest <= cell[1] <= look.highest:
                ended.append(standing.pop(cell))
                continue
            held = look.held_base.get(cell, 0.0)
            wall.traded_base += look.traded_base.get(cell, 0.0)
            wall.most_base, wall.end_ns = max(wall.most_base, held), look.at_ns
            wall.nearest = min(wall.nearest, _distance(cell, look.middle))
            if held <= 0.2 * wall.most_base:
                wall.outcome = outcome(wall.most_base, wall.traded_base)
                ended.append(standing.pop(cell))
        for cell, held in look.held_base.items():
            if held >= least_base and cell not in standing:
                standing[cell] = Wall(look.at_ns, look.at_ns, held, 0.0, _distance(cell, look.middle))
    return ended + list(standing.values())


def outcome(most_base: float, traded_base: float) -> Outcome:
    """How a wall that is gone went.

    >>> outcome(100.0, 50.0), outcome(100.0, 20.0), outcome(100.0, 30.0)
    ('filled', 'pulled', 'mixed')
    """
    if traded_base >= 0.5 * most_base:
        return "filled"
    return "pulled" if traded_base <= 0.2 * most_base else "mixed"


def aalen_johansen(seconds: Float[np.ndarray, " wall"], causes: list[str], cause: str) -> float:
    """Cumulative incidence of a cause at the end, other causes competing; `standing` is censored.

    >>> aalen_johansen(np.array([1.0, 2.0, 3.0, 4.0]), ["pulled", "standing", "filled", "pulled"], "pulled")
    0.625
    """
    named = np.array(causes)
    surviving, incidence = 1.0, 0.0
    for at in np.unique(seconds):
        risk = float((seconds >= at).sum())
        now: Bool[np.ndarray, " wall"] = (seconds == at) & (named != "standing")
        incidence += surviving * float((now & (named == cause)).sum()) / risk
        surviving *= 1 - float(now.sum()) / risk
    return incidence


def looks(events: Iterable[AnyEvent], venue: str) -> Iterator[Look]:
    """A look at each full second of a venue's book; its middle is NaN while the book cannot be trusted."""
    book, traded = OrderBook(venue), dict[Cell, float]()
    next_ns: int | None = None
    for event in events:
        if next_ns is None:
            next_ns = event.known_at_ns // SECOND_NS * SECOND_NS + SECOND_NS
        while event.known_at_ns > next_ns:
            bid, ask = book.best()
            lowest, highest = min(book.bids, default=math.inf), max(book.asks, default=0.0)
            borders = (_bin(lowest), _bin(highest)) if lowest < math.inf and highest > 0 else (0, 0)
            yield Look(next_ns, _cells(book), traded, (bid + ask) / 2, *borders)
            traded = {}
            next_ns += SECOND_NS
        if isinstance(event, BookUpdate):
            book.on_update(event)
        elif isinstance(event, Gap):
            if event.feed is not Feed.TRADES:
                book.chain.lose()
                book.lose()
        elif isinstance(event, Trade):
            cell = (int(event.taker_buys), _bin(event.price))
            traded[cell] = traded.get(cell, 0.0) + event.size_base


def _cells(book: OrderBook) -> dict[Cell, float]:
    held: dict[Cell, float] = {}
    for side, levels in enumerate((book.bids, book.asks)):
        for price, size in levels.items():
            cell = (side, _bin(price))
            held[cell] = held.get(cell, 0.0) + size
    return held


def _bin(price: float) -> int:
    return math.floor(math.log(price) / BIN_LOG)


def _distance(cell: Cell, middle: float) -> float:
    return abs(math.exp((cell[1] + 0.5) * BIN_LOG) / middle - 1)
