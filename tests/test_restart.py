"""Killed during an open trade and started again from what the outbox kept, with a real stream: protect comes first."""

import argparse
import os
import signal
from pathlib import Path

import msgspec
import pytest
from emitting import InMemory, Kept, eventually
from squeezes import story

import squeeze
from squeeze.emitter.emitter import Emitter
from squeeze.emitter.live import Live
from squeeze.emitter.verbs import _begin
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.signals.message import AbstainMessage, ProbabilityMessage, SignalMessage, decode
from squeeze.signals.strategy import StrategySpec
from squeeze.simulator import Publication, market_events, simulate
from squeeze.stream import Stream
from training.config import load_config
from training.proof.worlds import simulator_of, worlds_of

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "squeeze-simulator.onnx"
SYMBOL = "SIMUSDT"
PATIENT = msgspec.convert({"exits": {"weak_minutes_half": 98, "weak_minutes_exit": 99}}, StrategySpec)
"""Momentum ends no trade."""
ABSENT = argparse.Namespace(fresh=False, lake=None, warm=None)


@pytest.fixture(scope="module")
def warmed():
    """The state after 78 hours, when that was, and the events of the hour after it."""
    config = load_config(ROOT / "configs" / "simulator-proof.yaml", ("worlds.days=4",))
    market = simulate(simulator_of(config, "matter"), 7_777)
    events = list(market_events(market, Publication(book_minutes=worlds_of(config).book_minutes)))
    cut_ns = events[0].known_at_ns // HOUR_NS * HOUR_NS + 78 * HOUR_NS
    stream = Stream(squeeze.load(SHIPPED))
    stream.warm((e for e in events if e.known_at_ns <= cut_ns), cut_ns)
    return stream.snapshot(), cut_ns, [e for e in events if cut_ns < e.known_at_ns <= cut_ns + HOUR_NS]


def made(warmed):
    stream = Stream(squeeze.load(SHIPPED), PATIENT)
    stream.restore(warmed[0])
    return stream


def trades(stream, now_ns):
    """Have the machine be in a trade that was filled half an hour ago, its stop too far away to matter."""
    own, told = stream.machine.snapshot(), story("managed")[0].snapshot()["sides"]["long"]
    scale = float(stream.mark) / told["trade"]["entry"]
    prices = ("entry_low", "entry_high", "entry", "filled_price", "best", "own_liquidation")
    trade = told["trade"] | {name: scale * told["trade"][name] for name in prices}
    trade |= {"first_stop": 2 * scale * told["trade"]["entry"], "stop": 2 * scale * told["trade"]["entry"]}
    trade |= {"targets": (), "trail_from": 1.0, "filled_ns": now_ns - 30 * MINUTE_NS, "minute": 30}
    mind = told | {"since_ns": now_ns, "trade": trade}
    stream.machine.restore(own | {"sides": own["sides"] | {"long": mind}})
    return mind["signal_id"]


def killed(warmed, path, minutes):
    """A process that runs for so many minutes, comes into a trade after its first message, of one in five minutes, says
    another, and is killed.
    """
    child = os.fork()
    if child:
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        return
    try:
        _, cut_ns, events = warmed
        stream, emitter = made(warmed), Emitter(path, [])
        live = Live([stream], emitter)
        for event in events:
            if event.known_at_ns > cut_ns + minutes * MINUTE_NS:
                break
            live.on_event(event)
            if live.said and stream.states["long"] == "idle":
                eventually(lambda: emitter.state(f"{SYMBOL} whole"))
                trades(stream, live.next_ns)
        assert stream.states["long"] == "managed"
        eventually(lambda: not emitter.waiting)
        os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)


@pytest.mark.parametrize("down_seconds", [2, 150])
def test_a_run_killed_during_a_trade_says_protect_first_and_once_and_ends_the_signal_once(
    tmp_path, warmed, down_seconds
):
    path, sink = tmp_path / "o.sqlite", Kept()
    killed(warmed, path, 12)
    now_ns = warmed[1] + 12 * MINUTE_NS + down_seconds * SECOND_NS
    with Emitter(path, [InMemory(name="a", sink=sink)]) as emitter:
        before = emitter.newest_seq(SYMBOL)
        stream = Stream(squeeze.load(SHIPPED), PATIENT)
        live = Live([stream], emitter)
        _begin(ABSENT, live, SYMBOL, now_ns)
        assert stream.states["long"] == "managed"
        live.on_time(now_ns)
        for event in warmed[2]:
            if event.known_at_ns > now_ns:
                live.on_event(event)
        eventually(lambda: not emitter.waiting)
    said = [decode(x.body) for x in sink.letters if x.type != "heartbeat"]
    assert [message.stream_seq for message in said] == list(range(before + 1, before + 1 + len(said)))
    told = story("managed")[2]
    name = [t for t in told if t.side == "long"][-1].signal_id
    of_it = [message for message in said if isinstance(message, SignalMessage) and message.signal_id == name]
    assert type(of_it[0]).__name__ == "ProtectMessage"
    assert of_it[0].reason_codes[0] == "restart"
    protects = [m.reason_codes for m in of_it if type(m).__name__ == "ProtectMessage"]
    assert sum("restart" in codes for codes in protects) == 1
    # What the restart lost may make an input stale only later; that is another reason, and said once too.
    assert len(protects) <= 2
    assert all(codes[0].startswith("stale_") for codes in protects[1:])
    assert type(of_it[-1]).__name__ == "ExitMessage"
    assert sum(type(m).__name__ in ("ExitMessage", "CancelMessage") for m in of_it) == 1
    assert [message.seq for message in of_it] == list(range(of_it[0].seq, of_it[0].seq + len(of_it)))
    assert sum(isinstance(message, (ProbabilityMessage, AbstainMessage)) for message in said) > 3
