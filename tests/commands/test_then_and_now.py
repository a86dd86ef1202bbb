"""What a training was recorded with against what would be trained now: settings that came, went or changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.then_and_now import again, environment_now, environment_then
from ferlab.commands.training_record import SETTINGS, all_settings
from ferlab.config.schema import ReproduceConfig, TrainConfig
from ferlab.config.validate import validate
from ferlab.tracking.environment import Comparison, compare
from ferlab.tracking.records import find_run


@pytest.fixture
def raw(composing: None) -> dict[str, Any]:
    """A config as ``ferlab train`` composes it."""
    plain: Any = OmegaConf.to_container(
        compose("train", overrides=["backbone=mobilenetv2", "recipe=two_phase"]), resolve=True
    )
    del plain["sweep"]
    return dict(plain)


def typed(raw: dict[str, Any]) -> TrainConfig:
    return validate(OmegaConf.create(raw), TrainConfig, machine_facts())


def against_now(run_id: str, context: Context) -> Comparison:
    repeated = again(ReproduceConfig(run_id), context)
    return compare(environment_then(find_run(run_id)), environment_now(repeated, ""))


def compared(context: Context, raw: dict[str, Any], listed: dict[str, str] | None) -> Comparison:
    """A finished run with that config, and with that list of all its settings, against now."""
    with context.store.run("train", "study", "then") as run:
        run.log_config(raw)
        if listed is not None:
            run.log_json(listed, SETTINGS)
    return against_now(run.id, context)


@pytest.fixture
def context(tf: Any, home: Path) -> Context:
    return Context("reproduce", home, {})


def test_the_same_settings_are_the_same_also_of_an_older_run(context: Context, raw: dict[str, Any]) -> None:
    assert compared(context, raw, all_settings(typed(raw), raw)).settings == ()
    assert compared(context, raw, None).settings == ()


def test_settings_that_came_went_or_have_another_default_are_named(context: Context, raw: dict[str, Any]) -> None:
    listed = all_settings(typed(raw), raw)
    assert listed["recipe.phases.1.copies"] == "0", "the recipe's file leaves it out"
    del listed["recipe.label_smoothing"]
    del raw["recipe"]["label_smoothing"]
    listed |= {"recipe.phases.1.copies": "2", "recipe.mood": "blue"}
    found = compared(context, raw, listed)
    assert found.settings == (
        "recipe.label_smoothing: absent then, 0.0 now",
        "recipe.mood: blue then, absent now",
        "recipe.phases.1.copies: 2 then, 0 now",
    )
    assert "settings" in [row.what for row in found.differing]


def test_a_setting_that_an_older_run_lacks_is_named(context: Context, raw: dict[str, Any]) -> None:
    del raw["augment"]["mixup"]
    assert compared(context, raw, None).settings == ("augment.mixup: absent then, 0.0 now",)


def test_that_other_code_went_on_with_an_interrupted_run_is_said(context: Context, raw: dict[str, Any]) -> None:
    store = context.store
    with pytest.raises(KeyboardInterrupt), store.run("train", "study", "then") as run:  # noqa: PT012
        run.log_config(raw)
        raise KeyboardInterrupt
    code = replace(store.code, sources="f" * 64, packages="keras==1.0\n")
    with replace(store, code=code).run("train", "study", "then", resume=run.id):
        pass
    (row,) = (row for row in against_now(run.id, context).differing if row.what == "after an interruption")
    assert row.then == f"went on with other: code in src/ ({'f' * 12}), packages"
