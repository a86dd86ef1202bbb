"""Exported models as one kind of thing: uint8 images in, probabilities out, whatever runs the file."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ferlab.edge.description import Description
from ferlab.edge.files import ENDING, KEY, archived_description, undescribed
from ferlab.edge.packages import package
from ferlab.errors import UserError, first_line
from ferlab.models.blocks import uses_xla
from ferlab.models.catalog import PROBABILITIES
from ferlab.streams import load_backend, quiet_stderr

BATCH = 64
"""Images a step where a runtime takes several at once."""


class Runtime(Protocol):
    """An opened model. Not to be called from two threads at once."""

    @property
    def description(self) -> Description:
        """What it says of itself."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Float32 (n, classes) for uint8 images (n, size_px, size_px, channels); ValueError for any others."""


def open_model(file: Path, threads: int = 1) -> Runtime:
    """Open a .tflite (LiteRT with XNNPACK), .onnx (ONNX Runtime) or .keras file that ``ferlab export`` wrote.

    ``threads`` is how many cores one answer may use. A .keras file is read in Keras's safe mode: code in it is refused,
    not run; TensorFlow's threads are those of the process once it has computed anything.

    Raises:
        UserError: not such a file, damaged, or the package that runs it is not installed.

    """
    if file.suffix not in ENDING.values():
        message = f"{file}: unknown kind of model. Known: {', '.join(ENDING.values())}."
        raise UserError(message)
    if not file.is_file():
        message = f"{file}: no such file."
        raise UserError(message)
    openers: dict[str, Callable[[Path, int], Runtime]] = {
        ".tflite": LiteRTRuntime,
        ".onnx": OnnxRuntime,
        ".keras": open_keras,
    }
    return openers[file.suffix](file, threads)


class LiteRTRuntime:
    """A .tflite file, one image after another: its graph has a batch of one, which is what XNNPACK plans for."""

    def __init__(self, file: Path, threads: int) -> None:
        self.description = archived_description(file)
        litert = package("ai_edge_litert.interpreter")
        try:
            with quiet_stderr():
                self._interpreter = litert.Interpreter(model_path=str(file), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise _damaged(file, error) from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        _require_ends(file, [np.dtype(one["dtype"]).name for one in inputs], len(outputs))
        self._input, self._output = inputs[0], outputs[0]
        _require_shapes(file, self.description, self._input["shape"][1:], self._output["shape"][-1])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """See ``Runtime``."""
        _require_images(images, self.description)
        found = np.empty((len(images), len(self.description.classes)), np.float32)
        for row, image in enumerate(images):
            self._interpreter.set_tensor(self._input["index"], image[None])
            self._interpreter.invoke()
            found[row] = self._interpreter.get_tensor(self._output["index"])[0]
        scale, zero = self._output["quantization"]
        return found if self._output["dtype"] == np.float32 else (found - zero) * np.float32(scale)


class OnnxRuntime:
    """An .onnx file on the processor."""

    def __init__(self, file: Path, threads: int) -> None:
        onnxruntime = package("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise _damaged(file, error) from error
        said = self._session.get_modelmeta().custom_metadata_map
        if KEY not in said:
            raise undescribed(file)
        self.description = Description.from_json(said[KEY], str(file))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _require_ends(file, [re.sub(r"tensor\((\w+)\)", r"\1", one.type) for one in inputs], len(outputs))
        image, answer = inputs[0], outputs[0]
        self._image, self._answer = image.name, answer.name
        _require_shapes(file, self.description, image.shape[1:], answer.shape[-1])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """See ``Runtime``."""
        _require_images(images, self.description)
        return _in_batches(lambda batch: self._session.run([self._answer], {self._image: batch})[0], images, self)


class KerasRuntime:
    """A Keras model in memory, called as one compiled function."""

    def __init__(self, model: Any, description: Description) -> None:
        self.description = description
        self._call = _compiled(model)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """See ``Runtime``."""
        _require_images(images, self.description)
        return _in_batches(self._call, images, self)


def open_keras(file: Path, threads: int) -> KerasRuntime:
    """Open a .keras file in safe mode; UserError when it is not one of ours, or holds code."""
    description = archived_description(file)
    backend = load_backend()
    import keras

    if backend == "tensorflow":
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # this process has computed before
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # in a stranger's file anything may be wrong
        raise _damaged(file, error) from error
    if not isinstance(model, keras.Model):
        raise _damaged(file, TypeError(f"a {type(model).__name__}, not a model"))
    _require_ends(file, [one.dtype for one in model.inputs], 1)
    shapes = dict(zip(model.output_names, (output.shape for output in model.outputs), strict=True))
    _require_shapes(file, description, model.input_shape[1:], shapes.get(PROBABILITIES, model.outputs[0].shape)[-1])
    return KerasRuntime(model, description)


def _compiled(model: Any) -> Callable[[np.ndarray], Any]:
    """Images to probabilities: a function of TensorFlow, else Keras's compiled one."""
    import keras

    def of_classes(answer: Any) -> Any:
        return answer[PROBABILITIES] if isinstance(answer, dict) else answer

    if keras.config.backend() != "tensorflow":
        model.jit_compile = uses_xla()
        return lambda batch: of_classes(model.predict_on_batch(batch))
    import tensorflow as tf

    shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    return tf.function(lambda batch: of_classes(model(batch, training=False)), input_signature=[shape])


def _in_batches(call: Callable[[np.ndarray], Any], images: np.ndarray, runtime: Runtime) -> np.ndarray:
    found = np.empty((len(images), len(runtime.description.classes)), np.float32)
    for start in range(0, len(images), BATCH):
        found[start : start + BATCH] = call(images[start : start + BATCH])
    return found


def _require_images(images: np.ndarray, description: Description) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != description.image_shape:
        message = f"images must be uint8 (n, {', '.join(map(str, description.image_shape))}), got {images.dtype} "
        raise ValueError(message + str(images.shape))


def _require_ends(file: Path, inputs: list[str], outputs: int) -> None:
    """The graph has one input, of uint8, and one output."""
    if inputs != ["uint8"] or outputs != 1:
        message = f"inputs of {', '.join(inputs) or 'nothing'} and {outputs} outputs, not one of uint8 and one"
        raise _damaged(file, ValueError(message))


def _require_shapes(file: Path, description: Description, image: Any, classes: Any) -> None:
    """The graph takes and gives what the description says."""
    described = (*description.image_shape, len(description.classes))
    given, expected = (", ".join(map(str, sizes)) for sizes in ((*image, classes), described))
    if given != expected:
        raise _damaged(file, ValueError(f"images and classes are {given}, described as {expected}"))


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: cannot be opened ({first_line(error)}). Export the run again: ferlab export.")
