"""The predictions contract: class probabilities of one model on one split, as Parquet that explains itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ferlab.errors import UserError
from ferlab.manifest import Manifest
from ferlab.storage.files import atomic_path

PREDICTIONS = "predictions/validation.parquet"
"""The artifact of a run with what its model says of the validation split."""
SUM_TOLERANCE = 1e-3
HARD = "ferlab.hard"
METADATA = ("split", "taxonomy", "protocol", "dataset_digest", "run_id")


@dataclass(frozen=True)
class Predictions:
    """Probabilities (n, len(classes)) of the samples ``ids`` with true ``labels`` (n,), indices into ``classes``.

    ``twins`` bool (n,): the sample's pixels also stand in train; None where that is not known. ``votes`` int
    (n, classes): the annotators' votes, None where there are none. ``hard``: only a class was predicted, probabilities
    are 0 and 1 in its place.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    split: str
    taxonomy: str
    protocol: str
    dataset_digest: str
    run_id: str
    twins: np.ndarray | None = None
    votes: np.ndarray | None = None
    hard: bool = False

    def __post_init__(self) -> None:
        where = f"predictions of run {self.run_id} on {self.split}"
        problem = _problem(self.ids, self.labels, self.probabilities, self.classes)
        if not problem and self.twins is not None and self.twins.shape != (len(self.ids),):
            problem = f"shapes disagree: {len(self.ids)} ids, twins {self.twins.shape}"
        if not problem and self.votes is not None and self.votes.shape != self.probabilities.shape:
            problem = f"shapes disagree: probabilities {self.probabilities.shape}, votes {self.votes.shape}"
        if problem:
            message = f"{where}: {problem}."
            raise UserError(message)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class of each sample (n,), the first on ties."""
        return self.probabilities.argmax(axis=1)

    def ordered_by_id(self) -> "Predictions":
        """The same predictions with samples sorted by id, so that members line up."""
        return self._take(np.argsort(np.asarray(self.ids)))

    def twin_free(self) -> "Predictions":
        """Those whose pixels do not stand in train; all of them where that is not known."""
        return self if self.twins is None else self._take(np.flatnonzero(~self.twins))

    def _take(self, rows: np.ndarray) -> "Predictions":
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            labels=self.labels[rows],
            probabilities=self.probabilities[rows],
            twins=None if self.twins is None else self.twins[rows],
            votes=None if self.votes is None else self.votes[rows],
        )

    def save(self, path: Path) -> None:
        """Write Parquet: id, label, ``p_<class>`` of every class, ``twin`` and ``v_<class>`` where known; metadata."""
        columns: dict[str, pa.Array] = {
            "id": pa.array(self.ids),
            "label": pa.array([self.classes[i] for i in self.labels]),
        }
        if self.twins is not None:
            columns["twin"] = pa.array(self.twins)
        for index, name in enumerate(self.classes):
            columns[f"p_{name}"] = pa.array(self.probabilities[:, index].astype(np.float64))
            if self.votes is not None:
                columns[f"v_{name}"] = pa.array(self.votes[:, index].astype(np.int16))
        metadata = {f"ferlab.{key}": str(getattr(self, key)) for key in METADATA}
        if self.hard:
            metadata[HARD] = "true"
        table = pa.table(columns).replace_schema_metadata(metadata)
        with atomic_path(path) as partial:
            pq.write_table(table, partial, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read and check a file that ``save`` wrote.

        Raises:
            UserError: not such a file, NaN, probabilities that do not sum to 1, duplicate ids.

        """
        try:
            table = pq.read_table(path)
            stored = table.schema.metadata or {}
            metadata = {key: stored[f"ferlab.{key}".encode()].decode() for key in METADATA}
            classes = tuple(name[2:] for name in table.column_names if name.startswith("p_"))
            label_of = {name: index for index, name in enumerate(classes)}
            ids = tuple(table["id"].to_pylist())
            labels = np.array([label_of[name] for name in table["label"].to_pylist()], dtype=np.int64)
            columns = [table[f"p_{name}"].to_numpy() for name in classes]
            probabilities = np.column_stack(columns).astype(np.float64)
            known = "twin" in table.column_names and not table["twin"].null_count
            twins = table["twin"].to_numpy().astype(bool) if known else None
            voted = all(f"v_{name}" in table.column_names for name in classes)
            votes = np.column_stack([table[f"v_{name}"].to_numpy() for name in classes]) if voted else None
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            message = f"{path}: not a predictions file of ferlab ({type(error).__name__}: {error})."
            raise UserError(message) from error
        hard = stored.get(HARD.encode()) == b"true"
        return cls(
            ids=ids, labels=labels, probabilities=probabilities, classes=classes, twins=twins, votes=votes, hard=hard,
            **metadata,
        )  # fmt: skip


def other_data(predictions: Predictions, manifest: Manifest) -> tuple[str, str, str] | None:
    """In what predictions differ from a manifest: its name, what they say of it, what it says; None: in nothing."""
    compared = (
        ("protocol", predictions.protocol, manifest.protocol),
        ("classes", ", ".join(predictions.classes), ", ".join(manifest.classes)),
        ("dataset digest", f"{predictions.dataset_digest[:16]}…", f"{manifest.digest[:16]}…"),
    )
    return next(((what, theirs, ours) for what, theirs, ours in compared if theirs != ours), None)


def _problem(ids: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """What is wrong with these columns, or an empty string."""
    if probabilities.shape != (len(ids), len(classes)) or labels.shape != (len(ids),):
        return f"shapes disagree: {len(ids)} ids, labels {labels.shape}, probabilities {probabilities.shape}"
    if not len(ids):
        return "there are no samples"
    if len(set(ids)) != len(ids):
        return "sample ids occur more than once"
    if not np.isfinite(probabilities).all():
        return f"{int((~np.isfinite(probabilities)).any(axis=1).sum())} rows hold NaN or infinite probabilities"
    if (probabilities < 0).any() or np.abs(probabilities.sum(axis=1) - 1).max() > SUM_TOLERANCE:
        return "probabilities are negative or do not sum to 1"
    if labels.min() < 0 or labels.max() >= len(classes):
        return f"labels must lie in 0..{len(classes) - 1}"
    return ""
