"""The second question of the checklist: is there a wall on the way, and is it meant?"""

import math
from typing import Literal

import numpy as np

from squeeze.market.events import MINUTE_NS
from squeeze.patterns.scene import Scene
from squeeze.signals.checklist_trade import PLACES, Answer, Trade, minutes, number


def wall_on_way(trade: Trade, before: Scene | None) -> Answer:
    """What rests between the price and the target, by its history."""
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
    is_old = minutes(trade, int(wall["born_ns"])) >= limits.wall_minutes
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
        f"{minutes(trade, int(wall['born_ns'])):.0f} min old, {wall['pulls_1h']:.0f} pulls at its level "
        f"in an hour, elasticity {number(wall['pull_elasticity'], '.2f')}, "
        f"{number(wall['traded_usd'] / wall['peak_usd'], '.0%')} of its peak traded{kept}"
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
