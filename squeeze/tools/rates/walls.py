"""Walls that the tracker followed, beside those that were placed: who had placed the ones that it called pulled."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from jaxtyping import Int64

from squeeze.patterns.scene import PULLED
from squeeze.simulator.kernel import PULLED as FLED
from squeeze.simulator.market import SimulatedMarket
from squeeze.simulator.resting import decimals_of
from squeeze.simulator.truth import WallTruth, wall_truth

NOBODY = -1

Key = tuple[int, int, int, int]
"""Venue, side, bin and birth: they name a followed wall."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One wall that the tracker followed, and who had placed it."""

    outcome: int
    pulls: int
    """The most within an hour at its level, itself included."""
    placed: int
    """Row of the truth; `NOBODY` for a level that no wall stood in."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The followed walls of one market, and all that were placed while it was watched."""

    followed: list[Followed]
    truth: WallTruth
    watched: np.ndarray
    """(wall,) whether a book showed it at all: it stood at the close of a watched step."""


class WallShares(msgspec.Struct, frozen=True):
    """How many walls were called something, and who had placed them."""

    market: str
    called: str
    n: int
    spoofer: int
    genuine: int
    nobody: int
    spoofs: int
    """Spoofs that fled from the price and that a book had shown: what there was to find."""
    found: int
    """How many of these were called so."""

    @property
    def precision(self) -> float:
        """Share of the called that a spoofer had placed."""
        return self.spoofer / self.n if self.n else math.nan

    @property
    def recall(self) -> float:
        """Share of the spoofs that were called so."""
        return self.found / self.spoofs if self.spoofs else math.nan


class WallBook:
    """Collects the walls of each step's page."""

    def __init__(self) -> None:
        self.last: dict[Key, tuple[int, int, int]] = {}
        """When each was seen for the last time, with what outcome, and the most pulls at its level within an hour."""

    def note(self, walls: np.ndarray, close_ns: int) -> None:
        """Take in the walls of a step, of `patterns.scene.WALL`."""
        for wall in walls:
            key = int(wall["venue"]), int(wall["side"]), int(wall["bin"]), int(wall["born_ns"])
            _, _, pulls = self.last.get(key, (0, 0, 0))
            self.last[key] = close_ns, int(wall["outcome"]), max(pulls, int(wall["pulls_1h"]))

    def compared(
        self, market: SimulatedMarket, closes_ns: Int64[np.ndarray, " step"], bin_log: float, venues: Sequence[str]
    ) -> Compared:
        """Beside the truth; a wall is that of the same venue, side and bin which stood with it the longest.

        `venues` are the names of the pages' `venue` axis.
        """
        truth = wall_truth(market)
        places = [[venue.name for venue in market.venues].index(name) for name in venues]
        bins = np.floor(np.log(truth.price.round(decimals_of(market))) / bin_log).astype(np.int64)
        gone_ns = np.where(truth.removed_ns < 0, np.iinfo(np.int64).max, truth.removed_ns)
        followed = []
        for (venue, side, place, born_ns), (last_ns, outcome, pulls) in self.last.items():
            same = np.flatnonzero((truth.venue == places[venue]) & (truth.side == side) & (bins == place))
            together = np.minimum(gone_ns[same], last_ns) - np.maximum(truth.placed_ns[same], born_ns)
            stood = len(same) > 0 and together.max() > 0
            followed.append(Followed(outcome, pulls, int(same[together.argmax()]) if stood else NOBODY))
        first, end = (np.searchsorted(closes_ns, at, "left") for at in (truth.placed_ns, gone_ns))
        return Compared(followed, truth, np.asarray(end > first))


def shares(market: str, compared: Sequence[Compared], least_pulls: float) -> list[WallShares]:
    """Of all walls, of those that were called pulled, and of those pulled so often that `spoofed_wall` flags them."""
    called: dict[str, Callable[[Followed], bool]] = {
        "followed": lambda wall: True,
        "pulled": lambda wall: wall.outcome == PULLED,
        "spoofed": lambda wall: wall.pulls >= least_pulls,
    }
    rows = []
    for name, holds in called.items():
        counts = np.zeros(5, np.int64)
        for one in compared:
            walls = [wall for wall in one.followed if holds(wall)]
            placed = np.array([wall.placed for wall in walls if wall.placed != NOBODY], np.int64)
            genuine = int(one.truth.is_genuine[placed].sum())
            spoofs = np.flatnonzero((one.truth.end == FLED) & ~one.truth.is_genuine & one.watched)
            found = int(np.isin(spoofs, placed).sum())
            counts += len(walls), len(placed) - genuine, genuine, len(spoofs), found
        n, spoofer, genuine, fled, found = counts.tolist()
        rows.append(WallShares(market, name, n, spoofer, genuine, n - spoofer - genuine, fled, found))
    return rows
