"""Losses against their formulas, number by number."""

from typing import Any

import numpy as np
import pytest

from ferlab.config.nodes import Recipe
from ferlab.training.losses import finite_share, loss_of

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.25, 0.5]], np.float32)
LOGITS = np.log(PROBABILITIES) + np.array([[2.0], [-1.0], [0.0]], np.float32)
PLAIN = Recipe("plain")
SHARES = np.array([[0.6, 0.4, 0], [0, 0, 1], [0.1, 0.2, 0.7]])

pytestmark = pytest.mark.usefixtures("tf")


def measured(targets: str, wanted: Any, recipe: Recipe = PLAIN, weights: Any = None) -> dict[str, float]:
    """The mean loss over a batch of LOGITS, as ``fit`` computes it, and the share of finite answers."""
    import keras

    image = keras.Input((3,))
    model = keras.Model(image, keras.layers.Identity()(image))
    model.compile(loss=loss_of(targets, recipe), metrics=[finite_share], jit_compile=False)
    return model.test_on_batch(LOGITS, np.asarray(wanted, np.float32), sample_weight=weights, return_dict=True)


def value(targets: str, wanted: Any, recipe: Recipe = PLAIN, weights: Any = None) -> float:
    return float(measured(targets, wanted, recipe, weights)["loss"])


def test_multi_target_is_minus_the_log_of_the_most_probable_valid_answer() -> None:
    valid = [[1, 1, 0], [1, 1, 0], [1, 0, 0]]
    # 0.7 of 0.7 and 0.2; 0.3 of 0.1 and 0.3; 0.25
    assert value("multi_target", valid) == pytest.approx(-np.log([0.7, 0.3, 0.25]).mean(), rel=1e-5)


def test_multi_target_with_one_valid_answer_is_the_cross_entropy() -> None:
    one_hot = np.eye(3)[[0, 2, 1]]
    assert value("multi_target", one_hot) == pytest.approx(value("majority", one_hot), rel=1e-5)


def test_multi_target_takes_no_label_smoothing() -> None:
    valid = [[1, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert value("multi_target", valid, Recipe("smooth", label_smoothing=0.3)) == value("multi_target", valid)


@pytest.mark.parametrize("targets", ["multi_target", "majority"])
@pytest.mark.parametrize("recipe", [PLAIN, Recipe("focal", loss="focal")], ids=["plain", "focal"])
def test_a_badly_wrong_answer_still_teaches(tf: Any, targets: str, recipe: Recipe) -> None:
    """Its probability rounds to 0; clipped before the logarithm, it would have no gradient."""
    logits = tf.Variable([[40.0, 0.0, -5.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loss_of(targets, recipe)(tf.constant([[0.0, 1.0, 0.0]]), logits))
    assert float(loss) == pytest.approx(40, rel=1e-4)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[1, -1, 0]], atol=1e-4)


@pytest.mark.parametrize("targets", ["majority", "probability", "cross_entropy"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_others_are_the_cross_entropy_with_smoothed_targets(targets: str, label_smoothing: float) -> None:
    smooth = (1 - label_smoothing) * SHARES + label_smoothing / 3
    expected = -(smooth * np.log(PROBABILITIES)).sum(axis=1).mean()
    recipe = Recipe("smooth", label_smoothing=label_smoothing)
    assert value(targets, SHARES, recipe) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_focal_loss_is_its_formula(gamma: float, label_smoothing: float) -> None:
    """Lin et al. 2017: -(1 - p)^gamma log p of every class, times its target."""
    smooth = (1 - label_smoothing) * SHARES + label_smoothing / 3
    expected = -(smooth * (1 - PROBABILITIES) ** gamma * np.log(PROBABILITIES)).sum(axis=1).mean()
    recipe = Recipe("focal", loss="focal", focal_gamma=gamma, label_smoothing=label_smoothing)
    assert value("majority", SHARES, recipe) == pytest.approx(expected, rel=1e-5)


def test_the_focal_loss_without_focus_is_the_cross_entropy_and_with_it_spares_the_sure() -> None:
    sure, unsure = np.eye(3)[[0, 2, 2]], np.eye(3)[[1, 1, 0]]
    flat, focused = Recipe("flat", loss="focal", focal_gamma=0.0), Recipe("focal", loss="focal", focal_gamma=2.0)
    assert value("majority", sure, flat) == pytest.approx(value("majority", sure), rel=1e-5)
    kept = [value("majority", wanted, focused) / value("majority", wanted) for wanted in (sure, unsure)]
    assert kept[0] < 0.3 < 0.5 < kept[1] < 1


@pytest.mark.parametrize(
    ("targets", "recipe", "terms"),
    [
        ("multi_target", PLAIN, -np.log([0.7, 0.3, 0.25])),
        ("majority", PLAIN, -np.log([0.7, 0.3, 0.25])),
        ("majority", Recipe("focal", loss="focal"), -np.log([0.7, 0.3, 0.25]) * np.square([0.3, 0.7, 0.75])),
    ],
    ids=["multi_target", "cross_entropy", "focal"],
)
def test_sample_weights_scale_the_loss_of_each_sample(targets: str, recipe: Recipe, terms: np.ndarray) -> None:
    weights = np.float32([0.5, 2.0, 1.0])
    wanted = [[1, 1, 0], [1, 1, 0], [1, 0, 0]] if targets == "multi_target" else np.eye(3)[[0, 1, 0]]
    assert value(targets, wanted, recipe, weights) == pytest.approx((weights * terms).mean(), rel=1e-5)


@pytest.mark.parametrize(("bad", "share"), [((), 1.0), ((1,), 2 / 3), ((0, 2), 1 / 3), ((0, 1, 2), 0.0)])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_the_share_of_answers_that_are_numbers(bad: tuple[int, ...], share: float, number: float) -> None:
    answers = PROBABILITIES.copy()
    for row in bad:
        answers[row, 1] = number
    assert np.asarray(finite_share(np.eye(3), answers)).mean() == pytest.approx(share)


def test_the_share_counts_samples_whatever_they_weigh() -> None:
    assert finite_share.__name__ == "finite"
    assert measured("majority", np.eye(3), weights=np.float32([0.5, 2.0, 0.0]))["finite"] == 1
