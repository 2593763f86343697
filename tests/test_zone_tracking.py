"""Zones keep their names: laws by property over a small world of drifting mass, each ending by literal numbers."""

import json
import math
import os
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS
from squeeze.zones.extract import Zone
from squeeze.zones.track import PlacedZone, TrackedZone, TrackSpec, ZoneTracker, match, placed

BIN = 5e-4
T0 = 1_700_000_000 * 1_000_000_000
T0 -= T0 % DAY_NS
FAR = math.exp(-400.25 * BIN), math.exp(400.25 * BIN)
"""A mark below and one above everything; neither lies on a border."""
LEVEL = math.exp(0.25 * BIN)
"""The mark in the bin 0."""


def at(low: int, end: int, side: int = 1, mass: float = 0.02, centroid: float | None = None) -> PlacedZone:
    """A zone over [low, end), as seen from a mark in bin 0."""
    near, far = (low, end) if side == 1 else (-end, -low)
    middle = (low + end) / 2 if centroid is None else float(centroid)
    zone = Zone(side, near * BIN, far * BIN, abs(middle) * BIN, mass / 5, mass, 1.5)
    return PlacedZone(zone, low, end, middle * BIN)


def tracker(reach_bins: int = 300, **changes) -> ZoneTracker:
    return ZoneTracker(TrackSpec(**changes), BIN, reach_bins * BIN)


class Script:
    """A tracker that is told one short zone list after another, a minute apart."""

    def __init__(self, **changes):
        self.tracker = tracker(**changes)
        self.now = T0

    def __call__(self, *zones: PlacedZone, low: float = LEVEL, high: float = LEVEL) -> list[int]:
        self.now += MINUTE_NS
        self.seen = self.tracker.step(([], list(zones)), low, high, self.now)
        return [z.id for z in self.seen]

    def endings(self) -> list[tuple[int, str | None, int | None]]:
        return [(z.id, z.ending, z.into) for z in self.tracker.ended]


def price(position: float) -> float:
    return math.exp(position * BIN)


def world(seed: int, steps: int) -> list[tuple]:
    """Bumps of mass that come, fade, drift, merge, split and are swept by a mark that wanders."""
    rng = np.random.default_rng(seed)
    mass, mark, said = np.zeros((2, 160)), 80.5, []
    for step in range(steps):
        before, mark = mark, float(np.clip(mark + np.round(rng.normal(0, 2)), 40.5, 120.5))
        low, high = min(before, mark) - 0.25, max(before, mark) + 0.25
        mass *= rng.choice([0.7, 0.97, 1.0], (2, 1)) * rng.choice(
            [1.0, 1.0, 0.0, 1.5], (2, 160), p=[0.6, 0.3, 0.02, 0.08]
        )
        for side in range(2):
            if rng.random() < 0.4:
                first, width = int(rng.integers(0, 150)), int(rng.integers(1, 12))
                mass[side, first : first + width] += rng.integers(1, 6)
            if rng.random() < 0.2:
                mass[side] = np.roll(mass[side], int(rng.integers(-1, 2)))
        mass[0, int(low) :] = 0.0
        mass[1, : int(high) + 1] = 0.0
        zones = [_runs(mass[0], 0, int(mark)), _runs(mass[1], 1, int(mark))]
        said.append((zones, price(low - 80), price(high - 80), T0 + (step + 1) * 30 * MINUTE_NS))
    return said


def _runs(cells: np.ndarray, side: int, mark: int) -> list[PlacedZone]:
    found, first = [], None
    for bin_ in [*range(160), 160]:
        dense = bin_ < 160 and cells[bin_] >= 1.0 and abs(bin_ - mark) < 60
        if dense and first is None:
            first = bin_
        if not dense and first is not None:
            held = cells[first:bin_]
            middle = float((held * (np.arange(first, bin_) + 0.5)).sum() / held.sum()) - 80
            found.append(at(first - 80, bin_ - 80, side, float(held.sum()) / 100, middle))
            first = None
    return found[::-1] if side == 0 else found


def told(follower: ZoneTracker, steps: list[tuple]) -> list[tuple]:
    return [(follower.step(*step), follower.ended) for step in steps]


def reflected(zone):
    """The same in a market where price is 1 / price, and longs are shorts."""
    changes = {"low_bin": -zone.end_bin, "end_bin": -zone.low_bin, "centroid_log": -zone.centroid_log}
    changes["zone"] = msgspec.structs.replace(zone.zone, side=1 - zone.zone.side)
    if isinstance(zone, TrackedZone):
        changes["side"] = 1 - zone.side
        changes["centroid_24h_log"] = None if zone.centroid_24h_log is None else -zone.centroid_24h_log
    return msgspec.structs.replace(zone, **changes)


SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=15, deadline=None)
CROWDED = TrackSpec(zones_per_side=4, grace_steps=2, sample_minutes=30.0)


def any_spec(seed: int) -> TrackSpec:
    return CROWDED if seed % 3 == 0 else TrackSpec(grace_steps=seed % 5)


# --- laws


def test_the_world_has_all_that_can_happen():
    told_ = [pair for seed in range(4) for pair in told(ZoneTracker(CROWDED, BIN, 60 * BIN), world(seed, 400))]
    endings = {z.ending for _, ended in told_ for z in ended}
    assert endings == {"swept", "pierced", "merged", "split", "out_of_reach", "crowded_out", "dissipated"}
    seen = [z for zones, _ in told_ for z in zones]
    assert any(z.split_from for z in seen)
    assert any(z.centroid_24h_log is not None for z in seen)
    assert any(z.touched for z in seen)


@FEW
@given(SEEDS)
def test_a_reflected_market_has_the_same_zones(seed):
    steps = world(seed, 120)
    mirror = [
        ([[reflected(z) for z in side] for side in (zones[1], zones[0])], 1 / high, 1 / low, close_ns)
        for zones, low, high, close_ns in steps
    ]
    got = told(ZoneTracker(any_spec(seed), BIN, 60 * BIN), mirror)
    want = told(ZoneTracker(any_spec(seed), BIN, 60 * BIN), steps)
    for ours, theirs in zip(got, want, strict=True):
        for part, twin in zip(ours, theirs, strict=True):
            turned = [reflected(z) for side in (1, 0) for z in twin if z.side == side]
            assert list(part) == turned


@FEW
@given(SEEDS, st.integers(1, 119))
def test_later_steps_change_nothing_earlier(seed, cut):
    steps, others = world(seed, 120), world(seed + 1, 120)
    whole = told(ZoneTracker(any_spec(seed), BIN, 60 * BIN), steps)
    kept = msgspec.json.encode(whole[:cut])
    other = told(ZoneTracker(any_spec(seed), BIN, 60 * BIN), steps[:cut] + others[cut:])
    assert msgspec.json.encode(other[:cut]) == kept


@FEW
@given(SEEDS, st.integers(0, 120), st.booleans())
def test_a_restored_tracker_goes_on_to_the_bit(seed, cut, through_json):
    steps = world(seed, 120)
    first = ZoneTracker(any_spec(seed), BIN, 60 * BIN)
    told(first, steps[:cut])
    snapshot = first.snapshot()
    want = msgspec.json.encode(told(first, steps[cut:]))  # the snapshot is no view of what goes on
    second = ZoneTracker(any_spec(seed), BIN, 60 * BIN)
    told(second, steps[: cut // 2])  # a restored one forgets what it was told
    second.restore(json.loads(json.dumps(snapshot)) if through_json else snapshot)
    assert second.snapshot() == snapshot
    assert msgspec.json.encode(told(second, steps[cut:])) == want
    assert second.snapshot() == first.snapshot()


@FEW
@given(SEEDS)
def test_a_stream_that_stops_at_each_step_tells_what_the_batch_tells(seed):
    steps = world(seed, 60)
    stream, snapshot = [], ZoneTracker(any_spec(seed), BIN, 60 * BIN).snapshot()
    for step in steps:
        follower = ZoneTracker(any_spec(seed), BIN, 60 * BIN)
        follower.restore(snapshot)
        stream += told(follower, [step])
        snapshot = follower.snapshot()
    assert stream == told(ZoneTracker(any_spec(seed), BIN, 60 * BIN), steps)


@FEW
@given(SEEDS)
def test_an_id_is_one_life(seed):
    """Ids rise as zones are born, are never reused, and end at most once, with a reason."""
    born, over = {0: 0, 1: 0}, set()
    for seen, ended in told(ZoneTracker(any_spec(seed), BIN, 60 * BIN), world(seed, 150)):
        assert len({(z.side, z.id) for z in seen}) == len(seen)
        for zone in seen:
            assert zone.ending is None
            assert (zone.side, zone.id) not in over
            if zone.seen_steps == 1:
                assert zone.id == born[zone.side] + 1
                born[zone.side] = zone.id
            assert zone.id <= born[zone.side]
        for zone in ended:
            assert zone.ending is not None
            assert (zone.side, zone.id) not in over
            over.add((zone.side, zone.id))
            assert (zone.into is not None) == (zone.ending in ("merged", "split"))
            assert zone.into != zone.id


def slow_match(before, found, least_iou, most_log) -> list[int]:
    """Again and again the best pair of those left, bins as sets, shares as fractions."""
    owners: dict[int, int] = {}
    for rule in ("overlap", "centroid"):
        while True:
            best = None
            for old, b in enumerate(before):
                for new, f in enumerate(found):
                    if old in owners.values() or new in owners:
                        continue
                    ours, theirs = set(range(b.low_bin, b.end_bin)), set(range(f.low_bin, f.end_bin))
                    share, apart = (
                        Fraction(len(ours & theirs), len(ours | theirs)),
                        abs(b.centroid_log - f.centroid_log),
                    )
                    if rule == "overlap" and share >= least_iou:
                        rank = (-share, apart, old, new)
                    elif rule == "centroid" and apart <= most_log:
                        rank = (apart, old, new)
                    else:
                        continue
                    best = rank if best is None else min(best, rank)
            if best is None:
                break
            owners[best[-1]] = best[-2]
    return [owners.get(new, -1) for new in range(len(found))]


SPANS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(-2, 2)).map(
        lambda t: at(t[0], t[0] + t[1], centroid=t[0] + t[1] / 2 + t[2] / 2)
    ),
    max_size=7,
)


@settings(max_examples=300, deadline=None)
@given(SPANS, SPANS, st.sampled_from([(3, 10), (1, 2), (1, 10), (1, 1)]), st.sampled_from([0.0, 0.001, 0.002]))
def test_matching_equals_its_slow_twin(before, found, share, most_log):
    got = match(before, found, share[0] / share[1], most_log)
    assert got == slow_match(before, found, Fraction(*share), most_log)


# --- names


def test_a_zone_that_drifts_bin_by_bin_keeps_its_id():
    say = Script()
    for shift in range(200):
        assert say(at(20 + shift, 26 + shift), at(60 + shift, 61 + shift)) == [1, 2]


@pytest.mark.parametrize("side", [0, 1])
def test_a_zone_keeps_its_place_while_the_mark_and_with_it_the_window_move(side):
    """Distances outward from a mark that falls or rises through 500 bins; the place in price stays to the bin."""
    follower = tracker(reach_bins=2000)
    steps = [*range(0, 500, 3), *range(500, -500, -7)]
    low, end, centroid = (-900, -890, -895.2) if side == 0 else (900, 910, 904.8)
    for number, here in enumerate(steps):
        mark = price(here + 0.37)
        near, far = (here + 1 - end, here + 1 - low) if side == 0 else (low - here, end - here)
        middle = here + 1 - centroid if side == 0 else centroid - here
        found = [Zone(side, near * BIN, far * BIN, middle * BIN, 0.01, 0.02, 0.5)]
        (zone,) = follower.step(placed(found, mark, BIN), mark, mark, T0 + number)
        assert (zone.id, zone.low_bin, zone.end_bin, zone.seen_steps) == (1, low, end, number + 1)
        assert zone.centroid_log == pytest.approx(centroid * BIN, abs=1e-12)
        assert (zone.born_ns, zone.touched) == (T0, False)


@pytest.mark.parametrize(("shift", "kept"), [(5, True), (6, False)])
def test_three_tenths_of_the_bins_of_both_are_enough(shift, kept):
    say = Script(centroid_log=0.0)
    say(at(20, 30))  # 5 of 15 bins in common, or 4 of 16
    assert say(at(20 + shift, 30 + shift)) == ([1] if kept else [2])


def test_exactly_three_tenths_are_enough():
    say = Script(centroid_log=0.0)
    say(at(20, 30))
    assert say(at(20, 23)) == [1]


@pytest.mark.parametrize(("shift", "kept"), [(3.9, True), (4.1, False)])
def test_without_overlap_centroids_within_two_tenths_of_a_percent_are_enough(shift, kept):
    say = Script()
    say(at(20, 21))
    assert say(at(24, 25, centroid=20.5 + shift)) == ([1] if kept else [2])


def test_overlap_goes_before_centroids_and_the_greater_overlap_first():
    say = Script()
    say(at(20, 30), at(31, 34))
    assert say(at(22, 33)) == [1]  # 8 of 13 against 2 of 12, though the second is near
    say = Script()
    say(at(20, 24, centroid=23.9), at(25, 30, centroid=29.9))
    assert say(at(24, 29, centroid=24.0)) == [2]  # the first one's centroid is nearer, but it has no bin in common


def test_sides_have_ids_of_their_own():
    follower = tracker()
    seen = follower.step(([at(-30, -20, 0)], [at(20, 30)]), LEVEL, LEVEL, T0)
    assert [(z.side, z.id) for z in seen] == [(0, 1), (1, 1)]
    seen = follower.step(([at(-30, -20, 0), at(-60, -50, 0)], [at(20, 30)]), LEVEL, LEVEL, T0 + 1)
    assert [(z.side, z.id) for z in seen] == [(0, 1), (0, 2), (1, 1)]


def test_a_zone_may_be_missed_three_times_but_not_four():
    for missed, kept in ((3, True), (4, False)):
        say = Script()
        say(at(20, 30))
        for _ in range(missed):
            assert say() == []
        assert say.endings() == ([] if kept else [(1, "dissipated", None)])
        assert say(at(20, 30)) == ([1] if kept else [2])
        assert say.seen[0].seen_steps == (2 if kept else 1)
    say = Script(grace_steps=0)
    say(at(20, 30))
    say()
    assert say.endings() == [(1, "dissipated", None)]


# --- what is remembered


def test_masses_of_before_come_from_samples_five_minutes_apart():
    follower, say = tracker(), {}
    for minute in range(0, 1600):
        zone = at(20, 30, mass=minute / 1e5, centroid=25 + minute / 1e4)
        (say[minute],) = follower.step(([], [zone]), LEVEL, LEVEL, T0 + minute * MINUTE_NS)
    assert (say[59].mass_1h_share, say[60].mass_1h_share, say[64].mass_1h_share) == (None, 0.0, 0.0)
    assert (say[65].mass_1h_share, say[369].mass_6h_share) == (5 / 1e5, 5 / 1e5)
    assert (say[1439].mass_24h_share, say[1439].centroid_24h_log) == (None, None)
    assert say[1599].mass_24h_share == 155 / 1e5
    assert say[1599].centroid_24h_log == (25 + 155 / 1e4) * BIN
    assert all(z.peak_ns == T0 + m * MINUTE_NS and z.peak_mass_share == m / 1e5 for m, z in say.items())


def test_a_peak_is_kept_for_ever_and_that_of_six_hours_for_six_hours():
    follower = tracker()
    for hour, mass in enumerate((0.02, 0.05, 0.05, 0.03, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01)):
        (zone,) = follower.step(([], [at(20, 30, mass=mass)]), LEVEL, LEVEL, T0 + hour * HOUR_NS)
        assert zone.peak_6h_share == (mass if hour == 0 else 0.03 if hour == 9 else 0.05)
    assert (zone.peak_mass_share, zone.peak_ns) == (0.05, T0 + HOUR_NS)


def test_a_hole_leaves_no_masses_of_before():
    follower = tracker()
    follower.step(([], [at(20, 30)]), LEVEL, LEVEL, T0)
    (zone,) = follower.step(([], [at(20, 30)]), LEVEL, LEVEL, T0 + 3 * HOUR_NS)
    assert (zone.id, zone.mass_1h_share) == (1, None)  # the sample is three hours old, which is not one
    (zone,) = follower.step(([], [at(20, 30)]), LEVEL, LEVEL, T0 + 4 * HOUR_NS)
    assert zone.mass_1h_share == 0.02


def test_the_mark_touches_a_zone_after_its_birth_and_not_by_standing_on_its_border():
    say = Script()
    say(at(20, 30), high=price(25.5))  # before it was born
    assert not say.seen[0].touched
    say(at(20, 30), high=price(19.75))
    assert not say.seen[0].touched
    say(at(20, 30), high=price(20.25))
    assert say.seen[0].touched_ns == say.now
    touched = say.now
    say(at(21, 30))
    assert say.seen[0].touched_ns == touched
    say = Script()
    say(at(0, 30))
    say(at(0, 30), low=0.9, high=1.0)  # log 0 is the border of bin 0, exactly
    assert not say.seen[0].touched


# --- how zones end


def test_a_zone_that_the_mark_went_through_is_swept_at_once():
    say = Script()
    say(at(20, 30))
    say(high=price(30.25))
    assert say.endings() == [(1, "swept", None)]
    (zone,) = say.tracker.ended
    assert (zone.ended_ns, zone.seen_ns, zone.touched_ns) == (say.now, say.now - MINUTE_NS, say.now)
    assert say(at(20, 30)) == [2]
    assert say.seen[0].split_from is None


def test_the_far_edge_itself_is_enough_for_a_sweep():
    say = Script()
    say(at(-10, 0))
    say(low=0.9, high=1.0)
    assert say.endings() == [(1, "swept", None)]
    say = Script()
    say(at(-10, 0))
    say(low=0.9, high=price(-0.01))
    assert say.endings() == []


def test_what_is_found_where_a_sweep_went_is_another_zone():
    say = Script()
    say(at(20, 30))
    assert say(at(20, 30), high=price(31.5)) == [2]
    assert say.endings() == [(1, "swept", None)]


def test_a_zone_eaten_in_bites_is_swept_by_the_last():
    say = Script()
    assert say(at(20, 30)) == say(at(24, 30), high=price(24.5)) == say(at(27, 30), high=price(27.5)) == [1]
    say(high=price(30.5))
    assert say.endings() == [(1, "swept", None)]


def test_a_zone_lost_to_a_bite_is_pierced():
    say = Script()
    say(at(20, 30))
    for _ in range(4):
        say(high=price(28.5))
    assert say.endings() == [(1, "pierced", None)]


def test_a_zone_lost_untouched_has_dissipated_though_it_was_touched_long_ago():
    say = Script()
    say(at(20, 30))
    say(at(20, 30), high=price(21.5))
    for _ in range(4):
        say()
    assert say.endings() == [(1, "dissipated", None)]
    assert say.tracker.ended[0].touched


def test_a_sweep_in_the_grace_is_a_sweep():
    say = Script()
    say(at(20, 30))
    say()
    say(high=price(33.5))
    assert say.endings() == [(1, "swept", None)]


def test_a_zone_the_mark_went_away_from_is_out_of_reach():
    for here, ending in ((-1.5, "out_of_reach"), (5.5, "dissipated")):
        say = Script(reach_bins=32)
        say(at(20, 30), low=price(5.5), high=price(5.5))
        for _ in range(4):
            say(low=price(here), high=price(5.5))
        assert say.endings() == [(1, ending, None)]


def test_the_lesser_of_two_zones_that_merge_ends_in_the_greater():
    say = Script()
    assert say(at(20, 34), at(36, 42)) == [1, 2]
    for _ in range(4):
        assert say(at(20, 42)) == [1]
    assert say.endings() == [(2, "merged", 1)]
    assert say.tracker.ended[0].seen_ns == say.now - 4 * MINUTE_NS


def test_two_zones_that_part_again_within_the_grace_keep_their_ids():
    say = Script()
    say(at(20, 34), at(36, 42))
    assert say(at(20, 42)) == [1]
    assert say(at(20, 34), at(36, 42)) == [1, 2]
    parted = say.tracker.snapshot()
    say(high=price(43.5))
    assert say.endings() == [(1, "swept", None), (2, "swept", None)]
    say.tracker.restore(parted)
    for _ in range(5):
        say(at(20, 34), at(36, 42))
    assert say.endings() == []
    assert [(z.id, z.split_from) for z in say.seen] == [(1, None), (2, None)]


def test_a_merged_zone_stays_merged_when_the_whole_is_swept():
    say = Script()
    say(at(20, 34), at(36, 42))
    say(at(20, 42))
    say(high=price(43.5))
    assert say.endings() == [(1, "swept", None), (2, "merged", 1)]


def test_the_lesser_part_of_a_split_is_new_and_knows_its_parent():
    say = Script()
    say(at(20, 42))
    assert say(at(20, 34), at(36, 42), at(60, 62)) == [1, 2, 3]
    assert [z.split_from for z in say.seen] == [None, 1, None]
    say(at(20, 34), at(36, 42), at(60, 62))
    assert [z.split_from for z in say.seen] == [None, 1, None]


def test_a_zone_that_falls_into_pieces_none_of_which_is_like_it_was_split():
    say = Script(centroid_log=0.0)
    say(at(20, 40))
    for _ in range(4):
        assert say(at(20, 25), at(27, 32), at(35, 39)) == [2, 3, 4]
    assert [z.split_from for z in say.seen] == [1, 1, 1]
    assert say.endings() == [(1, "split", 2)]


def test_beyond_the_cap_the_heaviest_are_followed_and_missed_ones_make_room():
    say = Script(zones_per_side=2)
    assert say(at(20, 30, mass=0.03), at(40, 50, mass=0.01), at(60, 70, mass=0.02)) == [1, 2]
    assert [z.low_bin for z in say.seen] == [20, 60]
    assert say(at(20, 30, mass=0.01), at(40, 50, mass=0.04), at(60, 70, mass=0.02)) == [3, 2]
    assert say.endings() == [(1, "crowded_out", None)]


# --- borders


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (([[], []], 1.0, 1.0, T0), "rising time"),
        (([[], []], 1.0, 1.0, T0 - 1), "rising time"),
        (([[], []], math.nan, 1.0, T0 + 1), "mark's range"),
        (([[], []], 1.0, math.nan, T0 + 1), "mark's range"),
        (([[], []], 1.0, math.inf, T0 + 1), "mark's range"),
        (([[], []], 0.0, 1.0, T0 + 1), "mark's range"),
        (([[], []], 1.1, 1.0, T0 + 1), "mark's range"),
        (([[]], 1.0, 1.0, T0 + 1), "two sides"),
        (([[at(20, 30)], []], 1.0, 1.0, T0 + 1), "side 0"),
        (([[], [at(30, 30)]], 1.0, 1.0, T0 + 1), "holds a bin"),
        (([[], [at(20, 30, mass=math.nan)]], 1.0, 1.0, T0 + 1), "finite"),
        (([[], [at(20, 30, mass=-0.1)]], 1.0, 1.0, T0 + 1), "not negative"),
        (([[], [at(20, 30, centroid=math.inf)]], 1.0, 1.0, T0 + 1), "finite"),
        (([[], [at(40, 50), at(20, 30)]], 1.0, 1.0, T0 + 1), "nearest first"),
        (([[], [at(20, 30), at(29, 40)]], 1.0, 1.0, T0 + 1), "nearest first"),
        (([[at(-50, -40, 0), at(-30, -20, 0)], []], 1.0, 1.0, T0 + 1), "nearest first"),
    ],
)
def test_an_impossible_step_is_refused_and_changes_nothing(step, reason):
    follower = tracker()
    follower.step(([at(-30, -20, 0)], [at(20, 30)]), LEVEL, LEVEL, T0)
    before = follower.snapshot()
    with pytest.raises(StepError, match=reason):
        follower.step(*step)
    assert follower.snapshot() == before


def test_a_foreign_snapshot_is_refused_and_changes_nothing():
    follower = tracker()
    follower.step(([], [at(20, 30)]), LEVEL, LEVEL, T0)
    before = follower.snapshot()
    for foreign in ({}, {"spec": 1}, tracker(grace_steps=4).snapshot(), tracker(reach_bins=301).snapshot()):
        with pytest.raises(StepError, match="snapshot of zones"):
            follower.restore(foreign)
    with pytest.raises(StepError, match="two sides"):
        follower.restore(before | {"held": [[]]})
    assert follower.snapshot() == before


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
    spec = TrackSpec(sample_minutes=60.0, zones_per_side=6)
    follower, steps, sizes = ZoneTracker(spec, BIN, 60 * BIN), world(5, 200), []
    for number in range(MANY_STEPS):
        (_, shorts), low, high, _ = steps[number % 200]
        follower.step(
            ([], shorts[:1]), low, high, T0 + number * MINUTE_NS
        )  # one zone a step: the checker takes its time
        if number % 500 == 0:
            sizes.append(len(msgspec.json.encode(follower.snapshot())))
    assert max(sizes[20:]) < 1.2 * max(sizes[:20])
    held = follower.snapshot()["held"]
    assert all(len(side) <= 6 and all(len(z["sample_ns"]) <= 26 for z in side) for side in held)
