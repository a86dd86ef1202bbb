"""The stand-ins of one test, in a process of their own, and the real clients that talk to them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ferlab.compute.endpoints import Endpoints
from ferlab.compute.rehearsal import service
from ferlab.compute.rehearsal.faults import Faults
from ferlab.storage import places

PROJECT, REGION = "rehearsed", "us-central1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
BUCKET = "rehearsed-bucket"
ACTION = """#!/bin/bash
mkdir -p "$FERLAB_ENVIRONMENT/bin"
printf '#!/bin/sh\\nexec "%s" "$@"\\n' "$FERLAB_PYTHON" > "$FERLAB_ENVIRONMENT/bin/python"
chmod +x "$FERLAB_ENVIRONMENT/bin/python"
echo made by the action
"""


@dataclass(frozen=True)
class Cloud:
    """A project in the rehearsed cloud: state below ``folder``, real clients for its services."""

    folder: Path
    endpoints: Endpoints

    @cached_property
    def clusters(self) -> Any:
        from google.cloud.dataproc_v1 import ClusterControllerClient

        return self._client(ClusterControllerClient, self.endpoints.dataproc)

    @cached_property
    def jobs(self) -> Any:
        from google.cloud.dataproc_v1 import JobControllerClient

        return self._client(JobControllerClient, self.endpoints.dataproc)

    @cached_property
    def batches(self) -> Any:
        from google.cloud.dataproc_v1 import BatchControllerClient

        return self._client(BatchControllerClient, self.endpoints.dataproc)

    @cached_property
    def vertex(self) -> Any:
        from google.cloud.aiplatform_v1 import JobServiceClient

        return self._client(JobServiceClient, self.endpoints.vertex)

    def write(self, name: str, content: str) -> str:
        """A new object in the project's bucket; its URL."""
        places.write_bytes(f"gs://{BUCKET}/{name}", content.encode())
        return f"gs://{BUCKET}/{name}"

    def create_cluster(self, name: str = "one", request_id: str = "", **config: Any) -> Any:
        """The operation that makes a cluster."""
        cluster = {"project_id": PROJECT, "cluster_name": name, "labels": {"owner": name}, "config": config}
        asked = {"project_id": PROJECT, "region": REGION, "cluster": cluster, "request_id": request_id}
        return self.clusters.create_cluster(request=asked)

    def cluster(self, name: str = "one") -> Any:
        return self.clusters.get_cluster(project_id=PROJECT, region=REGION, cluster_name=name)

    def create_training(
        self, code: str, scheduling: dict | None = None, pools: list | None = None, label: str = "one", **more: Any
    ) -> Any:
        """A custom job whose container runs ``python -c CODE``."""
        spec = {"worker_pool_specs": pools or [pool(code)], "scheduling": scheduling or {}, **more}
        return self.vertex.create_custom_job(
            parent=PARENT, custom_job={"display_name": "a training", "labels": {"run": label}, "job_spec": spec}
        )

    def training(self, name: str) -> Any:
        return self.vertex.get_custom_job(name=name)

    def ended(self, name: str, timeout_s: float = 60) -> Any:
        """The custom job when it has ended."""
        wait_until(lambda: self.training(name).end_time, timeout_s)
        return self.training(name)

    def log(self, name: str) -> str:
        return service.logs(self.folder, name).read_text()

    @staticmethod
    def _client(kind: Any, endpoint: str | None) -> Any:
        from google.auth.credentials import AnonymousCredentials

        return kind(transport="rest", client_options={"api_endpoint": endpoint}, credentials=AnonymousCredentials())


def pool(code: str, replicas: int = 1, **machine: Any) -> dict[str, Any]:
    """A worker pool as the client takes it."""
    own = [{"name": "OWN", "value": "set"}]
    return {
        "machine_spec": machine or {"machine_type": "n1-standard-4"},
        "replica_count": replicas,
        "container_spec": {"image_uri": "an/image", "command": ["python", "-c", code], "env": own},
    }


def wait_until(holds: Callable[[], Any], timeout_s: float = 30) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def begin(folder: Path, faults: Faults) -> Cloud:
    """The stand-ins of a folder with the project's bucket, which is made before anything can go wrong."""
    from google.cloud import storage

    cloud = Cloud(folder, service.start(folder, Faults()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", str(cloud.endpoints.storage))
        client = storage.Client(project=PROJECT)
        if not client.bucket(BUCKET).exists():
            client.create_bucket(BUCKET, location=REGION)
    service.start(folder, faults)
    return cloud


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Cloud]]:
    """``rehearse(Faults(...))`` starts stand-ins for this test alone, or those that it has killed."""
    folder = tmp_path / "rehearsal"

    def start(faults: Faults | None = None) -> Cloud:
        cloud = begin(folder, faults or Faults())
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", str(cloud.endpoints.storage))
        return cloud

    yield start
    service.stop(folder)


@pytest.fixture(scope="session")
def calm_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rehearsal")
    yield folder
    service.stop(folder)


@pytest.fixture
def cloud(calm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A project where nothing goes wrong, the same for all tests of a session."""
    cloud = begin(calm_folder, Faults())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", str(cloud.endpoints.storage))
    return cloud
