"""``ferlab runs gc=true``: what deleted runs and killed commands have left on the disk is shown, then removed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ferlab.commands.confirmation import confirm
from ferlab.commands.launch import Context
from ferlab.commands.prepared_data import STAGED
from ferlab.commands.resumption import checkpoints_of
from ferlab.errors import AlreadyRunningError
from ferlab.manifest import MANIFEST_NAME
from ferlab.storage.files import exclusive, remove_folder
from ferlab.storage.places import sizes_below
from ferlab.sweeping.children import SWEEP_STAGE, SWEEPS_FOLDER
from ferlab.tracking.housekeeping import can_erase, erase, file_places, is_active, registered_versions
from ferlab.tracking.processes import identity
from ferlab.tracking.records import RunRecord, search

PARTIAL = re.compile(r".+\.partial-(?P<host>.+)-(?P<pid>\d+)$")
LOCKS = ".locks"


@dataclass(frozen=True)
class Remnant:
    """Something to remove: ``what`` it is, how large, and how it goes; that may raise AlreadyRunningError."""

    what: str
    bytes: int
    remove: Callable[[], None]


def tidy(context: Context) -> dict[str, Any]:
    """Show what can go, ask, remove it; the result has ``removed`` (``what``, ``bytes``), ``bytes`` and ``kept``."""
    terminal, kept = context.terminal, list[str]()
    found = [*_deleted_runs(context, kept), *_checkpoints(context), *_unfinished(context.home), *_files(context.home)]
    for line in kept:
        terminal.say(f"kept: {line}")
    if not found:
        terminal.say("nothing to remove")
        return {"removed": [], "bytes": 0, "kept": kept}
    total = sum(item.bytes for item in found)
    rows = [[item.what, megabytes(item.bytes)] for item in found]
    terminal.table("can be removed", ["what", "MB"], [*rows, ["together", megabytes(total)]])
    removed = []
    if confirm(f"Remove these {megabytes(total)} MB for good?"):
        for item in found:
            try:
                item.remove()
                removed.append(item)
            except AlreadyRunningError:
                kept.append(f"{item.what}: in use again")
                terminal.warn(f"kept: {kept[-1]}")
    freed = sum(item.bytes for item in removed)
    terminal.say(f"removed {megabytes(freed)} MB" if removed else "nothing was removed")
    return {"removed": [{"what": item.what, "bytes": item.bytes} for item in removed], "bytes": freed, "kept": kept}


def megabytes(count: int) -> str:
    """Bytes as MB."""
    return f"{count / 1e6:,.1f}"


def _deleted_runs(context: Context, kept: list[str]) -> Iterator[Remnant]:
    """Runs marked as deleted, with their artifacts and checkpoints; what must stay is said in ``kept``."""
    deleted = search(deleted=True)
    if deleted and not can_erase():
        kept.append(f"{len(deleted)} deleted runs: the server keeps their files; there, `mlflow gc` removes them")
        deleted = []
    for record in deleted:
        versions = registered_versions(record.id)
        if is_active(record):
            kept.append(f"run {record.id} ({record.name}): still running on {record.tags.get('ferlab.host')}")
        elif versions:
            kept.append(f"run {record.id} ({record.name}): registered as {', '.join(versions)}")
        else:
            places = file_places(record.id)
            checkpoints = checkpoints_of(record.id, context).folder
            size = sum(sum(sizes_below(place).values()) for place in [*places, str(checkpoints)])
            size += sum(file.stat().st_size for file in _sweep_files(record, context))
            yield Remnant(f"deleted run {record.id} ({record.name})", size, _eraser(record, places, context))


def _eraser(record: RunRecord, places: list[str], context: Context) -> Callable[[], None]:
    def remove() -> None:
        _remove_checkpoints(record.id, context)
        erase(record.id)
        for file in _sweep_files(record, context):
            file.unlink(missing_ok=True)
            _remove_if_empty(file.parent)
        for place in places:  # the folder of a run, or of a model, holds nothing but its artifacts
            _remove_if_empty(Path(place).parent)

    return remove


def _sweep_files(record: RunRecord, context: Context) -> list[Path]:
    """What a sweep remembers beside the store, to be gone on with; not where a later one has its name."""
    later = search(f"tags.`ferlab.stage` = '{SWEEP_STAGE}'")
    if record.stage != SWEEP_STAGE or any(one.name == record.name for one in later):
        return []
    return sorted((context.home / SWEEPS_FOLDER / record.name).glob("*"))


def _checkpoints(context: Context) -> Iterator[Remnant]:
    """Checkpoints of runs that have finished; those of interrupted ones are what ``resume`` goes on from."""
    finished = {run.id: run.name for run in search("attributes.status = 'FINISHED'")}
    for folder in sorted((context.home / "checkpoints").glob("*")):
        if folder.name in finished:
            what = f"checkpoints of the finished run {folder.name} ({finished[folder.name]})"

            def remove(run_id: str = folder.name) -> None:
                _remove_checkpoints(run_id, context)

            yield Remnant(what, sum(sizes_below(str(folder)).values()), remove)


def _remove_checkpoints(run_id: str, context: Context) -> None:
    checkpoints = checkpoints_of(run_id, context)
    if checkpoints.folder.exists():
        with checkpoints.alone(run_id):
            checkpoints.remove()


def _unfinished(home: Path) -> Iterator[Remnant]:
    """Folders that an interrupted command left: Spark's scratch, prepared data without a manifest."""
    for folder in sorted((home / "spark").glob("*.spark")):
        yield from _free("scratch of an interrupted preparation", folder, home / "spark" / LOCKS / folder.name)
    for root, locks, ending in ((home / "prepared", home / "spark" / LOCKS, ".spark"), (home / STAGED, None, "")):
        for folder in sorted(root.glob("*")):
            if folder.is_dir() and folder.name != LOCKS and not (folder / MANIFEST_NAME).exists():
                lock = (locks or root / LOCKS) / f"{folder.name}{ending}"
                yield from _free("unfinished prepared data (the same command would go on with it)", folder, lock)


def _free(what: str, folder: Path, lock: Path) -> Iterator[Remnant]:
    """The folder, unless a process holds its lock now."""
    busy = f"{folder}: another process works there."

    def remove() -> None:
        with exclusive(lock, busy):
            if not (folder / MANIFEST_NAME).exists():  # it may have been finished while the question stood
                remove_folder(folder)

    try:
        with exclusive(lock, busy):
            size = sum(sizes_below(str(folder)).values())
    except AlreadyRunningError:
        return
    yield Remnant(f"{what}: {folder}", size, remove)


def _files(home: Path) -> Iterator[Remnant]:
    """Half-written files of processes of this machine that are gone."""
    host = identity()["ferlab.host"]
    for name, size in sorted(sizes_below(str(home)).items()):
        found = PARTIAL.match(name.rpartition("/")[2])
        if found and found["host"] == host and not psutil.pid_exists(int(found["pid"])):
            file = home / name
            yield Remnant(f"half-written file: {file}", size, lambda file=file: file.unlink(missing_ok=True))  # type: ignore[misc]


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
