"""The ensemble as one model says what the combination makes of its members' answers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferlab.ensembling.combination import METHODS, Combination
from ferlab.ensembling.fitting import Plan, fit
from ferlab.models.build import ModelSpec, build_model
from ferlab.models.catalog import PROBABILITIES
from ferlab.models.ensemble import ensemble_model
from ferlab.training.precision import precision_policy

from .conftest import CLASSES, weighted_mean

SIZE_PX = 32
PLANS = [
    *(Plan(method, temperature=hot) for method in METHODS for hot in (False, True)[: 1 + (method != "stacking")]),
    Plan("weighted", True),
]
LOAD_ELSEWHERE = """
import json, sys
import keras, numpy as np
for path in sys.argv[1:]:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    np.save(path + ".npy", np.asarray(model(np.load(path + ".images.npy"), training=False)))
print(json.dumps([name for name in sys.modules if name.split(".")[0] == "ferlab"]))
"""


def member(name: str, seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    return build_model(ModelSpec(name, CLASSES, SIZE_PX, 1, None, "none", False, 0.3, 0.5)).model


def certain(sharpness: float, seed: int) -> Any:
    """A linear member; with a high ``sharpness`` most of its float32 probabilities are exactly 0."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((SIZE_PX, SIZE_PX, 1), dtype="uint8")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255, offset=-0.5)(image))
    logits = keras.layers.Dense(7, kernel_initializer=keras.initializers.RandomNormal(stddev=sharpness, seed=seed))(
        flat
    )
    return keras.Model(image, keras.layers.Softmax()(logits), name=f"linear{seed}")


def answer_of(model: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))


def answers_of(members: list[Any], images: np.ndarray) -> np.ndarray:
    return np.stack([answer_of(one, images).astype(float) for one in members])


@pytest.fixture(scope="module")
def members(tf: Any) -> list[Any]:
    """Two of one architecture and one that wants RGB."""
    return [member("seq1", 0), member("seq1", 1), member("mobilenetv2", 2)]


@pytest.fixture(scope="module")
def opposed(tf: Any) -> list[Any]:
    """Members that differ in their answers, one of which is certain of each."""
    return [certain(0.05, 0), certain(0.2, 1), certain(50.0, 2)]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, SIZE_PX, SIZE_PX, 1), dtype=np.uint8)


def fitted(plan: Plan, members: list[Any], images: np.ndarray) -> Combination:
    labels = np.arange(len(images)) % 7
    return fit(plan, list("abcdefg")[: len(members)], CLASSES, answers_of(members, images), labels)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.name}{' T' * plan.temperature}")
def test_every_method_is_the_combination_of_the_members_answers(
    opposed: list[Any], images: np.ndarray, plan: Plan
) -> None:
    combination = fitted(plan, opposed, images)
    alone = answers_of(opposed, images)
    assert (alone == 0).any(), "zeros are where a logarithm goes wrong"
    expected = combination.apply(alone)
    answer = answer_of(ensemble_model(opposed, combination), images)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("weights", [(0.2, 0.5, 0.3), (1.0, 0.0, 0.0), (1 / 3, 1 / 3, 1 / 3)], ids=str)
def test_a_weighted_mean_of_real_networks(members: list[Any], images: np.ndarray, weights: tuple[float, ...]) -> None:
    expected = np.tensordot(weights, answers_of(members, images), axes=1)
    answer = answer_of(ensemble_model(members, weighted_mean(weights)), images)
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_members_stay_as_they_were(members: list[Any], images: np.ndarray) -> None:
    before = [answer_of(member, images) for member in members]
    names = [member.name for member in members]
    together = ensemble_model(members, weighted_mean((0.2, 0.5, 0.3)))
    together.set_weights([np.zeros_like(weight) for weight in together.get_weights()])
    assert [member.name for member in members] == names
    for member, answer in zip(members, before, strict=True):
        np.testing.assert_array_equal(answer_of(member, images), answer)


def test_parameters_are_those_of_the_members_that_have_a_weight(members: list[Any]) -> None:
    everyone = ensemble_model(members, weighted_mean((0.2, 0.5, 0.3)))
    assert everyone.count_params() == sum(one.count_params() for one in members)
    two = ensemble_model(members, weighted_mean((0.2, 0.8, 0.0)))
    assert two.count_params() == sum(one.count_params() for one in members[:2])


def test_members_of_different_precision_combine_in_float32(members: list[Any], tf: Any, images: np.ndarray) -> None:
    with precision_policy("mixed_bfloat16"):
        mixed = [member("seq1", 3), members[0]]
        for method in METHODS:
            combination = fitted(Plan(method), mixed, images)
            answer = answer_of(ensemble_model(mixed, combination), images)
            assert answer.dtype == np.float32
            np.testing.assert_allclose(answer, combination.apply(answers_of(mixed, images)), atol=1e-5)


def test_a_second_head_is_left_out(members: list[Any], images: np.ndarray) -> None:
    two_headed = build_model(ModelSpec("seq1", CLASSES, SIZE_PX, 1, None, "none", False, 0.3, 0.5, affect=True)).model
    answer = answer_of(ensemble_model([two_headed, members[0]], weighted_mean((0.5, 0.5))), images)
    expected = (answer_of(members[0], images) + np.asarray(two_headed(images)[PROBABILITIES])) / 2
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_saved_ensembles_load_without_ferlab_in_safe_mode(
    opposed: list[Any], members: list[Any], images: np.ndarray, tmp_path: Path
) -> None:
    """Every method, and an ensemble among the members of another, in a Python that knows Keras only."""
    plans = [plan for plan in PLANS if plan.temperature or plan.per_class or plan.method == "stacking"]
    models = {f"{plan.name}.keras": ensemble_model(opposed, fitted(plan, opposed, images)) for plan in plans}
    inner = ensemble_model(members[:2], weighted_mean((0.4, 0.6)))
    models["outer.keras"] = ensemble_model([inner, members[0], members[1]], weighted_mean((0.5, 0.25, 0.25)))
    for name, model in models.items():
        model.save(tmp_path / name)
        np.save(tmp_path / f"{name}.images.npy", images)
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD_ELSEWHERE, *(str(tmp_path / name) for name in models)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    for name, model in models.items():
        there = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(there, answer_of(model, images), atol=1e-6, err_msg=name)


def test_the_output_has_the_name_of_probabilities(opposed: list[Any]) -> None:
    assert ensemble_model(opposed, weighted_mean((0.2, 0.5, 0.3))).output_names == [PROBABILITIES]


def test_weights_and_members_must_pair_up(members: list[Any]) -> None:
    with pytest.raises(ValueError, match="3 members and 2 weights"):
        ensemble_model(members, weighted_mean((0.5, 0.5)))
