"""Code and packages in the bucket, under names made from their content: what is there is right and stays."""

import json
import tempfile
from pathlib import Path

from ferlab.compute.dataproc import Shipped
from ferlab.compute.target import Target
from ferlab.preparation import job
from ferlab.preparation.packing import pack_code
from ferlab.storage.files import sha256_of, sha256_of_text
from ferlab.storage.places import joined
from ferlab.storage.upload import upload

DIGEST = 16
WEIGHTS = ".weights.h5"


def ship_job(target: Target, wheelhouse: Path) -> Shipped:
    """Everything a cluster needs: the Spark job, the code it imports, and the set-up of its nodes.

    ``wheelhouse`` is a folder with the executors' lock and wheels, named by their content.
    """
    setup = joined(target.shipped, wheelhouse.name)
    upload(wheelhouse, setup, _unheard)
    return Shipped(_ship(target, Path(job.__file__), "job", ".py"), ship_code(target), setup)


def ship_code(target: Target) -> str:
    """The code that runs now, with its settings, as a zip file."""
    with tempfile.TemporaryDirectory() as scratch:
        return _ship(target, pack_code(Path(scratch) / "code.zip", settings=True), "ferlab", ".zip")


def ship_weights(target: Target, weights: Path) -> str:
    """A file, or a folder, of weights of this machine."""
    if weights.is_dir():
        files = {file.name: sha256_of(file) for file in sorted(weights.iterdir()) if file.is_file()}
        digest = sha256_of_text(json.dumps(files))[:DIGEST]
        url = joined(target.shipped, "weights", f"{weights.name}-{digest}")
        upload(weights, url, _unheard)
        return url
    ending = WEIGHTS if weights.name.endswith(WEIGHTS) else weights.suffix  # by which Keras chooses how to read it
    return _ship(target, weights, f"weights/{weights.name.removesuffix(ending)}", ending)


def _ship(target: Target, file: Path, name: str, ending: str) -> str:
    url = joined(target.shipped, f"{name}-{sha256_of(file)[:DIGEST]}{ending}")
    upload(file, url, _unheard)
    return url


def _unheard(done: int, total: int) -> None:
    """Small transfers need no progress."""
