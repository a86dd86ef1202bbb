"""The wheel in an empty environment, and `mlflow run` from a clean clone: each in a real environment of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("FERLAB", "MLFLOW", "PYTHONPATH"))}
    done = subprocess.run(
        command, cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def interpreter(version: str) -> str | None:
    """A Python of that version that really starts: on the path, or one of pyenv's."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, pyenv)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The tracked files as they are in the working tree, in a git repository of their own."""
    folder = tmp_path_factory.mktemp("clone") / "ferlab"
    run("git", "clone", "--quiet", str(REPOSITORY), str(folder), folder=REPOSITORY)
    changed = run("git", "ls-files", "--modified", "--others", "--exclude-standard", folder=REPOSITORY).stdout.split(
        "\n"
    )
    for name in filter(None, changed):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    return folder


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_wheel_works_from_any_folder_of_an_empty_environment(clone, tmp_path, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    run(str(UV), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "dist"), folder=clone)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment = tmp_path / "environment"
    run(python, "-m", "venv", str(environment), folder=tmp_path)
    install = (
        str(UV),
        "pip",
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        str(environment / "bin" / "python"),
    )
    run(*install, "--require-hashes", "-r", str(clone / "requirements.lock"), folder=tmp_path)
    run(*install, "--no-deps", str(wheel), folder=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ferlab = str(environment / "bin" / "ferlab")
    assert "quickstart" in run(ferlab, "pipeline", "--help", folder=elsewhere).stdout
    run(ferlab, "pipeline", "experiments=quickstart", "debug=fast", "--json", "out.json", folder=elsewhere)
    result = json.loads((elsewhere / "out.json").read_text())
    assert len(result["members"]) == 3
    assert sorted(path.name for path in elsewhere.iterdir()) == [".ferlab", "out.json"]


@pytest.mark.parametrize("manager", ["local", "uv"])
def test_mlflow_run_trains_from_a_clean_clone_and_joins_the_run_it_made(clone, tmp_path, manager):
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    scripts = str(Path(sys.executable).parent)
    done = run(
        str(Path(scripts) / "mlflow"), "run", ".", "-e", "train", "--env-manager", manager,
        "-P", "dataset=synthetic", "-P", "debug=fast", "-P", "seed=7",
        folder=clone,
        MLFLOW_TRACKING_URI=store,
        MLFLOW_ENV_ROOT=str(tmp_path / "envs"),
        FERLAB_HOME=str(tmp_path / "home"),
        PATH=f"{scripts}:{os.environ['PATH']}",
    )  # fmt: skip
    import mlflow

    runs = mlflow.tracking.MlflowClient(store).search_runs(["0", "1"])
    (train,) = [item for item in runs if item.data.tags.get("ferlab.stage") == "train"]
    assert train.info.status == "FINISHED"
    assert train.info.run_id in done.stdout + done.stderr
    assert train.data.params["seed"] == "7"
    assert "mlflow.project.entryPoint" in train.data.tags
    assert {item.data.tags.get("ferlab.stage") for item in runs} == {"prepare", "train"}


def test_make_install_refuses_another_python_in_one_line(tmp_path, clone):
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        cwd=clone, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert "needs Python 3.11, 3.12 or 3.13" in line
    assert not (tmp_path / "venv").exists()
