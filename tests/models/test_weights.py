"""What a base starts from: files that fit are loaded whole, others refused in one line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.errors import UserError
from ferlab.models.blocks import base_of, every_layer
from ferlab.models.build import build_model

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"
REAL = {
    "mobilenetv2": SHARED / "mobilenet_v2_1.0_224_imagenet_notop.weights.h5",
    "vgg16": SHARED / "vgg16_imagenet_notop.weights.h5",
}
needs_real_weights = pytest.mark.skipif(
    not all(path.is_file() for path in REAL.values()), reason="no ImageNet weights beside the checkout"
)


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


def test_weights_file_of_keras_applications_is_loaded(
    weights_file: tuple[Path, list[np.ndarray]], make_spec: Callable[..., Any]
) -> None:
    path, expected = weights_file
    built = build_model(make_spec("mobilenetv2", weights=str(path)))
    assert built.pretrained
    assert built.warning == ""
    for mine, theirs in zip(base_of(built.model).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("pretrained", [False, True])
def test_moving_averages_follow_within_an_epoch(
    weights_file: tuple[Path, list[np.ndarray]], make_spec: Callable[..., Any], pretrained: bool
) -> None:
    built = build_model(make_spec("mobilenetv2", weights=str(weights_file[0]) if pretrained else "none"))
    assert built.pretrained == pretrained
    momenta = {layer.momentum for layer in every_layer(base_of(built.model)) if hasattr(layer, "momentum")}
    assert momenta == {0.9}


@pytest.mark.filterwarnings("ignore:Skipping")
@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "absent", "another network"])
def test_weights_that_do_not_fit_are_refused(
    weights_file: tuple[Path, list[np.ndarray]], make_spec: Callable[..., Any], tmp_path: Path, damage: str
) -> None:
    whole = weights_file[0].read_bytes()
    content = {"truncated": whole[:5000], "text": b"not an HDF5 file", "empty": b"", "another network": whole}
    path = tmp_path / "given.weights.h5"
    if damage in content:
        path.write_bytes(content[damage])
    with pytest.raises(UserError, match=r"given\.weights\.h5: does not fit seq1") as refusal:
        build_model(make_spec("seq1", weights=str(path)))
    assert "\n" not in str(refusal.value)


def test_a_file_of_a_deeper_network_is_refused(tf: Any, make_spec: Callable[..., Any], tmp_path: Path) -> None:
    import keras

    base = base_of(build_model(make_spec("seq1")).model)
    deeper = keras.Sequential([*base.layers, keras.layers.Dense(3)])
    deeper.build((None, 32, 32, 1))
    base.save_weights(tmp_path / "same.weights.h5")
    deeper.save_weights(tmp_path / "deeper.weights.h5")
    assert build_model(make_spec("seq1", weights=str(tmp_path / "same.weights.h5"))).pretrained
    with pytest.raises(UserError, match=r"does not fit seq1 \(\+2 arrays\)"):
        build_model(make_spec("seq1", weights=str(tmp_path / "deeper.weights.h5")))


@pytest.mark.filterwarnings("ignore:Skipping")
def test_weights_of_another_width_are_refused(
    weights_file: tuple[Path, list[np.ndarray]], make_spec: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=r"backbone\.weights"):
        build_model(make_spec("mobilenetv2", weights=str(weights_file[0]), width=0.5))


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("efficientnetv2_b0", 1.0, "efficientnetv2-b0_notop.weights.h5"),
        ("mobilenetv3_large", 1.0, "weights_mobilenet_v3_large_224_1.0_float.weights.h5"),
        ("mobilenetv2", 1.0, "mobilenet_v2_1.0_224.weights.h5"),
        ("mobilenetv2", 0.35, "mobilenet_v2_0.35_224.weights.h5"),
        ("mobilenetv2", 0.5, "mobilenet_v2_0.5.weights.h5"),
        ("mobilenetv2", 0.75, "mobilenetv2.weights.h5"),
        ("resnet50v2", 1.0, "resnet50v2.weights.h5"),
        ("resnet50", 1.0, "ResNet50_mine.weights.h5"),
        ("vgg16", 1.0, None),
    ],
)
def test_a_folder_gives_the_file_named_after_network_and_width(
    make_spec: Callable[..., Any], tmp_path: Path, name: str, width: float, expected: str | None
) -> None:
    """The files are empty, so the message of the refusal says which one was taken."""
    for file in ("efficientnetv2-b0_notop", "weights_mobilenet_v3_large_224_1.0_float", "mobilenet_v2_0.35_224",
                 "mobilenet_v2_0.5", "mobilenet_v2_1.0_224", "mobilenetv2", "resnet50v2", "ResNet50_mine",
                 "notes"):  # fmt: skip
        (tmp_path / f"{file}.weights.h5").touch()
    spec = make_spec(name, width=width, weights=str(tmp_path))
    if expected is None:
        assert "none of the files" in build_model(spec).warning
        return
    with pytest.raises(UserError, match=rf"/{re.escape(expected)}: does not fit {name}"):
        build_model(spec)


@needs_real_weights
@pytest.mark.parametrize("name", REAL)
def test_imagenet_file_tells_images_apart(tf: Any, make_spec: Callable[..., Any], pixels: Any, name: str) -> None:
    """Untrained features of flat and striped images are nearly alike; ImageNet's are not."""
    built = build_model(make_spec(name, 3, weights=str(REAL[name]), size_px=64, dropout=0.0))
    assert built.pretrained
    assert all(np.isfinite(weight).all() for weight in base_of(built.model).get_weights())
    images = np.full((2, 64, 64, 3), 128, np.uint8)
    images[1, :, ::8] = 255
    import keras

    features = keras.Model(built.model.input, built.model.get_layer("dropout").input)
    flat, striped = np.asarray(features(images, training=False))
    assert np.corrcoef(flat, striped)[0, 1] < 0.9


@needs_real_weights
@pytest.mark.parametrize(("name", "other"), [("mobilenetv2", "vgg16"), ("vgg16", "mobilenetv2")])
def test_imagenet_file_of_another_network_is_refused(
    tf: Any, make_spec: Callable[..., Any], name: str, other: str
) -> None:
    with pytest.raises(UserError, match=f"does not fit {name}") as refusal:
        build_model(make_spec(name, weights=str(REAL[other])))
    assert "\n" not in str(refusal.value)


def test_missing_imagenet_weights_warn_or_stop(
    tf: Any, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*arguments: Any, **options: Any) -> Any:
        message = "URL fetch failure on https://storage.googleapis.com: network unreachable"
        raise OSError(message)

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", no_network)
    built = build_model(make_spec("mobilenetv2", weights="imagenet", size_px=96))
    assert not built.pretrained
    assert "from scratch" in built.warning
    with pytest.raises(UserError, match=r"backbone\.weights=imagenet"):
        build_model(make_spec("mobilenetv2", weights="imagenet", size_px=96, weights_required=True))
