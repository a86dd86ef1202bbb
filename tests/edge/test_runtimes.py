"""Files that are not ours, damaged, or hold code: one line each, and nothing of them runs."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.edge import packages
from ferlab.edge.description import Description
from ferlab.edge.export import Target, export_file
from ferlab.edge.files import ENDING, ENTRY, describe_file
from ferlab.edge.runtimes import open_model
from ferlab.errors import UserError

FORMATS = ("litert", "onnx", "keras")


@pytest.fixture(scope="session")
def exported(network: Any, description: Description, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    return {name: export_file(network(), description, Target(name, "float32"), folder) for name in FORMATS}


@pytest.mark.parametrize("ending", [".tflite", ".onnx", ".keras"])
@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 40])
def test_anything_else_is_refused_in_one_line(ending: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"other{ending}"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.\w+: .*(not a model that ferlab exported|cannot be opened)") as error:
        open_model(file)
    assert "\n" not in str(error.value)


def test_models_of_other_programs_are_refused(tf: Any, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "a.keras")
    model.export(tmp_path / "a.tflite", format="litert", verbose=False)
    for file in tmp_path.iterdir():
        with pytest.raises(UserError, match=r"not a model that ferlab exported.*ferlab export run=ID"):
            open_model(file)


def test_places_and_endings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown kind of model. Known: .tflite, .onnx, .keras"):
        open_model(tmp_path / "model.h5")
    with pytest.raises(UserError, match=r"gone.onnx: no such file"):
        open_model(tmp_path / "gone.onnx")


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_cut_short_is_refused(format_name: str, exported: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / exported[format_name].name
    data = exported[format_name].read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"not a model that ferlab exported|cannot be opened"):
        open_model(file)


@pytest.mark.parametrize("wrong", [{"size_px": 32}, {"colour": "rgb"}, {"classes": ("happy", "sad")}])
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_description_of_another_model_is_refused(
    format_name: str, wrong: dict[str, Any], network: Any, description: Description, tmp_path: Path
) -> None:
    file = export_file(network(), replace(description, **wrong), Target(format_name, "float32"), tmp_path)
    with pytest.raises(UserError, match=r"cannot be opened \(images and classes are 48, 48, 1, 7, described as"):
        open_model(file)


# a .keras file's second head is left out by its name
@pytest.mark.parametrize(
    ("format_name", "inputs", "outputs"),
    [(name, inputs, 1) for name in FORMATS for inputs in (["float32"], ["uint8", "uint8"])]
    + [("litert", ["uint8"], 2), ("onnx", ["uint8"], 2)],
)
def test_a_graph_with_other_ends_than_described_is_refused(
    tf: Any, format_name: str, inputs: list[str], outputs: int, description: Description, tmp_path: Path
) -> None:
    import keras

    images = [keras.Input((48, 48, 1), batch_size=1, dtype=kind) for kind in inputs]
    flat = [keras.layers.Flatten()(keras.ops.cast(image, "float32")) for image in images]
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    model = keras.Model(images, [keras.layers.Dense(7)(joined) for _ in range(outputs)])
    model([np.zeros((1, 48, 48, 1), kind) for kind in inputs])
    file = tmp_path / f"other{ENDING[format_name]}"
    if format_name == "keras":
        model.save(file)
    else:
        model.export(file, format=format_name, verbose=False)
    describe_file(file, description)
    with pytest.raises(UserError, match=rf"cannot be opened \(inputs of .* and {outputs} outputs, not one"):
        open_model(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not one of ferlab"), ("[]", "not one of ferlab"), ('{"ferlab_schema": 9}', "schema 9"),
        ('{"ferlab_schema": 1, "classes": ["a"]}', "something is missing"),
        ('{"ferlab_schema": 1, "run": "x"}', "unknown: run"), ("[" * 100_000, "not one of ferlab"),
    ],
)  # fmt: skip
def test_a_spoiled_description_is_refused(text: str, said: str, exported: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "spoiled.tflite"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(ENTRY, text)
    with pytest.raises(UserError, match=rf"spoiled.tflite: the description .*{said}"):
        open_model(file)


def test_values_of_a_description_are_checked(description: Description) -> None:
    said = description.as_json()
    assert Description.from_json(said, "f") == description
    for before, after in (('"size_px": 48', '"size_px": "48"'), ('"gray"', '"green"'), ("0.1", '"0.1"'),
                          ("0.1", "NaN"), ("0.1", "1e308"), ("0.1", "-0.7"),
                          ('"abstain_below": null', '"abstain_below": []'), ('"angry"', "1")):  # fmt: skip
        assert before in said
        with pytest.raises(UserError, match="cannot be read"):
            Description.from_json(said.replace(before, after), "f")


def test_a_keras_file_of_something_else_than_a_model_is_refused(
    exported: dict[str, Path], description: Description, tmp_path: Path
) -> None:
    config = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 7}, "registered_name": None}
    file = tmp_path / "layer.keras"
    with zipfile.ZipFile(exported["keras"]) as model, zipfile.ZipFile(file, "w") as other:
        for name in model.namelist():
            if name.startswith(("metadata", "model.weights")):
                other.writestr(name, model.read(name))
        other.writestr("config.json", json.dumps(config))
    describe_file(file, description)
    with pytest.raises(UserError, match=r"layer.keras: cannot be opened"):
        open_model(file)


def test_code_in_a_keras_file_does_not_run(tf: Any, description: Description, tmp_path: Path) -> None:
    import keras

    trace = tmp_path / "it-ran"
    place = str(trace)
    image = keras.Input((48, 48, 1), dtype="uint8")
    evil = keras.layers.Lambda(lambda x: (open(place, "w"), x)[1])(image)  # noqa: SIM115, PTH123
    flat = keras.layers.Flatten()(keras.ops.cast(evil, "float32"))
    model = keras.Model(image, keras.layers.Dense(7)(flat))
    model.save(tmp_path / "evil.keras")
    trace.unlink()
    describe_file(tmp_path / "evil.keras", description)
    with pytest.raises(UserError, match=r"evil.keras: cannot be opened"):
        open_model(tmp_path / "evil.keras")
    assert not trace.exists()


def test_threads_change_no_answer(exported: dict[str, Path], images: np.ndarray) -> None:
    for file in exported.values():
        one, two = (open_model(file, threads).probabilities(images[:8]) for threads in (1, 2))
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(UserError, match=r"no-such-package is not installed or .* pip install 'ferlab\[edge\]'"):
        packages.package("no_such_package.inside")
    with pytest.raises(UserError, match=r"no-such-package is not installed. Get it with: pip install"):
        packages.require_package("no_such_package")
