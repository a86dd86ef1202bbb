"""Where the work goes: project, places in the bucket, labels, and the addresses of the services."""

import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from ferlab.compute.endpoints import Endpoints
from ferlab.compute.ledger import FOLDER
from ferlab.config.nodes import Compute
from ferlab.storage.files import exclusive, write_text

OWNER, STAGE, JOB = "ferlab", "ferlab-stage", "ferlab-job"
"""Labels: who made it (a name that a home draws for itself), for which stage, for which job."""
LABEL_LENGTH = 63
GOOGLE = Endpoints()


@dataclass(frozen=True)
class Target:
    """A project of Google Cloud, or what stands in for it.

    ``raw`` images are never written to once they are there, ``processed`` holds prepared datasets, ``runs`` a folder
    for each training, ``shipped`` code and packages, named by their content.
    """

    name: str
    project: str
    raw: str
    processed: str
    runs: str
    shipped: str
    owner: str
    endpoints: Endpoints = GOOGLE
    more_labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, compute: Compute, project: str, home: Path, endpoints: Endpoints = GOOGLE) -> "Target":
        """The target that a valid config names; ``home`` tells whose the resources are."""
        cloud, bucket = compute.cloud, f"gs://{compute.cloud.bucket}"
        return cls(
            compute.name,
            project,
            (cloud.raw or f"{bucket}/raw").rstrip("/"),
            (compute.prepared or f"{bucket}/processed").rstrip("/"),
            f"{bucket}/runs",
            f"{bucket}/shipped",
            owner_of(home),
            endpoints,
            tuple(cloud.labels),
        )

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing of it costs anything."""
        return self.endpoints != GOOGLE

    def labels(self, stage: str, job: str) -> dict[str, str]:
        """What every resource is marked with."""
        own = {OWNER: self.owner, STAGE: stage, JOB: job}
        return own | dict(label.split("=", 1) for label in self.more_labels)


def owner_of(home: Path) -> str:
    """A name for this ``FERLAB_HOME``, fit for a label: drawn once, and the same wherever the home is moved."""
    file = home / FOLDER / "owner"
    with exclusive(file.with_suffix(".lock")):
        if not file.exists():
            write_text(file, secrets.token_hex(8))
        return file.read_text(encoding="utf-8").strip()


def new_job(stage: str) -> str:
    """A name that no other job has: stage, time, some chance; fit for a cluster's name and for labels."""
    return f"{label_text(stage)[:20]}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def label_text(text: str) -> str:
    """``text`` in the characters that names and labels may have."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:LABEL_LENGTH]
