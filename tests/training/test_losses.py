"""Losses against their formulas, number by number."""

from typing import Any

import numpy as np
import pytest

from ferlab.training.losses import loss_of

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.25, 0.5]], np.float32)


def value(tf: Any, targets: str, wanted: Any, label_smoothing: float = 0.0) -> float:
    """The mean loss over a batch, as ``fit`` computes it."""
    import keras

    image = keras.Input((3,))
    model = keras.Model(image, keras.layers.Identity()(image))
    model.compile(loss=loss_of(targets, label_smoothing), jit_compile=False)
    return float(model.evaluate(PROBABILITIES, np.asarray(wanted, np.float32), verbose=0, return_dict=True)["loss"])


def test_multi_target_is_minus_the_log_of_the_most_probable_valid_answer(tf: Any) -> None:
    valid = [[1, 1, 0], [1, 1, 0], [1, 0, 0]]
    # 0.7 of 0.7 and 0.2; 0.3 of 0.1 and 0.3; 0.25
    assert value(tf, "multi_target", valid) == pytest.approx(-np.log([0.7, 0.3, 0.25]).mean(), rel=1e-5)


def test_multi_target_with_one_valid_answer_is_the_cross_entropy(tf: Any) -> None:
    one_hot = np.eye(3)[[0, 2, 1]]
    assert value(tf, "multi_target", one_hot) == pytest.approx(value(tf, "majority", one_hot), rel=1e-5)


def test_multi_target_takes_no_label_smoothing(tf: Any) -> None:
    valid = [[1, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert value(tf, "multi_target", valid, 0.3) == value(tf, "multi_target", valid)


def test_a_valid_answer_of_no_probability_is_a_large_number_and_no_infinity(tf: Any) -> None:
    loss = loss_of("multi_target", 0.0)
    found = np.asarray(loss(np.float32([[1, 0]]), np.float32([[0, 1]])))
    assert found == pytest.approx(-np.log(1e-7), rel=1e-4)


@pytest.mark.parametrize("targets", ["majority", "probability", "cross_entropy"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_others_are_the_cross_entropy_with_smoothed_targets(tf: Any, targets: str, label_smoothing: float) -> None:
    shares = np.array([[0.6, 0.4, 0], [0, 0, 1], [0.1, 0.2, 0.7]])
    smooth = (1 - label_smoothing) * shares + label_smoothing / 3
    expected = -(smooth * np.log(PROBABILITIES)).sum(axis=1).mean()
    assert value(tf, targets, shares, label_smoothing) == pytest.approx(expected, rel=1e-5)


def test_sample_weights_scale_the_loss_of_each_sample(tf: Any) -> None:
    import keras

    image = keras.Input((3,))
    model = keras.Model(image, keras.layers.Identity()(image))
    model.compile(loss=loss_of("multi_target", 0.0), jit_compile=False)
    valid, weights = np.float32([[1, 1, 0], [1, 1, 0], [1, 0, 0]]), np.float32([0.5, 2.0, 1.0])
    found = model.test_on_batch(PROBABILITIES, valid, sample_weight=weights, return_dict=True)["loss"]
    assert found == pytest.approx((weights * -np.log([0.7, 0.3, 0.25])).mean(), rel=1e-5)
