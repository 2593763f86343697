"""A step in bound buffers is a plain run, bit for bit."""

import numpy as np
import onnxruntime
import pytest
from framing import made_up_frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from squeeze import load
from squeeze.batch import load_batch
from squeeze.engine import INPUTS, OUTPUTS, Engine, open_session
from squeeze.errors import ConfigError, ModelFileError


@pytest.fixture(scope="module")
def session(finished):
    return open_session(finished.model.read_bytes(), "small")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), symbols=st.integers(1, 5), kept=st.lists(st.booleans(), min_size=1, max_size=9))
def test_bound_buffers_give_what_a_plain_run_gives_and_carry_the_state_that_was_kept(
    finished, session, seed, symbols, kept
):
    card, rows = finished.card, 2 * symbols
    engine, rng = Engine(session, card, rows), np.random.default_rng(seed)
    state = rng.uniform(-1, 1, (rows, card.hidden)).astype(np.float32)
    engine.state[...] = state
    for close, keep in enumerate(kept):
        frames = [made_up_frame(card, close, seed + at) for at in range(symbols)]
        engine.channels[...] = np.concatenate([f.channels for f in frames])
        engine.scalars[...] = np.concatenate([f.scalars for f in frames])
        inputs = dict(zip(INPUTS, (engine.channels, engine.scalars, state), strict=True))
        expected = session.run(OUTPUTS, inputs)
        made = engine.run()
        assert made.probabilities.tobytes() == expected[0].tobytes()
        assert made.next_state.tobytes() == expected[1].tobytes()
        assert made.finite()
        if keep:
            engine.go_on()
            state = expected[1]
        assert engine.state.tobytes() == state.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_noticed_wherever_it_is(finished, session, value):
    made = Engine(session, finished.card).run()
    for at in range(made.whole.size):
        kept, made.whole[at] = made.whole[at], value
        assert not made.finite()
        made.whole[at] = kept
    assert made.finite()


def test_a_provider_that_is_not_installed_is_an_error_that_lists_those_that_are(finished):
    for loading in (load, lambda path, **options: load_batch(path, ["A"], **options)):
        with pytest.raises(ConfigError, match="ROCMExecutionProvider not installed; this ONNX Runtime has") as caught:
            loading(finished.model, providers=("ROCMExecutionProvider", "CPUExecutionProvider"))
        assert all(name in str(caught.value) for name in onnxruntime.get_available_providers())
    with pytest.raises(ConfigError, match="providers: none named"):
        load(finished.model, providers=())
    with pytest.raises(ConfigError, match="threads: at least 1, got 0"):
        load(finished.model, threads=0)


def test_a_provider_that_does_not_start_is_an_error_and_not_the_cpu_in_silence(finished, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda session: ["OtherProvider"])
    with pytest.raises(ConfigError, match="CPUExecutionProvider did not start; this session has OtherProvider"):
        load(finished.model)


def test_a_graph_that_is_refused_says_so_on_neither_stream(capfd):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 4]) for name in "xy")
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1], auto_pad="NONSENSE")
    graph = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 20)])
    for model in (b"\x08\x0a", graph.SerializeToString()):
        with pytest.raises(ModelFileError, match="here: ONNX Runtime refuses it: "):
            open_session(model, "here")
    assert capfd.readouterr() == ("", "")


def test_threads_and_spinning_change_no_number(finished):
    frames = [made_up_frame(finished.card, close) for close in range(1, 20)]
    plain, other = load(finished.model), load(finished.model, threads=2, spinning=True)
    for frame in frames:
        assert other.step(frame).probabilities.tobytes() == plain.step(frame).probabilities.tobytes()
    options = [p.session.get_session_options() for p in (plain, other)]
    assert [o.intra_op_num_threads for o in options] == [1, 2]
    assert [o.get_session_config_entry("session.intra_op.allow_spinning") for o in options] == ["0", "1"]
