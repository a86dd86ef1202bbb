"""The registry's rows agree with their builders, configs and recipes."""

from importlib import import_module

import pytest
import yaml

from ferlab.config.files import options
from ferlab.errors import UserError
from ferlab.models.catalog import CATALOG, CPU_BF16, GPU, PREPROCESSINGS, backbone


def test_unknown_backbone_lists_the_known() -> None:
    with pytest.raises(UserError, match="seq1, seq2, vgg_small"):
        backbone("resnet99")


def test_every_row_has_a_config_and_a_recipe_of_that_name() -> None:
    assert set(options("backbone")) == set(CATALOG)
    assert {row.default_recipe for row in CATALOG.values()} <= set(options("recipe"))


@pytest.mark.parametrize("name", CATALOG)
def test_row_and_config_say_the_same(name: str, request: pytest.FixtureRequest) -> None:
    row = CATALOG[name]
    config = yaml.safe_load((request.config.rootpath / "conf" / "backbone" / f"{name}.yaml").read_text())
    assert config["name"] == name
    assert config["working_px"] == row.default_px
    assert config["defaults"] == [{"override /recipe@_global_.recipe": row.default_recipe}]
    assert config["weights"] == ("imagenet" if row.pretrained else "none")
    assert config["crop_px"] == (40 if name == "vgg_small" else None)


@pytest.mark.parametrize("name", CATALOG)
def test_row_points_at_what_is_there(name: str) -> None:
    row = CATALOG[name]
    module, function = row.builder.split(":")
    assert callable(getattr(import_module(module), function))
    assert row.preprocessing in PREPROCESSINGS
    assert row.bfloat16 <= {CPU_BF16, GPU}
    assert row.default_px is None or row.default_px >= row.smallest_px
    if row.application is not None:
        import keras

        assert callable(getattr(keras.applications, row.application))
