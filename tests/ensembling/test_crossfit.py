"""Methods are judged on samples they were not fitted on; stacking is the regression that it says it is."""

import time
from dataclasses import replace

import numpy as np
import pytest

from ferlab.config.nodes import Combination as Settings
from ferlab.ensembling.combination import METHODS
from ferlab.ensembling.crossfit import Trial, attempt, best, out_of_fold
from ferlab.ensembling.fitting import Plan, fit, plans
from ferlab.ensembling.folds import stratified_folds
from ferlab.predictions import Predictions

from .conftest import CLASSES, SIZE, member, of, several

FITTED = [Plan("weighted"), Plan("weighted", True), Plan("greedy"), Plan("stacking"), Plan("mean", temperature=True)]


def test_folds_are_stratified_seeded_and_all_used() -> None:
    labels = np.repeat(np.arange(4), [50, 23, 3, 1])
    fold = stratified_folds(labels, 5, 0)
    assert set(np.bincount(fold)) <= {15, 16}
    for name in range(4):
        counts = np.bincount(fold[labels == name], minlength=5)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(fold, stratified_folds(labels, 5, 0))
    assert (fold != stratified_folds(labels, 5, 1)).any()


@pytest.mark.parametrize("plan", FITTED, ids=lambda plan: f"{plan.name}{' T' * plan.temperature}")
def test_the_label_of_a_sample_does_not_reach_its_own_answer(plan: Plan) -> None:
    """Labels of one fold are changed and every fold is fitted by hand: its answers stay to the bit, others move."""
    probabilities, labels = of(several(1.5, 1.0, 0.5))
    fold = stratified_folds(labels, 5, plan.seed)
    before = out_of_fold(plan, probabilities, labels, 5)
    changed = np.where(fold == 2, (labels + 1) % 7, labels)
    after = np.empty_like(before)
    for held in range(5):
        part = fold != held
        fitted = fit(plan, ["0", "1", "2"], CLASSES, probabilities[:, part], changed[part])
        after[~part] = fitted.apply(probabilities[:, ~part])
    np.testing.assert_array_equal(after[fold == 2], before[fold == 2])
    assert np.abs(after[fold != 2] - before[fold != 2]).max() > 1e-6


def test_out_of_fold_sees_through_a_fit_on_noise() -> None:
    """Forty members that guess: in sample a fit finds something, out of fold there is nothing."""
    guessing = [member(f"run{i}", i + 1, 0.0, 150) for i in range(40)]
    for method in ("greedy", "stacking"):
        trial = attempt(Plan(method), guessing, 5)
        assert trial.fit_accuracy > 0.25
        assert trial.accuracy < 0.24, "chance is 0.14, three standard errors of 150 samples 0.09"


@pytest.mark.parametrize("method", ["mean", "geometric", "vote"])
def test_what_is_not_fitted_needs_no_folds(method: str) -> None:
    trial = attempt(Plan(method), several(1.0, 0.5), 5)
    assert trial.accuracy == trial.fit_accuracy
    np.testing.assert_array_equal(trial.out_of_fold, trial.combination.apply(of(several(1.0, 0.5))[0]))


def test_scores_of_a_trial_are_those_of_its_answers() -> None:
    members = several(1.0, 0.8)
    trial = attempt(Plan("weighted"), members, 5)
    rows, labels = np.arange(SIZE), members[0].labels
    assert trial.accuracy == (trial.out_of_fold.argmax(axis=1) == labels).mean()
    assert trial.nll == pytest.approx(-np.log(trial.out_of_fold[rows, labels]).mean())


def test_stacking_corrects_a_member_that_mixes_up_its_classes() -> None:
    """Every mean is misled by classes that one member calls by each other's names; a linear layer is not."""
    members = several(2.0, 0.3)
    rolled = replace(members[0], run_id="rolled", probabilities=np.roll(members[0].probabilities, 1, axis=1))
    trials = {plan.method: attempt(plan, [rolled, members[1]], 5) for plan in plans(Settings())}
    right = (members[0].predicted == members[0].labels).mean()
    assert trials["stacking"].accuracy > right - 0.02
    assert max(trial.accuracy for name, trial in trials.items() if name != "stacking") < 0.5
    assert best(list(trials.values())) is trials["stacking"]


def test_stacking_is_scikit_learns_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    from ferlab.ensembling.stacking import STRENGTHS, fit_stacking

    probabilities, labels = of(several(1.5, 1.0))
    logs = np.log(probabilities)
    centred = np.concatenate(list(logs - logs.mean(axis=2, keepdims=True)), axis=1)
    ours = fit(Plan("stacking"), ["a", "b"], CLASSES, probabilities, labels).apply(probabilities)
    gaps = []
    for strength in STRENGTHS:
        theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(centred, labels).predict_proba(centred)
        gaps.append(np.abs(ours - theirs).max())
    assert min(gaps) < 5e-3
    assert fit_stacking(probabilities, labels, 0).coefficients.shape == (14, 7)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("present", [(0, 3), (4,), (0, 1, 2, 3, 4, 5)], ids=str)
def test_classes_without_samples_do_not_stop_a_fit(method: str, present: tuple[int, ...]) -> None:
    whole = several(1.5, 1.0)
    kept = np.isin(whole[0].labels, present)
    members = [taken(one, kept) for one in whole]
    trial = attempt(Plan(method), members, 5)
    assert np.isfinite(trial.out_of_fold).all()
    assert trial.accuracy > 0.5
    if method == "stacking":
        assert set(trial.out_of_fold.argmax(axis=1)) <= set(present)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_a_handful_of_samples_is_enough_to_go_on(count: int) -> None:
    kept = np.arange(SIZE) < count
    for plan in (*plans(Settings(per_class=True)), Plan("mean", temperature=True)):
        if count == 1 and plan.fitted:
            continue
        trial = attempt(plan, [taken(one, kept) for one in several(1.5, 1.0)], 5)
        np.testing.assert_allclose(trial.out_of_fold.sum(axis=1), 1, atol=1e-9)


def taken(predictions: Predictions, kept: np.ndarray) -> Predictions:
    rows = np.flatnonzero(kept)
    return replace(
        predictions,
        ids=tuple(predictions.ids[i] for i in rows),
        labels=predictions.labels[rows],
        probabilities=predictions.probabilities[rows],
    )


def test_ties_of_accuracy_go_to_the_better_likelihood() -> None:
    def trial(accuracy: float, nll: float) -> Trial:
        return replace(attempt(Plan("mean"), several(1.0, 0.5), 5), accuracy=accuracy, nll=nll)

    low, tied, better = trial(0.6, 0.5), trial(0.7, 0.9), trial(0.7, 0.8)
    assert best([low, tied, better]) is better


def test_auto_tries_all_and_a_method_itself() -> None:
    assert [plan.name for plan in plans(Settings())] == list(METHODS)
    assert plans(Settings("vote", temperature=True)) == [Plan("vote", temperature=True)]
    assert plans(Settings("weighted", per_class=True)) == [Plan("weighted", True)]
    asked = plans(Settings(per_class=True, temperature=True, seed=3))
    assert asked[-1] == Plan("weighted", True, True, 3)
    assert [plan.method for plan in asked if not plan.temperature] == ["stacking"]


def test_the_methods_of_the_config_are_those_of_the_room() -> None:
    import dataclasses

    (field,) = (one for one in dataclasses.fields(Settings) if one.name == "method")
    assert field.metadata["options"] == ("auto", *METHODS)


def test_six_members_of_2900_samples_take_seconds() -> None:
    members = [member(f"run{i}", i + 1, 1.0 + i / 10, 2900) for i in range(6)]
    start = time.process_time()
    for plan in plans(Settings(per_class=True, temperature=True)):
        attempt(plan, members, 5)
    assert time.process_time() - start < 20
