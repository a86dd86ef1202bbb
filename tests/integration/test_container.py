"""The steps of both Dockerfiles in fresh virtual environments: what they install trains, and answers."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferlab.edge.description import Description
from ferlab.edge.export import Target, export_file
from ferlab.edge.runtimes import open_model
from ferlab.emotions import FER2013
from ferlab.models.build import ModelSpec, build_model

from .conftest import REPOSITORY, checked_out, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

USERS = ("useradd",)
"""A step for users, which an environment does not have."""


FILES = ("Dockerfile", "Dockerfile.serving")


def instructions(file: str) -> list[tuple[str, str]]:
    """Every instruction of a Dockerfile and its words, continued lines joined."""
    text = (REPOSITORY / file).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return carried_out("Dockerfile", tmp_path_factory.mktemp("container"))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return carried_out("Dockerfile.serving", tmp_path_factory.mktemp("serving"))


def carried_out(file: str, root: Path) -> tuple[Path, Path]:
    """The environment and the folder that the steps made, one after the other."""
    context = checked_out(root / "context")
    environment, folder = root / "environment", root / "work"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    folder.mkdir()
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "HOME": str(root), "UV_CACHE_DIR": str(root / "cache")}
    variables |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    for word, rest in instructions(file):
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


def test_the_small_container_answers_as_the_model_does_without_tensorflow(serving):
    environment, root = serving
    assert not (environment / "lib/python3.11/site-packages/tensorflow").exists()
    model, images = exported(root)
    words, port = dict(instructions("Dockerfile.serving"))["ENTRYPOINT"], free_port()
    command = [str(environment / "bin/python"), *json.loads(words)[1:-1], f"port={port}", f"model={model}"]
    process = subprocess.Popen(
        [*command, "faces.whole=true"], cwd=root, stdout=subprocess.PIPE, text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(root)},
    )  # fmt: skip
    try:
        assert any("Ctrl-C ends it" in line for line in process.stdout)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
            assert json.loads(answer.read())["status"] == "ok"
        runtime = open_model(model)
        for image in images:
            picture = cv2.imencode(".png", image)[1].tobytes()
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict", picture, {"Content-Type": "image/png"}, method="POST"
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                (face,) = json.loads(answer.read())["faces"]
            expected = runtime.probabilities(image[None])[0]
            np.testing.assert_allclose([face["probabilities"][name] for name in FER2013.classes], expected, atol=1e-4)
    finally:
        process.terminate()
        process.wait(60)


def exported(root: Path) -> tuple[Path, np.ndarray]:
    """An untrained network as a .tflite file, and gray images for it."""
    model = build_model(ModelSpec("seq1", FER2013.classes, 48, 1, None, "none", False, 0.0, 1.0)).model
    said = Description(FER2013.classes, "fer2013", "none", 48, "gray", 0.0, False, "untrained", "seq1")
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    return export_file(model, said, Target("litert", "float32"), root), images


@pytest.mark.parametrize("file", FILES)
def test_a_container_is_no_root_and_its_base_is_pinned(file):
    words = dict(reversed(instructions(file)))
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", words["FROM"])
    users = [rest for word, rest in instructions(file) if word == "USER"]
    assert users[-1] != "root"
    assert users[-1]
