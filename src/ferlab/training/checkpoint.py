"""Checkpoints: after every epoch the model with its optimizer, the best so far, and where training stands."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ferlab.errors import UserError
from ferlab.storage.files import remove_folder, writing_errors

LAST, BEST, STATE = "last.keras", "best.keras", "state.json"


@dataclass
class Progress:
    """Where a training stands after ``epoch`` epochs in all. ``history`` has one row of numbers an epoch."""

    phase: int = 0
    phase_epoch: int = 0
    epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    waited: int = 0
    phase_done: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


class Checkpoints:
    """A folder of checkpoints of one run; the newest complete one counts, older ones are removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, model: Any, progress: Progress, is_best: bool) -> None:
        """Write a new checkpoint beside the last one, then make it the current one. UserError on a full disk."""
        partial = self.folder / "partial"
        current = self.current()
        with writing_errors(self.folder):
            remove_folder(partial)
            partial.mkdir(parents=True)
            model.save(partial / LAST)
            shutil.copy2(partial / LAST if is_best or current is None else current / BEST, partial / BEST)
            (partial / STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
            partial.rename(self.folder / f"epoch-{progress.epoch:06d}")
        for old in self._complete()[:-1]:
            remove_folder(old)

    def current(self) -> Path | None:
        """Folder of the newest checkpoint, or None."""
        complete = self._complete()
        return complete[-1] if complete else None

    def load(self) -> tuple[Any, Progress]:
        """The model, compiled, with its optimizer's state, and the progress.

        Raises:
            UserError: there is no checkpoint, or it is damaged.

        """
        import keras

        current = self.current()
        if current is None:
            message = f"{self.folder}: no checkpoint there; the run has ended or never finished an epoch."
            raise UserError(message)
        try:
            return keras.saving.load_model(current / LAST), Progress(**self._state(current))
        except (OSError, ValueError, TypeError) as error:
            message = f"{current}: damaged checkpoint ({str(error).splitlines()[0][:120]}). Train anew."
            raise UserError(message) from error

    def history(self) -> list[dict[str, Any]]:
        """One row of numbers for every epoch that the newest checkpoint holds."""
        current = self.current()
        return self._state(current)["history"] if current else []

    def best_weights(self) -> list[Any]:
        """Weights of the best epoch so far."""
        import keras

        current = self.current()
        if current is None:
            message = f"{self.folder}: no checkpoint was written"
            raise RuntimeError(message)
        return keras.saving.load_model(current / BEST, compile=False).get_weights()

    def files(self) -> list[Path]:
        """The newest checkpoint's models, last and best epoch, each with its optimizer."""
        current = self.current()
        return [current / LAST, current / BEST] if current else []

    def remove(self) -> None:
        """Forget all checkpoints of this run."""
        remove_folder(self.folder)

    def _state(self, checkpoint: Path) -> dict[str, Any]:
        return dict(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))

    def _complete(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("epoch-*") if (path / STATE).is_file())
