"""Values reach the config as they were typed, however awkward for Hydra's grammar."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from ferlab.config.files import conf_folder
from ferlab.config.overrides import endings, hydra_arguments, search_path, shortened, told_apart


@pytest.mark.parametrize(
    "value",
    [
        "/data/fer",
        "~/faces",
        "/data/fer (1)",
        "/data/a=b",
        "/data/with spaces/and=equals (2)",
        "/data/it's (here)",
        'C:\\faces\\"new" (1)',
        "/data/{braces",
        "/data/[brackets",
        "/data/größe/文件 (2)",
        "/data/#hash",
        "/data/100%",
        "/data/ends with backslash (1)\\",
        "/data/a:b",
        "/data/a&b;c|d",
        "@here",
        "!bang",
    ],
)
def test_a_value_arrives_as_it_was_typed(value):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("train", overrides=hydra_arguments([f"dataset.root={value}"]))
    assert cfg.dataset.root == value


@pytest.mark.parametrize(
    "argument",
    [
        "seed=3",
        "seed=1,2,3",
        "runs=[abc,def]",
        "+a.b={x:1,y:[2]}",
        "~dataset.root",
        "recipe=two_phase",
        "study='quoted text'",
        "seed=range(1,5)",
        "dataset.root=null",
        "dataset.root=",
        "study=${backbone.name}",
        "-m",
        "--cfg",
        "job",
        "--config-dir=/a (1)",
    ],
)
def test_what_hydra_understands_is_left_alone(argument):
    assert hydra_arguments([argument]) == [argument]


def test_the_order_and_number_of_arguments_stay():
    arguments = ["-m", "seed=1,2", "dataset.root=/a (1)", "--cfg", "job"]
    made = hydra_arguments(arguments)
    assert [made[i] for i in (0, 1, 3, 4)] == [arguments[i] for i in (0, 1, 3, 4)]
    assert made[2].startswith("dataset.root=")


@pytest.mark.parametrize("name", ["plain", "with space", "it's (1)", "a=b", "a,b", "größe", "[x]", "{y}"])
def test_the_search_path_survives_any_folder_name(tmp_path, name):
    user = tmp_path / name / "experiments"
    user.mkdir(parents=True)
    (user / "mine.yaml").write_text("# @package _global_\nstudy: my_study\n")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("train", overrides=["experiments=mine", search_path([tmp_path / "absent", tmp_path / name])])
    assert cfg.study == "my_study"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("run=12e45678", "12e45678"),
        ("resume=123456", "123456"),
        ("run=seq1-demo-s0", "seq1-demo-s0"),
        ("teacher=12e45678", "12e45678"),
        ("runs=[12e45678,00000000,abcdef12]", ["12e45678", "00000000", "abcdef12"]),
        ("runs=[12e45678]", ["12e45678"]),
    ],
)
def test_run_ids_stay_text(argument, value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (quoted,) = hydra_arguments([argument])
    parsed = OverridesParser.create().parse_override(quoted).value()
    assert [str(item) for item in parsed] == value if isinstance(value, list) else str(parsed) == value


@pytest.mark.parametrize(
    ("override", "short", "brief"),
    [
        ("backbone=seq1", "seq1", "seq1"),
        ("seed=3", "s3", "s3"),
        ("+augment.mixup=0.2", "mixup=0.2", "mixup=0.2"),
        ("recipe.phases.0.epochs=5", "phases.0.epochs=5", "epochs=5"),
        ("backbone.weights=/a/b/file.h5", "weights=file.h5", "weights=file.h5"),
        ("deterministic=true", "deterministic=true", "deterministic=true"),
    ],
)
def test_overrides_are_shortened_for_names_of_runs(override: str, short: str, brief: str) -> None:
    assert shortened(override) == short
    assert told_apart(override, {}) == brief


def test_names_are_as_long_as_tells_them_apart() -> None:
    varied = {"recipe.phases.0.epochs": ["1", "2"], "recipe.phases.1.epochs": ["3"], "dataset.root": ["/a/x", "/b/x"]}
    assert told_apart("recipe.phases.0.epochs=1", varied) == "0.epochs=1"
    assert told_apart("recipe.phases.1.epochs=3", varied) == "1.epochs=3"
    assert told_apart("dataset.root=/a/x", varied) == "root=a/x"
    assert told_apart("dataset.root=/b/x", varied) == "root=b/x"
    assert told_apart("backbone.weights=/a/b/file.h5", {"backbone.weights": ["none", "/a/b/file.h5"]}) == (
        "weights=file.h5"
    )


def test_an_ending_is_whole_where_another_text_ends_in_it() -> None:
    assert endings(["epochs", "a.epochs", "b.a.epochs", "rate"], ".") == {
        "epochs": "epochs", "a.epochs": "a.epochs", "b.a.epochs": "b.a.epochs", "rate": "rate",
    }  # fmt: skip
