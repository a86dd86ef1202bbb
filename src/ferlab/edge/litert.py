"""A Keras model as a .tflite file of LiteRT's own operations: float32, float16, dynamic-range and full int8."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ferlab.edge.bias_correction import correct_biases
from ferlab.edge.graph import answer_only, require_tensorflow
from ferlab.edge.packages import package
from ferlab.errors import UserError
from ferlab.streams import quiet_stderr


def write_litert(
    model: Any,
    file: Path,
    precision: str,
    representative: np.ndarray | None = None,
    uint8_output: bool = False,
    corrected: bool = True,
) -> None:
    """Convert ``model`` for one image a call; uint8 pixels in, float32 probabilities out in every precision.

    ``int8`` needs ``representative`` images, uint8 (n, size_px, size_px, channels): ranges of activations are theirs,
    weights have one scale a channel, biases are corrected on them if ``corrected``. With ``uint8_output`` it gives the
    quantised probabilities, to be multiplied by the scale that stands in the file. ``dynamic`` has int8 weights and
    computes ranges of activations as it goes, ``float16`` only stores weights so.

    Raises:
        UserError: Keras runs on another backend than TensorFlow, or the network has operations that LiteRT lacks.

    """
    require_tensorflow("LiteRT")
    import keras
    import tensorflow as tf

    optimise = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    operations = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    settings_of: dict[str, dict[str, Any]] = {
        "float32": {"target_spec": operations},
        "float16": {**optimise, "target_spec": {**operations, "supported_types": [tf.float16]}},
        "dynamic": {**optimise, "target_spec": operations},
        "int8": {
            **optimise,
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "representative_dataset": lambda: _one_by_one(representative),
        },
    }
    settings = settings_of[precision]
    if uint8_output:
        settings["inference_output_type"] = tf.uint8
    one_image = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="uint8", name="image")
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            answer_only(model).export(file, format="litert", verbose=False, input_signature=[one_image], **settings)
        except Exception as error:  # ConverterError is no public name
            if lacking := lacking_operations(str(error)):
                raise _not_built_in(model.name, lacking) from error
            raise
    if lacking := foreign_operations(file):
        raise _not_built_in(model.name, lacking)
    if precision == "int8" and representative is not None and corrected:
        exact = file.with_suffix(".float32.tflite")
        write_litert(model, exact, "float32")
        correct_biases(file, exact, representative)
        exact.unlink()


def _one_by_one(images: np.ndarray | None) -> Iterator[list[np.ndarray]]:
    if images is None or not len(images):
        raise ValueError("int8 needs representative images")
    for image in images:
        yield [image[None]]


def lacking_operations(error: str) -> list[str]:
    """The operations that the converter names in an error as not built into LiteRT; none in other errors."""
    listed = [line.partition(":")[2] for line in error.splitlines() if line.startswith(("TF Select ops", "Custom ops"))]
    return sorted({name.strip() for line in listed for name in line.split(",")})


def foreign_operations(file: Path) -> list[str]:
    """Operations in a .tflite file that are not built into LiteRT: TensorFlow's (``Flex...``) and custom ones."""
    schema = package("ai_edge_litert.schema_py_generated")
    graph = schema.Model.GetRootAs(file.read_bytes())
    codes = (graph.OperatorCodes(place) for place in range(graph.OperatorCodesLength()))
    return sorted(
        (code.CustomCode() or b"unnamed").decode()
        for code in codes
        if code.BuiltinCode() == schema.BuiltinOperator.CUSTOM
    )


def _not_built_in(name: str, lacking: list[str]) -> UserError:
    return UserError(f"{name}: has operations that LiteRT has not built in: {', '.join(lacking)}. Export it as onnx.")
