"""An environment with JAX and without TensorFlow, built once under build/jax and used again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ferlab.storage.files import exclusive

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / "build" / "jax"
UV = Path(sys.executable).with_name("uv")
PACKAGES = (
    "jax==0.10.2", "jaxlib==0.10.2", "keras", "numpy", "opencv-python-headless", "pyarrow", "google-crc32c", "h5py",
    "omegaconf", "hydra-core", "pyyaml",
)  # fmt: skip


def uv(*command: str) -> None:
    done = subprocess.run([str(UV), *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def jax_python() -> Path:
    """The interpreter of an environment with JAX, Keras and what training reads, in the versions of our lock."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed.json"
    wanted = json.dumps([PACKAGES, sys.version, (REPOSITORY / "requirements.lock").stat().st_size])
    with exclusive(ENVIRONMENT.with_name("jax.lock")):
        if not stamp.is_file() or stamp.read_text() != wanted:
            uv("venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT))
            constraint = ("--constraint", "requirements.lock")
            uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *constraint, *PACKAGES)
            stamp.write_text(wanted)
    return python


@pytest.fixture(scope="session")
def start_in_jax(jax_python: Path) -> Callable[..., subprocess.Popen[str]]:
    """``start_in_jax(script, options)``: the script under way on the JAX backend, with ferlab's sources importable."""

    def start(script: Path, options: dict[str, Any]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(jax_python), str(script), json.dumps(options)],
            env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY / "src")},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.fixture(scope="session")
def outcome_of() -> Callable[[subprocess.Popen[str]], dict[str, Any]]:
    """``outcome_of(process)``: the JSON object in the last line that it printed, once it has ended well."""

    def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
        try:
            printed, errors = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 0, errors[-3000:]
        return dict(json.loads(printed.splitlines()[-1]))

    return outcome


@pytest.fixture
def jax_packages(jax_python: Path, tmp_path: Path) -> Path:
    """A folder with JAX alone, to be found beside the packages of this environment."""
    folder = tmp_path / "jax-packages"
    folder.mkdir()
    (installed,) = jax_python.parents[1].glob("lib/python3*/site-packages")
    for package in [*installed.glob("jax*"), installed / "ml_dtypes", installed / "opt_einsum"]:
        (folder / package.name).symlink_to(package)
    return folder
