"""Rounded weights move the mean of what a layer gives; the biases of an int8 file are moved back by as much.

After Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, with
means over real images in place of assumed ones.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.edge.packages import package
from ferlab.parallel import usable_cores
from ferlab.streams import quiet_stderr

IMAGES = 64
"""Enough: a layer's mean is over all places of each."""
LEAST_ACTIVE = 0.1
"""Of a channel that is hardly ever above 0 little is known: its bias is moved by at most ten times the error."""
CEILING = 6.0
"""Of ReLU6, at which values do not follow their bias."""
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Layer:
    """An operation with a bias: ``bias`` int32 (channels,) is a view into the file's bytes, in units of ``steps``.

    ``output``: number of the int8 tensor that it gives, whose values are (q - ``zero``) * ``scale``.
    """

    name: str
    output: int
    bias: np.ndarray
    steps: np.ndarray
    scale: float
    zero: int


def correct_biases(quantised: Path, exact: Path, images: np.ndarray) -> int:
    """Correct the file ``quantised`` in place, layer after layer, so that errors before a layer are seen in it.

    ``exact`` is the same network in float32, ``images`` uint8 (n, size_px, size_px, channels), of which the first
    IMAGES are used. Layers that the two files do not name alike, and biases that several layers share, stay as they
    are. Gives the number of layers that were corrected.
    """
    content, some = bytearray(quantised.read_bytes()), images[:IMAGES]
    layers = list(_layers(content))
    means, active = _wanted(exact, [layer.name for layer in layers], some)
    corrected = [layer for layer in layers if layer.name in means]
    for layer in corrected:
        found = _channel_means(bytes(content), layer.output, some)
        error = (found - layer.zero) * layer.scale - means[layer.name]
        layer.bias[:] -= np.round(error / active[layer.name] / layer.steps).astype(np.int32)
    quantised.write_bytes(content)
    return len(corrected)


def _layers(content: bytearray) -> Iterator[Layer]:
    """The layers of an int8 file in the order in which they are computed."""
    schema = package("ai_edge_litert.schema_py_generated")
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    kinds = {getattr(schema.BuiltinOperator, kind) for kind in KINDS}
    operators = [graph.Operators(place) for place in range(graph.OperatorsLength())]
    biased = [
        one
        for one in operators
        if model.OperatorCodes(one.OpcodeIndex()).BuiltinCode() in kinds
        and one.InputsLength() > 2
        and one.Inputs(2) >= 0
    ]
    users = Counter(graph.Tensors(one.Inputs(2)).Buffer() for one in biased)
    for one in biased:
        bias, output = graph.Tensors(one.Inputs(2)), graph.Tensors(one.Outputs(0))
        if users[bias.Buffer()] == 1 and bias.Type() == schema.TensorType.INT32:
            view = model.Buffers(bias.Buffer()).DataAsNumpy().view(np.int32)
            said = output.Quantization()
            yield Layer(
                output.Name().decode(), one.Outputs(0), view, bias.Quantization().ScaleAsNumpy(), said.Scale(0),
                said.ZeroPoint(0),
            )  # fmt: skip


def _wanted(exact: Path, names: list[str], images: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of each layer by its name: the mean of every channel, and the share of its values that follow the bias."""
    interpreter = _interpreter(exact.read_bytes())
    numbers = {one["name"]: one["index"] for one in interpreter.get_tensor_details()}
    known = [name for name in dict.fromkeys(names) if name in numbers]
    sums: dict[str, Any] = dict.fromkeys(known, 0.0)
    above, full = dict(sums), dict(sums)
    ends = dict.fromkeys(known, (0.0, 0.0))
    for image in images:
        _answer(interpreter, image)
        for name in known:
            values, (low, high) = _by_channel(interpreter.get_tensor(numbers[name])), ends[name]
            sums[name] = sums[name] + values.mean(axis=0)
            above[name] = above[name] + (values > 0).mean(axis=0)
            full[name] = full[name] + (values >= CEILING).mean(axis=0)
            ends[name] = min(low, values.min()), max(high, values.max())
    follow = {}
    for name, (low, high) in ends.items():
        share = above[name] - (full[name] if high <= CEILING else 0)
        follow[name] = np.maximum(share / len(images), LEAST_ACTIVE) if low >= 0 else np.ones(1)
    return {name: total / len(images) for name, total in sums.items()}, follow


def _channel_means(content: bytes, output: int, images: np.ndarray) -> np.ndarray:
    """Mean of every channel of an int8 tensor, in its own units."""
    interpreter = _interpreter(content)
    total: Any = 0.0
    for image in images:
        _answer(interpreter, image)
        total = total + _by_channel(interpreter.get_tensor(output)).mean(axis=0)
    return np.asarray(total / len(images))


def _interpreter(content: bytes) -> Any:
    """One that keeps what every operation gives; XNNPACK would not."""
    litert = package("ai_edge_litert.interpreter")
    with quiet_stderr():
        found = litert.Interpreter(
            model_content=content,
            num_threads=usable_cores(),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        found.allocate_tensors()
    return found


def _answer(interpreter: Any, image: np.ndarray) -> None:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()


def _by_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)
