"""The registry's rows agree with their builders, configs and recipes."""

from importlib import import_module
from typing import Any

import pytest
import yaml

from ferlab.config.files import options
from ferlab.errors import UserError
from ferlab.models.blocks import base_of
from ferlab.models.build import ModelSpec, build_model
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
    assert config["crop_px"] == row.crop_px


@pytest.mark.parametrize("name", CATALOG)
def test_row_points_at_what_is_there(name: str) -> None:
    row = CATALOG[name]
    assert row.preprocessing in PREPROCESSINGS
    assert row.bfloat16 <= {CPU_BF16, GPU}
    assert row.default_px is None or row.default_px >= row.smallest_px
    assert (row.builder is None) == row.pretrained
    if row.builder is None:
        import keras

        assert callable(getattr(keras.applications, row.application))
    else:
        module, function = row.builder.split(":")
        assert callable(getattr(import_module(module), function))


def test_the_table_in_the_docs_lists_the_catalog(request: pytest.FixtureRequest) -> None:
    for name, cells in documented(request).items():
        row = CATALOG[name]
        assert cells[1] == (f"centre {row.crop_px} px" if row.crop_px else f"{row.default_px or 48} px")
        assert cells[2] == row.preprocessing
        assert cells[4] == ("yes" if row.pretrained else "no")
        assert cells[5] == f"`{row.default_recipe}`"
    assert list(documented(request)) == list(CATALOG)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if CATALOG[name].pretrained else name for name in CATALOG]
)
def test_parameters_in_the_docs_are_those_of_the_network(tf: Any, request: pytest.FixtureRequest, name: str) -> None:
    row = CATALOG[name]
    spec = ModelSpec(name, ("one", "two"), 48, 1, row.default_px, "none", False, 0.3, 1.0)
    assert documented(request)[name][3] == f"{base_of(build_model(spec).model).count_params():,}"


def documented(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """Cells of the table in docs/backbones.md by backbone."""
    text = (request.config.rootpath / "docs" / "backbones.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {cells[0].strip("`"): cells for cells in rows}
