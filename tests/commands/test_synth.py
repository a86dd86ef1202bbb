"""``ferlab synth`` draws what was asked for, where it was asked for, and says so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ferlab.commands.launch import Context
from ferlab.commands.synth import run
from ferlab.config.nodes import Compute
from ferlab.config.schema import SynthConfig
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.errors import UserError


@pytest.fixture
def config(tmp_path) -> SynthConfig:
    return SynthConfig("fer2013-csv", str(tmp_path / "faces"), 100, 4, None, Compute("local", cores=1))


@pytest.fixture
def context(tmp_path) -> Context:
    """A command's surroundings; its home does not exist."""
    return Context("synth", tmp_path / "home", {})


def test_the_result_tells_where_and_what_and_the_terminal_shows_it(config, context, tmp_path, capsys):
    result = run(config, context)
    shown = capsys.readouterr().out
    training = result["counts"]["Training"]
    assert result | {"counts": None} == {
        "folder": str(tmp_path / "faces"),
        "layout": "fer2013-csv",
        "count": 100,
        "counts": None,
    }
    assert {part: sum(classes.values()) for part, classes in result["counts"].items()} == {
        "Training": 80,
        "PublicTest": 10,
        "PrivateTest": 10,
    }
    assert f"drew 100 synthetic faces: {tmp_path / 'faces'}" in shown
    line = next(line for line in shown.splitlines() if "happy" in line)
    assert line.split()[:2] == ["happy", str(training["happy"])]


def test_seed_and_size_reach_the_faces_and_all_cores_write_the_same(config, context, tmp_path):
    run(replace(config, count=500, size_px=16, compute=Compute("local", cores=0)), context)
    write_synthetic("fer2013-csv", tmp_path / "expected", 500, 4, size_px=16)
    assert (tmp_path / "faces" / "fer2013.csv").read_bytes() == (tmp_path / "expected" / "fer2013.csv").read_bytes()


def test_a_relative_folder_is_below_the_working_directory_and_a_tilde_the_home(config, context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert run(replace(config, out="here"), context)["folder"] == str(tmp_path / "here")
    assert run(replace(config, out="~/there"), context)["folder"] == str(tmp_path / "user" / "there")
    assert (tmp_path / "user" / "there" / "fer2013.csv").is_file()


def test_no_tracking_store_is_opened(config, context, tmp_path):
    run(config, context)
    assert not (tmp_path / "home").exists()
    assert context._store is None


def test_a_folder_with_something_in_it_is_refused_and_kept(config, context, tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="already exists and is not an empty folder"):
        run(config, context)
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["mine.txt"]


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(arguments)``: ``ferlab synth`` in a process group of its own, in ``tmp_path``, ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"FERLAB_HOME": str(tmp_path / "ferlab-home")}
        command = [sys.executable, "-m", "ferlab", "synth", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(
            subprocess.Popen(command, **pipes, text=True, env=environment, cwd=tmp_path, start_new_session=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_command_line_draws_a_layout_and_writes_its_result(tmp_path, start):
    process = start(
        "layout=ferplus", "out=my (1) faces", "count=420", "seed=1", "compute.cores=2", "--json", "drawn.json"
    )
    shown, complaint = process.communicate(timeout=120)
    assert (process.returncode, complaint) == (0, "")
    result = json.loads((tmp_path / "drawn.json").read_text())
    assert Path(result["folder"]) == tmp_path / "my (1) faces"
    assert {path.name for path in (tmp_path / "my (1) faces").iterdir()} == {"fer2013.csv", "fer2013new.csv"}
    assert sum(sum(part.values()) for part in result["counts"].values()) == 420
    assert "drew 420 synthetic faces" in shown


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("layout=fer2013-csv", "count=69"), ("out: must be given", "count: must")),
        (("layout=fer2014", "count=70", "out=faces"), ("layout=fer2014", "affectnet-manual")),
    ],
)
def test_the_command_line_names_what_is_missing_or_wrong(tmp_path, start, arguments, named):
    process = start(*arguments)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2
    assert all(text in complaint for text in named)
    assert "Traceback" not in complaint
    assert [path.name for path in tmp_path.iterdir()] in ([], ["ferlab-home"])


def test_ctrl_c_leaves_nothing_and_says_one_line(tmp_path, start):
    (tmp_path / "drawn").mkdir()
    process = start("layout=affectnet-manual", "out=drawn/faces", "count=100000", "compute.cores=2")
    deadline = time.monotonic() + 60
    while not any((tmp_path / "drawn").rglob("*.jpg")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (130, "interrupted\n")
    assert list((tmp_path / "drawn").iterdir()) == []
