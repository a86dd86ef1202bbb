"""Runs of the cloud in the store of this machine: once, however often it is asked for."""

import time

from ferlab.commands.launch import Context
from ferlab.compute.ledger import HOME, Entry, Ledger
from ferlab.errors import UserError
from ferlab.storage.files import exclusive, remove_folder
from ferlab.storage.places import joined
from ferlab.storage.snapshots import Snapshots
from ferlab.tracking.copying import copy_runs
from ferlab.tracking.relocation import relocate
from ferlab.tracking.store import DATABASE, close_run, ended_runs

STATE = "state"
"""Below the folder of a training: snapshots of what it tracks and of its checkpoints."""
OLD_HOME = "home.txt"
"""In a snapshot: the folder that it was taken of."""


def bring_home(entry: Entry, ledger: Ledger, context: Context) -> str | None:
    """The id that the run of an ended training has in this store; None when there was nothing of it yet.

    A run that joined this store's server is closed if its process could not do it.

    Raises:
        UserError: it was sent from another store, its folder cannot be read, or the store refuses.

    """
    if entry.about["store"] != context.store.uri:
        message = f"was sent from the store {entry.about['store']}. Set MLFLOW_TRACKING_URI to that."
        raise UserError(message)
    with exclusive(ledger.home / "cloud" / ".locks" / entry.job):
        run_id = _joined(entry) if entry.about["server"] else _copied(entry, ledger, context)
        ledger.change(entry, state=HOME, ended_s=time.time(), about={**entry.about, "run_id": run_id})
    return run_id


def _joined(entry: Entry) -> str:
    run_id = str(entry.about["run_id"])
    close_run(run_id)
    return run_id


def _copied(entry: Entry, ledger: Ledger, context: Context) -> str | None:
    folder = ledger.home / "cloud" / f"{entry.job}.home"
    try:
        if not Snapshots(joined(entry.folder, STATE)).restore(folder):
            return None
        database = folder / DATABASE
        relocate(database, (folder / OLD_HOME).read_text(encoding="utf-8"), folder)
        source = f"sqlite:///{database}"
        ids = ended_runs(source)
        done = copy_runs(source, context.store.uri, ids, lambda done, total: None)
        return done.ids[ids[-1]] if ids else None
    finally:
        remove_folder(folder)
