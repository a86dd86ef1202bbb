"""``compute.dry_run=true``: what would be asked of the cloud, as JSON and as ``gcloud`` commands; nothing is sent."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferlab.commands.terminal import Terminal
from ferlab.compute import gcloud
from ferlab.compute.dataproc import Shipped, batch_request, cluster_request, job_request
from ferlab.compute.target import Target
from ferlab.compute.vertex import custom_job_request
from ferlab.config.nodes import Compute
from ferlab.storage.places import joined

PROJECT = "PROJECT"
"""Where none is named: the credentials are not asked."""
JOB = "dry-run"


def show_requests(compute: Compute, home: Path, trainings: Sequence[str], terminal: Terminal) -> dict[str, Any]:
    """Print the requests for a preparation and for trainings of those names; the result has ``requests``."""
    target = Target.of(compute, compute.cloud.project or PROJECT, home)
    region = compute.cloud.regions[0]
    requests = [*_preparation(compute, target, region), *_trainings(compute, target, region, trainings)]
    for title, request, command in requests:
        terminal.say(f"# {title}\n{json.dumps(request, indent=2)}\n\n{command}\n")
    return {"requests": [{"method": title, "body": request, "gcloud": command} for title, request, command in requests]}


def _preparation(compute: Compute, target: Target, region: str) -> list[tuple[str, dict[str, Any], str]]:
    cloud, cluster = compute.cloud, compute.cluster
    shipped = Shipped(
        joined(target.shipped, "job.py"), joined(target.shipped, "ferlab.zip"), joined(target.shipped, "setup")
    )
    folder = joined(target.processed, "DATASET")
    if cluster.serverless:
        batch = batch_request(target, cloud, cluster, shipped, JOB, region, folder)
        return [("dataproc batches.create", batch, gcloud.submit_batch(batch))]
    create = cluster_request(target, cloud, cluster, shipped, JOB, region)
    job = job_request(target, shipped, JOB, region, folder)
    return [
        ("dataproc clusters.create", create, gcloud.create_cluster(create)),
        ("dataproc jobs.submit", job, gcloud.submit_job(job)),
    ]


def _trainings(
    compute: Compute, target: Target, region: str, names: Sequence[str]
) -> list[tuple[str, dict[str, Any], str]]:
    made = []
    for name in names:
        folder = joined(target.runs, JOB)
        request = custom_job_request(target, compute.cloud, compute.trainer, JOB, region, folder, name)
        made.append(("aiplatform customJobs.create", request, gcloud.create_custom_job(request)))
    return made
