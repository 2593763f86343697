"""One sealed ONNX file from a trained step, written once it was shown to compute what torch computes."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch

from squeeze.engine import INPUTS, OUTPUTS, open_session
from squeeze.errors import SqueezeError
from squeeze.files import whole
from squeeze.model_check import check_graph
from squeeze.model_file import CARD_KEY, SEAL_BLANK, SEAL_KEY, ModelCard, seal
from training.networks.encoder import Standardise
from training.networks.network import StepModel
from training.serving import ServedStep

PROBABILITY_TOLERANCE = 1e-6
STATE_TOLERANCE = 3e-6
"""ONNX Runtime is off by up to 2.5e-6 in 10,000 steps of the shipped model (its sigmoid and tanh), torch by 0.8e-6."""


ROWS = {0: 2 * torch.export.Dim("pairs")}
"""The first axis of each input is as long as the caller likes: two rows, long and short, for every symbol."""


def export(model: StepModel, card: ModelCard, path: Path, parity_steps: int = 10_000) -> tuple[float, float]:
    """Write a model file; the largest differences of probabilities and of state between torch and ONNX Runtime over so
    many random steps.

    `SqueezeError`, and nothing is written, where they are not within tolerance.
    """
    file = to_onnx(model, card)
    p, state = parity(model, file, card, parity_steps)
    if p > PROBABILITY_TOLERANCE or state > STATE_TOLERANCE:
        raise SqueezeError(f"the exported graph differs from torch by {p:.1e} in p and {state:.1e} in state")
    write(file, path)
    return p, state


def to_onnx(model: StepModel, card: ModelCard) -> bytes:
    """The step as a sealed model file's bytes; it is exported in the shape of `ServedStep`."""
    bins = card.spec.frame.price_bins
    example = (  # of two symbols: a size of one would be taken for a constant
        torch.zeros(4, len(card.channel_names), bins),
        torch.zeros(4, len(card.scalar_names)),
        torch.zeros(4, card.hidden),
    )
    proto = traced(ServedStep(model, bins), example, INPUTS, OUTPUTS, (ROWS,) * len(INPUTS))
    for key, text in ((CARD_KEY, msgspec.json.encode(card, order="sorted").decode()), (SEAL_KEY, SEAL_BLANK)):
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text
    onnx.checker.check_model(proto)
    file = seal(proto.SerializeToString())
    check_graph(file, "exported model")
    return file


def traced(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: Any = None,
) -> onnx.ModelProto:
    """A module as an ONNX graph with nothing in it of the machine that made it."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports that torchvision is not there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            module.eval(),
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic_shapes,
            custom_translation_table={
                torch.ops.aten.softplus.default: _softplus,
                torch.ops.aten.threshold.default: _threshold,
            },
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    _strip(proto)
    return proto


def _softplus(logits: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """ONNX's own, which needs no threshold; the exporter's three operations take 3 µs more."""
    from onnxscript import opset20

    return opset20.Softplus(logits)


def _threshold(values: Any, threshold: float, value: float) -> Any:
    """What is not above a threshold, and NaN, becomes 0: torch's own, but for NaN, which that lets pass."""
    from onnxscript import opset20

    if value != 0:
        raise SqueezeError(f"only a threshold under which all is 0 can be exported, got {value}")
    return opset20.ThresholdedRelu(values, alpha=float(threshold))


def _strip(proto: onnx.ModelProto) -> None:
    """Drop what the exporter notes about source files: a model file holds no path of the machine that made it."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        part.ClearField("metadata_props")


def write(model: bytes, path: Path) -> None:
    """Put a model file in place whole or not at all."""
    with whole(path) as part:
        part.write_bytes(model)


def parity(model: StepModel, file: bytes, card: ModelCard, steps: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Largest difference of probabilities and of state between torch and ONNX Runtime over random frames and random
    states.

    Frames span more than the market does: shares of open interest over ten orders of magnitude, scalars and the other
    channels within ±5 of their own standard deviations, one in ten of them NaN; states over the whole range that the
    temporal core can reach. Of a number of the state beyond ±1, as some cores carry, it is the difference as a share.
    """
    rng = np.random.default_rng(seed)
    session = open_session(file, "exported model")
    worst_probability = worst_state = 0.0
    for _ in range(steps):
        inputs = random_inputs(model, card, rng)
        found = session.run(OUTPUTS, inputs)
        with torch.no_grad():
            expected = model(*(torch.from_numpy(inputs[name]) for name in INPUTS))
        worst_probability = max(worst_probability, float(np.abs(found[0] - expected[0].numpy()).max()))
        after = expected[1].numpy()
        worst_state = max(worst_state, float((np.abs(found[1] - after) / np.maximum(1.0, np.abs(after))).max()))
    return worst_probability, worst_state


def random_inputs(model: StepModel, card: ModelCard, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One frame and a state, as `parity` says."""
    network, bins = model.network, card.spec.frame.price_bins
    units = len(card.spec.map.leverages)
    channels = 10 ** rng.uniform(-10, 0, (2, units, bins))
    if network.encoder.extra is not None:
        others = scattered(network.encoder.extra, (2, bins, len(card.channel_names) - units), rng)
        channels = np.concatenate([channels, others.transpose(0, 2, 1)], axis=1)
    inputs = {
        "channels": channels,
        "scalars": scattered(network.scalars, (2, len(card.scalar_names)), rng),
        "state": network.core.random_state(rng, 2),
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}


def scattered(scale: Standardise, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values around the mean of the last axis, one in ten of them NaN."""
    values = scale.mean.numpy() + scale.deviation.numpy() * rng.uniform(-5, 5, shape)
    values[rng.random(shape) < 0.1] = np.nan
    return values
