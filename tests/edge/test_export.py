"""A file in every format answers as the network does, image by image or many at once, and says itself what it is."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.edge.description import Description
from ferlab.edge.export import Target, export_file
from ferlab.edge.litert import foreign_operations
from ferlab.edge.runtimes import KerasRuntime, open_model
from ferlab.errors import UserError
from ferlab.models.catalog import CATALOG

EXACT = [Target("litert", "float32"), Target("onnx", "float32"), Target("keras", "float32")]
ROUNDED = {"float16": 0.001, "dynamic": 0.02, "int8": 0.03}
"""How far probabilities may be off in the mean; float16 keeps 11 bits, the others 8."""


def answers(network: Any, description: Description, images: np.ndarray) -> np.ndarray:
    return KerasRuntime(network, description).probabilities(images)


@pytest.mark.parametrize("target", EXACT, ids=lambda target: target.label)
@pytest.mark.parametrize(
    ("backbone", "working_px"), [("seq1", None), ("seq1", 64), pytest.param("mobilenetv2", 96, marks=pytest.mark.slow)]
)
def test_float32_is_the_network(
    target: Target, backbone: str, working_px: int | None, network: Any, description: Description,
    images: np.ndarray, tmp_path: Path,
) -> None:  # fmt: skip
    model = network(backbone, working_px=working_px)
    opened = open_model(export_file(model, description, target, tmp_path))
    expected = answers(model, description, images)
    assert len(set(expected.argmax(axis=1))) > 1
    np.testing.assert_allclose(opened.probabilities(images), expected, atol=2e-5)
    assert opened.description == description


@pytest.mark.parametrize("precision", ROUNDED)
def test_rounded_networks_are_near_and_smaller(
    precision: str, network: Any, description: Description, images: np.ndarray, tmp_path: Path
) -> None:
    model = network("seq1", working_px=32)
    plain = export_file(model, description, EXACT[0], tmp_path)
    file = export_file(model, description, Target("litert", precision), tmp_path, images[:40])
    opened, expected = open_model(file), answers(model, description, images)
    assert np.abs(opened.probabilities(images) - expected).mean() < ROUNDED[precision]
    assert file.stat().st_size < {"float16": 0.6, "dynamic": 0.45, "int8": 0.45}[precision] * plain.stat().st_size
    assert opened.description == replace(description, precision=precision)


def test_int8_has_a_scale_for_every_channel(
    network: Any, description: Description, images: np.ndarray, tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    file = export_file(network(), description, Target("litert", "int8"), tmp_path, images[:10])
    interpreter = Interpreter(str(file))
    kernels = [one for one in interpreter.get_tensor_details() if len(one["shape"]) == 4 and one["shape"][0] > 1]
    assert kernels
    for kernel in kernels:
        assert kernel["dtype"] == np.int8
        assert len(kernel["quantization_parameters"]["scales"]) == kernel["shape"][0]


def test_uint8_goes_in_and_out(network: Any, description: Description, images: np.ndarray, tmp_path: Path) -> None:
    model = network()
    file = export_file(model, description, Target("litert", "int8", True), tmp_path, images[:40])
    assert file.name == "tiny-int8-uint8.tflite"
    found = open_model(file).probabilities(images)
    assert np.abs(found - answers(model, description, images)).mean() < ROUNDED["int8"]
    steps = found * 256
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)


@pytest.mark.parametrize("target", EXACT, ids=lambda target: target.label)
def test_an_answer_does_not_depend_on_the_others(
    target: Target, network: Any, description: Description, images: np.ndarray, tmp_path: Path
) -> None:
    opened = open_model(export_file(network(), description, target, tmp_path))
    together = opened.probabilities(images)
    assert together.shape == (70, 7)
    alone = np.concatenate([opened.probabilities(image[None]) for image in images[:5]])
    np.testing.assert_allclose(together[:5], alone, atol=2e-5)
    np.testing.assert_allclose(opened.probabilities(images[::-1])[::-1], together, atol=2e-5)
    assert opened.probabilities(images[:0]).shape == (0, 7)
    with pytest.raises(ValueError, match=r"must be uint8 \(n, 48, 48, 1\), got float32"):
        opened.probabilities(images.astype(np.float32))


@pytest.mark.parametrize("format_name", ["litert", "onnx"])
def test_a_second_head_is_left_out(
    format_name: str, network: Any, description: Description, images: np.ndarray, tmp_path: Path
) -> None:
    model = network(affect=True)
    opened = open_model(export_file(model, description, Target(format_name, "float32"), tmp_path))
    expected = model.predict(images, verbose=0)["probabilities"]
    np.testing.assert_allclose(opened.probabilities(images), expected, atol=2e-5)


def test_what_litert_has_not_built_in_is_refused(tf: Any, description: Description, tmp_path: Path) -> None:
    import keras

    image = keras.Input((48, 48, 1), dtype="uint8")
    flat = keras.ops.cast(keras.layers.Flatten()(image), "float32")
    best = keras.ops.argmax(flat, axis=-1)  # it looks at the bits of numbers
    model = keras.Model(image, keras.ops.one_hot(best, 7, dtype="float32"), name="odd")
    with pytest.raises(UserError, match=r"odd: has operations that LiteRT has not built in: BitwiseAnd.*as onnx"):
        export_file(model, description, EXACT[0], tmp_path)
    flex = tmp_path / "flex.tflite"
    model.export(flex, format="litert", verbose=False)  # Keras lets TensorFlow's operations in
    assert foreign_operations(flex) == ["FlexBitwiseAnd"]


def test_the_classes_can_be_read_with_unzip(network: Any, description: Description, tmp_path: Path) -> None:
    file = export_file(network(), description, EXACT[0], tmp_path)
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().split() == list(description.classes)


LACKING = {("onnx", "convnext_tiny"): "Erfc"}
"""Operations of a network that a format has not built in."""


@pytest.mark.slow
@pytest.mark.parametrize("backbone", CATALOG)
@pytest.mark.parametrize("target", EXACT[:2], ids=lambda target: target.label)
def test_every_backbone_is_exported_exactly_or_refused(
    target: Target, backbone: str, network: Any, description: Description, images: np.ndarray, tmp_path: Path
) -> None:
    row = CATALOG[backbone]
    model = network(backbone, working_px=row.default_px, width=0.35 if row.any_width else 1.0)
    if lacking := LACKING.get((target.format, backbone)):
        with pytest.raises(UserError, match=f"{lacking}.*Export it as litert"):
            export_file(model, description, target, tmp_path)
        return
    opened = open_model(export_file(model, description, target, tmp_path))
    expected = answers(model, description, images[:4])
    np.testing.assert_allclose(opened.probabilities(images[:4]), expected, atol=1e-4)
