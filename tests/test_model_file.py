"""A file that is not ours, not whole, or not as it was, is refused in one line."""

import json
import re

import msgspec
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze import load
from squeeze.errors import ModelFileError
from squeeze.model_file import CARD_KEY, SEAL_BLANK, SEAL_KEY, seal
from squeeze.spec import SPEC_VERSION


@pytest.fixture(scope="module")
def file(finished):
    return finished.model.read_bytes()


@pytest.fixture
def refused(tmp_path):
    def check(content, said):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelFileError) as caught:
            load(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        assert re.search(said, text), text

    return check


def resealed(file, change):
    """The file with another card or graph, under a seal that holds."""
    proto = onnx.load_from_string(file)
    change(proto)
    for entry in proto.metadata_props:
        if entry.key == SEAL_KEY:
            entry.value = SEAL_BLANK
    return seal(proto.SerializeToString())


def with_card(file, **changes):
    def change(proto):
        for entry in proto.metadata_props:
            if entry.key == CARD_KEY:
                entry.value = json.dumps(json.loads(entry.value) | changes)

    return resealed(file, change)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_altered_anywhere_is_noticed(file, refused, data):
    at = data.draw(st.integers(0, len(file) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda b: b != file[at]))
    refused(file[:at] + bytes([new]) + file[at + 1 :], "was altered|is no squeeze model")


def test_a_byte_altered_in_the_seal_or_its_key_is_noticed(file, refused):
    start = file.index(SEAL_KEY.encode())
    for at in range(start, start + len(SEAL_KEY) + 2 + 64):
        refused(file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :], "was altered|is no squeeze model")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_refused(file, refused, data):
    refused(file[: data.draw(st.integers(0, len(file) - 1))], "was altered|is no squeeze model|is cut off")


def test_bytes_at_the_end_are_noticed(file, refused):
    refused(file + b"\0", "was altered")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a" * 500, SEAL_KEY.encode()])
def test_what_is_not_ours_is_refused(refused, content):
    refused(content, "is no squeeze model")


def test_an_onnx_model_without_our_seal_is_not_ours(file, refused):
    proto = onnx.load_from_string(file)
    del proto.metadata_props[:]
    refused(proto.SerializeToString(), "is no squeeze model")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent\.onnx: cannot be read: No such file"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_another_spec_version_is_refused(finished, file, refused):
    spec = msgspec.to_builtins(finished.card.spec) | {"version": SPEC_VERSION + 1}
    refused(with_card(file, spec=spec), f"spec version {SPEC_VERSION}, not {SPEC_VERSION + 1}")


def test_a_card_with_an_unknown_key_is_refused(file, refused):
    refused(with_card(file, colour="red"), "does not fit this release.*colour")


def test_a_card_that_does_not_fit_the_graph_is_refused(finished, file, refused):
    refused(with_card(file, hidden=7), "its graph takes and gives .* its card says")
    refused(with_card(file, scalar_names=["one"]), "its graph takes and gives")
    refused(with_card(file, channel_names=["unit_5x"]), "its graph takes and gives")
    swapped = [*finished.card.channel_names[1::-1], *finished.card.channel_names[2:]]
    refused(with_card(file, channel_names=swapped), "channel 0 is unit_10x there and unit_5x here")


def test_a_sealed_file_without_a_card_or_a_graph_is_refused(file, refused):
    def drop_card(proto):
        kept = [entry for entry in proto.metadata_props if entry.key != CARD_KEY]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)

    refused(resealed(file, drop_card), "its card cannot be read|does not fit")
    refused(resealed(file, lambda proto: proto.ClearField("graph")), "expected one graph, found 0")
