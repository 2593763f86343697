"""What may be in a model file, and that nothing else gets past."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from test_cores import MAP, SPECS, card_for

from squeeze import model_check
from squeeze.errors import ModelFileError
from squeeze.model_check import OPERATORS, check_graph
from tests.test_shipped_model import SHIPPED
from training.config import NetworkSpec
from training.export import to_onnx
from training.networks.network import Head, SqueezeNetwork, StepModel

quick = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def exported(spec, extra, positions=(0, 3)):
    network = SqueezeNetwork(spec, MAP, 16, 5, 8, channels=len(MAP.leverages) + extra)
    model = StepModel(network, Head(8, list(positions), 2, 5.0)).eval()
    return to_onnx(model, card_for(network.state_width, 5, len(MAP.leverages) + extra))


@pytest.fixture(scope="module")
def file():
    torch.manual_seed(0)
    return exported(NetworkSpec(encoded=7, hidden=11, static=(12, 8), trunk=8), 2)


def changed(file, change):
    proto = onnx.load_from_string(file)
    change(proto)
    return proto.SerializeToString()


def refused(file, change, said):
    with pytest.raises(ModelFileError, match=said) as caught:
        check_graph(changed(file, change), "m.onnx")
    assert str(caught.value).startswith("m.onnx: ")
    assert "\n" not in str(caught.value)


def said_of(reading):
    """The message of a refusal, None where there was none; anything else that is raised passes through."""
    try:
        reading()
    except ModelFileError as error:
        return str(error)
    return None


def test_the_list_of_operators_is_that_of_our_own_exports(file):
    earlier = {"And", "CumSum", "Div", "Greater", "IsInf", "IsNaN", "Neg", "Not", "ReduceSum"}  # release 0.1's graphs
    found = set(check_graph(file, "m").operators) | check_graph(SHIPPED.read_bytes(), "shipped").operators
    window = NetworkSpec(core="window", encoded=7, hidden=11, window=12)
    conv = NetworkSpec(encoder="conv", encoded=7, hidden=11)
    for spec, extra, positions in ((conv, 0, ()), (SPECS["tcn"], 3, (1,)), (window, 0, (0,))):
        found |= check_graph(exported(spec, extra, positions), "m").operators
    assert found | earlier == set(OPERATORS)
    assert not found & earlier


def test_what_is_found_is_what_onnx_finds(file):
    proto, graph = onnx.load_from_string(file), check_graph(file, "m")
    assert graph.operators == {node.op_type for node in proto.graph.node}
    assert graph.nodes == len(proto.graph.node)
    assert graph.numbers == sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer)
    assert graph.metadata == {entry.key: entry.value for entry in proto.metadata_props}


def test_an_operator_that_is_in_no_export_of_ours_is_refused(file):
    for name in ("Loop", "If", "Scan", "RandomNormal", "Einsum", ""):
        refused(file, lambda p, n=name: setattr(p.graph.node[3], "op_type", n), "operator .* is in no model of ours")
    refused(file, lambda p: setattr(p.graph.node[3], "domain", "com.microsoft"), "operator com.microsoft.")


def test_a_graph_inside_of_a_graph_is_refused(file):
    def nest(proto):
        proto.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "b", [], [])))

    refused(file, nest, "attribute: field 6 is in no model of ours")


def test_functions_and_other_domains_are_refused(file):
    function = helper.make_function("ours", "F", [], [], [], [helper.make_opsetid("", 20)])
    refused(file, lambda p: p.functions.append(function), "model: field 25 is in no model of ours")
    refused(file, lambda p: p.opset_import.append(helper.make_opsetid("ours", 1)), "operators come from")
    refused(file, lambda p: p.opset_import[0].__setattr__("version", 5), r"operators come from \[\('', 5\)\]")
    refused(file, lambda p: p.ClearField("opset_import"), "operators come from")


def test_data_outside_of_the_file_are_refused(file):
    def outside(proto):
        tensor = proto.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")

    refused(file, outside, "tensor: field 1[34] is in no model of ours")


def test_tensors_are_what_they_say(file):
    first = helper.make_tensor("t", TensorProto.STRING, [1], [b"x"])
    refused(file, lambda p: p.graph.initializer.append(first), "tensor: field 6 is in no model of ours")
    refused(file, lambda p: setattr(p.graph.initializer[0], "data_type", TensorProto.DOUBLE), "is of type 11")
    refused(file, lambda p: p.graph.initializer[0].dims.append(2), "of shape .* holds .* bytes")
    refused(file, lambda p: p.graph.initializer[0].dims.append(2**40), "has the shape")
    refused(file, lambda p: p.graph.initializer[0].dims.append(-1), "has the shape")
    refused(file, lambda p: p.graph.initializer[0].dims.extend([1] * 9), "has the shape")


def test_sizes_have_their_limits(file, monkeypatch):
    graph = check_graph(file, "m")
    for name, most, said in (
        ("MOST_BYTES", len(file), "bytes long"),
        ("MOST_NODES", graph.nodes, "operations"),
        ("MOST_NUMBERS", graph.numbers, "numbers|has the shape"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(model_check, name, most)
            assert check_graph(file, "m") == graph
            patched.setattr(model_check, name, most - 1)
            with pytest.raises(ModelFileError, match=said):
                check_graph(file, "m")


@quick
@given(data=st.data())
def test_flipped_bytes_are_refused_or_read_but_nothing_else_happens(file, data):
    spoilt = bytearray(file)
    for _ in range(data.draw(st.integers(1, 8))):
        spoilt[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    said = said_of(lambda: check_graph(bytes(spoilt), "m"))
    assert said is None or said.startswith("m: is refused before it is loaded: ")


@quick
@given(data=st.data())
def test_a_model_cut_off_is_refused(file, data):
    """But for a cut between two entries of the metadata, which the seal is there to notice."""
    part = file[: data.draw(st.integers(0, len(file) - 1))]
    try:
        graph = check_graph(part, "m")
    except ModelFileError:
        return
    assert graph.operators == check_graph(file, "m").operators


@quick
@given(noise=st.binary(max_size=300))
def test_noise_is_refused(noise):
    with pytest.raises(ModelFileError):
        check_graph(noise, "m")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoilt_file_under_a_seal_that_holds_is_a_model_file_error_or_a_model(finished, tmp_path_factory, data):
    """Past the seal too, whatever it meets: the check, the card, or ONNX Runtime itself."""
    from squeeze import load
    from squeeze.model_file import SEAL_BLANK, SEAL_KEY, seal

    file = finished.model.read_bytes()
    begin = file.index(SEAL_KEY.encode()) + len(SEAL_KEY) + 2
    spoilt = bytearray(file[:begin] + SEAL_BLANK.encode() + file[begin + 64 :])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, begin - 40))
        spoilt[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("spoilt") / "m.onnx"
    path.write_bytes(seal(bytes(spoilt)))
    said = said_of(lambda: load(path))
    assert said is None or (said.startswith(f"{path}: ") and "\n" not in said)
