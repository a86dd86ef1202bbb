"""A Keras model as an .onnx file of ONNX's own operations."""

import logging
import warnings
from pathlib import Path
from typing import Any

from ferlab.edge.graph import answer_only, require_tensorflow
from ferlab.edge.packages import package
from ferlab.errors import UserError
from ferlab.models.catalog import PROBABILITIES
from ferlab.streams import quiet_stderr

OPSET = 17
STANDARD = ("", "ai.onnx")
IMAGE = "image"


def write_onnx(model: Any, file: Path) -> None:
    """Convert ``model`` for any number of images a call; uint8 pixels in, float32 probabilities out.

    Raises:
        UserError: onnx or tf2onnx is not installed, Keras runs on another backend than TensorFlow, or the network has
            operations that ONNX lacks.

    """
    onnx, tf2onnx = package("onnx"), package("tf2onnx")
    require_tensorflow("ONNX")
    import tensorflow as tf

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    network, images = answer_only(model), [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name=IMAGE)]
    # Keras's own way to ONNX traces some networks as in training, with batch statistics instead of averages
    function = tf.function(lambda image: {PROBABILITIES: network(image, training=False)}, input_signature=images)
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, _ = tf2onnx.convert.from_function(function, images, opset=OPSET)
        _keep_constants(found, function.get_concrete_function(*images))
    if foreign := sorted({node.op_type for node in found.graph.node if not _is_built_in(node)}):
        message = f"{model.name}: has operations that ONNX has not built in: {', '.join(foreign)}. Export it as litert."
        raise UserError(message)
    for end in (*found.graph.input, *found.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(found)
    onnx.save(found, str(file))


def _is_built_in(node: Any) -> bool:
    return node.domain in STANDARD and package("onnx").defs.has(node.op_type)


def _keep_constants(found: Any, function: Any) -> None:
    """Put the tensors that a trace has captured, such as the means of a Normalization layer, into the graph.

    tf2onnx takes them for further inputs.
    """
    import tensorflow as tf

    numpy_helper = package("onnx").numpy_helper
    captured = {inside.name: outside for outside, inside in function.graph.captures if outside.dtype != tf.resource}
    for end in [end for end in found.graph.input if end.name in captured]:
        found.graph.initializer.append(numpy_helper.from_array(captured[end.name].numpy(), end.name))
        found.graph.input.remove(end)
