import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.outcomes import (
    Bars,
    CascadeSpec,
    Liquidations,
    OpenInterest,
    PriceCascadeSpec,
    alarms,
    cascades,
    merged,
    price_cascades,
    price_measures,
    recorded_ns,
    watched,
    without,
)

MIDNIGHT = 2 * DAY_NS
"""After two days with a print of 1,000 USD every half hour: from here on there is a quantile, of nothing."""
QUIET_NS = np.arange(0, MIDNIGHT, 30 * MINUTE_NS)
MINUTES = np.arange(1, 2 * 1440 + 240)
SIGMA = 1e-4
BURST = [(second, 0, 50_000.0) for second in (1, 2, 3, 4, 5)]
"""Exactly what the floor asks for: 250,000 USD in five prints."""


def prints(rows, quiet_usd=1_000.0):
    """Quiet days, then prints of (second after midnight, side, USD); the record goes on to two o'clock."""
    second, side, usd = (np.array(column) for column in zip(*rows, (7200, 0, 1.0), strict=True))
    times = np.append(QUIET_NS, MIDNIGHT + (second * SECOND_NS).astype(np.int64))
    sides = np.append(np.zeros(len(QUIET_NS), np.int64), side.astype(np.int64))
    return Liquidations.prints(times, sides, np.append(np.full(len(QUIET_NS), quiet_usd), usd.astype(float)))


def marks(fall_log=0.02, from_minute=1):
    """Minutes of ± σ, 100 at 23:59, and from that minute after midnight on a fall from 100."""
    log = np.where(MINUTES % 2, 0.0, SIGMA)
    log = np.where(2 * 1440 + from_minute <= MINUTES, -fall_log, log)
    close = 100 * np.exp(log)
    return Bars(MINUTES * MINUTE_NS, close, close, close, MINUTE_NS)


def onsets(found):
    return ((found.onset_ns - MIDNIGHT) / SECOND_NS).tolist()


def ends(found):
    return ((found.end_ns - MIDNIGHT) / SECOND_NS).tolist()


def test_five_prints_that_reach_the_floor_begin_a_cascade_at_the_fifth():
    found = cascades(prints(BURST), marks())
    assert onsets(found) == [5]
    assert (found.side.tolist(), found.usd.tolist(), found.peak_usd.tolist()) == ([0], [250_000.0], [250_000.0])
    assert found.move_log == pytest.approx([0.02])
    assert math.isnan(found.interest_drop[0])
    assert found.resolution_ns == 0


def test_a_dollar_under_the_floor_is_none():
    assert onsets(cascades(prints([*BURST[:4], (5, 0, 49_999.0)]), marks())) == []


def test_four_prints_are_none_however_large():
    assert onsets(cascades(prints([(s, 0, 1e6) for s in (1, 2, 3, 4)]), marks())) == []


@pytest.mark.parametrize(("last", "found"), [(60, [60]), (61, [])])
def test_a_print_sixty_seconds_old_has_left_the_window(last, found):
    assert onsets(cascades(prints([*((s, 0, 50_000.0) for s in (1, 2, 3, 4)), (last, 0, 50_000.0)]), marks())) == found


@pytest.mark.parametrize(("other_usd", "found"), [(62_500.0, [5]), (62_501.0, [60])])
def test_four_fifths_of_what_is_liquidated_are_the_sides_own_or_it_waits_until_they_are(other_usd, found):
    # The short's print at the midnight second leaves the window at second 60, when all five longs are still in it.
    assert onsets(cascades(prints([(0, 1, other_usd), *BURST]), marks())) == found


def test_the_quantile_of_recorded_minutes_counts_where_it_exceeds_the_floor():
    # 20 of some 2,880 minutes hold 600,000 USD, more than half a percent of them.
    loud = np.append(QUIET_NS, np.arange(20) * HOUR_NS + 90 * SECOND_NS)
    for usd, expected in ((119_999.0, []), (120_000.0, [5])):
        burst = MIDNIGHT + np.arange(1, 6) * SECOND_NS
        amounts = np.concatenate([np.full(len(QUIET_NS), 1e3), np.full(20, 6e5), np.full(5, usd)])
        found = Liquidations.prints(np.append(loud, burst), np.zeros(len(amounts), np.int64), amounts)
        assert onsets(cascades(found, marks())) == expected


def test_a_ten_thousandth_of_open_interest_counts_where_it_is_known():
    coins = 30e6 * math.exp(-SIGMA)  # at midnight's mark they are worth 3 billion
    for usd, expected in ((59_990.0, []), (60_000.0, [5])):  # a minute on, they are worth 30 USD less
        interest = OpenInterest(np.array([0, MIDNIGHT + 30 * MINUTE_NS]), np.array([coins, coins]))
        found = cascades(prints([(s, 0, usd) for s in range(1, 6)]), marks(from_minute=2), interest)
        assert onsets(found) == expected
    assert found.share_of_interest == pytest.approx([1e-4])
    assert found.interest_drop == pytest.approx([0.0])
    assert found.not_evaluated == ()


@pytest.mark.parametrize(("beyond", "found"), [(-1e-8, []), (1e-8, [60])])
def test_the_mark_moves_by_three_deviations_of_six_minutes(beyond, found):
    burst = [(second, 0, 50_000.0) for second in (56, 57, 58, 59, 60)]
    fall_log = 3 * SIGMA * math.sqrt(6) + beyond - SIGMA  # from midnight's mark, which stands σ over 100
    assert onsets(cascades(prints(burst), marks(fall_log, from_minute=3))) == found


@pytest.mark.parametrize(("minute", "found"), [(6, [60]), (7, [])])
def test_the_move_comes_within_five_minutes_of_the_onset(minute, found):
    burst = [(second, 0, 50_000.0) for second in (56, 57, 58, 59, 60)]
    # The first print leaves at second 116, before minute 7 comes within reach.
    assert onsets(cascades(prints(burst), marks(from_minute=minute))) == found


def test_a_rise_is_no_long_cascade():
    assert onsets(cascades(prints(BURST), marks(fall_log=-0.02))) == []


@pytest.mark.parametrize(("share", "end"), [(0.1, 65), (0.2, 65), (0.4, 64), (0.41, 63)])
def test_a_cascade_ends_where_the_sum_begins_to_stay_under_its_share_of_the_peak(share, end):
    # The five prints leave the window at 61 to 65; a fifth of the peak is not less than a fifth, nor 0.4 than 0.4.
    assert ends(cascades(prints(BURST), marks(), spec=CascadeSpec(end_share=share))) == [end]


@pytest.mark.parametrize(("again", "end"), [(124, 184), (125, 65)])
def test_it_goes_on_if_the_sum_comes_back_within_a_minute(again, end):
    assert ends(cascades(prints([*BURST, (again, 0, 60_000.0)]), marks())) == [end]


@pytest.mark.parametrize(("later", "found"), [(364, [(5, 424)]), (365, [(5, 65), (365, 425)])])
def test_an_onset_less_than_five_minutes_after_an_end_belongs_to_the_event(later, found):
    second = [(later - 4 + i, 0, 50_000.0) for i in range(5)]
    bars = marks(from_minute=1)
    further = np.where(MINUTES >= 2 * 1440 + 6, 0.96, 1.0)  # a second fall, without which (iv) fails
    bars = Bars(bars.closes_ns, bars.high * further, bars.low * further, bars.close * further, MINUTE_NS)
    event = cascades(prints([*BURST, *second]), bars)
    assert list(zip(onsets(event), ends(event), strict=True)) == found


def test_no_cascade_lasts_longer_than_an_hour():
    assert merged(np.arange(0, 120, 4), np.arange(1, 121, 4), 5, 60) == [(0, 60), (68, 117)]


def test_hourly_sums_are_taken_as_they_are_and_say_what_they_cannot_tell():
    ends_ns = np.arange(1, 60) * HOUR_NS
    long_usd = np.where(ends_ns == MIDNIGHT + HOUR_NS, 1e6, 1e3)
    event = cascades(Liquidations.sums(ends_ns, HOUR_NS, long_usd, long_usd * 0.1), marks())
    assert onsets(event) == [3600]
    assert event.resolution_ns == HOUR_NS
    assert [said.split(":")[0] for said in event.not_evaluated] == [
        "window_seconds",
        "least_prints",
        "open_interest_share",
    ]


def test_what_was_not_recorded_is_no_zero_and_holds_no_onset():
    found = prints(BURST)
    at = np.array([HOUR_NS, DAY_NS - 1, DAY_NS, MIDNIGHT + 2 * HOUR_NS, MIDNIGHT + 2 * HOUR_NS + 1])
    # The first day has no day before it, the last time comes after the last print.
    assert watched(found, 0, at).tolist() == [False, False, True, True, False]
    ends_ns = np.arange(1, 60) * HOUR_NS
    usd = np.where(ends_ns == MIDNIGHT + HOUR_NS, np.nan, 1e3)
    gap = Liquidations.sums(ends_ns, HOUR_NS, usd, usd)
    assert watched(gap, 0, MIDNIGHT + np.array([1, 1800, 3600, 3601]) * SECOND_NS).tolist() == [
        False,
        False,
        False,
        True,
    ]


BURSTS = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(0, 1), st.sampled_from([2e4, 6e4, 2e5])), min_size=5, max_size=60
)
FALLS = st.lists(st.floats(-0.004, 0.004), min_size=60, max_size=60)


def path(falls):
    log = np.where(MINUTES % 2, SIGMA, 0.0)
    log[2 * 1440 : 2 * 1440 + 60] += np.cumsum(falls)
    log[2 * 1440 + 60 :] += sum(falls)
    close = 100 * np.exp(log)
    return Bars(MINUTES * MINUTE_NS, close * 1.0001, close / 1.0001, close, MINUTE_NS)


def spans(found, side):
    own = found.side == side
    return list(zip(found.onset_ns[own].tolist(), found.end_ns[own].tolist(), strict=True))


@given(BURSTS, FALLS)
@settings(deadline=None, max_examples=40)
def test_flipping_price_and_swapping_sides_swaps_the_cascades(rows, falls):
    bars = path(falls)
    flipped = Bars(bars.closes_ns, 1e4 / bars.low, 1e4 / bars.high, 1e4 / bars.close, MINUTE_NS)
    one = cascades(prints(rows, 0.0), bars)
    other = cascades(prints([(s, 1 - side, usd) for s, side, usd in rows], 0.0), flipped)
    for side in range(2):
        assert spans(one, side) == spans(other, 1 - side)
    assert sorted(one.move_log) == pytest.approx(sorted(other.move_log))


@given(BURSTS, FALLS, st.integers(0, 2500), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_nothing_later_than_five_minutes_after_changes_an_onset(rows, falls, second, seed):
    rng = np.random.default_rng(seed)
    cut = second + 300
    noise = [(int(s), int(rng.integers(2)), 2e5) for s in rng.integers(cut + 1, 4000, 30)]
    later = np.where(np.arange(1, 61) * 60 > cut, rng.normal(0, 0.01, 60), falls).tolist()
    end = (3500, 0, 1.0)  # both recordings last as long
    one = cascades(prints([*rows, end]), path(falls))
    other = cascades(prints([*(r for r in rows if r[0] <= cut), *noise, end]), path(later))
    for side in range(2):
        begun = [[o for o, _ in spans(f, side) if o <= MIDNIGHT + second * SECOND_NS] for f in (one, other)]
        assert begun[0] == begun[1]


@given(BURSTS, FALLS, st.lists(st.tuples(st.integers(0, 2999), st.just(1), st.floats(1.0, 1e6)), max_size=20))
@settings(deadline=None, max_examples=40)
def test_a_side_knows_the_other_by_the_share_alone(rows, falls, others):
    end = (3000, 0, 1.0)
    spec = CascadeSpec(side_share=1e-12)
    one, two = (cascades(prints([*r, end]), path(falls), spec=spec) for r in (rows, [*rows, *others]))
    assert spans(one, 0) == spans(two, 0)


@given(BURSTS, FALLS)
@settings(deadline=None, max_examples=20)
def test_alarms_agree_with_a_walk_over_every_second(rows, falls):
    found, bars, spec = prints(rows), path(falls), CascadeSpec()
    said = set(((alarms(found, bars, 0, None, spec) - MIDNIGHT) // SECOND_NS).tolist())
    last = max(second for second, *_ in rows)
    for second in range(last + 1):
        inside = [(side, usd) for s, side, usd in rows if second - 60 < s <= second]
        own = [usd for side, usd in inside if side == 0]
        before = 1_000.0 if second < 60 - 30 * 60 else 0.0
        loud = sum(own) + before >= 250_000 and len(own) >= 5 and sum(own) >= 0.8 * sum(usd for _, usd in inside)
        assert (second in said) == loud


# L2: by price, and what is recorded beside it.

SHOCK = 2000
"""The minute of the shock: more than a day in."""


def quiet(count, shock_log=0.0, at=SHOCK):
    """Closes of quiet minutes, ± σ about 100, and from minute `at` on further by `shock_log`."""
    return 100 * np.exp(np.where(np.arange(count) % 2, SIGMA, 0.0) + np.where(np.arange(count) >= at, shock_log, 0.0))


def bars_of(close, minutes=1):
    """Bars of so many minutes whose highs and lows are their closes."""
    at = np.arange(1, len(close) + 1) * minutes * MINUTE_NS
    return Bars(at, close, close, close, minutes * MINUTE_NS)


def stamps(drop, known_minutes=5, at=SHOCK, count=3000):
    """Open interest every five minutes, falling by a share at the first stamp after minute `at`."""
    times = np.arange(0, count, known_minutes) * MINUTE_NS
    return OpenInterest(times, np.where(times > at * MINUTE_NS, 1e4 * (1 - drop), 1e4))


@pytest.mark.parametrize("minutes", [1, 5, 15])
def test_a_shock_is_found_in_bars_of_any_length_once(minutes):
    close = quiet(300 * 15 // minutes, -0.02, at=200 * 15 // minutes)
    found = price_cascades(bars_of(close, minutes))
    # The bar in which it falls is the first window; five one-minute windows hold it, and are one event.
    assert found.onset_ns.tolist() == [(200 * 15 // minutes + 1) * minutes * MINUTE_NS]
    assert found.side.tolist() == [0]
    assert found.resolution_ns == max(5, minutes) * MINUTE_NS
    said = [text.split(":")[0] for text in found.not_evaluated]
    assert said == ["basis", "least_drop", "taker_ratio"] + ["window_minutes"] * (minutes == 15)


def test_bars_side_by_side_are_one_event_however_long_they_are():
    close = quiet(400, -0.02, at=200) * np.where(np.arange(400) >= 201, 0.98, 1.0)
    found = price_cascades(bars_of(close, 15))
    assert (found.onset_ns // (15 * MINUTE_NS)).tolist() == [201]
    assert (found.end_ns // (15 * MINUTE_NS)).tolist() == [202]


def test_a_window_over_a_hole_in_the_bars_is_no_event_and_is_not_watched():
    close = quiet(3000, -0.02)
    whole = bars_of(close)
    kept = np.arange(3000) != SHOCK  # the minute of the shock was not recorded
    bars = Bars(*(column[kept] for column in (whole.closes_ns, whole.high, whole.low, whole.close)), MINUTE_NS)
    assert len(price_cascades(bars)) == 0
    measures = price_measures(bars, None, None, PriceCascadeSpec())
    silent = (bars.closes_ns[~measures.watched] // MINUTE_NS).tolist()
    # The first day has too few returns for a deviation before minute 16: ten that ended before the window.
    assert silent == [*range(1, 16), *range(SHOCK + 2, SHOCK + 7)]


@pytest.mark.parametrize(("drop", "found"), [(0.0059, 0), (0.0061, 1)])
def test_open_interest_falls_by_six_tenths_of_a_percent(drop, found):
    assert len(price_cascades(bars_of(quiet(3000, -0.02)), stamps(drop))) == found


def test_a_fall_of_open_interest_that_is_usual_is_none():
    times = np.arange(0, 3000, 5) * MINUTE_NS
    swings = np.where(np.arange(len(times)) % 2, 1.0, 0.98) * 1e4  # falls by 2 % every ten minutes
    assert len(price_cascades(bars_of(quiet(3000, -0.02)), OpenInterest(times, swings))) == 0


def test_open_interest_in_coins_knows_nothing_of_a_fall_in_price():
    assert len(price_cascades(bars_of(quiet(3000, -0.02)), stamps(0.0))) == 0


def test_stamps_too_far_from_the_window_leave_it_unanswered():
    bars, interest = bars_of(quiet(3000, -0.02)), stamps(0.01)
    near = (interest.times_ns < (SHOCK - 30) * MINUTE_NS) | (interest.times_ns > (SHOCK + 30) * MINUTE_NS)
    gap = OpenInterest(interest.times_ns[near], interest.base[near])
    assert len(price_cascades(bars, interest)) == 1
    assert len(price_cascades(bars, gap)) == 0
    assert not price_measures(bars, gap, None, PriceCascadeSpec()).watched[SHOCK]
    assert price_measures(bars, interest, None, PriceCascadeSpec()).watched[SHOCK]


@pytest.mark.parametrize(("sold", "found"), [(2.9, 0), (3.1, 1)])
def test_takers_sell_three_times_what_they_sold_in_the_hour_before(sold, found):
    taker = np.ones((3000, 2))
    taker[SHOCK - 4 : SHOCK + 1, 0] = sold
    assert len(price_cascades(bars_of(quiet(3000, -0.02)), None, taker)) == found
    assert len(price_cascades(bars_of(quiet(3000, -0.02)), None, taker[:, ::-1])) == 0, "they bought"


def test_an_hour_of_taker_flow_that_was_not_recorded_is_no_calm():
    taker = np.ones((3000, 2))
    taker[SHOCK - 4 : SHOCK + 1, 0] = 9.0
    taker[SHOCK - 30] = np.nan
    measures = price_measures(bars_of(quiet(3000, -0.02)), None, taker, PriceCascadeSpec())
    assert not measures.watched[SHOCK]
    assert np.isnan(measures.taker_ratio[SHOCK]).all()


@pytest.mark.parametrize(("basis", "found"), [(-1e-4, 1), (0.0, 0), (1e-4, 0)])
def test_the_basis_moves_with_the_mark(basis, found):
    basis_log = np.where(np.arange(3000) >= SHOCK, basis, 0.0)
    assert len(price_cascades(bars_of(quiet(3000, -0.02)), basis_log=basis_log)) == found


@given(st.lists(st.tuples(st.integers(1600, 2900), st.floats(-0.02, 0.02)), min_size=1, max_size=8), st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_flipping_price_and_swapping_takers_swaps_the_sides_of_price_events(shocks, seed):
    log = np.log(quiet(3000) / 100)
    for at, jump in shocks:
        log[at:] += jump
    rng = np.random.default_rng(seed)
    taker, basis = rng.lognormal(0, 1, (3000, 2)), rng.normal(0, 1e-4, 3000)
    spec = PriceCascadeSpec(taker_ratio=0.5)
    one = price_cascades(bars_of(100 * np.exp(log)), stamps(0.01), taker, spec, basis)
    other = price_cascades(bars_of(100 * np.exp(-log)), stamps(0.01), taker[:, ::-1], spec, -basis)
    for side in range(2):
        assert spans(one, side) == spans(other, 1 - side)


@given(st.integers(1500, 2900), st.integers(0, 99), st.sampled_from([5, 30]))
@settings(deadline=None, max_examples=30)
def test_nothing_later_than_its_reach_changes_a_price_event(cut, seed, every):
    rng = np.random.default_rng(seed)
    log = np.cumsum(rng.standard_t(2, 3000) * 2e-4)
    taker = rng.lognormal(0, 1, (3000, 2))
    times = np.arange(0, 3000, every) * MINUTE_NS
    base = 1e4 * np.exp(np.cumsum(rng.normal(0, 2e-3, len(times))))
    spec = PriceCascadeSpec(sigmas=1.0, least_move=0.0005, least_drop=0.0, drop_quantile=0.3, taker_ratio=0.5)
    one = price_cascades(bars_of(100 * np.exp(log)), OpenInterest(times, base), taker, spec)
    last_ns = cut * MINUTE_NS  # all that is later is another world, or was not recorded at all
    log[cut:] += rng.normal(0, 0.05, 3000 - cut)
    taker[cut:] = rng.lognormal(0, 2, (3000 - cut, 2))
    late = times > last_ns
    base[late] *= rng.lognormal(0, 0.1, late.sum())
    two = price_cascades(bars_of(100 * np.exp(log)), OpenInterest(times, base), taker, spec)
    three = price_cascades(bars_of(100 * np.exp(log[:cut])), OpenInterest(times[~late], base[~late]), taker[:cut], spec)
    reach_ns = round(spec.reach_minutes * MINUTE_NS)
    for side in range(2):
        known = [
            [onset for onset, _ in spans(found, side) if onset <= last_ns - reach_ns] for found in (one, two, three)
        ]
        assert known[0] == known[1] == known[2]


def test_random_walks_have_events_on_both_sides_for_the_law_to_hold_of():
    rng = np.random.default_rng(1)
    log = np.cumsum(rng.standard_t(2, 3000) * 2e-4)
    found = price_cascades(bars_of(100 * np.exp(log)), spec=PriceCascadeSpec(sigmas=1.0, least_move=0.0005))
    assert min((found.side == side).sum() for side in range(2)) > 20


STRETCHES = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=6)


@given(STRETCHES, STRETCHES)
@settings(max_examples=60)
def test_time_that_was_recorded_is_counted_moment_by_moment(held, holes):
    held_ns, holes_ns = (np.array([(a, a + n) for a, n in each], np.int64).reshape(-1, 2) for each in (held, holes))
    begins = without(np.array([[0, 300]]), held_ns)  # what lies in no stretch
    stretches = without(without(np.array([[0, 300]]), begins), holes_ns)
    is_held = np.zeros(301, bool)
    for begin, end in held_ns.tolist():
        is_held[begin + 1 : end + 1] = True
    for begin, end in holes_ns.tolist():
        is_held[begin + 1 : end + 1] = False
    at = np.arange(301)
    assert recorded_ns(stretches, at).tolist() == np.cumsum(is_held).tolist()
