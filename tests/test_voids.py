import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.patterns import voids
from squeeze.patterns.pattern import FINDING
from tests.pattern_laws import assert_mirrors
from tests.scenes import BIN_LOG, CLOSE_NS, MARK_BIN, MINUTE_NS, detect, market

UNEVEN = 1 + np.random.default_rng(0).permutation(800).reshape(2, 2, 200) / 800
"""No two bins alike, and neighbours have nothing in common."""


def scene(side=0, first=20, bins=10, maps=("heat", "volume", "book"), minute=0.0, **now):
    """Full maps, 100 bins of them within 5 % a side, but for a stretch on one side in these maps."""
    seen = market(**{"close_ns": CLOSE_NS + round(minute * MINUTE_NS)} | now)
    seen.heat[:], seen.volume[:], seen.book[:] = 1e-3 * UNEVEN[0], 100.0, 1e6 * UNEVEN[1]
    for name in maps:
        getattr(seen, name)[side, first : first + bins] *= 0.1
    return seen


def place(bins):
    return math.exp((MARK_BIN + bins + 0.5) * BIN_LOG)


def after(minute, bins, **now):
    """The mark went so many bins from its place within the step, and came back."""
    wick = {"mark_low": place(bins)} if bins < 0 else {"mark_high": place(bins)}
    return scene(minute=minute, maps=(), **wick | now)


FEW = {"quantile": 0.05}
"""As many bins as the stretch has, of two hundred: the fewest that can show it."""


@pytest.mark.parametrize("side", [0, 1])
def test_a_stretch_with_little_in_every_map_is_a_void(side):
    found = detect(voids, scene(side), **FEW)
    assert found[side].flag
    assert found[side].score == pytest.approx(10 / 101)
    assert found[side].evidence["near_log"] == pytest.approx(0.01)
    assert found[side].evidence["length_log"] == pytest.approx(0.005)
    assert found[side].evidence["votes"] == 3.0
    assert found[side].reason.startswith("a void 0.50% long 1.00%")
    assert (found[1 - side].score, found[1 - side].flag) == (0.0, False)


@pytest.mark.parametrize("maps", [("heat", "volume"), ("heat", "book"), ("volume", "book")])
def test_two_votes_of_three_are_enough(maps):
    below, _ = detect(voids, scene(maps=maps), **FEW)
    assert below.flag
    assert 2.0 <= below.evidence["votes"] < 2.2  # a bin of the third map is low by chance


@pytest.mark.parametrize(
    "near_miss",
    [
        scene(bins=9),
        scene(maps=("heat",)),
        scene(maps=("volume",)),
        scene(maps=("book",)),
        scene(first=92),
    ],
    ids=["nine bins", "heat alone", "volume alone", "book alone", "beyond 5 %"],
)
def test_a_near_miss_is_no_void(near_miss):
    # A quantile of nine bins: the nine are found, and they are too few.
    below, above = detect(voids, near_miss, quantile=0.045)
    assert not below.flag
    assert not above.flag
    assert (below.score, above.score) == (0.0, 0.0)


@pytest.mark.parametrize(("volume", "flag"), [(15.0, True), (15.1, False)])
def test_volume_votes_up_to_fifteen_percent_of_the_median(volume, flag):
    seen = scene(maps=("heat",))
    seen.volume[0, 20:30] = volume
    assert detect(voids, seen, **FEW)[0].flag is flag


def test_where_nothing_was_traded_beyond_the_range_of_volume_is_no_vote():
    seen = scene(first=60, bins=10, maps=("heat",))
    seen.volume[0, 60:] = 0.0
    assert not detect(voids, seen, **FEW)[0].flag
    seen.volume[0, 90] = 100.0
    assert detect(voids, seen, **FEW)[0].flag


def test_a_map_that_is_not_recorded_has_no_vote_and_two_must_be_told():
    seen = scene()
    seen.book[:] = math.nan
    below, _ = detect(voids, seen, **FEW)
    assert below.flag
    assert below.evidence["votes"] == 2.0
    seen.volume[:] = math.nan
    assert all(math.isnan(found.score) and not found.flag for found in detect(voids, seen, **FEW))
    assert all(math.isnan(found.score) and not found.flag for found in detect(voids, market()))


def test_without_volume_only_what_a_book_covers_is_known():
    seen = scene()
    seen.volume[:] = math.nan
    seen.book[:, 40:] = math.nan
    below, _ = detect(voids, seen, **FEW)
    assert below.score == pytest.approx(0.0)  # a quantile of the 78 covered bins is 4 bins
    below, _ = detect(voids, seen, quantile=0.13)
    assert below.score == pytest.approx(10 / 40)


def test_the_nearest_of_two_voids_is_the_evidence_and_both_count():
    seen = scene(first=50, bins=16)
    for map_ in (seen.heat, seen.volume, seen.book):
        map_[0, 20:30] *= 0.1
    below, _ = detect(voids, seen, quantile=0.13)
    assert below.evidence["near_log"] == pytest.approx(0.01)
    assert below.score == pytest.approx(26 / 101)


@pytest.mark.parametrize(("side", "low_bin"), [(0, MARK_BIN - 29), (1, MARK_BIN + 20)])
def test_the_edges_of_the_nearest_void_are_those_of_its_outermost_bins(side, low_bin):
    seen, found = scene(side), np.zeros(2, FINDING)
    for at, one in enumerate(detect(voids, seen, **FEW)):
        found["evidence"][at, :4] = list(one.evidence.values())
    edges = voids.nearest_log(seen, found)
    assert edges[side] == pytest.approx((low_bin * BIN_LOG, (low_bin + 10) * BIN_LOG), abs=1e-12)
    assert edges[1 - side] is None


@pytest.mark.parametrize(("side", "way"), [(0, -1), (1, 1)])
@pytest.mark.parametrize(("bins", "entered"), [(19, 0.0), (24, 4.5), (60, 10.0)])
def test_the_price_enters_a_void_that_was_known_before_the_step(side, way, bins, entered):
    found = detect(voids, scene(side), after(1, way * bins), **FEW)
    assert found[side].evidence["entered_log"] == pytest.approx(entered * BIN_LOG, abs=1e-9)
    assert found[1 - side].evidence["entered_log"] == 0.0


def test_a_void_that_the_step_itself_shows_is_not_entered():
    made = scene(minute=1, mark_low=place(-25))
    below, _ = detect(voids, scene(maps=()), made, **FEW)
    assert below.flag
    assert below.evidence["entered_log"] == 0.0


def test_a_void_is_remembered_where_it_is_and_not_where_the_mark_takes_it():
    moved = scene(maps=(), minute=1, mark=place(-10), mark_bin=MARK_BIN - 10, mark_low=place(-10), mark_high=place(0))
    assert detect(voids, scene(), moved, **FEW)[0].evidence["entered_log"] == 0.0
    deeper = scene(maps=(), minute=1, mark=place(-22), mark_bin=MARK_BIN - 22, mark_low=place(-22), mark_high=place(0))
    assert detect(voids, scene(), deeper, **FEW)[0].evidence["entered_log"] == pytest.approx(2.5 * BIN_LOG)


def test_the_mark_that_stands_in_a_void_does_not_enter_it_again():
    inside = scene(first=0, bins=12)
    below, _ = detect(voids, inside, after(1, -8), quantile=0.06)
    assert below.evidence["entered_log"] == 0.0
    assert detect(voids, inside, quantile=0.06)[0].evidence["near_log"] == 0.0


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((), after(0, -24)),
        ((scene(),), after(2, -24)),
        ((scene(),), after(61, -24)),
        ((scene(), market(close_ns=CLOSE_NS + MINUTE_NS)), after(2, -24)),
    ],
    ids=["the first step", "a minute is missing", "an hour is missing", "the maps were not recorded"],
)
def test_what_was_entered_is_unknown_if_the_step_before_told_nothing(before, now):
    below, _ = detect(voids, *before, now, **FEW)
    assert math.isnan(below.evidence["entered_log"])
    assert not below.flag


def test_a_step_of_an_hour_follows_one_an_hour_before():
    hour = {"step_ns": 60 * MINUTE_NS}
    below, _ = detect(voids, scene(**hour), after(60, -24, **hour), **FEW)
    assert below.evidence["entered_log"] == pytest.approx(4.5 * BIN_LOG)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_market_has_its_voids_on_the_other_side_through_every_step(seed):
    random = np.random.default_rng(seed)
    steps = []
    for minute in range(4):
        low, high = -int(random.integers(0, 60)), int(random.integers(0, 60))
        seen = scene(
            int(random.integers(2)),
            int(random.integers(60)),
            30,
            minute=minute,
            mark_low=place(low),
            mark_high=place(high),
        )
        for map_ in (seen.heat, seen.volume, seen.book):
            map_ *= random.exponential(1.0, map_.shape)
        seen.volume[1, 0] = seen.volume[0, 0]
        seen.book[:, int(random.integers(20, 200)) :] = math.nan
        steps.append(seen)
    assert_mirrors(voids, *steps)
