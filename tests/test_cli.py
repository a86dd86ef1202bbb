"""The command line as a person meets it: real processes, their output and exit codes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ferlab.cli import COMMANDS, Arguments, take_own_flags
from ferlab.config.overrides import hydra_arguments
from ferlab.errors import UserError

HEAVY = ("tensorflow", "keras", "mlflow", "pyspark")
PROBE = (
    "import sys, atexit\n"
    "atexit.register(lambda: print('HEAVY', [m for m in {heavy!r} if m in sys.modules]))\n"
    "from ferlab.cli import main\n"
    "main({arguments!r})\n"
)


@pytest.fixture
def empty_home(tmp_path: Path) -> dict[str, str]:
    """An environment with a FERLAB_HOME that does not exist yet, and nothing of MLflow's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "FERLAB", "HYDRA"))}
    return kept | {"FERLAB_HOME": str(tmp_path / "home")}


def ferlab(environment: dict[str, str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ferlab", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def heavy_imports(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and the last line, which lists the heavy packages that were imported."""
    code = PROBE.format(heavy=HEAVY, arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout.splitlines()[-1]


def is_one_clear_complaint(done: subprocess.CompletedProcess[str]) -> bool:
    lines = [line for line in done.stderr.splitlines() if line.startswith("ferlab: ")]
    return done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "arguments",
    [("--help",), (), ("--version",), ("train", "--help"), ("pipeline", "-h"), ("train", "--cfg", "job")],
    ids=" ".join,
)
def test_help_and_config_import_nothing_heavy(empty_home: dict[str, str], arguments: tuple[str, ...]) -> None:
    assert heavy_imports(empty_home, *arguments) == (0, "HEAVY []")


def test_overview_names_every_command(empty_home: dict[str, str]) -> None:
    done = ferlab(empty_home, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name, text in COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert text in done.stdout


def test_commands_are_files_and_files_are_commands() -> None:
    import ferlab.commands

    folder = Path(ferlab.commands.__file__).parent
    with_entry = {path.stem for path in folder.glob("*.py") if "\ndef main()" in path.read_text(encoding="utf-8")}
    assert with_entry == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_examples_that_begin_with_it(command: str) -> None:
    from ferlab.help import EXAMPLES, command_help

    text = command_help(command, COMMANDS[command])
    assert COMMANDS[command] in text
    assert len(EXAMPLES[command]) >= 3
    assert all(example.startswith(f"ferlab {command}") and example in text for example in EXAMPLES[command])


def test_help_of_train_lists_groups_with_their_options() -> None:
    from ferlab.help import command_help

    text = command_help("train", "")
    for option in ("synthetic*", "fer2013", "affectnet7", "seq1*", "mobilenetv2", "two_phase", "fast"):
        assert option in text


def test_help_lists_settings_with_default_values_and_remark() -> None:
    from ferlab.help import command_help

    lines = [" ".join(line.split()) for line in command_help("evaluate", "").splitlines()]
    assert "split=test validation|test" in lines
    assert "evaluation.resamples=2000 100 or more" in lines
    assert "study=null text that of the run; ferlab for a file" in lines
    assert any("ferlab evaluate --help" in line and "dataset" in line for line in lines), "where the groups' keys are"


def test_help_of_a_part_shows_its_keys_as_the_default_choice_sets_them(empty_home: dict[str, str]) -> None:
    done = ferlab(empty_home, "train", "--help", "recipe")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "recipe.balance=none none|weights|sampling" in lines
    assert "recipe.label_smoothing=0.1 0..0.9" in lines, "as recipe=scratch_sgd has it"
    assert any("exponential moving" in line for line in lines), "what the keys mean"
    assert "usage:" in ferlab(empty_home, "train", "--help", "no-such-part").stdout


def test_help_shows_what_the_composed_config_has(empty_home: dict[str, str]) -> None:
    """The outline is read without Hydra; here Hydra says whether it is right."""
    import yaml

    from ferlab.config.outline import settings

    for command in ("train", "evaluate", "verify"):
        composed = yaml.safe_load(ferlab(empty_home, command, "--cfg", "job").stdout)
        for item in settings(command):
            value = composed
            for part in item.key.split("."):
                value = value.get(part, ...) if isinstance(value, dict) else ...
            if value not in (..., "???"):  # what the files leave out is the schema's default
                assert yaml.safe_load(item.default) == value, item.key


def test_help_lists_the_experiments(empty_home: dict[str, str], tmp_path: Path) -> None:
    own = tmp_path / "work" / "experiments"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nstudy: mine\n")
    done = ferlab(empty_home, "pipeline", "--help", cwd=tmp_path / "work")
    assert "quickstart" in done.stdout
    assert "mine" in done.stdout


def test_composed_config_shows_what_was_asked_for(empty_home: dict[str, str]) -> None:
    done = ferlab(empty_home, "train", "--cfg", "job", "dataset=fer2013", "dataset.root=~/f(1)/a=b c", "seed=7")
    assert done.returncode == 0
    assert "seed: 7" in done.stdout
    assert "root: ~/f(1)/a=b c" in done.stdout
    assert "  name: fer2013\n  layout: null\n  protocol: official\n" in done.stdout


def test_own_experiment_file_is_found_from_the_working_directory(empty_home: dict[str, str], tmp_path: Path) -> None:
    own = tmp_path / "work" / "experiments"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nstudy: mine\nseed: 41\n")
    done = ferlab(empty_home, "train", "experiments=mine", "--cfg", "job", cwd=tmp_path / "work")
    assert "study: mine" in done.stdout
    assert "seed: 41" in done.stdout


def test_backbone_brings_its_recipe_and_the_command_line_beats_it(empty_home: dict[str, str]) -> None:
    alone = ferlab(empty_home, "train", "backbone=mobilenetv2", "--cfg", "job", "--package", "recipe")
    chosen = ferlab(empty_home, "train", "backbone=mobilenetv2", "recipe=quick", "--cfg", "job", "--package", "recipe")
    assert "name: two_phase" in alone.stdout
    assert "name: quick" in chosen.stdout


def test_nothing_is_written_into_the_working_directory(empty_home: dict[str, str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    ferlab(empty_home, "train", "dataset=fer2013", cwd=work)
    ferlab(empty_home, "train", "--cfg", "job", cwd=work)
    assert list(work.iterdir()) == []


WRONG = {
    "unknown command": (("fly",), "fly: no such command", "pipeline"),
    "unknown group option": (("train", "backbone=resnet99"), "resnet99", "seq1"),
    "unknown experiment": (("pipeline", "experiments=nothing_there"), "nothing_there", "quickstart"),
    "unknown key": (("train", "sede=1"), "sede", ""),
    "unknown key added by force": (("train", "+typo=1"), "typo", "not a setting"),
    "unknown nested key": (("train", "+recipe.batchsize=1"), "recipe.batchsize", "recipe.batch_size"),
    "text for a number": (("train", "seed=abc"), "seed", "whole number"),
    "missing root": (("prepare", "dataset=fer2013"), "dataset.root", "not set"),
    "root that is not there": (("prepare", "dataset=fer2013", "dataset.root=/no/such/place"), "/no/such/place", ""),
    "gpu where there is none": (("train", "compute.device=gpu"), "compute.device", "cpu"),
    "weights that do not exist": (("train", "backbone=mobilenetv2", "backbone.weights=/no.h5"), "/no.h5", ""),
    "image too small": (("train", "backbone=mobilenetv2", "backbone.working_px=16"), "backbone.working_px", "32"),
    "frozen base from scratch": (("train", "recipe=two_phase"), "two_phase", "recipe=scratch_sgd"),
    "json without a path": (("train", "--json"), "--json", "path"),
    "ensemble without runs": (("ensemble",), "runs", "must be given"),
    "evaluate without a subject": (("evaluate",), "run=ID", "predictions=FILE"),
    "evaluate with two subjects": (("evaluate", "run=a", "predictions=b.csv"), "run=ID", "one of them"),
    "predictions of nothing": (("evaluate", "predictions=b.csv"), "predictions=FILE", "dataset=fer2013"),
    "a file that is not there": (("evaluate", "predictions=b.csv", "dataset=synthetic"), "b.csv", "no such file"),
    "pipeline without members": (("pipeline",), "pipeline.members", "must be given"),
    "broken grammar": (("train", "dataset.synthesize={"), "dataset.synthesize", ""),
}


@pytest.mark.parametrize(("arguments", "named", "hint"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_gives_one_clear_message_and_exit_code_2(
    empty_home: dict[str, str], arguments: tuple[str, ...], named: str, hint: str
) -> None:
    if arguments == ("train", "compute.device=gpu") and any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    done = ferlab(empty_home, *arguments)
    assert is_one_clear_complaint(done), done.stderr
    assert named in done.stderr
    assert hint in done.stderr


def test_all_problems_come_at_once(empty_home: dict[str, str]) -> None:
    done = ferlab(
        empty_home,
        "train",
        "+typo=1",
        "seed=-1",
        "recipe.batch_size=0",
        "augment.shift=0.9",
        "dataset=fer2013",
        "backbone.working_px=16",
    )
    assert is_one_clear_complaint(done), done.stderr
    for key in ("typo", "seed", "recipe.batch_size", "augment.shift", "dataset.root"):
        assert key in done.stderr
    assert not Path(empty_home["FERLAB_HOME"], "mlflow.db").exists()


def test_verbose_keeps_the_traceback(empty_home: dict[str, str]) -> None:
    done = ferlab(empty_home, "prepare", "dataset=fer2013", "-v")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_run_that_does_not_exist_is_named(home: Path, empty_home: dict[str, str]) -> None:
    done = ferlab(empty_home | {"FERLAB_HOME": str(home)}, "evaluate", "run=doesnotexist")
    assert is_one_clear_complaint(done), done.stderr
    assert "doesnotexist" in done.stderr


def test_doctor_writes_its_findings_as_json(home: Path, empty_home: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "doctor.json"
    done = ferlab(empty_home | {"FERLAB_HOME": str(home)}, "doctor", "--json", str(out))
    checks = {check["name"]: check for check in json.loads(out.read_text())["checks"]}
    assert done.returncode == 0
    assert checks["Python"]["level"] == "ok"
    assert checks["Java"]["level"] == "ok"
    assert str(home) in checks["tracking store"]["text"]
    for name in checks:
        assert name in done.stdout


def test_doctor_says_when_java_does_not_run(home: Path, empty_home: dict[str, str]) -> None:
    done = ferlab(empty_home | {"FERLAB_HOME": str(home), "JAVA_HOME": "/no/java"}, "doctor")
    assert is_one_clear_complaint(done), done.stderr
    assert "JAVA_HOME" in done.stderr


def test_store_that_cannot_be_opened_is_one_line(empty_home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ferlab(empty_home | {"FERLAB_HOME": str(tmp_path / "file")}, "compare")
    assert is_one_clear_complaint(done), done.stderr


@pytest.mark.slow
def test_help_and_config_are_quick(empty_home: dict[str, str]) -> None:
    def best_of_three(*arguments: str) -> float:
        times = []
        for _ in range(3):
            started = time.monotonic()
            assert ferlab(empty_home, *arguments).returncode == 0
            times.append(time.monotonic() - started)
        return min(times)

    assert best_of_three("--help") <= 0.7
    assert best_of_three("train", "--help") <= 1
    assert best_of_three("train", "--cfg", "job") <= 1.5


@pytest.mark.parametrize(
    "argument",
    [
        "dataset.root=~/faces",
        "dataset.root=/data/fer (1)",
        "dataset.root=/data/fer2013 (1)/a=b",
        "dataset.root=/data/with spaces/and=equals",
        "dataset.root=/data/it's (here)",
        "dataset.root=/data/umlaut-ä/文件 (2)",
        "dataset.root=/data/{braces}",
        "dataset.root=/data/a,b",
        "dataset.root=C:\\faces\\new",
        "dataset.root=/data/ends with backslash (1)\\",
    ],
)
def test_awkward_values_arrive_as_they_were_typed(argument: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (quoted,) = hydra_arguments([argument])
    parsed = OverridesParser.create().parse_override(quoted)
    assert parsed.key_or_group == "dataset.root"
    if not parsed.is_sweep_override():
        assert parsed.value() == argument.partition("=")[2]


@pytest.mark.parametrize("argument", ["-m", "seed=0,1", "runs=[a,b]", "~augment", "+a=1", "++a=1", "a={b:1}", "a=null"])
def test_plain_arguments_are_left_alone(argument: str) -> None:
    assert hydra_arguments([argument]) == [argument]


FLAGS = {
    "nothing": ([], Arguments()),
    "path after json": (["--json", "a.json", "seed=1"], Arguments("a.json", overrides=["seed=1"])),
    "path with equals": (["--json=a=b.json"], Arguments("a=b.json")),
    "verbose": (["-v", "a=1"], Arguments(verbose=True, overrides=["a=1"])),
    "yes to every question": (["--yes", "gc=true"], Arguments(yes=True, overrides=["gc=true"])),
    "verbose, long": (["--verbose"], Arguments(verbose=True)),
    "mlflow's key and value": (["--dataset", "synthetic"], Arguments(overrides=["dataset=synthetic"])),
    "mlflow's run is ours, not hydra's": (["--run", "12e456"], Arguments(overrides=["run=12e456"])),
    "key and value with equals": (["--dataset.root=/a=b"], Arguments(overrides=["dataset.root=/a=b"])),
    "hydra's own flags, wherever they stand": (
        ["--cfg", "job", "a=1", "-m", "--info"],
        Arguments(hydra_flags=["--cfg", "job", "-m", "--info"], overrides=["a=1"]),
    ),
    "value of a hydra flag is not ours": (["-c", "--json"], Arguments(hydra_flags=["-c", "--json"])),
    "a home path is expanded": (["--json", "~/x.json"], Arguments(str(Path.home() / "x.json"))),
}


@pytest.mark.parametrize(("given", "expected"), FLAGS.values(), ids=FLAGS.keys())
def test_own_flags_are_taken_out(given: list[str], expected: Arguments) -> None:
    assert take_own_flags(given) == expected


@pytest.mark.parametrize("arguments", [["--json"], ["--dataset"], ["--cfg"]], ids=str)
def test_a_flag_without_its_value_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=arguments[0]):
        take_own_flags(arguments)
