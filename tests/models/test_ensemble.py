"""The ensemble as one model says what its members say together."""

from typing import Any

import numpy as np
import pytest

from ferlab.models.build import ModelSpec, build_model
from ferlab.models.ensemble import ensemble_model
from ferlab.training.precision import precision_policy

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIZE_PX = 32


def member(name: str, seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    return build_model(ModelSpec(name, CLASSES, SIZE_PX, 1, None, "none", False, 0.3, 0.5)).model


def answer_of(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))


@pytest.fixture(scope="module")
def members(tf: Any) -> list[Any]:
    """Two of one architecture and one that wants RGB."""
    return [member("seq1", 0), member("seq1", 1), member("mobilenetv2", 2)]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, SIZE_PX, SIZE_PX, 1), dtype=np.uint8)


@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (1.0, 0.0, 0.0), (1 / 3, 1 / 3, 1 / 3)], ids=str)
def test_ensemble_is_the_weighted_mean_of_its_members(
    members: list[Any], images: np.ndarray, weights: tuple[float, ...]
) -> None:
    expected = sum(w * answer_of(m, images).astype(float) for w, m in zip(weights, members, strict=True))
    answer = answer_of(ensemble_model(members, weights), images)
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


def test_members_stay_as_they_were(members: list[Any], images: np.ndarray) -> None:
    before = [answer_of(member, images) for member in members]
    names = [member.name for member in members]
    together = ensemble_model(members, (0.2, 0.5, 0.3))
    together.set_weights([np.zeros_like(weight) for weight in together.get_weights()])
    assert [member.name for member in members] == names
    for member, answer in zip(members, before, strict=True):
        np.testing.assert_array_equal(answer_of(member, images), answer)


def test_parameters_are_those_of_all_members(members: list[Any]) -> None:
    assert ensemble_model(members, (0.2, 0.5, 0.3)).count_params() == sum(m.count_params() for m in members)


def test_members_trained_in_bfloat16_combine(tf: Any, images: np.ndarray) -> None:
    with precision_policy("mixed_bfloat16"):
        mixed = [member("seq1", 3), member("seq2", 4)]
    expected = sum(0.5 * answer_of(m, images) for m in mixed)
    answer = answer_of(ensemble_model(mixed, (0.5, 0.5)), images)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_an_ensemble_of_ensembles_saves_and_loads(members: list[Any], images: np.ndarray, tmp_path: Any) -> None:
    import keras

    inner = ensemble_model(members[:2], (0.4, 0.6))
    outer = ensemble_model([inner, members[0], members[1]], (0.5, 0.25, 0.25))
    outer.save(tmp_path / "outer.keras")
    loaded = keras.saving.load_model(tmp_path / "outer.keras", compile=False)
    np.testing.assert_allclose(answer_of(loaded, images), answer_of(outer, images), atol=1e-6)


def test_weights_and_members_must_pair_up(members: list[Any]) -> None:
    with pytest.raises(ValueError, match="argument 2"):
        ensemble_model(members, (0.5, 0.5))
