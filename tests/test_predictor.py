"""Frames in, a number or reasons out."""

import dataclasses

import numpy as np
import pytest

from squeeze import Abstain, Prediction, load
from squeeze.errors import StepError
from squeeze.market.lake import read_events
from squeeze.market.steps import steps
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
    assert predictor.snapshot()[1] == before


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
        predictor.restore(5, np.zeros(3, np.float32).tobytes())
    assert predictor.snapshot() == before


def test_what_it_answered_stays_as_it_was(predictor, frames):
    first, second = healthy(frames, 2)
    answer = predictor.step(first)
    kept = answer.probabilities.copy()
    predictor.step(second)
    np.testing.assert_array_equal(answer.probabilities, kept)
