import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.patterns import depletion
from squeeze.patterns.scene import SWEPT, VENUE, ZONE
from tests.pattern_laws import assert_mirrors
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, MINUTE_NS, detect, market, rows, zone

USD = 50e6
COINS = 1000.0


def place(bins):
    return math.exp((MARK_BIN + bins + 0.5) * BIN_LOG)


def cluster(side=0, **more):
    """A zone of 50 million USD and 1000 coins in the bins 20 to 23 away from where the mark was at first."""
    return zone(side, 0.01, **{"mass_usd": USD, "mass_base": COINS} | more)


def step(minute=0.0, usd=0.0, zones=(), ended=(), reach=0, complete=1, interest=1e5, **now):
    """A step in which so many USD were liquidated on either side, and the mark went so many bins away and came back."""
    moved = {"close_ns": CLOSE_NS + round(minute * MINUTE_NS), "open_interest_base": interest}
    moved |= {"mark_low": place(min(reach, 0)), "mark_high": place(max(reach, 0))}
    seen = market(**moved | now)._replace(
        zones=rows(ZONE, *zones),
        ended=rows(ZONE, *ended),
        venues=rows(VENUE, {"long_usd": usd, "short_usd": usd, "complete": complete}),
    )
    seen.heat[:] = 0.0
    return seen


def swept(side=0, **more):
    return cluster(side, ending=SWEPT, **more)


def sweep(usd, side=0, minute=1, **more):
    """Seen untouched, then swept a minute later within one step."""
    return [
        step(minute - 1, zones=[cluster(side)]),
        step(minute, usd, ended=[swept(side)], reach=25 if side else -25, **more),
    ]


@pytest.mark.parametrize("side", [0, 1])
def test_a_sweep_with_liquidations_of_a_quarter_of_the_zone_is_confirmed(side):
    found = detect(depletion, *sweep(0.25 * USD, side))
    assert found[side].flag
    assert found[side].score == 0.25
    assert found[side].evidence == pytest.approx(
        {
            "observed_share": 0.25,
            "reopened_share": math.nan,
            "phantom": 0.0,
            "reopened": math.nan,
            "mass_usd": USD,
            "minutes_ago": 0.0,
        },
        nan_ok=True,
    )
    assert "gave way: 25% of its 50,000,000 USD was seen liquidated" in found[side].reason
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)


@pytest.mark.parametrize(
    ("share", "flag", "phantom"),
    [(0.249, False, 0.0), (0.05, False, 0.0), (0.049, False, 1.0), (0.0, False, 1.0), (3.0, True, 0.0)],
)
def test_what_was_observed_says_confirmed_phantom_or_neither(share, flag, phantom):
    below, _ = detect(depletion, *sweep(share * USD))
    assert below.flag is flag
    assert below.evidence["phantom"] == phantom
    assert below.evidence["observed_share"] == pytest.approx(share)
    assert below.score == pytest.approx(min(1.0, share))


def test_incomplete_feeds_may_confirm_but_never_call_a_zone_a_phantom():
    below, _ = detect(depletion, *sweep(0.3 * USD, complete=0))
    assert below.flag
    below, _ = detect(depletion, *sweep(0.01 * USD, complete=0))
    assert math.isnan(below.score)
    assert math.isnan(below.evidence["phantom"])
    assert below.evidence["observed_share"] == pytest.approx(0.01)


def test_one_venue_that_tells_nothing_makes_the_feeds_incomplete():
    before, now = sweep(0.0)
    two = {"long_usd": 0.01 * USD, "short_usd": 0.0, "complete": 1}
    now = now._replace(venues=rows(VENUE, two, {"complete": 1}))
    below, _ = detect(depletion, before, now)
    assert math.isnan(below.score)
    now = now._replace(venues=rows(VENUE, two, two))
    below, _ = detect(depletion, before, now)
    assert below.score == pytest.approx(0.02)


@pytest.mark.parametrize("ending", [2, 3, 4, 5, 6, 7])
def test_a_zone_that_ended_otherwise_depletes_nothing(ending):
    steps = [step(0, zones=[cluster()]), step(1, USD, ended=[cluster(ending=ending)], reach=-25)]
    assert detect(depletion, *steps)[0].score == 0.0


def test_a_sweep_through_several_steps_counts_from_the_first_touch_against_the_mass_before_it():
    less = cluster(end_bin=cluster()["end_bin"] - 2, mass_usd=0.4 * USD, mass_base=0.4 * COINS)
    steps = [
        step(0, 9 * USD, zones=[cluster()]),
        step(1, 0.10 * USD, zones=[less], reach=-21),
        step(2, 0.06 * USD, zones=[less], reach=-22),
        step(3, 0.14 * USD, ended=[less | {"ending": SWEPT}], reach=-25),
    ]
    below, _ = detect(depletion, *steps)
    assert below.evidence["observed_share"] == pytest.approx(0.30)
    assert below.evidence["mass_usd"] == USD


def test_a_zone_that_the_mark_left_is_seen_again_and_the_next_crossing_begins_anew():
    less = cluster(mass_usd=0.4 * USD)
    steps = [
        step(0, zones=[cluster()]),
        step(1, 0.10 * USD, zones=[less], reach=-21),
        step(2, 0.06 * USD, zones=[less]),
        step(3, 0.2 * USD, ended=[less | {"ending": SWEPT}], reach=-25),
    ]
    below, _ = detect(depletion, *steps)
    assert below.evidence["observed_share"] == pytest.approx(0.5)
    assert below.evidence["mass_usd"] == pytest.approx(0.4 * USD)


def test_a_zone_that_is_missed_while_the_mark_goes_in_is_still_known():
    steps = [
        step(0, zones=[cluster()]),
        step(1, 0.1 * USD, reach=-21),
        step(2, 0.2 * USD, ended=[swept(touched_ns=CLOSE_NS + MINUTE_NS)], reach=-25),
    ]
    assert detect(depletion, *steps)[0].evidence["observed_share"] == pytest.approx(0.3)


def test_of_a_zone_first_seen_with_the_mark_in_it_nothing_is_said():
    steps = [step(0, zones=[cluster()], reach=-21), step(1, USD, ended=[swept()], reach=-25)]
    below, above = detect(depletion, *steps)
    assert math.isnan(below.score)
    assert not below.flag
    assert above.score == 0.0


def test_a_zone_never_seen_before_is_told_only_if_it_was_touched_in_the_step_that_swept_it():
    now = {"reach": -25, "minute": 1}
    below, _ = detect(depletion, step(usd=0.3 * USD, ended=[swept(touched_ns=CLOSE_NS + MINUTE_NS)], **now))
    assert below.score == pytest.approx(0.3)
    below, _ = detect(depletion, step(usd=0.3 * USD, ended=[swept(touched_ns=CLOSE_NS)], **now))
    assert math.isnan(below.score)


def test_zones_swept_in_one_step_share_what_was_liquidated():
    zones = [cluster(id=1), cluster(id=2, end_bin=MARK_BIN - 29, low_bin=MARK_BIN - 33)]
    ended = [each | {"ending": SWEPT} for each in zones]
    below, _ = detect(depletion, step(0, zones=zones), step(1, 0.5 * USD, ended=ended, reach=-40))
    assert below.score == pytest.approx(0.25)
    assert below.evidence["mass_usd"] == 2 * USD


@pytest.mark.parametrize(("step_seconds", "counted"), [(1, 30), (7, 4), (10, 3), (30, 1), (31, 0), (60, 0), (3600, 0)])
def test_whole_steps_are_counted_until_thirty_seconds_after_the_sweep(step_seconds, counted):
    length = {"step_ns": step_seconds * 10**9}
    unit = step_seconds / 60
    steps = [step(0, zones=[cluster()], **length), step(unit, 0.1 * USD, ended=[swept()], reach=-25, **length)]
    steps += [step(unit * (2 + i), 0.01 * USD, **length) for i in range(40)]
    for after in range(counted):
        assert detect(depletion, *steps[: 2 + after])[0].evidence["minutes_ago"] != 0.0  # not yet said
    found, _ = detect(depletion, *steps[: 2 + counted])
    assert found.evidence["observed_share"] == pytest.approx(0.1 + 0.01 * counted)
    if step_seconds < 90:
        later, _ = detect(depletion, *steps)
        assert later.evidence["observed_share"] == pytest.approx(0.1 + 0.01 * counted)


@pytest.mark.parametrize(
    ("interest", "share", "reopened"), [(1e5 + 500, 0.5, 1.0), (1e5 + 499, 0.499, 0.0), (9e4, 0.0, 0.0)]
)
def test_open_interest_that_comes_back_within_a_quarter_of_an_hour_reopens(interest, share, reopened):
    steps = sweep(0.3 * USD) + [step(minute, interest=2e5) for minute in range(2, 16)]
    assert math.isnan(detect(depletion, *steps)[0].evidence["reopened_share"])
    steps.append(step(16, interest=interest))
    below, _ = detect(depletion, *steps, step(17, interest=3e5))
    assert below.evidence["reopened_share"] == pytest.approx(share)
    assert below.evidence["reopened"] == reopened
    assert below.evidence["minutes_ago"] == 16.0


def test_stale_open_interest_does_not_say_that_nothing_was_reopened():
    steps = sweep(0.3 * USD) + [step(minute) for minute in range(2, 16)]
    below, _ = detect(depletion, *steps, step(16, open_interest_age_ns=11 * MINUTE_NS))
    assert math.isnan(below.evidence["reopened_share"])
    assert math.isnan(below.evidence["reopened"])


def test_with_steps_of_an_hour_the_next_close_says_what_was_reopened():
    hour = {"step_ns": 60 * MINUTE_NS}
    steps = [
        step(0, zones=[cluster()], **hour),
        step(60, 0.3 * USD, ended=[swept()], reach=-25, **hour),
        step(120, interest=1e5 + 600, **hour),
    ]
    assert detect(depletion, *steps)[0].evidence["reopened_share"] == pytest.approx(0.6)


def test_a_sweep_speaks_for_an_hour_and_a_newer_one_in_its_place():
    steps = sweep(0.3 * USD) + [step(minute) for minute in range(2, 63)]
    assert detect(depletion, *steps[:-1])[0].score == pytest.approx(0.3)
    assert detect(depletion, *steps)[0].score == 0.0
    newer = [step(2, zones=[cluster(id=2)]), step(3, 0.4 * USD, ended=[swept(id=2)], reach=-25)]
    assert detect(depletion, *sweep(0.3 * USD), *newer)[0].score == pytest.approx(0.4)


def test_the_older_sweep_speaks_until_the_newer_one_is_counted():
    length = {"step_ns": 10 * 10**9}
    first = [step(0, zones=[cluster()], **length), step(1 / 6, 0.3 * USD, ended=[swept()], reach=-25, **length)]
    first += [step(i / 6, zones=[cluster(id=2)], **length) for i in range(2, 7)]
    newer = [step(7 / 6, 0.4 * USD, ended=[swept(id=2)], reach=-25, **length)]
    newer += [step(i / 6, **length) for i in (8, 9, 10)]
    said = [detect(depletion, *first, *newer[:count])[0].score for count in (1, 2, 3, 4)]
    assert said == pytest.approx([0.3, 0.3, 0.3, 0.4])


def test_more_sweeps_than_are_remembered_leave_the_newest():
    steps = []
    for i in range(7):
        steps += [step(2 * i, zones=[cluster(id=i)]), step(2 * i + 1, 0.1 * i * USD, ended=[swept(id=i)], reach=-25)]
    assert detect(depletion, *steps)[0].score == pytest.approx(0.6)


def test_more_zones_than_are_remembered_leave_the_nearest():
    zones = [cluster(id=i + 1, end_bin=MARK_BIN - 19 - i, low_bin=MARK_BIN - 20 - i) for i in range(40)]
    last = step(1, 0.3 * USD, ended=[zones[0] | {"ending": SWEPT}], reach=-20)
    assert detect(depletion, step(0, zones=zones), last)[0].score == pytest.approx(0.3)


def test_an_hour_of_silence_makes_unknown_what_it_took_part_in():
    assert math.isnan(detect(depletion, step(0, zones=[cluster()]), *sweep(0.0, minute=61)[1:])[0].score)
    crossing = [step(0, zones=[cluster()]), step(1, zones=[cluster()], reach=-21)]
    below, _ = detect(depletion, *crossing, step(61, USD, ended=[swept()], reach=-25))
    assert math.isnan(below.score)
    reopening = [*sweep(0.3 * USD), step(30, interest=2e5)]
    assert math.isnan(detect(depletion, *reopening)[0].evidence["reopened_share"])
    assert detect(depletion, *reopening)[0].score == pytest.approx(0.3)  # was all counted before
    seconds = {"step_ns": 10 * 10**9}
    counting = [
        step(0, zones=[cluster()], **seconds),
        step(1 / 6, 0.3 * USD, ended=[swept()], reach=-25, **seconds),
        step(30, **seconds),
    ]
    assert math.isnan(detect(depletion, *counting)[0].score)


def test_what_is_not_recorded_has_no_score():
    assert all(math.isnan(found.score) and not found.flag for found in detect(depletion, market()))
    assert math.isnan(detect(depletion, *sweep(math.nan))[0].score)
    unmapped = step()
    unmapped.heat[:] = math.nan
    assert all(math.isnan(found.score) for found in detect(depletion, unmapped))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_market_depletes_on_the_other_side_through_every_step(seed):
    random = np.random.default_rng(seed)
    steps, minute = [], 0
    for _ in range(8):
        minute += int(random.choice([1, 1, 1, 5]))
        zones = [cluster(side, id=int(random.integers(1, 3))) for side in (0, 1) if random.random() < 0.7]
        ended = [swept(side, id=int(random.integers(1, 3))) for side in (0, 1) if random.random() < 0.4]
        seen = step(
            minute,
            zones=zones,
            ended=ended,
            reach=int(random.choice([0, -21, 21, -25])),
            complete=int(random.random() < 0.8),
            interest=float(random.uniform(1e5, 1.01e5)),
        )
        seen.venues["long_usd"], seen.venues["short_usd"] = random.uniform(0, USD / 2, 2)
        steps.append(seen)
    assert_mirrors(depletion, *steps)
