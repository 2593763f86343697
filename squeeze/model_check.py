"""A model file looked through before ONNX Runtime sees any of it: only operations, fields and sizes that our own
exports have, and nothing that reads another file.

An ONNX file is a protobuf message. It is read here by its wire format [1]_, field by field against a table of what may
be there [2]_, so that the live path needs no `onnx` package and nothing unknown passes by being overlooked.

.. [1] https://protobuf.dev/programming-guides/encoding/
.. [2] https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from squeeze.errors import ModelFileError

OPERATORS = frozenset(
    {
        "Abs", "Add", "And", "Clip", "Concat", "Conv", "CumSum", "Div", "Elu", "Exp", "Gather", "Gemm", "Greater",
        "IsInf", "IsNaN", "LayerNormalization", "LeakyRelu", "LessOrEqual", "Log", "MatMul", "MaxPool", "Mul", "Neg",
        "Not", "ReduceSum", "Reshape", "Sigmoid", "Slice", "Softplus", "Split", "Sub", "Tanh", "ThresholdedRelu",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
"""What our exports are made of, those of release 0.1 included. None holds a graph of its own, so none loops."""
OPSETS = range(18, 25)
MOST_BYTES = 20_000_000
MOST_NODES = 5_000
MOST_NUMBERS = 4_000_000
"""In all tensors together; ours hold a tenth of a million."""
MOST_RANK = 8

_VARINT, _BYTES, _FOUR = 0, 2, 5
_MODEL = {
    "ir_version": (1, _VARINT), "producer_name": (2, _BYTES), "producer_version": (3, _BYTES), "domain": (4, _BYTES),
    "model_version": (5, _VARINT), "doc_string": (6, _BYTES), "graph": (7, _BYTES), "opset_import": (8, _BYTES),
    "metadata_props": (14, _BYTES),
}  # fmt: skip
_OPSET = {"domain": (1, _BYTES), "version": (2, _VARINT)}
_ENTRY = {"key": (1, _BYTES), "value": (2, _BYTES)}
_GRAPH = {
    "node": (1, _BYTES), "name": (2, _BYTES), "initializer": (5, _BYTES), "doc_string": (10, _BYTES),
    "input": (11, _BYTES), "output": (12, _BYTES), "value_info": (13, _BYTES),
}  # fmt: skip
_NODE = {
    "input": (1, _BYTES), "output": (2, _BYTES), "name": (3, _BYTES), "op_type": (4, _BYTES), "attribute": (5, _BYTES),
    "doc_string": (6, _BYTES), "domain": (7, _BYTES),
}  # fmt: skip
_ATTRIBUTE = {
    "name": (1, _BYTES), "f": (2, _FOUR), "i": (3, _VARINT), "s": (4, _BYTES), "floats": (7, _BYTES),
    "ints": (8, _VARINT), "type": (20, _VARINT),
}  # fmt: skip
_TENSOR = {
    "dims": (1, _VARINT), "data_type": (2, _VARINT), "name": (8, _BYTES), "raw_data": (9, _BYTES),
    "doc_string": (12, _BYTES),
}  # fmt: skip
_REPEATED = {("attribute", "ints"), ("tensor", "dims")}
"""Numbers that may come packed into one piece."""
_ITEM_BYTES = {1: 4, 7: 8, 9: 1}
"""float32, int64 and bool, as ONNX numbers them."""


class Graph(NamedTuple):
    """What was found in a file that passed."""

    metadata: dict[str, str]
    operators: frozenset[str]
    nodes: int
    numbers: int
    """In all tensors."""


class _Malformed(Exception):
    """What is wrong with the bytes; it never leaves this module."""


def check_graph(model: bytes, place: str) -> Graph:
    """What a model file holds; `ModelFileError`, which names `place`, for bytes that are no ONNX model of our kind.

    Allowed are `OPERATORS` of the standard domain, tensors of float32, int64 and bool kept in the file itself, and
    sizes up to `MOST_BYTES`, `MOST_NODES` and `MOST_NUMBERS`. Refused are graphs inside of graphs, functions, custom
    domains, external data, and every field that our exports do not write.
    """
    if len(model) > MOST_BYTES:
        raise ModelFileError(f"{place}: is {len(model):,} bytes long, a model has at most {MOST_BYTES:,}")
    try:
        return _model(memoryview(model))
    except (_Malformed, UnicodeDecodeError) as error:
        raise ModelFileError(f"{place}: is refused before it is loaded: {error}") from None


def _model(data: memoryview) -> Graph:
    graphs: list[memoryview] = []
    metadata: dict[str, str] = {}
    opsets: list[tuple[str, int]] = []
    for name, value in _fields(data, "model", _MODEL):
        if name == "graph":
            graphs.append(_part(value))
        elif name == "metadata_props":
            entry = dict(_fields(_part(value), "metadata", _ENTRY))
            metadata[_text(entry.get("key", b""))] = _text(entry.get("value", b""))
        elif name == "opset_import":
            opset = dict(_fields(_part(value), "opset_import", _OPSET))
            opsets.append((_text(opset.get("domain", b"")), _number(opset.get("version", 0))))
    if len(opsets) != 1 or opsets[0][0] not in ("", "ai.onnx") or opsets[0][1] not in OPSETS:
        raise _Malformed(f"operators come from {opsets}, expected the standard domain from {OPSETS[0]} to {OPSETS[-1]}")
    if len(graphs) != 1:
        raise _Malformed(f"expected one graph, found {len(graphs)}")
    operators, nodes, numbers = _graph(graphs[0])
    return Graph(metadata, operators, nodes, numbers)


def _graph(data: memoryview) -> tuple[frozenset[str], int, int]:
    found: list[str] = []
    numbers = 0
    for name, value in _fields(data, "graph", _GRAPH):
        if name == "node":
            found.append(_operator(_part(value)))
        elif name == "initializer":
            numbers += _tensor(_part(value))
        if len(found) > MOST_NODES:
            raise _Malformed(f"its graph has more than {MOST_NODES:,} operations")
        if numbers > MOST_NUMBERS:
            raise _Malformed(f"its tensors hold more than {MOST_NUMBERS:,} numbers")
    if not found:
        raise _Malformed("its graph is empty")
    return frozenset(found), len(found), numbers


def _operator(data: memoryview) -> str:
    operator = domain = ""
    for name, value in _fields(data, "node", _NODE):
        if name == "op_type":
            operator = _text(value)
        elif name == "domain":
            domain = _text(value)
        elif name == "attribute":
            for _ in _fields(_part(value), "attribute", _ATTRIBUTE):
                pass
    if domain not in ("", "ai.onnx") or operator not in OPERATORS:
        raise _Malformed(f"operator {f'{domain}.' if domain else ''}{operator or '(none)'} is in no model of ours")
    return operator


def _tensor(data: memoryview) -> int:
    """How many numbers it holds."""
    dims: list[int] = []
    kind, held, name = 0, -1, ""
    for field, value in _fields(data, "tensor", _TENSOR):
        if field == "dims":
            dims += [_number(value)] if isinstance(value, int) else list(_varints(value))
        elif field == "data_type":
            kind = _number(value)
        elif field == "raw_data":
            held = len(_part(value))
        elif field == "name":
            name = _text(value)
    if kind not in _ITEM_BYTES:
        raise _Malformed(f"tensor {name} is of type {kind}, expected one of {sorted(_ITEM_BYTES)}")
    if len(dims) > MOST_RANK or any(not 0 <= size <= MOST_NUMBERS for size in dims):
        raise _Malformed(f"tensor {name} has the shape {dims[: MOST_RANK + 1]}")
    if held != math.prod(dims) * _ITEM_BYTES[kind]:
        raise _Malformed(f"tensor {name} of shape {dims} holds {max(held, 0)} bytes")
    return math.prod(dims)


def _fields(
    data: memoryview, message: str, known: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, int | memoryview]]:
    """Name and value of each field of a message, in the file's order; what is not in `known` is refused."""
    names = {number: (name, wire) for name, (number, wire) in known.items()}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number not in names:
            raise _Malformed(f"{message}: field {number} is in no model of ours")
        name, expected = names[number]
        if wire == _BYTES and (expected == _BYTES or (message, name) in _REPEATED):
            size, at = _varint(data, at)
            if size > len(data) - at:
                raise _Malformed(f"{message}: {name} is cut off")
            yield name, data[at : at + size]
            at += size
        elif wire == expected == _VARINT:
            value, at = _varint(data, at)
            yield name, value
        elif wire == _FOUR and (expected == _FOUR or (message, name) == ("attribute", "floats")):
            if len(data) - at < 4:
                raise _Malformed(f"{message}: {name} is cut off")
            yield name, data[at : at + 4]
            at += 4
        else:
            raise _Malformed(f"{message}: {name} is encoded otherwise than ONNX says")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, seven to a byte, the lowest first; and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Malformed("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed("a number has more than 64 bits")


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _part(value: int | memoryview) -> memoryview:
    assert not isinstance(value, int)  # noqa: S101  `_fields` has looked
    return value


def _number(value: int | memoryview) -> int:
    assert isinstance(value, int)  # noqa: S101
    return value


def _text(value: int | memoryview | bytes) -> str:
    assert not isinstance(value, int)  # noqa: S101
    return bytes(value).decode()
