"""The five questions before a trade, answered from the scene at one close and, for the last, from an earlier one.

    nearest clusters and skew · a wall on the way · the volume profile · the crowd's side by funding · what has changed

Nothing but the two scenes is read. `ahead` is where the trade wants the price to go, `behind` where it must not go, so
that a mirrored market gives the same answers. What was not recorded makes an answer `unknown`: no book is not "no
wall". A verdict says how the guide reads what is seen. That it pays was not shown: `docs/study-*.md`.
"""

import math

import numpy as np

from squeeze.patterns.scene import CONTROL, HIGH, Scene
from squeeze.signals.checklist_trade import PLACES, SIDES, Answer, Limits, Trade, minutes, number, skew, trade_of
from squeeze.signals.checklist_wall import wall_on_way

QUESTIONS = (
    "Where are the nearest liquidation clusters, and are they symmetrical or skewed?",
    "Is there an order book wall between the price and the target, and is it genuine?",
    "Does the volume profile support the trade: is the target in a high-volume area or in a void?",
    "What does funding say: is the crowd positioned the same way?",
    "Has the map changed since the last check?",
)


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
    trade = trade_of(scene, side, direction, target, limits or Limits())
    if math.isnan(trade.mark):
        found = [Answer("not known: there is no mark price", "unknown", "mark: not recorded")] * len(QUESTIONS)
    else:
        found = [_clusters(trade), wall_on_way(trade, before), _volume(trade), _crowd(trade), _changes(trade, before)]
    return tuple(
        {"question": question, "answer": one.words, "verdict": one.verdict, "evidence": one.evidence}
        for question, one in zip(QUESTIONS, found, strict=True)
    )


def _clusters(trade: Trade) -> Answer:
    limits = trade.limits
    leans, ours, theirs = skew(trade.scene, trade.direction, limits.reach_log)
    if math.isnan(ours):
        return Answer("not known: no liquidation map", "unknown", "liquidation map: not recorded")
    nearest = [_nearest(trade, one) for one in (trade.ahead, 1 - trade.ahead)]
    own = ours if trade.side == trade.ahead else theirs
    evidence = (
        f"ahead: {nearest[0]}; behind: {nearest[1]}; within {limits.reach_log:.1%} ahead {ours:.2%} and behind "
        f"{theirs:.2%} of open interest, skew {number(leans, '+.2f')}; positions squeezed ({SIDES[trade.side]}s) hold "
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
        f"the target's bin holds {number(share, '.2f')} of the median bin's volume ({kind}); high-volume levels on "
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
        f"funding {rate:+.4%} per 8 h: {crowd} pay; over venues {number(now['funding_low_8h'], '+.4%')} to "
        f"{number(now['funding_high_8h'], '+.4%')}; {number(float(now['funding_z']), '+.1f')} deviations from its 30 "
        f"days; longs crowded over {limits.crowded_long_8h:.3%}, shorts under {-limits.crowded_short_8h:.3%}; next "
        f"settlement in {number(now['minutes_to_settlement'], '.0f')} min"
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
    passed = minutes(trade, int(before.now["close_ns"][0]))
    moved = math.log(trade.mark / float(before.now["mark"][0])) if before.now["mark"][0] > 0 else math.nan
    zones = " and ".join(f"{one} {_zone_changes(trade, before, i)}" for i, one in ((trade.ahead, "ahead"),
                         (1 - trade.ahead, "behind")))  # fmt: skip
    evidence = (
        f"in {passed:.0f} min the mark moved {number(trade.direction * moved, '+.2%')} toward the target; zones "
        f"{zones}; mass within {limits.reach_log:.1%} ahead {ahead:.2%} to {now_ahead:.2%}, behind {behind:.2%} to "
        f"{now_behind:.2%} of open interest; skew {number(leans, '+.2f')} to {number(now_leans, '+.2f')}; open "
        f"interest {number(_ratio(trade.scene, before), '+.2%')}"
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
