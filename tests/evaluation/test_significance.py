"""Tests of differences: tables worked by hand, exact enumeration, plain resampling, and their level and power."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn import metrics as reference

from ferlab.evaluation import significance
from ferlab.evaluation.metrics import HEADLINE, headline
from ferlab.evaluation.significance import (
    differences,
    holm,
    mcnemar,
    mean_and_spread,
    paired_differences,
    resampled_headlines,
)

RESAMPLES = 400
FER = (491, 55, 528, 879, 594, 416, 626)


def answers(only_first: int, only_second: int, both: int = 7, neither: int = 4) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (5, 15, 2 * (1 + 20 + 190 + 1140 + 4845 + 15504) / 2**20),
        (15, 5, 2 * (1 + 20 + 190 + 1140 + 4845 + 15504) / 2**20),
        (0, 5, 2 / 2**5),
        (0, 1, 1.0),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_worked_by_hand(only_first: int, only_second: int, p_value: float) -> None:
    found = mcnemar(*answers(only_first, only_second))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(p_value, abs=1e-12)


def test_images_that_both_get_right_or_wrong_do_not_matter() -> None:
    assert mcnemar(*answers(4, 11, 0, 0)) == mcnemar(*answers(4, 11, 5000, 900))


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1])
def test_mcnemar_keeps_its_level_whatever_the_number_of_differences(level: float) -> None:
    """Where half of the differences go to each, all outcomes with p <= level have that probability at most."""
    for differing in range(1, 61):
        rejected = [first for first in range(differing + 1)
                    if mcnemar(*answers(first, differing - first)).p_value <= level]  # fmt: skip
        assert binom.pmf(rejected, differing, 0.5).sum() <= level


def test_mcnemar_has_the_power_that_theory_predicts() -> None:
    """1,500 images, of which the second alone gets 13 % right and the first alone 10 % (Connor 1987)."""
    size, first, second = 1500, 0.10, 0.13
    both, gap = first + second, second - first
    normal = (np.sqrt(size) * gap - norm.ppf(0.975) * np.sqrt(both)) / np.sqrt(both - gap**2)
    drawn = np.random.default_rng(0).multinomial(size, [first, second, 0.5, 1 - both - 0.5], 1000)
    significant = [mcnemar(*answers(*map(int, counts))).p_value <= 0.05 for counts in drawn]
    # the exact test is a little less powerful than the approximation; 1,000 sets scatter by .015
    assert norm.cdf(normal) - 0.06 <= np.mean(significant) <= norm.cdf(normal) + 0.03


def pair(seed: int, size: int, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of seven uneven classes, and answers of two models that agree often; the second errs less by ``gain``."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, size, p=np.array(FER) / 3589)
    shared = np.where(rng.random(size) < 0.65, labels, rng.integers(0, 7, size))
    first = np.where(rng.random(size) < 0.3, rng.integers(0, 7, size), shared)
    second = np.where(rng.random(size) < 0.3 - gain, rng.integers(0, 7, size), shared)
    return labels, first, second


def scored(labels: np.ndarray, guess: np.ndarray) -> list[float]:
    return [
        reference.accuracy_score(labels, guess),
        reference.recall_score(labels, guess, labels=np.unique(labels), average="macro"),
        reference.f1_score(labels, guess, average="macro"),
        reference.f1_score(labels, guess, average="weighted"),
        reference.matthews_corrcoef(labels, guess),
    ]


def test_differences_equal_a_paired_bootstrap_over_images() -> None:
    labels, first, second = pair(0, 800, 0.1)
    found = paired_differences(labels, first, second, 7, 4000, 0)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(300):
        rows = rng.integers(0, 800, 800)
        drawn.append(np.subtract(scored(labels[rows], second[rows]), scored(labels[rows], first[rows])))
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    expected = np.subtract(scored(labels, second), scored(labels, first))
    for place, name in enumerate(HEADLINE):
        width = ends[1, place] - ends[0, place]
        assert found[name].value == pytest.approx(expected[place], abs=1e-12), name
        assert found[name].low == pytest.approx(ends[0, place], abs=0.17 * width), name
        assert found[name].high == pytest.approx(ends[1, place], abs=0.17 * width), name


def test_a_model_does_not_differ_from_itself() -> None:
    labels, first, _ = pair(1, 300, 0)
    for item in paired_differences(labels, first, first, 7, RESAMPLES, 0).values():
        assert (item.value, item.low, item.high, item.p_value) == (0, 0, 0, 1)


def test_swapping_the_models_turns_the_sign() -> None:
    labels, first, second = pair(2, 900, 0.1)
    forth = paired_differences(labels, first, second, 7, 4000, 0)
    back = paired_differences(labels, second, first, 7, 4000, 1)
    for name in HEADLINE:
        width = forth[name].high - forth[name].low
        assert back[name].value == -forth[name].value
        assert back[name].low == pytest.approx(-forth[name].high, abs=0.1 * width)


def test_models_beside_it_change_nothing_and_the_seed_decides() -> None:
    labels, first, second = pair(3, 500, 0.05)
    found = paired_differences(labels, first, second, 7, RESAMPLES, 5)
    for others in ([labels], [labels, first, pair(9, 500, 0)[2]]):
        before, *_, after = resampled_headlines(labels, [first, *others, second], 7, RESAMPLES, 5)
        assert differences(before, after) == found
    assert paired_differences(labels, first, second, 7, RESAMPLES, 6) != found


def test_draws_are_of_whole_samples_however_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is always right is so in every resample; one that gives one class has its share of the images."""
    labels, first, _ = pair(6, 400, 0)
    whole = resampled_headlines(labels, [labels, np.full(400, 3), first], 7, RESAMPLES, 0)
    assert (whole[0]["accuracy"] == 1).all()
    share = (labels == 3).mean()
    assert whole[1]["accuracy"][0] == share
    assert whole[1]["accuracy"][1:].std() == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.15)
    monkeypatch.setattr(significance, "DRAWN_AT_ONCE", 7 * 400)
    parts = resampled_headlines(labels, [labels, np.full(400, 3), first], 7, RESAMPLES, 0)
    for one, other in zip(whole, parts, strict=True):
        for name in HEADLINE:
            np.testing.assert_array_equal(one[name], other[name])


def test_one_image_and_one_class() -> None:
    one = np.array([3])
    found = paired_differences(one, np.array([0]), one, 7, RESAMPLES, 0)
    assert found["accuracy"].value == 1
    same = paired_differences(np.full(9, 2), np.full(9, 2), np.arange(9) % 7, 7, RESAMPLES, 0)
    assert same["accuracy"].value == pytest.approx(1 / 9 - 1)
    assert all(np.isfinite([item.low, item.high, item.p_value]).all() for item in same.values())


def test_shared_images_make_the_interval_narrower_than_two_apart() -> None:
    """What both models share cancels out: that is what pairing is for."""
    labels, first, second = pair(4, 3000, 0.05)
    paired = paired_differences(labels, first, second, 7, 2000, 0)["accuracy"]
    right, other = (first == labels).mean(), (second == labels).mean()
    apart = 2 * 1.96 * np.sqrt((right * (1 - right) + other * (1 - other)) / 3000)
    assert paired.high - paired.low < 0.85 * apart


def joint(supports: Sequence[float], gain: float) -> np.ndarray:
    """Shares[true, first, second] of endless images that are answered as in ``pair``."""
    classes = len(supports)
    shared, one, other = (
        right * np.eye(classes) + (1 - right) / classes for right in (0.65, 0.7, 0.7 + gain)
    )  # fmt: skip
    return np.einsum("t,ts,sf,sg->tfg", np.array(supports) / sum(supports), shared, one, other)


def simulated(shares: np.ndarray, size: int, sets: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """How often the interval of each metric holds the true difference, and the p-values."""
    before, after = headline(shares.sum(axis=2)[None]), headline(shares.sum(axis=1)[None])
    held, p_values = dict.fromkeys(HEADLINE, 0.0), {name: np.empty(sets) for name in HEADLINE}
    for place, counts in enumerate(np.random.default_rng(size).multinomial(size, shares.ravel(), sets)):
        images = np.unravel_index(np.repeat(np.arange(shares.size), counts), shares.shape)
        found = paired_differences(*images, len(shares), RESAMPLES, place)
        for name, item in found.items():
            held[name] += (item.low <= after[name][0] - before[name][0] <= item.high) / sets
            p_values[name][place] = item.p_value
    return held, p_values


def test_intervals_hold_the_true_difference_in_95_of_100_sets() -> None:
    held, _ = simulated(joint((3, 2, 1), 0.1), 600, 1000)
    for name, share in held.items():
        assert 0.93 <= share <= 0.97, name


def test_p_values_keep_their_level_where_nothing_differs() -> None:
    _, p_values = simulated(joint((3, 2, 1), 0.0), 500, 1000)
    for name, found in p_values.items():
        for level in (0.05, 0.1):
            assert (found <= level).mean() <= level + 0.02, name


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.05])
def test_intervals_and_p_values_on_sets_like_private_test(gain: float) -> None:
    held, p_values = simulated(joint(FER, gain), 3589, 1500)
    for name in HEADLINE:
        assert 0.93 <= held[name] <= 0.97, name
        if not gain:
            for level in (0.05, 0.1):
                assert (p_values[name] <= level).mean() <= level + 0.02, (name, level)


def test_holm_worked_by_hand() -> None:
    # in order .005 * 4, .01 * 3, .03 * 2, .04 * 1, and never less than the one before
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def closed(p_values: Sequence[float]) -> list[float]:
    """Bonferroni in every subset that holds a hypothesis, the worst of them: what Holm's steps are a short cut for."""
    everyone = range(len(p_values))
    subsets = [one for size in everyone for one in itertools.combinations(everyone, size + 1)]
    return [max(min(1.0, len(one) * min(p_values[k] for k in one)) for one in subsets if each in one)
            for each in everyone]  # fmt: skip


def test_holm_equals_the_closed_test_of_bonferroni() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_values = (rng.random(6) ** 3).tolist()
        p_values[1] = p_values[0]  # ties
        np.testing.assert_allclose(holm(p_values), closed(p_values))


def test_holm_at_the_edges() -> None:
    assert holm([]).tolist() == []
    assert holm([0.2]).tolist() == [0.2]
    assert holm([1.0, 1.0, 0.9]).tolist() == [1, 1, 1]
    for wrong in (float("nan"), -0.1, 1.1):
        with pytest.raises(ValueError, match="p-values"):
            holm([0.1, wrong])


def test_mean_and_sample_deviation_over_seeds() -> None:
    found = mean_and_spread([0.6, 0.7, 0.8])
    assert (found.mean, found.std, found.n) == (pytest.approx(0.7), pytest.approx(0.1), 3)
    alone = mean_and_spread([0.4])
    assert (alone.mean, alone.std, alone.n) == (0.4, None, 1)
    for wrong in ([], [0.5, float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            mean_and_spread(wrong)


@pytest.mark.parametrize("size", [0, 3])
def test_answers_that_do_not_pair_up_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="do not pair up"):
        paired_differences(np.zeros(size, int), np.zeros(4, int), np.zeros(size, int), 7, RESAMPLES, 0)
    with pytest.raises(ValueError, match="do not pair up"):
        mcnemar(np.zeros(size, bool), np.zeros(4, bool))
