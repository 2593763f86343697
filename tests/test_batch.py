"""Many symbols in one call are each answered as one alone would be."""

import numpy as np
import pytest
from framing import made_up_frame, renamed, spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze import Abstain, Prediction, load
from squeeze.batch import BatchPredictor, load_batch
from squeeze.errors import ConfigError, StepError
from squeeze.predictor import opened
from squeeze.state import Unhealthy
from tests.test_shipped_model import SHIPPED

SYMBOLS = [f"COIN{at}USDT" for at in range(150)]
FLAGS = (Unhealthy.NONE, Unhealthy.BARS_STALE, Unhealthy.FUNDING_STALE)

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def parts(finished):
    return opened(finished.model)


def same(one, many):
    """Whether two answers agree: reasons to the letter, probabilities to 1e-6."""
    if isinstance(one, Abstain):
        assert isinstance(many, Abstain)
        assert (many.close_ns, many.reasons) == (one.close_ns, one.reasons)
        return
    assert isinstance(many, Prediction)
    assert (many.close_ns, many.degraded) == (one.close_ns, one.degraded)
    np.testing.assert_allclose(many.probabilities, one.probabilities, rtol=0, atol=1e-6)


@quick
@given(
    data=st.data(),
    size=st.integers(1, 12),
    steps=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_a_batch_is_each_symbol_alone(finished, parts, data, size, steps, seed):
    """Any of the symbols at each step, some unhealthy, some of the wrong shape, with steps left out."""
    symbols = SYMBOLS[:size]
    many, alone = BatchPredictor(*parts, symbols), {symbol: load(finished.model) for symbol in symbols}
    close = 0
    for ahead in steps:
        close += ahead
        frames = {}
        for at in data.draw(st.lists(st.integers(0, size - 1), unique=True)):
            flag = data.draw(st.sampled_from(FLAGS))
            frame = made_up_frame(finished.card, close, seed + at, unhealthy=flag)
            if data.draw(st.integers(0, 9)) == 0:
                frame = spoilt(frame, scalars=frame.scalars[:, :-1])
            frames[symbols[at]] = frame
        answers = many.step({symbol: renamed_as_is(frame, symbol) for symbol, frame in frames.items()})
        assert list(answers) == list(frames)
        for symbol, frame in frames.items():
            assert answers[symbol].symbol == symbol
            same(alone[symbol].step(frame), answers[symbol])
    for symbol in symbols:
        (one_ns, one), (many_ns, found) = alone[symbol].snapshot(), many.snapshot(symbol)
        assert (many_ns, found[0]) == (one_ns, one[0])
        np.testing.assert_allclose(*(np.frombuffer(s, np.float32, offset=1) for s in (found, one)), rtol=0, atol=2e-6)


def renamed_as_is(frame, symbol):
    """The frame of another symbol, whatever is in its arrays' place."""
    return spoilt(frame, symbol=symbol)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 33, 128, 129, 150])
def test_every_size_of_call_is_answered_whole(finished, parts, count):
    many = BatchPredictor(*parts, SYMBOLS)
    frames = {s: made_up_frame(finished.card, 5, at, s) for at, s in enumerate(SYMBOLS[:count])}
    answers = many.step(frames)
    for at in {0, count // 2, count - 1}:
        alone = load(finished.model).step(made_up_frame(finished.card, 5, at))
        same(alone, answers[SYMBOLS[at]])
    assert len(answers) == count
    assert len({a.probabilities.tobytes() for a in answers.values()}) == count


def test_answers_stay_as_they_were_and_share_no_memory_with_each_other_or_the_next(finished, parts):
    many = BatchPredictor(*parts, SYMBOLS[:9])
    first = many.step({s: made_up_frame(finished.card, 1, at, s) for at, s in enumerate(SYMBOLS[:9])})
    kept = {s: a.probabilities.copy() for s, a in first.items()}
    second = many.step({s: made_up_frame(finished.card, 2, at, s) for at, s in enumerate(SYMBOLS[:9])})
    for symbol, answer in second.items():
        answer.probabilities[...] = 0.5
        np.testing.assert_array_equal(first[symbol].probabilities, kept[symbol])


def test_one_symbols_trouble_is_not_anothers(finished, parts):
    many = BatchPredictor(*parts, SYMBOLS[:3])
    frames = {s: made_up_frame(finished.card, 1, at, s) for at, s in enumerate(SYMBOLS[:3])}
    frames[SYMBOLS[1]] = spoilt(frames[SYMBOLS[1]], channels=np.full_like(frames[SYMBOLS[1]].channels, np.nan))
    answers = many.step(frames)
    assert [type(a) for a in answers.values()] == [Prediction, Abstain, Prediction]
    assert answers[SYMBOLS[1]].reasons == ("the model's output is not finite",)
    then = many.step({s: made_up_frame(finished.card, 2, at, s) for at, s in enumerate(SYMBOLS[:3])})
    assert [type(a) for a in then.values()] == [Prediction, Abstain, Prediction]
    assert then[SYMBOLS[1]].reasons == ("skipped_step",)


def test_what_the_runtime_raises_is_an_abstention_of_those_in_the_run(finished, parts, monkeypatch):
    many = BatchPredictor(*parts, SYMBOLS[:2])
    many.step({SYMBOLS[0]: made_up_frame(finished.card, 1, 0, SYMBOLS[0])})
    before = many.snapshot(SYMBOLS[0])[1][1:]

    def fail(engine):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr("squeeze.engine.Engine.run", fail)
    answers = many.step({s: made_up_frame(finished.card, 2, 0, s) for s in SYMBOLS[:2]})
    assert {a.reasons for a in answers.values()} == {("the model failed: out of memory",)}
    assert many.snapshot(SYMBOLS[0])[1][1:] == before


def test_misuse_changes_nothing_for_anybody(finished, parts):
    many = BatchPredictor(*parts, SYMBOLS[:2])
    good = made_up_frame(finished.card, 3, 0, SYMBOLS[0])
    many.step({SYMBOLS[0]: good})
    before = [many.snapshot(s) for s in SYMBOLS[:2]]
    late, other = made_up_frame(finished.card, 3, 0, SYMBOLS[0]), made_up_frame(finished.card, 4, 0, SYMBOLS[1])
    with pytest.raises(StepError, match=f"{SYMBOLS[0]}: a frame at .* cannot follow one at"):
        many.step({SYMBOLS[1]: other, SYMBOLS[0]: late})
    with pytest.raises(StepError, match="the frame given for COIN0USDT is of COIN1USDT"):
        many.step({SYMBOLS[1]: other, SYMBOLS[0]: other})
    with pytest.raises(StepError, match="COIN9USDT is not among the 2 symbols"):
        many.step({SYMBOLS[1]: other, SYMBOLS[9]: renamed(other, SYMBOLS[9])})
    assert [many.snapshot(s) for s in SYMBOLS[:2]] == before
    for symbols in ([], ["A", "A"]):
        with pytest.raises(ConfigError, match="symbols: one or more, each named once"):
            BatchPredictor(*parts, symbols)


def test_a_snapshot_goes_from_one_alone_into_a_batch_and_back(finished, parts):
    alone, many = load(finished.model), BatchPredictor(*parts, SYMBOLS[:4])
    for close in range(1, 6):
        alone.step(made_up_frame(finished.card, close))
    many.restore(SYMBOLS[2], *alone.snapshot())
    assert many.snapshot(SYMBOLS[2]) == alone.snapshot()
    answer = many.step({SYMBOLS[2]: made_up_frame(finished.card, 6, symbol=SYMBOLS[2])})[SYMBOLS[2]]
    same(alone.step(made_up_frame(finished.card, 6)), answer)
    with pytest.raises(StepError, match="the snapshot carries 1 numbers of state, this model 12"):
        many.restore(SYMBOLS[0], 5, bytes(5))
    assert many.snapshot(SYMBOLS[0])[0] == 0


def test_a_file_whose_graph_takes_one_symbol_is_run_one_after_another():
    """The form of release 0.1, with both sides fixed."""
    many, alone = load_batch(SHIPPED, SYMBOLS[:3]), load(SHIPPED)
    for close in (1, 2):
        answers = many.step({s: made_up_frame(many.card, close, 7, s) for s in SYMBOLS[:3]})
        expected = alone.step(made_up_frame(many.card, close, 7))
        for answer in answers.values():
            assert answer.probabilities.tobytes() == expected.probabilities.tobytes()
