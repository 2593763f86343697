"""What holds for the signal machine whatever the market does: long random squeezes with every kind of mishap."""

import itertools
import math
import os
import random
from collections import Counter, defaultdict
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from squeeze.signals.message import State, encode
from squeeze.signals.portfolio import ALONE, Standing
from squeeze.signals.reason_words import REASONS, WAITS
from squeeze.signals.transition import TERMINAL, Envelope
from tests.squeezes import STORY, Market, machine_of, strategy_of

SEEDS = st.integers(0, 2**32)
SEQUENCES = int(os.environ.get("SEQUENCES", "4"))
"""Sequences for each law; `make long` takes forty."""
FEW = settings(max_examples=SEQUENCES, deadline=None)
ENVELOPE = Envelope(
    producer="squeeze 1", model_version="m", map_version="h", config_hash="c", stream="TESTUSDT", symbol="TESTUSDT"
)
UNKNOWN = (
    "volume_60s_usd", "spread_worst_30s_bp", "depth_usd", "atr_15m_log", "atr_5m_log", "sigma_1m_log", "velocity_log",
    "taker_imbalance", "open_interest_base", "volatility_1h_rank", "return_4h_log", "bid",
)  # fmt: skip
WILD = strategy_of(
    risk={"cap_percent": 2.0, "quiet_factor": 0.8},
    exits={"consolidation_minutes": 1.0, "momentum": ["taker", "slope"], "time_stop_minutes": 8.0},
    entry={"most_range_atr": 2.0, "required": ["spread"], "mode": "reversion"},
    portfolio={"cooldown_minutes": 1.0, "daily_stop_r": 0.5},
    health={"healthy_seconds": 20.0},
)
STRATEGIES = (strategy_of(), WILD)


def play(seed, flip=False):
    """Looks and calls in order, the same for a seed; `flip` plays the other side throughout."""
    dice, market = random.Random(seed), Market()  # noqa: S311
    for _ in range(dice.randint(3, 5)):
        market.turn(int(dice.random() < 0.5) ^ flip)
        trouble, market.probability = dice.choice((0.0, 0.0, 0.1, 0.4, math.inf)), 0.1
        for state, conduct, *_ in STORY:
            left = conduct["seconds"] * dice.choice((0.5, 1.0, 1.0)) if state != "triggered" else 1000
            push = dice.choice((1.0, 1.0, 10.0)) if state == "cascade" else 1.0
            while left > 0 and not (state == "triggered" and market.outward > 0.0062):
                step = dice.choice((1, 2, 5, 8)) if state != "cascade" else dice.choice((1, 2))
                left -= step
                pace = {"seconds": step, "per_minute": push * conduct.get("per_minute", 0.0)}
                yield from moment(dice, market, conduct | pace, trouble)
        speed, back = dice.choice((0.0, 0.0006, -0.0006, 0.003, -0.003)), dice.choice((0.0, 0.001, 0.004))
        market.probability = dice.choice((0.1, 0.1, 0.01))
        for _ in range(dice.randint(10, 100)):
            yield from moment(dice, market, {"seconds": 8, "per_minute": speed, "volume": 0.8e6}, trouble)
        while market.outward > back:
            yield from moment(dice, market, {"seconds": 9, "per_minute": -0.0015}, trouble)


def moment(dice, market, conduct, trouble):
    """One look, and what goes wrong with it: nothing, rarely or often something, or always the feed of liquidations."""
    chance, changes = (
        dice.random() / trouble if 0 < trouble < 1 else 1.0,
        {"taker_imbalance": market.sign * dice.choice((0.4, -0.3))},
    )
    market.advance(**conduct)
    if chance < 0.002:
        yield "halt", "by hand"
    elif chance < 0.02:
        yield "resume", None
    elif chance < 0.025:
        yield "restart", None
    elif chance < 0.03:
        changes["stale"] = (dice.choice(("map", "venues")),)
    elif chance < 0.05:
        changes["word"] = None
    elif chance < 0.10:
        changes[dice.choice(UNKNOWN)] = math.nan
    elif chance < 0.101:
        market.advance(seconds=30)
    elif chance < 0.13:
        changes |= {"live": False}
    elif chance < 0.16:
        changes |= {dice.choice(("mark_ns", "mark_made_ns")): market.now_ns - 3_000_000_000}
    if trouble == math.inf:
        changes |= {"liquidations_suspect": True}
        changes |= {name: (math.nan, math.nan) for name in ("liquidated_10s_usd", "liquidated_60s_usd", "prints_10s")}
    yield "look", market.view(**changes)


def perform(machine, calls, others=ALONE):
    """What each look saw, the states before it, and what was said; a restart goes on in a new machine."""
    told = []
    for name, what in calls:
        if name == "look":
            states = machine.states
            told.append((what, states, machine.look(what, others), machine))
        elif name == "restart":
            fresh = machine_of(machine.strategy)
            fresh.restore(machine.snapshot())
            fresh.restarted()
            machine = fresh
        elif name == "halt":
            machine.halt(what)
        else:
            machine.resume()
    return told


def messages(told):
    return [t for _, _, said, _ in told for t in said]


def lines(told):
    return [encode(t.message(ENVELOPE, number)) for number, t in enumerate(messages(told))]


@pytest.fixture(scope="module")
def played():
    return [(strategy, perform(machine_of(strategy), play(seed))) for seed in range(8) for strategy in STRATEGIES]


def test_the_sequences_are_long_and_reach_every_state_and_most_reasons(played):
    assert min(len(told) for _, told in played) > 300
    assert {t.state for _, told in played for t in messages(told)} == set(get_args(State))
    said = Counter(code for _, told in played for t in messages(told) for code in t.reason_codes)
    known = {*REASONS, *(f"waits_for_{name}" for name in WAITS)}
    assert not {code for code in said if code not in known and not code.startswith("stale_")}
    rare = {"stacked_zones", "zone_lost", "zone_thinned", "false_break", "target_reached", "timer"}  # in test_signals
    rare |= {"heavy_zone", "opposite_cascade", "cascade_too_long", "no_trade", "risk_too_small", "own_liquidation_near"}
    rare |= {"portfolio_full", "below_least_quantity", "below_least_notional", "stale_price", "stale_clock"}
    rare |= {"trail_hit", "onset_by_price", "aftermath_over", "entry_expired", "no_onset", "not_watched", "restart"}
    rare |= {"closed"}  # by a consumer, and these trade on paper
    assert not set(REASONS) - rare - set(said)


@FEW
@given(SEEDS, st.sampled_from(STRATEGIES))
def test_no_entry_comes_from_a_cascade_or_from_stale_or_replayed_data(seed, strategy):
    for view, states, said, _ in perform(machine_of(strategy), play(seed)):
        for t in said:
            if t.type == "entry":
                assert (t.prev_state, t.state) == ("aftermath", "entry")
                assert states[t.side] in ("cascade", "aftermath")
                assert view.live
                assert not view.stale
                assert view.now_ns - min(view.mark_ns, view.mark_made_ns) <= 2_000_000_000
            if view.stale or math.isnan(view.mark):
                assert t.state in ("stale", "halted"), "nothing but stale comes from stale data"
                assert t.type in ("state", "protect")
                assert t.quality.score == 0.0


@FEW
@given(SEEDS, st.sampled_from(STRATEGIES))
def test_a_signal_counts_its_messages_and_ends_once_and_last(seed, strategy):
    said = messages(perform(machine_of(strategy), play(seed)))
    signals = defaultdict(list)
    for t in said:
        signals[t.signal_id].append(t)
    for t in signals.pop("", []):
        assert t.type == "state"
        assert t.zone is None
    unfinished = 0
    for own in signals.values():
        assert [t.seq for t in own] == list(range(len(own)))
        assert own[0].state == "zone_ahead"
        ends = [t.type in TERMINAL for t in own]
        assert not any(ends[:-1])
        unfinished += not ends[-1]
        assert {t.side for t in own} == {own[0].side}
        assert (own[-1].type == "exit") <= any(t.state == "managed" for t in own)
        advised = [t for t in own if t.order_advice]
        assert [t.supersedes for t in advised] == [None, *(t.event_id for t in advised[:-1])][: len(advised)]
        assert all((t.order_advice is not None) == (t.type in ("entry", "update")) for t in own)
    assert unfinished <= 2
    assert len({t.event_id for t in said}) == len(said)
    times = [t.ts_data_us for t in said]
    assert times == sorted(times)
    assert all(t.valid_until_us > t.ts_data_us for t in said)


@FEW
@given(SEEDS, st.sampled_from(STRATEGIES), st.floats(0, 3))
def test_at_most_one_trade_is_open_and_its_risk_keeps_every_cap(seed, strategy, elsewhere):
    others = Standing(sell_percent=elsewhere, buy_percent=elsewhere)
    is_open = {"long": False, "short": False}
    for view, _, said, machine in perform(machine_of(strategy), play(seed), others):
        assert sum(mind.trade is not None for mind in machine._memory.sides.values()) <= 1
        for t in said:
            is_open[t.side] = t.type == "entry" or (is_open[t.side] and t.type not in TERMINAL)
            assert sum(is_open.values()) <= 1
            if t.type == "entry":
                check_entry(t.order_advice, view, strategy)
                assert t.order_advice.risk_percent + elsewhere <= strategy.portfolio.same_direction_percent + 1e-9
            if t.type == "update":
                sign = 1 if t.order_advice.side == "buy" else -1
                assert sign * (view.mark - float(t.order_advice.stop)) > 0
                assert not [z for z in view.zones if z.low <= float(t.order_advice.stop) <= z.high]
                assert 0 <= t.order_advice.risk_percent <= strategy.risk.cap_percent


def check_entry(advice, view, strategy):
    account, sign = strategy.account, 1 if advice.side == "buy" else -1
    low, high, stop = float(advice.entry_low), float(advice.entry_high), float(advice.stop)
    worst, quantity = (high if sign > 0 else low), float(advice.quantity)
    assert 0 < low < high
    assert all(sign * (price - stop) > 0 for price in (low, high)), "the stop is on the loss side"
    assert not [z for z in view.zones if z.low <= stop <= z.high], "and outside every zone"
    assert abs(worst - stop) >= worst * strategy.exits.least_stop_percent / 100 - 1e-9
    assert strategy.risk.least_percent * 0.99 <= advice.risk_percent <= strategy.risk.cap_percent <= 3
    assert quantity * abs(worst - stop) <= account.equity_usd * strategy.risk.cap_percent / 100 * (1 + 1e-12)
    assert quantity / account.quantity_step == pytest.approx(round(quantity / account.quantity_step), abs=1e-6)
    assert quantity * low >= account.least_notional_usd
    assert 1 <= advice.max_leverage <= account.max_leverage
    assert quantity * worst <= account.equity_usd * advice.max_leverage * (1 + 1e-9)
    own = float(advice.own_liquidation)
    assert sign * (worst - own) >= 3 * abs(worst - stop) - 1e-9
    for target in map(float, advice.targets):
        assert sign * (target - (high if sign > 0 else low)) > 0
        assert sign * (float(advice.trail.activates) - worst) >= abs(worst - stop) - 1e-9


@FEW
@given(SEEDS, st.sampled_from(STRATEGIES))
def test_probabilities_in_messages_rise_with_the_horizon(seed, strategy):
    for t in messages(perform(machine_of(strategy), play(seed))):
        for side in ("long", "short"):
            rows = [by_side[side] for by_side in (t.probs or {}).values()]
            assert all(0 <= low <= high <= 1 for low, high in itertools.pairwise(rows))


@FEW
@given(SEEDS, st.sampled_from(STRATEGIES), st.floats(0, 1))
def test_a_snapshot_at_any_moment_goes_on_byte_for_byte(seed, strategy, where):
    calls = list(play(seed))
    cut = int(where * len(calls))
    machine = machine_of(strategy)
    before = perform(machine, [c for c in calls[:cut] if c[0] != "restart"])
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(machine.snapshot()))
    rest = [c for c in calls[cut:] if c[0] != "restart"]
    other = machine_of(strategy)
    other.restore(plain)
    assert lines(before + perform(machine, rest)) == lines(before + perform(other, rest))
    assert msgspec.msgpack.encode(machine.snapshot()) == msgspec.msgpack.encode(other.snapshot())


@FEW
@given(SEEDS)
def test_a_second_look_at_the_same_instant_says_nothing_more(seed):
    machine = machine_of()
    for name, view in play(seed):
        if name != "look":
            continue
        machine.look(view)
        before = machine.states
        assert machine.look(view) == []
        assert machine.states == before


@FEW
@given(SEEDS)
@example(488546906)  # a mark between the stops of the two, when the least distance of a stop was not mirrored
def test_the_mirrored_market_gives_the_mirrored_signals(seed):
    """But for ticks, and for what follows from R, which is a distance of price and not of log price."""
    strategy = strategy_of(account={"price_step": 1e-7}, exits={"trail_after_r": 50.0, "target_share": 0.0})
    told, flipped = (perform(machine_of(strategy), play(seed, flip)) for flip in (False, True))
    swap = {"long": "short", "short": "long", "down": "up", "up": "down", "buy": "sell", "sell": "buy"}
    for (_, _, said, _), (_, _, mirrored, _) in zip(told, flipped, strict=True):
        ours = sorted((t.side, t.direction, t.type, t.prev_state, t.state, t.reason_codes, t.mode) for t in said)
        theirs = sorted(
            (swap[t.side], swap[t.direction], t.type, t.prev_state, t.state, t.reason_codes, t.mode) for t in mirrored
        )
        assert ours == theirs
        for t in said:
            if t.type == "entry":
                (twin,) = (m for m in mirrored if m.type == "entry")
                for name in ("stop", "entry_low"):
                    twin_name = {"stop": "stop", "entry_low": "entry_high"}[name]
                    product = float(getattr(t.order_advice, name)) * float(getattr(twin.order_advice, twin_name))
                    assert product == pytest.approx(1e4, rel=1e-5)
                assert t.order_advice.risk_percent == pytest.approx(twin.order_advice.risk_percent, rel=1e-3)


@FEW
@given(SEEDS)
def test_what_is_unknown_never_lets_a_condition_pass(seed):
    """From the trigger on, a machine that is shown nothing of what it needs never advises a trade."""
    blind = {name: math.nan for name in ("depth_usd", "spread_worst_30s_bp")}
    machine = machine_of()
    for name, view in play(seed):
        if name == "look":
            assert not [t for t in machine.look(replace(view, **blind)) if t.type == "entry"]
