"""Frames in, a number or reasons out."""

import dataclasses
import re

import msgspec
import numpy as np
import pytest
from framing import made_up_frame, spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze import Abstain, Prediction, load
from squeeze.admission import Admission
from squeeze.errors import StepError
from squeeze.market.lake import read_events
from squeeze.market.steps import steps
from squeeze.predictor import Predictor
from squeeze.state import BLIND, Degraded, MarketState, Unhealthy


@pytest.fixture(scope="module")
def frames(small):
    """Frames of the first three days."""
    market, state = small.config.spec.market, MarketState(small.config.spec)
    until = int(np.datetime64("2025-01-04", "ns").astype(np.int64))
    return [
        state.advance(s) for s in steps(read_events(small.lake, market, None, until), market.symbol, state.length_ns)
    ]


@pytest.fixture
def predictor(finished):
    return load(finished.model)


def healthy(frames, count=1):
    found = [frame for frame in frames if not frame.unhealthy][:count]
    return found[0] if count == 1 else found


def test_a_healthy_frame_gives_a_probability_per_side_and_horizon(predictor, frames):
    answer = predictor.step(healthy(frames))
    assert isinstance(answer, Prediction)
    assert answer.probabilities.shape == (2, 2)
    assert ((answer.probabilities >= 0) & (answer.probabilities <= 1)).all()
    assert answer.of("short", 0) == answer.probabilities[1, 0]
    assert answer.of("long") == answer.probabilities[0, -1] >= answer.of("long", 0)
    assert answer.degraded == ("volume_uniform",)


def test_while_it_warms_up_it_says_so_and_its_state_waits(predictor, frames):
    before = predictor.snapshot()[1]
    for frame in frames[:200]:
        answer = predictor.step(frame)
        assert isinstance(answer, Abstain)
        assert "warming_up" in answer.reasons
    assert predictor.snapshot()[1] == before


@pytest.mark.parametrize("flag", [f for f in Unhealthy if f], ids=lambda f: f.name.lower())
def test_unhealthy_input_gives_its_reason_and_never_a_number(predictor, frames, flag):
    first, second = healthy(frames, 2)
    predictor.step(first)
    before = predictor.snapshot()[1]
    answer = predictor.step(dataclasses.replace(second, unhealthy=flag))
    assert answer == Abstain(second.symbol, second.close_ns, (flag.name.lower(),))
    assert not any(isinstance(getattr(answer, field.name), float) for field in dataclasses.fields(answer))
    assert (predictor.snapshot()[1] == before) == bool(flag & BLIND)


def test_input_poorer_than_in_training_is_refused_but_seen(predictor, frames):
    first, second = healthy(frames, 2)
    predictor.step(first)
    before = predictor.snapshot()[1]
    answer = predictor.step(dataclasses.replace(second, degraded=second.degraded | Degraded.MARK_IS_LAST))
    assert answer.reasons == ("not trained with mark_is_last",)
    assert predictor.snapshot()[1] != before


def test_several_reasons_are_all_told(predictor, frames):
    frame = dataclasses.replace(
        healthy(frames),
        unhealthy=Unhealthy.OPEN_INTEREST_STALE | Unhealthy.FUNDING_STALE,
        degraded=Degraded.TAKER_FLOW_HALF,
    )
    reasons = ("open_interest_stale", "funding_stale", "not trained with taker_flow_half")
    assert predictor.step(frame).reasons == reasons


def test_an_output_that_is_not_finite_is_an_abstention_and_leaves_the_state(predictor, frames):
    first, second = healthy(frames, 2)
    predictor.step(first)
    before = predictor.snapshot()[1]
    answer = predictor.step(dataclasses.replace(second, channels=np.full_like(second.channels, np.nan)))
    assert answer.reasons == ("the model's output is not finite",)
    assert predictor.snapshot()[1][1:] == before[1:]


def test_a_frame_out_of_order_or_of_another_symbol_is_refused_and_changes_nothing(predictor, frames):
    first, second, third = healthy(frames, 3)
    predictor.step(second)
    before = predictor.snapshot()
    for frame in (first, second):
        with pytest.raises(StepError, match="cannot follow"):
            predictor.step(frame)
    with pytest.raises(StepError, match="trained for SIMUSDT, the frame is of BTCUSDT"):
        predictor.step(dataclasses.replace(third, symbol="BTCUSDT"))
    assert predictor.snapshot() == before
    assert isinstance(predictor.step(third), Prediction)


def test_it_goes_on_from_a_snapshot_as_if_nothing_had_happened(finished, predictor, frames):
    run = healthy(frames, 40)
    answers = [predictor.step(frame).probabilities for frame in run[:20]]
    other = load(finished.model)
    other.restore(*predictor.snapshot())
    for frame in run[20:]:
        answers.append(predictor.step(frame).probabilities)
        assert other.step(frame).probabilities.tobytes() == answers[-1].tobytes()


def test_a_snapshot_that_does_not_fit_is_refused(predictor):
    before = predictor.snapshot()
    with pytest.raises(StepError, match="the snapshot carries 3 numbers of state, this model 12"):
        predictor.restore(5, b"\0" + np.zeros(3, np.float32).tobytes())
    assert predictor.snapshot() == before


def test_what_it_answered_stays_as_it_was(predictor, frames):
    first, second = healthy(frames, 2)
    answer = predictor.step(first)
    kept = answer.probabilities.copy()
    predictor.step(second)
    np.testing.assert_array_equal(answer.probabilities, kept)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"channels": np.zeros((2, 5, 7), np.float32)},
            r"channels: expected float32 \[2, 5, 8\], got float32 \[2, 5, 7\]",
        ),
        ({"channels": np.zeros((5, 8), np.float32)}, r"got float32 \[5, 8\]"),
        ({"channels": np.zeros((2, 5, 8))}, r"got float64 \[2, 5, 8\]"),
        ({"channels": None}, "got NoneType"),
        ({"scalars": np.zeros((2, 1), np.float32)}, r"scalars: expected float32 .* got float32 \[2, 1\]"),
        ({"scalars": [[0.0]]}, "got list"),
    ],
)
def test_arrays_of_another_shape_or_kind_are_an_abstention_that_says_so(predictor, arrays, said):
    predictor.step(made_up_frame(predictor.card, 1))
    before = predictor.snapshot()[1]
    answer = predictor.step(spoilt(made_up_frame(predictor.card, 2), **arrays))
    assert isinstance(answer, Abstain)
    assert re.search(said, answer.reasons[0])
    assert predictor.snapshot()[1][1:] == before[1:]
    assert predictor.step(made_up_frame(predictor.card, 3)).reasons == ("skipped_step",)
    assert isinstance(predictor.step(made_up_frame(predictor.card, 4)), Prediction)


def test_what_the_runtime_raises_is_an_abstention_and_leaves_the_state(predictor, monkeypatch):
    predictor.step(made_up_frame(predictor.card, 1))
    before = predictor.snapshot()[1]

    def fail(engine):
        raise RuntimeError("no\nmemory")

    with monkeypatch.context() as patched:
        patched.setattr("squeeze.engine.Engine.run", fail)
        answer = predictor.step(made_up_frame(predictor.card, 2))
    assert answer.reasons == ("the model failed: no memory",)
    assert predictor.snapshot()[1][1:] == before[1:]
    assert predictor.step(made_up_frame(predictor.card, 3)).reasons == ("skipped_step",)


@pytest.mark.parametrize(("missed", "silent"), [(0, 0), (1, 1), (3, 3), (59, 59), (60, 60), (61, 60), (5000, 60)])
def test_after_frames_that_were_left_out_as_many_steps_are_not_answered(predictor, missed, silent):
    assert isinstance(predictor.step(made_up_frame(predictor.card, 1)), Prediction)
    answers = [predictor.step(made_up_frame(predictor.card, 2 + missed + at)) for at in range(silent + 3)]
    assert [a.reasons for a in answers[:silent]] == [("skipped_step",)] * silent
    assert all(isinstance(a, Prediction) for a in answers[silent:])


def test_a_frame_off_the_grid_counts_as_one_left_out(predictor):
    predictor.step(made_up_frame(predictor.card, 1))
    frame = made_up_frame(predictor.card, 2)
    answer = predictor.step(dataclasses.replace(frame, close_ns=frame.close_ns + 1))
    assert answer.reasons == ("skipped_step",)


def test_a_blind_step_is_no_frame_left_out(predictor):
    predictor.step(made_up_frame(predictor.card, 1))
    for close in range(2, 9):
        blind = made_up_frame(predictor.card, close, unhealthy=Unhealthy.BARS_STALE)
        assert predictor.step(blind).reasons == ("bars_stale",)
    assert isinstance(predictor.step(made_up_frame(predictor.card, 9)), Prediction)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    closes=st.lists(st.tuples(st.integers(-2, 4), st.sampled_from(list(Unhealthy))), max_size=12),
    cut=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_whatever_comes_a_snapshot_in_the_middle_goes_on_bit_for_bit(finished, closes, cut, seed):
    """Frames late, early, unhealthy and left out: two predictors agree, and what is refused changes nothing."""
    one, other = load(finished.model), load(finished.model)
    at = 5
    for number, (ahead, flag) in enumerate(closes):
        if number == cut:
            other = load(finished.model)
            other.restore(*one.snapshot())
        frame = made_up_frame(finished.card, at + ahead, seed, unhealthy=flag)
        before = one.snapshot()
        if frame.close_ns <= before[0]:
            for predictor in (one, other):
                with pytest.raises(StepError, match="cannot follow"):
                    predictor.step(frame)
            assert one.snapshot() == other.snapshot() == before
            continue
        answers = [predictor.step(frame) for predictor in (one, other)]
        assert one.snapshot() == other.snapshot()
        if isinstance(answers[0], Abstain):
            assert answers[0] == answers[1]
            assert answers[0].reasons
        else:
            assert not frame.unhealthy
            assert answers[0].probabilities.tobytes() == answers[1].probabilities.tobytes()
        at += max(ahead, 0)


def test_a_snapshot_of_what_is_not_finite_is_refused(predictor):
    before = predictor.snapshot()
    for state in (b"", b"\0", b"\0" + bytes(47), b"\xff" + bytes(48)):
        with pytest.raises(StepError, match="the snapshot carries"):
            predictor.restore(5, state)
    with pytest.raises(StepError, match="is not finite"):
        predictor.restore(5, b"\0" + np.full(12, np.nan, np.float32).tobytes())
    assert predictor.snapshot() == before


def test_a_required_channel_that_is_there_on_either_side_or_anywhere_counts_as_recorded(finished):
    predictor = load(finished.model)
    card = msgspec.structs.replace(finished.card, required_channels=finished.card.channel_names[1:2])
    predictor = Predictor(predictor.session, card, predictor.digest)
    frame = made_up_frame(card, 1)
    frame.channels[0, 1] = np.nan
    assert isinstance(predictor.step(frame), Abstain)  # the model itself does not bear a map with holes
    frame = made_up_frame(card, 2)
    frame.channels[:, 1] = np.nan
    assert f"not recorded: {card.channel_names[1]}" in predictor.step(frame).reasons
    admission = Admission(card)
    frame = made_up_frame(card, 3)
    frame.channels[:, 1] = np.nan
    frame.channels[1, 1, 4] = 0.5
    assert admission.reasons(frame, False) == ()
