"""The live path says, byte for byte, what history folded in one go says."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze import Abstain, Prediction, Stream, encode, load, replay
from squeeze.errors import StepError
from squeeze.market.events import MINUTE_NS, Bar
from squeeze.market.lake import read_events
from squeeze.signals.message import AbstainMessage, ProbabilityMessage, SignalMessage
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
    streamed = {m.ts_data_ns: m for m in said}  # replaced below by those without signals
    streamed = {m.ts_data_ns: m for m in said if not isinstance(m, SignalMessage)}
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


def test_sequence_numbers_have_no_hole(said):
    first = said[0].sequence
    assert [m.sequence for m in said] == list(range(first, first + len(said)))


def test_a_second_replay_says_the_same_bytes(stream, events, said):
    assert b"".join(map(encode, replay(stream, events, 60.0))) == b"".join(map(encode, said))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), heard=st.booleans())
def test_a_snapshot_anywhere_goes_on_as_if_nothing_had_happened(finished, warmed, events, said, share, heard):
    """Taken after a look at the clock, or with events that were heard and not used yet."""
    last = -(-events[-1].known_at_ns // TICK)
    first = START // TICK
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
    assert b"".join(map(encode, found)) == b"".join(map(encode, said))


def restored(finished, stream):
    snapshot = stream.snapshot()
    made = Stream(load(finished.model))
    made.restore(snapshot)
    assert made.snapshot() == snapshot
    return made


def test_warm_is_running_through(small, finished, warmed):
    stream = Stream(load(finished.model))
    for _ in replay(stream, read_events(small.lake, small.config.spec.market, None, START), 300.0, START - 1):
        pass
    through, warm = (msgspec.msgpack.decode(s) for s in (stream.snapshot(), warmed))
    assert through["market"] == warm["market"]
    assert through["predictor"] == warm["predictor"]
    assert through["next_close_ns"] == warm["next_close_ns"] == START


def test_warming_says_nothing(warmed, stream):
    assert stream.sequence == 0
    assert stream.machine.states == {"long": "idle", "short": "idle"}


def test_a_clock_that_jumps_closes_every_step_on_the_way(stream, events, said):
    until = START + 24 * 60 * MINUTE_NS
    for event in events:
        if event.known_at_ns <= until:
            stream.on_event(event)
    found = [m for m in stream.on_clock(until) if not isinstance(m, SignalMessage)]
    expected = [m for m in said if not isinstance(m, SignalMessage) and m.ts_data_ns <= until]
    assert len(found) == 24 * 12 + 1
    assert [(m.ts_data_ns, m.mark) for m in found] == [(m.ts_data_ns, m.mark) for m in expected]
    numbers = [[getattr(m, "probabilities", None) for m in part] for part in (found, expected)]
    assert numbers[0] == numbers[1]


def test_silence_is_an_abstention_for_every_step(stream, events):
    for event in events[:200]:
        stream.on_event(event)
    messages = stream.on_clock(START + 600 * MINUTE_NS)
    late = [m for m in messages if m.ts_data_ns > events[199].known_at_ns + 10 * MINUTE_NS]
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
    other = msgspec.msgpack.decode(warmed) | {"model": "f" * 64}
    with pytest.raises(StepError, match="taken with model ffffffffffffffff"):
        stream.restore(msgspec.msgpack.encode(other))
    for junk in (b"", b"\x00", warmed[: len(warmed) // 2], msgspec.msgpack.encode({"model": "x"})):
        with pytest.raises(StepError, match="not a stream's snapshot"):
            stream.restore(junk)
    assert stream.snapshot() == before


@pytest.mark.parametrize(
    ("part", "junk"), [("market", b"junk"), ("predictor", (0, b"1234")), ("machine", {}), ("builder", {})]
)
def test_a_snapshot_with_a_broken_part_is_refused_and_changes_nothing(stream, events, said, warmed, part, junk):
    for event in events[:500]:
        stream.on_event(event)
    stream.on_clock(START)
    before = stream.snapshot()
    with pytest.raises(StepError):
        stream.restore(msgspec.msgpack.encode(msgspec.msgpack.decode(warmed) | {part: junk}))
    assert stream.snapshot() == before


def test_advance_answers_without_a_message(stream, events):
    for event in events[:50]:
        stream.on_event(event)
    frame, answer = stream.advance(START)
    assert frame.close_ns == answer.close_ns == START
    assert isinstance(answer, Prediction | Abstain)
    assert stream.sequence == 0


def test_a_bar_that_is_no_candle_is_an_abstention_that_says_so_and_the_stream_goes_on(stream, events):
    bars = [e for e in events if isinstance(e, Bar) and not e.is_mark]
    broken = msgspec.structs.replace(bars[2], low=-1.0)
    said = list(replay(stream, [broken if e is bars[2] else e for e in events[:400]], 60.0))
    refused = [m for m in said if isinstance(m, AbstainMessage) and any("is no candle" in r for r in m.reasons)]
    assert [m.mark for m in refused] == [None]
    assert isinstance(next(m for m in said if m.ts_data_ns > refused[0].ts_data_ns), ProbabilityMessage)
