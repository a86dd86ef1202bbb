"""A composed config becomes typed values, or every problem at once in words a user can act on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from ferlab.config.fields import REQUIRED, choice, number
from ferlab.config.files import conf_folder, options
from ferlab.config.nodes import Member, Phase
from ferlab.config.rules import Facts
from ferlab.config.schema import (
    CompareConfig,
    DoctorConfig,
    EnsembleConfig,
    EvaluateConfig,
    PipelineConfig,
    PrepareConfig,
    RegisterConfig,
    SynthConfig,
    TrainConfig,
    UiConfig,
    VerifyConfig,
)
from ferlab.config.validate import validate
from ferlab.datasets.catalog import DATASETS, FAMILIES, LAYOUTS
from ferlab.errors import UserError

FACTS = Facts(
    families=FAMILIES,
    datasets={name: item.family for name, item in DATASETS.items()},
    taxonomies={name: item.taxonomies for name, item in DATASETS.items()},
    drawn=LAYOUTS,
    backbones=options("backbone"),
    recipes=options("recipe"),
)
Compose = Callable[..., DictConfig]


@pytest.fixture
def composed() -> Iterator[Compose]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield lambda command, *overrides: compose(command, overrides=list(overrides))


def problems(cfg: object, schema: type = TrainConfig) -> dict[str, str]:
    """Key to text of each problem that the message lists."""
    with pytest.raises(UserError) as caught:
        validate(OmegaConf.create(cfg) if isinstance(cfg, dict) else cfg, schema, FACTS)  # type: ignore[arg-type]
    lines = str(caught.value).splitlines()
    if len(lines) > 1:
        assert lines.pop(0) == f"config has {len(lines)} problems:"
    return dict(line.strip().split(": ", 1) for line in lines)


SCHEMAS = {
    "prepare": PrepareConfig,
    "train": TrainConfig,
    "pipeline": PipelineConfig,
    "ensemble": EnsembleConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "register": RegisterConfig,
    "verify": VerifyConfig,
    "synth": SynthConfig,
    "ui": UiConfig,
    "doctor": DoctorConfig,
}
NEEDED = {
    "pipeline": ["+pipeline.members=[{backbone:seq1,recipe:scratch_sgd},{backbone:seq2,recipe:scratch_sgd,seed:3}]"],
    "ensemble": ["runs=[abc,def]"],
    "evaluate": ["run=abc"],
    "register": ["run=abc"],
    "synth": ["layout=ferplus", "out=/data/faces", "count=70"],
}


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_shipped_config_of_every_command_fits_its_schema(composed, command):
    needed = [item.replace("+pipeline", "pipeline") for item in NEEDED.get(command, [])]
    config = validate(composed(command, *needed), SCHEMAS[command], FACTS)
    assert type(config) is SCHEMAS[command]


@pytest.mark.parametrize("group", ["dataset", "backbone", "recipe", "augment", "preparation", "compute", "debug"])
def test_every_shipped_choice_fits_the_schema(composed, group):
    names = options(group)
    assert names
    for name in names:
        chosen = [f"{group}={name}"]
        if group == "recipe":
            chosen.append("backbone=mobilenetv2")
        if name == "distill":
            chosen.append("teacher=RUN")
        if name == "gcp":
            chosen += ["compute.cloud.bucket=ours"]
        if group == "dataset":
            chosen += ["dataset.root=/data", "dataset.synthesize.count=0"]
        config = validate(composed("train", *chosen), TrainConfig, FACTS)
        assert getattr(config, group).name == name if hasattr(getattr(config, group), "name") else True


def test_what_is_missing_is_one_line_where_something_else_asks_for_it(composed):
    """A rule is asked about a teacher also when there is none."""
    assert set(problems(composed("train", "recipe=distill"))) == {"teacher"}
    assert set(problems(composed("train", "teacher=RUN"))) == {"teacher"}
    assert set(problems(composed("train", "recipe=distill", "recipe.distill=1.5"))) == {"recipe.distill"}


def test_the_typed_config_carries_the_values_that_were_asked_for(composed):
    config = validate(
        composed("train", "dataset.val_fraction=0.2", "recipe.batch_size=7", "backbone=mobilenetv2", "seed=5"),
        TrainConfig,
        FACTS,
    )
    assert (config.dataset.val_fraction, config.recipe.batch_size, config.seed) == (0.2, 7, 5)
    assert config.backbone.name == "mobilenetv2"
    assert all(type(phase) is Phase for phase in config.recipe.phases)
    assert [phase.name for phase in config.recipe.phases] == ["head", "fine_tune"]
    assert config.resume is None


def test_a_real_dataset_leaves_layout_and_taxonomy_open(composed):
    config = validate(composed("train", "dataset=fer2013", "dataset.root=/data"), TrainConfig, FACTS)
    assert (config.dataset.layout, config.dataset.taxonomy, config.dataset.votes) == (None, None, None)
    assert (config.dataset.targets, config.dataset.duplicates, config.dataset.folds) == ("majority", "keep", 0)
    assert (config.preparation.class_weights, config.recipe.balance) == ("inverse_frequency", "none")


def test_members_become_dataclasses_with_their_defaults(composed):
    config = validate(composed("pipeline", NEEDED["pipeline"][0].lstrip("+")), PipelineConfig, FACTS)
    assert config.pipeline.members == [Member("seq1", "scratch_sgd", 0), Member("seq2", "scratch_sgd", 3)]


def test_every_problem_is_listed_at_once(composed):
    found = problems(
        composed(
            "train",
            "+recipe.batchsize=64",
            "recipe.batch_size=many",
            "dataset.val_fraction=0.9",
            "dataset.duplicates=sometimes",
            "augment.flip=1",
            "backbone.dropout=-0.1",
            "compute.device=tpu",
            "seed=0.5",
        )
    )
    assert set(found) == {
        "recipe.batchsize",
        "recipe.batch_size",
        "dataset.val_fraction",
        "dataset.duplicates",
        "augment.flip",
        "backbone.dropout",
        "compute.device",
        "seed",
    }


@pytest.mark.parametrize(
    ("typo", "suggestion"),
    [
        ("+recipe.batchsize=64", "recipe.batch_size"),
        ("+dataset.val_frac=0.1", "dataset.val_fraction"),
        ("+dataset.synthesize.cuont=100", "dataset.synthesize.count"),
        ("+sead=3", "seed"),
    ],
)
def test_a_key_added_with_a_plus_is_refused_and_the_right_one_suggested(composed, typo, suggestion):
    found = problems(composed("train", typo))
    assert found == {typo[1:].split("=")[0]: f"not a setting; did you mean {suggestion}?"}


def test_a_key_like_nothing_known_lists_the_known_ones(composed):
    (text,) = problems(composed("train", "+compute.zzzzz=1")).values()
    for name in ("name", "cores", "memory_gb", "device"):
        assert name in text


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("recipe.batch_size=big", "recipe.batch_size", "must be a whole number, got 'big'"),
        ("recipe.batch_size=1.5", "recipe.batch_size", "must be a whole number, got 1.5"),
        ("recipe.batch_size=true", "recipe.batch_size", "must be a whole number, got True"),
        ("recipe.batch_size=null", "recipe.batch_size", "must be a whole number, got None"),
        ("dataset.val_fraction=half", "dataset.val_fraction", "must be a number"),
        ("dataset.val_fraction=true", "dataset.val_fraction", "must be a number"),
        ("augment.flip=1", "augment.flip", "must be true or false, got 1"),
        ("augment.flip='yes'", "augment.flip", "must be true or false, got 'yes'"),
        ("dataset.name=[a]", "dataset.name", "must be a text"),
        ("study=true", "study", "must be a text"),
        ("recipe.phases=all", "recipe.phases", "must be a list, got 'all'"),
        ("recipe.phases=[3]", "recipe.phases[0]", "must be a group of settings, got 3"),
        ("dataset.synthesize=3", "dataset.synthesize", "must be a group of settings, got 3"),
        ("preparation.size_px=15", "preparation.size_px", "must lie in 16..1024, got 15"),
        ("preparation.size_px=1025", "preparation.size_px", "must lie in 16..1024, got 1025"),
        ("dataset.val_fraction=nan", "dataset.val_fraction", "must lie in 0.01..0.5"),
        ("dataset.val_fraction=0", "dataset.val_fraction", "must lie in 0.01..0.5"),
        ("recipe.label_smoothing=1", "recipe.label_smoothing", "must lie in"),
        ("seed=-1", "seed", "must lie in"),
        ("dataset.protocol=offical", "dataset.protocol", "official, carved, fraction20, mixed; got 'offical'"),
        (
            "dataset.duplicates=drop",
            "dataset.duplicates",
            "must be one of keep, drop_train_twins, drop_all; got 'drop'",
        ),
        ("dataset.targets=soft", "dataset.targets", "majority, probability, cross_entropy, multi_target; got 'soft'"),
        ("dataset.taxonomy=ekman", "dataset.taxonomy", "must be one of fer2013, ferplus8"),
        ("dataset.label_order=abc", "dataset.label_order", "alphabetical7; got 'abc'"),
        ("dataset.folds=101", "dataset.folds", "must lie in 0..100, got 101"),
        ("preparation.margin=1.5", "preparation.margin", "must lie in 0..1, got 1.5"),
        ("preparation.align=1", "preparation.align", "must be true or false, got 1"),
        ("preparation.class_weights=balanced", "preparation.class_weights", "inverse_frequency, effective_number"),
        ("recipe.balance=true", "recipe.balance", "must be a text"),
        ("recipe.balance=weight", "recipe.balance", "must be one of none, weights, sampling; got 'weight'"),
        ("preparation.encoding=webp", "preparation.encoding", "must be one of png, jpeg, raw, float32; got 'webp'"),
        ("dataset.layout=affectnet", "dataset.layout", "'affectnet' cannot be drawn; known: fer2013-csv"),
        ("recipe.phases.0.optimizer=lion", "recipe.phases[0].optimizer", "sgd, adam, adamw"),
        ("recipe.phases.0.epochs=0", "recipe.phases[0].epochs", "must lie in 1..10000"),
    ],
)
def test_a_wrong_value_names_what_is_allowed_and_what_was_given(composed, override, key, words):
    key_path, _, value = override.partition("=")
    if ".phases.0." in override:
        cfg = composed("train")
        OmegaConf.update(cfg, key_path, int(value) if value.isdigit() else value)
    else:
        cfg = composed("train", override)
    found = problems(cfg)
    assert set(found) == {key}
    assert words in found[key]


@pytest.mark.parametrize(
    "override",
    [
        "preparation.size_px=16",
        "preparation.size_px=1024",
        "dataset.val_fraction=0.01",
        "dataset.val_fraction=0.5",
        "preparation.max_rejected=1",
        "preparation.max_rejected=0",
        "preparation.encoding=null",
        "preparation.margin=0",
        "dataset.folds=0",
        "study=2024",
    ],
)
def test_the_ends_of_a_range_whole_numbers_for_numbers_and_null_where_allowed_are_fine(composed, override):
    validate(composed("train", override, "backbone=mobilenetv2"), TrainConfig, FACTS)


def test_a_number_given_as_a_name_is_a_text(composed):
    assert validate(composed("train", "study=2024"), TrainConfig, FACTS).study == "2024"


def test_what_must_be_given_is_asked_for(composed):
    assert problems(composed("register"), RegisterConfig) == {"run": "must be given"}
    assert problems(composed("ensemble"), EnsembleConfig)["runs"].startswith("must be given, or study=NAME")
    assert problems(composed("pipeline"), PipelineConfig) == {"pipeline.members": "must be given"}
    found = problems({"study": "a"}, TrainConfig)
    assert {"dataset", "preparation", "compute", "debug", "backbone", "recipe", "augment"} == set(found)


def test_a_group_that_is_one_word_is_a_problem_of_that_group(composed):
    cfg = composed("train")
    OmegaConf.update(cfg, "dataset", "fer2013", merge=False)
    assert problems(cfg) == {"dataset": "must be a group of settings, got 'fer2013'"}


def test_a_reference_to_nothing_is_a_user_error(composed):
    with pytest.raises(UserError, match="nowhere"):
        validate(composed("train", "study=${nowhere}"), TrainConfig, FACTS)


def test_a_reference_to_another_setting_is_resolved(composed):
    assert validate(composed("train", "study=${backbone.name}"), TrainConfig, FACTS).study == "seq1"


def test_single_values_and_rules_are_reported_in_one_message(composed):
    found = problems(composed("train", "compute.device=gpu", "recipe.batch_size=0"))
    assert set(found) == {"compute.device", "recipe.batch_size"}


def test_a_broken_node_does_not_hide_what_the_rules_say_of_the_others(composed):
    found = problems(composed("train", "dataset.val_fraction=9", "recipe=two_phase"))
    assert set(found) == {"dataset.val_fraction", "recipe"}


@dataclass
class Inner:
    size: int = number(1, 3)
    kind: str = choice(("a", "b"), "a")


@dataclass
class Outer:
    inner: Inner = REQUIRED
    names: list[str] = field(default_factory=list)


def test_any_schema_can_be_validated():
    config = validate(OmegaConf.create({"inner": {"size": 2}, "names": ["x", 1]}), Outer, FACTS)
    assert config == Outer(Inner(2, "a"), ["x", "1"])
    assert problems({"inner": {"size": 4, "kind": "c"}, "names": [[1]]}, Outer) == {
        "inner.size": "must lie in 1..3, got 4",
        "inner.kind": "must be one of a, b; got 'c'",
        "names[0]": "must be a text, got [1]",
    }
