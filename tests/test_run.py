"""The live verb: streams on one clock, what they say into the outbox, and how they go on after they were ended."""

import argparse
import asyncio
import itertools
import json
import signal
import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from emitting import InMemory, Kept, abstain, eventually
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import squeeze
from squeeze.cli import main
from squeeze.emitter.emitter import Emitter
from squeeze.emitter.live import Live
from squeeze.emitter.run import again, feeds_of, follow
from squeeze.emitter.verbs import EMITTER_VERBS
from squeeze.errors import ConfigError
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS, Price, Trade
from squeeze.market.feeds.values import Limits
from squeeze.market.lake import Lake
from squeeze.market.raw_log import RawLog
from squeeze.market.replay import raw_events
from squeeze.replaying import replay
from squeeze.signals.message import ProbabilityMessage, decode, encode
from squeeze.signals.rules import RulesState
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.transition import Envelope
from squeeze.simulator import market_events
from squeeze.stream import Stream
from squeeze.tools.journal.chain import Journal

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "squeeze-simulator.onnx"


@pytest.fixture(scope="module")
def warmed(unseen):
    """The state after 78 hours, and the events of the two hours after them."""
    events = list(market_events(*unseen))
    cut_ns = events[0].known_at_ns // HOUR_NS * HOUR_NS + 78 * HOUR_NS
    stream = Stream(squeeze.load(SHIPPED))
    stream.warm((e for e in events if e.known_at_ns <= cut_ns), cut_ns)
    return stream.snapshot(), [e for e in events if cut_ns < e.known_at_ns <= cut_ns + 2 * HOUR_NS]


def made(warmed, strategy=None):
    stream = Stream(squeeze.load(SHIPPED), strategy)
    stream.restore(warmed[0])
    return stream


@pytest.fixture(scope="module")
def said(warmed):
    """What a replay says of these two hours."""
    return list(replay(made(warmed), warmed[1], 60.0))


def without_emission(bodies):
    return [msgspec.structs.replace(decode(body), ts_emit_us=None) for body in bodies]


# Real streams, replayed


def test_the_same_events_give_the_same_messages_but_for_the_time_of_emission(tmp_path, warmed, said):
    assert sum(isinstance(message, ProbabilityMessage) for message in said) > 10
    sinks = Kept(), Kept()
    for number, sink in enumerate(sinks):
        with Emitter(tmp_path / f"{number}.sqlite", [InMemory(name="a", sink=sink)]) as emitter:
            again(Live([made(warmed)], emitter), warmed[1])
            eventually(lambda emitter=emitter: not emitter.waiting)
    bodies = [[x.body for x in sink.letters if x.type != "heartbeat"] for sink in sinks]
    for one in bodies:
        assert without_emission(one) == said
        assert all(decode(body).ts_emit_us is not None for body in one)
    blank = [[msgspec.json.encode(message) for message in without_emission(one)] for one in bodies]
    assert blank[0] == blank[1]


def test_a_replay_that_was_ended_anywhere_goes_on_to_the_same_messages(tmp_path, warmed, said):
    events = warmed[1]
    for cut in (1, len(events) // 3, len(events) // 2, len(events) - 1):
        sink, path = Kept(), tmp_path / f"{cut}.sqlite"
        left = iter(range(cut))
        with Emitter(path, [InMemory(name="a", sink=sink, types=("probability", "abstain", "state"))]) as emitter:
            again(Live([made(warmed)], emitter), events, lambda left=left: next(left, None) is None)
        with Emitter(path, [InMemory(name="a", sink=sink, types=("probability", "abstain", "state"))]) as emitter:
            stream = made(warmed)
            live = Live([stream], emitter)
            heard_ns = live.restore("SIMUSDT") or 0
            again(live, (event for event in events if event.known_at_ns > heard_ns))
            eventually(lambda emitter=emitter: not emitter.waiting)
        assert without_emission(x.body for x in sink.letters) == said


def test_heartbeats_come_every_five_seconds_with_the_newest_number_and_use_up_none(tmp_path, warmed, said):
    sink = Kept()
    with Emitter(tmp_path / "o.sqlite", [InMemory(name="a", sink=sink)]) as emitter:
        live = Live([made(warmed)], emitter)
        beats = []
        emitter.beat = beats.append
        live.tick_ns = SECOND_NS
        again(live, [e for e in warmed[1] if e.known_at_ns <= warmed[1][0].known_at_ns + 12 * MINUTE_NS])
    times = [beat.ts_data_us for beat in beats]
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {5_000_000}
    assert [beat.stream_seq for beat in beats] == sorted(beat.stream_seq for beat in beats)
    assert beats[-1].stream_seq == live.streams["SIMUSDT"].stream_seq - 1
    assert len({beat.event_id for beat in beats}) == len(beats)
    assert beats[-1].valid_until_us == beats[-1].ts_data_us + 10_000_000


def test_the_state_of_another_strategy_is_refused_and_fresh_numbers_go_on(tmp_path, warmed):
    other = msgspec.convert({"account": {"equity_usd": 5_000.0}}, StrategySpec)
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        again(Live([made(warmed)], emitter), warmed[1])
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        newest = emitter.newest_seq("SIMUSDT")
        live = Live([Stream(squeeze.load(SHIPPED), other)], emitter)
        with pytest.raises(ConfigError, match="another model or strategy; --fresh begins without it"):
            live.remember("SIMUSDT")
        live.begin_anew("SIMUSDT")
        assert live.streams["SIMUSDT"].stream_seq == newest + 1
        live = Live([made(warmed)], emitter)
        live.remember("SIMUSDT")
        assert live.streams["SIMUSDT"].stream_seq == newest + 1


def test_two_models_of_one_symbol_are_refused(tmp_path, warmed):
    with Emitter(tmp_path / "o.sqlite", []) as emitter, pytest.raises(ConfigError, match="two models of one symbol"):
        Live([made(warmed), made(warmed)], emitter)


# The verb


def run(*words):
    parser = argparse.ArgumentParser()
    EMITTER_VERBS["run"].arguments(parser)
    args = parser.parse_args([str(word) for word in words])
    args.json = True
    EMITTER_VERBS["run"].run(args)


def test_the_verb_replays_a_lake_into_lines_and_again_adds_nothing(tmp_path, unseen_lake, capsys):
    (tmp_path / "sinks.yaml").write_text(f"sinks: [{{kind: jsonl, name: lines, folder: {tmp_path}/lines}}]\n")
    words = [SHIPPED, "--sinks", tmp_path / "sinks.yaml", "--state", tmp_path / "o.sqlite", "--lake", unseen_lake]
    begin_ns = next(Lake(unseen_lake).events("simulated", "SIMUSDT", ["bar_1m"])).known_at_ns
    first = begin_ns // HOUR_NS * HOUR_NS + 78 * HOUR_NS
    times = [f"{time.strftime('%Y-%m-%dT%H:%M', time.gmtime((first + at) // SECOND_NS))}Z" for at in (0, HOUR_NS)]
    for _ in range(2):
        run(*words, "--replay", times[0], "--until", times[1])
    (file,) = (tmp_path / "lines").iterdir()
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    numbers = [line["stream_seq"] for line in lines if line["type"] != "heartbeat"]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 11
    assert json.loads(capsys.readouterr().out.splitlines()[0])[0]["left"] == "nothing"


def test_a_journal_takes_what_a_replay_said_once_an_hour_and_grades_it(tmp_path, said, unseen_lake, capsys):
    lines, kept = tmp_path / "said.jsonl", tmp_path / "journal"
    lines.write_bytes(b"".join(encode(message) for message in said))
    common = ["--journal", str(kept), "--lake", str(unseen_lake), "--json"]
    config = ROOT / "configs" / "simulator-proof.yaml"
    assert main(["journal", "add", str(lines), "--config", str(config), "--every", "60", *common]) == 0
    added = Journal(kept).entries()
    numbers = {m.ts_data_us * 1000: m for m in said if isinstance(m, ProbabilityMessage)}
    assert len(added) == 2
    assert added[1].at_ns - added[0].at_ns >= HOUR_NS
    for entry in added:
        message, told = numbers[entry.at_ns], entry.body["predictions"]
        horizons = message.probabilities["long"]
        assert [one["probability"] for one in told] == [
            message.probabilities[side][name] for side in ("long", "short") for name in horizons
        ]
        assert entry.body["mark"] == message.mark
    capsys.readouterr()
    assert main(["journal", "grade", "--no-figures", *common]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[0])
    assert len(rows) == sum(len(entry.body["predictions"]) for entry in added)
    assert {row["outcome"] for row in rows} <= {"true", "false"}
    assert Journal(kept).verify() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "reads 'simulated', to which there is no connection; there are binance, bybit, okx"),
        (["--venues", "bybit"], "no model reads 'bybit'; they read simulated"),
        (["--until", "2025-01-01"], "go with --replay"),
        (["--replay", "2025-01-01"], "needs --raw or --lake"),
        (["--seconds", "0"], "--seconds"),
        (["--sinks", "none.yaml"], "none.yaml"),
        (["--strategy", "none.yaml"], "none.yaml"),
    ],
)
def test_what_cannot_be_is_said_before_anything_begins(tmp_path, words, said):
    with pytest.raises(ConfigError) as refused:
        run(SHIPPED, "--state", tmp_path / "o.sqlite", *words)
    assert said in str(refused.value)


# Live


class Played(Stream):
    """A stream whose machine counts ticks: what a stream is to `Live`, and no more."""

    states = {"long": "idle", "short": "idle"}  # noqa: RUF012 - of the property's type

    def __init__(self, symbol="BTCUSDT"):
        clock = argparse.Namespace(clock_seconds=0.02)
        self.spec = argparse.Namespace(signal=clock, market=argparse.Namespace(symbol=symbol))
        self.kinds = {"bybit": {"trade"}}
        self.predictor = argparse.Namespace(digest="m")
        self.strategy = argparse.Namespace(digest=lambda: "s")
        self.machine = argparse.Namespace(snapshot=dict, restore=lambda _: None)
        self.rules = argparse.Namespace(told=lambda: RulesState(0, {}, {}, {}), restore=lambda _: None)
        self.next_close_ns = self.now_ns = self.word = self.mark = None
        names = {"producer": "p", "model_version": "m", "map_version": "a", "config_hash": "c", "stream": symbol}
        self.envelope = Envelope(**names, symbol=symbol)
        self.stream_seq, self.heard, self.restarts = 0, [], 0

    def on_event(self, event):
        self.heard.append(event)
        self.next_close_ns = 1

    def on_clock(self, now_ns, others):
        self.now_ns = now_ns
        self.stream_seq += 1
        return [abstain(self.stream_seq - 1, self.spec.market.symbol)]

    def freeze(self):
        return lambda: b"whole"

    def restarted(self):
        self.restarts += 1


TRADE = {"T": 1672304486865, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "BT": False}


async def exchange(socket):
    """Bybit, where somebody trades every ten milliseconds."""
    try:
        for number in range(10_000):
            row = TRADE | {"T": TRADE["T"] + number, "i": str(number)}
            await socket.send(
                json.dumps({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": row["T"], "data": [row]})
            )
            await asyncio.sleep(0.01)
    except ConnectionClosed:
        pass


def test_live_events_become_messages_while_one_sink_hangs_and_the_end_is_clean(tmp_path):
    let_go = threading.Event()
    slow, quick, stream = Kept(lambda _: let_go.wait(60)), Kept(), Played()

    async def go(live):
        until = asyncio.Event()
        async with serve(exchange, "127.0.0.1", 0) as server:
            there = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            hosts = {"stream.bybit.com": there, "api.bybit.com": "127.0.0.1:9"}
            feeds = feeds_of(live, hosts=hosts, limits=Limits(first_retry_seconds=0.05, open_every_seconds=0.001))
            running = asyncio.create_task(follow(live, feeds, until, RawLog(tmp_path / "raw")))
            await asyncio.to_thread(eventually, lambda: len(quick.letters) > 30 and len(stream.heard) > 30, 60.0)
            until.set()
            await running

    sinks = [InMemory(name="slow", sink=slow), InMemory(name="quick", sink=quick)]
    emitter = Emitter(tmp_path / "o.sqlite", sinks)
    live = Live([stream], emitter)
    asyncio.run(go(live))
    assert slow.letters == []
    kept = list(raw_events(RawLog(tmp_path / "raw"), ["bybit"], "BTCUSDT"))
    assert [e for e in kept if isinstance(e, Trade)] == [e for e in stream.heard if isinstance(e, Trade)]
    assert emitter.close(0.5) == ("sink slow: not done; it goes on from the outbox next time",)
    let_go.set()
    numbers = [letter.stream_seq for letter in quick.letters if letter.type != "heartbeat"]
    assert numbers == list(range(len(numbers)))
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        assert emitter.state("BTCUSDT whole") == b"whole"
        assert emitter.newest_seq("BTCUSDT") == stream.stream_seq - 1
        later = Played()
        Live([later], emitter).remember("BTCUSDT")
        assert (later.stream_seq, later.restarts) == (stream.stream_seq, 1)


def test_an_event_waits_for_the_ticks_before_it_and_a_lost_hour_is_jumped(tmp_path):
    stream = Played()
    ticks = []
    stream.on_clock = lambda now_ns, others: ticks.append(now_ns) or []
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        live = Live([stream], emitter)
        live.tick_ns = SECOND_NS
        at = partial(Price, venue="bybit", symbol="BTCUSDT", event_ns=0, price=1.0, of="mark")
        live.on_event(at(known_at_ns=10 * SECOND_NS + 5))
        live.on_event(at(known_at_ns=13 * SECOND_NS))
        assert ticks == [11 * SECOND_NS, 12 * SECOND_NS]  # what is known just at a tick comes before it
        live.on_time(13 * SECOND_NS)
        live.on_time(3613 * SECOND_NS + 7)
        assert ticks[2:] == [13 * SECOND_NS, 3613 * SECOND_NS]
        live.on_event(msgspec.structs.replace(at(known_at_ns=0), symbol="OTHER"))
        assert len(stream.heard) == 2


def test_a_clock_that_is_set_back_is_told_to_the_streams(tmp_path):
    stream, ticks = Played(), []
    stream.on_clock = lambda now_ns, others: ticks.append(now_ns) or []
    stream.next_close_ns = 1
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        live = Live([stream], emitter)
        live.tick_ns = SECOND_NS
        live.on_time(7200 * SECOND_NS)
        live.on_time(7201 * SECOND_NS)
        live.on_time(7190 * SECOND_NS)  # a few seconds are waited for
        assert ticks == [7201 * SECOND_NS]
        live.on_time(3600 * SECOND_NS)
        live.on_time(3601 * SECOND_NS)
        assert ticks[1:] == [3600 * SECOND_NS, 3601 * SECOND_NS]


def test_a_host_that_no_venue_has_is_refused(tmp_path):
    said = r"--host: 'stream\.example' is not connected to"
    with Emitter(tmp_path / "o.sqlite", []) as emitter, pytest.raises(ConfigError, match=said):
        feeds_of(Live([Played()], emitter), hosts={"stream.example": "127.0.0.1:1"})


def test_a_signal_to_stop_ends_a_replay_and_handlers_are_as_before():
    before = signal.getsignal(signal.SIGTERM)
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM))
    from squeeze.emitter import verbs

    stop = threading.Event()
    with verbs._stopping(stop):
        timer.start()
        assert stop.wait(20)
    assert signal.getsignal(signal.SIGTERM) is before
