"""Steps about the reading itself and what surrounds the map: 1 maps, 2 timeframe, 8 funding, 9 depletion."""

import math
from collections.abc import Callable

import numpy as np

from squeeze.heatmaps.protocol import hours_name
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.tools.reading.answer import HELD, PLACES, QUESTIONS, StepAnswer, age, counted, known, number, price, words
from squeeze.tools.reading.gather import Reading, Sweep
from squeeze.tools.reading.measured import measured
from squeeze.tools.reading.profile import MapName

NEVER_MINUTES = 60 * 24 * 365
"""An age beyond this is that of what never was."""


def which_maps(reading: Reading) -> StepAnswer:
    """Step 1: the maps of the profile in their order, and which of them there are."""
    profile = reading.profile
    told = {name: MAPS[name](reading) for name in profile.maps}
    there = [name for name, (is_there, _) in told.items() if is_there]
    missing = tuple(name for name, (is_there, _) in told.items() if not is_there)
    order = ", then ".join(there)
    answer = f"A {profile.name} trade is held {profile.held}: read {order or 'nothing, for no map was recorded'}"
    if missing:
        answer += f"; not recorded: {', '.join(missing)}"
    warnings = () if profile.maps[0] in there else (f"the map to begin with, {profile.maps[0]}, was not recorded",)
    return StepAnswer(
        step=1, question=QUESTIONS[0], answer=f"{answer}.",
        evidence=tuple(f"{name}: {text}" for name, (_, text) in told.items()),
        numbers=known({"horizon_minutes": float(profile.horizon_minutes), "reach_log": profile.reach_log}),
        warnings=warnings, not_recorded=missing, measured=measured(1),
    )  # fmt: skip


def _minutes(reading: Reading, name: str) -> float:
    minutes = float(reading.scene.now[name][0]) / MINUTE_NS
    return minutes if minutes < NEVER_MINUTES else math.nan


def _liquidation(reading: Reading) -> tuple[bool, str]:
    is_there = bool(np.isfinite(reading.scene.heat).any())
    by = "volume, for open interest is not read" if reading.spec.map.open_interest == "volume" else "open interest"
    return is_there, (
        f"filled for {age(60 * reading.folded_hours)} from {by}; last fed {age(_minutes(reading, 'map_age_ns'))} ago; "
        f"{counted(len(reading.scene.zones), 'cluster')} within {reading.spec.frame.zone_reach_log:.0%}"
    )


def _book(reading: Reading) -> tuple[bool, str]:
    last = round(reading.profile.reach_log / float(reading.scene.now["bin_log"][0]))
    covered = np.isfinite(reading.scene.book[:, 1 : last + 1])
    if not covered.any():
        return False, "not recorded near the price"
    told = f"newest book {age(_minutes(reading, 'book_age_ns'))} old"
    return True, f"{told}, covers {covered.mean():.0%} of the prices within {reading.profile.reach_log:.1%}"


def _volume(reading: Reading) -> tuple[bool, str]:
    volume = reading.seen.kept_atlas.venues[0].volume
    number_of = volume.spec.windows_hours.index(reading.profile.volume_hours)
    share = float(volume.coverage[number_of])
    return share > 0, f"{share:.0%} of the last {hours_name(reading.profile.volume_hours)} recorded"


def _interest(reading: Reading) -> tuple[bool, str]:
    minutes = _minutes(reading, "open_interest_age_ns")
    if reading.spec.map.open_interest == "volume" or math.isnan(minutes):
        return False, "no stamp was recorded"
    changes = {name: float(reading.scene.now[f"open_interest_{name}"][0]) for name in ("4h", "24h")}
    shown = ", ".join(f"{number(value, '+.2%')} in {name}" for name, value in changes.items())
    return True, f"newest stamp {age(minutes)} old; {shown}"


def _funding(reading: Reading) -> tuple[bool, str]:
    rate = float(reading.scene.now["funding_8h"][0])
    return math.isfinite(rate), f"{number(rate, '+.4%')} per 8 h"


MAPS: dict[MapName, Callable[[Reading], tuple[bool, str]]] = {
    "liquidation": _liquidation, "order book": _book, "volume profile": _volume, "open interest": _interest,
    "funding": _funding,
}  # fmt: skip
"""Whether a map was recorded, and what is to be said of it."""


def timeframe(reading: Reading) -> StepAnswer:
    """Step 2: whether steps, views and the age of the mass suit how long the trade is held."""
    profile, spec = reading.profile, reading.spec
    window = hours_name(profile.map_hours)
    shares = [opened_share(reading, side) for side in range(2)]
    stale = [reading.finding("stale_timeframe", side) for side in range(2)]
    mismatches = [*_clock_warnings(reading), *(one.reason for one in stale if one.flag)]
    poorer = [f"inputs: {', '.join(reading.warnings()).replace('_', ' ')}"] if reading.warnings() else []
    suits = "suits" if not mismatches else "suits only in part"
    return StepAnswer(
        step=2, question=QUESTIONS[1],
        answer=f"The {window} view {suits} a horizon of {age(float(profile.horizon_minutes))}.",
        evidence=(
            f"opened within {window}, of the mass within {profile.reach_log:.1%}: "
            + ", ".join(f"{number(shares[side], '.0%')} of {HELD[side]}" for side in range(2)),
            f"in clusters older than {counted(round(stale[0].evidence['limit_days']), 'day')}: "
            + ", ".join(f"{number(stale[side].evidence['old_share'], '.0%')} of {HELD[side]}" for side in range(2)),
            f"steps of {age(spec.market.step_seconds / 60)}; maps filled for {age(60 * reading.folded_hours)}",
        ),
        numbers=known({
            "map_hours": profile.map_hours, "folded_hours": reading.folded_hours,
            "step_seconds": float(spec.market.step_seconds),
            "opened_within_share_long": shares[0], "opened_within_share_short": shares[1],
            "old_share_long": stale[0].evidence["old_share"], "old_share_short": stale[1].evidence["old_share"],
            "map_age_seconds": float(reading.scene.now["map_age_ns"][0]) / SECOND_NS,
            "open_interest_age_minutes": _minutes(reading, "open_interest_age_ns"),
        }),
        warnings=(*mismatches, *poorer), measured=measured(2),
    )  # fmt: skip


def opened_share(reading: Reading, side: int) -> float:
    """Share of a side's mass within reach that was opened within the profile's view; NaN where there is none."""
    now, hours = reading.scene.now[0], reading.profile.map_hours
    here, reach = int(now["mark_bin"]), round(reading.profile.reach_log / float(now["bin_log"]))
    young = total = 0.0
    for venue in reading.seen.kept_atlas.venues:
        one = venue.liquidation
        if not venue.open_interest_base > 0:
            continue
        mass, _ = one.profile(float(now["mark"]), reach + 1)
        total += float(mass[side, 1:].sum())
        first = here - reach - one.origin if side == 0 else here + 1 - one.origin
        row = one.view(hours)[side]
        young += float(row[max(first, 0) : max(first + reach, 0)].sum())
    return min(young / total, 1.0) if total > 0 else math.nan


def _clock_warnings(reading: Reading) -> list[str]:
    profile, seconds = reading.profile, reading.spec.market.step_seconds
    warnings = []
    if seconds > profile.coarsest_seconds:
        warnings.append(
            f"steps of {age(seconds / 60)} are too coarse for a {profile.name} trade: at most "
            f"{age(profile.coarsest_seconds / 60)}"
        )
    if reading.folded_hours < profile.map_hours:
        warnings.append(
            f"the maps were filled for {age(60 * reading.folded_hours)} only, the view is of "
            f"{hours_name(profile.map_hours)}: what was opened before is in no map"
        )
    return warnings


def funding(reading: Reading) -> StepAnswer:
    """Step 8: who pays, and whether that is the side whose clusters lie heavier."""
    now = reading.scene.now[0]
    rate = float(now["funding_8h"])
    if math.isnan(rate):
        return StepAnswer(
            step=8, question=QUESTIONS[7], answer="Not known: no funding rate was recorded.",
            not_recorded=("funding",), measured=measured(8),
        )  # fmt: skip
    found = reading.flagged("funding_extreme", "funding_asymmetry")
    both = [reading.finding("funding_asymmetry", side) for side in range(2)]
    heavier = next((side for side in range(2) if both[side].evidence["asymmetry"] > 0), None)
    crowd = "nobody pays" if rate == 0 else f"{HELD[0 if rate > 0 else 1]} pay"
    extreme = any(one.pattern == "funding_extreme" for one in found)
    answer = f"{crowd[:1].upper()}{crowd[1:]}, {'beyond what is usual' if extreme else 'as usual'}"
    if heavier is not None and rate != 0:
        same = (rate > 0) == (heavier == 0)
        answer += (
            f"; the heavier clusters, {PLACES[heavier]}, are those of {HELD[heavier]}, "
            + ("the side that pays" if same else "the side that is paid")
        )  # fmt: skip
    return StepAnswer(
        step=8, question=QUESTIONS[7], answer=f"{answer}.",
        evidence=(
            f"{rate:+.4%} per 8 h over venues by open interest, from {number(float(now['funding_low_8h']), '+.4%')} to "
            f"{number(float(now['funding_high_8h']), '+.4%')}; {number(float(now['funding_z']), '+.1f')} deviations "
            f"from its 30 days",
            f"next settlement in {number(float(now['minutes_to_settlement']), '.0f', ' min')}",
            "the guide says both that paying longs foretell a fall and that they make a sweep up likelier: the sign is "
            "told here, not which of the two holds",
        ),
        numbers=known({
            "funding_8h": rate, "funding_low_8h": float(now["funding_low_8h"]),
            "funding_high_8h": float(now["funding_high_8h"]), "funding_z": float(now["funding_z"]),
            "minutes_to_settlement": float(now["minutes_to_settlement"]),
            "funding_asymmetry_long": both[0].score, "funding_asymmetry_short": both[1].score,
        }),
        patterns=words(found), measured=measured(8),
    )  # fmt: skip


def depletion(reading: Reading) -> StepAnswer:
    """Step 9: each sweep of the window, what was seen liquidated of it, and what was opened anew."""
    window = hours_name(reading.profile.window_hours)
    told = tuple(_sweep_words(reading, one) for one in reading.sweeps)
    judged = [_judged(reading, one) for one in reading.sweeps]
    counts = ", ".join(f"{judged.count(word)} {word}" for word in dict.fromkeys(judged))
    # Silence of a feed that does not say how complete it is proves nothing.
    is_told = bool(reading.seen.prints) or bool((reading.scene.venues["complete"] >= 0).any())
    missing = () if reading.seen.heard and is_told else ("liquidations",)
    answer = f"{counted(len(told), 'sweep')} in {window}: {counts}"
    if not told:
        is_known = bool(np.isfinite(reading.scene.heat).all())
        answer = f"No cluster was swept in the last {window}" if is_known else "Not known: no liquidation map"
    return StepAnswer(
        step=9, question=QUESTIONS[8], answer=f"{answer}.", evidence=told[-8:],
        numbers=known({"sweeps": float(len(told)), **{f"sweeps_{word.replace(' ', '_')}": float(judged.count(word))
                                                      for word in dict.fromkeys(judged)}}),
        patterns=words(reading.flagged("depletion")), not_recorded=missing,
        warnings=(f"of {len(told)} sweeps the last 8 are listed",) if len(told) > 8 else (), measured=measured(9),
    )  # fmt: skip


def _judged(reading: Reading, one: Sweep) -> str:
    """By the pattern's own thresholds; what was not seen proves nothing."""
    assert reading.spec.atlas is not None  # noqa: S101
    limits = reading.spec.atlas.patterns.depletion
    if one.reopened_share >= limits.least_reopened:
        return "reopened"
    if one.observed_share >= limits.least_confirmed:
        return "confirmed"
    if one.phantom == 1.0:
        return "phantom"
    return "partly seen" if one.phantom == 0.0 else "not known"


def _sweep_words(reading: Reading, one: Sweep) -> str:
    minutes = (reading.at_ns - one.close_ns) / MINUTE_NS
    at = f" ({price(one.low)} to {price(one.high)})" if math.isfinite(one.low) else ""
    return (
        f"{age(minutes)} ago {PLACES[one.side]}{at}, {number(one.usd / 1e6, ',.1f', ' M USD')} of {HELD[one.side]}: "
        f"{_judged(reading, one)}; {number(one.observed_share, '.0%')} seen liquidated, "
        f"{number(one.reopened_share, '.0%')} reopened within 15 min"
    )
