"""Every backbone of the catalog, by the same rules: raw pixels in, probabilities out, loads without ferlab."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.models.blocks import base_of
from ferlab.models.build import build_model
from ferlab.models.catalog import CATALOG
from ferlab.models.ensemble import ensemble_model
from ferlab.training.precision import precision_policy

from .conftest import HEAVY, weighted_mean

LIGHT = tuple(name for name in CATALOG if name not in HEAVY)
ROWS = [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)]
VARIANTS = [
    *((name, channels) for name in LIGHT for channels in (1, 3)),
    *((name, 1) for name in HEAVY),
    *(pytest.param((name, 3), marks=pytest.mark.slow) for name in HEAVY),
]
LOAD_ELSEWHERE = """
import json, sys
import warnings
import keras, numpy as np
warnings.simplefilter("error")
for path in sys.argv[1:]:
    model = keras.saving.load_model(path + ".keras")
    np.save(path + ".there.npy", np.asarray(model(np.load(path + ".images.npy"), training=False)))
print(json.dumps([name for name in sys.modules if name.startswith("ferlab")]))
"""


def answer_of(model: Any, images: np.ndarray) -> np.ndarray:
    """Inference without tracing a graph, which would cost more than the arithmetic."""
    return np.asarray(model(images, training=False))


def in_bfloat16(array: np.ndarray) -> np.ndarray:
    """The float32 numbers that bfloat16 makes of it."""
    import keras

    return np.asarray(keras.ops.cast(keras.ops.cast(array, "bfloat16"), "float32"))


@pytest.fixture(params=VARIANTS, ids=lambda pair: f"{pair[0]}-{'gray' if pair[1] == 1 else 'rgb'}")
def variant(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param


def test_takes_raw_uint8_pixels_and_gives_probabilities(untrained: Any, pixels: Any, variant: tuple[str, int]) -> None:
    model, size = untrained(*variant), CATALOG[variant[0]].smallest_px
    assert model.inputs[0].dtype == "uint8"
    assert tuple(model.input_shape[1:]) == (size, size, variant[1])
    images = pixels(4, size, variant[1])
    images[0], images[1] = 0, 255
    answer = answer_of(model, images)
    assert answer.shape == (4, 7)
    assert answer.dtype == np.float32
    assert (answer >= 0).all()
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


def test_an_image_is_scored_alike_alone_and_in_a_batch(settled: Any, pixels: Any, variant: tuple[str, int]) -> None:
    """On logits of far different images, of a network whose answers differ: a layer that mixes a batch shows there."""
    import keras

    model, images = settled(*variant), pixels(3, CATALOG[variant[0]].smallest_px, variant[1])
    images[1] //= 4
    logits = keras.Model(model.input, model.get_layer("logits").output)
    together = answer_of(logits, images)
    spread = np.abs(together[0] - together[1]).max()
    assert spread > 1e-3
    for position in (0, 1):
        alone = answer_of(logits, images[position : position + 1])[0]
        np.testing.assert_allclose(alone, together[position], atol=max(1e-5, spread / 100))


def test_vgg16_averages_all_cells_that_a_small_face_leaves(settled: Any, make_spec: Any, pixels: Any) -> None:
    """Pooled 2x2, the upper left four of nine cells alone would count."""
    import keras

    base = base_of(build_model(make_spec("vgg16", 3, size_px=48)).model)
    base.set_weights(base_of(settled("vgg16", 3)).get_weights())
    cells = keras.Model(base.input, base.get_layer("block5_conv3").output)(pixels(4, 48, 3).astype(np.float32))
    assert cells.shape[1:] == (3, 3, 512)
    mean = np.asarray(cells).mean(axis=(1, 2))
    assert mean.std(axis=0).max() > 0
    np.testing.assert_allclose(base(pixels(4, 48, 3).astype(np.float32)), mean, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def reloaded(
    new_settled: Any, settled: Any, pixels: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Predictions (here, there) of a row: ``there`` is an isolated Python that knows Keras and not ferlab."""
    folder = tmp_path_factory.mktemp("saved")
    here: dict[str, np.ndarray] = {}

    def save_and_load(names: tuple[str, ...]) -> None:
        saved = {name: settled(name) for name in names}
        if names == LIGHT:
            members = [saved["seq1"], new_settled("seq1", seed=1), saved["vgg16"]]
            saved["ensemble"] = ensemble_model(members, weighted_mean([0.5, 0.2, 0.3]))
        for key, model in saved.items():
            images = pixels(5, *model.input_shape[2:])
            np.save(folder / f"{key}.images.npy", images)
            model.save(folder / f"{key}.keras")
            here[key] = answer_of(model, images)
        done = subprocess.run(
            [sys.executable, "-I", "-c", LOAD_ELSEWHERE, *(str(folder / key) for key in saved)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        # the editable install puts a finder of that name into every process
        assert not [name for name in json.loads(done.stdout.splitlines()[-1]) if name.split(".")[0] == "ferlab"]

    def pair(key: str) -> tuple[np.ndarray, np.ndarray]:
        if key not in here:
            save_and_load(HEAVY if key in HEAVY else LIGHT)
        return here[key], np.load(folder / f"{key}.there.npy")

    return pair


@pytest.mark.parametrize("name", [*ROWS, "ensemble"])
def test_saved_model_gives_the_same_without_ferlab(reloaded: Callable[[str], Any], name: str) -> None:
    here, there = reloaded(name)
    assert here.std(axis=0).max() > 1e-7
    np.testing.assert_allclose(there, here, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_training_lowers_the_loss_on_a_fixed_batch(tf: Any, make_spec: Any, pixels: Any, name: str) -> None:
    import keras

    keras.utils.set_random_seed(1)
    width = 0.5 if CATALOG[name].any_width else 1.0
    model = build_model(make_spec(name, dropout=0.0, width=width)).model
    images, labels = pixels(14, CATALOG[name].smallest_px), np.eye(7, dtype=np.float32)[np.arange(14) % 7]
    # without BatchNorm a rate that suits the others throws ImageNet's architectures about
    rate = 1e-4 if name in ("vgg16", "convnext_tiny") else 1e-3
    model.compile(keras.optimizers.Adam(rate), keras.losses.CategoricalCrossentropy(), run_eagerly=True)
    losses = [float(model.train_on_batch(images, labels)) for _ in range(3)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ROWS)
def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(
    untrained: Any, settled: Any, make_spec: Any, pixels: Any, name: str
) -> None:
    with precision_policy("mixed_bfloat16"):
        mixed = build_model(make_spec(name)).model
    plain = untrained(name)
    assert "bfloat16" in {layer.compute_dtype for layer in base_of(mixed).layers}
    assert {layer.compute_dtype for layer in base_of(plain).layers} == {"float32"}
    assert {str(weight.dtype) for weight in mixed.weights if "seed" not in weight.path} == {"float32"}
    mixed.set_weights(plain.get_weights())
    images = pixels(12, CATALOG[name].smallest_px)
    answer = answer_of(mixed, images)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answer, answer_of(plain, images), atol=0.05)
    # an untrained deep network makes much of its rounding: as much as of weights that are rounded alone
    images[1::2] //= 4
    weights, rounded = settled(name).get_weights(), build_model(make_spec(name)).model
    rounded.set_weights([in_bfloat16(array) if array.ndim > 1 else array for array in weights])
    mixed.set_weights(weights)
    expected, answer, near = (np.log(answer_of(model, images) + 1e-30) for model in (settled(name), mixed, rounded))
    assert np.std(answer - expected) <= 3 * np.std(near - expected) + 1e-3
    assert np.ptp(expected, axis=0).max() > 1e-3


@pytest.mark.parametrize("name", CATALOG)
def test_smaller_images_than_the_smallest_are_refused(make_spec: Any, name: str) -> None:
    size = CATALOG[name].smallest_px
    for changed in ({"size_px": size - 1}, {"working_px": size - 1}, {"size_px": 2 * size, "crop_px": size - 1}):
        with pytest.raises(UserError, match=f"{name}: needs images of at least {size} px, got {size - 1}"):
            build_model(make_spec(name, **changed))


@pytest.mark.parametrize("name", [name for name in LIGHT if CATALOG[name].any_width])
def test_width_makes_a_network_smaller(untrained: Any, make_spec: Any, name: str) -> None:
    slim = build_model(make_spec(name, width=0.5)).model
    assert slim.count_params() < 0.6 * untrained(name).count_params()


@pytest.mark.parametrize("name", [name for name, row in CATALOG.items() if not row.any_width])
def test_networks_of_one_width_refuse_another(make_spec: Any, name: str) -> None:
    with pytest.raises(UserError, match=f"backbone.width=0.5: {name} comes in one width"):
        build_model(make_spec(name, width=0.5))


@pytest.mark.parametrize("channels", [1, 3])
def test_affect_is_a_second_output_between_minus_one_and_one(
    tf: Any, make_spec: Any, pixels: Any, channels: int
) -> None:
    import keras

    model = build_model(make_spec("seq1", channels, width=0.25, affect=True)).model
    images = pixels(8, 32, channels)
    rng = np.random.default_rng(0)
    labels, affect = np.eye(7, dtype=np.float32)[np.arange(8) % 7], rng.uniform(-1, 1, (8, 2)).astype(np.float32)
    losses = {"probabilities": "categorical_crossentropy", "affect": "mean_squared_error"}
    model.compile(keras.optimizers.Adam(1e-2), losses, run_eagerly=True)
    values = [float(model.train_on_batch(images, {"probabilities": labels, "affect": affect})[0]) for _ in range(4)]
    assert values[-1] < values[0]
    answer = {name: np.asarray(value) for name, value in model(images, training=False).items()}
    assert answer["probabilities"].shape == (8, 7)
    assert answer["affect"].shape == (8, 2)
    assert np.abs(answer["affect"]).max() <= 1
    assert {value.dtype for value in answer.values()} == {np.dtype("float32")}


def test_a_model_with_affect_saves_and_loads(tf: Any, make_spec: Any, pixels: Any, tmp_path: Path) -> None:
    import keras

    model = build_model(make_spec("vgg_small", width=0.25, affect=True, size_px=24)).model
    model.save(tmp_path / "affect.keras")
    loaded = keras.saving.load_model(tmp_path / "affect.keras", compile=False)
    mine, theirs = model(pixels(3, 24), training=False), loaded(pixels(3, 24), training=False)
    assert set(theirs) == {"probabilities", "affect"}
    for name, value in mine.items():
        np.testing.assert_allclose(np.asarray(theirs[name]), np.asarray(value), atol=1e-6)
