"""Checkpoints: after every epoch the weights, the optimizer, the best weights so far, and where training stands."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from ferlab.errors import AlreadyRunningError, UserError, first_line
from ferlab.storage.files import exclusive, remove_folder, writing_errors

LAST, BEST, STATE, LOCK = "last.npz", "best.npz", "state.json", "lock"
KEPT = 2
"""Newest checkpoints that stay: should the last one be damaged, the one before is gone on with."""
WEIGHT, OPTIMIZER, AVERAGE = "weight", "optimizer", "average"


@dataclass
class Progress:
    """Where a training stands after ``epoch`` epochs in all. ``history`` has one row of numbers an epoch.

    ``waited``: epochs since the phase's best one; ``flat``: since that or the last fall of a ``plateau`` rate, which is
    ``rate_factor`` times the phase's. ``phase_accuracy`` and ``phase_loss`` are those of the phase's best epoch.
    """

    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    phase_accuracy: float = -1.0
    phase_loss: float = float("inf")
    waited: int = 0
    flat: int = 0
    rate_factor: float = 1.0
    phase_done: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    def begin_phase(self, index: int) -> None:
        """Stand before the first epoch of a phase."""
        self.phase, self.phase_epoch, self.phase_done = index, 0, False
        self.phase_accuracy, self.phase_loss = -1.0, float("inf")
        self.waited, self.flat, self.rate_factor = 0, 0, 1.0


@dataclass(frozen=True)
class Saved:
    """Arrays of a checkpoint in the order of ``model.weights`` and ``optimizer.variables``.

    ``average`` holds what ``averaging`` needs to go on.
    """

    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    average: dict[str, np.ndarray]


class Checkpoints:
    """A folder of checkpoints of one run; the newest complete one counts, older ones are removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def alone(self, run_id: str) -> AbstractContextManager[None]:
        """Hold the folder while the block runs; a killed holder frees it.

        Raises:
            AlreadyRunningError: another process holds it.

        """
        return exclusive(self.folder / LOCK, f"resume={run_id}: another process is training it now.")

    def abandoned(self) -> bool:
        """Whether a process of this machine, or of one that shares the folder, held it once and none does now."""
        if not (self.folder / LOCK).exists():
            return False
        try:
            with self.alone(self.folder.name):
                return True
        except AlreadyRunningError:
            return False

    def save(self, saved: Saved, progress: Progress, best: Sequence[np.ndarray] | None) -> None:
        """Write a new checkpoint beside the last one, then make it the current one; ``best`` None keeps the best.

        Raises:
            UserError: the disk is full.

        """
        partial, current = self.folder / "partial", self.current()
        with writing_errors(self.folder):
            remove_folder(partial)
            partial.mkdir(parents=True)
            arrays = _numbered(WEIGHT, saved.weights) | _numbered(OPTIMIZER, saved.optimizer)
            averages = {f"{AVERAGE}.{key}": value for key, value in saved.average.items()}
            _write(partial / LAST, arrays | averages)
            if best is not None or current is None:
                _write(partial / BEST, _numbered(WEIGHT, saved.weights if best is None else best))
            else:
                _same_file(current / BEST, partial / BEST)
            with _durable(partial / STATE) as stream:
                stream.write(json.dumps(asdict(progress)).encode())
            finished = self.folder / f"epoch-{progress.epoch:06d}"
            remove_folder(finished)  # of an epoch that is trained again: damaged, or half removed
            partial.rename(finished)
        for old in self._complete()[:-KEPT]:
            remove_folder(old)

    def current(self) -> Path | None:
        """Folder of the newest checkpoint, or None."""
        complete = self._complete()
        return complete[-1] if complete else None

    def load(self) -> tuple[Saved, Progress]:
        """What was saved last, and the progress; a damaged checkpoint is removed when the one before it is whole.

        Raises:
            UserError: there is no checkpoint, or all are damaged.

        """
        reason = None
        for folder in reversed(self._complete()):
            try:
                loaded = _read(folder)
            except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
                reason = reason or first_line(error)
                continue
            for damaged in self._complete():
                if damaged > folder:
                    remove_folder(damaged)
            return loaded
        if reason is None:
            message = f"{self.folder}: no checkpoint there; the run has ended or never finished an epoch."
        else:
            message = f"{self.folder}: damaged checkpoint ({reason}). Train anew."
        raise UserError(message)

    def history(self) -> list[dict[str, Any]]:
        """One row of numbers for every epoch that the newest checkpoint holds; none when it is damaged."""
        current = self.current()
        try:
            return list(_state(current)["history"]) if current else []
        except (OSError, ValueError, KeyError):
            return []

    def best_weights(self) -> list[np.ndarray]:
        """Weights of the best epoch so far."""
        current = self.current()
        if current is None:
            message = f"{self.folder}: no checkpoint was written"
            raise RuntimeError(message)
        with np.load(current / BEST) as arrays:
            return _listed(arrays, WEIGHT)

    def keep_batches(self, name: str, batches: Sequence[tuple[Any, ...]]) -> Path:
        """The file that now holds ``batches`` as arrays ``inputs0``, ``targets0`` (``targets0_affect``), ..."""
        arrays: dict[str, np.ndarray] = {}
        for number, batch in enumerate(batches):
            for part, content in zip(("inputs", "targets", "weights"), batch, strict=False):
                named = content if isinstance(content, dict) else {"": content}
                arrays |= {f"{part}{number}{'_' * bool(key)}{key}": array for key, array in named.items()}
        with writing_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self.folder / name, arrays)
        return self.folder / name

    def files(self) -> list[Path]:
        """The newest checkpoint's files: last epoch with its optimizer, best epoch, where training stands."""
        current = self.current()
        return [current / name for name in (LAST, BEST, STATE)] if current else []

    def remove(self) -> None:
        """Forget all checkpoints of this run."""
        remove_folder(self.folder)

    def _complete(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("epoch-*") if (path / STATE).is_file())


def _state(checkpoint: Path) -> dict[str, Any]:
    return dict(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))


def _read(checkpoint: Path) -> tuple[Saved, Progress]:
    with np.load(checkpoint / LAST) as arrays:
        average = {key.removeprefix(f"{AVERAGE}."): arrays[key] for key in arrays if key.startswith(f"{AVERAGE}.")}
        saved = Saved(_listed(arrays, WEIGHT), _listed(arrays, OPTIMIZER), average)
    with np.load(checkpoint / BEST) as arrays:
        _listed(arrays, WEIGHT)
    return saved, Progress(**_state(checkpoint))


def _write(file: Path, arrays: Any) -> None:
    with _durable(file) as stream:
        np.savez(stream, **arrays)


@contextmanager
def _durable(file: Path) -> Iterator[BinaryIO]:
    """What is written into it is on the disk after the block, also when the machine stops right then."""
    with file.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def _same_file(old: Path, new: Path) -> None:
    """A second name for a file, or a copy where the file system (a mounted bucket) has no second names."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)


def _numbered(kind: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{kind}.{number:05d}": array for number, array in enumerate(arrays)}


def _listed(arrays: Any, kind: str) -> list[np.ndarray]:
    return [arrays[key] for key in sorted(arrays) if key.startswith(f"{kind}.")]
