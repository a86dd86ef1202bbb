"""Every command that README and `--help` show composes; the main ones are run by tests/integration."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from ferlab.cli import COMMANDS, take_own_flags
from ferlab.config.files import conf_folder, config_root
from ferlab.config.overrides import hydra_arguments, search_path
from ferlab.help import EXAMPLES
from ferlab.sweeping.space import space_of

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
FENCED = "\n".join(re.findall(r"^```\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE))
SHOWN = sorted(
    {line.strip() for line in FENCED.splitlines() if line.startswith("ferlab ")}
    | {example for listed in EXAMPLES.values() for example in listed}
)


def test_the_readme_shows_the_main_commands():
    assert {line.split()[1] for line in SHOWN} == set(COMMANDS)


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_command_composes(line):
    _, command, *rest = shlex.split(line, comments=True)
    own = take_own_flags(rest)
    overrides = hydra_arguments(own.overrides)
    if "-m" in own.hydra_flags:
        overrides = next(space_of(OverridesParser.create().parse_overrides(overrides)).samples())
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        assert compose(command, overrides=[*overrides, search_path([config_root()])]) is not None


def test_every_command_has_a_row_in_the_readme():
    for command in COMMANDS:
        assert f"| `ferlab {command}" in README


def test_pictures_and_pages_that_the_readme_names_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
