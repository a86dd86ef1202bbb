"""What the nodes of a cluster install: wheels of ``executors.lock`` in one folder, downloaded once.

The folder is put into a bucket, and ``setup.sh``, an initialization action, installs from it on every node, without a
network. Serverless Spark has no initialization actions: there a container image brings the packages.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ferlab.errors import UserError
from ferlab.storage.files import exclusive, remove_folder, sha256_of, sha256_of_text, writing_errors

LOCK_NAME = "executors.lock"
"""The lock's name beside the wheels: its lines for one Python, without markers."""
METADATA_KEY = "ferlab-setup"
"""The key of a cluster's metadata that names the ``gs://`` prefix of the wheels."""
NODE_PYTHON = "/opt/ferlab/bin/python"
"""The Python that ``setup.sh`` makes on every node: for ``spark.pyspark.python``."""
SETUP = Path(__file__).with_name("setup.sh")
"""The initialization action; it lies beside the wheels, too."""
# the machines' C library: 2.28 is Debian 10's and RHEL 8's, older than that of any image in use
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
OFFLINE = ("NewConnectionError", "Failed to establish", "Temporary failure in name resolution", "ConnectTimeout")


def make_wheelhouse(lock: Path, folder: Path, python: str = "3.11") -> Path:
    """Download the wheels of a hashed lock below ``folder``; at once when they are there.

    Args:
        lock: requirements with hashes, as ``uv pip compile --universal --generate-hashes`` writes them.
        folder: gets one folder for each lock and Python, complete or absent.
        python: the version of the nodes' Python; they are Linux machines with an x86-64 processor.

    Returns:
        The folder with the wheels, ``executors.lock`` and ``setup.sh``, named by the last two.

    Raises:
        UserError: there is no network or no pip, or a package has no wheel for that Python.

    """
    made = folder / f"{sha256_of_text(sha256_of(lock) + sha256_of(SETUP))[:16]}-py{python}"
    with exclusive(folder / f"{made.name}.lock"):
        if not made.exists():
            partial = made.with_name(f"{made.name}.partial")
            remove_folder(partial)
            with writing_errors(partial):
                partial.mkdir(parents=True)
                (partial / LOCK_NAME).write_text("\n".join(_lines_for(lock.read_text(encoding="utf-8"), python)) + "\n")
                shutil.copyfile(SETUP, partial / SETUP.name)
                _download(partial, python, lock)
                partial.rename(made)
    return made


def _lines_for(text: str, python: str) -> Iterator[str]:
    """Requirements of a universal lock that hold for CPython ``python`` on Linux, each with its hashes in one line."""
    from packaging.markers import Marker

    target = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement, *hashes = (part.strip() for part in line.split("--hash="))
        name, _, marker = requirement.partition(";")
        if not marker or Marker(marker).evaluate(target):
            yield " ".join([name.strip(), *(f"--hash={value}" for value in hashes)])


def _download(folder: Path, python: str, lock: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        message = (
            f"{sys.executable}: this Python has no pip, which downloads the packages of Spark's workers. "
            "Add it with `python -m ensurepip` (or `uv pip install pip`) and run again."
        )
        raise UserError(message)
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"),
        *("--only-binary", ":all:", "--require-hashes", "--python-version", python, "--implementation", "cp"),
        *("--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none", *platforms),
        *("--dest", str(folder), "--requirement", str(folder / LOCK_NAME)),
    ]
    done = subprocess.run(command, env=os.environ | {"PIP_RETRIES": "2"}, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(_reason(done.stderr, lock, python))


def _reason(said: str, lock: Path, python: str) -> str:
    if any(words in said for words in OFFLINE):
        return (
            f"{lock}: the packages of Spark's workers must be downloaded once, and there is no network. "
            "Run again where there is one; later runs need none."
        )
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    why = (errors or said.strip().splitlines() or ["pip gave no reason"])[-1]
    return f"{lock}: pip cannot download it for Python {python} on Linux ({why}). Check the network and pip's settings."
