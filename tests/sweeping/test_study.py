import math
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ferlab.config.nodes import Sweep
from ferlab.errors import Pruned, UserError
from ferlab.sweeping.space import Space, space_of
from ferlab.sweeping.study import ask, importances, interrupted_trials, open_study, overrides_of, standing
from ferlab.sweeping.trial import StudyTrial


def space(*overrides: str) -> Space:
    return space_of(OverridesParser.create().parse_overrides(list(overrides)))


RATES = space("backbone=seq1", "rate=tag(log,interval(1e-4,1e-1))", "width=range(1,4)", "augment=light,strong")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "sweeps" / "a.journal")


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsga2"])
def test_trials_are_drawn_from_the_space_and_written_as_overrides(place: str, sampler: str) -> None:
    settings = Sweep(sampler=sampler, startup_trials=2)
    study = open_study("a", place, settings, fresh=True)
    for _ in range(6):
        number = ask(study, RATES)
        fixed, rate, width, augment = overrides_of(study, number, RATES)
        assert fixed == "backbone=seq1"
        assert 1e-4 <= float(rate.removeprefix("rate=")) <= 1e-1
        assert width in ("width=1", "width=2", "width=3")
        assert augment in ("augment=light", "augment=strong")
        StudyTrial("a", place, settings, number).tell([0.5])
    assert standing(study).ended == 6


def test_a_resumed_study_draws_other_values_and_knows_what_was_interrupted(place: str) -> None:
    settings = Sweep(sampler="random")
    first = open_study("a", place, settings, fresh=True)
    numbers = [ask(first, RATES) for _ in range(3)]
    StudyTrial("a", place, settings, 0).tell([0.4])
    again = open_study("a", place, settings, fresh=False)
    assert interrupted_trials(again) == [1, 2]
    drawn = [overrides_of(again, number, RATES) for number in [*numbers, *(ask(again, RATES) for _ in range(3))]]
    assert len(set(drawn)) == 6


def test_values_that_a_kill_kept_from_being_drawn_are_drawn_when_it_goes_on(place: str) -> None:
    study = open_study("a", place, Sweep(), fresh=True)
    number = study.ask({"width": RATES.axes[1].distribution}).number
    again = open_study("a", place, Sweep(), fresh=False)
    (interrupted,) = interrupted_trials(again)
    drawn = overrides_of(again, interrupted, RATES)
    assert [text.partition("=")[0] for text in drawn] == ["backbone", "rate", "width", "augment"]
    assert f"width={study.trials[number].params['width']}" in drawn
    assert overrides_of(open_study("a", place, Sweep(), fresh=False), number, RATES) == drawn


def test_of_a_name_that_is_taken_or_unknown_one_line_is_said(place: str) -> None:
    open_study("a", place, Sweep(), fresh=True)
    with pytest.raises(UserError, match=r"sweep a: .*a\.journal"):
        open_study("a", place, Sweep(), fresh=True)
    with pytest.raises(UserError, match="sweep b"):
        open_study("b", place, Sweep(), fresh=False)


def test_a_journal_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FileNotFoundError"):
        open_study("a", str(tmp_path / "gone.journal"), Sweep(), fresh=False)
    assert not list(tmp_path.iterdir())


def test_no_password_is_in_a_message() -> None:
    with pytest.raises(UserError) as refused:
        open_study("a", "nodatabase://me:secret@host/db", Sweep(), fresh=True)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_a_trial_far_below_the_others_is_pruned_and_one_above_is_not(place: str, pruner: str) -> None:
    settings = Sweep(pruner=pruner, startup_trials=2)
    study = open_study("a", place, settings, fresh=True)
    for number in range(12):
        assert ask(study, RATES) == number
        good = StudyTrial("a", place, settings, number)
        for epoch in range(1, 10):
            good.report(epoch, 0.6 + 0.01 * number + 0.001 * epoch)
        good.tell([0.7])
    bad = StudyTrial("a", place, settings, ask(study, RATES))

    def train() -> None:
        for epoch in range(1, 10):
            bad.report(epoch, 0.2)

    with pytest.raises(Pruned, match=r"20\.0 after \d"):
        train()
    bad.give_up(failed=False)
    assert standing(study).pruned == 1


def test_no_pruner_prunes_nothing(place: str) -> None:
    study = open_study("a", place, Sweep(), fresh=True)
    for value in (0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1):
        trial = StudyTrial("a", place, Sweep(), ask(study, RATES))
        trial.report(1, value)
        trial.tell([value])
    assert standing(study).pruned == 0


def test_standing_of_one_objective_and_of_several(place: str, tmp_path: Path) -> None:
    one = open_study("a", place, Sweep(), fresh=True)
    assert standing(one).best is None
    for value in (0.5, 0.7, 0.6):
        StudyTrial("a", place, Sweep(), ask(one, RATES)).tell([value])
    assert (standing(one).best, standing(one).best_number) == (0.7, 1)
    several = Sweep(objectives=["accuracy", "parameters"])
    other = str(tmp_path / "b.journal")
    two = open_study("b", other, several, fresh=True)
    for accuracy, parameters in ((0.5, 10), (0.7, 30), (0.6, 40)):  # the last one is worse and larger than the second
        StudyTrial("b", other, several, ask(two, RATES)).tell([accuracy, parameters])
    assert (standing(two).best, standing(two).front) == (None, 2)


def test_the_setting_that_decides_is_the_most_important() -> None:
    axes = RATES.axes
    rows = [
        (
            {
                "rate": f"{10 ** (-4 + 3 * (i % 7) / 6):.6g}",
                "width": str(1 + i % 3),
                "augment": ("light", "strong")[i % 2],
            },
            i % 7 / 10,
        )
        for i in range(42)
    ]
    found = importances(rows, axes)
    assert next(iter(found)) == "rate"
    assert found["rate"] > 0.9
    assert math.isclose(sum(found.values()), 1)


def test_nothing_is_explained_by_few_jobs_or_equal_outcomes() -> None:
    row = {"rate": "0.001", "width": "1", "augment": "light"}
    other = {"rate": "0.01", "width": "2", "augment": "strong"}
    assert importances([(row, 0.1), (other, 0.2)], RATES.axes) == {}
    assert importances([(row, 0.5), (other, 0.5)] * 4, RATES.axes) == {}
