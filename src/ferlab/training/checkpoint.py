"""Checkpoints: after every epoch the weights, the optimizer, the best weights so far, and where training stands."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ferlab.errors import UserError
from ferlab.storage.files import remove_folder, writing_errors

LAST, BEST, STATE = "last.npz", "best.npz", "state.json"
WEIGHT, OPTIMIZER, AVERAGE = "weight", "optimizer", "average"


@dataclass
class Progress:
    """Where a training stands after ``epoch`` epochs in all. ``history`` has one row of numbers an epoch.

    ``waited``: epochs since the best one; ``flat``: since the best one or the last fall of a ``plateau`` rate, which is
    ``rate_factor`` times the phase's.
    """

    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    waited: int = 0
    flat: int = 0
    rate_factor: float = 1.0
    phase_done: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


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
            (partial / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
            partial.rename(self.folder / f"epoch-{progress.epoch:06d}")
        for old in self._complete()[:-1]:
            remove_folder(old)

    def current(self) -> Path | None:
        """Folder of the newest checkpoint, or None."""
        complete = self._complete()
        return complete[-1] if complete else None

    def load(self) -> tuple[Saved, Progress]:
        """What was saved last, and the progress.

        Raises:
            UserError: there is no checkpoint, or it is damaged.

        """
        current = self.current()
        if current is None:
            message = f"{self.folder}: no checkpoint there; the run has ended or never finished an epoch."
            raise UserError(message)
        try:
            with np.load(current / LAST) as arrays:
                average = {
                    key.removeprefix(f"{AVERAGE}."): arrays[key] for key in arrays if key.startswith(f"{AVERAGE}.")
                }
                saved = Saved(_listed(arrays, WEIGHT), _listed(arrays, OPTIMIZER), average)
            return saved, Progress(**self._state(current))
        except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
            message = f"{current}: damaged checkpoint ({str(error).splitlines()[0][:120]}). Train anew."
            raise UserError(message) from error

    def history(self) -> list[dict[str, Any]]:
        """One row of numbers for every epoch that the newest checkpoint holds."""
        current = self.current()
        return list(self._state(current)["history"]) if current else []

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
        """The newest checkpoint's files: last epoch with its optimizer, best epoch."""
        current = self.current()
        return [current / LAST, current / BEST] if current else []

    def remove(self) -> None:
        """Forget all checkpoints of this run."""
        remove_folder(self.folder)

    def _state(self, checkpoint: Path) -> dict[str, Any]:
        return dict(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))

    def _complete(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("epoch-*") if (path / STATE).is_file())


def _write(file: Path, arrays: Any) -> None:
    np.savez(file, **arrays)


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
