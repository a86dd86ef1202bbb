"""``ferlab prepare`` with its Spark in the cloud: raw images into the bucket, shards by a cluster, planned here."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ferlab.commands.cloud_session import Session
from ferlab.compute.cluster import Work, carry_out
from ferlab.compute.preflight import check_regions
from ferlab.compute.shipping import ship_job
from ferlab.compute.target import label_text, new_job
from ferlab.compute.wheelhouse import LOCK_NAME, make_wheelhouse
from ferlab.config.files import config_root
from ferlab.config.nodes import Dataset
from ferlab.errors import UserError
from ferlab.preparation.plan import WORK, Plan, Task
from ferlab.preparation.spark import Resources, Watch
from ferlab.storage import places
from ferlab.storage.objects import is_remote
from ferlab.storage.places import joined
from ferlab.storage.upload import upload

PYTHONS = {"2.3": "3.11", "3.0": "3.12"}
"""Python of the cluster by image version."""
OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""A rehearsal's cluster runs on this machine."""
DRAWN = (
    "dataset=synthetic: its faces are drawn on this machine, where a cluster does not see them. Write them with "
    "`ferlab synth layout=affectnet-folders out=DIR count=N` and give dataset=affectnet8 dataset.root=DIR."
)


def in_bucket(dataset: Dataset, session: Session) -> Dataset:
    """The dataset with its raw images in the bucket; those of this machine are brought there first.

    Raises:
        UserError: there are none, the faces are drawn, the bucket holds others of that name, or the cluster that would
            prepare them is larger than the project may have.

    """
    if dataset.synthesize.count:
        raise UserError(DRAWN)
    root = str(dataset.root)
    if is_remote(root):
        check_regions([root], session.compute.cloud)
        return dataset
    session.check_room_for_cluster()
    session.agree()
    source = Path(root).expanduser().resolve()
    url = joined(session.target.raw, dataset.name, source.name)
    with session.terminal.progress("uploading", "files") as on_progress:
        done = upload(source, url, on_progress, session.ledger.home / "cloud" / "uploads" / session.target.name)
    if done.sent:
        session.terminal.say(f"uploaded {done.sent:,} files, {done.there:,} were there: {url}")
    return replace(dataset, root=url)


def _check_rows(plan: Plan, task: Task) -> None:
    """UserError when the images are files of this machine: those of an archive, which is unpacked here."""
    first = pa.ipc.open_file(places.read_bytes(plan.rows(task.names[0]))).read_all().slice(0, 1).to_pylist()[0]
    if first["pixels"] is None and not is_remote(first["path"]):
        message = (
            f"{first['path']}: workers of a cluster do not see this file. Unpack the archive and give dataset.root the "
            "folder."
        )
        raise UserError(message)


class OnCluster:
    """Makes the shards of a plan on the cluster of a session, in place of a Spark of this machine."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, plan: Plan, tasks: Sequence[Task], resources: Resources, scratch: Path, watch: Watch) -> None:
        """Carry out ``tasks``; the cluster finds out by itself which they are."""
        session = self.session
        _check_rows(plan, tasks[0])
        session.check_room_for_cluster()
        session.agree()
        python = OWN_PYTHON if session.target.is_rehearsal else PYTHONS[session.compute.cluster.image_version]
        wheels = make_wheelhouse(config_root() / LOCK_NAME, session.ledger.home / "wheelhouse", python)
        shipped = ship_job(session.target, wheels)
        images = sum(task.rows for task in tasks)
        begun = len(plan.names) - sum(len(task.names) for task in tasks)

        def look() -> None:
            done = sum(name.endswith(".json") for name in places.names_below(joined(plan.folder, WORK)))
            made = max(0, done - 1 - begun)  # the plan itself is one of them
            watch.on_images(images * made // max(1, len(plan.names) - begun), images)

        work = Work(new_job(f"prepare-{label_text(Path(plan.folder).name)[:8]}"), plan.folder, shipped, session.poll_s,
                    session.terminal.say, look)  # fmt: skip
        carry_out(session.clients, session.compute.cloud, session.compute.cluster, work, session.ledger)
