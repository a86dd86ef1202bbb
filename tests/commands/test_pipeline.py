"""What a pipeline makes of its members: the pipeline's settings, and the member's own on top of them."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ferlab.commands.launch import Context
from ferlab.commands.pipeline import member_configs
from ferlab.config.files import conf_folder
from ferlab.config.nodes import Member
from ferlab.config.schema import TrainConfig

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
