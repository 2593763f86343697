"""Steps about the clusters: 3 density, 4 asymmetry, 5 convergence, 6 migration, 7 voids."""

import math

import numpy as np

from squeeze.patterns import convergence as converging
from squeeze.patterns.scene import AREA_HIGH, AREA_LOW, CONTROL, HIGH, NODES
from squeeze.tools.diff import ZoneChange
from squeeze.tools.reading.answer import HELD, PLACES, QUESTIONS, StepAnswer, counted, known, number, price, words
from squeeze.tools.reading.gather import Reading
from squeeze.tools.reading.measured import measured

SHOWN = 3
"""Clusters of a side, and changes, that are told."""
SECOND_NS = 10**9
NO_MAP = "Not known: no liquidation map."


def has_map(reading: Reading) -> bool:
    """Whether there is a liquidation map at all."""
    return bool(np.isfinite(reading.scene.heat).all())


def within(reading: Reading, side: int) -> np.ndarray:
    """The zones of a side within the profile's reach, the heaviest first."""
    zones = reading.scene.zones
    own = zones[(zones["side"] == side) & (zones["near_log"] <= reading.profile.reach_log)]
    heaviest_first: np.ndarray = own[np.argsort(-own["mass_usd"], kind="stable")]
    return heaviest_first


def densest(reading: Reading) -> StepAnswer:
    """Step 3: the heaviest clusters of either side, the busiest price levels and the largest walls."""
    missing = tuple(
        name
        for name, is_there in (
            ("liquidation map", has_map(reading)),
            ("volume profile", reading.scene.nodes.size > 0),
            ("order book", bool(np.isfinite(reading.scene.book).any())),
        )
        if not is_there
    )
    sides = [within(reading, side) for side in range(2)]
    told = [zone_words(reading, zone) for own in sides for zone in own[:SHOWN]]
    evidence = (*told, *_level_words(reading), *_wall_words(reading))
    reach = f"{reading.profile.reach_log:.1%}"
    if not has_map(reading):
        answer = NO_MAP
    elif not told:
        answer = f"No cluster within {reach} of the price."
    else:
        heaviest = max((own[0] for own in sides if own.size), key=lambda zone: float(zone["mass_usd"]))
        number_of = counted(sum(own.size for own in sides), "cluster")
        answer = f"Of {number_of} within {reach} the heaviest is of {_short(heaviest)}."
    numbers = {"mark": reading.mark}
    for side, own in enumerate(sides):
        name = HELD[side][:-1]
        first = own[0] if own.size else None
        numbers[f"clusters_{name}"] = float(own.size) if has_map(reading) else math.nan
        numbers[f"heaviest_{name}_usd"] = math.nan if first is None else float(first["mass_usd"])
        numbers[f"heaviest_{name}_near_log"] = math.nan if first is None else float(first["near_log"])
    return StepAnswer(
        step=3, question=QUESTIONS[2], answer=answer, evidence=evidence, numbers=known(numbers),
        patterns=words(reading.flagged("stacked_zones", "accumulation", "thinning", "shielded_cluster")),
        not_recorded=missing, measured=measured(3),
    )  # fmt: skip


def _short(zone: np.void) -> str:
    side = int(zone["side"])
    return f"{HELD[side]} {zone['near_log']:.2%} {PLACES[side]}, {zone['mass_usd'] / 1e6:,.1f} M USD"


def zone_words(reading: Reading, zone: np.void) -> str:
    """A cluster's side, prices, size, thickness and age."""
    low, high = zone_prices(reading, zone)
    width_bp = (int(zone["end_bin"]) - int(zone["low_bin"])) * float(reading.scene.now["bin_log"][0]) * 1e4
    return (
        f"{_short(zone)} ({zone['mass_share']:.2%} of open interest, {zone['mass_usd'] / 1e6 / width_bp:,.2f} M USD a "
        f"basis point), {price(low)} to {price(high)}, {number(24 * float(zone['age_days']), '.0f', ' h')} old on "
        f"average{', major' * int(zone['major'])}"
    )


def zone_prices(reading: Reading, zone: np.void) -> tuple[float, float]:
    """Lowest and highest price of a zone."""
    bin_log = float(reading.scene.now["bin_log"][0])
    return math.exp(int(zone["low_bin"]) * bin_log), math.exp(int(zone["end_bin"]) * bin_log)


def _level_words(reading: Reading) -> list[str]:
    """The levels of the profile's own window within reach, the nearest first."""
    nodes, here = reading.scene.nodes, math.log(reading.mark)
    windows = reading.seen.kept_atlas.venues[0].volume.spec.windows_hours
    own = nodes[
        (nodes["window"] == windows.index(reading.profile.volume_hours))
        & np.isin(nodes["kind"], (HIGH, CONTROL, AREA_LOW, AREA_HIGH))
        & (np.abs(nodes["place_log"] - here) <= reading.profile.reach_log)
    ]
    names = {HIGH: "high-volume node", CONTROL: "point of control"} | {
        kind: f"value {NODES[kind].replace('_', ' ')}" for kind in (AREA_LOW, AREA_HIGH)
    }
    order = np.argsort(np.abs(own["place_log"] - here), kind="stable")[: SHOWN + 1]
    return [
        f"{names[int(one['kind'])]} {_signed(float(one['place_log']) - here)}, {price(math.exp(one['place_log']))}"
        for one in own[order]
    ]


def _wall_words(reading: Reading) -> list[str]:
    walls = reading.scene.walls
    standing = walls[(walls["ended_ns"] == 0) & np.isfinite(walls["usd"])]
    order = np.argsort(-standing["usd"], kind="stable")[:SHOWN]
    now_ns, names = int(reading.scene.now["close_ns"][0]), reading.seen.kept_atlas.names
    return [
        f"{('bid', 'ask')[int(wall['side'])]} wall {wall['distance_log']:.2%} {PLACES[int(wall['side'])]}, "
        f"{wall['usd'] / 1e6:,.2f} M USD on {names[int(wall['venue'])]}, {(now_ns - int(wall['born_ns'])) / 6e10:.0f} "
        f"min old, {wall['pulls_1h']} pulls at its level in an hour"
        for wall in standing[order]
    ]


def _signed(distance_log: float) -> str:
    return f"{abs(distance_log):.2%} {PLACES[int(distance_log > 0)]}"


def asymmetry(reading: Reading) -> StepAnswer:
    """Step 4: how much heavier one side is, at three distances."""
    up = reading.finding("asymmetry", 1).evidence
    if not has_map(reading):
        return StepAnswer(
            step=4, question=QUESTIONS[3], answer=NO_MAP, not_recorded=("liquidation map",), measured=measured(4)
        )  # fmt: skip
    assert reading.spec.atlas is not None  # noqa: S101
    limits = reading.spec.atlas.patterns.asymmetry
    score = up["middle"]
    if math.isnan(score):
        answer = f"Nothing to liquidate within {limits.middle_log:.0%} of the price."
    elif abs(score) < limits.least_asymmetry:
        answer = f"Neither side by much: {score:+.2f} within {limits.middle_log:.0%}, where +1 is all above."
    else:
        heavier = int(score > 0)
        answer = (
            f"What lies {PLACES[heavier]}, of {HELD[heavier]}: {score:+.2f} within {limits.middle_log:.0%}, where +1 is"
            " all above. That price goes there was not shown."
        )
    masses = [reading.finding("asymmetry", side).evidence["mass_share"] for side in range(2)]
    return StepAnswer(
        step=4, question=QUESTIONS[3], answer=answer,
        evidence=(
            f"within {limits.near_log:.0%} {number(up['near'], '+.2f')}, within {limits.middle_log:.0%} "
            f"{number(score, '+.2f')}, within {limits.far_log:.0%} {number(up['far'], '+.2f')}, weighted by distance "
            f"{number(up['weighted'], '+.2f')}",
            f"within {limits.middle_log:.0%}: {number(masses[0], '.2%')} of open interest below, "
            f"{number(masses[1], '.2%')} above",
            f"the price moved {number(up['return_24h'], '+.2%')} in 24 h: where it came from, it has swept",
        ),
        numbers=known({f"asymmetry_{name}": up[name] for name in ("near", "middle", "far", "weighted")}
                      | {"mass_share_below": masses[0], "mass_share_above": masses[1],
                         "return_24h_log": up["return_24h"]}),
        patterns=words(reading.flagged("asymmetry", "heat_divergence", "trend_alignment")), measured=measured(4),
    )  # fmt: skip


def convergence(reading: Reading) -> StepAnswer:
    """Step 5: which maps vote for each cluster's level, and which could not vote."""
    tolerance = tolerance_log(reading)
    told, agreed, could_not = [], 0, set()
    least = _limits(reading).least_votes
    for side in range(2):
        for zone in within(reading, side)[: SHOWN + 2]:
            votes = votes_for(reading, zone, tolerance)
            could_not |= {name for name, vote in votes.items() if math.isnan(vote)}
            count = 1 + sum(vote == 1.0 for vote in votes.values())
            agreed += count >= least
            shown = ", ".join(
                f"{name} {'unknown' if math.isnan(v) else 'yes' if v else 'no'}" for name, v in votes.items()
            )
            told.append(f"{_short(zone)}: {counted(count, 'vote')}; {shown}")
    both = [reading.finding("convergence", side) for side in range(2)]
    answer = f"{agreed} of {counted(len(told), 'cluster')} with {least:.0f} maps or more for it."
    if not has_map(reading):
        answer = NO_MAP
    elif not told:
        answer = "There is no cluster within reach that other maps could agree with."
    elif math.isnan(tolerance):
        answer = "Not known: the range of an hour, by which levels are held alike, is not known yet."
    return StepAnswer(
        step=5, question=QUESTIONS[4], answer=answer,
        evidence=(*told, f"levels are one within {number(tolerance, '.2%')}"),
        numbers=known({"tolerance_log": tolerance, "converged_clusters": float(agreed),
                       "votes_long": both[0].evidence["votes"], "votes_short": both[1].evidence["votes"]}),
        patterns=words(reading.flagged("convergence", "node_retest")), not_recorded=tuple(sorted(could_not)),
        measured=measured(5),
    )  # fmt: skip


def _limits(reading: Reading) -> converging.Thresholds:
    assert reading.spec.atlas is not None  # noqa: S101
    return reading.spec.atlas.patterns.convergence


def tolerance_log(reading: Reading) -> float:
    """Within which two levels are one, as the pattern has it; NaN while the range of an hour is not known."""
    now, limits = reading.scene.now[0], _limits(reading)
    wide = limits.tolerance_atr * float(now["atr_1h"])
    return wide if math.isnan(wide) else max(wide, limits.least_tolerance_log, float(now["bin_log"]) / 2)


def votes_for(reading: Reading, zone: np.void, tolerance: float) -> dict[str, float]:
    """Of the other maps: 1 for the zone's level, 0 not, NaN where a map was not recorded there."""
    scene, side, limits = reading.scene, int(zone["side"]), _limits(reading)
    place, centroid = float(zone["place_log"]), float(zone["centroid_log"])
    if math.isnan(tolerance):
        return dict.fromkeys(("volume profile", "order book", "open interest"), math.nan)
    dense = converging.upper_quantile(scene.interest[side], limits.interest_quantile)
    least_ns = limits.least_wall_seconds * SECOND_NS
    return {
        "volume profile": float(converging.node_vote(scene, place, tolerance)),
        "order book": float(converging.wall_vote(scene, side, centroid, tolerance, least_ns)),
        "open interest": float(converging.interest_vote(scene, side, centroid, tolerance, dense)),
    }


def migration(reading: Reading) -> StepAnswer:
    """Step 6: how far clusters have drifted in a day, and what has become of each since the profile's earlier look."""
    both = [reading.finding("migration", side) for side in range(2)]
    numbers: dict[str, float] = {}
    evidence: list[str] = []
    for side, one in enumerate(both):
        name = HELD[side][:-1]
        numbers |= {f"{key}_{name}": one.evidence[key] for key in ("toward_24h_log", "map_moved_log", "map_toward_log")}
        evidence.append(
            f"{HELD[side]} in 24 h: largest drift of a cluster {number(one.evidence['toward_24h_log'], '+.2%')} toward "
            f"the price, their whole map {number(one.evidence['map_toward_log'], '+.2%')}"
        )
    compared = reading.compared
    missing: tuple[str, ...] = ()
    if compared is None:
        answer = f"Not known: the map of {reading.profile.compare_hours:.0f} h ago was not folded."
        missing = ("earlier map",)
    else:
        counts: dict[str, int] = {}
        for change in compared.found.zones:
            counts[change.what[0]] = counts.get(change.what[0], 0) + 1
        said = ", ".join(f"{count} {what}" for what, count in sorted(counts.items(), key=lambda item: -item[1]))
        answer = f"Of the clusters of {compared.hours:.0f} h ago and now: {said or 'there were none'}."
        evidence += [change_words(change) for change in compared.found.zones[: 2 * SHOWN]]
    return StepAnswer(
        step=6, question=QUESTIONS[5], answer=answer, evidence=tuple(evidence), numbers=known(numbers),
        patterns=words(reading.flagged("migration", "venue_divergence")), not_recorded=missing, measured=measured(6),
    )  # fmt: skip


def change_words(change: ZoneChange) -> str:
    """What became of one cluster, in prices and USD."""
    what = " ".join(change.what).replace("_", " ")
    then, now = (
        "none" if one is None else f"{price(one.price)} with {one.mass_usd / 1e6:,.1f} M USD"
        for one in (change.before, change.after)
    )
    return f"{change.side}s {what}: {then} then, {now} now"


def voids(reading: Reading) -> StepAnswer:
    """Step 7: stretches with little in any map, the nearest first."""
    found = [reading.finding("voids", side) for side in range(2)]
    told = [
        f"{PLACES[side]} from {near:.2%} to {far:.2%}: {price(edge(reading, side, near))} to "
        f"{price(edge(reading, side, far))}"
        for side in range(2)
        for near, far in reading.voids[side].tolist()
    ]
    is_known = [math.isfinite(one.score) for one in found]
    answer = f"{counted(len(told), 'void')} within 5 %." if told else "No void within 5 %."
    if not all(is_known):
        sides = " and ".join(PLACES[side] for side in range(2) if not is_known[side])
        answer = f"Not known {sides}: a void needs two of the three maps (liquidations, volume, book) at a price."
    return StepAnswer(
        step=7, question=QUESTIONS[6], answer=answer, evidence=tuple(told),
        numbers=known({f"{key}_{HELD[side][:-1]}": found[side].evidence[key] for side in range(2)
                       for key in ("near_log", "length_log", "votes")}
                      | {f"void_share_{HELD[side][:-1]}": found[side].score for side in range(2)}),
        patterns=words(reading.flagged("voids")),
        not_recorded=tuple(f"two maps {PLACES[side]}" for side in range(2) if not is_known[side]), measured=measured(7),
    )  # fmt: skip


def edge(reading: Reading, side: int, distance_log: float) -> float:
    """The price so far outward from the mark."""
    return reading.mark * math.exp(distance_log if side else -distance_log)
