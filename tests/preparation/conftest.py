"""Preparations in processes of their own, which can be killed; what they leave; images that take their time."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from ferlab.preparation.plan import WORK
from ferlab.preparation.prepare import Prepared, prepared_place
from ferlab.preparation.request import Request

DRIVER = """
import json, sys
from pathlib import Path
from ferlab.datasets.catalog import FAMILIES, LAYOUTS, taxonomies_of
from ferlab.datasets.listing import Reading
from ferlab.datasets.splits import Split
from ferlab.emotions import TAXONOMIES
from ferlab.errors import UserError
from ferlab.imaging.face import ImageSettings
from ferlab.preparation.prepare import prepare
from ferlab.preparation.request import Request
from ferlab.preparation.spark import Resources, Watch
given = json.loads(sys.argv[1])
root, out, layout = Path(given["root"]), Path(given["out"]), given["layout"]
family = FAMILIES[LAYOUTS[layout]]
native = {"size_px": family.size_px, "colour": family.colour, "encoding": family.encoding}
taxonomy = TAXONOMIES[taxonomies_of("synthetic", layout)[0]]
request = Request(
    "synthetic", family, family.locate(root, out / "unpacked"), Reading(taxonomy),
    Split("carved", 0.1, 0), ImageSettings(**(native | given["settings"])), shards=given["shards"]
)
watch = Watch(on_images=lambda done, total: print("progress", done, total, flush=True))
print("started", flush=True)
try:
    # a number of cores would limit what is taken of a cluster
    resources = Resources(0 if given["master"] else given["cores"], 1, given["master"])
    made = prepare(request, out, resources, 0.01, {}, watch)
except UserError as error:
    print(error)
    sys.exit(2)
print(json.dumps({
    "reused": made.reused, "digest": made.manifest.digest, "total": made.manifest.total, "kept": made.kept,
    "place": made.place
}))
"""

IMAGES = 240
SLOW_PX = 1280
PICTURES = 8


@dataclass
class Driver:
    """A process that prepares ``root`` below ``out``."""

    process: subprocess.Popen[str]
    out: Path

    def finished_shards(self) -> int:
        """How many shards are finished so far."""
        return len(list(self.out.glob(f"*/{WORK}/*.tfrecord.json")))

    def wait_for_shards(self, count: int) -> None:
        """Return as soon as so many shards are finished."""
        until = time.monotonic() + 120
        while self.finished_shards() < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "no shard was finished in two minutes"
            time.sleep(0.02)

    def wait(self) -> None:
        """Return when it has ended, however it did."""
        self.process.communicate(timeout=60)

    def result(self) -> dict[str, Any]:
        """What it ended with, which must be a whole preparation."""
        printed, errors = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, printed + errors[-3000:]
        return json.loads(printed.splitlines()[-1])


StartDriver = Callable[..., Driver]


@pytest.fixture
def start_driver() -> Iterator[StartDriver]:
    """``start_driver(root, out, layout, cores=1, master=None, environment={}, size_px=..., ...)`` gives a Driver."""
    started: list[subprocess.Popen[str]] = []

    def start(
        root: Path,
        out: Path,
        layout: str = "fer2013-csv",
        cores: int = 1,
        master: str | None = None,
        shards: int | None = None,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        **settings: Any,
    ) -> Driver:
        given = {
            "root": str(root), "out": str(out), "layout": layout, "cores": cores, "master": master, "shards": shards,
            "settings": settings,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ) | dict(environment or {}),
            preexec_fn=before,
        )
        started.append(process)
        return Driver(process, out)

    yield start
    for process in started:
        if process.poll() is None:
            kill_tree(process.pid)
            process.communicate()


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all below it."""
    top = psutil.Process(pid)
    for process in [*top.children(recursive=True), top]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def python_below(pid: int) -> list[psutil.Process]:
    """Spark's Python processes below a process, the daemons that fork and the workers that make shards."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "pyspark.daemon" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(scope="session")
def slow_images(session_folder: Path) -> Path:
    """240 images in AffectNet's class folders that take some seconds of a core: large PNGs, eight different ones."""
    root = session_folder / f"slow-{os.environ.get('PYTEST_XDIST_WORKER', 'images')}"
    classes = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    rng = np.random.default_rng(2)
    root.mkdir(parents=True)
    sources = []
    for number in range(PICTURES):
        smooth = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (SLOW_PX, SLOW_PX))
        sources.append(root / f".{number}.png")
        cv2.imwrite(str(sources[-1]), smooth, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    for number in range(IMAGES):
        folder = root / ("val" if number % 8 == 7 else "train") / classes[number % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        # one file under many names: nothing looks at that, and the disk is spared
        (folder / f"{number}.png").hardlink_to(sources[number % PICTURES])
    return root


SLOW = {"layout": "affectnet-folder", "size_px": 64, "shards": 8}
"""How ``slow_images`` are prepared."""


@pytest.fixture(scope="session")
def undisturbed(slow_images: Path, session_folder: Path, make_request: Any, run_prepare: Any) -> Prepared:
    """``slow_images`` prepared without any disturbance on two cores."""
    return run_prepare(make_request(slow_images, **SLOW), session_folder / f"undisturbed-{slow_images.name}")


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard and of the rejections in a prepared folder."""
    files = [*folder.glob("*.tfrecord"), folder / "rejected.parquet"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def litter(prepared_root: Path) -> list[str]:
    """Everything below the root beside lock files, folders too when they are empty."""
    return sorted(
        path.relative_to(prepared_root).as_posix()
        for path in prepared_root.rglob("*")
        if ".locks" not in path.parts and not (path.is_dir() and any(path.iterdir()))
    )


def folder_of(prepared_root: Path, request: Request) -> Path:
    """Where a request is prepared."""
    return Path(prepared_place(prepared_root, request))
