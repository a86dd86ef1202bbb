"""What a pipeline makes of its members: the pipeline's settings, and the member's own on top of them."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ferlab.commands.launch import Context, machine_facts
from ferlab.commands.pipeline import member_configs, run, with_teachers
from ferlab.config.files import conf_folder
from ferlab.config.nodes import Member
from ferlab.config.schema import PipelineConfig, TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.predictions import Predictions
from ferlab.tracking.records import find_run, runs_with_tag

PIPELINE = (
    "augment=standard", "augment.zoom=0.05", "compute.memory_gb=3", "deterministic=true", "study=mine",
    "dataset.val_fraction=0.2", "pipeline.weights=none", "pipeline.members=[]",
)  # fmt: skip


def configs(*members: Member) -> list[tuple[str, TrainConfig, dict[str, Any]]]:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        raw: Any = OmegaConf.to_container(compose("pipeline", overrides=list(PIPELINE)), resolve=True)
        return member_configs(list(members), Context("pipeline", Path(), raw))


def test_a_member_has_the_settings_of_the_pipeline() -> None:
    ((name, config, raw),) = configs(Member("vgg16", "fine_tune", 3))
    assert name == "vgg16-fine_tune-s3"
    assert (config.augment.name, config.augment.zoom, config.augment.contrast) == ("standard", 0.05, 0.2)
    assert (config.compute.memory_gb, config.dataset.val_fraction, config.study) == (3, 0.2, "mine")
    assert config.deterministic
    assert (config.backbone.weights, config.recipe.phases[0].epochs, config.seed) == ("none", 16, 3)
    assert raw["augment"] == vars(config.augment)


def test_one_key_of_a_member_leaves_the_rest_of_its_group_to_the_pipeline() -> None:
    ((name, config, _),) = configs(Member("seq1", "quick", 0, ["augment.mixup=0.2", "recipe.phases.0.epochs=5"]))
    assert name == "seq1-quick-s0-mixup=0.2-phases.0.epochs=5"
    assert (config.augment.name, config.augment.zoom, config.augment.mixup) == ("standard", 0.05, 0.2)
    assert config.recipe.phases[0].epochs == 5


def test_a_choice_of_a_member_is_the_whole_choice() -> None:
    ((name, config, _),) = configs(Member("seq1", "quick", 0, ["augment=light", "augment.zoom=0.01"]))
    assert name == "seq1-quick-s0-light-zoom=0.01"
    assert (config.augment.name, config.augment.zoom, config.augment.contrast) == ("light", 0.01, 0)


TAUGHT = ["recipe.batch_size=64", "recipe.phases.0.epochs=1", "backbone.width=0.1"]


def test_a_teacher_that_is_not_there_is_refused_before_anything_is_made(home: Path) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        raw: Any = OmegaConf.to_container(compose("pipeline", overrides=list(PIPELINE)), resolve=True)
        members = [Member("seq1", "quick"), Member("seq1", "distill", 1, ["teacher=nobody"])]
        context = Context("pipeline", home, raw)
        with pytest.raises(UserError, match=r"^member seq1, distill, seed 1: teacher=nobody: no such run[^\n]*$"):
            member_configs(members, context)
    assert context.store.uri
    assert runs_with_tag("ferlab.stage", "pipeline", ended_well=False) == []


def test_a_teacher_of_other_data_is_refused_before_any_member_trains(recorded: Any) -> None:
    """The first member has none and would train for long; a fit teacher is named by its id from then on."""
    place = recorded("pipeline")
    fit, unfit = place.train("fit", 0), place.train("unfit", 1)
    file = find_run(unfit).artifact("predictions/validation.parquet")
    Predictions(**(vars(Predictions.load(file)) | {"protocol": "fer2013/official"})).save(file)
    overrides = ("dataset=synthetic", "dataset.synthesize.count=700", "dataset.synthesize.seed=3", "study=lessons")
    taught = [{"backbone": "seq1", "recipe": "distill", "seed": seed, "overrides": [*TAUGHT, f"teacher={teacher}"]}
              for seed, teacher in enumerate(("fit", "unfit", unfit))]  # fmt: skip
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose("pipeline", overrides=[*overrides, "pipeline.members=[]"])
        composed.pipeline.members = [{"backbone": "seq1", "recipe": "quick"}, *taught]
        place.context.raw = OmegaConf.to_container(composed, resolve=True)
        config = validate(composed, PipelineConfig, machine_facts())
        with pytest.raises(UserError) as caught:
            run(config, place.context)
        members = member_configs(config.pipeline.members[:2], place.context)
    lines = str(caught.value).splitlines()
    assert [line.partition(": run")[0] for line in lines] == [
        "member seq1-distill-s1-batch_size=64-phases.0.epochs=1-width=0.1-teacher=unfit: teacher=unfit",
        f"member seq1-distill-s2-batch_size=64-phases.0.epochs=1-width=0.1-teacher={unfit}: teacher={unfit}",
    ]
    assert all("protocol fer2013/official, this student would with synthetic/carved" in line for line in lines)
    assert {one.id for one in runs_with_tag("ferlab.stage", "train", ended_well=False)} == {fit, unfit}
    (tried,) = runs_with_tag("ferlab.stage", "pipeline", ended_well=False)
    assert tried.status == "FAILED"
    ready = with_teachers(members, place.context, place.prepared.manifest)
    assert [(own.teacher, its.raw["teacher"]) for _, own, its in ready] == [(None, None), (fit, fit)]


def test_weights_of_a_member_are_recorded_with_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.weights.h5").touch()
    monkeypatch.chdir(tmp_path)
    ((name, _, raw),) = configs(Member("vgg16", "fine_tune", 0, ["backbone.weights=./my.weights.h5"]))
    assert name == "vgg16-fine_tune-s0-weights=my.weights.h5"
    assert raw["backbone"]["weights"] == str(tmp_path / "my.weights.h5")


@pytest.mark.parametrize(
    "override", ["dataset.val_fraction=0.3", "preparation.size_px=96", "study=other", "debug=fast"]
)
def test_what_members_share_cannot_differ(override: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(Exception, match=f"member seq1, quick, seed 0: overrides: members share .*; set {key} for the"):
        configs(Member("seq1", "quick", 0, [override]), Member("seq2", "quick"))
