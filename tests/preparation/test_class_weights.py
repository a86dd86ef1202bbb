"""Class weights against scikit-learn's, and at the edges."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ferlab.preparation.class_weights import inverse_frequency

# the published counts of FER-2013's Training rows
TRAINING = {"angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "sad": 4830, "surprise": 3171, "neutral": 4965}


def test_weights_are_scikit_learns_balanced_ones():
    labels = np.repeat(list(TRAINING), list(TRAINING.values()))
    expected = compute_class_weight("balanced", classes=np.array(list(TRAINING)), y=labels)
    weights = inverse_frequency(TRAINING)
    assert list(weights) == list(TRAINING)
    np.testing.assert_allclose(list(weights.values()), expected)


@pytest.mark.parametrize("counts", [TRAINING, {"a": 1, "b": 1000}, {"a": 5, "b": 0, "c": 3}, {"only": 9}])
def test_the_mean_weight_over_all_samples_is_one(counts):
    weights = inverse_frequency(counts)
    assert sum(weights[name] * count for name, count in counts.items()) == pytest.approx(sum(counts.values()))


def test_an_absent_class_weighs_one_and_does_not_dilute_the_others():
    weights = inverse_frequency({"a": 4, "b": 0, "c": 2})
    assert weights == {"a": pytest.approx(0.75), "b": 1.0, "c": pytest.approx(1.5)}


def test_no_samples_at_all_weigh_one_each():
    assert inverse_frequency({"a": 0, "b": 0}) == {"a": 1.0, "b": 1.0}
