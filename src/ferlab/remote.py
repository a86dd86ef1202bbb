"""In the container of a training: ``python -m ferlab.remote gs://BUCKET/runs/JOB``, after ``container``.

It goes on after the last epoch of whoever was here before, and leaves a snapshot of everything behind after each.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ferlab import interrupts
from ferlab.cli import INTERRUPTED, USER_ERROR, set_up_environment
from ferlab.commands.backend import gpu_names, set_up_backend
from ferlab.commands.cloud_training import PROGRESS
from ferlab.commands.homecoming import OLD_HOME, STATE
from ferlab.commands.launch import HOME_VARIABLE, Context, machine_facts
from ferlab.commands.prepared_data import on_this_machine
from ferlab.commands.resumption import checkpoints_of, held_interrupted, startable
from ferlab.commands.train import train
from ferlab.compute.container import ORDER
from ferlab.compute.training import REFUSAL
from ferlab.config.files import config_root
from ferlab.config.nodes import Compute
from ferlab.config.schema import TrainConfig
from ferlab.config.validate import validate
from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.preparation.prepare import Prepared
from ferlab.storage import places
from ferlab.storage.places import joined
from ferlab.storage.snapshots import Snapshots
from ferlab.tracking.code_state import CodeState, code_state
from ferlab.tracking.records import RunRecord, find_run, newest_run
from ferlab.tracking.relocation import copy_database, relocate
from ferlab.tracking.store import DATABASE, connect
from ferlab.training.distribution import join_processes

CLUSTER = "CLUSTER_SPEC"
"""Set by Vertex AI: which replicas there are, and which of them this is."""
LOGICAL_DEVICES = "FERLAB_LOGICAL_DEVICES"
"""Set by a rehearsal: so many devices are played on the processor in place of the machine's GPUs."""
PORT = 8476
KEPT_FOLDERS = ("artifacts", "checkpoints")
LEFT_OUT = ("features", "lock", "partial")
"""Below a run's checkpoints: what can be computed again, and what only a live process means."""


def main(folder: str) -> int:
    """Train what lies at ``folder``; the exit code tells Vertex AI whether the work is done."""
    os.environ.setdefault(HOME_VARIABLE, tempfile.mkdtemp(prefix="ferlab-home-"))
    set_up_environment(verbose=False)
    interrupts.install()
    replica = Replica.of(os.environ)
    try:
        if replica.is_first:
            places.remove(joined(folder, REFUSAL))  # of an earlier attempt
        _train(folder, replica)
    except UserError as error:
        print(f"ferlab: {error}", file=sys.stderr)
        if replica.is_first:
            places.write_bytes(joined(folder, REFUSAL), str(error).encode())
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


class Replica:
    """One of the processes that train one network."""

    def __init__(self, number: int, count: int, coordinator: str) -> None:
        self.number, self.count, self.coordinator = number, count, coordinator

    @property
    def is_first(self) -> bool:
        """Whether it is the one that records."""
        return self.number == 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Replica":
        """What Vertex AI says of the cluster; a process alone where it says nothing."""
        told = json.loads(environment.get(CLUSTER) or "{}")
        pools: dict[str, list[str]] = told.get("cluster", {})
        members = [(pool, index) for pool in sorted(pools) for index in range(len(pools[pool]))]
        if len(members) < 2:
            return cls(0, 1, "")
        task = told["task"]
        number = members.index((task["type"], int(task["index"])))
        host, _, port = pools["workerpool0"][0].partition(":")
        return cls(number, len(members), f"{host}:{port or PORT}")


def _train(folder: str, replica: Replica) -> None:
    order = json.loads(places.read_bytes(joined(folder, ORDER)))
    home = Path(os.environ[HOME_VARIABLE])
    if replica.count > 1:
        join_processes(replica.coordinator, replica.count, replica.number)
    snapshots = Snapshots(joined(folder, STATE))
    if snapshots.restore(home) and (home / DATABASE).exists():
        relocate(home / DATABASE, (home / OLD_HOME).read_text(encoding="utf-8"), home)
    server = order["server"] if replica.is_first else None
    if server:
        os.environ["MLFLOW_TRACKING_URI"] = server
    else:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    store = connect(home, config_root(), None, "train", _code(order))
    context = Context("train", home, order["config"], _store=store)

    def keep(epoch: int, best_accuracy: float) -> None:
        snapshots.save(_files(home))
        told = {"epoch": epoch, "best_accuracy": best_accuracy}
        places.write_bytes(joined(folder, PROGRESS), json.dumps(told).encode())

    if replica.is_first:
        context.on_epoch = keep
    earlier = _earlier_run(order, server)
    try:
        if earlier is None or earlier.status != "FINISHED":
            _carry_out(order, earlier, server, context)
    finally:
        if replica.is_first:
            with contextlib.suppress(UserError) if sys.exc_info()[0] else contextlib.nullcontext():
                snapshots.save(_files(home))


def _code(order: dict[str, Any]) -> CodeState:
    """What runs here, with the commit and the changes that it was shipped from."""
    return replace(code_state(config_root()), commit=order["commit"], diff=order["diff"])


def _earlier_run(order: dict[str, Any], server: str | None) -> RunRecord | None:
    """The run that an earlier attempt began, None when this is the first."""
    return find_run(order["run_id"]) if server else newest_run("train")


def _carry_out(order: dict[str, Any], earlier: RunRecord | None, server: str | None, context: Context) -> None:
    _check_gpus(order["gpus"])
    place = order["prepared"]
    prepared = on_this_machine(Prepared(place, Manifest.load(place), reused=True), context)
    tags = {**order["tags"]}
    begun = earlier is not None and checkpoints_of(earlier.id, context).current() is not None
    if earlier is not None and begun:
        with held_interrupted(earlier.id, context) as record:
            newest = checkpoints_of(record.id, context).current()
            config = _config(startable(context.raw, newest))
            train(config, context, prepared, order["prepare_run"], interrupted=record, tags=tags)
        return
    if server or earlier is not None:
        context.store.project_run = order["run_id"] if earlier is None else earlier.id
    train(_config(order["config"]), context, prepared, order["prepare_run"], name=order["name"], tags=tags)


def _check_gpus(expected: int) -> None:
    """UserError when the machine's GPUs are not seen: on its processor a training would cost as much and never end."""
    if not expected:
        return
    set_up_backend(Compute(name="local"))
    seen = len(gpu_names())
    if seen < expected:
        message = (
            f"compute.trainer.machine has {expected} GPUs, this container sees {seen}. Build it from the Dockerfile."
        )
        raise UserError(message)


def _config(raw: dict[str, Any]) -> TrainConfig:
    config = validate(OmegaConf.create(raw), TrainConfig, machine_facts())
    devices = int(os.environ.get(LOGICAL_DEVICES, "0"))
    return replace(config, compute=replace(config.compute, logical_devices=devices if devices > 1 else 0))


def _files(home: Path) -> dict[str, Path]:
    """What a snapshot holds, by its name below the home."""
    found = dict(_below(home))
    (home / OLD_HOME).write_text(str(home), encoding="utf-8")
    found[OLD_HOME] = home / OLD_HOME
    if (home / DATABASE).exists():
        copy = home / f"{DATABASE}.copy"
        copy.unlink(missing_ok=True)
        copy_database(home / DATABASE, copy)
        found[DATABASE] = copy
    return found


def _below(home: Path) -> Iterator[tuple[str, Path]]:
    for folder in KEPT_FOLDERS:
        for file in sorted((home / folder).rglob("*")):
            name = file.relative_to(home)
            if file.is_file() and not any(part in LEFT_OUT for part in name.parts):
                yield name.as_posix(), file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
