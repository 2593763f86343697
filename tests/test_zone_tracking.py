"""Zones keep their names: laws by property over a small world of drifting mass, each ending by literal numbers."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.patterns.scene import ENDINGS, ZONE
from squeeze.spec import FrameSpec
from squeeze.zones.spec import TrackSpec
from squeeze.zones.track import ZoneTracker
from tests.naive_track import NaiveTracker

BIN = 5e-4
T0 = 1_700_000_000 * 1_000_000_000
T0 -= T0 % DAY_NS
LEVEL = math.exp(0.25 * BIN)
"""The mark in the bin 0."""
COINS = 1e5
REACH = 300
PLAIN = FrameSpec(zone_quantile=0.0, zone_floor_share=1e-3, zone_mass_share=1e-6, zone_reach_log=REACH * BIN)
"""A plateau over 2e-3 and under 4e-3 is a zone just so wide: smoothed, its shoulders are a quarter, one bin a half."""
WORLD = FrameSpec(zone_quantile=0.5, zone_floor_share=5e-3, zone_mass_share=1e-2, zone_reach_log=60 * BIN)


def price(position: float) -> float:
    return math.exp(position * BIN)


def painted(zones, here: int, bins: int = REACH) -> np.ndarray:
    """(side, bin) outward from the mark's bin of plateaus (low, end, height, side) on absolute bins."""
    share = np.zeros((2, bins))
    for low, end, *more in zones:
        height, side = (*more, *(3e-3, 1)[len(more) :])
        for bin_ in range(low, end):
            share[side, here - bin_ if side == 0 else bin_ - here] = height
    return share


class Script:
    """A tracker that is told one short list of zones after another, a minute apart."""

    def __init__(self, reach_bins: int = REACH, **changes):
        self.reach_bins = reach_bins
        frame = FrameSpec(
            zone_quantile=0.0, zone_floor_share=1e-3, zone_mass_share=1e-6, zone_reach_log=reach_bins * BIN
        )
        self.tracker = ZoneTracker(TrackSpec(**changes), frame, BIN)
        self.now = T0

    def __call__(self, *zones, low: float = LEVEL, high: float = LEVEL, after_ns: int = MINUTE_NS) -> list[int]:
        self.now += after_ns
        mark = min(max(LEVEL, low), high)
        share = painted(zones, math.floor(math.log(mark) / BIN), self.reach_bins)
        days = self.now / DAY_NS
        self.seen, self.ended = self.tracker.step(share, share * (days - 1.5), mark, low, high, COINS, self.now)
        return self.seen["id"].tolist()

    def endings(self) -> list[tuple[int, str, int]]:
        return [(int(z["id"]), ENDINGS[z["ending"]], int(z["into"])) for z in self.ended]


def world(seed: int, steps: int) -> list[tuple]:
    """Bumps of mass that come, fade, drift, merge, split and are swept by a mark that wanders."""
    rng = np.random.default_rng(seed)
    mass, mark, said, coins = np.zeros((2, 300)), 150.5, [], COINS
    for step in range(steps):
        before, mark = mark, float(np.clip(mark + np.round(rng.normal(0, 2)), 110.5, 190.5))
        low, high = min(before, mark) - 0.25, max(before, mark) + 0.25
        mass *= rng.choice([0.7, 0.97, 1.0], (2, 1)) * rng.choice(
            [1.0, 1.0, 0.0, 1.5], (2, 300), p=[0.6, 0.3, 0.02, 0.08]
        )
        for side in range(2):
            if rng.random() < 0.4:
                first, width = int(rng.integers(60, 230)), int(rng.integers(1, 12))
                mass[side, first : first + width] += rng.integers(1, 6) / 100
            if rng.random() < 0.2:
                mass[side] = np.roll(mass[side], int(rng.integers(-1, 2)))
            if rng.random() < 0.05:
                mass[side] *= np.arange(300) // 4 % 2  # what is wide falls into pieces
        mass[0, int(low) :] = 0.0
        mass[1, : int(high) + 1] = 0.0
        here = int(mark)
        share = np.stack([mass[0, here - np.arange(60)], mass[1, here + np.arange(60)]])
        if rng.random() < 0.02:
            share[:] = np.nan
        coins *= math.exp(rng.normal(0, 0.02))
        close_ns = T0 + (step + 1) * 30 * MINUTE_NS
        born = share * (close_ns / DAY_NS - rng.uniform(0, 3, share.shape))
        said.append((share, born, price(mark - 150), price(low - 150), price(high - 150), coins, close_ns))
    return said


def follower(seed: int) -> ZoneTracker:
    return ZoneTracker(any_spec(seed), WORLD, BIN)


def told(tracker, steps: list[tuple]) -> list[tuple]:
    return [tracker.step(*step) for step in steps]


def as_bytes(said: list[tuple]) -> list[bytes]:
    return [part.tobytes() for pair in said for part in pair]


def snapshot(tracker: ZoneTracker) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in tracker.arrays().items()}


def restore(tracker: ZoneTracker, kept: dict[str, np.ndarray]) -> None:
    for name, array in tracker.arrays().items():
        array[...] = kept[name]


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=15, deadline=None)
CROWDED = TrackSpec(zones_per_side=4, grace_steps=2, sample_minutes=30.0)


def any_spec(seed: int) -> TrackSpec:
    return CROWDED if seed % 3 == 0 else TrackSpec(grace_steps=seed % 5)


# --- laws


def test_the_world_has_all_that_can_happen():
    said = [pair for seed in (0, 3, 6, 9) for pair in told(ZoneTracker(CROWDED, WORLD, BIN), world(seed, 400))]
    endings = {ENDINGS[number] for _, ended in said for number in ended["ending"]}
    assert endings == set(ENDINGS[1:])
    seen = np.concatenate([zones for zones, _ in said])
    assert (seen["split_from"] > 0).any()
    assert np.isfinite(seen["place_24h_log"]).any()
    assert (seen["touched_ns"] > 0).any()
    assert 0 < seen["major"].mean() < 0.5


@FEW
@given(SEEDS)
def test_the_tracker_equals_its_naive_twin(seed):
    fast, slow = follower(seed), NaiveTracker(any_spec(seed), WORLD, BIN)
    for step in world(seed, 120):
        for ours, theirs in zip(fast.step(*step), slow.step(*step), strict=True):
            assert ours.dtype == ZONE
            assert len(ours) == len(theirs)
            for zone, twin in zip(ours, theirs, strict=True):
                assert twin.keys() == set(ZONE.names)
                for name in ZONE.names:
                    np.testing.assert_equal(zone[name], twin[name], err_msg=name)


@FEW
@given(SEEDS)
def test_a_reflected_market_has_the_same_zones(seed):
    steps = world(seed, 120)
    mirror = [
        (share[::-1].copy(), born[::-1].copy(), 1 / mark, 1 / high, 1 / low, coins, close_ns)
        for share, born, mark, low, high, coins, close_ns in steps
    ]
    for ours, theirs in zip(told(follower(seed), mirror), told(follower(seed), steps), strict=True):
        for part, twin in zip(ours, theirs, strict=True):
            turned = np.concatenate([twin[twin["side"] == 1], twin[twin["side"] == 0]])
            turned["side"] = 1 - turned["side"]
            turned["low_bin"], turned["end_bin"] = -turned["end_bin"], -turned["low_bin"].copy()
            for name in ("place_log", "place_24h_log"):
                turned[name] *= -1
            turned["mass_usd"] = part["mass_usd"]  # coins are worth another price
            for name in ZONE.names:
                np.testing.assert_array_equal(part[name], turned[name], err_msg=name)


@FEW
@given(SEEDS, st.integers(1, 119))
def test_later_steps_change_nothing_earlier(seed, cut):
    steps, others = world(seed, 120), world(seed + 1, 120)
    whole = told(follower(seed), steps)
    assert as_bytes(told(follower(seed), steps[:cut] + others[cut:])[:cut]) == as_bytes(whole[:cut])


@FEW
@given(SEEDS, st.integers(0, 120))
def test_a_restored_tracker_goes_on_to_the_bit(seed, cut):
    steps = world(seed, 120)
    first = follower(seed)
    told(first, steps[:cut])
    kept = snapshot(first)
    want = as_bytes(told(first, steps[cut:]))
    second = follower(seed)
    told(second, steps[: cut // 2])  # a restored one forgets what it was told
    restore(second, kept)
    assert as_bytes(told(second, steps[cut:])) == want
    assert same(snapshot(second), snapshot(first))


@FEW
@given(SEEDS)
def test_a_stream_that_stops_at_each_step_tells_what_the_batch_tells(seed):
    steps = world(seed, 60)
    stream, kept = [], snapshot(follower(seed))
    for step in steps:
        tracker = follower(seed)
        restore(tracker, kept)
        stream += told(tracker, [step])
        kept = snapshot(tracker)
    assert as_bytes(stream) == as_bytes(told(follower(seed), steps))


@FEW
@given(SEEDS)
def test_an_id_is_one_life(seed):
    """Ids rise as zones are born, are never reused, and end at most once, with a reason."""
    born, over = {0: 0, 1: 0}, set()
    for seen, ended in told(follower(seed), world(seed, 150)):
        names = [(int(z["side"]), int(z["id"])) for z in seen]
        assert len(set(names)) == len(names)
        for zone, name in zip(seen, names, strict=True):
            assert (zone["ending"], zone["ended_ns"], zone["into"]) == (0, 0, 0)
            assert name not in over
            if zone["seen_steps"] == 1:
                assert zone["id"] == born[zone["side"]] + 1
                born[zone["side"]] = zone["id"]
            assert zone["id"] <= born[zone["side"]]
        for zone in ended:
            name = int(zone["side"]), int(zone["id"])
            assert name not in over
            over.add(name)
            assert (zone["into"] > 0) == (ENDINGS[zone["ending"]] in ("merged", "split"))
            assert zone["into"] != zone["id"]


def test_what_was_returned_stays_as_it_was():
    tracker, kept = follower(1), []
    for step in world(1, 120):
        parts = tracker.step(*step)
        kept += [(part, part.copy()) for part in parts]
    assert all(part.tobytes() == copy.tobytes() for part, copy in kept)


# --- names


def test_a_zone_that_drifts_bin_by_bin_keeps_its_id():
    say = Script()
    for shift in range(200):
        assert say((20 + shift, 26 + shift), (60 + shift, 61 + shift)) == [1, 2]


@pytest.mark.parametrize("side", [0, 1])
def test_a_zone_keeps_its_place_while_the_mark_and_with_it_the_window_move(side):
    """Distances outward from a mark that falls or rises through 500 bins; the place in price stays to the bin."""
    frame = FrameSpec(zone_quantile=0.0, zone_floor_share=1e-3, zone_mass_share=1e-6, zone_reach_log=1500 * BIN)
    tracker = ZoneTracker(TrackSpec(), frame, BIN)
    low, end, centroid = (-900, -890, -895) if side == 0 else (900, 910, 905)
    for number, here in enumerate([*range(0, 500, 3), *range(500, -500, -7)]):
        mark = price(here + 0.37)
        share = painted([(low, end, 3e-3, side)], here, 1500)
        ((zone,), _) = tracker.step(share, share, mark, mark, mark, COINS, T0 + number)
        assert (zone["id"], zone["low_bin"], zone["end_bin"], zone["seen_steps"]) == (1, low, end, number + 1)
        assert zone["place_log"] == pytest.approx(centroid * BIN, abs=1e-12)
        assert (zone["born_ns"], zone["touched_ns"]) == (T0, 0)


@pytest.mark.parametrize(("shift", "kept"), [(5, True), (6, False)])
def test_three_tenths_of_the_bins_of_both_are_enough(shift, kept):
    say = Script(centroid_log=0.0)
    say((20, 30))  # 5 of 15 bins in common, or 4 of 16
    assert say((20 + shift, 30 + shift)) == ([1] if kept else [2])


def test_exactly_three_tenths_are_enough():
    say = Script(centroid_log=0.0)
    say((20, 30))
    assert say((20, 23)) == [1]


@pytest.mark.parametrize(("first", "kept"), [(24, True), (25, False)])
def test_without_overlap_centroids_within_two_tenths_of_a_percent_are_enough(first, kept):
    say = Script(centroid_log=0.002 + 1e-12)
    say((20, 21))
    assert say((first, first + 1)) == ([1] if kept else [2])


def test_overlap_goes_before_centroids_and_the_greater_overlap_first():
    say = Script()
    say((20, 30), (33, 36))
    assert say((22, 35)) == [1]  # 8 of 15 against 2 of 14, though the second is near


def test_sides_have_ids_of_their_own():
    say = Script()
    say((-30, -20, 3e-3, 0), (20, 30))
    assert [(z["side"], z["id"]) for z in say.seen] == [(0, 1), (1, 1)]
    say((-30, -20, 3e-3, 0), (-60, -50, 3e-3, 0), (20, 30))
    assert [(z["side"], z["id"]) for z in say.seen] == [(0, 1), (0, 2), (1, 1)]


def test_a_zone_may_be_missed_three_times_but_not_four():
    for missed, kept in ((3, True), (4, False)):
        say = Script()
        say((20, 30))
        for _ in range(missed):
            assert say() == []
        assert say.endings() == ([] if kept else [(1, "dissipated", 0)])
        assert say((20, 30)) == ([1] if kept else [2])
        assert say.seen[0]["seen_steps"] == (2 if kept else 1)
    say = Script(grace_steps=0)
    say((20, 30))
    say()
    assert say.endings() == [(1, "dissipated", 0)]


def test_while_open_interest_is_not_known_zones_are_missed():
    say = Script()
    say((20, 30))
    nothing = np.full((2, REACH), np.nan)
    seen, ended = say.tracker.step(nothing, nothing, LEVEL, LEVEL, LEVEL, math.nan, say.now + 1)
    assert (len(seen), len(ended)) == (0, 0)
    assert say((20, 30)) == [1]


# --- what is remembered


def test_masses_come_as_shares_in_coins_and_in_dollars_at_the_centroid():
    say = Script()
    say((20, 30, 2e-3))
    (zone,) = say.seen
    assert zone["mass_share"] == pytest.approx(0.019)  # smoothing takes a quarter of a bin over either edge
    assert zone["peak_share"] == pytest.approx(2e-3)
    assert zone["mass_base"] == pytest.approx(1900)
    assert zone["mass_usd"] == pytest.approx(1900 * price(25))
    assert zone["age_days"] == pytest.approx(1.5)
    assert (zone["near_log"], zone["far_log"]) == pytest.approx((20 * BIN, 30 * BIN))


def test_masses_of_before_come_from_samples_five_minutes_apart():
    say, seen = Script(), {}
    say.now -= MINUTE_NS
    for minute in range(0, 1600):
        say((20, 30, 2e-3 + minute * 1e-6))
        (seen[minute],) = say.seen
    mass = {minute: z["mass_share"] for minute, z in seen.items()}
    assert np.isnan(seen[59]["mass_1h_share"])
    assert (seen[60]["mass_1h_share"], seen[64]["mass_1h_share"]) == (mass[0], mass[0])
    assert (seen[65]["mass_1h_share"], seen[369]["mass_6h_share"]) == (mass[5], mass[5])
    assert np.isnan([seen[1439]["mass_24h_share"], seen[1439]["place_24h_log"]]).all()
    assert seen[1599]["mass_24h_share"] == mass[155]
    assert seen[1599]["place_24h_log"] == seen[155]["place_log"]


def test_the_peak_of_six_hours_is_kept_for_six_hours():
    say = Script()
    for hour, height in enumerate((2.1, 3.5, 3.5, 3.0, 2.2, 2.2, 2.2, 2.2, 2.2, 2.2)):
        say((20, 30, height * 1e-3), after_ns=HOUR_NS)
        (zone,) = say.seen
        peak = 9.5e-3 * (height if hour == 0 else 3.0 if hour == 9 else 3.5)
        assert zone["peak_6h_share"] == pytest.approx(peak)
        assert zone["peak_6h_base"] == pytest.approx(peak * COINS)


def test_a_hole_leaves_no_masses_of_before():
    say = Script()
    say((20, 30))
    say((20, 30), after_ns=3 * HOUR_NS)
    assert say.seen["id"] == [1]
    assert np.isnan(say.seen["mass_1h_share"])  # the sample is three hours old, which is not one
    say((20, 30), after_ns=HOUR_NS)
    assert say.seen["mass_1h_share"] == say.seen["mass_share"]


def test_zones_from_the_ninetieth_percentile_of_their_side_on_are_major_once_a_day_is_known():
    say = Script(grace_steps=0)
    heights = np.linspace(2.1e-3, 3.9e-3, 10)
    for hour in range(30):
        say(*((20 + 10 * i, 24 + 10 * i, h) for i, h in enumerate(heights)), after_ns=HOUR_NS)
        assert say.seen["major"].tolist() == [0] * 8 + [int(hour >= 24)] * 2  # from the ninth of ten on
    for _ in range(200):
        say((20, 24, 2.1e-3), after_ns=DAY_NS)  # what was heavy is forgotten
    assert say.seen["major"].tolist() == [1]


def test_the_mark_touches_a_zone_after_its_birth_and_not_by_standing_on_its_border():
    say = Script()
    say((20, 30), high=price(25.5))  # before it was born
    assert say.seen["touched_ns"] == [0]
    say((20, 30), high=price(19.75))
    assert say.seen["touched_ns"] == [0]
    say((20, 30), high=price(20.25))
    assert say.seen["touched_ns"] == [say.now]
    touched = say.now
    say((21, 30))
    assert say.seen["touched_ns"] == [touched]
    say = Script()
    say((0, 30))
    say((0, 30), low=0.9, high=1.0)  # log 0 is the border of bin 0, exactly
    assert say.seen["touched_ns"] == [0]


# --- how zones end


def test_a_zone_that_the_mark_went_through_is_swept_at_once():
    say = Script()
    say((20, 30))
    say(high=price(30.25))
    assert say.endings() == [(1, "swept", 0)]
    (zone,) = say.ended
    assert (zone["ended_ns"], zone["born_ns"], zone["touched_ns"]) == (say.now, say.now - MINUTE_NS, say.now)
    assert say((20, 30)) == [2]
    assert say.seen["split_from"] == [0]


def test_the_far_edge_itself_is_enough_for_a_sweep():
    say = Script()
    say((-10, 0, 3e-3, 1), low=price(-20.5), high=price(-15.5))
    say(low=price(-20.5), high=1.0)
    assert say.endings() == [(1, "swept", 0)]
    say = Script()
    say((-10, 0, 3e-3, 1), low=price(-20.5), high=price(-15.5))
    say(low=price(-20.5), high=price(-0.01))
    assert say.endings() == []


def test_what_is_found_where_a_sweep_went_is_another_zone():
    say = Script()
    say((20, 30))
    assert say((20, 30), high=price(31.5)) == [2]
    assert say.endings() == [(1, "swept", 0)]


def test_a_zone_eaten_in_bites_is_swept_by_the_last():
    say = Script()
    assert say((20, 30)) == say((24, 30), high=price(24.5)) == say((27, 30), high=price(27.5)) == [1]
    say(high=price(30.5))
    assert say.endings() == [(1, "swept", 0)]


def test_a_zone_lost_to_a_bite_is_pierced():
    say = Script()
    say((20, 30))
    for _ in range(4):
        say(high=price(28.5))
    assert say.endings() == [(1, "pierced", 0)]


def test_a_zone_lost_untouched_has_dissipated_though_it_was_touched_long_ago():
    say = Script()
    say((20, 30))
    say((20, 30), high=price(21.5))
    for _ in range(4):
        say()
    assert say.endings() == [(1, "dissipated", 0)]
    assert say.ended["touched_ns"] > 0


def test_a_sweep_in_the_grace_is_a_sweep():
    say = Script()
    say((20, 30))
    say()
    say(high=price(33.5))
    assert say.endings() == [(1, "swept", 0)]


def test_a_zone_the_mark_went_away_from_is_out_of_reach():
    for here, ending in ((-1.5, "out_of_reach"), (5.5, "dissipated")):
        say = Script(reach_bins=32)
        say((20, 30), low=price(5.5), high=price(5.5))
        for _ in range(4):
            say(low=price(here), high=price(5.5))
        assert say.endings() == [(1, ending, 0)]


def test_the_lesser_of_two_zones_that_merge_ends_in_the_greater():
    say = Script()
    assert say((20, 34), (37, 43)) == [1, 2]
    for _ in range(4):
        assert say((20, 43)) == [1]
    assert say.endings() == [(2, "merged", 1)]
    assert say.ended["seen_steps"] == [1]


def test_two_zones_that_part_again_within_the_grace_keep_their_ids():
    say = Script()
    say((20, 34), (37, 43))
    assert say((20, 43)) == [1]
    assert say((20, 34), (37, 43)) == [1, 2]
    parted = snapshot(say.tracker)
    say(high=price(44.5))
    assert say.endings() == [(1, "swept", 0), (2, "swept", 0)]
    restore(say.tracker, parted)
    for _ in range(5):
        say((20, 34), (37, 43))
    assert say.endings() == []
    assert [(z["id"], z["split_from"]) for z in say.seen] == [(1, 0), (2, 0)]


def test_a_merged_zone_stays_merged_when_the_whole_is_swept():
    say = Script()
    say((20, 34), (37, 43))
    say((20, 43))
    say(high=price(44.5))
    assert say.endings() == [(1, "swept", 0), (2, "merged", 1)]


def test_the_lesser_part_of_a_split_is_new_and_knows_its_parent():
    say = Script()
    say((20, 43))
    assert say((20, 34), (37, 43), (60, 62)) == [1, 2, 3]
    assert say.seen["split_from"].tolist() == [0, 1, 0]
    say((20, 34), (37, 43), (60, 62))
    assert say.seen["split_from"].tolist() == [0, 1, 0]


def test_a_zone_that_falls_into_pieces_none_of_which_is_like_it_was_split():
    say = Script(centroid_log=0.0)
    say((20, 42))
    for _ in range(4):
        assert say((20, 25), (28, 33), (36, 41)) == [2, 3, 4]
    assert say.seen["split_from"].tolist() == [1, 1, 1]
    assert say.endings() == [(1, "split", 2)]


def test_beyond_the_cap_the_heaviest_are_followed_and_missed_ones_make_room():
    say = Script(zones_per_side=2)
    assert say((20, 30, 3e-3), (40, 50, 2.1e-3), (60, 70, 2.5e-3)) == [1, 2]
    assert say.seen["low_bin"].tolist() == [20, 60]
    assert say((20, 30, 2.1e-3), (40, 50, 3.5e-3), (60, 70, 2.5e-3)) == [3, 2]
    assert say.endings() == [(1, "crowded_out", 0)]


# --- borders


def changed(side: int, value: float) -> np.ndarray:
    share = painted([(20, 30), (-30, -20, 3e-3, 0)], 0)
    share[side, 100] = value
    return share


GOOD = painted([(20, 30)], 0)
NARROW = painted([(20, 30)], 0, 299)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ((GOOD, GOOD, 1.0, 1.0, 1.0, COINS, T0), "rising time"),
        ((GOOD, GOOD, 1.0, 1.0, 1.0, COINS, T0 - 1), "rising time"),
        ((GOOD, GOOD, math.nan, 1.0, 1.0, COINS, T0 + 1), "within its range"),
        ((GOOD, GOOD, 1.0, math.nan, 1.0, COINS, T0 + 1), "within its range"),
        ((GOOD, GOOD, 1.0, 1.0, math.nan, COINS, T0 + 1), "within its range"),
        ((GOOD, GOOD, 1.0, 1.0, math.inf, COINS, T0 + 1), "within its range"),
        ((GOOD, GOOD, 1.0, 0.0, 1.0, COINS, T0 + 1), "within its range"),
        ((GOOD, GOOD, 1.0, 1.1, 1.2, COINS, T0 + 1), "within its range"),
        ((GOOD, GOOD, 1.2, 1.0, 1.1, COINS, T0 + 1), "within its range"),
        ((changed(0, math.inf), GOOD, 1.0, 1.0, 1.0, COINS, T0 + 1), "finite"),
        ((changed(1, -1e-9), GOOD, 1.0, 1.0, 1.0, COINS, T0 + 1), "not negative"),
        ((changed(1, math.nan), GOOD, 1.0, 1.0, 1.0, COINS, T0 + 1), "finite"),
        ((GOOD, changed(1, math.nan), 1.0, 1.0, 1.0, COINS, T0 + 1), "finite"),
        ((GOOD, GOOD, 1.0, 1.0, 1.0, math.nan, T0 + 1), "open interest"),
        ((GOOD, GOOD, 1.0, 1.0, 1.0, 0.0, T0 + 1), "open interest"),
        ((NARROW, NARROW, 1.0, 1.0, 1.0, COINS, T0 + 1), "300 bins"),
        ((GOOD, NARROW, 1.0, 1.0, 1.0, COINS, T0 + 1), "300 bins"),
        ((GOOD[:1], GOOD[:1], 1.0, 1.0, 1.0, COINS, T0 + 1), "300 bins"),
    ],
)
def test_an_impossible_step_is_refused_and_changes_nothing(step, reason):
    tracker = ZoneTracker(TrackSpec(), PLAIN, BIN)
    tracker.step(GOOD, GOOD, LEVEL, LEVEL, LEVEL, COINS, T0)
    before = snapshot(tracker)
    with pytest.raises(StepError, match=reason):
        tracker.step(*step)
    assert same(snapshot(tracker), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"least_iou": 0.0},
        {"centroid_log": -0.1},
        {"grace_steps": -1},
        {"part_share": 1.1},
        {"sample_minutes": 0.5},
        {"zones_per_side": 0},
    ],
)
def test_an_impossible_spec_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        TrackSpec(**changes)


MANY_STEPS = int(os.environ.get("MANY_STEPS", "12000"))
"""100,000 in `make long`."""


def test_many_steps_need_no_more_memory_than_ten_thousand():
    """Arrays stay as they are, and a look back stays right when every ring has gone round many times."""
    spec = TrackSpec(sample_minutes=60.0, zones_per_side=6)
    tracker, steps = ZoneTracker(spec, WORLD, BIN), world(5, 200)
    share = painted([(20, 30, 2e-2)], 0, 60)
    before = {name: (array.ctypes.data, array.nbytes) for name, array in tracker.arrays().items()}
    for number in range(MANY_STEPS):
        *market, _ = steps[number % 200]
        tracker.step(*market, T0 + number * MINUTE_NS)
    mass = []
    for number in range(MANY_STEPS, 2 * MANY_STEPS):
        grown = share * (1 + 0.1 * math.sin(number))
        (zone,), _ = tracker.step(grown, grown, LEVEL, LEVEL, LEVEL, COINS, T0 + number * MINUTE_NS)
        mass.append(zone["mass_share"])
    first = (number - int(zone["seen_steps"]) + 1) - MANY_STEPS
    day_ago = len(mass) - 1 - 24 * 60
    assert zone["mass_24h_share"] == mass[first + (day_ago - first) // 60 * 60]
    assert {name: (array.ctypes.data, array.nbytes) for name, array in tracker.arrays().items()} == before
