"""A trade as its checklist sees it: the scene, which way the price shall go, and what counts as much or little."""

import math
from typing import Literal, NamedTuple

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.scene import Scene
from squeeze.strict import Strict, require

Verdict = Literal["for", "against", "neutral", "unknown"]
SIDES = ("long", "short")
PLACES = ("below", "above")


class Limits(Strict, frozen=True, kw_only=True):
    """What counts as skewed, as a wall, as crowded, as changed; the defaults are those of the patterns."""

    reach_log: float = 0.02
    """Mass within this distance of the mark counts for the skew, the mark's own bin left out."""
    least_skew: float = 0.40
    """Difference over sum of the two sides from which on the map is skewed."""
    least_shift: float = 0.10
    """A change of the skew by so much is for or against the trade."""
    wall_medians: float = 8.0
    """A bin that holds so many times the median of the book is large."""
    median_log: float = 0.01
    """Distance within which that median is taken, over bins that hold something."""
    wall_minutes: float = 10.0
    """A wall that has stood so long without a pull at its level is taken to be meant."""
    wall_pulls: float = 2
    """So many pulls at its level within an hour make it suspicious ..."""
    wall_elasticity: float = 0.5
    """... and so does melting with such an elasticity as the price comes near ..."""
    untouched_share: float = 0.2
    """... while takers traded no more than this share of its peak."""
    level_log: float = 0.0015
    """The target is at a level of the volume profile within this distance."""
    void_share: float = 0.15
    """A bin is void up to this share of the median bin's volume."""
    crowded_long_8h: float = 0.0005
    """Longs are crowded above this rate."""
    crowded_short_8h: float = 0.0003
    """Shorts are crowded below minus this rate."""
    rare_z: float = 1.96
    """A rate so many deviations from its 30 days is crowded too, if the side pays at all."""
    grown_share: float = 0.10
    """A zone has grown, or shrunk, by more than this share of its coins."""
    moved_log: float = 0.001
    """A zone has moved further than this."""

    def __post_init__(self) -> None:
        require(self.reach_log > 0 and 0 < self.least_skew <= 1, "reach_log is positive, least_skew a share")
        require(self.wall_medians > 1 and self.wall_minutes >= 0, "wall_medians exceeds 1, wall_minutes not negative")
        require(min(self.crowded_long_8h, self.crowded_short_8h, self.rare_z) > 0, "funding limits are positive")
        require(self.level_log >= 0 and 0 < self.void_share < 1, "level_log is not negative, void_share a share")


class Answer(NamedTuple):
    """One answer before it becomes a dict of text."""

    words: str
    verdict: Verdict
    evidence: str


class Trade(NamedTuple):
    """The scene as the trade sees it."""

    scene: Scene
    side: int
    """Whose squeeze it is about."""
    direction: int
    ahead: int
    """The side of the mark that the target lies on."""
    mark: float
    bin_log: float
    target_log: float
    """Outward from the mark; NaN where the target is no price ahead of it."""
    limits: Limits

    @property
    def bins(self) -> int:
        """Whole bins from the mark's own to the target's."""
        mark_bin = int(self.scene.now["mark_bin"][0])
        place = (math.log(self.mark) + self.direction * self.target_log) / self.bin_log
        return abs(math.floor(place) - mark_bin)


def trade_of(scene: Scene, side: int, direction: int, target: float, limits: Limits) -> Trade:
    """The trade on a scene; what is no number is NaN."""
    now = scene.now[0]
    mark = float(now["mark"]) if now["mark"] > 0 else math.nan
    is_price = 0 < target < math.inf and mark > 0
    distance = direction * math.log(target / mark) if is_price else math.nan
    return Trade(
        scene, side, direction, int(direction > 0), mark, float(now["bin_log"]),
        distance if distance > 0 else math.nan, limits,
    )  # fmt: skip


def skew(scene: Scene, direction: int, reach_log: float) -> tuple[float, float, float]:
    """(ahead - behind) / both of the map's mass within a distance, and both as shares of open interest; NaN where the
    map is not known, does not reach so far, or holds nothing there.
    """
    last, ahead = round(reach_log / float(scene.now["bin_log"][0])), int(direction > 0)
    if last >= scene.heat.shape[1]:
        return math.nan, math.nan, math.nan
    ours, theirs = (float(scene.heat[one, 1 : last + 1].sum()) for one in (ahead, 1 - ahead))
    return (ours - theirs) / (ours + theirs) if ours + theirs > 0 else math.nan, ours, theirs


def minutes(trade: Trade, since_ns: int) -> float:
    """From a time to the scene's close."""
    return (int(trade.scene.now["close_ns"][0]) - since_ns) / MINUTE_NS


def number(value: float, form: str) -> str:
    """In a form, or in a word where it is not known."""
    return "unknown" if math.isnan(value) else format(float(value), form)
