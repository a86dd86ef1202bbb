"""The nodes of a rehearsed cluster: one Python environment, made by the initialization actions that were shipped.

All nodes are this machine, so the actions run once. An environment is kept by what went into it (the actions, the
cluster's metadata and the objects at the place that the metadata names): the next cluster of the same kind has it.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from ferlab.compute.rehearsal.children import Child
from ferlab.compute.rehearsal.shims import METADATA, write_shims
from ferlab.compute.rehearsal.storage import Buckets
from ferlab.compute.wheelhouse import METADATA_KEY, NODE_PYTHON
from ferlab.storage.files import remove_folder, write_text

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""Variables of this machine that processes on a rehearsed one see, too."""


def machine_environment(home: Path) -> dict[str, str]:
    """The environment of a fresh machine: nothing of the user's but what programs need to start."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"HOME": str(home)}


def python_path() -> str:
    """Where this process found its modules, for one that shall find the same."""
    source = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(dict.fromkeys([source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))


def environment_key(cluster: dict[str, Any], buckets: Buckets) -> str | None:
    """Names what the initialization actions of a cluster make; None for a cluster without any."""
    actions, metadata = _actions(cluster), _metadata(cluster)
    if not actions:
        return None
    digest = hashlib.sha256(sys.version.encode())
    for url in actions:
        digest.update(buckets.content(url))
    digest.update(json.dumps(metadata, sort_keys=True).encode())
    bucket, _, prefix = metadata.get(METADATA_KEY, "").removeprefix("gs://").partition("/")
    with buckets.lock:
        for name, known in sorted(buckets.objects.get(bucket, {}).items()):
            if name.startswith(prefix):
                digest.update(f"{name} {known['crc32c']}\n".encode())
    return digest.hexdigest()[:16]


class NodeEnvironment:
    """The environment ``key`` below ``folder``, made by the actions of ``cluster`` unless it is there."""

    def __init__(self, folder: Path, cluster: dict[str, Any], key: str | None) -> None:
        self._cluster, self._key = cluster, key
        self.place = folder / "environments" / (key or "none")
        self._folder = folder / "clusters" / cluster["clusterUuid"]
        self._made = self.place.with_name(f"{self.place.name}.made")
        self._maker = self.place.with_name(f"{self.place.name}.maker")

    @property
    def ready(self) -> bool:
        """Whether jobs can use it."""
        return self._key is None or self._made.exists()

    @property
    def python(self) -> str:
        """The Python that jobs run with: that of the environment, or the stand-in's own where no action made one."""
        made = self.place / "bin" / "python"
        return str(made) if made.exists() else sys.executable

    def on_node(self, value: str) -> str:
        """A setting, with the place of the real nodes' environment replaced by where it is here."""
        real = str(Path(NODE_PYTHON).parents[1])
        return value.replace(real, str(self.place)) if value.startswith(real) else value

    def log(self, number: int) -> Path:
        """Where an action's output goes."""
        return self._folder / f"dataproc-initialization-script-{number}_output"

    def proceed(self, buckets: Buckets, storage: str) -> tuple[str, Path] | None:
        """Go on making it; the URL and the output of the action that failed, None where none has.

        ``storage`` is the address of the rehearsal's Cloud Storage.
        """
        if self.ready or not self._ours():
            return None
        for number, url in enumerate(_actions(self._cluster)):
            child = Child(self._folder / f"action-{number}")
            if not child.begun:
                self._start(child, number, buckets.content(url), storage)
                return None
            code = child.exit_code()
            if code is None:
                return None
            if code:
                remove_folder(self.place)
                self._maker.unlink(missing_ok=True)
                return url, self.log(number)
        self._made.touch()
        return None

    def _ours(self) -> bool:
        """Whether this cluster makes it, and not another one that began before."""
        maker = Path(self._maker.read_text()) if self._maker.exists() else self._folder
        if maker != self._folder and any(
            Child(action.parent).exit_code() is None for action in maker.glob("action-*/command.json")
        ):
            return False
        write_text(self._maker, str(self._folder))
        return True

    def _start(self, child: Child, number: int, action: bytes, storage: str) -> None:
        script, shims, home = (self._folder / name for name in (f"action-{number}.sh", "commands", "home"))
        home.mkdir(parents=True, exist_ok=True)
        script.write_bytes(action)
        write_shims(shims, python_path())
        environment = machine_environment(home)
        environment |= {
            "PATH": f"{shims}{os.pathsep}{environment['PATH']}",
            "STORAGE_EMULATOR_HOST": storage,
            METADATA: json.dumps(_metadata(self._cluster) | {"dataproc-role": "Master"}),
            "FERLAB_ENVIRONMENT": str(self.place),
            "FERLAB_METADATA": str(shims / "get_metadata_value"),
            "FERLAB_GCLOUD": str(shims / "gcloud"),
            "FERLAB_PYTHON": sys.executable,
        }
        child.start(["/bin/bash", str(script)], environment, self.log(number))


def _actions(cluster: dict[str, Any]) -> list[str]:
    return [action["executableFile"] for action in cluster.get("config", {}).get("initializationActions", [])]


def _metadata(cluster: dict[str, Any]) -> dict[str, str]:
    metadata: dict[str, str] = cluster.get("config", {}).get("gceClusterConfig", {}).get("metadata", {})
    return metadata
