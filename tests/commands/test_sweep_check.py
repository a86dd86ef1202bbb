"""What ends a sweep before it begins: a wrong value, one that does not go with the others, one of the whole process."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser

from ferlab.commands.launch import Job
from ferlab.commands.sweep_check import check_jobs
from ferlab.config.schema import TrainConfig
from ferlab.errors import UserError
from ferlab.sweeping.space import space_of


def check(*overrides: str) -> list[str]:
    def work(config: Any, context: Any) -> dict[str, Any]:
        raise AssertionError

    space = space_of(OverridesParser.create().parse_overrides(list(overrides)))
    job = Job("train", TrainConfig, work)
    return check_jobs(space, job, lambda one: compose("train", overrides=list(one), return_hydra_config=True))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("seed=0,-1",), r"^seed: must lie in .*, got -1 \(job seed=-1\)$"),
        (("recipe.batch_size=32,foo",), "recipe.batch_size: must be a whole number"),
        (("recipe.label_smoothing=interval(0,3)",), "recipe.label_smoothing: must lie in"),
        (("backbone=seq1,mobilenetv2", "backbone.weights=none", "recipe=scratch_sgd,two_phase"),
         r"recipe: two_phase freezes layers.*\(job backbone=seq1 recipe=two_phase\)$"),
        (("seed=1,2", "backbone.weights=nowhere.h5"), "backbone.weights: .*no such file"),
    ],
)  # fmt: skip
def test_a_value_that_no_job_can_have_ends_it(composing: None, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(*overrides)


@pytest.mark.parametrize(
    ("key", "values"),
    [("deterministic", "true,false"), ("compute.cores", "1,2"), ("compute.device", "cpu,auto")],
)
def test_what_a_process_takes_once_does_not_vary(composing: None, key: str, values: str) -> None:
    with pytest.raises(UserError, match=f"^{key}: .* and .* in one sweep.* Give each a sweep of its own"):
        check("seed=0,1", f"{key}={values}")
    check("seed=0,1", f"{key}={values.partition(',')[0]}")


def test_paths_that_begin_in_the_working_folder_are_told(
    composing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.weights.h5").touch()
    assert check("seed=0,1", "backbone.weights=none,mine.weights.h5") == ["backbone.weights=mine.weights.h5"]
    assert check("seed=0,1", f"backbone.weights={tmp_path / 'mine.weights.h5'}") == []


def test_a_wide_search_passes(composing: None) -> None:
    check("backbone=seq1,seq2", "recipe.label_smoothing=interval(0,0.2)", "augment=none,light", "seed=range(3)")
