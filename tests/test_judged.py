"""A running stream and its scorecard: what is kept is what a replay counts, and a bad symbol goes off and stays so."""

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from emitting import InMemory, Kept, eventually

import squeeze
from squeeze.drift import DriftMonitor
from squeeze.drift_spec import DriftReference, DriftSpec, InputReference
from squeeze.emitter.emitter import Emitter
from squeeze.emitter.judged import Switch, switch_name
from squeeze.emitter.live import Live
from squeeze.emitter.run import again
from squeeze.emitter.verbs import EMITTER_VERBS
from squeeze.errors import ConfigError, OutboxError
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.replaying import replay
from squeeze.signals.message import AlertMessage, SignalMessage, decode, encode
from squeeze.signals.rule_spec import RulesSpec
from squeeze.simulator import market_events
from squeeze.stream import Stream
from squeeze.strict import convert
from squeeze.tools.scorecard.scorecard import Scorecard
from squeeze.tools.scorecard.spec import ScorecardSpec
from squeeze.tools.scorecard.verb import SCORECARD

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "models" / "squeeze-simulator.onnx"
HOURS = 9
"""Of messages."""
SHAMES = ScorecardSpec(least_precision=0.999, least_alarms=3, settle_every_minutes=15)
"""Three alarms of which one is false are enough to be switched off."""
PROBABLE = {"is": "probability", "horizon_minutes": 60, "level": 0.01}
NEAR = {"is": "cluster_near", "least_share": 0.003, "within_percent": 3}
RULES = convert(
    {"rules": [{"name": "any", "when": PROBABLE, "cooldown_minutes": 30}, {"name": "near", "when": NEAR}]},
    RulesSpec,
    "rules",
)


@pytest.fixture(scope="module")
def cut_ns(unseen):
    return next(iter(market_events(*unseen))).known_at_ns // HOUR_NS * HOUR_NS + 78 * HOUR_NS


@pytest.fixture(scope="module")
def warmed(unseen, cut_ns):
    """The state after 78 hours, and the events of the hours after them."""
    events = list(market_events(*unseen))
    stream = Stream(squeeze.load(SHIPPED))
    before = [e for e in events if e.known_at_ns <= cut_ns]
    stream.warm(before, cut_ns)
    return stream.snapshot(), [e for e in events if cut_ns < e.known_at_ns <= cut_ns + HOURS * HOUR_NS], before


def made(warmed, rules=None):
    stream = Stream(squeeze.load(SHIPPED), None, rules)
    stream.restore(warmed[0])
    return stream


def scorecard_of(stream, spec, always_alarms=False):
    card = stream.predictor.card
    if always_alarms:
        signal = msgspec.structs.replace(card.spec.signal, arm_ratio=1e-9)
        card = msgspec.structs.replace(card, alarms=(), spec=msgspec.structs.replace(card.spec, signal=signal))
    return Scorecard(card, stream.predictor.digest, spec)


def monitor_of(stream):
    """A drift monitor for which nothing has drifted."""
    card = stream.predictor.card
    inputs = tuple(
        InputReference(name=name, borders=(0.0,), shares=(0.5, 0.5), known=0.0, usual_index=1e9)
        for name in (*card.scalar_names, *card.channel_names)
    )
    reference = DriftReference(spec=DriftSpec(level_times=1e9), inputs=inputs, window_frames=1)
    return DriftMonitor(reference, card.spec.label.horizons_minutes, card.base_rates)


def live_of(warmed, emitter, spec, *, always_alarms=False):
    stream = made(warmed)
    scorecard = scorecard_of(stream, spec, always_alarms)
    scorecard.warm(warmed[2])
    return Live([stream], emitter, {"SIMUSDT": scorecard})


def run(verb, *words):
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    args = parser.parse_args([str(word) for word in words])
    args.json = True
    verb.run(args)


def utc(ns):
    return f"{time.strftime('%Y-%m-%dT%H:%M', time.gmtime(ns // SECOND_NS))}Z"


def said_by(sink, *kinds):
    found = (decode(x.body) for x in sink.letters if x.type != "heartbeat")
    return [m for m in found if isinstance(m, kinds)]


def test_from_the_live_state_and_from_the_messages_it_says_the_same(tmp_path, unseen_lake, cut_ns, capsys):
    (tmp_path / "sinks.yaml").write_text(f"sinks: [{{kind: jsonl, name: lines, folder: {tmp_path}/lines}}]\n")
    until = utc(cut_ns + HOURS * HOUR_NS)
    run(EMITTER_VERBS["run"], SHIPPED, "--sinks", tmp_path / "sinks.yaml", "--state", tmp_path / "o.sqlite",
        "--lake", unseen_lake, "--replay", utc(cut_ns), "--until", until)  # fmt: skip
    capsys.readouterr()
    run(SCORECARD, "--state", tmp_path / "o.sqlite")
    kept = json.loads(capsys.readouterr().out)
    (file,) = (tmp_path / "lines").iterdir()
    run(SCORECARD, "--from", file, "--model", SHIPPED, "--lake", unseen_lake, "--until", until)
    assert json.loads(capsys.readouterr().out) == kept
    (report,) = kept
    assert report["sides"][0]["rows"] > 20
    assert report["symbol"] == "SIMUSDT"
    assert report["off"] == ""


def test_outcomes_reach_the_drift_monitor_and_change_no_message(tmp_path, warmed):
    plain = [encode(m) for m in replay(made(warmed), warmed[1], 60.0)]
    sink = Kept()
    with Emitter(tmp_path / "o.sqlite", [InMemory(name="a", sink=sink)]) as emitter:
        live = live_of(warmed, emitter, ScorecardSpec(switches_off=False))
        live.streams["SIMUSDT"].drift = monitor_of(live.streams["SIMUSDT"])
        again(live, warmed[1])
        eventually(lambda: not emitter.waiting)
    found = [encode(msgspec.structs.replace(m, ts_emit_us=None)) for m in said_by(sink, msgspec.Struct)]
    assert found == plain
    counted = live.streams["SIMUSDT"].drift.calibration.outcomes
    assert counted.shape == (2, 2)
    assert counted.min() >= HOURS - 4  # one in each horizon
    report = live.judged["SIMUSDT"].scorecard.report()
    assert report.sides[0].rows > 50


def test_a_symbol_whose_alarms_are_bad_goes_off_says_so_and_stays_off_until_it_is_switched_on(tmp_path, warmed, capsys):
    path, sink = tmp_path / "o.sqlite", Kept()
    with Emitter(path, [InMemory(name="a", sink=sink)]) as emitter:
        live = live_of(warmed, emitter, SHAMES, always_alarms=True)
        again(live, warmed[1])
        eventually(lambda: not emitter.waiting)
        with pytest.raises(OutboxError):
            run(SCORECARD, "--state", path, "--on", "SIMUSDT")  # it is running
    (alert,) = said_by(sink, AlertMessage)
    assert alert.rule == "scorecard"
    assert "squeeze scorecard --on SIMUSDT" in alert.text
    assert "Wilson" in alert.facts["reason"]
    numbers = [m.stream_seq for m in said_by(sink, msgspec.Struct)]
    assert {b - a for a, b in pairwise(numbers)} == {1}
    after = [m for m in said_by(sink, SignalMessage) if m.stream_seq > alert.stream_seq]
    assert {m.state for m in after} == {"halted"}
    assert live.streams["SIMUSDT"].states == {"long": "halted", "short": "halted"}

    def born(fresh=False):
        with Emitter(path, []) as emitter:
            live = live_of(warmed, emitter, SHAMES, always_alarms=True)
            if fresh:
                live.begin_anew("SIMUSDT")
            else:
                live.restore("SIMUSDT")
                live.remember("SIMUSDT")
                live.judged["SIMUSDT"].begin(warmed[1][-1].known_at_ns + HOUR_NS)
            live.judged["SIMUSDT"].switch()
            return live.streams["SIMUSDT"].machine.halted, live.judged["SIMUSDT"].scorecard.off

    for fresh in (False, True, False):
        halted, off = born(fresh)
        assert halted == f"scorecard: {off}"
        assert off == alert.facts["reason"]
    run(SCORECARD, "--state", path, "--on", "SIMUSDT")
    assert json.loads(capsys.readouterr().out) == [{"symbol": "SIMUSDT", "switched": "on"}]
    for fresh in (False, True):
        assert born(fresh) == (None, "")


def test_the_alert_and_the_switch_are_stored_together(tmp_path, warmed):
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        emitted, emit = [], emitter.emit
        emitter.emit = lambda messages, states: (emitted.append((messages, dict(states))), emit(messages, states))
        again(live_of(warmed, emitter, SHAMES, always_alarms=True), warmed[1])
    (pair,) = [pair for pair in emitted if any(isinstance(m, AlertMessage) for m in pair[0])]
    switch = msgspec.msgpack.decode(pair[1][switch_name("SIMUSDT")], type=Switch)
    assert switch.off
    assert [switch_name("SIMUSDT") in states for _, states in emitted].count(True) == 1


def test_a_person_who_halted_it_is_not_overruled(tmp_path, warmed):
    with Emitter(tmp_path / "o.sqlite", []) as emitter:
        live = live_of(warmed, emitter, SHAMES)
        live.streams["SIMUSDT"].halt("I am on holiday")
        live.judged["SIMUSDT"].switch()
        assert live.streams["SIMUSDT"].machine.halted == "I am on holiday"


def test_switching_on_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no outbox"):
        run(SCORECARD, "--state", tmp_path / "o.sqlite", "--on", "SIMUSDT")
    Emitter(tmp_path / "o.sqlite", []).close()
    with pytest.raises(ConfigError, match="holds no scorecard of SIMUSDT"):
        run(SCORECARD, "--state", tmp_path / "o.sqlite", "--on", "SIMUSDT")
    with pytest.raises(ConfigError, match="go together"):
        run(SCORECARD, "--from", "x")


# Rules on a stream


@pytest.fixture(scope="module")
def ruled(warmed):
    return list(replay(made(warmed, RULES), warmed[1], 60.0))


def test_alerts_come_beside_what_is_said_without_rules(warmed, ruled):
    assert {m.rule for m in ruled if isinstance(m, AlertMessage)} >= {"any"}
    assert [m.stream_seq for m in ruled] == list(range(len(ruled)))
    plain = list(replay(made(warmed), warmed[1], 60.0))
    rest = [m for m in ruled if not isinstance(m, AlertMessage)]
    blank = {"stream_seq": 0, "event_id": ""}
    assert [msgspec.structs.replace(m, **blank) for m in rest] == [msgspec.structs.replace(m, **blank) for m in plain]


def test_a_snapshot_in_the_middle_goes_on_with_the_same_bytes(warmed, ruled):
    events, stream = warmed[1], made(warmed, RULES)
    for share in (0.2, 0.6):
        cut = int(np.searchsorted([e.known_at_ns for e in events], events[0].known_at_ns + share * HOURS * HOUR_NS))
        until_ns = events[cut].known_at_ns // MINUTE_NS * MINUTE_NS
        before = [e for e in events if e.known_at_ns <= until_ns]
        stream = made(warmed, RULES)
        found = list(replay(stream, before, 60.0, until_ns))
        other = Stream(squeeze.load(SHIPPED), None, RULES)
        other.restore(stream.snapshot())
        rest = (e for e in events if e.known_at_ns > until_ns)
        found += replay(other, rest, 60.0)
        assert b"".join(map(encode, found)) == b"".join(map(encode, ruled))
