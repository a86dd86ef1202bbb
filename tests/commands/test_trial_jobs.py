"""Trials are asked for until the budget is spent; what was spent before an interruption counts."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ferlab.commands.terminal import Terminal
from ferlab.commands.trial_jobs import TrialJobs
from ferlab.config.nodes import Sweep
from ferlab.sweeping.space import space_of
from ferlab.sweeping.study import ask, open_study


def with_number(overrides: Sequence[str], number: int) -> list[str]:
    return [*overrides, str(number)]


@pytest.mark.parametrize(("spent", "numbers"), [(4.0, [0]), (2.0, [0, 1, 2])])
def test_an_interrupted_trial_goes_on_and_new_ones_need_time(tmp_path: Path, spent: float, numbers: list[int]) -> None:
    settings = Sweep(trials=10, minutes=3.0, sampler="random")
    space = space_of(OverridesParser.create().parse_overrides(["x=interval(0,1)"]))
    study = open_study("a", str(tmp_path / "a.journal"), settings, fresh=True)
    ask(study, space)
    passing = iter((spent, spent + 0.5, spent + 1.5))
    jobs = TrialJobs(study, space, settings, with_number, Terminal(), lambda: next(passing))
    assert [int(job[-1]) for job in jobs] == numbers
