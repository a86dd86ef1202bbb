"""Shared fixtures: small data sets in the real on-disk formats, one prepared data set, an empty tracking store.

The session's data sets are drawn once, also under pytest-xdist, and are read-only by agreement: a test that damages
files works on a copy.
"""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ferlab.datasets.catalog import FAMILIES, LAYOUTS, taxonomies_of
from ferlab.datasets.listing import Reading
from ferlab.datasets.splits import Split
from ferlab.datasets.synthetic.layouts import write_synthetic
from ferlab.emotions import TAXONOMIES
from ferlab.imaging.face import ImageSettings
from ferlab.preparation.prepare import Prepared, prepare
from ferlab.preparation.request import Request
from ferlab.preparation.spark import Resources, Watch
from ferlab.storage.files import exclusive

CSV_FACES, AFFECTNET_FACES, SEED = 700, 120, 3
REPOSITORY = Path(__file__).resolve().parents[1]
REAL_FACES = "shared/data/fer2013_train_public.parquet"

MakeRequest = Callable[..., Request]
RunPrepare = Callable[..., Prepared]


def pytest_configure() -> None:
    # before anything imports TensorFlow; oneDNN announces itself at level INFO
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a session, the same for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    return base / "ferlab-session"


def drawn_once(folder: Path, layout: str, count: int) -> Path:
    with exclusive(folder.with_name(folder.name + ".lock")):
        if not folder.exists():
            write_synthetic(layout, folder, count, SEED)
    return folder


@pytest.fixture(scope="session")
def synthetic_csv(session_folder: Path) -> Path:
    """A folder with ``fer2013.csv`` of 700 synthetic faces: 560 Training, 70 PublicTest, 70 PrivateTest."""
    return drawn_once(session_folder / "fer2013-csv", "fer2013-csv", CSV_FACES)


@pytest.fixture(scope="session")
def affectnet_folder(session_folder: Path) -> Path:
    """A folder with 120 synthetic faces in AffectNet's 2021 layout: 108 in train_set, 12 in val_set."""
    return drawn_once(session_folder / "affectnet-2021", "affectnet-2021", AFFECTNET_FACES)


@pytest.fixture(scope="session")
def make_request() -> MakeRequest:
    """``make_request(root, layout="fer2013-csv", protocol="carved", size_px=48, ...)`` gives a ``Request``."""

    def make(
        root: Path,
        layout: str = "fer2013-csv",
        dataset: str = "synthetic",
        protocol: str = "carved",
        val_fraction: float = 0.1,
        split_seed: int = 0,
        duplicates: str = "keep",
        targets: str = "majority",
        weighting: str = "inverse_frequency",
        accept_alarms: bool = False,
        shards: int | None = None,
        **settings: Any,
    ) -> Request:
        family = FAMILIES[LAYOUTS[layout]]
        taxonomy = TAXONOMIES[taxonomies_of(dataset, layout)[0]]
        native = {"size_px": family.size_px, "colour": family.colour, "encoding": family.encoding}
        return Request(
            dataset,
            family,
            family.locate(root, root.parent / "unpacked"),
            Reading(taxonomy),
            Split(protocol, val_fraction, split_seed, duplicates=duplicates),
            ImageSettings(**(native | settings)),
            targets,
            weighting,
            accept_alarms,
            shards,
        )

    return make


@pytest.fixture(scope="session")
def run_prepare() -> RunPrepare:
    """``run_prepare(request, prepared_root, cores=2, max_rejected=0.01, watch=...)``: a real Spark run, ~8 s."""

    def run(
        request: Request,
        prepared_root: Path,
        cores: int = 2,
        max_rejected: float = 0.01,
        watch: Watch | None = None,
        master: str | None = None,
    ) -> Prepared:
        return prepare(request, prepared_root, Resources(cores, 1, master), max_rejected, {}, watch or Watch())

    return run


@pytest.fixture(scope="session")
def prepared(synthetic_csv: Path, session_folder: Path, make_request: MakeRequest, run_prepare: RunPrepare) -> Prepared:
    """The 700 faces prepared under protocol carved: 48 px gray PNG. Do not write into its folder."""
    return run_prepare(make_request(synthetic_csv), session_folder / "prepared")


@pytest.fixture(scope="session")
def store_template(session_folder: Path) -> Path:
    """A folder with an empty ``mlflow.db``, made once because its migrations take seconds."""
    from ferlab.tracking.store import connect

    folder = session_folder / "store-template"
    with pytest.MonkeyPatch.context() as patch, exclusive(session_folder / "store-template.lock"):
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        if not folder.exists():
            connect(folder, folder)
            # MLflow exports the address it was given; the next store of this process must not inherit it
            os.environ.pop("MLFLOW_TRACKING_URI", None)
    return folder


@pytest.fixture
def home(tmp_path: Path, store_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh FERLAB_HOME with an empty tracking store; nothing of the caller's environment reaches it."""
    folder = tmp_path / "ferlab-home"
    folder.mkdir()
    shutil.copy(store_template / "mlflow.db", folder / "mlflow.db")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FERLAB_HOME", str(folder))
    yield folder
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def other_store(tmp_path: Path, store_template: Path) -> str:
    """Address of an empty tracking store in another folder than ``home``."""
    folder = tmp_path / "target"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes((store_template / "mlflow.db").read_bytes())
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture(scope="session")
def tf() -> Any:
    """TensorFlow, imported when a test asks for it."""
    from ferlab.streams import load_backend

    load_backend()
    import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def storage_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Cloud Storage emulator in a process of its own, which ends with the session."""
    answered = tmp_path_factory.mktemp("storage-emulator") / "address"
    script = [sys.executable, str(Path(__file__).parent / "storage" / "emulator.py"), str(answered)]
    with subprocess.Popen(
        script, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        while not answered.exists():
            assert server.poll() is None, "the storage emulator ended before it answered"
            time.sleep(0.05)
        yield answered.read_text()
        server.communicate()


@pytest.fixture
def bucket(storage_emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """``gs://NAME`` of a fresh bucket of the emulator, to which this process and its children talk meanwhile."""
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_emulator)
    name = f"ferlab-{uuid.uuid4().hex[:12]}"
    storage.Client(project="tests").create_bucket(name)
    return f"gs://{name}"


@pytest.fixture(scope="session")
def real_faces() -> Path:
    """The Parquet file of real FER-2013 rows; the test is skipped where it is absent."""
    for folder in REPOSITORY.parents:
        if (folder / REAL_FACES).is_file():
            return folder / REAL_FACES
    pytest.skip(f"{REAL_FACES} is not there")
