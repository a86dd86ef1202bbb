"""Class weights against scikit-learn's, against the papers' formulas and numbers worked by hand, and at the edges."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ferlab.manifest import WEIGHTINGS
from ferlab.preparation.class_weights import class_weights

# the published counts of FER-2013's Training rows
TRAINING = {"angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "sad": 4830, "surprise": 3171, "neutral": 4965}
TOTAL = 28_709


def mean_over_samples(weights: dict[str, float], counts: dict[str, int]) -> float:
    return sum(weights[name] * count for name, count in counts.items()) / sum(counts.values())


def test_inverse_frequencies_are_scikit_learns_balanced_weights():
    labels = np.repeat(list(TRAINING), list(TRAINING.values()))
    expected = compute_class_weight("balanced", classes=np.array(list(TRAINING)), y=labels)
    weights = class_weights(TRAINING, "inverse_frequency")
    assert list(weights) == list(TRAINING)
    np.testing.assert_allclose(list(weights.values()), expected)


def test_inverse_frequencies_by_hand():
    # 12 samples of 3 classes: 12 / (3 * 8), 12 / (3 * 3), 12 / (3 * 1)
    expected = {"a": 0.5, "b": 4 / 3, "c": 4.0}
    assert class_weights({"a": 8, "b": 3, "c": 1}, "inverse_frequency") == pytest.approx(expected)


def test_effective_numbers_by_hand():
    """Cui et al. 2019, equation 2: E_n = 1 + b + ... + b ** (n - 1), a class weighs 1 / E_n."""
    effective = {name: sum(0.999**i for i in range(n)) for name, n in (("a", 1), ("b", 2), ("c", 1000))}
    assert effective == pytest.approx({"a": 1.0, "b": 1.999, "c": 632.3045752290})
    weights = class_weights({"a": 1, "b": 2, "c": 1000}, "effective_number")
    assert weights["a"] / weights["b"] == pytest.approx(1.999)
    assert weights["a"] / weights["c"] == pytest.approx(632.3045752290)
    # 1 * 1 + 2 / 1.999 + 1000 / 632.3045752290 over 1003 samples
    assert weights["a"] == pytest.approx(1003 / (1 + 2 / 1.999 + 1000 / 632.3045752290))


def test_effective_numbers_of_fer2013_differ_less_than_its_frequencies():
    effective = {name: (1 - 0.999**count) / (1 - 0.999) for name, count in TRAINING.items()}
    mean = sum(count / effective[name] for name, count in TRAINING.items()) / TOTAL
    expected = {name: 1 / effective[name] / mean for name in TRAINING}
    weights = class_weights(TRAINING, "effective_number")
    assert weights == pytest.approx(expected)
    inverse = class_weights(TRAINING, "inverse_frequency")
    assert 1 < weights["disgust"] / weights["happy"] < inverse["disgust"] / inverse["happy"]


def test_a_capped_weight_is_cut_to_five_before_the_mean_is_brought_back_to_one():
    # 2000 samples of 2 classes: 1000/1990 and 1000/10 = 100, cut to 5; their mean is (1000 + 50) / 2000 = 0.525
    weights = class_weights({"often": 1990, "rarely": 10}, "capped")
    assert weights == pytest.approx({"often": (1000 / 1990) / 0.525, "rarely": 5 / 0.525})


def test_a_cap_that_nobody_reaches_changes_nothing():
    counts = {"a": 50, "b": 20, "c": 30}
    assert class_weights(counts, "capped") == pytest.approx(class_weights(counts, "inverse_frequency"))


def test_the_cap_holds_back_disgust_of_fer2013_alone():
    # 28709 / (7 * 436) = 9.41; the six others stay below 5 and keep their proportions
    inverse, capped = (class_weights(TRAINING, scheme) for scheme in ("inverse_frequency", "capped"))
    assert inverse["disgust"] == pytest.approx(9.4066, abs=1e-4)
    scale = capped["happy"] / inverse["happy"]
    assert {name: weight / scale for name, weight in capped.items()} == pytest.approx(inverse | {"disgust": 5.0})


def test_without_weighting_every_class_weighs_one():
    assert class_weights(TRAINING, "none") == pytest.approx(dict.fromkeys(TRAINING, 1.0))


@pytest.mark.parametrize("scheme", WEIGHTINGS)
@pytest.mark.parametrize("counts", [TRAINING, {"a": 1, "b": 1000}, {"a": 5, "b": 0, "c": 3}, {"only": 9}])
def test_the_mean_weight_over_all_samples_is_one(counts, scheme):
    assert mean_over_samples(class_weights(counts, scheme), counts) == pytest.approx(1)


@pytest.mark.parametrize("scheme", WEIGHTINGS)
def test_rarer_classes_never_weigh_less(scheme):
    weights = class_weights(TRAINING, scheme)
    by_count = [weights[name] for name in sorted(TRAINING, key=TRAINING.__getitem__)]
    assert by_count == sorted(by_count, reverse=True)


@pytest.mark.parametrize("scheme", WEIGHTINGS)
def test_an_absent_class_weighs_one_and_does_not_dilute_the_others(scheme):
    with_it, without = class_weights({"a": 4, "b": 0, "c": 2}, scheme), class_weights({"a": 4, "c": 2}, scheme)
    assert list(with_it) == ["a", "b", "c"]
    assert with_it == pytest.approx(without | {"b": 1.0})


def test_an_absent_class_by_hand():
    assert class_weights({"a": 4, "b": 0, "c": 2}, "inverse_frequency") == pytest.approx({"a": 0.75, "b": 1, "c": 1.5})


@pytest.mark.parametrize("scheme", WEIGHTINGS)
def test_no_samples_at_all_weigh_one_each(scheme):
    assert class_weights({"a": 0, "b": 0}, scheme) == {"a": 1.0, "b": 1.0}
