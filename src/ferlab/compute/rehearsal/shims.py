"""The two commands of a node that initialization actions use, for a node that is this machine.

``gcloud storage cp [--quiet] SOURCE... TARGET`` (one ``*`` in an object's name, no folders) and
``get_metadata_value attributes/KEY``. They talk to the rehearsal's Cloud Storage.
"""

import fnmatch
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ferlab.storage import objects
from ferlab.storage.objects import is_remote
from ferlab.storage.places import joined

METADATA = "FERLAB_REHEARSAL_METADATA"
"""Environment variable: the cluster's metadata as JSON."""


def write_shims(folder: Path, python_path: str) -> None:
    """Put both commands into a folder for ``PATH``; they find ferlab on ``python_path``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("gcloud", "get_metadata_value"):
        script = folder / name
        python = f'PYTHONPATH="{python_path}" exec "{sys.executable}"'
        script.write_text(f'#!/bin/sh\n{python} -m {__name__} {name} "$@"\n')
        script.chmod(0o755)


def main(words: list[str]) -> int:
    """Carry out one command; gives its exit code."""
    if words[:1] == ["get_metadata_value"] and len(words) == 2:
        value = json.loads(os.environ[METADATA]).get(words[1].removeprefix("attributes/"))
        if value is not None:
            sys.stdout.write(value)
        return 0 if value is not None else 1
    if words[:3] == ["gcloud", "storage", "cp"]:
        *sources, target = [word for word in words[3:] if not word.startswith("-")]
        for source in sources:
            _copy(source, target)
        return 0
    sys.stderr.write(f"a rehearsal's nodes have no `{' '.join(words)}`\n")
    return 2


def _copy(source: str, target: str) -> None:
    pairs = list(_pairs(source, target))
    if not pairs:
        raise FileNotFoundError(source)
    if is_remote(target):
        objects.put_all((Path(one), other) for one, other in pairs)
    elif is_remote(source):
        objects.fetch_all((one, Path(other)) for one, other in pairs)
    else:
        for one, other in pairs:
            shutil.copyfile(one, other)


def _pairs(source: str, target: str) -> Iterator[tuple[str, str]]:
    into = target.endswith("/") or Path(target).is_dir()
    if "*" in source:
        folder, _, pattern = source.rpartition("/")
        for page in objects.objects(folder):
            for name in fnmatch.filter(page["name"].to_pylist(), pattern):
                if "/" not in name:
                    yield joined(folder, name), joined(target, name)
    else:
        yield source, joined(target, source.rpartition("/")[2]) if into else target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
