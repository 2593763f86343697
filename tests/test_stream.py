"""The live path says, byte for byte, what history folded in one go says."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze import Abstain, Prediction, Stream, encode, load, replay
from squeeze.errors import StepError
from squeeze.market.events import HOUR_NS, MINUTE_NS, SECOND_NS, Bar
from squeeze.market.lake import read_events
from squeeze.sealed import VERSION, Header, seal
from squeeze.signals.envelope import event_id
from squeeze.signals.message import AbstainMessage, ProbabilityMessage, SignalMessage, decode
from squeeze.signals.strategy import RiskRules, StrategySpec
from squeeze.stream import NO_PROBABILITY
from training.real import stream_difference

START = int(np.datetime64("2025-01-11T12:00", "ns").astype(np.int64))
TICK = MINUTE_NS
"""Of the signal clock; a step is five of them."""


@pytest.fixture(scope="module")
def events(small):
    """The last day and a half, in order of known-at."""
    return list(read_events(small.lake, small.config.spec.market, START))


@pytest.fixture(scope="module")
def warmed(small, finished):
    """A stream's snapshot just before `START`."""
    stream = Stream(load(finished.model))
    stream.warm(read_events(small.lake, small.config.spec.market, None, START), START - 1)
    return stream.snapshot()


@pytest.fixture
def stream(finished, warmed):
    made = Stream(load(finished.model))
    made.restore(warmed)
    return made


@pytest.fixture(scope="module")
def said(finished, warmed, events):
    """Every message of the last day and a half."""
    made = Stream(load(finished.model))
    made.restore(warmed)
    return list(replay(made, events, 60.0))


def test_the_stretch_has_numbers_abstentions_and_signals(said):
    kinds = {
        kind: sum(isinstance(m, kind) for m in said) for kind in (ProbabilityMessage, AbstainMessage, SignalMessage)
    }
    assert min(kinds.values()) > 3, kinds
    reasons = {reason for m in said if isinstance(m, AbstainMessage) for reason in m.reasons}
    assert reasons >= {"bars_stale", "open_interest_stale", "not trained with partial_bar"}


def test_streamed_and_batch_agree_on_every_row_of_a_block(finished, said):
    block = finished.trained.blocks[-1]
    streamed = {m.ts_data_us * 1000: m for m in said if not isinstance(m, SignalMessage)}
    rows = [at for at, ts in enumerate(block.rows.ts_ns) if ts >= START]
    assert len(rows) > 300
    abstained = 0
    for at in rows:
        message, batch = streamed[int(block.rows.ts_ns[at])], block.probabilities[at]
        if isinstance(message, AbstainMessage):
            assert np.isnan(batch).all(), message.reasons
            abstained += 1
        else:
            found = np.array([list(message.probabilities[side].values()) for side in ("long", "short")])
            np.testing.assert_allclose(found, batch, atol=1e-6, rtol=0)
    assert abstained > 10


def test_the_check_that_real_runs_agrees(small, finished):
    block = finished.trained.blocks[-1]
    assert stream_difference(finished.model, small.lake, small.config, block, lambda *_: None) <= 1e-6


def test_sequence_numbers_have_no_hole_and_every_message_its_own_name(said):
    assert [m.stream_seq for m in said] == list(range(len(said)))
    assert len({m.event_id for m in said}) == len(said)
    plain = next(m for m in said if isinstance(m, ProbabilityMessage))
    assert plain.event_id == event_id("SIMUSDT", plain.stream_seq, plain.ts_data_us)
    assert plain.valid_until_us - plain.ts_data_us == 2 * 300_000_000


def test_every_message_is_read_back_as_it_was_and_says_whose_it_is(said, stream):
    envelope = stream.envelope
    for message in said[::7]:
        assert decode(encode(message)) == message
        assert message.ts_emit_us is None
        names = {name: getattr(message, name) for name in envelope.__struct_fields__}
        assert names == msgspec.structs.asdict(envelope)


def test_a_signal_begins_with_0_and_ends_once(said):
    signals = {}
    for message in said:
        if isinstance(message, SignalMessage) and message.signal_id:
            signals.setdefault(message.signal_id, []).append(message)
    for messages in signals.values():
        assert [m.seq for m in messages] == list(range(len(messages)))
        assert sum(type(m).__name__ in ("ExitMessage", "CancelMessage") for m in messages[:-1]) == 0


def test_a_second_replay_says_the_same_bytes(stream, events, said):
    assert b"".join(map(encode, replay(stream, events, 60.0))) == b"".join(map(encode, said))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), heard=st.booleans())
def test_a_snapshot_anywhere_goes_on_as_if_nothing_had_happened(finished, warmed, events, said, share, heard):
    """Taken after a look at the clock, or with events that were heard and not used yet."""
    first = START // TICK
    last = first + 12 * 60
    stop = first + round(share * (last - first))
    found, made, queue = [], Stream(load(finished.model)), list(reversed(events))
    made.restore(warmed)
    for tick in range(first, last + 1):
        while queue and queue[-1].known_at_ns <= tick * TICK:
            made.on_event(queue.pop())
        if heard and tick == stop:
            made = restored(finished, made)
        found += made.on_clock(tick * TICK)
        if not heard and tick == stop:
            made = restored(finished, made)
    expected = [m for m in said if m.ts_data_us * 1000 <= last * TICK]
    assert len(expected) > 140
    assert b"".join(map(encode, found)) == b"".join(map(encode, expected))


def restored(finished, stream):
    snapshot = stream.snapshot()
    made = Stream(load(finished.model))
    made.restore(snapshot)
    assert made.snapshot() == snapshot
    return made


def test_warm_is_running_through(small, finished):
    stream, other = (Stream(load(finished.model)) for _ in range(2))
    past = list(read_events(small.lake, small.config.spec.market, START - 48 * HOUR_NS, START))
    for _ in replay(stream, past, 300.0, START - 1):
        pass
    other.warm(past, START - 1)
    through, warm = (body_of(s.snapshot()) for s in (stream, other))
    for name in ("market", "predictor", "word", "next_close_ns"):
        assert through[name] == warm[name], name
    assert through["next_close_ns"] == START
    for name in ("memory", "rings", "heard", "funding", "venues", "pending"):
        assert repr(through["lookout"]["tape"][name]) == repr(warm["lookout"]["tape"][name]), name
    assert through["lookout"]["zones"] == warm["lookout"]["zones"]


def body_of(snapshot):
    return msgspec.msgpack.decode(snapshot.partition(b"\n")[2])


def resealed(snapshot, **changes):
    """The snapshot with parts of its body changed, under a seal that holds."""
    line, _, body = snapshot.partition(b"\n")
    changed = msgspec.msgpack.encode(msgspec.msgpack.decode(body) | changes)
    return seal(msgspec.json.decode(line, type=Header), changed)


def test_warming_says_nothing(warmed, stream):
    assert stream.stream_seq == 0
    assert stream.states == {"long": "idle", "short": "idle"}


def test_a_clock_that_jumps_is_followed_once_the_next_look_confirms_it(stream, events, said):
    until = START + 6 * 60 * MINUTE_NS
    for event in events:
        if event.known_at_ns <= START:
            stream.on_event(event)
    assert stream.on_clock(START) != []
    for event in events:
        if START < event.known_at_ns <= until:
            stream.on_event(event)
    doubted = stream.on_clock(until)
    assert [m.reasons for m in doubted if isinstance(m, AbstainMessage)] == [("clock",)]
    assert {m.ts_data_us * 1000 for m in doubted} == {START}
    assert set(stream.states.values()) == {"stale"}
    found = [m for m in stream.on_clock(until) if not isinstance(m, SignalMessage)]
    expected = [m for m in said if not isinstance(m, SignalMessage) and START // 1000 < m.ts_data_us <= until // 1000]
    assert len(found) == 6 * 12
    assert [(m.ts_data_us, m.mark) for m in found] == [(m.ts_data_us, m.mark) for m in expected]
    numbers = [[getattr(m, "probabilities", None) for m in part] for part in (found, expected)]
    assert numbers[0] == numbers[1]


def test_a_clock_that_goes_back_or_jumps_for_a_moment_is_said_once_and_changes_no_step(stream, events, said):
    queue, found = list(reversed(events)), []
    for tick in range(START // TICK, START // TICK + 60):
        while queue and queue[-1].known_at_ns <= tick * TICK:
            stream.on_event(queue.pop())
        found += stream.on_clock(tick * TICK)
        if tick == START // TICK + 31:
            for wrong in (-HOUR_NS, -SECOND_NS, 40 * HOUR_NS):
                found += stream.on_clock(tick * TICK + wrong)
    wrong = [m for m in found if isinstance(m, AbstainMessage) and m.reasons == ("clock",)]
    assert [m.ts_data_us * 1000 for m in wrong] == [START + 31 * TICK]
    steps = [m for m in found if not isinstance(m, SignalMessage) and m not in wrong]
    expected = [m for m in said if not isinstance(m, SignalMessage)][: len(steps)]
    assert [(m.ts_data_us, getattr(m, "probabilities", None)) for m in steps] == [
        (m.ts_data_us, getattr(m, "probabilities", None)) for m in expected
    ]
    assert not any(type(m).__name__ == "EntryMessage" for m in found)


def test_a_clock_before_what_a_process_before_this_one_saw_is_doubted_and_is_no_error(stream, finished, warmed, events):
    for event in events[:400]:
        stream.on_event(event)
    stream.on_clock(START)
    stream.on_clock(START + TICK)
    later = Stream(load(finished.model))
    later.restore(warmed)
    later.machine.restore(stream.machine.snapshot())
    later.restarted()
    for event in events[:400]:
        later.on_event(event)
    said = later.on_clock(START)
    assert [m.reasons for m in said if isinstance(m, AbstainMessage)] == [("clock",)]
    assert set(later.states.values()) == {"stale"}
    later.on_clock(START + 2 * TICK)
    assert later.now_ns == START + 2 * TICK


@pytest.mark.parametrize("wrong", [[0.3, 0.2], [0.5, 1.0001], [-1e-6, 0.5]])
def test_what_is_no_probability_is_an_abstention_and_the_stream_goes_on(stream, events, wrong):
    class Broken:
        def __getattr__(self, name):
            return getattr(stream_predictor, name)

        def step(self, frame):
            said = stream_predictor.step(frame)
            if not isinstance(said, Prediction):
                return said
            numbers = np.linspace(*wrong, said.probabilities.shape[1], dtype=np.float32)
            return replace(said, probabilities=np.stack([numbers, numbers]))

    stream_predictor, stream.predictor = stream.predictor, Broken()
    for event in events[:400]:
        stream.on_event(event)
    said = [m for tick in range(40) for m in stream.on_clock(START + tick * TICK)]
    assert not any(isinstance(m, ProbabilityMessage) for m in said)
    assert any(isinstance(m, AbstainMessage) and m.reasons == (NO_PROBABILITY,) for m in said)


def test_a_halted_stream_says_so_and_goes_on_when_it_is_told_to(stream, events):
    for event in events[:400]:
        stream.on_event(event)
    stream.on_clock(START)
    stream.halt("maintenance")
    stream.on_clock(START + TICK)
    assert set(stream.states.values()) == {"halted"}
    stream.resume()
    stream.on_clock(START + 2 * TICK)
    assert "halted" not in stream.states.values()


def test_silence_is_an_abstention_for_every_step(stream, events):
    for event in events[:200]:
        stream.on_event(event)
    messages = stream.on_clock(START + 600 * MINUTE_NS)
    late = [m for m in messages if m.ts_data_us * 1000 > events[199].known_at_ns + 10 * MINUTE_NS]
    late = [m for m in late if not isinstance(m, SignalMessage)]
    assert len(late) > 90
    assert all(isinstance(m, AbstainMessage) and "bars_stale" in m.reasons and m.mark is None for m in late)


def test_before_the_first_event_the_clock_says_nothing(finished):
    assert Stream(load(finished.model)).on_clock(START) == []


def test_an_event_of_another_symbol_is_refused_and_changes_nothing(stream):
    before = stream.snapshot()
    bar = Bar(
        venue="simulated", symbol="BTCUSDT", event_ns=START, known_at_ns=START, cadence_ns=MINUTE_NS,
        open=1.0, high=1.0, low=1.0, close=1.0,
    )  # fmt: skip
    with pytest.raises(StepError, match="SIMUSDT step got an event of BTCUSDT"):
        stream.on_event(bar)
    assert stream.snapshot() == before


def test_a_snapshot_of_another_model_or_none_at_all_is_refused_and_changes_nothing(stream, warmed):
    before = stream.snapshot()
    line, _, body = warmed.partition(b"\n")
    header = msgspec.json.decode(line, type=Header)
    for name, said in (("model", "model ffffffffffffffff"), ("spec", "spec ffffffffffffffff")):
        other = seal(msgspec.structs.replace(header, **{name: "f" * 64}), body)
        with pytest.raises(StepError, match=f"taken with {said}"):
            stream.restore(other)
    with pytest.raises(StepError, match=f"format version 9, this release reads {VERSION}"):
        stream.restore(seal(msgspec.structs.replace(header, version=9), body))
    for junk in (b"", b"\x00", b"\xff\n", msgspec.msgpack.encode({"model": "x"})):
        with pytest.raises(StepError, match="not a stream's snapshot"):
            stream.restore(junk)
    with pytest.raises(StepError, match="altered or cut off"):
        stream.restore(warmed[: len(warmed) // 2])
    assert stream.snapshot() == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_one_changed_byte_is_refused(stream, warmed, share, bits):
    at = int(share * len(warmed))
    with pytest.raises(StepError):
        stream.restore(warmed[:at] + bytes([warmed[at] ^ bits]) + warmed[at + 1 :])


def test_a_warm_snapshot_fits_every_strategy_and_a_used_one_only_its_own(finished, warmed, events):
    cautious = StrategySpec(risk=RiskRules(cap_percent=0.5))
    other = Stream(load(finished.model), cautious)
    other.restore(warmed)
    assert other.envelope.config_hash == cautious.digest()
    for event in events[:100]:
        other.on_event(event)
    other.on_clock(START)
    used, plain = other.snapshot(), Stream(load(finished.model))
    with pytest.raises(StepError, match="taken with strategy"):
        plain.restore(used)


@pytest.mark.parametrize(
    ("part", "junk"),
    [("market", b"junk"), ("predictor", (0, b"1234")), ("machine", {"x": 1}), ("builder", {}), ("lookout", {})],
)
def test_a_snapshot_with_a_broken_part_is_refused_and_changes_nothing(stream, events, warmed, part, junk):
    for event in events[:500]:
        stream.on_event(event)
    stream.on_clock(START)
    before = stream.snapshot()
    broken = resealed(before, **{part: junk})
    with pytest.raises(StepError):
        stream.restore(broken)
    assert stream.snapshot() == before


def test_advance_answers_without_a_message(stream, events):
    for event in events[:50]:
        stream.on_event(event)
    frame, answer = stream.advance(START)
    assert frame.close_ns == answer.close_ns == START
    assert isinstance(answer, Prediction | Abstain)
    assert stream.stream_seq == 0


def test_a_bar_that_is_no_candle_is_an_abstention_that_says_so_and_the_stream_goes_on(stream, events):
    bars = [e for e in events if isinstance(e, Bar) and not e.is_mark]
    broken = msgspec.structs.replace(bars[2], low=-1.0)
    said = list(replay(stream, [broken if e is bars[2] else e for e in events[:400]], 60.0))
    refused = [m for m in said if isinstance(m, AbstainMessage) and any("is no candle" in r for r in m.reasons)]
    assert [m.mark for m in refused] == [None]
    steps = [m for m in said if not isinstance(m, SignalMessage)]
    assert isinstance(next(m for m in steps if m.ts_data_us > refused[0].ts_data_us), ProbabilityMessage)
