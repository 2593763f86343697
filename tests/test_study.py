"""The study's parts against literal series, and its intervals against a market in which zones mean nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.market.events import DAY_NS, MINUTE_NS, SECOND_NS
from squeeze.outcomes import Bars, Cascades, OpenInterest, price_cascades
from squeeze.tools.study import cascade_measures, funding_measures, places, zone_measures
from squeeze.tools.study.cascade_measures import Events
from squeeze.tools.study.compare import Group, Sample, against, compare
from squeeze.tools.study.history import History, history, setting
from squeeze.tools.study.matching import away_from, matched, trailing_rank
from squeeze.tools.study.question import Market, stack
from squeeze.tools.study.walls import Look, walls

STEP_NS = 15 * MINUTE_NS


def group(over, step, stratum=None, under=None):
    size = len(over)
    plain = np.ones(size) if under is None else np.array(under, float)
    strata = np.zeros(size, int) if stratum is None else np.array(stratum, int)
    return Group(np.array(over, float), plain, np.array(step, int), strata)


def market(close, zones=(), high=None, low=None, volume=None, ahead=None, length_ns=STEP_NS, seen=None):
    """A history of plain bars; zones are (step, side, near, far, centroid, mass)."""
    close = np.array(close, float)
    count = len(close)
    clocks = np.stack(
        [np.arange(1, count + 1) * length_ns, np.ones(count, int) if seen is None else np.array(seen)], axis=1
    )
    columns = [close if part is None else np.array(part, float) for part in (high, low)]
    volume = np.ones(count) if volume is None else np.array(volume, float)
    bars = np.stack([*columns, close, volume], axis=1)
    ahead = np.full((count, 2), 0.01) if ahead is None else np.array(ahead, float)
    table = np.array(sorted(zones), float).reshape(-1, 6)
    return history("X", length_ns, clocks, np.concatenate([bars, ahead], axis=1), table)


def made(held: History) -> Market:
    return Market(held, setting(held))


def cascades_at(*rows, resolution_ns=0):
    """(onset, end, side) in ns."""
    onset, end, side = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    unknown = np.full(len(rows), np.nan)
    return Cascades(onset, end, side, unknown, unknown, unknown, unknown, unknown, resolution_ns, ())


def everywhere(found, held, name="events"):
    return Events(name, found, np.ones((len(held.close), 2), bool))


# --- compare --------------------------------------------------------------------------------------------------------


def test_the_null_weighs_strata_as_the_events_do():
    # Three events in stratum 0, one in 1; matched times there come true in a half, and always.
    events = group([1, 1, 0, 1], [0, 1, 2, 3], [0, 0, 0, 1])
    others = group([1, 0, 1, 1, 1, 1], [0, 1, 2, 3, 0, 1], [0, 0, 1, 1, 1, 1])
    figures = compare(Sample(events, others), np.arange(4))
    assert (figures.n, figures.estimate, figures.null) == (4, 0.75, (3 * 0.5 + 1 * 1.0) / 4)
    assert figures.verdict == "inconclusive: 4 of 50 events"


def test_a_ratio_is_of_means_and_a_median_of_ratios():
    events, others = group([2.0, 12.0, 3.0], [0, 1, 2], under=[1, 2, 3]), group([1.0, 9.0], [0, 1], under=[1, 1])
    figures = compare(Sample(events, others), np.arange(3))
    assert (figures.estimate, figures.null) == (17 / 6, 5.0)
    figures = compare(Sample(events, others, is_median=True), np.arange(3))
    assert (figures.estimate, figures.null) == (2.0, 5.0)  # of 2, 6, 1; of 1, 9


def test_events_that_nothing_matches_and_values_not_recorded_do_not_count():
    events = group([1, 0, np.nan], [0, 1, 2], [0, 7, 0])
    figures = compare(Sample(events, group([0, np.nan], [0, 1], [0, 7])), np.arange(3))
    assert (figures.n, figures.estimate, figures.null) == (1, 1.0, 0.0)


def test_without_events_there_is_no_figure():
    figures = compare(Sample(group([], []), group([1.0], [0])), np.arange(1))
    assert figures.n == 0
    assert np.isnan(figures.estimate)


@pytest.mark.parametrize(("hits", "verdict"), [(4, "inconclusive: 4 of the rarer outcome"), (5, "not shown")])
def test_a_share_of_nearly_none_says_little_however_many_the_events(hits, verdict):
    events, others = (
        group([1] * hits + [0] * (200 - hits), np.arange(200)),
        group([1, 0] * 3 + [0] * 194, np.arange(200)),
    )
    assert compare(Sample(events, others), np.arange(200)).verdict == verdict


def test_days_are_drawn_whole():
    # All that differs lies in one of two days, so that a draw has none, half or all of it.
    events, others = group([1] * 50 + [0] * 50, np.arange(100)), group([0] * 100, np.arange(100))
    figures = compare(Sample(events, others), np.repeat([0, 1], 50))
    assert (figures.estimate, figures.low, figures.high) == (0.5, 0.0, 1.0)
    spread = compare(Sample(events, others), np.arange(100))
    assert 0.35 < spread.low < 0.45 < 0.55 < spread.high < 0.65
    assert spread.verdict == "above the null"


def test_the_same_seed_gives_the_same_figures():
    rng = np.random.default_rng(1)
    sample = Sample(group(rng.random(60), np.arange(60)), group(rng.random(300), np.arange(300)))
    assert compare(sample, np.arange(300) // 3, seed=5) == compare(sample, np.arange(300) // 3, seed=5)
    assert compare(sample, np.arange(300) // 3, seed=5) != compare(sample, np.arange(300) // 3, seed=6)


def test_a_median_beside_a_claim():
    figures = against(np.array([10.0, 60.0, 90.0]), np.arange(3), 42.0, np.arange(3))
    assert (figures.n, figures.estimate, figures.null, figures.low, figures.high) == (3, 60.0, 42.0, -32.0, 48.0)


def test_stacked_samples_keep_their_strata_apart():
    one = Sample(group([1], [0]), group([0], [1]))
    two = Sample(group([1], [0]), group([1], [1]))
    figures = compare(stack([one, two]), np.arange(2))
    assert (figures.n, figures.estimate, figures.null) == (2, 1.0, 0.5)
    figures = compare(stack([one, Sample(group([1], [0]), group([], []))]), np.arange(2))
    assert figures.n == 1  # the second sample's event matches nothing


# --- matching -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 9))
@settings(deadline=None, max_examples=10)
def test_a_rank_knows_nothing_later(seed):
    rng = np.random.default_rng(seed)
    times, values = np.arange(96 * 12) * STEP_NS, rng.random(96 * 12)
    cut = int(rng.integers(96 * 4, 96 * 11))
    later = values.copy()
    later[cut:] = rng.random(96 * 12 - cut) * 9
    assert (trailing_rank(values, times, 10)[:cut] == trailing_rank(later, times, 10)[:cut]).all()


def test_a_rank_compares_with_the_days_before():
    times = np.arange(4 * 100) * (DAY_NS // 100)
    values = np.concatenate([np.arange(100.0), np.arange(100.0), np.full(100, 95.0), np.full(100, np.nan)])
    ranks = trailing_rank(values, times, 10)
    assert set(ranks[:200]) == {-1}  # two hundred values are needed
    assert set(ranks[200:300]) == {9}
    assert set(ranks[300:]) == {-1}


def test_an_event_takes_the_finest_key_with_five_days_of_candidates():
    fine, coarse = np.array([0, 1] * 10), np.zeros(20, int)
    day = np.where(fine == 0, np.arange(20) // 2, 0)  # key 1 of `fine` lies all in one day
    kept, stratum, steps, strata = matched(np.array([2, 3]), np.setdiff1d(np.arange(20), [2, 3]), [fine, coarse], day)
    assert (kept.tolist(), stratum.tolist()) == ([0, 1], [0, 2])
    assert steps[strata == 0].tolist() == [0, 4, 6, 8, 10, 12, 14, 16, 18]
    assert len(steps[strata == 2]) == 18


def test_matched_times_lie_away_from_every_event():
    closes = np.arange(10) * MINUTE_NS
    at = np.arange(10)
    free = away_from(at, closes, np.array([4 * MINUTE_NS]), np.array([5 * MINUTE_NS]), 2 * MINUTE_NS)
    assert at[free].tolist() == [0, 1, 8, 9]


# --- where price was ------------------------------------------------------------------------------------------------


def test_the_distance_is_from_the_map_of_before_to_the_price_of_now():
    held = market([100, 110, 105], [(0, 0, 0.04, 0.06, 0.05, 1.0), (0, 1, 0.01, 0.02, 0.015, 1.0)])
    longs = held.zones.side == 0
    distance = places.zone_distance(held, held.close, 1, longs)
    assert np.isnan(distance[0])
    assert distance[1] == pytest.approx(abs(100 * np.exp(-0.05) / 110 - 1))
    assert distance[2] == np.inf  # a map without such a zone
    band = places.zone_distance(held, held.close, 1, ~longs, to_band=True)
    assert band[1] == pytest.approx(1 - 100 * np.exp(0.02) / 110)
    inside = market([100, 101.5], [(0, 1, 0.01, 0.02, 0.015, 1.0)])
    assert places.zone_distance(inside, inside.close, 1, inside.zones.side == 1, to_band=True)[1] == 0.0


def test_an_unseen_map_is_no_map_without_zones():
    held = market([100, 100, 100], seen=[0, 1, 1])
    distance = places.zone_distance(held, held.close, 1, np.zeros(0, bool))
    assert np.isnan(distance[:2]).all()
    assert distance[2] == np.inf


@given(st.lists(st.floats(-0.02, 0.02), min_size=30, max_size=80))
@settings(deadline=None, max_examples=30)
def test_turns_are_the_extremes_between_them_and_were_running_ones(returns):
    price = 100 * np.exp(np.cumsum(returns))
    steps, kinds, running, running_kinds = places.zigzag(price, price, 0.01)
    assert set(zip(steps[1:], kinds[1:], strict=True)) <= set(zip(running, running_kinds, strict=True))
    logs = np.log(price)
    for a, b, kind in zip(steps[:-1], steps[1:], kinds[:-1], strict=True):
        between = logs[a : b + 1]
        assert between[0] == (between.max() if kind == 1 else between.min())
        assert between[-1] == (between.min() if kind == 1 else between.max())
    assert (np.diff(kinds) != 0).all()


@pytest.mark.parametrize(
    ("low", "high", "close", "outcome"),
    [
        ([98.9, 97.8], [100, 99.0], [99.0, 97.9], 1.0),  # 0.1 % past the far edge at 98
        ([98.9, 98.5], [100, 99.6], [99.0, 99.5], 0.0),  # half a percent back over the near edge at 99
        ([98.9, 98.5], [100, 99.4], [99.0, 99.0], np.nan),  # neither in time
        ([98.9, 97.8], [100, 99.6], [99.0, 99.5], np.nan),  # a later bar does both
        ([97.8, 99.0], [100, 99.9], [98.5, 99.8], 1.0),  # the touching bar went through; its high came before
    ],
)
def test_a_touched_zone_is_punched_through_or_not(low, high, close, outcome):
    held = market([100, *close], high=[100, *high], low=[100, *low])
    found = places.crossed_first(held, 1, 99.0, 98.0, 0, 0.001, 0.005, 2)
    assert found == outcome or (np.isnan(found) and np.isnan(outcome))
    flipped = market([1, *(1e2 / np.array(close))], high=[1, *(1e2 / np.array(low))], low=[1, *(1e2 / np.array(high))])
    mirrored = places.crossed_first(flipped, 1, 1e2 / 99.0, 1e2 / 98.0, 1, 1 / 0.999 - 1, 1 - 1 / 1.005, 2)
    assert mirrored == outcome or (np.isnan(mirrored) and np.isnan(outcome))


def test_a_touch_is_the_first_of_its_hour_and_of_the_nearest_zone():
    zone = (0.01, 0.02, 0.015, 1.0)
    zones = [(step, 0, *zone) for step in range(8)] + [(step, 0, 0.03, 0.04, 0.035, 1.0) for step in range(8)]
    low = [100, 98.0, 98.0, 100, 100, 100, 98.0, 100]
    found = zone_measures.touches(market(np.full(8, 100.0), zones, low=low))
    assert found.step.tolist() == [0, 5]  # the touch of step 1 is a quarter of an hour after that of step 0
    assert found.near_log.tolist() == [0.01, 0.01]
    assert found.thickness == pytest.approx([0.01, 0.01])


# --- measures -------------------------------------------------------------------------------------------------------


def long_market(days=40, seed=0, **more):
    rng = np.random.default_rng(seed)
    return market(100 * np.exp(np.cumsum(rng.normal(0, 0.002, days * 96))), **more)


def test_cascades_near_zones_are_counted_in_the_frozen_map():
    rng = np.random.default_rng(3)
    count = 40 * 96
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-4, count)))
    onsets = np.sort(rng.choice(np.arange(20 * 96, count - 200), 60, replace=False))
    # A zone 0.4 % below the mark, only in the map of one step before each onset's price.
    zones = [(int(step) - 1, 0, 0.003, 0.005, 0.004, 1.0) for step in onsets]
    held = market(close, zones)
    at = held.closes_ns[onsets] + SECOND_NS
    found = cascades_at(*((t, t + MINUTE_NS, 0) for t in at.tolist()))
    asked = cascade_measures.near_zones(made(held), everywhere(found, held))
    shares = {q.figure: compare(q.sample, held.days, 200) for q in asked if q.sample is not None}
    assert shares["cascades that start within 0.5 % of a zone"].estimate == 1.0
    assert shares["cascades that start within 0.25 % of a zone"].estimate == 0.0
    assert shares["cascades that start within 0.5 % of a zone"].null == 0.0
    assert shares["cascades that start within 0.5 % of a major zone"].n == 60


def test_volume_is_that_of_the_first_whole_bar_over_the_mean_of_the_hour_before():
    held = long_market(volume=np.tile([1.0, 2.0, 3.0, 4.0], 40 * 24))
    step = 30 * 96 + 3  # its hour holds 1, 2, 3, 4
    onset, end = held.closes_ns[step], held.closes_ns[step + 4] - SECOND_NS  # the bar after the end has volume 1
    asked = cascade_measures.volume(made(held), everywhere(cascades_at((onset, end, 0)), held))
    at_end, at_onset = (
        next(q for q in asked if a in q.figure and "ratio of means" in q.figure) for a in ("end", "onset")
    )
    for question, volume in ((at_end, 1.0), (at_onset, 1.0)):
        assert (question.sample.events.over.tolist(), question.sample.events.under.tolist()) == ([volume], [2.5])


def test_what_an_end_is_needed_for_says_so():
    held = long_market()
    events = Events("sums", cascades_at((20 * DAY_NS, 20 * DAY_NS, 0)), np.ones((len(held.close), 2), bool), "prints")
    for question in (*cascade_measures.volume(made(held), events), *cascade_measures.onward(made(held), events)):
        assert (question.sample, question.needs, question.n) == (None, "prints", 1)


def test_a_hit_is_the_first_touch_within_ten_minutes():
    close, low = np.full(60, 100.0), np.full(60, 100.0)
    low[40], low[45] = 98.9, 98.8  # bars that close at minute 41 and 46
    zones = [(step, 0, 0.01, 0.02, 0.015, 1.0) for step in range(60)]
    held = market(close, zones, low=low, length_ns=MINUTE_NS)
    found = cascades_at(
        (50 * MINUTE_NS, 53 * MINUTE_NS, 0), (52 * MINUTE_NS, 53 * MINUTE_NS, 0), (50 * MINUTE_NS, 1, 1)
    )
    assert cascade_measures.hit_times(held, found).tolist() == [41 * MINUTE_NS, 46 * MINUTE_NS, -1]


def test_funding_crossings_are_grouped_and_cascades_follow_them():
    held = long_market(days=10)
    events = everywhere(cascades_at((5 * DAY_NS, 5 * DAY_NS, 0)), held)
    follows = funding_measures.cascade_follows(held.closes_ns, events, 0, DAY_NS)
    before = held.closes_ns < 5 * DAY_NS
    inside = before & (held.closes_ns >= 4 * DAY_NS)
    assert follows[inside].tolist() == [1.0] * inside.sum()
    assert np.nansum(follows) == inside.sum()
    assert np.isnan(follows[-95:]).all()
    events.could[300] = False
    assert np.isnan(funding_measures.cascade_follows(held.closes_ns, events, 0, DAY_NS)[300 - 95 : 301]).all()


def test_the_heavier_side_is_asked_in_its_own_direction():
    ahead = np.tile([[0.01, 0.04]], (40 * 96, 1))  # A_2 = +0.6: shorts above are heavier
    held = long_market(ahead=ahead)
    (question, _) = zone_measures.heavier_side(made(held))
    assert len(question.sample.events.step) > 500
    events = question.sample.events.where(question.sample.events.known)
    assert events.over == pytest.approx(np.log(held.close[events.step + 4] / held.close[events.step]))


def test_a_zone_thins_against_its_most_of_six_hours_while_the_mark_stays_off_it():
    mass = np.full(60, 1.0)
    mass[20], mass[30:] = 4.0, 0.5  # quarter hours: step 20 is within six hours of 44 and before, not of 45
    zones = [(step, 0, 0.01, 0.02, 0.015, mass[step]) for step in range(60)]
    held = market(np.full(60, 100.0), zones)
    held.zones.is_major[:] = True
    at = np.array([20, 24, 32, 44, 48])
    thinned = [np.nan, 0.75, 0.875, 0.875, 0.5]
    assert zone_measures.thinned_share(held, at, 0) == pytest.approx(thinned, nan_ok=True)
    assert np.isnan(zone_measures.thinned_share(held, at, 1)).all()
    touched = market(np.full(60, 100.0), zones, low=np.where(np.arange(60) == 40, 98.9, 100.0))
    touched.zones.is_major[:] = True
    assert np.isnan(zone_measures.thinned_share(touched, at, 0)).tolist() == [True, False, False, True, True]


def test_price_events_need_a_fall_of_four_deviations_and_of_six_tenths_of_a_percent():
    at = np.arange(1, 1500) * MINUTE_NS
    logs = np.where(np.arange(1499) % 2, 1e-4, 0.0)
    for fall, count in ((0.0059, 0), (0.0063, 1)):
        log = logs - np.where(np.arange(1499) >= 1450, fall, 0.0)
        bars = Bars(at, np.exp(log), np.exp(log), np.exp(log), MINUTE_NS)
        found = price_cascades(bars)
        assert found.side.tolist() == [0] * count
        assert (
            price_cascades(Bars(at, 1 / bars.low, 1 / bars.high, 1 / bars.close, MINUTE_NS)).side.tolist()
            == [1] * count
        )
    assert found.onset_ns.tolist() == [at[1450]]
    assert found.resolution_ns == 5 * MINUTE_NS
    assert [said.split(":")[0] for said in found.not_evaluated] == ["basis", "least_drop", "taker_ratio"]


def test_price_events_ask_open_interest_where_it_is_known():
    at = np.arange(1, 3 * 1440) * MINUTE_NS
    logs = np.where(np.arange(len(at)) % 2, 1e-4, 0.0) - np.where(np.arange(len(at)) >= 4000, 0.01, 0.0)
    bars = Bars(at, np.exp(logs), np.exp(logs), np.exp(logs), MINUTE_NS)
    stamps = np.arange(0, 3 * 1440, 5) * MINUTE_NS
    for drop, count in ((0.005, 0), (0.007, 1)):
        base = np.where(stamps > at[3999], 1e4 * (1 - drop), 1e4)
        assert len(price_cascades(bars, OpenInterest(stamps, base))) == count


def look(second, held, traded=0.0, middle=100.0, lowest=9000):
    cell = (0, 9210)
    held_base, traded_base = ({cell: float(coins)} if coins else {} for coins in (held, traded))
    return Look(second * SECOND_NS, held_base, traded_base, middle, lowest, 9300)


@pytest.mark.parametrize(
    ("looks", "outcomes"),
    [
        ([look(1, 600), look(2, 700), look(3, 140)], ["pulled"]),
        ([look(1, 600), look(2, 100, traded=300)], ["filled"]),
        ([look(1, 600), look(2, 100, traded=200)], ["mixed"]),
        ([look(1, 600), look(2, 130)], ["standing"]),
        ([look(1, 499), look(2, 0)], []),
        ([look(1, 600), look(2, 0, lowest=9211), look(3, 600)], ["standing", "standing"]),  # beyond the feed's reach
        ([look(1, 600), look(2, 0, middle=np.nan), look(3, 600), look(4, 0)], ["standing", "pulled"]),
    ],
)
def test_walls_are_pulled_filled_or_stand(looks, outcomes):
    assert [wall.outcome for wall in walls(looks, 500.0)] == outcomes


# --- the null -------------------------------------------------------------------------------------------------------


def null_figures(seed: int):
    """Random walk, zones at random distances, onsets at random times: 40 days of quarter hours."""
    rng = np.random.default_rng(seed)
    count = 40 * 96
    volatility = np.exp(0.5 * np.sin(np.arange(count) / 40) + rng.normal(0, 0.2, count))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, count) * volatility))
    zones = []
    # A zone stays for hours, so that neighbouring steps are alike, as in life.
    near = np.repeat(rng.uniform(0.0, 0.03, (count // 24, 2)), 24, axis=0).reshape(-1)
    step, side = np.repeat(np.arange(count), 2), np.tile([0, 1], count)
    zones = np.stack([step, side, near, near + 0.002, near + 0.001, near * 0 + 1], axis=1)
    held = market(close, zones.tolist())
    onsets = np.sort(rng.choice(np.arange(10 * 96, count - 96), 120, replace=False))
    at = held.closes_ns[onsets] + SECOND_NS
    found = cascades_at(
        *((t, t + MINUTE_NS, int(s)) for t, s in zip(at.tolist(), rng.integers(0, 2, 120), strict=True))
    )
    made_market = made(held)
    asked = [
        q for q in cascade_measures.near_zones(made_market, everywhere(found, held)) if "1 % of a zone" in q.figure
    ]
    asked += (
        zone_measures.swept_with_trend(made_market) + cascade_measures.onward(made_market, everywhere(found, held))[:1]
    )
    return [compare(q.sample, held.days, 200, seed) for q in asked if q.sample is not None]


def test_where_zones_mean_nothing_intervals_hold_the_null_at_about_the_stated_rate():
    drawn = [null_figures(seed) for seed in range(40)]
    held = np.array([[f.low <= 0 <= f.high for f in figures] for figures in drawn])
    assert held.shape[1] == 4
    assert all(f.n >= 50 for figures in drawn for f in figures)
    rates = held.mean(axis=0)
    # 95 % of forty draws, give or take three standard deviations of 3.4 %.
    assert (rates >= 0.85).all(), rates
    assert held.mean() <= 0.99, rates
