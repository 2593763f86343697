"""Signals: literal thresholds, then laws over long random sequences of words and clocks."""

import copy
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.errors import ConfigError, StepError
from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals import (
    AbstainMessage,
    ProbabilityMessage,
    SignalMachine,
    decimal_text,
    decode,
    encode,
)
from squeeze.spec import SignalSpec

BASE = {"long": 0.02, "short": 0.01}
STALE_NS = 2 * MINUTE_NS
SPEC = SignalSpec(horizon_minutes=15, arm_ratio=3.0, fire_ratio=6.0, cooldown_minutes=30.0)
CONFIRMED = SignalSpec(horizon_minutes=15, arm_ratio=3.0, fire_ratio=6.0, confirm_seconds=90.0, cooldown_minutes=30.0)


def machine(spec=SPEC, base=BASE):
    return SignalMachine(spec, "BTC", "digest", base, stale_ns=STALE_NS)


def say(m, minute, long, short=0.0, reasons=()):
    """Feed one minute's probabilities (None abstains), look at the clock, and return what the long side did."""
    m.on_probabilities(int(minute * MINUTE_NS), None if long is None else {"long": long, "short": short}, reasons)
    return look(m, minute)


def look(m, minute, side="long"):
    return [(t.previous_state, t.state, t.reason) for t in m.on_clock(int(minute * MINUTE_NS)) if t.side == side]


ARMED = ("idle", "armed", "over_arm_threshold")
FIRED = ("armed", "fired", "over_fire_threshold")


# --- thresholds, in numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.0, []), (0.0599, []), (0.06, [ARMED]), (0.1199, [ARMED]), (0.12, [ARMED, FIRED]), (1.0, [ARMED, FIRED])],
)
def test_a_base_rate_of_two_percent_arms_at_six_and_fires_at_twelve(p, expected):
    assert say(machine(), 0, p) == expected


def test_each_side_is_held_against_its_own_base_rate():
    m = machine()
    say(m, 0, long=0.05, short=0.05)
    assert m.states == {"long": "idle", "short": "armed"}


@pytest.mark.parametrize(("p", "state"), [(0.9499, "idle"), (0.95, "fired")])
def test_thresholds_of_a_common_event_stop_at_95_percent(p, state):
    m = machine(base={"long": 0.4, "short": 0.4})
    say(m, 0, p)
    assert m.states["long"] == state


@pytest.mark.parametrize("base", [{"long": 0.0, "short": 0.1}, {"long": 0.1, "short": 1.0}, {"long": 0.1}])
def test_a_base_rate_that_is_no_rate_is_refused(base):
    with pytest.raises(ConfigError, match="base_rates: "):
        machine(base=base)


# --- the way round ----------------------------------------------------------------------------------------------------


def test_firing_waits_until_the_threshold_was_passed_for_confirm_seconds():
    m = machine(CONFIRMED)
    assert say(m, 0, 0.2) == [ARMED]
    assert say(m, 1, 0.2) == []
    assert look(m, 1.499) == []
    assert look(m, 1.5) == [FIRED]


def test_one_probability_under_the_firing_threshold_starts_the_confirmation_anew():
    m = machine(CONFIRMED)
    for minute, p in enumerate([0.2, 0.11, 0.2, 0.2]):
        say(m, minute, p)
    assert look(m, 3.49) == []
    assert look(m, 3.5) == [FIRED]


def test_a_silence_nobody_looked_at_starts_the_confirmation_anew():
    m = machine(CONFIRMED)
    say(m, 0, 0.2)
    assert say(m, 2.1, 0.2) == []
    assert look(m, 3.6) == [FIRED]


def test_an_armed_side_stands_down_under_the_arming_threshold():
    m = machine()
    say(m, 0, 0.07)
    assert say(m, 1, 0.05) == [("armed", "idle", "under_arm_threshold")]


def test_a_fired_signal_cools_once_its_probability_is_low_and_is_idle_after_the_cooldown():
    m = machine()
    say(m, 0, 0.2)
    assert say(m, 1, 0.08) == []  # between the thresholds it stays
    assert say(m, 2, 0.05) == [("fired", "cooling", "under_arm_threshold")]
    assert say(m, 31.9, 0.05) == []
    assert say(m, 32, 0.05) == [("cooling", "idle", "cooldown_elapsed")]


def test_a_fired_signal_cools_when_its_horizon_has_elapsed():
    m = machine()
    found = [transition for minute in range(17) for transition in say(m, minute, 0.2)]
    assert found == [ARMED, FIRED, ("fired", "cooling", "horizon_elapsed")]
    assert m.states["long"] == "cooling"


def test_a_high_probability_arms_and_fires_again_right_after_the_cooldown():
    m = machine()
    found = [transition for minute in range(46) for transition in say(m, minute, 0.2)]
    assert found[3:] == [("cooling", "idle", "cooldown_elapsed"), ARMED, FIRED]


def test_abstaining_ends_an_armed_signal_and_says_why():
    m = machine()
    say(m, 0, 0.07)
    m.on_probabilities(MINUTE_NS, None, ("stale_bars", "warming_up"))
    (end,) = m.on_clock(MINUTE_NS)
    assert (end.state, end.reason, end.abstain_reasons) == ("idle", "abstain", ("stale_bars", "warming_up"))
    assert end.probability is None
    assert end.is_terminal


def test_a_stale_probability_ends_an_armed_signal():
    m = machine()
    say(m, 0, 0.07)
    assert look(m, 2) == []
    (end,) = m.on_clock(STALE_NS + 1)
    assert (end.state, end.reason, end.abstain_reasons) == ("idle", "abstain", ("stale_probability",))


@pytest.mark.parametrize("stale", [True, False])
def test_a_fired_signal_cools_when_there_is_no_probability(stale):
    m = machine()
    say(m, 0, 0.2)
    found = look(m, 2.1) if stale else say(m, 1, None)
    assert found == [("fired", "cooling", "abstain")]


def test_a_transition_tells_until_when_it_holds():
    m = machine()
    ends = []
    for minute, p in [(0, 0.07), (1, 0.2), (2, 0.0), (32, 0.0)]:
        m.on_probabilities(minute * MINUTE_NS, {"long": p, "short": 0.0})
        ends += [(t.state, t.valid_until_ns // MINUTE_NS) for t in m.on_clock(minute * MINUTE_NS)]
    assert ends == [("armed", 2), ("fired", 1 + 15), ("cooling", 2 + 30), ("idle", 32)]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_is_refused_and_nothing_has_changed():
    m = machine()
    say(m, 5, 0.07)
    before = m.snapshot()
    for call in (lambda: m.on_clock(4 * MINUTE_NS), lambda: m.on_probabilities(4 * MINUTE_NS, None)):
        with pytest.raises(StepError, match="must not go back"):
            call()
    assert m.snapshot() == before


def test_a_clock_that_stands_before_the_data_is_refused():
    m = machine()
    m.on_probabilities(MINUTE_NS, {"long": 0.1, "short": 0.1})
    with pytest.raises(StepError, match="before the data"):
        m.on_clock(MINUTE_NS - 1)


@pytest.mark.parametrize("p", [math.nan, math.inf, -0.01, 1.01])
def test_a_number_that_is_no_probability_is_refused_and_nothing_has_changed(p):
    m = machine()
    say(m, 0, 0.07)
    before = m.snapshot()
    with pytest.raises(StepError, match=r"long must lie in \[0, 1\]"):
        m.on_probabilities(MINUTE_NS, {"long": p, "short": 0.1})
    assert m.snapshot() == before


def test_a_snapshot_of_another_model_or_shape_is_refused():
    m = machine()
    other = SignalMachine(SPEC, "BTC", "another digest", BASE, stale_ns=STALE_NS).snapshot()
    with pytest.raises(ConfigError, match="expected symbol and model"):
        m.restore(other)
    with pytest.raises(ConfigError, match=r"signal snapshot: .*sides"):
        m.restore(m.snapshot() | {"sides": {"long": {"state": "asleep"}}})


# --- names ------------------------------------------------------------------------------------------------------------


def test_ids_are_the_digests_of_what_they_name():
    m = machine()
    m.on_probabilities(7, {"long": 0.2, "short": 0.0})
    armed, fired = m.on_clock(9)  # the clock's jitter is not in the name
    assert armed.signal_id == fired.signal_id == hashlib.sha256(b"BTC|long|7|digest").hexdigest()[:16]
    assert armed.event_id == hashlib.sha256(f"{armed.signal_id}|0".encode()).hexdigest()[:16]
    assert fired.event_id == hashlib.sha256(f"{armed.signal_id}|1".encode()).hexdigest()[:16]


# --- laws over random sequences ---------------------------------------------------------------------------------------

PROBABILITY = st.sampled_from([0.0, 0.005, 0.03, 0.06, 0.07, 0.12, 0.2, 0.9]) | st.floats(0, 1)
SAID = st.none() | st.fixed_dictionaries({"long": PROBABILITY, "short": PROBABILITY})
WAIT = st.sampled_from([0, 1, 20, 30, 60, 60, 60, 121, 900, 1800])
"""Seconds that pass before a call."""
CALLS = st.lists(st.tuples(WAIT, st.just("clock") | st.just("say"), SAID), max_size=120)
SPECS = st.sampled_from(
    [
        SPEC,
        CONFIRMED,
        SignalSpec(horizon_minutes=1, arm_ratio=5.0, fire_ratio=5.0, cooldown_minutes=0.0),
        SignalSpec(horizon_minutes=15, arm_ratio=1.0, fire_ratio=40.0, cooldown_minutes=1.0, confirm_seconds=1.0),
    ]
)


class Replay:
    """A stream in small: feeds a machine, numbers what it says, and keeps the words heard so far."""

    def __init__(self, m, now=0, sequence=0):
        self.machine, self.now, self.sequence = m, now, sequence
        self.heard = []

    def feed(self, calls):
        """The lines that went out, with the transition each was made from and the words heard before it."""
        out = []
        for wait, what, said in calls:
            self.now += wait * SECOND_NS
            if what == "say":
                self.machine.on_probabilities(self.now, said, () if said else ("gap",))
                self.heard.append((self.now, said))
                continue
            for transition in self.machine.on_clock(self.now):
                line = encode(transition.message(self.sequence, "64000.5"))
                out.append((line, transition, list(self.heard)))
                self.sequence += 1
        return out


@given(SPECS, CALLS)
def test_it_never_fires_on_silence_and_only_after_an_unbroken_confirmation(spec, calls):
    m = machine(spec)
    for _, t, heard in Replay(m).feed(calls):
        if t.state not in ("armed", "fired"):
            continue
        limits = m.thresholds[t.side]
        ts, said = heard[-1]
        assert said is not None
        assert t.at_ns - ts <= STALE_NS
        assert t.probability == said[t.side]
        assert said[t.side] >= (limits.fire if t.state == "fired" else limits.arm)
        if t.state == "fired":
            # Walk back over the words of the confirmation: each over the threshold, none missing for longer than stale.
            newer = t.at_ns
            for ts, said in reversed(heard):
                assert said is not None
                assert said[t.side] >= limits.fire
                assert newer - ts <= STALE_NS
                newer = ts
                if t.at_ns - ts >= limits.confirm_ns:
                    break
            assert t.at_ns - newer >= limits.confirm_ns


@given(SPECS, CALLS)
def test_one_signal_lives_per_side_and_each_ends_once(spec, calls):
    live, ended, events = {}, set(), set()
    for sequence, (line, t, _) in enumerate(Replay(machine(spec)).feed(calls)):
        message = decode(line)
        assert message.sequence == sequence
        assert message.event_id not in events
        events.add(message.event_id)
        assert message.signal_id not in ended
        if message.state == "armed":
            assert message.side not in live
            assert message.seq == 0
            live[message.side] = (message.signal_id, 0)
        else:
            identity, seq = live[message.side]
            assert (message.signal_id, message.seq) == (identity, seq + 1)
            live[message.side] = (identity, message.seq)
        if t.is_terminal:
            ended.add(live.pop(message.side)[0])


@given(SPECS, CALLS, st.integers(0, 120))
def test_a_restored_machine_continues_byte_for_byte(spec, calls, cut):
    whole = Replay(machine(spec))
    whole.feed(calls[:cut])
    snapshot = json.loads(json.dumps(whole.machine.snapshot()))
    other = Replay(machine(spec), whole.now, whole.sequence)
    other.machine.restore(copy.deepcopy(snapshot))
    rest = [line for line, *_ in whole.feed(calls[cut:])]
    assert [line for line, *_ in other.feed(calls[cut:])] == rest
    assert other.machine.snapshot() == whole.machine.snapshot()


@given(SPECS, CALLS)
def test_a_replay_is_the_same_bytes_and_swapping_sides_swaps_signals(spec, calls):
    even = {"long": 0.02, "short": 0.02}

    def swapped(said):
        return said and {"long": said["short"], "short": said["long"]}

    first = Replay(machine(spec, even)).feed(calls)
    assert [x[0] for x in Replay(machine(spec, even)).feed(calls)] == [x[0] for x in first]
    mirror = Replay(machine(spec, even)).feed([(w, what, swapped(said)) for w, what, said in calls])
    other = {"long": "short", "short": "long"}
    keys = sorted((t.at_ns, t.side, t.seq, t.state, t.reason) for _, t, _ in first)
    assert sorted((t.at_ns, other[t.side], t.seq, t.state, t.reason) for _, t, _ in mirror) == keys


@given(SPECS, CALLS)
def test_a_second_look_at_the_same_instant_finds_nothing(spec, calls):
    replay = Replay(machine(spec))
    replay.feed(calls)
    replay.machine.on_clock(replay.now)
    assert replay.machine.on_clock(replay.now) == []


# --- lines ------------------------------------------------------------------------------------------------------------


def probability_message(p=0.125, mark="64000.5"):
    return ProbabilityMessage(
        model="digest",
        symbol="BTC",
        ts_data_ns=60,
        sequence=3,
        mark=mark,
        probabilities={"short": {"60": 0.5, "15": 0.25}, "long": {"15": p, "60": 0.25}},
        base_rates={"long": {"15": 0.01, "60": 0.04}, "short": {"15": 0.01, "60": 0.04}},
        degraded=("mark_is_last",),
    )


def test_a_probability_line_in_full():
    assert encode(probability_message()) == (
        b'{"type":"probability","schema_version":"1.0","model":"digest","symbol":"BTC","ts_data_ns":60,"sequence":3,'
        b'"mark":"64000.5","probabilities":{"long":{"15":0.125,"60":0.25},"short":{"15":0.25,"60":0.5}},'
        b'"base_rates":{"long":{"15":0.01,"60":0.04},"short":{"15":0.01,"60":0.04}},"degraded":["mark_is_last"],"drift":[]}\n'
    )


def test_a_signal_line_in_full():
    m = machine()
    m.on_probabilities(0, {"long": 0.07, "short": 0.0})
    (armed,) = m.on_clock(SECOND_NS)
    assert encode(armed.message(9, None)) == (
        b'{"type":"signal","schema_version":"1.0","model":"digest","symbol":"BTC","ts_data_ns":0,"sequence":9,"mark":null,'
        b'"signal_id":"' + armed.signal_id.encode() + b'","event_id":"' + armed.event_id.encode() + b'","seq":0,'
        b'"side":"long","state":"armed","previous_state":"idle","reason":"over_arm_threshold","abstain_reasons":[],'
        b'"at_ns":1000000000,"valid_until_ns":120000000000,"probability":0.07,"base_rate":0.02,"horizon_minutes":15}\n'
    )


def test_lines_are_read_back_as_they_were():
    abstain = AbstainMessage(model="m", symbol="BTC", ts_data_ns=1, sequence=0, mark=None, reasons=("gap",))
    for message in (probability_message(), abstain):
        assert decode(encode(message)) == message


@pytest.mark.parametrize("p", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_sent(p):
    with pytest.raises(ValueError, match=r"probabilities\.long\.15 must be finite"):
        encode(probability_message(p))


@pytest.mark.parametrize("mark", ["nan", "Infinity", "1e5", "", "64,000", " 1", "1_0"])
def test_a_mark_that_is_no_decimal_is_never_sent(mark):
    with pytest.raises(ValueError, match="mark must be a finite decimal"):
        encode(probability_message(mark=mark))


@given(st.floats(1e-12, 1e12))
def test_a_price_survives_its_decimal_string(price):
    text = decimal_text(price)
    assert float(text) == price
    encode(probability_message(mark=text))


def test_a_price_that_is_not_finite_has_no_decimal_string():
    assert decimal_text(None) is None
    with pytest.raises(ValueError, match="must be finite"):
        decimal_text(math.nan)
