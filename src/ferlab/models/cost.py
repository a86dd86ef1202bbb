"""What a model costs: floating-point operations of one image, and bytes of its file."""

from pathlib import Path
from typing import Any

import numpy as np


def mflops(model: Any) -> float:
    """Millions of floating-point operations for one image, a multiplication and an addition counting as two.

    Counted by the backend: TensorFlow's profiler on the frozen graph, or XLA's cost analysis. They differ by what
    they count beside convolutions and matrix products, a few per cent.
    """
    import keras

    shape = (1, *model.input_shape[1:])
    if keras.backend.backend() == "jax":
        return _flops_of_jax(model, shape) / 1e6
    return _flops_of_tensorflow(model, shape) / 1e6


def size_mb(model: Any, folder: Path) -> float:
    """Size of the model as one ``.keras`` file, in 10^6 bytes; the file is written into ``folder``."""
    file = folder / "model.keras"
    model.save(file)
    return file.stat().st_size / 1e6


def _flops_of_tensorflow(model: Any, shape: tuple[int, ...]) -> float:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    call = tf.function(lambda image: model(image, training=False))
    frozen = call.get_concrete_function(tf.TensorSpec(shape, model.inputs[0].dtype))
    _, graph = convert_variables_to_constants_v2_as_graph(frozen)
    with tf.Graph().as_default() as counted:
        tf.graph_util.import_graph_def(graph, name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        found = tf.compat.v1.profiler.profile(counted, run_meta=tf.compat.v1.RunMetadata(), options=options)
    return float(found.total_float_ops)


def _flops_of_jax(model: Any, shape: tuple[int, ...]) -> float:
    import jax

    image = np.zeros(shape, model.inputs[0].dtype)
    compiled = jax.jit(lambda one: model(one, training=False)).lower(image).compile()
    return float(compiled.cost_analysis()["flops"])
