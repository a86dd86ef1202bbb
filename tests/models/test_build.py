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
from ferlab.models.build import ModelSpec, base_of, build_model, set_trainable
from ferlab.models.catalog import CATALOG, PREPROCESSINGS, backbone
from ferlab.models.ensemble import ensemble_model
from ferlab.training.precision import precision_policy

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VARIANTS = [(name, channels) for name in CATALOG for channels in (1, 3)]
LOAD_ELSEWHERE = """
import json, sys
import keras, numpy as np
for path in sys.argv[1:]:
    model = keras.saving.load_model(path + ".keras", compile=False)
    np.save(path + ".there.npy", np.asarray(model(np.load(path + ".images.npy"), training=False)))
print(json.dumps([name for name in sys.modules if name.startswith("ferlab")]))
"""


def spec(name: str, channels: int = 1, **changed: Any) -> ModelSpec:
    size = CATALOG[name].smallest_px
    standard = {
        "backbone": name,
        "classes": CLASSES,
        "size_px": size,
        "channels": channels,
        "working_px": None,
        "weights": "none",
        "weights_required": False,
        "dropout": 0.3,
        "width": 1.0,
    }
    return ModelSpec(**(standard | changed))


def pixels(count: int, size_px: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size_px, size_px, channels), dtype=np.uint8)


def answer_of(model: Any, images: np.ndarray) -> np.ndarray:
    """Inference without tracing a graph, which would cost more than the arithmetic."""
    return np.asarray(model(images, training=False))


@pytest.fixture(scope="module")
def models(tf: Any) -> dict[tuple[str, int], Any]:
    """Every row of the catalog at its smallest size, gray and RGB, untrained."""
    import keras

    keras.utils.set_random_seed(0)
    return {(name, channels): build_model(spec(name, channels)).model for name, channels in VARIANTS}


@pytest.fixture(scope="module")
def reloaded(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Predictions (here, there): ``there`` is an isolated Python that knows Keras and not ferlab."""
    folder = tmp_path_factory.mktemp("saved")
    saved = {name: build_model(spec(name)).model for name in CATALOG}
    for model in saved.values():
        for _ in range(30):  # before its moving averages have settled, a deep network answers every image alike
            model(pixels(16, *model.input_shape[2:]), training=True)
    members = [saved["seq1"], build_model(spec("seq1")).model, saved["seq2"]]
    saved["ensemble"] = ensemble_model(members, [0.5, 0.2, 0.3])
    here = {}
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
    return lambda key: (here[key], np.load(folder / f"{key}.there.npy"))


@pytest.fixture(params=VARIANTS, ids=lambda pair: f"{pair[0]}-{'gray' if pair[1] == 1 else 'rgb'}")
def variant(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param


def test_takes_raw_uint8_pixels_and_gives_probabilities(models: dict[tuple[str, int], Any], variant) -> None:
    model, size = models[variant], CATALOG[variant[0]].smallest_px
    assert model.inputs[0].dtype == "uint8"
    assert tuple(model.input_shape[1:]) == (size, size, variant[1])
    answer = answer_of(model, pixels(6, size, variant[1]))
    assert answer.shape == (6, len(CLASSES))
    assert answer.dtype == np.float32
    assert (answer >= 0).all()
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_images_give_finite_probabilities(models: dict[tuple[str, int], Any], variant, value: int) -> None:
    size = CATALOG[variant[0]].smallest_px
    flat = np.full((2, size, size, variant[1]), value, np.uint8)
    assert np.isfinite(answer_of(models[variant], flat)).all()


def test_an_image_is_scored_alike_alone_and_in_a_batch(models: dict[tuple[str, int], Any], variant) -> None:
    model, images = models[variant], pixels(6, CATALOG[variant[0]].smallest_px, variant[1])
    together = answer_of(model, images)
    for position in (0, 3, 5):
        alone = answer_of(model, images[position : position + 1])[0]
        np.testing.assert_allclose(alone, together[position], atol=1e-5)


def test_images_make_a_difference(models: dict[tuple[str, int], Any], variant) -> None:
    size = CATALOG[variant[0]].smallest_px
    dark, bright = (np.full((1, size, size, variant[1]), value, np.uint8) for value in (0, 255))
    model = models[variant]
    inner = type(model)(model.input, model.get_layer("normalise").output)
    scale, offset = PREPROCESSINGS[CATALOG[variant[0]].preprocessing]
    np.testing.assert_allclose(answer_of(inner, dark), offset, atol=1e-6)
    np.testing.assert_allclose(answer_of(inner, bright), 255 * scale + offset, atol=1e-6)


@pytest.mark.parametrize("name", [*CATALOG, "ensemble"])
def test_saved_model_gives_the_same_without_ferlab(reloaded: Callable[[str], Any], name: str) -> None:
    here, there = reloaded(name)
    assert here.std(axis=0).max() > 1e-7
    np.testing.assert_allclose(there, here, atol=1e-6)


@pytest.mark.parametrize("name", CATALOG)
def test_training_lowers_the_loss_on_a_fixed_batch(tf: Any, name: str) -> None:
    import keras

    keras.utils.set_random_seed(1)
    model = build_model(spec(name, dropout=0.0, width=0.5)).model
    images, labels = pixels(14, CATALOG[name].smallest_px, 1), np.eye(7, dtype=np.float32)[np.arange(14) % 7]
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(), run_eagerly=True)
    losses = [float(model.train_on_batch(images, labels)) for _ in range(3)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", CATALOG)
def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(tf: Any, name: str) -> None:
    with precision_policy("mixed_bfloat16"):
        mixed = build_model(spec(name)).model
    plain = build_model(spec(name)).model
    computed = {layer.compute_dtype for layer in base_of(mixed).layers}
    assert "bfloat16" in computed
    assert {layer.compute_dtype for layer in base_of(plain).layers} == {"float32"}
    assert {str(weight.dtype) for weight in mixed.weights if "seed" not in weight.path} == {"float32"}
    images = pixels(4, CATALOG[name].smallest_px, 1)
    answer = answer_of(mixed, images)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    plain.set_weights(mixed.get_weights())
    np.testing.assert_allclose(answer, answer_of(plain, images), atol=0.05)


@pytest.mark.parametrize("name", CATALOG)
def test_working_size_enlarges_inside_the_model(tf: Any, name: str) -> None:
    model = build_model(spec(name, size_px=20, working_px=CATALOG[name].smallest_px)).model
    assert tuple(model.input_shape[1:]) == (20, 20, 1)
    assert answer_of(model, pixels(2, 20, 1)).shape == (2, 7)


@pytest.mark.parametrize("name", CATALOG)
def test_width_makes_a_network_smaller(models: dict[tuple[str, int], Any], name: str) -> None:
    slim = build_model(spec(name, width=0.5)).model
    assert slim.count_params() < 0.6 * models[name, 1].count_params()


def weights_by_layer(model: Any) -> dict[str, list[np.ndarray]]:
    layers = [*base_of(model).layers, model.get_layer("logits")]
    return {layer.name: [np.array(weight) for weight in layer.get_weights()] for layer in layers}


def changed_layers(before: dict[str, list[np.ndarray]], after: dict[str, list[np.ndarray]]) -> set[str]:
    return {
        name
        for name, weights in before.items()
        if any((a != b).any() for a, b in zip(weights, after[name], strict=True))
    }


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_training_step_changes_the_upper_share_of_layers_only(tf: Any, share: float) -> None:
    import keras

    model = build_model(spec("mobilenetv2", 3, width=0.35)).model
    set_trainable(model, share)
    trainable = count_trainable(model)
    layers = [layer.name for layer in base_of(model).layers]
    model.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy", run_eagerly=True)
    before = weights_by_layer(model)
    model.train_on_batch(pixels(8, 32, 3), np.eye(7, dtype=np.float32)[np.arange(8) % 7])
    changed = changed_layers(before, weights_by_layer(model))
    frozen = set(layers[: round(len(layers) * (1 - share))])
    assert "logits" in changed
    assert not changed & frozen
    if share:
        upper = {name for name in layers if name not in frozen and before[name]}
        assert len(changed & upper) > 0.9 * len(upper)
    assert trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def count_trainable(model: Any) -> int:
    return sum(int(weight.numpy().size) for weight in model.trainable_weights)


def test_shares_can_follow_each_other(tf: Any) -> None:
    model = build_model(spec("mobilenetv2", 3)).model
    counts = []
    for share in (1.0, 0.0, 0.5, 1.0):
        set_trainable(model, share)
        counts.append(count_trainable(model))
    everything, head, half, again = counts
    assert head == 1280 * 7 + 7
    assert head < half < everything
    assert again == everything


@pytest.fixture(scope="module")
def weights_file(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A weights file as Keras's own MobileNetV2 writes it, and what is in it."""
    import keras

    source = keras.applications.MobileNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3), alpha=1.0
    )
    rng = np.random.default_rng(3)
    source.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in source.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "mobile.weights.h5"
    source.save_weights(path)
    return path, source.get_weights()


def test_weights_file_of_keras_applications_is_loaded(weights_file: tuple[Path, list[np.ndarray]]) -> None:
    path, expected = weights_file
    built = build_model(spec("mobilenetv2", weights=str(path)))
    assert built.pretrained
    assert built.warning == ""
    for mine, theirs in zip(base_of(built.model).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_no_weights_means_not_pretrained(tf: Any) -> None:
    assert not build_model(spec("mobilenetv2", weights="none")).pretrained


@pytest.mark.filterwarnings("ignore:Skipping")
@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "absent", "another network"])
def test_weights_that_do_not_fit_are_refused(
    weights_file: tuple[Path, list[np.ndarray]], tmp_path: Path, damage: str
) -> None:
    whole = weights_file[0].read_bytes()
    content = {"truncated": whole[:5000], "text": b"not an HDF5 file", "empty": b"", "another network": whole}
    path = tmp_path / "given.weights.h5"
    if damage in content:
        path.write_bytes(content[damage])
    with pytest.raises(UserError, match=r"given\.weights\.h5: does not fit seq1") as refusal:
        build_model(spec("seq1", weights=str(path)))
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore:Skipping")
def test_weights_of_another_width_are_refused(weights_file: tuple[Path, list[np.ndarray]]) -> None:
    with pytest.raises(UserError, match=r"backbone\.weights"):
        build_model(spec("mobilenetv2", weights=str(weights_file[0]), width=0.5))


def test_missing_imagenet_weights_warn_or_stop(tf: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(*arguments: Any, **options: Any) -> Any:
        message = "URL fetch failure on https://storage.googleapis.com: network unreachable"
        raise OSError(message)

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", no_network)
    built = build_model(spec("mobilenetv2", weights="imagenet", size_px=96))
    assert not built.pretrained
    assert "from scratch" in built.warning
    with pytest.raises(UserError, match=r"backbone\.weights=imagenet"):
        build_model(spec("mobilenetv2", weights="imagenet", size_px=96, weights_required=True))


def test_unknown_backbone_lists_the_known() -> None:
    with pytest.raises(UserError, match="seq1, seq2, mobilenetv2"):
        backbone("resnet99")


def test_every_row_has_a_config_and_a_recipe_of_that_name() -> None:
    from ferlab.config.files import options

    assert set(options("backbone")) == set(CATALOG)
    assert {row.default_recipe for row in CATALOG.values()} <= set(options("recipe"))
