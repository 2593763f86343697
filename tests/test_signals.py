"""The signal machine, state by state: each condition of domain.md §6.1 at its border, by literal numbers."""

import copy
import itertools
import math

import msgspec
import pytest
from msgspec.structs import replace

from squeeze.errors import ConfigError, StepError
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.signals.alarm_threshold import AlarmThreshold
from squeeze.signals.machine import SignalMachine
from squeeze.signals.portfolio import Standing, together
from squeeze.signals.transition import TERMINAL, signal_id
from squeeze.signals.view import Word
from tests.squeezes import MODEL, RATES, Market, machine_of, spec_of, state_of, story, strategy_of

NAN = math.nan


def after(machine, market, seconds=1, conduct=None, **changes):
    """What the market's side does at a look that many seconds later, and the messages of it."""
    market.advance(seconds, **conduct or {})
    said = [t for t in machine.look(market.view(**changes)) if t.side == ("long", "short")[market.side]]
    return [(t.prev_state, t.state, t.reason_codes[0]) for t in said], said


def moves(*args, **kwargs):
    return after(*args, **kwargs)[0]


def named(said, side="long"):
    """The newest signal of a side."""
    return [t for t in said if t.side == side][-1].signal_id


def watched(**changes):
    """What a fresh machine does at its first look, the first zone of the longs changed."""
    market = Market()
    zone = market.zone(0, "1", **changes)
    return moves(machine_of(), market, zones=(zone,))


FOUND = [("idle", "zone_ahead", "major_zone")]


# --- idle to zone_ahead -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"near_log": 0.03}, FOUND),
        ({"near_log": 0.0300001}, []),
        ({"near_log": 0.001}, FOUND),
        ({"near_log": 0.0009999}, []),
        ({"major": False}, []),
        ({"mass_share": 0.0100001}, FOUND),
        ({"mass_share": 0.01}, []),  # half of the heaviest of six hours
        ({"mass_share": NAN}, FOUND),  # unknown is not thinned, and not needed
        ({"age_hours": 400.0}, FOUND),  # the pattern says that the map is not stale
    ],
)
def test_a_zone_is_ahead_within_three_percent_major_and_not_thinned(changes, expected):
    assert watched(**changes) == expected


def test_a_zone_is_ahead_ten_minutes_after_its_birth():
    born = Market().now_ns + SECOND_NS - 10 * MINUTE_NS
    assert watched(born_ns=born) == FOUND
    assert watched(born_ns=born + 1) == []


@pytest.mark.parametrize(("rank", "expected"), [(0.5, [("idle", "zone_ahead", "heavy_zone")]), (0.49, []), (NAN, [])])
def test_a_strategy_may_watch_zones_from_a_rank_of_its_own_on(rank, expected):
    machine, market = machine_of(strategy_of(zones={"least_rank": 0.5})), Market()
    assert moves(machine, market, zones=(market.zone(0, "1", major=False, thickness_rank=rank),)) == expected


def test_a_stack_makes_a_lesser_zone_worth_watching():
    market = Market()
    patterns = {"stacked_zones": (True, False), "stale_timeframe": (False, False)}
    zones = (market.zone(0, "1", major=False), market.zone(1, "1", major=False))
    assert moves(machine_of(), market, zones=zones, patterns=patterns) == [("idle", "zone_ahead", "stacked_zones")]


@pytest.mark.parametrize(
    ("patterns", "age_hours", "expected"),
    [({"stale_timeframe": (True, False)}, 1.0, []), ({"stale_timeframe": (False, True)}, 1.0, FOUND),
     ({}, 24.0, FOUND), ({}, 24.1, []), ({}, NAN, [])],
)  # fmt: skip
def test_a_map_too_old_for_the_horizon_shows_no_zone_and_without_the_pattern_its_age_decides(
    patterns, age_hours, expected
):
    market = Market()
    assert moves(machine_of(), market, zones=(market.zone(0, "1", age_hours=age_hours),), patterns=patterns) == expected


def test_nothing_begins_while_the_model_is_silent():
    machine, market = machine_of(), Market()
    silent = Word(ts_ns=market.now_ns, probabilities=None, reasons=("gap",))
    assert moves(machine, market, word=None) == []
    assert moves(machine, market, word=silent) == []
    old = market.view().word
    assert moves(machine, market, word=replace(old, ts_ns=market.now_ns + SECOND_NS - 120 * SECOND_NS - 1)) == []
    assert moves(machine, market, word=replace(old, ts_ns=market.now_ns + SECOND_NS - 120 * SECOND_NS)) == FOUND


# --- zone_ahead, approach ---------------------------------------------------------------------------------------------


def ready(**changes):
    """A machine with a zone ahead whose probability has been over the threshold for five seconds."""
    machine, market, _ = story("zone_ahead")
    for _ in range(4):
        assert moves(machine, market, velocity_log=0.0) == []
    return moves(machine, market, **{"velocity_log": -0.002} | changes)


APPROACHED = [("zone_ahead", "approach", "fast_approach")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"velocity_log": -0.001}, APPROACHED),  # one sigma a minute; 0.6 % away is six minutes
        ({"velocity_log": -0.000999}, []),
        ({"velocity_log": 0.002}, []),
        ({"velocity_log": NAN}, []),
        ({"sigma_1m_log": NAN}, []),
        ({"velocity_log": -0.000601, "sigma_1m_log": 0.0001}, APPROACHED),  # ten minutes
        ({"velocity_log": -0.000599, "sigma_1m_log": 0.0001}, []),
        ({"word": None}, []),
    ],
)
def test_an_approach_is_a_sigma_a_minute_and_ten_minutes_away(changes, expected):
    assert ready(**changes) == expected


def test_the_probability_must_stay_over_the_threshold_for_five_seconds():
    machine, market, _ = story("zone_ahead")
    for second in range(1, 5):
        assert moves(machine, market, velocity_log=-0.002) == [], second
    market.probability = 0.0599  # three base rates of 2 % are 6 %
    assert moves(machine, market, velocity_log=-0.002) == []
    market.probability = 0.06
    for second in range(5):
        assert moves(machine, market, velocity_log=-0.002) == [], second
    assert moves(machine, market, velocity_log=-0.002) == APPROACHED


def alarm(threshold, **changes):
    fields = {"side": "long", "horizon_minutes": 15, "budget_per_day": 2.0, "method": "confident", "guarantee": "g"}
    more = {"assumption": "a", "false_alarms_per_day": 1.0, "rows": 10, "days": 3}
    return AlarmThreshold(**fields | more | changes, threshold=threshold)


@pytest.mark.parametrize(
    ("alarms", "p_on"),
    [
        ((), 0.06),
        ((alarm(0.3),), 0.3),
        ((alarm(0.3, side="short"), alarm(0.4, horizon_minutes=5), alarm(0.5, budget_per_day=1.0)), 0.06),
        ((alarm(0.2, method="expected"), alarm(0.3)), 0.3),
        ((alarm(0.2, method="expected"),), 0.2),
        ((alarm(1.0),), 0.95),
    ],
)
def test_the_threshold_is_the_cards_for_the_budget_or_else_three_base_rates(alarms, p_on):
    assert machine_of(alarms=alarms).limits[0].p_on == pytest.approx(p_on)


def test_a_zone_that_thins_is_lost_or_runs_away_is_given_up():
    for zones, reason in (
        (lambda m: (), "zone_lost"),
        (lambda m: (m.zone(0, "1", mass_share=0.01),), "zone_thinned"),
        (lambda m: (m.zone(0, "1", near_log=1.5001 * 0.006),), "price_away"),
    ):
        for state in ("zone_ahead", "approach"):
            machine, market, said = story(state)
            if state == "zone_ahead":
                market.logs[-1] = 0.0
            found, messages = after(machine, market, zones=zones(market))
            assert found[0] == (state, "idle", reason)
            assert messages[0].type == "cancel"
            assert messages[0].signal_id == named(said)


@pytest.mark.parametrize(("state", "minutes"), [("zone_ahead", 240), ("approach", 30)])
def test_a_zone_is_given_up_after_four_hours_and_an_approach_after_half_an_hour(state, minutes):
    machine, market, _ = story(state, signal={"clock_seconds": 20_000.0})
    since = market.now_ns
    assert moves(machine, market, seconds=minutes * 60 - 1, velocity_log=0.0) == []
    assert moves(machine, market, seconds=1, velocity_log=0.0)[0] == (state, "idle", "timer")
    assert market.now_ns - since == minutes * MINUTE_NS


# --- triggered, cascade -----------------------------------------------------------------------------------------------


def at_the_edge():
    """A machine in approach whose mark is a hair before the zone's edge."""
    machine, market, _ = story("approach")
    market.logs[-1] = -0.0059
    assert moves(machine, market) == []
    return machine, market


INSIDE = {"mark": 100 * math.exp(-0.006) - 1e-6, "mark_low": NAN}
HIT = {"liquidated_10s_usd": (20_000.0, 0.0), "prints_10s": (5.0, 0.0)}


@pytest.mark.parametrize(
    ("changes", "triggers"),
    [
        (HIT, True),
        (HIT | {"liquidated_10s_usd": (19_999.0, 9e9)}, False),
        (HIT | {"prints_10s": (4.0, 99.0)}, False),
        (HIT | {"liquidated_10s_usual_usd": (NAN, 1.0)}, False),
        (HIT | {"liquidated_10s_usd": (NAN, NAN)}, False),
        (HIT | {"mark": 99.5}, False),
        (HIT | {"mark": 99.5, "mark_low": 99.4}, True),  # it was inside between two looks
    ],
)
def test_a_trigger_is_the_mark_in_the_zone_and_five_prints_of_the_usual_size(changes, triggers):
    machine, market = at_the_edge()
    found = moves(machine, market, **INSIDE | changes)
    assert (("approach", "triggered", "triggered_by_prints") in found) == triggers


def swept(market, to_log):
    """The zones as a step leaves them whose bar went through the first of the longs' down to a log price."""
    zones = market.zones()
    high = 100 * math.exp(to_log)
    return (replace(zones[0], high=high, near_log=math.log(market.view().mark / high)), *zones[1:])


def test_a_zone_whose_edge_the_step_has_swept_away_was_reached_all_the_same():
    # The bar went from 0.59 % to 0.65 % below 100, through the edge at 0.6 %; what is left begins at 0.7 %.
    for bar_low, triggers in ((100 * math.exp(-0.0065), True), (100 * math.exp(-0.00595), False)):
        machine, market = at_the_edge()
        found = moves(machine, market, mark=bar_low, mark_low=bar_low, zones=swept(market, -0.007), **HIT)
        assert (("approach", "triggered", "triggered_by_prints") in found) == triggers
        assert moves(machine, market, mark=100 * math.exp(-0.0061), zones=swept(market, -0.007), **HIT) == []


@pytest.mark.parametrize(
    ("changes", "triggers"),
    [
        ({}, True),
        ({"prints_60s": (1.0, 99.0)}, False),
        ({"liquidated_60s_usd": (249_999.0, 9e9)}, False),
        ({"onset_usd": (NAN, 1.0)}, False),
    ],
)
def test_where_the_mark_comes_by_the_minute_a_minutes_liquidations_trigger(changes, triggers):
    machine, market = at_the_edge()
    snapshot = machine.snapshot()
    machine = machine_of(strategy_of(trigger={"seconds": 60, "least_prints": 2}))
    machine.restore(snapshot | {"config": machine.strategy.digest()})
    minute = {"liquidated_60s_usd": (250_000.0, 0.0), "prints_60s": (2.0, 0.0), "liquidated_10s_usd": (0.0, 0.0)}
    found = moves(machine, market, **INSIDE | minute | changes)
    assert (("approach", "triggered", "triggered_by_prints") in found) == triggers


SUSPECT = {"liquidations_suspect": True, "liquidated_10s_usd": (NAN, NAN), "prints_10s": (NAN, NAN)}
SOLD = {"taker_sells_10s_usd": 500_000.0, "open_interest_base": 9.9e6}


@pytest.mark.parametrize(
    ("changes", "triggers"),
    [
        (SOLD, True),  # three times a sixth of a million
        (SOLD | {"taker_sells_10s_usd": 499_999.0, "taker_buys_10s_usd": 9e9}, False),
        (SOLD | {"open_interest_base": 1.1e7}, False),
        (SOLD | {"open_interest_base": NAN}, False),
        (SOLD | {"taker_sells_10s_usd": NAN, "volume_60s_usd": 3e6}, True),  # bars only
        (SOLD | {"taker_sells_10s_usd": NAN, "volume_60s_usd": 2.9e6}, False),
        (SOLD | {"volume_minute_usd": NAN}, False),
        (SOLD | {"mark": 99.5}, False),
    ],
)
def test_where_liquidations_cannot_be_trusted_volume_and_open_interest_trigger(changes, triggers):
    machine, market = at_the_edge()
    found = moves(machine, market, **INSIDE | SUSPECT | changes)
    assert (found == [("approach", "triggered", "triggered_by_volume")]) == triggers


ONSET = {"liquidated_60s_usd": (250_000.0, 62_500.0), "prints_60s": (5.0, 99.0)}


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        (ONSET, True),
        (ONSET | {"liquidated_60s_usd": (249_999.0, 0.0)}, False),
        (ONSET | {"liquidated_60s_usd": (250_000.0, 62_501.0)}, False),  # 80 % of all
        (ONSET | {"prints_60s": (4.0, 0.0)}, False),
        (ONSET | {"onset_usd": (NAN, 1.0)}, False),
        (ONSET | {"liquidated_60s_usd": (250_000.0, NAN)}, False),
    ],
)
def test_a_cascade_begins_with_the_onset_rule(changes, begins):
    machine, market, _ = story("triggered")
    assert moves(machine, market, **changes) == ([("triggered", "cascade", "onset")] if begins else [])


def test_a_trigger_without_an_onset_is_invalid_after_two_minutes():
    machine, market, _ = story("triggered")
    for _ in range(119):
        assert moves(machine, market) == []
    found, said = after(machine, market)
    assert found == [("triggered", "invalidated", "no_onset")]
    assert said[0].type == "cancel"


@pytest.mark.parametrize(("back", "invalid"), [(0.00099, False), (0.00101, True)])
def test_a_false_break_is_a_quarter_of_the_range_back_outside(back, invalid):
    machine, market, _ = story("triggered")
    found = moves(machine, market, mark=100 * math.exp(-0.006 + back))
    assert found == ([("triggered", "invalidated", "false_break")] if invalid else [])
    unknown, market, _ = story("triggered")
    assert moves(unknown, market, mark=99.9, atr_15m_log=NAN) == []


def test_a_false_break_is_measured_from_the_edge_that_was_broken_not_from_what_the_sweep_left():
    machine, market, _ = story("triggered")
    mark = market.view().mark
    assert moves(machine, market, mark=mark, zones=swept(market, -0.0085)) == []


def test_the_onset_by_price_needs_move_volume_and_open_interest():
    path = 3 * math.sqrt(6) * 0.001
    whole = SUSPECT | {"volume_60s_usd": 3e6, "open_interest_base": 9.8e6}
    for changes, begins in (
        ({}, True),
        ({"mark": 0.999}, False),
        ({"volume_60s_usd": 2.99e6}, False),
        ({"open_interest_base": 1e7}, False),
        ({"open_interest_base": NAN}, False),
        ({"sigma_1m_log": NAN}, False),
    ):
        machine, market = at_the_edge()
        moves(machine, market, **INSIDE | SUSPECT | SOLD)
        assert state_of(machine) == "triggered"
        mark = INSIDE["mark"] * math.exp(-path * changes.get("mark", 1.001))
        found = moves(machine, market, **whole | changes | {"mark": mark, "zones": ()})
        assert found == ([("triggered", "cascade", "onset_by_price")] if begins else [])


def test_a_cascade_that_reaches_the_next_zone_says_so_and_goes_on():
    machine, market, _ = story("cascade")
    market.logs[-1] = -0.0131
    found, said = after(machine, market)
    assert found == [("cascade", "cascade", "next_zone")]
    assert said[0].zone.id == "long-2"
    assert said[0].cascade.zones_passed == 2
    assert moves(machine, market) == []


def test_a_zone_born_in_the_cascade_is_not_its_next():
    machine, market, _ = story("cascade")
    market.logs[-1] = -0.0131
    new = market.zone(0, "2", born_ns=market.now_ns)
    assert moves(machine, market, zones=(new,)) == []


def test_a_cascade_ends_after_a_quiet_minute_without_a_new_extreme():
    machine, market, said = story("cascade")
    peak = market.view().liquidated_60s_usd[0]
    quiet = {"liquidated_60s_usd": (0.1999 * peak, 0.0), "spread_worst_30s_bp": 9.0}
    for _ in range(60):
        assert moves(machine, market, **quiet) == []
    found, said = after(machine, market, **quiet)
    assert found == [("cascade", "aftermath", "cascade_over")]
    assert said[0].cascade.end_us == said[0].ts_data_us - 60_000_000


@pytest.mark.parametrize("disturbance", [{"liquidated_60s_usd": (1e9, 0.0)}, {"liquidated_60s_usd": (NAN, NAN)}])
def test_a_loud_or_an_unknown_second_starts_the_quiet_minute_anew(disturbance):
    machine, market, _ = story("cascade")
    quiet = {"liquidated_60s_usd": (1.0, 0.0)}
    for second in range(60):
        assert moves(machine, market, **disturbance if second == 30 else quiet) == []
    for _ in range(30):
        assert moves(machine, market, **quiet) == []
        assert state_of(machine) == "cascade"


def test_a_new_extreme_starts_the_quiet_minute_anew():
    machine, market, _ = story("cascade")
    for second in range(90):
        low = 90.0 if second == 30 else NAN
        assert moves(machine, market, liquidated_60s_usd=(1.0, 0.0), mark_low=low, zones=()) == []
    assert moves(machine, market, liquidated_60s_usd=(1.0, 0.0), spread_worst_30s_bp=9.0) == [
        ("cascade", "aftermath", "cascade_over")
    ]


def test_a_cascade_that_never_ends_is_given_up_after_an_hour():
    machine, market, _ = story("cascade", signal={"clock_seconds": 2000.0})
    assert moves(machine, market, seconds=3500, liquidated_60s_usd=(NAN, NAN)) == []
    found = moves(machine, market, seconds=100, liquidated_60s_usd=(NAN, NAN))
    assert found == [("cascade", "done", "cascade_too_long")]


# --- aftermath, entry -------------------------------------------------------------------------------------------------

CALM = {
    "volume_60s_usd": 1e6,
    "spread_worst_30s_bp": 1.25,
    "depth_usd": 7e5,
    "range_3m_log": 0.002,
    "liquidated_60s_usd": (0.0, 0.0),
}


def calmed(strategy=None, others=None, **changes):
    """The one move that a machine in the aftermath makes, or what it waits for."""
    machine, market, _ = story("aftermath", strategy=strategy)
    market.advance()
    said = machine.look(market.view(**CALM | changes), *([others] if others else []))
    return (said[0].state, said[0].reason_codes) if said else None


ENTERED = ("entry", ("aftermath_calm", "mode_continuation"))


@pytest.mark.parametrize(
    ("changes", "enters"),
    [
        ({}, True),
        ({"volume_minute_usd": 1e6 / 1.5}, True),
        ({"volume_minute_usd": 0.99e6 / 1.5}, False),
        ({"spread_worst_30s_bp": 1.26}, False),
        ({"depth_usd": 6.9e5}, False),
        ({"range_3m_log": 0.0021}, False),
        ({"live": False}, False),
        ({"word": None}, False),
        ({"liquidated_60s_usd": (250_000.0, 0.0), "prints_60s": (9.0, 0.0)}, False),
        *(
            ({name: NAN}, False)
            for name in ("volume_60s_usd", "spread_worst_30s_bp", "spread_median_60m_bp", "depth_usd",
                         "depth_median_60m_usd", "range_3m_log", "atr_15m_log", "atr_5m_log", "open_interest_base")
        ),
    ],
)  # fmt: skip
def test_an_entry_needs_every_condition_and_every_input(changes, enters):
    assert calmed(**changes) == (ENTERED if enters else None)


def test_a_volume_over_half_of_the_cascades_peak_waits():
    machine, market, _ = story("aftermath")
    peak = machine._memory.sides["long"].cascade.peak_volume_usd
    moves(machine, market, **CALM | {"volume_60s_usd": 0.5 * peak + 1, "volume_minute_usd": 1e9})
    assert state_of(machine) == "aftermath"
    moves(machine, market, **CALM | {"volume_60s_usd": 0.5 * peak, "volume_minute_usd": 1e9})
    assert state_of(machine) == "entry"


def test_a_mark_older_than_two_seconds_never_enters():
    for name in ("mark_ns", "mark_made_ns"):  # heard long ago, or made long ago and heard just now
        for age_ns, enters in ((2 * SECOND_NS, True), (2 * SECOND_NS + 1, False)):
            machine, market, _ = story("aftermath")
            market.advance()
            machine.look(market.view(**CALM | {name: market.now_ns - age_ns}))
            assert (state_of(machine) == "entry") == enters


@pytest.mark.parametrize(
    ("inputs", "field"),
    [("spread", "spread_worst_30s_bp"), ("depth", "depth_usd"), ("volume", "volume_60s_usd"),
     ("open_interest", "open_interest_base")],
)  # fmt: skip
def test_an_input_that_is_not_required_may_be_unknown_and_the_message_says_so(inputs, field):
    required = [name for name in ("spread", "depth", "volume", "depletion", "open_interest") if name != inputs]
    machine, market, _ = story("aftermath", strategy=strategy_of(entry={"required": required}))
    found, said = after(machine, market, **CALM | {field: NAN})
    assert found[0][1] == "entry"
    assert f"unknown_{inputs}" in said[0].quality.flags
    known, market, _ = story("aftermath", strategy=strategy_of(entry={"required": required}))
    assert moves(known, market, **CALM | {field: 0.0 if field == "depth_usd" else 1e12}) == []


def test_a_zone_that_was_hardly_liquidated_is_no_entry():
    cleared = story("aftermath")[0]._memory.sides["long"].cascade
    share = cleared.cleared_usd / cleared.zones_usd
    assert share > 0.05
    assert calmed(strategy_of(entry={"least_depletion": share})) == ENTERED
    assert calmed(strategy_of(entry={"least_depletion": share + 1e-6})) is None
    assert calmed(strategy_of(entry={"least_depletion": 1.0, "print_share": share})) == ENTERED


def test_a_zone_that_was_opened_anew_is_no_entry():
    machine, market, _ = story("aftermath")
    cascade = machine._memory.sides["long"].cascade
    market.advance()
    view = market.view(**CALM)
    back = 0.5 * cascade.zones_usd / view.mark
    assert machine.look(replace(view, open_interest_base=cascade.open_interest_end_base + back + 1)) == []
    machine.look(replace(view, open_interest_base=cascade.open_interest_end_base + back - 1))
    assert state_of(machine) == "entry"


def test_no_entry_fifteen_minutes_after_the_cascade_and_the_message_says_what_was_missing():
    machine, market, _ = story("aftermath", signal={"clock_seconds": 500.0})
    assert moves(machine, market, seconds=899, **CALM | {"depth_usd": 0.0}) == []
    found, said = after(machine, market, **CALM | {"depth_usd": 0.0, "spread_bp": 1.0})
    assert found == [("aftermath", "done", "aftermath_over")]
    assert said[0].reason_codes == ("aftermath_over", "waits_for_depth")
    assert said[0].type == "cancel"


def test_a_cascade_of_the_other_side_ends_an_aftermath():
    machine, market, _ = story("aftermath")
    memory = machine._memory
    other = replace(story("cascade", side=1)[0]._memory.sides["short"], signal_id="other")
    machine._memory = replace(memory, sides=memory.sides | {"short": other})
    assert moves(machine, market, **CALM)[0] == ("aftermath", "done", "opposite_cascade")


@pytest.mark.parametrize("state", ["aftermath", "entry", "managed"])
def test_a_side_does_not_enter_while_the_other_is_busy(state):
    machine, market, _ = story("aftermath")
    memory = machine._memory
    other = story(state, side=1)[0]._memory.sides["short"]
    machine._memory = replace(memory, sides=memory.sides | {"short": other})
    market.advance()
    said = machine.look(market.view(**CALM, zones=()))
    assert not [t for t in said if t.type == "entry"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"risk": {"least_percent": 1.0, "suspect_factor": 0.5}}, ENTERED),
        ({"risk": {"cap_percent": 0.2, "least_percent": 0.2}}, ENTERED),
        ({"risk": {"base_percent": 0.2, "full_percent": 0.2}}, ("done", ("no_trade", "risk_too_small"))),
        ({"account": {"least_notional_usd": 1e6}}, ("done", ("no_trade", "below_least_notional"))),
        ({"account": {"least_quantity": 1e6}}, ("done", ("no_trade", "below_least_quantity"))),
        ({"account": {"quantity_step": 1e6}}, ("done", ("no_trade", "below_least_quantity"))),
        ({"exits": {"least_stop_percent": 32.9, "own_liquidation_stops": 4.0}},
         ("done", ("no_trade", "own_liquidation_near"))),
        ({"entry": {"expected_return_log": (0.0011999, 0.0)}}, None),  # two fees and a spread
        ({"entry": {"expected_return_log": (0.0012001, 0.0)}}, ENTERED),
        ({"entry": {"expected_return_log": (-0.01, 0.01)}}, None),
        ({"entry": {"mode": "auto"}}, ENTERED),
        ({"entry": {"mode": "auto", "expected_return_log": (-0.01, 0.0)}},
         ("entry", ("aftermath_calm", "mode_reversion"))),
        ({"entry": {"mode": "auto", "expected_return_log": (0.001, 0.0)}}, None),
        ({"entry": {"mode": "reversion"}}, ("entry", ("aftermath_calm", "mode_reversion"))),
    ],
)  # fmt: skip
def test_a_trade_keeps_every_limit_or_says_why_there_is_none(strategy, expected):
    assert calmed(strategy_of(**strategy), spread_bp=1.0) == expected


def test_the_order_goes_with_the_squeeze_or_against_it():
    orders = {"continuation": ("sell", "buy"), "reversion": ("buy", "sell")}
    for side, mode in itertools.product((0, 1), orders):
        machine, market, _ = story("aftermath", side=side, strategy=strategy_of(entry={"mode": mode}))
        said = after(machine, market, **CALM)[1]
        assert (said[0].order_advice.side, said[0].mode) == (orders[mode][side], mode)


def test_trades_in_one_direction_are_one_risk():
    full = Standing(sell_percent=2.76)
    assert calmed(others=full) == ("done", ("no_trade", "portfolio_full"))
    assert calmed(others=Standing(buy_percent=3.0)) == ENTERED
    machine, market, _ = story("aftermath")
    market.advance()
    (entry,) = machine.look(market.view(**CALM), Standing(sell_percent=2.5))
    assert 0.49 < entry.order_advice.risk_percent <= 0.5
    assert machine.standing == Standing(sell_percent=entry.order_advice.risk_percent)
    assert together([machine.standing, Standing(sell_percent=1.0)]).of("sell") > 1.49


def test_an_entry_expires_after_a_minute_unless_it_is_touched():
    machine, market, said = story("entry")
    assert said[-1].valid_until_us == said[-1].ts_data_us + 60_000_000
    away = {"bid": 90.0, "ask": 90.0}
    for _ in range(59):
        assert moves(machine, market, **away) == []
    found, ended = after(machine, market, **away)
    assert found == [("entry", "done", "entry_expired")]
    assert ended[0].type == "cancel"


def test_an_entry_is_filled_where_a_later_mid_touches_it_or_the_mark_where_there_is_no_book():
    machine, market, said = story("entry")
    assert machine.look(market.view()) == []  # the same instant
    low, high = float(said[-1].order_advice.entry_low), float(said[-1].order_advice.entry_high)
    assert moves(machine, market, bid=high, ask=high + 0.02) == []
    assert moves(machine, market, bid=low, ask=low) == [("entry", "managed", "filled")]
    machine, market, said = story("entry")
    bookless = {"bid": NAN, "ask": NAN}
    assert moves(machine, market, **bookless, mark=high + 0.02, mark_low=high + 0.01) == []
    assert moves(machine, market, **bookless, mark=high + 0.02, mark_low=high) == [("entry", "managed", "filled")]


def test_a_consumer_reports_its_fills_and_only_what_can_be():
    machine, market, said = story("entry", strategy=strategy_of(entry={"fills": "consumer"}))
    name, advice, now = said[-1].signal_id, said[-1].order_advice, market.now_ns
    assert moves(machine, market) == []  # touching is no fill
    before = msgspec.msgpack.encode(machine.snapshot())
    for wrong in (
        ("another", 99.0, 1.0, now), (name, -1.0, 1.0, now), (name, 99.0, NAN, now), (name, 99.0, 1e9, now),
        (name, 99.0, 1.0, now - 1), (name, 99.0, 1.0, now + 62 * SECOND_NS),
    ):  # fmt: skip
        with pytest.raises(StepError, match="fill"):
            machine.on_fill(*wrong)
    assert msgspec.msgpack.encode(machine.snapshot()) == before
    machine.on_fill(name, 99.0, 1.0, now)
    machine.on_fill(name, 99.3, 2.0, now + SECOND_NS)
    assert moves(machine, market) == [("entry", "managed", "filled")]
    trade = machine._memory.sides["long"].trade
    assert (trade.filled, trade.held, trade.filled_price) == ("3.0", "3.0", pytest.approx(99.2))
    assert advice.quantity != "3.0"
    with pytest.raises(StepError, match="on paper"):
        machine_of().on_fill(name, 99.0, 1.0, now)


def three_coins():
    """A consumer's trade of three coins at the advised price, which is told too."""
    machine, market, said = story("entry", strategy=strategy_of(entry={"fills": "consumer"}))
    name, now = said[-1].signal_id, market.now_ns
    price = machine._memory.sides["long"].trade.entry
    machine.on_fill(name, price, 3.0, now)
    assert moves(machine, market) == [("entry", "managed", "filled")]
    return machine, market, name, price


def test_a_position_that_the_consumer_closed_in_parts_ends_the_signal_with_what_they_brought():
    machine, market, name, price = three_coins()
    trade = machine._memory.sides["long"].trade
    machine.on_close(name, price + trade.sign * trade.unit, 1.0, market.now_ns)
    assert moves(machine, market) == [], "two are still held"
    machine.on_close(name, price - trade.sign * 0.5 * trade.unit, 2.0, market.now_ns)
    found, said = after(machine, market)
    assert found == [("managed", "done", "closed")]
    fees = 2 * machine.strategy.account.taker_fee * trade.entry / trade.unit
    assert said[0].r_multiple == pytest.approx(1 / 3 - 0.5 * 2 / 3 - fees)


def test_a_close_that_cannot_be_is_refused_and_changes_nothing():
    machine, market, name, _ = three_coins()
    now, before = market.now_ns, msgspec.msgpack.encode(machine.snapshot())
    for wrong in (
        ("another", 99.0, 1.0, now), (name, 0.0, 1.0, now), (name, 99.0, math.inf, now), (name, 99.0, 3.1, now),
        (name, 99.0, 1.0, now - 2 * SECOND_NS),
    ):  # fmt: skip
        with pytest.raises(StepError):
            machine.on_close(*wrong)
    assert msgspec.msgpack.encode(machine.snapshot()) == before
    waiting, market, said = story("entry", strategy=strategy_of(entry={"fills": "consumer"}))
    with pytest.raises(StepError, match="filled at None"):
        waiting.on_close(said[-1].signal_id, 99.0, 1.0, market.now_ns)
    with pytest.raises(StepError, match="on paper"):
        machine_of().on_close(name, 99.0, 1.0, now)


# --- rest, cooldown, the day ------------------------------------------------------------------------------------------


def test_a_side_rests_after_a_signal_and_says_when_it_is_idle_again():
    machine, market, _ = story("triggered", signal={"clock_seconds": 400.0})
    assert moves(machine, market, seconds=120, zones=())[0][1] == "invalidated"
    assert moves(machine, market, seconds=599, zones=()) == []
    found, said = after(machine, market, zones=())
    assert found == [("invalidated", "idle", "rested")]
    assert (said[0].type, said[0].signal_id, said[0].seq) == ("state", "", 0)


def test_no_entry_within_half_an_hour_of_an_exit():
    machine, market, _ = story("aftermath")
    machine._memory = replace(machine._memory, exit_ns=market.now_ns + SECOND_NS - 30 * MINUTE_NS + 1)
    assert moves(machine, market, **CALM) == []
    machine._memory = replace(machine._memory, exit_ns=market.now_ns + SECOND_NS - 30 * MINUTE_NS)
    assert moves(machine, market, **CALM)[0][1] == "entry"


@pytest.mark.parametrize(("own", "others", "stops"), [(-3.0, 0.0, True), (-2.9, 0.0, False), (-1.0, -2.0, True)])
def test_a_day_that_lost_three_risks_is_over_until_midnight(own, others, stops):
    machine, market, _ = story("zone_ahead")
    machine._memory = replace(machine._memory, day_r=own)
    market.advance()
    said = machine.look(market.view(), Standing(day_r=others))
    assert [(t.state, t.reason_codes) for t in said] == ([("halted", ("daily_stop",))] * 2 if stops else [])
    if stops:
        machine._memory = replace(machine._memory, day=machine._memory.day - 1)
        assert moves(machine, market, zones=()) == [("halted", "idle", "resumed")]


def test_an_open_trade_is_brought_to_its_end_on_a_bad_day():
    machine, market, _ = story("managed")
    machine._memory = replace(machine._memory, day_r=-3.0)
    assert moves(machine, market) == []
    stop = machine._memory.sides["long"].trade.stop
    assert moves(machine, market, mark=stop, mark_high=stop) == [
        ("managed", "done", "stop_hit"),
        ("done", "halted", "daily_stop"),
    ]


# --- stale, halted, restarted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["zone_ahead", "approach", "triggered", "cascade", "aftermath", "entry", "managed"])
def test_every_state_goes_stale_and_an_open_trade_is_told_to_protect_itself_once(state):
    machine, market, said = story(state)
    found, stale = after(machine, market, stale=("map",))
    assert found == [(state, "stale", "stale_map")]
    assert stale[0].type == ("protect" if state in ("entry", "managed") else "state")
    assert stale[0].quality.score == 0.0
    for _ in range(5):
        assert moves(machine, market, stale=("map",)) == []
    for _ in range(60):
        assert moves(machine, market, zones=()) == []
    found, back = after(machine, market, zones=())
    assert found == [("stale", "idle", "healthy_again")]
    assert back[0].type == ("exit" if state == "managed" else "cancel")
    assert back[0].signal_id == named(said)


def test_a_rest_goes_stale_without_a_signal():
    machine, market = machine_of(), Market()
    found, said = after(machine, market, mark=NAN)
    assert found == [("idle", "stale", "stale_price")]
    assert (said[0].type, said[0].signal_id, said[0].mark) == ("state", "", None)


def test_a_minute_of_health_is_counted_from_the_last_stale_look():
    machine, market, _ = story("zone_ahead")
    moves(machine, market, stale=("venues",))
    for second in range(59):
        assert moves(machine, market, zones=()) == [], second
    assert moves(machine, market, stale=("venues",)) == []
    for second in range(60):
        assert moves(machine, market, zones=()) == [], second
    assert moves(machine, market, zones=()) == [("stale", "idle", "healthy_again")]


def test_a_clock_that_stood_still_for_more_than_ten_seconds_is_stale():
    machine, market, _ = story("managed")
    assert moves(machine, market, seconds=10) == []
    assert moves(machine, market, seconds=11) == [("managed", "stale", "stale_clock")]


def test_halting_stops_every_state_by_hand_and_resuming_begins_again():
    machine, market, _ = story("managed")
    machine.halt("maintenance")
    found, halted = after(machine, market, stale=("map",))
    assert found == [("managed", "halted", "halted")]
    assert halted[0].type == "protect"
    assert "maintenance" in halted[0].reasons
    for _ in range(3):
        assert moves(machine, market) == []
    machine.resume()
    assert moves(machine, market, stale=("map",)) == [("halted", "stale", "stale_map")]
    for _ in range(60):
        assert moves(machine, market, zones=()) == []
    found, back = after(machine, market, zones=())
    assert (found, back[0].type) == ([("stale", "idle", "healthy_again")], "exit")


def test_resuming_in_health_is_idle_at_once():
    machine, market, _ = story("approach")
    machine.halt("")
    assert moves(machine, market) == [("approach", "halted", "halted")]
    machine.resume()
    found, said = after(machine, market, zones=())
    assert found == [("halted", "idle", "resumed")]
    assert said[0].type == "cancel"


@pytest.mark.parametrize("state", ["zone_ahead", "cascade", "entry", "managed"])
def test_a_restart_protects_an_open_trade(state):
    old, market, said = story(state)
    machine = machine_of()
    machine.restore(old.snapshot())
    machine.restarted()
    found, first = after(machine, market, bid=90.0, ask=90.0)
    if state in ("entry", "managed"):
        assert found == [(state, state, "restart")]
        assert (first[0].type, first[0].signal_id) == ("protect", named(said))
    else:
        assert not [t for t in first if t.type == "protect"]
    assert not [t for t in after(machine, market, bid=90.0, ask=90.0)[1] if t.type == "protect"]


def test_a_restart_after_a_long_absence_protects_once():
    old, market, _ = story("managed")
    machine = machine_of()
    machine.restore(old.snapshot())
    machine.restarted()
    _, said = after(machine, market, seconds=600)
    assert [(t.type, t.state, t.reason_codes) for t in said] == [("protect", "stale", ("restart", "stale_clock"))]


# --- refusals ---------------------------------------------------------------------------------------------------------


def wrong_views(market):
    view = market.view()
    word = view.word
    yield "must not go back", replace(view, now_ns=view.now_ns - 2 * SECOND_NS, mark_ns=0, word=None)
    yield "before the word's", replace(view, word=replace(word, ts_ns=view.now_ns + 1))
    yield "before the mark's", replace(view, mark_ns=view.now_ns + 1)
    yield "must be a positive price", replace(view, mark=0.0)
    yield "must be a positive price", replace(view, mark_low=-1.0)
    yield "must be a positive price", replace(view, ask=math.inf)
    for row in ((0.2, 0.1), (-0.1, 0.1), (0.1, 1.1), (0.1, NAN), (NAN, 0.1), (0.1,), (0.1, 0.2, 0.3)):
        yield "probabilities must lie", replace(view, word=replace(word, probabilities=((0.1, 0.2), row)))


@pytest.mark.parametrize("number", range(13))
@pytest.mark.parametrize("state", ["zone_ahead", "managed"])
def test_a_view_that_cannot_be_is_refused_and_nothing_has_changed(state, number):
    machine, market, _ = story(state)
    before, states = msgspec.msgpack.encode(machine.snapshot()), machine.states
    market.advance()
    said, view = list(wrong_views(market))[number]
    with pytest.raises(StepError, match=said):
        machine.look(view)
    assert (msgspec.msgpack.encode(machine.snapshot()), machine.states) == (before, states)


def test_a_snapshot_of_another_symbol_model_strategy_or_shape_is_refused():
    machine, _, _ = story("managed")
    good = machine.snapshot()
    for change, said in (
        ({"model": "another"}, "expected symbol, model and strategy"),
        ({"symbol": "OTHER"}, "expected symbol, model and strategy"),
        ({"config": "another"}, "expected symbol, model and strategy"),
        ({"sides": {"long": good["sides"]["long"]}}, "expected sides"),
        ({"word": 1}, "unknown field"),
        ({"day_r": "much"}, "day_r"),
    ):
        fresh = machine_of()
        before = str(fresh.snapshot())
        with pytest.raises(ConfigError, match=said):
            fresh.restore(copy.deepcopy(good) | change)
        assert str(fresh.snapshot()) == before


@pytest.mark.parametrize(
    "rates",
    [{"long": (0.1, 0.2)}, {"long": (0.1,), "short": (0.1,)}, {"long": (0.1, 0.0), "short": (0.1, 1.0)}],
)
def test_base_rates_that_do_not_fit_are_refused(rates):
    with pytest.raises(ConfigError, match=r"base_rates: (long|short) needs"):
        SignalMachine(strategy_of(), spec_of(), MODEL, rates)
    SignalMachine(strategy_of(), spec_of(), MODEL, RATES)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_signal_keeps_its_name_and_numbers_from_the_zone_to_the_end():
    machine, market, said = story("managed")
    stop = machine._memory.sides["long"].trade.stop
    said += after(machine, market, mark=stop, mark_high=stop)[1]
    name = said[-1].signal_id
    own = [t for t in said if t.signal_id == name]
    assert [t.seq for t in own] == list(range(len(own)))
    assert [t.type in TERMINAL for t in own] == [False] * (len(own) - 1) + [True]
    assert name == signal_id("TESTUSDT", "down", "long-1", own[0].ts_data_us // 1000, MODEL)
    assert len({t.event_id for t in said}) == len(said)


def test_the_thickness_is_that_of_what_was_seen_cleared_once_enough_was():
    strategy = strategy_of(risk={"least_clearings": 3, "cap_percent": 3.0})
    machine, market, _ = story("cascade", strategy=strategy)
    memory, now = machine._memory, market.now_ns
    for days, rank in ((10, 2 / 3), (100, 0.75)):  # the zone on the map ranks 0.75; older than 90 days does not count
        old = now - days * 24 * HOUR_NS
        mind = replace(memory.sides["long"], clearings=((old, 1e-6), (now - 2, 1e-5), (now - 1, 0.9)))
        machine._memory = replace(memory, sides=memory.sides | {"long": mind})
        another = copy.deepcopy(market)
        for _ in range(200):
            another.advance()
            machine.look(another.view(spread_worst_30s_bp=9.0))
        after_it = machine._memory.sides["long"]
        assert after_it.cascade.thickness == pytest.approx(rank)
        assert len(after_it.clearings) == (4 if days == 10 else 3)
