"""``from_run=RUN``: the composed config is the recorded one, except for what the command line says."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ferlab.commands.variant import link_origin, with_recorded
from ferlab.config.files import conf_folder, search_folders
from ferlab.config.overrides import hydra_arguments, search_path
from ferlab.errors import UserError
from ferlab.tracking.records import find_run

RECORDED = (
    "backbone=mobilenetv2", "backbone.working_px=null", "backbone.dropout=0.11", "recipe=two_phase", "augment=strong",
    "augment.mixup=0.3", "seed=7", "study=my study (1)", "dataset.synthesize.count=333", "compute.cores=1",
)  # fmt: skip


def composed(home: Path, *arguments: str) -> dict[str, Any]:
    """What ``ferlab train`` with these arguments is composed of."""
    overrides = hydra_arguments(with_recorded(arguments, home))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", overrides=[*overrides, search_path(search_folders(home, recorded=True))])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain


@pytest.fixture
def place(recorded: Any) -> Any:
    return recorded("train")


@pytest.fixture
def run_id(place: Any, home: Path) -> str:
    with place.context.store.run("train", "my study (1)", "origin") as run:
        run.log_config({**composed(home, *RECORDED), "resume": None})
    return run.id


def differing(then: Any, now: Any, where: str = "") -> set[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        keys = {*then, *now}
        return {one for key in keys for one in differing(then.get(key), now.get(key), f"{where}.{key}".lstrip("."))}
    return set() if then == now else {where}


def changes(home: Path, run_id: str, *arguments: str) -> set[str]:
    then, now = composed(home, *RECORDED), composed(home, f"from_run={run_id}", *arguments)
    assert str(now["from_run"]).startswith(run_id)
    return differing(then, now) - {"from_run"}


def test_nothing_said_is_the_recorded_run(home: Path, run_id: str) -> None:
    assert changes(home, run_id) == set()
    assert changes(home, run_id[:8]) == set(), "the beginning of an id is enough"


def test_single_values_change_alone(home: Path, run_id: str) -> None:
    assert changes(home, run_id, "seed=8") == {"seed"}
    assert changes(home, run_id, "recipe.phases.1.epochs=3", "augment.mixup=0") == {"recipe.phases", "augment.mixup"}
    now = composed(home, f"from_run={run_id}", "recipe.phases.1.epochs=3")
    assert [phase["epochs"] for phase in now["recipe"]["phases"]] == [10, 3]


def test_a_group_is_replaced_whole_and_nothing_else(home: Path, run_id: str) -> None:
    found = changes(home, run_id, "backbone=seq2")
    assert {key.partition(".")[0] for key in found} == {"backbone"}, "the recipe stays, which seq2 would bring"
    assert composed(home, f"from_run={run_id}", "backbone=seq2")["backbone"]["dropout"] != 0.11
    light = composed(home, f"from_run={run_id}", "augment=light")["augment"]
    assert light == composed(home, "augment=light")["augment"]


def test_a_debug_level_goes_on_top(home: Path, run_id: str) -> None:
    found = composed(home, f"from_run={run_id}", "debug=fast")
    assert found["debug"]["name"] == "fast"
    assert found["dataset"]["synthesize"]["count"] == 140
    assert found["backbone"]["dropout"] == 0.11


def test_settings_that_the_run_did_not_know_yet_have_their_defaults(home: Path, place: Any) -> None:
    old = composed(home, *RECORDED)
    del old["debug"]["share"]
    with place.context.store.run("train", "study", "old") as run:
        run.log_config(old)
    assert composed(home, f"from_run={run.id}", "debug.share=0.5")["debug"]["share"] == 0.5


def test_what_cannot_be_varied_is_said_in_one_line(home: Path, run_id: str) -> None:
    with pytest.raises(UserError, match=f"from_run={run_id}: resume=abc brings settings of its own"):
        with_recorded([f"from_run={run_id}", "resume=abc"], home)
    with pytest.raises(UserError, match="experiments=quickstart brings settings of its own"):
        with_recorded([f"from_run={run_id}", "experiments=quickstart"], home)
    with pytest.raises(UserError, match="one run at a time"):
        with_recorded([f"from_run={run_id},{run_id}"], home)
    with pytest.raises(UserError, match="no such run"):
        with_recorded(["from_run=nobody"], home)


def test_only_trainings_are_varied(home: Path, place: Any) -> None:
    with place.context.store.run("compare", "study", "c") as run:
        pass
    with pytest.raises(UserError, match="is compare: variants are made of trainings"):
        with_recorded([f"from_run={run.id}"], home)


def test_a_run_that_is_named_by_force_is_the_same(home: Path, run_id: str) -> None:
    assert with_recorded([f"++from_run={run_id[:8]}"], home) == with_recorded([f"from_run={run_id}"], home)


def test_without_a_run_nothing_is_added(home: Path) -> None:
    assert with_recorded(["seed=1", "from_run=null"], home) == ["seed=1", "from_run=null"]


def test_the_new_run_says_what_it_is_a_variant_of(home: Path, run_id: str, place: Any) -> None:
    raw = composed(home, f"from_run={run_id}", "seed=8", "augment.mixup=0")
    with place.context.store.run("train", "study", "variant") as run:
        link_origin(run, run_id, raw)
    tags = find_run(run.id).tags
    assert tags["ferlab.from.run"] == run_id
    assert tags["ferlab.changes"] == "seed=8 augment.mixup=0"
