"""What the machine is shown: zones that keep their names, ranks, what is too old, and nothing that was not there."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import market

from squeeze.atlas import Page
from squeeze.errors import StepError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Broken, Feed, Gap, Price
from squeeze.market.venue_step import Candle
from squeeze.patterns.catalogue import NAMES
from squeeze.patterns.pattern import FINDING
from squeeze.signals.kept_scene import pack, unpack
from squeeze.signals.look import Lookout, LookoutState
from squeeze.signals.staleness import Heard, StalenessSpec, is_silent, stale
from squeeze.signals.view import Word
from squeeze.signals.zone_record import PER_OCTAVE, ZoneRecord
from squeeze.spec import Spec
from squeeze.state import Degraded, Frame, Unhealthy
from squeeze.strict import convert
from squeeze.zones.extract import Zone

BIN = 5e-4
START = 20_000 * DAY_NS
SPEC = convert(
    {
        "market": {
            "symbol": "SIMUSDT",
            "bars": {"venue": "bybit", "kinds": ["trade"]},
            "mark": {"venue": "bybit", "kinds": ["price_mark"]},
            "open_interest": {"venue": "bybit", "kinds": ["open_interest"]},
        },
        "label": {
            "name": "any", "threshold_usd": 1.0, "horizons_minutes": [15], "every_minutes": 1, "recorded": "days",
        },
        "signal": {"horizon_minutes": 15},
    },
    Spec,
    "test",
)  # fmt: skip


def frame(minute, mark, zones=(), unhealthy=Unhealthy.NONE):
    candle = Candle(mark, mark, mark, mark, 0 if math.isnan(mark) else START + minute * MINUTE_NS)
    nothing = np.zeros((2, 1, 4), np.float32), np.zeros((2, 1), np.float32)
    close_ns, found = START + minute * MINUTE_NS, tuple(zones)
    return Frame("SIMUSDT", close_ns, candle, *nothing, BIN, np.zeros(2), found, Degraded.NONE, unhealthy)


def zone(side, first, end, mass=0.01):
    """Of whole bins outward from the mark's own."""
    return Zone(side, first * BIN, end * BIN, (first + end) / 2 * BIN, mass / (end - first), mass, 0.5)


def shown(record, mark):
    return {z.id: (round(z.low, 6), round(z.high, 6)) for z in record.seen_from(mark)}


def test_a_zone_keeps_its_name_and_its_place_while_the_mark_moves():
    record, mark = ZoneRecord(BIN), math.exp(9000.5 * BIN)
    record.on_frame(frame(0, mark, [zone(0, 10, 14), zone(0, 40, 44), zone(1, 20, 24)]), 1000.0)
    before = shown(record, mark)
    assert list(before) == ["long-1", "long-2", "short-1"]
    moved = math.exp(9003.5 * BIN)  # three bins up: the same absolute bins
    record.on_frame(frame(1, moved, [zone(0, 13, 17), zone(0, 43, 47), zone(1, 17, 21)]), 1000.0)
    assert shown(record, moved) == before
    low, high = math.exp(8987 * BIN), math.exp(8991 * BIN)
    assert before["long-1"] == (round(low, 6), round(high, 6))
    record.on_frame(frame(2, moved, [zone(0, 60, 64), zone(0, 14, 18)]), 1000.0)
    assert list(shown(record, moved)) == ["long-1", "long-3"]
    record.on_frame(frame(3, moved, [zone(1, 17, 21)]), 1000.0)
    assert list(shown(record, moved)) == ["short-2"]  # one that was away is another


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 80), st.integers(1, 8)), min_size=1, max_size=6), st.integers(-50, 50))
def test_zones_of_a_mirrored_map_are_mirrored(places, moved):
    ahead = [zone(0, first, first + width) for first, width in dict(places).items()]
    here, now = (
        math.exp(0.5 * BIN),
        math.exp((0.5 + moved) * BIN),
    )  # a price and its inverse mirror about a bin's middle
    one, other = ZoneRecord(BIN), ZoneRecord(BIN)
    one.on_frame(frame(0, here, ahead), 1.0)
    other.on_frame(frame(0, here, [msgspec.structs.replace(z, side=1) for z in ahead]), 1.0)
    mirror = math.exp((0.5 - moved) * BIN)
    for mine, theirs in zip(one.seen_from(now), other.seen_from(mirror), strict=True):
        assert mine.id.removeprefix("long") == theirs.id.removeprefix("short")
        for name in ("near_log", "far_log"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=1e-12)
        assert (mine.stack, mine.mass_share, mine.major) == (theirs.stack, theirs.mass_share, theirs.major)


def test_distances_are_from_the_mark_of_the_look_and_below_zero_inside():
    record = ZoneRecord(BIN)
    record.on_frame(frame(0, 100.0, [zone(0, 10, 14), zone(0, 40, 44)]), 1000.0)
    near, far = record.seen_from(100.0)
    assert near.near_log == pytest.approx(10 * BIN, abs=BIN)
    assert near.far_log - near.near_log == pytest.approx(4 * BIN)
    assert (near.stack, far.stack) == (2, 1)
    assert near.mass_usd == pytest.approx(0.01 * 1000 * near.centroid)
    inside, _ = record.seen_from((near.low + near.high) / 2)
    assert inside.near_log < 0 < inside.far_log
    passed, last = record.seen_from(near.low * 0.999)
    assert passed.far_log < 0
    assert last.stack == 1
    assert record.seen_from(math.nan) == ()


def test_the_greatest_mass_is_that_of_six_hours():
    record = ZoneRecord(BIN)
    for minute, mass in ((0, 0.05), (30, 0.01), (300, 0.02), (400, 0.01)):
        record.on_frame(frame(minute, 100.0, [zone(0, 10, 14, mass)]), 1000.0)
        (seen,) = record.seen_from(100.0)
        assert seen.peak_6h_share == {0: 0.05, 30: 0.05, 300: 0.05, 400: 0.02}[minute]
        assert seen.born_ns == START


def test_a_rank_is_the_share_of_lighter_zones_of_ninety_days_and_needs_a_day():
    record, rng = ZoneRecord(BIN), np.random.default_rng(0)
    masses = rng.lognormal(-5, 1, 1500)
    for minute, mass in enumerate(masses.tolist()):
        record.on_frame(frame(minute + 1, 100.0, [zone(0, 10, 14, mass)]), 1000.0)
        if minute < 1439:
            assert math.isnan(record.seen_from(100.0)[0].thickness_rank)
    (seen,) = record.seen_from(100.0)
    day = masses[:1440]
    spread = 2 ** (1 / PER_OCTAVE)
    assert (day < masses[-1] / spread).mean() <= seen.thickness_rank <= (day < masses[-1] * spread).mean()
    assert seen.major == (seen.thickness_rank >= 0.9)
    assert record.rank(0, 1e-9) == 0.0
    assert math.isnan(record.rank(1, 0.5))
    record.on_frame(frame(91 * 1440, 100.0), 1000.0)
    assert 0 < record.rank(0, 0.01) < 1
    record.on_frame(frame(92 * 1440 + 1, 100.0), 1000.0)
    assert math.isnan(record.rank(0, 0.01))


def heard(lookout, seconds, price=100.0, **more):
    at = START + round(seconds * SECOND_NS)
    lookout.on_event(
        Price(venue="bybit", symbol="SIMUSDT", event_ns=at, known_at_ns=at, price=price, of="mark", **more)
    )


def test_what_is_too_old_is_named_and_comes_back():
    lookout = Lookout(SPEC)
    view = lookout.view(START, None)
    assert view.stale == ("price", "map")
    assert view.zones == ()
    heard(lookout, 1)
    lookout.on_frame(frame(0, 100.0, [zone(0, 10, 14)]), 1000.0)
    view = lookout.view(START + 6 * SECOND_NS, None)
    assert (view.stale, view.stale_venues) == ((), ())
    assert (view.mark, view.map_age_ns, len(view.zones)) == (100.0, 6 * SECOND_NS, 1)
    assert lookout.view(START + 6 * SECOND_NS + 1, None).stale == ("price",)
    view = lookout.view(START + 241 * SECOND_NS, None, ("clock",))
    assert (view.stale, view.stale_venues) == (("price", "map", "clock"), ("bybit",))
    lookout.on_frame(frame(4, math.nan, unhealthy=Unhealthy.BARS_STALE), 1000.0)
    heard(lookout, 242)
    view = lookout.view(START + 242 * SECOND_NS, None)
    assert (view.stale, view.zones) == (("map",), ())


def test_a_hole_makes_price_and_venue_stale_until_it_speaks_again():
    lookout = Lookout(SPEC, StalenessSpec(most_stale_venues=0))
    heard(lookout, 1)
    lookout.on_frame(frame(0, 100.0), 1000.0)
    at = {"venue": "bybit", "symbol": "SIMUSDT", "event_ns": START + SECOND_NS, "known_at_ns": START + 2 * SECOND_NS}
    lookout.on_event(Gap(**at, feed=Feed.ALL, reason=Broken.DISCONNECTED))
    assert lookout.view(START + 2 * SECOND_NS, None).stale == ("price", "venues")
    heard(lookout, 3)
    assert lookout.view(START + 3 * SECOND_NS, None).stale == ()


def test_bars_may_be_silent_for_one_and_a_half_of_their_length():
    bars, limits = Heard(at_ns=HOUR_NS, bar_ns=MINUTE_NS), StalenessSpec()
    assert not is_silent(bars, HOUR_NS + 95 * SECOND_NS, limits.price_seconds, limits)
    assert is_silent(bars, HOUR_NS + 95 * SECOND_NS + 1, limits.price_seconds, limits)
    stamps = Heard(at_ns=HOUR_NS)
    assert not is_silent(stamps, HOUR_NS + 900 * SECOND_NS, limits.venue_seconds, limits)
    assert stale(limits, HOUR_NS, bars, {"a": Heard(), "b": Heard()}, HOUR_NS, 0) == ("venues",)


def test_a_word_is_passed_on_and_a_snapshot_shows_the_same():
    lookout = Lookout(SPEC)
    for second in range(100):
        heard(lookout, second, 100.0 + second % 3)
    lookout.on_frame(frame(1, 101.0, [zone(0, 10, 14), zone(1, 9, 12)]), 1000.0)
    word = Word(ts_ns=START, probabilities=((0.1,), (0.2,)))
    now_ns = START + 99 * SECOND_NS
    assert lookout.view(now_ns, word).word is word
    taken = msgspec.msgpack.encode(lookout.snapshot())
    other = Lookout(SPEC)
    other.restore(msgspec.msgpack.decode(taken, type=LookoutState))
    assert msgspec.msgpack.encode(other.snapshot()) == taken
    later = now_ns + 5 * SECOND_NS
    assert repr(other.view(later, word)) == repr(lookout.view(later, word))


def test_the_nearest_voids_of_a_page_are_seen_and_kept_until_the_next_frame():
    scene, found = market(), np.zeros((len(NAMES), 2), FINDING)
    found["evidence"] = math.nan
    found["evidence"][NAMES.index("voids"), 1, :2] = 0.01, 0.005
    lookout, shown = Lookout(SPEC), Page(np.zeros((2, 0, 4), np.float32), np.zeros((2, 0)), scene, found)
    heard(lookout, 1, 100.0)
    lookout.on_frame(replace(frame(1, 101.0), page=shown), 1000.0)
    other = Lookout(SPEC)
    other.restore(lookout.snapshot())
    near = float(scene.now["mark_bin"][0] * scene.now["bin_log"][0]) + 0.01
    for one in (lookout, other):
        below, above = one.view(START + SECOND_NS, None).voids
        assert below is None
        assert (math.log(above.low), math.log(above.high)) == pytest.approx((near, near + 0.005), abs=1e-12)
    lookout.on_frame(frame(2, 101.0), 1000.0)
    assert lookout.view(START + SECOND_NS, None).voids == (None, None)


def test_a_record_of_another_shape_is_refused():
    record = ZoneRecord(BIN)
    state = record.snapshot()
    for broken in (msgspec.structs.replace(state, counts=b"junk"), msgspec.structs.replace(state, numbers=[1])):
        with pytest.raises(StepError):
            record.restore(broken)


def test_a_scene_is_kept_byte_for_byte():
    one = market()
    other = unpack(pack(one))
    assert pack(other) == pack(one)
    assert [array.dtype for array in other] == [array.dtype for array in one]
    assert unpack(pack(None)) is None
