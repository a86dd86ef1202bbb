"""Config files and FERLAB_HOME are found where a user expects them."""

from pathlib import Path

import pytest
import yaml

from ferlab.config.files import conf_folder, config_root, ferlab_home, groups, options


def test_the_checkout_has_the_config_groups_of_every_command():
    assert conf_folder() == config_root() / "conf"
    assert groups("train")["backbone"] == "seq1"
    assert groups("train")["experiments"] is None
    assert {"dataset", "preparation", "compute", "debug"} <= set(groups("prepare"))
    assert not any("override" in name for name in groups("train"))


@pytest.mark.parametrize("command", ["prepare", "train", "pipeline"])
def test_every_default_choice_is_an_option_of_its_group(command):
    for group, default in groups(command).items():
        assert default is None or default in options(group)


def test_options_are_the_files_of_the_group():
    files = {path.stem for path in (conf_folder() / "dataset").glob("*.yaml")}
    assert set(options("dataset")) == files
    assert {"fer2013", "synthetic", "affectnet7"} <= files
    assert options("no_such_group") == ()


def test_experiments_of_the_users_own_folder_come_last(tmp_path, monkeypatch):
    shipped = options("experiments")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").write_text("study: mine\n")
    (tmp_path / "experiments" / "quickstart.yaml").write_text("study: mine\n")
    monkeypatch.chdir(tmp_path)
    assert options("experiments")[-1] == "mine"
    assert sorted(options("experiments")) == sorted({*shipped, "quickstart", "mine"})


def test_every_config_file_is_yaml_that_opens():
    for path in config_root().glob("conf/**/*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path


def test_ferlab_home_of_the_environment_wins(tmp_path, monkeypatch):
    (tmp_path / ".ferlab").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERLAB_HOME", str(tmp_path / "other"))
    assert ferlab_home() == tmp_path / "other"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FERLAB_HOME", "~/mine")
    assert ferlab_home() == tmp_path / "mine"
    monkeypatch.setenv("FERLAB_HOME", "relative")
    assert ferlab_home() == tmp_path / "relative"


def test_the_nearest_parent_that_has_a_home_is_used(tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    monkeypatch.delenv("FERLAB_HOME", raising=False)
    monkeypatch.chdir(deep)
    (tmp_path / ".ferlab").mkdir()
    assert ferlab_home() == tmp_path / ".ferlab"
    (tmp_path / "a" / "b" / ".ferlab").mkdir()
    assert ferlab_home() == tmp_path / "a" / "b" / ".ferlab"


def test_without_any_home_it_is_in_the_working_directory_and_is_not_made(tmp_path, monkeypatch):
    if any((folder / ".ferlab").is_dir() for folder in tmp_path.parents):
        pytest.skip("a parent of the temporary folder has a .ferlab")
    monkeypatch.setenv("FERLAB_HOME", "")
    monkeypatch.chdir(tmp_path)
    assert ferlab_home() == Path.cwd() / ".ferlab"
    assert list(tmp_path.iterdir()) == []
