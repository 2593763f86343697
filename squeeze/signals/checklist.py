"""The five questions before a trade, answered from the scene at one close and, for the last, from an earlier one.

    nearest clusters and skew · a wall on the way · the volume profile · the crowd's side by funding · what has changed

Nothing but the two scenes is read. `ahead` is where the trade wants the price to go, `behind` where it must not go, so
that a mirrored market gives the same answers. What was not recorded makes an answer `unknown`: no book is not "no
wall". A verdict says how the guide reads what is seen. That it pays was not shown: `docs/study-*.md`.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.scene import CONTROL, HIGH, Scene
from squeeze.strict import Strict, require

Verdict = Literal["for", "against", "neutral", "unknown"]
QUESTIONS = (
    "Where are the nearest liquidation clusters, and are they symmetrical or skewed?",
    "Is there an order book wall between the price and the target, and is it genuine?",
    "Does the volume profile support the trade: is the target in a high-volume area or in a void?",
    "What does funding say: is the crowd positioned the same way?",
    "Has the map changed since the last check?",
)
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


def answers(
    scene: Scene, side: int, direction: int, target: float, before: Scene | None, limits: Limits | None = None
) -> tuple[dict[str, str], ...]:
    """The five questions in order, each with `question`, `answer`, `verdict` and `evidence`, all of them text.

    `side` is whose squeeze the trade is about (0 longs, 1 shorts), `direction` is +1 for a buy and -1 for a sale,
    `target` a price, `before` the scene of the last check or None. Nothing later than the scene is used. Raises
    `ValueError` for another side or direction; a target that does not lie ahead of the mark makes `unknown` what needs
    one.
    """
    if side not in (0, 1) or direction not in (-1, 1):
        raise ValueError(f"side is 0 or 1 and direction -1 or 1, got {side} and {direction}")
    trade = _trade(scene, side, direction, target, limits or Limits())
    if math.isnan(trade.mark):
        found = [Answer("not known: there is no mark price", "unknown", "mark: not recorded")] * len(QUESTIONS)
    else:
        found = [_clusters(trade), _wall(trade, before), _volume(trade), _crowd(trade), _changes(trade, before)]
    return tuple(
        {"question": question, "answer": one.words, "verdict": one.verdict, "evidence": one.evidence}
        for question, one in zip(QUESTIONS, found, strict=True)
    )


def _trade(scene: Scene, side: int, direction: int, target: float, limits: Limits) -> Trade:
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


def _clusters(trade: Trade) -> Answer:
    limits = trade.limits
    leans, ours, theirs = skew(trade.scene, trade.direction, limits.reach_log)
    if math.isnan(ours):
        return Answer("not known: no liquidation map", "unknown", "liquidation map: not recorded")
    nearest = [_nearest(trade, one) for one in (trade.ahead, 1 - trade.ahead)]
    own = ours if trade.side == trade.ahead else theirs
    evidence = (
        f"ahead: {nearest[0]}; behind: {nearest[1]}; within {limits.reach_log:.1%} ahead {ours:.2%} and behind "
        f"{theirs:.2%} of open interest, skew {_number(leans, '+.2f')}; positions squeezed ({SIDES[trade.side]}s) hold "
        f"{own:.2%} there; that price goes to the heavier side was not shown"
    )
    if math.isnan(leans):
        return Answer(f"nothing to liquidate within {limits.reach_log:.1%}", "neutral", evidence)
    if abs(leans) < limits.least_skew:
        return Answer("about as much ahead as behind", "neutral", evidence)
    heavier = "ahead" if leans > 0 else "behind"
    return Answer(f"skewed: the heavier side lies {heavier}", "for" if leans > 0 else "against", evidence)


def _nearest(trade: Trade, side: int) -> str:
    zones = trade.scene.zones[trade.scene.zones["side"] == side]
    if not zones.size:
        return f"no cluster {PLACES[side]}"
    zone = zones[np.argmin(zones["near_log"])]
    return (
        f"{SIDES[side]}s {zone['near_log']:.2%} {PLACES[side]}, {zone['mass_usd'] / 1e6:,.1f} M USD, "
        f"{zone['mass_share']:.2%} of open interest, {zone['age_days'] * 24:.0f} h old{', major' * int(zone['major'])}"
    )


def _wall(trade: Trade, before: Scene | None) -> Answer:
    if math.isnan(trade.target_log):
        return Answer("not known: the target is not ahead of the price", "unknown", "target: none ahead")
    walls = trade.scene.walls
    on_way = walls[
        (walls["side"] == trade.ahead)
        & (walls["ended_ns"] == 0)
        & (walls["distance_log"] > -trade.bin_log)
        & (walls["distance_log"] <= trade.target_log)
    ]
    judged = [(_suspicion(trade, wall), _wall_words(trade, wall, before)) for wall in on_way]
    evidence = "; ".join([words for _, words in judged] + [_cover_words(trade)])
    kinds = [kind for kind, _ in judged]
    if "genuine" in kinds:
        return Answer("a wall stands on the way, and by its history it is meant", "against", evidence)
    if "suspicious" in kinds:
        return Answer("a wall stands on the way, and by its history it may be pulled", "neutral", evidence)
    if "unproven" in kinds:
        return Answer("a wall stands on the way, too young to be judged", "neutral", evidence)
    if kinds or math.isnan(_largest(trade)):
        return Answer("not known: no book shows the whole way", "unknown", evidence)
    if _largest(trade) >= trade.limits.wall_medians:
        return Answer("a large order rests on the way that has no history yet", "neutral", evidence)
    return Answer("no wall on the way", "for", evidence)


def _suspicion(trade: Trade, wall: np.void) -> Literal["genuine", "suspicious", "unproven", "unseen"]:
    limits = trade.limits
    if math.isnan(wall["usd"]):
        return "unseen"
    untouched = wall["traded_usd"] <= limits.untouched_share * wall["peak_usd"]  # not if that is not known
    if wall["pulls_1h"] >= limits.wall_pulls or (untouched and wall["pull_elasticity"] >= limits.wall_elasticity):
        return "suspicious"
    is_old = _minutes(trade, int(wall["born_ns"])) >= limits.wall_minutes
    return "genuine" if is_old and wall["pulls_1h"] == 0 else "unproven"


def _wall_words(trade: Trade, wall: np.void, before: Scene | None) -> str:
    kept = ""
    if before is not None:
        same = before.walls[[name for name in ("side", "venue", "bin", "born_ns")]]
        own = tuple(wall[name] for name in ("side", "venue", "bin", "born_ns"))
        was = any(tuple(one) == own for one in same.tolist())
        kept = ", there at the last check" if was else ", not there at the last check"
    shown = "not shown now" if math.isnan(wall["usd"]) else f"{wall['usd'] / 1e6:,.2f} M USD"
    return (
        f"{shown} {wall['distance_log']:.2%} {PLACES[trade.ahead]}, "
        f"{_minutes(trade, int(wall['born_ns'])):.0f} min old, {wall['pulls_1h']:.0f} pulls at its level "
        f"in an hour, elasticity {_number(wall['pull_elasticity'], '.2f')}, "
        f"{_number(wall['traded_usd'] / wall['peak_usd'], '.0%')} of its peak traded{kept}"
    )


def _way(trade: Trade) -> np.ndarray:
    """What rests in the bins from the mark to the target; NaN where no book covers one or the scene ends."""
    row: np.ndarray = trade.scene.book[trade.ahead, min(1, trade.bins) : trade.bins + 1]
    return row if trade.bins < trade.scene.book.shape[1] else np.append(row, math.nan)


def _largest(trade: Trade) -> float:
    """The most in a bin on the way, in medians of the book; NaN unless books cover all of the way."""
    way, near = _way(trade), round(trade.limits.median_log / trade.bin_log)
    held = trade.scene.book[:, 1 : near + 1]
    held = held[held > 0]
    return float(way.max() / np.median(held)) if held.size and way.size else math.nan


def _cover_words(trade: Trade) -> str:
    way = _way(trade)
    known = np.isfinite(way)
    largest = _largest(trade)
    told = "" if math.isnan(largest) else f", its largest bin {largest:.1f} times the median"
    age = float(trade.scene.now["book_age_ns"][0]) / MINUTE_NS
    aged = f"newest book {age:.1f} min old" if known.any() else "no book recorded there"
    return f"books cover {known.mean():.0%} of the {trade.target_log:.2%} to the target{told}, {aged}"


def _volume(trade: Trade) -> Answer:
    if math.isnan(trade.target_log):
        return Answer("not known: the target is not ahead of the price", "unknown", "target: none ahead")
    volume, nodes, limits = trade.scene.volume, trade.scene.nodes, trade.limits
    if trade.bins >= volume.shape[1] or not np.isfinite(volume[trade.ahead, trade.bins]):
        return Answer("not known: no volume was recorded there", "unknown", "volume at the target: not recorded")
    if not nodes.size:
        return Answer("not known: the profile has no levels yet", "unknown", "levels of the volume profile: none yet")
    levels = np.unique(nodes["place_log"][(nodes["kind"] == HIGH) | (nodes["kind"] == CONTROL)])
    away = np.sort(trade.direction * (levels - math.log(trade.mark)))
    at_level = bool((np.abs(away - trade.target_log) <= limits.level_log).any())
    on_way = away[(away > 0) & (away < trade.target_log - limits.level_log)]
    kind, share = _target_kind(trade)
    evidence = (
        f"the target's bin holds {_number(share, '.2f')} of the median bin's volume ({kind}); high-volume levels on "
        f"the way: {', '.join(f'{x:.2%}' for x in on_way[:3].tolist()) or 'none'}; at the target: "
        f"{'one' if at_level else 'none'}; what this does to price was not measured"
    )
    where = "at a high-volume level" if at_level else f"in {kind}"
    if on_way.size:
        return Answer(
            f"the target lies {where}, behind {on_way.size} high-volume level{'s' * (on_way.size > 1)}", "against",
            evidence,
        )  # fmt: skip
    return Answer(f"the target lies {where}, with nothing before it", "neutral" if at_level else "for", evidence)


def _target_kind(trade: Trade) -> tuple[str, float]:
    """How the target's bin compares with the median bin of the traded range."""
    volume, held = trade.scene.volume, []
    far = [int(np.max(np.flatnonzero(row > 0), initial=0)) for row in volume]
    for row, last in zip(volume, far, strict=True):
        held.append(row[1 : last + 1])
    both = np.concatenate(held)
    both = both[np.isfinite(both)]
    share = float(volume[trade.ahead, trade.bins] / np.median(both)) if both.size and np.median(both) > 0 else math.nan
    if trade.bins > far[trade.ahead]:
        return "prices not traded in the window", share
    if math.isnan(share):
        return "an unknown area", share
    return (
        "a void" if share <= trade.limits.void_share else "a low-volume area" if share < 1 else "a traded area",
        share,
    )


def _crowd(trade: Trade) -> Answer:
    now, limits = trade.scene.now[0], trade.limits
    rate = float(now["funding_8h"])
    if math.isnan(rate):
        return Answer("not known: no funding rate", "unknown", "funding: not recorded")
    pays, z = trade.direction * rate, trade.direction * float(now["funding_z"])
    mine, other = limits.crowded_long_8h, limits.crowded_short_8h
    if trade.direction < 0:
        mine, other = other, mine
    crowd = "nobody" if rate == 0 else "longs" if rate > 0 else "shorts"
    evidence = (
        f"funding {rate:+.4%} per 8 h: {crowd} pay; over venues {_number(now['funding_low_8h'], '+.4%')} to "
        f"{_number(now['funding_high_8h'], '+.4%')}; {_number(float(now['funding_z']), '+.1f')} deviations from its 30 "
        f"days; longs crowded over {limits.crowded_long_8h:.3%}, shorts under {-limits.crowded_short_8h:.3%}; next "
        f"settlement in {_number(now['minutes_to_settlement'], '.0f')} min"
    )
    if pays > mine or (pays > 0 and z >= limits.rare_z):
        return Answer("yes: the crowd is positioned the same way, and pays for it", "against", evidence)
    if -pays > other or (pays < 0 and -z >= limits.rare_z):
        return Answer("no: the crowd is positioned the other way, and pays for it", "for", evidence)
    return Answer("no crowd: the rate is usual", "neutral", evidence)


def _changes(trade: Trade, before: Scene | None) -> Answer:
    if before is None:
        return Answer("not known: there was no earlier check", "unknown", "earlier check: none")
    limits = trade.limits
    (now_leans, now_ahead, now_behind), (leans, ahead, behind) = (
        skew(one, trade.direction, limits.reach_log) for one in (trade.scene, before)
    )
    if math.isnan(now_ahead + ahead):
        return Answer("not known: no liquidation map at one of the times", "unknown", "liquidation map: not recorded")
    shift = now_leans - leans
    minutes = _minutes(trade, int(before.now["close_ns"][0]))
    moved = math.log(trade.mark / float(before.now["mark"][0])) if before.now["mark"][0] > 0 else math.nan
    zones = " and ".join(f"{one} {_zone_changes(trade, before, i)}" for i, one in ((trade.ahead, "ahead"),
                         (1 - trade.ahead, "behind")))  # fmt: skip
    evidence = (
        f"in {minutes:.0f} min the mark moved {_number(trade.direction * moved, '+.2%')} toward the target; zones "
        f"{zones}; mass within {limits.reach_log:.1%} ahead {ahead:.2%} to {now_ahead:.2%}, behind {behind:.2%} to "
        f"{now_behind:.2%} of open interest; skew {_number(leans, '+.2f')} to {_number(now_leans, '+.2f')}; open "
        f"interest {_number(_ratio(trade.scene, before), '+.2%')}"
    )
    if not abs(shift) >= limits.least_shift:  # NaN is no shift
        return Answer("little: the skew is much as it was", "neutral", evidence)
    away = "toward" if shift > 0 else "away from"
    return Answer(f"yes: the skew has shifted {away} the target's side", "for" if shift > 0 else "against", evidence)


def _zone_changes(trade: Trade, before: Scene, side: int) -> str:
    then, now = ({int(z["id"]): z for z in one.zones[one.zones["side"] == side]} for one in (before, trade.scene))
    pairs = [(then[i], now[i]) for i in sorted(then.keys() & now.keys())]
    grown = [b["mass_base"] / a["mass_base"] - 1 for a, b in pairs if a["mass_base"] > 0]
    counts = {
        "new": len(now.keys() - then.keys()),
        "gone": len(then.keys() - now.keys()),
        "grown": sum(g > trade.limits.grown_share for g in grown),
        "shrunk": sum(1 / (1 + g) - 1 > trade.limits.grown_share for g in grown if g > -1),
        "moved": sum(abs(b["place_log"] - a["place_log"]) > trade.limits.moved_log for a, b in pairs),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "as they were"


def _ratio(scene: Scene, before: Scene) -> float:
    then, now = (float(one.now["open_interest_base"][0]) for one in (before, scene))
    return now / then - 1 if then > 0 else math.nan


def _minutes(trade: Trade, since_ns: int) -> float:
    return (int(trade.scene.now["close_ns"][0]) - since_ns) / MINUTE_NS


def _number(value: float, form: str) -> str:
    return "unknown" if math.isnan(value) else format(float(value), form)
