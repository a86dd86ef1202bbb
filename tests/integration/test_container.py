"""The Dockerfile's steps in a fresh virtual environment: what it installs trains."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY, checked_out

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

USERS = ("useradd",)
"""A step for users, which an environment does not have."""


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile and its words, continued lines joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The environment and the folder that the steps made, carried out one after the other."""
    root = tmp_path_factory.mktemp("container")
    context = checked_out(root / "context")
    environment, folder = root / "environment", root / "work"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    folder.mkdir()
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "HOME": str(root), "UV_CACHE_DIR": str(root / "cache")}
    variables |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    for word, rest in instructions():
        if word == "ARG":
            name, _, value = rest.partition("=")
            variables[name] = value
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(context / source, folder / target if target != "./" else folder / source)
        elif word == "RUN" and not rest.startswith(USERS):
            done = subprocess.run(
                rest, shell=True, cwd=folder, env=variables, capture_output=True, text=True, timeout=1500, check=False
            )
            assert done.returncode == 0, f"{rest}\n{done.stderr[-3000:]}"
    return environment, root


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def test_what_the_container_installs_trains(container):
    environment, root = container
    out = root / "result.json"
    command = [environment / "bin/python", "-m", "ferlab", "train", "debug=fast", "--json", out]
    done = subprocess.run(
        command, cwd=root, env={"PATH": "/usr/bin:/bin", "FERLAB_HOME": str(root / "home"), "HOME": str(root)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(out.read_text())["run_id"]


def test_it_brings_the_gpu_s_libraries_in_the_versions_of_the_lock(container):
    environment, _ = container
    listed = subprocess.run(
        [environment / "bin/python", "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    ).stdout
    installed = {item["name"]: item["version"] for item in json.loads(listed)}
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (REPOSITORY / "gpu.lock").read_text(), flags=re.MULTILINE))
    assert "nvidia-cudnn-cu12" in locked
    assert {name: installed[name] for name in locked if name.startswith(("nvidia", "tensorflow"))} == {
        name: version for name, version in locked.items() if name.startswith(("nvidia", "tensorflow"))
    }


def test_the_container_is_no_root_and_its_base_is_pinned():
    words = dict(reversed(instructions()))
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", words["FROM"])
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users[-1] != "root"
    assert users[-1]
